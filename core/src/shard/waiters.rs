//! What replies wait for: the commit of what they depend on, and the proof that a leader still led when
//! it was read; and what clients are told if that does not come.

use alloc::vec::Vec;
use core::time::Duration;

use super::forward::message::Wrote;
use super::roles::Role;
use super::{Shard, errors};
use crate::marks::Mark;
use crate::reply::Reply;
use crate::storage::replica::Dropped;
use crate::{ClientId, Epoch, Instant, Offset};

/// What became of the parts of a command, each in a partition of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts {
    count: u32,
    /// Some changes are committed.
    applied: bool,
    /// The last part that was lost; one of an unknown outcome rather than another.
    lost: Option<(usize, Loss)>,
    /// What was read in this partition may be old.
    unproven: Option<(usize, Unproven)>,
}

/// Why changes are not known to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// The log has lost them, or may have.
    Dropped(Dropped),
    /// They are logged and were not committed in time.
    Late,
}

/// Why what was read may be old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unproven {
    /// The partition has another leader.
    Moved,
    /// That this node leads it still was not confirmed in time.
    Late,
    /// What was seen was not committed in time.
    Behind,
    /// What was seen is lost, or may be.
    Undone(Dropped),
}

/// What waits for a partition's high watermark to reach an offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) offset: Offset,
    pub(super) since: Instant,
    pub(super) client: ClientId,
    pub(super) what: Waits,
}

/// How long a reply waits in a cluster for its commit, or for the proof that its node leads still.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(5);

/// A read that waits until its leader is known to have been one when it was evaluated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confirm {
    pub(super) beat: u64,
    pub(super) since: Instant,
    pub(super) client: ClientId,
    /// The client's reply of this number.
    pub(super) number: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Waits {
    /// The client's reply of this number, to a command that logged changes there, in this reign, or
    /// did not.
    Reply { number: u64, wrote: Option<Epoch> },
    /// The client's blocked command.
    Command,
}

/// What became of a part of a command.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// What it waited for is committed, and whether that includes changes of its own.
    Committed { wrote: bool },
    /// What was logged in this partition is lost, or may be.
    Lost(usize, Loss),
    /// What was read in this partition is not confirmed.
    Unproven(usize, Unproven),
}

impl Parts {
    /// Of a command that is in so many.
    pub(super) fn of(count: usize) -> Self {
        Self { count: count as u32, ..Self::default() }
    }

    fn take(&mut self, part: Part) {
        match (part, self.lost) {
            (Part::Committed { wrote }, _) => self.applied |= wrote,
            (Part::Unproven(at, why), _) => self.unproven = Some((at, why)),
            (Part::Lost(..), Some((_, Loss::Dropped(Dropped::Unknown) | Loss::Late))) => {}
            (Part::Lost(at, why), _) => self.lost = Some((at, why)),
        }
    }
}

impl Shard {
    /// The high watermark of the partition has moved: lets go what waited for it.
    pub(super) fn on_committed(&mut self, at: usize) {
        let reached = self.partitions[at].replica.high_watermark();
        let due = |w: &mut Waiter| w.offset <= reached;
        let mut writes = 0;
        // Each turn takes a waiter; those it brings about wait for later offsets.
        while let Some(waiter) = self.partitions[at].waiters.pop_front_if(due) {
            match waiter.what {
                Waits::Reply { number, wrote } => {
                    writes += u32::from(wrote.is_some());
                    self.note_wrote(at, &waiter);
                    self.settle(waiter.client, number, Part::Committed { wrote: wrote.is_some() });
                }
                Waits::Command => self.on_commit_for_command(waiter.client),
            }
        }
        self.marks.hit_if(writes > 1, Mark::GroupCommit);
        self.relieve();
    }

    /// What was logged from `from` on is lost: its waiters are told.
    pub(super) fn on_dropped(&mut self, at: usize, from: Offset, what: Dropped) {
        if what == Dropped::Unknown {
            // The partition stops, and may come back with less than was seen.
            let homes = &self.homes;
            self.watched.on_lost(|key| homes.at(key) == Some(at));
        }
        let lost = |w: &mut Waiter| w.offset > from;
        let mut waiters = Vec::new();
        while let Some(waiter) = self.partitions[at].waiters.pop_back_if(lost) {
            waiters.push(waiter);
        }
        for waiter in waiters.into_iter().rev() {
            match waiter.what {
                Waits::Reply { number, wrote: Some(_) } => {
                    if what == Dropped::Unknown {
                        self.note_wrote(at, &waiter);
                    }
                    self.settle(waiter.client, number, Part::Lost(at, Loss::Dropped(what)));
                }
                Waits::Reply { number, wrote: None } => {
                    let part = Part::Unproven(at, Unproven::Undone(what));
                    self.settle(waiter.client, number, part);
                }
                Waits::Command => {
                    self.fail_blocked(waiter.client, self.undone(at, what, false));
                }
            }
        }
        self.relieve();
    }

    /// Replies that have waited too long are given up: of a write it is not known whether it will be
    /// committed.
    pub(super) fn give_up_waiters(&mut self, at: usize) {
        let now = self.now.mono;
        let late = |since: Instant| now.since(since) >= WAIT_MAX;
        while let Some(confirm) = self.partitions[at].confirms.pop_front_if(|c| late(c.since)) {
            let part = Part::Unproven(at, Unproven::Late);
            self.settle(confirm.client, confirm.number, part);
        }
        while let Some(waiter) = self.partitions[at].waiters.pop_front_if(|w| late(w.since)) {
            match waiter.what {
                Waits::Reply { number, wrote: Some(_) } => {
                    self.note_wrote(at, &waiter);
                    let partition = &mut self.partitions[at];
                    partition.stuck_at = Some(partition.replica.high_watermark());
                    self.settle(waiter.client, number, Part::Lost(at, Loss::Late));
                }
                Waits::Reply { number, wrote: None } => {
                    self.settle(waiter.client, number, Part::Unproven(at, Unproven::Behind));
                }
                Waits::Command => {
                    let lacking = self.lacking(self.partitions[at].id);
                    self.fail_blocked(waiter.client, errors::behind(&lacking, false));
                }
            }
        }
        self.relieve();
    }

    /// What a client is told whose command depends on what was dropped. In a cluster another node leads
    /// then.
    fn undone(&self, at: usize, what: Dropped, applied: bool) -> Reply {
        let id = self.partitions[at].id.0 as usize;
        match self.config.member {
            true => errors::moved(id, applied),
            false => errors::undone(id, what, applied),
        }
    }

    /// What a client is told in place of the reply, if not all parts of its command went well.
    fn failure(&self, parts: Parts) -> Option<Reply> {
        let lacking = |at: usize| self.lacking(self.partitions[at].id);
        Some(match (parts.lost, parts.unproven) {
            (None, None) => return None,
            (None, Some((at, Unproven::Moved))) => errors::moved(at, parts.applied),
            (None, Some((at, Unproven::Late))) => errors::unconfirmed(&lacking(at), parts.applied),
            (None, Some((at, Unproven::Behind))) => errors::behind(&lacking(at), parts.applied),
            (None, Some((at, Unproven::Undone(what)))) => self.undone(at, what, parts.applied),
            (Some((at, Loss::Late)), _) => errors::uncommitted(&lacking(at), parts.count > 1),
            (Some((at, Loss::Dropped(what))), _) => {
                if parts.applied && what != Dropped::Unknown {
                    errors::applied_in_part(at, what)
                } else {
                    errors::dropped(at, what, parts.count > 1)
                }
            }
        })
    }

    /// What the waiter's client wrote is committed, or may be.
    fn note_wrote(&mut self, at: usize, waiter: &Waiter) {
        if let Waits::Reply { wrote: Some(epoch), .. } = waiter.what
            && let Some(client) = self.clients.get_mut(&waiter.client)
        {
            let wrote = Wrote { epoch, end: Some(waiter.offset) };
            client.note_wrote(self.partitions[at].id, wrote);
        }
    }

    /// One of the commits that a reply waited for has come, or has become impossible.
    fn settle(&mut self, id: ClientId, number: u64, part: Part) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let slot = client.slot(number);
        slot.waits -= 1;
        slot.parts.take(part);
        if slot.waits == 0
            && let Some(watch) = &mut slot.watch
        {
            watch.on_committed(self.now.mono);
        }
        let (done, parts) = (slot.waits == 0, slot.parts);
        if done && let Some(error) = self.failure(parts) {
            if let Reply::Error(text) = &error {
                self.server.stats.error(text);
            }
            let client = self.clients.get_mut(&id).expect("it is there");
            client.slot(number).reply = error;
        }
        self.let_go(id);
    }

    /// A read was of a leader that was one.
    pub(super) fn settle_read(&mut self, id: ClientId, number: u64) {
        self.settle(id, number, Part::Committed { wrote: false });
    }

    /// The partition at `at` has moved before the read was confirmed.
    pub(super) fn settle_moved(&mut self, id: ClientId, number: u64, at: usize) {
        self.settle(id, number, Part::Unproven(at, Unproven::Moved));
    }
}

impl super::Partition {
    /// Whether a write was given up, and nothing has been committed since: another one would only be
    /// logged to wait behind it, and could fill the memory that all partitions share.
    pub(super) fn is_stuck(&self) -> bool {
        let committed = self.replica.high_watermark();
        self.stuck_at == Some(committed) && committed < self.replica.log_end()
    }

    /// Whether it has to be waited for until it has room for more writes. Where none are taken, as by a
    /// follower, there is nothing to wait for, and others can be served.
    pub(super) fn presses(&self) -> bool {
        let takes = match &self.role {
            Role::Alone | Role::Leader(_) => true,
            Role::Idle | Role::Follower(_) => false,
        };
        takes && !self.replica.has_room() && !self.is_stuck()
    }

    /// Adds a waiter. Waiters stand in the order of their offsets, so a late one for an early
    /// offset waits a little longer than it need.
    pub(super) fn wait(&mut self, waiter: Waiter) {
        let last = self.waiters.back().map_or(Offset(0), |w| w.offset);
        self.waiters.push_back(Waiter { offset: waiter.offset.max(last), ..waiter });
    }
}
