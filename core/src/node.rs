//! What the machines of one node say to each other: its [control](crate::control) and its
//! [shard](crate::shard). The driver hands each on, in order and whole, and looks at none.
//!
//! Control has the links with other nodes, so that one connection each way serves a pair of nodes
//! and one machine judges whether a peer is there. What the shards of two nodes say to each other it
//! carries as [`Parcel`]s.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::cluster::controller::{Request, RequestError};
use crate::cluster::{AlterPartition, LogEnd, PartitionEpoch, Refusal};
use crate::control::View;
use crate::peer::Channel;
use crate::{ClientId, Epoch, NodeId, PartitionId};

/// From control to the shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToShard {
    /// The cluster looks different.
    View(Arc<View>),
    /// Parcels can be sent to the node from now on. Those that came before are of an earlier link.
    Linked(NodeId),
    /// They can not any more; those under way may or may not arrive.
    Unlinked(NodeId),
    /// Some of what the node had said lately may not have come, and will not.
    Missed(NodeId),
    /// From the shard of another node.
    Parcel(Parcel),
    /// The link to the node has taken a parcel of the forward channel.
    Taken(NodeId),
    /// There was no link, or no room on it: nothing of it was sent.
    Returned(Parcel),
    /// The node stops: others have taken over what it led. Nothing more is taken from clients; once
    /// all that was taken is answered, [`ToControl::Left`] lets the links go.
    Leaving,
    /// What became of a client's [request](ToControl::Request).
    Answered(ClientId, Result<(), RequestError>),
    /// The map will not take this change of an in-sync set.
    AlterRefused {
        /// Of which partition.
        partition: PartitionId,
        /// Against which version of it.
        partition_epoch: PartitionEpoch,
        /// Why.
        why: Refusal,
    },
}

/// From the shard to control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToControl {
    /// To the shard of another node. Without a link, or room on it, it is
    /// [returned](ToShard::Returned); that one of the forward channel was
    /// [taken](ToShard::Taken) is said.
    Parcel(Parcel),
    /// A leader of this node wants another in-sync set: asked of the controller until the map has
    /// moved on or a refusal comes.
    Alter(AlterPartition),
    /// How far the open replicas have come. At intervals, and at once when it matters.
    LogEnds(Vec<LogEnd>),
    /// After [`ToShard::Leaving`]: nobody waits for this node any more.
    Left,
    /// A replica is not open any more.
    Closed(PartitionId),
    /// A leader of this node can not go on in its reign.
    Resigned(PartitionId, Epoch),
    /// A client asks the controller for something, wherever that is: answered once, in any case, by
    /// [`ToShard::Answered`]. A client waits for one at a time.
    Request(ClientId, Request),
    /// Something is missing that this node had acknowledged: it registers anew, as one that has no
    /// claim to a seat.
    Unclean,
}

/// What goes from shard to shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The other node.
    pub node: NodeId,
    /// On which channel: [`Channel::Data`] or [`Channel::Forward`].
    pub channel: Channel,
    /// What it says.
    pub body: Bytes,
}
