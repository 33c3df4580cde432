//! What happened, in words and as JSON, and the eye that sees it: two moments are compared.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::view::{Seen, View};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// The processes of the cluster are started; the load's keys start with `keys`.
    Started { nodes: u32, ports: Vec<u16>, keys: String },
    /// Each partition is led and all its replicas are in sync.
    Whole { after_ms: u64 },
    /// By SIGKILL.
    Killed { node: u32 },
    /// By SIGSTOP.
    Paused { node: u32 },
    /// By SIGCONT.
    Continued { node: u32 },
    /// By SIGTERM; it has not ended yet.
    Stopping { node: u32 },
    /// It ended as it was asked to.
    Stopped { node: u32, after_ms: u64 },
    /// It ended and nobody had asked it to.
    Died { node: u32, how: String, said: String },
    /// Its process is started again.
    Revived { node: u32 },
    /// What was asked for cannot be done.
    Refused { why: String },
    /// The load aims at so many commands a second.
    Load { rate: u32 },
    /// A node controls the cluster.
    Controls { node: u32, term: u64, after_ms: u64 },
    /// A node leads partitions that it did not lead, or not in this epoch.
    Leads { node: u32, partitions: Vec<u32>, epochs: Vec<u64>, after_ms: u64 },
    /// Nobody leads these.
    Offline { partitions: Vec<u32>, after_ms: u64 },
    /// The controller takes the node for dead.
    Fenced { node: u32, after_ms: u64 },
    /// The controller takes the node for alive.
    Active { node: u32, after_ms: u64 },
    /// The node is no longer in sync in some partitions.
    OutOfSync { node: u32, partitions: usize, after_ms: u64 },
    /// It is in sync wherever it has a replica.
    InSync { node: u32, after_ms: u64 },
    /// No write has been acknowledged for a while.
    Stalled { for_ms: u64 },
    /// Writes are acknowledged again.
    GoesOn { after_ms: u64 },
    /// A read gave something else than what was acknowledged.
    Wrong { key: String, read: String },
    /// The script waited in vain.
    GaveUp { waiting_for: String },
    /// The writes of the load are read back.
    Checking { writes: u64 },
    /// Nodes that had to be killed at the end.
    SlowToStop { nodes: Vec<u32> },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { nodes, .. } => write!(f, "{nodes} nodes started"),
            Self::Whole { after_ms } => {
                write!(f, "all partitions led, all replicas in sync{}", After(*after_ms))
            }
            Self::Killed { node } => write!(f, "n{node} killed"),
            Self::Paused { node } => write!(f, "n{node} paused"),
            Self::Continued { node } => write!(f, "n{node} goes on"),
            Self::Stopping { node } => write!(f, "n{node} told to stop"),
            Self::Stopped { node, after_ms } => {
                write!(f, "n{node} stopped cleanly{}", After(*after_ms))
            }
            Self::Died { node, how, said } => write!(f, "n{node} DIED, {how}: {said}"),
            Self::Revived { node } => write!(f, "n{node} started again"),
            Self::Refused { why } => f.write_str(why),
            Self::Load { rate: 0 } => write!(f, "load off"),
            Self::Load { rate } => write!(f, "load aims at {rate} a second"),
            Self::Controls { node, term, after_ms } => {
                write!(f, "n{node} controls in term {term}{}", After(*after_ms))
            }
            Self::Leads { node, partitions, epochs, after_ms } => {
                write!(f, "{}: n{node} leads", Listed(partitions))?;
                if let [epoch] = epochs[..] {
                    write!(f, " in epoch {epoch}")?;
                }
                write!(f, "{}", After(*after_ms))
            }
            Self::Offline { partitions, after_ms } => {
                write!(f, "{}: nobody leads{}", Listed(partitions), After(*after_ms))
            }
            Self::Fenced { node, after_ms } => write!(f, "n{node} fenced{}", After(*after_ms)),
            Self::Active { node, after_ms } => write!(f, "n{node} active{}", After(*after_ms)),
            Self::OutOfSync { node, partitions, after_ms } => {
                write!(f, "n{node} out of sync in {partitions} partitions{}", After(*after_ms))
            }
            Self::InSync { node, after_ms } => {
                write!(f, "n{node} in sync in all its partitions{}", After(*after_ms))
            }
            Self::Stalled { for_ms } => write!(f, "no write acknowledged for {for_ms} ms"),
            Self::GoesOn { after_ms } => {
                write!(f, "writes acknowledged again, after {after_ms} ms without")
            }
            Self::Wrong { key, read } => {
                write!(f, "WRONG: {key} was acknowledged and read as {read}")
            }
            Self::GaveUp { waiting_for } => write!(f, "waited in vain for {waiting_for}"),
            Self::Checking { writes } => {
                write!(f, "reading back {writes} acknowledged writes")
            }
            Self::SlowToStop { nodes } => write!(f, "had to kill {nodes:?}, slow to stop"),
        }
    }
}

/// How long after what was last done to the cluster.
struct After(u64);

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms @ ..=9_999 => write!(f, " after {ms} ms"),
            ms @ ..=60_000 => write!(f, " after {}.{} s", ms / 1_000, ms % 1_000 / 100),
            // It has nothing to do with it any more.
            _ => Ok(()),
        }
    }
}

/// Partitions as people list them.
struct Listed<'a>(&'a [u32]);

/// More than these are counted, not listed.
const LISTED_MAX: usize = 6;

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(LISTED_MAX)];
        for (n, id) in shown.iter().enumerate() {
            write!(f, "{}p{id}", if n > 0 { " " } else { "" })?;
        }
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// What changed in the cluster map, `after_ms` after the last thing that was done to the cluster.
pub(super) fn compare(old: &Seen, new: &Seen, after_ms: u64) -> Vec<Event> {
    let Some(view) = &new.view else { return Vec::new() };
    let nothing = View::default();
    let before = old.view.as_ref().unwrap_or(&nothing);
    let mut events = Vec::new();
    if let Some(node) = view.controller
        && (before.controller, before.term) != (view.controller, view.term)
    {
        events.push(Event::Controls { node, term: view.term, after_ms });
    }
    for node in view.nodes.iter().map(|entry| entry.id) {
        match (before.is_active(node), view.is_active(node)) {
            (true, false) => events.push(Event::Fenced { node, after_ms }),
            (false, true) => events.push(Event::Active { node, after_ms }),
            (true, true) | (false, false) => {}
        }
    }
    leaders(before, view, after_ms, &mut events);
    for node in view.nodes.iter().map(|entry| entry.id) {
        let (was, is) = (before.in_sync(node), view.in_sync(node));
        let replicas = view.partitions.iter().filter(|p| p.replicas.contains(&node)).count();
        // A node that is joining says so once, when it is done.
        if is < was {
            events.push(Event::OutOfSync { node, partitions: was - is, after_ms });
        } else if is > was && is == replicas && !before.partitions.is_empty() {
            events.push(Event::InSync { node, after_ms });
        }
    }
    events
}

/// Who leads what anew: one event a leader.
fn leaders(before: &View, view: &View, after_ms: u64, events: &mut Vec<Event>) {
    let mut led = BTreeMap::<u32, Vec<(u32, u64)>>::new();
    let mut offline = Vec::new();
    for partition in &view.partitions {
        let old = before.partitions.iter().find(|old| old.id == partition.id);
        let same = |old: &super::view::Partition| {
            (old.leader, old.epoch) == (partition.leader, partition.epoch)
        };
        match partition.leader {
            _ if old.is_some_and(same) => {}
            Some(node) => led.entry(node).or_default().push((partition.id, partition.epoch)),
            None if old.is_some_and(|old| old.leader.is_some()) => offline.push(partition.id),
            None => {}
        }
    }
    if !offline.is_empty() {
        events.push(Event::Offline { partitions: offline, after_ms });
    }
    for (node, led) in led {
        let (partitions, epochs) = led.into_iter().unzip();
        events.push(Event::Leads { node, partitions, epochs, after_ms });
    }
}
