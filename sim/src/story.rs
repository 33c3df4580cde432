//! The trace of a run: a hash over everything that went in and out, and on request the story itself.
//!
//! Every input of a node, every output, every answer of a disk, every delivery and every fault is
//! [recorded](Trace::record) with its time and its place. All of it goes into one hash, of a
//! fixed seed, which is what "the same run" means. The events themselves are kept only for a
//! replay, since making the texts takes longer than the run.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::{FixedState, FoldHasher};

/// Whose event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The nemesis and the run as a whole.
    World,
    /// A node, by its id, from 1.
    Node(u32),
    /// A client, by its number, from 1.
    Client(u32),
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => f.write_str("world"),
            Self::Node(id) => write!(f, "n{id}"),
            Self::Client(id) => write!(f, "c{id}"),
        }
    }
}

/// What sort of event it is. The page filters by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A message leaves its sender.
    Send,
    /// A message arrives.
    Receive,
    /// A connection is made, refused, closed, reset or given up.
    Link,
    /// A node asks its disk for something.
    Disk,
    /// The disk answers.
    DiskDone,
    /// A node's timer is due.
    Tick,
    /// A node starts, opens, stops: its text begins with the words of a [`Life`].
    Life,
    /// A node changes its role in a protocol.
    Role,
    /// What a node tells its operator.
    Notice,
    /// The nemesis does something to a node, a link or a clock, or undoes it.
    Nemesis,
    /// A fault takes effect on a disk operation, or on a message.
    Fault,
    /// A client asks, is told, or gives up.
    Call,
    /// A checker has found a violation.
    Violation,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Send,
        Self::Receive,
        Self::Link,
        Self::Disk,
        Self::DiskDone,
        Self::Tick,
        Self::Life,
        Self::Role,
        Self::Notice,
        Self::Nemesis,
        Self::Fault,
        Self::Call,
        Self::Violation,
    ];

    /// Its name, in one word, as the trace and the page write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Link => "link",
            Self::Disk => "disk",
            Self::DiskDone => "done",
            Self::Tick => "tick",
            Self::Life => "life",
            Self::Role => "role",
            Self::Notice => "notice",
            Self::Nemesis => "nemesis",
            Self::Fault => "fault",
            Self::Call => "call",
            Self::Violation => "violation",
        }
    }
}

/// What happened to a node in an event of [`Kind::Life`]. The text of the event begins with
/// [these words](Life::words), so that the page can tell when a node is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Life {
    /// It is started, and opens its directory.
    Starts,
    /// It has opened its directory, and answers.
    Serves,
    /// It ends by itself, of a broken invariant or a disk that it no longer trusts.
    Crashes,
    /// It is ended from outside.
    IsKilled,
    /// It ends in good order.
    Stops,
    /// It is held: nothing in it runs, and it does not know.
    IsPaused,
    /// It is let go, and is again what it was.
    GoesOn,
}

impl Life {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Starts,
        Self::Serves,
        Self::Crashes,
        Self::IsKilled,
        Self::Stops,
        Self::IsPaused,
        Self::GoesOn,
    ];

    /// What the text of such an event begins with.
    pub fn words(self) -> &'static str {
        match self {
            Self::Starts => "starts",
            Self::Serves => "serves",
            Self::Crashes => "crashes",
            Self::IsKilled => "is killed",
            Self::Stops => "stops",
            Self::IsPaused => "is paused",
            Self::GoesOn => "goes on",
        }
    }

    /// What the text of an event begins with, if it is one of them.
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|life| {
            text.strip_prefix(life.words())
                .is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
        })
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// One event of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Simulated time since the start of the run, in nanoseconds.
    pub at_ns: u64,
    /// Whose it is.
    pub lane: Lane,
    /// What sort it is.
    pub kind: Kind,
    /// What happened, in one line.
    pub text: String,
    /// For a message: which one, and who is at its other end. A [`Kind::Send`] and a
    /// [`Kind::Receive`] with one number are the two ends of an arrow; one that was lost has no
    /// `Receive`, one that was duplicated has two.
    pub message: Option<(u64, Lane)>,
}

impl fmt::Display for Event {
    /// `   12.345678 n1  disk     p0/…log write 312 B at 512`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at_ns / 1_000_000_000, self.at_ns / 1000 % 1_000_000);
        let lane = self.lane.to_string();
        write!(f, "{seconds:5}.{micros:06} {lane:<5} {:<9} {}", self.kind.name(), self.text)
    }
}

/// Gathers the events of one run.
pub struct Trace {
    hasher: FoldHasher<'static>,
    count: u64,
    kept: Option<Vec<Event>>,
}

impl Trace {
    /// A trace that keeps its events if `keep`.
    pub fn new(keep: bool) -> Self {
        Self { hasher: FixedState::default().build_hasher(), count: 0, kept: keep.then(Vec::new) }
    }

    /// Records an event: `what` goes into the hash, `text` is made only if events are kept.
    pub fn record(
        &mut self,
        at_ns: u64,
        lane: Lane,
        kind: Kind,
        message: Option<(u64, Lane)>,
        what: impl Hash,
        text: impl FnOnce() -> String,
    ) {
        self.count += 1;
        (at_ns, lane, kind, message, what).hash(&mut self.hasher);
        if let Some(kept) = &mut self.kept {
            kept.push(Event { at_ns, lane, kind, text: text(), message });
        }
    }

    /// Takes something into the hash that is no event of the story.
    pub fn note(&mut self, what: impl Hash) {
        what.hash(&mut self.hasher);
    }

    /// Whether the events are kept.
    pub fn keeps(&self) -> bool {
        self.kept.is_some()
    }

    /// How many events there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The hash over all events so far.
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// The events so far, if they are kept.
    pub fn events(&self) -> &[Event] {
        self.kept.as_deref().unwrap_or_default()
    }

    /// The events, if they were kept.
    pub fn into_events(self) -> Vec<Event> {
        self.kept.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Life;

    #[test]
    fn a_life_is_known_by_the_words_its_text_begins_with() {
        for life in Life::ALL {
            assert_eq!(Life::of(life.words()), Some(life));
            assert_eq!(Life::of(&format!("{life}: for a reason")), Some(life));
            assert_eq!(Life::of(&format!("{life}, and more")), Some(life));
            assert_eq!(Life::of(&format!("then {life}")), None);
            assert_eq!(Life::of(&format!("{life}ome")), None);
        }
    }
}
