//! Connections, as a process sees them, over madsim's network.
//!
//! Madsim delivers in order, late after a loss, and not at all while a link is clogged; what it lacks
//! is added here. A process that dies has its connections reset, with what was under way; a machine
//! that loses power is silent, so that its peers find out by their own timeouts; and the nemesis may
//! reset what it likes. A connection is a *wire* with two ends; each message has a number by which the
//! trace links its two ends.

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use kvnode_core::args::OwnedArgs;
use kvnode_core::reply::Reply;
use madsim::net::{Endpoint, Receiver, Sender};

use crate::lock;
use crate::story::{Kind, Lane};
use crate::world::World;

/// What goes over a wire.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    /// Who connects: the first message of every wire.
    Hello(WireId),
    /// A client's command.
    Command(OwnedArgs),
    /// A node's reply.
    Reply(Reply),
}

impl Hash for Packet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Hello(id) => (0, id).hash(state),
            Self::Command(args) => (1, args.as_slices()).hash(state),
            Self::Reply(reply) => (2, reply).hash(state),
        }
    }
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WireId(pub(crate) u64);

/// A packet under way.
struct Parcel {
    number: u64,
    packet: Packet,
}

/// All wires of a run.
#[derive(Default)]
pub(crate) struct Wires {
    wires: BTreeMap<WireId, Wire>,
    next: u64,
    messages: u64,
}

struct Wire {
    /// Who opened it, and who was called.
    ends: [Lane; 2],
    /// What each end sends by; gone when it is closed or reset.
    senders: [Option<Arc<Sender>>; 2],
    /// What is under way is lost, and both ends are told.
    reset: bool,
    /// The life of the process that answers.
    life: Option<u64>,
}

/// The receiving half of one end.
pub(crate) struct Inlet {
    wire: WireId,
    to: Lane,
    receiver: Receiver,
}

impl World {
    /// Connects to `to`, of whose life nothing is known yet. `None`: refused, or not reachable.
    pub(crate) async fn connect(
        &self,
        from: Lane,
        to: Lane,
        endpoint: &Endpoint,
        address: std::net::SocketAddr,
    ) -> Option<(WireId, Inlet)> {
        self.met(|windows| windows.meet_message(from, to));
        let connected = endpoint.connect1(address).await;
        let Ok((sender, receiver)) = connected else {
            self.tell(from, Kind::Link, 0, || format!("can not connect to {to}"));
            return None;
        };
        let id = {
            let mut wires = lock(&self.wires);
            wires.next += 1;
            let id = WireId(wires.next);
            let senders = [Some(Arc::new(sender)), None];
            wires.wires.insert(id, Wire { ends: [from, to], senders, reset: false, life: None });
            id
        };
        self.tell(from, Kind::Link, id, || format!("connects to {to} (wire {})", id.0));
        self.send(id, from, Packet::Hello(id));
        Some((id, Inlet { wire: id, to: from, receiver }))
    }

    /// The other end takes the wire, which its first message has named.
    pub(crate) async fn accept(
        &self,
        at: Lane,
        life: u64,
        sender: Sender,
        mut receiver: Receiver,
    ) -> Option<Inlet> {
        let parcel = receiver.recv().await.ok()?.downcast::<Parcel>().ok()?;
        let Packet::Hello(id) = parcel.packet else { return None };
        {
            let mut wires = lock(&self.wires);
            let wire = wires.wires.get_mut(&id)?;
            if wire.reset {
                return None;
            }
            wire.senders[1] = Some(Arc::new(sender));
            wire.life = Some(life);
        }
        self.tell(at, Kind::Link, id, || format!("accepts wire {}", id.0));
        Some(Inlet { wire: id, to: at, receiver })
    }

    /// Sends, if the wire is still there.
    pub(crate) fn send(&self, id: WireId, from: Lane, packet: Packet) {
        let (sender, number, to) = {
            let mut wires = lock(&self.wires);
            wires.messages += 1;
            let number = wires.messages;
            let Some(wire) = wires.wires.get(&id) else { return };
            let end = usize::from(wire.ends[0] != from);
            let Some(sender) = wire.senders[end].clone() else { return };
            (sender, number, wire.ends[1 - end])
        };
        self.met(|windows| windows.meet_message(from, to));
        self.tell_message(from, Kind::Send, (number, to), &packet, || describe(&packet));
        let send = pin!(sender.send(Box::new(Parcel { number, packet })));
        // It never waits; an error means that nobody listens, which shows in time.
        let _ = send.poll(&mut Context::from_waker(Waker::noop()));
    }

    /// The life of the process that a wire leads to.
    pub(crate) fn life_of(&self, id: WireId) -> Option<u64> {
        lock(&self.wires).wires.get(&id).and_then(|wire| wire.life)
    }

    /// One end closes: what it has sent still arrives.
    pub(crate) fn close(&self, id: WireId, from: Lane) {
        let mut wires = lock(&self.wires);
        if let Some(wire) = wires.wires.get_mut(&id) {
            let end = usize::from(wire.ends[0] != from);
            wire.senders[end] = None;
            if wire.senders.iter().all(Option::is_none) {
                wires.wires.remove(&id);
            }
        }
    }

    /// Every wire of `lane` is reset.
    pub(crate) fn reset_wires(&self, lane: Lane) -> usize {
        let mut count = 0;
        let mut wires = lock(&self.wires);
        for wire in wires.wires.values_mut().filter(|wire| wire.ends.contains(&lane)) {
            wire.reset = true;
            wire.senders = [None, None];
            count += 1;
        }
        count
    }
}

impl Inlet {
    /// Which wire.
    pub(crate) fn wire(&self) -> WireId {
        self.wire
    }

    /// The next packet; `None` when the wire is closed or reset.
    pub(crate) async fn receive(&mut self, world: &World) -> Option<Packet> {
        loop {
            let Ok(payload) = self.receiver.recv().await else {
                world.tell(self.to, Kind::Link, self.wire, || {
                    format!("wire {} is closed", self.wire.0)
                });
                return None;
            };
            let parcel = payload.downcast::<Parcel>().expect("nothing else goes over a wire");
            let from = {
                let wires = lock(&world.wires);
                let wire = wires.wires.get(&self.wire).filter(|wire| !wire.reset);
                wire.map(|wire| wire.ends[usize::from(wire.ends[0] == self.to)])
            };
            // What was under way when the connection was reset never arrives.
            let Some(from) = from else { continue };
            let Parcel { number, packet } = *parcel;
            let what = || describe(&packet);
            world.tell_message(self.to, Kind::Receive, (number, from), &packet, what);
            return Some(packet);
        }
    }
}

fn describe(packet: &Packet) -> String {
    match packet {
        Packet::Hello(id) => format!("hello, wire {}", id.0),
        Packet::Command(args) => words(&args.as_slices()),
        Packet::Reply(reply) => reply_text(reply),
    }
}

/// A command in one line.
pub(crate) fn words(args: &[&[u8]]) -> String {
    let words = args.iter().map(|arg| {
        let shown = &arg[..arg.len().min(28)];
        let more = if shown.len() < arg.len() { "…" } else { "" };
        format!("{}{more}", shown.escape_ascii())
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A reply in one line.
pub(crate) fn reply_text(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) => format!("+{text}"),
        Reply::Error(text) => format!("-{text}"),
        Reply::Int(n) => format!(":{n}"),
        Reply::Bulk(value) => words(&[value]),
        Reply::Null => "nil".to_owned(),
        Reply::NullArray => "nil array".to_owned(),
        Reply::Array(all) | Reply::Set(all) => {
            format!("[{}]", all.iter().map(reply_text).collect::<Vec<_>>().join(", "))
        }
        Reply::Map(all) => format!("a map of {}", all.len()),
        Reply::Double(text) | Reply::Verbatim(text) => text.to_string(),
    }
}
