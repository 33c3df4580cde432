//! A leader: it makes the entries, counts who has them, and gives up when it hears from no majority.
//!
//! Invariants:
//! - It begins its term with an entry of its own, and commits by counting only entries of its own
//!   term; earlier ones are committed by what lies behind them (Raft §5.4.2).
//! - It counts itself like any other, by what is durable, and not at all when it does not vote.
//! - It never changes an entry of its own.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::State;
use super::common::Common;
use super::follower::Follower;
use super::ignored::Ignored;
use super::log::Payload;
use super::message::{AppendReply, Message, TimeoutNow};
use super::progress::Progress;
use super::voters::Voters;
use crate::{Index, Instant, Member};

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leader {
    /// Every other voter, and every linked member that does not vote.
    pub(super) progress: BTreeMap<Member, Progress>,
    pub(super) heartbeat_due: Instant,
    pub(super) transfer: Option<Transfer>,
}

/// Handing over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Transfer {
    pub(super) to: Member,
    pub(super) since: Instant,
    /// It has all of the log and was told to ask for votes.
    pub(super) told: bool,
}

impl Leader {
    pub(super) fn start(c: &mut Common) -> State {
        assert!(c.vote == Some(c.me) && c.vote_is_durable(), "a leader's own vote is durable");
        let first = c.append(Payload::Noop);
        let mut this = Self {
            progress: BTreeMap::new(),
            heartbeat_due: c.now.after(c.settings.heartbeat),
            transfer: None,
        };
        this.find_members(c, first);
        State::Leader(this)
    }

    /// Begins to send to new members and forgets those that are neither voters nor linked.
    pub(super) fn update_members(&mut self, c: &Common) {
        self.find_members(c, c.log.last().index.plus(1));
    }

    fn find_members(&mut self, c: &Common, next: Index) {
        let voters = c.log.voters();
        self.progress.retain(|member, _| voters.contains(*member) || c.linked.contains(member));
        for member in voters.iter().chain(c.linked.iter().copied()) {
            if member != c.me {
                self.progress.entry(member).or_insert_with(|| Progress::new(next, c.now));
            }
        }
    }

    pub(super) fn on_append_reply(
        &mut self,
        c: &mut Common,
        from: Member,
        m: &AppendReply,
    ) -> Option<State> {
        assert!(m.term == c.term, "others are ignored");
        let Some(progress) = self.progress.get_mut(&from) else {
            c.ignore(from, "append reply", Ignored::Stranger);
            return None;
        };
        if m.matched > c.log.last().index {
            c.ignore(from, "append reply", Ignored::AckBeyondLog);
            return None;
        }
        progress.heard = c.now;
        match m.conflict {
            Some(conflict) => {
                if !progress.on_conflict(&c.log, conflict) {
                    c.ignore(from, "append reply", Ignored::Overtaken);
                }
                None
            }
            None => {
                progress.on_match(m);
                self.hand_over(c, false);
                self.advance_commit(c)
            }
        }
    }

    pub(super) fn on_persisted(&mut self, c: &mut Common) -> Option<State> {
        self.advance_commit(c)
    }

    /// Commits what a majority has on disk. Returns what follows if the leader's own removal is
    /// among it.
    pub(super) fn advance_commit(&mut self, c: &mut Common) -> Option<State> {
        let durable_here = c.disk.durable().end;
        let durable = |member: Member| match self.progress.get(&member) {
            _ if member == c.me => durable_here,
            Some(progress) => progress.durable,
            None => Index(0),
        };
        let voters = c.log.voters();
        let mut ends: Vec<Index> = voters.iter().map(durable).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let index = ends[voters.quorum() - 1];
        if index > c.commit && c.log.term_at(index) == Some(c.term) {
            c.commit_to(index);
        }
        let removed = !c.is_voter() && c.log.voters_at() <= c.commit;
        removed.then(|| self.leave(c))
    }

    /// Its removal is committed: the one who is furthest takes over, without a timeout.
    fn leave(&mut self, c: &mut Common) -> State {
        self.pump(c);
        let voters = c.log.voters();
        let is_voter = |(member, _): &(&Member, &Progress)| voters.contains(**member);
        let heir = self.progress.iter().filter(is_voter).max_by_key(|(_, p)| p.durable);
        if let Some((&heir, _)) = heir {
            c.send(heir, Message::TimeoutNow(TimeoutNow { term: c.term }));
        }
        State::Follower(Follower::new(c, None))
    }

    /// Whether a majority of these is heard of now, this member included if it is one of them.
    pub(super) fn hears_majority(&self, c: &Common, voters: &Voters) -> bool {
        let heard = |member: &Member| {
            let heard = self.progress.get(member).map(|progress| progress.heard);
            heard.is_some_and(|heard| c.now.since(heard) <= c.settings.election_max)
        };
        voters.majority(|member| member == c.me || c.linked.contains(&member) && heard(&member))
    }

    /// When a majority was last heard of, this member included if it votes.
    fn quorum_heard(&self, c: &Common) -> Instant {
        let heard = |member: Member| match self.progress.get(&member) {
            Some(progress) => progress.heard,
            None => c.now,
        };
        let voters = c.log.voters();
        let mut times: Vec<Instant> = voters.iter().map(heard).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times[voters.quorum() - 1]
    }

    /// The last moment at which it leads without hearing from a majority.
    pub(super) fn quorum_until(&self, c: &Common) -> Instant {
        self.quorum_heard(c).after(c.settings.election_max)
    }

    pub(super) fn on_tick(&mut self, c: &mut Common) -> Option<State> {
        if c.now > self.quorum_until(c) {
            return Some(State::Follower(Follower::new(c, None)));
        }
        if self.transfer.is_some_and(|transfer| c.now > transfer_until(c, transfer)) {
            self.transfer = None;
        }
        if c.now >= self.heartbeat_due {
            self.heartbeat_due = c.now.after(c.settings.heartbeat);
            self.beat(c);
            self.hand_over(c, true);
        }
        None
    }

    pub(super) fn on_link_change(&mut self, c: &Common, member: Member) {
        self.update_members(c);
        if let Some(progress) = self.progress.get_mut(&member) {
            progress.on_link_change();
        }
    }

    /// Tells the member that leadership goes to, once it has all of the log; `again` if it was told
    /// and may not have heard.
    pub(super) fn hand_over(&mut self, c: &mut Common, again: bool) {
        let Some(transfer) = &mut self.transfer else { return };
        let durable = self.progress.get(&transfer.to).map_or(Index(0), |p| p.durable);
        if durable == c.log.last().index && (again || !transfer.told) {
            transfer.told = true;
            c.send(transfer.to, Message::TimeoutNow(TimeoutNow { term: c.term }));
        }
    }
}

/// The last moment at which a transfer is waited for.
pub(super) fn transfer_until(c: &Common, transfer: Transfer) -> Instant {
    transfer.since.after(c.settings.election_max)
}
