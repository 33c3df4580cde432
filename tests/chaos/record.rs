//! Clients that write down what they ask, what they are told and when, for the simulator's
//! checkers to judge.
//!
//! A moment is a number drawn from one counter, before a command is sent and after its reply was
//! read: whoever draws the smaller was first. No command has a time of expiry, so the checkers need
//! no clock of the nodes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kvnode_core::reply::Reply;
use kvnode_sim::checkers::{self, model, words as told};
use kvnode_sim::client::words;
use kvnode_sim::history::{
    Action, Answer, Call, ClockView, Group, History, Key, Moment, Outcome, Token, Ttl, Val, When,
};

use crate::common::{Client, Endpoint, Frame, Rng, encode};

/// How long a client waits for a reply before it goes to another node: less than a node is paused.
const PATIENCE: Duration = Duration::from_millis(1200);

/// How long a client rests between two turns, at most.
const REST_MS_MAX: u64 = 12;

/// How long it rests when nobody accepts it, or it is told that nothing was done.
const REST_AFTER_REFUSAL: Duration = Duration::from_millis(10);

/// Commands that a client sends in one breath, at most.
const BREATH_MAX: u64 = 4;

/// Groups of keys that are written to at a time.
const ACTIVE_GROUPS: usize = 6;

/// Calls after which a group is left for a fresh one: the search for an order wants short histories.
const CALLS_OF_GROUP: u64 = 300;

/// What a call whose end is unknown counts for, of those [`CALLS_OF_GROUP`]: it may take effect at any
/// later moment, so that the orders to search double with each.
const CALLS_OF_UNKNOWN: u64 = CALLS_OF_GROUP / 12;

/// Groups that are written to from the first to the last moment, a little.
const LASTING_GROUPS: u16 = 3;

/// One call in so many is to a lasting group.
const LASTING_SHARE: u64 = 25;

/// Groups that the test itself writes to, one for each partition or more.
pub(crate) const PROBED_GROUPS: std::ops::Range<u16> = 10..90;

const FIRST_ACTIVE_GROUP: u16 = 100;

/// What has been asked and told so far.
pub(crate) struct Record {
    order: AtomicU64,
    sessions: AtomicU64,
    tokens: AtomicU32,
    started: Instant,
    calls: Mutex<Vec<Call>>,
    /// The next fresh group; those that are written to, and what each has had.
    active: Mutex<(u16, [(u16, u64); ACTIVE_GROUPS])>,
}

impl Record {
    pub(crate) fn new() -> Arc<Self> {
        let active = std::array::from_fn(|at| (FIRST_ACTIVE_GROUP + at as u16, 0));
        Arc::new(Self {
            order: AtomicU64::new(1),
            sessions: AtomicU64::new(1),
            tokens: AtomicU32::new(1),
            started: Instant::now(),
            calls: Mutex::new(Vec::new()),
            active: Mutex::new((FIRST_ACTIVE_GROUP + ACTIVE_GROUPS as u16, active)),
        })
    }

    /// The history so far.
    pub(crate) fn history(&self) -> History {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        calls.sort_by_key(|call| call.invoked.order);
        History { calls, losses: Vec::new(), strikes: Vec::new() }
    }

    /// Every group that somebody has written to.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let history = self.history();
        let mut groups: Vec<_> =
            history.calls.iter().filter_map(|call| model::group_of(&call.action)).collect();
        groups.sort();
        groups.dedup();
        groups
    }

    /// A value that nobody has written before.
    pub(crate) fn token(&self, rng: &mut Rng) -> Token {
        let id = self.tokens.fetch_add(1, Ordering::Relaxed);
        let long = rng.below(40) == 0;
        let more = rng.below(if long { 20_000 } else { 80 }) as u32;
        Token { id, bytes: Token::BYTES_MIN + more }
    }

    fn moment(&self) -> Moment {
        Moment {
            // Sequentially consistent, since it stands for what was before what.
            order: self.order.fetch_add(1, Ordering::SeqCst),
            at_ns: self.started.elapsed().as_nanos() as u64,
            clock: ClockView::default(),
        }
    }

    fn group(&self, rng: &mut Rng) -> Group {
        if rng.below(LASTING_SHARE) == 0 {
            return Group(rng.below(LASTING_GROUPS.into()) as u16);
        }
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, slots) = &mut *active;
        let slot = &mut slots[rng.below(ACTIVE_GROUPS as u64) as usize];
        slot.1 += 1;
        if slot.1 > CALLS_OF_GROUP {
            *slot = (*next, 1);
            *next += 1;
        }
        Group(slot.0)
    }

    /// The calls have ended.
    fn ended(&self, calls: Vec<Call>) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        for call in calls.iter().filter(|call| matches!(call.outcome, Outcome::Unknown(_))) {
            let Some(group) = model::group_of(&call.action) else { continue };
            if let Some(slot) = active.1.iter_mut().find(|slot| slot.0 == group.0) {
                slot.1 += CALLS_OF_UNKNOWN;
            }
        }
        drop(active);
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).extend(calls);
    }
}

/// A client: one connection at a time, to any of the nodes.
pub(crate) struct Asker {
    record: Arc<Record>,
    id: u32,
    nodes: Vec<Endpoint>,
    rng: Rng,
    connection: Option<(Client, u64)>,
}

impl Asker {
    pub(crate) fn new(record: &Arc<Record>, id: u32, nodes: &[Endpoint], rng: Rng) -> Self {
        Self { record: Arc::clone(record), id, nodes: nodes.to_vec(), rng, connection: None }
    }

    /// Asks until told to stop.
    fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let breath = if self.rng.below(4) == 0 { 1 + self.rng.below(BREATH_MAX) } else { 1 };
            let wishes = (0..breath).map(|_| self.wish()).collect();
            let outcomes = self.ask(wishes);
            let refused = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Refused(_)));
            if refused || outcomes.is_empty() {
                thread::sleep(REST_AFTER_REFUSAL);
            } else {
                thread::sleep(Duration::from_millis(self.rng.below(REST_MS_MAX) * breath));
            }
            // Now and then to another node, so that all are asked whatever happens.
            if self.rng.below(50) == 0 {
                self.connection = None;
            }
        }
    }

    /// Asks in one breath and waits for the replies. Nothing is asked if no node is reached.
    pub(crate) fn ask(&mut self, actions: Vec<Action>) -> Vec<Outcome> {
        let Some((mut client, session)) = self.connection.take().or_else(|| self.connect()) else {
            return Vec::new();
        };
        let mut bytes = Vec::new();
        let mut asked = Vec::new();
        for action in actions {
            let commands = words::commands(&action);
            commands.iter().for_each(|command| bytes.extend(encode(command)));
            asked.push((action, commands.len(), self.record.moment()));
        }
        let mut broken = client.send_raw(&bytes).err();
        let mut calls = Vec::new();
        for (mut action, commands, invoked) in asked {
            // Of a transaction the last reply tells.
            for _ in 1..commands {
                broken = broken.or_else(|| client.receive().err());
            }
            let reply = match broken {
                None => client.receive().map_err(|why| broken = Some(why)).ok(),
                Some(_) => None,
            };
            let returned = reply.as_ref().map(|_| self.record.moment());
            let outcome = match (&reply, &broken) {
                (Some(reply), _) => words::outcome(&mut action, &reply_of(reply)),
                (None, why) => Outcome::Unknown(format!("the connection: {why:?}")),
            };
            let (client, until) = (self.id, None);
            let watched_at = matches!(action, Action::Txn { .. }).then_some(invoked);
            calls.push(Call {
                nearby: false,
                client,
                session,
                action,
                invoked,
                watched_at,
                returned,
                outcome,
                until,
            });
        }
        if broken.is_none() {
            self.connection = Some((client, session));
        }
        let outcomes = calls.iter().map(|call| call.outcome.clone()).collect();
        self.record.ended(calls);
        outcomes
    }

    /// Writes to the group until it is told that this was done.
    pub(crate) fn written(&mut self, group: Group) -> bool {
        let token = self.record.token(&mut self.rng);
        let outcomes = self.ask(vec![set(Key { group, number: 1 }, Val::Tokens(vec![token]))]);
        let done = outcomes.first() == Some(&Outcome::Answered(Answer::Done));
        if !done {
            thread::sleep(REST_AFTER_REFUSAL);
        }
        done
    }

    /// Reads all keys of the group, and whether that was answered.
    pub(crate) fn read(&mut self, group: Group) -> bool {
        let keys = (0..3).map(|number| Key { group, number }).collect();
        let outcomes = self.ask(vec![Action::MGet(keys)]);
        let done = matches!(outcomes.first(), Some(Outcome::Answered(_)));
        if !done {
            thread::sleep(REST_AFTER_REFUSAL);
        }
        done
    }

    fn connect(&mut self) -> Option<(Client, u64)> {
        let node = &self.nodes[self.rng.below(self.nodes.len() as u64) as usize];
        let client = Client::connect(node).ok()?;
        client.set_patience(PATIENCE).ok()?;
        Some((client, self.record.sessions.fetch_add(1, Ordering::Relaxed)))
    }

    /// Number 0 of a group is a counter most of the time, 1 and 2 are texts.
    fn wish(&mut self) -> Action {
        let group = self.record.group(&mut self.rng);
        let mut key = |n| Key { group, number: self.rng.below(n) as u8 };
        let (any, counter) = (key(3), Key { group, number: 0 });
        let text = Key { group, number: 1 + key(2).number };
        let all = || (0..3).map(|number| Key { group, number }).collect();
        let mut token = || self.record.token(&mut self.rng);
        let mut val = || Val::Tokens(vec![token()]);
        let (one, other) = (val(), val());
        let more = token();
        match self.rng.below(100) {
            0..26 => Action::Get(any),
            26..32 => Action::MGet(all()),
            32..52 => set(text, one),
            52..56 => with_condition(set(text, one), When::Absent),
            56..60 => and_get(set(text, one)),
            60..74 => Action::Incr(counter, 1),
            74..84 => Action::Append(text, more),
            84..89 => Action::Del(vec![any]),
            89..91 => Action::GetDel(any),
            91..95 => {
                let texts = [1, 2].map(|number| Key { group, number });
                Action::MSet(texts.into_iter().zip([one, other]).collect())
            }
            _ => {
                let steps = vec![Action::Incr(counter, 1), set(text, one), Action::Get(any)];
                Action::Txn { watched: Vec::new(), steps }
            }
        }
    }
}

/// `SET key val`.
pub(crate) fn set(key: Key, val: Val) -> Action {
    Action::Set { key, val, ttl: Ttl::None, when: When::Always, get: false }
}

fn with_condition(mut action: Action, is: When) -> Action {
    if let Action::Set { when, .. } = &mut action {
        *when = is;
    }
    action
}

fn and_get(mut action: Action) -> Action {
    if let Action::Set { get, .. } = &mut action {
        *get = true;
    }
    action
}

/// What the client read, as the simulator's clients have it.
fn reply_of(frame: &Frame) -> Reply {
    match frame {
        Frame::Simple(text) if text == "OK" => Reply::OK,
        Frame::Error(text) => Reply::error_owned(text.clone()),
        Frame::Int(n) => Reply::Int(*n),
        Frame::Bulk(bytes) => Reply::bulk(bytes),
        Frame::NullBulk | Frame::Null => Reply::Null,
        Frame::NullArray => Reply::NullArray,
        Frame::Array(parts) => Reply::Array(parts.iter().map(reply_of).collect()),
        Frame::Simple(_)
        | Frame::Map(_)
        | Frame::Set(_)
        | Frame::Push(_)
        | Frame::Double(_)
        | Frame::Bool(_)
        | Frame::Big(_)
        | Frame::Verbatim(_) => panic!("no command of the test is answered by {frame:?}"),
    }
}

/// Clients at work.
pub(crate) struct Askers {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Askers {
    pub(crate) fn start(
        count: u32,
        record: &Arc<Record>,
        nodes: &[Endpoint],
        rng: &mut Rng,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (1..=count).map(|id| {
            let mut asker = Asker::new(record, id, nodes, Rng::new(rng.next()));
            let stop = Arc::clone(&stop);
            thread::spawn(move || asker.run(&stop))
        });
        Self { threads: threads.collect(), stop }
    }

    /// Ends them, once each has its last reply or has waited long enough for it.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no client fails"));
    }
}

/// One of these is in an error that says that nothing was done. The last two are Redis's.
const REFUSALS: [&str; 4] = ["not applied", "nothing was changed", "LOADING", "EXECABORT"];

/// What is wrong with a history, in words; nothing if nothing is.
pub(crate) fn faults(history: &History) -> Vec<String> {
    let verdict = checkers::judge(history);
    let broken = verdict.violations.iter().map(|v| format!("{}: {}", v.checker, v.text));
    let undecided = verdict.undecided.iter();
    let undecided = undecided.map(|group| format!("group {} could not be decided", group.0));
    let unclear = history.calls.iter().filter_map(|call| {
        let Outcome::Refused(text) = &call.outcome else { return None };
        let clear = REFUSALS.iter().any(|words| text.contains(words));
        let unclear = || format!("an error that does not say what became of the command: {text}");
        (!clear).then(unclear)
    });
    broken.chain(undecided).chain(unclear).collect()
}

/// How many calls ended how.
pub(crate) fn summary(history: &History) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for call in &history.calls {
        let how = match &call.outcome {
            Outcome::Answered(_) => "answered".into(),
            Outcome::Refused(text) => format!("refused: {}", first_words(text)),
            Outcome::Unknown(text) => format!("unknown: {}", first_words(text)),
            Outcome::Garbage(text) => format!("garbage: {}", first_words(text)),
        };
        *counts.entry(how).or_default() += 1;
    }
    counts.iter().map(|(how, count)| format!("{count:>7}  {how}\n")).collect()
}

/// An error without its numbers.
fn first_words(text: &str) -> String {
    let words = text.split(' ').filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    words.take(8).collect::<Vec<_>>().join(" ")
}

/// Writes the history down, a call a line.
pub(crate) fn keep(history: &History, file: &Path) {
    let line = |call: &Call| {
        let at_ms = |moment: Moment| moment.at_ns / 1_000_000;
        let until = call.returned.map_or(String::from("never"), |at| format!("{} ms", at_ms(at)));
        format!("{} ms to {until}, s{}: {}\n", at_ms(call.invoked), call.session, told::call(call))
    };
    let text: String = history.calls.iter().map(line).collect();
    std::fs::write(file, text).expect("the history is written");
}
