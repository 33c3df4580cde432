//! Nothing is seen that was not written: each value that a call is told was written to that group of
//! keys, by a call that had been invoked, and that was neither refused nor says by its own answer
//! that it wrote nothing (*no out-of-thin-air reads*; DESIGN §5: rejected writes are never visible).

use super::sights::{Facts, seen, takes, tokens_of};
use super::{Violation, words};
use crate::history::{Call, History, Key, Order, Outcome, Token};

/// The checker's name.
pub const NAME: &str = "nothing unwritten";

pub(super) fn check(history: &History, facts: &Facts) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (i, call) in history.calls.iter().enumerate() {
        let Outcome::Answered(answer) = &call.outcome else { continue };
        for (key, val) in seen(&call.action, answer) {
            for token in tokens_of(&val) {
                let Some((why, writer)) = unwritten(history, facts, call, key, token) else {
                    continue;
                };
                let mut text =
                    format!("t{} is seen, but {why}:\n  {}", token.id, words::call(call));
                for &writer in &writer {
                    text.push_str(&format!("\n  {}", words::call(&history.calls[writer])));
                }
                violations.push(Violation::at(NAME, history, i, writer, text));
            }
        }
    }
    violations
}

/// Why the token can not be what `call` saw, and who was to write it.
fn unwritten(
    history: &History,
    facts: &Facts,
    call: &Call,
    key: Key,
    token: Token,
) -> Option<(&'static str, Vec<usize>)> {
    let Some(&(at, home)) = facts.writers.get(&token) else {
        return Some(("nobody writes it", Vec::new()));
    };
    let writer = &history.calls[at];
    let returned = call.returned.map_or(Order::MAX, |returned| returned.order);
    let why = if home.group != key.group {
        Some("it was written to another group")
    } else if writer.invoked.order > returned {
        Some("it was written later")
    } else {
        match &writer.outcome {
            Outcome::Refused(_) => Some("its writer was refused"),
            Outcome::Answered(answer) if !takes(&writer.action, answer, token) => {
                Some("its writer says that it wrote nothing")
            }
            Outcome::Answered(_) | Outcome::Unknown(_) | Outcome::Garbage(_) => None,
        }
    };
    Some((why?, vec![at]))
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forge, get, is, k, set, set_with, t};
    use super::*;
    use crate::history::{Action, Answer, Group, Ttl, When};
    use Answer::{Aborted, Done, Int, Nil};

    fn found(forge: &Forge) -> Vec<Vec<usize>> {
        let history = forge.history();
        check(history, &Facts::of(history)).into_iter().map(|found| found.calls).collect()
    }

    #[test]
    fn what_was_written_or_may_have_been_is_seen() {
        let mut forge = Forge::default();
        forge.call(1, set(0, 1), Done);
        forge.call(2, get(0), is(1));
        forge.ask(1, set(0, 2));
        forge.call(2, get(0), is(2));
        forge.call(2, Action::Rename(k(0), k(1)), Done);
        forge.call(2, get(1), is(2));
        let whole = Action::Txn { watched: vec![], steps: vec![set(0, 3), get(0)] };
        forge.call(2, whole, Answer::Each(vec![Done, is(3)]));
        assert_eq!(found(&forge), [[0; 0]; 0]);
    }

    #[test]
    fn what_nobody_writes_is_not_seen() {
        let mut forge = Forge::default();
        forge.call(2, get(0), is(1));
        assert_eq!(found(&forge), [[0]]);
    }

    #[test]
    fn what_is_not_yet_written_is_not_seen() {
        let mut forge = Forge::default();
        forge.call(2, get(0), is(1));
        forge.call(1, set(0, 1), Done);
        assert_eq!(found(&forge), [[0, 1]]);
    }

    #[test]
    fn what_was_refused_or_did_nothing_is_not_seen() {
        let mut forge = Forge::default();
        let refused = forge.ask(1, set(0, 1));
        forge.refused(refused);
        forge.call(2, get(0), is(1));
        assert_eq!(found(&forge), [[0, 1]]);
        let got = |when| Action::Set { key: k(0), val: t(1), ttl: Ttl::None, when, get: true };
        let whole = Action::Txn { watched: vec![], steps: vec![set(0, 1)] };
        let half = Action::Txn {
            watched: vec![],
            steps: vec![set(1, 2), set_with(0, 1, Ttl::None, When::Absent)],
        };
        for (nothing, answer) in [
            (set_with(0, 1, Ttl::None, When::Absent), Nil),
            (set_with(0, 1, Ttl::None, When::Equal(t(7))), Nil),
            (got(When::Present), Nil),
            (got(When::Equal(t(7))), Nil),
            (got(When::Absent), Answer::Val(crate::history::Val::Int(7))),
            (Action::MSetNx(vec![(k(0), t(1))]), Int(0)),
            (whole, Aborted),
            (half, Answer::Each(vec![Done, Nil])),
        ] {
            let mut forge = Forge::default();
            forge.call(1, nothing.clone(), answer);
            forge.call(2, get(0), is(1));
            assert_eq!(found(&forge), [[0, 1]], "{nothing:?}");
        }
    }

    #[test]
    fn what_was_written_elsewhere_is_not_seen() {
        let mut forge = Forge::default();
        forge.call(1, set(0, 1), Done);
        forge.call(1, Action::Get(Key { group: Group(1), number: 0 }), is(1));
        assert_eq!(found(&forge), [[0, 1]]);
    }
}
