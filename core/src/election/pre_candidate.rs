//! A pre-candidate: it asks whether a majority would vote for it, and disturbs nobody by that.
//!
//! Its term stays as it is, so that a member behind a broken link does not come back with a term
//! that unseats a good leader (dissertation §9.6).

use alloc::collections::BTreeSet;
use core::time::Duration;

use super::State;
use super::candidate::Candidate;
use super::common::Common;
use super::ignored::Ignored;
use super::message::{Message, PreVote, PreVoteReply};
use crate::{Instant, Member};

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PreCandidate {
    granted: BTreeSet<Member>,
    /// When to ask again.
    pub(super) deadline: Instant,
    /// The longest wait for answers in this round.
    patience: Duration,
}

impl PreCandidate {
    /// Begins a round, and if this member's own voice suffices the next stage at once.
    pub(super) fn start(c: &mut Common, patience: Duration) -> State {
        assert!(c.may_stand(), "only a voter asks for votes");
        let wait = c.draw(patience / 2, patience);
        let mut this =
            Self { granted: BTreeSet::from([c.me]), deadline: c.now.after(wait), patience };
        if let Some(next) = this.count(c) {
            return next;
        }
        let question = PreVote { asked: c.term.next(), last: c.log.last() };
        ask_voters(c, &Message::PreVote(question));
        State::PreCandidate(this)
    }

    pub(super) fn on_reply(
        &mut self,
        c: &mut Common,
        from: Member,
        m: &PreVoteReply,
    ) -> Option<State> {
        if m.asked != c.term.next() {
            c.ignore(from, "pre-vote reply", Ignored::OldTerm);
            return None;
        }
        if !c.log.voters().contains(from) {
            c.ignore(from, "pre-vote reply", Ignored::Stranger);
            return None;
        }
        if m.granted {
            self.granted.insert(from);
        }
        self.count(c)
    }

    pub(super) fn on_deadline(&mut self, c: &mut Common) -> State {
        Self::start(c, more_patience(c, self.patience))
    }

    fn count(&mut self, c: &mut Common) -> Option<State> {
        let wins = c.log.voters().majority(|voter| self.granted.contains(&voter));
        wins.then(|| Candidate::start(c, self.patience))
    }
}

/// How long the first round waits for answers.
pub(super) fn first_patience(c: &Common) -> Duration {
    (c.settings.heartbeat * 4).min(c.settings.election_max)
}

/// How long the next round waits: longer each time, so that rounds that got into each other's way,
/// or were too short for a slow disk, come to an end.
pub(super) fn more_patience(c: &Common, patience: Duration) -> Duration {
    (patience * 2).min(c.settings.election_max * 4)
}

/// Asks every other voter.
pub(super) fn ask_voters(c: &mut Common, question: &Message) {
    let voters = c.log.voters().clone();
    let me = c.me;
    for voter in voters.iter().filter(|&voter| voter != me) {
        c.send(voter, question.clone());
    }
}
