//! The clients: each a node of madsim, with a connection, a stream of wishes and a patience.
//!
//! What a client asks and is told goes into the history. A connection that breaks, or an answer that
//! does not come in time, leaves the calls on it unknown; the client then connects anew.

pub mod words;
mod workload;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvnode_core::args::OwnedArgs;
use kvnode_core::reply::Reply;
use kvnode_core::shard::FsyncMode;
use madsim::net::Endpoint;
use madsim::time::{sleep, timeout};

use crate::chance::{Chance, Purpose};
use crate::checkers::words as told;
use crate::history::{Action, Answer, Group, Key, Moment, Outcome, Ttl, Val, When};
use crate::marks::Seen;
use crate::net::{Inlet, Packet, WireId};
use crate::node::address;
use crate::replication::scout::Errand;
use crate::story::{Kind, Lane};
use crate::world::World;
use workload::{Habit, Wish, Workload};

pub(crate) use workload::MIX;

/// How many times as fast clients ask while something happens that they should see.
const HURRY: u64 = 4;
const HURRY_PERCENT: u64 = 80;

/// The longest that a client waits for replicas, in ms.
const WAIT_MS_MAX: u64 = 2_000;

/// A client of one node at a time.
pub(crate) struct Client {
    world: Arc<World>,
    id: u32,
    node: u32,
    /// It goes to this node and to no other.
    pinned: Option<u32>,
    /// Its connections say READONLY.
    nearby: bool,
    address: SocketAddr,
    chance: Chance,
    workload: Workload,
    connection: Option<Connection>,
}

struct Connection {
    wire: WireId,
    inlet: Inlet,
    /// Asked and not answered, in order.
    waiting: VecDeque<Waiting>,
    /// The last command that is no call was refused.
    refused: bool,
    /// What was written on it and answered, of each group the latest.
    written: BTreeMap<Group, (Key, Val)>,
    _endpoint: Endpoint,
}

/// A command whose reply is to come.
enum Waiting {
    /// Its reply tells how the call ended.
    Call(usize, Action),
    /// Its reply tells who has what was written: a number, or with `true` (WAITAOF) two.
    Count(bool),
    /// Its reply should be this simple string; another spoils the transaction that it belongs to.
    Simple(&'static str),
}

impl Waiting {
    fn text(&self) -> String {
        match self {
            Self::Call(call, action) => format!("call {call}: {}", told::action(action)),
            Self::Count(_) => "how many have what was written".to_owned(),
            Self::Simple(text) => format!("what is answered by {text}"),
        }
    }
}

impl Client {
    pub(crate) fn new(world: Arc<World>, id: u32) -> Self {
        let mut chance = Chance::new(world.seed, Purpose::Client(id));
        let wishes = Chance::new(chance.any(), Purpose::Client(id));
        // A leader that can reach nobody answers no write, and who waits for one reads nothing.
        let clients = world.settings.clients;
        let habit = if id <= world.settings.readers {
            Habit::Reads
        } else if id <= clients && id > clients - world.settings.nearby {
            Habit::Nearby
        } else {
            Habit::Any
        };
        let workload = Workload::new(&world.settings, (id, world.tokens.clone()), wishes, habit);
        // Clients stand behind the nodes in the address plan.
        let address = SocketAddr::from(([10, 0, 1, id as u8], 0));
        Self {
            world,
            id,
            node: 1,
            pinned: None,
            nearby: habit == Habit::Nearby,
            address,
            chance,
            workload,
            connection: None,
        }
    }

    /// A client of one node.
    pub(crate) fn at(world: Arc<World>, id: u32, node: u32) -> Self {
        Self { pinned: Some(node), ..Self::new(world, id) }
    }

    /// Asks and asks, until told to stop; then waits for what is under way.
    pub(crate) async fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            // Who asks for much in one breath takes his time in between.
            let breath = self.chance.of(1..self.world.settings.pipeline + 1);
            let pause = self.chance.below(self.world.settings.think_ms + 1) * breath;
            let hurries = self.world.focus().is_some() && self.chance.percent(HURRY_PERCENT);
            let pause = if hurries { pause / (HURRY * breath) } else { pause };
            let breath = if hurries { 1 } else { breath };
            sleep(Duration::from_millis(pause)).await;
            if self.connection.is_none() && !self.connect().await {
                continue;
            }
            self.turn(breath).await;
        }
        self.settle(0).await;
    }

    async fn connect(&mut self) -> bool {
        let Ok(endpoint) = Endpoint::bind(self.address).await else {
            // The port of the connection before is not free yet.
            return false;
        };
        let lane = Lane::Client(self.id);
        if let Some(node) = self.pinned {
            self.node = node;
        } else if self.world.settings.nodes > 1 {
            // Any node will do, and the one that just failed is as good as any.
            self.node = 1 + self.chance.below(self.world.settings.nodes.into()) as u32;
        }
        let to = Lane::Node(self.node);
        let connected = self.world.connect(lane, to, &endpoint, address(self.node)).await;
        let Some((wire, inlet)) = connected else {
            sleep(Duration::from_millis(self.chance.of(5..300))).await;
            return false;
        };
        let waiting = VecDeque::new();
        self.connection = Some(Connection {
            wire,
            inlet,
            waiting,
            refused: false,
            written: BTreeMap::new(),
            _endpoint: endpoint,
        });
        if self.nearby {
            send(&self.world, self.id, wire, &[b"READONLY".to_vec()]);
            let connection = self.connection.as_mut().expect("it was made just now");
            connection.waiting.push_back(Waiting::Simple("OK"));
        }
        true
    }

    /// One wish, or several in one breath.
    async fn turn(&mut self, breath: u64) {
        for _ in 0..breath {
            match self.workload.next(self.world.latest_ms(), self.world.focus()) {
                Wish::Plain(action) => self.ask(action, None),
                Wish::Watched(keys, steps) => self.transact(&keys, steps).await,
            }
        }
        let (wants, writes) = (self.world.settings.waits_percent, self.has_written());
        if wants > 0 && writes && self.chance.percent(wants) {
            self.count();
        }
        let left = if self.chance.percent(80) { 0 } else { breath as usize / 2 };
        self.settle(left).await;
        if self.chance.percent(1) {
            self.hang_up("for no reason");
        }
    }

    fn ask(&mut self, action: Action, watched_at: Option<Moment>) {
        let Some(connection) = &mut self.connection else { return };
        let (id, wire) = (self.id, connection.wire);
        let call = self.world.invoke(id, wire, self.node, action.clone(), watched_at);
        self.world.tell(Lane::Client(self.id), Kind::Call, (call, &action), || {
            format!("call {call}: {}", told::action(&action))
        });
        if self.nearby && matches!(action, Action::Get(_) | Action::MGet(_) | Action::Exists(_)) {
            self.world.is_nearby(call);
        }
        let mut commands = words::commands(&action);
        let last = commands.pop().expect("an action is at least one command");
        for (at, command) in commands.into_iter().enumerate() {
            send(&self.world, self.id, connection.wire, &command);
            connection.waiting.push_back(Waiting::Simple(if at == 0 { "OK" } else { "QUEUED" }));
        }
        send(&self.world, self.id, connection.wire, &last);
        connection.waiting.push_back(Waiting::Call(call, action));
    }

    fn has_written(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| !connection.written.is_empty())
    }

    /// WAIT or WAITAOF.
    fn count(&mut self) {
        let replicas = self.chance.below(u64::from(self.world.settings.nodes)).to_string();
        let timeout_ms = self.chance.skewed(1..WAIT_MS_MAX).to_string();
        let local = self.chance.percent(30).then(|| self.chance.below(2).to_string());
        let mut command = vec![replicas, timeout_ms];
        let name = if local.is_some() { "WAITAOF" } else { "WAIT" };
        let of_disk = local.is_some();
        // In other modes of fsync no replica says what is durable.
        if of_disk && self.world.settings.fsync != FsyncMode::Always {
            command[0] = "0".to_owned();
        }
        let command: Vec<Vec<u8>> = std::iter::once(name.to_owned())
            .chain(local)
            .chain(command)
            .map(String::into_bytes)
            .collect();
        let Some(connection) = &mut self.connection else { return };
        self.world.tell(Lane::Client(self.id), Kind::Call, &command, || name.to_owned());
        send(&self.world, self.id, connection.wire, &command);
        connection.waiting.push_back(Waiting::Count(of_disk));
    }

    /// What WAIT or WAITAOF tells is so of whatever was written on this connection.
    fn on_count(&self, of_disk: bool, reply: &Reply) {
        let Some(connection) = &self.connection else { return };
        let (local, replicas) = match (of_disk, reply) {
            (false, Reply::Int(replicas)) => (false, *replicas),
            (true, Reply::Array(both)) => match both[..] {
                [Reply::Int(local @ (0 | 1)), Reply::Int(replicas)] => (local == 1, replicas),
                _ => return self.is_garbage(reply),
            },
            (_, Reply::Error(_)) => return,
            _ => return self.is_garbage(reply),
        };
        self.world.see(Seen::Counted);
        for (key, val) in connection.written.values() {
            self.world.told_acked((key, val), replicas, local);
        }
    }

    fn is_garbage(&self, reply: &Reply) {
        let told = crate::net::reply_text(reply);
        self.world.violation("garbage", format!("a number of replicas was due, {told} came"));
    }

    /// WATCH, GET of each key, MULTI … EXEC.
    async fn transact(&mut self, keys: &[Key], steps: Vec<Action>) {
        let mut watched = Vec::new();
        let mut watched_at = None;
        if !keys.is_empty() {
            self.settle(0).await;
            let Some(connection) = &mut self.connection else { return };
            let mut command = vec![b"WATCH".to_vec()];
            command.extend(keys.iter().map(|key| key.to_string().into_bytes()));
            watched_at = Some(self.world.watch(self.node, keys.first().map(|key| key.group)));
            send(&self.world, self.id, connection.wire, &command);
            connection.waiting.push_back(Waiting::Simple("OK"));
            for &key in keys {
                self.ask(Action::Get(key), None);
                let Some(Some(Outcome::Answered(answer))) = self.settle(0).await else {
                    return self.hang_up("a watched key was not read");
                };
                let val = if let Answer::Val(val) = answer { Some(val) } else { None };
                watched.push((key, val));
            }
            // A node that is only just starting watches nothing, but may serve the reads behind it.
            if self.connection.as_ref().is_none_or(|connection| connection.refused) {
                return;
            }
            // Somebody else may come between now and then.
            if self.chance.percent(50) {
                let pause = self.chance.skewed(1..200);
                sleep(Duration::from_millis(pause)).await;
            }
        }
        self.ask(Action::Txn { watched, steps }, watched_at);
        // Every step was sent already: what was refused on the way shows in the answer to EXEC.
        self.settle(0).await;
    }

    /// Waits until no more than `left` answers are to come; the outcome of the last call, if there was
    /// one. `None`: the connection is gone.
    async fn settle(&mut self, left: usize) -> Option<Option<Outcome>> {
        let mut last = None;
        loop {
            let connection = self.connection.as_mut()?;
            if connection.waiting.len() <= left {
                return Some(last);
            }
            let patience = Duration::from_millis(self.world.settings.patience_ms);
            match timeout(patience, connection.inlet.receive(&self.world)).await {
                Ok(Some(Packet::Reply(reply))) => last = self.on_reply(&reply).or(last),
                Ok(Some(Packet::Hello(_) | Packet::Command(_))) => {}
                Ok(None) => {
                    self.world.see(Seen::Broken);
                    self.hang_up("the connection broke");
                    return None;
                }
                Err(_) => {
                    self.world.see(Seen::Impatient);
                    let since_ns = self.world.now_ns() - patience.as_nanos() as u64;
                    let first = connection.waiting.front().map(Waiting::text).unwrap_or_default();
                    self.world.gave_up(self.id, self.node, since_ns, &first);
                    self.hang_up("no answer in time");
                    return None;
                }
            }
        }
    }

    fn on_reply(&mut self, reply: &Reply) -> Option<Outcome> {
        let connection = self.connection.as_mut()?;
        match connection.waiting.pop_front() {
            Some(Waiting::Simple(text)) => {
                connection.refused = matches!(reply, Reply::Error(_));
                if !connection.refused && !matches!(reply, Reply::Simple(told) if *told == text) {
                    let told = crate::net::reply_text(reply);
                    self.world.violation("garbage", format!("{text} was due, {told} came"));
                }
                None
            }
            Some(Waiting::Count(of_disk)) => {
                self.on_count(of_disk, reply);
                None
            }
            Some(Waiting::Call(call, mut action)) => {
                let mut outcome = words::outcome(&mut action, reply);
                if self.may_be_damaged() {
                    words::mistrust(&action, &mut outcome);
                } else if words::tells_damage(reply) {
                    let told = crate::net::reply_text(reply);
                    self.world
                        .violation("false alarm", format!("nothing was damaged, but: {told}"));
                }
                self.believe(call, reply);
                self.learn(&action, &outcome);
                self.note(&outcome);
                self.world.amend(call, action);
                self.finish(call, outcome.clone());
                Some(outcome)
            }
            None => {
                let told = crate::net::reply_text(reply);
                self.world.violation("garbage", format!("nothing was asked, {told} came"));
                None
            }
        }
    }

    fn finish(&self, call: usize, outcome: Outcome) {
        let life = self.connection.as_ref().and_then(|c| self.world.life_of(c.wire));
        self.world.tell(Lane::Client(self.id), Kind::Call, (call, &outcome), || {
            format!("call {call}: {}", told::outcome(&outcome))
        });
        self.world.finish(call, self.node, life, outcome);
    }

    fn learn(&mut self, action: &Action, outcome: &Outcome) {
        let Outcome::Answered(answer) = outcome else { return };
        match (action, answer) {
            (Action::Get(key), Answer::Val(val)) => self.workload.saw(*key, Some(val.clone())),
            (Action::Get(key), Answer::Nil) => self.workload.saw(*key, None),
            (Action::Set { key, val, ttl, get: false, .. }, Answer::Done) => {
                self.workload.saw(*key, Some(val.clone()));
                // One that is over when it is written leaves a tombstone in its place.
                if matches!(ttl, Ttl::None | Ttl::Keep) {
                    self.wrote(*key, val.clone());
                }
            }
            (Action::MSet(pairs), Answer::Done) => {
                pairs.iter().for_each(|(key, val)| self.wrote(*key, val.clone()));
            }
            _ => {}
        }
    }

    fn wrote(&mut self, key: Key, val: Val) {
        if let Some(connection) = &mut self.connection {
            connection.written.insert(key.group, (key, val));
        }
    }

    /// What an error says of the node has to be so.
    fn believe(&self, call: usize, reply: &Reply) {
        let Some(life) = self.connection.as_ref().and_then(|c| self.world.life_of(c.wire)) else {
            return;
        };
        let since_ns = self.world.invoked_ns(call);
        for text in words::errors(reply) {
            let word = text.split(' ').next().unwrap_or_default();
            if !self.world.is_credible(self.node, life, since_ns, word) {
                let text = format!("no fault explains the answer to call {call}: {text}");
                self.world.violation("false alarm", text);
            }
        }
    }

    /// Whether the process that answers may have met damage: its disk has some, or it is dead, and
    /// the disk may be another since.
    fn may_be_damaged(&self) -> bool {
        if self.world.is_replicated() {
            // The node that answers may be another than the one that was asked.
            return self.world.was_damaged();
        }
        let life = self.connection.as_ref().and_then(|c| self.world.life_of(c.wire));
        self.world.is_damaged(self.node) || life != Some(self.world.life(self.node))
    }

    /// Marks what was met.
    fn note(&self, outcome: &Outcome) {
        let text = match outcome {
            Outcome::Refused(text) | Outcome::Unknown(text) => text.as_str(),
            Outcome::Answered(Answer::Aborted) => return self.world.see(Seen::Aborted),
            Outcome::Answered(_) | Outcome::Garbage(_) => return,
        };
        let seen = match text.split(' ').next() {
            Some("DISKFULL") => Seen::DiskFull,
            Some("DOWN") => Seen::Down,
            Some("UNKNOWN") => Seen::Unknown,
            Some("PARTIAL") => Seen::Partly,
            Some("CORRUPT") => Seen::Corrupt,
            Some("LOADING") => Seen::Loading,
            Some("CLUSTERDOWN") => Seen::NoLeader,
            Some("TRYAGAIN") => Seen::Moved,
            Some("NOREPLICAS") => Seen::TooFew,
            _ => return,
        };
        self.world.see(seen);
    }

    fn hang_up(&mut self, why: &str) {
        let Some(connection) = &mut self.connection else { return };
        let (wire, waiting) = (connection.wire, std::mem::take(&mut connection.waiting));
        self.world.tell(Lane::Client(self.id), Kind::Link, wire, || {
            format!("leaves wire {}: {why}", wire.0)
        });
        for waiting in waiting {
            if let Waiting::Call(call, _) = waiting {
                self.finish(call, Outcome::Unknown(why.to_owned()));
            }
        }
        self.world.close(wire, Lane::Client(self.id));
        self.connection = None;
    }

    /// Connects; whether it could.
    pub(crate) async fn arrive(&mut self) -> bool {
        self.connection.is_some() || self.connect().await
    }

    /// Does what a hunt wants; whether that was answered, and not refused.
    pub(crate) async fn run_errand(&mut self, errand: Errand) -> bool {
        if !self.arrive().await {
            return false;
        }
        let action = match errand {
            Errand::Write(group) => self.workload.write(group),
            Errand::Delete(group) => Action::Del(workload::all(group)),
            Errand::Read(group) => Action::MGet(workload::all(group)),
        };
        self.ask(action, None);
        matches!(self.settle(0).await, Some(Some(Outcome::Answered(_))))
    }

    /// Hangs up for good.
    pub(crate) fn leave(&mut self) {
        self.hang_up("it is done");
    }

    /// Reads every key once, and with `write` counts on every counter, so that each partition must
    /// take a write; false if not everything was answered for.
    pub(crate) async fn audit(&mut self, write: bool) -> bool {
        let groups = self.world.settings.groups;
        for group in (0..groups).map(Group) {
            let mut keys = workload::all(group);
            keys.push(workload::counter(group));
            for key in keys {
                if self.connection.is_none() && !self.connect().await {
                    return false;
                }
                self.ask(Action::Get(key), None);
                match self.settle(0).await {
                    Some(Some(Outcome::Answered(_))) => {}
                    // What is damaged is said to be so.
                    Some(Some(Outcome::Refused(text))) if self.may_lack(&text) => {}
                    _ => return false,
                }
            }
            if write {
                self.ask(Action::Incr(workload::counter(group), 1), None);
                match self.settle(0).await {
                    Some(Some(Outcome::Answered(_))) => {}
                    Some(Some(Outcome::Refused(text))) if self.may_lack(&text) => {}
                    _ => return false,
                }
            }
        }
        true
    }

    /// Whether damage is a good answer: not where others hold what one has lost.
    fn may_lack(&self, text: &str) -> bool {
        text.starts_with("CORRUPT") && !self.world.is_replicated()
    }

    /// Writes a key that nobody else has, and reads it; whether both were answered well.
    pub(crate) async fn probe(&mut self) -> bool {
        if self.connection.is_none() && !self.connect().await {
            return false;
        }
        let key = Key { group: Group(self.world.settings.groups), number: 0 };
        let val = self.workload.val(key);
        let (ttl, when) = (Ttl::None, When::Always);
        self.ask(Action::Set { key, val: val.clone(), ttl, when, get: false }, None);
        if !matches!(self.settle(0).await, Some(Some(Outcome::Answered(Answer::Done)))) {
            return false;
        }
        self.ask(Action::Get(key), None);
        self.settle(0).await == Some(Some(Outcome::Answered(Answer::Val(val))))
    }
}

fn send(world: &World, id: u32, wire: WireId, command: &[Vec<u8>]) {
    let slices: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    world.send(wire, Lane::Client(id), Packet::Command(OwnedArgs::copy_from(&slices)));
}
