//! The arithmetic of INCRBYFLOAT, bit for bit that of Redis on x86-64: numbers of 64 significant
//! bits (`long double`), read as `strtold` reads them, added with rounding to nearest even, and
//! printed as `%.17Lf` without the zeros at the end.
//!
//! A number is `mantissa × 2^exponent`. Reading and printing are exact by way of big integers, and
//! every operation rounds once.

use alloc::string::String;
use alloc::vec::Vec;

use super::number::Decimal;

/// A number, never NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Float80 {
    negative: bool,
    magnitude: Magnitude,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Magnitude {
    /// `mantissa × 2^exponent`: the mantissa's top bit is set unless the exponent is
    /// [`EXPONENT_MIN`]. Zero is the mantissa zero.
    Finite {
        mantissa: u64,
        exponent: i32,
    },
    Infinite,
}

/// The exponent of the smallest denormal number.
const EXPONENT_MIN: i32 = -16_445;
/// The exponent of the largest number.
const EXPONENT_MAX: i32 = 16_320;
/// Longest text that Redis reads as a number.
const TEXT_BYTES_MAX: usize = 5 * 1024;
/// Digits printed after the point.
const DECIMALS: u32 = 17;

impl Float80 {
    /// The number that `text` spells, if all of it does. As in Redis, what is not a number, too
    /// large, or so small that it would be zero, is refused.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= TEXT_BYTES_MAX {
            return None;
        }
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let magnitude = match digits {
            [b'0', b'x' | b'X', rest @ ..] => parse_hexadecimal(rest)?,
            _ if is_infinity(digits) => Magnitude::Infinite,
            _ => parse_decimal(digits)?,
        };
        Some(Self { negative, magnitude })
    }

    /// The sum; `None` if it is infinite or not a number.
    pub(super) fn add(self, other: Self) -> Option<Self> {
        let (
            Magnitude::Finite { mantissa: m1, exponent: e1 },
            Magnitude::Finite { mantissa: m2, exponent: e2 },
        ) = (self.magnitude, other.magnitude)
        else {
            return None;
        };
        // `a` has the larger exponent, and so, if it is normal, is the larger number up to a bit.
        let (a, ea, b, eb) = if e1 >= e2 { (self, e1, other, e2) } else { (other, e2, self, e1) };
        let (ma, mb) = if e1 >= e2 { (m1, m2) } else { (m2, m1) };
        // 62 bits below the mantissa: enough to round with whatever of `b` goes beyond as one bit.
        let (wide_a, wide_b) = (u128::from(ma) << 62, u128::from(mb) << 62);
        let wide_b = shift_right_sticky(wide_b, ea.abs_diff(eb));
        let (negative, sum) = if a.negative == b.negative {
            (a.negative, wide_a + wide_b)
        } else if wide_a > wide_b {
            (a.negative, wide_a - wide_b)
        } else {
            (b.negative && wide_a != wide_b, wide_b - wide_a)
        };
        let magnitude = round(sum, ea - 62, false)?;
        Some(Self { negative, magnitude })
    }

    /// The number as Redis prints it; `None` for the infinite.
    pub(super) fn print(self) -> Option<String> {
        let Magnitude::Finite { mantissa, exponent } = self.magnitude else { return None };
        let mut text = String::new();
        if exponent >= 0 {
            let mut number = Big::from(mantissa);
            number.shift_left(exponent.unsigned_abs());
            number.print(&mut text);
        } else {
            // The number times 10^17, rounded to an integer: less than 2^121.
            let scaled = u128::from(mantissa) * 10_u128.pow(DECIMALS);
            print_scaled(round_shift(scaled, exponent.unsigned_abs()), &mut text);
        }
        if self.negative && text != "0" {
            text.insert(0, '-');
        }
        Some(text)
    }
}

fn is_infinity(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity")
}

/// The digits of a number with a point somewhere, and the exponent after it.
struct Scan {
    /// The digits' values, without leading zeros.
    digits: Vec<u8>,
    /// How many of the digits come after the point.
    decimals: i64,
    /// What follows `e` or `p`.
    exponent: i64,
}

impl Scan {
    fn read(text: &[u8], radix: u32, exponent_mark: u8) -> Option<Self> {
        let mut scan = Self { digits: Vec::new(), decimals: 0, exponent: 0 };
        let (mut point, mut any) = (false, false);
        for (at, &byte) in text.iter().enumerate() {
            if let Some(digit) = char::from(byte).to_digit(radix) {
                any = true;
                scan.decimals += i64::from(point);
                if digit > 0 || !scan.digits.is_empty() {
                    scan.digits.push(digit as u8);
                }
            } else if byte == b'.' && !point {
                point = true;
            } else if byte.eq_ignore_ascii_case(&exponent_mark) && any {
                scan.exponent = read_exponent(&text[at + 1..])?;
                break;
            } else {
                return None;
            }
        }
        any.then_some(scan)
    }
}

/// An exponent, held within bounds far beyond those of any number that can be represented.
fn read_exponent(text: &[u8]) -> Option<i64> {
    const BOUND: i64 = 1 << 20;
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: i64, digit: &u8| (sum * 10 + i64::from(digit - b'0')).min(BOUND);
    Some(sign * digits.iter().fold(0, add))
}

fn parse_decimal(text: &[u8]) -> Option<Magnitude> {
    let Scan { digits, decimals, exponent } = Scan::read(text, 10, b'e')?;
    let scale = exponent - decimals;
    if digits.is_empty() {
        return Some(Magnitude::ZERO);
    }
    // The number is 0.ddd × 10^size; the largest are about 10^4932, the smallest 10^-4951.
    let size = scale + digits.len() as i64;
    if !(-4960..=4940).contains(&size) {
        return None;
    }
    let mut numerator = Big::default();
    for digit in digits {
        numerator.multiply_add(10, u32::from(digit));
    }
    let mut denominator = Big::from(1);
    let power = if scale < 0 { &mut denominator } else { &mut numerator };
    for _ in 0..scale.unsigned_abs() {
        power.multiply_add(10, 0);
    }
    not_underflown(divide(numerator, denominator)?)
}

fn parse_hexadecimal(text: &[u8]) -> Option<Magnitude> {
    let Scan { digits, decimals, exponent } = Scan::read(text, 16, b'p')?;
    if digits.is_empty() {
        return Some(Magnitude::ZERO);
    }
    // All the bits that can matter, and whether there are any others.
    let (head, tail) = digits.split_at(digits.len().min(20));
    let mantissa = head.iter().fold(0, |sum, &digit| sum << 4 | u128::from(digit));
    let sticky = tail.iter().any(|&digit| digit > 0);
    let exponent = exponent + 4 * (tail.len() as i64 - decimals);
    not_underflown(round(mantissa, i32::try_from(exponent).ok()?, sticky)?)
}

fn not_underflown(magnitude: Magnitude) -> Option<Magnitude> {
    (magnitude != Magnitude::ZERO).then_some(magnitude)
}

/// The quotient of two positive integers.
fn divide(mut numerator: Big, mut denominator: Big) -> Option<Magnitude> {
    // Scaled to the same length, so that the quotient is between 1/2 and 2.
    let exponent = numerator.bits() - denominator.bits();
    if exponent > 0 {
        denominator.shift_left(exponent.unsigned_abs());
    } else {
        numerator.shift_left(exponent.unsigned_abs());
    }
    let mut quotient = 0_u128;
    const QUOTIENT_BITS: i32 = 70;
    for bit in 0..QUOTIENT_BITS {
        if bit > 0 {
            numerator.shift_left(1);
        }
        quotient <<= 1;
        if numerator.subtract_if_not_less(&denominator) {
            quotient |= 1;
        }
    }
    round(quotient, exponent - (QUOTIENT_BITS - 1), !numerator.is_zero())
}

impl Magnitude {
    const ZERO: Self = Self::Finite { mantissa: 0, exponent: EXPONENT_MIN };
}

/// The number nearest to `mantissa × 2^exponent`, and a bit more if `sticky`, the even one of two;
/// `None` if it is beyond the largest.
fn round(mantissa: u128, exponent: i32, sticky: bool) -> Option<Magnitude> {
    if mantissa == 0 {
        return Some(Magnitude::ZERO);
    }
    // To 64 bits, or as many as a denormal number has.
    let bits = 128 - mantissa.leading_zeros() as i32;
    let shift = (bits - 64).max(EXPONENT_MIN.saturating_sub(exponent));
    let mut exponent = exponent.checked_add(shift)?;
    let rounded = if shift <= 0 {
        assert!(!sticky, "only more than 64 bits are followed by others");
        mantissa << shift.unsigned_abs()
    } else {
        // Room for the sticky bit: `mantissa` has at most 127 bits.
        round_shift(mantissa << 1 | u128::from(sticky), shift.unsigned_abs() + 1)
    };
    let mantissa = u64::try_from(rounded).unwrap_or_else(|_| {
        // Rounded up to 2^64.
        exponent += 1;
        1 << 63
    });
    if mantissa == 0 {
        return Some(Magnitude::ZERO);
    }
    (exponent <= EXPONENT_MAX).then_some(Magnitude::Finite { mantissa, exponent })
}

/// `n / 2^shift` rounded to the nearest integer, the even one of two.
fn round_shift(n: u128, shift: u32) -> u128 {
    if shift == 0 {
        return n;
    }
    if shift > 128 {
        return 0;
    }
    let (kept, half) = (n.checked_shr(shift).unwrap_or(0), 1 << (shift - 1));
    let cut = n & (half | (half - 1));
    kept + u128::from(cut > half || (cut == half && kept & 1 == 1))
}

/// `n / 2^shift` rounded down, but with the last bit set if any was lost.
fn shift_right_sticky(n: u128, shift: u32) -> u128 {
    match n.checked_shr(shift) {
        Some(kept) => kept | u128::from(kept << shift != n),
        None => u128::from(n != 0),
    }
}

/// Prints `scaled / 10^17` without zeros at the end.
fn print_scaled(scaled: u128, text: &mut String) {
    let unit = 10_u128.pow(DECIMALS);
    let (whole, fraction) = ((scaled / unit) as u64, (scaled % unit) as u64);
    push(text, Decimal::of_unsigned(whole).as_bytes());
    if fraction > 0 {
        text.push('.');
        // The leading one keeps the zeros after the point.
        let digits = Decimal::of_unsigned(unit as u64 + fraction);
        let digits = &digits.as_bytes()[1..];
        let zeros = digits.iter().rev().take_while(|&&b| b == b'0').count();
        push(text, &digits[..digits.len() - zeros]);
    }
}

fn push(text: &mut String, digits: &[u8]) {
    text.extend(digits.iter().map(|&b| char::from(b)));
}

/// A big natural number: 32-bit limbs, the least first, the last one not zero.
#[derive(Clone, Debug, Default)]
struct Big(Vec<u32>);

impl Big {
    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> i32 {
        let top = self.0.last().map_or(0, |limb| limb.leading_zeros() as i32);
        self.0.len() as i32 * 32 - top
    }

    fn multiply_add(&mut self, factor: u32, add: u32) {
        let mut carry = u64::from(add);
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn shift_left(&mut self, bits: u32) {
        if self.is_zero() {
            return;
        }
        self.multiply_add(1 << (bits % 32), 0);
        let zeros = (bits / 32) as usize;
        self.0.splice(0..0, core::iter::repeat_n(0, zeros));
    }

    /// Subtracts `other` unless it is larger.
    fn subtract_if_not_less(&mut self, other: &Self) -> bool {
        let ordering = (self.0.len().cmp(&other.0.len()))
            .then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()));
        if ordering.is_lt() {
            return false;
        }
        let mut borrow = false;
        for (at, limb) in self.0.iter_mut().enumerate() {
            let (less, under) = limb.overflowing_sub(other.0.get(at).copied().unwrap_or(0));
            let (less, under_again) = less.overflowing_sub(u32::from(borrow));
            (*limb, borrow) = (less, under || under_again);
        }
        self.trim();
        true
    }

    fn print(mut self, text: &mut String) {
        const GROUP: u32 = 1_000_000_000;
        let mut groups = Vec::new();
        while !self.is_zero() {
            let mut rest = 0;
            for limb in self.0.iter_mut().rev() {
                let n = rest << 32 | u64::from(*limb);
                *limb = (n / u64::from(GROUP)) as u32;
                rest = n % u64::from(GROUP);
            }
            self.trim();
            groups.push(rest);
        }
        let first = groups.pop().unwrap_or(0);
        push(text, Decimal::of_unsigned(first).as_bytes());
        for group in groups.into_iter().rev() {
            // The leading one keeps the group's zeros.
            push(text, &Decimal::of_unsigned(u64::from(GROUP) + group).as_bytes()[1..]);
        }
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}

impl From<u64> for Big {
    fn from(n: u64) -> Self {
        let mut big = Self(alloc::vec![n as u32, (n >> 32) as u32]);
        big.trim();
        big
    }
}
