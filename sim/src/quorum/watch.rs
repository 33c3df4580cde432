//! Looks at every node after every event, and tells the [checkers](super::checkers) what is new.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kvnode_core::cluster::controller::{Request, RequestError};
use kvnode_core::cluster::{BrokerMessage, Command, Life, Map, Partition};
use kvnode_core::control::{Control, Message};
use kvnode_core::election::{self, Entry, Ignored, Payload, Position, Raft, Role, Voters};
use kvnode_core::{ClientId, Index, Instant, Member, NodeId, Term};

use super::checkers::answers::Answers;
use super::checkers::committed::Committed;
use super::checkers::complete::Completeness;
use super::checkers::electable::{self, Kept};
use super::checkers::heard::Heard;
use super::checkers::leaders::OneLeader;
use super::checkers::maps::Maps;
use super::checkers::matching::LogMatching;
use super::checkers::monotone::Monotone;
use super::checkers::promises::Promises;
use super::checkers::sessions::Sessions;
use super::checkers::votes::Votes;
use super::checkers::wire::Wire;
use super::checkers::{Found, changes};
use super::voter_sets::VoterSets;
use crate::hash_of;

/// See the module's header.
#[derive(Default)]
pub(crate) struct Watch {
    session_timeout: Duration,
    leaders: OneLeader,
    matching: LogMatching,
    complete: Completeness,
    committed: Committed,
    maps: Maps,
    votes: Votes,
    promises: Promises,
    sessions: Sessions,
    heard: Heard,
    wire: Wire,
    answers: Answers,
    nodes: BTreeMap<u32, Seen>,
    voters: VoterSets,
    /// The latest term that any node has ever been in.
    term_max: Term,
    /// Nodes that a dial was made to, by connection.
    dials: BTreeMap<u64, u32>,
    /// What members that do not run have on disk, at least.
    asleep: BTreeMap<Member, Log>,
    /// How often a controller wanted a node to be unfenced, and somebody wanted a seat for it.
    unfenced: BTreeMap<NodeId, u64>,
    asked: BTreeMap<NodeId, u64>,
}

/// A member's log, as it was seen last.
#[derive(Clone, Default)]
struct Log {
    /// The last entry that was compacted.
    base: Position,
    terms: BTreeMap<Index, Term>,
    /// Up to here it is on disk.
    durable: Index,
}

impl Log {
    /// Where what is on disk ends, if that is known.
    fn end(&self) -> Option<Position> {
        if self.durable == self.base.index {
            return Some(self.base);
        }
        let term = *self.terms.get(&self.durable)?;
        Some(Position { term, index: self.durable })
    }

    /// Whether an entry that is committed is on disk.
    fn has(&self, at: Position) -> bool {
        self.durable >= at.index
            && (at.index <= self.base.index || self.terms.get(&at.index) == Some(&at.term))
    }
}

/// A node as it was seen last.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) life: u64,
    pub(crate) is_stopping: bool,
    /// It has a member's state; else it opens, or is fresh.
    pub(crate) is_member: bool,
    pub(crate) me: Option<Member>,
    pub(crate) role: Option<Role>,
    pub(crate) term: Term,
    pub(crate) leader: Option<NodeId>,
    pub(crate) applied: Index,
    pub(crate) commit: Index,
    /// It leads, and has applied an entry of its term.
    pub(crate) is_controller: bool,
    /// Since when, by its clock.
    office_since: Instant,
    monotone: Monotone,
    last: Position,
    log: Log,
    /// What it has said to be on disk since it was looked at last.
    told: Index,
}

impl Watch {
    pub(crate) fn new(session_timeout: Duration) -> Self {
        Self { session_timeout, ..Self::default() }
    }

    /// A process begins.
    pub(crate) fn born(&mut self, node: u32, life: u64) {
        self.nodes.insert(node, Seen { life, ..Seen::default() });
    }

    /// A process has ended.
    pub(crate) fn died(&mut self, node: u32) {
        self.heard.leads_not(node);
        if let Some(seen) = self.nodes.get_mut(&node) {
            fall_asleep(&mut self.asleep, seen);
            let life = seen.life;
            *seen = Seen { life, ..Seen::default() };
        }
    }

    /// A process is asked to stop.
    pub(crate) fn stopping(&mut self, node: u32) {
        if let Some(seen) = self.nodes.get_mut(&node) {
            seen.is_stopping = true;
        }
    }

    /// One of them.
    pub(crate) fn node(&self, node: u32) -> Option<&Seen> {
        self.nodes.get(&node)
    }

    /// The map as far as the committed log is known.
    pub(crate) fn map(&self) -> &Map {
        self.maps.map()
    }

    /// Who votes by the latest word in any log, and whether that is committed.
    pub(crate) fn voters(&self) -> Option<(&Voters, bool)> {
        self.voters.latest(|index| self.committed.term_at(index))
    }

    /// The controller of the latest term, if one is in office.
    pub(crate) fn controller(&self) -> Option<u32> {
        let in_office = self.nodes.iter().filter(|(_, seen)| seen.is_controller);
        in_office.max_by_key(|(_, seen)| seen.term).map(|(&id, _)| id)
    }

    /// The latest term that any node has ever been in.
    pub(crate) fn term(&self) -> Term {
        self.term_max
    }

    /// Who leads, in which terms.
    pub(crate) fn leaders(&self) -> impl Iterator<Item = (u32, Term)> + '_ {
        let leads = |seen: &Seen| seen.role == Some(Role::Leader);
        self.nodes.iter().filter(move |(_, seen)| leads(seen)).map(|(&id, seen)| (id, seen.term))
    }

    /// How often a controller has wanted a node to be unfenced.
    pub(crate) fn unfenced(&self, node: NodeId) -> u64 {
        self.unfenced.get(&node).copied().unwrap_or_default()
    }

    /// How often a leader of a partition has asked the controller for a seat for a node.
    pub(crate) fn asked(&self, node: NodeId) -> u64 {
        self.asked.get(&node).copied().unwrap_or_default()
    }

    /// Who leads a partition of which the node holds a replica and is not in sync, but for the
    /// controller.
    pub(crate) fn askers(&self, node: NodeId) -> BTreeSet<u32> {
        let controller = self.controller();
        let lacks = |p: &&Partition| p.replicas.contains(&node) && p.seat(node).is_none();
        let partitions = self.map().partitions().map(|(_, partition)| partition);
        let leaders = partitions.filter(lacks).filter_map(|partition| partition.leader);
        leaders.map(|leader| leader.0).filter(|&leader| Some(leader) != controller).collect()
    }

    /// Whether the voters are to change for the sake of a node that has come back with another disk:
    /// it is to replace itself, or was taken out already and the voters are to be made complete.
    pub(crate) fn change_is_due(&self, node: NodeId, complete: bool) -> bool {
        let (Some((voters, _)), Some(known)) = (self.voters(), self.map().node(node)) else {
            return false;
        };
        match voters.directory(node) {
            Some(directory) => !complete && directory != known.registration.directory,
            None => complete,
        }
    }

    /// Whether a node leads that hears from no majority. `patience`: how long it may.
    pub(crate) fn unheard(&self, node: u32, now: Instant, patience: Duration) -> Option<Found> {
        self.heard.look(node, now, patience)
    }

    /// Looks at a node after an event.
    pub(crate) fn look(&mut self, node: u32, mono: Instant, control: &Control) -> Vec<Found> {
        let mut found = Vec::new();
        let seen = self.nodes.get_mut(&node).expect("it was born");
        let (Some(raft), Some(map)) = (control.raft(), control.map()) else {
            if seen.is_member {
                self.heard.leads_not(node);
                fall_asleep(&mut self.asleep, seen);
                let (life, is_stopping) = (seen.life, seen.is_stopping);
                *seen = Seen { life, is_stopping, ..Seen::default() };
            }
            return found;
        };
        let who = format_args!("n{node}").to_string();
        let me = raft.me();
        if !seen.is_member {
            seen.is_member = true;
            seen.me = Some(me);
            let snapshot = raft.snapshot();
            self.voters.founded(snapshot.position(), &snapshot.voters);
            let held =
                |index, term| index <= raft.snapshot().index || raft.term_at(index) == Some(term);
            found.extend(self.promises.restarts(me, raft.term(), held));
            if let Some(vote) = self.votes.of(me, raft.term())
                && raft.vote().map(|voted| voted.node) != Some(vote)
            {
                let text = format!("{me} starts in {} and has forgotten its vote", raft.term());
                found.push(("promises kept", text));
            }
        }
        found.extend(seen.monotone.is(&who, raft.term(), raft.commit()));
        let was = (seen.role, seen.term);
        (seen.role, seen.term) = (Some(raft.role()), raft.term());
        self.term_max = self.term_max.max(raft.term());
        seen.leader = raft.leader();
        if raft.role() == Role::Leader {
            self.heard.leads((node, seen.life), me, raft.term(), raft.voters(), mono);
        } else {
            self.heard.leads_not(node);
        }
        let office =
            raft.role() == Role::Leader && raft.term_at(raft.applied()) == Some(raft.term());
        if office && !(seen.is_controller && was.1 == raft.term()) {
            seen.office_since = mono;
        }
        seen.is_controller = office;
        if raft.last() != seen.last {
            self.look_at_log(node, &who, mono, raft, &mut found);
        }
        let seen = self.nodes.get_mut(&node).expect("it is there");
        (seen.log.durable, seen.told) = (raft.durable(), Index(0));
        if raft.commit() != seen.commit {
            let from = std::mem::replace(&mut seen.commit, raft.commit());
            if raft.role() == Role::Leader {
                found.extend(self.counts(&who, raft));
            }
            for index in (from.0 + 1..=raft.commit().0).map(Index) {
                let Some(term) = raft.term_at(index) else { continue };
                let content = raft.entry(index).map(hash_of);
                found.extend(self.committed.is(&who, index, term, content));
                self.complete.committed(index, term, raft.term());
            }
        }
        if raft.role() == Role::Leader && was != (Some(Role::Leader), raft.term()) {
            found.extend(self.elected(&who, raft));
        }
        let seen = self.nodes.get_mut(&node).expect("it is there");
        if map.applied() != seen.applied {
            seen.applied = map.applied();
            found.extend(self.maps.shows(&who, map));
        }
        found
    }

    /// A leader counts its log as committed up to another entry.
    fn counts(&self, who: &str, raft: &Raft) -> Option<Found> {
        let at = Position { index: raft.commit(), term: raft.term_at(raft.commit())? };
        let kept = |voter: Member| {
            let awake = self.nodes.get(&voter.node.0).filter(|seen| seen.me == Some(voter));
            let log = awake.map(|seen| &seen.log).or_else(|| self.asleep.get(&voter));
            let Some(log) = log else {
                return Some(Kept { voter, last: Position::default(), has: false });
            };
            Some(Kept { voter, last: log.end()?, has: log.has(at) })
        };
        // Of one that is about to have a snapshot in the place of its log too little is known.
        let logs: Option<Vec<Kept>> = raft.voters().iter().map(kept).collect();
        electable::check(who, at, &logs?)
    }

    fn elected(&mut self, who: &str, raft: &Raft) -> Vec<Found> {
        let (me, term) = (raft.me(), raft.term());
        let voters: Vec<Member> = raft.voters().iter().collect();
        let base = Index(raft.first_index().0 - 1);
        let held = |index: Index| match raft.term_at(index) {
            Some(term) => Some(Some(term)),
            None if index <= base => Some(None),
            None => None,
        };
        let mut found = Vec::new();
        found.extend(self.leaders.leads(term, me));
        found.extend(self.votes.elected(me, term, &voters));
        found.extend(self.complete.elected(who, term, held));
        found
    }

    /// The end of a log is another: what is new in it?
    fn look_at_log(
        &mut self,
        node: u32,
        who: &str,
        mono: Instant,
        raft: &Raft,
        found: &mut Vec<Found>,
    ) {
        let seen = self.nodes.get_mut(&node).expect("it was born");
        let (last, base) = (raft.last().index, Index(raft.first_index().0 - 1));
        let mut same = last;
        while same > base && seen.log.terms.get(&same) != raft.term_at(same).as_ref() {
            same = Index(same.0 - 1);
        }
        if same < seen.last.index && same >= base {
            self.promises.cuts(raft.me(), same);
        }
        drop(seen.log.terms.split_off(&same.plus(1)));
        seen.log.terms = seen.log.terms.split_off(&base);
        let base_term = raft.term_at(base).unwrap_or_default();
        seen.log.base = Position { term: base_term, index: base };
        seen.last = raft.last();
        for index in (same.0 + 1..=last.0).map(Index) {
            let Some(entry) = raft.entry(index) else { continue };
            seen.log.terms.insert(index, entry.term);
            let before = raft.term_at(Index(index.0 - 1));
            let at = (index, entry.term);
            found.extend(self.matching.holds(who, at, hash_of(entry), before));
            match &entry.payload {
                Payload::Noop => {}
                Payload::Voters(voters) => {
                    if raft.role() == Role::Leader && entry.term == raft.term() {
                        let commit = (raft.commit(), raft.term_at(raft.commit()));
                        let (since, before) = voters_before(raft, index);
                        let at = entry.position();
                        found.extend(changes::begins(who, at, commit, (since, before), voters));
                    }
                    self.voters.saw(entry.position(), voters);
                }
                Payload::Command(bytes) => {
                    let proposed = raft.role() == Role::Leader && entry.term == raft.term();
                    let command = proposed.then(|| Command::decode(bytes)).and_then(Result::ok);
                    if let Some(Command::Unfence(life)) = command {
                        *self.unfenced.entry(life.node).or_default() += 1;
                    }
                    if let Some(Command::Fence(life)) = command
                        // What it asks of itself goes over no link.
                        && !(life.node.0 == node && seen.is_stopping)
                    {
                        let (at, since) = ((node, seen.life), seen.office_since);
                        let timeout = self.session_timeout;
                        found.extend(self.sessions.fences(at, since, life, mono, timeout));
                    }
                }
            }
        }
    }

    /// A node has applied a committed entry.
    pub(crate) fn applied(&mut self, node: u32, entry: &Entry) -> Vec<Found> {
        let who = format!("n{node}");
        let mut found = self.maps.committed(entry);
        if let Payload::Command(bytes) = &entry.payload
            && let Ok(command) = Command::decode(bytes)
        {
            self.answers.committed(entry.index, command);
        }
        found.extend(self.committed.is(&who, entry.index, entry.term, Some(hash_of(entry))));
        found
    }

    /// An operator, who asks for one thing.
    pub(crate) fn operator(&mut self) -> ClientId {
        self.answers.operator()
    }

    /// An operator asks for something.
    pub(crate) fn asks(&mut self, client: ClientId, request: &Request) {
        self.answers.asks(client, request);
    }

    /// The operator is answered.
    pub(crate) fn answered(
        &mut self,
        client: ClientId,
        outcome: Result<(), RequestError>,
    ) -> Option<Found> {
        self.answers.answered(client, outcome)
    }

    /// A node hands a message to a link, which takes it or not; the number of the message.
    pub(crate) fn sent(
        &mut self,
        node: u32,
        to: u32,
        message: Message,
        taken: bool,
    ) -> (u64, Vec<Found>) {
        let mut found = Vec::new();
        if !taken {
            return (0, found);
        }
        if let Message::Broker(BrokerMessage::Alter(alter)) = &message {
            for life in &alter.isr {
                *self.asked.entry(life.node).or_default() += 1;
            }
        }
        if let Message::Election(message) = &message
            && let Some(seen) = self.nodes.get_mut(&node)
            && let Some(me) = seen.me
        {
            if !matches!(message, election::Message::PreVote(_)) {
                self.promises.speaks(me, message.term());
            }
            match message {
                election::Message::Vote(m) => found.extend(self.votes.votes(me, m.term, me.node)),
                election::Message::VoteReply(m) if m.granted => {
                    found.extend(self.votes.votes(me, m.term, NodeId(to)));
                }
                election::Message::AppendReply(m) => {
                    if let Some(term) = seen.log.terms.get(&m.durable) {
                        self.promises.acknowledges(me, m.durable, *term);
                        seen.told = seen.told.max(m.durable);
                    }
                }
                election::Message::VoteReply(_)
                | election::Message::PreVote(_)
                | election::Message::PreVoteReply(_)
                | election::Message::Append(_)
                | election::Message::Chunk(_)
                | election::Message::ChunkReply(_)
                | election::Message::TimeoutNow(_) => {}
            }
        }
        (self.wire.sent(node, to, message), found)
    }

    /// A message has come; its number.
    pub(crate) fn received(
        &mut self,
        node: u32,
        from: Member,
        message: &Message,
        mono: Instant,
    ) -> (u64, Option<Found>) {
        let (number, found) = self.wire.received(from.node.0, node, message);
        if let Message::Broker(BrokerMessage::Heartbeat(beat)) = message
            && let Some(seen) = self.nodes.get(&node)
        {
            let life = Life { node: from.node, incarnation: beat.incarnation };
            let at = (node, seen.life);
            self.sessions.hears(at, life, mono, beat.wants_stop, number);
        }
        if let Message::Election(message) = message
            && matches!(
                message,
                election::Message::AppendReply(_) | election::Message::ChunkReply(_)
            )
        {
            self.heard.hears(node, from, message.term(), mono);
        }
        (number, found)
    }

    /// A node dials another.
    pub(crate) fn dials(&mut self, conn: u64, to: u32) {
        self.dials.insert(conn, to);
    }

    /// A dial of the node is refused.
    pub(crate) fn refused_dial(&mut self, node: u32, conn: u64) {
        if let (Some(seen), Some(&to)) = (self.nodes.get(&node), self.dials.get(&conn)) {
            self.sessions.refuses((node, seen.life), NodeId(to), self.wire.last());
        }
    }

    /// A message of the quorum had no effect.
    pub(crate) fn ignored(node: u32, what: &str, why: Ignored) -> Option<Found> {
        why.is_violation().then(|| ("protocol", format!("n{node} ignores {what}: {why}")))
    }
}

/// A member stops: what it had on disk it has, and that is also what it said in the event by which
/// it stopped, after which nobody could look at it.
fn fall_asleep(asleep: &mut BTreeMap<Member, Log>, seen: &mut Seen) {
    if let Some(me) = seen.me {
        let mut log = std::mem::take(&mut seen.log);
        log.durable = log.durable.max(seen.told);
        asleep.insert(me, log);
    }
}

/// Who votes by a log up to before an entry of it, and where that stands.
fn voters_before(raft: &Raft, index: Index) -> (Index, &Voters) {
    let entries = (raft.first_index().0..index.0).rev().filter_map(|at| raft.entry(Index(at)));
    for entry in entries {
        if let Payload::Voters(voters) = &entry.payload {
            return (entry.index, voters);
        }
    }
    (raft.snapshot().index, &raft.snapshot().voters)
}

#[cfg(test)]
mod tests {
    use super::super::checkers::forge::member;
    use super::*;

    #[test]
    fn what_a_member_says_and_then_stops_is_on_its_disk() {
        let at = |index| Position { term: Term(1), index: Index(index) };
        let terms = [(Index(1), Term(1)), (Index(2), Term(1))].into();
        let log = Log { base: Position::default(), terms, durable: Index(1) };
        let end = |told| {
            let mut asleep = BTreeMap::new();
            let mut seen = Seen { me: Some(member(2)), log: log.clone(), ..Seen::default() };
            seen.told = Index(told);
            fall_asleep(&mut asleep, &mut seen);
            (asleep[&member(2)].end(), asleep[&member(2)].has(at(2)))
        };
        assert_eq!(end(0), (Some(at(1)), false));
        // It acknowledges the second entry, by which that is committed, and stops in the same event.
        assert_eq!(end(2), (Some(at(2)), true));
    }
}
