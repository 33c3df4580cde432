//! A string as an RDB file has it.
//!
//! | first byte | what follows |
//! |---|---|
//! | `00xxxxxx` | so many bytes |
//! | `01xxxxxx` | one more byte of the length, big-endian, then the bytes |
//! | `0x80`, `0x81` | four, eight bytes of the length, big-endian, then the bytes |
//! | `0xC0`, `0xC1`, `0xC2` | an integer of one, two, four bytes, little-endian: its decimal digits are the string |
//! | `0xC3` | the lengths compressed and plain, written as above, then LZF |

use alloc::vec::Vec;

use super::lzf;
use crate::Value;
use crate::kv::number::{Decimal, parse};
use crate::limits::VALUE_BYTES_MAX;

/// Most bytes of a string before its own.
pub(super) const HEADER_BYTES_MAX: usize = 6;

const TYPE_STRING: u8 = 0;
const LEN_4: u8 = 0x80;
const LEN_8: u8 = 0x81;
const INTEGER_1: u8 = 0xC0;
const INTEGER_2: u8 = 0xC1;
const INTEGER_4: u8 = 0xC2;
const COMPRESSED: u8 = 0xC3;

/// Longest text of an integer of four bytes.
const INTEGER_TEXT_MAX: usize = 11;

/// Writes the type and the string.
pub(super) fn write_string(value: &[u8], out: &mut Vec<u8>) {
    out.push(TYPE_STRING);
    let short = value.len() <= INTEGER_TEXT_MAX;
    if let Some(n) = parse(value).filter(|_| short).and_then(|n| i32::try_from(n).ok()) {
        return write_integer(n, out);
    }
    let len = u32::try_from(value.len()).expect("no value is that long");
    match len {
        0..0x40 => out.push(len as u8),
        0x40..0x4000 => out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
        _ => {
            out.push(LEN_4);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    out.extend_from_slice(value);
}

/// The string that `bytes` are, with its type before it. What comes behind is not looked at, as in
/// Redis.
pub(super) fn read_string(bytes: &[u8]) -> Option<Value> {
    let mut reader = Reader { rest: bytes };
    let [TYPE_STRING] = reader.array()? else { return None };
    let integer = match *reader.rest.first()? {
        INTEGER_1 => i8::from_le_bytes(reader.integer()?).into(),
        INTEGER_2 => i16::from_le_bytes(reader.integer()?).into(),
        INTEGER_4 => i32::from_le_bytes(reader.integer()?).into(),
        COMPRESSED => {
            let [_] = reader.array()?;
            let (compressed, plain) = (reader.len()?, reader.len()?);
            return lzf::decompress(reader.take(compressed)?, plain);
        }
        _ => {
            let len = reader.len()?;
            return reader.take(len).map(Value::copy_from);
        }
    };
    Some(Value::copy_from(Decimal::of(integer).as_bytes()))
}

fn write_integer(n: i32, out: &mut Vec<u8>) {
    if let Ok(n) = i8::try_from(n) {
        out.push(INTEGER_1);
        out.extend_from_slice(&n.to_le_bytes());
    } else if let Ok(n) = i16::try_from(n) {
        out.push(INTEGER_2);
        out.extend_from_slice(&n.to_le_bytes());
    } else {
        out.push(INTEGER_4);
        out.extend_from_slice(&n.to_le_bytes());
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*first)
    }

    /// The bytes of an integer, behind the one that tells how many they are.
    fn integer<const N: usize>(&mut self) -> Option<[u8; N]> {
        let [_] = self.array()?;
        self.array()
    }

    /// A length, of what can be a value.
    fn len(&mut self) -> Option<usize> {
        let [first] = self.array()?;
        let len = match first {
            0..0x40 => u64::from(first),
            0x40..0x80 => {
                let [second] = self.array()?;
                u64::from(first & 0x3F) << 8 | u64::from(second)
            }
            LEN_4 => u32::from_be_bytes(self.array()?).into(),
            LEN_8 => u64::from_be_bytes(self.array()?),
            _ => return None,
        };
        usize::try_from(len).ok().filter(|&len| len <= VALUE_BYTES_MAX)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn written(value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_string(value, &mut out);
        out
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value: Vec<u8>) {
            let read = read_string(&written(&value));
            prop_assert_eq!(read.as_deref(), Some(&*value));
        }

        #[test]
        fn numbers_are_written_and_read(n: i64, shift in 0..64) {
            let text = alloc::format!("{}", n >> shift);
            let read = read_string(&written(text.as_bytes()));
            prop_assert_eq!(read.as_deref(), Some(text.as_bytes()));
        }

        #[test]
        fn any_bytes_are_taken(bytes: Vec<u8>, first in proptest::option::of(0xC0_u8..0xC6)) {
            let start = first.map_or(vec![TYPE_STRING], |first| vec![TYPE_STRING, first]);
            let _ = read_string(&[start, bytes].concat());
        }
    }

    #[test]
    fn each_form_as_redis_writes_it() {
        assert_eq!(written(b""), [0, 0]);
        assert_eq!(written(b"ab"), [0, 2, b'a', b'b']);
        assert_eq!(written(b"-128"), [0, 0xC0, 0x80]);
        assert_eq!(written(b"128"), [0, 0xC1, 0x80, 0]);
        assert_eq!(written(b"-2147483648"), [0, 0xC2, 0, 0, 0, 0x80]);
        assert_eq!(written(b"2147483648")[..2], [0, 10]);
        assert_eq!(written(b"01"), [0, 2, b'0', b'1']);
        assert_eq!(written(&[b'x'; 63])[..3], [0, 63, b'x']);
        assert_eq!(written(&[b'x'; 64])[..4], [0, 0x40, 64, b'x']);
        assert_eq!(written(&[b'x'; 16_383])[..4], [0, 0x7F, 0xFF, b'x']);
        assert_eq!(written(&[b'x'; 16_384])[..7], [0, 0x80, 0, 0, 0x40, 0, b'x']);
        let long = [&[0, 0x81, 0, 0, 0, 0, 0, 0, 0, 2][..], b"ab"].concat();
        assert_eq!(read_string(&long).as_deref(), Some(&b"ab"[..]));
    }

    #[test]
    fn what_is_cut_or_of_another_type_is_no_string() {
        for value in [&b"ab"[..], b"-128", b"70000", &[b'x'; 100]] {
            let whole = written(value);
            for end in 0..whole.len() {
                assert!(read_string(&whole[..end]).is_none(), "{end} of {whole:?}");
            }
        }
        assert!(read_string(&[1, 1, 2, b'a', b'b']).is_none(), "a list");
        assert!(read_string(&[0, 0xC4, 1]).is_none(), "no such form");
        assert!(read_string(&[0, 0x81, 255, 255, 255, 255, 255, 255, 255, 255]).is_none());
        assert!(read_string(&[0, 0xC3, 3, 0xBF, 1, b'a', 0]).is_none(), "longer than told");
    }
}
