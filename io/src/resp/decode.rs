//! The client's side: replies out of bytes, commands into bytes.
//!
//! A [`Decoder`] reads RESP2 and RESP3 and gives owned [`Frame`]s. It takes whole elements off the
//! buffer as they arrive and keeps the open aggregates on a stack of its own, so a large array is
//! decoded once and a hostile nesting cannot exhaust the thread's stack. Attributes, which no client
//! here asks for, are read and dropped.

use bytes::{Buf, BytesMut};

use super::{encode, number};

/// One reply, as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// `+text`.
    Simple(Vec<u8>),
    /// `-text` or `!len`, with its code.
    Error(Vec<u8>),
    /// `:n`.
    Int(i64),
    /// `$len`.
    Bulk(Vec<u8>),
    /// `$-1` or `_`.
    Null,
    /// `*-1`.
    NullArray,
    /// `*n`.
    Array(Vec<Frame>),
    /// `%n`, in order.
    Map(Vec<(Frame, Frame)>),
    /// `~n`, in order.
    Set(Vec<Frame>),
    /// `>n`: not an answer to a command.
    Push(Vec<Frame>),
    /// `,text`, spelled as it came.
    Double(Box<str>),
    /// `#t` or `#f`.
    Bool(bool),
    /// `(digits`, spelled as it came.
    BigNumber(Box<str>),
    /// `=len`.
    Verbatim {
        /// Three letters: `txt`, `mkd`.
        format: [u8; 3],
        /// What stands behind the format.
        text: Vec<u8>,
    },
}

/// Why bytes are not a reply. The connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No type starts with this byte.
    #[error("'{}' starts no reply", .0.escape_ascii())]
    UnknownType(u8),
    /// A line that does not say what its type needs: a number, a boolean, a double.
    #[error("malformed line of a '{}' reply", char::from(*.0))]
    BadLine(u8),
    /// A string that is not followed by CR LF.
    #[error("a string is longer than it said")]
    Unterminated,
    /// A line above [`LINE_BYTES_MAX`].
    #[error("a line is longer than {LINE_BYTES_MAX} bytes")]
    LineBytes,
    /// A string above [`STRING_BYTES_MAX`].
    #[error("a string is longer than {STRING_BYTES_MAX} bytes")]
    StringBytes,
    /// A reply above [`FRAME_BYTES_MAX`].
    #[error("a reply is longer than {FRAME_BYTES_MAX} bytes")]
    FrameBytes,
    /// A reply of more than [`ELEMENTS_MAX`] elements.
    #[error("a reply has more than {ELEMENTS_MAX} elements")]
    Elements,
    /// Aggregates more than [`DEPTH_MAX`] deep.
    #[error("a reply is nested more than {DEPTH_MAX} deep")]
    Depth,
}

/// Longest line, and so the longest simple string, error and big number.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// Longest string: what a Redis server sends at most by default.
pub const STRING_BYTES_MAX: usize = 512 << 20;

/// Longest reply as sent.
pub const FRAME_BYTES_MAX: usize = 1 << 30;

/// Most elements of one reply, over all its levels.
pub const ELEMENTS_MAX: usize = 1 << 24;

/// Deepest nesting of aggregates.
pub const DEPTH_MAX: usize = 32;

const _: () = assert!(LINE_BYTES_MAX < STRING_BYTES_MAX && STRING_BYTES_MAX < FRAME_BYTES_MAX);

/// The decoder of one connection: the reply under way.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Aggregates that lack elements, the outermost first.
    open: Vec<Open>,
    /// The string whose length line is already taken off the buffer.
    string: Option<(Text, usize)>,
    /// Bytes at the start of the buffer that hold no end of line.
    searched: usize,
    /// Bytes of this reply taken off the buffer.
    bytes: usize,
    /// Elements that this reply has announced.
    elements: usize,
}

#[derive(Debug)]
struct Open {
    kind: Aggregate,
    /// Elements to come; a map's pair counts twice.
    left: usize,
    items: Vec<Frame>,
}

#[derive(Clone, Copy, Debug)]
enum Aggregate {
    Array,
    Map,
    Set,
    Push,
    Attribute,
}

#[derive(Clone, Copy, Debug)]
enum Text {
    Bulk,
    Error,
    Verbatim,
}

/// What one line, or one string, comes to.
enum Element {
    Whole(Frame),
    Open(Aggregate, usize),
    String(Text, usize),
}

impl Decoder {
    /// Takes the next reply off `buf`; `None` if it is not all here. `buf` may then be shorter: what
    /// the decoder has understood, it keeps.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, DecodeError> {
        loop {
            let element = match self.string {
                Some((text, len)) => self.string_body(buf, text, len)?.map(Element::Whole),
                None => self.line(buf)?,
            };
            let whole = match element {
                None => return Ok(None),
                Some(Element::Whole(frame)) => Some(frame),
                Some(Element::Open(kind, left)) => self.open(kind, left)?,
                Some(Element::String(text, len)) => {
                    self.take(len + 2)?;
                    self.string = Some((text, len));
                    None
                }
            };
            if let Some(frame) = whole.and_then(|frame| self.fold(frame)) {
                self.bytes = 0;
                self.elements = 0;
                return Ok(Some(frame));
            }
        }
    }

    /// Whether part of a reply has been taken off the buffer.
    pub fn is_midway(&self) -> bool {
        self.string.is_some() || !self.open.is_empty()
    }

    /// Puts a whole frame where it belongs: the whole reply, if this ends it.
    fn fold(&mut self, mut frame: Frame) -> Option<Frame> {
        loop {
            let Some(parent) = self.open.last_mut() else { return Some(frame) };
            parent.items.push(frame);
            parent.left -= 1;
            if parent.left > 0 {
                return None;
            }
            let Open { kind, items, .. } = self.open.pop().expect("it has a last one");
            frame = kind.close(items)?;
        }
    }

    /// Opens an aggregate of `left` elements: the frame, if there are none.
    fn open(&mut self, kind: Aggregate, left: usize) -> Result<Option<Frame>, DecodeError> {
        self.elements = self.elements.saturating_add(left);
        if self.elements > ELEMENTS_MAX {
            return Err(DecodeError::Elements);
        }
        if left == 0 {
            return Ok(kind.close(Vec::new()));
        }
        if self.open.len() == DEPTH_MAX {
            return Err(DecodeError::Depth);
        }
        // No capacity up front: `left` is a claim.
        self.open.push(Open { kind, left, items: Vec::new() });
        Ok(None)
    }

    /// Counts `len` bytes as this reply's.
    fn take(&mut self, len: usize) -> Result<(), DecodeError> {
        self.bytes += len;
        if self.bytes > FRAME_BYTES_MAX { Err(DecodeError::FrameBytes) } else { Ok(()) }
    }

    fn string_body(
        &mut self,
        buf: &mut BytesMut,
        kind: Text,
        len: usize,
    ) -> Result<Option<Frame>, DecodeError> {
        if buf.len() < len + 2 {
            return Ok(None);
        }
        if &buf[len..len + 2] != b"\r\n" {
            return Err(DecodeError::Unterminated);
        }
        let bytes = &buf[..len];
        let frame = match kind {
            Text::Bulk => Frame::Bulk(bytes.to_vec()),
            Text::Error => Frame::Error(bytes.to_vec()),
            Text::Verbatim => match bytes {
                [a, b, c, b':', text @ ..] => {
                    Frame::Verbatim { format: [*a, *b, *c], text: text.to_vec() }
                }
                _ => return Err(DecodeError::BadLine(b'=')),
            },
        };
        buf.advance(len + 2);
        self.string = None;
        Ok(Some(frame))
    }

    /// Takes a line off `buf` and says what it starts, or is.
    fn line(&mut self, buf: &mut BytesMut) -> Result<Option<Element>, DecodeError> {
        match buf.first() {
            Some(&mark) if !MARKS.contains(&mark) => return Err(DecodeError::UnknownType(mark)),
            _ => {}
        }
        let searchable = &buf[..buf.len().min(LINE_BYTES_MAX + 2)];
        let Some(lf) = searchable[self.searched..].iter().position(|&byte| byte == b'\n') else {
            if searchable.len() == LINE_BYTES_MAX + 2 {
                return Err(DecodeError::LineBytes);
            }
            self.searched = searchable.len();
            return Ok(None);
        };
        let lf = self.searched + lf;
        self.searched = 0;
        self.take(lf + 1)?;
        let element = element(&buf[..lf])?;
        buf.advance(lf + 1);
        Ok(Some(element))
    }
}

impl Aggregate {
    /// The frame of `items`; none for an attribute, which speaks of the frame behind it.
    fn close(self, items: Vec<Frame>) -> Option<Frame> {
        Some(match self {
            Self::Array => Frame::Array(items),
            Self::Set => Frame::Set(items),
            Self::Push => Frame::Push(items),
            Self::Map => {
                let mut items = items.into_iter();
                Frame::Map(std::iter::from_fn(|| items.next().zip(items.next())).collect())
            }
            Self::Attribute => return None,
        })
    }
}

/// The bytes that start a reply.
const MARKS: &[u8] = b"+-:$*_,#!=(%~>|";

/// What `line`, which starts with one of [`MARKS`] and lacks its LF, means.
fn element(line: &[u8]) -> Result<Element, DecodeError> {
    let mark = line[0];
    let bad = DecodeError::BadLine(mark);
    let rest = line[1..].strip_suffix(b"\r").ok_or(bad)?;
    let count = |times: usize| match number::parse(rest).map(usize::try_from) {
        Some(Ok(n)) => Ok(n.saturating_mul(times)),
        _ => Err(bad),
    };
    Ok(match mark {
        b'+' => Element::Whole(Frame::Simple(rest.to_vec())),
        b'-' => Element::Whole(Frame::Error(rest.to_vec())),
        b':' => Element::Whole(Frame::Int(number::parse(rest).ok_or(bad)?)),
        b'_' if rest.is_empty() => Element::Whole(Frame::Null),
        b'#' if rest == b"t" => Element::Whole(Frame::Bool(true)),
        b'#' if rest == b"f" => Element::Whole(Frame::Bool(false)),
        b',' => Element::Whole(Frame::Double(double(rest).ok_or(bad)?)),
        b'(' => Element::Whole(Frame::BigNumber(big_number(rest).ok_or(bad)?)),
        b'$' if rest == b"-1" => Element::Whole(Frame::Null),
        b'*' if rest == b"-1" => Element::Whole(Frame::NullArray),
        b'$' => string(Text::Bulk, count(1)?)?,
        b'!' => string(Text::Error, count(1)?)?,
        b'=' => string(Text::Verbatim, count(1)?)?,
        b'*' => Element::Open(Aggregate::Array, count(1)?),
        b'~' => Element::Open(Aggregate::Set, count(1)?),
        b'>' => Element::Open(Aggregate::Push, count(1)?),
        b'%' => Element::Open(Aggregate::Map, count(2)?),
        b'|' => Element::Open(Aggregate::Attribute, count(2)?),
        _ => return Err(bad),
    })
}

fn string(text: Text, len: usize) -> Result<Element, DecodeError> {
    if len > STRING_BYTES_MAX {
        return Err(DecodeError::StringBytes);
    }
    Ok(Element::String(text, len))
}

fn double(text: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse::<f64>().is_ok().then(|| text.into())
}

fn big_number(text: &[u8]) -> Option<Box<str>> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let spelled = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if spelled { std::str::from_utf8(text).ok().map(Box::from) } else { None }
}

/// Appends a command, as every client sends it, to `out`.
pub fn encode_command(args: &[impl AsRef<[u8]>], out: &mut BytesMut) {
    encode::head(b'*', args.len(), out);
    for arg in args {
        encode::bulk(arg.as_ref(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_takes_no_memory() {
        let mut decoder = Decoder::default();
        let mut buf = BytesMut::from(&b"*1000000\r\n*15000000\r\n$536870912\r\nabc"[..]);
        assert_eq!(decoder.next(&mut buf), Ok(None));
        assert_eq!(&buf[..], b"abc");
        assert!(decoder.open.iter().all(|open| open.items.capacity() == 0));
        assert!(decoder.open.capacity() <= 4);
    }
}
