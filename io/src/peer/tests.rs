//! Two nodes over real sockets, with a wire between them that can be damaged.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test may fail at what it does not expect")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kvnode_core::peer::{
    Channel, DownWhy, Identity, Links, Nonce, Output, SendError, Settings, Versions,
};
use kvnode_core::{ClusterId, DirectoryId, Member, NodeId};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;

use super::*;
use crate::clock;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Only ends a test that has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("it goes on") });
}

fn identity(id: u32, nonce: u64) -> Identity {
    Identity {
        cluster: None,
        member: Member { node: NodeId(id), directory: DirectoryId(u128::from(id)) },
        nonce: Nonce(nonce),
        versions: Versions::OURS,
        features: 1,
        founding: 0,
    }
}

/// A node without anything but links: it keeps what it is told.
struct Owner {
    links: Links,
    sockets: Sockets,
    told: Vec<Output>,
}

impl Owner {
    fn new(sockets: Sockets, me: Identity, peer: (u32, String)) -> Self {
        Self::with(sockets, me, peer, Settings::default())
    }

    fn with(sockets: Sockets, me: Identity, peer: (u32, String), settings: Settings) -> Self {
        let links = Links::new(me, [(NodeId(peer.0), peer.1)], settings, clock::now(), 7);
        Self { links, sockets, told: Vec::new() }
    }

    async fn step(&mut self) {
        let (due, _) = self.links.deadline().expect("there is a peer");
        let wait = due.since(clock::monotonic());
        let input = tokio::select! {
            biased;
            input = self.sockets.next() => input,
            () = tokio::time::sleep(wait) => Input::Tick,
        };
        self.links.handle(clock::now(), input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.links.poll() {
            self.told.extend(self.sockets.perform(output));
        }
    }

    fn send(&mut self, to: u32, channel: Channel, body: impl Into<Bytes>) -> Result<(), SendError> {
        let sent = self.links.send(clock::now(), NodeId(to), channel, body.into());
        self.drain();
        sent
    }

    fn is_up(&self, node: u32) -> bool {
        self.links.is_up(NodeId(node))
    }

    fn bodies(&self) -> Vec<&[u8]> {
        let bodies = self.told.iter().map(|output| match output {
            Output::Received { body, .. } => Some(&body[..]),
            _ => None,
        });
        bodies.flatten().collect()
    }

    fn was_told(&self, text: &str) -> bool {
        self.told.iter().any(|output| matches!(output, Output::Notice(_, t) if t.contains(text)))
    }

    fn went_down(&self, expected: DownWhy) -> bool {
        self.told.iter().any(|output| matches!(output, Output::Down(_, why) if *why == expected))
    }
}

/// Drives both until it is so.
async fn until(one: &mut Owner, two: &mut Owner, is_so: impl Fn(&Owner, &Owner) -> bool) {
    while !is_so(one, two) {
        tokio::select! {
            () = one.step() => {}
            () = two.step() => {}
        }
    }
}

/// n1 and n2 on free ports, linked.
async fn linked() -> (Owner, Owner) {
    let (one, two) = (Sockets::bind(ANY_PORT).unwrap(), Sockets::bind(ANY_PORT).unwrap());
    let [to_one, to_two] = [&one, &two].map(|sockets| sockets.local_address().to_string());
    let mut one = Owner::new(one, identity(1, 11), (2, to_two));
    let mut two = Owner::new(two, identity(2, 22), (1, to_one));
    until(&mut one, &mut two, |one, two| one.is_up(2) && two.is_up(1)).await;
    (one, two)
}

#[test]
fn messages_go_both_ways() {
    run(async {
        let (mut one, mut two) = linked().await;
        for number in 0..1_000 {
            let body = format!("{number}");
            one.send(2, Channel::Control, body.clone()).unwrap();
            two.send(1, Channel::Data, body).unwrap();
        }
        until(&mut one, &mut two, |one, two| {
            one.bodies().len() == 1_000 && two.bodies().len() == 1_000
        })
        .await;
        let expected: Vec<_> = (0..1_000).map(|number| format!("{number}")).collect();
        assert_eq!(one.bodies(), expected.iter().map(String::as_bytes).collect::<Vec<_>>());
        assert_eq!(one.bodies(), two.bodies());
    });
}

#[test]
fn a_long_message_arrives_and_makes_room_for_the_next() {
    run(async {
        let (mut one, mut two) = linked().await;
        let body: Bytes = (0..20 << 20).map(|at: u32| (at >> 7) as u8).collect::<Vec<_>>().into();
        one.send(2, Channel::Data, body.clone()).unwrap();
        assert_eq!(one.send(2, Channel::Data, "more"), Err(SendError::Full));
        until(&mut one, &mut two, |_, two| two.bodies().len() == 1).await;
        assert!(two.bodies()[0] == &body[..], "unharmed");
        until(&mut one, &mut two, |one, _| {
            one.links.status().all(|status| status.waiting.frames == 0)
        })
        .await;
        one.send(2, Channel::Data, "more").unwrap();
        until(&mut one, &mut two, |_, two| two.bodies().len() == 2).await;
    });
}

#[test]
fn a_name_is_resolved() {
    run(async {
        let (one, two) = (Sockets::bind(ANY_PORT).unwrap(), Sockets::bind(ANY_PORT).unwrap());
        let [to_one, to_two] =
            [&one, &two].map(|sockets| format!("localhost:{}", sockets.local_address().port()));
        let mut one = Owner::new(one, identity(1, 11), (2, to_two));
        let mut two = Owner::new(two, identity(2, 22), (1, to_one));
        until(&mut one, &mut two, |one, two| one.is_up(2) && two.is_up(1)).await;
    });
}

#[test]
fn a_node_that_ends_is_refused_and_one_that_comes_back_is_up_again() {
    run(async {
        let (mut one, two) = linked().await;
        let (address, to_one) = (two.sockets.local_address(), one.sockets.local_address());
        drop(two);
        let is_dead = |output: &Output| matches!(output, Output::Unreachable(NodeId(2), true));
        while !one.told.iter().any(is_dead) {
            one.step().await;
        }
        assert!(one.went_down(DownWhy::Closed));
        assert_eq!(one.send(2, Channel::Control, "x"), Err(SendError::Down));
        let sockets = Sockets::bind(address).unwrap();
        let mut two = Owner::new(sockets, identity(2, 23), (1, to_one.to_string()));
        until(&mut one, &mut two, |one, two| one.is_up(2) && two.is_up(1)).await;
        let ups: Vec<_> = one
            .told
            .iter()
            .filter_map(|output| match output {
                Output::Up(_, nonce) => Some(nonce.0),
                _ => None,
            })
            .collect();
        assert_eq!(ups, [22, 23]);
        one.send(2, Channel::Control, "again").unwrap();
        until(&mut one, &mut two, |_, two| two.bodies() == [b"again"]).await;
    });
}

#[test]
fn a_node_of_another_cluster_is_refused_and_both_are_told_why() {
    run(async {
        let (one, two) = (Sockets::bind(ANY_PORT).unwrap(), Sockets::bind(ANY_PORT).unwrap());
        let [to_one, to_two] = [&one, &two].map(|sockets| sockets.local_address().to_string());
        let of = |me: Identity, id| Identity { cluster: Some(ClusterId(id)), ..me };
        let mut one = Owner::new(one, of(identity(1, 11), 5), (2, to_two));
        let mut two = Owner::new(two, of(identity(2, 22), 6), (1, to_one));
        until(&mut one, &mut two, |one, two| {
            let both = |owner: &Owner| {
                owner.was_told("no link to") && owner.was_told("refused a link from")
            };
            both(one) && both(two)
        })
        .await;
        for owner in [&one, &two] {
            assert!(owner.was_told("n1 belongs to cluster"), "{:?}", owner.told);
            assert!(owner.was_told("n2 belongs to cluster"), "{:?}", owner.told);
        }
    });
}

/// What the wire does to what goes toward its target.
const PASS: u8 = 0;
const FLIP: u8 = 1;
const HOLE: u8 = 2;

/// A wire to `target`, to be dialled in its place.
struct Wire {
    address: SocketAddr,
    does: Arc<AtomicU8>,
    task: JoinHandle<()>,
}

impl Wire {
    fn new(target: SocketAddr) -> Self {
        let listener = listen(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let does = Arc::new(AtomicU8::new(PASS));
        let task = tokio::spawn(carry_all(listener, target, Arc::clone(&does)));
        Self { address, does, task }
    }

    fn set(&self, does: u8) {
        self.does.store(does, Ordering::Relaxed);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry_all(listener: TcpListener, target: SocketAddr, does: Arc<AtomicU8>) {
    while let Ok((near, _)) = listener.accept().await {
        let far = TcpStream::connect(target).await.unwrap();
        let does = Arc::clone(&does);
        tokio::spawn(async move {
            let back = AtomicU8::new(PASS);
            tokio::select! {
                () = copy(&near, &far, &does) => {}
                () = copy(&far, &near, &back) => {}
            }
        });
    }
}

async fn copy(from: &TcpStream, to: &TcpStream, does: &AtomicU8) {
    let mut buffer = vec![0; 4096];
    while from.readable().await.is_ok() {
        let count = match from.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if passes(&error) => continue,
            Err(_) => return,
        };
        match does.load(Ordering::Relaxed) {
            HOLE => continue,
            FLIP => {
                buffer[count - 1] ^= 1;
                does.store(PASS, Ordering::Relaxed);
            }
            _ => {}
        }
        let mut left = &buffer[..count];
        while !left.is_empty() && to.writable().await.is_ok() {
            match to.try_write(left) {
                Ok(count) => left = &left[count..],
                Err(error) if passes(&error) => {}
                Err(_) => return,
            }
        }
    }
}

/// n1, which dials n2 through a wire.
async fn wired(settings: Settings) -> (Owner, Owner, Wire) {
    let (one, two) = (Sockets::bind(ANY_PORT).unwrap(), Sockets::bind(ANY_PORT).unwrap());
    let to_one = one.local_address().to_string();
    let wire = Wire::new(two.local_address());
    let to_two = wire.address.to_string();
    let mut one = Owner::with(one, identity(1, 11), (2, to_two), settings);
    let mut two = Owner::new(two, identity(2, 22), (1, to_one));
    until(&mut one, &mut two, |one, two| one.is_up(2) && two.is_up(1)).await;
    (one, two, wire)
}

#[test]
fn a_flipped_byte_closes_the_connection_and_delivers_nothing_damaged() {
    run(async {
        let (mut one, mut two, wire) = wired(Settings::default()).await;
        wire.set(FLIP);
        one.send(2, Channel::Control, "message").unwrap();
        until(&mut one, &mut two, |one, two| {
            one.went_down(DownWhy::Closed) && two.was_told("wrong checksum")
        })
        .await;
        // It may have hit a ping behind the message.
        assert!(two.bodies().iter().all(|body| body == b"message"), "{:?}", two.told);
        until(&mut one, &mut two, |one, _| one.is_up(2)).await;
        one.send(2, Channel::Control, "again").unwrap();
        until(&mut one, &mut two, |_, two| two.bodies().contains(&b"again".as_slice())).await;
    });
}

#[test]
fn a_connection_on_which_nothing_arrives_is_given_up() {
    run(async {
        let settings = Settings {
            ping_after: Duration::from_millis(50),
            silent_max: Duration::from_millis(200),
            ..Settings::default()
        };
        let (mut one, mut two, wire) = wired(settings).await;
        wire.set(HOLE);
        until(&mut one, &mut two, |one, _| one.went_down(DownWhy::TimedOut)).await;
        wire.set(PASS);
        until(&mut one, &mut two, |one, _| one.is_up(2)).await;
    });
}

#[test]
fn what_was_written_before_a_close_is_sent() {
    run(async {
        let listener = listen(ANY_PORT).unwrap();
        let mut sockets = Sockets::bind(ANY_PORT).unwrap();
        let conn = ConnId::Dialled(1);
        sockets.dial(conn, listener.local_addr().unwrap().to_string());
        sockets.write(conn, Bytes::from_static(b"first "));
        assert_eq!(sockets.next().await, Input::Dialled(conn));
        let (stream, _) = listener.accept().await.unwrap();
        // More than the system takes at once.
        let long = Bytes::from(vec![b'.'; 16 << 20]);
        sockets.write(conn, long.clone());
        sockets.flush();
        sockets.write(conn, Bytes::from_static(b" last words"));
        sockets.close(conn);
        let mut read = Vec::new();
        loop {
            stream.readable().await.unwrap();
            let mut buffer = vec![0; 1 << 20];
            match stream.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => read.extend_from_slice(&buffer[..count]),
                Err(error) => assert!(passes(&error), "{error}"),
            }
        }
        assert!(read == [b"first ", &long[..], b" last words"].concat());
    });
}

#[test]
fn a_dial_to_where_nobody_listens_is_refused_and_one_to_no_address_fails() {
    run(async {
        let mut sockets = Sockets::bind(ANY_PORT).unwrap();
        let gone = Sockets::bind(ANY_PORT).unwrap().local_address();
        tokio::task::yield_now().await;
        let conn = ConnId::Dialled(1);
        loop {
            sockets.dial(conn, gone.to_string());
            match sockets.next().await {
                Input::DialFailed { error, .. } => break assert_eq!(error, DialError::Refused),
                // The listener has not ended yet.
                other => assert_eq!(other, Input::Dialled(conn)),
            }
            sockets.close(conn);
        }
        let conn = ConnId::Dialled(2);
        sockets.dial(conn, "no address".into());
        let failed = Input::DialFailed { conn, error: DialError::Unknown };
        while sockets.next().await != failed {}
    });
}
