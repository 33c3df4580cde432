//! Scrubbing: sealed segments are read through slowly, again and again, so that damage is found while
//! others still have what it took, and not when a client asks for it.
//!
//! One segment is read at a time, a window at a time, at a pace of its own. Where a record is not
//! what it should be, the segment is left as it is from then on (it is not compacted), and the owner is
//! told ([`Event::Damaged`]), who knows whether others have what this replica lacks.
//!
//! What the system holds of a file in memory is read there: then it is that which was checked, and the
//! disk behind it another time.
//!
//! Invariants:
//! - At most one read is under way.
//! - A round passes every sealed and committed segment once. Those that compaction makes meanwhile were
//!   read by it.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use super::merge::is_whole;
use super::segments::Segment;
use super::{Event, Purpose, Replica, done_data};
use crate::disk::{DiskError, DiskOp, DiskResult};
use crate::marks::Mark;
use crate::shard::Severity;
use crate::storage::scan::{Scanner, Step};
use crate::{Instant, Offset};

/// How fast and how often segments are read through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubSettings {
    /// Bytes read in a second.
    pub bytes_per_second: u64,
    /// How long to rest between two rounds.
    pub every: Duration,
}

/// See the module's header.
#[derive(Debug, Default)]
pub(super) struct ScrubState {
    walk: Option<Walk>,
    /// Tells the answer to a walk's read from one of an earlier walk.
    walks: u64,
    /// What lies before is done with in this round.
    from: Offset,
    next_at: Instant,
}

/// A segment that is being read.
#[derive(Debug)]
struct Walk {
    segment: Segment,
    scanner: Scanner,
    /// The next read; none while one is under way.
    wants: Option<DiskOp>,
}

impl Replica {
    /// When there is something to read.
    pub(super) fn scrub_deadline(&self) -> Option<Instant> {
        let waits = self.scrub.walk.as_ref().is_some_and(|walk| walk.wants.is_none());
        (self.settings.scrub.is_some() && self.serving() && !waits).then_some(self.scrub.next_at)
    }

    pub(super) fn advance_scrub(&mut self, now: Instant) {
        let Some(settings) = self.settings.scrub else { return };
        if self.scrub_deadline().is_none_or(|due| now < due) {
            return;
        }
        if self.scrub.walk.is_none() && !self.start_walk() {
            self.scrub.from = Offset(0);
            self.scrub.next_at = now.after(settings.every);
            return;
        }
        let walk = self.scrub.walk.as_mut().expect("it was begun, if it was not there");
        let op = walk.wants.take().expect("it is due");
        if let DiskOp::Read { len, .. } = op {
            let pause = u64::from(len) * 1_000_000_000 / settings.bytes_per_second.max(1);
            self.scrub.next_at = now.after(Duration::from_nanos(pause));
        }
        self.submit(Purpose::Scrub(self.scrub.walks), op);
    }

    /// Begins with the next segment of the round; false if there is none.
    fn start_walk(&mut self) -> bool {
        let from = self.scrub.from;
        let holds = |segment: &Segment| segment.sealed.is_some_and(|s| s.end > segment.base.0);
        let due = |s: &&Segment| s.base >= from && !s.quarantined && holds(s);
        let Some(&segment) = self.committed_segments().iter().find(due) else { return false };
        let mut scanner = self.scanner_of(&segment);
        let Step::Read(first) = scanner.step() else {
            unreachable!("a scanner reads before it tells")
        };
        self.scrub.walks += 1;
        self.scrub.walk = Some(Walk { segment, scanner, wants: Some(first) });
        true
    }

    pub(super) fn on_scrub_read(&mut self, walk: u64, result: DiskResult) {
        if walk != self.scrub.walks {
            return;
        }
        let Some(mut walk) = self.scrub.walk.take() else { return };
        let segment = walk.segment;
        if self.segments.get(segment.id).is_none() {
            // Compaction has read it, and has put another in its place.
            return self.end_walk(&segment);
        }
        match done_data(result) {
            Ok(data) => walk.scanner.fill(&data),
            Err(error) => return self.find_damage(&segment, &unreadable(error)),
        }
        // Each turn takes a record from a window of bounded size, or leaves the loop.
        loop {
            match walk.scanner.step() {
                Step::Record(record) if record.value_sound => {}
                Step::Record(record) => {
                    let what = format!("a damaged value at byte {}", record.position);
                    return self.find_damage(&segment, &what);
                }
                Step::Read(op) => {
                    walk.wants = Some(op);
                    self.scrub.walk = Some(walk);
                    return;
                }
                Step::End => break,
                Step::Bad { position } => {
                    return self.find_damage(&segment, &format!("no record at byte {position}"));
                }
                Step::BadHeader(_) => return self.find_damage(&segment, "a damaged header"),
            }
        }
        let sealed = segment.sealed.expect("only sealed segments are read through");
        if !is_whole(&segment, &walk.scanner) {
            return self.find_damage(&segment, "its records are not those that were sealed");
        }
        self.counters.scrubbed_bytes += sealed.len;
        self.marks.hit(Mark::Scrubbed);
        self.end_walk(&segment);
    }

    fn find_damage(&mut self, segment: &Segment, what: &str) {
        if let Some(segment) = self.segments.get_mut(segment.id) {
            segment.quarantined = true;
        }
        self.counters.read_faults += 1;
        self.marks.hit(Mark::ScrubFoundDamage);
        let file = segment.file(self.id);
        let text = format!(
            "{file}: {what}: keys in it may be answered with an error; `kvnode check` tells more"
        );
        self.notice(Severity::Error, text);
        self.events.push_back(Event::Damaged);
        self.end_walk(segment);
    }

    fn end_walk(&mut self, segment: &Segment) {
        let end = segment.sealed.map_or(segment.base.plus(1), |sealed| Offset(sealed.end));
        self.scrub.from = end.max(segment.base.plus(1));
    }

    /// What is under way is of an earlier life.
    pub(super) fn abandon_scrub(&mut self) {
        self.scrub.walk = None;
        self.scrub.walks += 1;
    }
}

fn unreadable(error: DiskError) -> String {
    format!("reading it failed ({error})")
}
