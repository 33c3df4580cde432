//! The bucket array of linear hashing (Litwin, "Linear Hashing", VLDB 1980): it grows and shrinks
//! by one bucket at a time, so no operation ever pays for the whole table.
//!
//! With `count` buckets and `mask` one less than the next power of two, a hash belongs to bucket
//! `hash & mask`, or, where that one does not exist yet, to `hash & (mask >> 1)`: the bucket that
//! will be split to make it. The *low level* is the half of the table that exists in full, and a
//! low bucket together with its *sibling* (the same number plus half) holds exactly the hashes that
//! agree with it in the low bits, however far the split has come. A scan goes by such pairs.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use super::arena::Address;

/// Buckets of an empty table.
pub(super) const BUCKETS_MIN: u32 = 16;

/// Heads in one chunk of the array: 64 KiB. The first chunk starts small and doubles up to it.
const CHUNK_HEADS: usize = 1 << CHUNK_SHIFT;
const CHUNK_SHIFT: u32 = 14;

/// First entries of chains, by bucket. See the module's header.
pub(super) struct Buckets {
    chunks: Vec<Box<[u32]>>,
    count: u32,
    mask: u32,
}

/// A bucket whose hashes are shared out anew between two.
pub(super) struct Split {
    /// The bucket there was.
    pub(super) old: u32,
    /// The bucket that takes the hashes with `bit` set.
    pub(super) new: u32,
    /// The bit that tells.
    pub(super) bit: u64,
}

impl Buckets {
    /// An empty table.
    pub(super) fn new() -> Self {
        let first = alloc::vec![0; BUCKETS_MIN as usize].into_boxed_slice();
        Self { chunks: alloc::vec![first], count: BUCKETS_MIN, mask: BUCKETS_MIN - 1 }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// How many the low level has.
    pub(super) fn low(&self) -> u32 {
        (self.mask >> 1) + 1
    }

    /// The bucket of a hash.
    #[inline]
    pub(super) fn locate(&self, hash: u64) -> u32 {
        let bucket = hash as u32 & self.mask;
        if bucket < self.count { bucket } else { bucket & (self.mask >> 1) }
    }

    /// The sibling of a low bucket, if it exists.
    pub(super) fn sibling(&self, low: u32) -> Option<u32> {
        let sibling = low + self.low();
        (sibling < self.count).then_some(sibling)
    }

    /// The first entry of a bucket.
    #[inline]
    pub(super) fn head(&self, bucket: u32) -> Option<Address> {
        let bucket = bucket as usize;
        Address::from_raw(self.chunks[bucket >> CHUNK_SHIFT][bucket & (CHUNK_HEADS - 1)])
    }

    /// Sets the first entry of a bucket.
    #[inline]
    pub(super) fn set_head(&mut self, bucket: u32, head: Option<Address>) {
        let bucket = bucket as usize;
        self.chunks[bucket >> CHUNK_SHIFT][bucket & (CHUNK_HEADS - 1)] = Address::to_raw(head);
    }

    /// Adds a bucket. The caller shares out the chain of the old one.
    pub(super) fn grow(&mut self) -> Split {
        let new = self.count;
        assert!(new < u32::MAX / 2, "the arena is full long before the table");
        if new > self.mask {
            self.mask = 2 * self.mask + 1;
        }
        self.make_room(new as usize);
        self.count += 1;
        Split { old: new & (self.mask >> 1), new, bit: u64::from(self.low()) }
    }

    /// The last split, which [`shrink`](Self::shrink) would undo.
    pub(super) fn last_split(&self) -> Split {
        let new = self.count - 1;
        Split { old: new & (self.mask >> 1), new, bit: u64::from(self.low()) }
    }

    /// Takes the last bucket away. The caller has moved its chain to the old one.
    pub(super) fn shrink(&mut self) {
        assert!(self.count > BUCKETS_MIN && self.head(self.count - 1).is_none());
        self.count -= 1;
        if self.count == self.low() {
            self.mask >>= 1;
        }
        if self.count as usize & (CHUNK_HEADS - 1) == 0 {
            self.chunks.pop();
        }
    }

    /// Where a scan goes after the low bucket in `cursor`; zero after the last.
    ///
    /// The cursor counts up in its *reversed* bits (the scheme of Redis's `dictScan`), so that what
    /// a longer or shorter cursor has seen is a union of the same classes of hashes: a table that
    /// grows or shrinks between two calls makes a scan repeat some keys but never miss one.
    pub(super) fn scan_next(&self, cursor: u64) -> u64 {
        let low_mask = u64::from(self.low() - 1);
        (cursor | !low_mask).reverse_bits().wrapping_add(1).reverse_bits()
    }

    /// The low bucket that a cursor stands for.
    pub(super) fn scan_bucket(&self, cursor: u64) -> u32 {
        (cursor & u64::from(self.low() - 1)) as u32
    }

    /// Bytes held.
    pub(super) fn memory_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| size_of_val::<[u32]>(chunk)).sum::<usize>()
            + self.chunks.capacity() * size_of::<Box<[u32]>>()
    }

    /// Makes room for the head of bucket `new`.
    fn make_room(&mut self, new: usize) {
        if new & (CHUNK_HEADS - 1) == 0 {
            self.chunks.push(alloc::vec![0; CHUNK_HEADS].into_boxed_slice());
            return;
        }
        let last = self.chunks.last_mut().expect("there is a first chunk");
        if new & (CHUNK_HEADS - 1) == last.len() {
            let mut chunk = mem::take(last).into_vec();
            chunk.reserve_exact(chunk.len());
            chunk.resize(2 * chunk.len(), 0);
            *last = chunk.into_boxed_slice();
        }
    }
}
