//! What the nemesis is going to do: a list of faults with their times, drawn before the run starts.
//!
//! The list is all there is: no fault is thrown by dice while the run is under way (only its details
//! are: which sector, which half of a write). So a failing run can be shrunk by leaving faults out,
//! and a sweep over single faults is a list of plans with one fault each.

mod draw;
mod shrink;
pub mod text;

use std::fmt;

use kvnode_core::disk::File;

use crate::disk::{Strike, Unsynced};
use crate::story::Lane;

pub(crate) use draw::{draw, usual_share};
pub use shrink::{Shrunk, shrink};

/// Something that the nemesis does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The process of a node is killed, and started again after so many milliseconds.
    Kill {
        /// Which.
        node: u32,
        /// For how long it is down.
        down_ms: u64,
    },
    /// The machine of a node loses power.
    Power {
        /// Which.
        node: u32,
        /// What becomes of writes that were not fsynced.
        unsynced: Unsynced,
        /// For how long it is down.
        down_ms: u64,
    },
    /// The machine loses power and comes back with an empty disk.
    Wipe {
        /// Which.
        node: u32,
        /// For how long it is down.
        down_ms: u64,
    },
    /// The process dies, and the log of a partition is gone when it is started again.
    LoseLog {
        /// Whose.
        node: u32,
        /// For how long it is down.
        down_ms: u64,
    },
    /// The node is asked to stop and started again.
    Restart {
        /// Which.
        node: u32,
        /// For how long it is down.
        down_ms: u64,
    },
    /// The process stands still.
    Pause {
        /// Which.
        node: u32,
        /// For how long.
        for_ms: u64,
    },
    /// The wall clock of a node is set on or back.
    Jump {
        /// Which.
        node: u32,
        /// By how much.
        by_ms: i64,
    },
    /// The clocks of a node run at another pace from now on.
    Drift {
        /// Which.
        node: u32,
        /// Parts per million too fast.
        ppm: i64,
    },
    /// Nothing goes from one to the other.
    Cut {
        /// From whom.
        from: Lane,
        /// To whom.
        to: Lane,
        /// And nothing the other way.
        both_ways: bool,
        /// For how long.
        for_ms: u64,
    },
    /// A link goes down and up, again and again.
    Flap {
        /// One end.
        from: Lane,
        /// The other.
        to: Lane,
        /// How often.
        times: u64,
        /// How long each time, and as long in between.
        each_ms: u64,
    },
    /// Everybody's links are clogged one after the other, and cleared in another order.
    Swizzle {
        /// The time from one to the next.
        step_ms: u64,
    },
    /// Messages are lost, so that they come late, for the transport sends them again.
    Loss {
        /// How many of a hundred.
        percent: u64,
        /// For how long.
        for_ms: u64,
    },
    /// Messages take longer.
    Lag {
        /// Up to how long.
        max_ms: u64,
        /// For how long.
        for_ms: u64,
    },
    /// Nothing goes between some nodes and the others.
    Split {
        /// Some nodes, as bits: `1 << id`.
        side: u32,
        /// In which direction.
        way: Way,
        /// For how long.
        for_ms: u64,
    },
    /// Bits flip on the way between nodes.
    Flip {
        /// In how many of a thousand pieces of a stream.
        per_mille: u64,
        /// For how long.
        for_ms: u64,
    },
    /// Every node is stopped and started again, one after the other.
    Roll {
        /// For how long each is down.
        down_ms: u64,
    },
    /// An operator asks the controller for something.
    Ask,
    /// Every connection of a node is reset.
    Reset {
        /// Whose.
        node: u32,
    },
    /// The next disk operation of a node that it can strike.
    Strike {
        /// Whose disk.
        node: u32,
        /// What happens to the operation.
        strike: Strike,
    },
    /// A bit flips on a disk.
    Rot {
        /// Whose.
        node: u32,
    },
    /// A sector becomes unreadable.
    BadSector {
        /// Whose.
        node: u32,
    },
    /// A fault in one place, for sweeps: what is done to a sector of a file.
    Spot {
        /// Whose disk.
        node: u32,
        /// Which file.
        file: File,
        /// Which sector of it.
        sector: u32,
        /// What is done to it.
        harm: Harm,
    },
    /// A disk is full.
    Full {
        /// Whose.
        node: u32,
        /// Bytes left.
        room: u64,
        /// For how long.
        for_ms: u64,
    },
    /// A disk is slow.
    SlowDisk {
        /// Whose.
        node: u32,
        /// So many times as slow.
        times: u64,
        /// For how long.
        for_ms: u64,
    },
    /// A disk answers nothing.
    Stall {
        /// Whose.
        node: u32,
        /// For how long.
        for_ms: u64,
    },
    /// The nemesis waits for a moment and strikes then, again and again.
    Hunt {
        /// For which.
        trap: Trap,
        /// For how long.
        for_ms: u64,
    },
}

/// A moment at which a fault does most harm: what the nemesis waits for, and what it does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trap {
    /// Somebody begins to lead the quorum: it reaches few of the others or nobody, and is asked for
    /// much, while it writes; then it dies, or stays alone.
    Leader,
    /// The leader of the quorum dies, and a voter that takes part in the election of another loses
    /// its disk and is back at once.
    Voter,
    /// The quorum's voters are to change, for one of them has lost its disk: the leader dies, and the
    /// next one reaches few or nobody when it begins.
    Change,
    /// A leader of a partition asks for the seat of a node that has come back: what it says is held
    /// up, while that node dies again, and perhaps comes back again.
    Seat,
    /// Somebody begins to lead a partition: it reaches few of the others or nobody, and then dies or
    /// is replaced; so does the next one.
    Reign,
    /// Who leads a partition hears nobody any more, or reaches nobody but clients, while another is
    /// put in its place, and answers them still.
    Lease,
    /// A replica that was away comes back, and the leader dies just before it is in sync again, or
    /// just after.
    Entry,
    /// A replica is left behind, all who are in sync go down, and an operator has it elected.
    Copy,
    /// A replica that begins without a log copies its leader's, and is broken off on the way, again and
    /// again.
    Break,
}

/// In which direction nothing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// Out of the named side.
    Out,
    /// Into it.
    In,
    /// Neither.
    Both,
}

/// What may be done to one sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Harm {
    /// Its bytes are changed.
    Corrupt,
    /// It can not be read.
    Unreadable,
    /// The next write to it fails.
    WriteError,
    /// The next write to it finds the disk full.
    Full,
}

impl Harm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Corrupt, Self::Unreadable, Self::WriteError, Self::Full];
}

/// A sort of fault, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// [`Fault::Kill`].
    Kill,
    /// [`Fault::Power`] with everything kept.
    PowerKept,
    /// [`Fault::Power`] with everything lost.
    PowerLost,
    /// [`Fault::Power`] with some lost.
    PowerMixed,
    /// [`Fault::Wipe`].
    Wipe,
    /// [`Fault::Restart`].
    Restart,
    /// [`Fault::Pause`].
    Pause,
    /// [`Fault::Jump`].
    Jump,
    /// [`Fault::Drift`].
    Drift,
    /// [`Fault::Cut`] in one direction.
    CutOneWay,
    /// [`Fault::Cut`] in both directions.
    CutBothWays,
    /// [`Fault::Flap`].
    Flap,
    /// [`Fault::Swizzle`].
    Swizzle,
    /// [`Fault::Loss`].
    Loss,
    /// [`Fault::Lag`].
    Lag,
    /// [`Fault::Split`] in one direction.
    SplitOneWay,
    /// [`Fault::Split`] in both.
    SplitBothWays,
    /// [`Fault::Flip`].
    Flip,
    /// [`Fault::Roll`].
    Roll,
    /// [`Fault::Ask`].
    Ask,
    /// [`Fault::Reset`].
    Reset,
    /// [`Fault::Strike`].
    Strike(Strike),
    /// [`Fault::Rot`].
    Rot,
    /// [`Fault::BadSector`].
    BadSector,
    /// [`Fault::Full`].
    Full,
    /// [`Fault::SlowDisk`].
    SlowDisk,
    /// [`Fault::Stall`].
    Stall,
    /// [`Fault::Hunt`].
    Hunt(Trap),
    /// [`Fault::LoseLog`].
    LostLog,
}

impl Class {
    /// All of them; those that are drawn apart from the others stand last, hunts before the rest.
    pub const ALL: [Self; 44] = [
        Self::Kill,
        Self::PowerKept,
        Self::PowerLost,
        Self::PowerMixed,
        Self::Wipe,
        Self::Restart,
        Self::Pause,
        Self::Jump,
        Self::Drift,
        Self::CutOneWay,
        Self::CutBothWays,
        Self::Flap,
        Self::Swizzle,
        Self::Loss,
        Self::Lag,
        Self::Reset,
        Self::Strike(Strike::Write),
        Self::Strike(Strike::WriteFull),
        Self::Strike(Strike::Sync),
        Self::Strike(Strike::Read),
        Self::Strike(Strike::Name),
        Self::Strike(Strike::LostWrite),
        Self::Strike(Strike::MisdirectedWrite),
        Self::Strike(Strike::MisdirectedRead),
        Self::Rot,
        Self::BadSector,
        Self::Full,
        Self::SlowDisk,
        Self::Stall,
        Self::SplitOneWay,
        Self::SplitBothWays,
        Self::Flip,
        Self::Roll,
        Self::Ask,
        Self::Hunt(Trap::Leader),
        Self::Hunt(Trap::Voter),
        Self::Hunt(Trap::Change),
        Self::Hunt(Trap::Seat),
        Self::Hunt(Trap::Reign),
        Self::Hunt(Trap::Lease),
        Self::Hunt(Trap::Entry),
        Self::Hunt(Trap::Copy),
        Self::Hunt(Trap::Break),
        Self::LostLog,
    ];

    /// Those that are drawn by weights.
    pub(crate) fn weighed() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().take_while(|class| !matches!(class, Self::Hunt(_)))
    }

    /// Whether it needs more than one node.
    pub fn is_of_clusters(self) -> bool {
        matches!(
            self,
            Self::SplitOneWay
                | Self::SplitBothWays
                | Self::Flip
                | Self::Roll
                | Self::Ask
                | Self::Hunt(_)
                | Self::LostLog
        )
    }

    /// Whether it needs replicas of partitions.
    pub fn is_of_replicas(self) -> bool {
        let is_hunt = |trap| {
            matches!(trap, Trap::Reign | Trap::Lease | Trap::Entry | Trap::Copy | Trap::Break)
        };
        matches!(self, Self::Hunt(trap) if is_hunt(trap)) || self == Self::LostLog
    }

    /// Its name, as tables print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::PowerKept => "power-kept",
            Self::PowerLost => "power-lost",
            Self::PowerMixed => "power-mixed",
            Self::Wipe => "wipe",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Jump => "clock-jump",
            Self::Drift => "clock-drift",
            Self::CutOneWay => "cut-one-way",
            Self::CutBothWays => "cut-both-ways",
            Self::Flap => "link-flap",
            Self::Swizzle => "swizzle",
            Self::Loss => "loss",
            Self::Lag => "lag",
            Self::Reset => "reset",
            Self::SplitOneWay => "split-one-way",
            Self::SplitBothWays => "split-both-ways",
            Self::Flip => "bit-flip",
            Self::Roll => "rolling-restart",
            Self::Ask => "request",
            Self::Strike(strike) => match strike {
                Strike::Write => "write-error",
                Strike::WriteFull => "write-full",
                Strike::Sync => "fsync-error",
                Strike::Read => "read-error",
                Strike::Name => "name-error",
                Strike::LostWrite => "lost-write",
                Strike::MisdirectedWrite => "misdirected-write",
                Strike::MisdirectedRead => "misdirected-read",
            },
            Self::Rot => "bit-rot",
            Self::BadSector => "bad-sector",
            Self::Full => "disk-full",
            Self::SlowDisk => "disk-slow",
            Self::Stall => "disk-stalled",
            Self::Hunt(Trap::Leader) => "hunt-leaders",
            Self::Hunt(Trap::Voter) => "hunt-voters",
            Self::Hunt(Trap::Change) => "hunt-changes",
            Self::Hunt(Trap::Seat) => "hunt-seats",
            Self::Hunt(Trap::Reign) => "hunt-reigns",
            Self::Hunt(Trap::Lease) => "hunt-leases",
            Self::Hunt(Trap::Entry) => "hunt-entries",
            Self::Hunt(Trap::Copy) => "hunt-copies",
            Self::Hunt(Trap::Break) => "hunt-breaks",
            Self::LostLog => "lost-log",
        }
    }
}

impl Fault {
    /// What sort it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Kill { .. } => Class::Kill,
            Self::Power { unsynced: Unsynced::Kept, .. } => Class::PowerKept,
            Self::Power { unsynced: Unsynced::Lost, .. } => Class::PowerLost,
            Self::Power { unsynced: Unsynced::Mixed, .. } => Class::PowerMixed,
            Self::Wipe { .. } => Class::Wipe,
            Self::LoseLog { .. } => Class::LostLog,
            Self::Restart { .. } => Class::Restart,
            Self::Pause { .. } => Class::Pause,
            Self::Jump { .. } => Class::Jump,
            Self::Drift { .. } => Class::Drift,
            Self::Cut { both_ways: false, .. } => Class::CutOneWay,
            Self::Cut { both_ways: true, .. } => Class::CutBothWays,
            Self::Flap { .. } => Class::Flap,
            Self::Swizzle { .. } => Class::Swizzle,
            Self::Loss { .. } => Class::Loss,
            Self::Lag { .. } => Class::Lag,
            Self::Split { way: Way::Both, .. } => Class::SplitBothWays,
            Self::Split { .. } => Class::SplitOneWay,
            Self::Flip { .. } => Class::Flip,
            Self::Roll { .. } => Class::Roll,
            Self::Ask => Class::Ask,
            Self::Reset { .. } => Class::Reset,
            Self::Strike { strike, .. } => Class::Strike(*strike),
            Self::Rot { .. } => Class::Rot,
            Self::BadSector { .. } => Class::BadSector,
            Self::Spot { harm: Harm::Corrupt, .. } => Class::Rot,
            Self::Spot { harm: Harm::Unreadable, .. } => Class::BadSector,
            Self::Spot { harm: Harm::WriteError, .. } => Class::Strike(Strike::Write),
            Self::Spot { harm: Harm::Full, .. } => Class::Strike(Strike::WriteFull),
            Self::Full { .. } => Class::Full,
            Self::SlowDisk { .. } => Class::SlowDisk,
            Self::Stall { .. } => Class::Stall,
            Self::Hunt { trap, .. } => Class::Hunt(*trap),
        }
    }

    /// With this node wherever the plan has none, which means whoever is the controller.
    pub(crate) fn aimed(mut self, node: u32, nodes: u32) -> Self {
        let aim = |lane: &mut Lane| {
            if *lane == Lane::Node(0) {
                *lane = Lane::Node(node);
            }
        };
        match &mut self {
            Self::Kill { node: at, .. }
            | Self::Power { node: at, .. }
            | Self::Wipe { node: at, .. }
            | Self::LoseLog { node: at, .. }
            | Self::Restart { node: at, .. }
            | Self::Pause { node: at, .. }
            | Self::Jump { node: at, .. }
            | Self::Drift { node: at, .. }
            | Self::Reset { node: at }
            | Self::Strike { node: at, .. }
            | Self::Rot { node: at }
            | Self::BadSector { node: at }
            | Self::Spot { node: at, .. }
            | Self::Full { node: at, .. }
            | Self::SlowDisk { node: at, .. }
            | Self::Stall { node: at, .. } => {
                if *at == 0 {
                    *at = node;
                }
            }
            Self::Cut { from, to, .. } | Self::Flap { from, to, .. } => {
                aim(from);
                aim(to);
                if let (Lane::Node(a), Lane::Node(b)) = (&from, &to)
                    && a == b
                {
                    *to = Lane::Node(a % nodes + 1);
                }
            }
            Self::Split { side, .. } => {
                if *side & 1 != 0 {
                    *side = *side & !1 | 1 << node;
                }
            }
            Self::Swizzle { .. }
            | Self::Loss { .. }
            | Self::Lag { .. }
            | Self::Flip { .. }
            | Self::Roll { .. }
            | Self::Hunt { .. }
            | Self::Ask => {}
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = self.class().name();
        match self {
            Self::Kill { node, down_ms }
            | Self::Wipe { node, down_ms }
            | Self::LoseLog { node, down_ms }
            | Self::Restart { node, down_ms } => write!(f, "{class} n{node}, down {down_ms} ms"),
            Self::Power { node, down_ms, .. } => write!(f, "{class} n{node}, down {down_ms} ms"),
            Self::Pause { node, for_ms } | Self::Stall { node, for_ms } => {
                write!(f, "{class} n{node} for {for_ms} ms")
            }
            Self::Jump { node, by_ms } => write!(f, "{class} n{node} by {by_ms} ms"),
            Self::Drift { node, ppm } => write!(f, "{class} n{node} {ppm} ppm"),
            Self::Cut { from, to, for_ms, .. } => {
                write!(f, "{class} {from} to {to} for {for_ms} ms")
            }
            Self::Flap { from, to, times, each_ms } => {
                write!(f, "{class} {from} to {to}, {times} times {each_ms} ms")
            }
            Self::Swizzle { step_ms } => write!(f, "{class} every {step_ms} ms"),
            Self::Loss { percent, for_ms } => write!(f, "{class} {percent} % for {for_ms} ms"),
            Self::Lag { max_ms, for_ms } => write!(f, "{class} up to {max_ms} ms for {for_ms} ms"),
            Self::Split { side, way, for_ms } => {
                let side = (0..32).filter(|id| side & 1 << id != 0);
                let side: Vec<String> = side.map(|id| format!("n{id}")).collect();
                write!(f, "{class} {} {way:?} for {for_ms} ms", side.join(" "))
            }
            Self::Flip { per_mille, for_ms } => {
                write!(f, "{class} {per_mille} of 1000 for {for_ms} ms")
            }
            Self::Roll { down_ms } => write!(f, "{class}, each down {down_ms} ms"),
            Self::Ask => f.write_str(class),
            Self::Hunt { for_ms, .. } => write!(f, "{class} for {for_ms} ms"),
            Self::Reset { node }
            | Self::Strike { node, .. }
            | Self::Rot { node }
            | Self::BadSector { node } => write!(f, "{class} n{node}"),
            Self::Spot { node, file, sector, .. } => {
                write!(f, "{class} n{node} in sector {sector} of {file}")
            }
            Self::Full { node, room, for_ms } => {
                write!(f, "{class} n{node}, {room} bytes left, for {for_ms} ms")
            }
            Self::SlowDisk { node, times, for_ms } => {
                write!(f, "{class} n{node}, {times} times, for {for_ms} ms")
            }
        }
    }
}

/// A fault and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Planned {
    /// When, in milliseconds since the start of the run.
    pub at_ms: u64,
    /// What.
    pub fault: Fault,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3}.{:03} s  {}", self.at_ms / 1000, self.at_ms % 1000, self.fault)
    }
}

/// All faults of a run, by time.
pub type Plan = Vec<Planned>;
