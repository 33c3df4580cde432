//! A replica as one of several: its owner tells what is committed, copies, ships and cuts.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test may fail at what it does not expect"
)]

#[path = "../world/mod.rs"]
mod world;

mod copied;
mod cut;
mod full;
mod node;
mod pair;
mod reading;
mod rot;
mod taken_back;
mod watermark;
