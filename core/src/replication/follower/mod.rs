//! A follower: it finds where its log parts from the leader's, cuts there, and stores what it is sent.
//!
//! ```text
//!            ask                beat or records that fit
//!   ┌──────┐ ───▶ ┌───────┐ ─────────────────────────────▶ ┌───────────┐
//!   │ Idle │      │ Asked │                                │ Following │
//!   └──────┘ ◀─── └───────┘ ◀─── silence, a gap ────────── └───────────┘
//!       ▲  no link    │ Common, Restart                          │ Restart
//!       │             ▼                                          │
//!       │        ┌─────────┐                                     │
//!       └─────── │ Cutting │ ◀───────────────────────────────────┘
//!     cut, durably└─────────┘
//! ```
//!
//! Invariants:
//! - It takes the leader's watermark, stores and acknowledges only in a session whose log matched.
//! - It never cuts at its own watermark.
//! - It acknowledges nothing beyond what it was sent or had when the session began.
//! - Every acknowledgement is a promise ([`Follower::promised`]).

mod cut;
mod take;

use alloc::collections::VecDeque;
use alloc::string::String;
use core::fmt;

use bytes::Bytes;

use super::ignored::Ignored;
use super::message::{Message, Round};
use super::settings::Settings;
use super::{LogState, Reason};
use crate::cluster::Life;
use crate::shard::Severity;
use crate::{Epoch, Instant, NodeId, Offset, PartitionId};

/// One effect of a follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// To be sent, in this reign's name.
    Send(NodeId, Message),
    /// To be appended: a run of records, which the owner checks. If they are not what they should be
    /// it calls [`Follower::on_refused`].
    Store {
        /// The log end before.
        base: Offset,
        /// The log end afterwards.
        end: Offset,
        /// The records as they stand in the log.
        records: Bytes,
    },
    /// Everything before this offset is committed. It is in the log, once what was to be stored is.
    Commit(Offset),
    /// The log is to be cut here, and its watermark with it, durably, and then [`Follower::on_cut`]
    /// called. At zero: all of it. Until it is done, no machine of another reign may be made.
    Cut(Offset),
    /// A message had no effect.
    Ignored(NodeId, Ignored),
    /// For people.
    Notice(Severity, String),
}

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Follower {
    partition: PartitionId,
    me: Life,
    epoch: Epoch,
    leader: NodeId,
    settings: Settings,
    /// The number of the next session.
    next_round: u32,
    state: State,
    linked: bool,
    /// The log end, once all is stored that was to be.
    end: Offset,
    /// The log end, as the owner told it last.
    log_end: Offset,
    /// What the owner was told to be committed, or knew.
    watermark: Offset,
    /// What was last acknowledged in this session, and said to be stored.
    acked: Option<(Offset, Offset)>,
    /// The last message taken in this session.
    taken: Option<Taken>,
    /// When the last acknowledgement was sent.
    answered: Instant,
    promised: Instant,
    /// How many times [`Settings::retry`] it waits for an answer. Doubles with each question that had
    /// none while the link was up: then the answer is on its way behind much else, and asking anew
    /// makes it void. What was lost on the way is noticed sooner, by the beat behind it.
    patience: u32,
    /// It asks for nothing before, whatever it hears: what it was sent last could not be stored.
    held_until: Instant,
    out: VecDeque<Output>,
}

/// What a message carried that is echoed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Taken {
    beat: u64,
    sent: Instant,
    at: Instant,
    /// The leader's watermark when it was sent, which may be beyond this log.
    watermark: Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// It is to ask then, if it has a link.
    Idle(Instant),
    /// It has asked in this round, and asks anew then.
    Asked(Round, Instant),
    /// Its log matches in this round. It asks anew then, if it hears nothing.
    Following(Round, Instant),
    /// Its log is being cut.
    Cutting(Offset),
}

/// The most that [`Follower::patience`] grows to.
const PATIENCE_MAX: u32 = 64;

impl Follower {
    /// A replica in a reign of another. `first_round` is above every round of this life of the
    /// process before. The owner tells of its link to the leader by [`on_linked`](Self::on_linked).
    pub fn new(
        now: Instant,
        partition: PartitionId,
        me: Life,
        epoch: Epoch,
        leader: NodeId,
        first_round: u32,
        settings: Settings,
    ) -> Self {
        settings.assert_sound();
        assert!(leader != me.node, "nobody follows itself");
        Self {
            partition,
            me,
            epoch,
            leader,
            settings,
            next_round: first_round,
            state: State::Idle(now),
            linked: false,
            end: Offset(0),
            log_end: Offset(0),
            watermark: Offset(0),
            acked: None,
            taken: None,
            answered: now,
            promised: Instant(0),
            patience: 1,
            held_until: Instant(0),
            out: VecDeque::new(),
        }
    }

    /// There is a link to the leader. The follower asks at its [`deadline`](Self::deadline), which is
    /// now.
    pub fn on_linked(&mut self, now: Instant) {
        self.linked = true;
        self.patience = 1;
        self.ask_at(now);
    }

    /// The link to the leader is broken: what was sent last may be lost.
    pub fn on_unlinked(&mut self, now: Instant) {
        self.linked = false;
        self.ask_at(now);
    }

    /// A message of this reign has come.
    pub fn on_message(&mut self, now: Instant, from: NodeId, message: Message, log: LogState<'_>) {
        self.look(log);
        if from != self.leader {
            return self.ignore(from, Ignored::NotLeader);
        }
        match message {
            Message::Lead => self.on_lead(now),
            Message::Common { round, epoch, end } => self.on_common(now, round, epoch, end, log),
            Message::Restart { round } => self.on_restart(now, round, log),
            Message::Append { round, beat, sent, base, end, watermark, records } => {
                let taken = Taken { beat, sent, at: now, watermark };
                self.on_append(round, taken, (base, end, records), log);
            }
            Message::Follow { .. } | Message::Ack { .. } => self.ignore(from, Ignored::OtherRole),
        }
        self.ask(now, log);
    }

    /// What this replica acknowledges has moved.
    pub fn on_log(&mut self, now: Instant, log: LogState<'_>) {
        self.look(log);
        self.acknowledge(now, log, false);
        self.ask(now, log);
    }

    /// The [`deadline`](Self::deadline) is due.
    pub fn on_tick(&mut self, now: Instant, log: LogState<'_>) {
        self.look(log);
        if let State::Asked(_, until) | State::Following(_, until) = self.state
            && now >= until
        {
            self.patience = (self.patience * 2).min(PATIENCE_MAX);
            self.ask_at(now);
        }
        self.ask(now, log);
    }

    /// The next effect, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to call [`on_tick`](Self::on_tick), and why.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        let at = match self.state {
            // It asks when the log has it, or is followed anew if it never will.
            State::Idle(_) if self.log_end < self.end => return None,
            State::Idle(at) => at.max(self.held_until),
            State::Asked(_, until) | State::Following(_, until) => until,
            State::Cutting(_) => return None,
        };
        self.linked.then_some((at, Reason::Follow))
    }

    /// The reign that it follows.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Who leads it.
    pub fn leader(&self) -> NodeId {
        self.leader
    }

    /// Everything before this offset is committed, as far as the leader has said.
    pub fn watermark(&self) -> Offset {
        self.watermark
    }

    /// Until when this replica must not commit as a leader: the promise of its acknowledgements.
    pub fn promised(&self) -> Instant {
        self.promised
    }

    /// The first round of the next follower in this life of the process.
    pub fn next_round(&self) -> u32 {
        self.next_round
    }

    /// Whether its log matches the leader's and grows with it.
    pub fn is_following(&self) -> bool {
        matches!(self.state, State::Following(..))
    }

    /// The leader's watermark, as it said last in a session whose log matches; none if that is
    /// longer ago than a follower in sync may lag. What this replica has committed is a state that
    /// the partition was in once it has come so far: a piece of a compacted log lacks what was
    /// overwritten before this offset.
    pub fn told(&self, now: Instant) -> Option<Offset> {
        let taken = self.taken.filter(|_| self.is_following())?;
        let is_recent = now.since(taken.at) < self.settings.replica_lag_max;
        is_recent.then_some(taken.watermark)
    }

    /// The session is over: another one begins then, unless the log is being cut, which ends in one.
    fn ask_at(&mut self, at: Instant) {
        match self.state {
            State::Cutting(_) => {}
            State::Idle(_) | State::Asked(..) | State::Following(..) => {
                self.state = State::Idle(at);
                self.acked = None;
                self.taken = None;
            }
        }
    }

    /// Asks, if it is time and the log has all that was to be stored.
    fn ask(&mut self, now: Instant, log: LogState<'_>) {
        let State::Idle(at) = self.state else { return };
        if !self.linked || now < at.max(self.held_until) || log.end < self.end {
            return;
        }
        self.end = log.end;
        let round = Round { incarnation: self.me.incarnation, number: self.next_round };
        self.next_round = round.number.checked_add(1).expect("a life has fewer sessions");
        self.state = State::Asked(round, self.until(now));
        let last = log.epochs.last().map_or(Epoch(0), |(epoch, _)| epoch);
        self.send(Message::Follow { round, last, end: log.end });
    }

    /// When it has waited long enough.
    fn until(&self, now: Instant) -> Instant {
        now.after(self.settings.retry * self.patience)
    }

    fn look(&mut self, log: LogState<'_>) {
        log.assert_sound();
        if self.is_following() {
            assert!(log.end <= self.end, "a follower's log grows by what it is sent");
        }
        self.log_end = log.end;
        self.watermark = self.watermark.max(log.watermark);
    }

    fn on_lead(&mut self, now: Instant) {
        self.linked = true;
        self.patience = 1;
        self.ask_at(now);
    }

    fn send(&mut self, message: Message) {
        self.out.push_back(Output::Send(self.leader, message));
    }

    fn ignore(&mut self, from: NodeId, why: Ignored) {
        self.out.push_back(Output::Ignored(from, why));
    }

    fn notice(&mut self, severity: Severity, what: fmt::Arguments<'_>) {
        let text = alloc::format!("{} {}: {what}", self.partition, self.epoch);
        self.out.push_back(Output::Notice(severity, text));
    }
}
