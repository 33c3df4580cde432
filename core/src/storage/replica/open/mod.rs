//! Opening: from the files to a replica that serves.
//!
//! ```text
//! list ─▶ manifest ─▶ mark ─▶ each segment: hint, or scan ─▶ settle the tail ─▶ manifest ─▶ epoch
//!   └──▶ (nothing there) make the directory and a first segment ─────────────────┘
//! ```
//!
//! In a cluster `p<id>.held` is made before the partition serves here for the first time. Where it is
//! and no log is, the log was lost, whatever became of its directory: UNSYNCED [tells the next
//! process](crate::directory) before an empty log takes its place, and [`Event::Lost`] this one, at once:
//! a full disk may hold up the rest.
//!
//! The last segment alone may end in a *torn tail*: bytes that a crash left half written. They are
//! cut. What lies below the durable mark was fsynced, so a bad record there (or a log that ends
//! before the mark) is *damage*: it is never cut, the range is remembered, and [`lookup`] answers
//! with errors where it may matter. The offsets of lost records are not given out again. So is what
//! the disk does not give back ([`unreadable`]), and there even the tail.
//!
//! The tail above the mark is written once more before it is fsynced and trusted: had an fsync
//! failed before the crash, the system may hold pages that it takes for clean and that never
//! reached the disk, and an fsync of those alone would succeed.
//!
//! [`lookup`]: super::lookup

mod hint;
mod load;
mod settle;
mod unreadable;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub(super) use hint::HintPart;

use super::fault::Failed;
use super::floors::Floors;
use super::segments::Segments;
use super::{Event, Purpose, Replica, State, done, done_data};
use crate::disk::{Dir, DiskDone, DiskError, DiskOp, DiskResult, File};
use crate::marks::Mark;
use crate::shard::Severity;
use crate::storage::epochs::Epochs;
use crate::storage::format::{
    FormatError, MARK_SLOT_STRIDE, Manifest, SEGMENT_HEADER_BYTES, decode_mark,
};
use crate::storage::keydir::{Entry, SEGMENT_ID_MAX};
use crate::storage::record::Kind;
use crate::storage::scan::Scanner;
use crate::{Epoch, Instant, Offset, SegmentId, Value};

/// An opening under way.
#[derive(Debug)]
pub(super) struct Opening {
    stage: Stage,
    /// The log ends here: see [`cut`](super::cut).
    pub(super) cut: Option<Offset>,
    /// The segment that holds the cut was sealed: it is durable up to it.
    pub(super) mark_at_cut: bool,
    /// After a disk fault: nothing from this offset on is trusted.
    distrust: Option<Offset>,
    files: BTreeMap<String, u64>,
    /// Everything before this offset was durable.
    mark: Offset,
    clean: bool,
    /// The latest reign that the manifest knows of.
    reign: Epoch,
    /// Records of a batch whose last record has not been seen yet, and where it starts.
    batch: Vec<(Kind, Value, Entry)>,
    batch_start: (u64, Offset),
    /// Where the records above the mark start in the active segment.
    untrusted_from: Option<u64>,
    /// From where to where the active segment could not be read.
    unreadable: Vec<(u64, u64)>,
    /// Of the segment that is being scanned: its header is damaged; a record is, or is none; and that
    /// stood where two reads meet, so that one of them may have given another place.
    headless: bool,
    unsound: bool,
    doubtful: bool,
    /// Checksum of the records up to the last whole batch.
    crc: crc32fast::Hasher,
    /// The log is durable to its end, by this opening's own work.
    settled: bool,
}

#[derive(Debug)]
pub(super) enum Stage {
    List,
    /// There is no log. Whether there was one shows by the file that is read; and whether the directory is
    /// there is known.
    Gone(bool),
    /// There was: UNSYNCED is made.
    Doubt(bool),
    /// Its name is made durable.
    SyncDoubt(bool),
    /// A new directory is made.
    CreateDir,
    /// Its name is made durable.
    SyncDirName,
    /// The active segment is made (anew): so many answers to come.
    CreateSegment(u32),
    /// Its name is made durable.
    NameSegment,
    Manifest,
    Mark,
    Hint(Box<hint::HintLoad>),
    Scan(usize, Box<Scanner>, Scan),
    /// The tail is rewritten from here to the log end.
    RewriteRead(u64),
    RewriteWrite(u64),
    /// The tail is cut and fsynced: so many answers to come.
    Settle(u32),
    /// Its name is made durable.
    NameTail,
    /// The manifest must say where the log is cut; then the tail is settled from this byte on.
    AwaitCut(u64, Option<u64>),
    /// In a cluster MARK is made durable: so many answers to come.
    WriteMark(u32),
    /// The manifest must be durable.
    AwaitManifest(u64),
    /// In a cluster: that there is a log is noted outside of it.
    Hold,
    /// The name of that is made durable.
    SyncHold,
    /// The epoch record must be committed.
    AwaitEpoch(Offset),
}

/// What a scanner is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
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
    Serve,
    Refuse(String),
    Fail(DiskError),
    /// MARK is there and can not be read.
    Unmarked(DiskError),
}

/// Files of no use that are deleted at a time.
const LEFTOVERS_AT_ONCE: usize = 16;

impl Replica {
    /// Starts to open the directory. `distrust`: an fsync failed, and nothing from this offset on
    /// may be taken for durable. `cut`: the log is to end there.
    pub(super) fn start_opening(&mut self, distrust: Option<Offset>, cut: Option<Offset>) {
        let fresh = Self::blank(self.id, self.settings);
        let old = core::mem::replace(self, fresh);
        // What must outlive a restart: ids are never reused, and the shard has yet to hear.
        self.next_io = old.next_io;
        self.next_segment = old.next_segment;
        self.counters = old.counters;
        self.marks = old.marks;
        self.events = old.events;
        self.roll_wanted = old.roll_wanted;
        self.stop_wanted = old.stop_wanted;
        self.unread_openings = old.unread_openings;
        (self.held, self.losses) = (old.held, old.losses);
        self.retain = old.retain;
        if self.settings.replicated {
            // It was true, and MARK may tell of an earlier one.
            self.high_watermark = old.high_watermark;
            self.committed_clock = old.committed_clock;
            self.floors = old.floors;
        }
        self.state = State::Opening(Box::new(Opening {
            stage: Stage::List,
            distrust,
            cut,
            mark_at_cut: false,
            files: BTreeMap::new(),
            mark: Offset(0),
            clean: false,
            reign: Epoch(0),
            headless: false,
            unsound: false,
            doubtful: false,
            batch: Vec::new(),
            batch_start: (0, Offset(0)),
            untrusted_from: None,
            unreadable: Vec::new(),
            crc: crc32fast::Hasher::new(),
            settled: false,
        }));
        self.submit(Purpose::Open, DiskOp::List(Dir::Partition(self.id)));
    }

    pub(super) fn on_open_io(&mut self, now: Instant, result: DiskResult) {
        self.open_on(now, |replica, opening, stage| replica.open_step(opening, stage, result));
    }

    /// Takes the step that an answer to an operation of the opening allows.
    fn open_on(&mut self, now: Instant, step: impl FnOnce(&mut Self, &mut Opening, Stage) -> Next) {
        let State::Opening(mut opening) = core::mem::replace(&mut self.state, State::Ended) else {
            unreachable!("only an opening submits operations of its own")
        };
        let stage = core::mem::replace(&mut opening.stage, Stage::List);
        let next = step(self, &mut opening, stage);
        self.state = State::Opening(opening);
        self.enter(now, next);
    }

    /// Goes on with an opening that waits for another part of the replica.
    pub(super) fn advance_opening(&mut self, now: Instant) {
        let State::Opening(opening) = &self.state else { return };
        match opening.stage {
            Stage::AwaitCut(version, from) if self.manifest.durable(version) => {
                self.open_on(now, |replica, opening, _| match from {
                    Some(from) => replica.rewrite_tail(opening, from),
                    None => replica.settled(opening),
                });
            }
            Stage::AwaitManifest(version) if self.manifest.durable(version) => {
                let State::Opening(opening) = &self.state else {
                    unreachable!("it is matched above")
                };
                self.delete_leftovers(self.leftovers(opening));
                if self.settings.replicated && self.held {
                    return self.serve();
                }
                if self.settings.replicated {
                    return self.open_on(now, |replica, _, _| {
                        replica.submit(Purpose::Open, DiskOp::Create(File::Held(replica.id)));
                        Next::Stage(Stage::Hold)
                    });
                }
                self.append_epoch();
                let end = self.log_end;
                self.open_on(now, |_, _, _| Next::Stage(Stage::AwaitEpoch(end)));
            }
            Stage::AwaitEpoch(end) if self.high_watermark >= end => self.serve(),
            Stage::List
            | Stage::Gone(_)
            | Stage::Doubt(_)
            | Stage::SyncDoubt(_)
            | Stage::CreateDir
            | Stage::SyncDirName
            | Stage::CreateSegment(_)
            | Stage::NameSegment
            | Stage::Manifest
            | Stage::Mark
            | Stage::Hint(_)
            | Stage::Scan(..)
            | Stage::RewriteRead(_)
            | Stage::RewriteWrite(_)
            | Stage::Settle(_)
            | Stage::NameTail
            | Stage::AwaitCut(..)
            | Stage::WriteMark(_)
            | Stage::AwaitManifest(_)
            | Stage::Hold
            | Stage::SyncHold
            | Stage::AwaitEpoch(_) => {}
        }
    }

    fn serve(&mut self) {
        self.state = State::Serving;
        self.unread_openings = 0;
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

    fn enter(&mut self, now: Instant, next: Next) {
        match next {
            Next::Stage(stage) => {
                let State::Opening(opening) = &mut self.state else {
                    unreachable!("an opening is under way")
                };
                opening.stage = stage;
            }
            Next::Serve => self.serve(),
            Next::Refuse(text) => self.refuse(text),
            Next::Fail(error) => self.stop_on_fault(now, Failed::Open, error),
            Next::Unmarked(error) => self.stop_on_fault(now, Failed::ReadMark, error),
        }
    }

    fn open_step(&mut self, opening: &mut Opening, stage: Stage, result: DiskResult) -> Next {
        let step = match stage {
            Stage::List => return self.on_listing(opening, result),
            Stage::Manifest => done_data(result).map(|data| self.on_manifest(opening, &data)),
            Stage::Mark => match done_data(result) {
                Ok(data) => return self.on_mark_read(opening, &data),
                Err(error) => return Next::Unmarked(error),
            },
            Stage::Scan(at, mut scanner, scan) => match done_data(result) {
                Ok(data) => {
                    scanner.fill(&data);
                    return self.scan_on(opening, at, scanner, scan);
                }
                Err(error) => return self.on_scan_error(opening, at, (scanner, scan), error),
            },
            Stage::RewriteRead(at) => done_data(result).map(|data| self.on_tail_read(at, data)),
            Stage::RewriteWrite(at) => done(result).map(|()| self.rewrite_tail(opening, at)),
            Stage::Gone(is_there) => match result {
                Err(DiskError::NotFound) => Ok(self.make_dir(is_there)),
                result => done_data(result).map(|_| {
                    self.losses += 1;
                    self.events.push_back(Event::Lost);
                    let text = format!(
                        "{}: its log is gone, though {} says that there was one: it begins anew, with \
                         what the other replicas have",
                        self.id,
                        File::Held(self.id)
                    );
                    self.notice(Severity::Error, text);
                    self.submit(Purpose::Open, DiskOp::Create(File::Unsynced));
                    Next::Stage(Stage::Doubt(is_there))
                }),
            },
            Stage::Doubt(is_there) => done(result).map(|()| {
                self.submit(Purpose::Open, DiskOp::SyncDir(Dir::Root));
                Next::Stage(Stage::SyncDoubt(is_there))
            }),
            Stage::SyncDoubt(is_there) => done(result).map(|()| self.make_dir(is_there)),
            Stage::CreateDir => done(result).map(|()| self.sync_dir_name()),
            Stage::Hold => done(result).map(|()| {
                self.submit(Purpose::Open, DiskOp::SyncDir(Dir::Root));
                Next::Stage(Stage::SyncHold)
            }),
            Stage::SyncHold => done(result).map(|()| {
                self.held = true;
                Next::Serve
            }),
            Stage::SyncDirName => done(result).map(|()| self.create_active(opening)),
            Stage::CreateSegment(left) => done(result).map(|()| match left {
                1 => self.sync_file_names(Stage::NameSegment),
                _ => Next::Stage(Stage::CreateSegment(left - 1)),
            }),
            Stage::NameSegment => done(result).map(|()| match opening.cut {
                Some(_) => Next::Stage(self.name_cut(None)),
                None => self.settled(opening),
            }),
            Stage::Settle(left) => done(result).map(|()| match left {
                1 => self.sync_file_names(Stage::NameTail),
                _ => Next::Stage(Stage::Settle(left - 1)),
            }),
            Stage::NameTail => done(result).map(|()| self.settled(opening)),
            Stage::WriteMark(left) => done(result).map(|()| match left {
                1 => self.marked(),
                _ => Next::Stage(Stage::WriteMark(left - 1)),
            }),
            Stage::Hint(_)
            | Stage::AwaitCut(..)
            | Stage::AwaitManifest(_)
            | Stage::AwaitEpoch(_) => {
                unreachable!("these wait for no operation of this kind")
            }
        };
        step.unwrap_or_else(Next::Fail)
    }

    fn on_listing(&mut self, opening: &mut Opening, result: DiskResult) -> Next {
        let dir = Dir::Partition(self.id);
        match result {
            Err(DiskError::NotFound) if self.settings.must_exist => return self.missing(),
            Err(DiskError::NotFound) => return self.begin_log(false),
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
        self.begin_log(true)
    }

    /// There is no log. In a cluster others may count on what was in it.
    fn begin_log(&mut self, is_there: bool) -> Next {
        if !self.settings.replicated {
            return self.make_dir(is_there);
        }
        self.floors = Floors::default();
        self.submit(Purpose::Open, DiskOp::Read { file: File::Held(self.id), at: 0, len: 1 });
        Next::Stage(Stage::Gone(is_there))
    }

    fn make_dir(&mut self, is_there: bool) -> Next {
        if is_there {
            return self.sync_dir_name();
        }
        self.submit(Purpose::Open, DiskOp::CreateDir(Dir::Partition(self.id)));
        Next::Stage(Stage::CreateDir)
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
        self.committed_clock = self.committed_clock.max(manifest.clock);
        opening.reign = Epoch(manifest.epoch);
        self.tombstone_horizon = Offset(manifest.tombstone_horizon);
        self.loss_accepted = Offset(manifest.loss_accepted);
        self.segments = Segments::from_manifest(&manifest.segments);
        self.epochs = Epochs::of(manifest.epochs);
        self.floors.add(Offset(manifest.cut_floor), &manifest.owed);
        opening.clean = manifest.clean_end.is_some();
        self.marks.hit_if(opening.clean, Mark::CleanStart);
        opening.mark = Offset(manifest.clean_end.unwrap_or(0));
        self.pass_leftovers(opening);
        if let Some(from) = opening.cut.into_iter().chain(manifest.cut.map(Offset)).min() {
            self.cut_table(opening, from);
        }
        let mark = File::Mark(self.id);
        let len = 2 * MARK_SLOT_STRIDE as u32;
        if opening.files.contains_key(&name(mark)) {
            self.submit(Purpose::Open, DiskOp::Read { file: mark, at: 0, len });
            Next::Stage(Stage::Mark)
        } else {
            // Without it a torn tail is all that a bad record at the end can be taken for.
            self.submit(Purpose::Tidy("MARK".to_string()), DiskOp::Create(mark));
            self.cut_mark(opening);
            self.load(opening, 0)
        }
    }

    /// Files that the manifest does not name: of a roll or a compaction that a crash cut short.
    fn leftovers(&self, opening: &Opening) -> Vec<String> {
        let mut named = Vec::new();
        for segment in self.segments.list() {
            named.push(name(segment.file(self.id)));
            named.push(name(segment.hint(self.id)));
        }
        let ours = |file: &&String| [".log", ".hint"].iter().any(|end| file.ends_with(end));
        opening.files.keys().filter(ours).filter(|file| !named.contains(file)).cloned().collect()
    }

    /// An id that a leftover has is not given out again.
    fn pass_leftovers(&mut self, opening: &Opening) {
        for file in self.leftovers(opening) {
            let stem = file.rsplit_once('.').map_or(&file[..], |(stem, _)| stem);
            let id = stem.rsplit_once('-').and_then(|(_, id)| u32::from_str_radix(id, 16).ok());
            // A greater one was never given out.
            if let Some(id) = id.filter(|&id| id < SEGMENT_ID_MAX.0) {
                self.next_segment = self.next_segment.max(SegmentId(id + 1));
            }
        }
    }

    /// Only once the manifest is durable: the one that was found may be a rename that a loss of
    /// power would take back, and then the one before names them.
    fn delete_leftovers(&mut self, leftovers: Vec<String>) {
        self.marks.hit_if(!leftovers.is_empty(), Mark::Leftover);
        self.leftovers = leftovers.into();
        (0..LEFTOVERS_AT_ONCE).for_each(|_| self.delete_leftover());
    }

    /// The next one, when another is gone: after a log has begun again from zero there are as many as
    /// it had segments.
    pub(super) fn delete_leftover(&mut self) {
        if let Some(file) = self.leftovers.pop_front() {
            let op = DiskOp::DeleteNamed(Dir::Partition(self.id), file.clone());
            self.submit(Purpose::Tidy(file), op);
        }
    }

    fn on_mark_read(&mut self, opening: &mut Opening, data: &[u8]) -> Next {
        let slot = decode_mark(data);
        self.mark_turn = slot.turn;
        opening.mark = opening.mark.max(slot.durable_end);
        if self.settings.replicated {
            self.high_watermark = self.high_watermark.max(slot.watermark);
        }
        self.cut_mark(opening);
        self.load(opening, 0)
    }
}

/// A file's name within its directory.
fn name(file: File) -> String {
    let path = file.to_string();
    path.rsplit('/').next().unwrap_or(&path).to_string()
}
