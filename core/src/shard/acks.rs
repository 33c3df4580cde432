//! WAIT and WAITAOF: a client waits until so many replicas have what it wrote.
//!
//! A write that was answered OK is on every replica in sync, so that mostly there is nothing to wait
//! for; a client waits where it wants more replicas than are in sync, or on one that catches up.
//!
//! What is counted: of each partition that the connection has written to, the replicas other than
//! the leader that are up and have acknowledged what is before the end of its last write there; of
//! those numbers the smallest. A write of which its client was told UNKNOWN is its last one as well.
//! A connection that has written nothing is told how many have all that is committed, in the
//! partition where they are fewest.
//!
//! The leader of the moment counts, whoever led when the write was made: the record of that reign at
//! that offset is the write, in whichever log it is. If the leader's has another one there, or if
//! nobody knows where the write is, nobody has it, and nobody waits for it. Where another node leads,
//! that is asked, again and again while the client waits, at a pace that slows down: a question
//! leaves nothing behind at the leader, so that no answer, link, leader or client that is lost needs
//! to be noticed there.
//!
//! The client's earlier replies leave first, since with them comes the end of what was written; no
//! command behind is taken meanwhile, as in Redis. A node that stops answers with what is so then.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::client::Client;
use super::forward::CALL_MAX;
use super::forward::message::{Message, Wrote};
use super::roles::Role;
use super::{Partition, Shard, Stop};
use crate::kv::{Acked, Acks};
use crate::replication::FollowerStatus;
use crate::{ClientId, Instant, NodeId, Offset, PartitionId};

/// A client that waits.
#[derive(Debug)]
pub(super) struct Pause {
    wants: Acks,
    began: Instant,
    /// When it has waited long enough.
    until: Option<Instant>,
    /// When leaders elsewhere are asked next, and how long after that again.
    again: Instant,
    pace: Duration,
    /// The number of its questions, one for all: what is asked stays the same, and an answer that is
    /// longer under way than the next question takes is true still.
    tag: u64,
    /// What leaders elsewhere have said last.
    told: BTreeMap<PartitionId, Acked>,
    /// The driver was told that nothing more is taken from it.
    noticed: bool,
}

impl Pause {
    /// When it is to be looked at again.
    fn due(&self) -> Instant {
        self.until.map_or(self.again, |until| until.min(self.again))
    }
}

/// How long after the first question the second follows, and the longest between two.
const PACE_MIN: Duration = Duration::from_millis(5);
const PACE_MAX: Duration = Duration::from_millis(80);

/// A timeout above this is none: some hundred years.
const TIMEOUT_MS_MAX: u64 = 1 << 42;

impl Partition {
    /// Those who follow it, if it is led here.
    pub(super) fn followers(&self) -> Vec<FollowerStatus> {
        match &self.role {
            Role::Leader(leader) => leader.status(),
            Role::Alone | Role::Idle | Role::Follower(_) => Vec::new(),
        }
    }

    /// All that is logged.
    fn logged(&self) -> Wrote {
        Wrote { epoch: self.replica.epoch(), end: Some(self.replica.log_end()) }
    }

    /// Whether the write is in the log.
    fn has(&self, Wrote { epoch, end }: Wrote) -> bool {
        let in_log = |end: &Offset| *end <= self.replica.log_end();
        let record = end.filter(in_log).and_then(|end| end.0.checked_sub(1));
        let wrote = record.and_then(|at| self.replica.epochs().of_record(Offset(at)));
        wrote == Some(epoch)
    }
}

impl Shard {
    /// The client is to be answered once it has what it wants, or has waited long enough.
    pub(super) fn pause(&mut self, id: ClientId, wants: Acks) {
        let now = self.now.mono;
        let timeout = Some(wants.timeout_ms).filter(|ms| (1..TIMEOUT_MS_MAX).contains(ms));
        let pause = Pause {
            wants,
            began: now,
            until: timeout.map(|ms| now.after(Duration::from_millis(ms))),
            again: now,
            pace: PACE_MIN,
            tag: self.forwarding.next_tag(),
            told: BTreeMap::new(),
            noticed: false,
        };
        let client = self.clients.get_mut(&id).expect("its command was evaluated just now");
        client.pause = Some(Box::new(pause));
        self.paused.insert(id);
        self.advance_pause(id);
        if let Some(pause) = self.clients.get_mut(&id).and_then(|client| client.pause.as_mut()) {
            pause.noticed = true;
        }
    }

    /// Answers the client if it can be; else asks for what is to be known, if it is time.
    pub(super) fn advance_pause(&mut self, id: ClientId) {
        let now = self.now.mono;
        let ends = self.stop != Stop::No || self.leaving.is_some();
        let Some(client) = self.clients.get(&id) else { return };
        let Some(pause) = &client.pause else { return };
        if client.owes_replies() {
            return;
        }
        let (known, acked) = self.acked(&self.counted(client), &pause.told);
        let is_late = ends || pause.until.is_some_and(|until| now >= until);
        let is_known = known || now >= pause.began.after(CALL_MAX);
        if is_late || is_known && pause.wants.are_met(acked) {
            return self.end_pause(id, acked);
        }
        self.ask_for_acks(id);
    }

    /// Looks at those who wait and whose time it is.
    pub(super) fn tick_pauses(&mut self) {
        let now = self.now.mono;
        if self.pauses_due.is_none_or(|due| due > now) {
            return;
        }
        self.pauses_due = None;
        for id in self.paused.clone() {
            let pause = self.clients.get(&id).and_then(|client| client.pause.as_ref());
            match pause.map(|pause| pause.due()) {
                Some(due) if due > now => self.note_pause_due(due),
                Some(_) | None => self.advance_pause(id),
            }
        }
    }

    fn note_pause_due(&mut self, due: Instant) {
        self.pauses_due = Some(self.pauses_due.map_or(due, |known| known.min(due)));
    }

    pub(super) fn advance_pauses(&mut self) {
        self.pauses_due = None;
        for id in self.paused.clone() {
            self.advance_pause(id);
        }
    }

    /// What is counted for the client: its last write in each partition, or of every one what is
    /// committed.
    fn counted(&self, client: &Client) -> BTreeMap<PartitionId, Option<Wrote>> {
        if client.wrote.is_empty() {
            return (0..self.homes.count()).map(|id| (PartitionId(id), None)).collect();
        }
        client.wrote.iter().map(|(&id, &wrote)| (id, Some(wrote))).collect()
    }

    /// All of this is on so many replicas. Whether all leaders were asked, and if not, the others
    /// count as not having it.
    fn acked(
        &self,
        counted: &BTreeMap<PartitionId, Option<Wrote>>,
        told: &BTreeMap<PartitionId, Acked>,
    ) -> (bool, Acked) {
        let (mut known, mut least) =
            (true, Acked { local: true, replicas: usize::MAX, lost: false });
        for (id, &wrote) in counted {
            let acked = self.count_acked(*id, wrote).or_else(|| told.get(id).copied());
            known &= acked.is_some();
            let Acked { local, replicas, lost } = acked.unwrap_or_default();
            least.local &= local;
            least.replicas = least.replicas.min(replicas);
            least.lost |= lost;
        }
        if counted.is_empty() {
            least.replicas = 0;
        }
        (known, least)
    }

    /// What a transaction is told, which asks nobody: of partitions that are led elsewhere nothing
    /// is known. Who stands in for a client does not know all that it wrote: all that is logged counts.
    pub(super) fn acked_here(&self, id: ClientId) -> Acked {
        let Some(client) = self.clients.get(&id) else { return Acked::default() };
        let mut counted = self.counted(client);
        if client.wrote.is_empty() {
            counted = self
                .partitions
                .iter()
                .filter(|partition| partition.serves())
                .map(|partition| (partition.id, Some(partition.logged())))
                .collect();
        }
        self.acked(&counted, &BTreeMap::new()).1
    }

    /// Who has what was written, or what is committed, if the partition is led here.
    fn count_acked(&self, partition: PartitionId, wrote: Option<Wrote>) -> Option<Acked> {
        let lost = Acked { lost: true, ..Acked::default() };
        let end = match wrote {
            Some(Wrote { end: None, .. }) => return Some(lost),
            Some(Wrote { end: Some(end), .. }) => Some(end),
            None => None,
        };
        let partition = &self.partitions[self.homes.find(partition)?];
        // One who was told of a later reign knows better who leads.
        let is_over = wrote.is_some_and(|wrote| partition.replica.epoch() < wrote.epoch);
        if !partition.serves() || is_over {
            return None;
        }
        if wrote.is_some_and(|wrote| !partition.has(wrote)) {
            return Some(lost);
        }
        let (local, end) = match end {
            Some(end) => (partition.replica.durable_end() >= end, end),
            None => (true, partition.replica.high_watermark()),
        };
        let followers = partition.followers();
        let has_it = |f: &&FollowerStatus| f.acked.is_some_and(|acked| acked >= end);
        let replicas = followers.iter().filter(|f| self.linked.contains(&f.node)).filter(has_it);
        Some(Acked { local, replicas: replicas.count(), lost: false })
    }

    fn ask_for_acks(&mut self, id: ClientId) {
        let now = self.now.mono;
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        let pause = client.pause.as_mut().expect("the caller has looked");
        let is_due = now >= pause.again;
        if is_due {
            pause.again = now.after(pause.pace);
            pause.pace = (pause.pace * 2).min(PACE_MAX);
        }
        let (due, tag) = (pause.due(), pause.tag);
        self.note_pause_due(due);
        if !is_due {
            return;
        }
        let me = self.me();
        let counted = self.counted(&self.clients[&id]);
        let client = self.forwarding.abroad(id);
        for (partition, wrote) in counted {
            let Some((node, _)) = self.route(partition) else { continue };
            let is_known = wrote.is_some_and(|wrote| wrote.end.is_none());
            let is_reached = self.linked.contains(&node) && !self.forwarding.is_clogged(node);
            if node != me && !is_known && is_reached {
                let message = Message::Count { client, tag, partition, wrote };
                self.forwarding.say(me, node, message);
            }
        }
    }

    /// Another node asks who has what was written. One that does not lead the partition, or has much
    /// to send already, says nothing: whoever asked asks again, perhaps another.
    pub(super) fn on_count(
        &mut self,
        from: NodeId,
        (client, tag): (u64, u64),
        partition: PartitionId,
        wrote: Option<Wrote>,
    ) {
        if self.forwarding.is_clogged(from) {
            return;
        }
        if let Some(Acked { local, replicas, lost }) = self.count_acked(partition, wrote) {
            let replicas = u32::try_from(replicas).unwrap_or(u32::MAX);
            let message = Message::Counted { client, tag, partition, local, replicas, lost };
            self.forwarding.say(self.me(), from, message);
        }
    }

    pub(super) fn on_counted(
        &mut self,
        (client, tag): (u64, u64),
        partition: PartitionId,
        acked: Acked,
    ) {
        let id = self.forwarding.at_home(client);
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(pause) = client.pause.as_mut().filter(|pause| pause.tag == tag) else { return };
        pause.told.insert(partition, acked);
        self.advance_pause(id);
    }

    /// Answers a client that waits with what is known now.
    pub(super) fn end_pause_now(&mut self, id: ClientId) {
        let client = &self.clients[&id];
        let pause = client.pause.as_ref().expect("the caller has looked");
        let (_, acked) = self.acked(&self.counted(client), &pause.told);
        self.end_pause(id, acked);
    }

    fn end_pause(&mut self, id: ClientId, acked: Acked) {
        self.paused.remove(&id);
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        let pause = client.pause.take().expect("the caller has looked");
        self.enqueue(id, pause.wants.reply(acked), &[]);
        if pause.noticed {
            self.resume(id);
        }
    }
}
