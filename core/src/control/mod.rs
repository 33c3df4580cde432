//! A node's part in the cluster: its seat in the controller quorum, the cluster map, its session.
//!
//! Control puts four machines together and decides what none of them can see alone:
//!
//! ```text
//!              ┌──────────────────────── Control ─────────────────────────┐
//!   bytes ◀──▶ │ peer::Links ◀──▶ election::Raft ◀──▶ Store ◀──▶ Replica  │ ◀──▶ disk
//!              │       ▲               │ committed                        │
//!              │       │          cluster::Map ──▶ View                   │ ──▶ shards, clients
//!              │       └──▶ cluster::Broker, cluster::Controller          │
//!              └──────────────────────────────────────────────────────────┘
//! ```
//!
//! - Its life: the [directory](crate::directory) is settled, the [`store`] is read, and if that holds
//!   nothing a cluster is [founded or joined](founding). From then on it is a [`member`] for good.
//! - The map is what the committed log adds up to; every member has it, voters and observers alike.
//! - The [controller](crate::cluster::controller::Controller) exists while this node leads the quorum and has
//!   applied all that earlier leaders committed.
//! - [`requests`]: what operators ask of the controller, wherever that is.
//! - [`voters`] keeps the quorum complete: a voter that came back with another directory is
//!   replaced, one by one.
//! - A disk fault voids what is in memory: the member is dropped and begins again from what is
//!   stored, as after a restart, with its links left as they are.
//!
//! Invariants:
//! - Nothing is sent in the name of the quorum that is not in the store: what depends on durability
//!   waits in [`Raft`](crate::election::Raft) for the store's answer.
//! - A node whose META names a cluster never founds or joins another.
//! - META is completed only once the store holds the founding snapshot, so that a store that is
//!   missing was lost, and is refused; and the member says nothing before META is complete.

mod founding;
mod life;
mod marks;
mod member;
mod message;
mod requests;
mod running;
mod store;
mod talk;
mod view;
mod voters;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::cluster::controller;
use crate::cluster::{self, Features};
use crate::directory::{Directory, Wanted};
use crate::disk::{DiskOp, DiskResult};
use crate::election::{self, Stored};
use crate::marks::Marks;
use crate::node::{ToControl, ToShard};
use crate::peer::{self, Links, Versions};
use crate::random::Random;
use crate::shard::Severity;
use crate::{ClusterId, DirectoryId, Instant, IoId, Member, NodeId, Now};

pub use founding::first_voters;
pub use message::{Answer, Ask, Join, Message};
pub use view::{QuorumView, View};

use founding::Founding;
use member::Membership;
use requests::Requests;
use store::Store;

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// The nodes of the cluster, this one included, and where their peers reach them.
    pub nodes: Vec<(NodeId, String)>,
    /// Where clients reach this node, `host:port`.
    pub client_address: String,
    /// What fails together with this node.
    pub rack: Option<String>,
    /// What a cluster is founded with, but for its id and nodes.
    pub founding: FoundingOptions,
    /// What of that the operator has said, and did not leave to the defaults.
    pub stated: Stated,
    /// How the quorum behaves.
    pub election: election::Settings,
    /// How the links behave.
    pub links: peer::Settings,
    /// How long a node may be silent before it is fenced.
    pub session_timeout: Duration,
    /// See [`controller::Settings`](cluster::controller::Settings::balance_after).
    pub balance_after: Option<Duration>,
    /// Every write of the node's partitions is fsynced before it is acknowledged. If not, what a
    /// process had acknowledged may be missing after it ended, unless it was stopped as asked.
    pub durable: bool,
    /// Size at which the store's segments roll, in bytes.
    pub segment_bytes: u64,
    /// Entries applied since the last snapshot before another is made.
    pub snapshot_every: u64,
    /// Seed of everything that is drawn: ids, nonces, timeouts.
    pub seed: u64,
}

/// What the first start of a cluster decides for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FoundingOptions {
    /// Partitions that share the slots.
    pub partitions: u32,
    /// Replicas of each partition.
    pub replication_factor: u32,
    /// In-sync replicas below which a partition takes no writes.
    pub min_isr: u32,
}

/// What an operator has said of the [`FoundingOptions`]; where the cluster is another, he is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stated {
    /// Partitions that share the slots.
    pub partitions: Option<u32>,
    /// Replicas of each partition.
    pub replication_factor: Option<u32>,
    /// In-sync replicas below which a partition takes no writes.
    pub min_isr: Option<u32>,
}

/// One event for control.
#[derive(Debug)]
pub enum Input {
    /// The answer to a disk operation.
    Disk(IoId, DiskResult),
    /// Something has happened to a connection with a peer.
    Peer(peer::Input),
    /// The shard of this node says something.
    Shard(ToControl),
    /// [`Control::deadline`] is due.
    Tick,
    /// Finish: hand over what is led, make everything durable, then [`Output::Stopped`].
    Stop,
}

/// One effect of control.
#[derive(Debug)]
pub enum Output {
    /// To be done on disk. The ids of control are none of a [shard](crate::shard)'s.
    Disk(IoId, DiskOp),
    /// To be done with the connections to peers: dial, write or close.
    Peer(peer::Output),
    /// For the shard of this node.
    Shard(ToShard),
    /// The node can not take part: why, and what to do. Control is finished.
    Refused(String),
    /// After [`Input::Stop`]: everything is durable.
    Stopped,
    /// What the quorum did; for traces and checkers.
    Trace(Trace),
    /// For the operator's log.
    Notice(Severity, String),
}

/// What happens inside, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// The role, the term or the known leader of the quorum has changed.
    Became(election::Role, crate::Term, Option<NodeId>),
    /// A committed entry was applied.
    Applied(election::Entry),
    /// The map was replaced by a snapshot's.
    Restored(crate::Index),
    /// A message of the quorum had no effect.
    Ignored(Member, &'static str, election::Ignored),
    /// A message was sent over a link, or lost for want of one.
    Sent(NodeId, Message, bool),
    /// A message came over a link.
    Received(Member, Message),
    /// Memory was void after a disk fault: the member begins again from its store.
    BeganAgain,
}

/// Why [`Control::deadline`] is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Something about the quorum.
    Election(election::Reason),
    /// Something about the links.
    Links,
    /// Something about the node's session.
    Broker,
    /// Something that the controller watches.
    Controller(controller::Reason),
    /// Something about the store.
    Store,
    /// When to say again that the node is fresh.
    Fresh,
    /// When voters are looked at again.
    Voters,
    /// When a stop no longer waits for others to take over.
    Stop,
    /// When a request of an operator is handed over, or given up.
    Request,
}

/// See the module's header.
#[derive(Debug)]
pub struct Control {
    config: Config,
    now: Now,
    random: Random,
    nonce: u64,
    directory: Directory,
    /// A member's next life is to claim no seat: what had been acknowledged may be gone.
    unclean: bool,
    /// How often the shard has said so.
    uncleans: u64,
    store: Option<Store>,
    links: Option<Links>,
    /// Who can be sent to.
    up: BTreeMap<NodeId, Member>,
    /// Somebody could be sent to in this life.
    was_linked: bool,
    /// Who refuses to be linked, and since when somebody does.
    rejected: BTreeSet<NodeId>,
    rejected_since: Option<Instant>,
    stage: Stage,
    /// What operators wait for at this node.
    requests: Requests,
    /// When to say again that the node is fresh.
    fresh_at: Instant,
    /// When it is said which nodes are missing.
    complain_at: Instant,
    stop: Stop,
    /// While handing over: the shard was told that others have taken over, and has answered all that
    /// it had taken.
    left: Left,
    /// META is known to name the cluster, and that is durable.
    named: bool,
    /// When META is to name the cluster.
    name_at: Instant,
    /// Of members that have begun again since, and of none.
    marks: Marks,
    /// What the others of this node were last shown.
    shown: Option<Arc<View>>,
    out: VecDeque<Output>,
}

/// How far the node is in its life.
#[derive(Debug)]
enum Stage {
    /// The directory is settled and the store read.
    Opening,
    /// No cluster is known.
    Fresh(Founding),
    /// What the member begins with is being made durable.
    Founding(ClusterId, Box<Stored>),
    /// It is durable, and META is to name the cluster before the member says a word.
    Naming(ClusterId, Box<Stored>),
    /// A member.
    Member(Box<Membership>),
    /// A member whose store is read again after a disk fault.
    Reopening(ClusterId),
    /// Refused or stopped.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    /// Others are to take over until then.
    HandingOver(Instant),
    /// The store finishes.
    Closing,
}

/// How far the shard is with the clients of a node that stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Not,
    Told,
    Done,
}

/// The newest version of the peer protocol, and the feature levels of this release.
const VERSIONS: Versions = Versions { min: 1, max: 1 };
const FEATURES: Features = Features { min: 1, max: 1 };

/// How often a fresh node says so.
const FRESH_EVERY: Duration = Duration::from_millis(100);
/// How long it waits before it tries to name the cluster in META again.
const NAME_AGAIN: Duration = Duration::from_millis(500);
/// How often it says for whom it waits.
const COMPLAIN_EVERY: Duration = Duration::from_secs(5);
/// How long most of the others may refuse a node before it gives up.
const REJECTED_MAX: Duration = Duration::from_secs(3);
/// How long a stop waits for others to take over.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);

/// The ids of control's disk operations: none of a shard's.
const IO_BITS: u32 = 48;
const STORE_IO: u64 = 0xfffe;
const DIRECTORY_IO: u64 = 0xfffd;

impl Control {
    /// Control of a node about to look at its data directory.
    pub fn new(config: Config, now: Now) -> Self {
        let mut random = Random(config.seed);
        let id = DirectoryId(random.next_u128());
        let nonce = random.next();
        let directory =
            Directory::new(Wanted::Node { node: config.node, relaxed: !config.durable }, id);
        let mut control = Self {
            config,
            now,
            random,
            nonce,
            directory,
            unclean: false,
            uncleans: 0,
            store: None,
            links: None,
            up: BTreeMap::new(),
            was_linked: false,
            rejected: BTreeSet::new(),
            rejected_since: None,
            stage: Stage::Opening,
            requests: Requests::default(),
            fresh_at: now.mono,
            complain_at: now.mono.after(COMPLAIN_EVERY),
            stop: Stop::No,
            left: Left::Not,
            named: false,
            name_at: now.mono,
            marks: Marks::default(),
            shown: None,
            out: VecDeque::new(),
        };
        control.advance();
        control
    }

    /// Takes one event in.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::Disk(io, result) => self.on_disk(io, result),
            Input::Peer(input) => {
                match (&mut self.links, input) {
                    (Some(links), input) => links.handle(now, input),
                    // Who comes too early, or too late, is to come again.
                    (None, peer::Input::Accepted(conn)) => {
                        self.out.push_back(Output::Peer(peer::Output::Close(conn)));
                    }
                    (None, _) => {}
                }
            }
            Input::Shard(said) => self.on_shard(said),
            Input::Tick => self.on_tick(),
            Input::Stop => self.on_stop(),
        }
        self.advance();
    }

    /// The next effect, until `None`.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Tick`] is due, and why.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        let store = self.store.as_ref().and_then(Store::deadline).map(|at| (at, Reason::Store));
        let links = self.links.as_ref().and_then(Links::deadline);
        let links = links.map(|(at, _)| (at, Reason::Links));
        let stop = match self.stop {
            Stop::HandingOver(until) => Some((until, Reason::Stop)),
            Stop::No | Stop::Closing => None,
        };
        let stage = match &self.stage {
            Stage::Fresh(_) => Some((self.fresh_at.min(self.complain_at), Reason::Fresh)),
            Stage::Member(member) => member.deadline(),
            // Only a stop still waits: the store finishes, and may have to wait for its disk.
            Stage::Ended if self.stop != Stop::Closing => return None,
            Stage::Naming(..) if self.directory.is_idle() => Some((self.name_at, Reason::Store)),
            Stage::Ended
            | Stage::Opening
            | Stage::Founding(..)
            | Stage::Naming(..)
            | Stage::Reopening(_) => None,
        };
        let requests = self.requests.deadline().map(|at| (at, Reason::Request));
        [store, links, stop, stage, requests].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// The quorum's machine, while the node is a member; for checkers.
    pub fn raft(&self) -> Option<&election::Raft> {
        self.membership().map(Membership::raft)
    }

    /// The cluster map, while the node is a member; for checkers.
    pub fn map(&self) -> Option<&cluster::Map> {
        self.membership().map(Membership::map)
    }

    /// The rare states that the node's part in the cluster has been in.
    pub fn marks(&self) -> Marks {
        let store = self.store.as_ref().map_or_else(Marks::default, Store::marks);
        let member = self.membership().map_or_else(Marks::default, Membership::marks);
        self.marks.or(store).or(member)
    }

    fn membership(&self) -> Option<&Membership> {
        match &self.stage {
            Stage::Member(member) => Some(member),
            Stage::Opening
            | Stage::Fresh(_)
            | Stage::Founding(..)
            | Stage::Naming(..)
            | Stage::Reopening(_)
            | Stage::Ended => None,
        }
    }

    fn on_disk(&mut self, io: IoId, result: DiskResult) {
        if io.0 >> IO_BITS == DIRECTORY_IO {
            if let Some(event) = self.directory.on_disk(result) {
                self.on_directory(event);
            }
        } else if let Some(store) = &mut self.store {
            store.on_disk(self.now.mono, io.0 & ((1 << IO_BITS) - 1), result);
        }
    }

    fn on_tick(&mut self) {
        let now = self.now;
        if let Some(store) = &mut self.store
            && store.deadline().is_some_and(|at| at <= now.mono)
        {
            store.tick(now.mono);
        }
        if let Some(links) = &mut self.links
            && links.deadline().is_some_and(|(at, _)| at <= now.mono)
        {
            links.handle(now, peer::Input::Tick);
        }
        if let Stage::Member(member) = &mut self.stage {
            member.on_tick(now);
        }
    }

    fn on_stop(&mut self) {
        if self.stop != Stop::No {
            return;
        }
        self.stop = Stop::HandingOver(self.now.mono.after(HAND_OVER_MAX));
        if let Stage::Member(member) = &mut self.stage {
            member.on_stop(self.now);
        }
    }

    /// Lets every part do what it can, until none has anything more to do.
    fn advance(&mut self) {
        // What the parts tell each other dies down: no event makes another of its kind at once.
        for _ in 0..ROUNDS_MAX {
            let mut busy = self.advance_directory();
            busy |= self.advance_store();
            busy |= self.advance_fresh();
            busy |= self.advance_requests();
            busy |= self.advance_member();
            busy |= self.advance_links();
            busy |= self.advance_stop();
            if !busy {
                return;
            }
        }
        unreachable!("control's parts go on telling each other the same");
    }
}

/// Rounds in which the parts may tell each other something before they must be done. An entry that
/// is applied takes a few, and one message may bring many entries.
const ROUNDS_MAX: usize = 10_000;
