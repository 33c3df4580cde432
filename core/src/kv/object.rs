//! OBJECT and MEMORY: how values are kept.
//!
//! Values are on disk, in one form, and nothing is evicted. So OBJECT ENCODING names what Redis
//! would choose for such a value when it is set; there is one reference to it; and neither idle
//! times nor frequencies are counted.

use alloc::vec;

use super::number::{integer, parse};
use super::strings::length;
use super::{Stop, Txn};
use crate::args::Args;
use crate::reply::Reply;

pub(super) fn encoding(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let Some(meta) = txn.meta(args[2])? else { return Ok(Reply::Null) };
    if meta.value_len > EMBEDDED_BYTES_MAX {
        return Ok(Reply::bulk(b"raw"));
    }
    let item = txn.item(args[2])?.expect("its meta was there");
    Ok(Reply::bulk(if parse(&item.value).is_some() { b"int" } else { b"embstr" }))
}

pub(super) fn refcount(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(if txn.exists(args[2])? { Reply::Int(1) } else { Reply::Null })
}

pub(super) fn freq(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    unless_missing(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
         that when switching between policies at runtime LRU and LFU data will take some time to \
         adjust.",
        args,
        txn,
    )
}

pub(super) fn idletime(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    unless_missing("ERR idle time not tracked, since no key is ever evicted", args, txn)
}

/// The memory that a key takes while its value is cached.
pub(super) fn usage(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let (options, rest) = args[3..].as_chunks();
    for [option, count] in options {
        // How many elements of a value are to be looked at, of which a string has one.
        if !option.eq_ignore_ascii_case(b"SAMPLES") || integer(count)? < 0 {
            return Err(Stop::SYNTAX);
        }
    }
    if !rest.is_empty() {
        return Err(Stop::SYNTAX);
    }
    let Some(meta) = txn.meta(args[2])? else { return Ok(Reply::Null) };
    Ok(length(INDEX_ENTRY_BYTES + args[2].len() + meta.value_len))
}

pub(super) fn stats(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let info = txn.view().info();
    let keys = info.keys as u64;
    let figure = |name: &[u8], n: u64| {
        (Reply::bulk(name), Reply::Int(i64::try_from(n).expect("bytes in memory")))
    };
    Ok(Reply::Map(vec![
        // The index, which has the keys in it.
        figure(b"overhead.total", info.index_bytes),
        figure(b"keys.count", keys),
        figure(b"keys.bytes-per-key", info.index_bytes.checked_div(keys).unwrap_or_default()),
        // The values that are cached.
        figure(b"dataset.bytes", info.cache.bytes),
    ]))
}

pub(super) fn malloc_stats(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(Reply::bulk(b"Stats not supported for the current allocator"))
}

fn unless_missing(error: &'static str, args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    if txn.exists(args[2])? { Err(Stop::error(error)) } else { Ok(Reply::Null) }
}

/// Longest value that Redis keeps in one piece with what it knows of it.
const EMBEDDED_BYTES_MAX: usize = 44;

/// What an entry of the index takes beyond its key, at most; see `storage::keydir`.
const INDEX_ENTRY_BYTES: usize = 24;
