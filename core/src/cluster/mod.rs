//! The cluster map and those who keep it (draft).

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
