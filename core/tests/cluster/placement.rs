//! Placement is even, and keeps replicas apart.

use std::collections::{BTreeMap, BTreeSet};

use kvnode_core::NodeId;
use kvnode_core::cluster::place;
use proptest::prelude::*;

fn spread(counts: impl Iterator<Item = usize>) -> usize {
    let counts: Vec<_> = counts.collect();
    counts.iter().max().expect("nodes") - counts.iter().min().expect("nodes")
}

/// How many replicas and leaders each node has.
fn loads(
    nodes: &[(NodeId, Option<&str>)],
    placed: &[Vec<NodeId>],
) -> BTreeMap<NodeId, (usize, usize)> {
    let mut loads: BTreeMap<_, _> = nodes.iter().map(|&(id, _)| (id, (0, 0))).collect();
    for replicas in placed {
        for id in replicas {
            loads.get_mut(id).expect("a node that was offered").0 += 1;
        }
        loads.get_mut(&replicas[0]).expect("a node that was offered").1 += 1;
    }
    loads
}

fn racked(sizes: &[usize]) -> Vec<(NodeId, Option<&'static str>)> {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    // Ids interleave, as when nodes are added rack by rack in turn.
    let mut nodes: Vec<_> = (0..sizes.iter().copied().max().unwrap_or(0))
        .flat_map(|round| (0..sizes.len()).filter(move |&rack| round < sizes[rack]))
        .zip(1..)
        .map(|(rack, id)| (NodeId(id), Some(NAMES[rack])))
        .collect();
    nodes.sort();
    nodes
}

fn check_apart(
    nodes: &[(NodeId, Option<&str>)],
    placed: &[Vec<NodeId>],
    partitions: u32,
    replicas: u32,
) -> Result<(), TestCaseError> {
    let rack: BTreeMap<_, _> = nodes.iter().copied().collect();
    let racks = nodes.iter().filter_map(|&(_, rack)| rack).collect::<BTreeSet<_>>().len();
    prop_assert_eq!(placed.len(), partitions as usize);
    for set in placed {
        let distinct: BTreeSet<_> = set.iter().collect();
        prop_assert_eq!((set.len(), distinct.len()), (replicas as usize, replicas as usize));
        let used: BTreeSet<_> = set.iter().filter_map(|id| rack[id]).collect();
        prop_assert!(racks == 0 || used.len() == racks.min(replicas as usize), "{:?}", set);
    }
    Ok(())
}

proptest! {
    #[test]
    fn without_racks_loads_differ_by_one_at_most(
        count in 1u32..12,
        replicas in 1u32..6,
        partitions in 1u32..80,
    ) {
        prop_assume!(count >= replicas);
        let nodes: Vec<_> = (1..=count).map(|id| (NodeId(id), None)).collect();
        let placed = place(&nodes, partitions, replicas);
        check_apart(&nodes, &placed, partitions, replicas)?;
        let loads = loads(&nodes, &placed);
        prop_assert!(spread(loads.values().map(|load| load.0)) <= 1, "{:?}", loads);
        prop_assert!(spread(loads.values().map(|load| load.1)) <= 1, "{:?}", loads);
    }

    #[test]
    fn with_equal_racks_loads_differ_by_one_at_most_and_racks_are_spread(
        racks in 1usize..6,
        size in 1usize..5,
        replicas in 1u32..6,
        partitions in 1u32..80,
    ) {
        prop_assume!(racks * size >= replicas as usize);
        let nodes = racked(&vec![size; racks]);
        let placed = place(&nodes, partitions, replicas);
        check_apart(&nodes, &placed, partitions, replicas)?;
        let loads = loads(&nodes, &placed);
        prop_assert!(spread(loads.values().map(|load| load.0)) <= 1, "{:?}", loads);
        prop_assert!(spread(loads.values().map(|load| load.1)) <= 1, "{:?}", loads);
    }

    #[test]
    fn with_unequal_racks_racks_come_before_balance(
        sizes in prop::collection::vec(1usize..5, 1..6),
        replicas in 1u32..6,
        partitions in 1u32..80,
    ) {
        let nodes = racked(&sizes);
        prop_assume!(nodes.len() >= replicas as usize && sizes.len() >= replicas as usize);
        let placed = place(&nodes, partitions, replicas);
        check_apart(&nodes, &placed, partitions, replicas)?;
        let loads = loads(&nodes, &placed);
        // Within a rack all carry the same.
        for name in nodes.iter().filter_map(|&(_, rack)| rack).collect::<BTreeSet<_>>() {
            let of_rack = nodes.iter().filter(|&&(_, rack)| rack == Some(name));
            prop_assert!(spread(of_rack.map(|(id, _)| loads[id].0)) <= 1, "{:?}", loads);
        }
        prop_assert!(spread(loads.values().map(|load| load.1)) <= 1, "{:?}", loads);
    }
}

#[test]
fn three_nodes_share_eight_partitions() {
    let nodes: Vec<_> = (1..=3).map(|id| (NodeId(id), None)).collect();
    let placed = place(&nodes, 4, 2);
    let placed: Vec<Vec<u32>> =
        placed.iter().map(|set| set.iter().map(|id| id.0).collect()).collect();
    assert_eq!(placed, [[1, 2], [3, 1], [2, 3], [1, 2]]);
}

#[test]
fn the_largest_cluster_is_placed_at_once() {
    let nodes: Vec<_> = (1..=64).map(|id| (NodeId(id), None)).collect();
    let placed = place(&nodes, 1024, 7);
    let loads = loads(&nodes, &placed);
    assert!(loads.values().all(|&load| load == (112, 16)), "{loads:?}");
}
