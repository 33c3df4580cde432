//! What a stop leaves behind, with an fsync that is not waited for.

use std::time::Duration;

use kvnode_core::control::FoundingOptions;
use kvnode_core::reply::Reply;
use kvnode_core::shard::FsyncMode;
use kvnode_core::{NodeId, PartitionId};

use crate::key;
use crate::world::{Setup, World};

const MARK: &str = "UNSYNCED";

fn relaxed() -> World {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let mut world = World::new(Setup { founding, fsync: FsyncMode::Never, ..Setup::default() });
    let at = world.connect(1);
    for n in 0..50 {
        assert_eq!(world.call(at, &["SET", &key(n), "1"]), Reply::OK);
    }
    world
}

fn is_marked(world: &World, id: u32) -> bool {
    world.disk_of(id).names().iter().any(|name| name == MARK)
}

fn stop(world: &mut World, id: u32) {
    world.ask_to_stop(id);
    world.until("it has stopped", |world| world.nodes[&NodeId(id)].stopped);
}

fn start_all(world: &mut World) {
    (1..=3).for_each(|id| world.start(id));
    world.until("they serve", World::is_whole);
}

/// Whether `kvnode status` says that acknowledged writes may be missing.
fn is_doubted(world: &World) -> bool {
    world.map(1).partition(PartitionId(0)).is_some_and(|held| held.doubt.is_some())
}

fn has_all(world: &mut World) -> bool {
    let at = world.connect(2);
    (0..50).all(|n| world.call(at, &["GET", &key(n)]) == Reply::bulk(b"1"))
}

#[test]
fn a_cluster_that_was_stopped_comes_back_without_a_doubt() {
    let mut world = relaxed();
    for _ in 0..2 {
        for id in 1..=3 {
            assert!(is_marked(&world, id));
            stop(&mut world, id);
            assert!(!is_marked(&world, id), "n{id} has made everything durable");
        }
        (1..=3).for_each(|id| world.lose_power(id));
        start_all(&mut world);
        assert!(!is_doubted(&world) && has_all(&mut world));
    }
}

#[test]
fn the_last_one_that_was_not_stopped_is_doubted_whatever_its_mode_is_now() {
    for fsync in [FsyncMode::Never, FsyncMode::Always] {
        let mut world = relaxed();
        stop(&mut world, 1);
        stop(&mut world, 2);
        world.lose_power(3);
        world.setup.fsync = fsync;
        start_all(&mut world);
        assert!(is_doubted(&world), "{fsync:?}");
        // The map knows, and what was acknowledged since is durable by the stop.
        stop(&mut world, 3);
        assert!(!is_marked(&world, 3));
    }
}

#[test]
fn a_process_that_did_not_get_so_far_leaves_the_doubt_to_the_next() {
    let mut world = relaxed();
    (1..=3).for_each(|id| world.lose_power(id));
    // It finds nobody, and stops.
    world.start(3);
    world.pass(Duration::from_secs(2));
    stop(&mut world, 3);
    assert!(is_marked(&world, 3));
    start_all(&mut world);
    assert!(is_doubted(&world));
}

#[test]
fn a_mark_that_can_not_be_taken_away_is_no_harm() {
    use kvnode_core::disk::{DiskError, DiskOp, File};
    let mut world = relaxed();
    world.disk(2).fault = Some(Box::new(|op| {
        matches!(op, DiskOp::Delete(File::Unsynced)).then_some(DiskError::Io(5))
    }));
    for id in 1..=3 {
        stop(&mut world, id);
    }
    assert!(is_marked(&world, 2));
    let notices = &world.nodes[&NodeId(2)].notices;
    assert!(notices.iter().any(|n| n.contains("counts as one after an unclean")), "{notices:#?}");
    world.disk(2).fault = None;
    start_all(&mut world);
    assert!(has_all(&mut world));
}
