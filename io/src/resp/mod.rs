//! RESP, the protocol of Redis clients: bytes to commands, replies to bytes, and back again.
//!
//! Everything here is pure: no socket, no clock, no task. A connection owns the buffers and decides
//! when to read and when to write; this module says what the bytes mean.
//!
//! ```text
//!            read buffer                                        write buffer
//! client ──► *2 $3 GET $1 k ──► [request] ──► Args ──► Reply ──► [encode] ──► $1 v ──► client
//!                                                      [decode] ◄── $1 v
//! ```
//!
//! - [`request`]: the server's parser. Arguments are slices of the read buffer, and a command that
//!   arrives in pieces is parsed once, whatever the pieces are.
//! - [`inline`]: commands typed by hand (`SET k "a b"`), and the words of a prompt's line.
//! - [`mod@encode`]: a [`Reply`](kvnode_core::reply::Reply) as RESP2 or RESP3 spells it.
//! - [`decode`]: the client's side: owned [`Frame`]s, and commands to bytes.
//! - [`render`]: frames as `redis-cli` prints them.
//!
//! # Invariants
//!
//! - A length is checked against its limit before it is believed, and memory grows with the bytes
//!   that have arrived, never with a number that they claim.
//! - How a stream is cut into reads changes nothing: the same commands, the same error, the same
//!   place.
//! - Work is linear in the bytes that arrive. No byte of a line is searched twice and no argument is
//!   parsed twice, also when one byte comes at a time.
//! - What Redis tolerates is tolerated, in Redis's way; what it refuses is refused in its words.
//!   [`request`] lists the few differences.

pub mod decode;
pub mod encode;
pub mod inline;
mod number;
pub mod render;
pub mod request;
#[cfg(test)]
mod tests;

pub use decode::{DecodeError, Decoder, Frame, encode_command};
pub use encode::encode;
pub use request::{Malformed, Parsed, Parser, SmallArgs};
