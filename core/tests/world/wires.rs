//! Connections between nodes in virtual time: what is written arrives in order after a while, unless
//! it is cut off or an end is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kvnode_core::peer::{ConnId, DialError, Input, Output};
use kvnode_core::{Instant, NodeId};

const LATENCY: Duration = Duration::from_millis(1);

/// One end of a connection.
type End = (NodeId, ConnId);

/// See the module's header.
#[derive(Default)]
pub(crate) struct Wires {
    /// The other end of each end.
    ends: BTreeMap<End, End>,
    /// Nothing gets from the first to the second.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// What the first writes to the second takes so much longer.
    pub(crate) slow: BTreeMap<(NodeId, NodeId), Duration>,
    /// Bytes that the first has written to the second.
    pub(crate) written: BTreeMap<(NodeId, NodeId), usize>,
    /// What is to arrive, at its time and in its order.
    coming: BTreeMap<(Instant, u64), (NodeId, Input)>,
    last_event: u64,
    last_conn: u64,
}

impl Wires {
    /// The node's process is gone: nothing arrives there any more, and its peers hear of it.
    pub(crate) fn hang_up(&mut self, now: Instant, node: NodeId) {
        for other in self.vanish(node) {
            self.later(now, other.0, Input::Closed(other.1));
        }
    }

    /// The same, but its peers hear nothing; what it has written arrives yet. Returns their ends.
    pub(crate) fn vanish(&mut self, node: NodeId) -> Vec<End> {
        self.coming.retain(|_, (to, _)| *to != node);
        let own = self.ends.iter().filter(|(end, _)| end.0 == node);
        let ends: Vec<(End, End)> = own.map(|(&end, &other)| (end, other)).collect();
        for (end, other) in &ends {
            self.ends.remove(end);
            self.ends.remove(other);
        }
        ends.into_iter().map(|(_, other)| other).collect()
    }

    /// The connection on which one speaks to the other breaks, and what is under way on it is lost.
    pub(crate) fn reset(&mut self, now: Instant, from: NodeId, to: NodeId) {
        let dialled = |end: &End| end.0 == from && matches!(end.1, ConnId::Dialled(_));
        let broken = self.ends.iter().find(|(end, other)| dialled(end) && other.0 == to);
        let Some((&end, &other)) = broken else { return };
        self.coming.retain(|_, (node, input)| {
            !matches!(input, Input::Bytes(conn, _) if (*node, *conn) == end || (*node, *conn) == other)
        });
        for (node, conn) in [end, other] {
            self.ends.remove(&(node, conn));
            self.later(now, node, Input::Closed(conn));
        }
    }

    /// What the links of `id` want done; `lives` tells of a node whether its process does.
    pub(crate) fn on_peer(
        &mut self,
        now: Instant,
        id: NodeId,
        output: Output,
        lives: impl Fn(NodeId) -> bool,
    ) {
        match output {
            Output::Dial(conn, to, _) => {
                if self.cut.contains(&(id, to)) || self.cut.contains(&(to, id)) {
                    // Nobody answers.
                } else if lives(to) {
                    self.last_conn += 1;
                    let accepted = ConnId::Accepted(self.last_conn);
                    self.ends.insert((id, conn), (to, accepted));
                    self.ends.insert((to, accepted), (id, conn));
                    self.later(now, to, Input::Accepted(accepted));
                    self.later(now, id, Input::Dialled(conn));
                } else {
                    self.later(now, id, Input::DialFailed { conn, error: DialError::Refused });
                }
            }
            Output::Write(conn, bytes) => {
                let Some(&other) = self.ends.get(&(id, conn)) else { return };
                *self.written.entry((id, other.0)).or_default() += bytes.len();
                self.later(now, id, Input::Sent(conn, bytes.len()));
                if !self.cut.contains(&(id, other.0)) {
                    let extra = self.slow.get(&(id, other.0)).copied().unwrap_or_default();
                    self.later(now.after(extra), other.0, Input::Bytes(other.1, bytes));
                }
            }
            Output::Close(conn) => {
                if let Some(other) = self.ends.remove(&(id, conn)) {
                    self.ends.remove(&other);
                    self.later(now, other.0, Input::Closed(other.1));
                }
            }
            output => panic!("{output:?} is control's own"),
        }
    }

    /// When the next thing arrives.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.coming.keys().next().map(|&(at, _)| at)
    }

    /// Takes it: when, where, what.
    pub(crate) fn pop(&mut self) -> Option<(Instant, NodeId, Input)> {
        self.coming.pop_first().map(|((at, _), (node, input))| (at, node, input))
    }

    fn later(&mut self, now: Instant, node: NodeId, input: Input) {
        self.last_event += 1;
        self.coming.insert((now.after(LATENCY), self.last_event), (node, input));
    }
}
