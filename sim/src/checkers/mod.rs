//! Judges of a history: what the clients saw, against what they were promised.
//!
//! | checker | property | source |
//! |---|---|---|
//! | [`linearizable`] | each call takes effect at one point between invocation and return | Herlihy & Wing, *Linearizability*, 1990; searched as in Wing & Gong 1993 and Lowe, *Testing for linearizability*, 2017 |
//! | [`model`] | (what a command does to keys, and answers) | the Redis 7.2 command reference; `core/src/kv` |
//!
//! [`judge`] runs them all. The first is exact but for what its header names, and it may have to
//! give up; the others are simple, linear in the history, and know no model.

pub mod linearizable;
pub mod model;
mod search;
mod sights;
mod words;

#[cfg(test)]
mod brute;
#[cfg(test)]
mod forge;

use crate::history::{Group, History};

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

/// Judges a history by every checker, in a fixed order.
pub fn judge(history: &History) -> Verdict {
    let (violations, undecided) = linearizable::check(history);
    Verdict { violations, undecided }
}
