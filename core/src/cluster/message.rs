//! What a broker and the controller say to each other. The link may lose, delay and repeat all of
//! it; whatever matters is said again until the map shows it.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::command::AlterPartition;
use super::refusal::Refusal;
use super::words::{PartitionEpoch, Registration};
use crate::{Epoch, Incarnation, Index, Millis, Offset, PartitionId};

/// From a broker to whoever leads the quorum.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BrokerMessage {
    /// Enter me. Said until the map shows the nonce.
    Register(Registration),
    /// I am here.
    Heartbeat(Heartbeat),
    /// The in-sync set of a partition that I lead is another. Said until the partition epoch has
    /// moved on or a refusal comes.
    Alter(AlterPartition),
}

/// See [`BrokerMessage::Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// In which life; one that is over is ignored.
    pub incarnation: Incarnation,
    /// How far the node has applied the quorum's log.
    pub applied: Index,
    /// Its wall clock.
    pub wall_ms: Millis,
    /// How far its open replicas have come, by partition.
    pub log_ends: Vec<LogEnd>,
    /// Partitions of which it can not go on in this reign: its log was not what it must be, and was
    /// opened again.
    pub resigned: Vec<(PartitionId, Epoch)>,
    /// It would like to stop: its leaderships are to be moved away.
    pub wants_stop: bool,
}

/// How far a replica has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogEnd {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch of the last record.
    pub epoch: Epoch,
    /// The end of the log.
    pub end: Offset,
    /// False: it would rather not lead, since its disk is full or failing.
    pub fit: bool,
}

/// From the controller to a broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ControllerMessage {
    /// A heartbeat has come.
    Heard {
        /// Of which life.
        incarnation: Incarnation,
        /// The node leads nothing that another could lead, and may stop.
        may_stop: bool,
    },
    /// A registration will not be entered.
    RegisterRefused {
        /// Which one.
        nonce: u64,
        /// Why.
        why: RegisterRefusal,
    },
    /// A change of an in-sync set was not made.
    AlterRefused {
        /// Of which partition.
        partition: PartitionId,
        /// Against which version.
        partition_epoch: PartitionEpoch,
        /// Why.
        why: Refusal,
    },
}

/// Why a registration is not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum RegisterRefusal {
    /// A process with another directory holds a session under the same id.
    #[error("another process with the same id is alive")]
    DuplicateId,
    /// The map refuses it.
    #[error("{0}")]
    Map(Refusal),
}
