//! A set of commands and keys: what one selector of a user allows.
//!
//! The rules on commands are kept in the order in which they were given, and the last one that is
//! about a command decides. So what `ACL LIST` prints is what is decided by.

use alloc::string::String;
use alloc::vec::Vec;

use super::user::RuleError;
use crate::args::Args;
use crate::kv::{Categories, Command, Flags, access_of, find_full, glob_matches};
use crate::limits::{ACL_PATTERN_BYTES_MAX, ACL_PATTERNS_MAX, ACL_RULES_MAX};

/// See the module's header. At first it allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    /// Commands that no rule is about are allowed.
    all_commands: bool,
    rules: Vec<Rule>,
    all_keys: bool,
    patterns: Vec<Pattern>,
    all_channels: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    what: What,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug)]
enum What {
    Category(Categories),
    /// A command, with its subcommands if it has some.
    Command(&'static Command),
}

/// Keys that may be read, written or both.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    read: bool,
    write: bool,
    text: Vec<u8>,
}

/// Why a user may not run a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied<'a> {
    /// No selector allows the command.
    Command,
    /// Those that do not allow this key.
    Key(&'a [u8]),
}

impl PartialEq for What {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Category(one), Self::Category(other)) => one == other,
            (Self::Command(one), Self::Command(other)) => one.name == other.name,
            (Self::Category(_), Self::Command(_)) | (Self::Command(_), Self::Category(_)) => false,
        }
    }
}

impl Eq for What {}

impl What {
    fn parse(text: &[u8]) -> Option<Self> {
        if text.starts_with(b"@") {
            return Categories::named(text).map(Self::Category);
        }
        find_full(text).map(Self::Command)
    }

    fn is_about(&self, command: &Command) -> bool {
        match self {
            Self::Category(category) => command.categories.has(*category),
            Self::Command(named) => {
                let under = || command.name.strip_prefix(named.name)?.strip_prefix('|');
                named.name == command.name || under().is_some()
            }
        }
    }

    /// Whether a rule about `other` decides nothing where a later one is about this.
    fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Command(command) if matches!(self, Self::Command(_)) => self.is_about(command),
            Self::Command(_) | Self::Category(_) => self == other,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Category(category) => category.names().next().expect("a rule names one"),
            Self::Command(command) => command.name,
        }
    }
}

impl Selector {
    /// One that allows everything.
    pub(super) fn unrestricted() -> Self {
        Self { all_commands: true, all_keys: true, all_channels: true, ..Self::default() }
    }

    /// Whether it allows everything.
    pub(super) fn allows_all(&self) -> bool {
        self.all_commands && self.rules.is_empty() && self.all_keys
    }

    /// Whether it allows the command on these keys.
    pub(super) fn check<'a>(&self, command: &Command, args: &[&'a [u8]]) -> Result<(), Denied<'a>> {
        if !self.allows(command) {
            return Err(Denied::Command);
        }
        if self.all_keys {
            return Ok(());
        }
        let denied = |(at, key): &(usize, &'a [u8])| !self.allows_key(command, args, *at, key);
        match command.keys(args).enumerate().find(denied) {
            Some((_, key)) => Err(Denied::Key(key)),
            None => Ok(()),
        }
    }

    fn allows(&self, command: &Command) -> bool {
        let decides = |rule: &&Rule| rule.what.is_about(command);
        command.flags.has(Flags::NO_AUTH)
            || self.rules.iter().rev().find(decides).map_or(self.all_commands, |rule| rule.allow)
    }

    fn allows_key(&self, command: &Command, args: Args<'_>, at: usize, key: &[u8]) -> bool {
        let access = access_of(command, at, args);
        let reads = access.contains("access");
        let writes = ["insert", "delete", "update"].iter().any(|word| access.contains(word));
        self.patterns.iter().any(|pattern| {
            (pattern.read || !reads)
                && (pattern.write || !writes)
                && glob_matches(&pattern.text, key)
        })
    }

    /// Applies one rule.
    pub(super) fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let is = |names: &[&str]| names.iter().any(|n| rule.eq_ignore_ascii_case(n.as_bytes()));
        if is(&["allkeys", "~*"]) {
            (self.all_keys, self.patterns) = (true, Vec::new());
        } else if is(&["resetkeys"]) {
            (self.all_keys, self.patterns) = (false, Vec::new());
        } else if is(&["allchannels", "&*"]) {
            self.all_channels = true;
        } else if is(&["resetchannels"]) {
            self.all_channels = false;
        } else if is(&["allcommands", "+@all"]) {
            (self.all_commands, self.rules) = (true, Vec::new());
        } else if is(&["nocommands", "-@all"]) {
            (self.all_commands, self.rules) = (false, Vec::new());
        } else {
            match rule {
                [b'~' | b'%', ..] => self.add_pattern(rule)?,
                [b'+', what @ ..] => self.add_rule(true, what)?,
                [b'-', what @ ..] => self.add_rule(false, what)?,
                [b'&', ..] => return Err(RuleError::Channel),
                _ => return Err(RuleError::Syntax),
            }
        }
        Ok(())
    }

    fn add_rule(&mut self, allow: bool, what: &[u8]) -> Result<(), RuleError> {
        let what = What::parse(what).ok_or(RuleError::Unknown)?;
        self.rules.retain(|rule| !what.covers(&rule.what));
        if self.rules.len() >= ACL_RULES_MAX {
            return Err(RuleError::TooManyRules);
        }
        self.rules.push(Rule { allow, what });
        Ok(())
    }

    fn add_pattern(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::AfterAllKeys);
        }
        let end = rule.iter().position(|&b| b == b'~').ok_or(RuleError::Syntax)?;
        let (access, text) = (&rule[..end], &rule[end + 1..]);
        let (read, write) = match access.to_ascii_uppercase().as_slice() {
            b"" | b"%RW" | b"%WR" => (true, true),
            b"%R" => (true, false),
            b"%W" => (false, true),
            _ => return Err(RuleError::Syntax),
        };
        if text.iter().any(|&b| b == 0 || b.is_ascii_whitespace()) {
            return Err(RuleError::Syntax);
        }
        if let Some(known) = self.patterns.iter_mut().find(|known| known.text == text) {
            (known.read, known.write) = (known.read || read, known.write || write);
            return Ok(());
        }
        if text.len() > ACL_PATTERN_BYTES_MAX {
            return Err(RuleError::LongPattern);
        }
        if self.patterns.len() >= ACL_PATTERNS_MAX {
            return Err(RuleError::TooManyPatterns);
        }
        self.patterns.push(Pattern { read, write, text: text.to_vec() });
        Ok(())
    }

    /// The rules on commands: `-@all +get`.
    pub(super) fn commands(&self) -> String {
        let mut text = String::from(if self.all_commands { "+@all" } else { "-@all" });
        for rule in &self.rules {
            text.push_str(if rule.allow { " +" } else { " -" });
            text.push_str(rule.what.name());
        }
        text
    }

    /// The patterns of keys, each as it is written in a rule.
    pub(super) fn keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let pattern = |pattern: &Pattern| {
            let access: &[u8] = match (pattern.read, pattern.write) {
                (true, false) => b"%R~",
                (false, true) => b"%W~",
                (true, true) | (false, false) => b"~",
            };
            [access, &pattern.text].concat()
        };
        self.patterns.iter().map(pattern).collect::<Vec<_>>().join(&b' ')
    }

    /// The patterns of channels, which there are none of: all or nothing.
    pub(super) fn channels(&self) -> &'static str {
        if self.all_channels { "&*" } else { "" }
    }

    /// All rules that make it.
    pub(super) fn describe(&self) -> Vec<u8> {
        let mut text = self.keys();
        if !text.is_empty() {
            text.push(b' ');
        }
        let channels: &[u8] = if self.all_channels { b"&* " } else { b"resetchannels " };
        text.extend_from_slice(channels);
        text.extend_from_slice(self.commands().as_bytes());
        text
    }
}
