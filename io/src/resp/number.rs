//! Integers on a protocol line, in the one spelling that Redis takes: decimal digits with no leading
//! zero, after a `-` if negative; no `+`, no space, no `-0`.

/// The integer that `text` spells, if it fits 64 bits.
pub(super) fn parse(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] => return (!negative).then_some(0),
        // Nineteen digits always fit a u64, so the loop needs no overflow check.
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut n = 0_u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        n = n * 10 + u64::from(digit - b'0');
    }
    if negative { 0_i64.checked_sub_unsigned(n) } else { i64::try_from(n).ok() }
}

/// A whole line at the start of `bytes` that is a number of one to nine digits: the number, and the
/// line's length with its ending. Everything else (longer, negative, wrong, not all here) is
/// `None` and takes the slow path, which tells these cases apart.
#[inline]
pub(super) fn short_line(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut n = 0;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let spelled = i == 1 || (i > 1 && bytes[0] != b'0');
            // Redis takes any byte for the one after the CR.
            return (byte == b'\r' && spelled && bytes.len() >= i + 2).then_some((n, i + 2));
        }
        n = n * 10 + usize::from(digit);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_redis_spelling_is_a_number() {
        for (text, n) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("9999999999999999999", None),
            ("10000000000000000000", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("00", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("1x", None),
        ] {
            assert_eq!(parse(text.as_bytes()), n, "{text:?}");
        }
    }

    #[test]
    fn the_fast_path_agrees_with_the_slow_one() {
        for n in ["0", "1", "9", "10", "01", "00", "999999999", "1000000000", "", "-1", "1x"] {
            let line = format!("{n}\r\nrest");
            if let Some((fast, next)) = short_line(line.as_bytes()) {
                assert_eq!(parse(n.as_bytes()), Some(fast as i64), "{n:?}");
                assert_eq!(next, n.len() + 2);
            }
        }
        assert_eq!(short_line(b"999999999\r\n"), Some((999_999_999, 11)));
        assert_eq!(short_line(b"01\r\n"), None);
        assert_eq!(short_line(b"1\r"), None);
    }
}
