//! Followers get past what has rotted in a log that nobody else has: what lies before, and what nobody misses.

use std::time::Duration;

use kvnode_core::disk::{DiskError, DiskOp};
use kvnode_core::storage::format::Manifest;
use kvnode_core::storage::record::{HEAD_BYTES, Kind, Parsed, parse};
use kvnode_core::storage::replica::{BadRecords, LogFault, Settings};
use kvnode_core::{Epoch, Offset, PartitionId};

use crate::node::{Node, quiet, seen};
use crate::world::disk::Unsynced;

/// The first byte of the record with this key in the first segment.
fn find(node: &Node, key: &[u8]) -> usize {
    let name = node.disk.segments()[0].clone();
    let bytes = node.disk.bytes(&name);
    let mut at = 32;
    while let Parsed::Record(found, len) = parse(&bytes[at..]) {
        if found.key == key {
            return at;
        }
        at += len;
    }
    panic!("it is there");
}

fn flip(node: &mut Node, at: usize) {
    let name = node.disk.segments()[0].clone();
    node.disk.edit(&name, |bytes| bytes[at] ^= 1);
}

/// A log of two reigns, the second from 6 on: the reign, five keys, the reign, five keys.
fn two_reigns() -> Node {
    let mut node = Node::leader(quiet(), 1);
    (0..5).for_each(|n| _ = node.put(&[b'a', n], &[n; 30]));
    node.commit_all();
    node.replica.begin_reign(Epoch(3));
    (5..10).for_each(|n| _ = node.put(&[b'a', n], &[n; 30]));
    node.commit_all();
    node
}

/// It opens again, and leads.
fn again(node: Node, epoch: u32) -> Node {
    let mut node = Node::open(node.disk.crash(Unsynced::Kept), quiet());
    node.replica.begin_reign(Epoch(epoch));
    node.commit_all();
    node
}

/// What is lost before `end` is accepted as lost, as `kvnode check` does it.
fn accept(node: &mut Node, end: u64) {
    let on_disk = node.disk.bytes("p3/MANIFEST");
    let mut manifest = Manifest::decode(on_disk, PartitionId(3)).unwrap();
    manifest.loss_accepted = end;
    for segment in manifest.segments.iter_mut().filter(|segment| segment.base < end) {
        segment.sealed.iter_mut().for_each(|sealed| sealed.damaged = true);
    }
    node.disk.edit("p3/MANIFEST", |bytes| *bytes = manifest.encode());
}

/// A copy of all that the log gives is a log, and has what its leader has.
fn copies(leader: &mut Node) {
    for bytes_max in [1, 150, 1 << 20] {
        let mut follower = Node::fresh(quiet());
        follower.copy_all(leader, bytes_max);
        follower.commit_all();
        assert_eq!(follower.replica.epochs(), leader.replica.epochs());
        assert_eq!(follower.content(), leader.content());
        let again = Node::open(follower.disk.crash(Unsynced::Lost), quiet());
        assert_eq!(again.replica.epochs(), leader.replica.epochs());
    }
}

#[test]
fn damage_that_is_behind_a_follower_does_not_hold_it_up() {
    let mut node = two_reigns();
    let at = find(&node, &[b'a', 2]);
    flip(&mut node, at);
    let mut node = again(node, 4);
    assert_eq!(node.read(0, 1 << 20).unwrap().end, Offset(3));
    assert_eq!(node.read(3, 1 << 20), Err(LogFault::Damaged));
    for from in 4..12 {
        assert_eq!(node.log(from, 70)[0].offset, Offset(from));
    }
}

#[test]
fn what_was_deleted_with_all_keys_is_a_gap() {
    let mut node = two_reigns();
    let at = find(&node, &[b'a', 2]);
    flip(&mut node, at);
    let mut node = again(node, 4);
    node.clock += 1;
    node.replica.append(node.clock, true, 0, [].iter());
    assert_eq!(node.read(3, 1 << 20), Err(LogFault::Damaged), "it is not committed");
    node.commit_all();
    assert!(!node.replica.damaged());
    node.put(b"b", b"1");
    node.commit_all();
    for from in 0..13 {
        let log = node.log(from, 70);
        assert_eq!(log[0].offset, Offset(from));
        let told = log.iter().find(|seen| seen.kind == Kind::Gap);
        assert_eq!(told.map(|gap| gap.offset), (from <= 3).then_some(Offset(3)));
    }
    copies(&mut node);
}

#[test]
fn what_was_accepted_as_lost_is_a_gap_with_the_reigns_that_began_there() {
    let mut node = two_reigns();
    let (from, to) = (find(&node, &[b'a', 3]), find(&node, &[b'a', 6]));
    (from..to).for_each(|at| flip(&mut node, at));
    let mut damaged = again(node, 4);
    assert_eq!(damaged.read(4, 1 << 20), Err(LogFault::Damaged));
    accept(&mut damaged, 8);
    let mut node = again(damaged, 5);
    assert!(!node.replica.damaged() && node.replica.lacks_records());
    let log = node.log(0, 1 << 20);
    let lost: Vec<_> = log.iter().filter(|seen| (4..8).contains(&seen.offset.0)).collect();
    let is = |seen: &&crate::node::Seen| (seen.kind, seen.offset.0, seen.next.0, seen.epoch.0);
    let is: Vec<_> = lost.iter().map(is).collect();
    // Where the reign began nothing tells any more; that it did, the next record.
    assert_eq!(is, [(Kind::Gap, 4, 7, 1), (Kind::Epoch, 7, 8, 3)]);
    assert!(node.replica.tombstone_horizon() >= Offset(8), "others may have it");
    copies(&mut node);
}

#[test]
fn a_damaged_value_that_nobody_reads_any_more_is_a_gap() {
    let mut node = two_reigns();
    let at = find(&node, &[b'a', 3]) - 10;
    flip(&mut node, at);
    assert_eq!(node.read(3, 1 << 20), Err(LogFault::Damaged));
    node.put(&[b'a', 2], b"anew");
    assert_eq!(node.read(3, 1 << 20), Err(LogFault::Damaged), "it is not committed");
    node.commit_all();
    let chunk = node.read(3, 1 << 20).unwrap();
    assert_eq!(seen(&chunk.records)[0].kind, Kind::Gap);
    copies(&mut node);
    // After an opening it is not known what is committed.
    let mut opened = Node::open(node.disk.clone().crash(Unsynced::Kept), quiet());
    assert!(opened.replica.high_watermark() < opened.replica.log_end());
    assert_eq!(opened.read(3, 1 << 20), Err(LogFault::Damaged));
    // Nor is a key that is not there yet.
    node.put(b"new", b"uncommitted");
    let last = find(&node, b"new") + HEAD_BYTES + b"new".len();
    flip(&mut node, last);
    let end = node.replica.log_end().0;
    assert_eq!(node.read(end - 1, 1 << 20), Err(LogFault::Damaged));
    flip(&mut node, last);
    // A follower that has no more than that owes what superseded it.
    let mut follower = Node::fresh(quiet());
    follower.copy(node.read(0, 1).unwrap());
    while follower.replica.log_end() < Offset(5) {
        follower.copy(node.read(follower.replica.log_end().0, 1).unwrap());
    }
    follower.commit_all();
    let next =
        [(crate::copied::head(Kind::Epoch, 9, 5, u64::MAX >> 20, false), &b""[..], &b""[..])];
    let taken = crate::copied::take(&mut follower, 6, &next);
    assert_eq!(taken, Err(BadRecords::Forked));
}

#[test]
fn a_header_is_not_missed() {
    let mut node = two_reigns();
    let name = node.disk.segments()[0].clone();
    node.disk.edit(&name, |bytes| bytes[9] ^= 1);
    let mut node = again(node, 4);
    assert_eq!(node.log(0, 100).len() as u64, node.replica.log_end().0);
    copies(&mut node);
}

#[test]
fn what_could_not_be_read_and_was_accepted_is_a_gap() {
    let settings = Settings { segment_bytes: 1 << 20, ..quiet() };
    let mut node = Node::leader(settings, 1);
    (0..200).for_each(|n| _ = node.put(&[b'a', n], &[n; 100]));
    node.commit_all();
    let name = node.disk.segments()[0].clone();
    let is_page = move |op: &DiskOp| match op {
        DiskOp::Read { file, at, len } if file.to_string() == name => {
            (*at < 12_288 && at + u64::from(*len) > 8_192).then_some(DiskError::Io(5))
        }
        _ => None,
    };
    let open = |mut disk: crate::world::MemDisk| {
        disk.fault = Some(Box::new(is_page.clone()));
        let mut node = Node::cold(disk, settings);
        for _ in 0..10 {
            node.pass(Duration::from_secs(2));
        }
        assert_eq!(node.opened, 1, "{:?}", node.notices);
        node.replica.begin_reign(Epoch(node.replica.epoch().0 + 1));
        node.commit_all();
        node
    };
    let mut node = open(node.disk.crash(Unsynced::Kept));
    let before = node.read(0, 1 << 20).unwrap().end;
    assert_eq!(node.read(before.0, 1 << 20), Err(LogFault::Damaged));
    let behind = (before.0..).find(|&from| node.read(from, 1 << 20).is_ok()).unwrap();
    assert!(behind < 200, "only what can not be read is not given");
    accept(&mut node, behind);
    let mut node = open(node.disk.crash(Unsynced::Kept));
    let log = node.log(0, 1000);
    let gap = log.iter().find(|seen| seen.kind == Kind::Gap).unwrap();
    assert_eq!((gap.offset, gap.next), (before, Offset(behind)));
}

#[test]
fn a_segment_that_has_lost_its_end_is_passed_over_once_that_is_accepted() {
    let mut node = Node::leader(quiet(), 1);
    (0..40).for_each(|n| _ = node.put(&[b'a', n], &[n; 60]));
    node.commit_all();
    let name = node.disk.segments()[0].clone();
    let len = node.disk.bytes(&name).len();
    node.disk.edit(&name, |bytes| bytes.truncate(len - 150));
    accept(&mut node, 0);
    let mut node = again(node, 2);
    let before = node.read(0, 1 << 20).unwrap().end;
    assert_eq!(node.read(before.0, 1 << 20), Err(LogFault::Damaged));
    let behind = (before.0..).find(|&from| node.read(from, 1 << 20).is_ok()).unwrap();
    accept(&mut node, behind);
    let mut node = again(node, 3);
    for from in 0..40 {
        assert_eq!(node.log(from, 200)[0].offset, Offset(from));
    }
    copies(&mut node);
}
