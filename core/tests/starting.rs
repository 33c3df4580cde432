//! The first moments of a directory and of a life, and a stop in the middle of them.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

mod world;

use kvnode_core::disk::{Dir, DiskDone, DiskError, DiskOp, File};
use kvnode_core::shard::{Input, Output};
use world::disk::Unsynced;
use world::{MemDisk, Setup, World};

/// The operations under way, as one of a directory and one of anything may be reordered.
fn held(world: &World) -> Vec<&DiskOp> {
    world.held.iter().map(|(_, op)| op).collect()
}

#[test]
fn a_name_is_there_before_its_directory_is_made_durable() {
    let mut world = World::cold(MemDisk::default(), Setup::default());
    world.hold = true;
    world.settle();
    let mut made = 0;
    while !world.held.is_empty() {
        let ops = held(&world);
        for op in &ops {
            let parent = match op {
                DiskOp::CreateDir(_) => Dir::Root,
                DiskOp::Rename { to, .. } => to.dir(),
                _ => continue,
            };
            made += 1;
            let early = ops.iter().any(|op| **op == DiskOp::SyncDir(parent));
            assert!(!early, "beside {op:?} its directory is already being made durable");
        }
        world.release_one();
    }
    assert!(world.opened && made > 0);
}

#[test]
fn a_disk_that_fails_the_first_start_is_told_once_and_breaks_nothing() {
    for failing in 1..8 {
        let mut disk = MemDisk::default();
        let mut left = failing;
        disk.fault = Some(Box::new(move |_| {
            left -= 1;
            (left == 0).then_some(DiskError::Full)
        }));
        let mut world = World::cold(disk, Setup::default());
        world.settle();
        assert!(world.refused.is_some() || !world.opened || failing > 6, "at {failing}");
    }
}

#[test]
fn a_stop_while_opening_ends_at_any_point_whatever_is_still_answered() {
    for partitions in [1, 3] {
        let setup = Setup { partitions: Some(partitions), ..Setup::default() };
        for answered in 0.. {
            let mut world = World::cold(MemDisk::default(), setup);
            world.hold = true;
            world.settle();
            for _ in 0..answered {
                world.release_one();
            }
            let opened = world.opened;
            world.shard.handle(world.now, Input::Stop);
            world.settle();
            world.release_all();
            assert!(world.stopped, "after {answered} answers");
            let disk = world.disk.crash(Unsynced::Lost);
            World::open(disk, setup);
            if opened {
                break;
            }
        }
    }
}

#[test]
fn a_stop_of_a_replica_that_is_down_says_so_before_it_has_stopped() {
    let mut world = World::fresh(Setup::default());
    let client = world.client();
    world.hold = true;
    world.send(client, &[b"SET", b"k", b"v"]);
    world.settle();
    let write = world.answer_one(Err(DiskError::Io(5)));
    assert!(matches!(write, Some(DiskOp::Write { file: File::Segment(..), .. })), "{write:?}");
    world.shard.handle(world.now, Input::Stop);
    let mut told = Vec::new();
    while let Some(output) = world.shard.poll() {
        match output {
            Output::Refused(_) => told.push("refused"),
            Output::Stopped => told.push("stopped"),
            Output::Disk(io, _) => {
                world.shard.handle(world.now, Input::Disk(io, Ok(DiskDone::Done)));
            }
            _ => {}
        }
    }
    assert_eq!(told, ["refused", "stopped"]);
}

#[test]
fn a_crash_at_any_point_of_a_stop_is_no_damage() {
    let setup = Setup { segment_bytes: 600, ..Setup::default() };
    for answered in 0.. {
        let mut world = World::fresh(setup);
        let client = world.client();
        world.hold = true;
        for key in [b"a", b"b", b"c"] {
            // Each needs a roll, which the stop finds under way or to come.
            world.send(client, &[b"SET", key, &[1; 400]]);
            world.settle();
        }
        world.shard.handle(world.now, Input::Stop);
        world.settle();
        for _ in 0..answered {
            world.release_one();
        }
        let stopped = world.stopped;
        for unsynced in [Unsynced::Lost, Unsynced::Kept] {
            let mut world = World::open(world.disk.clone().crash(unsynced), setup);
            let normal = |notice: &String| {
                notice.contains("serving") || notice.contains(".hint is not whole, as a crash")
            };
            let told = world.notices.iter().find(|notice| !normal(notice));
            assert!(told.is_none(), "after {answered}: {told:?}");
            let client = world.client();
            world.get(client, b"c");
        }
        if stopped {
            break;
        }
    }
}

#[test]
fn power_that_fails_after_a_killed_first_start_leaves_a_directory_of_ours() {
    for turn in 0..12 * 12 * 8 {
        let (first, second, seed) = (turn % 12, turn / 12 % 12, turn / 144);
        let mut disk = MemDisk::default();
        for (answered, how) in [(first, Unsynced::Killed), (second, Unsynced::Mixed(seed))] {
            let mut world = World::cold(disk, Setup::default());
            world.hold = true;
            world.settle();
            for _ in 0..answered {
                world.release_one();
            }
            disk = world.disk.crash(how);
        }
        World::open(disk, Setup::default());
    }
}
