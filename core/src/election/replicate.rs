//! What a leader sends, and when.
//!
//! New entries go to every member at once, beside the leader's own write, and so does a new commit
//! index. A heartbeat says where the leader believes a member's log to end, so that one that has
//! lost messages answers with a conflict and is probed.

use super::common::Common;
use super::ignored::Ignored;
use super::leader::Leader;
use super::log::Position;
use super::message::{Append, Chunk, ChunkReply, Message};
use super::progress::{Mode, Progress};
use crate::{Index, Member};

/// Entries in a probe: enough for a new leader's first, little to send in vain.
const PROBE_ENTRIES: usize = 1;

impl Leader {
    /// Sends what may be sent.
    pub(super) fn pump(&mut self, c: &mut Common) {
        for (&member, progress) in &mut self.progress {
            // At most as many messages as may be unanswered, and one.
            while send_next(c, member, progress) {}
        }
    }

    /// Sends a heartbeat to every member.
    pub(super) fn beat(&mut self, c: &mut Common) {
        let retry = c.settings.election_min;
        for (&member, progress) in &mut self.progress {
            match &mut progress.mode {
                Mode::Probe { sent } => *sent = false,
                Mode::Replicate { .. } => {
                    send_append(c, member, progress, 0);
                }
                Mode::Snapshot { snapshot, held, sent } => {
                    if sent.is_some_and(|at| c.now.since(at) >= retry) {
                        *sent = None;
                    } else {
                        let chunk = Chunk {
                            term: c.term,
                            last: snapshot.position(),
                            voters: snapshot.voters.clone(),
                            total: snapshot.data.len() as u64,
                            at: *held,
                            data: bytes::Bytes::new(),
                        };
                        c.send(member, Message::Chunk(chunk));
                    }
                }
            }
        }
    }

    pub(super) fn on_chunk_reply(&mut self, c: &mut Common, from: Member, m: &ChunkReply) {
        assert!(m.term == c.term, "others are ignored");
        let Some(progress) = self.progress.get_mut(&from) else {
            return c.ignore(from, "chunk reply", Ignored::Stranger);
        };
        progress.heard = c.now;
        match &mut progress.mode {
            Mode::Snapshot { snapshot, held, sent } if snapshot.position() == m.last => {
                if m.held > snapshot.data.len() as u64 {
                    return c.ignore(from, "chunk reply", Ignored::AckBeyondLog);
                }
                if *held != m.held {
                    *held = m.held;
                    // When it has all, it says so once that is durable.
                    let has_all = m.held == snapshot.data.len() as u64;
                    *sent = has_all.then_some(c.now);
                }
            }
            Mode::Snapshot { .. } | Mode::Probe { .. } | Mode::Replicate { .. } => {
                c.ignore(from, "chunk reply", Ignored::Overtaken);
            }
        }
    }
}

/// Sends one message, if the member's mode allows one. False if there was none to send.
fn send_next(c: &mut Common, member: Member, progress: &mut Progress) -> bool {
    let is_purged = progress.next <= c.log.base().index;
    match &mut progress.mode {
        Mode::Probe { sent: true } => false,
        Mode::Probe { .. } | Mode::Replicate { .. } if is_purged => {
            let snapshot = c.log.snapshot().clone();
            progress.mode = Mode::Snapshot { snapshot, held: 0, sent: None };
            true
        }
        Mode::Probe { sent } => {
            *sent = true;
            send_append(c, member, progress, PROBE_ENTRIES);
            true
        }
        Mode::Replicate { inflight } => {
            let bytes: usize = inflight.iter().map(|(_, bytes)| bytes).sum();
            let may_send =
                inflight.len() < c.settings.inflight_max && bytes < c.settings.inflight_bytes_max;
            let has_news = progress.next <= c.log.last().index;
            let wants_commit = progress.told_commit < c.commit;
            if (has_news && may_send) || wants_commit {
                let count = if may_send { c.settings.append_entries_max } else { 0 };
                send_append(c, member, progress, count);
                return true;
            }
            false
        }
        Mode::Snapshot { sent: Some(_), .. } => false,
        Mode::Snapshot { snapshot, held, sent } => {
            let from = *held as usize;
            let upto = snapshot.data.len().min(from + c.settings.chunk_bytes);
            *sent = Some(c.now);
            let chunk = Chunk {
                term: c.term,
                last: snapshot.position(),
                voters: snapshot.voters.clone(),
                total: snapshot.data.len() as u64,
                at: *held,
                data: snapshot.data.slice(from..upto),
            };
            c.send(member, Message::Chunk(chunk));
            true
        }
    }
}

/// Sends at most `count_max` entries from the next on, or none.
fn send_append(c: &mut Common, member: Member, progress: &mut Progress, count_max: usize) {
    let prev = Index(progress.next.0 - 1);
    let Some(term) = c.log.term_at(prev) else {
        // It was purged since: a snapshot is due.
        return;
    };
    let entries = c.log.range(progress.next, count_max, c.settings.append_bytes_max);
    if let (Mode::Replicate { inflight }, Some(last)) = (&mut progress.mode, entries.last()) {
        inflight.push_back((last.index, entries.iter().map(super::log::Entry::bytes).sum()));
        progress.next = last.index.plus(1);
    }
    progress.told_commit = c.commit;
    let prev = Position { term, index: prev };
    let message = Append { term: c.term, prev, entries, commit: c.commit };
    c.send(member, Message::Append(message));
}
