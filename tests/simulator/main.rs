//! The simulator on the shipped code: fixed seeds and fresh ones without a violation, determinism
//! and what breaks it, every single fault of a short run, and the commands.
#![cfg(feature = "sim")]

mod cluster;
mod commands;
mod regressions;
mod replication;

use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

use kvnode_sim::campaign::{Campaign, Summary};
use kvnode_sim::plan::{Class, Fault, Planned};
use kvnode_sim::run::{Outcome, Request, Spoilt, run};
use kvnode_sim::settings::Profile;
use kvnode_sim::sweep::sweep;

fn explore(profile: Profile, from: u64, seeds: u64) -> Summary {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let campaign = Campaign { seeds: from..from + seeds, profile, jobs, failures_max: 3 };
    let summary = campaign.explore(|_, _| ControlFlow::Continue(()));
    for (seed, failure) in &summary.failures {
        eprintln!("kvnode replay {seed} --profile {}\n{}", profile.name(), failure.text);
    }
    summary
}

#[test]
fn fixed_seeds_of_every_profile_show_no_violation() {
    for (profile, seeds) in [
        (Profile::Standard, 80),
        (Profile::Calm, 5),
        (Profile::Disk, 30),
        (Profile::Clock, 20),
        (Profile::Network, 10),
    ] {
        let summary = explore(profile, 0, seeds);
        assert_eq!(summary.seeds, seeds);
        assert!(summary.failures.is_empty(), "{}", profile.name());
        assert!(summary.answered * 10 > summary.calls * 8, "{}: few answers", profile.name());
        let injected: u64 = summary.injected.values().sum();
        assert_eq!(injected == 0, profile == Profile::Calm, "{}", profile.name());
        // Runs with a relaxed fsync, mostly, of which there are three in ten.
        assert!(
            summary.undecided_runs * 10 <= seeds,
            "{}: {} groups of {} runs undecided",
            profile.name(),
            summary.undecided,
            summary.undecided_runs
        );
        if profile == Profile::Standard {
            let missing = Class::ALL
                .iter()
                .filter(|class| !class.is_of_clusters() && !summary.injected.contains_key(class));
            let missing: Vec<&str> = missing.map(|class| class.name()).collect();
            assert!(missing.is_empty(), "faults that were never injected: {missing:?}");
            let unreached = summary.unreached(profile);
            assert!(unreached.len() <= 3, "rare states that were never reached: {unreached:?}");
        }
    }
}

#[test]
fn fresh_seeds_show_no_violation() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let from = now.as_secs() * 1000;
    eprintln!("fresh seeds: kvnode sim --from {from} --seeds 20");
    assert!(explore(Profile::Standard, from, 20).failures.is_empty(), "seeds from {from}");
}

#[test]
fn a_seed_gives_the_same_trace_whatever_ran_before() {
    let hash = |seed| {
        let Outcome { hash, events, .. } = run(&Request::new(Profile::Standard, seed));
        (hash, events)
    };
    let first = hash(11);
    assert_eq!(hash(11), first, "once more");
    for other in 12..15 {
        assert_ne!(hash(other), first);
    }
    assert_eq!(hash(11), first, "with other seeds between");
    let kept = run(&Request { keep: true, ..Request::new(Profile::Standard, 11) });
    assert_eq!((kept.hash, kept.events), first, "with its story kept");
    assert_eq!(kept.story.len() as u64, kept.events);
}

#[test]
fn true_chance_in_a_node_is_noticed() {
    let spoilt = Some(Spoilt::Chance);
    let hash = || run(&Request { spoilt, ..Request::new(Profile::Standard, 11) }).hash;
    assert_ne!(hash(), hash(), "a node draws from the system, and the trace does not show it");
}

#[test]
fn an_answer_that_never_comes_is_noticed() {
    let spoilt = Some(Spoilt::Reply);
    let outcome = run(&Request { spoilt, ..Request::new(Profile::Calm, 11) });
    assert!(outcome.violations.iter().any(|violation| violation.checker == "waited in vain"));
}

#[test]
fn an_error_without_a_fault_is_noticed() {
    let spoilt = Some(Spoilt::Alarm);
    let outcome = run(&Request { spoilt, ..Request::new(Profile::Calm, 11) });
    assert!(outcome.violations.iter().any(|violation| violation.checker == "false alarm"));
}

#[test]
fn every_single_fault_of_a_short_run_is_borne() {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let sweep = sweep(3, jobs, 20, |_, _| {});
    for fallen in &sweep.fallen {
        let plan: Vec<String> = fallen.plan.iter().map(Planned::to_string).collect();
        eprintln!("{}\n  {}", plan.join("\n"), fallen.text);
    }
    assert!(sweep.fallen.is_empty());
    assert!(sweep.sectors > 50, "{} sectors", sweep.sectors);
    assert!(sweep.struck * 3 > sweep.runs, "{} of {} struck", sweep.struck, sweep.runs);
}

#[test]
fn a_run_without_its_plan_has_no_faults() {
    let calm = run(&Request { plan: Some(Vec::new()), ..Request::new(Profile::Standard, 5) });
    assert!(calm.injected.is_empty() && calm.violations.is_empty());
    let plan = vec![Planned { at_ms: 5000, fault: Fault::Reset { node: 1 } }];
    let reset = run(&Request { plan: Some(plan), ..Request::new(Profile::Standard, 5) });
    assert_eq!(reset.injected.values().sum::<u64>(), 1);
    assert_ne!(reset.hash, calm.hash);
}
