//! Random histories: every map is lawful after every entry, equal logs give equal maps, and no
//! election loses an acknowledged write without saying so.

use std::collections::BTreeMap;

use kvnode_core::cluster::{
    AlterPartition, Command, ElectLeader, Features, Founding, Life, Map, Partition, PartitionEpoch,
    Reassign, Registration, Right, Seat,
};
use kvnode_core::{ClusterId, DirectoryId, Epoch, Incarnation, Index, NodeId, PartitionId};
use proptest::prelude::*;

use crate::world::apply;

fn founding(partitions: u32) -> Founding {
    Founding {
        cluster: ClusterId(1),
        level: 1,
        partitions,
        replication_factor: 3,
        min_isr: 2,
        expected: [1, 2, 3].map(NodeId).into(),
    }
}

fn registration(node: u32, directory: u32, nonce: u64, clean: bool) -> Registration {
    Registration {
        node: NodeId(node),
        directory: DirectoryId(u128::from(node * 10 + directory)),
        nonce,
        clean,
        peer: "p:1".into(),
        client: "c:1".into(),
        rack: None,
        version: String::new(),
        features: Features { min: 1, max: 3 },
    }
}

/// A draw that becomes a command by what the map is like: mostly one that fits, sometimes not.
#[derive(Clone, Copy, Debug)]
struct Draw {
    what: u8,
    partition: u32,
    node: u32,
    set: u8,
    off: u8,
    flag: bool,
}

fn draw() -> impl Strategy<Value = Draw> {
    (0u8..24, 0u32..3, 1u32..6, any::<u8>(), 0u8..12, any::<bool>()).prop_map(
        |(what, partition, node, set, off, flag)| Draw { what, partition, node, set, off, flag },
    )
}

fn life(map: &Map, node: NodeId, off: bool) -> Life {
    let incarnation = map.node(node).map_or(Incarnation(0), |n| n.incarnation);
    Life { node, incarnation: Incarnation(incarnation.0.saturating_sub(u64::from(off))) }
}

fn chosen(set: u8, of: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
    of.enumerate().filter(|(n, _)| set >> n & 1 == 1).map(|(_, node)| node).collect()
}

fn command(map: &Map, d: Draw, nonce: u64) -> Command {
    let (partition, node) = (PartitionId(d.partition), NodeId(d.node));
    let entry = map.partition(partition);
    let version = entry.map_or(0, |p| p.partition_epoch.0) + u64::from(d.off == 1);
    let partition_epoch = PartitionEpoch(version);
    let stale = d.off == 2;
    match d.what {
        0 => Command::Found(founding(3)),
        1..=5 => Command::Register(registration(
            d.node,
            u32::from(d.off == 3),
            if d.off == 4 { 0 } else { nonce },
            d.flag,
        )),
        6..=9 => Command::Unfence(life(map, node, stale)),
        10..=11 => Command::Fence(life(map, node, stale)),
        12 => Command::CreatePartitions((0..3).map(|n| rotated(n, 3)).collect()),
        13..=16 => {
            let replicas = entry.map_or(Vec::new(), |p| p.replicas.clone());
            let mut isr = chosen(d.set, replicas.into_iter());
            if d.off == 5 {
                isr.push(node);
            }
            Command::AlterPartition(AlterPartition {
                partition,
                leader: entry.and_then(|p| p.leader).filter(|_| d.off != 6).unwrap_or(node),
                epoch: Epoch(entry.map_or(0, |p| p.epoch.0) + u32::from(d.off == 7)),
                partition_epoch,
                isr: isr.into_iter().map(|id| life(map, id, stale)).collect(),
            })
        }
        17..=20 => Command::ElectLeader(ElectLeader {
            partition,
            leader: life(map, node, stale),
            partition_epoch,
            above: Epoch(u32::from(d.off)),
            right: match d.set % 6 {
                0 => Right::Operator,
                1 => Right::LongestLog,
                _ => Right::InSync,
            },
        }),
        21 => {
            let replicas = chosen(d.set, (1..6).map(NodeId));
            Command::Reassign(Reassign { partition, partition_epoch, replicas })
        }
        22 if d.flag => Command::AcceptLoss(partition),
        22 => Command::Unregister(node),
        _ => Command::SetFeature(u32::from(d.off % 5)),
    }
}

fn rotated(by: u32, count: u32) -> Vec<NodeId> {
    (0..count).map(|n| NodeId((by + n) % 3 + 1)).collect()
}

/// A map with five members and three partitions, so that the draws start where it is interesting.
fn grown() -> (Map, u64) {
    let mut map = Map::new();
    let mut index = 0;
    let mut commit = |command: &Command| {
        index += 1;
        apply(&mut map, Index(index), command).expect("it fits");
        map.node(NodeId(1)).is_some()
    };
    commit(&Command::Found(founding(3)));
    for node in 1..6 {
        commit(&Command::Register(registration(node, 0, u64::from(node), true)));
    }
    for node in 1..6 {
        let incarnation = Incarnation(1 + u64::from(node));
        commit(&Command::Unfence(Life { node: NodeId(node), incarnation }));
    }
    commit(&Command::CreatePartitions((0..3).map(|n| rotated(n, 3)).collect()));
    (map, index)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_history_keeps_the_invariants_and_equal_logs_give_equal_maps(
        draws in prop::collection::vec(draw(), 1..120),
        from_nothing in prop::bool::weighted(0.2),
        at in 0usize..120,
    ) {
        let (mut map, mut index) = if from_nothing { (Map::new(), 0) } else { grown() };
        // Another node starts from a snapshot taken somewhere in the middle.
        let mut other = map.clone();
        for (n, d) in draws.into_iter().enumerate() {
            if n == at {
                other = Map::decode(&map.encode()).expect("it was just encoded");
            }
            index += 1;
            let command = command(&map, d, 100 + index);
            let outcome = apply(&mut map, Index(index), &command);
            prop_assert_eq!(outcome, other.apply(Index(index), &command));
        }
        prop_assert_eq!(map.digest(), other.digest());
        prop_assert_eq!(map, other);
    }

    #[test]
    fn damaged_snapshots_are_refused_or_lawful(
        position in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let mut bytes = grown().0.encode();
        let position = position.index(bytes.len());
        bytes[position] ^= 1 << bit;
        if let Ok(map) = Map::decode(&bytes) {
            prop_assert_eq!(map.violation(), None);
        }
    }
}

/// One partition with its data: who holds how many of the acknowledged writes. The processes obey
/// the rules of replication, with what they know of the map as old as it may be.
struct Data {
    map: Map,
    index: u64,
    nonce: u64,
    acknowledged: u64,
    /// The last reign that was begun in earnest.
    led: Epoch,
    /// Changes of the in-sync set on their way into the log.
    in_flight: Vec<AlterPartition>,
    directories: BTreeMap<(NodeId, u32), Directory>,
    processes: BTreeMap<NodeId, Process>,
}

#[derive(Clone, Copy, Default)]
struct Directory {
    /// How many of the acknowledged writes it holds, from the first on.
    holds: u64,
    /// The last reign that it has heard of.
    epoch: Epoch,
    /// It has lost what it had acknowledged, and the map has not been told.
    unclean: bool,
}

struct Process {
    directory: u32,
    life: Option<Life>,
    /// It leads, as of this entry of the map.
    leads: Option<Partition>,
}

const P: PartitionId = PartitionId(0);

impl Data {
    fn new() -> Self {
        let mut data = Self {
            map: Map::new(),
            index: 0,
            nonce: 0,
            acknowledged: 0,
            led: Epoch(0),
            in_flight: Vec::new(),
            directories: BTreeMap::new(),
            processes: BTreeMap::new(),
        };
        data.commit(&Command::Found(founding(1)));
        for node in (1..5).map(NodeId) {
            data.start(node, 0);
            data.unfence(node);
        }
        data.commit(&Command::CreatePartitions(vec![rotated(0, 3)]));
        data
    }

    fn commit(&mut self, command: &Command) -> bool {
        self.index += 1;
        apply(&mut self.map, Index(self.index), command).is_ok()
    }

    fn partition(&self) -> Partition {
        self.map.partition(P).expect("it was created").clone()
    }

    fn directory(&mut self, node: NodeId) -> Option<&mut Directory> {
        let directory = self.processes.get(&node)?.directory;
        self.directories.get_mut(&(node, directory))
    }

    fn crash(&mut self, node: NodeId, lost: u64) {
        if let Some(directory) = self.directory(node) {
            if lost > 0 {
                directory.holds = directory.holds.saturating_sub(lost);
                directory.unclean = true;
            }
            self.processes.remove(&node);
        }
    }

    fn start(&mut self, node: NodeId, directory: u32) {
        self.processes.remove(&node);
        let unclean = self.directories.entry((node, directory)).or_default().unclean;
        self.nonce += 1;
        let entry = registration(node.0, directory, self.nonce, !unclean);
        let registered = self.commit(&Command::Register(entry));
        assert!(registered, "nothing speaks against it");
        self.directories.entry((node, directory)).or_default().unclean = false;
        let life = self.map.node(node).map(|n| n.life());
        self.processes.insert(node, Process { directory, life, leads: None });
    }

    fn unfence(&mut self, node: NodeId) {
        if let Some(life) = self.processes.get(&node).and_then(|process| process.life) {
            self.commit(&Command::Unfence(life));
        }
    }

    fn fence(&mut self, node: NodeId) {
        if let Some(life) = self.map.node(node).map(|n| n.life()) {
            self.commit(&Command::Fence(life));
        }
    }

    fn elect(&mut self, node: NodeId, right: Right) {
        let partition_epoch = self.partition().partition_epoch;
        let leader = life(&self.map, node, false);
        let above = Epoch(0);
        let partition = P;
        self.commit(&Command::ElectLeader(ElectLeader {
            partition,
            leader,
            partition_epoch,
            above,
            right,
        }));
    }

    /// A process reads the map: it begins to lead, or goes on with what the map says now, or stops.
    fn read_map(&mut self, node: NodeId) -> Result<(), TestCaseError> {
        let partition = self.partition();
        let Some(process) = self.processes.get_mut(&node) else { return Ok(()) };
        let seat = partition.seat(node).filter(|seat| Some(seat.life) == process.life);
        let leads = partition.leader == Some(node) && seat.is_some();
        let begins = leads && process.leads.as_ref().is_none_or(|l| l.epoch < partition.epoch);
        let known = process.leads.as_ref().map(|leads| leads.partition_epoch);
        if !leads || known != Some(partition.partition_epoch) {
            process.leads = leads.then(|| partition.clone());
        }
        if begins {
            let holds = self.directory(node).expect("it runs").holds;
            if partition.doubt.is_some_and(|doubt| doubt.epoch > self.led) {
                // What it does not have is lost, and others cut it off.
                self.acknowledged = self.acknowledged.min(holds);
                for directory in self.directories.values_mut() {
                    directory.holds = directory.holds.min(holds);
                }
            }
            prop_assert!(holds >= self.acknowledged, "{} lost writes: {:?}", node, partition);
            self.directory(node).expect("it runs").epoch = partition.epoch;
            self.led = self.led.max(partition.epoch);
        }
        Ok(())
    }

    /// A leader writes, and all that it holds to be in sync acknowledge.
    fn write(&mut self, node: NodeId) {
        let Some(leads) = self.processes.get(&node).and_then(|p| p.leads.clone()) else { return };
        let follows = |data: &mut Self, id: NodeId| {
            data.directory(id).is_some_and(|directory| directory.epoch <= leads.epoch)
        };
        let members: Vec<NodeId> = leads.isr.iter().map(|seat| seat.life.node).collect();
        if members.iter().all(|&id| follows(self, id)) {
            self.acknowledged += 1;
            for id in members {
                let acknowledged = self.acknowledged;
                let directory = self.directory(id).expect("it follows");
                directory.holds = acknowledged;
                directory.epoch = leads.epoch;
            }
        }
    }

    /// A leader wants these in sync: those who run and follow it, whom it has brought up to date.
    fn alter(&mut self, node: NodeId, set: u8) {
        let Some(leads) = self.processes.get(&node).and_then(|p| p.leads.clone()) else { return };
        let members = chosen(set, leads.replicas.iter().copied());
        let mut isr = vec![];
        for id in members {
            let follows = self.directory(id).is_some_and(|d| d.epoch <= leads.epoch);
            let own = self.processes.get(&id).and_then(|process| process.life);
            match own.filter(|_| follows) {
                Some(own) => isr.push(own),
                None => return,
            }
        }
        // From here on it waits for these too, until the map has told it what came of it.
        let leads_on = self.processes.get_mut(&node).and_then(|p| p.leads.as_mut());
        let seats = &mut leads_on.expect("it leads").isr;
        for &life in &isr {
            if seats.iter().all(|seat| seat.life.node != life.node) {
                seats.push(Seat { life, directory: DirectoryId(0), whole: true });
            }
        }
        for member in &isr {
            let (acknowledged, epoch) = (self.acknowledged, leads.epoch);
            let directory = self.directory(member.node).expect("it runs");
            directory.holds = acknowledged;
            directory.epoch = epoch;
        }
        self.in_flight.push(AlterPartition {
            partition: P,
            leader: node,
            epoch: leads.epoch,
            partition_epoch: leads.partition_epoch,
            isr,
        });
    }

    /// Something that was on its way arrives, or is lost.
    fn arrive(&mut self, which: u8, lost: bool) {
        if !self.in_flight.is_empty() {
            let alter = self.in_flight.swap_remove(usize::from(which) % self.in_flight.len());
            if !lost {
                self.commit(&Command::AlterPartition(alter));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// The point of it all. Who leads holds every acknowledged write, or the map says that it may
    /// not; whatever crashes, comes back with less or with another disk, and however late anybody
    /// hears of it.
    #[test]
    fn no_election_loses_acknowledged_writes_without_saying_so(
        draws in prop::collection::vec(draw(), 1..150),
    ) {
        let mut data = Data::new();
        for d in draws {
            let node = NodeId(d.node.min(4));
            match d.what {
                0..=1 => data.crash(node, u64::from(d.off / 3)),
                2..=3 if !data.processes.contains_key(&node) => {
                    data.start(node, u32::from(d.off == 3));
                }
                2..=5 => data.unfence(node),
                6 => data.fence(node),
                7..=9 => {
                    let right = match d.off {
                        0 => Right::Operator,
                        1..=3 => Right::LongestLog,
                        _ => Right::InSync,
                    };
                    data.elect(node, right);
                }
                10..=13 => data.read_map(node)?,
                14..=18 => data.write(node),
                19..=20 => data.alter(node, d.set),
                21 => data.arrive(d.set, d.off == 0),
                22 if d.off < 3 => {
                    let replicas = chosen(d.set, (1..5).map(NodeId));
                    let partition_epoch = data.partition().partition_epoch;
                    let reassign = Reassign { partition: P, partition_epoch, replicas };
                    data.commit(&Command::Reassign(reassign));
                }
                _ => {
                    for node in (1..5).map(NodeId) {
                        data.read_map(node)?;
                    }
                }
            }
        }
    }
}
