//! Whole nodes' controls together: founding, joining, losing and replacing members.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

#[allow(dead_code, missing_docs, unreachable_pub, reason = "test files share parts of this")]
#[path = "../world/disk.rs"]
mod disk;
mod requests;
#[allow(dead_code, reason = "test files share parts of this")]
#[path = "../world/wires.rs"]
mod wires;
mod world;

use std::time::Duration;

use kvnode_core::NodeId;
use kvnode_core::control::FoundingOptions;
use kvnode_core::control::Input;
use kvnode_core::disk::{DiskError, DiskOp};
use kvnode_core::node::ToControl;
use kvnode_core::storage::check::{AcceptLoss, CheckReport, Checker};
use world::World;

#[test]
fn three_nodes_found_a_cluster_and_share_its_partitions() {
    let mut world = World::three();
    world.until("every node is active", World::is_whole);
    assert!(world.controller().is_some());
    let map = world.map(1).clone();
    assert_eq!(map.partitions().count(), 4);
    for (_, partition) in map.partitions() {
        assert_eq!((partition.replicas.len(), partition.isr.len()), (3, 3));
    }
    world.pass(Duration::from_secs(1));
    let cluster = world.view(1).unwrap().cluster;
    for id in 2..=3 {
        assert_eq!(world.view(id).unwrap().cluster, cluster);
        assert_eq!(world.map(id), &map);
    }
}

#[test]
fn no_cluster_is_founded_before_all_nodes_are_there() {
    let options = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let mut world = World::new(&[1, 2, 3], options);
    world.start(1);
    world.start(2);
    world.pass(Duration::from_secs(20));
    for id in 1..=2 {
        let view = world.view(id).unwrap();
        assert_eq!(view.cluster, None);
        assert_eq!(view.missing, [NodeId(3)]);
    }
    let told = |id| world.nodes[&NodeId(id)].notices.iter().any(|n| n.contains("waiting for n3"));
    assert!(told(1), "{:?}", world.nodes[&NodeId(1)].notices);
    world.start(3);
    world.until("it is founded", World::is_whole);
}

#[test]
fn a_killed_controller_is_replaced_in_well_under_a_second() {
    let mut world = World::three();
    world.until("every node is active", World::is_whole);
    for round in 0..10 {
        let controller = world.controller().unwrap();
        world.kill(controller);
        let took = world.until("another controls", |world| {
            world.controller().is_some_and(|now| now != controller) && world.is_whole()
        });
        assert!(took < Duration::from_millis(900), "round {round}: {took:?}");
        world.start(controller);
        world.until("it is back", World::is_whole);
    }
}

#[test]
fn everyone_comes_back_after_a_loss_of_power() {
    let mut world = World::three();
    world.until("every node is active", World::is_whole);
    let before = world.map(1).clone();
    (1..=3).for_each(|id| world.lose_power(id));
    (1..=3).for_each(|id| world.start(id));
    world.until("every node is active again", World::is_whole);
    assert_eq!(world.map(1).founding(), before.founding());
    assert!(world.map(1).applied() > before.applied());
}

#[test]
fn a_voter_that_lost_its_disk_has_no_vote_until_it_was_made_one_anew() {
    let mut world = World::three();
    world.until("every node is active", World::is_whole);
    let before = world.view(1).unwrap().quorum.voters.clone();
    world.wipe(3);
    world.start(3);
    world.until("the new member votes", |world| {
        let voters = |id| world.view(id).map(|view| view.quorum.voters.clone());
        let now = voters(1);
        now.as_ref().is_some_and(|now| now.len() == 3 && *now != before)
            && voters(2) == now
            && voters(3) == now
    });
    world.until("every node is active", World::is_whole);
    world.kill(world.controller().unwrap());
    world.until("two of three go on", World::is_whole);
}

#[test]
fn a_stopping_controller_hands_over_first() {
    let mut world = World::three();
    world.until("every node is active", World::is_whole);
    let controller = world.controller().unwrap();
    world.ask_to_stop(controller);
    let took = world.until("it stops", |world| world.nodes[&NodeId(controller)].stopped);
    assert!(took < Duration::from_millis(1500), "{took:?}");
    let took = world.until("the rest is whole", World::is_whole);
    assert!(took < Duration::from_millis(50), "another was made before: {took:?}");
}

fn check(disk: &disk::MemDisk) -> CheckReport {
    let mut disk = disk.clone();
    let mut checker = Checker::new();
    while let Some(op) = checker.poll() {
        checker.on_disk(disk.run(op));
    }
    checker.finish().expect("it has come to its end")
}

#[test]
fn a_member_whose_log_is_damaged_takes_no_part_and_nobody_can_accept_that() {
    let mut world = World::three();
    world.until("every node is active", World::is_whole);
    world.ask_to_stop(3);
    world.until("it stops", |world| world.nodes[&NodeId(3)].stopped);
    let disk = &mut world.nodes.get_mut(&NodeId(3)).unwrap().disk;
    let report = check(disk);
    assert!(!report.damaged && report.records > 0, "{:?}", report.findings);
    // Well below the mark.
    disk.edit("control/00000000000000000000-00000000.log", |bytes| bytes[200] ^= 1);
    let report = check(disk);
    assert!(report.damaged, "{:?}", report.findings);
    assert!(AcceptLoss::new(&report).is_none(), "it may have forgotten a vote");
    world.start(3);
    world.pass(Duration::from_secs(1));
    let refused = world.nodes[&NodeId(3)].refused.as_ref().expect("it is refused");
    assert!(refused.contains("control/") && refused.contains("an empty one"), "{refused}");
    world.wipe(3);
    world.start(3);
    world.until("it joins as a new member", World::is_whole);
}

/// A record at the end of the log that had been spoken of was cut away as a torn tail if damage hid it
/// before another segment had begun: nothing durable said that it had ever been whole.
#[test]
fn damage_in_the_last_record_that_was_spoken_of_is_no_torn_tail() {
    let mut world = World::three();
    world.until("every node is active", World::is_whole);
    for round in 0..4 {
        // Something new at the end: a member's leaving and coming, and perhaps a vote.
        let other = 1 + round % 2;
        world.kill(other);
        world.until("the others go on", |world| world.controller().is_some_and(|id| id != other));
        world.start(other);
        world.until("it is back", World::is_whole);
        world.pass(Duration::from_secs(1));
        world.lose_power(3);
        let whole = world.nodes[&NodeId(3)].disk.clone();
        let log = whole.segments().into_iter().filter(|name| name.starts_with("control/"));
        let log = log.max().expect("it has a log");
        let last = whole.bytes(&log).iter().rposition(|&byte| byte != 0).expect("it has records");
        for at in (last - 90..=last).step_by(9) {
            let mut disk = whole.clone();
            disk.edit(&log, |bytes| bytes[at] ^= 1);
            world.nodes.get_mut(&NodeId(3)).unwrap().disk = disk;
            world.start(3);
            world.pass(Duration::from_millis(100));
            assert!(
                world.nodes[&NodeId(3)].refused.is_some(),
                "round {round}: byte {at} of {last}"
            );
            world.kill(3);
        }
        world.nodes.get_mut(&NodeId(3)).unwrap().disk = whole;
        world.start(3);
        world.until("the undamaged log is taken", World::is_whole);
    }
}

#[test]
fn a_single_node_is_a_cluster() {
    let options = FoundingOptions { partitions: 2, replication_factor: 1, min_isr: 1 };
    let mut world = World::new(&[7], options);
    world.start(7);
    let took = world.until("it serves itself", World::is_whole);
    assert!(took < Duration::from_secs(1), "{took:?}");
    world.lose_power(7);
    world.start(7);
    world.until("again", World::is_whole);
}

#[test]
fn a_fourth_node_observes() {
    let options = FoundingOptions { partitions: 4, replication_factor: 3, min_isr: 2 };
    let mut world = World::new(&[1, 2, 3, 4], options);
    (1..=4).for_each(|id| world.start(id));
    world.until("every node is active", World::is_whole);
    assert_eq!(world.view(4).unwrap().quorum.voters.len(), 3);
    assert_eq!(world.map(4), world.map(1));
}

#[test]
fn a_cut_off_controller_steps_down_and_the_rest_goes_on() {
    let mut world = World::three();
    world.until("every node is active", World::is_whole);
    let old = NodeId(world.controller().unwrap());
    let others: Vec<NodeId> = world.nodes.keys().copied().filter(|&id| id != old).collect();
    for &other in &others {
        world.wires.cut.insert((old, other));
        world.wires.cut.insert((other, old));
    }
    world.pass(Duration::from_secs(3));
    assert_eq!(world.view(old.0).unwrap().quorum.controller, None, "it knows that it is alone");
    let now = world.view(others[0].0).unwrap().quorum.controller.unwrap();
    assert!(others.contains(&now));
    let map = world.map(now.0);
    assert!(!map.node(old).unwrap().is_active(), "its session has lapsed");
    assert!(map.partitions().all(|(_, p)| p.leader.is_some_and(|leader| leader != old)));
    world.wires.cut.clear();
    world.until("it is back", World::is_whole);
}

#[test]
fn what_a_replica_has_lost_is_told_though_the_store_is_read_again_meanwhile() {
    let mut world = World::three();
    world.until("every node is active", World::is_whole);
    let controller = NodeId(world.controller().unwrap());
    let node = world.nodes.keys().copied().find(|&id| id != controller).unwrap();
    let before = world.map(controller.0).node(node).unwrap().life();
    // What it says does not arrive, and the next entry can not be stored.
    world.wires.cut.insert((node, controller));
    world.handle(node, Input::Shard(ToControl::Unclean));
    let mut failed = false;
    world.nodes.get_mut(&node).unwrap().disk.fault = Some(Box::new(move |op| {
        let fails = matches!(op, DiskOp::Sync(_)) && !std::mem::replace(&mut failed, true);
        fails.then_some(DiskError::Io(5))
    }));
    world.pass(Duration::from_secs(3));
    world.wires.cut.clear();
    world.until("it lives anew", |world| {
        world
            .controller()
            .and_then(|id| world.map(id).node(node))
            .is_some_and(|held| held.life() != before && held.is_active())
    });
    let id = world.controller().unwrap();
    let held = world.map(id).node(node).unwrap();
    assert!(!held.registration.clean, "{:?}", world.nodes[&node].notices);
}
