//! The founding and the first placement.
//!
//! Partitions are placed once: when all nodes that the founding expects are there, or when enough
//! of them have been there for the grace.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

use super::super::command::Command;
use super::super::map::Map;
use super::super::placement::place;
use super::Controller;
use super::proposals::Key;
use super::sessions::Session;
use crate::shard::Severity;
use crate::{NodeId, Now};

impl Controller {
    pub(super) fn found_and_place(&mut self, now: Now, map: &Map) {
        let Some(founding) = map.founding() else {
            let command = Command::Found(self.settings.founding.clone());
            // Under way already.
            let _ = self.propose(now, Key::Found, command);
            return;
        };
        if map.partitions().next().is_some() {
            self.placeable_since = None;
            return;
        }
        let here = self.placeable(map);
        if here.len() < founding.replication_factor as usize {
            self.placeable_since = None;
            return;
        }
        let since = *self.placeable_since.get_or_insert(now.mono);
        let missing: Vec<NodeId> =
            founding.expected.iter().copied().filter(|node| !here.contains(node)).collect();
        let over = now.mono >= since.after(self.settings.placement_grace);
        if !(missing.is_empty() || over) || self.is_under_way(Key::Place) {
            return;
        }
        for node in missing {
            let text = format!("partitions are placed without {node}: it has not come");
            self.notice(Severity::Warn, text);
        }
        let racks = |&id: &NodeId| (id, map.node(id).and_then(|n| n.registration.rack.as_deref()));
        let nodes: Vec<_> = here.iter().map(racks).collect();
        let assignments = place(&nodes, founding.partitions, founding.replication_factor);
        // Too much is under way: it is tried again with the next event.
        let _ = self.propose(now, Key::Place, Command::CreatePartitions(assignments));
    }

    /// Nodes that can take replicas.
    fn placeable(&self, map: &Map) -> BTreeSet<NodeId> {
        let ready = |session: &&Session| session.is_alive() && !session.is_stopping();
        let active = map.nodes().filter(|(_, node)| node.is_active()).map(|(id, _)| id);
        active.filter(|id| self.sessions.get(id).filter(ready).is_some()).collect()
    }
}
