//! A leader: it ships its log, counts who has it, and says who is in sync.
//!
//! [`progress`] is what it knows of one follower, [`follow`] how a session begins, [`ship`] what it
//! sends, [`isr`] who is in sync and who should be, [`reads`] what reads wait for.

mod follow;
mod isr;
mod progress;
mod reads;
mod ship;
mod status;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use core::time::Duration;

use bytes::Bytes;

use super::ignored::Ignored;
use super::message::{Message, Round};
use super::promises::Promises;
use super::settings::Settings;
use super::{LogState, Reason};
use crate::cluster::{AlterPartition, Life, Map, PartitionEpoch, Refusal};
use crate::shard::Severity;
use crate::{Epoch, Instant, NodeId, Offset, PartitionId};

pub use reads::ReadWait;
pub use status::{FollowerStatus, TooFew};

use isr::InSync;
use progress::Progress;
use reads::Reads;

/// What can not be read is asked for again after this: a disk may come to itself.
const DAMAGED_RETRY: Duration = Duration::from_secs(1);

/// One effect of a leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// To be sent, in this reign's name.
    Send(NodeId, Message),
    /// A chunk of the log is to be sent: the owner reads it and calls [`Leader::ship`], or
    /// [`Leader::ship_failed`]. One at a time for each follower.
    Ship {
        /// The follower.
        to: NodeId,
        /// Its session.
        round: Round,
        /// Where the chunk begins.
        from: Offset,
        /// How long it is at most, unless its first record is longer.
        bytes: usize,
    },
    /// Everything before this offset is committed.
    Commit(Offset),
    /// Reads that wait for a beat up to this one may go.
    Confirmed(u64),
    /// To be asked of the controller, until the map has moved on or it was refused.
    Alter(AlterPartition),
    /// A message had no effect.
    Ignored(NodeId, Ignored),
    /// For people.
    Notice(Severity, String),
}

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leader {
    partition: PartitionId,
    me: Life,
    epoch: Epoch,
    /// Where the record stands that began this reign.
    start: Offset,
    /// They forbid to commit.
    promises: Promises,
    settings: Settings,
    isr: InSync,
    log: Known,
    watermark: Offset,
    reads: Reads,
    /// Every other replica.
    followers: BTreeMap<NodeId, Progress>,
    linked: BTreeSet<NodeId>,
    /// The owner has told of the log.
    begun: bool,
    now: Instant,
    out: VecDeque<Output>,
}

/// What the owner said last of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Known {
    end: Offset,
    acked: Offset,
}

impl Leader {
    /// A reign begins. `start` is the offset of the epoch's own record, which the owner has just
    /// appended. As long as `promises`, given to earlier leaders or before a restart, are to be kept,
    /// they forbid to commit. The owner tells of its links by [`on_linked`](Self::on_linked), and then of its
    /// log.
    #[expect(clippy::too_many_arguments, reason = "a reign is made of them, once")]
    pub fn new(
        now: Instant,
        partition: PartitionId,
        me: Life,
        epoch: Epoch,
        start: Offset,
        promises: Promises,
        map: &Map,
        settings: Settings,
    ) -> Self {
        settings.assert_sound();
        let mut leader = Self {
            partition,
            me,
            epoch,
            start,
            promises,
            settings,
            isr: InSync::new(me, map, partition),
            log: Known { end: start, acked: Offset(0) },
            watermark: Offset(0),
            reads: Reads::new(now),
            followers: BTreeMap::new(),
            linked: BTreeSet::new(),
            begun: false,
            now,
            out: VecDeque::new(),
        };
        leader.take_map(map);
        leader
    }

    /// The map has changed, and this node leads this reign still.
    pub fn on_map(&mut self, now: Instant, map: &Map) {
        self.begin(now);
        self.take_map(map);
        self.settle();
    }

    /// There is a link to this node. Whoever had one when the reign began may have asked before, and
    /// is told that it may; whoever gets one later asks by itself.
    pub fn on_linked(&mut self, now: Instant, node: NodeId) {
        self.begin(now);
        self.linked.insert(node);
        if self.followers.contains_key(&node) && !self.begun {
            self.out.push_back(Output::Send(node, Message::Lead));
        }
    }

    /// The link to this node is broken.
    pub fn on_unlinked(&mut self, now: Instant, node: NodeId) {
        self.begin(now);
        self.linked.remove(&node);
        if let Some(session) = self.session_mut(node) {
            session.cut_off(now);
        }
    }

    /// A message of this reign has come.
    pub fn on_message(&mut self, now: Instant, from: NodeId, message: Message, log: LogState<'_>) {
        self.begin(now);
        self.take_log(log);
        if !self.followers.contains_key(&from) {
            return self.ignore(from, Ignored::Stranger);
        }
        match message {
            Message::Follow { round, last, end } => self.on_follow(from, round, last, end, log),
            Message::Ack { round, beat, sent, end, stored } => {
                self.on_ack(from, round, (beat, sent), (end, stored));
            }
            Message::Lead
            | Message::Common { .. }
            | Message::Restart { .. }
            | Message::Append { .. } => self.ignore(from, Ignored::OtherRole),
        }
        self.settle();
    }

    /// The log's end, what is acknowledged of it, or its horizon has moved.
    pub fn on_log(&mut self, now: Instant, log: LogState<'_>) {
        self.begin(now);
        self.take_log(log);
        self.settle();
    }

    /// The controller has refused what this leader proposed. That proves nothing (see the header of
    /// [`replication`](super)); it is proposed again, if it is wanted still, after a while.
    pub fn on_alter_refused(
        &mut self,
        now: Instant,
        partition_epoch: PartitionEpoch,
        why: Refusal,
    ) {
        self.begin(now);
        if self.isr.on_refused(partition_epoch, now.after(self.settings.retry)) {
            let text = format!("{} {}: another in-sync set: {why}", self.partition, self.epoch);
            self.out.push_back(Output::Notice(Severity::Info, text));
        }
    }

    /// The [`deadline`](Self::deadline) is due.
    pub fn on_tick(&mut self, now: Instant, log: LogState<'_>) {
        self.begin(now);
        self.take_log(log);
        self.settle();
    }

    /// The next effect, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        if self.out.is_empty() {
            self.settle();
        }
        self.out.pop_front()
    }

    /// When to call [`on_tick`](Self::on_tick), and why.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        let beat = self.beat_due().map(|at| (at, Reason::Beat));
        let confirm = self.confirm_due().map(|at| (at, Reason::Confirm));
        let ship = self.ship_due().map(|at| (at, Reason::Ship));
        let until = self.promises.until();
        let promise = (self.now < until).then_some((until, Reason::Promise));
        let alter = self.isr.again().map(|at| (at, Reason::Alter));
        let lag = self.lag_due().map(|at| (at, Reason::Lag));
        [beat, confirm, ship, promise, alter, lag].into_iter().flatten().min()
    }

    /// A chunk that [`Output::Ship`] asked for is there: the message to send, or none if it is of no
    /// use any more.
    pub fn ship(
        &mut self,
        now: Instant,
        to: NodeId,
        round: Round,
        base: Offset,
        end: Offset,
        records: Bytes,
    ) -> Option<Message> {
        self.begin(now);
        self.take_chunk(to, round, base, end, records)
    }

    /// The chunk could not be read: it is asked for again after a while. Where it is `damaged` that is
    /// told, once.
    pub fn ship_failed(&mut self, now: Instant, to: NodeId, round: Round, damaged: bool) {
        self.begin(now);
        let retry = if damaged { DAMAGED_RETRY } else { self.settings.retry };
        let Some(session) = self.session_mut(to).filter(|session| session.round == round) else {
            return;
        };
        session.chunk_failed(now.after(retry));
        let from = session.next;
        if damaged && self.progress_mut(to).unreadable.replace(from) != Some(from) {
            self.notice(
                Severity::Error,
                format_args!(
                    "{to} lacks the log from offset {from} on, and here it can not be read: {to} stays \
                     out of sync until a replica that has it is back. Without one, `kvnode check` tells \
                     what is lost"
                ),
            );
        }
    }

    fn begin(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn take_log(&mut self, log: LogState<'_>) {
        log.assert_sound();
        if log.end <= self.start {
            // The reign's own record is appended, and waits to be handed to the disk.
            return;
        }
        assert!(log.end >= self.log.end && log.acked >= self.log.acked, "a leader cuts nothing");
        self.begun = true;
        self.log = Known { end: log.end, acked: log.acked };
        self.watermark = self.watermark.max(log.watermark);
        assert!(self.watermark <= self.log.end, "what is committed is in the log");
    }

    /// Does what follows from the state as it is. Doing it again does nothing.
    fn settle(&mut self) {
        self.advance_watermark();
        self.confirm();
        self.propose();
        self.say_all();
        self.ship_all();
    }

    /// Commits what every member of the maximal ISR acknowledges, if it may.
    fn advance_watermark(&mut self) {
        if self.now < self.promises.until() || self.isr.committed().len() < self.isr.min_isr() {
            return;
        }
        let mut end = self.log.acked;
        for life in self.isr.others() {
            match self.session_of(life).and_then(|session| session.acked) {
                Some(acked) => end = end.min(acked),
                None => return,
            }
        }
        if end > self.start && end > self.watermark {
            let is_first = self.watermark <= self.start;
            self.watermark = end;
            self.out.push_back(Output::Commit(end));
            if is_first {
                // Clients of the leader before wait there for what this commits.
                self.beat_all();
            }
        }
    }

    fn ignore(&mut self, from: NodeId, why: Ignored) {
        self.out.push_back(Output::Ignored(from, why));
    }
}
