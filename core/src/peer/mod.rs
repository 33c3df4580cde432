//! The links between the nodes of a cluster: framing, handshake, reconnection, keepalive.
//!
//! One machine, [`Links`], keeps all links of a node. It tells its owner which peers can be sent
//! to, and carries messages whose meaning it does not know. The driver has the sockets.
//!
//! # Two connections for each pair
//!
//! Every node dials every peer, *sends on the connection it has dialled and receives on those that
//! it has accepted*. So no tie has to be broken when two nodes dial each other at once, and each
//! direction is kept by the node that needs it.
//!
//! ```text
//!   n1 ── dialled by n1: Hello, messages, pings ─────► n2
//!      ◄───────────────── Welcome or Refused, pongs ──
//!
//!   n1 ◄──── Hello, messages, pings :dialled by n2 ─── n2
//!      ── Welcome or Refused, pongs ─────────────────►
//! ```
//!
//! A message arrives whole, at most once, and in order within one process's life of both ends. What
//! was under way when a link broke may be lost; the protocols above ask again. An acceptor takes
//! one connection of each peer: a second one replaces the first, which is then a leftover.
//!
//! # Frames
//!
//! A connection is a stream of frames in both directions, little-endian:
//!
//! ```text
//!  0  length    u32   bytes from 8 on: three more than the body's
//!  4  checksum  u32   CRC-32 of channel and body
//!  8  channel   u8    0 link · 1 control · 2 data · 3 forward
//!  9  head      u16   low half of the CRC-32 of the bytes before it
//! 11  body
//! ```
//!
//! Each channel has its limit (see [`limits`](crate::limits)), which is checked before room is made
//! for a body, and so is the head, or a length that came wrong would be waited for. Channel 0 is the
//! link's own and carries a [`Message`]; before the handshake, and from an acceptor, nothing else is
//! allowed. The others belong to the owner. A wrong length, channel or checksum ends the connection,
//! since the place of the next frame can not be trusted.
//!
//! # Handshake
//!
//! The dialler says [`Hello`]: who it is (node, directory, process), its cluster if it knows one,
//! which versions it speaks, and *whom it believes to have dialled*. The acceptor answers with
//! [`Welcome`], which chooses the version, or with [`Refused`] and closes. [`Why`] lists the reasons;
//! each is told once on either side in one sentence, with the values that differ and the way out.
//! A node that knows no cluster yet may link with one that does. Two processes with one node id are
//! told apart by their nonces: one that comes while another is being heard is a second process, and is
//! refused; once nothing is heard of the other, it is a restart and takes the place of the old one.
//!
//! # Reconnection
//!
//! A link that breaks is dialled again at once, so that a killed process is noticed in
//! milliseconds: [`Output::Down`], then [`Output::Unreachable`] with `true`, which says that the
//! peer's machine answers and that nobody listens. Later attempts back off exponentially with
//! jitter, and so do links that break as soon as they are up. A peer that is heard of is dialled
//! without waiting. A refusal is retried slowly.
//!
//! A peer whose connection breaks while this node's own stands says nothing of what was under way on
//! it: when it speaks again, on another one, that is told as [`Output::Missed`].
//!
//! # Keepalive
//!
//! The dialler that has had no answer for a while sends a ping, one at a time, and the acceptor
//! answers it. The ping goes behind what was sent before, so that the answer says that all of it has
//! come: a receiver that waits for the rest of a frame whose length was damaged does not answer. A
//! link is given up when
//!
//! - a ping that the system has taken is not answered, so that nothing has been heard for
//!   [`Settings::silent_max`], or
//! - the system has taken nothing of what waits for as long as that.
//!
//! An acceptor that hears nothing for much longer closes its side, to free it.
//!
//! # Back-pressure
//!
//! Nothing is queued while a link is down. While it is up, a frame counts until the system has taken
//! it ([`Input::Sent`]); beyond the limits [`Links::send`] says [`SendError::Full`] and drops the
//! message. Control, records and clients' commands have a queue limit each, so that none fills
//! another's.
//!
//! # Invariants
//!
//! - `Up` and `Down` of a node alternate, and what is sent between them goes to one process.
//! - Nothing of a connection is handed up before its Hello was accepted, and nothing after it was
//!   closed or replaced.
//! - What is handed up does not depend on how the stream was cut into reads.
//! - Memory is bounded: strangers by their number and [`PEER_LINK_BYTES_MAX`], peers by one frame of
//!   each received and the limits of the queue.
//!
//! [`PEER_LINK_BYTES_MAX`]: crate::limits::PEER_LINK_BYTES_MAX
//!
//! # The map
//!
//! - [`Links`] (`links`): who is a peer, which connection is whose. `dialler`: the sending side.
//!   `acceptor`: the receiving side.
//! - [`frame`]: the stream. `message`: what channel 0 carries. `handshake`: who may link with whom.
//! - `backoff`: when to dial again, and the settings. `outbox`: what waits to be sent. `status`:
//!   what an operator may ask.

mod acceptor;
mod backoff;
mod context;
mod dialler;
pub mod frame;
mod handshake;
mod links;
mod message;
mod outbox;
mod status;

use alloc::string::String;
use core::fmt;

use bytes::Bytes;

pub use backoff::Settings;
pub use frame::Channel;
pub use handshake::{Identity, Refusal, RefusalKind, Why};
pub use links::Links;
pub use message::{Hello, MAGIC, Message, Nonce, Refused, Versions, Welcome};
pub use status::{LinkState, Status, Traffic};

use crate::shard::Severity;
use crate::{Member, NodeId};

/// A connection between two nodes. The two sides of a node can not meet, for they count apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnId {
    /// Dialled by this node; numbered by the machine.
    Dialled(u64),
    /// Accepted by this node; numbered by the driver, each number once.
    Accepted(u64),
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialled(number) => write!(f, "d{number}"),
            Self::Accepted(number) => write!(f, "a{number}"),
        }
    }
}

/// One event for the links. What concerns a connection that is closed is ignored, for the driver
/// may have had it under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A dial has led to a connection.
    Dialled(ConnId),
    /// A dial has failed. The connection is over.
    DialFailed {
        /// Which.
        conn: ConnId,
        /// Why.
        error: DialError,
    },
    /// Someone has connected.
    Accepted(ConnId),
    /// Bytes have come, of any number.
    Bytes(ConnId, Bytes),
    /// The connection has ended or failed.
    Closed(ConnId),
    /// The system has taken so many bytes more of what was to be written.
    Sent(ConnId, usize),
    /// The deadline has passed. What has come until then is handed in first, or a busy owner takes
    /// its own delay for a peer's silence.
    Tick,
}

/// Why a dial has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DialError {
    /// There is a machine, and no one listens there.
    #[error("connection refused")]
    Refused,
    /// The name of the machine is not known.
    #[error("its name can not be resolved; check how it is written in --cluster")]
    Unknown,
    /// Anything else.
    #[error("it can not be connected to")]
    Failed,
}

/// One effect of the links.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// To be connected to the node at this address (`host:port`), without delaying small writes.
    Dial(ConnId, NodeId, String),
    /// To be sent, after what was sent before.
    Write(ConnId, Bytes),
    /// To be closed once what was written before is sent, or given up if that takes long; a dial
    /// under way is given up. Nothing needs to be reported of it any more.
    Close(ConnId),
    /// A message has come.
    Received {
        /// Who sent it.
        from: Member,
        /// On which channel; not [`Channel::Link`].
        channel: Channel,
        /// What it says.
        body: Bytes,
    },
    /// Messages can be sent to this process from now on.
    Up(Member, Nonce),
    /// They can not any more. Those under way may or may not arrive. Between two `Up` of a node
    /// there is always one of these.
    Down(Member, DownWhy),
    /// The process speaks on another connection than before: some of what it had said lately may not
    /// have come.
    Missed(Member),
    /// The node refuses to link, or this node does, for a reason that does not pass by itself.
    Rejected(NodeId, RefusalKind, String),
    /// An attempt to link with the node has failed. If `true` no process listens at its address.
    Unreachable(NodeId, bool),
    /// For the operator's log.
    Notice(Severity, String),
}

/// Why a link is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DownWhy {
    /// The connection was closed by the other side, or broke.
    Closed,
    /// Nothing was heard for too long.
    TimedOut,
    /// What came was not what can have been sent.
    Corrupt,
    /// The node has come back as another process.
    Replaced,
    /// By this node's own doing: the peer was removed or has another address, or turns out to be of
    /// another cluster.
    Dropped,
}

impl fmt::Display for DownWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::TimedOut => "timed out",
            Self::Corrupt => "corrupt",
            Self::Replaced => "replaced by a new process of the node",
            Self::Dropped => "ended here, to be made anew if it is still wanted",
        })
    }
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SendError {
    /// No link is up; nothing is kept for later.
    #[error("no link")]
    Down,
    /// Too much waits to be sent.
    #[error("the link's queue is full")]
    Full,
}

/// Why [`Links::deadline`] is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// When to dial.
    Dial,
    /// When a dial is given up.
    Connect,
    /// When an unanswered Hello is given up.
    Handshake,
    /// When to ask a silent peer whether it is there.
    Ping,
    /// When a peer that does not answer, or does not take what is sent, is given up.
    Silence,
    /// When a connection that has not said who it is is closed.
    Stranger,
    /// When an accepted connection on which nothing comes is closed.
    Deserted,
}
