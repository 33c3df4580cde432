//! Rolling: the active segment is sealed and a new one takes its place.
//!
//! The old one is cut to its records (zeros ahead go) and made durable while the new one is made
//! and made durable; then the old one's [hint](super::hints) is ended and the manifest names both,
//! and only then is the new one written to.
//! Gathered records wait for that: a few fsyncs in every segment's worth of writes.
//!
//! A disk that is full for the new segment ends the roll and nothing else; it is tried again later.
//! A failed fsync of the old one is a failed fsync of the log, whatever has become of the roll.

use alloc::string::ToString;

use bytes::Bytes;

use super::fault::Failed;
use super::segments::Segment;
use super::{Active, Purpose, Replica, done};
use crate::disk::{Dir, DiskError, DiskOp, DiskResult, File};
use crate::limits::SEGMENT_IDS_KEPT;
use crate::marks::Mark;
use crate::storage::format::{SEGMENT_HEADER_BYTES, Sealed, encode_segment_header};
use crate::storage::keydir::SEGMENT_ID_MAX;
use crate::{Instant, Offset, SegmentId};

/// A roll under way.
#[derive(Debug)]
pub(super) struct Roll {
    new: Segment,
    old: Sealed,
    /// Fsyncs still to come back before the manifest may change.
    waits: u32,
    /// The manifest version that names the new segment.
    version: Option<u64>,
}

/// An operation of a roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RollOp {
    /// Nothing waits for it but its file's fsync.
    Step,
    /// The old segment is durable.
    OldSynced,
    /// The new segment is durable.
    NewSynced,
    /// The new segment's name is durable.
    DirSynced,
}

impl Replica {
    /// Whether what has gathered belongs into a new segment.
    pub(super) fn needs_roll(&self) -> bool {
        // An opening looks for the end of a batch in the segment of its beginning.
        if self.whole_end(self.flown_end) < self.flown_end {
            return false;
        }
        let full = self.active.len + self.gather.len() as u64 > self.settings.segment_bytes;
        let holds_records = self.active.len > SEGMENT_HEADER_BYTES as u64;
        (full && holds_records) || self.roll_wanted
    }

    /// Starts one. Everything written is committed or at least acknowledged by this replica.
    pub(super) fn start_roll(&mut self, now: Instant) {
        assert!(self.flying.is_none() && self.roll.is_none());
        if self.was_full(now) || self.sync_flying.is_some() {
            return;
        }
        self.marks.hit_if(self.roll_wanted, Mark::RolledAfterFault);
        let base = if self.gather.is_empty() { self.log_end } else { self.gather_base };
        let id = self.take_segment_id();
        let old = *self.segments.active();
        let damaged = old.quarantined;
        let sealed = Sealed {
            len: self.active.len,
            crc: self.active.crc.clone().finalize(),
            end: base.0,
            compacted: false,
            damaged,
        };
        let new = Segment::new(id, base, None);
        self.roll = Some(Roll { new, old: sealed, waits: 3, version: None });

        let (old, new) = (old.file(self.id), new.file(self.id));
        let len = self.active.len;
        self.submit(Purpose::Roll(id, RollOp::Step), DiskOp::Truncate { file: old, len });
        self.submit(Purpose::Roll(id, RollOp::OldSynced), DiskOp::Sync(old));
        self.create_segment(new, base, id);
    }

    fn create_segment(&mut self, file: crate::disk::File, base: Offset, id: SegmentId) {
        let header = Bytes::copy_from_slice(&encode_segment_header(self.id, id, base));
        self.submit(Purpose::Roll(id, RollOp::Step), DiskOp::Create(file));
        let write = DiskOp::Write { file, at: 0, data: header };
        self.submit(Purpose::Roll(id, RollOp::Step), write);
        self.submit(Purpose::Roll(id, RollOp::NewSynced), DiskOp::Sync(file));
    }

    /// Whether the numbers of segments come to their end: nothing more is logged or merged. What
    /// has been logged, and what an opening needs, takes of those that are kept.
    pub(super) fn segments_spent(&self) -> bool {
        self.next_segment.0 > SEGMENT_ID_MAX.0 - SEGMENT_IDS_KEPT
    }

    pub(super) fn take_segment_id(&mut self) -> SegmentId {
        let id = self.next_segment;
        assert!(id <= SEGMENT_ID_MAX, "{}: no number is left for a segment", self.id);
        self.next_segment = SegmentId(id.0 + 1);
        id
    }

    /// Takes the answer to an operation of the roll to segment `id`.
    pub(super) fn on_roll_io(
        &mut self,
        now: Instant,
        id: SegmentId,
        op: RollOp,
        result: DiskResult,
    ) {
        let result = done(result);
        // Also if the roll has failed by now: the segment goes on, and its next fsync would lie.
        if let (RollOp::OldSynced, Err(error)) = (op, result) {
            self.stop_on_fault(now, Failed::Fsync, error);
            return;
        }
        // A roll that failed is gone; its other answers are of no interest.
        let Some(roll) = self.roll.as_mut().filter(|roll| roll.new.id == id) else { return };
        if let Err(error) = result {
            let new = roll.new.file(self.id);
            self.roll = None;
            match error {
                // The old segment stays the active one, and no manifest names the new one.
                DiskError::Full => {
                    self.submit(Purpose::Tidy(new.to_string()), DiskOp::Delete(new));
                    self.clear_full(now);
                }
                DiskError::Io(_) | DiskError::NotFound => {
                    self.stop_on_fault(now, Failed::Roll, error);
                }
            }
            return;
        }
        match op {
            RollOp::Step => return,
            RollOp::NewSynced => {
                // Only now is there something for the directory to hold on to.
                let dir = Dir::Partition(self.id);
                roll.waits -= 1;
                self.submit(Purpose::Roll(id, RollOp::DirSynced), DiskOp::SyncDir(dir));
            }
            RollOp::OldSynced => {
                roll.waits -= 1;
                self.durable_end = self.written_end;
                self.say_acked_by_sync();
                self.durable_whole = self.written_whole;
                self.write_mark();
                // So that a power failure leaves a mark that is at most a segment old.
                self.submit(Purpose::SyncMark, DiskOp::Sync(File::Mark(self.id)));
            }
            RollOp::DirSynced => roll.waits -= 1,
        }
        self.name_new_segment();
    }

    /// Whether this is the new segment of a roll under way.
    pub(super) fn rolls_to(&self, id: SegmentId) -> bool {
        self.roll.as_ref().is_some_and(|roll| roll.new.id == id)
    }

    fn name_new_segment(&mut self) {
        let Some(roll) = self.roll.take_if(|roll| roll.waits == 0) else { return };
        self.marks.hit(Mark::Rolled);
        let hinted = self.finish_hint(*self.segments.active(), roll.old);
        let old = self.segments.active_mut();
        old.sealed = Some(roll.old);
        old.hinted = hinted;
        self.segments.push(roll.new);
        let version = Some(self.change_manifest());
        self.roll = Some(Roll { version, ..roll });
    }

    /// Ends the roll once the manifest names the new segment.
    pub(super) fn advance_roll(&mut self, _now: Instant) {
        let named = |roll: &mut Roll| roll.version.is_some_and(|v| self.manifest.durable(v));
        if self.roll.take_if(named).is_some() {
            self.roll_wanted = false;
            self.active = Active::empty();
        }
    }
}
