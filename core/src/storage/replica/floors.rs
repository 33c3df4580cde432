//! How far down a log may be cut, and how far up it must reach.
//!
//! Compaction drops what later records have superseded, and from then on the log means something only
//! together with these. So there is a *cut floor*, the watermark up to which it looked: if the log
//! is to end below, it begins again from zero.
//!
//! A copied log has a gap in place of what its leader had dropped, and what superseded that comes later,
//! up to the leader's own cut floor. Until then the log owes it: every record below that floor is to
//! be one that this leader had, and so of its reign or an earlier one. Where a record is of a later
//! one, an unclean election has cut off what had superseded; the log lacks keys that others
//! have, and begins again from zero.
//!
//! If such a log leads itself, what it owes is lost for good: it counts as it is, and whoever has what
//! it lacks begins again from zero.
//!
//! A debt is met when the log is durable up to its floor, and then the log can not be cut below that
//! either. Before, a cut takes nothing from what the log owes. Gaps stay in the log, and tell of what
//! was met long ago whenever they are read again: that changes nothing.

use alloc::vec::Vec;

use crate::storage::epochs::Epochs;
use crate::storage::record::{Gap, Head};
use crate::{Epoch, Offset};

/// What a log owes is of so many leaders at most; of more, all is held against the earlier reign.
const DEBTS_MAX: usize = 16;

/// See the module's header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Floors {
    cut: Offset,
    /// Up to which offset all records are to be of which reign or an earlier one; ascending in both.
    owed: Vec<(Offset, Epoch)>,
}

impl Floors {
    /// The log can be cut here and above.
    pub(super) fn cut(&self) -> Offset {
        self.cut
    }

    /// For the manifest.
    pub(super) fn owed(&self) -> &[(Offset, Epoch)] {
        &self.owed
    }

    /// Up to here records may have superseded what the log lacks.
    pub(super) fn highest(&self) -> Offset {
        self.owed.last().map_or(self.cut, |&(floor, _)| floor.max(self.cut))
    }

    /// From the manifest, which may not have heard of the last gaps.
    pub(super) fn add(&mut self, cut: Offset, owed: &[(Offset, Epoch)]) {
        self.cut = self.cut.max(cut);
        owed.iter().for_each(|&(floor, reign)| self.owe(floor, reign));
    }

    /// What was superseded up to this watermark may have been dropped here.
    pub(super) fn compacted(&mut self, watermark: Offset) {
        self.cut = self.cut.max(watermark);
    }

    /// A gap stands in the log.
    pub(super) fn copied(&mut self, gap: &Gap) {
        self.owe(gap.floor, gap.reign);
    }

    fn owe(&mut self, floor: Offset, reign: Epoch) {
        if self.owed.iter().any(|&(f, r)| floor <= f && r <= reign) {
            return;
        }
        self.owed.retain(|&(f, r)| f > floor || r < reign);
        let at = self.owed.partition_point(|&(f, _)| f < floor);
        self.owed.insert(at, (floor, reign));
        if self.owed.len() > DEBTS_MAX
            && let Some((floor, _)) = self.owed.pop()
            && let Some((last, _)) = self.owed.last_mut()
        {
            *last = floor;
        }
    }

    /// Whether a leader that has this record lacks what the log owes.
    pub(super) fn is_forked_by(&self, head: &Head) -> bool {
        self.owed.iter().any(|&(floor, reign)| head.offset < floor && reign < head.epoch)
    }

    /// Whether a log that ends at `end` has yet to reach what it owes.
    pub(super) fn owes_behind(&self, end: Offset) -> bool {
        self.owed.iter().any(|&(floor, _)| end < floor)
    }

    /// The log is durable up to `end`, and these reigns are in it. Returns where it counts as it is
    /// from, if it began a reign of its own while it owed something.
    pub(super) fn settle(&mut self, epochs: &Epochs, end: Offset) -> Option<Offset> {
        let mut from = None;
        for &(epoch, start) in epochs.list().iter().filter(|&&(_, start)| start < end) {
            let owed = self.owed.len();
            self.owed.retain(|&(floor, reign)| floor <= start || epoch <= reign);
            if self.owed.len() < owed {
                from = Some(start);
                self.cut = self.cut.max(start);
            }
        }
        let met = self.owed.partition_point(|&(floor, _)| floor <= end);
        if let Some((floor, _)) = self.owed.drain(..met).next_back() {
            self.cut = self.cut.max(floor);
        }
        from
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PartitionId;
    use crate::storage::record::Kind;

    fn gap(floor: u64, reign: u32) -> Gap {
        Gap { end: Offset(1), floor: Offset(floor), reign: Epoch(reign) }
    }

    fn is_forked(floors: &Floors, offset: u64, epoch: u32) -> bool {
        floors.is_forked_by(&Head {
            kind: Kind::Epoch,
            more: false,
            partition: PartitionId(0),
            epoch: Epoch(epoch),
            offset: Offset(offset),
            clock: 0,
            expire_at: None,
        })
    }

    fn reigns(list: &[(u32, u64)]) -> Epochs {
        let mut epochs = Epochs::new();
        list.iter().for_each(|&(epoch, start)| epochs.push(Epoch(epoch), Offset(start)));
        epochs
    }

    #[test]
    fn each_leader_is_owed_what_it_had_and_no_more() {
        let mut floors = Floors::default();
        floors.copied(&gap(50, 1));
        floors.copied(&gap(80, 2));
        assert_eq!((floors.cut(), floors.highest()), (Offset(0), Offset(80)));
        assert!(
            is_forked(&floors, 40, 2) && is_forked(&floors, 49, 2) && is_forked(&floors, 60, 3)
        );
        assert!(!is_forked(&floors, 50, 2) && !is_forked(&floors, 79, 2), "it led from there");
        assert!(!is_forked(&floors, 49, 1) && !is_forked(&floors, 80, 3));
        let epochs = reigns(&[(1, 0), (2, 50)]);
        assert_eq!(floors.settle(&epochs, Offset(49)), None);
        assert_eq!(
            (floors.cut(), floors.owed().len()),
            (Offset(0), 2),
            "it can be cut, and owes still"
        );
        assert_eq!(floors.settle(&epochs, Offset(50)), None);
        assert_eq!((floors.cut(), floors.owed()), (Offset(50), &[(Offset(80), Epoch(2))][..]));
        assert!(floors.owes_behind(Offset(79)) && !floors.owes_behind(Offset(80)));
        assert_eq!(floors.settle(&epochs, Offset(90)), None);
        assert_eq!((floors.cut(), floors.owed()), (Offset(80), &[][..]));
    }

    #[test]
    fn what_is_told_again_adds_nothing() {
        let mut floors = Floors::default();
        for (floor, reign) in [(50, 1), (80, 2), (70, 2), (50, 2), (50, 1)] {
            floors.copied(&gap(floor, reign));
        }
        assert_eq!(floors.owed(), [(Offset(50), Epoch(1)), (Offset(80), Epoch(2))]);
        let mut again = Floors::default();
        again.add(floors.cut(), floors.owed());
        assert_eq!(again, floors);
        floors.copied(&gap(90, 1));
        assert_eq!(floors.owed(), [(Offset(90), Epoch(1))], "it says more than all");
    }

    #[test]
    fn however_many_leaders_are_owed_nothing_is_forgotten() {
        let mut floors = Floors::default();
        (1..100).for_each(|n| floors.copied(&gap(u64::from(n) * 10, n)));
        assert!(floors.owed().len() <= DEBTS_MAX);
        assert!((1..100).all(|n| is_forked(&floors, u64::from(n) * 10 - 1, n + 1)));
        assert!((1..99).all(|n| is_forked(&floors, 5, n + 1)));
    }

    #[test]
    fn a_log_that_led_while_it_owed_something_counts_as_it_is() {
        let mut floors = Floors::default();
        floors.copied(&gap(50, 1));
        let epochs = reigns(&[(1, 0), (4, 30)]);
        assert_eq!(floors.settle(&epochs, Offset(30)), None, "no record tells of it yet");
        assert_eq!(floors.settle(&epochs, Offset(31)), Some(Offset(30)));
        assert_eq!((floors.cut(), floors.owed()), (Offset(30), &[][..]));
        // The gap is read again, when more has happened: nothing is lower or forgotten for it.
        floors.compacted(Offset(150));
        floors.copied(&gap(500, 6));
        floors.copied(&gap(50, 1));
        assert_eq!(floors.settle(&epochs, Offset(200)), Some(Offset(30)));
        assert_eq!((floors.cut(), floors.owed()), (Offset(150), &[(Offset(500), Epoch(6))][..]));
    }
}
