//! Replicas in virtual time under a map, with a network and disks between them that take their time.
//! After every step the whole is held against the invariants of the protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kvnode_core::cluster::{AlterPartition, Command, ElectLeader, Life, Map, Refusal, Right};
use kvnode_core::replication::{Envelope, ReadWait, Settings};
use kvnode_core::{Epoch, Instant, NodeId};

use super::replica::{Effects, P, Record, Replica, founded, ms, registration, try_apply};

/// See the module's header.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) map: Map,
    pub(crate) replicas: BTreeMap<u32, Replica>,
    pub(crate) faults: Faults,
    /// Nodes whose disk does nothing.
    pub(crate) stalled: BTreeSet<u32>,
    /// Nodes that hear nothing of the map.
    pub(crate) blind: BTreeSet<u32>,
    /// Proposals are not heard.
    pub(crate) deaf: bool,
    /// Pairs without a link, the smaller first.
    pub(crate) cuts: BTreeSet<(u32, u32)>,
    /// What was seen since it was last taken.
    pub(crate) trace: Vec<String>,
    committed: Vec<Record>,
    /// An operator has put one in charge that was not in sync: nothing is promised any more.
    unclean: bool,
    /// Who committed in a reign.
    committers: BTreeMap<Epoch, NodeId>,
    reads: Vec<Read>,
    network: BTreeMap<(Instant, u64), (NodeId, NodeId, Envelope)>,
    alters: BTreeMap<(Instant, u64), AlterPartition>,
    disks: BTreeMap<u32, Instant>,
    maps: BTreeMap<u32, Instant>,
    written: u32,
    serial: u64,
    random: u64,
}

/// How long things take, and what goes wrong.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) delay_us: (u64, u64),
    pub(crate) write_us: (u64, u64),
    pub(crate) map_us: (u64, u64),
    pub(crate) loss_percent: u64,
    pub(crate) copy_percent: u64,
}

impl Faults {
    pub(crate) const NONE: Self = Self {
        delay_us: (1_000, 1_000),
        write_us: (2_000, 2_000),
        map_us: (1_000, 1_000),
        loss_percent: 0,
        copy_percent: 0,
    };
}

/// A read that waits.
struct Read {
    node: u32,
    epoch: Epoch,
    beat: u64,
    missed: bool,
}

impl World {
    pub(crate) fn new(nodes: u32, min_isr: u32, settings: Settings, seed: u64) -> Self {
        let map = founded(nodes, min_isr);
        let all: BTreeSet<NodeId> = (1..=nodes).map(NodeId).collect();
        let replica = |id: u32| {
            let life = map.node(NodeId(id)).expect("it is registered").life();
            let mut replica = Replica::new(life, settings);
            replica.links = all.iter().copied().filter(|&other| other != NodeId(id)).collect();
            (id, replica)
        };
        let replicas = (1..=nodes).map(replica).collect();
        let mut world = Self {
            now: Instant(1_000_000_000),
            map,
            replicas,
            faults: Faults::NONE,
            stalled: BTreeSet::new(),
            blind: BTreeSet::new(),
            deaf: false,
            cuts: BTreeSet::new(),
            trace: Vec::new(),
            committed: Vec::new(),
            unclean: false,
            committers: BTreeMap::new(),
            reads: Vec::new(),
            network: BTreeMap::new(),
            alters: BTreeMap::new(),
            disks: BTreeMap::new(),
            maps: BTreeMap::new(),
            written: 0,
            serial: 0,
            random: seed,
        };
        world.spread();
        world
    }

    pub(crate) fn replica(&self, id: u32) -> &Replica {
        &self.replicas[&id]
    }

    /// Lets something happen to one replica, and sees to what comes of it.
    pub(crate) fn with(&mut self, id: u32, act: impl FnOnce(&mut Replica, Instant) -> Effects) {
        let now = self.now;
        let replica = self.replicas.get_mut(&id).expect("there is such a replica");
        let effects = act(replica, now);
        for line in effects.told {
            self.tell(id, &line);
        }
        assert_eq!(effects.violation, None, "{}", self.trace.join("\n"));
        for (to, envelope) in effects.sent {
            self.send(NodeId(id), to, envelope);
        }
        for alter in effects.alters {
            let at = self.now.after(self.wait(self.faults.delay_us));
            self.serial += 1;
            self.alters.insert((at, self.serial), alter);
        }
        self.see_to_disk(id);
        self.check(id);
    }

    pub(crate) fn write(&mut self, id: u32) -> bool {
        let now = self.now;
        let payload = self.written + 1;
        let mut taken = false;
        self.with(id, |replica, _| {
            let effects = replica.write(now, payload);
            taken = effects.is_some();
            effects.unwrap_or_default()
        });
        self.written += u32::from(taken);
        taken
    }

    /// What a read is told to wait for; none if it is not taken.
    pub(crate) fn read(&mut self, id: u32) -> Option<ReadWait> {
        let epoch = self.replica(id).leads()?;
        let missed = self.replica(id).watermark < self.committed.len();
        let mut told = None;
        self.with(id, |replica, now| match replica.read(now) {
            Some((wait, effects)) => {
                told = Some(wait);
                effects
            }
            None => Effects::default(),
        });
        match told {
            Some(ReadWait::Now) => assert!(!missed, "a read misses what was committed"),
            Some(ReadWait::Beat(beat)) => self.reads.push(Read { node: id, epoch, beat, missed }),
            None => {}
        }
        self.check(id);
        told
    }

    /// Applies a command to the map, if it is lawful.
    pub(crate) fn command(&mut self, command: &Command) -> Result<(), Refusal> {
        try_apply(&mut self.map, command)?;
        let partition = self.map.partition(P).expect("it is placed").to_string();
        self.tell_all(&format!("map: {partition}"));
        self.spread();
        Ok(())
    }

    pub(crate) fn life(&self, id: u32) -> Life {
        self.replica(id).life
    }

    pub(crate) fn elect(&mut self, id: u32, right: Right) -> Result<(), Refusal> {
        let entry = self.map.partition(P).expect("it is placed");
        let elect = ElectLeader {
            partition: P,
            leader: self.life(id),
            partition_epoch: entry.partition_epoch,
            above: Epoch(0),
            right,
        };
        self.command(&Command::ElectLeader(elect))?;
        self.unclean |= right != Right::InSync;
        Ok(())
    }

    /// The process stops and starts again in a new life.
    pub(crate) fn crash(&mut self, id: u32) {
        self.restart(id, usize::MAX);
    }

    /// The same, and it has lost what it acknowledged but for the first records. False if it is the
    /// last in sync.
    pub(crate) fn lose(&mut self, id: u32, kept: usize) -> bool {
        let entry = self.map.partition(P).expect("it is placed");
        let is_last = entry.isr.len() == 1 && entry.seat(NodeId(id)).is_some();
        if !is_last {
            self.restart(id, kept);
        }
        !is_last
    }

    fn restart(&mut self, id: u32, kept: usize) {
        let clean = kept == usize::MAX;
        let nonce = self.map.applied().0 + 1;
        let command = Command::Register(registration(NodeId(id), nonce, clean));
        try_apply(&mut self.map, &command).expect("a new life may register");
        let life = self.map.node(NodeId(id)).expect("it is there").life();
        let now = self.now;
        self.replicas.get_mut(&id).expect("there is such a replica").restart(now, life, kept);
        self.disks.remove(&id);
        self.tell(id, &format!("starts again as {life}"));
        let others: Vec<u32> = self.others(id).filter(|&other| !self.is_cut(id, other)).collect();
        for &other in &others {
            self.with(other, |replica, now| replica.on_link(now, NodeId(id), false));
            self.with(other, |replica, now| replica.on_link(now, NodeId(id), true));
        }
        self.network.retain(|_, (from, to, _)| from.0 != id && to.0 != id);
        self.spread();
    }

    pub(crate) fn cut(&mut self, a: u32, b: u32, cut: bool) {
        let pair = (a.min(b), a.max(b));
        let changed = if cut { self.cuts.insert(pair) } else { self.cuts.remove(&pair) };
        if !changed {
            return;
        }
        let between = |x: NodeId, y: NodeId| (x.0.min(y.0), x.0.max(y.0)) == pair;
        self.network.retain(|_, (from, to, _)| !between(*from, *to));
        self.with(a, |replica, now| replica.on_link(now, NodeId(b), !cut));
        self.with(b, |replica, now| replica.on_link(now, NodeId(a), !cut));
    }

    pub(crate) fn stall(&mut self, id: u32, stalled: bool) {
        if stalled {
            self.stalled.insert(id);
            self.disks.remove(&id);
        } else {
            self.stalled.remove(&id);
            self.see_to_disk(id);
        }
    }

    pub(crate) fn blind(&mut self, id: u32, blind: bool) {
        if blind {
            self.blind.insert(id);
            self.maps.remove(&id);
        } else {
            self.blind.remove(&id);
            self.spread();
        }
    }

    /// Everything is as it should be again.
    pub(crate) fn heal(&mut self) {
        for (a, b) in self.cuts.clone() {
            self.cut(a, b, false);
        }
        for id in self.replicas.keys().copied().collect::<Vec<_>>() {
            self.stall(id, false);
            self.blind(id, false);
        }
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some(at) = self.next_event().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.step();
        }
        self.now = end;
    }

    fn next_event(&self) -> Option<Instant> {
        let network = self.network.keys().next().map(|&(at, _)| at);
        let alters = self.alters.keys().next().map(|&(at, _)| at);
        let disks = self.disks.values().copied().min();
        let maps = self.maps.values().copied().min();
        let deadlines = self.replicas.values().filter_map(Replica::deadline).min();
        [network, alters, disks, maps, deadlines].into_iter().flatten().min()
    }

    /// One thing that is due.
    fn step(&mut self) {
        let now = self.now;
        let due = |map: &BTreeMap<u32, Instant>| {
            map.iter().find(|&(_, &at)| at <= now).map(|(&id, _)| id)
        };
        if let Some(id) = due(&self.maps) {
            self.maps.remove(&id);
            let map = self.map.clone();
            self.with(id, |replica, now| replica.on_map(now, &map));
        } else if let Some(first) = self.network.first_entry().filter(|f| f.key().0 <= now) {
            let (from, to, envelope) = first.remove();
            self.with(to.0, |replica, now| replica.on_message(now, from, envelope));
        } else if let Some(id) = due(&self.disks) {
            self.disks.remove(&id);
            if self.replica(id).cutting.is_some() {
                self.with(id, Replica::on_cut);
                if self.replica(id).applied < self.map.applied() {
                    self.maps.insert(id, now);
                }
            } else {
                self.with(id, Replica::on_durable);
            }
        } else if let Some(first) = self.alters.first_entry().filter(|f| f.key().0 <= now) {
            let alter = first.remove();
            self.on_alter(alter);
        } else {
            let late = |replica: &Replica| replica.deadline().is_some_and(|at| at <= now);
            let id = self.replicas.iter().find(|(_, r)| late(r)).map(|(&id, _)| id);
            self.with(id.expect("something is due"), Replica::on_tick);
        }
    }

    fn on_alter(&mut self, alter: AlterPartition) {
        if self.deaf {
            // It is said until it is heard.
            self.serial += 1;
            self.alters.insert((self.now.after(ms(100)), self.serial), alter);
            return;
        }
        let node = alter.leader.0;
        if let Err(why) = self.command(&Command::AlterPartition(alter.clone())) {
            self.with(node, |replica, now| replica.on_refused(now, &alter, why));
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, envelope: Envelope) {
        if self.is_cut(from.0, to.0) {
            return;
        }
        let copies = 1 + u32::from(self.draw() % 100 < self.faults.copy_percent);
        for _ in 0..copies {
            if self.draw() % 100 < self.faults.loss_percent {
                continue;
            }
            let at = self.now.after(self.wait(self.faults.delay_us));
            self.serial += 1;
            // The codec is a part of the way.
            let envelope = Envelope::decode(envelope.encode()).expect("what was encoded");
            self.network.insert((at, self.serial), (from, to, envelope));
        }
    }

    fn see_to_disk(&mut self, id: u32) {
        let replica = &self.replicas[&id];
        let busy = replica.cutting.is_some() || replica.durable < replica.log.len();
        if busy && !self.stalled.contains(&id) && !self.disks.contains_key(&id) {
            let at = self.now.after(self.wait(self.faults.write_us));
            self.disks.insert(id, at);
        }
    }

    /// Everybody who hears of the map will hear of it as it is now.
    fn spread(&mut self) {
        for id in self.replicas.keys().copied().collect::<Vec<_>>() {
            if !self.blind.contains(&id) {
                let at = self.now.after(self.wait(self.faults.map_us));
                let first = self.maps.get(&id).copied().unwrap_or(at);
                self.maps.insert(id, first.min(at));
            }
        }
    }

    /// Holds the whole against the invariants, after something happened to one replica.
    fn check(&mut self, id: u32) {
        if self.unclean {
            return;
        }
        let replica = &self.replicas[&id];
        let known = &replica.log[..replica.watermark];
        let both = known.len().min(self.committed.len());
        let story = || self.trace.join("\n");
        assert_eq!(known[..both], self.committed[..both], "committed stays so\n{}", story());
        if known.len() > self.committed.len() {
            let epoch = replica.leads().expect("nobody knows more than who commits");
            let first = *self.committers.entry(epoch).or_insert(replica.id());
            assert_eq!(first, replica.id(), "one replica commits in a reign");
            self.committed = known.to_vec();
        }
        let entry = self.map.partition(P).expect("it is placed");
        for seat in &entry.isr {
            let other = &self.replicas[&seat.life.node.0];
            let held = &other.log[..other.durable];
            let why = "is in sync without what was committed";
            assert!(held.starts_with(&self.committed), "{} {why}\n{}", seat.life, story());
        }
        for other in self.replicas.values() {
            let both = replica.log.len().min(other.log.len());
            let last = (0..both).rev().find(|&at| replica.log[at].0 == other.log[at].0);
            let same = last.is_none_or(|last| replica.log[..=last] == other.log[..=last]);
            assert!(same, "equal records have equal logs before them\n{}", story());
        }
        let mut told = Vec::new();
        let replicas = &self.replicas;
        self.reads.retain(|read| {
            let replica = &replicas[&read.node];
            if replica.is_confirmed(read.epoch, read.beat) {
                assert!(!read.missed, "a confirmed read misses what was committed before it");
                told.push((read.node, read.beat));
                return false;
            }
            replica.leads() == Some(read.epoch)
        });
    }

    pub(crate) fn committed(&self) -> &[Record] {
        &self.committed
    }

    fn others(&self, id: u32) -> impl Iterator<Item = u32> + '_ {
        self.replicas.keys().copied().filter(move |&other| other != id)
    }

    fn is_cut(&self, a: u32, b: u32) -> bool {
        self.cuts.contains(&(a.min(b), a.max(b)))
    }

    fn tell(&mut self, id: u32, what: &str) {
        let at = self.now.since(Instant(1_000_000_000)).as_micros();
        let line = format!("{:>6}.{} n{id} {what}", at / 1000, at % 1000 / 100);
        self.trace.push(line);
    }

    fn tell_all(&mut self, what: &str) {
        let at = self.now.since(Instant(1_000_000_000)).as_micros();
        self.trace.push(format!("{:>6}.{} {what}", at / 1000, at % 1000 / 100));
    }

    fn wait(&mut self, (min, max): (u64, u64)) -> Duration {
        Duration::from_micros(min + self.draw() % (max - min + 1))
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
