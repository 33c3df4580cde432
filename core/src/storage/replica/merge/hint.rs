//! A hint: what it says of each record, and its blocks on their way to the disk.

use super::{Job, Standing, position_of};
use crate::disk::{DiskOp, File};
use crate::storage::hint::{Hinted, Part};
use crate::storage::keydir::{Entry, Place};
use crate::storage::record::Kind;
use crate::storage::replica::Replica;
use crate::storage::scan::Scanned;

impl Replica {
    /// Adds a record to the hint of its segment.
    pub(super) fn hint_record(&self, job: &mut Job, found: &Scanned, standing: Standing) {
        let length = found.bytes.len() as u32;
        let tombstone = match found.head.kind {
            Kind::Put => {
                let place =
                    Place { segment: job.run[job.at].id, position: position_of(found), length };
                // What is superseded for certain, by a record that is durable, is left out. In a
                // cluster that record may yet be cut.
                let active = self.segments.active().id;
                let certain = |by: Place| by.segment != active && !self.settings.replicated;
                if !matches!(standing, Standing::Superseded(by) if certain(by)) {
                    let entry = Entry { place, expire_at: found.head.expire_at };
                    job.hint.push(Hinted::Put(found.key(), entry));
                }
                return;
            }
            Kind::Delete => Some(Hinted::Delete(found.key())),
            Kind::Flush => Some(Hinted::Flush),
            Kind::Epoch | Kind::Clock => None,
            Kind::Gap => return,
        };
        job.summary.other_bytes += u64::from(length);
        if let Some(tombstone) = tombstone {
            job.summary.tombstone_bytes += u64::from(length);
            job.hint.push(tombstone);
        }
    }

    /// Hands the blocks of the hint that are full to the disk.
    pub(super) fn write_hint_blocks(&mut self, job: &mut Job) {
        while let Some(part) = job.hint.take_block() {
            self.write_hint_part(job, part);
        }
    }

    /// Hands a part of the hint to the disk; the first one makes the file.
    pub(super) fn write_hint_part(&mut self, job: &mut Job, part: Part) {
        let id = job.output.as_ref().map_or(job.run[0].id, |output| output.id);
        let file = File::Hint(self.id, job.run[0].base, id);
        let Part { at, data } = part;
        if at == 0 {
            self.submit_for(job, DiskOp::Create(file));
        }
        self.submit_for(job, DiskOp::Write { file, at, data });
    }
}
