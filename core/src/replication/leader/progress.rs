//! What a leader knows of one follower.
//!
//! Invariants:
//! - All that is known of its log's end is of the present session: a follower that asks anew may have
//!   restarted and lost what it had not made durable, so its old end counts for nothing. Up to where
//!   it had all tombstones is known from before as well, if its process is the same.
//! - `acked ≤ next`: nobody acknowledges what was not sent.
//! - At most one chunk is being read, and so many chunks and bytes are sent and not known to be
//!   stored as the settings allow.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::super::message::Round;
use crate::{Instant, Offset};

/// How long the tombstones that a follower lacks are retained when its link is broken.
const KEPT_FOR: Duration = Duration::from_mins(5);

/// One follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    /// The last session that it began, whatever became of it.
    pub(super) round: Option<Round>,
    /// The present one, if its log matches.
    pub(super) session: Option<Session>,
    /// When it last had all that the leader had then, or when the leader began to watch it.
    pub(super) caught_up: Instant,
    /// Its log can only be told to begin again: it has no business in the in-sync set.
    pub(super) unfit: bool,
    /// What it lacks begins here and can not be read; that was told.
    pub(super) unreadable: Option<Offset>,
}

/// A follower whose log matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Session {
    pub(super) round: Round,
    /// Since when the link is broken: nothing more is sent until it asks anew.
    pub(super) broken: Option<Instant>,
    /// The base of the next chunk: all before it was sent, or was there when the session began.
    pub(super) next: Offset,
    /// What it acknowledges; none before its first answer.
    pub(super) acked: Option<Offset>,
    /// End and bytes of each chunk that is not known to be stored.
    inflight: VecDeque<(Offset, usize)>,
    /// A chunk is being read.
    pub(super) reading: bool,
    /// When to ask for the chunk that failed.
    pub(super) ship_again: Option<Instant>,
    /// Up to here it had its log for good when the session began.
    had: Offset,
    /// Up to here it had its log then, if not for good: tombstones before may be gone.
    passed: Offset,
    /// When it was last sent something; none if it was not yet.
    pub(super) said: Option<Instant>,
    /// The largest beat that was sent.
    pub(super) beat_said: u64,
    /// The largest beat that was echoed; none before the first answer.
    pub(super) beat_heard: Option<u64>,
    /// When that was sent which it last answered to: its promise counts from then.
    pub(super) promised: Option<Instant>,
    /// The leader's log end at some moment, which it has not acknowledged yet.
    mark: Option<(Offset, Instant)>,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Self { round: None, session: None, caught_up: now, unfit: false, unreadable: None }
    }

    /// Follows when the follower had all that the leader had (KIP-16: by time, not by count).
    pub(super) fn note_caught_up(&mut self, now: Instant, leader_end: Offset) {
        let Some(session) = &mut self.session else { return };
        let acked = session.acked.unwrap_or_default();
        if acked >= leader_end {
            self.caught_up = now;
            session.mark = None;
            return;
        }
        if let Some((end, at)) = session.mark
            && acked >= end
        {
            self.caught_up = self.caught_up.max(at);
            session.mark = None;
        }
        session.mark.get_or_insert((leader_end, now));
    }
}

impl Session {
    pub(super) fn new(round: Round, end: Offset, (had, passed): (Offset, Offset)) -> Self {
        Self {
            round,
            broken: None,
            next: end,
            acked: None,
            inflight: VecDeque::new(),
            reading: false,
            ship_again: None,
            had,
            passed,
            said: None,
            beat_said: 0,
            beat_heard: None,
            promised: None,
            mark: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.broken.is_none()
    }

    /// Whether tombstones that the follower may not have seen are retained for it.
    pub(super) fn is_kept(&self, now: Instant) -> bool {
        self.broken.is_none_or(|since| now < since.after(KEPT_FOR))
    }

    /// Whether a follower that asks anew goes on where this session had come to. Then it lacks no
    /// tombstone that was dropped: these it had, and has still, for its log is no shorter than when that
    /// was seen. All of its log was there or is from this session, unless its process is another.
    pub(super) fn goes_on(&self, now: Instant, round: Round, end: Offset) -> bool {
        let same = round.incarnation == self.round.incarnation;
        same && self.is_kept(now) && self.passed() <= end && end <= self.next
    }

    /// Tombstones before this may be gone: the follower had come past them.
    pub(super) fn passed(&self) -> Offset {
        self.passed.max(self.held())
    }

    /// The link broke: what was sent last may be lost.
    pub(super) fn cut_off(&mut self, now: Instant) {
        self.broken.get_or_insert(now);
        self.reading = false;
        self.ship_again = None;
        self.inflight.clear();
    }

    pub(super) fn chunk_failed(&mut self, again: Instant) {
        if self.reading {
            self.reading = false;
            self.ship_again = Some(again);
        }
    }

    pub(super) fn chunk_sent(&mut self, end: Offset, bytes: usize) {
        assert!(end > self.next, "a chunk holds something");
        self.reading = false;
        self.next = end;
        self.inflight.push_back((end, bytes));
    }

    pub(super) fn acknowledge(&mut self, end: Offset, stored: Offset) {
        assert!(end <= stored && stored <= self.next, "others are ignored");
        self.acked = Some(end);
        while self.inflight.front().is_some_and(|&(sent, _)| sent <= stored) {
            self.inflight.pop_front();
        }
    }

    /// Whether there is room for another chunk.
    pub(super) fn has_room(&self, chunks: usize, bytes: usize) -> bool {
        let sum: usize = self.inflight.iter().map(|&(_, bytes)| bytes).sum();
        self.inflight.len() < chunks && sum < bytes
    }

    /// Up to here the follower has its log for good, as long as it lives.
    pub(super) fn held(&self) -> Offset {
        self.acked.unwrap_or(self.had).min(self.next)
    }
}
