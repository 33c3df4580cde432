//! Opening: from the files to a replica that serves.
//!
//! ```text
//! list ─▶ manifest ─▶ mark ─▶ each segment: hint, or scan ─▶ settle the tail ─▶ manifest ─▶ epoch
//!   └──▶ (nothing there) make the directory and a first segment ─────────────────┘
//! ```
//!
//! The last segment alone may end in a *torn tail*: bytes that a crash left half written. They are
//! cut. What lies below the durable mark was fsynced, so a bad record there (or a log that ends
//! before the mark) is *damage*: it is never cut, the range is remembered, and [`lookup`] answers
//! with errors where it may matter. The offsets of lost records are not given out again.
//!
//! The tail above the mark is written once more before it is fsynced and trusted: had an fsync
//! failed before the crash, the system may hold pages that it takes for clean and that never
//! reached the disk, and an fsync of those alone would succeed.
//!
//! [`lookup`]: super::lookup

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;

use super::fault::Failed;
use super::segments::{Segment, Segments};
use super::{Active, Damage, Event, Purpose, Replica, State, done, done_data};
use crate::disk::{Dir, DiskDone, DiskError, DiskOp, DiskResult, File};
use crate::shard::Severity;
use crate::storage::format::{
    FormatError, MARK_SLOT_STRIDE, Manifest, SEGMENT_HEADER_BYTES, decode_mark,
    encode_segment_header,
};
use crate::storage::hint::{Hint, Hinted, Summary};
use crate::storage::keydir::{Entry, Place, WARM_KEYS};
use crate::storage::record::Kind;
use crate::storage::scan::{self, Scanned, Scanner, Step, WINDOW_BYTES};
use crate::{Epoch, Instant, Offset, SegmentId, Value};

/// An opening under way.
#[derive(Debug)]
pub(super) struct Opening {
    stage: Stage,
    /// After a disk fault: nothing from this offset on is trusted.
    distrust: Option<Offset>,
    files: BTreeMap<String, u64>,
    /// Everything before this offset was durable.
    mark: Offset,
    clean: bool,
    /// Records of a batch whose last record has not been seen yet, and where it starts.
    batch: Vec<(Kind, Value, Entry)>,
    batch_start: (u64, Offset),
    /// Where the records above the mark start in the active segment.
    untrusted_from: Option<u64>,
    /// Checksum of the records up to the last whole batch.
    crc: crc32fast::Hasher,
    /// The log is durable to its end, by this opening's own work.
    settled: bool,
}

#[derive(Debug)]
enum Stage {
    List,
    /// A new directory is made.
    CreateDir,
    /// Its name is made durable.
    SyncDirName,
    /// The active segment is made (anew): so many answers to come.
    CreateSegment(u32),
    Manifest,
    /// Leftovers are deleted: so many answers to come.
    Cleanup(u32),
    Mark,
    Hint(usize),
    Scan(usize, Box<Scanner>, Scan),
    /// The tail is rewritten from here to the log end.
    RewriteRead(u64),
    RewriteWrite(u64),
    /// The tail is cut and fsynced: so many answers to come.
    Settle(u32),
    /// The manifest must be durable.
    AwaitManifest(u64),
    /// The epoch record must be committed.
    AwaitEpoch(Offset),
}

/// What a scanner is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scan {
    Records,
    /// Behind a bad record, looking for the next sound one.
    Resync {
        from: Offset,
        position: u64,
    },
}

impl Opening {
    /// What a restart after a fault of this opening may not trust.
    pub(super) fn distrusts(&self) -> Option<Offset> {
        self.distrust
    }

    /// Whether the log is durable to its end, by this opening's own work.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }
}

/// How a stage ends.
enum Next {
    Stage(Stage),
    Refuse(String),
    Fail(DiskError),
}

impl Replica {
    /// Starts to open the directory. `distrust`: an fsync failed, and nothing from this offset on
    /// may be taken for durable.
    pub(super) fn start_opening(&mut self, distrust: Option<Offset>) {
        let fresh = Self::blank(self.id, self.settings);
        let old = core::mem::replace(self, fresh);
        // What must outlive a restart: ids are never reused, and the shard has yet to hear.
        self.next_io = old.next_io;
        self.next_segment = old.next_segment;
        self.counters = old.counters;
        self.events = old.events;
        self.roll_wanted = old.roll_wanted;
        self.stop_wanted = old.stop_wanted;
        self.state = State::Opening(Box::new(Opening {
            stage: Stage::List,
            distrust,
            files: BTreeMap::new(),
            mark: Offset(0),
            clean: false,
            batch: Vec::new(),
            batch_start: (0, Offset(0)),
            untrusted_from: None,
            crc: crc32fast::Hasher::new(),
            settled: false,
        }));
        self.submit(Purpose::Open, DiskOp::List(Dir::Partition(self.id)));
    }

    pub(super) fn on_open_io(&mut self, now: Instant, result: DiskResult) {
        let State::Opening(mut opening) = core::mem::replace(&mut self.state, State::Ended) else {
            unreachable!("only an opening submits operations of its own")
        };
        let stage = core::mem::replace(&mut opening.stage, Stage::List);
        let next = self.open_step(&mut opening, stage, result);
        self.state = State::Opening(opening);
        self.enter(now, next);
    }

    /// Goes on with an opening that waits for another part of the replica.
    pub(super) fn advance_opening(&mut self, now: Instant) {
        let State::Opening(opening) = &self.state else { return };
        match opening.stage {
            Stage::AwaitManifest(version) if self.manifest.durable(version) => {
                self.append_epoch();
                self.enter(now, Next::Stage(Stage::AwaitEpoch(self.log_end)));
            }
            Stage::AwaitEpoch(end) if self.high_watermark >= end => {
                self.state = State::Serving;
                self.events.push_back(Event::Opened);
                let text = format!(
                    "{}: serving: epoch {}, log end {}, {} keys in {} segments",
                    self.id,
                    self.epoch,
                    self.log_end,
                    self.keydir.len(),
                    self.segments.list().len()
                );
                self.notice(Severity::Info, text);
            }
            Stage::List
            | Stage::CreateDir
            | Stage::SyncDirName
            | Stage::CreateSegment(_)
            | Stage::Manifest
            | Stage::Cleanup(_)
            | Stage::Mark
            | Stage::Hint(_)
            | Stage::Scan(..)
            | Stage::RewriteRead(_)
            | Stage::RewriteWrite(_)
            | Stage::Settle(_)
            | Stage::AwaitManifest(_)
            | Stage::AwaitEpoch(_) => {}
        }
    }

    fn enter(&mut self, now: Instant, next: Next) {
        match next {
            Next::Stage(stage) => {
                let State::Opening(opening) = &mut self.state else {
                    unreachable!("an opening is under way")
                };
                opening.stage = stage;
            }
            Next::Refuse(text) => self.refuse(text),
            Next::Fail(error) => self.stop_on_fault(now, Failed::Open, error),
        }
    }

    fn open_step(&mut self, opening: &mut Opening, stage: Stage, result: DiskResult) -> Next {
        let step = match stage {
            Stage::List => return self.on_listing(opening, result),
            Stage::Manifest => done_data(result).map(|data| self.on_manifest(opening, &data)),
            Stage::Cleanup(left) => {
                self.on_tidied("a leftover", result);
                Ok(match left {
                    1 => self.read_mark(opening),
                    _ => Next::Stage(Stage::Cleanup(left - 1)),
                })
            }
            Stage::Mark => done_data(result).map(|data| self.on_mark_read(opening, &data)),
            Stage::Hint(at) => return self.on_hint(opening, at, result),
            Stage::Scan(at, mut scanner, scan) => done_data(result).map(|data| {
                scanner.fill(&data);
                self.scan_on(opening, at, scanner, scan)
            }),
            Stage::RewriteRead(at) => done_data(result).map(|data| self.on_tail_read(at, data)),
            Stage::RewriteWrite(at) => done(result).map(|()| self.rewrite_tail(at)),
            Stage::CreateDir => done(result).map(|()| self.sync_dir_name()),
            Stage::SyncDirName => done(result).map(|()| self.create_active()),
            Stage::CreateSegment(left) => done(result).map(|()| match left {
                1 => self.settled(opening),
                _ => Next::Stage(Stage::CreateSegment(left - 1)),
            }),
            Stage::Settle(left) => done(result).map(|()| match left {
                1 => self.settled(opening),
                _ => Next::Stage(Stage::Settle(left - 1)),
            }),
            Stage::AwaitManifest(_) | Stage::AwaitEpoch(_) => {
                unreachable!("these wait for no operation of the opening")
            }
        };
        step.unwrap_or_else(Next::Fail)
    }

    fn on_listing(&mut self, opening: &mut Opening, result: DiskResult) -> Next {
        let dir = Dir::Partition(self.id);
        match result {
            Err(DiskError::NotFound) if self.settings.must_exist => return self.missing(),
            Err(DiskError::NotFound) => {
                self.submit(Purpose::Open, DiskOp::CreateDir(dir));
                return Next::Stage(Stage::CreateDir);
            }
            Err(error) => return Next::Fail(error),
            Ok(DiskDone::Listing(files)) => opening.files = files.into_iter().collect(),
            Ok(DiskDone::Done | DiskDone::Data(_)) => unreachable!("the driver answers in kind"),
        }
        let manifest = File::Manifest(self.id);
        if let Some(&len) = opening.files.get(&name(manifest)) {
            let len = u32::try_from(len).unwrap_or(u32::MAX);
            self.submit(Purpose::Open, DiskOp::Read { file: manifest, at: 0, len });
            return Next::Stage(Stage::Manifest);
        }
        // A first opening that a crash cut short may have left its first segment, empty.
        let data = |(name, &len): (&String, &u64)| {
            name.ends_with(".log") && len > SEGMENT_HEADER_BYTES as u64
        };
        if opening.files.iter().any(data) {
            return Next::Refuse(format!(
                "{dir}/MANIFEST is missing although {dir} holds a log: nothing is served, so that \
                 nothing gets lost; put the directory back as it was, or move {dir} away to start \
                 the partition empty"
            ));
        }
        if self.settings.must_exist {
            return self.missing();
        }
        self.sync_dir_name()
    }

    /// Only once the directory is there can the one above hold on to its name.
    fn sync_dir_name(&mut self) -> Next {
        self.submit(Purpose::Open, DiskOp::SyncDir(Dir::Root));
        Next::Stage(Stage::SyncDirName)
    }

    fn missing(&self) -> Next {
        Next::Refuse(format!(
            "the files of partition {} are missing: nothing is served, so that nothing gets lost; \
             put its directory back as it was",
            self.id
        ))
    }

    fn on_manifest(&mut self, opening: &mut Opening, data: &[u8]) -> Next {
        let file = File::Manifest(self.id);
        let manifest = match Manifest::decode(data, self.id) {
            Ok(manifest) => manifest,
            Err(error @ FormatError::Version(_)) => {
                return Next::Refuse(format!(
                    "{file} can not be read: {error}; start the kvnode that wrote it"
                ));
            }
            Err(error @ FormatError::Damaged) => {
                return Next::Refuse(format!(
                    "{file} can not be read: {error}; nothing is served, so that nothing gets \
                     lost: put the file back from a copy"
                ));
            }
        };
        self.next_segment = self.next_segment.max(SegmentId(manifest.next_segment));
        self.committed_clock = manifest.clock;
        self.tombstone_horizon = Offset(manifest.tombstone_horizon);
        self.loss_accepted = Offset(manifest.loss_accepted);
        self.segments = Segments::from_manifest(&manifest.segments);
        opening.clean = manifest.clean_end.is_some();
        opening.mark = Offset(manifest.clean_end.unwrap_or(0));
        match self.delete_leftovers(opening) {
            0 => self.read_mark(opening),
            left => Next::Stage(Stage::Cleanup(left)),
        }
    }

    fn read_mark(&mut self, opening: &mut Opening) -> Next {
        let mark = File::Mark(self.id);
        let len = 2 * MARK_SLOT_STRIDE as u32;
        if opening.files.contains_key(&name(mark)) {
            self.submit(Purpose::Open, DiskOp::Read { file: mark, at: 0, len });
            Next::Stage(Stage::Mark)
        } else {
            // Without it a torn tail is all that a bad record at the end can be taken for.
            self.submit(Purpose::Tidy("MARK".to_string()), DiskOp::Create(mark));
            self.load(opening, 0)
        }
    }

    /// Deletes files that the manifest does not name: of a roll or a compaction that a crash cut
    /// short. They must be gone before a new file may get the name of one. Returns how many.
    fn delete_leftovers(&mut self, opening: &Opening) -> u32 {
        let mut named = Vec::new();
        for segment in self.segments.list() {
            named.push(name(segment.file(self.id)));
            named.push(name(segment.hint(self.id)));
        }
        let mut count = 0;
        for file in opening.files.keys() {
            let ours = [".log", ".hint", ".tmp"].iter().any(|end| file.ends_with(end));
            if ours && !named.contains(file) {
                let op = DiskOp::DeleteNamed(Dir::Partition(self.id), file.clone());
                self.submit(Purpose::Open, op);
                count += 1;
            }
        }
        count
    }

    fn on_mark_read(&mut self, opening: &mut Opening, data: &[u8]) -> Next {
        let (turn, mark) = decode_mark(data);
        self.mark_turn = turn;
        opening.mark = opening.mark.max(mark);
        self.load(opening, 0)
    }

    /// Loads the segment at `at` of the table, by its hint if it has one.
    fn load(&mut self, opening: &mut Opening, at: usize) -> Next {
        let segment = self.segments.list()[at];
        let hint = segment.hint(self.id);
        let len = opening.files.get(&name(segment.file(self.id))).copied();
        if let (Some(sealed), Some(&hint_len)) = (segment.sealed, opening.files.get(&name(hint)))
            && len == Some(sealed.len)
            && !sealed.damaged
            && let Ok(hint_len) = u32::try_from(hint_len)
        {
            self.submit(Purpose::Open, DiskOp::Read { file: hint, at: 0, len: hint_len });
            return Next::Stage(Stage::Hint(at));
        }
        self.scan_segment(opening, at)
    }

    fn on_hint(&mut self, opening: &mut Opening, at: usize, result: DiskResult) -> Next {
        let segment = self.segments.list()[at];
        let sealed = segment.sealed.expect("only sealed segments have hints");
        let owner = self.owner(&segment, sealed);
        let data = done_data(result).unwrap_or_default();
        let Some(hint) = Hint::verify(&data, &owner) else {
            let text = format!(
                "{} does not fit its segment or is damaged: ignored, and built anew",
                segment.hint(self.id)
            );
            self.notice(Severity::Warn, text);
            return self.scan_segment(opening, at);
        };
        let Summary { epoch, clock, other_bytes, tombstone_bytes } = hint.summary;
        self.reserve(opening, &hint, data.len());
        let mut ahead = hint.clone();
        for (at, hinted) in hint.enumerate() {
            if at % WARM_KEYS == 0 {
                self.warm(ahead.by_ref().take(WARM_KEYS).filter_map(|h| h.key()));
            }
            match hinted {
                Hinted::Put(key, entry) => self.load_put(key, entry),
                Hinted::Delete(key) => self.load_delete(key),
                Hinted::Flush => self.flush_keydir(),
            }
        }
        let segment = self.segments.at_mut(at);
        segment.hinted = true;
        segment.other = other_bytes;
        segment.tombstones = tombstone_bytes;
        self.epoch = self.epoch.max(epoch);
        self.committed_clock = self.committed_clock.max(clock);
        self.log_end = Offset(sealed.end);
        self.load(opening, at + 1)
    }

    /// Makes the index ready for the keys of all hints, by what the first one says of its own.
    fn reserve(&mut self, opening: &Opening, hint: &Hint<'_>, bytes: usize) {
        let hints = opening.files.iter().filter(|(name, _)| name.ends_with(".hint"));
        let total: u64 = hints.map(|(_, len)| len).sum();
        let keys = hint.entries() as u128 * u128::from(total) / bytes.max(1) as u128;
        self.keydir.reserve(usize::try_from(keys).unwrap_or(usize::MAX));
    }

    fn load_put(&mut self, key: &[u8], entry: Entry) {
        self.segments.enliven(entry.place);
        let replaced = self.keydir.insert(key, entry).expect("it fitted before the restart");
        if let Some(old) = replaced {
            self.segments.bury(old.place);
        }
    }

    fn load_delete(&mut self, key: &[u8]) {
        if let Some(old) = self.keydir.remove(key) {
            self.segments.bury(old.place);
        }
    }

    fn scan_segment(&mut self, opening: &mut Opening, at: usize) -> Next {
        let segment = self.segments.list()[at];
        let on_disk = opening.files.get(&name(segment.file(self.id))).copied().unwrap_or(0);
        let len = segment.sealed.map_or(on_disk, |sealed| on_disk.min(sealed.len));
        let dense = segment.sealed.is_none_or(|sealed| !sealed.compacted);
        let end_max = match segment.sealed {
            Some(sealed) => Offset(sealed.end),
            None => scan::end_max(segment.base, opening.mark, len),
        };
        let scanner = Scanner::new(self.id, segment.id, segment.base, len, dense);
        let scanner = Box::new(scanner.bounded(self.epoch, end_max));
        opening.batch_start = (SEGMENT_HEADER_BYTES as u64, segment.base);
        opening.crc = crc32fast::Hasher::new();
        self.scan_on(opening, at, scanner, Scan::Records)
    }

    /// Takes what the scanner gives until it must read.
    fn scan_on(
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
                    if opening.distrust.is_some_and(|d| record.head.offset >= d)
                        && self.is_active(at)
                        && opening.batch.is_empty()
                    {
                        return self.settle_tail(opening, (record.position, record.head.offset));
                    }
                    if self.is_active(at)
                        && record.head.offset >= opening.mark
                        && !record.value_sound
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
                        return self.create_active();
                    }
                    self.note_damaged_segment(at, "its header is damaged");
                    scanner.skip_header();
                }
                (Step::Bad { position }, Scan::Records) => {
                    if self.is_active(at) && scanner.end() >= opening.mark {
                        return self.torn_tail(opening, &scanner);
                    }
                    self.apply_batch(opening);
                    scan = Scan::Resync { from: scanner.end(), position };
                    first = true;
                }
                (Step::Bad { .. }, Scan::Resync { from, position }) => {
                    // The scanner stands before a sound record: what is between is lost.
                    let Step::Record(record) = scanner.step() else {
                        unreachable!("resync stops at a record whose bytes it holds")
                    };
                    self.add_damage(at, position, from, record.head.offset);
                    self.take_scanned(opening, at, &record, &scanner);
                    scan = Scan::Records;
                }
                (Step::End, scan) => return self.scanned_to_end(opening, at, &scanner, scan),
            }
        }
    }

    fn is_active(&self, at: usize) -> bool {
        at + 1 == self.segments.list().len()
    }

    /// Whether no record of the segment at `at` had been fsynced.
    fn nothing_durable(&self, opening: &Opening, at: usize) -> bool {
        opening.mark <= self.segments.list()[at].base
    }

    fn take_scanned(
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
        if !head.more {
            // The clock counts only with the batch: a torn one is as if it had never been.
            self.committed_clock = self.committed_clock.max(head.clock);
            opening.crc = scanner.crc();
            self.apply_batch(opening);
        }
    }

    fn apply_batch(&mut self, opening: &mut Opening) {
        for (kind, key, entry) in core::mem::take(&mut opening.batch) {
            if kind != Kind::Put
                && let Some(segment) = self.segments.get_mut(entry.place.segment)
            {
                segment.count_other(kind, entry.place.length);
            }
            match kind {
                Kind::Put => self.load_put(&key, entry),
                Kind::Delete => self.load_delete(&key),
                Kind::Flush => self.flush_keydir(),
                Kind::Epoch | Kind::Clock => {}
            }
        }
    }

    fn scanned_to_end(
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
            if from >= opening.mark {
                return self.torn_tail(opening, scanner);
            }
            // The log ends before what was durable.
            self.apply_batch(opening);
            self.add_damage(at, position, from, opening.mark);
            return self.settle_tail(opening, (scanner.position(), opening.mark));
        };
        self.apply_batch(opening);
        let short = match scan {
            Scan::Records => position < sealed.len || (from.0 < sealed.end && !sealed.compacted),
            Scan::Resync { .. } => true,
        };
        if short {
            self.add_damage(at, position, from, Offset(sealed.end));
        }
        self.log_end = Offset(sealed.end);
        self.load(opening, at + 1)
    }

    /// What is not whole is cut.
    fn torn_tail(&mut self, opening: &mut Opening, scanner: &Scanner) -> Next {
        self.torn_at(opening, (scanner.position(), scanner.end()))
    }

    /// Bytes from here on are not whole: they are cut, with the batch they belong to.
    fn torn_at(&mut self, opening: &mut Opening, torn: (u64, Offset)) -> Next {
        let cut = if opening.batch.is_empty() { torn } else { opening.batch_start };
        opening.batch.clear();
        self.settle_tail(opening, cut)
    }

    /// The log ends here: at a byte of the active segment, and at an offset.
    fn settle_tail(&mut self, opening: &mut Opening, (len, end): (u64, Offset)) -> Next {
        self.active = Active { len, zeroed_to: len, crc: opening.crc.clone() };
        self.log_end = end;
        let active = *self.segments.active();
        // A segment with damage is kept as it is: the log goes on in another.
        self.roll_wanted |= active.quarantined;
        let file = active.file(self.id);
        if !opening.files.contains_key(&name(file)) {
            self.submit(Purpose::Tidy(name(file)), DiskOp::Create(file));
        }
        let from = opening.untrusted_from.unwrap_or(len).min(len);
        self.rewrite_tail(from)
    }

    /// Writes the tail once more from byte `at` on, then makes it durable.
    fn rewrite_tail(&mut self, at: u64) -> Next {
        let file = self.segments.active().file(self.id);
        let end = self.active.len;
        if at < end {
            let len = (end - at).min(u64::from(WINDOW_BYTES)) as u32;
            self.submit(Purpose::Open, DiskOp::Read { file, at, len });
            return Next::Stage(Stage::RewriteRead(at));
        }
        self.submit(Purpose::Open, DiskOp::Truncate { file, len: end });
        self.submit(Purpose::Open, DiskOp::Sync(file));
        self.submit(Purpose::Open, DiskOp::SyncDir(Dir::Partition(self.id)));
        Next::Stage(Stage::Settle(3))
    }

    fn on_tail_read(&mut self, at: u64, data: Bytes) -> Next {
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
    fn create_active(&mut self) -> Next {
        if self.segments.list().is_empty() {
            let id = self.take_segment_id();
            self.segments.push(Segment::new(id, Offset(0), None));
        }
        let segment = *self.segments.active();
        let len = SEGMENT_HEADER_BYTES as u64;
        self.active = Active { len, zeroed_to: len, crc: crc32fast::Hasher::new() };
        self.log_end = segment.base;
        let file = segment.file(self.id);
        let header = encode_segment_header(self.id, segment.id, segment.base);
        self.submit(Purpose::Open, DiskOp::Create(file));
        let data = Bytes::copy_from_slice(&header);
        self.submit(Purpose::Open, DiskOp::Write { file, at: 0, data });
        self.submit(Purpose::Open, DiskOp::Sync(file));
        self.submit(Purpose::Open, DiskOp::Create(File::Mark(self.id)));
        self.submit(Purpose::Open, DiskOp::SyncDir(Dir::Partition(self.id)));
        Next::Stage(Stage::CreateSegment(5))
    }

    /// The log is durable to its end: a new reign may begin.
    fn settled(&mut self, opening: &mut Opening) -> Next {
        opening.settled = true;
        self.written_end = self.log_end;
        self.durable_end = self.log_end;
        self.high_watermark = self.log_end;
        self.epoch = Epoch(self.epoch.0 + 1);
        self.write_mark();
        for damage in self.damages.clone() {
            let text = format!(
                "{}: offsets {} to {} can not be read (segment {}, from byte {}): keys not \
                 written since are answered with -CORRUPT; `kvnode check` tells more",
                self.id, damage.from, damage.to, damage.segment, damage.position
            );
            self.notice(Severity::Error, text);
        }
        let version = self.change_manifest();
        Next::Stage(Stage::AwaitManifest(version))
    }

    fn add_damage(&mut self, at: usize, position: u64, from: Offset, to: Offset) {
        self.note_damaged_segment(at, "bytes in it are no records");
        let segment = self.segments.list()[at];
        // What was accepted was known to be damaged; damage below that came later is not accepted.
        let known = segment.sealed.is_none_or(|sealed| sealed.damaged);
        if to > self.loss_accepted || !known {
            let (base, segment) = (segment.base, segment.id);
            self.damages.push(Damage { base, segment, position, from, to });
        }
    }

    fn note_damaged_segment(&mut self, at: usize, what: &str) {
        let segment = self.segments.at_mut(at);
        segment.quarantined = true;
        let text = format!("{}: {what}: it is kept as it is", segment.file(self.id));
        self.notice(Severity::Error, text);
    }
}

/// A file's name within its directory.
fn name(file: File) -> String {
    let path = file.to_string();
    path.rsplit('/').next().unwrap_or(&path).to_string()
}
