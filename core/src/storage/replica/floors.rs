//! How far down a log may be cut, and how far up it must reach.
//!
//! Compaction drops what later records have superseded, and from then on the log means something only
//! together with these. So there is a *cut floor*, the watermark up to which it looked: if the log
//! is to end below, it begins again from zero.
//!
//! A copied log has a gap in place of what its leader had dropped, and what superseded that comes later,
//! up to the leader's own cut floor. Until it is there the log *owes* it. A gap tells the floor and the
//! epoch of the record before it, and logs that agree in the epoch of a record agree in all before (see
//! [`epochs`](crate::storage::epochs)): where the log has a record of that epoch there, it has what its
//! leader had. Where it is to get one of another, an unclean election has cut off what had superseded;
//! the log lacks keys that others have, and begins again from zero.
//!
//! If such a log leads itself, what it owes is lost for good: it counts as it is from the record on
//! that begins its reign. It can not be cut below that, nor is a copy of it whole without that; and
//! whoever followed another log so far may have what it lacks, and begins again from zero.
//!
//! A debt is met when the log is durable up to its floor, and then the log can not be cut below that
//! either. Before, a cut takes nothing from what the log owes. Gaps stay in the log, and tell of what
//! was met long ago whenever they are read again: that changes nothing.

use alloc::vec::Vec;

use crate::storage::epochs::Epochs;
use crate::storage::record::{Gap, Head};
use crate::{Epoch, Offset};

/// What a log owes is of records of so many epochs at most. Who owes more begins again from zero.
const DEBTS_MAX: usize = 16;

/// No record is of it.
const NO_EPOCH: Epoch = Epoch(u32::MAX);

/// See the module's header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Floors {
    cut: Offset,
    /// Up to which offset the log is to reach, and of which epoch the record before that is to be; by
    /// epoch, each once, since a record of an epoch brings all before it of the same.
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

    /// From the manifest, which may not have heard of the last gaps.
    pub(super) fn add(&mut self, cut: Offset, owed: &[(Offset, Epoch)]) {
        self.cut = self.cut.max(cut);
        owed.iter().for_each(|&(floor, epoch)| self.owe(floor, epoch));
    }

    /// What was superseded up to this watermark may have been dropped here.
    pub(super) fn compacted(&mut self, watermark: Offset) {
        self.cut = self.cut.max(watermark);
    }

    /// A gap stands in the log.
    pub(super) fn copied(&mut self, gap: &Gap) {
        self.owe(gap.floor, gap.epoch);
    }

    /// What a leader with these epochs says of a gap up to `end`.
    pub(super) fn tell(&self, end: Offset, epochs: &Epochs) -> Gap {
        let mut floor = self.cut.max(end);
        // Of a record before the first reign that is known the epoch is not.
        let (mut epoch, first) = epochs.list().first().copied().unwrap_or_default();
        floor = floor.max(first.plus(1));
        // What it has reached may not be durable yet; what it has not is lost, if it leads.
        if let Some((_, start)) = epochs.last() {
            let reached = self.owed.iter().map(|&(floor, _)| floor.min(start.plus(1)));
            floor = reached.fold(floor, Offset::max);
        }
        if let Some(known) = epochs.of_record(Offset(floor.0 - 1)) {
            epoch = known;
        }
        Gap { end, floor, epoch }
    }

    fn owe(&mut self, floor: Offset, epoch: Epoch) {
        match self.owed.binary_search_by_key(&epoch, |&(_, epoch)| epoch) {
            Ok(at) => self.owed[at].0 = self.owed[at].0.max(floor),
            Err(at) => self.owed.insert(at, (floor, epoch)),
        }
        if self.owed.len() > DEBTS_MAX {
            let floor = self.owed.drain(..).map(|(floor, _)| floor).max();
            self.owed.extend(floor.map(|floor| (floor, NO_EPOCH)));
        }
    }

    /// Whether a leader that has this record, before `next`, lacks what the log owes.
    pub(super) fn is_forked_by(&self, head: &Head, next: Offset) -> bool {
        self.owed.iter().any(|&(floor, epoch)| {
            let reaches = next >= floor && head.epoch != epoch;
            head.offset < floor && (head.epoch > epoch || reaches)
        })
    }

    /// The first floor that is owed and not durable yet, if the log is durable up to `end`.
    pub(super) fn first_behind(&self, end: Offset) -> Option<Offset> {
        self.owed.iter().map(|&(floor, _)| floor).filter(|&floor| floor > end).min()
    }

    /// Whether a log that ends at `end` has yet to reach what it owes.
    pub(super) fn owes_behind(&self, end: Offset) -> bool {
        self.first_behind(end).is_some()
    }

    /// The log has lost what was durable behind `end`, also what superseded, up to the cut floor, what
    /// is dropped: it owes that. `epochs` are those that it had.
    pub(super) fn lost(&mut self, end: Offset, epochs: &Epochs) {
        if end < self.cut {
            let epoch = epochs.of_record(Offset(self.cut.0 - 1)).unwrap_or_default();
            self.owe(self.cut, epoch);
            self.cut = end;
        }
    }

    /// The log is durable up to `end`, and these reigns are in it. Returns where it counts as it is
    /// from, if it began a reign of its own while it owed something.
    pub(super) fn settle(&mut self, epochs: &Epochs, end: Offset) -> Option<Offset> {
        let mut from = None;
        for &(began, start) in epochs.list().iter().filter(|&&(_, start)| start < end) {
            let owed = self.owed.len();
            self.owed.retain(|&(floor, epoch)| floor <= start || began <= epoch);
            if self.owed.len() < owed {
                from = Some(start.plus(1));
                self.cut = self.cut.max(start.plus(1));
            }
        }
        self.owed.retain(|&(floor, _)| {
            let met = floor <= end;
            self.cut = if met { self.cut.max(floor) } else { self.cut };
            !met
        });
        from
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PartitionId;
    use crate::storage::record::Kind;

    fn gap(floor: u64, epoch: u32) -> Gap {
        Gap { end: Offset(1), floor: Offset(floor), epoch: Epoch(epoch) }
    }

    /// By a record of this epoch at this offset.
    fn is_forked(floors: &Floors, offset: u64, epoch: u32) -> bool {
        let head = Head {
            kind: Kind::Epoch,
            more: false,
            partition: PartitionId(0),
            epoch: Epoch(epoch),
            offset: Offset(offset),
            clock: 0,
            expire_at: None,
        };
        floors.is_forked_by(&head, Offset(offset + 1))
    }

    fn reigns(list: &[(u32, u64)]) -> Epochs {
        Epochs::of(list.iter().map(|&(epoch, start)| (Epoch(epoch), Offset(start))))
    }

    #[test]
    fn the_log_gets_the_record_that_its_leader_had_there_or_is_forked() {
        let mut floors = Floors::default();
        floors.copied(&gap(50, 2));
        floors.copied(&gap(80, 4));
        assert_eq!((floors.cut(), floors.owed().len()), (Offset(0), 2));
        assert!(is_forked(&floors, 40, 3), "what is before the floor is of no later epoch");
        assert!(
            !is_forked(&floors, 40, 2) && !is_forked(&floors, 48, 1) && !is_forked(&floors, 49, 2)
        );
        assert!(is_forked(&floors, 49, 1), "an end that was cut off elsewhere");
        assert!(
            !is_forked(&floors, 50, 3) && !is_forked(&floors, 79, 4) && is_forked(&floors, 79, 3)
        );
        assert!(!is_forked(&floors, 80, 5));
        let epochs = reigns(&[(1, 0), (2, 30), (4, 60)]);
        assert_eq!(floors.settle(&epochs, Offset(49)), None);
        assert_eq!(
            (floors.cut(), floors.owed().len()),
            (Offset(0), 2),
            "it can be cut, and owes still"
        );
        assert_eq!(floors.settle(&epochs, Offset(50)), None);
        assert_eq!((floors.cut(), floors.owed()), (Offset(50), &[(Offset(80), Epoch(4))][..]));
        assert!(floors.owes_behind(Offset(79)) && !floors.owes_behind(Offset(80)));
        assert_eq!(floors.settle(&epochs, Offset(90)), None);
        assert_eq!((floors.cut(), floors.owed()), (Offset(80), &[][..]));
    }

    #[test]
    fn a_gap_over_the_floor_is_held_against_it() {
        let mut floors = Floors::default();
        floors.copied(&gap(50, 2));
        let head = |epoch| Head {
            kind: Kind::Gap,
            more: false,
            partition: PartitionId(0),
            epoch: Epoch(epoch),
            offset: Offset(40),
            clock: 0,
            expire_at: None,
        };
        assert!(
            floors.is_forked_by(&head(1), Offset(60)) && floors.is_forked_by(&head(1), Offset(50))
        );
        assert!(
            !floors.is_forked_by(&head(1), Offset(49))
                && !floors.is_forked_by(&head(2), Offset(60))
        );
    }

    #[test]
    fn what_is_told_again_adds_nothing() {
        let mut floors = Floors::default();
        for (floor, epoch) in [(50, 1), (80, 2), (70, 2), (40, 1)] {
            floors.copied(&gap(floor, epoch));
        }
        assert_eq!(floors.owed(), [(Offset(50), Epoch(1)), (Offset(80), Epoch(2))]);
        let mut again = Floors::default();
        again.add(floors.cut(), floors.owed());
        assert_eq!(again, floors);
        floors.copied(&gap(90, 1));
        assert!(is_forked(&floors, 79, 1) && is_forked(&floors, 89, 2), "no log has both");
    }

    #[test]
    fn who_owes_too_many_begins_anew() {
        let mut floors = Floors::default();
        (1..100).for_each(|n| floors.copied(&gap(u64::from(n) * 10, n)));
        assert!(floors.owed().len() <= DEBTS_MAX);
        let &(floor, none) = floors.owed().last().unwrap();
        assert_eq!(none, NO_EPOCH);
        assert!(
            (1..=100).all(|epoch| is_forked(&floors, floor.0 - 1, epoch)),
            "whatever comes there"
        );
    }

    #[test]
    fn a_log_that_led_while_it_owed_something_counts_as_it_is() {
        let mut floors = Floors::default();
        floors.copied(&gap(50, 1));
        let epochs = reigns(&[(1, 0), (4, 30)]);
        let told = Gap { end: Offset(9), floor: Offset(31), epoch: Epoch(4) };
        assert_eq!(floors.tell(Offset(9), &epochs), told, "a copy without its reign is not whole");
        let later = reigns(&[(1, 0), (4, 70)]);
        let told_later = Gap { end: Offset(9), floor: Offset(50), epoch: Epoch(1) };
        assert_eq!(floors.tell(Offset(9), &later), told_later, "reached, if not durable yet");
        assert_eq!(floors.settle(&epochs, Offset(30)), None, "no record tells of it yet");
        assert_eq!(floors.settle(&epochs, Offset(31)), Some(Offset(31)));
        assert_eq!((floors.cut(), floors.owed()), (Offset(31), &[][..]));
        assert_eq!(floors.tell(Offset(9), &epochs), told);
        // The gap is read again, when more has happened: nothing is lower or forgotten for it.
        floors.compacted(Offset(150));
        floors.copied(&gap(500, 6));
        floors.copied(&gap(50, 1));
        assert_eq!(floors.settle(&epochs, Offset(200)), Some(Offset(31)));
        assert_eq!((floors.cut(), floors.owed()), (Offset(150), &[(Offset(500), Epoch(6))][..]));
    }

    #[test]
    fn a_log_that_has_lost_what_superseded_owes_it() {
        let epochs = reigns(&[(1, 0), (3, 40)]);
        let mut floors = Floors::default();
        floors.compacted(Offset(50));
        floors.lost(Offset(50), &epochs);
        assert_eq!((floors.cut(), floors.owed()), (Offset(50), &[][..]), "it is there");
        floors.lost(Offset(35), &epochs);
        assert_eq!((floors.cut(), floors.owed()), (Offset(35), &[(Offset(50), Epoch(3))][..]));
        assert!(is_forked(&floors, 49, 1) && !is_forked(&floors, 49, 3));
    }

    #[test]
    fn what_is_told_is_of_a_record_whose_epoch_is_known() {
        let floors = Floors::default();
        let told = |end, epochs: &Epochs| {
            let Gap { floor, epoch, .. } = floors.tell(Offset(end), epochs);
            (floor.0, epoch.0)
        };
        let epochs = reigns(&[(1, 0), (3, 40)]);
        assert_eq!((told(40, &epochs), told(41, &epochs)), ((40, 1), (41, 3)));
        assert_eq!(told(5, &reigns(&[(3, 40)])), (41, 3), "older ones are forgotten");
    }
}
