//! What others are told of a log while it is being cut.

use std::time::Duration;

use kvnode_core::cluster::{AlterPartition, Command, ElectLeader, Features, Registration, Right};
use kvnode_core::disk::{DiskError, DiskOp, File};
use kvnode_core::node::{Parcel, ToControl, ToShard};
use kvnode_core::peer::Channel;
use kvnode_core::replication::{Envelope, Message};
use kvnode_core::shard::{FsyncMode, Input};
use kvnode_core::{DirectoryId, Offset};

use crate::{ME, Node, OTHER, P, apply, asked, depose, elect, leader, leader_with, life, view};

/// While its log is being cut, which a full disk can keep it from for ever, the controller takes it for
/// open and well: for the leader to be, and whoever else is in sync never gets its turn.
#[test]
fn whoever_can_not_cut_its_log_does_not_pass_for_open() {
    let (mut node, mut map, _) = leader();
    for key in [b"a", b"b", b"c", b"d"] {
        node.set_to(key, b"small");
        node.settle();
    }
    depose(&mut node, &mut map);
    node.pass(Duration::from_millis(200));
    let asked = asked(&node);
    let Message::Follow { round, last: epoch, end } = asked.message else { unreachable!() };
    node.said.clear();
    node.disk.fault = Some(Box::new(|op| {
        let is_manifest = matches!(op, DiskOp::Write { file: File::ManifestTmp(_), .. });
        is_manifest.then_some(DiskError::Full)
    }));
    let message = Message::Common { round, epoch, end: Offset(end.0 - 1) };
    let body = Envelope { partition: P, epoch: asked.epoch, message }.encode();
    node.control(ToShard::Parcel(Parcel { node: OTHER, channel: Channel::Data, body }));
    node.settle();
    assert!(!node.replica().open);
    elect(&mut map, ME);
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    node.pass(Duration::from_secs(10));
    assert!(!node.replica().open && node.led.len() == 1);
    let told = |said: &ToControl| matches!(said, ToControl::Closed(P) | ToControl::Resigned(P, _));
    assert!(node.said.iter().any(told), "the controller takes it for an open replica");
}

/// The last in sync comes back without what it had not fsynced, while this one, which had told of a
/// longer log, is about to begin again from zero: it is elected for the log that it does not have.
#[test]
fn nobody_is_elected_for_a_log_that_is_being_cut() {
    let (mut node, mut map, _) = leader_with(FsyncMode::EveryMs(500));
    depose(&mut node, &mut map);
    let held = map.partition(P).unwrap();
    let (epoch, partition_epoch) = (held.epoch, held.partition_epoch);
    let isr = vec![life(&map, OTHER)];
    let alter = AlterPartition { partition: P, leader: OTHER, epoch, partition_epoch, isr };
    apply(&mut map, &Command::AlterPartition(alter));
    node.control(ToShard::View(view(&map, 0)));
    node.pass(Duration::from_millis(200));
    // What control tells the controller, heartbeat for heartbeat.
    let mut told = None;
    let mut hear = |node: &mut Node| {
        for said in node.said.drain(..) {
            match said {
                ToControl::LogEnds(ends) => told = ends.first().copied().or(told),
                ToControl::Closed(P) => told = None,
                _ => {}
            }
        }
        told
    };
    let asked = asked(&node);
    let Message::Follow { round, .. } = asked.message else { unreachable!() };
    assert!(hear(&mut node).is_some_and(|told| told.end > Offset(0)));
    // It lacks tombstones. Its disk takes a while.
    let body = Envelope { partition: P, epoch: asked.epoch, message: Message::Restart { round } };
    let body = body.encode();
    node.control(ToShard::Parcel(Parcel { node: OTHER, channel: Channel::Data, body }));
    node.poll();
    for _ in 0..300 {
        node.now.mono = node.now.mono.after(Duration::from_millis(10));
        node.shard.handle(node.now, Input::Tick);
        node.poll();
    }
    let told = hear(&mut node);
    // The leader has lost its power, and comes back with less than what is told of here.
    let registration = Registration {
        node: OTHER,
        directory: DirectoryId(u128::from(OTHER.0)),
        nonce: 9,
        clean: false,
        peer: "p:1".to_owned(),
        client: "c:1".to_owned(),
        rack: None,
        version: "1".to_owned(),
        features: Features { min: 1, max: 1 },
    };
    apply(&mut map, &Command::Register(registration));
    let other = life(&map, OTHER);
    apply(&mut map, &Command::Unfence(other));
    assert!(map.is_recoverable(map.partition(P).unwrap()));
    if let Some(told) = told {
        let held = map.partition(P).unwrap();
        let elected = ElectLeader {
            partition: P,
            leader: life(&map, ME),
            partition_epoch: held.partition_epoch,
            above: told.epoch,
            right: Right::LongestLog,
        };
        apply(&mut map, &Command::ElectLeader(elected));
        node.led.clear();
        node.control(ToShard::View(view(&map, 0)));
        node.settle();
        node.pass(Duration::from_secs(3));
        let replica = node.replica();
        assert_eq!(node.led, [], "told of {told:?}, leads with all of {}", replica.log_end);
    }
}

/// What it had acknowledged before a cut was held against the log behind it, where no role had looked at
/// that in between.
#[test]
fn what_was_cut_is_no_loss_when_nobody_leads_meanwhile() {
    let (mut node, mut map, _) = leader();
    for _ in 0..6 {
        node.set(b"again");
        node.settle();
    }
    depose(&mut node, &mut map);
    node.now.mono = node.now.mono.after(Duration::from_millis(1));
    node.shard.handle(node.now, Input::Tick);
    node.poll();
    let asked = asked(&node);
    let Message::Follow { round, last: epoch, end } = asked.message else { unreachable!() };
    let cut = Offset(end.0 - 1);
    let message = Message::Common { round, epoch, end: cut };
    let body = Envelope { partition: P, epoch: asked.epoch, message }.encode();
    node.control(ToShard::Parcel(Parcel { node: OTHER, channel: Channel::Data, body }));
    node.poll();
    // Its leader is gone before the cut is done.
    let other = life(&map, OTHER);
    apply(&mut map, &Command::Fence(other));
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    assert_eq!((node.replica().open, node.replica().log_end), (true, cut));
    // Compaction meets a fault.
    let is_renamed = |op: &DiskOp| matches!(op, DiskOp::Rename { to: File::Manifest(_), .. });
    node.disk.fault = Some(Box::new(move |op| is_renamed(op).then_some(DiskError::Io(5))));
    node.pass(Duration::from_millis(900));
    assert!(!node.replica().open, "the fault has stopped it");
    node.disk.fault = None;
    node.pass(Duration::from_secs(3));
    assert_eq!((node.replica().open, node.replica().log_end), (true, cut));
    assert!(!node.has_said_unclean(), "it has lost nothing");
}
