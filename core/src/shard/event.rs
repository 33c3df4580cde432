//! What goes into the shard and what comes out of it.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::args::Args;
use crate::disk::{DiskOp, DiskResult};
use crate::kv::Peer;
use crate::node::{ToControl, ToShard};
use crate::reply::{Protocol, Reply};
use crate::{ClientId, IoId};

/// One event for the shard.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client connected, from there.
    Connected(ClientId, Peer),
    /// A client is gone; nothing more is sent to it. A command that it had handed in may still
    /// take effect.
    Disconnected(ClientId),
    /// A client's next command, not empty. Only while [`Shard::accepts`](super::Shard::accepts) the client.
    Command(ClientId, Args<'a>),
    /// The client broke the protocol: this error is its last reply, after those it waits for, and
    /// then it is closed.
    Malformed(ClientId, Reply),
    /// The answer to a disk operation.
    Disk(IoId, DiskResult),
    /// The [`Shard::deadline`](super::Shard::deadline) is due.
    Tick,
    /// Control of this node says something.
    Control(ToShard),
    /// The ACL file was read, or written (and this is empty); or why it could not be.
    AclFile(ClientId, Result<Vec<u8>, String>),
    /// Finish: commit and answer what was taken, make everything durable, mark the stop as clean,
    /// then [`Output::Stopped`].
    Stop,
}

/// One effect of the shard.
#[derive(Debug)]
pub enum Output {
    /// To be done on disk.
    Disk(IoId, DiskOp),
    /// To be sent to the client, after what was sent before.
    Reply(ClientId, Protocol, Reply),
    /// For control of this node.
    Control(ToControl),
    /// The ACL file is to be replaced by this text, or read if there is none; answered by
    /// [`Input::AclFile`].
    AclFile(ClientId, Option<Vec<u8>>),
    /// The client's command is answered with nothing: CLIENT REPLY.
    Silence(ClientId),
    /// A line for a client that said MONITOR, without its end. It is no reply.
    Monitored(ClientId, Arc<str>),
    /// SHUTDOWN: the node is to stop as at a signal.
    Shutdown,
    /// To be closed once everything sent before has been written.
    Close(ClientId),
    /// [`Shard::accepts`](super::Shard::accepts) the client again after it did not.
    Resume(ClientId),
    /// Every partition has been opened (or has failed to, and says so): commands are served.
    Opened,
    /// The data directory can not be used: why, and what to do. The shard is finished.
    Refused(String),
    /// After [`Input::Stop`]: everything is durable and the process may end.
    Stopped,
    /// For the operator's log.
    Notice(Severity, String),
}

/// How urgent a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// What happened in the normal course.
    Info,
    /// Worth a look.
    Warn,
    /// Data or service is affected.
    Error,
}

/// Why [`Shard::deadline`](super::Shard::deadline) is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// When to fsync what was written (`--fsync N`).
    Fsync,
    /// When to look for expired keys.
    Expiry,
    /// When compaction may go on.
    Compaction,
    /// When more of the log is to be read through.
    Scrub,
    /// When to try again after a disk fault.
    Retry,
    /// When a stop no longer waits for the commands under way.
    Stop,
    /// When a leader or a follower has something to say.
    Replication,
    /// When a command that waits for a leader is looked at again.
    Forwarding,
    /// When a client that waits for replicas is looked at again.
    Acks,
    /// When clients go on that were told to wait.
    Standstill,
    /// When clients that say nothing are looked for.
    Idle,
}
