//! Breadth-first search over all states of a few members.
//!
//! A state of one member, and a message, is kept once and known by its number (*interned*), so that a
//! state of the whole is a handful of numbers; and what an event does to a member's state is computed
//! once. The network is a set: messages come in any order, each may be lost, and, where the bounds say
//! so, come again.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::panic::{AssertUnwindSafe, catch_unwind};

use foldhash::fast::FixedState;
use kvnode_core::election::{Entry, Message, Role, VoterChange};
use kvnode_core::{Member, NodeId, Term};

use super::interned::{Interned, Table};
use super::node::{Event, Node, logs_match, member};

/// How far the search goes.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Members, of which the first `voters` vote.
    pub(crate) nodes: u32,
    pub(crate) voters: u32,
    /// For each member the term, the vote and the terms of its log to start with; new members if
    /// there are none.
    pub(crate) start: Vec<(u64, u32, Vec<u64>)>,
    /// No member stands for election in a later term.
    pub(crate) terms: u64,
    /// Messages under way at a time; what goes beyond is not looked at.
    pub(crate) messages: usize,
    pub(crate) proposals: u8,
    pub(crate) crashes: u8,
    /// Deliveries that leave the message where it is.
    pub(crate) copies: u8,
    pub(crate) transfers: u8,
    pub(crate) compactions: u8,
    pub(crate) changes: Vec<VoterChange>,
    /// The search ends after so many states, without a verdict on the rest.
    pub(crate) states_max: usize,
}

/// What the search found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    pub(crate) node_states: usize,
    pub(crate) depth: usize,
    /// Everything within the bounds was seen.
    pub(crate) complete: bool,
    /// What went wrong, and the way there.
    pub(crate) violation: Option<(String, Vec<String>)>,
    /// Which of the states that make a search worth something were reached.
    pub(crate) sights: BTreeSet<&'static str>,
}

/// A state of the whole.
#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    nodes: Vec<u32>,
    /// Sorted.
    network: Vec<u32>,
    /// What was committed, with the term of the leader who did it: by number.
    committed: u32,
    /// Who led each term: by number.
    leaders: u32,
    left: Left,
}

/// What may still happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Left {
    proposals: u8,
    crashes: u8,
    copies: u8,
    transfers: u8,
    compactions: u8,
    changes: u8,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    At(usize, Event),
    /// The message is delivered and stays.
    Copy(usize, u32),
    Drop(u32),
}

type Committed = Vec<(Entry, Term)>;
type Letter = (Member, Member, Message);

/// What an event does to a member's state.
#[derive(Clone)]
enum Step {
    Impossible,
    To(u32, Vec<u32>),
    Wrong(String),
}

pub(crate) struct Search {
    bounds: Bounds,
    nodes: Interned<Node>,
    letters: Interned<Letter>,
    committed: Interned<Committed>,
    leaders: Interned<Vec<Option<NodeId>>>,
    steps: Table<(u32, Event), Step>,
    matching: Table<(u32, u32), bool>,
    /// Each state's hash, with that of the one before it and what happened there.
    seen: Table<u64, (u64, u32)>,
    actions: Vec<Action>,
    hasher: FixedState,
    sights: BTreeSet<&'static str>,
}

/// Looks at every state within the bounds, the nearest first.
pub(crate) fn search(bounds: Bounds) -> Found {
    Search::new(bounds).run()
}

impl Search {
    fn new(bounds: Bounds) -> Self {
        let hasher = FixedState::with_seed(7);
        Self {
            bounds,
            nodes: Interned::new(),
            letters: Interned::new(),
            committed: Interned::new(),
            leaders: Interned::new(),
            steps: Table::with_hasher(hasher.clone()),
            matching: Table::with_hasher(hasher.clone()),
            seen: Table::with_hasher(hasher.clone()),
            actions: Vec::new(),
            hasher,
            sights: BTreeSet::new(),
        }
    }

    fn run(mut self) -> Found {
        let start = self.start();
        let start_hash = self.hasher.hash_one(&start);
        self.seen.insert(start_hash, (start_hash, 0));
        let mut frontier = VecDeque::from([(start, 0)]);
        let (mut transitions, mut depth, mut complete) = (0, 0, true);
        let mut violation = None;
        'search: while let Some((world, at)) = frontier.pop_front() {
            depth = at;
            let from = self.hasher.hash_one(&world);
            for action in self.actions(&world, at == 0 && self.bounds.start.is_empty()) {
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

    fn start(&mut self) -> World {
        let (nodes, voters) = (self.bounds.nodes, self.bounds.voters);
        World {
            nodes: (1..=nodes)
                .map(|id| {
                    let start = self.bounds.start.get(id as usize - 1).cloned();
                    let node = Node::new(id, nodes, voters, &start.unwrap_or_default());
                    self.nodes.number(node)
                })
                .collect(),
            network: Vec::new(),
            committed: self.committed.number(Vec::new()),
            leaders: self.leaders.number(vec![None; self.bounds.terms as usize + 1]),
            left: Left {
                proposals: self.bounds.proposals,
                crashes: self.bounds.crashes,
                copies: self.bounds.copies,
                transfers: self.bounds.transfers,
                compactions: self.bounds.compactions,
                changes: self.bounds.changes.len() as u8,
            },
        }
    }

    /// What can happen. At the start all members are alike, and the first is taken to act.
    fn actions(&self, world: &World, is_start: bool) -> Vec<Action> {
        let mut actions = Vec::new();
        let left = world.left;
        for &letter in &world.network {
            let (_, to, _) = self.letters.get(letter);
            let to = to.node.0 as usize - 1;
            actions.push(Action::At(to, Event::Deliver(letter)));
            actions.push(Action::Drop(letter));
            if left.copies > 0 {
                actions.push(Action::Copy(to, letter));
            }
        }
        for (at, &node) in world.nodes.iter().enumerate() {
            if is_start && at > 0 {
                break;
            }
            let node = self.nodes.get(node);
            let leads = node.raft.role() == Role::Leader;
            if leads || node.raft.term().0 < self.bounds.terms {
                actions.push(Action::At(at, Event::Tick));
            }
            if !node.writing.is_empty() {
                actions.push(Action::At(at, Event::Persisted));
            }
            if left.crashes > 0 {
                // Before any change, after each of them, and all of them but no word of it.
                let kept = 0..=node.writing.len() as u8;
                actions.extend(kept.map(|kept| Action::At(at, Event::Crash(kept))));
            }
            if left.compactions > 0 {
                actions.push(Action::At(at, Event::Compact));
            }
            if !leads {
                continue;
            }
            if left.proposals > 0 {
                actions.push(Action::At(at, Event::Propose(left.proposals)));
            }
            if left.transfers > 0 && node.raft.term().0 < self.bounds.terms {
                let others = (1..=self.bounds.nodes).map(NodeId);
                actions.extend(others.map(|to| Action::At(at, Event::Transfer(to))));
            }
            if left.changes > 0 {
                let next = self.bounds.changes.len() - usize::from(left.changes);
                actions.push(Action::At(at, Event::Change(self.bounds.changes[next])));
            }
        }
        actions
    }

    /// The state after an action; none if it can not happen or leads out of bounds.
    fn apply(&mut self, world: &World, action: Action) -> Result<Option<World>, String> {
        let mut next = world.clone();
        let (at, event) = match action {
            Action::Drop(letter) => {
                next.network.retain(|&other| other != letter);
                return Ok(Some(next));
            }
            Action::Copy(at, letter) => {
                next.left.copies -= 1;
                (at, Event::Deliver(letter))
            }
            Action::At(at, event) => {
                if let Event::Deliver(letter) = event {
                    next.network.retain(|&other| other != letter);
                }
                (at, event)
            }
        };
        match event {
            Event::Deliver(_) | Event::Tick | Event::Persisted => {}
            Event::Crash(_) => next.left.crashes -= 1,
            Event::Propose(_) => next.left.proposals -= 1,
            Event::Transfer(_) => next.left.transfers -= 1,
            Event::Change(_) => next.left.changes -= 1,
            Event::Compact => next.left.compactions -= 1,
        }
        let (node, sent) = match self.step(world.nodes[at], event) {
            Step::Impossible => return Ok(None),
            Step::Wrong(why) => return Err(why),
            Step::To(node, sent) => (node, sent),
        };
        if self.nodes.get(node).raft.term().0 > self.bounds.terms {
            return Ok(None);
        }
        next.nodes[at] = node;
        for letter in sent {
            if let Err(place) = next.network.binary_search(&letter) {
                next.network.insert(place, letter);
            }
        }
        self.check(&mut next, at)?;
        Ok((next.network.len() <= self.bounds.messages).then_some(next))
    }

    fn step(&mut self, node: u32, event: Event) -> Step {
        if let Some(step) = self.steps.get(&(node, event)) {
            return step.clone();
        }
        let mut after = self.nodes.get(node).clone();
        let letter = match event {
            Event::Deliver(letter) => Some(self.letters.get(letter)),
            Event::Tick
            | Event::Persisted
            | Event::Crash(_)
            | Event::Propose(_)
            | Event::Transfer(_)
            | Event::Change(_)
            | Event::Compact => None,
        };
        let message = letter.map(|(from, _, message)| (*from, message));
        let nodes = self.bounds.nodes;
        let step = match catch_unwind(AssertUnwindSafe(|| after.step(nodes, event, message))) {
            Err(_) => Step::Wrong("an assertion failed".into()),
            Ok(None) => Step::Impossible,
            Ok(Some(effects)) => match effects.violation {
                Some(why) => Step::Wrong(why),
                None => {
                    let me = after.raft.me();
                    let known = |to: &Member| (1..=nodes).any(|id| member(id) == *to);
                    let sent = effects.sent.into_iter().filter(|(to, _)| known(to));
                    let sent =
                        sent.map(|(to, message)| self.letters.number((me, to, message))).collect();
                    Step::To(self.nodes.number(after), sent)
                }
            },
        };
        self.steps.insert((node, event), step.clone());
        step
    }

    /// Holds the state against what must always be so, after something happened to one member.
    fn check(&mut self, world: &mut World, at: usize) -> Result<(), String> {
        let number = world.nodes[at];
        self.check_leader(world, number)?;
        self.check_committed(world, number)?;
        for &other in &world.nodes {
            let pair = (number.min(other), number.max(other));
            let (nodes, matching) = (&self.nodes, &mut self.matching);
            let matches = *matching
                .entry(pair)
                .or_insert_with(|| logs_match(&nodes.get(pair.0).raft, &nodes.get(pair.1).raft));
            if !matches {
                return Err("two logs have the same entry and differ before it".into());
            }
        }
        Ok(())
    }

    /// One leader in a term; a leader has what was committed in an earlier one.
    fn check_leader(&mut self, world: &mut World, number: u32) -> Result<(), String> {
        let node = self.nodes.get(number);
        let Some(term) = node.leads() else { return Ok(()) };
        let me = node.raft.me().node;
        let leaders = self.leaders.get(world.leaders);
        match leaders[term.0 as usize] {
            Some(other) if other != me => {
                return Err(format!("{me} and {other} both lead {term}"));
            }
            Some(_) => {}
            None => {
                let mut leaders = leaders.clone();
                leaders[term.0 as usize] = Some(me);
                self.see_leader(term);
                world.leaders = self.leaders.number(leaders);
            }
        }
        let node = self.nodes.get(number);
        for (entry, when) in self.committed.get(world.committed) {
            if *when < term && !node.has(entry) {
                return Err(format!("{me} leads {term} without {}, committed", entry.position()));
            }
        }
        Ok(())
    }

    fn see_leader(&mut self, term: Term) {
        self.sights.insert(match term.0 {
            1 => "a leader of term 1",
            2 => "a leader of term 2",
            _ => "a leader of a later term",
        });
    }

    /// Nobody commits another entry at an index; what is committed stays on so many disks that no
    /// majority lacks it.
    fn check_committed(&mut self, world: &mut World, number: u32) -> Result<(), String> {
        let node = self.nodes.get(number);
        let committed = self.committed.get(world.committed);
        let mut more = Vec::new();
        for entry in node.committed() {
            match committed.get(entry.index.0 as usize - 1) {
                Some((known, _)) if known != entry => {
                    let me = node.raft.me().node;
                    let at = entry.index;
                    return Err(format!("{me} commits another entry at {at} than was committed"));
                }
                Some(_) => {}
                None => more.push((entry.clone(), node.raft.term())),
            }
        }
        if !more.is_empty() {
            if more.iter().any(|(entry, when)| entry.term < *when) {
                self.sights.insert("an earlier term's entry committed");
            }
            let mut committed = committed.clone();
            committed.extend(more);
            self.sights.insert("a commit");
            world.committed = self.committed.number(committed);
        }
        if !self.bounds.changes.is_empty() {
            return Ok(());
        }
        for (entry, _) in self.committed.get(world.committed) {
            let voters = world.nodes.iter().take(self.bounds.voters as usize);
            let lacking = voters.filter(|&&node| !self.nodes.get(node).stores(entry)).count();
            if lacking > self.bounds.voters as usize / 2 {
                return Err(format!("{} is committed and not on enough disks", entry.position()));
            }
        }
        Ok(())
    }

    /// What happened on the way to a state.
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
            let (from, to, message) = self.letters.get(number);
            format!("{} to {}: {message:?}", from.node, to.node)
        };
        match action {
            Action::Drop(number) => format!("lost: {}", letter(number)),
            Action::Copy(_, number) => format!("comes, and may again: {}", letter(number)),
            Action::At(_, Event::Deliver(number)) => format!("comes: {}", letter(number)),
            Action::At(at, event) => format!("n{}: {event:?}", at + 1),
        }
    }
}
