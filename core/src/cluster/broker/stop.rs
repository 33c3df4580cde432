//! A controlled stop: the node says that it wants to, and goes once it leads nothing, or has waited
//! long enough.

use alloc::string::String;

use super::{Broker, Output, State};
use crate::shard::Severity;
use crate::{Instant, Now};

/// How far a stop has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Stop {
    /// Nobody wants one.
    #[default]
    No,
    /// The leaderships are being moved away; not waited for beyond this.
    Wanted(Instant),
    /// The node may stop.
    Granted,
}

impl Stop {
    pub(super) fn is_wanted(self) -> bool {
        match self {
            Self::No => false,
            Self::Wanted(_) | Self::Granted => true,
        }
    }

    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Self::Wanted(until) => Some(until),
            Self::No | Self::Granted => None,
        }
    }
}

impl Broker {
    pub(super) fn on_stop(&mut self, now: Now) {
        if self.stop == Stop::No {
            self.stop = Stop::Wanted(now.mono.after(self.settings.stop_timeout));
            self.heartbeat_due = now.mono;
        }
    }

    pub(super) fn may_stop(&mut self) {
        match self.stop {
            Stop::Wanted(_) => {
                self.stop = Stop::Granted;
                self.outputs.push_back(Output::MayStop);
            }
            Stop::No | Stop::Granted => {}
        }
    }

    /// Who is fenced or not even registered leads nothing.
    pub(super) fn stop_if_fenced(&mut self) {
        match self.state {
            State::Unregistered | State::Fenced(_) => self.may_stop(),
            State::Active(_) => {}
        }
    }

    pub(super) fn stop_if_due(&mut self, now: Now) {
        if self.stop.due().is_some_and(|until| until <= now.mono) {
            let text = String::from("stopping while this node may still lead: nobody took over");
            self.notice(Severity::Warn, text);
            self.may_stop();
        }
    }
}
