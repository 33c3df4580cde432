//! Three nodes of a cluster, with whatever is on its way between their threads, disks, links and the office.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kvnode_core::cluster::broker::{self, Broker};
use kvnode_core::cluster::controller;
use kvnode_core::cluster::{Command, Features, Map};
use kvnode_core::control::{QuorumView, View};
use kvnode_core::disk::{Dir, DiskOp, File, NoCache};
use kvnode_core::election::{Role, Voters};
use kvnode_core::kv::Peer;
use kvnode_core::marks::{Mark, Marks};
use kvnode_core::node::{Parcel, ToControl, ToShard};
use kvnode_core::peer::Channel;
use kvnode_core::replication;
use kvnode_core::reply::Reply;
use kvnode_core::shard::{
    Config, FsyncMode, IndexKind, Input, Output, Redirect, ReplicaGlance, Shard,
};
use kvnode_core::storage::replica::{MergeSettings, ScrubSettings};
use kvnode_core::{ClientId, DirectoryId, Epoch, Instant, IoId, Member, NodeId, Now, Term, server};

use crate::clients::{Clients, KEYS};
use crate::disk::MemDisk;
use crate::faults::Faults;
use crate::office::{CLUSTER, Office, P};

const WALL_US: u64 = 1_700_000_000_000_000;
const CLIENTS: u64 = 8;

/// How the shards of one run are set up.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) fsync: FsyncMode,
    segment_bytes: u64,
    zero_ahead_bytes: u64,
    window_bytes: u32,
    min_isr: u32,
    reads: replication::ReadMode,
    garbage_percent: u64,
    pace: Pace,
}

/// How much is done at a time, at most.
#[derive(Clone, Copy)]
struct Pace {
    disk: u64,
    threads: u64,
    links: u64,
}

/// A node: its disk outlives its process.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) disk: MemDisk,
    pub(crate) process: Option<Process>,
    lives: u64,
    /// Neither hears of the office nor is heard there.
    pub(crate) cut_off: bool,
    pub(crate) notices: VecDeque<String>,
}

pub(crate) struct Process {
    pub(crate) shard: Shard,
    broker: Broker,
    map: Map,
    unsynced: bool,
    uncleans: u64,
    shown: Option<Arc<View>>,
    pub(crate) ops: VecDeque<(IoId, DiskOp)>,
    to_shard: VecDeque<ToShard>,
    to_control: VecDeque<ToControl>,
    /// It is told to stop, and takes part in nothing but its disk.
    pub(crate) stopping: bool,
}

/// From one node to another: what is on its way.
#[derive(Default)]
struct Wire {
    parcels: VecDeque<Parcel>,
}

/// What the runs have seen of what is rare.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) reads: u64,
    pub(crate) crashes: u64,
    pub(crate) faults: u64,
    pub(crate) moves: u64,
    pub(crate) stops: u64,
    pub(crate) reigns: u64,
    pub(crate) losses: u64,
    pub(crate) rots: u64,
    pub(crate) uncleans: u64,
    pub(crate) doubts: u64,
    marks: Marks,
}

/// What the shards are to have been through.
const RARE: [Mark; 15] = [
    Mark::TornTail,
    Mark::RolledAfterFault,
    Mark::DiskFull,
    Mark::SyncFailed,
    Mark::Reopened,
    Mark::Merged,
    Mark::MergeGivenUp,
    Mark::TombstoneDropped,
    Mark::TombstoneKept,
    Mark::ReignEnded,
    Mark::Resigned,
    Mark::LogCut,
    Mark::CaughtUpFromDisk,
    Mark::BeganUnclean,
    Mark::Refetched,
];

impl Totals {
    fn each(&mut self) -> [&mut u64; 13] {
        let Self { acknowledged, refused, unknown, reads, crashes, faults, .. } = self;
        let Self { moves, stops, reigns, losses, rots, uncleans, doubts, .. } = self;
        [
            acknowledged,
            refused,
            unknown,
            reads,
            crashes,
            faults,
            moves,
            stops,
            reigns,
            losses,
            rots,
            uncleans,
            doubts,
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = *other;
        self.each().into_iter().zip(other.each()).for_each(|(own, theirs)| *own += *theirs);
        self.marks = self.marks.or(other.marks);
    }

    pub(crate) fn all_seen(mut self) -> bool {
        let unseen: Vec<_> = RARE.into_iter().filter(|mark| !self.marks.has(*mark)).collect();
        assert!(unseen.is_empty(), "{unseen:?}");
        self.each().into_iter().all(|count| *count > 0)
    }
}

pub(crate) struct World {
    random: u64,
    pub(crate) now: Instant,
    pub(crate) setup: Setup,
    pub(crate) nodes: [Node; 3],
    /// Pairs of nodes that have a link.
    pub(crate) linked: [[bool; 3]; 3],
    wires: BTreeMap<(usize, usize), Wire>,
    pub(crate) office: Office,
    pub(crate) clients: Clients,
    pub(crate) faults: Faults,
    /// Who has led in which reign.
    reigns: BTreeMap<Epoch, usize>,
    pub(crate) totals: Totals,
    story: VecDeque<String>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.story.iter().for_each(|line| eprintln!("{line}"));
            for node in &self.nodes {
                eprintln!("{}", node.id);
                node.notices.iter().for_each(|line| eprintln!("  {line}"));
                let replica = node.replica();
                eprintln!("  {replica:?}");
                if let Some(process) = &node.process {
                    eprintln!("  life {:?} map {}", process.broker.life(), process.map.applied());
                    eprintln!("  disk {:?}", process.ops);
                }
            }
            if let Some(held) = self.office.map.partition(P) {
                eprintln!("{held}");
            }
        }
    }
}

impl Node {
    fn new(id: u32) -> Self {
        let (disk, notices) = (MemDisk::default(), VecDeque::new());
        Self { id: NodeId(id), disk, process: None, lives: 0, cut_off: false, notices }
    }

    pub(crate) fn replica(&self) -> Option<ReplicaGlance> {
        self.process.as_ref()?.shard.replicas().next()
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995;
        let mut one = |of: &[u64]| of[draw(&mut random, of.len() as u64) as usize];
        let setup = Setup {
            fsync: match one(&[0, 1, 2, 2, 2]) {
                0 => FsyncMode::EveryMs(20),
                1 => FsyncMode::Never,
                _ => FsyncMode::Always,
            },
            segment_bytes: one(&[400, 700, 1500, 4000]),
            zero_ahead_bytes: one(&[0, 0, 300]),
            window_bytes: one(&[128, 1024, 256 << 10]) as u32,
            min_isr: one(&[1, 1, 2]) as u32,
            reads: match one(&[0, 1]) {
                0 => replication::ReadMode::Lease,
                _ => replication::ReadMode::Confirm,
            },
            garbage_percent: one(&[10, 40]),
            pace: Pace {
                disk: one(&[2, 8, 50]),
                threads: one(&[3, 10, 30]),
                links: one(&[3, 10, 30]),
            },
        };
        let now = Instant(1_000_000_000);
        let faults = Faults::new(&mut random);
        let mut world = Self {
            random,
            now,
            setup,
            nodes: [1, 2, 3].map(Node::new),
            linked: [[false; 3]; 3],
            wires: BTreeMap::new(),
            office: Office::new(wall(now), setup.min_isr),
            clients: Clients::default(),
            faults,
            reigns: BTreeMap::new(),
            totals: Totals::default(),
            story: VecDeque::new(),
        };
        (0..3).for_each(|at| world.start(at));
        world
    }

    pub(crate) fn draw(&mut self, below: u64) -> u64 {
        draw(&mut self.random, below)
    }

    pub(crate) fn say(&mut self, what: String) {
        if self.story.len() == 120 {
            self.story.pop_front();
        }
        self.story.push_back(format!("{:>10.3} ms {what}", self.now.0 as f64 / 1e6 - 1e3));
    }

    pub(crate) fn run(mut self, steps: usize) -> Totals {
        self.rest();
        for _ in 0..steps {
            self.strike();
            self.pass_some();
            for _ in 0..3 {
                self.act();
            }
        }
        self.rest();
        let totals = &mut self.totals;
        let Clients { acknowledged, refused, unknown, reads, .. } = self.clients;
        (totals.acknowledged, totals.refused) = (acknowledged, refused);
        (totals.unknown, totals.reads) = (unknown, reads);
        totals.reigns += self.reigns.len() as u64;
        for process in self.nodes.iter().filter_map(|node| node.process.as_ref()) {
            totals.marks = totals.marks.or(process.shard.marks());
        }
        *totals
    }

    /// Time goes on, and whoever is due may notice.
    fn pass_some(&mut self) {
        let by_us = match self.draw(1000) {
            0..800 => self.draw(100),
            800..990 => self.draw(2_000),
            990..999 => self.draw(20_000),
            _ => self.draw(400_000),
        };
        self.now = self.now.after(Duration::from_micros(by_us));
        let late = self.draw(8) as usize;
        (0..3).filter(|at| *at != late).for_each(|at| self.tick(at));
        if late != 3 {
            self.office.tick(wall(self.now));
        }
    }

    pub(crate) fn tick(&mut self, at: usize) {
        let now = wall(self.now);
        let Some(process) = &mut self.nodes[at].process else { return };
        if process.shard.deadline().is_some_and(|(due, _)| due <= now.mono) {
            process.shard.handle(now, Input::Tick);
            self.drain_shard(at);
        }
        let Some(process) = &mut self.nodes[at].process else { return };
        if process.broker.deadline().is_some_and(|(due, _)| due <= now.mono) {
            self.tell_broker(at, broker::Input::Tick);
        }
    }

    fn act(&mut self) {
        let at = self.draw(3) as usize;
        match self.draw(100) {
            0..30 => {
                let some = 1 + self.draw(self.setup.pace.disk);
                (0..some).for_each(|_| self.disk(at, false));
            }
            30..50 => {
                let some = 1 + self.draw(self.setup.pace.threads);
                (0..some).for_each(|_| self.hand_over(at));
            }
            50..70 => {
                let to = (at + 1 + self.draw(2) as usize) % 3;
                let some = 1 + self.draw(self.setup.pace.links);
                (0..some).for_each(|_| self.carry(at, to));
            }
            70..80 => self.govern(at),
            _ => self.ask(at),
        }
    }

    /// The disk does something: of a file that is drawn, in the order of that file.
    fn disk(&mut self, at: usize, in_order: bool) {
        let Some(process) = &self.nodes[at].process else { return };
        let held = process.ops.len() as u64;
        if held == 0 {
            return;
        }
        let drawn = if in_order { 0 } else { self.draw(held) as usize };
        let now = wall(self.now);
        let node = &mut self.nodes[at];
        let process = node.process.as_mut().unwrap();
        let file = file_of(&process.ops[drawn].1);
        let first = process.ops.iter().position(|(_, op)| file_of(op) == file).unwrap();
        let (io, op) = process.ops.remove(first).unwrap();
        let result = node.disk.run(op);
        process.shard.handle(now, Input::Disk(io, result));
        self.drain_shard(at);
    }

    /// The next word between the threads of a node.
    fn hand_over(&mut self, at: usize) {
        let now = wall(self.now);
        let Some(process) = &mut self.nodes[at].process else { return };
        if let Some(said) = process.to_shard.pop_front() {
            process.shard.handle(now, Input::Control(said));
            self.drain_shard(at);
        }
        let Some(process) = &mut self.nodes[at].process else { return };
        match process.to_control.pop_front() {
            None | Some(ToControl::Left) => {}
            Some(ToControl::Parcel(parcel)) => self.send(at, parcel),
            Some(ToControl::Alter(alter)) => self.tell_broker(at, broker::Input::Alter(alter)),
            Some(ToControl::LogEnds(ends)) => {
                ends.into_iter().for_each(|end| self.tell_broker(at, broker::Input::LogEnd(end)));
            }
            Some(ToControl::Closed(id)) => self.tell_broker(at, broker::Input::Closed(id)),
            Some(ToControl::Resigned(id, epoch)) => {
                self.tell_broker(at, broker::Input::Resigned(id, epoch));
            }
            Some(ToControl::Unclean) => {
                process.uncleans += 1;
                self.totals.uncleans += 1;
                self.say(format!("n{} is unclean", at + 1));
                self.tell_broker(at, broker::Input::Unclean);
            }
            Some(ToControl::Request(..)) => unreachable!("nobody asks for it"),
        }
    }

    fn send(&mut self, at: usize, parcel: Parcel) {
        let to = parcel.node.0 as usize - 1;
        let forwarded = parcel.channel == Channel::Forward;
        let node = parcel.node;
        let process = self.nodes[at].process.as_mut().unwrap();
        if !self.linked[at][to] {
            process.to_shard.push_back(ToShard::Returned(parcel));
            return;
        }
        if forwarded {
            process.to_shard.push_back(ToShard::Taken(node));
        }
        let parcel = Parcel { node: NodeId(at as u32 + 1), ..parcel };
        self.wires.entry((at, to)).or_default().parcels.push_back(parcel);
    }

    fn carry(&mut self, from: usize, to: usize) {
        let parcel = self.wires.entry((from, to)).or_default().parcels.pop_front();
        let Some(parcel) = parcel else { return };
        let process = self.nodes[to].process.as_mut().expect("there is a link");
        process.to_shard.push_back(ToShard::Parcel(parcel));
    }

    pub(crate) fn link(&mut self, a: usize, b: usize) {
        if a == b || self.linked[a][b] {
            return;
        }
        if self.nodes[a].process.is_none() || self.nodes[b].process.is_none() {
            return;
        }
        (self.linked[a][b], self.linked[b][a]) = (true, true);
        for (at, other) in [(a, b), (b, a)] {
            let process = self.nodes[at].process.as_mut().unwrap();
            process.to_shard.push_back(ToShard::Linked(NodeId(other as u32 + 1)));
        }
    }

    pub(crate) fn unlink(&mut self, a: usize, b: usize) {
        if !self.linked[a][b] {
            return;
        }
        (self.linked[a][b], self.linked[b][a]) = (false, false);
        for (at, other) in [(a, b), (b, a)] {
            self.wires.remove(&(at, other));
            if let Some(process) = &mut self.nodes[at].process {
                process.to_shard.push_back(ToShard::Unlinked(NodeId(other as u32 + 1)));
            }
        }
    }

    /// Something goes on between the office and a node.
    fn govern(&mut self, at: usize) {
        let now = wall(self.now);
        match self.draw(4) {
            0 => self.office.read(now),
            1 => self.answer(),
            2 => {
                if let Some((command, outcome)) = self.office.commit(now) {
                    let held = self.office.map.partition(P).map(ToString::to_string);
                    let is = outcome
                        .map_or_else(|why| format!("refused, {why}"), |_| held.unwrap_or_default());
                    self.say(format!("{command}: {is}"));
                    self.look_at_map(&command);
                }
            }
            _ => self.apply(at),
        }
    }

    fn look_at_map(&mut self, command: &Command) {
        let Some(held) = self.office.map.partition(P) else { return };
        let elected = matches!(command, Command::ElectLeader(_));
        if elected && held.doubt.is_some_and(|doubt| doubt.epoch == held.epoch) {
            // Whose log has rotted leaves, and may be elected meanwhile; a node that has lost its log counts as
            // unclean until it has stopped cleanly.
            let Totals { losses, rots, .. } = self.totals;
            let is_unclean = losses + rots > 0 || self.setup.fsync != FsyncMode::Always;
            assert!(is_unclean, "what was acknowledged is in doubt");
            self.totals.doubts += 1;
            if self.faults.may_lose {
                self.clients.give_up();
            }
        }
    }

    fn answer(&mut self) {
        let Some((to, answer)) = self.office.answers.pop_front() else { return };
        let at = to.0 as usize - 1;
        if !self.nodes[at].cut_off && self.nodes[at].process.is_some() {
            self.tell_broker(at, broker::Input::Answer(answer));
        }
    }

    /// The node hears of the next entry.
    fn apply(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(process) = node.process.as_mut().filter(|_| !node.cut_off) else { return };
        let next = process.map.applied().plus(1);
        if let Some(command) = self.office.log.get(process.map.applied().0 as usize) {
            let _ = process.map.apply(next, command);
            self.tell_broker(at, broker::Input::Applied);
            self.show(at);
        }
    }

    fn tell_broker(&mut self, at: usize, input: broker::Input) {
        let now = wall(self.now);
        let Some(process) = &mut self.nodes[at].process else { return };
        process.broker.handle(now, &process.map, input);
        let cut_off = self.nodes[at].cut_off;
        while let Some(output) = self.nodes[at].process.as_mut().and_then(|p| p.broker.poll()) {
            match output {
                broker::Output::Send(_, message) if !cut_off => {
                    self.office.letters.push_back((self.nodes[at].id, message));
                }
                broker::Output::Send(..) | broker::Output::MayStop => {}
                broker::Output::Standing(state) => {
                    self.say(format!("n{} is {state:?}", at + 1));
                    self.show(at);
                }
                broker::Output::AlterRefused { partition, partition_epoch, why } => {
                    let process = self.nodes[at].process.as_mut().unwrap();
                    let refused = ToShard::AlterRefused { partition, partition_epoch, why };
                    process.to_shard.push_back(refused);
                }
                broker::Output::Refused(text) => panic!("n{}: {text}", at + 1),
                broker::Output::Notice(_, text) => self.nodes[at].notices.push_back(text),
            }
        }
    }

    /// The shard is shown what the cluster looks like, if it looks different.
    fn show(&mut self, at: usize) {
        let id = self.nodes[at].id;
        let Some(process) = &mut self.nodes[at].process else { return };
        let quorum = QuorumView {
            role: Role::Follower,
            term: Term(1),
            controller: Some(NodeId(1)),
            voters: Voters::default(),
            heard: None,
            reached: Default::default(),
            applied: process.map.applied(),
        };
        let view = View {
            me: Member { node: id, directory: DirectoryId(u128::from(id.0)) },
            cluster: Some(CLUSTER),
            missing: Vec::new(),
            quorum,
            life: process.broker.life(),
            unsynced: process.unsynced,
            uncleans: process.uncleans,
            settles: process.broker.may_mark_clean(),
            map: process.map.clone(),
        };
        if process.shown.as_deref() != Some(&view) {
            let view = Arc::new(view);
            process.shown = Some(Arc::clone(&view));
            process.to_shard.push_back(ToShard::View(view));
        }
    }

    /// Some client of the node writes or reads.
    fn ask(&mut self, at: usize) {
        let client = ClientId(1 + self.draw(CLIENTS));
        // Most ask who leads.
        let leads = |node: &Node| node.replica().is_some_and(|replica| replica.leads.is_some());
        let at = match self.nodes.iter().position(leads) {
            Some(leader) if self.draw(10) > 0 => leader,
            Some(_) | None => at,
        };
        let is_up = self.nodes[at].process.as_ref().is_some_and(|process| !process.stopping);
        if !is_up || !self.clients.is_idle(at, client) {
            return;
        }
        let key = self.draw(KEYS as u64) as usize;
        let (kind, bytes) = (self.draw(10), self.draw(120) as usize);
        let command = match kind {
            0..4 => Some(self.clients.read((at, client), key)),
            4..6 => self.clients.write((at, client), &[key], false, 0),
            6..9 => self.clients.write((at, client), &[key], true, bytes),
            _ => self.clients.write((at, client), &[key, (key + 1) % KEYS], true, bytes),
        };
        if let Some(command) = command {
            self.command(at, client, &command);
        }
    }

    fn command(&mut self, at: usize, client: ClientId, command: &[Vec<u8>]) {
        let now = wall(self.now);
        let args: Vec<&[u8]> = command.iter().map(|arg| &arg[..]).collect();
        let process = self.nodes[at].process.as_mut().unwrap();
        assert!(process.shard.accepts(client), "it has had its answer");
        process.shard.handle(now, Input::Command(client, &args));
        self.drain_shard(at);
    }

    fn drain_shard(&mut self, at: usize) {
        loop {
            let Some(process) = &mut self.nodes[at].process else { return };
            let Some(output) = process.shard.poll() else { break };
            match output {
                Output::Disk(io, op) => process.ops.push_back((io, op)),
                Output::Control(said) => process.to_control.push_back(said),
                Output::Reply(client, _, reply) => self.told(at, client, &reply),
                Output::Notice(_, text) => {
                    let line = format!("{:>10.3} ms {text}", self.now.0 as f64 / 1e6 - 1e3);
                    let notices = &mut self.nodes[at].notices;
                    notices.push_back(line);
                    if notices.len() > 30 {
                        notices.pop_front();
                    }
                }
                Output::Stopped => {
                    self.say(format!("n{} has stopped", at + 1));
                    self.kill(at);
                    return;
                }
                Output::Resume(_) | Output::Opened | Output::Close(_) => {}
                Output::Refused(text) => {
                    let stopping = self.nodes[at].process.as_ref().is_some_and(|p| p.stopping);
                    assert!(stopping, "n{}: {text}", at + 1);
                    self.say(format!("n{} has stopped: {text}", at + 1));
                    self.kill(at);
                    return;
                }
                Output::AclFile(..)
                | Output::Silence(_)
                | Output::Monitored(..)
                | Output::Shutdown => unreachable!("nobody asks for it"),
            }
        }
        self.look(at);
    }

    fn told(&mut self, at: usize, client: ClientId, reply: &Reply) {
        // Who reads nearby has said so before.
        if !self.clients.is_idle(at, client) {
            self.clients.told((at, client), reply);
        }
    }

    /// Nobody else leads in the same reign.
    fn look(&mut self, at: usize) {
        let Some(replica) = self.nodes[at].replica() else { return };
        if let Some(epoch) = replica.leads {
            let leader = *self.reigns.entry(epoch).or_insert_with(|| at);
            assert_eq!(leader, at, "two lead in {epoch}");
        }
        assert!(!replica.open || replica.watermark <= replica.log_end);
    }

    pub(crate) fn start(&mut self, at: usize) {
        let now = wall(self.now);
        let seed = self.draw(1 << 30);
        let (setup, node) = (self.setup, &mut self.nodes[at]);
        if node.process.is_some() {
            return;
        }
        node.lives += 1;
        let unclean = node.disk.names().iter().any(|name| name == "UNSYNCED");
        let relaxed = setup.fsync != FsyncMode::Always;
        if relaxed {
            let marked = node.disk.run(DiskOp::Create(File::Unsynced));
            if marked.and_then(|_| node.disk.run(DiskOp::SyncDir(Dir::Root))).is_err() {
                return;
            }
        }
        let directory = DirectoryId(u128::from(node.id.0));
        let address = format!("{}:1", node.id);
        let settings = broker::Settings {
            clean: !unclean,
            features: Features { min: 1, max: 1 },
            heartbeat_interval: Duration::from_millis(10),
            retry: (Duration::from_millis(10), Duration::from_millis(200)),
            seed,
            ..broker::Settings::new(node.id, directory, address.clone(), address)
        };
        let shard = Config {
            member: true,
            partitions: None,
            replication: replication::Settings {
                lease: Duration::from_millis(25),
                reads: setup.reads,
                replica_lag_max: Duration::from_millis(200),
                beat_every: Duration::from_millis(6),
                retry: Duration::from_millis(10),
                inflight_bytes: 2_000,
                inflight_chunks: 8,
                chunk_bytes: 600,
                ..replication::Settings::default()
            },
            redirect: Redirect::Moved,
            fsync: setup.fsync,
            index: IndexKind::Hash,
            segment_bytes: setup.segment_bytes,
            zero_ahead_bytes: setup.zero_ahead_bytes,
            window_bytes: setup.window_bytes,
            merge: MergeSettings {
                garbage_percent: setup.garbage_percent,
                small_files: 3,
                bytes_per_second: 64 << 20,
                check_every: Duration::from_millis(5),
            },
            scrub: Some(ScrubSettings {
                bytes_per_second: 1 << 20,
                every: Duration::from_millis(20),
            }),
            server: server::Setup::default(),
            seed,
            port: 6379,
            process_id: 1,
            cache: Box::new(NoCache),
        };
        let mut process = Process {
            shard: Shard::new(shard, now),
            broker: Broker::new(now, settings),
            map: Map::new(),
            unsynced: unclean || relaxed,
            uncleans: 0,
            shown: None,
            ops: VecDeque::new(),
            to_shard: VecDeque::new(),
            to_control: VecDeque::new(),
            stopping: false,
        };
        // It has kept a part of the quorum's log.
        let kept = draw(&mut self.random, self.office.log.len() as u64 + 1) as usize;
        for command in &self.office.log[..kept] {
            let _ = process.map.apply(process.map.applied().plus(1), command);
        }
        for client in 1..=CLIENTS + 1 {
            process.shard.handle(now, Input::Connected(ClientId(client), Peer::default()));
        }
        process.shard.handle(now, Input::Command(ClientId(CLIENTS + 1), &[b"READONLY"]));
        node.process = Some(process);
        self.say(format!("n{} starts, unclean {unclean}, knows {kept} entries", at + 1));
        self.tell_broker(at, broker::Input::Leader(Some(NodeId(1))));
        self.show(at);
        self.drain_shard(at);
    }

    /// The process is gone; what it has written stays, as far as the disk has it.
    pub(crate) fn kill(&mut self, at: usize) {
        if let Some(process) = self.nodes[at].process.take() {
            self.totals.marks = self.totals.marks.or(process.shard.marks());
        }
        (0..3).for_each(|other| self.unlink(at, other));
        self.clients.lost(at);
    }

    pub(crate) fn stop(&mut self, at: usize) {
        let now = wall(self.now);
        if let Some(process) = self.nodes[at].process.as_mut().filter(|p| !p.stopping) {
            process.stopping = true;
            process.shard.handle(now, Input::Stop);
            self.totals.stops += 1;
            self.say(format!("n{} is to stop", at + 1));
            self.drain_shard(at);
        }
    }

    pub(crate) fn ask_office(&mut self, input: controller::Input<'_>) {
        self.office.handle(wall(self.now), input);
    }

    /// Left in peace they come to hold the same.
    pub(crate) fn rest(&mut self) {
        self.calm();
        self.until("they come to rest", Self::is_whole);
        // Each by itself.
        for at in 0..3 {
            for key in 0..KEYS {
                let client = ClientId(CLIENTS + 1);
                let command = self.clients.read((at, client), key);
                self.command(at, client, &command);
                self.until("it is answered", |world| world.clients.are_idle());
            }
        }
        if self.office.map.partition(P).is_some_and(|held| held.doubt.is_some()) {
            self.office.proposed.push_back(Command::AcceptLoss(P));
        }
        self.say("at rest".into());
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = self.now.after(Duration::from_secs(120));
        let mut turns = 0_u32;
        while !is_so(self) {
            assert!(self.now < until && turns < 2_000_000, "not in two minutes: {what}");
            turns += 1;
            let by = if turns.is_multiple_of(8) { 500 } else { 0 };
            self.now = self.now.after(Duration::from_micros(by));
            self.office.tick(wall(self.now));
            for at in 0..3 {
                self.start(at);
                self.tick(at);
                (0..20).for_each(|_| self.disk(at, true));
                (0..8).for_each(|_| self.hand_over(at));
                for other in 0..3 {
                    self.link(at, other);
                    (0..4).for_each(|_| self.carry(at, other));
                }
                (0..4).for_each(|_| self.govern(at));
            }
        }
    }

    fn is_whole(&self) -> bool {
        let Some(held) = self.office.map.partition(P) else { return false };
        let replicas: Option<Vec<ReplicaGlance>> = self.nodes.iter().map(Node::replica).collect();
        let Some(replicas) = replicas else { return false };
        let Some(leader) = replicas.iter().find(|r| r.serves && r.leads == Some(held.epoch)) else {
            return false;
        };
        let same = |r: &ReplicaGlance| {
            r.open && r.log_end == leader.log_end && r.watermark == leader.log_end
        };
        let idle = |node: &Node| {
            let process = node.process.as_ref().unwrap();
            process.ops.is_empty() && process.map.applied() == self.office.map.applied()
        };
        held.isr.len() == 3
            && replicas.iter().all(same)
            && self.nodes.iter().all(idle)
            && self.clients.are_idle()
    }
}

pub(crate) fn wall(mono: Instant) -> Now {
    Now { mono, wall_us: WALL_US + mono.0 / 1000 }
}

fn file_of(op: &DiskOp) -> Option<File> {
    match *op {
        DiskOp::Create(file) | DiskOp::Sync(file) | DiskOp::Delete(file) => Some(file),
        DiskOp::Write { file, .. }
        | DiskOp::WriteZeros { file, .. }
        | DiskOp::Read { file, .. }
        | DiskOp::Truncate { file, .. } => Some(file),
        DiskOp::Rename { from, .. } => Some(from),
        DiskOp::CreateDir(_) | DiskOp::List(_) | DiskOp::DeleteNamed(..) | DiskOp::SyncDir(_) => {
            None
        }
    }
}

pub(crate) fn draw(random: &mut u64, below: u64) -> u64 {
    *random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*random >> 33) % below
}
