//! How long judging takes: a measurement, which asserts nothing.

use std::time::{Duration, Instant};

use super::random::{Plan, World, change};
use crate::checkers::forge::Dice;
use crate::checkers::judge;
use crate::history::History;

const GROUPS: u64 = 12;

/// Prints the time for 1000 calls of 4 clients on 12 groups of keys. All 4 clients are on each
/// group at once, which is more than a run has. Run it with
/// `cargo test --release -p kvnode-sim -- --ignored --nocapture speed`.
#[test]
#[ignore = "a measurement, which asserts nothing"]
fn speed_of_judging_a_thousand_calls() {
    for (losses, unknown_in, forged) in [
        (0, 1000, false),
        (0, 50, false),
        (0, 10, false),
        (0, 4, false),
        (3, 50, false),
        (0, 50, true),
        (0, 10, true),
        (0, 4, true),
        (3, 50, true),
    ] {
        let mut times = Vec::new();
        let (mut violations, mut undecided) = (0, 0);
        for seed in 0..100 {
            let histories = draw(seed, losses, unknown_in, forged);
            let start = Instant::now();
            for history in &histories {
                let verdict = judge(history);
                violations += verdict.violations.len();
                undecided += verdict.undecided.len();
            }
            times.push(start.elapsed());
        }
        times.sort();
        let [median, most, longest]: [Duration; 3] = [times[50], times[90], times[99]];
        println!(
            "{losses} losses, 1 in {unknown_in} unknown, forged {forged}: median {median:?}, 9 in \
             10 {most:?}, longest {longest:?}; {violations} violations, {undecided} undecided"
        );
    }
}

/// A history for each group, with something changed in each if `forged`.
fn draw(seed: u64, losses: u64, unknown_in: u64, forged: bool) -> Vec<History> {
    let mut dice = Dice::new(seed);
    let (calls, clients, ttl, blur_ms, relative) = (84, 4, true, 2, true);
    let plan = Plan { calls, clients, losses, ttl, blur_ms, relative, unknown_in };
    let mut histories: Vec<_> = (0..GROUPS).map(|_| World::run(plan, &mut dice)).collect();
    if forged {
        histories.iter_mut().for_each(|history| change(history, &mut dice));
    }
    histories
}
