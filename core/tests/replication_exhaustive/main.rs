//! Every state of the replicas of one partition within bounds, on the real machines and the real map.
//!
//! A bound is small, and within it every order is tried: of messages, losses, finished writes and cuts,
//! maps heard of late, crashes with and without what was acknowledged, elections, fences, proposals
//! that arrive late or were refused, and, where reads go by leases, of steps of time. In every state:
//! whoever is in sync, the leader too, holds durably what was committed; what is before a watermark is
//! what was committed; equal records have equal logs before them; no read misses what was committed
//! before it was asked; nothing is committed with too few in sync; no assertion fails.
//!
//! `KVNODE_STATES=3000000 cargo test -p kvnode-core --test replication_exhaustive -- --nocapture` goes
//! further; by default each search sees so many states that all take ten seconds.
//!
//! # What it finds
//!
//! Put into the machines one at a time, these were found after so many states of the search named:
//!
//! | breakage | search | states |
//! |---|---|---|
//! | a follower cuts at its own watermark | two replicas, three reigns | 18,488 |
//! | the epoch is asked for once | two replicas, three reigns | 34,791 |
//! | the watermark goes by the ISR of the map | two replicas, three reigns | 223,899 |
//! | a replica joins below the epoch's start | one is out | 65,664 |
//! | nothing is waited out before the first commit | leases of two | 639 |
//! | a read waits for a beat sent before it | two replicas, reads confirmed | 589 |
//! | a read waits for nothing | leases of two | 63,575 |
//! | reads are taken before the first commit | two replicas, reads confirmed | 185 |
//! | the watermark moves below min-ISR | two replicas, both must have it | 235 |
//!
//! Others are held by `tests/replication`: there the rules stand one by one.
#![allow(clippy::unwrap_used, reason = "a test may fail at what it does not expect")]

#[path = "../world/interned.rs"]
mod interned;
mod node;
#[path = "../replication/replica.rs"]
#[expect(dead_code, reason = "stories need more of it than the search")]
mod replica;
mod search;

use std::collections::BTreeSet;
use std::time::Instant;

use kvnode_core::replication::ReadMode;

use search::{Bounds, Found, Left, Start, search};

fn least() -> Bounds {
    Bounds {
        nodes: 3,
        min_isr: 1,
        reads_by: ReadMode::Confirm,
        messages: 2,
        left: Left::default(),
        start: vec![Start::Settle],
        states_max: 300_000,
    }
}

/// n1 and n2 have led in turn, each alone: what n1 wrote in its first reign nobody else has, and its
/// log and that of n2 part before the epochs that they know last.
fn parted() -> Bounds {
    use Start::{Elect, Settle, WriteAlone};
    Bounds { start: vec![Settle, WriteAlone, Elect(2), Elect(1), Elect(2)], ..least() }
}

/// n3 has lost its seat, has missed a write, and is back.
fn one_is_out() -> Bounds {
    use Start::{Fence, Settle, Sleep, Unfence, Write};
    let start = vec![Settle, Fence(3), Sleep(3), Settle, Write, Settle, Unfence(3)];
    Bounds { start, ..least() }
}

/// What every run of the tests goes through.
fn usual() -> Vec<(&'static str, Bounds)> {
    let none = Left::default();
    let two = Bounds { nodes: 2, ..least() };
    let timed = |bounds: Bounds| Bounds { reads_by: ReadMode::Lease, ..bounds };
    vec![
        (
            "two replicas, two reigns",
            Bounds {
                left: Left { writes: 1, elections: 1, crashes: 1, unfences: 1, ..none },
                ..two.clone()
            },
        ),
        (
            "two replicas, three reigns",
            Bounds {
                left: Left { writes: 2, elections: 2, crashes: 1, unfences: 1, ..none },
                ..two.clone()
            },
        ),
        (
            "two replicas, reads confirmed",
            Bounds {
                messages: 3,
                left: Left { reads: 1, elections: 1, fences: 1, copies: 1, relinks: 1, ..none },
                ..two.clone()
            },
        ),
        (
            "two replicas, both must have it",
            Bounds {
                min_isr: 2,
                left: Left { writes: 2, elections: 1, fences: 1, unfences: 1, late: 1, ..none },
                ..two.clone()
            },
        ),
        (
            "three replicas, two reigns",
            Bounds { left: Left { writes: 1, elections: 1, fences: 1, ..none }, ..least() },
        ),
        ("parted logs", Bounds { left: Left { crashes: 1, elections: 1, ..none }, ..parted() }),
        (
            "one is out",
            Bounds { left: Left { writes: 1, elections: 1, crashes: 1, ..none }, ..one_is_out() },
        ),
        (
            "one loses all it had",
            Bounds {
                messages: 3,
                left: Left { writes: 1, elections: 1, losses: 1, unfences: 1, ..none },
                ..two.clone()
            },
        ),
        (
            "a refusal is no proof",
            Bounds {
                left: Left { writes: 1, elections: 1, refusals: 1, fences: 1, ..none },
                ..one_is_out()
            },
        ),
        (
            "leases of two",
            timed(Bounds {
                left: Left { reads: 1, elections: 1, fences: 1, elapse: 3, ..none },
                ..two.clone()
            }),
        ),
        (
            "leases of two and a restart",
            timed(Bounds {
                left: Left {
                    reads: 1,
                    elections: 1,
                    fences: 1,
                    elapse: 2,
                    crashes: 1,
                    unfences: 1,
                    ..none
                },
                ..two.clone()
            }),
        ),
        (
            "leases of three",
            timed(Bounds {
                left: Left { reads: 1, elections: 1, fences: 2, ..none },
                // What n3 has promised to n1 is over; what n2 has is not.
                start: [one_is_out().start, vec![Start::Wait, Start::Settle, Start::Elect(2)]]
                    .concat(),
                ..least()
            }),
        ),
    ]
}

#[test]
fn no_state_within_the_usual_bounds_breaks_the_protocol() {
    let mut sights = BTreeSet::new();
    for (name, bounds) in usual() {
        let found = run(name, bounds);
        assert!(found.complete || name != "two replicas, two reigns", "{name} goes to the end");
        sights.extend(found.sights);
    }
    if std::env::var("KVNODE_STATES").is_ok() {
        return;
    }
    for sight in [
        "a commit in the first reign",
        "a commit in the second reign",
        "a commit in a later reign",
        "a confirmed read",
        "a read at once",
        "a replica enters",
        "a replica is left out",
    ] {
        assert!(sights.contains(sight), "{sight} was never seen");
    }
}

/// `KVNODE_STATES` says how many states each search may see.
fn run(name: &str, mut bounds: Bounds) -> Found {
    if let Ok(states) = std::env::var("KVNODE_STATES") {
        bounds.states_max = states.parse().expect("a number of states");
    }
    let start = Instant::now();
    let found = search(bounds);
    println!(
        "{name}: {} states ({} of one replica), {} steps, depth {}, {:.1} s{}",
        found.states,
        found.node_states,
        found.steps,
        found.depth,
        start.elapsed().as_secs_f64(),
        if found.complete { ", complete" } else { "" },
    );
    if let Some((why, way)) = &found.violation {
        panic!("{name}: {why}\n  {}", way.join("\n  "));
    }
    found
}
