//! A stop: what was taken is answered first, then the partitions finish.
//!
//! A command that waits for the disk may yet write, so that the partitions go on serving until
//! none waits. That takes as long as the disk takes for what is under way: a disk that does not
//! answer holds a stop up for [`DRAIN_MAX`], and then the commands that still wait are told that
//! they were not applied.
//!
//! Once everything is durable, UNSYNCED is taken [out of the data directory](crate::directory), if the
//! cluster knows all that this process had to tell of an earlier one: the next life begins clean.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::{BOOT_IO, FsyncMode, IO_BITS, Output, Severity, Shard, errors};
use crate::disk::{Dir, DiskOp, DiskResult, File};
use crate::{ClientId, Instant, IoId};

/// How far a stop is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stop {
    /// None is wanted.
    #[default]
    No,
    /// Nothing more is taken; commands that wait are waited for until then.
    Draining(Instant),
    /// The partitions finish.
    Finishing,
    /// UNSYNCED is deleted.
    Settling,
    /// That is made durable.
    Settled,
}

/// How long commands that wait are waited for.
const DRAIN_MAX: Duration = Duration::from_secs(10);

impl Shard {
    pub(super) fn on_stop(&mut self) {
        if self.stop == Stop::No {
            self.stop = Stop::Draining(self.now.mono.after(DRAIN_MAX));
            if self.config.fsync == FsyncMode::Always {
                self.abandon_boot();
            }
            self.advance_pauses();
        }
    }

    /// When commands that wait are no longer waited for.
    pub(super) fn drain_deadline(&self) -> Option<Instant> {
        match self.stop {
            Stop::Draining(until) => Some(until),
            Stop::No | Stop::Finishing | Stop::Settling | Stop::Settled => None,
        }
    }

    /// Gives up the commands that still wait when a stop has waited for them long enough.
    pub(super) fn give_up_draining(&mut self) {
        if self.drain_deadline().is_none_or(|until| until > self.now.mono) {
            return;
        }
        let waiting = self.clients.iter().filter(|(_, client)| client.blocked.is_some());
        let mut waiting: Vec<ClientId> = waiting.map(|(&id, _)| id).collect();
        waiting.sort_unstable();
        for id in waiting {
            self.fail_blocked(id, errors::not_serving(0, "stopping"));
        }
    }

    /// Has the partitions finish once no command waits. Returns whether it has done so just now.
    pub(super) fn finish_if_drained(&mut self) -> bool {
        let waits = || self.clients.values().any(|client| client.blocked.is_some());
        // What an earlier life acknowledged without an fsync is made durable by the partitions once
        // they are known.
        if !matches!(self.stop, Stop::Draining(_)) || waits() || !self.booted {
            return false;
        }
        self.stop = Stop::Finishing;
        self.fail_waiters();
        for at in 0..self.partitions.len() {
            self.partitions[at].replica.stop(self.now.mono, &mut *self.config.cache);
            self.touch(at);
        }
        self.end_if_stopped();
        true
    }

    /// A partition has stopped; whether everything of it is durable.
    pub(super) fn on_stopped(&mut self, at: usize, clean: bool) {
        self.partitions[at].stopped = true;
        self.partitions[at].clean = clean;
        self.end_if_stopped();
    }

    fn end_if_stopped(&mut self) {
        if self.stop != Stop::Finishing || !self.partitions.iter().all(|p| p.stopped) {
            return;
        }
        if self.may_settle() {
            self.stop = Stop::Settling;
            self.ask_directory(DiskOp::Delete(File::Unsynced));
        } else {
            self.say_stopped();
        }
    }

    fn say_stopped(&mut self) {
        self.out.extend(self.unclosed.take().map(Output::Refused));
        self.out.push_back(Output::Stopped);
    }

    /// Whether the next life may begin clean, and would not without a word.
    fn may_settle(&self) -> bool {
        let Some(view) = &self.cluster else { return false };
        if !view.unsynced && !self.partitions.iter().any(|p| p.replica.losses() > 0) {
            return false;
        }
        // Of what control was told since it showed this, the map may not know.
        view.settles && self.is_heard(view) && self.partitions.iter().all(|p| p.clean)
    }

    pub(super) fn on_settle_io(&mut self, result: DiskResult) {
        match (self.stop, result) {
            (Stop::Settling, Ok(_)) => {
                self.stop = Stop::Settled;
                self.ask_directory(DiskOp::SyncDir(Dir::Root));
                return;
            }
            (Stop::Settling | Stop::Settled, Err(error)) => {
                let text = format!(
                    "everything is durable, but that could not be noted: {error}; the next start \
                     may count as one after an unclean stop"
                );
                self.out.push_back(Output::Notice(Severity::Warn, text));
            }
            (Stop::Settled, Ok(_)) => {}
            (Stop::No | Stop::Draining(_) | Stop::Finishing, _) => return,
        }
        self.say_stopped();
    }

    fn ask_directory(&mut self, op: DiskOp) {
        self.out.push_back(Output::Disk(IoId(BOOT_IO << IO_BITS), op));
    }
}
