//! Checking a data directory while no node runs on it: reads every file, changes nothing.
//!
//! ```text
//! list all ─▶ META ─▶ for each partition: MANIFEST ─▶ MARK ─┬▶ for each segment: hint ─▶ records
//!                                                          └▶ the zeros or the torn tail behind
//! ```
//!
//! The same judges as in [opening](super::replica) decide what is a record, a torn tail and a
//! damage (the [`Scanner`](super::scan::Scanner), the [`Manifest`], the [hint](super::hint)
//! and the durable mark), so that the check foretells what the next start makes of the directory.
//! Beyond what opening looks at it reads the values and the segments that have hints, compares
//! hints and manifest with the records, and follows epochs and clocks over the whole partition.
//!
//! It is driven as every machine here: [`Checker::poll`] gives an operation (lists and reads only),
//! [`Checker::on_disk`] takes its answer, and when `poll` gives none the
//! [`report`](Checker::finish) is ready. One operation is under way at a time.
//!
//! Not here: the words for what was found, and repair. [`AcceptLoss`] alone writes: it marks lost
//! ranges as accepted, when an operator says so.
//!
//! Invariants:
//! - One partition is looked at at a time, with an index as large as that of a running node.
//! - An answer is worked on in time bounded by its length.
//! - The report's size is bounded; see [`FINDINGS_MAX`].

mod accept;
mod end;
mod hints;
mod marks;
mod partition;
mod report;
mod segment;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;

pub use accept::{AcceptError, AcceptLoss};
pub use report::{
    CheckReport, FINDINGS_MAX, Finding, KEY_SHOWN_BYTES_MAX, Loss, PartitionLoss, Problem,
    Severity, Standing,
};

use partition::PartitionCheck;
use segment::SegmentCheck;

use super::format::{
    FormatError, MARK_SLOT_BYTES, MARK_SLOT_STRIDE, Manifest, Meta, SEGMENT_HEADER_BYTES,
};
use crate::disk::{Dir, DiskDone, DiskError, DiskOp, DiskResult, File};
use crate::limits::PARTITIONS_MAX;
use crate::{Offset, PartitionId};

/// See the module's header.
#[derive(Debug)]
pub struct Checker {
    stage: Stage,
    op: Option<DiskOp>,
    /// The files of the root and of each partition's directory with their lengths.
    root: BTreeMap<String, u64>,
    dirs: BTreeMap<PartitionId, BTreeMap<String, u64>>,
    /// The partitions that META, or else the directory, tells of.
    partitions: Vec<PartitionId>,
    /// Bytes of the files that are done with, and of all.
    done: u64,
    total: u64,
    /// Records that a client's write made.
    writes: u64,
    /// The directory is that of a node of a cluster, which makes partitions at any time.
    member: bool,
    report: CheckReport,
}

#[derive(Debug)]
enum Stage {
    List,
    Meta,
    /// The directory of this partition of the list.
    ListPartition(usize),
    Manifest(usize),
    Mark(usize, Manifest),
    Hint(Box<PartitionCheck>),
    Records(Box<PartitionCheck>, Box<SegmentCheck>),
    /// What stands behind the log end in the active segment, from this byte on.
    Tail(Box<PartitionCheck>, Box<SegmentCheck>, u64),
    Done,
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

impl Checker {
    /// A check about to begin.
    pub fn new() -> Self {
        Self {
            stage: Stage::List,
            op: Some(DiskOp::List(Dir::Root)),
            root: BTreeMap::new(),
            dirs: BTreeMap::new(),
            partitions: Vec::new(),
            done: 0,
            total: 0,
            writes: 0,
            member: false,
            report: CheckReport::default(),
        }
    }

    /// The next operation. `None` once everything was looked at (or while an answer is awaited).
    pub fn poll(&mut self) -> Option<DiskOp> {
        self.op.take()
    }

    /// Bytes done, of so many.
    pub fn progress(&self) -> (u64, u64) {
        let within = match &self.stage {
            Stage::Records(_, segment) => segment.position(),
            Stage::Tail(_, _, at) => *at,
            Stage::List
            | Stage::Meta
            | Stage::ListPartition(_)
            | Stage::Manifest(_)
            | Stage::Mark(..)
            | Stage::Hint(_)
            | Stage::Done => 0,
        };
        ((self.done + within).min(self.total), self.total)
    }

    /// What was found; `None` while it is not at the end.
    pub fn finish(mut self) -> Option<CheckReport> {
        self.judge_absent_partitions();
        let report = &mut self.report;
        report.damaged |= report.findings.iter().any(|f| f.severity == Severity::Damage);
        (matches!(self.stage, Stage::Done) && self.op.is_none()).then_some(self.report)
    }

    /// Takes the answer to the operation that [`poll`](Self::poll) gave last.
    pub fn on_disk(&mut self, result: DiskResult) {
        assert!(self.op.is_none(), "an operation is answered after it was polled");
        if let Ok(DiskDone::Data(data)) = &result {
            self.report.bytes += data.len() as u64;
        }
        match core::mem::replace(&mut self.stage, Stage::Done) {
            Stage::List => self.on_root(result),
            Stage::Meta => {
                let meta = data_of(result).map(|data| self.on_meta(&data));
                let meta = meta.unwrap_or_else(|error| {
                    self.find(File::Meta, Problem::Unreadable(error), Severity::Damage);
                    None
                });
                self.choose_partitions(meta);
            }
            Stage::ListPartition(at) => self.on_partition_listed(at, result),
            Stage::Manifest(at) => match data_of(result) {
                Ok(data) => self.on_manifest(at, &data),
                Err(error) => {
                    let file = File::Manifest(self.partitions[at]);
                    self.find(file, Problem::Unreadable(error), Severity::Damage);
                    self.start_partition(at + 1);
                }
            },
            Stage::Mark(at, manifest) => {
                let mark = self.on_mark(self.partitions[at], data_of(result));
                self.start_segments(at, manifest, mark);
            }
            Stage::Hint(partition) => self.on_hint(partition, data_of(result)),
            Stage::Records(partition, segment) => {
                self.on_records(partition, segment, data_of(result));
            }
            Stage::Tail(partition, segment, at) => {
                self.on_tail(partition, segment, at, data_of(result));
            }
            Stage::Done => unreachable!("nothing is asked for after the end"),
        }
    }

    fn on_root(&mut self, result: DiskResult) {
        match listing_of(result) {
            Ok(files) => self.root = files,
            Err(error) => {
                self.report.push(Finding {
                    file: Dir::Root.to_string(),
                    position: 0,
                    offset: None,
                    problem: Problem::Unreadable(error),
                    severity: Severity::Damage,
                });
                return;
            }
        }
        if self.root.contains_key(&File::MetaTmp.to_string()) {
            self.find(File::MetaTmp, Problem::Leftover, Severity::Note);
        }
        match self.root.get(&File::Meta.to_string()) {
            Some(&len) => {
                self.total += len;
                self.ask(whole(File::Meta, len), Stage::Meta);
            }
            None => {
                self.find(File::Meta, Problem::MetaMissing, Severity::Damage);
                self.choose_partitions(None);
            }
        }
    }

    /// What META says, if it can be read.
    fn on_meta(&mut self, data: &Bytes) -> Option<Meta> {
        self.done += data.len() as u64;
        let problem = match Meta::decode(data) {
            Ok(meta) => return Some(meta),
            Err(FormatError::Version(version)) => Problem::Version(version),
            Err(FormatError::Damaged) => Problem::MetaDamaged,
        };
        self.find(File::Meta, problem, Severity::Damage);
        None
    }

    fn choose_partitions(&mut self, meta: Option<Meta>) {
        let is_there =
            |&id: &PartitionId| self.root.contains_key(&format!("{}/", Dir::Partition(id)));
        let control = is_there(&PartitionId::CONTROL);
        let mut there: Vec<PartitionId> =
            (0..PARTITIONS_MAX).map(PartitionId).filter(is_there).collect();
        match meta {
            // The partitions of a node of a cluster come and go; the quorum's log stays.
            Some(meta) if meta.seat.is_some() => {
                there.extend((control || meta.complete).then_some(PartitionId::CONTROL));
                self.partitions = there;
                self.member = true;
            }
            Some(Meta { partitions: count, .. }) => {
                self.partitions = (0..count.min(PARTITIONS_MAX)).map(PartitionId).collect();
                for id in there.into_iter().filter(|id| id.0 >= count) {
                    self.find_dir(id, Problem::PartitionUnknown, Severity::Note);
                }
            }
            None => {
                there.extend(control.then_some(PartitionId::CONTROL));
                self.partitions = there;
            }
        }
        self.report.partitions = self.partitions.len() as u64;
        self.list_partition(0);
    }

    /// Lists the directory at `at`; after the last, the first partition is looked at.
    fn list_partition(&mut self, at: usize) {
        match self.partitions.get(at) {
            Some(&id) => self.ask(DiskOp::List(Dir::Partition(id)), Stage::ListPartition(at)),
            None => self.start_partition(0),
        }
    }

    fn on_partition_listed(&mut self, at: usize, result: DiskResult) {
        let id = self.partitions[at];
        match listing_of(result) {
            Ok(files) => {
                self.total += files.values().sum::<u64>();
                self.dirs.insert(id, files);
            }
            // A first start that a crash cut short makes META before the partitions.
            Err(DiskError::NotFound) => {}
            Err(error) => {
                self.find_dir(id, Problem::Unreadable(error), Severity::Damage);
            }
        }
        self.list_partition(at + 1);
    }

    /// Looks into the partition at `at`, or into the first behind it that can be looked into.
    fn start_partition(&mut self, at: usize) {
        for at in at..self.partitions.len() {
            let id = self.partitions[at];
            let manifest = File::Manifest(id);
            if let Some(len) = self.len_of(manifest) {
                return self.ask(whole(manifest, len), Stage::Manifest(at));
            }
            self.find_no_manifest(id);
        }
    }

    /// What a first start leaves that was cut short, unless it turns out that there was more.
    fn find_no_manifest(&mut self, id: PartitionId) {
        let beside_log = self.dirs.get(&id).map(holds_records);
        match beside_log {
            None => self.find_dir(id, Problem::PartitionMissing, Severity::Note),
            Some(false) => {
                let problem = Problem::ManifestMissing { beside_log: false };
                self.find(File::Manifest(id), problem, Severity::Note);
            }
            Some(true) => {
                let problem = Problem::ManifestMissing { beside_log: true };
                self.find(File::Manifest(id), problem, Severity::Damage);
            }
        }
        self.skip_partition(id);
    }

    /// A partition that is not there is a loss if another holds a write: a first start makes all
    /// of them before any of them takes one. A node of a cluster makes them as the map says.
    fn judge_absent_partitions(&mut self) {
        for finding in self.report.findings.iter_mut().filter(|_| self.writes > 0) {
            let absent = matches!(
                finding.problem,
                Problem::PartitionMissing | Problem::ManifestMissing { beside_log: false }
            );
            if absent && (!self.member || finding.file.starts_with("control")) {
                finding.severity = Severity::Damage;
            }
        }
    }

    /// Counts the files of a partition that can not be looked into as done.
    fn skip_partition(&mut self, id: PartitionId) {
        self.done += self.dirs.get(&id).map_or(0, |files| files.values().sum());
    }

    fn on_manifest(&mut self, at: usize, data: &Bytes) {
        let id = self.partitions[at];
        let file = File::Manifest(id);
        let manifest = match Manifest::decode(data, id) {
            Ok(manifest) => manifest,
            Err(error) => {
                let problem = match error {
                    FormatError::Version(version) => Problem::Version(version),
                    FormatError::Damaged => Problem::ManifestDamaged,
                };
                self.find(file, problem, Severity::Damage);
                self.skip_partition(id);
                return self.start_partition(at + 1);
            }
        };
        self.done += data.len() as u64;
        self.find_leftovers(id, &manifest);
        let mark = File::Mark(id);
        match self.len_of(mark) {
            Some(len) => {
                let len = len.min(2 * MARK_SLOT_STRIDE);
                self.ask(whole(mark, len), Stage::Mark(at, manifest));
            }
            None => {
                self.find(mark, Problem::MarkMissing, Severity::Note);
                self.start_segments(at, manifest, Offset(0));
            }
        }
    }

    fn find_leftovers(&mut self, id: PartitionId, manifest: &Manifest) {
        let named: Vec<String> = manifest
            .segments
            .iter()
            .flat_map(|s| {
                let (base, segment) = (Offset(s.base), crate::SegmentId(s.id));
                [name(File::Segment(id, base, segment)), name(File::Hint(id, base, segment))]
            })
            .collect();
        let files = &self.dirs[&id];
        let ours = |file: &str| [".log", ".hint", ".tmp"].iter().any(|end| file.ends_with(end));
        let leftovers: Vec<(String, u64)> = files
            .iter()
            .filter(|(file, _)| ours(file) && !named.contains(*file))
            .map(|(file, len)| (file.clone(), *len))
            .collect();
        for (file, len) in leftovers {
            self.done += len;
            self.report.push(Finding {
                file: format!("{id}/{file}"),
                position: 0,
                offset: None,
                problem: Problem::Leftover,
                severity: Severity::Note,
            });
        }
    }

    fn start_segments(&mut self, at: usize, manifest: Manifest, mark: Offset) {
        let mark = mark.max(Offset(manifest.clean_end.unwrap_or(0)));
        // Where a cut is under way the next start goes on with it.
        let mark = manifest.cut.map_or(mark, |cut| mark.min(Offset(cut)));
        let partition = PartitionCheck::new(self.partitions[at], at, manifest, mark);
        self.start_segment(Box::new(partition));
    }

    fn len_of(&self, file: File) -> Option<u64> {
        let Dir::Partition(id) = file.dir() else { return None };
        self.dirs.get(&id)?.get(&name(file)).copied()
    }

    fn ask(&mut self, op: DiskOp, stage: Stage) {
        self.op = Some(op);
        self.stage = stage;
    }

    /// A finding about a file as a whole.
    fn find(&mut self, file: File, problem: Problem, severity: Severity) {
        let file = file.to_string();
        self.report.push(Finding { file, position: 0, offset: None, problem, severity });
    }

    fn find_dir(&mut self, id: PartitionId, problem: Problem, severity: Severity) {
        let file = Dir::Partition(id).to_string();
        self.report.push(Finding { file, position: 0, offset: None, problem, severity });
    }
}

/// Whether a partition's directory holds a log with more than a header.
fn holds_records(files: &BTreeMap<String, u64>) -> bool {
    files.iter().any(|(file, &len)| file.ends_with(".log") && len > SEGMENT_HEADER_BYTES as u64)
}

fn whole(file: File, len: u64) -> DiskOp {
    DiskOp::Read { file, at: 0, len: u32::try_from(len).unwrap_or(u32::MAX) }
}

/// A file's name within its directory.
fn name(file: File) -> String {
    let path = file.to_string();
    path.rsplit('/').next().unwrap_or(&path).to_string()
}

fn data_of(result: DiskResult) -> Result<Bytes, DiskError> {
    match result? {
        DiskDone::Data(data) => Ok(data),
        DiskDone::Done | DiskDone::Listing(_) => unreachable!("the driver answers in kind"),
    }
}

fn listing_of(result: DiskResult) -> Result<BTreeMap<String, u64>, DiskError> {
    match result? {
        DiskDone::Listing(files) => Ok(files.into_iter().collect()),
        DiskDone::Done | DiskDone::Data(_) => unreachable!("the driver answers in kind"),
    }
}

const _: () = assert!(MARK_SLOT_BYTES as u64 <= MARK_SLOT_STRIDE);
