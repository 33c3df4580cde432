//! Where replicas go: evenly over nodes, spread over racks, leaders evenly over nodes.
//!
//! Replica by replica, partition by partition: of the racks that this partition uses least, the one
//! that has the least to carry for its size; in it, the node that has the least. A node without a
//! rack is a rack of its own. Racks come before balance: with at least as many racks as replicas no
//! two replicas of a partition share one, and where racks are of unequal size the nodes of a small
//! one carry more. Among racks of equal size, or without racks, loads differ by one at most.
//!
//! Preferred leaders are then chosen so that every node leads as many partitions as any other, or
//! one less, as far as the replicas allow: whoever leads two more than somebody else hands a
//! leadership on along a chain of partitions that share replicas.
//!
//! Equal arguments give equal placements.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;

use crate::NodeId;

/// The replicas of each partition, the preferred leader first. `nodes` are distinct, at least
/// `replicas` many.
pub fn place(nodes: &[(NodeId, Option<&str>)], partitions: u32, replicas: u32) -> Vec<Vec<NodeId>> {
    assert!(replicas > 0 && nodes.len() >= replicas as usize);
    let racks = racks(nodes);
    let mut rack_load = vec![0u32; racks.len()];
    let mut node_load = vec![0u32; nodes.len()];
    let mut placed: Vec<Vec<usize>> = Vec::with_capacity(partitions as usize);
    for _ in 0..partitions {
        let mut chosen: Vec<usize> = Vec::with_capacity(replicas as usize);
        for _ in 0..replicas {
            let used = |rack: usize| racks[rack].iter().filter(|n| chosen.contains(n)).count();
            let full = |rack: usize| used(rack) == racks[rack].len();
            let rack = (0..racks.len())
                .filter(|&rack| !full(rack))
                .min_by(|&a, &b| {
                    // Load a/size against load b/size, without division.
                    let load = |x: usize, y: usize| rack_load[x] as usize * racks[y].len();
                    used(a).cmp(&used(b)).then(load(a, b).cmp(&load(b, a))).then(a.cmp(&b))
                })
                .expect("there are as many nodes as replicas");
            let free = racks[rack].iter().copied().filter(|node| !chosen.contains(node));
            let node = free.min_by_key(|&node| node_load[node]).expect("the rack is not full");
            rack_load[rack] += 1;
            node_load[node] += 1;
            chosen.push(node);
        }
        placed.push(chosen);
    }
    let leaders = spread_leaders(&placed, nodes.len());
    let named = |(chosen, leader): (Vec<usize>, usize)| {
        let rest = chosen.into_iter().filter(|&node| node != leader);
        core::iter::once(leader).chain(rest).map(|node| nodes[node].0).collect()
    };
    placed.into_iter().zip(leaders).map(named).collect()
}

/// The positions of the nodes of each rack, in the order of the first of them.
fn racks(nodes: &[(NodeId, Option<&str>)]) -> Vec<Vec<usize>> {
    let mut racks: Vec<Vec<usize>> = Vec::new();
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    for (position, (_, rack)) in nodes.iter().enumerate() {
        let known = rack.and_then(|name| named.get(name).copied());
        let index = known.unwrap_or(racks.len());
        if known.is_none() {
            racks.push(Vec::new());
            if let Some(name) = rack {
                named.insert(name, index);
            }
        }
        racks[index].push(position);
    }
    racks
}

/// Who leads each partition.
fn spread_leaders(placed: &[Vec<usize>], nodes: usize) -> Vec<usize> {
    let mut load = vec![0u32; nodes];
    let mut leaders = Vec::with_capacity(placed.len());
    for chosen in placed {
        let leader = chosen.iter().copied().min_by_key(|&node| load[node]);
        let leader = leader.expect("every partition has a replica");
        load[leader] += 1;
        leaders.push(leader);
    }
    // Each chain that is found levels a difference of two or more, so there are at most as many as
    // there are leaderships.
    for _ in 0..placed.len() {
        let mut busiest: Vec<usize> = (0..nodes).collect();
        busiest.sort_by_key(|&node| (core::cmp::Reverse(load[node]), node));
        let chain = busiest.into_iter().find_map(|from| chain(placed, &leaders, &load, from));
        let Some(chain) = chain else { break };
        for (partition, to) in chain {
            load[leaders[partition]] -= 1;
            load[to] += 1;
            leaders[partition] = to;
        }
    }
    leaders
}

/// The shortest way on which `from` can hand a leadership on to a node that leads two less: each
/// step a partition and who takes it over.
fn chain(
    placed: &[Vec<usize>],
    leaders: &[usize],
    load: &[u32],
    from: usize,
) -> Option<Vec<(usize, usize)>> {
    let mut reached_by: Vec<Option<(usize, usize)>> = vec![None; load.len()];
    let mut queue = VecDeque::from([from]);
    while let Some(node) = queue.pop_front() {
        for partition in (0..placed.len()).filter(|&partition| leaders[partition] == node) {
            for &next in &placed[partition] {
                if next == from || reached_by[next].is_some() {
                    continue;
                }
                reached_by[next] = Some((node, partition));
                if load[next] + 2 <= load[from] {
                    return Some(walk_back(&reached_by, from, next));
                }
                queue.push_back(next);
            }
        }
    }
    None
}

fn walk_back(reached_by: &[Option<(usize, usize)>], from: usize, to: usize) -> Vec<(usize, usize)> {
    let mut steps = Vec::new();
    let mut node = to;
    while node != from {
        let (before, partition) = reached_by[node].expect("it was reached");
        steps.push((partition, node));
        node = before;
    }
    steps
}
