//! Changes of in-sync sets that this node's leaders want: one for each partition, said until the
//! map has moved on.

use super::super::command::AlterPartition;
use super::super::map::Map;
use super::super::message::BrokerMessage;
use super::super::refusal::Refusal;
use super::super::words::PartitionEpoch;
use super::{Backoff, Broker, Output};
use crate::{Instant, NodeId, Now, PartitionId};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    alter: AlterPartition,
    again: Backoff,
}

impl Broker {
    pub(super) fn want(&mut self, alter: AlterPartition) {
        let asked = self.wanted.get(&alter.partition).is_some_and(|known| known.alter == alter);
        if !asked {
            let again = Backoff::new(self.settings.retry.0);
            self.wanted.insert(alter.partition, Wanted { alter, again });
        }
    }

    /// The quorum has another leader, who has heard nothing yet.
    pub(super) fn want_at_once(&mut self) {
        for wanted in self.wanted.values_mut() {
            wanted.again = Backoff::new(self.settings.retry.0);
        }
    }

    pub(super) fn alter_due(&self) -> Option<Instant> {
        self.wanted.values().map(|wanted| wanted.again.due()).min()
    }

    /// Forgets what the map has decided in one way or the other. A map that is behind what the
    /// leader has seen has decided nothing.
    pub(super) fn drop_settled_alters(&mut self, map: &Map) {
        let open = |alter: &AlterPartition| {
            map.partition(alter.partition).is_some_and(|p| {
                p.partition_epoch < alter.partition_epoch
                    || p.partition_epoch == alter.partition_epoch && p.leader == Some(alter.leader)
            })
        };
        self.wanted.retain(|_, wanted| open(&wanted.alter));
    }

    pub(super) fn on_alter_refused(
        &mut self,
        map: &Map,
        partition: PartitionId,
        partition_epoch: PartitionEpoch,
        why: Refusal,
    ) {
        let asked = self.wanted.get(&partition).map(|wanted| wanted.alter.partition_epoch);
        if asked != Some(partition_epoch) {
            return;
        }
        // A controller whose map is behind may refuse what is not stale; then it is said again.
        let behind = why == Refusal::StalePartitionEpoch
            && map.partition(partition).is_some_and(|p| p.partition_epoch <= partition_epoch);
        if !behind {
            self.wanted.remove(&partition);
            self.outputs.push_back(Output::AlterRefused { partition, partition_epoch, why });
        }
    }

    pub(super) fn say_alters(&mut self, now: Now, leader: NodeId) {
        let most = self.settings.retry.1;
        for wanted in self.wanted.values_mut() {
            if wanted.again.take(now.mono, most, &mut self.random) {
                let message = BrokerMessage::Alter(wanted.alter.clone());
                self.outputs.push_back(Output::Send(leader, message));
            }
        }
    }
}
