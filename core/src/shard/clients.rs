//! What one client wants of the others: CLIENT LIST, KILL, PAUSE and UNBLOCK.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::client::Client;
use super::forward::Agent;
use super::{Output, Shard};
use crate::args::{Args, OwnedArgs};
use crate::kv::{self, Chosen, KillFilter, Kind};
use crate::reply::Reply;
use crate::{ClientId, Instant, Value};

/// CLIENT PAUSE: until when, and what waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standstill {
    pub(super) until: Instant,
    writes_alone: bool,
}

impl Shard {
    pub(super) fn list_clients(&self, chosen: &Chosen) -> Reply {
        let mut ids: Vec<ClientId> = match chosen {
            Chosen::All | Chosen::Kind(Kind::Normal) => self.clients.keys().copied().collect(),
            Chosen::Kind(Kind::Other) => Vec::new(),
            Chosen::Ids(ids) => ids.clone(),
        };
        if !matches!(chosen, Chosen::Ids(_)) {
            ids.sort_unstable();
        }
        let mut text = String::new();
        for id in ids.into_iter().filter(|&id| !Agent::is(id)) {
            if let Some(client) = self.clients.get(&id) {
                text.push_str(&client.session.describe(self.now.mono, client.held()));
                text.push('\n');
            }
        }
        Reply::Verbatim(text.into())
    }

    /// Closes those of whom all that the filter says is true. Returns how many.
    pub(super) fn kill_clients(&mut self, by: ClientId, filter: &KillFilter) -> usize {
        self.close_clients(Some(by), |client| {
            let session = &client.session;
            let at = |wanted: &Option<String>, address: core::net::SocketAddr| {
                wanted.as_ref().is_none_or(|wanted| *wanted == address.to_string())
            };
            filter.id.is_none_or(|id| id == session.id())
                && filter.kind.is_none_or(|kind| kind == Kind::Normal)
                && at(&filter.address, session.peer().remote)
                && at(&filter.local, session.peer().local)
                && filter.user.as_ref().is_none_or(|user| user == session.user())
                && !(filter.skip_me && session.id() == by)
        })
    }

    /// Closes the connections of these users.
    pub(super) fn close_users(&mut self, by: ClientId, names: &[Value]) {
        self.close_clients(Some(by), |client| {
            client.session.is_authenticated() && names.contains(client.session.user())
        });
    }

    /// Closes clients, each behind the replies that it has been given, and the one that wants it
    /// behind the answer. Returns how many.
    pub(super) fn close_clients(
        &mut self,
        by: Option<ClientId>,
        which: impl Fn(&Client) -> bool,
    ) -> usize {
        let chosen = |(id, client): &(&ClientId, &Client)| !Agent::is(**id) && which(client);
        let mut ids: Vec<ClientId> =
            self.clients.iter().filter(chosen).map(|(&id, _)| id).collect();
        ids.sort_unstable();
        for &id in &ids {
            self.clients.get_mut(&id).expect("it was there just now").close();
            if Some(id) != by {
                self.out.push_back(Output::Close(id));
            }
        }
        ids.len()
    }

    /// Has clients wait. A pause that is longer or holds up more than a new one goes on.
    pub(super) fn stand_still(&mut self, pause: kv::Pause) {
        let until = self.now.mono.after(Duration::from_millis(pause.timeout_ms));
        let begun = self.standstill.filter(|known| known.until > self.now.mono);
        let until = begun.map_or(until, |known| until.max(known.until));
        let writes_alone = pause.writes_alone && begun.is_none_or(|known| known.writes_alone);
        self.standstill = Some(Standstill { until, writes_alone });
    }

    /// Whether the client's command has to wait. It is kept then.
    pub(super) fn holds_back(&mut self, id: ClientId, args: Args<'_>) -> bool {
        let queued = || self.clients[&id].session.queued();
        let is_exec = || kv::find(args[0]).is_some_and(|command| command.name == "exec");
        let may_write = || {
            writes(args[0])
                || is_exec() && queued().any(|(command, _)| command.flags.has(kv::Flags::WRITE))
        };
        if !self.stands_still(may_write) {
            return false;
        }
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        client.held_back = Some(OwnedArgs::copy_from(args));
        self.held_back.insert(id);
        true
    }

    /// Whether a pause holds up what may write, or may not.
    pub(super) fn stands_still(&self, may_write: impl FnOnce() -> bool) -> bool {
        self.standstill.is_some_and(|standstill| !standstill.writes_alone || may_write())
    }

    /// Lets clients go on if the pause is over.
    pub(super) fn tick_standstill(&mut self) {
        if self.standstill.is_some_and(|standstill| standstill.until <= self.now.mono) {
            self.go_on();
        }
    }

    /// Ends the pause: what was held back is run, in order of the clients, and then what other nodes
    /// have asked.
    pub(super) fn go_on(&mut self) {
        self.standstill = None;
        for id in core::mem::take(&mut self.held_back) {
            // One of them may have closed another.
            let held = self.clients.get_mut(&id).and_then(|client| client.held_back.take());
            if let Some(args) = held {
                self.take_command(id, &args.as_slices());
                self.resume(id);
            }
        }
        self.runnable.extend(self.forwarding.agents().rev());
    }

    /// Ends a client's WAIT. Whether it was in one.
    pub(super) fn unblock(&mut self, id: ClientId, with_error: bool) -> bool {
        if Agent::is(id) || self.clients.get(&id).is_none_or(|client| client.pause.is_none()) {
            return false;
        }
        if with_error {
            self.paused.remove(&id);
            self.clients.get_mut(&id).expect("it is there").pause = None;
            self.enqueue(id, Reply::error("UNBLOCKED client unblocked via CLIENT UNBLOCK"), &[]);
            self.resume(id);
        } else {
            self.end_pause_now(id);
        }
        true
    }
}

/// Whether the command of this name does.
pub(super) fn writes(name: &[u8]) -> bool {
    kv::find(name).is_some_and(|command| command.flags.has(kv::Flags::WRITE))
}
