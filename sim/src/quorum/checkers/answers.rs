//! An operator that is told "done" is told the truth: what was asked for was committed after it was
//! asked for. And nobody is answered twice.

use std::collections::BTreeMap;

use kvnode_core::cluster::controller::{Request, RequestError};
use kvnode_core::cluster::{Command, Right};
use kvnode_core::{ClientId, Index};

use super::Found;

/// What operators have asked for and were not answered yet, and what was committed.
#[derive(Default)]
pub(crate) struct Answers {
    asked: BTreeMap<ClientId, (Request, Index)>,
    committed: BTreeMap<Index, Command>,
    last: Index,
    operators: u64,
}

impl Answers {
    /// An operator, who asks for one thing.
    pub(crate) fn operator(&mut self) -> ClientId {
        self.operators += 1;
        ClientId(self.operators)
    }

    /// An operator asks for something.
    pub(crate) fn asks(&mut self, client: ClientId, request: &Request) {
        self.asked.insert(client, (request.clone(), self.last));
    }

    /// A command is known to be committed.
    pub(crate) fn committed(&mut self, index: Index, command: Command) {
        self.committed.insert(index, command);
        self.last = self.last.max(index);
    }

    /// The operator is answered.
    pub(crate) fn answered(
        &mut self,
        client: ClientId,
        outcome: Result<(), RequestError>,
    ) -> Option<Found> {
        let Some((request, since)) = self.asked.remove(&client) else {
            return Some(("answers", format!("the operator {} is answered again", client.0)));
        };
        let mut after = self.committed.range(Index(since.0 + 1)..);
        let is_true = outcome.is_err() || after.any(|(_, command)| does(command, &request));
        (!is_true).then(|| ("answers", format!("{request} is said to be done, and is not")))
    }
}

/// Whether the command is what the request asks for.
fn does(command: &Command, request: &Request) -> bool {
    match (command, request) {
        (Command::ElectLeader(elect), &Request::ElectUnclean(partition, node)) => {
            (elect.partition, elect.leader.node, elect.right) == (partition, node, Right::Operator)
        }
        (Command::ElectLeader(elect), &Request::MoveLeader(partition, node)) => {
            (elect.partition, elect.leader.node, elect.right) == (partition, node, Right::InSync)
        }
        // Who leads already becomes the preferred leader.
        (Command::Reassign(reassign), &Request::MoveLeader(partition, node)) => {
            (reassign.partition, reassign.replicas.first()) == (partition, Some(&node))
        }
        (Command::Reassign(reassign), Request::Reassign(partition, replicas)) => {
            (&reassign.partition, &reassign.replicas) == (partition, replicas)
        }
        (Command::AcceptLoss(of), Request::AcceptLoss(partition)) => of == partition,
        (Command::Unregister(of), Request::Unregister(node)) => of == node,
        (Command::SetFeature(to), Request::SetFeature(level)) => to == level,
        (
            Command::Found(_)
            | Command::Register(_)
            | Command::Unfence(_)
            | Command::Fence(_)
            | Command::CreatePartitions(_)
            | Command::AlterPartition(_)
            | Command::ElectLeader(_)
            | Command::Reassign(_)
            | Command::AcceptLoss(_)
            | Command::Unregister(_)
            | Command::SetFeature(_),
            _,
        ) => false,
    }
}

#[cfg(test)]
mod tests {
    use kvnode_core::PartitionId;

    use super::*;

    #[test]
    fn done_is_said_once_and_of_what_was_committed_since() {
        let (client, other) = (ClientId(1), ClientId(2));
        let request = Request::AcceptLoss(PartitionId(0));
        let command = |id| Command::AcceptLoss(PartitionId(id));
        let mut answers = Answers::default();
        answers.committed(Index(4), command(0));
        answers.asks(client, &request);
        answers.asks(other, &request);
        answers.committed(Index(5), command(1));
        assert!(answers.answered(client, Ok(())).is_some(), "another, and one from before");
        answers.committed(Index(6), command(0));
        assert_eq!(answers.answered(other, Ok(())), None);
        assert!(answers.answered(other, Ok(())).is_some(), "twice");
        answers.asks(client, &request);
        assert_eq!(answers.answered(client, Err(RequestError::Unknown)), None);
    }
}
