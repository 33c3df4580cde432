//! A client, and the queue of its replies.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use super::acks::Pause;
use super::evaluate::Fetched;
use super::forward::message::Wrote;
use super::forward::{Abroad, Agent, Call, Stalled, Watching};
use super::requests::Asked;
use super::view::Depends;
use super::waiters::{Confirm, Parts, Waiter, Waits};
use super::watch::Watch;
use super::{Output, Shard, errors};
use crate::args::OwnedArgs;
use crate::disk::CacheKey;
use crate::kv::{Held, Peer, Session};
use crate::limits::{CLIENT_REPLIES_MAX, REPLY_BYTES_MAX};
use crate::replication::ReadWait;
use crate::reply::{Protocol, Reply};
use crate::storage::replica::ReadToken;
use crate::{ClientId, Instant, NodeId, Offset, PartitionId};

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
pub(super) struct Slot {
    protocol: Protocol,
    pub(super) reply: Reply,
    /// Commits to come before it may leave.
    pub(super) waits: u32,
    pub(super) parts: Parts,
    /// The command is under way in other places, and its reply is one of the waits.
    call: Option<Box<Call>>,
    /// The client does not want it.
    silent: bool,
    pub(super) watch: Option<Box<Watch>>,
}

/// A command that waits for values from disk or for a commit.
#[derive(Debug)]
pub(super) struct Blocked {
    pub(super) args: OwnedArgs,
    /// What it has so far.
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

    /// The reply of this number, which has not left.
    pub(super) fn slot(&mut self, number: u64) -> &mut Slot {
        let at = number.checked_sub(self.first).expect("a reply leaves after its last wait");
        &mut self.queue[at as usize]
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
        let parts = Parts::of(waits.len());
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
        let slot = client.slot(number);
        slot.reply = slot.call.take().expect("the caller has looked").compose();
        slot.waits -= 1;
        if let (Reply::Error(text), false) = (&slot.reply, Agent::is(id)) {
            self.server.stats.error(text);
        }
        self.let_go(id);
    }

    /// Lets go the replies at the front of the queue that wait for nothing.
    pub(super) fn let_go(&mut self, id: ClientId) {
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
