//! What operators ask of the controller while the run is under way: mostly something that can be done,
//! now and then something that can not.

use kvnode_core::cluster::Map;
use kvnode_core::cluster::controller::Request;
use kvnode_core::{NodeId, PartitionId};

use crate::chance::Chance;

/// A request, for this map.
pub(crate) fn draw(map: &Map, nodes: u32, chance: &mut Chance) -> Request {
    let node = NodeId(1 + chance.below(nodes.into()) as u32);
    let partitions: Vec<PartitionId> = map.partitions().map(|(id, _)| id).collect();
    let Some(&partition) = partitions.get(chance.index(partitions.len().max(1))) else {
        return Request::SetFeature(2);
    };
    let held = map.partition(partition).expect("it was listed");
    match chance.below(10) {
        0..3 => Request::MoveLeader(partition, chance.pick(&held.replicas)),
        3..6 => {
            let count = held.replicas.len();
            let mut all: Vec<NodeId> = map.nodes().map(|(id, _)| id).collect();
            let mut replicas: Vec<NodeId> = held.leader.into_iter().collect();
            all.retain(|id| !replicas.contains(id));
            while replicas.len() < count && !all.is_empty() {
                replicas.push(all.swap_remove(chance.index(all.len())));
            }
            Request::Reassign(partition, replicas)
        }
        6 => Request::Unregister(node),
        7 => {
            let offline = map.partitions().find(|(_, p)| p.leader.is_none()).map(|(id, _)| id);
            Request::ElectUnclean(offline.unwrap_or(partition), chance.pick(&held.replicas))
        }
        8 => {
            let doubtful = map.partitions().find(|(_, p)| p.doubt.is_some()).map(|(id, _)| id);
            Request::AcceptLoss(doubtful.unwrap_or(partition))
        }
        _ => Request::SetFeature(chance.of(1..3) as u32),
    }
}
