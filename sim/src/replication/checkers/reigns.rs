//! One leader, in one life, an epoch and partition (PacificA §2: a configuration has one primary;
//! DESIGN §4): a node that led and came back leads in another epoch.

use std::collections::BTreeMap;

use kvnode_core::{Epoch, PartitionId};

use super::Found;

/// Who has led when.
#[derive(Default)]
pub(crate) struct Reigns(BTreeMap<(PartitionId, Epoch), (u32, u64)>);

impl Reigns {
    /// A node leads, in this life of its process.
    pub(crate) fn leads(
        &mut self,
        partition: PartitionId,
        epoch: Epoch,
        (node, life): (u32, u64),
    ) -> Option<Found> {
        let known = *self.0.entry((partition, epoch)).or_insert((node, life));
        (known != (node, life)).then(|| {
            let text = format!(
                "n{node} (life {life}) leads {partition} in {epoch}, as n{} (life {}) did",
                known.0, known.1
            );
            ("one leader an epoch", text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_an_epoch_are_seen() {
        let (p, mut reigns) = (PartitionId(0), Reigns::default());
        assert_eq!(reigns.leads(p, Epoch(3), (1, 1)), None);
        assert_eq!(reigns.leads(p, Epoch(3), (1, 1)), None);
        assert_eq!(reigns.leads(p, Epoch(4), (2, 2)), None);
        assert_eq!(reigns.leads(PartitionId(1), Epoch(3), (2, 2)), None, "another partition");
        assert!(reigns.leads(p, Epoch(3), (2, 2)).is_some());
        assert!(reigns.leads(p, Epoch(3), (1, 5)).is_some(), "in another life");
    }
}
