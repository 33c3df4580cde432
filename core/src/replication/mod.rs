//! Replication of one partition among its replicas: in-sync replicas, as pure machines.
//!
//! # The protocol
//!
//! The cluster map names one *leader* and a set of replicas that are *in sync* (ISR). The leader
//! alone appends, and ships its log as it is. A record is *committed* once every replica in sync
//! acknowledges it, so whoever of them leads next has it; that is why N replicas survive N-1
//! failures, and why the map, which says who is in sync, must itself be decided by a quorum
//! ([`cluster`](crate::cluster)).
//!
//! ```text
//!   follower                                   leader
//!     │ ◀──────────────────── Lead ──────────────│   I lead: a nudge
//!     │── Follow{round, last epoch, end} ───────▶│   does my log hold that epoch, up to that end?
//!     │ ◀──────────── Common{epoch, end} ────────│   no: so far we may agree
//!     │ cuts there, durably, and asks again      │
//!     │── Follow{round+1, …} ───────────────────▶│   yes
//!     │ ◀──────── Append{base = end, beat} ──────│   matched: from here on the watermark counts
//!     │ ◀──────── Append{base, records} ─────────│   pipelined
//!     │── Ack{end, beat and time echoed} ───────▶│   acknowledged, and a promise
//!     │                                          │   watermark = smallest end over the maximal ISR
//! ```
//!
//! A role is a type: [`Leader`] and [`Follower`], made when the map names a reign and dropped when it
//! names another. A message of another reign is given to neither. A [`Round`] is one session; the
//! answer to an earlier request is known by it and ignored.
//!
//! # Rules
//!
//! **The maximal ISR.** A change of the ISR is asked of the controller, and its outcome is known only
//! when the map shows it. Until then whoever may be in sync is counted: the ISR of the map, and all
//! who were proposed against its version (KIP-497). A refusal proves nothing: it may come from a
//! controller that was replaced, while its successor accepts. What proves is the map: the partition
//! stands at another version, or the one proposed has begun another life.
//!
//! **The watermark** is the smallest acknowledged end over the maximal ISR. It moves forward only,
//! only while the ISR of the map has min-ISR members, and not before all promises that this node
//! gave to earlier leaders have run out, or are void ([`Promises`]). An epoch's first commit covers the record that began it: to
//! commit less would be safe here, unlike in Raft, since whoever is elected is in sync and not merely
//! as up to date as a majority; but then a leader had two kinds of first commit, and would serve
//! after neither or both.
//!
//! **Divergence.** A log that has followed another leader may hold what no one committed. It agrees
//! with the leader's up to the end of the last epoch that both hold, in the one that ends it sooner.
//! One question may not find it, so it is asked until the log's end is one that the leader's has
//! (KIP-279). A follower never cuts at its own watermark: that lags behind what it has acknowledged
//! (KIP-101). It takes the leader's watermark only after its log has matched.
//!
//! **Catching up.** A log that ends below the leader's tombstone horizon would keep what dropped
//! tombstones had deleted: it begins again from zero. No tombstone is dropped that a session has not
//! come past for good, nor for some minutes when its link is broken, so that it goes on where it was.
//!
//! **Joining.** A replica enters when it acknowledges all that is committed and the record that began
//! the leader's epoch: the leader may not know how much was committed before it, but all of that is
//! before this record (KIP-966 tells of the losses otherwise). It must be active in the life that
//! acknowledges (KIP-841). Whoever waits out a promise admits nobody, for who is admitted has
//! perhaps given none.
//!
//! **Leaving.** Who has not caught up for `replica_lag_max`, was fenced, or began another life. To
//! have caught up at a time is to have acknowledged what the leader's log had then.
//!
//! **Reads.** Nobody else can have committed anything if, since the read came, every other member of
//! the maximal ISR has said that it follows this reign still (*confirmation*), for the next leader is
//! one of them; or if each has promised to commit nothing as a leader, and the promises last
//! (*lease*). A leader alone in its maximal ISR needs neither. A promise runs by the clock of the one
//! who gives it, from when it takes a message; the leader counts it from when it sent that message,
//! and shorter by the drift.
//!
//! # Invariants
//!
//! - What is before the watermark of any replica is in the log of every later leader, the same.
//! - Two logs with a record of one offset and epoch are the same up to there.
//! - Every member of the maximal ISR has acknowledged what is before the leader's watermark.
//! - A watermark never goes back within a reign.
//! - A replica in sync is never told to begin again from zero: it leaves the set first.
//!
//! An operator's word may put a replica in charge that was not in sync. Then the first and the third
//! hold from that reign on; a follower that cuts below its own watermark says so.
//!
//! # What it is not
//!
//! It neither stores nor reads: of the log it knows a few numbers ([`LogState`]), and records pass
//! through it unread. An atomic batch may travel in several chunks, but a part of one is not
//! acknowledged: a restart cuts it off. So the watermark never stops inside a batch.
//!
//! # Sources
//!
//! Lin et al., *PacificA: Replication in Log-Based Distributed Storage Systems*, 2008. Kafka:
//! KIP-101 and KIP-279 (epochs instead of watermarks for truncation), KIP-497 (AlterPartition and
//! the maximal ISR), KIP-841 (fenced replicas stay out), KIP-966 (what an ISR loses and when). Gray
//! and Cheriton, *Leases*, 1989. Ongaro's dissertation §6.4 for reads that ask first.

pub mod follower;
mod ignored;
pub mod leader;
mod message;
mod promises;
mod settings;

use crate::Offset;
use crate::storage::epochs::Epochs;

pub use follower::Follower;
pub use ignored::Ignored;
pub use leader::{FollowerStatus, Leader, ReadWait, TooFew};
pub use message::{Envelope, Message, Round};
pub use promises::Promises;
pub use settings::{ReadMode, Settings};

/// What the machines know of the replica's log.
#[derive(Clone, Copy, Debug)]
pub struct LogState<'a> {
    /// Which reign wrote what.
    pub epochs: &'a Epochs,
    /// The end of what has been handed to the disk: of a leader, what may be shipped; of a follower,
    /// the log end.
    pub end: Offset,
    /// The first offset that this replica does not store yet: durable where every write is fsynced,
    /// else written. It may be within an atomic batch.
    pub stored: Offset,
    /// The first offset that it does not acknowledge yet: as far as it stores whole batches.
    pub acked: Offset,
    /// This replica's high watermark.
    pub watermark: Offset,
    /// Tombstones before this offset may be missing.
    pub tombstone_horizon: Offset,
}

impl LogState<'_> {
    fn assert_sound(self) {
        assert!(self.acked <= self.stored, "what is acknowledged is stored");
        assert!(self.stored <= self.end, "what is stored is in the log");
    }
}

/// Why a machine is to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// When to say something to a follower.
    Beat,
    /// When to ask again on behalf of reads.
    Confirm,
    /// When a follower in sync has lagged too long.
    Lag,
    /// When to ask for another chunk after one failed.
    Ship,
    /// When to propose again what was refused.
    Alter,
    /// When the promises given to earlier leaders have run out.
    Promise,
    /// When to ask the leader, or to ask again.
    Follow,
}
