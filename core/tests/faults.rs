//! The fault table, row by row: what a single node does when its disk fails it.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

mod world;

use std::time::Duration;

use kvnode_core::disk::{DiskError, DiskOp};
use kvnode_core::reply::Reply;
use world::disk::Unsynced;
use world::{Setup, World, error_code};

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers_with_space() {
    let mut world = World::fresh(Setup::default());
    let c = world.client();
    world.set(c, b"k", b"v");
    world.disk.capacity = Some(world.disk.used() + 300);
    let mut refused = 0;
    for n in 0..20 {
        let reply = world.call(c, &[b"SET", b"big", &[n; 400]]);
        if error_code(&reply) == Some("DISKFULL") {
            refused += 1;
        }
        assert_eq!(world.get(c, b"k"), Some(b"v".to_vec()), "reads go on");
        world.pass(Duration::from_millis(300));
    }
    assert!(refused > 10, "{refused}");
    world.disk.capacity = None;
    world.pass(Duration::from_secs(2));
    world.set(c, b"big", b"fits");
    // What was refused is not there after a crash either.
    let mut world = World::open(world.disk.crash(Unsynced::Kept), Setup::default());
    let c = world.client();
    assert_eq!(world.get(c, b"big"), Some(b"fits".to_vec()));
    assert_eq!(world.get(c, b"k"), Some(b"v".to_vec()));
}

#[test]
fn a_refused_write_never_shows_whatever_is_left_of_it() {
    let setup = Setup { zero_ahead_bytes: 0, segment_bytes: 1 << 20, ..Setup::default() };
    for room in 0..300 {
        let mut world = World::fresh(setup);
        let c = world.client();
        world.set(c, b"k", b"old");
        world.disk.capacity = Some(world.disk.used() + room);
        // Three commands in one write: some of them may have been written whole.
        for key in [b"a", b"b", b"k"] {
            world.send(c, &[b"SET", key, &[b'n'; 50]]);
        }
        world.settle();
        let replies: Vec<_> = (0..3).filter_map(|_| world.reply(c)).collect();
        assert_eq!(replies.len(), 3);
        let refused = replies.iter().filter(|r| error_code(r) == Some("DISKFULL")).count();
        assert!(refused == 0 || refused == 3, "{replies:?}");
        world.disk.capacity = None;
        let mut world = World::open(world.disk.crash(Unsynced::Kept), setup);
        let c = world.client();
        let expected = if refused == 3 { b"old".to_vec() } else { vec![b'n'; 50] };
        assert_eq!(world.get(c, b"k"), Some(expected), "room {room}");
        assert_eq!(world.get(c, b"a").is_none(), refused == 3, "room {room}");
    }
}

#[test]
fn a_full_disk_at_a_roll_refuses_and_recovers() {
    let setup = Setup { segment_bytes: 1000, zero_ahead_bytes: 0, ..Setup::default() };
    for step in 0..12 {
        let mut world = World::fresh(setup);
        let c = world.client();
        let mut count = 0;
        world.disk.fault = Some(Box::new(move |op| {
            let of_roll = match op {
                DiskOp::Create(_) => true,
                DiskOp::Write { file, at, .. } => *at == 0 && !file.to_string().ends_with("MARK"),
                DiskOp::Rename { .. } | DiskOp::SyncDir(_) => true,
                _ => false,
            };
            count += i32::from(of_roll);
            (of_roll && count == step).then_some(DiskError::Full)
        }));
        let mut written = 0u8;
        for n in 0..40u8 {
            match world.call(c, &[b"SET", &[n], &[n; 60]]) {
                Reply::Simple("OK") => written += 1,
                reply => assert_eq!(error_code(&reply), Some("DISKFULL")),
            }
            world.pass(Duration::from_millis(700));
        }
        assert!(written >= 36, "step {step}: {written}");
        let mut world = World::open(world.disk.crash(Unsynced::Lost), setup);
        let c = world.client();
        assert_eq!(world.call(c, &[b"DBSIZE"]), Reply::Int(written.into()), "step {step}");
    }
}

#[test]
fn a_failed_write_ends_the_segment_and_nothing_is_appended_behind_a_hole() {
    let mut world = World::fresh(Setup::default());
    let c = world.client();
    world.set(c, b"k", b"v");
    let first = world.disk.segments();
    let mut armed = true;
    world.disk.fault = Some(Box::new(move |op| {
        let log = matches!(op, DiskOp::Write { file, .. } if file.to_string().ends_with("log"));
        (log && core::mem::take(&mut armed)).then_some(DiskError::Io(5))
    }));
    let reply = world.call(c, &[b"SET", b"k", b"w"]);
    assert_eq!(error_code(&reply), Some("UNKNOWN"));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.get(c, b"k"), Some(b"v".to_vec()));
    world.set(c, b"k", b"x");
    assert!(world.disk.segments().len() > first.len(), "it goes on in a new segment");
    let mut world = World::open(world.disk.crash(Unsynced::Lost), Setup::default());
    let c = world.client();
    assert_eq!(world.get(c, b"k"), Some(b"x".to_vec()));
}

#[test]
fn an_unreadable_value_is_an_error_for_its_key_and_no_other() {
    let mut world = World::fresh(Setup::default());
    let c = world.client();
    world.set(c, b"bad", b"v");
    world.set(c, b"good", b"v");
    world.disk.fault =
        Some(Box::new(|op| matches!(op, DiskOp::Read { .. }).then_some(DiskError::Io(5))));
    let reply = world.call(c, &[b"GET", b"bad"]);
    assert_eq!(error_code(&reply), Some("CORRUPT"), "{reply:?}");
    assert_eq!(world.call(c, &[b"EXISTS", b"bad"]), Reply::Int(1));
    world.disk.fault = None;
    assert_eq!(world.get(c, b"good"), Some(b"v".to_vec()));
    assert_eq!(world.get(c, b"bad"), Some(b"v".to_vec()), "a passing error passes");
}

#[test]
fn damage_found_by_a_read_is_never_another_value_and_a_write_heals_it() {
    let mut world = World::fresh(Setup { zero_ahead_bytes: 0, ..Setup::default() });
    let c = world.client();
    world.set(c, b"k", b"precious");
    let name = world.disk.segments()[0].clone();
    world.disk.edit(&name, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let reply = world.call(c, &[b"GET", b"k"]);
    assert_eq!(error_code(&reply), Some("CORRUPT"), "{reply:?}");
    let reply = world.call(c, &[b"APPEND", b"k", b"x"]);
    assert_eq!(error_code(&reply), Some("CORRUPT"), "{reply:?}");
    world.set(c, b"k", b"anew");
    assert_eq!(world.get(c, b"k"), Some(b"anew".to_vec()));
}

#[test]
fn damage_in_a_segment_stops_its_compaction_not_the_node() {
    let setup = Setup { segment_bytes: 1000, zero_ahead_bytes: 0, ..Setup::default() };
    let mut world = World::fresh(Setup { merge: false, ..setup });
    let c = world.client();
    for n in 0..40u8 {
        world.set(c, &[b'k', n % 8], &[n; 60]);
    }
    let mut disk = world.stop();
    let name = disk.segments()[1].clone();
    disk.edit(&name, |bytes| bytes[200] ^= 1);
    let mut world = World::open(disk, setup);
    world.compact();
    let c = world.client();
    for n in 0..8u8 {
        assert_eq!(world.get(c, &[b'k', n]), Some(vec![32 + n; 60]));
    }
    assert!(world.disk.names().contains(&name), "the damaged segment is kept as it is");
}

#[test]
fn an_error_while_opening_is_tried_again_and_loses_nothing() {
    let mut world = World::fresh(Setup::default());
    let c = world.client();
    world.set(c, b"k", b"v");
    let disk = world.disk.crash(Unsynced::Lost);
    for failing in 0..12 {
        let mut world = World::cold(disk.clone(), Setup::default());
        let mut count = 0;
        world.disk.fault = Some(Box::new(move |op| {
            // What is read at the root is the driver's to refuse.
            let root = matches!(op, DiskOp::List(kvnode_core::disk::Dir::Root))
                || matches!(op, DiskOp::Read { file: kvnode_core::disk::File::Meta, .. });
            count += i32::from(!root);
            (!root && count == failing + 1).then_some(DiskError::Io(5))
        }));
        world.settle();
        world.pass(Duration::from_secs(3));
        assert!(world.opened, "operation {failing}: {:?}", world.notices);
        let c = world.client();
        assert_eq!(world.get(c, b"k"), Some(b"v".to_vec()), "operation {failing}");
    }
}

#[test]
fn a_manifest_that_can_not_be_written_stops_the_replica_and_it_comes_back() {
    let setup = Setup { segment_bytes: 1000, zero_ahead_bytes: 0, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    let mut armed = true;
    world.disk.fault = Some(Box::new(move |op| {
        let rename = matches!(op, DiskOp::Rename { .. });
        (rename && core::mem::take(&mut armed)).then_some(DiskError::Io(5))
    }));
    let mut refused = 0;
    for n in 0..40u8 {
        match world.call(c, &[b"SET", &[n], &[n; 60]]) {
            Reply::Simple("OK") => {}
            reply => {
                assert!(matches!(error_code(&reply), Some("DOWN" | "UNKNOWN")), "{reply:?}");
                refused += 1;
                world.pass(Duration::from_secs(2));
            }
        }
    }
    assert!(refused > 0);
    let mut world = World::open(world.disk.crash(Unsynced::Lost), setup);
    let c = world.client();
    let Reply::Int(keys) = world.call(c, &[b"DBSIZE"]) else { panic!() };
    assert!(keys >= 40 - refused);
}
