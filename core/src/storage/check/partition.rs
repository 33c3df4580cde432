//! What is known of a partition while its segments are walked over: its index, its epoch and clock,
//! what it has lost.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Checker, PartitionLoss, Problem, Severity, Standing};
use crate::disk::File;
use crate::shard::IndexKind;
use crate::storage::format::{Manifest, ManifestSegment, Sealed};
use crate::storage::keydir::{Entry, Keydir, SEGMENT_ID_MAX};
use crate::storage::record::Kind;
use crate::storage::scan::Scanned;
use crate::{Epoch, Millis, Offset, PartitionId, SegmentId, Value};

/// The partition being looked at.
#[derive(Debug)]
pub(super) struct PartitionCheck {
    pub(super) id: PartitionId,
    /// Where it stands in the list of partitions.
    pub(super) index: usize,
    pub(super) manifest: Manifest,
    /// The segment being looked at.
    pub(super) at: usize,
    /// Everything before this offset was durable.
    pub(super) mark: Offset,
    pub(super) epoch: Epoch,
    pub(super) clock: Millis,
    pub(super) keydir: Keydir,
    /// Keys of each segment that its hint leaves out although their newest record is there. The
    /// keydir holds them with a place of no length.
    pub(super) lacking: BTreeMap<SegmentId, u64>,
    /// Findings of lost ranges that a later flush makes good.
    pub(super) lost: Vec<usize>,
    pub(super) loss: PartitionLoss,
}

impl PartitionCheck {
    pub(super) fn new(id: PartitionId, index: usize, manifest: Manifest, mark: Offset) -> Self {
        Self {
            id,
            index,
            at: 0,
            mark,
            epoch: Epoch(0),
            clock: 0,
            keydir: Keydir::new(IndexKind::Hash, 0),
            lacking: BTreeMap::new(),
            lost: Vec::new(),
            loss: PartitionLoss::default(),
            manifest,
        }
    }

    pub(super) fn spec(&self) -> ManifestSegment {
        self.manifest.segments[self.at].clone()
    }

    /// Whether the record is, or reaches, behind a cut that is under way.
    pub(super) fn cuts(&self, record: &Scanned) -> bool {
        self.manifest.cut.is_some_and(|cut| record.next.0 > cut)
    }

    fn forget(&mut self, old: Option<Entry>) {
        let lacking = old.filter(|old| old.place.length == 0);
        if let Some(keys) = lacking.and_then(|old| self.lacking.get_mut(&old.place.segment)) {
            *keys -= 1;
        }
    }

    /// Takes what a whole batch says.
    pub(super) fn apply(&mut self, batch: Vec<(Kind, Value, Entry)>, checker: &mut Checker) {
        for (kind, key, entry) in batch {
            match kind {
                // An index that is full, or an id that it can not hold, makes the count of keys
                // too low and nothing else.
                Kind::Put if entry.place.segment <= SEGMENT_ID_MAX => {
                    if entry.place.length == 0 {
                        *self.lacking.entry(entry.place.segment).or_default() += 1;
                    }
                    let old = self.keydir.insert(&key, entry).unwrap_or_default();
                    self.forget(old);
                }
                Kind::Delete => {
                    let old = self.keydir.remove(&key);
                    self.forget(old);
                }
                Kind::Flush => {
                    self.keydir.clear();
                    self.lacking.clear();
                    self.loss = PartitionLoss::default();
                    for at in core::mem::take(&mut self.lost) {
                        let finding = &mut checker.report.findings[at];
                        finding.severity = Severity::Note;
                        if let Problem::Lost(loss) | Problem::SegmentMissing(Some(loss)) =
                            &mut finding.problem
                        {
                            loss.standing = Standing::Flushed;
                        }
                    }
                }
                Kind::Put | Kind::Epoch | Kind::Clock | Kind::Gap => {}
            }
        }
    }

    /// Keys that have a value and have not expired by the log's clock.
    fn live_keys(&self) -> u64 {
        let clock = self.clock.max(self.manifest.clock);
        let mut expired = 0;
        if self.keydir.expiring() > 0 {
            self.keydir.for_each(b"", &mut |_, entry| {
                expired += u64::from(entry.expire_at.is_some_and(|at| at <= clock));
            });
        }
        self.keydir.len() as u64 - expired
    }

    /// What a lost range that ends at `to` means.
    pub(super) fn standing(&self, to: Offset, sealed: Option<&Sealed>, hinted: bool) -> Standing {
        let known = sealed.is_none_or(|sealed| sealed.damaged);
        if known && to.0 <= self.manifest.loss_accepted {
            Standing::Accepted
        } else if hinted {
            Standing::Hinted
        } else {
            Standing::Open
        }
    }
}

impl Checker {
    /// All its segments were walked over.
    pub(super) fn finish_partition(&mut self, partition: &PartitionCheck) {
        self.report.keys += partition.live_keys();
        for spec in &partition.manifest.segments {
            let segment = SegmentId(spec.id);
            let keys = partition.lacking.get(&segment).copied().unwrap_or(0);
            if keys > 0 {
                let hint = File::Hint(partition.id, Offset(spec.base), segment);
                self.find(hint, Problem::HintLacks { keys }, Severity::Damage);
            }
        }
        if partition.loss != PartitionLoss::default() {
            self.report.losses.insert(partition.id, partition.loss.clone());
        }
    }
}
