//! One life of a node: its machines, driven in one task by what arrives, what the disk answers and what
//! the clock says.
//!
//! A node has a control, a shard, or both. This is the simulator's counterpart of the tokio driver, and
//! as thin: it decides nothing but, by chance, how many inputs it hands in before it drains the outputs,
//! which the contract leaves open. What the machines say to each other goes by way of [`super::hops`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kvnode_core::control::{self, Control};
use kvnode_core::disk::{DiskError, DiskOp};
use kvnode_core::node::{Parcel, ToControl};
use kvnode_core::peer;
use kvnode_core::server;
use kvnode_core::shard::FsyncMode;
use kvnode_core::shard::{self, Severity, Shard};
use kvnode_core::{ClientId, Instant, IoId, NodeId as Node};
use madsim::plugin::simulator;
use madsim::task::NodeId;
use tokio::sync::mpsc::UnboundedReceiver;

use super::cache::Cache;
use super::clients::Client;
use super::hops::{ForShard, Hop};
use super::{Mailboxes, NodeEvent, address, describe};
use crate::chance::{Chance, Purpose};
use crate::disk::{Answer, DiskSim};
use crate::lock;
use crate::net::WireId;
use crate::run::Spoilt;
use crate::story::{Kind, Lane};
use crate::world::World;

/// See the module's header.
pub(super) struct Process {
    pub(super) world: Arc<World>,
    pub(super) mailboxes: Arc<Mailboxes>,
    pub(super) disk: Arc<DiskSim>,
    pub(super) machine: NodeId,
    pub(super) id: u32,
    pub(super) control: Option<Control>,
    pub(super) shard: Option<Shard>,
    pub(super) chance: Chance,
    /// Effects of control that are not carried out yet.
    pub(super) pending: VecDeque<control::Output>,
    pub(super) to_shard: Hop<ForShard>,
    pub(super) to_control: Hop<control::Input>,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) by_wire: BTreeMap<WireId, ClientId>,
    pub(super) next_client: u64,
    pub(super) ended: bool,
    /// Control has become a member.
    pub(super) is_member: bool,
    /// The log clock as of the last turn, and when that was by the monotonic clock; only while it
    /// serves, since what an opening finds raises it, or has led, since a node that never did may set it
    /// right.
    pub(super) clock: Option<(u64, Instant)>,
    /// When the shard was last handed something: its clock stands until then.
    pub(super) handled_at: Instant,
    queue_max: usize,
    /// When a timer was due last, in ns, and how often in that moment.
    ticks: (u64, usize),
    /// Messages of other replicas that come late, and when, in ns.
    pub(super) strays: BTreeMap<u64, Parcel>,
    /// When the machines are due, as long as they have not been asked for anything since they said so.
    due_control: Option<Due<control::Reason>>,
    due_shard: Option<Due<shard::Reason>>,
    /// What the shard was handed, it has not been asked for the outcome of yet.
    undrained: bool,
}

/// When a machine has to be handed a tick, and why.
type Due<R> = Option<(Instant, R)>;

impl Process {
    pub(super) fn new(world: Arc<World>, id: u32, life: u64, mailboxes: Arc<Mailboxes>) -> Self {
        let (machine, disk) = (madsim::plugin::node(), simulator::<DiskSim>());
        let mut chance = Chance::new(world.seed ^ life.rotate_left(40), Purpose::Node(id));
        if world.spoilt == Some(Spoilt::Chance) {
            chance = Chance::new(true_chance(), Purpose::Node(id));
        }
        let (profile, now) = (world.settings.profile, world.node_now(id));
        let control = profile
            .has_control()
            .then(|| Control::new(control_config(&world, id, chance.any()), now));
        let shard = profile.has_shard().then(|| {
            let (seed, machine) = (chance.any(), machine);
            let cache = Cache::new(Arc::clone(&world), id, Arc::clone(&disk), machine, seed);
            Shard::new(shard_config(&world, life, chance.any(), cache), now)
        });
        Self {
            world,
            mailboxes,
            disk,
            machine,
            id,
            control,
            shard,
            chance,
            pending: VecDeque::new(),
            to_shard: Hop::new(),
            to_control: Hop::new(),
            clients: BTreeMap::new(),
            by_wire: BTreeMap::new(),
            next_client: 0,
            ended: false,
            is_member: false,
            clock: None,
            handled_at: Instant::default(),
            queue_max: 0,
            ticks: (0, 0),
            strays: BTreeMap::new(),
            due_control: None,
            due_shard: None,
            undrained: true,
        }
    }

    pub(super) async fn run(&mut self, mut inbox: UnboundedReceiver<NodeEvent>) {
        self.collect();
        self.drain();
        while !self.ended {
            let event = match self.wait_ns() {
                Some(0) if self.control.is_some() => inbox.try_recv().ok(),
                Some(ns) => {
                    let wait = Duration::from_nanos(ns);
                    madsim::time::timeout(wait, inbox.recv()).await.ok().flatten()
                }
                None => inbox.recv().await,
            };
            if let Some(event) = event {
                self.on_event(event);
            }
            while !self.ended
                && self.chance.percent(70)
                && let Ok(event) = inbox.try_recv()
            {
                self.on_event(event);
            }
            self.on_answers();
            self.on_strays();
            self.on_hops();
            self.on_deadlines();
            self.drain();
        }
    }

    /// How long nothing but what arrives can need a turn.
    fn wait_ns(&mut self) -> Option<u64> {
        let control = self.due_control().map(|(at, _)| at);
        let shard = self.due_shard().map(|(at, _)| at);
        let due = control.into_iter().chain(shard).min();
        let due = due.map(|at| self.world.until(self.id, at));
        let now_ns = self.world.now_ns();
        let disk = self.disk.with(self.machine, |disk| disk.next_ns());
        let stray = self.strays.keys().next().copied();
        let others = disk.into_iter().chain(stray).chain(self.hops_ns());
        due.into_iter().chain(others.map(|at| at.saturating_sub(now_ns))).min()
    }

    fn due_control(&mut self) -> Due<control::Reason> {
        let control = self.control.as_ref()?;
        *self.due_control.get_or_insert_with(|| control.deadline())
    }

    fn due_shard(&mut self) -> Due<shard::Reason> {
        let shard = self.shard.as_ref()?;
        *self.due_shard.get_or_insert_with(|| shard.deadline())
    }

    pub(super) fn lane(&self) -> Lane {
        Lane::Node(self.id)
    }

    /// Hands something to the shard.
    pub(super) fn hand_shard(&mut self, input: shard::Input<'_>) {
        let Some(shard) = &mut self.shard else { return };
        let now = self.world.node_now(self.id);
        self.handled_at = now.mono;
        shard.handle(now, input);
        (self.due_shard, self.undrained) = (None, true);
        if self.chance.percent(30) {
            self.drain();
        }
    }

    /// Hands something to control.
    pub(super) fn hand_control(&mut self, input: control::Input) {
        if self.ended {
            return;
        }
        let Some(control) = &mut self.control else { return };
        control.handle(self.world.node_now(self.id), input);
        self.due_control = None;
        self.collect();
        if self.chance.percent(30) {
            self.drain();
        }
    }

    fn on_event(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Opened(wire) => self.on_opened(wire),
            NodeEvent::Packet(wire, packet) => self.on_packet(wire, packet),
            NodeEvent::Closed(wire) => self.on_closed(wire),
            NodeEvent::Peer(input) => {
                if let peer::Input::Bytes(conn, bytes) = &input {
                    self.world.note((self.id, conn, bytes));
                    self.world.has_read(self.id, *conn, bytes.len());
                }
                self.hand_control(control::Input::Peer(input));
            }
            NodeEvent::Stray(parcel) => self.on_stray(parcel),
            NodeEvent::Request(client, request) => {
                lock(&self.world.watch).asks(client, &request);
                let asked = ToControl::Request(client, request);
                self.tell_control(control::Input::Shard(asked));
            }
            NodeEvent::Stop => {
                self.world.tell(self.lane(), Kind::Notice, 1, || "is asked to stop".to_owned());
                self.world.stopping(self.id);
                // What is led is handed over before the shard stops.
                if self.control.is_some() {
                    lock(&self.world.watch).stopping(self.id);
                    self.tell_control(control::Input::Stop);
                } else {
                    self.hand_shard(shard::Input::Stop);
                }
            }
        }
    }

    fn on_answers(&mut self) {
        let now_ns = self.world.now_ns();
        while !self.ended
            && let Some(answer) = self.disk.with(self.machine, |disk| disk.answer(now_ns))
        {
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
            if !describe::is_of_control(io) {
                lock(&self.world.replicas).answered(self.id, io, result.is_ok());
            }
            if describe::is_of_control(io) {
                self.hand_control(control::Input::Disk(io, result));
            } else {
                self.hand_shard(shard::Input::Disk(io, result));
            }
        }
    }

    fn on_deadlines(&mut self) {
        if let Some((at, reason)) = self.due_control()
            && self.world.until(self.id, at) == 0
        {
            self.world.tell(self.lane(), Kind::Tick, at, || format!("{reason:?} is due"));
            self.hand_control(control::Input::Tick);
            self.count_tick(&reason);
        }
        if let Some((at, reason)) = self.due_shard()
            && self.world.until(self.id, at) == 0
        {
            self.world.tell(self.lane(), Kind::Tick, at, || format!("{reason:?} is due"));
            self.hand_shard(shard::Input::Tick);
            self.count_tick(&reason);
        }
    }

    /// Time has to pass between two deadlines, sooner or later.
    fn count_tick(&mut self, reason: &dyn std::fmt::Debug) {
        let now_ns = self.world.now_ns();
        self.ticks = (now_ns, if self.ticks.0 == now_ns { self.ticks.1 + 1 } else { 0 });
        if self.ticks.1 > TICKS_MAX {
            let text = format!("n{} is due without end, for {reason:?}", self.id);
            self.world.violation("bounded", text);
            self.ended = true;
        }
    }

    /// Carries out what the machines want, until they want nothing more.
    pub(super) fn drain(&mut self) {
        let mut turns = 0;
        while !self.ended {
            if let Some(output) = self.pending.pop_front() {
                self.on_control(output);
            } else if let Some(output) = self.shard.as_mut().and_then(Shard::poll) {
                self.on_shard(output);
            } else {
                break;
            }
            turns += 1;
            if turns > OUTPUTS_MAX {
                let text = format!("n{} gives outputs without end", self.id);
                self.world.violation("bounded", text);
                self.ended = true;
            }
        }
        // The shard goes on as it is polled.
        if std::mem::take(&mut self.undrained) {
            self.due_shard = None;
        }
        self.observe();
    }

    pub(super) fn submit(&mut self, io: IoId, op: DiskOp) {
        self.world.tell(self.lane(), Kind::Disk, (io, &op), || {
            format!("{} {}", describe::io(io), describe::op(&op))
        });
        self.world.met(|windows| windows.meet_operation(self.id));
        if self.world.settings.profile.has_control() && !describe::is_of_control(io) {
            let found = lock(&self.world.replicas).submits(self.id, io, &op);
            self.world.found(found);
        }
        let now_ns = self.world.now_ns();
        let flying_max = self.disk.with(self.machine, |disk| {
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

    pub(super) fn notice(&self, severity: Severity, text: &str) {
        let level = match severity {
            Severity::Info => "info",
            Severity::Warn => "warn",
            Severity::Error => "error",
        };
        self.world.tell(self.lane(), Kind::Notice, text, || format!("{level}: {text}"));
    }

    /// The process ends by itself. The system closes its connections.
    pub(super) fn end(&mut self) {
        self.ended = true;
        for client in std::mem::take(&mut self.clients).into_values() {
            self.world.close(client.wire, self.lane());
        }
        self.world.died(self.id, None);
    }
}

fn control_config(world: &World, id: u32, seed: u64) -> control::Config {
    let settings = &world.settings.quorum;
    let nodes = (1..=world.settings.nodes).map(|id| (Node(id), address(id).to_string()));
    control::Config {
        node: Node(id),
        nodes: nodes.collect(),
        client_address: address(id).to_string(),
        rack: None,
        founding: settings.founding,
        stated: control::Stated::default(),
        election: settings.election,
        links: settings.links.clone(),
        session_timeout: settings.session_timeout,
        balance_after: settings.balance_after,
        durable: world.settings.fsync == FsyncMode::Always,
        segment_bytes: settings.segment_bytes,
        snapshot_every: settings.snapshot_every,
        seed,
    }
}

fn shard_config(world: &World, life: u64, seed: u64, cache: Cache) -> shard::Config {
    let settings = &world.settings;
    let member = settings.profile.has_control();
    shard::Config {
        member,
        partitions: (!member).then_some(settings.partitions),
        replication: settings.replication,
        redirect: shard::Redirect::Forward,
        fsync: settings.fsync,
        index: settings.index,
        segment_bytes: settings.segment_bytes,
        zero_ahead_bytes: settings.zero_ahead_bytes,
        window_bytes: settings.window_bytes,
        merge: settings.merge,
        scrub: settings.scrub,
        server: server::Setup::default(),
        seed,
        port: 6379,
        process_id: life as u32,
        cache: Box::new(cache),
    }
}

/// What no seed decides, for the test that determinism is seen to be broken.
fn true_chance() -> u64 {
    let mut bytes = [0; 8];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.expect("the system has a source of chance");
    u64::from_le_bytes(bytes)
}

/// Most outputs of one turn.
const OUTPUTS_MAX: usize = 200_000;

/// Most timers that are due in one moment.
const TICKS_MAX: usize = 1_000;

/// Most disk operations under way at once: reads of clients, which are few here, and what each
/// partition needs for itself.
const FLYING_MAX: usize = 200;
