//! What a replica does when the disk fails it.
//!
//! - **The disk is full**: what was in flight is cut off again and the cut made durable, so that
//!   the refusal is final; only then are the clients told. Reads go on. Writes are refused until
//!   one is tried again a moment later.
//! - **A write failed otherwise, or an fsync failed**: after a failed fsync nobody knows what the
//!   disk holds, and asking again would be told a comfortable lie (the system has marked the pages
//!   clean). The replica stops at once and opens again as after a crash, trusting nothing above
//!   what was durable, and goes on in a new segment.
//! - **MARK could not be written**, where a write waits for it: the same, but the log is what it
//!   was taken for.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use super::ring::Ring;
use super::{Dropped, Event, Purpose, RETRY_AFTER, ReadFault, Replica, State, done};
use crate::disk::{Dir, DiskError, DiskOp, DiskResult, File};
use crate::limits::KEYDIR_BYTES_MAX;
use crate::marks::Mark;
use crate::shard::{FsyncMode, Severity};
use crate::{Epoch, Instant, Offset};

/// An operation of the clearing after a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClearOp {
    /// The cut.
    Truncate,
    /// Makes the cut durable.
    Sync,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    Write,
    Fsync,
    Roll,
    Manifest,
    Mark,
    ReadMark,
    Open,
}

/// Why a write is refused before anything is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The disk was full a moment ago.
    DiskFull,
    /// The replica does not serve.
    NotServing,
    /// The index can hold no more keys.
    IndexFull,
    /// There is no number left for a new segment.
    SegmentsSpent,
}

impl Replica {
    /// Whether a write would be taken now.
    pub fn writable(&self, now: Instant) -> Result<(), Refusal> {
        if !self.serving() {
            Err(Refusal::NotServing)
        } else if self.clearing.is_some() || self.was_full(now) || self.stood_down {
            Err(Refusal::DiskFull)
        } else if !self.may_append() {
            Err(Refusal::NotServing)
        } else if self.keydir.memory_bytes() >= KEYDIR_BYTES_MAX {
            Err(Refusal::IndexFull)
        } else if self.segments_spent() {
            Err(Refusal::SegmentsSpent)
        } else {
            Ok(())
        }
    }

    /// In a cluster: whether it is fit to lead. It is open, its disk was not full a moment
    /// ago, and it has numbers for more segments.
    pub fn fit(&self) -> bool {
        self.serving()
            && self.clearing.is_none()
            && self.full_until.is_none()
            && !self.segments_spent()
    }

    /// Whether the disk was full when something was last to be logged.
    pub fn is_full(&self) -> bool {
        self.clearing.is_some() || self.full_until.is_some() || self.stood_down
    }

    /// Whether the disk was full so short a time ago that it is not tried again yet.
    pub(super) fn was_full(&self, now: Instant) -> bool {
        self.full_until.is_some_and(|until| now < until)
    }

    /// It is tried again.
    pub(super) fn end_fullness(&mut self, now: Instant) {
        if !self.was_full(now) {
            self.full_until = None;
        }
    }

    /// Whether gathered records must wait although nothing is in flight.
    pub(super) fn blocked(&self) -> bool {
        self.clearing.is_some() || self.roll.is_some()
    }

    /// The write in flight has failed.
    pub(super) fn fail_append(&mut self, now: Instant, error: DiskError) {
        match error {
            DiskError::Full => self.clear_full(now),
            DiskError::Io(_) | DiskError::NotFound => {
                self.marks.hit(Mark::WriteFailed);
                self.stop_on_fault(now, Failed::Write, error);
            }
        }
    }

    /// The disk is full: takes back everything that is not stored.
    pub(super) fn clear_full(&mut self, now: Instant) {
        if matches!(self.state, State::Opening(_)) {
            // It is the epoch record that found no room: the opening is tried again as a whole.
            self.stop_on_fault(now, Failed::Open, DiskError::Full);
            return;
        }
        self.notice(
            Severity::Error,
            format!("{}: the disk is full: writes are refused, reads go on", self.id),
        );
        self.marks.hit(Mark::DiskFull);
        self.full_until = Some(now.after(RETRY_AFTER));
        self.take_back(self.stored_end());
        let Some(flying) = self.flying.take() else {
            // Nothing had been handed to the disk: the refusal is final as it is.
            self.say_taken_back(self.log_end);
            return;
        };
        self.clearing = Some(self.log_end);
        self.active.len = flying.position;
        self.active.crc = flying.crc_before;
        self.active.epoch = flying.epoch_before;
        self.active.zeroed_to = 0;
        let file = self.segments.active().file(self.id);
        let len = self.active.len;
        self.submit(Purpose::Clear(ClearOp::Truncate), DiskOp::Truncate { file, len });
        self.submit(Purpose::Clear(ClearOp::Sync), DiskOp::Sync(file));
    }

    /// The log ends here; nothing behind was acknowledged. In a cluster the reign ends with it: what
    /// was handed to the disk may have been shipped, and who has it must not be told otherwise in the
    /// same reign.
    fn take_back(&mut self, from: Offset) {
        assert!(self.high_watermark <= from);
        self.tail.cut(from);
        self.gather.clear();
        while self.writes.pop_back_if(|write| write.end > from).is_some() {}
        self.log_end = from;
        self.flown_end = from;
        if self.settings.replicated {
            self.ring.cut(from);
            self.cut_cursors(from);
            self.epochs.cut(from);
            self.epoch = self.last_epoch();
            self.bound_horizon();
            self.open_bytes = self.tail.open_bytes();
            self.reigns = false;
            self.stood_down = true;
        }
    }

    fn say_taken_back(&mut self, from: Offset) {
        let what = if self.settings.replicated { Dropped::Unknown } else { Dropped::DiskFull };
        self.events.push_back(Event::Dropped(from, what));
    }

    /// The epoch of the last record, as far as is known.
    pub(super) fn last_epoch(&self) -> Epoch {
        self.epochs.last().map_or(Epoch(0), |(epoch, _)| epoch)
    }

    pub(super) fn on_clear_io(&mut self, now: Instant, op: ClearOp, result: DiskResult) {
        match (op, done(result)) {
            (ClearOp::Truncate, Ok(())) => {}
            (ClearOp::Sync, Ok(())) => {
                let from = self.clearing.take().expect("the clearing is under way");
                // No write is taken before the clients of the dropped ones have been told.
                self.full_until = Some(now.after(RETRY_AFTER));
                self.say_taken_back(from);
            }
            (ClearOp::Truncate, Err(error)) => self.stop_on_fault(now, Failed::Write, error),
            (ClearOp::Sync, Err(error)) => self.stop_on_fault(now, Failed::Fsync, error),
        }
    }

    /// Stops at once and opens again a moment later, as after a crash.
    pub(super) fn stop_on_fault(&mut self, now: Instant, failed: Failed, error: DiskError) {
        let mut text = format!("{}: {failed}: {error}; the replica stops and opens again", self.id);
        if self.settings.fsync != FsyncMode::Always && self.durable_end < self.high_watermark {
            text += &format!(
                ": acknowledged writes from offset {} to {} were not fsynced and may be lost",
                self.durable_end, self.high_watermark
            );
        }
        if failed == Failed::ReadMark {
            text += &self.help_without_mark();
        }
        self.notice(Severity::Error, text);
        let distrust = match &self.state {
            State::Opening(opening) if !opening.is_settled() => opening.distrusts(),
            State::Opening(_) | State::Serving | State::Stopping(_) => {
                (failed == Failed::Fsync).then_some(self.durable_end)
            }
            State::Down { distrust, .. } => *distrust,
            State::Ended => None,
        };
        let cut = match &self.state {
            State::Opening(opening) => opening.cut,
            State::Serving | State::Stopping(_) | State::Down { .. } | State::Ended => None,
        };
        self.marks.hit_if(failed == Failed::Fsync, Mark::SyncFailed);
        self.roll_wanted |= matches!(failed, Failed::Fsync | Failed::Write);
        self.down(now, distrust, cut);
    }

    /// MARK tells a loss from a torn tail: to go on without it is for an operator to decide.
    fn help_without_mark(&self) -> String {
        let (dir, mark) = (Dir::Partition(self.id), File::Mark(self.id));
        if self.settings.replicated {
            format!(
                "; if the disk does not give it back, move {dir} away: the replica begins anew, with \
                 what the others have"
            )
        } else {
            format!(
                "; if the disk does not give it back, delete {mark}: should the end of the log be \
                 damaged too, it is then cut off as if it had never been acknowledged"
            )
        }
    }

    /// Gives up every operation; the answers to those that the disk has are waited for.
    pub(super) fn abandon_ops(&mut self) {
        let unasked: BTreeSet<u64> = self.ops.drain(..).map(|(io, _)| io).collect();
        for (io, purpose) in core::mem::take(&mut self.pending) {
            if !unasked.contains(&io) {
                self.abandoned.insert(io);
            }
            if let Purpose::Read(token, _) = purpose {
                self.events.push_back(Event::Read(token, Err(ReadFault::Stopped)));
            }
        }
        self.abandon_readers();
        self.abandon_scrub();
    }

    /// The memory is free for others at once, however long it stays down.
    pub(super) fn forget_uncommitted(&mut self) {
        self.gather.clear();
        self.tail.clear();
        self.writes.clear();
        self.ring = Ring::default();
        self.reigns = false;
    }

    fn down(&mut self, now: Instant, distrust: Option<Offset>, cut: Option<Offset>) {
        self.abandon_ops();
        // What waits in memory was never written; what was in flight may or may not be, and so may
        // what was to be cut off after a full disk, and what is on disk and is read again.
        if self.clearing.is_none() && !self.gather.is_empty() {
            self.events.push_back(Event::Dropped(self.gather_base, Dropped::NotApplied));
        }
        self.events.push_back(Event::Dropped(self.high_watermark, Dropped::Unknown));
        self.forget_uncommitted();
        self.state = State::Down { until: now.after(RETRY_AFTER), distrust, cut };
    }

    /// The directory can not be used, and trying again would not help.
    pub(super) fn refuse(&mut self, text: String) {
        self.events.push_back(Event::Refused(text));
        self.state = State::Ended;
    }
}

impl core::fmt::Display for Failed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Write => "a write failed",
            Self::Fsync => "an fsync failed",
            Self::Roll => "a new segment could not be made",
            Self::Manifest => "the manifest could not be written",
            Self::Mark => "MARK could not be written",
            Self::ReadMark => "MARK could not be read",
            Self::Open => "opening failed",
        })
    }
}
