//! A leader has every entry that was committed in an earlier term (Raft §5.4, Leader Completeness).

use std::collections::BTreeMap;

use kvnode_core::{Index, Term};

use super::Found;

/// What was committed, and in which term at the latest.
#[derive(Default)]
pub(crate) struct Completeness(BTreeMap<Index, (Term, Term)>);

impl Completeness {
    /// Somebody in `seen_in` knows that the entry of `term` at `index` is committed.
    pub(crate) fn committed(&mut self, index: Index, term: Term, seen_in: Term) {
        let known = self.0.entry(index).or_insert((term, seen_in));
        known.1 = known.1.min(seen_in);
    }

    /// A member begins to lead `term`. `held`: of which term its entry at an index is; `Some(None)`
    /// where it was compacted.
    pub(crate) fn elected(
        &self,
        who: &str,
        term: Term,
        held: impl Fn(Index) -> Option<Option<Term>>,
    ) -> Option<Found> {
        let lacks = self.0.iter().rev().find(|&(&index, &(of, seen_in))| {
            let has = match held(index) {
                Some(Some(has)) => has == of,
                Some(None) => true,
                None => false,
            };
            seen_in < term && !has
        });
        lacks.map(|(index, (of, seen_in))| {
            let text = format!("{who} leads {term} without {index}{of}, committed in {seen_in}");
            ("leader completeness", text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_lacks_what_an_earlier_term_committed_is_seen() {
        let mut all = Completeness::default();
        all.committed(Index(1), Term(1), Term(1));
        all.committed(Index(2), Term(1), Term(3));
        let held = |upto: u64| move |Index(index)| (index <= upto).then_some(Some(Term(1)));
        assert_eq!(all.elected("n1", Term(2), held(1)), None, "a later term committed the other");
        assert_eq!(all.elected("n1", Term(4), held(2)), None);
        assert!(all.elected("n1", Term(4), held(1)).is_some());
        assert!(all.elected("n1", Term(2), |_| Some(Some(Term(2)))).is_some(), "another entry");
        assert_eq!(all.elected("n1", Term(4), |_| Some(None)), None, "compacted");
    }
}
