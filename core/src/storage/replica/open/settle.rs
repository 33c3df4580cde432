//! Settling the tail: what is torn is cut, what is left is made durable, and a reign can begin.

use alloc::format;

use bytes::Bytes;

use super::{Next, Opening, Stage, name};
use crate::disk::{Dir, DiskError, DiskOp, File};
use crate::marks::Mark;
use crate::shard::Severity;
use crate::storage::format::{SEGMENT_HEADER_BYTES, encode_segment_header};
use crate::storage::replica::segments::Segment;
use crate::storage::replica::{Active, Purpose, Replica};
use crate::storage::scan::Scanner;
use crate::{Epoch, Offset};

impl Replica {
    /// What is not whole is cut.
    pub(super) fn torn_tail(&mut self, opening: &mut Opening, scanner: &Scanner) -> Next {
        self.torn_at(opening, (scanner.position(), scanner.end()))
    }

    /// Bytes from here on are not whole: they are cut, with the batch they belong to.
    pub(super) fn torn_at(&mut self, opening: &mut Opening, torn: (u64, Offset)) -> Next {
        self.marks.hit_if(!opening.batch.is_empty(), Mark::TornBatch);
        let cut = if opening.batch.is_empty() { torn } else { opening.batch_start };
        opening.batch.clear();
        self.settle_tail(opening, cut)
    }

    /// The log ends here: at a byte of the active segment, and at an offset.
    pub(super) fn settle_tail(&mut self, opening: &mut Opening, (len, end): (u64, Offset)) -> Next {
        let active = *self.segments.active();
        let hint = self.active.hint.take().filter(|_| !active.quarantined);
        let (crc, epoch) = (opening.crc.clone(), self.epoch);
        self.active = Active { len, zeroed_to: len, crc, epoch, hint };
        self.log_end = end;
        // A segment with damage is kept as it is: the log goes on in another.
        self.roll_wanted |= active.quarantined;
        let file = active.file(self.id);
        if !opening.files.contains_key(&name(file)) {
            self.submit(Purpose::Tidy(name(file)), DiskOp::Create(file));
        }
        let from = opening.untrusted_from.unwrap_or(len).min(len);
        if opening.cut.is_some() && len < SEGMENT_HEADER_BYTES as u64 {
            return Next::Refuse(format!(
                "{file} has lost even its header, and the log is to be cut within it: nothing is \
                 served, so that nothing more gets lost; put it back as it was, or move {} away: \
                 the replica begins anew, with what the others have",
                Dir::Partition(self.id)
            ));
        }
        if opening.cut.is_some() {
            return Next::Stage(self.name_cut(Some(from)));
        }
        self.rewrite_tail(opening, from)
    }

    /// Writes the tail once more from byte `at` on, where it could be read, then makes it durable.
    pub(super) fn rewrite_tail(&mut self, opening: &Opening, at: u64) -> Next {
        let file = self.segments.active().file(self.id);
        let end = self.active.len;
        let (at, until) = opening.readable(at, end);
        if at < end {
            let len = (until - at).min(u64::from(self.settings.window_bytes)) as u32;
            self.submit(Purpose::Open, DiskOp::Read { file, at, len });
            return Next::Stage(Stage::RewriteRead(at));
        }
        self.submit(Purpose::Open, DiskOp::Truncate { file, len: end });
        self.submit(Purpose::Open, DiskOp::Sync(file));
        Next::Stage(Stage::Settle(2))
    }

    pub(super) fn on_tail_read(&mut self, at: u64, data: Bytes) -> Next {
        if data.is_empty() {
            return Next::Fail(DiskError::Io(0));
        }
        let file = self.segments.active().file(self.id);
        let next = at + data.len() as u64;
        self.submit(Purpose::Open, DiskOp::Write { file, at, data });
        Next::Stage(Stage::RewriteWrite(next))
    }

    /// Makes an empty active segment: the first of a new directory, or one whose header a crash
    /// kept from the disk.
    pub(super) fn create_active(&mut self, opening: &Opening) -> Next {
        if self.segments.list().is_empty() {
            let id = self.take_segment_id();
            self.segments.push(Segment::new(id, Offset(0), None));
        }
        let segment = *self.segments.active();
        self.active = Active::empty();
        self.log_end = segment.base;
        let file = segment.file(self.id);
        let header = encode_segment_header(self.id, segment.id, segment.base);
        self.submit(Purpose::Open, DiskOp::Create(file));
        let data = Bytes::copy_from_slice(&header);
        self.submit(Purpose::Open, DiskOp::Write { file, at: 0, data });
        self.submit(Purpose::Open, DiskOp::Sync(file));
        // Where there was a log, MARK must stand until the manifest says that it is cut.
        let marks = u32::from(opening.cut.is_none());
        if marks > 0 {
            self.submit(Purpose::Open, DiskOp::Create(File::Mark(self.id)));
        }
        Next::Stage(Stage::CreateSegment(3 + marks))
    }

    /// Only once the files are there can the directory hold on to their names.
    pub(super) fn sync_file_names(&mut self, then: Stage) -> Next {
        self.submit(Purpose::Open, DiskOp::SyncDir(Dir::Partition(self.id)));
        Next::Stage(then)
    }

    /// The log is durable to its end: a new reign may begin.
    pub(super) fn settled(&mut self, opening: &mut Opening) -> Next {
        opening.settled = true;
        self.written_end = self.log_end;
        self.written_whole = self.log_end;
        self.durable_end = self.log_end;
        self.sync_to = Offset(0);
        self.durable_whole = self.log_end;
        self.flown_end = self.log_end;
        self.opened_end = self.log_end;
        self.floors.lost(self.log_end, &self.epochs);
        self.epochs.cut(self.log_end);
        if self.settings.replicated {
            return self.settled_in_cluster();
        }
        self.high_watermark = self.log_end;
        self.epoch = Epoch(self.epoch.max(opening.reign).max(self.last_epoch()).0 + 1);
        self.write_mark();
        self.name_settled()
    }

    /// What MARK says of a longer log must be gone before this one grows. (An earlier slot could
    /// stand where one write alone does not reach the disk.)
    fn settled_in_cluster(&mut self) -> Next {
        self.high_watermark = self.high_watermark.min(self.log_end);
        self.epoch = self.last_epoch();
        self.settle_floors();
        self.bound_horizon();
        for _ in 0..2 {
            self.mark_turn += 1;
            let write = self.mark_slot();
            self.submit(Purpose::Open, write);
        }
        self.submit(Purpose::Open, DiskOp::Sync(File::Mark(self.id)));
        Next::Stage(Stage::WriteMark(3))
    }

    /// Nothing tells of a log that goes on behind the cut any more.
    pub(super) fn marked(&mut self) -> Next {
        self.cut = None;
        self.name_settled()
    }

    fn name_settled(&mut self) -> Next {
        self.commit_opened_clock();
        for damage in self.damages.clone() {
            let text = format!(
                "{}: offsets {} to {} can not be read (segment {}, from byte {}): keys not \
                 written or deleted since are answered with -CORRUPT; `kvnode check` tells more",
                self.id, damage.from, damage.to, damage.segment, damage.position
            );
            self.notice(Severity::Error, text);
        }
        let version = self.change_manifest();
        Next::Stage(Stage::AwaitManifest(version))
    }
}
