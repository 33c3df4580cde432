//! The machine that a driver runs: clients, partitions, group commit, replies.
//!
//! A client's commands are evaluated one after the other, each at one point in time, against all
//! that was logged before. What a command changes is logged at once; its reply waits in the
//! client's queue until the log is committed up to what the reply depends on: the command's own
//! records, and any uncommitted record it read. Replies leave in the order of the commands.
//!
//! A command that needs a value from disk, or a clock that is not committed yet, waits with its
//! client (other clients go on) and is then evaluated again from the start.
//!
//! - [`boot`] settles what the data directory is, [`stop`] ends it all;
//! - [`client`] holds the queues, [`evaluate`] runs commands, [`view`] is what they see, [`waiters`]
//!   is what waits for the log;
//! - [`forward`] takes commands to where their keys are, [`nearby`] reads from a follower, [`acks`] is
//!   WAIT, [`lacking`] says why a partition can not be served;
//! - [`requests`] is what is about the node itself, [`config`] its settings, [`clients`] what is about
//!   other clients, [`idle`] closes those that say nothing, [`watch`] shows and measures commands.

mod acks;
mod boot;
mod client;
mod clients;
mod config;
mod errors;
mod evaluate;
mod event;
pub mod forward;
mod idle;
mod lacking;
mod nearby;
mod requests;
mod roles;
mod stop;
mod view;
mod waiters;
mod watch;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::clock::LogClock;
use crate::cluster::Life;
use crate::control::View;
use crate::directory::{Directory, Wanted};
use crate::disk::DiskResult;
use crate::kv::Changes;
use crate::marks::Marks;
use crate::node::ToControl;
use crate::random::Random;
use crate::replication::{Promises, Round};
use crate::server::Server;
use crate::storage::keydir::WARM_KEYS;
use crate::storage::replica::{Event, ReadToken, Replica, Settings};
use crate::{
    ClientId, ClusterId, DirectoryId, Epoch, Instant, IoId, Millis, NodeId, Now, Offset,
    PartitionId,
};

use client::Client;
use clients::Standstill;
use forward::{Forwarding, Homes};
use roles::{Hold, Leaving, Logged, Role, Seen};
use stop::Stop;
use view::{Notes, Watched};
use waiters::{Confirm, Waiter};
use watch::Progress;

pub use config::{Config, FsyncMode, IndexKind, Redirect};
pub use event::{Input, Output, Reason, Severity};
pub use roles::ReplicaGlance;

/// See the module's header.
pub struct Shard {
    config: Config,
    /// The cluster, as control last showed it.
    cluster: Option<Arc<View>>,
    /// How often control was told that something may be gone.
    uncleans: u64,
    /// Nodes that can be sent to.
    linked: BTreeSet<NodeId>,
    homes: Homes,
    forwarding: Forwarding,
    /// Partitions of which a read wants to know whether they are led here still.
    wanting: Vec<usize>,
    /// Agents that may go on.
    runnable: Vec<ClientId>,
    /// Parts of logs that are read for followers: for whom.
    shipping: BTreeMap<ReadToken, (NodeId, Round)>,
    /// The node stops, and nothing more is taken from its clients.
    leaving: Option<Leaving>,
    /// When the controller is next told how far the replicas have come.
    report_at: Option<Instant>,
    directory: Directory,
    /// The partitions are known, or it is known that there is no getting at them.
    booted: bool,
    now: Now,
    started: Now,
    clock: LogClock,
    random: u64,
    partitions: Vec<Partition>,
    /// Partitions that may have something to say.
    touched: Vec<usize>,
    clients: HashMap<ClientId, Client, FixedState>,
    watched: Watched,
    /// Clients that wait for replicas, and when they are looked at next; see [`acks`].
    paused: BTreeSet<ClientId>,
    pauses_due: Option<Instant>,
    /// Clients that wait for their SAVE.
    syncing: BTreeSet<ClientId>,
    /// When all that is logged was last known to be durable, in seconds since the Unix epoch.
    durable_at: u64,
    /// CLIENT PAUSE, and the clients whose command it keeps waiting.
    standstill: Option<Standstill>,
    held_back: BTreeSet<ClientId>,
    /// When idle clients are looked for next, if they are.
    idle_at: Instant,
    /// Clients that are shown the commands of all.
    monitors: BTreeSet<ClientId>,
    /// When the driver has last said that a command was evaluated.
    lap_end: Instant,
    /// Reads under way: who waits.
    reads: BTreeMap<ReadToken, ClientId>,
    next_read: u64,
    expiry_at: Instant,
    stop: Stop,
    /// Why a partition could not be closed: said when all others have stopped.
    unclosed: Option<String>,
    /// Clients wait because too much waits for the disk, or to be sent.
    pressed: bool,
    out: VecDeque<Output>,
    /// Bytes of values in the replies of `out`.
    out_bytes: usize,
    /// Used anew by each command.
    changes: Changes,
    notes: Notes,
    counters: Counters,
    server: Server,
    marks: Marks,
}

/// A partition and who waits for its high watermark, by offset.
struct Partition {
    id: PartitionId,
    replica: Replica,
    role: Role,
    /// What the role was last told of the log.
    told: Seen,
    /// What this replica has promised, or may have before a restart: they forbid it to commit as a
    /// leader.
    promises: Promises,
    /// The number of its next session with a leader.
    next_round: u32,
    /// The replica is open, and it was looked at what it lacks.
    ready: bool,
    /// The log is being cut for a leader.
    cutting: bool,
    /// The last reign that was begun here: it is not begun again, whatever has become of its record, for
    /// others may have that, and what was before it, from where this log ended then.
    begun: Epoch,
    /// What it had acknowledged when it went down.
    had_acked: Offset,
    /// Its log is gone, which was dealt with, and none has taken its place yet.
    lost: bool,
    /// The most that control was told of its log in this life.
    most_told: Option<(Epoch, Offset)>,
    /// The last life in which it led or followed: whom it has acknowledged to may have let it in since,
    /// though the map does not show it here yet.
    spoke_in: Option<Life>,
    /// Its log is damaged, and others have what it lacks: it begins again from zero once it follows.
    spoilt: bool,
    /// The same, since what superseded the records that it lacks is lost; until it leads, for then it
    /// counts as it is.
    forked: bool,
    /// What its leader sends can not be stored.
    hold: Hold,
    waiters: VecDeque<Waiter>,
    /// The high watermark when a write was last given up.
    stuck_at: Option<Offset>,
    /// Reads that wait until the leader is known to be one still.
    confirms: VecDeque<Confirm>,
    touched: bool,
    opened: bool,
    progress: Progress,
    /// It has told that it stopped, or why it can not be used.
    stopped: bool,
    /// It has stopped with everything durable.
    clean: bool,
}

/// Where a shard stands, for those who watch it; see [`Shard::glance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Glance {
    /// The log clock: what commands take for the time.
    pub clock: Millis,
    /// The latest clock that a partition has committed.
    pub committed_clock: Millis,
    /// Every partition serves, and all that is logged is durable.
    pub durable: bool,
}

/// Counters for INFO.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    commands: u64,
    connections: u64,
    hits: u64,
    misses: u64,
    /// Keys that had expired when it was begun to count anew.
    expired_before: u64,
}

/// How often expired keys are looked for, and how many keys are looked at each time.
const EXPIRY_EVERY: Duration = Duration::from_millis(100);
const EXPIRY_BUDGET: usize = 2_000;

/// The partition's part of an [`IoId`]; the operations of [`boot`] have one of their own.
const IO_BITS: u32 = 48;
const BOOT_IO: u64 = u64::MAX >> IO_BITS;

impl Shard {
    /// A shard about to open its data directory: the first outputs read it.
    pub fn new(config: Config, now: Now) -> Self {
        let hasher = FixedState::with_seed(config.seed);
        let server = Server::new(config.server.clone(), now);
        let mut random = Random(config.seed);
        let id = DirectoryId(random.next_u128());
        let forwarding = Forwarding::new(random.next());
        let mut shard = Self {
            random: random.0,
            directory: Directory::new(Wanted::Alone(config.partitions), id),
            booted: config.member,
            cluster: None,
            uncleans: 0,
            linked: BTreeSet::new(),
            homes: Homes::default(),
            forwarding,
            wanting: Vec::new(),
            runnable: Vec::new(),
            shipping: BTreeMap::new(),
            leaving: None,
            report_at: config.member.then_some(now.mono),
            config,
            now,
            started: now,
            clock: LogClock::new(now),
            partitions: Vec::new(),
            touched: Vec::new(),
            clients: HashMap::with_hasher(hasher),
            watched: Watched::default(),
            paused: BTreeSet::new(),
            pauses_due: None,
            syncing: BTreeSet::new(),
            durable_at: now.wall_us / 1_000_000,
            standstill: None,
            held_back: BTreeSet::new(),
            idle_at: Instant::default(),
            monitors: BTreeSet::new(),
            lap_end: now.mono,
            reads: BTreeMap::new(),
            next_read: 0,
            expiry_at: Instant::default(),
            stop: Stop::default(),
            unclosed: None,
            pressed: false,
            out: VecDeque::new(),
            out_bytes: 0,
            changes: Changes::default(),
            notes: Notes::default(),
            counters: Counters::default(),
            server,
            marks: Marks::default(),
        };
        if shard.config.member {
            shard.directory.abandon();
            shard.out.push_back(Output::Opened);
        }
        shard.advance_boot();
        shard
    }

    /// Takes one event in.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.now = now;
        self.server.now = now;
        self.clock.advance(now);
        self.server.stats.advance(now.mono, self.counters.commands);
        match input {
            Input::Connected(id, peer) => self.on_connected(id, peer),
            Input::Disconnected(id) => self.on_disconnected(id),
            Input::Command(id, args) => self.on_command(id, args),
            Input::Malformed(id, error) => self.on_malformed(id, error),
            Input::Disk(io, result) => self.on_disk(io, result),
            Input::Control(said) => self.on_control(said),
            Input::AclFile(id, result) => self.on_acl_file(id, result),
            Input::Tick => self.on_tick(),
            Input::Stop => self.on_stop(),
        }
    }

    /// The next effect, until `None`.
    pub fn poll(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.out.pop_front() {
                if let Output::Reply(_, _, reply) = &output {
                    self.out_bytes -= client::reply_bytes(reply);
                    if self.pressed && self.out_bytes == 0 {
                        self.relieve();
                    }
                }
                return Some(output);
            }
            while let Some(at) = self.wanting.pop() {
                self.touch(at);
            }
            let Some(&at) = self.touched.last() else {
                if self.take_own_message() || self.run_agents() || self.finish_if_drained() {
                    continue;
                }
                if let Some(parcel) = self.next_parcel() {
                    return Some(Output::Control(ToControl::Parcel(parcel)));
                }
                return self.leave();
            };
            if let Some(event) = self.partitions[at].replica.poll_event() {
                self.on_event(at, event);
            } else if let Some((io, op)) = self.partitions[at].replica.poll_op(self.now.mono) {
                return Some(Output::Disk(IoId((at as u64) << IO_BITS | io), op));
            } else {
                self.partitions[at].touched = false;
                self.touched.pop();
                self.advance_role(at);
            }
        }
    }

    /// When [`Input::Tick`] is due, and why.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        let expiring = |p: &Partition| p.replica.serving() && p.replica.expiring() > 0;
        let expiry = self.partitions.iter().any(expiring);
        let replicas = self.partitions.iter().filter_map(|p| p.replica.deadline());
        let expiry = expiry.then_some((self.expiry_at, Reason::Expiry));
        let drain = self.drain_deadline().map(|at| (at, Reason::Stop));
        let roles = self.roles_deadline().map(|at| (at, Reason::Replication));
        let forwarding = self.forwarding.deadline().map(|at| (at, Reason::Forwarding));
        let acks = self.pauses_due.map(|at| (at, Reason::Acks));
        let standstill = self.standstill.map(|still| (still.until, Reason::Standstill));
        let idle = self.idle_deadline().map(|at| (at, Reason::Idle));
        let own = [expiry, drain, roles, forwarding, acks, standstill, idle].into_iter().flatten();
        replicas.chain(own).min_by_key(|&(at, _)| at)
    }

    /// Whether the client's next command may be handed in now. It may not while an earlier one
    /// waits for the disk, too many of its replies wait for a commit, or too much waits to be
    /// written; an [`Output::Resume`] tells when it may again.
    pub fn accepts(&self, id: ClientId) -> bool {
        self.stop == Stop::No
            && !self.pressed
            && self.leaving.is_none()
            && self.clients.get(&id).is_some_and(Client::accepts)
    }

    /// Clients that may be connected at once.
    pub fn max_clients(&self) -> u32 {
        self.server.settings.max_clients
    }

    /// How long a new connection may be silent before the driver has the system ask whether the
    /// client is there still; none is for ever.
    pub fn keepalive(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.server.settings.keepalive_s)).filter(|some| !some.is_zero())
    }

    /// The driver has read so many bytes of clients.
    pub fn note_received(&mut self, bytes: u64) {
        self.server.stats.received += bytes;
    }

    /// The driver has sent so many bytes to clients.
    pub fn note_sent(&mut self, bytes: u64) {
        self.server.stats.sent += bytes;
    }

    /// The driver has turned a client away, since there were too many.
    pub fn note_turned_away(&mut self) {
        self.server.stats.rejected_connections += 1;
    }

    /// Whether the client has not said who it is and has to, so that little is taken from it.
    pub fn is_stranger(&self, id: ClientId) -> bool {
        let acl = &self.server.acl;
        !acl.admits_strangers()
            && self.clients.get(&id).is_some_and(|client| client.session.is_stranger(acl))
    }

    /// Commands that read these keys will be handed in next. Changes nothing; a driver that holds several
    /// commands calls it so that the processor fetches what they need from memory side by side.
    pub fn warm(&self, keys: &[&[u8]]) {
        for some in keys.chunks(WARM_KEYS) {
            if let [only] = &self.partitions[..] {
                only.replica.warm(some.iter().copied());
            } else {
                for key in some {
                    let Some(at) = self.homes.at(key) else { continue };
                    self.partitions[at].replica.warm(core::iter::once(*key));
                }
            }
            some.iter().for_each(|key| self.config.cache.warm(key));
        }
    }

    /// The rare states that the shard and its partitions have been in.
    pub fn marks(&self) -> Marks {
        let replicas = self.partitions.iter().map(|p| p.replica.marks());
        replicas.fold(self.marks, Marks::or)
    }

    /// Where the shard stands. Nothing is decided by it: it is for checkers and dashboards.
    pub fn glance(&self) -> Glance {
        let replicas = || self.partitions.iter().map(|p| &p.replica);
        Glance {
            clock: self.clock.now_ms(),
            committed_clock: replicas().map(Replica::committed_clock).max().unwrap_or(0),
            durable: replicas().all(|r| r.serving() && r.durable_end() == r.log_end()),
        }
    }

    fn on_disk(&mut self, io: IoId, result: DiskResult) {
        let at = io.0 >> IO_BITS;
        if at == BOOT_IO {
            self.on_boot_io(result);
            return;
        }
        let at = at as usize;
        let io = io.0 & ((1 << IO_BITS) - 1);
        let cache = &mut *self.config.cache;
        let partition = &mut self.partitions[at];
        partition.replica.on_disk(self.now.mono, io, result, cache);
        let (written, durable) = (partition.replica.written_end(), partition.replica.durable_end());
        partition.progress.note(self.now.mono, written, durable);
        if self.config.fsync != FsyncMode::Always {
            self.note_durable();
        }
        if !self.syncing.is_empty() {
            self.advance_syncing();
        }
        self.touch(at);
    }

    fn on_tick(&mut self) {
        for at in 0..self.partitions.len() {
            let due = self.partitions[at].replica.deadline();
            if due.is_some_and(|(due, _)| due <= self.now.mono) {
                self.partitions[at].replica.advance(self.now.mono, &mut *self.config.cache);
                self.touch(at);
            }
        }
        if self.expiry_at <= self.now.mono {
            self.expiry_at = self.now.mono.after(EXPIRY_EVERY);
            self.sweep_expired();
        }
        self.tick_roles();
        self.tick_forwarding();
        self.tick_pauses();
        self.tick_standstill();
        self.tick_idle();
        self.give_up_draining();
    }

    /// Removes keys that have expired. Where their expiry is not committed yet, the clock is
    /// logged first, unless something is on its way or would have to wait.
    fn sweep_expired(&mut self) {
        let clock = self.clock.now_ms();
        for at in 0..self.partitions.len() {
            let replica = &mut self.partitions[at].replica;
            if !replica.serving() || replica.expiring() == 0 {
                continue;
            }
            let wants_clock = replica.sweep_expired(EXPIRY_BUDGET, clock);
            let partition = &self.partitions[at];
            let committed = partition.replica.high_watermark() == partition.replica.log_end();
            if wants_clock
                && committed
                && partition.serves()
                && partition.takes(Logged::Clock, self.now.mono).is_ok()
            {
                self.partitions[at].replica.append_clock(clock);
                self.touch(at);
            }
        }
    }

    fn touch(&mut self, at: usize) {
        if !core::mem::replace(&mut self.partitions[at].touched, true) {
            self.touched.push(at);
        }
    }

    fn on_event(&mut self, at: usize, event: Event) {
        match event {
            Event::Committed => self.on_committed(at),
            Event::Acked => {
                self.partitions[at].hold = Hold::default();
                self.advance_role(at);
            }
            Event::Log(token, read) => self.on_log_read(at, token, read),
            Event::Dropped(from, what) => {
                self.on_dropped(at, from, what);
                self.on_replica_down(at);
            }
            Event::Read(token, result) => self.on_read(token, result),
            Event::Damaged => self.on_damage(at),
            Event::Lost => self.on_lost(at),
            Event::Notice(severity, text) => self.out.push_back(Output::Notice(severity, text)),
            Event::Refused(text) if self.stop == Stop::No => {
                self.out.push_back(Output::Refused(text));
                self.on_stopped(at, false);
            }
            Event::Refused(text) => {
                // The others have yet to make durable what they have acknowledged.
                self.out.push_back(Output::Notice(Severity::Error, text.clone()));
                self.unclosed = Some(text);
                self.on_stopped(at, false);
            }
            Event::Stopped { clean } => self.on_stopped(at, clean),
            Event::Opened => {
                self.clock.raise(self.partitions[at].replica.log_clock());
                self.partitions[at].opened = true;
                self.on_replica_opened(at);
                if !self.config.member && self.partitions.iter().all(|p| p.opened) {
                    self.complete_meta();
                    if self.stop == Stop::No {
                        self.out.push_back(Output::Opened);
                    }
                }
            }
        }
    }

    fn open_partitions(&mut self, count: u32) {
        self.homes.set_count(count as usize);
        for id in 0..count {
            self.open_replica(PartitionId(id));
        }
    }

    /// On all nodes of a cluster the index of a partition is of one seed, so that a SCAN that one leader
    /// began goes on at the next and misses nothing.
    fn index_seed(&self, id: PartitionId) -> u64 {
        let cluster = self.cluster.as_ref().and_then(|view| view.cluster);
        let seed =
            cluster.map(|ClusterId(cluster)| Random((cluster ^ cluster >> 64) as u64).next());
        seed.unwrap_or(self.config.seed) ^ u64::from(id.0)
    }

    fn open_replica(&mut self, id: PartitionId) {
        let at = self.partitions.len();
        self.homes.open(id, at);
        let lease = self.config.replication.lease_kept();
        let member = self.config.member;
        let settings = Settings {
            fsync: self.config.fsync,
            index: self.config.index,
            segment_bytes: self.config.segment_bytes,
            zero_ahead_bytes: self.config.zero_ahead_bytes,
            window_bytes: self.config.window_bytes,
            merge: self.config.merge,
            scrub: self.config.scrub,
            mark_first: false,
            must_exist: !member && self.directory.meta().complete,
            replicated: member,
            seed: self.index_seed(id),
        };
        self.partitions.push(Partition {
            id,
            replica: Replica::new(id, settings),
            role: if member { Role::Idle } else { Role::Alone },
            told: Seen::default(),
            // A promise that an earlier process gave is kept.
            promises: Promises::unknown(self.started.mono.after(lease)),
            next_round: 0,
            ready: false,
            cutting: false,
            begun: Epoch(0),
            had_acked: Offset(0),
            lost: false,
            most_told: None,
            spoke_in: None,
            spoilt: false,
            forked: false,
            hold: Hold::default(),
            waiters: VecDeque::new(),
            stuck_at: None,
            confirms: VecDeque::new(),
            touched: false,
            opened: false,
            progress: Progress::default(),
            stopped: false,
            clean: false,
        });
        self.touch(at);
    }

    /// Lets agents go on that had to wait. Returns whether there were any.
    fn run_agents(&mut self) -> bool {
        let Some(id) = self.runnable.pop() else { return false };
        self.run_agent(id);
        true
    }
}
