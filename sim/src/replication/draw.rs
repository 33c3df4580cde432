//! The faults of a run of whole nodes: as the quorum's, and on the way between clients and nodes.

use std::ops::Range;

use crate::chance::Chance;
use crate::disk::Strike;
use crate::plan::{Class, Fault, Plan, Planned, Trap, Way};
use crate::settings::Settings;
use crate::story::Lane;

/// In how many of a hundred cases a link that fails is one of a client.
const CLIENT_PERCENT: u64 = 20;

/// A fault of this class.
pub(crate) fn fault(class: Class, settings: &Settings, chance: &mut Chance) -> Fault {
    let mut fault = crate::quorum::draw::fault(class, settings, chance);
    if let Fault::Cut { from, to, .. } | Fault::Flap { from, to, .. } = &mut fault
        && chance.percent(CLIENT_PERCENT)
    {
        let client = Lane::Client(1 + chance.below(settings.clients.into()) as u32);
        *(if chance.percent(50) { from } else { to }) = client;
    }
    fault
}

/// In how many of a hundred runs leaders are cut off from all other nodes, and how often at most.
const ISOLATED_PERCENT: u64 = 40;
const ISOLATED_MAX: u64 = 4;

/// Leaders, or controllers, that reach nobody but clients for long enough to be replaced: drawn apart from
/// the other faults, since only then there are two who take themselves for the leader.
pub(crate) fn isolations(settings: &Settings, chance: &mut Chance) -> Plan {
    if !chance.percent(ISOLATED_PERCENT) {
        return Plan::new();
    }
    let isolated = |chance: &mut Chance| {
        let for_ms = chance.of(1500..8000);
        let at_ms = chance.of(3000..settings.duration_ms - 1000);
        Planned { at_ms, fault: Fault::Split { side: 1, way: Way::Both, for_ms } }
    };
    (0..chance.of(1..ISOLATED_MAX)).map(|_| isolated(chance)).collect()
}

/// In how many of a hundred runs all disks are full at once for a while.
const FULL_PERCENT: u64 = 15;

/// How long, and in how many of a hundred of them for longer than a command looks for a leader.
const FULL_MS: Range<u64> = 500..5_000;
const LONG_FULL_MS: Range<u64> = 7_000..14_000;
const LONG_FULL_PERCENT: u64 = 50;

/// A write finds no room at whoever leads.
pub(crate) fn no_room(settings: &Settings, chance: &mut Chance) -> Plan {
    if !chance.percent(FULL_PERCENT) {
        return Plan::new();
    }
    let at_ms = chance.of(3000..settings.duration_ms - LONG_FULL_MS.end);
    let is_long = chance.percent(LONG_FULL_PERCENT);
    let for_ms = chance.of(if is_long { LONG_FULL_MS } else { FULL_MS });
    let full = |node, room| Planned { at_ms, fault: Fault::Full { node, room, for_ms } };
    (1..=settings.nodes).map(|node| full(node, chance.skewed(1..4096) - 1)).collect()
}

/// In how many of a hundred runs there are hunts, and each sort of them then.
const HUNTS_PERCENT: u64 = 80;
const HUNT_PERCENT: [(Trap, u64); 3] = [(Trap::Reign, 45), (Trap::Lease, 75), (Trap::Entry, 45)];

/// How long one lasts.
const HUNT_MS: Range<u64> = 4_000..18_000;

/// The hunts of a run, which come on top of its other faults. They need a quorum that can do without
/// one, and somebody who may follow.
pub(crate) fn hunts(settings: &Settings, chance: &mut Chance) -> Plan {
    let mut hunts = Plan::new();
    if settings.quorum.founding.replication_factor < 2 || !chance.percent(HUNTS_PERCENT) {
        return hunts;
    }
    for (trap, percent) in HUNT_PERCENT {
        if chance.percent(percent) {
            for _ in 0..chance.of(1..3) {
                let at_ms = chance.of(2000..settings.duration_ms - HUNT_MS.start);
                let fault = Fault::Hunt { trap, for_ms: chance.of(HUNT_MS) };
                hunts.push(Planned { at_ms, fault });
            }
        }
    }
    hunts
}

/// In how many of a hundred runs an operator has an old copy elected, and how often.
const COPIES_PERCENT: u64 = 20;

/// Everybody in sync is gone for so long that an operator takes what there is.
pub(crate) fn losses(settings: &Settings, chance: &mut Chance) -> Plan {
    if settings.quorum.founding.replication_factor < 2 || !chance.percent(COPIES_PERCENT) {
        return Plan::new();
    }
    let at_ms = chance.of(2000..settings.duration_ms / 2);
    let fault = Fault::Hunt { trap: Trap::Copy, for_ms: chance.of(HUNT_MS) };
    vec![Planned { at_ms, fault }]
}

/// In how many of a hundred runs copies are broken off.
const BREAKS_PERCENT: u64 = 35;

/// Copies of whole logs that are broken off. They are drawn last, so that the other faults of a seed are
/// what they were before there were these.
pub(crate) fn breaks(settings: &Settings, chance: &mut Chance) -> Plan {
    if settings.quorum.founding.replication_factor < 2 || !chance.percent(BREAKS_PERCENT) {
        return Plan::new();
    }
    let at_ms = chance.of(2000..settings.duration_ms - HUNT_MS.start);
    let fault = Fault::Hunt { trap: Trap::Break, for_ms: chance.of(HUNT_MS) };
    vec![Planned { at_ms, fault }]
}

/// In how many of a hundred runs a node loses the log of one of its partitions, and how often at most.
const LOST_LOG_PERCENT: u64 = 40;
const LOST_LOGS_MAX: u64 = 4;

/// What an operator, or the check of a file system, takes away while the node is down.
pub(crate) fn lost_logs(settings: &Settings, chance: &mut Chance) -> Plan {
    if !chance.percent(LOST_LOG_PERCENT) {
        return Plan::new();
    }
    let lost = |chance: &mut Chance| {
        let node = 1 + chance.below(settings.nodes.into()) as u32;
        let at_ms = chance.of(2000..settings.duration_ms - 1000);
        Planned { at_ms, fault: Fault::LoseLog { node, down_ms: chance.skewed(1..4000) } }
    };
    (0..chance.of(1..LOST_LOGS_MAX)).map(|_| lost(chance)).collect()
}

/// How many of a hundred runs have this class at all.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other class is drawn as for the quorum")]
pub(crate) fn share(class: Class) -> u64 {
    match class {
        // One disk at a time, with the data alone on it.
        Class::Rot | Class::BadSector | Class::Strike(Strike::Read) => 15,
        Class::Strike(Strike::LostWrite | Strike::MisdirectedWrite | Strike::MisdirectedRead) => 6,
        class => crate::quorum::draw::share(class),
    }
}
