//! The cluster map and those who keep it (draft).

mod apply;
mod check;
mod command;
mod map;
mod refusal;
mod reign;
mod words;

pub use check::Violation;
pub use command::{AlterPartition, Command, ElectLeader, FormatError, Reassign, Right};
pub use map::{Changes, Map};
pub use refusal::{Field, Refusal};
pub use words::{
    Cause, Doubt, Features, Founding, Life, Node, Partition, PartitionEpoch, Registration, Seat,
    SlotRange, Standing,
};
