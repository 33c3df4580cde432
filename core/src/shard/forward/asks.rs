//! What the asker's side keeps: what was asked and is not answered, and what has yet to be asked.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use super::message::Message;
use super::post::Post;
use crate::limits::FORWARD_ASKED_BYTES_MAX;
use crate::{ClientId, Epoch, Instant, NodeId, PartitionId};

/// What the shard knows of commands that are under way in other places.
#[derive(Debug)]
pub(in crate::shard) struct Forwarding {
    /// Tags, and clients as others know them, count from here. It is drawn, so that what an earlier
    /// process of this node has asked, and others answer late or even hear late, is taken for
    /// nothing of this one.
    base: u64,
    last_tag: u64,
    asked: BTreeMap<u64, Asked>,
    /// Bytes of what each node was asked and has not answered.
    asked_bytes: BTreeMap<NodeId, usize>,
    /// The last reign of each partition that has answered.
    pub(super) proven: BTreeMap<PartitionId, Epoch>,
    /// The last reign of each partition that had answered and then refused: it has ended.
    pub(super) over: BTreeMap<PartitionId, Epoch>,
    /// Clients with stalled parts.
    pub(super) stalled: BTreeSet<ClientId>,
    /// When stalled parts are looked at again, and what waits too long.
    pub(super) due: Option<Instant>,
    /// Messages to be sent to other nodes.
    pub(super) post: Post,
    /// Messages to this node itself.
    pub(super) own: VecDeque<Message>,
    /// The clients that stand in for those of other nodes, and for this node's own.
    pub(super) agents: BTreeMap<(NodeId, u64), ClientId>,
    pub(super) last_agent: u64,
    /// When it is looked for asks that wait here and that nobody waits for any more.
    pub(super) overdue_at: Option<Instant>,
}

/// An ask under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) node: NodeId,
    pub(super) partition: PartitionId,
    pub(super) epoch: Epoch,
    pub(super) client: ClientId,
    /// The client's reply of this number, and which part of the command.
    pub(super) number: u64,
    pub(super) part: usize,
    pub(super) bytes: usize,
    /// When it is given up.
    pub(super) until: Instant,
}

/// What a client has under way in one partition.
#[derive(Clone, Copy, Debug)]
pub(in crate::shard) struct Abroad {
    pub(super) epoch: Epoch,
    pub(super) asks: u32,
    /// The last ask that writes, of those since something is under way.
    pub(super) write: Option<u64>,
}

/// A part that looks for a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::shard) struct Stalled {
    pub(super) number: u64,
    pub(super) part: usize,
}

impl Forwarding {
    /// `base` is drawn at each start.
    pub(in crate::shard) fn new(base: u64) -> Self {
        Self {
            base,
            last_tag: base,
            asked: BTreeMap::new(),
            asked_bytes: BTreeMap::new(),
            proven: BTreeMap::new(),
            over: BTreeMap::new(),
            stalled: BTreeSet::new(),
            due: None,
            post: Post::default(),
            own: VecDeque::new(),
            agents: BTreeMap::new(),
            last_agent: 0,
            overdue_at: None,
        }
    }

    /// The number of the next question.
    pub(in crate::shard) fn next_tag(&mut self) -> u64 {
        self.last_tag = self.last_tag.wrapping_add(1);
        self.last_tag
    }

    /// A question is under way.
    pub(super) fn note_asked(&mut self, tag: u64, asked: Asked) {
        *self.asked_bytes.entry(asked.node).or_default() += asked.bytes;
        self.asked.insert(tag, asked);
    }

    /// It is so no more.
    pub(super) fn take_asked(&mut self, tag: u64) -> Option<Asked> {
        let asked = self.asked.remove(&tag)?;
        if let Some(bytes) = self.asked_bytes.get_mut(&asked.node) {
            *bytes -= asked.bytes;
            if *bytes == 0 {
                self.asked_bytes.remove(&asked.node);
            }
        }
        Some(asked)
    }

    pub(super) fn asked(&self, tag: u64) -> Option<Asked> {
        self.asked.get(&tag).copied()
    }

    /// What the node was asked and has not answered, in that order.
    pub(super) fn asked_of(&self, node: NodeId) -> Vec<(u64, Asked)> {
        self.all_asked().filter(|(_, asked)| asked.node == node).collect()
    }

    /// What has waited too long for its answer.
    pub(super) fn overdue(&self, now: Instant) -> Vec<(u64, Asked)> {
        self.all_asked().filter(|(_, asked)| asked.until <= now).collect()
    }

    fn all_asked(&self) -> impl Iterator<Item = (u64, Asked)> {
        self.asked.iter().map(|(&tag, &asked)| (tag, asked))
    }

    /// Whether anything waits, for an answer or for a leader.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty() || !self.stalled.is_empty()
    }

    /// Whether the node has enough to do with what it was asked, or what waits for it: it has to keep
    /// all of that in memory.
    pub(super) fn is_busy(&self, node: NodeId) -> bool {
        let asked = self.asked_bytes.get(&node).copied().unwrap_or_default();
        asked > FORWARD_ASKED_BYTES_MAX || self.post.is_clogged(node)
    }

    /// Whether so much waits for the node that nothing that can wait should come behind it.
    pub(in crate::shard) fn is_clogged(&self, node: NodeId) -> bool {
        self.post.is_clogged(node)
    }

    /// A client of this node, as other nodes know it.
    pub(in crate::shard) fn abroad(&self, id: ClientId) -> u64 {
        self.base.wrapping_add(id.0)
    }

    /// Who that is. A client of an earlier process is none of this one's.
    pub(in crate::shard) fn at_home(&self, client: u64) -> ClientId {
        ClientId(client.wrapping_sub(self.base))
    }

    pub(super) fn over(&self, id: PartitionId) -> Option<Epoch> {
        self.over.get(&id).copied()
    }

    pub(in crate::shard) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Those of the shard's clients that are agents.
    pub(in crate::shard) fn agents(
        &self,
    ) -> impl DoubleEndedIterator<Item = ClientId> + ExactSizeIterator {
        self.agents.values().copied()
    }

    /// To be sent to the node, which may be this one.
    pub(in crate::shard) fn say(&mut self, me: NodeId, node: NodeId, message: Message) {
        match node == me {
            true => self.own.push_back(message),
            false => self.post.put(node, message),
        }
    }

    /// Whether everything that was said to other nodes has gone.
    pub(in crate::shard) fn is_sent(&self) -> bool {
        self.post.is_empty()
    }

    pub(super) fn wake_at(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(node: u32, bytes: usize) -> Asked {
        let (node, partition, epoch) = (NodeId(node), PartitionId(0), Epoch(1));
        let until = Instant(1);
        Asked { node, partition, epoch, client: ClientId(1), number: 1, part: 0, bytes, until }
    }

    #[test]
    fn a_node_is_asked_no_more_while_it_has_much_to_answer() {
        let mut forwarding = Forwarding::new(7);
        let (one, other) = (NodeId(2), NodeId(3));
        let most = forwarding.next_tag();
        forwarding.note_asked(most, asked(2, FORWARD_ASKED_BYTES_MAX));
        assert!(!forwarding.is_busy(one), "that much is allowed");
        let more = forwarding.next_tag();
        forwarding.note_asked(more, asked(2, 1));
        assert!(forwarding.is_busy(one) && !forwarding.is_busy(other));
        assert!(forwarding.take_asked(more).is_some());
        assert!(!forwarding.is_busy(one));
        assert!(forwarding.take_asked(more).is_none(), "it is answered once");
        assert!(forwarding.take_asked(most).is_some());
        assert!(forwarding.asked_bytes.is_empty() && !forwarding.is_waiting());
    }
}
