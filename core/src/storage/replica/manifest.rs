//! Keeps the manifest on disk up with the table of segments in memory.
//!
//! A change of the table raises the wanted version; one writing at a time brings the disk to the
//! newest. Whoever needs the disk to know of a change waits for [`ManifestState::durable`].

use alloc::format;

use bytes::Bytes;

use super::fault::Failed;
use super::stop::Stopping;
use super::{Purpose, RETRY_AFTER, Replica, State, done};
use crate::Instant;
use crate::disk::{Dir, DiskError, DiskOp, DiskResult, File};
use crate::shard::Severity;
use crate::storage::format::Manifest;

/// How far the manifest on disk is behind.
#[derive(Debug, Default)]
pub(super) struct ManifestState {
    /// The version that memory holds.
    wanted: u64,
    /// The version that is durable.
    durable: u64,
    /// The writing under way.
    writing: Option<Writing>,
    attempts: u64,
    /// After a full disk: when to try again.
    retry_at: Option<Instant>,
}

/// One writing of the manifest.
#[derive(Clone, Copy, Debug)]
struct Writing {
    /// Tells its answers from those of an attempt that failed.
    attempt: u64,
    version: u64,
    step: ManifestOp,
}

/// The step of a writing that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ManifestOp {
    /// Creating and writing MANIFEST.tmp; only a failure is of interest.
    Write,
    /// Making it durable.
    Sync,
    /// Renaming it to MANIFEST.
    Rename,
    /// Making the rename durable.
    SyncDir,
}

impl ManifestState {
    /// Whether the disk knows of the change that [`Replica::change_manifest`] named so.
    pub(super) fn durable(&self, version: u64) -> bool {
        self.durable >= version
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }
}

impl Replica {
    /// The table of segments (or another content of the manifest) has changed. Returns the version
    /// to wait for.
    pub(super) fn change_manifest(&mut self) -> u64 {
        self.manifest.wanted += 1;
        self.manifest.wanted
    }

    pub(super) fn advance_manifest(&mut self, now: Instant) {
        match self.state {
            State::Down { .. } | State::Ended => return,
            State::Opening(_) | State::Serving | State::Stopping(_) => {}
        }
        let idle = self.manifest.writing.is_none();
        let allowed = self.manifest.retry_at.is_none_or(|at| now >= at);
        if !idle || !allowed || self.manifest.durable == self.manifest.wanted {
            return;
        }
        self.manifest.retry_at = None;
        self.manifest.attempts += 1;
        let (attempt, version) = (self.manifest.attempts, self.manifest.wanted);
        self.manifest.writing = Some(Writing { attempt, version, step: ManifestOp::Sync });
        let tmp = File::ManifestTmp(self.id);
        let data = Bytes::from(self.manifest_now().encode());
        self.submit(Purpose::Manifest(attempt, ManifestOp::Write), DiskOp::Create(tmp));
        let write = DiskOp::Write { file: tmp, at: 0, data };
        self.submit(Purpose::Manifest(attempt, ManifestOp::Write), write);
        self.submit(Purpose::Manifest(attempt, ManifestOp::Sync), DiskOp::Sync(tmp));
    }

    fn manifest_now(&self) -> Manifest {
        // Not a moment sooner: until then the log may yet end short of its end in memory.
        let clean = matches!(self.state, State::Stopping(Stopping::Manifest(_)));
        Manifest {
            partition: self.id.0,
            next_segment: self.next_segment.0,
            clock: self.committed_clock,
            epoch: self.epoch.0,
            tombstone_horizon: self.tombstone_horizon.0,
            clean_end: clean.then_some(self.durable_whole.0),
            loss_accepted: self.loss_accepted.0,
            cut: self.cut.map(|cut| cut.0),
            cut_floor: self.floors.cut().0,
            owed: self.floors.owed().to_vec(),
            epochs: self.epochs.list().to_vec(),
            segments: self.segments.to_manifest(),
        }
    }

    pub(super) fn on_manifest_io(
        &mut self,
        now: Instant,
        attempt: u64,
        op: ManifestOp,
        result: DiskResult,
    ) {
        // After a failed step the rest of that attempt is of no interest.
        let Some(writing) = self.manifest.writing.filter(|w| w.attempt == attempt) else { return };
        if let Err(error) = done(result) {
            self.manifest.writing = None;
            self.fail_manifest(now, error);
            return;
        }
        let step = match op {
            ManifestOp::Write => return,
            ManifestOp::Sync => {
                let (from, to) = (File::ManifestTmp(self.id), File::Manifest(self.id));
                let rename = DiskOp::Rename { from, to };
                self.submit(Purpose::Manifest(attempt, ManifestOp::Rename), rename);
                ManifestOp::Rename
            }
            ManifestOp::Rename => {
                let sync = DiskOp::SyncDir(Dir::Partition(self.id));
                self.submit(Purpose::Manifest(attempt, ManifestOp::SyncDir), sync);
                ManifestOp::SyncDir
            }
            ManifestOp::SyncDir => {
                self.manifest.durable = writing.version;
                self.manifest.writing = None;
                return;
            }
        };
        assert!(writing.step == op);
        self.manifest.writing = Some(Writing { step, ..writing });
    }

    fn fail_manifest(&mut self, now: Instant, error: DiskError) {
        match error {
            DiskError::Full => {
                self.manifest.retry_at = Some(now.after(RETRY_AFTER));
                let text = format!("{}: the disk is full: the manifest waits", self.id);
                self.notice(Severity::Warn, text);
                if self.roll.is_some() {
                    // The writes that wait for the new segment need not wait for the space.
                    self.clear_full(now);
                }
            }
            DiskError::Io(_) | DiskError::NotFound => {
                self.stop_on_fault(now, Failed::Manifest, error);
            }
        }
    }
}
