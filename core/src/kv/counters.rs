//! Strings that are numbers.

use super::float80::Float80;
use super::number::{Decimal, integer};
use super::{Stop, Txn};
use crate::Value;
use crate::args::Args;
use crate::reply::Reply;

pub(super) fn incr(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    add(args[1], 1, txn)
}

pub(super) fn decr(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    add(args[1], -1, txn)
}

pub(super) fn incrby(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    add(args[1], integer(args[2])?, txn)
}

pub(super) fn decrby(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    match integer(args[2])?.checked_neg() {
        Some(delta) => add(args[1], delta, txn),
        None => Err(Stop::error("ERR decrement would overflow")),
    }
}

pub(super) fn incrbyfloat(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let item = txn.item(args[1])?;
    let old = float(item.as_ref().map_or(b"0", |item| &item.value))?;
    let sum = old.add(float(args[2])?).and_then(Float80::print);
    let Some(text) = sum else {
        return Err(Stop::error("ERR increment would produce NaN or Infinity"));
    };
    let value = Value::copy_from(text.as_bytes());
    txn.put(args[1], value.clone(), item.and_then(|item| item.expire_at))?;
    Ok(Reply::Bulk(value))
}

fn add(key: &[u8], delta: i64, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let item = txn.item(key)?;
    let old = item.as_ref().map_or(Ok(0), |item| integer(&item.value))?;
    let Some(new) = old.checked_add(delta) else {
        return Err(Stop::error("ERR increment or decrement would overflow"));
    };
    let value = Value::copy_from(Decimal::of(new).as_bytes());
    txn.put(key, value, item.and_then(|item| item.expire_at))?;
    Ok(Reply::Int(new))
}

fn float(text: &[u8]) -> Result<Float80, Stop> {
    Float80::parse(text).ok_or(Stop::error("ERR value is not a valid float"))
}
