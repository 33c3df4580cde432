//! The election machine among others: a world of members in virtual time, golden scripts, random
//! faults, and a file for each behaviour.
#![allow(clippy::unwrap_used, reason = "a test may fail at what it does not expect")]

mod checks;
mod disk;
mod effects;
mod ignored;
mod random;
mod script;
#[allow(unreachable_pub, reason = "test files share this")]
#[path = "../world/seeds.rs"]
mod seeds;
mod timing;
mod world;
