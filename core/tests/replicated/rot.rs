//! What has rotted in a log that nobody else has does not hold up a follower that is past it.

use kvnode_core::storage::format::Manifest;
use kvnode_core::storage::record::{Parsed, parse};
use kvnode_core::storage::replica::LogFault;
use kvnode_core::{Epoch, Offset, PartitionId};

use crate::node::{Node, quiet};
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
fn nor_does_it_when_all_keys_are_deleted_or_the_loss_is_accepted() {
    let mut node = two_reigns();
    let at = find(&node, &[b'a', 2]);
    flip(&mut node, at);
    let mut node = again(node, 4);
    node.clock += 1;
    node.replica.append(node.clock, true, 0, [].iter());
    node.commit_all();
    assert!(!node.replica.damaged());
    for from in 4..12 {
        assert_eq!(node.log(from, 70)[0].offset, Offset(from));
    }
    let mut node = two_reigns();
    let at = find(&node, &[b'a', 2]);
    flip(&mut node, at);
    accept(&mut node, 0);
    let mut node = again(node, 4);
    accept(&mut node, 4);
    let mut node = again(node, 5);
    assert!(!node.replica.damaged() && node.replica.lacks_records());
    for from in 4..12 {
        assert_eq!(node.log(from, 70)[0].offset, Offset(from));
    }
}

#[test]
fn a_header_is_not_missed() {
    let mut node = two_reigns();
    let name = node.disk.segments()[0].clone();
    node.disk.edit(&name, |bytes| bytes[9] ^= 1);
    assert_eq!(node.read(3, 100), Err(LogFault::Damaged), "nobody has looked what is behind it");
    let mut node = again(node, 4);
    assert_eq!(node.log(0, 100).len() as u64, node.replica.log_end().0);
}
