//! A node's process: the real control, driven by what arrives, what the disk answers and what its
//! clock says. It decides nothing but, by chance, how many inputs it hands in before it drains.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use kvnode_core::control::{Config, Control, Input, Output, Trace};
use kvnode_core::disk::{DiskError, DiskOp};
use kvnode_core::peer;
use kvnode_core::shard::Severity;
use kvnode_core::{IoId, NodeId as Node};
use madsim::plugin::simulator;
use madsim::task::NodeId;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::describe;
use super::watch::Watch;
use crate::chance::{Chance, Purpose};
use crate::disk::{Answer, DiskSim};
use crate::lock;
use crate::marks::Seen;
use crate::node::{Mailboxes, NodeEvent, address};
use crate::run::Spoilt;
use crate::story::{Kind, Lane, Life};
use crate::world::World;

/// One life of a node: from start to stop, or until it is killed.
pub(crate) async fn live(world: Arc<World>, id: u32, mailboxes: Arc<Mailboxes>) {
    if world.is_late(id) {
        return;
    }
    let life = world.born(id);
    world.tell(Lane::Node(id), Kind::Life, life, || format!("{}: life {life}", Life::Starts));
    let (mailbox, inbox) = unbounded_channel();
    mailboxes.set(id, mailbox);
    lock(&world.tcp).listen(id);
    let mut process = Process::new(Arc::clone(&world), id, life, Arc::clone(&mailboxes));
    process.run(inbox).await;
    mailboxes.clear(id);
    world.hang_up(id);
}

struct Process {
    world: Arc<World>,
    mailboxes: Arc<Mailboxes>,
    disk: Arc<DiskSim>,
    machine: NodeId,
    id: u32,
    control: Control,
    chance: Chance,
    /// Effects that are not carried out yet.
    pending: VecDeque<Output>,
    ended: bool,
    serves: bool,
    queue_max: usize,
    /// When a timer was due last, in ns, and how often in that moment.
    ticks: (u64, usize),
}

impl Process {
    fn new(world: Arc<World>, id: u32, life: u64, mailboxes: Arc<Mailboxes>) -> Self {
        let mut chance = Chance::new(world.seed ^ life.rotate_left(40), Purpose::Node(id));
        if world.spoilt == Some(Spoilt::Chance) {
            chance = Chance::new(crate::node::true_chance(), Purpose::Node(id));
        }
        let settings = &world.settings.quorum;
        let nodes = (1..=world.settings.nodes).map(|id| (Node(id), address(id).to_string()));
        let config = Config {
            node: Node(id),
            nodes: nodes.collect(),
            client_address: address(id).to_string(),
            rack: None,
            founding: settings.founding,
            election: settings.election,
            links: settings.links.clone(),
            session_timeout: settings.session_timeout,
            segment_bytes: settings.segment_bytes,
            snapshot_every: settings.snapshot_every,
            seed: chance.any(),
        };
        let now = world.node_now(id);
        Self {
            control: Control::new(config, now),
            mailboxes,
            disk: simulator::<DiskSim>(),
            machine: madsim::plugin::node(),
            world,
            id,
            chance,
            pending: VecDeque::new(),
            ended: false,
            serves: false,
            queue_max: 0,
            ticks: (0, 0),
        }
    }

    async fn run(&mut self, mut inbox: UnboundedReceiver<NodeEvent>) {
        self.collect();
        self.drain();
        while !self.ended {
            let event = match self.wait_ns() {
                Some(0) => inbox.try_recv().ok(),
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
            self.on_deadline();
            self.drain();
        }
    }

    /// How long nothing but what arrives can need a turn.
    fn wait_ns(&self) -> Option<u64> {
        let deadline = self.control.deadline().map(|(at, _)| self.world.until(self.id, at));
        let now_ns = self.world.now_ns();
        let disk = self.disk.with(self.machine, |disk| disk.next_ns());
        deadline.into_iter().chain(disk.map(|at| at.saturating_sub(now_ns))).min()
    }

    fn lane(&self) -> Lane {
        Lane::Node(self.id)
    }

    fn handle(&mut self, input: Input) {
        if self.ended {
            return;
        }
        let now = self.world.node_now(self.id);
        self.control.handle(now, input);
        self.collect();
        if self.chance.percent(30) {
            self.drain();
        }
    }

    fn on_event(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Peer(input) => {
                if let peer::Input::Bytes(conn, bytes) = &input {
                    self.world.note((self.id, conn, bytes));
                    self.world.has_read(self.id, *conn, bytes.len());
                }
                self.handle(Input::Peer(input));
            }
            NodeEvent::Request(id, request) => self.handle(Input::Request(id, request)),
            NodeEvent::Stop => {
                self.world.tell(self.lane(), Kind::Notice, 1, || "is asked to stop".to_owned());
                self.world.stopping(self.id);
                lock(&self.world.watch).stopping(self.id);
                self.handle(Input::Stop);
            }
            NodeEvent::Opened(_) | NodeEvent::Packet(..) | NodeEvent::Closed(_) => {}
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
            if full || matches!(result, Err(DiskError::Io(_))) {
                self.world.note_strike(self.id, full);
            }
            if full {
                self.world.met(|windows| windows.meet_full(self.id));
            }
            self.world.tell(self.lane(), Kind::DiskDone, (io, &result), || {
                use crate::node::describe::{op as words, result as outcome};
                format!("{} {}: {}", describe::io(io), words(&op), outcome(&result))
            });
            self.handle(Input::Disk(io, result));
        }
    }

    fn on_deadline(&mut self) {
        if let Some((at, reason)) = self.control.deadline()
            && self.world.until(self.id, at) == 0
        {
            self.world.tell(self.lane(), Kind::Tick, at, || format!("{reason:?} is due"));
            self.handle(Input::Tick);
            let now_ns = self.world.now_ns();
            self.ticks = (now_ns, if self.ticks.0 == now_ns { self.ticks.1 + 1 } else { 0 });
            if self.ticks.1 > TICKS_MAX {
                let text = format!("n{} is due without end, for {reason:?}", self.id);
                self.world.violation("bounded", text);
                self.end();
            }
        }
    }

    /// Takes the effects, and lets the checkers see what happened, in its order.
    fn collect(&mut self) {
        let mut turns = 0;
        while let Some(output) = self.control.poll() {
            turns += 1;
            if turns > OUTPUTS_MAX {
                let text = format!("n{} gives {turns} outputs in a turn", self.id);
                self.world.violation("bounded", text);
                self.ended = true;
                return;
            }
            if let Output::Trace(trace) = output {
                self.on_trace(trace);
            } else {
                self.pending.push_back(output);
            }
        }
        self.look();
    }

    /// The checkers look at what has become of the node.
    fn look(&mut self) {
        let mono = self.world.node_now(self.id).mono;
        let found = lock(&self.world.watch).look(self.id, mono, &self.control);
        self.world.found(found);
        self.world.mark(self.control.marks());
        if let Some(raft) = self.control.raft()
            && !self.serves
        {
            self.serves = true;
            lock(&self.world.atlas).knows(self.id, raft.me());
            self.world.serves(self.id, 0);
            self.world.tell(self.lane(), Kind::Life, 2, || format!("{}: a member", Life::Serves));
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.pending.pop_front() {
            self.on_output(output);
        }
    }

    fn on_output(&mut self, output: Output) {
        let lane = self.lane();
        match output {
            Output::Disk(io, op) => self.submit(io, op),
            Output::Peer(output) => {
                if let peer::Output::Write(conn, bytes) = &output {
                    self.world.note((self.id, conn, bytes));
                }
                self.world.on_peer_output(&self.mailboxes, self.id, output);
            }
            Output::View(view) => {
                self.world.note((self.id, view.quorum.term, view.quorum.applied));
            }
            Output::Reply(id, result) => {
                if result.is_ok() {
                    self.world.injected(crate::plan::Class::Ask);
                }
                let text = match result {
                    Ok(()) => "done".to_owned(),
                    Err(error) => error.to_string(),
                };
                self.world
                    .tell(lane, Kind::Call, (id, &text), || format!("answers {}: {text}", id.0));
            }
            Output::NotController(id, controller) => {
                self.world.tell(lane, Kind::Call, (id, controller), || {
                    format!("is not the controller, for {}", id.0)
                });
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
            Output::Trace(_) => unreachable!("it was collected"),
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

    fn on_trace(&mut self, trace: Trace) {
        let (world, lane) = (&self.world, self.lane());
        match trace {
            Trace::Became(role, term, leader) => {
                world.tell(lane, Kind::Role, (role, term, leader), || {
                    let leader = leader.map(|id| format!(", led by {id}")).unwrap_or_default();
                    format!("{role:?} in {term}{leader}")
                });
            }
            Trace::Applied(entry) => {
                world.tell(lane, Kind::Role, (entry.index, entry.term), || {
                    format!("applies {}", describe::entry(&entry))
                });
                let found = lock(&world.watch).applied(self.id, &entry);
                world.found(found);
            }
            Trace::Restored(index) => {
                world.tell(lane, Kind::Role, index, || format!("begins from the map at {index}"));
            }
            Trace::Ignored(from, what, why) => {
                world.tell(lane, Kind::Notice, (from, what, why), || {
                    format!("ignores {what} of {from}: {why}")
                });
                world.found(Watch::ignored(self.id, what, why));
            }
            Trace::Sent(to, message, sent) => {
                let words =
                    if sent && world.keeps() { describe::message(&message) } else { String::new() };
                let (number, found) = lock(&world.watch).sent(self.id, to.0, message, sent);
                world.found(found);
                if sent {
                    let end = (number, Lane::Node(to.0));
                    world.tell_message(lane, Kind::Send, end, (), || words);
                }
            }
            Trace::Received(from, message) => {
                let now = world.node_now(self.id).mono;
                let (number, found) = lock(&world.watch).received(self.id, from, &message, now);
                world.found(found);
                let end = (number, Lane::Node(from.node.0));
                world.tell_message(lane, Kind::Receive, end, (), || describe::message(&message));
            }
            Trace::BeganAgain => {
                world.tell(lane, Kind::Role, 9, || "begins again from its store".to_owned());
                self.serves = false;
            }
        }
    }

    fn submit(&mut self, io: IoId, op: DiskOp) {
        if !matches!(io.0 >> 48, 0xfffe | 0xfffd) {
            let text = format!("n{}'s control asks its disk under a shard's number", self.id);
            self.world.violation("bounded", text);
        }
        self.world.tell(self.lane(), Kind::Disk, (io, &op), || {
            format!("{} {}", describe::io(io), crate::node::describe::op(&op))
        });
        self.world.met(|windows| windows.meet_operation(self.id));
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

    /// The process ends by itself. The system closes its connections.
    fn end(&mut self) {
        self.ended = true;
        self.world.died(self.id, None);
    }
}

/// Most outputs of one turn.
const OUTPUTS_MAX: usize = 20_000;

/// Most timers that are due in one moment.
const TICKS_MAX: usize = 1_000;

/// Most disk operations under way at once.
const FLYING_MAX: usize = 100;
