//! What clients send that is wrong, half or too much: a clear error or a closed connection, and a
//! node that serves the others as before and needs no more memory than before.

mod common;

use std::net::TcpStream;

use common::{Client, Frame, Node, Redis, Rng, encode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How much more memory a node may use for the abuse of one test, in bytes: buffers that stay
/// allocated, the allocator's own slack.
const GROWTH_MAX: u64 = 64 << 20;

fn pong() -> Frame {
    Frame::Simple("PONG".into())
}

fn assert_serves(node: &Node) {
    assert_eq!(node.client().call(["PING"]), pong());
}

/// Runs `abuse` and looks at the memory before and after.
fn without_growth(node: &Node, abuse: impl FnOnce()) {
    assert_serves(node);
    let before = node.memory();
    abuse();
    assert_serves(node);
    let after = node.memory();
    assert!(after < before + GROWTH_MAX, "{before} bytes before, {after} after");
}

/// What breaks the protocol, and the start of the answer. The connection is closed after it.
const MALFORMED: &[(&[u8], &str)] = &[
    (b"*abc\r\n", "ERR Protocol error: invalid multibulk length"),
    (b"*2147483648\r\n", "ERR Protocol error: invalid multibulk length"),
    (b"*99999999999999999999\r\n", "ERR Protocol error: invalid multibulk length"),
    (b"*1\r\n+PING\r\n", "ERR Protocol error: expected '$', got '+'"),
    (b"*1\r\n:1\r\n", "ERR Protocol error: expected '$', got ':'"),
    (b"*1\r\n$-1\r\n", "ERR Protocol error: invalid bulk length"),
    (b"*1\r\n$-5\r\n", "ERR Protocol error: invalid bulk length"),
    (b"*1\r\n$abc\r\n", "ERR Protocol error: invalid bulk length"),
    (b"*1\r\n$67109889\r\n", "ERR Protocol error: invalid bulk length"),
    (b"*1\r\n$99999999999999999999\r\n", "ERR Protocol error: invalid bulk length"),
    (b"SET \"unbalanced\r\n", "ERR Protocol error: unbalanced quotes in request"),
    (b"SET 'un'balanced\r\n", "ERR Protocol error: unbalanced quotes in request"),
];

#[test]
fn malformed_requests_get_an_error_and_the_end() {
    let node = Node::start(&[]);
    let redis = Redis::start();
    for (bytes, expected) in MALFORMED {
        let shown = bytes.escape_ascii();
        let endpoints = [Some(node.endpoint()), redis.as_ref().map(|r| r.endpoint().clone())];
        for endpoint in endpoints.into_iter().flatten() {
            let mut client = Client::connect(&endpoint).unwrap();
            client.send_raw(bytes).unwrap();
            let reply = client.receive().unwrap();
            assert!(reply.is_error(expected), "{shown}: {reply:?} from {endpoint:?}");
            assert!(client.is_closed(), "{shown}: {endpoint:?}");
        }
        assert_serves(&node);
    }
}

#[test]
fn good_commands_before_a_malformed_one_are_answered() {
    let node = Node::start(&[]);
    let mut client = node.client();
    client.send_raw(b"PING\r\n*1\r\n$4\r\nPING\r\n*1\r\n$x\r\n*1\r\n$4\r\nPING\r\n").unwrap();
    assert_eq!(client.receive().unwrap(), pong());
    assert_eq!(client.receive().unwrap(), pong());
    assert!(client.receive().unwrap().is_error("ERR Protocol error"));
    assert!(client.is_closed());
}

#[test]
fn empty_requests_are_passed_over() {
    let node = Node::start(&[]);
    let mut client = node.client();
    client.send_raw(b"\r\n\n*0\r\n*-1\r\n   \r\nPING\r\n").unwrap();
    assert_eq!(client.receive().unwrap(), pong());
}

#[test]
fn a_line_without_end_is_refused() {
    let node = Node::start(&[]);
    without_growth(&node, || {
        let mut client = node.client();
        // The node may refuse and close before all of it is sent.
        let _ = client.send_raw(&vec![b'a'; 100 << 10]);
        let reply = client.receive().unwrap();
        assert!(reply.is_error("ERR Protocol error: too big inline request"), "{reply:?}");
    });
}

#[test]
fn any_bytes_at_all_do_no_harm() {
    let node = Node::start(&[]);
    let mut rng = Rng::from_env("KVNODE_BAD_INPUT_SEED");
    without_growth(&node, || {
        for _ in 0..300 {
            let client = &mut node.client();
            let len = 1 + rng.below(4_096) as usize;
            let mut bytes = rng.bytes(len);
            match rng.below(3) {
                // A plausible start, so that more than the first byte is looked at.
                0 => bytes.splice(0..0, *b"*3\r\n$3\r\nSET\r\n$").for_each(drop),
                1 => {
                    // A good request with a few bytes changed.
                    bytes = encode([b"SET".as_slice(), &bytes, b"value"]);
                    for _ in 0..3 {
                        let at = rng.below(bytes.len() as u64) as usize;
                        bytes[at] = rng.next() as u8;
                    }
                }
                _ => {}
            }
            // It may answer, close, or wait for more.
            let _ = client.send_raw(&bytes);
        }
    });
}

#[test]
fn announced_lengths_take_no_memory() {
    let node = Node::start(&[]);
    let announcements: [&[u8]; 3] = [
        b"*1000000\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$67108864\r\n",
        b"*1000000\r\n$67108864\r\nabc",
    ];
    without_growth(&node, || {
        let clients: Vec<_> = (0..300)
            .map(|n| {
                let mut client = node.client();
                client.send_raw(announcements[n % announcements.len()]).unwrap();
                client
            })
            .collect();
        assert_serves(&node);
        let during = node.memory();
        drop(clients);
        assert!(during < 300 << 20, "{during} bytes for 300 clients that sent next to nothing");
    });
}

#[test]
fn half_a_request_then_silence_is_closed() {
    let node = Node::start(&["--request-timeout", "1"]);
    let halves: [&[u8]; 5] =
        [b"*2\r\n$3\r\nGET\r\n$5\r\nab", b"*2\r\n$3\r\n", b"*2\r", b"*", b"SET k"];
    let mut idle = node.client();
    let mut clients: Vec<_> = halves
        .iter()
        .map(|half| {
            let mut client = node.client();
            client.send_raw(half).unwrap();
            client
        })
        .collect();
    assert_serves(&node);
    for client in &mut clients {
        assert!(client.receive().unwrap().is_error("ERR Protocol error"));
        assert!(client.is_closed());
    }
    // Who has asked for nothing may stay.
    assert_eq!(idle.call(["PING"]), pong());
}

#[test]
fn a_request_in_single_bytes_is_served() {
    let node = Node::start(&[]);
    let mut client = node.client();
    for byte in encode(["SET", "k", "v"]) {
        client.send_raw(&[byte]).unwrap();
    }
    assert_eq!(client.receive().unwrap(), Frame::ok());
}

#[test]
fn the_end_of_sending_is_not_the_end_of_the_replies() {
    let node = Node::start(&[]);
    let mut client = node.client();
    client.send_raw(&encode(["SET", "k", "v"]).repeat(100)).unwrap();
    client.finish_sending().unwrap();
    for _ in 0..100 {
        assert_eq!(client.receive().unwrap(), Frame::ok());
    }
    assert!(client.is_closed());
}

/// Replies that a client asks for and does not read, of one mebibyte each.
const UNREAD_REPLIES: usize = 1_000;

#[test]
fn a_client_that_does_not_read_holds_nobody_up_and_costs_no_memory() {
    let node = Node::start(&[]);
    let value = "x".repeat(1 << 20);
    assert_eq!(node.client().call(["SET", "k", &value]), Frame::ok());
    let mut slow = node.client();
    without_growth(&node, || {
        slow.send_raw(&encode(["GET", "k"]).repeat(UNREAD_REPLIES)).unwrap();
        let mut other = node.client();
        for n in 0..1_000 {
            assert_eq!(other.call(["SET".into(), "n".into(), n.to_string()]), Frame::ok());
        }
    });
    for _ in 0..UNREAD_REPLIES {
        assert!(slow.receive().unwrap() == Frame::bulk(&value));
    }
}

/// Idle clients, as many as a node takes by default.
const IDLE_CLIENTS: usize = 10_000;

/// Memory that each may cost, in bytes.
const IDLE_CLIENT_BYTES_MAX: u64 = 16 << 10;

#[test]
fn idle_clients_up_to_the_limit_and_one_more() {
    let limit = getrlimit(Resource::Nofile);
    let files = limit.maximum.unwrap_or(u64::MAX);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .expect("up to the hard limit is allowed");
    // Both processes need a few files beside the sockets.
    let clients = IDLE_CLIENTS.min(usize::try_from(files).unwrap_or(usize::MAX) - 200);
    if clients < IDLE_CLIENTS {
        eprintln!(
            "{clients} instead of {IDLE_CLIENTS} clients: the limit on open files is {files}"
        );
    }
    let node = Node::start(&["--max-clients", &clients.to_string()]);
    assert_serves(&node);
    let before = node.memory();
    let mut idle: Vec<_> = (0..clients).map(|_| TcpStream::connect(node.addr()).unwrap()).collect();
    let mut one_more = node.client();
    let reply = one_more.receive().unwrap();
    assert!(reply.is_error("ERR max number of clients reached"), "{reply:?}");
    assert!(one_more.is_closed());
    let cost = node.memory().saturating_sub(before) / clients as u64;
    assert!(cost < IDLE_CLIENT_BYTES_MAX, "{cost} bytes for an idle client");
    // Each place that is left is taken again.
    for _ in 0..10 {
        idle.pop();
    }
    common::wait_until("a free place", || {
        (node.client().try_call(["PING"]).ok()? == pong()).then_some(())
    });
}
