//! Random commands of several clients on a disk that reorders, delays, fails and crashes as far as
//! its contract lets it, checked against a register for each key. Every run is a seed.
//!
//! `KVNODE_SEEDS=from..to cargo test -p kvnode-core --test adversary` runs others than the usual.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

#[path = "../world/mod.rs"]
mod world;

mod judge;
mod order;
mod register;

use std::collections::{BTreeMap, VecDeque};

use kvnode_core::disk::{DiskError, DiskOp, DiskResult, File};
use kvnode_core::reply::Reply;
use kvnode_core::shard::{FsyncMode, IndexKind, Input, Output};
use kvnode_core::{ClientId, Instant, IoId, Now};

use order::{clash, files};
use register::{Op, Register};
use world::disk::Unsynced;
use world::{MemDisk, Setup, World, error_code, seeds};

/// Seeds of a normal run.
const SEEDS: std::ops::Range<u64> = 0..120;
/// Random actions in a run.
const ACTIONS: usize = 2_500;
/// When every world starts, in ms since the Unix epoch.
const START_MS: u64 = 1_700_000_000_000;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_refused_shows_on_the_worst_disk() {
    for seed in seeds::asked().unwrap_or(SEEDS) {
        let run = std::panic::AssertUnwindSafe(|| Adversary::new(seed).run());
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn the_register_rejects_forged_histories() {
    let lost = |r: &mut Register| {
        let set = r.invoke(Op::Set(1));
        r.done(set);
        let get = r.invoke(Op::Get);
        r.returned(get, None)
    };
    assert!(!lost(&mut Register::default()), "an acknowledged write is gone");
    let resurrected = |r: &mut Register| {
        for op in [Op::Set(1), Op::Set(2), Op::Clear] {
            let op = r.invoke(op);
            r.done(op);
        }
        let get = r.invoke(Op::Get);
        r.returned(get, Some(1))
    };
    assert!(!resurrected(&mut Register::default()), "a deleted value is back");
    let refused = |r: &mut Register| {
        let set = r.invoke(Op::Set(1));
        r.refused(set);
        let get = r.invoke(Op::Get);
        r.returned(get, Some(1))
    };
    assert!(!refused(&mut Register::default()), "a refused write shows");
    let flickers = |r: &mut Register| {
        r.invoke(Op::Set(1));
        [Some(1), None].into_iter().all(|value| {
            let get = r.invoke(Op::Get);
            r.returned(get, value)
        })
    };
    assert!(!flickers(&mut Register::default()), "a write is seen and then not");
    let unknown = |r: &mut Register, value| {
        r.invoke(Op::Set(1));
        let get = r.invoke(Op::Get);
        r.returned(get, value)
    };
    assert!(unknown(&mut Register::default(), None) && unknown(&mut Register::default(), Some(1)));
}

/// What a client waits for.
#[derive(Clone, Debug)]
enum Wait {
    /// `OK` to writes of these keys. Errors other than UNKNOWN and PARTIAL say that nothing was
    /// applied.
    Write(Vec<(usize, u64)>),
    Read(usize, u64),
    /// Both keys of a pair, which are only ever written together.
    Pair,
    /// `OK` to a WATCH.
    Watch,
    /// The value that a swap starts from. Until it is known the client sends nothing.
    ReadToSwap(usize, u64),
    Swap(usize, u64),
    /// A reply that tells nothing.
    Other,
}

struct Client {
    id: ClientId,
    waits: VecDeque<Wait>,
    /// It was held back and not told to go on.
    held: bool,
    /// Its WATCH has been answered.
    watches: bool,
    /// It watches this key and has read this value.
    swapping: Option<(usize, Option<u64>)>,
}

struct Adversary {
    seed: u64,
    random: u64,
    setup: Setup,
    world: World,
    clients: Vec<Client>,
    /// Handed out, not done yet.
    ops: Vec<(IoId, DiskOp)>,
    /// Done, not answered yet.
    answers: Vec<(IoId, Option<File>, DiskResult)>,
    keys: Vec<Register>,
    /// When a value may be gone, and must be gone, in ms.
    expiries: Vec<(u64, usize, u64)>,
    gone_by: BTreeMap<u64, u64>,
    value: u64,
    /// What was read last.
    found: Option<u64>,
    now_us: u64,
    faults: Faults,
    stopping: bool,
    trace: VecDeque<String>,
}

/// Faults of this run, one in so many operations; zero for none.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    write: u64,
    sync: u64,
    read: u64,
    name: u64,
    full: u64,
    on: bool,
}

const KEYS: usize = 6;
/// Histories of one key that are followed at a time.
const HISTORIES_MAX: usize = 2_000;

impl Drop for Adversary {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?} {:?}", self.setup.fsync, self.faults);
            self.trace.iter().for_each(|line| eprintln!("{line}"));
            self.world.notices.iter().for_each(|line| eprintln!("notice: {line}"));
        }
    }
}

impl Adversary {
    fn new(seed: u64) -> Self {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995;
        let mut draw = |below: u64| draw(&mut random, below);
        let partitions = if draw(3) == 0 { 3 } else { 1 };
        let setup = Setup {
            partitions: Some(partitions),
            fsync: match draw(4) {
                0 => FsyncMode::EveryMs(20),
                1 => FsyncMode::Never,
                _ => FsyncMode::Always,
            },
            index: if draw(2) == 0 { IndexKind::Hash } else { IndexKind::Ordered },
            segment_bytes: 400 + draw(2000),
            zero_ahead_bytes: [0, 100, 512][draw(3) as usize],
            window_bytes: [200, 1024, 256 << 10][draw(3) as usize],
            merge: draw(5) > 0,
            scrub: draw(2) > 0,
            cache: draw(2) == 0,
            acl_file: false,
            wall_ms: START_MS,
        };
        let relaxed = setup.fsync != FsyncMode::Always;
        let rate = |on: bool, rate: u64| if on { rate } else { 0 };
        let faults = Faults {
            write: rate(draw(3) == 0, 60),
            sync: rate(draw(3) == 0 && !relaxed, 60),
            read: rate(draw(4) == 0, 40),
            name: rate(draw(3) == 0, 20),
            full: rate(draw(3) == 0, 30),
            on: false,
        };
        Self {
            seed,
            random,
            setup,
            world: World::cold(MemDisk::default(), setup),
            clients: Vec::new(),
            ops: Vec::new(),
            answers: Vec::new(),
            keys: vec![Register::default(); KEYS],
            expiries: Vec::new(),
            gone_by: BTreeMap::new(),
            value: 0,
            found: None,
            now_us: START_MS * 1000,
            faults,
            stopping: false,
            trace: VecDeque::new(),
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        draw(&mut self.random, below)
    }

    fn tell(&mut self, line: String) {
        if self.trace.len() > 3000 {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    fn run(mut self) {
        for _ in 0..3 {
            self.connect();
        }
        for _ in 0..ACTIONS {
            self.act();
        }
        self.heal();
    }

    fn act(&mut self) {
        match self.draw(1000) {
            0..=299 => self.send(),
            300..=579 => self.perform(),
            580..=779 => self.answer(),
            780..=919 => self.poll(),
            920..=984 => self.pass(),
            985..=989 => self.reconnect(),
            990..=993 => self.faults.on = !self.faults.on,
            994 | 995 => self.stop(),
            996..=998 => self.crash(),
            _ => {
                // A quiet moment, or nothing but the first seconds would be seen.
                self.faults.on = false;
                for _ in 0..60 {
                    self.settle();
                    self.advance(50_000);
                }
                if self.clients.iter().all(|client| client.waits.is_empty()) {
                    self.keys.iter_mut().for_each(|key| key.rest(false));
                }
            }
        }
    }

    fn now(&self) -> Now {
        let mono = Instant((self.now_us - self.setup.wall_ms * 1000 + 1) * 1000);
        Now { mono, wall_us: self.now_us }
    }

    fn handle(&mut self, input: Input<'_>) {
        let now = self.now();
        self.world.shard.handle(now, input);
    }

    fn advance(&mut self, us: u64) {
        self.now_us += us;
        let now_ms = self.now_us / 1000;
        for (at, key, value) in std::mem::take(&mut self.expiries) {
            if at <= now_ms + 1 {
                self.keys[key].invoke(Op::Expire(value));
            } else {
                self.expiries.push((at, key, value));
            }
        }
        self.handle(Input::Tick);
    }

    fn pass(&mut self) {
        let us = match self.draw(10) {
            0 => 500_000,
            1 | 2 => 40_000,
            _ => 1_500,
        };
        let us = self.draw(us);
        self.advance(us);
    }

    fn connect(&mut self) {
        let id = self.world.client();
        self.clients.push(Client {
            id,
            waits: VecDeque::new(),
            held: false,
            watches: false,
            swapping: None,
        });
    }

    fn reconnect(&mut self) {
        let at = self.draw(self.clients.len() as u64) as usize;
        let client = self.clients.remove(at);
        self.keys.iter_mut().for_each(|key| key.leave(client.id));
        self.handle(Input::Disconnected(client.id));
        self.connect();
    }

    fn send(&mut self) {
        let at = self.draw(self.clients.len() as u64) as usize;
        let waits = &self.clients[at].waits;
        let prepares = waits.iter().any(|wait| matches!(wait, Wait::Watch | Wait::ReadToSwap(..)));
        if self.clients[at].held || prepares || waits.len() > 12 {
            return;
        }
        if !self.accepted(at) {
            return;
        }
        if let Some((key, old)) = self.clients[at].swapping.take() {
            return self.swap(at, key, old);
        }
        let key = self.draw(KEYS as u64) as usize;
        let name = name(key);
        let pair: [&[u8]; 2] = [b"{pair}a", b"{pair}b"];
        match self.draw(100) {
            0..=29 => self.set(at, key, None),
            30..=39 => {
                let ms = 1 + self.draw(300);
                self.set(at, key, Some(ms));
            }
            40..=49 => {
                let op = self.keys[key].invoke_by(Some(self.clients[at].id), Op::Clear);
                self.command(at, Wait::Write(vec![(key, op)]), &[b"DEL", &name]);
            }
            50..=71 => self.get(at, key),
            72..=77 => {
                let value = self.next_value();
                let [a, b] = pair;
                self.command(at, Wait::Other, &[b"MSET", a, &value, b, &value]);
            }
            78..=80 => {
                let value = self.next_value();
                self.command(at, Wait::Other, &[b"MULTI"]);
                for key in pair {
                    if self.accepted(at) {
                        self.command(at, Wait::Other, &[b"SET", key, &value]);
                    } else {
                        return self.abandon(at);
                    }
                }
                if self.accepted(at) {
                    self.command(at, Wait::Other, &[b"EXEC"]);
                } else {
                    self.abandon(at);
                }
            }
            81 | 82 => {
                let [a, b] = pair;
                self.command(at, Wait::Other, &[b"DEL", a, b]);
            }
            83..=87 => {
                let [a, b] = pair;
                self.command(at, Wait::Pair, &[b"MGET", a, b]);
            }
            88 => {
                let ops = (0..KEYS)
                    .map(|key| {
                        (key, self.keys[key].invoke_by(Some(self.clients[at].id), Op::Clear))
                    })
                    .collect();
                self.command(at, Wait::Write(ops), &[b"FLUSHALL"]);
            }
            89..=91 => self.command(at, Wait::Other, &[b"KEYS", b"*"]),
            92 => self.command(at, Wait::Other, &[b"DBSIZE"]),
            93 => self.command(at, Wait::Other, &[b"RANDOMKEY"]),
            94 => self.command(at, Wait::Other, &[b"SCAN", b"0", b"COUNT", b"3"]),
            _ => {
                if self.clients[at].waits.is_empty() {
                    self.command(at, Wait::Watch, &[b"WATCH", &name]);
                    if self.accepted(at) {
                        let op = self.keys[key].invoke_by(Some(self.clients[at].id), Op::Get);
                        self.command(at, Wait::ReadToSwap(key, op), &[b"GET", &name]);
                    } else {
                        self.abandon(at);
                    }
                }
            }
        }
    }

    /// Whether the client may send; if not, it waits to be told.
    fn accepted(&mut self, at: usize) -> bool {
        let accepts = self.world.shard.accepts(self.clients[at].id);
        self.clients[at].held = !accepts && !self.stopping;
        accepts
    }

    /// Half-way through a transaction: the client goes away.
    fn abandon(&mut self, at: usize) {
        let client = self.clients.remove(at);
        self.keys.iter_mut().for_each(|key| key.leave(client.id));
        self.handle(Input::Disconnected(client.id));
        self.connect();
    }

    fn next_value(&mut self) -> Vec<u8> {
        self.value += 1;
        let fill = match self.draw(12) {
            0 => 1500,
            1..=4 => 200,
            _ => 20,
        };
        let fill = self.draw(fill) as usize;
        format!("{}:{}", self.value, "x".repeat(fill)).into_bytes()
    }

    fn set(&mut self, at: usize, key: usize, ttl: Option<u64>) {
        let bytes = self.next_value();
        let value = self.value;
        let op = self.keys[key].invoke_by(Some(self.clients[at].id), Op::Set(value));
        let wait = Wait::Write(vec![(key, op)]);
        match ttl {
            None => self.command(at, wait, &[b"SET", &name(key), &bytes]),
            Some(ms) => {
                self.expiries.push((self.now_us / 1000 + ms, key, value));
                self.gone_by.insert(value, self.now_us / 1000 + ms + 2);
                let px = ms.to_string();
                self.command(at, wait, &[b"SET", &name(key), &bytes, b"PX", px.as_bytes()]);
            }
        }
    }

    fn get(&mut self, at: usize, key: usize) {
        let op = self.keys[key].invoke_by(Some(self.clients[at].id), Op::Get);
        self.command(at, Wait::Read(key, op), &[b"GET", &name(key)]);
    }

    /// The end of a swap: WATCH and GET have been answered.
    fn swap(&mut self, at: usize, key: usize, old: Option<u64>) {
        let bytes = self.next_value();
        let name = name(key);
        self.command(at, Wait::Other, &[b"MULTI"]);
        if !self.accepted(at) {
            return self.abandon(at);
        }
        self.command(at, Wait::Other, &[b"SET", &name, &bytes]);
        if !self.accepted(at) {
            return self.abandon(at);
        }
        let op = self.keys[key].invoke_by(Some(self.clients[at].id), Op::Swap(old, self.value));
        self.command(at, Wait::Swap(key, op), &[b"EXEC"]);
    }

    fn command(&mut self, at: usize, wait: Wait, args: &[&[u8]]) {
        let id = self.clients[at].id;
        let shown: Vec<_> =
            args.iter().map(|a| String::from_utf8_lossy(&a[..a.len().min(8)])).collect();
        self.tell(format!("{id} {shown:?}"));
        self.clients[at].waits.push_back(wait);
        self.handle(Input::Command(id, args));
    }

    fn poll(&mut self) {
        for turn in 0.. {
            assert!(turn < 100_000, "the shard does not come to rest");
            match self.world.shard.poll() {
                Some(Output::Control(_)) => unreachable!("the node stands alone"),
                None => break,
                Some(Output::Disk(io, op)) => {
                    self.tell(format!("{io} asked {}", brief(&op)));
                    self.ops.push((io, op));
                }
                Some(Output::Reply(client, _, reply)) => self.on_reply(client, reply),
                Some(Output::Notice(_, text)) => {
                    self.tell(format!("notice {text}"));
                    self.world.notices.push(text);
                }
                Some(Output::Opened) => self.world.opened = true,
                Some(Output::Stopped) => {
                    self.tell("stopped".into());
                    self.world.stopped = true;
                }
                Some(Output::Refused(text)) => {
                    assert!(self.stopping, "refused: {text}");
                    self.world.refused = Some(text);
                    self.world.stopped = true;
                }
                Some(
                    Output::AclFile(..)
                    | Output::Silence(_)
                    | Output::Monitored(..)
                    | Output::Shutdown,
                ) => unreachable!("nobody asks for it"),
                Some(Output::Close(_)) => panic!("nobody broke the protocol"),
                Some(Output::Resume(id)) => {
                    self.clients.iter_mut().filter(|c| c.id == id).for_each(|c| c.held = false);
                }
            }
        }
    }

    fn on_reply(&mut self, id: ClientId, reply: Reply) {
        self.tell(format!("{id} told {:.60}", format!("{reply:?}")));
        let Some(at) = self.clients.iter().position(|c| c.id == id) else { return };
        let wait = self.clients[at].waits.pop_front().expect("a reply to a command");
        let code = error_code(&reply);
        let seed = self.seed;
        if let Some(code) = code {
            let by_fault =
                ["DISKFULL", "DOWN", "UNKNOWN", "PARTIAL", "LOADING", "EXECABORT", "CROSSSLOT"];
            let unread = code == "CORRUPT" && format!("{reply:?}").contains("I/O error");
            assert!(
                by_fault.contains(&code) || (unread && self.faults.read > 0),
                "seed {seed}: {reply:?}"
            );
        }
        match wait {
            Wait::Write(ops) => {
                for (key, op) in ops {
                    let holds = match code {
                        None => self.keys[key].done(op),
                        Some("UNKNOWN" | "PARTIAL") => {
                            self.keys[key].unknown(op);
                            true
                        }
                        Some(_) => self.keys[key].refused(op),
                    };
                    assert!(holds, "seed {seed}: key {key} after {reply:?}");
                }
            }
            Wait::Read(key, op) => {
                self.check_read(key, op, &reply);
            }
            Wait::ReadToSwap(key, op) => {
                let read = self.check_read(key, op, &reply);
                let watches = std::mem::take(&mut self.clients[at].watches);
                self.clients[at].swapping = read.filter(|_| watches).map(|value| (key, value));
            }
            Wait::Watch => self.clients[at].watches = code.is_none(),
            Wait::Swap(key, op) => {
                let holds = match &reply {
                    Reply::Array(replies) if replies[..] == [Reply::OK] => self.keys[key].done(op),
                    Reply::Null | Reply::NullArray => self.keys[key].refused(op),
                    _ if code == Some("UNKNOWN") => {
                        self.keys[key].unknown(op);
                        true
                    }
                    _ if code.is_some() => self.keys[key].refused(op),
                    _ => panic!("seed {seed}: EXEC told {reply:?}"),
                };
                assert!(holds, "seed {seed}: key {key} after a swap, {reply:?}");
            }
            Wait::Pair => {
                if let Reply::Array(values) = &reply {
                    assert!(values[0] == values[1], "seed {seed}: half a batch: {reply:?}");
                }
            }
            Wait::Other => {}
        }
    }
}

fn name(key: usize) -> Vec<u8> {
    format!("key{key}").into_bytes()
}

fn draw(random: &mut u64, below: u64) -> u64 {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *random;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % below.max(1)
}

fn brief(op: &DiskOp) -> String {
    match op {
        DiskOp::Write { file, at, data } => format!("write {file} {at}+{}", data.len()),
        DiskOp::Read { file, at, len } => format!("read {file} {at}+{len}"),
        other => format!("{other:?}"),
    }
}
