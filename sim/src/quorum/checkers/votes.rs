//! A member votes once in a term and remembers it, and a majority of the voters elects (Raft §5.2).
//!
//! Judged by what is sent, since that is what others rely on. A voter is a node with its directory
//! (KIP-853): the vote of a node whose disk was emptied is another member's, and counts for nothing
//! until a voter set names that member.

use std::collections::{BTreeMap, BTreeSet};

use kvnode_core::{Member, NodeId, Term};

use super::Found;

/// Who voted for whom.
#[derive(Default)]
pub(crate) struct Votes {
    given: BTreeMap<(Member, Term), NodeId>,
    granted: BTreeMap<(Term, NodeId), BTreeSet<Member>>,
}

impl Votes {
    /// A member says to a candidate, or to all by standing itself, that it votes for it.
    pub(crate) fn votes(&mut self, member: Member, term: Term, candidate: NodeId) -> Option<Found> {
        self.granted.entry((term, candidate)).or_default().insert(member);
        let first = *self.given.entry((member, term)).or_insert(candidate);
        (first != candidate).then(|| {
            ("one vote a term", format!("{member} votes for {candidate} in {term} after {first}"))
        })
    }

    /// The vote that a member has spoken of in a term.
    pub(crate) fn of(&self, member: Member, term: Term) -> Option<NodeId> {
        self.given.get(&(member, term)).copied()
    }

    /// A member leads a term, with these voters.
    pub(crate) fn elected(&self, leader: Member, term: Term, voters: &[Member]) -> Option<Found> {
        let none = BTreeSet::new();
        let granted = self.granted.get(&(term, leader.node)).unwrap_or(&none);
        let by = |voter: &&Member| **voter == leader || granted.contains(voter);
        let count = voters.iter().filter(by).count();
        (count * 2 <= voters.len()).then(|| {
            let text = format!("{leader} leads {term} by {count} of {} voters", voters.len());
            ("elected by a majority", text)
        })
    }
}

#[cfg(test)]
mod tests {
    use kvnode_core::DirectoryId;

    use super::super::forge::member;
    use super::*;

    #[test]
    fn a_second_vote_in_a_term_is_seen() {
        let mut votes = Votes::default();
        assert_eq!(votes.votes(member(1), Term(2), NodeId(3)), None);
        assert_eq!(votes.votes(member(1), Term(2), NodeId(3)), None, "said again");
        assert_eq!(votes.votes(member(1), Term(3), NodeId(2)), None);
        assert!(votes.votes(member(1), Term(2), NodeId(2)).is_some());
    }

    #[test]
    fn a_leader_by_the_vote_of_an_empty_disk_is_seen() {
        let voters = [member(1), member(2), member(3)];
        let mut votes = Votes::default();
        let emptied = Member { directory: DirectoryId(99), ..member(2) };
        votes.votes(emptied, Term(2), NodeId(1));
        assert!(votes.elected(member(1), Term(2), &voters).is_some());
        votes.votes(member(3), Term(2), NodeId(1));
        assert_eq!(votes.elected(member(1), Term(2), &voters), None);
        assert!(votes.elected(member(1), Term(3), &voters).is_some(), "another term");
    }
}
