//! A shard of a cluster by hand: what it makes of the map in any order of what it is told, by its disk and
//! by control.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvnode_core::cluster::{
    AlterPartition, Command, ElectLeader, Features, Founding, Life, Map, Registration, Right,
};
use kvnode_core::control::{QuorumView, View};
use kvnode_core::disk::{DiskError, DiskOp, DiskResult, File, NoCache};
use kvnode_core::election::{Role, Voters};
use kvnode_core::kv::Peer;
use kvnode_core::node::{Parcel, ToControl, ToShard};
use kvnode_core::peer::Channel;
use kvnode_core::replication::{Envelope, Message};
use kvnode_core::shard::{
    Config, FsyncMode, IndexKind, Input, Output, Redirect, ReplicaGlance, Shard,
};
use kvnode_core::storage::record::{self, Gap, HEAD_BYTES, Head, Kind};
use kvnode_core::storage::replica::MergeSettings;
use kvnode_core::storage::scan::WINDOW_BYTES;
use kvnode_core::{
    ClientId, ClusterId, DirectoryId, Epoch, Index, Instant, IoId, Member, NodeId, Now, Offset,
    PartitionId, Term, server,
};

#[allow(dead_code, missing_docs, unreachable_pub, reason = "test files share parts of this")]
#[path = "../world/disk.rs"]
mod disk;

mod cuts;

use disk::MemDisk;

const P: PartitionId = PartitionId(0);
const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);

/// The map of two nodes that have one partition, led by the first.
fn map() -> Map {
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

fn apply(map: &mut Map, command: &Command) {
    map.apply(map.applied().plus(1), command).expect("it is lawful");
}

fn register(map: &mut Map, node: NodeId, nonce: u64) {
    register_as(map, node, nonce, true);
}

fn register_as(map: &mut Map, node: NodeId, nonce: u64, clean: bool) {
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

fn life(map: &Map, node: NodeId) -> Life {
    map.node(node).unwrap().life()
}

/// The node is elected.
fn elect(map: &mut Map, node: NodeId) -> Epoch {
    let leads = map.partition(P).unwrap().leader == Some(node);
    elect_by(map, node, if leads { Right::Renewal } else { Right::InSync })
}

fn elect_by(map: &mut Map, node: NodeId, right: Right) -> Epoch {
    let held = map.partition(P).unwrap();
    let (leader, partition_epoch) = (life(map, node), held.partition_epoch);
    let above = Epoch(0);
    let elected = ElectLeader { partition: P, leader, partition_epoch, above, right };
    apply(map, &Command::ElectLeader(elected));
    map.partition(P).unwrap().epoch
}

/// What control shows, of whom the shard has told so many times that something may be gone.
fn view(map: &Map, uncleans: u64) -> Arc<View> {
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

struct Node {
    shard: Shard,
    now: Now,
    disk: MemDisk,
    ops: VecDeque<(IoId, DiskOp)>,
    said: Vec<ToControl>,
    /// Reigns that were led at any moment.
    led: Vec<Epoch>,
}

impl Node {
    fn new(disk: MemDisk) -> Self {
        Self::with(FsyncMode::Always, disk)
    }

    fn with(fsync: FsyncMode, disk: MemDisk) -> Self {
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

    fn control(&mut self, said: ToShard) {
        self.shard.handle(self.now, Input::Control(said));
    }

    /// The other says something in this reign.
    fn hear(&mut self, epoch: Epoch, message: Message) {
        let body = Envelope { partition: P, epoch, message }.encode();
        self.control(ToShard::Parcel(Parcel { node: OTHER, channel: Channel::Data, body }));
    }

    fn poll(&mut self) {
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
    fn answer(&mut self) -> Option<(IoId, DiskOp)> {
        let (io, op) = self.ops.pop_front()?;
        let result = self.disk.run(op.clone());
        self.answers(io, result);
        Some((io, op))
    }

    fn answers(&mut self, io: IoId, result: DiskResult) {
        self.shard.handle(self.now, Input::Disk(io, result));
    }

    /// Until the disk has nothing more to do.
    fn settle(&mut self) {
        self.poll();
        while self.answer().is_some() {
            self.poll();
        }
    }

    fn pass(&mut self, by: Duration) {
        for _ in 0..by.as_millis() / 10 {
            self.now.mono = self.now.mono.after(Duration::from_millis(10));
            self.now.wall_us += 10_000;
            self.shard.handle(self.now, Input::Tick);
            self.settle();
        }
    }

    /// The replica as it is.
    fn replica(&self) -> ReplicaGlance {
        self.shard.replicas().next().unwrap()
    }

    fn has_said_unclean(&self) -> bool {
        self.said.iter().any(|said| matches!(said, ToControl::Unclean))
    }

    /// Sets a key, as far as it gets without an answer of the disk.
    fn set(&mut self, key: &[u8]) {
        self.set_to(key, &[b'v'; 3000]);
    }

    fn set_to(&mut self, key: &[u8], value: &[u8]) {
        self.shard.handle(self.now, Input::Command(ClientId(1), &[b"SET", key, value]));
        self.poll();
    }
}

/// A node that leads alone and serves, with the map, and the reign.
fn leader() -> (Node, Map, Epoch) {
    leader_with(FsyncMode::Always)
}

fn leader_with(fsync: FsyncMode) -> (Node, Map, Epoch) {
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
fn follower() -> Node {
    let (mut node, mut map, _) = leader();
    for _ in 0..6 {
        node.set(b"again");
        node.settle();
    }
    depose(&mut node, &mut map);
    node
}

/// The other node comes back, is in sync, and leads.
fn depose(node: &mut Node, map: &mut Map) {
    register(map, OTHER, 2);
    let held = map.partition(P).unwrap();
    let alter = AlterPartition {
        partition: P,
        leader: ME,
        epoch: held.epoch,
        partition_epoch: held.partition_epoch,
        isr: vec![life(map, ME), life(map, OTHER)],
    };
    apply(map, &Command::AlterPartition(alter));
    elect(map, OTHER);
    node.control(ToShard::View(view(map, 0)));
    node.control(ToShard::Linked(OTHER));
    node.settle();
}

/// What the follower asked for last.
fn asked(node: &Node) -> Envelope {
    let asks = |said: &ToControl| match said {
        ToControl::Parcel(Parcel { channel: Channel::Data, body, .. }) => {
            Envelope::decode(body.clone()).filter(|e| matches!(e.message, Message::Follow { .. }))
        }
        _ => None,
    };
    node.said.iter().rev().find_map(asks).expect("it follows")
}

fn is_fsync_of_data(op: &DiskOp) -> bool {
    matches!(op, DiskOp::Sync(File::Segment(..)))
}

#[test]
fn a_reign_whose_beginning_failed_is_not_begun_once_more() {
    let (mut node, mut map, first) = leader();
    let epoch = elect(&mut map, ME);
    assert!(epoch > first);
    // Records are on their way to the disk; behind them stands the beginning of the reign.
    node.set(b"before");
    node.control(ToShard::View(view(&map, 0)));
    node.poll();
    assert_eq!(node.replica().leads, Some(epoch));
    let start = node.replica().log_end;
    node.disk.fault = Some(Box::new(|op| is_fsync_of_data(op).then_some(DiskError::Io(5))));
    node.settle();
    node.disk.fault = None;
    let resigned = |node: &Node| {
        let own = |said: &&ToControl| matches!(said, ToControl::Resigned(P, e) if *e == epoch);
        node.said.iter().filter(own).count()
    };
    assert_eq!((node.replica().leads, resigned(&node)), (None, 1));
    // The controller does not hear of it: who has the records before may take this log for theirs.
    node.led.clear();
    node.pass(Duration::from_secs(3));
    let replica = node.replica();
    assert!(replica.open && replica.log_end <= start);
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    assert_eq!((node.led.as_slice(), resigned(&node)), (&[][..], 3), "it says so again");
    let epoch = elect(&mut map, ME);
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    assert_eq!(node.replica().leads, Some(epoch));
}

#[test]
fn whoever_has_lost_its_log_leads_nothing_in_the_life_that_had_it() {
    let lost = || {
        let (mut node, map, _) = leader();
        node.disk.remove_dir("p0");
        (node.disk, map)
    };
    // However far the opening has come when the election is heard of.
    let mut answers = 0;
    loop {
        let (disk, mut map) = lost();
        let mut node = Node::new(disk);
        register(&mut map, ME, 2);
        node.control(ToShard::View(view(&map, 0)));
        node.poll();
        let whole = (0..answers).all(|at| {
            let answered = node.answer().is_some();
            // The last one is not acted upon before the map is.
            if at + 1 < answers {
                node.poll();
            }
            answered
        });
        elect(&mut map, ME);
        node.control(ToShard::View(view(&map, 0)));
        node.settle();
        node.pass(Duration::from_secs(2));
        assert!(node.has_said_unclean(), "behind {answers} answers");
        elect(&mut map, ME);
        node.control(ToShard::View(view(&map, 0)));
        node.pass(Duration::from_secs(2));
        assert_eq!(node.led, [], "behind {answers} answers");
        assert_eq!(node.replica().log_end, Offset(0), "behind {answers} answers");
        // Control has heard of it: another life.
        register(&mut map, ME, 3);
        let epoch = elect(&mut map, ME);
        node.control(ToShard::View(view(&map, 1)));
        node.settle();
        assert_eq!(node.led, [epoch]);
        if !whole {
            return assert!(answers > 10, "an opening takes more than {answers} operations");
        }
        answers += 1;
    }
}

/// Or it is in sync with nothing for as long as the disk stays full, and elected.
#[test]
fn a_log_that_is_gone_is_told_of_before_another_takes_its_place() {
    let (mut node, mut map, _) = leader();
    node.disk.remove_dir("p0");
    let mut node = Node::new(node.disk);
    register(&mut map, ME, 2);
    let marks = |op: &DiskOp| matches!(op, DiskOp::Write { file: File::Mark(P), .. });
    node.disk.fault = Some(Box::new(move |op| marks(op).then_some(DiskError::Full)));
    let says = |node: &mut Node| {
        let said = node.said.drain(..);
        said.filter(|said| matches!(said, ToControl::Unclean)).count()
    };
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    assert!(!node.replica().open);
    assert_eq!(says(&mut node), 1);
    // It is found to be gone each time.
    register_as(&mut map, ME, 3, false);
    node.control(ToShard::View(view(&map, 1)));
    node.pass(Duration::from_secs(5));
    assert_eq!((node.replica().open, says(&mut node)), (false, 0));
    node.disk.fault = None;
    node.pass(Duration::from_secs(5));
    assert_eq!((node.replica().open, says(&mut node)), (true, 0));
}

#[test]
fn a_cut_that_is_asked_of_a_replica_that_has_gone_down_is_none() {
    let mut node = follower();
    // Compaction changes the manifest.
    let is_renamed =
        |(_, op): &(IoId, DiskOp)| matches!(op, DiskOp::Rename { to: File::Manifest(_), .. });
    for _ in 0..1000 {
        if node.ops.front().is_some_and(is_renamed) {
            break;
        }
        node.answer();
        node.now.mono = node.now.mono.after(Duration::from_millis(1));
        node.shard.handle(node.now, Input::Tick);
        node.poll();
    }
    let (io, _) = node.ops.pop_front().expect("it compacts");
    let asked = asked(&node);
    let Message::Follow { round, end, .. } = asked.message else { unreachable!() };
    node.answers(io, Err(DiskError::Io(5)));
    // Not acted upon yet, when the leader's answer is there.
    let message = Message::Common { round, epoch: Epoch(0), end: Offset(0) };
    node.hear(asked.epoch, message);
    node.settle();
    assert!(!node.replica().open, "the fault has stopped it");
    node.pass(Duration::from_secs(3));
    let replica = node.replica();
    assert!(replica.open && replica.follows.is_some());
    assert_eq!(replica.log_end, end, "it is as it was");
}

/// It was taken for a torn tail, since an end that the leader gives to a log may come before it.
#[test]
fn what_was_acknowledged_and_a_cut_does_not_find_is_a_loss() {
    for torn in [false, true] {
        let (mut node, mut map, _) = leader();
        for key in [b"a", b"b", b"c", b"d"] {
            node.set_to(key, b"small");
            node.settle();
        }
        depose(&mut node, &mut map);
        node.pass(Duration::from_millis(10));
        let asked = asked(&node);
        let Message::Follow { round, last: epoch, end } = asked.message else { unreachable!() };
        let cut = Offset(end.0 - 1);
        if torn {
            // MARK comes after what is acknowledged.
            node.disk.edit("p0/MARK", Vec::clear);
            let active = node.disk.segments().pop().expect("it has a segment");
            let record = HEAD_BYTES + "d".len() + "small".len();
            node.disk.edit(&active, |bytes| {
                let at = bytes.len() - 2 * record;
                bytes[at] ^= 1;
            });
        }
        let message = Message::Common { round, epoch, end: cut };
        node.hear(asked.epoch, message);
        node.settle();
        let replica = node.replica();
        assert_eq!(replica.log_end, Offset(cut.0 - u64::from(torn)));
        assert_eq!(node.has_said_unclean(), torn);
    }
}

/// What it had acknowledged as a follower was forgotten when its reign began.
#[test]
fn whoever_loses_what_it_acknowledged_just_when_it_is_elected_says_so() {
    let (mut node, mut map, _) = leader_with(FsyncMode::EveryMs(500));
    node.pass(Duration::from_secs(1));
    node.set_to(b"a", b"not fsynced yet");
    node.settle();
    let end = node.replica().log_end;
    depose(&mut node, &mut map);
    while !node.ops.iter().any(|(_, op)| is_fsync_of_data(op)) {
        node.now.mono = node.now.mono.after(Duration::from_millis(10));
        node.shard.handle(node.now, Input::Tick);
        node.poll();
    }
    elect(&mut map, ME);
    node.control(ToShard::View(view(&map, 0)));
    let at = node.ops.iter().position(|(_, op)| is_fsync_of_data(op)).expect("it is under way");
    let (io, _) = node.ops.remove(at).expect("it is there");
    // Not acted upon yet, when the fsync turns out to have failed.
    node.answers(io, Err(DiskError::Io(5)));
    node.settle();
    node.pass(Duration::from_secs(3));
    assert!(node.replica().open && node.replica().log_end < end);
    assert!(node.has_said_unclean());
}

/// The leader's answer to who asked last: these records, which the follower does not have.
fn sends(node: &mut Node, end: u64, records: &[u8]) {
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

/// A log with a gap, whose leader is lost before it has sent what had superseded what is missing; and
/// the next one does not have that.
#[test]
fn whoever_lacks_what_nobody_superseded_any_more_begins_anew() {
    let mut map = map();
    let first = elect(&mut map, OTHER);
    let held = map.partition(P).unwrap();
    let partition_epoch = held.partition_epoch;
    let isr = vec![life(&map, OTHER)];
    let alter = AlterPartition { partition: P, leader: OTHER, epoch: first, partition_epoch, isr };
    apply(&mut map, &Command::AlterPartition(alter));
    let mut node = Node::new(MemDisk::default());
    node.control(ToShard::View(view(&map, 0)));
    node.control(ToShard::Linked(OTHER));
    node.settle();
    node.pass(Duration::from_millis(10));
    let head = |kind, epoch, offset| Head {
        kind,
        more: false,
        partition: P,
        epoch,
        offset: Offset(offset),
        clock: 1,
        expire_at: None,
    };
    let mut records = Vec::new();
    record::encode(&head(Kind::Epoch, first, 0), b"", b"", &mut records);
    let gap = Gap { end: Offset(20), floor: Offset(50), epoch: first };
    record::encode_gap(&head(Kind::Gap, first, 1), &gap, &mut records);
    sends(&mut node, 20, &records);
    assert_eq!(node.replica().log_end, Offset(20));
    let second = elect(&mut map, OTHER);
    node.said.clear();
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    node.pass(Duration::from_millis(10));
    records.clear();
    record::encode(&head(Kind::Epoch, second, 20), b"", b"", &mut records);
    sends(&mut node, 21, &records);
    assert_eq!((node.replica().log_end, node.replica().follows), (Offset(20), None));
    // It may have been let in by now, and so it begins another life.
    assert!(node.has_said_unclean());
    register(&mut map, ME, 2);
    node.control(ToShard::View(view(&map, 1)));
    node.settle();
    assert!(node.replica().open);
    assert_eq!(node.replica().log_end, Offset(0), "it begins anew");
    node.pass(Duration::from_millis(10));
    let Message::Follow { end, .. } = asked(&node).message else { unreachable!() };
    assert_eq!(end, Offset(0));
}

/// Compaction has dropped what was superseded behind the cut: the whole log goes. That costs a life
/// where it counts for something.
#[test]
fn a_log_that_can_not_be_cut_there_begins_again_and_that_is_a_loss_in_sync_alone() {
    for seated in [false, true] {
        let (mut node, mut map, _) = leader();
        for _ in 0..6 {
            node.set(b"again");
            node.settle();
        }
        node.pass(Duration::from_secs(3));
        depose(&mut node, &mut map);
        if !seated {
            let held = map.partition(P).unwrap();
            let (epoch, partition_epoch) = (held.epoch, held.partition_epoch);
            let isr = vec![life(&map, OTHER)];
            let alter = AlterPartition { partition: P, leader: OTHER, epoch, partition_epoch, isr };
            apply(&mut map, &Command::AlterPartition(alter));
            node.control(ToShard::View(view(&map, 0)));
        }
        node.pass(Duration::from_millis(10));
        let asked = asked(&node);
        let Message::Follow { round, last: epoch, .. } = asked.message else { unreachable!() };
        let message = Message::Common { round, epoch, end: Offset(3) };
        node.hear(asked.epoch, message);
        node.settle();
        assert_eq!(node.replica().log_end, Offset(0), "its segments were merged");
        assert_eq!(node.has_said_unclean(), seated);
    }
}

/// Met while it led alone, and forgotten when its next reign began: nobody would look there again.
#[test]
fn damage_that_a_leader_has_met_is_not_forgotten_in_its_next_reign() {
    let (mut node, mut map, _) = leader();
    node.settle();
    let segment = node.disk.segments()[0].clone();
    node.disk.edit(&segment, |bytes| bytes[1000] ^= 1);
    node.shard.handle(node.now, Input::Command(ClientId(1), &[b"GET", b"k"]));
    node.settle();
    let epoch = elect(&mut map, ME);
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    assert_eq!(node.replica().leads, Some(epoch));
    assert!(!node.has_said_unclean(), "it alone has what it has");
    depose(&mut node, &mut map);
    assert!(node.has_said_unclean(), "others have what it lacks");
}
