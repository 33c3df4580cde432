//! Compaction and hints: the background work on sealed segments, one job at a time.
//!
//! A **hint** job reads a sealed segment that has no hint (one is written while the segment is, but
//! a crash may spoil it) and writes it. A **merge** job reads a run of neighbouring segments, copies
//! what is live into one new segment with its hint, makes both durable, has the manifest name the
//! new segment in place of the old ones, moves the keydir entries that still point at what was
//! copied, and deletes the old files: in this order, so that a crash at any point leaves one whole
//! set or the other.
//!
//! Records keep their offsets. What is not copied:
//! - a value that the keydir does not point at (and the switch waits until whatever superseded it
//!   is durable, or a crash could lose both);
//! - a **tombstone** whose key has a newer value, or for whose key no older segment outside the run
//!   can hold a value. No older segment can if none holds a dead byte, or damage: a value of a
//!   deleted key is a dead one. An expired value counts as a tombstone and is copied as one.
//!   Dropping the last trace of a deleted key raises the *tombstone horizon*;
//! - clock records: the manifest carries the clock.
//!
//! Work is cut into steps of one window of input, and their pace is limited; it rises with the
//! share of the log that is dead.
//!
//! Here is the job itself, step by step; [`hint`] and [`copy`] decide what becomes of each record,
//! and [`switch`] brings the output into the table of segments.

mod copy;
mod hint;
mod switch;

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::segments::Segment;
use super::{Event, Purpose, Replica, done, done_data};
use crate::disk::{DiskError, DiskOp, DiskResult, File, ValueCache};
use crate::marks::{Mark, Marks};
use crate::shard::Severity;
use crate::storage::format::{SEGMENT_HEADER_BYTES, Sealed, encode_segment_header};
use crate::storage::hint::{HintWriter, Summary};
use crate::storage::keydir::{Place, WARM_KEYS};
use crate::storage::record::Kind;
use crate::storage::scan::{Scanned, Scanner, Step};
use crate::{Epoch, Instant, Offset, SegmentId, Value};

/// When and how fast segments are compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeSettings {
    /// A sealed segment with this share of dead bytes (or of tombstones that can go) is compacted.
    pub garbage_percent: u64,
    /// So many small neighbours are merged into one. A segment is small below a quarter of the
    /// size at which the active one rolls.
    pub small_files: usize,
    /// Bytes of input read in a second while little of the log is dead.
    pub bytes_per_second: u64,
    /// How often to look for work.
    pub check_every: Duration,
}

/// The background work.
#[derive(Debug, Default)]
pub(super) struct MergeState {
    job: Option<Job>,
    jobs: u64,
    /// When to look for work, or to go on with it.
    next_at: Instant,
    /// Compacted segments that some keydir entries still point into.
    retired: Vec<Segment>,
}

#[derive(Debug)]
struct Job {
    /// Tells its answers from those of a job that was abandoned.
    id: u64,
    stage: Stage,
    /// Answers to come before it goes on.
    waits: u32,
    /// The segments to read, and which one is being read.
    run: Vec<Segment>,
    at: usize,
    scanner: Scanner,
    /// `None` for a hint job.
    output: Option<Output>,
    hint: HintWriter,
    summary: Summary,
    /// Tombstones may be dropped: no older segment can hold a dead value.
    tombstones_go: bool,
    horizon: Offset,
    marks: Marks,
}

/// The segment that a merge writes.
#[derive(Debug)]
struct Output {
    id: SegmentId,
    /// Copied and not written yet.
    buffer: Vec<u8>,
    /// Bytes handed to the disk.
    len: u64,
    crc: crc32fast::Hasher,
    moves: Vec<Move>,
}

/// A live record that was copied.
#[derive(Clone, Debug)]
struct Move {
    key: Value,
    from: (SegmentId, u32),
    to: Place,
}

#[derive(Debug)]
enum Stage {
    /// Asks for this read when the pace allows.
    Paced(DiskOp),
    /// Waits for the read.
    Reading,
    /// Waits until the output and its hint are durable.
    Sealing(Segment),
    /// Waits until their names are durable.
    Naming(Segment),
    /// Waits until everything before this offset is durable.
    AwaitDurable(Offset, Segment),
    /// Waits for the manifest.
    AwaitManifest(u64),
    /// Moves keydir entries, from this one on.
    Moving(usize),
}

/// How a record stands to what the keydir knows of its key.
#[derive(Clone, Copy, Debug)]
enum Standing {
    /// The keydir points at it.
    Current,
    /// The keydir points at a newer one.
    Superseded(Place),
    /// The keydir does not know the key, or it has none.
    Gone,
}

/// An operation of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MergeOp {
    /// A window of input.
    Read,
    /// Anything that makes the output.
    Write,
}

/// How long to wait after a job that failed.
const PAUSE: Duration = Duration::from_secs(10);

impl MergeState {
    /// A segment that was compacted away and is still read from.
    pub(super) fn retired(&self, id: SegmentId) -> Option<Segment> {
        self.retired.iter().find(|s| s.id == id).copied()
    }
}

impl Replica {
    /// When there is background work to look for or to go on with.
    pub(super) fn merge_deadline(&self) -> Option<Instant> {
        let due = match &self.merge.job {
            None => true,
            Some(job) => job.waits == 0 && matches!(job.stage, Stage::Paced(_) | Stage::Moving(_)),
        };
        (due && self.serving()).then_some(self.merge.next_at)
    }

    /// Has garbage looked for at once, unless it is being compacted already.
    pub fn look_for_garbage(&mut self, now: Instant) {
        if self.merge.job.is_none() {
            self.merge.next_at = now;
        }
    }

    pub(super) fn advance_merge(&mut self, now: Instant, cache: &mut dyn ValueCache) {
        if !self.serving() {
            return;
        }
        let Some(job) = &mut self.merge.job else {
            if now >= self.merge.next_at && !self.look_for_work() {
                self.merge.next_at = now.after(self.settings.merge.check_every);
            }
            return;
        };
        if job.waits > 0 {
            return;
        }
        match &job.stage {
            Stage::Paced(_) if now >= self.merge.next_at => self.read_on(now),
            Stage::AwaitDurable(end, _) if self.durable_end >= *end => self.switch(),
            Stage::AwaitDurable(..) if self.sync_flying.is_none() && self.roll.is_none() => {
                self.sync_active();
            }
            Stage::AwaitManifest(version) if self.manifest.durable(*version) => {
                job.stage = Stage::Moving(0);
                self.merge.next_at = now;
                self.move_entries(cache);
            }
            Stage::Moving(_) if now >= self.merge.next_at => self.move_entries(cache),
            Stage::Paced(_)
            | Stage::Reading
            | Stage::Sealing(_)
            | Stage::Naming(_)
            | Stage::AwaitDurable(..)
            | Stage::AwaitManifest(_)
            | Stage::Moving(_) => {}
        }
    }

    pub(super) fn on_merge_io(&mut self, now: Instant, id: u64, op: MergeOp, result: DiskResult) {
        let Some(job) = self.merge.job.as_mut().filter(|job| job.id == id) else { return };
        job.waits -= 1;
        let answer = match op {
            MergeOp::Read => done_data(result).map(|data| job.scanner.fill(&data)),
            MergeOp::Write => done(result),
        };
        if let Err(error) = answer {
            self.fail_job(now, op, error);
            return;
        }
        if job.waits > 0 {
            return;
        }
        match &job.stage {
            Stage::Reading => self.scan_on_for_job(),
            Stage::Sealing(output) => {
                let output = *output;
                self.name_output(output);
            }
            Stage::Naming(output) => {
                job.stage = Stage::AwaitDurable(self.high_watermark, *output);
            }
            Stage::Paced(_)
            | Stage::AwaitDurable(..)
            | Stage::AwaitManifest(_)
            | Stage::Moving(_) => {}
        }
    }

    /// Gives up what is under way, as before a stop. What it wrote is a leftover.
    pub(super) fn abandon_merge(&mut self) {
        // Once the table names the output, only the entries' moves are left, and memory goes.
        self.merge.job = None;
    }

    /// Starts the next job; returns whether there is one.
    fn look_for_work(&mut self) -> bool {
        // The keydir must know all that is committed and nothing else.
        if self.high_watermark < self.opened_end {
            return false;
        }
        let unhinted = |s: &Segment| !s.hinted && !s.quarantined;
        if let Some(at) = self.committed_segments().iter().position(unhinted) {
            self.start_job(at..at + 1, false);
        } else if let Some(run) = self.choose_run().filter(|_| !self.segments_spent()) {
            self.start_job(run, true);
        } else {
            return false;
        }
        true
    }

    /// The sealed segments whose records are all committed.
    pub(super) fn committed_segments(&self) -> &[Segment] {
        let committed = |s: &Segment| s.sealed.is_some_and(|l| l.end <= self.high_watermark.0);
        let list = self.segments.list();
        &list[..list.partition_point(committed)]
    }

    /// No tombstone at or behind this offset is dropped until another is said: a follower may yet
    /// need it. Without a word all may go.
    pub fn set_retain(&mut self, from: Offset) {
        self.retain = from;
    }

    fn start_job(&mut self, run: core::ops::Range<usize>, merge: bool) {
        self.merge.jobs += 1;
        let tombstones_go = !self.segments.list()[..run.start].iter().any(Segment::may_hold_dead);
        let run = self.segments.list()[run].to_vec();
        let scanner = self.scanner_of(&run[0]);
        let output = merge.then(|| Output {
            id: self.take_segment_id(),
            buffer: Vec::new(),
            len: SEGMENT_HEADER_BYTES as u64,
            crc: crc32fast::Hasher::new(),
            moves: Vec::new(),
        });
        let mut job = Job {
            id: self.merge.jobs,
            stage: Stage::Reading,
            waits: 0,
            run,
            at: 0,
            scanner,
            output,
            hint: HintWriter::new(),
            summary: Summary::default(),
            tombstones_go,
            horizon: Offset(0),
            marks: Marks::default(),
        };
        let Step::Read(first) = job.scanner.step() else {
            unreachable!("a scanner reads before it tells")
        };
        job.stage = Stage::Paced(first);
        if let Some(output) = &job.output {
            let (id, base) = (output.id, job.run[0].base);
            let file = File::Segment(self.id, base, id);
            let data = Bytes::copy_from_slice(&encode_segment_header(self.id, id, base));
            self.submit_for(&mut job, DiskOp::Create(file));
            self.submit_for(&mut job, DiskOp::Write { file, at: 0, data });
        }
        self.merge.job = Some(job);
    }

    fn submit_for(&mut self, job: &mut Job, op: DiskOp) {
        let kind = if matches!(op, DiskOp::Read { .. }) { MergeOp::Read } else { MergeOp::Write };
        job.waits += 1;
        self.submit(Purpose::Merge(job.id, kind), op);
    }

    pub(super) fn scanner_of(&self, segment: &Segment) -> Scanner {
        let sealed = segment.sealed.expect("only sealed segments are worked on");
        // What a disk gives of another segment is not taken for what follows here.
        self.scanner(segment, sealed.len).bounded(Epoch(0), Offset(sealed.end))
    }

    /// Asks for the next window of input.
    fn read_on(&mut self, now: Instant) {
        let mut job = self.merge.job.take().expect("a job is paced");
        let Stage::Paced(op) = core::mem::replace(&mut job.stage, Stage::Reading) else {
            unreachable!("called for a paced job")
        };
        if let DiskOp::Read { len, .. } = op {
            let pause = u64::from(len) * 1_000_000_000 / self.pace();
            self.merge.next_at = now.after(Duration::from_nanos(pause));
        }
        self.submit_for(&mut job, op);
        self.merge.job = Some(job);
    }

    /// Bytes of input to read in a second. Doubles with every quarter of the log that is dead, so
    /// that overwriting as fast as the disk allows does not outrun compaction.
    fn pace(&self) -> u64 {
        let sealed = || self.segments.list().iter().filter_map(|s| Some((s, s.sealed?.len)));
        let dead: u64 = sealed().filter(|(s, _)| !s.quarantined).map(|(s, _)| s.dead()).sum();
        let total: u64 = sealed().map(|(_, len)| len).sum();
        self.settings.merge.bytes_per_second.max(1) << (dead * 4 / total.max(1)).min(3)
    }

    /// Takes what the window holds, then writes what was copied and asks for more.
    fn scan_on_for_job(&mut self) {
        let mut job = self.merge.job.take().expect("a job reads");
        let mut found = Vec::with_capacity(WARM_KEYS);
        // Each turn takes a record from a window of bounded size, or leaves the loop.
        loop {
            let step = job.scanner.step();
            // Records are looked up some at a time, so that their cache misses overlap.
            if found.len() == WARM_KEYS || !matches!(step, Step::Record(_)) {
                self.warm(found.iter().map(Scanned::key));
                found.drain(..).for_each(|record| self.consider(&mut job, &record));
            }
            match step {
                Step::Record(record) => {
                    if !record.value_sound {
                        return self.quarantine(&job, "a damaged value");
                    }
                    found.push(record);
                }
                Step::Read(op) => {
                    job.stage = Stage::Paced(op);
                    break;
                }
                Step::End if !is_whole(&job.run[job.at], &job.scanner) => {
                    return self.quarantine(&job, "its records are not those that were sealed");
                }
                Step::End if job.at + 1 < job.run.len() && !self.ends_early(&job) => {
                    job.at += 1;
                    job.scanner = self.scanner_of(&job.run[job.at]);
                }
                Step::End => {
                    job.run.truncate(job.at + 1);
                    return self.seal_output(job);
                }
                Step::Bad { position } => {
                    return self.quarantine(&job, &format!("no record at byte {position}"));
                }
                Step::BadHeader(_) => return self.quarantine(&job, "a damaged header"),
            }
        }
        self.write_output(&mut job);
        self.write_hint_blocks(&mut job);
        self.merge.job = Some(job);
    }

    /// The output is a whole segment already: what was counted as dead has left more traces than was
    /// thought, as expired keys do.
    fn ends_early(&self, job: &Job) -> bool {
        job.output.as_ref().is_some_and(|output| output.end() >= self.settings.segment_bytes)
    }

    /// Decides what becomes of one record.
    fn consider(&mut self, job: &mut Job, found: &Scanned) {
        let head = found.head;
        job.summary.epoch = job.summary.epoch.max(head.epoch);
        job.summary.clock = job.summary.clock.max(head.clock);
        let known = match head.kind {
            Kind::Put | Kind::Delete => self.keydir.get(found.key()),
            Kind::Epoch | Kind::Clock | Kind::Flush | Kind::Gap => None,
        };
        let (segment, position) = (job.run[job.at].id, position_of(found));
        let standing = match known.map(|entry| entry.place) {
            Some(at) if at.segment == segment && at.position == position => Standing::Current,
            Some(by) => Standing::Superseded(by),
            None => Standing::Gone,
        };
        if job.output.is_some() {
            self.copy_record(job, found, standing);
        } else {
            self.hint_record(job, found, standing);
        }
    }

    /// The segment being read holds damage: it is left as it is from now on.
    fn quarantine(&mut self, job: &Job, what: &str) {
        let segment = job.run[job.at];
        if let Some(segment) = self.segments.get_mut(segment.id) {
            segment.quarantined = true;
        }
        let text = format!("{}: {what}: it is not compacted", segment.file(self.id));
        self.notice(Severity::Error, text);
        self.events.push_back(Event::Damaged);
        self.marks.hit(Mark::MergeGivenUp);
        self.delete_output(job);
    }

    /// Gives the job up. What it read from is still there, and what it wrote was never named.
    fn fail_job(&mut self, now: Instant, op: MergeOp, error: DiskError) {
        let job = self.merge.job.take().expect("a job failed");
        match op {
            MergeOp::Read => self.quarantine(&job, &format!("reading it failed ({error})")),
            MergeOp::Write => {
                let text = format!("{}: compaction pauses: {error}", self.id);
                self.notice(Severity::Warn, text);
                self.marks.hit(Mark::MergeGivenUp);
                self.delete_output(&job);
            }
        }
        self.merge.next_at = now.after(PAUSE);
    }

    fn delete_output(&mut self, job: &Job) {
        if let Some(output) = &job.output {
            self.delete(File::Segment(self.id, job.run[0].base, output.id));
            self.delete(File::Hint(self.id, job.run[0].base, output.id));
        }
    }
}

/// Whether the scanner has come to the end of the segment, by the records that were sealed.
pub(super) fn is_whole(segment: &Segment, scanner: &Scanner) -> bool {
    let is_that =
        |sealed: Sealed| scanner.position() == sealed.len && scanner.crc().finalize() == sealed.crc;
    segment.sealed.is_some_and(is_that)
}

fn position_of(found: &Scanned) -> u32 {
    u32::try_from(found.position).expect("a segment is shorter than 4 GiB")
}
