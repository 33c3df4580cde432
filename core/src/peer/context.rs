//! What the parts of the machine share while one event is handled.

use alloc::collections::VecDeque;
use alloc::string::String;

use bytes::Bytes;

use super::backoff::Settings;
use super::frame::{self, Channel};
use super::handshake::Identity;
use super::{ConnId, Output};
use crate::Instant;
use crate::random::Random;
use crate::shard::Severity;

/// What a side of a link needs of the whole.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) me: &'a Identity,
    pub(super) settings: &'a Settings,
    pub(super) random: &'a mut Random,
    pub(super) last_dial: &'a mut u64,
    pub(super) out: &'a mut VecDeque<Output>,
}

impl Context<'_> {
    pub(super) fn notice(&mut self, severity: Severity, text: String) {
        self.out.push_back(Output::Notice(severity, text));
    }

    pub(super) fn write(&mut self, conn: ConnId, channel: Channel, body: Bytes) -> usize {
        let (head, rest) = frame::encode(channel, body);
        let bytes = head.len() + rest.as_ref().map_or(0, Bytes::len);
        self.out.push_back(Output::Write(conn, head));
        self.out.extend(rest.map(|rest| Output::Write(conn, rest)));
        bytes
    }
}
