//! Hints are written while their segments are, and used block by block.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

mod world;

use std::collections::BTreeMap;

use kvnode_core::disk::{DiskDone, DiskError, DiskOp, File};
use kvnode_core::reply::Reply;
use kvnode_core::shard::Input;
use world::disk::Unsynced;
use world::{MemDisk, Setup, World, error_code};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// No background work: every hint there is was written while its segment was.
fn setup() -> Setup {
    Setup { segment_bytes: 600, zero_ahead_bytes: 0, merge: false, ..Setup::default() }
}

/// Several segments of all kinds of records.
fn write(world: &mut World, model: &mut Model) {
    let c = world.client();
    for n in 0..40u8 {
        let (key, value) = (vec![b'k', n % 13], vec![n; usize::from(n % 7) * 9]);
        match n {
            17 => {
                assert_eq!(world.call(c, &[b"FLUSHALL"]), Reply::OK);
                model.clear();
            }
            _ if n % 5 == 4 => {
                let existed = i64::from(model.remove(&key).is_some());
                assert_eq!(world.call(c, &[b"DEL", &key]), Reply::Int(existed));
            }
            _ => {
                let args: [&[u8]; 5] = [b"SET", &key, &value, b"EX", b"1000000"];
                let args = if n % 3 == 0 { &args[..] } else { &args[..3] };
                assert_eq!(world.call(c, args), Reply::OK);
                model.insert(key, value);
            }
        }
    }
}

fn assert_holds(world: &mut World, model: &Model, what: &str) {
    let c = world.client();
    for key in (0..13).map(|n| vec![b'k', n]) {
        assert_eq!(world.get(c, &key), model.get(&key).cloned(), "{what}: {key:?}");
    }
    assert_eq!(world.call(c, &[b"DBSIZE"]), Reply::Int(model.len() as i64), "{what}");
}

/// Opens, and tells from which segments records were read.
fn open_and_see(disk: MemDisk, setup: Setup) -> (World, Vec<String>) {
    let mut disk = disk;
    disk.keep_log = true;
    let mut world = World::open(disk, setup);
    world.disk.keep_log = false;
    let mut scanned = Vec::new();
    // Then it has been read, and its manifest is written.
    let opening = |op: &DiskOp| !matches!(op, DiskOp::Rename { .. });
    for op in std::mem::take(&mut world.disk.log).into_iter().take_while(opening) {
        if let DiskOp::Read { file: file @ File::Segment(..), .. } = op {
            scanned.push(file.to_string());
        }
    }
    scanned.dedup();
    (world, scanned)
}

#[test]
fn a_sealed_segment_has_its_hint_at_once() {
    let (mut world, mut model) = (World::fresh(setup()), Model::new());
    write(&mut world, &mut model);
    let disk = world.disk.crash(Unsynced::Kept);
    let segments = disk.segments();
    assert!(segments.len() > 4);
    let (mut world, scanned) = open_and_see(disk, setup());
    assert_eq!(scanned, segments[segments.len() - 1..], "only the active one is scanned");
    assert_eq!(world.notices.len(), 1, "{:?}", world.notices);
    assert_holds(&mut world, &model, "after a crash");
    // What the opening has found in the active one is in its hint when that is sealed.
    write(&mut world, &mut model);
    let disk = world.disk.crash(Unsynced::Killed);
    let (mut world, scanned) = open_and_see(disk.clone(), setup());
    assert_eq!(scanned, disk.segments()[disk.segments().len() - 1..]);
    assert_holds(&mut world, &model, "after another");
}

#[test]
fn a_clean_stop_seals_an_active_segment_that_is_long_and_no_other() {
    for (keys, sealed) in [(4, false), (20, true)] {
        let setup = Setup { segment_bytes: 8 << 10, ..setup() };
        let mut world = World::fresh(setup);
        let c = world.client();
        for n in 0..keys {
            world.set(c, &[n], &[n; 100]);
        }
        let name = world.disk.segments()[0].clone();
        let disk = world.stop().crash(Unsynced::Lost);
        assert_eq!(disk.segments().len(), 1 + usize::from(sealed), "{keys} keys");
        let (mut world, scanned) = open_and_see(disk, setup);
        assert_eq!(scanned.contains(&name), !sealed, "{keys} keys: {scanned:?}");
        let c = world.client();
        for n in 0..keys {
            assert_eq!(world.get(c, &[n]), Some(vec![n; 100]));
        }
        // Stops without writes do not add segments.
        let disk = world.stop();
        assert_eq!(World::open(disk, setup).stop().segments().len(), 1 + usize::from(sealed));
    }
}

#[test]
fn a_crash_after_each_operation_of_a_stop_leaves_every_key() {
    let (mut world, mut model) = (World::fresh(setup()), Model::new());
    write(&mut world, &mut model);
    let c = world.client();
    world.set(c, b"k\x01", &[9; 200]);
    model.insert(b"k\x01".to_vec(), vec![9; 200]);
    let disk = world.disk.crash(Unsynced::Kept);
    let mut ended = false;
    for crash_after in 0.. {
        if ended {
            assert!(crash_after > 12, "only {crash_after} operations");
            break;
        }
        let mut world = World::open(disk.clone(), setup());
        let before = world.disk.segments().len();
        world.hold = true;
        world.shard.handle(world.now, Input::Stop);
        world.settle();
        for _ in 0..crash_after {
            world.release_one();
        }
        ended = world.stopped;
        assert!(!ended || world.disk.segments().len() == before + 1, "the stop rolls");
        for unsynced in [
            Unsynced::Kept,
            Unsynced::Lost,
            Unsynced::Killed,
            Unsynced::Mixed(crash_after),
            Unsynced::Mixed(1000 + crash_after),
        ] {
            let crashed = world.disk.clone().crash(unsynced);
            let what = format!("{unsynced:?} after {crash_after}");
            let mut world = World::open(crashed, setup());
            assert_holds(&mut world, &model, &what);
            let mut world = World::open(world.stop(), setup());
            assert_holds(&mut world, &model, &what);
        }
    }
}

#[test]
fn a_crash_while_a_hint_is_written_costs_no_more_than_a_scan() {
    for seed in 0..200 {
        let (mut world, mut model) = (World::fresh(setup()), Model::new());
        write(&mut world, &mut model);
        // Whether a hint, which is not fsynced, came to the disk is drawn sector by sector.
        let mut world = World::open(world.disk.crash(Unsynced::Mixed(seed)), setup());
        assert_holds(&mut world, &model, &format!("seed {seed}"));
    }
}

#[test]
fn a_disk_that_fails_a_hint_fails_nothing_else() {
    for (failing, error) in [(1, DiskError::Io(5)), (2, DiskError::Full), (5, DiskError::Io(5))] {
        let quiet = setup();
        let (mut world, mut model) = (World::fresh(quiet), Model::new());
        let mut left = failing;
        world.disk.fault = Some(Box::new(move |op| {
            let (DiskOp::Create(file) | DiskOp::Write { file, .. }) = op else { return None };
            left -= i32::from(matches!(file, File::Hint(..)));
            (matches!(file, File::Hint(..)) && left == 0).then_some(error)
        }));
        write(&mut world, &mut model);
        assert!(world.notices.iter().any(|n| n.contains(".hint could not be written")));
        world.disk.fault = None;
        assert_holds(&mut world, &model, "before a restart");
        let mut disk = world.stop();
        disk.fault = None;
        let mut world = World::open(disk, Setup { merge: true, ..quiet });
        assert_holds(&mut world, &model, "after it");
        world.compact();
        let (mut world, scanned) = open_and_see(world.stop(), quiet);
        assert!(scanned.len() <= 1, "compaction has built what was missing: {scanned:?}");
        assert_holds(&mut world, &model, "in the end");
    }
}

/// One sealed segment whose hint has several blocks, and its keys.
fn long_keys() -> (MemDisk, Vec<Vec<u8>>, Setup) {
    let setup = Setup { segment_bytes: 1 << 20, ..setup() };
    let mut world = World::fresh(setup);
    let c = world.client();
    let keys: Vec<_> = (0..12u8).map(|n| vec![n; 60_000]).collect();
    for key in &keys {
        world.set(c, key, &key[..1]);
    }
    // Deleted and set again: what is loaded twice must come to the same.
    assert_eq!(world.call(c, &[b"DEL", &keys[0], &keys[5]]), Reply::Int(2));
    world.set(c, &keys[0], &keys[0][..1]);
    let disk = world.stop();
    (disk, keys, setup)
}

fn assert_has_long_keys(world: &mut World, keys: &[Vec<u8>], what: &str) {
    let c = world.client();
    for (n, key) in keys.iter().enumerate() {
        let value = (n != 5).then(|| key[..1].to_vec());
        assert_eq!(world.get(c, key), value, "{what}: key {n}");
    }
    assert_eq!(world.call(c, &[b"DBSIZE"]), Reply::Int(11), "{what}");
}

#[test]
fn blocks_may_come_in_any_order() {
    let (disk, keys, setup) = long_keys();
    for turn in [1, 2, 3] {
        let mut world = World::cold(disk.clone(), setup);
        world.hold = true;
        world.settle();
        let mut together = 0;
        while !world.opened {
            together = together.max(world.held.len());
            let hint = |op: &DiskOp| matches!(op, DiskOp::Read { file: File::Hint(..), .. });
            // What is not a read of the hint keeps its order.
            if world.held.iter().all(|(_, op)| hint(op)) {
                let by = turn % world.held.len();
                world.held.rotate_left(by);
            }
            world.release_one().expect("an opening has something under way");
        }
        assert!(together > 3, "blocks are read ahead");
        world.release_all();
        assert_has_long_keys(&mut world, &keys, &format!("turn {turn}"));
    }
}

#[test]
fn a_bad_block_behind_good_ones_is_made_up_for_by_a_scan() {
    let (disk, keys, setup) = long_keys();
    let hint = disk.names().into_iter().find(|name| name.ends_with(".hint")).unwrap();
    let (log, len) = (hint.replace(".hint", ".log"), disk.bytes(&hint).len());
    assert!(len > 5 * (128 << 10), "{len}");
    for at in [0, 130_000, 140_000, 3 * (128 << 10) + 77, 5 * (128 << 10) + 1, len - 5, len - 90] {
        let mut disk = disk.clone();
        disk.edit(&hint, |bytes| bytes[at] ^= 4);
        let (mut world, scanned) = open_and_see(disk, Setup { merge: true, ..setup });
        assert!(scanned.contains(&log), "byte {at}: {scanned:?}");
        assert!(world.notices.iter().any(|n| n.contains("built anew")), "{:?}", world.notices);
        assert_has_long_keys(&mut world, &keys, &format!("byte {at}"));
        world.compact();
        assert_has_long_keys(&mut world, &keys, &format!("byte {at}, compacted"));
        let (mut world, scanned) = open_and_see(world.stop(), setup);
        assert!(!scanned.contains(&log), "byte {at}: {scanned:?}");
        assert_has_long_keys(&mut world, &keys, &format!("byte {at}, in the end"));
    }
}

#[test]
fn a_bad_block_of_a_damaged_segment_makes_no_answer_wrong() {
    let (disk, keys, setup) = long_keys();
    let hint = disk.names().into_iter().find(|name| name.ends_with(".hint")).unwrap();
    for (at, record) in [(300_000, 0), (300_000, 1), (300_000, 8), (1, 3), (600_000, 12)] {
        let mut disk = disk.clone();
        disk.edit(&hint, |bytes| bytes[at] ^= 4);
        let name = hint.replace(".hint", ".log");
        disk.edit(&name, |bytes| bytes[32 + 40 + record * 60_041 + 20] ^= 4);
        let mut world = World::open(disk, setup);
        let c = world.client();
        let mut errors = 0;
        for (n, key) in keys.iter().enumerate() {
            match world.call(c, &[b"GET", key]) {
                Reply::Bulk(value) => assert!(n != 5 && value[..] == key[..1], "key {n}"),
                Reply::Null => assert_eq!(n, 5, "the other keys are there"),
                reply => {
                    assert_eq!(error_code(&reply), Some("CORRUPT"), "{reply:?}");
                    errors += 1;
                }
            }
        }
        // Key 0 is set again behind the damage and key 5 deleted, so their fate is known.
        let unknown = world.call(c, &[b"GET", b"absent"]);
        assert_eq!(error_code(&unknown), Some("CORRUPT"), "record {record} is damaged unnoticed");
        assert!(errors > 0 || record == 0, "record {record}: older keys may have changed there");
    }
}

#[test]
fn a_read_of_a_hint_that_answers_late_is_of_no_interest() {
    let (mut disk, keys, setup) = long_keys();
    let hint = disk.names().into_iter().find(|name| name.ends_with(".hint")).unwrap();
    disk.edit(&hint, |bytes| bytes[9] ^= 4);
    let mut world = World::cold(disk, setup);
    world.hold = true;
    world.settle();
    let mut late = Vec::new();
    while !world.opened {
        let (io, op) = world.held.pop_front().expect("an opening has something under way");
        let block = |op: &DiskOp| matches!(op, DiskOp::Read { file: File::Hint(..), at, .. } if *at > 0 && *at < 600_000);
        if block(&op) {
            late.push(io);
            continue;
        }
        world.held.push_front((io, op));
        world.release_one();
    }
    assert!(late.len() > 2);
    for io in late {
        world.shard.handle(world.now, Input::Disk(io, Ok(DiskDone::Data(Vec::new().into()))));
        world.settle();
    }
    world.release_all();
    assert_has_long_keys(&mut world, &keys, "in the end");
}
