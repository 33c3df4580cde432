//! Messages between replicas that were copied, to be delivered once more when they do most harm: what a
//! hunt is interested in, and of each reign the acknowledgement that says most.
//!
//! Any message may come twice and late (`core/src/replication/message.rs`). Which of them would be believed
//! in a later reign, and when, no dice find.

use std::collections::BTreeMap;

use kvnode_core::node::Parcel;
use kvnode_core::peer::Channel;
use kvnode_core::replication::{Envelope, Message};
use kvnode_core::{Epoch, Offset, PartitionId};

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

/// What says most of a log in a reign.
struct Boast {
    end: Offset,
    parcel: Parcel,
    /// How often it may come again.
    left: usize,
}

/// Copies of what was sent, in its order.
#[derive(Default)]
pub(crate) struct Post {
    interests: Vec<Interest>,
    copies: Vec<(Interest, Parcel)>,
    /// By who acknowledges to whom, and in which reign: the most, and the parcel.
    acks: BTreeMap<(u32, u32, PartitionId), BTreeMap<Epoch, Boast>>,
}

/// Most copies that are kept.
const COPIES_MAX: usize = 256;

/// How often an acknowledgement of an earlier reign comes again.
const BOASTS_MAX: usize = 8;

/// Reigns of which acknowledgements between two nodes are kept.
const REIGNS_MAX: usize = 4;

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

    /// A copy that would be taken for what has come to a node now, if nobody looked whose reign it is
    /// of: it begins at the same place of the log, and is of an earlier one. It comes first, once.
    pub(crate) fn precursor(&mut self, to: u32, parcel: &Parcel) -> Option<Parcel> {
        if parcel.channel != Channel::Data || self.copies.iter().all(|(known, _)| known.to != to) {
            return None;
        }
        let now = place(parcel)?;
        let precedes = |(known, copy): &(Interest, Parcel)| {
            known.to == to
                && place(copy).is_some_and(|(partition, base, epoch)| {
                    (partition, base) == (now.0, now.1) && epoch < now.2
                })
        };
        let at = self.copies.iter().position(precedes)?;
        Some(self.copies.remove(at).1)
    }

    /// An acknowledgement of an earlier reign that says more than this one, which has come to a node: it
    /// comes first, a few times: when the leader has sent so much that it could be believed is not seen
    /// here.
    pub(crate) fn boast(&mut self, to: u32, parcel: &Parcel) -> Option<Parcel> {
        if parcel.channel != Channel::Data {
            return None;
        }
        let Envelope { partition, epoch, message } = Envelope::decode(parcel.body.clone())?;
        let Message::Ack { end, .. } = message else { return None };
        let reigns = self.acks.entry((parcel.node.0, to, partition)).or_default();
        if reigns.get(&epoch).is_none_or(|known| known.end < end) {
            reigns.insert(epoch, Boast { end, parcel: parcel.clone(), left: BOASTS_MAX });
        }
        while reigns.len() > REIGNS_MAX {
            reigns.pop_first();
        }
        let may_come = |boast: &&mut Boast| boast.end > end && boast.left > 0;
        let boast = reigns.range_mut(..epoch).map(|(_, boast)| boast).find(may_come)?;
        boast.left -= 1;
        Some(boast.parcel.clone())
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

/// Of records: their partition, where they begin in its log, and the reign they were sent in.
fn place(parcel: &Parcel) -> Option<(PartitionId, Offset, Epoch)> {
    let Envelope { partition, epoch, message } = Envelope::decode(parcel.body.clone())?;
    let Message::Append { base, records, .. } = message else { return None };
    (!records.is_empty()).then_some((partition, base, epoch))
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
    use kvnode_core::NodeId;

    use super::*;

    fn append(base: u64, records: &'static [u8]) -> Message {
        let incarnation = kvnode_core::Incarnation(1);
        Message::Append {
            round: kvnode_core::replication::Round { incarnation, number: 1 },
            beat: 0,
            sent: kvnode_core::Instant(1),
            base: Offset(base),
            end: Offset(base + records.len() as u64),
            watermark: Offset(0),
            records: Bytes::from_static(records),
        }
    }

    fn parcel_of(from: u32, partition: u32, epoch: u32, message: Message) -> Parcel {
        let (partition, epoch) = (PartitionId(partition), Epoch(epoch));
        let envelope = Envelope { partition, epoch, message };
        Parcel { node: NodeId(from), channel: Channel::Data, body: envelope.encode() }
    }

    #[test]
    fn records_of_an_earlier_reign_come_before_those_of_a_later_one_at_their_place() {
        let interest = Interest { from: 1, to: 2, partition: PartitionId(0), withholds: true };
        let mut post = Post::default();
        post.begin(interest);
        let old = parcel_of(1, 0, 1, append(8, b"r"));
        assert!(post.sees(2, &old));
        let new = |partition, epoch, base| parcel_of(3, partition, epoch, append(base, b"s"));
        assert_eq!(post.precursor(2, &new(0, 1, 8)), None, "of the same reign");
        assert_eq!(post.precursor(2, &new(0, 2, 9)), None, "of another place");
        assert_eq!(post.precursor(2, &new(1, 2, 8)), None, "of another partition");
        assert_eq!(post.precursor(4, &new(0, 2, 8)), None, "to another node");
        let beat = parcel_of(3, 0, 2, append(8, b""));
        assert_eq!(post.precursor(2, &beat), None, "without records");
        assert_eq!(post.precursor(2, &new(0, 2, 8)), Some(old));
        assert_eq!(post.precursor(2, &new(0, 2, 8)), None, "it came once");
    }

    #[test]
    fn an_acknowledgement_of_an_earlier_reign_that_says_more_comes_first() {
        let ack = |partition, epoch, end| {
            let round = kvnode_core::replication::Round {
                incarnation: kvnode_core::Incarnation(1),
                number: 1,
            };
            let (end, sent) = (Offset(end), kvnode_core::Instant(1));
            parcel_of(1, partition, epoch, Message::Ack { round, beat: 0, sent, end, stored: end })
        };
        let mut post = Post::default();
        for end in [9, 10, 8] {
            assert_eq!(post.boast(2, &ack(0, 1, end)), None, "of the same reign");
        }
        assert_eq!(post.boast(2, &ack(1, 2, 9)), None, "of another partition");
        assert_eq!(post.boast(3, &ack(0, 2, 9)), None, "to another node");
        assert_eq!(post.boast(2, &ack(0, 3, 10)), None, "it says as much");
        for _ in 0..BOASTS_MAX {
            assert_eq!(post.boast(2, &ack(0, 3, 9)), Some(ack(0, 1, 10)));
        }
        assert_eq!(post.boast(2, &ack(0, 3, 9)), None, "it came often enough");
    }

    #[test]
    fn what_a_hunt_wants_is_copied_and_perhaps_withheld() {
        let interest = Interest { from: 1, to: 2, partition: PartitionId(0), withholds: true };
        let parcel = |partition, message| parcel_of(1, partition, 1, message);
        let append = append(0, b"r");
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
