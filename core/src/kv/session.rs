//! What is known of one client between its commands.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::command::Command;
use super::{View, find};
use crate::args::{Args, OwnedArgs};
use crate::limits::{COMMAND_BYTES_MAX, MULTI_COMMANDS_MAX};
use crate::reply::{Protocol, Reply};
use crate::{ClientId, Value};

/// One client: its protocol and names, its open transaction, the keys it watches.
///
/// Before it is dropped, [`release`](Self::release) must be called.
#[derive(Debug)]
pub struct Session {
    id: ClientId,
    pub(super) settings: Settings,
    /// What came after MULTI.
    pub(super) transaction: Option<Transaction>,
    /// What was known of each watched key at WATCH.
    pub(super) watched: BTreeMap<Value, Watched>,
    /// It is a draft: the commands of an EXEC are being evaluated.
    executes: bool,
}

/// What a client has said about itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) protocol: Protocol,
    pub(super) name: Option<Value>,
    pub(super) lib_name: Option<Value>,
    pub(super) lib_version: Option<Value>,
    /// It takes what the replica at hand shows: READONLY.
    pub(super) nearby: bool,
    /// To be closed after the reply to this command.
    pub(super) closing: bool,
}

/// Commands that wait for EXEC.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) queue: Vec<(&'static Command, OwnedArgs)>,
    bytes: usize,
    /// A command was refused, so EXEC will be too.
    pub(super) aborted: bool,
}

/// A watched key at the time of WATCH.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) version: u64,
    pub(super) existed: bool,
}

impl Session {
    /// A client that has just connected.
    pub fn new(id: ClientId) -> Self {
        Self {
            id,
            settings: Settings::default(),
            transaction: None,
            watched: BTreeMap::new(),
            executes: false,
        }
    }

    /// The client.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// The protocol its replies are written in, those to the command just evaluated included.
    pub fn protocol(&self) -> Protocol {
        self.settings.protocol
    }

    /// Whether the connection is to be closed once the reply just given is sent.
    pub fn closing(&self) -> bool {
        self.settings.closing
    }

    /// Whether the commands of an EXEC are being evaluated, so that none may wait.
    pub(super) fn executes(&self) -> bool {
        self.executes
    }

    /// Whether its reads may be answered by a replica that follows, and so be old: it has said
    /// READONLY, and is not in a transaction.
    pub fn reads_nearby(&self) -> bool {
        self.settings.nearby && self.transaction.is_none()
    }

    /// The name it gave itself with CLIENT SETNAME.
    pub fn name(&self) -> Option<&[u8]> {
        self.settings.name.as_deref()
    }

    /// The client library's name and version, as told by CLIENT SETINFO.
    pub fn library(&self) -> (Option<&[u8]>, Option<&[u8]>) {
        (self.settings.lib_name.as_deref(), self.settings.lib_version.as_deref())
    }

    /// Whether it has said MULTI and neither EXEC nor DISCARD yet.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Whether the open transaction can only fail, since a command was refused.
    pub fn is_aborted(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.aborted)
    }

    /// Whether `command` would wait for EXEC instead of being evaluated now.
    #[inline]
    pub fn queues(&self, command: &Command) -> bool {
        self.transaction.is_some() && command.is_queued()
    }

    /// The commands that wait for EXEC.
    pub fn queued(&self) -> impl Iterator<Item = (&'static Command, &OwnedArgs)> {
        self.transaction.iter().flat_map(|t| t.queue.iter().map(|(command, args)| (*command, args)))
    }

    /// The keys it watches.
    pub fn watched_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.watched.keys().map(|key| &**key)
    }

    /// Lets go of the watched keys; for a client that is gone.
    pub fn release(&mut self, view: &mut dyn View) {
        while let Some((key, _)) = self.watched.pop_first() {
            view.unwatch(&key);
        }
    }

    /// A command that had to wait is given up with an error. If it is an EXEC, its transaction has
    /// ended all the same, or the client's next commands would be queued. Returns the keys that
    /// are not watched any more.
    pub fn give_up(&mut self, args: Args<'_>) -> impl Iterator<Item = Value> + use<> {
        let ends = find(args[0]).is_some_and(|command| command.name == "exec");
        if ends {
            self.transaction = None;
        }
        let released = if ends { core::mem::take(&mut self.watched) } else { BTreeMap::new() };
        released.into_keys()
    }

    /// A client like this one to evaluate a transaction with: what it does to itself counts only
    /// once nothing can stop the transaction any more.
    pub(super) fn draft(&self) -> Self {
        Self { settings: self.settings.clone(), executes: true, ..Self::new(self.id) }
    }

    /// Takes note of a command that can not be right, and with it of the end of any transaction.
    #[cold]
    pub(super) fn refuse(&mut self, args: Args<'_>, error: Reply, view: &mut dyn View) -> Reply {
        // The first line of an HTTP request, which a web page can make a browser send here.
        if args[0].eq_ignore_ascii_case(b"post") || args[0].eq_ignore_ascii_case(b"host:") {
            self.settings.closing = true;
        }
        if find(args[0]).is_some_and(|command| command.name == "exec") {
            return self.refuse_exec(error, view);
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.abort();
        }
        error
    }

    /// Queues a command for EXEC.
    pub(super) fn queue(&mut self, command: &'static Command, args: Args<'_>) -> Reply {
        let transaction = self.transaction.as_mut().expect("a command is queued after MULTI");
        if transaction.aborted {
            return Reply::Simple("QUEUED");
        }
        let args = OwnedArgs::copy_from(args);
        let bytes = transaction.bytes + args.size();
        if transaction.queue.len() >= MULTI_COMMANDS_MAX || bytes > COMMAND_BYTES_MAX {
            transaction.abort();
            return Reply::error(
                "ERR the transaction exceeds the limit of 1048576 commands or 256 MiB; \
                 EXEC will discard it",
            );
        }
        transaction.bytes = bytes;
        transaction.queue.push((command, args));
        Reply::Simple("QUEUED")
    }
}

impl Transaction {
    /// Lets EXEC fail. What is queued will not be needed.
    fn abort(&mut self) {
        *self = Self { aborted: true, ..Self::default() };
    }
}

const _: () = assert!(MULTI_COMMANDS_MAX == 1_048_576 && COMMAND_BYTES_MAX == 256 << 20);
