//! What a leader does.

use bytes::Bytes;
use kvnode_core::cluster::{
    AlterPartition, Command, ElectLeader, Map, PartitionEpoch, Refusal, Right,
};
use kvnode_core::replication::{
    Ignored, Leader, Message, Promises, ReadMode, ReadWait, Round, Settings, TooFew, leader,
};
use kvnode_core::{Epoch, Incarnation, Instant, NodeId, Offset};

use super::{Log, N1, N2, N3, ack, asks, at, life, log, round};
use crate::replica::{P, apply, founded, registration};

fn lead(map: &Map, start: u64, settings: Settings) -> Leader {
    let epoch = map.partition(P).unwrap().epoch;
    Leader::new(
        at(0),
        P,
        life(map, N1),
        epoch,
        Offset(start),
        Promises::unknown(at(0)),
        map,
        settings,
    )
}

fn said(machine: &mut Leader) -> Vec<leader::Output> {
    std::iter::from_fn(|| machine.poll()).collect()
}

/// A leader of three since the log's start, whose followers acknowledge all of it.
fn three() -> (Map, Leader, Log) {
    with_three(Settings::default())
}

fn with_three(settings: Settings) -> (Map, Leader, Log) {
    let map = founded(3, 2);
    let mut machine = lead(&map, 0, settings);
    let log = log(&[(1, 0)], 1, 1);
    for node in [N2, N3] {
        let round = round(&map, node, 1);
        machine.on_message(at(0), node, asks(round, 1, 1), log.state());
        said(&mut machine);
        machine.on_message(at(0), node, ack(round, 0, at(0), 1), log.state());
    }
    assert!(said(&mut machine).contains(&leader::Output::Commit(Offset(1))));
    (map, machine, log)
}

#[test]
fn a_log_that_is_a_part_of_the_leaders_matches_and_others_are_told_where_they_may_agree() {
    let map = founded(3, 1);
    let mut number = 0;
    let mut answer = |last, end, horizon| {
        let mut machine = lead_in(&map, 9, 30);
        let log = Log { horizon, ..log(&[(1, 0), (3, 10), (5, 20), (9, 30)], 31, 31) };
        number += 1;
        let round = round(&map, N3, number);
        machine.on_message(at(0), N3, asks(round, last, end), log.state());
        let first = said(&mut machine).into_iter().next();
        match first {
            Some(leader::Output::Send(N3, Message::Common { epoch, end, .. })) => {
                format!("{epoch} ends at {end}")
            }
            Some(leader::Output::Send(N3, Message::Append { base, end, .. })) => {
                assert_eq!(base, end);
                format!("streams from {end}")
            }
            Some(leader::Output::Send(N3, Message::Restart { .. })) => "restart".into(),
            Some(leader::Output::Ignored(N3, why)) => why.name().into(),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(answer(0, 0, 0), "streams from 0");
    assert_eq!(answer(5, 30, 0), "streams from 30");
    assert_eq!(answer(5, 25, 0), "streams from 25");
    assert_eq!(answer(5, 31, 0), "e5 ends at 30");
    assert_eq!(answer(4, 25, 0), "e3 ends at 20", "an epoch that the leader does not hold");
    assert_eq!(answer(9, 31, 0), "streams from 31");
    assert_eq!(answer(5, 20, 0), "contradiction", "an epoch can not end where it begins");
    assert_eq!(answer(9, 32, 0), "contradiction", "nobody has more of a reign than its leader");
    assert_eq!(answer(10, 31, 0), "later reign");
    assert_eq!(answer(0, 5, 0), "absurd");
    assert_eq!(answer(5, 0, 0), "absurd");
    assert_eq!(answer(5, 25, 25), "streams from 25", "all tombstones that are gone it has seen");
    assert_eq!(answer(0, 0, 25), "streams from 0", "it has nothing that they could delete");
}

#[test]
fn a_copy_that_was_broken_off_goes_on_while_what_it_lacks_is_retained() {
    const MINUTE: u64 = 60_000;
    let map = founded(3, 1);
    let log = Log { horizon: 25, watermark: 31, ..log(&[(1, 0), (9, 30)], 31, 31) };
    let copies = || {
        let mut machine = lead_in(&map, 9, 30);
        machine.on_linked(at(0), N3);
        machine.on_message(at(0), N3, asks(round(&map, N3, 1), 0, 0), log.state());
        assert_eq!(machine.retain(), Offset(0));
        let out = said(&mut machine);
        assert!(
            out.iter().any(|out| matches!(out, leader::Output::Ship { to: N3, .. })),
            "{out:?}"
        );
        let records = Bytes::from_static(b"records");
        machine.ship(at(0), N3, round(&map, N3, 1), Offset(0), Offset(10), records);
        assert_eq!(machine.retain(), Offset(0), "what was sent may not come");
        machine.on_message(at(1), N3, ack(round(&map, N3, 1), 0, at(0), 5), log.state());
        machine.on_unlinked(at(2), N3);
        assert_eq!(machine.retain(), Offset(5));
        said(&mut machine);
        machine
    };
    let goes_on = |machine: &mut Leader, time, number, end| {
        machine.on_linked(at(time), N3);
        said(machine);
        machine.on_message(at(time), N3, asks(round(&map, N3, number), 1, end), log.state());
        match said(machine).first() {
            Some(leader::Output::Send(N3, Message::Append { base, .. })) => {
                assert_eq!(*base, Offset(end));
                true
            }
            Some(leader::Output::Send(N3, Message::Restart { .. })) => false,
            other => panic!("{other:?}"),
        }
    };
    for end in [5, 7, 10] {
        let mut machine = copies();
        assert!(goes_on(&mut machine, 5 * MINUTE, 2, end), "{end}");
        assert_eq!(machine.retain(), Offset(5), "the rest may be lost yet");
        assert!(goes_on(&mut machine, 5 * MINUTE, 3, 5), "it has taken back what was not durable");
    }
    for end in [4, 11] {
        assert!(!goes_on(&mut copies(), 10, 2, end), "{end}: that is not from here");
    }
    let mut machine = copies();
    let later = 5 * MINUTE + 3;
    machine.on_tick(at(later), log.state());
    assert_eq!(machine.retain(), Offset(31), "what is committed: nobody waits for it any more");
    assert!(!goes_on(&mut machine, later, 2, 7));
    // In another life it may have lost what it had.
    let mut machine = copies();
    let other = Round { incarnation: Incarnation(99), number: 1 };
    machine.on_linked(at(10), N3);
    said(&mut machine);
    machine.on_message(at(10), N3, asks(other, 1, 7), log.state());
    let out = said(&mut machine);
    assert!(matches!(out[0], leader::Output::Send(N3, Message::Restart { .. })), "{out:?}");
}

/// n1 leads this epoch of a map in which n3 is not in sync.
fn lead_in(map: &Map, epoch: u32, start: u64) -> Leader {
    let mut map = map.clone();
    let out = life(&map, N3);
    apply(&mut map, &Command::Fence(out));
    elect_at(&mut map, epoch);
    let epoch = map.partition(P).unwrap().epoch;
    let mut machine = Leader::new(
        at(0),
        P,
        life(&map, N1),
        epoch,
        Offset(start),
        Promises::unknown(at(0)),
        &map,
        Settings::default(),
    );
    said(&mut machine);
    machine
}

/// Moves the lead to n2 and back, above so many epochs.
fn elect_at(map: &mut Map, epoch: u32) {
    for (node, above) in [(N2, 0), (N1, epoch - 1)] {
        let entry = map.partition(P).unwrap();
        let elect = ElectLeader {
            partition: P,
            leader: life(map, node),
            partition_epoch: entry.partition_epoch,
            above: Epoch(above),
            right: Right::InSync,
        };
        apply(map, &Command::ElectLeader(elect));
    }
}

#[test]
fn a_history_that_is_not_whole_can_not_tell_where_logs_part() {
    let map = founded(3, 1);
    for (first, epoch) in [(0, true), (20, false)] {
        let mut machine = lead_in(&map, 9, 30);
        let log = log(&[(5, first), (9, 30)], 31, 31);
        let round = round(&map, N3, 1);
        machine.on_message(at(0), N3, asks(round, 3, 12), log.state());
        let common = Message::Common { round, epoch: Epoch(0), end: Offset(0) };
        let answer = if epoch { common } else { Message::Restart { round } };
        assert_eq!(said(&mut machine)[0], leader::Output::Send(N3, answer));
    }
}

#[test]
fn below_the_horizon_only_who_is_out_of_sync_begins_again() {
    let map = founded(3, 1);
    let log = Log { horizon: 26, ..log(&[(1, 0), (9, 30)], 31, 31) };
    let mut machine = lead_in(&map, 9, 30);
    let out = round(&map, N3, 1);
    machine.on_message(at(0), N3, asks(out, 1, 25), log.state());
    let restart = leader::Output::Send(N3, Message::Restart { round: out });
    assert_eq!(said(&mut machine), [restart]);
    // Who is in sync leaves first.
    machine.on_message(at(0), N2, asks(round(&map, N2, 1), 1, 25), log.state());
    let said = said(&mut machine);
    assert!(matches!(said[0], leader::Output::Notice(..)), "{said:?}");
    assert_eq!(said[1], leader::Output::Ignored(N2, Ignored::InSyncStill));
    let leader::Output::Alter(alter) = &said[2] else { panic!("{said:?}") };
    assert_eq!(alter.isr, [life(&map, N1)]);
}

#[test]
fn all_that_is_known_of_a_follower_is_forgotten_when_it_asks_anew() {
    let (map, mut machine, mut log) = three();
    (log.end, log.acked) = (5, 5);
    machine.on_log(at(1), log.state());
    machine.on_message(at(1), N2, asks(round(&map, N2, 2), 1, 1), log.state());
    said(&mut machine);
    let old = ack(round(&map, N2, 1), 0, at(0), 1);
    machine.on_message(at(1), N2, old, log.state());
    assert!(said(&mut machine).contains(&leader::Output::Ignored(N2, Ignored::OldRound)));
    assert_eq!(machine.status()[0].acked, None);
    let again = asks(round(&map, N2, 2), 1, 1);
    machine.on_message(at(1), N2, again, log.state());
    assert!(said(&mut machine).contains(&leader::Output::Ignored(N2, Ignored::OldRound)));
    let dead = Round { incarnation: Incarnation(1), number: 9 };
    machine.on_message(at(1), N2, asks(dead, 1, 1), log.state());
    assert!(said(&mut machine).contains(&leader::Output::Ignored(N2, Ignored::EndedLife)));
    let beyond = ack(round(&map, N2, 2), 0, at(1), 6);
    machine.on_message(at(1), N2, beyond, log.state());
    assert!(said(&mut machine).contains(&leader::Output::Ignored(N2, Ignored::AckBeyondSent)));
    let future = ack(round(&map, N2, 2), 0, at(9), 1);
    machine.on_message(at(1), N2, future, log.state());
    assert!(said(&mut machine).contains(&leader::Output::Ignored(N2, Ignored::Absurd)));
    machine.on_message(at(1), NodeId(9), beyond_all(), log.state());
    assert!(said(&mut machine).contains(&leader::Output::Ignored(NodeId(9), Ignored::Stranger)));
}

fn beyond_all() -> Message {
    ack(Round { incarnation: Incarnation(1), number: 1 }, 0, at(0), 0)
}

#[test]
fn the_watermark_is_the_smallest_end_and_waits_for_the_reigns_own_record() {
    let map = founded(3, 2);
    let mut machine = lead(&map, 4, Settings::default());
    let mut log = log(&[(1, 4)], 8, 8);
    let (two, three) = (round(&map, N2, 1), round(&map, N3, 1));
    for (node, round) in [(N2, two), (N3, three)] {
        machine.on_message(at(0), node, asks(round, 0, 0), log.state());
        let shipped = said(&mut machine);
        let ship = leader::Output::Ship { to: node, round, from: Offset(0), bytes: 1 << 20 };
        assert_eq!(shipped[1], ship);
        let records = Bytes::from_static(b"records");
        let sent = machine.ship(at(0), node, round, Offset(0), Offset(8), records);
        assert!(matches!(sent, Some(Message::Append { base: Offset(0), end: Offset(8), .. })));
    }
    machine.on_message(at(0), N2, ack(two, 0, at(0), 8), log.state());
    machine.on_message(at(0), N3, ack(three, 0, at(0), 4), log.state());
    assert_eq!(said(&mut machine), [], "the record at 4 is not everywhere");
    assert!(!machine.serves());
    machine.on_message(at(0), N3, ack(three, 0, at(0), 6), log.state());
    let said_then = said(&mut machine);
    assert_eq!(said_then[0], leader::Output::Commit(Offset(6)));
    let told = |output: &leader::Output| {
        let leader::Output::Send(to, Message::Append { watermark, .. }) = output else {
            return None;
        };
        Some((*to, *watermark))
    };
    let told: Vec<_> = said_then.iter().filter_map(told).collect();
    assert_eq!(told, [(N2, Offset(6)), (N3, Offset(6))], "the first commit of a reign is told");
    assert!(machine.serves());
    (log.end, log.acked) = (9, 9);
    machine.on_message(at(0), N3, ack(three, 0, at(0), 8), log.state());
    assert_eq!(said(&mut machine)[0], leader::Output::Commit(Offset(8)));
}

#[test]
fn nothing_is_committed_below_min_isr_nor_before_the_promises_are_over() {
    let mut map = founded(2, 2);
    let (one, two) = (life(&map, N1), life(&map, N2));
    apply(&mut map, &Command::Fence(two));
    let mut machine = lead(&map, 0, Settings::default());
    machine.on_log(at(0), log(&[(1, 0)], 1, 1).state());
    assert_eq!(said(&mut machine), []);
    assert_eq!(machine.writable(), Err(TooFew { isr: 1, min_isr: 2 }));

    let map = founded(1, 1);
    let mut machine = Leader::new(
        at(0),
        P,
        life(&map, N1),
        Epoch(1),
        Offset(0),
        Promises::unknown(at(50)),
        &map,
        Settings::default(),
    );
    machine.on_tick(at(49), log(&[(1, 0)], 1, 1).state());
    assert_eq!(said(&mut machine), []);
    assert_eq!(machine.deadline().map(|(at, _)| at), Some(at(50)));
    machine.on_tick(at(50), log(&[(1, 0)], 1, 1).state());
    assert_eq!(said(&mut machine), [leader::Output::Commit(Offset(1))]);
    assert_eq!(one.node, N1);
}

/// A leader of two whose follower has lost its seat, follows, and has all but the last record.
fn out_of_sync() -> (Map, Leader, Log, Round) {
    let mut map = founded(2, 1);
    let two = life(&map, N2);
    apply(&mut map, &Command::Fence(two));
    apply(&mut map, &Command::Unfence(two));
    let mut machine = lead(&map, 4, Settings::default());
    let log = log(&[(1, 0)], 6, 6);
    machine.on_log(at(0), log.state());
    assert_eq!(said(&mut machine), [leader::Output::Commit(Offset(6))]);
    let round = round(&map, N2, 1);
    machine.on_message(at(0), N2, asks(round, 1, 6), log.state());
    machine.on_message(at(0), N2, ack(round, 0, at(0), 5), log.state());
    said(&mut machine);
    (map, machine, log, round)
}

fn alters(said: Vec<leader::Output>) -> Vec<AlterPartition> {
    let alter = |output| if let leader::Output::Alter(alter) = output { Some(alter) } else { None };
    said.into_iter().filter_map(alter).collect()
}

#[test]
fn who_has_all_that_is_committed_is_proposed_and_counted_from_then_on() {
    let (mut map, mut machine, mut log, round) = out_of_sync();
    machine.on_message(at(0), N2, ack(round, 0, at(0), 6), log.state());
    let asked = alters(said(&mut machine));
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].isr, [life(&map, N1), life(&map, N2)]);
    assert_eq!(asked[0].partition_epoch, PartitionEpoch(1));
    assert_eq!(machine.writable(), Ok(()));
    (log.end, log.acked) = (7, 7);
    machine.on_log(at(1), log.state());
    machine.on_alter_refused(at(1), PartitionEpoch(1), Refusal::Fenced(N2));
    assert!(!said(&mut machine).contains(&leader::Output::Commit(Offset(7))), "it may be in sync");
    // After a while it is proposed again, and then the map shows it.
    machine.on_tick(at(200), log.state());
    assert_eq!(alters(said(&mut machine)), asked);
    apply(&mut map, &Command::AlterPartition(asked[0].clone()));
    machine.on_map(at(200), &map);
    assert!(machine.status()[0].in_sync);
}

#[test]
fn a_proposal_that_is_void_is_withdrawn_and_another_life_voids_it_too() {
    let (mut map, mut machine, mut log, round) = out_of_sync();
    machine.on_message(at(0), N2, ack(round, 0, at(0), 6), log.state());
    said(&mut machine);
    (log.end, log.acked) = (7, 7);
    let two = life(&map, N2);
    apply(&mut map, &Command::Fence(two));
    machine.on_map(at(1), &map);
    machine.on_alter_refused(at(1), PartitionEpoch(1), Refusal::Fenced(N2));
    machine.on_tick(at(101), log.state());
    let asked = alters(said(&mut machine));
    assert_eq!(asked[0].isr, [life(&map, N1)], "the set that is there");
    let mut later = map.clone();
    apply(&mut later, &Command::AlterPartition(asked[0].clone()));
    let mut other = machine.clone();
    other.on_map(at(102), &later);
    assert!(said(&mut other).contains(&leader::Output::Commit(Offset(7))));
    apply(&mut map, &Command::Register(registration(N2, 77, true)));
    machine.on_map(at(102), &map);
    assert!(said(&mut machine).contains(&leader::Output::Commit(Offset(7))));
}

#[test]
fn who_is_fenced_or_waits_is_not_proposed() {
    let (mut map, mut machine, log, round) = out_of_sync();
    let two = life(&map, N2);
    apply(&mut map, &Command::Fence(two));
    machine.on_map(at(0), &map);
    machine.on_message(at(0), N2, ack(round, 0, at(0), 6), log.state());
    assert_eq!(alters(said(&mut machine)), []);
}

#[test]
fn who_does_not_catch_up_leaves_after_the_lag() {
    let (map, mut machine, mut log) = three();
    (log.end, log.acked) = (2, 2);
    let (two, three) = (round(&map, N2, 1), round(&map, N3, 1));
    machine.on_log(at(1), log.state());
    let records = || Bytes::from_static(b"12345678");
    machine.ship(at(1), N2, two, Offset(1), Offset(2), records()).unwrap();
    machine.on_message(at(2), N2, ack(two, 0, at(1), 2), log.state());
    // n3 answers, but its disk does not go on.
    machine.ship(at(1), N3, three, Offset(1), Offset(2), records()).unwrap();
    for time in (100..=1900).step_by(60) {
        machine.on_message(at(time), N3, ack(three, 0, at(1), 1), log.state());
        machine.on_message(at(time), N2, ack(two, 0, at(1), 2), log.state());
        machine.on_tick(at(time), log.state());
    }
    assert_eq!(alters(said(&mut machine)), []);
    machine.on_tick(at(2000), log.state());
    let asked = alters(said(&mut machine));
    assert_eq!(asked[0].isr, [life(&map, N1), life(&map, N2)]);
    assert_eq!(machine.watermark(), Offset(1), "it is counted until the map shows otherwise");
}

#[test]
fn a_read_waits_for_a_beat_that_was_not_sent_yet() {
    let settings = Settings { reads: ReadMode::Confirm, ..Settings::default() };
    let (map, mut machine, log) = with_three(settings);
    assert_eq!(machine.read(at(1)), ReadWait::Beat(1));
    assert_eq!(machine.read(at(1)), ReadWait::Beat(1), "they ask together");
    let asked = said(&mut machine);
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(machine.read(at(2)), ReadWait::Beat(2));
    let (two, three) = (round(&map, N2, 1), round(&map, N3, 1));
    machine.on_message(at(2), N2, ack(two, 1, at(1), 1), log.state());
    machine.on_message(at(2), N3, ack(three, 0, at(0), 1), log.state());
    assert_eq!((said(&mut machine), machine.confirmed()), (vec![], 0), "one has not answered");
    machine.on_message(at(2), N3, ack(three, 1, at(1), 1), log.state());
    assert_eq!(said(&mut machine)[0], leader::Output::Confirmed(1));
    assert_eq!(machine.read(at(2)), ReadWait::Beat(3), "the second is on its way");
}

#[test]
fn a_lease_counts_from_the_sending_and_is_shorter_than_the_promise() {
    let (map, mut machine, log) = three();
    let counted = Settings::default().lease_counted();
    let last = Instant(at(0).after(counted).0 - 1);
    assert_eq!(machine.clone().read(last), ReadWait::Now);
    assert_eq!(machine.clone().read(at(0).after(counted)), ReadWait::Beat(1));
    // Only one of them promises again.
    machine.on_tick(at(60), log.state());
    machine.on_message(at(61), N2, ack(round(&map, N2, 1), 0, at(60), 1), log.state());
    assert_eq!(machine.clone().read(at(0).after(counted)), ReadWait::Beat(1));
    machine.on_message(at(61), N3, ack(round(&map, N3, 1), 0, at(60), 1), log.state());
    assert_eq!(machine.read(at(0).after(counted)), ReadWait::Now);
}

#[test]
#[should_panic = "a read is evaluated against all that was committed"]
fn no_read_is_evaluated_before_the_first_commit() {
    lead(&founded(2, 1), 0, Settings::default()).read(at(0));
}

#[test]
fn who_waits_out_a_promise_admits_nobody() {
    let (map, _, log, round) = out_of_sync();
    let me = life(&map, N1);
    let settings = Settings::default();
    let mut machine =
        Leader::new(at(0), P, me, Epoch(1), Offset(4), Promises::unknown(at(50)), &map, settings);
    machine.on_message(at(0), N2, asks(round, 1, 6), log.state());
    machine.on_message(at(0), N2, ack(round, 0, at(0), 6), log.state());
    assert_eq!(alters(said(&mut machine)), []);
    machine.on_tick(at(50), log.state());
    assert_eq!(alters(said(&mut machine)).len(), 1);
}

#[test]
fn a_part_of_a_batch_makes_room_and_commits_nothing() {
    let settings = Settings { inflight_chunks: 1, ..Settings::default() };
    let (map, mut machine, mut log) = with_three(settings);
    (log.end, log.acked) = (5, 5);
    machine.on_log(at(1), log.state());
    let n2 = round(&map, N2, 1);
    let ships = |said: Vec<leader::Output>| {
        said.into_iter().any(|output| matches!(output, leader::Output::Ship { to: N2, .. }))
    };
    assert!(ships(said(&mut machine)));
    let _ = machine.ship(at(1), N2, n2, Offset(1), Offset(3), Bytes::from_static(b"part"));
    machine.on_log(at(1), log.state());
    assert!(!ships(said(&mut machine)), "one is under way");
    let message = |end, stored| Message::Ack {
        round: n2,
        beat: 0,
        sent: at(1),
        end: Offset(end),
        stored: Offset(stored),
    };
    machine.on_message(at(2), N2, message(1, 3), log.state());
    assert!(ships(said(&mut machine)));
    assert_eq!(machine.status()[0].acked, Some(Offset(1)));
    for (end, stored, why) in [(1, 4, Ignored::AckBeyondSent), (3, 2, Ignored::Absurd)] {
        machine.on_message(at(2), N2, message(end, stored), log.state());
        assert!(said(&mut machine).contains(&leader::Output::Ignored(N2, why)));
    }
}

#[test]
fn a_promise_to_a_leader_that_follows_is_void() {
    let mut map = founded(3, 1);
    for node in [N2, N3] {
        let life = life(&map, node);
        apply(&mut map, &Command::Fence(life));
    }
    let epoch = map.partition(P).unwrap().epoch;
    let begin = |promises| {
        let settings = Settings::default();
        let (me, start) = (life(&map, N1), Offset(0));
        let mut machine = Leader::new(at(0), P, me, epoch, start, promises, &map, settings);
        machine.on_log(at(0), log(&[(1, 0)], 1, 1).state());
        assert_eq!(said(&mut machine), []);
        machine
    };
    let follows = |machine: &mut Leader, node, time| {
        let log = log(&[(1, 0)], 1, 1);
        machine.on_message(at(time), node, asks(round(&map, node, 1), 1, 1), log.state());
        said(machine).contains(&leader::Output::Commit(Offset(1)))
    };
    let mut to_both = Promises::default();
    to_both.give(at(0), N2, at(100));
    to_both.give(at(0), N3, at(40));
    let mut machine = begin(to_both.clone());
    assert!(!follows(&mut machine, N3, 1), "the word given to n2 counts");
    assert!(follows(&mut machine, N2, 2));
    let mut machine = begin(to_both);
    assert!(!follows(&mut machine, N2, 1));
    assert_eq!(machine.deadline().map(|(at, _)| at), Some(at(40)), "so does that given to n3");
    // What an earlier process has promised, nobody knows to whom.
    let mut machine = begin(Promises::unknown(at(50)));
    assert!(!follows(&mut machine, N2, 1) && !follows(&mut machine, N3, 2));
    machine.on_tick(at(50), log(&[(1, 0)], 1, 1).state());
    assert!(said(&mut machine).contains(&leader::Output::Commit(Offset(1))));
}

#[test]
fn what_was_in_the_log_but_not_durable_when_a_session_began_counts_for_no_tombstones() {
    let map = founded(3, 1);
    let mut machine = lead_in(&map, 9, 30);
    machine.on_linked(at(0), N3);
    said(&mut machine);
    let before = Log { watermark: 31, ..log(&[(1, 0), (9, 30)], 31, 31) };
    // n3 has copied up to 20 from an earlier leader; from 10 on that is not durable yet.
    machine.on_message(at(0), N3, asks(round(&map, N3, 1), 1, 20), before.state());
    said(&mut machine);
    assert_eq!(machine.retain(), Offset(20));
    // So a merge that was under way may be switched to, that has dropped the tombstone at 14.
    let after = Log { horizon: 15, watermark: 31, ..log(&[(1, 0), (9, 30)], 31, 31) };
    machine.on_log(at(1), after.state());
    machine.on_message(at(1), N3, ack(round(&map, N3, 1), 0, at(0), 10), after.state());
    said(&mut machine);
    // Its disk is full, or an fsync fails: its log ends at 10, in the same life.
    machine.on_message(at(2), N3, asks(round(&map, N3, 2), 1, 10), after.state());
    let out = said(&mut machine);
    assert!(matches!(out[0], leader::Output::Send(N3, Message::Restart { .. })), "{out:?}");
}

#[test]
fn tombstones_that_were_lost_again_with_the_end_of_the_log_are_missing() {
    let map = founded(3, 1);
    let mut machine = lead_in(&map, 9, 30);
    machine.on_linked(at(0), N3);
    said(&mut machine);
    // The tombstone at 14 was dropped here long ago; n3 has it, though not durably.
    let log = Log { horizon: 15, watermark: 31, ..log(&[(1, 0), (9, 30)], 31, 31) };
    machine.on_message(at(0), N3, asks(round(&map, N3, 1), 1, 20), log.state());
    assert!(matches!(said(&mut machine)[0], leader::Output::Send(N3, Message::Append { .. })));
    machine.on_message(at(1), N3, ack(round(&map, N3, 1), 0, at(0), 10), log.state());
    said(&mut machine);
    // A write of its finds no room, or its fsync fails: the log ends at 10, in the same life.
    machine.on_message(at(2), N3, asks(round(&map, N3, 2), 1, 10), log.state());
    let out = said(&mut machine);
    assert!(matches!(out[0], leader::Output::Send(N3, Message::Restart { .. })), "{out:?}");
}

/// Whoever was in sync before need not be waited for once it has begun: it may be alone for long.
#[test]
fn who_was_elected_for_the_longest_log_says_once_that_it_is_alone() {
    let mut map = founded(3, 2);
    for (node, nonce) in [(N2, 2), (N3, 2), (N1, 2)] {
        apply(&mut map, &Command::Register(registration(node, nonce, false)));
    }
    let lives = [N1, N2, N3].map(|node| life(&map, node));
    apply(&mut map, &Command::Unfence(lives[0]));
    let entry = map.partition(P).unwrap();
    let elect = ElectLeader {
        partition: P,
        leader: lives[0],
        partition_epoch: entry.partition_epoch,
        above: Epoch(0),
        right: Right::LongestLog,
    };
    apply(&mut map, &Command::ElectLeader(elect));
    let entry = map.partition(P).unwrap();
    assert_eq!((entry.isr_lives(), entry.last_isr.len()), (vec![lives[0]], 3));
    let mut machine = lead(&map, 30, Settings::default());
    machine.on_log(at(10), log(&[(1, 0), (2, 30)], 31, 30).state());
    assert_eq!(said(&mut machine), [], "its reign is not durable");
    machine.on_log(at(20), log(&[(1, 0), (2, 30)], 31, 31).state());
    let alter = AlterPartition {
        partition: P,
        leader: N1,
        epoch: entry.epoch,
        partition_epoch: entry.partition_epoch,
        isr: vec![lives[0]],
    };
    assert_eq!(said(&mut machine), [leader::Output::Alter(alter.clone())]);
    apply(&mut map, &Command::AlterPartition(alter));
    assert_eq!(map.partition(P).unwrap().last_isr, [N1]);
    machine.on_map(at(30), &map);
    machine.on_tick(at(40), log(&[(1, 0), (2, 30)], 31, 31).state());
    assert_eq!(said(&mut machine), []);
}
