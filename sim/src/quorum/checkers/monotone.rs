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
        let back = term < self.term || commit < self.commit;
        let text = format!("{who} goes from {} {} to {term} {commit}", self.term, self.commit);
        (self.term, self.commit) = (term, commit);
        back.then_some(("never back", text))
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
