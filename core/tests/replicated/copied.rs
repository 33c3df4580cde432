//! What a follower takes of its leader's log, and what it does not.

use std::time::Duration;

use bytes::Bytes;
use kvnode_core::disk::{DiskError, DiskOp};
use kvnode_core::shard::FsyncMode;
use kvnode_core::storage::record::{self, Head, Kind};
use kvnode_core::storage::replica::{BadRecords, Found, Refusal, Settings};
use kvnode_core::{Epoch, Offset, PartitionId};

use crate::node::{Node, SETTINGS, quiet};
use crate::world::disk::Unsynced;

pub fn head(kind: Kind, epoch: u32, offset: u64, clock: u64, more: bool) -> Head {
    let (partition, expire_at) = (PartitionId(3), None);
    Head { kind, more, partition, epoch: Epoch(epoch), offset: Offset(offset), clock, expire_at }
}

fn records(list: &[(Head, &[u8], &[u8])]) -> Bytes {
    let mut bytes = Vec::new();
    for (head, key, value) in list {
        record::encode(head, key, value, &mut bytes);
    }
    Bytes::from(bytes)
}

/// What the record of a gap says.
fn gap(end: u64, floor: u64, epoch: u32) -> [u8; 20] {
    let mut value = [0; 20];
    value[..8].copy_from_slice(&end.to_le_bytes());
    value[8..16].copy_from_slice(&floor.to_le_bytes());
    value[16..].copy_from_slice(&epoch.to_le_bytes());
    value
}

pub fn take(node: &mut Node, end: u64, list: &[(Head, &[u8], &[u8])]) -> Result<(), BadRecords> {
    let base = node.replica.log_end();
    node.replica.append_copied(base, Offset(end), records(list))
}

#[test]
fn a_follower_takes_the_bytes_of_its_leader() {
    let (mut leader, mut follower) = (Node::leader(quiet(), 2), Node::fresh(quiet()));
    leader.put(b"a", b"1");
    leader.append(&[(b"a", None), (b"b", Some(b"2"))]);
    leader.settle();
    leader.replica.begin_reign(Epoch(4));
    leader.settle();
    follower.copy_all(&mut leader, 100);
    assert_eq!(follower.replica.log_end(), Offset(5));
    assert_eq!(follower.replica.epochs(), leader.replica.epochs());
    assert_eq!(follower.replica.epoch(), Epoch(4));
    assert_eq!(follower.log(0, 1000), leader.log(0, 1000));
    assert_eq!(follower.replica.high_watermark(), Offset(0), "nobody has said so");
    follower.commit_all();
    leader.commit_all();
    assert_eq!(follower.content(), leader.content());
}

#[test]
fn what_a_leader_does_not_make_is_refused_and_nothing_of_it_taken() {
    use BadRecords::{Base, Clock, Epoch, Offset, Partition, Shape};
    use Kind::{Delete, Flush, Gap, Put};
    let mut node = Node::fresh(quiet());
    let epoch = (head(Kind::Epoch, 5, 0, 10, false), &b""[..], &b""[..]);
    let put = |offset, clock| (head(Put, 5, offset, clock, false), &b"k"[..], &b"v"[..]);
    let other = Head { partition: PartitionId(4), ..head(Put, 5, 1, 10, false) };
    let (gap, back) = (gap(9, 9, 5), gap(1, 9, 5));
    let at = |n| kvnode_core::Offset(n);
    type List<'a> = Vec<(Head, &'a [u8], &'a [u8])>;
    let wrong: Vec<(u64, List<'_>, BadRecords)> = vec![
        (2, vec![epoch], Offset(at(1))),
        (1, vec![epoch, put(1, 10)], Offset(at(2))),
        (3, vec![epoch, put(2, 10)], Offset(at(1))),
        (2, vec![epoch, put(1, 9)], Clock(at(1))),
        (2, vec![epoch, (other, b"k", b"v")], Partition(40)),
        (1, vec![put(0, 10)], Epoch(at(0))),
        (2, vec![epoch, (head(Put, 4, 1, 10, false), b"k", b"v")], Epoch(at(1))),
        (2, vec![epoch, (head(Put, 6, 1, 10, false), b"k", b"v")], Epoch(at(1))),
        (2, vec![epoch, (head(Kind::Epoch, 5, 1, 10, false), b"", b"")], Epoch(at(1))),
        (2, vec![epoch, (head(Delete, 5, 1, 10, false), b"k", b"v")], Shape(at(1))),
        (2, vec![epoch, (head(Kind::Clock, 5, 1, 10, true), b"", b"")], Shape(at(1))),
        (2, vec![epoch, (head(Flush, 5, 1, 10, false), b"k", b"")], Shape(at(1))),
        (9, vec![epoch, (head(Gap, 5, 1, 10, false), b"k", &gap)], Shape(at(1))),
        (9, vec![epoch, (head(Gap, 5, 1, 10, false), b"", &gap[..19])], Shape(at(1))),
        (9, vec![epoch, (head(Gap, 5, 1, 10, true), b"", &gap)], Shape(at(1))),
        (1, vec![epoch, (head(Gap, 5, 1, 10, false), b"", &back)], Shape(at(1))),
    ];
    for (end, list, error) in wrong {
        assert_eq!(take(&mut node, end, &list), Err(error), "{list:?}");
        assert_eq!(node.replica.log_end(), at(0));
        assert!(node.replica.epochs().list().is_empty());
    }
    let elsewhere = node.replica.append_copied(at(1), at(2), records(&[put(1, 10)]));
    assert_eq!(elsewhere, Err(Base(at(0))));
    // A flipped bit anywhere, in a value too.
    let sound = records(&[epoch, put(1, 10)]);
    for byte in 0..sound.len() {
        let mut bad = sound.to_vec();
        bad[byte] ^= 4;
        assert!(node.replica.append_copied(at(0), at(2), Bytes::from(bad)).is_err(), "{byte}");
    }
    assert!(node.replica.append_copied(at(0), at(2), sound.slice(..sound.len() - 1)).is_err());
    assert_eq!(node.replica.append_copied(at(0), at(2), sound), Ok(()));
    assert_eq!(node.replica.log_end(), at(2));
}

#[test]
fn a_batch_in_parts_is_seen_and_kept_as_a_whole_or_not_at_all() {
    let mut node = Node::fresh(quiet());
    let part = |n, more| (head(Kind::Put, 1, n, 5, more), &b"k"[..], &b"v"[..]);
    let epoch = (head(Kind::Epoch, 1, 0, 5, false), &b""[..], &b""[..]);
    assert_eq!(take(&mut node, 3, &[epoch, part(1, true), part(2, true)]), Ok(()));
    node.settle();
    assert_eq!((node.replica.stored_end(), node.replica.acked_end()), (Offset(3), Offset(1)));
    assert_eq!(node.replica.open_batch(), Some(Offset(1)));
    node.commit_all();
    assert_eq!(node.replica.high_watermark(), Offset(1));
    for unsynced in [Unsynced::Lost, Unsynced::Kept] {
        let again = Node::open(node.disk.clone().crash(unsynced), quiet());
        assert_eq!(again.replica.log_end(), node.replica.acked_end(), "half a batch is none");
        assert!(!again.replica.damaged(), "{:?}", again.notices);
        let again = Node::open(again.disk.crash(unsynced), quiet());
        assert!(again.replica.log_end() == Offset(1) && !again.replica.damaged());
    }
    let epoch = (head(Kind::Epoch, 2, 3, 5, false), &b""[..], &b""[..]);
    assert_eq!(take(&mut node, 4, &[epoch]), Err(BadRecords::Shape(Offset(3))));
    assert_eq!(take(&mut node, 4, &[part(3, false)]), Ok(()));
    node.commit_all();
    assert_eq!((node.replica.high_watermark(), node.replica.open_batch()), (Offset(4), None));
}

#[test]
fn no_part_of_a_batch_is_acknowledged_however_it_is_written() {
    for fsync in [FsyncMode::Always, FsyncMode::EveryMs(5), FsyncMode::Never] {
        let mut node = Node::fresh(Settings { fsync, ..quiet() });
        let part = |n, more| (head(Kind::Put, 1, n, 5, more), &b"k"[..], &b"v"[..]);
        let epoch = (head(Kind::Epoch, 1, 0, 5, false), &b""[..], &b""[..]);
        take(&mut node, 2, &[epoch, part(1, false)]).unwrap();
        // One write holds the beginning of one batch, another its end and the beginning of the next.
        let writes = [(vec![part(2, true)], 2), (vec![part(3, false), part(4, true)], 4)];
        for (records, whole) in writes {
            node.settle();
            let end = records.last().unwrap().0.offset.plus(1);
            take(&mut node, end.0, &records).unwrap();
            node.settle();
            assert_eq!(node.replica.stored_end(), end);
            assert_eq!(node.replica.acked_end(), Offset(whole), "{fsync:?}");
        }
        take(&mut node, 6, &[part(5, false)]).unwrap();
        node.settle();
        assert_eq!(node.replica.acked_end(), Offset(6), "{fsync:?}");
    }
}

#[test]
fn a_long_batch_is_not_split_over_segments() {
    let mut node = Node::fresh(quiet());
    let epoch = (head(Kind::Epoch, 1, 0, 5, false), &b""[..], &b""[..]);
    take(&mut node, 1, &[epoch]).unwrap();
    for n in 1..100 {
        let record = (head(Kind::Put, 1, n, 5, n < 99), &b"k"[..], &[7u8; 60][..]);
        take(&mut node, n + 1, &[record]).unwrap();
        node.settle();
        assert!(node.disk.segments().len() <= 2);
    }
    let record = (head(Kind::Put, 1, 100, 5, false), &b"k"[..], &b"v"[..]);
    take(&mut node, 101, &[record]).unwrap();
    node.settle();
    assert_eq!(node.disk.segments().len(), 2, "it rolls as soon as it may");
    let node = Node::open(node.disk.crash(Unsynced::Lost), quiet());
    assert!(node.replica.log_end() == Offset(101) && !node.replica.damaged());
}

#[test]
fn a_gap_stands_for_what_compaction_took_and_outlives_restarts() {
    let mut leader = Node::leader(SETTINGS, 1);
    for n in 0..60u8 {
        leader.put(&[b'k', n % 3], &[n; 60]);
    }
    leader.commit_all();
    leader.compact();
    let mut follower = Node::fresh(SETTINGS);
    follower.copy_all(&mut leader, 200);
    let log = follower.log(0, 10_000);
    assert!(log.iter().any(|seen| seen.kind == Kind::Gap));
    assert!(log.windows(2).all(|pair| pair[0].next == pair[1].offset), "dense");
    let gaps_end = log.iter().filter(|s| s.kind == Kind::Gap).map(|s| s.next).max();
    assert_eq!(Some(follower.replica.tombstone_horizon()), gaps_end, "a gap may hide a tombstone");
    for unsynced in [Unsynced::Lost, Unsynced::Mixed(3)] {
        let mut again = Node::open(follower.disk.clone().crash(unsynced), SETTINGS);
        assert!(!again.replica.damaged(), "{:?}", again.notices);
        assert_eq!(again.replica.log_end(), leader.replica.log_end());
        assert_eq!(Some(again.replica.tombstone_horizon()), gaps_end);
        again.commit_all();
        assert_eq!(again.content(), leader.content());
        again.compact();
        assert_eq!(again.content(), leader.content());
        let mut third = Node::fresh(SETTINGS);
        third.copy_all(&mut again, 150);
        third.commit_all();
        assert_eq!(third.content(), leader.content());
    }
}

/// The first segment is sealed before it holds anything, with what was copied waiting for that: nothing of
/// that is in it.
#[test]
fn a_log_that_begins_again_after_a_failed_fsync_is_there_after_the_next_crash() {
    let mut leader = Node::leader(quiet(), 1);
    leader.put(b"a", b"1");
    leader.replica.begin_reign(Epoch(4));
    leader.put(b"b", b"2");
    for unsynced in [Unsynced::Lost, Unsynced::Kept] {
        let mut follower = Node::fresh(quiet());
        let fails = |op: &DiskOp| matches!(op, DiskOp::Sync(_)).then_some(DiskError::Io(5));
        follower.disk.fault = Some(Box::new(fails));
        let chunk = leader.read(0, 1).unwrap();
        follower.copy(chunk);
        follower.disk.fault = None;
        follower.pass(Duration::from_secs(2));
        follower.replica.cut(follower.now, Offset(0), &mut follower.cache);
        follower.settle();
        follower.copy_all(&mut leader, 1000);
        assert_eq!(follower.replica.acked_end(), Offset(4));
        let mut again = Node::open(follower.disk.crash(unsynced), quiet());
        assert_eq!((again.replica.log_end(), again.replica.damaged()), (Offset(4), false));
        assert_eq!(again.log(0, 1000), leader.log(0, 1000));
    }
}

#[test]
fn a_segment_is_of_no_reign_that_was_taken_back_from_it() {
    let mut follower = Node::fresh(quiet());
    let put = |epoch, offset| (head(Kind::Put, epoch, offset, 1, false), &b"k"[..], &[7; 300][..]);
    let begins = |epoch, offset| (head(Kind::Epoch, epoch, offset, 1, false), &b""[..], &b""[..]);
    assert_eq!(take(&mut follower, 3, &[begins(1, 0), put(1, 1), put(1, 2)]), Ok(()));
    follower.commit_all();
    let full = |op: &DiskOp| matches!(op, DiskOp::Write { .. }).then_some(DiskError::Full);
    follower.disk.fault = Some(Box::new(full));
    assert_eq!(take(&mut follower, 4, &[begins(5, 3)]), Ok(()));
    follower.settle();
    assert_eq!(follower.replica.log_end(), Offset(3));
    follower.disk.fault = None;
    follower.pass(Duration::from_secs(2));
    // Another leads by now, whose log goes on as this one did.
    assert_eq!(take(&mut follower, 4, &[put(1, 3)]), Ok(()));
    follower.settle();
    assert_eq!(follower.replica.acked_end(), Offset(4));
    for unsynced in [Unsynced::Lost, Unsynced::Kept] {
        let again = Node::open(follower.disk.clone().crash(unsynced), quiet());
        assert_eq!((again.replica.log_end(), again.replica.damaged()), (Offset(4), false));
    }
}

#[test]
fn a_follower_does_not_decide_what_is_logged() {
    let mut leader = Node::leader(quiet(), 1);
    leader.put(b"a", b"1");
    let mut follower = Node::fresh(quiet());
    assert_eq!(follower.replica.writable(follower.now), Err(Refusal::NotServing));
    follower.copy_all(&mut leader, 100);
    follower.replica.begin_reign(Epoch(2));
    assert_eq!(follower.replica.writable(follower.now), Ok(()));
    follower.settle();
    leader.copy_all(&mut follower, 100);
    assert_eq!(leader.replica.writable(leader.now), Err(Refusal::NotServing), "deposed");
}

#[test]
fn what_a_follower_has_not_committed_is_seen_once_it_leads() {
    let mut node = Node::fresh(quiet());
    let put = |n, value| (head(Kind::Put, 1, n, 5, false), &b"k"[..], value);
    let epoch = (head(Kind::Epoch, 1, 0, 5, false), &b""[..], &b""[..]);
    take(&mut node, 3, &[epoch, put(1, &b"old"[..]), put(2, &b"new"[..])]).unwrap();
    node.settle();
    node.commit_to(2);
    assert!(matches!(node.replica.find(b"k"), Found::Committed(_)), "it evaluates nothing");
    node.replica.begin_reign(Epoch(2));
    let Found::Fresh { value, until, .. } = node.replica.find(b"k") else { panic!("not seen") };
    assert_eq!((&value[..], until), (&b"new"[..], Offset(3)));
    node.settle();
    node.commit_all();
    assert_eq!(node.content()[&b"k".to_vec()], b"new");
}

/// A leader whose old value of a key was superseded, and is gone; and where the newer one stands.
fn superseded() -> (Node, u64) {
    let mut leader = Node::leader(SETTINGS, 3);
    leader.put(b"key", b"old");
    for n in 0..10u8 {
        leader.put(b"churn", &[n; 60]);
    }
    for n in 0..30u8 {
        leader.put(&[b'k', n], &[n; 60]);
    }
    // It leads anew, in a later reign.
    leader.replica.begin_reign(Epoch(5));
    leader.put(b"m", b"v");
    let at = leader.replica.log_end().0;
    leader.put(b"key", b"new");
    for n in 0..30u8 {
        leader.put(&[b'l', n], &[n; 60]);
    }
    leader.commit_all();
    leader.compact();
    assert!(!leader.log(0, 1 << 20).iter().any(|seen| seen.offset.0 < at && seen.key == b"key"));
    (leader, at)
}

/// Up to there, about.
fn copied_to(leader: &mut Node, end: u64) -> Node {
    let mut follower = Node::fresh(quiet());
    while follower.replica.log_end().0 < end {
        let chunk = leader.read(follower.replica.log_end().0, 1).unwrap();
        follower.copy(chunk);
    }
    follower
}

#[test]
fn a_copied_log_can_not_be_cut_below_what_superseded_what_it_lacks() {
    let (mut leader, at) = superseded();
    for restarts in [false, true] {
        let mut follower = Node::fresh(quiet());
        follower.copy_all(&mut leader, 1000);
        // Another record, which finds the rest durable.
        leader.put(b"z", b"z");
        follower.copy_all(&mut leader, 1000);
        if restarts {
            follower = Node::open(follower.disk.crash(Unsynced::Lost), quiet());
        }
        follower.replica.cut(follower.now, Offset(at), &mut follower.cache);
        follower.settle();
        assert_eq!(follower.replica.log_end(), Offset(0), "restarts: {restarts}");
    }
}

/// As a merge waits for it, or a loss of power would take an old value with the new one.
#[test]
fn what_superseded_what_a_copied_log_lacks_is_durable_before_it_is_acknowledged() {
    let (mut leader, at) = superseded();
    let floor = leader.replica.log_end();
    leader.put(b"z", b"z");
    for fsync in [FsyncMode::EveryMs(60_000), FsyncMode::Never] {
        let mut follower = Node::fresh(Settings { fsync, segment_bytes: 1 << 20, ..quiet() });
        // The last reign has begun there for good.
        while follower.replica.log_end() < Offset(at) {
            let chunk = leader.read(follower.replica.log_end().0, 1).unwrap();
            follower.copy(chunk);
        }
        follower.hold = true;
        follower.copy_all(&mut leader, 1 << 20);
        let is_sync = |op: &DiskOp| matches!(op, DiskOp::Sync(_));
        while let Some(at) = follower.held.iter().position(|(_, op)| !is_sync(op)) {
            follower.release(at);
        }
        let acked = follower.replica.acked_end();
        assert!(Offset(at) <= acked && acked < floor, "{fsync:?}: {acked} of {floor}");
        assert!(!follower.held.is_empty(), "{fsync:?}: an fsync is asked for");
        follower.release_all();
        assert_eq!(follower.replica.acked_end(), leader.replica.log_end());
        let mut again = Node::open(follower.disk.crash(Unsynced::Lost), quiet());
        assert!(again.replica.log_end() >= floor, "{fsync:?}: {}", again.replica.log_end());
        again.commit_all();
        assert_eq!(again.content().get(&b"key"[..]), Some(&b"new".to_vec()));
    }
}

/// It lacks what it lacked before, and nobody may have more of it.
#[test]
fn a_copied_log_that_has_not_got_so_far_is_cut_and_owes_as_much() {
    let (mut leader, at) = superseded();
    let mut follower = copied_to(&mut leader, at - 10);
    let end = follower.replica.log_end().0 - 1;
    follower.replica.cut(follower.now, Offset(end), &mut follower.cache);
    follower.settle();
    assert_eq!(follower.replica.log_end(), Offset(end));
    let clock = follower.replica.log_clock();
    let epoch = (head(Kind::Epoch, 9, end, clock, false), &b""[..], &b""[..]);
    assert_eq!(take(&mut follower, end + 1, &[epoch]), Err(BadRecords::Forked));
    follower.copy_all(&mut leader, 100);
    follower.commit_all();
    leader.commit_all();
    assert_eq!(follower.content(), leader.content());
}

#[test]
fn a_copied_log_reaches_what_superseded_what_it_lacks_or_begins_anew() {
    let (mut leader, at) = superseded();
    for restarts in [false, true] {
        let mut follower = copied_to(&mut leader, at - 10);
        if restarts {
            follower = Node::open(follower.disk.crash(Unsynced::Lost), quiet());
        }
        // A leader of a later reign, whose log had ended before: it has the old value.
        let end = follower.replica.log_end().0;
        assert!(end < at);
        let clock = follower.replica.log_clock();
        let epoch = (head(Kind::Epoch, 9, end, clock, false), &b""[..], &b""[..]);
        assert_eq!(take(&mut follower, end + 1, &[epoch]), Err(BadRecords::Forked));
        // One that has all that the first had.
        follower.copy_all(&mut leader, 100);
        let end = follower.replica.log_end().0;
        let clock = follower.replica.log_clock();
        let epoch = (head(Kind::Epoch, 9, end, clock, false), &b""[..], &b""[..]);
        assert_eq!(take(&mut follower, end + 1, &[epoch]), Ok(()));
        follower.settle();
        leader.commit_all();
        follower.commit_all();
        assert_eq!(follower.content(), leader.content());
    }
}

#[test]
fn a_copied_log_that_leads_before_it_got_there_has_the_others_begin_anew() {
    let (mut leader, at) = superseded();
    let mut follower = copied_to(&mut leader, at - 10);
    let end = follower.replica.log_end();
    assert!(follower.replica.tombstone_horizon() < end);
    follower.replica.begin_reign(Epoch(9));
    follower.settle();
    assert_eq!(follower.replica.tombstone_horizon(), end.plus(1));
    let again = Node::open(follower.disk.clone().crash(Unsynced::Kept), quiet());
    assert_eq!(again.replica.tombstone_horizon(), end.plus(1));
    // Who has it from there has what it has.
    let mut third = Node::fresh(quiet());
    third.copy_all(&mut follower, 100);
    third.commit_all();
    follower.commit_all();
    assert_eq!(third.content(), follower.content());
}

#[test]
fn a_copy_of_a_log_that_led_before_it_got_there_owes_no_more_than_it_has() {
    let (mut leader, at) = superseded();
    let mut partial = copied_to(&mut leader, at - 10);
    partial.replica.begin_reign(Epoch(9));
    partial.put(b"z", b"z");
    let mut third = Node::fresh(quiet());
    third.copy_all(&mut partial, 100);
    // Whoever leads next, all of them have the same.
    for (epoch, turn) in (10..).zip([true, false, true]) {
        let (leads, follows) =
            if turn { (&mut third, &mut partial) } else { (&mut partial, &mut third) };
        let end = leads.replica.begin_reign(Epoch(epoch));
        leads.settle();
        let horizon = leads.replica.tombstone_horizon();
        assert!(horizon <= end, "e{epoch}: nobody begins anew, {horizon} of {end}");
        follows.copy_all(leads, 100);
    }
    let (mut third, mut partial) = (third, partial);
    third.commit_all();
    partial.commit_all();
    assert_eq!(third.content(), partial.content());
}

#[test]
fn an_end_of_an_earlier_reign_is_not_what_superseded() {
    let (mut leader, at) = superseded();
    let begun = leader.replica.epochs().last().unwrap().1.0;
    let mut follower = copied_to(&mut leader, begun - 10);
    let clock = follower.replica.log_clock();
    // Another log of the first reign, which goes on where the later one had begun.
    let refused = loop {
        let end = follower.replica.log_end().0;
        assert!(end <= leader.replica.log_end().0, "it has passed for the other");
        let put = (head(Kind::Put, 3, end, clock, false), &b"other"[..], &b"end"[..]);
        if let Err(error) = take(&mut follower, end + 1, &[put]) {
            break error;
        }
        follower.settle();
    };
    assert_eq!(refused, BadRecords::Forked);
    assert!(follower.replica.log_end().0 > at, "as long as it could be the same");
}

#[test]
fn a_log_that_led_while_it_owed_something_is_not_cut_back_to_where_it_owed_it() {
    let (mut leader, at) = superseded();
    let mut follower = copied_to(&mut leader, at - 10);
    let start = follower.replica.begin_reign(Epoch(9));
    for n in 0..40u8 {
        follower.put(&[b'y', n], &[n; 60]);
    }
    let mut again = Node::open(follower.disk.crash(Unsynced::Lost), quiet());
    again.replica.cut(again.now, start, &mut again.cache);
    again.settle();
    assert_eq!(again.replica.log_end(), Offset(0));
}

/// The disk that takes nothing gives back a log without records: it owes nobody anything.
#[test]
fn what_was_taken_back_is_not_owed() {
    let mut node = Node::fresh(quiet());
    let epoch = |n| (head(Kind::Epoch, n, 0, 5, false), &b""[..], &b""[..]);
    let gap = gap(9, 80, 1);
    take(&mut node, 9, &[epoch(1), (head(Kind::Gap, 1, 1, 5, false), b"", &gap)]).unwrap();
    node.disk.fault =
        Some(Box::new(|op: &DiskOp| matches!(op, DiskOp::Write { .. }).then_some(DiskError::Full)));
    node.settle();
    node.disk.fault = None;
    node.pass(Duration::from_secs(2));
    assert_eq!(node.replica.log_end(), Offset(0));
    assert_eq!(take(&mut node, 1, &[epoch(7)]), Err(BadRecords::Forked));
    node.replica.cut(node.now, Offset(0), &mut node.cache);
    node.settle();
    assert_eq!(take(&mut node, 1, &[epoch(7)]), Ok(()));
}

/// What it lost may have superseded what it does not have any more.
#[test]
fn a_log_that_has_lost_its_end_below_what_superseded_owes_it() {
    let (leader, _) = superseded();
    let whole = leader.replica.log_end().0;
    let mut disk = leader.disk.crash(Unsynced::Lost);
    let active = disk.segments().last().unwrap().clone();
    disk.edit(&active, |bytes| bytes.truncate(32));
    // Or the log would not end where it can not be read.
    disk.remove("p3/MARK");
    let mut node = Node::open(disk, quiet());
    let end = node.replica.log_end().0;
    assert!(end < whole, "{end} of {whole}: {:?}", node.notices);
    let clock = node.replica.log_clock();
    let epoch = (head(Kind::Epoch, 9, end, clock, false), &b""[..], &b""[..]);
    assert_eq!(take(&mut node, end + 1, &[epoch]), Err(BadRecords::Forked));
}
