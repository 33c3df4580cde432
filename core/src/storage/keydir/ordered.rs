//! The ordered index: the hash index beside a B-tree of the keys.
//!
//! Lookups, updates in place, relocation, expiry sweeps and random draws are those of
//! [`HashKeydir`]; the tree is touched only when a key comes or goes and when a prefix is asked
//! for. So `get` costs what it costs there, and a prefix touches matching keys alone and in order.
//! Memory is not held to the hash index's goal: at 10,000,000 keys of 16 bytes the two together
//! take 81 bytes a key beyond the key, the tree's copy of the key among them.
//!
//! # Cursors
//!
//! A scan without prefix is the hash index's, whose cursor is complete in itself. A scan with a
//! prefix goes on after a *key*, which no 64-bit cursor can hold, so its cursor is a number in a
//! table of at most [`RESUME_KEYS_MAX`] keys. When the table is full one that was used is evicted, or
//! else the one handed out longest ago; until then it may be used again, as by a call that had to stop
//! and is evaluated anew. A scan that comes with an unknown cursor (evicted, or made up) starts again
//! at the beginning of the prefix: it sees keys twice, but never misses one. A cursor carries its kind, so a client that changes its prefix on the way goes
//! on with the scan it began.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use core::ops::Bound;

use super::{CURSOR_BITS, Entry, Full, HashKeydir, Place};
use crate::SegmentId;

/// Scans with a prefix that can be under way at once without one starting again.
pub const RESUME_KEYS_MAX: usize = 256;

/// Cursors from here on are numbers of resume keys; those of the hash index are smaller.
const RESUME_CURSOR_MIN: u64 = 1 << 32;

/// What the tree takes for a key beyond its bytes: the box, its share of nodes two thirds full,
/// and the allocator's header. Measured as resident memory at 10,000,000 keys of 16 bytes.
const TREE_BYTES_A_KEY: usize = 45;

/// A hash table and an ordered tree of one partition's keys. See the module's header.
pub struct OrderedKeydir {
    hash: HashKeydir,
    keys: BTreeSet<Box<[u8]>>,
    key_bytes: usize,
    resume: BTreeMap<u64, Resume>,
    resume_bytes: usize,
    next_cursor: u64,
}

/// Where a scan goes on.
#[derive(Debug)]
struct Resume {
    after: Box<[u8]>,
    used: bool,
}

impl OrderedKeydir {
    /// An empty index whose hashes depend on `seed`.
    pub fn new(seed: u64) -> Self {
        Self::over(HashKeydir::new(seed))
    }

    pub(super) fn over(hash: HashKeydir) -> Self {
        Self {
            hash,
            keys: BTreeSet::new(),
            key_bytes: 0,
            resume: BTreeMap::new(),
            resume_bytes: 0,
            next_cursor: RESUME_CURSOR_MIN,
        }
    }

    /// The entry of `key`.
    pub fn get(&self, key: &[u8]) -> Option<Entry> {
        self.hash.get(key)
    }

    /// Sets the entry of `key` and returns the one it replaces.
    pub fn insert(&mut self, key: &[u8], entry: Entry) -> Result<Option<Entry>, Full> {
        let replaced = self.hash.insert(key, entry)?;
        if replaced.is_none() {
            assert!(self.keys.insert(key.into()), "table and tree hold the same keys");
            self.key_bytes += key.len();
        }
        Ok(replaced)
    }

    /// Brings the entries of `keys` into the processor's caches.
    pub fn warm<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        self.hash.warm(keys);
    }

    /// Makes an empty index ready for about so many keys.
    pub fn reserve(&mut self, keys: usize) {
        self.hash.reserve(keys);
    }

    /// Forgets `key` and returns its entry.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let entry = self.hash.remove(key)?;
        assert!(self.keys.remove(key), "table and tree hold the same keys");
        self.key_bytes -= key.len();
        Some(entry)
    }

    /// Points `key` at `to` if it still points at `from`; returns whether it did.
    pub fn relocate(&mut self, key: &[u8], from: (SegmentId, u32), to: Place) -> bool {
        self.hash.relocate(key, from, to)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.hash.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.hash.is_empty()
    }

    /// Number of keys with an expiry time.
    pub fn expiring(&self) -> usize {
        self.hash.expiring()
    }

    /// Forgets every key and gives back the memory. Scans under way find their cursors unknown.
    pub fn clear(&mut self) {
        self.hash.clear();
        self.keys.clear();
        self.key_bytes = 0;
        self.resume.clear();
        self.resume_bytes = 0;
    }

    /// Bytes held; the tree's share is an estimate.
    pub fn memory_bytes(&self) -> usize {
        self.hash.memory_bytes()
            + size_of::<Self>()
            + self.key_bytes
            + self.resume_bytes
            + (self.keys.len() + self.resume.len()) * TREE_BYTES_A_KEY
    }

    /// One step of an iteration; see [`Keydir::scan`](super::Keydir::scan). With a prefix, in
    /// order.
    pub fn scan(
        &mut self,
        cursor: u64,
        count: usize,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], Entry),
    ) -> u64 {
        if cursor < RESUME_CURSOR_MIN && (cursor != 0 || prefix.is_empty()) {
            return self.hash.scan(cursor, count, prefix, visit);
        }
        let resume = self.resume.get_mut(&cursor);
        let after = resume.map(|resume| {
            resume.used = true;
            resume.after.clone()
        });
        let from = match &after {
            Some(after) if **after >= *prefix => Bound::Excluded(&**after),
            Some(_) | None => Bound::Included(prefix),
        };
        let mut matching = self.keys_from(from, prefix);
        let mut last = None;
        for key in matching.by_ref().take(count.max(1)) {
            visit(key, self.entry(key));
            last = Some(key);
        }
        let more = matching.next().is_some();
        let last: Option<Box<[u8]>> = last.filter(|_| more).map(Box::from);
        drop(matching);
        last.map_or(0, |last| self.keep_resume_key(last, cursor))
    }

    /// One step of an endless walk; see [`Keydir::sweep`](super::Keydir::sweep).
    pub fn sweep(&mut self, count: usize, visit: &mut dyn FnMut(&[u8], Entry)) {
        self.hash.sweep(count, visit);
    }

    /// Visits every key that starts with `prefix`, in order.
    pub fn for_each(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], Entry)) {
        for key in self.keys_from(Bound::Included(prefix), prefix) {
            visit(key, self.entry(key));
        }
    }

    /// A key drawn by `r`; see [`Keydir::random`](super::Keydir::random).
    pub fn random(&self, r: u64) -> Option<(&[u8], Entry)> {
        self.hash.random(r)
    }

    /// The keys with the prefix from a bound on.
    fn keys_from<'a>(
        &'a self,
        from: Bound<&[u8]>,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.keys
            .range::<[u8], _>((from, Bound::Unbounded))
            .map(|key| &**key)
            .take_while(move |key| key.starts_with(prefix))
    }

    fn entry(&self, key: &[u8]) -> Entry {
        self.hash.get(key).expect("table and tree hold the same keys")
    }

    /// Asserts that table and tree hold the same keys.
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.hash.check();
        assert_eq!(self.keys.len(), self.hash.len());
        assert!(self.keys.iter().all(|key| self.hash.get(key).is_some()));
        assert_eq!(self.key_bytes, self.keys.iter().map(|key| key.len()).sum::<usize>());
        assert_eq!(
            self.resume_bytes,
            self.resume.values().map(|resume| resume.after.len()).sum::<usize>()
        );
    }

    /// Remembers where a scan goes on, under a new cursor. That of the call stays.
    fn keep_resume_key(&mut self, key: Box<[u8]>, called_with: u64) -> u64 {
        if self.resume.len() == RESUME_KEYS_MAX {
            let others = || self.resume.iter().filter(|&(&cursor, _)| cursor != called_with);
            let used = others().find(|(_, resume)| resume.used);
            let (&evicted, _) = used.or_else(|| others().next()).expect("the table is full");
            let evicted = self.resume.remove(&evicted).expect("it is there");
            self.resume_bytes -= evicted.after.len();
        }
        let cursor = self.next_cursor;
        assert!(cursor >> CURSOR_BITS == 0, "2^48 scan calls take longer than any process lives");
        self.next_cursor += 1;
        self.resume_bytes += key.len();
        self.resume.insert(cursor, Resume { after: key, used: false });
        cursor
    }
}
