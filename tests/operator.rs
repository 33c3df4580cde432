//! Real processes, and an operator who decides what no controller may: who leads when nobody in sync
//! is left, and which node does not come back.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test means any other reply by it")]

mod common;

use std::process::{Command, Output, Stdio};

use common::cluster::{Cluster, ids, status};
use common::terminal::Terminal;
use common::{Frame, Node, wait_until};

/// `kvnode cluster` by way of the node; words are what is typed.
fn operator(node: &Node, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvnode"));
    let port = node.addr().port().to_string();
    command.arg("cluster").args(words.split_whitespace()).args(["-p", &port]);
    command
}

fn run(node: &Node, words: &str) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        operator(node, words).stdin(Stdio::null()).output().expect("kvnode starts");
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8(said).expect("UTF-8"))
}

#[test]
fn the_only_disk_in_sync_is_lost_and_an_operator_has_the_other_copy_serve() {
    let options = ["--partitions", "1", "--replication-factor", "2", "--min-isr", "1"];
    let mut cluster = Cluster::started(3, &options);
    let said = cluster.whole();
    let replicas = ids(&said["partitions"][0]["replicas"]);
    let lost = said["partitions"][0]["leader"].as_u64().expect("it is led") as usize;
    let heir = *replicas.iter().find(|&&id| id != lost as u64).expect("another") as usize;
    let bystander = 6 - lost - heir;
    let mut client = cluster.node(bystander).client();

    assert_eq!(client.call(["SET", "k", "on both"]), Frame::ok());
    cluster.kill(heir);
    wait_until("the leader to be alone in sync", || {
        let said = status(cluster.node(bystander));
        (ids(&said["partitions"][0]["isr"]) == [lost as u64]).then_some(())
    });
    assert_eq!(client.call(["SET", "k", "on one"]), Frame::ok());
    cluster.kill(lost);
    std::fs::remove_dir_all(cluster.builders[lost - 1].data()).expect("it is there");
    cluster.start(heir);

    let elect = format!("elect p0 n{heir} --unclean");
    let node = cluster.node(bystander);
    wait_until("status to name the command that helps", || {
        let said = status(node);
        let summary = said["summary"].as_str().expect("a text");
        summary.ends_with(&format!("kvnode cluster {elect}")).then_some(())
    });
    let Frame::Error(told) = client.call(["GET", "k"]) else { panic!("nobody can know") };
    assert!(told.ends_with(&format!("kvnode cluster {elect}")), "{told}");

    let (code, said) = run(node, &format!("elect p0 n{heir}"));
    assert!(code == Some(2) && said.contains("--unclean"), "{said}");
    let (code, said) = run(node, &elect);
    assert!(code == Some(2) && said.contains("--yes"), "{said}");
    let mut terminal = Terminal::start(operator(node, &elect));
    terminal.expect(&format!("Let n{heir} lead p0 all the same? [y/N]"));
    terminal.press("n\r");
    terminal.expect("nothing was done");
    assert_eq!(terminal.wait().code(), Some(1));
    assert!(status(node)["partitions"][0]["leader"].is_null());

    let (code, said) = run(node, &format!("{elect} --yes"));
    assert_eq!(code, Some(0), "{said}");
    for part in ["p0 is offline", "the node is down", "ends at offset", "is lost by it"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(client.call(["GET", "k"]).text(), "on both");
    assert_eq!(client.call(["SET", "k", "again"]), Frame::ok());
    let summary = status(node)["summary"].as_str().expect("a text").to_owned();
    assert!(summary.ends_with("may be missing; to take note of it: kvnode cluster accept-loss p0"));
    let (code, said) = run(node, "accept-loss p0 --yes");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(status(node)["partitions"][0]["writes_may_be_missing"], 0);
    let (code, said) = run(node, "accept-loss p0 --yes");
    assert!(code == Some(1) && said.contains("nothing is missing"), "{said}");

    // The node does not come back. What stands in the way is told as it is typed.
    let (code, said) = run(node, &format!("forget n{lost} --yes"));
    assert_eq!(code, Some(1), "{said}");
    let typed = said.lines().find_map(|line| line.trim().strip_prefix("kvnode cluster "));
    let typed = typed.expect("a command").to_owned();
    assert_eq!(typed, format!("reassign p0 n{heir} n{bystander}"));
    let (code, said) = run(node, &format!("{typed} --yes"));
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(node, &format!("forget n{lost} --yes"));
    assert_eq!(code, Some(0), "{said}");
    wait_until("the node to be out, and its vote with it", || {
        let said = status(node);
        let (nodes, voters) = (said["nodes"].as_array()?.len(), said["voters"].as_array()?.len());
        ((nodes, voters) == (2, 2)).then_some(())
    });
    let said = cluster.whole();
    assert_eq!(ids(&said["partitions"][0]["isr"]).len(), 2);

    // A planned transfer asks nobody, and an unclean election is not for what has a leader.
    let (code, said) = run(cluster.node(heir), &format!("move p0 n{bystander}"));
    assert!(code == Some(0) && said.contains(&format!("n{bystander} leads p0")), "{said}");
    let (code, said) = run(cluster.node(heir), &format!("{elect} --yes"));
    assert!(code == Some(1) && said.contains("kvnode cluster move"), "{said}");
    assert_eq!(client.call(["GET", "k"]).text(), "again");
}
