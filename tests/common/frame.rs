//! RESP2 and RESP3 replies, read by code that shares nothing with the server's.

use std::fmt;

/// One reply. Nothing is lost: two frames are equal if and only if their bytes on the wire are,
/// since [`Frame::parse`] accepts each value in its one canonical spelling only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Frame {
    /// `+text`
    Simple(String),
    /// `-text`
    Error(String),
    /// `:n`
    Int(i64),
    /// `$len`
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    /// `*-1`
    NullArray,
    /// `_`
    Null,
    /// `*n`
    Array(Vec<Frame>),
    /// `%n`
    Map(Vec<(Frame, Frame)>),
    /// `~n`
    Set(Vec<Frame>),
    /// `>n`
    Push(Vec<Frame>),
    /// `,n`
    Double(String),
    /// `#t`, `#f`
    Bool(bool),
    /// `(n`
    Big(String),
    /// `=len`
    Verbatim(Vec<u8>),
}

impl Frame {
    /// `+OK`
    pub(crate) fn ok() -> Self {
        Self::Simple("OK".into())
    }

    /// A bulk string.
    pub(crate) fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    /// Whether it is an error that starts with `code`.
    pub(crate) fn is_error(&self, code: &str) -> bool {
        matches!(self, Self::Error(text) if text.starts_with(code))
    }

    /// The text of whatever is one text.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Simple(text) | Self::Error(text) => text.clone(),
            Self::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("{other:?} is no text"),
        }
    }

    /// The elements of an array, a set or a push.
    pub(crate) fn elements(&self) -> Option<&[Frame]> {
        match self {
            Self::Array(list) | Self::Set(list) | Self::Push(list) => Some(list),
            _ => None,
        }
    }

    /// The first frame in `bytes` and its length; `None` if it is not complete.
    ///
    /// # Panics
    /// If the bytes are no RESP.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let line_end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let line = &bytes[1.min(line_end)..line_end];
        let mut at = line_end + 2;
        // An error may quote what a client sent; where that is no UTF-8, it is compared escaped.
        let text = || match str::from_utf8(line) {
            Ok(text) => text.to_owned(),
            Err(_) => line.escape_ascii().to_string(),
        };
        let frame = match bytes[0] {
            b'+' => Self::Simple(text()),
            b'-' => Self::Error(text()),
            b':' => Self::Int(number(line)),
            b',' => Self::Double(text()),
            b'(' => Self::Big(text()),
            b'#' => Self::Bool(match line {
                b"t" => true,
                b"f" => false,
                _ => panic!("no boolean: {}", bytes.escape_ascii()),
            }),
            b'_' => Self::Null,
            b'$' if line == b"-1" => Self::NullBulk,
            b'*' if line == b"-1" => Self::NullArray,
            kind @ (b'$' | b'=') => {
                let len = length(line);
                let rest = bytes.get(at..at + len + 2)?;
                assert_eq!(&rest[len..], b"\r\n", "a bulk string ends with CRLF");
                at += len + 2;
                let data = rest[..len].to_vec();
                if kind == b'$' { Self::Bulk(data) } else { Self::Verbatim(data) }
            }
            kind @ (b'*' | b'~' | b'>' | b'%') => {
                let count = length(line) * if kind == b'%' { 2 } else { 1 };
                let mut list = Vec::new();
                for _ in 0..count {
                    let (frame, used) = Self::parse(&bytes[at..])?;
                    list.push(frame);
                    at += used;
                }
                match kind {
                    b'*' => Self::Array(list),
                    b'~' => Self::Set(list),
                    b'>' => Self::Push(list),
                    _ => {
                        let mut list = list.into_iter();
                        let mut pairs = Vec::new();
                        while let (Some(key), Some(value)) = (list.next(), list.next()) {
                            pairs.push((key, value));
                        }
                        Self::Map(pairs)
                    }
                }
            }
            _ => panic!("no RESP: {}", bytes[..bytes.len().min(80)].escape_ascii()),
        };
        Some((frame, at))
    }
}

/// A number in its canonical spelling.
fn number(line: &[u8]) -> i64 {
    let text = str::from_utf8(line).expect("a number is ASCII");
    let n: i64 = text.parse().expect("a number");
    assert_eq!(n.to_string(), text, "a number has one spelling");
    n
}

fn length(line: &[u8]) -> usize {
    usize::try_from(number(line)).expect("a length is not negative")
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, mark: &str, list: &[Frame]| {
            f.write_str(mark)?;
            f.debug_list().entries(list).finish()
        };
        match self {
            Self::Simple(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Int(n) => write!(f, ":{n}"),
            Self::Bulk(data) => {
                let shown = data.len().min(100);
                write!(f, "\"{}\"", data[..shown].escape_ascii())?;
                if shown < data.len() { write!(f, "…[{} bytes]", data.len()) } else { Ok(()) }
            }
            Self::NullBulk => f.write_str("$-1"),
            Self::NullArray => f.write_str("*-1"),
            Self::Null => f.write_str("_"),
            Self::Array(items) => list(f, "*", items),
            Self::Set(items) => list(f, "~", items),
            Self::Push(items) => list(f, ">", items),
            Self::Map(pairs) => {
                f.write_str("%")?;
                f.debug_map().entries(pairs.iter().map(|(k, v)| (k, v))).finish()
            }
            Self::Double(text) => write!(f, ",{text}"),
            Self::Bool(value) => write!(f, "#{value}"),
            Self::Big(text) => write!(f, "({text}"),
            Self::Verbatim(data) => write!(f, "=\"{}\"", data.escape_ascii()),
        }
    }
}
