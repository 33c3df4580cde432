//! One machine on the bench: inputs by hand, effects as lines.

use std::string::String;
use std::time::Duration;
use std::vec::Vec;

use bytes::Bytes;
use kvnode_core::peer::frame::{Allowed, Channel, Decoder, encode};
use kvnode_core::peer::{
    ConnId, Hello, Identity, Input, Links, MAGIC, Message, Nonce, Output, Settings, Versions,
    Welcome,
};
use kvnode_core::{DirectoryId, Instant, Member, NodeId, Now};

pub(crate) const D1: ConnId = ConnId::Dialled(1);
pub(crate) const D2: ConnId = ConnId::Dialled(2);
pub(crate) const A1: ConnId = ConnId::Accepted(1);
pub(crate) const A2: ConnId = ConnId::Accepted(2);
pub(crate) const A3: ConnId = ConnId::Accepted(3);

/// The node `id` in its only directory; the nonce tells its lives apart.
pub(crate) fn identity(id: u32, nonce: u64) -> Identity {
    Identity {
        cluster: None,
        member: member(id),
        nonce: Nonce(nonce),
        versions: Versions::OURS,
        features: 1,
        founding: 0xf0,
    }
}

pub(crate) fn member(id: u32) -> Member {
    Member { node: NodeId(id), directory: DirectoryId(u128::from(id) << 112) }
}

pub(crate) fn hello(from: &Identity, dialled: u32) -> Hello {
    Hello {
        magic: MAGIC,
        versions: from.versions,
        features: from.features,
        cluster: from.cluster,
        member: from.member,
        nonce: from.nonce,
        dialled: NodeId(dialled),
        founding: from.founding,
    }
}

pub(crate) fn welcome(from: &Identity) -> Welcome {
    Welcome {
        version: 1,
        features: from.features,
        cluster: from.cluster,
        member: from.member,
        nonce: from.nonce,
    }
}

pub(crate) fn frame(channel: Channel, body: &[u8]) -> Bytes {
    let (head, rest) = encode(channel, Bytes::copy_from_slice(body));
    let mut bytes = head.to_vec();
    bytes.extend_from_slice(&rest.unwrap_or_default());
    bytes.into()
}

pub(crate) fn link(message: Message) -> Bytes {
    frame(Channel::Link, &message.encode())
}

/// Node n1 with the peer n2 at `b:7`.
pub(crate) struct Bench {
    pub(crate) links: Links,
    pub(crate) now: Now,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(identity(1, 11), Settings::default())
    }

    pub(crate) fn with(me: Identity, settings: Settings) -> Self {
        let now = Now { mono: Instant(1_000_000_000), wall_us: 0 };
        let peers = [(NodeId(1), "a:7".into()), (NodeId(2), "b:7".into())];
        Self { links: Links::new(me, peers, settings, now, 42), now }
    }

    /// A bench with the link up, and nothing to say.
    pub(crate) fn up() -> Self {
        let mut bench = Self::new();
        bench.greet();
        bench.input(Input::Bytes(D1, link(Message::Welcome(welcome(&identity(2, 22))))));
        bench
    }

    /// Dials as [`D1`], and says Hello.
    pub(crate) fn greet(&mut self) {
        self.input(Input::Tick);
        self.input(Input::Dialled(D1));
        let hello = link(Message::Hello(hello(self.links.me(), 2))).len();
        self.input(Input::Sent(D1, hello));
    }

    /// A connection from a peer, welcomed.
    pub(crate) fn accept(&mut self, conn: ConnId, from: &Identity) -> Vec<String> {
        self.input(Input::Accepted(conn));
        let effects = self.input(Input::Bytes(conn, link(Message::Hello(hello(from, 1)))));
        let written = link(Message::Welcome(welcome(self.links.me()))).len();
        if effects.iter().any(|effect| effect.contains("Welcome")) {
            self.input(Input::Sent(conn, written));
        }
        effects
    }

    pub(crate) fn input(&mut self, input: Input) -> Vec<String> {
        self.links.handle(self.now, input);
        self.effects()
    }

    pub(crate) fn bytes(&mut self, conn: ConnId, bytes: impl Into<Bytes>) -> Vec<String> {
        self.input(Input::Bytes(conn, bytes.into()))
    }

    pub(crate) fn effects(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.links.poll()).map(|output| line(&output)).collect()
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        self.now.mono = self.now.mono.after(Duration::from_millis(millis));
    }

    /// How long until the deadline, in milliseconds rounded up, and why.
    pub(crate) fn deadline(&self) -> (u64, String) {
        let (due, reason) = self.links.deadline().unwrap();
        let wait = due.since(self.now.mono).as_nanos().div_ceil(1_000_000);
        (wait as u64, format!("{reason:?}"))
    }

    /// Lets time pass to the deadline, and tells what happens then.
    pub(crate) fn tick(&mut self) -> Vec<String> {
        self.now.mono = self.now.mono.max(self.links.deadline().unwrap().0);
        self.input(Input::Tick)
    }
}

/// An effect as a line.
fn line(output: &Output) -> String {
    match output {
        Output::Dial(conn, node, address) => format!("dial {conn} {node} at {address}"),
        Output::Write(conn, bytes) => format!("write {conn} {}", written(bytes)),
        Output::Close(conn) => format!("close {conn}"),
        Output::Received { from, channel, body } => {
            format!("received {from} {channel} {}", body.escape_ascii())
        }
        Output::Up(member, nonce) => format!("up {member} {}", nonce.0),
        Output::Down(member, why) => format!("down {member} {why}"),
        Output::Missed(member) => format!("missed {member}"),
        Output::Rejected(node, kind, _) => format!("rejected {node} {kind:?}"),
        Output::Unreachable(node, refused) => format!("unreachable {node} refused={refused}"),
        Output::Notice(severity, text) => format!("{severity:?}: {text}"),
    }
}

fn written(bytes: &Bytes) -> String {
    let mut decoder = Decoder::default();
    decoder.push(bytes.clone());
    match decoder.next(Allowed::All) {
        Ok(Some(frame)) if frame.channel == Channel::Link => {
            match Message::decode(&frame.body).unwrap() {
                Message::Hello(hello) => format!("Hello to {}", hello.dialled),
                Message::Welcome(welcome) => format!("Welcome from {}", welcome.member.node),
                Message::Refused(refused) => format!("Refused: {}", refused.text),
                Message::Ping(number) => format!("Ping {number}"),
                Message::Pong(number) => format!("Pong {number}"),
            }
        }
        Ok(Some(frame)) => format!("{} {}", frame.channel, frame.body.escape_ascii()),
        _ => format!("{} bytes", bytes.len()),
    }
}
