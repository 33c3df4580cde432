//! The broker: a node's own side of the cluster map.
//!
//! It registers the node, keeps its session alive, and says what the node is at present. All that
//! it believes it reads from the [`Map`]; the answers of the controller only tell it what the map
//! never will.
//!
//! ```text
//!              the map shows its nonce              the map unfences it
//!  unregistered ─────────────────────▶ fenced @i ◀──────────────────────▶ active @i
//!       ▲                                  │        or fences it              │
//!       └──────────────────────────────────┴──────────────────────────────────┘
//!                        the map shows another nonce for its id
//! ```
//!
//! - **Registering.** The process draws a nonce. It has registered when the map shows that nonce
//!   with its directory; its incarnation is then the map's. Until then it says so again, with
//!   jittered back-off, to whoever leads the quorum.
//! - **Heartbeats** go out at an interval, and at once when something has changed that the
//!   controller waits for: the leader of the quorum, the node's standing, the wish to stop, a
//!   replica that would rather not lead.
//! - **A clean start** is only said by a directory that holds all that the node had acknowledged up
//!   to its last registered life. A process that began without that owes the map an unclean
//!   registration: until the map shows it, neither this process nor a later one may claim to be
//!   clean ([`Broker::may_mark_clean`]).
//! - **Two processes with one id** supersede each other. With different directories the controller
//!   refuses the second while the first is alive. With copies of one directory the nonces alternate
//!   in the map: whoever has been superseded twice gives up.
//! - **Changes of in-sync sets** that the node's leaders want are said again until the partition
//!   epoch has moved on.

mod alters;
mod backoff;
mod register;
mod stop;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use core::time::Duration;

use super::command::AlterPartition;
use super::map::Map;
use super::message::{BrokerMessage, ControllerMessage, Heartbeat, LogEnd};
use super::refusal::Refusal;
use super::words::{Features, Life, PartitionEpoch};
use crate::random::Random;
use crate::shard::Severity;
use crate::{DirectoryId, Epoch, Incarnation, Instant, NodeId, Now, PartitionId};

use alters::Wanted;
use backoff::Backoff;
use stop::Stop;

/// What a node says of itself, and how its broker runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The node.
    pub node: NodeId,
    /// Its data directory.
    pub directory: DirectoryId,
    /// Whether the directory holds all that the node had acknowledged up to its last registered
    /// life; see the module's header.
    pub clean: bool,
    /// Where other nodes reach it.
    pub peer: String,
    /// Where clients reach it.
    pub client: String,
    /// What fails together with it.
    pub rack: Option<String>,
    /// Its program's version.
    pub version: String,
    /// The feature levels that its program understands.
    pub features: Features,
    /// Time between heartbeats.
    pub heartbeat_interval: Duration,
    /// First and longest time until something is said again that was not heeded.
    pub retry: (Duration, Duration),
    /// How long another process with the same id is put up with before this one gives up.
    pub duplicate_patience: Duration,
    /// How long a stop waits for the leaderships to be moved away.
    pub stop_timeout: Duration,
    /// Seed of the nonce and of jitter.
    pub seed: u64,
}

impl Settings {
    /// The usual times, for a node at these addresses.
    pub fn new(node: NodeId, directory: DirectoryId, peer: String, client: String) -> Self {
        Self {
            node,
            directory,
            clean: true,
            peer,
            client,
            rack: None,
            version: String::from(env!("CARGO_PKG_VERSION")),
            features: Features { min: 1, max: 1 },
            heartbeat_interval: Duration::from_millis(100),
            retry: (Duration::from_millis(100), Duration::from_secs(2)),
            duplicate_patience: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(10),
            seed: 0,
        }
    }
}

/// One event for the broker.
#[derive(Clone, Debug)]
pub enum Input {
    /// Who leads the quorum, as far as is known; may be this node.
    Leader(Option<NodeId>),
    /// The map has applied something.
    Applied,
    /// A node that leads the quorum says something.
    Answer(ControllerMessage),
    /// An open replica of this node has come so far. At intervals, and at once when its fitness
    /// changes.
    LogEnd(LogEnd),
    /// A replica of this node is closed.
    Closed(PartitionId),
    /// A leader of this node can not go on in its reign. Said until the map shows a later one.
    Resigned(PartitionId, Epoch),
    /// The directory does not hold all that the node had acknowledged any more: it registers anew, as
    /// unclean.
    Unclean,
    /// A leader of this node wants another in-sync set. In the place of what it wanted before,
    /// which may be on its way all the same: until the map has moved on from the partition epoch,
    /// the leader counts everybody whom it has asked for as in sync.
    Alter(AlterPartition),
    /// The node is to stop: let it not lead first.
    Stop,
    /// The [`Broker::deadline`] is due.
    Tick,
}

/// One effect of the broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// To be sent to this node, which may be the broker's own. May be lost.
    Send(NodeId, BrokerMessage),
    /// What the node is from here on.
    Standing(State),
    /// The map will not take this change of an in-sync set.
    AlterRefused {
        /// Of which partition.
        partition: PartitionId,
        /// Against which version of it.
        partition_epoch: PartitionEpoch,
        /// Why.
        why: Refusal,
    },
    /// After [`Input::Stop`]: the node leads nothing that another could lead, or has waited long
    /// enough.
    MayStop,
    /// The node can not be part of the cluster: why, and what to do. The broker is finished.
    Refused(String),
    /// For the operator's log.
    Notice(Severity, String),
}

/// What a node is, as the map has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not registered, or another process is under its id.
    Unregistered,
    /// Registered, and may neither lead nor enter in-sync sets.
    Fenced(Incarnation),
    /// A full member.
    Active(Incarnation),
}

/// Why [`Broker::deadline`] is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// When to register again.
    Register,
    /// When to send a heartbeat.
    Heartbeat,
    /// When to ask again for a change of an in-sync set.
    Alter,
    /// When a stop no longer waits.
    Stop,
}

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broker {
    settings: Settings,
    random: Random,
    nonce: u64,
    /// See [`Broker::may_mark_clean`].
    clean: bool,
    leader: Option<NodeId>,
    state: State,
    register: Backoff,
    /// Times that another process took the node's id after this one had it.
    superseded: u32,
    /// Since when the controller has refused this process for the sake of another.
    duplicate_since: Option<Instant>,
    heartbeat_due: Instant,
    log_ends: BTreeMap<PartitionId, LogEnd>,
    resigned: BTreeMap<PartitionId, Epoch>,
    wanted: BTreeMap<PartitionId, Wanted>,
    stop: Stop,
    refused: bool,
    outputs: VecDeque<Output>,
}

impl Broker {
    /// A broker of a process that has just started.
    pub fn new(now: Now, settings: Settings) -> Self {
        let mut random = Random(settings.seed);
        let nonce = random.next();
        Self {
            random,
            nonce,
            clean: settings.clean,
            leader: None,
            state: State::Unregistered,
            register: Backoff::new(settings.retry.0),
            superseded: 0,
            duplicate_since: None,
            heartbeat_due: now.mono,
            log_ends: BTreeMap::new(),
            resigned: BTreeMap::new(),
            wanted: BTreeMap::new(),
            stop: Stop::default(),
            refused: false,
            outputs: VecDeque::new(),
            settings,
        }
    }

    /// What the node is at present.
    pub fn state(&self) -> State {
        self.state
    }

    /// The node's present life, if it is registered.
    pub fn life(&self) -> Option<Life> {
        match self.state {
            State::Unregistered => None,
            State::Fenced(incarnation) | State::Active(incarnation) => {
                Some(Life { node: self.settings.node, incarnation })
            }
        }
    }

    /// By which the process knows its registration.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Whether a clean stop of this process may be marked as one: it began clean, or the map knows
    /// that it did not. Without, the directory has to stay as unclean as it was found.
    pub fn may_mark_clean(&self) -> bool {
        self.clean
    }

    /// Takes one event in.
    pub fn handle(&mut self, now: Now, map: &Map, input: Input) {
        if self.refused {
            return;
        }
        match input {
            Input::Leader(leader) => self.on_leader(now, leader),
            Input::Answer(answer) => self.on_answer(now, map, answer),
            Input::LogEnd(end) => self.on_log_end(now, end),
            Input::Closed(partition) => {
                self.log_ends.remove(&partition);
                self.heartbeat_due = now.mono;
            }
            Input::Resigned(partition, epoch) => {
                self.resigned.insert(partition, epoch);
                self.heartbeat_due = now.mono;
            }
            Input::Unclean => self.on_unclean(),
            Input::Alter(alter) => self.want(alter),
            Input::Stop => self.on_stop(now),
            Input::Applied | Input::Tick => {}
        }
        self.observe(now, map);
        self.go_on(now, map);
    }

    /// The next effect.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call again with [`Input::Tick`], and why.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        if self.refused {
            return None;
        }
        let registered = self.life().is_some();
        let says = self.leader.map(|_| match registered {
            true => (self.heartbeat_due, Reason::Heartbeat),
            false => (self.register.due(), Reason::Register),
        });
        let alter = self.alter_due().filter(|_| self.leader.is_some() && registered);
        let stop = self.stop.due().map(|at| (at, Reason::Stop));
        let all = says.into_iter().chain(alter.map(|at| (at, Reason::Alter))).chain(stop);
        all.min_by_key(|&(at, _)| at)
    }

    fn on_leader(&mut self, now: Now, leader: Option<NodeId>) {
        if self.leader != leader {
            self.leader = leader;
            // What another controller had refused may have been true then.
            self.duplicate_since = None;
            self.register = Backoff::new(self.settings.retry.0);
            self.heartbeat_due = now.mono;
            self.want_at_once();
        }
    }

    fn on_answer(&mut self, now: Now, map: &Map, answer: ControllerMessage) {
        match answer {
            ControllerMessage::Heard { incarnation, may_stop } => {
                let own = self.life().is_some_and(|life| life.incarnation == incarnation);
                if own && may_stop {
                    self.may_stop();
                }
            }
            ControllerMessage::RegisterRefused { nonce, why } => {
                if nonce == self.nonce && self.life().is_none() {
                    self.on_register_refused(now, why);
                }
            }
            ControllerMessage::AlterRefused { partition, partition_epoch, why } => {
                self.on_alter_refused(map, partition, partition_epoch, why);
            }
        }
    }

    fn on_log_end(&mut self, now: Now, end: LogEnd) {
        let before = self.log_ends.insert(end.partition, end);
        if before.is_none_or(|before| before.fit != end.fit) {
            self.heartbeat_due = now.mono;
        }
    }

    /// Says what is due.
    fn go_on(&mut self, now: Now, map: &Map) {
        self.stop_if_due(now);
        let Some(leader) = self.leader.filter(|_| !self.refused) else { return };
        let Some(life) = self.life() else { return self.say_register(now, leader) };
        if self.heartbeat_due <= now.mono {
            self.heartbeat_due = now.mono.after(self.settings.heartbeat_interval);
            let later = |id| map.partition(id).map_or(Epoch(0), |partition| partition.epoch);
            self.resigned.retain(|&id, epoch| later(id) <= *epoch);
            let heartbeat = Heartbeat {
                incarnation: life.incarnation,
                applied: map.applied(),
                wall_ms: now.wall_us / 1000,
                log_ends: self.log_ends.values().copied().collect(),
                resigned: self.resigned.iter().map(|(&id, &epoch)| (id, epoch)).collect(),
                wants_stop: self.stop.is_wanted(),
            };
            self.send(leader, BrokerMessage::Heartbeat(heartbeat));
        }
        self.say_alters(now, leader);
    }

    fn send(&mut self, to: NodeId, message: BrokerMessage) {
        self.outputs.push_back(Output::Send(to, message));
    }

    fn notice(&mut self, severity: Severity, text: String) {
        self.outputs.push_back(Output::Notice(severity, text));
    }

    fn refuse(&mut self, text: String) {
        self.refused = true;
        self.outputs.push_back(Output::Refused(text));
    }
}
