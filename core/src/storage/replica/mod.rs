//! A replica of one partition: the machine that owns its log, index and files.
//!
//! ```text
//!            append                write + fsync              commit
//!  changes ─────────▶ gather ─────────────────────▶ log ─────────────────▶ keydir
//!                       └──────── the tail, seen by commands ────────┘
//! ```
//!
//! Positions in the log, each at most the one before: *log end* (next offset to give out) ≥
//! *written end* ≥ *durable end*; the *high watermark* is the end of what every in-sync replica
//! has acknowledged: durable under `--fsync always`, written otherwise. The in-sync replicas of a
//! single node are the node itself.
//!
//! A reign begins with an epoch record, and nothing is served before it is committed.
//!
//! A replica that stands alone does all that by itself. In a cluster ([`Settings::replicated`]) its
//! owner does, which knows the others: it begins reigns ([`begin_reign`](Replica::begin_reign)) or
//! has the replica take what a leader has logged ([`copied`]), says what is committed
//! ([`watermark`]), ships the log to others ([`ring`], [`reader`]) and cuts what the others do not
//! have ([`cut`]). What was acknowledged and is not committed stays in the tail.
//!
//! Invariants:
//! - The keydir holds committed records only; the [`tail`] holds all others.
//! - A record is submitted for writing behind the last one, with nothing missing in between: one
//!   write is in flight at a time, and a failed one ends appending ([`fault`]).
//! - The manifest on disk may be older than the table of segments in memory, never the reverse;
//!   whatever needs it newer (writing to a new segment, deleting a compacted one) waits.
//! - A file is deleted only when the durable manifest does not name it.

mod append;
mod choose;
mod copied;
mod cut;
mod fault;
mod floors;
mod gone;
mod hints;
mod lookup;
mod manifest;
mod merge;
mod open;
mod reader;
mod ring;
mod roll;
mod scrub;
mod segments;
mod status;
mod stop;
mod tail;
mod watermark;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::disk::{CacheKey, DiskDone, DiskError, DiskOp, DiskResult, ValueCache};
use crate::marks::{Mark, Marks};
use crate::shard::{FsyncMode, IndexKind, Reason, Severity};
use crate::storage::epochs::Epochs;
use crate::storage::format::{SEGMENT_HEADER_BYTES, Sealed};
use crate::storage::hint::Owner;
use crate::storage::keydir::{Keydir, Place};
use crate::{Epoch, Instant, Millis, Offset, PartitionId, SegmentId, Value};

pub use copied::BadRecords;
pub use fault::Refusal;
pub use lookup::{Found, ReadFault};
pub use merge::MergeSettings;
pub use reader::{Chunk, LogFault};
pub use scrub::ScrubSettings;
pub use status::{Counters, Status};

use manifest::ManifestState;
use segments::{Segment, Segments};
use tail::Tail;

/// How a replica runs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// When a write counts as acknowledged by this replica.
    pub fsync: FsyncMode,
    /// Which index it keeps.
    pub index: IndexKind,
    /// Size at which the active segment rolls, in bytes.
    pub segment_bytes: u64,
    /// Zeros written ahead of the log end at a time, in bytes; zero for none.
    pub zero_ahead_bytes: u64,
    /// Bytes of a segment that are read at a time where it is read through.
    pub window_bytes: u32,
    /// When and how fast segments are compacted.
    pub merge: MergeSettings,
    /// Whether, how fast and how often sealed segments are read through.
    pub scrub: Option<ScrubSettings>,
    /// Under `--fsync always`: a write counts only once MARK says that it is durable, and that is
    /// durable too. It costs an fsync more; then nothing that ever counted can be taken for a torn
    /// tail, wherever damage strikes.
    pub mark_first: bool,
    /// The partition has been opened before: its files are not made anew.
    pub must_exist: bool,
    /// It is one of several: its owner begins reigns and tells what is committed.
    pub replicated: bool,
    /// Seed of the index's hashing.
    pub seed: u64,
}

/// See the module's header.
#[derive(Debug)]
pub struct Replica {
    id: PartitionId,
    settings: Settings,
    state: State,

    epoch: Epoch,
    log_end: Offset,
    written_end: Offset,
    /// Everything before is written, and it is not within a batch.
    written_whole: Offset,
    durable_end: Offset,
    high_watermark: Offset,
    /// The end of what was handed to the disk.
    flown_end: Offset,
    /// Everything before is durable, and it is not within a batch.
    durable_whole: Offset,
    /// The log end when it was opened: the keydir holds what was logged before, committed or not.
    opened_end: Offset,
    /// The reigns that the log has records of.
    epochs: Epochs,
    /// See [`Manifest::cut`](crate::storage::format::Manifest::cut).
    cut: Option<Offset>,
    floors: floors::Floors,
    /// The last opening has cut the log as a whole.
    begun_anew: bool,
    /// No tombstone at or behind this offset is dropped.
    retain: Offset,
    /// In a cluster: the owner has begun a reign, and nothing has ended it.
    reigns: bool,
    /// A full disk has ended the reign.
    stood_down: bool,
    /// Bytes of the batch that the log ends in, if it ends in one.
    open_bytes: usize,
    /// Writes whose records are not all committed, oldest first.
    writes: VecDeque<Written>,
    ring: ring::Ring,
    readers: reader::Readers,
    /// The clock of the last committed record: what expired by it stays expired.
    committed_clock: Millis,
    /// The clock of what the opening found, committed or not.
    opened_clock: Millis,

    keydir: Keydir,
    tail: Tail,
    segments: Segments,
    /// Ranges of the log that can not be read; see [`lookup`].
    damages: Vec<Damage>,
    /// Ranges like these that hide nothing any more, since an operator has accepted the loss, or a later record
    /// has deleted all keys: whoever reads the log has to get past them all the same.
    forgone: Vec<Damage>,
    /// Segments whose header an opening has found damaged, and nothing else that their records do not tell.
    headless: Vec<SegmentId>,
    /// Such ranges were met that an operator has accepted as lost.
    accepted: bool,
    /// Its opening met values that are damaged.
    damaged_values: bool,
    gone: gone::Gone,
    tombstone_horizon: Offset,
    loss_accepted: Offset,
    next_segment: SegmentId,

    active: Active,
    /// A segment that was sealed before all of it was committed: its hint is not ended yet.
    ending: Option<hints::Ending>,
    gather: BytesMut,
    /// The offset of the first record in `gather`.
    gather_base: Offset,
    flying: Option<Flying>,
    roll: Option<roll::Roll>,
    /// Under `--fsync N` and `never`: the fsync under way, and when the next is due.
    sync_flying: Option<Offset>,
    sync_due: Instant,
    /// To be durable up to there whatever the mode.
    sync_to: Offset,
    mark_turn: u64,
    /// The last write of MARK has failed, and that was said.
    mark_failing: bool,
    manifest: ManifestState,
    merge: merge::MergeState,
    scrub: scrub::ScrubState,
    /// A fault has spoilt the active segment: the next write goes to a new one.
    roll_wanted: bool,
    /// [`stop`](Self::stop) was called.
    stop_wanted: bool,
    /// Openings in a row that failed since a segment could not be read.
    unread_openings: u32,
    /// In a cluster: this process has noted outside of the log that there is one.
    held: bool,
    /// How often the log was gone.
    losses: u32,
    /// The disk was full: what was dropped starts here, and the cut is not durable yet.
    clearing: Option<Offset>,
    /// Until when writes are refused because the disk was full.
    full_until: Option<Instant>,

    next_io: u64,
    pending: BTreeMap<u64, Purpose>,
    /// Operations of an earlier life that the disk has not answered yet. What they still do to the
    /// directory would mislead an opening, so that it waits for them.
    abandoned: BTreeSet<u64>,
    ops: VecDeque<(u64, DiskOp)>,
    events: VecDeque<Event>,
    counters: Counters,
    /// Files of no use that are still to be deleted.
    leftovers: VecDeque<String>,
    marks: Marks,
}

/// What a replica tells its shard.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The high watermark moved.
    Committed,
    /// In a cluster: [`Replica::acked_end`] moved.
    Acked,
    /// The answer to [`Replica::read_log`].
    Log(ReadToken, Result<Chunk, LogFault>),
    /// What was logged from this offset on is lost to the log.
    Dropped(Offset, Dropped),
    /// The answer to [`Replica::read`].
    Read(ReadToken, Result<Value, ReadFault>),
    /// A part of the log that could be read once can not be read any more.
    Damaged,
    /// An opening has found that the log is gone. Each one that is tried until one ends tells so.
    Lost,
    /// It serves from now on. In a cluster: it is open, and its owner knows the rest.
    Opened,
    /// After [`Replica::stop`]: nothing more is asked of the disk.
    Stopped {
        /// Everything is durable, and marked so. If not, an opening was given up.
        clean: bool,
    },
    /// The directory can not be used: why, and what to do.
    Refused(String),
    /// For the operator's log.
    Notice(Severity, String),
}

/// What became of writes that were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// They did not take effect and never will: the disk is full.
    DiskFull,
    /// They did not take effect and never will: the replica stopped before they were written.
    NotApplied,
    /// Whether they take effect shows after the restart.
    Unknown,
}

/// Names a read for its asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadToken(pub u64);

/// A range of the log that can not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's first offset.
    pub base: Offset,
    /// The segment.
    pub segment: SegmentId,
    /// Where the damage starts in the segment, in bytes.
    pub position: u64,
    /// The first byte behind it: no record before can be taken for newer than what was lost.
    pub until: u64,
    /// First offset that may be lost.
    pub from: Offset,
    /// First offset after the damage.
    pub to: Offset,
}

/// Where a replica is in its life.
#[derive(Debug)]
enum State {
    Opening(alloc::boxed::Box<open::Opening>),
    /// Open: it takes records and finds keys.
    Serving,
    Stopping(stop::Stopping),
    /// Stopped by a disk fault.
    Down {
        /// When it opens again.
        until: Instant,
        /// From where on the log is not trusted then.
        distrust: Option<Offset>,
        /// Where it is cut then.
        cut: Option<Offset>,
    },
    /// The end: stopped cleanly, or the directory can not be used.
    Ended,
}

/// The end of the active segment.
#[derive(Debug)]
struct Active {
    /// Bytes submitted for writing, the header included.
    len: u64,
    /// The file holds zeros from `len` to here.
    zeroed_to: u64,
    /// CRC-32 of the records submitted.
    crc: crc32fast::Hasher,
    /// The epoch of the last of them; zero if there is none.
    epoch: Epoch,
    /// Its hint; `None` if that was given up.
    hint: Option<hints::Gathering>,
}

/// Where a write went whose records are not all committed.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// The segment, and where in it.
    segment: SegmentId,
    position: u64,
    /// The offset after its last record.
    end: Offset,
}

/// The write in flight.
#[derive(Debug)]
struct Flying {
    /// Where in the active segment it goes.
    position: u64,
    /// The segment's checksum without it, and the epoch of its last record.
    crc_before: crc32fast::Hasher,
    epoch_before: Epoch,
    /// The offset after its last record.
    end: Offset,
    /// The end of its last whole batch.
    whole: Offset,
}

/// What a disk operation in flight is for.
#[derive(Debug)]
enum Purpose {
    Open,
    Write,
    Zeros,
    /// Makes durable what is before the first offset; before the second it is of whole batches.
    Sync(Offset, Offset),
    Mark,
    SyncMark,
    /// The write in flight, which ends here, waits for MARK.
    MarkFirst(Offset),
    /// A part of a hint that opening reads.
    ReadHint(SegmentId, open::HintPart),
    /// A part of the hint of a segment that is, or was, the active one.
    Hint(SegmentId),
    Roll(SegmentId, roll::RollOp),
    Manifest(u64, manifest::ManifestOp),
    Merge(u64, merge::MergeOp),
    Clear(fault::ClearOp),
    Stop,
    Read(ReadToken, lookup::ReadWant),
    /// A part of the log, for the reader of this number.
    Log(u64),
    /// A part of a segment that is read through, of this walk.
    Scrub(u64),
    /// Nobody waits for the file of this name to go; a failure is noted.
    Tidy(String),
}

impl Active {
    /// Of a segment without records.
    fn empty() -> Self {
        let len = SEGMENT_HEADER_BYTES as u64;
        let (crc, hint) = (crc32fast::Hasher::new(), Some(hints::Gathering::new()));
        Self { len, zeroed_to: len, crc, epoch: Epoch(0), hint }
    }
}

/// How long a replica stays down after a disk fault, and how long writes are refused after the
/// disk was full before one is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Replica {
    /// A replica about to open its directory.
    pub fn new(id: PartitionId, settings: Settings) -> Self {
        let mut replica = Self::blank(id, settings);
        replica.start_opening(None, None);
        replica
    }

    fn blank(id: PartitionId, settings: Settings) -> Self {
        Self {
            id,
            settings,
            state: State::Ended,
            epoch: Epoch(0),
            log_end: Offset(0),
            written_end: Offset(0),
            written_whole: Offset(0),
            durable_end: Offset(0),
            high_watermark: Offset(0),
            flown_end: Offset(0),
            durable_whole: Offset(0),
            opened_end: Offset(0),
            epochs: Epochs::new(),
            cut: None,
            floors: floors::Floors::default(),
            begun_anew: false,
            retain: Offset(u64::MAX),
            reigns: false,
            stood_down: false,
            open_bytes: 0,
            writes: VecDeque::new(),
            ring: ring::Ring::default(),
            readers: reader::Readers::default(),
            committed_clock: 0,
            opened_clock: 0,
            keydir: Keydir::new(settings.index, settings.seed),
            tail: Tail::new(settings.seed, !settings.replicated),
            segments: Segments::default(),
            damages: Vec::new(),
            forgone: Vec::new(),
            headless: Vec::new(),
            accepted: false,
            damaged_values: false,
            gone: gone::Gone::default(),
            tombstone_horizon: Offset(0),
            loss_accepted: Offset(0),
            next_segment: SegmentId(0),
            active: Active::empty(),
            ending: None,
            gather: BytesMut::new(),
            gather_base: Offset(0),
            flying: None,
            roll: None,
            sync_flying: None,
            sync_due: Instant::default(),
            sync_to: Offset(0),
            mark_turn: 0,
            mark_failing: false,
            manifest: ManifestState::default(),
            merge: merge::MergeState::default(),
            scrub: scrub::ScrubState::default(),
            roll_wanted: false,
            stop_wanted: false,
            unread_openings: 0,
            held: false,
            losses: 0,
            clearing: None,
            full_until: None,
            next_io: 0,
            pending: BTreeMap::new(),
            abandoned: BTreeSet::new(),
            ops: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            leftovers: VecDeque::new(),
            marks: Marks::default(),
        }
    }

    /// Takes the answer to an operation of [`poll_op`](Self::poll_op). An answer to an operation
    /// of an earlier life (before a disk fault) is ignored.
    pub fn on_disk(
        &mut self,
        now: Instant,
        io: u64,
        result: DiskResult,
        cache: &mut dyn ValueCache,
    ) {
        let Some(purpose) = self.pending.remove(&io) else {
            if self.abandoned.remove(&io) {
                self.advance(now, cache);
            }
            return;
        };
        match purpose {
            Purpose::Open => self.on_open_io(now, result),
            Purpose::ReadHint(id, part) => self.on_hint_read(now, id, part, result),
            Purpose::Hint(id) => self.on_hint_written(id, result),
            Purpose::Write => self.on_write(now, result, cache),
            Purpose::Zeros => self.on_zeros(now, result),
            Purpose::Sync(end, whole) => self.on_sync(now, (end, whole), result, cache),
            Purpose::Mark => self.on_mark(now, result),
            Purpose::MarkFirst(end) => self.on_marked(now, end, result, cache),
            Purpose::SyncMark => self.on_mark_synced(result),
            Purpose::Roll(id, op) => self.on_roll_io(now, id, op, result),
            Purpose::Manifest(attempt, op) => self.on_manifest_io(now, attempt, op, result),
            Purpose::Merge(job, op) => self.on_merge_io(now, job, op, result),
            Purpose::Clear(op) => self.on_clear_io(now, op, result),
            Purpose::Stop => self.on_stop_io(now, result),
            Purpose::Read(token, want) => self.on_read(token, &want, result, cache),
            Purpose::Log(reader) => self.on_log_read(reader, result),
            Purpose::Scrub(walk) => self.on_scrub_read(walk, result),
            Purpose::Tidy(name) => self.on_tidied(&name, result),
        }
        self.advance(now, cache);
    }

    /// Does what has become possible or due.
    pub fn advance(&mut self, now: Instant, cache: &mut dyn ValueCache) {
        if let State::Down { until, distrust, cut } = self.state
            && now >= until
            && self.abandoned.is_empty()
        {
            self.marks.hit_if(cut.is_none(), Mark::Reopened);
            self.start_opening(distrust, cut);
        }
        self.end_fullness(now);
        self.advance_opening(now);
        self.advance_roll(now);
        self.advance_sync(now);
        self.advance_merge(now, cache);
        self.advance_scrub(now);
        self.advance_stop(now);
        // Last: each of the others may have changed what it should say.
        self.advance_manifest(now);
    }

    /// The next operation for the disk. What was gathered is written as soon as the write before
    /// it has come back, so a driver that hands in more before it drains makes larger writes.
    pub fn poll_op(&mut self, now: Instant) -> Option<(u64, DiskOp)> {
        self.advance_append(now);
        self.ops.pop_front()
    }

    /// The next thing to tell the shard.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`advance`](Self::advance), and why.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        let retry = match self.state {
            // The last answer to come brings it back no sooner than it is due.
            State::Down { until, .. } => self.abandoned.is_empty().then_some(until),
            State::Opening(_) | State::Serving | State::Stopping(_) | State::Ended => {
                let full_until = self.full_until.filter(|_| self.settings.replicated);
                self.manifest.retry_at().into_iter().chain(full_until).min()
            }
        };
        [
            retry.map(|at| (at, Reason::Retry)),
            self.sync_deadline().map(|at| (at, Reason::Fsync)),
            self.merge_deadline().map(|at| (at, Reason::Compaction)),
            self.scrub_deadline().map(|at| (at, Reason::Scrub)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|&(at, _)| at)
    }

    fn submit(&mut self, purpose: Purpose, op: DiskOp) -> u64 {
        let io = self.next_io;
        self.next_io += 1;
        self.pending.insert(io, purpose);
        self.ops.push_back((io, op));
        io
    }

    fn owner(&self, segment: &Segment, sealed: Sealed) -> Owner {
        Owner { partition: self.id, segment: segment.id, base: segment.base, sealed }
    }

    /// What the value cache knows a place by.
    pub fn cache_key(&self, place: Place) -> CacheKey {
        let Place { segment, position, .. } = place;
        CacheKey { partition: self.id, segment, position }
    }

    fn notice(&mut self, severity: Severity, text: String) {
        self.events.push_back(Event::Notice(severity, text));
    }

    fn on_tidied(&mut self, name: &str, result: DiskResult) {
        if let Err(error) = result {
            let text = alloc::format!("{}: {name} could not be deleted: {error}", self.id);
            self.notice(Severity::Warn, text);
        }
        self.delete_leftover();
    }
}

/// The answer to an operation that gives no data.
fn done(result: DiskResult) -> Result<(), DiskError> {
    match result? {
        DiskDone::Done => Ok(()),
        DiskDone::Data(_) | DiskDone::Listing(_) => unreachable!("the driver answers in kind"),
    }
}

/// The answer to a read.
fn done_data(result: DiskResult) -> Result<Bytes, DiskError> {
    match result? {
        DiskDone::Data(data) => Ok(data),
        DiskDone::Done | DiskDone::Listing(_) => unreachable!("the driver answers in kind"),
    }
}
