//! Keys that are known to be gone although damage may have held them.
//!
//! A key that the index does not know is suspect while a range of the log can not be read: it may
//! have been put there. One that was deleted, or has expired, behind the last such range is not,
//! and this remembers which those are. They are as many as clients like to delete, so that it has a
//! limit; a key beyond it is answered as a suspect one, which is never wrong, until it is written
//! or everything is flushed.

use alloc::collections::BTreeSet;
use alloc::format;

use super::Replica;
use crate::Value;
use crate::limits::GONE_BYTES_MAX;
use crate::shard::Severity;

/// See the module's header.
#[derive(Debug, Default)]
pub(super) struct Gone {
    keys: BTreeSet<Value>,
    bytes: usize,
    full: bool,
}

/// Bytes that a key takes beside itself, counted amply.
const ENTRY_BYTES: usize = 64;

impl Gone {
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.keys.contains(key)
    }

    /// There is no damage any more, or there is later damage.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Replica {
    /// `key` has gone, by a record behind all damage.
    pub(super) fn remember_gone(&mut self, key: &[u8]) {
        if self.damages.is_empty() || self.gone.contains(key) {
            return;
        }
        let bytes = self.gone.bytes + key.len() + ENTRY_BYTES;
        if bytes <= GONE_BYTES_MAX {
            self.gone.bytes = bytes;
            self.gone.keys.insert(Value::copy_from(key));
        } else if !core::mem::replace(&mut self.gone.full, true) {
            let text = format!(
                "{}: more keys were deleted since the damage than can be remembered: further ones \
                 are answered with -CORRUPT again; `kvnode check` tells how to accept the loss",
                self.id
            );
            self.notice(Severity::Warn, text);
        }
    }
}
