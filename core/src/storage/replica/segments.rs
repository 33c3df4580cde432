//! The partition's segments: which there are, how full, how much of each is dead.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::disk::File;
use crate::storage::format::{ManifestSegment, SEGMENT_HEADER_BYTES, Sealed};
use crate::storage::keydir::Place;
use crate::storage::record::Kind;
use crate::storage::replica::Replica;
use crate::storage::scan::Scanner;
use crate::{Offset, PartitionId, SegmentId};

/// One segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) id: SegmentId,
    pub(super) base: Offset,
    /// `None` while it is the active one.
    pub(super) sealed: Option<Sealed>,
    /// Bytes of records that the keydir points at.
    pub(super) live: u64,
    /// Bytes of records without a value: tombstones, epochs, clocks, flushes.
    pub(super) other: u64,
    /// Bytes of tombstones and flushes among them.
    pub(super) tombstones: u64,
    /// It has a hint on disk.
    pub(super) hinted: bool,
    /// Not to be compacted or hinted: it holds damage.
    pub(super) quarantined: bool,
}

/// All of them, in log order; the last is the active one.
#[derive(Clone, Debug, Default)]
pub(super) struct Segments {
    list: Vec<Segment>,
    /// Where each stands in `list`.
    index: BTreeMap<SegmentId, usize>,
}

impl Replica {
    /// A scanner of the first `len` bytes of its file.
    pub(super) fn scanner(&self, segment: &Segment, len: u64) -> Scanner {
        let dense = segment.sealed.is_none_or(|sealed| !sealed.compacted);
        Scanner::new(self.id, segment.id, segment.base, len, dense)
            .by_windows(self.settings.window_bytes)
    }
}

impl Segment {
    pub(super) fn new(id: SegmentId, base: Offset, sealed: Option<Sealed>) -> Self {
        let quarantined = sealed.is_some_and(|s| s.damaged);
        Self { id, base, sealed, live: 0, other: 0, tombstones: 0, hinted: false, quarantined }
    }

    pub(super) fn file(&self, partition: PartitionId) -> File {
        File::Segment(partition, self.base, self.id)
    }

    pub(super) fn hint(&self, partition: PartitionId) -> File {
        File::Hint(partition, self.base, self.id)
    }

    /// Counts a record without a value.
    pub(super) fn count_other(&mut self, kind: Kind, bytes: u32) {
        match kind {
            // Nothing is lost with it: it counts as dead, so that compaction takes it away.
            Kind::Gap => return,
            Kind::Delete | Kind::Flush => self.tombstones += u64::from(bytes),
            Kind::Put | Kind::Epoch | Kind::Clock => {}
        }
        self.other += u64::from(bytes);
    }

    /// All of it could be read, as it was sealed: what was wrong with it has passed.
    pub(super) fn mend(&mut self) {
        self.quarantined = false;
        if let Some(sealed) = &mut self.sealed {
            sealed.damaged = false;
        }
    }

    /// Whether it may hold a value of a key that has been deleted since.
    pub(super) fn may_hold_dead(&self) -> bool {
        self.dead() > 0 || self.quarantined
    }

    /// Bytes of records with a value that nothing points at any more. Zero for the active segment.
    pub(super) fn dead(&self) -> u64 {
        self.sealed.map_or(0, |s| {
            s.len.saturating_sub(SEGMENT_HEADER_BYTES as u64 + self.live + self.other)
        })
    }
}

impl Segments {
    /// From the manifest.
    pub(super) fn from_manifest(listed: &[ManifestSegment]) -> Self {
        let segment = |s: &ManifestSegment| Segment::new(SegmentId(s.id), Offset(s.base), s.sealed);
        Self::of(listed.iter().map(segment).collect())
    }

    /// These, in log order.
    pub(super) fn of(list: Vec<Segment>) -> Self {
        let mut segments = Self { list, index: BTreeMap::new() };
        segments.reindex();
        segments
    }

    /// For the manifest.
    pub(super) fn to_manifest(&self) -> Vec<ManifestSegment> {
        self.list
            .iter()
            .map(|s| ManifestSegment { id: s.id.0, base: s.base.0, sealed: s.sealed })
            .collect()
    }

    pub(super) fn list(&self) -> &[Segment] {
        &self.list
    }

    pub(super) fn active(&self) -> &Segment {
        self.list.last().expect("there is an active segment")
    }

    pub(super) fn active_mut(&mut self) -> &mut Segment {
        self.list.last_mut().expect("there is an active segment")
    }

    pub(super) fn push(&mut self, segment: Segment) {
        if let Some(last) = self.list.last() {
            assert!(last.sealed.is_some_and(|s| s.end <= segment.base.0));
        }
        self.index.insert(segment.id, self.list.len());
        self.list.push(segment);
    }

    pub(super) fn at_mut(&mut self, index: usize) -> &mut Segment {
        &mut self.list[index]
    }

    pub(super) fn get_mut(&mut self, id: SegmentId) -> Option<&mut Segment> {
        self.index.get(&id).map(|&at| &mut self.list[at])
    }

    pub(super) fn get(&self, id: SegmentId) -> Option<&Segment> {
        self.index.get(&id).map(|&at| &self.list[at])
    }

    /// Replaces the segments `from..to` by `with` (or by nothing).
    pub(super) fn replace(&mut self, from: usize, to: usize, with: Option<Segment>) {
        assert!(to < self.list.len(), "the active segment is never replaced");
        self.list.splice(from..to, with);
        self.reindex();
    }

    fn reindex(&mut self) {
        self.index = self.list.iter().enumerate().map(|(at, s)| (s.id, at)).collect();
    }

    /// The keydir points at `place` from now on.
    pub(super) fn enliven(&mut self, place: Place) {
        if let Some(segment) = self.get_mut(place.segment) {
            segment.live += u64::from(place.length);
        }
    }

    /// The keydir no longer points at `place`. (A place in a segment that was just compacted away
    /// is nobody's any more.)
    pub(super) fn bury(&mut self, place: Place) {
        if let Some(segment) = self.get_mut(place.segment) {
            segment.live = segment
                .live
                .checked_sub(u64::from(place.length))
                .expect("a place is buried once after it was enlivened");
        }
    }
}
