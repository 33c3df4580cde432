//! Judges of replicated partitions: one property each, told what happens as it happens.
//!
//! | checker | property | source |
//! |---|---|---|
//! | [`reigns`] | one leader, in one life, an epoch and partition | PacificA §2; DESIGN §4 |
//! | [`matching`] | equal offset and epoch: equal record, behind an equal one | Raft §5.3; KIP-101 |
//! | [`committed`] | what a watermark has covered is the same everywhere, and in the log of each later leader | PacificA's commit invariant; KIP-966 |
//! | [`complete`] | whoever is, or may be, in the in-sync set has acknowledged all that is before the leader's watermark, and all that is committed when it is let in ([`committed`]) | PacificA §2.2; KIP-497 |
//! | [`watermark`] | a watermark does not go back in a reign, nor beyond its replica's own end, and stands below min-ISR | KIP-101; Kafka's min.insync.replicas |
//! | [`progress`] | what all in sync have acknowledged becomes committed | KIP-497; Kafka's shrinking of the in-sync set |
//! | [`recovered`] | the longest log is taken of those who were in sync last and are there, when nobody can be elected without a doubt | KIP-966 |
//! | [`acks`] | whoever WAIT counts has acknowledged what the client wrote | Redis's WAIT and WAITAOF |
//! | [`contents`] | replicas at rest say the same | Schneider 1990 |
//!
//! None knows how the others do, and each is told plain facts, so that a test can forge a history.

pub(crate) mod acks;
pub(crate) mod committed;
pub(crate) mod complete;
pub(crate) mod contents;
pub(crate) mod matching;
pub(crate) mod progress;
pub(crate) mod recovered;
pub(crate) mod reigns;
pub(crate) mod watermark;

pub(crate) use crate::quorum::checkers::Found;
