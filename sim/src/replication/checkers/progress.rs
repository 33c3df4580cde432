//! What all who are in sync have acknowledged becomes committed, within a bound, while the leader and they
//! are well: nobody else is waited for (KIP-497: who has left the in-sync set holds nothing up).

use std::collections::BTreeMap;

use kvnode_core::cluster::PartitionEpoch;
use kvnode_core::{Epoch, Offset, PartitionId};

use super::Found;

/// A partition at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The reign, and the version of its in-sync set.
    pub(crate) version: (Epoch, PartitionEpoch),
    /// The leader's watermark.
    pub(crate) watermark: Offset,
    /// What all in sync have acknowledged.
    pub(crate) end: Offset,
}

/// What each partition has to commit, and since when.
#[derive(Debug, Default)]
pub(crate) struct Progress(BTreeMap<PartitionId, (Standing, u64)>);

impl Progress {
    /// How a partition stands now, with since when all whom it takes are well, and how long it may take
    /// (in ns); none if something is in the way.
    pub(crate) fn look(
        &mut self,
        partition: PartitionId,
        now_ns: u64,
        standing: Option<(u64, u64, Standing)>,
    ) -> Option<Found> {
        let Some((sound_ns, bound_ns, now)) = standing else {
            self.0.remove(&partition);
            return None;
        };
        let (due, since_ns) = *self.0.entry(partition).or_insert((now, now_ns));
        if due.version != now.version || now.watermark >= due.end {
            self.0.insert(partition, (now, now_ns));
            return None;
        }
        let waited_ns = now_ns.saturating_sub(since_ns.max(sound_ns));
        if waited_ns < bound_ns {
            return None;
        }
        self.0.remove(&partition);
        let (reign, _) = now.version;
        let text = format!(
            "{partition} is committed to {} in {reign}, and all in sync have acknowledged {} for {} ms",
            now.watermark.0,
            due.end.0,
            waited_ns / 1_000_000
        );
        Some(("watermark", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId(0);

    fn at(version: u64, watermark: u64, end: u64) -> Option<(u64, u64, Standing)> {
        let version = (Epoch(1), PartitionEpoch(version));
        let standing = Standing { version, watermark: Offset(watermark), end: Offset(end) };
        Some((0, 10, standing))
    }

    #[test]
    fn a_watermark_that_stands_is_seen() {
        let mut progress = Progress::default();
        assert_eq!(progress.look(P, 100, at(1, 5, 7)), None);
        assert_eq!(progress.look(P, 109, at(1, 6, 9)), None);
        assert!(progress.look(P, 110, at(1, 6, 9)).is_some());
    }

    #[test]
    fn what_moves_or_changes_or_is_not_well_has_time() {
        let mut progress = Progress::default();
        assert_eq!(progress.look(P, 100, at(1, 5, 7)), None);
        assert_eq!(progress.look(P, 110, at(1, 7, 9)), None, "it has come to where all were");
        assert_eq!(progress.look(P, 119, at(1, 7, 9)), None);
        assert_eq!(progress.look(P, 120, at(2, 7, 9)), None, "another in-sync set");
        assert_eq!(progress.look(P, 129, None), None, "somebody is not well");
        assert_eq!(progress.look(P, 130, at(2, 7, 9)), None);
        let recently = at(2, 7, 9).map(|(_, bound_ns, standing)| (135, bound_ns, standing));
        assert_eq!(progress.look(P, 141, recently), None, "nor was it for so long");
        assert!(progress.look(P, 145, recently).is_some());
    }
}
