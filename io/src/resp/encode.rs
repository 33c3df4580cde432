//! Replies as RESP2 and RESP3 spell them.
//!
//! An error's text may quote what a client sent, so a CR or LF in it becomes a space, as in Redis;
//! or a client could forge a reply. Nothing here allocates beyond the output buffer.

use bytes::BytesMut;
use kvnode_core::reply::{Protocol, Reply};

/// Appends `reply` to `out`.
pub fn encode(reply: &Reply, protocol: Protocol, out: &mut BytesMut) {
    let resp3 = protocol == Protocol::Resp3;
    match reply {
        Reply::Simple(text) => line(b'+', text, out),
        Reply::Error(text) => line(b'-', text, out),
        Reply::Int(n) => head(b':', *n, out),
        Reply::Bulk(value) => bulk(value, out),
        Reply::Null | Reply::NullArray if resp3 => out.extend_from_slice(b"_\r\n"),
        Reply::Null => out.extend_from_slice(b"$-1\r\n"),
        Reply::NullArray => out.extend_from_slice(b"*-1\r\n"),
        Reply::Array(items) => {
            head(b'*', items.len(), out);
            all(items, protocol, out);
        }
        Reply::Set(items) => {
            head(if resp3 { b'~' } else { b'*' }, items.len(), out);
            all(items, protocol, out);
        }
        Reply::Map(pairs) => {
            if resp3 {
                head(b'%', pairs.len(), out);
            } else {
                head(b'*', pairs.len() * 2, out);
            }
            for (key, value) in pairs {
                encode(key, protocol, out);
                encode(value, protocol, out);
            }
        }
        Reply::Double(text) if resp3 => line(b',', text, out),
        Reply::Verbatim(text) if resp3 => {
            head(b'=', text.len() + 4, out);
            out.extend_from_slice(b"txt:");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Reply::Double(text) | Reply::Verbatim(text) => bulk(text.as_bytes(), out),
    }
}

/// Bytes of a bulk string's value, 0 for every other reply. A connection may write a large one from
/// where it lies: [`encode_bulk_head`], then the value, then CR LF.
pub fn bulk_bytes(reply: &Reply) -> usize {
    if let Reply::Bulk(value) = reply { value.len() } else { 0 }
}

/// Appends what stands before the `len` bytes of a bulk string.
pub fn encode_bulk_head(len: usize, out: &mut BytesMut) {
    head(b'$', len, out);
}

fn all(items: &[Reply], protocol: Protocol, out: &mut BytesMut) {
    for item in items {
        encode(item, protocol, out);
    }
}

pub(super) fn bulk(bytes: &[u8], out: &mut BytesMut) {
    out.reserve(HEAD_BYTES_MAX + bytes.len() + 2);
    head(b'$', bytes.len(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn line(mark: u8, text: &str, out: &mut BytesMut) {
    out.reserve(text.len() + 3);
    out.extend_from_slice(&[mark]);
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    for byte in &mut out[start..] {
        if matches!(*byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The longest line of [`head`]: a mark, twenty characters, CR LF.
const HEAD_BYTES_MAX: usize = 23;

/// A line of a mark and a number.
pub(super) fn head(mark: u8, n: impl itoa::Integer, out: &mut BytesMut) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(n).as_bytes();
    let mut line = [mark; HEAD_BYTES_MAX];
    let end = 1 + digits.len();
    line[1..end].copy_from_slice(digits);
    line[end..end + 2].copy_from_slice(b"\r\n");
    out.extend_from_slice(&line[..end + 2]);
}
