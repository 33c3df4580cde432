//! Answers to those who ask for votes. They are the same in every role, and do not depend on whether
//! this member votes by its own log: the asker may know of a later voter set, and counts only whom
//! that names (dissertation §4.1).

use super::follower::Follower;
use super::message::{Message, PreVote, PreVoteReply, Vote, VoteReply};
use super::{Raft, State};
use crate::Member;

impl Raft {
    /// Says whether it would vote. That changes nothing here, the term least of all, and promises
    /// nothing, so that it does not wait for the disk; the term that it speaks of is the durable one.
    pub(super) fn on_pre_vote(&mut self, from: Member, m: &PreVote) {
        let c = &mut self.common;
        let hears_leader = match &self.state {
            State::Follower(follower) => follower.hears_leader(c),
            State::PreCandidate(_) | State::Candidate(_) => false,
            State::Leader(_) => true,
        };
        let granted = m.asked > c.term && m.last >= c.log.last() && !hears_leader;
        let reply = PreVoteReply { term: c.disk.durable().hard.0, asked: m.asked, granted };
        c.send(from, Message::PreVoteReply(reply));
    }

    /// Votes, if it has not voted for another in this term and the candidate has all that is
    /// committed, for which it is enough that its log ends no earlier (Raft §5.4.1).
    pub(super) fn on_vote(&mut self, from: Member, m: &Vote) {
        let c = &mut self.common;
        assert!(m.term <= c.term, "a later term was adopted");
        let is_free = c.vote.is_none_or(|vote| vote == from);
        let granted = m.term == c.term && is_free && m.last >= c.log.last();
        if granted {
            if c.vote.is_none() {
                c.set_vote(m.term, Some(from));
            }
            match &mut self.state {
                State::Follower(follower) => follower.wait(c),
                State::PreCandidate(_) => self.state = State::Follower(Follower::new(c, None)),
                State::Candidate(_) | State::Leader(_) => unreachable!("it voted for itself"),
            }
        }
        c.answer(from, Message::VoteReply(VoteReply { term: c.term, granted }));
    }
}
