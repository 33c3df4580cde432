//! Frames: how messages are cut out of a stream of bytes. The layout stands in the
//! [module's header](super).
//!
//! A frame is judged as early as its bytes allow: by the length alone, then by the channel and its
//! limit, and only then is room made for the body, as the body arrives. What is found does not
//! depend on how the stream was cut into reads.

use alloc::vec::Vec;
use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::{
    PEER_CONTROL_BYTES_MAX, PEER_DATA_BYTES_MAX, PEER_FORWARD_BYTES_MAX, PEER_LINK_BYTES_MAX,
};

/// Bytes before the body: length, checksum, channel, and the check of these.
pub const HEAD_BYTES: usize = 11;

/// Bytes that the length does not count: itself and the checksum.
const UNCOUNTED_BYTES: usize = 8;

/// A body up to this length is copied behind its head, so that it leaves in one piece.
const COPY_BYTES_MAX: usize = 4 << 10;

/// Whose message a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// The link's own: handshake and pings. No one else sends on it.
    Link,
    /// Messages between the controls of two nodes.
    Control,
    /// Records of the log, on their way to followers.
    Data,
    /// Commands of clients on their way to the leader, and their replies.
    Forward,
}

impl Channel {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Link, Self::Control, Self::Data, Self::Forward];

    /// Its byte in the frame.
    pub fn code(self) -> u8 {
        match self {
            Self::Link => 0,
            Self::Control => 1,
            Self::Data => 2,
            Self::Forward => 3,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.code() == code)
    }

    /// Longest body, in bytes.
    pub fn body_bytes_max(self) -> usize {
        match self {
            Self::Link => PEER_LINK_BYTES_MAX,
            Self::Control => PEER_CONTROL_BYTES_MAX,
            Self::Data => PEER_DATA_BYTES_MAX,
            Self::Forward => PEER_FORWARD_BYTES_MAX,
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "link",
            Self::Control => "control",
            Self::Data => "data",
            Self::Forward => "forward",
        })
    }
}

/// A message as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Whose it is.
    pub channel: Channel,
    /// What it says.
    pub body: Bytes,
}

impl Frame {
    /// Length on the wire, in bytes.
    pub fn wire_bytes(&self) -> usize {
        HEAD_BYTES + self.body.len()
    }
}

/// Why a stream holds no frame where one should be. The rest of it can not be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FrameError {
    /// No length of a frame, whatever its channel.
    #[error("a frame of impossible length {0}")]
    Length(u32),
    /// There is no such channel.
    #[error("a frame on the unknown channel {0}")]
    UnknownChannel(u8),
    /// Something other than a handshake where only a handshake may be.
    #[error("a frame of channel {0} out of place")]
    OutOfPlace(Channel),
    /// Longer than the channel allows.
    #[error("a frame of {length} bytes on channel {channel}, which allows {max}")]
    TooLong {
        /// The channel.
        channel: Channel,
        /// Length of the body.
        length: usize,
        /// The channel's limit.
        max: usize,
    },
    /// The bytes are not those that were sent.
    #[error("a frame with a wrong checksum")]
    Checksum,
}

/// A frame as one or two pieces to be written one after the other; a long body is not copied.
pub fn encode(channel: Channel, body: Bytes) -> (Bytes, Option<Bytes>) {
    assert!(body.len() <= channel.body_bytes_max(), "a body of {} bytes on {channel}", body.len());
    let whole = body.len() <= COPY_BYTES_MAX;
    let mut piece = BytesMut::with_capacity(HEAD_BYTES + if whole { body.len() } else { 0 });
    let counted = HEAD_BYTES - UNCOUNTED_BYTES + body.len();
    let length = u32::try_from(counted).expect("no channel allows that much");
    piece.put_u32_le(length);
    piece.put_u32_le(checksum(channel.code(), &body));
    piece.put_u8(channel.code());
    piece.put_u16_le(head_check(&piece));
    if whole {
        piece.put_slice(&body);
        return (piece.freeze(), None);
    }
    (piece.freeze(), Some(body))
}

fn checksum(code: u8, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[code]);
    hasher.update(body);
    hasher.finalize()
}

/// Of the length, the checksum and the channel. Without it a length that came wrong would be waited
/// for, and everything behind it taken for a part of the frame.
fn head_check(head: &[u8]) -> u16 {
    (crc32fast::hash(head) & 0xffff) as u16
}

/// Which channels a stream may carry now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// The link's own alone: before the handshake, and from the acceptor always.
    Link,
    /// All.
    All,
}

/// Cuts a stream into frames.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Decoder {
    /// The start of a frame whose rest has not come.
    part: Vec<u8>,
    /// What has come behind it.
    unread: Bytes,
}

impl Decoder {
    /// The stream goes on with `bytes`. Everything before has been taken with
    /// [`next`](Self::next).
    pub fn push(&mut self, bytes: Bytes) {
        assert!(self.unread.is_empty(), "the frames of the last bytes were not taken");
        self.unread = bytes;
    }

    /// The next whole frame; `None` until more has come. After an error the decoder is of no use.
    pub fn next(&mut self, allowed: Allowed) -> Result<Option<Frame>, FrameError> {
        if self.part.is_empty() {
            return match measure(&self.unread, allowed)? {
                Some(total) if total <= self.unread.len() => self.take_whole(total),
                total => {
                    self.gather(total.unwrap_or(HEAD_BYTES));
                    Ok(None)
                }
            };
        }
        self.gather(HEAD_BYTES);
        let Some(total) = measure(&self.part, allowed)? else { return Ok(None) };
        self.gather(total);
        if self.part.len() < total {
            return Ok(None);
        }
        check(core::mem::take(&mut self.part).into()).map(Some)
    }

    /// Bytes held of a frame that is not whole.
    pub fn held_bytes(&self) -> usize {
        self.part.capacity()
    }

    /// A frame that came in one piece.
    fn take_whole(&mut self, total: usize) -> Result<Option<Frame>, FrameError> {
        let chunk = self.unread.len();
        let bytes = self.unread.split_to(total);
        // A small message that is kept must not keep a large read.
        let bytes = if total < chunk / 4 { Bytes::copy_from_slice(&bytes) } else { bytes };
        check(bytes).map(Some)
    }

    /// Moves what has come of a frame of `total` bytes to its part. Room is made as bytes come, and
    /// never more than for the whole.
    fn gather(&mut self, total: usize) {
        let count = total.saturating_sub(self.part.len()).min(self.unread.len());
        let needed = self.part.len() + count;
        if self.part.capacity() < needed {
            let room = needed.max(2 * self.part.len()).min(total);
            self.part.reserve_exact(room - self.part.len());
        }
        self.part.extend_from_slice(&self.unread.split_to(count));
    }
}

/// The length of the frame that `bytes` begin with, as soon as its head is there.
fn measure(bytes: &[u8], allowed: Allowed) -> Result<Option<usize>, FrameError> {
    let Some(&length) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(length);
    let counted = length as usize;
    let around = HEAD_BYTES - UNCOUNTED_BYTES;
    if counted < around || counted > around + LONGEST_BODY_BYTES {
        return Err(FrameError::Length(length));
    }
    let Some(&code) = bytes.get(UNCOUNTED_BYTES) else { return Ok(None) };
    let channel = Channel::from_code(code).ok_or(FrameError::UnknownChannel(code))?;
    if allowed == Allowed::Link && channel != Channel::Link {
        return Err(FrameError::OutOfPlace(channel));
    }
    let (length, max) = (counted - around, channel.body_bytes_max());
    if length > max {
        return Err(FrameError::TooLong { channel, length, max });
    }
    let Some(head) = bytes.get(..HEAD_BYTES) else { return Ok(None) };
    let (head, stored) = head.split_at(HEAD_BYTES - 2);
    if stored != head_check(head).to_le_bytes() {
        return Err(FrameError::Checksum);
    }
    Ok(Some(UNCOUNTED_BYTES + counted))
}

/// The frame that `bytes` are, if they are as they were sent.
fn check(mut bytes: Bytes) -> Result<Frame, FrameError> {
    let stored = bytes[4..8].first_chunk().copied().map(u32::from_le_bytes);
    let code = bytes[UNCOUNTED_BYTES];
    let body = bytes.split_off(HEAD_BYTES);
    let channel = Channel::from_code(code).ok_or(FrameError::UnknownChannel(code))?;
    if stored != Some(checksum(code, &body)) {
        return Err(FrameError::Checksum);
    }
    Ok(Frame { channel, body })
}

const LONGEST_BODY_BYTES: usize = {
    let (mut longest, bodies) = (
        PEER_LINK_BYTES_MAX,
        [PEER_CONTROL_BYTES_MAX, PEER_DATA_BYTES_MAX, PEER_FORWARD_BYTES_MAX],
    );
    let mut at = 0;
    while at < bodies.len() {
        if bodies[at] > longest {
            longest = bodies[at];
        }
        at += 1;
    }
    longest
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_came_wrong_is_known_before_its_body_is_waited_for() {
        let (frame, rest) = encode(Channel::Control, Bytes::from_static(b"a message"));
        assert!(rest.is_none());
        for bit in 0..HEAD_BYTES * 8 {
            let mut flipped = frame.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let head = &flipped[..HEAD_BYTES];
            assert!(measure(head, Allowed::All).is_err(), "bit {bit}");
        }
        assert_eq!(measure(&frame, Allowed::All), Ok(Some(frame.len())));
    }
}
