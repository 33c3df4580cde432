//! Which segments are worth compacting.
//!
//! The one with the most garbage above the threshold, with those neighbours that are worth it too
//! while the output stays one segment; else a row of small ones.

use core::cmp::Reverse;
use core::ops::Range;

use super::Replica;
use super::segments::Segment;
use crate::limits::MERGE_SEGMENTS_MAX;

/// A segment is small below one part in so many of the size at which the active one rolls.
pub(super) const SMALL_SHARE: u64 = 4;

impl Replica {
    /// The neighbouring segments that are most worth compacting.
    pub(super) fn choose_run(&self) -> Option<Range<usize>> {
        let settings = self.settings.merge;
        let sealed = self.committed_segments();
        let dead_below = |at: usize| sealed[..at].iter().any(Segment::may_hold_dead);
        let garbage = |at: usize| {
            let s = &sealed[at];
            // Those that a follower may need would be copied, and so again and again.
            let needed = s.sealed.is_some_and(|s| s.end > self.retain.0);
            let go = s.tombstones > 0 && !needed && !dead_below(at);
            let tombstones = if go { s.tombstones } else { 0 };
            let len = s.sealed.map_or(1, |s| s.len.max(1));
            if s.quarantined { 0 } else { (s.dead() + tombstones) * 100 / len }
        };
        let small = |s: &Segment| {
            let below = self.settings.segment_bytes / SMALL_SHARE;
            !s.quarantined && s.sealed.is_some_and(|l| l.len < below)
        };
        let worst = (0..sealed.len()).max_by_key(|&at| (garbage(at), Reverse(at)));
        if let Some(at) = worst.filter(|&at| garbage(at) >= settings.garbage_percent.max(1)) {
            // Neighbours that are worth it come along while the output stays one segment.
            let joins = |at: usize| {
                (garbage(at) > 0 && garbage(at) >= settings.garbage_percent / 2)
                    || small(&sealed[at])
            };
            return Some(self.extend_run(at..at + 1, sealed, &joins));
        }
        let mut start = 0;
        for at in 0..=sealed.len() {
            if at == sealed.len() || !small(&sealed[at]) {
                if at - start >= settings.small_files {
                    let first = start..start + 1;
                    return Some(self.extend_run(first, sealed, &|i| i < at && small(&sealed[i])));
                }
                start = at + 1;
            }
        }
        None
    }

    fn extend_run(
        &self,
        mut run: Range<usize>,
        sealed: &[Segment],
        joins: &dyn Fn(usize) -> bool,
    ) -> Range<usize> {
        let kept = |at: usize| sealed[at].live + sealed[at].other;
        // The output ends with the input that makes it a whole segment: so no longer than three.
        let long =
            |at: usize| sealed[at].sealed.is_some_and(|s| s.len > 2 * self.settings.segment_bytes);
        if long(run.start) {
            return run;
        }
        let mut bytes: u64 = run.clone().map(kept).sum();
        let limit = self.settings.segment_bytes;
        while run.end < sealed.len()
            && run.len() < MERGE_SEGMENTS_MAX
            && joins(run.end)
            && !long(run.end)
            && bytes + kept(run.end) <= limit
        {
            bytes += kept(run.end);
            run.end += 1;
        }
        while run.start > 0
            && run.len() < MERGE_SEGMENTS_MAX
            && joins(run.start - 1)
            && !long(run.start - 1)
            && bytes + kept(run.start - 1) <= limit
        {
            bytes += kept(run.start - 1);
            run.start -= 1;
        }
        run
    }
}
