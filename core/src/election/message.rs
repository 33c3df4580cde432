//! What members say to each other.

use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::log::{Entry, Position};
use super::voters::Voters;
use crate::{Index, Term};

/// A message. Any of them may be lost, come twice, late or out of order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Would you vote for me?
    PreVote(PreVote),
    /// Whether the member would.
    PreVoteReply(PreVoteReply),
    /// Vote for me.
    Vote(Vote),
    /// Whether the member does.
    VoteReply(VoteReply),
    /// Entries of the leader's log; without any it is a heartbeat.
    Append(Append),
    /// How far the member's log agrees.
    AppendReply(AppendReply),
    /// A piece of the leader's snapshot.
    Chunk(Chunk),
    /// How much of the snapshot the member has.
    ChunkReply(ChunkReply),
    /// Ask for votes at once: the leader hands over.
    TimeoutNow(TimeoutNow),
}

/// Would you vote for me? Nothing changes by the question, so a member that can not win asks it
/// without doing harm (dissertation §9.6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PreVote {
    /// The term the sender would ask for votes in: the one after its own.
    pub asked: Term,
    /// The end of its log.
    pub last: Position,
}

/// The answer to a [`PreVote`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PreVoteReply {
    /// The answerer's own term, as far as it is durable.
    pub term: Term,
    /// The term that was asked about.
    pub asked: Term,
    /// Whether it would vote for the asker: it has not heard of a leader lately, and its own log
    /// does not end later.
    pub granted: bool,
}

/// Vote for me (Raft §5.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Vote {
    /// The candidate's term.
    pub term: Term,
    /// The end of its log.
    pub last: Position,
}

/// The answer to a [`Vote`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VoteReply {
    /// The answerer's term.
    pub term: Term,
    /// Whether it voted for the asker in this term. The vote is durable.
    pub granted: bool,
}

/// Entries of the leader's log, or a heartbeat (Raft §5.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Append {
    /// The leader's term.
    pub term: Term,
    /// The entry before the first one sent. The receiver must have it.
    pub prev: Position,
    /// The entries behind it, without a gap.
    pub entries: Vec<Entry>,
    /// How far the leader's log is committed; may lie beyond what is sent.
    pub commit: Index,
}

/// The answer to an [`Append`], and the news that what it brought is durable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AppendReply {
    /// The answerer's term.
    pub term: Term,
    /// Up to here its log is known to agree with the leader's of this term.
    pub matched: Index,
    /// Up to here what agrees is durable; at most `matched`.
    pub durable: Index,
    /// Set if the entry before the first one sent is not the answerer's.
    pub conflict: Option<Conflict>,
}

/// Where two logs differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Conflict {
    /// The index of [`Append::prev`], by which the leader knows which message was refused.
    pub prev: Index,
    /// The term of the answerer's entry there; none if its log ends before.
    pub term: Option<Term>,
    /// The first index of that term; the end of the log and one if it ends before.
    pub first: Index,
}

/// A piece of a snapshot (Raft §7).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Chunk {
    /// The leader's term.
    pub term: Term,
    /// The last entry that the snapshot covers.
    pub last: Position,
    /// Who votes as of that entry.
    pub voters: Voters,
    /// The length of the snapshot in bytes.
    pub total: u64,
    /// Where this piece begins, in bytes.
    pub at: u64,
    /// The piece. Empty if it only asks how much the receiver has, or the snapshot is empty.
    pub data: Bytes,
}

/// The answer to a [`Chunk`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkReply {
    /// The answerer's term.
    pub term: Term,
    /// Which snapshot: the last entry that it covers.
    pub last: Position,
    /// How many bytes of it the answerer has, from the start.
    pub held: u64,
}

/// Ask for votes at once (dissertation §3.10).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimeoutNow {
    /// The leader's term.
    pub term: Term,
}

impl Message {
    /// The sender's term; of a [`PreVote`] the one before the term it asks about.
    pub fn term(&self) -> Term {
        match self {
            Self::PreVote(m) => Term(m.asked.0.saturating_sub(1)),
            Self::PreVoteReply(m) => m.term,
            Self::Vote(m) => m.term,
            Self::VoteReply(m) => m.term,
            Self::Append(m) => m.term,
            Self::AppendReply(m) => m.term,
            Self::Chunk(m) => m.term,
            Self::ChunkReply(m) => m.term,
            Self::TimeoutNow(m) => m.term,
        }
    }

    /// What it is called in traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PreVote(_) => "pre-vote",
            Self::PreVoteReply(_) => "pre-vote reply",
            Self::Vote(_) => "vote",
            Self::VoteReply(_) => "vote reply",
            Self::Append(_) => "append",
            Self::AppendReply(_) => "append reply",
            Self::Chunk(_) => "chunk",
            Self::ChunkReply(_) => "chunk reply",
            Self::TimeoutNow(_) => "timeout now",
        }
    }
}
