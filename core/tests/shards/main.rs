//! The shards of three nodes that hold one partition, with the brokers and the controller that place its
//! leader, in any order that disks, links and threads could bring about: what was acknowledged stays, what
//! was refused never shows, no read goes back, and left in peace they come to hold the same.
//!
//! What lies between (the quorum's log, sockets, clocks that drift) is left to the simulator, which needs
//! twenty times as long for as many events.
//!
//! `KVNODE_SEEDS=from..to` runs others than the usual.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

#[allow(dead_code, missing_docs, unreachable_pub, reason = "test files share parts of this")]
#[path = "../world/disk.rs"]
mod disk;
#[allow(unreachable_pub, reason = "test files share this")]
#[path = "../world/seeds.rs"]
mod seeds;

mod clients;
mod faults;
mod node;
mod office;
mod world;

use world::{Totals, World};

const SEEDS: std::ops::Range<u64> = 0..60;
const STEPS: usize = 12_000;

#[test]
fn what_is_acknowledged_stays_whatever_happens_to_any_of_them() {
    let asked = seeds::asked();
    let usual = asked.is_none();
    let goes_on = std::env::var("KVNODE_GO_ON").is_ok();
    let (mut totals, mut failed) = (Totals::default(), Vec::new());
    for seed in asked.unwrap_or(SEEDS) {
        let run = std::panic::AssertUnwindSafe(|| World::new(seed).run(STEPS));
        match std::panic::catch_unwind(run) {
            Ok(seen) => totals.add(&seen),
            Err(_) if goes_on => failed.push(seed),
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    eprintln!("{totals:?}, failed: {failed:?}");
    assert!(failed.is_empty());
    assert!(!usual || totals.all_seen(), "{totals:?}");
}
