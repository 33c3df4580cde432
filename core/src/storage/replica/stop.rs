//! A clean stop: everything durable, the zeros ahead cut off, the manifest marked as clean.
//!
//! An active segment that has grown long is sealed first, so that the next opening has a hint for
//! it and need not scan it. What is shorter is scanned sooner than small segments are worth.
//!
//! A stop that comes while the replica opens is immediate where every acknowledged write was
//! fsynced before it was acknowledged. Otherwise an earlier life, ended by a kill, may have left
//! acknowledged writes in the system's memory alone: the opening goes on, since it makes them
//! durable, and then the replica stops.

use alloc::format;

use super::choose::SMALL_SHARE;
use super::{Event, Purpose, Replica, State, done};
use crate::Instant;
use crate::disk::{DiskOp, DiskResult, ValueCache};
use crate::shard::FsyncMode;

/// A stop under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopping {
    /// What was gathered is written.
    Drain,
    /// The active segment is sealed, with its hint, and a new one made.
    Roll,
    /// The log is cut to its records and made durable: so many answers to come.
    Sync(u32),
    /// The clean manifest must be durable.
    Manifest(u64),
}

impl Replica {
    /// Starts a clean stop; nothing may be appended any more. Ends with
    /// [`Event::Stopped`].
    pub fn stop(&mut self, now: Instant, cache: &mut dyn ValueCache) {
        self.stop_wanted = true;
        self.advance(now, cache);
    }

    pub(super) fn advance_stop(&mut self, now: Instant) {
        if !self.stop_wanted {
            return;
        }
        if self.serving() {
            self.abandon_merge();
            self.abandon_scrub();
            self.state = State::Stopping(Stopping::Drain);
        }
        match self.state {
            State::Opening(_) if self.settings.fsync == FsyncMode::Always => {
                // What is under way is of no interest any more.
                self.pending.clear();
                self.ops.clear();
                self.end_stop(false);
            }
            // The cut goes on as soon as the disk has answered, and then the opening ends it.
            State::Down { until, cut: Some(_), .. } if until <= now => {}
            State::Down { .. } => self.refuse(format!(
                "{} stopped after a disk error and could not be closed cleanly: what was fsynced \
                 is safe, and the next start looks at the rest",
                self.id
            )),
            State::Stopping(Stopping::Drain) => {
                let idle = self.gather.is_empty()
                    && self.flying.is_none()
                    && self.roll.is_none()
                    && self.clearing.is_none()
                    && self.sync_flying.is_none()
                    && !self.writes_hints();
                if idle && self.roll_pays() && !self.was_full(now) {
                    self.start_roll(now);
                    self.state = State::Stopping(Stopping::Roll);
                } else if idle {
                    self.seal_tail();
                }
            }
            // It may have failed for want of space: then the log ends where it did.
            State::Stopping(Stopping::Roll) if self.roll.is_none() && !self.writes_hints() => {
                self.seal_tail();
            }
            State::Stopping(Stopping::Manifest(version)) if self.manifest.durable(version) => {
                self.end_stop(true);
            }
            State::Opening(_) | State::Stopping(_) | State::Serving | State::Ended => {}
        }
    }

    /// Whether the active segment is long enough to be sealed. Compaction would merge a shorter one
    /// with its neighbours.
    fn roll_pays(&self) -> bool {
        let whole = self.open_batch().is_none();
        whole && self.active.len >= self.settings.segment_bytes / SMALL_SHARE
    }

    fn seal_tail(&mut self) {
        let file = self.segments.active().file(self.id);
        self.submit(Purpose::Stop, DiskOp::Truncate { file, len: self.active.len });
        self.submit(Purpose::Stop, DiskOp::Sync(file));
        self.state = State::Stopping(Stopping::Sync(2));
    }

    pub(super) fn on_stop_io(&mut self, now: Instant, result: DiskResult) {
        let State::Stopping(Stopping::Sync(left)) = self.state else { return };
        if let Err(error) = done(result) {
            self.stop_on_fault(now, super::fault::Failed::Fsync, error);
            return;
        }
        if left > 1 {
            self.state = State::Stopping(Stopping::Sync(left - 1));
            return;
        }
        self.durable_end = self.written_end;
        self.durable_whole = self.written_whole;
        self.write_mark();
        let version = self.change_manifest();
        self.state = State::Stopping(Stopping::Manifest(version));
    }

    fn end_stop(&mut self, clean: bool) {
        self.state = State::Ended;
        self.events.push_back(Event::Stopped { clean });
    }
}
