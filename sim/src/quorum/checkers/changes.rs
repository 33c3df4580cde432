//! Voters change one at a time, and only by a leader that knows what is in force (dissertation §4.1 to
//! §4.3; Ongaro, raft-dev 2015, "bug in single-server membership changes").
//!
//! Two sets of voters that differ by one member have a majority in common, two that differ by more
//! need not. So a leader begins a change only when the set before it is committed, and when it has
//! committed an entry of its own term: else an earlier leader may have begun another change that this
//! one does not know, and both may come to count.

use std::collections::BTreeSet;

use kvnode_core::election::{Position, Voters};
use kvnode_core::{Index, Member, Term};

use super::Found;

/// A leader of `term`, whose last committed entry is at `commit`, puts the voters `after` at `at` into
/// its log. `before`: where the ones until then stand, and who they are.
pub(crate) fn begins(
    who: &str,
    at: Position,
    commit: (Index, Option<Term>),
    before: (Index, &Voters),
    after: &Voters,
) -> Option<Found> {
    let (old, new): (BTreeSet<Member>, BTreeSet<Member>) =
        (before.1.iter().collect(), after.iter().collect());
    let changed = old.symmetric_difference(&new).count();
    let wrong = if commit.1 != Some(at.term) {
        "has committed nothing of its own term".to_owned()
    } else if before.0 > commit.0 {
        format!("the change at {} is not committed", before.0)
    } else if changed > 1 {
        format!("{changed} members come or go at once")
    } else {
        return None;
    };
    Some(("voters change", format!("{who} changes the voters to {after} at {at}, and {wrong}")))
}

#[cfg(test)]
mod tests {
    use super::super::forge::member;
    use super::*;

    fn voters(nodes: &[u32]) -> Voters {
        Voters::new(nodes.iter().copied().map(member))
    }

    #[test]
    fn a_change_too_early_or_beside_another_or_of_two_is_seen() {
        let at = Position { term: Term(3), index: Index(9) };
        let (three, two) = (voters(&[1, 2, 3]), voters(&[1, 2]));
        let knows = (Index(8), Some(Term(3)));
        let is = |commit, before, after| begins("n1", at, commit, before, after).is_some();
        assert!(!is(knows, (Index(0), &three), &two));
        assert!(!is(knows, (Index(8), &two), &three));
        assert!(is((Index(8), Some(Term(2))), (Index(0), &three), &two), "too early");
        assert!(is((Index(8), None), (Index(0), &three), &two), "it knows nothing");
        assert!(is((Index(7), Some(Term(3))), (Index(8), &three), &two), "one is open");
        assert!(is(knows, (Index(0), &three), &voters(&[1, 4])), "three at once");
    }
}
