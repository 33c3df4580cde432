//! Carries a plan out, and takes everything back at the end.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvnode_core::PartitionId;
use kvnode_core::disk::File;
use madsim::net::NetSim;
use madsim::plugin::simulator;
use madsim::runtime::{Handle, NodeHandle};
use madsim::task::{JoinHandle, NodeId, spawn_local};
use madsim::time::sleep;

use crate::chance::{Chance, Purpose};
use crate::disk::{DiskSim, Doom, Image, NodeDisk, Unsynced};
use crate::lock;
use crate::marks::Seen;
use crate::net::Wires;
use crate::node::{Mailboxes, NodeEvent};
use crate::plan::{Class, Fault, Harm, Plan};
use crate::story::{Kind, Lane, Life};
use crate::windows::WindowId;
use crate::world::{Lost, World};

/// See the module's header.
#[derive(Clone)]
pub(crate) struct Nemesis {
    pub(crate) world: Arc<World>,
    handle: Handle,
    net: Arc<NetSim>,
    disks: Arc<DiskSim>,
    pub(crate) mailboxes: Arc<Mailboxes>,
    /// Madsim's ids of the nodes and clients.
    nodes: Vec<NodeId>,
    clients: Vec<NodeHandle>,
    /// Clients that wait for a hunt to send them.
    pub(crate) scouts: Arc<Mutex<BTreeSet<u32>>>,
    /// Everything has been healed, and nothing is to go wrong any more.
    calm: Arc<AtomicBool>,
    /// What is under way, to be ended with the run.
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// How long a node may take to stop.
const STOP_MS: u64 = 3_000;

/// How many of a hundred crashes wait for a rename, and how long at most.
const AIMED_PERCENT: u64 = 30;
const AIM_MS: u64 = 1_000;

/// Most bits that rot at once.
const ROT_BITS_MAX: u64 = 9;

/// How often the supervisor looks.
const SUPERVISE_MS: u64 = 700;

impl Nemesis {
    pub(crate) fn new(
        world: Arc<World>,
        mailboxes: Arc<Mailboxes>,
        nodes: Vec<NodeId>,
        clients: Vec<NodeHandle>,
    ) -> Self {
        let (net, disks) = (NetSim::current(), simulator::<DiskSim>());
        let (calm, tasks) = (Arc::default(), Arc::default());
        let scouts = world.settings.clients + 2..=clients.len() as u32;
        let scouts = Arc::new(Mutex::new(scouts.collect()));
        Self {
            world,
            handle: Handle::current(),
            net,
            disks,
            mailboxes,
            nodes,
            clients,
            scouts,
            calm,
            tasks,
        }
    }

    /// Carries the plan out, each fault in its time. What lasts is ended by a task of its own.
    pub(crate) async fn run(&self, plan: &Plan) {
        for planned in plan {
            let now_ms = self.world.now_ns() / 1_000_000;
            sleep(Duration::from_millis(planned.at_ms.saturating_sub(now_ms))).await;
            let nemesis = self.clone();
            let fault = planned.fault;
            self.spawn(async move { nemesis.inflict(fault).await });
        }
    }

    /// Starts a task that ends with the run.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        lock(&self.tasks).push(spawn_local(task));
    }

    /// The run is over: every task is dropped. Madsim would keep what sleeps for ever, and with it all
    /// that the run has made.
    pub(crate) async fn end(&self) {
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
        for id in self.nodes.iter().copied().chain(self.clients.iter().map(NodeHandle::id)) {
            self.handle.kill(id);
        }
        *lock(&self.world.wires) = Wires::default();
        sleep(Duration::from_millis(2)).await;
    }

    async fn inflict(&self, fault: Fault) {
        let fault = self.aim_at_controller(fault);
        let class = fault.class();
        if !self.spares(fault) {
            return;
        }
        self.world.tell(Lane::World, Kind::Nemesis, fault, || fault.to_string());
        match fault {
            Fault::Kill { node, down_ms } => self.crash(node, Doom::Process, class, down_ms).await,
            Fault::Power { node, unsynced, down_ms } => {
                self.crash(node, Doom::Power(unsynced), class, down_ms).await;
            }
            Fault::Wipe { node, down_ms } => self.crash(node, Doom::Wiped, class, down_ms).await,
            Fault::LoseLog { node, down_ms } => self.lose_log(node, class, down_ms).await,
            Fault::Restart { node, down_ms } => self.restart(node, down_ms).await,
            Fault::Pause { node, for_ms } => self.pause(node, for_ms).await,
            Fault::Jump { node, by_ms } => {
                self.world.injected(class);
                self.world.set_clock(node, |clock, now_ns| clock.jump(now_ns, by_ms * 1000));
            }
            Fault::Drift { node, ppm } => {
                let mut other = false;
                self.world.set_clock(node, |clock, now_ns| {
                    other = clock.set_drift(now_ns, ppm);
                });
                if other {
                    self.world.injected(class);
                }
            }
            Fault::Cut { from, to, both_ways, for_ms } => {
                let window = self.open(fault);
                self.clog(from, to, both_ways);
                sleep(Duration::from_millis(for_ms)).await;
                self.unclog(from, to, both_ways);
                self.close(window);
                self.tell(class, || format!("{from} to {to} is well again"));
            }
            Fault::Flap { from, to, times, each_ms } => {
                let window = self.open(fault);
                for _ in 0..times {
                    if self.is_calm() {
                        break;
                    }
                    self.clog(from, to, true);
                    sleep(Duration::from_millis(each_ms)).await;
                    self.unclog(from, to, true);
                    sleep(Duration::from_millis(each_ms)).await;
                }
                self.close(window);
            }
            Fault::Swizzle { step_ms } => {
                let window = self.open(fault);
                self.swizzle(step_ms).await;
                self.close(window);
            }
            Fault::Split { side, way, for_ms } => {
                let window = self.open(fault);
                let links = self.across(side, way);
                links.iter().for_each(|&(from, to)| self.clog(from, to, false));
                sleep(Duration::from_millis(for_ms)).await;
                links.iter().for_each(|&(from, to)| self.unclog(from, to, false));
                self.close(window);
                self.tell(class, || format!("{fault} is over"));
            }
            Fault::Roll { down_ms } => {
                self.world.injected(class);
                for node in 1..=self.nodes.len() as u32 {
                    if !self.is_calm() {
                        self.restart(node, down_ms).await;
                    }
                }
            }
            Fault::Ask => self.ask(),
            Fault::Hunt { trap, for_ms } => self.hunt(trap, for_ms).await,
            Fault::Loss { for_ms, .. }
            | Fault::Lag { for_ms, .. }
            | Fault::Flip { for_ms, .. }
            | Fault::SlowDisk { for_ms, .. } => {
                let window = self.open(fault);
                sleep(Duration::from_millis(for_ms)).await;
                self.close(window);
                self.tell(class, || format!("{fault} is over"));
            }
            Fault::Reset { node } => {
                let conns = self.world.reset_conns(node, &self.mailboxes);
                if self.world.reset_wires(Lane::Node(node)) + conns > 0 {
                    self.world.injected(class);
                    (1..=self.nodes.len() as u32).for_each(|node| self.world.disturb(node));
                }
            }
            Fault::Strike { node, strike } => {
                self.disk(node, |disk| disk.arm(strike));
            }
            Fault::Rot { node } => {
                // Where a disk has begun to rot, it seldom stays with one bit.
                let bits = self.chance().skewed(1..ROT_BITS_MAX);
                (0..bits).for_each(|_| self.damage(node, class, NodeDisk::rot));
            }
            Fault::BadSector { node } => self.damage(node, class, NodeDisk::spoil),
            Fault::Spot { node, file, sector, harm } => {
                let there = self.disk(node, |disk| disk.spot(file, sector, harm));
                // What waits for a write counts when it strikes.
                if there && matches!(harm, Harm::Corrupt | Harm::Unreadable) {
                    self.world.damaged(node, &file.to_string());
                    self.world.injected(class);
                }
            }
            Fault::Full { node, room, for_ms } => {
                let window = self.open(fault);
                self.disk(node, |disk| disk.fill_up(room));
                sleep(Duration::from_millis(for_ms)).await;
                self.close(window);
                self.tell(class, || format!("{fault} is over"));
            }
            Fault::Stall { node, for_ms } => {
                let window = self.open(fault);
                let until_ns = self.world.now_ns() + for_ms * 1_000_000;
                self.disk(node, |disk| disk.stall(until_ns));
                sleep(Duration::from_millis(for_ms)).await;
                self.close(window);
            }
        }
    }

    pub(crate) fn open(&self, fault: Fault) -> WindowId {
        let window = lock(&self.world.windows).open(fault, self.world.now_ns());
        self.enforce();
        window
    }

    pub(crate) fn close(&self, window: WindowId) {
        lock(&self.world.windows).close(window, self.world.now_ns());
        self.enforce();
    }

    /// Makes links and disks what the open windows say.
    fn enforce(&self) {
        let windows = lock(&self.world.windows);
        let (min_us, max_us) = self.world.settings.latency_us;
        let usual = Duration::from_micros(min_us)..Duration::from_micros(max_us);
        let slow = |max_ms| Duration::from_millis(1)..Duration::from_millis(max_ms + 2);
        self.net.update_config(|net| {
            net.packet_loss_rate = windows.loss_percent() as f64 / 100.0;
            net.send_latency = windows.lag_ms().map_or(usual, slow);
        });
        for node in 1..=self.nodes.len() as u32 {
            self.disk(node, |disk| {
                disk.set_slowness(windows.slowness(node));
                if !windows.is_full(node) {
                    disk.make_room();
                }
            });
        }
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    async fn crash(&self, node: u32, doom: Doom, class: Class, down_ms: u64) {
        // What the atlas has allowed to be lost is lost at once.
        if doom != Doom::Wiped && self.chance().percent(AIMED_PERCENT) {
            self.aim(node).await;
        }
        if self.is_calm() {
            return;
        }
        if self.world.is_up(node) {
            self.world.injected(class);
            self.fell(node, doom);
            sleep(Duration::from_millis(down_ms)).await;
            if !self.is_calm() {
                self.raise(node);
            }
        } else if let Doom::Power(unsynced) = doom {
            // What the process left to the system may go even now.
            self.world.injected(class);
            self.lose_power(node, unsynced);
        }
    }

    /// The process dies, and the files of one of its partitions go, or their directory with them.
    async fn lose_log(&self, node: u32, class: Class, down_ms: u64) {
        let (partitions, mut chance) = (self.world.settings.partitions, self.chance());
        let partition = PartitionId(chance.below(partitions.into()) as u32);
        if self.is_calm() || !self.world.is_up(node) {
            return;
        }
        self.fell(node, Doom::Process);
        if self.disk(node, |disk| disk.lose(partition, chance.percent(60))) {
            self.world.injected(class);
            lock(&self.world.replicas).lost(node, partition);
        }
        sleep(Duration::from_millis(down_ms)).await;
        if !self.is_calm() {
            self.raise(node);
        }
    }

    /// Power is lost while a node's process is down.
    pub(crate) fn lose_power(&self, node: u32, unsynced: Unsynced) {
        self.world.tell(Lane::Node(node), Kind::Fault, unsynced, || {
            format!("power is lost, what was not fsynced is {unsynced:?}")
        });
        self.disk(node, |disk| disk.lose_power(unsynced));
        self.world.died(node, (unsynced != Unsynced::Kept).then_some(Lost::Unsynced));
    }

    /// Waits for a rename to be under way, or a vote to be written, if there is one soon: that is when
    /// most is half done.
    async fn aim(&self, node: u32) {
        for _ in 0..AIM_MS {
            if self.disk(node, |disk| disk.renames()) || self.is_voting(node) {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// For details that the plan leaves open.
    pub(crate) fn chance(&self) -> Chance {
        Chance::new(self.world.seed ^ self.world.now_ns(), Purpose::Network)
    }

    /// A node's process dies, and perhaps its machine with it.
    pub(crate) fn fell(&self, node: u32, doom: Doom) {
        let lane = Lane::Node(node);
        let lost = match doom {
            Doom::Process | Doom::Power(Unsynced::Kept) => None,
            Doom::Power(_) => Some(Lost::Unsynced),
            Doom::Wiped => Some(Lost::All),
        };
        self.world.tell(lane, Kind::Life, 4, || format!("{}: {doom:?}", Life::IsKilled));
        if self.disk(node, |disk| disk.doom(doom)) {
            self.world.see(Seen::CrashWhileWriting);
        }
        if !self.world.is_serving(node) {
            self.world.see(Seen::CrashWhileOpening);
        }
        // A kill of what is paused lets nothing of it run again.
        self.handle.kill(self.nodes[node as usize - 1]);
        for (strike, op) in self.disk(node, NodeDisk::take_struck) {
            self.world.struck(node, strike, &op);
        }
        self.world.died(node, lost);
        if doom == Doom::Wiped {
            let mut atlas = lock(&self.world.atlas);
            atlas.lose_of(node);
            atlas.emptied(node);
            lock(&self.world.replicas).emptied(node);
        }
        if doom == Doom::Process {
            // The system tells the peers; a machine without power tells nobody.
            self.world.reset_wires(lane);
            self.world.hang_up(node);
        } else {
            lock(&self.world.tcp).power_off(node);
            let seed = self.world.now_ns();
            self.world.set_clock(node, |clock, now_ns| clock.reboot(now_ns, seed % 1_000_000_007));
        }
    }

    /// A node is started, if nobody else has done so.
    pub(crate) fn raise(&self, node: u32) {
        if !self.world.is_up(node) {
            self.world.reset_wires(Lane::Node(node));
            let id = self.nodes[node as usize - 1];
            self.handle.kill(id);
            self.handle.restart(id);
        }
    }

    async fn restart(&self, node: u32, down_ms: u64) {
        if !self.world.is_up(node) {
            return;
        }
        self.world.injected(Class::Restart);
        self.mailboxes.post(node, NodeEvent::Stop);
        for _ in 0..STOP_MS / 10 {
            if !self.world.is_up(node) {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        if self.world.is_up(node) && !self.is_calm() {
            self.fell(node, Doom::Process);
        }
        if self.is_calm() {
            // It was held, and has stopped since everything else was healed.
            return self.raise(node);
        }
        sleep(Duration::from_millis(down_ms)).await;
        if !self.is_calm() {
            self.raise(node);
        }
    }

    async fn pause(&self, node: u32, for_ms: u64) {
        let Some(window) = self.hold(node, for_ms) else { return };
        sleep(Duration::from_millis(for_ms)).await;
        self.let_go(node, window);
    }

    /// A node's process stands still, if it is up, until it is let go.
    pub(crate) fn hold(&self, node: u32, for_ms: u64) -> Option<WindowId> {
        if !self.world.is_up(node) {
            return None;
        }
        self.world.injected(Class::Pause);
        self.world.tell(Lane::Node(node), Kind::Life, 5, || Life::IsPaused.to_string());
        let window = self.open(Fault::Pause { node, for_ms });
        self.handle.pause(self.nodes[node as usize - 1]);
        Some(window)
    }

    /// It goes on, unless something else holds it.
    pub(crate) fn let_go(&self, node: u32, window: WindowId) {
        let (lane, id) = (Lane::Node(node), self.nodes[node as usize - 1]);
        self.close(window);
        if lock(&self.world.windows).is_paused(node) {
            return;
        }
        if self.world.is_up(node) {
            self.world.tell(lane, Kind::Life, 6, || Life::GoesOn.to_string());
        }
        self.handle.resume(id);
    }

    /// Clogs everybody one after the other, and clears them in another order.
    async fn swizzle(&self, step_ms: u64) {
        let step = Duration::from_millis(step_ms);
        let mut all: Vec<Lane> = (1..=self.clients.len() as u32).map(Lane::Client).collect();
        all.extend((1..=self.nodes.len() as u32).map(Lane::Node));
        let mut chance = self.chance();
        all.retain(|_| chance.percent(60));
        for lane in &all {
            if !self.is_calm() && lock(&self.world.windows).clog_lane(*lane) {
                self.net.clog_node(self.id(*lane));
            }
            sleep(step).await;
        }
        while !all.is_empty() {
            let lane = all.swap_remove(chance.index(all.len()));
            if lock(&self.world.windows).unclog_lane(lane) {
                self.net.unclog_node(self.id(lane));
            }
            sleep(step).await;
        }
    }

    fn damage(
        &self,
        node: u32,
        class: Class,
        damage: impl FnOnce(&mut NodeDisk) -> Option<(String, usize)>,
    ) {
        if let Some((name, at)) = self.disk(node, damage) {
            self.world.damaged(node, &name);
            self.world.injected(class);
            self.world.tell(Lane::Node(node), Kind::Fault, (&name, at), || {
                format!("{} in {name} at {at}", class.name())
            });
        }
    }

    /// Everything is well again: links, disks, processes. What is on the disks stays as it is.
    pub(crate) fn heal(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.tell(Class::Swizzle, || "everything is well again".to_owned());
        let now_ns = self.world.now_ns();
        lock(&self.world.windows).close_all(now_ns);
        self.enforce();
        let clients: Vec<NodeId> = self.clients.iter().map(NodeHandle::id).collect();
        for id in self.nodes.iter().chain(&clients) {
            self.net.unclog_node(*id);
        }
        for node in &self.nodes {
            for client in &clients {
                self.net.unclog_link(*node, *client);
                self.net.unclog_link(*client, *node);
            }
        }
        for (at, id) in self.nodes.iter().enumerate() {
            self.disks.with(*id, |disk| disk.heal(now_ns));
            self.handle.resume(*id);
            self.raise(at as u32 + 1);
        }
    }

    /// A node is asked to stop; whether it has done so in time.
    pub(crate) async fn stop(&self, node: u32) -> bool {
        self.mailboxes.post(node, NodeEvent::Stop);
        for _ in 0..STOP_MS * 4 / 10 {
            if !self.world.is_up(node) {
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// The sectors that a node's disk has noted.
    pub(crate) fn take_written(&self, node: u32) -> BTreeSet<(File, u32)> {
        self.disk(node, NodeDisk::take_written)
    }

    /// A copy of what is on a node's disk.
    pub(crate) fn image(&self, node: u32) -> Image {
        self.disk(node, |disk| disk.image())
    }

    /// Starts a node that is down.
    pub(crate) fn start(&self, node: u32) {
        self.raise(node);
    }

    /// Starts again what has ended because it could not use its disk, as a supervisor would.
    pub(crate) async fn supervise(&self) {
        loop {
            sleep(Duration::from_millis(SUPERVISE_MS)).await;
            for node in 1..=self.nodes.len() as u32 {
                if let Some(why) = self.world.refused(node) {
                    self.replace_disk(node, &why);
                    self.raise(node);
                }
            }
        }
    }

    /// Links and disks are as the settings say.
    pub(crate) fn set_up(&self) {
        self.enforce();
    }

    pub(crate) fn clog(&self, from: Lane, to: Lane, both_ways: bool) {
        for (from, to) in directions(from, to, both_ways) {
            if lock(&self.world.windows).clog_link(from, to) {
                self.net.clog_link(self.id(from), self.id(to));
            }
        }
    }

    pub(crate) fn unclog(&self, from: Lane, to: Lane, both_ways: bool) {
        for (from, to) in directions(from, to, both_ways) {
            if lock(&self.world.windows).unclog_link(from, to) {
                self.net.unclog_link(self.id(from), self.id(to));
            }
        }
    }

    /// Where a client's tasks run.
    pub(crate) fn client(&self, id: u32) -> NodeHandle {
        self.clients[id as usize - 1].clone()
    }

    fn id(&self, lane: Lane) -> NodeId {
        match lane {
            Lane::Node(id) => self.nodes[id as usize - 1],
            Lane::Client(id) => self.clients[id as usize - 1].id(),
            Lane::World => unreachable!("the world has no links"),
        }
    }

    pub(crate) fn disk<T>(&self, node: u32, with: impl FnOnce(&mut NodeDisk) -> T) -> T {
        self.disks.with(self.nodes[node as usize - 1], with)
    }

    fn tell(&self, class: Class, text: impl FnOnce() -> String) {
        self.world.tell(Lane::World, Kind::Nemesis, class, text);
    }
}

fn directions(from: Lane, to: Lane, both_ways: bool) -> impl Iterator<Item = (Lane, Lane)> {
    std::iter::once((from, to)).chain(both_ways.then_some((to, from)))
}
