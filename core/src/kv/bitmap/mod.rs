//! Strings as rows of bits, the first bit of a byte being its highest.
//!
//! This file has single bits and BITOP, `range` what is counted and looked for (BITCOUNT, BITPOS),
//! `field` integers of any width (BITFIELD). A write that leaves the value as it is logs nothing.

mod field;
mod range;

pub(super) use field::{bitfield, bitfield_ro, only_gets};
pub(super) use range::{bitcount, bitpos};

use super::number::parse;
use super::strings::length;
use super::txn::for_all;
use super::{Item, Stop, Txn};
use crate::Value;
use crate::args::Args;
use crate::limits::VALUE_BYTES_MAX;
use crate::reply::Reply;

pub(super) fn setbit(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let key = args[1];
    let offset = offset(args[2])?;
    let on = match parse(args[3]) {
        Some(0) => false,
        Some(1) => true,
        Some(_) | None => return Err(Stop::error("ERR bit is not an integer or out of range")),
    };
    let item = txn.item(key)?;
    let (old, expire_at) = value_and_expiry(item.as_ref());
    let (byte, mask) = place(offset);
    let was_on = old.get(byte).is_some_and(|b| b & mask != 0);
    if byte >= old.len() || was_on != on {
        let new = Value::build(old.len().max(byte + 1), |bytes| {
            bytes[..old.len()].copy_from_slice(old);
            bytes[byte] = if on { bytes[byte] | mask } else { bytes[byte] & !mask };
        });
        txn.put(key, new, expire_at)?;
    }
    Ok(Reply::Int(i64::from(was_on)))
}

pub(super) fn getbit(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let (byte, mask) = place(offset(args[2])?);
    if txn.meta(args[1])?.is_none_or(|meta| meta.value_len <= byte) {
        return Ok(Reply::Int(0));
    }
    let item = txn.item(args[1])?.expect("its meta was there");
    Ok(Reply::Int(i64::from(item.value[byte] & mask != 0)))
}

pub(super) fn bitop(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let (operation, to, from) = (Operation::parse(args[1])?, args[2], &args[3..]);
    if operation == Operation::Not && from.len() != 1 {
        return Err(Stop::error("ERR BITOP NOT must be called with a single source key."));
    }
    let sources = for_all(from.iter(), |key| {
        Ok(txn.item(key)?.map_or_else(Value::empty, |item| item.value))
    })?;
    let len = sources.iter().map(|source| source.len()).max().unwrap_or_default();
    if len == 0 {
        txn.delete(to)?;
    } else {
        txn.put(to, Value::build(len, |bytes| operation.apply(&sources, bytes)), None)?;
    }
    Ok(length(len))
}

/// What BITOP does to each bit of its sources.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(name: &[u8]) -> Result<Self, Stop> {
        let all: [(&[u8], Self); 4] =
            [(b"AND", Self::And), (b"OR", Self::Or), (b"XOR", Self::Xor), (b"NOT", Self::Not)];
        let found = all.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, operation)| *operation).ok_or(Stop::SYNTAX)
    }

    /// Fills `bytes`, which are as long as the longest source. Shorter ones go on with zeros.
    fn apply(self, sources: &[Value], bytes: &mut [u8]) {
        let (first, rest) = sources.split_first().expect("a source");
        bytes[..first.len()].copy_from_slice(first);
        if self == Self::Not {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        for source in rest {
            let (common, beyond) = bytes.split_at_mut(source.len());
            for (byte, other) in common.iter_mut().zip(source.iter()) {
                match self {
                    Self::And => *byte &= other,
                    Self::Or => *byte |= other,
                    Self::Xor => *byte ^= other,
                    Self::Not => unreachable!("it has one source"),
                }
            }
            if self == Self::And {
                beyond.fill(0);
            }
        }
    }
}

/// The number of a bit, which must lie in the longest value there may be.
fn offset(text: &[u8]) -> Result<usize, Stop> {
    parse(text).and_then(in_a_value).ok_or(OUT_OF_RANGE)
}

fn in_a_value(bit: i64) -> Option<usize> {
    usize::try_from(bit).ok().filter(|bit| bit / 8 < VALUE_BYTES_MAX)
}

/// The byte that has a bit, and where it is there.
fn place(bit: usize) -> (usize, u8) {
    (bit / 8, 0x80 >> (bit % 8))
}

fn value_and_expiry(item: Option<&Item>) -> (&[u8], Option<crate::Millis>) {
    item.map_or((b"", None), |item| (&item.value, item.expire_at))
}

const OUT_OF_RANGE: Stop = Stop::error("ERR bit offset is not an integer or out of range");
