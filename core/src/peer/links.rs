//! All links of a node: who is a peer, and which connection belongs to whom. `receiving` holds what
//! happens on accepted connections.

mod receiving;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::acceptor::Accepted;
use super::backoff::Settings;
use super::context::Context;
use super::dialler::{Dialler, State};
use super::frame::Channel;
use super::handshake::{Identity, RefusalKind};
use super::status::{LinkState, PeerInfo, Status, Traffic};
use super::{ConnId, DownWhy, Input, Output, Reason, SendError};
use crate::limits::PEERS_MAX;
use crate::random::Random;
use crate::{ClusterId, Instant, NodeId, Now};

/// The links of one node with all its peers; see the [module's header](super).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Links {
    me: Identity,
    settings: Settings,
    random: Random,
    last_dial: u64,
    peers: BTreeMap<NodeId, Peer>,
    accepted: BTreeMap<ConnId, Accepted>,
    /// Whom this node has turned away and for what, so that it tells of each once; the oldest first.
    turned_away: VecDeque<(Option<NodeId>, Option<RefusalKind>)>,
    out: VecDeque<Output>,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Peer {
    /// Sends to it.
    dialler: Dialler,
    /// The connection that receives from it.
    receiver: Option<ConnId>,
    /// It was heard while this node spoke on this connection, and is not any more: what it said last
    /// may not have come.
    missed: Option<ConnId>,
    received: Traffic,
}

/// Getters.
impl Links {
    /// When to call again with [`Input::Tick`], and why.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        let dialling = self.peers.values().filter_map(|peer| peer.dialler.deadline(&self.settings));
        let accepted = self.accepted.values().map(|accepted| accepted.deadline(&self.settings));
        dialling.chain(accepted).min()
    }

    /// Who this node is to its peers.
    pub fn me(&self) -> &Identity {
        &self.me
    }

    /// Whether messages can be sent to `node`.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.dialler.up().is_some())
    }

    /// Who is at the other end of the link with `node`, while it is up.
    pub fn peer(&self, node: NodeId) -> Option<PeerInfo> {
        self.peers.get(&node).and_then(Peer::info)
    }

    /// The links, in the order of the nodes.
    pub fn status(&self) -> impl Iterator<Item = Status<'_>> {
        self.peers.iter().map(|(&node, peer)| peer.status(node))
    }

    /// Bytes held of frames that are not whole: what strangers and slow senders can cost.
    pub fn held_bytes(&self) -> usize {
        self.accepted.values().map(|accepted| accepted.decoder.held_bytes()).sum()
    }
}

/// Commands.
impl Links {
    /// Links with `peers`, none of which is up; the node's own address may be among them.
    pub fn new(
        me: Identity,
        peers: impl IntoIterator<Item = (NodeId, String)>,
        settings: Settings,
        now: Now,
        seed: u64,
    ) -> Self {
        settings.check();
        let mut links = Self {
            me,
            settings,
            random: Random(seed),
            last_dial: 0,
            peers: BTreeMap::new(),
            accepted: BTreeMap::new(),
            turned_away: VecDeque::new(),
            out: VecDeque::new(),
        };
        for (node, address) in peers {
            links.add_peer(now, node, address);
        }
        links
    }

    /// This node belongs to `cluster` from now on. Peers that told of another one are dropped.
    ///
    /// # Panics
    /// If it belongs to another already.
    pub fn set_cluster(&mut self, now: Now, cluster: ClusterId) {
        assert!(self.me.cluster.is_none_or(|known| known == cluster), "a node has one cluster");
        self.me.cluster = Some(cluster);
        // One that named no cluster may have joined another since: it is to say so.
        let other = |theirs: Option<ClusterId>| theirs != Some(cluster);
        let (mut cx, peers, accepted) = self.parts(now.mono);
        for peer in peers.values_mut() {
            if peer.dialler.up().is_some_and(|up| other(up.welcome.cluster)) {
                peer.dialler.down(&mut cx, DownWhy::Dropped, true);
            }
        }
        let wrong: Vec<_> = accepted
            .iter()
            .filter(|(_, a)| a.hello.as_ref().is_some_and(|hello| other(hello.cluster)))
            .map(|(&conn, _)| conn)
            .collect();
        for conn in wrong {
            self.close_accepted(conn);
        }
    }

    /// `node` is a peer, at `address` (`host:port`). Of this node itself nothing is kept.
    ///
    /// # Panics
    /// Above [`PEERS_MAX`].
    pub fn add_peer(&mut self, now: Now, node: NodeId, address: String) {
        if node == self.me.member.node {
            return;
        }
        let (mut cx, peers, _) = self.parts(now.mono);
        match peers.get_mut(&node) {
            Some(peer) => peer.dialler.readdress(&mut cx, address),
            None => {
                peers.insert(node, Peer::new(Dialler::new(node, address, now.mono)));
                assert!(peers.len() <= PEERS_MAX, "more than {PEERS_MAX} peers");
            }
        }
    }

    /// `node` is a peer no more; its connections are closed.
    pub fn remove_peer(&mut self, now: Now, node: NodeId) {
        let (mut cx, peers, _) = self.parts(now.mono);
        if let Some(mut peer) = peers.remove(&node) {
            peer.dialler.abandon(&mut cx);
            if let Some(conn) = peer.receiver {
                self.close_accepted(conn);
            }
        }
    }

    /// Sends a message if the link is up and there is room. It arrives whole, once and in order, or
    /// not at all; of messages sent before a break a last part may be lost.
    ///
    /// # Errors
    /// [`SendError`]; the message is dropped.
    ///
    /// # Panics
    /// If the channel is the link's own, or the body above the channel's limit.
    pub fn send(
        &mut self,
        now: Now,
        to: NodeId,
        channel: Channel,
        body: Bytes,
    ) -> Result<(), SendError> {
        assert!(channel != Channel::Link, "the channel is the link's own");
        let (mut cx, peers, _) = self.parts(now.mono);
        let peer = peers.get_mut(&to).ok_or(SendError::Down)?;
        peer.dialler.send(&mut cx, channel, body)
    }
}

/// Events and effects.
impl Links {
    /// One event in.
    pub fn handle(&mut self, now: Now, input: Input) {
        let now = now.mono;
        match input {
            Input::Dialled(conn) => self.with_dialler(now, conn, Dialler::on_dialled),
            Input::DialFailed { conn, error } => {
                self.with_dialler(now, conn, |d, cx| d.on_dial_failed(cx, error));
            }
            Input::Accepted(conn) => self.on_accepted(now, conn),
            Input::Bytes(conn @ ConnId::Dialled(_), bytes) => {
                self.with_dialler(now, conn, |d, cx| d.on_bytes(cx, bytes));
            }
            Input::Bytes(conn @ ConnId::Accepted(_), bytes) => self.on_bytes(now, conn, bytes),
            Input::Closed(conn @ ConnId::Dialled(_)) => {
                self.with_dialler(now, conn, Dialler::on_closed);
            }
            Input::Closed(conn @ ConnId::Accepted(_)) => self.forget_accepted(conn),
            Input::Sent(conn @ ConnId::Dialled(_), bytes) => {
                self.with_dialler(now, conn, |d, cx| d.on_sent(cx.now, bytes));
            }
            Input::Sent(conn @ ConnId::Accepted(_), bytes) => {
                let (mut cx, _, accepted) = self.parts(now);
                if let Some(accepted) = accepted.get_mut(&conn) {
                    accepted.on_sent(&mut cx, bytes);
                }
            }
            Input::Tick => self.on_tick(now),
        }
    }

    /// The next effect.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn with_dialler(
        &mut self,
        now: Instant,
        conn: ConnId,
        f: impl FnOnce(&mut Dialler, &mut Context<'_>),
    ) {
        let (mut cx, peers, _) = self.parts(now);
        if let Some(peer) = peers.values_mut().find(|peer| peer.dialler.conn() == Some(conn)) {
            f(&mut peer.dialler, &mut cx);
        }
    }

    fn on_tick(&mut self, now: Instant) {
        let (mut cx, peers, accepted) = self.parts(now);
        for peer in peers.values_mut() {
            peer.dialler.on_tick(&mut cx);
        }
        let settings = cx.settings;
        let overdue: Vec<_> = accepted
            .iter()
            .filter(|(_, accepted)| accepted.deadline(settings).0 <= now)
            .map(|(&conn, _)| conn)
            .collect();
        for conn in overdue {
            self.close_accepted(conn);
        }
    }

    fn parts(
        &mut self,
        now: Instant,
    ) -> (Context<'_>, &mut BTreeMap<NodeId, Peer>, &mut BTreeMap<ConnId, Accepted>) {
        let cx = Context {
            now,
            me: &self.me,
            settings: &self.settings,
            random: &mut self.random,
            last_dial: &mut self.last_dial,
            out: &mut self.out,
        };
        (cx, &mut self.peers, &mut self.accepted)
    }
}

impl Peer {
    fn new(dialler: Dialler) -> Self {
        Self { dialler, receiver: None, missed: None, received: Traffic::default() }
    }

    /// It is not heard on this connection any more.
    fn lose(&mut self, receiver: &Accepted) {
        let up = self.dialler.up().filter(|up| up.since <= receiver.heard());
        self.missed = up.map(|up| up.conn);
    }

    fn info(&self) -> Option<PeerInfo> {
        self.dialler.up().map(|up| PeerInfo {
            member: up.welcome.member,
            nonce: up.welcome.nonce,
            cluster: up.welcome.cluster,
            features: up.welcome.features,
            version: up.welcome.version,
        })
    }

    fn status(&self, node: NodeId) -> Status<'_> {
        let dialler = &self.dialler;
        let up = dialler.up();
        let (frames, bytes) = up.map_or((0, 0), |up| up.outbox.waiting());
        Status {
            node,
            address: dialler.address(),
            state: match dialler.state {
                State::Waiting { refused: None, .. } => LinkState::Waiting,
                State::Waiting { refused: Some(kind), .. } => LinkState::Refused(kind),
                State::Dialling { .. } | State::Greeting { .. } => LinkState::Connecting,
                State::Up(_) => LinkState::Up,
            },
            since: dialler.since,
            peer: self.info(),
            round_trip: up.and_then(|up| up.round_trip),
            receiving: self.receiver.is_some(),
            sent: dialler.sent,
            received: self.received,
            waiting: Traffic { frames: frames as u64, bytes },
            last_error: dialler.last_error.as_ref(),
        }
    }
}
