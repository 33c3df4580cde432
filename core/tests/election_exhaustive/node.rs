//! One member with its disk, and what can happen to it. Every timeout is zero, so that each deadline
//! is always due and nothing is drawn: time and chance are the search's choice of what is next.

use std::time::Duration;

use bytes::Bytes;
use kvnode_core::election::{
    Change, Entry, Input, Message, Output, Payload, Raft, Role, Settings, Stored, VoterChange,
    Voters,
};
use kvnode_core::{DirectoryId, Index, Instant, Member, NodeId, Term};

/// A member as the search sees it: the machine, what is on its disk, and the write under way.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) raft: Raft,
    pub(crate) stored: Stored,
    pub(crate) writing: Vec<Change>,
}

/// What can happen to one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// A message of the network, by number.
    Deliver(u32),
    /// Its deadline is due.
    Tick,
    /// Its write is done.
    Persisted,
    /// It stops with so many changes of its write done, and starts again.
    Crash(u8),
    /// It is asked to log a command.
    Propose(u8),
    /// It is asked to hand over.
    Transfer(NodeId),
    /// It is asked to add or remove a voter.
    Change(VoterChange),
    /// Its owner compacts all that it has applied.
    Compact,
}

/// What came of it.
pub(crate) struct Effects {
    pub(crate) sent: Vec<(Member, Message)>,
    /// A message that only a broken protocol explains.
    pub(crate) violation: Option<String>,
}

pub(crate) fn member(node: u32) -> Member {
    Member { node: NodeId(node), directory: DirectoryId(u128::from(node) << 112) }
}

const NOW: Instant = Instant(0);

fn settings(tail_entries: u64) -> Settings {
    Settings {
        heartbeat: Duration::ZERO,
        election_min: Duration::ZERO,
        election_max: Duration::ZERO,
        inflight_max: 1,
        tail_entries,
        ..Settings::default()
    }
}

impl Node {
    /// A member `id` of `nodes`, of which the first `voters` vote. All are linked. It has this term,
    /// and has voted for that node in it; its log has an entry of each of these terms.
    pub(crate) fn new(
        id: u32,
        nodes: u32,
        voters: u32,
        (term, vote, log): &(u64, u32, Vec<u64>),
    ) -> Self {
        let mut stored = Stored::founding(Voters::new((1..=voters).map(member)), Bytes::new());
        stored.term = Term(*term);
        stored.vote = (*vote > 0).then(|| member(*vote));
        let entry = |(at, &term)| Entry {
            term: Term(term),
            index: Index(at as u64 + 1),
            payload: Payload::Noop,
        };
        stored.entries = log.iter().enumerate().map(entry).collect();
        Self::start(member(id), stored, nodes)
    }

    fn start(me: Member, stored: Stored, nodes: u32) -> Self {
        let mut raft = Raft::new(me, settings(0), stored.clone(), NOW, 0);
        for other in (1..=nodes).map(member).filter(|&other| other != me) {
            raft.handle(NOW, Input::Linked(other));
        }
        let mut node = Self { raft, stored, writing: Vec::new() };
        let effects = node.drain();
        assert!(effects.sent.is_empty(), "a start is silent");
        node
    }

    /// What happens to the member, or none if this can not happen to it now.
    pub(crate) fn step(
        &mut self,
        nodes: u32,
        event: Event,
        message: Option<(Member, &Message)>,
    ) -> Option<Effects> {
        match event {
            Event::Deliver(_) => {
                let (from, message) = message.expect("a delivery has a message");
                let message = message.clone();
                self.raft.handle(NOW, Input::Message { from, message });
            }
            Event::Tick => {
                self.raft.deadline().filter(|(at, _)| *at <= NOW)?;
                self.raft.handle(NOW, Input::Tick);
            }
            Event::Persisted => {
                let id = self.raft.writing()?;
                for change in std::mem::take(&mut self.writing) {
                    write(&mut self.stored, change);
                }
                self.raft.handle(NOW, Input::Persisted(id));
            }
            Event::Crash(kept) => {
                let kept = usize::from(kept);
                if kept > self.writing.len() {
                    return None;
                }
                for change in std::mem::take(&mut self.writing).into_iter().take(kept) {
                    write(&mut self.stored, change);
                }
                *self = Self::start(self.raft.me(), self.stored.clone(), nodes);
            }
            Event::Propose(command) => {
                self.raft.propose(NOW, Bytes::from(vec![command])).ok()?;
            }
            Event::Transfer(to) => {
                self.raft.transfer(NOW, to).ok().filter(|()| to != self.raft.me().node)?;
            }
            Event::Change(change) => {
                self.raft.change_voters(NOW, change).ok()?;
            }
            Event::Compact => {
                if self.raft.applied() <= self.raft.snapshot().index {
                    return None;
                }
                self.raft.compact(self.raft.applied(), Bytes::new());
            }
        }
        Some(self.drain())
    }

    fn drain(&mut self) -> Effects {
        let mut effects = Effects { sent: Vec::new(), violation: None };
        while let Some(output) = self.raft.poll() {
            match output {
                Output::Persist(_, changes) => self.writing = changes,
                Output::Send(to, message) => effects.sent.push((to, message)),
                Output::Ignored { from, what, why } if why.is_violation() => {
                    effects.violation = Some(format!("{what} of {from}: {why}"));
                }
                Output::Apply(_)
                | Output::Restore(_)
                | Output::Became { .. }
                | Output::Ignored { .. } => {}
            }
        }
        effects
    }

    /// What is committed as far as the member knows, from the first entry that it still has.
    pub(crate) fn committed(&self) -> impl Iterator<Item = &Entry> {
        let first = self.raft.first_index().0;
        (first..=self.raft.commit().0).filter_map(|at| self.raft.entry(Index(at)))
    }

    pub(crate) fn leads(&self) -> Option<Term> {
        (self.raft.role() == Role::Leader).then(|| self.raft.term())
    }

    /// Whether the member's disk has the entry, or a snapshot that covers it.
    pub(crate) fn stores(&self, entry: &Entry) -> bool {
        self.stored.snapshot.index >= entry.index || self.stored.entries.contains(entry)
    }

    /// Whether the machine has the entry, or a snapshot that covers it.
    pub(crate) fn has(&self, entry: &Entry) -> bool {
        self.raft.first_index() > entry.index || self.raft.entry(entry.index) == Some(entry)
    }
}

/// Two logs that have an entry of the same index and term are the same up to there.
pub(crate) fn logs_match(a: &Raft, b: &Raft) -> bool {
    let first = a.first_index().max(b.first_index());
    let mut index = a.last().index.min(b.last().index);
    while index >= first && a.term_at(index) != b.term_at(index) {
        index = Index(index.0 - 1);
    }
    (first.0..=index.0).all(|at| a.entry(Index(at)) == b.entry(Index(at)))
}

fn write(stored: &mut Stored, change: Change) {
    match change {
        Change::Vote { term, vote } => {
            stored.term = term;
            stored.vote = vote;
        }
        Change::Append(entry) => stored.entries.push(entry),
        Change::TruncateFrom(index) => stored.entries.retain(|entry| entry.index < index),
        Change::Snapshot(snapshot) => stored.snapshot = snapshot,
        Change::PurgeTo(index) => stored.entries.retain(|entry| entry.index > index),
    }
}
