//! Many seeds at once: what was found, what was reached, and how much it was.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::lock;
use crate::marks;
use crate::plan::Class;
use crate::run::{Outcome, Request, run};
use crate::settings::Profile;

/// What to explore.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Which seeds.
    pub seeds: Range<u64>,
    /// Which profile.
    pub profile: Profile,
    /// How many runs at a time.
    pub jobs: usize,
    /// After so many seeds with violations no further one is started.
    pub failures_max: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that were run.
    pub seeds: u64,
    /// Those with a violation, in order, with the first thing that was found.
    pub failures: BTreeMap<u64, Failure>,
    /// Faults that took effect.
    pub injected: BTreeMap<Class, u64>,
    /// Rare states that were reached.
    pub marks: u128,
    /// Groups of keys whose histories took too long to judge.
    pub undecided: u64,
    /// Runs with such groups.
    pub undecided_runs: u64,
    /// Calls of clients.
    pub calls: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Events of all traces.
    pub events: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Time on the wall.
    pub wall: Duration,
}

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How many violations there were.
    pub violations: usize,
    /// Who found the first.
    pub checker: &'static str,
    /// What it was.
    pub text: String,
}

impl Summary {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        if let Some(first) = outcome.violations.first() {
            let failure = Failure {
                violations: outcome.violations.len(),
                checker: first.checker,
                text: first.text.clone(),
            };
            self.failures.insert(outcome.seed, failure);
        }
        for (class, count) in &outcome.injected {
            *self.injected.entry(*class).or_default() += count;
        }
        self.marks |= outcome.marks;
        self.undecided += outcome.undecided as u64;
        self.undecided_runs += u64::from(outcome.undecided > 0);
        self.calls += outcome.calls as u64;
        self.answered += outcome.answered as u64;
        self.events += outcome.events;
        self.simulated += Duration::from_nanos(outcome.simulated_ns);
    }

    /// Names of the rare states that were never reached.
    pub fn unreached(&self, profile: Profile) -> Vec<&'static str> {
        marks::missing(profile, self.marks)
    }
}

impl Campaign {
    /// Runs the seeds, all of them unless `progress` breaks off: it is told after each what is known
    /// by then, and of the seed if it failed.
    pub fn explore(
        &self,
        progress: impl Fn(&Summary, Option<(u64, &Failure)>) -> ControlFlow<()> + Sync,
    ) -> Summary {
        let start = Instant::now();
        let next = AtomicU64::new(self.seeds.start);
        let over = AtomicBool::new(false);
        let summary = Mutex::new(Summary::default());
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.seeds.end || over.load(Ordering::Relaxed) {
                            break;
                        }
                        let outcome = run(&Request::new(self.profile, seed));
                        let mut summary = lock(&summary);
                        summary.add(&outcome);
                        let failure = summary.failures.get(&seed).map(|failure| (seed, failure));
                        let enough = summary.failures.len() >= self.failures_max;
                        if progress(&summary, failure).is_break() || enough {
                            over.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let mut summary = std::mem::take(&mut *lock(&summary));
        summary.wall = start.elapsed();
        summary
    }
}
