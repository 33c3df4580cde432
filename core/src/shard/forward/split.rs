//! Which partitions a command is about, and how it is cut into a part for each.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::call::Merge;
use super::message::Command;
use crate::args::Args;
use crate::reply::Reply;
use crate::{PartitionId, Value, kv, slot};

/// What a command is about.
pub(super) enum About {
    /// No key: any node answers by itself.
    Nothing,
    /// Keys of one partition.
    One(PartitionId),
    /// Keys of several, each part with its arguments.
    Parts(Vec<(PartitionId, Command)>, Merge),
    /// Keys of several that must change together.
    Scattered,
    /// All keys of no partition.
    Answered(Reply),
}

/// The partition of a key.
fn home(key: &[u8], partitions: u32) -> PartitionId {
    slot::partition(slot::slot(key), partitions)
}

/// What `command` with these arguments is about. `all` gives the partitions, in order, of the keys that
/// are meant where none is named; `random` chooses where the choice is free.
pub(super) fn about(
    command: &kv::Command,
    args: Args<'_>,
    (partitions, random): (u32, u64),
    all: impl FnOnce() -> Vec<PartitionId>,
) -> About {
    let mut keys = command.keys(args).map(|key| home(key, partitions));
    let Some(first) = keys.next() else {
        return over_all(command, args, (partitions, random), all);
    };
    if keys.all(|other| other == first) {
        return About::One(first);
    }
    if !command.fan_out {
        return About::Scattered;
    }
    let mut parts: BTreeMap<PartitionId, Vec<Value>> = BTreeMap::new();
    let mut order = Vec::new();
    for key in command.keys(args) {
        let partition = home(key, partitions);
        let part = parts.entry(partition).or_insert_with(|| alloc::vec![Value::copy_from(args[0])]);
        part.push(Value::copy_from(key));
        order.push(partition);
    }
    let at = |partition: &PartitionId| parts.keys().position(|known| known == partition);
    let merge = match command.name {
        "mget" => Merge::Order(order.iter().filter_map(at).collect()),
        _ => Merge::Sum,
    };
    About::Parts(parts.into_iter().map(|(id, args)| (id, Command(args))).collect(), merge)
}

/// A command without keys: about all partitions, one of them, or none.
fn over_all(
    command: &kv::Command,
    args: Args<'_>,
    (partitions, random): (u32, u64),
    all: impl FnOnce() -> Vec<PartitionId>,
) -> About {
    let (merge, of_none) = match command.name {
        "dbsize" => (Merge::Sum, Reply::Int(0)),
        "keys" => (Merge::Concat, Reply::Array(Vec::new())),
        "flushdb" | "flushall" => (Merge::First, Reply::OK),
        "randomkey" => (Merge::OneOf(random), Reply::Null),
        "scan" => return scan(args, partitions, &all()),
        "cluster|countkeysinslot" | "cluster|getkeysinslot" => {
            // What is no slot is refused by whoever evaluates it.
            let Some(slot) = kv::named_slot(args) else { return About::Nothing };
            let at = slot::partition(slot, partitions);
            return About::Parts(alloc::vec![(at, owned(args))], Merge::Only);
        }
        _ => return About::Nothing,
    };
    let parts: Vec<_> = all().into_iter().map(|id| (id, owned(args))).collect();
    if parts.is_empty() { About::Answered(of_none) } else { About::Parts(parts, merge) }
}

/// A cursor of the whole counts partitions in its remainder: each of `all` is walked to its end
/// before the next.
fn scan(args: Args<'_>, partitions: u32, all: &[PartitionId]) -> About {
    let cursor = core::str::from_utf8(args[1]).ok().and_then(|text| text.parse::<u64>().ok());
    // What is no cursor is refused by whoever evaluates it.
    let Some(cursor) = cursor else { return About::Nothing };
    let (inner, at) = (cursor / u64::from(partitions), (cursor % u64::from(partitions)) as u32);
    let Some(&next) = all.iter().find(|id| id.0 >= at) else {
        return About::Answered(Reply::Array(alloc::vec![
            Reply::bulk(b"0"),
            Reply::Array(Vec::new())
        ]));
    };
    // What is left of one that is not meant any more is not walked.
    let inner = if next.0 == at { inner } else { 0 };
    let mut command = owned(args);
    command.0[1] = Value::from(alloc::format!("{inner}").into_bytes());
    About::Parts(alloc::vec![(next, command)], Merge::Scan(next, partitions))
}

/// The step of SCAN that one partition has answered, as a step over all.
pub(super) fn scanned(reply: Reply, partition: PartitionId, partitions: u32) -> Reply {
    let Reply::Array(mut items) = reply else { return reply };
    if let Some(Reply::Bulk(cursor)) = items.first() {
        let inner = core::str::from_utf8(cursor).ok().and_then(|text| text.parse::<u64>().ok());
        let count = u64::from(partitions);
        let next = match inner.unwrap_or(0) {
            0 if partition.0 + 1 < partitions => u64::from(partition.0) + 1,
            0 => 0,
            inner => {
                let next = inner.checked_mul(count);
                next.and_then(|next| next.checked_add(u64::from(partition.0))).unwrap_or(0)
            }
        };
        items[0] = Reply::bulk(alloc::format!("{next}").as_bytes());
    }
    Reply::Array(items)
}

/// The command as it stands, to be sent.
pub(super) fn owned(args: Args<'_>) -> Command {
    Command(args.iter().map(|arg| Value::copy_from(arg)).collect())
}
