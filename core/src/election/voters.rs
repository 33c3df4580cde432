//! Who votes.

use alloc::collections::BTreeMap;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::VOTERS_MAX;
use crate::{DirectoryId, Member, NodeId};

/// The members whose majority decides: at most one directory for each node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Voters(BTreeMap<NodeId, DirectoryId>);

impl Voters {
    /// These members. Of a node that is named twice the last one counts.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Self {
        Self(members.into_iter().map(|member| (member.node, member.directory)).collect())
    }

    /// Whether the member votes: the node with this very directory.
    pub fn contains(&self, member: Member) -> bool {
        self.0.get(&member.node) == Some(&member.directory)
    }

    /// The directory with which the node votes.
    pub fn directory(&self, node: NodeId) -> Option<DirectoryId> {
        self.0.get(&node).copied()
    }

    /// The member as which the node votes.
    pub fn member(&self, node: NodeId) -> Option<Member> {
        self.directory(node).map(|directory| Member { node, directory })
    }

    /// All of them, by node.
    pub fn iter(&self) -> impl Iterator<Item = Member> + '_ {
        self.0.iter().map(|(&node, &directory)| Member { node, directory })
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody votes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many make a majority.
    pub fn quorum(&self) -> usize {
        self.0.len() / 2 + 1
    }

    /// Whether these are few enough, and any, to be believed.
    pub(super) fn plausible(&self) -> bool {
        (1..=VOTERS_MAX).contains(&self.0.len())
    }

    /// Whether one more of them than half satisfies the condition.
    pub(super) fn majority(&self, mut says_yes: impl FnMut(Member) -> bool) -> bool {
        self.iter().filter(|&member| says_yes(member)).count() >= self.quorum()
    }

    pub(super) fn with(&self, member: Member) -> Self {
        let mut voters = self.clone();
        voters.0.insert(member.node, member.directory);
        voters
    }

    pub(super) fn without(&self, node: NodeId) -> Self {
        let mut voters = self.clone();
        voters.0.remove(&node);
        voters
    }
}

impl fmt::Display for Voters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, member) in self.iter().enumerate() {
            write!(f, "{}{member}", if at == 0 { "" } else { " " })?;
        }
        f.write_str("}")
    }
}
