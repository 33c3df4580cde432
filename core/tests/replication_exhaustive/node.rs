//! One replica with its clock, and what can happen to it.

use std::time::Duration;

use kvnode_core::cluster::{AlterPartition, Life, Map, Refusal};
use kvnode_core::replication::{Envelope, ReadMode, ReadWait, Settings};
use kvnode_core::{Instant, NodeId};

use super::replica::{Effects, Replica, Role};

/// A replica as the search sees it. Times are counted in steps of the search.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) replica: Replica,
    pub(crate) now: Instant,
}

/// What can happen to one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// A message of the network, by number.
    Deliver(u32),
    /// It takes the newest map.
    Map,
    /// It is asked to write.
    Write(u8),
    /// What it has written is durable.
    Durable,
    /// The cut is done.
    Cut,
    /// It is asked to read.
    Read,
    /// Its link to this node breaks and comes up again.
    Relink(NodeId),
    /// It is told that a proposal of its own was refused, by number.
    Refused(u32),
    /// Nothing happens for so long that whoever has not caught up is late.
    Late,
    /// A step of time.
    Elapse,
    /// Its deadline is due.
    Tick,
    /// It stops and starts again in a new life.
    Crash(Life),
    /// The same, with nothing in its log.
    Lose(Life),
}

/// What an event needs besides the replica.
pub(crate) struct With<'a> {
    pub(crate) map: &'a Map,
    pub(crate) letter: Option<(NodeId, Envelope)>,
    pub(crate) alter: Option<AlterPartition>,
}

pub(crate) fn settings(reads: ReadMode) -> Settings {
    Settings {
        lease: Duration::from_nanos(2),
        drift: u32::MAX,
        reads,
        replica_lag_max: LATE,
        beat_every: Duration::from_nanos(1),
        retry: Duration::from_nanos(100),
        inflight_chunks: 2,
        chunk_bytes: 8,
        ..Settings::default()
    }
}

const LATE: Duration = Duration::from_nanos(3);

impl Node {
    /// How often it has asked, and one.
    pub(crate) fn rounds(&self) -> u32 {
        match &self.replica.role {
            Role::Follower(_, _, machine) => machine.next_round(),
            Role::Leader(..) | Role::None => self.replica.next_round,
        }
    }

    /// What happens to the replica, or none if this can not happen to it now.
    pub(crate) fn step(
        &mut self,
        event: Event,
        with: With<'_>,
    ) -> Option<(Effects, Option<ReadWait>)> {
        let (now, replica) = (self.now, &mut self.replica);
        let effects = match event {
            Event::Deliver(_) => {
                let (from, envelope) = with.letter.expect("a delivery has a message");
                replica.on_message(now, from, envelope)
            }
            Event::Map => {
                if replica.applied == with.map.applied() || replica.cutting.is_some() {
                    return None;
                }
                replica.on_map(now, with.map)
            }
            Event::Write(payload) => replica.write(now, u32::from(payload))?,
            Event::Durable => {
                if replica.durable == replica.log.len() || replica.cutting.is_some() {
                    return None;
                }
                replica.on_durable(now)
            }
            Event::Cut => {
                replica.cutting?;
                replica.on_cut(now)
            }
            Event::Read => {
                let (wait, effects) = replica.read(now)?;
                return Some((effects, Some(wait)));
            }
            Event::Relink(node) => {
                let mut effects = replica.on_link(now, node, false);
                let more = replica.on_link(now, node, true);
                effects.sent.extend(more.sent);
                effects.alters.extend(more.alters);
                effects.violation = effects.violation.or(more.violation);
                effects
            }
            Event::Refused(_) => {
                let alter = with.alter.expect("a refusal is of a proposal");
                replica.leads().filter(|&epoch| epoch == alter.epoch)?;
                replica.on_refused(now, &alter, Refusal::Fenced(replica.id()))
            }
            Event::Late => {
                replica.leads()?;
                self.now = now.after(LATE);
                replica.on_tick(self.now)
            }
            Event::Elapse => {
                self.now = now.after(Duration::from_nanos(1));
                Effects::default()
            }
            Event::Tick => {
                replica.deadline().filter(|&at| at <= now)?;
                replica.on_tick(now)
            }
            Event::Crash(life) => {
                replica.restart(now, life, usize::MAX);
                Effects::default()
            }
            Event::Lose(life) => {
                replica.restart(now, life, 0);
                Effects::default()
            }
        };
        Some((effects, None))
    }
}
