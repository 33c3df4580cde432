//! What others are told of a log while it is being cut.

use std::time::Duration;

use kvnode_core::Offset;
use kvnode_core::cluster::{Command, Map, Right};
use kvnode_core::disk::{DiskError, DiskOp, File};
use kvnode_core::node::{ToControl, ToShard};
use kvnode_core::replication::Message;
use kvnode_core::shard::Input;
use kvnode_core::storage::record::{self, Head, Kind};

use crate::node::*;

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
    node.hear(asked.epoch, Message::Common { round, epoch, end: Offset(end.0 - 1) });
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

/// Or it could be elected for the log that it had, should the last in sync come back with less.
#[test]
fn nobody_hears_how_far_a_log_came_that_is_being_cut() {
    let (mut node, mut map, _) = leader();
    depose(&mut node, &mut map);
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
    // It lacks tombstones. Its disk takes 3 s.
    node.hear(asked.epoch, Message::Restart { round });
    node.poll();
    for _ in 0..300 {
        node.now.mono = node.now.mono.after(Duration::from_millis(10));
        node.shard.handle(node.now, Input::Tick);
        node.poll();
        assert_eq!(hear(&mut node), None);
    }
    node.settle();
    node.pass(Duration::from_millis(200));
    assert_eq!(hear(&mut node).map(|told| told.end), Some(Offset(0)), "it is cut");
}

/// A follower whose leader went on alone and came back unclean; perhaps its own log was cut as a whole before.
fn left_out(is_cut: bool) -> (Node, Map) {
    let (mut node, mut map, _) = leader();
    depose(&mut node, &mut map);
    node.pass(Duration::from_millis(200));
    alter(&mut map, &[OTHER]);
    node.control(ToShard::View(view(&map, 0)));
    if is_cut {
        let asked = asked(&node);
        let Message::Follow { round, .. } = asked.message else { unreachable!() };
        node.hear(asked.epoch, Message::Restart { round });
        node.settle();
        assert_eq!((node.replica().open, node.replica().log_end), (true, Offset(0)));
    }
    register_as(&mut map, OTHER, 3, false);
    (node, map)
}

/// The word that its log is being cut may not come in time, or not at all.
#[test]
fn whoever_is_elected_for_more_than_it_has_begins_another_life() {
    let led = |is_cut: bool| {
        let (mut node, mut map) = left_out(is_cut);
        let epoch = elect_by(&mut map, ME, Right::LongestLog);
        node.control(ToShard::View(view(&map, 0)));
        node.settle();
        let led = node.replica().leads == Some(epoch);
        assert_eq!(node.has_said_unclean(), !led);
        // For what it has it is welcome.
        register_as(&mut map, ME, 4, false);
        let epoch = elect_by(&mut map, ME, Right::LongestLog);
        node.control(ToShard::View(view(&map, u64::from(!led))));
        node.settle();
        assert_eq!(node.replica().leads, Some(epoch));
        led
    };
    assert!(led(false));
    assert!(!led(true));
}

/// Not even if a fault has the log opened again, and no role has looked at it in between.
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
    node.hear(asked.epoch, Message::Common { round, epoch, end: cut });
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

/// It was fenced before it heard of that, and let in again in the same life: it is elected as the one in sync.
#[test]
fn nor_does_it_have_more_for_a_fence() {
    let (mut node, mut map) = left_out(true);
    elect_by(&mut map, ME, Right::LongestLog);
    // Nothing is heard of it for the timeout of a session.
    let me = life(&map, ME);
    apply(&mut map, &Command::Fence(me));
    apply(&mut map, &Command::Unfence(me));
    let epoch = elect(&mut map, ME);
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    assert!(node.has_said_unclean(), "it leads in {epoch:?} with nothing: {:?}", node.replica());
}

/// It has begun the reign for which its log was the longest: what is cut of it in a later one was not committed.
#[test]
fn whoever_was_elected_for_the_longest_log_is_cut_like_any_other_later() {
    let (mut node, mut map, _) = leader();
    depose(&mut node, &mut map);
    alter(&mut map, &[OTHER]);
    register_as(&mut map, OTHER, 3, false);
    elect_by(&mut map, ME, Right::LongestLog);
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    node.pass(Duration::from_secs(2));
    alter(&mut map, &[ME, OTHER]);
    node.control(ToShard::View(view(&map, 0)));
    node.set(b"not committed");
    node.settle();
    node.pass(Duration::from_millis(200));
    elect(&mut map, OTHER);
    assert!(map.partition(P).unwrap().longest_log().is_some(), "the doubt is still there");
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    node.pass(Duration::from_millis(200));
    let asked = asked(&node);
    let Message::Follow { round, last: epoch, end } = asked.message else { unreachable!() };
    let cut = Offset(end.0 - 1);
    node.hear(asked.epoch, Message::Common { round, epoch, end: cut });
    node.settle();
    assert_eq!((node.replica().open, node.replica().log_end), (true, cut));
    let epoch = elect(&mut map, ME);
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    assert_eq!((node.replica().leads, node.has_said_unclean()), (Some(epoch), false));
}

/// Half a batch is no loss for who is elected: the other half will come to nobody.
#[test]
fn whoever_is_elected_with_half_a_batch_leads_without_it() {
    let (mut node, mut map, _) = leader();
    depose(&mut node, &mut map);
    node.pass(Duration::from_millis(10));
    let (start, epoch) = (node.replica().log_end.0, map.partition(P).unwrap().epoch);
    let mut records = Vec::new();
    record::encode(&head(Kind::Epoch, epoch, start), b"", b"", &mut records);
    let half = Head { more: true, ..head(Kind::Put, epoch, start + 1) };
    record::encode(&half, b"k", b"v", &mut records);
    sends(&mut node, start + 2, &records);
    node.pass(Duration::from_millis(200));
    assert_eq!(node.replica().log_end, Offset(start + 2));
    alter(&mut map, &[OTHER]);
    register_as(&mut map, OTHER, 3, false);
    let epoch = elect_by(&mut map, ME, Right::LongestLog);
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    assert_eq!((node.replica().leads, node.has_said_unclean()), (Some(epoch), false));
}
