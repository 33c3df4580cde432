//! A shard on a disk in memory, driven by hand: no threads, no clock but the test's.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "test files share parts of this")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test may fail at what it does not expect")]

pub mod disk;
pub mod seeds;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kvnode_core::disk::{CacheKey, CacheStats, DiskOp, DiskResult, File, ValueCache};
use kvnode_core::kv::Peer;
use kvnode_core::reply::Reply;
use kvnode_core::server;
use kvnode_core::shard::{Config, FsyncMode, IndexKind, Input, Output, Redirect, Shard};
use kvnode_core::storage::replica::{MergeSettings, ScrubSettings};
use kvnode_core::{ClientId, Instant, IoId, Now, Value};

pub use disk::MemDisk;

/// A cache that forgets nothing, or everything.
#[derive(Default)]
pub struct TestCache {
    pub values: BTreeMap<CacheKey, Value>,
    pub on: bool,
}

impl ValueCache for TestCache {
    fn get(&mut self, _: &[u8], place: CacheKey) -> Option<Value> {
        self.values.get(&place).cloned()
    }

    fn put(&mut self, _: &[u8], place: CacheKey, value: &Value) {
        if self.on {
            self.values.insert(place, value.clone());
        }
    }

    fn read_now(&mut self, _: File, _: u64, _: u32) -> Option<Bytes> {
        None
    }

    fn moved(&mut self, _: &[u8], from: CacheKey, to: CacheKey) {
        if let Some(value) = self.values.remove(&from) {
            self.values.insert(to, value);
        }
    }

    fn clear(&mut self) {
        self.values.clear();
    }

    fn warm(&self, _: &[u8]) {}

    fn stats(&self) -> CacheStats {
        CacheStats::default()
    }
}

/// Reads segments through, where a world does so.
pub const SCRUB: ScrubSettings =
    ScrubSettings { bytes_per_second: 1 << 20, every: Duration::from_secs(60) };

/// How a world is set up.
#[derive(Clone, Copy)]
pub struct Setup {
    pub partitions: Option<u32>,
    pub fsync: FsyncMode,
    pub index: IndexKind,
    pub segment_bytes: u64,
    pub zero_ahead_bytes: u64,
    pub window_bytes: u32,
    pub merge: bool,
    pub scrub: bool,
    pub cache: bool,
    /// The users come from a file.
    pub acl_file: bool,
    /// When the world starts, by its wall clock.
    pub wall_ms: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            partitions: None,
            fsync: FsyncMode::Always,
            index: IndexKind::Hash,
            segment_bytes: 4096,
            zero_ahead_bytes: 512,
            window_bytes: 1024,
            merge: true,
            scrub: false,
            cache: false,
            acl_file: false,
            wall_ms: 1_700_000_000_000,
        }
    }
}

pub struct World {
    pub shard: Shard,
    pub disk: MemDisk,
    pub now: Now,
    pub replies: BTreeMap<ClientId, VecDeque<Reply>>,
    pub notices: Vec<String>,
    pub opened: bool,
    pub refused: Option<String>,
    pub stopped: bool,
    pub closed: Vec<ClientId>,
    /// What else the shard wants of its driver.
    pub others: Vec<Output>,
    /// Operations handed out and not answered yet, while `hold` is set.
    pub held: VecDeque<(IoId, DiskOp)>,
    pub hold: bool,
    next_client: u64,
}

impl World {
    /// A shard on `disk`, which has not done anything yet.
    pub fn cold(disk: MemDisk, setup: Setup) -> Self {
        let now = Now { mono: Instant(1), wall_us: setup.wall_ms * 1000 };
        let config = Config {
            member: false,
            partitions: setup.partitions,
            replication: kvnode_core::replication::Settings::default(),
            redirect: Redirect::Forward,
            fsync: setup.fsync,
            index: setup.index,
            segment_bytes: setup.segment_bytes,
            zero_ahead_bytes: setup.zero_ahead_bytes,
            window_bytes: setup.window_bytes,
            merge: MergeSettings {
                garbage_percent: 50,
                small_files: 4,
                bytes_per_second: 64 << 20,
                check_every: if setup.merge {
                    Duration::from_millis(100)
                } else {
                    Duration::from_secs(1 << 30)
                },
            },
            scrub: setup.scrub.then_some(SCRUB),
            server: server::Setup { acl_file: setup.acl_file, ..server::Setup::default() },
            seed: 7,
            port: 6379,
            process_id: 1,
            cache: Box::new(TestCache { on: setup.cache, ..TestCache::default() }),
        };
        Self {
            shard: Shard::new(config, now),
            disk,
            now,
            replies: BTreeMap::new(),
            notices: Vec::new(),
            opened: false,
            refused: None,
            stopped: false,
            closed: Vec::new(),
            others: Vec::new(),
            held: VecDeque::new(),
            hold: false,
            next_client: 1,
        }
    }

    /// A shard on `disk` that serves.
    pub fn open(disk: MemDisk, setup: Setup) -> Self {
        let mut world = Self::cold(disk, setup);
        world.settle();
        assert!(world.opened, "refused: {:?}, notices: {:?}", world.refused, world.notices);
        world
    }

    pub fn fresh(setup: Setup) -> Self {
        Self::open(MemDisk::default(), setup)
    }

    pub fn client(&mut self) -> ClientId {
        let id = self.client_id();
        self.shard.handle(self.now, Input::Connected(id, Peer::default()));
        id
    }

    /// The id of a client that is to connect.
    pub fn client_id(&mut self) -> ClientId {
        let id = ClientId(self.next_client);
        self.next_client += 1;
        self.replies.insert(id, VecDeque::new());
        id
    }

    /// Hands a command in without driving the disk.
    pub fn send(&mut self, client: ClientId, args: &[&[u8]]) {
        assert!(self.shard.accepts(client), "the client is held back");
        self.shard.handle(self.now, Input::Command(client, args));
    }

    /// Takes what the shard gives; disk operations are answered at once, or held.
    pub fn settle(&mut self) {
        for turn in 0.. {
            assert!(turn < 5_000_000, "the shard does not come to rest");
            match self.shard.poll() {
                Some(Output::Control(_)) => unreachable!("the node stands alone"),
                None => break,
                Some(Output::Disk(io, op)) if self.hold => self.held.push_back((io, op)),
                Some(Output::Disk(io, op)) => {
                    let result = self.disk.run(op);
                    self.shard.handle(self.now, Input::Disk(io, result));
                }
                Some(Output::Reply(client, _, reply)) => {
                    self.replies.entry(client).or_default().push_back(reply);
                }
                Some(Output::Notice(_, text)) => self.notices.push(text),
                Some(Output::Opened) => self.opened = true,
                Some(Output::Refused(text)) => self.refused = Some(text),
                Some(Output::Stopped) => self.stopped = true,
                Some(Output::Close(client)) => self.closed.push(client),
                Some(Output::Resume(_)) => {}
                Some(
                    other @ (Output::AclFile(..)
                    | Output::Silence(_)
                    | Output::Monitored(..)
                    | Output::Shutdown),
                ) => self.others.push(other),
            }
        }
    }

    /// Answers the oldest held operation as the disk does.
    pub fn release_one(&mut self) -> Option<DiskOp> {
        let (io, op) = self.held.pop_front()?;
        let result = self.disk.run(op.clone());
        self.shard.handle(self.now, Input::Disk(io, result));
        self.settle();
        Some(op)
    }

    /// Answers the oldest held operation with this result, and does not do it.
    pub fn answer_one(&mut self, result: DiskResult) -> Option<DiskOp> {
        let (io, op) = self.held.pop_front()?;
        self.shard.handle(self.now, Input::Disk(io, result));
        self.settle();
        Some(op)
    }

    /// Stops to hold operations back.
    pub fn release_all(&mut self) {
        self.hold = false;
        while self.release_one().is_some() {}
        self.settle();
    }

    pub fn reply(&mut self, client: ClientId) -> Option<Reply> {
        self.replies.get_mut(&client)?.pop_front()
    }

    /// A command and its reply, driving disk and time as far as it needs.
    pub fn call(&mut self, client: ClientId, args: &[&[u8]]) -> Reply {
        self.send(client, args);
        self.settle();
        for _ in 0..100 {
            if let Some(reply) = self.reply(client) {
                return reply;
            }
            self.pass(Duration::from_millis(100));
        }
        panic!("no reply to {:?}; notices: {:?}", String::from_utf8_lossy(args[0]), self.notices);
    }

    pub fn set(&mut self, client: ClientId, key: &[u8], value: &[u8]) {
        assert_eq!(self.call(client, &[b"SET", key, value]), Reply::OK);
    }

    pub fn get(&mut self, client: ClientId, key: &[u8]) -> Option<Vec<u8>> {
        match self.call(client, &[b"GET", key]) {
            Reply::Bulk(value) => Some(value.to_vec()),
            Reply::Null => None,
            other => panic!("GET {:?}: {other:?}", String::from_utf8_lossy(key)),
        }
    }

    /// Lets time pass, a deadline at a time.
    pub fn pass(&mut self, by: Duration) {
        let end = self.now.mono.after(by);
        self.settle();
        for turn in 0.. {
            assert!(turn < 1_000_000, "time does not pass");
            let due = self.shard.deadline().map(|(at, _)| at).filter(|&at| at <= end);
            let Some(due) = due else { break };
            let to = due.max(self.now.mono);
            self.now.wall_us += (to.since(self.now.mono).as_micros()) as u64;
            self.now.mono = to;
            self.shard.handle(self.now, Input::Tick);
            self.settle();
        }
        self.now.wall_us += end.since(self.now.mono).as_micros() as u64;
        self.now.mono = end;
    }

    /// Lets background work come to its end.
    pub fn compact(&mut self) {
        for _ in 0..40 {
            self.pass(Duration::from_millis(100));
        }
    }

    pub fn stop(mut self) -> MemDisk {
        self.shard.handle(self.now, Input::Stop);
        self.settle();
        assert!(self.stopped, "notices: {:?}", self.notices);
        self.disk
    }
}

pub fn error_code(reply: &Reply) -> Option<&str> {
    match reply {
        Reply::Error(text) => text.split(' ').next(),
        _ => None,
    }
}
