//! Breadth-first search over all states of a few replicas and the map above them.
//!
//! As in the search of the election: a state of one replica, a message, a map is kept once and known by
//! its number, so that a state of the whole is a handful of numbers; and what an event does to a replica
//! is computed once. The network is a set: messages come in any order, and each may be lost.

mod bounds;
mod check;

use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::panic::{AssertUnwindSafe, catch_unwind};

use foldhash::fast::FixedState;
use kvnode_core::cluster::{AlterPartition, Command, ElectLeader, Life, Map, Right};
use kvnode_core::replication::{Envelope, ReadWait};
use kvnode_core::{Epoch, Instant, NodeId};

use super::interned::{Interned, Table};
use super::node::{Event, Node, With, settings};
use super::replica::{P, Record, Replica, Role, brief, founded, registration, try_apply};

pub(crate) use bounds::{Bounds, Found, Left, Start};

/// A replica that asks so often is not looked at any further: messages may be lost for ever.
const ROUNDS_MAX: u32 = 6;

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    nodes: Vec<u32>,
    network: Vec<u32>,
    /// Proposals that may still reach a controller.
    alters: Vec<u32>,
    map: u32,
    committed: u32,
    read: Option<Waiting>,
    left: Left,
}

/// A read that waits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Waiting {
    at: usize,
    epoch: Epoch,
    beat: u64,
    /// Something was committed elsewhere before it was asked.
    missed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    At(usize, Event),
    Copy(usize, u32),
    Drop(u32),
    Elapse,
    Crash(usize),
    Lose(usize),
    Fence(usize),
    Unfence(usize),
    Elect(usize),
    Alter(u32),
}

type Letter = (NodeId, NodeId, Envelope);

#[derive(Clone)]
enum Step {
    Impossible,
    To { node: u32, sent: Vec<u32>, alters: Vec<u32>, wait: Option<ReadWait> },
    Wrong(String),
}

pub(crate) struct Search {
    bounds: Bounds,
    nodes: Interned<Node>,
    letters: Interned<Letter>,
    alters: Interned<AlterPartition>,
    maps: Interned<Map>,
    committed: Interned<Vec<Record>>,
    steps: Table<(u32, Event, u32), Step>,
    matching: Table<(u32, u32), bool>,
    seen: Table<u64, (u64, u32)>,
    actions: Vec<Action>,
    hasher: FixedState,
    sights: BTreeSet<&'static str>,
}

/// Looks at every state within the bounds, the nearest first.
pub(crate) fn search(bounds: Bounds) -> Found {
    let hasher = FixedState::with_seed(7);
    Search {
        bounds,
        nodes: Interned::new(),
        letters: Interned::new(),
        alters: Interned::new(),
        maps: Interned::new(),
        committed: Interned::new(),
        steps: Table::with_hasher(hasher.clone()),
        matching: Table::with_hasher(hasher.clone()),
        seen: Table::with_hasher(hasher.clone()),
        actions: Vec::new(),
        hasher,
        sights: BTreeSet::new(),
    }
    .run()
}

impl Search {
    fn run(mut self) -> Found {
        let (mut transitions, mut depth, mut complete) = (0, 0, true);
        let (mut violation, mut frontier) = (None, VecDeque::new());
        match self.start() {
            Ok(start) => {
                let hash = self.hasher.hash_one(&start);
                self.seen.insert(hash, (hash, 0));
                frontier.push_back((start, 0));
            }
            Err(why) => violation = Some((why, vec!["on the way to the start".into()])),
        }
        'search: while let Some((world, at)) = frontier.pop_front() {
            depth = at;
            let from = self.hasher.hash_one(&world);
            for action in self.actions(&world) {
                let next = match self.apply(&world, action) {
                    Ok(next) => next,
                    Err(why) => {
                        let mut way = self.way(from);
                        way.push(self.describe(action));
                        violation = Some((why, way));
                        break 'search;
                    }
                };
                let Some(next) = next else { continue };
                transitions += 1;
                let hash = self.hasher.hash_one(&next);
                if self.seen.contains_key(&hash) {
                    continue;
                }
                if self.seen.len() >= self.bounds.states_max {
                    complete = false;
                    break 'search;
                }
                self.actions.push(action);
                self.seen.insert(hash, (from, self.actions.len() as u32 - 1));
                frontier.push_back((next, at + 1));
            }
        }
        Found {
            states: self.seen.len(),
            steps: transitions,
            node_states: self.nodes.all.len(),
            depth,
            complete: complete && violation.is_none(),
            violation,
            sights: self.sights,
        }
    }

    fn start(&mut self) -> Result<World, String> {
        let map = founded(self.bounds.nodes, self.bounds.min_isr);
        let ids: Vec<NodeId> = (1..=self.bounds.nodes).map(NodeId).collect();
        let settings = settings(self.bounds.reads_by);
        let node = |&id: &NodeId| {
            let life = map.node(id).expect("it is registered").life();
            let mut replica = Replica::new(life, settings);
            replica.links = ids.iter().copied().filter(|&other| other != id).collect();
            Node { replica, now: Instant(10) }
        };
        let nodes = ids.iter().map(node).map(|node| self.nodes.number(node)).collect();
        let mut world = World {
            nodes,
            network: Vec::new(),
            alters: Vec::new(),
            map: self.maps.number(map),
            committed: self.committed.number(Vec::new()),
            read: None,
            left: Left {
                writes: 9,
                fences: 9,
                unfences: 9,
                elections: 9,
                crashes: 9,
                elapse: 9,
                ..Left::default()
            },
        };
        let messages = std::mem::replace(&mut self.bounds.messages, usize::MAX);
        let mut asleep = Vec::new();
        for step in self.bounds.start.clone() {
            world = self.start_step(world, step, &mut asleep)?;
        }
        self.bounds.messages = messages;
        world.left = self.bounds.left;
        Ok(world)
    }

    fn start_step(
        &mut self,
        mut world: World,
        step: Start,
        asleep: &mut Vec<usize>,
    ) -> Result<World, String> {
        let place = |id: u32| id as usize - 1;
        let leader = self.maps.get(world.map).partition(P).and_then(|p| p.leader);
        let leader = leader.map(|node| place(node.0));
        let act = |this: &mut Self, world: &World, action| {
            this.apply(world, action).map(|next| next.expect("it can happen"))
        };
        match step {
            Start::Settle => loop {
                let all = self.actions(&world).into_iter();
                let quiet = |action: &Action| match action {
                    Action::At(at, Event::Map | Event::Durable | Event::Cut) => {
                        !asleep.contains(at)
                    }
                    Action::At(at, Event::Deliver(_)) => !asleep.contains(at),
                    Action::Alter(_) => true,
                    Action::At(..)
                    | Action::Copy(..)
                    | Action::Drop(_)
                    | Action::Elapse
                    | Action::Crash(_)
                    | Action::Lose(_)
                    | Action::Fence(_)
                    | Action::Unfence(_)
                    | Action::Elect(_) => false,
                };
                let mut next = None;
                for action in all.filter(quiet) {
                    next = self.apply(&world, action)?;
                    if next.is_some() {
                        break;
                    }
                }
                let Some(next) = next else { return Ok(world) };
                world = next;
            },
            Start::WriteAlone | Start::Write => {
                let at = leader.expect("somebody leads");
                let payload = world.left.writes;
                world = act(self, &world, Action::At(at, Event::Write(payload)))?;
                if matches!(step, Start::WriteAlone) {
                    world.network.clear();
                    world = act(self, &world, Action::At(at, Event::Durable))?;
                }
                Ok(world)
            }
            Start::Wait => {
                for _ in 0..2 {
                    world = act(self, &world, Action::Elapse)?;
                }
                act(self, &world, Action::At(leader.expect("somebody leads"), Event::Tick))
            }
            Start::Fence(id) => act(self, &world, Action::Fence(place(id))),
            Start::Unfence(id) => act(self, &world, Action::Unfence(place(id))),
            Start::Elect(id) => {
                let world = act(self, &world, Action::Elect(place(id)))?;
                let mut world = act(self, &world, Action::At(place(id), Event::Map))?;
                world.network.clear();
                act(self, &world, Action::At(place(id), Event::Durable))
            }
            Start::Sleep(id) => {
                asleep.push(place(id));
                Ok(world)
            }
        }
    }

    /// What can happen.
    fn actions(&self, world: &World) -> Vec<Action> {
        let mut actions = Vec::new();
        let left = world.left;
        let map = self.maps.get(world.map);
        let entry = map.partition(P).expect("it is placed");
        for &letter in &world.network {
            let to = self.letters.get(letter).1.0 as usize - 1;
            actions.push(Action::At(to, Event::Deliver(letter)));
            // Who stays on its way is as good as lost, until others need the room.
            if world.network.len() + 2 > self.bounds.messages {
                actions.push(Action::Drop(letter));
            }
            if left.copies > 0 {
                actions.push(Action::Copy(to, letter));
            }
        }
        actions.extend(world.alters.iter().map(|&alter| Action::Alter(alter)));
        if left.elapse > 0 {
            actions.push(Action::Elapse);
        }
        for (at, &number) in world.nodes.iter().enumerate() {
            let node = &self.nodes.get(number).replica;
            actions.push(Action::At(at, Event::Map));
            actions.push(Action::At(at, Event::Durable));
            if node.cutting.is_some() {
                actions.push(Action::At(at, Event::Cut));
            }
            if self.bounds.left.elapse > 0 {
                actions.push(Action::At(at, Event::Tick));
            }
            if left.crashes > 0 {
                actions.push(Action::Crash(at));
            }
            let is_last = entry.isr.len() == 1 && entry.seat(node.id()).is_some();
            if left.losses > 0 && !is_last {
                actions.push(Action::Lose(at));
            }
            let active = map.is_active(node.life);
            if active && left.fences > 0 {
                actions.push(Action::Fence(at));
            }
            if !active && left.unfences > 0 {
                actions.push(Action::Unfence(at));
            }
            let is_electable = map.is_electable(entry, node.id());
            if left.elections > 0 && is_electable && entry.leader != Some(node.id()) {
                actions.push(Action::Elect(at));
            }
            if left.relinks > 0 {
                let others = (1..=self.bounds.nodes).map(NodeId).filter(|&id| id != node.id());
                actions.extend(others.map(|to| Action::At(at, Event::Relink(to))));
            }
            if node.leads().is_none() {
                continue;
            }
            if left.writes > 0 {
                actions.push(Action::At(at, Event::Write(left.writes)));
            }
            if left.reads > 0 && world.read.is_none() {
                actions.push(Action::At(at, Event::Read));
            }
            if left.late > 0 {
                actions.push(Action::At(at, Event::Late));
            }
            if left.refusals > 0 {
                actions.extend(world.alters.iter().map(|&a| Action::At(at, Event::Refused(a))));
            }
        }
        actions
    }

    /// The state after an action; none if it can not happen or leads out of bounds.
    fn apply(&mut self, world: &World, action: Action) -> Result<Option<World>, String> {
        let mut next = world.clone();
        match action {
            Action::Drop(letter) => {
                next.network.retain(|&other| other != letter);
                return Ok(Some(next));
            }
            Action::Copy(at, letter) => {
                next.left.copies -= 1;
                self.at(&mut next, at, Event::Deliver(letter))
            }
            Action::At(at, event) => {
                match event {
                    Event::Deliver(letter) => next.network.retain(|&other| other != letter),
                    Event::Write(_) => next.left.writes -= 1,
                    Event::Read => next.left.reads -= 1,
                    Event::Relink(_) => next.left.relinks -= 1,
                    Event::Refused(_) => next.left.refusals -= 1,
                    Event::Late => next.left.late -= 1,
                    Event::Map
                    | Event::Durable
                    | Event::Cut
                    | Event::Tick
                    | Event::Elapse
                    | Event::Crash(_)
                    | Event::Lose(_) => {}
                }
                self.at(&mut next, at, event)
            }
            Action::Elapse => {
                next.left.elapse -= 1;
                let mut all = Ok(Some(()));
                for at in 0..next.nodes.len() {
                    all = all.and(self.at(&mut next, at, Event::Elapse));
                }
                all
            }
            Action::Crash(at) => {
                next.left.crashes -= 1;
                let life = self.register(&mut next, at, true);
                self.at(&mut next, at, Event::Crash(life))
            }
            Action::Lose(at) => {
                next.left.losses -= 1;
                let life = self.register(&mut next, at, false);
                self.at(&mut next, at, Event::Lose(life))
            }
            Action::Fence(at) => {
                next.left.fences -= 1;
                let life = self.life(&next, at);
                Ok(self.command(&mut next, &Command::Fence(life)))
            }
            Action::Unfence(at) => {
                next.left.unfences -= 1;
                let life = self.life(&next, at);
                Ok(self.command(&mut next, &Command::Unfence(life)))
            }
            Action::Elect(at) => {
                next.left.elections -= 1;
                let entry = self.maps.get(next.map).partition(P).expect("it is placed");
                let elect = ElectLeader {
                    partition: P,
                    leader: self.life(&next, at),
                    partition_epoch: entry.partition_epoch,
                    above: Epoch(0),
                    right: Right::InSync,
                };
                Ok(self.command(&mut next, &Command::ElectLeader(elect)))
            }
            Action::Alter(number) => {
                let alter = self.alters.get(number).clone();
                Ok(self.command(&mut next, &Command::AlterPartition(alter)))
            }
        }
        .and_then(|can| if can.is_some() { self.check(world, next) } else { Ok(None) })
    }

    /// A new life of a replica.
    fn register(&mut self, world: &mut World, at: usize, clean: bool) -> Life {
        let node = NodeId(at as u32 + 1);
        let nonce = self.maps.get(world.map).applied().0 + 1;
        self.command(world, &Command::Register(registration(node, nonce, clean)));
        self.maps.get(world.map).node(node).expect("it is there").life()
    }

    fn life(&self, world: &World, at: usize) -> Life {
        self.nodes.get(world.nodes[at]).replica.life
    }

    /// Applies a command to the map. None if it is refused.
    fn command(&mut self, world: &mut World, command: &Command) -> Option<()> {
        let mut map = self.maps.get(world.map).clone();
        try_apply(&mut map, command).ok()?;
        let entry = map.partition(P).expect("it is placed");
        let version = entry.partition_epoch;
        let before = self.maps.get(world.map).partition(P).expect("it is placed");
        if entry.isr.len() > before.isr.len() {
            self.sights.insert("a replica enters");
        }
        if matches!(command, Command::AlterPartition(_)) && entry.isr.len() < before.isr.len() {
            self.sights.insert("a replica is left out");
        }
        world.alters.retain(|&alter| self.alters.get(alter).partition_epoch >= version);
        world.map = self.maps.number(map);
        Some(())
    }

    /// Lets something happen to one replica. None if it can not.
    fn at(&mut self, world: &mut World, at: usize, event: Event) -> Result<Option<()>, String> {
        match self.step(world.nodes[at], event, world.map) {
            Step::Impossible => Ok(None),
            Step::Wrong(why) => Err(why),
            Step::To { node, sent, alters, wait } => {
                world.nodes[at] = node;
                for letter in sent {
                    insert(&mut world.network, letter);
                }
                let entry = self.maps.get(world.map).partition(P).expect("it is placed");
                for alter in alters {
                    if self.alters.get(alter).partition_epoch >= entry.partition_epoch {
                        insert(&mut world.alters, alter);
                    }
                }
                match wait {
                    Some(wait) => self.on_read(world, at, wait).map(Some),
                    None => Ok(Some(())),
                }
            }
        }
    }

    fn on_read(&mut self, world: &mut World, at: usize, wait: ReadWait) -> Result<(), String> {
        let node = &self.nodes.get(world.nodes[at]).replica;
        let missed = node.watermark < self.committed.get(world.committed).len();
        let epoch = node.leads().expect("others do not read");
        match wait {
            ReadWait::Now if missed => return Err("a read misses what was committed".into()),
            ReadWait::Now => {
                self.sights.insert("a read at once");
            }
            ReadWait::Beat(beat) => world.read = Some(Waiting { at, epoch, beat, missed }),
        }
        Ok(())
    }

    fn step(&mut self, node: u32, event: Event, map: u32) -> Step {
        // Only what takes the map depends on it.
        let map = if matches!(event, Event::Map) { map } else { 0 };
        if let Some(step) = self.steps.get(&(node, event, map)) {
            return step.clone();
        }
        let mut after = self.nodes.get(node).clone();
        let letter = if let Event::Deliver(letter) = event { Some(letter) } else { None };
        let alter = if let Event::Refused(alter) = event { Some(alter) } else { None };
        let with = With {
            map: self.maps.get(map),
            letter: letter.map(|letter| {
                let (from, _, envelope) = self.letters.get(letter);
                (*from, envelope.clone())
            }),
            alter: alter.map(|alter| self.alters.get(alter).clone()),
        };
        let step = match catch_unwind(AssertUnwindSafe(|| after.step(event, with))) {
            Err(_) => Step::Wrong("an assertion failed".into()),
            Ok(None) => Step::Impossible,
            Ok(Some((effects, wait))) => match effects.violation {
                Some(why) => Step::Wrong(why),
                None => {
                    let me = after.replica.id();
                    let sent = effects.sent.into_iter();
                    Step::To {
                        sent: sent.map(|(to, e)| self.letters.number((me, to, e))).collect(),
                        alters: effects.alters.into_iter().map(|a| self.alters.number(a)).collect(),
                        node: self.nodes.number(after),
                        wait,
                    }
                }
            },
        };
        self.steps.insert((node, event, map), step.clone());
        step
    }

    fn way(&self, mut hash: u64) -> Vec<String> {
        let mut way = Vec::new();
        while let Some(&(before, action)) = self.seen.get(&hash)
            && before != hash
        {
            way.push(self.describe(self.actions[action as usize]));
            hash = before;
        }
        way.reverse();
        way
    }

    fn describe(&self, action: Action) -> String {
        let letter = |number: u32| {
            let (from, to, envelope) = self.letters.get(number);
            format!("{from} to {to} in {}: {}", envelope.epoch, brief(&envelope.message))
        };
        match action {
            Action::Drop(number) => format!("lost: {}", letter(number)),
            Action::Copy(_, number) => format!("comes, and may again: {}", letter(number)),
            Action::At(_, Event::Deliver(number)) => format!("comes: {}", letter(number)),
            Action::At(at, event) => format!("n{}: {event:?}", at + 1),
            Action::Alter(number) => format!("applied: {:?}", self.alters.get(number).isr),
            Action::Elapse
            | Action::Crash(_)
            | Action::Lose(_)
            | Action::Fence(_)
            | Action::Unfence(_)
            | Action::Elect(_) => format!("{action:?} (counted from 0)"),
        }
    }
}

fn insert(set: &mut Vec<u32>, number: u32) {
    if let Err(place) = set.binary_search(&number) {
        set.insert(place, number);
    }
}
