//! No abort without a reason: an EXEC that says that a watched key was touched could have seen it
//! touched between WATCH and EXEC (WATCH in the Redis command reference: EXEC aborts *if* a watched
//! key was modified or expired).
//!
//! A reason is a call that may have changed a watched key meanwhile, also one that was refused, since
//! a change that is dropped again has been seen; a time of expiry that may have come; a loss; or a
//! fault of a disk, by which a partition stops. Times of expiry go from key to key of a group by RENAME and
//! COPY, so that any of the group's will do.

use super::model::{group_of, keys_of, writes};
use super::{Violation, words};
use crate::history::{Action, Answer, Call, History, Key, Loss, Moment, Order, Outcome, Ttl};

/// The checker's name.
pub const NAME: &str = "no abort without a reason";

pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (i, call) in history.calls.iter().enumerate() {
        if call.outcome != Outcome::Answered(Answer::Aborted) || is_explained(history, i) {
            continue;
        }
        let since = call.watched_at.map_or(call.invoked.order, |at| at.order);
        let text = format!(
            "nothing can have touched what was watched since {since}:\n  {}",
            words::call(call)
        );
        violations.push(Violation::at(NAME, history, i, Vec::new(), text));
    }
    violations
}

fn is_explained(history: &History, at: usize) -> bool {
    let call = &history.calls[at];
    let (Action::Txn { watched, .. }, Some(since), Some(until)) =
        (&call.action, call.watched_at, call.returned)
    else {
        return false;
    };
    let keys: Vec<Key> = watched.iter().map(|(key, _)| *key).collect();
    let lost = |loss: &Loss| {
        let concerned = keys.iter().any(|key| loss.concerns(key.group));
        concerned && loss.from < until.order && loss.to > since.order
    };
    let struck = history.strikes.iter().any(|&order| since.order < order && order < until.order);
    let others = history.calls.iter().enumerate().filter(|&(i, _)| i != at).map(|(_, call)| call);
    struck
        || history.losses.iter().any(lost)
        || others.clone().any(|other| touches(other, &keys, since.order, until.order))
        || others.clone().any(|other| {
            let same_group = keys.iter().any(|key| group_of(&other.action) == Some(key.group));
            same_group && may_expire(other, &other.action, since, until)
        })
}

/// Whether the call may have changed one of the keys between the two.
fn touches(call: &Call, keys: &[Key], since: Order, until: Order) -> bool {
    let of_keys =
        call.action == Action::Flush || keys_of(&call.action).iter().any(|key| keys.contains(key));
    let end = match &call.outcome {
        Outcome::Answered(answer) if is_nothing(&call.action, answer) => return false,
        Outcome::Unknown(_) => call.until.unwrap_or(Order::MAX),
        Outcome::Answered(_) | Outcome::Refused(_) | Outcome::Garbage(_) => {
            call.returned.map_or(Order::MAX, |returned| returned.order)
        }
    };
    of_keys && writes(&call.action) && call.invoked.order < until && end > since
}

/// Whether a call, so answered, has changed nothing.
fn is_nothing(action: &Action, answer: &Answer) -> bool {
    matches!(
        (action, answer),
        (Action::Set { get: false, .. } | Action::GetDel(_), Answer::Nil)
            | (
                Action::Del(_)
                    | Action::MSetNx(_)
                    | Action::DelIfEq(..)
                    | Action::Expire(..)
                    | Action::Persist(_),
                Answer::Int(0),
            )
            | (_, Answer::NotInteger | Answer::NoSuchKey | Answer::Aborted)
    )
}

/// Whether the action of the call may have given a key a time of expiry that came between the two.
fn may_expire(call: &Call, action: &Action, since: Moment, until: Moment) -> bool {
    if call.invoked.order > until.order || matches!(call.outcome, Outcome::Refused(_)) {
        return false;
    }
    if let Action::Txn { steps, .. } = action {
        return steps.iter().any(|step| may_expire(call, step, since, until));
    }
    let (Action::Set { ttl, .. } | Action::Expire(_, ttl)) = action else { return false };
    let (lo_ms, hi_ms) = match *ttl {
        Ttl::None | Ttl::Keep => return false,
        Ttl::At(ms) => (ms, ms),
        Ttl::In(ms) => {
            let (lo, hi) = (call.clock_min_ms(), call.clock_max_ms());
            (lo.saturating_add(ms), hi.saturating_add(ms))
        }
    };
    lo_ms <= until.clock.latest_ms && hi_ms >= since.clock.committed_ms
}

#[cfg(test)]
mod tests {
    use super::super::forge::{Forge, del, get, is, k, set, set_with, t};
    use super::*;
    use crate::history::When;
    use Answer::{Aborted, Done, Int, Nil};

    /// Key 0 is watched, `between` happens, and EXEC aborts. Whether that is explained.
    fn after(before: impl Fn(&mut Forge), between: impl Fn(&mut Forge)) -> bool {
        let mut forge = Forge::default();
        forge.clock(100);
        before(&mut forge);
        let since = forge.watch();
        between(&mut forge);
        let whole = Action::Txn { watched: vec![(k(0), Some(t(1)))], steps: vec![set(1, 9)] };
        let exec = forge.ask(1, whole);
        forge.watched_at(exec, since).told(exec, Aborted);
        check(forge.history()).is_empty()
    }

    fn nothing(_: &mut Forge) {}

    #[test]
    fn an_abort_is_explained_by_a_change_meanwhile() {
        let call = |action: Action, answer: Answer| {
            move |forge: &mut Forge| _ = forge.call(2, action.clone(), answer.clone())
        };
        assert!(after(nothing, call(set(0, 2), Done)));
        assert!(after(nothing, call(Action::Flush, Done)));
        assert!(after(nothing, |forge| _ = forge.ask(2, set(0, 2))));
        assert!(after(|forge| _ = forge.ask(2, set(0, 2)), nothing), "it may come late");
        assert!(after(nothing, |forge| {
            let refused = forge.ask(2, set(0, 2));
            forge.refused(refused);
        }));
        assert!(after(nothing, |forge| _ = forge.strike()));
        let expiring = |ms| set_with(0, 1, Ttl::In(ms), When::Always);
        let passes = |forge: &mut Forge| _ = forge.clock(150);
        assert!(after(call(expiring(30), Done), passes));
    }

    #[test]
    fn an_abort_without_a_reason_is_told() {
        let call = |action: Action, answer: Answer| {
            move |forge: &mut Forge| _ = forge.call(2, action.clone(), answer.clone())
        };
        assert!(!after(nothing, nothing));
        assert!(!after(call(set(0, 1), Done), nothing), "it was before");
        assert!(!after(nothing, call(set(1, 2), Done)), "another key");
        assert!(!after(nothing, call(get(0), is(1))));
        assert!(!after(nothing, call(del(0), Int(0))), "it was not there");
        assert!(!after(nothing, call(set_with(0, 2, Ttl::None, When::Absent), Nil)));
        assert!(!after(|forge| _ = forge.strike(), nothing), "the fault was before");
        let expiring = |ms| set_with(0, 1, Ttl::In(ms), When::Always);
        let passes = |forge: &mut Forge| _ = forge.clock(150);
        assert!(!after(call(expiring(80), Done), passes), "it is still to come");
    }
}
