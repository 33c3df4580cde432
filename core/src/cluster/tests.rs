//! Each invariant sees the map that breaks it.

use alloc::string::String;
use alloc::vec;

use super::*;
use crate::{ClusterId, DirectoryId, Epoch, Incarnation, Index, NodeId, PartitionId};

const P0: PartitionId = PartitionId(0);

fn registration(node: u32) -> Registration {
    Registration {
        node: NodeId(node),
        directory: DirectoryId(u128::from(node)),
        nonce: 1,
        clean: true,
        peer: "p:1".into(),
        client: "c:1".into(),
        rack: None,
        version: String::new(),
        features: Features { min: 1, max: 1 },
    }
}

/// Two partitions on three members.
fn map() -> Map {
    let mut map = Map::new();
    let founding = Founding {
        cluster: ClusterId(1),
        level: 1,
        partitions: 2,
        replication_factor: 3,
        min_isr: 2,
        expected: [NodeId(1)].into(),
    };
    let mut commands = vec![Command::Found(founding)];
    commands.extend((1..4).map(|node| Command::Register(registration(node))));
    commands.extend(
        (1..4)
            .map(|n| Life { node: NodeId(n), incarnation: Incarnation(1 + u64::from(n)) })
            .map(Command::Unfence),
    );
    let replicas = vec![NodeId(1), NodeId(2), NodeId(3)];
    commands.push(Command::CreatePartitions(vec![replicas.clone(), replicas]));
    for (index, command) in (1..).map(Index).zip(&commands) {
        map.apply(index, command).expect("it fits");
    }
    map.check();
    map
}

fn forged(forge: impl FnOnce(&mut Map)) -> Option<Violation> {
    let mut map = map();
    forge(&mut map);
    map.violation()
}

fn forged_partition(forge: impl FnOnce(&mut Partition)) -> Option<Violation> {
    forged(|map| forge(&mut map.partitions[0]))
}

#[test]
fn forged_maps_are_seen() {
    use Violation as V;
    assert_eq!(forged(|_| ()), None);
    assert_eq!(forged(|map| map.founding = None), Some(V::Unfounded));
    assert_eq!(forged(|map| _ = map.partitions.pop()), Some(V::Partitions));
    assert_eq!(forged(|map| map.level = 2), Some(V::Registration(NodeId(1))));
    assert_eq!(forged(|map| map.applied = Index(1)), Some(V::Incarnation(NodeId(1))));
    let one_life = |map: &mut Map| {
        let first = map.nodes[&NodeId(1)].incarnation;
        map.nodes.get_mut(&NodeId(2)).expect("a member").incarnation = first;
    };
    assert_eq!(forged(one_life), Some(V::Incarnation(NodeId(2))));
}

#[test]
fn forged_partitions_are_seen() {
    use Violation as V;
    assert_eq!(forged_partition(|p| p.slots.last += 1), Some(V::Slots(P0)));
    assert_eq!(forged_partition(|p| p.replicas[1] = p.replicas[0]), Some(V::Replicas(P0)));
    assert_eq!(forged_partition(|p| p.replicas.push(NodeId(9))), Some(V::Replicas(P0)));
    assert_eq!(forged_partition(|p| p.isr.clear()), Some(V::Isr(P0)));
    assert_eq!(forged_partition(|p| p.isr.swap(0, 1)), Some(V::Isr(P0)));
    assert_eq!(forged_partition(|p| _ = p.replicas.pop()), Some(V::Isr(P0)));
    assert_eq!(forged_partition(|p| _ = p.last_isr.pop()), Some(V::LastIsr(P0)));
    assert_eq!(forged_partition(|p| p.isr[1].whole = false), Some(V::Seat(P0)));
    let past = |p: &mut Partition| p.isr[1].life.incarnation = Incarnation(1);
    assert_eq!(forged_partition(past), Some(V::Seat(P0)));
    assert_eq!(forged_partition(|p| _ = p.isr.remove(0)), Some(V::Leader(P0)));
    let fenced = |map: &mut Map| {
        map.nodes.get_mut(&NodeId(1)).expect("a member").standing = Standing::Fenced;
    };
    assert_eq!(forged(fenced), Some(V::Leader(P0)));
}

#[test]
fn forged_histories_are_seen() {
    use Violation as V;
    let before = map();
    let after = |forge: &dyn Fn(&mut Map)| {
        let mut map = before.clone();
        forge(&mut map);
        map.violation_after(&before)
    };
    let second_leader: &dyn Fn(&mut Map) = &|map| {
        map.partitions[0].leader = Some(NodeId(2));
        map.partitions[0].partition_epoch = PartitionEpoch(1);
    };
    assert_eq!(after(&|_| ()), None);
    assert_eq!(after(second_leader), Some(V::Epoch(P0)), "one epoch, two leaders");
    assert_eq!(after(&|map| map.partitions[0].epoch = Epoch(0)), Some(V::Epoch(P0)));
    assert_eq!(after(&|map| map.partitions[0].leader = None), Some(V::PartitionEpoch(P0)));
    assert_eq!(after(&|map| _ = map.partitions.pop()), Some(V::Founding));
    let back = |map: &mut Map| {
        map.nodes.get_mut(&NodeId(3)).expect("a member").incarnation = Incarnation(1);
    };
    assert_eq!(after(&back), Some(V::Incarnation(NodeId(3))));
}

#[test]
#[should_panic(expected = "entry i8 after i8")]
fn an_entry_is_applied_once() {
    map().pass(Index(8));
}

#[test]
fn commands_and_snapshots_of_another_format_are_refused() {
    let map = map();
    let mut bytes = map.encode();
    assert_eq!(Map::decode(&bytes), Ok(map));
    bytes.push(0);
    assert!(Map::decode(&bytes).is_err(), "something behind it");
    bytes.pop();
    bytes[0] += 1;
    assert!(Map::decode(&bytes).is_err(), "a later format");
    assert!(Map::decode(&[]).is_err());
    let mut command = Command::Unregister(NodeId(1)).encode();
    command.push(0);
    assert!(Command::decode(&command).is_err());
    assert!(Command::decode(&[99]).is_err());
}
