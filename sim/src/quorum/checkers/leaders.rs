//! At most one leader a term (Raft §5.2, Election Safety).

use std::collections::BTreeMap;

use kvnode_core::{Member, Term};

use super::Found;

/// Who has led each term.
#[derive(Default)]
pub(crate) struct OneLeader(BTreeMap<Term, Member>);

impl OneLeader {
    /// A member leads a term.
    pub(crate) fn leads(&mut self, term: Term, member: Member) -> Option<Found> {
        let first = *self.0.entry(term).or_insert(member);
        (first != member)
            .then(|| ("one leader a term", format!("{first} and {member} both lead in {term}")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge::member;
    use super::*;

    #[test]
    fn a_second_leader_of_a_term_is_seen() {
        let mut leaders = OneLeader::default();
        assert_eq!(leaders.leads(Term(1), member(1)), None);
        assert_eq!(leaders.leads(Term(1), member(1)), None, "the same once more");
        assert_eq!(leaders.leads(Term(2), member(2)), None);
        assert!(leaders.leads(Term(1), member(2)).is_some());
    }
}
