//! Accepting losses: what an operator decides when no copy of the lost records is left.
//!
//! In the MANIFEST of each partition with lost ranges, `loss_accepted` is raised to their end and
//! the sealed segments that hold them are marked as damaged, so that their hints are no longer used
//! and a later damage elsewhere is still told. The node then serves what is left: a key whose only
//! records were lost is not found, and one with an older record has that one's value again.
//!
//! The log of the controller quorum is left out: a member that has lost a part of it may have
//! forgotten a vote, and no operator can accept that for the others.
//!
//! The new manifest is written aside, made durable and renamed, one partition after the other: a
//! crash leaves each as it was or as accepted.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{CheckReport, PartitionLoss, data_of, whole};
use crate::disk::{DiskDone, DiskError, DiskOp, DiskResult, File};
use crate::storage::format::{FormatError, Manifest};
use crate::{Offset, PartitionId, SegmentId};

/// A machine as [`Checker`](super::Checker) is: [`poll`](Self::poll) and
/// [`on_disk`](Self::on_disk) in turn, then [`finish`](Self::finish).
#[derive(Debug)]
pub struct AcceptLoss {
    todo: VecDeque<(PartitionId, PartitionLoss)>,
    /// What is left to do for the first of `todo`.
    ops: VecDeque<DiskOp>,
    accepted: Vec<(PartitionId, Offset)>,
    failed: Option<AcceptError>,
    waits: bool,
}

/// Why a loss could not be accepted. Partitions before this one have been accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The disk refused.
    #[error("the manifest of {0} could not be replaced: {1}")]
    Disk(PartitionId, DiskError),
    /// The manifest is not what it was during the check.
    #[error("the manifest of {0} can not be read: {1}")]
    Manifest(PartitionId, FormatError),
}

/// Longest manifest that is read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

impl AcceptLoss {
    /// Accepts the lost ranges that the report tells of; `None` if there are none.
    pub fn new(report: &CheckReport) -> Option<Self> {
        let losses = report.losses.iter().filter(|&(&id, _)| id != PartitionId::CONTROL);
        let todo: VecDeque<_> = losses.map(|(&id, loss)| (id, loss.clone())).collect();
        let mut accept =
            Self { todo, ops: VecDeque::new(), accepted: Vec::new(), failed: None, waits: false };
        accept.start();
        (!accept.todo.is_empty()).then_some(accept)
    }

    /// The next operation; `None` at the end (or while an answer is awaited).
    pub fn poll(&mut self) -> Option<DiskOp> {
        if self.waits || self.failed.is_some() {
            return None;
        }
        let op = self.ops.pop_front();
        self.waits = op.is_some();
        op
    }

    /// Takes the answer to the operation that [`poll`](Self::poll) gave last.
    pub fn on_disk(&mut self, result: DiskResult) {
        assert!(core::mem::take(&mut self.waits), "an operation is answered after it was polled");
        let Some((id, loss)) = self.todo.front().cloned() else {
            unreachable!("operations are for the first partition to do")
        };
        match result {
            Err(error) => self.failed = Some(AcceptError::Disk(id, error)),
            Ok(DiskDone::Done) => {}
            Ok(done) => match data_of(Ok(done)) {
                Ok(data) => self.replace(id, &loss, &data),
                Err(error) => self.failed = Some(AcceptError::Disk(id, error)),
            },
        }
        if self.ops.is_empty() && self.failed.is_none() {
            self.accepted.push((id, loss.end));
            self.todo.pop_front();
            self.start();
        }
    }

    /// The partitions and up to where their losses are accepted now; `None` while it is under way.
    pub fn finish(self) -> Option<Result<Vec<(PartitionId, Offset)>, AcceptError>> {
        match self.failed {
            Some(error) => Some(Err(error)),
            None => self.todo.is_empty().then_some(Ok(self.accepted)),
        }
    }

    fn start(&mut self) {
        if let Some(&(id, _)) = self.todo.front() {
            self.ops.push_back(whole(File::Manifest(id), MANIFEST_BYTES_MAX));
        }
    }

    fn replace(&mut self, id: PartitionId, loss: &PartitionLoss, data: &[u8]) {
        let mut manifest = match Manifest::decode(data, id) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.failed = Some(AcceptError::Manifest(id, error));
                return;
            }
        };
        manifest.loss_accepted = manifest.loss_accepted.max(loss.end.0);
        for segment in &mut manifest.segments {
            if let Some(sealed) = &mut segment.sealed {
                sealed.damaged |= loss.segments.contains(&SegmentId(segment.id));
            }
        }
        let (from, to) = (File::ManifestTmp(id), File::Manifest(id));
        self.ops.extend([
            DiskOp::Create(from),
            DiskOp::Write { file: from, at: 0, data: Bytes::from(manifest.encode()) },
            DiskOp::Sync(from),
            DiskOp::Rename { from, to },
            DiskOp::SyncDir(to.dir()),
        ]);
    }
}
