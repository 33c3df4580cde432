//! What clients ask: a mixture of actions, whose weights each seed draws for itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::chance::Chance;
use crate::history::{Action, Group, Key, Token, Ttl, Val, When};
use crate::settings::Settings;
use kvnode_core::storage::record::HEAD_BYTES;

/// A sort of action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Get,
    MGet,
    Exists,
    Set,
    SetExpiring,
    SetIf,
    SetGet,
    GetDel,
    Del,
    MSet,
    MSetNx,
    Incr,
    Append,
    DelIfEq,
    Expire,
    Persist,
    Rename,
    Flush,
    Txn,
}

impl Sort {
    /// Whether what it writes is a record with a value of any length that is wanted.
    fn is_uniform(self) -> bool {
        matches!(
            self,
            Self::Get | Self::MGet | Self::Exists | Self::Set | Self::SetGet | Self::MSet
        )
    }
}

const SORTS: [Sort; MIX] = [
    Sort::Get,
    Sort::MGet,
    Sort::Exists,
    Sort::Set,
    Sort::SetExpiring,
    Sort::SetIf,
    Sort::SetGet,
    Sort::GetDel,
    Sort::Del,
    Sort::MSet,
    Sort::MSetNx,
    Sort::Incr,
    Sort::Append,
    Sort::DelIfEq,
    Sort::Expire,
    Sort::Persist,
    Sort::Rename,
    Sort::Flush,
    Sort::Txn,
];

/// In how many of a hundred cases a client asks for what it should look at.
const FOCUS_PERCENT: u64 = 80;

/// What a client does at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// Everything.
    Any,
    /// It only reads.
    Reads,
    /// It reads from whoever is near, and writes what it then has to find.
    Nearby,
}

impl Habit {
    fn has(self, sort: Sort) -> bool {
        let reads = matches!(sort, Sort::Get | Sort::MGet | Sort::Exists);
        match self {
            Self::Any => true,
            Self::Reads => reads,
            Self::Nearby => reads || matches!(sort, Sort::Set | Sort::MSet),
        }
    }
}

/// How many sorts of actions there are.
pub(crate) const MIX: usize = 19;

/// Keys in a group.
pub(crate) const KEYS: u64 = 3;

/// One client's stream of actions.
pub(super) struct Workload {
    chance: Chance,
    weights: Vec<u64>,
    groups: u64,
    value_bytes_max: u64,
    record_bytes: Option<u64>,
    ttl_ms_max: u64,
    /// The client's number, for the high digits of its tokens, and how many there are of all clients.
    client: u32,
    tokens: Arc<AtomicU32>,
    /// The value that each key was last seen with, for conditions that hold now and then.
    seen: std::collections::BTreeMap<Key, Option<Val>>,
}

impl Workload {
    pub(super) fn new(
        settings: &Settings,
        (client, tokens): (u32, Arc<AtomicU32>),
        chance: Chance,
        habit: Habit,
    ) -> Self {
        let mut weights = settings.mix.clone();
        // Whatever the seed says, there is something to read and something to find.
        for (sort, least) in [(Sort::Get, 12), (Sort::Set, 8), (Sort::MGet, 4)] {
            let at = SORTS.iter().position(|s| *s == sort).expect("every sort is listed");
            weights[at] = weights[at].max(least);
        }
        let flush = SORTS.iter().position(|s| *s == Sort::Flush).expect("it is listed");
        weights[flush] = weights[flush].min(1);
        if settings.record_bytes.is_some() {
            for (sort, weight) in SORTS.iter().zip(&mut weights) {
                if !sort.is_uniform() {
                    *weight = 0;
                }
            }
        }
        for (sort, weight) in SORTS.iter().zip(&mut weights) {
            if !habit.has(*sort) {
                *weight = 0;
            }
        }
        Self {
            chance,
            weights,
            groups: u64::from(settings.groups),
            value_bytes_max: settings.value_bytes_max,
            record_bytes: settings.record_bytes,
            ttl_ms_max: settings.ttl_ms_max,
            client,
            tokens,
            seen: std::collections::BTreeMap::new(),
        }
    }

    /// The next action. `clock_ms`: what time the nodes take it to be. `focus`: what to look at mostly.
    pub(super) fn next(&mut self, clock_ms: u64, focus: Option<Group>) -> Wish {
        let sort = SORTS[self.chance.weighted(&self.weights)];
        let group = Group(self.chance.below(self.groups) as u16);
        let group = focus.filter(|_| self.chance.percent(FOCUS_PERCENT)).unwrap_or(group);
        let key = self.key(group);
        Wish::Plain(match sort {
            Sort::Get => Action::Get(key),
            Sort::MGet => Action::MGet(all(group)),
            Sort::Exists => {
                let other = self.key(group);
                Action::Exists(vec![key, other])
            }
            Sort::Set => self.set(key, Ttl::None, When::Always),
            Sort::SetExpiring => {
                let ttl = self.ttl(clock_ms);
                self.set(key, ttl, When::Always)
            }
            Sort::SetIf => {
                let when = self.condition(key);
                let ttl = if self.chance.percent(30) { Ttl::Keep } else { Ttl::None };
                self.set(key, ttl, when)
            }
            Sort::SetGet => {
                let val = self.val(key);
                Action::Set { key, val, ttl: Ttl::None, when: When::Always, get: true }
            }
            Sort::GetDel => Action::GetDel(key),
            Sort::Del if self.chance.percent(70) => Action::Del(vec![key]),
            Sort::Del => Action::Del(all(group)),
            Sort::MSet => Action::MSet(self.pairs(group)),
            Sort::MSetNx => Action::MSetNx(self.pairs(group)),
            // Counters have keys of their own in a group; now and then they find no integer there.
            Sort::Incr if self.chance.percent(5) => {
                self.set(counter(group), Ttl::None, When::Always)
            }
            Sort::Incr if self.chance.percent(10) => Action::Del(vec![counter(group)]),
            Sort::Incr => Action::Incr(counter(group), self.chance.of(1..10) as i64 - 3),
            Sort::Append => {
                let token = self.token(None);
                Action::Append(key, token)
            }
            Sort::DelIfEq => {
                let seen = self.seen.get(&key).cloned().flatten();
                match seen {
                    Some(val) => Action::DelIfEq(key, val),
                    None => Action::Get(key),
                }
            }
            Sort::Expire => Action::Expire(key, self.ttl(clock_ms)),
            Sort::Persist => Action::Persist(key),
            Sort::Rename => {
                let to = self.key(group);
                Action::Rename(key, to)
            }
            Sort::Flush => Action::Flush,
            Sort::Txn => return self.transaction(group),
        })
    }

    /// A read-modify-write of a group, with or without a WATCH before it.
    fn transaction(&mut self, group: Group) -> Wish {
        let watched = match self.chance.below(3) {
            0 => Vec::new(),
            1 => vec![self.key(group)],
            _ => all(group),
        };
        let count = self.chance.of(1..5);
        let steps = (0..count)
            .map(|_| {
                let key = self.key(group);
                match self.chance.below(6) {
                    0 => Action::Get(key),
                    1 => Action::Del(vec![key]),
                    2 => Action::Incr(counter(group), 1),
                    3 => Action::MGet(all(group)),
                    _ => self.set(key, Ttl::None, When::Always),
                }
            })
            .collect();
        Wish::Watched(watched, steps)
    }

    /// What a client was told of a key.
    pub(super) fn saw(&mut self, key: Key, val: Option<Val>) {
        self.seen.insert(key, val);
    }

    fn key(&mut self, group: Group) -> Key {
        Key { group, number: self.chance.below(KEYS) as u8 }
    }

    fn set(&mut self, key: Key, ttl: Ttl, when: When) -> Action {
        Action::Set { key, val: self.val(key), ttl, when, get: false }
    }

    fn condition(&mut self, key: Key) -> When {
        let seen = self.seen.get(&key).cloned().flatten();
        match (self.chance.below(3), seen) {
            (0, _) => When::Absent,
            (1, _) | (_, None) => When::Present,
            (_, Some(val)) => When::Equal(val),
        }
    }

    fn ttl(&mut self, clock_ms: u64) -> Ttl {
        let ms = self.chance.of(1..self.ttl_ms_max + 1);
        if self.chance.percent(60) || clock_ms == 0 {
            Ttl::In(ms)
        } else {
            // Now and then it has passed already.
            Ttl::At((clock_ms + ms).saturating_sub(self.ttl_ms_max / 8).max(1))
        }
    }

    /// A plain write of one key of a group, or of all of them.
    pub(super) fn write(&mut self, group: Group) -> Action {
        if self.chance.percent(50) {
            return Action::MSet(self.pairs(group));
        }
        let key = self.key(group);
        self.set(key, Ttl::None, When::Always)
    }

    fn pairs(&mut self, group: Group) -> Vec<(Key, Val)> {
        all(group).into_iter().map(|key| (key, self.val(key))).collect()
    }

    /// A value for the key that nobody has written yet.
    pub(super) fn val(&mut self, key: Key) -> Val {
        let taken = HEAD_BYTES + key.to_string().len();
        let bytes = self.record_bytes.map(|bytes| bytes as u32 - taken as u32);
        Val::Tokens(vec![self.token(bytes)])
    }

    fn token(&mut self, bytes: Option<u32>) -> Token {
        let id = self.client * 1_000_000 + self.tokens.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(bytes) = bytes {
            return Token { id, bytes };
        }
        let max = self.value_bytes_max.max(u64::from(Token::BYTES_MIN) + 1);
        let bytes = self.chance.skewed(u64::from(Token::BYTES_MIN)..max) as u32;
        Token { id, bytes }
    }
}

/// What a client wants to do.
pub(super) enum Wish {
    /// This.
    Plain(Action),
    /// Watch these keys, read them, and then do this in one transaction.
    Watched(Vec<Key>, Vec<Action>),
}

/// The keys of a group, but for its counter.
pub(crate) fn all(group: Group) -> Vec<Key> {
    (0..KEYS as u8).map(|number| Key { group, number }).collect()
}

/// The key of a group that counts.
pub(crate) fn counter(group: Group) -> Key {
    Key { group, number: KEYS as u8 }
}
