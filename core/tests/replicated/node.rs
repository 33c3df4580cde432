//! One replica on a disk in memory, driven by hand.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kvnode_core::disk::DiskOp;
use kvnode_core::kv::Op;
use kvnode_core::shard::{FsyncMode, IndexKind};
use kvnode_core::storage::record::{self, Kind, Parsed};
use kvnode_core::storage::replica::{
    Chunk, Dropped, Event, Found, LogFault, MergeSettings, ReadToken, Replica, Settings,
};
use kvnode_core::{Epoch, Instant, Millis, Offset, PartitionId, Value};

use crate::world::{MemDisk, TestCache};

pub type Content = BTreeMap<Vec<u8>, Vec<u8>>;

pub const SETTINGS: Settings = Settings {
    fsync: FsyncMode::Always,
    index: IndexKind::Hash,
    segment_bytes: 1_000,
    zero_ahead_bytes: 0,
    window_bytes: 256,
    merge: MergeSettings {
        garbage_percent: 50,
        small_files: 4,
        bytes_per_second: 64 << 20,
        check_every: Duration::from_millis(100),
    },
    scrub: None,
    mark_first: false,
    must_exist: false,
    replicated: true,
    seed: 7,
};

/// The same, without background work.
pub fn quiet() -> Settings {
    let merge = MergeSettings { check_every: Duration::from_secs(1 << 30), ..SETTINGS.merge };
    Settings { merge, ..SETTINGS }
}

pub struct Node {
    pub replica: Replica,
    pub disk: MemDisk,
    pub now: Instant,
    pub cache: TestCache,
    pub settings: Settings,
    pub opened: u32,
    pub acked: u32,
    pub dropped: Vec<(Offset, Dropped)>,
    pub chunks: VecDeque<(ReadToken, Result<Chunk, LogFault>)>,
    pub values: BTreeMap<ReadToken, Value>,
    pub notices: Vec<String>,
    pub stopped: bool,
    pub refused: Option<String>,
    pub held: VecDeque<(u64, DiskOp)>,
    pub hold: bool,
    pub clock: Millis,
    tokens: u64,
}

impl Node {
    pub fn cold(disk: MemDisk, settings: Settings) -> Self {
        Self {
            replica: Replica::new(PartitionId(3), settings),
            disk,
            now: Instant(1),
            cache: TestCache::default(),
            settings,
            opened: 0,
            acked: 0,
            dropped: Vec::new(),
            chunks: VecDeque::new(),
            values: BTreeMap::new(),
            notices: Vec::new(),
            stopped: false,
            refused: None,
            held: VecDeque::new(),
            hold: false,
            clock: 1_000,
            tokens: 0,
        }
    }

    pub fn open(disk: MemDisk, settings: Settings) -> Self {
        let mut node = Self::cold(disk, settings);
        node.settle();
        node.pass(Duration::ZERO);
        assert!(node.opened == 1, "{:?} {:?}", node.refused, node.notices);
        node
    }

    pub fn fresh(settings: Settings) -> Self {
        Self::open(MemDisk::default(), settings)
    }

    /// A node that leads in this epoch.
    pub fn leader(settings: Settings, epoch: u32) -> Self {
        let mut node = Self::fresh(settings);
        node.replica.begin_reign(Epoch(epoch));
        node.settle();
        node
    }

    pub fn settle(&mut self) {
        for turn in 0.. {
            assert!(turn < 1_000_000, "the replica does not come to rest");
            self.take_events();
            match self.replica.poll_op(self.now) {
                None => break,
                Some((io, op)) if self.hold => self.held.push_back((io, op)),
                Some((io, op)) => {
                    let result = self.disk.run(op);
                    self.replica.on_disk(self.now, io, result, &mut self.cache);
                }
            }
        }
        self.take_events();
    }

    pub fn take_events(&mut self) {
        while let Some(event) = self.replica.poll_event() {
            match event {
                Event::Committed | Event::Damaged | Event::Lost => {}
                Event::Acked => self.acked += 1,
                Event::Log(token, result) => self.chunks.push_back((token, result)),
                Event::Dropped(from, what) => self.dropped.push((from, what)),
                Event::Read(token, value) => {
                    self.values.insert(token, value.expect("the value can be read"));
                }
                Event::Opened => self.opened += 1,
                Event::Stopped { .. } => self.stopped = true,
                Event::Refused(text) => self.refused = Some(text),
                Event::Notice(_, text) => self.notices.push(text),
            }
        }
    }

    /// Answers the held operation at this place as the disk does.
    pub fn release(&mut self, at: usize) -> Option<DiskOp> {
        let (io, op) = self.held.remove(at)?;
        let result = self.disk.run(op.clone());
        self.replica.on_disk(self.now, io, result, &mut self.cache);
        self.settle();
        Some(op)
    }

    pub fn release_all(&mut self) {
        self.hold = false;
        while self.release(0).is_some() {}
        self.settle();
    }

    pub fn pass(&mut self, by: Duration) {
        let end = self.now.after(by);
        self.settle();
        for turn in 0.. {
            assert!(turn < 100_000, "time does not pass");
            let due = self.replica.deadline().map(|(at, _)| at).filter(|&at| at <= end);
            let Some(due) = due else { break };
            self.now = due.max(self.now);
            self.replica.advance(self.now, &mut self.cache);
            self.settle();
        }
        self.now = end;
        self.replica.advance(self.now, &mut self.cache);
        self.settle();
    }

    pub fn compact(&mut self) {
        for _ in 0..40 {
            self.pass(Duration::from_millis(100));
        }
    }

    /// Logs a batch; `None` deletes.
    pub fn append(&mut self, ops: &[(&[u8], Option<&[u8]>)]) -> Offset {
        let ops: Vec<(Value, Op)> = ops
            .iter()
            .map(|(key, value)| {
                let op = match value {
                    Some(v) => Op::Put { value: Value::copy_from(v), expire_at: None },
                    None => Op::Delete,
                };
                (Value::copy_from(key), op)
            })
            .collect();
        self.clock += 1;
        self.replica.append(self.clock, false, ops.len(), ops.iter())
    }

    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Offset {
        let end = self.append(&[(key, Some(value))]);
        self.settle();
        end
    }

    pub fn delete(&mut self, key: &[u8]) -> Offset {
        let end = self.append(&[(key, None)]);
        self.settle();
        end
    }

    pub fn commit_all(&mut self) {
        self.settle();
        self.replica.commit_to(self.replica.acked_end(), &mut self.cache);
        self.settle();
    }

    pub fn commit_to(&mut self, end: u64) {
        self.replica.commit_to(Offset(end), &mut self.cache);
        self.settle();
    }

    /// The answer of `read_log`, with everything that it takes.
    pub fn read(&mut self, from: u64, bytes_max: usize) -> Result<Chunk, LogFault> {
        self.tokens += 1;
        let token = ReadToken(1 << 40 | self.tokens);
        self.replica.read_log(token, Offset(from), bytes_max);
        self.settle();
        let at = self.chunks.iter().position(|(t, _)| *t == token).expect("it is answered");
        self.chunks.remove(at).expect("it is there").1
    }

    /// The log from `from` on, by reading it.
    pub fn log(&mut self, from: u64, bytes_max: usize) -> Vec<Seen> {
        let (mut at, mut all) = (from, Vec::new());
        while at < self.replica.log_end().0 {
            let chunk = self.read(at, bytes_max).expect("it can be read");
            assert!(chunk.base.0 == at && chunk.end > chunk.base);
            let seen = seen(&chunk.records);
            assert_eq!(seen.last().map(|s| s.next), Some(chunk.end));
            all.extend(seen);
            at = chunk.end.0;
        }
        all
    }

    /// What it holds, as committed.
    pub fn content(&mut self) -> Content {
        assert!(self.replica.high_watermark() >= self.replica.applied());
        let mut keys = Vec::new();
        self.replica.for_each_key(b"", &mut |key, _| keys.push(key.to_vec()));
        let mut content = Content::new();
        for key in keys {
            let value = match self.replica.find(&key) {
                Found::Committed(entry) => {
                    self.tokens += 1;
                    let token = ReadToken(self.tokens);
                    self.replica.read(token, &key, entry.place);
                    self.settle();
                    self.values.remove(&token).expect("it is answered").to_vec()
                }
                other => panic!("{key:?} is committed: {other:?}"),
            };
            content.insert(key, value);
        }
        content
    }

    /// Takes everything that the other has, by reading its disk.
    pub fn copy_all(&mut self, from: &mut Node, bytes_max: usize) {
        while self.replica.log_end() < from.replica.shippable_end() {
            let chunk = from.read(self.replica.log_end().0, bytes_max).expect("it can be read");
            self.copy(chunk);
        }
    }

    pub fn copy(&mut self, chunk: Chunk) {
        let taken = self.replica.append_copied(chunk.base, chunk.end, chunk.records);
        assert_eq!(taken, Ok(()));
        self.settle();
    }
}

/// A record, as far as the tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub offset: Offset,
    pub next: Offset,
    pub epoch: Epoch,
    pub kind: Kind,
    pub key: Vec<u8>,
    pub clock: Millis,
}

pub fn seen(bytes: &Bytes) -> Vec<Seen> {
    let (mut at, mut all) = (0, Vec::new());
    while at < bytes.len() {
        let Parsed::Record(found, len) = record::parse(&bytes[at..]) else { panic!("at {at}") };
        assert!(found.value_sound);
        all.push(Seen {
            offset: found.head.offset,
            next: found.next().expect("it says"),
            epoch: found.head.epoch,
            kind: found.head.kind,
            key: found.key.to_vec(),
            clock: found.head.clock,
        });
        at += len;
    }
    all
}
