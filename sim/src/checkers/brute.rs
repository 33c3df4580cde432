//! The search for an order once more, by trying them all, to hold the quick one against.
//!
//! Nothing of it is shared with [`model`](super::model) or [`search`](super::search): keys hold
//! bytes, as in the node; each command is tried at every single log clock that it may have had; a
//! time of expiry is one number; and the log is kept entry by entry, so that a loss is a cut.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{
    Action, Answer, Call, History, Key, Left, Loss, Order, Outcome, Ttl, Val, When,
};

mod random;
mod speed;

/// A clock after which nothing happens in these histories.
const CLOCK_MAX_MS: u64 = 60;

/// Whether some order explains the calls, which are all of one group.
fn explained(history: &History) -> bool {
    let calls = history.calls.iter().filter(|call| !is_nothing(call)).map(Event::Call);
    let losses = history.losses.iter().map(Event::Loss);
    let start = Log(vec![Entry { keys: Keys::new(), returned: 0 }]);
    try_all(&calls.chain(losses).collect::<Vec<_>>(), &[], &BTreeSet::from([start]))
}

/// The keys as the node holds them, with when they expire.
type Keys = BTreeMap<u8, (Vec<u8>, Option<u64>)>;

/// What an event left, and when its client knew.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    keys: Keys,
    returned: Order,
}

/// The log since the beginning, never empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Log(Vec<Entry>);

#[derive(Clone, Copy, Debug)]
enum Event<'a> {
    Call(&'a Call),
    Loss(&'a Loss),
}

impl Event<'_> {
    fn from(self) -> Order {
        match self {
            Self::Call(call) => call.invoked.order,
            Self::Loss(loss) => loss.from,
        }
    }

    /// When it had taken effect, if it ever did.
    fn to(self) -> Order {
        match self {
            Self::Call(call) => match call.outcome {
                Outcome::Unknown(_) => call.until.unwrap_or(Order::MAX),
                Outcome::Answered(_) | Outcome::Refused(_) | Outcome::Garbage(_) => {
                    call.returned.expect("it was answered").order
                }
            },
            Self::Loss(loss) => loss.to,
        }
    }

    fn must_happen(self) -> bool {
        match self {
            Self::Call(call) => matches!(call.outcome, Outcome::Answered(_)),
            Self::Loss(_) => true,
        }
    }

    fn happens(self, log: &Log) -> Vec<Log> {
        match self {
            Self::Call(call) => log.call(call),
            Self::Loss(loss) => log.loss(loss),
        }
    }
}

/// Whether the call can have had no effect and tells nothing. A read that nobody was told of could
/// only find keys expired, and that by a clock which no later call is behind: they find it as well.
fn is_nothing(call: &Call) -> bool {
    match &call.outcome {
        Outcome::Refused(_) | Outcome::Answered(Answer::Aborted) => true,
        Outcome::Answered(_) => false,
        Outcome::Unknown(_) | Outcome::Garbage(_) => only_reads(&call.action),
    }
}

fn only_reads(action: &Action) -> bool {
    if let Action::Txn { steps, .. } = action {
        return steps.iter().all(only_reads);
    }
    matches!(action, Action::Get(_) | Action::MGet(_) | Action::Exists(_))
}

fn try_all(left: &[Event<'_>], gone: &[Event<'_>], logs: &BTreeSet<Log>) -> bool {
    if logs.is_empty() {
        return false;
    }
    if !left.iter().any(|event| event.must_happen()) {
        return true;
    }
    (0..left.len()).any(|i| {
        let event = left[i];
        let too_early = left.iter().any(|e| e.must_happen() && e.to() < event.from());
        let too_late = gone.iter().any(|e| e.from() > event.to());
        if too_early || too_late {
            return false;
        }
        let logs = logs.iter().flat_map(|log| event.happens(log)).collect();
        let left: Vec<_> = [&left[..i], &left[i + 1..]].concat();
        try_all(&left, &[gone, &[event]].concat(), &logs)
    })
}

impl Log {
    fn keys(&self) -> &Keys {
        &self.0.last().expect("a log is never empty").keys
    }

    fn then(&self, keys: Keys, returned: Order) -> Self {
        let mut log = self.clone();
        log.0.push(Entry { keys, returned });
        log
    }

    fn call(&self, call: &Call) -> Vec<Self> {
        let (lo, hi, wanted, returned) = match (&call.outcome, call.returned) {
            (Outcome::Answered(answer), Some(returned)) => {
                (call.clock_min_ms(), call.clock_max_ms(), Some(answer), returned.order)
            }
            _ => (call.invoked.clock.committed_ms, CLOCK_MAX_MS, None, Order::MAX),
        };
        let mut logs = Vec::new();
        for clock in lo..=hi.max(lo) {
            let mut node = Node { keys: self.keys().clone(), clock, fresh: BTreeSet::new() };
            let told = node.run(&call.action);
            if wanted.is_none_or(|wanted| Told::from(wanted) == told) {
                logs.push(self.then(node.keys, returned));
            }
        }
        logs
    }

    fn loss(&self, loss: &Loss) -> Vec<Self> {
        match loss.left {
            Left::Nothing => vec![Self(vec![Entry { keys: Keys::new(), returned: 0 }])],
            Left::Prefix(until) => {
                let last = self.0.iter().rposition(|entry| entry.returned <= until);
                let least = last.expect("the first entry stays") + 1;
                (least..=self.0.len()).map(|len| Self(self.0[..len].to_vec())).collect()
            }
        }
    }
}

/// A reply in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Ok,
    Null,
    NullArray,
    Int(i64),
    Bulk(Vec<u8>),
    Array(Vec<Told>),
    Error(&'static str),
}

impl From<&Answer> for Told {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Done => Self::Ok,
            Answer::Nil => Self::Null,
            Answer::Aborted => Self::NullArray,
            Answer::Untold => unreachable!("no history here was taken from a damaged disk"),
            Answer::Int(n) => Self::Int(*n),
            Answer::Val(val) => Self::Bulk(val.encode()),
            Answer::Vals(vals) => Self::Array(
                vals.iter()
                    .map(|v| v.as_ref().map_or(Self::Null, |v| Self::Bulk(v.encode())))
                    .collect(),
            ),
            Answer::NotInteger => Self::Error("not an integer"),
            Answer::NoSuchKey => Self::Error("no such key"),
            Answer::Each(answers) => Self::Array(answers.iter().map(Self::from).collect()),
        }
    }
}

/// A node at one moment.
struct Node {
    keys: Keys,
    clock: u64,
    /// What the transaction at work has written: it does not expire under its hands.
    fresh: BTreeSet<u8>,
}

impl Node {
    fn run(&mut self, action: &Action) -> Told {
        match action {
            Action::Get(key) => self.bulk(key),
            Action::MGet(keys) => Told::Array(keys.iter().map(|key| self.bulk(key)).collect()),
            Action::Exists(keys) => {
                Told::Int(keys.iter().filter(|key| self.read(key).is_some()).count() as i64)
            }
            Action::Set { key, val, ttl, when, get } => {
                let condition = *when != When::Always;
                let old =
                    if *get || condition || *ttl == Ttl::Keep { self.read(key) } else { None };
                let go = match when {
                    When::Always => true,
                    When::Absent => old.is_none(),
                    When::Present => old.is_some(),
                    When::Equal(val) => old.as_ref().is_some_and(|(old, _)| *old == val.encode()),
                };
                if go {
                    let kept = old.as_ref().and_then(|(_, at)| *at);
                    self.store(
                        key,
                        val.encode(),
                        self.deadline(*ttl).or(kept.filter(|_| *ttl == Ttl::Keep)),
                    );
                }
                match (get, old) {
                    (true, Some((old, _))) => Told::Bulk(old),
                    (true, None) => Told::Null,
                    (false, _) => {
                        if go {
                            Told::Ok
                        } else {
                            Told::Null
                        }
                    }
                }
            }
            Action::GetDel(key) => {
                let told = self.bulk(key);
                self.keys.remove(&key.number);
                told
            }
            Action::Del(keys) => {
                let mut n = 0;
                for key in keys {
                    n += i64::from(self.read(key).is_some());
                    self.keys.remove(&key.number);
                }
                Told::Int(n)
            }
            Action::MSet(pairs) => {
                pairs.iter().for_each(|(key, val)| self.store(key, val.encode(), None));
                Told::Ok
            }
            Action::MSetNx(pairs) => {
                if pairs.iter().any(|(key, _)| self.read(key).is_some()) {
                    return Told::Int(0);
                }
                pairs.iter().for_each(|(key, val)| self.store(key, val.encode(), None));
                Told::Int(1)
            }
            Action::Incr(key, delta) => {
                let (old, at) = self.read(key).unwrap_or((b"0".to_vec(), None));
                let Some(old) = String::from_utf8(old).ok().and_then(|old| old.parse::<i64>().ok())
                else {
                    return Told::Error("not an integer");
                };
                self.store(key, (old + delta).to_string().into_bytes(), at);
                Told::Int(old + delta)
            }
            Action::Append(key, token) => {
                let (mut bytes, at) = self.read(key).unwrap_or_default();
                bytes.extend(Val::Tokens(vec![*token]).encode());
                let len = bytes.len() as i64;
                self.store(key, bytes, at);
                Told::Int(len)
            }
            Action::DelIfEq(key, val) => {
                let equal = self.read(key).is_some_and(|(old, _)| old == val.encode());
                if equal {
                    self.keys.remove(&key.number);
                }
                Told::Int(i64::from(equal))
            }
            Action::Expire(key, ttl) => {
                let Some((bytes, _)) = self.read(key) else { return Told::Int(0) };
                self.store(key, bytes, self.deadline(*ttl));
                Told::Int(1)
            }
            Action::Persist(key) => {
                let Some((bytes, Some(_))) = self.read(key) else { return Told::Int(0) };
                self.store(key, bytes, None);
                Told::Int(1)
            }
            Action::Rename(from, to) => {
                let Some((bytes, at)) = self.read(from) else {
                    return Told::Error("no such key");
                };
                if from != to {
                    self.keys.remove(&from.number);
                    self.keys.insert(to.number, (bytes, at));
                    self.fresh.insert(to.number);
                }
                Told::Ok
            }
            Action::Flush => {
                self.keys.clear();
                Told::Ok
            }
            Action::Txn { watched, steps } => {
                for (key, val) in watched {
                    if self.read(key).map(|(bytes, _)| bytes) != val.as_ref().map(Val::encode) {
                        return Told::NullArray;
                    }
                }
                Told::Array(steps.iter().map(|step| self.run(step)).collect())
            }
        }
    }

    fn deadline(&self, ttl: Ttl) -> Option<u64> {
        match ttl {
            Ttl::None | Ttl::Keep => None,
            Ttl::In(ms) => Some(self.clock + ms),
            Ttl::At(at) => Some(at),
        }
    }

    fn read(&mut self, key: &Key) -> Option<(Vec<u8>, Option<u64>)> {
        let (bytes, at) = self.keys.get(&key.number)?.clone();
        if at.is_some_and(|at| at <= self.clock) && !self.fresh.contains(&key.number) {
            self.keys.remove(&key.number);
            return None;
        }
        Some((bytes, at))
    }

    fn store(&mut self, key: &Key, bytes: Vec<u8>, at: Option<u64>) {
        if at.is_some_and(|at| at <= self.clock) {
            self.keys.remove(&key.number);
        } else {
            self.keys.insert(key.number, (bytes, at));
            self.fresh.insert(key.number);
        }
    }

    fn bulk(&mut self, key: &Key) -> Told {
        self.read(key).map_or(Told::Null, |(bytes, _)| Told::Bulk(bytes))
    }
}
