//! Deleted stays deleted, overwritten stays overwritten: no call sees a value that was known to be
//! there before another call took it away, once that one has returned.
//!
//! It follows from linearizability, but is found in one pass, without a model and without a search
//! that may have to be given up; it is what users call a lost update or a stale read (*monotonic
//! reads* and *read your writes* of Terry et al. 1994, across clients).
//!
//! A call takes a value away if its answer says so: SET that set, MSET, DEL, GETDEL, RENAME of the
//! key or to the key, FLUSHALL and so on; so does the loss of everything. The value was there before
//! if its writer had been answered, or somebody had seen it, before that call began. Nothing is said
//! where another key may have been renamed to this one meanwhile, or a loss may have undone it.

use super::sights::Facts;
use super::{Violation, words};
use crate::history::History;

/// The checker's name.
pub const NAME: &str = "deleted stays deleted";

pub(super) fn check(history: &History, facts: &Facts) -> Vec<Violation> {
    let found = facts.returned_from_the_dead(history, |key| &key.cleared, |(), _| true);
    let violation = |found: super::sights::Resurrection| {
        let sight = &history.calls[found.sight];
        let writer = &history.calls[found.writer];
        let by = found.by.map_or("  a loss of everything".into(), |by| {
            format!("  {}", words::call(&history.calls[by]))
        });
        let text = format!(
            "t{} was there and was taken away, and yet it is seen:\n  {}\n{by}\n  {}",
            found.token.id,
            words::call(writer),
            words::call(sight)
        );
        let others = found.by.into_iter().chain([found.writer]).collect();
        Violation::at(NAME, history, found.sight, others, text)
    };
    found.into_iter().map(violation).collect()
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forge, del, get, is, k, mset, set, set_with, t};
    use super::*;
    use crate::history::{Action, Answer, Left, Ttl, When};
    use Answer::{Done, Int, Nil};

    fn found(forge: &Forge) -> Vec<Vec<usize>> {
        let history = forge.history();
        check(history, &Facts::of(history)).into_iter().map(|found| found.calls).collect()
    }

    /// A value is written, `takes` takes it away, and yet it is seen: by which calls that shows.
    fn after(takes: Action, answer: Answer) -> Vec<Vec<usize>> {
        let mut forge = Forge::default();
        forge.call(1, set(0, 1), Done);
        forge.call(2, takes, answer);
        forge.call(3, get(0), is(1));
        found(&forge)
    }

    #[test]
    fn what_is_taken_away_is_not_seen_again() {
        let equal = When::Equal(t(1));
        let whole = Action::Txn { watched: vec![], steps: vec![set(1, 2), del(0)] };
        let got =
            Action::Set { key: k(0), val: t(2), ttl: Ttl::None, when: When::Present, get: true };
        for (takes, answer) in [
            (set(0, 2), Done),
            (set_with(0, 2, Ttl::None, equal), Done),
            (got, is(1)),
            (del(0), Int(1)),
            (mset(&[(0, 2), (1, 3)]), Done),
            (Action::GetDel(k(0)), is(1)),
            (Action::DelIfEq(k(0), t(1)), Int(1)),
            (Action::Rename(k(0), k(1)), Done),
            (Action::Flush, Done),
            (whole, Answer::Each(vec![Done, Int(1)])),
        ] {
            assert_eq!(after(takes.clone(), answer), [[0, 1, 2]], "{takes:?}");
        }
    }

    #[test]
    fn what_did_nothing_takes_nothing_away() {
        let whole = Action::Txn { watched: vec![], steps: vec![del(0)] };
        for (takes, answer) in [
            (set_with(0, 2, Ttl::None, When::Absent), Nil),
            (Action::MSetNx(vec![(k(0), t(2))]), Int(0)),
            (Action::DelIfEq(k(0), t(2)), Int(0)),
            (Action::Rename(k(0), k(0)), Done),
            (whole, Answer::Aborted),
        ] {
            assert_eq!(after(takes.clone(), answer), [[0; 0]; 0], "{takes:?}");
        }
    }

    #[test]
    fn calls_at_the_same_time_may_be_in_either_order() {
        let mut forge = Forge::default();
        let write = forge.ask(1, set(0, 1));
        let deletion = forge.ask(2, del(0));
        forge.told(write, Done);
        forge.told(deletion, Int(0));
        let read = forge.ask(2, get(0));
        let overwrite = forge.call(1, set(0, 2), Done);
        forge.told(read, is(1));
        assert_eq!(found(&forge), [[0; 0]; 0]);
        let late = forge.call(2, get(0), is(1));
        assert_eq!(found(&forge), [[write, overwrite, late]]);
    }

    #[test]
    fn what_nobody_acknowledged_counts_once_it_was_seen() {
        let mut forge = Forge::default();
        let write = forge.ask(1, set(0, 1));
        forge.call(2, get(0), is(1));
        let deletion = forge.call(2, del(0), Int(1));
        let read = forge.call(2, get(0), is(1));
        assert_eq!(found(&forge), [[write, deletion, read]]);
    }

    #[test]
    fn a_value_may_come_back_by_a_rename() {
        let mut forge = Forge::default();
        forge.call(1, set(0, 1), Done);
        forge.call(1, Action::Rename(k(0), k(1)), Done);
        forge.call(1, Action::Rename(k(1), k(0)), Done);
        forge.call(1, get(0), is(1));
        assert_eq!(found(&forge), [[0; 0]; 0]);
    }

    #[test]
    fn a_loss_may_undo_what_was_not_durable_and_no_more() {
        let mut forge = Forge::default();
        forge.call(1, set(0, 1), Done);
        let durable = forge.now();
        let deletion = forge.call(1, del(0), Int(1));
        forge.loss(Left::Prefix(durable));
        forge.call(1, get(0), is(1));
        assert_eq!(found(&forge), [[0; 0]; 0]);
        let mut forge = Forge::default();
        forge.call(1, set(0, 1), Done);
        assert_eq!(forge.call(1, del(0), Int(1)), deletion);
        let durable = forge.now();
        forge.loss(Left::Prefix(durable));
        forge.call(1, get(0), is(1));
        assert_eq!(found(&forge), [[0, 1, 2]]);
    }

    #[test]
    fn nothing_comes_back_after_everything_was_lost() {
        let mut forge = Forge::default();
        forge.call(1, set(0, 1), Done);
        forge.loss(Left::Nothing);
        forge.call(1, get(0), is(1));
        assert_eq!(found(&forge), [[0, 1]]);
    }
}
