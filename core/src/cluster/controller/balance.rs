//! Leaders go back to where they were placed.
//!
//! The first of a partition's replicas is its preferred leader, and the placement spreads these
//! evenly over the nodes. A node that was away leads nothing when it comes back, so that after some
//! restarts the last one to stay up would lead everything. Therefore a partition whose preferred
//! leader could lead it, without a demerit and for [`Settings::balance_after`] on end, is given
//! back to it, as by an operator's hand: one partition after the other, each a pause of
//! milliseconds. (Kafka: `auto.leader.rebalance.enable`.)

use alloc::collections::BTreeMap;
use alloc::format;

use super::super::command::Right;
use super::super::map::Map;
use super::super::words::{Life, Partition};
use super::Controller;
use crate::shard::Severity;
use crate::{Now, PartitionId};

#[cfg(doc)]
use super::Settings;

/// How many times it is looked at while a preferred leader proves itself, at least.
const LOOKS: u32 = 4;

impl Controller {
    /// Gives a partition back that is due.
    pub(super) fn balance(&mut self, now: Now, map: &Map) {
        let Some(after) = self.settings.balance_after else { return };
        self.balance_at = Some(now.mono.after((after / LOOKS).min(self.settings.session_timeout)));
        let mut away = BTreeMap::new();
        for (id, partition) in map.partitions() {
            let Some(life) = self.may_take_back(now, map, id, partition) else { continue };
            let known = self.away.get(&id).filter(|(known, _)| *known == life);
            let since = known.map_or(now.mono, |&(_, since)| since);
            away.insert(id, (life, since));
        }
        self.away = away;
        let due = self.away.iter().find(|(_, (_, since))| now.mono >= since.after(after));
        if let Some((&id, &(life, _))) = due
            && !self.elections_under_way()
        {
            let text = format!("{id} goes back to {}, its preferred leader", life.node);
            self.notice(Severity::Info, text);
            self.propose_leader(now, map, id, life.node, Right::InSync);
        }
    }

    /// The preferred leader, if another node leads and nothing speaks against the change.
    fn may_take_back(
        &self,
        now: Now,
        map: &Map,
        id: PartitionId,
        partition: &Partition,
    ) -> Option<Life> {
        let &preferred = partition.replicas.first()?;
        let leader = partition.leader.filter(|&leader| leader != preferred)?;
        if !self.is_alive(leader) || !self.is_alive(preferred) {
            return None;
        }
        let demerits = self.demerits(now, id, preferred)?;
        let ready = map.is_electable(partition, preferred) && demerits.are_none();
        ready.then(|| map.node(preferred).map(|node| node.life())).flatten()
    }
}
