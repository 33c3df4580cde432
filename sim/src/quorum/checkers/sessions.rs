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
    /// Where nobody listened, and nothing was heard since that was said later than the message of
    /// this number.
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
    /// A heartbeat has come, as the message of this number.
    pub(crate) fn hears(
        &mut self,
        at: (u32, u64),
        life: Life,
        now: Instant,
        wants_stop: bool,
        number: u64,
    ) {
        let heard = Heard { life, at: now, wants_stop };
        // What was on its way when nobody listened does not bring the dead back.
        if self.gone.get(&(at, life.node)).is_some_and(|&last| last < number) {
            self.gone.remove(&(at, life.node));
        }
        self.heard.entry(at).or_default().insert(life.node, heard);
    }

    /// Nobody listens at the node. The message that was sent last, by anybody, has this number.
    pub(crate) fn refuses(&mut self, at: (u32, u64), node: NodeId, last: u64) {
        self.gone.insert((at, node), last);
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
        if self.gone.contains_key(&(at, life.node)) {
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
        sessions.hears((1, 1), life, s(10), false, 1);
        let fences = |sessions: &Sessions, since, life, now| {
            sessions.fences((1, 1), since, life, now, timeout)
        };
        assert!(fences(&sessions, s(0), life, s(11)).is_some());
        assert_eq!(fences(&sessions, s(0), life, s(12)), None);
        assert!(fences(&sessions, s(11), life, s(12)).is_some(), "a new controller");
        assert_eq!(fences(&sessions, s(0), other, s(11)), None, "of the past");
        sessions.hears((1, 1), life, s(11), true, 2);
        assert_eq!(fences(&sessions, s(0), life, s(11)), None, "it wants to stop");
        assert!(sessions.fences((1, 2), s(11), life, s(12), timeout).is_some(), "another process");
    }

    #[test]
    fn a_refused_dial_is_a_reason_until_the_node_speaks_again() {
        let life = Life { node: NodeId(2), incarnation: Incarnation(5) };
        let s = |seconds: u64| Instant(seconds * 1_000_000_000);
        let timeout = Duration::from_secs(2);
        let mut sessions = Sessions::default();
        let fences = |sessions: &Sessions, at| sessions.fences(at, s(0), life, s(11), timeout);
        sessions.hears((1, 1), life, s(10), false, 7);
        assert!(fences(&sessions, (1, 1)).is_some());
        sessions.refuses((1, 1), life.node, 8);
        assert_eq!(fences(&sessions, (1, 1)), None, "gone");
        // Seed 118620: the last words of the dead one are read after the dial was refused.
        sessions.hears((1, 1), life, s(11), false, 8);
        assert_eq!(fences(&sessions, (1, 1)), None, "gone, whatever it had said before");
        sessions.hears((1, 2), life, s(11), false, 8);
        assert!(fences(&sessions, (1, 2)).is_some(), "another process, which has not dialled");
        sessions.hears((1, 1), life, s(11), false, 9);
        assert!(fences(&sessions, (1, 1)).is_some(), "it speaks, so it lives");
    }
}
