//! Keys that damage may have held, and what is written after it is known.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use kvnode_core::disk::{DiskError, DiskOp, File};
use kvnode_core::limits::GONE_BYTES_MAX;
use kvnode_core::reply::Reply;
use kvnode_core::storage::format::Manifest;
use kvnode_core::{ClientId, PartitionId};
use world::disk::Unsynced;
use world::{MemDisk, Setup, World, error_code};

fn setup(merge: bool) -> Setup {
    Setup { segment_bytes: 1000, zero_ahead_bytes: 0, merge, ..Setup::default() }
}

/// A world with a damaged record in the first of its segments: whatever is not written since may
/// have been there.
fn damaged(merge: bool) -> (World, ClientId) {
    let mut world = World::fresh(setup(false));
    let client = world.client();
    for n in 0..40u8 {
        world.set(client, &[b'k', n], &[n; 60]);
    }
    reopen_damaged(world, 0, merge)
}

/// Damages a record of the segment at `at`.
fn reopen_damaged(world: World, at: usize, merge: bool) -> (World, ClientId) {
    let mut disk = world.disk.crash(Unsynced::Lost);
    let name = disk.segments()[at].clone();
    // One of them hits the head of a record, with and without an epoch record before.
    disk.edit(&name, |bytes| [150, 200].iter().for_each(|&at| bytes[at] ^= 1));
    // With its hint the segment's keys would be known, and no others doubtful.
    disk.remove(&name.replace(".log", ".hint"));
    let mut world = World::open(disk, setup(merge));
    let client = world.client();
    assert!(suspect(&mut world, client, b"absent"));
    (world, client)
}

fn reopen(world: World, merge: bool) -> (World, ClientId) {
    let mut world = World::open(world.disk.crash(Unsynced::Lost), setup(merge));
    let client = world.client();
    (world, client)
}

fn suspect(world: &mut World, client: ClientId, key: &[u8]) -> bool {
    match world.call(client, &[b"GET", key]) {
        Reply::Null => false,
        reply => {
            assert_eq!(error_code(&reply), Some("CORRUPT"), "{reply:?}");
            true
        }
    }
}

#[test]
fn a_suspect_key_that_is_deleted_is_gone_for_good() {
    let (mut world, mut client) = damaged(false);
    assert_eq!(world.call(client, &[b"DEL", b"x", b"k\x00"]), Reply::Int(2), "they may be there");
    for round in 0..3 {
        for key in [b"x".as_slice(), b"k\x00"] {
            assert!(!suspect(&mut world, client, key), "round {round}");
            assert_eq!(world.call(client, &[b"EXISTS", key]), Reply::Int(0));
        }
        assert_eq!(world.call(client, &[b"DEL", b"x"]), Reply::Int(0));
        assert!(suspect(&mut world, client, b"absent"), "it is a matter of each key");
        (world, client) = reopen(world, false);
    }
}

#[test]
fn a_suspect_key_can_be_deleted_within_a_transaction() {
    let (mut world, client) = damaged(false);
    assert_eq!(world.call(client, &[b"MULTI"]), Reply::OK);
    world.call(client, &[b"DEL", b"x"]);
    world.call(client, &[b"GET", b"x"]);
    let done = world.call(client, &[b"EXEC"]);
    assert_eq!(done, Reply::Array(vec![Reply::Int(1), Reply::Null]));
    assert!(!suspect(&mut world, client, b"x"));
}

#[test]
fn a_key_that_was_written_after_the_damage_and_went_again_is_not_suspect() {
    let (mut world, mut client) = damaged(false);
    world.set(client, b"deleted", b"v");
    assert_eq!(world.get(client, b"deleted"), Some(b"v".to_vec()));
    assert_eq!(world.call(client, &[b"DEL", b"deleted"]), Reply::Int(1));
    assert_eq!(world.call(client, &[b"SET", b"expired", b"v", b"PX", b"50"]), Reply::OK);
    world.pass(Duration::from_secs(1));
    for _ in 0..3 {
        assert!(!suspect(&mut world, client, b"deleted"));
        assert!(!suspect(&mut world, client, b"expired"));
        (world, client) = reopen(world, false);
        world.pass(Duration::from_secs(1));
    }
}

#[test]
fn a_flush_ends_the_damage_even_where_no_key_is_left() {
    for flush_twice in [false, true] {
        let (mut world, mut client) = damaged(false);
        if flush_twice {
            let Reply::Array(keys) = world.call(client, &[b"KEYS", b"*"]) else { panic!() };
            for key in keys {
                let Reply::Bulk(key) = key else { panic!() };
                world.call(client, &[b"DEL", &key]);
            }
            assert_eq!(world.call(client, &[b"DBSIZE"]), Reply::Int(0));
        }
        assert!(suspect(&mut world, client, b"absent"));
        assert_eq!(world.call(client, &[b"FLUSHALL"]), Reply::OK);
        assert!(!suspect(&mut world, client, b"absent"));
        (world, client) = reopen(world, true);
        assert!(!suspect(&mut world, client, b"absent"));
    }
}

#[test]
fn compaction_keeps_what_tells_that_a_suspect_key_is_gone() {
    for flush in [false, true] {
        let (mut world, client) = damaged(true);
        world.call(client, &[b"DEL", b"x"]);
        if flush {
            world.call(client, &[b"FLUSHALL"]);
        }
        for n in 0..200u8 {
            world.set(client, b"k\x01", &[n; 60]);
        }
        world.compact();
        let (mut world, _) = reopen(world, true);
        world.compact();
        let (mut world, client) = reopen(world, true);
        assert!(!suspect(&mut world, client, b"x"));
        assert_eq!(suspect(&mut world, client, b"absent"), !flush);
    }
}

#[test]
fn compaction_keeps_it_also_where_the_damage_is_a_segment_cut_short() {
    let mut world = World::fresh(setup(false));
    let client = world.client();
    (0..5u8).for_each(|n| world.set(client, &[b'k', n], &[n; 60]));
    let mut disk = world.disk.crash(Unsynced::Kept);
    let name = disk.segments()[0].clone();
    // Between two records: no byte that is left is dead.
    let two_records = 32 + 40 + 2 * (40 + 2 + 60);
    disk.edit(&name, |bytes| bytes.truncate(two_records));
    let mut world = World::open(disk, setup(true));
    let client = world.client();
    assert_eq!(world.call(client, &[b"DEL", b"x"]), Reply::Int(1));
    for n in 0..100u8 {
        world.set(client, b"l", &[n; 60]);
    }
    world.compact();
    let (mut world, client) = reopen(world, true);
    assert!(!suspect(&mut world, client, b"x"));
    assert!(suspect(&mut world, client, b"absent"));
}

#[test]
fn a_suspect_key_that_expires_stays_suspect() {
    let mut world = World::fresh(setup(false));
    let client = world.client();
    assert_eq!(world.call(client, &[b"SET", b"t", b"v", b"PX", b"500"]), Reply::OK);
    for n in 0..40u8 {
        world.set(client, &[b'k', n], &[n; 60]);
    }
    let (mut world, client) = reopen_damaged(world, 0, false);
    assert!(suspect(&mut world, client, b"t"));
    world.set(client, b"sound", b"v");
    world.pass(Duration::from_secs(2));
    assert!(suspect(&mut world, client, b"t"), "it may have been made to stay");
}

#[test]
fn what_was_deleted_before_later_damage_is_suspect_again() {
    let (mut world, client) = damaged(false);
    world.call(client, &[b"DEL", b"x"]);
    for n in 0..40u8 {
        world.set(client, &[b'l', n], &[n; 60]);
    }
    let last = world.disk.segments().len() - 2;
    let (mut world, client) = reopen_damaged(world, last, false);
    assert!(suspect(&mut world, client, b"x"), "it may have been written since");
    world.call(client, &[b"DEL", b"x"]);
    assert!(!suspect(&mut world, client, b"x"));
}

#[test]
fn more_deleted_suspect_keys_than_fit_are_suspect_again_and_never_wrong() {
    let (mut world, client) = damaged(false);
    let key = |n: usize| format!("{n:060000}").into_bytes();
    let count = GONE_BYTES_MAX / 60_000 + 10;
    for n in 0..count {
        assert_eq!(world.call(client, &[b"DEL", &key(n)]), Reply::Int(1));
    }
    let gone = (0..count).filter(|&n| !suspect(&mut world, client, &key(n))).count();
    assert!(gone > count / 2 && gone < count, "{gone} of {count}");
    assert_eq!(world.notices.iter().filter(|n| n.contains("remembered")).count(), 1);
    let last = key(count - 1);
    assert!(suspect(&mut world, client, &last));
    world.set(client, &last, b"v");
    assert_eq!(world.get(client, &last), Some(b"v".to_vec()));
}

#[test]
fn what_a_failed_fsync_leaves_behind_damage_is_not_trusted() {
    let setup = Setup { segment_bytes: 1 << 20, ..setup(false) };
    let mut world = World::fresh(setup);
    let mut client = world.client();
    world.set(client, b"a", b"1");
    let name = world.disk.segments()[0].clone();
    let damaged = world.disk.bytes(&name).len();
    world.set(client, b"b", b"2");
    let durable = world.disk.bytes(&name).len();
    world.disk.edit(&name, |bytes| bytes[damaged + 9] ^= 1);
    let mut armed = true;
    world.disk.fault = Some(Box::new(move |op| {
        let log = matches!(op, DiskOp::Sync(file) if file.to_string().ends_with(".log"));
        (log && core::mem::take(&mut armed)).then_some(DiskError::Io(5))
    }));
    let reply = world.call(client, &[b"SET", b"c", b"3"]);
    assert_eq!(error_code(&reply), Some("UNKNOWN"), "{reply:?}");
    assert!(world.disk.bytes(&name).len() > durable);
    world.pass(Duration::from_secs(3));
    assert_eq!(world.disk.bytes(&name).len(), durable, "it is cut");
    for _ in 0..2 {
        for key in [b"a", b"b", b"c"] {
            assert!(suspect(&mut world, client, key), "{key:?}");
        }
        world.set(client, b"d", b"4");
        assert_eq!(world.get(client, b"d"), Some(b"4".to_vec()));
        world = World::open(world.disk.crash(Unsynced::Lost), setup);
        client = world.client();
    }
}

#[test]
fn a_flush_ends_the_damage_before_it_in_the_same_segment() {
    let setup =
        Setup { segment_bytes: 4000, zero_ahead_bytes: 0, merge: false, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    for n in 0..10u8 {
        world.set(c, &[n], &[n; 60]);
    }
    assert_eq!(world.call(c, &[b"FLUSHALL"]), Reply::OK);
    for n in 0..60u8 {
        world.set(c, &[n], &[n; 60]);
    }
    let mut disk = world.disk.crash(Unsynced::Lost);
    let first = disk.segments()[0].clone();
    disk.edit(&first, |bytes| bytes[300] ^= 1);
    disk.remove(&first.replace(".log", ".hint"));
    let mut world = World::open(disk, setup);
    let c = world.client();
    for n in 0..60u8 {
        assert_eq!(world.get(c, &[n]), Some(vec![n; 60]), "{:?}", world.notices);
    }
    assert_eq!(world.get(c, b"absent"), None);
}

#[test]
fn a_segment_that_can_be_read_again_is_sound_again() {
    let setup =
        Setup { segment_bytes: 1000, zero_ahead_bytes: 0, merge: false, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    for n in 0..5u8 {
        world.set(c, &[n], &[n; 60]);
    }
    world.disk.fault = Some(Box::new(|op| {
        matches!(op, DiskOp::Read { file: File::Segment(..), .. }).then_some(DiskError::Io(5))
    }));
    assert_eq!(error_code(&world.call(c, &[b"GET", &[0]])), Some("CORRUPT"));
    world.disk.fault = None;
    for n in 0..60u8 {
        world.set(c, &[n], &[n; 60]);
    }
    let damaged = |disk: &MemDisk| {
        let manifest = Manifest::decode(disk.bytes("p0/MANIFEST"), PartitionId(0)).unwrap();
        manifest.segments.iter().filter(|s| s.sealed.is_some_and(|s| s.damaged)).count()
    };
    assert_eq!(damaged(&world.disk), 1);
    let mut world = World::open(world.disk.crash(Unsynced::Lost), setup);
    world.compact();
    assert_eq!(damaged(&world.disk), 0, "{:?}", world.notices);
    let c = world.client();
    assert!(!suspect(&mut world, c, b"absent"));
}

#[test]
fn a_long_value_with_a_flipped_bit_is_an_error_for_its_key_and_no_other() {
    let setup =
        Setup { segment_bytes: 20_000, zero_ahead_bytes: 0, merge: false, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    let long = vec![7; 5 * setup.window_bytes as usize];
    world.set(c, b"before", b"v");
    world.set(c, b"long", &long);
    world.set(c, b"behind", b"v");
    for n in 0..3u8 {
        world.set(c, &[n], &long);
    }
    let mut disk = world.disk.crash(Unsynced::Lost);
    let first = disk.segments()[0].clone();
    assert!(disk.segments().len() > 1, "it is sealed");
    disk.edit(&first, |bytes| bytes[3000] ^= 1);
    disk.remove(&first.replace(".log", ".hint"));
    let mut world = World::open(disk, setup);
    let c = world.client();
    assert_eq!(error_code(&world.call(c, &[b"GET", b"long"])), Some("CORRUPT"));
    for key in [b"before", b"behind"] {
        assert_eq!(world.get(c, key), Some(b"v".to_vec()), "{:?}", world.notices);
    }
    assert!(!suspect(&mut world, c, b"absent"));
}

/// The disk gives a piece of what a compacted segment was made of in its place: every record of that is
/// sound, and some are older than what is there.
#[test]
fn a_piece_of_an_older_segment_is_not_believed() {
    let quiet =
        Setup { segment_bytes: 12_000, zero_ahead_bytes: 0, merge: false, ..Setup::default() };
    let mut world = World::fresh(quiet);
    let c = world.client();
    // Every third value stays, the others are superseded again and again.
    let key = |n: u8| if n.is_multiple_of(3) { [b'a', n] } else { [b'b', n % 13] };
    let newest: BTreeMap<[u8; 2], u8> = (0..60).map(|n| (key(n), n)).collect();
    for n in 0..60 {
        world.set(c, &key(n), &[n; 300]);
    }
    let old = world.disk.segments()[0].clone();
    let old = world.disk.bytes(&old).to_vec();
    let merging = Setup { merge: true, ..quiet };
    let mut world = World::open(world.stop(), merging);
    world.compact();
    let disk = world.stop();
    let name = disk.segments()[0].clone();
    let len = disk.bytes(&name).len();
    let window = quiet.window_bytes as usize;
    assert!(disk.bytes(&name) != old && len > 2 * window, "{len} bytes were merged");
    let mut errors = 0;
    for at in (0..len).step_by(window) {
        let to = len.min(at + window).min(old.len());
        let mut disk = disk.clone();
        disk.edit(&name, |bytes| bytes[at..to].copy_from_slice(&old[at..to]));
        disk.remove(&name.replace(".log", ".hint"));
        let mut world = World::open(disk, quiet);
        let c = world.client();
        for (key, &n) in &newest {
            match world.call(c, &[b"GET", key]) {
                Reply::Bulk(value) => assert_eq!(value[..], [n; 300], "piece at {at}"),
                reply => {
                    assert_eq!(error_code(&reply), Some("CORRUPT"), "piece at {at}: {reply:?}");
                    errors += 1;
                }
            }
        }
    }
    assert!(errors > 0);
}
