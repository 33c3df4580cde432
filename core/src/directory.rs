//! What the data directory is: a new one, one of ours, or none of our business.
//!
//! META says it, and is replaced as a whole: written aside, fsynced, renamed, its name fsynced. It
//! tells which directory this is (drawn when it is made), how many partitions it was made with or
//! which node of which cluster it belongs to. Nothing else in the directory is read or made before
//! META is durable.
//!
//! A node of a cluster that does not fsync all that it acknowledges (`--fsync` other than `always`) has
//! UNSYNCED there while it runs: durably before it takes part in anything, and until a stop has made
//! everything durable. In every mode a log that is lost begins anew only once UNSYNCED is there. Who finds
//! it at a start may lack what an earlier process had acknowledged, whatever its own mode is, and says
//! so to the cluster.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::disk::{Dir, DiskDone, DiskError, DiskOp, DiskResult, File};
use crate::limits::PARTITIONS_MAX;
use crate::storage::format::{Meta, Seat};
use crate::{DirectoryId, NodeId};

/// What the directory is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// By a node that stands alone. An existing directory must agree with the number of partitions;
    /// a new one gets one if none is given.
    Alone(Option<u32>),
    /// By a node of a cluster.
    Node {
        /// The node.
        node: NodeId,
        /// It will acknowledge what is not fsynced.
        relaxed: bool,
    },
}

/// How an operation on the directory has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The directory is known, and META is durable.
    Known,
    /// The change of META is durable.
    Changed,
    /// META could not be changed.
    Unchanged(DiskError),
    /// The directory can not be used: why, and what to do.
    Refused(String),
}

/// See the module's header.
#[derive(Debug)]
pub struct Directory {
    wanted: Wanted,
    stage: Stage,
    /// What META says or will say.
    meta: Meta,
    known: bool,
    /// UNSYNCED was there.
    unsynced: bool,
    ops: VecDeque<DiskOp>,
    /// Operations without an answer.
    under_way: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    List,
    Read,
    /// META is written aside: so many answers to come.
    Write(u32),
    Rename,
    /// UNSYNCED is made.
    Mark,
    SyncName,
    /// Nothing is under way.
    Idle,
}

impl Directory {
    /// A directory about to be looked at; a new one gets this id.
    pub fn new(wanted: Wanted, id: DirectoryId) -> Self {
        let (partitions, seat) = match wanted {
            Wanted::Alone(partitions) => (partitions.unwrap_or(1), None),
            Wanted::Node { node, .. } => (0, Some(Seat { node: node.0, cluster: None })),
        };
        let meta = Meta { directory_id: id.0, partitions, complete: false, seat };
        let ops = VecDeque::from([DiskOp::List(Dir::Root)]);
        let (known, unsynced) = (false, false);
        Self { wanted, stage: Stage::List, meta, known, unsynced, ops, under_way: 0 }
    }

    /// The next operation for the disk.
    pub fn poll(&mut self) -> Option<DiskOp> {
        let op = self.ops.pop_front()?;
        self.under_way += 1;
        Some(op)
    }

    /// Takes the answer to an operation.
    pub fn on_disk(&mut self, result: DiskResult) -> Option<Event> {
        let known = self.known;
        self.under_way -= 1;
        let next = match (self.stage, result) {
            // What is still under way when the directory was refused tells nothing more.
            (Stage::Idle, _) => return None,
            (_, Err(error)) if known => {
                self.abandon();
                return Some(Event::Unchanged(error));
            }
            (_, Err(error)) => Err(format!("the data directory can not be used: {error}")),
            (Stage::List, Ok(DiskDone::Listing(files))) => self.on_root(&files),
            (Stage::Read, Ok(DiskDone::Data(data))) => self.on_meta(&data),
            (Stage::Write(1), Ok(_)) => {
                self.ops.push_back(DiskOp::Rename { from: File::MetaTmp, to: File::Meta });
                Ok(Stage::Rename)
            }
            (Stage::Write(left), Ok(_)) => Ok(Stage::Write(left - 1)),
            (Stage::Rename, Ok(_)) if known => Ok(self.sync_name()),
            (Stage::Rename, Ok(_)) => Ok(self.mark()),
            (Stage::Mark, Ok(_)) => Ok(self.sync_name()),
            (Stage::SyncName, Ok(_)) => {
                self.stage = Stage::Idle;
                self.known = true;
                return Some(if known { Event::Changed } else { Event::Known });
            }
            (Stage::List | Stage::Read, Ok(_)) => unreachable!("the driver answers in kind"),
        };
        match next {
            Ok(stage) => {
                self.stage = stage;
                None
            }
            Err(text) => {
                self.stage = Stage::Idle;
                Some(Event::Refused(text))
            }
        }
    }

    /// What META says, once the directory is known (and every change asked for since).
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Whether an earlier process may have acknowledged what is not there, once the directory is known.
    pub fn was_unsynced(&self) -> bool {
        self.unsynced
    }

    /// Whether UNSYNCED was there or was made, when the directory became known.
    pub fn is_marked(&self) -> bool {
        self.unsynced || matches!(self.wanted, Wanted::Node { relaxed: true, .. })
    }

    /// Whether nothing is under way: also no answer is to come that would be taken for one to the
    /// next change.
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Idle && self.under_way == 0
    }

    /// Changes META. Only while the directory is known and [idle](Self::is_idle).
    pub fn change(&mut self, change: impl FnOnce(&mut Meta)) {
        assert!(self.known && self.is_idle(), "one change at a time");
        change(&mut self.meta);
        self.stage = self.write();
    }

    /// Nothing has been asked of the directory that matters any more.
    pub fn abandon(&mut self) {
        self.stage = Stage::Idle;
        self.ops.clear();
    }

    fn on_root(&mut self, files: &[(String, u64)]) -> Result<Stage, String> {
        self.unsynced = files.iter().any(|(name, _)| name == "UNSYNCED");
        if files.iter().any(|(name, _)| name == "META") {
            self.ops.push_back(DiskOp::Read { file: File::Meta, at: 0, len: 4096 });
            return Ok(Stage::Read);
        }
        // The last is the file system's own, where the directory is a mount point.
        let ours = ["LOCK", "META.tmp", "UNSYNCED", "lost+found/"];
        let foreign: Vec<&str> =
            files.iter().map(|(name, _)| name.as_str()).filter(|n| !ours.contains(n)).collect();
        if let Some(name) = foreign.first() {
            return Err(format!(
                "the data directory holds {name:?} but no META: it is not a kvnode's, or META was \
                 lost; choose an empty directory, or put META back"
            ));
        }
        if let Wanted::Alone(Some(partitions)) = self.wanted
            && !(1..=PARTITIONS_MAX).contains(&partitions)
        {
            return Err(format!("the number of partitions must be 1 to {PARTITIONS_MAX}"));
        }
        Ok(self.write())
    }

    fn write(&mut self) -> Stage {
        let (file, data) = (File::MetaTmp, Bytes::from(self.meta.encode()));
        self.ops.push_back(DiskOp::Create(file));
        self.ops.push_back(DiskOp::Write { file, at: 0, data });
        self.ops.push_back(DiskOp::Sync(file));
        Stage::Write(3)
    }

    fn on_meta(&mut self, data: &[u8]) -> Result<Stage, String> {
        let meta = Meta::decode(data).map_err(|error| {
            format!("META of the data directory can not be read: {error}; nothing was changed")
        })?;
        match (self.wanted, meta.seat) {
            (Wanted::Alone(Some(wanted)), None) if wanted != meta.partitions => {
                return Err(format!(
                    "the data directory was made with {} partitions and can not be opened with \
                     {wanted}: the number is fixed when a directory is made; leave --partitions out",
                    meta.partitions
                ));
            }
            (Wanted::Alone(_), Some(seat)) => {
                return Err(format!(
                    "the data directory belongs to node {} of a cluster: start it with --id {} and \
                     --cluster, or choose another directory",
                    seat.node, seat.node
                ));
            }
            (Wanted::Node { node, .. }, None) => {
                return Err(format!(
                    "the data directory is that of a node that stands alone, and can not become \
                     node {} of a cluster: start it without --id and --cluster, or choose an empty \
                     directory",
                    node.0
                ));
            }
            (Wanted::Node { node, .. }, Some(seat)) if seat.node != node.0 => {
                return Err(format!(
                    "the data directory belongs to node {} and was started with --id {}: start it \
                     with --id {}, or choose another directory",
                    seat.node, node.0, seat.node
                ));
            }
            (Wanted::Alone(_), None) | (Wanted::Node { .. }, Some(_)) => {}
        }
        self.meta = meta;
        // An earlier process may have died before it was durable.
        Ok(self.mark())
    }

    fn mark(&mut self) -> Stage {
        if self.unsynced || !self.is_marked() {
            return self.sync_name();
        }
        self.ops.push_back(DiskOp::Create(File::Unsynced));
        Stage::Mark
    }

    fn sync_name(&mut self) -> Stage {
        self.ops.push_back(DiskOp::SyncDir(Dir::Root));
        Stage::SyncName
    }
}
