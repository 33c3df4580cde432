//! What is committed stays: a record that any replica's watermark has covered is the same wherever one
//! covers it, and stands in the log of everybody who leads later (PacificA's commit invariant; KIP-101
//! and KIP-966 tell of the losses when it does not hold).
//!
//! But for a leader that is elected although it may lack some of it, as the map says: what it lacks is lost
//! from then on, just that and all behind it, and what is left and what comes stays again.

use std::collections::BTreeMap;

use kvnode_core::{Epoch, Offset, PartitionId};

use super::Found;
use crate::history::Order;
use crate::replication::log::{Entry, Log};

/// The committed log of each partition, as the first who knew of each record had it, and in which reign
/// each was committed first. A leader of an earlier one, who does not know that it is over, lacks it.
#[derive(Default)]
pub(crate) struct Committed {
    known: BTreeMap<PartitionId, BTreeMap<Offset, Known>>,
    /// Where reigns began that were allowed to lose what is behind, and which they were.
    cuts: BTreeMap<PartitionId, Vec<(Offset, Epoch)>>,
}

/// A record that is committed.
#[derive(Clone, Copy, Debug)]
struct Known {
    entry: Entry,
    /// In which reign it was committed first.
    reign: Epoch,
    /// When, in the order of the run.
    at: Order,
}

/// Later than all reigns.
pub(crate) const NEVER: Epoch = Epoch(u32::MAX);

impl Committed {
    /// A replica takes what its log holds from `from` on and before `to` for committed, in this reign,
    /// as it has heard in that one, and at this moment.
    pub(crate) fn covers(
        &mut self,
        who: &str,
        partition: PartitionId,
        log: &Log,
        (from, to): (Offset, Offset),
        (reign, heard, at): (Epoch, Epoch, Order),
    ) -> Option<Found> {
        // What an earlier reign had committed behind a cut is lost, whoever hears of it now.
        let cuts = self.cuts.get(&partition).into_iter().flatten();
        let to =
            cuts.filter(|(_, epoch)| heard < *epoch).map(|(cut, _)| *cut).fold(to, Offset::min);
        let known = self.known.entry(partition).or_default();
        let mut other = None;
        for (offset, entry) in log.range(from, to) {
            let first = known.entry(offset).or_insert(Known { entry, reign, at });
            first.reign = reign.min(first.reign);
            if !is(&first.entry, &entry) {
                other = other.or(Some((offset, entry, first.entry)));
            }
        }
        let (offset, entry, first) = other?;
        let text = format!(
            "{who} has {partition}:{}@{} committed, which was @{} before",
            offset.0, entry.epoch, first.epoch
        );
        Some(("committed never lost", text))
    }

    /// Somebody begins to lead in this reign with this log, and may lack what is committed: that is lost.
    /// Where it begins, and when that was committed, if anything is.
    pub(crate) fn loses(
        &mut self,
        partition: PartitionId,
        log: &Log,
        reign: Epoch,
    ) -> Option<(Offset, Order)> {
        let cut = self.first_lacking(partition, log)?;
        let known = self.known.get_mut(&partition)?;
        let at = known[&cut].at;
        drop(known.split_off(&cut));
        self.cuts.entry(partition).or_default().push((cut, reign));
        Some((cut, at))
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

    /// Where the first record stands that is committed and not in the log.
    pub(crate) fn first_lacking(&self, partition: PartitionId, log: &Log) -> Option<Offset> {
        let known = self.known.get(&partition)?;
        let lacks = |(offset, known): &(&Offset, &Known)| !has(log, **offset, &known.entry);
        known.iter().find(lacks).map(|(offset, _)| *offset)
    }

    /// Whether the log holds what is committed there.
    pub(crate) fn is_in(&self, partition: PartitionId, at: Offset, log: &Log) -> bool {
        let known = self.known.get(&partition).and_then(|known| known.get(&at));
        known.is_some_and(|known| has(log, at, &known.entry))
    }

    /// What was committed in reigns before this one and is not in the log.
    fn lacks(&self, partition: PartitionId, log: &Log, reign: Epoch) -> Option<String> {
        let known = self.known.get(&partition)?;
        let mut before = known.iter().filter(|(_, known)| known.reign < reign);
        let (offset, lost) = before.find(|(offset, known)| !has(log, **offset, &known.entry))?;
        let own = match log.at(*offset) {
            Some(own) => format!("has @{} there", own.epoch),
            None => "has nothing there".to_owned(),
        };
        Some(format!(
            "without {partition}:{}@{}, which was committed in {}: it {own}",
            offset.0, lost.entry.epoch, lost.reign
        ))
    }
}

/// Whether the log holds the record there, or what compaction has left in its place.
fn has(log: &Log, offset: Offset, entry: &Entry) -> bool {
    log.at(offset).is_some_and(|own| own.is_gap() || is(&own, entry))
}

fn is(a: &Entry, b: &Entry) -> bool {
    a.epoch == b.epoch && a.content.is(&b.content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::log::forge::log;

    const FIRST: (Epoch, Epoch, Order) = (Epoch(1), Epoch(1), 5);

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
        assert_eq!(committed.leads("n2", p, &log(&[1]), FIRST.0), None, "its reign is over");
    }

    #[test]
    fn what_may_be_lost_is_lost_from_the_first_record_that_the_new_leader_lacks() {
        let (p, mut committed) = (PartitionId(0), Committed::default());
        committed.covers("n1", p, &log(&[1, 1, 1]), (Offset(0), Offset(1)), FIRST);
        committed.covers(
            "n1",
            p,
            &log(&[1, 1, 1]),
            (Offset(1), Offset(3)),
            (Epoch(1), Epoch(1), 9),
        );
        assert_eq!(committed.loses(p, &log(&[1, 1, 1, 1]), Epoch(2)), None, "it has all");
        assert_eq!(committed.loses(p, &log(&[1]), Epoch(2)), Some((Offset(1), 9)));
        assert_eq!(committed.leads("n3", p, &log(&[1]), Epoch(3)), None);
        assert!(committed.leads("n3", p, &log(&[]), Epoch(3)).is_some(), "that was not");
        let all = (Offset(0), Offset(3));
        let late = committed.covers("n4", p, &log(&[1, 1, 1]), all, (Epoch(2), Epoch(1), 12));
        assert_eq!(late, None, "it hears of what is lost");
        assert_eq!(
            committed.covers("n2", p, &log(&[1, 2, 2]), all, (Epoch(2), Epoch(2), 13)),
            None
        );
        assert!(
            committed.covers("n4", p, &log(&[1, 1, 1]), all, (Epoch(2), Epoch(2), 14)).is_some()
        );
    }
}
