//! Which reign wrote which part of a log: its epoch history.
//!
//! A reign begins with a record of its own, so the history is the list of these records. Two logs
//! that hold the same epoch agree up to the end of it in whichever ends it sooner, since one leader
//! alone appends in an epoch, and only behind what it has: that is what a follower looks for when it
//! meets a new leader (KIP-101, KIP-279).

use alloc::vec::Vec;

use crate::limits::EPOCHS_MAX;
use crate::{Epoch, Offset};

/// Epochs and where each begins, both growing. The oldest are forgotten beyond [`EPOCHS_MAX`]: what
/// was written before the first that is known has an unknown epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epochs(Vec<(Epoch, Offset)>);

impl Epochs {
    /// Of a log without records.
    pub fn new() -> Self {
        Self::default()
    }

    /// These, oldest first.
    ///
    /// # Panics
    /// If they do not follow each other.
    pub fn of(list: impl IntoIterator<Item = (Epoch, Offset)>) -> Self {
        let mut epochs = Self::new();
        list.into_iter().for_each(|(epoch, start)| epochs.push(epoch, start));
        epochs
    }

    /// The epochs and their first offsets, oldest first.
    pub fn list(&self) -> &[(Epoch, Offset)] {
        &self.0
    }

    /// The last one and where it begins.
    pub fn last(&self) -> Option<(Epoch, Offset)> {
        self.0.last().copied()
    }

    /// A reign begins at this offset.
    ///
    /// # Panics
    /// If it does not follow the last one.
    pub fn push(&mut self, epoch: Epoch, start: Offset) {
        assert!(
            self.last().is_none_or(|(e, at)| e < epoch && at < start),
            "reigns follow each other"
        );
        if self.0.len() == EPOCHS_MAX {
            self.0.remove(0);
        }
        self.0.push((epoch, start));
    }

    /// The log ends here: reigns that begin at or behind this offset are gone.
    pub fn cut(&mut self, from: Offset) {
        self.0.retain(|&(_, start)| start < from);
    }

    /// The epoch of the record at this offset of the log; `None` if it is not known.
    pub fn of_record(&self, offset: Offset) -> Option<Epoch> {
        let after = self.0.partition_point(|&(_, start)| start <= offset);
        Some(self.0.get(after.checked_sub(1)?)?.0)
    }

    /// Where the first reign begins that does so at this offset or behind it.
    pub fn first_from(&self, offset: Offset) -> Option<Offset> {
        let at = self.0.partition_point(|&(_, start)| start < offset);
        self.0.get(at).map(|&(_, start)| start)
    }

    /// The largest known epoch that is not above `epoch`, and where it ends in a log that ends at
    /// `log_end`; `None` if no such is known.
    pub fn at_most(&self, epoch: Epoch, log_end: Offset) -> Option<(Epoch, Offset)> {
        let after = self.0.partition_point(|&(e, _)| e <= epoch);
        let (found, _) = *self.0.get(after.checked_sub(1)?)?;
        Some((found, self.0.get(after).map_or(log_end, |&(_, start)| start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> Epochs {
        let mut epochs = Epochs::new();
        for (epoch, start) in [(1, 0), (3, 10), (7, 20)] {
            epochs.push(Epoch(epoch), Offset(start));
        }
        epochs
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let found = |epoch| history().at_most(Epoch(epoch), Offset(25));
        assert_eq!(found(0), None);
        assert_eq!(found(1), Some((Epoch(1), Offset(10))));
        assert_eq!(found(2), Some((Epoch(1), Offset(10))), "an epoch that the log does not hold");
        assert_eq!(found(6), Some((Epoch(3), Offset(20))));
        assert_eq!(found(9), Some((Epoch(7), Offset(25))), "the last ends with the log");
    }

    #[test]
    fn a_record_is_of_the_reign_that_began_before_it() {
        let found = |offset| history().of_record(Offset(offset));
        assert_eq!((found(0), found(9)), (Some(Epoch(1)), Some(Epoch(1))));
        assert_eq!((found(10), found(99)), (Some(Epoch(3)), Some(Epoch(7))));
        assert_eq!(Epochs::of([(Epoch(2), Offset(5))]).of_record(Offset(4)), None);
    }

    #[test]
    fn the_first_reign_from_an_offset_on_may_begin_just_there() {
        let found = |offset| history().first_from(Offset(offset)).map(|start| start.0);
        assert_eq!((found(0), found(1), found(20), found(21)), (Some(0), Some(10), Some(20), None));
    }

    #[test]
    fn a_cut_takes_the_reigns_behind_it() {
        let mut epochs = history();
        epochs.cut(Offset(20));
        assert_eq!(epochs.last(), Some((Epoch(3), Offset(10))));
        epochs.cut(Offset(0));
        assert_eq!(epochs, Epochs::new());
    }

    #[test]
    fn the_oldest_is_forgotten_beyond_the_limit() {
        let mut epochs = Epochs::new();
        (0..=EPOCHS_MAX as u32).for_each(|n| epochs.push(Epoch(n + 1), Offset(u64::from(n))));
        assert_eq!(epochs.list().len(), EPOCHS_MAX);
        assert_eq!(epochs.at_most(Epoch(1), Offset(9_999)), None);
    }
}
