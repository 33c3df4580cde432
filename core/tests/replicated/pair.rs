//! Two replicas that take turns to lead, with disks that crash, fill up and fail: what was committed
//! stays, and both come to hold the same.
//!
//! `KVNODE_SEEDS=from..to` runs others than the usual.

use std::time::Duration;

use kvnode_core::shard::FsyncMode;
use kvnode_core::storage::replica::{BadRecords, Chunk, LogFault, ReadToken, Refusal, Settings};
use kvnode_core::{Epoch, Offset};

use crate::node::{Content, Node, SETTINGS};
use crate::world::disk::{FAULTS, Unsynced, draw, file_of};
use crate::world::seeds;

const SEEDS: std::ops::Range<u64> = 0..150;
const ACTIONS: usize = 700;

#[test]
fn a_follower_comes_to_hold_what_its_leader_holds_whatever_happens_to_either() {
    let asked = seeds::asked();
    let usual = asked.is_none();
    let mut totals = Totals::default();
    for seed in asked.unwrap_or(SEEDS) {
        if std::env::var("KVNODE_VERBOSE").is_ok() {
            eprintln!("seed {seed}");
        }
        let run = std::panic::AssertUnwindSafe(|| Pair::new(seed).run());
        match std::panic::catch_unwind(run) {
            Ok(seen) => totals.add(&seen),
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    eprintln!("{totals:?}");
    let Totals { cuts, restarts, merges, crashes, swaps, gaps, faults } = totals;
    let rarest = [cuts, restarts, merges, crashes, swaps, gaps, faults].into_iter().min();
    assert!(!usual || rarest > Some(0));
}

/// What the runs have seen of what is rare.
#[derive(Debug, Default)]
struct Totals {
    cuts: u64,
    restarts: u64,
    merges: u64,
    crashes: u64,
    swaps: u64,
    gaps: u64,
    faults: u64,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.restarts += other.restarts;
        self.merges += other.merges;
        self.crashes += other.crashes;
        self.swaps += other.swaps;
        self.gaps += other.gaps;
        self.faults += other.faults;
    }
}

/// One logged record, or what stands for one that is no key's.
#[derive(Clone, Debug)]
enum Logged {
    Other,
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
}

struct Pair {
    random: u64,
    /// The leader stands first.
    nodes: [Node; 2],
    epoch: u32,
    /// What each has logged, by offset.
    models: [Vec<Logged>; 2],
    /// The end of what was told to be committed.
    committed: Offset,
    /// The second one is counted.
    in_sync: bool,
    /// The second one has the same log as far as it goes, and is being sent the rest.
    matched: bool,
    reading: Option<ReadToken>,
    /// The leader's tombstone horizon when the session began.
    horizon: Offset,
    chunks: u64,
    totals: Totals,
    trace: Vec<String>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.trace.iter().rev().take(60).rev().for_each(|line| eprintln!("{line}"));
            for node in &self.nodes {
                node.notices.iter().rev().take(12).rev().for_each(|l| eprintln!("notice: {l}"));
            }
        }
    }
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995;
        let fsync = match draw(&mut random, 4) {
            0 => FsyncMode::EveryMs(20),
            _ => FsyncMode::Always,
        };
        let settings = Settings {
            fsync,
            segment_bytes: 300 + draw(&mut random, 1_500),
            zero_ahead_bytes: [0, 100][draw(&mut random, 2) as usize],
            window_bytes: [100, 4096][draw(&mut random, 2) as usize],
            ..SETTINGS
        };
        let nodes = [Node::leader(settings, 1), Node::fresh(settings)];
        Self {
            random,
            nodes,
            epoch: 1,
            models: [vec![Logged::Other], Vec::new()],
            committed: Offset(0),
            in_sync: true,
            matched: true,
            reading: None,
            horizon: Offset(0),
            chunks: 0,
            totals: Totals::default(),
            trace: Vec::new(),
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        draw(&mut self.random, below)
    }

    fn note(&mut self, what: String) {
        let ends = self.nodes.each_ref().map(|n| (n.replica.acked_end().0, n.replica.log_end().0));
        self.trace.push(format!("{what} {ends:?} committed {}", self.committed));
    }

    fn run(mut self) -> Totals {
        for node in &mut self.nodes {
            node.hold = true;
            node.opened = 0;
        }
        for _ in 0..ACTIONS {
            self.act();
            self.go_on();
            self.check();
        }
        self.rest();
        std::mem::take(&mut self.totals)
    }

    fn act(&mut self) {
        match self.draw(100) {
            0..30 => self.append(),
            30..60 => {
                let at = self.draw(2) as usize;
                let some = self.draw(6);
                (0..some).for_each(|_| self.release(at));
            }
            60..75 => self.stream(),
            75..84 => self.commit(),
            84..91 => {
                let by = Duration::from_millis(1 + self.draw(150));
                self.nodes.iter_mut().for_each(|node| node.pass(by));
            }
            91 => self.fault(),
            92..94 => self.crash(1),
            94 => self.crash(0),
            95..97 => self.swap(),
            97 => {
                if self.draw(3) == 0 {
                    self.note("restart".into());
                    self.lose_session();
                    self.in_sync = false;
                    self.cut(Offset(0));
                }
            }
            _ => self.rest(),
        }
    }

    /// One operation, of a file that is drawn, in the order of that file.
    fn release(&mut self, at: usize) {
        let held = self.nodes[at].held.len() as u64;
        if held == 0 {
            return;
        }
        let drawn = self.draw(held) as usize;
        let file = file_of(&self.nodes[at].held[drawn].1);
        let first = self.nodes[at].held.iter().position(|(_, op)| file_of(op) == file);
        self.nodes[at].release(first.expect("the drawn one is of the file"));
        self.on_opened(at);
    }

    /// After an opening the session is begun anew.
    fn on_opened(&mut self, at: usize) {
        if std::mem::take(&mut self.nodes[at].opened) > 0 {
            self.lose_session();
            if at == 0 {
                self.reign();
            }
        }
    }

    fn lose_session(&mut self) {
        self.matched = false;
        self.reading = None;
        self.nodes[0].chunks.clear();
    }

    /// An operation fails that comes soon. (Where writes are not fsynced one by one, a failed fsync may take
    /// what was acknowledged.)
    fn fault(&mut self) {
        if self.nodes[0].settings.fsync != FsyncMode::Always {
            return;
        }
        let at = self.draw(2) as usize;
        let (failing, left) = (FAULTS[self.draw(5) as usize], 1 + self.draw(8));
        self.note(format!("{failing:?} fails at {at} in {left}"));
        self.totals.faults += 1;
        self.nodes[at].disk.fails_once(failing, left);
    }

    /// What was taken back is not logged; a leader that had to leads anew once there is room.
    fn go_on(&mut self) {
        for (node, model) in self.nodes.iter_mut().zip(&mut self.models) {
            if !std::mem::take(&mut node.dropped).is_empty() && node.replica.serving() {
                model.truncate(node.replica.log_end().0 as usize);
            }
        }
        let leader = &self.nodes[0].replica;
        if leader.serving() && leader.is_full() && leader.fit() {
            self.reign();
        }
    }

    fn append(&mut self) {
        if self.nodes[0].replica.writable(self.nodes[0].now).is_err() {
            return;
        }
        let count = 1 + self.draw(4);
        let mut ops = Vec::new();
        for _ in 0..count {
            let key = format!("key:{}", self.draw(12)).into_bytes();
            let value = (self.draw(4) > 0)
                .then(|| format!("{}{}", self.models[0].len(), "x".repeat(self.draw(50) as usize)));
            ops.push((key, value.map(String::into_bytes)));
        }
        let borrowed: Vec<_> = ops.iter().map(|(k, v)| (&k[..], v.as_deref())).collect();
        let end = self.nodes[0].append(&borrowed);
        if self.draw(2) == 0 {
            self.nodes[0].settle();
        }
        self.models[0].extend(ops.into_iter().map(|(key, value)| match value {
            Some(value) => Logged::Put(key, value),
            None => Logged::Delete(key),
        }));
        assert_eq!(end.0 as usize, self.models[0].len());
    }

    /// A new reign of the first one, whose log is what counts now.
    fn reign(&mut self) {
        let node = &mut self.nodes[0];
        if let Some(start) = node.replica.open_batch() {
            node.replica.cut(node.now, start, &mut node.cache);
            node.settle();
            self.note("open batch cut".into());
            return self.on_opened(0);
        }
        let end = node.replica.log_end();
        assert!(end >= self.committed, "{end} < {}: committed writes are lost", self.committed);
        self.epoch += 1 + (self.random as u32 >> 7) % 3;
        let start = node.replica.begin_reign(Epoch(self.epoch));
        assert_eq!(start, end);
        self.models[0].truncate(end.0 as usize);
        self.models[0].push(Logged::Other);
        self.matched = false;
        self.note(format!("reign {}", self.epoch));
    }

    /// The session of the follower: finds where the logs part, cuts there, and asks for more.
    fn stream(&mut self) {
        let [leader, follower] = &mut self.nodes;
        if !leader.replica.serving() || !follower.replica.serving() {
            return;
        }
        if !self.matched {
            return self.compare();
        }
        let (horizon, next) = (leader.replica.tombstone_horizon(), follower.replica.log_end());
        if horizon > self.horizon && next < horizon {
            // What it was sent may have been deleted since, without a trace.
            self.note("the horizon has passed it".into());
            self.lose_session();
            self.in_sync = false;
            return self.cut(Offset(0));
        }
        if let Some((token, result)) = leader.chunks.pop_front() {
            if self.reading != Some(token) {
                // Of an earlier session.
                return;
            }
            self.reading = None;
            match result {
                Ok(chunk) if chunk.base == follower.replica.log_end() => {
                    let gaps = crate::node::seen(&chunk.records);
                    let gap = |s: &&crate::node::Seen| s.next.0 - s.offset.0 > 1;
                    self.totals.gaps += gaps.iter().filter(gap).count() as u64;
                    Self::copy(follower, &mut self.models, chunk);
                }
                Ok(_) | Err(LogFault::Moved | LogFault::Disk(_)) => {}
                Err(fault) => panic!("{fault:?}"),
            }
            return;
        }
        let from = follower.replica.log_end();
        if self.reading.is_some() || from >= leader.replica.shippable_end() {
            return;
        }
        let bytes_max = 1 + draw(&mut self.random, 600) as usize;
        let recent = leader.replica.recent(from, bytes_max);
        match recent.filter(|_| draw(&mut self.random, 3) > 0) {
            Some(chunk) => {
                assert!(chunk.base == from && chunk.end <= leader.replica.shippable_end());
                Self::copy(follower, &mut self.models, chunk);
            }
            None => {
                self.chunks += 1;
                let token = ReadToken(1 << 50 | self.chunks);
                self.reading = Some(token);
                leader.replica.read_log(token, from, bytes_max);
                leader.settle();
            }
        }
    }

    fn copy(follower: &mut Node, models: &mut [Vec<Logged>; 2], chunk: Chunk) {
        let (from, to) = (chunk.base.0 as usize, chunk.end.0 as usize);
        let taken = follower.replica.append_copied(chunk.base, chunk.end, chunk.records);
        if taken == Err(BadRecords::Refused(Refusal::DiskFull)) {
            return;
        }
        assert_eq!(taken, Ok(()));
        let [theirs, own] = models;
        own.truncate(from);
        own.extend_from_slice(&theirs[from..to]);
        follower.settle();
    }

    /// As the protocol has it: the largest epoch that both know ends somewhere.
    fn compare(&mut self) {
        self.horizon = self.nodes[0].replica.tombstone_horizon();
        let [leader, follower] = &self.nodes;
        let (log, own) = (&leader.replica, &follower.replica);
        let own_end = own.log_end();
        let last = own.epochs().last().map_or(Epoch(0), |(epoch, _)| epoch);
        let has_all = own_end >= self.committed;
        assert!(has_all || !self.in_sync, "it is in sync and ends at {own_end}");
        if own_end == Offset(0) {
            self.matched = true;
        } else if let Some((common, end)) = log.epochs().at_most(last, log.log_end()) {
            if common == last && own_end <= end {
                if own_end < log.tombstone_horizon() {
                    self.in_sync = false;
                    self.note("below the horizon".into());
                    return self.cut(Offset(0));
                }
                self.matched = true;
                return;
            }
            let at = match own.epochs().at_most(common, own_end) {
                Some((epoch, own)) if epoch == common => own.min(end),
                Some((_, own)) => own,
                None => Offset(0),
            };
            assert!(at >= self.committed || !self.in_sync, "an in-sync follower cuts at {at}");
            self.cut(at);
        } else {
            self.cut(Offset(0));
        }
    }

    fn cut(&mut self, at: Offset) {
        let follower = &mut self.nodes[1];
        if !follower.replica.serving() {
            return;
        }
        let (floor, end) = (follower.replica.high_watermark(), follower.replica.log_end());
        follower.replica.cut(follower.now, at, &mut follower.cache);
        follower.settle();
        self.totals.restarts += u64::from(at == Offset(0));
        self.totals.cuts += u64::from(at > Offset(0) && at < end);
        self.note(format!("cut at {at} of {end}, watermark {floor}"));
    }

    fn commit(&mut self) {
        let [leader, follower] = &mut self.nodes;
        let (mine, others) = (leader.replica.acked_end(), follower.replica.acked_end());
        // A follower that opens or has yet to be compared is not known to have anything.
        let known = self.matched && follower.replica.serving() && leader.replica.serving();
        if known && others >= self.committed && others >= leader.replica.high_watermark() {
            self.in_sync = true;
        }
        if leader.replica.serving() && (known || !self.in_sync) {
            let end = if self.in_sync { mine.min(others) } else { mine };
            // The record of the reign comes first.
            let start = leader.replica.epochs().last().map_or(Offset(0), |(_, start)| start);
            if end > start {
                let before = leader.replica.high_watermark();
                leader.replica.commit_to(end, &mut leader.cache);
                leader.settle();
                let now = leader.replica.high_watermark();
                assert!(before <= now && now <= end);
                self.committed = self.committed.max(now);
            }
        }
        if known && self.draw(2) == 0 {
            let watermark = self.nodes[0].replica.high_watermark();
            let follower = &mut self.nodes[1];
            follower.replica.commit_to(watermark, &mut follower.cache);
            follower.settle();
        }
        self.nodes[0].replica.set_retain(self.nodes[1].replica.log_end());
    }

    fn crash(&mut self, at: usize) {
        let always = self.nodes[at].settings.fsync == FsyncMode::Always;
        let how = match self.draw(4) {
            0 if always => Unsynced::Lost,
            1 => Unsynced::Kept,
            2 if always => Unsynced::Mixed(self.random),
            _ => Unsynced::Killed,
        };
        let node = &mut self.nodes[at];
        let (acked, whole) = (node.replica.acked_end(), node.replica.serving());
        let watermark = node.replica.high_watermark();
        let disk = std::mem::take(&mut node.disk).crash(how);
        let (now, settings, clock) = (node.now, node.settings, node.clock);
        *node = Node::cold(disk, settings);
        (node.now, node.clock) = (now, clock);
        node.settle();
        node.pass(Duration::ZERO);
        assert!(node.opened == 1, "{} {:?}", node.opened, node.refused);
        let end = node.replica.log_end();
        // The longest batch has four records: one that is not all there goes.
        assert!(!whole || end.0 + 3 >= acked.0, "{how:?}: {end} of {acked} acknowledged");
        assert!(!whole || watermark <= end, "{how:?}: {end} of {watermark} committed");
        assert!(node.replica.high_watermark() <= end && !node.replica.damaged());
        node.hold = true;
        self.totals.crashes += 1;
        self.note(format!("crash of {at}: {how:?}"));
        self.on_opened(at);
    }

    /// The follower takes over, if it has what is committed.
    fn swap(&mut self) {
        let follower = &self.nodes[1].replica;
        if !self.in_sync || !follower.serving() || follower.acked_end() < self.committed {
            return;
        }
        if follower.log_end() < self.committed {
            return;
        }
        self.totals.swaps += 1;
        self.nodes.swap(0, 1);
        self.models.swap(0, 1);
        self.lose_session();
        self.nodes[1].chunks.clear();
        self.note("swap".into());
        self.reign();
    }

    fn check(&mut self) {
        for node in &mut self.nodes {
            let replica = &node.replica;
            if replica.serving() {
                let (log, shipped, acked) =
                    (replica.log_end(), replica.shippable_end(), replica.acked_end());
                assert!(acked <= shipped && shipped <= log);
                assert!(replica.high_watermark() <= acked);
            }
        }
    }

    /// Lets everything come to rest and compares.
    fn rest(&mut self) {
        let mut turns = 0;
        self.nodes.iter_mut().for_each(|node| node.disk.fault = None);
        loop {
            turns += 1;
            assert!(turns < 3_000, "they do not come to rest");
            for at in 0..2 {
                for turn in 0.. {
                    if self.nodes[at].release(0).is_none() {
                        break;
                    }
                    assert!(turn < 10_000, "{at} does not come to rest: {:?}", self.nodes[at].held);
                }
                self.nodes[at].settle();
                self.nodes[at].pass(Duration::from_millis(1));
                self.on_opened(at);
            }
            self.go_on();
            self.stream();
            self.commit();
            let [leader, follower] = &self.nodes;
            let end = leader.replica.log_end();
            if [leader, follower].iter().all(|n| n.replica.serving() && n.held.is_empty())
                && self.matched
                && !leader.replica.is_full()
                && follower.replica.log_end() == end
                && [leader, follower].iter().all(|n| n.replica.high_watermark() == end)
            {
                break;
            }
        }
        self.note("rest".into());
        let mut model = Content::new();
        for logged in &self.models[0] {
            match logged {
                Logged::Other => {}
                Logged::Put(key, value) => {
                    model.insert(key.clone(), value.clone());
                }
                Logged::Delete(key) => {
                    model.remove(key);
                }
            }
        }
        for (at, node) in self.nodes.iter_mut().enumerate() {
            node.hold = false;
            node.settle();
            let content = node.content();
            for (key, value) in model.iter().chain(&content) {
                let both = [content.get(key), model.get(key)]
                    .map(|v| v.map(|v| String::from_utf8_lossy(v).replace('x', "")));
                assert!(both[0] == both[1], "{at}: {}: {both:?}", String::from_utf8_lossy(key));
                assert_eq!(content.get(key), Some(value));
            }
            self.totals.merges += node.replica.status().counters.merges;
            // The history is the same where both have it.
            node.hold = true;
        }
        let [leader, follower] = &self.nodes;
        assert_eq!(leader.replica.epochs(), follower.replica.epochs());
    }
}
