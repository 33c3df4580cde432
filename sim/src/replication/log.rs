//! A replica's log, as what its node has written to disk makes it: the model that checkers compare.
//!
//! What compaction leaves out stays in the model, since it is still true of the log that it held it. What
//! is written at an offset takes the place of another record there and of all behind it, as in a log that
//! was cut; the end is [cut](Log::cut) where the replica says that its log ends.

use std::collections::BTreeMap;
use std::ops::Bound;

use kvnode_core::disk::{DiskOp, File};
use kvnode_core::storage::format::SEGMENT_HEADER_BYTES;
use kvnode_core::storage::record::{self, Kind, Parsed};
use kvnode_core::{Epoch, Offset, PartitionId};

use crate::hash_of;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// Of which kind.
    pub(crate) kind: Kind,
    /// Fingerprints of key and value.
    pub(crate) key: u64,
    /// See `key`.
    pub(crate) value: u64,
    /// When it expires.
    pub(crate) expire_at: Option<u64>,
}

/// What stands at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// In which reign it was written.
    pub(crate) epoch: Epoch,
    /// What it says.
    pub(crate) content: Content,
    /// The first offset behind it: more than one further for a gap that compaction has left.
    pub(crate) end: Offset,
}

impl Content {
    /// Whether both can be one record: a compaction makes a tombstone of one that has expired.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let remains = |whole: &Self, left: &Self| {
            whole.expire_at.is_some()
                && (whole.kind, left.kind) == (Kind::Put, Kind::Delete)
                && whole.key == left.key
        };
        self == other || remains(self, other) || remains(other, self)
    }
}

/// See the module's header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(BTreeMap<Offset, Entry>);

impl Log {
    /// What stands at this offset, be it a gap over it.
    pub(crate) fn at(&self, offset: Offset) -> Option<Entry> {
        let (_, &entry) = self.0.range(..=offset).next_back()?;
        (offset < entry.end).then_some(entry)
    }

    /// The records from `from` on and before `to`.
    pub(crate) fn range(&self, from: Offset, to: Offset) -> impl Iterator<Item = (Offset, Entry)> {
        let bounds = (Bound::Included(from), Bound::Excluded(to.max(from)));
        let records = self.0.range(bounds).map(|(&offset, &entry)| (offset, entry));
        records.filter(|(_, entry)| !entry.is_gap())
    }

    /// A record is written at `offset`. Whether it is new there.
    pub(crate) fn write(&mut self, offset: Offset, entry: Entry) -> bool {
        let same = |known: &Entry| {
            known.epoch == entry.epoch && (known.content.is(&entry.content) || known.is_gap())
        };
        if self.at(offset).as_ref().is_some_and(same) {
            return false;
        }
        if self.at(offset).is_some() {
            self.cut(offset);
        }
        self.0.insert(offset, entry);
        true
    }

    /// The log ends here. Whether it ended later before.
    pub(crate) fn cut(&mut self, end: Offset) -> bool {
        if self.0.last_key_value().is_none_or(|(&last, _)| last < end) {
            return false;
        }
        drop(self.0.split_off(&end));
        true
    }
}

impl Entry {
    /// Whether it stands for what compaction has left out.
    pub(crate) fn is_gap(&self) -> bool {
        self.content.kind == Kind::Gap
    }
}

/// The records that an operation writes to a partition's segments.
pub(crate) fn written(op: &DiskOp) -> Vec<(PartitionId, Offset, Entry)> {
    let DiskOp::Write { file: File::Segment(partition, ..), at, data } = op else {
        return Vec::new();
    };
    if *partition == PartitionId::CONTROL {
        return Vec::new();
    }
    let mut rest = &data[..];
    if *at == 0 {
        rest = rest.get(SEGMENT_HEADER_BYTES..).unwrap_or_default();
    }
    let mut records = Vec::new();
    while let Parsed::Record(record, len) = record::parse(rest) {
        let head = record.head;
        let content = Content {
            kind: head.kind,
            key: hash_of(record.key),
            value: hash_of(record.value),
            expire_at: head.expire_at,
        };
        let mut end = head.offset.plus(1);
        if head.kind == Kind::Gap
            && let Some(bytes) = record.value.first_chunk()
        {
            end = Offset(u64::from_le_bytes(*bytes));
        }
        records.push((*partition, head.offset, Entry { epoch: head.epoch, content, end }));
        rest = &rest[len..];
    }
    records
}

#[cfg(test)]
pub(crate) mod forge {
    use super::*;

    /// A record of this reign with this value.
    pub(crate) fn entry(offset: u64, epoch: u32, value: u64) -> (Offset, Entry) {
        let content = Content { kind: Kind::Put, key: 1, value, expire_at: None };
        (Offset(offset), Entry { epoch: Epoch(epoch), content, end: Offset(offset + 1) })
    }

    /// A log of these reigns, one record each, all with one value.
    pub(crate) fn log(epochs: &[u32]) -> Log {
        let mut log = Log::default();
        for (offset, &epoch) in epochs.iter().enumerate() {
            let (offset, entry) = entry(offset as u64, epoch, 7);
            log.write(offset, entry);
        }
        log
    }
}

#[cfg(test)]
mod tests {
    use super::forge::{entry, log};
    use super::*;

    #[test]
    fn another_record_takes_the_place_of_all_behind_it() {
        let mut log = log(&[1, 1, 1, 1]);
        let (offset, same) = entry(1, 1, 7);
        assert!(!log.write(offset, same));
        assert_eq!(log.range(Offset(0), Offset(9)).count(), 4);
        let (offset, other) = entry(2, 2, 7);
        assert!(log.write(offset, other));
        assert_eq!(log.range(Offset(0), Offset(9)).count(), 3);
        assert!(log.cut(Offset(1)) && !log.cut(Offset(1)));
        assert_eq!((log.at(Offset(1)), log.at(Offset(0)).is_some()), (None, true));
    }

    #[test]
    fn what_expired_may_be_a_tombstone_elsewhere() {
        let put = Content { kind: Kind::Put, key: 1, value: 2, expire_at: Some(3) };
        let gone = Content { kind: Kind::Delete, key: 1, value: 9, expire_at: None };
        assert!(put.is(&gone) && gone.is(&put));
        assert!(!Content { key: 2, ..put }.is(&gone));
        assert!(!Content { expire_at: None, ..put }.is(&gone));
    }
}
