//! Who looks on: MONITOR, the statistics of commands, the slow log.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::fmt::Write;

use super::forward::Agent;
use super::{Output, Partition, Shard};
use crate::args::{Args, OwnedArgs};
use crate::kv::{self, Flags};
use crate::server::latency::Event;
use crate::server::redact::redacted;
use crate::server::slowlog::{Phases, Slow, trimmed};
use crate::{ClientId, Instant, Offset, Value};

/// What is known of a command whose reply waits, for the slow log.
#[derive(Debug)]
pub(super) struct Watch {
    args: OwnedArgs,
    arrived: Instant,
    evaluated: Instant,
    /// It has logged changes that end there.
    wrote: Option<(usize, Offset)>,
    committed: Option<Instant>,
}

impl Watch {
    pub(super) fn on_committed(&mut self, now: Instant) {
        self.committed = Some(now);
    }
}

/// When the log of a partition was written and durable up to where, lately.
#[derive(Debug, Default)]
pub(super) struct Progress {
    written: VecDeque<(Offset, Instant)>,
    durable: VecDeque<(Offset, Instant)>,
}

/// Steps of each that are remembered.
const STEPS_MAX: usize = 64;

impl Progress {
    /// The log is written and durable up to there.
    pub(super) fn note(&mut self, now: Instant, written: Offset, durable: Offset) {
        for (steps, end) in [(&mut self.written, written), (&mut self.durable, durable)] {
            if steps.back().is_none_or(|&(last, _)| last < end) {
                if steps.len() == STEPS_MAX {
                    steps.pop_front();
                }
                steps.push_back((end, now));
            }
        }
    }

    fn reached(steps: &VecDeque<(Offset, Instant)>, end: Offset) -> Option<Instant> {
        steps.iter().find(|(reached, _)| *reached >= end).map(|&(_, at)| at)
    }
}

impl Partition {
    /// Where the time went from the evaluation of a write to its commit.
    fn phases(&self, evaluated: Instant, end: Offset, committed: Instant) -> Phases {
        // What is not known any more counts to the phase behind it.
        let written = Progress::reached(&self.progress.written, end).unwrap_or(evaluated);
        let durable = Progress::reached(&self.progress.durable, end).unwrap_or(written);
        let durable = durable.min(committed);
        Phases {
            append: written.since(evaluated),
            fsync: durable.since(written),
            replicate: committed.since(durable.max(written)),
            ..Phases::default()
        }
    }
}

impl Shard {
    /// Shows a command to those who have said MONITOR.
    pub(super) fn show_to_monitors(&mut self, id: ClientId, args: Args<'_>) {
        let session = &self.clients[&id].session;
        let shown = |command: &kv::Command| {
            !command.flags.has(Flags::ADMIN) && session.may(command, args, &self.server)
        };
        if !kv::resolve(args).is_ok_and(shown) {
            return;
        }
        let us = self.now.wall_us;
        let remote = session.peer().remote;
        let mut line = format!("{}.{:06} [0 {remote}]", us / 1_000_000, us % 1_000_000);
        for (at, arg) in redacted(args).enumerate() {
            if at == MONITOR_ARGS_MAX {
                let more = args.len() - at;
                write!(line, " \"... ({more} more arguments)\"").expect("a String takes all");
                break;
            }
            quote(arg, &mut line);
        }
        let line: Arc<str> = line.into();
        let clients = &self.clients;
        self.monitors.retain(|id| clients.get(id).is_some_and(|c| c.session.monitors()));
        for &monitor in &self.monitors {
            self.out.push_back(Output::Monitored(monitor, Arc::clone(&line)));
        }
    }

    /// The driver has handed in a command of the client, and its evaluation ended then. Returns
    /// whether it took so long that [`note_slow`](Self::note_slow) is to be told.
    pub fn evaluated(&mut self, id: ClientId, at: Instant) -> bool {
        let began = self.lap_end.max(self.now.mono);
        self.lap_end = at;
        let took = at.since(began);
        let (rejected, failed) =
            (core::mem::take(&mut self.server.rejected), core::mem::take(&mut self.server.failed));
        let last = self.clients.get(&id).and_then(|client| client.session.last());
        let Some(command) = last.filter(|_| !rejected) else { return false };
        let server = &mut self.server;
        server.stats.called(command, took, failed);
        let threshold = server.settings.latency_threshold_ms;
        if threshold > 0 {
            let fast = command.flags.has(Flags::FAST);
            let event = if fast { Event::FastCommand } else { Event::Command };
            server.latency.note(threshold, self.now.wall_us / 1_000_000, event, took);
        }
        server.settings.slower_than_us.is_some_and(|us| took.as_micros() as u64 >= us)
    }

    /// The evaluation of this command took until `at`.
    pub fn note_slow(&mut self, id: ClientId, args: Args<'_>, at: Instant) {
        // One whose reply waits is noted when that leaves.
        if self.clients.get(&id).is_some_and(|client| !client.is_waiting()) {
            let phases = Phases { apply: at.since(self.now.mono), ..Phases::default() };
            self.add_slow(id, &trimmed(args), at.since(self.now.mono), phases);
        }
    }

    /// Remembers the command whose reply is the client's last that waits.
    pub(super) fn watch_last(&mut self, id: ClientId, args: Args<'_>, arrived: Instant) {
        if self.server.settings.slower_than_us.is_none() || Agent::is(id) {
            return;
        }
        let wrote = self.notes.depends.iter().find(|depends| depends.wrote);
        let wrote = wrote.map(|depends| (depends.at, depends.until));
        let evaluated = self.now.mono;
        let args = trimmed(args);
        let watch = Watch { args, arrived, evaluated, wrote, committed: None };
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        client.watch_last(Box::new(watch));
    }

    /// The reply to a watched command leaves.
    pub(super) fn on_watched(&mut self, id: ClientId, watch: &Watch) {
        let now = self.now.mono;
        let took = now.since(watch.arrived);
        let committed = watch.committed.unwrap_or(now);
        if watch.wrote.is_some() && self.server.settings.latency_threshold_ms > 0 {
            let threshold = self.server.settings.latency_threshold_ms;
            let now_s = self.now.wall_us / 1_000_000;
            let took = committed.since(watch.evaluated);
            self.server.latency.note(threshold, now_s, Event::Commit, took);
        }
        let slow = self.server.settings.slower_than_us;
        if slow.is_none_or(|us| (took.as_micros() as u64) < us) {
            return;
        }
        let phases = match watch.wrote {
            Some((at, end)) => self.partitions[at].phases(watch.evaluated, end, committed),
            None => Phases { replicate: committed.since(watch.evaluated), ..Phases::default() },
        };
        let queue = watch.evaluated.since(watch.arrived);
        let phases = Phases { queue, apply: now.since(committed), ..phases };
        self.add_slow(id, &watch.args, took, phases);
    }

    fn add_slow(
        &mut self,
        id: ClientId,
        args: &OwnedArgs,
        took: core::time::Duration,
        phases: Phases,
    ) {
        let Some(client) = self.clients.get(&id) else { return };
        let session = &client.session;
        let slow = Slow {
            id: 0,
            at: self.now.wall_us / 1_000_000,
            took,
            phases,
            args: args.as_slices().into_iter().map(Value::copy_from).collect(),
            address: Value::copy_from(session.peer().remote.to_string().as_bytes()),
            name: Value::copy_from(session.name().unwrap_or_default()),
        };
        self.server.slowlog.add(self.server.settings.slowlog_len_max, slow);
    }
}

/// ` "…"`, as redis-cli reads it.
fn quote(arg: &[u8], line: &mut String) {
    line.push_str(" \"");
    for &byte in arg.iter().take(MONITOR_ARG_BYTES_MAX) {
        match byte {
            b'\\' | b'"' => line.extend(['\\', char::from(byte)]),
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            7 => line.push_str("\\a"),
            8 => line.push_str("\\b"),
            b' '..=b'~' => line.push(char::from(byte)),
            _ => write!(line, "\\x{byte:02x}").expect("a String takes all"),
        }
    }
    if arg.len() > MONITOR_ARG_BYTES_MAX {
        let more = arg.len() - MONITOR_ARG_BYTES_MAX;
        write!(line, "... ({more} more bytes)").expect("a String takes all");
    }
    line.push('"');
}

/// Arguments of one command that a monitor is shown, and bytes of each.
const MONITOR_ARGS_MAX: usize = 128;
const MONITOR_ARG_BYTES_MAX: usize = 1_024;
