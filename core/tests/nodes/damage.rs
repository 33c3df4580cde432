//! Disks that lose what they were given.

use std::time::Duration;

use kvnode_core::control::FoundingOptions;
use kvnode_core::disk::{DiskError, DiskOp, File};
use kvnode_core::reply::Reply;
use kvnode_core::storage::check::{AcceptLoss, Checker};
use kvnode_core::storage::replica::ScrubSettings;
use kvnode_core::{NodeId, PartitionId};

use crate::disk::MemDisk;
use crate::world::{Setup, World};
use crate::{error, key};

#[test]
fn a_damaged_replica_is_refetched_from_the_others() {
    let mut world = World::new(Setup::default());
    let at = world.connect(1);
    for n in 0..50 {
        assert_eq!(world.call(at, &["SET", &key(n), &n.to_string()]), Reply::OK);
    }
    for victim in 1..=3 {
        world.kill(victim);
        for partition in 0..4 {
            world.disk(victim).damage_middle(&format!("p{partition}"));
        }
        world.start(victim);
        world.until("it is in sync again", World::is_whole);
        world.pass(Duration::from_secs(1));
        let notices = &world.nodes[&NodeId(victim)].notices;
        assert!(notices.iter().any(|n| n.contains("begins again from zero")), "{notices:#?}");
    }
    // What was damaged everywhere, one after the other, is whole everywhere.
    for id in 1..=3 {
        let at = world.connect(id);
        for n in 0..50 {
            let expected = Reply::bulk(n.to_string().as_bytes());
            assert_eq!(world.call(at, &["GET", &key(n)]), expected, "{} at n{id}", key(n));
        }
    }
}

/// A sound key, a sound length, and a value that is not its: nothing is missing, but one answer.
#[test]
fn a_value_that_is_found_damaged_when_its_node_starts_is_refetched() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let at = world.connect(1);
    for n in 0..60 {
        assert_eq!(world.call(at, &["SET", &key(n), &value(n)]), Reply::OK);
    }
    let victim = world.leader(0).unwrap();
    world.kill(victim);
    let disk = world.disk(victim);
    let (name, at) = place_of(disk, value(30).as_bytes());
    disk.edit(&name, |bytes| bytes[at] ^= 1);
    world.start(victim);
    world.until("it is in sync again", World::is_whole);
    place_of(world.disk(victim), value(30).as_bytes());
}

#[test]
fn what_was_accepted_as_lost_is_refetched_from_those_who_have_it() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let mut world = World::new(Setup { founding, segment_bytes: 2_000, ..Setup::default() });
    let at = world.connect(1);
    for n in 0..60 {
        assert_eq!(world.call(at, &["SET", &key(n), &value(n)]), Reply::OK);
    }
    for (victim, away) in [(1, Duration::ZERO), (2, Duration::from_secs(5))] {
        world.kill(victim);
        let disk = world.disk(victim);
        let (name, at) = place_of(disk, value(30).as_bytes());
        // Of its head too, so that nobody knows the key.
        disk.edit(&name, |bytes| bytes[at - 20..at + 180].iter_mut().for_each(|byte| *byte ^= 1));
        let mut checker = Checker::new();
        while let Some(op) = checker.poll() {
            checker.on_disk(disk.run(op));
        }
        let mut accept = AcceptLoss::new(&checker.finish().unwrap()).expect("something is lost");
        while let Some(op) = accept.poll() {
            accept.on_disk(disk.run(op));
        }
        accept.finish().unwrap().unwrap();
        // In sync still, or not any more.
        world.pass(away);
        world.start(victim);
        world.pass(Duration::from_secs(1));
        world.until("it is in sync again", World::is_whole);
        // Of what it has itself.
        let at = world.connect(victim);
        assert_eq!(world.call(at, &["READONLY"]), Reply::OK);
        for n in 0..60 {
            assert_eq!(world.call(at, &["GET", &key(n)]), Reply::bulk(value(n).as_bytes()), "{n}");
        }
    }
}

/// Fills a cluster, damages a partition at its leader, and has `then` bring it to light.
fn damaged_while_it_runs(scrub: Option<ScrubSettings>, then: impl Fn(&mut World, u32)) {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let setup = Setup { founding, segment_bytes: 2_000, scrub, ..Setup::default() };
    let mut world = World::new(setup);
    let at = world.connect(1);
    for n in 0..60 {
        assert_eq!(world.call(at, &["SET", &key(n), &n.to_string().repeat(40)]), Reply::OK);
    }
    let leader = world.leader(0).unwrap();
    let mut segments = world.disk(leader).segments().into_iter();
    let sealed = segments.find(|name| name.starts_with("p0/")).unwrap();
    world.disk(leader).edit(&sealed, |bytes| bytes[64..].iter_mut().for_each(|byte| *byte ^= 0x20));
    then(&mut world, leader);
    world.until("the replica is whole again", |world| {
        world.is_whole() && !world.disk_of(leader).segments().contains(&sealed)
    });
    // Whoever is left has everything, and so has the one that was damaged.
    for other in (1..=3).filter(|&id| id != leader).take(1) {
        world.kill(other);
    }
    let at = world.connect(leader);
    for n in 0..60 {
        assert_eq!(
            world.call(at, &["GET", &key(n)]),
            Reply::bulk(n.to_string().repeat(40).as_bytes())
        );
    }
}

#[test]
fn a_leader_that_can_not_read_a_record_leaves_it_to_those_who_can() {
    damaged_while_it_runs(None, |world, leader| {
        let at = world.connect(leader);
        for n in 0..60 {
            let expected = Reply::bulk(n.to_string().repeat(40).as_bytes());
            assert_eq!(world.call(at, &["GET", &key(n)]), expected, "{n}");
        }
        assert_ne!(world.leader(0), Some(leader));
    });
}

#[test]
fn what_a_cut_of_the_log_finds_damaged_is_refetched() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let at = world.connect(1);
    for n in 0..60 {
        assert_eq!(world.call(at, &["SET", &key(n), &n.to_string()]), Reply::OK);
    }
    let leader = world.leader(0).unwrap();
    let others = (1..=3).filter(|&id| id != leader).map(NodeId);
    let ways = others.flat_map(|other| [(other, NodeId(leader)), (NodeId(leader), other)]);
    world.wires.cut.extend(ways);
    // It logs what the others do not get, and has to give it up for what they log without it.
    let lonely = world.connect(leader);
    world.send(lonely, &[b"SET", b"alone", b"1"]);
    let other = leader % 3 + 1;
    world.until("another one leads", |world| {
        let led = world.map(other).partition(PartitionId(0)).and_then(|held| held.leader);
        led.is_some_and(|node| node != NodeId(leader))
    });
    let damaged = world.disk(leader).segments().into_iter().find(|name| name.starts_with("p0/"));
    world.disk(leader).damage_middle("p0");
    world.wires.cut.clear();
    let follows = |world: &World| world.replica(leader, 0).is_some_and(|r| r.follows.is_some());
    world.until("it follows", follows);
    world.until("it is in sync again", |world| follows(world) && world.is_whole());
    let notices = &world.nodes[&NodeId(leader)].notices;
    assert!(notices.iter().any(|n| n.contains("the log is cut at")), "{notices:#?}");
    assert!(!world.disk_of(leader).segments().contains(&damaged.unwrap()), "{notices:#?}");
}

#[test]
fn what_nobody_reads_is_found_damaged_and_refetched() {
    let scrub = ScrubSettings { bytes_per_second: 1 << 20, every: Duration::from_secs(5) };
    damaged_while_it_runs(Some(scrub), |_, _| {});
}

#[test]
fn a_replica_that_may_be_in_sync_by_now_does_not_begin_again_in_the_same_life() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let every = Duration::from_millis(20);
    let scrub = Some(ScrubSettings { bytes_per_second: 1 << 24, every });
    let setup = Setup { founding, segment_bytes: 2_000, scrub, ..Setup::default() };
    let mut world = World::new(setup);
    let at = world.connect(1);
    for n in 0..60 {
        assert_eq!(world.call(at, &["SET", &key(n), &n.to_string().repeat(40)]), Reply::OK);
    }
    let (controller, leader) = (world.controller().unwrap(), world.leader(0).unwrap());
    let back = (1..=3).find(|id| ![controller, leader].contains(id)).unwrap();
    let node = NodeId(back);
    let has_seat = |world: &World, at: u32| {
        let held = world.map(at).partition(PartitionId(0)).unwrap();
        held.seat(node).is_some()
    };
    world.kill(back);
    world.until("it is not in sync any more", |world| !has_seat(world, controller));
    world.start(back);
    // It follows, and learns late that it was let in.
    world.until("it follows", |world| world.replica(back, 0).is_some_and(|r| r.follows.is_some()));
    world.wires.slow.insert((NodeId(controller), node), Duration::from_millis(400));
    world.until("it is let in", |world| has_seat(world, controller));
    assert!(!has_seat(&world, back));
    let mut segments = world.disk(back).segments().into_iter();
    let sealed = segments.find(|name| name.starts_with("p0/")).unwrap();
    world.disk(back).edit(&sealed, |bytes| bytes[64..].iter_mut().for_each(|byte| *byte ^= 0x20));
    world.until("it begins again from zero", |world| {
        world.replica(back, 0).is_some_and(|r| r.log_end.0 == 0)
    });
    assert!(!has_seat(&world, controller), "it is electable, and has nothing");
    world.wires.slow.clear();
    world.until("it is in sync again", World::is_whole);
}

#[test]
fn a_leader_whose_fsync_fails_begins_another_reign() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 1, min_isr: 1 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let leader = world.leader(0).unwrap();
    let at = world.connect(leader % 3 + 1);
    assert_eq!(world.call(at, &["SET", "k", "1"]), Reply::OK);
    let before = world.map(leader).partition(PartitionId(0)).unwrap().epoch;
    let mut failed = false;
    world.disk(leader).fault = Some(Box::new(move |op| {
        let ours = matches!(op, DiskOp::Sync(File::Segment(id, ..)) if id.0 == 0);
        (ours && !std::mem::replace(&mut failed, true)).then_some(DiskError::Io(5))
    }));
    let told = world.call(at, &["SET", "k", "2"]);
    assert!(matches!(&told, Reply::Error(text) if text.starts_with("UNKNOWN ")), "{told:?}");
    assert_eq!(world.call(at, &["SET", "k", "3"]), Reply::OK);
    assert_eq!(world.call(at, &["GET", "k"]), Reply::bulk(b"3"));
    let after = world.map(leader).partition(PartitionId(0)).unwrap().epoch;
    assert!(after > before, "{after} follows {before}");
}

/// One leads alone, a value of its log is damaged, and the other replica has nothing.
fn alone_and_damaged() -> (World, [u32; 2]) {
    let founding = FoundingOptions { partitions: 1, replication_factor: 2, min_isr: 1 };
    let mut world = World::new(Setup { founding, segment_bytes: 2_000, ..Setup::default() });
    let at = world.connect(1);
    for n in 0..60 {
        assert_eq!(world.call(at, &["SET", &key(n), &value(n)]), Reply::OK);
    }
    let leader = world.leader(0).unwrap();
    let is_other = |&id: &u32| id != leader && world.replica(id, 0).is_some();
    let other = (1..=3).find(is_other).unwrap();
    world.kill(other);
    world.disk(other).remove_dir("p0");
    let at = world.connect(leader);
    assert_eq!(world.call(at, &["SET", "last", "one"]), Reply::OK);
    world.kill(leader);
    let (name, from) = place_of(world.disk(leader), value(20).as_bytes());
    world.disk(leader).edit(&name, |bytes| bytes[from + 3] ^= 1);
    world.start(leader);
    world.start(other);
    (world, [leader, other])
}

fn value(n: u32) -> String {
    format!("<{n}>").repeat(30)
}

fn place_of(disk: &MemDisk, bytes: &[u8]) -> (String, usize) {
    let find = |name: String| {
        let at = disk.bytes(&name).windows(bytes.len()).position(|some| some == bytes)?;
        Some((name, at))
    };
    disk.segments().into_iter().find_map(find).expect("it was written")
}

#[test]
fn it_is_said_once_that_nobody_can_follow_a_log_that_can_not_be_read() {
    let (mut world, [leader, other]) = alone_and_damaged();
    world.pass(Duration::from_secs(20));
    assert!(!world.is_whole());
    let notices = &world.nodes[&NodeId(leader)].notices;
    let told: Vec<_> = notices.iter().filter(|n| n.contains("out of sync until")).collect();
    assert!(told.len() == 1 && told[0].contains(&format!("n{other}")), "{notices:#?}");
    // Nothing is lost by that, and what can be read is served.
    let at = world.connect(leader);
    for n in (0..60).filter(|&n| n != 20) {
        assert_eq!(world.call(at, &["GET", &key(n)]), Reply::bulk(value(n).as_bytes()), "{n}");
    }
    assert!(error(world.call(at, &["GET", &key(20)])).starts_with("CORRUPT "));
}
