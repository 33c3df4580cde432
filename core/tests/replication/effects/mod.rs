//! The exact effects of each rule, one machine at a time.

mod follower;
mod leader;
mod wire;

use bytes::Bytes;
use kvnode_core::cluster::{Life, Map};
use kvnode_core::replication::{LogState, Message, Round};
use kvnode_core::storage::epochs::Epochs;
use kvnode_core::{Epoch, Instant, NodeId, Offset};

use super::replica::ms;

pub(crate) const N1: NodeId = NodeId(1);
pub(crate) const N2: NodeId = NodeId(2);
pub(crate) const N3: NodeId = NodeId(3);

/// Milliseconds since some start.
pub(crate) fn at(time: u64) -> Instant {
    Instant(0).after(ms(10_000 + time))
}

pub(crate) fn life(map: &Map, node: NodeId) -> Life {
    map.node(node).unwrap().life()
}

pub(crate) fn round(map: &Map, node: NodeId, number: u32) -> Round {
    Round { incarnation: life(map, node).incarnation, number }
}

/// A log with these epochs, so long, so much of it acknowledged.
pub(crate) struct Log {
    pub(crate) epochs: Epochs,
    pub(crate) end: u64,
    pub(crate) acked: u64,
    pub(crate) watermark: u64,
    pub(crate) horizon: u64,
}

pub(crate) fn log(epochs: &[(u32, u64)], end: u64, acked: u64) -> Log {
    let mut history = Epochs::new();
    epochs.iter().for_each(|&(epoch, start)| history.push(Epoch(epoch), Offset(start)));
    Log { epochs: history, end, acked, watermark: 0, horizon: 0 }
}

impl Log {
    pub(crate) fn state(&self) -> LogState<'_> {
        LogState {
            epochs: &self.epochs,
            end: Offset(self.end),
            stored: Offset(self.acked),
            acked: Offset(self.acked),
            watermark: Offset(self.watermark),
            tombstone_horizon: Offset(self.horizon),
        }
    }
}

pub(crate) fn asks(round: Round, last: u32, end: u64) -> Message {
    Message::Follow { round, last: Epoch(last), end: Offset(end) }
}

pub(crate) fn ack(round: Round, beat: u64, sent: Instant, end: u64) -> Message {
    Message::Ack { round, beat, sent, end: Offset(end), stored: Offset(end) }
}

pub(crate) fn append(round: Round, sent: Instant, base: u64, end: u64, watermark: u64) -> Message {
    let records = Bytes::from(vec![0; 8 * (end - base) as usize]);
    let (base, end, watermark) = (Offset(base), Offset(end), Offset(watermark));
    Message::Append { round, beat: 0, sent, base, end, watermark, records }
}
