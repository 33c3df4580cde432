//! Where the follower's log parts from the leader's (KIP-101, KIP-279).

use super::super::LogState;
use super::super::ignored::Ignored;
use super::super::message::Round;
use super::{Follower, Output, State};
use crate::shard::Severity;
use crate::{Epoch, Instant, Offset};

impl Follower {
    /// The largest epoch not above this log's last that the leader knows ends there. What this log
    /// has of later epochs is not in the leader's, nor what it has of that epoch behind that end.
    pub(super) fn on_common(
        &mut self,
        now: Instant,
        round: Round,
        epoch: Epoch,
        end: Offset,
        log: LogState<'_>,
    ) {
        match self.state {
            State::Asked(asked, _) if asked == round => {}
            State::Cutting(_) => return self.ignore(self.leader, Ignored::Cutting),
            State::Idle(_) | State::Asked(..) | State::Following(..) => {
                return self.ignore(self.leader, Ignored::OldRound);
            }
        }
        let at = match log.epochs.at_most(epoch, log.end) {
            Some((own, own_end)) if own == epoch => own_end.min(end),
            Some((_, own_end)) => own_end,
            None => Offset(0),
        };
        if at >= log.end {
            return self.ignore(self.leader, Ignored::Absurd);
        }
        if at < self.watermark {
            let watermark = self.watermark;
            self.notice(
                Severity::Error,
                format_args!(
                    "the log is cut at {at}, below {watermark} where it was committed: the leader was \
                     elected without being in sync"
                ),
            );
        }
        self.cut(now, at);
    }

    /// The leader can not tell what this log lacks.
    pub(super) fn on_restart(&mut self, now: Instant, round: Round, log: LogState<'_>) {
        match self.state {
            State::Asked(present, _) | State::Following(present, _) if present == round => {}
            State::Cutting(_) => return self.ignore(self.leader, Ignored::Cutting),
            State::Idle(_) | State::Asked(..) | State::Following(..) => {
                return self.ignore(self.leader, Ignored::OldRound);
            }
        }
        if log.end == Offset(0) && self.end == Offset(0) {
            return self.ignore(self.leader, Ignored::Absurd);
        }
        self.notice(Severity::Warn, format_args!("the replica begins again from zero"));
        self.cut(now, Offset(0));
    }

    fn cut(&mut self, now: Instant, at: Offset) {
        self.ask_at(now);
        self.state = State::Cutting(at);
        self.end = at;
        self.watermark = self.watermark.min(at);
        self.out.push_back(Output::Cut(at));
    }

    /// The cut that [`Output::Cut`] asked for is done and durable.
    ///
    /// # Panics
    /// If none was asked for, or the log is longer than it was to be.
    pub fn on_cut(&mut self, now: Instant, log: LogState<'_>) {
        let State::Cutting(at) = self.state else { panic!("a cut was asked for") };
        assert!(log.end <= at, "the log is cut where it was to be");
        assert!(log.watermark <= at, "what was cut is not committed");
        self.end = log.end;
        self.watermark = log.watermark;
        self.state = State::Idle(now);
        self.ask(now, log);
    }

    /// What was to be stored is refused, and neither it nor what came behind it is in the log. Asks
    /// anew then.
    pub fn on_refused(&mut self, until: Instant, log: LogState<'_>) {
        self.hold_until(until);
        self.ask_at(until);
        self.end = log.end;
    }

    /// Asks for nothing before.
    pub fn hold_until(&mut self, until: Instant) {
        self.held_until = until;
    }
}
