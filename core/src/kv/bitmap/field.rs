//! BITFIELD: integers of 1 to 64 bits at any bit of a string.
//!
//! All operations are parsed before the first one is done, and are done in their order on one copy
//! of the value. What lies behind the end reads as zeros; a write makes the value longer.

use alloc::vec::Vec;

use super::{OUT_OF_RANGE, in_a_value, value_and_expiry};
use crate::Value;
use crate::args::Args;
use crate::kv::number::{integer, parse};
use crate::kv::{Stop, Txn};
use crate::limits::VALUE_BYTES_MAX;
use crate::reply::Reply;

pub(in crate::kv) fn bitfield(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let operations = parse_all(&args[2..])?;
    run(args[1], &operations, txn)
}

pub(in crate::kv) fn bitfield_ro(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let operations = parse_all(&args[2..])?;
    if operations.iter().any(|operation| operation.action != Action::Get) {
        return Err(Stop::error("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    run(args[1], &operations, txn)
}

/// Whether the BITFIELD with these words behind its key only reads, as far as they can be read.
pub(in crate::kv) fn only_gets(mut words: Args<'_>) -> bool {
    while let [name, rest @ ..] = words {
        let taken = if name.eq_ignore_ascii_case(b"GET") {
            2
        } else if name.eq_ignore_ascii_case(b"OVERFLOW") {
            1
        } else {
            return false;
        };
        let Some(rest) = rest.get(taken..) else { return false };
        words = rest;
    }
    true
}

fn run(key: &[u8], operations: &[Operation], txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let item = txn.item(key)?;
    let (old, expire_at) = value_and_expiry(item.as_ref());
    let writes = operations.iter().filter(|operation| operation.action != Action::Get);
    let Some(written) = writes.map(|write| write.end().div_ceil(8)).max() else {
        let get = |operation: &Operation| reply(operation.field.read(old, operation.offset));
        return Ok(Reply::Array(operations.iter().map(get).collect()));
    };
    if written > VALUE_BYTES_MAX {
        return Err(Stop::TOO_LONG);
    }
    let mut replies = Vec::with_capacity(operations.len());
    let new = Value::build(old.len().max(written), |bytes| {
        bytes[..old.len()].copy_from_slice(old);
        replies.extend(operations.iter().map(|operation| operation.apply(bytes)));
    });
    if *new != *old {
        txn.put(key, new, expire_at)?;
    }
    Ok(Reply::Array(replies))
}

/// One of the integers of a string: its width and sign.
#[derive(Clone, Copy)]
struct Field {
    signed: bool,
    /// 1 to 64, or to 63 without a sign.
    bits: usize,
}

#[derive(Clone, Copy)]
struct Operation {
    field: Field,
    /// Its first bit.
    offset: usize,
    action: Action,
    overflow: Overflow,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

/// What becomes of an integer that its field can not hold.
#[derive(Clone, Copy)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

fn parse_all(mut words: Args<'_>) -> Result<Vec<Operation>, Stop> {
    let mut operations = Vec::new();
    let mut overflow = Overflow::Wrap;
    loop {
        let (field, offset, value, rest, action): (_, _, _, _, fn(i64) -> Action) = match words {
            [] => return Ok(operations),
            [name, field, offset, rest @ ..] if name.eq_ignore_ascii_case(b"GET") => {
                (field, offset, None, rest, |_| Action::Get)
            }
            [name, field, offset, value, rest @ ..] if name.eq_ignore_ascii_case(b"SET") => {
                (field, offset, Some(value), rest, Action::Set)
            }
            [name, field, offset, value, rest @ ..] if name.eq_ignore_ascii_case(b"INCRBY") => {
                (field, offset, Some(value), rest, Action::Add)
            }
            [name, how, rest @ ..] if name.eq_ignore_ascii_case(b"OVERFLOW") => {
                overflow = Overflow::parse(how)?;
                words = rest;
                continue;
            }
            _ => return Err(Stop::SYNTAX),
        };
        let field = Field::parse(field)?;
        let offset = field.offset(offset)?;
        let value = value.map_or(Ok(0), |value| integer(value))?;
        operations.push(Operation { field, offset, action: action(value), overflow });
        words = rest;
    }
}

impl Field {
    fn parse(text: &[u8]) -> Result<Self, Stop> {
        let signed = match text.first() {
            Some(b'i') => true,
            Some(b'u') => false,
            Some(_) | None => return Err(INVALID_TYPE),
        };
        let most = if signed { 64 } else { 63 };
        // Up to a NUL, as in Redis.
        let width = text[1..].split(|&b| b == 0).next().and_then(parse);
        let bits = width.and_then(|bits| usize::try_from(bits).ok());
        match bits.filter(|bits| (1..=most).contains(bits)) {
            Some(bits) => Ok(Self { signed, bits }),
            None => Err(INVALID_TYPE),
        }
    }

    /// Where it is to be: at a bit or, after `#`, behind so many of its kind.
    fn offset(self, text: &[u8]) -> Result<usize, Stop> {
        let bit = match text {
            [b'#', count @ ..] => parse(count).and_then(|n| n.checked_mul(self.bits as i64)),
            bit => parse(bit),
        };
        bit.and_then(in_a_value).ok_or(OUT_OF_RANGE)
    }

    fn read(self, bytes: &[u8], offset: usize) -> i128 {
        let low = (window(bytes, offset / 8) >> self.shift(offset)) as u64 & self.mask();
        self.value_of(low)
    }

    fn write(self, bytes: &mut [u8], offset: usize, value: i128) {
        let (first, shift) = (offset / 8, self.shift(offset));
        let kept = window(bytes, first) & !(u128::from(self.mask()) << shift);
        let new = kept | (u128::from(value as u64 & self.mask()) << shift);
        let end = bytes.len().min(first + WINDOW);
        for (at, byte) in bytes[first..end].iter_mut().enumerate() {
            *byte = (new >> (8 * (WINDOW - 1 - at))) as u8;
        }
    }

    /// `value` as the field can hold it, if `overflow` lets it.
    fn fit(self, value: i128, overflow: Overflow) -> Option<i128> {
        let most = i128::from(self.mask() >> u32::from(self.signed));
        let least = if self.signed { -most - 1 } else { 0 };
        if (least..=most).contains(&value) {
            return Some(value);
        }
        match overflow {
            Overflow::Wrap => Some(self.value_of(value as u64 & self.mask())),
            Overflow::Saturate => Some(value.clamp(least, most)),
            Overflow::Fail => None,
        }
    }

    /// What the lowest bits of `low` mean.
    fn value_of(self, low: u64) -> i128 {
        let unused = 64 - self.bits;
        if self.signed {
            i128::from((low << unused).cast_signed() >> unused)
        } else {
            i128::from(low)
        }
    }

    fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    /// How many bits come behind it in its window.
    fn shift(self, offset: usize) -> usize {
        8 * WINDOW - offset % 8 - self.bits
    }
}

/// Bytes that a field may touch: 64 bits that begin in the midst of a byte.
const WINDOW: usize = 9;

/// The bytes from `first` on, zeros behind the end.
fn window(bytes: &[u8], first: usize) -> u128 {
    let byte = |at| u128::from(bytes.get(at).copied().unwrap_or_default());
    (first..first + WINDOW).fold(0, |window, at| window << 8 | byte(at))
}

impl Operation {
    /// The bit behind it.
    fn end(&self) -> usize {
        self.offset + self.field.bits
    }

    fn apply(&self, bytes: &mut [u8]) -> Reply {
        let old = self.field.read(bytes, self.offset);
        let new = match self.action {
            Action::Get => return reply(old),
            // A negative number is one too large for a field without a sign.
            Action::Set(value) if self.field.signed => i128::from(value),
            Action::Set(value) => i128::from(value.cast_unsigned()),
            Action::Add(increment) => old + i128::from(increment),
        };
        let Some(new) = self.field.fit(new, self.overflow) else { return Reply::Null };
        self.field.write(bytes, self.offset, new);
        reply(if matches!(self.action, Action::Add(_)) { new } else { old })
    }
}

impl Overflow {
    fn parse(name: &[u8]) -> Result<Self, Stop> {
        if name.eq_ignore_ascii_case(b"WRAP") {
            Ok(Self::Wrap)
        } else if name.eq_ignore_ascii_case(b"SAT") {
            Ok(Self::Saturate)
        } else if name.eq_ignore_ascii_case(b"FAIL") {
            Ok(Self::Fail)
        } else {
            Err(Stop::error("ERR Invalid OVERFLOW type specified"))
        }
    }
}

fn reply(value: i128) -> Reply {
    Reply::Int(i64::try_from(value).expect("a field holds no more than 64 bits with a sign"))
}

const INVALID_TYPE: Stop = Stop::error(
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but \
     i64 is.",
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bit(bytes: &[u8], at: usize) -> u64 {
        u64::from(bytes.get(at / 8).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0))
    }

    proptest! {
        #[test]
        fn a_field_is_its_bits_and_no_other(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..16),
            offset in 0_usize..140,
            bits in 1_usize..=64,
            value: u64,
        ) {
            let field = Field { signed: false, bits };
            let read = |bytes: &[u8]| (offset..offset + bits).fold(0, |n, at| n << 1 | bit(bytes, at));
            prop_assert_eq!(field.read(&bytes, offset), i128::from(read(&bytes)));
            bytes.resize(bytes.len().max((offset + bits).div_ceil(8)), 0);
            let old = bytes.clone();
            field.write(&mut bytes, offset, i128::from(value));
            prop_assert_eq!(read(&bytes), value & field.mask());
            for at in (0..8 * bytes.len()).filter(|at| !(offset..offset + bits).contains(at)) {
                prop_assert_eq!(bit(&bytes, at), bit(&old, at));
            }
        }
    }
}
