//! Clients that say nothing for longer than the setting `timeout` are closed.
//!
//! As in Redis this is looked at once a second, so that one may stay a second longer. Who waits for an
//! answer is not idle, WAIT and CLIENT PAUSE included, nor is a monitor, who listens; one that has
//! keys watched or a transaction open is.

use core::time::Duration;

use super::client::Client;
use super::{Shard, Stop};
use crate::{ClientId, Instant};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Shard {
    /// When it is looked at next.
    pub(super) fn idle_deadline(&self) -> Option<Instant> {
        (self.server.settings.timeout_s > 0 && !self.clients.is_empty()).then_some(self.idle_at)
    }

    pub(super) fn tick_idle(&mut self) {
        if self.idle_deadline().is_none_or(|due| due > self.now.mono) {
            return;
        }
        self.idle_at = self.now.mono.after(LOOK_EVERY);
        // What has come from clients may be kept from the shard, or is not taken any more.
        if self.pressed || self.stop != Stop::No || self.leaving.is_some() {
            return;
        }
        let (now, most) = (self.now.mono, self.server.settings.timeout_s);
        self.close_clients(None, |client| client.is_idle(now, most));
    }

    /// The client has sent a part of a command: it is not idle.
    pub fn heard_from(&mut self, id: ClientId, now: Instant) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.session.touch(now);
        }
    }
}

impl Client {
    fn is_idle(&self, now: Instant, most_s: u64) -> bool {
        !self.is_waiting()
            && !self.is_closing()
            && !self.session.monitors()
            && now.since(self.session.active()).as_secs() > most_s
    }
}
