//! The receiving side of a link: one accepted connection. It answers the Hello and pings, and hands
//! up what comes.

use bytes::Bytes;

use super::backoff::Settings;
use super::context::Context;
use super::frame::{Channel, Decoder};
use super::message::{Hello, Message, Welcome};
use super::{ConnId, Reason};
use crate::Instant;

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Accepted {
    conn: ConnId,
    pub(super) decoder: Decoder,
    /// Who it is, once it has said so and been welcomed.
    pub(super) hello: Option<Hello>,
    /// When anything last came; before, when it was accepted.
    heard: Instant,
    answers: Answers,
}

/// At most one answer is on its way at a time, so that a dialler that does not read costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Answers {
    /// Bytes of ours that the system has not taken.
    unsent: usize,
    /// The last ping seen.
    ping: u64,
    /// It has not been answered.
    owed: bool,
}

impl Accepted {
    pub(super) fn new(conn: ConnId, now: Instant) -> Self {
        Self {
            conn,
            decoder: Decoder::default(),
            hello: None,
            heard: now,
            answers: Answers::default(),
        }
    }

    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    pub(super) fn welcome(&mut self, cx: &mut Context<'_>, hello: Hello, welcome: Welcome) {
        assert!(self.hello.is_none(), "a connection is welcomed once");
        self.hello = Some(hello);
        self.answers.unsent +=
            cx.write(self.conn, Channel::Link, Message::Welcome(welcome).encode());
    }

    /// Takes what has come.
    pub(super) fn on_bytes(&mut self, now: Instant, bytes: Bytes) {
        if self.hello.is_some() {
            self.heard = now;
        }
        self.decoder.push(bytes);
    }

    pub(super) fn on_ping(&mut self, cx: &mut Context<'_>, number: u64) {
        self.answers.ping = number;
        self.answer(cx);
    }

    pub(super) fn on_sent(&mut self, cx: &mut Context<'_>, bytes: usize) {
        let unsent = self.answers.unsent.checked_sub(bytes);
        self.answers.unsent = unsent.expect("more was sent than handed out");
        if self.answers.owed {
            self.answer(cx);
        }
    }

    fn answer(&mut self, cx: &mut Context<'_>) {
        self.answers.owed = self.answers.unsent > 0;
        if self.answers.owed {
            return;
        }
        let pong = Message::Pong(self.answers.ping).encode();
        self.answers.unsent = cx.write(self.conn, Channel::Link, pong);
    }

    pub(super) fn deadline(&self, settings: &Settings) -> (Instant, Reason) {
        match self.hello {
            None => (self.heard.after(settings.dial_max), Reason::Stranger),
            Some(_) => (self.heard.after(settings.deserted_max), Reason::Deserted),
        }
    }
}
