//! Whole nodes in the simulator: control and shard of each, replicated partitions, clients that connect
//! to any of them, and every fault at once.
//!
//! What is said of the quorum is judged as in [`quorum`](crate::quorum); here is what the partitions
//! promise.
//!
//! - [`watch`] looks at every replica after every event of its node, with the [`checkers`]. It keeps a
//!   model of each [`log`], made of what a node writes to its disk, and knows nothing of core's own.
//! - [`atlas`] decides whose disk may be lost next, so that every loss is a bug and never an excuse.
//! - [`settings`] is the swarm, [`draw`] plans the faults, [`hunt`] lies in wait, sends its [`scout`]s and has its [`post`]. [mod@unfold] is a run from the first start to
//!   the verdict, [`rest`] what is to be so at its end.

pub(crate) mod atlas;
pub(crate) mod checkers;
pub(crate) mod draw;
pub(crate) mod hunt;
pub(crate) mod log;
pub(crate) mod parcels;
pub(crate) mod post;
mod rest;
pub(crate) mod scout;
pub(crate) mod settings;
mod unfold;
pub(crate) mod watch;

pub(crate) use unfold::unfold;
