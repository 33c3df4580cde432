//! What operators ask for, and what they are told.
//!
//! A request becomes one command. It is answered when that is applied; if it is not within the
//! proposal timeout, or the controller leaves office first, the outcome is unknown and the answer
//! says so. It is never made again: a second time it could be another operator's opposite.

use alloc::format;
use alloc::vec::Vec;
use core::fmt;

use super::super::command::{Command, Reassign, Right};
use super::super::map::Map;
use super::super::refusal::{Field, Refusal};
use super::super::words::Life;
use super::{Controller, Output};
use crate::limits::{OPERATOR_REQUESTS_MAX, REPLICAS_MAX};
use crate::shard::Severity;
use crate::{Index, Instant, NodeId, Now, PartitionId};

/// A request: the node that brings it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// Where the operator is answered.
    pub asker: NodeId,
    /// Never used again by that node, by none of its lives.
    pub number: u64,
}

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Request {
    /// Let this replica lead though it is not in sync, since nobody in sync comes back:
    /// acknowledged writes may be lost.
    ElectUnclean(PartitionId, NodeId),
    /// Let this replica lead, which is in sync.
    MoveLeader(PartitionId, NodeId),
    /// Let these be the replicas of the partition, the preferred leader first.
    Reassign(PartitionId, Vec<NodeId>),
    /// I know that acknowledged writes of the partition may be missing.
    AcceptLoss(PartitionId),
    /// The node will not come back.
    Unregister(NodeId),
    /// Use this feature level.
    SetFeature(u32),
}

/// What an operator is told.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, thiserror::Error,
)]
pub enum RequestError {
    /// The map refused it; nothing was changed.
    #[error("{0}")]
    Refused(Refusal),
    /// Too many requests are under way; nothing was changed.
    #[error("too many requests at a time")]
    TooMany,
    /// Nobody who could do it was reached; nothing was changed.
    #[error("no controller was reached")]
    NoController,
    /// It was not applied in time. It may be yet.
    #[error("the outcome is unknown: it was not committed in time, and may be yet")]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    request: Request,
    /// What is under way for it, behind this entry: the same may stand before, from somebody else, and be
    /// undone already where this node is not the controller any more.
    command: Command,
    after: Index,
    /// A part of it is done: it can not be said any more that nothing was changed.
    begun: bool,
    pub(super) until: Instant,
}

/// As it is typed behind `kvnode cluster`.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ElectUnclean(partition, node) => write!(f, "elect {partition} {node} --unclean"),
            Self::MoveLeader(partition, node) => write!(f, "move {partition} {node}"),
            Self::Reassign(partition, replicas) => {
                write!(f, "reassign {partition}")?;
                replicas.iter().try_for_each(|node| write!(f, " {node}"))
            }
            Self::AcceptLoss(partition) => write!(f, "accept-loss {partition}"),
            Self::Unregister(node) => write!(f, "forget {node}"),
            Self::SetFeature(level) => write!(f, "feature {level}"),
        }
    }
}

impl Controller {
    /// Leaves office: the answers that were not handed over yet, and the requests whose outcome
    /// nobody here will know.
    pub fn leave_office(mut self) -> impl Iterator<Item = (RequestId, Result<(), RequestError>)> {
        let answers = core::mem::take(&mut self.outputs).into_iter();
        let answers = answers.filter_map(|output| match output {
            Output::Reply(id, answer) => Some((id, answer)),
            Output::Propose(_) | Output::Answer(..) | Output::Ignored(..) | Output::Notice(..) => {
                None
            }
        });
        answers.chain(self.requests.into_keys().map(|id| (id, Err(RequestError::Unknown))))
    }

    pub(super) fn on_request(
        &mut self,
        now: Now,
        map: &Map,
        (id, after): (RequestId, Index),
        request: Request,
    ) {
        if self.requests.len() >= OPERATOR_REQUESTS_MAX || self.requests.contains_key(&id) {
            return self.reply(id, Err(RequestError::TooMany));
        }
        match self.command_for(map, &request) {
            Ok(command) => {
                self.notice(Severity::Warn, format!("an operator asks: {request}"));
                self.outputs.push_back(Output::Propose(command.clone()));
                let until = now.mono.after(self.settings.proposal_timeout);
                self.requests.insert(id, Pending { request, command, after, begun: false, until });
            }
            Err(refusal) => self.reply(id, Err(RequestError::Refused(refusal))),
        }
    }

    fn command_for(&self, map: &Map, request: &Request) -> Result<Command, Refusal> {
        let elect = |id: PartitionId, node: NodeId, right| {
            let life = self.life(map, node)?;
            map.partition(id).ok_or(Refusal::UnknownPartition)?;
            Ok(Command::ElectLeader(self.election(map, id, life, right)))
        };
        match *request {
            Request::ElectUnclean(id, node) => elect(id, node, Right::Operator),
            Request::MoveLeader(id, node) => match Self::preference(map, id, node) {
                Some(command) => Ok(command),
                None => elect(id, node, Right::InSync),
            },
            Request::Reassign(partition, ref replicas) => {
                let entry = map.partition(partition).ok_or(Refusal::UnknownPartition)?;
                if replicas.len() > REPLICAS_MAX {
                    return Err(Refusal::OutOfBounds(Field::Replicas));
                }
                let partition_epoch = entry.partition_epoch;
                Ok(Command::Reassign(Reassign {
                    partition,
                    partition_epoch,
                    replicas: replicas.clone(),
                }))
            }
            Request::AcceptLoss(partition) => Ok(Command::AcceptLoss(partition)),
            Request::Unregister(node) => Ok(Command::Unregister(node)),
            Request::SetFeature(level) => Ok(Command::SetFeature(level)),
        }
    }

    fn life(&self, map: &Map, node: NodeId) -> Result<Life, Refusal> {
        map.node(node).map(|n| n.life()).ok_or(Refusal::UnknownNode(node))
    }

    /// Whom an operator had lead the partition is its preferred leader, or it would not stay.
    fn preference(map: &Map, partition: PartitionId, node: NodeId) -> Option<Command> {
        let held = map.partition(partition).filter(|held| held.leader == Some(node))?;
        if held.replicas.first() == Some(&node) {
            return None;
        }
        let rest = held.replicas.iter().copied().filter(|&replica| replica != node);
        let replicas = core::iter::once(node).chain(rest).collect();
        let partition_epoch = held.partition_epoch;
        Some(Command::Reassign(Reassign { partition, partition_epoch, replicas }))
    }

    pub(super) fn settle_requests(
        &mut self,
        map: &Map,
        command: &Command,
        outcome: Result<(), Refusal>,
    ) {
        let settled =
            |pending: &Pending| pending.after < map.applied() && pending.command == *command;
        let mut pending = self.requests.iter_mut().filter(|(_, pending)| settled(pending));
        let Some((&id, first)) = pending.next() else { return };
        first.begun |= outcome.is_ok();
        // What was refused for what has changed meanwhile is tried again until it is given up.
        let may_be_done = outcome.err().is_none_or(Refusal::is_lost_race);
        if let Request::MoveLeader(partition, node) = first.request
            && may_be_done
            && let Some(next) = Self::preference(map, partition, node)
        {
            first.command = next.clone();
            return self.outputs.push_back(Output::Propose(next));
        }
        let is_done = first.begun || may_be_done && is_done(map, &first.request);
        self.requests.remove(&id);
        self.reply(id, if is_done { Ok(()) } else { outcome.map_err(RequestError::Refused) });
    }

    pub(super) fn give_up_requests(&mut self, now: Now) {
        let due = |pending: &Pending| pending.until <= now.mono;
        let ids: Vec<_> =
            self.requests.iter().filter(|(_, pending)| due(pending)).map(|(&id, _)| id).collect();
        for id in ids {
            self.requests.remove(&id);
            self.reply(id, Err(RequestError::Unknown));
        }
    }

    fn reply(&mut self, id: RequestId, outcome: Result<(), RequestError>) {
        self.outputs.push_back(Output::Reply(id, outcome));
    }
}

/// Whether all that was asked for was done by another, who asked for the same.
fn is_done(map: &Map, request: &Request) -> bool {
    let &Request::MoveLeader(partition, node) = request else { return false };
    let held = map.partition(partition);
    held.is_some_and(|p| p.leader == Some(node) && p.replicas.first() == Some(&node))
}
