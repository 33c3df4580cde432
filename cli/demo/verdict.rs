//! The end in words.

use std::fmt;

use super::stage::Verdict;

impl Verdict {
    /// Nothing is lost, nothing was read wrong, and no node died by itself.
    pub(super) fn is_good(&self) -> bool {
        self.tally.is_good() && self.wrong_reads == 0 && self.died == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (writes, tally) = (self.counts.writes, &self.tally);
        match writes {
            0 => write!(f, "No write was acknowledged, so none could be lost.")?,
            _ if tally.is_good() => {
                write!(f, "All {writes} acknowledged writes are there; none is lost.")?;
            }
            _ => write!(
                f,
                "Of {writes} acknowledged writes {} are there, {} are MISSING, {} have ANOTHER \
                 VALUE, {} could not be asked for.",
                tally.present, tally.missing, tally.different, tally.unread
            )?,
        }
        if !tally.lost.is_empty() {
            write!(f, "\nLost: {}", tally.lost.join(" "))?;
        }
        if self.wrong_reads > 0 {
            write!(f, "\n{} reads gave something else than was acknowledged.", self.wrong_reads)?;
        }
        if self.died > 0 {
            write!(f, "\nNodes that died though nobody had asked them to: {}.", self.died)?;
        }
        write!(
            f,
            "\n{} reads, {} attempts failed and were made again, longest wait of a write {} ms.",
            self.counts.reads,
            self.counts.errors,
            self.counts.longest.as_millis()
        )
    }
}
