//! The disk as a peer: what core asks of it and what it answers.
//!
//! A driver keeps the order of operations on one file and may reorder everything else. Nothing is
//! durable before a [`DiskOp::Sync`] of the file has come back, and no create, rename or delete
//! before a [`DiskOp::SyncDir`] of its directory has.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::{Offset, PartitionId, SegmentId};

/// A directory of the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dir {
    /// The data directory itself.
    Root,
    /// One partition's directory, `p<id>`.
    Partition(PartitionId),
}

/// A file of the data directory. Its `Display` is its path below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum File {
    /// `META`: format version, directory id, number of partitions.
    Meta,
    /// `META.tmp`, renamed to `META` once durable.
    MetaTmp,
    /// `UNSYNCED`: empty; while it is there, writes that were acknowledged may not be durable, or gone.
    Unsynced,
    /// `p<id>.held`: empty; in a cluster, the partition has served here: if no log is there, it is gone.
    Held(PartitionId),
    /// `p<id>/MANIFEST`: which segments the partition consists of.
    Manifest(PartitionId),
    /// `p<id>/MANIFEST.tmp`, renamed to `MANIFEST` once durable.
    ManifestTmp(PartitionId),
    /// `p<id>/MARK`: how far the log was known durable.
    Mark(PartitionId),
    /// `p<id>/<base offset>-<segment id>.log`.
    Segment(PartitionId, Offset, SegmentId),
    /// `p<id>/<base offset>-<segment id>.hint`.
    Hint(PartitionId, Offset, SegmentId),
}

impl File {
    /// The directory that holds the file.
    pub fn dir(self) -> Dir {
        match self {
            Self::Meta | Self::MetaTmp | Self::Unsynced | Self::Held(_) => Dir::Root,
            Self::Manifest(p)
            | Self::ManifestTmp(p)
            | Self::Mark(p)
            | Self::Segment(p, ..)
            | Self::Hint(p, ..) => Dir::Partition(p),
        }
    }
}

impl fmt::Display for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("."),
            Self::Partition(p) => write!(f, "{p}"),
        }
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta => f.write_str("META"),
            Self::MetaTmp => f.write_str("META.tmp"),
            Self::Unsynced => f.write_str("UNSYNCED"),
            Self::Held(p) => write!(f, "{p}.held"),
            Self::Manifest(p) => write!(f, "{p}/MANIFEST"),
            Self::ManifestTmp(p) => write!(f, "{p}/MANIFEST.tmp"),
            Self::Mark(p) => write!(f, "{p}/MARK"),
            Self::Segment(p, base, id) => write!(f, "{p}/{:020}-{:08x}.log", base.0, id.0),
            Self::Hint(p, base, id) => write!(f, "{p}/{:020}-{:08x}.hint", base.0, id.0),
        }
    }
}

/// One operation. Each is answered once, by [`DiskDone`] or [`DiskError`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DiskOp {
    /// Makes the directory; no error if it is there. Answered by `Done`.
    CreateDir(Dir),
    /// The names and sizes of the files in a directory; a sub-directory's name ends in `/`. Answered
    /// by `Listing`.
    List(Dir),
    /// Makes an empty file, or empties it. Answered by `Done`.
    Create(File),
    /// Writes all of `data` at byte `at`. Answered by `Done`; an error may leave any part written.
    Write {
        /// The file, which exists.
        file: File,
        /// Where in it, in bytes.
        at: u64,
        /// What to write.
        data: Bytes,
    },
    /// Writes `len` zeros at byte `at`, so that later writes there change no metadata and their
    /// fsync is cheaper. Answered by `Done`.
    WriteZeros {
        /// The file, which exists.
        file: File,
        /// Where in it, in bytes.
        at: u64,
        /// How many zeros.
        len: u64,
    },
    /// Makes what was written to the file before durable (fdatasync). Answered by `Done`.
    Sync(File),
    /// Reads `len` bytes at `at`; fewer at the end of the file. Answered by `Data`.
    Read {
        /// The file.
        file: File,
        /// Where in it, in bytes.
        at: u64,
        /// How many bytes.
        len: u32,
    },
    /// Cuts the file to `len` bytes. Answered by `Done`.
    Truncate {
        /// The file.
        file: File,
        /// Its new length in bytes.
        len: u64,
    },
    /// Renames a file, replacing `to`. Answered by `Done`.
    Rename {
        /// The present name.
        from: File,
        /// The new name, in the same directory.
        to: File,
    },
    /// Deletes a file; no error if it is gone. Answered by `Done`.
    Delete(File),
    /// Deletes a file by its name in a directory: a leftover that is no [`File`] of ours any more.
    /// Answered by `Done`.
    DeleteNamed(Dir, String),
    /// Makes creates, renames and deletes in the directory durable. Answered by `Done`.
    SyncDir(Dir),
}

/// A successful answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DiskDone {
    /// Done as asked.
    Done,
    /// The bytes read; shorter than asked at the end of the file.
    Data(Bytes),
    /// File names with their sizes in bytes, in any order.
    Listing(Vec<(String, u64)>),
}

/// A failed operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DiskError {
    /// The file or directory does not exist.
    #[error("no such file")]
    NotFound,
    /// The disk or the quota is full (ENOSPC, EDQUOT).
    #[error("disk full")]
    Full,
    /// Anything else, with the system's error number.
    #[error("I/O error {0}")]
    Io(i32),
}

/// The answer to a [`DiskOp`].
pub type DiskResult = Result<DiskDone, DiskError>;

/// Where a record is, in the whole node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey {
    /// The partition.
    pub partition: PartitionId,
    /// The segment.
    pub segment: SegmentId,
    /// Where in the segment the record starts, in bytes.
    pub position: u32,
}

/// The driver's byte-bounded cache of values in front of the disk. A value is known by the place of
/// its record: a segment id is never used again, and a place is written once more only behind a
/// [`clear`](Self::clear), so no entry is stale. (The key says where the cache may look for it: a newer
/// value of a key takes the room of the older one.) The cache may forget anything at any time and
/// decides nothing. It is an object handed to the shard rather than an output and an input, since
/// the round trip through the queues costs the read path more than the lookup.
pub trait ValueCache {
    /// The value of `key` at `place`, if it is remembered.
    fn get(&mut self, key: &[u8], place: CacheKey) -> Option<crate::Value>;
    /// Remembers the value of `key` at `place`, for as long as the driver likes.
    fn put(&mut self, key: &[u8], place: CacheKey, value: &crate::Value);
    /// What a [`DiskOp::Read`] would give, if the system holds these bytes in memory; `None` rather
    /// than a wait for the disk.
    fn read_now(&mut self, file: File, at: u64, len: u32) -> Option<Bytes>;
    /// Compaction has copied the record of `key` from one place to another.
    fn moved(&mut self, key: &[u8], from: CacheKey, to: CacheKey);
    /// Places are written once more: nothing that is remembered holds.
    fn clear(&mut self);
    /// `key` will be asked for soon: brings what is known of it into the processor's caches.
    fn warm(&self, key: &[u8]);
    /// Counters for INFO.
    fn stats(&self) -> CacheStats;
}

/// What a [`ValueCache`] has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Lookups that found the value.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Bytes held now.
    pub bytes: u64,
    /// Bytes it may hold.
    pub capacity: u64,
}

/// Remembers nothing: for who reads everything once, and for tests that read from disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCache;

impl ValueCache for NoCache {
    fn get(&mut self, _: &[u8], _: CacheKey) -> Option<crate::Value> {
        None
    }

    fn put(&mut self, _: &[u8], _: CacheKey, _: &crate::Value) {}

    fn clear(&mut self) {}

    fn read_now(&mut self, _: File, _: u64, _: u32) -> Option<Bytes> {
        None
    }

    fn moved(&mut self, _: &[u8], _: CacheKey, _: CacheKey) {}

    fn warm(&self, _: &[u8]) {}

    fn stats(&self) -> CacheStats {
        CacheStats::default()
    }
}
