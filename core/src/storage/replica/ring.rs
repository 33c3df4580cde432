//! The last writes, in memory: what followers that keep up are served from.
//!
//! A write enters when it is handed to the disk, as the bytes that the disk gets, and leaves when
//! later ones need its room. A long write is held in pieces, so that a place in it is found without
//! walking over all of it. Nothing is copied, but for short writes that a follower has fallen behind
//! with: they are put together, or it would fsync each by itself and never catch up.
//!
//! Invariants:
//! - Pieces follow each other without a gap; the last one ends at the end of what was handed to the
//!   disk.
//! - At most [`REPLICATION_RING_BYTES`] are held, and the write in flight, whose bytes the disk holds
//!   anyway.

use alloc::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{Chunk, Replica};
use crate::Offset;
use crate::limits::{REPLICATION_JOIN_BYTES, REPLICATION_PIECE_BYTES, REPLICATION_RING_BYTES};
use crate::storage::record;

/// See the module's header.
#[derive(Debug, Default)]
pub(super) struct Ring {
    pieces: VecDeque<Chunk>,
    bytes: usize,
    /// Pieces of the write in flight.
    flying: usize,
}

impl Ring {
    /// A write of the records from the first offset up to the second was handed to the disk.
    pub(super) fn push(&mut self, (base, end): (Offset, Offset), write: &Bytes) {
        assert!(self.pieces.back().is_none_or(|last| last.end == base));
        self.flying = 0;
        let (mut base, mut rest) = (base, write.clone());
        while rest.len() > REPLICATION_PIECE_BYTES {
            let (at, next) = boundary(&rest, REPLICATION_PIECE_BYTES);
            if at == rest.len() {
                break;
            }
            self.add(Chunk { base, end: next, records: rest.split_to(at) });
            base = next;
        }
        self.add(Chunk { base, end, records: rest });
        self.shrink(self.flying);
    }

    /// The last write has come back: it stays only where there is room.
    pub(super) fn trim(&mut self) {
        self.shrink(0);
    }

    /// The log ends here.
    pub(super) fn cut(&mut self, from: Offset) {
        while let Some(last) = self.pieces.pop_back_if(|piece| piece.end > from) {
            self.bytes -= last.records.len();
        }
    }

    fn add(&mut self, piece: Chunk) {
        self.bytes += piece.records.len();
        self.flying += 1;
        self.pieces.push_back(piece);
    }

    fn shrink(&mut self, kept: usize) {
        while self.bytes > REPLICATION_RING_BYTES && self.pieces.len() > kept {
            let oldest = self.pieces.pop_front().expect("it has pieces");
            self.bytes -= oldest.records.len();
        }
    }

    fn get(&self, from: Offset, bytes_max: usize) -> Option<Chunk> {
        let at = self.pieces.partition_point(|piece| piece.end <= from);
        let piece = self.pieces.get(at).filter(|piece| piece.base <= from)?;
        let (mut base, mut records) = (piece.base, piece.records.clone());
        // A gap may begin before `from` and end behind it: the reader makes another one.
        while base < from {
            let (offset, len) = record::glance(&records);
            records = records.slice(len..);
            base = if records.is_empty() { piece.end } else { record::glance(&records).0 };
            assert!(offset < base, "records follow each other");
        }
        if base != from {
            return None;
        }
        if records.len() <= bytes_max {
            let chunk = Chunk { base, end: piece.end, records };
            return Some(self.join(chunk, at + 1, bytes_max.min(REPLICATION_JOIN_BYTES)));
        }
        let (at, next) = boundary(&records, bytes_max);
        let end = if at == records.len() { piece.end } else { next };
        Some(Chunk { base, end, records: records.slice(..at) })
    }

    /// The chunk, and as many of the pieces from `at` on behind it as fit.
    fn join(&self, chunk: Chunk, at: usize, bytes_max: usize) -> Chunk {
        let (mut end, mut bytes, mut count) = (chunk.end, chunk.records.len(), 0);
        for piece in self.pieces.range(at..) {
            if bytes + piece.records.len() > bytes_max {
                break;
            }
            (end, bytes, count) = (piece.end, bytes + piece.records.len(), count + 1);
        }
        if count == 0 {
            return chunk;
        }
        let mut records = BytesMut::with_capacity(bytes);
        records.extend_from_slice(&chunk.records);
        for piece in self.pieces.range(at..at + count) {
            records.extend_from_slice(&piece.records);
        }
        Chunk { base: chunk.base, end, records: records.freeze() }
    }
}

impl Replica {
    /// The records from `from` on, of at most `bytes_max` bytes (or one, if that is longer), as they
    /// stand in the log; `None` if they are not in memory. Only below
    /// [`shippable_end`](Self::shippable_end) is there anything.
    pub fn recent(&self, from: Offset, bytes_max: usize) -> Option<Chunk> {
        // On disk a tombstone of what the ring still holds may be gone: who has taken the one from
        // here and the other from there would keep what was deleted.
        if from < self.tombstone_horizon {
            return None;
        }
        self.ring.get(from, bytes_max)
    }
}

/// The end of the last record that ends within so many bytes, or else of the first one, and the
/// offset of the record that stands there, if one does.
fn boundary(records: &Bytes, bytes_max: usize) -> (usize, Offset) {
    let (_, mut at) = record::glance(records);
    // Each turn passes a record.
    while at < records.len() {
        let (offset, len) = record::glance(&records[at..]);
        if at + len > bytes_max {
            return (at, offset);
        }
        at += len;
    }
    (at, Offset(u64::MAX))
}
