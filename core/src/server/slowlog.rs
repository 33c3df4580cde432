//! The slow log: commands that took long, with what they waited for.
//!
//! The time of a command is that from its arrival at the shard until its reply leaves it: for a
//! write its way to disk and to the replicas is in it, and mostly all there is to it. The
//! [`Phases`] say where it went.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use crate::Value;
use crate::args::{Args, OwnedArgs};

/// The last slow commands, the newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slowlog {
    entries: VecDeque<Slow>,
    next_id: i64,
}

/// One slow command.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    pub(crate) id: i64,
    /// When it was answered, in seconds since the Unix epoch.
    pub(crate) at: u64,
    pub(crate) took: Duration,
    pub(crate) phases: Phases,
    pub(crate) args: Vec<Value>,
    pub(crate) address: Value,
    pub(crate) name: Value,
}

/// What a command waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Phases {
    /// For values from disk, before it could be evaluated.
    pub(crate) queue: Duration,
    /// To be written to the log.
    pub(crate) append: Duration,
    /// To be durable here.
    pub(crate) fsync: Duration,
    /// For the replicas in sync to have it, and for all before it.
    pub(crate) replicate: Duration,
    /// For its reply to leave, behind those to earlier commands.
    pub(crate) apply: Duration,
}

/// Arguments of one command that are kept, and bytes of each.
const ARGS_KEPT: usize = 32;
const ARG_BYTES_KEPT: usize = 128;

impl Slowlog {
    /// Adds a command; its `id` is set here.
    pub(crate) fn add(&mut self, most: usize, slow: Slow) {
        let id = self.next_id;
        self.next_id += 1;
        self.entries.push_front(Slow { id, ..slow });
        self.entries.truncate(most);
    }

    /// The entries, the newest first.
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = &Slow> {
        self.entries.iter()
    }

    /// Keeps so many.
    pub(crate) fn shorten(&mut self, most: usize) {
        self.entries.truncate(most);
    }
}

/// As much of a command as the slow log keeps. Passwords are left out.
pub(crate) fn trimmed(args: Args<'_>) -> OwnedArgs {
    let kept = if args.len() > ARGS_KEPT { ARGS_KEPT - 1 } else { args.len() };
    let is_long = |arg: &&[u8]| arg.len() > ARG_BYTES_KEPT;
    if kept == args.len() && !args.iter().any(is_long) && !super::redact::hides(args) {
        return OwnedArgs::copy_from(args);
    }
    let cut = |arg: &[u8]| match arg.len() {
        ..=ARG_BYTES_KEPT => arg.to_vec(),
        len => {
            let more = format!("... ({} more bytes)", len - ARG_BYTES_KEPT);
            [&arg[..ARG_BYTES_KEPT], more.as_bytes()].concat()
        }
    };
    let mut all: Vec<Vec<u8>> = super::redact::redacted(args).take(kept).map(cut).collect();
    if kept < args.len() {
        all.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    OwnedArgs::copy_from(&all.iter().map(Vec::as_slice).collect::<Vec<_>>())
}
