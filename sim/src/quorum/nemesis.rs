//! What the nemesis does to a cluster alone: whom it aims at, whom it spares, what it asks.

use kvnode_core::cluster::controller::Request;

use super::errands;
use crate::chance::Chance;
use crate::disk::{Doom, Strike, Unsynced};
use crate::lock;
use crate::nemesis::Nemesis;
use crate::node::NodeEvent;
use crate::plan::{Fault, Way};
use crate::replication::atlas::{Part, may_lose as may_lose_data};
use crate::story::{Kind, Lane};

impl Nemesis {
    fn is_cluster(&self) -> bool {
        self.world.settings.profile.has_control()
    }

    /// A fault that is aimed at the controller meets whoever that is now, or who leads a partition, or
    /// anybody.
    pub(crate) fn aim_at_controller(&self, fault: Fault) -> Fault {
        if !self.is_cluster() {
            return fault;
        }
        let nodes = self.world.settings.nodes;
        let leaders = lock(&self.world.replicas).leaders();
        let controller = match leaders.is_empty() || self.chance().percent(50) {
            true => lock(&self.world.watch).controller(),
            false => Some(self.chance().pick(&leaders)),
        };
        let node = controller.unwrap_or_else(|| 1 + self.chance().below(nodes.into()) as u32);
        fault.aimed(node, nodes)
    }

    /// Whether the fault may happen, by the [atlas](super::atlas). What may damage a disk counts as
    /// its loss from now on.
    pub(crate) fn spares(&self, fault: Fault) -> bool {
        if !self.is_cluster() {
            return true;
        }
        let (node, part, damages) = match fault {
            Fault::Wipe { node, .. } => (node, Part::All, false),
            Fault::LoseLog { node, .. } => (node, Part::Logs, true),
            Fault::Rot { node }
            | Fault::BadSector { node }
            | Fault::Strike {
                node,
                strike:
                    Strike::LostWrite
                    | Strike::MisdirectedWrite
                    | Strike::MisdirectedRead
                    | Strike::Read,
            } => (node, Part::All, true),
            Fault::Cut { from, to, .. } | Fault::Flap { from, to, .. } => return from != to,
            Fault::Kill { .. }
            | Fault::Power { .. }
            | Fault::Restart { .. }
            | Fault::Pause { .. }
            | Fault::Jump { .. }
            | Fault::Drift { .. }
            | Fault::Swizzle { .. }
            | Fault::Loss { .. }
            | Fault::Lag { .. }
            | Fault::Split { .. }
            | Fault::Flip { .. }
            | Fault::Roll { .. }
            | Fault::Ask
            | Fault::Hunt { .. }
            | Fault::Reset { .. }
            | Fault::Strike { .. }
            | Fault::Spot { .. }
            | Fault::Full { .. }
            | Fault::SlowDisk { .. }
            | Fault::Stall { .. } => return true,
        };
        let may = {
            let (watch, atlas) = (lock(&self.world.watch), lock(&self.world.atlas));
            let voters = watch.voters();
            // Before the founding damage on every disk would count as the loss of all voters.
            let is_founded = voters.is_some() || !damages;
            let is_intact = |node| !atlas.is_lost_of(node);
            is_founded
                && !self.world.may_take_away()
                && atlas.may_lose(self.world.settings.nodes, node, voters)
                && may_lose_data(&lock(&self.world.replicas), watch.map(), (node, part), is_intact)
        };
        if may && damages {
            self.lose_disk(node);
        }
        may
    }

    /// A disk is lost, or as good as that.
    pub(crate) fn lose_disk(&self, node: u32) {
        lock(&self.world.atlas).lose_of(node);
    }

    /// Who can not use its disk gets an empty one, if it was damaged. If not, it refuses without need.
    pub(crate) fn replace_disk(&self, node: u32, why: &str) {
        if !self.is_cluster() || !(why.contains("damaged") || why.contains("gone")) {
            return;
        }
        if !lock(&self.world.atlas).is_lost_of(node) {
            let text = format!("n{node} refuses a disk that no fault has damaged: {why}");
            self.world.violation("false alarm", text);
        }
        self.world.tell(Lane::Node(node), Kind::Nemesis, node, || {
            format!("n{node} gets an empty disk in the place of a damaged one")
        });
        self.wipe(node);
    }

    fn wipe(&self, node: u32) {
        self.disk(node, |disk| disk.empty());
        lock(&self.world.replicas).emptied(node);
        lock(&self.world.atlas).emptied(node);
    }

    /// Whether the node writes while it follows nobody: mostly its vote.
    pub(crate) fn is_voting(&self, node: u32) -> bool {
        let follows_nobody = lock(&self.world.watch)
            .node(node)
            .is_some_and(|seen| seen.is_member && seen.leader.is_none());
        follows_nobody && self.disk(node, |disk| disk.writes())
    }

    /// The links from one side to the other.
    pub(crate) fn across(&self, side: u32, way: Way) -> Vec<(Lane, Lane)> {
        let nodes = 1..=self.world.settings.nodes;
        let within = |id: &u32| side & 1 << id != 0;
        let (inner, outer): (Vec<u32>, Vec<u32>) = nodes.partition(within);
        let mut links = Vec::new();
        for &a in &inner {
            for &b in &outer {
                let (a, b) = (Lane::Node(a), Lane::Node(b));
                if way != Way::In {
                    links.push((a, b));
                }
                if way != Way::Out {
                    links.push((b, a));
                }
            }
        }
        links
    }

    /// An operator asks the controller for something, by way of any node.
    pub(crate) fn ask(&self) {
        let mut chance = self.chance();
        let node = 1 + chance.below(self.world.settings.nodes.into()) as u32;
        self.ask_of(node, &mut chance);
    }

    /// The same by way of this node, whether it is the controller or not.
    pub(super) fn ask_of(&self, node: u32, chance: &mut Chance) {
        let mut watch = lock(&self.world.watch);
        let request = errands::draw(watch.map(), self.world.settings.nodes, chance);
        let is_unclean = matches!(request, Request::ElectUnclean(..));
        if is_unclean && self.world.settings.profile.has_shard() {
            // It may lose what is committed, by intention.
            return;
        }
        if let Request::Reassign(partition, replicas) = &request
            && self.world.settings.profile.has_shard()
        {
            // The last to have what is committed stays.
            let data = lock(&self.world.replicas);
            if !replicas.iter().any(|node| data.holds_committed(node.0, *partition)) {
                return;
            }
            self.world.takes_away();
        }
        let id = watch.operator();
        self.world.tell(Lane::Node(node), Kind::Call, (id, format!("{request:?}")), || {
            format!("is asked for {request:?}")
        });
        self.mailboxes.post(node, NodeEvent::Request(id, request));
    }

    /// Power is lost, whether a process runs there or not.
    pub(crate) fn cut_power(&self, node: u32, unsynced: Unsynced) {
        if self.world.is_up(node) {
            self.fell(node, Doom::Power(unsynced));
        }
    }
}
