//! Sessions: who is alive, as the controller's own monotonic clock counts it.
//!
//! A session lives while heartbeats of the node's registered life come, each within the timeout of
//! the one before. It lapses at once when the node's process is seen to have died. Time in which
//! the controller itself was not run (a paused process, a suspended machine) does not count, since
//! the heartbeats of that time may still be waiting to be read.
//!
//! | session | in the map | what is proposed |
//! |---|---|---|
//! | alive, has applied the entry that fenced it | fenced | unfence |
//! | lapsed | active, or seated beside others | new leaders for its partitions, then fence |
//! | wants to stop | active | new leaders for its partitions, then fence |
//! | wants to stop | fenced | nothing: the node is told that it may stop |
//!
//! Elections go before the fence, so that one commit brings both.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::super::command::Command;
use super::super::map::Map;
use super::super::message::{ControllerMessage, Heartbeat, LogEnd, RegisterRefusal};
use super::super::refusal::Refusal;
use super::super::words::{Life, Registration};
use super::proposals::Key;
use super::{Controller, Ignored, Output};
use crate::shard::Severity;
use crate::{Epoch, Index, Instant, NodeId, Now, PartitionId};

/// What the controller knows of a registered node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Session {
    /// Of which life.
    life: Life,
    /// When it lapses; none if it has, or has not begun.
    lapses: Option<Instant>,
    /// When the node was last heard of, or given a fresh session.
    heard: Instant,
    /// How far the node has applied the map.
    applied: Index,
    /// Its wall clock less the controller's, in milliseconds.
    clock_offset_ms: Option<i64>,
    log_ends: BTreeMap<PartitionId, LogEnd>,
    /// Reigns in which the node can not go on.
    resigned: BTreeMap<PartitionId, Epoch>,
    stopping: bool,
}

impl Session {
    pub(super) fn lapses(&self) -> Option<Instant> {
        self.lapses
    }

    pub(super) fn is_alive(&self) -> bool {
        self.lapses.is_some()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Whether the node can not go on in this reign of the partition.
    pub(super) fn has_resigned(&self, partition: PartitionId, epoch: Epoch) -> bool {
        self.resigned.get(&partition).is_some_and(|&resigned| resigned >= epoch)
    }

    pub(super) fn log_end(&self, partition: PartitionId) -> Option<&LogEnd> {
        self.log_ends.get(&partition)
    }
}

impl Controller {
    pub(super) fn open_sessions(&mut self, now: Now, map: &Map) {
        for (id, _) in map.nodes() {
            self.open_session(now, map, id);
        }
    }

    /// A fresh session for a node that could lose something; another begins with a heartbeat.
    fn open_session(&mut self, now: Now, map: &Map, id: NodeId) {
        let Some(node) = map.node(id) else { return };
        let session = Session {
            life: node.life(),
            lapses: holds(map, id).then(|| now.mono.after(self.settings.session_timeout)),
            heard: now.mono,
            applied: Index::default(),
            clock_offset_ms: None,
            log_ends: BTreeMap::new(),
            resigned: BTreeMap::new(),
            stopping: false,
        };
        self.sessions.insert(id, session);
    }

    /// Time in which the controller was not run does not count against anybody.
    pub(super) fn excuse_pause(&mut self, now: Now) {
        let gap = now.mono.since(self.last_run);
        self.last_run = self.last_run.max(now.mono);
        if gap > self.settings.session_timeout / 2 {
            for session in self.sessions.values_mut() {
                session.lapses = session.lapses.map(|at| at.after(gap));
                session.heard = session.heard.after(gap);
            }
        }
    }

    pub(super) fn on_register(
        &mut self,
        now: Now,
        map: &Map,
        from: NodeId,
        registration: Registration,
    ) {
        if registration.node != from {
            return self.ignore(from, Ignored::WrongSender);
        }
        if let Some(node) = map.node(from) {
            // The lock of a directory is held by one process, so a process with the same directory
            // is the successor of the one that is registered.
            let other = node.registration.directory != registration.directory;
            if other && self.is_alive(from) {
                return self.refuse_registration(&registration, RegisterRefusal::DuplicateId);
            }
        }
        match map.check_registration(&registration) {
            Err(Refusal::AlreadyRegistered) => {
                return self.ignore(from, Ignored::AlreadyRegistered);
            }
            // Before the founding only the order is wrong.
            Err(_) if map.founding().is_none() => {}
            Err(refusal) => {
                return self.refuse_registration(&registration, RegisterRefusal::Map(refusal));
            }
            Ok(()) => {}
        }
        let command = Command::Register(registration);
        if let Err(ignored) = self.propose(now, Key::Register(from), command) {
            self.ignore(from, ignored);
        }
    }

    pub(super) fn on_heartbeat(&mut self, now: Now, map: &Map, from: NodeId, heartbeat: Heartbeat) {
        let Some(node) = map.node(from) else {
            return self.ignore(from, Ignored::UnknownNode);
        };
        if node.incarnation != heartbeat.incarnation {
            return self.ignore(from, Ignored::StaleIncarnation(node.incarnation));
        }
        let lapses = now.mono.after(self.settings.session_timeout);
        let session = self.sessions.get_mut(&from).expect("every registered node has one");
        session.lapses = Some(lapses);
        session.heard = now.mono;
        session.applied = session.applied.max(heartbeat.applied);
        session.clock_offset_ms = Some(offset_ms(heartbeat.wall_ms, now));
        session.log_ends = heartbeat.log_ends.iter().map(|end| (end.partition, *end)).collect();
        session.resigned = heartbeat.resigned.iter().copied().collect();
        session.stopping = heartbeat.wants_stop;
        self.dirty.extend(heartbeat.resigned.iter().map(|&(partition, _)| partition));
        self.clock_median_ms = self.clock_median();
        self.look_at_unfit(map, from);
        self.dirty.extend(self.recoveries.keys());
        self.consider_node(now, map, from);
        self.answer(map, from);
    }

    pub(super) fn on_gone(&mut self, now: Now, map: &Map, node: NodeId) {
        if self.is_alive(node) {
            self.lapse(now, map, node, "its process died");
        }
    }

    pub(super) fn lapse_sessions(&mut self, now: Now, map: &Map) {
        let lapsed = |session: &Session| session.lapses.is_some_and(|at| at <= now.mono);
        let nodes: Vec<_> =
            self.sessions.iter().filter(|(_, s)| lapsed(s)).map(|(&id, _)| id).collect();
        for node in nodes {
            self.lapse(now, map, node, "nothing was heard of it");
        }
    }

    fn lapse(&mut self, now: Now, map: &Map, node: NodeId, why: &str) {
        let session = self.sessions.get_mut(&node).expect("it is alive");
        session.lapses = None;
        let life = session.life;
        if holds(map, node) && !session.stopping {
            self.notice(Severity::Warn, format!("{life} is to be fenced: {why}"));
        }
        self.consider_node(now, map, node);
    }

    /// The node was registered, fenced, unfenced or removed.
    pub(super) fn on_node_changed(&mut self, now: Now, map: &Map, id: NodeId) {
        let known = self.sessions.get(&id).map(|session| session.life);
        match map.node(id) {
            None => {
                self.sessions.remove(&id);
            }
            Some(node) if known != Some(node.life()) => self.open_session(now, map, id),
            Some(node) => {
                let session = self.sessions.get_mut(&id).expect("its life is known");
                if node.is_active() && !session.is_alive() {
                    // Unfenced by an entry from before it was seen to be gone.
                    session.lapses = Some(now.mono.after(self.settings.session_timeout));
                }
            }
        }
        self.look_at_replicas_of(map, id);
        self.consider_node(now, map, id);
        if self.sessions.get(&id).is_some_and(|session| session.stopping) {
            self.answer(map, id);
        }
    }

    /// The table in the module's header.
    fn consider_node(&mut self, now: Now, map: &Map, id: NodeId) {
        let (Some(node), Some(session)) = (map.node(id), self.sessions.get(&id)) else { return };
        let life = node.life();
        let (alive, stopping) = (session.is_alive(), session.stopping);
        let caught_up = session.applied >= node.since;
        if !node.is_active() && alive && !stopping && caught_up {
            // Under way already, or too much is: it is looked at again with the next heartbeat.
            let _ = self.propose(now, Key::Unfence(id), Command::Unfence(life));
        } else if (!alive || stopping && node.is_active()) && holds(map, id) {
            self.retire(now, map, life, alive);
        }
    }

    /// Other leaders for all that it leads, then the fence. A node that is alive keeps on until
    /// those have taken over.
    fn retire(&mut self, now: Now, map: &Map, life: Life, alive: bool) {
        let mut moving = false;
        for (id, partition) in map.partitions() {
            if partition.leader == Some(life.node) {
                self.consider(now, map, id);
                moving |= self.is_under_way(Key::Elect(id));
            }
        }
        if !(alive && moving) {
            // Under way already, or too much is: it is looked at again when proposals are given up.
            let _ = self.propose(now, Key::Fence(life.node), Command::Fence(life));
        }
    }

    fn answer(&mut self, map: &Map, id: NodeId) {
        let (Some(node), Some(session)) = (map.node(id), self.sessions.get(&id)) else { return };
        let may_stop = session.stopping && !node.is_active();
        let heard = ControllerMessage::Heard { incarnation: node.incarnation, may_stop };
        self.outputs.push_back(Output::Answer(id, heard));
    }

    /// All elections have come through: whoever waited for them to stop may go on.
    pub(super) fn look_at_stopping(&mut self, now: Now, map: &Map) {
        let stopping: Vec<_> =
            self.sessions.iter().filter(|(_, s)| s.stopping).map(|(&id, _)| id).collect();
        for id in stopping {
            self.consider_node(now, map, id);
        }
    }

    pub(super) fn look_at_all(&mut self, now: Now, map: &Map) {
        self.dirty.extend(map.partitions().map(|(id, _)| id));
        for (id, _) in map.nodes() {
            self.consider_node(now, map, id);
        }
    }

    fn look_at_replicas_of(&mut self, map: &Map, node: NodeId) {
        let held = map.partitions().filter(|(_, p)| p.replicas.contains(&node));
        self.dirty.extend(held.map(|(id, _)| id));
    }

    /// The partitions that the node leads and would rather not, or can not.
    fn look_at_unfit(&mut self, map: &Map, node: NodeId) {
        let session = &self.sessions[&node];
        let fit = |id| session.log_end(id).is_some_and(|end| end.fit);
        let led = map.partitions().filter(|(_, p)| p.leader == Some(node)).map(|(id, _)| id);
        let unfit = led.filter(|&id| !fit(id) || self.shut.contains_key(&id));
        self.dirty.extend(unfit);
    }

    pub(super) fn is_alive(&self, node: NodeId) -> bool {
        self.sessions.get(&node).is_some_and(Session::is_alive)
    }

    /// Whether the node's wall clock is too far from the median of the known ones.
    pub(super) fn is_off_clock(&self, node: NodeId) -> bool {
        let own = self.sessions.get(&node).and_then(|session| session.clock_offset_ms);
        let (Some(own), Some(median)) = (own, self.clock_median_ms) else { return false };
        let off = Duration::from_millis(own.abs_diff(median));
        off > self.settings.clock_offset_max
    }

    /// Of all nodes that were heard of, whether or not they are alive: a clock does not go wrong
    /// with its node's death, and two clocks alone can not say which one is off.
    fn clock_median(&self) -> Option<i64> {
        let mut known: Vec<_> =
            self.sessions.values().filter_map(|session| session.clock_offset_ms).collect();
        known.sort_unstable();
        median(&known)
    }
}

/// Whether fencing the node would change the map: it is active, or has a seat beside others.
fn holds(map: &Map, id: NodeId) -> bool {
    map.node(id).is_some_and(super::super::words::Node::is_active)
        || map.partitions().any(|(_, p)| p.isr.len() > 1 && p.seat(id).is_some())
}

fn offset_ms(wall_ms: u64, now: Now) -> i64 {
    let clamp = |ms| i64::try_from(ms).unwrap_or(i64::MAX);
    clamp(wall_ms).saturating_sub(clamp(now.wall_us / 1000))
}

/// The middle one, or the middle between the middle two.
fn median(sorted: &[i64]) -> Option<i64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(lower.midpoint(upper))
}
