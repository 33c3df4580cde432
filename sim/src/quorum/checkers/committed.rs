//! What is committed stays, and is the same everywhere (Raft §5.4.3, State Machine Safety).

use std::collections::BTreeMap;

use kvnode_core::{Index, Term};

use super::Found;

/// The committed log, as the first who knew of each entry had it.
#[derive(Default)]
pub(crate) struct Committed(BTreeMap<Index, (Term, Option<u64>)>);

impl Committed {
    /// A node takes this entry for committed, or has applied it. Of a snapshot's last entry only the
    /// term is known.
    pub(crate) fn is(
        &mut self,
        who: &str,
        index: Index,
        term: Term,
        content: Option<u64>,
    ) -> Option<Found> {
        let known = self.0.entry(index).or_insert((term, content));
        let same = match (known.1, content) {
            (Some(known), Some(content)) => known == content,
            (None, _) | (_, None) => true,
        };
        known.1 = known.1.or(content);
        (known.0 != term || !same).then(|| {
            let text =
                format!("{who} has {index}{term} committed, which was {index}{} before", known.0);
            ("committed never lost", text)
        })
    }

    /// The term of the committed entry at `index`, as far as it is known.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        self.0.get(&index).map(|&(term, _)| term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_entry_in_the_place_of_a_committed_one_is_seen() {
        let mut log = Committed::default();
        assert_eq!(log.is("n1", Index(4), Term(2), None), None);
        assert_eq!(log.is("n2", Index(4), Term(2), Some(9)), None);
        assert!(log.is("n3", Index(4), Term(2), Some(8)).is_some(), "another content");
        assert!(log.is("n3", Index(4), Term(3), Some(9)).is_some(), "another term");
        assert_eq!(log.term_at(Index(4)), Some(Term(2)));
    }
}
