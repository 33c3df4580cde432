//! What the integration tests share: a kvnode process, a Redis process, a client.
//!
//! Nothing here sleeps to wait for something: [`wait_until`] looks again and again until a
//! deadline, everything else blocks on the thing itself with a timeout.
#![allow(dead_code, unused_imports, reason = "each test file uses its part")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test means any other reply by it")]

mod client;
pub(crate) mod cluster;
mod frame;
pub(crate) mod load;
mod node;
mod redis;
mod rng;
pub(crate) mod terminal;

use std::time::{Duration, Instant};

pub(crate) use client::{Client, Endpoint, encode};
pub(crate) use frame::Frame;
pub(crate) use node::{Node, NodeBuilder, Signal};
pub(crate) use redis::Redis;
pub(crate) use rng::Rng;

/// How long anything may take before a test calls it stuck. Far above what a loaded machine
/// needs, since it is only reached when something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks at `condition` until it gives something.
///
/// # Panics
/// After [`PATIENCE`], naming `what`.
pub(crate) fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether `program` can be started here.
pub(crate) fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Says on stderr that a test could not run here, and why.
pub(crate) fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}
