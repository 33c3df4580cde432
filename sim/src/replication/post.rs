//! Messages between replicas that a hunt has copied, to be delivered once more when they do most harm.
//!
//! Any message may come twice and late (`core/src/replication/message.rs`). Which of them would be believed
//! in a later reign, and when, no dice find.

use kvnode_core::PartitionId;
use kvnode_core::node::Parcel;
use kvnode_core::peer::Channel;
use kvnode_core::replication::{Envelope, Message};

/// What is to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    /// Sent by this node.
    pub(crate) from: u32,
    /// To this one.
    pub(crate) to: u32,
    /// About this partition.
    pub(crate) partition: PartitionId,
    /// Records do not arrive at all, but for their copies.
    pub(crate) withholds: bool,
}

/// Copies of what was sent, in its order.
#[derive(Default)]
pub(crate) struct Post {
    interests: Vec<Interest>,
    copies: Vec<(Interest, Parcel)>,
}

/// Most copies that are kept.
const COPIES_MAX: usize = 256;

impl Post {
    pub(crate) fn begin(&mut self, interest: Interest) {
        self.interests.push(interest);
    }

    pub(crate) fn end(&mut self, interest: Interest) {
        self.interests.retain(|known| *known != interest);
    }

    /// A parcel has come to a node. Whether it is not to be handed in.
    pub(crate) fn sees(&mut self, to: u32, parcel: &Parcel) -> bool {
        let wants = |known: &&Interest| (known.from, known.to) == (parcel.node.0, to);
        if parcel.channel != Channel::Data || !self.interests.iter().any(|known| wants(&known)) {
            return false;
        }
        let Some(envelope) = Envelope::decode(parcel.body.clone()) else { return false };
        let of_partition = |known: &&Interest| known.partition == envelope.partition;
        let known = self.interests.iter().filter(wants).find(of_partition).copied();
        let Some(known) = known.filter(|_| is_worth_it(&envelope.message)) else { return false };
        if self.copies.len() < COPIES_MAX {
            self.copies.push((known, parcel.clone()));
        }
        known.withholds && matches!(envelope.message, Message::Append { .. })
    }

    /// What was copied, to be delivered again.
    pub(crate) fn copies(&self, interest: Interest) -> Vec<Parcel> {
        let own = self.copies.iter().filter(|(known, _)| *known == interest);
        own.map(|(_, parcel)| parcel.clone()).collect()
    }

    /// The copies are of no use any more.
    pub(crate) fn forget(&mut self, interest: Interest) {
        self.copies.retain(|(known, _)| *known != interest);
    }
}

/// Records, and that they are there.
fn is_worth_it(message: &Message) -> bool {
    match message {
        Message::Append { records, .. } => !records.is_empty(),
        Message::Ack { .. } => true,
        Message::Lead
        | Message::Follow { .. }
        | Message::Common { .. }
        | Message::Restart { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kvnode_core::{Epoch, NodeId};

    use super::*;

    #[test]
    fn what_a_hunt_wants_is_copied_and_perhaps_withheld() {
        let interest = Interest { from: 1, to: 2, partition: PartitionId(0), withholds: true };
        let parcel = |partition, message| {
            let envelope = Envelope { partition: PartitionId(partition), epoch: Epoch(1), message };
            Parcel { node: NodeId(1), channel: Channel::Data, body: envelope.encode() }
        };
        let incarnation = kvnode_core::Incarnation(1);
        let append = Message::Append {
            round: kvnode_core::replication::Round { incarnation, number: 1 },
            beat: 0,
            sent: kvnode_core::Instant(1),
            base: kvnode_core::Offset(0),
            end: kvnode_core::Offset(1),
            watermark: kvnode_core::Offset(0),
            records: Bytes::from_static(b"r"),
        };
        let mut post = Post::default();
        assert!(!post.sees(2, &parcel(0, append.clone())), "nobody wants it yet");
        post.begin(interest);
        assert!(post.sees(2, &parcel(0, append.clone())));
        assert!(!post.sees(2, &parcel(1, append.clone())), "of another partition");
        assert!(!post.sees(3, &parcel(0, append.clone())), "to another node");
        assert!(!post.sees(2, &parcel(0, Message::Lead)));
        post.end(interest);
        assert!(!post.sees(2, &parcel(0, append)));
        assert_eq!(post.copies(interest).len(), 1);
        post.forget(interest);
        assert!(post.copies(interest).is_empty());
    }
}
