//! The hash index: linear hashing over chains of packed entries in an arena. Design, layout and
//! measurements are in the header of [`keydir`](super).

use core::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use super::arena::{Address, Arena, CHUNKS_MAX};
use super::block;
use super::buckets::{BUCKETS_MIN, Buckets};
use super::{Entry, Full, Place, SCAN_BUCKETS_A_KEY};
use crate::SegmentId;

/// Buckets merged by one remove. The table shrinks below one key in two buckets, so two keep up.
const MERGES_A_REMOVE: usize = 2;

/// Entries moved by one insert or remove while the arena is wasteful. A chunk that is emptied is at
/// least an eighth holes, so seven moves make up for the one hole that an operation leaves.
const MOVES_AN_OPERATION: usize = 8;

/// Chains longer than this do not have their tails drawn by [`HashKeydir::random`].
const RANDOM_DEPTH: u64 = 8;

/// Draws of [`HashKeydir::random`] before it takes the next best key. A draw succeeds at least once
/// in sixteen times.
const RANDOM_DRAWS: usize = 128;

/// A hash table of one partition's keys. See the header of [`keydir`](super).
pub struct HashKeydir {
    buckets: Buckets,
    arena: Arena,
    seed: u64,
    hash_seed: SharedSeed,
    chunks_max: usize,
    len: usize,
    expiring: usize,
    sweep_cursor: u64,
}

/// What points at an entry.
#[derive(Clone, Copy)]
enum Link {
    Bucket(u32),
    Entry(Address),
}

impl HashKeydir {
    /// An empty table whose hashes depend on `seed`.
    pub fn new(seed: u64) -> Self {
        Self::with_chunks_max(seed, CHUNKS_MAX)
    }

    /// An empty table with a smaller arena.
    pub(super) fn with_chunks_max(seed: u64, chunks_max: usize) -> Self {
        Self {
            buckets: Buckets::new(),
            arena: Arena::new(chunks_max),
            seed,
            hash_seed: SharedSeed::from_u64(seed),
            chunks_max,
            len: 0,
            expiring: 0,
            sweep_cursor: 0,
        }
    }

    /// The entry of `key`.
    pub fn get(&self, key: &[u8]) -> Option<Entry> {
        let (_, at) = self.find(self.hash(key), key)?;
        Some(block::read_entry(self.arena.bytes(at)))
    }

    /// Sets the entry of `key` and returns the one it replaces.
    pub fn insert(&mut self, key: &[u8], entry: Entry) -> Result<Option<Entry>, Full> {
        let hash = self.hash(key);
        let replaced = match self.find(hash, key) {
            Some((link, at)) => Some(self.replace(link, at, key, &entry)?),
            None => {
                self.add(hash, key, &entry)?;
                None
            }
        };
        self.expiring += usize::from(entry.expire_at.is_some());
        if let Some(replaced) = replaced {
            self.expiring -= usize::from(replaced.expire_at.is_some());
        }
        self.tidy_arena();
        Ok(replaced)
    }

    /// Makes an empty index ready for about so many keys, so that no bucket is split while they
    /// come. One that holds keys stays as it is.
    pub fn reserve(&mut self, keys: usize) {
        let keys = u32::try_from(keys).unwrap_or(u32::MAX).min(RESERVE_MAX);
        while self.is_empty() && self.buckets.count() < keys {
            self.buckets.grow();
        }
    }

    /// Forgets `key` and returns its entry.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let (link, at) = self.find(self.hash(key), key)?;
        let bytes = self.arena.bytes(at);
        let (entry, next, (_, units)) =
            (block::read_entry(bytes), block::next(bytes), block::measure(bytes));
        self.set_link(link, next);
        self.arena.free(at, units);
        self.len -= 1;
        self.expiring -= usize::from(entry.expire_at.is_some());
        for _ in 0..MERGES_A_REMOVE {
            if self.buckets.count() > BUCKETS_MIN && self.len < self.buckets.count() as usize / 2 {
                self.merge();
            }
        }
        self.tidy_arena();
        Some(entry)
    }

    /// Points `key` at `to` if it still points at `from`; returns whether it did. A record is
    /// copied whole, so its length stays as it is.
    pub fn relocate(&mut self, key: &[u8], from: (SegmentId, u32), to: Place) -> bool {
        let Some((_, at)) = self.find(self.hash(key), key) else { return false };
        let bytes = self.arena.bytes_mut(at);
        let place = block::read_entry(bytes).place;
        if (place.segment, place.position) != from {
            return false;
        }
        assert!(place.length == to.length, "a record moves as it is");
        block::set_place(bytes, to.segment, to.position);
        true
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of keys with an expiry time.
    pub fn expiring(&self) -> usize {
        self.expiring
    }

    /// Forgets every key and gives back the memory.
    pub fn clear(&mut self) {
        *self = Self::with_chunks_max(self.seed, self.chunks_max);
    }

    /// Bytes held, everything counted.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.buckets.memory_bytes() + self.arena.memory_bytes()
    }

    /// One step of an iteration; see [`Keydir::scan`](super::Keydir::scan).
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], Entry),
    ) -> u64 {
        let mut cursor = cursor;
        let mut keys = 0;
        for _ in 0..count.max(1).saturating_mul(SCAN_BUCKETS_A_KEY) {
            let low = self.buckets.scan_bucket(cursor);
            for bucket in [Some(low), self.buckets.sibling(low)].into_iter().flatten() {
                keys += self.visit_bucket(bucket, prefix, visit);
            }
            cursor = self.buckets.scan_next(cursor);
            if cursor == 0 || keys >= count {
                break;
            }
        }
        cursor
    }

    /// One step of an endless walk; see [`Keydir::sweep`](super::Keydir::sweep).
    pub fn sweep(&mut self, count: usize, visit: &mut dyn FnMut(&[u8], Entry)) {
        if self.expiring == 0 {
            return;
        }
        self.sweep_cursor = self.scan(self.sweep_cursor, count, b"", &mut |key, entry| {
            if entry.expire_at.is_some() {
                visit(key, entry);
            }
        });
    }

    /// Visits every key that starts with `prefix`.
    pub fn for_each(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], Entry)) {
        for bucket in 0..self.buckets.count() {
            self.visit_bucket(bucket, prefix, visit);
        }
    }

    /// A key drawn by `r`; see [`Keydir::random`](super::Keydir::random).
    ///
    /// Draws a bucket and a depth until an entry is there, so that long chains get their share.
    pub fn random(&self, r: u64) -> Option<(&[u8], Entry)> {
        if self.len == 0 {
            return None;
        }
        let mut state = r;
        let drawn = (0..RANDOM_DRAWS).find_map(|_| {
            let draw = split_mix(&mut state);
            let bucket = self.nth_bucket(draw >> 32);
            self.chain(bucket).nth((draw % RANDOM_DEPTH) as usize)
        });
        let at = drawn.or_else(|| {
            let first = self.nth_bucket(split_mix(&mut state) >> 32);
            let count = self.buckets.count();
            (first..count).chain(0..first).find_map(|bucket| self.buckets.head(bucket))
        });
        let bytes = self.arena.bytes(at.expect("a table that is not empty has an entry"));
        Some((block::key(bytes), block::read_entry(bytes)))
    }

    /// The bucket at `fraction` / 2^32 of the table.
    fn nth_bucket(&self, fraction: u64) -> u32 {
        ((fraction * u64::from(self.buckets.count())) >> 32) as u32
    }

    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.hash_seed);
        hasher.write(key);
        hasher.finish()
    }

    /// Brings the entries of `keys` into the processor's caches, at most [`WARM_KEYS`] of them. Goes
    /// level by level and takes no decision on what it has just loaded, so that the misses of all
    /// keys on a level overlap; a lookup after another would wait for each.
    pub fn warm<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        let mut chains = [None; WARM_KEYS];
        for (at, key) in chains.iter_mut().zip(keys) {
            *at = self.buckets.head(self.buckets.locate(self.hash(key)));
        }
        for _ in 0..WARM_DEPTH {
            for at in &mut chains {
                *at = at.and_then(|entry| block::next(self.arena.bytes(entry)));
            }
        }
        core::hint::black_box(chains);
    }

    /// The entry of `key` and what points at it.
    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<(Link, Address)> {
        let bucket = self.buckets.locate(hash);
        let mut link = Link::Bucket(bucket);
        let mut at = self.buckets.head(bucket)?;
        loop {
            let bytes = self.arena.bytes(at);
            if block::is_for(bytes, key) {
                return Some((link, at));
            }
            link = Link::Entry(at);
            at = block::next(bytes)?;
        }
    }

    /// The entries of a bucket.
    fn chain(&self, bucket: u32) -> impl Iterator<Item = Address> {
        core::iter::successors(self.buckets.head(bucket), |&at| block::next(self.arena.bytes(at)))
    }

    /// Visits the entries of a bucket with the prefix; returns how many entries it has.
    fn visit_bucket(
        &self,
        bucket: u32,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], Entry),
    ) -> usize {
        let mut keys = 0;
        for at in self.chain(bucket) {
            let bytes = self.arena.bytes(at);
            let key = block::key(bytes);
            if key.starts_with(prefix) {
                visit(key, block::read_entry(bytes));
            }
            keys += 1;
        }
        keys
    }

    /// Writes `entry` over the one at `at`, in place if the block's size fits.
    fn replace(
        &mut self,
        link: Link,
        at: Address,
        key: &[u8],
        entry: &Entry,
    ) -> Result<Entry, Full> {
        let old = self.arena.bytes(at);
        let (replaced, next, (_, old_units)) =
            (block::read_entry(old), block::next(old), block::measure(old));
        let units = block::entry_units(key.len(), entry);
        if units == old_units {
            block::write_entry(self.arena.bytes_mut(at), key, entry);
            return Ok(replaced);
        }
        let new = self.arena.alloc(units)?;
        let bytes = self.arena.bytes_mut(new);
        block::write_entry(bytes, key, entry);
        block::set_next(bytes, next);
        self.set_link(link, Some(new));
        self.arena.free(at, old_units);
        Ok(replaced)
    }

    /// Adds a key that is not there.
    fn add(&mut self, hash: u64, key: &[u8], entry: &Entry) -> Result<(), Full> {
        let at = self.arena.alloc(block::entry_units(key.len(), entry))?;
        let bucket = self.buckets.locate(hash);
        let head = self.buckets.head(bucket);
        let bytes = self.arena.bytes_mut(at);
        block::write_entry(bytes, key, entry);
        block::set_next(bytes, head);
        self.buckets.set_head(bucket, Some(at));
        self.len += 1;
        if self.len > self.buckets.count() as usize {
            self.split();
        }
        Ok(())
    }

    /// Adds a bucket and shares out the chain it is split from, each half in its old order.
    fn split(&mut self) {
        let split = self.buckets.grow();
        let mut ends = [Link::Bucket(split.old), Link::Bucket(split.new)];
        let mut at = self.buckets.head(split.old);
        while let Some(entry) = at {
            let bytes = self.arena.bytes(entry);
            at = block::next(bytes);
            let side = usize::from(self.hash(block::key(bytes)) & split.bit != 0);
            self.set_link(ends[side], Some(entry));
            ends[side] = Link::Entry(entry);
        }
        for end in ends {
            self.set_link(end, None);
        }
    }

    /// Takes the last bucket away: its chain goes before that of the bucket it was split from.
    fn merge(&mut self) {
        let split = self.buckets.last_split();
        if let Some(end) = self.chain(split.new).last() {
            let (head, rest) = (self.buckets.head(split.new), self.buckets.head(split.old));
            self.set_link(Link::Entry(end), rest);
            self.set_link(Link::Bucket(split.old), head);
            self.set_link(Link::Bucket(split.new), None);
        }
        self.buckets.shrink();
    }

    /// Moves a few entries together while too much of the arena is holes.
    fn tidy_arena(&mut self) {
        for _ in 0..MOVES_AN_OPERATION {
            if !self.arena.is_wasteful() {
                return;
            }
            let Some(from) = self.arena.next_to_move() else { continue };
            let bytes = self.arena.bytes(from);
            let key = block::key(bytes);
            let (_, units) = block::measure(bytes);
            let (link, at) = self.find(self.hash(key), key).expect("an entry is in its bucket");
            assert!(at == from, "a key has one entry");
            // A full arena has no room to move things; a later remove makes some.
            let Ok(to) = self.arena.alloc(units) else { return };
            self.arena.copy(from, to, units);
            self.set_link(link, Some(to));
            self.arena.free(from, units);
        }
    }

    /// Asserts what every operation must keep: each entry in its bucket, once, and all counted.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut keys = alloc::collections::BTreeSet::new();
        let mut expiring = 0;
        let mut units = 0;
        for bucket in 0..self.buckets.count() {
            for at in self.chain(bucket) {
                let bytes = self.arena.bytes(at);
                let key = block::key(bytes);
                assert_eq!(self.buckets.locate(self.hash(key)), bucket);
                assert!(keys.insert(key), "a key has one entry");
                expiring += usize::from(block::read_entry(bytes).expire_at.is_some());
                units += u64::from(block::measure(bytes).1);
            }
        }
        assert_eq!((keys.len(), expiring), (self.len, self.expiring));
        assert!(self.buckets.count() as usize <= (2 * self.len + 2).max(BUCKETS_MIN as usize));
        self.arena.check(units);
    }

    fn set_link(&mut self, link: Link, to: Option<Address>) {
        match link {
            Link::Bucket(bucket) => self.buckets.set_head(bucket, to),
            Link::Entry(at) => block::set_next(self.arena.bytes_mut(at), to),
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
/// Keys warmed at once, and how far into their chains: at load 1 a key is rarely further down.
pub(crate) const WARM_KEYS: usize = 16;
const WARM_DEPTH: usize = 3;

/// Most buckets made ahead: an estimate may be far off.
const RESERVE_MAX: u32 = 1 << 28;

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
