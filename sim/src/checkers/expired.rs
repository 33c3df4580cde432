//! Expired stays expired: a value that was there, and that a call then found gone, is not seen by a
//! call that begins after that one returned (DESIGN §6: the log clock never goes back; Redis's
//! EXPIRE).
//!
//! For a value that went by expiry no call tells when, so that only those who look for it do. The
//! same is asked of values that went in other ways: whoever saw it gone has seen the truth. Nothing
//! is said where another key may have been renamed to this one meanwhile, or where a loss may have
//! undone what was seen.

use super::sights::{Facts, Resurrection, has};
use super::{Violation, words};
use crate::history::History;

/// The checker's name.
pub const NAME: &str = "expired stays expired";

pub(super) fn check(history: &History, facts: &Facts) -> Vec<Violation> {
    let gone = |seen: &Option<_>, token| !has(seen, token);
    let found = facts.returned_from_the_dead(history, |key| &key.seen, gone);
    let violation = |found: Resurrection| {
        let line = |i: usize| words::call(&history.calls[i]);
        let by = found.by.expect("somebody saw it gone");
        let text = format!(
            "t{} was there and then was not, and yet it is seen again:\n  {}\n  {}\n  {}",
            found.token.id,
            line(found.writer),
            line(by),
            line(found.sight)
        );
        Violation::at(NAME, history, found.sight, vec![by, found.writer], text)
    };
    found.into_iter().map(violation).collect()
}

#[cfg(test)]
mod tests {
    use super::super::forge::{
        Forge, append, are, del, get, incr, is, k, mget, set, set_with, t, ts,
    };
    use super::*;
    use crate::history::{Action, Answer, Left, Ttl, When};
    use Answer::{Done, Int, Nil, NoSuchKey};

    fn found(forge: &Forge) -> Vec<Vec<usize>> {
        let history = forge.history();
        check(history, &Facts::of(history)).into_iter().map(|found| found.calls).collect()
    }

    /// A value is written with a time of expiry, `looks` looks, and then it is seen.
    fn after(looks: Action, answer: Answer) -> Vec<Vec<usize>> {
        let mut forge = Forge::default();
        forge.clock(100).call(1, set_with(0, 1, Ttl::In(10), When::Always), Done);
        forge.clock(120).call(2, looks, answer);
        forge.clock(90).call(3, get(0), is(1));
        found(&forge)
    }

    #[test]
    fn an_expired_value_does_not_come_back() {
        let both = Action::Txn { watched: vec![(k(0), None)], steps: vec![set(1, 9)] };
        for (looks, answer) in [
            (get(0), Nil),
            (mget(&[1, 0]), are(&[9, 0])),
            (Action::Exists(vec![k(0)]), Int(0)),
            (del(0), Int(0)),
            (set_with(0, 2, Ttl::None, When::Absent), Done),
            (set_with(0, 2, Ttl::None, When::Present), Nil),
            (Action::MSetNx(vec![(k(0), t(2))]), Int(1)),
            (Action::Expire(k(0), Ttl::In(5)), Int(0)),
            (Action::Rename(k(0), k(1)), NoSuchKey),
            (append(0, 2), Int(24)),
            (incr(0), Int(1)),
            (get(0), is(2)),
            (both, Answer::Each(vec![Done])),
        ] {
            assert_eq!(after(looks.clone(), answer), [[0, 1, 2]], "{looks:?}");
        }
    }

    #[test]
    fn what_did_not_find_it_gone_tells_nothing() {
        for (looks, answer) in [
            (get(0), is(1)),
            (append(0, 2), Int(48)),
            (append(0, 2), Int(48)),
            (get(0), Answer::Val(ts(&[1, 2]))),
            (get(1), Nil),
            (Action::Exists(vec![k(0), k(1)]), Int(1)),
            (set_with(0, 2, Ttl::None, When::Absent), Nil),
            (Action::Persist(k(0)), Int(0)),
        ] {
            assert_eq!(after(looks.clone(), answer), [[0; 0]; 0], "{looks:?}");
        }
    }

    #[test]
    fn who_looks_at_the_same_time_may_see_either() {
        let mut forge = Forge::default();
        forge.call(1, set(0, 1), Done);
        let (early, late) = (forge.ask(2, get(0)), forge.ask(3, get(0)));
        forge.told(early, Nil).told(late, is(1));
        assert_eq!(found(&forge), [[0; 0]; 0]);
        let again = forge.call(2, get(0), is(1));
        assert_eq!(found(&forge), [[0, early, again]]);
    }

    #[test]
    fn it_is_not_gone_before_it_is_there() {
        let mut forge = Forge::default();
        let write = forge.ask(1, set(0, 1));
        forge.call(2, get(0), Nil);
        forge.call(2, get(0), is(1));
        forge.told(write, Done);
        assert_eq!(found(&forge), [[0; 0]; 0]);
    }

    #[test]
    fn a_loss_may_undo_what_took_it_away() {
        for durable_first in [true, false] {
            let mut forge = Forge::default();
            forge.call(1, set(0, 1), Done);
            let durable = forge.now();
            let gone = forge.call(2, get(0), Nil);
            let kept = if durable_first { durable } else { forge.now() };
            forge.loss(Left::Prefix(kept));
            let read = forge.call(2, get(0), is(1));
            let none: &[Vec<usize>] = &[];
            let some: &[Vec<usize>] = &[vec![0, gone, read]];
            assert_eq!(found(&forge), if durable_first { none } else { some });
        }
    }
}
