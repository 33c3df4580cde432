//! A replica without a disk: the machine of its role, a log that is a list, and the rules by which its
//! owner drives them. Whoever uses it decides when writes become durable, when messages come and what
//! time it is.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use kvnode_core::cluster::{AlterPartition, Command, Features, Founding, Life, Map, Registration};
use kvnode_core::replication::{
    Envelope, Follower, Leader, LogState, Message, Promises, ReadMode, ReadWait, Settings,
    follower, leader,
};
use kvnode_core::storage::epochs::Epochs;
use kvnode_core::{ClusterId, DirectoryId, Epoch, Index, Instant, NodeId, Offset, PartitionId};

pub(crate) const P: PartitionId = PartitionId(0);

/// Which reign wrote it, and what.
pub(crate) type Record = (u32, u32);

const RECORD_BYTES: usize = 8;

/// See the module's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Replica {
    pub(crate) life: Life,
    pub(crate) settings: Settings,
    pub(crate) log: Vec<Record>,
    /// So many of them survive a crash.
    pub(crate) durable: usize,
    pub(crate) watermark: usize,
    pub(crate) horizon: usize,
    pub(crate) role: Role,
    /// A cut that is not done yet.
    pub(crate) cutting: Option<usize>,
    /// Nothing is committed as a leader before.
    pub(crate) promises: Promises,
    pub(crate) next_round: u32,
    pub(crate) links: BTreeSet<NodeId>,
    /// The last map that it has seen.
    pub(crate) applied: Index,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    None,
    Leader(Epoch, Box<Leader>),
    Follower(Epoch, NodeId, Box<Follower>),
}

/// What came of something.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) sent: Vec<(NodeId, Envelope)>,
    pub(crate) alters: Vec<AlterPartition>,
    /// In the order it happened, for stories.
    pub(crate) told: Vec<String>,
    /// What only a broken protocol explains.
    pub(crate) violation: Option<String>,
}

impl Replica {
    /// A process with this life, which has never promised anything.
    pub(crate) fn new(life: Life, settings: Settings) -> Self {
        Self {
            life,
            settings,
            log: Vec::new(),
            durable: 0,
            watermark: 0,
            horizon: 0,
            role: Role::None,
            cutting: None,
            promises: Promises::default(),
            next_round: 1,
            links: BTreeSet::new(),
            applied: Index(0),
        }
    }

    /// The process stops and starts in another life: what was not durable is gone, or all but the
    /// first records, and it may have promised something.
    pub(crate) fn restart(&mut self, now: Instant, life: Life, kept: usize) {
        let mut next = Self::new(life, self.settings);
        self.log.truncate(self.durable.min(kept));
        next.log = std::mem::take(&mut self.log);
        next.durable = next.log.len();
        next.horizon = self.horizon.min(next.log.len());
        next.promises = Promises::unknown(now.after(self.settings.lease_kept()));
        next.links = std::mem::take(&mut self.links);
        *self = next;
    }

    pub(crate) fn id(&self) -> NodeId {
        self.life.node
    }

    /// Takes the map: begins and ends reigns.
    pub(crate) fn on_map(&mut self, now: Instant, map: &Map) -> Effects {
        self.applied = map.applied();
        let entry = map.partition(P).expect("it is placed");
        let is_mine = map.node(self.id()).is_some_and(|node| node.life() == self.life);
        let leader = entry.leader.filter(|_| is_mine && entry.replicas.contains(&self.id()));
        let me = self.id();
        match (&mut self.role, leader) {
            (Role::Leader(epoch, machine), Some(node)) if node == me && *epoch == entry.epoch => {
                machine.on_map(now, map);
            }
            (Role::Follower(epoch, of, _), Some(node)) if node == *of && *epoch == entry.epoch => {}
            (Role::None | Role::Leader(..) | Role::Follower(..), leader) => {
                self.end_role(now);
                match leader {
                    // A reign begins when the log is whole again.
                    _ if self.cutting.is_some() => self.applied = Index(0),
                    Some(node) if node == me => self.lead(now, entry.epoch, map),
                    Some(node) => self.follow(now, entry.epoch, node),
                    None => {}
                }
            }
        }
        self.drain(now)
    }

    fn end_role(&mut self, now: Instant) {
        if let Role::Follower(_, leader, machine) = &self.role {
            self.promises.give(now, *leader, machine.promised());
            self.next_round = machine.next_round();
        }
        self.role = Role::None;
    }

    fn lead(&mut self, now: Instant, epoch: Epoch, map: &Map) {
        let start = self.log.len();
        assert!(self.log.last().is_none_or(|last| last.0 < epoch.0), "a reign is above all others");
        self.log.push((epoch.0, 0));
        // Where every read is confirmed nobody counts on a promise.
        let promises = match self.settings.reads {
            ReadMode::Lease => self.promises.clone(),
            ReadMode::Confirm => Promises::default(),
        };
        let start = Offset(start as u64);
        let mut machine =
            Box::new(Leader::new(now, P, self.life, epoch, start, promises, map, self.settings));
        for &node in &self.links {
            machine.on_linked(now, node);
        }
        self.role = Role::Leader(epoch, machine);
        self.tick_machine(now);
    }

    fn follow(&mut self, now: Instant, epoch: Epoch, leader: NodeId) {
        let (round, settings) = (self.next_round, self.settings);
        let mut machine = Follower::new(now, P, self.life, epoch, leader, round, settings);
        if self.links.contains(&leader) {
            machine.on_linked(now);
        }
        self.role = Role::Follower(epoch, leader, Box::new(machine));
        self.tick_machine(now);
    }

    /// A message has come: whoever is in another reign or role does not hear it.
    pub(crate) fn on_message(&mut self, now: Instant, from: NodeId, envelope: Envelope) -> Effects {
        let (epochs, state) = (self.epochs(), self.log_numbers());
        let log = state.of(&epochs);
        match &mut self.role {
            Role::Leader(epoch, machine)
                if *epoch == envelope.epoch && envelope.message.is_for_leader() =>
            {
                machine.on_message(now, from, envelope.message, log);
            }
            Role::Follower(epoch, leader, machine)
                if (*epoch, *leader) == (envelope.epoch, from)
                    && !envelope.message.is_for_leader() =>
            {
                machine.on_message(now, from, envelope.message, log);
            }
            Role::None | Role::Leader(..) | Role::Follower(..) => {}
        }
        self.drain(now)
    }

    /// All that was written is durable.
    pub(crate) fn on_durable(&mut self, now: Instant) -> Effects {
        self.durable = self.log.len();
        self.on_log(now)
    }

    fn on_log(&mut self, now: Instant) -> Effects {
        let (epochs, state) = (self.epochs(), self.log_numbers());
        match &mut self.role {
            Role::Leader(_, machine) => machine.on_log(now, state.of(&epochs)),
            Role::Follower(_, _, machine) => machine.on_log(now, state.of(&epochs)),
            Role::None => {}
        }
        self.drain(now)
    }

    /// The cut is done and durable.
    pub(crate) fn on_cut(&mut self, now: Instant) -> Effects {
        let at = self.cutting.take().expect("a cut is under way");
        self.log.truncate(at);
        self.durable = self.durable.min(at);
        self.watermark = self.watermark.min(at);
        self.horizon = self.horizon.min(at);
        let (epochs, state) = (self.epochs(), self.log_numbers());
        if let Role::Follower(_, _, machine) = &mut self.role {
            machine.on_cut(now, state.of(&epochs));
        }
        self.drain(now)
    }

    pub(crate) fn on_tick(&mut self, now: Instant) -> Effects {
        self.tick_machine(now);
        self.drain(now)
    }

    fn tick_machine(&mut self, now: Instant) {
        let (epochs, state) = (self.epochs(), self.log_numbers());
        match &mut self.role {
            Role::Leader(_, machine) => machine.on_tick(now, state.of(&epochs)),
            Role::Follower(_, _, machine) => machine.on_tick(now, state.of(&epochs)),
            Role::None => {}
        }
    }

    pub(crate) fn on_link(&mut self, now: Instant, node: NodeId, is_up: bool) -> Effects {
        if is_up {
            self.links.insert(node);
        } else {
            self.links.remove(&node);
        }
        match &mut self.role {
            Role::Leader(_, machine) if is_up => machine.on_linked(now, node),
            Role::Leader(_, machine) => machine.on_unlinked(now, node),
            Role::Follower(_, leader, machine) if *leader == node && is_up => {
                machine.on_linked(now);
                self.tick_machine(now);
            }
            Role::Follower(_, leader, machine) if *leader == node => machine.on_unlinked(now),
            Role::Follower(..) | Role::None => {}
        }
        self.drain(now)
    }

    pub(crate) fn on_refused(
        &mut self,
        now: Instant,
        alter: &AlterPartition,
        why: kvnode_core::cluster::Refusal,
    ) -> Effects {
        if let Role::Leader(epoch, machine) = &mut self.role
            && *epoch == alter.epoch
        {
            machine.on_alter_refused(now, alter.partition_epoch, why);
        }
        self.drain(now)
    }

    /// A client's write, if this replica takes one.
    pub(crate) fn write(&mut self, now: Instant, payload: u32) -> Option<Effects> {
        let Role::Leader(epoch, machine) = &self.role else { return None };
        if !machine.serves() || machine.writable().is_err() {
            return None;
        }
        self.log.push((epoch.0, payload));
        Some(self.on_log(now))
    }

    /// What a read waits for, if this replica takes one.
    pub(crate) fn read(&mut self, now: Instant) -> Option<(ReadWait, Effects)> {
        let Role::Leader(_, machine) = &mut self.role else { return None };
        if !machine.serves() {
            return None;
        }
        let wait = machine.read(now);
        Some((wait, self.drain(now)))
    }

    /// Whether a read that was told to wait for this beat in this reign may go.
    pub(crate) fn is_confirmed(&self, epoch: Epoch, beat: u64) -> bool {
        match &self.role {
            Role::Leader(present, machine) => *present == epoch && machine.confirmed() >= beat,
            Role::Follower(..) | Role::None => false,
        }
    }

    pub(crate) fn leads(&self) -> Option<Epoch> {
        match &self.role {
            Role::Leader(epoch, _) => Some(*epoch),
            Role::Follower(..) | Role::None => None,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.role {
            Role::Leader(_, machine) => machine.deadline().map(|(at, _)| at),
            Role::Follower(_, _, machine) => machine.deadline().map(|(at, _)| at),
            Role::None => None,
        }
    }

    fn drain(&mut self, now: Instant) -> Effects {
        let mut effects = Effects::default();
        loop {
            match &mut self.role {
                Role::Leader(_, machine) => match machine.poll() {
                    Some(output) => self.on_leader(now, output, &mut effects),
                    None => return effects,
                },
                Role::Follower(_, _, machine) => match machine.poll() {
                    Some(output) => self.on_follower(output, &mut effects),
                    None => return effects,
                },
                Role::None => return effects,
            }
        }
    }

    fn on_leader(&mut self, now: Instant, output: leader::Output, effects: &mut Effects) {
        let Role::Leader(epoch, machine) = &mut self.role else { panic!("it leads") };
        let envelope = |message| Envelope { partition: P, epoch: *epoch, message };
        match output {
            leader::Output::Send(to, message) => {
                effects.told.push(format!("to {to}: {}", brief(&message)));
                effects.sent.push((to, envelope(message)));
            }
            leader::Output::Ship { to, round, from, bytes } => {
                let from = from.0 as usize;
                let count = (bytes / RECORD_BYTES).max(1).min(self.log.len() - from);
                let records = encode(&self.log[from..from + count]);
                let (base, end) = (Offset(from as u64), Offset((from + count) as u64));
                if let Some(message) = machine.ship(now, to, round, base, end, records) {
                    effects.told.push(format!("to {to}: {}", brief(&message)));
                    effects.sent.push((to, envelope(message)));
                }
            }
            leader::Output::Commit(end) => {
                effects.told.push(format!("commits up to {end}"));
                assert!(end.0 as usize > self.watermark, "a watermark goes forward");
                self.watermark = end.0 as usize;
            }
            leader::Output::Confirmed(beat) => effects.told.push(format!("confirmed: beat {beat}")),
            leader::Output::Alter(alter) => {
                let isr: Vec<String> = alter.isr.iter().map(ToString::to_string).collect();
                let version = alter.partition_epoch;
                effects.told.push(format!("asks for isr {} against {version}", isr.join(" ")));
                effects.alters.push(alter);
            }
            leader::Output::Ignored(from, why) => {
                effects.told.push(format!("ignores {from}: {why}"));
                if why.is_violation() {
                    effects.violation = Some(format!("from {from}: {why}"));
                }
            }
            leader::Output::Notice(severity, text) => {
                effects.told.push(format!("{severity:?}: {text}"));
            }
        }
    }

    fn on_follower(&mut self, output: follower::Output, effects: &mut Effects) {
        let Role::Follower(epoch, ..) = &self.role else { panic!("it follows") };
        match output {
            follower::Output::Send(to, message) => {
                effects.told.push(format!("to {to}: {}", brief(&message)));
                effects.sent.push((to, Envelope { partition: P, epoch: *epoch, message }));
            }
            follower::Output::Store { base, end, records } => {
                assert_eq!(base.0 as usize, self.log.len(), "records follow each other");
                self.log.extend(decode(&records));
                assert_eq!(end.0 as usize, self.log.len(), "and are as many as were told");
            }
            follower::Output::Commit(end) => {
                effects.told.push(format!("knows committed up to {end}"));
                assert!(end.0 as usize <= self.log.len(), "what is committed is in the log");
                self.watermark = end.0 as usize;
            }
            follower::Output::Cut(at) => {
                effects.told.push(format!("cuts at {at}"));
                self.cutting = Some(at.0 as usize);
            }
            follower::Output::Ignored(from, why) => {
                effects.told.push(format!("ignores {from}: {why}"));
                if why.is_violation() {
                    effects.violation = Some(format!("from {from}: {why}"));
                }
            }
            follower::Output::Notice(severity, text) => {
                effects.told.push(format!("{severity:?}: {text}"));
            }
        }
    }

    pub(crate) fn epochs(&self) -> Epochs {
        let mut epochs = Epochs::new();
        for (at, record) in self.log.iter().enumerate() {
            if epochs.last().is_none_or(|(epoch, _)| epoch.0 < record.0) {
                epochs.push(Epoch(record.0), Offset(at as u64));
            }
        }
        epochs
    }

    fn log_numbers(&self) -> Numbers {
        Numbers {
            end: Offset(self.log.len() as u64),
            acked: Offset(self.durable as u64),
            watermark: Offset(self.watermark as u64),
            horizon: Offset(self.horizon as u64),
        }
    }
}

#[derive(Clone, Copy)]
struct Numbers {
    end: Offset,
    acked: Offset,
    watermark: Offset,
    horizon: Offset,
}

impl Numbers {
    fn of(self, epochs: &Epochs) -> LogState<'_> {
        LogState {
            epochs,
            end: self.end,
            stored: self.acked,
            acked: self.acked,
            watermark: self.watermark,
            tombstone_horizon: self.horizon,
        }
    }
}

fn encode(records: &[Record]) -> Bytes {
    let bytes = |&(epoch, payload): &Record| [epoch.to_le_bytes(), payload.to_le_bytes()].concat();
    records.iter().flat_map(bytes).collect::<Vec<u8>>().into()
}

pub(crate) fn decode(bytes: &[u8]) -> Vec<Record> {
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let record = |bytes: &[u8]| (number(&bytes[..4]), number(&bytes[4..]));
    bytes.chunks_exact(RECORD_BYTES).map(record).collect()
}

/// A record as stories show it.
pub(crate) fn show(record: &Record) -> String {
    match record {
        (epoch, 0) => format!("e{epoch}"),
        (epoch, payload) => format!("e{epoch}:{payload}"),
    }
}

/// A message as stories show it.
pub(crate) fn brief(message: &Message) -> String {
    match message {
        Message::Lead => "lead".into(),
        Message::Follow { round, last, end } => {
            format!("follow, round {}, last {last}, end {end}", round.number)
        }
        Message::Common { round, epoch, end } => {
            format!("common, round {}, {epoch} ends at {end}", round.number)
        }
        Message::Restart { round } => format!("restart, round {}", round.number),
        Message::Append { round, beat, base, end, watermark, records, .. } => {
            let what: Vec<String> = decode(records).iter().map(show).collect();
            let what = if what.is_empty() {
                format!("beat at {end}")
            } else {
                format!("append {base}..{end} [{}]", what.join(" "))
            };
            let number = round.number;
            let beat = if *beat > 0 { format!(", beat {beat}") } else { String::new() };
            format!("{what}, round {number}, committed {watermark}{beat}")
        }
        Message::Ack { round, beat, end, .. } => {
            let beat = if *beat > 0 { format!(", beat {beat}") } else { String::new() };
            format!("ack {end}, round {}{beat}", round.number)
        }
    }
}

/// A map with one partition on nodes `1..=nodes`, all registered and active.
pub(crate) fn founded(nodes: u32, min_isr: u32) -> Map {
    let mut map = Map::new();
    let expected = (1..=nodes).map(NodeId).collect();
    apply(
        &mut map,
        &Command::Found(Founding {
            cluster: ClusterId(1),
            level: 1,
            partitions: 1,
            replication_factor: nodes,
            min_isr,
            expected,
        }),
    );
    for node in (1..=nodes).map(NodeId) {
        apply(&mut map, &Command::Register(registration(node, 1, true)));
        let life = map.node(node).expect("it is registered").life();
        apply(&mut map, &Command::Unfence(life));
    }
    apply(&mut map, &Command::CreatePartitions(vec![(1..=nodes).map(NodeId).collect()]));
    map
}

pub(crate) fn registration(node: NodeId, nonce: u64, clean: bool) -> Registration {
    Registration {
        node,
        directory: DirectoryId(u128::from(node.0)),
        nonce,
        clean,
        peer: "a:1".into(),
        client: "a:2".into(),
        rack: None,
        version: "0".into(),
        features: Features { min: 1, max: 1 },
    }
}

/// Applies what must be lawful.
pub(crate) fn apply(map: &mut Map, command: &Command) {
    try_apply(map, command).unwrap_or_else(|why| panic!("{command}: {why}"));
}

pub(crate) fn try_apply(
    map: &mut Map,
    command: &Command,
) -> Result<(), kvnode_core::cluster::Refusal> {
    let index = map.applied().plus(1);
    map.apply(index, command).map(|_| ())
}

/// So many milliseconds.
pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
