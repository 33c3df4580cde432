//! The tokio driver of kvnode: sockets, RESP framing, disk, clock, threads. It decides nothing that
//! the protocol is about; [`Shard`](kvnode_core::shard::Shard) does, and the driver carries its
//! inputs and outputs.
//!
//! ```text
//!  clients                     the shard's thread                          helper threads
//!  ───────  ┌──────────────────────────────────────────────────────────┐  ──────────────
//!   socket ─► connection task ─ parse ─ Input::Command ─► shard         │
//!           │                                               │ poll      │
//!   socket ◄─ link ◄───────────── Output::Reply ─────── pump ◄──────────┼─ completions
//!           │                                               │ Disk      │      ▲
//!           │                              in place ◄── executor ───────┼─► writer, readers
//!           └──────────────────────────────────────────────────────────┘
//! ```
//!
//! # The map
//!
//! - `server`: a node from start to stop: lock, listener, runtime, signals.
//! - `connection`: the task of one client, from bytes to inputs. `link`: its way back, from replies
//!   to bytes, with the limits on both.
//! - `pump`: the task that carries the shard's outputs. `node`: what all tasks share.
//! - `executor`: where a disk operation runs, and in which order. [`disk`]: what it does.
//! - [`resp`]: the protocol of the clients, pure.
//! - `control`: the thread of the node's part in a cluster. [`peer`]: the sockets of the links between nodes.
//! - `acl_file`: the users' file. `cache`: hot values. `usage`: what the process takes. `lock`: one process a directory. [`clock`]: what time it is.
#![forbid(unsafe_code)]

mod acl_file;
mod cache;
pub mod clock;
mod connection;
mod control;
pub mod disk;
mod error;
mod executor;
mod link;
mod lock;
mod node;
mod options;
pub mod peer;
mod pump;
pub mod resp;
mod server;
mod usage;

pub use cache::HotValues;
pub use error::Error;
pub use lock::{DirLock, LOCK_FILE};
pub use options::{ClusterOptions, Options};
pub use server::run;
