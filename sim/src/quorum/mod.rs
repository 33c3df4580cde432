//! The controller quorum in the simulator: nodes that run core's `Control`, connected by bytes.
//!
//! - [`tcp`] connects the nodes.
//! - [`watch`] looks at every node after every event, with the [`checkers`]; [`liveness`] looks at
//!   all of them now and then, and says what should have happened by now.
//! - [`atlas`] decides which disk may be lost next, so that every loss is a bug and never an excuse.
//! - [`errands`] are what operators ask for; [`draw`] plans the faults, [`hunt`] lies in wait;
//!   [`settings`] is the swarm. [`replicas`] stand in for the shards, whose logs are empty here.
//! - [mod@unfold] is a run from the first start to the verdict.

pub(crate) mod atlas;
pub(crate) mod checkers;
pub(crate) mod describe;
pub(crate) mod draw;
pub(crate) mod errands;
pub(crate) mod hunt;
pub(crate) mod liveness;
mod nemesis;
pub(crate) mod replicas;
pub mod settings;
pub(crate) mod tcp;
mod unfold;
mod voter_sets;
pub(crate) mod watch;

pub(crate) use unfold::{begin, unfold};
