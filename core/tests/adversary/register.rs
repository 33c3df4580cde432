//! What a linearizable register may show: every history that what was seen allows.

use std::collections::{BTreeMap, BTreeSet};

use kvnode_core::ClientId;

use super::HISTORIES_MAX;

/// A value, and what each operation that has taken effect left or found.
type History = (Option<u64>, BTreeMap<u64, Option<u64>>);

/// A key's possible histories: which of the operations under way have taken effect, and the value.
#[derive(Clone, Debug)]
pub(super) struct Register {
    /// What is under way, and by whom: a client's operations take effect in their order.
    pending: BTreeMap<u64, (Op, Option<ClientId>)>,
    /// The value, and what each operation that has taken effect left or found.
    configs: BTreeSet<History>,
    next: u64,
    /// There are too many histories to follow.
    given_up: bool,
    /// Every value that the key had or may have had in this life, for a disk that may lose some.
    ever: BTreeSet<Option<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Set(u64),
    Clear,
    Get,
    /// The value goes if it is this one.
    Expire(u64),
    /// From this value to that one.
    Swap(Option<u64>, u64),
}

impl Default for Register {
    fn default() -> Self {
        let configs = BTreeSet::from([(None, BTreeMap::new())]);
        Self {
            pending: BTreeMap::new(),
            configs,
            next: 0,
            given_up: false,
            ever: BTreeSet::from([None]),
        }
    }
}

impl Register {
    pub(super) fn invoke(&mut self, op: Op) -> u64 {
        self.invoke_by(None, op)
    }

    pub(super) fn invoke_by(&mut self, client: Option<ClientId>, op: Op) -> u64 {
        match op {
            Op::Set(value) | Op::Swap(_, value) => self.ever.insert(Some(value)),
            Op::Clear | Op::Expire(_) => self.ever.insert(None),
            Op::Get => false,
        };
        self.next += 1;
        self.pending.insert(self.next, (op, client));
        self.next
    }

    /// Nobody will tell what became of it.
    pub(super) fn unknown(&mut self, id: u64) {
        if let Some((_, client)) = self.pending.get_mut(&id) {
            *client = None;
        }
    }

    /// The client is gone: what it wrote may or may not take effect.
    pub(super) fn leave(&mut self, gone: ClientId) {
        let reads: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, (op, client))| *client == Some(gone) && *op == Op::Get)
            .map(|(&id, _)| id)
            .collect();
        for id in reads {
            self.pending.remove(&id);
            self.forget(id);
        }
        for (_, client) in self.pending.values_mut().filter(|(_, client)| *client == Some(gone)) {
            *client = None;
        }
    }

    pub(super) fn forget(&mut self, id: u64) {
        let forget = |(value, mut taken): (_, BTreeMap<_, _>)| {
            taken.remove(&id);
            (value, taken)
        };
        self.configs = std::mem::take(&mut self.configs).into_iter().map(forget).collect();
    }

    /// A write was acknowledged.
    pub(super) fn done(&mut self, id: u64) -> bool {
        self.complete(id, None)
    }

    pub(super) fn returned(&mut self, id: u64, value: Option<u64>) -> bool {
        self.complete(id, Some(value))
    }

    /// It has no effect, now or later.
    pub(super) fn refused(&mut self, id: u64) -> bool {
        let read = self.pending.remove(&id).is_some_and(|(op, _)| op == Op::Get);
        if read {
            self.forget(id);
        }
        self.configs.retain(|(_, taken)| !taken.contains_key(&id));
        self.given_up || !self.configs.is_empty()
    }

    /// The operation takes effect now at the latest; a read must find `read`.
    pub(super) fn complete(&mut self, id: u64, read: Option<Option<u64>>) -> bool {
        if self.given_up {
            return true;
        }
        let mut todo: Vec<_> = std::mem::take(&mut self.configs).into_iter().collect();
        let mut seen: BTreeSet<_> = todo.iter().cloned().collect();
        while let Some((value, taken)) = todo.pop() {
            if let Some(&found) = taken.get(&id) {
                let mut taken = taken;
                taken.remove(&id);
                if read.is_none_or(|read| read == found) {
                    self.configs.insert((value, taken));
                }
                continue;
            }
            for (&other, &(op, client)) in &self.pending {
                // One that was passed over by a later one of its client never comes.
                let passed = |id| self.pending.get(id).is_some_and(|(_, by)| *by == client);
                let late = client.is_some() && taken.range(other..).any(|(id, _)| passed(id));
                if late || taken.contains_key(&other) {
                    continue;
                }
                let next = match op {
                    Op::Set(new) => Some(new),
                    Op::Clear => None,
                    // A read of a value that it did not find leads nowhere.
                    Op::Get if other == id && read.is_some_and(|read| read != value) => continue,
                    Op::Get => value,
                    Op::Expire(old) if value == Some(old) => None,
                    Op::Swap(old, new) if value == old => Some(new),
                    Op::Expire(_) | Op::Swap(..) => continue,
                };
                let mut taken = taken.clone();
                // A value is written once, so that it can expire but once.
                if !matches!(op, Op::Expire(_)) {
                    taken.insert(other, next);
                }
                if seen.insert((next, taken.clone())) {
                    todo.push((next, taken));
                }
            }
            if seen.len() > HISTORIES_MAX {
                // Too much is under way to tell; it is judged again from the next rest on.
                self.given_up = true;
                return true;
            }
        }
        self.pending.remove(&id);
        !self.configs.is_empty()
    }

    /// Whatever is under way has taken effect by now, or never will. A crash of a disk that was
    /// not synced may leave any value that was there since the last crash.
    pub(super) fn rest(&mut self, may_lose: bool) {
        // A read of no client reaches every history of the others.
        let marker = self.invoke(Op::Get);
        self.complete(marker, None);
        let given_up = std::mem::take(&mut self.given_up);
        let values: BTreeSet<_> = if may_lose || given_up {
            self.ever.clone()
        } else {
            self.configs.iter().map(|(value, _)| *value).collect()
        };
        self.pending.retain(|_, (op, _)| matches!(op, Op::Expire(_)));
        self.configs = values.into_iter().map(|value| (value, BTreeMap::new())).collect();
    }

    pub(super) fn crash(&mut self, may_lose: bool) {
        self.rest(may_lose);
        self.ever = self.configs.iter().map(|(value, _)| *value).collect();
    }
}
