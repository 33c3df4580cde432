//! LZF, the compression of strings in RDB files: reading only.
//!
//! A control byte below 32 says how many plain bytes follow, less one. Any other is a reference to
//! what was written before: its three high bits are the length, less two (seven: the next byte is
//! to be added), its five low bits and the byte behind are the distance, less one. A reference may
//! reach into what it writes itself.

use crate::Value;

const PLAIN_MAX: u8 = 32;
const LONG: usize = 7;

/// The `len` bytes that `input` stands for; `None` if it does not stand for exactly so many.
pub(super) fn decompress(input: &[u8], len: usize) -> Option<Value> {
    let mut whole = false;
    // No byte stands for more than this, so that a few can not ask for much memory.
    if len > input.len().saturating_mul(EXPANSION_MAX) {
        return None;
    }
    let value = Value::build(len, |out| whole = fill(input, out).is_some());
    whole.then_some(value)
}

/// A reference of three bytes stands for at most 264.
const EXPANSION_MAX: usize = 88;

/// Fills all of `out`.
fn fill(mut input: &[u8], out: &mut [u8]) -> Option<()> {
    let mut at = 0;
    while let [control, rest @ ..] = input {
        input = rest;
        if *control < PLAIN_MAX {
            let (plain, rest) = input.split_at_checked(usize::from(*control) + 1)?;
            out.get_mut(at..at + plain.len())?.copy_from_slice(plain);
            (at, input) = (at + plain.len(), rest);
            continue;
        }
        let mut len = usize::from(control >> 5);
        if len == LONG {
            let (more, rest) = input.split_first()?;
            (len, input) = (len + usize::from(*more), rest);
        }
        let (low, rest) = input.split_first()?;
        let distance = (usize::from(control & 0x1F) << 8 | usize::from(*low)) + 1;
        let from = at.checked_sub(distance)?;
        let end = at + len + 2;
        if end > out.len() {
            return None;
        }
        // Byte by byte, since it may reach into itself.
        for to in at..end {
            out[to] = out[to - distance];
        }
        assert!(from < at, "a reference goes back");
        (at, input) = (end, rest);
    }
    (at == out.len()).then_some(())
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// A compressor that takes the longest repetition at every place.
    fn compress(input: &[u8]) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), 0);
        while at < input.len() {
            let len_at = |from: usize| {
                let same = |n: &usize| at + n < input.len() && input[from + n] == input[at + n];
                (0..264).take_while(same).count()
            };
            let best = (at.saturating_sub(8192)..at).max_by_key(|&from| len_at(from));
            match best.map(|from| (from, len_at(from))) {
                Some((from, len)) if len >= 3 => {
                    let distance = at - from - 1;
                    let control = |len: usize| (len << 5 | distance >> 8) as u8;
                    match len - 2 {
                        short @ ..LONG => out.push(control(short)),
                        long => out.extend([control(LONG), (long - LONG) as u8]),
                    }
                    out.push(distance as u8);
                    at += len;
                }
                _ => {
                    out.extend([0, input[at]]);
                    at += 1;
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn what_is_compressed_is_read(
            input in proptest::collection::vec(0_u8..3, 0..600),
        ) {
            let compressed = compress(&input);
            let value = decompress(&compressed, input.len());
            prop_assert_eq!(value.as_deref(), Some(&*input));
            prop_assert_eq!(decompress(&compressed, input.len() + 1), None);
            if !input.is_empty() {
                prop_assert_eq!(decompress(&compressed, input.len() - 1), None);
            }
        }

        #[test]
        fn any_bytes_are_taken(input: Vec<u8>, len in 0_usize..2000) {
            let _ = decompress(&input, len);
        }
    }

    #[test]
    fn a_few_bytes_do_not_ask_for_much_memory() {
        assert_eq!(decompress(&[0xFF, 0xFF, 0], 64 << 20), None);
    }
}
