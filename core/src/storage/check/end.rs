//! How a segment ends: as it was sealed, too early, or in a tail.

use alloc::boxed::Box;

use bytes::Bytes;

use super::partition::PartitionCheck;
use super::segment::SegmentCheck;
use super::{Checker, Problem, Severity, Stage};
use crate::Offset;
use crate::disk::{DiskError, DiskOp};
use crate::storage::format::Sealed;
use crate::storage::scan::WINDOW_BYTES;

impl Checker {
    pub(super) fn on_end(
        &mut self,
        mut partition: Box<PartitionCheck>,
        mut segment: Box<SegmentCheck>,
    ) {
        let (from, position) =
            segment.resync.unwrap_or((segment.scanner.end(), segment.scanner.position()));
        match segment.spec.sealed {
            None if from >= partition.mark => {
                let torn = (segment.scanner.position(), segment.scanner.end());
                return self.start_tail(partition, segment, torn);
            }
            None => {
                // The log ends before what was durable.
                partition.apply(core::mem::take(&mut segment.batch), self);
                let (bytes, to) = (segment.len.saturating_sub(position), partition.mark);
                self.find_lost(&mut partition, &segment, position, bytes, from, to);
            }
            Some(sealed) => {
                let short = segment.resync.is_some()
                    || position < sealed.len
                    || (from.0 < sealed.end && !sealed.compacted);
                if short {
                    partition.apply(core::mem::take(&mut segment.batch), self);
                    let bytes = sealed.len.saturating_sub(position);
                    let to = Offset(sealed.end);
                    self.find_lost(&mut partition, &segment, position, bytes, from, to);
                } else {
                    self.check_whole(&mut partition, &mut segment, &sealed);
                }
                if segment.len > sealed.len {
                    let problem = Problem::Excess { bytes: segment.len - sealed.len };
                    self.find_in(&segment, sealed.len, None, problem, Severity::Note);
                }
            }
        }
        self.next_segment(partition, &segment);
    }

    /// A sealed segment was read to its end.
    fn check_whole(
        &mut self,
        partition: &mut PartitionCheck,
        segment: &mut SegmentCheck,
        sealed: &Sealed,
    ) {
        let batch = core::mem::take(&mut segment.batch);
        let (open, start) = (!batch.is_empty(), segment.batch_start);
        partition.apply(batch, self);
        if segment.spoilt || sealed.damaged {
            return;
        }
        if open {
            let (position, offset) = start;
            self.find_in(segment, position, Some(offset), Problem::BatchOpen, Severity::Damage);
        }
        let (sealed_end, found_end) = (Offset(sealed.end), segment.scanner.end());
        if segment.scanner.crc().finalize() != sealed.crc || found_end > sealed_end {
            let problem = Problem::NotAsSealed { sealed_end, found_end };
            self.find_in(segment, segment.position(), Some(found_end), problem, Severity::Damage);
        } else if segment.hint.take_if(|hint| !hint.is_complete()).is_some() {
            self.find_disagreement(partition, segment, found_end);
        }
    }

    /// The log ends here. What stands behind is zeros, or torn.
    pub(super) fn start_tail(
        &mut self,
        partition: Box<PartitionCheck>,
        mut segment: Box<SegmentCheck>,
        (at, end): (u64, Offset),
    ) {
        if segment.batch.is_empty() {
            segment.batch_start = (at, end);
        }
        segment.tail_end = at;
        self.read_tail(partition, segment, at);
    }

    fn read_tail(&mut self, partition: Box<PartitionCheck>, segment: Box<SegmentCheck>, at: u64) {
        if at < segment.len {
            let len = (segment.len - at).min(WINDOW_BYTES.into()) as u32;
            let read = DiskOp::Read { file: segment.file, at, len };
            return self.ask(read, Stage::Tail(partition, segment, at));
        }
        let (start, offset) = segment.batch_start;
        if segment.tail_end > start {
            let problem = Problem::TornTail { bytes: segment.tail_end - start };
            self.find_in(&segment, start, Some(offset), problem, Severity::Note);
        }
        self.next_segment(partition, &segment);
    }

    pub(super) fn on_tail(
        &mut self,
        partition: Box<PartitionCheck>,
        mut segment: Box<SegmentCheck>,
        at: u64,
        data: Result<Bytes, DiskError>,
    ) {
        let data = match data {
            Ok(data) if !data.is_empty() => data,
            // The file has shrunk.
            Ok(_) => return self.read_tail(partition, segment, u64::MAX),
            Err(error) => return self.give_up(partition, &segment, Problem::Unreadable(error)),
        };
        if let Some(last) = data.iter().rposition(|&byte| byte != 0) {
            segment.tail_end = at + last as u64 + 1;
        }
        self.read_tail(partition, segment, at + data.len() as u64);
    }
}
