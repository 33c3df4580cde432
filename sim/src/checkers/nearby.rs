//! Reads of a connection that said READONLY may be behind, but never go back and never show half of a
//! batch: what such a connection sees is no older than what it has read or written before, and all of one
//! read is of one state (*monotonic reads* and *read your writes* of Terry et al. 1994; README).
//!
//! A connection knows of a call if it made it and was answered, or has seen what it wrote; of a call that
//! wrote what a read shows, that read knows too. Whatever a call of which it knows has taken away (see
//! [`stale`](super::stale)) it does not see again. Nothing is said of keys that are not there, nor where
//! another key may have been renamed to this one, or a loss have undone what was taken away.

use std::collections::{BTreeMap, BTreeSet};

use super::sights::{Fact, Facts, KeyFacts, may_be_lost, seen, tokens_of};
use super::{Violation, words};
use crate::history::{Call, History, Key, Order, Outcome, Token};

/// The checker's name.
pub const NAME: &str = "nearby reads go on";

pub(super) fn check(history: &History, facts: &Facts) -> Vec<Violation> {
    let mut sessions: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (i, call) in history.calls.iter().enumerate() {
        sessions.entry(call.session).or_default().push(i);
    }
    let is_nearby = |calls: &Vec<usize>| calls.iter().any(|&i| history.calls[i].nearby);
    let nearby = sessions.into_values().filter(is_nearby);
    nearby.flat_map(|calls| check_session(history, facts, &calls)).collect()
}

/// `calls`: of one connection, as they were invoked.
fn check_session(history: &History, facts: &Facts, calls: &[usize]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (nth, &at) in calls.iter().enumerate() {
        let read = &history.calls[at];
        if !read.nearby {
            continue;
        }
        let before = calls[..nth].iter().map(|&i| (i, &history.calls[i]));
        let before = before.filter(|(_, call)| {
            call.returned.is_some_and(|returned| returned.order < read.invoked.order)
        });
        let mut known: BTreeSet<usize> = BTreeSet::new();
        for (i, call) in before {
            known.insert(i);
            known.extend(writers(facts, call));
        }
        known.extend(writers(facts, read));
        for (key, token) in tokens(read) {
            let Some(by) = taken_away(history, facts, (key, token), &known, read) else { continue };
            let text = format!(
                "t{} is seen by a connection that knows of what took it away:\n  {}\n  {}",
                token.id,
                words::call(&history.calls[by]),
                words::call(read)
            );
            violations.push(Violation::at(NAME, history, at, vec![by], text));
        }
    }
    violations
}

/// The call of which the connection knows that took the token away from the key.
fn taken_away(
    history: &History,
    facts: &Facts,
    (key, token): (Key, Token),
    known: &BTreeSet<usize>,
    read: &Call,
) -> Option<usize> {
    let &(writer, home) = facts.writers.get(&token)?;
    let own: &KeyFacts = facts.keys.get(&key)?;
    let since_write = history.calls[writer].invoked.order;
    if home != key || own.moved_in.iter().any(|moved| moved.to > since_write) {
        return None;
    }
    let since: Order = facts.there_since(history, token)?;
    let until = read.returned.map_or(Order::MAX, |returned| returned.order);
    let lost = |fact: &&Fact<()>| may_be_lost(history, key, fact, until);
    let after = own.cleared.iter().filter(|fact| fact.from > since && !lost(fact));
    after.filter_map(|fact| fact.call).find(|call| known.contains(call))
}

/// Whose writes a call shows.
fn writers(facts: &Facts, call: &Call) -> impl Iterator<Item = usize> {
    tokens(call).into_iter().filter_map(|(_, token)| Some(facts.writers.get(&token)?.0))
}

fn tokens(call: &Call) -> Vec<(Key, Token)> {
    let Outcome::Answered(answer) = &call.outcome else { return Vec::new() };
    let of = |(key, val)| tokens_of(&val).into_iter().map(move |token| (key, token));
    seen(&call.action, answer).into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forge, get, is, k, mset, set, t};
    use super::*;
    use crate::history::{Action, Answer};
    use Answer::Done;

    fn found(forge: &Forge) -> Vec<Vec<usize>> {
        let history = forge.history();
        let facts = Facts::of(&history.without_nearby());
        check(history, &facts).into_iter().map(|found| found.calls).collect()
    }

    /// Two values are written, one after the other, and then read nearby in this order.
    fn read(values: &[u32]) -> Vec<Vec<usize>> {
        let mut forge = Forge::default();
        forge.call(1, set(0, 1), Done);
        forge.call(1, set(0, 2), Done);
        let reads: Vec<usize> = values.iter().map(|&val| forge.call(2, get(0), is(val))).collect();
        forge.on_one_connection(&reads).nearby(&reads);
        found(&forge)
    }

    #[test]
    fn a_read_may_be_behind_and_never_goes_back() {
        assert_eq!(read(&[1, 1, 2, 2]), [[0; 0]; 0]);
        assert_eq!(read(&[2, 1]), [[1, 3]]);
    }

    #[test]
    fn another_connection_may_be_further_behind() {
        let mut forge = Forge::default();
        forge.call(1, set(0, 1), Done);
        forge.call(1, set(0, 2), Done);
        let reads = [forge.call(2, get(0), is(2)), forge.call(3, get(0), is(1))];
        forge.nearby(&reads);
        assert_eq!(found(&forge), [[0; 0]; 0]);
    }

    #[test]
    fn a_connection_sees_what_it_has_written() {
        let mut forge = Forge::default();
        forge.call(1, set(0, 1), Done);
        let calls = [forge.call(2, set(0, 2), Done), forge.call(2, get(0), is(1))];
        forge.on_one_connection(&calls).nearby(&calls[1..]);
        assert_eq!(found(&forge), [[1, 2]]);
    }

    #[test]
    fn no_half_of_a_batch_is_seen() {
        let mut forge = Forge::default();
        forge.call(1, mset(&[(0, 1), (1, 2)]), Done);
        forge.call(1, mset(&[(0, 3), (1, 4)]), Done);
        let both = |a: u32, b: u32| Answer::Vals(vec![Some(t(a)), Some(t(b))]);
        let mget = Action::MGet(vec![k(0), k(1)]);
        let whole = forge.call(2, mget.clone(), both(1, 2));
        let half = forge.call(3, mget, both(3, 2));
        forge.nearby(&[whole, half]);
        assert_eq!(found(&forge), [[1, 3]]);
    }
}
