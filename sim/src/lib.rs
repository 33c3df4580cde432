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

pub mod checkers;
pub mod history;
pub mod story;
