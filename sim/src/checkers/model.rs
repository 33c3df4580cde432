//! What one group of keys may do: the sequential model that answers are held against.
//!
//! [`apply`] is a command on a [`State`], written to be read beside `core/src/kv`: in the same order
//! it looks at keys, and what it does not look at it does not decide. What it does not know is the
//! log clock, only the [`Span`] in which that was, so that a key with a time of expiry may be live
//! or expired, and one command may have several outcomes:
//! - a key that expires within `[lo, hi]` may be taken for expired by a clock of at least `lo`, and
//!   for live by a clock below `hi`;
//! - one that was found live at a clock of at least `c` does not expire before `c + 1`;
//! - once taken for expired it is gone: core tells nobody before that clock is committed;
//! - a command, and a whole transaction, has one clock. Each decision narrows the span for those
//!   that follow, and what a transaction has itself written is live to the end of it.
//!
//! Where it allows more than core does: clocks of different commands are not held to an order (the
//! node's life and its committed clock already bound them), and what one command tells of two spans
//! together is forgotten: that of two keys found live and expired, this one expires later than that.
//! With absolute times, or where the clock is exactly known, the outcomes are exact.

use std::collections::BTreeMap;

use crate::history::{Action, Answer, Group, Key, Token, Ttl, Val, When};

/// Possible log clocks of one evaluation, or possible times of one expiry; both ends are possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The earliest, in ms.
    pub lo_ms: u64,
    /// The latest, in ms; not before the earliest.
    pub hi_ms: u64,
}

/// A key that is there, or has expired and nobody has looked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Held {
    /// Its value.
    pub val: Val,
    /// When it expires.
    pub expires: Option<Span>,
}

/// The keys of one group, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State(pub BTreeMap<u8, Held>);

/// What a command may leave and answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The keys afterwards.
    pub state: State,
    /// What the client is told; `None` for an error that a history has no word for.
    pub answer: Option<Answer>,
}

/// Everything that `action`, evaluated at some clock within `clock`, may do to `state`. A
/// transaction whose watched keys have changed answers [`Answer::Aborted`].
pub fn apply(state: &State, action: &Action, clock: Span) -> Vec<Step> {
    assert!(clock.lo_ms <= clock.hi_ms, "a clock has at least one possible time");
    let mut steps: Vec<Step> = Vec::new();
    let mut scripts = vec![Vec::new()];
    while let Some(script) = scripts.pop() {
        let mut run = Run {
            keys: state.clone(),
            clock,
            settled: Vec::new(),
            script,
            decided: 0,
            others: &mut scripts,
        };
        let answer = run.action(action);
        let step = Step { state: run.keys, answer };
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps
}

/// The group whose keys `action` names; `None` if it is of every group (FLUSHALL) or of none.
pub fn group_of(action: &Action) -> Option<Group> {
    keys_of(action).first().map(|key| key.group)
}

/// The keys that `action` names, in its order.
pub fn keys_of(action: &Action) -> Vec<Key> {
    match action {
        Action::Get(key)
        | Action::Set { key, .. }
        | Action::GetDel(key)
        | Action::Incr(key, _)
        | Action::Append(key, _)
        | Action::DelIfEq(key, _)
        | Action::Expire(key, _)
        | Action::Persist(key) => vec![*key],
        Action::MGet(keys) | Action::Exists(keys) | Action::Del(keys) => keys.clone(),
        Action::MSet(pairs) | Action::MSetNx(pairs) => pairs.iter().map(|(key, _)| *key).collect(),
        Action::Rename(from, to) => vec![*from, *to],
        Action::Flush => Vec::new(),
        Action::Txn { watched, steps } => {
            let watched = watched.iter().map(|(key, _)| *key);
            watched.chain(steps.iter().flat_map(keys_of)).collect()
        }
    }
}

/// Whether `action` can change anything.
pub fn writes(action: &Action) -> bool {
    match action {
        Action::Get(_) | Action::MGet(_) | Action::Exists(_) => false,
        Action::Set { .. }
        | Action::GetDel(_)
        | Action::Del(_)
        | Action::MSet(_)
        | Action::MSetNx(_)
        | Action::Incr(..)
        | Action::Append(..)
        | Action::DelIfEq(..)
        | Action::Expire(..)
        | Action::Persist(_)
        | Action::Rename(..)
        | Action::Flush => true,
        Action::Txn { steps, .. } => steps.iter().any(writes),
    }
}

/// One evaluation, in which every question that the clock leaves open is answered by `script`, or,
/// past its end, with yes, while the script for no is noted in `others`.
struct Run<'a> {
    keys: State,
    clock: Span,
    /// Keys that are known to be live for the rest of the evaluation.
    settled: Vec<u8>,
    script: Vec<bool>,
    decided: usize,
    others: &'a mut Vec<Vec<bool>>,
}

impl Run<'_> {
    fn action(&mut self, action: &Action) -> Option<Answer> {
        Some(match action {
            Action::Get(key) => val_or_nil(self.look(*key)),
            Action::MGet(keys) => Answer::Vals(keys.iter().map(|key| self.look(*key)).collect()),
            Action::Exists(keys) => count(keys, |key| self.live(key)),
            Action::Set { key, val, ttl, when, get } => {
                return self.set(*key, val, *ttl, when, *get);
            }
            Action::GetDel(key) => {
                let old = self.look(*key);
                self.remove(*key);
                val_or_nil(old)
            }
            Action::Del(keys) => count(keys, |key| self.live(key) && self.remove(key)),
            Action::MSet(pairs) => {
                self.put_all(pairs);
                Answer::Done
            }
            Action::MSetNx(pairs) => {
                let free = !pairs.iter().any(|(key, _)| self.live(*key));
                if free {
                    self.put_all(pairs);
                }
                Answer::Int(i64::from(free))
            }
            Action::Incr(key, delta) => return self.incr(*key, *delta),
            Action::Append(key, token) => self.append(*key, *token),
            Action::DelIfEq(key, val) => {
                let equal = self.look(*key).as_ref() == Some(val);
                Answer::Int(i64::from(equal && self.remove(*key)))
            }
            Action::Expire(key, ttl) => return self.expire(*key, *ttl),
            Action::Persist(key) => {
                let had = self.live(*key) && self.held(*key).is_some_and(|h| h.expires.is_some());
                if had {
                    self.expires(*key, None);
                }
                Answer::Int(i64::from(had))
            }
            Action::Rename(from, to) => self.rename(*from, *to),
            Action::Flush => {
                self.keys.0.clear();
                Answer::Done
            }
            Action::Txn { watched, steps } => return self.transaction(watched, steps),
        })
    }

    fn set(&mut self, key: Key, val: &Val, ttl: Ttl, when: &When, get: bool) -> Option<Answer> {
        if matches!(ttl, Ttl::In(0) | Ttl::At(0)) {
            return None;
        }
        let looks = get || *when != When::Always || ttl == Ttl::Keep;
        let old = if looks { self.look(key) } else { None };
        let met = match when {
            When::Always => true,
            When::Absent => old.is_none(),
            When::Present => old.is_some(),
            When::Equal(val) => old.as_ref() == Some(val),
        };
        if met {
            let expires = match ttl {
                Ttl::None => Some(None),
                Ttl::Keep => Some(self.held(key).and_then(|held| held.expires)),
                Ttl::In(ms) => Some(Some(self.after(ms))),
                Ttl::At(at) => self.still_to_come(at).map(Some),
            };
            match expires {
                Some(expires) => self.put(key, val.clone(), expires),
                None => _ = self.remove(key),
            }
        }
        Some(match (get, met) {
            (true, _) => val_or_nil(old),
            (false, true) => Answer::Done,
            (false, false) => Answer::Nil,
        })
    }

    fn incr(&mut self, key: Key, delta: i64) -> Option<Answer> {
        let old = match self.look(key) {
            None => 0,
            Some(Val::Int(n)) => n,
            Some(Val::Tokens(_)) => return Some(Answer::NotInteger),
        };
        let new = old.checked_add(delta)?;
        let expires = self.held(key).and_then(|held| held.expires);
        self.put(key, Val::Int(new), expires);
        Some(Answer::Int(new))
    }

    fn append(&mut self, key: Key, token: Token) -> Answer {
        let mut tokens = match self.look(key) {
            None => Vec::new(),
            Some(Val::Tokens(tokens)) => tokens,
            Some(number @ Val::Int(_)) => vec![digits(&number)],
        };
        tokens.push(token);
        let val = Val::Tokens(tokens);
        let len = i64::try_from(val.len()).expect("the length of a value");
        let expires = self.held(key).and_then(|held| held.expires);
        self.put(key, val, expires);
        Answer::Int(len)
    }

    fn expire(&mut self, key: Key, ttl: Ttl) -> Option<Answer> {
        if !self.live(key) {
            return Some(Answer::Int(0));
        }
        let expires = match ttl {
            Ttl::None | Ttl::Keep => return None,
            Ttl::In(0) => None,
            Ttl::In(ms) => Some(self.after(ms)),
            Ttl::At(at) => self.still_to_come(at),
        };
        match expires {
            Some(expires) => self.expires(key, Some(expires)),
            None => _ = self.remove(key),
        }
        Some(Answer::Int(1))
    }

    fn rename(&mut self, from: Key, to: Key) -> Answer {
        if !self.live(from) {
            return Answer::NoSuchKey;
        }
        if from != to {
            let held = self.keys.0.remove(&from.number).expect("it is live");
            self.put(to, held.val, held.expires);
        }
        Answer::Done
    }

    fn transaction(&mut self, watched: &[(Key, Option<Val>)], steps: &[Action]) -> Option<Answer> {
        if !watched.iter().all(|(key, val)| self.look(*key) == *val) {
            return Some(Answer::Aborted);
        }
        // A step that fails takes nothing from the others.
        let answers: Vec<_> = steps.iter().map(|step| self.action(step)).collect();
        answers.into_iter().collect::<Option<_>>().map(Answer::Each)
    }

    /// The value of a live key.
    fn look(&mut self, key: Key) -> Option<Val> {
        if !self.live(key) {
            return None;
        }
        self.held(key).map(|held| held.val.clone())
    }

    /// Whether a key is there. One that is taken for expired is removed.
    fn live(&mut self, key: Key) -> bool {
        let Some(held) = self.held(key) else { return false };
        let Some(expires) = held.expires else { return true };
        if self.settled.contains(&key.number) {
            return true;
        }
        let may_live = self.clock.lo_ms < expires.hi_ms;
        let may_expire = self.clock.hi_ms >= expires.lo_ms;
        let live = self.decide(may_live, may_expire);
        if live {
            self.clock.hi_ms = self.clock.hi_ms.min(expires.hi_ms - 1);
            let lo_ms = expires.lo_ms.max(self.clock.lo_ms + 1);
            self.expires(key, Some(Span { lo_ms, ..expires }));
        } else {
            self.clock.lo_ms = self.clock.lo_ms.max(expires.lo_ms);
            self.remove(key);
        }
        live
    }

    /// The time `at_ms` as one of expiry, if the clock has not reached it.
    fn still_to_come(&mut self, at_ms: u64) -> Option<Span> {
        let to_come = self.decide(self.clock.lo_ms < at_ms, self.clock.hi_ms >= at_ms);
        if to_come {
            self.clock.hi_ms = self.clock.hi_ms.min(at_ms - 1);
        } else {
            self.clock.lo_ms = self.clock.lo_ms.max(at_ms);
        }
        to_come.then_some(Span { lo_ms: at_ms, hi_ms: at_ms })
    }

    /// The time `ms` after now.
    fn after(&self, ms: u64) -> Span {
        let Span { lo_ms, hi_ms } = self.clock;
        Span { lo_ms: lo_ms.saturating_add(ms), hi_ms: hi_ms.saturating_add(ms) }
    }

    fn decide(&mut self, may_be: bool, may_not_be: bool) -> bool {
        assert!(may_be || may_not_be, "a span has no gap");
        if !(may_be && may_not_be) {
            return may_be;
        }
        if self.decided == self.script.len() {
            let mut other = self.script.clone();
            other.push(false);
            self.others.push(other);
            self.script.push(true);
        }
        self.decided += 1;
        self.script[self.decided - 1]
    }

    fn held(&self, key: Key) -> Option<&Held> {
        self.keys.0.get(&key.number)
    }

    fn put(&mut self, key: Key, val: Val, expires: Option<Span>) {
        self.settled.push(key.number);
        self.keys.0.insert(key.number, Held { val, expires });
    }

    fn put_all(&mut self, pairs: &[(Key, Val)]) {
        pairs.iter().for_each(|(key, val)| self.put(*key, val.clone(), None));
    }

    fn expires(&mut self, key: Key, expires: Option<Span>) {
        self.settled.push(key.number);
        self.keys.0.get_mut(&key.number).expect("it is live").expires = expires;
    }

    fn remove(&mut self, key: Key) -> bool {
        self.keys.0.remove(&key.number).is_some()
    }
}

fn val_or_nil(val: Option<Val>) -> Answer {
    val.map_or(Answer::Nil, Answer::Val)
}

fn count(keys: &[Key], mut counts: impl FnMut(Key) -> bool) -> Answer {
    Answer::Int(keys.iter().map(|key| i64::from(counts(*key))).sum())
}

/// A counter that is no longer one, since a token was appended: no value that a client can read
/// (it is garbage), but one whose length is known.
fn digits(number: &Val) -> Token {
    Token { id: u32::MAX, bytes: u32::try_from(number.len()).expect("at most 20 digits") }
}

#[cfg(test)]
mod tests;
