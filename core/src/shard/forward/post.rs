//! What waits to be sent to the shards of other nodes.
//!
//! Messages to one node leave in their order, a run of them in one parcel, and one parcel is under
//! way to the link at a time: the next one leaves when control has [taken](crate::node::ToShard)
//! it. A parcel that finds no room on the link comes back, and is the first to be tried again, so
//! that nothing overtakes it and nothing of it is lost while the link lasts.
//!
//! Where much waits for a node, nothing more is asked of it, and nothing more evaluated for it.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::message::{self, Message, Outcome};
use crate::limits::{FORWARD_BACKLOG_BYTES_MAX, PEER_FORWARD_BYTES_MAX};
use crate::node::Parcel;
use crate::peer::Channel;
use crate::shard::errors;
use crate::{Instant, NodeId};

/// See the module's header.
#[derive(Debug, Default)]
pub(in crate::shard) struct Post(BTreeMap<NodeId, Outgoing>);

/// What waits for one node.
#[derive(Debug, Default)]
struct Outgoing {
    parcels: VecDeque<Vec<u8>>,
    bytes: usize,
    way: Way,
}

/// How things stand with the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Free,
    /// A parcel is on its way to it.
    Taken,
    /// A parcel is on its way to a link that is gone.
    Lost,
    /// It had no room: it is tried again then.
    Full(Instant),
}

/// Bytes of messages that leave in one parcel, but for the last of them.
const PARCEL_BYTES: usize = 256 << 10;

/// How soon a link that had no room is tried again.
const TRY_EVERY: Duration = Duration::from_millis(5);

impl Post {
    /// To be sent to the node.
    pub(super) fn put(&mut self, node: NodeId, message: Message) {
        let outgoing = self.0.entry(node).or_default();
        let last = outgoing.parcels.pop_back_if(|body| body.len() < PARCEL_BYTES);
        let last = last.unwrap_or_default();
        let begun = last.len();
        let mut body = message::encode(&message, last);
        outgoing.bytes += body.len() - begun;
        if body.len() > PEER_FORWARD_BYTES_MAX {
            // It does not fit behind others, and perhaps not at all.
            let mut alone = body.split_off(begun);
            if begun > 0 {
                outgoing.parcels.push_back(body);
            }
            if let Message::Answer { tag, outcome: Outcome::Reply { seen, wrote, .. } } = message
                && alone.len() > PEER_FORWARD_BYTES_MAX
            {
                outgoing.bytes -= alone.len();
                let reply = errors::reply_too_long().into();
                let outcome = Outcome::Reply { reply, seen, wrote };
                alone = message::encode(&Message::Answer { tag, outcome }, Vec::new());
                outgoing.bytes += alone.len();
            }
            body = alone;
        }
        outgoing.parcels.push_back(body);
    }

    /// What is to be sent next, and whether the node is clogged no more.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Parcel, bool)> {
        let may_leave = |outgoing: &Outgoing| match outgoing.way {
            Way::Free => true,
            Way::Full(until) => until <= now,
            Way::Taken | Way::Lost => false,
        };
        let mut ready = self.0.iter_mut().filter(|(_, outgoing)| may_leave(outgoing));
        let (&node, outgoing) = ready.find(|(_, outgoing)| !outgoing.parcels.is_empty())?;
        let was_clogged = outgoing.is_clogged();
        let body = outgoing.parcels.pop_front()?;
        outgoing.bytes -= body.len();
        outgoing.way = Way::Taken;
        let parcel = Parcel { node, channel: Channel::Forward, body: Bytes::from(body) };
        Some((parcel, was_clogged && !outgoing.is_clogged()))
    }

    /// The link has it.
    pub(super) fn taken(&mut self, node: NodeId) {
        if let Some(outgoing) = self.0.get_mut(&node) {
            outgoing.way = Way::Free;
            if outgoing.parcels.is_empty() {
                self.0.remove(&node);
            }
        }
    }

    /// The link had no room for it. When it is tried again, unless the link is gone.
    pub(super) fn returned(&mut self, node: NodeId, body: Bytes, now: Instant) -> Option<Instant> {
        let outgoing = self.0.get_mut(&node)?;
        if outgoing.way == Way::Lost {
            self.taken(node);
            return None;
        }
        let at = now.after(TRY_EVERY);
        outgoing.way = Way::Full(at);
        outgoing.bytes += body.len();
        outgoing.parcels.push_front(Vec::from(body));
        Some(at)
    }

    /// The link is gone, and what was for it.
    pub(super) fn forget(&mut self, node: NodeId) {
        if let Some(outgoing) = self.0.get_mut(&node) {
            let under_way = matches!(outgoing.way, Way::Taken | Way::Lost);
            *outgoing = Outgoing { way: Way::Lost, ..Outgoing::default() };
            if !under_way {
                self.0.remove(&node);
            }
        }
    }

    /// Whether so much waits for the node that it should not be more.
    pub(super) fn is_clogged(&self, node: NodeId) -> bool {
        self.0.get(&node).is_some_and(Outgoing::is_clogged)
    }

    /// Whether nothing waits, and nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When a link that had no room is tried again.
    pub(super) fn due(&self) -> Option<Instant> {
        let tried = |outgoing: &Outgoing| match outgoing.way {
            Way::Full(at) => Some(at),
            Way::Free | Way::Taken | Way::Lost => None,
        };
        self.0.values().filter_map(tried).min()
    }
}

impl Outgoing {
    fn is_clogged(&self) -> bool {
        self.bytes > FORWARD_BACKLOG_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(2);
    const NOW: Instant = Instant(1_000_000_000);

    fn gone(client: u64) -> Message {
        Message::Gone { client }
    }

    fn clients(parcel: &Parcel) -> Vec<u64> {
        let mut body = parcel.body.clone();
        let next = core::iter::from_fn(|| message::decode(&mut body));
        next.map(|message| if let Message::Gone { client } = message { client } else { 0 })
            .collect()
    }

    fn take(post: &mut Post, now: Instant) -> Option<Parcel> {
        post.take(now).map(|(parcel, _)| parcel)
    }

    #[test]
    fn nothing_overtakes_what_found_no_room() {
        let mut post = Post::default();
        [1, 2].into_iter().for_each(|client| post.put(NODE, gone(client)));
        let first = take(&mut post, NOW).expect("it is free");
        assert_eq!(clients(&first), [1, 2]);
        post.put(NODE, gone(3));
        assert!(take(&mut post, NOW).is_none(), "one is under way");
        let at = post.returned(NODE, first.body, NOW).expect("the link is there");
        assert_eq!((post.due(), take(&mut post, NOW)), (Some(at), None));
        let again = take(&mut post, at).expect("it is tried again");
        assert_eq!(clients(&again), [1, 2]);
        post.taken(NODE);
        assert_eq!(clients(&take(&mut post, at).expect("it is next")), [3]);
        post.taken(NODE);
        assert!(post.is_empty());
    }

    #[test]
    fn what_was_for_a_link_that_is_gone_is_for_no_other() {
        let mut post = Post::default();
        [1, 2].into_iter().for_each(|client| post.put(NODE, gone(client)));
        let lost = take(&mut post, NOW).expect("it is free");
        post.put(NODE, gone(3));
        post.forget(NODE);
        // The next link is there before the parcel comes back.
        post.put(NODE, gone(4));
        assert!(take(&mut post, NOW).is_none(), "one is under way");
        assert_eq!(post.returned(NODE, lost.body, NOW), None);
        post.put(NODE, gone(5));
        assert_eq!(clients(&take(&mut post, NOW).expect("it is free")), [4, 5]);
        post.forget(NODE);
        post.taken(NODE);
        assert!(post.is_empty());
    }

    #[test]
    fn a_node_is_clogged_until_less_waits() {
        let mut post = Post::default();
        let commands = |bytes: usize| {
            alloc::vec![message::Command(alloc::vec![crate::Value::from(alloc::vec![b'x'; bytes])])]
        };
        let ask = |bytes| {
            Message::Ask(message::Ask {
                client: 1,
                tag: 1,
                watches: super::super::transaction::Watches::default(),
                pinned: false,
                partition: crate::PartitionId(0),
                epoch: crate::Epoch(1),
                commands: commands(bytes),
            })
        };
        post.put(NODE, ask(FORWARD_BACKLOG_BYTES_MAX / 2));
        assert!(!post.is_clogged(NODE));
        post.put(NODE, ask(FORWARD_BACKLOG_BYTES_MAX / 2));
        assert!(post.is_clogged(NODE) && !post.is_clogged(NodeId(3)));
        let (parcel, relieved) = post.take(NOW).expect("it is free");
        assert!(relieved && !post.is_clogged(NODE));
        post.returned(NODE, parcel.body, NOW);
        assert!(post.is_clogged(NODE));
    }
}
