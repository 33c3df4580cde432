//! A full disk, where what was handed to it may have been shipped.

use std::time::Duration;

use kvnode_core::disk::{DiskError, DiskOp};
use kvnode_core::limits::SEGMENT_IDS_KEPT;
use kvnode_core::storage::format::Manifest;
use kvnode_core::storage::keydir::SEGMENT_ID_MAX;
use kvnode_core::storage::replica::{BadRecords, Dropped, Refusal};
use kvnode_core::{Epoch, Offset, PartitionId};

use crate::node::{Node, quiet};
use crate::world::disk::Unsynced;

fn no_room(op: &DiskOp) -> Option<DiskError> {
    matches!(op, DiskOp::Write { file, .. } if file.to_string().ends_with("log"))
        .then_some(DiskError::Full)
}

#[test]
fn a_full_disk_ends_the_reign_and_leaves_what_was_acknowledged() {
    let mut node = Node::leader(quiet(), 1);
    node.put(b"a", b"1");
    node.put(b"b", b"2");
    node.commit_to(2);
    node.disk.fault = Some(Box::new(no_room));
    node.put(b"c", b"3");
    assert_eq!(node.dropped, [(Offset(3), Dropped::Unknown)]);
    let r = &node.replica;
    assert_eq!((r.log_end(), r.shippable_end(), r.acked_end()), (Offset(3), Offset(3), Offset(3)));
    assert_eq!(r.high_watermark(), Offset(2), "acknowledged is not committed");
    assert!(!r.fit());
    assert_eq!(r.recent(Offset(3), 100), None);
    node.disk.fault = None;
    node.pass(Duration::from_secs(2));
    assert!(node.replica.fit());
    assert_eq!(node.replica.writable(node.now), Err(Refusal::DiskFull), "until another reign");
    assert_eq!(node.replica.begin_reign(Epoch(2)), Offset(3));
    node.put(b"d", b"4");
    node.commit_all();
    assert_eq!(node.content().len(), 3);
}

#[test]
fn a_reign_that_found_no_room_to_begin_never_was() {
    let mut node = Node::leader(quiet(), 1);
    node.put(b"a", b"1");
    node.disk.fault = Some(Box::new(no_room));
    node.replica.begin_reign(Epoch(7));
    node.settle();
    assert_eq!((node.replica.epoch(), node.replica.log_end()), (Epoch(1), Offset(2)));
    assert_eq!(node.replica.epochs().list(), [(Epoch(1), Offset(0))]);
}

#[test]
fn a_follower_without_numbers_for_segments_takes_no_more() {
    let (mut leader, mut follower) = (Node::leader(quiet(), 1), Node::fresh(quiet()));
    leader.put(b"a", b"1");
    follower.copy_all(&mut leader, 1000);
    let mut disk = follower.disk.crash(Unsynced::Lost);
    disk.edit("p3/MANIFEST", |bytes| {
        let mut manifest = Manifest::decode(bytes, PartitionId(3)).unwrap();
        manifest.next_segment = SEGMENT_ID_MAX.0 - SEGMENT_IDS_KEPT + 1;
        *bytes = manifest.encode();
    });
    let mut follower = Node::open(disk, quiet());
    leader.put(b"b", b"2");
    let chunk = leader.read(2, 100).unwrap();
    let taken = follower.replica.append_copied(chunk.base, chunk.end, chunk.records);
    assert_eq!(taken, Err(BadRecords::Refused(Refusal::SegmentsSpent)));
    // What an opening needs is kept.
    follower.replica.cut(follower.now, Offset(0), &mut follower.cache);
    follower.settle();
    assert_eq!((follower.opened, follower.replica.log_end()), (2, Offset(0)));
}

#[test]
fn a_follower_takes_more_once_there_is_room() {
    let (mut leader, mut follower) = (Node::leader(quiet(), 1), Node::fresh(quiet()));
    leader.put(b"a", b"1");
    follower.copy_all(&mut leader, 1000);
    leader.put(b"b", b"2");
    follower.disk.fault = Some(Box::new(no_room));
    let chunk = leader.read(2, 100).unwrap();
    follower.copy(chunk.clone());
    assert_eq!(follower.replica.log_end(), Offset(2));
    let again = follower.replica.append_copied(chunk.base, chunk.end, chunk.records.clone());
    assert_eq!(again, Err(BadRecords::Refused(Refusal::DiskFull)));
    follower.disk.fault = None;
    follower.pass(Duration::from_secs(2));
    follower.copy(chunk);
    assert_eq!(follower.replica.acked_end(), Offset(3));
}
