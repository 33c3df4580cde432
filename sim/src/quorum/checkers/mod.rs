//! Judges of the quorum: one property each, told what happens as it happens.
//!
//! | checker | property | source |
//! |---|---|---|
//! | [`leaders`] | at most one leader a term | Raft (Ongaro & Ousterhout 2014) §5.2, Election Safety |
//! | [`matching`] | equal index and term: equal entry and equal log before it | Raft §5.3, Log Matching |
//! | [`complete`] | a leader has all that earlier terms committed | Raft §5.4, Leader Completeness |
//! | [`committed`] | one entry at an index, for ever and everywhere | Raft §5.4.3, State Machine Safety |
//! | [`electable`] | what a leader counts as committed outlives every election that could come next | Raft §5.4.2, figure 8 |
//! | [`changes`] | voters change one at a time, by a leader that knows what is in force | dissertation §4.1–4.3; raft-dev 2015 |
//! | [`heard`] | a leader that hears from no majority steps down | dissertation §6.2 |
//! | [`votes`] | one vote a term and member, remembered; a majority of voters, by their directories, elects | Raft §5.2; KIP-853 |
//! | [`promises`] | what was acknowledged as durable, or spoken of as a term, outlives a restart | Raft §5.1, figure 2; dissertation §10.2.1 |
//! | [`monotone`] | terms and commit indexes do not go back in a life | Raft §5.1, figure 2 |
//! | [`maps`] | equal maps at equal index; a map's invariants; one leader an epoch, one life an incarnation | replicated state machines (Schneider 1990); DESIGN §4 |
//! | [`seats`] | whoever enters an in-sync set is active, in its present life | DESIGN §4; KIP-966, KIP-841 |
//! | [`lives`] | what names a life takes effect only while it is the node's, what gives it a part only while it is active | DESIGN §4; KIP-841, KIP-966 |
//! | [`sessions`] | a node is fenced for a reason | DESIGN §4; KIP-500 |
//! | [`answers`] | an operator is told "done" once, and of what was committed since it was asked for | linearizability (Herlihy & Wing 1990) |
//! | [`wire`] | a message that comes was sent, whole, once and in order | core/src/peer |
//!
//! None knows how the others do, and each is told plain facts, so that a test can forge a history.

pub(crate) mod answers;
pub(crate) mod changes;
pub(crate) mod committed;
pub(crate) mod complete;
pub(crate) mod electable;
pub(crate) mod heard;
pub(crate) mod leaders;
pub(crate) mod lives;
pub(crate) mod maps;
pub(crate) mod matching;
pub(crate) mod monotone;
pub(crate) mod promises;
pub(crate) mod seats;
pub(crate) mod sessions;
pub(crate) mod votes;
pub(crate) mod wire;

/// A promise broken: who says so, and what is wrong.
pub(crate) type Found = (&'static str, String);

#[cfg(test)]
pub(crate) mod forge {
    use kvnode_core::{DirectoryId, Member, NodeId};

    /// A node with its first directory.
    pub(crate) fn member(node: u32) -> Member {
        Member { node: NodeId(node), directory: DirectoryId(u128::from(node)) }
    }
}
