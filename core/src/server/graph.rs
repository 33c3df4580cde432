//! A history of numbers as lines of text, for LATENCY GRAPH: a column for each sample, its height the
//! share of the range, and under it the sample's label, read from top to bottom.
//!
//! ```text
//!   #
//!   |
//!   |_
//! _o||__
//!
//! 875431
//! ssssss
//! ```
//!
//! A line of the graph has three steps of height (`_`, `o`, `#`), and `|` is below a column's top.

use alloc::string::String;

/// Lines of the graph, columns before it begins anew underneath.
const ROWS: u64 = 4;
pub(crate) const COLUMNS: usize = 80;

/// What the top of a column looks like, from low to high.
const TOPS: [char; 3] = ['_', 'o', '#'];

/// Draws the samples, each with its label, between the least of them and the greatest.
pub(crate) fn draw(samples: &[(u64, String)]) -> String {
    let values = || samples.iter().map(|(value, _)| *value);
    let least = values().min().unwrap_or(0);
    let range = (values().max().unwrap_or(0) - least).max(1);
    let steps = ROWS * TOPS.len() as u64;
    let height = |value: u64| {
        let step = u128::from(value - least) * u128::from(steps) / u128::from(range);
        u64::try_from(step).unwrap_or(steps).min(steps - 1)
    };
    let mut text = String::new();
    for (at, part) in samples.chunks(COLUMNS).enumerate() {
        if at > 0 {
            text.push('\n');
        }
        for row in (0..ROWS).rev() {
            let bottom = row * TOPS.len() as u64;
            line(&mut text, part, |(value, _)| match height(*value).checked_sub(bottom) {
                None => ' ',
                Some(step) => TOPS.get(step as usize).copied().unwrap_or('|'),
            });
        }
        line(&mut text, part, |_| ' ');
        let longest = part.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(0);
        for at in 0..longest {
            line(&mut text, part, |(_, label)| label.chars().nth(at).unwrap_or(' '));
        }
    }
    text
}

fn line(text: &mut String, part: &[(u64, String)], column: impl Fn(&(u64, String)) -> char) {
    text.extend(part.iter().map(column));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn samples(all: &[(u64, &str)]) -> Vec<(u64, String)> {
        all.iter().map(|&(value, label)| (value, label.into())).collect()
    }

    /// As Redis 7.0 has drawn these.
    #[test]
    fn a_history_is_drawn_as_by_redis() {
        let all = [(10, "8s"), (50, "7s"), (300, "5s"), (100, "4s"), (26, "3s"), (2, "1s")];
        let expected = ["  #   ", "  |   ", "  |_  ", "_o||__", "      ", "875431", "ssssss", ""];
        assert_eq!(draw(&samples(&all)), expected.join("\n"));
    }

    #[test]
    fn labels_of_any_length_and_equal_numbers_are_drawn() {
        let expected = ["  ", "  ", "  ", "__", "  ", "19", "2s", "m ", ""];
        assert_eq!(draw(&samples(&[(7, "12m"), (7, "9s")])), expected.join("\n"));
        let extremes = draw(&samples(&[(0, "1s"), (u64::MAX, "1s")]));
        assert!(extremes.starts_with(" #\n |\n"), "{extremes}");
        assert_eq!(draw(&[]), "");
    }

    #[test]
    fn a_long_history_takes_several_graphs() {
        let all: Vec<_> = (0..COLUMNS as u64 + 1).map(|n| (n, String::from("1s"))).collect();
        let text = draw(&all);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7 + 1 + 7);
        assert_eq!((lines[0].len(), lines[7], lines[8]), (COLUMNS, "", "#"));
    }
}
