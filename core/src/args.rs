//! A command's arguments: borrowed while they are evaluated, owned while they wait.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::server::redact::redacted;

/// A command and its arguments, the name first, borrowed from the connection's read buffer.
pub type Args<'a> = &'a [&'a [u8]];

/// A command that must wait (inside MULTI, or for a value from disk): one copy of its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    /// Where each argument ends in `bytes`.
    ends: Vec<usize>,
}

impl fmt::Debug for OwnedArgs {
    /// The words, without passwords: it stands in traces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.as_slices();
        f.debug_list().entries(redacted(&words).map(String::from_utf8_lossy)).finish()
    }
}

impl OwnedArgs {
    /// Copies `args`.
    pub fn copy_from(args: Args<'_>) -> Self {
        let mut bytes = Vec::with_capacity(args.iter().map(|a| a.len()).sum());
        let mut ends = Vec::with_capacity(args.len());
        for arg in args {
            bytes.extend_from_slice(arg);
            ends.push(bytes.len());
        }
        Self { bytes, ends }
    }

    /// The arguments, as [`Args`] wants them.
    pub fn as_slices(&self) -> Vec<&[u8]> {
        let mut start = 0;
        self.ends
            .iter()
            .map(|&end| {
                let arg = &self.bytes[start..end];
                start = end;
                arg
            })
            .collect()
    }

    /// Bytes of memory held, for the limit on queued commands.
    pub fn size(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }
}
