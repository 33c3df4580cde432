//! The keydir: key → where its newest committed record is.
//!
//! Every key of a partition is in memory, so what an entry takes beyond its key decides how many
//! keys a machine can serve, and a lookup is on the path of every command. The index holds places,
//! never values, knows nothing of logs or commits, and decides nothing: what is put in here has
//! been committed by others, and what expires here is only pointed out.
//!
//! # The hash index
//!
//! A lookup goes bucket → first entry of a chain → next entry …, about 1.5 entries deep on
//! average. Three parts, one file each:
//!
//! - `buckets`: an array of four-byte chain heads that grows by *linear hashing*. An insert above
//!   one key a bucket splits one bucket, a remove below one key in two merges up to two, and
//!   nothing is ever rehashed as a whole: no pause, and no moment at which two tables are held.
//! - `arena`: chunks of just under 256 KiB that hold the entries, addressed by four bytes in units
//!   of four. Blocks are reused by exact size, and chunks are emptied and given back, a few entries
//!   an operation, while holes take more than an eighth.
//! - `block`: an entry is packed without alignment, and a field is as wide as its value needs:
//!
//! | at | bytes | field |
//! |---:|---:|---|
//! | 0 | 1 | flags: bits 0–1 length bytes beyond two · 2 wide key length · 3–4 expiry (none, six, eight bytes) · 7 no entry |
//! | 1 | 3 | segment |
//! | 4 | 4 | address of the next entry in the bucket, 0 for none |
//! | 8 | 4 | position |
//! | 12 | 1, 2 | key length |
//! | … | 2, 3, 4 | record length |
//! | … | 0, 6, 8 | expiry time |
//! | … | | key, then up to three bytes to the next unit |
//!
//! A hole has flags 0x80 (free) or 0x81 (dead), its size in units in the next three bytes and, if
//! free, the next and previous block of its list at 4 and 8. Integers are little-endian.
//!
//! So a key of records under 64 KiB without expiry takes 4 (bucket) + 15 + up to 3 bytes, and one
//! of records under 16 MiB a byte more. The rest is slack: less than a chunk at the end of the
//! arena and of the bucket array each. Below about 100,000 keys that, and up to one unused head a
//! key, may pass 24 bytes; a small index is small in all.
//!
//! **Hash.** The low bits choose the bucket, so it is foldhash's *quality* variant, which spreads
//! the whole hash over every bit; the fast one says of itself that it does not. Both are seeded,
//! and neither lets keys be chosen in advance that collide under an unknown seed. Neither claims to
//! resist somebody who watches hash-dependent output at length, SCAN's order for one; a client that
//! may run SCAN may also run FLUSHALL. In a cluster the seed follows from the cluster's id, so that
//! SCAN can go on at another replica: whoever may run INFO can reckon it.
//!
//! **Scan.** The cursor counts low buckets in reversed bits, as Redis's does, and a low bucket is
//! visited together with the one split from it; see `buckets`.
//!
//! # The ordered index
//!
//! The same beside a B-tree of the keys, for scans by prefix; see [`OrderedKeydir`].
//!
//! # Invariants
//!
//! - A key has one entry, in the chain of the bucket that its hash belongs to.
//! - There are at most twice as many buckets as keys and two more (sixteen at least), so a walk
//!   over buckets meets keys at a known rate.
//! - Blocks tile each chunk up to its end, or to where the current chunk has been cut.
//! - A free block is on the list of its size; a dead one is on none.
//! - A refused insert ([`Full`]) changes nothing.
//! - Nothing depends on addresses or on time: equal seeds and calls give equal results.
//!
//! # Measured
//!
//! 16-byte keys in random order, best of several runs on a shared two-core virtual machine on
//! which one dependent cache miss over 36 MB takes about 220 ns. `HashMap` is hashbrown's with a
//! boxed key and the same hash.
//!
//! | | hash, 1M | hash, 10M | ordered, 10M | `HashMap`, 1M | `HashMap`, 10M |
//! |---|---:|---:|---:|---:|---:|
//! | resident bytes a key beyond the key | 20.3 | 20.0 | 81 | 119 | 98 |
//! | insert, ns | 420 | 870 | 4,400 | 480 | 1,110 |
//! | lookup, ns | 430 | 690 | 740 | 570 | 940 |
//! | lookup of an absent key, ns | 330 | 530 | 620 | 70 | 270 |
//! | update in place, ns | 250 | 390 | 450 | | |
//! | random draw, ns | 580 | 1,020 | 1,060 | | |
//!
//! A lower load (three keys in four buckets, one in two) was no faster within what the runs differ.
//! Hash bits beside an address would spare little: an entry that is not the one sought is fetched
//! for its link all the same.

macro_rules! either {
    ($self:expr, $index:ident => $call:expr) => {
        match $self {
            Keydir::Hash($index) => $call,
            Keydir::Ordered($index) => $call,
        }
    };
}

mod arena;
mod block;
mod buckets;
mod hash;
mod ordered;
#[cfg(test)]
mod tests;

pub use hash::HashKeydir;
pub(crate) use hash::WARM_KEYS;
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

    /// These keys will be looked up soon: brings the entries of the first [`WARM_KEYS`] of them into
    /// the processor's caches, their cache misses overlapping.
    pub fn warm<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        either!(self, index => index.warm(keys));
    }

    /// Makes an empty index ready for about so many keys, so that their coming costs less. One that
    /// holds keys stays as it is.
    pub fn reserve(&mut self, keys: usize) {
        either!(self, index => index.reserve(keys));
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
