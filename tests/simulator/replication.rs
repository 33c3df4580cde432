//! Whole nodes with replicated partitions under the simulator: fixed seeds and fresh ones without a
//! violation, faults and rare states reached, and determinism.

use std::time::{SystemTime, UNIX_EPOCH};

use kvnode_sim::run::{Outcome, Request, Spoilt, run};
use kvnode_sim::settings::Profile;

use crate::explore;

#[test]
fn fixed_seeds_of_replication_show_no_violation() {
    let summary = explore(Profile::Replication, 0, 50);
    assert!(summary.failures.is_empty());
    assert!(summary.answered * 10 > summary.calls * 8, "few answers");
    // Whose calls on one group of keys are never known to have failed are hard to put in order.
    assert!(summary.undecided_runs * 10 <= summary.seeds, "{} undecided", summary.undecided_runs);
}

#[test]
fn fresh_seeds_of_replication_show_no_violation() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let from = now.as_secs() * 1000;
    eprintln!("fresh seeds: kvnode sim --profile replication --from {from} --seeds 10");
    assert!(explore(Profile::Replication, from, 10).failures.is_empty(), "seeds from {from}");
}

#[test]
fn a_seed_of_replication_gives_the_same_trace_whatever_ran_before() {
    let hash = |seed| {
        let Outcome { hash, events, .. } = run(&Request::new(Profile::Replication, seed));
        (hash, events)
    };
    let first = hash(3);
    assert_ne!(hash(4), first);
    assert_eq!(hash(3), first, "with another between");
    let kept = run(&Request { keep: true, ..Request::new(Profile::Replication, 3) });
    assert_eq!((kept.hash, kept.events), first, "with its story kept");
}

#[test]
fn true_chance_in_a_node_with_replicas_is_noticed() {
    let spoilt = Some(Spoilt::Chance);
    let hash = || run(&Request { spoilt, ..Request::new(Profile::Replication, 3) }).hash;
    assert_ne!(hash(), hash(), "a node draws from the system, and the trace does not show it");
}
