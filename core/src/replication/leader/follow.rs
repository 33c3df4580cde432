//! How a session begins: whether the follower's log ends as the leader's does, and what it is told
//! if it does not.

use super::super::LogState;
use super::super::ignored::Ignored;
use super::super::message::{Message, Round};
use super::progress::Session;
use super::{Leader, Output};
use crate::cluster::Life;
use crate::shard::Severity;
use crate::{Epoch, NodeId, Offset};

/// How a follower's log stands to the leader's.
enum Ends {
    /// It is a part of it.
    Match,
    /// They may agree up to the end of this epoch.
    Common(Epoch, Offset),
    /// Where they agree is not known.
    Unknown,
    /// It can not be.
    Wrong(Ignored),
}

impl Leader {
    pub(super) fn on_follow(
        &mut self,
        from: NodeId,
        round: Round,
        last: Epoch,
        end: Offset,
        log: LogState<'_>,
    ) {
        // Whoever follows in this reign reads in none before.
        self.promises.release(from);
        if (last == Epoch(0)) != (end == Offset(0)) {
            return self.ignore(from, Ignored::Absurd);
        }
        if self.isr.registered(from).is_some_and(|known| round.incarnation < known) {
            return self.ignore(from, Ignored::EndedLife);
        }
        let known = self.progress_mut(from).round;
        if known.is_some_and(|known| round <= known) {
            return self.ignore(from, Ignored::OldRound);
        }
        // From here on nothing is known of its log but what it says now, for it may have restarted, and
        // which tombstones it had, if it has not.
        let progress = self.progress_mut(from);
        progress.round = Some(round);
        let before = progress.session.take();
        let before = before.filter(|before| before.goes_on(self.now, round, end));
        match self.compare(last, end, log) {
            // Tombstones that it has not seen are gone: it would keep what they deleted.
            Ends::Match if lacks_tombstones(end, log) && before.is_none() => {
                self.restart(from, round);
            }
            Ends::Match => {
                let known = before.map_or((end, end), |before| (before.held(), before.passed()));
                self.begin_session(from, round, end, known);
            }
            Ends::Common(epoch, end) => {
                let message = Message::Common { round, epoch, end };
                self.out.push_back(Output::Send(from, message));
            }
            Ends::Unknown => self.restart(from, round),
            Ends::Wrong(why) => self.ignore(from, why),
        }
    }

    fn compare(&self, last: Epoch, end: Offset, log: LogState<'_>) -> Ends {
        if last > self.epoch {
            return Ends::Wrong(Ignored::LaterReign);
        }
        if end == Offset(0) {
            return Ends::Match;
        }
        let Some((common, common_end)) = log.epochs.at_most(last, log.end) else {
            // Nothing is before the first epoch of a history that reaches back to the first record:
            // then the two logs have nothing in common.
            let is_whole = log.epochs.list().first().is_some_and(|&(_, at)| at == Offset(0));
            return if is_whole { Ends::Common(Epoch(0), Offset(0)) } else { Ends::Unknown };
        };
        if common < last || end > common_end {
            if last == self.epoch {
                return Ends::Wrong(Ignored::Contradiction);
            }
            return Ends::Common(common, common_end);
        }
        let start = log.epochs.list().iter().find(|&&(epoch, _)| epoch == last);
        if start.is_none_or(|&(_, start)| start >= end) {
            return Ends::Wrong(Ignored::Contradiction);
        }
        Ends::Match
    }

    /// Up to `had` it has its log for good, and up to `passed` it has come for now.
    fn begin_session(
        &mut self,
        from: NodeId,
        round: Round,
        end: Offset,
        (had, passed): (Offset, Offset),
    ) {
        let is_within = had <= passed && passed <= end && end <= self.log.end;
        assert!(is_within, "a log that matches is not longer");
        let progress = self.progress_mut(from);
        progress.unfit = false;
        progress.session = Some(Session::new(round, end, (had, passed)));
        self.beat(from);
    }

    /// Lets the follower begin again from zero, unless it may be in sync: then it leaves first, for
    /// it is electable, and what it holds may be all that is left.
    pub(super) fn restart(&mut self, from: NodeId, round: Round) {
        let may_be_in_sync = self.isr.others().any(|life| life.node == from);
        let progress = self.progress_mut(from);
        progress.session = None;
        progress.unfit = may_be_in_sync;
        if may_be_in_sync {
            let life = Life { node: from, incarnation: round.incarnation };
            let what = "is in sync and its log can not be compared: it is to leave the in-sync set";
            self.notice(Severity::Error, format_args!("{life} {what}"));
            self.ignore(from, Ignored::InSyncStill);
        } else {
            self.out.push_back(Output::Send(from, Message::Restart { round }));
        }
    }
}

/// A log without records has nothing that they could delete.
fn lacks_tombstones(end: Offset, log: LogState<'_>) -> bool {
    end > Offset(0) && end < log.tombstone_horizon
}
