//! The controller quorum: who leads it, and its log. Raft, as a pure machine.
//!
//! # The protocol
//!
//! A few members, the *voters*, agree on a log of entries. Time is cut into *terms*; in each a
//! majority elects at most one *leader*, and only the leader makes entries. It sends them to the
//! others, and an entry is *committed* once a majority has it on disk: any later leader then has it
//! too, because it needs the vote of a majority, and nobody votes for a candidate whose log ends
//! before its own. What is committed is handed to the owner in order, once for each life of the
//! machine.
//!
//! ```text
//!             leader is silent                majority would          majority votes
//!  ┌──────────┐      ┌──────────────┐      ┌───────────┐      ┌────────┐
//!  │ Follower │ ───▶ │ PreCandidate │ ───▶ │ Candidate │ ───▶ │ Leader │
//!  └──────────┘      └──────────────┘      └───────────┘      └────────┘
//!       ▲   a leader speaks │   a leader speaks,│    a later term,│ no majority heard,
//!       └───────────────────┴──── a later term ─┴───── voted out ─┘
//! ```
//!
//! A role is a file: [`follower`], [`pre_candidate`], [`candidate`], [`leader`]. What all have in
//! common is in [`common`]: the [`log`], the [`disk`], the way out. [`vote`] answers those who ask
//! for votes, [`incoming`] puts a snapshot together, [`progress`] is what a leader knows of a
//! member and [`replicate`] what it sends there, [`command`] is what the owner may ask for. A
//! [`Message`] is first checked for what can not be ([`ignored`]), then for its term ([`receive`]).
//!
//! # Members
//!
//! A voter is a node *with a directory* (KIP-853): a node whose disk was wiped is another member,
//! has no vote, and can not forget one that it gave. Voters change one at a time, by an entry that
//! counts from the moment it is appended. Every other linked member is an *observer*: it is sent the
//! log like a follower and counts for nothing. It must have caught up before it can be added.
//!
//! # Durability
//!
//! Writes go out as [`Output::Persist`], one at a time and in order, and come back as
//! [`Input::Persisted`]. Whatever depends on one waits here: a candidate asks when its term and vote
//! are on disk, a vote and every answer that binds in a term goes out when that is, a follower acknowledges entries and snapshots when they are, and a leader counts itself like a
//! follower. It does ship entries beside its own write. Entries may be applied before they are on
//! this member's own disk, since a majority has them; the owner must keep nothing of them but what
//! it hands to [`Raft::compact`].
//!
//! # Time
//!
//! A follower suspects its leader after a random time without a word, or soon after the link to it
//! broke ([`Input::Unlinked`]). It then asks whether it would be elected (pre-vote), and those who
//! hear the leader say no, so that only a real failure ends a term. A leader that hears from no
//! majority for the longest election timeout steps down (check-quorum), or it would keep those that
//! it still reaches from electing one who can lead. Safety depends on none of this.
//!
//! # Invariants
//!
//! - At most one leader in a term. A member votes once in a term, and remembers.
//! - Two logs that have an entry of the same index and term are the same up to there.
//! - A leader has every entry that was committed in an earlier term; no two members apply different
//!   entries at an index.
//! - A term never goes back, nor does a commit index within a life.
//! - `snapshot ≤ applied ≤ commit ≤ last`, except that `applied` waits while a snapshot is written.
//!
//! # Limits
//!
//! Every message, queue and window has one ([`crate::limits`]). The leader refuses proposals above
//! ([`Refusal::Full`]); what a member can not hold it drops, as if the network had.
//!
//! # Sources
//!
//! Ongaro & Ousterhout, *In Search of an Understandable Consensus Algorithm*, 2014 ("Raft");
//! Ongaro, *Consensus: Bridging Theory and Practice*, 2014 ("dissertation"): §3.10 transfer, §4
//! membership, §6.2 stale leaders, §9.6 pre-vote, §10.2.1 writing beside sending; KIP-853 for
//! voters with directories; KIP-996 for pre-vote beside it.

mod candidate;
mod command;
mod common;
mod disk;
mod follower;
mod glance;
mod ignored;
mod incoming;
mod leader;
mod log;
mod message;
mod pre_candidate;
mod progress;
mod receive;
mod replicate;
mod settings;
mod vote;
mod voters;

use alloc::vec::Vec;
use core::time::Duration;

use crate::limits::APPEND_ENTRIES_MAX;
use crate::{Instant, Member, NodeId, Term};

pub use command::{Refusal, VoterChange};
pub use disk::{Change, WriteId};
pub use glance::{Health, MemberStatus};
pub use ignored::Ignored;
pub use log::{Entry, Payload, Position, Snapshot};
pub use message::{
    Append, AppendReply, Chunk, ChunkReply, Conflict, Message, PreVote, PreVoteReply, TimeoutNow,
    Vote, VoteReply,
};
pub use settings::{Settings, Stored};
pub use voters::Voters;

use candidate::Candidate;
use common::Common;
use follower::Follower;
use leader::Leader;
use log::Log;
use pre_candidate::{PreCandidate, first_patience};

/// One event for the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A message has come.
    Message {
        /// Who sent it, as its link was opened.
        from: Member,
        /// What it says.
        message: Message,
    },
    /// A write is durable.
    Persisted(WriteId),
    /// There is a link to this member: what is sent to it will mostly arrive.
    Linked(Member),
    /// The link is broken: what was sent last may be lost.
    Unlinked(Member),
    /// The [`Raft::deadline`] is due.
    Tick,
}

/// One effect of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// To be made durable, in this order, and answered by [`Input::Persisted`]. The next one comes
    /// only after that. A crash may keep any number of the changes, from the first on.
    Persist(WriteId, Vec<Change>),
    /// To be sent. It may be dropped if there is no link to just this member.
    Send(Member, Message),
    /// Committed: the next entry for the state machine.
    Apply(Entry),
    /// The state machine is to begin anew from this: at the start, and when a leader has sent its
    /// snapshot. What is applied next follows it.
    Restore(Snapshot),
    /// The role, the term or the known leader has changed.
    Became {
        /// The role.
        role: Role,
        /// The term.
        term: Term,
        /// Who leads, as far as it is known.
        leader: Option<NodeId>,
    },
    /// A message had no effect. For traces and checkers: see [`Ignored::is_violation`].
    Ignored {
        /// Who sent it.
        from: Member,
        /// [`Message::name`].
        what: &'static str,
        /// Why.
        why: Ignored,
    },
}

/// What a member is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks whether it would be elected.
    PreCandidate,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

/// Why [`Raft::deadline`] is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// When to suspect the leader.
    Election,
    /// When to ask again for votes.
    Retry,
    /// When to send a heartbeat.
    Heartbeat,
    /// When to step down for want of a majority.
    Quorum,
    /// When to give up handing over.
    Transfer,
}

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    common: Common,
    state: State,
    /// What the owner was told last.
    told: (Role, Term, Option<NodeId>),
}

/// A role with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Follower(Follower),
    PreCandidate(PreCandidate),
    Candidate(Candidate),
    Leader(Leader),
}

impl Raft {
    /// A member as it starts, from what it has stored. It follows nobody yet.
    pub fn new(me: Member, settings: Settings, stored: Stored, now: Instant, seed: u64) -> Self {
        assert!(settings.election_min <= settings.election_max, "the shortest is not the longest");
        assert!(settings.append_entries_max <= APPEND_ENTRIES_MAX, "a message has a largest size");
        assert!(settings.append_entries_max > 0 && settings.inflight_max > 0, "something is sent");
        assert!(settings.chunk_bytes > 0, "a piece of a snapshot is not empty");
        let is_behind = |last: &Entry| last.index < stored.snapshot.index;
        let left_over = stored.entries.last().is_some_and(is_behind);
        let log = Log::new(stored.snapshot, stored.entries);
        let hard = (stored.term, stored.vote);
        let mut common = Common::new(me, settings, hard, log, now, seed);
        if left_over {
            // A crash came between a snapshot and the purge behind it.
            common.purge();
        }
        let mut follower = Follower::new(&mut common, None);
        if common.is_voter() && common.log.voters().len() == 1 {
            // There is nobody to wait for.
            follower.deadline = now;
        } else if hard == (Term(0), None) {
            // It has never heard from a leader. Where the quorum has just been founded nobody has.
            let wait = common.draw(Duration::ZERO, settings.heartbeat * 2);
            follower.deadline = now.after(wait);
        } else {
            // It may have heard from a leader just before it stopped.
            follower.heard = Some(now);
        }
        let told = (Role::Follower, common.term, None);
        Self { common, state: State::Follower(follower), told }
    }

    /// Takes one event in.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.common.now = self.common.now.max(now);
        match input {
            Input::Message { from, message } => self.on_message(from, message),
            Input::Persisted(id) => self.on_persisted(id),
            Input::Linked(member) => self.on_link(member, true),
            Input::Unlinked(member) => self.on_link(member, false),
            Input::Tick => self.on_tick(),
        }
    }

    /// The next effect, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        if self.common.out.is_empty() {
            self.settle();
        }
        self.common.out.pop_front()
    }

    /// When to call [`handle`](Self::handle) with [`Input::Tick`], and why.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        let c = &self.common;
        match &self.state {
            State::Follower(follower) => follower.suspects_at(c).map(|at| (at, Reason::Election)),
            State::PreCandidate(pre) => Some((pre.deadline, Reason::Retry)),
            State::Candidate(candidate) => candidate.deadline.map(|at| (at, Reason::Retry)),
            State::Leader(leader) => {
                let heartbeat = (leader.heartbeat_due, Reason::Heartbeat);
                let quorum = (just_after(leader.quorum_until(c)), Reason::Quorum);
                let transfer = leader.transfer.map(|transfer| {
                    (just_after(leader::transfer_until(c, transfer)), Reason::Transfer)
                });
                [Some(heartbeat), Some(quorum), transfer].into_iter().flatten().min()
            }
        }
    }

    fn on_tick(&mut self) {
        let c = &mut self.common;
        let next = match &mut self.state {
            State::Follower(follower) => {
                let is_due = follower.suspects_at(c).is_some_and(|at| c.now >= at);
                let patience = first_patience(c);
                is_due.then(|| PreCandidate::start(c, patience))
            }
            State::PreCandidate(pre) => (c.now >= pre.deadline).then(|| pre.on_deadline(c)),
            State::Candidate(candidate) => {
                let is_due = candidate.deadline.is_some_and(|at| c.now >= at);
                is_due.then(|| candidate.on_deadline(c))
            }
            State::Leader(leader) => leader.on_tick(c),
        };
        self.become_next(next);
    }

    fn on_persisted(&mut self, id: WriteId) {
        let c = &mut self.common;
        let before = c.disk.durable();
        c.disk.on_persisted(id);
        c.release();
        let next = match &mut self.state {
            State::Follower(follower) => {
                follower.on_persisted(c, before);
                None
            }
            State::PreCandidate(_) => None,
            State::Candidate(candidate) => candidate.on_persisted(c),
            State::Leader(leader) => leader.on_persisted(c),
        };
        self.become_next(next);
    }

    fn on_link(&mut self, member: Member, is_up: bool) {
        let c = &mut self.common;
        if is_up {
            c.link(member);
        } else {
            c.linked.remove(&member);
        }
        match &mut self.state {
            State::Follower(follower) if !is_up => follower.on_unlinked(c, member),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => {}
            State::Leader(leader) => leader.on_link_change(c, member),
        }
    }

    fn become_next(&mut self, next: Option<State>) {
        if let Some(next) = next {
            self.state = next;
        }
    }

    /// Does what follows from the state as it is: tells the owner, sends, writes. Doing it again
    /// does nothing.
    fn settle(&mut self) {
        let (role, term, leader) = (self.role(), self.common.term, self.leader());
        if self.told != (role, term, leader) {
            self.told = (role, term, leader);
            self.common.out.push_back(Output::Became { role, term, leader });
        }
        self.common.apply();
        match &mut self.state {
            State::Leader(leader) => leader.pump(&mut self.common),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => {}
        }
        self.common.flush();
    }
}

fn just_after(at: Instant) -> Instant {
    at.after(Duration::from_nanos(1))
}
