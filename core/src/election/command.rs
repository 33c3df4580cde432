//! What the owner asks of a leader: a command, a change of voters, to hand over; and of any member:
//! to compact its log.
//!
//! Voters change one at a time (dissertation §4.1), so that any two majorities before and after
//! share a member. That holds only from one committed set to the next, so that a change waits for
//! the one before and for the leader's first own commit: without the latter two leaders could build
//! on different sets (Ongaro, raft-dev, 2015, "bug in single-server membership changes").

use bytes::Bytes;

use super::leader::{Leader, Transfer};
use super::log::Payload;
use super::progress::Mode;
use super::{Raft, State};
use crate::limits::{
    LOG_ENTRIES_MAX, PROMOTION_LAG_MAX, PROPOSAL_BYTES_MAX, SNAPSHOT_BYTES_MAX,
    UNCOMMITTED_BYTES_MAX, UNCOMMITTED_ENTRIES_MAX, VOTERS_MAX,
};
use crate::{Index, Instant, Member, NodeId};

/// One more voter, or one less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VoterChange {
    /// This member votes. It must be linked and have caught up.
    Add(Member),
    /// This node votes no more.
    Remove(NodeId),
}

/// Why a leader, or who is none, does not do as it is asked. Nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// This member does not lead.
    #[error("not the leader")]
    NotLeader {
        /// Who does, as far as it knows.
        leader: Option<NodeId>,
    },
    /// It is handing over.
    #[error("leadership is being handed over")]
    Transferring,
    /// Too much waits to be committed, or to be compacted.
    #[error("too many entries wait")]
    Full,
    /// The command is longer than [`PROPOSAL_BYTES_MAX`].
    #[error("the command is too long")]
    TooLong,
    /// It has not committed an entry of its own term yet.
    #[error("the leader has not committed anything yet")]
    TooEarly,
    /// The change before is not committed.
    #[error("another change of voters is under way")]
    ChangePending,
    /// The member to be added has no link, or lags.
    #[error("the member has not caught up")]
    NotCaughtUp,
    /// It votes already.
    #[error("the member votes already")]
    AlreadyVoter,
    /// The node votes with another directory, which has to be removed first: at once the two
    /// changes could leave two majorities without a common member.
    #[error("the node votes with another directory; remove that first")]
    OtherDirectory,
    /// There are [`VOTERS_MAX`] already.
    #[error("there are too many voters")]
    TooManyVoters,
    /// Of the voters that would be, this member hears too few: the change might never be committed,
    /// and nobody be elected any more.
    #[error("too few of the voters that would be are heard of")]
    MajorityUnheard,
    /// The node does not vote.
    #[error("the node is not a voter")]
    NotVoter,
    /// The last voter can not go.
    #[error("the last voter can not be removed")]
    LastVoter,
}

impl Raft {
    /// Adds a command to the log. It is applied when it is committed, unless another leader takes
    /// over before: then it may be lost, or not.
    pub fn propose(&mut self, now: Instant, command: Bytes) -> Result<Index, Refusal> {
        self.common.now = self.common.now.max(now);
        self.accepts()?;
        if command.len() > PROPOSAL_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let c = &mut self.common;
        let log = &c.log;
        let is_full = log.last().index.0 - c.commit.0 >= UNCOMMITTED_ENTRIES_MAX
            || log.bytes_after(c.commit) >= UNCOMMITTED_BYTES_MAX
            || log.last().index.0 - log.base().index.0 >= LOG_ENTRIES_MAX;
        if is_full {
            return Err(Refusal::Full);
        }
        Ok(c.append(Payload::Command(command)))
    }

    /// Adds a change of voters to the log. It takes effect at once, here and wherever it is
    /// appended, and is settled when it is committed.
    pub fn change_voters(&mut self, now: Instant, change: VoterChange) -> Result<Index, Refusal> {
        self.common.now = self.common.now.max(now);
        self.accepts()?;
        let c = &mut self.common;
        if c.log.term_at(c.commit) != Some(c.term) {
            return Err(Refusal::TooEarly);
        }
        if c.log.voters_at() > c.commit {
            return Err(Refusal::ChangePending);
        }
        let State::Leader(leader) = &mut self.state else { unreachable!("it accepts") };
        let voters = c.log.voters();
        let voters = match change {
            VoterChange::Add(member) => match voters.directory(member.node) {
                Some(directory) if directory == member.directory => {
                    return Err(Refusal::AlreadyVoter);
                }
                Some(_) => return Err(Refusal::OtherDirectory),
                None if voters.len() >= VOTERS_MAX => return Err(Refusal::TooManyVoters),
                None if !leader.has_caught_up(member, c.log.last().index) => {
                    return Err(Refusal::NotCaughtUp);
                }
                None => voters.with(member),
            },
            VoterChange::Remove(node) => {
                if voters.directory(node).is_none() {
                    return Err(Refusal::NotVoter);
                }
                if voters.len() == 1 {
                    return Err(Refusal::LastVoter);
                }
                voters.without(node)
            }
        };
        if !leader.hears_majority(c, &voters) {
            return Err(Refusal::MajorityUnheard);
        }
        let index = c.append(Payload::Voters(voters));
        leader.update_members(c);
        Ok(index)
    }

    /// Hands leadership to another voter, once that has all of the log. Nothing is accepted
    /// meanwhile; given up after the longest election timeout.
    pub fn transfer(&mut self, now: Instant, to: NodeId) -> Result<(), Refusal> {
        self.common.now = self.common.now.max(now);
        self.accepts()?;
        let c = &mut self.common;
        let State::Leader(leader) = &mut self.state else { unreachable!("it accepts") };
        let to = c.log.voters().member(to).ok_or(Refusal::NotVoter)?;
        if to == c.me {
            return Ok(());
        }
        leader.transfer = Some(Transfer { to, since: c.now, told: false });
        leader.hand_over(c, false);
        Ok(())
    }

    /// Takes `data`, the owner's state at `upto`, for all that led to it. `upto` must have been
    /// applied; an older one than the last changes nothing.
    pub fn compact(&mut self, upto: Index, data: Bytes) {
        let c = &mut self.common;
        assert!(upto <= c.applied, "only what was applied is compacted");
        assert!(data.len() as u64 <= SNAPSHOT_BYTES_MAX, "a snapshot has a largest size");
        if upto <= c.log.snapshot().index {
            return;
        }
        c.compact(upto, data);
    }

    fn accepts(&self) -> Result<(), Refusal> {
        match &self.state {
            State::Leader(leader) if leader.transfer.is_some() => Err(Refusal::Transferring),
            State::Leader(_) => Ok(()),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => {
                Err(Refusal::NotLeader { leader: self.leader() })
            }
        }
    }
}

impl Leader {
    /// Whether the member would not hold up a commit for long if it voted.
    fn has_caught_up(&self, member: Member, last: Index) -> bool {
        self.progress.get(&member).is_some_and(|progress| match progress.mode {
            Mode::Replicate { .. } => progress.durable.plus(PROMOTION_LAG_MAX) >= last,
            Mode::Probe { .. } | Mode::Snapshot { .. } => false,
        })
    }
}
