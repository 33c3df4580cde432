//! Some nodes' controls in virtual time: links by bytes, disks in memory, clocks in step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kvnode_core::cluster::controller::{Request, RequestError};
use kvnode_core::cluster::{AlterPartition, Life, Map, Partition};
use kvnode_core::control::{Config, Control, FoundingOptions, Input, Output, Stated, View};
use kvnode_core::election::Role;
use kvnode_core::node::{ToControl, ToShard};
use kvnode_core::{ClientId, Instant, NodeId, Now, cluster};

use crate::disk::{MemDisk, Unsynced};
use crate::wires::Wires;

const WALL_US: u64 = 1_700_000_000_000_000;

/// A node: its disk outlives its process.
pub(crate) struct Node {
    pub(crate) control: Option<Control>,
    pub(crate) disk: MemDisk,
    pub(crate) view: Option<Arc<View>>,
    pub(crate) refused: Option<String>,
    pub(crate) stopped: bool,
    pub(crate) notices: Vec<String>,
    /// What clients of its were told of their requests.
    pub(crate) answers: BTreeMap<ClientId, Result<(), RequestError>>,
    lives: u64,
}

pub(crate) struct World {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) now: Instant,
    ids: Vec<u32>,
    options: FoundingOptions,
    asked: u64,
    pub(crate) wires: Wires,
    /// The leaders that were seen, by term.
    pub(crate) leaders: BTreeMap<u64, BTreeSet<NodeId>>,
}

impl World {
    /// Nodes that have not been started, with empty disks.
    pub(crate) fn new(ids: &[u32], options: FoundingOptions) -> Self {
        let node = |&id: &u32| (NodeId(id), Node::new());
        Self {
            nodes: ids.iter().map(node).collect(),
            now: Instant(1),
            ids: ids.to_vec(),
            options,
            asked: 0,
            wires: Wires::default(),
            leaders: BTreeMap::new(),
        }
    }

    /// Three nodes that have been started.
    pub(crate) fn three() -> Self {
        let options = FoundingOptions { partitions: 4, replication_factor: 3, min_isr: 2 };
        let mut world = Self::new(&[1, 2, 3], options);
        (1..=3).for_each(|id| world.start(id));
        world
    }

    fn wall(&self) -> Now {
        Now { mono: self.now, wall_us: WALL_US + self.now.0 / 1000 }
    }

    pub(crate) fn start(&mut self, id: u32) {
        let (now, options) = (self.wall(), self.options);
        let nodes = self.ids.iter().map(|&id| (NodeId(id), format!("n{id}:1"))).collect();
        let node = self.nodes.get_mut(&NodeId(id)).unwrap();
        node.lives += 1;
        let config = Config {
            node: NodeId(id),
            nodes,
            client_address: format!("n{id}:6379"),
            rack: None,
            founding: options,
            stated: Stated::default(),
            election: Default::default(),
            links: Default::default(),
            session_timeout: Duration::from_millis(1500),
            balance_after: None,
            durable: true,
            segment_bytes: 4096,
            snapshot_every: 20,
            seed: u64::from(id) * 1000 + node.lives,
        };
        node.control = Some(Control::new(config, now));
        (node.view, node.refused, node.stopped) = (None, None, false);
        self.drain(NodeId(id));
    }

    /// The process is killed; what it wrote stays.
    pub(crate) fn kill(&mut self, id: u32) {
        let node = self.nodes.get_mut(&NodeId(id)).unwrap();
        node.control = None;
        self.wires.hang_up(self.now, NodeId(id));
    }

    /// Power is lost: what was not fsynced is gone.
    pub(crate) fn lose_power(&mut self, id: u32) {
        self.kill(id);
        let node = self.nodes.get_mut(&NodeId(id)).unwrap();
        node.disk = std::mem::take(&mut node.disk).crash(Unsynced::Lost);
    }

    pub(crate) fn wipe(&mut self, id: u32) {
        self.kill(id);
        self.nodes.get_mut(&NodeId(id)).unwrap().disk = MemDisk::default();
    }

    pub(crate) fn ask_to_stop(&mut self, id: u32) {
        self.handle(NodeId(id), Input::Stop);
    }

    /// A client of the node asks for something; its number.
    pub(crate) fn ask(&mut self, id: u32, request: Request) -> ClientId {
        self.asked += 1;
        let client = ClientId(self.asked);
        self.handle(NodeId(id), Input::Shard(ToControl::Request(client, request)));
        client
    }

    /// Goes on until the client of the node is answered: what it is told, and after how long.
    pub(crate) fn answer(
        &mut self,
        id: u32,
        client: ClientId,
    ) -> (Result<(), RequestError>, Duration) {
        let answers = |world: &Self| world.nodes[&NodeId(id)].answers.get(&client).copied();
        let took = self.until("an answer", |world| answers(world).is_some());
        (answers(self).unwrap(), took)
    }

    pub(crate) fn handle(&mut self, id: NodeId, input: Input) {
        let now = self.wall();
        if let Some(control) = &mut self.nodes.get_mut(&id).unwrap().control {
            control.handle(now, input);
            self.drain(id);
        }
    }

    fn drain(&mut self, id: NodeId) {
        let mut disk = VecDeque::new();
        loop {
            let node = self.nodes.get_mut(&id).unwrap();
            let Some(control) = &mut node.control else { return };
            let now = Now { mono: self.now, wall_us: WALL_US + self.now.0 / 1000 };
            let Some(output) = control.poll() else {
                let Some((io, op)) = disk.pop_front() else { break };
                let result = node.disk.run(op);
                control.handle(now, Input::Disk(io, result));
                continue;
            };
            match output {
                Output::Disk(io, op) => disk.push_back((io, op)),
                Output::Peer(output) => {
                    let lives = |to| self.nodes[&to].control.is_some();
                    self.wires.on_peer(self.now, id, output, lives);
                }
                Output::Shard(ToShard::View(view)) => {
                    for alter in wanted(&view) {
                        control.handle(now, Input::Shard(ToControl::Alter(alter)));
                    }
                    node.view = Some(view);
                }
                Output::Shard(ToShard::Leaving) => {
                    control.handle(now, Input::Shard(ToControl::Left));
                }
                Output::Shard(ToShard::Answered(client, outcome)) => {
                    let earlier = node.answers.insert(client, outcome);
                    assert!(earlier.is_none(), "{id} answers {client:?} twice");
                }
                Output::Shard(_) => {}
                Output::Refused(text) => {
                    node.refused = Some(text);
                    node.control = None;
                    self.wires.hang_up(self.now, id);
                    return;
                }
                Output::Stopped => {
                    node.stopped = true;
                    node.control = None;
                    self.wires.hang_up(self.now, id);
                    return;
                }
                Output::Notice(_, text) => node.notices.push(text),
                Output::Trace(_) => {}
            }
        }
        let raft = self.nodes[&id].control.as_ref().and_then(Control::raft);
        if let Some(raft) = raft
            && raft.role() == Role::Leader
        {
            let leaders = self.leaders.entry(raft.term().0).or_default();
            leaders.insert(id);
            assert_eq!(leaders.len(), 1, "two leaders in {}", raft.term());
        }
    }

    /// The next thing happens; time passes until then.
    fn step(&mut self, until: Instant) -> bool {
        let due = |(&id, node): (&NodeId, &Node)| Some((node.control.as_ref()?.deadline()?.0, id));
        let tick = self.nodes.iter().filter_map(due).min();
        match (tick, self.wires.next()) {
            (Some((at, id)), event) if event.is_none_or(|when| at < when) => {
                if at > until {
                    return false;
                }
                self.now = self.now.max(at);
                self.handle(id, Input::Tick);
            }
            (_, Some(at)) if at <= until => {
                let (at, node, input) = self.wires.pop().expect("it is the next");
                self.now = self.now.max(at);
                self.handle(node, Input::Peer(input));
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
                let views = self.nodes.iter().map(|(id, n)| (id, &n.refused, &n.notices, &n.view));
                panic!("not in a minute: {what}\n{:#?}", views.collect::<Vec<_>>());
            }
        }
        self.now.since(start)
    }

    pub(crate) fn view(&self, id: u32) -> Option<&View> {
        self.nodes[&NodeId(id)].view.as_deref()
    }

    pub(crate) fn map(&self, id: u32) -> &Map {
        self.nodes[&NodeId(id)].control.as_ref().unwrap().map().unwrap()
    }

    /// The controller, if all that live agree on one that lives.
    pub(crate) fn controller(&self) -> Option<u32> {
        let live = self.nodes.values().filter(|node| node.control.is_some());
        let mut said = live.map(|node| node.view.as_ref()?.quorum.controller);
        let first = said.next()??;
        let agreed = said.all(|said| said == Some(first));
        (agreed && self.nodes[&first].control.is_some()).then_some(first.0)
    }

    /// Whether all agree on the controller, every living node is active in the map of every living node, and every partition has
    /// a leader that lives.
    pub(crate) fn is_whole(&self) -> bool {
        let live: Vec<NodeId> =
            self.nodes.iter().filter(|(_, n)| n.control.is_some()).map(|(&id, _)| id).collect();
        let active = |map: &Map, id: &NodeId| map.node(*id).is_some_and(|node| node.is_active());
        self.controller().is_some()
            && live.iter().all(|id| {
                let Some(map) = self.nodes[id].control.as_ref().and_then(Control::map) else {
                    return false;
                };
                let mut leaders = map.partitions().map(|(_, partition)| partition.leader);
                let led = leaders.all(|leader| leader.is_some_and(|leader| live.contains(&leader)));
                live.iter().all(|id| active(map, id)) && map.partitions().count() > 0 && led
            })
    }
}

impl Node {
    fn new() -> Self {
        Self {
            control: None,
            disk: MemDisk::default(),
            view: None,
            refused: None,
            stopped: false,
            notices: Vec::new(),
            answers: BTreeMap::new(),
            lives: 0,
        }
    }
}

/// What the shard of a node with empty logs asks for: every active replica in sync.
fn wanted(view: &View) -> Vec<AlterPartition> {
    let Some(me) = view.life else { return Vec::new() };
    let map = &view.map;
    let led = map.partitions().filter(|(_, partition)| partition.leader == Some(me.node));
    let change = |(id, partition): (_, &Partition)| {
        let replicas = partition.replicas.iter().filter_map(|&node| map.node(node));
        let mut isr: Vec<Life> =
            replicas.filter(|n| n.is_active() || n.life() == me).map(cluster::Node::life).collect();
        isr.sort_unstable();
        (isr != partition.isr_lives()).then_some(AlterPartition {
            partition: id,
            leader: me.node,
            epoch: partition.epoch,
            partition_epoch: partition.partition_epoch,
            isr,
        })
    };
    led.filter_map(change).collect()
}
