//! The log as followers get it: from memory and from disk.

use std::time::Duration;

use kvnode_core::disk::{DiskError, DiskOp};
use kvnode_core::limits::{REPLICATION_JOIN_BYTES, REPLICATION_RING_BYTES};
use kvnode_core::storage::format::Manifest;
use kvnode_core::storage::record::{HEAD_BYTES, Kind};
use kvnode_core::storage::replica::{LogFault, ReadToken, ScrubSettings, Settings};
use kvnode_core::{Offset, PartitionId};

use crate::copied::{head, take};
use crate::node::{Node, SETTINGS, quiet, seen};
use crate::world::disk::Unsynced;

#[test]
fn memory_gives_whole_writes_as_they_went_to_disk() {
    let mut node = Node::leader(quiet(), 1);
    node.append(&[(b"a", Some(b"1")), (b"b", Some(b"2"))]);
    node.append(&[(b"c", Some(b"3"))]);
    node.settle();
    let whole = node.replica.recent(Offset(1), 10_000).unwrap();
    assert_eq!((whole.base, whole.end), (Offset(1), Offset(4)));
    assert_eq!(whole, node.read(1, 10_000).unwrap());
    let part = node.replica.recent(Offset(1), whole.records.len() - 1).unwrap();
    assert_eq!((part.base, part.end), (Offset(1), Offset(3)), "cut between records");
    let one = node.replica.recent(Offset(2), 1).unwrap();
    assert_eq!((one.base, one.end), (Offset(2), Offset(3)), "one at least");
    assert_eq!(node.replica.recent(Offset(4), 100), None);
    let node = Node::open(node.disk.crash(Unsynced::Lost), quiet());
    assert_eq!(node.replica.recent(Offset(1), 100), None, "memory does not outlive the process");
}

#[test]
fn short_writes_come_together_and_long_ones_alone() {
    let mut node = Node::leader(Settings { segment_bytes: 1 << 30, ..quiet() }, 1);
    for n in 0..9u8 {
        node.put(&[n], b"short");
    }
    let all = node.replica.recent(Offset(1), 10_000).unwrap();
    assert_eq!((all.base, all.end), (Offset(1), Offset(10)));
    assert_eq!(all, node.read(1, 10_000).unwrap());
    let each = all.records.len() / 9;
    let three = node.replica.recent(Offset(4), 4 * each - 1).unwrap();
    assert_eq!((three.base, three.end), (Offset(4), Offset(7)), "as many as fit");
    assert_eq!(three.records, all.records.slice(3 * each..6 * each));
    node.put(b"long", &vec![7; REPLICATION_JOIN_BYTES]);
    let before = node.replica.recent(Offset(9), 1 << 20).unwrap();
    assert_eq!(before.end, Offset(10), "nothing long is copied");
    assert_eq!(node.replica.recent(Offset(10), 1 << 20).unwrap().end, Offset(11));
}

#[test]
fn memory_is_bounded_and_what_left_it_is_read_from_disk() {
    let mut node = Node::leader(Settings { segment_bytes: 1 << 30, ..quiet() }, 1);
    let value = vec![7; 1 << 20];
    for n in 0..40u8 {
        node.put(&[n], &value);
    }
    let held = (0..41u64).filter(|&n| node.replica.recent(Offset(n), 1).is_some()).count();
    assert!(held == REPLICATION_RING_BYTES / value.len() - 1, "{held}");
    let mut ops = Vec::new();
    ops.resize(30, (&b"long"[..], Some(&value[..])));
    node.append(&ops);
    node.settle();
    assert_eq!(node.replica.recent(Offset(41), 1), None, "longer than all there is room for");
    assert_eq!(node.read(41, 1).unwrap().end, Offset(42));
}

#[test]
fn a_gap_is_told_of_wherever_it_is_asked_for() {
    let mut node = Node::leader(SETTINGS, 1);
    for n in 0..80u8 {
        node.put(&[b'k', n % 4], &[n; 60]);
    }
    node.commit_all();
    node.compact();
    let mut node = Node::open(node.disk.crash(Unsynced::Lost), SETTINGS);
    for bytes_max in [1, 130, 1000, 1 << 20] {
        for from in 0..81 {
            let log = node.log(from, bytes_max);
            assert_eq!(log[0].offset, Offset(from));
            assert_eq!(log.last().unwrap().next, Offset(81));
            assert!(log.windows(2).all(|pair| pair[0].next == pair[1].offset));
            assert!(log.windows(2).all(|pair| pair[0].clock <= pair[1].clock));
            assert!(log.windows(2).all(|pair| pair[0].epoch <= pair[1].epoch));
        }
    }
    assert!(node.log(0, 1000).iter().any(|seen| seen.kind == Kind::Gap));
}

/// What follows a gap may be cut off and replaced by another record, with an earlier clock.
#[test]
fn a_gap_has_no_later_clock_than_what_it_stands_for() {
    let mut before_uncommitted = 0;
    for count in 20..40u8 {
        let mut node = Node::leader(SETTINGS, 1);
        for n in 0..count {
            node.put(&[b'k', n % 3], &[n; 60]);
        }
        (0..3).for_each(|n| _ = node.delete(&[b'k', n]));
        node.commit_all();
        let (committed, clock) = (node.replica.high_watermark(), node.clock);
        node.clock += 1_000;
        node.put(b"uncommitted", &[0; 900]);
        node.compact();
        if count % 2 == 0 {
            // Of what it finds, it does not know what is committed.
            node = Node::open(node.disk.crash(Unsynced::Kept), quiet());
        }
        let log = node.log(0, 1 << 20);
        for gap in log.iter().filter(|seen| seen.kind == Kind::Gap) {
            assert!(gap.clock <= clock, "{count}: {gap:?}");
            before_uncommitted += u32::from(gap.next == committed);
        }
        assert!(log.windows(2).all(|pair| pair[0].clock <= pair[1].clock));
    }
    assert!(before_uncommitted > 0);
}

#[test]
fn reading_on_reads_nothing_twice() {
    let mut node = Node::leader(Settings { segment_bytes: 1 << 30, ..quiet() }, 1);
    for n in 0..200u8 {
        node.put(&[n], &[n; 10_000]);
    }
    node.disk.keep_log = true;
    let mut at = 0;
    while at < 201 {
        at = node.read(at, 30_000).unwrap().end.0;
    }
    let read: u64 = node
        .disk
        .log
        .iter()
        .map(|op| if let DiskOp::Read { len, .. } = op { u64::from(*len) } else { 0 })
        .sum();
    let log = 200 * 10_050;
    assert!(read < 16 * log, "{read} bytes for {log}: windows, and no walk from the start");
}

#[test]
fn damage_and_errors_are_told_and_what_is_before_is_given() {
    let mut node = Node::leader(Settings { segment_bytes: 1 << 20, ..quiet() }, 1);
    for n in 0..10u8 {
        node.put(&[n], &[n; 100]);
    }
    let name = node.disk.segments()[0].clone();
    let at = node.disk.bytes(&name).windows(100).position(|w| w == [6; 100]).unwrap();
    node.disk.edit(&name, |bytes| bytes[at + 50] ^= 1);
    let before = node.read(0, 10_000).unwrap();
    assert_eq!(before.end, Offset(7));
    assert_eq!(node.read(7, 10_000), Err(LogFault::Damaged));
    let behind = node.read(8, 10_000).unwrap();
    assert_eq!((behind.base, behind.end), (Offset(8), Offset(11)));
    node.disk.fault =
        Some(Box::new(|op| matches!(op, DiskOp::Read { .. }).then_some(DiskError::Io(5))));
    assert_eq!(node.read(0, 100), Err(LogFault::Disk(DiskError::Io(5))));
    assert_eq!(node.read(11, 100), Err(LogFault::Moved), "there is nothing yet");
}

/// A node whose first segment was compacted and has lost its last record, and all of that; where what is
/// lost begins.
fn cut_short() -> (Node, String, Offset) {
    let mut node = Node::leader(SETTINGS, 1);
    for n in 0..60u8 {
        node.put(&[b'k', n % 20], &[n; 60]);
    }
    node.commit_all();
    node.compact();
    assert!(node.replica.status().counters.merges > 0);
    let whole = node.log(0, 1 << 20);
    let name = node.disk.segments()[0].clone();
    let record = node.disk.bytes(&name).windows(60).rposition(|w| w == [w[0]; 60]).unwrap();
    let key = node.disk.bytes(&name)[record - 2..record].to_vec();
    let head = HEAD_BYTES + key.len();
    node.disk.edit(&name, |bytes| bytes.truncate(record - head));
    let lost = whole.iter().find(|seen| seen.key == key).unwrap().offset;
    (node, name, lost)
}

#[test]
fn a_compacted_segment_that_has_lost_its_end_is_damaged_and_no_gap() {
    let (mut node, _, lost) = cut_short();
    let mut at = 0;
    let error = loop {
        match node.read(at, 1 << 20) {
            Ok(chunk) => at = chunk.end.0,
            Err(error) => break error,
        }
    };
    assert_eq!((Offset(at), error), (lost, LogFault::Damaged));
}

#[test]
fn a_merge_that_does_not_read_what_was_sealed_leaves_it_as_it_is() {
    let (mut node, name, _) = cut_short();
    // Enough of it is garbage for another.
    for n in 0..60u8 {
        node.put(&[b'k', n % 18], &[n; 60]);
    }
    node.commit_all();
    node.compact();
    assert!(node.notices.iter().any(|n| n.contains("not those that were sealed")));
    assert!(node.disk.segments().contains(&name), "{:?}", node.disk.segments());
}

#[test]
fn a_segment_that_is_merged_away_under_a_reader_gives_no_wrong_chunk() {
    let settings = Settings { segment_bytes: 3_000, ..SETTINGS };
    let mut node = Node::leader(settings, 1);
    for n in 0..120u8 {
        node.put(&[b'k', n % 3], &[n; 60]);
    }
    node.settle();
    node.commit_all();
    node.hold = true;
    node.replica.read_log(ReadToken(1), Offset(5), 100_000);
    node.settle();
    // The read stands still while compaction does all its work.
    let (io, op) = node.held.remove(0).unwrap();
    assert!(matches!(op, DiskOp::Read { .. }));
    node.hold = false;
    while node.release(0).is_some() {}
    node.compact();
    assert!(node.replica.status().counters.merges > 0);
    let result = node.disk.run(op);
    node.replica.on_disk(node.now, io, result, &mut node.cache);
    node.settle();
    let (token, result) = node.chunks.pop_front().unwrap();
    assert_eq!((token, result), (ReadToken(1), Err(LogFault::Moved)));
    assert_eq!(node.log(5, 1000)[0].offset, Offset(5));
}

#[test]
fn a_tombstone_that_a_follower_may_need_is_retained() {
    for (retain, stays) in [(u64::MAX, false), (40, true)] {
        let mut node = Node::leader(SETTINGS, 1);
        node.replica.set_retain(Offset(retain));
        node.put(b"victim", b"v");
        for n in 0..50u8 {
            node.put(&[b'k', n % 3], &[n; 60]);
        }
        node.delete(b"victim");
        for n in 0..50u8 {
            node.put(&[b'k', n % 3], &[n; 60]);
        }
        node.commit_all();
        node.compact();
        for round in 0..30u8 {
            node.put(b"churn", &[round; 60]);
            node.commit_all();
            node.compact();
        }
        let log = node.log(0, 1000);
        let found = log.iter().any(|s| s.kind == Kind::Delete && s.key == b"victim");
        assert_eq!(found, stays, "retain {retain}");
        assert_eq!(node.replica.tombstone_horizon() > Offset(0), !stays);
    }
}

/// A follower comes at any moment of the merge, and has yet to hear of what is being dropped.
#[test]
fn a_merge_that_drops_what_a_follower_needs_by_now_is_given_up() {
    for released in 0.. {
        assert!(released < 1_000, "nothing is ever dropped");
        let mut node = Node::leader(quiet(), 1);
        node.put(b"victim", b"v");
        node.delete(b"victim");
        for n in 0..50u8 {
            node.put(&[b'k', n % 3], &[n; 60]);
        }
        let mut node = Node::open(node.disk.crash(Unsynced::Lost), SETTINGS);
        node.commit_all();
        node.hold = true;
        for _ in 0..released {
            node.pass(Duration::from_millis(10));
            node.release(0);
        }
        let dropped = node.replica.tombstone_horizon();
        node.replica.set_retain(Offset(0));
        node.release_all();
        node.compact();
        assert_eq!(node.replica.tombstone_horizon(), dropped, "{released} operations later");
        let log = node.log(0, 1000);
        let found = log.iter().any(|s| s.kind == Kind::Delete && s.key == b"victim");
        assert_eq!(found, dropped == Offset(0));
        if !found {
            assert!(released > 5, "it took some operations to drop it");
            break;
        }
    }
}

#[test]
fn memory_is_not_asked_below_the_horizon() {
    // What it holds is whole, and what the disk holds is not: who takes the value from memory and
    // the rest from disk would never hear of the tombstone.
    let mut node = Node::leader(SETTINGS, 1);
    node.put(b"victim", b"v");
    node.delete(b"victim");
    for n in 0..60u8 {
        node.put(b"churn", &[n; 60]);
    }
    node.commit_all();
    node.compact();
    let horizon = node.replica.tombstone_horizon();
    assert!(horizon >= Offset(3));
    assert_eq!(node.replica.recent(Offset(1), 100), None);
    let first = node.replica.recent(horizon, 100).unwrap();
    assert_eq!(seen(&first.records)[0].offset, horizon);
}

/// An empty segment and the one behind have the same base.
#[test]
fn a_scrub_reads_the_segment_behind_an_empty_one() {
    let scrub = Some(ScrubSettings { bytes_per_second: 1 << 20, every: Duration::from_secs(10) });
    let mut node = Node::fresh(Settings { scrub, ..quiet() });
    let fails = |op: &DiskOp| {
        matches!(op, DiskOp::Sync(f) if f.to_string().ends_with("log")).then_some(DiskError::Io(5))
    };
    let put = |epoch, offset| (head(Kind::Put, epoch, offset, 1, false), &b"k"[..], &[7; 500][..]);
    let begins = |epoch, offset| (head(Kind::Epoch, epoch, offset, 1, false), &b""[..], &b""[..]);
    node.disk.fault = Some(Box::new(fails));
    assert_eq!(take(&mut node, 1, &[begins(1, 0)]), Ok(()));
    node.settle();
    node.disk.fault = None;
    node.pass(Duration::from_secs(2));
    assert_eq!(take(&mut node, 2, &[begins(1, 0), put(1, 1)]), Ok(()));
    node.settle();
    assert_eq!(take(&mut node, 4, &[put(1, 2), put(1, 3)]), Ok(()));
    node.commit_all();
    let on_disk = Manifest::decode(node.disk.bytes("p3/MANIFEST"), PartitionId(3)).unwrap();
    node.pass(Duration::from_secs(60));
    let full =
        on_disk.segments.iter().filter_map(|s| s.sealed.filter(|sealed| sealed.end > s.base));
    let sealed: u64 = full.map(|sealed| sealed.len).sum();
    let scrubbed = node.replica.status().counters.scrubbed_bytes;
    assert!(scrubbed >= sealed, "{scrubbed} of {sealed}");
}
