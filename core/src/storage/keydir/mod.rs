//! The keydir: key → where its newest committed record is.

use crate::{Millis, SegmentId};

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
