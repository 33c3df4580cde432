//! One run: a world is built, faults and clients are let loose on it, it is healed, and judged.
//!
//! Each run has a thread of its own, since madsim seeds the hashing of a thread's maps only before
//! the first is made. A panic ends the run and is a violation in itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use kvnode_core::disk::File;
use madsim::plugin::simulator;
use madsim::runtime::Runtime;
use madsim::task::spawn_local;
use madsim::time::{TimeHandle, sleep};

use crate::chance::{Chance, Purpose};
use crate::checkers::{Violation, judge};
use crate::client::Client;
use crate::clock::NodeClock;
use crate::disk::{DiskSim, Image, NodeDisk, Unsynced};
use crate::history::{Group, History, Key, Val};
use crate::nemesis::Nemesis;
use crate::node::{Mailboxes, address, live};
use crate::plan::{self, Class, Plan};
use crate::quorum;
use crate::replication;
use crate::settings::{Profile, Settings};
use crate::storage;
use crate::story::{Event, Kind, Lane};
use crate::world::World;

/// What to run.
#[derive(Clone, Debug)]
pub struct Request {
    /// The seed, from which everything follows.
    pub seed: u64,
    /// The profile.
    pub profile: Profile,
    /// The faults, if they are not to be those of the seed.
    pub plan: Option<Plan>,
    /// Whether to keep the story.
    pub keep: bool,
    /// What is wrong with the nodes on purpose, to see that it is noticed.
    pub spoilt: Option<Spoilt>,
}

/// Something that is broken outside of core, for the tests of checks that no mutant of core and no
/// forged history reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoilt {
    /// Nodes draw from the system's source of chance.
    Chance,
    /// Now and then a reply is not sent.
    Reply,
    /// Now and then a reply says that the disk is full.
    Alarm,
}

impl Request {
    /// A run as its seed says.
    pub fn new(profile: Profile, seed: u64) -> Self {
        Self { seed, profile, plan: None, keep: false, spoilt: None }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was run.
    pub seed: u64,
    /// How it was set up.
    pub settings: Settings,
    /// The faults that were planned.
    pub plan: Plan,
    /// What was found to be wrong.
    pub violations: Vec<Violation>,
    /// Groups of keys whose histories took too long to judge.
    pub undecided: usize,
    /// The faults that took effect.
    pub injected: BTreeMap<Class, u64>,
    /// The rare states that were reached.
    pub marks: u128,
    /// Calls of clients, and those of them that were answered.
    pub calls: usize,
    /// See `calls`.
    pub answered: usize,
    /// The hash over all events.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// Simulated time, in ns.
    pub simulated_ns: u64,
    /// The story, if it was kept.
    pub story: Vec<Event>,
    /// What the clients saw.
    pub history: History,
    /// In the [short](Profile::Short) profile: the sectors that were written on the node's disk as long
    /// as there were faults.
    pub written: BTreeSet<(File, u32)>,
}

/// Runs it.
pub fn run(request: &Request) -> Outcome {
    watch_panics();
    let settings = Settings::draw(request.profile, request.seed);
    let plan = request
        .plan
        .clone()
        .unwrap_or_else(|| plan::draw(&settings, &mut Chance::new(request.seed, Purpose::Plan)));
    let world = Arc::new(World::new(request.seed, settings.clone(), request.keep, request.spoilt));
    let thread = {
        let (world, plan) = (Arc::clone(&world), plan.clone());
        std::thread::Builder::new()
            .name(format!("seed {}", request.seed))
            .spawn(move || simulate(&world, &plan))
            .expect("a thread can be started")
    };
    let simulated_ns = thread.join().unwrap_or_else(|_| {
        world.violation("panic", "the run's thread has ended in a panic".to_owned());
        world.now_ns()
    });
    conclude(request, settings, plan, &world, simulated_ns)
}

fn conclude(
    request: &Request,
    settings: Settings,
    plan: Plan,
    world: &World,
    simulated_ns: u64,
) -> Outcome {
    let history = world.take_history();
    let mut violations = world.take_violations();
    let verdict = judge(&history);
    let mut trace = world.take_trace();
    for violation in &verdict.violations {
        trace.record(violation.at_ns, Lane::World, Kind::Violation, None, &violation.text, || {
            format!("{}: {}", violation.checker, violation.text)
        });
    }
    violations.extend(verdict.violations);
    let answered = history.calls.iter().filter(|call| call.returned.is_some()).count();
    Outcome {
        seed: request.seed,
        settings,
        plan,
        violations,
        undecided: verdict.undecided.len(),
        injected: world.tally(),
        marks: world.marks(),
        calls: history.calls.len(),
        answered,
        hash: trace.hash(),
        events: trace.count(),
        simulated_ns,
        story: in_order(trace.into_events()),
        history,
        written: world.take_written(),
    }
}

/// What checkers find out at the end stands where it happened.
fn in_order(mut story: Vec<Event>) -> Vec<Event> {
    story.sort_by_key(|event| event.at_ns);
    story
}

/// On a thread of its own. The simulated time that it took, in ns.
fn simulate(world: &Arc<World>, plan: &Plan) -> u64 {
    let runtime = Runtime::with_seed_and_config(world.seed, madsim::Config::default());
    runtime.add_simulator::<DiskSim>();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(unfold(Arc::clone(world), plan));
    }));
    if caught.is_err() {
        let text = PANIC.with_borrow_mut(Option::take).unwrap_or_default();
        // All tasks waiting for each other is a panic of madsim's, and a verdict of ours.
        let stuck = text.contains("all tasks will block forever");
        world.violation(if stuck { "liveness" } else { "panic" }, text);
        return world.now_ns();
    }
    drop(runtime);
    let simulated_ns = world.now_ns();
    // What a run leaves behind would add up over a campaign.
    assert_eq!(Arc::strong_count(world), 2, "a task of the run has outlived it");
    simulated_ns
}

async fn unfold(world: Arc<World>, plan: &Plan) {
    world.start(TimeHandle::current());
    let mailboxes = Arc::new(Mailboxes::default());
    let nemesis = build(&world, &mailboxes);
    nemesis.set_up();
    let supervisor = nemesis.clone();
    nemesis.spawn(async move { supervisor.supervise().await });
    if world.settings.profile == Profile::Cluster {
        quorum::unfold(&world, &mailboxes, &nemesis, plan).await;
        return nemesis.end().await;
    }
    if world.settings.profile == Profile::Replication {
        replication::unfold(&world, &mailboxes, &nemesis, plan).await;
        return nemesis.end().await;
    }

    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (1..=world.settings.clients)
        .map(|id| {
            let (world, stop) = (Arc::clone(&world), Arc::clone(&stop));
            let node = nemesis.client(id);
            node.spawn(async move {
                // A client's tasks stay on its node of madsim.
                spawn_local(async move {
                    let mut client = Client::new(world, id);
                    client.run(&stop).await;
                })
                .await
            })
        })
        .collect();
    nemesis.run(plan).await;
    let left_ms = world.settings.duration_ms.saturating_sub(world.now_ns() / 1_000_000);
    sleep(Duration::from_millis(left_ms)).await;
    // What is written later can not be harmed any more.
    world.note_written(nemesis.take_written(1));
    nemesis.heal();
    // Whoever is stuck shows by it.
    sleep(Duration::from_millis(AFTERMATH_MS)).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        // A client that panics has ended the run.
        let _ = client.await;
    }
    verify(&world, &nemesis).await;
    nemesis.end().await;
}

fn build(world: &Arc<World>, mailboxes: &Arc<Mailboxes>) -> Nemesis {
    let handle = madsim::runtime::Handle::current();
    let mut swarm = Chance::new(world.seed, Purpose::Network);
    let mut nodes = Vec::new();
    let is_hunted = world.settings.profile == Profile::Replication;
    for id in 1..=world.settings.nodes {
        let drift = swarm.below(2 * world.settings.drift_ppm_max + 1) as i64
            - world.settings.drift_ppm_max as i64;
        let offset_us = swarm.below(4_000_000) as i64 - 2_000_000;
        world.add_node(id, NodeClock::new(swarm.below(1 << 40), offset_us, drift));
        let (shared, mailboxes) = (Arc::clone(world), Arc::clone(mailboxes));
        let node = handle
            .create_node()
            .name(format!("n{id}"))
            .ip(address(id).ip())
            .init(move || {
                let (shared, mailboxes) = (Arc::clone(&shared), Arc::clone(&mailboxes));
                async move {
                    live(shared, id, mailboxes).await;
                }
            })
            .build();
        let chance = Chance::new(world.seed, Purpose::Disk(id));
        let mut disk = NodeDisk::new(chance, world.settings.pace);
        if world.settings.profile == Profile::Short {
            disk.note_written();
        }
        if is_hunted {
            disk.spare_control();
        }
        simulator::<DiskSim>().add(node.id(), disk);
        nodes.push(node.id());
    }
    // More than there are clients in the workload: the auditor, and scouts.
    let scouts = if is_hunted { replication::scout::SCOUTS } else { 0 };
    let clients = (1..=world.settings.clients + 1 + scouts).map(|id| {
        let ip = IpAddr::from([10, 0, 1, id as u8]);
        handle.create_node().name(format!("c{id}")).ip(ip).build()
    });
    let clients = clients.collect();
    Nemesis::new(Arc::clone(world), Arc::clone(mailboxes), nodes, clients)
}

/// After the storm: the node serves, every key can be read and written, it stops as asked, and after
/// another start everything that its log says is there.
async fn verify(world: &Arc<World>, nemesis: &Nemesis) {
    const NODE: u32 = 1;
    if !audited(world, nemesis, true).await {
        return excuse(world, NODE);
    }
    if !nemesis.stop(NODE).await {
        return world.violation("liveness", format!("n{NODE} does not stop when it is asked to"));
    }
    // It has said that everything is durable.
    nemesis.lose_power(NODE, Unsynced::Lost);
    let image = nemesis.image(NODE);
    nemesis.start(NODE);
    let first = world.calls();
    if !audited(world, nemesis, false).await {
        return excuse(world, NODE);
    }
    if !world.is_damaged(NODE) {
        compare(world, &image, world.read_since(first));
    }
}

async fn audited(world: &Arc<World>, nemesis: &Nemesis, write: bool) -> bool {
    let auditor = world.settings.clients + 1;
    let shared = Arc::clone(world);
    let audit = nemesis.client(auditor).spawn(async move {
        spawn_local(async move { audit(&mut Client::new(shared, auditor), write).await }).await
    });
    matches!(audit.await, Ok(Ok(true)))
}

/// A node does not serve. Damage where the atlas puts it is no excuse: the rest is to be served. In
/// a sweep it may lie in the files without which nothing is known of the log.
fn excuse(world: &World, node: u32) {
    let vital = world.settings.profile == Profile::Short && world.is_damaged(node);
    if !vital {
        let refused = world.refused(node).unwrap_or_else(|| "no reason told".to_owned());
        let text =
            format!("n{node} does not serve every key {AUDIT_S} s after the end of all faults");
        world.violation("liveness", format!("{text}: {refused}"));
    }
}

/// What was read after a start is what the log said before it.
fn compare(world: &World, image: &Image, read: BTreeMap<Key, Option<Val>>) {
    let Some(content) = storage::content(image, world.settings.partitions) else {
        return world.violation("storage", "a stopped node lacks a file".to_owned());
    };
    for (key, read) in read {
        let logged = content.get(key.to_string().as_bytes());
        let val = logged.and_then(|(bytes, _)| Val::decode(bytes));
        let may_expire = logged.is_some_and(|(_, expire_at)| expire_at.is_some());
        let same = read == val || (read.is_none() && may_expire);
        // The probe has counted on since.
        let probe = key.group == Group(world.settings.groups);
        if !same && !probe {
            let text =
                format!("{key} is {val:?} by the log and was read as {read:?} after a start");
            world.violation("storage", text);
        }
    }
}

/// Tries until everything is answered, or patience ends.
async fn audit(client: &mut Client, write: bool) -> bool {
    for _ in 0..AUDIT_S * 2 {
        if client.probe().await && client.audit(write).await {
            client.leave();
            return true;
        }
        sleep(Duration::from_millis(500)).await;
    }
    false
}

/// How long clients go on after the end of all faults: longer than they are patient.
const AFTERMATH_MS: u64 = 5_000;

/// How long after the end of all faults everything must be served, in simulated seconds.
const AUDIT_S: u64 = 30;

thread_local! {
    /// Where the panic of this run was.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A run's panic is kept for its verdict; any other is shown as usual.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let ours = std::thread::current().name().is_some_and(|name| name.starts_with("seed "));
            if ours {
                PANIC.with_borrow_mut(|kept| {
                    kept.get_or_insert_with(|| panic.to_string().replace('\n', " "));
                });
            } else {
                usual(panic);
            }
        }));
    });
}
