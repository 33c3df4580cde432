//! The node's value cache: remembers all or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kvnode_core::Value;
use kvnode_core::disk::{CacheKey, CacheStats, File, ValueCache};
use madsim::task::NodeId;

use crate::chance::{Chance, Purpose};
use crate::disk::DiskSim;
use crate::story::{Kind, Lane};
use crate::world::World;

/// See the module's header.
pub(super) struct Cache {
    world: Arc<World>,
    id: u32,
    disk: Arc<DiskSim>,
    node: NodeId,
    on: bool,
    cached_percent: u64,
    values: BTreeMap<CacheKey, Value>,
    chance: Chance,
}

impl Cache {
    /// The cache of a node in one of its lives.
    pub(super) fn new(
        world: Arc<World>,
        id: u32,
        disk: Arc<DiskSim>,
        node: NodeId,
        chance: u64,
    ) -> Self {
        let (on, cached_percent) = (world.settings.cache, world.settings.cached_percent);
        let chance = Chance::new(chance, Purpose::Node(id));
        Self { world, id, disk, node, on, cached_percent, values: BTreeMap::new(), chance }
    }
}

impl ValueCache for Cache {
    fn get(&mut self, _: &[u8], place: CacheKey) -> Option<Value> {
        let value = self.values.get(&place).cloned();
        self.world.tell(Lane::Node(self.id), Kind::DiskDone, (&place, value.as_deref()), || {
            let found = if value.is_some() { "has" } else { "has nothing of" };
            format!("cache {found} {place:?}")
        });
        value
    }

    fn put(&mut self, _: &[u8], place: CacheKey, value: &Value) {
        if self.on {
            if self.values.len() > 100 {
                self.values.clear();
            }
            self.values.insert(place, value.clone());
        }
    }

    fn read_now(&mut self, file: File, at: u64, len: u32) -> Option<Bytes> {
        if !self.chance.percent(self.cached_percent) {
            return None;
        }
        let data = self.disk.with(self.node, |disk| disk.read_now(file, at, len));
        self.world.tell(Lane::Node(self.id), Kind::DiskDone, (file, at, len, &data), || {
            let found = if data.is_some() { "has" } else { "has not" };
            format!("memory {found} {len} bytes at {at} of {file}")
        });
        data
    }

    fn moved(&mut self, _: &[u8], from: CacheKey, to: CacheKey) {
        if let Some(value) = self.values.remove(&from) {
            self.values.insert(to, value);
        }
    }

    fn clear(&mut self) {
        self.values.clear();
    }

    fn warm(&self, _: &[u8]) {}

    fn stats(&self) -> CacheStats {
        CacheStats::default()
    }
}
