//! What is committed outlives every election that could come next (Raft §5.4.2 and figure 8).
//!
//! Leader Completeness is the promise; this looks one step ahead, so that no second disaster has to
//! come for the first mistake to show. When a leader counts an entry as committed, no voter whose disk
//! lacks it may have a log that is good enough for a majority: it could be elected, and would write
//! another entry in its place. In Raft none can. A majority has the entry on disk, and whoever lacks it
//! ends before it, for a log that ends in a later term comes from a leader who had it; so less than a
//! majority would vote for that one.

use kvnode_core::Member;
use kvnode_core::election::Position;

use super::Found;

/// A voter's log, as its disk has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// Who.
    pub(crate) voter: Member,
    /// Where the log ends.
    pub(crate) last: Position,
    /// Whether it has the entry.
    pub(crate) has: bool,
}

/// A leader counts the entry at `at` as committed. `logs`: of all voters.
pub(crate) fn check(who: &str, at: Position, logs: &[Kept]) -> Option<Found> {
    let votes = |candidate: &Kept| logs.iter().filter(|log| log.last <= candidate.last).count();
    let rival = logs.iter().find(|log| !log.has && votes(log) * 2 > logs.len())?;
    let text = format!(
        "{who} takes {at} for committed, and {} could be elected without it: its log ends at {}, and \
         {} of {} voters have none that is better",
        rival.voter,
        rival.last,
        votes(rival),
        logs.len()
    );
    Some(("committed for good", text))
}

#[cfg(test)]
mod tests {
    use kvnode_core::{Index, Term};

    use super::super::forge::member;
    use super::*;

    fn log(node: u32, (term, index): (u64, u64), has: bool) -> Kept {
        let last = Position { term: Term(term), index: Index(index) };
        Kept { voter: member(node), last, has }
    }

    #[test]
    fn figure_8_is_seen_before_it_comes_to_the_worst() {
        let at = Position { term: Term(2), index: Index(2) };
        let c = [
            log(1, (4, 3), true),
            log(2, (2, 2), true),
            log(3, (2, 2), true),
            log(4, (1, 1), false),
            log(5, (3, 2), false),
        ];
        assert!(check("n1", at, &c).is_some(), "(c) and then (d)");
        let mut e = c;
        e[1] = log(2, (4, 3), true);
        e[2] = log(3, (4, 3), true);
        assert_eq!(check("n1", at, &e), None, "(e)");
    }

    #[test]
    fn an_entry_that_a_minority_has_is_not_committed() {
        let at = Position { term: Term(2), index: Index(2) };
        let short = [log(1, (2, 2), true), log(2, (1, 1), false), log(3, (1, 1), false)];
        assert!(check("n1", at, &short).is_some());
        assert_eq!(check("n1", at, &[log(1, (2, 2), true)]), None, "a quorum of one");
    }
}
