//! A command over several partitions of which one fails: what its client is told.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

mod world;

use std::time::Duration;

use kvnode_core::disk::{DiskError, DiskOp};
use kvnode_core::reply::Reply;
use kvnode_core::{ClientId, slot};
use world::{Setup, World, error_code};

/// A world of three partitions with a key in each.
fn three() -> (World, ClientId, [Vec<u8>; 3]) {
    let setup =
        Setup { partitions: Some(3), merge: false, zero_ahead_bytes: 0, ..Setup::default() };
    let mut world = World::fresh(setup);
    let client = world.client();
    let keys = [0, 1, 2].map(|partition| {
        let of = |key: &Vec<u8>| slot::partition(slot::slot(key), 3).0 == partition;
        (0u8..).map(|n| vec![b'k', n]).find(of).unwrap()
    });
    keys.iter().for_each(|key| world.set(client, key, b"v"));
    (world, client, keys)
}

/// Deletes the keys of all three; the writes and fsyncs of these partitions' logs fail so.
fn delete_all(write: &[(u32, DiskError)], sync: &[u32]) -> (World, ClientId, String) {
    let (mut world, client, keys) = three();
    let (write, sync) = (write.to_vec(), sync.to_vec());
    world.disk.fault = Some(Box::new(move |op| match op {
        DiskOp::Write { file, .. } if file.to_string().ends_with(".log") => {
            let hit = |p: &u32| file.to_string().starts_with(&format!("p{p}/"));
            write.iter().find(|(p, _)| hit(p)).map(|&(_, error)| error)
        }
        DiskOp::Sync(file) if file.to_string().ends_with(".log") => {
            let hit = sync.iter().any(|p| file.to_string().starts_with(&format!("p{p}/")));
            hit.then_some(DiskError::Io(5))
        }
        _ => None,
    }));
    let reply = world.call(client, &[b"DEL", &keys[0], &keys[1], &keys[2]]);
    let Reply::Error(text) = reply else { panic!("a part failed, and it is told {reply:?}") };
    world.disk.fault = None;
    world.pass(Duration::from_secs(3));
    (world, client, text.into_owned())
}

#[test]
fn what_one_partition_refused_and_others_applied_is_said_to_be_applied_in_part() {
    for full in 0..3 {
        let (mut world, client, text) = delete_all(&[(full, DiskError::Full)], &[]);
        assert!(text.starts_with("PARTIAL "), "{text}");
        assert!(text.contains(&format!("partition p{full} is full")), "{text}");
        assert!(text.contains("the rest was applied"), "{text}");
        assert_eq!(world.call(client, &[b"DBSIZE"]), Reply::Int(1));
    }
}

#[test]
fn an_unknown_outcome_in_one_partition_is_said_whatever_the_others_say() {
    for unknown in 0..3 {
        let (_, _, text) = delete_all(&[], &[unknown]);
        assert!(text.starts_with("UNKNOWN "), "{text}");
        for full in (0..3).filter(|&full| full != unknown) {
            let (_, _, text) = delete_all(&[(full, DiskError::Full)], &[unknown]);
            assert!(text.starts_with("UNKNOWN "), "{text}");
            assert!(text.contains("in part"), "{text}");
        }
    }
}

#[test]
fn what_every_partition_refused_is_said_not_to_be_applied() {
    let (mut world, client, text) = delete_all(&[0, 1, 2].map(|p| (p, DiskError::Full)), &[]);
    assert!(text.starts_with("DISKFULL ") && text.contains("was not applied"), "{text}");
    assert_eq!(world.call(client, &[b"DBSIZE"]), Reply::Int(3));
}

#[test]
fn a_read_of_which_one_part_was_dropped_is_not_said_to_be_applied() {
    let (mut world, client, keys) = three();
    let writer = world.client();
    world.disk.fault = Some(Box::new(|op| match op {
        DiskOp::Write { file, .. } if file.to_string().starts_with("p1/0") => Some(DiskError::Full),
        _ => None,
    }));
    for key in &keys {
        world.send(writer, &[b"SET", key, b"new"]);
    }
    let reply = world.call(client, &[b"MGET", &keys[0], &keys[1], &keys[2]]);
    assert_eq!(error_code(&reply), Some("DISKFULL"), "{reply:?}");
}

#[test]
fn a_write_that_was_dropped_after_one_it_had_read_became_unknown_was_not_applied() {
    let (mut world, client, keys) = three();
    let writer = world.client();
    world.hold = true;
    world.settle();
    world.held.clear();
    world.send(writer, &[b"SET", &keys[0], b"new"]);
    world.settle();
    // It replaces a value whose write is in flight, and gathers for the next one.
    world.send(client, &[b"GETDEL", &keys[0]]);
    world.settle();
    while !matches!(world.held.front(), Some((_, DiskOp::Sync(_)))) {
        world.release_one().expect("an fsync is to come");
    }
    world.answer_one(Err(DiskError::Io(5)));
    let told = [writer, client].map(|client| world.reply(client).unwrap());
    assert_eq!(error_code(&told[0]), Some("UNKNOWN"));
    assert_eq!(error_code(&told[1]), Some("DOWN"), "{told:?}");
}
