//! The cache of hot values in front of the disk: [`ValueCache`] over the `quick_cache` crate, and
//! behind it the pages that the system holds.
//!
//! Its bound is in bytes of memory, so an entry weighs its value and what it costs beside
//! ([`ENTRY_OVERHEAD_BYTES`], measured). A value that would push many others out is not taken.

use std::cell::RefCell;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::rc::Rc;

use bytes::Bytes;
use kvnode_core::Value;
use kvnode_core::disk::{CacheKey, CacheStats, DiskDone, DiskOp, File, ValueCache};
use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use crate::disk::Disk;

/// A [`ValueCache`] of a fixed size; of zero bytes it is off.
pub struct HotValues {
    cache: Option<Values>,
    hasher: Hasher,
    /// Whose pages in memory are looked at when a value is not here.
    disk: Option<Rc<RefCell<Disk>>>,
    value_bytes_max: usize,
    capacity: u64,
    hits: u64,
    misses: u64,
}

type Hasher = foldhash::fast::RandomState;
/// By the hash of the key, which may be another key's: the place tells.
type Values = Cache<u64, Placed, ByBytes, Hasher, DefaultLifecycle<u64, Placed>>;

/// A value and the place of its record.
#[derive(Clone)]
struct Placed {
    place: CacheKey,
    value: Value,
}

impl HotValues {
    /// A cache of at most `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        let cache = (capacity > 0).then(|| {
            // The estimate bounds how many evicted keys are remembered, at 40 bytes each.
            let entries = usize::try_from(capacity / ENTRY_BYTES_TYPICAL).unwrap_or(usize::MAX);
            let options = OptionsBuilder::new()
                .weight_capacity(capacity)
                .estimated_items_capacity(entries)
                .ghost_allocation(GHOSTS)
                .build()
                .expect("both capacities are set");
            Cache::with_options(options, ByBytes, Hasher::default(), DefaultLifecycle::default())
        });
        let share = usize::try_from(capacity / VALUE_SHARE).unwrap_or(usize::MAX);
        let hasher = Hasher::default();
        Self {
            cache,
            hasher,
            disk: None,
            value_bytes_max: share.min(VALUE_BYTES_MAX),
            capacity,
            hits: 0,
            misses: 0,
        }
    }
}

impl HotValues {
    /// The same, which looks at the pages that the system holds of `disk`'s files as well.
    pub(crate) fn in_front_of(self, disk: Rc<RefCell<Disk>>) -> Self {
        Self { disk: Some(disk), ..self }
    }
}

impl ValueCache for HotValues {
    fn get(&mut self, key: &[u8], place: CacheKey) -> Option<Value> {
        let hash = self.hasher.hash_one(key);
        let found = self.cache.as_ref()?.get(&hash).filter(|placed| placed.place == place);
        match found {
            Some(_) => self.hits += 1,
            None => self.misses += 1,
        }
        found.map(|placed| placed.value.clone())
    }

    fn put(&mut self, key: &[u8], place: CacheKey, value: &Value) {
        if value.len() <= self.value_bytes_max
            && let Some(cache) = &mut self.cache
        {
            let hash = self.hasher.hash_one(key);
            cache.insert(hash, Placed { place, value: value.clone() });
        }
    }

    fn read_now(&mut self, file: File, at: u64, len: u32) -> Option<Bytes> {
        let job = self.disk.as_ref()?.borrow_mut().prepare(DiskOp::Read { file, at, len });
        match job.read_cached()? {
            Ok(DiskDone::Data(data)) => Some(data),
            Ok(DiskDone::Done | DiskDone::Listing(_)) | Err(_) => None,
        }
    }

    fn moved(&mut self, key: &[u8], from: CacheKey, to: CacheKey) {
        let hash = self.hasher.hash_one(key);
        if let Some(cache) = &mut self.cache
            && let Some(mut placed) = cache.get_mut(&hash)
            && placed.place == from
        {
            placed.place = to;
        }
    }

    fn clear(&mut self) {
        if let Some(cache) = &mut self.cache {
            cache.clear();
        }
    }

    fn warm(&self, key: &[u8]) {
        if let Some(cache) = &self.cache
            && let Some(placed) = cache.peek(&self.hasher.hash_one(key))
        {
            black_box(placed.value.first());
        }
    }

    fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits,
            misses: self.misses,
            bytes: self.cache.as_ref().map_or(0, Cache::weight),
            capacity: self.capacity,
        }
    }
}

struct ByBytes;

impl Weighter<u64, Placed> for ByBytes {
    fn weight(&self, _: &u64, placed: &Placed) -> u64 {
        placed.value.len() as u64 + ENTRY_OVERHEAD_BYTES
    }
}

/// Bytes of memory that an entry takes beyond its value's own: the value's counts and rounding, the
/// entry with its links, its share of the hash table and of the table of evicted keys. Measured with
/// values of 16 to 100 bytes: 90 in a cache filled once, 110 to 125 after it has been written over.
const ENTRY_OVERHEAD_BYTES: u64 = 120;

/// What an entry is taken to weigh when the number of entries is estimated.
const ENTRY_BYTES_TYPICAL: u64 = 256;

/// Evicted keys that are remembered, for each entry held.
const GHOSTS: f64 = 0.5;

/// A value may take one part in so many of the capacity.
const VALUE_SHARE: u64 = 8;

/// Longest value that is taken, whatever the capacity.
const VALUE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use kvnode_core::{PartitionId, SegmentId};

    use super::*;

    fn place(position: u32) -> CacheKey {
        CacheKey { partition: PartitionId(0), segment: SegmentId(1), position }
    }

    #[test]
    fn what_is_cleared_is_forgotten() {
        let mut cache = HotValues::new(1 << 20);
        put(&mut cache, 1, &Value::copy_from(b"v"));
        cache.clear();
        assert_eq!(get(&mut cache, 1), None);
        put(&mut cache, 1, &Value::copy_from(b"w"));
        assert_eq!(get(&mut cache, 1), Some(Value::copy_from(b"w")));
    }

    /// A key of its own for each place.
    fn put(cache: &mut HotValues, n: u32, value: &Value) {
        cache.put(&n.to_le_bytes(), place(n), value);
    }

    fn get(cache: &mut HotValues, n: u32) -> Option<Value> {
        cache.get(&n.to_le_bytes(), place(n))
    }

    #[test]
    fn a_value_at_another_place_is_not_the_one_asked_for() {
        let mut cache = HotValues::new(1 << 20);
        cache.put(b"k", place(1), &value(3));
        assert_eq!(cache.get(b"k", place(2)), None);
        cache.moved(b"k", place(7), place(2));
        assert_eq!(cache.get(b"k", place(2)), None);
        cache.moved(b"k", place(1), place(2));
        assert_eq!(cache.get(b"k", place(2)), Some(value(3)));
        cache.put(b"k", place(3), &value(4));
        assert_eq!(cache.get(b"k", place(2)), None);
        assert_eq!(cache.stats().bytes, 4 + ENTRY_OVERHEAD_BYTES, "the older one has gone");
    }

    fn value(len: usize) -> Value {
        Value::from(vec![7; len])
    }

    #[test]
    fn remembers_what_was_put_and_counts() {
        let mut cache = HotValues::new(1 << 20);
        assert_eq!(get(&mut cache, 1), None);
        put(&mut cache, 1, &value(100));
        assert_eq!(get(&mut cache, 1), Some(value(100)));
        let bytes = 100 + ENTRY_OVERHEAD_BYTES;
        let stats = CacheStats { hits: 1, misses: 1, bytes, capacity: 1 << 20 };
        assert_eq!(cache.stats(), stats);
    }

    #[test]
    fn never_holds_more_than_its_capacity() {
        let mut cache = HotValues::new(64 << 10);
        for n in 0..10_000 {
            put(&mut cache, n, &value(n as usize % 300));
            assert!(cache.stats().bytes <= 64 << 10);
        }
        assert!(cache.stats().bytes > 32 << 10, "it forgot more than it had to");
    }

    #[test]
    fn a_value_that_is_asked_for_again_and_again_outlives_a_scan() {
        let mut cache = HotValues::new(64 << 10);
        put(&mut cache, 0, &value(100));
        for n in 1..5_000 {
            assert!(get(&mut cache, 0).is_some(), "lost after {n}");
            put(&mut cache, n, &value(100));
        }
    }

    #[test]
    fn a_value_above_its_share_is_not_taken() {
        let mut cache = HotValues::new(8_000);
        put(&mut cache, 1, &value(1_001));
        assert_eq!(get(&mut cache, 1), None);
        let mut cache = HotValues::new(1 << 30);
        put(&mut cache, 1, &value(VALUE_BYTES_MAX + 1));
        assert_eq!(get(&mut cache, 1), None);
        put(&mut cache, 1, &value(VALUE_BYTES_MAX));
        assert!(get(&mut cache, 1).is_some());
    }

    #[test]
    fn without_capacity_it_is_off() {
        let mut cache = HotValues::new(0);
        put(&mut cache, 1, &value(0));
        assert_eq!(get(&mut cache, 1), None);
        assert_eq!(cache.stats(), CacheStats::default());
    }
}
