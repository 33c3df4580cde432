//! A stop by signal: nothing acknowledged is lost, the exit code is 0, the next start is clean.

mod common;

use common::load::{Load, Writer};
use common::{Frame, Node, NodeBuilder, Signal, wait_until};

#[test]
fn sigterm_under_load_keeps_what_was_acknowledged() {
    stop_under_load(Signal::Term, "always");
}

#[test]
fn sigint_under_load_keeps_what_was_acknowledged() {
    stop_under_load(Signal::Int, "always");
}

#[test]
fn a_stop_makes_durable_what_a_relaxed_mode_had_not() {
    stop_under_load(Signal::Term, "never");
}

fn stop_under_load(signal: Signal, fsync: &str) {
    let node = Node::start(&["--fsync", fsync]);
    let writers =
        [1, 1, 16, 16].iter().zip(0..).map(|(depth, i)| Writer::new(&format!("w{i}"), *depth, i));
    let load = Load::start(&node.endpoint(), writers.collect());
    wait_until("acknowledged writes", || (load.acknowledged() > 500).then_some(()));
    let (builder, status) = node.end(signal);
    assert_eq!(status.code(), Some(0), "{}", builder.log());
    let node = builder.start();
    let mut client = node.client();
    for mut writer in load.join() {
        writer.check(&mut client);
    }
}

#[test]
fn idle_clients_do_not_hold_a_stop_up() {
    let node = Node::start(&[]);
    let mut idle = node.client();
    assert_eq!(idle.call(["PING"]), Frame::Simple("PONG".into()));
    let mut midway = node.client();
    midway.send_raw(b"*2\r\n$3\r\nGET\r\n$5\r\nab").unwrap();
    let mut in_multi = node.client();
    assert_eq!(in_multi.call(["MULTI"]), Frame::ok());
    assert_eq!(in_multi.call(["SET", "k", "v"]), Frame::Simple("QUEUED".into()));
    let (builder, status) = node.end(Signal::Term);
    assert_eq!(status.code(), Some(0), "{}", builder.log());
    assert!(idle.is_closed());
    let node = builder.start();
    assert_eq!(node.client().call(["GET", "k"]), Frame::NullBulk, "a queued command had no EXEC");
}

#[test]
fn a_client_that_never_reads_does_not_hold_a_stop_up() {
    let node = Node::start(&[]);
    let mut client = node.client();
    assert_eq!(client.call(["SET".into(), "k".into(), "v".repeat(1 << 20)]), Frame::ok());
    let get = common::encode(["GET", "k"]);
    client.send_raw(&get.repeat(500)).unwrap();
    let (builder, status) = node.end(Signal::Term);
    assert_eq!(status.code(), Some(0), "{}", builder.log());
    drop(client);
}

#[test]
fn many_clean_restarts_keep_everything() {
    let mut builder = NodeBuilder::new();
    for n in 0..10 {
        let node = builder.start();
        let mut client = node.client();
        assert_eq!(client.call(["DBSIZE"]), Frame::Int(n));
        for old in 0..n {
            let reply = client.call(["GET".into(), format!("k{old}")]);
            assert_eq!(reply, Frame::bulk(old.to_string()));
        }
        assert_eq!(client.call(["SET".into(), format!("k{n}"), n.to_string()]), Frame::ok());
        let (next, status) = node.end([Signal::Term, Signal::Int][(n % 2) as usize]);
        assert_eq!(status.code(), Some(0));
        builder = next;
    }
}
