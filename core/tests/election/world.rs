//! Members in virtual time, each with a disk, and a network between them that does as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kvnode_core::election::{Input, Message, Output, Raft, Role, Settings, Stored, Voters};
use kvnode_core::{DirectoryId, Instant, Member, NodeId};

use super::checks::{Checks, Machine, assert_logs_match, assert_sound};
use super::disk::ModelDisk;

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) settings: Settings,
    pub(crate) nodes: BTreeMap<u32, TestNode>,
    /// Messages on their way, by when they arrive.
    network: BTreeMap<(Instant, u64), (Member, Member, Message)>,
    /// From the first to the second nothing arrives.
    pub(crate) cuts: BTreeSet<(u32, u32)>,
    pub(crate) faults: Faults,
    pub(crate) checks: Checks,
    /// What was seen since it was last taken.
    pub(crate) trace: Vec<String>,
    /// Messages are told in the trace.
    pub(crate) tell_messages: bool,
    random: u64,
    serial: u64,
}

pub(crate) struct TestNode {
    pub(crate) me: Member,
    /// None while it is down.
    pub(crate) raft: Option<Raft>,
    pub(crate) disk: ModelDisk,
    pub(crate) machine: Machine,
}

/// How long things take, and what goes wrong.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) delay_us: (u64, u64),
    pub(crate) write_us: (u64, u64),
    pub(crate) loss_percent: u64,
    pub(crate) copy_percent: u64,
}

impl Faults {
    pub(crate) const NONE: Self = Self {
        delay_us: (1_000, 1_000),
        write_us: (1_000, 1_000),
        loss_percent: 0,
        copy_percent: 0,
    };
}

pub(crate) fn member(node: u32, directory: u16) -> Member {
    Member { node: NodeId(node), directory: DirectoryId(u128::from(directory) << 112) }
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Voters `1..=count`, each with directory 1.
pub(crate) fn voters(count: u32) -> Voters {
    Voters::new((1..=count).map(|id| member(id, 1)))
}

impl World {
    /// Members `1..=nodes`, of which the first `voters` vote.
    pub(crate) fn new(nodes: u32, voting: u32, settings: Settings, seed: u64) -> Self {
        let mut world = Self {
            now: Instant(0),
            settings,
            nodes: BTreeMap::new(),
            network: BTreeMap::new(),
            cuts: BTreeSet::new(),
            faults: Faults::NONE,
            checks: Checks::default(),
            trace: Vec::new(),
            tell_messages: false,
            random: seed,
            serial: 0,
        };
        for id in 1..=nodes {
            let stored = Stored::founding(voters(voting), Machine::default().snapshot());
            world.add(member(id, 1), stored);
        }
        for id in 1..=nodes {
            world.start(id);
        }
        world
    }

    pub(crate) fn add(&mut self, me: Member, stored: Stored) {
        let disk = ModelDisk::new(stored);
        let node = TestNode { me, raft: None, disk, machine: Machine::default() };
        self.nodes.insert(me.node.0, node);
    }

    pub(crate) fn start(&mut self, id: u32) {
        let (now, settings, seed) = (self.now, self.settings, self.draw());
        let node = self.node(id);
        assert!(node.raft.is_none(), "it is down");
        node.machine = Machine::default();
        node.raft = Some(Raft::new(node.me, settings, node.disk.stored.clone(), now, seed));
        self.drain(id);
        for other in self.others(id) {
            self.link(id, other);
        }
    }

    /// The power is lost, with so many changes of the write under way done. The others notice.
    pub(crate) fn crash(&mut self, id: u32, kept: usize) {
        let node = self.node(id);
        node.raft = None;
        node.disk.crash(kept);
        let me = node.me;
        for other in self.others(id) {
            if self.is_up(other) {
                self.handle(other, Input::Unlinked(me));
            }
        }
    }

    /// The link between two breaks and nothing arrives until it is mended.
    pub(crate) fn cut(&mut self, from: u32, to: u32) {
        self.cuts.insert((from, to));
    }

    pub(crate) fn unlink(&mut self, a: u32, b: u32) {
        for (here, there) in [(a, b), (b, a)] {
            let member = self.node(there).me;
            if self.is_up(here) {
                self.handle(here, Input::Unlinked(member));
            }
        }
    }

    pub(crate) fn link(&mut self, a: u32, b: u32) {
        if self.is_up(a) && self.is_up(b) {
            for (here, there) in [(a, b), (b, a)] {
                let member = self.node(there).me;
                self.handle(here, Input::Linked(member));
            }
        }
    }

    pub(crate) fn others(&self, id: u32) -> Vec<u32> {
        self.nodes.keys().copied().filter(|&other| other != id).collect()
    }

    pub(crate) fn node(&mut self, id: u32) -> &mut TestNode {
        self.nodes.get_mut(&id).expect("there is such a node")
    }

    pub(crate) fn raft(&self, id: u32) -> &Raft {
        self.nodes[&id].raft.as_ref().expect("it is up")
    }

    pub(crate) fn is_up(&self, id: u32) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.raft.is_some())
    }

    /// Who leads in the latest term.
    pub(crate) fn leader(&self) -> Option<u32> {
        let rafts = self.nodes.values().filter_map(|node| node.raft.as_ref());
        let leaders = rafts.filter(|raft| raft.role() == Role::Leader);
        leaders.max_by_key(|raft| raft.term()).map(|raft| raft.me().node.0)
    }

    pub(crate) fn propose(&mut self, id: u32, command: &[u8]) -> Result<(), String> {
        let now = self.now;
        let raft = self.node(id).raft.as_mut().ok_or("down")?;
        let result = raft.propose(now, Bytes::copy_from_slice(command));
        self.drain(id);
        result.map(|_| ()).map_err(|refusal| refusal.to_string())
    }

    /// Whatever the owner of a member does to it.
    pub(crate) fn with<R>(&mut self, id: u32, act: impl FnOnce(&mut Raft, Instant) -> R) -> R {
        let now = self.now;
        let result = act(self.node(id).raft.as_mut().expect("it is up"), now);
        self.drain(id);
        result
    }

    /// The owner hands over its state.
    pub(crate) fn compact(&mut self, id: u32) {
        let machine = self.node(id).machine;
        self.with(id, |raft, _| raft.compact(machine.applied, machine.snapshot()));
    }

    pub(crate) fn handle(&mut self, id: u32, input: Input) {
        self.with(id, |raft, now| raft.handle(now, input));
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some(at) = self.next_event().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.step();
        }
        self.now = end;
    }

    /// Runs until it is so, at most as long. Returns how long it took.
    pub(crate) fn run_until(&mut self, longest: Duration, so: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !so(self) {
            let at = self.next_event().expect("something is to happen");
            let members = self.nodes.values().map(|node| format!("{:?}", node.raft));
            let members: Vec<String> = members.collect();
            let story = self.trace.join("\n");
            assert!(at <= start.after(longest), "not so: {story}\n{}", members.join("\n"));
            self.now = self.now.max(at);
            self.step();
        }
        self.now.since(start)
    }

    fn next_event(&self) -> Option<Instant> {
        let message = self.network.keys().next().map(|(at, _)| *at);
        let nodes = self.nodes.values().flat_map(|node| {
            let raft = node.raft.as_ref();
            let write =
                (!node.disk.stalled && node.disk.writing.is_some()).then_some(node.disk.due);
            [raft.and_then(Raft::deadline).map(|(at, _)| at), write]
        });
        nodes.flatten().chain(message).min()
    }

    /// One thing that is due.
    fn step(&mut self) {
        let first = self.network.first_entry().filter(|first| first.key().0 <= self.now);
        if let Some((from, to, message)) = first.map(|first| first.remove()) {
            self.deliver(from, to, message);
            return;
        }
        let ids: Vec<u32> = self.nodes.keys().copied().collect();
        for id in ids {
            let now = self.now;
            let node = self.node(id);
            if !node.disk.stalled && node.disk.writing.is_some() && node.disk.due <= now {
                let write = node.disk.finish();
                return self.handle(id, Input::Persisted(write));
            }
            let due = node.raft.as_ref().and_then(Raft::deadline);
            if due.is_some_and(|(at, _)| at <= now) {
                return self.handle(id, Input::Tick);
            }
        }
        unreachable!("something was due");
    }

    fn deliver(&mut self, from: Member, to: Member, message: Message) {
        let is_there = self.nodes.get(&to.node.0).is_some_and(|node| node.me == to);
        if !is_there || !self.is_up(to.node.0) || self.cuts.contains(&(from.node.0, to.node.0)) {
            return;
        }
        if self.tell_messages {
            self.tell(to.node.0, &format!("gets from {} {}", from.node, brief(&message)));
        }
        self.handle(to.node.0, Input::Message { from, message });
    }

    fn drain(&mut self, id: u32) {
        while let Some(output) = self.node(id).raft.as_mut().and_then(Raft::poll) {
            let node = self.nodes.get_mut(&id).expect("there is such a node");
            let raft = node.raft.as_ref().expect("it is up");
            let me = node.me;
            self.checks.on_output(raft, &mut node.machine, &output);
            match output {
                Output::Persist(write, changes) => {
                    let due = self.now.after(self.wait(self.faults.write_us));
                    let disk = &mut self.node(id).disk;
                    assert!(disk.writing.is_none(), "one write at a time");
                    disk.writing = Some((write, changes));
                    disk.due = due;
                }
                Output::Send(to, message) => self.send(me, to, message),
                Output::Apply(entry) => {
                    self.tell(id, &format!("applies {}", super::script::entry(&entry)));
                }
                Output::Restore(snapshot) if snapshot.index.0 > 0 => {
                    self.tell(id, &format!("restores {}", snapshot.position()));
                }
                Output::Restore(_) => {}
                Output::Became { role, term, leader } => {
                    let leader =
                        leader.map_or(String::new(), |leader| format!(", led by {leader}"));
                    self.tell(id, &format!("is {role:?} in {term}{leader}"));
                }
                Output::Ignored { from, what, why } => {
                    self.tell(id, &format!("ignores {what} from {}: {why}", from.node));
                }
            }
        }
        let now = self.now;
        if let Some(raft) = &self.node(id).raft {
            assert_sound(raft, now);
        }
    }

    fn send(&mut self, from: Member, to: Member, message: Message) {
        let percent = |world: &mut Self, percent| world.draw() % 100 < percent;
        let faults = self.faults;
        let copies = 1 + u32::from(percent(self, faults.copy_percent));
        for _ in 0..copies {
            if percent(self, faults.loss_percent) {
                continue;
            }
            let at = self.now.after(self.wait(faults.delay_us));
            self.serial += 1;
            // The owner's codec is part of the way.
            let bytes = postcard::to_allocvec(&message).expect("a message can be encoded");
            let message = postcard::from_bytes(&bytes).expect("and decoded");
            self.network.insert((at, self.serial), (from, to, message));
        }
    }

    fn wait(&mut self, (min, max): (u64, u64)) -> Duration {
        Duration::from_micros(min + self.draw() % (max - min + 1))
    }

    /// Holds every pair of logs against each other.
    pub(crate) fn check_logs(&self) {
        let rafts: Vec<&Raft> = self.nodes.values().filter_map(|node| node.raft.as_ref()).collect();
        for (at, a) in rafts.iter().enumerate() {
            rafts[..at].iter().for_each(|b| assert_logs_match(a, b));
        }
    }

    fn tell(&mut self, id: u32, what: &str) {
        let line = format!("{:>6.1} n{id} {what}", self.now.0 as f64 / 1e6);
        self.trace.push(line);
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A message as scripts show it.
fn brief(message: &Message) -> String {
    let text = match message {
        Message::PreVote(m) => format!("asked {} last {}", m.asked, m.last),
        Message::PreVoteReply(m) => format!("{} asked {} granted {}", m.term, m.asked, m.granted),
        Message::Vote(m) => format!("{} last {}", m.term, m.last),
        Message::VoteReply(m) => format!("{} granted {}", m.term, m.granted),
        Message::Append(m) => {
            let entries: Vec<String> = m.entries.iter().map(super::script::entry).collect();
            format!("{} prev {} [{}] commit {}", m.term, m.prev, entries.join(" "), m.commit)
        }
        Message::AppendReply(m) => {
            let conflict = m.conflict.map_or(String::new(), |conflict| {
                let term = conflict.term.map_or("none".into(), |term| term.to_string());
                format!(" conflict at {}: {term} from {}", conflict.prev, conflict.first)
            });
            format!("{} matched {} durable {}{conflict}", m.term, m.matched, m.durable)
        }
        Message::Chunk(m) => {
            format!("{} last {} bytes {}+{} of {}", m.term, m.last, m.at, m.data.len(), m.total)
        }
        Message::ChunkReply(m) => format!("{} last {} held {}", m.term, m.last, m.held),
        Message::TimeoutNow(m) => format!("{}", m.term),
    };
    format!("{}: {text}", message.name())
}
