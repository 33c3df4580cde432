//! Strings, apart from SET (`set`) and numbers (`counters`).

use core::ops::Range;

use super::number::integer;
use super::set::bulk_or_null;
use super::txn::for_all;
use super::{Item, Stop, Txn};
use crate::Value;
use crate::args::Args;
use crate::limits::VALUE_BYTES_MAX;
use crate::reply::Reply;

pub(super) fn get(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(bulk_or_null(txn.item(args[1])?))
}

pub(super) fn getdel(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let item = txn.item(args[1])?;
    if item.is_some() {
        txn.delete(args[1])?;
    }
    Ok(bulk_or_null(item))
}

/// Deletes a key if it has the given value.
pub(super) fn delifeq(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let equal = txn.item(args[1])?.is_some_and(|item| *item.value == *args[2]);
    if equal {
        txn.delete(args[1])?;
    }
    Ok(Reply::Int(i64::from(equal)))
}

pub(super) fn mget(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let values = for_all(args[1..].iter(), |key| txn.item(key).map(bulk_or_null))?;
    Ok(Reply::Array(values))
}

pub(super) fn mset(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let pairs = pairs("mset", args)?;
    put_all(pairs, txn)?;
    Ok(Reply::OK)
}

pub(super) fn msetnx(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let pairs = pairs("msetnx", args)?;
    for pair in pairs {
        if txn.exists(pair[0])? {
            return Ok(Reply::Int(0));
        }
    }
    put_all(pairs, txn)?;
    Ok(Reply::Int(1))
}

pub(super) fn append(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let (key, tail) = (args[1], args[2]);
    let Some(Item { value: old, expire_at }) = txn.item(key)? else {
        txn.put(key, Value::copy_from(tail), None)?;
        return Ok(length(tail.len()));
    };
    let len = checked_len(old.len(), tail.len())?;
    let new = Value::build(len, |bytes| {
        bytes[..old.len()].copy_from_slice(&old);
        bytes[old.len()..].copy_from_slice(tail);
    });
    txn.put(key, new, expire_at)?;
    Ok(length(len))
}

pub(super) fn strlen(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(length(txn.meta(args[1])?.map_or(0, |meta| meta.value_len)))
}

/// GETRANGE and SUBSTR.
pub(super) fn getrange(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let (start, end) = (integer(args[2])?, integer(args[3])?);
    let Some(meta) = txn.meta(args[1])? else { return Ok(Reply::bulk(b"")) };
    let range = range_of(meta.value_len, start, end);
    if range.is_empty() {
        return Ok(Reply::bulk(b""));
    }
    let item = txn.item(args[1])?.expect("its meta was there");
    if range.len() == item.value.len() {
        return Ok(Reply::Bulk(item.value));
    }
    Ok(Reply::bulk(&item.value[range]))
}

pub(super) fn setrange(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let (key, patch) = (args[1], args[3]);
    let Ok(offset) = usize::try_from(integer(args[2])?) else {
        return Err(Stop::error("ERR offset is out of range"));
    };
    if patch.is_empty() {
        return strlen(args, txn);
    }
    // An offset that no value can have needs no look at this one.
    let end = checked_len(offset, patch.len())?;
    let (old, expire_at) =
        txn.item(key)?.map_or((None, None), |item| (Some(item.value), item.expire_at));
    let old = old.as_deref().unwrap_or_default();
    let new = Value::build(end.max(old.len()), |bytes| {
        bytes[..old.len()].copy_from_slice(old);
        bytes[offset..end].copy_from_slice(patch);
    });
    let len = new.len();
    txn.put(key, new, expire_at)?;
    Ok(length(len))
}

fn pairs<'s, 'a>(command: &'static str, args: &'s [&'a [u8]]) -> Result<&'s [[&'a [u8]; 2]], Stop> {
    match args[1..].as_chunks() {
        (pairs, []) => Ok(pairs),
        (_, _) => Err(Stop::Error(super::find::wrong_arity(command))),
    }
}

fn put_all(pairs: &[[&[u8]; 2]], txn: &mut Txn<'_>) -> Result<(), Stop> {
    pairs.iter().try_for_each(|[key, value]| txn.put(key, Value::copy_from(value), None))
}

/// The bytes from `start` to `end`, both included, both counted from the end if negative.
fn range_of(len: usize, start: i64, end: i64) -> Range<usize> {
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let from_start = |at: i64| match usize::try_from(at) {
        Ok(at) => at.min(len),
        // An end before the first byte means the first byte, as in Redis.
        Err(_) => len.saturating_sub(usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let (start, end) = (from_start(start), from_start(end).saturating_add(1).min(len));
    start..end.max(start)
}

fn checked_len(a: usize, b: usize) -> Result<usize, Stop> {
    a.checked_add(b).filter(|&len| len <= VALUE_BYTES_MAX).ok_or(Stop::TOO_LONG)
}

/// A length as a reply.
pub(super) fn length(len: usize) -> Reply {
    Reply::Int(i64::try_from(len).expect("a length in memory"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_those_of_redis(len in 0..6_i64, start in -9..9_i64, end in -9..9_i64) {
            // As the C source has it.
            let (mut s, mut e) = (start, end);
            let crossed = s < 0 && e < 0 && s > e;
            s = if s < 0 { (len + s).max(0) } else { s };
            e = if e < 0 { (len + e).max(0) } else { e }.min(len - 1);
            let expected = if crossed || s > e { 0..0 } else { s..e + 1 };
            let got = range_of(len as usize, start, end);
            prop_assert_eq!(got.len() as i64, expected.end - expected.start);
            if !got.is_empty() {
                prop_assert_eq!(got.start as i64, expected.start);
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_of_integers() {
        assert_eq!(range_of(3, i64::MIN, i64::MAX), 0..3);
        assert_eq!(range_of(3, i64::MAX, i64::MIN).len(), 0);
    }
}
