//! The fault table, row by row: what a single node does when its disk fails it.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

mod world;

use std::time::Duration;

use kvnode_core::disk::{Dir, DiskError, DiskOp, File};
use kvnode_core::limits::SEGMENT_IDS_KEPT;
use kvnode_core::reply::Reply;
use kvnode_core::shard::{FsyncMode, Input};
use kvnode_core::storage::format::Manifest;
use kvnode_core::storage::keydir::SEGMENT_ID_MAX;
use kvnode_core::{ClientId, Offset, PartitionId, SegmentId, slot};
use world::disk::Unsynced;
use world::{Setup, World, error_code};

/// What INFO tells of making the log durable, and of writing it.
fn statuses(world: &mut World, client: ClientId) -> [String; 2] {
    let Reply::Verbatim(info) = world.call(client, &[b"INFO", b"persistence"]) else { panic!() };
    ["rdb_last_bgsave_status:", "aof_last_write_status:"].map(|name| {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.expect("the field").to_owned()
    })
}

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
    assert_eq!(statuses(&mut world, c), ["ok", "err"], "what is logged is durable");
    world.disk.capacity = None;
    world.pass(Duration::from_secs(2));
    world.set(c, b"big", b"fits");
    assert_eq!(statuses(&mut world, c), ["ok", "ok"]);
    // What was refused is not there after a crash either.
    let mut world = World::open(world.disk.crash(Unsynced::Kept), Setup::default());
    let c = world.client();
    assert_eq!(world.get(c, b"big"), Some(b"fits".to_vec()));
    assert_eq!(world.get(c, b"k"), Some(b"v".to_vec()));
}

#[test]
fn a_save_ends_though_a_full_disk_takes_back_what_it_waits_for() {
    let mut world = World::fresh(Setup { zero_ahead_bytes: 0, ..Setup::default() });
    let (c, saver) = (world.client(), world.client());
    world.set(c, b"k", b"v");
    world.disk.capacity = Some(world.disk.used() + 100);
    world.hold = true;
    world.send(c, &[b"SET", b"big", &[1; 400]]);
    world.send(saver, &[b"SAVE"]);
    world.release_all();
    assert_eq!(error_code(&world.reply(c).unwrap()), Some("DISKFULL"));
    world.pass(Duration::from_millis(100));
    assert_eq!(world.reply(saver), Some(Reply::OK), "all that was acknowledged is durable");
}

#[test]
fn writes_are_refused_before_the_numbers_of_segments_come_to_their_end() {
    let setup = Setup { segment_bytes: 1000, zero_ahead_bytes: 0, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    world.set(c, b"k", b"v");
    let mut disk = world.stop();
    disk.edit("p0/MANIFEST", |bytes| {
        let mut manifest = Manifest::decode(bytes, PartitionId(0)).unwrap();
        manifest.next_segment = SEGMENT_ID_MAX.0 - SEGMENT_IDS_KEPT - 2;
        *bytes = manifest.encode();
    });
    let mut world = World::open(disk, setup);
    let c = world.client();
    let mut taken = 0;
    while world.call(c, &[b"SET", b"more", &[taken; 100]]) == Reply::OK {
        taken += 1;
        assert!(taken < 100, "it goes on beyond the last");
    }
    assert!(taken > 10, "{taken}");
    for command in ["SET k w", "DEL k", "FLUSHALL"] {
        let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let reply = world.call(c, &args);
        let Reply::Error(text) = &reply else { panic!("{reply:?}") };
        assert!(text.contains("as many segments as it can: the write was not applied"), "{text}");
    }
    // Neither does it merge, and a restart changes nothing.
    let before = world.disk.segments();
    world.compact();
    assert_eq!(world.disk.segments(), before);
    let mut world = World::open(world.disk.crash(Unsynced::Lost), setup);
    let c = world.client();
    assert_eq!(world.get(c, b"k"), Some(b"v".to_vec()));
    assert_eq!(world.get(c, b"more"), Some(vec![taken - 1; 100]));
    assert_eq!(error_code(&world.call(c, &[b"SET", b"k", b"w"])), Some("DISKFULL"));
}

#[test]
fn a_file_that_nobody_made_does_not_use_up_the_numbers_of_segments() {
    let mut world = World::fresh(Setup::default());
    let c = world.client();
    world.set(c, b"k", b"v");
    let mut disk = world.stop();
    let stray = File::Segment(PartitionId(0), Offset(7), SegmentId(SEGMENT_ID_MAX.0 + 10));
    disk.run(DiskOp::Create(stray)).unwrap();
    let mut world = World::open(disk, Setup::default());
    let c = world.client();
    world.set(c, b"k", b"w");
}

#[test]
fn what_helps_is_said_where_the_mark_can_not_be_read() {
    let mut world = World::fresh(Setup::default());
    let c = world.client();
    world.set(c, b"k", b"v");
    let mut disk = world.stop();
    disk.fault = Some(Box::new(|op| {
        matches!(op, DiskOp::Read { file: File::Mark(_), .. }).then_some(DiskError::Io(5))
    }));
    let mut world = World::cold(disk, Setup::default());
    world.pass(Duration::from_secs(20));
    assert!(!world.opened && world.refused.is_none());
    let help =
        |text: &String| text.contains("MARK could not be read") && text.contains("delete p0/MARK");
    assert!(world.notices.iter().all(help) && !world.notices.is_empty(), "{:?}", world.notices);
    // It was right.
    world.disk.fault = None;
    world.disk.remove("p0/MARK");
    world.pass(Duration::from_secs(5));
    assert!(world.opened, "{:?}", world.notices);
    let c = world.client();
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
fn a_stop_while_the_disk_is_taken_for_full_ends() {
    let setup = Setup { segment_bytes: 1000, zero_ahead_bytes: 0, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    // The active segment has grown so long that a stop would rather seal it.
    (0..6u8).for_each(|n| world.set(c, &[n], &[n; 60]));
    world.disk.fault = Some(Box::new(|op| {
        matches!(op, DiskOp::Write { data, .. } if data.len() > 200).then_some(DiskError::Full)
    }));
    let refused = world.call(c, &[b"SET", b"k", &[0; 200]]);
    assert_eq!(error_code(&refused), Some("DISKFULL"));
    world.disk.fault = None;
    let mut world = World::open(world.stop(), setup);
    let c = world.client();
    assert_eq!(world.call(c, &[b"DBSIZE"]), Reply::Int(6));
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
    assert_eq!(statuses(&mut world, c), ["err", "err"]);
    world.pass(Duration::from_secs(2));
    assert_eq!(statuses(&mut world, c), ["ok", "ok"]);
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
            // What is done at the root is told to the driver, which ends.
            let root = matches!(op, DiskOp::List(Dir::Root) | DiskOp::SyncDir(Dir::Root))
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

#[test]
fn an_exec_that_can_not_wait_for_the_clock_ends_its_transaction() {
    let mut world = World::fresh(Setup { merge: false, ..Setup::default() });
    let client = world.client();
    let other = world.client();
    assert_eq!(world.call(client, &[b"SET", b"k", b"v", b"PX", b"50"]), Reply::OK);
    assert_eq!(world.call(client, &[b"WATCH", b"k"]), Reply::OK);
    world.disk.capacity = Some(world.disk.used());
    let full = world.call(other, &[b"SET", b"big", &[1; 4000]]);
    assert_eq!(error_code(&full), Some("DISKFULL"));
    world.now.mono = world.now.mono.after(Duration::from_millis(60));
    world.now.wall_us += 60_000;
    assert_eq!(world.call(client, &[b"MULTI"]), Reply::OK);
    world.call(client, &[b"SET", b"k", b"w"]);
    let exec = world.call(client, &[b"EXEC"]);
    assert_eq!(error_code(&exec), Some("DISKFULL"), "{exec:?}");
    assert_eq!(world.call(client, &[b"PING"]), Reply::Simple("PONG"));
}

#[test]
fn a_disk_that_is_full_at_the_start_is_tried_again_until_there_is_room() {
    let setup = Setup { zero_ahead_bytes: 0, ..Setup::default() };
    let mut world = World::fresh(setup);
    let client = world.client();
    world.set(client, b"k", b"v");
    let mut disk = world.stop();
    let full = |op: &DiskOp| matches!(op, DiskOp::Write { at, .. } if *at > 32);
    let log = |op: &DiskOp| matches!(op, DiskOp::Write { file, .. } if file.to_string().ends_with(".log"));
    disk.fault = Some(Box::new(move |op| (full(op) && log(op)).then_some(DiskError::Full)));
    let mut world = World::cold(disk, setup);
    world.settle();
    world.pass(Duration::from_secs(5));
    assert!(!world.opened);
    world.disk.fault = None;
    world.pass(Duration::from_secs(5));
    assert!(world.opened, "{:?}", world.notices);
    let client = world.client();
    assert_eq!(world.get(client, b"k").as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_write_whose_remains_could_not_be_cut_off_is_told_unknown() {
    let setup = Setup { zero_ahead_bytes: 0, ..Setup::default() };
    let mut world = World::fresh(setup);
    let (one, two) = (world.client(), world.client());
    world.hold = true;
    world.send(one, &[b"SET", b"a", b"1"]);
    world.send(two, &[b"SET", b"b", &[2; 600]]);
    world.settle();
    // The first record gets to the disk, the second does not, and the cut fails.
    let Some((_, DiskOp::Write { file, at, data })) = world.held.front().cloned() else {
        panic!("a write")
    };
    world.disk.run(DiskOp::Write { file, at, data: data.slice(..200) }).unwrap();
    world.answer_one(Err(DiskError::Full));
    while !matches!(world.held.front(), Some((_, DiskOp::Truncate { .. }))) {
        world.release_one().expect("a cut is to come");
    }
    world.answer_one(Err(DiskError::Io(5)));
    world.release_all();
    let told = [one, two].map(|client| world.reply(client).expect("it is told"));
    for reply in &told {
        assert_eq!(error_code(reply), Some("UNKNOWN"), "{reply:?}");
    }
    world.pass(Duration::from_secs(5));
    assert_eq!(world.get(one, b"a").as_deref(), Some(&b"1"[..]), "it was applied after all");
    assert_eq!(world.get(one, b"b"), None);
}

#[test]
fn a_replica_opens_again_only_once_its_earlier_life_is_over() {
    let setup = Setup { segment_bytes: 600, ..Setup::default() };
    let mut world = World::fresh(setup);
    let client = world.client();
    world.set(client, b"a", &[1; 500]);
    world.hold = true;
    // A roll fails at its first operation, while the disk is still at the others.
    world.send(client, &[b"SET", b"b", &[2; 500]]);
    world.settle();
    world.answer_one(Err(DiskError::Io(5)));
    assert_eq!(world.reply(client).as_ref().and_then(error_code), Some("DOWN"));
    world.pass(Duration::from_secs(3));
    while let Some((_, op)) = world.held.front() {
        let opens = |op: &DiskOp| matches!(op, DiskOp::List(_));
        assert!(!opens(op), "nothing of the earlier life is left");
        assert!(!world.held.iter().any(|(_, op)| opens(op)), "{:?}", world.held);
        let last = world.held.len() == 1;
        world.release_one();
        if last {
            break;
        }
    }
    world.release_all();
    world.pass(Duration::from_secs(3));
    assert_eq!(world.get(client, b"a").as_deref(), Some(&[1; 500][..]));
    assert_eq!(world.get(client, b"b"), None);
}

#[test]
fn an_exec_aborts_after_a_failed_fsync_that_lost_what_was_watched() {
    let setup = Setup {
        fsync: FsyncMode::EveryMs(50),
        partitions: Some(2),
        merge: false,
        ..Setup::default()
    };
    let home = |key: &[u8]| slot::partition(slot::slot(key), 2).0;
    let of = |partition| (0..).map(|n: u8| [n]).filter(move |key| home(key) == partition);
    let ([there, deleted], other) = ([0, 1].map(|n| of(0).nth(n).unwrap()), of(1).next().unwrap());
    let mut world = World::fresh(setup);
    let client = world.client();
    world.set(client, &deleted, b"old");
    world.pass(Duration::from_millis(100));
    // These two changes are acknowledged and not durable.
    world.set(client, &there, b"lost");
    assert_eq!(world.call(client, &[b"DEL", &deleted]), Reply::Int(1));
    let watchers = [there, deleted, other].map(|key| {
        let client = world.client();
        assert_eq!(world.call(client, &[b"WATCH", &key]), Reply::OK);
        world.call(client, &[b"GET", &key]);
        client
    });
    let mut armed = true;
    world.disk.fault = Some(Box::new(move |op| {
        let log = matches!(op, DiskOp::Sync(file) if file.to_string().starts_with("p0/0"));
        (log && core::mem::take(&mut armed)).then_some(DiskError::Io(5))
    }));
    world.pass(Duration::from_secs(3));
    assert_eq!(world.get(client, &there), None, "it is lost");
    assert_eq!(world.get(client, &deleted), Some(b"old".to_vec()), "its deletion is lost");
    for (client, survives) in watchers.into_iter().zip([false, false, true]) {
        assert_eq!(world.call(client, &[b"MULTI"]), Reply::OK);
        world.call(client, &[b"PING"]);
        let done = world.call(client, &[b"EXEC"]);
        let expected =
            if survives { Reply::Array(vec![Reply::Simple("PONG")]) } else { Reply::NullArray };
        assert_eq!(done, expected);
    }
}

#[test]
fn a_roll_that_finds_no_room_leaves_no_file_behind() {
    let setup =
        Setup { segment_bytes: 1000, zero_ahead_bytes: 0, merge: false, ..Setup::default() };
    for step in ["create", "header", "sync", "old", "dir"] {
        let mut world = World::fresh(setup);
        let client = world.client();
        for n in 0..8u8 {
            world.set(client, &[n], &[n; 60]);
        }
        let before = world.disk.names();
        assert_eq!(world.disk.segments().len(), 1);
        world.disk.fault = Some(Box::new(move |op| {
            let full = match op {
                DiskOp::Create(file) => step == "create" && file.to_string().ends_with(".log"),
                DiskOp::Write { file, at: 0, .. } => {
                    step == "header" && file.to_string().ends_with(".log")
                }
                DiskOp::Sync(file) => step == "sync" && !file.to_string().ends_with("00000000.log"),
                DiskOp::SyncDir(_) => step == "dir",
                DiskOp::Truncate { .. } => step == "old",
                _ => false,
            };
            full.then_some(DiskError::Full)
        }));
        for _ in 0..5 {
            let reply = world.call(client, &[b"SET", b"big", &[1; 500]]);
            assert_eq!(error_code(&reply), Some("DISKFULL"), "{step}: {reply:?}");
            world.pass(Duration::from_secs(2));
        }
        assert_eq!(world.disk.names(), before, "{step}");
        world.disk.fault = None;
        world.set(client, b"big", &[1; 500]);
        assert_eq!(world.disk.segments().len(), 2);
        assert_eq!(world.get(client, b"\x03"), Some(vec![3; 60]));
    }
}

#[test]
fn a_mark_that_can_not_be_written_is_said_once_until_it_can() {
    let mut world = World::fresh(Setup { merge: false, ..Setup::default() });
    let client = world.client();
    for round in 1..4 {
        world.disk.fault = Some(Box::new(|op| {
            let mark = matches!(op, DiskOp::Write { file, .. } if file.to_string() == "p0/MARK");
            mark.then_some(DiskError::Full)
        }));
        for n in 0..10u8 {
            world.set(client, &[n], &[n; 600]);
        }
        let said = world.notices.iter().filter(|n| n.contains("MARK could not be written"));
        assert_eq!(said.count(), round, "{:?}", world.notices);
        world.disk.fault = None;
        world.set(client, b"k", b"v");
    }
}

/// A world of which the log of eight keys, not fsynced yet, is about to be rolled; the operations of
/// the roll are held.
fn rolling() -> (World, ClientId) {
    let setup = Setup {
        segment_bytes: 1000,
        zero_ahead_bytes: 0,
        merge: false,
        fsync: FsyncMode::Never,
        ..Setup::default()
    };
    let mut world = World::fresh(setup);
    let client = world.client();
    for n in 0..8u8 {
        world.set(client, &[n], &[n; 60]);
    }
    world.hold = true;
    world.send(client, &[b"SET", b"big", &[1; 500]]);
    world.settle();
    assert_eq!(world.disk.segments().len(), 1);
    (world, client)
}

/// The fsync of the log that is rolled fails, and loses some of what it was to make durable.
fn fail_old_sync(world: &mut World, seed: u64) {
    let at = |op: &(_, DiskOp)| matches!(&op.1, DiskOp::Sync(File::Segment(_, Offset(0), _)));
    let at = world.held.iter().position(at).expect("the old segment's fsync");
    let (io, DiskOp::Sync(file)) = world.held.remove(at).unwrap() else { unreachable!() };
    world.disk.fail_sync(file, seed);
    world.shard.handle(world.now, Input::Disk(io, Err(DiskError::Io(5))));
    world.settle();
}

#[test]
fn a_failed_fsync_at_a_roll_is_one_like_any_other() {
    for seed in 0..8 {
        let (mut world, client) = rolling();
        fail_old_sync(&mut world, seed);
        world.release_all();
        assert!(world.notices.iter().any(|n| n.contains("an fsync failed")), "{:?}", world.notices);
        assert_eq!(error_code(&world.reply(client).unwrap()), Some("DOWN"));
        world.pass(Duration::from_secs(3));
        assert_eq!(world.call(client, &[b"DBSIZE"]), Reply::Int(0), "nothing of it is trusted");
        world.set(client, b"k", b"v");
        assert!(world.disk.segments().len() > 1, "it goes on in a new segment");
    }
}

#[test]
fn a_failed_fsync_at_a_roll_that_a_full_disk_has_ended_is_not_passed_over() {
    for seed in 0..8 {
        let (mut world, client) = rolling();
        let create = |op: &(_, DiskOp)| matches!(op.1, DiskOp::Create(_));
        let at = world.held.iter().position(create).expect("the new segment is made");
        let (io, _) = world.held.remove(at).unwrap();
        world.shard.handle(world.now, Input::Disk(io, Err(DiskError::Full)));
        world.settle();
        assert_eq!(error_code(&world.reply(client).unwrap()), Some("DISKFULL"));
        fail_old_sync(&mut world, seed);
        world.release_all();
        world.pass(Duration::from_secs(3));
        // Another fsync makes nothing durable of what the first one has lost, and says it did.
        for n in 0..20u8 {
            world.set(client, &[b'l', n], &[n; 60]);
        }
        let mut world = World::open(world.disk.crash(Unsynced::Lost), Setup::default());
        let client = world.client();
        for n in 0..8u8 {
            // Lost is all that it can be.
            let value = world.get(client, &[n]);
            assert!(value.is_none_or(|value| value == [n; 60]), "seed {seed}, key {n}");
        }
    }
}
