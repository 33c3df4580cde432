//! The faults of a run of the quorum: as the others', between nodes, and aimed at the controller now
//! and then. Node zero of a plan is whoever is the controller when the time has come.

use std::ops::Range;

use crate::chance::Chance;
use crate::disk::Unsynced;
use crate::plan::{Class, Fault, Planned, Trap, Way};
use crate::settings::Settings;
use crate::story::Lane;

/// In how many of a hundred cases a fault is aimed at the controller.
const AIMED_PERCENT: u64 = 35;

/// A fault of this class.
pub(crate) fn fault(class: Class, settings: &Settings, chance: &mut Chance) -> Fault {
    let node = node(settings, chance);
    let down_ms = chance.skewed(1..6000);
    // Long enough, often, for all timeouts to pass.
    let for_ms = if chance.percent(40) { chance.of(2000..15_000) } else { chance.skewed(10..4000) };
    let power = |unsynced| Fault::Power { node, unsynced, down_ms };
    match class {
        Class::Kill => Fault::Kill { node, down_ms },
        Class::PowerKept => power(Unsynced::Kept),
        Class::PowerLost => power(Unsynced::Lost),
        Class::PowerMixed => power(Unsynced::Mixed),
        Class::Wipe => Fault::Wipe { node, down_ms },
        Class::LostLog => Fault::LoseLog { node, down_ms },
        Class::Restart => Fault::Restart { node, down_ms },
        Class::Roll => Fault::Roll { down_ms: chance.skewed(1..2000) },
        Class::Ask => Fault::Ask,
        Class::Pause => Fault::Pause { node, for_ms },
        Class::Jump => {
            let by_ms = chance.skewed(1..86_400_000) as i64;
            Fault::Jump { node, by_ms: if chance.percent(50) { by_ms } else { -by_ms } }
        }
        Class::Drift => {
            let ppm = chance.below(2 * settings.drift_ppm_max + 1) as i64;
            Fault::Drift { node, ppm: ppm - settings.drift_ppm_max as i64 }
        }
        Class::CutOneWay | Class::CutBothWays => {
            let (from, to) = link(node, settings, chance);
            Fault::Cut { from, to, both_ways: class == Class::CutBothWays, for_ms }
        }
        Class::SplitOneWay | Class::SplitBothWays => {
            let way = if class == Class::SplitBothWays {
                Way::Both
            } else {
                chance.pick(&[Way::In, Way::Out])
            };
            Fault::Split { side: side(node, settings, chance), way, for_ms }
        }
        Class::Flap => {
            let (from, to) = link(node, settings, chance);
            Fault::Flap { from, to, times: chance.of(2..8), each_ms: chance.skewed(5..2000) }
        }
        Class::Swizzle => Fault::Swizzle { step_ms: chance.skewed(5..1000) },
        Class::Loss => Fault::Loss { percent: chance.of(1..40), for_ms },
        Class::Lag => Fault::Lag { max_ms: chance.skewed(20..1000), for_ms },
        Class::Flip => Fault::Flip { per_mille: chance.skewed(1..200), for_ms },
        Class::Reset => Fault::Reset { node },
        Class::Strike(strike) => Fault::Strike { node, strike },
        Class::Rot => Fault::Rot { node },
        Class::BadSector => Fault::BadSector { node },
        Class::Full => Fault::Full { node, room: chance.skewed(1..8192) - 1, for_ms },
        Class::SlowDisk => Fault::SlowDisk { node, times: chance.of(2..40), for_ms },
        Class::Stall => Fault::Stall { node, for_ms },
        Class::Hunt(trap) => Fault::Hunt { trap, for_ms: chance.of(HUNT_MS) },
    }
}

/// In how many of a hundred runs there are hunts, and each sort of them then.
const HUNTS_PERCENT: u64 = 60;
const HUNT_PERCENT: u64 = 50;

/// How long one lasts.
const HUNT_MS: Range<u64> = 3_000..20_000;

/// The hunts of a run, which come on top of its other faults. They need a quorum that can do without
/// one.
pub(crate) fn hunts(settings: &Settings, chance: &mut Chance) -> Vec<Planned> {
    let mut hunts = Vec::new();
    if settings.nodes < 3 || !chance.percent(HUNTS_PERCENT) {
        return hunts;
    }
    for trap in [Trap::Leader, Trap::Voter, Trap::Change, Trap::Seat] {
        if chance.percent(HUNT_PERCENT) {
            for _ in 0..chance.of(1..4) {
                let at_ms = chance.of(2000..settings.duration_ms - HUNT_MS.start);
                hunts.push(Planned { at_ms, fault: fault(Class::Hunt(trap), settings, chance) });
            }
        }
    }
    hunts
}

fn node(settings: &Settings, chance: &mut Chance) -> u32 {
    if chance.percent(AIMED_PERCENT) { 0 } else { other(settings, chance) }
}

fn other(settings: &Settings, chance: &mut Chance) -> u32 {
    1 + chance.below(u64::from(settings.nodes)) as u32
}

fn link(node: u32, settings: &Settings, chance: &mut Chance) -> (Lane, Lane) {
    let (a, b) = (Lane::Node(node), Lane::Node(other(settings, chance)));
    if chance.percent(50) { (a, b) } else { (b, a) }
}

/// Some nodes, as bits.
fn side(node: u32, settings: &Settings, chance: &mut Chance) -> u32 {
    let mut side = 1 << node;
    while settings.nodes > 3 && chance.percent(40) {
        side |= 1 << other(settings, chance);
    }
    side
}

/// How many of a hundred runs have this class at all.
pub(crate) fn share(class: Class) -> u64 {
    match class {
        Class::Kill | Class::PowerLost | Class::PowerMixed | Class::Restart => 50,
        Class::SplitOneWay | Class::SplitBothWays | Class::CutOneWay | Class::CutBothWays => 40,
        Class::Wipe | Class::Pause | Class::Ask => 35,
        Class::PowerKept
        | Class::Roll
        | Class::Flap
        | Class::Reset
        | Class::Loss
        | Class::Lag
        | Class::Flip
        | Class::SlowDisk
        | Class::Stall => 20,
        Class::Jump | Class::Drift | Class::Swizzle | Class::Full | Class::Strike(_) => 15,
        Class::Rot | Class::BadSector => 10,
        Class::Hunt(_) => HUNT_PERCENT,
        Class::LostLog => 0,
    }
}
