//! Proposals under way: each once, until it is applied or was not for too long.
//!
//! A proposal that was refused because the partition or the node had changed in between is made
//! again at once, if it is still called for. Any other refusal holds the same proposal back for a moment, so that
//! a rule which the map does not share costs an entry now and then, not the whole log.

use core::time::Duration;

use super::super::command::{AlterPartition, Command};
use super::super::map::{Changes, Map};
use super::super::message::{ControllerMessage, RegisterRefusal};
use super::super::refusal::Refusal;
use super::super::words::Registration;
use super::{Controller, Ignored, Output};
use crate::limits::PROPOSALS_MAX;
use crate::{Instant, NodeId, Now, PartitionId};

/// What a proposal is about. Elections come last in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    Found,
    Place,
    Register(NodeId),
    Unfence(NodeId),
    Fence(NodeId),
    Alter(PartitionId),
    Elect(PartitionId),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct UnderWay {
    command: Command,
    /// When it is no longer waited for.
    pub(super) until: Instant,
}

/// For how long a refused proposal is held back.
const HOLD: Duration = Duration::from_millis(100);

impl Controller {
    /// Proposes it unless one about the same is under way.
    pub(super) fn propose(&mut self, now: Now, key: Key, command: Command) -> Result<(), Ignored> {
        if self.under_way.contains_key(&key) {
            return Err(Ignored::UnderWay);
        }
        if self.under_way.len() >= PROPOSALS_MAX {
            return Err(Ignored::Busy);
        }
        let until = now.mono.after(self.settings.proposal_timeout);
        self.outputs.push_back(Output::Propose(command.clone()));
        self.under_way.insert(key, UnderWay { command, until });
        Ok(())
    }

    pub(super) fn is_under_way(&self, key: Key) -> bool {
        self.under_way.contains_key(&key)
    }

    pub(super) fn elections_under_way(&self) -> bool {
        self.under_way.keys().next_back().copied().is_some_and(is_election)
    }

    pub(super) fn give_up_proposals(&mut self, now: Now, map: &Map) {
        let before = self.under_way.len();
        self.under_way.retain(|_, under_way| under_way.until > now.mono);
        if self.under_way.len() < before {
            self.look_at_all(now, map);
        }
    }

    /// An entry was applied: what it settles, and what it calls for.
    pub(super) fn on_applied(
        &mut self,
        now: Now,
        map: &Map,
        command: &Command,
        outcome: &Result<Changes, Refusal>,
    ) {
        self.settle_requests(
            map,
            command,
            outcome.as_ref().map(|_| ()).map_err(|&refusal| refusal),
        );
        let key = key_of(command);
        let own = key.filter(|key| self.under_way.get(key).is_some_and(|u| u.command == *command));
        if let Some(key) = own {
            self.under_way.remove(&key);
        }
        match outcome {
            Ok(changes) => {
                self.dirty.extend(&changes.partitions);
                for &node in &changes.nodes {
                    self.on_node_changed(now, map, node);
                }
                if own.is_some_and(is_election) && !self.elections_under_way() {
                    self.look_at_stopping(now, map);
                }
            }
            Err(refusal) => {
                if let Some(key) = own {
                    self.on_refused(now, command, key, *refusal);
                }
            }
        }
    }

    fn on_refused(&mut self, now: Now, command: &Command, key: Key, refusal: Refusal) {
        match command {
            Command::Register(registration) => {
                self.refuse_registration(registration, RegisterRefusal::Map(refusal));
            }
            Command::AlterPartition(alter) => self.refuse_alter(alter, refusal),
            Command::ElectLeader(elect) if refusal.is_lost_race() => {
                self.dirty.insert(elect.partition);
            }
            Command::Unfence(_) | Command::Fence(_) if refusal.is_lost_race() => {}
            Command::Found(_)
            | Command::Unfence(_)
            | Command::Fence(_)
            | Command::CreatePartitions(_)
            | Command::ElectLeader(_)
            | Command::Reassign(_)
            | Command::AcceptLoss(_)
            | Command::Unregister(_)
            | Command::SetFeature(_) => {
                let held = UnderWay { command: command.clone(), until: now.mono.after(HOLD) };
                self.under_way.insert(key, held);
            }
        }
    }

    /// A leader's change of its in-sync set is checked before it costs an entry; the map checks it
    /// again.
    pub(super) fn on_alter(&mut self, now: Now, map: &Map, from: NodeId, alter: AlterPartition) {
        if alter.leader != from {
            return self.ignore(from, Ignored::WrongSender);
        }
        if let Err(refusal) = map.check_alter(&alter) {
            return self.refuse_alter(&alter, refusal);
        }
        let key = Key::Alter(alter.partition);
        if let Err(ignored) = self.propose(now, key, Command::AlterPartition(alter)) {
            self.ignore(from, ignored);
        }
    }

    fn refuse_alter(&mut self, alter: &AlterPartition, why: Refusal) {
        let AlterPartition { partition, partition_epoch, .. } = *alter;
        let answer = ControllerMessage::AlterRefused { partition, partition_epoch, why };
        self.outputs.push_back(Output::Answer(alter.leader, answer));
    }

    pub(super) fn refuse_registration(&mut self, r: &Registration, why: RegisterRefusal) {
        let answer = ControllerMessage::RegisterRefused { nonce: r.nonce, why };
        self.outputs.push_back(Output::Answer(r.node, answer));
    }

    pub(super) fn ignore(&mut self, from: NodeId, why: Ignored) {
        self.outputs.push_back(Output::Ignored(from, why));
    }
}

fn is_election(key: Key) -> bool {
    key >= Key::Elect(PartitionId(0))
}

/// What a command of the controller's own is about; operators' commands are kept apart.
fn key_of(command: &Command) -> Option<Key> {
    match command {
        Command::Found(_) => Some(Key::Found),
        Command::CreatePartitions(_) => Some(Key::Place),
        Command::Register(registration) => Some(Key::Register(registration.node)),
        Command::Unfence(life) => Some(Key::Unfence(life.node)),
        Command::Fence(life) => Some(Key::Fence(life.node)),
        Command::AlterPartition(alter) => Some(Key::Alter(alter.partition)),
        Command::ElectLeader(elect) => Some(Key::Elect(elect.partition)),
        Command::Reassign(_)
        | Command::AcceptLoss(_)
        | Command::Unregister(_)
        | Command::SetFeature(_) => None,
    }
}
