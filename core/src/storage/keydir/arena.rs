//! Where the entries of a [`HashKeydir`](super::HashKeydir) lie: chunks of bytes, cut into blocks.
//!
//! A block is taken from a free list of its exact size, else cut from the smallest larger free
//! block that leaves room for another entry, else from the end of the current chunk, else from a
//! new chunk. No block crosses a chunk. Every unit of a chunk before the end of its last block
//! belongs to one block whose size can be read from it, so a chunk can be walked.
//!
//! Free lists alone do not bound what is wasted: holes of one size are of no use once keys of
//! another size come. So when more than a quarter of the arena is holes, the emptiest chunk becomes
//! the *leaving* chunk. It is walked twice, a few blocks a call: first its holes come off the free
//! lists, so that nothing new is put there, then its entries move elsewhere, and then it is
//! released. The owner moves the entries, since it knows what points at them.
//!
//! The first chunk starts small and doubles, so that a partition of few keys stays small.

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

/// What the first chunk starts with.
const FIRST_CHUNK_BYTES: usize = 512;

/// Chunks that addresses reach: 16 GiB in all.
pub(super) const CHUNKS_MAX: usize = 1 << (32 - CHUNK_SHIFT);

/// Holes may take one in so many units before chunks are emptied.
const WASTE_SHARE: u64 = 4;

/// Blocks that one call of [`Arena::next_to_move`] looks at. A leaving chunk is at least a quarter
/// holes and walked twice, so eight would just keep up with one hole a call.
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
            self.open_chunk(FIRST_CHUNK_BYTES)?;
        }
        while self.room() < units {
            let length = self.chunks[self.current].len();
            if length < CHUNK_BYTES {
                self.extend_chunk((2 * length).min(CHUNK_BYTES));
            } else {
                let (rest_chunk, rest_at, rest) = (self.current, self.cut, self.room());
                self.open_chunk(CHUNK_BYTES)?;
                self.leave_rest(rest_chunk, rest_at, rest);
            }
        }
        let at = Address::new(self.current, self.cut);
        self.cut += units;
        Ok(at)
    }

    /// Units of the current chunk that are still to be cut.
    fn room(&self) -> u32 {
        (self.chunks[self.current].len() / UNIT_BYTES) as u32 - self.cut
    }

    /// Makes a new chunk the current one.
    fn open_chunk(&mut self, bytes: usize) -> Result<(), Full> {
        let chunk = match self.vacant.pop() {
            Some(chunk) => chunk as usize,
            None if self.chunks.len() < self.chunks_max => {
                self.chunks.push(Box::default());
                self.live.push(0);
                self.chunks.len() - 1
            }
            None => return Err(Full),
        };
        self.chunks[chunk] = alloc::vec![0; bytes].into_boxed_slice();
        self.total += (bytes / UNIT_BYTES) as u64;
        self.current = chunk;
        self.cut = 0;
        if chunk == 0 {
            // Address zero means none.
            block::write_dead(&mut self.chunks[0], 1);
            self.wasted += 1;
            self.cut = 1;
        }
        Ok(())
    }

    fn extend_chunk(&mut self, bytes: usize) {
        let mut chunk = mem::take(&mut self.chunks[self.current]).into_vec();
        let more = bytes - chunk.len();
        self.total += (more / UNIT_BYTES) as u64;
        chunk.reserve_exact(more);
        chunk.resize(bytes, 0);
        self.chunks[self.current] = chunk.into_boxed_slice();
    }

    /// Makes what is left at the end of a full chunk a block.
    fn leave_rest(&mut self, chunk: usize, unit: u32, units: u32) {
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
}

const _: () = assert!(CHUNK_UNITS < 1 << CHUNK_SHIFT);
// The longest key with every field at its widest fits a chunk.
const _: () = assert!(crate::limits::KEY_BYTES_MAX + 26 <= CHUNK_BYTES);
