//! A link that is up: what waits on it, and whether the other end is still there.

use core::time::Duration;

use crate::Instant;
use crate::peer::backoff::Settings;
use crate::peer::context::Context;
use crate::peer::frame::{Channel, Decoder};
use crate::peer::message::{Message, Welcome};
use crate::peer::outbox::Outbox;
use crate::peer::{ConnId, Reason};

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::peer) struct Up {
    pub(in crate::peer) conn: ConnId,
    pub(super) decoder: Decoder,
    pub(in crate::peer) welcome: Welcome,
    pub(in crate::peer) outbox: Outbox,
    pub(in crate::peer) since: Instant,
    /// When the peer last answered.
    heard: Instant,
    pings: u64,
    /// The ping that has no answer yet.
    ping: Option<Ping>,
    pub(in crate::peer) round_trip: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ping {
    asked: Instant,
    /// Where in the stream it ends.
    end: u64,
    /// When the system had it.
    sent: Option<Instant>,
}

impl Up {
    pub(super) fn new(
        now: Instant,
        conn: ConnId,
        decoder: Decoder,
        outbox: Outbox,
        welcome: Welcome,
    ) -> Self {
        Self {
            conn,
            decoder,
            welcome,
            outbox,
            since: now,
            heard: now,
            pings: 0,
            ping: None,
            round_trip: None,
        }
    }

    pub(super) fn on_sent(&mut self, now: Instant, bytes: usize) {
        self.outbox.sent(now, bytes);
        if let Some(ping) = &mut self.ping
            && ping.sent.is_none()
            && self.outbox.has_sent(ping.end)
        {
            ping.sent = Some(now);
        }
    }

    pub(super) fn on_pong(&mut self, now: Instant, number: u64) {
        if number == self.pings
            && let Some(ping) = self.ping.take()
        {
            self.heard = now;
            self.round_trip = Some(now.since(ping.asked));
        }
    }

    pub(super) fn send_ping(&mut self, cx: &mut Context<'_>) {
        assert!(self.ping.is_none(), "one ping at a time");
        self.pings += 1;
        let bytes = cx.write(self.conn, Channel::Link, Message::Ping(self.pings).encode());
        let end = self.outbox.push(cx.now, Channel::Link, bytes);
        self.ping = Some(Ping { asked: cx.now, end, sent: None });
    }

    pub(super) fn deadline(&self, settings: &Settings) -> (Instant, Reason) {
        let mut due = match &self.ping {
            None => Some((self.heard.after(settings.ping_after), Reason::Ping)),
            Some(Ping { sent: Some(sent), .. }) => {
                Some((sent.after(settings.answer_max()), Reason::Silence))
            }
            // It waits behind frames that the system has not taken.
            Some(Ping { sent: None, .. }) => None,
        };
        if let Some(stuck) = self.outbox.stuck_since() {
            let stalled = (stuck.after(settings.silent_max), Reason::Silence);
            due = Some(due.map_or(stalled, |due| if stalled.0 < due.0 { stalled } else { due }));
        }
        due.expect("an unsent ping waits in the outbox")
    }
}
