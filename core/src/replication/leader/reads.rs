//! What a read waits for: that nobody else can have committed anything when it came.
//!
//! Reads are asked for together: the *beat* counts how often. Every message carries it, so a beat
//! that is echoed was sent after all the reads that wait for it had come. While one is under way the
//! next reads gather for the one behind it.
//!
//! Invariants:
//! - No read is evaluated before the reign's own record is committed: until then the leader may not
//!   know all that was committed before it.
//! - A beat is confirmed by all others of the maximal ISR, each in its present session and in the life
//!   that has the seat.

use super::{Leader, Output};
use crate::{Instant, NodeId};

/// What a read that was evaluated just now has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadWait {
    /// Nothing.
    Now,
    /// Until [`Leader::confirmed`] has come to this beat.
    Beat(u64),
}

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reads {
    /// The beat that messages carry.
    beat: u64,
    /// When it began.
    began: Instant,
    /// Up to this one all have echoed.
    confirmed: u64,
    /// Reads wait for the one behind [`Reads::beat`].
    asked: bool,
}

impl Reads {
    pub(super) fn new(now: Instant) -> Self {
        Self { beat: 0, began: now, confirmed: 0, asked: false }
    }
}

impl Leader {
    /// What a read that was evaluated just now has to wait for. Asks for it, if there is something.
    ///
    /// # Panics
    /// If this leader does not [serve](Self::serves): what it knows to be committed is not all yet.
    pub fn read(&mut self, now: Instant) -> ReadWait {
        self.begin(now);
        assert!(self.serves(), "a read is evaluated against all that was committed");
        let is_alone = self.isr.others().next().is_none();
        if is_alone || self.has_lease() {
            return ReadWait::Now;
        }
        self.reads.asked = true;
        ReadWait::Beat(self.reads.beat + 1)
    }

    /// Reads that wait for a beat up to this one may go.
    pub fn confirmed(&self) -> u64 {
        self.reads.confirmed
    }

    /// Whether the reign's own record is committed, and so all that earlier reigns committed.
    pub fn serves(&self) -> bool {
        self.watermark > self.start
    }

    fn has_lease(&self) -> bool {
        match self.settings.reads {
            super::super::ReadMode::Confirm => false,
            super::super::ReadMode::Lease => self.isr.others().all(|life| {
                let promised = self.session_of(life).and_then(|session| session.promised);
                promised.is_some_and(|at| self.now < at.after(self.settings.lease_counted()))
            }),
        }
    }

    /// Notes what all have echoed, and begins the beat that reads wait for when none is under way.
    pub(super) fn confirm(&mut self) {
        self.note_confirmed();
        let is_idle = self.reads.confirmed == self.reads.beat;
        if self.reads.asked && (is_idle || self.now >= self.confirm_again()) {
            self.reads.asked = false;
            self.reads.beat += 1;
            self.reads.began = self.now;
            self.note_confirmed();
        }
    }

    fn note_confirmed(&mut self) {
        if self.reads.confirmed == self.reads.beat {
            return;
        }
        let heard = |life| self.session_of(life).and_then(|session| session.beat_heard);
        let all = self.isr.others().map(|life| heard(life).unwrap_or(0)).min();
        let beat = all.unwrap_or(self.reads.beat);
        if beat > self.reads.confirmed {
            self.reads.confirmed = beat;
            self.out.push_back(Output::Confirmed(beat));
        }
    }

    /// When not to wait any longer for the beat under way: who has to echo it may have changed.
    fn confirm_again(&self) -> Instant {
        self.reads.began.after(self.settings.beat_every)
    }

    pub(super) fn confirm_due(&self) -> Option<Instant> {
        self.reads.asked.then(|| self.confirm_again())
    }

    pub(super) fn present_beat(&self) -> u64 {
        self.reads.beat
    }

    /// Whether reads wait for this follower to echo the present beat, which it was not sent yet.
    pub(super) fn owes_beat(&self, node: NodeId) -> bool {
        let present = self.reads.beat;
        let others = self.isr.others().filter(|life| life.node == node);
        let mut sessions = others.filter_map(|life| self.session_of(life));
        self.reads.confirmed < present && sessions.any(|session| session.beat_said < present)
    }
}
