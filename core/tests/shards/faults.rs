//! What befalls the nodes.

use std::time::Duration;

use kvnode_core::cluster::controller::{Input, Request, RequestId};
use kvnode_core::shard::FsyncMode;
use kvnode_core::{Index, Instant, NodeId, Offset};

use crate::disk::{FAULTS, Failing, Unsynced, draw};
use crate::node::Node;
use crate::office::P;
use crate::world::{World, wall};

/// Which faults there are in a run, and what of them lasts.
pub(crate) struct Faults {
    /// One step in so many.
    every: u64,
    /// Logs and, without an fsync for each write, the end of logs may be lost.
    pub(crate) may_lose: bool,
    /// Until when a disk is full, and a process does nothing.
    full_until: [Option<Instant>; 3],
    /// Until when a node that is down stays so.
    down_until: [Option<Instant>; 3],
    /// Whose log was lost, and has not been filled again yet as far as the map shows.
    lost: Option<usize>,
    /// Whose log rots in this run, if it was seen to: the others hold what it held then.
    rotten: usize,
    rots: bool,
    requests: u64,
}

impl Faults {
    pub(crate) fn new(random: &mut u64) -> Self {
        let every = [100, 300, 1_000][draw(random, 3) as usize];
        let may_lose = draw(random, 3) == 0;
        let (full_until, down_until) = ([None; 3], [None; 3]);
        let rotten = draw(random, 3) as usize;
        let (lost, rots, requests) = (None, false, 0);
        Self { every, may_lose, full_until, down_until, lost, rotten, rots, requests }
    }
}

impl World {
    /// Perhaps something befalls somebody.
    pub(crate) fn strike(&mut self) {
        for at in 0..3 {
            if self.faults.full_until[at].is_some_and(|until| until <= self.now) {
                self.make_room(at);
            }
            let is_due = self.faults.down_until[at].is_none_or(|until| until <= self.now);
            if self.nodes[at].process.is_none() && is_due && self.draw(150) == 0 {
                self.start(at);
            }
        }
        if self.draw(40) == 0 {
            let (a, b) = (self.draw(3) as usize, self.draw(3) as usize);
            self.link(a, b);
        }
        let at = self.draw(3) as usize;
        if self.draw(60) == 0 {
            self.nodes[at].cut_off = false;
        }
        if self.draw(self.faults.every) > 0 {
            return;
        }
        match self.draw(14) {
            0..3 => self.crash(at),
            3 | 4 => {
                let other = self.draw(3) as usize;
                self.say(format!("n{} and n{} lose their link", at + 1, other + 1));
                self.unlink(at, other);
            }
            5 => {
                self.say(format!("n{} is cut off", at + 1));
                self.nodes[at].cut_off = true;
            }
            6 => {
                let keeps = self.draw(2) == 0;
                self.say(format!("another controller, which has all proposals: {keeps}"));
                self.office.succeed(wall(self.now), keeps);
            }
            7 => self.fail_once(at),
            8 => self.fill(at),
            9 => self.lose_log(at),
            10 | 11 => self.move_leader(at),
            12 => self.rot(self.faults.rotten),
            _ => self.stop(at),
        }
    }

    /// Nothing befalls anybody any more.
    pub(crate) fn calm(&mut self) {
        for at in 0..3 {
            self.make_room(at);
            self.nodes[at].disk.fault = None;
            self.nodes[at].cut_off = false;
            self.faults.down_until[at] = None;
        }
        self.faults.lost = None;
    }

    fn crash(&mut self, at: usize) {
        if self.nodes[at].process.is_none() {
            return;
        }
        let is_kept = self.setup.fsync == FsyncMode::Always || self.faults.may_lose;
        let seed = self.draw(1 << 40);
        let how = match self.draw(4) {
            0 if is_kept => Unsynced::Lost,
            1 if is_kept => Unsynced::Mixed(seed),
            2 => Unsynced::Kept,
            _ => Unsynced::Killed,
        };
        self.say(format!("n{} crashes: {how:?}", at + 1));
        self.totals.crashes += 1;
        self.kill(at);
        self.stay_down(at);
        let node = &mut self.nodes[at];
        let (capacity, disk) = (node.disk.capacity, std::mem::take(&mut node.disk));
        node.disk = disk.crash(how);
        node.disk.capacity = capacity;
        self.may_be_seen(at);
    }

    fn stay_down(&mut self, at: usize) {
        let some_ms = [0, 0, 50, 500][self.draw(4) as usize];
        self.faults.down_until[at] = Some(self.now.after(Duration::from_millis(some_ms)));
    }

    /// The controller may see that the process is gone.
    fn may_be_seen(&mut self, at: usize) {
        if self.draw(2) == 0 {
            self.ask_office(Input::Gone(NodeId(at as u32 + 1)));
        }
    }

    /// An operation fails that comes soon.
    fn fail_once(&mut self, at: usize) {
        // Where writes are not fsynced one by one a failed fsync may take what was acknowledged.
        let is_kept = self.setup.fsync == FsyncMode::Always || self.faults.may_lose;
        let (failing, left) = (FAULTS[self.draw(4) as usize], 1 + self.draw(10));
        if failing == Failing::Sync && !is_kept {
            return;
        }
        self.say(format!("n{}: {failing:?} fails in {left}", at + 1));
        self.totals.faults += 1;
        self.nodes[at].disk.fails_once(failing, left);
    }

    fn fill(&mut self, at: usize) {
        let left = self.draw(2_000) as usize;
        let lasts = Duration::from_millis(self.draw(1_500));
        self.say(format!("n{}: {left} bytes are left for {lasts:?}", at + 1));
        let disk = &mut self.nodes[at].disk;
        disk.capacity = Some(disk.used() + left);
        self.faults.full_until[at] = Some(self.now.after(lasts));
    }

    fn make_room(&mut self, at: usize) {
        self.nodes[at].disk.capacity = None;
        self.faults.full_until[at] = None;
    }

    /// Unless that may be, somebody else is in sync, and has its log.
    fn lose_log(&mut self, at: usize) {
        let Some(held) = self.office.map.partition(P) else { return };
        let is_in = |at: usize| held.seat(NodeId(at as u32 + 1)).is_some();
        let is_filled =
            |node: &Node| node.replica().is_some_and(|r| r.open && r.log_end > Offset(0));
        let lost = self.faults.lost.filter(|&lost| !is_in(lost) || !is_filled(&self.nodes[lost]));
        let others = (0..3).filter(|&other| other != at && is_in(other)).count();
        let is_good = self.faults.rots && at != self.faults.rotten;
        let is_last = others == 0 || lost.is_some_and(|lost| lost != at) || is_good;
        if !self.faults.may_lose && is_last {
            return;
        }
        self.say(format!("n{} loses its log", at + 1));
        self.totals.losses += 1;
        self.faults.lost = Some(at);
        self.kill(at);
        self.stay_down(at);
        self.nodes[at].disk.remove_dir("p0");
        self.may_be_seen(at);
    }

    /// A follower's sealed segment rots, while others in sync have all that is in it.
    fn rot(&mut self, at: usize) {
        let Some(held) = self.office.map.partition(P) else { return };
        let open = |node: &Node| node.replica().is_some_and(|r| r.open && r.log_end > Offset(0));
        let others = (0..3).filter(|&other| other != at && open(&self.nodes[other]));
        let in_sync = others.filter(|&at| held.seat(NodeId(at as u32 + 1)).is_some()).count();
        let leads = self.nodes[at].replica().is_none_or(|replica| replica.leads.is_some());
        let segments = self.nodes[at].disk.segments();
        if self.faults.may_lose || self.faults.lost.is_some() || leads || in_sync == 0 {
            return;
        }
        if segments.len() < 2 {
            return;
        }
        let name = segments[self.draw(segments.len() as u64 - 1) as usize].clone();
        let len = self.nodes[at].disk.bytes(&name).len() as u64;
        if len > 32 {
            let byte = 32 + self.draw(len - 32) as usize;
            self.say(format!("n{}: {name} rots at byte {byte}", at + 1));
            self.nodes[at].disk.edit(&name, |bytes| bytes[byte] ^= 4);
            (self.faults.rots, self.totals.rots) = (true, self.totals.rots + 1);
        }
    }

    fn move_leader(&mut self, at: usize) {
        self.faults.requests += 1;
        self.totals.moves += 1;
        let id = RequestId { asker: NodeId(1), number: self.faults.requests };
        let request = Request::MoveLeader(P, NodeId(at as u32 + 1));
        let last = Index(self.office.log.len() as u64);
        self.ask_office(Input::Request(id, request, last));
    }
}
