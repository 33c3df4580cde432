//! A candidate: it has voted for itself in a new term and asks the others (Raft §5.2).
//!
//! It asks once its own term and vote are durable, or a crash could let it vote again; only then
//! does its wait for answers begin.

use alloc::collections::BTreeSet;
use core::time::Duration;

use super::State;
use super::common::Common;
use super::ignored::Ignored;
use super::leader::Leader;
use super::message::{Message, Vote, VoteReply};
use super::pre_candidate::{PreCandidate, ask_voters, more_patience};
use crate::{Instant, Member};

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Candidate {
    granted: BTreeSet<Member>,
    since: Instant,
    /// When to begin anew; none before it has asked.
    pub(super) deadline: Option<Instant>,
    /// The longest wait for answers in this round.
    patience: Duration,
}

impl Candidate {
    pub(super) fn start(c: &mut Common, patience: Duration) -> State {
        assert!(c.may_stand(), "only a voter stands for election");
        c.set_vote(c.term.next(), Some(c.me));
        State::Candidate(Self { granted: BTreeSet::new(), since: c.now, deadline: None, patience })
    }

    pub(super) fn on_persisted(&mut self, c: &mut Common) -> Option<State> {
        if self.deadline.is_some() || !c.vote_is_durable() {
            return None;
        }
        // The others' disks may be as slow as this one, and busy with another write first.
        let write = c.now.since(self.since);
        let wait = c.draw(self.patience / 2, self.patience) + write * 2;
        self.deadline = Some(c.now.after(wait));
        self.granted.insert(c.me);
        let next = self.count(c);
        if next.is_none() {
            ask_voters(c, &Message::Vote(Vote { term: c.term, last: c.log.last() }));
        }
        next
    }

    pub(super) fn on_reply(
        &mut self,
        c: &mut Common,
        from: Member,
        m: &VoteReply,
    ) -> Option<State> {
        assert!(m.term == c.term, "others are ignored");
        if !c.log.voters().contains(from) {
            c.ignore(from, "vote reply", Ignored::Stranger);
            return None;
        }
        if m.granted {
            self.granted.insert(from);
        }
        self.count(c)
    }

    pub(super) fn on_deadline(&mut self, c: &mut Common) -> State {
        PreCandidate::start(c, more_patience(c, self.patience))
    }

    fn count(&self, c: &mut Common) -> Option<State> {
        // Its own vote is among them only when it is durable.
        let wins = c.log.voters().majority(|voter| self.granted.contains(&voter));
        wins.then(|| Leader::start(c))
    }
}
