//! A made-up run that has everything a page must show, as long as one likes.
//!
//! It plays a cluster of three nodes and four clients roughly: a write goes to the leader, to disk,
//! to the followers, and back. It proves nothing about kvnode; it is there to be drawn.

use std::collections::{BTreeMap, BTreeSet};

use kvnode_sim::story::{Event, Kind, Lane, Life};

use crate::common::Rng;

const NODES: u32 = 3;
const CLIENTS: u32 = 4;
/// When the nemesis takes its steps, in percent of a cycle.
const STEPS: [usize; 7] = [20, 36, 43, 62, 71, 90, 95];
/// How many cycles there are, and how many events one has at least.
const CYCLES: usize = 20;
const CYCLE_MIN: usize = 300;

/// What is still to happen.
enum Due {
    Arrives { number: u64, from: Lane, to: Lane, says: Says },
    DiskDone { node: u32, file: &'static str, then: Option<(Lane, Says)> },
    Asks(u32),
    Beats(u32),
    Starts(u32),
    Serves(u32),
}

/// A message.
#[derive(Clone, Copy)]
enum Says {
    Set(u32, u64),
    Append(u32, u64),
    Appended(u32, u64),
    Ok(u64),
    Heartbeat(u64),
}

struct Player {
    rng: Rng,
    now_ns: u64,
    events: Vec<Event>,
    due: BTreeMap<(u64, u64), Due>,
    scheduled: u64,
    messages: u64,
    down: BTreeSet<u32>,
    paused: Option<u32>,
    cut: Option<u32>,
    steps: usize,
    /// How many events a cycle of the nemesis has.
    cycle: usize,
    leader: u32,
    epoch: u64,
    offset: u64,
}

/// The first `len` events of such a run.
pub(crate) fn rich(len: usize) -> Vec<Event> {
    let mut player = Player {
        rng: Rng::new(7),
        now_ns: 0,
        events: Vec::new(),
        due: BTreeMap::new(),
        scheduled: 0,
        messages: 0,
        down: (1..=NODES).collect(),
        paused: None,
        steps: 0,
        cycle: CYCLE_MIN.max(len / CYCLES),
        cut: None,
        leader: 1,
        epoch: 1,
        offset: 0,
    };
    for node in 1..=NODES {
        player.after(u64::from(node) * 40_000, Due::Starts(node));
        player.after(u64::from(node) * 900_000, Due::Beats(node));
    }
    for client in 1..=CLIENTS {
        player.after(4_000_000 + u64::from(client) * 700_000, Due::Asks(client));
    }
    while player.events.len() < len {
        player.nemesis();
        let ((at_ns, _), due) = player.due.pop_first().expect("a heartbeat is always due");
        player.now_ns = at_ns;
        player.happens(due);
    }
    player.events.truncate(len);
    player.events
}

impl Player {
    fn tell(&mut self, lane: Lane, kind: Kind, text: impl Into<String>) {
        let event = Event { at_ns: self.now_ns, lane, kind, text: text.into(), message: None };
        self.events.push(event);
    }

    fn after(&mut self, ns: u64, due: Due) {
        self.scheduled += 1;
        self.due.insert((self.now_ns + ns, self.scheduled), due);
    }

    fn runs(&self, node: u32) -> bool {
        !self.down.contains(&node) && self.paused != Some(node)
    }

    fn send(&mut self, from: Lane, to: Lane, says: Says) {
        self.messages += 1;
        let number = self.messages;
        self.tell(from, Kind::Send, says.text());
        self.events.last_mut().expect("just told").message = Some((number, to));
        let is_cut = [from, to].iter().any(|end| self.cut.is_some_and(|n| *end == Lane::Node(n)));
        let peers = matches!((from, to), (Lane::Node(_), Lane::Node(_)));
        let luck = self.rng.below(100);
        if (is_cut && peers) || luck < 2 {
            if luck < 50 {
                self.tell(to, Kind::Fault, format!("loses message {number}"));
                self.events.last_mut().expect("just told").message = Some((number, from));
            }
            return;
        }
        let delay = 80_000 + self.rng.below(700_000);
        self.after(delay, Due::Arrives { number, from, to, says });
        if luck > 96 {
            let delay = delay + self.rng.below(2_000_000);
            self.after(delay, Due::Arrives { number, from, to, says });
        }
    }

    fn write(&mut self, node: u32, then: Option<(Lane, Says)>) {
        let (at, len) = (512 + self.offset * 96, 96 + self.rng.below(400));
        let file = "p0/00000000000000000000.log";
        self.tell(Lane::Node(node), Kind::Disk, format!("{file} write {len} B at {at}, fsync"));
        if self.rng.below(40) == 0 {
            self.tell(Lane::Node(node), Kind::Fault, format!("{file}: fsync takes 20 ms"));
            self.after(20_000_000, Due::DiskDone { node, file, then });
        } else {
            let ns = 60_000 + self.rng.below(300_000);
            self.after(ns, Due::DiskDone { node, file, then });
        }
    }

    fn happens(&mut self, due: Due) {
        match due {
            Due::Arrives { number, from, to, says } => {
                if let Lane::Node(node) = to
                    && !self.runs(node)
                {
                    return;
                }
                self.tell(to, Kind::Receive, says.text());
                self.events.last_mut().expect("just told").message = Some((number, from));
                self.hears(to, from, says);
            }
            Due::DiskDone { node, file, then } => {
                if self.runs(node) {
                    self.tell(Lane::Node(node), Kind::DiskDone, format!("{file} fsync is done"));
                    if let Some((to, says)) = then {
                        self.send(Lane::Node(node), to, says);
                    }
                }
            }
            Due::Asks(client) => {
                self.offset += 1;
                let (offset, leader) = (self.offset, Lane::Node(self.leader));
                let key = self.rng.below(8);
                self.tell(
                    Lane::Client(client),
                    Kind::Call,
                    format!("asks SET {{g{key}}}1 <{offset}:24:…>"),
                );
                self.send(Lane::Client(client), leader, Says::Set(client, offset));
                let pause = 2_000_000 + self.rng.below(3_000_000);
                self.after(pause, Due::Asks(client));
            }
            Due::Beats(node) => {
                if self.runs(node) {
                    self.tell(Lane::Node(node), Kind::Tick, "heartbeat is due");
                    let peer = Lane::Node(node % NODES + 1);
                    self.send(Lane::Node(node), peer, Says::Heartbeat(self.epoch));
                }
                self.after(6_000_000, Due::Beats(node));
            }
            Due::Starts(node) => {
                self.tell(Lane::Node(node), Kind::Life, format!("{} as n{node}", Life::Starts));
                self.tell(Lane::Node(node), Kind::Disk, "META read 512 B at 0");
                self.after(900_000, Due::Serves(node));
            }
            Due::Serves(node) => {
                self.down.remove(&node);
                let lane = Lane::Node(node);
                self.tell(lane, Kind::DiskDone, "META is read: 512 B");
                let offset = self.offset;
                self.tell(lane, Kind::Life, format!("{}, log end {offset}", Life::Serves));
                self.tell(lane, Kind::Link, format!("connects to n{}", node % NODES + 1));
                if node == self.leader {
                    let epoch = self.epoch;
                    self.tell(lane, Kind::Role, format!("leads p0 in epoch {epoch}"));
                }
            }
        }
    }

    fn hears(&mut self, me: Lane, from: Lane, says: Says) {
        match (says, me) {
            (Says::Set(client, offset), Lane::Node(node)) => {
                self.write(node, None);
                for peer in (1..=NODES).filter(|peer| *peer != node) {
                    self.send(me, Lane::Node(peer), Says::Append(client, offset));
                }
            }
            (Says::Append(client, offset), Lane::Node(node)) => {
                self.write(node, Some((from, Says::Appended(client, offset))));
            }
            (Says::Appended(client, offset), Lane::Node(_)) if self.rng.below(2) == 0 => {
                self.send(me, Lane::Client(client), Says::Ok(offset));
            }
            (Says::Ok(offset), Lane::Client(_)) => {
                self.tell(me, Kind::Call, format!("is told OK for <{offset}:24:…>"));
            }
            _ => {}
        }
    }

    /// What is done to the cluster, once the story is long enough for it.
    fn nemesis(&mut self) {
        let place = self.steps / STEPS.len() * self.cycle
            + STEPS[self.steps % STEPS.len()] * self.cycle / 100;
        if self.events.len() < place {
            return;
        }
        let follower = self.leader % NODES + 1;
        let (world, lane) = (Lane::World, Lane::Node(follower));
        match self.steps % STEPS.len() {
            0 => {
                self.tell(world, Kind::Nemesis, format!("cuts n{follower} from the other nodes"));
                self.cut = Some(follower);
            }
            1 => {
                self.tell(world, Kind::Nemesis, "heals every link");
                self.cut = None;
            }
            2 => self.kill_the_leader(),
            3 => {
                self.tell(world, Kind::Nemesis, format!("pauses n{follower}"));
                self.tell(lane, Kind::Life, Life::IsPaused.words());
                self.paused = Some(follower);
            }
            4 => {
                let node = self.paused.take().expect("the step before has paused one");
                self.tell(world, Kind::Nemesis, format!("lets n{node} go on"));
                self.tell(Lane::Node(node), Kind::Life, Life::GoesOn.words());
                self.tell(world, Kind::Nemesis, format!("sets the clock of n{node} 1.5 s ahead"));
                self.tell(Lane::Node(node), Kind::Notice, "the wall clock jumped by 1.5 s");
            }
            5 => {
                self.tell(lane, Kind::Fault, "p0/00000000000000000000.log: a bit rots at 4711");
                self.tell(lane, Kind::Notice, "p0 is corrupt at offset 17, which is refetched");
            }
            _ if (self.steps / STEPS.len()).is_multiple_of(8) => {
                let text = "linearizability of {g3}: c2 read <11:24:…> though <14:24:…> had been \
                            acknowledged before it asked";
                self.tell(world, Kind::Violation, text);
            }
            _ => {}
        }
        self.steps += 1;
    }

    /// Returns with the next leader told, and a start due for the old one.
    fn kill_the_leader(&mut self) {
        let old = self.leader;
        self.tell(Lane::World, Kind::Nemesis, format!("kills n{old}, power loss"));
        let text = format!("{}: 3 writes were not yet durable", Life::IsKilled);
        self.tell(Lane::Node(old), Kind::Life, text);
        self.tell(Lane::Node(old), Kind::Fault, "forgets 288 B that were never synced");
        self.down.insert(old);
        self.leader = old % NODES + 1;
        self.epoch += 1;
        let text = format!("leads p0 in epoch {}", self.epoch);
        self.tell(Lane::Node(self.leader), Kind::Role, text);
        let follows = Lane::Node(self.leader % NODES + 1);
        self.tell(follows, Kind::Link, format!("the connection to n{old} is reset"));
        self.tell(follows, Kind::Role, format!("follows n{} in epoch {}", self.leader, self.epoch));
        self.after(self.cycle as u64 * 20_000, Due::Starts(old));
    }
}

impl Says {
    fn text(self) -> String {
        match self {
            Self::Set(client, offset) => format!("SET <{offset}:24:…> of c{client}"),
            Self::Append(_, offset) => {
                format!("Append {{ base: {offset}, records: 1, high watermark: {} }}", offset - 1)
            }
            Self::Appended(_, offset) => format!("Appended {{ durable end: {} }}", offset + 1),
            Self::Ok(offset) => format!("OK to <{offset}:24:…>"),
            Self::Heartbeat(epoch) => format!("Heartbeat {{ epoch: {epoch} }}"),
        }
    }
}
