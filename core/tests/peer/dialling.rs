//! How a link comes up, breaks, and comes up again.

use kvnode_core::NodeId;
use kvnode_core::peer::frame::Channel;
use kvnode_core::peer::{ConnId, DialError, Input, LinkState, Message};

use crate::bench::{A1, Bench, D1, D2, hello, identity, link, welcome};

#[test]
fn a_new_peer_is_dialled_at_once_greeted_and_up_when_it_welcomes() {
    let mut bench = Bench::new();
    assert_eq!(bench.deadline(), (0, "Dial".into()));
    assert_eq!(bench.input(Input::Tick), ["dial d1 n2 at b:7"]);
    assert_eq!(bench.deadline(), (1000, "Connect".into()));
    assert_eq!(bench.input(Input::Dialled(D1)), ["write d1 Hello to n2"]);
    assert_eq!(bench.deadline(), (1000, "Handshake".into()));
    let hello = link(Message::Welcome(welcome(&identity(2, 22))));
    assert_eq!(bench.bytes(D1, hello), ["up n2/0002 22", "Info: linked to n2 at b:7"]);
    assert!(bench.links.is_up(NodeId(2)));
}

#[test]
fn a_node_does_not_dial_itself() {
    let mut bench = Bench::new();
    bench.links.remove_peer(bench.now, NodeId(2));
    assert_eq!(bench.links.deadline(), None);
}

#[test]
fn a_link_that_has_lasted_is_dialled_again_at_once_and_a_dead_process_shows() {
    let mut bench = Bench::up();
    bench.pass(1_001);
    let down = ["down n2/0002 closed", "Warn: the link to n2 is down: closed"];
    assert_eq!(bench.input(Input::Closed(D1)), down);
    assert_eq!(bench.deadline(), (0, "Dial".into()));
    assert_eq!(bench.input(Input::Tick), ["dial d2 n2 at b:7"]);
    assert_eq!(
        bench.input(Input::DialFailed { conn: D2, error: DialError::Refused }),
        ["unreachable n2 refused=true", "Info: n2 at b:7 is not reached: connection refused"]
    );
    let (wait, _) = bench.deadline();
    assert!((10..=20).contains(&wait), "{wait}");
}

#[test]
fn a_link_that_breaks_as_soon_as_it_is_up_is_not_dialled_without_a_pause() {
    let mut bench = Bench::up();
    bench.pass(1_000);
    bench.input(Input::Closed(D1));
    let (wait, reason) = bench.deadline();
    assert!((10..=20).contains(&wait) && reason == "Dial", "{wait} {reason}");
}

/// A bench that has tried in vain until it waits for about a second, and then has a link.
fn up_after_failures() -> (Bench, ConnId) {
    let mut bench = Bench::new();
    for attempt in 1..=8 {
        bench.tick();
        bench
            .input(Input::DialFailed { conn: ConnId::Dialled(attempt), error: DialError::Refused });
    }
    let conn = ConnId::Dialled(9);
    connect(&mut bench, conn);
    (bench, conn)
}

/// The dial that is due succeeds, and the peer welcomes.
fn connect(bench: &mut Bench, conn: ConnId) {
    bench.tick();
    bench.input(Input::Dialled(conn));
    let sent = link(Message::Hello(hello(bench.links.me(), 2))).len();
    bench.input(Input::Sent(conn, sent));
    bench.bytes(conn, link(Message::Welcome(welcome(&identity(2, 22)))));
    assert!(bench.links.is_up(NodeId(2)));
}

#[test]
fn a_link_that_was_answered_on_is_dialled_again_soon_whatever_was_before() {
    let (mut bench, conn) = up_after_failures();
    let pinged = bench.tick();
    assert_eq!(pinged.len(), 1, "{pinged:?}");
    bench.input(Input::Sent(conn, link(Message::Ping(1)).len()));
    bench.bytes(conn, link(Message::Pong(1)));
    bench.pass(500);
    bench.input(Input::Closed(conn));
    let (wait, reason) = bench.deadline();
    assert!((10..=20).contains(&wait) && reason == "Dial", "{wait} {reason}");
}

#[test]
fn a_peer_that_welcomes_and_hangs_up_is_dialled_less_and_less() {
    let mut bench = Bench::new();
    for (attempt, most) in (1..).zip([20, 40, 80, 160, 320, 640, 1000, 1000]) {
        let conn = ConnId::Dialled(attempt);
        connect(&mut bench, conn);
        bench.input(Input::Closed(conn));
        let (wait, _) = bench.deadline();
        assert!((most / 2..=most).contains(&wait), "{attempt}: {wait}");
    }
}

#[test]
fn failed_dials_back_off_to_a_second_and_are_told_of_once() {
    let mut bench = Bench::new();
    let mut waits = Vec::new();
    for attempt in 1.. {
        assert_eq!(bench.tick(), [format!("dial d{attempt} n2 at b:7")]);
        let conn = ConnId::Dialled(attempt);
        let effects = bench.input(Input::DialFailed { conn, error: DialError::Failed });
        assert_eq!(effects[0], "unreachable n2 refused=false");
        assert_eq!(effects.len(), if attempt == 1 { 2 } else { 1 }, "{effects:?}");
        waits.push(bench.deadline().0);
        if attempt == 9 {
            break;
        }
    }
    for (wait, most) in waits.iter().zip([20, 40, 80, 160, 320, 640, 1000, 1000, 1000]) {
        assert!((most / 2..=most).contains(wait), "{waits:?}");
    }
}

#[test]
fn a_dial_or_a_handshake_that_takes_a_second_is_given_up() {
    let mut bench = Bench::new();
    bench.input(Input::Tick);
    assert_eq!(
        bench.tick(),
        [
            "close d1",
            "unreachable n2 refused=false",
            "Info: n2 at b:7 is not reached: connecting took too long"
        ]
    );
    assert_eq!(bench.tick(), ["dial d2 n2 at b:7"]);
    bench.input(Input::Dialled(D2));
    assert_eq!(
        bench.tick(),
        [
            "close d2",
            "unreachable n2 refused=false",
            "Info: n2 at b:7 is not reached: it did not answer the handshake in time; is this its address for peers, and not the one for clients?"
        ]
    );
    assert!(bench.input(Input::Dialled(D1)).is_empty(), "what is given up is ignored");
}

#[test]
fn a_peer_that_closes_in_the_handshake_is_not_reached() {
    let mut bench = Bench::new();
    bench.greet();
    assert_eq!(
        bench.input(Input::Closed(D1)),
        [
            "unreachable n2 refused=false",
            "Info: n2 at b:7 is not reached: it closed the connection without an answer"
        ]
    );
}

#[test]
fn a_peer_that_is_heard_of_is_dialled_without_waiting() {
    let mut bench = Bench::new();
    bench.input(Input::Tick);
    bench.input(Input::DialFailed { conn: D1, error: DialError::Refused });
    assert!(bench.deadline().0 > 0);
    bench.accept(A1, &identity(2, 22));
    assert_eq!(bench.deadline(), (0, "Dial".into()));
    assert_eq!(bench.input(Input::Tick), ["dial d2 n2 at b:7"]);
}

#[test]
fn a_new_process_of_the_peer_replaces_the_link_with_its_old_one() {
    let mut bench = Bench::up();
    bench.pass(5_000);
    assert_eq!(
        bench.accept(A1, &identity(2, 23)),
        [
            "write a1 Welcome from n1",
            "close d1",
            "down n2/0002 replaced by a new process of the node",
            "Warn: the link to n2 is down: replaced by a new process of the node",
        ]
    );
    assert_eq!(bench.deadline(), (0, "Dial".into()));
    assert!(bench.bytes(D1, link(Message::Pong(0))).is_empty(), "the old one is ignored");
}

#[test]
fn another_connection_of_the_same_process_leaves_the_link_alone() {
    let mut bench = Bench::up();
    assert_eq!(bench.accept(A1, &identity(2, 22)), ["write a1 Welcome from n1"]);
    assert!(bench.links.is_up(NodeId(2)));
}

#[test]
fn a_peer_with_a_new_address_is_dialled_there_and_one_with_the_same_is_left_alone() {
    let mut bench = Bench::up();
    bench.links.add_peer(bench.now, NodeId(2), "b:7".into());
    assert!(bench.effects().is_empty());
    bench.links.add_peer(bench.now, NodeId(2), "c:8".into());
    assert_eq!(
        bench.effects(),
        [
            "close d1",
            "down n2/0002 ended here, to be made anew if it is still wanted",
            "Info: the link to n2 is down: ended here, to be made anew if it is still wanted"
        ]
    );
    assert_eq!(bench.input(Input::Tick), ["dial d2 n2 at c:8"]);
    bench.links.add_peer(bench.now, NodeId(2), "d:9".into());
    assert_eq!(bench.effects(), ["close d2"]);
    assert_eq!(bench.input(Input::Tick), ["dial d3 n2 at d:9"]);
}

#[test]
fn a_peer_that_is_removed_loses_both_connections() {
    let mut bench = Bench::up();
    bench.accept(A1, &identity(2, 22));
    bench.links.remove_peer(bench.now, NodeId(2));
    assert_eq!(
        bench.effects(),
        [
            "close d1",
            "down n2/0002 ended here, to be made anew if it is still wanted",
            "Info: the link to n2 is down: ended here, to be made anew if it is still wanted",
            "close a1"
        ]
    );
    assert_eq!(bench.links.deadline(), None);
}

#[test]
fn the_status_tells_where_a_link_stands() {
    let mut bench = Bench::up();
    bench.accept(A1, &identity(2, 22));
    bench.bytes(A1, crate::bench::frame(Channel::Control, b"hi"));
    bench.links.send(bench.now, NodeId(2), Channel::Data, b"you".as_slice().into()).unwrap();
    let status = bench.links.status().next().unwrap();
    assert_eq!((status.node, status.address, status.state), (NodeId(2), "b:7", LinkState::Up));
    assert_eq!(status.peer.unwrap().nonce.0, 22);
    assert!(status.receiving);
    assert_eq!((status.sent.frames, status.sent.bytes), (1, 14));
    assert_eq!((status.waiting.frames, status.waiting.bytes), (1, 14));
    assert_eq!((status.received.frames, status.received.bytes), (1, 13));
    assert_eq!(status.last_error, None);
    bench.input(Input::Closed(D1));
    let status = bench.links.status().next().unwrap();
    assert_eq!((status.state, status.peer, status.waiting.frames), (LinkState::Waiting, None, 0));
    assert_eq!(status.last_error.unwrap(), "closed");
}
