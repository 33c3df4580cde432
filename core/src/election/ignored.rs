//! Why a message is ignored, and the plausibility check that each goes through first.

use core::fmt;

use super::log::{Payload, Position};
use super::message::{Append, Chunk, Message};
use crate::limits::{APPEND_ENTRIES_MAX, ORDINAL_MAX, PROPOSAL_BYTES_MAX, SNAPSHOT_BYTES_MAX};
use crate::{Index, Term};

/// Why a message had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignored {
    /// It claims to come from this member itself.
    FromSelf,
    /// A number in it is beyond any that can be.
    Absurd,
    /// Its entries have a gap, or terms that fall or that its sender has not reached.
    Disordered,
    /// It is larger than the limits allow, or names no voters or too many.
    Oversized,
    /// It is of an earlier term.
    OldTerm,
    /// It answers something that this member has not asked, or asks no longer.
    NotAsked,
    /// It answers a request that a later one has made void.
    Overtaken,
    /// It comes from someone who is neither a voter nor linked.
    Stranger,
    /// This member can not lead: it does not vote.
    NoVoter,
    /// It hands over, but does not come from the leader.
    NotLeader,
    /// A second leader of this term. Never happens while members keep to the protocol.
    SecondLeader,
    /// It contradicts what is committed or what this leader has said before. Never happens while
    /// members keep to the protocol.
    Contradiction,
    /// It acknowledges what was never sent. Never happens while members keep to the protocol.
    AckBeyondLog,
}

impl Ignored {
    /// Whether some member must have broken the protocol: a checker stops here.
    pub fn is_violation(self) -> bool {
        match self {
            Self::SecondLeader | Self::Contradiction | Self::AckBeyondLog => true,
            Self::FromSelf
            | Self::Absurd
            | Self::Disordered
            | Self::Oversized
            | Self::OldTerm
            | Self::NotAsked
            | Self::Overtaken
            | Self::Stranger
            | Self::NoVoter
            | Self::NotLeader => false,
        }
    }

    /// Its name, as traces print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::FromSelf => "from self",
            Self::Absurd => "absurd",
            Self::Disordered => "disordered",
            Self::Oversized => "oversized",
            Self::OldTerm => "old term",
            Self::NotAsked => "not asked",
            Self::Overtaken => "overtaken",
            Self::Stranger => "stranger",
            Self::NoVoter => "no voter",
            Self::NotLeader => "not leader",
            Self::SecondLeader => "second leader",
            Self::Contradiction => "contradiction",
            Self::AckBeyondLog => "ack beyond log",
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether the message can be what a member says, whatever the state. What passes can be computed
/// with.
pub(super) fn check(message: &Message) -> Result<(), Ignored> {
    check_term(message.term())?;
    match message {
        Message::PreVote(m) => {
            check_term(m.asked)?;
            check_position(m.last)?;
            ordered(m.asked > Term(0) && m.last.term < m.asked)
        }
        Message::PreVoteReply(m) => check_term(m.asked),
        Message::Vote(m) => {
            check_position(m.last)?;
            ordered(m.last.term < m.term)
        }
        Message::Append(m) => check_append(m),
        Message::AppendReply(m) => {
            check_index(m.matched)?;
            if let Some(conflict) = m.conflict {
                check_index(conflict.prev)?;
                check_index(conflict.first)?;
            }
            ordered(m.durable <= m.matched)
        }
        Message::Chunk(m) => check_chunk(m),
        Message::ChunkReply(m) => {
            check_position(m.last)?;
            small(m.held <= SNAPSHOT_BYTES_MAX)
        }
        Message::VoteReply(_) | Message::TimeoutNow(_) => Ok(()),
    }
}

fn check_append(m: &Append) -> Result<(), Ignored> {
    check_position(m.prev)?;
    check_index(m.commit)?;
    small(m.entries.len() <= APPEND_ENTRIES_MAX)?;
    let mut last = m.prev;
    for entry in &m.entries {
        check_position(entry.position())?;
        ordered(entry.index == last.index.plus(1) && entry.term >= last.term)?;
        match &entry.payload {
            Payload::Noop => {}
            Payload::Voters(voters) => small(voters.plausible())?,
            Payload::Command(command) => small(command.len() <= PROPOSAL_BYTES_MAX)?,
        }
        last = entry.position();
    }
    ordered(last.term <= m.term)
}

fn check_chunk(m: &Chunk) -> Result<(), Ignored> {
    check_position(m.last)?;
    ordered(m.last.term <= m.term)?;
    small(m.voters.plausible() && m.total <= SNAPSHOT_BYTES_MAX)?;
    ordered(m.at <= m.total && m.data.len() as u64 <= m.total - m.at)
}

fn check_term(term: Term) -> Result<(), Ignored> {
    if term.0 <= ORDINAL_MAX { Ok(()) } else { Err(Ignored::Absurd) }
}

fn check_index(index: Index) -> Result<(), Ignored> {
    if index.0 <= ORDINAL_MAX { Ok(()) } else { Err(Ignored::Absurd) }
}

/// Term zero is that of the founding snapshot alone.
fn check_position(position: Position) -> Result<(), Ignored> {
    check_term(position.term)?;
    check_index(position.index)?;
    ordered((position.index == Index(0)) == (position.term == Term(0)))
}

fn ordered(so: bool) -> Result<(), Ignored> {
    if so { Ok(()) } else { Err(Ignored::Disordered) }
}

fn small(so: bool) -> Result<(), Ignored> {
    if so { Ok(()) } else { Err(Ignored::Oversized) }
}
