//! The log in memory: a snapshot, and the entries since then with a tail from before it.
//!
//! ```text
//!        base           snapshot                    last
//!          │   tail        │                          │
//!   purged │ e e e e e e e │ e e e e e e e e e e e e e │
//!          └─ entries ────────────────────────────────┘
//! ```
//!
//! What is at or below the snapshot is committed, and so is what was purged. The tail lets a
//! follower that lags a little catch up by entries.
//!
//! Invariants:
//! - `base ≤ snapshot ≤ last`; the entries are contiguous from the one after the base.
//! - Terms never fall from one entry to the next.
//! - `voters` is the last voter set in the log, or the snapshot's if none is behind it: a set counts
//!   as soon as it is appended (dissertation §4.1), and goes when it is truncated.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::voters::Voters;
use crate::{Index, Term};

/// A place in the log and the term of the entry there. Ordered as logs are compared: by the term of
/// the last entry, then by length (Raft §5.4.1).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// The term of the entry.
    pub term: Term,
    /// Where it is.
    pub index: Index,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.index, self.term)
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: Term,
    /// Where it is in the log.
    pub index: Index,
    /// What it says.
    pub payload: Payload,
}

impl Entry {
    /// Its place.
    pub fn position(&self) -> Position {
        Position { term: self.term, index: self.index }
    }

    /// About how long it is, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let payload = match &self.payload {
            Payload::Noop => 0,
            Payload::Voters(voters) => voters.len() * 24,
            Payload::Command(command) => command.len(),
        };
        payload + 24
    }
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Payload {
    /// Nothing: a leader begins its term with one, so that it has something of its own to commit.
    Noop,
    /// Who votes from here on.
    Voters(Voters),
    /// A command for the state machine.
    Command(Bytes),
}

/// A state of the state machine and of the voter set, in place of the log that led to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last entry that it covers; zero for the one a quorum is founded with.
    pub index: Index,
    /// The term of that entry.
    pub term: Term,
    /// Who votes as of that entry.
    pub voters: Voters,
    /// The state machine, in its own format.
    pub data: Bytes,
}

impl Snapshot {
    /// The last entry that it covers.
    pub fn position(&self) -> Position {
        Position { term: self.term, index: self.index }
    }
}

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Log {
    snapshot: Snapshot,
    base: Position,
    entries: VecDeque<Entry>,
    voters: Voters,
    voters_at: Index,
}

impl Log {
    /// The log as read from disk. Entries that a crash left between a snapshot and the purge behind
    /// it do not count.
    pub(super) fn new(snapshot: Snapshot, entries: Vec<Entry>) -> Self {
        assert!(!snapshot.voters.is_empty(), "a stored snapshot names voters");
        let mut log = Self {
            base: snapshot.position(),
            voters: snapshot.voters.clone(),
            voters_at: snapshot.index,
            snapshot,
            entries: VecDeque::new(),
        };
        let reaches = entries.last().is_some_and(|last| last.index >= log.snapshot.index);
        if reaches {
            let mut entries = VecDeque::from(entries);
            if entries[0].index <= log.snapshot.index {
                // The term before the first entry is not known any more: it serves as the base.
                log.base = entries.pop_front().expect("there is one").position();
            }
            log.entries = entries;
        }
        let mut last = log.base;
        for entry in &log.entries {
            assert!(entry.index == last.index.plus(1), "stored entries are contiguous");
            assert!(entry.term >= last.term, "terms never fall in a log");
            last = entry.position();
        }
        let at_snapshot = log.term_at(log.snapshot.index);
        assert!(at_snapshot == Some(log.snapshot.term), "stored entries lead to the snapshot");
        log.find_voters();
        log
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The place before the first entry.
    pub(super) fn base(&self) -> Position {
        self.base
    }

    pub(super) fn last(&self) -> Position {
        self.entries.back().map_or(self.base, Entry::position)
    }

    /// Who votes, by the last word on it.
    pub(super) fn voters(&self) -> &Voters {
        &self.voters
    }

    /// Where that was said.
    pub(super) fn voters_at(&self) -> Index {
        self.voters_at
    }

    /// Who voted before that.
    pub(super) fn voters_before(&self) -> Voters {
        self.voters_as_of(Index(self.voters_at.0.saturating_sub(1)))
    }

    pub(super) fn entry(&self, index: Index) -> Option<&Entry> {
        let at = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// The term at an index that is not purged.
    pub(super) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.entry(index).map(|entry| entry.term)
    }

    /// Entries from `from` on, at most `count_max` and until they reach `bytes_max`, but at least
    /// one if there is one.
    pub(super) fn range(&self, from: Index, count_max: usize, bytes_max: usize) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        while let Some(entry) = self.entry(from.plus(entries.len() as u64)) {
            if entries.len() == count_max || (!entries.is_empty() && bytes >= bytes_max) {
                break;
            }
            bytes += entry.bytes();
            entries.push(entry.clone());
        }
        entries
    }

    /// The first index that has the term of the entry at `index`, as far back as the log reaches.
    pub(super) fn first_of_term_at(&self, index: Index) -> Index {
        let term = self.term_at(index);
        let mut first = index;
        while first > self.base.index && self.term_at(Index(first.0 - 1)) == term {
            first = Index(first.0 - 1);
        }
        first
    }

    /// The last entry of `term` or an earlier one at or below `upto`, as far back as the log
    /// reaches.
    pub(super) fn last_not_after(&self, term: Term, upto: Index) -> Position {
        let mut at = upto.min(self.last().index);
        while at > self.base.index {
            match self.term_at(at) {
                Some(found) if found <= term => return Position { term: found, index: at },
                Some(_) | None => at = Index(at.0 - 1),
            }
        }
        self.base
    }

    pub(super) fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert!(entry.index == last.index.plus(1), "a log has no gap");
        assert!(entry.term >= last.term, "terms never fall in a log");
        if let Payload::Voters(voters) = &entry.payload {
            self.voters = voters.clone();
            self.voters_at = entry.index;
        }
        self.entries.push_back(entry);
    }

    pub(super) fn truncate_from(&mut self, index: Index) {
        assert!(index > self.snapshot.index, "what a snapshot covers is committed");
        self.entries.truncate((index.0 - self.base.index.0 - 1) as usize);
        if self.voters_at >= index {
            self.find_voters();
        }
    }

    /// Replaces all of the log.
    pub(super) fn install(&mut self, snapshot: Snapshot) {
        self.base = snapshot.position();
        self.entries.clear();
        self.voters = snapshot.voters.clone();
        self.voters_at = snapshot.index;
        self.snapshot = snapshot;
    }

    /// Takes the state at `upto` for what led to it, and keeps `tail` entries of that.
    pub(super) fn compact(&mut self, upto: Index, data: Bytes, tail: u64) {
        assert!(upto > self.snapshot.index, "a newer snapshot covers more");
        let term = self.term_at(upto).expect("the log reaches from the snapshot to its end");
        self.snapshot = Snapshot { index: upto, term, voters: self.voters_as_of(upto), data };
        self.voters_at = self.voters_at.max(upto);
        let keep_after = Index(upto.0.saturating_sub(tail)).max(self.base.index);
        let base_term = self.term_at(keep_after).expect("it is in the log");
        self.entries.drain(..(keep_after.0 - self.base.index.0) as usize);
        self.base = Position { term: base_term, index: keep_after };
    }

    /// Bytes of the entries after `index`.
    pub(super) fn bytes_after(&self, index: Index) -> usize {
        let known = index.0.saturating_sub(self.base.index.0) as usize;
        self.entries.iter().skip(known).map(Entry::bytes).sum()
    }

    fn voters_as_of(&self, upto: Index) -> Voters {
        let mut at = upto;
        while at > self.snapshot.index {
            if let Some(Entry { payload: Payload::Voters(voters), .. }) = self.entry(at) {
                return voters.clone();
            }
            at = Index(at.0 - 1);
        }
        self.snapshot.voters.clone()
    }

    fn find_voters(&mut self) {
        self.voters = self.voters_as_of(self.last().index);
        let after = |at: &Index| *at > self.snapshot.index;
        let mut places = self.entries.iter().rev().filter_map(|entry| match entry.payload {
            Payload::Voters(_) => Some(entry.index),
            Payload::Noop | Payload::Command(_) => None,
        });
        self.voters_at = places.next().filter(after).unwrap_or(self.snapshot.index);
    }
}
