//! Random faults on a quorum in virtual time. Every run is a seed.
//!
//! `KVNODE_SEEDS=from..to cargo test -p kvnode-core --test election random` runs others than the
//! usual.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use kvnode_core::NodeId;
use kvnode_core::election::{Settings, VoterChange};

use super::seeds;
use super::world::{Faults, World, member, ms};

const SEEDS: std::ops::Range<u64> = 0..150;
/// Faults and requests in a run.
const ACTIONS: usize = 150;

#[test]
fn random_faults_lose_nothing_and_once_they_end_the_quorum_works() {
    let (mut committed, mut commands, mut leaders) = (0, 0, 0);
    let seeds = seeds::asked().unwrap_or(SEEDS);
    for seed in seeds.clone() {
        let run = AssertUnwindSafe(|| {
            let mut run = Run::new(seed);
            run.play();
            run.world
        });
        match catch_unwind(run) {
            Ok(world) => {
                committed += world.checks.committed();
                commands += world.checks.commands();
                leaders += world.checks.leaders();
            }
            Err(panic) => {
                eprintln!("seed {seed}");
                resume_unwind(panic);
            }
        }
    }
    println!("seeds {seeds:?}: {committed} entries, {commands} commands, {leaders} leaders");
    let runs = (seeds.end - seeds.start) as usize;
    assert!(commands > 10 * runs && leaders > 3 * runs, "the runs do something");
}

struct Run {
    world: World,
    proposed: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let voting = [1, 3, 3, 3, 4, 5, 5][(seed % 7) as usize];
        let settings = Settings {
            append_entries_max: 3,
            append_bytes_max: 100,
            inflight_max: 2 + (seed % 3) as usize,
            chunk_bytes: 10,
            tail_entries: seed % 5,
            ..Settings::default()
        };
        let mut world = World::new(voting + 1, voting, settings, seed);
        world.faults = Faults {
            delay_us: (100, [1_000, 5_000, 60_000][(seed / 7 % 3) as usize]),
            write_us: (100, [1_000, 20_000, 200_000][(seed / 21 % 3) as usize]),
            loss_percent: [0, 2, 20][(seed / 63 % 3) as usize],
            copy_percent: [0, 5, 20][(seed / 2 % 3) as usize],
        };
        Self { world, proposed: 0 }
    }

    fn play(&mut self) {
        for _ in 0..ACTIONS {
            self.act();
            let wait = match self.draw(10) {
                0 => self.draw(1_000),
                1..=3 => self.draw(200),
                _ => self.draw(20),
            };
            self.world.run(ms(wait));
            self.world.check_logs();
            self.world.trace.clear();
        }
        self.heal();
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.world.draw() % below
    }

    fn some_node(&mut self) -> u32 {
        let count = self.world.nodes.len() as u64;
        self.draw(count) as u32 + 1
    }

    fn act(&mut self) {
        let (a, b) = (self.some_node(), self.some_node());
        match self.draw(24) {
            0..=9 => {
                for _ in 0..=self.draw(6) {
                    self.propose();
                }
            }
            10..=11 => self.crash(a),
            12..=14 => {
                if !self.world.is_up(a) {
                    self.world.start(a);
                }
            }
            15 => {
                self.world.cut(a, b);
                if self.draw(2) == 0 {
                    self.world.cut(b, a);
                    if a != b {
                        self.world.unlink(a, b);
                    }
                }
            }
            16..=17 => self.mend(),
            18 => {
                if let Some(leader) = self.world.leader() {
                    let _ = self.world.with(leader, |raft, now| raft.transfer(now, NodeId(b)));
                }
            }
            19..=20 => self.change(a),
            21 => {
                if self.world.is_up(a) {
                    self.world.compact(a);
                }
            }
            22 => {
                let disk = &mut self.world.node(a).disk;
                disk.stalled = !disk.stalled;
            }
            _ => {
                if a != b {
                    self.world.unlink(a, b);
                    self.world.link(a, b);
                }
            }
        }
    }

    fn propose(&mut self) {
        self.proposed += 1;
        let command = format!("c{}", self.proposed);
        if let Some(leader) = self.world.leader()
            && let Err(why) = self.world.propose(leader, command.as_bytes())
        {
            self.world.trace.push(why);
        }
    }

    fn crash(&mut self, id: u32) {
        if self.world.is_up(id) {
            let changes = self.world.node(id).disk.writing.as_ref().map_or(0, |(_, c)| c.len());
            let kept = self.draw(changes as u64 + 1) as usize;
            self.world.crash(id, kept);
        }
    }

    fn change(&mut self, id: u32) {
        let Some(leader) = self.world.leader() else { return };
        let votes = self.world.raft(leader).voters().directory(NodeId(id)).is_some();
        let change = match votes {
            true => VoterChange::Remove(NodeId(id)),
            false => VoterChange::Add(member(id, 1)),
        };
        let _ = self.world.with(leader, |raft, now| raft.change_voters(now, change));
    }

    fn mend(&mut self) {
        let cuts = std::mem::take(&mut self.world.cuts);
        for (a, b) in cuts {
            if a != b {
                self.world.link(a, b);
            }
        }
    }

    /// All faults end. Before long there is a leader, a command is committed, and all logs agree.
    fn heal(&mut self) {
        self.mend();
        self.world.faults = Faults::NONE;
        for id in self.world.others(0) {
            self.world.node(id).disk.stalled = false;
            if !self.world.is_up(id) {
                self.world.start(id);
            }
        }
        self.world.run_until(ms(20_000), |world| {
            world.leader().is_some_and(|id| world.raft(id).is_settled_leader())
        });
        self.world.run(ms(1_000));
        let before = self.world.checks.commands();
        self.propose();
        self.world.run(ms(1_000));
        let story = || self.world.trace.join("\n");
        assert!(self.world.checks.commands() > before, "a healed quorum commits: {}", story());
        self.world.check_logs();
        let leader = self.world.leader().expect("a healed quorum has a leader");
        let (last, machine) = (self.world.raft(leader).last(), self.world.nodes[&leader].machine);
        for (id, node) in &self.world.nodes {
            let raft = node.raft.as_ref().expect("all are up");
            assert_eq!(raft.last(), last, "n{id} has the leader's log");
            assert_eq!(node.machine, machine, "n{id} has the leader's state");
            assert_eq!(raft.leader(), Some(NodeId(leader)), "n{id} knows the leader");
        }
    }
}
