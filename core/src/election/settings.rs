//! What a member begins with: how it is to behave, and what it has stored.

use alloc::vec::Vec;
use core::time::Duration;

use super::log::{Entry, Snapshot};
use super::voters::Voters;
use crate::limits::{
    APPEND_BYTES_MAX, APPEND_ENTRIES_MAX, INFLIGHT_BYTES_MAX, INFLIGHT_MAX, LOG_TAIL_ENTRIES,
    SNAPSHOT_CHUNK_BYTES,
};
use crate::{Index, Member, Term};

/// How a member behaves. Timeouts need not agree between members, but the election ones should be
/// several heartbeats long everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// How often a leader says that it is there.
    pub heartbeat: Duration,
    /// A leader heard of within this time is not voted against.
    pub election_min: Duration,
    /// The longest time until a silent leader is suspected, and that a leader leads without hearing
    /// from a majority.
    pub election_max: Duration,
    /// Entries in one append, at most [`APPEND_ENTRIES_MAX`].
    pub append_entries_max: usize,
    /// Bytes of entries at which an append is full.
    pub append_bytes_max: usize,
    /// Appends with entries to one member that are unanswered.
    pub inflight_max: usize,
    /// Bytes of entries in them at which no more are sent.
    pub inflight_bytes_max: usize,
    /// Bytes of a snapshot in one message.
    pub chunk_bytes: usize,
    /// Entries kept behind a snapshot.
    pub tail_entries: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(500),
            append_entries_max: APPEND_ENTRIES_MAX,
            append_bytes_max: APPEND_BYTES_MAX,
            inflight_max: INFLIGHT_MAX,
            inflight_bytes_max: INFLIGHT_BYTES_MAX,
            chunk_bytes: SNAPSHOT_CHUNK_BYTES,
            tail_entries: LOG_TAIL_ENTRIES,
        }
    }
}

/// What a restart begins with: all that was persisted, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stored {
    /// The last term; zero for a new member.
    pub term: Term,
    /// The vote in it.
    pub vote: Option<Member>,
    /// The last snapshot. A new member has the founding one, at index zero, with the first voters.
    pub snapshot: Snapshot,
    /// The entries that are stored, without a gap, in order. They may begin before the snapshot's
    /// end; those that end before it do not count.
    pub entries: Vec<Entry>,
}

impl Stored {
    /// Of a new member of a quorum founded with these voters, with `data` as the first state.
    pub fn founding(voters: Voters, data: bytes::Bytes) -> Self {
        let snapshot = Snapshot { index: Index(0), term: Term(0), voters, data };
        Self { term: Term(0), vote: None, snapshot, entries: Vec::new() }
    }
}
