//! What operators and client libraries ask of a node, over TCP.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test may fail at what it does not expect")]

mod common;

use std::time::Duration;

use common::{Client, Frame, Node, NodeBuilder, encode, wait_until};

fn wrong(reply: &Frame, start: &str) {
    assert!(reply.is_error(start), "{reply:?} is not {start}");
}

#[test]
fn a_shutdown_is_a_clean_stop() {
    let node = Node::start(&["--fsync", "never"]);
    let mut client = node.client();
    assert_eq!(client.call(["SET", "k", "v"]), Frame::ok());
    // What came before it is answered, and it itself by the end.
    client.send_raw(&[encode(["INCR", "n"]), encode(["SHUTDOWN", "NOSAVE"])].concat()).unwrap();
    assert_eq!(client.receive().unwrap(), Frame::Int(1));
    assert!(client.is_closed());
    let builder = node.builder().clone();
    assert_eq!(node.wait().code(), Some(0));
    assert!(builder.log().contains("SHUTDOWN: stopping"), "{}", builder.log());
    let node = builder.start();
    assert_eq!(node.client().call(["MGET", "k", "n"]).elements().unwrap().len(), 2);
    assert_eq!(node.client().call(["GET", "k"]), Frame::bulk("v"));
}

#[test]
fn clients_above_the_limit_are_turned_away() {
    let node = Node::start(&["--max-clients", "3"]);
    let mut first = node.client();
    assert_eq!(first.call(["CONFIG", "SET", "maxclients", "2"]), Frame::ok());
    let second = node.client();
    let mut third = node.client();
    wrong(&third.receive().unwrap(), "ERR max number of clients reached");
    assert!(third.is_closed());
    let info = first.call(["INFO", "stats"]).text();
    assert!(info.contains("rejected_connections:1\r\n"), "{info}");
    wrong(&first.call(["CONFIG", "SET", "maxclients", "4294967295"]), "ERR CONFIG SET failed");
    assert_eq!(first.call(["CONFIG", "SET", "maxclients", "3"]), Frame::ok());
    drop(second);
    assert_eq!(node.client().call(["PING"]), Frame::Simple("PONG".into()));
}

#[test]
fn bytes_of_clients_are_counted() {
    let node = Node::start(&[]);
    let mut client = node.client();
    let mut counted = || {
        let info = client.call(["INFO"]).text();
        let number = |name: &str| -> usize {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} in {info}")).parse().expect("a number")
        };
        for (name, units) in [("os:", "Linux "), ("used_memory_peak_human:", "")] {
            assert!(info.contains(&format!("\r\n{name}{units}")), "{name} in {info}");
        }
        assert!(number("total_system_memory:") >= number("used_memory_peak:"));
        assert!(number("used_memory_peak:") >= number("used_memory:"));
        let both = ["total_net_input_bytes:", "total_net_output_bytes:"].map(number);
        // What was sent is counted before the next command comes.
        (both, encode(["INFO"]).len(), info.len())
    };
    let ([received, sent], asked, told) = counted();
    assert_eq!((received, sent), (asked, 0));
    let ([received, sent], ..) = counted();
    assert_eq!(received, 2 * asked);
    assert!(sent > told && sent < told + 20, "{sent} for {told}");
    // More than a socket takes at once is sent by the connection's own task.
    let value = "v".repeat(8 << 20);
    assert_eq!(node.client().call(["SET", "k", &value]), Frame::ok());
    assert_eq!(node.client().call(["GET", "k"]), Frame::bulk(&value));
    let ([received_now, sent_now], ..) = counted();
    assert!(received_now - received > 8 << 20 && sent_now - sent > 8 << 20);
}

#[test]
fn the_longest_value_is_carried_over() {
    let node = Node::start(&["--fsync", "never"]);
    let mut client = node.client();
    let value = vec![b'v'; 64 << 20];
    assert_eq!(client.call([b"SET", &b"k"[..], &value]), Frame::ok());
    let Frame::Bulk(dump) = client.call(["DUMP", "k"]) else { panic!("a payload") };
    assert!(dump.len() > value.len());
    assert_eq!(client.call([b"RESTORE", &b"copy"[..], b"0", &dump]), Frame::ok());
    assert_eq!(client.call(["STRLEN", "copy"]), Frame::Int(64 << 20));
    // As a value it is too long, and the connection goes on.
    wrong(&client.call([b"SET", &b"k"[..], &dump]), "ERR string exceeds maximum allowed size");
    wrong(&client.call([b"GET", &dump[..]]), "ERR key is longer than the limit");
    assert_eq!(client.call(["DEL", "k", "copy"]), Frame::Int(2));
}

#[test]
fn a_killed_client_is_closed() {
    let node = Node::start(&[]);
    let (mut admin, mut victim) = (node.client(), node.client());
    let Frame::Int(id) = victim.call(["CLIENT", "ID"]) else { panic!("a number") };
    assert_eq!(admin.call(["CLIENT", "KILL", "ID", &id.to_string()]), Frame::Int(1));
    assert!(victim.is_closed());
    let list = || admin.call(["CLIENT", "LIST"]).text().lines().count();
    let mut list = list;
    wait_until("the client to be gone", || (list() == 1).then_some(()));
}

#[test]
fn a_client_that_says_nothing_is_closed_in_time() {
    let node = Node::start(&[]);
    let (mut busy, mut idle) = (node.client(), node.client());
    let mut half = node.client();
    assert_eq!(idle.call(["PING"]), Frame::Simple("PONG".into()));
    assert_eq!(busy.call(["CONFIG", "SET", "timeout", "1"]), Frame::ok());
    half.send_raw(b"*2\r\n$4\r\nECHO\r\n$99999\r\n").unwrap();
    let mut sent = 0;
    wait_until("the idle client to be gone", || {
        // Who asks is not idle, nor is who is in the middle of a command.
        half.send_raw(b"x").unwrap();
        sent += 1;
        (busy.call(["CLIENT", "LIST"]).text().lines().count() == 2).then_some(())
    });
    assert!(idle.is_closed());
    half.send_raw(&[&b"x".repeat(99999 - sent)[..], b"\r\n"].concat()).unwrap();
    assert_eq!(half.receive().unwrap(), Frame::bulk("x".repeat(99999)));
}

#[test]
fn a_client_that_wants_no_replies_gets_none() {
    let node = Node::start(&[]);
    let mut client = node.client();
    let commands: Vec<u8> = [
        encode(["CLIENT", "REPLY", "OFF"]),
        (0..5_000).flat_map(|_| encode(["INCR", "n"])).collect(),
        encode(["CLIENT", "REPLY", "ON"]),
        encode(["CLIENT", "REPLY", "SKIP"]),
        encode(["PING"]),
        encode(["GET", "n"]),
    ]
    .concat();
    client.send_raw(&commands).unwrap();
    assert_eq!(client.receive().unwrap(), Frame::ok());
    assert_eq!(client.receive().unwrap(), Frame::bulk("5000"));
}

#[test]
fn a_monitor_sees_commands_and_is_closed_when_it_does_not_read() {
    let node = Node::start(&["--fsync", "never"]);
    let (mut monitor, mut client) = (node.client(), node.client());
    assert_eq!(monitor.call(["MONITOR"]), Frame::ok());
    client.call(["SET", "k", "v"]);
    let line = monitor.receive().unwrap().text();
    assert!(line.ends_with("\"SET\" \"k\" \"v\"") && line.contains(" [0 127.0.0.1:"), "{line}");
    // It reads no more: some 64 MiB of lines go nowhere.
    let long = "x".repeat(1_000);
    let batch: Vec<u8> = (0..1_000).flat_map(|_| encode(["ECHO", &long])).collect();
    for _ in 0..64 {
        client.send_raw(&batch).unwrap();
        for _ in 0..1_000 {
            client.receive().unwrap();
        }
    }
    let clients = client.call(["CLIENT", "LIST"]).text();
    assert!(!clients.contains("flags=O"), "{clients}");
    assert!(node.builder().log().contains("closed a monitor"), "{}", node.builder().log());
}

#[test]
fn a_pause_holds_writes_up() {
    let node = Node::start(&[]);
    let (mut one, mut two) = (node.client(), node.client());
    assert_eq!(one.call(["CLIENT", "PAUSE", "50000", "WRITE"]), Frame::ok());
    two.send_raw(&encode(["SET", "k", "v"])).unwrap();
    assert_eq!(one.call(["GET", "k"]), Frame::NullBulk);
    two.set_patience(Duration::from_millis(100)).unwrap();
    assert!(two.receive().is_err(), "it waits");
    two.set_patience(common::PATIENCE).unwrap();
    assert_eq!(one.call(["CLIENT", "UNPAUSE"]), Frame::ok());
    assert_eq!(two.receive().unwrap(), Frame::ok());
}

/// Everything that a node says of itself, to anybody, while a password goes through it.
#[test]
fn a_password_is_shown_nowhere() {
    const SECRET: &str = "hunter2-of-the-test";
    let node = NodeBuilder::new().options(["--fsync", "never"]).start();
    let (mut monitor, mut admin) = (node.client(), node.client());
    assert_eq!(monitor.call(["MONITOR"]), Frame::ok());
    let rule = format!(">{SECRET}");
    let mut said = Vec::new();
    let ask = |client: &mut Client, args: &[&str]| client.call(args);
    for setting in [["slowlog-log-slower-than", "0"], ["latency-monitor-threshold", "1"]] {
        assert_eq!(ask(&mut admin, &["CONFIG", "SET", setting[0], setting[1]]), Frame::ok());
    }
    for args in [
        &["ACL", "SETUSER", "ann", "on", &rule, "~*", "+@all"][..],
        &["CONFIG", "SET", "requirepass", SECRET],
        &["AUTH", SECRET],
        &["AUTH", "ann", SECRET],
        &["HELLO", "2", "AUTH", "ann", SECRET],
        &["HELLO", "3", "AUTH", "ann", SECRET, "FOO"],
        &["AUTH", "nobody", SECRET],
        &["AUTH", SECRET, SECRET, SECRET],
        &["AUTH", "ann", SECRET],
        &["CLIENT", "LIST"],
        &["CLIENT", "INFO"],
        &["ACL", "LIST"],
        &["ACL", "GETUSER", "ann"],
        &["ACL", "LOG"],
        &["CONFIG", "GET", "*"],
        &["SLOWLOG", "GET", "-1"],
        &["SLOWLOG", "PHASES", "-1"],
        &["LATENCY", "DOCTOR"],
        &["INFO", "everything"],
        &["COMMAND", "GETKEYS", "GET", "k"],
    ] {
        said.push(format!("{:?}", ask(&mut admin, args)));
    }
    assert_eq!(ask(&mut admin, &["SET", "the-end", "x"]), Frame::ok());
    loop {
        let line = monitor.receive().unwrap().text();
        let ends = line.contains("the-end");
        said.push(line);
        if ends {
            break;
        }
    }
    assert!(said.iter().any(|text| text.contains("(redacted)")), "{said:?}");
    said.push(node.builder().log());
    said.push(node.builder().said());
    for text in said {
        assert!(!text.contains(SECRET), "{text}");
    }
}
