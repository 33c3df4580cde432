//! Cutting the log: what a new leader does not have goes, durably, and the log ends there.
//!
//! ```text
//! give up what is in flight ─▶ read the log up to the cut ─▶ manifest: a cut is under way, here
//!    ─▶ cut the active segment ─▶ MARK ─▶ manifest: done ─▶ delete the segments behind
//! ```
//!
//! It is an opening with an end: nothing is changed on disk before the manifest says where the log
//! ends, and whoever opens a directory whose manifest says so goes on with the cut. So a crash leaves
//! the log as it was, or cut.
//!
//! A segment that holds the cut becomes the active one again. Where compaction has dropped what was
//! superseded by a record that is now to go, nothing brings it back: below the *cut floor* (the
//! watermark of the last compaction; see [`floors`](super::floors)) the whole log goes, and the
//! replica begins again from zero. A follower is never told to cut below its own watermark, but after
//! an unclean election.

use alloc::format;
use alloc::vec::Vec;

use super::floors::Floors;
use super::open::{Opening, Stage};
use super::segments::{Segment, Segments};
use super::{Dropped, Event, Replica, State};
use crate::disk::ValueCache;
use crate::shard::Severity;
use crate::storage::epochs::Epochs;
use crate::storage::format::SEGMENT_HEADER_BYTES;
use crate::{Instant, Offset};

impl Replica {
    /// In a cluster: the log is to end at `from`. What is in flight is given up and the replica opens
    /// again: [`Event::Opened`] tells that the cut is durable. The log may then end before `from`, at
    /// zero for one. A replica that is not open stays as it is; it opens uncut.
    ///
    /// Below the watermark, which an operator alone can bring about, places of committed records are
    /// written once more, so that nothing is remembered by its place.
    pub fn cut(&mut self, now: Instant, from: Offset, cache: &mut dyn ValueCache) {
        assert!(self.settings.replicated, "what a replica that stands alone has logged stays");
        if !self.serving() {
            return;
        }
        if self.log_end == Offset(0) {
            // What was taken back may have been gaps.
            (self.floors, self.tombstone_horizon) = (Floors::default(), Offset(0));
        }
        if from >= self.log_end {
            self.events.push_back(Event::Opened);
            return;
        }
        if from < self.high_watermark() {
            cache.clear();
        }
        self.notice(
            Severity::Info,
            format!("{}: the log is cut at offset {from}; it ended at {}", self.id, self.log_end),
        );
        self.abandon_ops();
        let gathered = if self.gather.is_empty() { self.log_end } else { self.gather_base };
        self.events.push_back(Event::Dropped(from.min(gathered), Dropped::Unknown));
        self.forget_uncommitted();
        self.state = State::Down { until: now, distrust: None, cut: Some(from) };
        if self.abandoned.is_empty() {
            self.start_opening(None, Some(from));
        }
    }

    /// Whether a cut, where it was not possible, has taken all of the log.
    pub fn has_begun_anew(&self) -> bool {
        self.begun_anew
    }

    /// The manifest was read: takes what lies behind the cut off the table of segments.
    pub(super) fn cut_table(&mut self, opening: &mut Opening, from: Offset) {
        let list = self.segments.list();
        let kept = &list[..list.partition_point(|s| s.base < from)];
        let compacted = |s: &Segment| s.sealed.is_some_and(|l| l.compacted && l.end > from.0);
        // It has lost even its header.
        let nothing = |s: &Segment| s.sealed.is_some_and(|l| l.len < SEGMENT_HEADER_BYTES as u64);
        let unfit = |s: &Segment| compacted(s) || nothing(s);
        if kept.is_empty() || from < self.floors.cut() || kept.iter().any(unfit) {
            return self.cut_all(opening);
        }
        let mut kept = kept.to_vec();
        let last = kept.last_mut().expect("it is not empty");
        match last.sealed {
            None => {}
            Some(sealed) if sealed.end > from.0 => {
                last.sealed = None;
                // It was made durable when it was sealed.
                opening.mark_at_cut = true;
            }
            Some(_) => {
                let id = self.take_segment_id();
                kept.push(Segment::new(id, from, None));
            }
        }
        self.segments = Segments::of(kept);
        self.loss_accepted = self.loss_accepted.min(from);
        self.epochs.cut(from);
        opening.cut = Some(from);
    }

    fn cut_all(&mut self, opening: &mut Opening) {
        let text = format!("{}: the log is cut as a whole: it begins again from zero", self.id);
        self.notice(Severity::Warn, text);
        let id = self.take_segment_id();
        self.segments = Segments::of(Vec::from([Segment::new(id, Offset(0), None)]));
        self.tombstone_horizon = Offset(0);
        self.loss_accepted = Offset(0);
        self.floors = Floors::default();
        self.begun_anew = true;
        self.epochs = Epochs::new();
        opening.cut = Some(Offset(0));
    }

    /// It was found where the log will end: the manifest says so before anything is changed. Then
    /// the tail is settled, from byte `from` on if it is to be written once more.
    pub(super) fn name_cut(&mut self, from: Option<u64>) -> Stage {
        assert!(self.active.len >= SEGMENT_HEADER_BYTES as u64);
        self.cut = Some(self.log_end);
        self.epochs.cut(self.log_end);
        Stage::AwaitCut(self.change_manifest(), from)
    }
}
