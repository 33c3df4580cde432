//! Where a replica stands.

use super::segments::Segment;
use super::{Replica, State};
use crate::marks::Marks;
use crate::{Epoch, Millis, Offset, PartitionId};

/// Counters for INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Merges completed.
    pub merges: u64,
    /// Bytes that merges freed.
    pub merged_bytes: u64,
    /// Fsyncs of the log completed.
    pub fsyncs: u64,
    /// Keys removed because they had expired.
    pub expired: u64,
    /// Records that could not be read, and segments in which some could not.
    pub read_faults: u64,
    /// Bytes of segments that were read through and found sound.
    pub scrubbed_bytes: u64,
}

/// What INFO and `status` tell of a replica.
#[derive(Clone, Debug)]
pub struct Status {
    /// The partition.
    pub partition: PartitionId,
    /// Opening, serving, stopping, down or ended.
    pub state: &'static str,
    /// Its reign.
    pub epoch: Epoch,
    /// Next offset to write.
    pub log_end: Offset,
    /// First offset not yet fsynced.
    pub durable_end: Offset,
    /// First offset not yet acknowledged by this replica.
    pub acked_end: Offset,
    /// First offset not yet committed.
    pub high_watermark: Offset,
    /// Number of segments.
    pub segments: usize,
    /// Bytes of all sealed segments and the active one.
    pub log_bytes: u64,
    /// Bytes of sealed segments that nothing points at.
    pub dead_bytes: u64,
    /// Committed keys.
    pub keys: usize,
    /// Committed keys that expire.
    pub expiring: usize,
    /// Memory of the index in bytes.
    pub keydir_bytes: usize,
    /// Damaged ranges found and not accepted.
    pub damages: usize,
    /// Counters.
    pub counters: Counters,
}

impl Replica {
    /// First offset not yet committed.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Next offset to write.
    pub fn log_end(&self) -> Offset {
        self.log_end
    }

    /// The rare states that it has been in.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// The first offset that is not written yet.
    pub fn written_end(&self) -> Offset {
        self.written_end
    }

    /// First offset not yet fsynced.
    pub fn durable_end(&self) -> Offset {
        self.durable_end
    }

    /// The clock of the last committed record.
    pub fn committed_clock(&self) -> Millis {
        self.committed_clock
    }

    /// The same, or that of what the opening found.
    pub(super) fn known_clock(&self) -> Millis {
        self.committed_clock.max(self.opened_clock)
    }

    /// The clock of the last record, committed or not: a new record's is not below it.
    pub fn log_clock(&self) -> Millis {
        let known = self.known_clock();
        self.tail.clock().unwrap_or(known).max(known)
    }

    /// Whether commands are served.
    pub fn serving(&self) -> bool {
        matches!(self.state, State::Serving)
    }

    /// Whether a fault has stopped it, until it opens again.
    pub fn is_down(&self) -> bool {
        matches!(self.state, State::Down { .. })
    }

    /// Records that are logged and not known to be durable.
    pub fn not_durable(&self) -> u64 {
        self.log_end.0.saturating_sub(self.durable_end.0)
    }

    /// Whether it has come to its end.
    pub fn ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Bytes of records that wait for the write in flight to come back.
    pub fn gathered_bytes(&self) -> usize {
        self.gather.len()
    }

    /// Where it is in its life, in a word: opening, serving, stopping, down or ended.
    pub fn status_word(&self) -> &'static str {
        match self.state {
            State::Opening(_) => "opening",
            State::Serving => "serving",
            State::Stopping(_) => "stopping",
            State::Down { .. } => "down",
            State::Ended => "ended",
        }
    }

    /// What INFO tells of it.
    pub fn status(&self) -> Status {
        let list = self.segments.list();
        let sealed: u64 = list.iter().filter_map(|s| s.sealed).map(|s| s.len).sum();
        Status {
            partition: self.id,
            state: self.status_word(),
            epoch: self.epoch,
            log_end: self.log_end,
            durable_end: self.durable_end,
            acked_end: self.acked_end(),
            high_watermark: self.high_watermark,
            segments: list.len(),
            log_bytes: sealed + self.active.len,
            dead_bytes: list.iter().map(Segment::dead).sum(),
            keys: self.keydir.len(),
            expiring: self.keydir.expiring(),
            keydir_bytes: self.keydir.memory_bytes(),
            damages: self.damages.len(),
            counters: self.counters,
        }
    }
}
