//! Every protocol decision of kvnode, as pure state machines.
//!
//! # The contract
//!
//! A machine is driven by three calls:
//!
//! - `handle(now, input)`: one event in. Never blocks, never fails, does a bounded amount of work.
//! - `poll()`: effects out, one at a time, until `None`. A driver may hand in any number of inputs
//!   before it drains, and must drain before it waits.
//! - `deadline()`: when to call again with [`Input::Tick`](shard::Input::Tick), and why.
//!
//! Time ([`Now`]) and seeds are arguments. The disk is a peer: a [`disk::DiskOp`] goes out under an
//! [`IoId`] and its result comes back as an input. Whatever depends on durability (a reply, a roll,
//! a deletion) waits inside the machine for that result, so no driver can get an order wrong. A
//! driver keeps the order of the operations on one file and may reorder everything else.
//!
//! Loops are bounded and queues limited ([`limits`]); invariants are `assert!` and stay on in
//! release builds.
//!
//! # The map
//!
//! - [`control`]: a node's part in the cluster: its store, its links, its seat in the quorum.
//! - [`cluster`]: the cluster map, the controller that decides over it, the node's own side of it.
//! - [`shard`]: the machine a driver runs: clients, partitions, group commit, replies.
//! - [`acl`]: users, their passwords, what they may do.
//! - [`kv`]: the command table and what each command means.
//! - [`directory`]: what the data directory is, before anything in it is opened.
//! - [`election`]: the controller quorum: who leads it, and its log (Raft).
//! - [`replication`]: one partition among its replicas: who has what, and what is committed (ISR).
//! - [`server`]: what a node knows of itself beside its keys: users, settings.
//! - [`storage`]: one partition's log, index, recovery and compaction.
//! - [`node`]: what control and shard of one node say to each other.
//! - [`peer`]: the links between nodes: frames, handshake, reconnection, keepalive.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod acl;
pub mod args;
pub mod clock;
pub mod cluster;
pub mod control;
pub mod directory;
pub mod disk;
pub mod election;
pub mod kv;
pub mod limits;
pub mod marks;
pub mod node;
pub mod peer;
mod random;
pub mod replication;
pub mod reply;
pub mod server;
pub mod shard;
pub mod slot;
pub mod storage;
mod types;
mod value;

pub use types::{
    ClientId, ClusterId, DirectoryId, Epoch, Incarnation, Index, Instant, IoId, Member, Millis,
    NodeId, Now, Offset, PartitionId, SegmentId, Term,
};
pub use value::Value;
