//! Comparing a hint with the records of its segment.
//!
//! A hint says what its segment says, in the same order, and may leave out values that a later
//! record supersedes. So one walk over both tells whether every hinted place holds that key, and
//! which values are left out; whether these are superseded is known at the end of the partition.

use bytes::Bytes;

use crate::storage::format::ManifestSegment;
use crate::storage::hint::{Cursor, Footer, Hinted, Owner, Summary};
use crate::storage::record::Kind;
use crate::storage::scan::Scanned;
use crate::{Offset, PartitionId, SegmentId};

/// A sound hint, walked over beside its segment.
#[derive(Debug)]
pub(super) struct HintWalk {
    bytes: Bytes,
    footer: Footer,
    at: Cursor,
    /// What the records seen so far sum up to.
    seen: Summary,
}

impl HintWalk {
    /// `None` if the hint is damaged or not this segment's.
    pub(super) fn new(bytes: Bytes, id: PartitionId, spec: &ManifestSegment) -> Option<Self> {
        let owner = Owner {
            partition: id,
            segment: SegmentId(spec.id),
            base: Offset(spec.base),
            sealed: spec.sealed?,
        };
        let len = bytes.len() as u64;
        let (at, _) = Footer::span(len)?;
        let footer = Footer::verify(&bytes[at as usize..], len, &owner)?;
        let (at, seen) = (Cursor::default(), Summary::default());
        footer.fits(&bytes).then_some(Self { bytes, footer, at, seen })
    }

    /// Whether the hint names the record, or leaves it out as it may; `None` if it says otherwise.
    pub(super) fn compare(&mut self, record: &Scanned) -> Option<bool> {
        let head = record.head;
        let length = record.bytes.len();
        self.seen.epoch = self.seen.epoch.max(head.epoch);
        self.seen.clock = self.seen.clock.max(head.clock);
        if !matches!(head.kind, Kind::Put | Kind::Gap) {
            self.seen.other_bytes += length as u64;
        }
        if matches!(head.kind, Kind::Delete | Kind::Flush) {
            self.seen.tombstone_bytes += length as u64;
        }
        let next = self.footer.next(&self.bytes, self.at);
        let names = match (head.kind, next.map(|(hinted, _)| hinted)) {
            (Kind::Epoch | Kind::Clock | Kind::Gap, _) => return Some(true),
            (Kind::Put, Some(Hinted::Put(key, entry))) => {
                let position = u64::from(entry.place.position);
                if position > record.position {
                    return Some(false);
                }
                position == record.position
                    && key == record.key()
                    && entry.place.length as usize == length
                    && entry.expire_at == head.expire_at
            }
            (Kind::Put, Some(Hinted::Delete(_) | Hinted::Flush) | None) => return Some(false),
            (Kind::Delete, Some(Hinted::Delete(key))) => key == record.key(),
            (Kind::Flush, Some(Hinted::Flush)) => true,
            (Kind::Delete, Some(Hinted::Put(..) | Hinted::Flush) | None)
            | (Kind::Flush, Some(Hinted::Put(..) | Hinted::Delete(_)) | None) => false,
        };
        self.at = next.map_or(self.at, |(_, behind)| behind);
        names.then_some(true)
    }

    /// At the end of the segment: whether the hint has come to its end too, with the right sums.
    /// (Its epoch and clock may be those of records that compaction dropped.)
    pub(super) fn is_complete(&self) -> bool {
        let (told, seen) = (self.footer.summary, self.seen);
        self.footer.next(&self.bytes, self.at).is_none()
            && told.epoch >= seen.epoch
            && told.clock >= seen.clock
            && told.other_bytes == seen.other_bytes
            && told.tombstone_bytes == seen.tombstone_bytes
    }
}
