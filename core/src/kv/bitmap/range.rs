//! BITCOUNT and BITPOS: what the bits in a range are.
//!
//! A range is of bytes or of bits, both ends included, counted from the end where negative.

use core::ops::Range;

use crate::args::Args;
use crate::kv::number::integer;
use crate::kv::strings::length;
use crate::kv::{Stop, Txn};
use crate::reply::Reply;

pub(in crate::kv) fn bitcount(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    // Of a key that is not there Redis 7.2 takes any range.
    let Some(meta) = txn.meta(args[1])? else { return Ok(Reply::Int(0)) };
    let range = match args[2..] {
        [] => 0..8 * meta.value_len,
        [start, end, ref unit @ ..] if unit.len() <= 1 => {
            let (start, end) = (integer(start)?, integer(end)?);
            if start < 0 && end < 0 && start > end {
                return Ok(Reply::Int(0));
            }
            let unit = unit.first().map_or(Ok(Unit::Byte), |unit| Unit::parse(unit))?;
            unit.range(meta.value_len, start, end)
        }
        _ => return Err(Stop::SYNTAX),
    };
    if range.is_empty() {
        return Ok(Reply::Int(0));
    }
    let item = txn.item(args[1])?.expect("its meta was there");
    Ok(length(count(&item.value, range)))
}

pub(in crate::kv) fn bitpos(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let bit = match integer(args[2])? {
        0 => false,
        1 => true,
        _ => return Err(Stop::error("ERR The bit argument must be 1 or 0.")),
    };
    // Zeros without an end.
    let Some(meta) = txn.meta(args[1])? else { return Ok(Reply::Int(-i64::from(bit))) };
    let (range, ends) = match args[3..] {
        [] => (0..8 * meta.value_len, false),
        [start] => (Unit::Byte.range(meta.value_len, integer(start)?, -1), false),
        [start, end, ref unit @ ..] if unit.len() <= 1 => {
            let start = integer(start)?;
            let unit = unit.first().map_or(Ok(Unit::Byte), |unit| Unit::parse(unit))?;
            (unit.range(meta.value_len, start, integer(end)?), true)
        }
        _ => return Err(Stop::SYNTAX),
    };
    if range.is_empty() {
        return Ok(Reply::Int(-1));
    }
    let item = txn.item(args[1])?.expect("its meta was there");
    Ok(match find(&item.value, range.clone(), bit) {
        Some(at) => length(at),
        // Behind a value come zeros, unless the range has an end.
        None if !bit && !ends => length(range.end),
        None => Reply::Int(-1),
    })
}

/// What a range is counted in.
#[derive(Clone, Copy)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn parse(name: &[u8]) -> Result<Self, Stop> {
        if name.eq_ignore_ascii_case(b"BYTE") {
            Ok(Self::Byte)
        } else if name.eq_ignore_ascii_case(b"BIT") {
            Ok(Self::Bit)
        } else {
            Err(Stop::SYNTAX)
        }
    }

    /// The bits of a value of `len` bytes from `start` to `end`.
    fn range(self, len: usize, start: i64, end: i64) -> Range<usize> {
        let bits = match self {
            Self::Byte => 8,
            Self::Bit => 1,
        };
        let total = i64::try_from(len * 8 / bits).expect("a length in memory");
        let from_start = |at: i64| if at < 0 { (total + at).max(0) } else { at };
        let (start, end) = (from_start(start), from_start(end).min(total - 1));
        if start > end {
            return 0..0;
        }
        let index = |at: i64| usize::try_from(at).expect("between the ends of the value");
        index(start) * bits..(index(end) + 1) * bits
    }
}

/// How many bits of `range`, which is not empty, are set.
fn count(bytes: &[u8], range: Range<usize>) -> usize {
    let touched = range.start / 8..range.end.div_ceil(8);
    let ones = |bytes: &[u8]| bytes.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
    let beyond = |at: usize| (bytes[at] & !inside(at, &range)).count_ones() as usize;
    let (first, last) = (touched.start, touched.end - 1);
    let outside = beyond(first) + if last > first { beyond(last) } else { 0 };
    ones(&bytes[touched]) - outside
}

/// The first bit of `range`, which is not empty, that is `bit`.
fn find(bytes: &[u8], range: Range<usize>, bit: bool) -> Option<usize> {
    let flip = if bit { 0 } else { u8::MAX };
    let last = (range.end - 1) / 8;
    let mut at = range.start / 8;
    while at <= last {
        let wanted = (bytes[at] ^ flip) & inside(at, &range);
        if wanted != 0 {
            return Some(8 * at + wanted.leading_zeros() as usize);
        }
        at += 1;
        // Whole bytes without one are passed over.
        at += bytes[at.min(last)..last].iter().take_while(|&&byte| byte ^ flip == 0).count();
    }
    None
}

/// Which bits of the byte `at` are in the range.
fn inside(at: usize, range: &Range<usize>) -> u8 {
    let clip = |bit: usize| bit.clamp(8 * at, 8 * at + 8) - 8 * at;
    let ones = |bits: usize| !(0xff_u32 >> bits) as u8;
    ones(clip(range.end)) & !ones(clip(range.start))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bit(bytes: &[u8], at: usize) -> bool {
        bytes[at / 8] & (0x80 >> (at % 8)) != 0
    }

    proptest! {
        #[test]
        fn bits_are_counted_and_found(
            bytes in proptest::collection::vec(prop_oneof![Just(0_u8), Just(255), any::<u8>()], 1..40),
            ends: (proptest::sample::Index, proptest::sample::Index),
            wanted: bool,
        ) {
            let (a, b) = (ends.0.index(8 * bytes.len()), ends.1.index(8 * bytes.len()));
            let range = a.min(b)..a.max(b) + 1;
            let ones = range.clone().filter(|&at| bit(&bytes, at)).count();
            prop_assert_eq!(count(&bytes, range.clone()), ones);
            let first = range.clone().find(|&at| bit(&bytes, at) == wanted);
            prop_assert_eq!(find(&bytes, range, wanted), first);
        }
    }

    #[test]
    fn the_ends_of_the_range_of_integers() {
        assert_eq!(Unit::Byte.range(3, i64::MIN, i64::MAX), 0..24);
        assert_eq!(Unit::Bit.range(3, 1, -2), 1..23);
        assert!(Unit::Bit.range(3, i64::MAX, i64::MIN).is_empty());
        assert!(Unit::Byte.range(0, 0, -1).is_empty());
    }
}
