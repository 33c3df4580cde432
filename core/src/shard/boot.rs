//! What the data directory is: a new one, one of ours, or none of our business.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{BOOT_IO, IO_BITS, Output, Severity, Shard};
use crate::IoId;
use crate::disk::{Dir, DiskDone, DiskOp, DiskResult, File};
use crate::limits::PARTITIONS_MAX;
use crate::storage::format::Meta;

/// How far the directory is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Boot {
    #[default]
    List,
    Read,
    /// META is made: so many answers to come before it is named.
    Write(u32),
    Name,
    /// META's name is made durable, before anything beside it is made: so many partitions follow.
    SyncName(u32),
    /// META is known; the partitions open.
    Done,
    /// META is written anew, to say that every partition has been made: so many answers to come.
    Complete(u32),
}

impl Shard {
    pub(super) fn start_boot(&mut self) {
        self.boot_io(DiskOp::List(Dir::Root));
    }

    fn boot_io(&mut self, op: DiskOp) {
        self.out.push_back(Output::Disk(IoId(BOOT_IO << IO_BITS), op));
    }

    /// Nothing has been opened yet, and nothing is to be.
    pub(super) fn abandon_boot(&mut self) {
        self.boot = Boot::Done;
    }

    /// The partitions are known, or it is known that there is no getting at them.
    pub(super) fn booted(&self) -> bool {
        matches!(self.boot, Boot::Done | Boot::Complete(_))
    }

    pub(super) fn on_boot_io(&mut self, result: DiskResult) {
        let next = match (self.boot, result) {
            (Boot::Complete(_), Err(error)) => {
                let text =
                    format!("META could not be completed: {error}; the next start tries again");
                self.out.push_back(Output::Notice(Severity::Warn, text));
                Ok(Boot::Done)
            }
            // What is still under way when it has been refused tells nothing more.
            (Boot::Done, _) => return,
            (_, Err(error)) => Err(format!("the data directory can not be used: {error}")),
            (Boot::Complete(3), Ok(_)) => {
                self.boot_io(DiskOp::Rename { from: File::MetaTmp, to: File::Meta });
                Ok(Boot::Complete(2))
            }
            (Boot::Complete(2), Ok(_)) => {
                self.boot_io(DiskOp::SyncDir(Dir::Root));
                Ok(Boot::Complete(1))
            }
            (Boot::Complete(1), Ok(_)) => Ok(Boot::Done),
            (Boot::Complete(left), Ok(_)) => Ok(Boot::Complete(left - 1)),
            (Boot::List, Ok(DiskDone::Listing(files))) => self.on_root(&files),
            (Boot::Read, Ok(DiskDone::Data(data))) => self.on_meta(&data),
            (Boot::Write(1), Ok(_)) => {
                self.boot_io(DiskOp::Rename { from: File::MetaTmp, to: File::Meta });
                Ok(Boot::Name)
            }
            (Boot::Write(left), Ok(_)) => Ok(Boot::Write(left - 1)),
            (Boot::Name, Ok(_)) => {
                // Only now is there something for the directory to hold on to.
                Ok(self.sync_name(self.config.partitions.unwrap_or(1)))
            }
            (Boot::SyncName(partitions), Ok(_)) => {
                self.open_partitions(partitions);
                Ok(Boot::Done)
            }
            (Boot::List | Boot::Read, Ok(_)) => unreachable!("the driver answers in kind"),
        };
        match next {
            Ok(boot) => self.boot = boot,
            Err(text) => {
                self.boot = Boot::Done;
                self.out.push_back(Output::Refused(text));
            }
        }
    }

    fn on_root(&mut self, files: &[(String, u64)]) -> Result<Boot, String> {
        if files.iter().any(|(name, _)| name == "META") {
            self.boot_io(DiskOp::Read { file: File::Meta, at: 0, len: 4096 });
            return Ok(Boot::Read);
        }
        // The last is the file system's own, where the directory is a mount point.
        let ours = ["LOCK", "META.tmp", "lost+found/"];
        let foreign: Vec<&str> =
            files.iter().map(|(name, _)| name.as_str()).filter(|n| !ours.contains(n)).collect();
        if let Some(name) = foreign.first() {
            return Err(format!(
                "the data directory holds {name:?} but no META: it is not a kvnode's, or META was \
                 lost; choose an empty directory, or put META back"
            ));
        }
        let partitions = self.config.partitions.unwrap_or(1);
        if partitions == 0 || partitions > PARTITIONS_MAX {
            return Err(format!("the number of partitions must be 1 to {PARTITIONS_MAX}"));
        }
        let low = u128::from(self.draw());
        self.directory_id = u128::from(self.draw()) << 64 | low;
        self.write_meta(partitions, false);
        Ok(Boot::Write(3))
    }

    /// Three operations; the rename is to follow.
    fn write_meta(&mut self, partitions: u32, complete: bool) {
        let meta = Meta { directory_id: self.directory_id, partitions, complete };
        let (file, data) = (File::MetaTmp, Bytes::from(meta.encode()));
        self.boot_io(DiskOp::Create(file));
        self.boot_io(DiskOp::Write { file, at: 0, data });
        self.boot_io(DiskOp::Sync(file));
    }

    /// Every partition is open: from now on none is made anew.
    pub(super) fn complete_meta(&mut self) {
        if !core::mem::replace(&mut self.complete, true) {
            self.write_meta(self.partitions.len() as u32, true);
            self.boot = Boot::Complete(5);
        }
    }

    fn on_meta(&mut self, data: &[u8]) -> Result<Boot, String> {
        let meta = Meta::decode(data).map_err(|error| {
            format!("META of the data directory can not be read: {error}; nothing was changed")
        })?;
        let wanted = self.config.partitions.unwrap_or(meta.partitions);
        if wanted != meta.partitions {
            return Err(format!(
                "the data directory was made with {} partitions and can not be opened with \
                 {wanted}: the number is fixed when a directory is made; leave --partitions out",
                meta.partitions
            ));
        }
        self.directory_id = meta.directory_id;
        self.complete = meta.complete;
        // An earlier process may have died before it was durable.
        Ok(self.sync_name(meta.partitions))
    }

    fn sync_name(&mut self, partitions: u32) -> Boot {
        self.boot_io(DiskOp::SyncDir(Dir::Root));
        Boot::SyncName(partitions)
    }

    /// A random number (SplitMix64).
    pub(super) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
