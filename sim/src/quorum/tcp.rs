//! Connections between nodes, as the system gives them: bytes in order, and nothing else for sure.
//!
//! Madsim's connections are too kind for a protocol that lives on their failures, so this is a TCP of
//! our own over madsim's time. A write arrives in pieces of any size. A piece that is lost, or meets
//! a link that is cut, is sent again after longer and longer, and all behind it waits. A process that
//! dies has its connections reset, if the reset gets through; a machine without power is silent, and
//! answers a connection of its last life with a reset when it is back. Nobody listens where no process
//! runs. What a sender's system takes is bounded, so that one whose peer stands still gets no
//! [`peer::Input::Sent`]. Which links are cut, slow or lossy is what the [windows](crate::windows) say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kvnode_core::NodeId;
use kvnode_core::peer::{self, ConnId};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::chance::{Chance, Purpose};
use crate::lock;
use crate::node::{Mailboxes, NodeEvent};
use crate::plan::Class;
use crate::story::{Kind, Lane};
use crate::world::World;

/// All connections between nodes of a run.
pub(crate) struct Tcp {
    chance: Chance,
    conns: BTreeMap<u64, Conn>,
    /// Which connection an end belongs to.
    ends: BTreeMap<(u32, ConnId), u64>,
    /// Where a process listens, in which life.
    listeners: BTreeSet<u32>,
    /// Machines without power.
    off: BTreeSet<u32>,
    events: BTreeMap<(u64, u64), Event>,
    last_event: u64,
    last_conn: u64,
    last_accepted: BTreeMap<u32, u64>,
    /// Wakes the task that carries events out.
    wake: UnboundedSender<()>,
    woken: Option<UnboundedReceiver<()>>,
    /// Most bytes that a sender's system took for one connection and could not get rid of.
    pub(crate) backlog_max: usize,
}

struct Conn {
    /// The dialler's and the acceptor's.
    ends: [End; 2],
    /// What goes from each end to the other.
    flows: [Flow; 2],
}

struct End {
    node: u32,
    /// As the process knows it; none before it was accepted, or after it is gone.
    id: Option<ConnId>,
    /// It was closed by its process: what comes is answered with a reset.
    closed: bool,
}

#[derive(Default)]
struct Flow {
    /// Nothing arrives before what was sent earlier.
    last_ns: u64,
    /// Waits to be sent again, or behind that.
    stalled: VecDeque<Segment>,
    is_stalled: bool,
    /// After how long what is lost next is sent again, in ns; zero if nothing was lost lately.
    retry_ns: u64,
    /// Bytes that the process has written and its system was not told to have arrived.
    unacked: usize,
    /// Bytes that the process was not told to be taken.
    untaken: usize,
}

#[derive(Clone, Debug)]
enum Segment {
    Syn,
    SynAck,
    Bytes(Bytes),
    Fin,
}

enum Event {
    /// At the other end of the flow.
    Arrives(u64, usize, Segment),
    /// The other end learns that there is no connection any more.
    Reset(u64, usize),
    /// What is stalled in a flow is sent again.
    Retry(u64, usize),
    /// The sender of a flow learns that so many bytes have arrived.
    Ack(u64, usize, usize),
}

/// The first wait before something is sent again, and the longest, in ns.
const RETRY_MIN_NS: u64 = 200_000_000;
const RETRY_MAX_NS: u64 = 8_000_000_000;

/// Most pieces of one write.
const PIECES_MAX: usize = 6;

impl Tcp {
    pub(crate) fn new(seed: u64) -> Self {
        let (wake, woken) = unbounded_channel();
        Self {
            chance: Chance::new(seed.rotate_left(17), Purpose::Network),
            conns: BTreeMap::new(),
            ends: BTreeMap::new(),
            listeners: BTreeSet::new(),
            off: BTreeSet::new(),
            events: BTreeMap::new(),
            last_event: 0,
            last_conn: 0,
            last_accepted: BTreeMap::new(),
            wake,
            woken: Some(woken),
            backlog_max: 0,
        }
    }

    fn at(&mut self, at_ns: u64, event: Event) {
        let first = self.events.keys().next().is_none_or(|&(first, _)| at_ns < first);
        self.last_event += 1;
        self.events.insert((at_ns, self.last_event), event);
        if first {
            // The task that listens lives as long as the run.
            let _ = self.wake.send(());
        }
    }

    /// A process listens.
    pub(crate) fn listen(&mut self, node: u32) {
        self.listeners.insert(node);
        self.off.remove(&node);
    }

    /// A machine has no power: it says nothing, and nobody can say anything to it.
    pub(crate) fn power_off(&mut self, node: u32) {
        self.off.insert(node);
        self.vanish(node);
    }

    /// The process of the node is gone and all ends of it with it. The other ends do not know.
    fn vanish(&mut self, node: u32) -> Vec<(u64, usize)> {
        self.listeners.remove(&node);
        let mut gone = Vec::new();
        for (&number, conn) in &mut self.conns {
            for side in 0..2 {
                if conn.ends[side].node == node && !conn.ends[side].closed {
                    conn.ends[side].closed = true;
                    if let Some(id) = conn.ends[side].id.take() {
                        self.ends.remove(&(node, id));
                    }
                    conn.flows[side].stalled.clear();
                    gone.push((number, side));
                }
            }
        }
        self.forget();
        gone
    }

    /// Connections that neither end has any more.
    fn forget(&mut self) {
        self.conns.retain(|_, conn| !conn.ends.iter().all(|end| end.closed));
    }
}

impl World {
    /// Carries out what happens on connections, each in its time; ends with the run.
    pub(crate) async fn carry(self: Arc<Self>, mailboxes: Arc<Mailboxes>) {
        let woken = lock(&self.tcp).woken.take();
        let mut woken = woken.expect("one task carries");
        loop {
            let next = lock(&self.tcp).events.keys().next().map(|&(at_ns, _)| at_ns);
            let now_ns = self.now_ns();
            match next {
                Some(at_ns) if at_ns <= now_ns => {
                    let event = lock(&self.tcp).events.pop_first();
                    let ((_, _), event) = event.expect("it was seen just now");
                    self.happen(&mailboxes, event);
                }
                Some(at_ns) => {
                    let wait = Duration::from_nanos(at_ns - now_ns);
                    let _ = madsim::time::timeout(wait, woken.recv()).await;
                }
                None => {
                    if woken.recv().await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// What a process wants of its connections.
    pub(crate) fn on_peer_output(&self, mailboxes: &Mailboxes, node: u32, output: peer::Output) {
        match output {
            peer::Output::Dial(id, to, _) => self.dial(node, id, to),
            peer::Output::Write(id, bytes) => self.write(mailboxes, node, id, bytes),
            peer::Output::Close(id) => self.close_conn(node, id),
            peer::Output::Received { .. }
            | peer::Output::Up(..)
            | peer::Output::Down(..)
            | peer::Output::Missed(..)
            | peer::Output::Rejected(..)
            | peer::Output::Unreachable(..)
            | peer::Output::Notice(..) => unreachable!("control keeps these to itself"),
        }
    }

    fn dial(&self, node: u32, id: ConnId, NodeId(to): NodeId) {
        let number = {
            let mut tcp = lock(&self.tcp);
            tcp.last_conn += 1;
            let number = tcp.last_conn;
            let end = |node, id| End { node, id, closed: false };
            let conn = Conn {
                ends: [end(node, Some(id)), end(to, None)],
                flows: [Flow::default(), Flow::default()],
            };
            tcp.conns.insert(number, conn);
            tcp.ends.insert((node, id), number);
            number
        };
        lock(&self.watch).dials(number, to);
        self.tell(Lane::Node(node), Kind::Link, (number, to), || format!("dials n{to} ({id})"));
        self.transmit(number, 0, Segment::Syn);
    }

    fn write(&self, mailboxes: &Mailboxes, node: u32, id: ConnId, bytes: Bytes) {
        let window = self.settings.quorum.window_bytes;
        let (number, side, pieces, taken) = {
            let mut guard = lock(&self.tcp);
            let tcp = &mut *guard;
            let Some(&number) = tcp.ends.get(&(node, id)) else { return };
            let conn = tcp.conns.get_mut(&number).expect("it has an end");
            let side = usize::from(conn.ends[0].id != Some(id) || conn.ends[0].node != node);
            let flow = &mut conn.flows[side];
            flow.unacked += bytes.len();
            tcp.backlog_max = tcp.backlog_max.max(flow.unacked);
            let room = flow.unacked <= window;
            let taken = if room { bytes.len() + std::mem::take(&mut flow.untaken) } else { 0 };
            if !room {
                flow.untaken += bytes.len();
            }
            (
                number,
                side,
                pieces(bytes, &mut tcp.chance, self.settings.quorum.pieces_percent),
                taken,
            )
        };
        if taken > 0 {
            mailboxes.post(node, NodeEvent::Peer(peer::Input::Sent(id, taken)));
        }
        for piece in pieces {
            self.transmit(number, side, Segment::Bytes(piece));
        }
    }

    fn close_conn(&self, node: u32, id: ConnId) {
        let (number, side) = {
            let mut tcp = lock(&self.tcp);
            let Some(number) = tcp.ends.remove(&(node, id)) else { return };
            let conn = tcp.conns.get_mut(&number).expect("it has an end");
            let side = usize::from(conn.ends[0].id != Some(id) || conn.ends[0].node != node);
            conn.ends[side].id = None;
            conn.ends[side].closed = true;
            tcp.forget();
            (number, side)
        };
        self.tell(Lane::Node(node), Kind::Link, number, || format!("closes {id}"));
        self.transmit(number, side, Segment::Fin);
    }

    /// Sends a segment of the flow from `side`, behind all before it.
    fn transmit(&self, number: u64, side: usize, segment: Segment) {
        let ends = {
            let mut tcp = lock(&self.tcp);
            let Some(conn) = tcp.conns.get_mut(&number) else { return };
            if conn.flows[side].is_stalled {
                conn.flows[side].stalled.push_back(segment);
                return;
            }
            [conn.ends[side].node, conn.ends[1 - side].node]
        };
        let [from, to] = ends.map(Lane::Node);
        self.met(|windows| windows.meet_message(from, to));
        let (cut, loss, lag_ms, flips) = {
            let windows = lock(&self.windows);
            (windows.is_cut(from, to), windows.loss_percent(), windows.lag_ms(), windows.flips())
        };
        let now_ns = self.now_ns();
        let (min_us, max_us) = self.settings.latency_us;
        let mut flipped = false;
        {
            let mut guard = lock(&self.tcp);
            let tcp = &mut *guard;
            if cut || tcp.chance.percent(loss) {
                let jitter_ns = tcp.chance.below(RETRY_MIN_NS);
                let conn = tcp.conns.get_mut(&number).expect("it was there just now");
                let flow = &mut conn.flows[side];
                let retry_ns = flow.retry_ns.max(RETRY_MIN_NS) + jitter_ns;
                flow.retry_ns = (retry_ns * 2).min(RETRY_MAX_NS);
                flow.stalled.push_back(segment);
                flow.is_stalled = true;
                tcp.at(now_ns + retry_ns, Event::Retry(number, side));
                return;
            }
            let takes_us = match lag_ms {
                Some(lag_ms) => tcp.chance.of(1000..(lag_ms + 2) * 1000),
                None => tcp.chance.of(min_us..max_us),
            };
            let mut segment = segment;
            if let Segment::Bytes(bytes) = &mut segment
                && flips > 0
                && tcp.chance.below(1000) < flips
            {
                *bytes = flip(bytes, &mut tcp.chance);
                flipped = true;
            }
            let conn = tcp.conns.get_mut(&number).expect("it was there just now");
            let flow = &mut conn.flows[side];
            let at_ns = (now_ns + takes_us * 1000).max(flow.last_ns + 1);
            (flow.last_ns, flow.retry_ns) = (at_ns, 0);
            tcp.at(at_ns, Event::Arrives(number, side, segment));
        }
        if flipped {
            self.injected(Class::Flip);
            self.tell(to, Kind::Fault, number, || format!("a bit flips on the way from {from}"));
        }
    }

    fn happen(&self, mailboxes: &Mailboxes, event: Event) {
        match event {
            Event::Arrives(number, side, segment) => {
                self.arrive(mailboxes, number, side, segment);
            }
            Event::Reset(number, side) => self.on_reset(mailboxes, number, side),
            Event::Retry(number, side) => self.retry(number, side),
            Event::Ack(number, side, bytes) => self.on_ack(mailboxes, number, side, bytes),
        }
    }

    /// What was sent by `side` is at the other end.
    fn arrive(&self, mailboxes: &Mailboxes, number: u64, side: usize, segment: Segment) {
        let mut guard = lock(&self.tcp);
        let tcp = &mut *guard;
        let Some(conn) = tcp.conns.get_mut(&number) else { return };
        let from = conn.ends[side].node;
        let end = &mut conn.ends[1 - side];
        let to = end.node;
        if tcp.off.contains(&to) {
            // Nobody answers: it is sent again.
            if matches!(segment, Segment::Syn) {
                conn.flows[side].stalled.push_back(segment);
                conn.flows[side].is_stalled = true;
                let at_ns = self.now_ns() + RETRY_MIN_NS * 5;
                tcp.at(at_ns, Event::Retry(number, side));
            }
            return;
        }
        match segment {
            Segment::Syn if !tcp.listeners.contains(&to) => {
                end.closed = true;
                drop(guard);
                self.refuse_or_reset(number, 1 - side);
            }
            Segment::Syn => {
                let accepted = tcp.last_accepted.entry(to).or_default();
                *accepted += 1;
                let id = ConnId::Accepted(*accepted);
                // It may be of a process that was not there when the dial began.
                (end.id, end.closed) = (Some(id), false);
                tcp.ends.insert((to, id), number);
                drop(guard);
                self.tell(Lane::Node(to), Kind::Link, number, || format!("accepts n{from} ({id})"));
                mailboxes.post(to, NodeEvent::Peer(peer::Input::Accepted(id)));
                self.transmit(number, 1 - side, Segment::SynAck);
            }
            Segment::SynAck => {
                let id = end.id;
                drop(guard);
                match id {
                    Some(id) => mailboxes.post(to, NodeEvent::Peer(peer::Input::Dialled(id))),
                    // It has given up since.
                    None => self.refuse_or_reset(number, 1 - side),
                }
            }
            Segment::Bytes(bytes) => {
                let id = end.id;
                drop(guard);
                match id {
                    Some(id) => {
                        mailboxes.post(to, NodeEvent::Peer(peer::Input::Bytes(id, bytes)));
                    }
                    None => self.refuse_or_reset(number, 1 - side),
                }
            }
            Segment::Fin => {
                let id = end.id.take();
                end.closed = true;
                if let Some(id) = id {
                    tcp.ends.remove(&(to, id));
                }
                tcp.forget();
                drop(guard);
                if let Some(id) = id {
                    self.tell(Lane::Node(to), Kind::Link, number, || {
                        format!("n{from} has closed {id}")
                    });
                    mailboxes.post(to, NodeEvent::Peer(peer::Input::Closed(id)));
                }
            }
        }
    }

    /// The end `side` has no such connection: the other one is told, if it can be.
    fn refuse_or_reset(&self, number: u64, side: usize) {
        let now_ns = self.now_ns();
        let mut guard = lock(&self.tcp);
        let tcp = &mut *guard;
        let Some(conn) = tcp.conns.get(&number) else { return };
        let [from, to] = [conn.ends[side].node, conn.ends[1 - side].node];
        if !lock(&self.windows).is_cut(Lane::Node(from), Lane::Node(to)) {
            let (min_us, max_us) = self.settings.latency_us;
            let takes_us = tcp.chance.of(min_us..max_us);
            tcp.at(now_ns + takes_us * 1000, Event::Reset(number, side));
        }
    }

    /// The other end of `side` learns that there is no connection.
    fn on_reset(&self, mailboxes: &Mailboxes, number: u64, side: usize) {
        let (to, id, dialling) = {
            let mut guard = lock(&self.tcp);
            let tcp = &mut *guard;
            let Some(conn) = tcp.conns.get_mut(&number) else { return };
            let accepted = conn.flows[1].last_ns > 0;
            let end = &mut conn.ends[1 - side];
            let (to, id) = (end.node, end.id.take());
            end.closed = true;
            let dialling = side == 1 && !accepted;
            if let Some(id) = id {
                tcp.ends.remove(&(to, id));
            }
            if tcp.off.contains(&to) {
                return;
            }
            tcp.forget();
            (to, id, dialling)
        };
        let Some(id) = id else { return };
        self.tell(Lane::Node(to), Kind::Link, (number, dialling), || {
            if dialling { format!("{id} is refused") } else { format!("{id} is reset") }
        });
        let input = match dialling {
            true => peer::Input::DialFailed { conn: id, error: peer::DialError::Refused },
            false => peer::Input::Closed(id),
        };
        if dialling {
            lock(&self.watch).refused_dial(to, number);
        }
        mailboxes.post(to, NodeEvent::Peer(input));
    }

    /// Tries again to send what is stalled.
    fn retry(&self, number: u64, side: usize) {
        let stalled = {
            let mut tcp = lock(&self.tcp);
            let Some(conn) = tcp.conns.get_mut(&number) else { return };
            conn.flows[side].is_stalled = false;
            std::mem::take(&mut conn.flows[side].stalled)
        };
        for segment in stalled {
            self.transmit(number, side, segment);
        }
    }

    /// A process has read so many bytes: the other end's system may send as many more.
    pub(crate) fn has_read(&self, node: u32, id: ConnId, bytes: usize) {
        let now_ns = self.now_ns();
        let mut guard = lock(&self.tcp);
        let tcp = &mut *guard;
        let Some(&number) = tcp.ends.get(&(node, id)) else { return };
        let conn = &tcp.conns[&number];
        let side = usize::from(conn.ends[0].id == Some(id) && conn.ends[0].node == node);
        let (min_us, max_us) = self.settings.latency_us;
        let takes_us = tcp.chance.of(min_us..max_us);
        tcp.at(now_ns + takes_us * 1000, Event::Ack(number, side, bytes));
    }

    fn on_ack(&self, mailboxes: &Mailboxes, number: u64, side: usize, bytes: usize) {
        let window = self.settings.quorum.window_bytes;
        let mut guard = lock(&self.tcp);
        let Some(conn) = guard.conns.get_mut(&number) else { return };
        let [from, to] = [conn.ends[1 - side].node, conn.ends[side].node];
        if lock(&self.windows).is_cut(Lane::Node(from), Lane::Node(to)) {
            // A later one says it as well.
            let at_ns = self.now_ns() + RETRY_MIN_NS;
            guard.at(at_ns, Event::Ack(number, side, bytes));
            return;
        }
        let flow = &mut conn.flows[side];
        flow.unacked = flow.unacked.saturating_sub(bytes);
        if flow.unacked <= window && flow.untaken > 0 {
            let taken = std::mem::take(&mut flow.untaken);
            if let Some(id) = conn.ends[side].id {
                drop(guard);
                mailboxes.post(to, NodeEvent::Peer(peer::Input::Sent(id, taken)));
            }
        }
    }

    /// The process of a node has ended: its system tells the peers.
    pub(crate) fn hang_up(&self, node: u32) {
        let gone = lock(&self.tcp).vanish(node);
        for (number, side) in gone {
            self.refuse_or_reset(number, side);
        }
    }

    /// Every connection of a node is reset at both ends; how many there were.
    pub(crate) fn reset_conns(&self, node: u32, mailboxes: &Mailboxes) -> usize {
        let conns: Vec<u64> = {
            let tcp = lock(&self.tcp);
            // A dial on its way is none yet: a reset would tell it that nobody listens.
            let is_made = |conn: &Conn| conn.flows[1].last_ns > 0;
            let of_node =
                |conn: &Conn| is_made(conn) && conn.ends.iter().any(|end| end.node == node);
            tcp.conns.iter().filter(|(_, conn)| of_node(conn)).map(|(&number, _)| number).collect()
        };
        for &number in &conns {
            // Each end takes the other for the one that did it.
            self.on_reset(mailboxes, number, 0);
            self.on_reset(mailboxes, number, 1);
        }
        conns.len()
    }
}

/// The bytes in pieces, as the system and the network cut them.
fn pieces(mut bytes: Bytes, chance: &mut Chance, percent: u64) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while pieces.len() < PIECES_MAX && bytes.len() > 1 && chance.percent(percent) {
        pieces.push(bytes.split_to(1 + chance.index(bytes.len() - 1)));
    }
    pieces.push(bytes);
    pieces
}

fn flip(bytes: &Bytes, chance: &mut Chance) -> Bytes {
    let mut flipped = BytesMut::from(&bytes[..]);
    if !flipped.is_empty() {
        let at = chance.index(flipped.len());
        flipped[at] ^= 1 << chance.below(8);
    }
    flipped.freeze()
}
