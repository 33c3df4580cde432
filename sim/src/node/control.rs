//! What a node's control does: links with other nodes, the quorum's trace, and what it tells the shard.

use kvnode_core::cluster::controller::RequestError;
use kvnode_core::control::{Control, Input, Output, Trace};
use kvnode_core::node::{ToControl, ToShard};
use kvnode_core::{ClientId, peer};

use super::hops::ForShard;
use super::process::Process;
use crate::lock;
use crate::quorum::watch::Watch;
use crate::quorum::{describe, replicas};
use crate::story::{Kind, Lane, Life};

impl Process {
    /// Takes the effects, and lets the checkers see what happened, in its order.
    pub(super) fn collect(&mut self) {
        let mut turns = 0;
        while let Some(output) = self.control.as_mut().and_then(Control::poll) {
            turns += 1;
            if turns > OUTPUTS_MAX {
                let text = format!("n{} gives {turns} outputs in a turn", self.id);
                self.world.violation("bounded", text);
                self.ended = true;
                return;
            }
            if let Output::Trace(trace) = output {
                self.on_trace(trace);
            } else {
                self.pending.push_back(output);
            }
        }
        self.look();
    }

    /// The checkers look at what has become of the node.
    fn look(&mut self) {
        let Some(control) = &self.control else { return };
        let mono = self.world.node_now(self.id).mono;
        let found = lock(&self.world.watch).look(self.id, mono, control);
        self.world.found(found);
        self.world.mark(control.marks());
        if let Some(raft) = control.raft()
            && !self.is_member
        {
            self.is_member = true;
            lock(&self.world.atlas).knows(self.id, raft.me());
            self.world.serves(self.id, 0);
            self.world.tell(self.lane(), Kind::Life, 2, || format!("{}: a member", Life::Serves));
        }
    }

    pub(super) fn on_control(&mut self, output: Output) {
        let lane = self.lane();
        match output {
            Output::Disk(io, op) => self.submit(io, op),
            Output::Peer(output) => {
                if let peer::Output::Write(conn, bytes) = &output {
                    self.world.note((self.id, conn, bytes));
                }
                self.world.on_peer_output(&self.mailboxes, self.id, output);
            }
            Output::Shard(ToShard::View(view)) => {
                self.world.note((self.id, view.quorum.term, view.quorum.applied));
                if self.shard.is_some() {
                    return self.tell_shard(ForShard::Said(ToShard::View(view)));
                }
                let Some(me) = view.life else { return };
                for alter in replicas::wanted(&view.map, me) {
                    self.hand_control(Input::Shard(ToControl::Alter(alter)));
                }
            }
            Output::Shard(ToShard::Leaving) if self.shard.is_none() => {
                self.hand_control(Input::Shard(ToControl::Left));
            }
            Output::Shard(ToShard::Answered(client, outcome)) => self.on_answered(client, outcome),
            Output::Shard(said) => self.tell_shard(ForShard::Said(said)),
            Output::Refused(why) => self.refuse(why),
            // After a refusal it is no clean stop.
            Output::Stopped if self.ended => {}
            // What is led was handed over: now the shard.
            Output::Stopped if self.shard.is_some() => {
                self.control = None;
                self.world.hang_up(self.id);
                self.tell_shard(ForShard::Stop);
            }
            Output::Stopped => {
                self.world.tell(lane, Kind::Life, 3, || {
                    format!("{}: everything is durable", Life::Stops)
                });
                self.world.stopped(self.id);
                self.end();
            }
            Output::Trace(_) => unreachable!("it was collected"),
            Output::Notice(severity, text) => self.notice(severity, &text),
        }
    }

    /// An operator is told what became of a request: none of the simulator's other clients asks.
    fn on_answered(&self, client: ClientId, outcome: Result<(), RequestError>) {
        if outcome.is_ok() {
            self.world.injected(crate::plan::Class::Ask);
        }
        let text = match outcome {
            Ok(()) => "done".to_owned(),
            Err(error) => error.to_string(),
        };
        self.world.tell(self.lane(), Kind::Call, (client, &text), || {
            format!("answers the operator {}: {text}", client.0)
        });
        let found = lock(&self.world.watch).answered(client, outcome);
        self.world.found(found);
    }

    fn on_trace(&mut self, trace: Trace) {
        let (world, lane) = (&self.world, self.lane());
        match trace {
            Trace::Became(role, term, leader) => {
                world.tell(lane, Kind::Role, (role, term, leader), || {
                    let leader = leader.map(|id| format!(", led by {id}")).unwrap_or_default();
                    format!("{role:?} in {term}{leader}")
                });
            }
            Trace::Applied(entry) => {
                world.tell(lane, Kind::Role, (entry.index, entry.term), || {
                    format!("applies {}", describe::entry(&entry))
                });
                let found = lock(&world.watch).applied(self.id, &entry);
                world.found(found);
            }
            Trace::Restored(index) => {
                world.tell(lane, Kind::Role, index, || format!("begins from the map at {index}"));
            }
            Trace::Ignored(from, what, why) => {
                world.tell(lane, Kind::Notice, (from, what, why), || {
                    format!("ignores {what} of {from}: {why}")
                });
                world.found(Watch::ignored(self.id, what, why));
            }
            Trace::Sent(to, message, sent) => {
                let words =
                    if sent && world.keeps() { describe::message(&message) } else { String::new() };
                let (number, found) = lock(&world.watch).sent(self.id, to.0, message, sent);
                world.found(found);
                if sent {
                    let end = (number, Lane::Node(to.0));
                    world.tell_message(lane, Kind::Send, end, (), || words);
                }
            }
            Trace::Received(from, message) => {
                let now = world.node_now(self.id).mono;
                let (number, found) = lock(&world.watch).received(self.id, from, &message, now);
                world.found(found);
                let end = (number, Lane::Node(from.node.0));
                world.tell_message(lane, Kind::Receive, end, (), || describe::message(&message));
            }
            Trace::BeganAgain => {
                world.tell(lane, Kind::Role, 9, || "begins again from its store".to_owned());
                self.is_member = false;
            }
        }
    }
}

/// Most outputs of control in one turn.
const OUTPUTS_MAX: usize = 20_000;
