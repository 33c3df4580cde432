//! From the last record read to the table of segments: a job's output is made durable and named, a
//! merge's takes the place of its run.

use alloc::string::ToString;

use bytes::Bytes;

use super::{Job, Stage};
use crate::disk::{CacheKey, Dir, DiskOp, File, ValueCache};
use crate::marks::Mark;
use crate::storage::format::{SEGMENT_HEADER_BYTES, Sealed};
use crate::storage::hint::HintWriter;
use crate::storage::keydir::WARM_KEYS;
use crate::storage::replica::segments::Segment;
use crate::storage::replica::{Purpose, Replica};

/// Keydir entries moved in one step.
const MOVES_A_STEP: usize = 4096;

impl Replica {
    /// Hands what was copied to the disk.
    pub(super) fn write_output(&mut self, job: &mut Job) {
        let Some(output) = job.output.as_mut().filter(|o| !o.buffer.is_empty()) else { return };
        let file = File::Segment(self.id, job.run[0].base, output.id);
        let data = Bytes::from(core::mem::take(&mut output.buffer));
        output.crc.update(&data);
        let at = output.len;
        output.len += data.len() as u64;
        self.submit_for(job, DiskOp::Write { file, at, data });
    }

    /// Everything was read: makes the output and its hint durable.
    pub(super) fn seal_output(&mut self, mut job: Job) {
        self.write_output(&mut job);
        self.write_hint_blocks(&mut job);
        let (first, last) = (job.run[0], job.run[job.run.len() - 1]);
        let last_sealed = last.sealed.expect("only sealed segments are worked on");
        let output = match &job.output {
            None => first,
            Some(output) => {
                let sealed = Sealed {
                    len: output.len,
                    crc: output.crc.clone().finalize(),
                    end: last_sealed.end,
                    compacted: true,
                    damaged: false,
                };
                let mut segment = Segment::new(output.id, first.base, Some(sealed));
                segment.other = job.summary.other_bytes;
                segment.tombstones = job.summary.tombstone_bytes;
                segment
            }
        };
        let sealed = output.sealed.expect("it was sealed just now");
        let hint = core::mem::replace(&mut job.hint, HintWriter::new());
        let part = hint.finish(&self.owner(&output, sealed), &job.summary);
        self.write_hint_part(&mut job, part);
        self.submit_for(&mut job, DiskOp::Sync(output.hint(self.id)));
        if job.output.is_some() {
            self.submit_for(&mut job, DiskOp::Sync(output.file(self.id)));
        }
        job.stage = Stage::Sealing(Segment { hinted: true, ..output });
        self.merge.job = Some(job);
    }

    /// The output and its hint are durable.
    pub(super) fn name_output(&mut self, output: Segment) {
        let mut job = self.merge.job.take().expect("a job was sealed");
        if job.output.is_none() {
            // A hint is no more than a help: its name need not be durable.
            if let Some(segment) = self.segments.get_mut(output.id) {
                segment.hinted = true;
            }
            return;
        }
        self.submit_for(&mut job, DiskOp::SyncDir(Dir::Partition(self.id)));
        job.stage = Stage::Naming(output);
        self.merge.job = Some(job);
    }

    /// Puts the output in the place of the run, in memory first; the manifest follows.
    pub(super) fn switch(&mut self) {
        let mut job = self.merge.job.take().expect("a job is durable");
        if job.horizon > self.retain {
            // Since they were dropped a follower has come that has not seen these tombstones.
            self.marks.hit(Mark::MergeGivenUp);
            return self.delete_output(&job);
        }
        let Stage::AwaitDurable(durable, output) = job.stage else {
            unreachable!("called for a durable job")
        };
        let list = self.segments.list();
        let from =
            list.iter().position(|s| s.id == job.run[0].id).expect("nothing else removes segments");
        let to = from + job.run.len();
        let freed: u64 = job.run.iter().filter_map(|s| s.sealed).map(|s| s.len).sum();
        let empty = output.sealed.is_some_and(|s| s.len == SEGMENT_HEADER_BYTES as u64);
        self.merge.retired = list[from..to].to_vec();
        self.segments.replace(from, to, (!empty).then_some(output));
        if empty {
            self.merge.retired.push(output);
        }
        self.floors.compacted(durable);
        self.tombstone_horizon = self.tombstone_horizon.max(job.horizon);
        self.marks = self.marks.or(job.marks);
        self.marks.hit(Mark::Merged);
        self.counters.merges += 1;
        self.counters.merged_bytes += freed - output.sealed.map_or(0, |s| s.len).min(freed);
        job.stage = Stage::AwaitManifest(self.change_manifest());
        self.merge.job = Some(job);
    }

    /// Moves some keydir entries to the output; deletes the run when all have been.
    pub(super) fn move_entries(&mut self, cache: &mut dyn ValueCache) {
        let job = self.merge.job.as_mut().expect("a job moves entries");
        let Stage::Moving(at) = &mut job.stage else { unreachable!("called for a moving job") };
        let output = job.output.as_mut().expect("only a merge moves entries");
        let end = output.moves.len().min(*at + MOVES_A_STEP);
        for some in output.moves[*at..end].chunks(WARM_KEYS) {
            self.keydir.warm(some.iter().map(|moved| &moved.key[..]));
            some.iter().for_each(|moved| cache.warm(&moved.key));
            for moved in some {
                if self.keydir.relocate(&moved.key, moved.from, moved.to) {
                    self.segments.enliven(moved.to);
                    let (partition, (segment, position)) = (self.id, moved.from);
                    let from = CacheKey { partition, segment, position };
                    let (segment, position) = (moved.to.segment, moved.to.position);
                    cache.moved(&moved.key, from, CacheKey { partition, segment, position });
                } else {
                    self.marks.hit(Mark::MergeRaced);
                }
            }
        }
        *at = end;
        if end < output.moves.len() {
            return;
        }
        self.merge.job = None;
        for segment in core::mem::take(&mut self.merge.retired) {
            self.delete(segment.file(self.id));
            self.delete(segment.hint(self.id));
        }
    }

    pub(super) fn delete(&mut self, file: File) {
        self.submit(Purpose::Tidy(file.to_string()), DiskOp::Delete(file));
    }
}
