//! Keys, whatever their values.

use alloc::vec::Vec;

use super::glob;
use super::number::{Decimal, cursor, integer};
use super::{Stop, Txn};
use crate::args::Args;
use crate::reply::Reply;

/// DEL and UNLINK.
pub(super) fn del(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    count(args, |key| txn.delete(key))
}

/// EXISTS and TOUCH.
pub(super) fn exists(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    count(args, |key| txn.exists(key))
}

/// Every value is a string.
pub(super) fn type_of(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(Reply::Simple(if txn.exists(args[1])? { "string" } else { "none" }))
}

pub(super) fn rename(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    require(args[1], txn)?;
    if args[1] != args[2] {
        move_key(args[1], args[2], txn)?;
    }
    Ok(Reply::OK)
}

pub(super) fn renamenx(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    require(args[1], txn)?;
    // Which it does if they are the same.
    if txn.exists(args[2])? {
        return Ok(Reply::Int(0));
    }
    move_key(args[1], args[2], txn)?;
    Ok(Reply::Int(1))
}

pub(super) fn copy(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let (from, to) = (args[1], args[2]);
    let replace = parse_copy(&args[3..])?;
    if from == to {
        return Err(Stop::error("ERR source and destination objects are the same"));
    }
    if !txn.exists(from)? || (!replace && txn.exists(to)?) {
        return Ok(Reply::Int(0));
    }
    let item = txn.item(from)?.expect("it exists");
    txn.put(to, item.value, item.expire_at)?;
    Ok(Reply::Int(1))
}

pub(super) fn randomkey(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(txn.random_key()?.map_or(Reply::Null, Reply::Bulk))
}

pub(super) fn keys(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let filter = Filter { pattern: Some(args[1]), other_type: false };
    let mut found = Vec::new();
    txn.for_each_key(filter.prefix(), &mut |key| filter.push(key, &mut found))?;
    Ok(Reply::Array(found))
}

pub(super) fn scan(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let Some(cursor) = cursor(args[1]) else { return Err(Stop::error("ERR invalid cursor")) };
    let (filter, count) = parse_scan(&args[2..])?;
    let mut found = Vec::new();
    let prefix = filter.prefix();
    let next = txn.scan(cursor, count, prefix, &mut |key| filter.push(key, &mut found))?;
    let next = Reply::bulk(Decimal::of_unsigned(next).as_bytes());
    Ok(Reply::Array([next, Reply::Array(found)].into()))
}

pub(super) fn dbsize(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(Reply::Int(i64::try_from(txn.len()?).expect("keys in memory")))
}

/// FLUSHDB and FLUSHALL: there is one database.
pub(super) fn flush(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    match args[1..] {
        [] => {}
        [how] if how.eq_ignore_ascii_case(b"SYNC") || how.eq_ignore_ascii_case(b"ASYNC") => {}
        _ => return Err(Stop::SYNTAX),
    }
    txn.flush()?;
    Ok(Reply::OK)
}

/// The index of a database, which must be that of the only one.
pub(super) fn require_database(index: &[u8]) -> Result<(), Stop> {
    match i32::try_from(integer(index)?) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Stop::error("ERR DB index is out of range")),
        Err(_) => Err(Stop::error(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        )),
    }
}

impl Stop {
    /// Options that make no sense.
    pub(super) const SYNTAX: Self = Self::error("ERR syntax error");
}

fn count(
    args: Args<'_>,
    mut counts: impl FnMut(&[u8]) -> Result<bool, Stop>,
) -> Result<Reply, Stop> {
    let mut sum = 0;
    for key in &args[1..] {
        sum += i64::from(counts(key)?);
    }
    Ok(Reply::Int(sum))
}

fn require(key: &[u8], txn: &mut Txn<'_>) -> Result<(), Stop> {
    if txn.exists(key)? { Ok(()) } else { Err(Stop::error("ERR no such key")) }
}

fn move_key(from: &[u8], to: &[u8], txn: &mut Txn<'_>) -> Result<(), Stop> {
    let item = txn.item(from)?.expect("it exists");
    txn.put(to, item.value, item.expire_at)?;
    txn.delete(from)?;
    Ok(())
}

/// Whether COPY may replace.
fn parse_copy(args: Args<'_>) -> Result<bool, Stop> {
    let mut replace = false;
    let mut rest = args.iter();
    while let Some(option) = rest.next() {
        if option.eq_ignore_ascii_case(b"REPLACE") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"DB") {
            require_database(rest.next().ok_or(Stop::SYNTAX)?)?;
        } else {
            return Err(Stop::SYNTAX);
        }
    }
    Ok(replace)
}

/// Which keys KEYS and SCAN are to find.
struct Filter<'a> {
    pattern: Option<&'a [u8]>,
    /// Only those of a type that no value has.
    other_type: bool,
}

impl Filter<'_> {
    fn prefix(&self) -> &[u8] {
        self.pattern.map_or(b"", glob::literal_prefix)
    }

    fn push(&self, key: &[u8], found: &mut Vec<Reply>) {
        // The star alone also finds the empty key, which no other pattern with a star does.
        let all = self.pattern.is_none_or(|pattern| pattern == b"*");
        if !self.other_type && (all || self.pattern.is_some_and(|p| glob::matches(p, key))) {
            found.push(Reply::bulk(key));
        }
    }
}

/// What SCAN is to find, and how many keys it is to look at.
fn parse_scan<'a>(args: &[&'a [u8]]) -> Result<(Filter<'a>, usize), Stop> {
    let mut filter = Filter { pattern: None, other_type: false };
    let mut count = 10;
    let (options, rest) = args.as_chunks();
    for &[option, value] in options {
        if option.eq_ignore_ascii_case(b"COUNT") {
            let n = integer(value)?;
            count = usize::try_from(n).ok().filter(|&n| n > 0).ok_or(Stop::SYNTAX)?;
        } else if option.eq_ignore_ascii_case(b"MATCH") {
            filter.pattern = Some(value);
        } else if option.eq_ignore_ascii_case(b"TYPE") {
            filter.other_type = !value.eq_ignore_ascii_case(b"string");
        } else {
            return Err(Stop::SYNTAX);
        }
    }
    if rest.is_empty() { Ok((filter, count)) } else { Err(Stop::SYNTAX) }
}
