//! A cluster without network and disk: a log that commits at once or when told, a controller, and
//! brokers with a map each. Every map is held to the invariants after every entry.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use kvnode_core::cluster::broker::{self, Broker};
use kvnode_core::cluster::controller::{self, Controller};
use kvnode_core::cluster::{
    BrokerMessage, Changes, Command, ControllerMessage, Founding, Heartbeat, Life, LogEnd, Map,
    Refusal,
};
use kvnode_core::{ClusterId, Index, Instant, NodeId, Now};

/// The wall clock at the start, in microseconds.
const WALL_US: u64 = 1_800_000_000_000_000;

/// A process with a broker.
pub(crate) struct Process {
    pub(crate) broker: Broker,
    map: Map,
}

/// See the module's header.
pub(crate) struct World {
    pub(crate) mono: Instant,
    pub(crate) map: Map,
    pub(crate) founding: Founding,
    pub(crate) log: Vec<Command>,
    pub(crate) controller: Option<Controller>,
    /// The node that leads the quorum.
    pub(crate) office: NodeId,
    /// By name, so that two processes may have one id.
    pub(crate) processes: BTreeMap<String, Process>,
    /// What each node last said of its replicas, where no process runs.
    ends: BTreeMap<NodeId, Vec<LogEnd>>,
    /// Nodes that hear and say nothing.
    pub(crate) cut: BTreeSet<NodeId>,
    /// Proposals are not committed before they are told to be.
    pub(crate) held: bool,
    pub(crate) proposed: VecDeque<Command>,
    /// Commands are shown as they stand in the log.
    pub(crate) bytes: bool,
    pub(crate) said: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            mono: Instant(1_000_000_000),
            map: Map::new(),
            founding: Founding {
                cluster: ClusterId(7),
                level: 1,
                partitions: 1,
                replication_factor: 3,
                min_isr: 2,
                expected: [1, 2, 3].map(NodeId).into(),
            },
            log: Vec::new(),
            controller: None,
            office: NodeId(1),
            processes: BTreeMap::new(),
            cut: BTreeSet::new(),
            held: false,
            proposed: VecDeque::new(),
            bytes: false,
            ends: BTreeMap::new(),
            said: String::new(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: self.mono, wall_us: WALL_US + self.mono.0 / 1000 }
    }

    pub(crate) fn say(&mut self, line: impl std::fmt::Display) {
        writeln!(self.said, "{line}").expect("a string takes it");
    }

    /// The registered life of a node.
    pub(crate) fn life(&self, node: NodeId) -> Life {
        self.map.node(node).map_or(Life { node, incarnation: Default::default() }, |n| n.life())
    }

    /// Commits a command and lets everybody know.
    pub(crate) fn commit(&mut self, command: &Command) {
        self.log.push(command.clone());
        let index = Index(self.log.len() as u64);
        if self.bytes {
            self.say(hex(&command.encode()));
        }
        let before = self.map.clone();
        let outcome = apply(&mut self.map, index, command);
        match &outcome {
            Ok(changes) => {
                self.say(format_args!("{index} {command}"));
                for &id in &changes.nodes {
                    let node = self
                        .map
                        .node(id)
                        .map_or_else(|| format!("{id} is removed"), ToString::to_string);
                    let was = before.node(id).map(ToString::to_string).unwrap_or_default();
                    if was != node {
                        self.say(format_args!("   {node}"));
                    }
                }
                for &id in &changes.partitions {
                    let partition = self.map.partition(id).expect("it was changed").clone();
                    self.say(format_args!("   {id} {partition}"));
                }
            }
            Err(refusal) => self.say(format_args!("{index} {command}: refused, {refusal}")),
        }
        let now = self.now();
        if let Some(controller) = &mut self.controller {
            controller.handle(now, &self.map, controller::Input::Applied(command, &outcome));
        }
        self.spread();
    }

    /// Whoever is not cut off applies what is committed.
    pub(crate) fn spread(&mut self) {
        let now = self.now();
        for (name, process) in &mut self.processes {
            if self.cut.contains(&id_of(name)) {
                continue;
            }
            for (index, command) in (1..).map(Index).zip(&self.log) {
                if index > process.map.applied() {
                    let _ = apply(&mut process.map, index, command);
                    process.broker.handle(now, &process.map, broker::Input::Applied);
                }
            }
            assert_eq!(process.map, self.map, "equal logs give equal maps");
        }
    }

    pub(crate) fn start(&mut self, name: &str, settings: broker::Settings) {
        let now = self.now();
        let mut broker = Broker::new(now, settings);
        let leader = self.controller.is_some().then_some(self.office);
        broker.handle(now, &Map::new(), broker::Input::Leader(leader));
        self.processes.insert(name.into(), Process { broker, map: Map::new() });
        self.spread();
    }

    pub(crate) fn broker(&mut self, name: &str, input: broker::Input) {
        let now = self.now();
        let process = self.processes.get_mut(name).expect("it was started");
        process.broker.handle(now, &process.map, input);
    }

    pub(crate) fn control(&mut self, input: controller::Input<'_>) {
        let now = self.now();
        let controller = self.controller.as_mut().expect("somebody is in office");
        controller.handle(now, &self.map, input);
    }

    pub(crate) fn take_office(&mut self, settings: controller::Settings) {
        self.proposed.clear();
        let now = self.now();
        self.controller = Some(Controller::new(now, &self.map, settings));
        for process in self.processes.values_mut() {
            let input = broker::Input::Leader(Some(self.office));
            process.broker.handle(now, &process.map, input);
        }
    }

    /// A heartbeat of a node without a process.
    pub(crate) fn beat(&mut self, node: NodeId, change: impl FnOnce(&mut Heartbeat)) {
        let mut heartbeat = Heartbeat {
            incarnation: self.life(node).incarnation,
            applied: self.map.applied(),
            wall_ms: self.now().wall_us / 1000,
            log_ends: self.ends.get(&node).cloned().unwrap_or_default(),
            resigned: Vec::new(),
            wants_stop: false,
        };
        change(&mut heartbeat);
        self.ends.insert(node, heartbeat.log_ends.clone());
        let message = BrokerMessage::Heartbeat(heartbeat);
        self.control(controller::Input::Message(node, message));
    }

    /// Drains everybody until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            if !(self.drain_controller() | self.drain_brokers() | self.commit_next()) {
                return;
            }
        }
        panic!("it never comes to rest:\n{}", self.said);
    }

    fn commit_next(&mut self) -> bool {
        let may = !self.held && !self.proposed.is_empty();
        if may {
            self.commit_oldest();
        }
        may
    }

    /// The oldest proposal is committed.
    pub(crate) fn commit_oldest(&mut self) {
        let command = self.proposed.pop_front().expect("something was proposed");
        self.commit(&command);
    }

    fn drain_controller(&mut self) -> bool {
        let mut any = false;
        while let Some(output) = self.controller.as_mut().and_then(Controller::poll) {
            any = true;
            match output {
                controller::Output::Propose(command) => {
                    if self.held {
                        self.say(format_args!("proposed: {command}"));
                    }
                    self.proposed.push_back(command);
                }
                controller::Output::Answer(to, answer) => self.answer(to, answer),
                controller::Output::Reply(id, Ok(())) => {
                    self.say(format_args!("request {} is done", id.number));
                }
                controller::Output::Reply(id, Err(error)) => {
                    self.say(format_args!("request {}: {error}", id.number));
                }
                controller::Output::Ignored(from, why) => {
                    self.say(format_args!("ignored from {from}: {why:?}"));
                }
                controller::Output::Notice(severity, text) => {
                    self.say(format_args!("{severity:?}: {text}"));
                }
            }
        }
        any
    }

    fn answer(&mut self, to: NodeId, answer: ControllerMessage) {
        match &answer {
            ControllerMessage::Heard { may_stop: false, .. } => {}
            ControllerMessage::Heard { incarnation, may_stop: true } => {
                self.say(format_args!("told {to}{incarnation}: may stop"));
            }
            ControllerMessage::RegisterRefused { why, .. } => {
                self.say(format_args!("told {to}: not registered, {why}"));
            }
            ControllerMessage::AlterRefused { partition, partition_epoch, why } => {
                self.say(format_args!("told {to}: {partition} {partition_epoch} stays, {why}"));
            }
        }
        if self.cut.contains(&to) {
            return;
        }
        let now = self.now();
        for (_, process) in self.processes.iter_mut().filter(|(name, _)| id_of(name) == to) {
            process.broker.handle(now, &process.map, broker::Input::Answer(answer.clone()));
        }
    }

    fn drain_brokers(&mut self) -> bool {
        let mut any = false;
        let names: Vec<String> = self.processes.keys().cloned().collect();
        for name in names {
            loop {
                let process = self.processes.get_mut(&name).expect("nobody took it away");
                let Some(output) = process.broker.poll() else { break };
                any = true;
                self.on_broker(&name, output);
            }
        }
        any
    }

    fn on_broker(&mut self, name: &str, output: broker::Output) {
        match output {
            broker::Output::Send(to, message) => {
                let from = id_of(name);
                let reaches = to == self.office
                    && self.controller.is_some()
                    && !self.cut.contains(&from)
                    && !self.cut.contains(&to);
                if reaches {
                    self.control(controller::Input::Message(from, message));
                }
            }
            broker::Output::Standing(state) => self.say(format_args!("{name}: {state:?}")),
            broker::Output::AlterRefused { partition, partition_epoch, why } => {
                self.say(format_args!("{name}: {partition} {partition_epoch} refused, {why}"));
            }
            broker::Output::MayStop => self.say(format_args!("{name}: may stop")),
            broker::Output::Refused(text) => self.say(format_args!("{name}: refused: {text}")),
            broker::Output::Notice(severity, text) => {
                self.say(format_args!("{name}: {severity:?}: {text}"));
            }
        }
    }

    /// Lets time pass, each deadline in its turn. The nodes `beating` send a heartbeat every 100 ms.
    pub(crate) fn run(&mut self, time: Duration, beating: &[NodeId]) {
        let end = self.mono.after(time);
        let mut beat = self.mono.after(Duration::from_millis(100));
        for _ in 0..100_000 {
            let controller = self.controller.as_ref().and_then(Controller::deadline);
            let brokers = self.processes.values().filter_map(|p| p.broker.deadline());
            let next = controller.map(|(at, _)| at).into_iter().chain(brokers.map(|(at, _)| at));
            let next = next.min().unwrap_or(end);
            assert!(next > self.mono || next == end, "a deadline in the past: {:?}", next);
            self.mono = next.min(end).min(if beating.is_empty() { end } else { beat });
            if self.mono == beat && !beating.is_empty() {
                beat = beat.after(Duration::from_millis(100));
                for &node in beating {
                    self.beat(node, |_| {});
                    self.settle();
                }
            }
            if self.controller.is_some() {
                self.control(controller::Input::Tick);
            }
            let names: Vec<String> = self.processes.keys().cloned().collect();
            for name in names {
                self.broker(&name, broker::Input::Tick);
            }
            self.settle();
            if self.mono == end {
                return;
            }
        }
        panic!("time does not pass:\n{}", self.said);
    }
}

/// A process is named after its node, and a letter if there are several: `n1`, `n1b`.
pub(crate) fn id_of(name: &str) -> NodeId {
    let digits = name.trim_matches(|c: char| !c.is_ascii_digit());
    NodeId(digits.parse().expect("a name like n1 or n1b"))
}

/// Applies, and holds the map to everything that is true of every map.
pub(crate) fn apply(map: &mut Map, index: Index, command: &Command) -> Result<Changes, Refusal> {
    let before = map.clone();
    assert_eq!(Command::decode(&command.encode()).as_ref(), Ok(command));
    let outcome = map.apply(index, command);
    map.check();
    assert_eq!(map.violation_after(&before), None, "{before:?}\n{map:?}");
    assert_eq!(Map::decode(&map.encode()).as_ref(), Ok(&*map));
    let mut passed = before;
    passed.pass(index);
    assert_eq!(outcome.is_ok(), *map != passed, "{command}: {outcome:?} and what it did differ");
    outcome
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
