//! One partition's segments: their hints and their records. Their ends are in `end`.
//!
//! The walk is that of opening (see `replica::open`), with the same decisions at the same places,
//! and notes what it finds instead of acting on it.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::Bytes;

use super::hints::HintWalk;
use super::partition::PartitionCheck;
use super::{Checker, Finding, KEY_SHOWN_BYTES_MAX, Loss, Problem, Severity, Stage, Standing};
use crate::disk::{DiskError, DiskOp, File};
use crate::storage::format::{FormatError, ManifestSegment, SEGMENT_HEADER_BYTES};
use crate::storage::keydir::{Entry, Place};
use crate::storage::record::Kind;
use crate::storage::scan::{self, Scanned, Scanner, Step};
use crate::{Offset, SegmentId, Value};

/// The segment being looked at.
#[derive(Debug)]
pub(super) struct SegmentCheck {
    pub(super) file: File,
    pub(super) spec: ManifestSegment,
    /// Length of the file.
    pub(super) len: u64,
    pub(super) scanner: Scanner,
    /// Behind a bad record, looking for the next sound one: the offset and byte where it began.
    pub(super) resync: Option<(Offset, u64)>,
    /// It has a finding that spoils its checksum and the comparison with its hint.
    pub(super) spoilt: bool,
    pub(super) hint: Option<HintWalk>,
    /// A batch whose last record has not been seen yet, and where it starts.
    pub(super) batch: Vec<(Kind, Value, Entry)>,
    pub(super) batch_start: (u64, Offset),
    /// The end of the last byte behind the log end that is not zero.
    pub(super) tail_end: u64,
}

impl SegmentCheck {
    pub(super) fn position(&self) -> u64 {
        self.scanner.position()
    }

    fn is_active(&self) -> bool {
        self.spec.sealed.is_none()
    }
}

impl Checker {
    /// Looks at the segment at hand, or at the first behind it that is there.
    pub(super) fn start_segment(&mut self, mut partition: Box<PartitionCheck>) {
        while partition.at < partition.manifest.segments.len() {
            let spec = partition.spec();
            let (id, base) = (partition.id, Offset(spec.base));
            let (file, hint) = (
                File::Segment(id, base, SegmentId(spec.id)),
                File::Hint(id, base, SegmentId(spec.id)),
            );
            let hint_len = self.len_of(hint);
            let Some(len) = self.len_of(file) else {
                self.done += hint_len.unwrap_or(0);
                self.find_missing(&mut partition, &spec, file);
                partition.at += 1;
                continue;
            };
            return match (hint_len, spec.sealed) {
                // Opening uses no hint of a segment that is known to be damaged.
                (Some(hint_len), Some(sealed)) if !sealed.damaged => {
                    let len = u32::try_from(hint_len).unwrap_or(u32::MAX);
                    let read = DiskOp::Read { file: hint, at: 0, len };
                    self.ask(read, Stage::Hint(partition));
                }
                (hint_len, _) => {
                    self.done += hint_len.unwrap_or(0);
                    self.start_records(partition, file, len, None);
                }
            };
        }
        self.finish_partition(&partition);
        self.start_partition(partition.index + 1);
    }

    fn find_missing(&mut self, partition: &mut PartitionCheck, spec: &ManifestSegment, file: File) {
        let (from, sealed) = (Offset(spec.base), spec.sealed.as_ref());
        let to = sealed.map_or(partition.mark, |sealed| Offset(sealed.end));
        let standing = partition.standing(to, sealed, false);
        let loss = (from < to).then_some(Loss { from, to, bytes: 0, standing });
        self.find_loss(partition, file, 0, loss, SegmentId(spec.id), Problem::SegmentMissing(loss));
    }

    /// A finding that is a loss, or may be one.
    fn find_loss(
        &mut self,
        partition: &mut PartitionCheck,
        file: File,
        position: u64,
        loss: Option<Loss>,
        segment: SegmentId,
        problem: Problem,
    ) {
        let accepted = loss.is_some_and(|loss| loss.standing == Standing::Accepted);
        let severity = if accepted { Severity::Note } else { Severity::Damage };
        if let Some(loss) = loss.filter(|_| !accepted) {
            partition.loss.end = partition.loss.end.max(loss.to);
            partition.loss.segments.insert(segment);
        }
        let (file, offset) = (file.to_string(), loss.map(|loss| loss.from));
        let at = self.report.push(Finding { file, position, offset, problem, severity });
        partition.lost.extend(at);
    }

    pub(super) fn on_hint(
        &mut self,
        partition: Box<PartitionCheck>,
        data: Result<Bytes, DiskError>,
    ) {
        let spec = partition.spec();
        let (id, base, segment) = (partition.id, Offset(spec.base), SegmentId(spec.id));
        let (file, hint) = (File::Segment(id, base, segment), File::Hint(id, base, segment));
        self.done += self.len_of(hint).unwrap_or(0);
        let walk = match data {
            Ok(data) => {
                let walk = HintWalk::new(data, id, &spec);
                if walk.is_none() {
                    self.find(hint, Problem::HintUnfit, Severity::Note);
                }
                walk
            }
            Err(error) => {
                self.find(hint, Problem::Unreadable(error), Severity::Note);
                None
            }
        };
        let len = self.len_of(file).unwrap_or(0);
        // Nor does it use the hint of a segment with another length.
        let walk = walk.filter(|_| spec.sealed.is_some_and(|sealed| sealed.len == len));
        self.start_records(partition, file, len, walk);
    }

    fn start_records(
        &mut self,
        partition: Box<PartitionCheck>,
        file: File,
        len: u64,
        hint: Option<HintWalk>,
    ) {
        let spec = partition.spec();
        let (id, base) = (partition.id, Offset(spec.base));
        let scanned = spec.sealed.map_or(len, |sealed| len.min(sealed.len));
        let dense = spec.sealed.is_none_or(|sealed| !sealed.compacted);
        let end_max = match spec.sealed {
            Some(sealed) => Offset(sealed.end),
            None => scan::end_max(base, partition.mark, scanned),
        };
        let scanner = Scanner::new(id, SegmentId(spec.id), base, scanned, dense);
        let segment = SegmentCheck {
            file,
            scanner: scanner.bounded(partition.epoch, end_max),
            spec,
            len,
            resync: None,
            spoilt: false,
            hint,
            batch: Vec::new(),
            batch_start: (SEGMENT_HEADER_BYTES as u64, base),
            tail_end: 0,
        };
        self.report.segments += 1;
        self.scan_on(partition, Box::new(segment));
    }

    pub(super) fn on_records(
        &mut self,
        partition: Box<PartitionCheck>,
        mut segment: Box<SegmentCheck>,
        data: Result<Bytes, DiskError>,
    ) {
        match data {
            Ok(data) => {
                segment.scanner.fill(&data);
                self.scan_on(partition, segment);
            }
            Err(error) => self.give_up(partition, &segment, Problem::Unreadable(error)),
        }
    }

    /// The rest of the segment can not be looked at.
    pub(super) fn give_up(
        &mut self,
        partition: Box<PartitionCheck>,
        segment: &SegmentCheck,
        problem: Problem,
    ) {
        let offset = Some(segment.scanner.end());
        self.find_in(segment, segment.position(), offset, problem, Severity::Damage);
        self.next_segment(partition, segment);
    }

    pub(super) fn next_segment(
        &mut self,
        mut partition: Box<PartitionCheck>,
        segment: &SegmentCheck,
    ) {
        self.done += segment.len;
        partition.at += 1;
        self.start_segment(partition);
    }

    pub(super) fn find_in(
        &mut self,
        segment: &SegmentCheck,
        position: u64,
        offset: Option<Offset>,
        problem: Problem,
        severity: Severity,
    ) {
        let file = segment.file.to_string();
        self.report.push(Finding { file, position, offset, problem, severity });
    }

    /// Takes what the scanner gives until it must read.
    fn scan_on(&mut self, mut partition: Box<PartitionCheck>, mut segment: Box<SegmentCheck>) {
        let mut first = false;
        // Each turn consumes bytes of a window, or ends.
        loop {
            let step = match segment.resync {
                None => segment.scanner.step(),
                Some(_) => segment.scanner.resync(core::mem::take(&mut first)),
            };
            match (step, segment.resync) {
                (Step::Read(op), _) => return self.ask(op, Stage::Records(partition, segment)),
                (Step::Record(record), _)
                    if segment.is_active()
                        && (partition.cuts(&record)
                            || (record.head.offset >= partition.mark && !record.value_sound)) =>
                {
                    let torn = (record.position, record.head.offset);
                    return self.start_tail(partition, segment, torn);
                }
                (Step::Record(record), _) => self.take(&mut partition, &mut segment, &record),
                (Step::BadHeader(FormatError::Version(version)), _) => {
                    return self.give_up(partition, &segment, Problem::Version(version));
                }
                (Step::BadHeader(FormatError::Damaged), _) => {
                    self.find_header(&partition, &segment);
                    segment.spoilt = true;
                    segment.scanner.skip_header();
                }
                (Step::Bad { position }, None) => {
                    if segment.is_active() && segment.scanner.end() >= partition.mark {
                        let torn = (position, segment.scanner.end());
                        return self.start_tail(partition, segment, torn);
                    }
                    partition.apply(core::mem::take(&mut segment.batch), self);
                    segment.resync = Some((segment.scanner.end(), position));
                    segment.spoilt = true;
                    first = true;
                }
                (Step::Bad { .. }, Some((from, position))) => {
                    // The scanner stands before a sound record: what is between is lost.
                    let Step::Record(record) = segment.scanner.step() else {
                        unreachable!("resync stops at a record whose bytes it holds")
                    };
                    let bytes = record.position - position;
                    self.find_lost(
                        &mut partition,
                        &segment,
                        position,
                        bytes,
                        from,
                        record.head.offset,
                    );
                    self.take(&mut partition, &mut segment, &record);
                    segment.resync = None;
                }
                (Step::End, _) => return self.on_end(partition, segment),
            }
        }
    }

    fn find_header(&mut self, partition: &PartitionCheck, segment: &SegmentCheck) {
        let base = Offset(segment.spec.base);
        let made_anew = segment.is_active() && partition.mark <= base;
        let harmless = made_anew && segment.len == 0;
        let severity = if harmless { Severity::Note } else { Severity::Damage };
        self.find_in(segment, 0, Some(base), Problem::Header { made_anew }, severity);
    }

    pub(super) fn find_lost(
        &mut self,
        partition: &mut PartitionCheck,
        segment: &SegmentCheck,
        position: u64,
        bytes: u64,
        from: Offset,
        to: Offset,
    ) {
        let standing = partition.standing(to, segment.spec.sealed.as_ref(), segment.hint.is_some());
        let loss = Loss { from, to, bytes, standing };
        let id = SegmentId(segment.spec.id);
        self.find_loss(partition, segment.file, position, Some(loss), id, Problem::Lost(loss));
    }

    fn take(
        &mut self,
        partition: &mut PartitionCheck,
        segment: &mut SegmentCheck,
        record: &Scanned,
    ) {
        let head = record.head;
        if record.value_sound {
            self.report.records += 1;
        } else {
            let shown = record.key().len().min(KEY_SHOWN_BYTES_MAX);
            let problem = Problem::Value { key: record.key()[..shown].to_vec() };
            let offset = Some(head.offset);
            self.find_in(segment, record.position, offset, problem, Severity::Damage);
            segment.spoilt = true;
        }
        self.writes += u64::from(!matches!(head.kind, Kind::Epoch | Kind::Clock | Kind::Gap));
        self.follow(partition, segment, record);
        let mut length = record.bytes.len() as u32;
        if let Some(hint) = segment.hint.as_mut().filter(|_| segment.resync.is_none())
            && !segment.spoilt
        {
            match hint.compare(record) {
                Some(true) => {}
                Some(false) => length = 0,
                None => self.find_disagreement(partition, segment, head.offset),
            }
        }
        if segment.batch.is_empty() {
            segment.batch_start = (record.position, head.offset);
        }
        let position = u32::try_from(record.position).unwrap_or(u32::MAX);
        let place = Place { segment: SegmentId(segment.spec.id), position, length };
        let entry = Entry { place, expire_at: head.expire_at };
        segment.batch.push((head.kind, Value::copy_from(record.key()), entry));
        if !head.more {
            partition.apply(core::mem::take(&mut segment.batch), self);
        }
    }

    /// Whether epoch and clock follow those before.
    fn follow(&mut self, partition: &mut PartitionCheck, segment: &SegmentCheck, record: &Scanned) {
        let head = record.head;
        let fell = [
            (head.epoch < partition.epoch)
                .then_some(Problem::EpochFell { before: partition.epoch, found: head.epoch }),
            (head.clock < partition.clock)
                .then_some(Problem::ClockFell { before: partition.clock, found: head.clock }),
        ];
        for problem in fell.into_iter().flatten() {
            let offset = Some(head.offset);
            self.find_in(segment, record.position, offset, problem, Severity::Damage);
        }
        // From the record found on, so that one fall is one finding.
        partition.epoch = head.epoch;
        partition.clock = head.clock;
    }

    pub(super) fn find_disagreement(
        &mut self,
        partition: &PartitionCheck,
        segment: &mut SegmentCheck,
        offset: Offset,
    ) {
        segment.hint = None;
        let spec = &segment.spec;
        let hint = File::Hint(partition.id, Offset(spec.base), SegmentId(spec.id));
        self.report.push(Finding {
            file: hint.to_string(),
            position: 0,
            offset: Some(offset),
            problem: Problem::HintDisagrees,
            severity: Severity::Damage,
        });
    }
}
