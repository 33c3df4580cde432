//! The way of a message in: is it possible, of which term is it, who is it for.
//!
//! A message of a later term makes its receiver a follower in that term first, whatever it says;
//! only a question whether one *would* vote does not. One of an earlier term is answered with the
//! term if it asks for something, so that its sender steps down, and ignored if it is an answer
//! (Raft §5.1).

use super::candidate::Candidate;
use super::common::Common;
use super::follower::Follower;
use super::ignored::{Ignored, check};
use super::message::{
    Append, AppendReply, Chunk, ChunkReply, Message, PreVoteReply, TimeoutNow, VoteReply,
};

use super::pre_candidate::first_patience;
use super::{Raft, State};
use crate::{Index, Member, Term};

impl Raft {
    pub(super) fn on_message(&mut self, from: Member, message: Message) {
        let name = message.name();
        if let Err(why) = self.dispatch(from, message) {
            self.common.ignore(from, name, why);
        }
    }

    fn dispatch(&mut self, from: Member, message: Message) -> Result<(), Ignored> {
        if from == self.common.me {
            return Err(Ignored::FromSelf);
        }
        check(&message)?;
        let is_question = matches!(message, Message::PreVote(_));
        if message.term() > self.common.term && !is_question {
            self.common.set_vote(message.term(), None);
            self.follow(None);
        }
        match message {
            Message::PreVote(m) => self.on_pre_vote(from, &m),
            Message::PreVoteReply(m) => self.on_pre_vote_reply(from, &m)?,
            Message::Vote(m) => self.on_vote(from, &m),
            Message::VoteReply(m) => self.on_vote_reply(from, &m)?,
            Message::Append(m) => self.on_append(from, m)?,
            Message::AppendReply(m) => self.on_append_reply(from, &m)?,
            Message::Chunk(m) => self.on_chunk(from, m)?,
            Message::ChunkReply(m) => self.on_chunk_reply(from, &m)?,
            Message::TimeoutNow(m) => self.on_timeout_now(from, &m)?,
        }
        Ok(())
    }

    fn on_pre_vote_reply(&mut self, from: Member, m: &PreVoteReply) -> Result<(), Ignored> {
        let State::PreCandidate(pre) = &mut self.state else { return Err(Ignored::NotAsked) };
        let next = pre.on_reply(&mut self.common, from, m);
        self.become_next(next);
        Ok(())
    }

    fn on_vote_reply(&mut self, from: Member, m: &VoteReply) -> Result<(), Ignored> {
        self.check_term(m.term)?;
        let State::Candidate(candidate) = &mut self.state else { return Err(Ignored::NotAsked) };
        let next = candidate.on_reply(&mut self.common, from, m);
        self.become_next(next);
        Ok(())
    }

    fn on_append(&mut self, from: Member, m: Append) -> Result<(), Ignored> {
        let follower = self.listen(from, m.term)?;
        follower.0.on_append(follower.1, from, m);
        Ok(())
    }

    fn on_append_reply(&mut self, from: Member, m: &AppendReply) -> Result<(), Ignored> {
        self.check_term(m.term)?;
        let State::Leader(leader) = &mut self.state else { return Err(Ignored::NotAsked) };
        let next = leader.on_append_reply(&mut self.common, from, m);
        self.become_next(next);
        Ok(())
    }

    fn on_chunk(&mut self, from: Member, m: Chunk) -> Result<(), Ignored> {
        let follower = self.listen(from, m.term)?;
        follower.0.on_chunk(follower.1, from, m);
        Ok(())
    }

    fn on_chunk_reply(&mut self, from: Member, m: &ChunkReply) -> Result<(), Ignored> {
        self.check_term(m.term)?;
        let State::Leader(leader) = &mut self.state else { return Err(Ignored::NotAsked) };
        leader.on_chunk_reply(&mut self.common, from, m);
        Ok(())
    }

    /// The leader hands over: no question whether it would be elected, for it is to be.
    fn on_timeout_now(&mut self, from: Member, m: &TimeoutNow) -> Result<(), Ignored> {
        self.check_term(m.term)?;
        let State::Follower(follower) = &self.state else { return Err(Ignored::NotAsked) };
        if follower.leader != Some(from) {
            return Err(Ignored::NotLeader);
        }
        if !self.common.may_stand() {
            return Err(Ignored::NoVoter);
        }
        let patience = first_patience(&self.common);
        self.state = Candidate::start(&mut self.common, patience);
        Ok(())
    }

    /// The follower that this member is, or becomes, because the leader of its term speaks.
    fn listen(
        &mut self,
        from: Member,
        term: Term,
    ) -> Result<(&mut Follower, &mut Common), Ignored> {
        if term < self.common.term {
            let (matched, durable) = (Index(0), Index(0));
            let reply = AppendReply { term: self.common.term, matched, durable, conflict: None };
            self.common.answer(from, Message::AppendReply(reply));
            return Err(Ignored::OldTerm);
        }
        match &self.state {
            State::Follower(follower) if follower.leader.is_none_or(|known| known == from) => {}
            State::Follower(_) | State::Leader(_) => return Err(Ignored::SecondLeader),
            State::PreCandidate(_) | State::Candidate(_) => self.follow(Some(from)),
        }
        let State::Follower(follower) = &mut self.state else { unreachable!("it follows") };
        follower.hear(&self.common, from);
        Ok((follower, &mut self.common))
    }

    fn follow(&mut self, leader: Option<Member>) {
        self.state = State::Follower(Follower::new(&mut self.common, leader));
    }

    fn check_term(&self, term: Term) -> Result<(), Ignored> {
        if term < self.common.term { Err(Ignored::OldTerm) } else { Ok(()) }
    }
}
