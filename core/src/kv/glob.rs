//! Redis's patterns: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before what stands for itself.
//!
//! Everything but a star matches exactly one byte, so only the last star has to be tried again:
//! the time is at most the product of the lengths.

/// Whether all of `text` matches `pattern`.
///
/// As in Redis, an empty text matches only the empty pattern, a class without its closing bracket
/// ends with the pattern, and a `\` at the end stands for itself.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // Where the pattern goes on after the last star, and the first byte it has not swallowed.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
        } else if let Some((true, next)) = one(pattern, p, text[t]) {
            (p, t) = (next, t + 1);
        } else if let Some((after, from)) = star {
            (p, t) = (after, from + 1);
            star = Some((after, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

/// What every match starts with.
pub(super) fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let special = |b: &u8| matches!(b, b'*' | b'?' | b'[' | b'\\');
    &pattern[..pattern.iter().position(special).unwrap_or(pattern.len())]
}

/// Whether `byte` matches the element at `p`, and where the next one is; `None` at the end.
fn one(pattern: &[u8], p: usize, byte: u8) -> Option<(bool, usize)> {
    match *pattern.get(p)? {
        b'?' => Some((true, p + 1)),
        b'[' => Some(class(pattern, p + 1, byte)),
        b'\\' if p + 1 < pattern.len() => Some((pattern[p + 1] == byte, p + 2)),
        literal => Some((literal == byte, p + 1)),
    }
}

/// As [`one`], for a class whose bracket is before `p`.
fn class(pattern: &[u8], mut p: usize, byte: u8) -> (bool, usize) {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    loop {
        match &pattern[p..] {
            [] => return (found != negated, p),
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                p += 2;
            }
            [b']', ..] => return (found != negated, p + 1),
            [a, b'-', b, ..] => {
                found |= (*a.min(b)..=*a.max(b)).contains(&byte);
                p += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                p += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// The definition, exponential as it may be.
    fn model(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([b'*', rest @ ..], []) => model(rest, text),
            ([b'*', rest @ ..], [_, tail @ ..]) => model(rest, text) || model(pattern, tail),
            (_, []) => false,
            (pattern, [byte, tail @ ..]) => {
                let (found, next) = one(pattern, 0, *byte).unwrap();
                found && model(&pattern[next..], tail)
            }
        }
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(&b"ab-]^\\"[..]), 0..8)
    }

    fn pattern() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(&b"aab***?[]^-\\"[..]), 0..10)
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in pattern(), text in bytes()) {
            let expected = model(&pattern, &text) && (!text.is_empty() || pattern.is_empty());
            prop_assert_eq!(matches(&pattern, &text), expected);
        }

        #[test]
        fn every_match_has_the_literal_prefix(pattern in pattern(), text in bytes()) {
            if matches(&pattern, &text) {
                prop_assert!(text.starts_with(literal_prefix(&pattern)));
            }
        }

        #[test]
        fn any_bytes_are_taken(pattern: Vec<u8>, text: Vec<u8>) {
            matches(&pattern, &text);
        }
    }

    #[test]
    fn classes_and_escapes() {
        let yes: [(&[u8], &[u8]); 11] = [
            (b"h?llo", b"hello"),
            (b"h*llo", b"hllo"),
            (b"h[ae]llo", b"hallo"),
            (b"h[^e]llo", b"hbllo"),
            (b"h[b-a]llo", b"hallo"),
            (b"\\*", b"*"),
            (b"[\\]]", b"]"),
            (b"[]", b"x"),
            (b"a\\", b"a\\"),
            (b"[a", b"a"),
            (b"[^", b"x"),
        ];
        // An empty class matches nothing.
        assert!(!matches(yes[7].0, yes[7].1));
        for (pattern, text) in yes.iter().filter(|(pattern, _)| pattern != b"[]") {
            assert!(matches(pattern, text), "{}", pattern.escape_ascii());
        }
        assert!(!matches(b"h[^e]llo", b"hello") && !matches(b"H*", b"hello"));
        assert!(!matches(b"**", b"") && matches(b"", b""));
    }

    #[test]
    fn many_stars_take_no_longer_than_the_product_of_the_lengths() {
        let text = vec![b'a'; 10_000];
        assert!(!matches(b"a*a*a*a*a*a*a*a*a*a*b", &text));
    }
}
