//! What a check has found, as data. The words for it are the presenter's.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::disk::DiskError;
use crate::{Epoch, Millis, Offset, PartitionId, SegmentId};

/// Most findings that a report holds. More are counted, not kept.
pub const FINDINGS_MAX: usize = 1_000;
/// Most bytes of a key that a finding holds.
pub const KEY_SHOWN_BYTES_MAX: usize = 64;

/// The whole result of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Partitions of the directory.
    pub partitions: u64,
    /// Segments read.
    pub segments: u64,
    /// Records whose head and value match their checksums.
    pub records: u64,
    /// Keys that have a value and have not expired by the log's clock.
    pub keys: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is not as it should be, in the order of the files; at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Findings left out.
    pub left_out: u64,
    /// Whether data is damaged, by a finding that may be among those left out.
    pub damaged: bool,
    /// What an operator may accept as lost, by partition; see [`AcceptLoss`](super::AcceptLoss).
    pub losses: BTreeMap<PartitionId, PartitionLoss>,
}

/// The lost ranges of one partition that were not accepted yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionLoss {
    /// Where the last of them ends.
    pub end: Offset,
    /// The segments that hold them.
    pub segments: BTreeSet<SegmentId>,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file or directory, below the data directory.
    pub file: String,
    /// Where in it, in bytes.
    pub position: u64,
    /// The log offset there, where one is known.
    pub offset: Option<Offset>,
    /// What it is.
    pub problem: Problem,
    /// How bad it is.
    pub severity: Severity,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost that was not accepted as lost: the next start puts it right.
    Note,
    /// Data is damaged, or is not served.
    Damage,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The disk gave an error. What the file holds from here on was not checked.
    Unreadable(DiskError),
    /// The file has another format version. What it holds was not checked.
    Version(u32),
    /// META is missing.
    MetaMissing,
    /// META fails its checksum.
    MetaDamaged,
    /// A partition's directory is missing.
    PartitionMissing,
    /// There is a directory of a partition that META does not know.
    PartitionUnknown,
    /// MANIFEST is missing. Whether there are records that it should have named.
    ManifestMissing {
        /// Some log file holds more than a header.
        beside_log: bool,
    },
    /// MANIFEST fails its checksum, or says what no manifest says.
    ManifestDamaged,
    /// MARK is missing.
    MarkMissing,
    /// A slot of MARK fails its checksum; the other may stand.
    MarkSlot,
    /// MARK holds bytes outside its slots.
    MarkExcess,
    /// A segment's header is damaged.
    Header {
        /// It is the active segment and nothing in it is known to be durable: the next start makes
        /// it anew, whatever it holds.
        made_anew: bool,
    },
    /// A segment that the manifest names is missing. What is lost with it, if that is known to have
    /// been durable.
    SegmentMissing(Option<Loss>),
    /// Bytes that are no records stand where records were durable, or the segment ends too early.
    Lost(Loss),
    /// A record's value fails its checksum.
    Value {
        /// Its key, or the first [`KEY_SHOWN_BYTES_MAX`] bytes of it.
        key: Vec<u8>,
    },
    /// A record's epoch is below that of the one before.
    EpochFell {
        /// The one before.
        before: Epoch,
        /// The record's.
        found: Epoch,
    },
    /// A record's clock is below that of the one before.
    ClockFell {
        /// The one before.
        before: Millis,
        /// The record's.
        found: Millis,
    },
    /// A sealed segment ends inside an atomic batch.
    BatchOpen,
    /// A sealed segment's records are sound and are not those that the manifest knows: their
    /// checksum as a whole or their end is another.
    NotAsSealed {
        /// The end that the manifest tells.
        sealed_end: Offset,
        /// The end found.
        found_end: Offset,
    },
    /// A sealed segment's file goes on behind its end.
    Excess {
        /// So many bytes.
        bytes: u64,
    },
    /// The log ends in bytes that a crash left half written.
    TornTail {
        /// So many bytes, up to the last that is not zero.
        bytes: u64,
    },
    /// A hint is damaged or does not belong to its segment.
    HintUnfit,
    /// A hint is whole and says other things than its segment.
    HintDisagrees,
    /// A hint leaves out keys whose newest record is in its segment.
    HintLacks {
        /// So many.
        keys: u64,
    },
    /// A file of ours that no manifest names.
    Leftover,
}

/// A range of the log that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// First offset that may be lost.
    pub from: Offset,
    /// First offset behind.
    pub to: Offset,
    /// Bytes of the file that are no records.
    pub bytes: u64,
    /// What has become of it.
    pub standing: Standing,
}

/// What a lost range means to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may have held any key: those not written since are answered with errors.
    Open,
    /// The segment's hint is sound and names its keys: they are answered with errors, others are
    /// not.
    Hinted,
    /// An operator has accepted it.
    Accepted,
    /// All keys were deleted later.
    Flushed,
}

impl CheckReport {
    /// Adds a finding, or counts it if there are too many. Returns where it is.
    pub(super) fn push(&mut self, finding: Finding) -> Option<usize> {
        if self.findings.len() == FINDINGS_MAX {
            self.left_out += 1;
            self.damaged |= finding.severity == Severity::Damage;
            return None;
        }
        self.findings.push(finding);
        Some(self.findings.len() - 1)
    }
}
