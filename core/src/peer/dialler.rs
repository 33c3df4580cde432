//! The sending side of a link: dials one peer, keeps the connection, sends on it.
//!
//! ```text
//!            due               connected             Welcome
//! Waiting ─────────► Dialling ───────────► Greeting ─────────► Up
//!    ▲                  │ failed, too long    │ refused, too long │ closed, silent, corrupt
//!    └──────────────────┴─────────────────────┴───────────────────┘
//! ```
//!
//! How long it waits grows with the attempts that led to nothing. A link that has lasted is dialled
//! anew at once, one over which a ping was answered after the shortest wait, and one that broke
//! before counts as one more attempt: a peer that welcomes and hangs up is no better than one that is
//! away.

mod up;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};

use bytes::Bytes;

use self::up::Up;
use super::backoff::Settings;
use super::context::Context;
use super::frame::{Allowed, Channel, Decoder};
use super::handshake::RefusalKind;
use super::message::{Message, Nonce, Welcome};
use super::outbox::Outbox;
use super::{ConnId, DialError, DownWhy, Output, Reason, SendError, Traffic};
use crate::shard::Severity;
use crate::{Instant, Member, NodeId};

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Dialler {
    node: NodeId,
    address: String,
    pub(super) state: State,
    /// When the state began.
    pub(super) since: Instant,
    /// Attempts in a row that led to no link that lasted.
    failed: u32,
    /// What was last reported of attempts without a link; once is enough.
    reported: Option<String>,
    pub(super) last_error: Option<String>,
    /// Of all connections so far.
    pub(super) sent: Traffic,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Until it is time to dial.
    Waiting { until: Instant, refused: Option<RefusalKind> },
    /// Until the driver has connected.
    Dialling { conn: ConnId, until: Instant },
    /// Hello was sent.
    Greeting { conn: ConnId, until: Instant, decoder: Decoder, outbox: Outbox },
    /// Frames may be sent.
    Up(Box<Up>),
}

/// The life of a link: commands and events.
impl Dialler {
    pub(super) fn new(node: NodeId, address: String, now: Instant) -> Self {
        Self {
            node,
            address,
            state: State::Waiting { until: now, refused: None },
            since: now,
            failed: 0,
            reported: None,
            last_error: None,
            sent: Traffic::default(),
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn conn(&self) -> Option<ConnId> {
        match &self.state {
            State::Waiting { .. } => None,
            State::Dialling { conn, .. } | State::Greeting { conn, .. } => Some(*conn),
            State::Up(up) => Some(up.conn),
        }
    }

    /// Who is at the other end of a link that is up.
    pub(super) fn peer(&self) -> Option<(Member, Nonce)> {
        self.up().map(|up| (up.welcome.member, up.welcome.nonce))
    }

    pub(super) fn up(&self) -> Option<&Up> {
        match &self.state {
            State::Up(up) => Some(up),
            State::Waiting { .. } | State::Dialling { .. } | State::Greeting { .. } => None,
        }
    }

    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        channel: Channel,
        body: Bytes,
    ) -> Result<(), SendError> {
        let State::Up(up) = &mut self.state else { return Err(SendError::Down) };
        let most = cx.settings.queue_bytes_max;
        if !up.outbox.has_room(channel, most) {
            return Err(SendError::Full);
        }
        let bytes = cx.write(up.conn, channel, body);
        up.outbox.push(cx.now, channel, bytes);
        self.sent.count(bytes);
        Ok(())
    }

    /// The peer lives at another address from now on.
    pub(super) fn readdress(&mut self, cx: &mut Context<'_>, address: String) {
        if self.address != address {
            self.abandon(cx);
            *self = Self { sent: self.sent, ..Self::new(self.node, address, cx.now) };
        }
    }

    /// The link is not wanted any more, whatever its state.
    pub(super) fn abandon(&mut self, cx: &mut Context<'_>) {
        if self.up().is_some() {
            self.down(cx, DownWhy::Dropped, true);
        } else if let Some(conn) = self.conn() {
            cx.out.push_back(Output::Close(conn));
        }
    }

    /// The peer has been heard of, so that it is worth an attempt now.
    pub(super) fn wake(&mut self, now: Instant) {
        if let State::Waiting { until, .. } = &mut self.state {
            *until = now.min(*until);
        }
    }

    pub(super) fn on_dialled(&mut self, cx: &mut Context<'_>) {
        let State::Dialling { conn, .. } = self.state else { return };
        let hello = Message::Hello(cx.me.hello(self.node)).encode();
        let mut outbox = Outbox::default();
        outbox.push(cx.now, Channel::Link, cx.write(conn, Channel::Link, hello));
        let until = cx.now.after(cx.settings.dial_max);
        let decoder = Decoder::default();
        self.enter(cx.now, State::Greeting { conn, until, decoder, outbox });
    }

    pub(super) fn on_dial_failed(&mut self, cx: &mut Context<'_>, error: DialError) {
        if matches!(self.state, State::Dialling { .. }) {
            self.unreachable(cx, error == DialError::Refused, &error.to_string());
        }
    }

    pub(super) fn on_closed(&mut self, cx: &mut Context<'_>) {
        match &self.state {
            State::Waiting { .. } => {}
            State::Dialling { .. } => self.on_dial_failed(cx, DialError::Failed),
            State::Greeting { .. } => {
                self.unreachable(cx, false, "it closed the connection without an answer");
            }
            State::Up(_) => self.down(cx, DownWhy::Closed, false),
        }
    }

    pub(super) fn on_sent(&mut self, now: Instant, bytes: usize) {
        match &mut self.state {
            State::Waiting { .. } | State::Dialling { .. } => {}
            State::Greeting { outbox, .. } => outbox.sent(now, bytes),
            State::Up(up) => up.on_sent(now, bytes),
        }
    }

    pub(super) fn on_tick(&mut self, cx: &mut Context<'_>) {
        let Some((due, reason)) = self.deadline(cx.settings) else { return };
        if due > cx.now {
            return;
        }
        match reason {
            Reason::Dial => self.dial(cx),
            Reason::Connect => self.give_up(cx, "connecting took too long"),
            Reason::Handshake => self.give_up(
                cx,
                "it did not answer the handshake in time; is this its address for peers, and not the \
                 one for clients?",
            ),
            Reason::Ping => {
                if let State::Up(up) = &mut self.state {
                    up.send_ping(cx);
                }
            }
            Reason::Silence => self.down(cx, DownWhy::TimedOut, true),
            Reason::Stranger | Reason::Deserted => unreachable!("the acceptor's reasons"),
        }
    }

    pub(super) fn deadline(&self, settings: &Settings) -> Option<(Instant, Reason)> {
        Some(match &self.state {
            State::Waiting { until, .. } => (*until, Reason::Dial),
            State::Dialling { until, .. } => (*until, Reason::Connect),
            State::Greeting { until, .. } => (*until, Reason::Handshake),
            State::Up(up) => up.deadline(settings),
        })
    }
}

/// What the peer says.
impl Dialler {
    pub(super) fn on_bytes(&mut self, cx: &mut Context<'_>, bytes: Bytes) {
        let Some(decoder) = self.decoder() else { return };
        decoder.push(bytes);
        // A refusal or a wrong frame ends the connection, and with it the decoder.
        while let Some(decoder) = self.decoder() {
            match decoder.next(Allowed::Link) {
                Ok(None) => return,
                Ok(Some(frame)) => match Message::decode(&frame.body) {
                    Some(message) => self.on_message(cx, message),
                    // Of a later release.
                    None if self.up().is_some() => {}
                    None => self.on_nonsense(cx, "a message that is no handshake"),
                },
                Err(error) => self.on_nonsense(cx, &error.to_string()),
            }
        }
    }

    fn decoder(&mut self) -> Option<&mut Decoder> {
        match &mut self.state {
            State::Waiting { .. } | State::Dialling { .. } => None,
            State::Greeting { decoder, .. } => Some(decoder),
            State::Up(up) => Some(&mut up.decoder),
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, message: Message) {
        let up = self.up().is_some();
        match message {
            Message::Welcome(welcome) if !up => self.on_welcome(cx, welcome),
            Message::Refused(refused) if !up => {
                self.refused(cx, refused.kind(), &refused.printable());
            }
            Message::Pong(number) if up => {
                if let State::Up(up) = &mut self.state {
                    up.on_pong(cx.now, number);
                }
            }
            Message::Hello(_)
            | Message::Welcome(_)
            | Message::Refused(_)
            | Message::Ping(_)
            | Message::Pong(_) => {
                self.on_nonsense(cx, &format!("a {} out of place", message.name()));
            }
        }
    }

    fn on_welcome(&mut self, cx: &mut Context<'_>, welcome: Welcome) {
        if let Err(refusal) = cx.me.accept(self.node, &welcome) {
            return self.refused(cx, refusal.kind(), &refusal.to_string());
        }
        let State::Greeting { conn, decoder, outbox, .. } = &mut self.state else {
            unreachable!("a Welcome counts only then");
        };
        // Whoever does not wait for the Hello may be up before that has left.
        let (decoder, outbox) = (core::mem::take(decoder), core::mem::take(outbox));
        let (member, nonce) = (welcome.member, welcome.nonce);
        let up = Up::new(cx.now, *conn, decoder, outbox, welcome);
        self.enter(cx.now, State::Up(Box::new(up)));
        self.reported = None;
        cx.out.push_back(Output::Up(member, nonce));
        cx.notice(Severity::Info, format!("linked to {} at {}", self.node, self.address));
    }

    /// What comes from there is not of our protocol, or damaged.
    fn on_nonsense(&mut self, cx: &mut Context<'_>, what: &str) {
        self.last_error = Some(what.to_string());
        if self.up().is_some() {
            return self.down(cx, DownWhy::Corrupt, true);
        }
        self.close(cx);
        self.report(
            cx,
            Severity::Warn,
            format!(
                "{} at {} answers {what}: check that this is its address for peers, not the one for \
                 clients",
                self.node, self.address
            ),
        );
        self.wait_long(cx, None);
    }
}

/// The transitions.
impl Dialler {
    fn dial(&mut self, cx: &mut Context<'_>) {
        *cx.last_dial += 1;
        let conn = ConnId::Dialled(*cx.last_dial);
        cx.out.push_back(Output::Dial(conn, self.node, self.address.clone()));
        let until = cx.now.after(cx.settings.dial_max);
        self.enter(cx.now, State::Dialling { conn, until });
    }

    /// The link is over.
    pub(super) fn down(&mut self, cx: &mut Context<'_>, why: DownWhy, close: bool) {
        let State::Up(up) = &self.state else { unreachable!("only what is up goes down") };
        let (member, lasted) = (up.welcome.member, cx.now.since(up.since));
        let answered = up.round_trip.is_some();
        if close {
            self.close(cx);
        }
        cx.out.push_back(Output::Down(member, why));
        let what = match (why, &self.last_error) {
            (DownWhy::Corrupt, Some(what)) => format!("{why} ({what})"),
            _ => why.to_string(),
        };
        // What this node does itself is no fault: a cluster that is founded makes its links anew.
        let severity = if why == DownWhy::Dropped { Severity::Info } else { Severity::Warn };
        cx.notice(severity, format!("the link to {} is down: {what}", self.node));
        self.last_error = Some(what);
        // What was before a link that worked does not count. One that breaks as soon as it is up
        // would otherwise be dialled without a pause, however often.
        self.failed = match lasted > cx.settings.retry_max {
            true => 0,
            false if answered => 1,
            false => self.failed.saturating_add(1),
        };
        let until = cx.now.after(cx.settings.retry_after(self.failed, cx.random));
        self.enter(cx.now, State::Waiting { until, refused: None });
    }

    fn give_up(&mut self, cx: &mut Context<'_>, why: &str) {
        self.close(cx);
        self.unreachable(cx, false, why);
    }

    fn unreachable(&mut self, cx: &mut Context<'_>, refused: bool, why: &str) {
        cx.out.push_back(Output::Unreachable(self.node, refused));
        let text = format!("{} at {} is not reached: {why}", self.node, self.address);
        self.last_error = Some(why.to_string());
        self.report(cx, Severity::Info, text);
        self.failed = self.failed.saturating_add(1);
        let until = cx.now.after(cx.settings.retry_after(self.failed, cx.random));
        self.enter(cx.now, State::Waiting { until, refused: None });
    }

    fn refused(&mut self, cx: &mut Context<'_>, kind: RefusalKind, text: &str) {
        self.close(cx);
        self.last_error = Some(text.to_string());
        let notice = format!("no link to {} at {}: {text}", self.node, self.address);
        self.report(cx, Severity::Warn, notice);
        cx.out.push_back(Output::Rejected(self.node, kind, text.to_string()));
        match kind {
            // The process before this one may just have died.
            RefusalKind::DuplicateId => {
                self.failed = self.failed.saturating_add(1);
                let until = cx.now.after(cx.settings.retry_after(self.failed, cx.random));
                self.enter(cx.now, State::Waiting { until, refused: Some(kind) });
            }
            RefusalKind::Version
            | RefusalKind::Itself
            | RefusalKind::WrongNode
            | RefusalKind::OtherCluster
            | RefusalKind::NotListed
            | RefusalKind::Founding
            | RefusalKind::Later(_) => self.wait_long(cx, Some(kind)),
        }
    }

    fn wait_long(&mut self, cx: &mut Context<'_>, refused: Option<RefusalKind>) {
        self.failed = self.failed.saturating_add(1);
        let until = cx.now.after(cx.settings.refused_retry_after(cx.random));
        self.enter(cx.now, State::Waiting { until, refused });
    }

    fn close(&mut self, cx: &mut Context<'_>) {
        let conn = self.conn().expect("a connection to be closed");
        cx.out.push_back(Output::Close(conn));
    }

    fn enter(&mut self, now: Instant, state: State) {
        self.state = state;
        self.since = now;
    }

    /// Reports what keeps the link from coming up, once.
    fn report(&mut self, cx: &mut Context<'_>, severity: Severity, text: String) {
        if self.reported.as_ref() != Some(&text) {
            cx.notice(severity, text.clone());
            self.reported = Some(text);
        }
    }
}
