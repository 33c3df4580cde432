//! How a dead or half-open connection is noticed.

use kvnode_core::NodeId;
use kvnode_core::peer::frame::{Channel, HEAD_BYTES};
use kvnode_core::peer::{Input, Message};

use crate::bench::{A1, Bench, D1, frame, identity, link};

const PING_BYTES: usize = 13;

#[test]
fn a_silent_link_is_pinged_after_a_quarter_of_a_second_and_down_after_one() {
    let mut bench = Bench::up();
    assert_eq!(bench.deadline(), (250, "Ping".into()));
    assert_eq!(bench.tick(), ["write d1 Ping 1"]);
    assert_eq!(bench.deadline(), (1000, "Silence".into()), "the system has not taken it");
    bench.input(Input::Sent(D1, PING_BYTES));
    assert_eq!(bench.deadline(), (750, "Silence".into()));
    assert_eq!(
        bench.tick(),
        ["close d1", "down n2/0002 timed out", "Warn: the link to n2 is down: timed out"]
    );
}

#[test]
fn an_answered_ping_keeps_the_link_and_measures_the_way() {
    let mut bench = Bench::up();
    for number in 1..10 {
        assert_eq!(bench.tick(), [format!("write d1 Ping {number}")]);
        bench.input(Input::Sent(D1, PING_BYTES));
        bench.pass(3);
        assert!(bench.bytes(D1, link(Message::Pong(number))).is_empty());
        assert_eq!(bench.deadline(), (250, "Ping".into()));
    }
    let way = bench.links.status().next().unwrap().round_trip.unwrap();
    assert_eq!(way.as_millis(), 3);
}

#[test]
fn what_is_not_the_answer_to_the_ping_is_no_sign_of_life() {
    let mut bench = Bench::up();
    bench.tick();
    bench.input(Input::Sent(D1, PING_BYTES));
    bench.pass(500);
    bench.bytes(D1, link(Message::Pong(0)));
    assert_eq!(bench.deadline(), (250, "Silence".into()));
}

#[test]
fn sending_does_not_pass_for_a_sign_of_life() {
    let mut bench = Bench::up();
    let mut passed = 0;
    while bench.links.is_up(NodeId(2)) {
        bench.pass(10);
        passed += 10;
        let sent = bench.links.send(bench.now, NodeId(2), Channel::Control, "x".into()).is_ok();
        if sent {
            bench.input(Input::Sent(D1, HEAD_BYTES + 1));
        }
        if bench.input(Input::Tick).iter().any(|effect| effect.contains("Ping")) {
            bench.input(Input::Sent(D1, PING_BYTES));
        }
    }
    assert_eq!(passed, 1000);
}

#[test]
fn a_ping_behind_a_backlog_is_not_counted_before_it_has_left() {
    let mut bench = Bench::up();
    let body = vec![0; 1_000_000];
    bench.links.send(bench.now, NodeId(2), Channel::Data, body.into()).unwrap();
    bench.effects();
    for _ in 0..100 {
        bench.pass(100);
        bench.input(Input::Sent(D1, 10_000));
        bench.input(Input::Tick);
        assert!(bench.links.is_up(NodeId(2)), "it moves");
    }
    // The rest of the message and the ping.
    bench.input(Input::Sent(D1, HEAD_BYTES + PING_BYTES));
    assert_eq!(bench.deadline(), (750, "Silence".into()));
}

#[test]
fn a_system_that_takes_nothing_for_a_second_ends_the_link() {
    let mut bench = Bench::up();
    bench.pass(200);
    bench.links.send(bench.now, NodeId(2), Channel::Control, "x".into()).unwrap();
    bench.effects();
    assert_eq!(bench.tick(), ["write d1 Ping 1"]);
    assert_eq!(bench.deadline(), (950, "Silence".into()));
    assert_eq!(bench.tick()[1], "down n2/0002 timed out");
}

#[test]
fn an_acceptor_answers_one_ping_at_a_time() {
    let mut bench = Bench::new();
    bench.accept(A1, &identity(2, 22));
    assert_eq!(bench.bytes(A1, link(Message::Ping(1))), ["write a1 Pong 1"]);
    assert!(bench.bytes(A1, link(Message::Ping(2))).is_empty(), "the first has not left");
    assert!(bench.bytes(A1, link(Message::Ping(3))).is_empty());
    assert_eq!(bench.input(Input::Sent(A1, PING_BYTES)), ["write a1 Pong 3"], "the last counts");
    assert!(bench.input(Input::Sent(A1, PING_BYTES)).is_empty());
}

#[test]
fn a_ping_within_a_frame_of_damaged_length_is_not_answered() {
    let mut bench = Bench::new();
    bench.accept(A1, &identity(2, 22));
    let mut message = frame(Channel::Data, b"message").to_vec();
    message[2] ^= 1;
    let effects = bench.bytes(A1, message);
    assert_eq!(effects.last().unwrap(), "close a1", "it would be waited for");
    assert!(bench.bytes(A1, link(Message::Ping(1))).is_empty());
}

#[test]
fn a_connection_that_does_not_say_who_it_is_is_closed_after_a_second() {
    let mut bench = Bench::up();
    bench.links.remove_peer(bench.now, NodeId(2));
    bench.effects();
    bench.input(Input::Accepted(A1));
    assert_eq!(bench.deadline(), (1000, "Stranger".into()));
    assert_eq!(bench.tick(), ["close a1"]);
}

#[test]
fn a_connection_on_which_nothing_comes_is_closed_in_the_end() {
    let mut bench = Bench::new();
    bench.accept(A1, &identity(2, 22));
    bench.pass(10_000);
    let effects = bench.input(Input::Tick);
    assert!(effects.contains(&"close a1".into()), "{effects:?}");
    assert!(!bench.links.status().next().unwrap().receiving);
}
