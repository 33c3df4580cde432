//! What there is to see from outside. Nothing is decided by it.

use alloc::vec::Vec;
use core::time::Duration;

use super::disk::WriteId;
use super::log::{Entry, Position, Snapshot};
use super::progress::Mode;
use super::voters::Voters;
use super::{Raft, Role, State};
use crate::{Index, Member, NodeId, Term};

/// How a leader sees a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemberStatus {
    /// Who.
    pub member: Member,
    /// Whether it votes.
    pub voter: bool,
    /// Whether there is a link to it.
    pub linked: bool,
    /// Up to here its log is known to agree with the leader's.
    pub matched: Index,
    /// Up to here what agrees is durable there.
    pub durable: Index,
    /// How it is sent the log.
    pub health: Health,
    /// How long ago it was heard of in this term; at most as long as this leader leads.
    pub silence: Duration,
}

/// How a member is sent the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// It is not known where its log agrees, or whether it is there.
    Probing,
    /// Entries flow.
    Replicating,
    /// It is sent a snapshot.
    Snapshot {
        /// Bytes that have arrived.
        held: u64,
        /// Bytes in all.
        total: u64,
    },
}

impl Raft {
    /// Who this member is.
    pub fn me(&self) -> Member {
        self.common.me
    }

    /// What it is.
    pub fn role(&self) -> Role {
        match &self.state {
            State::Follower(_) => Role::Follower,
            State::PreCandidate(_) => Role::PreCandidate,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// Its term.
    pub fn term(&self) -> Term {
        self.common.term
    }

    /// Its vote in this term.
    pub fn vote(&self) -> Option<Member> {
        self.common.vote
    }

    /// Who leads this term, as far as it knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader_member().map(|member| member.node)
    }

    /// The same with its directory.
    pub fn leader_member(&self) -> Option<Member> {
        match &self.state {
            State::Follower(follower) => follower.leader,
            State::PreCandidate(_) | State::Candidate(_) => None,
            State::Leader(_) => Some(self.common.me),
        }
    }

    /// Whether it leads and has committed an entry of its term, so that it knows all that is
    /// committed.
    pub fn is_settled_leader(&self) -> bool {
        let c = &self.common;
        self.role() == Role::Leader && c.log.term_at(c.commit) == Some(c.term)
    }

    /// How far it knows the log to be committed.
    pub fn commit(&self) -> Index {
        self.common.commit
    }

    /// How far the owner has got it.
    pub fn applied(&self) -> Index {
        self.common.applied
    }

    /// The end of its log.
    pub fn last(&self) -> Position {
        self.common.log.last()
    }

    /// How much of its log is durable.
    pub fn durable(&self) -> Index {
        self.common.disk.durable().end
    }

    /// The first entry that it still has, if it has any.
    pub fn first_index(&self) -> Index {
        self.common.log.base().index.plus(1)
    }

    /// An entry that it still has.
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        self.common.log.entry(index)
    }

    /// The term of an entry that it still has, or of the one before all of them.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.common.log.term_at(index)
    }

    /// Its last snapshot.
    pub fn snapshot(&self) -> &Snapshot {
        self.common.log.snapshot()
    }

    /// Members to which there is a link.
    pub fn linked(&self) -> impl Iterator<Item = Member> + '_ {
        self.common.linked.iter().copied()
    }

    /// Who votes, by the last word in its log, committed or not.
    pub fn voters(&self) -> &Voters {
        self.common.log.voters()
    }

    /// Where that was said; it is settled once it is committed.
    pub fn voters_at(&self) -> Index {
        self.common.log.voters_at()
    }

    /// Whether it votes, by the same.
    pub fn is_voter(&self) -> bool {
        self.common.is_voter()
    }

    /// The write that it waits for.
    pub fn writing(&self) -> Option<WriteId> {
        self.common.disk.writing()
    }

    /// To whom it hands over.
    pub fn transferring(&self) -> Option<NodeId> {
        match &self.state {
            State::Leader(leader) => leader.transfer.map(|transfer| transfer.to.node),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => None,
        }
    }

    /// How the leader sees the others; empty elsewhere.
    pub fn members(&self) -> Vec<MemberStatus> {
        let State::Leader(leader) = &self.state else { return Vec::new() };
        let c = &self.common;
        let status = |(&member, progress): (&Member, &super::progress::Progress)| MemberStatus {
            member,
            voter: c.log.voters().contains(member),
            linked: c.linked.contains(&member),
            matched: progress.matched,
            durable: progress.durable,
            health: match &progress.mode {
                Mode::Probe { .. } => Health::Probing,
                Mode::Replicate { .. } => Health::Replicating,
                Mode::Snapshot { snapshot, held, .. } => {
                    Health::Snapshot { held: *held, total: snapshot.data.len() as u64 }
                }
            },
            silence: c.now.since(progress.heard),
        };
        leader.progress.iter().map(status).collect()
    }
}
