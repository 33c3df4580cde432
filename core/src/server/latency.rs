//! The latency history: when things took longer than the threshold, a sample a second.

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// The evaluation of a command.
    Command,
    /// The same of one that takes constant or logarithmic time.
    FastCommand,
    /// A write from its log to its commit.
    Commit,
}

/// See the module's header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latency {
    events: BTreeMap<Event, Samples>,
}

/// The last samples of one event, the oldest first: seconds since the Unix epoch, milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    pub(crate) last: VecDeque<(u64, u64)>,
    /// The longest, in milliseconds.
    pub(crate) longest_ms: u64,
}

/// Samples that are kept of an event, as in Redis.
const SAMPLES_MAX: usize = 160;

impl Event {
    const ALL: [Self; 3] = [Self::Command, Self::FastCommand, Self::Commit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::FastCommand => "fast-command",
            Self::Commit => "commit",
        }
    }

    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

impl Latency {
    /// Adds a sample, if it took as long as the threshold; of one second the longest is kept.
    pub(crate) fn note(&mut self, threshold_ms: u64, now_s: u64, event: Event, took: Duration) {
        let ms = took.as_millis() as u64;
        if threshold_ms == 0 || ms < threshold_ms {
            return;
        }
        let samples = self.events.entry(event).or_default();
        samples.longest_ms = samples.longest_ms.max(ms);
        match samples.last.back_mut() {
            Some((at, longest)) if *at == now_s => *longest = ms.max(*longest),
            Some(_) | None => {
                samples.last.push_back((now_s, ms));
                if samples.last.len() > SAMPLES_MAX {
                    samples.last.pop_front();
                }
            }
        }
    }

    pub(crate) fn of(&self, event: Event) -> Option<&Samples> {
        self.events.get(&event)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (Event, &Samples)> {
        self.events.iter().map(|(&event, samples)| (event, samples))
    }

    /// Forgets an event. Whether there was something to forget.
    pub(crate) fn forget(&mut self, event: Event) -> bool {
        self.events.remove(&event).is_some()
    }

    /// Forgets everything. Returns how many events that were.
    pub(crate) fn forget_all(&mut self) -> usize {
        core::mem::take(&mut self.events).len()
    }
}
