//! The keydir: key → where its newest committed record is.

mod arena;
mod block;
mod buckets;
mod hash;
mod ordered;
#[cfg(test)]
mod tests;

pub use hash::HashKeydir;
pub use ordered::{OrderedKeydir, RESUME_KEYS_MAX};

use crate::shard::IndexKind;
use crate::{Millis, SegmentId};

/// The highest segment id that an entry can hold. At 128 MiB a segment, an id for each of 2 PiB
/// written.
pub const SEGMENT_ID_MAX: SegmentId = SegmentId((1 << 24) - 1);

/// Scan cursors are less than two to this.
pub const CURSOR_BITS: u32 = 48;

/// Buckets that a scan looks at for each key it was asked for, however empty they are; as in Redis.
const SCAN_BUCKETS_A_KEY: usize = 10;

/// Where a record is. Never rewritten, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The segment.
    pub segment: SegmentId,
    /// Where the record starts in it, in bytes.
    pub position: u32,
    /// Length of the whole record (header, key and value) in bytes.
    pub length: u32,
}

/// What the index holds of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its newest committed record.
    pub place: Place,
    /// When it expires.
    pub expire_at: Option<Millis>,
}

/// The index has no address left for the entry (16 GiB of entries in one partition), and nothing
/// was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the partition's index is full")]
pub struct Full;

/// The index of one partition, of the kind that `--index` names. See the module's header.
pub enum Keydir {
    /// A hash table.
    Hash(HashKeydir),
    /// A hash table with an ordered tree of the keys beside it.
    Ordered(OrderedKeydir),
}

macro_rules! either {
    ($self:expr, $index:ident => $call:expr) => {
        match $self {
            Keydir::Hash($index) => $call,
            Keydir::Ordered($index) => $call,
        }
    };
}

impl core::fmt::Debug for Keydir {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Keydir").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Keydir {
    /// An empty index. Equal seeds and equal calls give equal results, scan order included; a seed
    /// that clients can not know keeps them from choosing keys that collide.
    pub fn new(kind: IndexKind, seed: u64) -> Self {
        match kind {
            IndexKind::Hash => Self::Hash(HashKeydir::new(seed)),
            IndexKind::Ordered => Self::Ordered(OrderedKeydir::new(seed)),
        }
    }

    /// The entry of `key`.
    pub fn get(&self, key: &[u8]) -> Option<Entry> {
        either!(self, index => index.get(key))
    }

    /// Sets the entry of `key` and returns the one it replaces.
    ///
    /// # Panics
    /// If the key is longer than 65,535 bytes or the segment id above [`SEGMENT_ID_MAX`].
    pub fn insert(&mut self, key: &[u8], entry: Entry) -> Result<Option<Entry>, Full> {
        either!(self, index => index.insert(key, entry))
    }

    /// Forgets `key` and returns its entry.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        either!(self, index => index.remove(key))
    }

    /// Points `key` at `to` if it still points at the record at `from` (segment and position), and
    /// returns whether it did. The expiry time stays.
    ///
    /// # Panics
    /// If it moves and the length is another: compaction copies a record as it is. Or if the
    /// segment id is above [`SEGMENT_ID_MAX`].
    pub fn relocate(&mut self, key: &[u8], from: (SegmentId, u32), to: Place) -> bool {
        either!(self, index => index.relocate(key, from, to))
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        either!(self, index => index.len())
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        either!(self, index => index.is_empty())
    }

    /// Number of keys with an expiry time, passed or not.
    pub fn expiring(&self) -> usize {
        either!(self, index => index.expiring())
    }

    /// Forgets every key and gives back the memory.
    pub fn clear(&mut self) {
        either!(self, index => index.clear());
    }

    /// Bytes held, everything counted.
    pub fn memory_bytes(&self) -> usize {
        either!(self, index => index.memory_bytes())
    }

    /// One step of an iteration: visits about `count` keys that start with `prefix` and returns the
    /// cursor to go on with, zero at the end; zero begins. The guarantee of Redis's SCAN: a key
    /// that is there from the first call to the last is visited at least once, whatever comes and
    /// goes meanwhile; one that is not may be. Cursors are less than two to [`CURSOR_BITS`].
    ///
    /// The hash index looks at keys without the prefix too and counts them, and looks at no more
    /// than ten bucket pairs for each of `count`, so a step may visit no key at all.
    pub fn scan(
        &mut self,
        cursor: u64,
        count: usize,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], Entry),
    ) -> u64 {
        either!(self, index => index.scan(cursor, count, prefix, visit))
    }

    /// One step of an endless walk, for active expiry: looks at about `count` keys, from where the
    /// last step ended, and visits those with an expiry time. Bounded as [`scan`](Self::scan) is.
    pub fn sweep(&mut self, count: usize, visit: &mut dyn FnMut(&[u8], Entry)) {
        either!(self, index => index.sweep(count, visit));
    }

    /// A key drawn by `r`, near enough uniformly, or none if there is none. A bounded number of
    /// looks.
    pub fn random(&self, r: u64) -> Option<(&[u8], Entry)> {
        either!(self, index => index.random(r))
    }

    /// Visits every key that starts with `prefix`: all at once, so for commands that promise as
    /// much and no others. The ordered index visits in order.
    pub fn for_each(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], Entry)) {
        either!(self, index => index.for_each(prefix, visit));
    }
}
