//! The model of a disk: what is on it, and the write under way.

use kvnode_core::Instant;
use kvnode_core::election::{Change, Stored, WriteId};

pub(crate) struct ModelDisk {
    pub(crate) stored: Stored,
    pub(crate) writing: Option<(WriteId, Vec<Change>)>,
    /// When the write is done.
    pub(crate) due: Instant,
    /// No write is ever done.
    pub(crate) stalled: bool,
}

impl ModelDisk {
    pub(crate) fn new(stored: Stored) -> Self {
        Self { stored, writing: None, due: Instant(0), stalled: false }
    }

    /// The write is done.
    pub(crate) fn finish(&mut self) -> WriteId {
        let (id, changes) = self.writing.take().expect("a write is under way");
        changes.into_iter().for_each(|change| write(&mut self.stored, change));
        id
    }

    /// The power is lost with so many changes of the write done.
    pub(crate) fn crash(&mut self, kept: usize) {
        let changes = self.writing.take().map_or(Vec::new(), |(_, changes)| changes);
        changes.into_iter().take(kept).for_each(|change| write(&mut self.stored, change));
    }
}

fn write(stored: &mut Stored, change: Change) {
    match change {
        Change::Vote { term, vote } => {
            assert!(term >= stored.term, "a stored term goes back");
            assert!(term > stored.term || stored.vote.is_none(), "a stored vote changes");
            stored.term = term;
            stored.vote = vote;
        }
        Change::Append(entry) => {
            if let Some(last) = stored.entries.last() {
                assert_eq!(entry.index, last.index.plus(1), "a stored log has a gap");
            }
            stored.entries.push(entry);
        }
        Change::TruncateFrom(index) => stored.entries.retain(|entry| entry.index < index),
        Change::Snapshot(snapshot) => {
            assert!(snapshot.index > stored.snapshot.index, "a stored snapshot goes back");
            stored.snapshot = snapshot;
        }
        Change::PurgeTo(index) => stored.entries.retain(|entry| entry.index > index),
    }
}
