//! What must always be so, judged from what the members did.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvnode_core::election::{Entry, Output, Payload, Raft, Role, Snapshot};
use kvnode_core::{Index, Instant, Member, NodeId, Term};

/// The history that all members share.
#[derive(Default)]
pub(crate) struct Checks {
    /// Every entry that a member has applied, from the first on, with the term it was applied in.
    committed: Vec<(Entry, Term)>,
    leaders: BTreeMap<Term, Member>,
}

/// The state machine of a member: how far it is, and a digest of all that it has been told.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Machine {
    pub(crate) applied: Index,
    digest: u64,
}

impl Machine {
    pub(crate) fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.index, self.applied.plus(1), "entries are applied in order, each once");
        self.applied = entry.index;
        let text = match &entry.payload {
            Payload::Noop => Vec::new(),
            Payload::Voters(voters) => voters.to_string().into_bytes(),
            Payload::Command(command) => command.to_vec(),
        };
        for byte in text.into_iter().chain(entry.term.0.to_le_bytes()) {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub(crate) fn restore(snapshot: &Snapshot) -> Self {
        let digest = snapshot.data.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self { applied: snapshot.index, digest }
    }

    /// In several pieces, so that a transfer has something to do.
    pub(crate) fn snapshot(self) -> Bytes {
        Bytes::from(self.digest.to_le_bytes().repeat(4))
    }
}

impl Checks {
    /// An effect of a member, as it comes.
    pub(crate) fn on_output(&mut self, raft: &Raft, machine: &mut Machine, output: &Output) {
        match output {
            Output::Apply(entry) => {
                machine.apply(entry);
                match self.committed.get(entry.index.0 as usize - 1) {
                    Some((known, _)) => assert_eq!(known, entry, "two entries at an index"),
                    None => self.committed.push((entry.clone(), raft.term())),
                }
            }
            Output::Restore(snapshot) => {
                assert!(snapshot.index >= machine.applied, "the state goes back");
                *machine = Machine::restore(snapshot);
                let mut expected = Machine::default();
                let covered = self.committed.iter().take(snapshot.index.0 as usize);
                covered.for_each(|(entry, _)| expected.apply(entry));
                assert_eq!(*machine, expected, "a snapshot is not what led to it");
            }
            Output::Became { role: Role::Leader, term, .. } => {
                let other = self.leaders.insert(*term, raft.me());
                assert!(other.is_none_or(|other| other == raft.me()), "two leaders of {term}");
                for (entry, when) in &self.committed {
                    let has =
                        raft.first_index() > entry.index || raft.entry(entry.index) == Some(entry);
                    assert!(*when >= *term || has, "a leader without {}", entry.position());
                }
            }
            Output::Ignored { from, what, why } => {
                assert!(!why.is_violation(), "{what} from {from}: {why}");
            }
            Output::Became { .. } | Output::Persist(..) | Output::Send(..) => {}
        }
    }

    /// How much was committed.
    pub(crate) fn committed(&self) -> usize {
        self.committed.len()
    }

    pub(crate) fn commands(&self) -> usize {
        let commands = self.committed.iter();
        commands.filter(|(entry, _)| matches!(entry.payload, Payload::Command(_))).count()
    }

    pub(crate) fn leaders(&self) -> usize {
        self.leaders.len()
    }
}

/// Two logs that have an entry of the same index and term are the same up to there.
pub(crate) fn assert_logs_match(a: &Raft, b: &Raft) {
    let first = a.first_index().max(b.first_index());
    let mut index = a.last().index.min(b.last().index);
    while index >= first && a.term_at(index) != b.term_at(index) {
        index = Index(index.0 - 1);
    }
    for at in (first.0..=index.0).map(Index) {
        assert_eq!(a.entry(at), b.entry(at), "the logs of {} and {} differ", a.me(), b.me());
    }
}

/// What is always so of one member.
pub(crate) fn assert_sound(raft: &Raft, now: Instant) {
    assert!(raft.commit() <= raft.last().index && raft.applied() <= raft.commit());
    assert!(raft.durable() <= raft.last().index);
    assert!(raft.deadline().is_none_or(|(at, _)| at.0 < now.0 + 60_000_000_000));
    let leads = raft.role() == Role::Leader;
    assert_eq!(leads, raft.leader() == Some(raft.me().node), "a leader knows that it leads");
    let others = |id: NodeId| raft.members().iter().filter(|m| m.member.node == id).count();
    assert!(raft.members().iter().all(|m| m.durable <= m.matched && others(m.member.node) >= 1));
}
