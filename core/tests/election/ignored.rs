//! What is not believed, refused or held back: each with its reason.

use bytes::Bytes;
use kvnode_core::election::{
    Chunk, Entry, Health, Ignored, Input, Message, Output, Payload, Refusal, Settings, Snapshot,
    Stored, TimeoutNow, Vote, VoteReply, VoterChange, Voters,
};
use kvnode_core::limits::{PROPOSAL_BYTES_MAX, UNCOMMITTED_ENTRIES_MAX};
use kvnode_core::{Index, Instant, NodeId, Term};

use super::effects::{append, at, effects, entry, leader, n, on, persisted, reply, start, stored};
use super::world::{World, ms, voters};

const NOW: Instant = Instant(0);

/// Nothing but a note happens.
fn assert_ignored(from: u32, message: Message, why: Ignored) {
    let mut raft = start(stored(&[entry(1, 1, "a"), entry(2, 1, "b")]));
    on(&mut raft, 2, append(1, at(2, 1), &[], 1));
    let before = raft.clone();
    let what = message.name();
    assert_eq!(on(&mut raft, from, message), [Output::Ignored { from: n(from), what, why }]);
    let (before, after) = (format!("{before:?}"), format!("{raft:?}"));
    let clockless = |text: String| text.replace(char::is_numeric, "");
    assert_eq!(clockless(before), clockless(after), "nothing changes");
}

#[test]
fn an_impossible_message_is_ignored_by_name() {
    let far = u64::MAX;
    let vote = |term, last| Message::Vote(Vote { term: Term(term), last });
    assert_ignored(1, vote(2, at(1, 1)), Ignored::FromSelf);
    assert_ignored(2, vote(far, at(1, 1)), Ignored::Absurd);
    assert_ignored(2, append(1, at(far, 1), &[], 0), Ignored::Absurd);
    assert_ignored(2, append(1, at(1, 1), &[], far), Ignored::Absurd);
    assert_ignored(2, vote(2, at(1, 2)), Ignored::Disordered);
    assert_ignored(2, vote(2, at(0, 1)), Ignored::Disordered);
    assert_ignored(2, append(1, at(2, 1), &[entry(4, 1, "x")], 0), Ignored::Disordered);
    assert_ignored(2, append(2, at(2, 1), &[entry(3, 3, "x")], 0), Ignored::Disordered);
    let falling = [entry(3, 2, "x"), entry(4, 1, "x")];
    assert_ignored(2, append(2, at(2, 1), &falling, 0), Ignored::Disordered);
    let nobody = Payload::Voters(Voters::default());
    let nobody = Entry { payload: nobody, ..entry(3, 1, "") };
    assert_ignored(2, append(1, at(2, 1), &[nobody], 0), Ignored::Oversized);
    let crowd = Payload::Voters(voters(10));
    let crowd = Entry { payload: crowd, ..entry(3, 1, "") };
    assert_ignored(2, append(1, at(2, 1), &[crowd], 0), Ignored::Oversized);
    let command = Payload::Command(Bytes::from(vec![0; PROPOSAL_BYTES_MAX + 1]));
    let long = Entry { payload: command, ..entry(3, 1, "") };
    assert_ignored(2, append(1, at(2, 1), &[long], 0), Ignored::Oversized);
    let chunk = |voters, total, from| {
        let (term, last, data) = (Term(1), at(9, 1), Bytes::from_static(b"xx"));
        Message::Chunk(Chunk { term, last, voters, total, at: from, data })
    };
    assert_ignored(2, chunk(Voters::default(), 2, 0), Ignored::Oversized);
    assert_ignored(2, chunk(voters(3), far, 0), Ignored::Oversized);
    assert_ignored(2, chunk(voters(3), 2, 1), Ignored::Disordered);
    assert_ignored(2, reply(1, 1, 2, None), Ignored::Disordered);
}

#[test]
fn what_nobody_asked_for_is_ignored_by_name() {
    let yes = |term| Message::VoteReply(VoteReply { term: Term(term), granted: true });
    assert_ignored(2, yes(1), Ignored::NotAsked);
    assert_ignored(2, yes(0), Ignored::OldTerm);
    assert_ignored(2, reply(1, 1, 1, None), Ignored::NotAsked);
    assert_ignored(3, Message::TimeoutNow(TimeoutNow { term: Term(1) }), Ignored::NotLeader);
    assert_ignored(2, Message::TimeoutNow(TimeoutNow { term: Term(0) }), Ignored::OldTerm);
}

#[test]
fn a_breach_of_the_protocol_is_named_and_changes_nothing() {
    assert_ignored(3, append(1, at(2, 1), &[], 0), Ignored::SecondLeader);
    let mut raft = start(stored(&[entry(1, 1, "a"), entry(2, 1, "b")]));
    on(&mut raft, 2, append(1, at(2, 1), &[], 2));
    let said = on(&mut raft, 3, append(2, at(1, 1), &[entry(2, 2, "x")], 2));
    let (from, what, why) = (n(3), "append", Ignored::Contradiction);
    assert!(why.is_violation() && said.contains(&Output::Ignored { from, what, why }));
    assert_eq!(raft.last(), at(2, 1), "what is committed stays");
}

#[test]
fn a_leader_believes_no_answer_beyond_its_log_and_no_stranger() {
    let mut raft = leader();
    let why = |said: Vec<Output>| match &said[..] {
        [Output::Ignored { why, .. }] => *why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(on(&mut raft, 2, reply(1, 9, 9, None))), Ignored::AckBeyondLog);
    assert_eq!(why(on(&mut raft, 7, reply(1, 1, 1, None))), Ignored::Stranger);
    assert_eq!(why(on(&mut raft, 2, append(1, at(0, 0), &[], 0))), Ignored::SecondLeader);
    assert_eq!(raft.commit(), Index(0));
}

#[test]
fn an_observer_gets_the_log_and_does_not_count() {
    let mut raft = leader();
    raft.handle(NOW, Input::Linked(n(4)));
    assert!(matches!(effects(&mut raft)[..], [Output::Send(to, Message::Append(_))] if to == n(4)));
    persisted(&mut raft);
    on(&mut raft, 4, reply(1, 1, 1, None));
    assert_eq!(raft.commit(), Index(0), "one of three voters");
    on(&mut raft, 3, reply(1, 1, 1, None));
    assert_eq!(raft.commit(), Index(1));
    raft.handle(NOW, Input::Unlinked(n(4)));
    assert_eq!(raft.members().len(), 2, "it is forgotten with its link");
}

#[test]
fn voters_change_one_at_a_time_after_the_first_commit() {
    let mut raft = leader();
    let add = VoterChange::Add(n(4));
    let remove = |id| VoterChange::Remove(NodeId(id));
    assert_eq!(raft.change_voters(NOW, remove(3)), Err(Refusal::TooEarly));
    persisted(&mut raft);
    on(&mut raft, 2, reply(1, 1, 1, None));
    for id in [2, 3] {
        raft.handle(NOW, Input::Linked(n(id)));
    }
    effects(&mut raft);
    assert_eq!(raft.change_voters(NOW, add), Err(Refusal::NotCaughtUp));
    assert_eq!(raft.change_voters(NOW, remove(4)), Err(Refusal::NotVoter));
    assert_eq!(raft.change_voters(NOW, VoterChange::Add(n(2))), Err(Refusal::AlreadyVoter));
    let swapped = VoterChange::Add(super::world::member(2, 2));
    assert_eq!(raft.change_voters(NOW, swapped), Err(Refusal::OtherDirectory));
    raft.handle(NOW, Input::Linked(n(4)));
    effects(&mut raft);
    on(&mut raft, 4, reply(1, 1, 1, None));
    assert_eq!(raft.change_voters(NOW, add), Ok(Index(2)));
    assert_eq!((raft.voters(), raft.voters_at()), (&voters(4), Index(2)), "it counts at once");
    assert_eq!(raft.change_voters(NOW, remove(3)), Err(Refusal::ChangePending));
    effects(&mut raft);
    persisted(&mut raft);
    on(&mut raft, 2, reply(1, 2, 2, None));
    assert_eq!(raft.commit(), Index(1), "two of four");
    on(&mut raft, 4, reply(1, 2, 2, None));
    assert_eq!(raft.commit(), Index(2), "three of four");
}

#[test]
fn a_change_after_which_too_few_would_be_heard_is_refused() {
    let remove = |id| VoterChange::Remove(NodeId(id));
    let mut raft = leader();
    persisted(&mut raft);
    on(&mut raft, 2, reply(1, 1, 1, None));
    // It has no link to n3, or has not heard of it for long: with it alone nothing would be
    // committed any more.
    raft.handle(NOW, Input::Linked(n(2)));
    assert_eq!(raft.change_voters(NOW, remove(2)), Err(Refusal::MajorityUnheard));
    raft.handle(NOW, Input::Linked(n(3)));
    let later = NOW.after(ms(10_000));
    raft.handle(later, Input::Message { from: n(2), message: reply(1, 1, 1, None) });
    assert_eq!(raft.change_voters(later, remove(2)), Err(Refusal::MajorityUnheard));
    assert_eq!(raft.change_voters(later, remove(3)), Ok(Index(2)));
}

#[test]
fn the_last_voter_stays() {
    let mut world = World::new(1, 1, Settings::default(), 0);
    world.run(ms(10));
    let refused =
        world.with(1, |raft, now| raft.change_voters(now, VoterChange::Remove(NodeId(1))));
    assert_eq!(refused, Err(Refusal::LastVoter));
}

#[test]
fn a_leader_takes_no_more_than_its_limits() {
    let mut raft = leader();
    let long = Bytes::from(vec![0; PROPOSAL_BYTES_MAX + 1]);
    assert_eq!(raft.propose(NOW, long), Err(Refusal::TooLong));
    for _ in 1..UNCOMMITTED_ENTRIES_MAX {
        raft.propose(NOW, Bytes::from_static(b"a")).unwrap();
    }
    assert_eq!(raft.propose(NOW, Bytes::from_static(b"a")), Err(Refusal::Full));
    let mut follower = start(stored(&[]));
    on(&mut follower, 3, append(1, at(0, 0), &[], 0));
    let refused = Refusal::NotLeader { leader: Some(NodeId(3)) };
    assert_eq!(follower.propose(NOW, Bytes::new()), Err(refused));
}

#[test]
fn no_more_is_sent_ahead_than_the_window_allows() {
    let mut raft = leader();
    on(&mut raft, 2, reply(1, 1, 1, None));
    assert_eq!(raft.members()[0].health, Health::Replicating);
    let mut sent = 0;
    for _ in 0..100 {
        raft.propose(NOW, Bytes::from_static(b"a")).unwrap();
        let to =
            |output: &Output| matches!(output, Output::Send(to, Message::Append(_)) if *to == n(2));
        sent += effects(&mut raft).iter().filter(|output| to(output)).count();
    }
    assert_eq!(sent, Settings::default().inflight_max);
    let said = on(&mut raft, 2, reply(1, 3, 3, None));
    let entries = |output: &Output| match output {
        Output::Send(_, Message::Append(m)) => m.entries.len(),
        Output::Send(..)
        | Output::Persist(..)
        | Output::Apply(_)
        | Output::Restore(_)
        | Output::Became { .. }
        | Output::Ignored { .. } => 0,
    };
    assert_eq!(said.iter().map(entries).sum::<usize>(), 84, "the rest goes as one");
}

/// A log whose entries were all purged keeps the position of the last of them, and that one is known.
#[test]
fn entries_that_contradict_what_was_purged_are_ignored_by_name() {
    let snapshot =
        Snapshot { index: Index(100), term: Term(5), voters: voters(3), data: Bytes::new() };
    let stored = Stored { term: Term(5), vote: None, snapshot, entries: Vec::new() };
    let mut raft = start(stored);
    let entries = [entry(99, 1, "x"), entry(100, 1, "y"), entry(101, 1, "z")];
    let said = on(&mut raft, 2, append(6, at(98, 1), &entries, 98));
    let (from, what, why) = (n(2), "append", Ignored::Contradiction);
    assert!(said.contains(&Output::Ignored { from, what, why }), "{said:?}");
    assert_eq!(raft.last(), at(100, 5));
    // What agrees with it is taken, from wherever it begins.
    let entries = [entry(99, 1, "x"), entry(100, 5, "y"), entry(101, 6, "z")];
    on(&mut raft, 2, append(6, at(98, 1), &entries, 98));
    assert_eq!(raft.last(), at(101, 6));
}
