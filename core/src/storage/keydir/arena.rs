//! Where the entries of a [`HashKeydir`](super::HashKeydir) lie: chunks of bytes, cut into blocks.
//!
//! A block is taken from a free list of its exact size, else cut from the smallest larger free
//! block that leaves room for another entry, else from the end of the current chunk, else from a
//! new chunk. No block crosses a chunk. Every unit of a chunk before the end of its last block
//! belongs to one block whose size can be read from it, so a chunk can be walked.
//!
//! Free lists alone do not bound what is wasted: holes of one size are of no use once keys of
//! another size come. So when more than an eighth of the arena is holes, the emptiest chunk becomes
//! the *leaving* chunk. It is walked twice, a few blocks a call: first its holes come off the free
//! lists, so that nothing new is put there, then its entries move elsewhere, and then it is
//! released. The owner moves the entries, since it knows what points at them.
//!
//! The current chunk grows by a thirty-second of the arena at a time until it is whole, so that a
//! small arena has small slack. From 8 MiB on, a chunk is whole from the start.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;
use core::num::NonZeroU32;

use super::Full;
use super::block::{self, BLOCK_UNITS_MIN, Block, UNIT_BYTES};

/// The address of a block: chunk number in the upper half, unit in the chunk in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address(NonZeroU32);

impl Address {
    /// An address as the four bytes of a link; zero is none.
    pub(super) fn from_raw(raw: u32) -> Option<Self> {
        NonZeroU32::new(raw).map(Self)
    }

    /// The four bytes of a link.
    pub(super) fn to_raw(link: Option<Self>) -> u32 {
        link.map_or(0, |address| address.0.get())
    }

    fn new(chunk: usize, unit: u32) -> Self {
        let raw = (chunk as u32) << CHUNK_SHIFT | unit;
        Self(NonZeroU32::new(raw).expect("the first unit of the first chunk is never handed out"))
    }

    fn chunk(self) -> usize {
        (self.0.get() >> CHUNK_SHIFT) as usize
    }

    fn unit(self) -> u32 {
        self.0.get() & ((1 << CHUNK_SHIFT) - 1)
    }

    fn byte(self) -> usize {
        self.unit() as usize * UNIT_BYTES
    }
}

const CHUNK_SHIFT: u32 = 16;

/// Just under 256 KiB: the allocator's own header fits the same pages.
const CHUNK_BYTES: usize = (UNIT_BYTES << CHUNK_SHIFT) - 32;
const CHUNK_UNITS: u32 = (CHUNK_BYTES / UNIT_BYTES) as u32;

/// The least by which a chunk grows.
const GROWTH_BYTES_MIN: usize = 512;

/// A chunk grows by one in so many units of the arena.
const GROWTH_SHARE: usize = 32;

/// Chunks that addresses reach: 16 GiB in all.
pub(super) const CHUNKS_MAX: usize = 1 << (32 - CHUNK_SHIFT);

/// Holes may take one in so many units before chunks are emptied.
const WASTE_SHARE: u64 = 8;

/// Blocks that one call of [`Arena::next_to_move`] looks at.
const WALK_BLOCKS: usize = 16;

/// Chunks of blocks. See the module's header.
pub(super) struct Arena {
    /// An empty slice stands for a released chunk.
    chunks: Vec<Box<[u8]>>,
    /// Units of each chunk that entries take.
    live: Vec<u32>,
    /// Numbers of released chunks.
    vacant: Vec<u32>,
    chunks_max: usize,
    /// The chunk whose end is still to be cut, and how much of it has been.
    current: usize,
    cut: u32,
    /// For each size in units, the first free block of it.
    free: BTreeMap<u32, Address>,
    /// Units in free and dead blocks.
    wasted: u64,
    /// Units in chunks.
    total: u64,
    leaving: Option<Leaving>,
}

/// A walk over the chunk that is being emptied.
struct Leaving {
    chunk: usize,
    /// The next block to look at.
    unit: u32,
    /// Whether the first walk is over: no block of the chunk is on a free list any more.
    unlisted: bool,
}

impl Arena {
    /// An arena that holds nothing yet and takes at most `chunks_max` chunks.
    pub(super) fn new(chunks_max: usize) -> Self {
        assert!((1..=CHUNKS_MAX).contains(&chunks_max));
        Self {
            chunks: Vec::new(),
            live: Vec::new(),
            vacant: Vec::new(),
            chunks_max,
            current: 0,
            cut: 0,
            free: BTreeMap::new(),
            wasted: 0,
            total: 0,
            leaving: None,
        }
    }

    /// The bytes from a block on, to the end of its chunk.
    #[inline]
    pub(super) fn bytes(&self, at: Address) -> &[u8] {
        &self.chunks[at.chunk()][at.byte()..]
    }

    /// As [`bytes`](Self::bytes), to write.
    #[inline]
    pub(super) fn bytes_mut(&mut self, at: Address) -> &mut [u8] {
        &mut self.chunks[at.chunk()][at.byte()..]
    }

    /// Takes a block of `units`. The caller writes an entry into it.
    pub(super) fn alloc(&mut self, units: u32) -> Result<Address, Full> {
        assert!((BLOCK_UNITS_MIN..CHUNK_UNITS).contains(&units));
        let at = match self.take_free(units) {
            Some(at) => at,
            None => self.cut(units)?,
        };
        self.live[at.chunk()] += units;
        Ok(at)
    }

    /// Gives back a block of `units`.
    pub(super) fn free(&mut self, at: Address, units: u32) {
        self.live[at.chunk()] -= units;
        self.wasted += u64::from(units);
        if self.leaving.as_ref().is_some_and(|leaving| leaving.chunk == at.chunk()) {
            block::write_dead(self.bytes_mut(at), units);
        } else {
            self.list(at, units);
        }
    }

    /// Whether [`next_to_move`](Self::next_to_move) has work.
    pub(super) fn is_wasteful(&self) -> bool {
        self.leaving.is_some()
            || (self.wasted > 2 * u64::from(CHUNK_UNITS) && self.wasted * WASTE_SHARE > self.total)
    }

    /// Walks on through the leaving chunk, a few blocks: up to the first entry of the second walk.
    /// The caller moves that entry and frees its block before it calls again; if it can not, it
    /// may try later.
    pub(super) fn next_to_move(&mut self) -> Option<Address> {
        let mut leaving = self.leaving.take().or_else(|| self.choose_leaving())?;
        for _ in 0..WALK_BLOCKS {
            if leaving.unit as usize * UNIT_BYTES == self.chunks[leaving.chunk].len() {
                if leaving.unlisted {
                    self.release(leaving.chunk);
                    return None;
                }
                leaving.unit = 0;
                leaving.unlisted = true;
            }
            let start = &self.chunks[leaving.chunk][leaving.unit as usize * UNIT_BYTES..];
            let (kind, units) = block::measure(start);
            match kind {
                Block::Entry if leaving.unlisted => {
                    let at = Address::new(leaving.chunk, leaving.unit);
                    self.leaving = Some(leaving);
                    return Some(at);
                }
                Block::Free => {
                    let at = Address::new(leaving.chunk, leaving.unit);
                    self.unlist(at, units);
                    block::write_dead(self.bytes_mut(at), units);
                }
                Block::Entry | Block::Dead => {}
            }
            leaving.unit += units;
        }
        self.leaving = Some(leaving);
        None
    }

    /// Copies the first `units` at `from` to `to`, which is in another chunk.
    pub(super) fn copy(&mut self, from: Address, to: Address, units: u32) {
        assert!(from.chunk() != to.chunk(), "an entry leaves its chunk");
        let source = mem::take(&mut self.chunks[from.chunk()]);
        let bytes = units as usize * UNIT_BYTES;
        self.bytes_mut(to)[..bytes].copy_from_slice(&source[from.byte()..][..bytes]);
        self.chunks[from.chunk()] = source;
    }

    /// Bytes held.
    pub(super) fn memory_bytes(&self) -> usize {
        self.total as usize * UNIT_BYTES
            + self.chunks.capacity() * size_of::<Box<[u8]>>()
            + (self.live.capacity() + self.vacant.capacity()) * size_of::<u32>()
            // A node of the tree is at least half full, so its own words cost less than this.
            + self.free.len() * 4 * size_of::<(u32, Address)>()
    }

    fn take_free(&mut self, units: u32) -> Option<Address> {
        let (size, at) = match self.free.get(&units) {
            Some(&at) => (units, at),
            None => {
                let (&size, &at) = self.free.range(units + BLOCK_UNITS_MIN..).next()?;
                (size, at)
            }
        };
        self.unlist(at, size);
        self.wasted -= u64::from(units);
        if size > units {
            self.list(Address::new(at.chunk(), at.unit() + units), size - units);
        }
        Some(at)
    }

    /// Cuts a block from the end of the current chunk, or of a new one.
    fn cut(&mut self, units: u32) -> Result<Address, Full> {
        if self.chunks.is_empty() {
            self.open_chunk()?;
        }
        if CHUNK_UNITS - self.cut < units {
            self.extend_chunk(CHUNK_BYTES);
            let (rest_chunk, rest_at) = (self.current, self.cut);
            self.open_chunk()?;
            self.leave_rest(rest_chunk, rest_at);
        }
        let end = (self.cut + units) as usize * UNIT_BYTES;
        let length = self.chunks[self.current].len();
        if length < end {
            let growth = self.total as usize * UNIT_BYTES / GROWTH_SHARE;
            let grown = length + growth.max(GROWTH_BYTES_MIN) / UNIT_BYTES * UNIT_BYTES;
            self.extend_chunk(grown.max(end).min(CHUNK_BYTES));
        }
        let at = Address::new(self.current, self.cut);
        self.cut += units;
        Ok(at)
    }

    /// Makes a new chunk, of no bytes yet, the current one.
    fn open_chunk(&mut self) -> Result<(), Full> {
        let chunk = match self.vacant.pop() {
            Some(chunk) => chunk as usize,
            None if self.chunks.len() < self.chunks_max => {
                self.chunks.push(Box::default());
                self.live.push(0);
                self.chunks.len() - 1
            }
            None => return Err(Full),
        };
        self.current = chunk;
        self.cut = 0;
        if chunk == 0 {
            // Address zero means none.
            self.extend_chunk(GROWTH_BYTES_MIN);
            block::write_dead(&mut self.chunks[0], 1);
            self.wasted += 1;
            self.cut = 1;
        }
        Ok(())
    }

    /// Makes the current chunk `bytes` long.
    fn extend_chunk(&mut self, bytes: usize) {
        let old = mem::take(&mut self.chunks[self.current]);
        self.total += ((bytes - old.len()) / UNIT_BYTES) as u64;
        self.chunks[self.current] = if old.is_empty() {
            // Fresh pages are zero as they come.
            alloc::vec![0; bytes].into_boxed_slice()
        } else {
            let mut chunk = old.into_vec();
            chunk.reserve_exact(bytes - chunk.len());
            chunk.resize(bytes, 0);
            chunk.into_boxed_slice()
        };
    }

    /// Makes what is left at the end of a chunk a block.
    fn leave_rest(&mut self, chunk: usize, unit: u32) {
        let units = CHUNK_UNITS - unit;
        self.wasted += u64::from(units);
        if units >= BLOCK_UNITS_MIN {
            self.list(Address::new(chunk, unit), units);
        } else if units > 0 {
            block::write_dead(&mut self.chunks[chunk][unit as usize * UNIT_BYTES..], units);
        }
    }

    /// Puts a block at the head of the free list of its size.
    fn list(&mut self, at: Address, units: u32) {
        let next = self.free.insert(units, at);
        let bytes = self.bytes_mut(at);
        block::write_free(bytes, units);
        block::set_next(bytes, next);
        block::set_previous(bytes, None);
        if let Some(next) = next {
            block::set_previous(self.bytes_mut(next), Some(at));
        }
    }

    /// Takes a block off the free list of its size.
    fn unlist(&mut self, at: Address, units: u32) {
        let next = block::next(self.bytes(at));
        let previous = block::previous(self.bytes(at));
        if let Some(next) = next {
            block::set_previous(self.bytes_mut(next), previous);
        }
        match (previous, next) {
            (Some(previous), _) => block::set_next(self.bytes_mut(previous), next),
            (None, Some(next)) => {
                self.free.insert(units, next);
            }
            (None, None) => {
                self.free.remove(&units);
            }
        }
    }

    /// The chunk with the fewest live units, but the current one.
    fn choose_leaving(&self) -> Option<Leaving> {
        let held = |&chunk: &usize| chunk != self.current && !self.chunks[chunk].is_empty();
        let chunk = (0..self.chunks.len()).filter(held).min_by_key(|&chunk| self.live[chunk])?;
        Some(Leaving { chunk, unit: 0, unlisted: false })
    }

    fn release(&mut self, chunk: usize) {
        assert!(self.live[chunk] == 0, "a chunk is released when its last entry has left");
        let units = (self.chunks[chunk].len() / UNIT_BYTES) as u64;
        self.wasted -= units;
        self.total -= units;
        self.chunks[chunk] = Box::default();
        self.vacant.push(chunk as u32);
    }

    /// Asserts that blocks tile every chunk, that the counts are true and the free lists complete,
    /// for an owner that holds `live` units of entries.
    #[cfg(test)]
    pub(super) fn check(&self, live: u64) {
        let (mut wasted, mut total, mut listed) = (0, 0, BTreeMap::<u32, u32>::new());
        for (chunk, bytes) in self.chunks.iter().enumerate() {
            let end = (bytes.len() / UNIT_BYTES) as u32;
            let cut = if chunk == self.current { self.cut } else { end };
            let (mut unit, mut live) = (0, 0);
            while unit < cut {
                let (kind, units) = block::measure(&bytes[unit as usize * UNIT_BYTES..]);
                match kind {
                    Block::Entry => live += units,
                    Block::Free => *listed.entry(units).or_default() += 1,
                    Block::Dead => {}
                }
                wasted += if kind == Block::Entry { 0 } else { u64::from(units) };
                unit += units;
            }
            assert_eq!((unit, live), (cut, self.live[chunk]), "chunk {chunk}");
            total += u64::from(end);
        }
        assert_eq!((wasted, total), (self.wasted, self.total));
        assert_eq!(live, self.live.iter().map(|&units| u64::from(units)).sum::<u64>());
        for (&units, &first) in &self.free {
            let mut previous = None;
            let mut at = Some(first);
            while let Some(block) = at {
                let bytes = self.bytes(block);
                assert_eq!(block::measure(bytes), (Block::Free, units));
                assert_eq!(block::previous(bytes), previous);
                *listed.get_mut(&units).expect("a listed block is met in the walk") -= 1;
                (previous, at) = (at, block::next(bytes));
            }
        }
        assert!(listed.values().all(|&missing| missing == 0), "a free block is on its list");
    }
}

const _: () = assert!(CHUNK_UNITS < 1 << CHUNK_SHIFT);
// The longest key with every field at its widest fits a chunk.
const _: () = assert!(crate::limits::KEY_BYTES_MAX + 26 <= CHUNK_BYTES);
