//! What people and clients are shown: what the cluster survives, and who serves which slots.
//!
//! An acknowledged write is on every replica in sync, so it survives the loss of all of them but
//! one, as long as the controller quorum lives to let that one lead. Writes go on while as many
//! replicas as min-ISR are in sync. A node may be a voter and hold replicas of every partition, so
//! the failures that come next are taken to be the worst ones: the cluster survives as many as the
//! weakest of these does.
//!
//! Only replicas in sync that are active count. One that is fenced holds its data, and will count
//! again once it is back.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::controller::Request;
use super::map::Map;
use super::remedy::{Remedy, remedy};
use super::words::{Partition, SlotRange};
use crate::{NodeId, PartitionId};

/// The controller quorum, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// Voters.
    pub voters: usize,
    /// Voters that are there.
    pub alive: usize,
}

impl Quorum {
    /// Voters that may go further; none if too many have gone.
    pub fn survives(self) -> Option<usize> {
        self.alive.checked_sub(self.voters / 2 + 1)
    }
}

/// What one partition survives, while a controller quorum lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survival {
    /// Active replicas in sync.
    pub in_sync: usize,
    /// Further node failures through which acknowledged writes survive and somebody can lead; none
    /// if nobody leads or can now.
    pub failures: Option<usize>,
    /// Further node failures through which writes go on as well; none if they are refused now.
    pub writes: Option<usize>,
}

/// See [`Survival`].
pub fn survival(map: &Map, partition: &Partition) -> Survival {
    let active = |node| map.is_electable(partition, node);
    let in_sync = partition.isr.iter().filter(|seat| active(seat.life.node)).count();
    Survival {
        in_sync,
        failures: in_sync.checked_sub(1),
        writes: in_sync.checked_sub(map.min_isr()).filter(|_| in_sync > 0),
    }
}

/// What keeps the cluster from surviving more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The voters of the quorum.
    Quorum(Quorum),
    /// The replicas in sync of this partition, so many.
    InSync(PartitionId, usize),
}

/// The state of the cluster in a line: its `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What the cluster does as a whole.
    pub health: Health,
    /// Partitions of which acknowledged writes may be missing.
    pub doubtful: Vec<PartitionId>,
}

/// What the cluster does as a whole; the first that applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// There is nothing to survive yet.
    NotPlaced,
    /// Too few voters are there: who leads goes on, but nobody can be elected.
    NoQuorum(Quorum),
    /// These partitions have no replica in sync that is there; and what helps the first of them that
    /// does not come back by itself.
    Offline(Vec<PartitionId>, Option<Remedy>),
    /// All partitions are there, and survive.
    Survives {
        /// So many further node failures.
        failures: usize,
        /// What keeps it from being more.
        limit: Limit,
        /// Further node failures through which every partition takes writes; none if one refuses
        /// them now.
        writes: Option<usize>,
        /// The in-sync replicas that writes need.
        min_isr: usize,
        /// Partitions that refuse writes now.
        refusing: Vec<PartitionId>,
    },
}

/// The state of the cluster.
pub fn summary(map: &Map, quorum: Quorum) -> Summary {
    let doubtful = map.partitions().filter(|(_, p)| p.doubt.is_some()).map(|(id, _)| id).collect();
    Summary { health: health(map, quorum), doubtful }
}

fn health(map: &Map, quorum: Quorum) -> Health {
    let survivals: Vec<_> = map.partitions().map(|(id, p)| (id, survival(map, p))).collect();
    let Some(&(weakest, least)) = survivals.iter().min_by_key(|(_, s)| s.in_sync) else {
        return Health::NotPlaced;
    };
    let Some(quorum_survives) = quorum.survives() else { return Health::NoQuorum(quorum) };
    let those = |which: fn(&Survival) -> bool| -> Vec<PartitionId> {
        survivals.iter().filter(|(_, s)| which(s)).map(|&(id, _)| id).collect()
    };
    let Some(in_sync_survives) = least.failures else {
        let offline = those(|s| s.failures.is_none());
        let remedy = offline.iter().find_map(|&id| remedy(map, id));
        return Health::Offline(offline, remedy);
    };
    let limit = match in_sync_survives <= quorum_survives {
        true => Limit::InSync(weakest, least.in_sync),
        false => Limit::Quorum(quorum),
    };
    Health::Survives {
        failures: in_sync_survives.min(quorum_survives),
        limit,
        writes: least.writes.map(|writes| writes.min(quorum_survives)),
        min_isr: map.min_isr(),
        refusing: those(|s| s.writes.is_none()),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.health)?;
        let Some(&first) = self.doubtful.first() else { return Ok(()) };
        let accept = Request::AcceptLoss(first);
        write!(
            f,
            "; acknowledged writes of {} may be missing; to take note of it: kvnode cluster {accept}",
            Listed(&self.doubtful)
        )
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPlaced => write!(f, "no partitions yet: not enough nodes have come"),
            Self::NoQuorum(Quorum { voters, alive }) => write!(
                f,
                "no controller quorum: {alive} of {voters} voters are there, so nobody can be \
                 elected"
            ),
            Self::Offline(ids, remedy) => {
                write!(f, "offline: {}, since no replica in sync is there", Listed(ids))?;
                match remedy {
                    Some(remedy) if ids.len() > 1 => {
                        write!(f, "; for {}: {remedy}", remedy.partition)
                    }
                    Some(remedy) => write!(f, "; {remedy}"),
                    None => Ok(()),
                }
            }
            Self::Survives { failures, limit, writes, min_isr, refusing } => {
                write!(f, "every partition survives {} ({limit})", Failures(*failures))?;
                match writes {
                    Some(writes) if writes == failures => write!(f, "; so do writes"),
                    Some(0) => write!(f, "; writes do not (min-ISR {min_isr})"),
                    Some(writes) => {
                        write!(f, "; writes survive {writes} (min-ISR {min_isr})")
                    }
                    None => {
                        write!(f, "; no writes to {} (min-ISR {min_isr})", Listed(refusing))
                    }
                }
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quorum(Quorum { voters, alive }) => {
                write!(f, "the quorum has {alive} of {voters} voters")
            }
            Self::InSync(partition, count) => write!(f, "{partition} has {count} in sync"),
        }
    }
}

/// Failures as people count them.
struct Failures(usize);

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => write!(f, "no further node failure"),
            1 => write!(f, "1 further node failure"),
            n => write!(f, "{n} further node failures"),
        }
    }
}

/// Partitions as people list them: the first few, and how many more.
pub(super) struct Listed<'a>(pub(super) &'a [PartitionId]);

/// More than these are counted, not listed.
const LISTED_MAX: usize = 5;

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(LISTED_MAX)];
        for (n, id) in shown.iter().enumerate() {
            write!(f, "{}{id}", if n > 0 { ", " } else { "" })?;
        }
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Who serves a run of slots, as `CLUSTER SLOTS` and `CLUSTER SHARDS` tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotsEntry {
    /// The slots.
    pub slots: SlotRange,
    /// Their partition.
    pub partition: PartitionId,
    /// Who leads it.
    pub leader: Option<NodeId>,
    /// Its replicas, the leader first.
    pub replicas: Vec<Place>,
}

/// A node that holds a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// Where clients reach it, `host:port`.
    pub client: String,
    /// Whether it is a full member at present.
    pub active: bool,
}

/// All slots, in order.
pub fn slots(map: &Map) -> Vec<SlotsEntry> {
    let place = |id: &NodeId| {
        let node = map.node(*id).expect("replicas are registered");
        Place { node: *id, client: node.registration.client.clone(), active: node.is_active() }
    };
    let entry = |(partition, p): (PartitionId, &Partition)| {
        let mut replicas: Vec<_> = p.replicas.iter().map(place).collect();
        replicas.sort_by_key(|place| Some(place.node) != p.leader);
        SlotsEntry { slots: p.slots, partition, leader: p.leader, replicas }
    };
    map.partitions().map(entry).collect()
}
