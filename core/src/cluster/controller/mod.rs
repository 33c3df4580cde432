//! The controller: decides who is fenced and who leads, while its node leads the quorum.
//!
//! It owns nothing that must survive. All that it decides goes through the quorum's log and counts
//! once the [`Map`] has applied it; what it keeps itself (sessions, reports, timers, proposals under
//! way) is learned anew by the next controller within a session's timeout. So it is made when its
//! node begins to lead the quorum, best after it has applied the entries of earlier terms, and is
//! dropped when it leads no more.
//!
//! - [`sessions`]: a node that is heard of is unfenced; one that is not, or is known to have died,
//!   is fenced, and its partitions get other leaders.
//! - [`elect`]: who leads a partition, and what is done when nobody in sync is there.
//! - [`balance`]: leaders go back to where they were placed.
//! - [`placing`]: the founding and the first placement.
//! - [`requests`]: what operators ask for.
//! - [`proposals`]: each proposal is under way once, until it is applied or given up.
//!
//! It looks at what is (the map, the sessions) and proposes what is missing; it does not remember
//! what it was about to do. A proposal that was lost or lost its race is made again, or not, by the
//! same rule.

mod balance;
mod elect;
mod placing;
mod proposals;
mod requests;
mod sessions;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use core::time::Duration;

use super::command::Command;
use super::map::{Changes, Map};
use super::message::{BrokerMessage, ControllerMessage};
use super::refusal::Refusal;
use super::words::{Founding, Life};
use crate::shard::Severity;
use crate::{Incarnation, Index, Instant, NodeId, Now, PartitionId};

pub use requests::{Request, RequestError, RequestId};

use elect::{Offline, Recovery};
use proposals::{Key, UnderWay};
use requests::Pending;
use sessions::Session;

/// How a controller runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// What the cluster is founded with, if it is not founded yet.
    pub founding: Founding,
    /// How long a node may be silent before it is fenced.
    pub session_timeout: Duration,
    /// How far a wall clock may be from the median before its node is not elected.
    pub clock_offset_max: Duration,
    /// How long the first placement waits for the expected nodes, once there are enough.
    pub placement_grace: Duration,
    /// How long the longest log is waited for after the last replica in sync stopped uncleanly.
    pub recovery_wait: Duration,
    /// After how long a proposal that was not applied is made again.
    pub proposal_timeout: Duration,
    /// How long the preferred leader of a partition is able to lead it before it does; none: it is
    /// left to operators.
    pub balance_after: Option<Duration>,
}

impl Settings {
    /// The usual ones.
    pub fn new(founding: Founding) -> Self {
        Self {
            founding,
            session_timeout: Duration::from_millis(1500),
            clock_offset_max: Duration::from_millis(500),
            placement_grace: Duration::from_secs(5),
            recovery_wait: Duration::from_secs(30),
            proposal_timeout: Duration::from_secs(1),
            balance_after: None,
        }
    }
}

/// One event for the controller.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A node says something; the link has made sure that it is the node. The controller's own node
    /// too.
    Message(NodeId, BrokerMessage),
    /// The process of the node is seen to have died: its connections broke, and new ones are
    /// refused.
    Gone(NodeId),
    /// An operator asks for something, where the quorum's log ends with this entry; answered by
    /// [`Output::Reply`].
    Request(RequestId, Request, Index),
    /// The map has applied this command, with this outcome. Also for commands of others.
    Applied(&'a Command, &'a Result<Changes, Refusal>),
    /// The [`Controller::deadline`] is due.
    Tick,
}

/// One effect of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// To be appended to the quorum's log. May be lost; is then made again.
    Propose(Command),
    /// To be sent to the broker of a node. May be lost.
    Answer(NodeId, ControllerMessage),
    /// The answer to a request.
    Reply(RequestId, Result<(), RequestError>),
    /// A message that was not acted upon, and why: for the trace.
    Ignored(NodeId, Ignored),
    /// For the operator's log.
    Notice(Severity, String),
}

/// Why a message was not acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// The node is not registered, or not yet as far as this map goes.
    UnknownNode,
    /// Another life of the node is registered, as this one.
    StaleIncarnation(Incarnation),
    /// The process is registered already.
    AlreadyRegistered,
    /// The same is under way.
    UnderWay,
    /// Too much is under way.
    Busy,
    /// The change of a partition's in-sync set is signed with another node's name.
    WrongSender,
}

/// Why [`Controller::deadline`] is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// When a session lapses.
    Session,
    /// When a proposal that was not applied is made again.
    Proposal,
    /// When the first placement no longer waits for the expected nodes.
    Placement,
    /// When the longest log is taken of those that are there.
    Recovery,
    /// When an operator is told that the outcome is unknown.
    Request,
    /// When it looks which partitions could go back to their preferred leaders.
    Balance,
    /// When the controller looks at the clock, so that it notices when it was not run.
    Pulse,
}

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Controller {
    settings: Settings,
    sessions: BTreeMap<NodeId, Session>,
    under_way: BTreeMap<Key, UnderWay>,
    requests: BTreeMap<RequestId, Pending>,
    /// The median of the known wall clocks less the controller's, in milliseconds.
    clock_median_ms: Option<i64>,
    /// Since when there are enough nodes for the first placement.
    placeable_since: Option<Instant>,
    /// The partitions without a whole seat that could take the longest log.
    recoveries: BTreeMap<PartitionId, Recovery>,
    /// The leaders that have no open replica, as far as they have said, and since when.
    shut: BTreeMap<PartitionId, (NodeId, Instant)>,
    /// Since when the preferred leader of each partition that another one leads could lead it.
    away: BTreeMap<PartitionId, (Life, Instant)>,
    /// When that is looked at next.
    balance_at: Option<Instant>,
    /// Partitions without a leader.
    offline: BTreeMap<PartitionId, Offline>,
    /// Partitions to be looked at again.
    dirty: BTreeSet<PartitionId>,
    /// When it was last run.
    last_run: Instant,
    outputs: VecDeque<Output>,
}

impl Controller {
    /// Takes office: every node of the map has a fresh session.
    pub fn new(now: Now, map: &Map, settings: Settings) -> Self {
        let mut controller = Self {
            settings,
            sessions: BTreeMap::new(),
            under_way: BTreeMap::new(),
            requests: BTreeMap::new(),
            clock_median_ms: None,
            placeable_since: None,
            recoveries: BTreeMap::new(),
            shut: BTreeMap::new(),
            away: BTreeMap::new(),
            balance_at: None,
            offline: BTreeMap::new(),
            dirty: map.partitions().map(|(id, _)| id).collect(),
            last_run: now.mono,
            outputs: VecDeque::new(),
        };
        controller.open_sessions(now, map);
        controller.balance(now, map);
        controller.go_on(now, map);
        controller
    }

    /// Takes one event in.
    pub fn handle(&mut self, now: Now, map: &Map, input: Input<'_>) {
        self.excuse_pause(now);
        match input {
            Input::Message(from, BrokerMessage::Register(registration)) => {
                self.on_register(now, map, from, registration);
            }
            Input::Message(from, BrokerMessage::Heartbeat(heartbeat)) => {
                self.on_heartbeat(now, map, from, heartbeat);
            }
            Input::Message(from, BrokerMessage::Alter(alter)) => {
                self.on_alter(now, map, from, alter);
            }
            Input::Gone(node) => self.on_gone(now, map, node),
            Input::Request(id, request, last) => self.on_request(now, map, (id, last), request),
            Input::Applied(command, outcome) => self.on_applied(now, map, command, outcome),
            Input::Tick => self.on_tick(now, map),
        }
        self.go_on(now, map);
    }

    /// The next effect.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call again with [`Input::Tick`], and why.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        let sessions = self.sessions.values().filter_map(Session::lapses);
        let proposals = self.under_way.values().map(|under_way| under_way.until);
        let wait = self.settings.recovery_wait;
        let waits = self.recoveries.values().map(|r| r.something.unwrap_or(r.since).after(wait));
        let requests = self.requests.values().map(|pending| pending.until);
        let placement = self.placeable_since.map(|s| s.after(self.settings.placement_grace));
        // What has come due and waits for something else now is no deadline any more.
        let later = |at: &Instant| *at > self.last_run;
        let pulse = self.last_run.after(self.settings.session_timeout / 4);
        let all = sessions.map(|at| (at, Reason::Session));
        let all = all.chain(proposals.map(|at| (at, Reason::Proposal)));
        let all = all.chain(waits.filter(later).map(|at| (at, Reason::Recovery)));
        let all = all.chain(requests.map(|at| (at, Reason::Request)));
        let all = all.chain(placement.filter(later).map(|at| (at, Reason::Placement)));
        let all = all.chain(self.balance_at.map(|at| (at, Reason::Balance)));
        let all = all.chain([(pulse, Reason::Pulse)]);
        all.min_by_key(|&(at, _)| at)
    }

    fn on_tick(&mut self, now: Now, map: &Map) {
        self.give_up_proposals(now, map);
        self.give_up_requests(now);
        self.lapse_sessions(now, map);
        self.dirty.extend(self.recoveries.keys());
        self.report_offline(now, map);
        if self.balance_at.is_some_and(|at| at <= now.mono) {
            self.balance(now, map);
        }
    }

    /// Proposes what is missing.
    fn go_on(&mut self, now: Now, map: &Map) {
        self.found_and_place(now, map);
        while let Some(partition) = self.dirty.pop_first() {
            self.consider(now, map, partition);
        }
    }

    fn notice(&mut self, severity: Severity, text: String) {
        self.outputs.push_back(Output::Notice(severity, text));
    }
}
