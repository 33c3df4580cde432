//! WAIT and WAITAOF: a client waits until so many replicas have what it wrote.
//!
//! A write that was answered OK is on every replica in sync, so that mostly there is nothing to wait
//! for; a client waits where it wants more replicas than are in sync, or on one that catches up.
//!
//! What is counted: of each partition that the connection has written to, the replicas other than
//! the leader that are up and have acknowledged what is before the end of its last write there; of those
//! numbers the smallest. A connection that has written nothing is told how many replicas besides
//! the leader are in sync where they are fewest.
//!
//! The leader of the moment counts, whoever led when the write was made: an offset that was committed
//! means the same record to every later leader. Where another node leads, that is asked, again and
//! again while the client waits, at a pace that slows down: a question leaves nothing behind at
//! the leader, so that no answer, link, leader or client that is lost needs to be noticed there.
//!
//! The client's earlier replies leave first, since with them comes the end of what was written; no
//! command behind is taken meanwhile, as in Redis. A node that stops answers with what is so then.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::forward::CALL_MAX;
use super::forward::message::Message;
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
    /// What leaders elsewhere were asked, and what they have said last.
    told: BTreeMap<PartitionId, Told>,
    /// The driver was told that nothing more is taken from it.
    noticed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    tag: u64,
    acked: Option<Acked>,
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
        let (known, acked) = self.acked(&client.wrote, &pause.told);
        let is_late = ends || pause.until.is_some_and(|until| now >= until);
        let is_known = known || now >= pause.began.after(CALL_MAX);
        if is_late || is_known && pause.wants.are_met(acked) {
            return self.end_pause(id, acked);
        }
        self.ask_for_acks(id);
    }

    /// Looks at all who wait, if it is time.
    pub(super) fn tick_pauses(&mut self) {
        if self.pauses_due.is_some_and(|due| due <= self.now.mono) {
            self.advance_pauses();
        }
    }

    pub(super) fn advance_pauses(&mut self) {
        self.pauses_due = None;
        for id in self.paused.clone() {
            self.advance_pause(id);
        }
    }

    /// What is before these ends is on so many replicas. Whether all of them were asked, and if not,
    /// the others count as not having it.
    fn acked(
        &self,
        wrote: &BTreeMap<PartitionId, Offset>,
        told: &BTreeMap<PartitionId, Told>,
    ) -> (bool, Acked) {
        if wrote.is_empty() {
            return (true, Acked { local: true, replicas: self.fewest_in_sync() });
        }
        let (mut known, mut least) = (true, Acked { local: true, replicas: usize::MAX });
        for (&partition, &end) in wrote {
            let abroad = || told.get(&partition).and_then(|told| told.acked);
            let acked = self.count_acked(partition, end).or_else(abroad);
            known &= acked.is_some();
            let Acked { local, replicas } = acked.unwrap_or_default();
            least.local &= local;
            least.replicas = least.replicas.min(replicas);
        }
        (known, least)
    }

    /// What a transaction is told, which asks nobody: of partitions that are led elsewhere nothing
    /// is known.
    pub(super) fn acked_here(&self, id: ClientId) -> Acked {
        self.clients
            .get(&id)
            .map_or_else(Acked::default, |client| self.acked(&client.wrote, &BTreeMap::new()).1)
    }

    /// Who has what is before `end`, if the partition is led here.
    fn count_acked(&self, partition: PartitionId, end: Offset) -> Option<Acked> {
        let partition = &self.partitions[self.homes.find(partition)?];
        if !partition.serves() {
            return None;
        }
        let followers = partition.followers();
        let has_it = |f: &&FollowerStatus| f.acked.is_some_and(|acked| acked >= end);
        let replicas = followers.iter().filter(|f| self.linked.contains(&f.node)).filter(has_it);
        let replicas = replicas.count();
        Some(Acked { local: partition.replica.durable_end() >= end, replicas })
    }

    /// Replicas in sync besides the leader, in the partition that has fewest.
    fn fewest_in_sync(&self) -> usize {
        let Some(view) = &self.cluster else { return 0 };
        let others = view.map.partitions().map(|(_, p)| p.isr.len().saturating_sub(1));
        others.min().unwrap_or(0)
    }

    fn ask_for_acks(&mut self, id: ClientId) {
        let now = self.now.mono;
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        let pause = client.pause.as_mut().expect("the caller has looked");
        let mut due = pause.again;
        let is_due = now >= due;
        if is_due {
            due = now.after(pause.pace);
            pause.again = due;
            pause.pace = (pause.pace * 2).min(PACE_MAX);
        }
        let due = pause.until.map_or(due, |until| until.min(due));
        self.pauses_due = Some(self.pauses_due.map_or(due, |known| known.min(due)));
        if !is_due {
            return;
        }
        let me = self.me();
        for (partition, end) in self.clients[&id].wrote.clone() {
            let Some((node, _)) = self.route(partition) else { continue };
            if node == me || !self.linked.contains(&node) {
                continue;
            }
            let tag = self.forwarding.next_tag();
            let client = self.clients.get_mut(&id).expect("it is there");
            let pause = client.pause.as_mut().expect("it waits");
            pause.told.entry(partition).or_default().tag = tag;
            let client = self.forwarding.abroad(id);
            let message = Message::Count { client, tag, partition, end };
            self.forwarding.say(me, node, message);
        }
    }

    /// Another node asks who has what is before `end`. One that does not lead the partition says
    /// nothing: whoever asked asks again, perhaps another.
    pub(super) fn on_count(
        &mut self,
        from: NodeId,
        (client, tag): (u64, u64),
        partition: PartitionId,
        end: Offset,
    ) {
        if let Some(Acked { local, replicas }) = self.count_acked(partition, end) {
            let replicas = u32::try_from(replicas).unwrap_or(u32::MAX);
            let message = Message::Counted { client, tag, partition, local, replicas };
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
        let Some(pause) = &mut client.pause else { return };
        if let Some(told) = pause.told.get_mut(&partition).filter(|told| told.tag == tag) {
            told.acked = Some(acked);
            self.advance_pause(id);
        }
    }

    /// Answers a client that waits with what is known now.
    pub(super) fn end_pause_now(&mut self, id: ClientId) {
        let client = &self.clients[&id];
        let pause = client.pause.as_ref().expect("the caller has looked");
        let (_, acked) = self.acked(&client.wrote, &pause.told);
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
