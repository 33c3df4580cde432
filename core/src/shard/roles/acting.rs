//! What the machines of a role want done, and what becomes of it.

use super::{Role, log_state};
use crate::marks::Mark;
use crate::node::{Parcel, ToControl};
use crate::peer::Channel;
use crate::replication::{Envelope, Message, Round, follower, leader};
use crate::shard::{Output, Severity, Shard};
use crate::storage::replica::{BadRecords, Chunk, LogFault, ReadToken};
use crate::{Instant, NodeId, Offset};
use alloc::format;
use core::time::Duration;

/// How long a follower that could not store what it was sent asks for nothing: longer each time, until
/// something is stored. Each question costs its leader all that may be on its way to one follower.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::shard) struct Hold {
    times: u32,
    until: Instant,
}

/// How many times it is doubled, at most.
const HOLD_DOUBLINGS_MAX: u32 = 6;

impl Hold {
    /// It could not be stored again. Returns until when it lasts.
    pub(super) fn prolong(&mut self, now: Instant, retry: Duration) -> Instant {
        self.until = now.after(retry * (1 << self.times.min(HOLD_DOUBLINGS_MAX)));
        self.times = self.times.saturating_add(1);
        self.until
    }

    /// Until when it lasts.
    pub(super) fn until(self) -> Instant {
        self.until
    }
}

impl Shard {
    /// Tells the role what has become of the log, and does what it wants.
    pub(in crate::shard) fn advance_role(&mut self, at: usize) {
        if matches!(self.partitions[at].role, Role::Alone | Role::Idle) {
            return;
        }
        self.resign_if_taken_back(at);
        let now = self.now.mono;
        let partition = &mut self.partitions[at];
        let seen = partition.seen();
        if core::mem::replace(&mut partition.told, seen) != seen {
            let log = log_state(&partition.replica, seen);
            match &mut partition.role {
                Role::Leader(leader) => leader.on_log(now, log),
                Role::Follower(follower) => {
                    follower.on_log(now, log);
                    // It may have known that before the replica could acknowledge it.
                    let watermark = follower.watermark();
                    if watermark > partition.replica.high_watermark() {
                        self.commit(at, watermark);
                    }
                }
                Role::Alone | Role::Idle => {}
            }
        }
        // Each turn takes an output; what it brings about is bounded by what the machine was told.
        loop {
            match &mut self.partitions[at].role {
                Role::Leader(leader) => match leader.poll() {
                    Some(output) => self.on_leader(at, output),
                    None => {
                        let retain = leader.retain();
                        self.partitions[at].replica.set_retain(retain);
                        return;
                    }
                },
                Role::Follower(follower) => match follower.poll() {
                    Some(output) => self.on_follower(at, output),
                    None => return,
                },
                Role::Alone | Role::Idle => return,
            }
        }
    }

    fn on_leader(&mut self, at: usize, output: leader::Output) {
        match output {
            leader::Output::Send(to, message) => self.send_data(at, to, message),
            leader::Output::Ship { to, round, from, bytes } => {
                match self.partitions[at].replica.recent(from, bytes) {
                    Some(chunk) => self.ship(at, to, round, Ok(chunk)),
                    None => {
                        let token = ReadToken(self.next_read);
                        self.next_read += 1;
                        self.shipping.insert(token, (to, round));
                        self.partitions[at].replica.read_log(token, from, bytes);
                        self.marks.hit(Mark::CaughtUpFromDisk);
                        self.touch(at);
                    }
                }
            }
            leader::Output::Commit(watermark) => self.commit(at, watermark),
            leader::Output::Confirmed(beat) => self.on_confirmed(at, beat),
            leader::Output::Alter(alter) => {
                self.out.push_back(Output::Control(ToControl::Alter(alter)));
            }
            leader::Output::Ignored(..) => {}
            leader::Output::Notice(severity, text) => {
                self.out.push_back(Output::Notice(severity, text));
            }
        }
    }

    fn on_follower(&mut self, at: usize, output: follower::Output) {
        let partition = &mut self.partitions[at];
        match output {
            follower::Output::Send(to, message) => self.send_data(at, to, message),
            follower::Output::Store { base, end, records } => {
                let taken = partition.replica.append_copied(base, end, records);
                if let Err(why) = taken {
                    self.on_records_refused(at, why);
                }
                self.touch(at);
            }
            follower::Output::Commit(watermark) => self.commit(at, watermark),
            // It has gone down, and ceases to follow once that word is taken: it opens uncut.
            follower::Output::Cut(_) if !partition.can_act() => {}
            follower::Output::Cut(from) => {
                self.marks.hit(Mark::LogCut);
                self.cut_log(at, from);
            }
            follower::Output::Ignored(..) => {}
            follower::Output::Notice(severity, text) => {
                self.out.push_back(Output::Notice(severity, text));
            }
        }
    }

    /// What the leader has sent is not stored. Why is said once, until something is.
    fn on_records_refused(&mut self, at: usize, why: BadRecords) {
        let (now, retry) = (self.now.mono, self.config.replication.retry);
        let partition = &mut self.partitions[at];
        let Role::Follower(follower) = &partition.role else { return };
        let leader = follower.leader();
        if why == BadRecords::Forked {
            let text = format!("{}: {why}: it begins again with what {leader} has", partition.id);
            self.out.push_back(Output::Notice(Severity::Warn, text));
            partition.forked = true;
            self.step_down(at);
            return self.settle_role(at);
        }
        let is_first = partition.hold.times == 0;
        let until = partition.hold.prolong(now, retry);
        let severity = match why {
            BadRecords::Refused(_) | BadRecords::NoRoom => Severity::Warn,
            BadRecords::Base(_)
            | BadRecords::Damaged(_)
            | BadRecords::Partition(_)
            | BadRecords::Offset(_)
            | BadRecords::Epoch(_)
            | BadRecords::Forked
            | BadRecords::Clock(_)
            | BadRecords::Shape(_) => Severity::Error,
        };
        if is_first || severity == Severity::Error {
            let text = format!("{}: records from {leader} are not stored: {why}", partition.id);
            self.out.push_back(Output::Notice(severity, text));
        }
        self.with_follower(at, |follower, _, log| follower.on_refused(until, log));
    }

    fn commit(&mut self, at: usize, watermark: Offset) {
        self.partitions[at].replica.commit_to(watermark, &mut *self.config.cache);
        self.touch(at);
    }

    fn send_data(&mut self, at: usize, to: NodeId, message: Message) {
        let partition = &self.partitions[at];
        let epoch = match &partition.role {
            Role::Leader(leader) => leader.epoch(),
            Role::Follower(follower) => follower.epoch(),
            Role::Alone | Role::Idle => return,
        };
        let body = Envelope { partition: partition.id, epoch, message }.encode();
        let parcel = Parcel { node: to, channel: Channel::Data, body };
        self.out.push_back(Output::Control(ToControl::Parcel(parcel)));
    }

    fn ship(&mut self, at: usize, to: NodeId, round: Round, chunk: Result<Chunk, LogFault>) {
        let now = self.now.mono;
        let Role::Leader(leader) = &mut self.partitions[at].role else { return };
        match chunk {
            Ok(Chunk { base, end, records }) => {
                if let Some(message) = leader.ship(now, to, round, base, end, records) {
                    self.send_data(at, to, message);
                }
            }
            Err(fault) => {
                let damaged = matches!(fault, LogFault::Damaged | LogFault::Disk(_));
                leader.ship_failed(now, to, round, damaged);
            }
        }
    }

    /// A part of the log that a follower lacks has been read.
    pub(in crate::shard) fn on_log_read(
        &mut self,
        at: usize,
        token: ReadToken,
        read: Result<Chunk, LogFault>,
    ) {
        if let Some((to, round)) = self.shipping.remove(&token) {
            self.ship(at, to, round, read);
            self.advance_role(at);
        }
    }

    fn on_confirmed(&mut self, at: usize, beat: u64) {
        let due = |confirm: &mut crate::shard::waiters::Confirm| confirm.beat <= beat;
        while let Some(confirm) = self.partitions[at].confirms.pop_front_if(due) {
            self.settle_read(confirm.client, confirm.number);
        }
    }
}
