//! What a stop waits for.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

mod world;

use std::time::Duration;

use kvnode_core::Value;
use kvnode_core::disk::{DiskError, DiskOp};
use kvnode_core::reply::Reply;
use kvnode_core::shard::{FsyncMode, Input};
use world::disk::Unsynced;
use world::{Setup, World, error_code};

/// A world whose disk is held, with a key on it.
fn held() -> (World, kvnode_core::ClientId) {
    let mut world = World::fresh(Setup { merge: false, ..Setup::default() });
    let client = world.client();
    world.set(client, b"k", b"v");
    world.settle();
    world.hold = true;
    (world, client)
}

fn stop(world: &mut World) {
    world.shard.handle(world.now, Input::Stop);
    world.settle();
}

#[test]
fn a_command_that_waits_for_a_read_is_answered_before_a_stop() {
    let (mut world, reader) = held();
    let writer = world.client();
    world.send(reader, &[b"GET", b"k"]);
    world.send(writer, &[b"APPEND", b"k", b"w"]);
    world.settle();
    stop(&mut world);
    assert!(!world.shard.accepts(reader), "nothing more is taken");
    assert!(world.held.iter().all(|(_, op)| matches!(op, DiskOp::Read { .. })), "{:?}", world.held);
    world.release_all();
    assert_eq!(world.reply(reader), Some(Reply::Bulk(Value::copy_from(b"v"))));
    assert_eq!(world.reply(writer), Some(Reply::Int(2)));
    assert!(world.stopped, "{:?}", world.notices);
    let mut world = World::open(world.disk.crash(Unsynced::Lost), Setup::default());
    let client = world.client();
    assert_eq!(world.get(client, b"k"), Some(b"vw".to_vec()), "it was acknowledged");
}

#[test]
fn a_command_that_waits_for_a_commit_is_answered_before_a_stop() {
    let (mut world, client) = held();
    world.hold = false;
    assert_eq!(world.call(client, &[b"SET", b"t", b"v", b"PX", b"50"]), Reply::OK);
    world.now.mono = world.now.mono.after(Duration::from_millis(60));
    world.now.wall_us += 60_000;
    world.hold = true;
    // Its expiry must be committed first.
    world.send(client, &[b"EXISTS", b"t"]);
    world.settle();
    stop(&mut world);
    world.release_all();
    assert_eq!(world.reply(client), Some(Reply::Int(0)));
    assert!(world.stopped, "{:?}", world.notices);
}

#[test]
fn a_stop_waits_for_a_read_that_does_not_come_but_so_long() {
    let (mut world, client) = held();
    world.send(client, &[b"GET", b"k"]);
    world.settle();
    let read = world.held.pop_front().expect("a read");
    world.hold = false;
    stop(&mut world);
    assert!(!world.stopped && world.reply(client).is_none());
    world.pass(Duration::from_secs(30));
    let told = world.reply(client).expect("it is told");
    assert_eq!(error_code(&told), Some("LOADING"), "{told:?}");
    assert!(world.stopped, "{:?}", world.notices);
    world.shard.handle(world.now, Input::Disk(read.0, Err(DiskError::Io(5))));
    world.settle();
    assert_eq!(world.reply(client), None, "it is told once");
}

/// What was acknowledged before a kill is in the system's memory alone when fsyncs are relaxed. A stop
/// while the next life opens says that everything is durable.
#[test]
fn a_stop_while_opening_keeps_what_an_earlier_life_acknowledged() {
    for fsync in [FsyncMode::EveryMs(1000), FsyncMode::Never, FsyncMode::Always] {
        for answers in 0..12 {
            let setup = Setup { fsync, merge: false, ..Setup::default() };
            let mut world = World::fresh(setup);
            let client = world.client();
            world.set(client, b"k", b"v");
            let mut world = World::cold(world.disk, setup);
            world.hold = true;
            world.settle();
            (0..answers).for_each(|_| {
                world.release_one();
            });
            stop(&mut world);
            world.release_all();
            assert!(world.stopped, "{fsync:?}, {answers}: {:?}", world.notices);
            let mut world = World::open(world.disk.crash(Unsynced::Lost), setup);
            let client = world.client();
            assert_eq!(world.get(client, b"k"), Some(b"v".to_vec()), "{fsync:?}, {answers}");
        }
    }
}

#[test]
fn a_stop_after_a_full_disk_waits_for_no_roll() {
    let setup =
        Setup { segment_bytes: 1000, zero_ahead_bytes: 0, merge: false, ..Setup::default() };
    let mut world = World::fresh(setup);
    let client = world.client();
    // Long enough to be sealed by a stop.
    (0..4u8).for_each(|n| world.set(client, &[n], &[n; 60]));
    world.disk.fault = Some(Box::new(|op| match op {
        DiskOp::Write { file, .. } if file.to_string().ends_with(".log") => Some(DiskError::Full),
        _ => None,
    }));
    let refused = world.call(client, &[b"SET", b"k", b"v"]);
    assert_eq!(error_code(&refused), Some("DISKFULL"), "{refused:?}");
    let mut disk = world.stop();
    assert_eq!(disk.segments().len(), 1);
    disk.fault = None;
    let mut world = World::open(disk, setup);
    let client = world.client();
    assert_eq!(world.call(client, &[b"DBSIZE"]), Reply::Int(4));
}
