//! What is known of one client between its commands.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::command::Command;
use super::{View, find};
use crate::acl::{Acl, DEFAULT_USER};
use crate::args::{Args, OwnedArgs};
use crate::limits::{COMMAND_BYTES_MAX, MULTI_COMMANDS_MAX};
use crate::reply::{Protocol, Reply};
use crate::{ClientId, Instant, Value};

/// One client: its protocol and names, its open transaction, the keys it watches.
///
/// Before it is dropped, [`release`](Self::release) must be called.
#[derive(Debug)]
pub struct Session {
    id: ClientId,
    pub(super) peer: Peer,
    /// When it connected, and when it last sent something or was answered.
    since: Instant,
    active: Instant,
    last: Option<&'static Command>,
    /// It stands in for a client that another node has let in.
    trusted: bool,
    /// The [generation](Acl::generation) of the users in which it was found that it may do everything.
    unrestricted_in: u64,
    pub(super) settings: Settings,
    /// What came after MULTI.
    pub(super) transaction: Option<Transaction>,
    /// What was known of each watched key at WATCH.
    pub(super) watched: BTreeMap<Value, Watched>,
    /// It is a draft: the commands of an EXEC are being evaluated.
    executes: bool,
}

/// What a client has said about itself.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) protocol: Protocol,
    /// Who it is.
    pub(super) user: Value,
    /// It has shown that it is, or was taken for it without.
    pub(super) authenticated: bool,
    pub(super) name: Option<Value>,
    pub(super) lib_name: Option<Value>,
    pub(super) lib_version: Option<Value>,
    /// It takes what the replica at hand shows: READONLY.
    pub(super) nearby: bool,
    /// It is shown the commands of all.
    pub(super) monitors: bool,
    /// Which replies it wants.
    pub(super) replies: Replies,
    /// To be closed after the reply to this command.
    pub(super) closing: bool,
}

/// CLIENT REPLY: which replies a client does not want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Replies {
    /// None.
    pub(super) off: bool,
    /// So many that come next.
    pub(super) skip: u8,
}

/// What the node keeps for a client beside its session; the [shard](crate::shard) knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Replies that wait.
    pub(crate) replies: usize,
    /// Bytes that they take.
    pub(crate) reply_bytes: usize,
    /// The same of the arguments of a command that waits.
    pub(crate) argument_bytes: usize,
}

/// The two ends of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The client's.
    pub remote: SocketAddr,
    /// The node's.
    pub local: SocketAddr,
}

impl Default for Peer {
    /// A client of this machine.
    fn default() -> Self {
        let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self { remote: here, local: here }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            protocol: Protocol::default(),
            user: Value::copy_from(DEFAULT_USER),
            authenticated: false,
            name: None,
            lib_name: None,
            lib_version: None,
            nearby: false,
            monitors: false,
            replies: Replies::default(),
            closing: false,
        }
    }
}

/// Commands that wait for EXEC.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) queue: Vec<(&'static Command, OwnedArgs)>,
    bytes: usize,
    /// A command was refused, so EXEC will be too.
    pub(super) aborted: bool,
}

/// A command that has waited for EXEC, and where it stood.
pub(crate) type Placed = (usize, &'static Command, OwnedArgs);

/// A watched key at the time of WATCH.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) version: u64,
    pub(super) existed: bool,
}

impl Session {
    /// A client that has just connected, of whom nothing is known.
    pub fn new(id: ClientId) -> Self {
        Self {
            id,
            peer: Peer::default(),
            since: Instant::default(),
            active: Instant::default(),
            last: None,
            trusted: false,
            unrestricted_in: 0,
            settings: Settings::default(),
            transaction: None,
            watched: BTreeMap::new(),
            executes: false,
        }
    }

    /// The same, from there, and taken for the user `default` if that needs no password.
    pub fn connected(id: ClientId, peer: Peer, now: Instant, acl: &Acl) -> Self {
        let mut session = Self { peer, since: now, active: now, ..Self::new(id) };
        session.settings.authenticated = acl.admits_strangers();
        session.note_rights(acl);
        session
    }

    /// Keeps it in mind if it may do everything: then nothing is looked up before a command.
    pub(super) fn note_rights(&mut self, acl: &Acl) {
        let unrestricted = acl.user(&self.settings.user).is_some_and(|user| user.is_unrestricted());
        let known = unrestricted && !self.is_stranger(acl);
        self.unrestricted_in = if known { acl.generation() } else { 0 };
    }

    /// One that stands in for a client which another node has let in, and whose commands were
    /// allowed there.
    pub fn trusted(id: ClientId) -> Self {
        Self { trusted: true, ..Self::new(id) }
    }

    /// Whether it was found that it may do everything, and no user has changed since.
    #[inline]
    pub(super) fn is_unrestricted(&self, acl: &Acl) -> bool {
        self.unrestricted_in == acl.generation()
    }

    /// Whether it is such a one.
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Whether it may do nothing but say who it is.
    pub fn is_stranger(&self, acl: &Acl) -> bool {
        !self.settings.authenticated && !self.trusted && !acl.admits_strangers()
    }

    /// Whether it has shown who it is, or was taken for it without.
    pub fn is_authenticated(&self) -> bool {
        self.settings.authenticated
    }

    /// Who it is.
    pub fn user(&self) -> &Value {
        &self.settings.user
    }

    /// Where it connects from, and to.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Whether it wants the reply that comes next, which it is asked once for each.
    pub(crate) fn takes_reply(&mut self) -> bool {
        let replies = &mut self.settings.replies;
        let skipped = replies.skip > 0;
        replies.skip = replies.skip.saturating_sub(1);
        !replies.off && !skipped
    }

    /// It gets nothing in place of the next reply.
    pub(crate) fn skip_reply(&mut self) {
        let replies = &mut self.settings.replies;
        replies.skip = replies.skip.saturating_add(1);
    }

    /// Whether it is shown the commands of all.
    pub(crate) fn monitors(&self) -> bool {
        self.settings.monitors
    }

    pub(crate) fn begin_to_monitor(&mut self) {
        self.settings.monitors = true;
    }

    /// The command that it sent last, if there is such a one.
    pub(crate) fn last(&self) -> Option<&'static Command> {
        self.last
    }

    /// It sends what is no command.
    pub(super) fn note_unknown(&mut self) {
        self.last = None;
    }

    /// It sends this command.
    pub(crate) fn note(&mut self, command: &'static Command) {
        self.last = Some(command);
    }

    /// It sends something, or is answered.
    pub(crate) fn touch(&mut self, now: Instant) {
        self.active = now;
    }

    /// When it last did, or was.
    pub(crate) fn active(&self) -> Instant {
        self.active
    }

    /// What CLIENT LIST tells of it, its line without the end; see [`client`](super::client) for what
    /// the numbers mean.
    pub(crate) fn describe(&self, now: Instant, held: Held) -> String {
        let text = |value: &Option<Value>| {
            String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned()
        };
        let Settings { user, name, lib_name, lib_version, .. } = &self.settings;
        let (multi, bytes) = match &self.transaction {
            Some(transaction) => (transaction.queue.len() as i64, transaction.bytes),
            None => (-1, 0),
        };
        format!(
            "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={} db=0 sub=0 psub=0 ssub=0 \
             multi={multi} qbuf=0 qbuf-free=0 argv-mem={} multi-mem={bytes} rbs=0 rbp=0 obl=0 oll={} \
             omem={} tot-mem={} events=r cmd={} user={} redir=-1 resp={} lib-name={} lib-ver={}",
            self.id.0,
            self.peer.remote,
            self.peer.local,
            text(name),
            now.since(self.since).as_secs(),
            now.since(self.active).as_secs(),
            self.flags(),
            held.argument_bytes,
            held.replies,
            held.reply_bytes,
            held.argument_bytes + bytes + held.reply_bytes,
            self.last.map_or("NULL", |command| command.name),
            String::from_utf8_lossy(user),
            match self.protocol() {
                Protocol::Resp2 => 2,
                Protocol::Resp3 => 3,
            },
            text(lib_name),
            text(lib_version),
        )
    }

    /// What it is in, in the letters of CLIENT LIST.
    fn flags(&self) -> String {
        let mut flags = String::new();
        for (letter, is) in [
            ('O', self.settings.monitors),
            ('x', self.transaction.is_some()),
            ('c', self.settings.closing),
            ('r', self.settings.nearby),
        ] {
            flags.extend(is.then_some(letter));
        }
        if flags.is_empty() { String::from("N") } else { flags }
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

    /// Lets the open transaction fail: a command of it was refused. Nothing happens without one.
    pub fn abort(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.abort();
        }
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

    /// Takes those of the commands that wait for EXEC that are for the leader of their keys, and
    /// tells where each stood. What EXEC evaluates then is the rest, which stood at the other places.
    pub(crate) fn take_for_leader(&mut self) -> (Vec<Placed>, Vec<usize>) {
        let queue = self.transaction.as_mut().map(|open| core::mem::take(&mut open.queue));
        let (mut taken, mut rest) = (Vec::new(), Vec::new());
        for (at, (command, args)) in queue.into_iter().flatten().enumerate() {
            if command.is_for_leaders() {
                taken.push((at, command, args));
            } else {
                rest.push(at);
                let open = self.transaction.as_mut().expect("its queue was there");
                open.queue.push((command, args));
            }
        }
        (taken, rest)
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
        Self {
            settings: self.settings.clone(),
            executes: true,
            peer: self.peer,
            since: self.since,
            active: self.active,
            trusted: self.trusted,
            ..Self::new(self.id)
        }
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
        self.abort();
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
