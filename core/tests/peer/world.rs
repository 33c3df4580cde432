//! Three nodes in virtual time, between which connections break in every way.
//!
//! The world has connections with a delay, cuts what is written into pieces of any size, and breaks
//! things: it resets connections, lets them fall silent without an end, flips a byte, holds up what
//! is written, kills a process and starts it again. Every node sends numbered messages all the time.
//! Judged are what a link promises (whole, in order, at most once, from whom it says; `Up` and
//! `Down` in turn) and that everything goes through again once nothing breaks any more.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kvnode_core::peer::frame::Channel;
use kvnode_core::peer::{ConnId, DialError, Input, Links, Nonce, Output, Settings};
use kvnode_core::{Instant, NodeId, Now};
use proptest::prelude::*;

use crate::bench::identity;

const NODES: u32 = 3;
const DELAY: Duration = Duration::from_millis(1);
/// How often each node sends to every other.
const EVERY: Duration = Duration::from_millis(20);
/// After the last fault every link is up within the silence after which one is given up, the time
/// that a dial takes and the longest wait before the next.
const HEALED: Duration = Duration::from_secs(4);

/// Events of one stretch of time; more are a livelock.
const STEPS_MAX: u32 = 300_000;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The connections between two nodes end.
    Reset(u32, u32),
    /// What is on them now and later never arrives, and nobody is told.
    Silence(u32, u32),
    /// The next bytes on them are damaged.
    Flip(u32, u32),
    /// The process dies: its connections end.
    Kill(u32),
    /// The machine vanishes: its connections do not end.
    Vanish(u32),
    /// It comes back as another process.
    Start(u32),
    /// One that runs is started again, and its old connections end a little later.
    Restart(u32),
    /// Dials from one to the other lead nowhere, or work again.
    Block(u32, u32, bool),
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    node: u32,
    life: u64,
    conn: ConnId,
}

#[derive(Debug)]
enum Event {
    Connect { dialler: End, to: u32 },
    Input(End, Input),
    Send(u32, u64),
}

struct Wire {
    other: End,
    silent: bool,
    flip: bool,
}

struct Node {
    life: u64,
    links: Option<Links>,
    /// The next message for each other node.
    next: BTreeMap<u32, u64>,
    /// The last message from each process, which only grows.
    last: BTreeMap<(u32, u64), u64>,
    /// Messages from each node.
    received: BTreeMap<u32, u64>,
    up: BTreeMap<u32, Nonce>,
}

struct World {
    now: Now,
    seed: u64,
    accepted: u64,
    serial: u64,
    queue: BTreeMap<(Instant, u64), Event>,
    nodes: BTreeMap<u32, Node>,
    wires: BTreeMap<End, Wire>,
    blocked: BTreeMap<(u32, u32), bool>,
    ups: u64,
    downs: u64,
}

fn address(id: u32) -> String {
    format!("h{id}:7")
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            now: Now { mono: Instant(1), wall_us: 0 },
            seed,
            accepted: 0,
            serial: 0,
            queue: BTreeMap::new(),
            nodes: BTreeMap::new(),
            wires: BTreeMap::new(),
            blocked: BTreeMap::new(),
            ups: 0,
            downs: 0,
        };
        for id in 1..=NODES {
            let node = Node {
                life: 0,
                links: None,
                next: BTreeMap::new(),
                last: BTreeMap::new(),
                received: BTreeMap::new(),
                up: BTreeMap::new(),
            };
            world.nodes.insert(id, node);
            world.start(id);
        }
        world
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed =
            self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.seed >> 33) % below
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.serial += 1;
        self.queue.insert((self.now.mono.after(delay), self.serial), event);
    }

    fn start(&mut self, id: u32) {
        let seed = self.random(u64::MAX);
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        if node.links.is_some() {
            return;
        }
        node.life += 1;
        let life = node.life;
        let me = identity(id, u64::from(id) << 32 | life);
        let peers = (1..=NODES).map(|peer| (NodeId(peer), address(peer)));
        node.links = Some(Links::new(me, peers, Settings::default(), now, seed));
        self.after(EVERY, Event::Send(id, life));
    }

    fn stop(&mut self, id: u32, told_after: Option<Duration>) {
        self.nodes.get_mut(&id).unwrap().links = None;
        self.nodes.get_mut(&id).unwrap().up.clear();
        let ends: Vec<_> = self.wires.keys().filter(|end| end.node == id).copied().collect();
        for end in ends {
            let wire = self.wires.remove(&end).unwrap();
            if let Some(delay) = told_after
                && !wire.silent
            {
                self.after(delay, Event::Input(wire.other, Input::Closed(wire.other.conn)));
            }
        }
    }

    fn strike(&mut self, fault: Fault) {
        let between = |world: &Self, a: u32, b: u32| -> Vec<End> {
            let wires = world.wires.iter();
            wires
                .filter(|(end, wire)| (end.node, wire.other.node) == (a, b))
                .map(|(&end, _)| end)
                .collect()
        };
        match fault {
            Fault::Reset(a, b) => {
                for end in between(self, a, b).into_iter().chain(between(self, b, a)) {
                    let delay = Duration::from_micros(self.random(2_000));
                    let silent = self.wires[&end].silent;
                    if !silent {
                        self.after(delay, Event::Input(end, Input::Closed(end.conn)));
                    }
                }
            }
            Fault::Silence(a, b) => {
                for end in between(self, a, b).into_iter().chain(between(self, b, a)) {
                    self.wires.get_mut(&end).unwrap().silent = true;
                }
            }
            Fault::Flip(a, b) => {
                for end in between(self, a, b) {
                    self.wires.get_mut(&end).unwrap().flip = true;
                }
            }
            Fault::Kill(id) => self.stop(id, Some(DELAY)),
            Fault::Vanish(id) => self.stop(id, None),
            Fault::Start(id) => self.start(id),
            Fault::Restart(id) => {
                self.stop(id, Some(Duration::from_millis(30)));
                self.start(id);
            }
            Fault::Block(a, b, blocked) => {
                self.blocked.insert((a, b), blocked);
            }
        }
    }

    fn heal(&mut self) {
        self.blocked.clear();
        for id in 1..=NODES {
            self.start(id);
        }
    }

    fn input(&mut self, id: u32, input: Input) {
        let now = self.now;
        if let Some(links) = &mut self.nodes.get_mut(&id).unwrap().links {
            links.handle(now, input);
            self.drain(id);
        }
    }

    fn drain(&mut self, id: u32) {
        let life = self.nodes[&id].life;
        while let Some(links) = &mut self.nodes.get_mut(&id).unwrap().links
            && let Some(output) = links.poll()
        {
            self.perform(id, life, output);
        }
    }

    fn perform(&mut self, id: u32, life: u64, output: Output) {
        match output {
            Output::Dial(conn, to, address_of) => {
                assert_eq!(address_of, address(to.0));
                let dialler = End { node: id, life, conn };
                self.after(DELAY, Event::Connect { dialler, to: to.0 });
            }
            Output::Write(conn, bytes) => self.write(End { node: id, life, conn }, bytes),
            Output::Close(conn) => {
                let end = End { node: id, life, conn };
                if let Some(wire) = self.wires.remove(&end)
                    && !wire.silent
                {
                    // Behind everything written.
                    let told = Event::Input(wire.other, Input::Closed(wire.other.conn));
                    self.after(2 * DELAY, told);
                }
            }
            Output::Received { from, channel, body } => {
                assert_eq!(channel, Channel::Control);
                let text = String::from_utf8(body.to_vec()).expect("no damaged body");
                let parts: Vec<u64> = text.split(' ').map(|part| part.parse().unwrap()).collect();
                let [sender, life, to, number] = parts[..] else { panic!("{text}") };
                assert_eq!((u64::from(from.node.0), to), (sender, u64::from(id)), "{text}");
                let node = self.nodes.get_mut(&id).unwrap();
                let last = node.last.insert((from.node.0, life), number);
                assert!(last < Some(number), "in order and once: {last:?} before {text}");
                *node.received.entry(from.node.0).or_default() += 1;
            }
            Output::Up(member, nonce) => {
                self.ups += 1;
                let before = self.nodes.get_mut(&id).unwrap().up.insert(member.node.0, nonce);
                assert_eq!(before, None, "{member} was up already");
            }
            Output::Down(member, _) => {
                self.downs += 1;
                let before = self.nodes.get_mut(&id).unwrap().up.remove(&member.node.0);
                assert!(before.is_some(), "{member} was not up");
            }
            Output::Missed(..)
            | Output::Rejected(..)
            | Output::Unreachable(..)
            | Output::Notice(..) => {}
        }
    }

    fn write(&mut self, end: End, bytes: Bytes) {
        let Some(wire) = self.wires.get_mut(&end) else { return };
        let (other, silent) = (wire.other, wire.silent);
        let flip = !silent && std::mem::take(&mut wire.flip);
        self.after(Duration::ZERO, Event::Input(end, Input::Sent(end.conn, bytes.len())));
        if silent {
            return;
        }
        let mut bytes = bytes.to_vec();
        if flip {
            let at = self.random(bytes.len() as u64) as usize;
            bytes[at] ^= 1 + self.random(255) as u8;
        }
        let cut = self.random(bytes.len() as u64 + 1) as usize;
        for piece in [&bytes[..cut], &bytes[cut..]] {
            let piece = Bytes::copy_from_slice(piece);
            self.after(DELAY, Event::Input(other, Input::Bytes(other.conn, piece)));
        }
    }

    fn connect(&mut self, dialler: End, to: u32) {
        if self.blocked.get(&(dialler.node, to)).copied().unwrap_or_default() {
            return;
        }
        let conn = dialler.conn;
        let Some(life) = self.nodes[&to].links.is_some().then_some(self.nodes[&to].life) else {
            let failed = Input::DialFailed { conn, error: DialError::Refused };
            return self.after(DELAY, Event::Input(dialler, failed));
        };
        self.accepted += 1;
        let acceptor = End { node: to, life, conn: ConnId::Accepted(self.accepted) };
        let wire = |other| Wire { other, silent: false, flip: false };
        self.wires.insert(dialler, wire(acceptor));
        self.wires.insert(acceptor, wire(dialler));
        self.after(DELAY, Event::Input(dialler, Input::Dialled(conn)));
        self.input(to, Input::Accepted(acceptor.conn));
    }

    fn send(&mut self, id: u32, life: u64) {
        if self.nodes[&id].life != life || self.nodes[&id].links.is_none() {
            return;
        }
        for to in (1..=NODES).filter(|&to| to != id) {
            let now = self.now;
            let node = self.nodes.get_mut(&id).unwrap();
            let number = node.next.entry(to).or_default();
            *number += 1;
            let body = format!("{id} {life} {to} {number}").into();
            let links = node.links.as_mut().unwrap();
            let sent = links.send(now, NodeId(to), Channel::Control, body);
            assert_eq!(sent.is_ok(), links.is_up(NodeId(to)), "the queue is never full here");
        }
        self.drain(id);
        self.after(EVERY, Event::Send(id, life));
    }

    /// Runs until `until`.
    fn run(&mut self, until: Instant) {
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < STEPS_MAX, "busy without end at {:?}", self.now.mono);
            let next = self.queue.first_key_value().map(|(&(at, _), _)| at);
            let due = self.nodes.values().filter_map(|node| node.links.as_ref()?.deadline());
            let due = due.map(|(at, _)| at).min();
            let Some(at) = next.into_iter().chain(due).min().filter(|&at| at <= until) else {
                self.now.mono = until;
                return;
            };
            self.now.mono = self.now.mono.max(at);
            if next.is_some_and(|next| next <= self.now.mono) {
                let (_, event) = self.queue.pop_first().unwrap();
                self.happen(event);
                continue;
            }
            for id in 1..=NODES {
                let due = self.nodes[&id].links.as_ref().and_then(Links::deadline);
                if due.is_some_and(|(at, _)| at <= self.now.mono) {
                    self.input(id, Input::Tick);
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Connect { dialler, to } => {
                if self.nodes[&dialler.node].life == dialler.life {
                    self.connect(dialler, to);
                }
            }
            Event::Input(end, input) => {
                if self.nodes[&end.node].life != end.life {
                    return;
                }
                if let Input::Closed(_) = input {
                    self.wires.remove(&end);
                } else if let Input::Bytes(..) = input
                    && self.wires.get(&end).is_none_or(|wire| wire.silent)
                {
                    return;
                }
                self.input(end.node, input);
            }
            Event::Send(id, life) => self.send(id, life),
        }
    }

    fn run_for(&mut self, time: Duration) {
        self.run(self.now.mono.after(time));
    }

    /// Every node is up for every other, and messages go through.
    fn check_healthy(&mut self) {
        for node in self.nodes.values_mut() {
            node.received.clear();
        }
        self.run_for(Duration::from_secs(1));
        for (id, node) in &self.nodes {
            for other in (1..=NODES).filter(|other| other != id) {
                let lives = u64::from(other) << 32 | self.nodes[&other].life;
                assert_eq!(node.up.get(&other), Some(&Nonce(lives)), "n{id} to n{other}");
                let received = node.received.get(&other).copied().unwrap_or_default();
                assert!(received >= 48, "n{id} has {received} messages of n{other}");
            }
        }
    }
}

fn node() -> impl Strategy<Value = u32> {
    1..=NODES
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => (node(), node()).prop_map(|(a, b)| Fault::Reset(a, b)),
        3 => (node(), node()).prop_map(|(a, b)| Fault::Silence(a, b)),
        3 => (node(), node()).prop_map(|(a, b)| Fault::Flip(a, b)),
        2 => node().prop_map(Fault::Kill),
        1 => node().prop_map(Fault::Vanish),
        3 => node().prop_map(Fault::Start),
        2 => node().prop_map(Fault::Restart),
        1 => (node(), node(), any::<bool>()).prop_map(|(a, b, on)| Fault::Block(a, b, on)),
    ]
}

#[test]
fn three_nodes_are_linked_within_milliseconds() {
    let mut world = World::new(1);
    world.run_for(Duration::from_millis(10));
    assert_eq!((world.ups, world.downs), (6, 0));
    world.check_healthy();
}

#[test]
fn a_killed_process_is_noticed_in_milliseconds_by_all() {
    let mut world = World::new(1);
    world.run_for(Duration::from_secs(2));
    world.strike(Fault::Kill(2));
    world.run_for(Duration::from_millis(5));
    for id in [1, 3] {
        let links = world.nodes[&id].links.as_ref().unwrap();
        let status = links.status().find(|status| status.node == NodeId(2)).unwrap();
        assert_eq!(status.last_error.unwrap(), "connection refused", "n{id}");
    }
}

#[test]
fn a_half_open_connection_is_noticed_within_the_silence_allowed() {
    let mut world = World::new(1);
    world.run_for(Duration::from_secs(2));
    world.strike(Fault::Vanish(2));
    let allowed = Settings::default().silent_max;
    world.run_for(allowed + 2 * DELAY);
    for id in [1, 3] {
        assert!(!world.nodes[&id].up.contains_key(&2), "n{id}");
    }
    assert_eq!(world.downs, 2);
}

#[test]
fn a_restart_whose_old_connections_did_not_end_is_linked_within_the_silence_allowed() {
    let mut world = World::new(1);
    world.run_for(Duration::from_secs(2));
    world.strike(Fault::Restart(2));
    world.run_for(Settings::default().silent_max);
    assert_eq!(world.nodes[&1].up[&2], Nonce(2 << 32 | 2));
    world.check_healthy();
}

#[test]
fn a_quiet_world_has_no_breaks() {
    let mut world = World::new(5);
    world.run_for(Duration::from_secs(120));
    assert_eq!((world.ups, world.downs), (6, 0));
}

proptest! {
    #[test]
    fn messages_go_through_again_after_any_sequence_of_breaks(
        seed: u64,
        faults in prop::collection::vec((fault(), 0u64..1_500_000), 0..30),
    ) {
        let mut world = World::new(seed);
        for (fault, after_us) in faults {
            world.run_for(Duration::from_micros(after_us));
            world.strike(fault);
        }
        world.heal();
        world.run_for(HEALED);
        world.check_healthy();
    }
}
