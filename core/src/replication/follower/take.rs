//! What a follower takes of its leader's log, and what it acknowledges.

use bytes::Bytes;

use super::super::LogState;
use super::super::ignored::Ignored;
use super::super::message::{Message, Round};
use super::{Follower, Output, State, Taken};
use crate::{Instant, Offset};

impl Follower {
    pub(super) fn on_append(
        &mut self,
        round: Round,
        taken: Taken,
        (base, end, records): (Offset, Offset, Bytes),
        log: LogState<'_>,
    ) {
        match self.state {
            State::Asked(present, _) | State::Following(present, _) if present == round => {}
            State::Cutting(_) => return self.ignore(self.leader, Ignored::Cutting),
            State::Idle(_) | State::Asked(..) | State::Following(..) => {
                return self.ignore(self.leader, Ignored::OldRound);
            }
        }
        let is_beat = records.is_empty();
        if base > end || is_beat != (base == end) {
            return self.ignore(self.leader, Ignored::Absurd);
        }
        let is_late = |last: Taken| taken.beat < last.beat || taken.sent < last.sent;
        if self.taken.is_some_and(is_late) || base < self.end {
            return self.ignore(self.leader, Ignored::Overtaken);
        }
        if base > self.end {
            self.ignore(self.leader, Ignored::Gap);
            return self.ask_at(taken.at);
        }
        self.patience = 1;
        let has_news = self.taken.is_none_or(|last| taken.beat > last.beat);
        self.state = State::Following(round, self.until(taken.at));
        self.taken = Some(taken);
        if !is_beat {
            self.end = end;
            self.out.push_back(Output::Store { base, end, records });
        }
        let watermark = taken.watermark.min(self.end);
        if watermark > self.watermark {
            self.watermark = watermark;
            self.out.push_back(Output::Commit(watermark));
        }
        let is_long_ago = taken.at >= self.answered.after(self.settings.beat_every);
        self.acknowledge(taken.at, log, is_beat || has_news || is_long_ago);
    }

    /// Acknowledges what has become so, or in any case if `at_once`.
    pub(super) fn acknowledge(&mut self, now: Instant, log: LogState<'_>, at_once: bool) {
        let (State::Following(round, _), Some(taken)) = (self.state, self.taken) else { return };
        let (end, stored) = (log.acked.min(self.end), log.stored.min(self.end));
        if !at_once && self.acked == Some((end, stored)) {
            return;
        }
        let before = self.acked.replace((end, stored));
        assert!(before.is_none_or(|(acked, _)| acked <= end), "what was acknowledged is so still");
        self.answered = now;
        self.promised = self.promised.max(taken.at.after(self.settings.lease_kept()));
        self.send(Message::Ack { round, beat: taken.beat, sent: taken.sent, end, stored });
    }
}
