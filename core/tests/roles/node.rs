//! The shard of one of two nodes, with its disk, what control says to it, and what the other node sends.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvnode_core::cluster::{
    AlterPartition, Command, ElectLeader, Features, Founding, Life, Map, Registration, Right,
};
use kvnode_core::control::{QuorumView, View};
use kvnode_core::disk::{DiskOp, DiskResult, File, NoCache};
use kvnode_core::election::{Role, Voters};
use kvnode_core::kv::Peer;
use kvnode_core::node::{Parcel, ToControl, ToShard};
use kvnode_core::peer::Channel;
use kvnode_core::replication::{Envelope, Message};
use kvnode_core::shard::{
    Config, FsyncMode, IndexKind, Input, Output, Redirect, ReplicaGlance, Shard,
};
use kvnode_core::storage::record::{Head, Kind};
use kvnode_core::storage::replica::MergeSettings;
use kvnode_core::storage::scan::WINDOW_BYTES;
use kvnode_core::{
    ClientId, ClusterId, DirectoryId, Epoch, Index, Instant, IoId, Member, NodeId, Now, Offset,
    PartitionId, Term, server,
};

use crate::disk::MemDisk;

pub(crate) const P: PartitionId = PartitionId(0);
pub(crate) const ME: NodeId = NodeId(1);
pub(crate) const OTHER: NodeId = NodeId(2);

/// The map of two nodes that have one partition, led by the first.
pub(crate) fn map() -> Map {
    let nodes = [ME, OTHER];
    let mut map = Map::new();
    apply(
        &mut map,
        &Command::Found(Founding {
            cluster: ClusterId(1),
            level: 1,
            partitions: 1,
            replication_factor: 2,
            min_isr: 1,
            expected: nodes.into(),
        }),
    );
    for node in nodes {
        register(&mut map, node, 1);
    }
    apply(&mut map, &Command::CreatePartitions(vec![nodes.to_vec()]));
    map
}

pub(crate) fn apply(map: &mut Map, command: &Command) {
    map.apply(map.applied().plus(1), command).expect("it is lawful");
}

pub(crate) fn register(map: &mut Map, node: NodeId, nonce: u64) {
    register_as(map, node, nonce, true);
}

pub(crate) fn register_as(map: &mut Map, node: NodeId, nonce: u64, clean: bool) {
    let registration = Registration {
        node,
        directory: DirectoryId(u128::from(node.0)),
        nonce,
        clean,
        peer: "p:1".to_owned(),
        client: "c:1".to_owned(),
        rack: None,
        version: "1".to_owned(),
        features: Features { min: 1, max: 1 },
    };
    apply(map, &Command::Register(registration));
    let life = life(map, node);
    apply(map, &Command::Unfence(life));
}

pub(crate) fn life(map: &Map, node: NodeId) -> Life {
    map.node(node).unwrap().life()
}

/// The node is elected.
pub(crate) fn elect(map: &mut Map, node: NodeId) -> Epoch {
    let leads = map.partition(P).unwrap().leader == Some(node);
    elect_by(map, node, if leads { Right::Renewal } else { Right::InSync })
}

pub(crate) fn elect_by(map: &mut Map, node: NodeId, right: Right) -> Epoch {
    let held = map.partition(P).unwrap();
    let (leader, partition_epoch) = (life(map, node), held.partition_epoch);
    let above = Epoch(0);
    let elected = ElectLeader { partition: P, leader, partition_epoch, above, right };
    apply(map, &Command::ElectLeader(elected));
    map.partition(P).unwrap().epoch
}

/// The leader has these in sync.
pub(crate) fn alter(map: &mut Map, isr: &[NodeId]) {
    let held = map.partition(P).unwrap();
    let alter = AlterPartition {
        partition: P,
        leader: held.leader.unwrap(),
        epoch: held.epoch,
        partition_epoch: held.partition_epoch,
        isr: isr.iter().map(|&node| life(map, node)).collect(),
    };
    apply(map, &Command::AlterPartition(alter));
}

/// What control shows, of whom the shard has told so many times that something may be gone.
pub(crate) fn view(map: &Map, uncleans: u64) -> Arc<View> {
    let quorum = QuorumView {
        role: Role::Follower,
        term: Term(1),
        controller: None,
        voters: Voters::default(),
        heard: None,
        reached: BTreeSet::new(),
        applied: Index(0),
    };
    Arc::new(View {
        me: Member { node: ME, directory: DirectoryId(u128::from(ME.0)) },
        cluster: None,
        missing: Vec::new(),
        quorum,
        life: Some(life(map, ME)),
        unsynced: false,
        uncleans,
        settles: false,
        map: map.clone(),
    })
}

pub(crate) struct Node {
    pub(crate) shard: Shard,
    pub(crate) now: Now,
    pub(crate) disk: MemDisk,
    pub(crate) ops: VecDeque<(IoId, DiskOp)>,
    pub(crate) said: Vec<ToControl>,
    /// Reigns that were led at any moment.
    pub(crate) led: Vec<Epoch>,
}

impl Node {
    pub(crate) fn new(disk: MemDisk) -> Self {
        Self::with(FsyncMode::Always, disk)
    }

    pub(crate) fn with(fsync: FsyncMode, disk: MemDisk) -> Self {
        let now = Now { mono: Instant(1_000_000_000), wall_us: 1_700_000_000_000_000 };
        let config = Config {
            member: true,
            partitions: None,
            replication: Default::default(),
            redirect: Redirect::Forward,
            fsync,
            index: IndexKind::Hash,
            segment_bytes: 4 << 10,
            zero_ahead_bytes: 0,
            window_bytes: WINDOW_BYTES,
            merge: MergeSettings {
                garbage_percent: 40,
                small_files: 4,
                bytes_per_second: 64 << 20,
                check_every: Duration::from_millis(50),
            },
            scrub: None,
            server: server::Setup::default(),
            seed: 1,
            port: 6379,
            process_id: 1,
            cache: Box::new(NoCache),
        };
        let shard = Shard::new(config, now);
        Self { shard, now, disk, ops: VecDeque::new(), said: Vec::new(), led: Vec::new() }
    }

    pub(crate) fn control(&mut self, said: ToShard) {
        self.shard.handle(self.now, Input::Control(said));
    }

    /// The other says something in this reign.
    pub(crate) fn hear(&mut self, epoch: Epoch, message: Message) {
        let body = Envelope { partition: P, epoch, message }.encode();
        self.control(ToShard::Parcel(Parcel { node: OTHER, channel: Channel::Data, body }));
    }

    pub(crate) fn poll(&mut self) {
        while let Some(output) = self.shard.poll() {
            match output {
                Output::Disk(io, op) => self.ops.push_back((io, op)),
                Output::Control(said) => self.said.push(said),
                _ => {}
            }
            let leads = self.shard.replicas().find_map(|replica| replica.leads);
            self.led.extend(leads.filter(|leads| self.led.last() != Some(leads)));
        }
    }

    /// The disk does the next operation; what it answers is handed in, and not acted upon yet.
    pub(crate) fn answer(&mut self) -> Option<(IoId, DiskOp)> {
        let (io, op) = self.ops.pop_front()?;
        let result = self.disk.run(op.clone());
        self.answers(io, result);
        Some((io, op))
    }

    pub(crate) fn answers(&mut self, io: IoId, result: DiskResult) {
        self.shard.handle(self.now, Input::Disk(io, result));
    }

    /// Until the disk has nothing more to do.
    pub(crate) fn settle(&mut self) {
        self.poll();
        while self.answer().is_some() {
            self.poll();
        }
    }

    pub(crate) fn pass(&mut self, by: Duration) {
        for _ in 0..by.as_millis() / 10 {
            self.now.mono = self.now.mono.after(Duration::from_millis(10));
            self.now.wall_us += 10_000;
            self.shard.handle(self.now, Input::Tick);
            self.settle();
        }
    }

    /// The replica as it is.
    pub(crate) fn replica(&self) -> ReplicaGlance {
        self.shard.replicas().next().unwrap()
    }

    pub(crate) fn has_said_unclean(&self) -> bool {
        self.said.iter().any(|said| matches!(said, ToControl::Unclean))
    }

    /// Sets a key, as far as it gets without an answer of the disk.
    pub(crate) fn set(&mut self, key: &[u8]) {
        self.set_to(key, &[b'v'; 3000]);
    }

    pub(crate) fn set_to(&mut self, key: &[u8], value: &[u8]) {
        self.shard.handle(self.now, Input::Command(ClientId(1), &[b"SET", key, value]));
        self.poll();
    }
}

/// A node that leads alone and serves, with the map, and the reign.
pub(crate) fn leader() -> (Node, Map, Epoch) {
    leader_with(FsyncMode::Always)
}

pub(crate) fn leader_with(fsync: FsyncMode) -> (Node, Map, Epoch) {
    let mut node = Node::with(fsync, MemDisk::default());
    let mut map = map();
    let other = life(&map, OTHER);
    apply(&mut map, &Command::Fence(other));
    let epoch = elect(&mut map, ME);
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    // What an earlier process may have promised is waited out.
    node.pass(Duration::from_secs(2));
    assert_eq!((node.replica().leads, node.replica().serves), (Some(epoch), true));
    node.shard.handle(node.now, Input::Connected(ClientId(1), Peer::default()));
    node.set(b"k");
    node.settle();
    (node, map, epoch)
}

/// Follower of the other node, with a log that has something to compact.
pub(crate) fn follower() -> Node {
    let (mut node, mut map, _) = leader();
    for _ in 0..6 {
        node.set(b"again");
        node.settle();
    }
    depose(&mut node, &mut map);
    node
}

/// The other node comes back, is in sync, and leads.
pub(crate) fn depose(node: &mut Node, map: &mut Map) {
    register(map, OTHER, 2);
    alter(map, &[ME, OTHER]);
    elect(map, OTHER);
    node.control(ToShard::View(view(map, 0)));
    node.control(ToShard::Linked(OTHER));
    node.settle();
}

/// What the follower asked for last.
pub(crate) fn asked(node: &Node) -> Envelope {
    let asks = |said: &ToControl| match said {
        ToControl::Parcel(Parcel { channel: Channel::Data, body, .. }) => {
            Envelope::decode(body.clone()).filter(|e| matches!(e.message, Message::Follow { .. }))
        }
        _ => None,
    };
    node.said.iter().rev().find_map(asks).expect("it follows")
}

pub(crate) fn is_fsync_of_data(op: &DiskOp) -> bool {
    matches!(op, DiskOp::Sync(File::Segment(..)))
}

pub(crate) fn head(kind: Kind, epoch: Epoch, offset: u64) -> Head {
    let offset = Offset(offset);
    Head { kind, more: false, partition: P, epoch, offset, clock: 1, expire_at: None }
}

/// The leader's answer to who asked last: these records, which the follower does not have.
pub(crate) fn sends(node: &mut Node, end: u64, records: &[u8]) {
    let asked = asked(node);
    let Message::Follow { round, end: base, .. } = asked.message else { unreachable!() };
    let message = Message::Append {
        round,
        beat: 0,
        sent: node.now.mono,
        base,
        end: Offset(end),
        watermark: Offset(0),
        records: Bytes::copy_from_slice(records),
    };
    node.hear(asked.epoch, message);
    node.settle();
}
