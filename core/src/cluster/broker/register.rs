//! Registration: saying it, seeing it in the map, and being superseded.

use alloc::format;

use super::super::map::Map;
use super::super::message::{BrokerMessage, RegisterRefusal};
use super::super::words::{Node, Registration, Standing};
use super::{Backoff, Broker, Output, State};
use crate::shard::Severity;
use crate::{NodeId, Now};

/// After so many times of being superseded the process gives up its id: once may be a process of
/// the past whose registration came late, twice is one that lives.
const SUPERSEDED_MAX: u32 = 2;

impl Broker {
    /// What the map says of this node.
    pub(super) fn observe(&mut self, now: Now, map: &Map) {
        let (nonce, directory) = (self.nonce, self.settings.directory);
        let own = |node: &&Node| {
            node.registration.nonce == nonce && node.registration.directory == directory
        };
        let state = match map.node(self.settings.node).filter(own) {
            None => State::Unregistered,
            Some(node) => match node.standing {
                Standing::Fenced => State::Fenced(node.incarnation),
                Standing::Active => State::Active(node.incarnation),
            },
        };
        if state != self.state {
            self.state = state;
            self.heartbeat_due = now.mono;
            self.outputs.push_back(Output::Standing(state));
            match state {
                State::Unregistered => match map.node(self.settings.node) {
                    Some(_) => self.on_superseded(),
                    None => self.on_removed(),
                },
                State::Fenced(_) | State::Active(_) => self.on_member(),
            }
        }
        self.drop_settled_alters(map);
        self.stop_if_fenced();
    }

    /// Another life begins, which has no claim to a seat. How far the replicas had come is said anew.
    pub(super) fn on_unclean(&mut self) {
        self.log_ends.clear();
        self.nonce = self.random.next();
        self.clean = false;
        self.state = State::Unregistered;
        self.register = Backoff::new(self.settings.retry.0);
        self.outputs.push_back(Output::Standing(self.state));
    }

    fn on_member(&mut self) {
        self.clean = true;
        self.duplicate_since = None;
    }

    fn on_superseded(&mut self) {
        self.superseded += 1;
        self.register = Backoff::new(self.settings.retry.0);
        let node = self.settings.node;
        if self.superseded >= SUPERSEDED_MAX {
            self.refuse(format!(
                "duplicate id: another process runs as {node} with a copy of this data directory. \
                 Stop one of them, and give each node its own --id and directory"
            ));
        } else {
            let text = format!("another process has registered as {node}");
            self.notice(Severity::Warn, text);
        }
    }

    /// An operator has taken the node out of the map, and yet it is there.
    fn on_removed(&mut self) {
        self.register = Backoff::new(self.settings.retry.0);
        let node = self.settings.node;
        let text = format!("{node} was taken out of the cluster, and asks to be taken in again");
        self.notice(Severity::Warn, text);
    }

    pub(super) fn say_register(&mut self, now: Now, leader: NodeId) {
        if !self.register.take(now.mono, self.settings.retry.1, &mut self.random) {
            return;
        }
        let registration = Registration {
            node: self.settings.node,
            directory: self.settings.directory,
            nonce: self.nonce,
            clean: self.clean,
            peer: self.settings.peer.clone(),
            client: self.settings.client.clone(),
            rack: self.settings.rack.clone(),
            version: self.settings.version.clone(),
            features: self.settings.features,
        };
        self.send(leader, BrokerMessage::Register(registration));
    }

    pub(super) fn on_register_refused(&mut self, now: Now, why: RegisterRefusal) {
        let node = self.settings.node;
        match why {
            RegisterRefusal::DuplicateId => {
                let first = self.duplicate_since.is_none();
                let since = *self.duplicate_since.get_or_insert(now.mono);
                if now.mono.since(since) >= self.settings.duplicate_patience {
                    self.refuse(format!(
                        "duplicate id: another process with another data directory runs as {node}. \
                         Give this node its own --id, or stop the other"
                    ));
                } else if first {
                    let text = format!("{node} is still in use by a process that is alive");
                    self.notice(Severity::Warn, text);
                }
            }
            RegisterRefusal::Map(refusal) if refusal.is_final() => {
                self.refuse(format!("the cluster does not take {node} in: {refusal}"));
            }
            RegisterRefusal::Map(_) => {}
        }
    }
}
