//! The handshake's judgement: may these two link?
//!
//! The acceptor judges the dialler's [`Hello`], and the dialler the [`Welcome`] that it gets. A node
//! that knows no cluster may link with one that does: what follows from that is for the owner of the
//! links to decide. A refusal names both nodes in the third person, so that the same sentence can be
//! printed on either side.

use alloc::string::ToString;
use core::fmt;

use super::message::{Hello, MAGIC, Nonce, Refused, Versions, Welcome};
use crate::{ClusterId, DirectoryId, Member, NodeId};

/// Who a node is, as it tells its peers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its cluster; `None` while it knows none.
    pub cluster: Option<ClusterId>,
    /// Its id and its data directory.
    pub member: Member,
    /// Drawn at the start of the process.
    pub nonce: Nonce,
    /// The versions of the peer protocol it speaks.
    pub versions: Versions,
    /// The newest feature level of its release.
    pub features: u32,
    /// Hash of the settings that it would found a cluster with.
    pub founding: u64,
}

impl Identity {
    pub(super) fn hello(&self, dialled: NodeId) -> Hello {
        Hello {
            magic: MAGIC,
            versions: self.versions,
            features: self.features,
            cluster: self.cluster,
            member: self.member,
            nonce: self.nonce,
            dialled,
            founding: self.founding,
        }
    }

    /// The acceptor's answer. `listed` is whether the dialler is among its peers.
    pub(super) fn answer(&self, hello: &Hello, listed: bool) -> Result<Welcome, Refusal> {
        let (dialler, acceptor) = (hello.member.node, self.member.node);
        let refuse = |why| Err(Refusal { dialler, acceptor, why });
        let Some(version) = self.versions.common(hello.versions) else {
            return refuse(Why::Version { dialler: hello.versions, acceptor: self.versions });
        };
        if hello.nonce == self.nonce {
            return refuse(Why::Itself { dialled: hello.dialled });
        }
        if hello.dialled != acceptor {
            return refuse(Why::WrongNode { dialled: hello.dialled });
        }
        if dialler == acceptor {
            let directories = [hello.member.directory, self.member.directory];
            return refuse(Why::DuplicateId { directories });
        }
        if let (Some(theirs), Some(ours)) = (hello.cluster, self.cluster)
            && theirs != ours
        {
            return refuse(Why::OtherCluster { dialler: theirs, acceptor: ours });
        }
        if !listed {
            return refuse(Why::NotListed);
        }
        if hello.cluster.is_none() && self.cluster.is_none() && hello.founding != self.founding {
            return refuse(Why::Founding { dialler: hello.founding, acceptor: self.founding });
        }
        Ok(Welcome {
            version,
            features: self.features,
            cluster: self.cluster,
            member: self.member,
            nonce: self.nonce,
        })
    }

    /// The dialler's view of the answer.
    pub(super) fn accept(&self, dialled: NodeId, welcome: &Welcome) -> Result<(), Refusal> {
        let (dialler, acceptor) = (self.member.node, welcome.member.node);
        let refuse = |why| Err(Refusal { dialler, acceptor, why });
        if !self.versions.contain(welcome.version) {
            let chosen = Versions { min: welcome.version, max: welcome.version };
            return refuse(Why::Version { dialler: self.versions, acceptor: chosen });
        }
        if acceptor != dialled {
            return refuse(Why::WrongNode { dialled });
        }
        if let (Some(ours), Some(theirs)) = (self.cluster, welcome.cluster)
            && ours != theirs
        {
            // One of the two has learnt of its cluster since the Hello.
            return refuse(Why::OtherCluster { dialler: ours, acceptor: theirs });
        }
        Ok(())
    }
}

/// Why two nodes do not link. Its `Display` is the sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// Who dialled.
    pub dialler: NodeId,
    /// Who accepted.
    pub acceptor: NodeId,
    /// The reason.
    pub why: Why,
}

/// The reason of a [`Refusal`] with what differs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// They have no version of the protocol in common.
    Version {
        /// What the dialler speaks.
        dialler: Versions,
        /// What the acceptor speaks.
        acceptor: Versions,
    },
    /// A process has dialled itself.
    Itself {
        /// Whom it meant.
        dialled: NodeId,
    },
    /// Another node listens at that address.
    WrongNode {
        /// Whom the dialler meant.
        dialled: NodeId,
    },
    /// Two processes have one id.
    DuplicateId {
        /// The dialler's directory and the acceptor's.
        directories: [DirectoryId; 2],
    },
    /// They belong to different clusters.
    OtherCluster {
        /// The dialler's.
        dialler: ClusterId,
        /// The acceptor's.
        acceptor: ClusterId,
    },
    /// The acceptor does not have the dialler among its peers.
    NotListed,
    /// Neither knows a cluster, and they would found different ones.
    Founding {
        /// Hash of the dialler's settings.
        dialler: u64,
        /// Hash of the acceptor's.
        acceptor: u64,
    },
}

/// The reason alone, as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalKind {
    /// No version of the protocol in common.
    Version,
    /// A process has dialled itself.
    Itself,
    /// Another node listens at that address.
    WrongNode,
    /// Two processes have one id.
    DuplicateId,
    /// They belong to different clusters.
    OtherCluster,
    /// The acceptor does not have the dialler among its peers.
    NotListed,
    /// They would found different clusters.
    Founding,
    /// A reason of a later release; its text tells.
    Later(u8),
}

impl RefusalKind {
    /// Its byte in [`Refused`].
    pub fn code(self) -> u8 {
        match self {
            Self::Version => 1,
            Self::Itself => 2,
            Self::WrongNode => 3,
            Self::DuplicateId => 4,
            Self::OtherCluster => 5,
            Self::NotListed => 6,
            Self::Founding => 7,
            Self::Later(code) => code,
        }
    }

    /// The reason of this byte.
    pub fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Version,
            2 => Self::Itself,
            3 => Self::WrongNode,
            4 => Self::DuplicateId,
            5 => Self::OtherCluster,
            6 => Self::NotListed,
            7 => Self::Founding,
            code => Self::Later(code),
        }
    }
}

impl Refusal {
    /// The reason alone.
    pub fn kind(&self) -> RefusalKind {
        match self.why {
            Why::Version { .. } => RefusalKind::Version,
            Why::Itself { .. } => RefusalKind::Itself,
            Why::WrongNode { .. } => RefusalKind::WrongNode,
            Why::DuplicateId { .. } => RefusalKind::DuplicateId,
            Why::OtherCluster { .. } => RefusalKind::OtherCluster,
            Why::NotListed => RefusalKind::NotListed,
            Why::Founding { .. } => RefusalKind::Founding,
        }
    }

    pub(super) fn message(&self) -> Refused {
        Refused { code: self.kind().code(), text: self.to_string() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dialler: d, acceptor: a, why } = self;
        match why {
            Why::Version { dialler, acceptor } => write!(
                f,
                "{d} speaks {dialler} of the peer protocol and {a} {acceptor}: update the older of \
                 the two to a release that speaks a version of the other"
            ),
            Why::Itself { dialled } => write!(
                f,
                "{d} dialled {dialled} and reached itself: the address that {d} has for {dialled} \
                 is its own; correct it"
            ),
            Why::WrongNode { dialled } => write!(
                f,
                "{d} dialled {dialled} and reached {a}: correct the address that {d} has for \
                 {dialled}, or the id of the node that listens there"
            ),
            Why::DuplicateId { directories: [one, two] } if one == two => write!(
                f,
                "two processes run as {d}, both with data directory {one}, so one has a copy of it: \
                 stop that one, and start it again with an id and an empty directory of its own"
            ),
            Why::DuplicateId { directories: [one, two] } => write!(
                f,
                "two processes run as {d}, with data directories {one} and {two}: stop one of them, \
                 or give it an id of its own"
            ),
            Why::OtherCluster { dialler, acceptor } => write!(
                f,
                "{d} belongs to cluster {dialler} and {a} to cluster {acceptor}: correct the \
                 addresses of the peers, or have one of the two join the other's cluster with an \
                 empty data directory"
            ),
            Why::NotListed => write!(
                f,
                "{a} does not have {d} among its peers: add {d} to the cluster, or to the peers that \
                 {a} is started with"
            ),
            Why::Founding { dialler, acceptor } => write!(
                f,
                "{d} and {a} would found different clusters (settings {dialler:016x} and \
                 {acceptor:016x}): start every founding node with the same peers and the same \
                 settings of the cluster"
            ),
        }
    }
}
