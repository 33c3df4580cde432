//! Whole nodes in virtual time: control and shard of each, links by bytes, disks in memory, clients
//! that call any of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kvnode_core::cluster::Map;
use kvnode_core::control::{self, Control, FoundingOptions, Stated, View};
use kvnode_core::disk::NoCache;
use kvnode_core::disk::{DiskOp, File};
use kvnode_core::kv::Peer;
use kvnode_core::peer;
use kvnode_core::replication;
use kvnode_core::reply::Reply;
use kvnode_core::server;
use kvnode_core::shard::{self, FsyncMode, IndexKind, Redirect, ReplicaGlance, Shard};
use kvnode_core::storage::replica::{MergeSettings, ScrubSettings};
use kvnode_core::storage::scan::WINDOW_BYTES;
use kvnode_core::{ClientId, Instant, NodeId, Now, PartitionId};

use crate::disk::{MemDisk, Unsynced};
use crate::wires::Wires;

const WALL_US: u64 = 1_700_000_000_000_000;

/// A node: its disk outlives its process.
pub(crate) struct Node {
    pub(crate) process: Option<Process>,
    pub(crate) disk: MemDisk,
    pub(crate) notices: Vec<String>,
    pub(crate) refused: Option<String>,
    pub(crate) stopped: bool,
    lives: u64,
}

pub(crate) struct Process {
    pub(crate) control: Option<Control>,
    pub(crate) shard: Shard,
    pub(crate) view: Option<Arc<View>>,
}

/// A client of a node: what it was told, in order.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) told: VecDeque<Reply>,
    waiting: VecDeque<Vec<Vec<u8>>>,
}

/// How a world is made.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) nodes: u32,
    pub(crate) founding: FoundingOptions,
    pub(crate) stated: Stated,
    pub(crate) replication: replication::Settings,
    pub(crate) redirect: Redirect,
    pub(crate) fsync: FsyncMode,
    pub(crate) segment_bytes: u64,
    pub(crate) scrub: Option<ScrubSettings>,
    /// Bytes that may wait for a link.
    pub(crate) queue_bytes_max: usize,
    /// Entries of the control log behind which a snapshot is taken.
    pub(crate) snapshot_every: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            nodes: 3,
            founding: FoundingOptions { partitions: 4, replication_factor: 3, min_isr: 2 },
            stated: Stated::default(),
            replication: replication::Settings::default(),
            redirect: Redirect::Forward,
            fsync: FsyncMode::Always,
            segment_bytes: 64 << 10,
            scrub: None,
            queue_bytes_max: peer::Settings::default().queue_bytes_max,
            snapshot_every: 200,
        }
    }
}

pub(crate) struct World {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) now: Instant,
    pub(crate) setup: Setup,
    pub(crate) wires: Wires,
    pub(crate) clients: BTreeMap<(NodeId, ClientId), Client>,
    last_client: u64,
    /// What clients were told that lost their node.
    pub(crate) gone: BTreeMap<(NodeId, ClientId), VecDeque<Reply>>,
    /// By how much a node's wall clock is ahead. A process looks at it when it starts, and later on
    /// is only drawn toward it.
    pub(crate) ahead: BTreeMap<u32, Duration>,
    /// The disk of this node does not answer what is read of the data.
    pub(crate) stalled: Option<u32>,
    pub(crate) held: VecDeque<(kvnode_core::IoId, DiskOp)>,
}

impl World {
    /// Nodes that have been started and form a cluster.
    pub(crate) fn new(setup: Setup) -> Self {
        let nodes = (1..=setup.nodes).map(|id| (NodeId(id), Node::new()));
        let mut world = Self {
            nodes: nodes.collect(),
            now: Instant(1_000_000_000),
            setup,
            wires: Wires::default(),
            clients: BTreeMap::new(),
            last_client: 0,
            gone: BTreeMap::new(),
            ahead: BTreeMap::new(),
            stalled: None,
            held: VecDeque::new(),
        };
        (1..=setup.nodes).for_each(|id| world.start(id));
        world.until("every partition serves, with all in sync", World::is_whole);
        world
    }

    fn wall(&self, id: u32) -> Now {
        let ahead = self.ahead.get(&id).copied().unwrap_or_default();
        Now { mono: self.now, wall_us: WALL_US + self.now.0 / 1000 + ahead.as_micros() as u64 }
    }

    pub(crate) fn start(&mut self, id: u32) {
        let (now, setup) = (self.wall(id), self.setup);
        let nodes = (1..=setup.nodes).map(|id| (NodeId(id), format!("n{id}:1"))).collect();
        let node = self.nodes.get_mut(&NodeId(id)).unwrap();
        node.lives += 1;
        let seed = u64::from(id) * 1000 + node.lives;
        let control = control::Config {
            node: NodeId(id),
            nodes,
            client_address: format!("n{id}:6379"),
            rack: None,
            founding: setup.founding,
            stated: setup.stated,
            election: Default::default(),
            links: peer::Settings {
                queue_bytes_max: setup.queue_bytes_max,
                ..peer::Settings::default()
            },
            session_timeout: Duration::from_millis(1500),
            balance_after: None,
            durable: setup.fsync == FsyncMode::Always,
            segment_bytes: 16 << 10,
            snapshot_every: setup.snapshot_every,
            seed,
        };
        let shard = shard::Config {
            member: true,
            partitions: None,
            replication: setup.replication,
            redirect: setup.redirect,
            fsync: setup.fsync,
            index: IndexKind::Hash,
            segment_bytes: setup.segment_bytes,
            zero_ahead_bytes: 4096,
            window_bytes: WINDOW_BYTES,
            merge: MergeSettings {
                garbage_percent: 40,
                small_files: 4,
                bytes_per_second: 64 << 20,
                check_every: Duration::from_millis(50),
            },
            scrub: setup.scrub,
            server: server::Setup::default(),
            seed,
            port: 6379,
            process_id: 1,
            cache: Box::new(NoCache),
        };
        node.process = Some(Process {
            control: Some(Control::new(control, now)),
            shard: Shard::new(shard, now),
            view: None,
        });
        (node.refused, node.stopped) = (None, false);
        self.drain(NodeId(id));
    }

    /// The process is killed; what it wrote stays.
    pub(crate) fn kill(&mut self, id: u32) {
        self.nodes.get_mut(&NodeId(id)).unwrap().process = None;
        self.hang_up(NodeId(id));
    }

    /// The process is gone, and nobody hears of it.
    pub(crate) fn vanish(&mut self, id: u32) {
        self.wires.vanish(NodeId(id));
        self.kill(id);
    }

    /// Power is lost: what was not fsynced is gone.
    pub(crate) fn lose_power(&mut self, id: u32) {
        self.kill(id);
        let node = self.nodes.get_mut(&NodeId(id)).unwrap();
        node.disk = std::mem::take(&mut node.disk).crash(Unsynced::Lost);
    }

    pub(crate) fn disk_of(&self, id: u32) -> &MemDisk {
        &self.nodes[&NodeId(id)].disk
    }

    pub(crate) fn disk(&mut self, id: u32) -> &mut MemDisk {
        &mut self.nodes.get_mut(&NodeId(id)).unwrap().disk
    }

    /// The node is asked to stop: control first, then the shard.
    pub(crate) fn ask_to_stop(&mut self, id: u32) {
        let now = self.wall(id);
        if let Some(control) = self.process(id).and_then(|p| p.control.as_mut()) {
            control.handle(now, control::Input::Stop);
        }
        self.drain(NodeId(id));
    }

    fn process(&mut self, id: u32) -> Option<&mut Process> {
        self.nodes.get_mut(&NodeId(id)).unwrap().process.as_mut()
    }

    /// The stalled disk answers.
    pub(crate) fn unstall(&mut self) {
        let id = NodeId(self.stalled.take().unwrap());
        let now = self.wall(id.0);
        for (io, op) in std::mem::take(&mut self.held) {
            let node = self.nodes.get_mut(&id).unwrap();
            let result = node.disk.run(op);
            node.process.as_mut().unwrap().shard.handle(now, shard::Input::Disk(io, result));
        }
        self.drain(id);
    }

    fn hang_up(&mut self, node: NodeId) {
        self.wires.hang_up(self.now, node);
        let gone = self.clients.extract_if(.., |(at, _), _| *at == node);
        self.gone.extend(gone.map(|(at, client)| (at, client.told)));
    }

    fn drain(&mut self, id: NodeId) {
        let now = self.wall(id.0);
        let mut disk = VecDeque::new();
        loop {
            let node = self.nodes.get_mut(&id).unwrap();
            let Some(process) = &mut node.process else { return };
            if let Some(output) = process.control.as_mut().and_then(Control::poll) {
                match output {
                    control::Output::Disk(io, op) => disk.push_back((io, op)),
                    control::Output::Peer(output) => {
                        let lives = |to| self.nodes[&to].process.is_some();
                        self.wires.on_peer(self.now, id, output, lives);
                    }
                    control::Output::Shard(said) => {
                        if let kvnode_core::node::ToShard::View(view) = &said {
                            process.view = Some(Arc::clone(view));
                        }
                        process.shard.handle(now, shard::Input::Control(said));
                    }
                    control::Output::Refused(text) => {
                        node.refused = Some(text);
                        return self.kill(id.0);
                    }
                    control::Output::Stopped => {
                        process.control = None;
                        process.shard.handle(now, shard::Input::Stop);
                        self.hang_up(id);
                    }
                    control::Output::Notice(_, text) => node.notices.push(text),
                    control::Output::Trace(_) => {}
                }
                continue;
            }
            if let Some(output) = process.shard.poll() {
                match output {
                    shard::Output::Disk(io, op) => disk.push_back((io, op)),
                    shard::Output::Control(said) => {
                        if let Some(control) = &mut process.control {
                            control.handle(now, control::Input::Shard(said));
                        }
                    }
                    shard::Output::Reply(client, _, reply) => {
                        if let Some(client) = self.clients.get_mut(&(id, client)) {
                            client.told.push_back(reply);
                        }
                    }
                    shard::Output::Resume(client) => self.feed(id, client),
                    shard::Output::Notice(_, text) => node.notices.push(text),
                    shard::Output::Refused(text) => {
                        node.refused = Some(text);
                        return self.kill(id.0);
                    }
                    shard::Output::Stopped => {
                        node.stopped = true;
                        node.process = None;
                        return self.hang_up(id);
                    }
                    shard::Output::Opened | shard::Output::Close(_) => {}
                    shard::Output::AclFile(..)
                    | shard::Output::Silence(_)
                    | shard::Output::Monitored(..)
                    | shard::Output::Shutdown => unreachable!("nobody asks for it"),
                }
                continue;
            }
            let Some((io, op)) = disk.pop_front() else { return };
            if self.stalled == Some(id.0)
                && io.0 >> 48 < 0xfffd
                && matches!(op, DiskOp::Read { file: File::Segment(..), .. })
            {
                self.held.push_back((io, op));
                continue;
            }
            let result = node.disk.run(op);
            if io.0 >> 48 >= 0xfffd && io.0 >> 48 != 0xffff {
                if let Some(control) = &mut process.control {
                    control.handle(now, control::Input::Disk(io, result));
                }
            } else {
                process.shard.handle(now, shard::Input::Disk(io, result));
            }
        }
    }

    /// The next thing happens; time passes until then.
    fn step(&mut self, until: Instant) -> bool {
        let due = |(&id, node): (&NodeId, &Node)| {
            let process = node.process.as_ref()?;
            let control = process.control.as_ref().and_then(|c| c.deadline()).map(|(at, _)| at);
            let shard = process.shard.deadline().map(|(at, _)| at);
            Some((control.into_iter().chain(shard).min()?, id))
        };
        let tick = self.nodes.iter().filter_map(due).min();
        match (tick, self.wires.next()) {
            (Some((at, id)), event) if event.is_none_or(|when| at < when) => {
                if at > until {
                    return false;
                }
                self.now = self.now.max(at);
                let now = self.wall(id.0);
                let process = self.process(id.0).unwrap();
                let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now.mono);
                if let Some(control) = &mut process.control
                    && is_due(control.deadline().map(|(at, _)| at))
                {
                    control.handle(now, control::Input::Tick);
                }
                if is_due(process.shard.deadline().map(|(at, _)| at)) {
                    process.shard.handle(now, shard::Input::Tick);
                }
                self.drain(id);
            }
            (_, Some(at)) if at <= until => {
                let (at, id, input) = self.wires.pop().expect("it is the next");
                self.now = self.now.max(at);
                let now = self.wall(id.0);
                if let Some(process) = self.process(id.0)
                    && let Some(control) = &mut process.control
                {
                    control.handle(now, control::Input::Peer(input));
                    self.drain(id);
                }
            }
            (_, _) => return false,
        }
        true
    }

    pub(crate) fn pass(&mut self, by: Duration) {
        let until = self.now.after(by);
        while self.step(until) {}
        self.now = until;
    }

    /// Goes on until it is so; how long that took.
    pub(crate) fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) -> Duration {
        let (start, until) = (self.now, self.now.after(Duration::from_secs(60)));
        while !so(self) {
            if !self.step(until) {
                self.dump();
                panic!("not in a minute: {what}");
            }
        }
        self.now.since(start)
    }

    fn dump(&self) {
        for (id, node) in &self.nodes {
            println!("{id}: refused {:?}, {:#?}", node.refused, node.notices);
            let Some(process) = &node.process else { continue };
            for replica in process.shard.replicas() {
                println!("  {replica:?}");
            }
            if let Some(map) = process.control.as_ref().and_then(Control::map) {
                for (partition, entry) in map.partitions() {
                    println!("  {partition} {entry:?}");
                }
            }
        }
    }

    pub(crate) fn map(&self, id: u32) -> &Map {
        self.nodes[&NodeId(id)].process.as_ref().unwrap().control.as_ref().unwrap().map().unwrap()
    }

    /// What the node knows of the cluster.
    pub(crate) fn view(&self, id: u32) -> Option<&View> {
        self.nodes[&NodeId(id)].process.as_ref()?.view.as_deref()
    }

    /// Who controls the cluster, as everybody says who lives.
    pub(crate) fn controller(&self) -> Option<u32> {
        let live = self.nodes.values().filter(|node| node.process.is_some());
        let mut said = live.map(|node| node.process.as_ref()?.view.as_ref()?.quorum.controller);
        let first = said.next()??;
        said.all(|other| other == Some(first)).then_some(first.0)
    }

    /// The line of its status that sums it up.
    pub(crate) fn status(&mut self, id: u32) -> String {
        let at = self.connect(id);
        let Reply::Map(fields) = self.call(at, &["CLUSTER", "STATUS"]) else { panic!("no status") };
        let summary = fields.into_iter().find(|(name, _)| *name == Reply::bulk(b"summary"));
        let Some((_, Reply::Bulk(text))) = summary else { panic!("no summary") };
        String::from_utf8(text.to_vec()).unwrap()
    }

    pub(crate) fn replica(&self, id: u32, partition: u32) -> Option<ReplicaGlance> {
        let process = self.nodes[&NodeId(id)].process.as_ref()?;
        process.shard.replicas().find(|r| r.partition == PartitionId(partition))
    }

    /// Who leads the partition and serves it.
    pub(crate) fn leader(&self, partition: u32) -> Option<u32> {
        let serves = |id: &u32| self.replica(*id, partition).is_some_and(|r| r.serves);
        (1..=self.setup.nodes).find(serves)
    }

    /// Whether every partition is served by a node that lives, and all living replicas are in sync.
    pub(crate) fn is_whole(&self) -> bool {
        let live = |id: NodeId| self.nodes[&id].process.is_some();
        (0..self.setup.founding.partitions).all(|partition| {
            let Some(leader) = self.leader(partition) else { return false };
            let Some(map) = self.nodes[&NodeId(leader)]
                .process
                .as_ref()
                .and_then(|process| process.control.as_ref())
                .and_then(Control::map)
            else {
                return false;
            };
            let Some(entry) = map.partition(PartitionId(partition)) else { return false };
            entry.replicas.iter().all(|&id| !live(id) || entry.seat(id).is_some())
        })
    }
}

/// Clients.
impl World {
    pub(crate) fn connect(&mut self, id: u32) -> (NodeId, ClientId) {
        self.last_client += 1;
        let (node, client) = (NodeId(id), ClientId(self.last_client));
        let now = self.wall(id);
        let process = self.process(id).expect("the node lives");
        process.shard.handle(now, shard::Input::Connected(client, Peer::default()));
        self.clients.insert((node, client), Client::default());
        self.drain(node);
        (node, client)
    }

    /// The client goes away.
    pub(crate) fn disconnect(&mut self, (node, client): (NodeId, ClientId)) {
        let now = self.wall(node.0);
        let process = self.process(node.0).expect("the node lives");
        process.shard.handle(now, shard::Input::Disconnected(client));
        self.clients.remove(&(node, client));
        self.drain(node);
    }

    /// Hands a command in, or as soon as the node takes it.
    pub(crate) fn send(&mut self, (node, client): (NodeId, ClientId), args: &[&[u8]]) {
        let args = args.iter().map(|arg| arg.to_vec()).collect();
        self.clients.get_mut(&(node, client)).expect("it is connected").waiting.push_back(args);
        self.feed(node, client);
        self.drain(node);
    }

    fn feed(&mut self, node: NodeId, client: ClientId) {
        let now = self.wall(node.0);
        let Some(known) = self.clients.get_mut(&(node, client)) else { return };
        let Some(process) = &mut self.nodes.get_mut(&node).unwrap().process else { return };
        while process.shard.accepts(client)
            && let Some(args) = known.waiting.pop_front()
        {
            let args: Vec<&[u8]> = args.iter().map(|arg| &arg[..]).collect();
            process.shard.handle(now, shard::Input::Command(client, &args));
        }
    }

    /// Sends a command and waits for its reply.
    pub(crate) fn call(&mut self, at: (NodeId, ClientId), args: &[&str]) -> Reply {
        assert!(self.clients[&at].told.is_empty(), "all replies were taken");
        let bytes: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        self.send(at, &bytes);
        self.reply(at, &format!("a reply to {args:?}"))
    }

    /// Sends a command and takes the reply if it is there without any time having passed, and so
    /// without anything having come from another node.
    pub(crate) fn at_once(&mut self, at: (NodeId, ClientId), args: &[&str]) -> Option<Reply> {
        assert!(self.clients[&at].told.is_empty(), "all replies were taken");
        let bytes: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
        self.send(at, &bytes);
        self.clients.get_mut(&at).expect("its node lives").told.pop_front()
    }

    /// Waits for the client's next reply.
    pub(crate) fn reply(&mut self, at: (NodeId, ClientId), what: &str) -> Reply {
        self.until(what, |world| world.clients.get(&at).is_none_or(|c| !c.told.is_empty()));
        let client = self.clients.get_mut(&at).expect("its node lives");
        client.told.pop_front().expect("it was waited for")
    }
}

impl Node {
    fn new() -> Self {
        Self {
            process: None,
            disk: MemDisk::default(),
            notices: Vec::new(),
            refused: None,
            stopped: false,
            lives: 0,
        }
    }
}
