//! Faults that lie in wait: some histories need a blow within a millisecond of what nobody can plan.
//!
//! A hunt is planned like any other fault, and lasts. While it does, the nemesis looks at what the
//! nodes are and say, and strikes at the moment that it has waited for: who meets whom by chance once
//! in thousands of runs meets here in most. The blows themselves are the usual ones: a process that is
//! killed, a machine without power, a link that carries nothing in one direction, an empty disk; what
//! they excuse is told to the [windows](crate::windows) and to the [atlas](super::atlas) as always.
//!
//! - [`Trap::Leader`]: figure 8 of the Raft paper is this, twice or three times in a row.
//! - [`Trap::Voter`]: the vote of a disk that is no more (KIP-853).
//! - [`Trap::Change`]: a change of voters that an earlier leader has begun (raft-dev 2015).
//! - [`Trap::Seat`]: what was asked for one life of a node arrives in another (KIP-841, KIP-966).
//!
//! Those of replicas are in [`replication::hunt`](crate::replication::hunt).

use std::collections::BTreeSet;
use std::time::Duration;

use kvnode_core::{Epoch, NodeId, PartitionId, Term};
use madsim::time::sleep;

use crate::chance::Chance;
use crate::disk::{Doom, Unsynced};
use crate::lock;
use crate::nemesis::Nemesis;
use crate::plan::{Class, Fault, Trap};
use crate::story::Lane;
use crate::windows::WindowId;

/// In how many of a hundred cases a new leader is struck, has just been elected then, and dies of it.
const LEADER_PERCENT: u64 = 85;
const AT_ONCE_PERCENT: u64 = 50;
const DEADLY_PERCENT: u64 = 70;

/// Most requests that a leader gets that is struck.
const ASKS_MAX: u64 = 60;

/// How long a moment is waited for, in ms.
pub(crate) const MOMENT_MS: u64 = 4_000;

impl Nemesis {
    pub(crate) async fn hunt(&self, trap: Trap, for_ms: u64) {
        let until_ns = self.world.now_ns() + for_ms * 1_000_000;
        match trap {
            Trap::Leader => self.hunt_leaders(until_ns).await,
            Trap::Voter => self.hunt_voter().await,
            Trap::Change => self.hunt_change().await,
            Trap::Seat => {
                while self.goes_on(until_ns) {
                    self.hunt_seat().await;
                    sleep(Duration::from_millis(self.chance().skewed(10..1000))).await;
                }
            }
            Trap::Reign => self.hunt_reigns(until_ns).await,
            Trap::Lease => self.hunt_leases(until_ns).await,
            Trap::Entry => self.hunt_entries(until_ns).await,
            Trap::Copy => self.hunt_copies(until_ns).await,
            Trap::Break => self.hunt_breaks(until_ns).await,
        }
    }

    pub(crate) fn goes_on(&self, until_ns: u64) -> bool {
        !self.is_calm() && self.world.now_ns() < until_ns
    }

    /// Waits until it is so; whether it came to that.
    pub(crate) async fn moment(&self, for_ms: u64, is_so: impl Fn() -> bool) -> bool {
        for _ in 0..for_ms {
            if self.is_calm() {
                return false;
            }
            if is_so() {
                return true;
            }
            sleep(Duration::from_millis(1)).await;
        }
        false
    }

    async fn hunt_leaders(&self, until_ns: u64) {
        let mut met: BTreeSet<(u32, Term)> = BTreeSet::new();
        while self.goes_on(until_ns) {
            sleep(Duration::from_millis(1)).await;
            let leaders: Vec<(u32, Term)> = lock(&self.world.watch).leaders().collect();
            for (node, term) in leaders {
                if met.insert((node, term)) && self.chance().percent(LEADER_PERCENT) {
                    let nemesis = self.clone();
                    self.spawn(async move { nemesis.strike_leader(node, term).await });
                }
            }
        }
    }

    /// What the leader appends from now on reaches few of the others, or nobody.
    async fn strike_leader(&self, node: u32, term: Term) {
        let mut chance = self.chance();
        if !chance.percent(AT_ONCE_PERCENT) {
            let in_office = || lock(&self.world.watch).controller() == Some(node);
            self.moment(MOMENT_MS, in_office).await;
            sleep(Duration::from_millis(chance.skewed(1..500))).await;
        }
        self.mute_leader(node, term, &mut chance).await;
    }

    async fn mute_leader(&self, node: u32, term: Term, chance: &mut Chance) {
        if !self.leads(node, term) || self.is_calm() {
            return;
        }
        self.world.injected(Class::Hunt(Trap::Leader));
        let mut others: Vec<u32> =
            (1..=self.world.settings.nodes).filter(|&other| other != node).collect();
        for _ in 0..chance.pick(&[0, 0, 0, 1, 1, 2]).min(others.len()) {
            others.swap_remove(chance.index(others.len()));
        }
        let alone_ms = chance.skewed(50..4000);
        let cuts: Vec<_> = others.iter().map(|&to| self.mute(node, to, alone_ms)).collect();
        for _ in 0..chance.skewed(1..ASKS_MAX) - 1 {
            self.ask_of(node, chance);
        }
        sleep(Duration::from_millis(chance.skewed(1..150))).await;
        if chance.percent(DEADLY_PERCENT) {
            let doom = chance.pick(&[Doom::Process, Doom::Power(Unsynced::Lost)]);
            let until = if chance.percent(60) {
                Until::Replaced(term, chance.skewed(1..2000))
            } else {
                Until::Ms(chance.skewed(1..2500))
            };
            self.strike_down(node, doom, until);
        } else {
            sleep(Duration::from_millis(alone_ms)).await;
        }
        cuts.into_iter().for_each(|cut| self.unmute(node, cut));
    }

    fn leads(&self, node: u32, term: Term) -> bool {
        lock(&self.world.watch).leaders().any(|leader| leader == (node, term))
    }

    /// Whether somebody leads a later term, and who.
    fn successor(&self, term: Term) -> Option<(u32, Term)> {
        lock(&self.world.watch).leaders().find(|&(_, later)| later > term)
    }

    async fn hunt_voter(&self) {
        let mut chance = self.chance();
        let Some((leader, voter)) = self.leader_and_voter(&mut chance) else { return };
        self.world.injected(Class::Hunt(Trap::Voter));
        let empties_first = chance.percent(30);
        if empties_first {
            self.empty(voter, &mut chance).await;
            sleep(Duration::from_millis(chance.skewed(1..300))).await;
        }
        let doom = chance.pick(&[Doom::Process, Doom::Power(Unsynced::Lost)]);
        self.strike_down(leader, doom, Until::Ms(chance.of(1000..6000)));
        let votes =
            || lock(&self.world.watch).node(voter).is_some_and(|seen| seen.leader.is_none());
        if !empties_first && self.moment(MOMENT_MS, votes).await {
            sleep(Duration::from_millis(chance.skewed(1..100))).await;
            self.empty(voter, &mut chance).await;
        }
    }

    /// The leader of the quorum, and another voter whose disk may be lost.
    fn leader_and_voter(&self, chance: &mut Chance) -> Option<(u32, u32)> {
        let (leader, mut voters) = {
            let watch = lock(&self.world.watch);
            let (voters, _) = watch.voters()?;
            let voters: Vec<u32> = voters.iter().map(|voter| voter.node.0).collect();
            (watch.controller()?, voters)
        };
        voters.retain(|&voter| voter != leader && self.world.is_up(voter));
        (!voters.is_empty()).then(|| (leader, voters.swap_remove(chance.index(voters.len()))))
    }

    /// A node's disk is swapped for an empty one, if the quorum can bear it, and it starts at once.
    async fn empty(&self, node: u32, chance: &mut Chance) {
        let down_ms = chance.skewed(1..40);
        if self.spares(Fault::Wipe { node, down_ms }) {
            self.strike_down(node, Doom::Wiped, Until::Ms(down_ms));
            sleep(Duration::from_millis(down_ms)).await;
        }
    }

    async fn hunt_seat(&self) {
        let mut chance = self.chance();
        let Some(controller) = lock(&self.world.watch).controller() else { return };
        let others = (1..=self.world.settings.nodes).filter(|&other| other != controller);
        let others: Vec<u32> = others.filter(|&other| self.world.is_up(other)).collect();
        if others.is_empty() {
            return;
        }
        let back = chance.pick(&others);
        self.strike_down(back, Doom::Process, Until::Ms(chance.skewed(1..100)));
        let unfenced = lock(&self.world.watch).unfenced(NodeId(back));
        let comes = || lock(&self.world.watch).unfenced(NodeId(back)) > unfenced;
        if !self.moment(MOMENT_MS, comes).await {
            return;
        }
        // The unfencing is on its way: whoever leads a partition of the node learns of it and asks.
        let askers = lock(&self.world.watch).askers(NodeId(back));
        let quorum = &self.world.settings.quorum;
        let patience = quorum.links.silent_max.min(quorum.session_timeout).as_millis() as u64;
        let cut_ms = chance.of(50..patience * 19 / 20);
        let cuts: Vec<_> =
            askers.iter().map(|&by| (by, self.mute(by, controller, cut_ms))).collect();
        let asked = lock(&self.world.watch).asked(NodeId(back));
        let asks = || lock(&self.world.watch).asked(NodeId(back)) > asked;
        if !askers.is_empty() && self.moment(cut_ms, asks).await {
            self.world.injected(Class::Hunt(Trap::Seat));
            let long = chance.percent(40);
            let down_ms = if long { chance.of(100..2000) } else { chance.skewed(1..30) };
            let known = lock(&self.world.watch).unfenced(NodeId(back));
            self.strike_down(back, Doom::Process, Until::Ms(down_ms));
            let again = || lock(&self.world.watch).unfenced(NodeId(back)) > known;
            if self.moment(cut_ms, again).await {
                // Until that is committed.
                sleep(Duration::from_millis(chance.skewed(1..100))).await;
            }
        }
        cuts.into_iter().for_each(|(by, cut)| self.unmute(by, cut));
    }

    /// A voter has lost its disk, and the leader that is to replace it dies; so does the next one, or
    /// reaches nobody, before it can know what the first has done.
    async fn hunt_change(&self) {
        let mut chance = self.chance();
        let Some((_, voter)) = self.leader_and_voter(&mut chance) else { return };
        self.empty(voter, &mut chance).await;
        let complete = chance.percent(50);
        let is_due = || lock(&self.world.watch).change_is_due(NodeId(voter), complete);
        if !self.moment(MOMENT_MS, is_due).await {
            return;
        }
        sleep(Duration::from_millis(chance.skewed(1..100))).await;
        let leader = lock(&self.world.watch).leaders().max_by_key(|&(_, term)| term);
        let Some((leader, mut term)) = leader else { return };
        self.world.injected(Class::Hunt(Trap::Change));
        self.strike_down(leader, Doom::Process, Until::Ms(chance.skewed(1..500)));
        for _ in 0..chance.of(1..4) {
            if !self.moment(MOMENT_MS, || self.successor(term).is_some()).await {
                return;
            }
            let Some((next, later)) = self.successor(term) else { return };
            self.mute_leader(next, later, &mut chance).await;
            term = later;
        }
    }

    /// A node goes down, if it is up, and is started again by a task of its own.
    pub(crate) fn strike_down(&self, node: u32, doom: Doom, until: Until) {
        if self.is_calm() || !self.world.is_up(node) {
            return;
        }
        self.fell(node, doom);
        let nemesis = self.clone();
        self.spawn(async move {
            let down_ms = match until {
                Until::Ms(down_ms) => down_ms,
                Until::Replaced(term, more_ms) => {
                    nemesis.moment(MOMENT_MS, || nemesis.successor(term).is_some()).await;
                    more_ms
                }
                Until::Led(partition, epoch, more_ms) => {
                    nemesis.moment(MOMENT_MS, || nemesis.is_led_after(partition, epoch)).await;
                    more_ms
                }
            };
            sleep(Duration::from_millis(down_ms)).await;
            if !nemesis.is_calm() {
                nemesis.raise(node);
            }
        });
    }

    /// Nothing that `from` says reaches `to`.
    pub(crate) fn mute(&self, from: u32, to: u32, for_ms: u64) -> (u32, WindowId) {
        let (from, there) = (Lane::Node(from), Lane::Node(to));
        let cut = self.open(Fault::Cut { from, to: there, both_ways: false, for_ms });
        self.clog(from, there, false);
        (to, cut)
    }

    pub(crate) fn unmute(&self, from: u32, (to, cut): (u32, WindowId)) {
        self.unclog(Lane::Node(from), Lane::Node(to), false);
        self.close(cut);
    }
}

/// When a node that was struck down is started again.
pub(crate) enum Until {
    /// After so many ms.
    Ms(u64),
    /// When another has led in its place, in a later term than this, and so many ms after.
    Replaced(Term, u64),
    /// When this partition is led in a later reign than this, and so many ms after.
    Led(PartitionId, Epoch, u64),
}
