//! A snapshot on its way in, piece by piece.
//!
//! A piece counts only where the last one ended; every piece is answered with how much there is, so
//! that the leader goes on from there after a loss. Two leaders may write the same state in
//! different bytes, so that what one has sent is dropped when another takes over.

use alloc::vec::Vec;

use bytes::Bytes;

use super::common::Common;
use super::follower::Follower;
use super::ignored::Ignored;
use super::log::{Position, Snapshot};
use super::message::{Chunk, ChunkReply, Message};
use super::voters::Voters;
use crate::Member;

/// What has come of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Incoming {
    last: Position,
    voters: Voters,
    total: u64,
    data: Vec<u8>,
}

impl Incoming {
    fn new(m: &Chunk) -> Self {
        Self { last: m.last, voters: m.voters.clone(), total: m.total, data: Vec::new() }
    }

    /// How much there is, in bytes from the start.
    pub(super) fn held(&self) -> u64 {
        self.data.len() as u64
    }
}

impl Follower {
    pub(super) fn on_chunk(&mut self, c: &mut Common, from: Member, m: Chunk) {
        let last = m.last;
        if last.index <= c.commit || c.log.term_at(last.index) == Some(last.term) {
            // All that the snapshot covers is here, entry by entry.
            self.incoming = None;
            self.matched = self.matched.max(last.index);
            c.commit_to(last.index.min(self.matched));
            return self.owe(c);
        }
        if last.index <= self.matched {
            return c.ignore(from, "chunk", Ignored::Contradiction);
        }
        if self.incoming.as_ref().is_some_and(|incoming| incoming.last.index > last.index) {
            return c.ignore(from, "chunk", Ignored::Overtaken);
        }
        let is_same = |incoming: &Incoming| incoming.last == last && incoming.total == m.total;
        let mut incoming =
            self.incoming.take().filter(is_same).unwrap_or_else(|| Incoming::new(&m));
        if m.at == incoming.held() {
            incoming.data.extend_from_slice(&m.data);
        }
        assert!(incoming.held() <= incoming.total, "a piece ends within its snapshot");
        let held = incoming.held();
        let reply = ChunkReply { term: c.term, last, held };
        c.answer(from, Message::ChunkReply(reply));
        if held < incoming.total {
            self.incoming = Some(incoming);
            return;
        }
        let Incoming { voters, data, .. } = incoming;
        c.install(Snapshot { index: last.index, term: last.term, voters, data: Bytes::from(data) });
        // The leader is told when it is durable.
        self.matched = last.index;
    }
}
