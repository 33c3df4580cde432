//! Two who take themselves for the leader, and clients that write through the new one and read through
//! the old one.

use std::time::Duration;

use kvnode_core::NodeId;
use kvnode_core::cluster::controller::Request;
use kvnode_core::replication::ReadMode;
use madsim::time::sleep;

use super::{ARRIVE_MS, Led, MOVES_MAX, Parted, SERVES_SOON_MS, WRITE_MS};
use crate::chance::Chance;
use crate::disk::Doom;
use crate::history::Group;
use crate::lock;
use crate::nemesis::Nemesis;
use crate::plan::{Class, Trap};
use crate::quorum::hunt::{MOMENT_MS, Until};
use crate::replication::scout::{Errand, Scout};
use crate::story::{Kind, Lane};

/// What an old leader, or one who gave it a promise, is led astray by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ruse {
    /// By being cut off alone.
    None,
    /// Its clock is set back.
    SetBack,
    /// It stands still until another leads, and is asked before it hears of anything.
    StandsStill,
    /// Whoever is to lead next is started again, and does not know what it has promised.
    StartedAgain,
    /// What the others have confirmed to it comes late.
    Echo,
}

/// From whom an old leader is cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The controller alone: who follows goes on promising until it is told.
    Controller,
    /// It reaches everybody, and hears nobody.
    Deaf,
    /// All.
    Alone,
}

/// How often each is used, where reads go by leases and where they are confirmed.
const RUSES: [(Ruse, u64, u64); 5] = [
    (Ruse::None, 25, 30),
    (Ruse::SetBack, 20, 5),
    (Ruse::StandsStill, 25, 10),
    (Ruse::StartedAgain, 25, 10),
    (Ruse::Echo, 5, 45),
];

/// In how many of a hundred cases an operator puts another in the place of a leader, and in how many of
/// these it is no replica any more.
const ASKS_PERCENT: u64 = 85;
const NO_REPLICA_PERCENT: u64 = 90;

/// How long a new leader may take to serve that nobody has asked for: it waits out who is gone.
const SERVES_MS: u64 = 9_000;

/// How many scouts wait at the old leader.
const READERS: usize = 2;

impl Nemesis {
    pub(crate) async fn hunt_leases(&self, until_ns: u64) {
        while self.goes_on(until_ns) {
            let mut chance = self.chance();
            if let Some(led) = self.led(&mut chance) {
                self.strike_lease(led, &mut chance).await;
            }
            sleep(Duration::from_millis(chance.skewed(20..600))).await;
        }
    }

    /// Somebody is put in the place of a leader that does not hear of it.
    async fn strike_lease(&self, led: Led, chance: &mut Chance) {
        let Led { partition, epoch, leader, .. } = led;
        let Some(controller) = lock(&self.world.watch).controller() else { return };
        let ruse = self.ruse(chance);
        let mut heirs = led.in_sync.clone();
        if heirs.len() > 1 && ruse == Ruse::StartedAgain {
            heirs.retain(|&heir| heir != controller);
        }
        let heir = chance.pick(&heirs);
        let group = chance.pick(&self.world.groups_of(partition));
        let readers: Vec<Scout> = (0..READERS).filter_map(|_| self.scout(leader)).collect();
        let writer = self.scout(heir);
        let scouts = || readers.iter().chain(&writer);
        self.moment(ARRIVE_MS, || scouts().all(Scout::is_connected)).await;
        if self.is_calm() || !self.reigns(leader, partition, epoch) {
            return;
        }
        self.world.injected(Class::Hunt(Trap::Lease));
        self.world.look_at(group);
        let cut = match ruse {
            Ruse::Echo => Cut::Deaf,
            Ruse::StandsStill => Cut::Alone,
            Ruse::None | Ruse::SetBack | Ruse::StartedAgain => match chance.below(10) {
                0..5 if controller != leader => Cut::Controller,
                0..7 => Cut::Deaf,
                _ => Cut::Alone,
            },
        };
        let (first, last) = self.cut_off(&led, controller, cut);
        let mut held = None;
        match ruse {
            Ruse::None => {}
            Ruse::SetBack => self.set_back(leader, chance),
            Ruse::StandsStill => held = self.hold(leader, MOMENT_MS),
            Ruse::StartedAgain if heir == controller => {}
            Ruse::StartedAgain => {
                self.strike_down(heir, Doom::Process, Until::Ms(chance.skewed(1..20)));
            }
            Ruse::Echo => {
                readers.iter().take(1).for_each(|reader| reader.send(Errand::Read(group)));
                sleep(Duration::from_millis(chance.of(5..25))).await;
            }
        }
        let asks = ruse != Ruse::None || chance.percent(ASKS_PERCENT);
        if asks {
            self.replace(&led, heir, chance).await;
        }
        let patience_ms = if asks { SERVES_SOON_MS } else { SERVES_MS };
        if self.moment(patience_ms, || self.serves_after(partition, epoch)).await {
            let rounds =
                if matches!(ruse, Ruse::Echo | Ruse::StandsStill) { 1 } else { chance.of(2..7) };
            for _ in 0..rounds {
                self.duel(&readers, writer.as_ref(), group).await;
                sleep(Duration::from_millis(chance.skewed(1..150))).await;
            }
        }
        if let Some(window) = held {
            self.let_go(leader, window);
            sleep(Duration::from_millis(chance.skewed(1..50))).await;
        }
        self.rejoin(first);
        if chance.percent(60) {
            sleep(Duration::from_millis(chance.skewed(1..300))).await;
        }
        self.rejoin(last);
        self.world.look_away(group);
        if asks {
            sleep(Duration::from_millis(chance.skewed(1..500))).await;
            self.bring_back(&led);
        }
    }

    /// The links that are to be joined again first, and those that are to be last: what its followers have
    /// said to a leader may come before what they say next.
    fn cut_off(&self, led: &Led, controller: u32, cut: Cut) -> (Vec<Parted>, Vec<Parted>) {
        let leader = led.leader;
        let others = self.others(leader);
        let (followers, rest): (Vec<u32>, Vec<u32>) =
            others.iter().partition(|other| led.in_sync.contains(other));
        let into = |from: &[u32]| from.iter().map(|&from| (from, leader)).collect::<Vec<_>>();
        let part = |links: Vec<(u32, u32)>| self.part(links, MOMENT_MS);
        match cut {
            Cut::Controller => (Vec::new(), part(vec![(leader, controller), (controller, leader)])),
            Cut::Deaf => (part(into(&followers)), part(into(&rest))),
            Cut::Alone => {
                let out = others.iter().map(|&to| (leader, to));
                (Vec::new(), part(into(&others).into_iter().chain(out).collect()))
            }
        }
    }

    fn ruse(&self, chance: &mut Chance) -> Ruse {
        let by_lease = self.world.settings.replication.reads == ReadMode::Lease;
        let weights = RUSES.map(|(_, lease, confirm)| if by_lease { lease } else { confirm });
        RUSES[chance.weighted(&weights)].0
    }

    fn set_back(&self, node: u32, chance: &mut Chance) {
        let by_ms = -(chance.skewed(100..60_000) as i64);
        self.world.injected(Class::Jump);
        self.world.tell(Lane::World, Kind::Nemesis, by_ms, || {
            format!("the clock of n{node} is set by {by_ms} ms")
        });
        self.world.set_clock(node, |clock, now_ns| clock.jump(now_ns, by_ms * 1000));
    }

    /// An operator puts another in the place of a leader, which is no replica any more then.
    pub(super) async fn replace(&self, led: &Led, heir: u32, chance: &mut Chance) {
        self.move_leader(led, heir, chance).await;
        if !chance.percent(NO_REPLICA_PERCENT) {
            return;
        }
        for _ in 0..MOVES_MAX {
            self.take_away(led, led.leader);
            if self.moment(chance.of(30..150), || !self.is_replica(led.leader, led.partition)).await
            {
                break;
            }
        }
    }

    /// An operator asks until another leads.
    pub(super) async fn move_leader(&self, led: &Led, heir: u32, chance: &mut Chance) {
        let is_led = || self.is_led_after(led.partition, led.epoch);
        for _ in 0..MOVES_MAX {
            self.demand(Request::MoveLeader(led.partition, NodeId(heir)));
            if self.moment(chance.of(30..250), is_led).await {
                break;
            }
        }
    }

    /// Something is written through the new leader, and then read through the old one.
    pub(super) async fn duel(&self, readers: &[Scout], writer: Option<&Scout>, group: Group) {
        let Some(writer) = writer else { return };
        let before = writer.answered();
        writer.send(Errand::Write(group));
        self.moment(WRITE_MS, || writer.is_idle()).await;
        if writer.answered() > before {
            readers.iter().for_each(|reader| reader.send(Errand::Read(group)));
            // It is to be there before anything else changes.
            sleep(Duration::from_millis(2 + self.world.settings.latency_us.1 / 1000)).await;
        }
    }
}
