//! What is asked of an engine.

use std::io;

/// The cache that each engine gets, in bytes.
pub(crate) const CACHE_BYTES: u64 = 64_000_000;

/// An embedded engine, open.
pub(crate) trait Engine {
    /// Writes one value under all keys, atomically; durable when it returns.
    fn write(&mut self, keys: &[String], value: &[u8]) -> io::Result<()>;
    /// The length of the value under a key, read as a whole.
    fn read(&mut self, key: &str) -> io::Result<Option<usize>>;
    /// Closes it as it wants to be closed.
    fn close(self: Box<Self>) -> io::Result<()>;
}
