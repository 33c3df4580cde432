//! Hint files: a sealed segment's keys without its values, so that opening need not read the
//! values.
//!
//! A hint is written a block at a time while its segment is, and read a block at a time, so that
//! neither needs memory in proportion to it. Layout, little-endian:
//!
//! - **Blocks**, each [`BLOCK_BYTES`] long, the last one as long as it needs: number of entries
//!   u32 · entries · zeros up to the end. An entry is whole in one block: kind u8 · flags u8
//!   (1 = expires) · key length u16 · position u32 · record length u32 · expire_at u64 if it
//!   expires · key.
//! - **Footer**: magic 8 · format version u32 · partition u32 · segment u32 · base u64 · segment
//!   length u64 · segment CRC u32 · [`Summary`] (last epoch u32, clock u64, other bytes u64,
//!   tombstone bytes u64) · number of entries u32 · CRC-32 of each block, u32 · CRC-32 of the
//!   footer before it u32. How many blocks there are follows from the length of the file.
//!
//! The footer is tied to the segment's length and checksum, and a block to the footer by its own:
//! what an earlier life left of a hint of the same segment is no block of this one. A key is used
//! only after its block and the footer have been verified. A hint is no more than an optimisation:
//! a bad one is ignored from its first bad block on, its segment is scanned, which says again what
//! the blocks before said, and the hint is built anew.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::format::{FORMAT_VERSION, Sealed};
use super::record::{u16_at, u32_at, u64_at};
use crate::storage::keydir::{Entry, Place};
use crate::{Epoch, Millis, Offset, PartitionId, SegmentId};

/// Length of every block but the last, in bytes.
pub const BLOCK_BYTES: usize = 128 << 10;

const MAGIC: [u8; 8] = *b"kvnHINT\n";
const FOOTER_BYTES: usize = 72;
const CRC_BYTES: usize = 4;
const COUNT_BYTES: usize = 4;
const ENTRY_BYTES: usize = 12;
const ENTRY_BYTES_MAX: usize = ENTRY_BYTES + 8 + crate::limits::KEY_BYTES_MAX;
const FLAG_EXPIRES: u8 = 1;

/// What a hint says of its segment as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The epoch of its last record; zero if it holds none. An opening takes no earlier one behind it.
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

/// Part of a hint's file: what to write, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where in the file, in bytes.
    pub at: u64,
    /// What.
    pub data: Bytes,
}

/// Gathers a hint.
#[derive(Debug)]
pub struct HintWriter {
    /// The block being gathered.
    block: Vec<u8>,
    block_entries: u32,
    entries: u32,
    /// Checksums of the blocks that are full.
    crcs: Vec<u32>,
    /// Full blocks that were not taken yet.
    full: VecDeque<Part>,
}

/// The footer of a hint, verified: what can be known of the hint without its blocks.
#[derive(Clone, Debug)]
pub struct Footer {
    /// What the hint says of its segment.
    pub summary: Summary,
    /// Number of entries.
    pub entries: u32,
    segment: SegmentId,
    segment_len: u64,
    crcs: Vec<u32>,
    blocks_len: u64,
}

/// Where a walk over a whole hint is: see [`Footer::next`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    block: usize,
    /// Entries of the block that were taken, and the byte behind them.
    taken: u32,
    at: usize,
}

/// A verified block: an iterator over its entries. It ends early if it meets what is no entry of
/// ours; [`is_over`](Self::is_over) tells.
#[derive(Clone, Debug)]
pub struct Block<'a> {
    segment: SegmentId,
    segment_len: u64,
    left: u32,
    rest: &'a [u8],
}

impl HintWriter {
    /// An empty hint.
    #[expect(clippy::new_without_default, reason = "an empty hint says something of its segment")]
    pub fn new() -> Self {
        Self {
            block: Vec::new(),
            block_entries: 0,
            entries: 0,
            crcs: Vec::new(),
            full: VecDeque::new(),
        }
    }

    /// Adds what the segment says next, in log order.
    pub fn push(&mut self, hinted: Hinted<'_>) {
        let (kind, key, entry) = match hinted {
            Hinted::Put(key, entry) => (1, key, Some(entry)),
            Hinted::Delete(key) => (2, key, None),
            Hinted::Flush => (5, &[][..], None),
        };
        let expire_at = entry.and_then(|e| e.expire_at);
        let len = ENTRY_BYTES + expire_at.map_or(0, |_| 8) + key.len();
        if self.block.len() + len > BLOCK_BYTES {
            self.block.resize(BLOCK_BYTES, 0);
            let part = self.end_block();
            self.full.push_back(part);
        }
        if self.block.is_empty() {
            self.block.resize(COUNT_BYTES, 0);
        }
        let (position, length) = entry.map_or((0, 0), |e| (e.place.position, e.place.length));
        let mut fixed = [0; ENTRY_BYTES];
        (fixed[0], fixed[1]) = (kind, if expire_at.is_some() { FLAG_EXPIRES } else { 0 });
        fixed[2..4].copy_from_slice(&(key.len() as u16).to_le_bytes());
        fixed[4..8].copy_from_slice(&position.to_le_bytes());
        fixed[8..12].copy_from_slice(&length.to_le_bytes());
        self.block.extend_from_slice(&fixed);
        if let Some(at) = expire_at {
            self.block.extend_from_slice(&at.to_le_bytes());
        }
        self.block.extend_from_slice(key);
        self.block_entries += 1;
        self.entries += 1;
    }

    /// The next block that is full, to be written.
    pub fn take_block(&mut self) -> Option<Part> {
        self.full.pop_front()
    }

    /// The rest of the file, once every full block was taken.
    pub fn finish(mut self, owner: &Owner, summary: &Summary) -> Part {
        assert!(self.full.is_empty(), "full blocks are taken before the end is");
        let Part { at, data } = if self.block.is_empty() {
            Part { at: (self.crcs.len() * BLOCK_BYTES) as u64, data: Bytes::new() }
        } else {
            self.end_block()
        };
        let mut bytes = Vec::from(data);
        let start = bytes.len();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&owner.partition.0.to_le_bytes());
        bytes.extend_from_slice(&owner.segment.0.to_le_bytes());
        bytes.extend_from_slice(&owner.base.0.to_le_bytes());
        bytes.extend_from_slice(&owner.sealed.len.to_le_bytes());
        bytes.extend_from_slice(&owner.sealed.crc.to_le_bytes());
        bytes.extend_from_slice(&summary.epoch.0.to_le_bytes());
        bytes.extend_from_slice(&summary.clock.to_le_bytes());
        bytes.extend_from_slice(&summary.other_bytes.to_le_bytes());
        bytes.extend_from_slice(&summary.tombstone_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.entries.to_le_bytes());
        self.crcs.iter().for_each(|crc| bytes.extend_from_slice(&crc.to_le_bytes()));
        let crc = crc32fast::hash(&bytes[start..]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        Part { at, data: Bytes::from(bytes) }
    }

    fn end_block(&mut self) -> Part {
        let mut data = core::mem::take(&mut self.block);
        let count = core::mem::take(&mut self.block_entries);
        data[..COUNT_BYTES].copy_from_slice(&count.to_le_bytes());
        let at = (self.crcs.len() * BLOCK_BYTES) as u64;
        self.crcs.push(crc32fast::hash(&data));
        Part { at, data: Bytes::from(data) }
    }
}

impl Footer {
    /// Where the footer of a hint of `file_len` bytes is: its first byte and its length; `None` if
    /// no hint is so long.
    pub fn span(file_len: u64) -> Option<(u64, u32)> {
        let (_, blocks_len) = shape(file_len)?;
        Some((blocks_len, u32::try_from(file_len - blocks_len).ok()?))
    }

    /// Verifies that `bytes` are the footer of a hint of `file_len` bytes of just this segment.
    pub fn verify(bytes: &[u8], file_len: u64, owner: &Owner) -> Option<Self> {
        let (blocks, blocks_len) = shape(file_len)?;
        let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
        let (fixed, table) = body.split_first_chunk::<FOOTER_BYTES>()?;
        let ours = crc32fast::hash(body) == u32::from_le_bytes(*crc)
            && fixed[..8] == MAGIC
            && u32_at(fixed, 8) == FORMAT_VERSION
            && u32_at(fixed, 12) == owner.partition.0
            && u32_at(fixed, 16) == owner.segment.0
            && u64_at(fixed, 20) == owner.base.0
            && u64_at(fixed, 28) == owner.sealed.len
            && u32_at(fixed, 36) == owner.sealed.crc
            && table.len() as u64 == blocks * CRC_BYTES as u64;
        let summary = Summary {
            epoch: Epoch(u32_at(fixed, 40)),
            clock: u64_at(fixed, 44),
            other_bytes: u64_at(fixed, 52),
            tombstone_bytes: u64_at(fixed, 60),
        };
        ours.then(|| Self {
            summary,
            entries: u32_at(fixed, 68),
            segment: owner.segment,
            segment_len: owner.sealed.len,
            crcs: table.chunks_exact(CRC_BYTES).map(|crc| u32_at(crc, 0)).collect(),
            blocks_len,
        })
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.crcs.len()
    }

    /// Bytes of all blocks.
    pub fn blocks_len(&self) -> u64 {
        self.blocks_len
    }

    /// Where a block is: its first byte and its length.
    pub fn block_span(&self, nth: usize) -> (u64, u32) {
        let at = (nth * BLOCK_BYTES) as u64;
        (at, (self.blocks_len - at).min(BLOCK_BYTES as u64) as u32)
    }

    /// Verifies that `bytes` are a block of this hint. `None` is all there is to know about one
    /// that is not.
    pub fn block<'a>(&self, nth: usize, bytes: &'a [u8]) -> Option<Block<'a>> {
        let whole = bytes.len() == self.block_span(nth).1 as usize;
        if !whole || crc32fast::hash(bytes) != self.crcs[nth] {
            return None;
        }
        let (count, rest) = bytes.split_first_chunk::<COUNT_BYTES>()?;
        let left = u32::from_le_bytes(*count);
        Some(Block { segment: self.segment, segment_len: self.segment_len, left, rest })
    }
}

impl Footer {
    /// Whether `bytes`, the whole file, are a hint as this footer says.
    pub fn fits(&self, bytes: &[u8]) -> bool {
        (0..self.blocks()).all(|nth| {
            let (at, len) = self.block_span(nth);
            let block = bytes.get(at as usize..at as usize + len as usize);
            block.and_then(|bytes| self.block(nth, bytes)).is_some_and(|mut block| {
                block.by_ref().for_each(drop);
                block.is_over()
            })
        })
    }

    /// The entry at a place of the whole file, which [`fits`](Self::fits), and the place behind.
    pub fn next<'a>(&self, bytes: &'a [u8], cursor: Cursor) -> Option<(Hinted<'a>, Cursor)> {
        let mut cursor = cursor;
        while cursor.block < self.blocks() {
            let (at, len) = self.block_span(cursor.block);
            let bytes = &bytes[at as usize..][..len as usize];
            let left = u32_at(bytes, 0) - cursor.taken;
            if left > 0 {
                let rest = &bytes[cursor.at.max(COUNT_BYTES)..];
                let (segment, segment_len) = (self.segment, self.segment_len);
                let (hinted, rest) = Block { segment, segment_len, left, rest }.split()?;
                let (taken, at) = (cursor.taken + 1, bytes.len() - rest.len());
                return Some((hinted, Cursor { taken, at, ..cursor }));
            }
            cursor = Cursor { block: cursor.block + 1, taken: 0, at: 0 };
        }
        None
    }
}

/// Number of blocks of a hint of `file_len` bytes, and their length together.
fn shape(file_len: u64) -> Option<(u64, u64)> {
    let beyond = file_len.checked_sub((FOOTER_BYTES + CRC_BYTES) as u64)?;
    let blocks = beyond.div_ceil((BLOCK_BYTES + CRC_BYTES) as u64);
    let blocks_len = beyond.checked_sub(blocks * CRC_BYTES as u64)?;
    // The last block is not empty.
    (blocks == 0 || blocks_len > (blocks - 1) * BLOCK_BYTES as u64).then_some((blocks, blocks_len))
}

impl<'a> Block<'a> {
    /// Whether every entry was taken. If the iterator has ended and this is not so, the block is
    /// not one of ours although its checksum fits.
    pub fn is_over(&self) -> bool {
        self.left == 0
    }

    #[inline]
    fn split(&self) -> Option<(Hinted<'a>, &'a [u8])> {
        let (fixed, rest) = self.rest.split_first_chunk::<ENTRY_BYTES>()?;
        let (expire_at, rest) = if fixed[1] & FLAG_EXPIRES != 0 {
            let (at, rest) = rest.split_at_checked(8)?;
            (Some(u64_at(at, 0)), rest)
        } else {
            (None, rest)
        };
        let (key, rest) = rest.split_at_checked(usize::from(u16_at(fixed, 2)))?;
        let (position, length) = (u32_at(fixed, 4), u32_at(fixed, 8));
        let hinted = match fixed[0] {
            1 if u64::from(position) + u64::from(length) <= self.segment_len => {
                let place = Place { segment: self.segment, position, length };
                Hinted::Put(key, Entry { place, expire_at })
            }
            2 => Hinted::Delete(key),
            5 => Hinted::Flush,
            _ => return None,
        };
        Some((hinted, rest))
    }
}

impl<'a> Iterator for Block<'a> {
    type Item = Hinted<'a>;

    #[inline]
    fn next(&mut self) -> Option<Hinted<'a>> {
        if self.left == 0 {
            return None;
        }
        let (hinted, rest) = self.split()?;
        self.rest = rest;
        self.left -= 1;
        Some(hinted)
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

// An entry is whole in one block.
const _: () = assert!(COUNT_BYTES + ENTRY_BYTES_MAX <= BLOCK_BYTES);

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

    const SUMMARY: Summary =
        Summary { epoch: Epoch(4), clock: 6, other_bytes: 90, tombstone_bytes: 50 };

    fn sample() -> Vec<Hinted<'static>> {
        alloc::vec![
            Hinted::Put(b"a", entry(32, None)),
            Hinted::Delete(b"gone"),
            Hinted::Flush,
            Hinted::Put(b"", entry(132, Some(1 << 60))),
        ]
    }

    fn written(hinted: &[Hinted<'_>]) -> Vec<u8> {
        let (mut writer, mut bytes) = (HintWriter::new(), Vec::new());
        let mut take = |part: Part| {
            assert_eq!(part.at, bytes.len() as u64, "parts follow each other");
            bytes.extend_from_slice(&part.data);
        };
        for &h in hinted {
            writer.push(h);
            core::iter::from_fn(|| writer.take_block()).for_each(&mut take);
        }
        take(writer.finish(&owner(), &SUMMARY));
        bytes
    }

    /// What the bytes hold, if they are a hint of the owner.
    fn read<'a>(bytes: &'a [u8], owner: &Owner) -> Option<Vec<Hinted<'a>>> {
        let len = bytes.len() as u64;
        let (at, footer_len) = Footer::span(len)?;
        assert_eq!(at + u64::from(footer_len), len);
        let footer = Footer::verify(&bytes[at as usize..], len, owner)?;
        assert_eq!(footer.summary, SUMMARY);
        let mut all = Vec::new();
        for nth in 0..footer.blocks() {
            let (at, len) = footer.block_span(nth);
            let mut block = footer.block(nth, &bytes[at as usize..][..len as usize])?;
            all.extend(block.by_ref());
            assert!(block.is_over());
        }
        assert_eq!(all.len(), footer.entries as usize);
        Some(all)
    }

    #[test]
    fn a_hint_reads_back_as_written() {
        assert_eq!(read(&written(&sample()), &owner()), Some(sample()));
        assert_eq!(read(&written(&[]), &owner()), Some(Vec::new()));
    }

    #[test]
    fn a_hint_of_many_blocks_reads_back_as_written() {
        let keys: Vec<Vec<u8>> =
            (0..500).map(|n| alloc::vec![n as u8; [10, 40_000, 65_535, 0][n % 4]]).collect();
        for count in [3, 4, 7, 11, 100, 500] {
            let hinted: Vec<_> =
                keys[..count].iter().map(|key| Hinted::Put(key, entry(1, None))).collect();
            let bytes = written(&hinted);
            assert!(read(&bytes, &owner()) == Some(hinted), "{count} keys");
        }
    }

    #[test]
    fn a_hint_is_whole_however_its_last_block_ends() {
        let key = alloc::vec![7; 65_535];
        // The second entry ends at the end of a block, a little before it, or in the next one.
        let rest = BLOCK_BYTES - COUNT_BYTES - 2 * ENTRY_BYTES - key.len();
        for len in rest - 100..key.len().min(rest + 100) {
            let hinted = [Hinted::Delete(&key), Hinted::Delete(&key[..len])];
            assert!(read(&written(&hinted), &owner()).is_some_and(|read| read == hinted));
        }
    }

    #[test]
    fn a_damaged_cut_or_foreign_hint_is_refused() {
        let bytes = written(&sample());
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert!(read(&bad, &owner()).is_none(), "byte {at}");
            assert!(read(&bytes[..at], &owner()).is_none(), "cut at {at}");
        }
        let shorter = Owner { sealed: Sealed { len: 900, ..owner().sealed }, ..owner() };
        assert!(read(&bytes, &shorter).is_none());
        let other = Owner { sealed: Sealed { crc: 6, ..owner().sealed }, ..owner() };
        assert!(read(&bytes, &other).is_none());
    }

    #[test]
    fn a_block_of_an_earlier_life_of_the_hint_is_refused() {
        let (old, new) = ([Hinted::Delete(b"old")], [Hinted::Delete(b"new")]);
        let (old, mut bytes) = (written(&old), written(&new));
        let (at, _) = Footer::span(bytes.len() as u64).unwrap();
        bytes[..at as usize].copy_from_slice(&old[..at as usize]);
        assert!(read(&bytes, &owner()).is_none());
    }

    #[test]
    fn a_place_beyond_the_segment_is_not_taken() {
        let hinted = [Hinted::Put(b"a", entry(0, None)), Hinted::Put(b"b", entry(960, None))];
        let bytes = written(&hinted);
        let len = bytes.len() as u64;
        let (at, _) = Footer::span(len).unwrap();
        let footer = Footer::verify(&bytes[at as usize..], len, &owner()).unwrap();
        let mut block = footer.block(0, &bytes[..at as usize]).unwrap();
        assert_eq!(block.by_ref().collect::<Vec<_>>(), hinted[..1]);
        assert!(!block.is_over());
    }
}
