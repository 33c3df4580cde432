//! Client libraries and tools of Redis, as people install and use them, against a node alone and
//! against three nodes.
//!
//! Each is told the same story: it connects in RESP2 and in RESP3 with whatever greeting it has,
//! sends a pipeline, commands of many keys and a transaction, counts with WATCH from four connections
//! at once, takes and releases a lock (SET NX PX, DELIFEQ), and scans all keys. Then a node is
//! killed: alone, it is started again, and the client comes back; in a cluster, which forwards or
//! redirects, it is the leader of a key that the client writes all the while, and all that was
//! acknowledged is read back in the end.
//!
//! redis-py, node-redis and ioredis tell it themselves, in a script each ([`script`]); they are looked
//! for where `.ci/run` puts them. redis-rs is a library of this test ([`rust`]).

#![allow(clippy::unwrap_used, reason = "a test may fail at what it does not expect")]

#[path = "../common/mod.rs"]
mod common;
mod rust;
mod script;
mod servers;
mod tools;

/// Says that a test could not run here, and why.
///
/// # Panics
/// If `KVNODE_REQUIRE_CLIENTS=1`: a CI run must not pass by skipping.
fn missing(what: &str) {
    let required = std::env::var("KVNODE_REQUIRE_CLIENTS").is_ok_and(|v| v == "1");
    assert!(!required, "KVNODE_REQUIRE_CLIENTS=1, but {what}");
    common::skipped(what);
}
