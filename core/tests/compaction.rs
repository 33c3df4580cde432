//! Compaction under load: nothing lost, nothing back from the dead.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use kvnode_core::disk::{DiskError, DiskOp};
use kvnode_core::marks::Mark;
use kvnode_core::reply::Reply;
use kvnode_core::shard::{FsyncMode, IndexKind};
use world::disk::Unsynced;
use world::{Setup, World};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn setup() -> Setup {
    Setup { segment_bytes: 2000, ..Setup::default() }
}

fn merges(world: &mut World) -> u64 {
    let c = world.client();
    let Reply::Verbatim(info) = world.call(c, &[b"INFO", b"kvnode"]) else { panic!() };
    let line = info.lines().find(|l| l.contains("compactions=")).expect("INFO tells of them");
    let number = line.split("compactions=").nth(1).unwrap();
    number.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

fn check(world: &mut World, model: &Model, keys: u32, what: &str) {
    let c = world.client();
    for n in 0..keys {
        let key = format!("key:{n}").into_bytes();
        assert_eq!(world.get(c, &key).as_ref(), model.get(&key), "{what}: key:{n}");
    }
    assert_eq!(world.call(c, &[b"DBSIZE"]), Reply::Int(model.len() as i64), "{what}");
}

/// Writes and deletes until so many merges have been done, with reads in between.
fn churn(world: &mut World, model: &mut Model, keys: u32, wanted: u64) {
    let c = world.client();
    let mut seed = 1u64;
    for n in 0.. {
        assert!(n < 20_000, "compaction does not get on");
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let key = format!("key:{}", (seed >> 33) as u32 % keys).into_bytes();
        match (seed >> 20) % 10 {
            0..6 => {
                let value = format!("value {n} {}", "x".repeat((seed >> 40) as usize % 60));
                world.set(c, &key, value.as_bytes());
                model.insert(key, value.into_bytes());
            }
            6..8 => {
                let existed = i64::from(model.remove(&key).is_some());
                assert_eq!(world.call(c, &[b"DEL", &key]), Reply::Int(existed));
            }
            _ => assert_eq!(world.get(c, &key).as_ref(), model.get(&key)),
        }
        if n % 5 == 0 {
            world.pass(Duration::from_millis(3));
        }
        if n % 500 == 0 && merges(world) >= wanted {
            break;
        }
    }
}

fn compactions_under_writes(wanted: u64, index: IndexKind) {
    let setup = Setup { index, ..setup() };
    let mut world = World::fresh(setup);
    let mut model = Model::new();
    churn(&mut world, &mut model, 60, wanted);
    check(&mut world, &model, 60, "while running");
    let mut world = World::open(world.disk.crash(Unsynced::Lost), setup);
    check(&mut world, &model, 60, "after a crash");
    world.compact();
    check(&mut world, &model, 60, "after all compaction");
    let mut world = World::open(world.stop(), setup);
    check(&mut world, &model, 60, "after a clean restart");
}

#[test]
fn two_compactions_under_concurrent_writes_lose_and_resurrect_nothing() {
    compactions_under_writes(2, IndexKind::Hash);
}

#[test]
fn ten_compactions_under_concurrent_writes_lose_and_resurrect_nothing() {
    compactions_under_writes(10, IndexKind::Hash);
    compactions_under_writes(10, IndexKind::Ordered);
}

#[test]
fn a_crash_after_each_disk_operation_of_a_compaction_leaves_every_key() {
    let quiet = Setup { merge: false, ..setup() };
    let mut world = World::fresh(quiet);
    let mut model = Model::new();
    let c = world.client();
    for n in 0..120u32 {
        let key = format!("key:{}", n % 20).into_bytes();
        let value = format!("value {n}").into_bytes();
        world.set(c, &key, &value);
        model.insert(key, value);
    }
    for n in [3, 7] {
        let key = format!("key:{n}").into_bytes();
        assert_eq!(world.call(c, &[b"DEL", &key]), Reply::Int(1));
        model.remove(&key);
    }
    let disk = world.stop();
    let mut ended = false;
    for crash_after in 0.. {
        if ended {
            assert!(crash_after > 20, "only {crash_after} operations");
            break;
        }
        let mut world = World::open(disk.clone(), setup());
        world.hold = true;
        let mut done = 0;
        for _ in 0..20_000 {
            world.pass(Duration::from_millis(5));
            while done < crash_after && world.release_one().is_some() {
                done += 1;
            }
            if done == crash_after {
                break;
            }
        }
        ended = done < crash_after;
        for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Mixed(crash_after)] {
            let disk = world.disk.clone().crash(unsynced);
            let mut again = World::open(disk, setup());
            check(&mut again, &model, 20, &format!("{unsynced:?} after {crash_after}"));
        }
    }
}

#[test]
fn a_tombstone_survives_a_merge_that_leaves_an_older_value_out() {
    // The old value stands in a full, live segment; its tombstone in a later one that is merged.
    let setup = Setup { segment_bytes: 1000, zero_ahead_bytes: 0, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    world.set(c, b"victim", &[1; 60]);
    for n in 0..12u8 {
        world.set(c, &[b'l', n], &[2; 60]);
    }
    assert_eq!(world.call(c, &[b"DEL", b"victim"]), Reply::Int(1));
    for round in 0..60u8 {
        world.set(c, b"churn", &[round; 60]);
        world.pass(Duration::from_millis(200));
    }
    assert!(merges(&mut world) > 0);
    let mut world = World::open(world.disk.crash(Unsynced::Lost), setup);
    let c = world.client();
    assert_eq!(world.get(c, b"victim"), None);
    assert_eq!(world.get(c, b"churn"), Some(vec![59; 60]));
}

#[test]
fn an_expired_value_in_a_merge_still_hides_an_older_one() {
    let setup = Setup { segment_bytes: 1000, zero_ahead_bytes: 0, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    world.set(c, b"victim", &[1; 60]);
    for n in 0..12u8 {
        world.set(c, &[b'l', n], &[2; 60]);
    }
    let reply = world.call(c, &[b"SET", b"victim", &[3; 60], b"PX", b"50"]);
    assert_eq!(reply, Reply::OK);
    for round in 0..60u8 {
        world.set(c, b"churn", &[round; 60]);
        world.pass(Duration::from_millis(200));
    }
    assert!(merges(&mut world) > 0);
    assert_eq!(world.get(c, b"victim"), None);
    let mut world = World::open(world.disk.crash(Unsynced::Lost), setup);
    let c = world.client();
    assert_eq!(world.get(c, b"victim"), None);
}

#[test]
fn space_comes_back_and_stays_bounded_under_overwrites() {
    let setup = Setup { segment_bytes: 4000, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    let mut most = 0;
    for n in 0..3000u32 {
        world.set(c, format!("key:{}", n % 20).as_bytes(), &[n as u8; 100]);
        if n % 10 == 0 {
            world.pass(Duration::from_millis(100));
        }
        most = most.max(world.disk.used());
    }
    // 20 keys of 150 bytes; the rest is what may lie about between two merges.
    assert!(most < 40_000, "{most} bytes for 3,000 live ones");
    assert_eq!(world.call(c, &[b"FLUSHALL"]), Reply::OK);
    for _ in 0..30 {
        world.set(c, b"last", &[1; 150]);
        world.compact();
    }
    assert!(world.disk.used() < 16_000, "{} bytes for one key", world.disk.used());
}

#[test]
fn expired_values_are_swept_and_their_space_comes_back() {
    let setup = Setup { segment_bytes: 4000, zero_ahead_bytes: 0, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    for n in 0..200u32 {
        let key = format!("key:{n}");
        let reply = world.call(c, &[b"SET", key.as_bytes(), &[7; 100], b"PX", b"500"]);
        assert_eq!(reply, Reply::OK);
    }
    let before = world.disk.used();
    world.compact();
    assert_eq!(world.call(c, &[b"DBSIZE"]), Reply::Int(0));
    assert!(world.disk.used() < before / 4, "{} of {before}", world.disk.used());
}

#[test]
fn an_opening_passes_over_what_has_expired_and_yet_it_hides_what_is_older() {
    let setup = Setup { zero_ahead_bytes: 0, merge: false, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    for n in 0..60u8 {
        world.set(c, &[n], &[1; 60]);
    }
    for n in 0..50u8 {
        let reply = world.call(c, &[b"SET", &[n], &[2; 60], b"PX", b"50"]);
        assert_eq!(reply, Reply::OK);
    }
    world.pass(Duration::from_millis(200));
    assert_eq!(world.get(c, &[0]), None, "which commits a clock");
    // By hints and by scans, again and again.
    for turn in 0..3 {
        world = World::open(world.stop(), setup);
        assert!(world.shard.marks().has(Mark::ExpiredAtOpening), "turn {turn}");
        let c = world.client();
        assert_eq!(world.call(c, &[b"DBSIZE"]), Reply::Int(10), "turn {turn}");
        assert!((0..50).all(|n| world.get(c, &[n]).is_none()));
        assert!((50..60).all(|n| world.get(c, &[n]) == Some(vec![1; 60])));
    }
    let setup = Setup { merge: true, ..setup };
    let mut world = World::open(world.stop(), setup);
    world.compact();
    assert!(merges(&mut world) > 0);
    let mut world = World::open(world.disk.crash(Unsynced::Lost), setup);
    let c = world.client();
    assert_eq!(world.call(c, &[b"DBSIZE"]), Reply::Int(10));
    assert!((0..50).all(|n| world.get(c, &[n]).is_none()));
}

#[test]
fn a_merge_ends_with_a_whole_segment_though_what_expired_leaves_much() {
    let setup =
        Setup { segment_bytes: 2000, zero_ahead_bytes: 0, merge: false, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    // Something older that is dead: the traces of what has expired must stay.
    world.set(c, b"old", &[1; 60]);
    (0..20u8).for_each(|n| world.set(c, &[b'l', n], &[2; 60]));
    world.set(c, b"old", &[1; 60]);
    for n in 0..100u32 {
        let key = format!("{n:0300}");
        let reply = world.call(c, &[b"SET", key.as_bytes(), b"", b"PX", b"50"]);
        assert_eq!(reply, Reply::OK);
    }
    world.pass(Duration::from_secs(1));
    let mut world = World::open(world.disk, Setup { merge: true, ..setup });
    let c = world.client();
    for _ in 0..20 {
        world.set(c, b"last", &[1; 60]);
        world.compact();
    }
    assert!(merges(&mut world) > 0);
    assert_eq!(world.call(c, &[b"DBSIZE"]), Reply::Int(22));
    let lengths = world.disk.segments().into_iter().map(|name| world.disk.bytes(&name).len());
    let longest = lengths.max().unwrap();
    assert!((2_000..4_500).contains(&longest), "{longest}");
}

#[test]
fn a_full_disk_pauses_compaction_and_harms_nothing() {
    let mut world = World::fresh(setup());
    let mut model = Model::new();
    churn(&mut world, &mut model, 40, 1);
    world.disk.fault = Some(Box::new(|op| {
        let compaction = matches!(op, DiskOp::Create(f) if f.to_string().ends_with("log"));
        compaction.then_some(DiskError::Full)
    }));
    world.compact();
    check(&mut world, &model, 40, "while the disk is full");
    world.disk.fault = None;
    world.pass(Duration::from_secs(20));
    churn(&mut world, &mut model, 40, 3);
    check(&mut world, &model, 40, "after");
}

#[test]
fn what_supersedes_a_dropped_value_is_durable_first() {
    // Under `never` nothing is fsynced by itself: a merge must see to it before its switch.
    let setup = Setup { fsync: FsyncMode::Never, ..setup() };
    let mut world = World::fresh(setup);
    let mut model = Model::new();
    churn(&mut world, &mut model, 30, 3);
    let before: Vec<Vec<u8>> = model.keys().cloned().collect();
    let mut world = World::open(world.disk.crash(Unsynced::Lost), setup);
    let c = world.client();
    let Reply::Int(left) = world.call(c, &[b"DBSIZE"]) else { panic!() };
    // The tail may be gone, but a key that was there throughout is not.
    assert!(left as usize + 12 >= before.len(), "{left} of {} keys", before.len());
}
