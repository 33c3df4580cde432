//! What calls show of keys and do to them, without a model: the ground of the simple checkers.
//!
//! Everything here is certain: what an answered call tells by its answer alone. What it leaves open
//! is left out.

use std::collections::BTreeMap;

use crate::history::{Action, Answer, Call, History, Key, Left, Order, Outcome, Token, Val, When};

/// Something known of a key at one point between two orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact<T> {
    /// Whose call told; none if it was a loss.
    pub(super) call: Option<usize>,
    /// Not before this.
    pub(super) from: Order,
    /// Not after this.
    pub(super) to: Order,
    /// What is known.
    pub(super) what: T,
}

/// All facts about one key, each list by `from`.
#[derive(Debug, Default)]
pub(super) struct KeyFacts {
    /// It had this value, or was not there.
    pub(super) seen: Vec<Fact<Option<Val>>>,
    /// Whatever tokens it had before, it had no more.
    pub(super) cleared: Vec<Fact<()>>,
    /// Another key's value may have become its.
    pub(super) moved_in: Vec<Fact<()>>,
}

/// All facts that a history tells.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Of each key.
    pub(super) keys: BTreeMap<Key, KeyFacts>,
    /// By which call each token was to be written, and where.
    pub(super) writers: BTreeMap<Token, (usize, Key)>,
}

impl Facts {
    /// What `history` tells.
    pub(super) fn of(history: &History) -> Self {
        let mut facts = Self::default();
        for (i, call) in history.calls.iter().enumerate() {
            for key in super::model::keys_of(&call.action) {
                facts.keys.entry(key).or_default();
            }
            for (key, token) in tokens_written(&call.action) {
                facts.writers.insert(token, (i, key));
            }
        }
        for (i, call) in history.calls.iter().enumerate() {
            facts.add_call(i, call);
        }
        for loss in history.losses.iter().filter(|loss| loss.left == Left::Nothing) {
            let fact = Fact { call: None, from: loss.from, to: loss.to, what: () };
            let lost = facts.keys.iter_mut().filter(|(key, _)| loss.concerns(key.group));
            lost.for_each(|(_, key)| key.cleared.push(fact.clone()));
        }
        for key in facts.keys.values_mut() {
            key.seen.sort_by_key(|fact| fact.from);
            key.cleared.sort_by_key(|fact| fact.from);
        }
        facts
    }

    fn add_call(&mut self, i: usize, call: &Call) {
        let from = call.invoked.order;
        let returned = call.returned.map_or(Order::MAX, |returned| returned.order);
        let (answer, to) = match &call.outcome {
            Outcome::Refused(_) => return,
            Outcome::Answered(answer) => (Some(answer), returned),
            Outcome::Garbage(_) => (None, returned),
            Outcome::Unknown(_) => (None, call.until.unwrap_or(Order::MAX)),
        };
        let fact = || Fact { call: Some(i), from, to, what: () };
        for key in moved_in(&call.action, answer) {
            self.keys.entry(key).or_default().moved_in.push(fact());
        }
        let Some(answer) = answer else { return };
        for (key, what) in seen(&call.action, answer) {
            self.keys.entry(key).or_default().seen.push(Fact { call: Some(i), from, to, what });
        }
        match cleared(&call.action, answer) {
            Cleared::Keys(keys) => keys
                .into_iter()
                .for_each(|key| self.keys.entry(key).or_default().cleared.push(fact())),
            Cleared::All => self.keys.values_mut().for_each(|key| key.cleared.push(fact())),
        }
    }

    /// When `token` was certainly on its key: since its writer was answered that it is, or since
    /// somebody saw it there.
    pub(super) fn there_since(&self, history: &History, token: Token) -> Option<Order> {
        let &(writer, key) = self.writers.get(&token)?;
        let writer = &history.calls[writer];
        let written = match (&writer.outcome, writer.returned) {
            (Outcome::Answered(answer), Some(returned)) => {
                takes(&writer.action, answer, token).then_some(returned.order)
            }
            (Outcome::Answered(_), None)
            | (Outcome::Refused(_) | Outcome::Unknown(_) | Outcome::Garbage(_), _) => None,
        };
        let seen = self.keys[&key].seen.iter().filter(|fact| has(&fact.what, token));
        seen.map(|fact| fact.to).chain(written).min()
    }

    /// The first call that saw a token on its key although `gone`, which tells of a fact whether
    /// by it the token was no longer there, knew so before: with that fact, once for each token.
    ///
    /// A fact that a loss may have undone tells nothing to those after the loss. A token may have
    /// come back if another key was renamed to its key meanwhile, so then nothing is said.
    pub(super) fn returned_from_the_dead<T>(
        &self,
        history: &History,
        list: impl Fn(&KeyFacts) -> &[Fact<T>],
        gone: impl Fn(&T, Token) -> bool,
    ) -> Vec<Resurrection> {
        let mut found: BTreeMap<Token, Resurrection> = BTreeMap::new();
        for (&key, facts) in &self.keys {
            for sight in &facts.seen {
                for token in tokens_of(&sight.what) {
                    let Some(&(writer, home)) = self.writers.get(&token) else { continue };
                    let Some(since) = self.there_since(history, token) else { continue };
                    let since_write = history.calls[writer].invoked.order;
                    let moved = facts.moved_in.iter();
                    let moved = moved.filter(|m| m.from < sight.to && m.to > since_write);
                    if home != key || moved.count() > 0 || found.contains_key(&token) {
                        continue;
                    }
                    let list = list(facts);
                    let after = &list[list.partition_point(|fact| fact.from <= since)..];
                    let dead =
                        after.iter().take_while(|fact| fact.from < sight.from).find(|fact| {
                            fact.to < sight.from
                                && gone(&fact.what, token)
                                && !may_be_lost(history, key, fact, sight.to)
                        });
                    if let (Some(fact), Some(sight)) = (dead, sight.call) {
                        let resurrection = Resurrection { token, writer, by: fact.call, sight };
                        found.insert(token, resurrection);
                    }
                }
            }
        }
        let mut found: Vec<_> = found.into_values().collect();
        found.sort_by_key(|found| history.calls[found.sight].invoked.order);
        found
    }
}

/// A token that was gone and was seen again.
#[derive(Debug)]
pub(super) struct Resurrection {
    pub(super) token: Token,
    /// The call that wrote it.
    pub(super) writer: usize,
    /// The call by which it was gone; none if by a loss of everything.
    pub(super) by: Option<usize>,
    /// The call that saw it.
    pub(super) sight: usize,
}

/// Whether a loss that began before `seen` may have undone the fact about the key.
pub(super) fn may_be_lost<T>(history: &History, key: Key, fact: &Fact<T>, seen: Order) -> bool {
    let mut losses = history.losses.iter().filter(|loss| loss.concerns(key.group));
    losses.any(|loss| match loss.left {
        Left::Prefix(kept) => kept < fact.to && loss.from < seen && loss.to > fact.from,
        Left::Nothing => false,
    })
}

/// Whether a value has this token.
pub(super) fn has(val: &Option<Val>, token: Token) -> bool {
    tokens_of(val).contains(&token)
}

/// The tokens of a value.
pub(super) fn tokens_of(val: &Option<Val>) -> Vec<Token> {
    match val {
        Some(Val::Tokens(tokens)) => tokens.clone(),
        Some(Val::Int(_)) | None => Vec::new(),
    }
}

/// Whether `action`, so answered, has written `token`.
pub(super) fn takes(action: &Action, answer: &Answer, token: Token) -> bool {
    match (action, answer) {
        (Action::Set { when, get, .. }, _) => {
            writes_token(action, token) && set_happens(when, *get, answer)
        }
        (Action::MSetNx(_), _) => writes_token(action, token) && *answer == Answer::Int(1),
        (Action::Txn { steps, .. }, Answer::Each(answers)) => {
            steps.iter().zip(answers).any(|(step, answer)| takes(step, answer, token))
        }
        (Action::Txn { .. }, _) => false,
        (_, _) => writes_token(action, token),
    }
}

fn writes_token(action: &Action, token: Token) -> bool {
    tokens_written(action).iter().any(|&(_, written)| written == token)
}

/// Whether a SET, so answered, has set.
fn set_happens(when: &When, get: bool, answer: &Answer) -> bool {
    match (when, get) {
        (When::Always, _) => true,
        (When::Absent | When::Present | When::Equal(_), false) => *answer == Answer::Done,
        (When::Absent, true) => *answer == Answer::Nil,
        (When::Present, true) => matches!(answer, Answer::Val(_)),
        (When::Equal(val), true) => matches!(answer, Answer::Val(old) if old == val),
    }
}

/// What a call, so answered, saw of keys.
pub(super) fn seen(action: &Action, answer: &Answer) -> Vec<(Key, Option<Val>)> {
    let none_of = |keys: &[Key]| keys.iter().map(|&key| (key, None)).collect();
    let nothing = Vec::new;
    match (action, answer) {
        (Action::Get(key) | Action::GetDel(key) | Action::Set { key, get: true, .. }, answer) => {
            match answer {
                Answer::Val(val) => vec![(*key, Some(val.clone()))],
                Answer::Nil => vec![(*key, None)],
                Answer::Done
                | Answer::Int(_)
                | Answer::Vals(_)
                | Answer::NotInteger
                | Answer::NoSuchKey
                | Answer::Aborted
                | Answer::Untold
                | Answer::Each(_) => nothing(),
            }
        }
        (Action::MGet(keys), Answer::Vals(vals)) => {
            keys.iter().copied().zip(vals.iter().cloned()).collect()
        }
        (Action::Set { key, when, get: false, .. }, answer) => match (when, answer) {
            (When::Absent, Answer::Done) | (When::Present, Answer::Nil) => vec![(*key, None)],
            (When::Equal(val), Answer::Done) => vec![(*key, Some(val.clone()))],
            (When::Always | When::Absent | When::Present | When::Equal(_), _) => nothing(),
        },
        (Action::Exists(keys) | Action::Del(keys), Answer::Int(0)) => none_of(keys),
        (Action::MSetNx(pairs), Answer::Int(1)) => {
            pairs.iter().map(|(key, _)| (*key, None)).collect()
        }
        (Action::Incr(key, _), Answer::Int(n)) => vec![(*key, Some(Val::Int(*n)))],
        (Action::Append(key, token), Answer::Int(len)) if *len == i64::from(token.bytes) => {
            vec![(*key, None)]
        }
        (Action::DelIfEq(key, val), Answer::Int(1)) => vec![(*key, Some(val.clone()))],
        (Action::Expire(key, _), Answer::Int(0)) => vec![(*key, None)],
        (Action::Rename(from, _), Answer::NoSuchKey) => vec![(*from, None)],
        (Action::Txn { watched, steps }, Answer::Each(answers)) => {
            let steps = steps.iter().zip(answers).flat_map(|(step, answer)| seen(step, answer));
            watched.iter().cloned().chain(steps).collect()
        }
        (
            Action::MGet(_)
            | Action::Exists(_)
            | Action::Del(_)
            | Action::MSet(_)
            | Action::MSetNx(_)
            | Action::Incr(..)
            | Action::Append(..)
            | Action::DelIfEq(..)
            | Action::Expire(..)
            | Action::Persist(_)
            | Action::Rename(..)
            | Action::Flush
            | Action::Txn { .. },
            _,
        ) => nothing(),
    }
}

enum Cleared {
    Keys(Vec<Key>),
    All,
}

/// The keys that a call, so answered, has left without whatever tokens they had before.
fn cleared(action: &Action, answer: &Answer) -> Cleared {
    Cleared::Keys(match action {
        Action::Set { key, when, get, .. } if set_happens(when, *get, answer) => vec![*key],
        Action::GetDel(key) => vec![*key],
        Action::Del(keys) => keys.clone(),
        Action::MSet(pairs) => pairs.iter().map(|(key, _)| *key).collect(),
        Action::MSetNx(pairs) if *answer == Answer::Int(1) => {
            pairs.iter().map(|(key, _)| *key).collect()
        }
        Action::DelIfEq(key, _) if *answer == Answer::Int(1) => vec![*key],
        Action::Rename(from, to) if from != to && *answer == Answer::Done => vec![*from, *to],
        Action::Flush => return Cleared::All,
        Action::Txn { steps, .. } => {
            let Answer::Each(answers) = answer else { return Cleared::Keys(Vec::new()) };
            let mut keys = Vec::new();
            for (step, answer) in steps.iter().zip(answers) {
                match cleared(step, answer) {
                    Cleared::Keys(more) => keys.extend(more),
                    Cleared::All => return Cleared::All,
                }
            }
            keys
        }
        Action::Get(_)
        | Action::MGet(_)
        | Action::Exists(_)
        | Action::Set { .. }
        | Action::MSetNx(_)
        | Action::Incr(..)
        | Action::Append(..)
        | Action::DelIfEq(..)
        | Action::Expire(..)
        | Action::Persist(_)
        | Action::Rename(..) => Vec::new(),
    })
}

/// The keys that may have got another key's value.
fn moved_in(action: &Action, answer: Option<&Answer>) -> Vec<Key> {
    match (action, answer) {
        (Action::Rename(..), Some(Answer::NoSuchKey)) => Vec::new(),
        (Action::Rename(from, to), _) if from != to => vec![*to],
        (Action::Txn { .. }, Some(Answer::Aborted)) => Vec::new(),
        (Action::Txn { steps, .. }, _) => {
            steps.iter().flat_map(|step| moved_in(step, None)).collect()
        }
        (_, _) => Vec::new(),
    }
}

/// The tokens that `action` would write, and where.
pub(super) fn tokens_written(action: &Action) -> Vec<(Key, Token)> {
    let of = |key: Key, val: &Val| match val {
        Val::Int(_) => Vec::new(),
        Val::Tokens(tokens) => tokens.iter().map(|&token| (key, token)).collect(),
    };
    match action {
        Action::Set { key, val, .. } => of(*key, val),
        Action::MSet(pairs) | Action::MSetNx(pairs) => {
            pairs.iter().flat_map(|(key, val)| of(*key, val)).collect()
        }
        Action::Append(key, token) => vec![(*key, *token)],
        Action::Txn { steps, .. } => steps.iter().flat_map(tokens_written).collect(),
        Action::Get(_)
        | Action::MGet(_)
        | Action::Exists(_)
        | Action::GetDel(_)
        | Action::Del(_)
        | Action::Incr(..)
        | Action::DelIfEq(..)
        | Action::Expire(..)
        | Action::Persist(_)
        | Action::Rename(..)
        | Action::Flush => Vec::new(),
    }
}

/// The tokens that an answer shows.
pub(super) fn tokens_in(answer: &Answer) -> Vec<Token> {
    let of = |val: &Val| match val {
        Val::Int(_) => Vec::new(),
        Val::Tokens(tokens) => tokens.clone(),
    };
    match answer {
        Answer::Val(val) => of(val),
        Answer::Vals(vals) => vals.iter().flatten().flat_map(of).collect(),
        Answer::Each(answers) => answers.iter().flat_map(tokens_in).collect(),
        Answer::Done
        | Answer::Nil
        | Answer::Int(_)
        | Answer::NotInteger
        | Answer::NoSuchKey
        | Answer::Untold
        | Answer::Aborted => Vec::new(),
    }
}
