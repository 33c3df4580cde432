//! The uncommitted tail: what was logged and is not committed yet, in log order and by key.
//!
//! Commands are evaluated against it (over the keydir), so that a client sees its own writes in a
//! pipeline; their replies wait until what they depend on is committed. Truncation drops it.
//!
//! By key it is known only where commands are evaluated ([`Tail::show`]): a follower has no use for
//! that, and its records are slices of what its leader has sent.

use alloc::collections::VecDeque;
use core::ops::Deref;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::storage::record::{self, Kind};
use crate::{Millis, Offset, Value};

/// The uncommitted records.
#[derive(Debug)]
pub(super) struct Tail {
    records: VecDeque<TailRecord>,
    /// Whether it is known by key: else `overlay` and `flush` are empty.
    shown: bool,
    /// The newest state of each key that the tail changes after its last flush.
    overlay: HashMap<Value, Overlaid, FixedState>,
    /// The last uncommitted flush: it hides the keydir.
    flush: Option<Offset>,
    /// Bytes of the records in the log.
    bytes: usize,
}

/// One uncommitted record.
#[derive(Clone, Debug)]
pub(super) struct TailRecord {
    pub(super) offset: Offset,
    pub(super) kind: Kind,
    /// The next record belongs to the same batch.
    pub(super) more: bool,
    pub(super) key: Part,
    pub(super) value: Part,
    pub(super) expire_at: Option<Millis>,
    pub(super) clock: Millis,
    /// Where it starts in the write that carries it, in bytes.
    pub(super) at: u32,
    /// Its length in bytes.
    pub(super) len: u32,
}

/// The key or the value of a record.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// As a command brought it.
    Own(Value),
    /// A slice of what a leader has sent.
    Copied(Bytes),
}

/// What the tail says of a key.
#[derive(Clone, Debug)]
pub(super) struct Overlaid {
    /// The record that says so.
    pub(super) offset: Offset,
    /// The value and when it expires; `None` if it is deleted.
    pub(super) put: Option<(Value, Option<Millis>)>,
}

impl Part {
    fn to_value(&self) -> Value {
        match self {
            Self::Own(value) => value.clone(),
            Self::Copied(bytes) => Value::copy_from(bytes),
        }
    }
}

impl Deref for Part {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(value) => value,
            Self::Copied(bytes) => bytes,
        }
    }
}

impl TailRecord {
    /// The offset behind it.
    pub(super) fn next(&self) -> Offset {
        match self.kind {
            Kind::Gap => record::Gap::decode(&self.value).expect("it was verified").end,
            Kind::Put | Kind::Delete | Kind::Epoch | Kind::Clock | Kind::Flush => {
                self.offset.plus(1)
            }
        }
    }
}

impl Tail {
    pub(super) fn new(seed: u64, shown: bool) -> Self {
        Self {
            records: VecDeque::new(),
            shown,
            overlay: HashMap::with_hasher(FixedState::with_seed(seed)),
            flush: None,
            bytes: 0,
        }
    }

    /// Adds a record at the end.
    pub(super) fn push(&mut self, record: TailRecord) {
        if let Some(last) = self.records.back() {
            assert!(last.offset < record.offset && last.clock <= record.clock);
        }
        self.bytes += record.len as usize;
        if self.shown {
            self.overlay(&record);
        }
        self.records.push_back(record);
    }

    fn overlay(&mut self, record: &TailRecord) {
        let offset = record.offset;
        match record.kind {
            Kind::Put => {
                let put = Some((record.value.to_value(), record.expire_at));
                self.overlay.insert(record.key.to_value(), Overlaid { offset, put });
            }
            Kind::Delete => {
                self.overlay.insert(record.key.to_value(), Overlaid { offset, put: None });
            }
            Kind::Flush => {
                self.overlay.clear();
                self.flush = Some(offset);
            }
            Kind::Epoch | Kind::Clock | Kind::Gap => {}
        }
    }

    /// Commands are evaluated against it from now on.
    pub(super) fn show(&mut self) {
        if !core::mem::replace(&mut self.shown, true) {
            let records = core::mem::take(&mut self.records);
            records.iter().for_each(|record| self.overlay(record));
            self.records = records;
        }
    }

    /// No command is evaluated against it any more.
    pub(super) fn hide(&mut self) {
        if core::mem::replace(&mut self.shown, false) {
            self.overlay.clear();
            self.flush = None;
        }
    }

    /// Takes the oldest record, if its offset is below `end`: it is committed.
    pub(super) fn pop_below(&mut self, end: Offset) -> Option<TailRecord> {
        if self.records.front()?.offset >= end {
            return None;
        }
        let record = self.records.pop_front()?;
        self.bytes -= record.len as usize;
        match record.kind {
            _ if !self.shown => {}
            Kind::Put | Kind::Delete => {
                if self.overlay.get(&record.key[..]).is_some_and(|o| o.offset == record.offset) {
                    self.overlay.remove(&record.key[..]);
                }
            }
            Kind::Flush => {
                if self.flush == Some(record.offset) {
                    self.flush = None;
                }
            }
            Kind::Epoch | Kind::Clock | Kind::Gap => {}
        }
        Some(record)
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.overlay.clear();
        self.flush = None;
        self.bytes = 0;
    }

    /// Drops the records from this offset on.
    pub(super) fn cut(&mut self, from: Offset) {
        let mut kept = core::mem::take(&mut self.records);
        kept.truncate(kept.partition_point(|record| record.offset < from));
        self.clear();
        kept.into_iter().for_each(|record| self.push(record));
    }

    /// The end of the last whole batch that ends at or before `limit`. What is before the tail
    /// counts as whole.
    pub(super) fn whole_end(&self, limit: Offset) -> Offset {
        let within = self.records.partition_point(|record| record.next() <= limit);
        let open = self.records.range(..within).rev().take_while(|record| record.more).count();
        match within.checked_sub(open + 1) {
            Some(last) => self.records[last].next(),
            None => self.records.front().map_or(limit, |first| limit.min(first.offset)),
        }
    }

    /// Whether the last record is not the last of its batch.
    pub(super) fn ends_open(&self) -> bool {
        self.records.back().is_some_and(|record| record.more)
    }

    /// Bytes of the batch that it ends in, if it ends in one.
    pub(super) fn open_bytes(&self) -> usize {
        let open = self.records.iter().rev().take_while(|record| record.more);
        open.map(|record| record.len as usize).sum()
    }

    /// Bytes of its records in the log.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What it says of `key`; `None` if nothing.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Overlaid> {
        if self.overlay.is_empty() { None } else { self.overlay.get(key) }
    }

    /// The uncommitted flush, if there is one.
    pub(super) fn flush(&self) -> Option<Offset> {
        self.flush
    }

    /// The keys it changes after its last flush, in no order to rely on.
    pub(super) fn overlaid(&self) -> impl Iterator<Item = (&[u8], &Overlaid)> {
        self.overlay.iter().map(|(key, overlaid)| (&key[..], overlaid))
    }

    /// The keys of the records, oldest first.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().map(|record| &record.key[..])
    }

    /// Where the last record ends that changes keys.
    pub(super) fn changes_end(&self) -> Option<Offset> {
        let changes = |record: &&TailRecord| !matches!(record.kind, Kind::Clock | Kind::Epoch);
        self.records.iter().rev().find(changes).map(TailRecord::next)
    }

    /// The clock of the newest record.
    pub(super) fn clock(&self) -> Option<Millis> {
        self.records.back().map(|r| r.clock)
    }
}
