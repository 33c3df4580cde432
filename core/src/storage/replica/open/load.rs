//! Loading the segments, oldest first: by a hint, or by a scan that tells a torn tail from damage.
//!
//! A torn tail is cut with the whole batch it belongs to. A batch that damage cuts off is taken as
//! far as it is known, and yet half of it never shows: all its keys come before the damage, which
//! makes them suspect. This stays so where the end of a log could not be read, and can be later: the
//! segment was sealed with an end behind every offset that it could hold, so that a range behind the
//! batch counts as lost until an operator accepts that.

use alloc::boxed::Box;
use alloc::format;

use super::{Next, Opening, Scan, Stage, name};
use crate::marks::Mark;
use crate::shard::Severity;
use crate::storage::format::{FormatError, SEGMENT_HEADER_BYTES};
use crate::storage::keydir::{Entry, Place};
use crate::storage::record::{Gap, Kind};
use crate::storage::replica::{Damage, Purpose, Replica};
use crate::storage::scan::{self, Scanned, Scanner, Step};
use crate::{Epoch, Offset, Value};

impl Replica {
    /// Loads the segment at `at` of the table, by its hint if it has one.
    pub(super) fn load(&mut self, opening: &mut Opening, at: usize) -> Next {
        match self.usable_hint(opening, at) {
            Some(len) => self.load_hint(opening, at, len),
            None => self.scan_segment(opening, at),
        }
    }

    /// A value that has expired by a clock that was committed is as good as deleted. The log keeps
    /// it until a merge, and long after the index had room for others instead.
    pub(super) fn load_put(&mut self, key: &[u8], entry: Entry) {
        if entry.expire_at.is_some_and(|at| at <= self.committed_clock) {
            self.marks.hit(Mark::ExpiredAtOpening);
            return self.load_delete(key);
        }
        self.segments.enliven(entry.place);
        let replaced = self.keydir.insert(key, entry);
        let replaced = replaced.expect("beyond what was live are a few segments at most");
        if let Some(old) = replaced {
            self.segments.bury(old.place);
        }
    }

    pub(super) fn load_delete(&mut self, key: &[u8]) {
        self.remember_gone(key);
        if let Some(old) = self.keydir.remove(key) {
            self.segments.bury(old.place);
        }
    }

    pub(super) fn scan_segment(&mut self, opening: &mut Opening, at: usize) -> Next {
        let segment = self.segments.list()[at];
        let on_disk = opening.files.get(&name(segment.file(self.id))).copied().unwrap_or(0);
        let len = segment.sealed.map_or(on_disk, |sealed| on_disk.min(sealed.len));
        let end_max = match segment.sealed {
            Some(sealed) => Offset(sealed.end),
            None => scan::end_max(segment.base, opening.mark, len),
        };
        let scanner = Box::new(self.scanner(&segment, len).bounded(self.epoch, end_max));
        opening.batch_start = (SEGMENT_HEADER_BYTES as u64, segment.base);
        opening.crc = crc32fast::Hasher::new();
        (opening.headless, opening.unsound, opening.doubtful) = (false, false, false);
        self.scan_on(opening, at, scanner, Scan::Records)
    }

    /// Takes what the scanner gives until it must read.
    pub(super) fn scan_on(
        &mut self,
        opening: &mut Opening,
        at: usize,
        mut scanner: Box<Scanner>,
        mut scan: Scan,
    ) -> Next {
        let mut first = false;
        // Each turn consumes bytes of a window, or ends.
        loop {
            let step = match scan {
                Scan::Records => scanner.step(),
                Scan::Resync { .. } => scanner.resync(core::mem::take(&mut first)),
            };
            match (step, scan) {
                (Step::Read(op), _) => {
                    self.submit(Purpose::Open, op);
                    return Next::Stage(Stage::Scan(at, scanner, scan));
                }
                (Step::Record(record), _) => {
                    if self.is_cut(opening, at, &record) {
                        return self.torn_at(opening, (record.position, record.head.offset));
                    }
                    if self.distrusted(opening, at, &record).is_some() && opening.batch.is_empty() {
                        return self.settle_tail(opening, (record.position, record.head.offset));
                    }
                    if self.is_active(at)
                        && record.head.offset >= opening.mark
                        && !record.value_sound
                        && !opening.unreadable_in(record.position, record.bytes.len() as u64)
                    {
                        // Its head reached the disk before the crash, its value did not.
                        return self.torn_at(opening, (record.position, record.head.offset));
                    }
                    self.take_scanned(opening, at, &record, &scanner);
                }
                (Step::BadHeader(error @ FormatError::Version(_)), _) => {
                    return Next::Refuse(format!(
                        "{} can not be read: {error}; start the kvnode that wrote it",
                        scanner.file()
                    ));
                }
                (Step::BadHeader(FormatError::Damaged), _) => {
                    let empty =
                        opening.files.get(&name(scanner.file())).is_none_or(|&len| len == 0);
                    if empty && self.is_active(at) && self.nothing_durable(opening, at) {
                        return self.create_active(opening);
                    }
                    self.note_damaged_segment(at, "its header is damaged");
                    opening.headless = true;
                    self.headless.push(self.segments.list()[at].id);
                    scanner.skip_header();
                }
                (Step::Bad { position }, Scan::Records) => {
                    if self.is_active(at)
                        && scanner.end() >= opening.mark
                        && !opening.may_be_hidden(&scanner)
                    {
                        self.marks.hit(Mark::TornTail);
                        return self.torn_tail(opening, &scanner);
                    }
                    self.apply_batch(opening);
                    opening.unsound = true;
                    scan = Scan::Resync { from: scanner.end(), position };
                    first = true;
                }
                (Step::Bad { .. }, Scan::Resync { from, position }) => {
                    opening.doubtful |= scanner.in_pieces(position, scanner.position());
                    // The scanner stands before a sound record: what is between is lost.
                    let Step::Record(record) = scanner.step() else {
                        unreachable!("resync stops at a record whose bytes it holds")
                    };
                    let lost = (position, record.position);
                    let cut = opening.cut.filter(|_| self.is_cut(opening, at, &record));
                    if let Some(end) = cut.or(self.distrusted(opening, at, &record)) {
                        self.add_damage(at, lost, (from, end));
                        return self.settle_tail(opening, (record.position, end));
                    }
                    self.add_damage(at, lost, (from, record.head.offset));
                    self.take_scanned(opening, at, &record, &scanner);
                    scan = Scan::Records;
                }
                (Step::End, scan) => return self.scanned_to_end(opening, at, &scanner, scan),
            }
        }
    }

    pub(super) fn is_active(&self, at: usize) -> bool {
        at + 1 == self.segments.list().len()
    }

    /// Whether the record is at the end of the log that a failed fsync has left: where that begins.
    fn distrusted(&self, opening: &Opening, at: usize, record: &Scanned) -> Option<Offset> {
        opening.distrust.filter(|&from| record.head.offset >= from && self.is_active(at))
    }

    /// Whether the record is, or reaches, behind the cut.
    fn is_cut(&self, opening: &Opening, at: usize, record: &Scanned) -> bool {
        opening.cut.is_some_and(|cut| record.next > cut) && self.is_active(at)
    }

    /// What of the mark is to be held against the log.
    pub(super) fn cut_mark(&mut self, opening: &mut Opening) {
        if let Some(cut) = opening.cut {
            opening.mark = if opening.mark_at_cut { cut } else { opening.mark.min(cut) };
        }
    }

    /// Whether no record of the segment at `at` had been fsynced.
    pub(super) fn nothing_durable(&self, opening: &Opening, at: usize) -> bool {
        opening.mark <= self.segments.list()[at].base
    }

    pub(super) fn take_scanned(
        &mut self,
        opening: &mut Opening,
        at: usize,
        record: &Scanned,
        scanner: &Scanner,
    ) {
        let head = record.head;
        let length = record.bytes.len() as u32;
        if opening.untrusted_from.is_none() && self.is_active(at) && head.offset >= opening.mark {
            opening.untrusted_from = Some(record.position);
        }
        if !record.value_sound {
            opening.unsound = true;
            self.damaged_values = true;
            let end = record.position + u64::from(length);
            opening.doubtful |= scanner.in_pieces(record.position, end);
            let segment = self.segments.at_mut(at);
            segment.quarantined = true;
            let text = format!(
                "{}: the value at byte {} is damaged: its key is answered with an error until it \
                 is written again",
                segment.file(self.id),
                record.position
            );
            self.notice(Severity::Error, text);
        }
        if opening.batch.is_empty() {
            opening.batch_start = (record.position, head.offset);
        }
        let segment = self.segments.list()[at].id;
        let position = u32::try_from(record.position).expect("a segment is shorter than 4 GiB");
        let place = Place { segment, position, length };
        let entry = Entry { place, expire_at: head.expire_at };
        opening.batch.push((head.kind, Value::copy_from(record.key()), entry));
        self.epoch = self.epoch.max(head.epoch);
        self.note_epoch(head.kind, head.epoch, head.offset);
        if head.kind == Kind::Gap
            && record.value_sound
            && let Some(gap) = Gap::decode(record.value())
        {
            // As when it was copied; the manifest may not have heard of it.
            self.tombstone_horizon = self.tombstone_horizon.max(gap.end);
            self.floors.copied(&gap);
        }
        if !head.more {
            // The clock counts only with the batch: a torn one is as if it had never been.
            self.opened_clock = self.opened_clock.max(head.clock);
            opening.crc = scanner.crc();
            self.apply_batch(opening);
        }
    }

    /// The manifest may not have heard of a reign, and the record of its beginning may be lost. Or it
    /// names one that was to begin when it was written, and that a full disk took back: what stands
    /// there is of another.
    fn note_epoch(&mut self, kind: Kind, epoch: Epoch, offset: Offset) {
        let is_not =
            |&&(e, at): &&(Epoch, Offset)| if at <= offset { e > epoch } else { e <= epoch };
        if let Some(&(_, start)) = self.epochs.list().iter().find(is_not) {
            self.epochs.cut(start);
        }
        let later = self.epochs.last().is_none_or(|(e, at)| e < epoch && at <= offset);
        if later && kind != Kind::Gap {
            // It may name one that was to begin here, and was taken back.
            self.epochs.cut(offset);
            self.epochs.push(epoch, offset);
        }
    }

    pub(super) fn apply_batch(&mut self, opening: &mut Opening) {
        for (kind, key, entry) in core::mem::take(&mut opening.batch) {
            if kind != Kind::Put
                && let Some(segment) = self.segments.get_mut(entry.place.segment)
            {
                segment.count_other(kind, entry.place.length);
            }
            if entry.place.segment == self.segments.active().id {
                self.gather_hint(kind, &key, entry);
            }
            match kind {
                Kind::Put => self.load_put(&key, entry),
                Kind::Delete => self.load_delete(&key),
                Kind::Flush => self.flush_keydir(),
                Kind::Epoch | Kind::Clock | Kind::Gap => {}
            }
        }
    }

    pub(super) fn scanned_to_end(
        &mut self,
        opening: &mut Opening,
        at: usize,
        scanner: &Scanner,
        scan: Scan,
    ) -> Next {
        let segment = self.segments.list()[at];
        let (from, position) = match scan {
            Scan::Records => (scanner.end(), scanner.position()),
            Scan::Resync { from, position } => (from, position),
        };
        let Some(sealed) = segment.sealed else {
            if from >= opening.mark && scan == Scan::Records {
                return self.torn_tail(opening, scanner);
            }
            // The log ends before what was durable, or its end can not be read.
            self.apply_batch(opening);
            let end = opening.end_behind(scanner, (position, from));
            self.add_damage(at, (position, scanner.position()), (from, end));
            return self.settle_tail(opening, (scanner.position(), end));
        };
        self.apply_batch(opening);
        let short = match scan {
            Scan::Records => position < sealed.len || (from.0 < sealed.end && !sealed.compacted),
            Scan::Resync { .. } => true,
        };
        let is_sealed = scanner.crc().finalize() == sealed.crc;
        // Sound records, and not those that were sealed here: of another segment of this log.
        let foreign = !short && !opening.unsound && !sealed.damaged;
        if !is_sealed && (foreign || opening.doubtful) {
            let lost = (segment.base, Offset(sealed.end));
            self.add_damage(at, (SEGMENT_HEADER_BYTES as u64, sealed.len), lost);
        } else if short {
            let lost = (from, Offset(sealed.end));
            self.add_damage(at, (position, scanner.position()), lost);
        } else if !opening.unsound && !opening.headless && is_sealed {
            // A read had failed, and does not any more.
            self.segments.at_mut(at).mend();
        }
        self.log_end = Offset(sealed.end);
        self.load(opening, at + 1)
    }

    /// These bytes of the segment at `at`, and with them these offsets, are lost.
    pub(super) fn add_damage(
        &mut self,
        at: usize,
        (position, until): (u64, u64),
        (from, to): (Offset, Offset),
    ) {
        self.marks.hit(Mark::Damage);
        self.note_damaged_segment(at, "bytes in it are no records");
        let segment = self.segments.list()[at];
        // What was accepted was known to be damaged; damage below that came later is not accepted.
        let known = segment.sealed.is_none_or(|sealed| sealed.damaged);
        let (base, segment) = (segment.base, segment.id);
        let damage = Damage { base, segment, position, until, from, to };
        if to > self.loss_accepted || !known {
            self.damages.push(damage);
            self.gone.clear();
        } else {
            self.forgone.push(damage);
            self.accepted = true;
        }
    }

    pub(super) fn note_damaged_segment(&mut self, at: usize, what: &str) {
        let segment = self.segments.at_mut(at);
        segment.quarantined = true;
        let text = format!("{}: {what}: it is kept as it is", segment.file(self.id));
        self.notice(Severity::Error, text);
    }
}
