//! A cluster of real processes under real faults: what its clients saw is judged by the
//! simulator's checkers.
//!
//! Several clients ask all nodes about few keys, each value written once, while nodes are killed,
//! paused, stopped and cut off from each other, one fault after the other and each until writes
//! succeed in every partition in spite of it. After each fault all replicas must be in sync again.
//! In the end every key is read once more: what was acknowledged must be there, and what was
//! refused must not.
//!
//! `KVNODE_CHAOS_SEED` repeats the order of the faults and what the clients ask, if not the
//! moments; `KVNODE_CHAOS_ROUNDS` runs longer. A failed run says where it has left the history,
//! the logs and what the nodes told of the cluster.
#![cfg(feature = "sim")]

mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod record;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kvnode_core::slot;
use kvnode_sim::history::{Action, Answer, Group, History, Key, Outcome, Val};

use cluster::{Cluster, NODES, PARTITIONS};
use common::{Client, Node, Rng, Signal, wait_until};
use record::{Asker, Askers, PROBED_GROUPS, Record};
use wire::Flow;

/// Clients that ask all the time.
const CLIENTS: u32 = 8;

/// How long a node is paused or unreachable at least: longer than a session, which is 1.5 s.
const HOLD: Duration = Duration::from_millis(2200);

/// What is done to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// SIGKILL of a leader.
    KillLeader,
    /// SIGKILL of a follower.
    KillFollower,
    /// SIGSTOP of a leader, and SIGCONT.
    PauseLeader,
    /// SIGSTOP of a follower, and SIGCONT.
    PauseFollower,
    /// A leader hears of nobody, and nobody of it.
    IsolateLeader,
    /// A follower's connections to its peers break, and no others come about.
    CutFollower,
    /// A leader hears of nobody, and is heard.
    DeafLeader,
    /// Nobody hears of a leader, which hears them.
    MuteLeader,
    /// A leader and one of its followers do not hear of each other; the third node hears both.
    ApartFromOne,
    /// All nodes are stopped by SIGTERM and started again, one after the other.
    RollingRestart,
    /// SIGKILL of all nodes at once.
    KillAll,
    /// SIGKILL of a leader when a follower, which has missed writes, comes back: it must not lead.
    KillLeaderBesideStale,
    /// SIGKILL of a follower, which comes back with an empty directory.
    WipeFollower,
}

impl Fault {
    const ALL: [Self; 13] = [
        Self::KillLeader,
        Self::KillFollower,
        Self::PauseLeader,
        Self::PauseFollower,
        Self::IsolateLeader,
        Self::CutFollower,
        Self::DeafLeader,
        Self::MuteLeader,
        Self::ApartFromOne,
        Self::RollingRestart,
        Self::KillAll,
        Self::KillLeaderBesideStale,
        Self::WipeFollower,
    ];
}

/// Rounds of one fault each: first every fault once, in any order.
fn rounds(rng: &mut Rng) -> Vec<Fault> {
    let count = std::env::var("KVNODE_CHAOS_ROUNDS");
    let count = count.map_or(Fault::ALL.len(), |text| text.parse().expect("rounds are a number"));
    let mut all = Vec::new();
    while all.len() < count {
        let mut some = Fault::ALL.to_vec();
        while !some.is_empty() {
            all.push(some.swap_remove(rng.below(some.len() as u64) as usize));
        }
    }
    all.truncate(count);
    all
}

#[test]
fn what_clients_see_of_a_cluster_under_faults_is_linearizable() {
    let mut rng = Rng::from_env("KVNODE_CHAOS_SEED");
    let rounds = rounds(&mut rng);
    let mut run = Run::new(&mut rng);
    let clients = Askers::start(CLIENTS, &run.record, &run.cluster.endpoints(), &mut rng);
    for (round, fault) in rounds.iter().enumerate() {
        let partition = rng.below(PARTITIONS.into()) as usize;
        run.strike(*fault, partition, &mut rng);
        run.cluster.whole();
        run.tell(&format!("round {round}: {fault:?} of p{partition} is over"));
    }
    clients.stop();
    run.read_back(&mut rng);
    let history = run.record.history();
    eprint!("{} calls\n{}", history.calls.len(), record::summary(&history));
    let faults = record::faults(&history);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_busy(&history);
    run.cluster.check();
}

/// A run that asks nothing finds nothing.
fn assert_busy(history: &History) {
    let calls = history.calls.len();
    let answered = |call: &&kvnode_sim::history::Call| matches!(call.outcome, Outcome::Answered(_));
    let answered = history.calls.iter().filter(answered).count();
    assert!(answered > 1000 && answered * 2 > calls, "{answered} of {calls} calls were answered");
}

/// A cluster under test, and what is asked of it. What is known of it is kept if the test fails.
struct Run {
    cluster: Cluster,
    record: Arc<Record>,
    /// A group of keys in each partition.
    groups: Vec<Group>,
}

impl Run {
    fn new(rng: &mut Rng) -> Self {
        let home = |group: &Group| {
            let key = Key { group: *group, number: 0 }.to_string();
            slot::partition(slot::slot(key.as_bytes()), PARTITIONS).0 as usize
        };
        let in_partition = |partition: usize| {
            let mut groups = PROBED_GROUPS.map(Group);
            groups.find(|group| home(group) == partition).expect("slots are spread")
        };
        let groups = (0..PARTITIONS as usize).map(in_partition).collect();
        Self { cluster: Cluster::found(rng), record: Record::new(), groups }
    }

    /// One fault, from its beginning until it is over.
    fn strike(&mut self, fault: Fault, partition: usize, rng: &mut Rng) {
        let leader = self.cluster.leader(partition);
        let others: Vec<usize> = (1..=NODES).filter(|id| *id != leader).collect();
        let follower = others[rng.below(others.len() as u64) as usize];
        self.tell(&format!(
            "{fault:?} of p{partition}, led by n{leader}; the follower is n{follower}"
        ));
        match fault {
            Fault::KillLeader => self.kill(leader, rng),
            Fault::KillFollower => self.kill(follower, rng),
            Fault::PauseLeader => self.pause(leader, rng),
            Fault::PauseFollower => self.pause(follower, rng),
            Fault::IsolateLeader => {
                self.apart(leader, &others, [Flow::Stalled; 2]);
                self.hold(leader, rng);
            }
            Fault::CutFollower => {
                self.cut(follower);
                self.hold(follower, rng);
            }
            Fault::DeafLeader => {
                self.apart(leader, &others, [Flow::Open, Flow::Stalled]);
                self.hold(leader, rng);
            }
            Fault::MuteLeader => {
                self.apart(leader, &others, [Flow::Stalled, Flow::Open]);
                self.hold(leader, rng);
            }
            Fault::ApartFromOne => {
                self.apart(leader, &[follower], [Flow::Stalled; 2]);
                // Whichever of the two the controller goes with, the third is well.
                thread::sleep(HOLD);
                self.cluster.wire.heal();
                self.prove_writes(None, rng);
            }
            Fault::RollingRestart => {
                for id in 1..=NODES {
                    self.cluster.end(id, Signal::Term);
                    self.prove_writes(Some(id), rng);
                    self.cluster.start(id);
                    self.cluster.whole();
                }
            }
            Fault::KillAll => {
                (1..=NODES).for_each(|id| self.cluster.signal(id, Signal::Kill));
                (1..=NODES).for_each(|id| self.cluster.end(id, Signal::Kill));
                (1..=NODES).for_each(|id| self.cluster.start(id));
                self.prove_writes(None, rng);
            }
            Fault::KillLeaderBesideStale => {
                self.cut(follower);
                thread::sleep(HOLD);
                self.prove_writes(Some(follower), rng);
                let other = others.iter().copied().find(|id| *id != follower).expect("three nodes");
                // Another may lead since the cut, if the controller was on the other side of it.
                let leader = self.cluster.leader_for(other, partition);
                let leader = leader.filter(|leader| *leader != follower);
                let leader = leader.expect("a partition that is written to has a leader");
                self.cluster.end(leader, Signal::Kill);
                self.cluster.wire.heal();
                self.prove_writes(Some(leader), rng);
                self.cluster.start(leader);
            }
            Fault::WipeFollower => {
                self.cluster.end(follower, Signal::Kill);
                self.cluster.wipe(follower);
                self.prove_writes(Some(follower), rng);
                self.cluster.start(follower);
            }
        }
    }

    /// Its connections to its peers break, and no others come about.
    fn cut(&self, id: usize) {
        let others: Vec<usize> = (1..=NODES).filter(|other| *other != id).collect();
        self.apart(id, &others, [Flow::Cut; 2]);
    }

    fn kill(&mut self, id: usize, rng: &mut Rng) {
        self.cluster.end(id, Signal::Kill);
        self.prove_writes(Some(id), rng);
        self.cluster.start(id);
    }

    fn pause(&mut self, id: usize, rng: &mut Rng) {
        self.cluster.signal(id, Signal::Stop);
        thread::sleep(HOLD);
        self.prove_writes(Some(id), rng);
        self.cluster.signal(id, Signal::Continue);
    }

    /// Sets what becomes of what `id` says to `others`, and of what they say to it.
    fn apart(&self, id: usize, others: &[usize], [out, back]: [Flow; 2]) {
        for &other in others {
            self.cluster.wire.set(id, other, out);
            self.cluster.wire.set(other, id, back);
        }
    }

    fn hold(&mut self, id: usize, rng: &mut Rng) {
        thread::sleep(HOLD);
        self.prove_writes(Some(id), rng);
        self.cluster.wire.heal();
    }

    /// Waits until a write in every partition is acknowledged by a node other than `without`.
    fn prove_writes(&self, without: Option<usize>, rng: &mut Rng) {
        let nodes = (1..=NODES).filter(|id| Some(*id) != without);
        let nodes: Vec<_> = nodes.map(|id| self.cluster.endpoint(id)).collect();
        let mut asker = Asker::new(&self.record, 0, &nodes, Rng::new(rng.next()));
        for group in &self.groups {
            wait_until(&format!("a write to group {}", group.0), || {
                asker.written(*group).then_some(())
            });
        }
    }

    /// Reads every key through every node.
    fn read_back(&self, rng: &mut Rng) {
        for id in 1..=NODES {
            let node = [self.cluster.endpoint(id)];
            let mut asker = Asker::new(&self.record, 100 + id as u32, &node, Rng::new(rng.next()));
            for group in self.record.groups() {
                wait_until("a read", || asker.read(group).then_some(()));
            }
        }
    }

    fn tell(&self, what: &str) {
        eprintln!("{:>7} calls  {what}", self.record.history().calls.len());
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let id = std::process::id();
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{id}"));
        std::fs::create_dir_all(&dir).expect("a directory for what is known of the failure");
        self.cluster.keep_logs(&dir);
        record::keep(&self.record.history(), &dir.join("history"));
        eprintln!("history, logs and status are in {}", dir.display());
    }
}

/// A node that stands alone, and what clients have seen of it.
fn alone(rng: &mut Rng) -> (Node, Arc<Record>) {
    let node = Node::start(&["--fsync", "never"]);
    let record = Record::new();
    let clients = Askers::start(4, &record, &[node.endpoint()], rng);
    wait_until("some calls", || (record.history().calls.len() > 500).then_some(()));
    clients.stop();
    (node, record)
}

/// The checkers can fail: a write that is lost behind the clients' back, one that comes back, and one
/// that was refused and is there all the same.
#[test]
fn a_lost_a_returned_and_a_refused_write_are_found() {
    let mut rng = Rng::from_env("KVNODE_CHAOS_SEED");
    let key = Key { group: Group(0), number: 1 };
    type Forge = fn(&mut Client, &str, [Vec<u8>; 2]);
    let forges: [(&str, bool, Forge); 4] = [
        ("nothing", true, |_, _, _| {}),
        ("a lost write", false, |client, key, _| {
            client.call(["DEL", key]);
        }),
        ("an older value", false, |client, key, [old, _]| {
            client.call([b"SET", key.as_bytes(), &old]);
        }),
        ("a counter that lost one", false, |client, _, _| {
            client.call(["DECR", "{g0}0"]);
        }),
    ];
    for (what, fine, forge) in forges {
        let (node, record) = alone(&mut rng);
        let mut asker = Asker::new(&record, 9, &[node.endpoint()], Rng::new(rng.next()));
        let [old, new] = [0; 2].map(|_| Val::Tokens(vec![record.token(&mut rng)]));
        let counter = Key { number: 0, ..key };
        for action in [
            record::set(key, old.clone()),
            record::set(key, new.clone()),
            record::set(counter, Val::Int(41)),
            Action::Incr(counter, 1),
        ] {
            let outcome = asker.ask(vec![action]);
            assert!(matches!(outcome[..], [Outcome::Answered(_)]), "{outcome:?}");
        }
        forge(&mut node.client(), &key.to_string(), [old.encode(), new.encode()]);
        assert!(asker.read(key.group));
        let faults = record::faults(&record.history());
        assert_eq!(faults.is_empty(), fine, "{what}: {}", faults.join("\n"));
    }
}

/// They find a stale read, a refused write that is seen and an acknowledged one that is not, in what
/// the clients of a node that did nothing wrong have written down.
#[test]
fn a_forged_history_is_refused() {
    let mut rng = Rng::from_env("KVNODE_CHAOS_SEED");
    let (node, record) = alone(&mut rng);
    let key = Key { group: Group(0), number: 1 };
    let mut asker = Asker::new(&record, 9, &[node.endpoint()], Rng::new(rng.next()));
    let [old, new] = [0; 2].map(|_| Val::Tokens(vec![record.token(&mut rng)]));
    for action in [
        record::set(key, old.clone()),
        record::set(key, new.clone()),
        Action::Get(key),
        Action::Get(key),
    ] {
        asker.ask(vec![action]);
    }
    let history = record.history();
    assert_eq!(record::faults(&history), Vec::<String>::new());
    let last = history.calls.len() - 1;
    let forged = |call: usize, outcome: Outcome| {
        let mut history = history.clone();
        history.calls[call].outcome = outcome;
        record::faults(&history)
    };
    let read = |val: &Val| Outcome::Answered(Answer::Val(val.clone()));
    assert_eq!(forged(last, read(&new)), Vec::<String>::new());
    assert_ne!(forged(last, read(&old)), Vec::<String>::new(), "a stale read");
    assert_ne!(forged(last, Outcome::Answered(Answer::Nil)), Vec::<String>::new(), "a lost write");
    let refused = Outcome::Refused("CLUSTERDOWN: the command was not applied".into());
    assert_ne!(forged(last - 2, refused), Vec::<String>::new(), "a refused write that is seen");
}
