//! The links between nodes, as their owner and their driver see them.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

mod bench;
mod dialling;
mod handshake;
mod keepalive;
mod queue;
mod receiving;
mod stream;
mod wire;
mod world;
