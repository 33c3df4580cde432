//! What shards of two nodes say to each other, in a few words, and which message it is.

use std::collections::{BTreeMap, VecDeque};

use kvnode_core::node::Parcel;
use kvnode_core::peer::Channel;
use kvnode_core::replication::{Envelope, Message};

use crate::hash_of;

/// Parcels under way, by their two ends.
#[derive(Default)]
pub(crate) struct Parcels {
    flying: BTreeMap<(u32, u32), VecDeque<(u64, u64)>>,
    last: u64,
}

/// Apart from the numbers of other messages.
const FIRST: u64 = 1 << 62;

/// Most that is remembered of what is under way between two nodes.
const FLYING_MAX: usize = 4096;

impl Parcels {
    /// A parcel is handed over at one end; its number.
    pub(crate) fn sent(&mut self, from: u32, to: u32, parcel: &Parcel) -> u64 {
        self.last += 1;
        let flying = self.flying.entry((from, to)).or_default();
        if flying.len() == FLYING_MAX {
            flying.pop_front();
        }
        flying.push_back((print(parcel), FIRST + self.last));
        FIRST + self.last
    }

    /// It comes out at the other; its number. What was sent before it will not come any more.
    pub(crate) fn received(&mut self, from: u32, to: u32, parcel: &Parcel) -> Option<u64> {
        let flying = self.flying.get_mut(&(from, to))?;
        let print = print(parcel);
        let at = flying.iter().position(|(known, _)| *known == print)?;
        let number = flying[at].1;
        flying.drain(..=at);
        Some(number)
    }
}

fn print(parcel: &Parcel) -> u64 {
    hash_of((parcel.channel as u8, &parcel.body))
}

/// Whether a parcel tells a follower to begin again from zero.
pub(crate) fn is_restart(parcel: &Parcel) -> bool {
    let envelope = (parcel.channel == Channel::Data).then(|| Envelope::decode(parcel.body.clone()));
    matches!(envelope, Some(Some(Envelope { message: Message::Restart { .. }, .. })))
}

/// What a parcel says.
pub(crate) fn words(parcel: &Parcel) -> String {
    if parcel.channel != Channel::Data {
        return format!("forwards {} bytes", parcel.body.len());
    }
    let Some(envelope) = Envelope::decode(parcel.body.clone()) else {
        return "data that nobody can read".to_owned();
    };
    let (p, epoch) = (envelope.partition, envelope.epoch);
    let said = match envelope.message {
        Message::Lead => "I lead".to_owned(),
        Message::Follow { round, last, end, .. } => {
            format!("follow from {} after {last} (round {})", end.0, round.number)
        }
        Message::Common { epoch, end, .. } => format!("common {epoch} up to {}", end.0),
        Message::Restart { .. } => "begin again from zero".to_owned(),
        Message::Append { base, end, watermark, beat, .. } if base == end => {
            format!("beat {beat} at {} committed {}", end.0, watermark.0)
        }
        Message::Append { base, end, watermark, .. } => {
            format!("append {}..{} committed {}", base.0, end.0, watermark.0)
        }
        Message::Ack { end, beat, .. } => format!("acknowledge {} beat {beat}", end.0),
    };
    format!("{p} {epoch} {said}")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kvnode_core::NodeId;

    use super::*;

    #[test]
    fn a_parcel_is_known_at_its_other_end() {
        let parcel = |text: &'static str| Parcel {
            node: NodeId(2),
            channel: Channel::Forward,
            body: Bytes::from_static(text.as_bytes()),
        };
        let mut parcels = Parcels::default();
        let [a, b] = ["a", "b"].map(|text| parcels.sent(1, 2, &parcel(text)));
        assert!(a != b);
        assert_eq!(parcels.received(1, 2, &parcel("b")), Some(b));
        assert_eq!(parcels.received(1, 2, &parcel("a")), None, "it was overtaken, so it is lost");
        assert_eq!(parcels.received(2, 1, &parcel("b")), None);
    }
}
