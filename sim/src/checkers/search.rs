//! The search for an order: Wing & Gong's, with the memory that Lowe gave it.
//!
//! It walks depth first over *configurations*: which operations have taken effect, and what the
//! keys may then be. An operation may come next if no other had returned before it was asked for.
//! - A node carries a **set** of candidate states, so that a doubt about a time of expiry does not
//!   branch the search. Each pair of operations done and candidate is visited once: what comes
//!   after does not depend on the way there, nor one candidate on the others.
//! - An operation whose end nobody knows may be left out, and is where the keys come out the same
//!   without it. Once another was asked for after its last moment, it counts as done: so that sets
//!   of operations that differ in nothing that matters are one. Such operations are tried last, and
//!   few of them before many, so that of two ways to the same keys the one with fewer is known.
//! - A [`Left::Prefix`] takes the keys back to some earlier point. That point is guessed on the way
//!   there, not searched on the way back: from the moment on that the loss may reach, each
//!   candidate goes on both as it is and with what it is now *kept* for the loss. So the past need
//!   not be remembered, and where no loss is there is nothing to pay.
//! - Operations of one connection come in their order, as a node evaluates them.
//!
//! The work is bounded by [`MEMORY_WORDS_MAX`]; past that the answer is [`Found::Undecided`].

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::rc::Rc;

use foldhash::fast::FixedState;

use super::model::{Span, State, apply};
use crate::history::{Action, Answer, Left, Order};

/// What the search may remember, in words of eight bytes, counted roughly: 8 MiB. A history of a hundred
/// calls takes a few thousand words.
pub(super) const MEMORY_WORDS_MAX: usize = 1 << 20;

/// States that are told of a search that came to no end.
const STATES_TOLD_MAX: usize = 4;

/// One operation to be put in order.
#[derive(Debug)]
pub(super) struct Op<'a> {
    /// Those of one session take effect in their order.
    pub(super) session: Option<u64>,
    /// It took effect after this.
    pub(super) from: Order,
    /// And before this.
    pub(super) to: Order,
    /// Otherwise it may have taken no effect.
    pub(super) required: bool,
    /// What it does.
    pub(super) what: What<'a>,
}

#[derive(Debug)]
pub(super) enum What<'a> {
    /// A command; without an answer any will do.
    Call { action: &'a Action, answer: Option<&'a Answer>, clock: Span },
    /// A loss of data.
    Loss(Left),
}

/// What came of a search.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is an order.
    Order,
    /// There is none.
    NoOrder(Stuck),
    /// The search was given up.
    Undecided,
}

/// How far a search came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stuck {
    /// No order of what happened up to the return of this operation explains it; of what happened
    /// before, one does.
    pub(super) op: usize,
    /// What the keys may have been then: some of the possibilities.
    pub(super) states: Vec<State>,
}

/// Looks for an order of `ops`, which are sorted by `from`.
pub(super) fn search(ops: &[Op<'_>], memory_words: usize) -> Found {
    Search::new(ops, memory_words).run()
}

/// Whether what was told is what was due.
fn agrees(told: &Answer, due: &Answer) -> bool {
    match (told, due) {
        (Answer::Untold, _) => true,
        (Answer::Each(told), Answer::Each(due)) => {
            told.len() == due.len() && told.iter().zip(due).all(|(told, due)| agrees(told, due))
        }
        _ => told == due,
    }
}

/// For each operation the last one of its session that was asked for before it and must take effect.
fn prior(ops: &[Op<'_>]) -> Vec<Option<usize>> {
    let mut last = BTreeMap::new();
    let of = ops.iter().enumerate().map(|(i, op)| {
        let session = op.session?;
        let prior = last.get(&session).copied();
        if op.required {
            last.insert(session, i);
        }
        prior
    });
    of.collect()
}

/// A set of operations.
type Bits = Box<[u64]>;
type StateId = u32;
type CandidateId = u32;
type SetId = u32;

/// What the keys may be, and what they were at the point to which a later loss will take them back:
/// by the loss's place among `losses`, the earliest first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Candidate {
    state: StateId,
    kept: Vec<(usize, StateId)>,
}

#[derive(Debug)]
struct LossPlace {
    op: usize,
    /// The calls that it keeps, unless an earlier one has lost them; `None` if it keeps nothing.
    keeps: Option<Bits>,
}

struct Frame {
    done: Bits,
    set: SetId,
    candidates: Vec<CandidateId>,
    /// Operations that must take effect and may be next, and how many of them were tried.
    options: Vec<usize>,
    tried: usize,
    /// The latest that one that may be left out can have been asked for, to be next.
    asked_by: Order,
    /// Whether it was reached by one that may be left out.
    optional: bool,
    /// Otherwise: what can be reached from here by more and more of those.
    detours: VecDeque<Frame>,
}

struct Search<'a> {
    ops: &'a [Op<'a>],
    required: Bits,
    optional: Vec<usize>,
    /// The one of the same session that must take effect before.
    prior: Vec<Option<usize>>,
    losses: Vec<LossPlace>,
    states: Interner<State>,
    candidates: Interner<Candidate>,
    sets: Interner<Bits>,
    steps: HashMap<(usize, StateId), Rc<[StateId]>, FixedState>,
    visited: HashSet<(SetId, CandidateId), FixedState>,
    memory_words: usize,
    /// The latest return that could not be reached, and whose it is.
    stuck: (Order, usize),
    stuck_states: BTreeSet<StateId>,
}

impl<'a> Search<'a> {
    fn new(ops: &'a [Op<'a>], memory_words: usize) -> Self {
        let of = |wanted: &dyn Fn(&Op<'_>) -> bool| {
            let mut bits = vec![0; ops.len().div_ceil(64).max(1)].into_boxed_slice();
            (0..ops.len()).filter(|&i| wanted(&ops[i])).for_each(|i| insert(&mut bits, i));
            bits
        };
        let is_call = |op: &Op<'_>| matches!(op.what, What::Call { .. });
        let losses = ops.iter().enumerate().filter_map(|(i, op)| match op.what {
            What::Call { .. } => None,
            What::Loss(Left::Nothing) => Some(LossPlace { op: i, keeps: None }),
            What::Loss(Left::Prefix(until)) => {
                let until = until.min(op.from);
                let keeps = of(&|op| is_call(op) && op.required && op.to <= until);
                Some(LossPlace { op: i, keeps: Some(keeps) })
            }
        });
        Self {
            ops,
            required: of(&|op| op.required),
            prior: prior(ops),
            optional: (0..ops.len()).filter(|&i| !ops[i].required).collect(),
            losses: losses.collect(),
            states: Interner::default(),
            candidates: Interner::default(),
            sets: Interner::default(),
            steps: HashMap::default(),
            visited: HashSet::default(),
            memory_words,
            stuck: (0, 0),
            stuck_states: BTreeSet::new(),
        }
    }

    fn run(mut self) -> Found {
        let nothing = vec![0; self.required.len()].into_boxed_slice();
        let empty = self.states.id(State::default());
        let start = self.candidates.id(Candidate { state: empty, kept: Vec::new() });
        let mut frames: Vec<Frame> = self.enter(nothing, vec![start], false).into_iter().collect();
        while let Some(frame) = frames.last_mut() {
            if frame.options.is_empty() {
                return Found::Order;
            }
            if let Some(&op) = frame.options.get(frame.tried) {
                frame.tried += 1;
                let next = self.advance(frame, op);
                frames.extend(next);
            } else if frame.tried == frame.options.len() {
                frame.tried += 1;
                let detours = self.detours(frame);
                let root = frames.iter_mut().rev().find(|frame| !frame.optional);
                root.expect("the first frame is one").detours.extend(detours);
            } else {
                match frame.detours.pop_front() {
                    Some(detour) => frames.push(detour),
                    None => _ = frames.pop(),
                }
            }
            if self.used_words() > self.memory_words {
                return Found::Undecided;
            }
        }
        let states = self.stuck_states.iter().map(|&id| State::clone(self.states.get(id)));
        Found::NoOrder(Stuck { op: self.stuck.1, states: states.collect() })
    }

    fn used_words(&self) -> usize {
        self.sets.len() * (self.required.len() + 8) + self.visited.len() * 3
    }

    /// What follows from `op` as the next to take effect, if that was not seen before.
    fn advance(&mut self, frame: &Frame, op: usize) -> Option<Frame> {
        let mut candidates = Vec::new();
        for &candidate in &frame.candidates {
            self.take_effect(op, candidate, &mut candidates);
        }
        if !self.ops[op].required {
            // Without it the same can be reached.
            candidates.retain(|&candidate| !self.visited.contains(&(frame.set, candidate)));
        }
        if candidates.is_empty() {
            return None;
        }
        let mut done = frame.done.clone();
        insert(&mut done, op);
        for &other in &self.optional {
            if self.ops[other].to < self.ops[op].from {
                insert(&mut done, other);
            }
        }
        self.enter(done, candidates, !self.ops[op].required)
    }

    /// What follows if one that may be left out is next.
    fn detours(&mut self, frame: &Frame) -> Vec<Frame> {
        let mut detours = Vec::new();
        for i in 0..self.optional.len() {
            let op = self.optional[i];
            let open = self.ops[op].from < frame.asked_by && !contains(&frame.done, op);
            if open && self.is_in_turn(op, &frame.done) {
                detours.extend(self.advance(frame, op));
            }
        }
        detours
    }

    fn enter(
        &mut self,
        done: Bits,
        mut candidates: Vec<CandidateId>,
        optional: bool,
    ) -> Option<Frame> {
        self.keep_for_losses(&done, &mut candidates);
        candidates.sort_unstable();
        candidates.dedup();
        let set = self.sets.id(done.clone());
        candidates.retain(|&candidate| self.visited.insert((set, candidate)));
        for without in self.sets_without_one(&done) {
            candidates.retain(|&candidate| !self.visited.contains(&(without, candidate)));
        }
        if candidates.is_empty() {
            return None;
        }
        let options = self.options(&done);
        let mut asked_by = Order::MAX;
        if let Some(&first) = options.first() {
            asked_by = self.ops[first].to;
            self.note_stuck((asked_by, first), &candidates);
        }
        let detours = VecDeque::new();
        Some(Frame { done, set, candidates, options, tried: 0, asked_by, optional, detours })
    }

    /// The sets that were seen and lack one operation of `done` that may be left out and may still
    /// come. What they come to, they come to with a choice more.
    fn sets_without_one(&self, done: &Bits) -> Vec<SetId> {
        let Some(last) = (0..self.ops.len()).rev().find(|&i| contains(done, i)) else {
            return Vec::new();
        };
        let taken = |&&i: &&usize| contains(done, i) && self.ops[i].to > self.ops[last].from;
        let without = self.optional.iter().filter(taken).filter_map(|&i| {
            let mut without = done.clone();
            without[i / 64] &= !(1 << (i % 64));
            self.sets.find(&without)
        });
        without.collect()
    }

    fn note_stuck(&mut self, at: (Order, usize), candidates: &[CandidateId]) {
        if at < self.stuck {
            return;
        }
        if at > self.stuck {
            self.stuck = at;
            self.stuck_states.clear();
        }
        for &candidate in candidates {
            if self.stuck_states.len() < STATES_TOLD_MAX {
                self.stuck_states.insert(self.candidates.get(candidate).state);
            }
        }
    }

    /// Which of the operations that must take effect may be next, the first to return first. None if
    /// all have.
    fn options(&self, done: &Bits) -> Vec<usize> {
        let mut options = Vec::new();
        let mut first_return = Order::MAX;
        let mut loss = false;
        for i in members(self.required.iter().zip(done).map(|(required, done)| required & !done)) {
            let op = &self.ops[i];
            if op.from > first_return {
                break;
            }
            first_return = first_return.min(op.to);
            // Losses come in their own order.
            let is_loss = matches!(op.what, What::Loss(_));
            if !(is_loss && loss) && self.is_in_turn(i, done) {
                options.push(i);
            }
            loss |= is_loss;
        }
        options.sort_by_key(|&i| self.ops[i].to);
        options
    }

    /// Whether nothing that was asked for before on the same connection is still to come.
    fn is_in_turn(&self, op: usize, done: &Bits) -> bool {
        self.prior[op].is_none_or(|prior| contains(done, prior))
    }

    fn take_effect(&mut self, op: usize, candidate: CandidateId, out: &mut Vec<CandidateId>) {
        let Candidate { state, kept } = self.candidates.get(candidate).clone();
        match self.ops[op].what {
            What::Call { action, answer, clock } => {
                if kept.first().is_some_and(|&(at, _)| self.losses[at].keeps(op)) {
                    return;
                }
                for &state in self.after_call(op, state, action, answer, clock).iter() {
                    out.push(self.candidates.id(Candidate { state, kept: kept.clone() }));
                }
            }
            What::Loss(Left::Nothing) => {
                // What a later loss would keep is gone.
                if kept.is_empty() {
                    let state = self.states.id(State::default());
                    out.push(self.candidates.id(Candidate { state, kept }));
                }
            }
            What::Loss(Left::Prefix(_)) => {
                let at = self.losses.iter().position(|loss| loss.op == op);
                let at = at.expect("every loss is among the losses");
                match kept.first() {
                    Some(&(loss, state)) if loss == at => {
                        let kept = kept[1..].to_vec();
                        out.push(self.candidates.id(Candidate { state, kept }));
                    }
                    // It loses nothing.
                    Some(_) | None => out.push(candidate),
                }
            }
        }
    }

    fn after_call(
        &mut self,
        op: usize,
        state: StateId,
        action: &Action,
        answer: Option<&Answer>,
        clock: Span,
    ) -> Rc<[StateId]> {
        if let Some(known) = self.steps.get(&(op, state)) {
            return Rc::clone(known);
        }
        let mut after = Vec::new();
        for step in apply(self.states.get(state), action, clock) {
            let agrees = match (answer, &step.answer) {
                (None, _) => true,
                (Some(told), Some(due)) => agrees(told, due),
                (Some(_), None) => false,
            };
            if agrees {
                after.push(self.states.id(step.state));
            }
        }
        let after: Rc<[StateId]> = after.into();
        self.steps.insert((op, state), Rc::clone(&after));
        after
    }

    /// Adds the candidates of which a loss to come keeps what they are now.
    ///
    /// The point that a later loss goes back to is not after that of an earlier: what lay between
    /// was lost already. So the later loss's point is guessed first. From there to the earlier
    /// loss's point nothing may come that the later keeps.
    fn keep_for_losses(&mut self, done: &Bits, candidates: &mut Vec<CandidateId>) {
        for at in 0..self.losses.len() {
            if contains(done, self.losses[at].op) || !self.may_be_kept(at, done) {
                continue;
            }
            let mut i = 0;
            while i < candidates.len() {
                let Candidate { state, mut kept } = self.candidates.get(candidates[i]).clone();
                if kept.first().is_none_or(|&(loss, _)| loss > at) {
                    kept.insert(0, (at, state));
                    let keeping = self.candidates.id(Candidate { state, kept });
                    candidates.push(keeping);
                }
                i += 1;
            }
        }
    }

    /// Whether the loss may go back to this point: everything that it keeps is done, or may still
    /// be lost by an earlier one.
    fn may_be_kept(&self, at: usize, done: &Bits) -> bool {
        let Some(keeps) = &self.losses[at].keeps else { return false };
        let missing = || members(keeps.iter().zip(done).map(|(keeps, done)| keeps & !done));
        missing().next().is_none()
            || self.losses[..at].iter().any(|earlier| {
                let to = self.ops[earlier.op].to;
                let may_lose = |op| !earlier.keeps(op) && self.ops[op].from < to;
                !contains(done, earlier.op) && earlier.keeps.is_some() && missing().all(may_lose)
            })
    }
}

impl LossPlace {
    fn keeps(&self, op: usize) -> bool {
        self.keeps.as_ref().is_some_and(|keeps| contains(keeps, op))
    }
}

/// The numbers in a set given by its words.
fn members(words: impl Iterator<Item = u64>) -> impl Iterator<Item = usize> {
    words.enumerate().flat_map(|(at, mut word)| {
        std::iter::from_fn(move || {
            let bit = word.trailing_zeros() as usize;
            word &= word.wrapping_sub(1);
            (bit < 64).then_some(at * 64 + bit)
        })
    })
}

fn insert(bits: &mut Bits, i: usize) {
    bits[i / 64] |= 1 << (i % 64);
}

fn contains(bits: &Bits, i: usize) -> bool {
    bits[i / 64] >> (i % 64) & 1 == 1
}

/// Gives equal things one small number.
struct Interner<T> {
    ids: HashMap<Rc<T>, u32, FixedState>,
    all: Vec<Rc<T>>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { ids: HashMap::default(), all: Vec::new() }
    }
}

impl<T: Hash + Eq> Interner<T>
where
    Rc<T>: Borrow<T>,
{
    fn find(&self, thing: &T) -> Option<u32> {
        self.ids.get(thing).copied()
    }

    fn id(&mut self, thing: T) -> u32 {
        if let Some(id) = self.find(&thing) {
            return id;
        }
        let id = u32::try_from(self.all.len()).expect("memory is bounded");
        let thing = Rc::new(thing);
        self.all.push(Rc::clone(&thing));
        self.ids.insert(thing, id);
        id
    }

    fn get(&self, id: u32) -> &T {
        &self.all[id as usize]
    }

    fn len(&self) -> usize {
        self.all.len()
    }
}
