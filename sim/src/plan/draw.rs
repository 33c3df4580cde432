//! Drawing a plan from a seed.

use super::{Class, Fault, Plan, Planned};
use crate::chance::Chance;
use crate::disk::{Strike, Unsynced};
use crate::settings::{Profile, Settings};
use crate::story::Lane;

/// In how many of a hundred cases a fault follows close upon another, and how close: what survives
/// each of two may not survive one in the midst of the other.
const CLOSE_PERCENT: u64 = 40;
const CLOSE_MS: u64 = 2000;

/// In how many of a hundred cases a crash follows close upon a start, and how close: while the
/// directory is opened.
const REOPENING_PERCENT: u64 = 25;
const REOPENING_MS: u64 = 300;

/// The plan of a run: each seed has its own mixture of faults, so that rare pairs meet often in some.
pub(crate) fn draw(settings: &Settings, chance: &mut Chance) -> Plan {
    if settings.faults == 0 {
        return Plan::new();
    }
    let weights: Vec<u64> = Class::weighed()
        .map(|class| {
            let weight = if settings.favours(class) { 20..40 } else { 1..10 };
            if chance.percent(settings.share(class)) { chance.of(weight) } else { 0 }
        })
        .collect();
    if weights.iter().sum::<u64>() == 0 {
        return Plan::new();
    }
    let count = chance.of(settings.faults / 2 + 1..settings.faults * 3 / 2 + 2);
    let ends = ends(&weights);
    // The first second is for getting up, the last for nothing new.
    let end_ms = settings.duration_ms - 1000;
    let mut plan = Plan::new();
    for _ in 0..count {
        let before = plan.last().filter(|_| chance.percent(CLOSE_PERCENT));
        let starts_at_ms =
            before.and_then(starts_at_ms).filter(|_| chance.percent(REOPENING_PERCENT));
        if let Some(starts_at_ms) = starts_at_ms {
            let at_ms = (starts_at_ms + chance.skewed(1..REOPENING_MS)).min(end_ms - 1);
            let class = Class::ALL[chance.weighted(&ends)];
            plan.push(Planned { at_ms, fault: fault(class, settings, chance) });
            continue;
        }
        let at_ms = match before {
            Some(before) => (before.at_ms + chance.skewed(1..CLOSE_MS)).min(end_ms - 1),
            None => chance.of(300..end_ms),
        };
        let unfinished = before.is_some_and(|before| leaves_unfinished(before.fault.class()));
        let weights = if unfinished { &ends } else { &weights };
        let class = Class::ALL[chance.weighted(weights)];
        plan.push(Planned { at_ms, fault: fault(class, settings, chance) });
    }
    if settings.profile == Profile::Cluster {
        plan.extend(crate::quorum::draw::hunts(settings, chance));
    }
    if settings.profile == Profile::Replication {
        plan.extend(crate::replication::draw::isolations(settings, chance));
        plan.extend(crate::replication::draw::no_room(settings, chance));
        plan.extend(crate::replication::draw::hunts(settings, chance));
        plan.extend(crate::replication::draw::losses(settings, chance));
        plan.extend(crate::replication::draw::lost_logs(settings, chance));
        plan.extend(crate::replication::draw::breaks(settings, chance));
    }
    plan.sort_by_key(|planned| planned.at_ms);
    plan
}

/// When a node is started again that goes down by this fault.
fn starts_at_ms(planned: &Planned) -> Option<u64> {
    let (Fault::Kill { down_ms, .. }
    | Fault::Power { down_ms, .. }
    | Fault::Wipe { down_ms, .. }
    | Fault::LoseLog { down_ms, .. }
    | Fault::Restart { down_ms, .. }) = planned.fault
    else {
        return None;
    };
    Some(planned.at_ms + down_ms)
}

/// Whether a disk, or what was to be on it, is not as it should be for a while: that shows when the
/// process, or the machine, has to do without its memory.
fn leaves_unfinished(class: Class) -> bool {
    match class {
        Class::Strike(_)
        | Class::Rot
        | Class::BadSector
        | Class::Full
        | Class::SlowDisk
        | Class::Stall
        | Class::Restart => true,
        Class::Kill
        | Class::PowerKept
        | Class::PowerLost
        | Class::PowerMixed
        | Class::Wipe
        | Class::LostLog
        | Class::Pause
        | Class::Jump
        | Class::Drift
        | Class::CutOneWay
        | Class::CutBothWays
        | Class::Flap
        | Class::Swizzle
        | Class::Loss
        | Class::Lag
        | Class::SplitOneWay
        | Class::SplitBothWays
        | Class::Flip
        | Class::Roll
        | Class::Ask
        | Class::Hunt(_)
        | Class::Reset => false,
    }
}

/// The weights of what ends a process or a machine alone, if there are any.
fn ends(weights: &[u64]) -> Vec<u64> {
    let ends = |class| {
        matches!(class, Class::Kill | Class::PowerKept | Class::PowerLost | Class::PowerMixed)
    };
    let of_class = |(class, &weight): (Class, &u64)| if ends(class) { weight } else { 0 };
    let masked: Vec<u64> = Class::weighed().zip(weights).map(of_class).collect();
    if masked.iter().any(|&weight| weight > 0) { masked } else { weights.to_vec() }
}

fn fault(class: Class, settings: &Settings, chance: &mut Chance) -> Fault {
    if settings.profile == Profile::Cluster {
        return crate::quorum::draw::fault(class, settings, chance);
    }
    if settings.profile == Profile::Replication {
        return crate::replication::draw::fault(class, settings, chance);
    }
    let node = 1 + chance.below(u64::from(settings.nodes)) as u32;
    // Short is most frequent.
    let down_ms = chance.skewed(1..4000);
    let for_ms = chance.skewed(10..6000);
    let power = |unsynced| Fault::Power { node, unsynced, down_ms };
    match class {
        Class::Kill => Fault::Kill { node, down_ms },
        Class::PowerKept => power(Unsynced::Kept),
        Class::PowerLost => power(Unsynced::Lost),
        Class::PowerMixed => power(Unsynced::Mixed),
        Class::Wipe => Fault::Wipe { node, down_ms },
        Class::LostLog => Fault::LoseLog { node, down_ms },
        Class::Restart => Fault::Restart { node, down_ms },
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
            let (from, to) = link(settings, chance);
            Fault::Cut { from, to, both_ways: class == Class::CutBothWays, for_ms }
        }
        Class::Flap => {
            let (from, to) = link(settings, chance);
            Fault::Flap { from, to, times: chance.of(2..8), each_ms: chance.skewed(5..500) }
        }
        Class::Swizzle => Fault::Swizzle { step_ms: chance.skewed(5..1000) },
        Class::SplitOneWay
        | Class::SplitBothWays
        | Class::Flip
        | Class::Roll
        | Class::Ask
        | Class::Hunt(_) => unreachable!("these are of clusters"),
        Class::Loss => Fault::Loss { percent: chance.of(1..60), for_ms },
        Class::Lag => Fault::Lag { max_ms: chance.skewed(20..2000), for_ms },
        Class::Reset => Fault::Reset { node },
        Class::Strike(strike) => Fault::Strike { node, strike },
        Class::Rot => Fault::Rot { node },
        Class::BadSector => Fault::BadSector { node },
        Class::Full => Fault::Full { node, room: chance.skewed(1..8192) - 1, for_ms },
        Class::SlowDisk => Fault::SlowDisk { node, times: chance.of(2..40), for_ms },
        Class::Stall => Fault::Stall { node, for_ms },
    }
}

/// Two that speak to each other.
fn link(settings: &Settings, chance: &mut Chance) -> (Lane, Lane) {
    let node = Lane::Node(1 + chance.below(u64::from(settings.nodes)) as u32);
    let client = Lane::Client(1 + chance.below(u64::from(settings.clients)) as u32);
    if chance.percent(50) { (node, client) } else { (client, node) }
}

/// How many of a hundred runs have this class at all. What ends most of a run is rare.
pub(crate) fn usual_share(class: Class) -> u64 {
    match class {
        Class::PowerMixed => 70,
        Class::Kill | Class::PowerLost | Class::Restart => 50,
        Class::SplitOneWay
        | Class::SplitBothWays
        | Class::Flip
        | Class::Roll
        | Class::Ask
        | Class::Hunt(_)
        | Class::LostLog => 0,
        Class::Wipe => 4,
        Class::Rot => 20,
        Class::BadSector => 12,
        Class::Strike(strike) => match strike {
            Strike::Sync => 50,
            Strike::Write | Strike::WriteFull | Strike::Name => 35,
            Strike::Read | Strike::MisdirectedRead => 25,
            Strike::LostWrite | Strike::MisdirectedWrite => 12,
        },
        Class::PowerKept
        | Class::Pause
        | Class::Jump
        | Class::Drift
        | Class::CutOneWay
        | Class::CutBothWays
        | Class::Flap
        | Class::Swizzle
        | Class::Loss
        | Class::Lag
        | Class::Reset
        | Class::Full
        | Class::SlowDisk
        | Class::Stall => 30,
    }
}
