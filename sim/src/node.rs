//! A node's process: the real shard, driven in one task by what arrives, what the disk answers and
//! what its clock says.
//!
//! This is the simulator's counterpart of the tokio driver, and as thin: it decides nothing but, by
//! chance, how many inputs it hands in before it drains the outputs, which the contract leaves open.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvnode_core::args::OwnedArgs;
use kvnode_core::cluster::controller::{Request, RequestId};
use kvnode_core::disk::{CacheKey, CacheStats, DiskError, DiskOp, File, ValueCache};
use kvnode_core::peer;
use kvnode_core::reply::Reply;
use kvnode_core::shard::{Config, Input, Output, Severity, Shard};
use kvnode_core::{ClientId, Instant, IoId, Value};
use madsim::net::Endpoint;
use madsim::plugin::simulator;
use madsim::task::{NodeId, spawn_local};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::chance::{Chance, Purpose};
use crate::disk::{Answer, DiskSim};
use crate::marks::Seen;
use crate::net::{Packet, WireId, words};
use crate::run::Spoilt;
use crate::storage;
use crate::story::{Kind, Lane, Life};
use crate::world::World;

/// What reaches a node's process from outside.
#[derive(Debug)]
pub(crate) enum NodeEvent {
    Opened(WireId),
    Packet(WireId, Packet),
    Closed(WireId),
    /// Something happens on a connection with another node.
    Peer(peer::Input),
    /// An operator asks for something.
    Request(RequestId, Request),
    /// SIGTERM.
    Stop,
}

/// Where the other tasks find a process: gone when it has ended.
pub(crate) type Mailbox = UnboundedSender<NodeEvent>;

/// One life of a node: from start to stop, or until it is killed.
pub(crate) async fn live(world: Arc<World>, id: u32, mailboxes: Arc<Mailboxes>) {
    let life = world.born(id);
    let lane = Lane::Node(id);
    world.tell(lane, Kind::Life, life, || format!("{}: life {life}", Life::Starts));
    let image = simulator::<DiskSim>().with(madsim::plugin::node(), |disk| disk.image());
    if world.is_sound(id)
        && let Some(damage) = storage::damage(image)
    {
        world.violation(
            "storage",
            format!("n{id} starts on damage that no fault has done: {damage}"),
        );
    }
    let (mailbox, inbox) = unbounded_channel();
    mailboxes.set(id, mailbox.clone());
    spawn_local(listen(Arc::clone(&world), id, life, mailbox));
    let mut process = Process::new(world, id, life);
    process.run(inbox).await;
    mailboxes.clear(id);
}

/// The mailbox of each node's process.
#[derive(Default)]
pub(crate) struct Mailboxes(std::sync::Mutex<BTreeMap<u32, Mailbox>>);

impl Mailboxes {
    pub(crate) fn set(&self, id: u32, mailbox: Mailbox) {
        crate::lock(&self.0).insert(id, mailbox);
    }

    pub(crate) fn clear(&self, id: u32) {
        crate::lock(&self.0).remove(&id);
    }

    /// Tells a node's process something, if it lives.
    pub(crate) fn post(&self, id: u32, event: NodeEvent) {
        if let Some(mailbox) = crate::lock(&self.0).get(&id) {
            // A process that has just ended does not listen.
            let _ = mailbox.send(event);
        }
    }
}

/// The address of a node.
pub(crate) fn address(id: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(id).expect("nodes are few")], 6379))
}

/// Takes connections, and reads each in a task of its own.
async fn listen(world: Arc<World>, id: u32, life: u64, mailbox: Mailbox) {
    let Ok(endpoint) = Endpoint::bind(address(id)).await else { return };
    while let Ok((sender, receiver, _)) = endpoint.accept1().await {
        let (world, mailbox) = (Arc::clone(&world), mailbox.clone());
        spawn_local(async move {
            let accepted = world.accept(Lane::Node(id), life, sender, receiver).await;
            let Some(mut inlet) = accepted else { return };
            let wire = inlet.wire();
            let _ = mailbox.send(NodeEvent::Opened(wire));
            while let Some(packet) = inlet.receive(&world).await {
                let _ = mailbox.send(NodeEvent::Packet(wire, packet));
            }
            let _ = mailbox.send(NodeEvent::Closed(wire));
        });
    }
}

struct Process {
    world: Arc<World>,
    disk: Arc<DiskSim>,
    node: NodeId,
    id: u32,
    shard: Shard,
    chance: Chance,
    clients: BTreeMap<ClientId, Client>,
    by_wire: BTreeMap<WireId, ClientId>,
    next_client: u64,
    ended: bool,
    /// The log clock as of the last turn, and when that was by the monotonic clock; only while it
    /// serves, since what an opening finds raises it.
    clock: Option<(u64, Instant)>,
    /// When the shard was last handed something: its clock stands until then.
    handled_at: Instant,
    queue_max: usize,
}

struct Client {
    wire: WireId,
    /// Commands that the shard does not take yet.
    queue: VecDeque<OwnedArgs>,
}

impl Process {
    fn new(world: Arc<World>, id: u32, life: u64) -> Self {
        let node = madsim::plugin::node();
        let disk = simulator::<DiskSim>();
        let settings = world.settings.clone();
        let mut chance = Chance::new(world.seed ^ life.rotate_left(40), Purpose::Node(id));
        if world.spoilt == Some(Spoilt::Chance) {
            chance = Chance::new(true_chance(), Purpose::Node(id));
        }
        let cache = Cache {
            world: Arc::clone(&world),
            id,
            disk: Arc::clone(&disk),
            node,
            on: settings.cache,
            cached_percent: settings.cached_percent,
            values: BTreeMap::new(),
            chance: Chance::new(chance.any(), Purpose::Node(id)),
        };
        let config = Config {
            member: false,
            partitions: Some(settings.partitions),
            fsync: settings.fsync,
            index: settings.index,
            segment_bytes: settings.segment_bytes,
            zero_ahead_bytes: settings.zero_ahead_bytes,
            merge: settings.merge,
            seed: chance.any(),
            port: 6379,
            process_id: life as u32,
            cache: Box::new(cache),
        };
        let shard = Shard::new(config, world.node_now(id));
        Self {
            world,
            disk,
            node,
            id,
            shard,
            chance,
            clients: BTreeMap::new(),
            by_wire: BTreeMap::new(),
            next_client: 0,
            ended: false,
            clock: None,
            handled_at: Instant::default(),
            queue_max: 0,
        }
    }

    async fn run(&mut self, mut inbox: UnboundedReceiver<NodeEvent>) {
        self.drain();
        while !self.ended {
            let event = match self.wait_ns() {
                Some(ns) => {
                    let wait = Duration::from_nanos(ns);
                    madsim::time::timeout(wait, inbox.recv()).await.ok().flatten()
                }
                None => inbox.recv().await,
            };
            if let Some(event) = event {
                self.on_event(event);
            }
            while self.chance.percent(70)
                && let Ok(event) = inbox.try_recv()
            {
                self.on_event(event);
            }
            self.on_answers();
            self.on_deadline();
            self.drain();
        }
    }

    /// How long nothing but what arrives can need a turn.
    fn wait_ns(&self) -> Option<u64> {
        let deadline = self.shard.deadline().map(|(at, _)| self.world.until(self.id, at));
        let now_ns = self.world.now_ns();
        let disk = self.disk.with(self.node, |disk| disk.next_ns());
        deadline.into_iter().chain(disk.map(|at| at.saturating_sub(now_ns))).min()
    }

    fn lane(&self) -> Lane {
        Lane::Node(self.id)
    }

    fn handle(&mut self, input: Input<'_>) {
        let now = self.world.node_now(self.id);
        self.handled_at = now.mono;
        self.shard.handle(now, input);
        if self.chance.percent(30) {
            self.drain();
        }
    }

    fn on_event(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Opened(wire) => {
                self.next_client += 1;
                let id = ClientId(self.next_client);
                self.clients.insert(id, Client { wire, queue: VecDeque::new() });
                self.by_wire.insert(wire, id);
                self.handle(Input::Connected(id));
            }
            NodeEvent::Packet(wire, Packet::Command(args)) => {
                let Some(&id) = self.by_wire.get(&wire) else { return };
                if let Some(client) = self.clients.get_mut(&id) {
                    client.queue.push_back(args);
                    self.feed(id);
                }
            }
            NodeEvent::Packet(_, Packet::Hello(_) | Packet::Reply(_))
            | NodeEvent::Peer(_)
            | NodeEvent::Request(..) => {}
            NodeEvent::Closed(wire) => {
                if let Some(id) = self.by_wire.remove(&wire)
                    && self.clients.remove(&id).is_some()
                {
                    self.world.close(wire, self.lane());
                    self.handle(Input::Disconnected(id));
                    self.world.hung_up(wire);
                }
            }
            NodeEvent::Stop => {
                self.world.tell(self.lane(), Kind::Notice, 1, || "is asked to stop".to_owned());
                self.world.stopping(self.id);
                self.handle(Input::Stop);
            }
        }
    }

    /// Hands in what the client has sent, as far as the shard takes it.
    fn feed(&mut self, id: ClientId) {
        while self.shard.accepts(id) {
            let Some(client) = self.clients.get_mut(&id) else { return };
            let Some(args) = client.queue.pop_front() else { return };
            let slices = args.as_slices();
            self.world.tell(self.lane(), Kind::Call, (id, &slices), || {
                format!("{id} asks {}", words(&slices))
            });
            self.handle(Input::Command(id, &slices));
        }
    }

    fn on_answers(&mut self) {
        let now_ns = self.world.now_ns();
        while let Some(answer) = self.disk.with(self.node, |disk| disk.answer(now_ns)) {
            let Answer { io, op, result, struck } = answer;
            if let Some(strike) = struck {
                self.world.struck(self.id, strike, &op);
            }
            let full = result == Err(DiskError::Full);
            // A file that is not there is no fault.
            if full || matches!(result, Err(DiskError::Io(_))) {
                self.world.note_strike(self.id, full);
            }
            if full {
                self.world.met(|windows| windows.meet_full(self.id));
            }
            self.world.tell(self.lane(), Kind::DiskDone, (io, &result), || {
                format!("{} {}: {}", describe::io(io), describe::op(&op), describe::result(&result))
            });
            self.handle(Input::Disk(io, result));
        }
    }

    fn on_deadline(&mut self) {
        let due = self.shard.deadline();
        if let Some((at, reason)) = due
            && self.world.until(self.id, at) == 0
        {
            self.world.tell(self.lane(), Kind::Tick, at, || format!("{reason:?} is due"));
            self.handle(Input::Tick);
        }
    }

    fn drain(&mut self) {
        let mut turns = 0;
        while let Some(output) = self.shard.poll() {
            turns += 1;
            if turns > OUTPUTS_MAX {
                let text = format!("n{} gives outputs without end", self.id);
                self.world.violation("bounded", text);
                self.ended = true;
                return;
            }
            self.on_output(output);
        }
        self.observe();
    }

    fn on_output(&mut self, output: Output) {
        let lane = self.lane();
        match output {
            Output::Disk(io, op) => self.submit(io, op),
            Output::Reply(client, _, mut reply) => {
                self.spoil(&mut reply);
                self.world.tell(lane, Kind::Call, (client, &reply), || {
                    format!("{client} is told {}", crate::net::reply_text(&reply))
                });
                let swallowed =
                    self.world.spoilt == Some(Spoilt::Reply) && self.chance.below(200) == 0;
                if let Some(client) = self.clients.get(&client).filter(|_| !swallowed) {
                    self.world.send(client.wire, lane, Packet::Reply(reply));
                }
            }
            Output::Close(client) => {
                if let Some(client) = self.clients.get(&client) {
                    self.world.close(client.wire, lane);
                }
            }
            Output::Resume(client) => self.feed(client),
            Output::Opened => {
                self.world.tell(lane, Kind::Life, 2, || Life::Serves.to_string());
                self.world.serves(self.id, self.shard.glance().committed_clock);
            }
            Output::Refused(why) => {
                self.world.tell(lane, Kind::Life, &why, || format!("{}: {why}", Life::Crashes));
                self.world.see(Seen::Refused);
                self.world.refuse(self.id, why);
                self.end();
            }
            // After a refusal it is no clean stop.
            Output::Stopped if self.ended => {}
            Output::Stopped => {
                self.world.tell(lane, Kind::Life, 3, || {
                    format!("{}: everything is durable", Life::Stops)
                });
                self.world.stopped(self.id);
                self.end();
            }
            Output::Control(_) => unreachable!("the node stands alone"),
            Output::Notice(severity, text) => {
                let level = match severity {
                    Severity::Info => "info",
                    Severity::Warn => "warn",
                    Severity::Error => "error",
                };
                self.world.tell(lane, Kind::Notice, &text, || format!("{level}: {text}"));
            }
        }
    }

    /// Says what is not so, if that is wanted.
    fn spoil(&mut self, reply: &mut Reply) {
        if self.world.spoilt == Some(Spoilt::Alarm) && self.chance.below(200) == 0 {
            *reply = Reply::error("DISKFULL there is room enough");
        }
    }

    fn submit(&mut self, io: IoId, op: DiskOp) {
        self.world.tell(self.lane(), Kind::Disk, (io, &op), || {
            format!("{} {}", describe::io(io), describe::op(&op))
        });
        self.world.met(|windows| windows.meet_operation(self.id));
        let now_ns = self.world.now_ns();
        let flying_max = self.disk.with(self.node, |disk| {
            disk.submit(now_ns, io, op);
            disk.flying_max()
        });
        if flying_max > self.queue_max {
            self.queue_max = flying_max;
            if flying_max > FLYING_MAX {
                let text = format!("n{} has {flying_max} disk operations under way", self.id);
                self.world.violation("bounded", text);
            }
        }
    }

    /// The process ends by itself. The system closes its connections.
    fn end(&mut self) {
        self.ended = true;
        for client in std::mem::take(&mut self.clients).into_values() {
            self.world.close(client.wire, self.lane());
        }
        self.world.died(self.id, None);
    }

    fn observe(&mut self) {
        let glance = self.shard.glance();
        let now = self.handled_at;
        if let Some((clock, at)) = self.clock {
            // It follows the monotonic clock and is drawn toward the wall clock by an eighth at most.
            let passed_ms = now.since(at).as_millis() as u64;
            let slew_ms = passed_ms / 8 + 2;
            let due = clock.max((clock + passed_ms).saturating_sub(slew_ms));
            if glance.clock < due || glance.clock > clock + passed_ms + slew_ms {
                let text = format!(
                    "of n{} went from {clock} to {} in {passed_ms} ms",
                    self.id, glance.clock
                );
                self.world.violation("log clock", text);
            }
        }
        self.clock = self.world.is_serving(self.id).then_some((glance.clock, now));
        self.world.mark(self.shard.marks());
        self.world.observe(self.id, glance.clock, glance.committed_clock, glance.durable);
    }
}

/// What no seed decides, for the test that determinism is seen to be broken.
pub(crate) fn true_chance() -> u64 {
    let mut bytes = [0; 8];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.expect("the system has a source of chance");
    u64::from_le_bytes(bytes)
}

/// Most outputs of one turn.
const OUTPUTS_MAX: usize = 200_000;

/// Most disk operations under way at once: reads of clients, which are few here, and what each
/// partition needs for itself.
const FLYING_MAX: usize = 200;

/// The node's value cache: remembers all or nothing.
struct Cache {
    world: Arc<World>,
    id: u32,
    disk: Arc<DiskSim>,
    node: NodeId,
    on: bool,
    cached_percent: u64,
    values: BTreeMap<CacheKey, Value>,
    chance: Chance,
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

    fn warm(&self, _: &[u8]) {}

    fn stats(&self) -> CacheStats {
        CacheStats::default()
    }
}

/// Disk operations and their answers in one line.
pub(crate) mod describe {
    use kvnode_core::IoId;
    use kvnode_core::disk::{DiskDone, DiskOp, DiskResult};

    /// The upper part of the number is whose operation it is: a partition's, or the boot's.
    pub(crate) fn io(id: IoId) -> String {
        match (id.0 >> 48, id.0 & ((1 << 48) - 1)) {
            (0xffff, _) => "io boot".to_owned(),
            (partition, n) => format!("io p{partition}:{n}"),
        }
    }

    pub(crate) fn op(op: &DiskOp) -> String {
        match op {
            DiskOp::CreateDir(dir) => format!("make directory {dir}"),
            DiskOp::List(dir) => format!("list {dir}"),
            DiskOp::Create(file) => format!("create {file}"),
            DiskOp::Write { file, at, data } => {
                format!("write {file} {} bytes at {at}", data.len())
            }
            DiskOp::WriteZeros { file, at, len } => format!("write {file} {len} zeros at {at}"),
            DiskOp::Sync(file) => format!("fsync {file}"),
            DiskOp::Read { file, at, len } => format!("read {file} {len} bytes at {at}"),
            DiskOp::Truncate { file, len } => format!("cut {file} to {len} bytes"),
            DiskOp::Rename { from, to } => format!("rename {from} to {to}"),
            DiskOp::Delete(file) => format!("delete {file}"),
            DiskOp::DeleteNamed(dir, name) => format!("delete {dir}/{name}"),
            DiskOp::SyncDir(dir) => format!("fsync directory {dir}"),
        }
    }

    pub(crate) fn result(result: &DiskResult) -> String {
        match result {
            Ok(DiskDone::Done) => "done".to_owned(),
            Ok(DiskDone::Data(data)) => format!("{} bytes", data.len()),
            Ok(DiskDone::Listing(files)) => format!("{} names", files.len()),
            Err(error) => error.to_string(),
        }
    }
}
