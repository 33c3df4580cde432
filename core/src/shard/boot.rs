//! From the data directory to its partitions.

use alloc::format;

use super::{BOOT_IO, IO_BITS, Output, Severity, Shard};
use crate::IoId;
use crate::directory::Event;
use crate::disk::DiskResult;

impl Shard {
    pub(super) fn on_boot_io(&mut self, result: DiskResult) {
        if self.config.member {
            return self.on_settle_io(result);
        }
        match self.directory.on_disk(result) {
            Some(Event::Known) => {
                self.booted = true;
                self.open_partitions(self.directory.meta().partitions);
            }
            Some(Event::Refused(text)) => {
                self.booted = true;
                self.out.push_back(Output::Refused(text));
            }
            Some(Event::Unchanged(error)) => {
                let text =
                    format!("META could not be completed: {error}; the next start tries again");
                self.out.push_back(Output::Notice(Severity::Warn, text));
            }
            Some(Event::Changed) | None => {}
        }
        self.advance_boot();
    }

    pub(super) fn advance_boot(&mut self) {
        while let Some(op) = self.directory.poll() {
            self.out.push_back(Output::Disk(IoId(BOOT_IO << IO_BITS), op));
        }
    }

    /// Nothing has been opened yet, and nothing is to be.
    pub(super) fn abandon_boot(&mut self) {
        if !core::mem::replace(&mut self.booted, true) {
            self.directory.abandon();
        }
    }

    /// Every partition is open: from now on none is made anew.
    pub(super) fn complete_meta(&mut self) {
        if !self.directory.meta().complete && self.directory.is_idle() {
            self.directory.change(|meta| meta.complete = true);
            self.advance_boot();
        }
    }
}
