//! What the replicas of a partition say to each other, and how it travels.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Epoch, Incarnation, Instant, Offset, PartitionId};

/// A message with its address: the body of one frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Envelope {
    /// The partition that it is about.
    pub partition: PartitionId,
    /// The reign in which it is said. In any other it means nothing.
    pub epoch: Epoch,
    /// What it says.
    pub message: Message,
}

/// One session of a follower with a leader: another one begins whenever the follower asks anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Round {
    /// The life of the follower.
    pub incarnation: Incarnation,
    /// Grows within a life.
    pub number: u32,
}

/// A message. Any of them may be lost, come twice, late or out of order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Leader to replica: I lead this reign, follow me.
    Lead,
    /// Follower to leader: send me what comes behind my log.
    Follow {
        /// The session that begins.
        round: Round,
        /// The reign that wrote the last record; zero if there is none.
        last: Epoch,
        /// The end of the log.
        end: Offset,
    },
    /// Leader to follower: your log does not end as mine does.
    Common {
        /// The session that asked.
        round: Round,
        /// The largest epoch not above the one asked for that the leader's log knows; zero if its
        /// whole history is known and there is none.
        epoch: Epoch,
        /// Where that epoch ends in the leader's log.
        end: Offset,
    },
    /// Leader to follower: begin again from zero, what your log lacks can not be told from here.
    Restart {
        /// The session that is over.
        round: Round,
    },
    /// Leader to follower: a piece of the log. Without records it is a beat, with `base == end`.
    Append {
        /// The session.
        round: Round,
        /// How often the leader has asked on behalf of reads.
        beat: u64,
        /// When it was sent, by the leader's clock: to be echoed, and nothing else.
        sent: Instant,
        /// The log end that the follower must have.
        base: Offset,
        /// The log end that it has afterwards.
        end: Offset,
        /// The leader's high watermark.
        watermark: Offset,
        /// The records as they stand in the log. They travel behind the head as they are.
        #[serde(skip)]
        records: Bytes,
    },
    /// Follower to leader: so far I have it, and I commit nothing as a leader for a while.
    Ack {
        /// The session.
        round: Round,
        /// Of the last message taken.
        beat: u64,
        /// Of the last message taken.
        sent: Instant,
        /// The first offset that the follower does not acknowledge yet.
        end: Offset,
        /// The first offset that it does not store yet. It may be within a batch, and then above
        /// `end`; it makes room for more to be sent, and counts for nothing else.
        stored: Offset,
    },
}

impl Envelope {
    /// The body of the frame that carries it: the head as postcard, then the records.
    pub fn encode(&self) -> Bytes {
        let head = postcard::to_allocvec(self).expect("plain data can be written to memory");
        match &self.message {
            Message::Append { records, .. } if !records.is_empty() => {
                let mut body = head;
                body.extend_from_slice(records);
                body.into()
            }
            Message::Append { .. }
            | Message::Lead
            | Message::Follow { .. }
            | Message::Common { .. }
            | Message::Restart { .. }
            | Message::Ack { .. } => head.into(),
        }
    }

    /// The message that a frame carries, if it is one. Its records are a slice of the frame.
    pub fn decode(mut body: Bytes) -> Option<Self> {
        let (mut envelope, rest) = postcard::take_from_bytes::<Self>(&body).ok()?;
        let head_bytes = body.len() - rest.len();
        let behind = body.split_off(head_bytes);
        match &mut envelope.message {
            Message::Append { records, .. } => *records = behind,
            Message::Lead
            | Message::Follow { .. }
            | Message::Common { .. }
            | Message::Restart { .. }
            | Message::Ack { .. } => {
                if !behind.is_empty() {
                    return None;
                }
            }
        }
        Some(envelope)
    }
}

impl Message {
    /// What it is called in traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lead => "lead",
            Self::Follow { .. } => "follow",
            Self::Common { .. } => "common",
            Self::Restart { .. } => "restart",
            Self::Append { .. } => "append",
            Self::Ack { .. } => "ack",
        }
    }

    /// Whether it is said to a leader; else it is said to a follower.
    pub fn is_for_leader(&self) -> bool {
        match self {
            Self::Follow { .. } | Self::Ack { .. } => true,
            Self::Lead | Self::Common { .. } | Self::Restart { .. } | Self::Append { .. } => false,
        }
    }
}
