//! A client's queue of replies, and what waits for a commit.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use super::acks::Pause;
use super::evaluate::Fetched;
use super::forward::message::Wrote;
use super::forward::{Abroad, Agent, Call, Stalled, Watching};
use super::requests::Asked;
use super::view::Depends;
use super::watch::Watch;
use super::{Output, Shard, errors};
use crate::args::OwnedArgs;
use crate::disk::CacheKey;
use crate::kv::{Held, Peer, Session};
use crate::limits::{CLIENT_REPLIES_MAX, REPLY_BYTES_MAX};
use crate::marks::Mark;
use crate::replication::ReadWait;
use crate::reply::{Protocol, Reply};
use crate::storage::replica::{Dropped, ReadToken};
use crate::{ClientId, Epoch, Instant, NodeId, Offset, PartitionId};

/// One client.
pub(super) struct Client {
    pub(super) session: Session,
    /// Replies that wait, or wait behind one that does.
    queue: VecDeque<Slot>,
    /// The number of the first reply in the queue.
    first: u64,
    /// The command that could not be completed yet.
    pub(super) blocked: Option<Blocked>,
    /// It was told to wait because its queue was full.
    full: bool,
    /// It broke the protocol while a command of its waited: its last reply, to follow that one's.
    farewell: Option<Reply>,
    /// No further command is taken: it is closed behind its last reply.
    closing: bool,
    /// It stands in for a client of another node.
    pub(super) agent: Option<Box<Agent>>,
    /// What it has under way in other places, by partition.
    pub(super) abroad: BTreeMap<PartitionId, Abroad>,
    /// Parts of its commands that look for a leader.
    pub(super) stalled: BTreeSet<Stalled>,
    /// Where the keys are that it watches, in a cluster.
    pub(super) watching: Option<Watching>,
    /// Counts how often it has let go of what it watched.
    pub(super) generation: u32,
    /// Nodes at which somebody may stand in for it.
    pub(super) visited: BTreeSet<NodeId>,
    /// Of partitions that other nodes lead: nothing that is committed before is news to it.
    seen: BTreeMap<PartitionId, Offset>,
    /// Its last write in each partition, of those that are committed or may be.
    pub(super) wrote: BTreeMap<PartitionId, Wrote>,
    /// It waits for replicas.
    pub(super) pause: Option<Box<Pause>>,
    /// It waits for what the driver does.
    pub(super) asked: Option<Asked>,
    /// A command that CLIENT PAUSE keeps waiting.
    pub(super) held_back: Option<OwnedArgs>,
}

/// One reply in the queue.
struct Slot {
    protocol: Protocol,
    reply: Reply,
    /// Commits to come before it may leave.
    waits: u32,
    parts: Parts,
    /// The command is under way in other places, and its reply is one of the waits.
    call: Option<Box<Call>>,
    /// The client does not want it.
    silent: bool,
    watch: Option<Box<Watch>>,
}

/// What became of the parts of a command, each in a partition of its own.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    count: u32,
    /// Some changes are committed.
    applied: bool,
    /// The last part that was lost; one of an unknown outcome rather than another.
    lost: Option<(usize, Loss)>,
    /// What was read in this partition may be old.
    unproven: Option<(usize, Unproven)>,
}

/// Why changes are not known to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// The log has lost them, or may have.
    Dropped(Dropped),
    /// They are logged and were not committed in time.
    Late,
}

/// Why what was read may be old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unproven {
    /// The partition has another leader.
    Moved,
    /// That this node leads it still was not confirmed in time.
    Late,
    /// What was seen was not committed in time.
    Behind,
    /// What was seen is lost, or may be.
    Undone(Dropped),
}

/// A command that waits for values from disk or for a commit.
#[derive(Debug)]
pub(super) struct Blocked {
    pub(super) args: OwnedArgs,
    /// What was read for it.
    pub(super) fetched: Fetched,
    /// The reads under way.
    pub(super) reads: BTreeMap<ReadToken, CacheKey>,
    /// It may be answered by followers; see [`nearby`](super::nearby).
    pub(super) nearby: bool,
    /// Commits to come before it is evaluated again.
    pub(super) commits: u32,
    /// Since when its client waits for the reply.
    pub(super) arrived: Instant,
}

/// What waits for a partition's high watermark to reach an offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) offset: Offset,
    pub(super) since: Instant,
    pub(super) client: ClientId,
    pub(super) what: Waits,
}

/// How long a reply waits in a cluster for its commit, or for the proof that its node leads still.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(5);

/// A read that waits until its leader is known to have been one when it was evaluated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confirm {
    pub(super) beat: u64,
    pub(super) since: Instant,
    pub(super) client: ClientId,
    /// The client's reply of this number.
    pub(super) number: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Waits {
    /// The client's reply of this number, to a command that logged changes there, in this reign, or
    /// did not.
    Reply { number: u64, wrote: Option<Epoch> },
    /// The client's blocked command.
    Command,
}

/// What became of a part of a command.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// What it waited for is committed, and whether that includes changes of its own.
    Committed { wrote: bool },
    /// What was logged in this partition is lost, or may be.
    Lost(usize, Loss),
    /// What was read in this partition is not confirmed.
    Unproven(usize, Unproven),
}

impl Parts {
    fn take(&mut self, part: Part) {
        match (part, self.lost) {
            (Part::Committed { wrote }, _) => self.applied |= wrote,
            (Part::Unproven(at, why), _) => self.unproven = Some((at, why)),
            (Part::Lost(..), Some((_, Loss::Dropped(Dropped::Unknown) | Loss::Late))) => {}
            (Part::Lost(at, why), _) => self.lost = Some((at, why)),
        }
    }
}

impl Client {
    fn new(id: ClientId) -> Self {
        Self {
            session: Session::new(id),
            queue: VecDeque::new(),
            first: 0,
            blocked: None,
            full: false,
            farewell: None,
            closing: false,
            agent: None,
            abroad: BTreeMap::new(),
            stalled: BTreeSet::new(),
            watching: None,
            generation: 0,
            visited: BTreeSet::new(),
            seen: BTreeMap::new(),
            wrote: BTreeMap::new(),
            pause: None,
            asked: None,
            held_back: None,
        }
    }

    /// How far the partition was committed when its leader last answered this client.
    pub(super) fn seen(&self, partition: PartitionId) -> Offset {
        self.seen.get(&partition).copied().unwrap_or_default()
    }

    /// A write of its is committed, or may be. What is told of an earlier one again changes nothing.
    pub(super) fn note_wrote(&mut self, partition: PartitionId, wrote: Wrote) {
        let last = self.wrote.entry(partition).or_insert(wrote);
        let is_earlier = match (wrote.end, last.end) {
            _ if wrote.epoch != last.epoch => wrote.epoch < last.epoch,
            (Some(end), Some(known)) => end < known,
            // Whoever answers behind the one that nobody knows of has evaluated it, or never will.
            (Some(_), None) | (None, _) => false,
        };
        if !is_earlier {
            *last = wrote;
        }
    }

    /// Whether a command of its waits, and with it those behind.
    pub(super) fn is_held_up(&self) -> bool {
        self.blocked.is_some()
            || self.pause.is_some()
            || self.asked.is_some()
            || self.held_back.is_some()
    }

    /// Whether replies to earlier commands are to come.
    pub(super) fn owes_replies(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn note_seen(&mut self, partition: PartitionId, until: Offset) {
        let seen = self.seen.entry(partition).or_default();
        *seen = until.max(*seen);
    }

    /// One that stands in for another.
    pub(super) fn agent(id: ClientId, agent: Box<Agent>) -> Self {
        Self { agent: Some(agent), session: Session::trusted(id), ..Self::new(id) }
    }

    /// The command under way in other places whose reply has this number.
    pub(super) fn call(&self, number: u64) -> Option<&Call> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.queue.get(at)?.call.as_deref()
    }

    /// The same, to change.
    pub(super) fn call_mut(&mut self, number: u64) -> Option<&mut Call> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.queue.get_mut(at)?.call.as_deref_mut()
    }

    /// The number of the next reply.
    pub(super) fn next_reply(&self) -> u64 {
        self.first + self.queue.len() as u64
    }

    /// The command whose reply is the last of the queue is watched.
    pub(super) fn watch_last(&mut self, watch: Box<Watch>) {
        if let Some(slot) = self.queue.back_mut() {
            slot.watch = Some(watch);
        }
    }

    /// Whether something that it was promised is to come yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_held_up() || !self.queue.is_empty()
    }

    /// What waits in the node for it, or to be done for it.
    pub(super) fn held(&self) -> Held {
        let bytes = |slot: &Slot| size_of::<Slot>() + reply_bytes(&slot.reply);
        let blocked = self.blocked.as_ref().map(|blocked| &blocked.args);
        Held {
            replies: self.queue.len(),
            reply_bytes: self.queue.iter().map(bytes).sum(),
            argument_bytes: blocked.into_iter().chain(&self.held_back).map(OwnedArgs::size).sum(),
        }
    }

    /// Whether nothing more is taken from it.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Takes nothing more from it.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    pub(super) fn accepts(&self) -> bool {
        !self.is_held_up()
            && self.farewell.is_none()
            && !self.closing
            && self.stalled.is_empty()
            && self.queue.len() < CLIENT_REPLIES_MAX
    }
}

impl Shard {
    pub(super) fn on_connected(&mut self, id: ClientId, peer: Peer) {
        let session = Session::connected(id, peer, self.now.mono, &self.server.acl);
        let earlier = self.clients.insert(id, Client { session, ..Client::new(id) });
        assert!(earlier.is_none(), "a client id is never reused");
        let here = peer.remote.ip().to_canonical().is_loopback();
        if !here && self.server.is_protected() {
            self.server.stats.rejected_connections += 1;
            self.on_malformed(id, errors::protected());
            return;
        }
        self.counters.connections += 1;
    }

    pub(super) fn on_disconnected(&mut self, id: ClientId) {
        self.paused.remove(&id);
        self.held_back.remove(&id);
        self.syncing.remove(&id);
        self.monitors.remove(&id);
        if let Some(client) = self.clients.remove(&id) {
            client.session.watched_keys().for_each(|key| self.watched.unwatch(key));
            self.leave_agents(id, client.visited);
        }
    }

    pub(super) fn on_malformed(&mut self, id: ClientId, error: Reply) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.closing {
            return;
        }
        client.farewell = Some(error);
        self.bid_farewell(id);
    }

    /// Queues the last reply of a client that broke the protocol, once no command of its waits.
    pub(super) fn bid_farewell(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if !client.is_held_up()
            && let Some(error) = client.farewell.take()
        {
            client.closing = true;
            self.enqueue(id, error, &[]);
        }
    }

    /// Queues nothing in a reply's place.
    pub(super) fn enqueue_silence(&mut self, id: ClientId) {
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        client.session.skip_reply();
        self.enqueue(id, Reply::Null, &[]);
    }

    /// Queues a reply behind the client's others, to leave once each partition is committed as far
    /// as it depends on it.
    pub(super) fn enqueue(&mut self, id: ClientId, reply: Reply, waits: &[Depends]) {
        self.enqueue_read(id, reply, waits, &[]);
    }

    /// The same for a reply to what was read in these partitions, whose leaders must have been leaders
    /// when it was.
    pub(super) fn enqueue_read(
        &mut self,
        id: ClientId,
        reply: Reply,
        waits: &[Depends],
        reads: &[usize],
    ) {
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        let protocol = client.session.protocol();
        let silent = !client.session.takes_reply();
        client.closing |= client.session.closing();
        if let Reply::Error(text) = &reply
            && !Agent::is(id)
        {
            self.server.stats.error(text);
            self.server.failed = true;
        }
        let number = client.first + client.queue.len() as u64;
        let mut left = 0;
        for &Depends { at, until, wrote } in waits {
            let partition = &mut self.partitions[at];
            if partition.replica.high_watermark() < until {
                let what = Waits::Reply { number, wrote: wrote.then(|| partition.replica.epoch()) };
                partition.wait(Waiter { offset: until, since: self.now.mono, client: id, what });
                left += 1;
            }
        }
        for &at in reads {
            // That what it has seen is committed later proves nothing: the others may have acknowledged
            // it before the read came, and follow another since.
            let partition = &mut self.partitions[at];
            if let ReadWait::Beat(beat) = partition.read_wait(self.now.mono) {
                partition.confirms.push_back(Confirm {
                    beat,
                    since: self.now.mono,
                    client: id,
                    number,
                });
                self.wanting.push(at);
                left += 1;
            }
        }
        if left == 0 && client.queue.is_empty() {
            client.first += 1;
            client.session.touch(self.now.mono);
            let closing = client.closing;
            self.give(id, protocol, reply, silent);
            if closing {
                self.out.push_back(Output::Close(id));
            }
            return;
        }
        let parts = Parts { count: waits.len() as u32, ..Parts::default() };
        client.queue.push_back(Slot {
            protocol,
            reply,
            waits: left,
            parts,
            call: None,
            silent,
            watch: None,
        });
        client.full |= client.queue.len() >= CLIENT_REPLIES_MAX;
    }

    /// The high watermark of the partition has moved: lets go what waited for it.
    pub(super) fn on_committed(&mut self, at: usize) {
        let reached = self.partitions[at].replica.high_watermark();
        let due = |w: &mut Waiter| w.offset <= reached;
        let mut writes = 0;
        // Each turn takes a waiter; those it brings about wait for later offsets.
        while let Some(waiter) = self.partitions[at].waiters.pop_front_if(due) {
            match waiter.what {
                Waits::Reply { number, wrote } => {
                    writes += u32::from(wrote.is_some());
                    self.note_wrote(at, &waiter);
                    self.settle(waiter.client, number, Part::Committed { wrote: wrote.is_some() });
                }
                Waits::Command => self.on_commit_for_command(waiter.client),
            }
        }
        self.marks.hit_if(writes > 1, Mark::GroupCommit);
        self.relieve();
    }

    /// What was logged from `from` on is lost: its waiters are told.
    pub(super) fn on_dropped(&mut self, at: usize, from: Offset, what: Dropped) {
        if what == Dropped::Unknown {
            // The partition stops, and may come back with less than was seen.
            let homes = &self.homes;
            self.watched.on_lost(|key| homes.at(key) == Some(at));
        }
        let lost = |w: &mut Waiter| w.offset > from;
        let mut waiters = Vec::new();
        while let Some(waiter) = self.partitions[at].waiters.pop_back_if(lost) {
            waiters.push(waiter);
        }
        for waiter in waiters.into_iter().rev() {
            match waiter.what {
                Waits::Reply { number, wrote: Some(_) } => {
                    if what == Dropped::Unknown {
                        self.note_wrote(at, &waiter);
                    }
                    self.settle(waiter.client, number, Part::Lost(at, Loss::Dropped(what)));
                }
                Waits::Reply { number, wrote: None } => {
                    let part = Part::Unproven(at, Unproven::Undone(what));
                    self.settle(waiter.client, number, part);
                }
                Waits::Command => {
                    self.fail_blocked(waiter.client, self.undone(at, what, false));
                }
            }
        }
        self.relieve();
    }

    /// Replies that have waited too long are given up: of a write it is not known whether it will be
    /// committed.
    pub(super) fn give_up_waiters(&mut self, at: usize) {
        let now = self.now.mono;
        let late = |since: Instant| now.since(since) >= WAIT_MAX;
        while let Some(confirm) = self.partitions[at].confirms.pop_front_if(|c| late(c.since)) {
            let part = Part::Unproven(at, Unproven::Late);
            self.settle(confirm.client, confirm.number, part);
        }
        while let Some(waiter) = self.partitions[at].waiters.pop_front_if(|w| late(w.since)) {
            match waiter.what {
                Waits::Reply { number, wrote: Some(_) } => {
                    self.note_wrote(at, &waiter);
                    let partition = &mut self.partitions[at];
                    partition.stuck_at = Some(partition.replica.high_watermark());
                    self.settle(waiter.client, number, Part::Lost(at, Loss::Late));
                }
                Waits::Reply { number, wrote: None } => {
                    self.settle(waiter.client, number, Part::Unproven(at, Unproven::Behind));
                }
                Waits::Command => {
                    let lacking = self.lacking(self.partitions[at].id);
                    self.fail_blocked(waiter.client, errors::behind(&lacking, false));
                }
            }
        }
        self.relieve();
    }

    /// What a client is told whose command depends on what was dropped. In a cluster another node leads
    /// then.
    fn undone(&self, at: usize, what: Dropped, applied: bool) -> Reply {
        let id = self.partitions[at].id.0 as usize;
        match self.config.member {
            true => errors::moved(id, applied),
            false => errors::undone(id, what, applied),
        }
    }

    /// What a client is told in place of the reply, if not all parts of its command went well.
    fn failure(&self, parts: Parts) -> Option<Reply> {
        let lacking = |at: usize| self.lacking(self.partitions[at].id);
        Some(match (parts.lost, parts.unproven) {
            (None, None) => return None,
            (None, Some((at, Unproven::Moved))) => errors::moved(at, parts.applied),
            (None, Some((at, Unproven::Late))) => errors::unconfirmed(&lacking(at), parts.applied),
            (None, Some((at, Unproven::Behind))) => errors::behind(&lacking(at), parts.applied),
            (None, Some((at, Unproven::Undone(what)))) => self.undone(at, what, parts.applied),
            (Some((at, Loss::Late)), _) => errors::uncommitted(&lacking(at), parts.count > 1),
            (Some((at, Loss::Dropped(what))), _) => {
                if parts.applied && what != Dropped::Unknown {
                    errors::applied_in_part(at, what)
                } else {
                    errors::dropped(at, what, parts.count > 1)
                }
            }
        })
    }

    /// What the waiter's client wrote is committed, or may be.
    fn note_wrote(&mut self, at: usize, waiter: &Waiter) {
        if let Waits::Reply { wrote: Some(epoch), .. } = waiter.what
            && let Some(client) = self.clients.get_mut(&waiter.client)
        {
            let wrote = Wrote { epoch, end: Some(waiter.offset) };
            client.note_wrote(self.partitions[at].id, wrote);
        }
    }

    /// One of the commits that a reply waited for has come, or has become impossible.
    fn settle(&mut self, id: ClientId, number: u64, part: Part) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let at = number.checked_sub(client.first).expect("a reply leaves after its last commit");
        let slot = &mut client.queue[at as usize];
        slot.waits -= 1;
        slot.parts.take(part);
        if slot.waits == 0
            && let Some(watch) = &mut slot.watch
        {
            watch.on_committed(self.now.mono);
        }
        let (done, parts) = (slot.waits == 0, slot.parts);
        if done && let Some(error) = self.failure(parts) {
            if let Reply::Error(text) = &error {
                self.server.stats.error(text);
            }
            let client = self.clients.get_mut(&id).expect("it is there");
            client.queue[at as usize].reply = error;
        }
        self.let_go(id);
    }

    /// Queues the reply to a command that is under way in other places; its number.
    pub(super) fn enqueue_call(&mut self, id: ClientId, call: Box<Call>) -> u64 {
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        let (protocol, parts) = (client.session.protocol(), Parts::default());
        let (reply, silent) = (Reply::Null, !client.session.takes_reply());
        let call = Some(call);
        let slot = Slot { protocol, reply, waits: 1, parts, call, silent, watch: None };
        client.queue.push_back(slot);
        client.full |= client.queue.len() >= CLIENT_REPLIES_MAX;
        client.first + client.queue.len() as u64 - 1
    }

    /// All parts of the command are answered.
    pub(super) fn finish_call(&mut self, id: ClientId, number: u64) {
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        let at = number.checked_sub(client.first).expect("its reply has not left") as usize;
        let slot = &mut client.queue[at];
        slot.reply = slot.call.take().expect("the caller has looked").compose();
        slot.waits -= 1;
        if let (Reply::Error(text), false) = (&slot.reply, Agent::is(id)) {
            self.server.stats.error(text);
        }
        self.let_go(id);
    }

    /// Lets go the replies at the front of the queue that wait for nothing.
    fn let_go(&mut self, id: ClientId) {
        loop {
            let client = self.clients.get_mut(&id).expect("the caller has looked");
            let Some(slot) = client.queue.pop_front_if(|slot| slot.waits == 0) else { break };
            client.first += 1;
            client.session.touch(self.now.mono);
            if let Some(watch) = &slot.watch {
                self.on_watched(id, watch);
            }
            self.give(id, slot.protocol, slot.reply, slot.silent);
        }
        let client = self.clients.get_mut(&id).expect("it is there");
        if client.queue.is_empty() && client.pause.is_some() {
            self.advance_pause(id);
        } else if client.queue.is_empty() && client.closing && client.blocked.is_none() {
            self.out.push_back(Output::Close(id));
        } else if client.full && client.queue.len() < CLIENT_REPLIES_MAX / 2 {
            client.full = false;
            self.resume_client(id);
        }
    }

    /// The client's next command may be handed in.
    pub(super) fn resume_client(&mut self, id: ClientId) {
        match self.clients.get(&id) {
            Some(client) if client.agent.is_some() => self.runnable.push(id),
            Some(_) | None => self.out.push_back(Output::Resume(id)),
        }
    }

    /// A read was of a leader that was one.
    pub(super) fn settle_read(&mut self, id: ClientId, number: u64) {
        self.settle(id, number, Part::Committed { wrote: false });
    }

    /// The partition at `at` has moved before the read was confirmed.
    pub(super) fn settle_moved(&mut self, id: ClientId, number: u64, at: usize) {
        self.settle(id, number, Part::Unproven(at, Unproven::Moved));
    }

    /// Hands a reply to the driver, or to the node whose client it is for.
    fn give(&mut self, id: ClientId, protocol: Protocol, reply: Reply, silent: bool) {
        if Agent::is(id) {
            self.on_agent_reply(id, reply);
            return;
        }
        if silent {
            return self.out.push_back(Output::Silence(id));
        }
        self.out_bytes += reply_bytes(&reply);
        self.pressed |= self.out_bytes > REPLY_BYTES_MAX;
        self.out.push_back(Output::Reply(id, protocol, reply));
    }

    /// Lets clients go on that had to wait for memory.
    pub(super) fn relieve(&mut self) {
        let room = self.out_bytes == 0 && !self.partitions.iter().any(super::Partition::presses);
        if self.pressed && room {
            self.pressed = false;
            let mut ids: Vec<ClientId> = self.clients.keys().copied().collect();
            ids.sort_unstable();
            ids.into_iter().for_each(|id| self.resume_client(id));
        }
    }
}

impl super::Partition {
    /// Whether a write was given up, and nothing has been committed since: another one would only be
    /// logged to wait behind it, and could fill the memory that all partitions share.
    pub(super) fn is_stuck(&self) -> bool {
        let committed = self.replica.high_watermark();
        self.stuck_at == Some(committed) && committed < self.replica.log_end()
    }

    /// Whether it has to be waited for until it has room for more writes. Where none are taken there is
    /// nothing to wait for, and others can be served.
    pub(super) fn presses(&self) -> bool {
        !self.replica.has_room() && !self.is_stuck()
    }

    /// Adds a waiter. Waiters stand in the order of their offsets, so a late one for an early
    /// offset waits a little longer than it need.
    pub(super) fn wait(&mut self, waiter: Waiter) {
        let last = self.waiters.back().map_or(Offset(0), |w| w.offset);
        self.waiters.push_back(Waiter { offset: waiter.offset.max(last), ..waiter });
    }
}

/// Bytes of the values in a reply.
pub(super) fn reply_bytes(reply: &Reply) -> usize {
    match reply {
        Reply::Bulk(value) => value.len(),
        Reply::Array(items) => items.iter().map(reply_bytes).sum(),
        Reply::Simple(_)
        | Reply::Error(_)
        | Reply::Int(_)
        | Reply::Null
        | Reply::NullArray
        | Reply::Map(_)
        | Reply::Set(_)
        | Reply::Double(_)
        | Reply::Verbatim(_) => 0,
    }
}
