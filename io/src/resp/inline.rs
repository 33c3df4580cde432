//! Words of a line typed by hand, quoted as Redis does: `SET k "a\tb" 'it\'s'`.
//!
//! Between double quotes `\n \r \t \b \a \xHH` are escapes and `\c` is `c`; between single quotes
//! only `\'` is one. A closing quote must end its word, an opening one may stand inside it:
//! `a"b c"` is one word. In contrast to Redis, whose lines are C strings, a NUL is a byte like any
//! other.

use std::ops::Range;

/// A quote that does not close, or closes in the middle of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unbalanced quotes")]
pub struct Unbalanced;

/// The words of `line`, unquoted.
pub fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, Unbalanced> {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    split_into(line, &mut bytes, |word| ends.push(word))?;
    Ok(ends.into_iter().map(|word| bytes[word].to_vec()).collect())
}

/// Appends the unquoted words of `line` to `bytes`, at most `line.len()` bytes in all, and names the
/// place of each to `word`. After an error the words so far stand.
pub(super) fn split_into(
    line: &[u8],
    bytes: &mut Vec<u8>,
    mut word: impl FnMut(Range<usize>),
) -> Result<(), Unbalanced> {
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|&&byte| is_space(byte)).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Ok(());
        }
        let start = bytes.len();
        rest = split_word(rest, bytes)?;
        word(start..bytes.len());
    }
}

/// Unquotes one word; what follows it.
fn split_word<'a>(mut rest: &'a [u8], bytes: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        match rest {
            // Redis ends a bare word at four blanks, though it skips all six before one.
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Ok(rest),
            [b'"', quoted @ ..] => return double_quoted(quoted, bytes),
            [b'\'', quoted @ ..] => return single_quoted(quoted, bytes),
            [byte, after @ ..] => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], bytes: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        rest = match rest {
            [] => return Err(Unbalanced),
            [b'"', after @ ..] => return closed(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                bytes.push(hex(*high) << 4 | hex(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                bytes.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                after
            }
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], bytes: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        rest = match rest {
            [] => return Err(Unbalanced),
            [b'\'', after @ ..] => return closed(after),
            [b'\\', b'\'', after @ ..] => {
                bytes.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                after
            }
        }
    }
}

/// What follows a closing quote must be a blank or nothing.
fn closed(after: &[u8]) -> Result<&[u8], Unbalanced> {
    match after.first() {
        Some(&byte) if !is_space(byte) => Err(Unbalanced),
        _ => Ok(after),
    }
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unquoted_as_redis_does() {
        for (line, words) in [
            (&b""[..], Some(vec![])),
            (b" \t\r\n\x0b\x0c", Some(vec![])),
            (b"set k v", Some(vec![&b"set"[..], b"k", b"v"])),
            (b"  get  k ", Some(vec![b"get", b"k"])),
            (br#"echo """#, Some(vec![b"echo", b""])),
            (br#""" x"#, Some(vec![b"", b"x"])),
            (br#"echo a"b c""#, Some(vec![b"echo", b"ab c"])),
            (br#"echo a'b c'"#, Some(vec![b"echo", b"ab c"])),
            (br#"echo "\x41\n\r\t\b\a\q\xZZ""#, Some(vec![b"echo", b"A\n\r\t\x08\x07qxZZ"])),
            (br#"echo "\xAg\xfF""#, Some(vec![b"echo", b"xAg\xff"])),
            (br#"echo "\"\\""#, Some(vec![b"echo", b"\"\\"])),
            (br"echo 'a\'b'", Some(vec![b"echo", b"a'b"])),
            (br"echo 'a\n\x41'", Some(vec![b"echo", br"a\n\x41"])),
            (b"ping \x85\xa0", Some(vec![b"ping", b"\x85\xa0"])),
            (b"\tping\x0b \x0c", Some(vec![b"ping\x0b"])),
            (b"echo a\0b", Some(vec![b"echo", b"a\0b"])),
            (br#"echo "abc"#, None),
            (br"echo 'abc", None),
            (br#"echo "abc"d"#, None),
            (br"echo 'abc'd", None),
            (br#"echo "abc\""#, None),
            (br#"echo "abc\"#, None),
            (br"echo 'abc\'", None),
        ] {
            let expected = words.map(|words| words.iter().map(|w| w.to_vec()).collect());
            assert_eq!(split(line).ok(), expected, "{}", line.escape_ascii());
        }
    }
}
