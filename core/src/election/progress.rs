//! What a leader knows of one member's log, and how much it sends ahead of the answers.
//!
//! ```text
//!            answer without conflict                    next entry is purged
//!   ┌───────┐ ──────────────────────▶ ┌───────────┐  ┌──────────┐
//!   │ Probe │                         │ Replicate │  │ Snapshot │◀── Probe
//!   └───────┘ ◀────────────────────── └───────────┘  └──────────┘
//!       ▲      conflict, broken link                      │ answer that has it all
//!       └─────────────────────────────────────────────────┘
//! ```
//!
//! Invariants:
//! - `durable ≤ matched < next`. `durable` never goes back, for it is on the member's disk, and a
//!   member with another disk is another member. `matched` falls back to it whenever the member may
//!   have restarted, and lost what it had only in memory.
//! - At most one message is unanswered in `Probe` between two heartbeats, one piece in `Snapshot`,
//!   and as many as the limits allow in `Replicate`.

use alloc::collections::VecDeque;

use super::log::{Log, Snapshot};
use super::message::{AppendReply, Conflict};
use crate::{Index, Instant};

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    /// Up to here its log agrees with the leader's.
    pub(super) matched: Index,
    /// Up to here what agrees is durable there.
    pub(super) durable: Index,
    /// The next entry to send.
    pub(super) next: Index,
    pub(super) mode: Mode,
    /// When it was last heard of in this term, or when the leader began to listen.
    pub(super) heard: Instant,
    /// The commit index that it was last sent.
    pub(super) told_commit: Index,
}

/// How a member is sent the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    /// Where its log agrees is not known: one message, then its answer.
    Probe {
        /// One is under way, unless it was lost.
        sent: bool,
    },
    /// Its log is known to agree: messages follow each other without waiting.
    Replicate {
        /// The last entry and the bytes of each message that is not durable there.
        inflight: VecDeque<(Index, usize)>,
    },
    /// The log does not reach back to what it lacks.
    Snapshot {
        /// What it is sent. It stays the same even if the leader compacts meanwhile, or a slow
        /// member would never get to the end of one.
        snapshot: Snapshot,
        /// How many bytes of it the member has.
        held: u64,
        /// When the piece behind those was sent, if it was.
        sent: Option<Instant>,
    },
}

impl Progress {
    /// Nothing is known but that it may be as far as the leader was.
    pub(super) fn new(next: Index, now: Instant) -> Self {
        Self {
            matched: Index(0),
            durable: Index(0),
            next,
            mode: Mode::Probe { sent: false },
            heard: now,
            told_commit: Index(0),
        }
    }

    /// Messages under way are probably lost.
    pub(super) fn on_link_change(&mut self) {
        match &mut self.mode {
            Mode::Probe { sent } => *sent = false,
            Mode::Replicate { .. } => self.probe_from(self.durable.plus(1)),
            Mode::Snapshot { sent, .. } => *sent = None,
        }
    }

    /// Takes what an answer without conflict says.
    pub(super) fn on_match(&mut self, m: &AppendReply) {
        self.matched = self.matched.max(m.matched);
        self.durable = self.durable.max(m.durable);
        self.next = self.next.max(self.matched.plus(1));
        match &mut self.mode {
            Mode::Probe { .. } => {
                // What was sent ahead of this answer may be lost.
                self.next = self.matched.plus(1);
                self.mode = Mode::Replicate { inflight: VecDeque::new() };
            }
            Mode::Replicate { inflight } => {
                while inflight.front().is_some_and(|(last, _)| *last <= self.durable) {
                    inflight.pop_front();
                }
            }
            Mode::Snapshot { snapshot, .. } => {
                if self.durable >= snapshot.index {
                    self.probe_from(self.durable.plus(1));
                }
            }
        }
    }

    /// Goes back to where the logs may agree. False if the answer is to a message that a later one
    /// has made void.
    pub(super) fn on_conflict(&mut self, log: &Log, conflict: Conflict) -> bool {
        let is_current = match &self.mode {
            Mode::Probe { .. } => conflict.prev.plus(1) == self.next,
            Mode::Replicate { .. } => conflict.prev < self.next,
            Mode::Snapshot { .. } => false,
        };
        if !is_current || conflict.prev <= self.durable {
            return false;
        }
        // All of the member's entries of that term may be wrong, but not those of earlier terms; if
        // the leader has the term too, the logs may agree up to its end there (Raft §5.3).
        let next = match conflict.term {
            Some(term) => {
                let ours = log.last_not_after(term, Index(conflict.prev.0 - 1));
                if ours.term == term { ours.index.plus(1) } else { conflict.first }
            }
            None => conflict.first,
        };
        self.probe_from(next.min(conflict.prev).max(self.durable.plus(1)));
        true
    }

    pub(super) fn probe_from(&mut self, next: Index) {
        assert!(next > self.durable, "what agrees and is durable is not sent again");
        self.matched = self.durable;
        self.next = next;
        self.mode = Mode::Probe { sent: false };
    }
}
