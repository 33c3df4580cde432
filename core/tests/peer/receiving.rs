//! What is handed up, and what is not any more.

use kvnode_core::limits::PEER_STRANGERS_MAX;
use kvnode_core::peer::frame::Channel;
use kvnode_core::peer::{ConnId, Input, Message};

use crate::bench::{A1, A2, A3, Bench, D1, frame, hello, identity, link};

const A1_AGAIN: ConnId = ConnId::Accepted(9);

#[test]
fn messages_are_handed_up_with_their_sender_and_channel_in_order() {
    let mut bench = Bench::new();
    bench.accept(A1, &identity(2, 22));
    let mut stream = frame(Channel::Control, b"one").to_vec();
    stream.extend(frame(Channel::Data, b""));
    stream.extend(frame(Channel::Forward, b"three"));
    assert_eq!(
        bench.bytes(A1, stream),
        [
            "received n2/0002 control one",
            "received n2/0002 data ",
            "received n2/0002 forward three"
        ]
    );
}

#[test]
fn messages_right_behind_the_hello_are_taken() {
    let mut bench = Bench::new();
    bench.input(Input::Accepted(A1));
    let mut stream = link(Message::Hello(hello(&identity(2, 22), 1))).to_vec();
    stream.extend(frame(Channel::Control, b"early"));
    assert_eq!(
        bench.bytes(A1, stream),
        ["write a1 Welcome from n1", "received n2/0002 control early"]
    );
}

#[test]
fn what_a_process_said_last_may_be_missed_when_it_speaks_on_another_connection() {
    let peer = identity(2, 22);
    let mut bench = Bench::up();
    bench.accept(A1, &peer);
    // The second takes the place of the first, which then is closed; the third that of nobody.
    assert!(bench.accept(A2, &peer).contains(&"missed n2/0002".to_owned()));
    bench.input(Input::Closed(A2));
    let again = bench.accept(A1_AGAIN, &peer);
    assert!(again.contains(&"missed n2/0002".to_owned()), "{again:?}");
    // Whose own connection has broken since has given up already what it waited for.
    bench.input(Input::Closed(A1_AGAIN));
    bench.input(Input::Closed(D1));
    let later = bench.accept(A3, &peer);
    assert!(!later.iter().any(|effect| effect.starts_with("missed")), "{later:?}");
}

#[test]
fn nothing_is_taken_before_the_hello() {
    let mut bench = Bench::new();
    bench.input(Input::Accepted(A1));
    let effects = bench.bytes(A1, frame(Channel::Control, b"x"));
    assert!(effects[0].contains("a frame of channel control out of place"), "{effects:?}");
    assert_eq!(effects[1], "close a1");
}

#[test]
fn a_second_connection_replaces_the_first_and_nothing_more_comes_of_that() {
    let mut bench = Bench::new();
    bench.accept(A1, &identity(2, 22));
    let message = frame(Channel::Control, b"late");
    bench.bytes(A1, message.slice(..5));
    assert_eq!(bench.accept(A2, &identity(2, 22)), ["close a1", "write a2 Welcome from n1"]);
    assert!(bench.bytes(A1, message.slice(5..)).is_empty());
    assert!(bench.input(Input::Closed(A1)).is_empty());
    assert!(bench.links.status().next().unwrap().receiving, "the second stands");
    assert_eq!(bench.bytes(A2, message), ["received n2/0002 control late"]);
}

#[test]
fn a_wrong_checksum_ends_the_connection_and_what_came_before_counts() {
    let mut bench = Bench::new();
    bench.accept(A1, &identity(2, 22));
    let mut stream = frame(Channel::Control, b"good").to_vec();
    stream.extend(frame(Channel::Control, b"bad"));
    *stream.last_mut().unwrap() ^= 1;
    stream.extend(frame(Channel::Control, b"behind"));
    assert_eq!(
        bench.bytes(A1, stream),
        [
            "received n2/0002 control good",
            "Warn: closed the connection from n2, which sent a frame with a wrong checksum",
            "close a1"
        ]
    );
    assert!(bench.bytes(A1, frame(Channel::Control, b"more")).is_empty());
}

#[test]
fn too_many_strangers_end_the_oldest_of_them() {
    let mut bench = Bench::new();
    bench.accept(ConnId::Accepted(0), &identity(2, 22));
    for number in 1..=PEER_STRANGERS_MAX as u64 {
        assert!(bench.input(Input::Accepted(ConnId::Accepted(number))).is_empty());
    }
    assert_eq!(bench.input(Input::Accepted(ConnId::Accepted(1_000))), ["close a1"]);
    assert_eq!(bench.input(Input::Accepted(ConnId::Accepted(1_001))), ["close a2"]);
}

#[test]
#[should_panic(expected = "was accepted twice")]
fn a_driver_numbers_each_connection_once() {
    let mut bench = Bench::new();
    bench.input(Input::Accepted(A1));
    bench.input(Input::Accepted(A1));
}
