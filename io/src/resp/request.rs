//! Commands out of a connection's read buffer, in place.
//!
//! [`Parser::next`] is shown the bytes that are not consumed yet. It keeps where each argument lies
//! and where it stopped, so that the next call goes on from there; [`Parser::args`] then gives the
//! arguments as slices of the same bytes:
//!
//! ```
//! # use kvnode_io::resp::{Parsed, Parser};
//! let mut parser = Parser::default();
//! let (buffer, mut at) = (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPI".as_slice(), 0);
//! loop {
//!     let unread = &buffer[at..];
//!     match parser.next(unread) {
//!         Parsed::Command { consumed } => {
//!             assert_eq!(parser.args(unread)[..], [b"GET".as_slice(), b"k"]);
//!             at += consumed;
//!         }
//!         Parsed::Skipped { consumed } => at += consumed,
//!         Parsed::Incomplete { missing } => {
//!             assert_eq!(missing, 4); // drop `at` bytes, reserve `missing`, read more
//!             break;
//!         }
//!         Parsed::Malformed(why) => panic!("{why}"), // reply with `why.reply()`, then close
//!     }
//! }
//! ```
//!
//! # Differences from Redis 7.2
//!
//! - A line is too long by its own length, not by how much of it one read returned; an argument
//!   count is limited to [`ARGS_MAX`] and a whole command to [`COMMAND_BYTES_MAX`]. An argument may be a
//!   little longer than a value ([`ARGUMENT_BYTES_MAX`]), so that what DUMP gives can be given back.
//! - A NUL in a line is a byte like any other; Redis would wait for an end of line that it no longer
//!   sees.

use kvnode_core::limits::{ARGS_MAX, ARGUMENT_BYTES_MAX, COMMAND_BYTES_MAX, INLINE_BYTES_MAX};
use kvnode_core::reply::Reply;
use smallvec::SmallVec;

use super::{inline, number};

/// One command's arguments, the name first; it derefs to what the core takes as
/// [`Args`](kvnode_core::args::Args). An ordinary command needs no allocation.
pub type SmallArgs<'a> = SmallVec<[&'a [u8]; 16]>;

/// What [`Parser::next`] found at the start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole command; [`Parser::args`] has its arguments.
    Command {
        /// Its length in the buffer.
        consumed: usize,
    },
    /// Bytes that ask for nothing: an empty line, or an array of no arguments.
    Skipped {
        /// Their length.
        consumed: usize,
    },
    /// A command that is not all here. Nothing is consumed: the next call must see the same bytes,
    /// and more behind them.
    Incomplete {
        /// At least this many bytes are missing, so that much is worth reserving: at least 1, and at
        /// most [`MISSING_BYTES_MAX`], whatever the client claims to send.
        missing: usize,
    },
    /// Not RESP. The client is told so and the connection closed.
    Malformed(Malformed),
}

/// Why bytes are not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// `*` with no number behind it, or one above [`ARGS_MAX`].
    #[error("Protocol error: invalid multibulk length")]
    MultibulkLength,
    /// `*` and a line without an end.
    #[error("Protocol error: too big mbulk count string")]
    MultibulkLine,
    /// An argument that starts with this byte in place of `$`.
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    NotBulk(u8),
    /// `$` with no number behind it, or one above [`ARGUMENT_BYTES_MAX`].
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// More arguments than a client may send that has not said who it is.
    #[error("Protocol error: unauthenticated multibulk length")]
    StrangerMultibulkLength,
    /// An argument longer than such a client may send.
    #[error("Protocol error: unauthenticated bulk length")]
    StrangerBulkLength,
    /// `$` and a line without an end.
    #[error("Protocol error: too big bulk count string")]
    BulkLine,
    /// An inline command above [`INLINE_BYTES_MAX`].
    #[error("Protocol error: too big inline request")]
    InlineLine,
    /// An inline command whose quotes do not match.
    #[error("Protocol error: unbalanced quotes in request")]
    Quotes,
    /// All arguments together above [`COMMAND_BYTES_MAX`].
    #[error("Protocol error: command longer than {COMMAND_BYTES_MAX} bytes, not executed")]
    CommandBytes,
}

impl Malformed {
    /// What the client is told.
    pub fn reply(self) -> Reply {
        Reply::error_owned(format!("ERR {self}"))
    }
}

/// Most bytes that [`Parsed::Incomplete`] asks for at once. A buffer that grows by this much with
/// each answer holds at most this much that the client has not paid for by sending.
pub const MISSING_BYTES_MAX: usize = 1 << 20;

/// The parser of one connection: what it knows about the command under way.
#[derive(Debug)]
pub struct Parser {
    stage: Stage,
    /// What the client may send.
    limits: Limits,
    /// Bytes of the command that are understood.
    at: usize,
    /// Bytes after `at` that hold no end of line.
    searched: usize,
    /// The arguments so far: places in the read buffer, or in `unquoted` for an inline command.
    spans: Vec<Span>,
    /// The arguments of an inline command.
    unquoted: Vec<u8>,
}

/// How much a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    args: usize,
    bulk: usize,
}

impl Limits {
    const KNOWN: Self = Self { args: ARGS_MAX, bulk: ARGUMENT_BYTES_MAX };
    const STRANGER: Self = Self { args: 10, bulk: 16 << 10 };
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            stage: Stage::Start,
            limits: Limits::KNOWN,
            at: 0,
            searched: 0,
            spans: Vec::new(),
            unquoted: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    /// Nothing understood yet.
    #[default]
    Start,
    /// Inside an array: `left` arguments to come, the first of them `body` bytes long if its length
    /// line was there.
    Array { left: usize, body: Option<usize> },
    /// A whole array.
    Whole,
    /// A whole inline command.
    WholeInline,
}

/// Half the size of a `Range<usize>`; a command is shorter than 4 GiB.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

const _: () = assert!(COMMAND_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(INLINE_BYTES_MAX <= u32::MAX as usize);

impl Parser {
    /// Looks at `buf`, the bytes that are not consumed yet.
    ///
    /// # Panics
    /// If `buf` is shorter than it was when the last call said [`Parsed::Incomplete`].
    pub fn next(&mut self, buf: &[u8]) -> Parsed {
        let (left, body) = match self.stage {
            Stage::Array { left, body } => (left, body),
            stage @ (Stage::Start | Stage::Whole | Stage::WholeInline) => {
                if !matches!(stage, Stage::Start) {
                    self.forget();
                }
                match buf.first() {
                    None => return Parsed::Incomplete { missing: 1 },
                    Some(b'*') => {}
                    Some(_) => return self.inline(buf),
                }
                match self.array_length(buf) {
                    Ok(left @ 1..) => (left, None),
                    Ok(0) => return Parsed::Skipped { consumed: std::mem::take(&mut self.at) },
                    Err(stop) => return stop,
                }
            }
        };
        self.arguments(buf, left, body)
    }

    /// Whether the client has not said who it is and has to: then little is taken from it.
    pub fn set_stranger(&mut self, stranger: bool) {
        self.limits = if stranger { Limits::STRANGER } else { Limits::KNOWN };
    }

    /// The arguments of the command that [`next`](Self::next) has just found in `buf`.
    ///
    /// # Panics
    /// If the last call found no command.
    pub fn args<'a>(&'a self, buf: &'a [u8]) -> SmallArgs<'a> {
        let bytes = match self.stage {
            Stage::Whole => buf,
            Stage::WholeInline => &self.unquoted,
            Stage::Start | Stage::Array { .. } => panic!("no command was found"),
        };
        self.spans.iter().map(|span| &bytes[span.start as usize..span.end as usize]).collect()
    }

    /// The first two arguments, most often a name and a key, of the command that
    /// [`next`](Self::next) has just found in `buf`; `None` for an inline command.
    pub fn first_two<'b>(&self, buf: &'b [u8]) -> Option<[&'b [u8]; 2]> {
        let spans = self.spans.first_chunk::<2>().filter(|_| matches!(self.stage, Stage::Whole))?;
        Some(spans.each_ref().map(|span| &buf[span.start as usize..span.end as usize]))
    }

    /// Whether it has understood a part of a command and waits for the rest.
    pub fn is_midway(&self) -> bool {
        matches!(self.stage, Stage::Array { .. })
    }

    /// Bytes of memory that the parser holds beside the read buffer.
    pub fn scratch_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<Span>() + self.unquoted.capacity()
    }

    /// Makes ready for the next command. An idle connection keeps little of what a huge one took.
    fn forget(&mut self) {
        self.stage = Stage::Start;
        self.at = 0;
        self.spans.clear();
        self.spans.shrink_to(SPANS_KEPT);
        self.unquoted.clear();
        self.unquoted.shrink_to(UNQUOTED_BYTES_KEPT);
    }

    /// Goes on with an array of which `left` arguments are to come.
    fn arguments(&mut self, buf: &[u8], mut left: usize, mut body: Option<usize>) -> Parsed {
        let mut at = self.at;
        let stop = loop {
            if left == 0 {
                self.stage = Stage::Whole;
                return Parsed::Command { consumed: at };
            }
            let len = match body {
                Some(len) => len,
                None => match self.bulk_length(buf, at) {
                    Ok((len, next)) => {
                        at = next;
                        len
                    }
                    Err(stop) => break stop,
                },
            };
            let end = at + len;
            // Redis takes any two bytes for the CR LF behind an argument.
            let needed = end + 2;
            if needed > buf.len() {
                body = Some(len);
                let missing = (needed - buf.len()).min(MISSING_BYTES_MAX);
                break Parsed::Incomplete { missing };
            }
            self.spans.push(Span { start: at as u32, end: end as u32 });
            at = needed;
            left -= 1;
            body = None;
        };
        self.at = at;
        self.stage = Stage::Array { left, body };
        stop
    }

    /// Reads the array's first line: its number of arguments, 0 for one that is to be skipped.
    fn array_length(&mut self, buf: &[u8]) -> Result<usize, Parsed> {
        if let Some((count, len)) = number::short_line(&buf[1..])
            && count <= self.limits.args
        {
            self.at = 1 + len;
            self.searched = 0;
            return Ok(count);
        }
        let (line, next) = self.line(buf, 0, Malformed::MultibulkLine)?;
        let count = number::parse(&line[1..])
            .filter(|&count| count <= ARGS_MAX as i64)
            .ok_or(Parsed::Malformed(Malformed::MultibulkLength))?;
        let count = count.max(0) as usize;
        if count > self.limits.args {
            return Err(Parsed::Malformed(Malformed::StrangerMultibulkLength));
        }
        self.at = next;
        Ok(count)
    }

    /// Reads an argument's first line, at `at`: its length, and where its bytes start.
    #[inline]
    fn bulk_length(&mut self, buf: &[u8], at: usize) -> Result<(usize, usize), Parsed> {
        let short = match buf.get(at) {
            Some(b'$') => number::short_line(&buf[at + 1..]),
            _ => None,
        };
        let (len, next) = match short {
            Some((len, line)) => {
                self.searched = 0;
                (len, at + 1 + line)
            }
            None => self.unusual_bulk_length(buf, at)?,
        };
        if len > self.limits.bulk {
            return Err(Parsed::Malformed(match len {
                ..=ARGUMENT_BYTES_MAX => Malformed::StrangerBulkLength,
                _ => Malformed::BulkLength,
            }));
        }
        if next + len + 2 > COMMAND_BYTES_MAX {
            return Err(Parsed::Malformed(Malformed::CommandBytes));
        }
        Ok((len, next))
    }

    #[cold]
    fn unusual_bulk_length(&mut self, buf: &[u8], at: usize) -> Result<(usize, usize), Parsed> {
        let (line, next) = self.line(buf, at, Malformed::BulkLine)?;
        let malformed = match line {
            [b'$', digits @ ..] => match number::parse(digits).map(usize::try_from) {
                Some(Ok(len)) => return Ok((len, next)),
                _ => Malformed::BulkLength,
            },
            // A line's bytes end before its CR; an empty one starts with it.
            _ => Malformed::NotBulk(buf[at]),
        };
        Err(Parsed::Malformed(malformed))
    }

    /// The line at `at` up to its CR, and where the next one starts: behind the CR and one more
    /// byte, which Redis does not look at.
    fn line<'b>(
        &mut self,
        buf: &'b [u8],
        at: usize,
        too_long: Malformed,
    ) -> Result<(&'b [u8], usize), Parsed> {
        let end = self.search(&buf[at..], b'\r', too_long)?;
        if at + end + 2 > buf.len() {
            return Err(Parsed::Incomplete { missing: 1 });
        }
        self.searched = 0;
        Ok((&buf[at..at + end], at + end + 2))
    }

    /// Finds `ending` in `bytes`, a line and what follows it.
    fn search(&mut self, bytes: &[u8], ending: u8, too_long: Malformed) -> Result<usize, Parsed> {
        // The end itself may stand just behind the longest line.
        let line = &bytes[..bytes.len().min(INLINE_BYTES_MAX + 1)];
        match line[self.searched..].iter().position(|&byte| byte == ending) {
            Some(end) => {
                self.searched += end;
                Ok(self.searched)
            }
            None if line.len() > INLINE_BYTES_MAX => Err(Parsed::Malformed(too_long)),
            None => {
                self.searched = line.len();
                Err(Parsed::Incomplete { missing: 1 })
            }
        }
    }

    /// A command typed by hand: a line of words.
    fn inline(&mut self, buf: &[u8]) -> Parsed {
        let end = match self.search(buf, b'\n', Malformed::InlineLine) {
            Ok(end) => end,
            Err(stop) => return stop,
        };
        let line = buf[..end].strip_suffix(b"\r").unwrap_or(&buf[..end]);
        let spans = &mut self.spans;
        let split = inline::split_into(line, &mut self.unquoted, |word| {
            spans.push(Span { start: word.start as u32, end: word.end as u32 });
        });
        if split.is_err() {
            self.forget();
            return Parsed::Malformed(Malformed::Quotes);
        }
        self.searched = 0;
        let consumed = end + 1;
        if self.spans.is_empty() {
            return Parsed::Skipped { consumed };
        }
        self.stage = Stage::WholeInline;
        Parsed::Command { consumed }
    }
}

/// Places of arguments for which an idle parser keeps memory.
const SPANS_KEPT: usize = 256;

/// Bytes of inline arguments for which an idle parser keeps memory.
const UNQUOTED_BYTES_KEPT: usize = 256;
