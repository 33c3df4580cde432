//! What should have happened by now.
//!
//! - While a majority of the voters is well and fully connected, whatever the others are, then within
//!   a bound a majority of all voters follows one leader (Raft §5.2; dissertation §6.2 and §9.6: a
//!   leader that a majority can not reach is replaced).
//! - As long as that goes on, the term does not grow: nobody deposes a leader that is well followed
//!   (dissertation §4.2.3 and §9.6).
//! - While that goes on, a node that is down is fenced within a bound (DESIGN §4).
//! - A leader that hears from no majority for the longest election timeout has stepped down
//!   ([`heard`](super::checkers::heard)).
//! - A while after the end of all faults every node is an active member, all follow one leader, all
//!   voters are there, and every partition is led.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kvnode_core::election::Role;
use kvnode_core::{NodeId, Term};
use madsim::time::sleep;

use super::checkers::Found;
use super::watch::Watch;
use crate::lock;
use crate::settings::Settings;
use crate::story::Lane;
use crate::world::World;

/// How often it is looked.
const LOOK_MS: u64 = 100;

/// How much later than it should a leader may step down: it looks at its clock when a timer is due.
const UNHEARD_SLOP: Duration = Duration::from_millis(50);

/// Since when what is so.
#[derive(Default)]
struct Monitor {
    /// Since when a node was well, and two nodes were connected, in ns; absent if they are not.
    well: BTreeMap<u32, u64>,
    lives: BTreeMap<u32, u64>,
    connected: BTreeMap<(u32, u32), u64>,
    down: BTreeMap<u32, u64>,
    /// When a majority last followed a leader, in ns.
    followed_ns: u64,
    /// Of a majority that is well, and follows one of its own: who, the term, since when.
    calm: Option<(Vec<u32>, Term, u64)>,
    told: bool,
}

/// How long a well connected majority may be without a leader, in ns.
pub(crate) fn bound_ns(settings: &Settings) -> u64 {
    let quorum = &settings.quorum;
    let links = &quorum.links;
    let link = links.dial_max + links.retry_max + links.silent_max;
    // A disk answers within a pace's span, and an election writes twice.
    let disk = Duration::from_nanos(settings.pace.max_ns) * 8;
    let bound = link * 2 + quorum.election.election_max * 10 + disk + Duration::from_secs(1);
    bound.as_nanos() as u64
}

/// Watches until the run ends.
pub(super) async fn monitor(world: Arc<World>) {
    let mut monitor = Monitor::default();
    loop {
        sleep(Duration::from_millis(LOOK_MS)).await;
        let found = monitor.look(&world);
        world.found(found);
    }
}

impl Monitor {
    fn look(&mut self, world: &World) -> Option<Found> {
        let now_ns = world.now_ns();
        let watch = lock(&world.watch);
        self.update(world, &watch, now_ns);
        if let Some(found) = self.unheard(world, &watch, now_ns) {
            return Some(found);
        }
        let (voters, is_settled) = watch.voters()?;
        let ids: Vec<u32> = voters
            .iter()
            .filter(|voter| watch.node(voter.node.0).is_some_and(|seen| seen.me == Some(*voter)))
            .map(|voter| voter.node.0)
            .collect();
        let bound_ns = bound_ns(&world.settings);
        let long = |since: Option<&u64>| since.is_some_and(|since| now_ns - since >= bound_ns);
        let mut well = subsets(&ids, voters.quorum());
        well.retain(|subset| {
            subset.iter().all(|node| long(self.well.get(node)))
                && pairs(subset).all(|pair| long(self.connected.get(&pair)))
        });
        let followed =
            subsets(&ids, voters.quorum()).iter().any(|some| followed(&watch, some).is_some());
        if followed || well.is_empty() || !is_settled {
            self.told = false;
        }
        if followed {
            self.followed_ns = now_ns;
        } else if let Some(majority) = well.first().filter(|_| is_settled)
            && now_ns - self.followed_ns >= bound_ns
            && !std::mem::replace(&mut self.told, true)
        {
            let ms = (now_ns - self.followed_ns) / 1_000_000;
            let text = format!(
                "nodes {majority:?} are well connected, and no leader was followed for {ms} ms"
            );
            return Some(("liveness", text));
        }
        self.stays(world, &watch, &well, now_ns)
    }

    /// A leader that hears from no majority, though its process and its clock go on.
    fn unheard(&self, world: &World, watch: &Watch, now_ns: u64) -> Option<Found> {
        let patience = world.settings.quorum.election.election_max + UNHEARD_SLOP;
        let goes_on = |node: &u32| {
            let since = self.well.get(node);
            since.is_some_and(|since| now_ns - since >= UNHEARD_SLOP.as_nanos() as u64)
        };
        let nodes = (1..=world.settings.nodes).filter(goes_on);
        let mut found =
            nodes.filter_map(|node| watch.unheard(node, world.node_now(node).mono, patience));
        found.next()
    }

    /// A leader that is well stays one as long as a majority with it is well.
    fn stays(
        &mut self,
        world: &World,
        watch: &Watch,
        well: &[Vec<u32>],
        now_ns: u64,
    ) -> Option<Found> {
        if let Some((majority, before, since_ns)) = self.calm.take() {
            if !well.contains(&majority) {
                return None;
            }
            if followed(watch, &majority) != Some(before) {
                let term = watch.term();
                let text = format!("{before} of nodes {majority:?} ended without need, now {term}");
                return Some(("stable leader", text));
            }
            self.calm = Some((majority, before, since_ns));
            return self.fenced(world, watch, now_ns, now_ns - since_ns);
        }
        let own = |majority: &&Vec<u32>| {
            let term = followed(watch, majority)?;
            let leader = watch.node(*majority.first()?)?.leader?;
            // A higher term somewhere is a need.
            (majority.contains(&leader.0) && watch.term() == term).then_some(term)
        };
        let calm = well.iter().find_map(|majority| Some((majority.clone(), own(&majority)?)));
        self.calm = calm.map(|(majority, term)| (majority, term, now_ns));
        None
    }

    /// A node that is down is fenced.
    fn fenced(&mut self, world: &World, watch: &Watch, now_ns: u64, calm_ns: u64) -> Option<Found> {
        // The controller's own clock may be slow by the drift, and it is excused for what it paused.
        let bound_ns =
            bound_ns(&world.settings) + 2 * world.settings.quorum.session_timeout.as_nanos() as u64;
        let controller = watch.controller()?;
        for (&node, &since_ns) in &self.down {
            let active = watch.map().node(NodeId(node)).is_some_and(|node| node.is_active());
            if active && calm_ns > bound_ns && now_ns - since_ns > bound_ns && node != controller {
                self.calm = None;
                let text = format!(
                    "n{node} is down for {} ms, and not fenced",
                    (now_ns - since_ns) / 1_000_000
                );
                return Some(("session", text));
            }
        }
        None
    }

    fn update(&mut self, world: &World, watch: &Watch, now_ns: u64) {
        let windows = lock(&world.windows);
        let nodes: Vec<u32> = (1..=world.settings.nodes).collect();
        for &node in &nodes {
            let seen = watch.node(node);
            let up = world.is_up(node);
            let well = up && seen.is_some_and(|seen| seen.is_member && !seen.is_stopping);
            let until_ns = windows.unwell_until(node).max(world.disturbed_ns(node));
            let life = seen.map_or(0, |seen| seen.life);
            if self.lives.insert(node, life) != Some(life) {
                // It was started since the last look.
                self.well.remove(&node);
                self.down.remove(&node);
            }
            since(&mut self.well, node, well && until_ns < now_ns, now_ns);
            raise(&mut self.well, node, until_ns);
            since(&mut self.down, node, !up, now_ns);
        }
        for pair in pairs(&nodes) {
            let (a, b) = (Lane::Node(pair.0), Lane::Node(pair.1));
            let until_ns = windows.unsound_until(a, b);
            since(&mut self.connected, pair, until_ns < now_ns, now_ns);
            raise(&mut self.connected, pair, until_ns);
        }
    }
}

/// What was not so until then, though nobody looked, has not been so for longer.
fn raise<K: Ord>(all: &mut BTreeMap<K, u64>, key: K, until_ns: u64) {
    if let Some(since_ns) = all.get_mut(&key) {
        *since_ns = until_ns.max(*since_ns);
    }
}

fn since<K: Ord>(all: &mut BTreeMap<K, u64>, key: K, is_so: bool, now_ns: u64) {
    if is_so {
        all.entry(key).or_insert(now_ns);
    } else {
        all.remove(&key);
    }
}

/// The term in which all of these follow one leader.
fn followed(watch: &Watch, majority: &[u32]) -> Option<Term> {
    let first = watch.node(*majority.first()?)?;
    let (term, leader) = (first.term, first.leader?);
    let leads = watch.node(leader.0)?;
    let all = majority.iter().all(|&node| {
        watch.node(node).is_some_and(|seen| seen.term == term && seen.leader == Some(leader))
    });
    (all && leads.term == term && leads.role == Some(Role::Leader)).then_some(term)
}

fn pairs(nodes: &[u32]) -> impl Iterator<Item = (u32, u32)> + '_ {
    nodes.iter().flat_map(move |&a| nodes.iter().filter(move |&&b| a < b).map(move |&b| (a, b)))
}

/// All subsets of so many.
fn subsets(nodes: &[u32], count: usize) -> Vec<Vec<u32>> {
    let chosen = |bits: u32| -> Vec<u32> {
        let picked = nodes.iter().enumerate().filter(|(at, _)| bits & 1 << at != 0);
        picked.map(|(_, &node)| node).collect()
    };
    (0..1u32 << nodes.len()).map(chosen).filter(|subset| subset.len() == count).collect()
}

/// What is still missing of a cluster that is well; `None` if nothing is.
pub(crate) fn missing(world: &World) -> Option<String> {
    let watch = lock(&world.watch);
    let map = watch.map();
    let Some(controller) = watch.controller() else { return Some("no controller".to_owned()) };
    let leads = watch.node(controller).expect("it was seen");
    for node in 1..=world.settings.nodes {
        let Some(seen) = watch.node(node).filter(|seen| seen.is_member) else {
            return Some(format!("n{node} is no member"));
        };
        if (seen.term, seen.leader) != (leads.term, Some(NodeId(controller))) {
            return Some(format!("n{node} does not follow n{controller}"));
        }
        if !map.node(NodeId(node)).is_some_and(|node| node.is_active()) {
            return Some(format!("n{node} is not active"));
        }
        if seen.applied < map.applied() {
            return Some(format!(
                "n{node} has applied up to {} of {}",
                seen.applied,
                map.applied()
            ));
        }
    }
    let all: Vec<NodeId> = (1..=world.settings.nodes).map(NodeId).collect();
    let wanted = kvnode_core::control::first_voters(&all).len();
    let Some((voters, true)) = watch.voters() else { return Some("voters change".to_owned()) };
    if voters.len() != wanted {
        return Some(format!("there are {} voters of {wanted}", voters.len()));
    }
    if map.partitions().count() != world.settings.quorum.founding.partitions as usize {
        return Some("no partitions".to_owned());
    }
    let led = |(id, p): (kvnode_core::PartitionId, &kvnode_core::cluster::Partition)| {
        p.leader.is_none().then(|| format!("{id} is not led: in sync {:?}", p.isr_lives()))
    };
    map.partitions().find_map(led)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_and_pairs_are_all_there() {
        assert_eq!(subsets(&[1, 2, 3], 2), [vec![1, 2], vec![1, 3], vec![2, 3]]);
        assert_eq!(pairs(&[1, 2, 3]).collect::<Vec<_>>(), [(1, 2), (1, 3), (2, 3)]);
    }

    #[test]
    fn a_state_lasts_from_when_it_began_and_is_gone_when_it_ends() {
        let mut all = BTreeMap::new();
        since(&mut all, 1, true, 5);
        since(&mut all, 1, true, 9);
        assert_eq!(all.get(&1), Some(&5));
        raise(&mut all, 1, 7);
        assert_eq!(all.get(&1), Some(&7));
        since(&mut all, 1, false, 10);
        assert_eq!(all.get(&1), None);
    }
}
