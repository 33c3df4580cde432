//! Random tiny histories: what a right node shows, and the same with something changed.

use super::{CLOCK_MAX_MS, Entry, Keys, Log, Node, Told, explained};
use crate::checkers::forge::{Dice, Forge, k, t, token};
use crate::checkers::sights::Facts;
use crate::checkers::{Violation, expired, garbage, judge, linearizable, stale, unwritten, words};
use crate::history::{Action, Answer, History, Key, Left, Outcome, Ttl, Val, When};

/// Calls of one client, of two, of three: so that all orders of them can be tried.
const CALLS_MAX: [u64; 3] = [14, 9, 7];

/// Each is one right history and three changed ones. 300,000 have been tried.
const SEEDS: u64 = 2000;

#[test]
fn the_quick_search_agrees_with_the_thorough_one() {
    let (mut accepted, mut rejected, mut simply, mut lenient) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice);
        let mut history = World::run(plan, &mut dice);
        assert_right(seed, &history);
        for _ in 0..3 {
            change(&mut history, &mut dice);
            let (quick, thorough) = (quick(&history), explained(&history));
            if quick != thorough && quick && !plan.exact() {
                lenient += 1;
                continue;
            }
            assert_eq!(quick, thorough, "seed {seed}: quick, thorough\n{}", shown(&history));
            if let Some(found) = simple(&history).first() {
                simply += 1;
                assert!(!quick, "seed {seed}: {}\n{}", found.text, shown(&history));
            }
            *(if quick { &mut accepted } else { &mut rejected }) += 1;
        }
    }
    println!("{accepted} accepted, {rejected} rejected ({simply} simply), {lenient} leniently");
    assert!(accepted > SEEDS && rejected > SEEDS && simply > SEEDS / 4 && lenient < SEEDS / 100);
}

#[test]
fn right_histories_of_many_calls_are_accepted() {
    for seed in 0..SEEDS / 20 {
        let mut dice = Dice::new(seed);
        let clients = 1 + dice.below(6);
        let plan = Plan {
            calls: 60 + dice.below(80),
            clients,
            losses: dice.below(5),
            unknown_in: 5 + dice.below(40),
            ..Plan::draw(&mut dice)
        };
        assert_right(seed, &World::run(plan, &mut dice));
    }
}

/// No checker says anything, but of garbage: a counter to which a token was appended.
fn assert_right(seed: u64, history: &History) {
    let verdict = judge(history);
    let bad = verdict.violations.iter().find(|found| found.checker != garbage::NAME);
    if let Some(bad) = bad {
        panic!("seed {seed}: {}\n{}", bad.text, shown(history));
    }
    assert!(verdict.undecided.is_empty(), "seed {seed}: not decided");
}

/// What the checkers without a model find.
fn simple(history: &History) -> Vec<Violation> {
    let facts = Facts::of(history);
    let checks = [unwritten::check, stale::check, expired::check];
    checks.iter().flat_map(|check| check(history, &facts)).collect()
}

fn shown(history: &History) -> String {
    let calls = history.calls.iter().map(|call| {
        let clock = (call.clock_min_ms(), call.clock_max_ms());
        format!("{} at {clock:?}\n", words::call(call))
    });
    calls.chain([format!("{:?}", history.losses)]).collect()
}

fn quick(history: &History) -> bool {
    let (violations, undecided) = linearizable::check(history);
    assert!(undecided.is_empty(), "so few calls are decided");
    violations.is_empty()
}

/// What sort of history it is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) calls: u64,
    pub(super) clients: u64,
    pub(super) losses: u64,
    pub(super) ttl: bool,
    /// By how much the log clock is uncertain.
    pub(super) blur_ms: u64,
    pub(super) relative: bool,
    /// One call in so many is given up.
    pub(super) unknown_in: u64,
}

impl Plan {
    fn draw(dice: &mut Dice) -> Self {
        let clients = 1 + dice.below(3);
        Self {
            calls: 2 + dice.below(CALLS_MAX[clients as usize - 1] - 1),
            clients,
            losses: if dice.once_in(3) { 1 + dice.below(3) } else { 0 },
            ttl: dice.once_in(2),
            blur_ms: dice.below(2) * dice.below(4),
            relative: dice.once_in(2),
            unknown_in: 8,
        }
    }

    /// Whether the model's outcomes are exact.
    fn exact(self) -> bool {
        self.blur_ms == 0 || !self.relative
    }
}

/// A right node and its clients.
pub(super) struct World {
    plan: Plan,
    log: Log,
    forge: Forge,
    clock: u64,
    tokens: u32,
    /// Calls without an answer: which, by whom (nobody, if given up), and what it was told.
    open: Vec<Open>,
    losses: u64,
}

struct Open {
    call: usize,
    client: Option<u32>,
    action: Action,
    told: Option<Told>,
    at: usize,
}

impl World {
    pub(super) fn run(plan: Plan, dice: &mut Dice) -> History {
        let log = Log(vec![Entry { keys: Keys::new(), returned: 0 }]);
        let forge = Forge::default();
        let (clock, tokens, open) = (10, 0, Vec::new());
        let mut world = Self { plan, log, forge, clock, tokens, open, losses: 0 };
        while (world.forge.history().calls.len() as u64) < plan.calls
            || world.open.iter().any(|open| open.client.is_some())
        {
            world.step(dice);
        }
        world.forge.history().clone()
    }

    fn step(&mut self, dice: &mut Dice) {
        if dice.once_in(3) && self.clock < CLOCK_MAX_MS - 30 {
            self.clock += dice.below(3);
        }
        let blur = self.plan.blur_ms;
        self.forge.clock_within(self.clock - blur, self.clock + blur);
        match dice.below(10) {
            0..3 => self.ask(dice),
            3..6 => self.take_effect(dice),
            6..9 => self.end(dice),
            _ => self.lose(dice),
        }
    }

    fn ask(&mut self, dice: &mut Dice) {
        let client = dice.below(self.plan.clients) as u32;
        let busy = self.open.iter().any(|open| open.client == Some(client));
        if busy || self.forge.history().calls.len() as u64 >= self.plan.calls {
            return;
        }
        let action = self.action(dice, 0);
        let call = self.forge.ask(client, action.clone());
        self.open.push(Open { call, client: Some(client), action, told: None, at: 0 });
    }

    fn take_effect(&mut self, dice: &mut Dice) {
        let waiting: Vec<_> =
            (0..self.open.len()).filter(|&i| self.open[i].told.is_none()).collect();
        if waiting.is_empty() {
            return;
        }
        let open = &mut self.open[waiting[dice.below(waiting.len() as u64) as usize]];
        let mut node =
            Node { keys: self.log.keys().clone(), clock: self.clock, fresh: Default::default() };
        open.told = Some(node.run(&open.action));
        open.at = self.log.0.len();
        self.log = self.log.then(node.keys, u64::MAX);
    }

    fn end(&mut self, dice: &mut Dice) {
        let asked: Vec<_> =
            (0..self.open.len()).filter(|&i| self.open[i].client.is_some()).collect();
        if asked.is_empty() {
            return;
        }
        let i = asked[dice.below(asked.len() as u64) as usize];
        let open = &mut self.open[i];
        match &open.told {
            _ if dice.once_in(self.plan.unknown_in) => {
                open.client = None;
                if open.told.is_some() || dice.once_in(2) {
                    self.forge.dead(open.call);
                    self.open.remove(i);
                }
            }
            None if dice.once_in(4) => {
                self.forge.refused(open.call);
                self.open.remove(i);
            }
            None => {}
            Some(told) => {
                match answer(&open.action, told) {
                    Some(answer) => self.forge.told(open.call, answer),
                    None => self.forge.garbage(open.call),
                };
                let at = open.at;
                let call = &self.forge.history().calls[open.call];
                if matches!(call.outcome, Outcome::Answered(_)) {
                    self.log.0[at].returned = call.returned.expect("just now").order;
                }
                self.open.remove(i);
            }
        }
    }

    fn lose(&mut self, dice: &mut Dice) {
        if self.losses == self.plan.losses || self.open.iter().any(|open| open.told.is_some()) {
            return;
        }
        self.losses += 1;
        if dice.once_in(4) {
            self.forge.loss(Left::Nothing);
            self.log = Log(vec![Entry { keys: Keys::new(), returned: 0 }]);
            return;
        }
        let len = 1 + dice.below(self.log.0.len() as u64) as usize;
        // Nothing that was complete by then was lost: the first one lost returned later.
        let first = self.log.0[len..].iter().map(|entry| entry.returned).min();
        let now = self.forge.now();
        let until = first.map_or(now, |first| first.min(now) - 1);
        self.log.0.truncate(len);
        self.forge.loss(Left::Prefix(until));
    }

    fn action(&mut self, dice: &mut Dice, depth: u32) -> Action {
        let key = k(dice.below(2) as u8);
        let other = k(dice.below(2) as u8);
        match dice.below(if depth == 0 { 22 } else { 18 }) {
            0..3 => Action::Get(key),
            3 => Action::MGet(vec![k(0), k(1)]),
            4 => Action::Exists(vec![key, other]),
            5..9 => {
                let when = match dice.below(6) {
                    0 => When::Absent,
                    1 => When::Present,
                    2 => When::Equal(self.some_val(dice)),
                    _ => When::Always,
                };
                let ttl = if dice.once_in(6) { Ttl::Keep } else { self.ttl(dice) };
                Action::Set { key, val: self.new_val(), ttl, when, get: dice.once_in(4) }
            }
            9 => Action::GetDel(key),
            10 => Action::Del(vec![key]),
            11 => Action::MSet(vec![(k(0), self.new_val()), (k(1), self.new_val())]),
            12 => Action::MSetNx(vec![(k(0), self.new_val()), (k(1), self.new_val())]),
            13 => Action::Incr(key, 1 + dice.below(3) as i64),
            14 => {
                self.tokens += 1;
                Action::Append(key, token(self.tokens))
            }
            15 if self.plan.ttl => {
                let ttl = self.ttl(dice);
                if ttl == Ttl::None { Action::Persist(key) } else { Action::Expire(key, ttl) }
            }
            15 => Action::DelIfEq(key, self.some_val(dice)),
            16 => Action::Rename(key, other),
            17 => Action::Del(vec![key, other]),
            18 => Action::Flush,
            _ => {
                let watched = (0..dice.below(2)).map(|_| (key, self.held(key)));
                let watched = watched.collect();
                let steps = (0..1 + dice.below(3)).map(|_| self.action(dice, 1));
                Action::Txn { watched, steps: steps.collect() }
            }
        }
    }

    fn ttl(&self, dice: &mut Dice) -> Ttl {
        match dice.below(2) {
            0 if self.plan.ttl && self.plan.relative => Ttl::In(1 + dice.below(4)),
            0 if self.plan.ttl => Ttl::At(self.clock + dice.below(6) - 2),
            _ => Ttl::None,
        }
    }

    fn new_val(&mut self) -> Val {
        self.tokens += 1;
        t(self.tokens)
    }

    fn some_val(&self, dice: &mut Dice) -> Val {
        self.held(k(dice.below(2) as u8)).unwrap_or(Val::Int(1))
    }

    fn held(&self, key: Key) -> Option<Val> {
        self.log.keys().get(&key.number).and_then(|(bytes, _)| Val::decode(bytes))
    }
}

/// What a client makes of a reply; `None` if it is garbage.
fn answer(action: &Action, told: &Told) -> Option<Answer> {
    let vals = |told: &[Told]| {
        let val = |told: &Told| match told {
            Told::Null => Some(None),
            Told::Bulk(bytes) => Val::decode(bytes).map(Some),
            Told::Ok | Told::NullArray | Told::Int(_) | Told::Array(_) | Told::Error(_) => None,
        };
        told.iter().map(val).collect::<Option<_>>()
    };
    Some(match (action, told) {
        (_, Told::NullArray) => Answer::Aborted,
        (Action::Txn { steps, .. }, Told::Array(told)) => Answer::Each(
            steps.iter().zip(told).map(|(step, told)| answer(step, told)).collect::<Option<_>>()?,
        ),
        (_, Told::Array(told)) => Answer::Vals(vals(told)?),
        (_, Told::Ok) => Answer::Done,
        (_, Told::Null) => Answer::Nil,
        (_, Told::Int(n)) => Answer::Int(*n),
        (_, Told::Bulk(bytes)) => Answer::Val(Val::decode(bytes)?),
        (_, Told::Error("not an integer")) => Answer::NotInteger,
        (_, Told::Error(_)) => Answer::NoSuchKey,
    })
}

/// Changes something of a history.
pub(super) fn change(history: &mut History, dice: &mut Dice) {
    let at = dice.below(history.calls.len() as u64) as usize;
    let other = dice.below(history.calls.len() as u64) as usize;
    match dice.below(8) {
        0 if !history.losses.is_empty() => {
            let loss = dice.below(history.losses.len() as u64) as usize;
            let loss = &mut history.losses[loss];
            loss.left = Left::Prefix(dice.below(loss.from));
        }
        1 if !history.losses.is_empty() => _ = history.losses.pop(),
        2 => {
            let answered = matches!(history.calls[at].outcome, Outcome::Answered(_));
            if answered {
                history.calls[at].outcome = Outcome::Refused("forged".into());
            }
        }
        3 => {
            let call = &mut history.calls[at];
            if let (Some(returned), Outcome::Answered(_)) = (call.returned, &call.outcome) {
                call.outcome = Outcome::Unknown("forged".into());
                call.until = dice.once_in(2).then_some(returned.order);
            }
        }
        _ => {
            let theirs = history.calls[other].outcome.clone();
            if let Outcome::Answered(answer) = &mut history.calls[at].outcome {
                forge_answer(answer, &theirs, dice);
            }
        }
    }
}

fn forge_answer(answer: &mut Answer, theirs: &Outcome, dice: &mut Dice) {
    match answer {
        Answer::Int(n) => *n += if dice.once_in(2) { 1 } else { -1 },
        Answer::Each(answers) if !answers.is_empty() => {
            let i = dice.below(answers.len() as u64) as usize;
            forge_answer(&mut answers[i], theirs, dice);
        }
        Answer::Vals(vals) => {
            let i = dice.below(vals.len() as u64) as usize;
            vals[i] = (!dice.once_in(3)).then(|| t(1 + dice.below(9) as u32));
        }
        Answer::Val(_) | Answer::Nil => {
            *answer = if let Outcome::Answered(Answer::Val(val)) = theirs {
                Answer::Val(val.clone())
            } else if dice.once_in(2) {
                Answer::Nil
            } else {
                Answer::Val(t(1 + dice.below(9) as u32))
            };
        }
        Answer::Done
        | Answer::NotInteger
        | Answer::NoSuchKey
        | Answer::Aborted
        | Answer::Untold
        | Answer::Each(_) => *answer = if dice.once_in(2) { Answer::Nil } else { Answer::Done },
    }
}
