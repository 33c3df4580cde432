//! A member of a cluster: the quorum's machine, the map, the node's session, and the controller
//! while this node leads.
//!
//! Entries are applied here, in order, each once in this life. What one of the machines says to
//! another is handed on at once; what leaves the node is left in [`Effect`]s for control.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::view::{QuorumView, View};
use super::{Message, Reason, Trace, marks, voters};
use crate::cluster::broker::{self, Broker};
use crate::cluster::controller::{self, Controller, Request, RequestError, RequestId};
use crate::cluster::{
    AlterPartition, BrokerMessage, Command, ControllerMessage, LogEnd, Map, PartitionEpoch, Refusal,
};
use crate::election::{
    self, Change, Entry, Payload, Raft, Role, Snapshot, Stored, VoterChange, WriteId,
};
use crate::marks::{Mark, Marks};
use crate::shard::Severity;
use crate::{ClusterId, Index, Instant, Member, NodeId, Now, PartitionId, Term};

/// What a member wants of the world.
#[derive(Debug)]
pub(super) enum Effect {
    /// To be made durable.
    Write(WriteId, Vec<Change>),
    /// To be sent to the node, if the link is to this member.
    Send(Member, Message),
    /// To be sent to whatever process of the node is linked.
    SendNode(NodeId, Message),
    /// The map will not take a change of an in-sync set.
    AlterRefused {
        partition: PartitionId,
        partition_epoch: PartitionEpoch,
        why: Refusal,
    },
    /// For the operator who asked.
    Answer(RequestId, Result<(), RequestError>),
    /// The view may have changed.
    Changed,
    /// The node must not go on: why, and what to do.
    Refuse(String),
    Trace(Trace),
    Notice(Severity, String),
}

/// See the module's header.
#[derive(Debug)]
pub(super) struct Membership {
    me: Member,
    cluster: ClusterId,
    raft: Raft,
    map: Map,
    broker: Broker,
    controller: Option<Controller>,
    settings: controller::Settings,
    snapshot_every: u64,
    /// When the voters are looked at again.
    voters_at: Instant,
    stopping: bool,
    /// The node leads no partition that another could lead, or has waited long enough.
    may_stop: bool,
    /// What it was last told to be.
    was: (Role, Term),
    marks: Marks,
    effects: VecDeque<Effect>,
}

/// How a member behaves.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) election: election::Settings,
    pub(super) broker: broker::Settings,
    pub(super) controller: controller::Settings,
    pub(super) snapshot_every: u64,
}

/// How often the voters are looked at.
const VOTERS_EVERY: Duration = Duration::from_millis(200);

impl Membership {
    pub(super) fn new(
        now: Now,
        me: Member,
        cluster: ClusterId,
        stored: Stored,
        options: Options,
        seed: u64,
    ) -> Self {
        let Options { election, broker, controller, snapshot_every } = options;
        let mut marks = Marks::default();
        marks::begins(&mut marks, &stored);
        let raft = Raft::new(me, election, stored, now.mono, seed);
        let map = Map::new();
        let broker = Broker::new(now, broker);
        Self {
            me,
            cluster,
            raft,
            map,
            broker,
            controller: None,
            settings: controller,
            snapshot_every,
            voters_at: now.mono,
            stopping: false,
            may_stop: false,
            was: (Role::Follower, Term(0)),
            marks,
            effects: VecDeque::new(),
        }
    }
}

impl Membership {
    pub(super) fn cluster(&self) -> ClusterId {
        self.cluster
    }

    pub(super) fn raft(&self) -> &Raft {
        &self.raft
    }

    pub(super) fn map(&self) -> &Map {
        &self.map
    }

    /// The rare states that it has been in.
    pub(super) fn marks(&self) -> Marks {
        self.marks
    }

    /// What a new member may begin with.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.raft.snapshot().clone()
    }

    /// The cluster as this node sees it.
    pub(super) fn view(&self) -> View {
        let leads = self.raft.role() == Role::Leader;
        let heard = leads.then(|| {
            let heard = self.raft.members().into_iter().filter(|m| m.voter && m.linked);
            heard.map(|m| m.member.node).chain([self.me.node]).collect()
        });
        View {
            me: self.me,
            cluster: Some(self.cluster),
            missing: Vec::new(),
            quorum: QuorumView {
                role: self.raft.role(),
                term: self.raft.term(),
                controller: self.raft.leader(),
                voters: self.raft.voters().clone(),
                heard,
                reached: self.raft.linked().map(|m| m.node).chain([self.me.node]).collect(),
                applied: self.map.applied(),
            },
            life: self.broker.life(),
            unsynced: false,
            uncleans: 0,
            settles: false,
            map: self.map.clone(),
        }
    }

    /// See [`Broker::may_mark_clean`].
    pub(super) fn may_mark_clean(&self) -> bool {
        self.broker.may_mark_clean()
    }

    /// When to call [`on_tick`](Self::on_tick), and why.
    pub(super) fn deadline(&self) -> Option<(Instant, Reason)> {
        let raft = self.raft.deadline().map(|(at, why)| (at, Reason::Election(why)));
        let broker = self.broker.deadline().map(|(at, _)| (at, Reason::Broker));
        let controller = self.controller.as_ref();
        let voters = controller.map(|_| (self.voters_at, Reason::Voters));
        let controller = controller.and_then(Controller::deadline);
        let controller = controller.map(|(at, why)| (at, Reason::Controller(why)));
        [raft, broker, controller, voters].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    pub(super) fn on_tick(&mut self, now: Now) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now.mono);
        if is_due(self.raft.deadline().map(|(at, _)| at)) {
            self.raft.handle(now.mono, election::Input::Tick);
        }
        if is_due(self.broker.deadline().map(|(at, _)| at)) {
            self.broker.handle(now, &self.map, broker::Input::Tick);
        }
        if let Some(controller) = &mut self.controller
            && is_due(controller.deadline().map(|(at, _)| at))
        {
            controller.handle(now, &self.map, controller::Input::Tick);
        }
        if self.controller.is_some() && self.voters_at <= now.mono {
            self.voters_at = now.mono.after(VOTERS_EVERY);
            self.mend_voters(now);
        }
    }

    pub(super) fn on_persisted(&mut self, now: Now, id: WriteId) {
        self.raft.handle(now.mono, election::Input::Persisted(id));
    }

    pub(super) fn on_link(&mut self, now: Now, member: Member, is_up: bool) {
        let input = if is_up { election::Input::Linked } else { election::Input::Unlinked };
        self.raft.handle(now.mono, input(member));
        self.effects.push_back(Effect::Changed);
    }

    /// The node's process is gone, as its machine says.
    pub(super) fn on_gone(&mut self, now: Now, node: NodeId) {
        if let Some(controller) = &mut self.controller {
            controller.handle(now, &self.map, controller::Input::Gone(node));
        }
    }

    pub(super) fn on_election(&mut self, now: Now, from: Member, message: election::Message) {
        let asked = matches!(message, election::Message::TimeoutNow(_));
        self.raft.handle(now.mono, election::Input::Message { from, message });
        self.marks.hit_if(asked && self.raft.role() == Role::Candidate, Mark::TookOver);
    }

    pub(super) fn on_broker(&mut self, now: Now, from: NodeId, message: BrokerMessage) {
        // Whoever meant another controller will hear of it and ask again.
        if let Some(controller) = &mut self.controller {
            controller.handle(now, &self.map, controller::Input::Message(from, message));
        }
    }

    pub(super) fn on_controller(&mut self, now: Now, from: NodeId, message: ControllerMessage) {
        if self.raft.leader() == Some(from) {
            self.broker.handle(now, &self.map, broker::Input::Answer(message));
        }
    }

    /// Returns whether it will be answered: only the controller can.
    pub(super) fn on_request(&mut self, now: Now, id: RequestId, request: Request) -> bool {
        let Some(controller) = &mut self.controller else { return false };
        let last = self.raft.last().index;
        controller.handle(now, &self.map, controller::Input::Request(id, request, last));
        true
    }

    /// The member is about to be dropped: what operators are told of what they asked here.
    pub(super) fn leave_office(
        self,
    ) -> impl Iterator<Item = (RequestId, Result<(), RequestError>)> {
        let known = self.effects.into_iter().filter_map(|effect| match effect {
            Effect::Answer(id, outcome) => Some((id, outcome)),
            Effect::Write(..)
            | Effect::Send(..)
            | Effect::SendNode(..)
            | Effect::AlterRefused { .. }
            | Effect::Changed
            | Effect::Refuse(_)
            | Effect::Trace(_)
            | Effect::Notice(..) => None,
        });
        known.chain(self.controller.into_iter().flat_map(Controller::leave_office))
    }

    /// A leader of this node wants another in-sync set.
    pub(super) fn on_alter(&mut self, now: Now, alter: AlterPartition) {
        self.broker.handle(now, &self.map, broker::Input::Alter(alter));
    }

    /// How far the replicas of this node have come.
    pub(super) fn on_log_ends(&mut self, now: Now, ends: Vec<LogEnd>) {
        for end in ends {
            self.broker.handle(now, &self.map, broker::Input::LogEnd(end));
        }
    }

    /// Something has become of a replica of this node.
    pub(super) fn on_replica(&mut self, now: Now, input: broker::Input) {
        self.broker.handle(now, &self.map, input);
    }

    /// Others are to take over what this node leads.
    pub(super) fn on_stop(&mut self, now: Now) {
        self.stopping = true;
        self.broker.handle(now, &self.map, broker::Input::Stop);
    }

    /// Whether others have taken over, or nobody can.
    pub(super) fn may_stop(&self) -> bool {
        let alone = self.raft.voters().len() == 1;
        self.may_stop && (alone || self.raft.role() != Role::Leader)
    }

    pub(super) fn poll(&mut self, now: Now) -> Option<Effect> {
        while self.effects.is_empty() && self.advance(now) {}
        self.effects.pop_front()
    }

    /// Hands on what one of the machines says. Returns whether one did.
    fn advance(&mut self, now: Now) -> bool {
        if let Some(output) = self.raft.poll() {
            self.on_raft(now, output);
            return true;
        }
        if let Some(output) = self.controller.as_mut().and_then(Controller::poll) {
            self.on_controller_output(now, output);
            return true;
        }
        if let Some(output) = self.broker.poll() {
            self.on_broker_output(now, output);
            return true;
        }
        self.hold_office(now) || self.hand_over(now)
    }

    fn on_raft(&mut self, now: Now, output: election::Output) {
        match output {
            election::Output::Persist(id, changes) => {
                marks::writes(&mut self.marks, &changes, self.map.applied());
                self.effects.push_back(Effect::Write(id, changes));
            }
            election::Output::Send(to, message) => {
                marks::sends(&mut self.marks, &message);
                self.effects.push_back(Effect::Send(to, Message::Election(message)));
            }
            election::Output::Apply(entry) => self.on_entry(now, entry),
            election::Output::Restore(snapshot) => self.on_snapshot(now, &snapshot),
            election::Output::Became { role, term, leader } => {
                marks::becomes(&mut self.marks, self.was, (role, term));
                self.was = (role, term);
                self.effects.push_back(Effect::Trace(Trace::Became(role, term, leader)));
                if role != Role::Leader
                    && let Some(controller) = self.controller.take()
                {
                    let answers = controller.leave_office();
                    self.effects.extend(answers.map(|(id, outcome)| Effect::Answer(id, outcome)));
                }
                self.broker.handle(now, &self.map, broker::Input::Leader(leader));
                self.effects.push_back(Effect::Changed);
            }
            election::Output::Ignored { from, what, why } => {
                self.effects.push_back(Effect::Trace(Trace::Ignored(from, what, why)));
            }
        }
    }

    fn on_entry(&mut self, now: Now, entry: Entry) {
        match &entry.payload {
            Payload::Noop | Payload::Voters(_) => self.map.pass(entry.index),
            Payload::Command(bytes) => {
                let Ok(command) = Command::decode(bytes) else {
                    return self.refuse_format(entry.index);
                };
                let outcome = self.map.apply(entry.index, &command);
                if let Ok(changes) = &outcome {
                    marks::applies(&mut self.marks, &command, changes, &self.map);
                }
                if let Some(controller) = &mut self.controller {
                    let input = controller::Input::Applied(&command, &outcome);
                    controller.handle(now, &self.map, input);
                }
            }
        }
        self.broker.handle(now, &self.map, broker::Input::Applied);
        let since = entry.index.0 - self.raft.snapshot().index.0;
        self.effects.push_back(Effect::Trace(Trace::Applied(entry)));
        self.effects.push_back(Effect::Changed);
        if since >= self.snapshot_every {
            self.raft.compact(self.map.applied(), self.map.encode().into());
        }
    }

    fn on_snapshot(&mut self, now: Now, snapshot: &Snapshot) {
        match Map::decode(&snapshot.data) {
            Ok(map) if map.applied() == snapshot.index => self.map = map,
            Ok(_) | Err(_) => return self.refuse_format(snapshot.index),
        }
        self.broker.handle(now, &self.map, broker::Input::Applied);
        self.effects.push_back(Effect::Trace(Trace::Restored(snapshot.index)));
        self.effects.push_back(Effect::Changed);
    }

    fn refuse_format(&mut self, index: Index) {
        self.effects.push_back(Effect::Refuse(format!(
            "the cluster map at {index} is in a format that this version does not know: start this \
             node with the version that the other nodes run"
        )));
    }

    fn on_controller_output(&mut self, now: Now, output: controller::Output) {
        marks::controls(&mut self.marks, &output);
        match output {
            controller::Output::Propose(command) => {
                // Refused or lost, it is proposed again.
                let _ = self.raft.propose(now.mono, command.encode().into());
            }
            controller::Output::Answer(node, message) if node == self.me.node => {
                self.broker.handle(now, &self.map, broker::Input::Answer(message));
            }
            controller::Output::Answer(node, message) => {
                self.effects.push_back(Effect::SendNode(node, Message::Controller(message)));
            }
            controller::Output::Reply(id, result) => {
                self.effects.push_back(Effect::Answer(id, result));
            }
            controller::Output::Ignored(..) => {}
            controller::Output::Notice(severity, text) => {
                self.effects.push_back(Effect::Notice(severity, text));
            }
        }
    }

    fn on_broker_output(&mut self, now: Now, output: broker::Output) {
        match output {
            broker::Output::Send(node, message) if node == self.me.node => {
                self.on_broker(now, node, message);
            }
            broker::Output::Send(node, message) => {
                self.effects.push_back(Effect::SendNode(node, Message::Broker(message)));
            }
            broker::Output::Standing(_) => self.effects.push_back(Effect::Changed),
            broker::Output::AlterRefused { partition, partition_epoch, why } => {
                self.effects.push_back(Effect::AlterRefused { partition, partition_epoch, why });
            }
            broker::Output::MayStop => self.may_stop = true,
            broker::Output::Refused(text) => self.effects.push_back(Effect::Refuse(text)),
            broker::Output::Notice(severity, text) => {
                self.effects.push_back(Effect::Notice(severity, text));
            }
        }
    }

    /// A leader of the quorum is the controller once it has applied an entry of its own term, and so
    /// all that earlier leaders committed.
    fn hold_office(&mut self, now: Now) -> bool {
        let knows_all = self.raft.term_at(self.raft.applied()) == Some(self.raft.term());
        if self.controller.is_some() || self.raft.role() != Role::Leader || !knows_all {
            return false;
        }
        self.controller = Some(Controller::new(now, &self.map, self.settings.clone()));
        self.voters_at = now.mono.after(VOTERS_EVERY);
        true
    }

    fn mend_voters(&mut self, now: Now) {
        for change in voters::changes(self.raft.voters(), &self.map, self.me) {
            // It may be too early, or the member may lag: it is looked at again.
            if self.raft.change_voters(now.mono, change).is_ok() {
                return self.marks.hit(match change {
                    VoterChange::Add(_) => Mark::VoterAdded,
                    VoterChange::Remove(_) => Mark::VoterRemoved,
                });
            }
        }
    }

    /// A stopping leader hands the quorum over to the voter that has most of the log.
    fn hand_over(&mut self, now: Now) -> bool {
        let busy = self.raft.role() != Role::Leader || self.raft.transferring().is_some();
        if !self.stopping || busy || !self.may_stop {
            return false;
        }
        let others = self.raft.members().into_iter().filter(|m| m.voter && m.linked);
        let Some(next) = others.max_by_key(|m| m.durable) else { return false };
        self.raft.transfer(now.mono, next.member.node).is_ok()
    }
}
