//! Replies as `redis-cli` prints them: for a reader ([`Frame::to_tty`]) and for a pipe
//! ([`Frame::to_raw`]).

use std::fmt;

use super::Frame;

impl Frame {
    /// What a terminal is shown, its last newline included: types named, strings quoted, nested
    /// elements numbered and aligned.
    pub fn to_tty(&self) -> Vec<u8> {
        let mut out = Vec::new();
        tty(self, 0, &mut out);
        out
    }

    /// What a pipe is given, its last newline included: the bytes of each element, one a line.
    /// Texts meant for a reader, such as INFO's, `redis-cli` prints so on a terminal too, but
    /// without that newline.
    pub fn to_raw(&self) -> Vec<u8> {
        let mut out = Vec::new();
        raw(self, &mut out);
        out.push(b'\n');
        out
    }
}

/// As on a terminal, without the last newline.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_tty();
        f.write_str(&String::from_utf8_lossy(text.strip_suffix(b"\n").unwrap_or(&text)))
    }
}

/// Renders `frame` and a newline; every line but the first is indented by `indent`, the first
/// stands where the caller has written to.
fn tty(frame: &Frame, indent: usize, out: &mut Vec<u8>) {
    match frame {
        Frame::Simple(text) => out.extend_from_slice(text),
        Frame::Error(text) => {
            out.extend_from_slice(b"(error) ");
            out.extend_from_slice(text);
        }
        Frame::Int(n) => out.extend_from_slice(format!("(integer) {n}").as_bytes()),
        Frame::Double(text) => out.extend_from_slice(format!("(double) {text}").as_bytes()),
        Frame::BigNumber(text) => out.extend_from_slice(format!("(big number) {text}").as_bytes()),
        Frame::Bulk(bytes) => quote(bytes, out),
        Frame::Verbatim { text, .. } => out.extend_from_slice(text),
        Frame::Null | Frame::NullArray => out.extend_from_slice(b"(nil)"),
        Frame::Bool(yes) => out.extend_from_slice(spelled(*yes)),
        Frame::Array(items) => return tty_list(items, ')', "(empty array)", indent, out),
        Frame::Set(items) => return tty_list(items, '~', "(empty set)", indent, out),
        Frame::Push(items) => return tty_list(items, ')', "(empty push)", indent, out),
        Frame::Map(pairs) => return tty_map(pairs, indent, out),
    }
    out.push(b'\n');
}

fn tty_list(items: &[Frame], mark: char, empty: &str, indent: usize, out: &mut Vec<u8>) {
    if items.is_empty() {
        out.extend_from_slice(empty.as_bytes());
        out.push(b'\n');
        return;
    }
    let width = digits(items.len());
    for (i, item) in items.iter().enumerate() {
        number(i, width, mark, indent, out);
        tty(item, indent + width + 2, out);
    }
}

fn tty_map(pairs: &[(Frame, Frame)], indent: usize, out: &mut Vec<u8>) {
    if pairs.is_empty() {
        out.extend_from_slice(b"(empty hash)\n");
        return;
    }
    let width = digits(pairs.len());
    let inner = indent + width + 2;
    for (i, (key, value)) in pairs.iter().enumerate() {
        number(i, width, '#', indent, out);
        tty(key, inner, out);
        out.pop();
        out.extend_from_slice(b" => ");
        if has_many_lines(value) {
            out.push(b'\n');
            out.resize(out.len() + inner, b' ');
        }
        tty(value, inner, out);
    }
}

/// The number in front of an element. The first stands behind the number of its parent.
fn number(i: usize, width: usize, mark: char, indent: usize, out: &mut Vec<u8>) {
    if i > 0 {
        out.resize(out.len() + indent, b' ');
    }
    out.extend_from_slice(format!("{:width$}{mark} ", i + 1).as_bytes());
}

fn digits(n: usize) -> usize {
    n.ilog10() as usize + 1
}

/// Whether an element of a map starts on a line of its own.
fn has_many_lines(frame: &Frame) -> bool {
    match frame {
        Frame::Array(items) | Frame::Set(items) | Frame::Push(items) => match &items[..] {
            [] => false,
            [only] => has_many_lines(only),
            _ => true,
        },
        Frame::Map(pairs) => match &pairs[..] {
            [] => false,
            [(_, value)] => has_many_lines(value),
            _ => true,
        },
        Frame::Simple(_)
        | Frame::Error(_)
        | Frame::Int(_)
        | Frame::Bulk(_)
        | Frame::Null
        | Frame::NullArray
        | Frame::Double(_)
        | Frame::Bool(_)
        | Frame::BigNumber(_)
        | Frame::Verbatim { .. } => false,
    }
}

/// A string as C would spell it.
fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}

fn spelled(yes: bool) -> &'static [u8] {
    if yes { b"(true)" } else { b"(false)" }
}

fn raw(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Simple(text) | Frame::Bulk(text) | Frame::Verbatim { text, .. } => {
            out.extend_from_slice(text);
        }
        // An error ends its line itself, so that one alone is followed by an empty line.
        Frame::Error(text) => {
            out.extend_from_slice(text);
            out.push(b'\n');
        }
        Frame::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Frame::Double(text) | Frame::BigNumber(text) => out.extend_from_slice(text.as_bytes()),
        Frame::Null | Frame::NullArray => {}
        Frame::Bool(yes) => out.extend_from_slice(spelled(*yes)),
        Frame::Array(items) | Frame::Set(items) | Frame::Push(items) => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b'\n');
                }
                raw(item, out);
            }
        }
        Frame::Map(pairs) => {
            for (i, (key, value)) in pairs.iter().enumerate() {
                if i > 0 {
                    out.push(b'\n');
                }
                raw(key, out);
                out.push(b' ');
                raw(value, out);
            }
        }
    }
}
