//! No room on any disk of a cluster: nobody can begin a reign, and clients are told why.

use std::time::Duration;

use kvnode_core::control::FoundingOptions;
use kvnode_core::disk::{DiskError, DiskOp, File};
use kvnode_core::reply::Reply;
use kvnode_core::{NodeId, PartitionId};

use crate::error;
use crate::world::{Setup, World};

/// Only the quorum's log finds room.
fn no_room(op: &DiskOp) -> Option<DiskError> {
    let of_data = |file: &File| matches!(file, File::Segment(p, ..) if *p != PartitionId::CONTROL);
    matches!(op, DiskOp::Write { file, .. } if of_data(file)).then_some(DiskError::Full)
}

#[test]
fn a_command_that_finds_no_leader_with_space_is_told_so_by_any_node() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let at = world.connect(1);
    assert_eq!(world.call(at, &["SET", "k", "1"]), Reply::OK);
    for id in 1..=3 {
        world.disk(id).fault = Some(Box::new(no_room));
    }
    let told = error(world.call(at, &["SET", "k", "2"]));
    assert!(told.starts_with("UNKNOWN "), "it was handed to the disk: {told}");
    for id in 1..=3 {
        let at = world.connect(id);
        let told = error(world.call(at, &["SET", "k", "3"]));
        assert!(told.starts_with("DISKFULL ") && told.contains("was not applied"), "n{id}: {told}");
    }
    for id in 1..=3 {
        world.disk(id).fault = None;
    }
    world.until("somebody leads again", |world| world.leader(0).is_some());
    assert_eq!(world.call(at, &["SET", "k", "4"]), Reply::OK);
    assert_eq!(world.call(at, &["GET", "k"]), Reply::bulk(b"4"));
}

#[test]
fn a_follower_without_room_seldom_asks_for_more() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let leader = world.leader(0).unwrap();
    let full = leader % 3 + 1;
    world.disk(full).fault = Some(Box::new(no_room));
    let at = world.connect(leader);
    let value = "v".repeat(100_000);
    for n in 0..20 {
        assert_eq!(world.call(at, &["SET", &crate::key(n), &value]), Reply::OK);
    }
    world.pass(Duration::from_secs(20));
    let pair = (NodeId(leader), NodeId(full));
    let (before, notices) = (world.wires.written[&pair], world.nodes[&NodeId(full)].notices.len());
    world.pass(Duration::from_secs(60));
    let sent = world.wires.written[&pair] - before;
    assert!(sent < 60 * 500_000, "{sent} bytes in a minute for a log of two million");
    let notices = &world.nodes[&NodeId(full)].notices[notices..];
    assert!(notices.len() < 60, "{} in a minute", notices.len());
    let all = &world.nodes[&NodeId(full)].notices;
    assert!(!all.iter().any(|text| text.contains("damaged")), "nothing is");
    world.disk(full).fault = None;
    world.until("it has caught up", World::is_whole);
}

#[test]
fn where_nobody_has_room_nobody_is_elected_again_and_again() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let at = world.connect(1);
    for id in 1..=3 {
        world.disk(id).fault = Some(Box::new(no_room));
    }
    let told = error(world.call(at, &["SET", "k", "1"]));
    assert!(told.starts_with("UNKNOWN "), "it was handed to the disk: {told}");
    let epoch = |world: &World| world.map(1).partition(PartitionId(0)).unwrap().epoch.0;
    let before = epoch(&world);
    world.pass(Duration::from_secs(20));
    // Each tries again a second after it has found no room.
    let reigns = epoch(&world) - before;
    assert!((5..80).contains(&reigns), "{reigns} reigns in 20 seconds");
}
