//! Whoever enters an in-sync set is active then, in its present life (DESIGN §4; KIP-841).

use kvnode_core::cluster::{Command, Map};

use super::Found;

/// The map before and after a command.
pub(crate) fn check(before: &Map, command: &Command, after: &Map) -> Option<Found> {
    if let Command::AlterPartition(alter) = command
        && before.partition(alter.partition) != after.partition(alter.partition)
        && let Some(life) = alter
            .isr
            .iter()
            .find(|life| before.node(life.node).is_none_or(|node| node.life() != **life))
    {
        return Some(("in-sync set", format!("{life} is named, and is over")));
    }
    for (id, partition) in after.partitions() {
        let old = before.partition(id);
        for seat in &partition.isr {
            let life = seat.life;
            let had = old.and_then(|old| old.seat(life.node));
            if had.is_some_and(|had| had.life == life && had.directory == seat.directory) {
                continue;
            }
            let node = after.node(life.node);
            let of_now = node.is_some_and(|node| {
                node.life() == life && node.registration.directory == seat.directory
            });
            // A node that registers anew with its directory takes its seat along, fenced as it is.
            let carried = matches!(command, Command::Register(r) if r.node == life.node)
                && had.is_some_and(|had| had.directory == seat.directory);
            let active = before.is_active(life) || after.is_active(life);
            if !of_now || !(active || carried) {
                let text = format!("{life} enters the in-sync set of {id} fenced or stale");
                return Some(("in-sync set", text));
            }
        }
    }
    None
}

/// What a node may say of itself.
#[cfg(test)]
pub(crate) fn forge_registration(node: u32) -> kvnode_core::cluster::Registration {
    kvnode_core::cluster::Registration {
        node: kvnode_core::NodeId(node),
        directory: kvnode_core::DirectoryId(node.into()),
        nonce: 1,
        clean: true,
        peer: "p:1".to_owned(),
        client: "c:1".to_owned(),
        rack: None,
        version: "1".to_owned(),
        features: kvnode_core::cluster::Features { min: 1, max: 1 },
    }
}

#[cfg(test)]
mod tests {
    use kvnode_core::cluster::{AlterPartition, Founding, Life, PartitionEpoch};
    use kvnode_core::{ClusterId, Epoch, Incarnation, Index, NodeId, PartitionId};

    use super::*;

    /// Two active nodes with a partition; the second was then fenced.
    fn fenced() -> Map {
        let founding = Founding {
            cluster: ClusterId(1),
            level: 1,
            partitions: 1,
            replication_factor: 2,
            min_isr: 1,
            expected: [NodeId(1), NodeId(2)].into(),
        };
        let life = |node, at| Life { node: NodeId(node), incarnation: Incarnation(at) };
        let commands = [
            Command::Found(founding),
            Command::Register(forge_registration(1)),
            Command::Register(forge_registration(2)),
            Command::Unfence(life(1, 2)),
            Command::Unfence(life(2, 3)),
            Command::CreatePartitions(vec![vec![NodeId(1), NodeId(2)]]),
            Command::Fence(life(2, 3)),
        ];
        let mut map = Map::new();
        for (at, command) in (1..).zip(&commands) {
            map.apply(Index(at), command).expect("it may");
        }
        map
    }

    #[test]
    fn a_fenced_node_in_the_in_sync_set_is_seen() {
        let fenced = fenced();
        let mut before = fenced.clone();
        let back = Life { node: NodeId(2), incarnation: Incarnation(3) };
        before.apply(Index(8), &Command::Unfence(back)).expect("it may");
        let version = before.partition(PartitionId(0)).expect("placed").partition_epoch;
        let alter = Command::AlterPartition(AlterPartition {
            partition: PartitionId(0),
            leader: NodeId(1),
            epoch: Epoch(1),
            partition_epoch: version,
            isr: vec![Life { node: NodeId(1), incarnation: Incarnation(2) }, back],
        });
        let mut after = before.clone();
        after.apply(Index(9), &alter).expect("it may");
        assert_eq!(check(&before, &alter, &after), None);
        // The same change on a map on which it is fenced, forged by its bytes: the standing alone.
        assert_eq!(version, PartitionEpoch(1));
        let forged = forge(&after, &fenced);
        assert!(check(&fenced, &alter, &forged).is_some());
        let mut stale = alter.clone();
        if let Command::AlterPartition(alter) = &mut stale {
            alter.isr[1].incarnation = Incarnation(2);
        }
        assert!(check(&before, &stale, &after).is_some(), "an earlier life is named");
    }

    /// `seats` with the nodes of `nodes`, by way of the encoding.
    fn forge(seats: &Map, nodes: &Map) -> Map {
        let mut value = serde_json::to_value(seats).expect("plain data");
        value["nodes"] = serde_json::to_value(nodes).expect("plain data")["nodes"].clone();
        serde_json::from_value(value).expect("plain data")
    }
}
