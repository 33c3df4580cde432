//! A node is fenced for a reason: it was silent for the session timeout, as the controller's own
//! clock counts it; or its process was seen to be gone; or it wants to stop; or it has another life
//! (DESIGN §4; KIP-500, KIP-631).
//!
//! Judged where the fence is proposed, by what had reached that controller.

use std::collections::BTreeMap;
use std::time::Duration;

use kvnode_core::cluster::Life;
use kvnode_core::{Instant, NodeId};

use super::Found;

/// What the nodes have heard of each other.
#[derive(Default)]
pub(crate) struct Sessions {
    /// By who listens, in which of its processes.
    heard: BTreeMap<(u32, u64), BTreeMap<NodeId, Heard>>,
    /// In which process of its node each life is lived: the last that spoke as it.
    lived: BTreeMap<Life, u64>,
    /// Where nobody listened, by who dialled, in which of its processes: the node's processes up to
    /// this one had ended by then.
    gone: BTreeMap<((u32, u64), NodeId), u64>,
}

#[derive(Clone, Copy)]
struct Heard {
    life: Life,
    at: Instant,
    wants_stop: bool,
}

/// Time between what a process sees and when this is told.
const SLOP: Duration = Duration::from_millis(2);

impl Sessions {
    /// A process of a node sends a heartbeat.
    pub(crate) fn speaks(&mut self, life: Life, process: u64) {
        self.lived.insert(life, process);
    }

    /// A heartbeat has come.
    pub(crate) fn hears(&mut self, at: (u32, u64), life: Life, now: Instant, wants_stop: bool) {
        let heard = Heard { life, at: now, wants_stop };
        self.heard.entry(at).or_default().insert(life.node, heard);
    }

    /// Nobody listens at the node, whose processes up to this one have ended.
    pub(crate) fn refuses(&mut self, at: (u32, u64), node: NodeId, ended: u64) {
        self.gone.insert((at, node), ended);
    }

    /// A controller, in office since then, proposes to fence a life.
    pub(crate) fn fences(
        &self,
        at: (u32, u64),
        since: Instant,
        life: Life,
        now: Instant,
        timeout: Duration,
    ) -> Option<Found> {
        // What the dead one still said, on its way when nobody listened, does not bring it back.
        let lived = self.lived.get(&life).copied().unwrap_or_default();
        if self.gone.get(&(at, life.node)).is_some_and(|&ended| lived <= ended) {
            return None;
        }
        let heard = self.heard.get(&at).and_then(|all| all.get(&life.node));
        let last = match heard {
            Some(heard) if heard.life != life || heard.wants_stop => return None,
            Some(heard) => heard.at.max(since),
            None => since,
        };
        let silent = now.since(last);
        (silent + SLOP < timeout).then(|| {
            let text = format!("n{} fences {life} after {silent:?} of silence", at.0);
            ("session", text)
        })
    }
}

#[cfg(test)]
mod tests {
    use kvnode_core::Incarnation;

    use super::*;

    #[test]
    fn a_fence_without_a_reason_is_seen() {
        let life = Life { node: NodeId(2), incarnation: Incarnation(5) };
        let other = Life { incarnation: Incarnation(9), ..life };
        let s = |seconds: u64| Instant(seconds * 1_000_000_000);
        let timeout = Duration::from_secs(2);
        let mut sessions = Sessions::default();
        sessions.speaks(life, 1);
        sessions.hears((1, 1), life, s(10), false);
        let fences = |sessions: &Sessions, since, life, now| {
            sessions.fences((1, 1), since, life, now, timeout)
        };
        assert!(fences(&sessions, s(0), life, s(11)).is_some());
        assert_eq!(fences(&sessions, s(0), life, s(12)), None);
        assert!(fences(&sessions, s(11), life, s(12)).is_some(), "a new controller");
        assert_eq!(fences(&sessions, s(0), other, s(11)), None, "of the past");
        sessions.hears((1, 1), life, s(11), true);
        assert_eq!(fences(&sessions, s(0), life, s(11)), None, "it wants to stop");
        assert!(sessions.fences((1, 2), s(11), life, s(12), timeout).is_some(), "another process");
    }

    #[test]
    fn a_refused_dial_proves_the_end_of_what_had_ended() {
        let first = Life { node: NodeId(2), incarnation: Incarnation(5) };
        let second = Life { incarnation: Incarnation(9), ..first };
        let s = |seconds: u64| Instant(seconds * 1_000_000_000);
        let timeout = Duration::from_secs(2);
        let mut sessions = Sessions::default();
        sessions.speaks(first, 3);
        sessions.hears((1, 1), first, s(10), false);
        let fences = |sessions: &Sessions, life| {
            sessions.fences((1, 1), s(0), life, s(11), timeout).is_some()
        };
        // A process is dialled that is not yet listening: those before it have ended, it has not.
        sessions.refuses((1, 1), first.node, 2);
        assert!(fences(&sessions, first));
        sessions.refuses((1, 1), first.node, 3);
        assert!(!fences(&sessions, first), "gone");
        // Seed 118620: the last words of the dead one are read after the dial was refused.
        sessions.hears((1, 1), first, s(11), false);
        assert!(!fences(&sessions, first), "gone, whatever it had said");
        sessions.speaks(second, 4);
        sessions.hears((1, 1), second, s(11), false);
        assert!(fences(&sessions, second), "the next process lives");
        assert!(sessions.fences((1, 2), s(11), first, s(12), timeout).is_some(), "not its dial");
    }
}
