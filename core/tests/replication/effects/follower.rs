//! What a follower does.

use kvnode_core::cluster::Map;
use kvnode_core::replication::{Follower, Ignored, LogState, Message, Settings, follower};
use kvnode_core::shard::Severity;
use kvnode_core::{Epoch, Offset};

use super::{Log, N1, N2, N3, ack, append, asks, at, life, log, round};
use crate::replica::{P, founded, ms};

fn follow(map: &Map) -> Follower {
    let mut follower = Follower::new(at(0), P, life(map, N2), Epoch(7), N1, 1, Settings::default());
    follower.on_linked(at(0));
    follower
}

fn done(machine: &mut Follower) -> Vec<follower::Output> {
    std::iter::from_fn(|| machine.poll()).collect()
}

#[test]
fn a_follower_cuts_at_what_both_may_hold_and_asks_again() {
    let map = founded(3, 1);
    let cut = |epochs: &[(u32, u64)], end, epoch, common| {
        let log = log(epochs, end, end);
        let mut machine = follow(&map);
        machine.on_tick(at(0), log.state());
        let round = round(&map, N2, 1);
        let last = epochs.last().unwrap().0;
        let ask = follower::Output::Send(N1, asks(round, last, end));
        assert_eq!(done(&mut machine), [ask]);
        let message = Message::Common { round, epoch: Epoch(epoch), end: Offset(common) };
        machine.on_message(at(1), N1, message, log.state());
        done(&mut machine)
    };
    let history = [(1, 0), (3, 10), (6, 20)];
    let at_offset = |at| [follower::Output::Cut(Offset(at))];
    assert_eq!(cut(&history, 25, 6, 22), at_offset(22));
    assert_eq!(cut(&history, 25, 3, 15), at_offset(15));
    assert_eq!(cut(&history, 25, 3, 50), at_offset(20), "the leader's epoch goes on longer");
    assert_eq!(cut(&history, 25, 5, 50), at_offset(20), "it does not hold the leader's epoch");
    assert_eq!(cut(&history, 25, 0, 0), at_offset(0));
    let ignored = [follower::Output::Ignored(N1, Ignored::Absurd)];
    assert_eq!(cut(&history, 25, 6, 25), ignored, "nothing would be cut");
}

#[test]
fn a_cut_below_the_own_watermark_is_made_and_told() {
    let map = founded(3, 1);
    let log = Log { watermark: 8, ..log(&[(1, 0)], 10, 10) };
    let mut machine = follow(&map);
    machine.on_tick(at(0), log.state());
    done(&mut machine);
    let message = Message::Common { round: round(&map, N2, 1), epoch: Epoch(1), end: Offset(5) };
    machine.on_message(at(1), N1, message, log.state());
    let done = done(&mut machine);
    assert!(matches!(done[0], follower::Output::Notice(Severity::Error, _)));
    assert_eq!(done[1], follower::Output::Cut(Offset(5)));
}

#[test]
fn the_answer_to_an_earlier_request_is_ignored() {
    let map = founded(3, 1);
    let log = log(&[(1, 0)], 10, 10);
    let mut machine = follow(&map);
    machine.on_tick(at(0), log.state());
    machine.on_message(at(0), N1, Message::Lead, log.state());
    done(&mut machine);
    let old = round(&map, N2, 1);
    for message in [
        Message::Common { round: old, epoch: Epoch(1), end: Offset(5) },
        Message::Restart { round: old },
        append(old, at(0), 10, 10, 10),
    ] {
        machine.on_message(at(1), N1, message, log.state());
        assert_eq!(done(&mut machine), [follower::Output::Ignored(N1, Ignored::OldRound)]);
    }
    assert!(!machine.is_following());
    machine.on_message(at(1), N3, append(round(&map, N2, 2), at(0), 10, 10, 10), log.state());
    assert_eq!(done(&mut machine), [follower::Output::Ignored(N3, Ignored::NotLeader)]);
}

#[test]
fn a_follower_takes_the_watermark_only_as_far_as_its_own_log() {
    let map = founded(3, 1);
    let mut log = log(&[(1, 0)], 10, 10);
    let mut machine = follow(&map);
    machine.on_tick(at(0), log.state());
    done(&mut machine);
    let round = round(&map, N2, 1);
    machine.on_message(at(1), N1, append(round, at(0), 10, 10, 40), log.state());
    assert_eq!(
        done(&mut machine),
        [
            follower::Output::Commit(Offset(10)),
            follower::Output::Send(N1, ack(round, 0, at(0), 10)),
        ]
    );
    machine.on_message(at(2), N1, append(round, at(1), 10, 12, 40), log.state());
    let stored = done(&mut machine);
    assert!(matches!(stored[0], follower::Output::Store { .. }));
    assert_eq!(stored[1..], [follower::Output::Commit(Offset(12))], "not before it is durable");
    (log.end, log.acked) = (12, 10);
    machine.on_message(at(3), N1, append(round, at(2), 12, 12, 40), log.state());
    let slow = follower::Output::Send(N1, ack(round, 0, at(2), 10));
    assert_eq!(done(&mut machine), [slow], "a beat is answered though the disk is slow");
    log.acked = 12;
    machine.on_log(at(9), log.state());
    let now = follower::Output::Send(N1, ack(round, 0, at(2), 12));
    assert_eq!(done(&mut machine), [now], "with the time of the last message taken");
    let settings = Settings::default();
    assert_eq!(machine.promised(), at(3).after(settings.lease_kept()));
    assert!(settings.lease_kept() > settings.lease && settings.lease > settings.lease_counted());
}

#[test]
fn a_session_that_begins_anew_waits_for_the_log_and_not_for_the_clock() {
    let map = founded(3, 1);
    let mut log = log(&[(1, 0)], 10, 10);
    let mut machine = follow(&map);
    machine.on_tick(at(0), log.state());
    machine.on_message(at(1), N1, append(round(&map, N2, 1), at(0), 10, 12, 10), log.state());
    done(&mut machine);
    machine.on_unlinked(at(2));
    machine.on_linked(at(3));
    // The disk has not taken what was to be stored: to be called at once, again and again, is no use.
    machine.on_tick(at(3), log.state());
    assert_eq!((done(&mut machine), machine.deadline()), (vec![], None));
    (log.end, log.acked) = (12, 10);
    machine.on_log(at(9), log.state());
    let ask = follower::Output::Send(N1, asks(round(&map, N2, 2), 1, 12));
    assert_eq!(done(&mut machine), [ask]);
}

#[test]
fn a_gap_begins_another_session_and_what_came_before_is_overtaken() {
    let map = founded(3, 1);
    let log = log(&[(1, 0)], 10, 10);
    let mut machine = follow(&map);
    machine.on_tick(at(0), log.state());
    let first = round(&map, N2, 1);
    machine.on_message(at(1), N1, append(first, at(1), 10, 10, 0), log.state());
    done(&mut machine);
    machine.on_message(at(2), N1, append(first, at(0), 10, 10, 0), log.state());
    assert_eq!(done(&mut machine), [follower::Output::Ignored(N1, Ignored::Overtaken)]);
    machine.on_message(at(2), N1, append(first, at(2), 8, 10, 0), log.state());
    assert_eq!(done(&mut machine), [follower::Output::Ignored(N1, Ignored::Overtaken)]);
    machine.on_message(at(2), N1, append(first, at(2), 11, 12, 0), log.state());
    let again = follower::Output::Send(N1, asks(round(&map, N2, 2), 1, 10));
    assert_eq!(done(&mut machine), [follower::Output::Ignored(N1, Ignored::Gap), again]);
    assert_eq!(machine.next_round(), 3);
}

#[test]
fn a_follower_without_an_answer_asks_ever_later_until_it_takes_an_append() {
    let map = founded(3, 1);
    let log = log(&[(1, 0)], 10, 10);
    let mut machine = follow(&map);
    // How long it waits after each question, at the times when it asks.
    let waits = |machine: &mut Follower, mut time: u64, questions: usize| {
        let waits = (0..questions).map(|_| {
            machine.on_tick(at(time), log.state());
            let asks = [asks(round(&map, N2, machine.next_round() - 1), 1, 10)];
            assert_eq!(done(machine), asks.map(|ask| follower::Output::Send(N1, ask)));
            let wait = machine.deadline().unwrap().0.since(at(time)).as_millis() as u64;
            time += wait;
            wait
        });
        (waits.collect::<Vec<_>>(), time)
    };
    let (first, time) = waits(&mut machine, 0, 8);
    assert_eq!(first, [100, 200, 400, 800, 1600, 3200, 6400, 6400], "there is an end to it");
    let last = |machine: &Follower| round(&map, N2, machine.next_round() - 1);
    let wait = |machine: &Follower, time| machine.deadline().unwrap().0.since(at(time));

    // What it does not take is no reason to wait for less: it comes as late as the rest.
    let time = time - 6400;
    let old = round(&map, N2, 1);
    machine.on_message(at(time), N1, append(old, at(time), 10, 12, 10), log.state());
    assert_eq!(done(&mut machine), [follower::Output::Ignored(N1, Ignored::OldRound)]);
    let gap = append(last(&machine), at(time), 11, 12, 10);
    machine.on_message(at(time), N1, gap, log.state());
    assert_eq!(done(&mut machine)[0], follower::Output::Ignored(N1, Ignored::Gap));
    assert_eq!(wait(&machine, time), ms(6400));

    // What it takes is: a beat is enough.
    let time = time + 10;
    let beat = append(last(&machine), at(time), 10, 10, 0);
    machine.on_message(at(time), N1, beat, log.state());
    assert!(machine.is_following());
    assert_eq!(done(&mut machine).len(), 1);
    assert_eq!(wait(&machine, time), ms(100));
    assert_eq!(waits(&mut machine, time + 100, 3).0, [200, 400, 800], "and it grows as at first");
}

#[test]
fn records_that_are_refused_are_asked_for_again_after_a_while() {
    let map = founded(3, 1);
    let log = log(&[(1, 0)], 10, 10);
    let mut machine = follow(&map);
    machine.on_tick(at(0), log.state());
    let first = round(&map, N2, 1);
    machine.on_message(at(1), N1, append(first, at(1), 10, 12, 0), log.state());
    machine.on_refused(at(101), log.state());
    done(&mut machine);
    assert_eq!(machine.deadline().unwrap().0, at(101));
    // Nor do a new link and the leader's word make it ask sooner.
    machine.on_linked(at(2));
    machine.on_message(at(3), N1, Message::Lead, log.state());
    assert_eq!(done(&mut machine), []);
    assert_eq!(machine.deadline().unwrap().0, at(101));
    machine.on_tick(at(101), log.state());
    let again = follower::Output::Send(N1, asks(round(&map, N2, 2), 1, 10));
    assert_eq!(done(&mut machine), [again]);
}

#[test]
fn a_part_of_a_batch_is_said_to_be_stored_and_is_not_acknowledged() {
    let map = founded(3, 1);
    let mut log = log(&[(7, 0)], 10, 10);
    let mut machine = follow(&map);
    machine.on_tick(at(0), log.state());
    let round = round(&map, N2, 1);
    machine.on_message(at(1), N1, append(round, at(1), 10, 12, 0), log.state());
    done(&mut machine);
    log.end = 12;
    let said = |stored, acked, machine: &mut Follower| {
        let state = LogState { stored: Offset(stored), acked: Offset(acked), ..log.state() };
        machine.on_log(at(2), state);
        done(machine)
    };
    let ack = |end, stored| {
        let (end, stored) = (Offset(end), Offset(stored));
        [follower::Output::Send(N1, Message::Ack { round, beat: 0, sent: at(1), end, stored })]
    };
    assert_eq!(said(11, 10, &mut machine), ack(10, 11));
    assert_eq!(said(11, 10, &mut machine), [], "it is said once");
    assert_eq!(said(12, 12, &mut machine), ack(12, 12));
}
