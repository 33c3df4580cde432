//! Users: their passwords, and the commands and keys that they may use. Redis's ACL.
//!
//! It decides who a client is ([`Acl::authenticate`]) and whether a user may run a command
//! ([`User::check`]). It is not where that is asked: that is [`kv`](crate::kv), before anything else
//! is done with a command.
//!
//! - [`user`]: one user, and how it is changed and described.
//! - [`selector`]: a set of commands and keys; a user has one, and may have more.
//! - [`file`](mod@file): the ACL file, all users as text.
//! - [`log`]: what was refused lately.
//!
//! Invariants:
//! - The user `default` is always there.
//! - No password is kept: only its SHA-256, and that is compared in constant time.
//! - Numbers of users, rules, patterns and passwords are bounded, and so are their lengths.
//!
//! # Differences from Redis 7.2
//!
//! - There is no Pub/Sub: of channels only `allchannels` (`&*`) and `resetchannels` are taken, for
//!   files and clients that name them, and they change nothing but what `ACL LIST` shows.
//! - `+command|first-argument` is taken for subcommands alone, not for the first argument of a
//!   command without (`+select|0`), which Redis has deprecated.

pub mod file;
mod log;
mod selector;
#[cfg(test)]
mod tests;
mod user;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::Value;
use crate::limits::{ACL_NAME_BYTES_MAX, ACL_USERS_MAX};

pub(crate) use log::{Context, Entry, Log, Reason};
pub(crate) use selector::Denied;
pub use user::{RuleError, User};

/// The user that every client is at first.
pub const DEFAULT_USER: &[u8] = b"default";

/// All users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    users: BTreeMap<Value, User>,
    /// Counts changes, so that what was found out about a user can be kept until then.
    generation: u64,
    /// The user `default` is on and needs no password: asked before every command.
    open: bool,
}

/// Why a user could not be made or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The name is empty, or has spaces or NULs in it.
    #[error("Usernames can't contain spaces or null characters")]
    Name,
    /// There are [`ACL_USERS_MAX`] users.
    #[error("the limit of {ACL_USERS_MAX} users is reached; delete one first")]
    TooManyUsers,
    /// A name longer than [`ACL_NAME_BYTES_MAX`].
    #[error("the name is longer than the limit of {ACL_NAME_BYTES_MAX} bytes")]
    LongName,
    /// A selector does not end.
    #[error("Unmatched parenthesis in acl selector starting at '{0}'.")]
    Parenthesis(alloc::string::String),
    /// A rule can not be right.
    #[error("Error in ACL SETUSER modifier '{rule}': {why}")]
    Rule {
        /// The rule.
        rule: alloc::string::String,
        /// What is wrong with it.
        why: RuleError,
    },
}

impl Default for Acl {
    /// One user, `default`, that needs no password and may do everything.
    fn default() -> Self {
        let users = BTreeMap::from([(Value::copy_from(DEFAULT_USER), User::unrestricted())]);
        Self { users, generation: 1, open: true }
    }
}

impl Acl {
    /// Such users, with `default` as it is at first unless it is one of them.
    fn of(mut users: BTreeMap<Value, User>) -> Self {
        users.entry(Value::copy_from(DEFAULT_USER)).or_insert_with(User::unrestricted);
        let mut acl = Self { users, generation: 0, open: false };
        acl.note_change();
        acl
    }

    /// The user called `name`.
    pub fn user(&self, name: &[u8]) -> Option<&User> {
        self.users.get(name)
    }

    /// The users and their names, in order of the names.
    pub fn users(&self) -> impl Iterator<Item = (&Value, &User)> {
        self.users.iter()
    }

    /// The user `default`.
    pub fn default_user(&self) -> &User {
        self.users.get(DEFAULT_USER).expect("the user default is always there")
    }

    /// Changes with every change of a user.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a client that has said nothing may go on as `default`.
    pub fn admits_strangers(&self) -> bool {
        self.open
    }

    fn note_change(&mut self) {
        self.generation += 1;
        self.open = self.default_user().is_open();
    }

    /// Whether the password is the user's. As much is computed where there is no such user.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> bool {
        match self.users.get(name) {
            Some(user) => user.admits(password),
            None => User::nobody().admits(password),
        }
    }

    /// Makes the user if it is not there, and applies the rules, all or none of them.
    ///
    /// # Errors
    /// Why they can not be applied: nothing has changed then.
    pub fn set_user(&mut self, name: &[u8], rules: &[&[u8]]) -> Result<(), ChangeError> {
        if name.is_empty() || name.iter().any(|&b| b == 0 || b.is_ascii_whitespace()) {
            return Err(ChangeError::Name);
        }
        if name.len() > ACL_NAME_BYTES_MAX {
            return Err(ChangeError::LongName);
        }
        let mut user = match self.users.get(name) {
            Some(user) => user.clone(),
            None if self.users.len() >= ACL_USERS_MAX => return Err(ChangeError::TooManyUsers),
            None => User::new(),
        };
        user.apply(rules)?;
        self.users.insert(Value::copy_from(name), user);
        self.note_change();
        Ok(())
    }

    /// Deletes the user. Returns whether it was there.
    ///
    /// # Panics
    /// If it is `default`.
    pub fn delete_user(&mut self, name: &[u8]) -> bool {
        assert!(name != DEFAULT_USER, "the caller refuses that");
        let was_there = self.users.remove(name).is_some();
        self.note_change();
        was_there
    }

    /// Gives the user `default` this password alone; an empty one is none.
    pub fn require_password(&mut self, password: &[u8]) {
        let user = self.users.get_mut(DEFAULT_USER).expect("it is always there");
        user.set_only_password(password);
        self.note_change();
    }

    /// Takes these users in place of its own. Returns those whose clients are not who they were: they
    /// are gone, or are another.
    pub fn replace(&mut self, by: Self) -> Vec<Value> {
        let changed = |(name, user): &(&Value, &User)| by.users.get(*name) != Some(user);
        let changed = self.users.iter().filter(changed).map(|(name, _)| name.clone()).collect();
        self.users = by.users;
        self.note_change();
        changed
    }
}
