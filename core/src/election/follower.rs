//! A follower: it takes the leader's log for its own, and suspects a leader that is silent.
//!
//! A member that does not vote (an observer, one whose removal is committed) is a follower that never
//! suspects anybody.
//!
//! Invariants:
//! - `matched ≥ commit`: up to there the log agrees with that of this term's leader. It is reset at
//!   every change of term, and nothing is committed beyond it (Raft §5.3).
//! - Only a real conflict truncates: an old message that comes late agrees with the log, and leaves
//!   alone what later ones have added.

use core::time::Duration;

use super::common::Common;
use super::disk::Levels;
use super::ignored::Ignored;
use super::incoming::Incoming;
use super::message::{Append, AppendReply, Conflict, Message};
use crate::{Index, Instant, Member};

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Follower {
    /// Who leads this term, once it has said so.
    pub(super) leader: Option<Member>,
    /// When the leader was last heard of; none when the link to it broke since.
    pub(super) heard: Option<Instant>,
    /// How long the leader may be silent.
    timeout: Duration,
    /// When to suspect it; see [`suspects_at`](Self::suspects_at).
    pub(super) deadline: Instant,
    /// Up to here the log agrees with the leader's.
    pub(super) matched: Index,
    /// The leader is to be told how far the log agrees and is durable.
    owes: bool,
    pub(super) incoming: Option<Incoming>,
}

impl Follower {
    pub(super) fn new(c: &mut Common, leader: Option<Member>) -> Self {
        let timeout = c.draw(c.settings.election_min, c.settings.election_max);
        Self {
            leader,
            heard: leader.map(|_| c.now),
            timeout,
            deadline: c.now.after(timeout),
            matched: c.commit,
            owes: false,
            incoming: None,
        }
    }

    /// Whether there is a leader that it has no reason to doubt.
    pub(super) fn hears_leader(&self, c: &Common) -> bool {
        self.heard.is_some_and(|heard| c.now.since(heard) < c.settings.election_min)
    }

    /// It has heard from the leader.
    pub(super) fn hear(&mut self, c: &Common, leader: Member) {
        assert!(self.leader.is_none_or(|known| known == leader), "a term has one leader");
        self.leader = Some(leader);
        self.heard = Some(c.now);
        self.wait(c);
    }

    /// It suspects nobody for another while.
    pub(super) fn wait(&mut self, c: &Common) {
        self.deadline = c.now.after(self.timeout);
    }

    /// The link to the leader broke: that mostly means that the leader died. A short random wait
    /// lets one of the followers be first; if the leader lives, the others will not vote.
    pub(super) fn on_unlinked(&mut self, c: &mut Common, member: Member) {
        if self.leader == Some(member) {
            self.heard = None;
            if !c.may_stand() {
                // It will not find out by asking for votes.
                self.leader = None;
            }
            let wait = c.draw(Duration::ZERO, c.settings.heartbeat);
            self.deadline = self.deadline.min(c.now.after(wait));
        }
    }

    pub(super) fn on_append(&mut self, c: &mut Common, from: Member, m: Append) {
        let prev = m.prev;
        let has_prev = match c.log.term_at(prev.index) {
            Some(term) => term == prev.term,
            // What was purged is committed, so that every leader has it.
            None => prev.index < c.log.base().index,
        };
        if !has_prev {
            return self.refuse(c, from, &m);
        }
        let end = prev.index.plus(m.entries.len() as u64);
        // Of the base itself the term is known.
        let is_known = |index, term| {
            index < c.log.base().index || c.log.term_at(index).is_some_and(|found| found == term)
        };
        let known = m.entries.iter().take_while(|entry| is_known(entry.index, entry.term)).count();
        let has_news = !m.entries.is_empty();
        let mut news = m.entries.into_iter().skip(known).peekable();
        if let Some(first) = news.peek()
            && first.index <= c.log.last().index
        {
            if first.index <= self.matched.max(c.commit) {
                return c.ignore(from, "append", Ignored::Contradiction);
            }
            c.truncate_from(first.index);
        }
        for entry in news {
            c.append_entry(entry);
        }
        self.matched = self.matched.max(end);
        c.commit_to(m.commit.min(self.matched));
        // What is not durable yet is answered when it is.
        if !has_news || self.durable(c) >= end {
            self.owes = true;
            self.tell(c);
        }
    }

    fn refuse(&mut self, c: &mut Common, from: Member, m: &Append) {
        let prev = m.prev.index;
        if prev <= self.matched {
            return c.ignore(from, "append", Ignored::Contradiction);
        }
        let term = c.log.term_at(prev);
        let first = match term {
            Some(_) => c.log.first_of_term_at(prev),
            None => c.log.last().index.plus(1),
        };
        let conflict = Some(Conflict { prev, term, first });
        let (matched, durable) = (self.matched, self.durable(c));
        c.answer(
            from,
            Message::AppendReply(AppendReply { term: c.term, matched, durable, conflict }),
        );
    }

    /// How much of what agrees with the leader's log is durable.
    fn durable(&self, c: &Common) -> Index {
        self.matched.min(c.disk.durable().end)
    }

    /// When to suspect the leader, if ever. While a vote is on its way to the disk there is one who
    /// waits for it, and who would lose by another election.
    pub(super) fn suspects_at(&self, c: &Common) -> Option<Instant> {
        (c.may_stand() && c.vote_is_durable()).then_some(self.deadline)
    }

    pub(super) fn on_persisted(&mut self, c: &mut Common, before: Levels) {
        if c.vote_is_durable() && before.hard != c.disk.durable().hard {
            self.wait(c);
        }
        self.owes |= self.durable(c) > self.matched.min(before.end);
        self.tell(c);
    }

    /// The leader is to know how far this log agrees with its own.
    pub(super) fn owe(&mut self, c: &mut Common) {
        self.owes = true;
        self.tell(c);
    }

    fn tell(&mut self, c: &mut Common) {
        let Some(leader) = self.leader else { return };
        if self.owes && c.vote_is_durable() {
            self.owes = false;
            let (matched, durable) = (self.matched, self.durable(c));
            let reply = AppendReply { term: c.term, matched, durable, conflict: None };
            c.send(leader, Message::AppendReply(reply));
        }
    }
}
