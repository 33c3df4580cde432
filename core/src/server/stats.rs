//! What commands there were, how long their evaluation took, and which errors they gave.
//!
//! The time of a command is that of its evaluation, as its driver has measured it; where a driver
//! does not ([`Shard::evaluated`](crate::shard::Shard::evaluated)) it is not counted. What a reply
//! then waits for is in the [slow log](super::slowlog).

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::histogram::Histogram;
use super::rates::{Rates, Totals};
use crate::Instant;
use crate::kv::Command;

/// See the module's header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    /// By the address of the command in its table.
    commands: HashMap<usize, CommandStats, FixedState>,
    /// By the first word.
    errors: BTreeMap<String, u64>,
    /// Errors in all.
    pub(crate) failed: u64,
    /// Connections that were turned away.
    pub(crate) rejected_connections: u64,
    /// Bytes that clients have sent, and that were sent to them.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) rates: Rates,
}

/// What there was of one command.
#[derive(Clone, Debug)]
pub(crate) struct CommandStats {
    pub(crate) command: &'static Command,
    pub(crate) calls: u64,
    pub(crate) took: Duration,
    pub(crate) rejected: u64,
    pub(crate) failed: u64,
    pub(crate) times: Histogram,
}

/// Kinds of errors that are counted; Redis has the same limit.
const ERRORS_MAX: usize = 128;

impl Stats {
    /// The command was evaluated.
    pub(crate) fn called(&mut self, command: &'static Command, took: Duration, failed: bool) {
        let stats = self.of(command);
        stats.calls += 1;
        stats.took += took;
        stats.failed += u64::from(failed);
        stats.times.add(took);
    }

    /// The command was refused before that.
    pub(crate) fn rejected(&mut self, command: &'static Command) {
        self.of(command).rejected += 1;
    }

    /// A command that had to wait has failed.
    pub(crate) fn failed_later(&mut self, command: &'static Command) {
        self.of(command).failed += 1;
    }

    /// It is `now`, and until then there were so many commands of clients in all.
    #[inline]
    pub(crate) fn advance(&mut self, now: Instant, commands: u64) {
        let (received, sent) = (self.received, self.sent);
        self.rates.advance(now, Totals { commands, received, sent });
    }

    fn of(&mut self, command: &'static Command) -> &mut CommandStats {
        let key = core::ptr::from_ref(command).addr();
        self.commands.entry(key).or_insert_with(|| CommandStats {
            command,
            calls: 0,
            took: Duration::ZERO,
            rejected: 0,
            failed: 0,
            times: Histogram::default(),
        })
    }

    /// A client was told this error.
    pub(crate) fn error(&mut self, text: &str) {
        self.failed += 1;
        let code = text.split(' ').next().unwrap_or_default();
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < ERRORS_MAX {
            self.errors.insert(code.into(), 1);
        }
    }

    /// What there was of each command, in order of their names.
    pub(crate) fn commands(&self) -> BTreeMap<&'static str, &CommandStats> {
        self.commands.values().map(|stats| (stats.command.name, stats)).collect()
    }

    /// What there was of each error, in order of their codes.
    pub(crate) fn errors(&self) -> impl Iterator<Item = (&str, u64)> {
        self.errors.iter().map(|(code, &count)| (&**code, count))
    }
}
