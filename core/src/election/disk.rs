//! What is to be written, what is being written, and what is durable.
//!
//! One write is in flight at a time and the next gathers meanwhile, so that one fsync serves many
//! (group commit). Durability is kept as levels, not as a list of who waits for what: up to which
//! entry, which term and vote, which snapshot. Whoever depends on one compares.
//!
//! Invariants:
//! - The disk holds, at every moment, the state after some number of the changes in their order.
//! - `durable` never counts an entry that differs from the one in memory: a truncation lowers what
//!   is durable, and what the write in flight is going to make durable.

use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};

use super::log::{Entry, Snapshot};
use crate::{Index, Member, Term};

/// A write in flight, for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

/// A change to what is stored. A crash may keep any number of them, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The term, and who this member voted for in it.
    Vote {
        /// The term.
        term: Term,
        /// The vote, if there is one.
        vote: Option<Member>,
    },
    /// One more entry at the end of the log.
    Append(Entry),
    /// This entry and all behind it are void.
    TruncateFrom(Index),
    /// A restart begins from this snapshot. Entries that it covers may go, but need not before they
    /// are purged; those behind it stay.
    Snapshot(Snapshot),
    /// Entries up to this one may go.
    PurgeTo(Index),
}

/// Term and vote.
pub(super) type Hard = (Term, Option<Member>);

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Disk {
    gather: Vec<Change>,
    flying: Option<Levels>,
    durable: Levels,
    written: Serial,
}

/// How far memory is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Levels {
    /// Entries up to this one.
    pub(super) end: Index,
    /// The snapshot at this index.
    pub(super) snapshot: Index,
    /// The term and the vote.
    pub(super) hard: Hard,
}

/// The number of the last write. Two machines that differ in nothing else behave alike, so it takes
/// no part in comparing them: a search over all states would else never see one twice.
#[derive(Clone, Copy, Debug)]
struct Serial(u64);

impl Disk {
    pub(super) fn new(durable: Levels) -> Self {
        Self { gather: Vec::new(), flying: None, durable, written: Serial(0) }
    }

    pub(super) fn push(&mut self, change: Change) {
        self.gather.push(change);
    }

    /// Memory has lost its entries from `index` on.
    pub(super) fn truncated(&mut self, index: Index) {
        let below = Index(index.0 - 1);
        self.durable.end = self.durable.end.min(below);
        if let Some(flying) = &mut self.flying {
            flying.end = flying.end.min(below);
        }
    }

    /// The next write, if there is something to write and the disk is free. `levels` is what memory
    /// holds now.
    pub(super) fn flush(&mut self, levels: Levels) -> Option<(WriteId, Vec<Change>)> {
        if self.flying.is_some() || self.gather.is_empty() {
            return None;
        }
        self.flying = Some(levels);
        self.written.0 += 1;
        Some((WriteId(self.written.0), core::mem::take(&mut self.gather)))
    }

    /// The write in flight is done.
    pub(super) fn on_persisted(&mut self, id: WriteId) {
        assert!(self.writing() == Some(id), "the disk answers the write in flight");
        let flying = self.flying.take().expect("one is in flight");
        self.durable = Levels { end: flying.end.max(self.durable.end), ..flying };
    }

    pub(super) fn writing(&self) -> Option<WriteId> {
        self.flying.map(|_| WriteId(self.written.0))
    }

    pub(super) fn durable(&self) -> Levels {
        self.durable
    }
}

impl PartialEq for Serial {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Serial {}

impl Hash for Serial {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
