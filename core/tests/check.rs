//! What a check finds in a data directory, and that it finds nothing in a sound one.

mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use kvnode_core::disk::{DiskError, DiskOp, File};
use kvnode_core::reply::Reply;
use kvnode_core::shard::FsyncMode;
use kvnode_core::storage::check::{
    AcceptLoss, CheckReport, Checker, Finding, Problem, Severity, Standing,
};
use kvnode_core::{Offset, PartitionId};
use world::disk::Unsynced;
use world::{MemDisk, Setup, World, error_code};

/// Checks the disk, and that the check changes nothing and knows how far it is.
fn check(disk: &MemDisk) -> CheckReport {
    let mut disk = disk.clone();
    let mut checker = Checker::new();
    let (mut before, mut total) = (0, 0);
    while let Some(op) = checker.poll() {
        assert!(matches!(op, DiskOp::List(_) | DiskOp::Read { .. }), "{op:?} changes something");
        checker.on_disk(disk.run(op));
        let done;
        (done, total) = checker.progress();
        assert!(before <= done && done <= total, "{before} {done} {total}");
        before = done;
    }
    let report = checker.finish().expect("it has come to its end");
    if !report.damaged {
        assert_eq!(before, total, "{:?}", report.findings);
    }
    report
}

fn accept(disk: &mut MemDisk) -> Option<Vec<(PartitionId, Offset)>> {
    let mut accept = AcceptLoss::new(&check(disk))?;
    while let Some(op) = accept.poll() {
        accept.on_disk(disk.run(op));
    }
    Some(accept.finish().expect("it has come to its end").expect("the disk works"))
}

fn assert_clean(disk: &MemDisk, keys: u64, what: &str) {
    let report = check(disk);
    let damage: Vec<_> =
        report.findings.iter().filter(|f| f.severity == Severity::Damage).collect();
    assert!(damage.is_empty() && !report.damaged, "{what}: {damage:?}");
    assert_eq!(report.keys, keys, "{what}");
    assert!(report.losses.is_empty(), "{what}");
}

/// Several segments, some with hints, some compacted, one active; keys with and without expiry.
fn varied(setup: Setup) -> (World, u64) {
    let mut world = World::fresh(setup);
    let c = world.client();
    for n in 0..60u8 {
        let key = format!("k{}", n % 23).into_bytes();
        // In the same slot.
        let other = format!("{{k{}}}:{}", n % 23, n % 7).into_bytes();
        match n % 6 {
            0 => assert_eq!(world.call(c, &[b"MSET", &key, &[n; 50], &other, b"2"]), Reply::OK),
            1 => drop(world.call(c, &[b"DEL", &key])),
            2 => drop(world.call(c, &[b"SET", &key, &[n; 30], b"PX", b"1000000"])),
            3 if n == 27 => assert_eq!(world.call(c, &[b"FLUSHALL"]), Reply::OK),
            _ => world.set(c, &key, &[n; 40]),
        }
        world.pass(Duration::from_millis(20));
    }
    drop(world.call(c, &[b"SET", b"soon", b"gone", b"PX", b"100"]));
    world.compact();
    let Reply::Int(keys) = world.call(c, &[b"DBSIZE"]) else { panic!("DBSIZE is a number") };
    (world, keys as u64)
}

fn small() -> Setup {
    Setup { segment_bytes: 700, zero_ahead_bytes: 512, ..Setup::default() }
}

#[test]
fn a_sound_directory_is_clean_however_it_was_left() {
    for merge in [true, false] {
        for fsync in [FsyncMode::Always, FsyncMode::EveryMs(50), FsyncMode::Never] {
            let (world, keys) = varied(Setup { merge, fsync, partitions: Some(2), ..small() });
            let disk = world.disk.clone();
            let what = format!("merge {merge}, {fsync:?}");
            assert_clean(&disk.clone().crash(Unsynced::Kept), keys, &what);
            if fsync == FsyncMode::Always {
                assert_clean(&disk.clone().crash(Unsynced::Lost), keys, &what);
                for seed in 0..20 {
                    assert_clean(&disk.clone().crash(Unsynced::Mixed(seed)), keys, &what);
                }
            }
            let stopped = world.stop();
            assert_clean(&stopped, keys, &what);
            assert_eq!(check(&stopped).findings, [], "{what}: a clean stop leaves nothing to note");
            assert_clean(&World::open(stopped, small()).stop(), keys, &what);
        }
    }
}

#[test]
fn a_directory_is_clean_after_a_crash_before_any_operation_of_its_life() {
    let setup = Setup { zero_ahead_bytes: 256, segment_bytes: 600, ..Setup::default() };
    // The first start, operation by operation; then a sample.
    for (ops, partitions) in (0..80).chain((80..600).step_by(7)).flat_map(|n| [(n, 1), (n, 3)]) {
        let setup = Setup { partitions: Some(partitions), ..setup };
        let mut world = World::cold(MemDisk::default(), setup);
        let mut left = ops;
        // The disk stops for good: as if the power had gone.
        world.disk.fault = Some(Box::new(move |_| {
            left -= 1;
            (left < 0).then_some(DiskError::Io(5))
        }));
        world.settle();
        if world.opened {
            let c = world.client();
            for n in 0..40u8 {
                world.send(c, &[b"SET", &[n % 9], &[n; 60]]);
                world.pass(Duration::from_millis(40));
            }
        }
        for unsynced in [Unsynced::Kept, Unsynced::Lost, Unsynced::Mixed(ops as u64)] {
            let report = check(&world.disk.clone().crash(unsynced));
            let damage: Vec<_> =
                report.findings.iter().filter(|f| f.severity == Severity::Damage).collect();
            // Before META is there, the directory is no kvnode's yet.
            let meta_only = damage.iter().all(|f| f.problem == Problem::MetaMissing);
            let what = format!("{ops} operations, {partitions} partitions, {unsynced:?}");
            assert!(meta_only, "{what}: {damage:?}");
        }
    }
}

/// What a report tells of a file.
fn found<'r>(report: &'r CheckReport, name: &str) -> Vec<&'r Finding> {
    report.findings.iter().filter(|f| f.file == name).collect()
}

#[test]
fn every_flipped_byte_of_every_file_is_found() {
    let (world, _) = varied(small());
    let disk = world.disk.crash(Unsynced::Kept);
    let baseline = check(&disk).findings;
    assert!(baseline.is_empty(), "{baseline:?}");
    let names = disk.names();
    let count = |end: &str| names.iter().filter(|name| name.ends_with(end)).count();
    assert!(count(".log") >= 4 && count(".hint") >= 3, "{names:?}");
    let mut problems = BTreeSet::new();
    for name in &names {
        for at in 0..disk.bytes(name).len() {
            for bit in [0x01, 0x80] {
                let mut disk = disk.clone();
                disk.edit(name, |bytes| bytes[at] ^= bit);
                let report = check(&disk);
                let told = found(&report, name);
                // No byte is exempt: neither MARK's older slot nor the zeros ahead.
                assert!(!told.is_empty(), "{name} byte {at}: {:?}", report.findings);
                let near = told.iter().any(|f| f.position <= at as u64);
                assert!(near, "{name} byte {at}: {told:?}");
                problems.extend(told.iter().map(|f| {
                    let text = format!("{:?}", f.problem);
                    text.split([' ', '(']).next().unwrap_or_default().to_string()
                }));
            }
        }
    }
    for problem in
        ["MetaDamaged", "ManifestDamaged", "MarkSlot", "MarkExcess", "Header", "Lost", "Value"]
    {
        assert!(problems.contains(problem), "{problem}: {problems:?}");
    }
    assert!(problems.contains("TornTail") && problems.contains("HintUnfit"), "{problems:?}");
}

#[test]
fn what_a_check_calls_clean_the_next_start_serves_with_as_many_keys() {
    let (world, _) = varied(small());
    let disk = world.disk.crash(Unsynced::Kept);
    let mut noted = 0;
    for name in disk.names() {
        for at in (0..disk.bytes(&name).len()).step_by(3) {
            let mut disk = disk.clone();
            disk.edit(&name, |bytes| bytes[at] ^= 0x10);
            let report = check(&disk);
            if report.damaged {
                continue;
            }
            noted += 1;
            let mut world = World::open(disk, Setup { merge: false, ..small() });
            let c = world.client();
            let Reply::Array(keys) = world.call(c, &[b"KEYS", b"*"]) else { panic!("an array") };
            assert_eq!(keys.len() as u64, report.keys, "{name} byte {at}");
            assert_eq!(world.call(c, &[b"GET", b"absent"]), Reply::Null, "{name} byte {at}");
        }
    }
    assert!(noted > 100, "{noted}");
}

#[test]
fn every_cut_of_every_segment_is_found() {
    let (world, _) = varied(Setup { zero_ahead_bytes: 0, ..small() });
    let disk = world.disk.crash(Unsynced::Kept);
    for name in disk.segments() {
        for len in 0..disk.bytes(&name).len() {
            let mut disk = disk.clone();
            disk.edit(&name, |bytes| bytes.truncate(len));
            let report = check(&disk);
            let told = found(&report, &name);
            assert!(told.iter().any(|f| f.severity == Severity::Damage), "{name} cut to {len}");
            assert!(!report.losses.is_empty(), "{name} cut to {len}: {told:?}");
        }
    }
}

#[test]
fn a_torn_tail_is_a_note_and_the_next_start_cuts_just_that() {
    let setup = Setup { zero_ahead_bytes: 0, merge: false, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    world.set(c, b"k", b"v");
    let name = world.disk.segments()[0].clone();
    let whole = world.disk.bytes(&name).len();
    world.hold = true;
    world.send(c, &[b"MSET", b"a", &[1; 100], b"b", &[2; 100]]);
    world.settle();
    world.release_one();
    let disk = world.disk.crash(Unsynced::Kept);
    let end = disk.bytes(&name).len();
    assert!(end > whole + 200, "the write that is not acknowledged is on disk");
    for len in whole + 1..end {
        let mut disk = disk.clone();
        disk.edit(&name, |bytes| bytes.truncate(len));
        let report = check(&disk);
        assert!(!report.damaged, "{:?}", report.findings);
        let told = found(&report, &name);
        assert_eq!(told.len(), 1, "{:?}", report.findings);
        assert_eq!(told[0].position, whole as u64);
        // Zeros at the very end may as well be written ahead.
        let Problem::TornTail { bytes } = told[0].problem else { panic!("{:?}", told[0]) };
        assert!(bytes > 0 && bytes <= (len - whole) as u64);
        assert_eq!(report.keys, 1);
        let before = disk.bytes(&name)[..whole].to_vec();
        let world = World::open(disk, setup);
        assert_eq!(&world.disk.bytes(&name)[..whole], before);
        assert!(check(&world.disk.crash(Unsynced::Lost)).findings.is_empty());
    }
}

#[test]
fn missing_files_are_told_by_what_they_mean() {
    let (world, _) = varied(small());
    let disk = world.disk.crash(Unsynced::Kept);
    for name in disk.names() {
        let mut disk = disk.clone();
        disk.remove(&name);
        let report = check(&disk);
        let told = found(&report, &name);
        let severity = told.first().map(|f| f.severity);
        let expected = match name.rsplit(['.', '/']).next() {
            Some("hint") => None,
            Some("MARK") => Some(Severity::Note),
            _ => Some(Severity::Damage),
        };
        assert_eq!(severity, expected, "{name}: {:?}", report.findings);
    }
}

#[test]
fn a_partition_that_is_gone_is_a_loss_once_there_were_writes() {
    let setup = Setup { partitions: Some(3), ..Setup::default() };
    for written in [false, true] {
        let mut world = World::fresh(setup);
        let c = world.client();
        for n in 0..if written { 20u8 } else { 0 } {
            world.set(c, &[b'k', n], b"v");
        }
        let mut disk = world.stop();
        let names = disk.names();
        names.iter().filter(|n| n.starts_with("p1/")).for_each(|name| disk.remove(name));
        let report = check(&disk);
        assert_eq!(report.damaged, written, "{:?}", report.findings);
        let problem = Problem::ManifestMissing { beside_log: false };
        assert_eq!(found(&report, "p1/MANIFEST")[0].problem, problem);
    }
}

#[test]
fn leftovers_and_unknown_versions_are_told() {
    let (world, _) = varied(small());
    let disk = world.disk.crash(Unsynced::Kept);
    let mut left = disk.clone();
    left.run(DiskOp::Create(File::ManifestTmp(PartitionId(0)))).unwrap();
    let report = check(&left);
    assert!(!report.damaged);
    assert_eq!(found(&report, "p0/MANIFEST.tmp")[0].problem, Problem::Leftover);
    for name in ["META", "p0/MANIFEST"] {
        let mut disk = disk.clone();
        disk.edit(name, |bytes| bytes[8] = 99);
        let report = check(&disk);
        assert_eq!(found(&report, name)[0].problem, Problem::Version(99));
        assert!(report.damaged);
    }
    let name = &disk.segments()[0];
    let mut disk = disk.clone();
    disk.edit(name, |bytes| {
        bytes[8] = 7;
        let crc = crc(&bytes[..28]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    });
    assert_eq!(found(&check(&disk), name)[0].problem, Problem::Version(7));
}

/// CRC-32, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

/// Changes the one block and the footer (without the checksums) of a hint, and seals them anew.
fn forge_hint(disk: &mut MemDisk, name: &str, change: impl FnOnce(&mut Vec<u8>, &mut [u8])) {
    disk.edit(name, |bytes| {
        let mut footer = bytes.split_off(bytes.len() - 80);
        footer.truncate(72);
        change(bytes, &mut footer);
        footer.extend_from_slice(&crc(bytes).to_le_bytes());
        let seal = crc(&footer).to_le_bytes();
        footer.extend_from_slice(&seal);
        bytes.extend_from_slice(&footer);
    });
}

#[test]
fn a_whole_hint_that_lies_is_found() {
    const ENTRIES: usize = 4;
    let setup = Setup { zero_ahead_bytes: 0, segment_bytes: 500, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    for n in 0..12u8 {
        world.set(c, &[b'k', n], &[n; 60]);
    }
    world.compact();
    let disk = world.disk.crash(Unsynced::Kept);
    assert_eq!(check(&disk).findings, []);
    let hint = disk.names().into_iter().find(|name| name.ends_with(".hint")).unwrap();
    let entry = 12 + 2;
    let problem = |change: &dyn Fn(&mut Vec<u8>, &mut [u8])| {
        let mut disk = disk.clone();
        forge_hint(&mut disk, &hint, change);
        let report = check(&disk);
        assert!(report.damaged, "{:?}", report.findings);
        found(&report, &hint)[0].problem.clone()
    };
    assert_eq!(problem(&|b, _| b[ENTRIES + 4] ^= 1), Problem::HintDisagrees, "another place");
    assert_eq!(problem(&|b, _| b[ENTRIES + 8] ^= 1), Problem::HintDisagrees, "another length");
    assert_eq!(problem(&|b, _| b[ENTRIES + 13] ^= 1), Problem::HintDisagrees, "another key");
    assert_eq!(problem(&|_, footer| footer[60] ^= 1), Problem::HintDisagrees, "other sums");
    let lacks = problem(&|b, footer| {
        b.drain(ENTRIES..ENTRIES + entry);
        b[0] -= 1;
        footer[68] -= 1;
    });
    assert_eq!(lacks, Problem::HintLacks { keys: 1 });
}

/// Destroys the head of a record in the midst of a segment, whichever it is.
fn spoil(bytes: &mut [u8]) {
    // A put of a two-byte key and sixty bytes in the first segment, behind an epoch and two puts;
    // in a later one, the third put without the epoch.
    let put = 40 + 2 + 60;
    let first = if bytes[32 + 14] == 3 { 32 + 40 } else { 32 };
    bytes[first + 2 * put..][..20].fill(0x55);
}

#[test]
fn an_accepted_loss_is_served_as_absent_and_the_rest_as_it_was() {
    // Damage in the middle of the active segment, its end cut off, and in a hinted one.
    for case in ["active", "cut", "hinted", "missing"] {
        let segment_bytes = if case == "active" || case == "cut" { 1 << 20 } else { 600 };
        let setup = Setup { zero_ahead_bytes: 0, segment_bytes, ..Setup::default() };
        let mut world = World::fresh(setup);
        let c = world.client();
        for n in 0..20u8 {
            world.set(c, &[b'k', n], &[n; 60]);
        }
        world.compact();
        let mut disk = world.disk.crash(Unsynced::Kept);
        assert_eq!(accept(&mut disk), None, "nothing to accept");
        let name = disk.segments()[0].clone();
        match case {
            "cut" => disk.edit(&name, |bytes| bytes.truncate(300)),
            "missing" => disk.remove(&name),
            _ => disk.edit(&name, |bytes| spoil(bytes)),
        }
        let damaged = check(&disk);
        assert!(damaged.damaged, "{case}");

        let mut world = World::open(disk.clone(), setup);
        let c = world.client();
        let replies: Vec<_> = (0..20).map(|n| world.call(c, &[b"GET", &[b'k', n]])).collect();
        assert!(replies.iter().any(|r| error_code(r) == Some("CORRUPT")), "{case}: {replies:?}");

        let accepted = accept(&mut disk).expect("there is a loss");
        assert_eq!(accepted.len(), 1, "{case}");
        let report = check(&disk);
        assert!(!report.damaged, "{case}: {:?}", report.findings);
        assert!(report.losses.is_empty());
        let accepted = report.findings.iter().any(|f| {
            matches!(
                &f.problem,
                Problem::Lost(loss) | Problem::SegmentMissing(Some(loss))
                    if loss.standing == Standing::Accepted
            )
        });
        assert!(accepted, "{case}: {:?}", report.findings);

        for restart in 0..3 {
            let mut world = World::open(disk.clone().crash(Unsynced::Lost), setup);
            let c = world.client();
            let mut absent = 0;
            for n in 0..20u8 {
                match world.get(c, &[b'k', n]) {
                    Some(value) => assert_eq!(value, [n; 60], "{case}"),
                    None => absent += 1,
                }
            }
            assert!((1..20).contains(&absent), "{case}: {absent} are gone");
            assert_eq!(world.get(c, b"absent"), None, "{case}");
            let Reply::Int(keys) = world.call(c, &[b"DBSIZE"]) else { panic!() };
            assert_eq!(keys, 20 - absent, "{case}");
            world.compact();
            let report = check(&world.disk.clone().crash(Unsynced::Lost));
            assert!(!report.damaged, "{case}, restart {restart}: {:?}", report.findings);
            assert_eq!(report.keys, keys as u64, "{case}");
            disk = if restart == 1 { world.stop() } else { world.disk.crash(Unsynced::Lost) };
        }
    }
}

#[test]
fn damage_below_an_accepted_loss_that_comes_later_is_told_and_not_served_as_absent() {
    let setup = Setup { zero_ahead_bytes: 0, segment_bytes: 600, merge: false, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    for n in 0..20u8 {
        world.set(c, &[b'k', n], &[n; 60]);
    }
    let mut disk = world.disk.crash(Unsynced::Kept);
    let names = disk.segments();
    disk.edit(&names[2], |bytes| spoil(bytes));
    accept(&mut disk).expect("there is a loss");
    disk.edit(&names[0], |bytes| spoil(bytes));
    // With its hint the segment's keys would be known, and no others doubtful.
    disk.remove(&names[0].replace(".log", ".hint"));
    assert!(check(&disk).damaged);
    let mut world = World::open(disk, setup);
    let c = world.client();
    assert_eq!(error_code(&world.call(c, &[b"GET", b"absent"])), Some("CORRUPT"));
}

#[test]
fn a_flush_behind_a_loss_makes_it_good() {
    let setup = Setup { zero_ahead_bytes: 0, merge: false, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    for n in 0..10u8 {
        world.set(c, &[b'k', n], &[n; 60]);
    }
    assert_eq!(world.call(c, &[b"FLUSHALL"]), Reply::OK);
    world.set(c, b"after", b"v");
    let mut disk = world.disk.crash(Unsynced::Kept);
    let name = disk.segments()[0].clone();
    disk.edit(&name, |bytes| spoil(bytes));
    let report = check(&disk);
    assert!(!report.damaged && report.losses.is_empty(), "{:?}", report.findings);
    assert_eq!(report.keys, 1);
    let mut world = World::open(disk, setup);
    let c = world.client();
    assert_eq!(world.get(c, b"absent"), None);
}

#[test]
fn a_read_error_is_a_finding_and_the_check_goes_on() {
    let (world, _) = varied(small());
    let disk = world.disk.crash(Unsynced::Kept);
    let whole = check(&disk).records;
    let (bad, mut disk) = (disk.segments()[1].clone(), disk);
    let name = bad.clone();
    disk.fault = Some(Box::new(move |op| {
        let hit = matches!(op, DiskOp::Read { file, .. } if file.to_string() == name);
        hit.then_some(DiskError::Io(5))
    }));
    let mut checker = Checker::new();
    while let Some(op) = checker.poll() {
        checker.on_disk(disk.run(op));
    }
    let report = checker.finish().unwrap();
    assert_eq!(found(&report, &bad)[0].problem, Problem::Unreadable(DiskError::Io(5)));
    assert!(report.records > whole / 2 && report.records < whole);
}

#[test]
fn an_end_of_the_log_that_could_not_be_read_is_a_loss_that_can_be_accepted() {
    let setup = Setup { merge: false, ..small() };
    let (world, _) = varied(setup);
    let disk = world.disk.crash(Unsynced::Kept);
    let name = disk.segments().pop().expect("a segment");
    let mut world = World::cold(disk, setup);
    let unreadable = name.clone();
    world.disk.fault = Some(Box::new(move |op| {
        let hit = matches!(op, DiskOp::Read { file, .. } if file.to_string() == unreadable);
        hit.then_some(DiskError::Io(5))
    }));
    world.settle();
    world.pass(Duration::from_secs(20));
    assert!(world.opened, "{:?}", world.notices);
    let client = world.client();
    world.set(client, b"later", b"v");
    let mut disk = world.stop();
    disk.fault = None;
    let report = check(&disk);
    assert!(report.damaged && report.losses.len() == 1, "{:?}", report.findings);
    accept(&mut disk).expect("there is a loss");
    let mut world = World::open(disk, setup);
    let client = world.client();
    assert_eq!(world.call(client, &[b"GET", b"absent"]), Reply::Null);
    assert_eq!(world.get(client, b"later"), Some(b"v".to_vec()));
}
