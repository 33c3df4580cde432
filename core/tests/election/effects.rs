//! What a member does about one event, effect by effect.

use bytes::Bytes;
use kvnode_core::election::{
    Append, AppendReply, Change, Chunk, Conflict, Entry, Ignored, Input, Message, Output, Payload,
    Position, PreVote, PreVoteReply, Raft, Role, Settings, Snapshot, Stored, TimeoutNow, Vote,
    VoteReply, Voters, WriteId,
};
use kvnode_core::{Index, Instant, Member, NodeId, Term};

use super::world::{member, ms, voters};

pub(crate) fn n(id: u32) -> Member {
    member(id, 1)
}

pub(crate) fn at(index: u64, term: u64) -> Position {
    Position { term: Term(term), index: Index(index) }
}

pub(crate) fn entry(index: u64, term: u64, command: &'static str) -> Entry {
    let payload = Payload::Command(Bytes::from_static(command.as_bytes()));
    Entry { term: Term(term), index: Index(index), payload }
}

/// A member n1 of three, with this log, in the term of its last entry.
pub(crate) fn stored(entries: &[Entry]) -> Stored {
    let term = entries.last().map_or(Term(0), |last| last.term);
    let snapshot = Snapshot { voters: voters(3), ..Snapshot::default() };
    Stored { term, vote: None, snapshot, entries: entries.to_vec() }
}

pub(crate) fn start(stored: Stored) -> Raft {
    let mut raft = Raft::new(n(1), Settings::default(), stored, Instant(0), 1);
    assert!(matches!(effects(&mut raft)[..], [Output::Restore(_)]));
    raft
}

pub(crate) fn effects(raft: &mut Raft) -> Vec<Output> {
    std::iter::from_fn(|| raft.poll()).collect()
}

pub(crate) fn on(raft: &mut Raft, from: u32, message: Message) -> Vec<Output> {
    let now = raft.deadline().map_or(Instant(0), |(at, _)| Instant(at.0 - 1));
    raft.handle(now, Input::Message { from: n(from), message });
    effects(raft)
}

pub(crate) fn persisted(raft: &mut Raft) -> Vec<Output> {
    let id = raft.writing().expect("a write is under way");
    raft.handle(Instant(0), Input::Persisted(id));
    effects(raft)
}

pub(crate) fn append(term: u64, prev: Position, entries: &[Entry], commit: u64) -> Message {
    let (term, commit) = (Term(term), Index(commit));
    Message::Append(Append { term, prev, entries: entries.to_vec(), commit })
}

pub(crate) fn reply(term: u64, matched: u64, durable: u64, conflict: Option<Conflict>) -> Message {
    let (matched, durable) = (Index(matched), Index(durable));
    Message::AppendReply(AppendReply { term: Term(term), matched, durable, conflict })
}

fn became(role: Role, term: u64, leader: Option<u32>) -> Output {
    Output::Became { role, term: Term(term), leader: leader.map(NodeId) }
}

fn voted(id: u64, term: u64, vote: Option<u32>) -> Output {
    Output::Persist(WriteId(id), vec![Change::Vote { term: Term(term), vote: vote.map(n) }])
}

/// n1 as the leader of term 1, with its first entry on disk nowhere.
pub(crate) fn leader() -> Raft {
    let mut raft = start(stored(&[]));
    let (due, _) = raft.deadline().unwrap();
    raft.handle(due, Input::Tick);
    effects(&mut raft);
    let granted = PreVoteReply { term: Term(0), asked: Term(1), granted: true };
    on(&mut raft, 2, Message::PreVoteReply(granted));
    persisted(&mut raft);
    on(&mut raft, 2, Message::VoteReply(VoteReply { term: Term(1), granted: true }));
    assert_eq!(raft.role(), Role::Leader);
    raft
}

#[test]
fn a_vote_leaves_when_it_is_durable() {
    let mut raft = start(stored(&[]));
    let ask = Message::Vote(Vote { term: Term(1), last: at(0, 0) });
    let vote = |term, vote: Option<u32>| Change::Vote { term: Term(term), vote: vote.map(n) };
    assert_eq!(
        on(&mut raft, 2, ask.clone()),
        [
            became(Role::Follower, 1, None),
            Output::Persist(WriteId(1), vec![vote(1, None), vote(1, Some(2))]),
        ]
    );
    let yes = Message::VoteReply(VoteReply { term: Term(1), granted: true });
    let no = Message::VoteReply(VoteReply { term: Term(1), granted: false });
    assert_eq!(on(&mut raft, 3, ask.clone()), [], "nor does the refusal of another");
    assert_eq!(persisted(&mut raft), [Output::Send(n(2), yes.clone()), Output::Send(n(3), no)]);
    assert_eq!(on(&mut raft, 2, ask), [Output::Send(n(2), yes)], "it is asked again");
}

#[test]
fn a_vote_of_a_term_that_is_over_never_leaves() {
    let mut raft = start(stored(&[]));
    on(&mut raft, 2, Message::Vote(Vote { term: Term(1), last: at(0, 0) }));
    on(&mut raft, 3, Message::Vote(Vote { term: Term(2), last: at(0, 0) }));
    let vote = Change::Vote { term: Term(2), vote: Some(n(3)) };
    let Output::Persist(_, changes) = &persisted(&mut raft)[0] else { panic!("it writes on") };
    assert_eq!(changes.last(), Some(&vote));
    let yes = Message::VoteReply(VoteReply { term: Term(2), granted: true });
    assert_eq!(persisted(&mut raft), [Output::Send(n(3), yes)]);
}

#[test]
fn a_candidate_asks_when_its_own_vote_is_durable() {
    let mut raft = start(stored(&[]));
    let (due, _) = raft.deadline().unwrap();
    raft.handle(due, Input::Tick);
    let ask = Message::PreVote(PreVote { asked: Term(1), last: at(0, 0) });
    assert_eq!(
        effects(&mut raft),
        [
            Output::Send(n(2), ask.clone()),
            Output::Send(n(3), ask),
            became(Role::PreCandidate, 0, None)
        ]
    );
    let granted = PreVoteReply { term: Term(0), asked: Term(1), granted: true };
    assert_eq!(
        on(&mut raft, 2, Message::PreVoteReply(granted)),
        [became(Role::Candidate, 1, None), voted(1, 1, Some(1))]
    );
    assert_eq!(raft.deadline(), None, "the disk is waited for, and nobody else");
    let ask = Message::Vote(Vote { term: Term(1), last: at(0, 0) });
    assert_eq!(persisted(&mut raft), [Output::Send(n(2), ask.clone()), Output::Send(n(3), ask)]);
}

#[test]
fn a_leader_ships_beside_its_own_write_and_counts_itself_when_that_is_durable() {
    let mut raft = leader();
    assert_eq!(raft.writing(), Some(WriteId(2)), "its first entry is being written");
    on(&mut raft, 2, reply(1, 1, 1, None));
    assert_eq!(raft.commit(), Index(0), "one of three has it");
    persisted(&mut raft);
    assert_eq!(raft.commit(), Index(1));

    let mut raft = leader();
    on(&mut raft, 2, reply(1, 1, 1, None));
    on(&mut raft, 3, reply(1, 1, 1, None));
    assert_eq!(raft.commit(), Index(1), "two of three have it, and not the leader");
}

#[test]
fn entries_are_acknowledged_when_they_are_durable_and_a_heartbeat_at_once() {
    let mut raft = start(stored(&[]));
    let (a, b) = (entry(1, 1, "a"), entry(2, 1, "b"));
    let said = on(&mut raft, 2, append(1, at(0, 0), std::slice::from_ref(&a), 0));
    assert!(matches!(&said[..], [Output::Became { .. }, Output::Persist(WriteId(1), _)]));
    assert_eq!(on(&mut raft, 2, append(1, at(1, 1), std::slice::from_ref(&b), 0)), []);
    let write = Output::Persist(WriteId(2), vec![Change::Append(b)]);
    assert_eq!(
        persisted(&mut raft),
        [Output::Send(n(2), reply(1, 2, 1, None)), write],
        "what came meanwhile is one write"
    );
    assert_eq!(
        on(&mut raft, 2, append(1, at(2, 1), &[], 1)),
        [Output::Send(n(2), reply(1, 2, 1, None)), Output::Apply(a)]
    );
    assert_eq!(persisted(&mut raft), [Output::Send(n(2), reply(1, 2, 2, None))]);
}

#[test]
fn a_late_append_that_agrees_cuts_nothing() {
    let log = [entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c")];
    let mut raft = start(stored(&log));
    let said = on(&mut raft, 2, append(1, at(0, 0), &log[..2], 0));
    assert_eq!(said[0], Output::Send(n(2), reply(1, 2, 2, None)));
    assert_eq!(raft.last(), at(3, 1));
}

#[test]
fn a_conflict_cuts_from_where_the_logs_part() {
    let mut raft = start(stored(&[entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c")]));
    let new = entry(2, 2, "x");
    let said = on(&mut raft, 2, append(2, at(0, 0), &[entry(1, 1, "a"), new.clone()], 0));
    let changes = vec![
        Change::Vote { term: Term(2), vote: None },
        Change::TruncateFrom(Index(2)),
        Change::Append(new),
    ];
    assert_eq!(said[1], Output::Persist(WriteId(1), changes));
    assert_eq!((raft.last(), raft.durable()), (at(2, 2), Index(1)), "the new one is not durable");
}

#[test]
fn a_refusal_says_where_the_term_begins() {
    let mut raft = start(stored(&[entry(1, 1, "a"), entry(2, 2, "b"), entry(3, 2, "c")]));
    let conflict = |prev, term: Option<u64>, first| Conflict {
        prev: Index(prev),
        term: term.map(Term),
        first: Index(first),
    };
    let said = on(&mut raft, 2, append(3, at(3, 3), &[], 0));
    assert_eq!(said.len(), 2, "it waits for the term to be durable");
    let hint = conflict(3, Some(2), 2);
    assert_eq!(persisted(&mut raft), [Output::Send(n(2), reply(3, 0, 0, Some(hint)))]);
    let hint = conflict(9, None, 4);
    let said = on(&mut raft, 2, append(3, at(9, 3), &[], 0));
    assert_eq!(said, [Output::Send(n(2), reply(3, 0, 0, Some(hint)))]);
}

#[test]
fn a_commit_index_counts_as_far_as_the_logs_are_known_to_agree() {
    let mut raft = start(stored(&[entry(1, 1, "a"), entry(2, 1, "b")]));
    on(&mut raft, 2, append(1, at(1, 1), &[], 2));
    assert_eq!(raft.commit(), Index(1), "the second may not be the leader's");
}

#[test]
fn a_leader_of_an_earlier_term_is_told_the_term() {
    let mut raft = start(stored(&[entry(1, 2, "a")]));
    let (from, what, why) = (n(2), "append", Ignored::OldTerm);
    assert_eq!(
        on(&mut raft, 2, append(1, at(0, 0), &[], 0)),
        [Output::Send(n(2), reply(2, 0, 0, None)), Output::Ignored { from, what, why }]
    );
}

#[test]
fn voters_count_when_appended_and_go_when_truncated() {
    let mut raft = start(stored(&[entry(1, 1, "a")]));
    let alone = Voters::new([n(2)]);
    let payload = Payload::Voters(alone.clone());
    let change = Entry { term: Term(1), index: Index(2), payload };
    on(&mut raft, 2, append(1, at(1, 1), &[change], 1));
    assert_eq!((raft.voters(), raft.is_voter()), (&alone, false));
    on(&mut raft, 3, append(2, at(1, 1), &[entry(2, 2, "x")], 1));
    assert_eq!((raft.voters(), raft.is_voter()), (&voters(3), true));
}

#[test]
fn a_snapshot_is_installed_piece_by_piece_and_restored_when_durable() {
    let mut raft = start(stored(&[entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c")]));
    let chunk = |from: u64, data: &'static str| {
        let (term, last) = (Term(2), at(2, 2));
        let data = Bytes::from_static(data.as_bytes());
        Message::Chunk(Chunk { term, last, voters: voters(3), total: 4, at: from, data })
    };
    on(&mut raft, 2, chunk(0, "st"));
    on(&mut raft, 2, chunk(0, "st"));
    persisted(&mut raft);
    let said = on(&mut raft, 2, chunk(2, "te"));
    let snapshot = Snapshot {
        index: Index(2),
        term: Term(2),
        voters: voters(3),
        data: Bytes::from_static(b"stte"),
    };
    let changes = vec![
        Change::TruncateFrom(Index(2)),
        Change::Snapshot(snapshot.clone()),
        Change::PurgeTo(Index(2)),
    ];
    assert_eq!(said[1..], [Output::Persist(WriteId(2), changes)]);
    assert_eq!(
        persisted(&mut raft),
        [Output::Send(n(2), reply(2, 2, 2, None)), Output::Restore(snapshot)]
    );
}

#[test]
fn a_crash_between_a_snapshot_and_the_purge_leaves_nothing_behind() {
    let snapshot =
        Snapshot { index: Index(9), term: Term(1), voters: voters(3), data: Bytes::new() };
    let entries = vec![entry(1, 1, "a")];
    let stored = Stored { term: Term(1), vote: None, snapshot, entries };
    let mut raft = Raft::new(n(1), Settings::default(), stored, Instant(0), 1);
    let purge = Output::Persist(WriteId(1), vec![Change::PurgeTo(Index(9))]);
    assert_eq!(effects(&mut raft)[1..], [purge]);
    assert_eq!(raft.last(), at(9, 1));
}

#[test]
fn a_member_that_lost_what_it_had_in_memory_is_probed_again() {
    let mut raft = leader();
    on(&mut raft, 2, reply(1, 1, 1, None));
    raft.propose(Instant(0), Bytes::from_static(b"a")).unwrap();
    effects(&mut raft);
    on(&mut raft, 2, reply(1, 2, 1, None));
    assert_eq!(raft.members()[0].matched, Index(2));
    let conflict = Conflict { prev: Index(2), term: None, first: Index(2) };
    let said = on(&mut raft, 2, reply(1, 0, 0, Some(conflict)));
    let Output::Send(to, Message::Append(again)) = &said[0] else { panic!("it is sent again") };
    assert_eq!((*to, again.prev), (n(2), at(1, 1)));
    assert_eq!((raft.members()[0].matched, raft.members()[0].durable), (Index(1), Index(1)));
}

#[test]
fn a_link_that_breaks_makes_suspicious_within_a_heartbeat() {
    let mut raft = start(stored(&[]));
    on(&mut raft, 2, append(1, at(0, 0), &[], 0));
    persisted(&mut raft);
    let ask = Message::PreVote(PreVote { asked: Term(2), last: at(0, 0) });
    let said = |granted| {
        let reply = PreVoteReply { term: Term(1), asked: Term(2), granted };
        [Output::Send(n(3), Message::PreVoteReply(reply))]
    };
    let now = raft.deadline().unwrap().0;
    raft.handle(now, Input::Message { from: n(2), message: append(1, at(0, 0), &[], 0) });
    effects(&mut raft);
    raft.handle(now, Input::Message { from: n(3), message: ask.clone() });
    assert_eq!(effects(&mut raft), said(false), "it hears the leader");
    raft.handle(now, Input::Unlinked(n(2)));
    assert!(raft.deadline().unwrap().0 <= now.after(ms(50)));
    raft.handle(now, Input::Message { from: n(3), message: ask });
    assert_eq!(effects(&mut raft), said(true));
}

#[test]
fn only_the_leader_can_hand_over() {
    let mut raft = start(stored(&[]));
    on(&mut raft, 2, append(1, at(0, 0), &[], 0));
    let now = Message::TimeoutNow(TimeoutNow { term: Term(1) });
    let (from, what, why) = (n(3), "timeout now", Ignored::NotLeader);
    assert_eq!(on(&mut raft, 3, now.clone()), [Output::Ignored { from, what, why }]);
    assert_eq!(on(&mut raft, 2, now)[0], became(Role::Candidate, 2, None));
}
