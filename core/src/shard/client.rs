//! A client's queue of replies, and what waits for a commit.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::evaluate::Fetched;
use super::view::{Depends, home};
use super::{Output, Shard, errors};
use crate::args::OwnedArgs;
use crate::disk::CacheKey;
use crate::kv::Session;
use crate::limits::{CLIENT_REPLIES_MAX, REPLY_BYTES_MAX};
use crate::marks::Mark;
use crate::reply::{Protocol, Reply};
use crate::storage::replica::{Dropped, ReadToken};
use crate::{ClientId, Offset};

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
}

/// One reply in the queue.
struct Slot {
    protocol: Protocol,
    reply: Reply,
    /// Commits to come before it may leave.
    waits: u32,
    parts: Parts,
}

/// What became of the parts of a command, each in a partition of its own.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    count: u32,
    /// Some changes are committed.
    applied: bool,
    /// The last part that was dropped; one of an unknown outcome rather than another.
    dropped: Option<(usize, Dropped)>,
}

/// A command that waits for values from disk or for a commit.
#[derive(Debug)]
pub(super) struct Blocked {
    pub(super) args: OwnedArgs,
    /// What was read for it.
    pub(super) fetched: Fetched,
    /// The reads under way.
    pub(super) reads: BTreeMap<ReadToken, CacheKey>,
    /// Commits to come before it is evaluated again.
    pub(super) commits: u32,
}

/// What waits for a partition's high watermark to reach an offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) offset: Offset,
    pub(super) client: ClientId,
    pub(super) what: Waits,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Waits {
    /// The client's reply of this number, to a command that logged changes there or did not.
    Reply { number: u64, wrote: bool },
    /// The client's blocked command.
    Command,
}

/// What became of a part of a command.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// What it waited for is committed; whether that includes changes of its own.
    Committed { wrote: bool },
    /// What was logged in this partition is lost.
    Dropped(usize, Dropped),
}

impl Parts {
    fn take(&mut self, part: Part) {
        match (part, self.dropped) {
            (Part::Committed { wrote }, _) => self.applied |= wrote,
            (Part::Dropped(..), Some((_, Dropped::Unknown))) => {}
            (Part::Dropped(at, what), _) => self.dropped = Some((at, what)),
        }
    }

    /// What the client is told in place of the reply.
    fn error(self) -> Option<Reply> {
        let (at, what) = self.dropped?;
        Some(if self.applied && what != Dropped::Unknown {
            errors::applied_in_part(at, what)
        } else {
            errors::dropped(at, what, self.count > 1)
        })
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
        }
    }

    pub(super) fn accepts(&self) -> bool {
        self.blocked.is_none()
            && self.farewell.is_none()
            && !self.closing
            && self.queue.len() < CLIENT_REPLIES_MAX
    }
}

impl Shard {
    pub(super) fn on_connected(&mut self, id: ClientId) {
        self.counters.connections += 1;
        let earlier = self.clients.insert(id, Client::new(id));
        assert!(earlier.is_none(), "a client id is never reused");
    }

    pub(super) fn on_disconnected(&mut self, id: ClientId) {
        if let Some(client) = self.clients.remove(&id) {
            client.session.watched_keys().for_each(|key| self.watched.unwatch(key));
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
        if client.blocked.is_none()
            && let Some(error) = client.farewell.take()
        {
            client.closing = true;
            self.enqueue(id, error, &[]);
        }
    }

    /// Queues a reply behind the client's others, to leave once each partition is committed as far
    /// as it depends on it.
    pub(super) fn enqueue(&mut self, id: ClientId, reply: Reply, waits: &[Depends]) {
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        let protocol = client.session.protocol();
        client.closing |= client.session.closing();
        let number = client.first + client.queue.len() as u64;
        let mut left = 0;
        for &Depends { at, until, wrote } in waits {
            let partition = &mut self.partitions[at];
            if partition.replica.high_watermark() < until {
                let what = Waits::Reply { number, wrote };
                partition.wait(Waiter { offset: until, client: id, what });
                left += 1;
            }
        }
        if left == 0 && client.queue.is_empty() {
            client.first += 1;
            let closing = client.closing;
            self.give(id, protocol, reply);
            if closing {
                self.out.push_back(Output::Close(id));
            }
            return;
        }
        let parts = Parts { count: waits.len() as u32, ..Parts::default() };
        client.queue.push_back(Slot { protocol, reply, waits: left, parts });
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
                    writes += u32::from(wrote);
                    self.settle(waiter.client, number, Part::Committed { wrote });
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
            let count = self.partitions.len();
            self.watched.on_lost(|key| home(key, count) == at);
        }
        let lost = |w: &mut Waiter| w.offset > from;
        let mut waiters = Vec::new();
        while let Some(waiter) = self.partitions[at].waiters.pop_back_if(lost) {
            waiters.push(waiter);
        }
        for waiter in waiters.into_iter().rev() {
            match waiter.what {
                Waits::Reply { number, wrote: _ } => {
                    self.settle(waiter.client, number, Part::Dropped(at, what));
                }
                Waits::Command => {
                    self.fail_blocked(waiter.client, errors::dropped(at, what, false));
                }
            }
        }
        self.relieve();
    }

    /// One of the commits that a reply waited for has come, or has become impossible.
    fn settle(&mut self, id: ClientId, number: u64, part: Part) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let at = number.checked_sub(client.first).expect("a reply leaves after its last commit");
        let slot = &mut client.queue[at as usize];
        slot.waits -= 1;
        slot.parts.take(part);
        if slot.waits == 0
            && let Some(error) = slot.parts.error()
        {
            slot.reply = error;
        }
        while let Some(slot) = client.queue.pop_front_if(|slot| slot.waits == 0) {
            client.first += 1;
            self.out_bytes += reply_bytes(&slot.reply);
            self.out.push_back(Output::Reply(id, slot.protocol, slot.reply));
        }
        self.pressed |= self.out_bytes > REPLY_BYTES_MAX;
        if client.queue.is_empty() && client.closing && client.blocked.is_none() {
            self.out.push_back(Output::Close(id));
        } else if client.full && client.queue.len() < CLIENT_REPLIES_MAX / 2 {
            client.full = false;
            self.out.push_back(Output::Resume(id));
        }
    }

    /// Hands a reply to the driver.
    fn give(&mut self, id: ClientId, protocol: Protocol, reply: Reply) {
        self.out_bytes += reply_bytes(&reply);
        self.pressed |= self.out_bytes > REPLY_BYTES_MAX;
        self.out.push_back(Output::Reply(id, protocol, reply));
    }

    /// Lets clients go on that had to wait for memory.
    pub(super) fn relieve(&mut self) {
        let room = self.out_bytes == 0 && self.partitions.iter().all(|p| p.replica.has_room());
        if self.pressed && room {
            self.pressed = false;
            let mut ids: Vec<ClientId> = self.clients.keys().copied().collect();
            ids.sort_unstable();
            self.out.extend(ids.into_iter().map(Output::Resume));
        }
    }
}

impl super::Partition {
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
