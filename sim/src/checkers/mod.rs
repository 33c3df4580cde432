//! Judges of a history: what the clients saw, against what they were promised.
//!
//! | checker | property | source |
//! |---|---|---|
//! | [`linearizable`] | each call takes effect at one point between invocation and return | Herlihy & Wing, *Linearizability*, 1990; searched as in Wing & Gong 1993 and Lowe, *Testing for linearizability*, 2017 |
//! | [`stale`] | deleted stays deleted, overwritten stays overwritten | monotonic reads and read your writes, Terry et al. 1994, across clients; Bitcask's tombstones |
//! | [`expired`] | expired stays expired, and what was seen gone stays gone | DESIGN §6; Redis's EXPIRE |
//! | [`unwritten`] | what is seen was written: no thin air, no refused write, no other group's value | DESIGN §5; Herlihy & Wing's legality |
//! | [`nearby`] | a READONLY connection never goes back, and sees no half of a batch | monotonic reads and read your writes, Terry et al. 1994 |
//! | [`aborts`] | EXEC aborts only if a watched key may have been touched | Redis's WATCH |
//! | [`garbage`] | each reply is one that its command can have, each value whole | Redis command reference; DESIGN §3, torn and mixed values |
//! | [`model`] | (what a command does to keys, and answers) | the Redis 7.2 command reference; `core/src/kv` |
//!
//! [`judge`] runs them all. The first is exact but for what its header and the model's name, and may
//! have to give up; the others are simple, take one pass, and know no model: they follow from it, so
//! that one of them alone is a fault of the judge. In the tests the search is held against brute
//! force, the model against core, and each checker against histories forged to break its property.

pub mod aborts;
pub mod expired;
pub mod garbage;
pub mod linearizable;
pub mod model;
pub mod nearby;
mod search;
mod sights;
pub mod stale;
pub mod unwritten;
pub mod words;

#[cfg(test)]
mod brute;
#[cfg(test)]
mod forge;

use crate::history::{Group, History};
use sights::Facts;

/// A promise broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Who says so.
    pub checker: &'static str,
    /// What is wrong, for people.
    pub text: String,
    /// The calls involved, as places in [`History::calls`], in its order.
    pub calls: Vec<usize>,
    /// When it showed, in nanoseconds of simulated time.
    pub at_ns: u64,
}

/// What came of judging a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong with it.
    pub violations: Vec<Violation>,
    /// Groups of keys whose order was searched for too long. No violations, but not cleared either.
    pub undecided: Vec<Group>,
}

/// Judges a history by every checker, in a fixed order: the simple ones first, whose texts say more.
pub fn judge(history: &History) -> Verdict {
    let plain = &history.without_nearby();
    let facts = Facts::of(plain);
    let mut violations = garbage::check(history);
    violations.extend(unwritten::check(history, &facts));
    violations.extend(nearby::check(history, &facts));
    let history = plain;
    violations.extend(stale::check(history, &facts));
    violations.extend(expired::check(history, &facts));
    violations.extend(aborts::check(history));
    let (orderless, undecided) = linearizable::check(history);
    violations.extend(orderless);
    Verdict { violations, undecided }
}

impl Violation {
    /// One that showed in the answer to call `at`, with the other calls involved.
    fn at(
        checker: &'static str,
        history: &History,
        at: usize,
        others: Vec<usize>,
        text: String,
    ) -> Self {
        let mut calls = others;
        calls.push(at);
        calls.sort_unstable();
        calls.dedup();
        let call = &history.calls[at];
        let at_ns = call.returned.map_or(call.invoked.at_ns, |returned| returned.at_ns);
        Self { checker, text, calls, at_ns }
    }
}
