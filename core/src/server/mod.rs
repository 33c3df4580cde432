//! What a node knows of itself beside its keys: users, settings, and what it has seen of its clients.
//!
//! The [shard](crate::shard) has one; commands work on it by way of their
//! [`View`](crate::kv::View). Nothing of it is replicated, and nothing but the ACL file outlives the
//! process: each node is set up by its own command line.
//!
//! - [`settings`]: what CONFIG SET can change.
//! - [`entropy`]: random bits that nobody can guess.

mod entropy;
mod settings;

use crate::Now;
use crate::acl::{self, Acl};

pub(crate) use entropy::Entropy;
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

/// See the module's header.
#[derive(Debug, Default)]
pub struct Server {
    pub(crate) acl: Acl,
    pub(crate) acl_file: bool,
    pub(crate) acl_log: acl::Log,
    pub(crate) settings: Settings,
    pub(crate) entropy: Entropy,
    /// As of the input that is being handled.
    pub(crate) now: Now,
}

impl Server {
    /// One that has seen nothing yet.
    pub fn new(setup: Setup, now: Now) -> Self {
        let Setup { acl, acl_file, settings, secret } = setup;
        Self {
            acl,
            acl_file,
            acl_log: acl::Log::default(),
            settings,
            entropy: Entropy::new(secret),
            now,
        }
    }

    /// Whether clients of other machines are refused.
    pub(crate) fn is_protected(&self) -> bool {
        self.settings.protected_mode && self.acl.default_user().needs_no_password()
    }
}
