//! INCRBYFLOAT agrees with C's `long double`.

use alloc::format;
use alloc::string::{String, ToString};

use proptest::prelude::*;

use crate::kv::float80::Float80;

/// What Redis makes of two numbers.
fn sum(a: &str, b: &str) -> String {
    let parse = |text: &str| Float80::parse(text.as_bytes());
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => a.add(b).and_then(Float80::print).unwrap_or("overflow".to_string()),
        _ => "invalid".to_string(),
    }
}

#[test]
fn sums_are_those_of_c() {
    for line in include_str!("long-double.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("two numbers and their sum");
        let (a, b, expected) = (word(), word(), word());
        let mut got = sum(a, b);
        assert_eq!(got, sum(b, a), "{line}");
        if expected.contains(':') {
            got = format!("{}:{}", got.len(), &got[..40]);
        }
        assert_eq!(got, expected, "{a} + {b}");
    }
}

#[test]
fn long_texts_are_read_and_longer_ones_refused() {
    let text = format!("0.{}1", "0".repeat(5_000));
    assert_eq!(sum(&text, "0"), "invalid", "it would be zero");
    let text = format!("{}.5", "0".repeat(5_117));
    assert_eq!(sum(&text, "0"), "0.5");
    assert_eq!(sum(&format!("0{text}"), "0"), "invalid");
    let text = format!("1{}", "0".repeat(4_932));
    assert_eq!(sum(&text, "0").len(), 4_933);
    assert_eq!(sum(&format!("{text}0"), "0"), "invalid");
}

proptest! {
    #[test]
    fn integers_are_exact(a: i32, b: i32) {
        let exact = i64::from(a) + i64::from(b);
        prop_assert_eq!(sum(&a.to_string(), &b.to_string()), exact.to_string());
    }

    /// Doubles have fewer bits, so what they print is read and printed again exactly, as long as
    /// all of it comes before the seventeenth decimal.
    #[test]
    fn what_fits_is_read_and_printed_exactly(n: i64, shift in 0..17_u32) {
        let value = n as f64 / f64::from(1 << shift);
        let text = format!("{value:.17}");
        let trimmed = text.trim_end_matches('0').trim_end_matches('.');
        prop_assert_eq!(sum(&text, "0"), if value == 0.0 { "0" } else { trimmed });
    }

    #[test]
    fn any_bytes_are_taken(text: std::vec::Vec<u8>) {
        if let Some(number) = Float80::parse(&text) {
            let _ = number.add(number);
        }
    }
}
