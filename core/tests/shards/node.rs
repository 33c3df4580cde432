//! A node by the pieces that the order of events can part: its disk, the threads of its shard and of control,
//! its links, and what it hears of the office.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use kvnode_core::cluster::broker::{self, Broker};
use kvnode_core::cluster::{Features, Map};
use kvnode_core::control::{QuorumView, View};
use kvnode_core::disk::{Dir, DiskOp, File, NoCache};
use kvnode_core::election::{Role, Voters};
use kvnode_core::kv::Peer;
use kvnode_core::node::{Parcel, ToControl, ToShard};
use kvnode_core::peer::Channel;
use kvnode_core::replication;
use kvnode_core::reply::Reply;
use kvnode_core::shard::{
    Config, FsyncMode, IndexKind, Input, Output, Redirect, ReplicaGlance, Shard,
};
use kvnode_core::storage::replica::{MergeSettings, ScrubSettings};
use kvnode_core::{ClientId, DirectoryId, IoId, Member, NodeId, Term, server};

use crate::disk::{MemDisk, draw, file_of};
use crate::office::CLUSTER;
use crate::world::{CLIENTS, World, wall};

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
    pub(crate) broker: Broker,
    pub(crate) map: Map,
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
pub(crate) struct Wire {
    parcels: VecDeque<Parcel>,
}

impl Node {
    pub(crate) fn new(id: u32) -> Self {
        let (disk, notices) = (MemDisk::default(), VecDeque::new());
        Self { id: NodeId(id), disk, process: None, lives: 0, cut_off: false, notices }
    }

    pub(crate) fn replica(&self) -> Option<ReplicaGlance> {
        self.process.as_ref()?.shard.replicas().next()
    }
}

impl World {
    /// The disk does something: of a file that is drawn, in the order of that file.
    pub(crate) fn disk(&mut self, at: usize, in_order: bool) {
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
    pub(crate) fn hand_over(&mut self, at: usize) {
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

    pub(crate) fn carry(&mut self, from: usize, to: usize) {
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

    /// The node hears of the next entry.
    pub(crate) fn apply(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(process) = node.process.as_mut().filter(|_| !node.cut_off) else { return };
        let next = process.map.applied().plus(1);
        if let Some(command) = self.office.log.get(process.map.applied().0 as usize) {
            let _ = process.map.apply(next, command);
            self.tell_broker(at, broker::Input::Applied);
            self.show(at);
        }
    }

    pub(crate) fn tell_broker(&mut self, at: usize, input: broker::Input) {
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
    pub(crate) fn show(&mut self, at: usize) {
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

    pub(crate) fn drain_shard(&mut self, at: usize) {
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
}
