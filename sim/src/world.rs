//! What the tasks of one run share: time, trace, history, and what is known of each node.
//!
//! A run is one thread, so that the locks here are never contended; they are there because madsim
//! wants what its tasks share to be `Sync`. None is held over an `await`.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::Mutex;

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
    time: Mutex<Option<TimeHandle>>,
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
            replicas: Mutex::default(),
            parcels: Mutex::default(),
            settings,
            wires: Mutex::default(),
            windows: Mutex::default(),
            time: Mutex::new(None),
            trace: Mutex::new(Trace::new(keep)),
            nodes: Mutex::default(),
            record: Mutex::default(),
        }
    }

    /// From here on time passes.
    pub(crate) fn start(&self, time: TimeHandle) {
        *lock(&self.time) = Some(time);
    }

    /// Time does not pass any more; how long the run has taken, in ns.
    pub(crate) fn stop(&self) -> u64 {
        let now_ns = self.now_ns();
        *lock(&self.time) = None;
        now_ns
    }

    /// True time since the start, in ns.
    pub(crate) fn now_ns(&self) -> u64 {
        let time = lock(&self.time);
        time.as_ref().map_or(0, |time| u64::try_from(time.elapsed().as_nanos()).unwrap_or(u64::MAX))
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
            record.history.losses.push(Loss { from, to: order, left });
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
                Some(Lost::Unsynced) if relaxed => Some(Left::Prefix(node.durable.max(promised))),
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

    pub(crate) fn is_damaged(&self, id: u32) -> bool {
        self.node(id, |node| node.damaged || node.unread)
    }

    /// The latest log clock, which clients take for the time.
    pub(crate) fn latest_ms(&self) -> u64 {
        lock(&self.record).latest_ms
    }

    // History.

    fn is_replicated(&self) -> bool {
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

    /// A client sends a WATCH.
    pub(crate) fn watch(&self, node: u32, group: Option<Group>) -> Moment {
        self.moment(&mut lock(&self.record), node, group)
    }

    /// A client asks a node; the number of its call.
    pub(crate) fn invoke(
        &self,
        client: u32,
        wire: WireId,
        node: u32,
        action: Action,
        watched_at: Option<Moment>,
    ) -> usize {
        let mut record = lock(&self.record);
        let invoked = self.moment(&mut record, node, group_of(&action));
        record.history.calls.push(Call {
            client,
            session: wire.0,
            action,
            invoked,
            watched_at,
            returned: None,
            outcome: Outcome::Unknown("no answer".to_owned()),
            until: None,
        });
        record.lives.push(None);
        record.history.calls.len() - 1
    }

    /// When a call was invoked, in ns.
    pub(crate) fn invoked_ns(&self, call: usize) -> u64 {
        lock(&self.record).history.calls[call].invoked.at_ns
    }

    /// What a call turned out to have been: steps of a transaction that were refused are left out.
    pub(crate) fn amend(&self, call: usize, action: Action) {
        lock(&self.record).history.calls[call].action = action;
    }

    /// A call has ended. `life`: of the process that it was sent to, if it ever had one.
    pub(crate) fn finish(&self, call: usize, node: u32, life: Option<u64>, outcome: Outcome) {
        let mut record = lock(&self.record);
        let group = group_of(&record.history.calls[call].action);
        let returned = match outcome {
            Outcome::Unknown(_) => None,
            Outcome::Answered(_) | Outcome::Refused(_) | Outcome::Garbage(_) => {
                Some(self.moment(&mut record, node, group))
            }
        };
        record.lives[call] = life;
        let call = &mut record.history.calls[call];
        call.returned = returned;
        call.outcome = outcome;
    }

    /// A node has learnt that a connection is gone: what it had not evaluated by now it never will.
    pub(crate) fn hung_up(&self, wire: WireId) {
        let mut record = lock(&self.record);
        record.order += 1;
        let order = record.order;
        record.hung_up.insert(wire.0, order);
    }

    /// Whether an error that begins with this word, in answer to what was asked then, can be true of
    /// this life of a node: whoever says that its disk fails it needs a disk that has.
    pub(crate) fn is_credible(&self, id: u32, life: u64, since_ns: u64, word: &str) -> bool {
        let (failed, full) = lock(&self.record).troubles.get(&life).copied().unwrap_or_default();
        let present = self.node(id, |node| node.view.life == life);
        if self.is_replicated() {
            // The node that answers may be another than the one that was asked.
            let was_full = || lock(&self.record).troubles.values().any(|(_, full)| *full);
            return word != "DISKFULL" || was_full();
        }
        match word {
            "DISKFULL" => full,
            "DOWN" | "UNKNOWN" | "PARTIAL" => failed,
            "LOADING" => {
                let absent = self.node(id, |node| {
                    !node.serves || node.serves_since_ns > since_ns || node.stopping
                });
                failed || !present || absent
            }
            _ => true,
        }
    }

    /// A node has been asked to stop.
    pub(crate) fn stopping(&self, id: u32) {
        self.node(id, |node| node.stopping = true);
    }

    /// A client has waited for an answer since then, and gives up. That is a violation unless the node
    /// was down, or a fault that lasts was in the way, at some time of it. A fault that strikes is no
    /// excuse: the node is to say so.
    pub(crate) fn gave_up(&self, client: u32, id: u32, since_ns: u64, call: &str) {
        let (up, up_since_ns) = self.node(id, |node| (node.up, node.up_since_ns));
        let down = !up || up_since_ns > since_ns || self.is_replicated();
        let slow_ns = self.settings.pace.max_ns;
        if !down && !lock(&self.windows).excuse(client, id, since_ns, slow_ns) {
            let seconds = (self.now_ns() - since_ns) as f64 / 1e9;
            let text = format!("c{client} has waited {seconds} s for an answer to {call}");
            self.violation("waited in vain", text);
        }
    }

    /// The history, and who could still do something about what when.
    pub(crate) fn take_history(&self) -> History {
        let mut record = lock(&self.record);
        let mut history = std::mem::take(&mut record.history);
        // What one node has logged another may commit whenever it leads.
        let calls = history.calls.iter_mut().filter(|_| !self.is_replicated());
        for (call, life) in calls.zip(&record.lives) {
            if matches!(call.outcome, Outcome::Unknown(_)) {
                let died = life.and_then(|life| record.ends.get(&life));
                let hung_up = record.hung_up.get(&call.session);
                call.until = died.into_iter().chain(hung_up).min().copied();
            }
        }
        history
    }

    /// What each key was read as by the latest of the calls from this one on.
    pub(crate) fn read_since(&self, call: usize) -> BTreeMap<Key, Option<Val>> {
        let record = lock(&self.record);
        let reads = record.history.calls[call..].iter().filter_map(|call| {
            let Action::Get(key) = &call.action else { return None };
            match &call.outcome {
                Outcome::Answered(Answer::Val(val)) => Some((*key, Some(val.clone()))),
                Outcome::Answered(Answer::Nil) => Some((*key, None)),
                Outcome::Answered(_)
                | Outcome::Refused(_)
                | Outcome::Unknown(_)
                | Outcome::Garbage(_) => None,
            }
        });
        reads.collect()
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> usize {
        lock(&self.record).history.calls.len()
    }

    pub(crate) fn note_written(&self, written: BTreeSet<(File, u32)>) {
        lock(&self.record).written = written;
    }

    pub(crate) fn take_written(&self) -> BTreeSet<(File, u32)> {
        std::mem::take(&mut lock(&self.record).written)
    }

    // Judgement.

    /// A fault has taken effect.
    pub(crate) fn injected(&self, class: Class) {
        *lock(&self.record).tally.entry(class).or_default() += 1;
    }

    /// Faults that last have been met.
    pub(crate) fn met(&self, met: impl FnOnce(&mut Windows) -> Vec<Class>) {
        let classes = met(&mut lock(&self.windows));
        classes.into_iter().for_each(|class| self.injected(class));
    }

    /// Something has gone wrong on a disk, of which a partition may stop.
    pub(crate) fn note_strike(&self, id: u32, full: bool) {
        self.disturb(id);
        let mut record = lock(&self.record);
        let life = self.node(id, |node| node.view.life);
        let troubles = record.troubles.entry(life).or_default();
        *troubles = (true, troubles.1 || full);
        record.order += 1;
        let order = record.order;
        record.history.strikes.push(order);
        // A partition that stops tells its operator that what was not fsynced may be lost.
        self.node(id, |node| node.syncs_since_ns = u64::MAX);
    }

    /// A fault has struck an operation.
    pub(crate) fn struck(&self, id: u32, strike: Strike, op: &DiskOp) {
        let class = Class::Strike(strike);
        self.injected(class);
        self.note_strike(id, strike == Strike::WriteFull);
        self.tell(Lane::Node(id), Kind::Fault, (strike, op), || {
            format!("{} strikes: {}", class.name(), describe::op(op))
        });
        match (strike, op) {
            (Strike::LostWrite | Strike::MisdirectedWrite, DiskOp::Write { file, .. }) => {
                self.damaged(id, &file.to_string());
            }
            // An opening that can not read, or reads astray, may give a part of the log up for good.
            (Strike::Read | Strike::MisdirectedRead, DiskOp::Read { file, .. }) => {
                if self.is_serving(id) {
                    self.unread(id);
                } else {
                    self.damaged(id, &file.to_string());
                }
            }
            (
                Strike::Write
                | Strike::WriteFull
                | Strike::Sync
                | Strike::Name
                | Strike::LostWrite
                | Strike::MisdirectedWrite
                | Strike::Read
                | Strike::MisdirectedRead,
                _,
            ) => {}
        }
    }

    /// A fault has damaged a file of a node. A hint holds nothing that is not in its segment: damage
    /// there is no excuse for anything.
    pub(crate) fn damaged(&self, id: u32, file: &str) {
        if !file.ends_with(".hint") {
            self.node(id, |node| node.damaged = true);
        }
    }

    /// A read of a node has failed: until it starts anew it may take what it did not get for lost.
    pub(crate) fn unread(&self, id: u32) {
        self.node(id, |node| node.unread = true);
    }

    /// The life of a node's process, or of its last one.
    pub(crate) fn life(&self, id: u32) -> u64 {
        self.node(id, |node| node.view.life)
    }

    /// A node has stopped as asked: everything is durable, whatever its mode of fsync.
    pub(crate) fn stopped(&self, id: u32) {
        let order = lock(&self.record).order;
        self.node(id, |node| node.durable = order);
    }

    pub(crate) fn tally(&self) -> BTreeMap<Class, u64> {
        lock(&self.record).tally.clone()
    }

    /// Marks of core that a node has reached.
    pub(crate) fn mark(&self, marks: Marks) {
        lock(&self.record).marks |= marks::of_core(marks);
    }

    /// A rare state was reached.
    pub(crate) fn see(&self, seen: Seen) {
        lock(&self.record).marks |= seen.bit();
    }

    pub(crate) fn marks(&self) -> u128 {
        lock(&self.record).marks
    }

    /// Checkers have found something.
    pub(crate) fn found(&self, found: impl IntoIterator<Item = Found>) {
        for (checker, text) in found {
            self.violation(checker, text);
        }
    }

    /// Something is wrong.
    pub(crate) fn violation(&self, checker: &'static str, text: String) {
        self.tell(Lane::World, Kind::Violation, &text, || format!("{checker}: {text}"));
        let at_ns = self.now_ns();
        lock(&self.record).violations.push(Violation { checker, text, calls: Vec::new(), at_ns });
    }

    pub(crate) fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut lock(&self.record).violations)
    }
}

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
