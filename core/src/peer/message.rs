//! The messages of [`Channel::Link`](super::Channel::Link), postcard-coded.
//!
//! A later version may append fields to a message, and new messages; it never changes what is
//! there. A reader skips what comes behind the fields that it knows, so that nodes of any two
//! versions understand each other's handshake well enough to choose a version or to say why not.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::handshake::RefusalKind;
use crate::limits::PEER_LINK_BYTES_MAX;
use crate::{ClusterId, Member, NodeId};

/// What a [`Hello`] begins with, so that nothing else is taken for one.
pub const MAGIC: [u8; 8] = *b"kvnode>>";

/// One life of a process: drawn at its start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Nonce(pub u64);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The versions of the peer protocol that a node speaks, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

impl Versions {
    /// What this release speaks.
    pub const OURS: Self = Self { min: 1, max: 1 };

    /// The newest version that both speak.
    pub fn common(self, other: Self) -> Option<u16> {
        let (min, max) = (self.min.max(other.min), self.max.min(other.max));
        (min <= max).then_some(max)
    }

    /// Whether `version` is among them.
    pub fn contain(self, version: u16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            return write!(f, "version {}", self.min);
        }
        write!(f, "versions {} to {}", self.min, self.max)
    }
}

/// The dialler's first message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// What it speaks.
    pub versions: Versions,
    /// The newest feature level of its release.
    pub features: u32,
    /// The cluster it belongs to, if it knows one.
    pub cluster: Option<ClusterId>,
    /// Who it is.
    pub member: Member,
    /// Which of its lives.
    pub nonce: Nonce,
    /// Whom it believes it has dialled.
    pub dialled: NodeId,
    /// Hash of the settings that it would found a cluster with.
    pub founding: u64,
}

/// The acceptor's consent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that the connection speaks from now on.
    pub version: u16,
    /// The newest feature level of its release.
    pub features: u32,
    /// The cluster it belongs to, if it knows one.
    pub cluster: Option<ClusterId>,
    /// Who it is.
    pub member: Member,
    /// Which of its lives.
    pub nonce: Nonce,
}

/// The acceptor's refusal; it closes the connection behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Refused {
    /// [`RefusalKind::code`].
    pub code: u8,
    /// The reason in words: what differs, and the way out.
    pub text: String,
}

/// A message of the link's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// From the dialler, first.
    Hello(Hello),
    /// From the acceptor, first.
    Welcome(Welcome),
    /// From the acceptor, first and last.
    Refused(Refused),
    /// From the dialler: is anyone there? Numbered from one.
    Ping(u64),
    /// From the acceptor: it has seen the ping of this number, and all that was sent before.
    Pong(u64),
}

impl Message {
    /// The body of the frame that carries it.
    pub fn encode(&self) -> Bytes {
        let body: Vec<u8> = postcard::to_allocvec(self).expect("plain data always has an encoding");
        assert!(body.len() <= PEER_LINK_BYTES_MAX, "texts of refusals are short");
        body.into()
    }

    /// The message that the body of a frame carries, if it is one.
    pub fn decode(body: &[u8]) -> Option<Self> {
        postcard::take_from_bytes(body).ok().map(|(message, _later)| message)
    }

    /// Its name, for reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Welcome(_) => "Welcome",
            Self::Refused(_) => "Refused",
            Self::Ping(_) => "Ping",
            Self::Pong(_) => "Pong",
        }
    }
}

impl Refused {
    /// What kind of refusal it is.
    pub fn kind(&self) -> RefusalKind {
        RefusalKind::from_code(self.code)
    }

    /// The text as it may be printed.
    pub fn printable(&self) -> String {
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        self.text.chars().take(TEXT_CHARS_MAX).map(printable).collect()
    }
}

/// More of a peer's text is not printed.
const TEXT_CHARS_MAX: usize = 500;
