//! The cache of hot values in front of the disk: [`ValueCache`] over the `quick_cache` crate.
//!
//! Its bound is in bytes of memory, so an entry weighs its value and what it costs beside
//! ([`ENTRY_OVERHEAD_BYTES`], measured). A value that would push many others out is not taken.

use kvnode_core::Value;
use kvnode_core::disk::{CacheKey, CacheStats, ValueCache};
use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

/// A [`ValueCache`] of a fixed size; of zero bytes it is off.
pub struct HotValues {
    cache: Option<Values>,
    value_bytes_max: usize,
    capacity: u64,
    hits: u64,
    misses: u64,
}

type Hasher = foldhash::fast::RandomState;
type Values = Cache<CacheKey, Value, ByBytes, Hasher, DefaultLifecycle<CacheKey, Value>>;

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
        Self { cache, value_bytes_max: share.min(VALUE_BYTES_MAX), capacity, hits: 0, misses: 0 }
    }
}

impl ValueCache for HotValues {
    fn get(&mut self, key: CacheKey) -> Option<Value> {
        let found = self.cache.as_ref()?.get(&key).cloned();
        match found {
            Some(_) => self.hits += 1,
            None => self.misses += 1,
        }
        found
    }

    fn put(&mut self, key: CacheKey, value: &Value) {
        if value.len() <= self.value_bytes_max
            && let Some(cache) = &mut self.cache
        {
            cache.insert(key, value.clone());
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

impl Weighter<CacheKey, Value> for ByBytes {
    fn weight(&self, _: &CacheKey, value: &Value) -> u64 {
        value.len() as u64 + ENTRY_OVERHEAD_BYTES
    }
}

/// Bytes of memory that an entry takes beyond its value's own: the value's counts and rounding, the
/// entry with its links, its share of the hash table and of the table of evicted keys.
const ENTRY_OVERHEAD_BYTES: u64 = 104;

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

    fn key(position: u32) -> CacheKey {
        CacheKey { partition: PartitionId(0), segment: SegmentId(1), position }
    }

    fn value(len: usize) -> Value {
        Value::from(vec![7; len])
    }

    #[test]
    fn remembers_what_was_put_and_counts() {
        let mut cache = HotValues::new(1 << 20);
        assert_eq!(cache.get(key(1)), None);
        cache.put(key(1), &value(100));
        assert_eq!(cache.get(key(1)), Some(value(100)));
        let bytes = 100 + ENTRY_OVERHEAD_BYTES;
        let stats = CacheStats { hits: 1, misses: 1, bytes, capacity: 1 << 20 };
        assert_eq!(cache.stats(), stats);
    }

    #[test]
    fn never_holds_more_than_its_capacity() {
        let mut cache = HotValues::new(64 << 10);
        for n in 0..10_000 {
            cache.put(key(n), &value(n as usize % 300));
            assert!(cache.stats().bytes <= 64 << 10);
        }
        assert!(cache.stats().bytes > 32 << 10, "it forgot more than it had to");
    }

    #[test]
    fn a_value_that_is_asked_for_again_and_again_outlives_a_scan() {
        let mut cache = HotValues::new(64 << 10);
        cache.put(key(0), &value(100));
        for n in 1..5_000 {
            assert!(cache.get(key(0)).is_some(), "lost after {n}");
            cache.put(key(n), &value(100));
        }
    }

    #[test]
    fn a_value_above_its_share_is_not_taken() {
        let mut cache = HotValues::new(8_000);
        cache.put(key(1), &value(1_001));
        assert_eq!(cache.get(key(1)), None);
        let mut cache = HotValues::new(1 << 30);
        cache.put(key(1), &value(VALUE_BYTES_MAX + 1));
        assert_eq!(cache.get(key(1)), None);
        cache.put(key(1), &value(VALUE_BYTES_MAX));
        assert!(cache.get(key(1)).is_some());
    }

    #[test]
    fn without_capacity_it_is_off() {
        let mut cache = HotValues::new(0);
        cache.put(key(1), &value(0));
        assert_eq!(cache.get(key(1)), None);
        assert_eq!(cache.stats(), CacheStats::default());
    }
}
