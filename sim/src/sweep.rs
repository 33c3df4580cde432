//! Every single fault, one run each: for a fixed short workload, each sector of each file that it
//! ever writes, harmed in each way.
//!
//! A write fails, or finds the disk full, when that sector is next written. Corruption and unreadable
//! sectors strike while the node is stopped in good order, when everything it has is durable and no
//! part of the log can pass for a torn tail. Whatever the node then says, it must not be wrong.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kvnode_core::disk::File;

use crate::lock;
use crate::plan::{Fault, Harm, Plan, Planned};
use crate::run::{Outcome, Request, run};
use crate::settings::Profile;

/// A run of the sweep that failed.
#[derive(Clone, Debug)]
pub struct Fallen {
    /// Its plan.
    pub plan: Plan,
    /// What was found.
    pub text: String,
}

/// What came of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// Sectors that the workload writes.
    pub sectors: usize,
    /// Runs, one for each sector and harm.
    pub runs: usize,
    /// Runs in which the harm was done: the sector existed then, or was written.
    pub struck: usize,
    /// Runs with a violation, the one without any harm among them.
    pub fallen: Vec<Fallen>,
}

/// When the node is stopped for what strikes at rest, and when it strikes.
const STOP_AT_MS: u64 = 7_000;
const DOWN_MS: u64 = 900;
const STRIKE_AT_MS: u64 = 7_700;

/// Sweeps over the workload of `seed`. After so many runs with violations no further one is started.
pub fn sweep(
    seed: u64,
    jobs: usize,
    failures_max: usize,
    progress: impl Fn(usize, usize) + Sync,
) -> Sweep {
    let stop = Planned { at_ms: STOP_AT_MS, fault: Fault::Restart { node: 1, down_ms: DOWN_MS } };
    let request = |plan: Plan| Request { plan: Some(plan), ..Request::new(Profile::Short, seed) };
    let base = run(&request(vec![stop]));
    let places: Vec<(File, u32)> = base.written.iter().copied().collect();
    let cases: Vec<Plan> = places
        .iter()
        .flat_map(|&(file, sector)| {
            Harm::ALL.map(|harm| {
                let at_ms = match harm {
                    Harm::Corrupt | Harm::Unreadable => STRIKE_AT_MS,
                    Harm::WriteError | Harm::Full => 0,
                };
                let fault = Fault::Spot { node: 1, file, sector, harm };
                let mut plan = vec![stop, Planned { at_ms, fault }];
                plan.sort_by_key(|planned| planned.at_ms);
                plan
            })
        })
        .collect();
    let first = fallen(&base).into_iter().collect();
    let sweep = Mutex::new(Sweep { sectors: places.len(), fallen: first, ..Sweep::default() });
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let enough = lock(&sweep).fallen.len() >= failures_max;
                    let Some(plan) = cases.get(at).filter(|_| !enough) else { break };
                    let outcome = run(&request(plan.clone()));
                    let mut sweep = lock(&sweep);
                    sweep.runs += 1;
                    let struck = plan.iter().any(|planned| {
                        let class = planned.fault.class();
                        matches!(planned.fault, Fault::Spot { .. })
                            && outcome.injected.contains_key(&class)
                    });
                    sweep.struck += usize::from(struck);
                    sweep.fallen.extend(fallen(&outcome));
                    drop(sweep);
                    progress(at + 1, cases.len());
                }
            });
        }
    });
    let mut sweep = std::mem::take(&mut *lock(&sweep));
    sweep
        .fallen
        .sort_by_key(|fallen| fallen.plan.iter().map(ToString::to_string).collect::<String>());
    sweep
}

fn fallen(outcome: &Outcome) -> Option<Fallen> {
    let violation = outcome.violations.first()?;
    let text = format!("{}: {}", violation.checker, violation.text);
    Some(Fallen { plan: outcome.plan.clone(), text })
}
