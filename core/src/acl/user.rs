//! One user: whether it is on, its passwords, its selectors.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::ChangeError;
use super::selector::{Denied, Selector};
use crate::kv::Command;
use crate::limits::{
    ACL_PASSWORDS_MAX, ACL_PATTERN_BYTES_MAX, ACL_PATTERNS_MAX, ACL_RULES_MAX, ACL_SELECTORS_MAX,
};

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    on: bool,
    /// Any password will do.
    no_password: bool,
    passwords: Vec<PasswordHash>,
    root: Selector,
    others: Vec<Selector>,
}

/// The SHA-256 of a password.
#[derive(Clone, Copy, PartialEq, Eq)]
struct PasswordHash([u8; 32]);

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It is no rule.
    #[error("Syntax error")]
    Syntax,
    /// It names what does not exist.
    #[error("Unknown command or category name in ACL")]
    Unknown,
    /// A pattern where all keys are allowed.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not \
         have any effect. Try 'resetkeys' to start with an empty list of patterns"
    )]
    AfterAllKeys,
    /// Such a password is not there to be removed.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// It is no SHA-256 in hexadecimal.
    #[error(
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal \
         characters"
    )]
    Hash,
    /// There is no Pub/Sub.
    #[error(
        "There is no Pub/Sub here, so that channels are all allowed or none: &* or resetchannels"
    )]
    Channel,
    /// One more password than [`ACL_PASSWORDS_MAX`].
    #[error("a user has at most {ACL_PASSWORDS_MAX} passwords; take one away first")]
    TooManyPasswords,
    /// One more selector than [`ACL_SELECTORS_MAX`].
    #[error("a user has at most {ACL_SELECTORS_MAX} selectors; 'clearselectors' takes all away")]
    TooManySelectors,
    /// One more rule on commands than [`ACL_RULES_MAX`].
    #[error(
        "a user or selector has at most {ACL_RULES_MAX} rules on commands; name categories instead"
    )]
    TooManyRules,
    /// One more pattern of keys than [`ACL_PATTERNS_MAX`].
    #[error(
        "a user or selector has at most {ACL_PATTERNS_MAX} patterns of keys; 'resetkeys' takes all \
         away"
    )]
    TooManyPatterns,
    /// A pattern of keys that is longer than [`ACL_PATTERN_BYTES_MAX`].
    #[error("a pattern of keys has at most {ACL_PATTERN_BYTES_MAX} bytes")]
    LongPattern,
}

impl PasswordHash {
    fn of(password: &[u8]) -> Self {
        Self(Sha256::digest(password).into())
    }

    fn parse(hex: &[u8]) -> Option<Self> {
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        let (pairs, []) = hex.as_chunks::<2>() else { return None };
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect();
        Some(Self(bytes?.try_into().ok()?))
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

impl User {
    /// One that may do nothing, and is off.
    pub(super) fn new() -> Self {
        Self {
            on: false,
            no_password: false,
            passwords: Vec::new(),
            root: Selector::default(),
            others: Vec::new(),
        }
    }

    /// One that no password admits, and who takes as long to say so as others.
    pub(super) fn nobody() -> Self {
        Self { passwords: alloc::vec![PasswordHash([0; 32])], ..Self::new() }
    }

    /// One that may do everything and needs no password.
    pub(super) fn unrestricted() -> Self {
        Self { on: true, no_password: true, root: Selector::unrestricted(), ..Self::new() }
    }

    /// Whether it is on and needs no password.
    pub fn is_open(&self) -> bool {
        self.on && self.no_password
    }

    /// Whether any password will do.
    pub fn needs_no_password(&self) -> bool {
        self.no_password
    }

    /// Whether it has a password.
    pub fn has_password(&self) -> bool {
        !self.passwords.is_empty()
    }

    /// Whether it may do everything.
    pub fn is_unrestricted(&self) -> bool {
        self.root.allows_all()
    }

    /// Whether the password lets a client be this user. Takes the same time for any password.
    pub(super) fn admits(&self, password: &[u8]) -> bool {
        let hash = PasswordHash::of(password);
        let known = |any: Choice, known: &PasswordHash| any | known.0.ct_eq(&hash.0);
        let right = self.passwords.iter().fold(Choice::from(0), known);
        self.on && (self.no_password || bool::from(right))
    }

    pub(super) fn set_only_password(&mut self, password: &[u8]) {
        self.no_password = password.is_empty();
        self.passwords.clear();
        if !password.is_empty() {
            self.passwords.push(PasswordHash::of(password));
        }
    }

    /// Whether it may run the command with these arguments.
    pub(crate) fn check<'a>(&self, command: &Command, args: &[&'a [u8]]) -> Result<(), Denied<'a>> {
        let mut denied = Denied::Command;
        for selector in core::iter::once(&self.root).chain(&self.others) {
            match selector.check(command, args) {
                Ok(()) => return Ok(()),
                Err(Denied::Command) => {}
                Err(key @ Denied::Key(_)) => denied = key,
            }
        }
        Err(denied)
    }

    /// Applies rules, one after the other. After an error the user is not to be used.
    pub(super) fn apply(&mut self, rules: &[&[u8]]) -> Result<(), ChangeError> {
        for rule in merge_selectors(rules)? {
            self.apply_one(&rule).map_err(|why| {
                // A password that is added is told to nobody.
                let rule = if rule.starts_with(b">") { b">(redacted)" } else { &rule[..] };
                let rule = String::from_utf8_lossy(rule).replace(['\r', '\n'], " ");
                ChangeError::Rule { rule, why }
            })?;
        }
        Ok(())
    }

    fn apply_one(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"on" => self.on = true,
            b"off" => self.on = false,
            b"nopass" => (self.no_password, self.passwords) = (true, Vec::new()),
            b"resetpass" => (self.no_password, self.passwords) = (false, Vec::new()),
            b"reset" => *self = Self::new(),
            b"clearselectors" => self.others.clear(),
            // What RESTORE is given is always checked; an empty rule is none.
            b"sanitize-payload" | b"" => {}
            _ => match rule {
                [b'>', password @ ..] => self.add_password(PasswordHash::of(password))?,
                [b'#', hash @ ..] => {
                    self.add_password(PasswordHash::parse(hash).ok_or(RuleError::Hash)?)?;
                }
                [b'<', password @ ..] => self.remove_password(PasswordHash::of(password))?,
                [b'!', hash @ ..] => {
                    self.remove_password(PasswordHash::parse(hash).ok_or(RuleError::Hash)?)?;
                }
                [b'(', rules @ .., b')'] => self.add_selector(rules)?,
                _ => self.root.apply(rule)?,
            },
        }
        Ok(())
    }

    fn add_password(&mut self, hash: PasswordHash) -> Result<(), RuleError> {
        if !self.passwords.contains(&hash) {
            if self.passwords.len() >= ACL_PASSWORDS_MAX {
                return Err(RuleError::TooManyPasswords);
            }
            self.passwords.push(hash);
        }
        self.no_password = false;
        Ok(())
    }

    fn remove_password(&mut self, hash: PasswordHash) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|known| *known == hash);
        self.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }

    fn add_selector(&mut self, rules: &[u8]) -> Result<(), RuleError> {
        if self.others.len() >= ACL_SELECTORS_MAX {
            return Err(RuleError::TooManySelectors);
        }
        let mut selector = Selector::default();
        let words = rules.split(|&b| b == b' ').filter(|word| !word.is_empty());
        words.into_iter().try_for_each(|rule| selector.apply(rule))?;
        self.others.push(selector);
        Ok(())
    }

    /// All rules that make it, as `ACL LIST` and the ACL file have them behind its name.
    pub fn describe(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for flag in self.flags() {
            text.extend_from_slice(flag.as_bytes());
            text.push(b' ');
        }
        for hash in self.passwords() {
            text.push(b'#');
            text.extend_from_slice(hash.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(&self.root.describe());
        for selector in &self.others {
            text.extend_from_slice(b" (");
            text.extend_from_slice(&selector.describe());
            text.push(b')');
        }
        text
    }

    /// Its flags, as `ACL GETUSER` names them.
    pub(crate) fn flags(&self) -> impl Iterator<Item = &'static str> {
        let on = if self.on { "on" } else { "off" };
        [Some(on), self.no_password.then_some("nopass"), Some("sanitize-payload")]
            .into_iter()
            .flatten()
    }

    /// The SHA-256 of each of its passwords, in hexadecimal.
    pub(crate) fn passwords(&self) -> impl Iterator<Item = String> {
        self.passwords.iter().map(|hash| alloc::format!("{hash}"))
    }

    /// Its own commands, keys and channels first, then those of its selectors.
    pub(crate) fn selectors(&self) -> impl Iterator<Item = (String, Vec<u8>, &'static str)> {
        let describe = |s: &Selector| (s.commands(), s.keys(), s.channels());
        core::iter::once(&self.root).chain(&self.others).map(describe)
    }
}

/// Puts a selector that was given in several arguments together: `(~a*`, `+get)`.
fn merge_selectors(rules: &[&[u8]]) -> Result<Vec<Vec<u8>>, ChangeError> {
    let mut merged: Vec<Vec<u8>> = Vec::with_capacity(rules.len());
    let mut open = false;
    for &rule in rules {
        match merged.last_mut().filter(|_| open) {
            Some(begun) => {
                begun.push(b' ');
                begun.extend_from_slice(rule);
            }
            None => merged.push(rule.to_vec()),
        }
        open = (open || rule.starts_with(b"(")) && !rule.ends_with(b")");
    }
    match merged.last().filter(|_| open) {
        // The argument in which it begins.
        Some(begun) => {
            let start = begun.split(|&b| b == b' ').next().unwrap_or_default();
            Err(ChangeError::Parenthesis(String::from_utf8_lossy(start).into_owned()))
        }
        None => Ok(merged),
    }
}
