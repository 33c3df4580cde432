//! What commands want of the node beyond its keys; see [`Request`].

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Counters, Output, Shard, errors};
use crate::acl;
use crate::cluster::controller::{self, RequestError};
use crate::kv::Request;
use crate::limits::MONITORS_MAX;
use crate::node::ToControl;
use crate::reply::Reply;
use crate::{ClientId, Offset};

/// What a client waits for that is not about its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The driver reads the ACL file.
    LoadAcl,
    /// It writes it.
    SaveAcl,
    /// The partitions are durable up to there.
    Sync(Vec<Offset>),
    /// The controller does this, wherever it is.
    Controller(controller::Request),
}

impl Shard {
    /// Sees to what the client's command wants, and answers it.
    pub(super) fn on_request(&mut self, id: ClientId, request: Request) {
        let reply = match request {
            Request::DeleteUsers(names) => {
                let deleted = names.iter().filter(|name| self.server.acl.delete_user(name)).count();
                self.close_users(id, &names);
                count(deleted)
            }
            Request::LoadAcl => return self.ask_driver(id, Asked::LoadAcl, None),
            Request::SaveAcl => {
                let text = acl::file::write(&self.server.acl);
                return self.ask_driver(id, Asked::SaveAcl, Some(text));
            }
            Request::ListClients(chosen) => self.list_clients(&chosen),
            Request::KillClients(filter) => count(self.kill_clients(id, &filter)),
            Request::KillAddress(filter) => match self.kill_clients(id, &filter) {
                0 => Reply::error("ERR No such client"),
                _ => Reply::OK,
            },
            Request::Pause(pause) => {
                self.stand_still(pause);
                Reply::OK
            }
            Request::Unpause => {
                self.enqueue(id, Reply::OK, &[]);
                return self.go_on();
            }
            Request::Unblock { id, with_error } => count(usize::from(self.unblock(id, with_error))),
            Request::Monitor => self.begin_to_monitor(id),
            Request::Sync { background } => return self.make_durable(id, background),
            Request::LastSync => {
                self.note_durable();
                Reply::Int(i64::try_from(self.durable_at).unwrap_or(i64::MAX))
            }
            Request::Compact => {
                for at in 0..self.partitions.len() {
                    self.partitions[at].replica.look_for_garbage(self.now.mono);
                    self.touch(at);
                }
                Reply::Simple("Background append only file rewriting started")
            }
            // As in Redis the end of the connection is the answer.
            Request::Shutdown => {
                self.out.push_back(Output::Shutdown);
                return self.enqueue_silence(id);
            }
            Request::ResetStats => {
                let expired = self.partitions.iter().map(|p| p.replica.status().counters.expired);
                self.counters = Counters { expired_before: expired.sum(), ..Counters::default() };
                self.server.stats = crate::server::stats::Stats::default();
                Reply::OK
            }
            Request::Controller(request) => return self.ask_controller(id, request),
        };
        self.enqueue(id, reply, &[]);
    }

    fn begin_to_monitor(&mut self, id: ClientId) -> Reply {
        let clients = &self.clients;
        self.monitors.retain(|id| clients.get(id).is_some_and(|c| c.session.monitors()));
        if self.monitors.len() >= MONITORS_MAX {
            return errors::too_many_monitors();
        }
        self.monitors.insert(id);
        let client = self.clients.get_mut(&id).expect("its command was evaluated just now");
        client.session.begin_to_monitor();
        Reply::OK
    }

    fn ask_driver(&mut self, id: ClientId, asked: Asked, text: Option<Vec<u8>>) {
        let client = self.clients.get_mut(&id).expect("its command was evaluated just now");
        client.asked = Some(asked);
        self.out.push_back(Output::AclFile(id, text));
    }

    /// The ACL file was read, or written.
    pub(super) fn on_acl_file(&mut self, id: ClientId, result: Result<Vec<u8>, String>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let reply = match (client.asked.take(), result) {
            (Some(Asked::SaveAcl), Ok(_)) => Ok(None),
            (Some(Asked::SaveAcl), Err(why)) => {
                Err(format!("ERR There was an error trying to save the ACLs: {why}"))
            }
            (Some(Asked::LoadAcl), read) => {
                let parsed = read.and_then(|text| acl::file::parse(&text));
                parsed.map(Some).map_err(|why| {
                    format!(
                        "ERR {why}. WARNING: ACL errors detected, no change to the previously active \
                         ACL rules was performed"
                    )
                })
            }
            (Some(Asked::Sync(_) | Asked::Controller(_)) | None, _) => {
                unreachable!("the driver was not asked")
            }
        };
        let reply = match reply {
            Ok(None) => Reply::OK,
            Ok(Some(acl)) => {
                let changed = self.server.acl.replace(acl);
                self.close_users(id, &changed);
                Reply::OK
            }
            Err(why) => Reply::error_owned(why),
        };
        self.enqueue(id, reply, &[]);
        self.resume(id);
    }

    fn ask_controller(&mut self, id: ClientId, request: controller::Request) {
        let client = self.clients.get_mut(&id).expect("its command was evaluated just now");
        client.asked = Some(Asked::Controller(request.clone()));
        self.out.push_back(Output::Control(ToControl::Request(id, request)));
    }

    /// What became of what the client has asked the controller for.
    pub(super) fn on_answered(&mut self, id: ClientId, outcome: Result<(), RequestError>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(Asked::Controller(request)) = client.asked.take() else {
            unreachable!("control answers once, and only who asked it")
        };
        let reply = match outcome {
            Ok(()) => Reply::OK,
            Err(error) => errors::by_controller(error, &request),
        };
        self.enqueue(id, reply, &[]);
        self.resume(id);
    }

    /// Has everything that is logged made durable, and answers when it is, or at once.
    fn make_durable(&mut self, id: ClientId, background: bool) {
        let ends: Vec<Offset> = self.partitions.iter().map(|p| p.replica.log_end()).collect();
        for at in 0..self.partitions.len() {
            self.partitions[at].replica.force_sync();
            self.partitions[at].replica.advance(self.now.mono, &mut *self.config.cache);
            self.touch(at);
        }
        if background {
            return self.enqueue(id, Reply::Simple("Background saving started"), &[]);
        }
        let client = self.clients.get_mut(&id).expect("its command was evaluated just now");
        client.asked = Some(Asked::Sync(ends));
        self.syncing.insert(id);
        self.advance_syncing();
    }

    /// Answers clients whose SAVE is done.
    pub(super) fn advance_syncing(&mut self) {
        for id in self.syncing.clone() {
            let client = self.clients.get_mut(&id);
            let Some(Asked::Sync(ends)) = client.as_ref().and_then(|c| c.asked.as_ref()) else {
                self.syncing.remove(&id);
                continue;
            };
            // What a full disk had taken back has an answer of its own.
            let done = |(end, p): (&Offset, &super::Partition)| {
                p.replica.durable_end() >= (*end).min(p.replica.log_end())
            };
            let down = self.partitions.iter().any(|p| !p.replica.serving());
            if down || ends.iter().zip(&self.partitions).all(done) {
                self.syncing.remove(&id);
                self.clients.get_mut(&id).expect("it is there").asked = None;
                self.enqueue(id, if down { errors::not_saved() } else { Reply::OK }, &[]);
                self.resume(id);
            }
        }
    }

    /// Takes note of the time, if everything that was logged is durable.
    pub(super) fn note_durable(&mut self) {
        let is_durable = |p: &super::Partition| p.replica.durable_end() >= p.replica.log_end();
        if self.partitions.iter().all(is_durable) {
            self.durable_at = self.now.wall_us / 1_000_000;
        }
    }
}

fn count(n: usize) -> Reply {
    Reply::Int(i64::try_from(n).expect("a small number"))
}
