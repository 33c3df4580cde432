//! Segments that the disk does not give back.
//!
//! An error may pass: so often the whole opening is given up and tried again a moment later. What
//! then still can not be read is narrowed down to pages, and these count as damaged: they are kept
//! as they are, keys whose records may lie there are answered with an error, and everything else
//! is served. Nothing tells an unreadable tail from a whole one, so that it is never cut: the log
//! goes on in another segment, behind every offset that may have been given out there.

use alloc::boxed::Box;
use alloc::format;

use super::{Next, Opening, Scan};
use crate::Offset;
use crate::disk::DiskError;
use crate::shard::Severity;
use crate::storage::replica::Replica;
use crate::storage::scan::{self, Scanner};

/// Openings in a row that may fail at a read of a segment before its bytes count as damaged.
const TRIES: u32 = 5;

impl Replica {
    /// A read of the segment at `at` has failed.
    pub(super) fn on_scan_error(
        &mut self,
        opening: &mut Opening,
        at: usize,
        (mut scanner, scan): (Box<Scanner>, Scan),
        error: DiskError,
    ) -> Next {
        let passes = match error {
            DiskError::Io(_) => self.unread_openings < TRIES,
            DiskError::NotFound | DiskError::Full => true,
        };
        if passes {
            self.unread_openings += 1;
            return Next::Fail(error);
        }
        let first = scanner.unreadable().is_empty();
        scanner.fail_read();
        if let Some(&(position, _)) = scanner.unreadable().first()
            && first
        {
            let text = format!(
                "{}: from byte {position} on some of it can not be read ({error}): it counts as \
                 damaged",
                scanner.file()
            );
            self.notice(Severity::Error, text);
            self.segments.at_mut(at).quarantined = true;
        }
        if self.is_active(at) {
            opening.unreadable = scanner.unreadable().to_vec();
        }
        self.scan_on(opening, at, scanner, scan)
    }
}

impl Opening {
    /// Whether a record that is not sound may be so only because it could not be read. What is not
    /// trusted is cut all the same.
    pub(super) fn may_be_hidden(&self, scanner: &Scanner) -> bool {
        scanner.hidden() && self.distrust.is_none_or(|distrust| scanner.end() < distrust)
    }

    /// Where the log goes on if its end is lost: the active segment holds no record from this byte
    /// and offset on that could be read.
    pub(super) fn end_behind(&self, scanner: &Scanner, (position, from): (u64, Offset)) -> Offset {
        let len = scanner.position() - position;
        if self.unreadable_in(position, len) {
            scan::end_max(from, self.mark, len)
        } else {
            self.mark
        }
    }

    /// Whether some of these bytes of the active segment can not be read.
    pub(super) fn unreadable_in(&self, at: u64, len: u64) -> bool {
        self.unreadable.iter().any(|&(from, to)| from < at + len && at < to)
    }

    /// The first bytes from `at` on, before `end`, that could be read.
    pub(super) fn readable(&self, mut at: u64, end: u64) -> (u64, u64) {
        let mut until = end;
        for &(from, to) in &self.unreadable {
            if from <= at && at < to {
                at = to.min(end);
            } else if at < from {
                until = until.min(from);
            }
        }
        (at, until)
    }
}
