//! Linearizability: each call takes effect at one point between its invocation and its return, and
//! what it is told follows from the calls before that point (Herlihy & Wing 1990).
//!
//! The unit is a group of keys: no command names keys of two, and linearizability is local, so that
//! the whole is linearizable if each group is. FLUSHALL, which is of every group, is thereby not
//! held to be one moment for all of them; neither is the point to which a loss goes back.
//!
//! What is put in order, by `search.rs`:
//! - **Answered** calls, each of which has to be explained by the [`model`](super::model). But an
//!   EXEC that was aborted did nothing; whether it had a reason is judged elsewhere.
//! - **Unknown** calls, which may have taken effect before [`Call::until`] or not at all, by any
//!   clock from their invocation on. Those that only read are left out: what they may have found
//!   expired, later calls find expired too.
//! - Calls answered with **garbage**, as if unknown and over with that answer: another checker tells
//!   of them.
//! - **Losses**, each at one point between crash and restart.
//!
//! Refused calls do nothing. If there is no order, the violation names the first call (by return)
//! up to whose return there is none, since everything after it may be a consequence.

use std::collections::BTreeMap;

use super::model::{Span, group_of, keys_of, writes};
use super::search::{Found, MEMORY_WORDS_MAX, Op, Stuck, What, search};
use super::sights::{tokens_in, tokens_written};
use super::{Violation, words};
use crate::history::{Action, Answer, Call, Group, History, Key, Order, Outcome};

/// The checker's name.
pub const NAME: &str = "linearizable";

/// Calls named besides the one that can not be explained.
const CALLS_TOLD_MAX: usize = 12;

/// What was found: at most one violation a group, and the groups whose search was given up.
pub(super) fn check(history: &History) -> (Vec<Violation>, Vec<Group>) {
    let mut violations = Vec::new();
    let mut undecided = Vec::new();
    for (group, calls) in by_group(history) {
        let (ops, of_ops) = operations(history, group, &calls);
        match search(&ops, MEMORY_WORDS_MAX) {
            Found::Order => {}
            Found::NoOrder(stuck) => {
                violations.push(violation(history, group, &calls, &of_ops, &stuck));
            }
            Found::Undecided => undecided.push(group),
        }
    }
    (violations, undecided)
}

/// The calls of each group, FLUSHALL among those of all.
fn by_group(history: &History) -> BTreeMap<Group, Vec<usize>> {
    let mut groups: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
    let of_call: Vec<_> = history.calls.iter().map(|call| group_of(&call.action)).collect();
    for group in of_call.iter().flatten() {
        groups.entry(*group).or_default();
    }
    if groups.is_empty() && !history.calls.is_empty() {
        groups.insert(Group(0), Vec::new());
    }
    for (i, group) in of_call.iter().enumerate() {
        match group {
            Some(group) => groups.entry(*group).or_default().push(i),
            None if history.calls[i].action == Action::Flush => {
                groups.values_mut().for_each(|calls| calls.push(i));
            }
            None => {}
        }
    }
    groups
}

/// What is to be put in order, and which call each operation is.
fn operations<'a>(
    history: &'a History,
    group: Group,
    calls: &[usize],
) -> (Vec<Op<'a>>, Vec<Option<usize>>) {
    let of_calls = calls.iter().filter_map(|&i| Some((operation(&history.calls[i])?, Some(i))));
    let losses = history.losses.iter().filter(|loss| loss.concerns(group));
    let of_losses = losses.map(|loss| {
        let what = What::Loss(loss.left);
        (Op { session: None, from: loss.from, to: loss.to, required: true, what }, None)
    });
    let mut all: Vec<_> = of_calls.chain(of_losses).collect();
    all.sort_by_key(|(op, _)| op.from);
    all.into_iter().unzip()
}

/// The call as an operation, unless it can have had no effect and tells nothing.
fn operation(call: &Call) -> Option<Op<'_>> {
    let returned = call.returned.map_or(Order::MAX, |returned| returned.order);
    let (to, answer) = match &call.outcome {
        Outcome::Refused(_) | Outcome::Answered(Answer::Aborted) => return None,
        Outcome::Answered(answer) => (returned, Some(answer)),
        Outcome::Unknown(_) => (call.until.unwrap_or(Order::MAX), None),
        Outcome::Garbage(_) => (returned, None),
    };
    if answer.is_none() && !writes(&call.action) {
        return None;
    }
    let clock = if answer.is_some() {
        let lo_ms = call.clock_min_ms();
        Span { lo_ms, hi_ms: call.clock_max_ms().max(lo_ms) }
    } else {
        Span { lo_ms: call.invoked.clock.committed_ms, hi_ms: u64::MAX }
    };
    let what = What::Call { action: &call.action, answer, clock };
    let session = Some(call.session);
    Some(Op { session, from: call.invoked.order, to, required: answer.is_some(), what })
}

fn violation(
    history: &History,
    group: Group,
    calls: &[usize],
    of_ops: &[Option<usize>],
    stuck: &Stuck,
) -> Violation {
    let at = of_ops[stuck.op].expect("a loss can always be put in order");
    let call = &history.calls[at];
    let returned = call.returned.map_or(Order::MAX, |returned| returned.order);
    let (meanwhile, before) = involved(history, calls, at);
    let mut text = format!(
        "no order of the calls on group {} up to {returned} explains\n  {}\nwhen the keys were\n",
        group.0,
        words::call(call)
    );
    for state in &stuck.states {
        text.push_str(&format!("  {}\n", words::state(state)));
    }
    let mut part = |title: &str, calls: &[usize]| {
        if !calls.is_empty() {
            text.push_str(title);
        }
        for &i in calls {
            text.push_str(&format!("  {}\n", words::call(&history.calls[i])));
        }
    };
    part("with, at the same time,\n", &meanwhile);
    part("and before that\n", &before);
    let losses = history.losses.iter().filter(|loss| loss.concerns(group));
    for loss in losses.filter(|loss| loss.from < returned) {
        let interval = words::interval(loss.from, Some(loss.to));
        text.push_str(&format!("and a loss that left {:?} {interval}\n", loss.left));
    }
    Violation::at(NAME, history, at, [meanwhile, before].concat(), text.trim_end().into())
}

/// The calls that bear on the one `at`: those that overlap it, and of those before it the writers of
/// what it was told and, for each of its keys, the latest to have changed it.
fn involved(history: &History, calls: &[usize], at: usize) -> (Vec<usize>, Vec<usize>) {
    let call = &history.calls[at];
    let returned = call.returned.map_or(Order::MAX, |returned| returned.order);
    let keys = keys_of(&call.action);
    let changes = |&&i: &&usize| i != at && writes(&history.calls[i].action);
    let near = |key: &Key, i: usize| {
        let action = &history.calls[i].action;
        *action == Action::Flush || keys_of(action).contains(key)
    };
    let end = |i: usize| match &history.calls[i].outcome {
        Outcome::Answered(_) | Outcome::Refused(_) | Outcome::Garbage(_) => {
            history.calls[i].returned.map_or(Order::MAX, |returned| returned.order)
        }
        Outcome::Unknown(_) => history.calls[i].until.unwrap_or(Order::MAX),
    };
    let mut meanwhile: Vec<usize> = calls.iter().filter(changes).copied().collect();
    meanwhile.retain(|&i| {
        let overlaps = history.calls[i].invoked.order < returned && end(i) > call.invoked.order;
        overlaps && keys.iter().any(|key| near(key, i))
    });
    // An unknown call of long ago is less likely to matter than one of just now.
    meanwhile.drain(..meanwhile.len().saturating_sub(CALLS_TOLD_MAX));
    let mut before: Vec<usize> = Vec::new();
    for key in &keys {
        let last = calls.iter().filter(changes).filter(|&&i| {
            let effect = matches!(history.calls[i].outcome, Outcome::Answered(_));
            effect && end(i) < call.invoked.order && near(key, i)
        });
        before.extend(last.max_by_key(|&&i| end(i)));
    }
    let told = match &call.outcome {
        Outcome::Answered(answer) => tokens_in(answer),
        Outcome::Refused(_) | Outcome::Unknown(_) | Outcome::Garbage(_) => Vec::new(),
    };
    before.extend(calls.iter().filter(changes).filter(|&&i| {
        let written = tokens_written(&history.calls[i].action);
        history.calls[i].invoked.order < returned
            && written.iter().any(|(_, token)| told.contains(token))
    }));
    before.retain(|i| !meanwhile.contains(i));
    before.sort_unstable();
    before.dedup();
    before.drain(..before.len().saturating_sub(CALLS_TOLD_MAX));
    (meanwhile, before)
}

#[cfg(test)]
mod tests;
