//! A message that comes was sent: whole, at most once, and in the order of its link (the promise of
//! core's `peer`). What was sent before it and did not come is lost for good.

use std::collections::{BTreeMap, VecDeque};

use kvnode_core::control::Message;

use super::Found;

/// What is under way from a node to another.
#[derive(Default)]
pub(crate) struct Wire {
    under_way: BTreeMap<(u32, u32), VecDeque<(u64, Message)>>,
    last: u64,
}

/// Most messages that are remembered for one link: more than a queue and a system hold.
const REMEMBERED_MAX: usize = 5_000;

impl Wire {
    /// A message is handed to a link; its number.
    pub(crate) fn sent(&mut self, from: u32, to: u32, message: Message) -> u64 {
        self.last += 1;
        let queue = self.under_way.entry((from, to)).or_default();
        queue.push_back((self.last, message));
        if queue.len() > REMEMBERED_MAX {
            queue.pop_front();
        }
        self.last
    }

    /// The number of the message that was sent last, by anybody.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// A message comes: its number, if anybody has sent it.
    pub(crate) fn received(
        &mut self,
        from: u32,
        to: u32,
        message: &Message,
    ) -> (u64, Option<Found>) {
        if let Some(queue) = self.under_way.get_mut(&(from, to))
            && let Some(at) = queue.iter().position(|(_, sent)| sent == message)
        {
            let (number, _) = queue[at];
            queue.drain(..=at);
            return (number, None);
        }
        self.last += 1;
        let text = format!("n{to} is told by n{from} what that has not said, or said before");
        (self.last, Some(("wire", text)))
    }
}

#[cfg(test)]
mod tests {
    use kvnode_core::Term;
    use kvnode_core::election::{self, TimeoutNow, VoteReply};

    use super::*;

    #[test]
    fn what_comes_twice_or_astray_or_out_of_order_is_seen() {
        let first = Message::Election(election::Message::TimeoutNow(TimeoutNow { term: Term(1) }));
        let reply = VoteReply { term: Term(2), granted: true };
        let second = Message::Election(election::Message::VoteReply(reply));
        let mut wire = Wire::default();
        wire.sent(1, 2, first.clone());
        let number = wire.sent(1, 2, second.clone());
        assert_eq!(wire.received(1, 2, &second), (number, None));
        assert!(wire.received(1, 2, &second).1.is_some(), "twice");
        assert!(wire.received(1, 2, &first).1.is_some(), "late");
        assert!(wire.received(2, 1, &Message::Fresh).1.is_some(), "from nobody");
    }
}
