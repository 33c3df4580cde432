//! Real processes that make a cluster: founding, losing and regaining nodes, and what is refused.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test means any other effect by it")]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use common::cluster::{Cluster, ask, builder, free_ports, ids, status};
use common::{Frame, Node, NodeBuilder, Signal, wait_until};
use kvnode_core::peer::{self, ConnId, Identity, Links, Nonce, Versions};
use kvnode_core::{DirectoryId, Member, NodeId, Now};
use serde_json::Value;

#[test]
fn three_processes_make_a_cluster_and_status_tells_of_it() {
    let cluster = Cluster::started(3, &["--partitions", "4"]);
    let said = cluster.whole();
    assert_eq!(said["voters"].as_array().map(Vec::len), Some(3));
    assert_eq!(said["replication_factor"], 3);
    assert_eq!(said["min_isr"], 2);
    let partitions = said["partitions"].as_array().expect("a list");
    assert_eq!(partitions.len(), 4);
    for partition in partitions {
        assert_eq!(ids(&partition["isr"]), [1, 2, 3]);
        assert_eq!(partition["survives"], 2);
    }
    let summary = said["summary"].as_str().expect("a text");
    assert!(summary.starts_with("every partition survives 1 further node failure"), "{summary}");

    let node = cluster.live().next().expect("it runs");
    let text = String::from_utf8(ask(node, &[]).stdout).expect("UTF-8");
    assert!(text.contains("controller") && text.contains(summary), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let mut client = node.client();
    let info = client.call(["CLUSTER", "INFO"]).text();
    assert!(info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3"), "{info}");
    let info = client.call(["INFO", "cluster"]).text();
    assert!(info.contains("cluster_enabled:1") && info.contains(summary), "{info}");
    assert_eq!(client.call(["SET", "k", "v"]).text(), "OK");
    for node in cluster.live() {
        assert_eq!(node.client().call(["GET", "k"]).text(), "v", "any node answers");
    }
}

#[test]
fn a_node_that_comes_back_leads_what_it_led_before() {
    let mut cluster = Cluster::started(3, &["--partitions", "6", "--balance-after", "1"]);
    let led = |said: &Value| {
        let partitions = said["partitions"].as_array().expect("a list");
        partitions.iter().map(|partition| partition["leader"].clone()).collect::<Vec<_>>()
    };
    let before = led(&cluster.whole());
    let two = before.iter().filter(|leader| leader.as_u64() == Some(2)).count();
    assert_eq!(two, 2, "leaders are spread evenly: {before:?}");
    cluster.kill(2);
    wait_until("others to lead", || {
        let now = led(&status(cluster.node(1)));
        now.iter().all(|leader| matches!(leader.as_u64(), Some(1 | 3))).then_some(())
    });
    cluster.start(2);
    wait_until("all to be as before", || (led(&status(cluster.node(1))) == before).then_some(()));
    let mut client = cluster.node(3).client();
    assert_eq!(client.call(["SET", "k", "v"]).text(), "OK");
}

#[test]
fn clients_made_for_redis_cluster_find_every_leader() {
    let cluster = Cluster::started(3, &["--partitions", "4"]);
    cluster.whole();
    let ports: Vec<u16> = cluster.live().map(|node| node.addr().port()).collect();
    let mut slots = 0;
    for node in cluster.live() {
        let mut client = node.client();
        let ranges = client.call(["CLUSTER", "SLOTS"]);
        for range in ranges.elements().expect("a list") {
            let range = range.elements().expect("a range");
            let [Frame::Int(first), Frame::Int(last), nodes @ ..] = range else {
                panic!("{range:?}")
            };
            slots += last - first + 1;
            assert_eq!(nodes.len(), 3, "the leader and both others");
            for node in nodes {
                let node = node.elements().expect("a node");
                assert_eq!(node[0].text(), "127.0.0.1");
                let Frame::Int(port) = node[1] else { panic!("{node:?}") };
                assert!(ports.iter().any(|&known| i64::from(known) == port), "{port}");
            }
        }
        assert_eq!(client.call(["CLUSTER", "NODES"]).text().lines().count(), 3);
        assert_eq!(client.call(["SET", "k", "v"]), Frame::ok());
        assert_eq!(client.call(["WAIT", "2", "0"]), Frame::Int(2));
        assert_eq!(client.call(["READONLY"]), Frame::ok());
        assert_eq!(client.call(["GET", "k"]), Frame::bulk("v"));
    }
    assert_eq!(slots, 3 * 16_384);
    if !common::has("redis-cli") || !common::has("redis-benchmark") {
        return common::skipped("redis-cli and redis-benchmark are not installed");
    }
    let address = format!("127.0.0.1:{}", ports[0]);
    let port = ports[0].to_string();
    for (program, args) in [
        ("redis-cli", &["--cluster", "check", &address][..]),
        ("redis-benchmark", &["--cluster", "-p", &port, "-t", "set,get", "-n", "300", "-q"]),
    ] {
        let output = std::process::Command::new(program).args(args).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}{wrong}");
        assert!(!said.contains("[ERR]") && !said.contains("WARNING"), "{program}: {said}");
    }
}

#[test]
fn a_killed_controller_is_replaced_and_with_one_of_three_gone_the_map_still_changes() {
    let mut cluster = Cluster::started(3, &["--partitions", "3"]);
    let mut before = cluster.whole();
    for _ in 0..3 {
        let controller = before["controller"].as_u64().expect("there is one") as usize;
        cluster.kill(controller);
        let after = cluster.whole();
        assert_ne!(after["controller"], before["controller"]);
        assert!(after["term"].as_u64() > before["term"].as_u64());
        let gone = &after["nodes"][controller - 1];
        assert_eq!(gone["session"], "fenced");
        for partition in after["partitions"].as_array().expect("a list") {
            assert!(!ids(&partition["isr"]).contains(&(controller as u64)), "{partition}");
        }
        cluster.start(controller);
        before = cluster.whole();
        assert!(
            before["nodes"][controller - 1]["incarnation"].as_u64() > gone["incarnation"].as_u64()
        );
    }
}

#[test]
fn a_stop_hands_over_and_ends_with_zero() {
    let mut cluster = Cluster::started(3, &["--partitions", "3"]);
    let before = cluster.whole();
    let controller = before["controller"].as_u64().expect("there is one") as usize;
    let node = cluster.nodes[controller - 1].take().expect("it runs");
    let (builder, status) = node.end(Signal::Term);
    assert_eq!(status.code(), Some(0), "{}", builder.log());
    let after = cluster.whole();
    assert_ne!(after["controller"], before["controller"]);
}

#[test]
fn a_node_that_lost_its_directory_joins_as_a_new_member_and_votes_again() {
    let mut cluster = Cluster::started(3, &["--partitions", "2"]);
    let before = cluster.whole();
    cluster.kill(3);
    std::fs::remove_dir_all(cluster.builders[2].data()).expect("it is there");
    cluster.start(3);
    let after = wait_until("the new member to vote", || {
        let said = status(cluster.live().next().expect("it runs"));
        let voters = said["voters"].as_array().filter(|voters| voters.len() == 3)?;
        (voters[2]["directory"] != before["voters"][2]["directory"]).then(|| said.clone())
    });
    assert_eq!(after["cluster"], before["cluster"]);
    cluster.whole();
}

#[test]
fn without_the_other_first_voters_a_node_waits_and_says_for_whom() {
    let mut cluster = Cluster::new(3, &[]);
    cluster.start(2);
    let said = status(cluster.live().next().expect("it runs"));
    assert_eq!(said["cluster"], Value::Null);
    assert_eq!(said["summary"], "no cluster yet: waits for n1, n3 to start");
    cluster.start(1);
    cluster.start(3);
    cluster.whole();
}

/// The last line of a log, which must be one sentence to the operator.
fn refused(builder: &NodeBuilder) -> String {
    let start = Instant::now();
    let status = builder.start_in_vain();
    assert_eq!(status.code(), Some(1), "{}", builder.log());
    assert!(start.elapsed() < Duration::from_secs(30), "it gives up in time");
    let log = builder.log();
    log.lines().last().expect("it says why").to_owned()
}

#[test]
fn the_directory_of_another_cluster_or_node_is_refused() {
    let mut other = Cluster::started(3, &["--partitions", "1"]);
    other.whole();
    (1..=3).for_each(|id| other.kill(id));
    let cluster = Cluster::started(3, &["--partitions", "1"]);
    cluster.whole();
    // The directory of the other cluster's node 1, and this cluster's addresses.
    let port = free_ports(1)[0];
    let list = cluster.list.replacen(
        cluster.list.split(',').next().expect("an entry"),
        &format!("1@127.0.0.1:{port}"),
        1,
    );
    let intruder = builder(1, &list, &[]).data_in(other.builders[0].data());
    let why = refused(&intruder);
    assert!(why.contains("belongs to cluster") && why.contains("empty data directory"), "{why}");
    // One that is a majority by itself does not go on alone among nodes of another.
    let mut one = Cluster::started(1, &["--partitions", "1"]);
    one.whole();
    one.kill(1);
    let why = refused(&builder(1, &list, &[]).data_in(one.builders[0].data()));
    assert!(why.contains("belongs to cluster") && why.contains("empty data directory"), "{why}");
    let wrong_id = builder(2, &other.list, &[]).data_in(other.builders[0].data());
    let why = refused(&wrong_id);
    assert!(why.contains("belongs to node 1") && why.contains("--id 1"), "{why}");
    let alone = NodeBuilder::new().data_in(other.builders[0].data());
    let why = refused(&alone);
    assert!(why.contains("belongs to node 1 of a cluster") && why.contains("--cluster"), "{why}");
    let node = Node::start(&[]);
    let (single, _) = node.end(Signal::Term);
    let why = refused(&builder(1, &other.list, &[]).data_in(single.data()));
    assert!(why.contains("stands alone") && why.contains("empty directory"), "{why}");
}

#[test]
fn a_second_process_with_an_id_is_refused_and_the_first_goes_on() {
    let cluster = Cluster::started(3, &["--partitions", "1"]);
    let before = cluster.whole();
    let port = free_ports(1)[0];
    let list = cluster.list.split(',').map(|entry| match entry.starts_with("2@") {
        true => format!("2@127.0.0.1:{port}"),
        false => entry.to_owned(),
    });
    let list = list.collect::<Vec<_>>().join(",");
    let why = refused(&builder(2, &list, &["--partitions", "1"]));
    assert!(why.contains("two processes run as n2"), "{why}");
    assert!(why.contains("an id of its own"), "{why}");
    let after = cluster.whole();
    assert_eq!(after["nodes"], before["nodes"], "the first is the same as before");
}

/// Peers of a release that speaks another version of the peer protocol: they answer the handshake
/// and refuse it.
fn strangers(ids: [u32; 2]) -> Vec<String> {
    let entry = |id: u32| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                speak_version_nine(id, stream);
            }
        });
        format!("{id}@127.0.0.1:{port}")
    };
    ids.into_iter().map(entry).collect()
}

fn speak_version_nine(id: u32, mut stream: std::net::TcpStream) {
    let me = Identity {
        cluster: None,
        member: Member { node: NodeId(id), directory: DirectoryId(u128::from(id)) },
        nonce: Nonce(u64::from(id)),
        versions: Versions { min: 9, max: 9 },
        features: 9,
        founding: 0,
    };
    let now = Now { mono: kvnode_core::Instant(1), wall_us: 1 };
    let peers = [(NodeId(1), String::from("127.0.0.1:1"))];
    let mut links = Links::new(me, peers, peer::Settings::default(), now, 1);
    let conn = ConnId::Accepted(1);
    links.handle(now, peer::Input::Accepted(conn));
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        links.handle(now, peer::Input::Bytes(conn, buffer[..len].to_vec().into()));
        while let Some(output) = links.poll() {
            match output {
                peer::Output::Write(to, bytes) if to == conn => {
                    stream.write_all(&bytes).expect("the node reads");
                }
                peer::Output::Close(closed) if closed == conn => return,
                _ => {}
            }
        }
    }
}

#[test]
fn a_node_of_another_version_than_the_others_is_refused() {
    let port = free_ports(1)[0];
    let others = strangers([2, 3]).join(",");
    let list = format!("1@127.0.0.1:{port},{others}");
    let why = refused(&builder(1, &list, &[]));
    assert!(why.contains("speaks version 1 of the peer protocol"), "{why}");
    assert!(why.contains("version 9") && why.contains("update the older"), "{why}");
}

#[test]
fn wrong_command_lines_are_told_what_is_wrong() {
    for (args, what) in [
        (&["--id", "1"][..], "name its nodes with --cluster"),
        (&["--cluster", "1@a:1"], "--cluster needs --id"),
        (&["--id", "4", "--cluster", "1@a:1,2@b:1"], "--id 4 is not in --cluster"),
        (&["--id", "1", "--cluster", "1@a:1,1@b:1"], "names node 1 twice"),
        (&["--id", "1", "--cluster", "nonsense"], "is no ID@HOST:PORT"),
        (&["--id", "1", "--cluster", "1@a:1", "--replication-factor", "3"], "as many nodes"),
        (&["--rack", "r"], "it needs --cluster"),
        (&["--balance-after", "5"], "it needs --cluster"),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_kvnode"))
            .arg("run")
            .args(args)
            .output()
            .expect("kvnode starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(what), "{args:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
    }
    let alone = Node::start(&[]);
    let output = ask(&alone, &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("cluster support disabled") && text.contains("--cluster"), "{text}");
}
