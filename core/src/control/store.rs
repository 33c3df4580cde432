//! Where the quorum's term, vote and log are kept: a partition like any other.
//!
//! The store is a [`Replica`] of its own, with an fsync before every answer whatever the data's mode
//! is: a vote and an entry are durable before they are spoken of. So is MARK, which says so: a record
//! that damage hides is missed at the next start, and the node takes no part; it is never cut away as
//! what a crash left half written, and with it a vote. The store's keys are
//!
//! ```text
//! c            the cluster
//! v            the term and the vote
//! s            the snapshot: last entry covered, voters, cluster map
//! e<index>     an entry, the index in eight bytes, big-endian
//! ```
//!
//! One write of the election machine is one atomic batch. Truncating and purging are deletions, and
//! compaction gives their space back: so the rules that keep data through crashes and disk faults
//! are the same for the quorum's log, and need no second proof.
//!
//! After a disk fault memory may be ahead of the disk. The store then tells that everything in
//! memory is void ([`Event::Lost`]) and reads itself anew, as after a restart. A store that has lost
//! a part of itself is refused: the member could have forgotten a vote.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::disk::{DiskOp, DiskResult, NoCache};
use crate::election::{Change, Entry, Snapshot, Stored, WriteId};
use crate::kv::Op;
use crate::marks::Marks;
use crate::shard::{FsyncMode, IndexKind, Severity};
use crate::storage::replica::{
    self, Found, MergeSettings, ReadFault, ReadToken, Replica, Settings,
};
use crate::storage::scan::WINDOW_BYTES;
use crate::{ClusterId, Index, Instant, Member, Offset, PartitionId, Term, Value};

/// What the store tells its owner.
#[derive(Debug)]
pub(super) enum Event {
    /// What is stored, and of which cluster; `None` if nothing ever was.
    Loaded(Option<(ClusterId, Box<Stored>)>),
    /// After [`Store::found`]: the member is one of the cluster, for good.
    Founded,
    /// A write is durable, and all before it.
    Persisted(WriteId),
    /// What was written and not reported as durable may be gone. [`Event::Loaded`] follows.
    Lost,
    /// The store can not be used: why, and what to do.
    Refused(String),
    /// After [`Store::stop`].
    Stopped,
    /// For the operator's log.
    Notice(Severity, String),
}

/// See the module's header.
#[derive(Debug)]
pub(super) struct Store {
    replica: Replica,
    cache: NoCache,
    stage: Stage,
    /// Entries that are stored (or on their way), first and last; empty if the last is before.
    entries: (Index, Index),
    /// Writes under way: durable once the high watermark is there.
    writes: VecDeque<(Offset, Write)>,
    retry_at: Option<Instant>,
    /// Loadings in a row that could not read something.
    unread: u32,
    /// The number of the next read.
    next_read: u64,
    stopping: bool,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum Stage {
    /// The replica opens, or must first be able to write again.
    Opening,
    Loading(Loading),
    Ready,
    Ended,
}

#[derive(Debug, Default)]
struct Loading {
    /// Keys that are to be read.
    left: Vec<Value>,
    /// Keys that are being read.
    asked: BTreeMap<ReadToken, Value>,
    read: BTreeMap<Value, Value>,
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Founding,
    Of(WriteId),
}

const CLUSTER: &[u8] = b"c";
const VOTE: &[u8] = b"v";
const SNAPSHOT: &[u8] = b"s";
const ENTRY: u8 = b'e';

/// Values that are read at the same time.
const READS_MAX: usize = 32;

/// Loadings in a row that may fail to read something before it is taken for lost: a sector that is
/// unreadable stays so, while a bus that was reset comes back.
const UNREAD_MAX: u32 = 25;

/// How long the store waits before it looks again whether it can write.
const RETRY_AFTER: Duration = Duration::from_millis(200);

impl Store {
    /// A store about to open. `must_exist`: it has been made before, and is not made anew.
    pub(super) fn new(must_exist: bool, segment_bytes: u64, seed: u64) -> Self {
        let settings = Settings {
            fsync: FsyncMode::Always,
            index: IndexKind::Ordered,
            segment_bytes,
            zero_ahead_bytes: (64 << 10).min(segment_bytes / 4),
            window_bytes: WINDOW_BYTES,
            merge: MERGE,
            // What is damaged there is found when it is opened, and the quorum has it.
            scrub: None,
            mark_first: true,
            must_exist,
            replicated: false,
            seed,
        };
        Self {
            replica: Replica::new(PartitionId::CONTROL, settings),
            cache: NoCache,
            stage: Stage::Opening,
            entries: (Index(1), Index(0)),
            writes: VecDeque::new(),
            retry_at: None,
            unread: 0,
            next_read: 0,
            stopping: false,
            events: VecDeque::new(),
        }
    }

    /// Takes the answer to an operation of [`poll_op`](Self::poll_op).
    pub(super) fn on_disk(&mut self, now: Instant, io: u64, result: DiskResult) {
        self.replica.on_disk(now, io, result, &mut self.cache);
        self.advance(now);
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant) {
        self.replica.advance(now, &mut self.cache);
        self.advance(now);
    }

    /// When to call [`tick`](Self::tick).
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.replica.deadline().map(|(at, _)| at).into_iter().chain(self.retry_at).min()
    }

    /// The next operation for the disk.
    pub(super) fn poll_op(&mut self, now: Instant) -> Option<(u64, DiskOp)> {
        self.replica.poll_op(now)
    }

    /// The next thing to tell the owner.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The rare states that its log has been in.
    pub(super) fn marks(&self) -> Marks {
        self.replica.marks()
    }

    /// Finishes: what was written is durable when [`Event::Stopped`] comes.
    pub(super) fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.replica.stop(now, &mut self.cache);
        self.advance(now);
    }

    /// Writes the changes as one. Only between [`Event::Loaded`] and [`Event::Lost`].
    pub(super) fn write(&mut self, now: Instant, id: WriteId, changes: &[Change]) {
        if !matches!(self.stage, Stage::Ready) || self.stopping {
            // The owner has not been told yet, or is about to end.
            return;
        }
        if self.replica.writable(now).is_err() {
            self.lose(now);
            return;
        }
        let ops = self.ops(changes);
        let end = self.replica.append(0, false, ops.len(), ops.iter());
        self.writes.push_back((end, Write::Of(id)));
    }

    /// Writes what a new member begins with. Only after [`Event::Loaded`] with nothing.
    pub(super) fn found(&mut self, now: Instant, cluster: ClusterId, stored: &Stored) {
        assert!(stored.entries.is_empty() && self.entries.1 == Index(0), "a member begins once");
        if self.replica.writable(now).is_err() {
            self.lose(now);
            return;
        }
        let ops = [
            put(Value::copy_from(CLUSTER), &cluster),
            put(Value::copy_from(VOTE), &(stored.term, stored.vote)),
            put(Value::copy_from(SNAPSHOT), &stored.snapshot),
        ];
        let end = self.replica.append(0, false, ops.len(), ops.iter());
        self.writes.push_back((end, Write::Founding));
    }

    fn ops(&mut self, changes: &[Change]) -> Vec<(Value, Op)> {
        let mut ops = Vec::with_capacity(changes.len());
        for change in changes {
            match change {
                Change::Vote { term, vote } => ops.push(put(Value::copy_from(VOTE), &(term, vote))),
                Change::Append(entry) => {
                    if self.entries.1 < self.entries.0 {
                        self.entries = (entry.index, entry.index);
                    } else {
                        assert!(entry.index == self.entries.1.plus(1), "entries have no gap");
                        self.entries.1 = entry.index;
                    }
                    ops.push(put(key(entry.index), entry));
                }
                Change::TruncateFrom(from) => {
                    let from = (*from).max(self.entries.0);
                    self.delete(from, self.entries.1, &mut ops);
                    self.entries.1 = self.entries.1.min(Index(from.0.saturating_sub(1)));
                }
                Change::Snapshot(snapshot) => {
                    ops.push(put(Value::copy_from(SNAPSHOT), snapshot));
                }
                Change::PurgeTo(to) => {
                    let to = (*to).min(self.entries.1);
                    self.delete(self.entries.0, to, &mut ops);
                    self.entries.0 = self.entries.0.max(to.plus(1));
                }
            }
        }
        ops
    }

    fn delete(&self, from: Index, to: Index, ops: &mut Vec<(Value, Op)>) {
        ops.extend((from.0..=to.0).map(|index| (key(Index(index)), Op::Delete)));
    }

    /// What memory holds may be ahead of the disk: it is void.
    fn lose(&mut self, now: Instant) {
        match self.stage {
            Stage::Ready => self.events.push_back(Event::Lost),
            Stage::Loading(_) => {}
            Stage::Opening | Stage::Ended => return,
        }
        self.writes.clear();
        self.stage = Stage::Opening;
        self.retry_at = Some(now.after(RETRY_AFTER));
    }

    fn advance(&mut self, now: Instant) {
        while let Some(event) = self.replica.poll_event() {
            self.on_event(now, event);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.load(now);
        }
    }

    fn on_event(&mut self, now: Instant, event: replica::Event) {
        match event {
            replica::Event::Opened => self.load(now),
            replica::Event::Committed => {
                let end = self.replica.high_watermark();
                while let Some(&(until, write)) = self.writes.front()
                    && until <= end
                {
                    self.writes.pop_front();
                    self.events.push_back(match write {
                        Write::Founding => Event::Founded,
                        Write::Of(id) => Event::Persisted(id),
                    });
                }
            }
            replica::Event::Acked | replica::Event::Log(..) | replica::Event::Lost => {
                unreachable!("the store stands alone: each member has its own")
            }
            // The replica has told of it; the quorum has what is lost.
            replica::Event::Damaged => {}
            replica::Event::Dropped(..) => self.lose(now),
            replica::Event::Read(token, result) => self.on_read(now, token, result),
            replica::Event::Stopped { .. } => self.end(Event::Stopped),
            replica::Event::Refused(text) => self.end(Event::Refused(text)),
            replica::Event::Notice(severity, text) => {
                self.events.push_back(Event::Notice(severity, text));
            }
        }
    }

    fn end(&mut self, event: Event) {
        self.stage = Stage::Ended;
        self.events.push_back(event);
    }

    /// Reads everything, once the replica serves and its disk takes writes.
    fn load(&mut self, now: Instant) {
        if !matches!(self.stage, Stage::Opening) || !self.replica.serving() || self.stopping {
            return;
        }
        if self.replica.writable(now).is_err() {
            self.retry_at = Some(now.after(RETRY_AFTER));
            return;
        }
        if self.replica.damaged() {
            return self.refuse("a part of it can not be read");
        }
        let mut loading = Loading::default();
        self.replica.for_each_key(b"", &mut |key, _| loading.left.push(Value::copy_from(key)));
        self.stage = Stage::Loading(loading);
        self.read_on(now);
    }

    /// Asks for more values, or ends the loading.
    fn read_on(&mut self, now: Instant) {
        let Stage::Loading(loading) = &mut self.stage else { return };
        while loading.asked.len() < READS_MAX
            && let Some(key) = loading.left.pop()
        {
            let Found::Committed(entry) = self.replica.find(&key) else {
                // A fault has come between.
                return self.lose(now);
            };
            let token = ReadToken(self.next_read);
            self.next_read += 1;
            self.replica.read(token, &key, entry.place);
            loading.asked.insert(token, key);
        }
        if !loading.asked.is_empty() {
            return;
        }
        let read = core::mem::take(&mut loading.read);
        match decode(&read) {
            Ok(stored) => {
                let entries = stored.as_ref().map(|(_, stored)| &stored.entries[..]);
                self.entries = match entries {
                    Some([first, .., last]) => (first.index, last.index),
                    Some([only]) => (only.index, only.index),
                    Some([]) | None => (Index(1), Index(0)),
                };
                self.stage = Stage::Ready;
                self.unread = 0;
                self.events.push_back(Event::Loaded(stored));
            }
            Err(what) => self.refuse(what),
        }
    }

    fn on_read(&mut self, now: Instant, token: ReadToken, result: Result<Value, ReadFault>) {
        let Stage::Loading(loading) = &mut self.stage else { return };
        let Some(key) = loading.asked.remove(&token) else { return };
        match result {
            Ok(value) => {
                loading.read.insert(key, value);
                self.read_on(now);
            }
            Err(ReadFault::Corrupt) => self.refuse("a record in it has a wrong checksum"),
            Err(ReadFault::Disk(_)) => {
                self.unread += 1;
                if self.unread < UNREAD_MAX {
                    self.lose(now);
                } else {
                    self.refuse("a record in it can not be read, again and again");
                }
            }
            Err(ReadFault::Stopped) => self.lose(now),
        }
    }

    fn refuse(&mut self, what: &str) {
        self.end(Event::Refused(format!(
            "the log of the controller quorum, {}/, is damaged: {what}. This node may have forgotten \
             a vote, so it takes no part: move the data directory away and start the node with an \
             empty one; it joins as a new member and gets everything from the others",
            PartitionId::CONTROL
        )));
    }
}

fn put(key: Value, value: &impl Serialize) -> (Value, Op) {
    let bytes = postcard::to_allocvec(value).expect("plain data can be written to memory");
    (key, Op::Put { value: Value::copy_from(&bytes), expire_at: None })
}

fn key(index: Index) -> Value {
    let mut key = [ENTRY; 9];
    key[1..].copy_from_slice(&index.0.to_be_bytes());
    Value::copy_from(&key)
}

/// What the values add up to, or what is wrong with them.
fn decode(read: &BTreeMap<Value, Value>) -> Result<Option<(ClusterId, Box<Stored>)>, &'static str> {
    if read.is_empty() {
        return Ok(None);
    }
    let cluster = get(read, CLUSTER)?;
    let (term, vote): (Term, Option<Member>) = get(read, VOTE)?;
    let snapshot: Snapshot = get(read, SNAPSHOT)?;
    let mut entries: Vec<Entry> = Vec::new();
    for (key, value) in read.range(Value::copy_from(&[ENTRY])..Value::copy_from(&[ENTRY + 1])) {
        let entry: Entry = postcard::from_bytes(value).map_err(|_| "an entry is not one")?;
        let follows = entries
            .last()
            .is_none_or(|last| last.index.plus(1) == entry.index && last.term <= entry.term);
        if *key != self::key(entry.index) || !follows || entry.term > term {
            return Err("its entries do not follow each other");
        }
        entries.push(entry);
    }
    let after = snapshot.index.plus(1);
    if snapshot.voters.is_empty() || entries.first().is_some_and(|first| first.index > after) {
        return Err("its entries do not follow its snapshot");
    }
    Ok(Some((cluster, Box::new(Stored { term, vote, snapshot, entries }))))
}

fn get<T: DeserializeOwned>(read: &BTreeMap<Value, Value>, key: &[u8]) -> Result<T, &'static str> {
    let value = read.get(&Value::copy_from(key)).ok_or("it lacks a part")?;
    postcard::from_bytes(value).map_err(|_| "a value in it is none of ours")
}

/// When and how fast the store's segments are compacted.
const MERGE: MergeSettings = MergeSettings {
    garbage_percent: 50,
    small_files: 4,
    bytes_per_second: 16 << 20,
    check_every: Duration::from_secs(1),
};
