//! Two logs with an entry of the same index and term are the same up to there (Raft §5.3, Log
//! Matching).
//!
//! It is enough that an index and a term name one entry and one predecessor: the rest follows by
//! induction. The predecessor is named by its term.

use std::collections::BTreeMap;

use kvnode_core::{Index, Term};

use super::Found;

/// Every entry that any log has ever held: what it says, and the term before it.
#[derive(Default)]
pub(crate) struct LogMatching(BTreeMap<(Index, Term), (u64, Option<Term>)>);

impl LogMatching {
    /// A log holds an entry of this content behind one of the term `before`, if that is known.
    pub(crate) fn holds(
        &mut self,
        who: &str,
        (index, term): (Index, Term),
        content: u64,
        before: Option<Term>,
    ) -> Option<Found> {
        let (known, known_before) = *self.0.entry((index, term)).or_insert((content, before));
        let other = matches!((known_before, before), (Some(a), Some(b)) if a != b);
        if known_before.is_none() {
            self.0.insert((index, term), (known, before));
        }
        (known != content || other).then(|| {
            let what = if other { "behind another entry" } else { "with another content" };
            ("log matching", format!("{who} holds {index}{term} {what} than was seen before"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_and_term_with_two_contents_or_two_pasts_is_seen() {
        let at = (Index(7), Term(3));
        let mut logs = LogMatching::default();
        assert_eq!(logs.holds("n1", at, 1, None), None);
        assert_eq!(logs.holds("n2", at, 1, Some(Term(2))), None);
        assert_eq!(logs.holds("n3", (Index(7), Term(4)), 2, Some(Term(2))), None, "another term");
        assert!(logs.holds("n3", at, 2, Some(Term(2))).is_some());
        assert!(logs.holds("n3", at, 1, Some(Term(1))).is_some());
    }
}
