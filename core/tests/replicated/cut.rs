//! Cutting the log: durable, and whole or done after a crash at any point.

use kvnode_core::disk::{Dir, DiskError, DiskOp};
use kvnode_core::storage::format::Manifest;
use kvnode_core::storage::replica::{Dropped, Found};
use kvnode_core::{Epoch, Offset, PartitionId};

use crate::node::{Content, Node, SETTINGS, quiet};
use crate::world::MemDisk;
use crate::world::disk::Unsynced;

/// A log of two reigns in several segments, the second from offset 21 on; and what it holds when
/// the first alone counts.
fn two_reigns() -> (Node, Content) {
    let mut node = Node::leader(quiet(), 3);
    for n in 0..20u8 {
        node.put(&[b'k', n % 7], &[n; 60]);
    }
    node.commit_all();
    let content = node.content();
    assert_eq!(node.replica.begin_reign(Epoch(5)), Offset(21));
    for n in 0..20u8 {
        node.put(&[b'k', n % 9], &[100 + n; 60]);
    }
    node.settle();
    assert!(node.disk.segments().len() > 4);
    (node, content)
}

fn reopened(disk: MemDisk) -> Node {
    Node::open(disk, quiet())
}

#[test]
fn a_cut_log_ends_there_and_holds_what_it_held_there() {
    let (mut node, content) = two_reigns();
    node.opened = 0;
    node.replica.cut(node.now, Offset(21), &mut node.cache);
    node.settle();
    assert_eq!(node.dropped, [(Offset(21), Dropped::Unknown)]);
    assert_eq!((node.opened, node.replica.log_end()), (1, Offset(21)));
    assert_eq!(node.replica.high_watermark(), Offset(21), "it was committed, and is not undone");
    assert_eq!(node.replica.epochs().list(), [(Epoch(3), Offset(0))]);
    assert_eq!(node.replica.epoch(), Epoch(3));
    assert_eq!(node.content(), content);
    // It goes on, and nothing of what was cut comes back.
    assert_eq!(node.replica.begin_reign(Epoch(6)), Offset(21));
    node.put(b"new", b"one");
    let mut node = reopened(node.disk.crash(Unsynced::Lost));
    node.commit_all();
    let mut content = content;
    content.insert(b"new".to_vec(), b"one".to_vec());
    assert_eq!(node.content(), content);
}

#[test]
fn a_crash_after_each_disk_operation_of_a_cut_leaves_the_log_whole_or_cut() {
    for (from, what) in [(21, "between"), (10, "below the watermark"), (0, "all")] {
        let (mut whole, mut cut, mut ended) = (0, 0, false);
        for crash_after in 0.. {
            if ended {
                break;
            }
            let (mut node, _) = two_reigns();
            let disk = std::mem::take(&mut node.disk).crash(Unsynced::Lost);
            let mut node = reopened(disk);
            node.hold = true;
            node.replica.cut(node.now, Offset(from), &mut node.cache);
            node.settle();
            let mut done = 0;
            while done < crash_after && node.release(0).is_some() {
                done += 1;
            }
            ended = done < crash_after;
            for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Mixed(crash_after)] {
                let mut again = reopened(node.disk.clone().crash(unsynced));
                let end = again.replica.log_end().0;
                let context = format!("{what}: {unsynced:?} after {crash_after}: {end}");
                assert!(!again.replica.damaged(), "{context}: {:?}", again.notices);
                assert!(end == 42 || end == from, "{context}");
                assert!(!ended || end == from, "{context}");
                whole += u32::from(end == 42);
                cut += u32::from(end == from);
                let told = again.replica.high_watermark();
                assert!(told.0 <= end, "{context}");
                assert_eq!(
                    again.log(0, 300).last().map_or(0, |last| last.next.0),
                    end,
                    "{context}"
                );
                // What is logged next is not taken for what was cut.
                again.replica.begin_reign(Epoch(9));
                again.put(b"after", b"it");
                let again = reopened(again.disk.crash(Unsynced::Lost));
                assert_eq!(again.replica.log_end().0, end + 2, "{context}");
                assert!(
                    again.replica.high_watermark() <= told,
                    "{context}: none of it is committed"
                );
            }
        }
        assert!(whole > 10 && cut > 10, "{what}: {whole} {cut}");
    }
}

#[test]
fn what_compaction_has_superseded_can_not_be_cut_to() {
    // The old value of a key is dropped although it stands before the cut, for the newer one is
    // committed.
    let settings = quiet();
    let mut node = Node::leader(settings, 1);
    node.put(b"key", b"old");
    for n in 0..10u8 {
        node.put(b"churn", &[n; 60]);
    }
    let before = node.replica.log_end();
    for n in 0..30u8 {
        node.put(&[b'k', n], &[n; 60]);
    }
    node.put(b"key", b"new");
    for n in 0..30u8 {
        node.put(&[b'l', n], &[n; 60]);
    }
    node.commit_all();
    let mut node = Node::open(node.disk.crash(Unsynced::Lost), SETTINGS);
    node.commit_all();
    node.compact();
    assert!(node.replica.status().counters.merges > 0);
    node.replica.cut(node.now, before, &mut node.cache);
    node.settle();
    assert_eq!(node.replica.log_end(), Offset(0), "{:?}", node.notices);
    assert_eq!(node.replica.tombstone_horizon(), Offset(0));
    assert!(node.content().is_empty() && node.replica.epochs().list().is_empty());
    // What stands in the way is gone: the old files are deleted.
    assert_eq!(node.disk.segments().len(), 1);
}

#[test]
fn a_cut_at_the_watermark_of_the_last_compaction_is_a_cut() {
    let mut node = Node::leader(SETTINGS, 1);
    for n in 0..60u8 {
        node.put(&[b'k', n % 5], &[n; 60]);
    }
    node.commit_all();
    node.compact();
    let (end, content) = (node.replica.log_end(), node.content());
    node.replica.begin_reign(Epoch(2));
    for n in 0..30u8 {
        node.put(&[b'k', n % 5], &[200 + n % 50; 60]);
    }
    node.replica.cut(node.now, end, &mut node.cache);
    node.settle();
    assert_eq!(node.replica.log_end(), end);
    assert_eq!(node.content(), content);
}

#[test]
fn a_cut_waits_for_what_is_in_flight() {
    let (mut node, _) = two_reigns();
    node.hold = true;
    node.append(&[(b"late", Some(b"one"))]);
    node.settle();
    let late = node.held.len();
    assert!(late > 0);
    node.opened = 0;
    node.replica.cut(node.now, Offset(30), &mut node.cache);
    node.settle();
    assert_eq!(node.held.len(), late, "nothing is asked for before the disk has answered");
    for _ in 0..late {
        node.release(0);
    }
    // Its deadline is due at once, for an owner that only ticks.
    node.replica.advance(node.now, &mut node.cache);
    node.settle();
    node.release_all();
    assert_eq!((node.opened, node.replica.log_end()), (1, Offset(30)));
    assert_eq!(node.log(0, 1000).len(), 30);
}

#[test]
fn a_cut_goes_on_after_a_disk_fault() {
    for nth in 1..20 {
        let (mut node, content) = two_reigns();
        let mut left = nth;
        node.disk.fault = Some(Box::new(move |_| {
            left -= 1;
            (left == 0).then_some(DiskError::Io(5))
        }));
        node.opened = 0;
        node.replica.cut(node.now, Offset(21), &mut node.cache);
        node.settle();
        node.pass(std::time::Duration::from_secs(5));
        assert_eq!((node.opened, node.replica.log_end()), (1, Offset(21)), "{:?}", node.notices);
        assert_eq!(node.content(), content);
        // What is before the cut is in the log, and others have it: it is not called refused.
        let unknown = node.dropped.iter().all(|&(_, what)| what == Dropped::Unknown);
        assert!(unknown, "operation {nth}: {:?}", node.dropped);
    }
}

#[test]
fn what_was_committed_and_is_cut_is_not_remembered_by_its_place() {
    // The two have the same records at the same places, but for the bytes of the last value.
    let node = |value: &[u8]| {
        let mut node = Node::leader(quiet(), 1);
        node.cache.on = true;
        node.put(b"key", value);
        node.commit_all();
        node
    };
    let (mut node, mut other) = (node(b"old"), node(b"new"));
    // An operator has elected the other one.
    node.replica.cut(node.now, Offset(1), &mut node.cache);
    node.settle();
    node.copy_all(&mut other, 1_000);
    node.commit_all();
    let Found::Committed(entry) = node.replica.find(b"key") else { panic!("it is committed") };
    let remembered = node.replica.read_now(b"key", entry.place, &mut node.cache);
    assert!(remembered.is_none_or(|value| value.to_vec() == b"new"));
    assert_eq!(node.content()[&b"key"[..]], b"new");
}

#[test]
fn a_cut_where_the_log_ends_changes_nothing() {
    let (mut node, _) = two_reigns();
    node.opened = 0;
    node.disk.keep_log = true;
    node.replica.cut(node.now, Offset(41 + 1), &mut node.cache);
    node.settle();
    assert_eq!((node.opened, node.replica.log_end()), (1, Offset(42)));
    assert!(node.disk.log.is_empty() && node.dropped.is_empty());
}

#[test]
fn a_cut_within_a_batch_ends_before_it() {
    let mut node = Node::leader(quiet(), 1);
    node.put(b"a", b"1");
    node.append(&[(b"b", Some(b"2")), (b"c", Some(b"3")), (b"d", Some(b"4"))]);
    node.settle();
    node.replica.cut(node.now, Offset(4), &mut node.cache);
    node.settle();
    assert_eq!(node.replica.log_end(), Offset(2));
}

#[test]
fn a_directory_is_fsynced_only_once_its_files_are_there() {
    let mut node = Node::cold(MemDisk::default(), quiet());
    node.hold = true;
    node.settle();
    let mut fsynced = 0;
    while !node.held.is_empty() {
        let is_sync = |op: &DiskOp| matches!(op, DiskOp::SyncDir(Dir::Partition(_)));
        let is_create = |op: &DiskOp| matches!(op, DiskOp::Create(_) | DiskOp::Rename { .. });
        if node.held.iter().any(|(_, op)| is_sync(op)) {
            // A driver may do it first.
            assert!(!node.held.iter().any(|(_, op)| is_create(op)), "{:?}", node.held);
            fsynced += 1;
        }
        node.release(0);
    }
    assert!(node.opened == 1 && fsynced >= 2, "{:?} {fsynced}", node.refused);
}

#[test]
fn a_reign_that_the_manifest_names_and_the_log_does_not_hold_is_forgotten() {
    let (node, _) = two_reigns();
    let mut disk = node.disk.crash(Unsynced::Lost);
    // As where its first record was taken back, from a full disk, behind a change of the manifest.
    disk.edit("p3/MANIFEST", |bytes| {
        let mut manifest = Manifest::decode(bytes, PartitionId(3)).unwrap();
        manifest.epochs = vec![(Epoch(3), Offset(0)), (Epoch(4), Offset(21))];
        *bytes = manifest.encode();
    });
    let node = reopened(disk);
    assert_eq!(node.replica.epochs().list(), [(Epoch(3), Offset(0)), (Epoch(5), Offset(21))]);
}

#[test]
fn a_clock_that_was_never_committed_is_gone_with_its_records() {
    let mut node = Node::leader(quiet(), 3);
    node.put(b"key", b"value");
    node.commit_all();
    let (end, clock) = (node.replica.log_end(), node.clock);
    assert_eq!(node.replica.committed_clock(), clock);
    node.clock += 10_000;
    node.put(b"key", b"never committed");
    let mut node = reopened(node.disk.crash(Unsynced::Lost));
    assert!(node.replica.committed_clock() <= clock);
    assert!(node.replica.log_clock() > clock + 10_000, "what comes behind it is not earlier");
    node.replica.cut(node.now, end, &mut node.cache);
    node.settle();
    assert!(node.replica.committed_clock() <= clock);
    assert_eq!(node.replica.log_clock(), clock);
    let node = reopened(node.disk.crash(Unsynced::Lost));
    assert_eq!((node.replica.log_end(), node.replica.log_clock()), (end, clock));
    // What is committed counts as soon as all that was found is.
    let mut node = reopened(node.disk.crash(Unsynced::Lost));
    node.commit_all();
    assert_eq!(node.replica.committed_clock(), clock);
}

#[test]
fn a_cut_within_a_segment_that_has_lost_its_header_is_refused_in_words() {
    let (mut node, _) = two_reigns();
    let name = node.disk.segments()[1].clone();
    let within = name[3..23].parse::<u64>().unwrap() + 1;
    node.disk.edit(&name, Vec::clear);
    node.replica.cut(node.now, Offset(within), &mut node.cache);
    node.settle();
    let refused = node.refused.expect("nothing is served");
    assert!(refused.contains(&name) && refused.contains("has lost even its header"), "{refused}");
    // It may be put back.
    assert_eq!(node.disk.segments().len(), two_reigns().0.disk.segments().len());
}
