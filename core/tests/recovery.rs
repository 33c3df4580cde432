//! What a crash or damage leaves of the log, and what opening makes of it.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

mod world;

use std::collections::BTreeMap;

use kvnode_core::reply::Reply;
use kvnode_core::shard::IndexKind;
use proptest::prelude::*;
use world::disk::Unsynced;
use world::{MemDisk, Setup, World, error_code};

/// Large enough that nothing rolls or is compacted.
fn one_segment() -> Setup {
    Setup { segment_bytes: 1 << 20, merge: false, zero_ahead_bytes: 0, ..Setup::default() }
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Writes with some variety, each whole or absent after a cut: single puts, deletes, batches.
/// Returns the disk, and after each write the log's length and the state.
fn written() -> (MemDisk, Vec<(usize, Model)>) {
    let mut world = World::fresh(one_segment());
    let c = world.client();
    let mut model = Model::new();
    let name = world.disk.segments()[0].clone();
    let mut states = vec![(world.disk.bytes(&name).len(), model.clone())];
    for n in 0..12u8 {
        let key = vec![b'k', n % 5];
        match n % 4 {
            0 | 1 => {
                let value = vec![n; usize::from(n) * 3];
                world.set(c, &key, &value);
                model.insert(key, value);
            }
            2 => {
                let (a, b) = (vec![b'a', n], vec![b'b', n]);
                let args: [&[u8]; 7] = [b"MSET", &a, b"1", &b, b"2", &key, b"3"];
                assert_eq!(world.call(c, &args), Reply::OK);
                model.extend([(a, b"1".to_vec()), (b, b"2".to_vec()), (key, b"3".to_vec())]);
            }
            _ => {
                let existed = i64::from(model.remove(&key).is_some());
                assert_eq!(world.call(c, &[b"DEL", &key]), Reply::Int(existed));
            }
        }
        states.push((world.disk.bytes(&name).len(), model.clone()));
    }
    (world.disk.crash(Unsynced::Kept), states)
}

/// As if the crash had come before the mark that tells what was durable.
fn forget_mark(disk: &mut MemDisk) {
    disk.edit("p0/MARK", Vec::clear);
}

fn contents(world: &mut World) -> Model {
    let c = world.client();
    let Reply::Array(keys) = world.call(c, &[b"KEYS", b"*"]) else { panic!("KEYS is an array") };
    let keys = keys.into_iter().map(|key| match key {
        Reply::Bulk(key) => key.to_vec(),
        other => panic!("a key is a string: {other:?}"),
    });
    keys.collect::<Vec<_>>()
        .into_iter()
        .map(|key| {
            let value = world.get(c, &key).expect("KEYS names keys that are there");
            (key, value)
        })
        .collect()
}

#[test]
fn a_cut_at_any_byte_leaves_just_the_whole_batches_before_it() {
    let (disk, states) = written();
    let name = disk.segments()[0].clone();
    let (first, last) = (states[0].0, disk.bytes(&name).len());
    for cut in first..=last {
        let mut disk = disk.clone();
        forget_mark(&mut disk);
        disk.edit(&name, |bytes| bytes.truncate(cut));
        let expected = &states.iter().rev().find(|(len, _)| *len <= cut).unwrap().1;

        let mut world = World::open(disk, one_segment());
        assert_eq!(&contents(&mut world), expected, "cut at {cut}");
        // A later write survives a second crash.
        let c = world.client();
        world.set(c, b"later", b"write");
        let mut world = World::open(world.disk.crash(Unsynced::Lost), one_segment());
        let mut expected = expected.clone();
        expected.insert(b"later".to_vec(), b"write".to_vec());
        assert_eq!(contents(&mut world), expected, "after a second crash, cut at {cut}");
    }
}

#[test]
fn a_cut_into_what_was_durable_is_no_torn_tail_and_is_answered_with_errors() {
    let (disk, states) = written();
    let name = disk.segments()[0].clone();
    let (first, last) = (states[0].0, disk.bytes(&name).len());
    for cut in first..last {
        let mut disk = disk.clone();
        disk.edit(&name, |bytes| bytes.truncate(cut));
        let mut world = World::open(disk, one_segment());
        let c = world.client();
        for key in states.last().unwrap().1.keys() {
            let reply = world.call(c, &[b"GET", key]);
            assert_eq!(error_code(&reply), Some("CORRUPT"), "cut at {cut}: {reply:?}");
        }
        // A key written anew is served, also after another restart.
        world.set(c, b"k\x01", b"anew");
        let mut world = World::open(world.disk.crash(Unsynced::Lost), one_segment());
        let c = world.client();
        assert_eq!(world.get(c, b"k\x01"), Some(b"anew".to_vec()));
        assert_eq!(error_code(&world.call(c, &[b"GET", b"absent"])), Some("CORRUPT"));
    }
}

/// Every key reads as the model says, or gives an error; returns whether any gave one.
fn right_or_error(world: &mut World, model: &Model, what: &str) -> bool {
    let c = world.client();
    let mut errors = false;
    let absent = [b"absent".to_vec(), b"k\x02".to_vec()];
    for key in model.keys().chain(absent.iter()) {
        match world.call(c, &[b"GET", key]) {
            Reply::Bulk(value) => assert_eq!(Some(&value.to_vec()), model.get(key), "{what}"),
            Reply::Null => assert_eq!(model.get(key), None, "{what}: {key:?} is silently gone"),
            reply => {
                assert_eq!(error_code(&reply), Some("CORRUPT"), "{what}");
                errors = true;
            }
        }
    }
    errors
}

#[test]
fn a_flipped_byte_anywhere_never_gives_a_wrong_value_nor_loses_one_silently() {
    let (disk, states) = written();
    let model = &states.last().unwrap().1;
    for name in disk.names() {
        let mut errors = 0;
        for at in 0..disk.bytes(&name).len() {
            let mut disk = disk.clone();
            disk.edit(&name, |bytes| bytes[at] ^= 0x41);
            let what = format!("{name} byte {at}");
            let mut world = World::cold(disk, one_segment());
            world.settle();
            if let Some(refused) = &world.refused {
                assert!(refused.contains("META") || refused.contains("MANIFEST"), "{refused}");
                errors += 1;
                continue;
            }
            assert!(world.opened, "{what}: {:?}", world.notices);
            errors += usize::from(right_or_error(&mut world, model, &what));
        }
        if name.ends_with(".log") {
            assert!(errors > 100, "flips in {name} were hardly noticed: {errors}");
        }
    }
}

/// Several segments, some with hints, one with records.
fn rolled() -> (MemDisk, Model) {
    let setup = Setup { segment_bytes: 600, zero_ahead_bytes: 0, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    let mut model = Model::new();
    for n in 0..40u8 {
        let (key, value) = (vec![b'k', n % 30], vec![n; 40]);
        world.set(c, &key, &value);
        model.insert(key, value);
        world.pass(std::time::Duration::from_millis(20));
    }
    let gone = b"k\x03".to_vec();
    assert_eq!(world.call(c, &[b"DEL", &gone]), Reply::Int(1));
    model.remove(&gone);
    world.compact();
    (world.disk.crash(Unsynced::Kept), model)
}

#[test]
fn a_flipped_byte_in_any_file_of_many_segments_is_never_a_wrong_answer() {
    let (disk, model) = rolled();
    let setup = Setup { segment_bytes: 600, merge: false, ..Setup::default() };
    assert!(disk.names().iter().filter(|n| n.ends_with(".hint")).count() >= 2);
    assert!(disk.segments().len() >= 4, "{:?}", disk.names());
    for name in disk.names() {
        let hint = name.ends_with(".hint");
        for at in 0..disk.bytes(&name).len() {
            let mut disk = disk.clone();
            disk.edit(&name, |bytes| bytes[at] ^= 0x08);
            let what = format!("{name} byte {at}");
            let mut world = World::cold(disk, setup);
            world.settle();
            if world.refused.is_some() {
                continue;
            }
            let errors = right_or_error(&mut world, &model, &what);
            assert!(!(hint && errors), "{what}: a bad hint does no harm");
        }
    }
}

#[test]
fn a_missing_hint_or_one_of_another_segment_is_built_anew() {
    let (disk, model) = rolled();
    let hints: Vec<String> =
        disk.names().into_iter().filter(|name| name.ends_with(".hint")).collect();
    let foreign = disk.bytes(&hints[1]).to_vec();
    for damage in ["missing", "foreign", "empty"] {
        let mut disk = disk.clone();
        match damage {
            "missing" => disk.remove(&hints[0]),
            "foreign" => disk.edit(&hints[0], |bytes| *bytes = foreign.clone()),
            _ => disk.edit(&hints[0], Vec::clear),
        }
        let mut world = World::open(disk, Setup { segment_bytes: 600, ..Setup::default() });
        assert_eq!(contents(&mut world), model, "{damage}");
        world.compact();
        assert_eq!(contents(&mut world), model, "{damage}, after the hint was built");
    }
}

#[test]
fn a_zero_length_active_segment_is_made_anew() {
    let setup = Setup { segment_bytes: 600, zero_ahead_bytes: 0, ..Setup::default() };
    let mut world = World::fresh(setup);
    let name = world.disk.segments()[0].clone();
    // The first record of any is the epoch's; take the disk before it is durable.
    let mut disk = world.disk.clone().crash(Unsynced::Kept);
    forget_mark(&mut disk);
    disk.edit(&name, Vec::clear);
    let mut reopened = World::open(disk, setup);
    let c = reopened.client();
    reopened.set(c, b"k", b"v");
    assert_eq!(reopened.get(c, b"k"), Some(b"v".to_vec()));
    // With durable records in it, the same file is a loss, and is said to be one.
    let c = world.client();
    world.set(c, b"k", b"v");
    let mut disk = world.disk.crash(Unsynced::Kept);
    disk.edit(&name, Vec::clear);
    let mut world = World::open(disk, setup);
    let c = world.client();
    assert_eq!(error_code(&world.call(c, &[b"GET", b"k"])), Some("CORRUPT"));
    world.set(c, b"k", b"anew");
    assert_eq!(world.get(c, b"k"), Some(b"anew".to_vec()));
}

#[test]
fn a_missing_sealed_segment_is_a_loss_that_is_said() {
    let (disk, model) = rolled();
    let setup = Setup { segment_bytes: 600, merge: false, ..Setup::default() };
    for name in disk.segments() {
        let mut disk = disk.clone();
        disk.remove(&name);
        let mut world = World::open(disk, setup);
        let said = right_or_error(&mut world, &model, &name);
        assert!(said, "{name} is missing unnoticed: {:?} {:?}", world.notices, world.disk.names());
    }
}

#[test]
fn a_value_torn_by_a_crash_leaves_the_acknowledged_one_before() {
    let mut world = World::fresh(one_segment());
    let c = world.client();
    world.set(c, b"k", b"old");
    world.settle();
    let name = world.disk.segments()[0].clone();
    let whole = world.disk.bytes(&name).len();
    world.hold = true;
    world.send(c, &[b"SET", b"k", &[7; 3000]]);
    world.settle();
    world.release_one();
    // The head and the first half of the value reached the disk, the fsync did not come.
    let mut disk = world.disk.crash(Unsynced::Kept);
    disk.edit(&name, |bytes| bytes[whole + 1500..].fill(0));
    let mut world = World::open(disk, one_segment());
    let c = world.client();
    assert_eq!(world.get(c, b"k"), Some(b"old".to_vec()));
}

#[test]
fn a_damaged_header_costs_no_record_even_where_nothing_was_marked_durable() {
    let mut world = World::fresh(one_segment());
    let c = world.client();
    world.set(c, b"k", b"v");
    let mut disk = world.disk.crash(Unsynced::Kept);
    forget_mark(&mut disk);
    let name = disk.segments()[0].clone();
    disk.edit(&name, |bytes| bytes[3] ^= 1);
    let mut world = World::open(disk, one_segment());
    let c = world.client();
    assert_eq!(world.get(c, b"k"), Some(b"v".to_vec()));
    assert!(world.notices.iter().any(|n| n.contains("header is damaged")));
}

#[test]
fn a_lost_partition_is_refused_not_made_anew() {
    let setup = Setup { partitions: Some(3), ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    for n in 0..20u8 {
        world.set(c, &[n], b"v");
    }
    let mut disk = world.stop();
    for name in disk.names().into_iter().filter(|n| n.starts_with("p1/")) {
        disk.remove(&name);
    }
    let mut world = World::cold(disk, setup);
    world.settle();
    assert!(world.refused.unwrap().contains("p1 are missing"));
}

#[test]
fn a_record_planted_in_a_value_is_not_taken_for_one_behind_damage() {
    use kvnode_core::storage::record::{self, Head, Kind};
    use kvnode_core::{Epoch, Offset, PartitionId};
    let mut planted = Vec::new();
    for (epoch, offset) in [(u32::MAX - 1, 3), (1, 1 << 60)] {
        let head = Head {
            kind: Kind::Put,
            more: false,
            partition: PartitionId(0),
            epoch: Epoch(epoch),
            offset: Offset(offset),
            clock: 0,
            expire_at: None,
        };
        record::encode(&head, b"planted", b"evil", &mut planted);
    }
    let mut world = World::fresh(one_segment());
    let c = world.client();
    let name = world.disk.segments()[0].clone();
    let at = world.disk.bytes(&name).len();
    world.set(c, b"carrier", &planted);
    world.set(c, b"later", b"v");
    let mut disk = world.disk.crash(Unsynced::Kept);
    disk.edit(&name, |bytes| bytes[at] ^= 1);
    let mut world = World::open(disk, one_segment());
    let c = world.client();
    assert_eq!(world.get(c, b"later"), Some(b"v".to_vec()));
    assert_eq!(error_code(&world.call(c, &[b"GET", b"planted"])), Some("CORRUPT"));
    World::open(world.disk.crash(Unsynced::Lost), one_segment());
}

#[test]
fn leftovers_are_gone_before_a_name_is_used_again() {
    let mut world = World::fresh(one_segment());
    world
        .disk
        .run(kvnode_core::disk::DiskOp::Create(kvnode_core::disk::File::Segment(
            kvnode_core::PartitionId(0),
            kvnode_core::Offset(0),
            kvnode_core::SegmentId(9),
        )))
        .unwrap();
    let mut world = World::cold(world.disk.crash(Unsynced::Kept), one_segment());
    world.hold = true;
    world.settle();
    // META's list and content, the partition's list and manifest.
    for _ in 0..4 {
        world.release_one();
    }
    let held: Vec<_> = world.held.iter().map(|(_, op)| format!("{op:?}")).collect();
    assert!(held.len() == 1 && held[0].starts_with("DeleteNamed"), "{held:?}");
    world.release_all();
    assert!(world.opened);
}

#[test]
fn a_missing_manifest_beside_a_log_is_refused() {
    let (mut disk, _) = rolled();
    disk.remove("p0/MANIFEST");
    let mut world = World::cold(disk, Setup::default());
    world.settle();
    assert!(world.refused.unwrap().contains("MANIFEST is missing"));
}

#[test]
fn an_unknown_format_version_is_refused_by_name() {
    let (disk, _) = rolled();
    for name in ["META", "p0/MANIFEST"] {
        let mut disk = disk.clone();
        disk.edit(name, |bytes| bytes[8] = 99);
        let mut world = World::cold(disk, Setup::default());
        world.settle();
        let refused = world.refused.expect("it is refused");
        assert!(refused.contains("format version 99"), "{refused}");
    }
}

#[test]
fn a_foreign_directory_is_refused_and_left_alone() {
    let mut world = World::cold(MemDisk::default(), Setup::default());
    let file = kvnode_core::disk::File::MetaTmp;
    world.disk.run(kvnode_core::disk::DiskOp::Create(file)).unwrap();
    world.settle();
    assert!(world.opened, "a leftover of a first start is no harm");
    let (mut disk, _) = rolled();
    disk.remove("META");
    let mut world = World::cold(disk, Setup::default());
    world.settle();
    assert!(world.refused.unwrap().contains("no META"));
}

#[test]
fn another_number_of_partitions_is_refused() {
    let disk = World::fresh(Setup { partitions: Some(3), ..Setup::default() }).stop();
    let mut world = World::cold(disk.clone(), Setup { partitions: Some(4), ..Setup::default() });
    world.settle();
    assert!(world.refused.unwrap().contains("made with 3 partitions"));
    World::open(disk, Setup::default());
}

#[test]
fn a_clean_stop_leaves_no_zeros_and_opens_as_it_was() {
    let setup = Setup { zero_ahead_bytes: 4096, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    world.set(c, b"k", b"v");
    let name = world.disk.segments()[0].clone();
    assert!(world.disk.bytes(&name).len() > 4096);
    let disk = world.stop();
    assert!(disk.bytes(&name).len() < 512, "the zeros ahead are cut");
    let mut world = World::open(disk, setup);
    assert_eq!(contents(&mut world), Model::from([(b"k".to_vec(), b"v".to_vec())]));
}

#[test]
fn each_reign_has_an_epoch_of_its_own() {
    let mut disk = MemDisk::default();
    for reign in 1..5 {
        let mut world = World::open(disk, Setup::default());
        let c = world.client();
        let Reply::Verbatim(info) = world.call(c, &[b"INFO", b"kvnode"]) else { panic!() };
        assert!(info.contains(&format!("epoch={reign}")), "{info}");
        disk = world.disk.crash(Unsynced::Lost);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, u16),
    Del(u8),
    Batch(Vec<u8>, u16),
    Flush,
    Pass(u16),
    Crash(u64),
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0u8..24, 0u16..300).prop_map(|(k, len)| Step::Set(k, len)),
        4 => (0u8..24).prop_map(Step::Del),
        2 => (proptest::collection::vec(0u8..24, 1..6), 0u16..200)
            .prop_map(|(keys, len)| Step::Batch(keys, len)),
        1 => Just(Step::Flush),
        3 => (0u16..2000).prop_map(Step::Pass),
        2 => any::<u64>().prop_map(Step::Crash),
        1 => Just(Step::Stop),
    ]
}

fn key(n: u8) -> Vec<u8> {
    format!("key:{n}").into_bytes()
}

/// Random operations with rolling, compaction and restarts agree with a map.
fn agrees_with_a_map(steps: Vec<Step>, setup: Setup) {
    let mut model = Model::new();
    let mut world = World::fresh(setup);
    for (n, step) in steps.into_iter().enumerate() {
        let c = world.client();
        let value = |len: u16| vec![n as u8; usize::from(len)];
        match step {
            Step::Set(k, len) => {
                world.set(c, &key(k), &value(len));
                model.insert(key(k), value(len));
            }
            Step::Del(k) => {
                let existed = i64::from(model.remove(&key(k)).is_some());
                assert_eq!(world.call(c, &[b"DEL", &key(k)]), Reply::Int(existed));
            }
            Step::Batch(keys, len) => {
                let keys: Vec<Vec<u8>> = keys.into_iter().map(key).collect();
                let value = value(len);
                let mut args: Vec<&[u8]> = vec![b"MSET"];
                keys.iter().for_each(|key| args.extend([&key[..], &value]));
                assert_eq!(world.call(c, &args), Reply::OK);
                keys.iter().for_each(|key| drop(model.insert(key.clone(), value.clone())));
            }
            Step::Flush => {
                assert_eq!(world.call(c, &[b"FLUSHALL"]), Reply::OK);
                model.clear();
            }
            Step::Pass(ms) => world.pass(std::time::Duration::from_millis(ms.into())),
            Step::Crash(seed) => {
                let unsynced = match seed % 4 {
                    0 => Unsynced::Kept,
                    1 => Unsynced::Lost,
                    _ => Unsynced::Mixed(seed),
                };
                world = World::open(world.disk.crash(unsynced), setup);
            }
            Step::Stop => world = World::open(world.stop(), setup),
        }
        let size = world.client();
        assert_eq!(world.call(size, &[b"DBSIZE"]), Reply::Int(model.len() as i64));
    }
    assert_eq!(contents(&mut world), model);
    let damage = world.notices.iter().find(|n| n.contains("damaged") || n.contains("can not"));
    assert_eq!(damage, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_operations_with_compaction_rolling_and_restarts_agree_with_a_map(
        steps in proptest::collection::vec(step(), 1..150),
        small in 1u64..4,
        ordered: bool,
        cache: bool,
        zeros in prop_oneof![Just(0u64), Just(512), Just(3000)],
    ) {
        let setup = Setup {
            segment_bytes: 500 * small,
            index: if ordered { IndexKind::Ordered } else { IndexKind::Hash },
            cache,
            zero_ahead_bytes: zeros,
            ..Setup::default()
        };
        agrees_with_a_map(steps, setup);
    }
}
