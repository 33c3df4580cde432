//! What is committed stays: a record that any replica's watermark has covered is the same wherever one
//! covers it, and stands in the log of everybody who leads later (PacificA's commit invariant; KIP-101
//! and KIP-966 tell of the losses when it does not hold).

use std::collections::BTreeMap;

use kvnode_core::{Epoch, Offset, PartitionId};

use super::Found;
use crate::replication::log::{Entry, Log};

/// The committed log of each partition, as the first who knew of each record had it, and in which reign
/// each was committed first. A leader of an earlier one, who does not know that it is over, lacks it.
#[derive(Default)]
pub(crate) struct Committed(BTreeMap<PartitionId, BTreeMap<Offset, (Entry, Epoch)>>);

/// Later than all reigns.
pub(crate) const NEVER: Epoch = Epoch(u32::MAX);

impl Committed {
    /// A replica takes what its log holds from `from` on, and before `to`, for committed, in this reign.
    pub(crate) fn covers(
        &mut self,
        who: &str,
        partition: PartitionId,
        log: &Log,
        (from, to): (Offset, Offset),
        reign: Epoch,
    ) -> Option<Found> {
        let known = self.0.entry(partition).or_default();
        let mut other = None;
        for (offset, entry) in log.range(from, to) {
            let (first, since) = known.entry(offset).or_insert((entry, reign));
            *since = reign.min(*since);
            if !is(first, &entry) {
                other = other.or(Some((offset, entry, *first)));
            }
        }
        let (offset, entry, first) = other?;
        let text = format!(
            "{who} has {partition}:{}@{} committed, which was @{} before",
            offset.0, entry.epoch, first.epoch
        );
        Some(("committed never lost", text))
    }

    /// Somebody begins to lead in this reign with this log.
    pub(crate) fn leads(
        &self,
        who: &str,
        partition: PartitionId,
        log: &Log,
        reign: Epoch,
    ) -> Option<Found> {
        let lacks = self.lacks(partition, log, reign)?;
        Some(("committed never lost", format!("{who} leads {partition} in {reign} {lacks}")))
    }

    /// Somebody is let into the in-sync set with this log: it may lead from now on.
    pub(crate) fn enters(&self, who: &str, partition: PartitionId, log: &Log) -> Option<Found> {
        let lacks = self.lacks(partition, log, NEVER)?;
        Some(("in-sync set complete", format!("{who} is in sync for {partition} {lacks}")))
    }

    /// What was committed in reigns before this one and is not in the log.
    fn lacks(&self, partition: PartitionId, log: &Log, reign: Epoch) -> Option<String> {
        let known = self.0.get(&partition)?;
        let lacks = |(offset, (entry, since)): &(&Offset, &(Entry, Epoch))| {
            *since < reign && !log.at(**offset).is_some_and(|own| own.is_gap() || is(&own, entry))
        };
        let (offset, (entry, since)) = known.iter().find(lacks)?;
        let own = match log.at(*offset) {
            Some(own) => format!("has @{} there", own.epoch),
            None => "has nothing there".to_owned(),
        };
        Some(format!(
            "without {partition}:{}@{}, which was committed in {since}: it {own}",
            offset.0, entry.epoch
        ))
    }
}

fn is(a: &Entry, b: &Entry) -> bool {
    a.epoch == b.epoch && a.content.is(&b.content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::log::forge::log;

    const FIRST: Epoch = Epoch(1);

    #[test]
    fn another_record_in_the_place_of_a_committed_one_is_seen() {
        let (p, mut committed) = (PartitionId(0), Committed::default());
        let all = (Offset(0), Offset(2));
        assert_eq!(committed.covers("n1", p, &log(&[1, 1, 1]), all, FIRST), None);
        assert_eq!(committed.covers("n2", p, &log(&[1, 1, 2]), all, FIRST), None, "not covered");
        assert!(committed.covers("n3", p, &log(&[1, 2]), all, FIRST).is_some());
    }

    #[test]
    fn a_leader_without_what_is_committed_is_seen() {
        let (p, mut committed) = (PartitionId(0), Committed::default());
        let next = Epoch(2);
        assert_eq!(committed.leads("n1", p, &log(&[]), next), None, "nothing is committed");
        committed.covers("n1", p, &log(&[1, 1, 1]), (Offset(0), Offset(2)), FIRST);
        assert_eq!(committed.leads("n2", p, &log(&[1, 1]), next), None);
        assert_eq!(committed.leads("n2", p, &log(&[1, 1, 9]), next), None);
        assert!(committed.leads("n2", p, &log(&[1]), next).is_some(), "it is short");
        assert!(committed.enters("n2", p, &log(&[1])).is_some(), "it may lead next");
        assert_eq!(committed.enters("n2", p, &log(&[1, 1])), None);
        assert!(committed.leads("n2", p, &log(&[1, 3]), next).is_some(), "it is another");
        assert_eq!(committed.leads("n2", p, &log(&[1]), FIRST), None, "its reign is over");
    }
}
