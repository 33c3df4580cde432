//! Taking what a leader has logged.
//!
//! A follower's log holds the bytes of its leader's, record for record. They are checked before any
//! of them is taken: what one replica has damaged must not spread, and what the opening of a log
//! would not take must not get in. Where the leader's log has gaps, since its segments were
//! compacted, the records of these gaps are taken, so that the follower's is dense.
//!
//! A gap may hide a tombstone that the leader has dropped. Who has the log up to a point before it
//! can not go on behind it, and so the tombstone horizon rises with every gap.
//!
//! What superseded the records in a gap comes later; see [`floors`](super::floors).

use alloc::vec::Vec;

use bytes::Bytes;

use super::Replica;
use super::fault::Refusal;
use super::tail::{Part, TailRecord};
use crate::limits::{
    BATCH_BYTES_MAX, KEYDIR_BYTES_MAX, ORDINAL_MAX, PARTITION_GATHER_BYTES_MAX,
    PARTITION_TAIL_BYTES_MAX,
};
use crate::storage::record::{self, Kind, Parsed, Record};
use crate::{Epoch, Millis, Offset};

/// Why records were not taken. None of them was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecords {
    /// They do not begin where the log ends.
    #[error("the log ends at {0}, and they begin elsewhere")]
    Base(Offset),
    /// A record is damaged, or bytes are none.
    #[error("a checksum does not match at byte {0}")]
    Damaged(usize),
    /// A record is of another partition.
    #[error("the record at byte {0} is of another partition")]
    Partition(usize),
    /// A record does not follow the one before, or the last one does not end where it was said.
    #[error("offset {0} was expected and is not there")]
    Offset(Offset),
    /// A reign begins without saying so, or an earlier one comes back.
    #[error("the epoch of the record at offset {0} does not follow the one before")]
    Epoch(Offset),
    /// What had superseded the records that are missing from the log is not in the leader's.
    #[error("what is missing from the log was superseded by records that the leader does not have")]
    Forked,
    /// The clock goes back.
    #[error("the clock of the record at offset {0} is behind that of the one before")]
    Clock(Offset),
    /// A record says what no leader says: a key where none belongs, a batch that is cut short or is
    /// longer than any.
    #[error("the record at offset {0} is none that a leader makes")]
    Shape(Offset),
    /// They may be right, and can not be taken now.
    #[error("they can not be taken now: {0:?}")]
    Refused(Refusal),
    /// They may be right, and there is no memory for them before others are written or committed.
    #[error("too much waits to be written or committed")]
    NoRoom,
}

/// What records are held against: the state of the log behind the one before.
#[derive(Clone, Copy)]
struct Before {
    next: Offset,
    epoch: Epoch,
    clock: Millis,
    /// It belongs to the same batch, of so many bytes.
    open: bool,
    open_bytes: usize,
    horizon: Offset,
}

impl Replica {
    /// In a cluster: takes the records from `base` up to `end` as they stand in the leader's log. An
    /// atomic batch may come in several parts. On an error nothing was taken.
    pub fn append_copied(
        &mut self,
        base: Offset,
        end: Offset,
        records: Bytes,
    ) -> Result<(), BadRecords> {
        assert!(self.settings.replicated, "a replica that stands alone has no leader");
        self.ready_to_copy()?;
        if base != self.log_end {
            return Err(BadRecords::Base(self.log_end));
        }
        self.settle_floors();
        let mut before = Before {
            next: base,
            epoch: self.epoch,
            clock: self.tail.clock().unwrap_or(0),
            open: self.tail.ends_open(),
            open_bytes: self.open_bytes,
            horizon: self.tombstone_horizon,
        };
        let mut floors = self.floors.clone();
        let mut taken = Vec::new();
        let mut at = 0;
        // Each turn takes a record.
        while at < records.len() {
            let Parsed::Record(found, len) = record::parse(&records[at..]) else {
                return Err(BadRecords::Damaged(at));
            };
            if !found.value_sound {
                return Err(BadRecords::Damaged(at));
            }
            if found.head.partition != self.id {
                return Err(BadRecords::Partition(at));
            }
            before = before.follow(&found, len)?;
            if floors.is_forked_by(&found.head, before.next) {
                return Err(BadRecords::Forked);
            }
            found.gap().iter().for_each(|gap| floors.copied(gap));
            taken.push(tail_record(&found, &records, self.gather.len() + at, len));
            at += len;
        }
        if before.next != end || end.0 > ORDINAL_MAX {
            return Err(BadRecords::Offset(before.next));
        }
        if self.gather.is_empty() {
            self.gather_base = base;
        }
        self.gather.extend_from_slice(&records);
        self.tail.hide();
        for record in taken {
            if record.kind == Kind::Epoch {
                self.epochs.push(record.epoch, record.offset);
                self.note_reign(record.offset.plus(1));
            }
            self.tail.push(record.record);
        }
        self.log_end = end;
        self.epoch = before.epoch;
        self.open_bytes = before.open_bytes;
        self.tombstone_horizon = before.horizon;
        self.floors = floors;
        self.reigns = false;
        self.stood_down = false;
        Ok(())
    }

    fn ready_to_copy(&self) -> Result<(), BadRecords> {
        let tail_max = PARTITION_TAIL_BYTES_MAX + BATCH_BYTES_MAX;
        if !self.serving() {
            Err(BadRecords::Refused(Refusal::NotServing))
        } else if self.clearing.is_some() || self.full_until.is_some() {
            Err(BadRecords::Refused(Refusal::DiskFull))
        } else if self.keydir.memory_bytes() >= KEYDIR_BYTES_MAX {
            Err(BadRecords::Refused(Refusal::IndexFull))
        } else if self.segments_spent() {
            Err(BadRecords::Refused(Refusal::SegmentsSpent))
        } else if self.gather.len() >= PARTITION_GATHER_BYTES_MAX || self.tail.bytes() >= tail_max {
            Err(BadRecords::NoRoom)
        } else {
            Ok(())
        }
    }
}

impl Before {
    fn follow(self, found: &Record<'_>, len: usize) -> Result<Self, BadRecords> {
        let head = found.head;
        let offset = head.offset;
        if offset != self.next {
            return Err(BadRecords::Offset(self.next));
        }
        let follows = match head.kind {
            Kind::Epoch => head.epoch > self.epoch,
            // What began the epoch of a gap may be within it.
            Kind::Gap => head.epoch >= self.epoch,
            Kind::Put | Kind::Delete | Kind::Clock | Kind::Flush => head.epoch == self.epoch,
        };
        if !follows {
            return Err(BadRecords::Epoch(offset));
        }
        if head.clock < self.clock {
            return Err(BadRecords::Clock(offset));
        }
        let next = found.next().filter(|next| next.0 <= ORDINAL_MAX);
        let next = next.filter(|_| well_shaped(found)).ok_or(BadRecords::Shape(offset))?;
        // Compaction may have come between two parts of a batch: a gap ends what is left of it.
        let alone = matches!(head.kind, Kind::Epoch | Kind::Clock);
        let open_bytes = if self.open || head.more { self.open_bytes + len } else { 0 };
        if (self.open && alone) || open_bytes > BATCH_BYTES_MAX + BATCH_SLACK_BYTES {
            return Err(BadRecords::Shape(offset));
        }
        let horizon = if head.kind == Kind::Gap { self.horizon.max(next) } else { self.horizon };
        let open_bytes = if head.more { open_bytes } else { 0 };
        let (epoch, clock, open) = (head.epoch, head.clock, head.more);
        Ok(Self { next, epoch, clock, open, open_bytes, horizon })
    }
}

/// The longest batch may be a record's head longer than its limit, which is looked at before.
const BATCH_SLACK_BYTES: usize = 64 << 20;

/// Whether the record has just the parts that its kind has.
fn well_shaped(found: &Record<'_>) -> bool {
    let head = found.head;
    let bare = found.key.is_empty() && head.expire_at.is_none();
    let empty = found.value.is_empty();
    match head.kind {
        Kind::Put => true,
        Kind::Delete => empty && head.expire_at.is_none(),
        Kind::Flush => bare && empty,
        Kind::Epoch | Kind::Clock => bare && empty && !head.more,
        Kind::Gap => bare && !head.more,
    }
}

struct Taken {
    kind: Kind,
    epoch: Epoch,
    offset: Offset,
    record: TailRecord,
}

fn tail_record(found: &Record<'_>, records: &Bytes, at: usize, len: usize) -> Taken {
    let head = found.head;
    let record = TailRecord {
        offset: head.offset,
        kind: head.kind,
        more: head.more,
        key: Part::Copied(records.slice_ref(found.key)),
        value: Part::Copied(records.slice_ref(found.value)),
        expire_at: head.expire_at,
        clock: head.clock,
        at: at as u32,
        len: len as u32,
    };
    Taken { kind: head.kind, epoch: head.epoch, offset: head.offset, record }
}
