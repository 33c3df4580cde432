//! What is acknowledged, what is committed, what is served.

use kvnode_core::disk::DiskOp;
use kvnode_core::shard::FsyncMode;
use kvnode_core::storage::record::Kind;
use kvnode_core::storage::replica::{Found, Settings};
use kvnode_core::{Epoch, Offset};

use crate::copied::{head, take};
use crate::node::{Node, SETTINGS, quiet};
use crate::world::disk::Unsynced;

#[test]
fn writes_are_acknowledged_without_being_committed() {
    let mut node = Node::leader(quiet(), 2);
    assert_eq!(node.replica.epochs().list(), [(Epoch(2), Offset(0))]);
    node.put(b"a", b"1");
    node.put(b"b", b"2");
    assert_eq!((node.replica.acked_end(), node.replica.shippable_end()), (Offset(3), Offset(3)));
    assert_eq!(node.replica.high_watermark(), Offset(0));
    assert!(node.acked >= 3);
    assert!(matches!(node.replica.find(b"a"), Found::Fresh { until: Offset(2), .. }));
    node.commit_to(2);
    assert!(matches!(node.replica.find(b"a"), Found::Committed(_)));
    assert!(matches!(node.replica.find(b"b"), Found::Fresh { until: Offset(3), .. }));
    node.commit_to(1);
    assert_eq!(node.replica.high_watermark(), Offset(2), "it never goes back");
    node.commit_to(99);
    assert_eq!(node.replica.high_watermark(), Offset(3), "nor beyond what is acknowledged");
    assert_eq!(node.content().len(), 2);
}

#[test]
fn nothing_is_shippable_or_acknowledged_before_its_time() {
    let mut node = Node::leader(quiet(), 1);
    node.hold = true;
    node.append(&[(b"a", Some(b"1"))]);
    let ends = |node: &Node| {
        let r = &node.replica;
        (r.acked_end().0, r.shippable_end().0, r.log_end().0)
    };
    assert_eq!(ends(&node), (1, 1, 2), "gathered");
    assert_eq!(node.replica.recent(Offset(1), 1000), None);
    node.settle();
    assert_eq!(ends(&node), (1, 2, 2), "handed to the disk");
    assert!(node.replica.recent(Offset(1), 1000).is_some());
    node.append(&[(b"b", Some(b"2"))]);
    node.settle();
    assert_eq!(ends(&node), (1, 2, 3), "one write at a time");
    assert_eq!(node.replica.recent(Offset(2), 1000), None);
    assert!(matches!(node.release(0), Some(DiskOp::Write { .. })));
    assert_eq!(ends(&node), (1, 2, 3), "written, not fsynced");
    node.commit_to(2);
    assert!(node.replica.high_watermark() <= Offset(1));
    assert!(matches!(node.release(0), Some(DiskOp::Sync(_))));
    assert_eq!(ends(&node), (2, 3, 3));
}

#[test]
fn a_relaxed_mode_acknowledges_what_is_written() {
    let mut node = Node::leader(Settings { fsync: FsyncMode::Never, ..quiet() }, 1);
    node.put(b"a", b"1");
    // Of a reign the beginning alone is durable.
    assert_eq!((node.replica.acked_end(), node.replica.durable_end()), (Offset(2), Offset(1)));
    node.commit_to(2);
    assert_eq!(node.replica.high_watermark(), Offset(2));
}

#[test]
fn the_watermark_never_stops_within_a_batch() {
    let mut node = Node::leader(quiet(), 1);
    node.append(&[(b"a", Some(b"1")), (b"b", Some(b"2")), (b"c", Some(b"3"))]);
    node.append(&[(b"d", Some(b"4")), (b"e", Some(b"5"))]);
    node.settle();
    for (told, reached) in [(0, 0), (1, 1), (2, 1), (3, 1), (4, 4), (5, 4), (6, 6)] {
        node.commit_to(told);
        assert_eq!(node.replica.high_watermark(), Offset(reached), "told {told}");
    }
}

#[test]
fn places_are_right_when_many_writes_are_committed_at_once() {
    let mut node = Node::leader(Settings { segment_bytes: 300, ..quiet() }, 1);
    for n in 0..40u8 {
        node.put(&[b'k', n % 11], &[n; 30]);
    }
    assert!(node.disk.segments().len() > 5, "they lie in several segments");
    node.commit_to(7);
    node.commit_all();
    let content = node.content();
    assert!((29..40).all(|n: u8| content[&vec![b'k', n % 11]] == [n; 30]));
    let mut node = Node::open(node.disk.crash(Unsynced::Lost), quiet());
    node.commit_all();
    assert_eq!(node.content(), content);
}

#[test]
fn the_watermark_outlives_a_restart_and_the_rest_is_applied_and_not_committed() {
    let mut node = Node::leader(quiet(), 4);
    node.put(b"a", b"1");
    node.commit_to(2);
    node.put(b"b", b"2");
    node.put(b"c", b"3");
    let mut node = Node::open(node.disk.crash(Unsynced::Kept), quiet());
    let r = &node.replica;
    assert_eq!((r.high_watermark(), r.applied(), r.log_end()), (Offset(2), Offset(4), Offset(4)));
    assert_eq!((r.epoch(), r.epochs().list()), (Epoch(4), &[(Epoch(4), Offset(0))][..]));
    assert!(r.writable(node.now).is_err(), "it does not lead");
    node.commit_to(3);
    assert_eq!(node.replica.high_watermark(), Offset(3));
    assert_eq!(node.replica.begin_reign(Epoch(5)), Offset(4), "no reign was begun by itself");
    node.commit_all();
    assert_eq!(node.replica.applied(), Offset(5));
}

#[test]
fn the_watermark_of_a_longer_log_is_not_that_of_a_shorter_one() {
    // Under `never` a loss of power takes committed writes; what is logged instead is not committed.
    let settings = Settings { fsync: FsyncMode::Never, ..quiet() };
    let mut node = Node::leader(settings, 1);
    for n in 0..5u8 {
        node.put(&[n], b"v");
    }
    node.commit_all();
    let disk = std::mem::take(&mut node.disk);
    let mut node = Node::open(disk.crash(Unsynced::Lost), settings);
    let end = node.replica.log_end();
    assert!(end < Offset(6) && node.replica.high_watermark() <= end);
    node.replica.begin_reign(Epoch(2));
    for n in 0..9u8 {
        node.put(&[n], b"w");
    }
    let node = Node::open(node.disk.crash(Unsynced::Killed), settings);
    assert!(node.replica.high_watermark() <= end);
}

#[test]
fn only_committed_segments_are_compacted_and_hinted() {
    let mut node = Node::leader(SETTINGS, 1);
    for n in 0..60u8 {
        node.put(b"churn", &[n; 60]);
    }
    node.compact();
    assert_eq!(node.replica.status().counters.merges, 0);
    let hints = |node: &Node| node.disk.names().iter().filter(|n| n.ends_with(".hint")).count();
    assert_eq!(hints(&node), 0);
    node.commit_to(30);
    node.compact();
    let half = node.replica.status().counters.merges;
    assert!(half > 0);
    // Everything behind the watermark is still there.
    let seen = node.log(0, 500);
    assert!((30..61).all(|n| seen.iter().any(|s| s.offset.0 == n)));
    node.commit_all();
    node.compact();
    assert!(node.replica.status().counters.merges > half && hints(&node) > 0);
    assert_eq!(node.content().len(), 1);
    let mut node = Node::open(node.disk.crash(Unsynced::Lost), SETTINGS);
    node.commit_all();
    assert_eq!(node.content()[&b"churn"[..]], [59; 60]);
}

#[test]
fn a_replica_that_stands_alone_commits_by_itself_and_says_nothing_of_acknowledging() {
    let settings = Settings { replicated: false, ..quiet() };
    let mut node = Node::fresh(settings);
    node.put(b"a", b"1");
    let r = &node.replica;
    assert_eq!((r.high_watermark(), r.acked_end(), node.acked), (Offset(2), Offset(2), 0));
    assert_eq!(r.recent(Offset(0), 1000), None, "it keeps nothing for followers");
    let node = Node::open(node.disk.crash(Unsynced::Lost), settings);
    assert_eq!(node.replica.epochs().list(), [(Epoch(1), Offset(0)), (Epoch(2), Offset(2))]);
}

/// Of logs that have lost their unsynced ends the one of the last reign has all that was committed, if
/// nobody forgets that the reign had begun.
#[test]
fn nothing_of_a_reign_is_acknowledged_before_its_beginning_is_durable_in_any_mode() {
    for fsync in [FsyncMode::EveryMs(1_000), FsyncMode::Never] {
        let mut node = Node::fresh(Settings { fsync, ..quiet() });
        node.hold = true;
        node.replica.begin_reign(Epoch(1));
        node.append(&[(b"a", Some(b"1"))]);
        node.settle();
        let is_sync = |op: &DiskOp| matches!(op, DiskOp::Sync(_));
        let mut writes = 0;
        while !node.held.iter().any(|(_, op)| is_sync(op)) || node.held.len() > 1 {
            let at =
                node.held.iter().position(|(_, op)| !is_sync(op)).expect("an fsync is asked for");
            let op = node.release(at).expect("it is held");
            writes += u32::from(matches!(op, DiskOp::Write { .. }));
            assert_eq!(node.replica.acked_end(), Offset(0), "{fsync:?} after {writes} writes");
        }
        let before = node.acked;
        node.release(0).expect("the fsync is held");
        node.release_all();
        assert!(node.acked > before, "it is said");
        assert_eq!((node.replica.acked_end(), writes > 0), (Offset(2), true), "{fsync:?}");
        node.put(b"b", b"2");
        assert_eq!(node.replica.acked_end(), Offset(3), "what follows need not be durable");
    }
}

#[test]
fn nothing_of_a_reign_is_acknowledged_before_its_beginning_is_durable_whatever_begins_behind() {
    let mut node = Node::fresh(Settings { fsync: FsyncMode::EveryMs(1_000), ..quiet() });
    node.hold = true;
    let put = |epoch, offset| (head(Kind::Put, epoch, offset, 1, false), &b"k"[..], &b"v"[..]);
    let begins = |epoch, offset| (head(Kind::Epoch, epoch, offset, 1, false), &b""[..], &b""[..]);
    assert_eq!(take(&mut node, 2, &[begins(1, 0), put(1, 1)]), Ok(()));
    node.settle();
    let at = node.held.iter().position(|(_, op)| matches!(op, DiskOp::Write { .. })).unwrap();
    node.release(at);
    let ends = |node: &Node| {
        (node.replica.written_end().0, node.replica.durable_end().0, node.replica.acked_end().0)
    };
    assert_eq!(ends(&node), (2, 0, 0));
    assert_eq!(take(&mut node, 3, &[begins(2, 2)]), Ok(()));
    assert_eq!(ends(&node), (2, 0, 0));
}
