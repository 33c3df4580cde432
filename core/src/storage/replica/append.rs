//! Appending with group commit.
//!
//! Records gather in memory while one write (under `--fsync always`: and its fsync) is in flight;
//! when it has come back, all that has gathered goes out as the next. Under the other modes the
//! fsync follows on its own clock and nobody waits for it.

use alloc::format;

use bytes::Bytes;

use super::fault::Failed;
use super::tail::{Part, TailRecord};
use super::{Flying, Purpose, Replica, State, Written, done};
use crate::disk::{DiskError, DiskOp, DiskResult, File, ValueCache};
use crate::kv::Op;
use crate::limits::{PARTITION_GATHER_BYTES_MAX, PARTITION_TAIL_BYTES_MAX};
use crate::shard::{FsyncMode, Severity};
use crate::storage::format::{MarkSlot, mark_slot_at};
use crate::storage::record::{self, Head, Kind};
use crate::{Epoch, Instant, Millis, Offset, Value};

/// Writes longer than this go past the zeros: their bytes cost more than the new file length, and
/// zeros would double them.
const ZERO_AHEAD_WRITE_MAX: usize = 16 << 10;

impl Replica {
    /// Logs a flush (if `flush`) and then `count` operations as one atomic batch. Returns the
    /// offset behind it: it is committed once the high watermark is there. Only while
    /// [`writable`](Self::writable).
    pub fn append<'a>(
        &mut self,
        clock: Millis,
        flush: bool,
        count: usize,
        ops: impl Iterator<Item = &'a (Value, Op)>,
    ) -> Offset {
        assert!(self.serving() && (flush || count > 0) && self.may_append());
        if flush {
            self.push(clock, Kind::Flush, count > 0, &Value::empty(), &Value::empty(), None);
        }
        let mut left = count;
        for (key, op) in ops {
            left -= 1;
            match op {
                Op::Put { value, expire_at } => {
                    self.push(clock, Kind::Put, left > 0, key, value, *expire_at);
                }
                Op::Delete => self.push(clock, Kind::Delete, left > 0, key, &Value::empty(), None),
            }
        }
        assert!(left == 0, "a batch is closed by its last record");
        self.log_end
    }

    /// Logs the clock alone, unless a record with this clock or a later one is on its way; returns
    /// the offset behind which the clock is committed.
    pub fn append_clock(&mut self, clock: Millis) -> Offset {
        assert!(self.may_append());
        if self.log_clock() < clock {
            self.push(clock, Kind::Clock, false, &Value::empty(), &Value::empty(), None);
        }
        self.log_end
    }

    /// In a cluster: this replica leads from now on. Logs the beginning of the reign and returns the
    /// offset of its record. `epoch` is later than any that the log knows, and the log does not end
    /// within a batch ([`open_batch`](Self::open_batch)).
    pub fn begin_reign(&mut self, epoch: Epoch) -> Offset {
        assert!(self.settings.replicated && self.serving());
        assert!(epoch > self.epoch, "reigns follow each other");
        assert!(self.open_batch().is_none(), "a reign does not begin within a batch");
        self.epoch = epoch;
        let start = self.log_end;
        self.settle_floors();
        if self.floors.owes_behind(start) {
            // Whoever has what it lacks begins anew.
            self.tombstone_horizon = self.tombstone_horizon.max(start.plus(1));
            self.change_manifest();
        }
        self.append_epoch();
        self.tail.show();
        self.reigns = true;
        self.stood_down = false;
        start
    }

    /// What the log owed so far is settled, where it is durable.
    pub(super) fn settle_floors(&mut self) {
        if let Some(from) = self.floors.settle(&self.epochs, self.durable_end) {
            self.tombstone_horizon = self.tombstone_horizon.max(from);
        }
    }

    /// Whether this replica decides what is logged.
    pub(super) fn may_append(&self) -> bool {
        self.reigns || !self.settings.replicated
    }

    /// Logs the beginning of a reign.
    pub(super) fn append_epoch(&mut self) {
        self.epochs.push(self.epoch, self.log_end);
        let clock = self.log_clock();
        self.push(clock, Kind::Epoch, false, &Value::empty(), &Value::empty(), None);
        self.note_reign(self.log_end);
    }

    /// The record that ends there begins a reign: see [`acked_end`](Self::acked_end).
    pub(super) fn note_reign(&mut self, end: Offset) {
        if self.settings.replicated && self.settings.fsync != FsyncMode::Always {
            self.sync_to = self.sync_to.max(end);
        }
    }

    /// Whether more can be gathered for the disk now; if not, clients must wait.
    pub fn has_room(&self) -> bool {
        let tail = if self.settings.replicated { self.tail.bytes() } else { 0 };
        self.gather.len() < PARTITION_GATHER_BYTES_MAX && tail < PARTITION_TAIL_BYTES_MAX
    }

    fn push(
        &mut self,
        clock: Millis,
        kind: Kind,
        more: bool,
        key: &Value,
        value: &Value,
        expire_at: Option<Millis>,
    ) {
        if self.gather.is_empty() {
            self.gather_base = self.log_end;
        }
        let offset = self.log_end;
        let at = self.gather.len() as u32;
        let clock = clock.max(self.log_clock());
        let (partition, epoch) = (self.id, self.epoch);
        let head = Head { kind, more, partition, epoch, offset, clock, expire_at };
        let len = record::encode(&head, key, value, &mut self.gather) as u32;
        let (key, value) = (Part::Own(key.clone()), Part::Own(value.clone()));
        self.tail.push(TailRecord { offset, kind, more, key, value, expire_at, clock, at, len });
        self.log_end = offset.plus(1);
    }

    /// Writes what has gathered, if nothing is in flight. Starts a roll first if it does not fit.
    pub(super) fn advance_append(&mut self, now: Instant) {
        let live = match self.state {
            State::Serving | State::Opening(_) | State::Stopping(_) => true,
            State::Down { .. } | State::Ended => false,
        };
        if !live || self.gather.is_empty() || self.flying.is_some() || self.blocked() {
            return;
        }
        if self.needs_roll() {
            self.start_roll(now);
            return;
        }
        let data = self.gather.split().freeze();
        self.fly(data);
        if let FsyncMode::EveryMs(ms) = self.settings.fsync
            && self.sync_deadline().is_none()
        {
            self.sync_due = now.after(core::time::Duration::from_millis(u64::from(ms)));
        }
    }

    fn fly(&mut self, data: Bytes) {
        let segment = *self.segments.active();
        let file = segment.file(self.id);
        let (position, large) = (self.active.len, data.len() > ZERO_AHEAD_WRITE_MAX);
        let (crc_before, epoch_before) = (self.active.crc.clone(), self.active.epoch);
        self.active.crc.update(&data);
        self.active.epoch = self.epoch;
        self.active.len += data.len() as u64;
        let (base, end) = (self.flown_end, self.log_end);
        self.flown_end = end;
        let whole = self.whole_end(end);
        self.flying = Some(Flying { position, crc_before, epoch_before, end, whole });
        self.writes.push_back(Written { segment: segment.id, position, end });
        if self.settings.replicated {
            self.ring.push((base, end), &data);
        }
        self.submit(Purpose::Write, DiskOp::Write { file, at: position, data });
        if !large {
            self.zero_ahead(file);
        }
        if self.settings.fsync == FsyncMode::Always {
            self.submit(Purpose::Sync(end, whole), DiskOp::Sync(file));
        }
    }

    /// Keeps zeros ahead of the log end, so that most writes do not change the file's length.
    fn zero_ahead(&mut self, file: File) {
        let step = self.settings.zero_ahead_bytes;
        if step == 0 || self.active.len <= self.active.zeroed_to {
            return;
        }
        let at = self.active.len;
        self.active.zeroed_to = at + step;
        self.submit(Purpose::Zeros, DiskOp::WriteZeros { file, at, len: step });
    }

    pub(super) fn on_write(
        &mut self,
        now: Instant,
        result: DiskResult,
        cache: &mut dyn ValueCache,
    ) {
        let flying = self.flying.as_ref().expect("one write is in flight");
        let (end, whole) = (flying.end, flying.whole);
        match done(result) {
            Ok(()) => {
                (self.written_end, self.written_whole) = (end, whole);
                if self.settings.fsync != FsyncMode::Always {
                    self.acknowledge(cache);
                }
            }
            Err(error) => self.fail_append(now, error),
        }
    }

    /// Zeros are a help and no promise: a full disk ends them for this segment, with no harm done.
    pub(super) fn on_zeros(&mut self, now: Instant, result: DiskResult) {
        match done(result) {
            Ok(()) => {}
            Err(DiskError::Full) => self.active.zeroed_to = u64::MAX,
            Err(error @ (DiskError::Io(_) | DiskError::NotFound)) => {
                self.stop_on_fault(now, Failed::Write, error);
            }
        }
    }

    /// An fsync of the active segment came back; it covers everything before `end`, and the batches
    /// before `whole` as a whole.
    pub(super) fn on_sync(
        &mut self,
        now: Instant,
        (end, whole): (Offset, Offset),
        result: DiskResult,
        cache: &mut dyn ValueCache,
    ) {
        if let Err(error) = done(result) {
            self.stop_on_fault(now, Failed::Fsync, error);
            return;
        }
        self.counters.fsyncs += 1;
        // A write that failed has already ended this reign's appending; see `fault`.
        if self.written_end < end {
            return;
        }
        assert!(self.durable_end <= end);
        (self.durable_end, self.durable_whole) = (end, whole);
        self.sync_flying = None;
        self.write_mark();
        self.say_acked_by_sync();
        if self.settings.fsync == FsyncMode::Always
            && self.flying.as_ref().is_some_and(|flying| flying.end == end)
        {
            if self.settings.mark_first {
                let mark = File::Mark(self.id);
                self.submit(Purpose::MarkFirst(end), DiskOp::Sync(mark));
            } else {
                self.acknowledge(cache);
            }
        }
    }

    /// MARK is durable, and says that the log is so up to `end`.
    pub(super) fn on_marked(
        &mut self,
        now: Instant,
        end: Offset,
        result: DiskResult,
        cache: &mut dyn ValueCache,
    ) {
        match done(result) {
            Ok(()) => {
                let flying = self.flying.as_ref().expect("the write has waited");
                assert!(flying.end == end && self.durable_end >= end, "the mark is true");
                self.acknowledge(cache);
            }
            // Nobody knows what MARK says on disk; the log itself is durable.
            Err(error) => self.stop_on_fault(now, Failed::Mark, error),
        }
    }

    /// Tells MARK how far the log is durable, so that a later opening can tell a torn tail from
    /// damage. Unless [`mark_first`](super::Settings::mark_first) says so nobody waits for it: an
    /// older mark is true as well.
    pub(super) fn write_mark(&mut self) {
        self.mark_turn += 1;
        let write = self.mark_slot();
        self.submit(Purpose::Mark, write);
    }

    /// The write of a slot of MARK, with the number of its turn.
    pub(super) fn mark_slot(&self) -> DiskOp {
        let (turn, durable_end) = (self.mark_turn, self.durable_whole);
        let slot = MarkSlot { turn, durable_end, watermark: self.high_watermark };
        let data = Bytes::copy_from_slice(&slot.encode());
        DiskOp::Write { file: File::Mark(self.id), at: mark_slot_at(turn), data }
    }

    pub(super) fn on_mark(&mut self, now: Instant, result: DiskResult) {
        match done(result) {
            Ok(()) => self.mark_failing = false,
            // What waits for it must not count.
            Err(error) if self.settings.mark_first => {
                self.stop_on_fault(now, Failed::Mark, error);
            }
            Err(error) => self.note_mark_failing(error),
        }
    }

    pub(super) fn on_mark_synced(&mut self, result: DiskResult) {
        if let Err(error) = done(result) {
            self.note_mark_failing(error);
        }
    }

    /// Says so once until it is written again: on a full disk it fails with every commit.
    fn note_mark_failing(&mut self, error: DiskError) {
        if !core::mem::replace(&mut self.mark_failing, true) {
            let file = File::Mark(self.id);
            let text =
                format!("{file} could not be written: {error}; what it said before stays true");
            self.notice(Severity::Warn, text);
        }
    }

    /// When the fsync of a relaxed mode is due.
    pub(super) fn sync_deadline(&self) -> Option<Instant> {
        // A roll makes durable what is written.
        let idle = self.sync_flying.is_none() && self.roll.is_none();
        let due = idle && self.durable_end < self.written_end;
        let owed = self.floors.first_behind(self.durable_end);
        let reached = owed.is_some_and(|floor| floor <= self.written_end);
        let forced = self.durable_end < self.sync_to || reached;
        let relaxed = matches!(self.settings.fsync, FsyncMode::EveryMs(_));
        (due && (relaxed || forced) && self.serving()).then_some(match forced {
            true => Instant::default(),
            false => self.sync_due,
        })
    }

    /// What is logged is to be durable soon, in whichever mode.
    pub fn force_sync(&mut self) {
        self.sync_to = self.sync_to.max(self.log_end());
    }

    /// Starts the fsync of a relaxed mode when it is due.
    pub(super) fn advance_sync(&mut self, now: Instant) {
        if self.sync_deadline().is_some_and(|due| now >= due) {
            self.sync_active();
            if let FsyncMode::EveryMs(ms) = self.settings.fsync {
                self.sync_due = now.after(core::time::Duration::from_millis(u64::from(ms)));
            }
        }
    }

    /// Asks for what is written to be made durable.
    pub(super) fn sync_active(&mut self) {
        let file = self.segments.active().file(self.id);
        self.sync_flying = Some(self.written_end);
        let (end, whole) = (self.written_end, self.written_whole);
        self.submit(Purpose::Sync(end, whole), DiskOp::Sync(file));
    }

    /// The end of the last whole batch before `end`.
    pub(super) fn whole_end(&self, end: Offset) -> Offset {
        // A replica that leads writes nothing but whole batches.
        if self.settings.replicated { self.tail.whole_end(end) } else { end }
    }
}
