//! Segments that the disk can not give back when the replica opens.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use kvnode_core::disk::{DiskError, DiskOp};
use kvnode_core::reply::Reply;
use world::disk::Unsynced;
use world::{MemDisk, Setup, World, error_code};

const PAGE: usize = 4096;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn setup() -> Setup {
    let window_bytes = PAGE as u32;
    Setup {
        segment_bytes: 20_000,
        merge: false,
        zero_ahead_bytes: 0,
        window_bytes,
        ..Setup::default()
    }
}

/// Three segments of about five pages, with records that lie across pages and within. Without their
/// hints every one of them is scanned.
fn written(setup: Setup) -> (MemDisk, Model) {
    let mut world = World::fresh(setup);
    let client = world.client();
    let mut model = Model::new();
    for n in 0..60u8 {
        let (key, value) = (vec![b'k', n % 50], vec![n; [20, 300, 3000][usize::from(n % 3)]]);
        world.set(client, &key, &value);
        model.insert(key, value);
    }
    let batch: [&[u8]; 5] = [b"MSET", b"a", &[1; 2500], b"b", &[2; 2500]];
    assert_eq!(world.call(client, &batch), Reply::OK);
    model.extend([(b"a".to_vec(), vec![1; 2500]), (b"b".to_vec(), vec![2; 2500])]);
    let mut disk = world.disk.crash(Unsynced::Kept);
    disk.names().iter().filter(|name| name.ends_with(".hint")).for_each(|name| disk.remove(name));
    (disk, model)
}

/// Reads of these bytes of a file fail, so often.
fn fail_reads(world: &mut World, name: &str, from: usize, to: usize, times: usize) {
    let (name, mut left) = (name.to_owned(), times);
    world.disk.fault = Some(Box::new(move |op| match op {
        DiskOp::Read { file, at, len } if file.to_string() == name && left > 0 => {
            let hit = (*at as usize) < to && from < *at as usize + *len as usize;
            left -= usize::from(hit);
            hit.then_some(DiskError::Io(5))
        }
        _ => None,
    }));
}

/// Every key reads as the model says, or gives an error; returns how many gave one.
fn right_or_error(world: &mut World, model: &Model, what: &str) -> usize {
    let client = world.client();
    let mut errors = 0;
    let absent = b"absent".to_vec();
    for key in model.keys().chain([&absent]) {
        match world.call(client, &[b"GET", key]) {
            Reply::Bulk(found) => assert_eq!(Some(&found.to_vec()), model.get(key), "{what}"),
            Reply::Null => assert_eq!(key, &absent, "{what}: it is silently gone"),
            reply => {
                assert_eq!(error_code(&reply), Some("CORRUPT"), "{what}: {key:?}, {reply:?}");
                errors += 1;
            }
        }
    }
    errors
}

fn open_with(
    disk: &MemDisk,
    setup: Setup,
    name: &str,
    (from, to): (usize, usize),
    times: usize,
) -> World {
    let mut world = World::cold(disk.clone(), setup);
    fail_reads(&mut world, name, from, to, times);
    world.settle();
    world.pass(Duration::from_secs(60));
    assert!(world.opened, "{name} {from}: {:?}", world.notices);
    world
}

#[test]
fn a_page_that_can_not_be_read_costs_what_lies_on_it_and_nothing_is_cut() {
    let (disk, model) = written(setup());
    assert!(disk.segments().len() >= 3);
    for name in disk.segments() {
        let len = disk.bytes(&name).len();
        for (page, merge) in (0..len.div_ceil(PAGE)).flat_map(|p| [(p, false), (p, true)]) {
            let what = format!("{name} page {page}, compaction {merge}");
            let range = (page * PAGE, page * PAGE + 1);
            let setup = Setup { merge, ..setup() };
            let mut world = open_with(&disk, setup, &name, range, usize::MAX);
            let hinted = world.disk.names().contains(&name.replace(".log", ".hint"));
            assert!(!hinted, "{what}: a hint would say that nothing is missing");
            let errors = right_or_error(&mut world, &model, &what);
            assert!(errors > 0, "{what} is missing unnoticed");
            assert!(world.disk.bytes(&name) == disk.bytes(&name), "{what}: it is kept as it is");
            let client = world.client();
            // It is no matter of the whole partition: what is written is served.
            world.set(client, b"k\x01", b"anew");
            // Later everything can be read again.
            let mut model = model.clone();
            model.insert(b"k\x01".to_vec(), b"anew".to_vec());
            let mut world = World::open(world.disk.crash(Unsynced::Lost), setup);
            let errors = right_or_error(&mut world, &model, &what);
            // Only where the log ended can not be told any more.
            let active = disk.segments().last() == Some(&name);
            assert!(errors == 0 || active, "{what}: {:?}", world.notices);
            let client = world.client();
            assert_eq!(world.get(client, b"k\x01"), Some(b"anew".to_vec()));
        }
    }
}

#[test]
fn an_unreadable_tail_is_never_taken_for_a_torn_one_even_where_nothing_was_marked_durable() {
    let setup = Setup { segment_bytes: 1 << 20, ..setup() };
    let (mut disk, model) = written(setup);
    disk.edit("p0/MARK", Vec::clear);
    let name = disk.segments()[0].clone();
    let len = disk.bytes(&name).len();
    for from in (0..len).step_by(PAGE / 4) {
        for to in [from + 1, from + 3 * PAGE, len] {
            let what = format!("bytes {from} to {to}");
            let mut world = open_with(&disk, setup, &name, (from, to), usize::MAX);
            assert!(right_or_error(&mut world, &model, &what) > 0, "{what}");
            assert!(world.disk.bytes(&name) == disk.bytes(&name), "{what}: it is kept as it is");
            let client = world.client();
            world.set(client, b"k\x01", b"anew");
            // The bytes are there still, and their offsets were not given out again.
            let mut model = model.clone();
            model.insert(b"k\x01".to_vec(), b"anew".to_vec());
            let mut world = World::open(world.disk.crash(Unsynced::Lost), setup);
            right_or_error(&mut world, &model, &what);
            let client = world.client();
            assert_eq!(world.get(client, b"k\x01"), Some(b"anew".to_vec()), "{what}");
        }
    }
}

#[test]
fn an_error_that_passes_is_tried_again_and_costs_nothing() {
    let (disk, model) = written(setup());
    for name in disk.segments() {
        for times in 1..7 {
            let mut world = open_with(&disk, setup(), &name, (0, 1 << 20), times);
            let what = format!("{name}, {times} times");
            assert_eq!(right_or_error(&mut world, &model, &what), 0, "{:?}", world.notices);
            let said = world.notices.iter().find(|n| n.contains("damage"));
            assert_eq!(said, None, "{what}");
        }
    }
}

#[test]
fn a_torn_tail_before_unreadable_zeros_is_torn_all_the_same() {
    let setup = Setup { zero_ahead_bytes: 20_000, segment_bytes: 1 << 20, ..setup() };
    let mut world = World::fresh(setup);
    let client = world.client();
    world.set(client, b"k", b"v");
    let disk = world.disk.crash(Unsynced::Kept);
    let name = disk.segments()[0].clone();
    let mut world = open_with(&disk, setup, &name, (PAGE, 2 * PAGE), usize::MAX);
    let client = world.client();
    assert_eq!(world.get(client, b"k"), Some(b"v".to_vec()));
    assert_eq!(world.get(client, b"absent"), None);
}

#[test]
fn what_a_hint_says_of_bytes_that_can_not_be_read_then_is_suspect_for_good() {
    let setup = Setup { segment_bytes: 1 << 20, ..setup() };
    let mut world = World::fresh(setup);
    let client = world.client();
    let long = |n: u8| vec![n; 60_000];
    world.set(client, &long(1), b"v");
    world.set(client, &long(2), b"v");
    world.set(client, b"k", b"old");
    // The first block of the hint ends here.
    world.set(client, &long(3), b"v");
    assert_eq!(world.call(client, &[b"DEL", b"k"]), Reply::Int(1));
    (4..7).for_each(|n| world.set(client, &long(n), b"v"));
    let mut disk = world.stop();
    let name = disk.segments()[0].clone();
    let hint = name.replace(".log", ".hint");
    let second = 131_072;
    assert!(disk.bytes(&hint).len() > second);
    disk.edit(&hint, |bytes| bytes[second + 9] ^= 1);
    // The key's value and what follows up to its deletion.
    let (from, to) = (32 + 40 + 2 * 60_041, 32 + 40 + 3 * 60_041 + 100);
    let mut world = open_with(&disk, setup, &name, (from, to), usize::MAX);
    world.disk.fault = None;
    let client = world.client();
    let reply = world.call(client, &[b"GET", b"k"]);
    assert_eq!(error_code(&reply), Some("CORRUPT"), "it was deleted: {reply:?}");
    assert_eq!(world.get(client, &long(6)), Some(b"v".to_vec()));
}

#[test]
fn half_a_batch_never_shows_although_its_end_could_not_be_read_once() {
    let setup = Setup { segment_bytes: 1 << 20, ..setup() };
    // The second value reaches into pages where nothing of the first lies.
    let [old, new] = [1, 2].map(|fill| [vec![fill; 200], vec![fill; 6000]]);
    let (mut known, mut suspect) = (0, 0);
    for cut in (60..6282).step_by(250) {
        let mut world = World::fresh(setup);
        let client = world.client();
        (0..3u8).for_each(|n| world.set(client, &[n], &[n; 300]));
        assert_eq!(world.call(client, &[b"MSET", b"a", &old[0], b"b", &old[1]]), Reply::OK);
        world.hold = true;
        world.send(client, &[b"MSET", b"a", &new[0], b"b", &new[1]]);
        world.settle();
        let Some((_, DiskOp::Write { file, at, data })) = world.held.front().cloned() else {
            panic!("a write")
        };
        world.disk.run(DiskOp::Write { file, at, data: data.slice(..cut) }).unwrap();
        let disk = world.disk.crash(Unsynced::Kept);
        let (name, end) = (file.to_string(), disk.bytes(&file.to_string()).len());
        for page in at as usize / PAGE..end.div_ceil(PAGE) {
            // It can not be read at first, and then it can.
            let range = (page * PAGE, page * PAGE + 1);
            let mut world = open_with(&disk, setup, &name, range, usize::MAX);
            for opening in 0..3 {
                let what = format!("{cut} bytes, page {page}, opening {opening}");
                let client = world.client();
                let [a, b] = [b"a", b"b"].map(|key| match world.call(client, &[b"GET", key]) {
                    Reply::Bulk(value) => Some(value[0] == new[0][0]),
                    reply => {
                        assert_eq!(error_code(&reply), Some("CORRUPT"), "{what}: {reply:?}");
                        None
                    }
                });
                assert_eq!(a, b, "{what}");
                *if a.is_some() { &mut known } else { &mut suspect } += 1;
                world = World::open(world.disk.crash(Unsynced::Lost), setup);
            }
        }
    }
    assert!(known > 0 && suspect > 0, "{known} and {suspect}");
}

/// The records that tell of the last reign can not be read at one opening, and at the next they can:
/// what was acknowledged between the two was written in a later reign, and is no torn tail.
#[test]
fn a_reign_is_not_given_out_twice_when_its_records_can_not_be_read() {
    let (mut disk, _) = written(setup());
    for _ in 0..3 {
        disk = World::open(disk, setup()).stop();
    }
    let segments = disk.segments();
    let mut world = World::cold(disk, setup());
    world.disk.fault = Some(Box::new(move |op| match op {
        DiskOp::Read { file, .. } if segments.contains(&file.to_string()) => Some(DiskError::Io(5)),
        _ => None,
    }));
    world.settle();
    world.pass(Duration::from_secs(60));
    assert!(world.opened, "{:?}", world.notices);
    let client = world.client();
    world.set(client, b"k", b"acknowledged");
    // As if nothing were known of what was durable.
    let mut disk = world.disk.crash(Unsynced::Lost);
    disk.edit("p0/MARK", Vec::clear);
    let mut world = World::open(disk, setup());
    let client = world.client();
    assert_eq!(world.get(client, b"k"), Some(b"acknowledged".to_vec()));
}
