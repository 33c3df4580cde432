//! A shard of a cluster by hand: what it makes of the map in any order of what it is told, by its disk and
//! by control.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

use std::sync::Arc;
use std::time::Duration;

use kvnode_core::control::View;
use kvnode_core::disk::{DiskError, DiskOp, File};
use kvnode_core::node::{ToControl, ToShard};
use kvnode_core::replication::Message;
use kvnode_core::shard::{FsyncMode, Input};
use kvnode_core::storage::record::{self, Gap, HEAD_BYTES, Kind};
use kvnode_core::{ClientId, Epoch, IoId, Offset};

#[allow(dead_code, missing_docs, unreachable_pub, reason = "test files share parts of this")]
#[path = "../world/disk.rs"]
mod disk;

mod cuts;
mod node;

use disk::MemDisk;
use node::*;

#[test]
fn a_reign_whose_beginning_failed_is_not_begun_once_more() {
    let (mut node, mut map, first) = leader();
    let epoch = elect(&mut map, ME);
    assert!(epoch > first);
    // Records are on their way to the disk; behind them stands the beginning of the reign.
    node.set(b"before");
    node.control(ToShard::View(view(&map, 0)));
    node.poll();
    assert_eq!(node.replica().leads, Some(epoch));
    let start = node.replica().log_end;
    node.disk.fault = Some(Box::new(|op| is_fsync_of_data(op).then_some(DiskError::Io(5))));
    node.settle();
    node.disk.fault = None;
    let resigned = |node: &Node| {
        let own = |said: &&ToControl| matches!(said, ToControl::Resigned(P, e) if *e == epoch);
        node.said.iter().filter(own).count()
    };
    assert_eq!((node.replica().leads, resigned(&node)), (None, 1));
    // The controller does not hear of it: who has the records before may take this log for theirs.
    node.led.clear();
    node.pass(Duration::from_secs(3));
    let replica = node.replica();
    assert!(replica.open && replica.log_end <= start);
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    assert_eq!((node.led.as_slice(), resigned(&node)), (&[][..], 3), "it says so again");
    let epoch = elect(&mut map, ME);
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    assert_eq!(node.replica().leads, Some(epoch));
}

#[test]
fn whoever_has_lost_its_log_leads_nothing_in_the_life_that_had_it() {
    let lost = || {
        let (mut node, map, _) = leader();
        node.disk.remove_dir("p0");
        (node.disk, map)
    };
    // However far the opening has come when the election is heard of.
    let mut answers = 0;
    loop {
        let (disk, mut map) = lost();
        let mut node = Node::new(disk);
        register(&mut map, ME, 2);
        node.control(ToShard::View(view(&map, 0)));
        node.poll();
        let whole = (0..answers).all(|at| {
            let answered = node.answer().is_some();
            // The last one is not acted upon before the map is.
            if at + 1 < answers {
                node.poll();
            }
            answered
        });
        elect(&mut map, ME);
        node.control(ToShard::View(view(&map, 0)));
        node.settle();
        node.pass(Duration::from_secs(2));
        assert!(node.has_said_unclean(), "behind {answers} answers");
        elect(&mut map, ME);
        node.control(ToShard::View(view(&map, 0)));
        node.pass(Duration::from_secs(2));
        assert_eq!(node.led, [], "behind {answers} answers");
        assert_eq!(node.replica().log_end, Offset(0), "behind {answers} answers");
        // Control has heard of it: another life.
        register(&mut map, ME, 3);
        let epoch = elect(&mut map, ME);
        node.control(ToShard::View(view(&map, 1)));
        node.settle();
        assert_eq!(node.led, [epoch]);
        if !whole {
            return assert!(answers > 10, "an opening takes more than {answers} operations");
        }
        answers += 1;
    }
}

/// Or it is in sync with nothing for as long as the disk stays full, and elected.
#[test]
fn a_log_that_is_gone_is_told_of_before_another_takes_its_place() {
    let (mut node, mut map, _) = leader();
    node.disk.remove_dir("p0");
    let mut node = Node::new(node.disk);
    register(&mut map, ME, 2);
    let marks = |op: &DiskOp| matches!(op, DiskOp::Write { file: File::Mark(P), .. });
    node.disk.fault = Some(Box::new(move |op| marks(op).then_some(DiskError::Full)));
    let says = |node: &mut Node| {
        let said = node.said.drain(..);
        said.filter(|said| matches!(said, ToControl::Unclean)).count()
    };
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    assert!(!node.replica().open);
    assert_eq!(says(&mut node), 1);
    // It is found to be gone each time.
    register_as(&mut map, ME, 3, false);
    node.control(ToShard::View(view(&map, 1)));
    node.pass(Duration::from_secs(5));
    assert_eq!((node.replica().open, says(&mut node)), (false, 0));
    node.disk.fault = None;
    node.pass(Duration::from_secs(5));
    assert_eq!((node.replica().open, says(&mut node)), (true, 0));
}

/// That it also ends before what was acknowledged is no further loss.
#[test]
fn a_log_that_is_gone_while_the_process_runs_costs_one_life() {
    let (mut node, _, _) = leader();
    node.disk.fault = Some(Box::new(|op| is_fsync_of_data(op).then_some(DiskError::Io(5))));
    node.set(b"again");
    node.settle();
    assert!(!node.replica().open, "the fault has stopped it");
    node.disk.fault = None;
    node.disk.remove_dir("p0");
    node.pass(Duration::from_secs(3));
    assert_eq!((node.replica().open, node.replica().log_end), (true, Offset(0)));
    assert_eq!(node.said.iter().filter(|said| matches!(said, ToControl::Unclean)).count(), 1);
}

/// What it has seen of the map may be old, and have it in sync by now.
#[test]
fn a_process_that_is_not_registered_tells_of_any_log_that_is_gone() {
    for life in [None, Some(1)] {
        let (mut node, mut map, _) = leader();
        depose(&mut node, &mut map);
        alter(&mut map, &[OTHER]);
        node.disk.remove_dir("p0");
        let mut node = Node::new(node.disk);
        let shown = view(&map, 0);
        let life = life.and(shown.life);
        node.control(ToShard::View(Arc::new(View { life, ..(*shown).clone() })));
        node.settle();
        assert_eq!(node.has_said_unclean(), life.is_none());
    }
}

#[test]
fn a_cut_that_is_asked_of_a_replica_that_has_gone_down_is_none() {
    let mut node = follower();
    // Compaction changes the manifest.
    let is_renamed =
        |(_, op): &(IoId, DiskOp)| matches!(op, DiskOp::Rename { to: File::Manifest(_), .. });
    for _ in 0..1000 {
        if node.ops.front().is_some_and(is_renamed) {
            break;
        }
        node.answer();
        node.now.mono = node.now.mono.after(Duration::from_millis(1));
        node.shard.handle(node.now, Input::Tick);
        node.poll();
    }
    let (io, _) = node.ops.pop_front().expect("it compacts");
    let asked = asked(&node);
    let Message::Follow { round, end, .. } = asked.message else { unreachable!() };
    node.answers(io, Err(DiskError::Io(5)));
    // Not acted upon yet, when the leader's answer is there.
    let message = Message::Common { round, epoch: Epoch(0), end: Offset(0) };
    node.hear(asked.epoch, message);
    node.settle();
    assert!(!node.replica().open, "the fault has stopped it");
    node.pass(Duration::from_secs(3));
    let replica = node.replica();
    assert!(replica.open && replica.follows.is_some());
    assert_eq!(replica.log_end, end, "it is as it was");
}

/// It was taken for a torn tail, since an end that the leader gives to a log may come before it.
#[test]
fn what_was_acknowledged_and_a_cut_does_not_find_is_a_loss() {
    for torn in [false, true] {
        let (mut node, mut map, _) = leader();
        for key in [b"a", b"b", b"c", b"d"] {
            node.set_to(key, b"small");
            node.settle();
        }
        depose(&mut node, &mut map);
        node.pass(Duration::from_millis(10));
        let asked = asked(&node);
        let Message::Follow { round, last: epoch, end } = asked.message else { unreachable!() };
        let cut = Offset(end.0 - 1);
        if torn {
            // MARK comes after what is acknowledged.
            node.disk.edit("p0/MARK", Vec::clear);
            let active = node.disk.segments().pop().expect("it has a segment");
            let record = HEAD_BYTES + "d".len() + "small".len();
            node.disk.edit(&active, |bytes| {
                let at = bytes.len() - 2 * record;
                bytes[at] ^= 1;
            });
        }
        let message = Message::Common { round, epoch, end: cut };
        node.hear(asked.epoch, message);
        node.settle();
        let replica = node.replica();
        assert_eq!(replica.log_end, Offset(cut.0 - u64::from(torn)));
        assert_eq!(node.has_said_unclean(), torn);
    }
}

/// What it had acknowledged as a follower was forgotten when its reign began.
#[test]
fn whoever_loses_what_it_acknowledged_just_when_it_is_elected_says_so() {
    let (mut node, mut map, _) = leader_with(FsyncMode::EveryMs(500));
    node.pass(Duration::from_secs(1));
    node.set_to(b"a", b"not fsynced yet");
    node.settle();
    let end = node.replica().log_end;
    depose(&mut node, &mut map);
    while !node.ops.iter().any(|(_, op)| is_fsync_of_data(op)) {
        node.now.mono = node.now.mono.after(Duration::from_millis(10));
        node.shard.handle(node.now, Input::Tick);
        node.poll();
    }
    elect(&mut map, ME);
    node.control(ToShard::View(view(&map, 0)));
    let at = node.ops.iter().position(|(_, op)| is_fsync_of_data(op)).expect("it is under way");
    let (io, _) = node.ops.remove(at).expect("it is there");
    // Not acted upon yet, when the fsync turns out to have failed.
    node.answers(io, Err(DiskError::Io(5)));
    node.settle();
    node.pass(Duration::from_secs(3));
    assert!(node.replica().open && node.replica().log_end < end);
    assert!(node.has_said_unclean());
}

/// A log with a gap, whose leader is lost before it has sent what had superseded what is missing; and
/// the next one does not have that.
#[test]
fn whoever_lacks_what_nobody_superseded_any_more_begins_anew() {
    let mut map = map();
    let first = elect(&mut map, OTHER);
    alter(&mut map, &[OTHER]);
    let mut node = Node::new(MemDisk::default());
    node.control(ToShard::View(view(&map, 0)));
    node.control(ToShard::Linked(OTHER));
    node.settle();
    node.pass(Duration::from_millis(10));
    let mut records = Vec::new();
    record::encode(&head(Kind::Epoch, first, 0), b"", b"", &mut records);
    let gap = Gap { end: Offset(20), floor: Offset(50), epoch: first };
    record::encode_gap(&head(Kind::Gap, first, 1), &gap, &mut records);
    sends(&mut node, 20, &records);
    assert_eq!(node.replica().log_end, Offset(20));
    let second = elect(&mut map, OTHER);
    node.said.clear();
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    node.pass(Duration::from_millis(10));
    records.clear();
    record::encode(&head(Kind::Epoch, second, 20), b"", b"", &mut records);
    sends(&mut node, 21, &records);
    assert_eq!((node.replica().log_end, node.replica().follows), (Offset(20), None));
    // It may have been let in by now, and so it begins another life.
    assert!(node.has_said_unclean());
    register(&mut map, ME, 2);
    node.control(ToShard::View(view(&map, 1)));
    node.settle();
    assert!(node.replica().open);
    assert_eq!(node.replica().log_end, Offset(0), "it begins anew");
    node.pass(Duration::from_millis(10));
    let Message::Follow { end, .. } = asked(&node).message else { unreachable!() };
    assert_eq!(end, Offset(0));
}

/// Compaction has dropped what was superseded behind the cut: the whole log goes. That costs a life
/// where it counts for something.
#[test]
fn a_log_that_can_not_be_cut_there_begins_again_and_that_is_a_loss_in_sync_alone() {
    for seated in [false, true] {
        let (mut node, mut map, _) = leader();
        for _ in 0..6 {
            node.set(b"again");
            node.settle();
        }
        node.pass(Duration::from_secs(3));
        depose(&mut node, &mut map);
        if !seated {
            alter(&mut map, &[OTHER]);
            node.control(ToShard::View(view(&map, 0)));
        }
        node.pass(Duration::from_millis(10));
        let asked = asked(&node);
        let Message::Follow { round, last: epoch, .. } = asked.message else { unreachable!() };
        let message = Message::Common { round, epoch, end: Offset(3) };
        node.hear(asked.epoch, message);
        node.settle();
        assert_eq!(node.replica().log_end, Offset(0), "its segments were merged");
        assert_eq!(node.has_said_unclean(), seated);
    }
}

/// Met while it led alone, and forgotten when its next reign began: nobody would look there again.
#[test]
fn damage_that_a_leader_has_met_is_not_forgotten_in_its_next_reign() {
    let (mut node, mut map, _) = leader();
    node.settle();
    let segment = node.disk.segments()[0].clone();
    node.disk.edit(&segment, |bytes| bytes[1000] ^= 1);
    node.shard.handle(node.now, Input::Command(ClientId(1), &[b"GET", b"k"]));
    node.settle();
    let epoch = elect(&mut map, ME);
    node.control(ToShard::View(view(&map, 0)));
    node.settle();
    assert_eq!(node.replica().leads, Some(epoch));
    assert!(!node.has_said_unclean(), "it alone has what it has");
    depose(&mut node, &mut map);
    assert!(node.has_said_unclean(), "others have what it lacks");
}
