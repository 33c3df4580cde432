//! What a member has said, it keeps over a restart: the terms that it spoke of, and the entries that
//! it acknowledged as durable (Raft figure 2, "persistent state"; dissertation §10.2.1).

use std::collections::BTreeMap;

use kvnode_core::{Index, Member, Term};

use super::Found;

/// What each member has said.
#[derive(Default)]
pub(crate) struct Promises(BTreeMap<Member, Promise>);

#[derive(Clone, Copy, Default)]
struct Promise {
    term: Term,
    /// The entry that it acknowledged last, if it has not been cut since.
    durable: Option<(Index, Term)>,
}

impl Promises {
    /// A member says something that others rely on, in this term.
    pub(crate) fn speaks(&mut self, member: Member, term: Term) {
        let promise = self.0.entry(member).or_default();
        promise.term = promise.term.max(term);
    }

    /// A member acknowledges its log up to this entry as durable.
    pub(crate) fn acknowledges(&mut self, member: Member, index: Index, term: Term) {
        let promise = self.0.entry(member).or_default();
        if promise.durable.is_none_or(|(earlier, _)| earlier < index) {
            promise.durable = Some((index, term));
        }
    }

    /// A member has cut its log, and has this entry last in common with what it was.
    pub(crate) fn cuts(&mut self, member: Member, last: Index) {
        let promise = self.0.entry(member).or_default();
        if promise.durable.is_some_and(|(index, _)| index > last) {
            promise.durable = None;
        }
    }

    /// A member has started again. `held`: whether its log has the entry, or has it compacted.
    pub(crate) fn restarts(
        &self,
        member: Member,
        term: Term,
        held: impl Fn(Index, Term) -> bool,
    ) -> Option<Found> {
        let promise = self.0.get(&member)?;
        if promise.term > term {
            let text = format!("{member} starts in {term} and has spoken of {}", promise.term);
            return Some(("promises kept", text));
        }
        let (index, of) = promise.durable?;
        (!held(index, of)).then(|| {
            let text = format!("{member} starts without {index}{of}, which it acknowledged");
            ("promises kept", text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge::member;
    use super::*;

    #[test]
    fn a_forgotten_term_and_a_forgotten_entry_are_seen() {
        let mut promises = Promises::default();
        promises.speaks(member(1), Term(3));
        assert!(promises.restarts(member(1), Term(2), |_, _| true).is_some());
        assert_eq!(promises.restarts(member(1), Term(3), |_, _| true), None);
        assert_eq!(promises.restarts(member(2), Term(0), |_, _| false), None, "said nothing");
        promises.acknowledges(member(1), Index(7), Term(2));
        assert!(promises.restarts(member(1), Term(3), |_, _| false).is_some());
        promises.cuts(member(1), Index(6));
        assert_eq!(promises.restarts(member(1), Term(3), |_, _| false), None, "it was cut");
    }
}
