//! What a full disk took back, and what had been written of it elsewhere by then.

use std::time::Duration;

use bytes::Bytes;
use kvnode_core::disk::{DiskError, DiskOp};
use kvnode_core::storage::record::{self, Head, Kind};
use kvnode_core::{Epoch, Offset};

use crate::copied::{head, take};
use crate::node::{Node, quiet};
use crate::world::disk::Unsynced;

/// Segments can be made, and nothing be logged.
fn no_room_for_records(op: &DiskOp) -> Option<DiskError> {
    matches!(op, DiskOp::Write { file, at, .. } if *at > 0 && file.to_string().ends_with("log"))
        .then_some(DiskError::Full)
}

type Made = (Head, &'static [u8], &'static [u8]);

fn put(epoch: u32, offset: u64, value: &'static [u8]) -> Made {
    (head(Kind::Put, epoch, offset, 1, false), b"k", value)
}

fn begins(epoch: u32, offset: u64) -> Made {
    (head(Kind::Epoch, epoch, offset, 1, false), b"", b"")
}

/// A log of reign 1 up to 2, which was to go on with another put of it, and reign 5 from 3 on.
fn taken_back() -> Node {
    let mut node = Node::fresh(quiet());
    assert_eq!(take(&mut node, 2, &[begins(1, 0), put(1, 1, &[7; 860])]), Ok(()));
    node.settle();
    node.disk.fault = Some(Box::new(no_room_for_records));
    assert_eq!(take(&mut node, 4, &[put(1, 2, b"x"), begins(5, 3)]), Ok(()));
    node.settle();
    assert_eq!(node.replica.log_end(), Offset(2));
    node.disk.fault = None;
    node.pass(Duration::from_secs(2));
    node
}

/// The roll names what waits for it in MANIFEST, and then that finds no room.
#[test]
fn a_reign_that_was_taken_back_is_not_in_the_history_of_the_next_life() {
    let mut node = Node::leader(quiet(), 1);
    node.put(b"a", &[7; 860]);
    node.commit_all();
    node.disk.fault = Some(Box::new(no_room_for_records));
    node.replica.begin_reign(Epoch(5));
    node.settle();
    assert_eq!((node.replica.epoch(), node.replica.log_end()), (Epoch(1), Offset(2)));
    assert_eq!(node.replica.epochs().list(), [(Epoch(1), Offset(0))]);
    node.disk.fault = None;
    node.pass(Duration::from_secs(2));
    // Another leads, whose log goes on in the reign of before, and then begins one.
    let clock = node.replica.log_clock();
    let put = |epoch, offset| (head(Kind::Put, epoch, offset, clock, false), &b"k"[..], &b"v"[..]);
    let begins =
        |epoch, offset| (head(Kind::Epoch, epoch, offset, clock, false), &b""[..], &b""[..]);
    assert_eq!(take(&mut node, 5, &[put(1, 2), put(1, 3), begins(6, 4)]), Ok(()));
    node.settle();
    let before = node.replica.epochs().list().to_vec();
    assert_eq!(before, [(Epoch(1), Offset(0)), (Epoch(6), Offset(4))]);
    assert_eq!(node.replica.acked_end(), Offset(5));
    for unsynced in [Unsynced::Killed, Unsynced::Lost, Unsynced::Kept] {
        let again = Node::open(node.disk.clone().crash(unsynced), quiet());
        assert_eq!(again.replica.log_end(), Offset(5));
        assert_eq!(again.replica.epochs().list(), before);
    }
}

#[test]
fn a_reign_that_was_taken_back_does_not_hide_an_earlier_one() {
    let mut node = taken_back();
    assert_eq!(take(&mut node, 3, &[begins(6, 2)]), Ok(()));
    node.settle();
    let before = node.replica.epochs().list().to_vec();
    for unsynced in [Unsynced::Killed, Unsynced::Lost, Unsynced::Kept] {
        let mut again = Node::open(node.disk.clone().crash(unsynced), quiet());
        assert_eq!(again.replica.log_end(), Offset(3));
        assert_eq!(again.replica.epochs().list(), before);
        assert_eq!(take(&mut again, 4, &[put(6, 3, b"y")]), Ok(()));
    }
}

/// What was taken back is passed over by a gap.
#[test]
fn a_gap_stands_where_a_reign_was_taken_back() {
    let mut node = taken_back();
    let mut bytes = Vec::new();
    let gap = record::Gap { end: Offset(9), floor: Offset(10), epoch: Epoch(1) };
    record::encode_gap(&head(Kind::Gap, 1, 2, 1, false), &gap, &mut bytes);
    for (head, key, value) in [put(1, 9, b"z"), begins(6, 10)] {
        record::encode(&head, key, value, &mut bytes);
    }
    assert_eq!(node.replica.append_copied(Offset(2), Offset(11), Bytes::from(bytes)), Ok(()));
    node.settle();
    let before = node.replica.epochs().list().to_vec();
    assert_eq!(before, [(Epoch(1), Offset(0)), (Epoch(6), Offset(10))]);
    let again = Node::open(node.disk.clone().crash(Unsynced::Killed), quiet());
    assert_eq!(again.replica.epochs().list(), before);
}

/// Or every replica that is in sync with it would have to begin again from zero.
#[test]
fn a_gap_that_was_taken_back_leaves_no_horizon_behind_the_end() {
    let mut node = Node::fresh(quiet());
    assert_eq!(take(&mut node, 2, &[begins(1, 0), put(1, 1, &[7; 860])]), Ok(()));
    node.settle();
    node.disk.fault = Some(Box::new(no_room_for_records));
    let mut bytes = Vec::new();
    let gap = record::Gap { end: Offset(9), floor: Offset(9), epoch: Epoch(1) };
    record::encode_gap(&head(Kind::Gap, 1, 2, 1, false), &gap, &mut bytes);
    assert_eq!(node.replica.append_copied(Offset(2), Offset(9), Bytes::from(bytes)), Ok(()));
    assert_eq!(node.replica.tombstone_horizon(), Offset(9));
    node.settle();
    let ends = |node: &Node| (node.replica.log_end(), node.replica.tombstone_horizon());
    assert_eq!(ends(&node), (Offset(2), Offset(2)));
    // The roll has named it in MANIFEST.
    let again = Node::open(node.disk.clone().crash(Unsynced::Killed), quiet());
    assert_eq!(ends(&again), (Offset(2), Offset(2)));
}
