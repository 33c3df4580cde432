//! What every role has: the term and the vote, the log, the disk, and the way out.

use alloc::collections::{BTreeSet, VecDeque};
use core::time::Duration;

use bytes::Bytes;

use super::disk::{Change, Disk, Hard, Levels};
use super::ignored::Ignored;
use super::log::{Entry, Log, Payload, Snapshot};
use super::message::Message;
use super::{Output, Settings};
use crate::limits::{HELD_ANSWERS_MAX, LINKED_MAX};
use crate::random::Random;
use crate::{Index, Instant, Member, Term};

/// Committed entries handed to the owner in one go.
const APPLY_BATCH: u64 = 256;

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Common {
    pub(super) me: Member,
    pub(super) settings: Settings,
    pub(super) now: Instant,
    random: Random,
    pub(super) term: Term,
    pub(super) vote: Option<Member>,
    pub(super) log: Log,
    /// How far the log is known to be committed.
    pub(super) commit: Index,
    /// How far the owner has got it.
    pub(super) applied: Index,
    /// Members with a link to this one.
    pub(super) linked: BTreeSet<Member>,
    pub(super) disk: Disk,
    /// Answers that speak of a term or a vote that is not durable yet.
    held: BTreeSet<(Member, Message)>,
    pub(super) out: VecDeque<Output>,
}

impl Common {
    pub(super) fn new(
        me: Member,
        settings: Settings,
        hard: Hard,
        log: Log,
        now: Instant,
        seed: u64,
    ) -> Self {
        let (term, vote) = hard;
        assert!(term >= log.last().term, "no entry is of a term that was not stored");
        let start = log.snapshot().index;
        let durable = Levels { end: log.last().index, snapshot: start, hard };
        Self {
            me,
            settings,
            now,
            random: Random(seed),
            term,
            vote,
            commit: start,
            applied: start,
            linked: BTreeSet::new(),
            disk: Disk::new(durable),
            held: BTreeSet::new(),
            out: VecDeque::from([Output::Restore(log.snapshot().clone())]),
            log,
        }
    }

    pub(super) fn is_voter(&self) -> bool {
        self.log.voters().contains(self.me)
    }

    /// Whether it may ask for votes: it votes, or its removal is not known to be committed. Perhaps
    /// no other has the removal, and so a log that this member would vote for (dissertation §4.2.2).
    /// It does not count itself.
    pub(super) fn may_stand(&self) -> bool {
        self.is_voter()
            || (self.log.voters_at() > self.commit && self.log.voters_before().contains(self.me))
    }

    /// A later term, or a vote in this one.
    pub(super) fn set_vote(&mut self, term: Term, vote: Option<Member>) {
        assert!(term > self.term || (term == self.term && self.vote.is_none()), "a vote stands");
        if term > self.term {
            // What they would say is of no use any more.
            self.held.clear();
        }
        self.term = term;
        self.vote = vote;
        self.disk.push(Change::Vote { term, vote });
    }

    /// Whether a restart would remember the term and the vote.
    pub(super) fn vote_is_durable(&self) -> bool {
        self.disk.durable().hard == (self.term, self.vote)
    }

    /// Adds an entry of this leader.
    pub(super) fn append(&mut self, payload: Payload) -> Index {
        let index = self.log.last().index.plus(1);
        self.append_entry(Entry { term: self.term, index, payload });
        index
    }

    pub(super) fn append_entry(&mut self, entry: Entry) {
        self.log.append(entry.clone());
        self.disk.push(Change::Append(entry));
    }

    /// Cuts what turned out not to be the leader's.
    pub(super) fn truncate_from(&mut self, index: Index) {
        assert!(index > self.commit, "what is committed stays");
        self.log.truncate_from(index);
        self.disk.truncated(index);
        self.disk.push(Change::TruncateFrom(index));
    }

    /// Replaces a log that does not have the entry at the snapshot's end.
    pub(super) fn install(&mut self, snapshot: Snapshot) {
        let index = snapshot.index;
        assert!(index > self.commit, "a snapshot never goes back");
        if index <= self.log.last().index {
            // First on disk, so that no crash leaves the snapshot with an end that contradicts it.
            self.truncate_from(index);
        }
        self.log.install(snapshot.clone());
        self.disk.push(Change::Snapshot(snapshot));
        self.purge();
        self.commit = index;
    }

    /// Takes a snapshot of the owner's state for the log up to it.
    pub(super) fn compact(&mut self, upto: Index, data: Bytes) {
        self.log.compact(upto, data, self.settings.tail_entries);
        self.disk.push(Change::Snapshot(self.log.snapshot().clone()));
        self.purge();
    }

    /// Lets go of what is stored up to the base of the log.
    pub(super) fn purge(&mut self) {
        self.disk.push(Change::PurgeTo(self.log.base().index));
    }

    pub(super) fn commit_to(&mut self, index: Index) {
        assert!(index <= self.log.last().index, "what is committed is in the log");
        self.commit = self.commit.max(index);
    }

    pub(super) fn send(&mut self, to: Member, message: Message) {
        assert!(to != self.me, "nobody writes to itself");
        self.out.push_back(Output::Send(to, message));
    }

    /// Sends what speaks of this term and vote as soon as they are durable.
    pub(super) fn answer(&mut self, to: Member, message: Message) {
        if self.vote_is_durable() {
            self.send(to, message);
        } else if self.held.len() < HELD_ANSWERS_MAX {
            self.held.insert((to, message));
        }
    }

    /// Sends the answers that have waited for the disk.
    pub(super) fn release(&mut self) {
        if self.vote_is_durable() {
            for (to, message) in core::mem::take(&mut self.held) {
                self.send(to, message);
            }
        }
    }

    pub(super) fn ignore(&mut self, from: Member, what: &'static str, why: Ignored) {
        self.out.push_back(Output::Ignored { from, what, why });
    }

    /// Keeps a link in mind. Over the limit it is not, and gets no log.
    pub(super) fn link(&mut self, member: Member) {
        if member != self.me && self.linked.len() < LINKED_MAX {
            self.linked.insert(member);
        }
    }

    /// Hands committed entries to the owner. A snapshot in their place is handed over once it is
    /// durable, and what follows it then.
    pub(super) fn apply(&mut self) {
        let snapshot = self.log.snapshot();
        if self.applied < snapshot.index {
            if self.disk.durable().snapshot < snapshot.index {
                return;
            }
            self.applied = snapshot.index;
            self.out.push_back(Output::Restore(snapshot.clone()));
        }
        let upto = self.commit.min(self.applied.plus(APPLY_BATCH));
        while self.applied < upto {
            self.applied = self.applied.plus(1);
            let entry = self.log.entry(self.applied).expect("what is committed is in the log");
            self.out.push_back(Output::Apply(entry.clone()));
        }
    }

    /// Hands the next write to the disk if it is free.
    pub(super) fn flush(&mut self) {
        let levels = Levels {
            end: self.log.last().index,
            snapshot: self.log.snapshot().index,
            hard: (self.term, self.vote),
        };
        if let Some((id, changes)) = self.disk.flush(levels) {
            self.out.push_back(Output::Persist(id, changes));
        }
    }

    /// A random duration: at least `min`, less than `max`. Where they are the same nothing is drawn.
    pub(super) fn draw(&mut self, min: Duration, max: Duration) -> Duration {
        let span = u64::try_from(max.saturating_sub(min).as_nanos()).unwrap_or(u64::MAX);
        if span == 0 {
            return min;
        }
        min + Duration::from_nanos(self.random.next() % span)
    }
}
