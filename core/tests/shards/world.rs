//! Three nodes of a cluster, with whatever is on its way between their threads, disks, links and the office.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kvnode_core::cluster::{Command, broker, controller};
use kvnode_core::marks::{Mark, Marks};
use kvnode_core::shard::{FsyncMode, Input, ReplicaGlance};
use kvnode_core::{ClientId, Epoch, Instant, Now, replication};

use crate::clients::{Clients, KEYS};
use crate::disk::draw;
use crate::faults::Faults;
use crate::node::{Node, Wire};
use crate::office::{Office, P};

const WALL_US: u64 = 1_700_000_000_000_000;
pub(crate) const CLIENTS: u64 = 8;

/// How the shards of one run are set up.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) fsync: FsyncMode,
    pub(crate) segment_bytes: u64,
    pub(crate) zero_ahead_bytes: u64,
    pub(crate) window_bytes: u32,
    min_isr: u32,
    pub(crate) reads: replication::ReadMode,
    pub(crate) garbage_percent: u64,
    pace: Pace,
}

/// How much is done at a time, at most.
#[derive(Clone, Copy)]
struct Pace {
    disk: u64,
    threads: u64,
    links: u64,
}

/// What the runs have seen of what is rare.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) reads: u64,
    pub(crate) crashes: u64,
    pub(crate) faults: u64,
    pub(crate) moves: u64,
    pub(crate) stops: u64,
    pub(crate) reigns: u64,
    pub(crate) losses: u64,
    pub(crate) rots: u64,
    pub(crate) uncleans: u64,
    pub(crate) doubts: u64,
    pub(crate) marks: Marks,
}

/// What the shards are to have been through.
const RARE: [Mark; 15] = [
    Mark::TornTail,
    Mark::RolledAfterFault,
    Mark::DiskFull,
    Mark::SyncFailed,
    Mark::Reopened,
    Mark::Merged,
    Mark::MergeGivenUp,
    Mark::TombstoneDropped,
    Mark::TombstoneKept,
    Mark::ReignEnded,
    Mark::Resigned,
    Mark::LogCut,
    Mark::CaughtUpFromDisk,
    Mark::BeganUnclean,
    Mark::Refetched,
];

impl Totals {
    fn each(&mut self) -> [&mut u64; 13] {
        let Self { acknowledged, refused, unknown, reads, crashes, faults, .. } = self;
        let Self { moves, stops, reigns, losses, rots, uncleans, doubts, .. } = self;
        [
            acknowledged,
            refused,
            unknown,
            reads,
            crashes,
            faults,
            moves,
            stops,
            reigns,
            losses,
            rots,
            uncleans,
            doubts,
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = *other;
        self.each().into_iter().zip(other.each()).for_each(|(own, theirs)| *own += *theirs);
        self.marks = self.marks.or(other.marks);
    }

    pub(crate) fn all_seen(mut self) -> bool {
        let unseen: Vec<_> = RARE.into_iter().filter(|mark| !self.marks.has(*mark)).collect();
        assert!(unseen.is_empty(), "{unseen:?}");
        self.each().into_iter().all(|count| *count > 0)
    }
}

pub(crate) struct World {
    pub(crate) random: u64,
    pub(crate) now: Instant,
    pub(crate) setup: Setup,
    pub(crate) nodes: [Node; 3],
    /// Pairs of nodes that have a link.
    pub(crate) linked: [[bool; 3]; 3],
    pub(crate) wires: BTreeMap<(usize, usize), Wire>,
    pub(crate) office: Office,
    pub(crate) clients: Clients,
    pub(crate) faults: Faults,
    /// Who has led in which reign.
    pub(crate) reigns: BTreeMap<Epoch, usize>,
    pub(crate) totals: Totals,
    story: VecDeque<String>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.story.iter().for_each(|line| eprintln!("{line}"));
            for node in &self.nodes {
                eprintln!("{}", node.id);
                node.notices.iter().for_each(|line| eprintln!("  {line}"));
                let replica = node.replica();
                eprintln!("  {replica:?}");
                if let Some(process) = &node.process {
                    eprintln!("  life {:?} map {}", process.broker.life(), process.map.applied());
                    eprintln!("  disk {:?}", process.ops);
                }
            }
            if let Some(held) = self.office.map.partition(P) {
                eprintln!("{held}");
            }
        }
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995;
        let mut one = |of: &[u64]| of[draw(&mut random, of.len() as u64) as usize];
        let setup = Setup {
            fsync: match one(&[0, 1, 2, 2, 2]) {
                0 => FsyncMode::EveryMs(20),
                1 => FsyncMode::Never,
                _ => FsyncMode::Always,
            },
            segment_bytes: one(&[400, 700, 1500, 4000]),
            zero_ahead_bytes: one(&[0, 0, 300]),
            window_bytes: one(&[128, 1024, 256 << 10]) as u32,
            min_isr: one(&[1, 1, 2]) as u32,
            reads: match one(&[0, 1]) {
                0 => replication::ReadMode::Lease,
                _ => replication::ReadMode::Confirm,
            },
            garbage_percent: one(&[10, 40]),
            pace: Pace {
                disk: one(&[2, 8, 50]),
                threads: one(&[3, 10, 30]),
                links: one(&[3, 10, 30]),
            },
        };
        let now = Instant(1_000_000_000);
        let faults = Faults::new(&mut random);
        let mut world = Self {
            random,
            now,
            setup,
            nodes: [1, 2, 3].map(Node::new),
            linked: [[false; 3]; 3],
            wires: BTreeMap::new(),
            office: Office::new(wall(now), setup.min_isr),
            clients: Clients::default(),
            faults,
            reigns: BTreeMap::new(),
            totals: Totals::default(),
            story: VecDeque::new(),
        };
        (0..3).for_each(|at| world.start(at));
        world
    }

    pub(crate) fn draw(&mut self, below: u64) -> u64 {
        draw(&mut self.random, below)
    }

    pub(crate) fn say(&mut self, what: String) {
        if self.story.len() == 120 {
            self.story.pop_front();
        }
        self.story.push_back(format!("{:>10.3} ms {what}", self.now.0 as f64 / 1e6 - 1e3));
    }

    pub(crate) fn run(mut self, steps: usize) -> Totals {
        self.rest();
        for _ in 0..steps {
            self.strike();
            self.pass_some();
            for _ in 0..3 {
                self.act();
            }
        }
        self.rest();
        let totals = &mut self.totals;
        let Clients { acknowledged, refused, unknown, reads, .. } = self.clients;
        (totals.acknowledged, totals.refused) = (acknowledged, refused);
        (totals.unknown, totals.reads) = (unknown, reads);
        totals.reigns += self.reigns.len() as u64;
        for process in self.nodes.iter().filter_map(|node| node.process.as_ref()) {
            totals.marks = totals.marks.or(process.shard.marks());
        }
        *totals
    }

    /// Time goes on, and whoever is due may notice.
    fn pass_some(&mut self) {
        let by_us = match self.draw(1000) {
            0..800 => self.draw(100),
            800..990 => self.draw(2_000),
            990..999 => self.draw(20_000),
            _ => self.draw(400_000),
        };
        self.now = self.now.after(Duration::from_micros(by_us));
        let late = self.draw(8) as usize;
        (0..3).filter(|at| *at != late).for_each(|at| self.tick(at));
        if late != 3 {
            self.office.tick(wall(self.now));
        }
    }

    pub(crate) fn tick(&mut self, at: usize) {
        let now = wall(self.now);
        let Some(process) = &mut self.nodes[at].process else { return };
        if process.shard.deadline().is_some_and(|(due, _)| due <= now.mono) {
            process.shard.handle(now, Input::Tick);
            self.drain_shard(at);
        }
        let Some(process) = &mut self.nodes[at].process else { return };
        if process.broker.deadline().is_some_and(|(due, _)| due <= now.mono) {
            self.tell_broker(at, broker::Input::Tick);
        }
    }

    fn act(&mut self) {
        let at = self.draw(3) as usize;
        match self.draw(100) {
            0..30 => {
                let some = 1 + self.draw(self.setup.pace.disk);
                (0..some).for_each(|_| self.disk(at, false));
            }
            30..50 => {
                let some = 1 + self.draw(self.setup.pace.threads);
                (0..some).for_each(|_| self.hand_over(at));
            }
            50..70 => {
                let to = (at + 1 + self.draw(2) as usize) % 3;
                let some = 1 + self.draw(self.setup.pace.links);
                (0..some).for_each(|_| self.carry(at, to));
            }
            70..80 => self.govern(at),
            _ => self.ask(at),
        }
    }

    /// Something goes on between the office and a node.
    fn govern(&mut self, at: usize) {
        let now = wall(self.now);
        match self.draw(4) {
            0 => self.office.read(now),
            1 => self.answer(),
            2 => {
                if let Some((command, outcome)) = self.office.commit(now) {
                    let held = self.office.map.partition(P).map(ToString::to_string);
                    let is = outcome
                        .map_or_else(|why| format!("refused, {why}"), |_| held.unwrap_or_default());
                    self.say(format!("{command}: {is}"));
                    self.look_at_map(&command);
                }
            }
            _ => self.apply(at),
        }
    }

    fn look_at_map(&mut self, command: &Command) {
        let Some(held) = self.office.map.partition(P) else { return };
        let elected = matches!(command, Command::ElectLeader(_));
        if elected && held.doubt.is_some_and(|doubt| doubt.epoch == held.epoch) {
            // Whose log has rotted leaves, and may be elected meanwhile; a node that has lost its log counts as
            // unclean until it has stopped cleanly.
            let Totals { losses, rots, .. } = self.totals;
            let is_unclean = losses + rots > 0 || self.setup.fsync != FsyncMode::Always;
            assert!(is_unclean, "what was acknowledged is in doubt");
            self.totals.doubts += 1;
            if self.faults.may_lose {
                self.clients.give_up();
            }
        }
    }

    fn answer(&mut self) {
        let Some((to, answer)) = self.office.answers.pop_front() else { return };
        let at = to.0 as usize - 1;
        if !self.nodes[at].cut_off && self.nodes[at].process.is_some() {
            self.tell_broker(at, broker::Input::Answer(answer));
        }
    }

    /// Some client of the node writes or reads.
    fn ask(&mut self, at: usize) {
        let client = ClientId(1 + self.draw(CLIENTS));
        // Most ask who leads, or takes itself for the leader.
        let leads = |at: &usize| self.nodes[*at].replica().is_some_and(|r| r.leads.is_some());
        let leaders: Vec<usize> = (0..3).filter(leads).collect();
        let asks_leader = !leaders.is_empty() && self.draw(10) > 0;
        let at = if asks_leader { leaders[self.draw(leaders.len() as u64) as usize] } else { at };
        let is_up = self.nodes[at].process.as_ref().is_some_and(|process| !process.stopping);
        if !is_up || !self.clients.is_idle(at, client) {
            return;
        }
        let key = self.draw(KEYS as u64) as usize;
        let (kind, bytes) = (self.draw(10), self.draw(120) as usize);
        let command = match kind {
            0..4 => Some(self.clients.read((at, client), key)),
            4..6 => self.clients.write((at, client), &[key], false, 0),
            6..9 => self.clients.write((at, client), &[key], true, bytes),
            _ => self.clients.write((at, client), &[key, (key + 1) % KEYS], true, bytes),
        };
        if let Some(command) = command {
            self.command(at, client, &command);
        }
    }

    fn command(&mut self, at: usize, client: ClientId, command: &[Vec<u8>]) {
        let now = wall(self.now);
        let args: Vec<&[u8]> = command.iter().map(|arg| &arg[..]).collect();
        let process = self.nodes[at].process.as_mut().unwrap();
        assert!(process.shard.accepts(client), "it has had its answer");
        process.shard.handle(now, Input::Command(client, &args));
        self.drain_shard(at);
    }

    pub(crate) fn ask_office(&mut self, input: controller::Input<'_>) {
        self.office.handle(wall(self.now), input);
    }

    /// Left in peace they come to hold the same.
    pub(crate) fn rest(&mut self) {
        self.calm();
        self.until("they come to rest", Self::is_whole);
        // Each by itself.
        for at in 0..3 {
            for key in 0..KEYS {
                let client = ClientId(CLIENTS + 1);
                let command = self.clients.read((at, client), key);
                self.command(at, client, &command);
                self.until("it is answered", |world| world.clients.are_idle());
            }
        }
        if self.office.map.partition(P).is_some_and(|held| held.doubt.is_some()) {
            self.office.proposed.push_back(Command::AcceptLoss(P));
        }
        self.say("at rest".into());
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = self.now.after(Duration::from_secs(120));
        let mut turns = 0_u32;
        while !is_so(self) {
            assert!(self.now < until && turns < 2_000_000, "not in two minutes: {what}");
            turns += 1;
            let by = if turns.is_multiple_of(8) { 500 } else { 0 };
            self.now = self.now.after(Duration::from_micros(by));
            self.office.tick(wall(self.now));
            for at in 0..3 {
                self.start(at);
                self.tick(at);
                (0..20).for_each(|_| self.disk(at, true));
                (0..8).for_each(|_| self.hand_over(at));
                for other in 0..3 {
                    self.link(at, other);
                    (0..4).for_each(|_| self.carry(at, other));
                }
                (0..4).for_each(|_| self.govern(at));
            }
        }
    }

    fn is_whole(&self) -> bool {
        let Some(held) = self.office.map.partition(P) else { return false };
        let replicas: Option<Vec<ReplicaGlance>> = self.nodes.iter().map(Node::replica).collect();
        let Some(replicas) = replicas else { return false };
        let Some(leader) = replicas.iter().find(|r| r.serves && r.leads == Some(held.epoch)) else {
            return false;
        };
        let same = |r: &ReplicaGlance| {
            r.open && r.log_end == leader.log_end && r.watermark == leader.log_end
        };
        let idle = |node: &Node| {
            let process = node.process.as_ref().unwrap();
            process.ops.is_empty() && process.map.applied() == self.office.map.applied()
        };
        held.isr.len() == 3
            && replicas.iter().all(same)
            && self.nodes.iter().all(idle)
            && self.clients.are_idle()
    }
}

pub(crate) fn wall(mono: Instant) -> Now {
    Now { mono, wall_us: WALL_US + mono.0 / 1000 }
}
