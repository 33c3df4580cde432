//! Looks at every node after every event, and tells the [checkers](super::checkers) what is new.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use kvnode_core::cluster::{BrokerMessage, Command, Life, Map};
use kvnode_core::control::{Control, Message};
use kvnode_core::election::{self, Entry, Ignored, Payload, Position, Raft, Role, Voters};
use kvnode_core::{Index, Instant, Member, NodeId, Term};

use super::checkers::Found;
use super::checkers::committed::Committed;
use super::checkers::complete::Completeness;
use super::checkers::leaders::OneLeader;
use super::checkers::maps::Maps;
use super::checkers::matching::LogMatching;
use super::checkers::monotone::Monotone;
use super::checkers::promises::Promises;
use super::checkers::sessions::Sessions;
use super::checkers::votes::Votes;
use super::checkers::wire::Wire;

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
    wire: Wire,
    nodes: BTreeMap<u32, Seen>,
    /// The last voter set that any log held, by its place.
    voters: Option<(Position, Voters)>,
    /// The latest term that any node has ever been in.
    term_max: Term,
    /// Nodes that a dial was made to, by connection.
    dials: BTreeMap<u64, u32>,
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
    log: BTreeMap<Index, Term>,
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
        if let Some(seen) = self.nodes.get_mut(&node) {
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
        let (at, voters) = self.voters.as_ref()?;
        let settled = at.index == Index(0) || self.committed.term_at(at.index) == Some(at.term);
        Some((voters, settled))
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

    /// Looks at a node after an event.
    pub(crate) fn look(&mut self, node: u32, mono: Instant, control: &Control) -> Vec<Found> {
        let mut found = Vec::new();
        let seen = self.nodes.get_mut(&node).expect("it was born");
        let (Some(raft), Some(map)) = (control.raft(), control.map()) else {
            if seen.is_member {
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
        if raft.commit() != seen.commit {
            let from = std::mem::replace(&mut seen.commit, raft.commit());
            for index in (from.0 + 1..=raft.commit().0).map(Index) {
                let Some(term) = raft.term_at(index) else { continue };
                let content = raft.entry(index).map(content);
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
        while same > base && seen.log.get(&same) != raft.term_at(same).as_ref() {
            same = Index(same.0 - 1);
        }
        if same < seen.last.index && same >= base {
            self.promises.cuts(raft.me(), same);
        }
        drop(seen.log.split_off(&same.plus(1)));
        seen.log = seen.log.split_off(&base);
        seen.last = raft.last();
        for index in (same.0 + 1..=last.0).map(Index) {
            let Some(entry) = raft.entry(index) else { continue };
            seen.log.insert(index, entry.term);
            let before = raft.term_at(Index(index.0 - 1));
            let at = (index, entry.term);
            found.extend(self.matching.holds(who, at, content(entry), before));
            match &entry.payload {
                Payload::Noop => {}
                Payload::Voters(voters) => {
                    if self.voters.as_ref().is_none_or(|(at, _)| *at < entry.position()) {
                        self.voters = Some((entry.position(), voters.clone()));
                    }
                }
                Payload::Command(bytes) => {
                    let proposed = raft.role() == Role::Leader && entry.term == raft.term();
                    if proposed
                        && let Ok(Command::Fence(life)) = Command::decode(bytes)
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
        if self.voters.is_none() {
            let snapshot = raft.snapshot();
            self.voters = Some((snapshot.position(), snapshot.voters.clone()));
        }
    }

    /// A node has applied a committed entry.
    pub(crate) fn applied(&mut self, node: u32, entry: &Entry) -> Vec<Found> {
        let who = format!("n{node}");
        let mut found = self.maps.committed(entry);
        found.extend(self.committed.is(&who, entry.index, entry.term, Some(content(entry))));
        found
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
        if let Message::Election(message) = &message
            && let Some(seen) = self.nodes.get(&node)
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
                    if let Some(term) = seen.log.get(&m.durable) {
                        self.promises.acknowledges(me, m.durable, *term);
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
        if let Message::Broker(BrokerMessage::Heartbeat(beat)) = message
            && let Some(seen) = self.nodes.get(&node)
        {
            let life = Life { node: from.node, incarnation: beat.incarnation };
            self.sessions.hears((node, seen.life), life, mono, beat.wants_stop);
        }
        self.wire.received(from.node.0, node, message)
    }

    /// A node dials another.
    pub(crate) fn dials(&mut self, conn: u64, to: u32) {
        self.dials.insert(conn, to);
    }

    /// A dial of the node is refused.
    pub(crate) fn refused_dial(&mut self, node: u32, conn: u64) {
        if let (Some(seen), Some(&to)) = (self.nodes.get(&node), self.dials.get(&conn)) {
            self.sessions.refuses((node, seen.life), NodeId(to));
        }
    }

    /// A message of the quorum had no effect.
    pub(crate) fn ignored(node: u32, what: &str, why: Ignored) -> Option<Found> {
        why.is_violation().then(|| ("protocol", format!("n{node} ignores {what}: {why}")))
    }
}

/// A fingerprint of what an entry says.
fn content(entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    entry.hash(&mut hasher);
    hasher.finish()
}
