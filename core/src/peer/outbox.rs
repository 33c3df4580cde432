//! What has been handed to the driver for one connection and not yet to the system: back-pressure.
//!
//! Frames leave in one stream, but are counted in classes: a backlog of records must not keep
//! heartbeats or clients' commands out of the queue, only hold them up.

use alloc::collections::VecDeque;

use super::frame::Channel;
use crate::Instant;
use crate::limits::{
    PEER_BULK_QUEUE_FRAMES_MAX, PEER_CONTROL_QUEUE_BYTES_MAX, PEER_CONTROL_QUEUE_FRAMES_MAX,
};

/// See the module's header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Outbox {
    frames: VecDeque<Waiting>,
    /// Length of the stream so far.
    end: u64,
    /// How much of it the system has.
    sent: u64,
    control: Load,
    data: Load,
    forward: Load,
    /// When something was last sent, or began to wait.
    moved: Instant,
}

/// A frame that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Waiting {
    /// Where in the stream it ends.
    end: u64,
    bytes: usize,
    class: Class,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Class {
    /// Bounded by its sender: at most one ping, or one answer, at a time.
    Link,
    Control,
    Data,
    Forward,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Load {
    frames: usize,
    bytes: usize,
}

impl Load {
    /// However long the next frame is: a long one would never find room where short ones always do.
    fn has_room(self, bytes_max: usize, frames_max: usize) -> bool {
        self.frames < frames_max && self.bytes < bytes_max
    }
}

impl Outbox {
    /// Whether another frame may wait; of records or commands, while less than `most` bytes do.
    pub(super) fn has_room(&self, channel: Channel, most: usize) -> bool {
        match class(channel) {
            Class::Link => true,
            Class::Control => {
                self.control.has_room(PEER_CONTROL_QUEUE_BYTES_MAX, PEER_CONTROL_QUEUE_FRAMES_MAX)
            }
            Class::Data => self.data.has_room(most, PEER_BULK_QUEUE_FRAMES_MAX),
            Class::Forward => self.forward.has_room(most, PEER_BULK_QUEUE_FRAMES_MAX),
        }
    }

    /// A frame of `bytes` waits from now on. Returns where in the stream it ends.
    pub(super) fn push(&mut self, now: Instant, channel: Channel, bytes: usize) -> u64 {
        if self.is_empty() {
            self.moved = now;
        }
        self.end += bytes as u64;
        let class = class(channel);
        self.frames.push_back(Waiting { end: self.end, bytes, class });
        if let Some(load) = self.load(class) {
            load.frames += 1;
            load.bytes += bytes;
        }
        self.end
    }

    /// The system has taken `bytes` more. A frame waits until it is gone as a whole.
    pub(super) fn sent(&mut self, now: Instant, bytes: usize) {
        self.sent += bytes as u64;
        assert!(self.sent <= self.end, "more was sent than handed out");
        self.moved = now;
        while let Some(&Waiting { end, bytes, class }) = self.frames.front()
            && end <= self.sent
        {
            self.frames.pop_front();
            if let Some(load) = self.load(class) {
                load.frames -= 1;
                load.bytes -= bytes;
            }
        }
    }

    fn load(&mut self, class: Class) -> Option<&mut Load> {
        match class {
            Class::Link => None,
            Class::Control => Some(&mut self.control),
            Class::Data => Some(&mut self.data),
            Class::Forward => Some(&mut self.forward),
        }
    }

    /// Whether the system has all of the stream up to `end`.
    pub(super) fn has_sent(&self, end: u64) -> bool {
        self.sent >= end
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.end
    }

    /// Since when what waits has not moved, if anything waits.
    pub(super) fn stuck_since(&self) -> Option<Instant> {
        (!self.is_empty()).then_some(self.moved)
    }

    /// Frames and bytes that wait.
    pub(super) fn waiting(&self) -> (usize, u64) {
        (self.frames.len(), self.end - self.sent)
    }
}

fn class(channel: Channel) -> Class {
    match channel {
        Channel::Link => Class::Link,
        Channel::Control => Class::Control,
        Channel::Data => Class::Data,
        Channel::Forward => Class::Forward,
    }
}
