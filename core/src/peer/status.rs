//! What an operator may ask about links.

use alloc::string::String;
use core::time::Duration;

use super::handshake::RefusalKind;
use super::message::Nonce;
use crate::{ClusterId, Instant, Member, NodeId};

/// Frames and bytes, those of pings and handshakes left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Traffic {
    /// How many frames.
    pub frames: u64,
    /// Their bytes, heads included.
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn count(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }
}

/// What the sending side of a link is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkState {
    /// It waits before the next attempt.
    Waiting,
    /// The same, and the last attempt ended with a refusal.
    Refused(RefusalKind),
    /// The driver connects, or the handshake is under way.
    Connecting,
    /// Messages can be sent.
    Up,
}

/// The link with one peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Status<'a> {
    /// The peer.
    pub node: NodeId,
    /// Where it is dialled.
    pub address: &'a str,
    /// What the sending side is at.
    pub state: LinkState,
    /// Since when.
    pub since: Instant,
    /// Who is at the other end, while the link is up.
    pub peer: Option<PeerInfo>,
    /// How long the last ping took to be answered.
    pub round_trip: Option<Duration>,
    /// Whether a connection of the peer's to this node stands.
    pub receiving: bool,
    /// What was sent since the peer was added.
    pub sent: Traffic,
    /// What was received.
    pub received: Traffic,
    /// Frames and bytes that wait for the system to take them.
    pub waiting: Traffic,
    /// What last went wrong.
    pub last_error: Option<&'a String>,
}

/// What a peer has said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerInfo {
    /// Its id and directory.
    pub member: Member,
    /// Its process.
    pub nonce: Nonce,
    /// Its cluster, if it knew one when the link came up.
    pub cluster: Option<ClusterId>,
    /// The newest feature level of its release.
    pub features: u32,
    /// The version that the link speaks.
    pub version: u16,
}
