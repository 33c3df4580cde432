//! What a client is told, apart from how RESP2 or RESP3 writes it.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::Value;

/// The protocol version a client asked for with HELLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RESP2, the default of a new connection.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

/// One reply. RESP2 writes the shapes that it lacks as Redis does: a map as a flat array, a set as
/// an array, a double as a bulk string, a boolean as an integer, null as `$-1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// `+text`.
    Simple(&'static str),
    /// `-text`, the error code included: `ERR no such key`.
    Error(Cow<'static, str>),
    /// `:n`.
    Int(i64),
    /// A bulk string.
    Bulk(Value),
    /// `$-1` in RESP2, `_` in RESP3.
    Null,
    /// `*-1` in RESP2, `_` in RESP3.
    NullArray,
    /// An array.
    Array(Vec<Reply>),
    /// A map, in order.
    Map(Vec<(Reply, Reply)>),
    /// A set, in order.
    Set(Vec<Reply>),
    /// A double, already in Redis's spelling.
    Double(Box<str>),
    /// RESP3 `=len\r\ntxt:…`; a bulk string in RESP2.
    Verbatim(Box<str>),
}

impl Reply {
    /// `+OK`.
    pub const OK: Self = Self::Simple("OK");

    /// A bulk string copied from `bytes`.
    pub fn bulk(bytes: &[u8]) -> Self {
        Self::Bulk(Value::copy_from(bytes))
    }

    /// An error whose text is fixed, its code included.
    pub fn error(text: &'static str) -> Self {
        Self::Error(Cow::Borrowed(text))
    }

    /// An error whose text was made for the occasion, its code included.
    pub fn error_owned(text: String) -> Self {
        Self::Error(Cow::Owned(text))
    }
}
