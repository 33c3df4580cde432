//! READONLY: reads from the replica at hand, although another node leads.
//!
//! A connection that has said READONLY takes what may be old for not having to ask another node.
//! Its reads by key are evaluated here if this node has, of each partition that they are about, the
//! leader or a follower that may be shown. The leader answers as always. A follower answers with
//! what it knows to be committed, which is behind what its leader has acknowledged. Everything else
//! is forwarded as usual: writes, transactions, WATCH and what comes after it, and what names no key
//! (KEYS, DBSIZE and RANDOMKEY are about all partitions; a cursor of SCAN means something to the
//! index of one replica alone).
//!
//! # Which follower may be shown
//!
//! One whose committed log is a state that the partition was in ([`Partition::shows`]):
//! - Its log matches its leader's, and it has heard of it lately: what it shows is all that the
//!   leader knew to be committed when it sent what came last, at most `replica_lag_max` ago and the
//!   time that it was on its way.
//! - Its watermark has come to the leader's own as of then. A follower that catches up over compacted
//!   segments is sent no value that was overwritten since, so that it goes through states that
//!   never were.
//! - Its watermark is beyond the record that began the reign, and so beyond all that earlier leaders
//!   have committed; and beyond all that was in the log when it was opened, since that is in the
//!   keydir, committed or not.
//!
//! # What is promised
//!
//! For each key, on one connection: only committed values, never a part of a batch, never an older
//! state of a partition than one that was read before, and always the connection's own writes. The
//! last two hold because an answer of a leader carries its watermark, behind which the connection
//! is shown nothing of the partition; and because no restart brings a replica that may be shown behind
//! what it has shown. Nothing is promised between partitions, nor between connections.
//!
//! # Expiry
//!
//! A follower tells that a key has expired only by the clock that is committed, and that it is live
//! only if its own clock says so too, whichever is later. In between it does not know: the leader is
//! asked, which commits the clock before it answers. So a key that was seen expired never comes back,
//! and none is shown that is expired by the clock of this node.

use super::evaluate::Fetched;
use super::roles::Role;
use super::{Partition, Shard};
use crate::args::Args;
use crate::{ClientId, Instant, kv};

impl Partition {
    /// Whether it is followed here and what is committed may be shown; see the module's header.
    pub(super) fn shows(&self, now: Instant) -> bool {
        let follower = match &self.role {
            Role::Follower(follower) => follower,
            Role::Alone | Role::Idle | Role::Leader(_) => return false,
        };
        let replica = &self.replica;
        let shown = replica.high_watermark();
        replica.serving()
            && !self.cutting
            && follower.told(now).is_some_and(|told| shown >= told)
            && shown >= replica.applied()
            && replica
                .epochs()
                .last()
                .is_some_and(|(epoch, start)| epoch == follower.epoch() && shown > start)
    }
}

impl Shard {
    /// Whether the client's command is a read that replicas of this node may answer.
    pub(super) fn reads_nearby(&self, id: ClientId, command: &kv::Command, args: Args<'_>) -> bool {
        let client = &self.clients[&id];
        if !client.session.reads_nearby()
            || client.watching.is_some()
            || !command.flags.has(kv::Flags::READONLY)
        {
            return false;
        }
        let shown = |key: &[u8]| {
            let Some(at) = self.homes.at(key) else { return false };
            let partition = &self.partitions[at];
            let known = || partition.replica.high_watermark() >= client.seen(partition.id);
            // What is under way to the leader comes first.
            !client.abroad.contains_key(&partition.id)
                && (partition.serves() || partition.shows(self.now.mono) && known())
        };
        let mut keys = command.keys(args);
        keys.next().is_some_and(shown) && keys.all(shown)
    }

    /// Evaluates such a read. Where a replica turns out not to know, the leaders are asked.
    pub(super) fn run_nearby(&mut self, id: ClientId, args: Args<'_>, fetched: &Fetched) {
        self.run(id, args, fetched, true);
    }
}
