//! Hint files: a sealed segment's keys without its values, so that opening need not read the
//! values.
//!
//! Layout, little-endian: magic 8 · format version u32 · partition u32 · segment u32 · base u64 ·
//! segment length u64 · segment CRC u32 · [`Summary`] (last epoch u32, clock u64, other bytes u64,
//! tombstone bytes u64) · number of entries u32 · entries · CRC-32 of everything before u32. An
//! entry: kind u8 · flags u8 (1 = expires) · key length u16 · position u32 · record length u32 ·
//! expire_at u64 if it expires · key.
//!
//! A hint is tied to its segment's length and checksum, is verified as a whole before its first
//! key is used, and is no more than an optimisation: a bad one is ignored and built anew.

use alloc::vec::Vec;

use super::format::{FORMAT_VERSION, Sealed};
use super::record::{u16_at, u32_at, u64_at};
use crate::storage::keydir::{Entry, Place};
use crate::{Epoch, Millis, Offset, PartitionId, SegmentId};

const MAGIC: [u8; 8] = *b"kvnHINT\n";
const HEADER_BYTES: usize = 72;
const ENTRY_BYTES: usize = 12;
const CRC_BYTES: usize = 4;
const FLAG_EXPIRES: u8 = 1;

/// What a hint says of its segment as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The epoch of its last record.
    pub epoch: Epoch,
    /// The clock of its last record.
    pub clock: Millis,
    /// Bytes of records without a value (tombstones, epochs, clocks, flushes).
    pub other_bytes: u64,
    /// Bytes of tombstones and flushes among them.
    pub tombstone_bytes: u64,
}

/// One thing that a segment says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hinted<'a> {
    /// The key's record is here.
    Put(&'a [u8], Entry),
    /// The key was deleted.
    Delete(&'a [u8]),
    /// All keys were deleted.
    Flush,
}

/// The segment a hint belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its partition.
    pub partition: PartitionId,
    /// Its id.
    pub segment: SegmentId,
    /// Its first offset.
    pub base: Offset,
    /// Its length and checksum.
    pub sealed: Sealed,
}

/// Gathers a hint.
#[derive(Debug)]
pub struct HintWriter {
    bytes: Vec<u8>,
    entries: u32,
}

/// A hint that has been verified.
#[derive(Clone, Debug)]
pub struct Hint<'a> {
    /// What it says of its segment.
    pub summary: Summary,
    segment: SegmentId,
    entries: u32,
    rest: &'a [u8],
}

/// Where a walk over a [`Hint`] was left.
#[derive(Clone, Copy, Debug)]
pub struct Paused {
    /// What the hint says of its segment.
    pub summary: Summary,
    segment: SegmentId,
    entries: u32,
    /// Bytes of the entries to come.
    left: usize,
}

impl HintWriter {
    /// An empty hint.
    #[expect(clippy::new_without_default, reason = "the header's place is not a default")]
    pub fn new() -> Self {
        Self { bytes: alloc::vec![0; HEADER_BYTES], entries: 0 }
    }

    /// Adds what the segment says next, in log order.
    pub fn push(&mut self, hinted: Hinted<'_>) {
        let (kind, key, entry) = match hinted {
            Hinted::Put(key, entry) => (1, key, Some(entry)),
            Hinted::Delete(key) => (2, key, None),
            Hinted::Flush => (5, &[][..], None),
        };
        let expire_at = entry.and_then(|e| e.expire_at);
        self.bytes.push(kind);
        self.bytes.push(if expire_at.is_some() { FLAG_EXPIRES } else { 0 });
        self.bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
        let (position, length) = entry.map_or((0, 0), |e| (e.place.position, e.place.length));
        self.bytes.extend_from_slice(&position.to_le_bytes());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        if let Some(at) = expire_at {
            self.bytes.extend_from_slice(&at.to_le_bytes());
        }
        self.bytes.extend_from_slice(key);
        self.entries += 1;
    }

    /// Bytes gathered so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The file's bytes.
    pub fn finish(mut self, owner: &Owner, summary: &Summary) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        header.extend_from_slice(&owner.partition.0.to_le_bytes());
        header.extend_from_slice(&owner.segment.0.to_le_bytes());
        header.extend_from_slice(&owner.base.0.to_le_bytes());
        header.extend_from_slice(&owner.sealed.len.to_le_bytes());
        header.extend_from_slice(&owner.sealed.crc.to_le_bytes());
        header.extend_from_slice(&summary.epoch.0.to_le_bytes());
        header.extend_from_slice(&summary.clock.to_le_bytes());
        header.extend_from_slice(&summary.other_bytes.to_le_bytes());
        header.extend_from_slice(&summary.tombstone_bytes.to_le_bytes());
        header.extend_from_slice(&self.entries.to_le_bytes());
        self.bytes[..HEADER_BYTES].copy_from_slice(&header);
        let crc = crc32fast::hash(&self.bytes);
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        self.bytes
    }
}

impl<'a> Hint<'a> {
    /// Verifies that `bytes` are a whole hint of just this segment, every entry included. `None`
    /// is all there is to know about one that is not: it gets built anew.
    pub fn verify(bytes: &'a [u8], owner: &Owner) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
        let header = body.first_chunk::<HEADER_BYTES>()?;
        let ours = crc32fast::hash(body) == u32::from_le_bytes(*crc)
            && header[..8] == MAGIC
            && u32_at(header, 8) == FORMAT_VERSION
            && u32_at(header, 12) == owner.partition.0
            && u32_at(header, 16) == owner.segment.0
            && u64_at(header, 20) == owner.base.0
            && u64_at(header, 28) == owner.sealed.len
            && u32_at(header, 36) == owner.sealed.crc;
        if !ours {
            return None;
        }
        let summary = Summary {
            epoch: Epoch(u32_at(header, 40)),
            clock: u64_at(header, 44),
            other_bytes: u64_at(header, 52),
            tombstone_bytes: u64_at(header, 60),
        };
        let entries = u32_at(header, 68);
        let hint = Self { summary, segment: owner.segment, entries, rest: &body[HEADER_BYTES..] };
        let mut check = Self { ..hint };
        while check.entries > 0 {
            let (hinted, rest) = check.split()?;
            if let Hinted::Put(_, entry) = hinted {
                let end = u64::from(entry.place.position) + u64::from(entry.place.length);
                if end > owner.sealed.len {
                    return None;
                }
            }
            check.rest = rest;
            check.entries -= 1;
        }
        check.rest.is_empty().then_some(hint)
    }

    /// Number of entries.
    pub fn entries(&self) -> usize {
        self.entries as usize
    }

    /// Leaves the walk, to go on with it by [`resume`](Self::resume).
    pub fn pause(self) -> Paused {
        let Self { summary, segment, entries, rest } = self;
        Paused { summary, segment, entries, left: rest.len() }
    }

    /// Goes on with a walk over the same bytes.
    pub fn resume(bytes: &'a [u8], at: Paused) -> Self {
        let Paused { summary, segment, entries, left } = at;
        let body = &bytes[..bytes.len() - CRC_BYTES];
        Self { summary, segment, entries, rest: &body[body.len() - left..] }
    }

    fn split(&self) -> Option<(Hinted<'a>, &'a [u8])> {
        let (fixed, rest) = self.rest.split_at_checked(ENTRY_BYTES)?;
        let (expire_at, rest) = if fixed[1] & FLAG_EXPIRES != 0 {
            let (at, rest) = rest.split_at_checked(8)?;
            (Some(u64_at(at, 0)), rest)
        } else {
            (None, rest)
        };
        let (key, rest) = rest.split_at_checked(usize::from(u16_at(fixed, 2)))?;
        let place =
            Place { segment: self.segment, position: u32_at(fixed, 4), length: u32_at(fixed, 8) };
        let hinted = match fixed[0] {
            1 => Hinted::Put(key, Entry { place, expire_at }),
            2 => Hinted::Delete(key),
            5 => Hinted::Flush,
            _ => return None,
        };
        Some((hinted, rest))
    }
}

impl<'a> Hinted<'a> {
    /// The key it is about.
    pub fn key(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Put(key, _) | Self::Delete(key) => Some(key),
            Self::Flush => None,
        }
    }
}

impl<'a> Iterator for Hint<'a> {
    type Item = Hinted<'a>;

    fn next(&mut self) -> Option<Hinted<'a>> {
        if self.entries == 0 {
            return None;
        }
        let (hinted, rest) = self.split().expect("every entry was verified");
        self.rest = rest;
        self.entries -= 1;
        Some(hinted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            partition: PartitionId(1),
            segment: SegmentId(2),
            base: Offset(3),
            sealed: Sealed { len: 1000, crc: 5, end: 9, compacted: false, damaged: false },
        }
    }

    fn entry(position: u32, expire_at: Option<Millis>) -> Entry {
        Entry { place: Place { segment: SegmentId(2), position, length: 50 }, expire_at }
    }

    fn sample() -> (Vec<Hinted<'static>>, Summary, Vec<u8>) {
        let hinted = alloc::vec![
            Hinted::Put(b"a", entry(32, None)),
            Hinted::Delete(b"gone"),
            Hinted::Flush,
            Hinted::Put(b"", entry(132, Some(1 << 60))),
        ];
        let summary = Summary { epoch: Epoch(4), clock: 6, other_bytes: 90, tombstone_bytes: 50 };
        let mut writer = HintWriter::new();
        for &h in &hinted {
            writer.push(h);
        }
        (hinted, summary, writer.finish(&owner(), &summary))
    }

    #[test]
    fn a_hint_reads_back_as_written() {
        let (hinted, summary, bytes) = sample();
        let hint = Hint::verify(&bytes, &owner()).unwrap();
        assert_eq!(hint.summary, summary);
        assert_eq!(hint.collect::<Vec<_>>(), hinted);
    }

    #[test]
    fn a_damaged_cut_or_foreign_hint_is_refused() {
        let (_, _, bytes) = sample();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert!(Hint::verify(&bad, &owner()).is_none(), "byte {at}");
            assert!(Hint::verify(&bytes[..at], &owner()).is_none(), "cut at {at}");
        }
        let shorter = Owner { sealed: Sealed { len: 900, ..owner().sealed }, ..owner() };
        assert!(Hint::verify(&bytes, &shorter).is_none());
        let other = Owner { sealed: Sealed { crc: 6, ..owner().sealed }, ..owner() };
        assert!(Hint::verify(&bytes, &other).is_none());
    }
}
