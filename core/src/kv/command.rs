//! What a command is, and how one is found.

use super::{Session, Stop, Txn};
use crate::args::Args;
use crate::reply::Reply;

/// One command, or one subcommand of a container such as CLIENT.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its name in lower case; a subcommand's is `container|subcommand`.
    pub name: &'static str,
    /// Number of arguments, the name included; negative: at least so many.
    pub arity: i32,
    /// How it behaves.
    pub flags: Flags,
    /// Its ACL categories.
    pub categories: Categories,
    /// Where its keys are.
    pub keys: Keys,
    /// Whether a command with keys in several partitions may be split into one for each.
    pub fan_out: bool,
    /// What COMMAND DOCS calls its kind.
    pub group: Group,
    /// The version of Redis (or Valkey) that had it first.
    pub since: &'static str,
    /// Whether clients should still use it.
    pub standing: Standing,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// How the time it takes grows with what.
    pub complexity: &'static str,
    /// Its arguments as a user types them: capitals stand for themselves, `[…]` may be left out,
    /// `<…>` is one argument, `a | b` is a choice, and `...` goes on in the same way.
    pub syntax: &'static str,
    /// What clients should know to spread it over nodes, in the words of COMMAND INFO.
    pub tips: &'static [&'static str],
    /// Its subcommands, if it is a container.
    pub subcommands: &'static [Command],
    pub(super) handler: Handler,
}

/// The function that evaluates a command.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handler {
    /// Works on keys, the same for each client.
    Keys(fn(Args<'_>, &mut Txn<'_>) -> Result<Reply, Stop>),
    /// Reads or changes what is known of the client. Must not change it before a [`Stop`].
    Session(fn(Args<'_>, &mut Session, &mut Txn<'_>) -> Result<Reply, Stop>),
}

/// Where the keys are among a command's arguments, as COMMAND INFO tells it.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Index of the first key; 0: there are none.
    pub first: usize,
    /// Index of the last key; negative: counted from the end.
    pub last: isize,
    /// Distance from one key to the next.
    pub step: usize,
    /// What is done to the keys, in the words of COMMAND INFO, separated by spaces: one entry for
    /// all keys, or one for each.
    pub access: &'static [&'static str],
    /// What is to be said about that; empty if nothing.
    pub notes: &'static str,
}

/// Whether a command is for clients to use, as COMMAND DOCS tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Current,
    /// It was until this version of Redis; another does the same.
    Deprecated {
        /// The version.
        since: &'static str,
        /// What does the same, in words.
        by: &'static str,
    },
    /// It is for developers of the server.
    System,
}

/// What kind of command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Works on keys of any type.
    Generic,
    /// Works on strings.
    String,
    /// Works on the bits of strings.
    Bitmap,
    /// Works on the connection.
    Connection,
    /// Works on the server.
    Server,
    /// Works on the transaction.
    Transactions,
    /// Tells of the cluster.
    Cluster,
}

/// How a command behaves: a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u32);

/// The ACL categories of a command: a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Categories(u32);

macro_rules! bits {
    ($set:ident: $($(#[$doc:meta])* $bit:ident = $at:literal $name:literal,)*) => {
        impl $set {
            $($(#[$doc])* pub const $bit: Self = Self(1 << $at);)*
            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$bit, $name),)*];

            /// Every member.
            pub const ALL: Self = Self($(1 << $at)|*);
            /// No member.
            pub const NONE: Self = Self(0);

            /// Both sets together.
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Whether every member of `other` is one of these.
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The members' names, in the order in which Redis prints them.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::NAMES.iter().filter(move |(bit, _)| self.has(*bit)).map(|(_, name)| *name)
            }

            /// The member that is called `name`.
            pub fn named(name: &[u8]) -> Option<Self> {
                let found = |(_, n): &&(Self, &str)| n.as_bytes().eq_ignore_ascii_case(name);
                Self::NAMES.iter().find(found).map(|(bit, _)| *bit)
            }
        }
    };
}

bits! { Flags:
    /// Changes keys.
    WRITE = 0 "write",
    /// Only reads keys.
    READONLY = 1 "readonly",
    /// May use more memory.
    DENYOOM = 2 "denyoom",
    /// For administrators.
    ADMIN = 3 "admin",
    /// Not for scripts.
    NOSCRIPT = 4 "noscript",
    /// May wait.
    BLOCKING = 11 "blocking",
    /// Also while data is being loaded.
    LOADING = 5 "loading",
    /// Also on a stale replica.
    STALE = 6 "stale",
    /// Not in the slow log.
    SKIP_SLOWLOG = 7 "skip_slowlog",
    /// Takes constant or logarithmic time.
    FAST = 8 "fast",
    /// Needs no authentication.
    NO_AUTH = 9 "no_auth",
    /// Not while data is being loaded from a master.
    NO_ASYNC_LOADING = 13 "no_async_loading",
    /// Not inside a transaction.
    NO_MULTI = 12 "no_multi",
    /// Also while a script is busy.
    ALLOW_BUSY = 10 "allow_busy",
}

bits! { Categories:
    /// Works on keys of any type.
    KEYSPACE = 0 "@keyspace",
    /// Reads.
    READ = 1 "@read",
    /// Writes.
    WRITE = 2 "@write",
    /// Works on sets.
    SET = 11 "@set",
    /// Works on sorted sets.
    SORTEDSET = 12 "@sortedset",
    /// Works on lists.
    LIST = 13 "@list",
    /// Works on hashes.
    HASH = 14 "@hash",
    /// Works on strings.
    STRING = 3 "@string",
    /// Works on bitmaps.
    BITMAP = 15 "@bitmap",
    /// Works on HyperLogLogs.
    HYPERLOGLOG = 16 "@hyperloglog",
    /// Works on places.
    GEO = 17 "@geo",
    /// Works on streams.
    STREAM = 18 "@stream",
    /// Is about Pub/Sub.
    PUBSUB = 19 "@pubsub",
    /// For administrators.
    ADMIN = 4 "@admin",
    /// Fast.
    FAST = 5 "@fast",
    /// Not fast.
    SLOW = 6 "@slow",
    /// May wait.
    BLOCKING = 10 "@blocking",
    /// To be used with care.
    DANGEROUS = 7 "@dangerous",
    /// Works on the connection.
    CONNECTION = 8 "@connection",
    /// Works on the transaction.
    TRANSACTION = 9 "@transaction",
    /// Is about scripts.
    SCRIPTING = 20 "@scripting",
}

impl Command {
    /// The keys among `args`, the command's name being the first.
    pub fn keys<'s, 'a>(
        &self,
        args: &'s [&'a [u8]],
    ) -> impl Iterator<Item = &'a [u8]> + use<'s, 'a> {
        let (first, end) = self.key_range(args.len());
        args[first..end].iter().step_by(self.keys.step).copied()
    }

    /// Whether it can have several keys, which must be of one partition.
    pub(super) fn is_atomic_over_keys(&self) -> bool {
        let Keys { first, last, .. } = self.keys;
        first > 0 && last != first.cast_signed() && !self.fan_out
    }

    /// Whether it names no key and is about all of them, or all of a slot.
    pub fn is_about_all_keys(&self) -> bool {
        let Self { name, flags, keys, .. } = self;
        let of_a_slot = || matches!(*name, "cluster|countkeysinslot" | "cluster|getkeysinslot");
        keys.first == 0 && (flags.has(Flags::READONLY) || flags.has(Flags::WRITE) || of_a_slot())
    }

    /// Whether a leader evaluates it for the client of another node: it is about keys, or puts such
    /// commands together, or asks what the leader knows of its replicas. All others are about the
    /// connection or its node, which evaluates them.
    pub(crate) fn is_for_leaders(&self) -> bool {
        self.keys.first > 0
            || self.is_about_all_keys()
            || matches!(self.name, "multi" | "exec" | "wait" | "waitaof")
    }

    /// Whether so many arguments, the name included, can be right.
    pub fn accepts(&self, args: usize) -> bool {
        let least = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { args >= least } else { args == least }
    }

    /// Whether it waits for EXEC when it comes after MULTI.
    pub fn is_queued(&self) -> bool {
        !matches!(self.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
    }

    /// A subcommand's name without its container's.
    pub fn short_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, short)| short)
    }

    /// Evaluates it. The arguments are of the right number and its keys of legal length.
    pub(super) fn run(
        &self,
        args: Args<'_>,
        session: &mut Session,
        txn: &mut Txn<'_>,
    ) -> Result<Reply, Stop> {
        match self.handler {
            Handler::Keys(handler) => handler(args, txn),
            Handler::Session(handler) => handler(args, session, txn),
        }
    }

    fn key_range(&self, args: usize) -> (usize, usize) {
        let Keys { first, last, .. } = self.keys;
        if first == 0 || first >= args {
            return (0, 0);
        }
        let last = if last < 0 { args.saturating_add_signed(last) } else { last.unsigned_abs() };
        (first, (last + 1).clamp(first, args))
    }
}

impl Group {
    /// Its name in COMMAND DOCS.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::Bitmap => "bitmap",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Transactions => "transactions",
            Self::Cluster => "cluster",
        }
    }
}

/// How the table writes its entries down: [`new`](Self::new), then what is not the default.
impl Command {
    pub(super) const fn new(
        name: &'static str,
        arity: i32,
        syntax: &'static str,
        handler: Handler,
    ) -> Self {
        Self {
            name,
            arity,
            flags: Flags::NONE,
            categories: Categories::SLOW,
            keys: Keys { first: 0, last: 0, step: 1, access: &[], notes: "" },
            fan_out: false,
            group: Group::Server,
            since: "",
            standing: Standing::Current,
            summary: "",
            complexity: "O(1)",
            syntax,
            tips: &[],
            subcommands: &[],
            handler,
        }
    }

    pub(super) const fn docs(
        self,
        group: Group,
        since: &'static str,
        summary: &'static str,
    ) -> Self {
        let own = match group {
            Group::Generic => Categories::KEYSPACE,
            Group::String => Categories::STRING,
            Group::Bitmap => Categories::BITMAP,
            Group::Connection => Categories::CONNECTION,
            Group::Transactions => Categories::TRANSACTION,
            Group::Server | Group::Cluster => Categories::NONE,
        };
        Self { group, since, summary, ..self }.also(own)
    }

    /// What it takes, if that is not O(1).
    pub(super) const fn takes(self, complexity: &'static str) -> Self {
        Self { complexity, ..self }
    }

    /// Sets the flags, and the categories that follow from them.
    pub(super) const fn flags(self, flags: Flags) -> Self {
        let mut own = Categories(self.categories.0 & !Categories::SLOW.0);
        own = own.with(if flags.has(Flags::FAST) { Categories::FAST } else { Categories::SLOW });
        if flags.has(Flags::WRITE) {
            own = own.with(Categories::WRITE);
        }
        if flags.has(Flags::READONLY) {
            own = own.with(Categories::READ);
        }
        if flags.has(Flags::ADMIN) {
            own = own.with(Categories::ADMIN).with(Categories::DANGEROUS);
        }
        Self { flags, categories: own, ..self }
    }

    /// Adds categories.
    pub(super) const fn also(self, more: Categories) -> Self {
        Self { categories: self.categories.with(more), ..self }
    }

    /// Takes categories away.
    pub(super) const fn except(self, less: Categories) -> Self {
        Self { categories: Categories(self.categories.0 & !less.0), ..self }
    }

    /// The first argument is the only key.
    pub(super) const fn key(self, access: &'static [&'static str]) -> Self {
        self.keys_at(1, 1, access)
    }

    /// All arguments from the first to `last`, or every `step`th of them, are keys.
    pub(super) const fn keys_at(
        self,
        last: isize,
        step: usize,
        access: &'static [&'static str],
    ) -> Self {
        Self { keys: Keys { first: 1, last, step, access, notes: "" }, ..self }
    }

    /// A subcommand's second argument is the only key, or a command's is the first of its keys.
    pub(super) const fn keys_behind_a_word(self, last: isize) -> Self {
        Self { keys: Keys { first: 2, last, ..self.keys }, ..self }
    }

    pub(super) const fn key_notes(self, notes: &'static str) -> Self {
        Self { keys: Keys { notes, ..self.keys }, ..self }
    }

    /// Since that version of Redis clients should use something else.
    pub(super) const fn deprecated(self, since: &'static str, by: &'static str) -> Self {
        Self { standing: Standing::Deprecated { since, by }, ..self }
    }

    /// It is for developers of the server.
    pub(super) const fn system(self) -> Self {
        Self { standing: Standing::System, ..self }
    }

    pub(super) const fn fan_out(self) -> Self {
        Self { fan_out: true, ..self }
    }

    pub(super) const fn tips(self, tips: &'static [&'static str]) -> Self {
        Self { tips, ..self }
    }

    pub(super) const fn subcommands(self, subcommands: &'static [Command]) -> Self {
        Self { subcommands, complexity: "Depends on subcommand.", ..self }
    }
}
