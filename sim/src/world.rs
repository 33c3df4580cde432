//! What the tasks of one run share: time, trace, history, and what is known of each node.
//!
//! A run is one thread, so that the locks here are never contended; they are there because madsim
//! wants what its tasks share to be `Sync`. None is held over an `await`.

mod calls;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, OnceLock};

use kvnode_core::disk::{DiskOp, File};
use kvnode_core::marks::Marks;
use kvnode_core::shard::FsyncMode;
use kvnode_core::{Instant, Now, PartitionId, slot};
use madsim::time::TimeHandle;

use crate::checkers::Violation;
use crate::checkers::model::group_of;
use crate::clock::NodeClock;
use crate::disk::Strike;
use crate::history::{
    Action, Answer, Call, ClockView, Group, History, Key, Left, Loss, Moment, Order, Outcome, Val,
};
use crate::lock;
use crate::marks::{self, Seen};
use crate::net::{WireId, Wires};
use crate::node::describe;
use crate::plan::Class;
use crate::quorum::atlas::Atlas;
use crate::quorum::checkers::Found;
use crate::quorum::tcp::Tcp;
use crate::quorum::watch::Watch;
use crate::replication;
use crate::run::Spoilt;
use crate::settings::{Profile, Settings};
use crate::story::{Kind, Lane, Trace};
use crate::windows::Windows;

/// See the module's header.
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) seed: u64,
    pub(crate) spoilt: Option<Spoilt>,
    pub(crate) wires: Mutex<Wires>,
    /// Faults that last.
    pub(crate) windows: Mutex<Windows>,
    /// The connections between nodes.
    pub(crate) tcp: Mutex<Tcp>,
    /// What is known of the quorum.
    pub(crate) watch: Mutex<Watch>,
    /// Which disks the quorum has lost.
    pub(crate) atlas: Mutex<Atlas>,
    /// What is known of replicated partitions.
    pub(crate) replicas: Mutex<replication::watch::Watch>,
    /// What shards of different nodes say to each other.
    pub(crate) parcels: Mutex<replication::parcels::Parcels>,
    /// What of it a hunt has copied.
    pub(crate) post: Mutex<replication::post::Post>,
    /// What clients should look at, and quickly, for it is on trial.
    focus: Mutex<Vec<Group>>,
    /// When a replica was last to be taken away from a partition, in ns.
    taken_ns: Mutex<Option<u64>>,
    /// How many tokens clients have drawn: none writes what another has written.
    pub(crate) tokens: Arc<AtomicU32>,
    time: OnceLock<TimeHandle>,
    trace: Mutex<Trace>,
    nodes: Mutex<BTreeMap<u32, Node>>,
    record: Mutex<Record>,
}

/// One node as the outside knows it.
struct Node {
    clock: NodeClock,
    view: ClockView,
    up: bool,
    /// When this process began, in ns.
    up_since_ns: u64,
    /// Since when it keeps its fsyncs, in ns: no opening, and no partition stopped by its disk.
    syncs_since_ns: u64,
    serves: bool,
    /// Since when, in ns.
    serves_since_ns: u64,
    /// It has been asked to stop.
    stopping: bool,
    /// It has served since its disk was empty.
    settled: bool,
    /// Why it can not be started.
    refused: Option<String>,
    /// Everything that was returned before is durable.
    durable: Order,
    /// When it lost something that it may lose, until it is started again.
    losing: Option<(Order, Left)>,
    /// Which clock is still committed is not known until it serves.
    clock_lost: bool,
    /// A fault has damaged what is on its disk.
    damaged: bool,
    /// A read has failed in this life.
    unread: bool,
    /// When a fault last struck its disk or its connections for a moment, in ns.
    disturbed_ns: u64,
}

#[derive(Default)]
struct Record {
    order: Order,
    history: History,
    /// The life of the node that was to answer each call.
    lives: Vec<Option<u64>>,
    /// When a life ended.
    ends: BTreeMap<u64, Order>,
    /// When a node learnt that a connection is gone.
    hung_up: BTreeMap<u64, Order>,
    life: u64,
    /// A disk was damaged, or could not be read.
    damaged: bool,
    /// What went wrong with the disk in a life: anything, and that it was full.
    troubles: BTreeMap<u64, (bool, bool)>,
    committed_ms: u64,
    latest_ms: u64,
    tally: BTreeMap<Class, u64>,
    marks: u128,
    violations: Vec<Violation>,
    written: BTreeSet<(File, u32)>,
}

impl World {
    pub(crate) fn new(seed: u64, settings: Settings, keep: bool, spoilt: Option<Spoilt>) -> Self {
        Self {
            seed,
            spoilt,
            tcp: Mutex::new(Tcp::new(seed)),
            watch: Mutex::new(Watch::new(settings.quorum.session_timeout)),
            atlas: Mutex::default(),
            replicas: Mutex::new(replication::watch::Watch::new(settings.fsync)),
            parcels: Mutex::default(),
            post: Mutex::default(),
            focus: Mutex::default(),
            taken_ns: Mutex::default(),
            settings,
            wires: Mutex::default(),
            windows: Mutex::default(),
            tokens: Arc::default(),
            time: OnceLock::new(),
            trace: Mutex::new(Trace::new(keep)),
            nodes: Mutex::default(),
            record: Mutex::default(),
        }
    }

    /// From here on time passes.
    pub(crate) fn start(&self, time: TimeHandle) {
        assert!(self.time.set(time).is_ok(), "a run starts once");
    }

    /// True time since the start, in ns.
    pub(crate) fn now_ns(&self) -> u64 {
        let elapsed = self.time.get().map(|time| time.elapsed().as_nanos());
        elapsed.map_or(0, |ns| u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// Records an event.
    pub(crate) fn tell(
        &self,
        lane: Lane,
        kind: Kind,
        what: impl Hash,
        text: impl FnOnce() -> String,
    ) {
        lock(&self.trace).record(self.now_ns(), lane, kind, None, what, text);
    }

    /// Records one end of a message.
    pub(crate) fn tell_message(
        &self,
        lane: Lane,
        kind: Kind,
        message: (u64, Lane),
        what: impl Hash,
        text: impl FnOnce() -> String,
    ) {
        lock(&self.trace).record(self.now_ns(), lane, kind, Some(message), what, text);
    }

    /// Takes something into the hash that is no event of the story.
    pub(crate) fn note(&self, what: impl Hash) {
        lock(&self.trace).note((self.now_ns(), what));
    }

    /// Clients should look at this group of keys, and quickly, from now on.
    pub(crate) fn look_at(&self, group: Group) {
        lock(&self.focus).push(group);
    }

    /// That is over.
    pub(crate) fn look_away(&self, group: Group) {
        let mut focus = lock(&self.focus);
        if let Some(at) = focus.iter().position(|&looked| looked == group) {
            focus.remove(at);
        }
    }

    /// A replica is to be taken away from a partition: who is left in sync may be the last to have
    /// what is committed.
    pub(crate) fn takes_away(&self) {
        *lock(&self.taken_ns) = Some(self.now_ns());
    }

    /// Whether that was so recently that it may come to pass yet.
    pub(crate) fn may_take_away(&self) -> bool {
        let taken_ns = *lock(&self.taken_ns);
        taken_ns.is_some_and(|at_ns| self.now_ns() - at_ns < TAKEN_NS)
    }

    /// What clients should look at.
    pub(crate) fn focus(&self) -> Option<Group> {
        lock(&self.focus).last().copied()
    }

    /// The groups of keys of a partition.
    pub(crate) fn groups_of(&self, partition: PartitionId) -> Vec<Group> {
        let groups = (0..self.settings.groups).map(Group);
        groups.filter(|&group| self.partition_of(group) == partition).collect()
    }

    /// Whether the story is kept.
    pub(crate) fn keeps(&self) -> bool {
        lock(&self.trace).keeps()
    }

    /// Hands the trace over.
    pub(crate) fn take_trace(&self) -> Trace {
        std::mem::replace(&mut lock(&self.trace), Trace::new(false))
    }

    // Nodes.

    pub(crate) fn add_node(&self, id: u32, clock: NodeClock) {
        let node = Node {
            clock,
            view: ClockView::default(),
            up: false,
            up_since_ns: 0,
            syncs_since_ns: u64::MAX,
            serves: false,
            serves_since_ns: 0,
            stopping: false,
            settled: false,
            refused: None,
            durable: 0,
            losing: None,
            clock_lost: false,
            damaged: false,
            unread: false,
            disturbed_ns: 0,
        };
        lock(&self.nodes).insert(id, node);
    }

    fn node<T>(&self, id: u32, with: impl FnOnce(&mut Node) -> T) -> T {
        with(lock(&self.nodes).get_mut(&id).expect("the node exists"))
    }

    /// What time it is for a node.
    pub(crate) fn node_now(&self, id: u32) -> Now {
        let now_ns = self.now_ns();
        self.node(id, |node| node.clock.now(now_ns))
    }

    /// How long until a node's clock shows this, in true ns.
    pub(crate) fn until(&self, id: u32, at: Instant) -> u64 {
        let now_ns = self.now_ns();
        self.node(id, |node| node.clock.until(at, now_ns))
    }

    /// Changes a node's clock.
    pub(crate) fn set_clock(&self, id: u32, set: impl FnOnce(&mut NodeClock, u64)) {
        let now_ns = self.now_ns();
        self.node(id, |node| set(&mut node.clock, now_ns));
    }

    /// A process of a node begins; the number of its life. What its disk had lost, it has lost by now.
    pub(crate) fn born(&self, id: u32) -> u64 {
        let mut record = lock(&self.record);
        record.life += 1;
        record.order += 1;
        let (life, order) = (record.life, record.order);
        let now_ns = self.now_ns();
        lock(&self.watch).born(id, life);
        let loss = self.node(id, |node| {
            (node.up, node.up_since_ns) = (true, now_ns);
            (node.syncs_since_ns, node.stopping) = (u64::MAX, false);
            node.refused = None;
            node.unread = false;
            node.view.life = life;
            // A clock of this life is not known yet.
            node.view.now_ms = 0;
            node.losing.take()
        });
        if let Some((from, left)) = loss {
            record.history.losses.push(Loss { groups: None, from, to: order, left });
        }
        life
    }

    /// A node's process has ended. `lost`: what of its disk may be gone by it.
    pub(crate) fn died(&self, id: u32, lost: Option<Lost>) {
        lock(&self.watch).died(id);
        lock(&self.replicas).died(id);
        let mut record = lock(&self.record);
        record.order += 1;
        let order = record.order;
        let relaxed = self.settings.fsync != FsyncMode::Always;
        let replicated = self.is_replicated();
        let promised = self.promised(&record.history, id);
        self.node(id, |node| {
            if node.up {
                record.ends.insert(node.view.life, order);
            }
            (node.up, node.serves) = (false, false);
            let left = match lost {
                // What the others hold is not lost.
                Some(Lost::All) if replicated => {
                    (node.damaged, node.settled) = (false, false);
                    None
                }
                Some(Lost::All) => Some(Left::Nothing),
                // What is lost of a partition is another's to tell.
                Some(Lost::Unsynced) if relaxed && !replicated => {
                    Some(Left::Prefix(node.durable.max(promised)))
                }
                Some(Lost::Unsynced) | None => None,
            };
            if let Some(left) = left {
                // A loss on top of one that no start has shown yet gives nothing back.
                node.losing = Some(match node.losing {
                    Some((first, earlier)) => (first, earlier.min(left)),
                    None => (order, left),
                });
                node.clock_lost = true;
            }
            if left.is_some() {
                // Which clock is still committed shows when it serves again.
                record.committed_ms = 0;
            }
            if left == Some(Left::Nothing) {
                (node.damaged, node.settled) = (false, false);
            }
        });
    }

    /// What `--fsync MS` promises to a machine that loses power now: everything that was returned before
    /// this is durable, unless the disk or the process was held up.
    fn promised(&self, history: &History, id: u32) -> Order {
        let FsyncMode::EveryMs(ms) = self.settings.fsync else { return 0 };
        let now_ns = self.now_ns();
        let (up, since_ns) = self.node(id, |node| (node.up, node.syncs_since_ns));
        // One fsync may have begun just before the write, and the next takes as long.
        let fsync_ns = self.settings.pace.max_ns + TURN_NS;
        let every_ns = u64::from(ms) * 1_000_000;
        let every_ns = every_ns + every_ns * self.settings.drift_ppm_max / 900_000;
        let window_ns = every_ns.max(fsync_ns) + fsync_ns;
        let from_ns = now_ns.saturating_sub(window_ns);
        if !up || since_ns > from_ns || lock(&self.windows).slows(id, from_ns, fsync_ns) {
            return 0;
        }
        let returned = history.calls.iter().filter_map(|call| call.returned);
        returned.filter(|at| at.at_ns <= from_ns).map(|at| at.order).max().unwrap_or(0)
    }

    /// A node serves, with this clock committed.
    pub(crate) fn serves(&self, id: u32, committed_ms: u64) {
        let mut record = lock(&self.record);
        let now_ns = self.now_ns();
        self.node(id, |node| {
            node.serves = true;
            node.serves_since_ns = now_ns;
            node.settled = true;
            node.syncs_since_ns = now_ns;
            if std::mem::take(&mut node.clock_lost) {
                record.committed_ms = committed_ms;
            }
        });
    }

    pub(crate) fn refuse(&self, id: u32, why: String) {
        self.node(id, |node| node.refused = Some(why));
    }

    /// What the outside sees of a node after each of its turns.
    pub(crate) fn observe(&self, id: u32, now_ms: u64, committed_ms: u64, all_durable: bool) {
        let mut record = lock(&self.record);
        record.latest_ms = record.latest_ms.max(now_ms).max(committed_ms);
        let now_ns = self.now_ns();
        self.node(id, |node| {
            node.view.now_ms = now_ms;
            if node.serves {
                record.committed_ms = record.committed_ms.max(committed_ms);
            }
            if all_durable && node.serves {
                node.durable = record.order;
                node.syncs_since_ns = node.syncs_since_ns.min(now_ns);
            }
        });
    }

    /// A node's log clock shows this.
    pub(crate) fn clock_is(&self, now_ms: u64) {
        let mut record = lock(&self.record);
        record.latest_ms = record.latest_ms.max(now_ms);
    }

    /// Somebody else leads, or is linked: a WATCH may be broken by it.
    pub(crate) fn note_change(&self) {
        let mut record = lock(&self.record);
        record.order += 1;
        let order = record.order;
        record.history.strikes.push(order);
    }

    /// A fault strikes the node for a moment.
    pub(crate) fn disturb(&self, id: u32) {
        let now_ns = self.now_ns();
        self.node(id, |node| node.disturbed_ns = now_ns);
    }

    /// When that was last, in ns.
    pub(crate) fn disturbed_ns(&self, id: u32) -> u64 {
        self.node(id, |node| node.disturbed_ns)
    }

    /// Whether the node is not to be started yet.
    pub(crate) fn is_late(&self, id: u32) -> bool {
        id == self.settings.nodes && self.now_ns() < self.settings.quorum.late_ms * 1_000_000
    }

    pub(crate) fn is_up(&self, id: u32) -> bool {
        self.node(id, |node| node.up)
    }

    pub(crate) fn is_serving(&self, id: u32) -> bool {
        self.node(id, |node| node.serves)
    }

    /// Whether what is on its disk should be sound: it has served, and no fault has damaged it.
    pub(crate) fn is_sound(&self, id: u32) -> bool {
        self.node(id, |node| node.settled && !node.damaged)
    }

    pub(crate) fn refused(&self, id: u32) -> Option<String> {
        self.node(id, |node| node.refused.clone())
    }

    /// Whether any disk ever was, or could not be read.
    pub(crate) fn was_damaged(&self) -> bool {
        lock(&self.record).damaged
    }

    pub(crate) fn is_damaged(&self, id: u32) -> bool {
        self.node(id, |node| node.damaged || node.unread)
    }

    /// The latest log clock, which clients take for the time.
    pub(crate) fn latest_ms(&self) -> u64 {
        lock(&self.record).latest_ms
    }

    // History.

    /// Whether what one node holds others hold too.
    pub(crate) fn is_replicated(&self) -> bool {
        self.settings.profile == Profile::Replication
    }

    /// The partition of a group of keys.
    fn partition_of(&self, group: Group) -> PartitionId {
        let key = Key { group, number: 0 }.to_string();
        let partitions = self.settings.quorum.founding.partitions;
        slot::partition(slot::slot(key.as_bytes()), partitions)
    }

    /// `group`: whose clock counts, where each partition has its own.
    fn moment(&self, record: &mut Record, node: u32, group: Option<Group>) -> Moment {
        record.order += 1;
        if self.is_replicated() {
            let partition = group.map(|group| self.partition_of(group));
            let committed_ms = partition.map_or(0, |p| lock(&self.replicas).clock(p));
            let latest_ms = record.latest_ms;
            let clock = ClockView { life: 0, now_ms: 0, committed_ms, latest_ms };
            return Moment { order: record.order, at_ns: self.now_ns(), clock };
        }
        let (view, serves) = self.node(node, |node| (node.view, node.serves));
        // A partition that opens first does not know the clocks of the others yet.
        let known = serves || self.settings.partitions == 1;
        let committed_ms = if known { record.committed_ms } else { 0 };
        let latest_ms = record.latest_ms;
        let clock = ClockView { committed_ms, latest_ms, ..view };
        Moment { order: record.order, at_ns: self.now_ns(), clock }
    }
}

/// How long it may take until a replica is taken away, or can not be any more.
const TAKEN_NS: u64 = 15_000_000_000;

/// How long a process may take from an answer of its disk to what follows from it.
const TURN_NS: u64 = 3_000_000;

/// What a crash may take from a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// What was not fsynced.
    Unsynced,
    /// Everything.
    All,
}
