//! What the shards of two nodes say to each other about their clients' commands, over the forward
//! channel.
//!
//! A process numbers its clients and its questions from a number that it draws at its start: a
//! question that an earlier process asked may be heard by a leader, or its answer come, when the
//! node is back.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::{self, Vec};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::transaction::Watches;
use crate::reply::Reply;
use crate::{Epoch, Offset, PartitionId, Value};

/// One message; a parcel holds a run of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// To a leader: evaluate this for a client of mine.
    Ask(Ask),
    /// To the node that has asked.
    Answer {
        /// The asker's number.
        tag: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// The asker's client is gone, and with it what it watches.
    Gone {
        /// The client, as its own node knows it.
        client: u64,
    },
    /// To a leader: who has what was written? See [`acks`](crate::shard).
    Count {
        /// The client that wants to know, as its own node knows it.
        client: u64,
        /// The asker's number.
        tag: u64,
        /// Which partition it is about.
        partition: PartitionId,
        /// The client's last write there; none if it has written nothing anywhere: who has what is
        /// committed?
        wrote: Option<Wrote>,
    },
    /// To the node that has asked that.
    Counted {
        /// Of the question.
        client: u64,
        /// The asker's number for what was asked.
        tag: u64,
        /// Of the question.
        partition: PartitionId,
        /// The leader has made it durable.
        local: bool,
        /// So many other replicas have acknowledged it.
        replicas: u32,
        /// It is not in the log any more.
        lost: bool,
    },
}

/// A write: that of a reign that ends there in its log. Another reign may have another record there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrote {
    /// The reign in which it was logged.
    pub epoch: Epoch,
    /// Where it ends; none if that is not known, nor whether it was logged.
    pub end: Option<Offset>,
}

/// See [`Message::Ask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The client, as its own node knows it. What one client asks is evaluated in its order.
    pub client: u64,
    /// The asker's number for it.
    pub tag: u64,
    /// What the client watches. An agent that has another generation's keys lets go of them.
    pub watches: Watches,
    /// It is refused, as [`Outcome::Unwatched`], by an agent that does not have just those.
    pub pinned: bool,
    /// Which partition it is for, and in which reign: another is refused, or a command could
    /// overtake one of the same client that was refused.
    pub partition: PartitionId,
    /// See above.
    pub epoch: Epoch,
    /// The commands, one after the other; the reply to the last one is the answer.
    pub commands: Vec<Command>,
}

/// A command and its arguments, the name first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command(#[serde(with = "args")] pub Vec<Value>);

/// What became of a forwarded command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was evaluated.
    Reply {
        /// The reply.
        reply: WireReply,
        /// How far the partition is committed: the reply depends on nothing behind.
        seen: Offset,
        /// The client's last write there, if one is known: the last that is committed, or may be.
        wrote: Option<Wrote>,
    },
    /// The node does not lead the partition in that reign: nothing was evaluated.
    NotLeader,
    /// The ask is pinned, and the agent does not have what its client watches: nothing was
    /// evaluated. The reign goes on.
    Unwatched,
    /// As [`NotLeader`](Self::NotLeader), since its disk is full.
    NoRoom,
}

impl Outcome {
    /// It was not evaluated, for this reason.
    pub fn error(reply: Reply) -> Self {
        Self::Reply { reply: reply.into(), seen: Offset(0), wrote: None }
    }
}

/// A reply as it travels: what it consists of, an aggregate before what it holds. It is flat, so that
/// nobody's stack depends on what a peer has sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireReply(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Part {
    /// One of [`SIMPLE`].
    Simple(u8),
    Error(String),
    Int(i64),
    Bulk(#[serde(with = "value")] Value),
    Null,
    NullArray,
    /// Of so many replies.
    Array(u32),
    /// Of so many pairs.
    Map(u32),
    /// Of so many replies.
    Set(u32),
    Double(String),
    Verbatim(String),
}

/// The simple replies to commands for leaders.
const SIMPLE: [&str; 6] = ["OK", "PONG", "QUEUED", "RESET", "none", "string"];

/// How deep a reply may be nested: deeper than what any command replies, also in a transaction.
const DEPTH_MAX: usize = 16;

impl From<Reply> for WireReply {
    fn from(reply: Reply) -> Self {
        let mut parts = Vec::with_capacity(1);
        flatten(reply, &mut parts);
        Self(parts)
    }
}

fn flatten(reply: Reply, parts: &mut Vec<Part>) {
    let count = |len: usize| u32::try_from(len).expect("limits.rs bounds a reply");
    parts.push(match reply {
        // One that is not listed no command for leaders gives; it travels as a bulk string.
        Reply::Simple(text) => match SIMPLE.iter().position(|&known| known == text) {
            Some(at) => Part::Simple(at as u8),
            None => Part::Bulk(Value::copy_from(text.as_bytes())),
        },
        Reply::Error(text) => Part::Error(text.into_owned()),
        Reply::Int(n) => Part::Int(n),
        Reply::Bulk(value) => Part::Bulk(value),
        Reply::Null => Part::Null,
        Reply::NullArray => Part::NullArray,
        Reply::Array(items) => {
            parts.push(Part::Array(count(items.len())));
            return items.into_iter().for_each(|item| flatten(item, parts));
        }
        Reply::Set(items) => {
            parts.push(Part::Set(count(items.len())));
            return items.into_iter().for_each(|item| flatten(item, parts));
        }
        Reply::Map(items) => {
            parts.push(Part::Map(count(items.len())));
            return items.into_iter().for_each(|(key, value)| {
                flatten(key, parts);
                flatten(value, parts);
            });
        }
        Reply::Double(text) => Part::Double(text.into()),
        Reply::Verbatim(text) => Part::Verbatim(text.into()),
    });
}

impl From<WireReply> for Reply {
    fn from(WireReply(parts): WireReply) -> Self {
        let mut parts = parts.into_iter();
        let reply = unfold(&mut parts, DEPTH_MAX).filter(|_| parts.len() == 0);
        reply.unwrap_or(Self::error(
            "UNKNOWN the command was evaluated, but this node can not read the leader's answer: they \
             may be of different versions; read what it was to change",
        ))
    }
}

/// The next reply, nested no deeper than this.
fn unfold(parts: &mut vec::IntoIter<Part>, depth: usize) -> Option<Reply> {
    let below = depth.checked_sub(1)?;
    Some(match parts.next()? {
        Part::Simple(at) => Reply::Simple(SIMPLE.get(usize::from(at))?),
        Part::Error(text) => Reply::Error(Cow::Owned(text)),
        Part::Int(n) => Reply::Int(n),
        Part::Bulk(value) => Reply::Bulk(value),
        Part::Null => Reply::Null,
        Part::NullArray => Reply::NullArray,
        Part::Array(count) => {
            Reply::Array((0..count).map(|_| unfold(parts, below)).collect::<Option<_>>()?)
        }
        Part::Set(count) => {
            Reply::Set((0..count).map(|_| unfold(parts, below)).collect::<Option<_>>()?)
        }
        Part::Map(count) => {
            let mut pair = || Some((unfold(parts, below)?, unfold(parts, below)?));
            Reply::Map((0..count).map(|_| pair()).collect::<Option<_>>()?)
        }
        Part::Double(text) => Reply::Double(Box::from(text)),
        Part::Verbatim(text) => Reply::Verbatim(Box::from(text)),
    })
}

/// Appends a message to a parcel's body.
pub fn encode(message: &Message, mut body: Vec<u8>) -> Vec<u8> {
    let at = body.len();
    body.extend_from_slice(&[0; 4]);
    let mut body = postcard::to_extend(message, body).expect("plain data can be written to memory");
    let len = u32::try_from(body.len() - at - 4).expect("limits.rs bounds a message");
    body[at..at + 4].copy_from_slice(&len.to_le_bytes());
    body
}

/// Takes the first message off a parcel's body that is one of ours, and those before it; `None` at its
/// end.
pub fn decode(body: &mut Bytes) -> Option<Message> {
    loop {
        let len = u32::from_le_bytes(*body.first_chunk()?) as usize;
        let message = postcard::from_bytes(body.get(4..4usize.checked_add(len)?)?);
        let _ = body.split_to(4 + len);
        if let Ok(message) = message {
            return Some(message);
        }
    }
}

mod value {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    use crate::Value;

    pub(super) fn serialize<S: Serializer>(value: &Value, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
        from.deserialize_bytes(Copied)
    }

    struct Copied;

    impl Visitor<'_> for Copied {
        type Value = Value;

        fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Value, E> {
            Ok(Value::copy_from(bytes))
        }
    }
}

mod args {
    use alloc::vec::Vec;

    use serde::de::Deserializer;
    use serde::ser::{SerializeSeq, Serializer};
    use serde::{Deserialize, Serialize};

    use crate::Value;

    #[derive(Serialize, Deserialize)]
    struct Arg(#[serde(with = "super::value")] Value);

    pub(super) fn serialize<S: Serializer>(args: &[Value], to: S) -> Result<S::Ok, S::Error> {
        let mut seq = to.serialize_seq(Some(args.len()))?;
        args.iter().try_for_each(|arg| seq.serialize_element(&Arg(arg.clone())))?;
        seq.end()
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Value>, D::Error> {
        Ok(Vec::<Arg>::deserialize(from)?.into_iter().map(|arg| arg.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in() {
        let values = |all: &[&[u8]]| Command(all.iter().map(|v| Value::copy_from(v)).collect());
        let ask = Message::Ask(Ask {
            client: 3,
            tag: 300,
            watches: Watches { generation: 2, count: 1 },
            pinned: true,
            partition: PartitionId(7),
            epoch: Epoch(2),
            commands: alloc::vec![values(&[b"SET", b"k", &[0; 300]]), values(&[b"GET", b""])],
        });
        let reply = Reply::Array(alloc::vec![
            Reply::OK,
            Reply::Int(-1),
            Reply::Null,
            Reply::error("ERR x"),
            Reply::bulk(b"v"),
        ]);
        let written = Some(Wrote { epoch: Epoch(2), end: Some(Offset(6)) });
        let seen = Offset(7);
        let outcome = Outcome::Reply { reply: reply.clone().into(), seen, wrote: written };
        let answer = Message::Answer { tag: 300, outcome };
        let body = encode(&answer, encode(&ask, Vec::new()));
        let mut body = Bytes::from(body);
        assert_eq!(decode(&mut body), Some(ask));
        let Some(Message::Answer { outcome: Outcome::Reply { reply: told, seen, wrote }, .. }) =
            decode(&mut body)
        else {
            panic!("the second message is an answer")
        };
        assert_eq!((Reply::from(told), seen, wrote), (reply, Offset(7), written));
        assert_eq!(decode(&mut body), None);
    }

    #[test]
    fn every_reply_can_travel() {
        let text = || Box::<str>::from("x");
        let replies = [
            Reply::Simple("string"),
            Reply::NullArray,
            Reply::Double(text()),
            Reply::Verbatim(text()),
            Reply::Map(alloc::vec![(Reply::OK, Reply::Set(alloc::vec![Reply::Null]))]),
        ];
        for reply in replies {
            assert_eq!(Reply::from(WireReply::from(reply.clone())), reply);
        }
        let unlisted = WireReply::from(Reply::Set(alloc::vec![Reply::Simple("write")]));
        assert_eq!(Reply::from(unlisted), Reply::Set(alloc::vec![Reply::bulk(b"write")]));
    }

    /// An answer with these parts, as a peer may send it.
    fn answer(parts: Vec<Part>) -> Reply {
        let seen = Offset(0);
        let outcome = Outcome::Reply { reply: WireReply(parts), seen, wrote: None };
        let mut body = Bytes::from(encode(&Message::Answer { tag: 1, outcome }, Vec::new()));
        let Some(Message::Answer { outcome: Outcome::Reply { reply, .. }, .. }) = decode(&mut body)
        else {
            panic!("it is an answer")
        };
        reply.into()
    }

    #[test]
    fn an_answer_that_is_no_reply_is_an_error() {
        let nested = |depth| {
            let mut parts = alloc::vec![Part::Array(1); depth];
            parts.push(Part::Null);
            parts
        };
        assert!(matches!(answer(nested(DEPTH_MAX - 1)), Reply::Array(_)));
        for parts in [
            nested(DEPTH_MAX),
            nested(1_000_000),
            alloc::vec![],
            alloc::vec![Part::Array(2), Part::Null],
            alloc::vec![Part::Set(u32::MAX), Part::Null],
            alloc::vec![Part::Map(1), Part::Null],
            alloc::vec![Part::Null, Part::Null],
            alloc::vec![Part::Simple(u8::MAX)],
        ] {
            assert!(matches!(answer(parts), Reply::Error(_)));
        }
    }

    #[test]
    fn a_message_that_nobody_knows_hides_none_behind_it() {
        let mut body = [3, 0, 0, 0, 99, 1, 2].to_vec();
        body = encode(&Message::Gone { client: 9 }, body);
        let mut body = Bytes::from(body);
        assert_eq!(decode(&mut body), Some(Message::Gone { client: 9 }));
        assert_eq!(decode(&mut body), None);
    }

    #[test]
    fn cut_bytes_are_no_message() {
        let body = encode(&Message::Gone { client: 9 }, Vec::new());
        for len in 0..body.len() {
            assert_eq!(decode(&mut Bytes::copy_from_slice(&body[..len])), None);
        }
    }
}
