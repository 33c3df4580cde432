//! What an operator asks of the controller: who leads, where replicas are, which nodes there are.
//!
//! Here the words become a request, which the [shard](crate::shard) has carried to the controller,
//! whichever node that is. `kvnode cluster` asks the same, and tells beforehand what would be lost.
//! Partitions and nodes are named as `kvnode status` prints them (`p0`, `n2`), or by their numbers.

use alloc::format;
use alloc::vec::Vec;

use super::find::shown;
use super::{Request, Stop, Txn};
use crate::args::Args;
use crate::cluster::controller;
use crate::limits::REPLICAS_MAX;
use crate::reply::Reply;
use crate::{NodeId, PartitionId};

/// A replica that is not in sync is to lead. UNCLEAN stands there so that nobody asks for it unawares.
pub(super) fn elect(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let (partition, node) = (partition(args[2])?, node(args[3])?);
    if !args[4].eq_ignore_ascii_case(b"UNCLEAN") {
        return Err(Stop::SYNTAX);
    }
    ask(txn, controller::Request::ElectUnclean(partition, node))
}

pub(super) fn transfer(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let (partition, node) = (partition(args[2])?, node(args[3])?);
    ask(txn, controller::Request::MoveLeader(partition, node))
}

pub(super) fn reassign(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let partition = partition(args[2])?;
    if args.len() - 3 > REPLICAS_MAX {
        return Err(Stop::Error(Reply::error_owned(format!(
            "ERR a partition has at most {REPLICAS_MAX} replicas"
        ))));
    }
    let nodes: Result<Vec<NodeId>, Stop> = args[3..].iter().map(|text| node(text)).collect();
    ask(txn, controller::Request::Reassign(partition, nodes?))
}

pub(super) fn accept_loss(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let partition = partition(args[2])?;
    ask(txn, controller::Request::AcceptLoss(partition))
}

pub(super) fn forget(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let node = node(args[2])?;
    ask(txn, controller::Request::Unregister(node))
}

pub(super) fn feature(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let level = number(args[2], b"", "a feature level, which is a number")?;
    ask(txn, controller::Request::SetFeature(level))
}

fn ask(txn: &mut Txn<'_>, request: controller::Request) -> Result<Reply, Stop> {
    txn.view().cluster()?;
    Err(Stop::Server(Request::Controller(request)))
}

fn partition(text: &[u8]) -> Result<PartitionId, Stop> {
    number(text, b"p", "a partition, as p0").map(PartitionId)
}

fn node(text: &[u8]) -> Result<NodeId, Stop> {
    number(text, b"n", "a node, as n1").map(NodeId)
}

/// The number behind the letter, which may be left out.
fn number(text: &[u8], letter: &[u8], what: &str) -> Result<u32, Stop> {
    let digits = text.strip_prefix(letter).unwrap_or(text);
    let number = super::number::parse(digits).and_then(|n| u32::try_from(n).ok());
    number.ok_or_else(|| {
        let text = shown(&text[..text.len().min(SHOWN_BYTES)]);
        Stop::Error(Reply::error_owned(format!("ERR '{text}' is not {what}")))
    })
}

/// Bytes of an argument in the error about it.
const SHOWN_BYTES: usize = 64;
