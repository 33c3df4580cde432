//! What a leader tells its owner of itself.

use alloc::vec::Vec;

use super::Leader;
use crate::cluster::Life;
use crate::{Epoch, Instant, NodeId, Offset};

/// Too few replicas are in sync to take writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{isr} in-sync replicas, {min_isr} are needed")]
pub struct TooFew {
    /// Replicas in sync.
    pub isr: usize,
    /// As many as are needed.
    pub min_isr: usize,
}

/// A follower as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FollowerStatus {
    /// The follower.
    pub node: NodeId,
    /// What it acknowledges, if it follows.
    pub acked: Option<Offset>,
    /// Offsets of the leader's log that it does not acknowledge yet, if it follows.
    pub lag: Option<u64>,
    /// Whether it is in the in-sync set of the map.
    pub in_sync: bool,
    /// When it last had all that the leader had then.
    pub caught_up: Instant,
}

impl Leader {
    /// Its reign.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Everything before this offset is committed.
    pub fn watermark(&self) -> Offset {
        self.watermark
    }

    /// Whether enough replicas are in sync to take writes.
    pub fn writable(&self) -> Result<(), TooFew> {
        let (isr, min_isr) = (self.isr.committed().len(), self.isr.min_isr());
        if isr >= min_isr { Ok(()) } else { Err(TooFew { isr, min_isr }) }
    }

    /// No tombstone at or behind this offset may be dropped while a follower catches up, or may do so
    /// again soon.
    pub fn retain(&self) -> Offset {
        let sessions = self.followers.values().filter_map(|progress| progress.session.as_ref());
        let kept = sessions.filter(|session| session.is_kept(self.now));
        kept.map(|session| session.held()).fold(self.watermark, Offset::min)
    }

    /// Every follower, by node.
    pub fn status(&self) -> Vec<FollowerStatus> {
        let one = |(&node, progress): (&NodeId, &super::Progress)| {
            let acked = progress.session.as_ref().and_then(|session| session.acked);
            let has_seat = |life: &Life| life.node == node;
            FollowerStatus {
                node,
                acked,
                lag: acked.map(|acked| self.log.end.0 - acked.0),
                in_sync: self.isr.committed().iter().any(has_seat),
                caught_up: progress.caught_up,
            }
        };
        self.followers.iter().map(one).collect()
    }
}
