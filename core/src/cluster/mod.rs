//! The cluster map and those who keep it: which nodes there are, who holds which partition, who
//! leads it, and who is in sync.
//!
//! ```text
//!   broker (every node)                     controller (where the quorum's leader is)
//!   register, heartbeat, alter ISR ───────▶ sessions, elections, placement
//!        ▲                                        │ propose
//!        │ reads                                  ▼
//!      map ◀──────── apply, in order ────── the quorum's committed log
//! ```
//!
//! - [`Map`] is the state that the quorum's committed log adds up to. It decides what is lawful:
//!   every command is judged when it is applied, by the map as it stands then. So it does not
//!   matter for safety who proposes what, or how late.
//! - [`controller`] decides what is wise: who is alive, who should lead, where replicas go. It is
//!   volatile and lives on the node that leads the quorum.
//! - [`broker`] is a node's own side: it registers, says that it is alive, and learns from the map
//!   what the node is.
//! - [`view`] is what people and clients are shown, [`remedy`] what they can do about it.
//!
//! # The rules
//!
//! **Lives.** A node is an id, a data directory, and a life: each start of the process registers
//! anew, and the index of that entry is its *incarnation*. Whatever names a node in a claim (a
//! heartbeat, a seat in an in-sync set, an election) names the life too, and is refused once
//! another life has begun. A new life is fenced, and leads nothing, until the controller has heard
//! of it and it has applied the entry that fenced it.
//!
//! **The in-sync set** holds whoever has every acknowledged record. It changes in three ways: the
//! leader alters it (compare-and-set on the partition epoch, in its reign, with the lives of all
//! members); a fenced node loses its seat if others remain; a node that comes back with another
//! directory, or without all that it had acknowledged, loses its seat if others remain. Taking a
//! member away is always safe. Adding one is the leader's alone, since it alone knows what it has
//! acknowledged. *The set is never empty*: the last seat stays, whatever becomes of its holder, for
//! it says where the data is.
//!
//! **Reigns.** A leader is elected from the in-sync set, in its present life, not fenced. Each
//! election takes an epoch above every earlier one of the partition and above every epoch that was
//! found in a log, so no epoch has two leaders. When the leader is fenced or starts a new life the
//! partition has no leader until the next election.
//!
//! **Doubt.** Two things make a leader of a replica that is not in sync, and both leave a mark in
//! the map until an operator has taken note: an operator's word, while nobody in sync is there; and
//! the last one in sync having come back from an unclean stop (its seat is then not *whole*), when
//! the longest log is taken. A replica whose directory is another is never taken for the one that
//! was lost.
//!
//! **Why the last in sync alone.** A set that shrinks to one keeps only that one electable, though
//! those who were fenced while writes were refused for want of min-ISR hold every acknowledged
//! write as well (Kafka's eligible leader replicas, KIP-966). A leader alone in its in-sync set may
//! then serve reads without asking anybody, since nobody else can be elected. Electing such others
//! would break that.
//!
//! What this is not: the quorum itself, whose log hands over committed entries in order and whose
//! snapshots hold the map ([`Map::encode`]); and replication, which obeys the map.

mod apply;
pub mod broker;
mod check;
mod command;
pub mod controller;
mod map;
mod message;
mod placement;
mod refusal;
mod reign;
pub mod remedy;
mod show;
pub mod standstill;
#[cfg(test)]
mod tests;
pub mod view;
mod words;

pub use check::Violation;
pub use command::{AlterPartition, Command, ElectLeader, FormatError, Reassign, Right};
pub use map::{Changes, Map};
pub use message::{BrokerMessage, ControllerMessage, Heartbeat, LogEnd, RegisterRefusal};
pub use placement::place;
pub use refusal::{Field, Refusal};
pub use words::{
    Cause, Doubt, Features, Founding, Life, Node, Partition, PartitionEpoch, Registration, Seat,
    SlotRange, Standing,
};
