//! One leader an epoch and partition, and one beginning (PacificA §2: a configuration has one primary;
//! DESIGN §4): a node that led and came back leads in another epoch. Two beginnings of one node could lie
//! at two places of its log, and who has records of the first would take them for the second's.

use std::collections::BTreeMap;

use kvnode_core::{Epoch, PartitionId};

use super::Found;

/// Who has led when.
#[derive(Default)]
pub(crate) struct Reigns(BTreeMap<(PartitionId, Epoch), (u32, u64)>);

impl Reigns {
    /// A node begins to lead, in this life of its process.
    pub(crate) fn begins(
        &mut self,
        partition: PartitionId,
        epoch: Epoch,
        (node, life): (u32, u64),
    ) -> Option<Found> {
        let (other, then) = self.0.insert((partition, epoch), (node, life))?;
        let text = format!(
            "n{node} (life {life}) begins to lead {partition} in {epoch}, as n{other} (life {then}) did"
        );
        Some(("one leader an epoch", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_beginnings_of_an_epoch_are_seen() {
        let (p, mut reigns) = (PartitionId(0), Reigns::default());
        assert_eq!(reigns.begins(p, Epoch(3), (1, 1)), None);
        assert_eq!(reigns.begins(p, Epoch(4), (2, 2)), None);
        assert_eq!(reigns.begins(PartitionId(1), Epoch(3), (2, 2)), None, "another partition");
        assert!(reigns.begins(p, Epoch(3), (2, 2)).is_some());
        assert!(reigns.begins(p, Epoch(4), (2, 5)).is_some(), "in another life");
        assert!(reigns.begins(p, Epoch(4), (2, 5)).is_some(), "once more");
    }
}
