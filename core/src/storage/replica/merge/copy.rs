//! What becomes of each record that a job reads.

use super::{Job, Move, Output};
use crate::storage::hint::Hinted;
use crate::storage::keydir::{Entry, Place};
use crate::storage::record::{self, Head, Kind};
use crate::storage::replica::Replica;
use crate::storage::scan::Scanned;
use crate::{Millis, SegmentId, Value};

impl Replica {
    /// Decides what becomes of one record.
    pub(super) fn consider(&mut self, job: &mut Job, found: &Scanned) {
        let head = found.head;
        job.summary.epoch = job.summary.epoch.max(head.epoch);
        job.summary.clock = job.summary.clock.max(head.clock);
        let position = u32::try_from(found.position).expect("a segment is shorter than 4 GiB");
        let current = match head.kind {
            Kind::Put | Kind::Delete => self.keydir.get(found.key()),
            Kind::Epoch | Kind::Clock | Kind::Flush => None,
        };
        let segment = job.run[job.at].id;
        let is_current = |e: &Entry| e.place.segment == segment && e.place.position == position;
        if job.output.is_some() {
            match (head.kind, current) {
                (Kind::Put, Some(entry)) if is_current(&entry) => job.copy_live(found, segment),
                (Kind::Put | Kind::Delete, Some(_)) | (Kind::Clock, _) => {}
                (Kind::Put, None) => {
                    if expired(&head, self.committed_clock) {
                        job.copy_tombstone(found);
                    }
                }
                (Kind::Delete | Kind::Flush, None | Some(_)) => job.copy_tombstone(found),
                (Kind::Epoch, _) => {
                    job.copy_other(&head, &[]);
                }
            }
            return;
        }
        // A hint leaves out what is superseded for certain: by a record that is durable.
        let durable = |e: &Entry| e.place.segment != self.segments.active().id;
        let superseded = current.is_some_and(|e| !is_current(&e) && durable(&e));
        let length = found.bytes.len() as u32;
        match head.kind {
            Kind::Put => {
                let place = Place { segment, position, length };
                if !superseded {
                    let entry = Entry { place, expire_at: head.expire_at };
                    job.hint.push(Hinted::Put(found.key(), entry));
                }
            }
            Kind::Delete | Kind::Flush | Kind::Epoch | Kind::Clock => {
                job.summary.other_bytes += u64::from(length);
                match head.kind {
                    Kind::Delete => {
                        job.summary.tombstone_bytes += u64::from(length);
                        job.hint.push(Hinted::Delete(found.key()));
                    }
                    Kind::Flush => {
                        job.summary.tombstone_bytes += u64::from(length);
                        job.hint.push(Hinted::Flush);
                    }
                    Kind::Put | Kind::Epoch | Kind::Clock => {}
                }
            }
        }
    }
}

impl Job {
    fn copy_live(&mut self, found: &Scanned, segment: SegmentId) {
        let output = self.output.as_mut().expect("only a merge copies");
        let position = output.position();
        record::copy_alone(&found.bytes, &mut output.buffer);
        let length = found.bytes.len() as u32;
        let to = Place { segment: output.id, position, length };
        let from = (segment, u32::try_from(found.position).expect("checked by the caller"));
        output.moves.push(Move { key: Value::copy_from(found.key()), from, to });
        let entry = Entry { place: to, expire_at: found.head.expire_at };
        self.hint.push(Hinted::Put(found.key(), entry));
    }

    /// Keeps the trace of a deleted key, or drops it if nothing older can come back.
    fn copy_tombstone(&mut self, found: &Scanned) {
        let head = found.head;
        if self.tombstones_go {
            self.horizon = self.horizon.max(head.offset.plus(1));
            return;
        }
        let kind = if head.kind == Kind::Put { Kind::Delete } else { head.kind };
        let head = Head { kind, expire_at: None, ..head };
        let bytes = self.copy_other(&head, found.key());
        self.summary.tombstone_bytes += bytes;
        self.hint.push(match kind {
            Kind::Flush => Hinted::Flush,
            Kind::Put | Kind::Delete | Kind::Epoch | Kind::Clock => Hinted::Delete(found.key()),
        });
    }

    fn copy_other(&mut self, head: &Head, key: &[u8]) -> u64 {
        let output = self.output.as_mut().expect("only a merge copies");
        let head = Head { more: false, ..*head };
        let bytes = record::encode(&head, key, &[], &mut output.buffer) as u64;
        self.summary.other_bytes += bytes;
        bytes
    }
}

impl Output {
    /// Where the next record goes.
    fn position(&self) -> u32 {
        u32::try_from(self.len + self.buffer.len() as u64).expect("it is no longer than its input")
    }
}

fn expired(head: &Head, committed: Millis) -> bool {
    head.expire_at.is_some_and(|at| at <= committed)
}
