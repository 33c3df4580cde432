//! The hint of the active segment, written while the segment is.
//!
//! What is committed is added to it, a full block goes to the disk at once, and the footer follows
//! when the segment is sealed: so a sealed segment has its hint without being read again, and the
//! memory for it is one block. Until then the file is no hint: it has no footer. Nothing waits for
//! it but a clean stop, for a hint that a crash spoilt is seen as such.
//!
//! An opening scans the active segment, and starts its hint anew from what it finds there. Where
//! the hint can not be written or the segment holds damage, it is given up. Compaction builds the
//! hint of a sealed segment that has none.

use alloc::format;

use super::segments::Segment;
use super::{Purpose, Replica, done};
use crate::disk::{DiskOp, DiskResult};
use crate::shard::Severity;
use crate::storage::format::Sealed;
use crate::storage::hint::{HintWriter, Hinted, Part, Summary};
use crate::storage::keydir::Entry;
use crate::storage::record::Kind;
use crate::{Epoch, Offset, SegmentId};

/// The hint of a segment that was sealed before all of it was committed.
#[derive(Debug)]
pub(super) struct Ending {
    segment: Segment,
    sealed: Sealed,
    /// Of its last record.
    epoch: Epoch,
    hint: Gathering,
}

/// A hint under way.
#[derive(Debug)]
pub(super) struct Gathering {
    writer: HintWriter,
    /// The file is there.
    created: bool,
}

impl Gathering {
    pub(super) fn new() -> Self {
        Self { writer: HintWriter::new(), created: false }
    }
}

impl Replica {
    /// A record takes effect: of the active segment, or of the one sealed last.
    pub(super) fn gather_hint(&mut self, kind: Kind, key: &[u8], entry: Entry) {
        let active = *self.segments.active();
        let (segment, hint) = match (&mut self.ending, &mut self.active.hint) {
            (Some(ending), _) if ending.segment.id == entry.place.segment => {
                (ending.segment, &mut ending.hint)
            }
            (_, Some(hint)) if active.id == entry.place.segment => (active, hint),
            (_, _) => return,
        };
        hint.writer.push(match kind {
            Kind::Put => Hinted::Put(key, entry),
            Kind::Delete => Hinted::Delete(key),
            Kind::Flush => Hinted::Flush,
            Kind::Epoch | Kind::Clock | Kind::Gap => return,
        });
        if let Some(part) = hint.writer.take_block() {
            let created = core::mem::replace(&mut hint.created, true);
            self.write_hint(segment, created, part);
        }
    }

    /// The active segment is about to be replaced: ends its hint. Returns whether it has one. What
    /// is not committed yet is waited for, but not beyond the end of the next segment.
    pub(super) fn finish_hint(&mut self, segment: Segment, sealed: Sealed) -> bool {
        let Some(hint) = self.active.hint.take().filter(|_| !sealed.damaged) else { return false };
        let ending = Ending { segment, sealed, epoch: self.active.epoch, hint };
        if self.high_watermark < Offset(sealed.end) {
            self.ending = Some(ending);
            return false;
        }
        self.end_hint(ending);
        true
    }

    /// Ends the hint of the segment that was sealed before all of it was committed, if it is now.
    pub(super) fn finish_ending(&mut self) {
        let end = self.high_watermark;
        let Some(ending) = self.ending.take_if(|e| Offset(e.sealed.end) <= end) else { return };
        if let Some(segment) = self.segments.get_mut(ending.segment.id) {
            segment.hinted = true;
            let segment = *segment;
            self.end_hint(Ending { segment, ..ending });
        }
    }

    fn end_hint(&mut self, Ending { segment, sealed, epoch, hint }: Ending) {
        let summary = Summary {
            epoch,
            clock: self.committed_clock,
            other_bytes: segment.other,
            tombstone_bytes: segment.tombstones,
        };
        let part = hint.writer.finish(&self.owner(&segment, sealed), &summary);
        self.write_hint(segment, hint.created, part);
        self.submit(Purpose::Hint(segment.id), DiskOp::Sync(segment.hint(self.id)));
    }

    /// Whether parts of hints are on their way to the disk.
    pub(super) fn writes_hints(&self) -> bool {
        self.pending.values().any(|purpose| matches!(purpose, Purpose::Hint(_)))
    }

    fn write_hint(&mut self, segment: Segment, created: bool, part: Part) {
        let (file, Part { at, data }) = (segment.hint(self.id), part);
        if !created {
            self.submit(Purpose::Hint(segment.id), DiskOp::Create(file));
        }
        self.submit(Purpose::Hint(segment.id), DiskOp::Write { file, at, data });
    }

    pub(super) fn on_hint_written(&mut self, id: SegmentId, result: DiskResult) {
        let Err(error) = done(result) else { return };
        if self.segments.list().last().is_some_and(|active| active.id == id) {
            self.active.hint = None;
        }
        self.ending.take_if(|ending| ending.segment.id == id);
        let Some(segment) = self.segments.get_mut(id) else { return };
        segment.hinted = false;
        let file = segment.hint(self.id);
        self.notice(Severity::Warn, format!("{file} could not be written: {error}"));
    }
}
