//! Judging what the clients were told.

use super::*;

impl Adversary {
    /// What a read found; `None` if it could not be read.
    pub(super) fn check_read(&mut self, key: usize, op: u64, reply: &Reply) -> Option<Option<u64>> {
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
    pub(super) fn perform(&mut self) {
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

    pub(super) fn do_op(&mut self, op: DiskOp) -> DiskResult {
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

    pub(super) fn fault_for(&mut self, op: &DiskOp) -> Option<DiskError> {
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

    pub(super) fn answer(&mut self) {
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
    pub(super) fn settle(&mut self) {
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

    pub(super) fn stop(&mut self) {
        if !self.stopping {
            self.tell("stop".into());
            self.stopping = true;
            self.handle(Input::Stop);
        }
    }

    /// The process or the machine dies, or has ended.
    pub(super) fn crash(&mut self) {
        let how = match self.draw(5) {
            0 => Unsynced::Kept,
            1 => Unsynced::Lost,
            2 => Unsynced::Killed,
            _ => Unsynced::Mixed(self.draw(u64::MAX)),
        };
        let keeps = matches!(how, Unsynced::Kept | Unsynced::Killed);
        self.reopen(how, !keeps && self.setup.fsync != FsyncMode::Always);
    }

    pub(super) fn reopen(&mut self, how: Unsynced, may_lose: bool) {
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
    pub(super) fn heal(mut self) {
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
