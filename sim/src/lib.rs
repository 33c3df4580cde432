//! The deterministic simulator: the real core under madsim, with faults and checkers.
//!
//! Madsim replaces time, network and randomness when the whole build is compiled with
//! `--cfg madsim`, which `.cargo/config.toml` sets; a build without it would silently run on the
//! real clock.

#[cfg(not(madsim))]
compile_error!(
    "kvnode-sim needs `--cfg madsim`. `.cargo/config.toml` sets it, but an exported RUSTFLAGS \
     hides that file: unset RUSTFLAGS, or add `--cfg madsim` to it."
);

pub mod campaign;
mod chance;
pub mod checkers;
pub mod client;
mod clock;
mod disk;
pub mod history;
pub mod marks;
mod nemesis;
mod net;
mod node;
pub mod page;
pub mod plan;
pub mod quorum;
pub(crate) mod replication;
pub mod run;
pub mod settings;
mod storage;
pub mod story;
pub mod sweep;
mod windows;
mod world;

pub use disk::{Strike, Unsynced};

/// The hash of something, the same in every run.
fn hash_of(what: impl std::hash::Hash) -> u64 {
    std::hash::BuildHasher::hash_one(&foldhash::quality::FixedState::default(), what)
}

/// Takes a lock. What a panic left behind it is looked at all the same: the run is over then.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
