//! Random commands of several clients on a disk that reorders, delays, fails and crashes as far as
//! its contract lets it, checked against a register for each key. Every run is a seed.
//!
//! `KVNODE_SEEDS=from..to cargo test -p kvnode-core --test adversary` runs others than the usual.

#[expect(clippy::duplicate_mod, reason = "each test file is a crate of its own")]
mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kvnode_core::disk::{Dir, DiskError, DiskOp, DiskResult, File};
use kvnode_core::reply::Reply;
use kvnode_core::shard::{FsyncMode, IndexKind, Input, Output};
use kvnode_core::{ClientId, Instant, IoId, Now};

use world::disk::Unsynced;
use world::{MemDisk, Setup, World, error_code};

/// Seeds of a normal run.
const SEEDS: std::ops::Range<u64> = 0..120;
/// Random actions in a run.
const ACTIONS: usize = 2_500;
/// When every world starts, in ms since the Unix epoch.
const START_MS: u64 = 1_700_000_000_000;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_refused_shows_on_the_worst_disk() {
    let asked = std::env::var("KVNODE_SEEDS").ok().map(|range| {
        let (from, to) = range.split_once("..").expect("KVNODE_SEEDS=from..to");
        from.parse().expect("a seed")..to.parse().expect("a seed")
    });
    for seed in asked.unwrap_or(SEEDS) {
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
        let all = [Some(1), None].into_iter().all(|value| {
            let get = r.invoke(Op::Get);
            r.returned(get, value)
        });
        all
    };
    assert!(!flickers(&mut Register::default()), "a write is seen and then not");
    let unknown = |r: &mut Register, value| {
        r.invoke(Op::Set(1));
        let get = r.invoke(Op::Get);
        r.returned(get, value)
    };
    assert!(unknown(&mut Register::default(), None) && unknown(&mut Register::default(), Some(1)));
}

/// A key's possible histories: which of the operations under way have taken effect, and the value.
#[derive(Clone, Debug)]
struct Register {
    /// What is under way, and by whom: a client's operations take effect in their order.
    pending: BTreeMap<u64, (Op, Option<ClientId>)>,
    /// The value, and what each operation that has taken effect left or found.
    configs: BTreeSet<(Option<u64>, BTreeMap<u64, Option<u64>>)>,
    next: u64,
    /// There are too many histories to follow.
    given_up: bool,
    /// Every value that the key had or may have had in this life, for a disk that may lose some.
    ever: BTreeSet<Option<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Set(u64),
    Clear,
    Get,
    /// The value goes if it is this one.
    Expire(u64),
    /// From this value to that one.
    Swap(Option<u64>, u64),
}

impl Default for Register {
    fn default() -> Self {
        let configs = BTreeSet::from([(None, BTreeMap::new())]);
        Self {
            pending: BTreeMap::new(),
            configs,
            next: 0,
            given_up: false,
            ever: BTreeSet::from([None]),
        }
    }
}

impl Register {
    fn invoke(&mut self, op: Op) -> u64 {
        self.invoke_by(None, op)
    }

    fn invoke_by(&mut self, client: Option<ClientId>, op: Op) -> u64 {
        match op {
            Op::Set(value) | Op::Swap(_, value) => self.ever.insert(Some(value)),
            Op::Clear | Op::Expire(_) => self.ever.insert(None),
            Op::Get => false,
        };
        self.next += 1;
        self.pending.insert(self.next, (op, client));
        self.next
    }

    /// Nobody will tell what became of it.
    fn unknown(&mut self, id: u64) {
        if let Some((_, client)) = self.pending.get_mut(&id) {
            *client = None;
        }
    }

    /// The client is gone: what it wrote may or may not take effect.
    fn leave(&mut self, gone: ClientId) {
        let reads: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, (op, client))| *client == Some(gone) && *op == Op::Get)
            .map(|(&id, _)| id)
            .collect();
        for id in reads {
            self.pending.remove(&id);
            self.forget(id);
        }
        for (_, client) in self.pending.values_mut().filter(|(_, client)| *client == Some(gone)) {
            *client = None;
        }
    }

    fn forget(&mut self, id: u64) {
        let forget = |(value, mut taken): (_, BTreeMap<_, _>)| {
            taken.remove(&id);
            (value, taken)
        };
        self.configs = std::mem::take(&mut self.configs).into_iter().map(forget).collect();
    }

    /// A write was acknowledged.
    fn done(&mut self, id: u64) -> bool {
        self.complete(id, None)
    }

    fn returned(&mut self, id: u64, value: Option<u64>) -> bool {
        self.complete(id, Some(value))
    }

    /// It has no effect, now or later.
    fn refused(&mut self, id: u64) -> bool {
        let read = self.pending.remove(&id).is_some_and(|(op, _)| op == Op::Get);
        if read {
            self.forget(id);
        }
        self.configs.retain(|(_, taken)| !taken.contains_key(&id));
        self.given_up || !self.configs.is_empty()
    }

    /// The operation takes effect now at the latest; a read must find `read`.
    fn complete(&mut self, id: u64, read: Option<Option<u64>>) -> bool {
        if self.given_up {
            return true;
        }
        let mut todo: Vec<_> = std::mem::take(&mut self.configs).into_iter().collect();
        let mut seen: BTreeSet<_> = todo.iter().cloned().collect();
        while let Some((value, taken)) = todo.pop() {
            if let Some(&found) = taken.get(&id) {
                let mut taken = taken;
                taken.remove(&id);
                if read.is_none_or(|read| read == found) {
                    self.configs.insert((value, taken));
                }
                continue;
            }
            for (&other, &(op, client)) in &self.pending {
                // One that was passed over by a later one of its client never comes.
                let passed = |id| self.pending.get(id).is_some_and(|(_, by)| *by == client);
                let late = client.is_some() && taken.range(other..).any(|(id, _)| passed(id));
                if late || taken.contains_key(&other) {
                    continue;
                }
                let next = match op {
                    Op::Set(new) => Some(new),
                    Op::Clear => None,
                    // A read of a value that it did not find leads nowhere.
                    Op::Get if other == id && read.is_some_and(|read| read != value) => continue,
                    Op::Get => value,
                    Op::Expire(old) if value == Some(old) => None,
                    Op::Swap(old, new) if value == old => Some(new),
                    Op::Expire(_) | Op::Swap(..) => continue,
                };
                let mut taken = taken.clone();
                // A value is written once, so that it can expire but once.
                if !matches!(op, Op::Expire(_)) {
                    taken.insert(other, next);
                }
                if seen.insert((next, taken.clone())) {
                    todo.push((next, taken));
                }
            }
            if seen.len() > HISTORIES_MAX {
                // Too much is under way to tell; it is judged again from the next rest on.
                self.given_up = true;
                return true;
            }
        }
        self.pending.remove(&id);
        !self.configs.is_empty()
    }

    /// Whatever is under way has taken effect by now, or never will. A crash of a disk that was
    /// not synced may leave any value that was there since the last crash.
    fn rest(&mut self, may_lose: bool) {
        // A read of no client reaches every history of the others.
        let marker = self.invoke(Op::Get);
        self.complete(marker, None);
        let given_up = std::mem::take(&mut self.given_up);
        let values: BTreeSet<_> = if may_lose || given_up {
            self.ever.clone()
        } else {
            self.configs.iter().map(|(value, _)| *value).collect()
        };
        self.pending.retain(|_, (op, _)| matches!(op, Op::Expire(_)));
        self.configs = values.into_iter().map(|value| (value, BTreeMap::new())).collect();
    }

    fn crash(&mut self, may_lose: bool) {
        self.rest(may_lose);
        self.ever = self.configs.iter().map(|(value, _)| *value).collect();
    }
}

/// What a client waits for.
#[derive(Clone, Debug)]
enum Wait {
    /// `OK` to writes of these keys. Errors other than UNKNOWN say that nothing was applied,
    /// unless the command went to several partitions.
    Write(Vec<(usize, u64)>, bool),
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
    partitions: u32,
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
            merge: draw(5) > 0,
            cache: draw(2) == 0,
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
            partitions,
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
                self.command(at, Wait::Write(vec![(key, op)], false), &[b"DEL", &name]);
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
                let scattered = self.partitions > 1;
                self.command(at, Wait::Write(ops, scattered), &[b"FLUSHALL"]);
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
        let wait = Wait::Write(vec![(key, op)], false);
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
            let by_fault = ["DISKFULL", "DOWN", "UNKNOWN", "LOADING", "EXECABORT", "CROSSSLOT"];
            let unread = code == "CORRUPT" && format!("{reply:?}").contains("I/O error");
            assert!(
                by_fault.contains(&code) || (unread && self.faults.read > 0),
                "seed {seed}: {reply:?}"
            );
        }
        match wait {
            Wait::Write(ops, scattered) => {
                for (key, op) in ops {
                    let holds = match code {
                        None => self.keys[key].done(op),
                        Some(told) if told == "UNKNOWN" || scattered => {
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

    /// What a read found; `None` if it could not be read.
    fn check_read(&mut self, key: usize, op: u64, reply: &Reply) -> Option<Option<u64>> {
        let seed = self.seed;
        let value = match reply {
            Reply::Null => None,
            Reply::Bulk(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                Some(text.split(':').next().unwrap().parse().unwrap())
            }
            _ => {
                self.keys[key].refused(op);
                return None;
            }
        };
        let before = self.keys[key].clone();
        let holds = self.keys[key].returned(op, value);
        assert!(holds, "seed {seed}: key {key} read as {value:?}: {before:?}");
        self.found = value;
        Some(value)
    }

    /// Does one of the operations that nothing on its files stands before.
    fn perform(&mut self) {
        let ready: Vec<usize> = (0..self.ops.len())
            .filter(|&at| {
                let files = files(&self.ops[at].1);
                !self.ops[..at].iter().any(|(_, op)| clash(&files, op))
            })
            .collect();
        if ready.is_empty() {
            return;
        }
        let at = ready[self.draw(ready.len() as u64) as usize];
        let (io, op) = self.ops.remove(at);
        let file = files(&op).into_iter().next();
        let result = self.do_op(op.clone());
        self.tell(format!("{io} did {} {}", brief(&op), result.is_ok()));
        // Answers of one file come in order.
        self.answers.push((io, file, result));
    }

    fn do_op(&mut self, op: DiskOp) -> DiskResult {
        let Some(error) = self.fault_for(&op) else { return self.world.disk.run(op) };
        self.tell(format!("fault {error:?}"));
        match op {
            DiskOp::Write { file, at, data } => {
                let part = self.draw(data.len() as u64 + 1) as usize;
                self.world.disk.run(DiskOp::Write { file, at, data: data.slice(..part) })?;
            }
            DiskOp::Sync(file) => {
                let seed = self.draw(u64::MAX);
                self.world.disk.fail_sync(file, seed);
            }
            _ => {}
        }
        Err(error)
    }

    fn fault_for(&mut self, op: &DiskOp) -> Option<DiskError> {
        let Faults { write, sync, read, name, full, on } = self.faults;
        if !on || !self.world.opened {
            return None;
        }
        let mut hits = |rate: u64| rate > 0 && draw(&mut self.random, rate) == 0;
        let io = DiskError::Io(5);
        match op {
            DiskOp::Write { .. } | DiskOp::WriteZeros { .. } => {
                if hits(write) {
                    Some(io)
                } else {
                    hits(full).then_some(DiskError::Full)
                }
            }
            DiskOp::Truncate { .. } => hits(write).then_some(io),
            DiskOp::Sync(_) => hits(sync).then_some(io),
            DiskOp::Read { .. } | DiskOp::List(_) => hits(read).then_some(io),
            DiskOp::Create(_) => {
                if hits(name) {
                    Some(io)
                } else {
                    hits(full).then_some(DiskError::Full)
                }
            }
            DiskOp::Rename { .. }
            | DiskOp::Delete(_)
            | DiskOp::DeleteNamed(..)
            | DiskOp::SyncDir(_)
            | DiskOp::CreateDir(_) => hits(name).then_some(io),
        }
    }

    fn answer(&mut self) {
        let ready: Vec<usize> = (0..self.answers.len())
            .filter(|&at| {
                let file = self.answers[at].1;
                file.is_none() || !self.answers[..at].iter().any(|(_, other, _)| *other == file)
            })
            .collect();
        if ready.is_empty() {
            return;
        }
        let at = ready[self.draw(ready.len() as u64) as usize];
        let (io, _, result) = self.answers.remove(at);
        self.tell(format!("{io} answered"));
        self.handle(Input::Disk(io, result));
    }

    /// Until nothing is under way.
    fn settle(&mut self) {
        for turn in 0.. {
            assert!(turn < 100_000, "seed {}: the shard does not come to rest", self.seed);
            self.poll();
            if self.world.stopped {
                // A stop of what is opening, or down, makes nothing durable that was not.
                let clean = self.world.opened && self.world.refused.is_none();
                let may_lose = !clean && self.setup.fsync != FsyncMode::Always;
                return self.reopen(Unsynced::Lost, may_lose);
            }
            if self.ops.is_empty() && self.answers.is_empty() {
                break;
            }
            if self.draw(2) == 0 { self.perform() } else { self.answer() }
        }
    }

    fn stop(&mut self) {
        if !self.stopping {
            self.tell("stop".into());
            self.stopping = true;
            self.handle(Input::Stop);
        }
    }

    /// The process or the machine dies, or has ended.
    fn crash(&mut self) {
        let how = match self.draw(5) {
            0 => Unsynced::Kept,
            1 => Unsynced::Lost,
            2 => Unsynced::Killed,
            _ => Unsynced::Mixed(self.draw(u64::MAX)),
        };
        let keeps = matches!(how, Unsynced::Kept | Unsynced::Killed);
        self.reopen(how, !keeps && self.setup.fsync != FsyncMode::Always);
    }

    fn reopen(&mut self, how: Unsynced, may_lose: bool) {
        self.tell(format!("crash {how:?}"));
        // Of what was handed out some may still be done.
        for _ in 0..self.draw(1 + self.ops.len() as u64) {
            self.perform();
        }
        // Of what the process left to the system a later loss of power may still take some.
        let unsynced = how == Unsynced::Killed && self.setup.fsync != FsyncMode::Always;
        for key in &mut self.keys {
            if unsynced { key.rest(may_lose) } else { key.crash(may_lose) }
        }
        let disk = std::mem::take(&mut self.world.disk).crash(how);
        self.setup.wall_ms = self.now_us / 1000;
        let setup = self.setup;
        let notices = std::mem::take(&mut self.world.notices);
        let before = std::mem::replace(&mut self.world, World::cold(disk, setup));
        assert!(!before.notices.iter().any(|n| n.contains("panic")));
        self.world.notices = notices;
        (self.stopping, self.faults.on) = (false, false);
        self.ops.clear();
        self.answers.clear();
        let count = self.clients.len();
        self.clients.clear();
        (0..count).for_each(|_| self.connect());
    }

    /// The disk is well again: everything comes to rest, and every key is read.
    fn heal(mut self) {
        self.faults.on = false;
        for _ in 0..100 {
            self.settle();
            self.advance(100_000);
        }
        self.settle();
        let seed = self.seed;
        for client in &self.clients {
            assert!(client.waits.is_empty(), "seed {seed}: no reply for {:?}", client.waits);
            assert!(!client.held, "seed {seed}: {} is never told to go on", client.id);
        }
        if self.stopping {
            panic!("seed {seed}: the stop never ends");
        }
        self.connect();
        let at = self.clients.len() - 1;
        for key in 0..KEYS {
            self.get(at, key);
            self.settle();
            assert!(self.clients[at].waits.is_empty(), "seed {seed}: GET is not answered");
            let gone_by = self.found.and_then(|value| self.gone_by.get(&value));
            let live = gone_by.is_none_or(|&by| by > self.now_us / 1000);
            assert!(live, "seed {seed}: key {key} never expires");
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

/// The files that an operation is on, by name. Directories have no order.
fn files(op: &DiskOp) -> Vec<File> {
    match op {
        DiskOp::Create(file)
        | DiskOp::Write { file, .. }
        | DiskOp::WriteZeros { file, .. }
        | DiskOp::Sync(file)
        | DiskOp::Read { file, .. }
        | DiskOp::Truncate { file, .. }
        | DiskOp::Delete(file) => vec![*file],
        DiskOp::Rename { from, to } => vec![*from, *to],
        DiskOp::CreateDir(_) | DiskOp::List(_) | DiskOp::DeleteNamed(..) | DiskOp::SyncDir(_) => {
            Vec::new()
        }
    }
}

/// Whether a later operation on `files` must wait for `op`.
fn clash(later: &[File], op: &DiskOp) -> bool {
    match op {
        DiskOp::DeleteNamed(dir, name) => later.iter().any(|file| {
            let path = match dir {
                Dir::Root => name.clone(),
                Dir::Partition(p) => format!("{p}/{name}"),
            };
            file.to_string() == path
        }),
        _ => files(op).iter().any(|file| later.contains(file)),
    }
}

fn brief(op: &DiskOp) -> String {
    match op {
        DiskOp::Write { file, at, data } => format!("write {file} {at}+{}", data.len()),
        DiskOp::Read { file, at, len } => format!("read {file} {at}+{len}"),
        other => format!("{other:?}"),
    }
}
