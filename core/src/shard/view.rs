//! What a command sees of the partitions.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use super::evaluate::Fetched;
use super::forward::Homes;
use super::{Counters, FsyncMode, Partition, Redirect, errors};
use crate::disk::ValueCache;
use crate::kv::{
    self, CacheInfo, Changes, ClusterInfo, Info, Item, Meta, PartitionInfo, Stop, View,
};
use crate::server::Server;
use crate::server::rates::Totals;
use crate::storage::keydir::Place;
use crate::storage::replica::{Found, Status};
use crate::{Instant, Millis, NodeId, Offset, Value};

/// A command's view; see [`View`].
pub(super) struct Eye<'a> {
    pub(super) partitions: &'a mut [Partition],
    pub(super) homes: &'a Homes,
    /// The partitions that a command without keys is about.
    pub(super) scope: Range<usize>,
    pub(super) cache: &'a mut dyn ValueCache,
    pub(super) fetched: &'a Fetched,
    pub(super) watched: &'a mut Watched,
    pub(super) notes: &'a mut Notes,
    pub(super) counters: &'a mut Counters,
    pub(super) server: &'a mut Server,
    pub(super) random: &'a mut u64,
    pub(super) now_ms: Millis,
    pub(super) wall_us: u64,
    pub(super) facts: Facts,
    /// The node is one of a cluster.
    pub(super) member: bool,
    pub(super) cluster: Option<&'a crate::control::View>,
    /// Nodes that can be sent to.
    pub(super) linked: &'a BTreeSet<NodeId>,
    /// Now, if followers may be shown; see [`nearby`](super::nearby).
    pub(super) nearby: Option<Instant>,
    /// Who has what the client wrote; told to a transaction.
    pub(super) acked: kv::Acked,
}

/// What INFO tells of the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) clients: usize,
    pub(super) blocked_clients: usize,
    pub(super) durable_at: u64,
    pub(super) directory_id: u128,
    pub(super) port: u16,
    pub(super) process_id: u32,
    pub(super) uptime: Duration,
    pub(super) fsync: FsyncMode,
    pub(super) redirect: Redirect,
}

/// What an evaluation has come upon.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// What the reply depends on, once for each partition.
    pub(super) depends: Vec<Depends>,
    /// Partitions of a cluster in which something was looked up.
    pub(super) reads: Vec<usize>,
    /// Values to be read.
    pub(super) wants: Vec<(usize, Value, Place)>,
    /// Partitions whose clock must be committed.
    pub(super) clocks: Vec<usize>,
    /// A follower that was shown can not tell: the leader may.
    pub(super) asks_leader: bool,
}

/// A reply depends on what is logged in a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depends {
    /// The partition.
    pub(super) at: usize,
    /// Everything before this offset.
    pub(super) until: Offset,
    /// The command itself has logged some of it.
    pub(super) wrote: bool,
}

/// Keys under WATCH: by how many, and when last changed.
#[derive(Debug, Default)]
pub(super) struct Watched {
    keys: BTreeMap<Value, (u32, u64)>,
    /// Counts changes.
    version: u64,
}

impl Notes {
    pub(super) fn clear(&mut self) {
        self.depends.clear();
        self.reads.clear();
        self.wants.clear();
        self.clocks.clear();
        self.asks_leader = false;
    }
}

impl Watched {
    /// A command changes keys; `exists` tells of the time before it. A flush changes only keys that
    /// were there.
    pub(super) fn on_changes(&mut self, changes: &Changes, exists: impl Fn(&[u8]) -> bool) {
        if self.keys.is_empty() {
            return;
        }
        self.version += 1;
        if changes.flushes() {
            for (key, (_, version)) in &mut self.keys {
                if exists(key) {
                    *version = self.version;
                }
            }
        }
        for (key, _) in changes.ops() {
            if let Some((_, version)) = self.keys.get_mut(&key[..]) {
                *version = self.version;
            }
        }
    }
}

impl Watched {
    /// Values that were seen may be gone again: each watched key that may be `lost` counts as
    /// changed.
    pub(super) fn on_lost(&mut self, lost: impl Fn(&[u8]) -> bool) {
        self.version += 1;
        for (key, (_, version)) in &mut self.keys {
            if lost(key) {
                *version = self.version;
            }
        }
    }

    /// One client no longer watches `key`.
    pub(super) fn unwatch(&mut self, key: &[u8]) {
        if let Some((count, _)) = self.keys.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.keys.remove(key);
            }
        }
    }
}

impl Eye<'_> {
    /// Where the partition of `key` stands here.
    fn home(&self, key: &[u8]) -> Result<usize, Stop> {
        if self.homes.count() == 0 {
            return Err(Stop::Error(errors::nothing_open(self.member)));
        }
        self.homes.at(key).ok_or_else(|| Stop::Error(errors::elsewhere()))
    }

    /// The partition at `at`, if it serves.
    fn serving(&mut self, at: usize) -> Result<&Partition, Stop> {
        let partition = &self.partitions[at];
        if partition.serves() {
            if self.member {
                self.notes.read(at);
            }
            Ok(partition)
        } else {
            Err(Stop::Error(partition.not_serving()))
        }
    }

    /// Whether the partition at `at` is one of a follower that may be shown.
    fn shows(&self, at: usize) -> bool {
        let partition = &self.partitions[at];
        !partition.serves() && self.nearby.is_some_and(|now| partition.shows(now))
    }

    /// Every partition serves.
    fn all_serving(&mut self) -> Result<(), Stop> {
        if self.partitions.is_empty() {
            return Err(Stop::Error(errors::nothing_open(self.member)));
        }
        self.scope.clone().try_for_each(|at| self.serving(at).map(|_| ()))
    }

    /// Whether a key that expires then is live; an error if the clock by which it is not would
    /// have to be committed first.
    fn live(&mut self, at: usize, expire_at: Option<Millis>) -> Result<bool, Stop> {
        let Some(expire_at) = expire_at else { return Ok(true) };
        // A follower may have committed a later clock than this node's.
        if expire_at <= self.partitions[at].replica.committed_clock() {
            return Ok(false);
        }
        if expire_at > self.now_ms {
            return Ok(true);
        }
        if !self.notes.clocks.contains(&at) {
            self.notes.clocks.push(at);
        }
        Err(Stop::Clock)
    }

    fn look(&mut self, key: &[u8]) -> Result<(usize, Found), Stop> {
        let at = self.home(key)?;
        let shows = self.shows(at);
        let found = if shows {
            self.partitions[at].replica.find_committed(key)
        } else {
            self.serving(at)?.replica.find(key)
        };
        self.notes.asks_leader |= shows && matches!(found, Found::Damaged(_));
        match &found {
            Found::Deleted(until) | Found::Fresh { until, .. } => self.notes.depend(at, *until),
            Found::Damaged(damage) => return Err(Stop::Error(errors::damaged(at, damage))),
            Found::Absent | Found::Committed(_) => {}
        }
        Ok((at, found))
    }

    /// The value of a live key.
    fn load(&mut self, key: &[u8]) -> Result<Option<Item>, Stop> {
        let (at, found) = self.look(key)?;
        let (value, expire_at) = match found {
            Found::Fresh { value, expire_at, .. } => {
                return Ok(self.live(at, expire_at)?.then_some(Item { value, expire_at }));
            }
            Found::Committed(entry) => {
                if !self.live(at, entry.expire_at)? {
                    return Ok(None);
                }
                let replica = &self.partitions[at].replica;
                let fetched = self.fetched.values.get(&replica.cache_key(entry.place));
                let value = match fetched {
                    Some(Ok(value)) => value.clone(),
                    Some(Err(_)) | None => {
                        match (replica.read_now(key, entry.place, self.cache), fetched) {
                            (Some(value), _) => value,
                            (None, Some(Err(fault))) => {
                                self.notes.asks_leader |= self.shows(at);
                                return Err(Stop::Error(errors::unreadable(at, *fault)));
                            }
                            (None, _) => {
                                self.notes.want(at, key, entry.place);
                                return Err(Stop::Read);
                            }
                        }
                    }
                };
                (value, entry.expire_at)
            }
            Found::Absent | Found::Deleted(_) | Found::Damaged(_) => return Ok(None),
        };
        Ok(Some(Item { value, expire_at }))
    }

    /// Visits keys by `walk` of one partition; keys that have expired are left out.
    fn walk(
        &mut self,
        at: usize,
        found: &mut dyn FnMut(&[u8]),
        walk: impl FnOnce(&mut Partition, &mut dyn FnMut(&[u8], Option<Millis>)) -> (u64, Offset),
    ) -> Result<u64, Stop> {
        self.serving(at)?;
        let committed = self.partitions[at].replica.committed_clock();
        let now = self.now_ms.max(committed);
        let mut wants_clock = false;
        let (cursor, until) = walk(&mut self.partitions[at], &mut |key, expire_at| {
            if expire_at.is_none_or(|e| e > now) {
                found(key);
            } else if expire_at.is_some_and(|e| e > committed) {
                wants_clock = true;
            }
        });
        self.notes.depend(at, until);
        if wants_clock {
            self.live(at, Some(committed + 1))?;
        }
        Ok(cursor)
    }
}

impl View for Eye<'_> {
    fn partitions(&self) -> usize {
        self.homes.count() as usize
    }

    fn meta(&mut self, key: &[u8]) -> Result<Option<Meta>, Stop> {
        let (at, found) = self.look(key)?;
        let (value_len, expire_at) = match found {
            Found::Fresh { value, expire_at, .. } => (value.len(), expire_at),
            Found::Committed(entry) => {
                let expires = entry.expire_at.is_some();
                let record_len = entry.place.length as usize;
                let len = crate::storage::value_len(record_len, key.len(), expires);
                (len, entry.expire_at)
            }
            Found::Absent | Found::Deleted(_) | Found::Damaged(_) => return Ok(None),
        };
        Ok(self.live(at, expire_at)?.then_some(Meta { value_len, expire_at }))
    }

    fn suspect(&mut self, key: &[u8]) -> bool {
        self.homes
            .at(key)
            .is_some_and(|at| matches!(self.partitions[at].replica.find(key), Found::Damaged(_)))
    }

    fn damaged(&mut self) -> bool {
        self.partitions[self.scope.clone()].iter().any(|p| p.replica.damaged())
    }

    fn item(&mut self, key: &[u8]) -> Result<Option<Item>, Stop> {
        let item = self.load(key)?;
        match item {
            Some(_) => self.counters.hits += 1,
            None => self.counters.misses += 1,
        }
        Ok(item)
    }

    fn len(&mut self) -> Result<usize, Stop> {
        self.all_serving()?;
        let mut total = 0;
        for at in self.scope.clone() {
            let (count, until) = self.partitions[at].replica.key_count();
            self.notes.depend(at, until);
            total += count;
        }
        Ok(total)
    }

    fn for_each_key(&mut self, prefix: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), Stop> {
        self.all_serving()?;
        for at in self.scope.clone() {
            self.walk(at, found, |p, visit| (0, p.replica.for_each_key(prefix, visit)))?;
        }
        Ok(())
    }

    /// The cursor counts partitions in its remainder: each is walked to its end before the next.
    fn scan(
        &mut self,
        cursor: u64,
        count: usize,
        prefix: &[u8],
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, Stop> {
        self.all_serving()?;
        let partitions = self.scope.len() as u64;
        let (inner, at) = (cursor / partitions, cursor % partitions);
        let first = self.scope.start;
        let next = self.walk(first + at as usize, found, |p, visit| {
            p.replica.scan(inner, count, prefix, visit)
        })?;
        Ok(match (next, at + 1 < partitions) {
            (0, true) => at + 1,
            (0, false) => 0,
            (next, _) => next.checked_mul(partitions).map_or(0, |c| c + at),
        })
    }

    fn random_key(&mut self) -> Result<Option<Value>, Stop> {
        self.all_serving()?;
        // Draws a few times, since a drawn key may have expired.
        for _ in 0..100 {
            *self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let mut random = *self.random >> 11;
            let here = &self.partitions[self.scope.clone()];
            let total = here.iter().map(|p| p.replica.key_count().0).sum::<usize>().max(1);
            let mut nth = random as usize % total;
            let mut at = self.scope.start;
            while at + 1 < self.scope.end && nth >= self.partitions[at].replica.key_count().0 {
                nth -= self.partitions[at].replica.key_count().0;
                at += 1;
            }
            random = random.rotate_left(17);
            let (key, until) = self.partitions[at].replica.random_key(random);
            self.notes.depend(at, until);
            let Some((key, expire_at)) = key else { return Ok(None) };
            if self.live(at, expire_at)? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    fn now_ms(&self) -> Millis {
        self.now_ms
    }

    fn wall_us(&self) -> u64 {
        self.wall_us
    }

    fn watch(&mut self, key: &[u8]) {
        match self.watched.keys.get_mut(key) {
            Some((count, _)) => *count += 1,
            None => {
                self.watched.keys.insert(Value::copy_from(key), (1, self.watched.version));
            }
        }
    }

    fn unwatch(&mut self, key: &[u8]) {
        self.watched.unwatch(key);
    }

    fn watched_version(&self, key: &[u8]) -> u64 {
        self.watched.keys.get(key).map_or(0, |(_, version)| *version)
    }

    fn cluster(&self) -> Result<&crate::control::View, Stop> {
        match self.cluster {
            Some(view) => Ok(view),
            None if self.member => Err(Stop::Error(errors::not_serving(0, "opening"))),
            None => Err(Stop::Error(errors::stands_alone())),
        }
    }

    fn fsync(&self) -> FsyncMode {
        self.facts.fsync
    }

    fn acked(&self) -> kv::Acked {
        self.acked
    }

    fn redirect(&self) -> Redirect {
        self.facts.redirect
    }

    fn linked(&self) -> Vec<NodeId> {
        self.linked.iter().copied().collect()
    }

    fn role(&self) -> kv::Role {
        role(self.partitions, self.linked, self.cluster)
    }

    fn server(&mut self) -> &mut Server {
        self.server
    }

    fn info(&self) -> Info {
        let statuses: Vec<Status> = self.partitions.iter().map(|p| p.replica.status()).collect();
        let total = |of: fn(&Status) -> u64| statuses.iter().map(of).sum::<u64>();
        let cache = self.cache.stats();
        let [commandstats, errorstats, latencystats] = kv::stats_lines(&self.server.stats);
        Info {
            commandstats,
            errorstats,
            latencystats,
            max_clients: self.server.settings.max_clients,
            blocked_clients: self.facts.blocked_clients,
            rejected_connections: self.server.stats.rejected_connections,
            error_replies: self.server.stats.failed,
            durable_at: self.facts.durable_at,
            usage: self.server.meter.and_then(|meter| meter()),
            os: self.server.os.clone(),
            totals: Totals {
                commands: self.counters.commands,
                received: self.server.stats.received,
                sent: self.server.stats.sent,
            },
            rates: self.server.stats.rates.per_second(),
            not_durable: self.partitions.iter().map(|p| p.replica.not_durable()).sum(),
            synced: self.partitions.iter().all(|p| !p.replica.is_down()),
            written: self.partitions.iter().all(|p| !p.replica.is_down() && !p.replica.is_full()),
            role: role(self.partitions, self.linked, self.cluster),
            process_id: self.facts.process_id,
            port: self.facts.port,
            directory_id: match self.facts.directory_id {
                0 => String::new(),
                id => format!("{id:032x}"),
            },
            uptime_ms: self.facts.uptime.as_millis() as u64,
            wall_us: self.wall_us,
            cluster: self.cluster.map(cluster_info),
            member: self.member,
            fsync: match self.facts.fsync {
                FsyncMode::Always => String::from("always"),
                FsyncMode::EveryMs(ms) => format!("{ms}"),
                FsyncMode::Never => String::from("never"),
            },
            clients: self.facts.clients,
            watched_keys: self.watched.keys.len(),
            connections_received: self.counters.connections,
            keyspace_hits: self.counters.hits,
            keyspace_misses: self.counters.misses,
            expired_keys: total(|s| s.counters.expired) - self.counters.expired_before,
            keys: statuses.iter().map(|s| s.keys).sum(),
            expires: statuses.iter().map(|s| s.expiring).sum(),
            index_bytes: total(|s| s.keydir_bytes as u64),
            fsyncs: total(|s| s.counters.fsyncs),
            read_faults: total(|s| s.counters.read_faults),
            scrubbed_bytes: total(|s| s.counters.scrubbed_bytes),
            cache: CacheInfo {
                hits: cache.hits,
                misses: cache.misses,
                bytes: cache.bytes,
                bytes_max: cache.capacity,
            },
            partitions: self.partitions.iter().zip(&statuses).map(partition_info).collect(),
        }
    }
}

/// What ROLE tells of the partitions that are led here.
fn role(
    partitions: &[Partition],
    linked: &BTreeSet<NodeId>,
    cluster: Option<&crate::control::View>,
) -> kv::Role {
    let (mut offset, mut lags) = (0, BTreeMap::new());
    for partition in partitions.iter().filter(|p| p.serves()) {
        offset += partition.replica.log_end().0;
        for follower in partition.followers().iter().filter(|f| linked.contains(&f.node)) {
            if let Some(lag) = follower.lag {
                *lags.entry(follower.node).or_insert(0) += lag;
            }
        }
    }
    let replica = |(node, lag): (NodeId, u64)| {
        let (host, port) = cluster?.map.node(node)?.registration.client_address();
        Some(kv::Replica { host: String::from(host), port, offset: offset - lag })
    };
    kv::Role { offset, replicas: lags.into_iter().filter_map(replica).collect() }
}

fn cluster_info(seen: &crate::control::View) -> ClusterInfo {
    let quorum = &seen.quorum;
    ClusterInfo {
        id: seen.cluster.map(|id| format!("{id}")).unwrap_or_default(),
        node: seen.me.node,
        controller: quorum.controller,
        term: quorum.term,
        voters: quorum.voters.len(),
        nodes: seen.map.nodes().count(),
        active_nodes: seen.map.nodes().filter(|(_, node)| node.is_active()).count(),
        summary: kv::summary(seen),
    }
}

fn partition_info((partition, status): (&Partition, &Status)) -> PartitionInfo {
    PartitionInfo {
        id: status.partition,
        epoch: status.epoch,
        log_end: status.log_end,
        durable_end: status.durable_end,
        high_watermark: status.high_watermark,
        isr: partition.in_sync(),
        segments: status.segments,
        log_bytes: status.log_bytes,
        keys: status.keys,
        garbage_bytes: status.dead_bytes,
        compactions: status.counters.merges,
    }
}
