//! A merge: what is copied of each record.

use super::{Job, Move, Output, Standing, position_of};
use crate::marks::Mark;
use crate::storage::hint::Hinted;
use crate::storage::keydir::{Entry, Place};
use crate::storage::record::{self, Head, Kind};
use crate::storage::replica::Replica;
use crate::storage::scan::Scanned;
use crate::{Millis, Offset, Value};

impl Replica {
    /// Copies a record of the run, its trace, or nothing.
    pub(super) fn copy_record(&self, job: &mut Job, found: &Scanned, standing: Standing) {
        let head = found.head;
        match (head.kind, standing) {
            (Kind::Put, Standing::Current) => job.copy_live(found),
            (Kind::Put | Kind::Delete, Standing::Superseded(_) | Standing::Current)
            | (Kind::Clock | Kind::Gap, _) => {}
            (Kind::Put, Standing::Gone) => {
                if expired(&head, self.committed_clock) {
                    job.marks.hit(Mark::ExpiredDropped);
                    job.copy_tombstone(found, self.retain);
                }
            }
            (Kind::Delete, Standing::Gone) | (Kind::Flush, _) => {
                job.copy_tombstone(found, self.retain);
            }
            (Kind::Epoch, _) => {
                job.copy_other(&head, &[]);
            }
        }
    }
}

impl Job {
    fn copy_live(&mut self, found: &Scanned) {
        let segment = self.run[self.at].id;
        let output = self.output.as_mut().expect("only a merge copies");
        let position = output.position();
        record::copy_alone(&found.bytes, &mut output.buffer);
        let length = found.bytes.len() as u32;
        let to = Place { segment: output.id, position, length };
        let from = (segment, position_of(found));
        output.moves.push(Move { key: Value::copy_from(found.key()), from, to });
        let entry = Entry { place: to, expire_at: found.head.expire_at };
        self.hint.push(Hinted::Put(found.key(), entry));
    }

    /// Keeps the trace of a deleted key, or drops it if nothing older can come back, here or where a
    /// follower has yet to hear of it.
    fn copy_tombstone(&mut self, found: &Scanned, retain: Offset) {
        let head = found.head;
        if self.tombstones_go && head.offset < retain {
            self.horizon = self.horizon.max(head.offset.plus(1));
            self.marks.hit(Mark::TombstoneDropped);
            return;
        }
        self.marks.hit(Mark::TombstoneKept);
        let kind = if head.kind == Kind::Put { Kind::Delete } else { head.kind };
        let head = Head { kind, expire_at: None, ..head };
        let bytes = self.copy_other(&head, found.key());
        self.summary.tombstone_bytes += bytes;
        self.hint.push(match kind {
            Kind::Flush => Hinted::Flush,
            Kind::Put | Kind::Delete | Kind::Epoch | Kind::Clock | Kind::Gap => {
                Hinted::Delete(found.key())
            }
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
        u32::try_from(self.end()).expect("it is at most three segments, or its one input")
    }

    /// Where it ends, in bytes.
    pub(super) fn end(&self) -> u64 {
        self.len + self.buffer.len() as u64
    }
}

fn expired(head: &Head, committed: Millis) -> bool {
    head.expire_at.is_some_and(|at| at <= committed)
}
