//! The controller quorum under the simulator: fixed seeds and fresh ones without a violation, every
//! class of faults and every rare state reached, and determinism.

use std::time::{SystemTime, UNIX_EPOCH};

use kvnode_sim::plan::Class;
use kvnode_sim::run::{Outcome, Request, Spoilt, run};
use kvnode_sim::settings::Profile;

use crate::explore;

#[test]
fn fixed_seeds_of_the_quorum_show_no_violation() {
    let summary = explore(Profile::Cluster, 0, 100);
    assert!(summary.failures.is_empty());
    let classes = Class::ALL.iter().filter(|class| !class.is_of_replicas());
    let missing = classes.filter(|class| !summary.injected.contains_key(class));
    let missing: Vec<&str> = missing.map(|class| class.name()).collect();
    assert!(missing.is_empty(), "faults that were never injected: {missing:?}");
    let unreached = summary.unreached(Profile::Cluster);
    assert!(unreached.len() <= 3, "rare states that were never reached: {unreached:?}");
}

#[test]
fn fresh_seeds_of_the_quorum_show_no_violation() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let from = now.as_secs() * 1000;
    eprintln!("fresh seeds: kvnode sim --profile cluster --from {from} --seeds 20");
    assert!(explore(Profile::Cluster, from, 20).failures.is_empty(), "seeds from {from}");
}

#[test]
fn a_seed_of_the_quorum_gives_the_same_trace_whatever_ran_before() {
    let hash = |seed| {
        let Outcome { hash, events, .. } = run(&Request::new(Profile::Cluster, seed));
        (hash, events)
    };
    let first = hash(3);
    assert_ne!(hash(4), first);
    assert_eq!(hash(3), first, "with another between");
    let kept = run(&Request { keep: true, ..Request::new(Profile::Cluster, 3) });
    assert_eq!((kept.hash, kept.events), first, "with its story kept");
}

#[test]
fn true_chance_in_a_node_of_the_quorum_is_noticed() {
    let spoilt = Some(Spoilt::Chance);
    let hash = || run(&Request { spoilt, ..Request::new(Profile::Cluster, 3) }).hash;
    assert_ne!(hash(), hash(), "a node draws from the system, and the trace does not show it");
}
