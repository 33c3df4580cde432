//! What a command wants of the node beyond its keys: other clients, the driver, the process.
//!
//! Evaluation checks the arguments and stops with a [`Request`]; the [shard](crate::shard) sees to
//! it and answers. None of them is taken inside a transaction, which another node may evaluate.

use alloc::vec::Vec;

use crate::Value;

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Users that are to go, and their connections with them.
    DeleteUsers(Vec<Value>),
    /// The users are to be read from their file.
    LoadAcl,
    /// They are to be written to it.
    SaveAcl,
}
