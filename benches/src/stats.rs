//! Several measurements of one thing.

use serde::Serialize;

/// What is left of several measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The one in the middle; of an even number, the mean of the two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// Of at least one measurement.
    pub fn of(measured: &[f64]) -> Self {
        assert!(!measured.is_empty(), "something was measured");
        let mut sorted = measured.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Self { median: (low + high) / 2.0, min: sorted[0], max: sorted[sorted.len() - 1] }
    }

    /// Of `one` divided by `other`, measurement by measurement, so that what slowed the machine
    /// down for a while counts for both.
    pub fn of_ratios(one: &[f64], other: &[f64]) -> Self {
        assert_eq!(one.len(), other.len(), "they were measured in turn");
        let ratios: Vec<_> = one.iter().zip(other).map(|(one, other)| one / other).collect();
        Self::of(&ratios)
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(n: f64) -> String {
    let digits = format!("{:.0}", n.abs());
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if n < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Summary::of(&[3.0, 1.0, 2.0]), Summary { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Summary::of(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
    }

    #[test]
    fn ratios_are_taken_in_pairs() {
        let ratios = Summary::of_ratios(&[2.0, 20.0, 6.0], &[1.0, 10.0, 2.0]);
        assert_eq!(ratios, Summary { median: 2.0, min: 2.0, max: 3.0 });
    }

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!(grouped(999.4), "999");
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(grouped(-1_000.0), "-1,000");
    }
}
