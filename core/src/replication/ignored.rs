//! Why a message is ignored.

use core::fmt;

/// Why a message had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignored {
    /// It is said to the other role.
    OtherRole,
    /// It does not come from the leader that this replica follows.
    NotLeader,
    /// It comes from a node that holds no replica.
    Stranger,
    /// It comes from a life that is over.
    EndedLife,
    /// It belongs to a session that is over, or that never was.
    OldRound,
    /// A later message of the session has made it void.
    Overtaken,
    /// It asks for what was asked already, while the log is being cut.
    Cutting,
    /// What comes before it is missing: it was lost, and the follower asks anew.
    Gap,
    /// The follower is to be removed from the in-sync set before it may begin again.
    InSyncStill,
    /// Its numbers can not be.
    Absurd,
    /// The follower's log ends in a later reign. Never happens while replicas keep to the protocol.
    LaterReign,
    /// The follower's log has what this leader never wrote in its own reign, or an epoch begins
    /// there elsewhere than here. Never happens while replicas keep to the protocol.
    Contradiction,
    /// It acknowledges what was never sent. Never happens while replicas keep to the protocol.
    AckBeyondSent,
}

impl Ignored {
    /// Whether some replica must have broken the protocol: a checker stops here.
    pub fn is_violation(self) -> bool {
        match self {
            Self::LaterReign | Self::Contradiction | Self::AckBeyondSent => true,
            Self::OtherRole
            | Self::NotLeader
            | Self::Stranger
            | Self::EndedLife
            | Self::OldRound
            | Self::Overtaken
            | Self::Cutting
            | Self::Gap
            | Self::InSyncStill
            | Self::Absurd => false,
        }
    }

    /// Its name, as traces print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OtherRole => "other role",
            Self::NotLeader => "not leader",
            Self::Stranger => "stranger",
            Self::EndedLife => "ended life",
            Self::OldRound => "old round",
            Self::Overtaken => "overtaken",
            Self::Cutting => "cutting",
            Self::Gap => "gap",
            Self::InSyncStill => "in sync still",
            Self::Absurd => "absurd",
            Self::LaterReign => "later reign",
            Self::Contradiction => "contradiction",
            Self::AckBeyondSent => "ack beyond sent",
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
