//! Redis's idea of an integer: what it would print itself, and nothing else.

use super::Stop;

/// The integer that `text` spells: no spaces, no plus, no leading zeros, no minus zero.
#[inline]
pub(super) fn parse(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [] => return None,
        [b'0'] => return (!negative).then_some(0),
        [b'0', ..] => return None,
        // i64::MIN has 19 digits.
        _ if digits.len() > 19 => return None,
        _ => {}
    }
    let mut magnitude = 0_u64;
    for &digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        // At most 19 nines: fits.
        magnitude = magnitude * 10 + u64::from(value);
    }
    if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// The integer that an argument or a value spells.
#[inline]
pub(super) fn integer(text: &[u8]) -> Result<i64, Stop> {
    parse(text).ok_or(Stop::error("ERR value is not an integer or out of range"))
}

/// The cursor of SCAN. Zeros may lead.
pub(super) fn cursor(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return Some(0);
    }
    let (digits, negative) = match text {
        [b'-', digits @ ..] => (digits, true),
        [b'+', digits @ ..] | digits => (digits, false),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let cursor: u64 = core::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative { cursor.wrapping_neg() } else { cursor })
}

/// An integer's decimal digits, without allocation.
pub(super) struct Decimal {
    bytes: [u8; 20],
    start: usize,
}

impl Decimal {
    /// The digits of `n`, after a minus if it is negative.
    pub(super) fn of(n: i64) -> Self {
        let mut text = Self::of_unsigned(n.unsigned_abs());
        if n < 0 {
            text.push_front(b'-');
        }
        text
    }

    /// The digits of `n`.
    pub(super) fn of_unsigned(mut n: u64) -> Self {
        let mut text = Self { bytes: [0; 20], start: 20 };
        loop {
            text.push_front(b'0' + (n % 10) as u8);
            n /= 10;
            if n == 0 {
                return text;
            }
        }
    }

    /// As text.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn push_front(&mut self, byte: u8) {
        self.start -= 1;
        self.bytes[self.start] = byte;
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_what_would_be_printed_is_read(text in "[-+ ]?[0-9]{0,21}[ a.]?") {
            let printed = text.parse::<i64>().ok().filter(|n| n.to_string() == text);
            prop_assert_eq!(parse(text.as_bytes()), printed);
        }

        #[test]
        fn what_is_printed_is_read(n: i64) {
            let text = format!("{n}");
            prop_assert!(Decimal::of(n).as_bytes() == text.as_bytes());
            prop_assert_eq!(parse(Decimal::of(n).as_bytes()), Some(n));
        }

        #[test]
        fn any_bytes_are_taken(text: std::vec::Vec<u8>) {
            let model = core::str::from_utf8(&text).ok().and_then(|t| t.parse::<i64>().ok());
            let model = model.filter(|n| n.to_string().as_bytes() == text);
            prop_assert_eq!(parse(&text), model);
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        for n in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX] {
            assert_eq!(parse(n.to_string().as_bytes()), Some(n));
        }
        for text in ["", "-", "-0", "00", "01", "+1", "9223372036854775808", "-9223372036854775809"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(cursor(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(cursor(b"18446744073709551616"), None);
    }
}
