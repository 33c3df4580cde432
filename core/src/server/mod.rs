//! What a node knows of itself beside its keys: users, settings, and what it has seen of its clients.
//!
//! The [shard](crate::shard) has one; commands work on it by way of their
//! [`View`](crate::kv::View). Nothing of it is replicated, and nothing but the ACL file outlives the
//! process: each node is set up by its own command line.
//!
//! - [`settings`]: what CONFIG SET can change.
//! - [`stats`], [`slowlog`], [`latency`]: what there was of commands, and what took long; [`graph`]
//!   draws it. [`rates`]: how much of it there was lately.
//! - [`redact`]: commands without the passwords in them.
//! - [`entropy`]: random bits that nobody can guess.

mod entropy;
pub(crate) mod graph;
pub(crate) mod histogram;
pub(crate) mod latency;
pub(crate) mod rates;
pub(crate) mod redact;
mod settings;
pub(crate) mod slowlog;
pub(crate) mod stats;

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use latency::Latency;
use slowlog::Slowlog;
use stats::Stats;

use crate::Now;
use crate::acl::{self, Acl};
use crate::kv::Command;

pub(crate) use entropy::Entropy;
pub use redact::hides as holds_password;
pub use settings::Settings;

/// What a node is set up with.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The users.
    pub acl: Acl,
    /// The users come from a file, which ACL LOAD reads and ACL SAVE writes.
    pub acl_file: bool,
    /// What CONFIG SET can change later.
    pub settings: Settings,
    /// What CONFIG GET tells beside, by name.
    pub fixed: Vec<(&'static str, String)>,
    /// What the process takes of the machine, for INFO.
    pub meter: Option<Meter>,
    /// The system's name, release and architecture; empty where nobody can tell.
    pub os: String,
    /// Drawn by the driver from the system's source of randomness: what ACL GENPASS draws from.
    pub secret: Secret,
}

/// Bits that nobody else knows. It does not show them.
#[derive(Clone, Copy, Default)]
pub struct Secret(pub [u8; 32]);

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("(redacted)")
    }
}

/// What the process takes of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory that it has, shared ones included (RSS).
    pub memory_bytes: u64,
    /// The most that it has had.
    pub peak_bytes: u64,
    /// Bytes of memory that the machine has.
    pub system_bytes: u64,
    /// Processor time spent in the system.
    pub system: Duration,
    /// And in itself.
    pub user: Duration,
}

/// Tells what the process takes; `None` where nobody can.
pub type Meter = fn() -> Option<Usage>;

/// See the module's header.
#[derive(Debug, Default)]
pub struct Server {
    pub(crate) acl: Acl,
    pub(crate) acl_file: bool,
    pub(crate) acl_log: acl::Log,
    pub(crate) settings: Settings,
    pub(crate) fixed: Vec<(&'static str, String)>,
    pub(crate) meter: Option<Meter>,
    pub(crate) os: String,
    pub(crate) slowlog: Slowlog,
    pub(crate) latency: Latency,
    pub(crate) stats: Stats,
    /// The command that is being evaluated was refused, or has failed.
    pub(crate) rejected: bool,
    pub(crate) failed: bool,
    pub(crate) entropy: Entropy,
    /// As of the input that is being handled.
    pub(crate) now: Now,
}

impl Server {
    /// One that has seen nothing yet.
    pub fn new(setup: Setup, now: Now) -> Self {
        let Setup { acl, acl_file, settings, fixed, meter, os, secret } = setup;
        Self {
            acl,
            acl_file,
            acl_log: acl::Log::default(),
            settings,
            fixed,
            meter,
            os,
            slowlog: Slowlog::default(),
            latency: Latency::default(),
            stats: Stats::default(),
            rejected: false,
            failed: false,
            entropy: Entropy::new(secret),
            now,
        }
    }

    /// CONFIG SET.
    pub(crate) fn change(&mut self, settings: Settings) {
        self.slowlog.shorten(settings.slowlog_len_max);
        self.settings = settings;
    }

    /// The command is refused before its evaluation.
    pub(crate) fn note_rejected(&mut self, command: &'static Command) {
        self.stats.rejected(command);
        self.rejected = true;
    }

    /// Whether clients of other machines are refused.
    pub(crate) fn is_protected(&self) -> bool {
        self.settings.protected_mode && self.acl.default_user().needs_no_password()
    }
}
