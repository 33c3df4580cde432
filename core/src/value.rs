//! Shared immutable bytes.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

/// A value or key held in memory: immutable, cheap to clone, one allocation.
///
/// `Bytes` would do, but its first clone allocates a second block, and the read path clones every
/// cached value that it serves.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Arc<[u8]>);

impl Value {
    /// No bytes.
    pub fn empty() -> Self {
        Self(Arc::default())
    }

    /// Copies `bytes` into a new value.
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }

    /// A new value of `len` bytes, all zero until `fill` has seen them.
    pub fn build(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes: Arc<[u8]> = core::iter::repeat_n(0, len).collect();
        fill(Arc::get_mut(&mut bytes).expect("nobody else has it yet"));
        Self(bytes)
    }
}

impl Deref for Value {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl core::borrow::Borrow<[u8]> for Value {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::copy_from(bytes)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::from(bytes))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.len().min(32);
        write!(f, "\"{}\"", self[..shown].escape_ascii())?;
        if shown < self.len() { write!(f, "…[{} bytes]", self.len()) } else { Ok(()) }
    }
}
