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
use crate::SegmentId;
use crate::disk::{DiskOp, DiskResult};
use crate::shard::Severity;
use crate::storage::format::Sealed;
use crate::storage::hint::{HintWriter, Hinted, Part, Summary};
use crate::storage::keydir::Entry;
use crate::storage::record::Kind;

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
    /// A record of the active segment takes effect.
    pub(super) fn gather_hint(&mut self, kind: Kind, key: &[u8], entry: Entry) {
        let Some(hint) = &mut self.active.hint else { return };
        hint.writer.push(match kind {
            Kind::Put => Hinted::Put(key, entry),
            Kind::Delete => Hinted::Delete(key),
            Kind::Flush => Hinted::Flush,
            Kind::Epoch | Kind::Clock => return,
        });
        if let Some(part) = hint.writer.take_block() {
            let created = core::mem::replace(&mut hint.created, true);
            self.write_hint(*self.segments.active(), created, part);
        }
    }

    /// The active segment is about to be replaced: ends its hint. Returns whether it has one.
    pub(super) fn finish_hint(&mut self, segment: Segment, sealed: Sealed) -> bool {
        let Some(hint) = self.active.hint.take().filter(|_| !sealed.damaged) else { return false };
        let summary = Summary {
            epoch: self.epoch,
            clock: self.committed_clock,
            other_bytes: segment.other,
            tombstone_bytes: segment.tombstones,
        };
        let part = hint.writer.finish(&self.owner(&segment, sealed), &summary);
        self.write_hint(segment, hint.created, part);
        self.submit(Purpose::Hint(segment.id), DiskOp::Sync(segment.hint(self.id)));
        true
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
        let Some(segment) = self.segments.get_mut(id) else { return };
        segment.hinted = false;
        let file = segment.hint(self.id);
        self.notice(Severity::Warn, format!("{file} could not be written: {error}"));
    }
}
