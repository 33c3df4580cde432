//! What commands want of the node beyond its keys; see [`Request`].

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::forward::Agent;
use super::{Output, Shard};
use crate::ClientId;
use crate::acl;
use crate::kv::Request;
use crate::reply::Reply;
use crate::shard::client::Client;

/// What a client waits for that the driver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The ACL file is read.
    LoadAcl,
    /// It is written.
    SaveAcl,
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
        };
        self.enqueue(id, reply, &[]);
    }

    fn ask_driver(&mut self, id: ClientId, asked: Asked, text: Option<Vec<u8>>) {
        let client = self.clients.get_mut(&id).expect("its command was evaluated just now");
        client.asked = Some(asked);
        self.out.push_back(Output::AclFile(id, text));
    }

    /// The ACL file was read, or written.
    pub(super) fn on_acl_file(&mut self, id: ClientId, result: Result<Vec<u8>, String>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(asked) = client.asked.take() else { return };
        let read = match (asked, result) {
            (Asked::SaveAcl, Ok(_)) => Ok(None),
            (Asked::SaveAcl, Err(why)) => {
                Err(format!("ERR There was an error trying to save the ACLs: {why}"))
            }
            (Asked::LoadAcl, Ok(text)) => acl::file::parse(&text).map(Some),
            (Asked::LoadAcl, Err(why)) => Err(format!("{why}. ")),
        };
        let reply = match read {
            Ok(None) => Reply::OK,
            Ok(Some(acl)) => {
                let changed = self.server.acl.replace(acl);
                self.close_users(id, &changed);
                Reply::OK
            }
            Err(why) if asked == Asked::SaveAcl => Reply::error_owned(why),
            Err(why) => Reply::error_owned(format!(
                "ERR {why}WARNING: ACL errors detected, no change to the previously active ACL \
                 rules was performed"
            )),
        };
        self.enqueue(id, reply, &[]);
        self.resume(id);
    }

    /// Closes the connections of these users.
    fn close_users(&mut self, by: ClientId, names: &[crate::Value]) {
        self.close_clients(by, |client| {
            client.session.is_authenticated() && names.contains(client.session.user())
        });
    }

    /// Closes clients, each behind the replies that it has been given, and whoever wants it behind
    /// the answer. Returns how many.
    pub(super) fn close_clients(&mut self, by: ClientId, which: impl Fn(&Client) -> bool) -> usize {
        let chosen = |(id, client): &(&ClientId, &Client)| !Agent::is(**id) && which(client);
        let mut ids: Vec<ClientId> =
            self.clients.iter().filter(chosen).map(|(&id, _)| id).collect();
        ids.sort_unstable();
        for &id in &ids {
            self.clients.get_mut(&id).expect("it was there just now").close();
            if id != by {
                self.out.push_back(Output::Close(id));
            }
        }
        ids.len()
    }
}

fn count(n: usize) -> Reply {
    Reply::Int(i64::try_from(n).expect("a small number"))
}
