//! In a life a term and a commit index never go back (Raft §5.1, figure 2).

use kvnode_core::{Index, Term};

use super::Found;

/// The highest that one life has had.
#[derive(Default)]
pub(crate) struct Monotone {
    term: Term,
    commit: Index,
}

impl Monotone {
    /// How far a member is.
    pub(crate) fn is(&mut self, who: &str, term: Term, commit: Index) -> Option<Found> {
        let before = std::mem::replace(self, Self { term, commit });
        let back = term < before.term || commit < before.commit;
        back.then(|| {
            let from = format!("from {} {}", before.term, before.commit);
            ("never back", format!("{who} goes {from} to {term} {commit}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_back_is_seen() {
        let mut life = Monotone::default();
        assert_eq!(life.is("n1", Term(2), Index(5)), None);
        assert_eq!(life.is("n1", Term(2), Index(5)), None);
        assert!(life.is("n1", Term(1), Index(6)).is_some());
        assert!(life.is("n1", Term(2), Index(5)).is_some());
    }
}
