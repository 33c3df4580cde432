//! What the controls of two nodes say to each other, over the control channel of their link.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ClusterId;
use crate::cluster::controller::{Request, RequestError};
use crate::cluster::{BrokerMessage, ControllerMessage};
use crate::election::{self, Snapshot};

/// A message. Any of them may be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The sender belongs to no cluster yet.
    Fresh,
    /// To one that belongs to none: this is the cluster, and what to begin with.
    Join(Join),
    /// Between members of the quorum, and to observers.
    Election(election::Message),
    /// From a node to the controller.
    Broker(BrokerMessage),
    /// From the controller to a node.
    Controller(ControllerMessage),
    /// To the controller: an operator asks for something.
    Ask(Ask),
    /// To who asked.
    Answer(Answer),
}

/// What an operator asks of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The asker's number of it.
    pub number: u64,
    /// What is asked for.
    pub request: Request,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The asker's number of it.
    pub number: u64,
    /// Done, or what is known instead.
    pub outcome: Result<(), RequestError>,
}

/// What a new member begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The cluster.
    pub cluster: ClusterId,
    /// The sender's last snapshot. It is committed, so that whoever begins with it has nothing that
    /// could be taken back.
    pub snapshot: Snapshot,
}

impl Message {
    /// As it goes over the link.
    pub(super) fn encode(&self) -> Bytes {
        Bytes::from(postcard::to_allocvec(self).expect("plain data can be written to memory"))
    }

    /// The message that [`Message::encode`] wrote; `None` if these bytes are none of ours.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match postcard::take_from_bytes(bytes) {
            Ok((message, [])) => Some(message),
            Ok(_) | Err(_) => None,
        }
    }
}
