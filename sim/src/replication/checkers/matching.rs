//! Two logs with a record of the same offset and epoch are the same up to there (Raft §5.3, Log
//! Matching; KIP-101 tells how logs that are not come about).
//!
//! It is enough that an offset and an epoch name one record and one predecessor: the rest follows by
//! induction. The predecessor is named by its epoch.

use std::collections::BTreeMap;

use kvnode_core::{Epoch, Offset, PartitionId};

use super::Found;
use crate::replication::log::{Content, Entry};

/// Every record that any log has ever held: what it says, and the epoch before it.
#[derive(Default)]
pub(crate) struct LogMatching(BTreeMap<(PartitionId, Offset, Epoch), (Content, Option<Epoch>)>);

impl LogMatching {
    /// A log holds a record behind one of the epoch `before`, if that is known.
    pub(crate) fn holds(
        &mut self,
        who: &str,
        (partition, offset): (PartitionId, Offset),
        entry: Entry,
        before: Option<Epoch>,
    ) -> Option<Found> {
        let key = (partition, offset, entry.epoch);
        let known = self.0.entry(key).or_insert((entry.content, before));
        let other = matches!((known.1, before), (Some(a), Some(b)) if a != b);
        known.1 = known.1.or(before);
        (!known.0.is(&entry.content) || other).then(|| {
            let what = if other { "behind another record" } else { "with another content" };
            let at = format_args!("{partition}:{}@{}", offset.0, entry.epoch).to_string();
            ("log matching", format!("{who} holds {at} {what} than was seen before"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::log::forge::entry;

    #[test]
    fn one_place_and_epoch_with_two_contents_or_two_pasts_is_seen() {
        let mut logs = LogMatching::default();
        let mut holds = |offset, epoch, value, before: Option<u32>| {
            let (offset, entry) = entry(offset, epoch, value);
            logs.holds("n1", (PartitionId(0), offset), entry, before.map(Epoch)).is_some()
        };
        assert!(!holds(7, 3, 1, None));
        assert!(!holds(7, 3, 1, Some(2)));
        assert!(!holds(7, 4, 2, Some(2)), "another epoch");
        assert!(holds(7, 3, 2, Some(2)), "another content");
        assert!(holds(7, 3, 1, Some(1)), "another past");
    }
}
