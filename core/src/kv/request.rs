//! What a command wants of the node beyond its keys: other clients, the driver, the process.
//!
//! Evaluation checks the arguments and stops with a [`Request`]; the [shard](crate::shard) sees to
//! it and answers. None of them is taken inside a transaction, which waits for nobody.

use alloc::string::String;
use alloc::vec::Vec;

use crate::cluster::controller;
use crate::{ClientId, Value};

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Users that are to go, and their connections with them.
    DeleteUsers(Vec<Value>),
    /// The users are to be read from their file.
    LoadAcl,
    /// They are to be written to it.
    SaveAcl,
    /// CLIENT LIST, CLIENT INFO.
    ListClients(Chosen),
    /// CLIENT KILL with options: answered with a number.
    KillClients(KillFilter),
    /// CLIENT KILL with an address: answered with OK.
    KillAddress(KillFilter),
    /// CLIENT PAUSE.
    Pause(Pause),
    /// CLIENT UNPAUSE.
    Unpause,
    /// A client that waits for replicas waits no longer.
    Unblock {
        /// The client.
        id: ClientId,
        /// It gets an error in place of what is known.
        with_error: bool,
    },
    /// MONITOR.
    Monitor,
    /// BGSAVE, SAVE: everything that was acknowledged is to be durable.
    Sync {
        /// The answer comes first.
        background: bool,
    },
    /// LASTSAVE.
    LastSync,
    /// BGREWRITEAOF: garbage is to be compacted.
    Compact,
    /// SHUTDOWN.
    Shutdown,
    /// CONFIG RESETSTAT.
    ResetStats,
    /// The controller is to do something, wherever that is.
    Controller(controller::Request),
}

/// Which clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// All of them.
    All,
    /// Those of a kind.
    Kind(Kind),
    /// Those that are there of these.
    Ids(Vec<ClientId>),
}

/// What kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The only one there is.
    Normal,
    /// A replica, a master or a subscriber in Redis; none here.
    Other,
}

/// Which clients are to be closed: those of whom all that is said is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KillFilter {
    /// Its number.
    pub id: Option<ClientId>,
    /// Its kind.
    pub kind: Option<Kind>,
    /// Where it connects from, `address:port`.
    pub address: Option<String>,
    /// Where it connects to.
    pub local: Option<String>,
    /// Who it is.
    pub user: Option<Value>,
    /// It is not the one that wants this.
    pub skip_me: bool,
}

/// Clients are to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// For so long, in milliseconds.
    pub timeout_ms: u64,
    /// Only with what may write.
    pub writes_alone: bool,
}
