//! Running a command: evaluate, log, queue the reply; or wait and evaluate again.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use super::client::{Blocked, Client};
use super::forward::Agent;
use super::roles::Logged;
use super::view::{Depends, Eye, Facts, Notes};
use super::waiters::{Waiter, Waits};
use super::{FsyncMode, Shard, errors};
use crate::args::{Args, OwnedArgs};
use crate::disk::CacheKey;
use crate::kv::{self, Stop};
use crate::limits::REPLICATED_BATCH_BYTES_MAX;
use crate::marks::Mark;
use crate::reply::Reply;
use crate::storage::keydir::Place;
use crate::storage::record::HEAD_BYTES_MAX;
use crate::storage::replica::{Found, ReadFault, ReadToken};
use crate::{ClientId, Instant, Millis, NodeId, Offset, Value};

/// What a command that waits has so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetched {
    /// What was read for it.
    pub(super) values: BTreeMap<CacheKey, Result<Value, ReadFault>>,
    /// The clock that it has waited for, and by which it is evaluated from then on: by a later one more
    /// keys would have expired, and so again without end.
    as_of: Option<Millis>,
}

impl Shard {
    pub(super) fn on_command(&mut self, id: ClientId, args: Args<'_>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        assert!(client.accepts(), "the driver asks before it hands a command in");
        client.session.touch(self.now.mono);
        self.counters.commands += 1;
        if !self.holds_back(id, args) {
            self.take_command(id, args);
        }
    }

    /// Runs a command that has come.
    pub(super) fn take_command(&mut self, id: ClientId, args: Args<'_>) {
        if !self.monitors.is_empty() {
            self.show_to_monitors(id, args);
        }
        let next = self.clients.get(&id).map_or(0, Client::next_reply);
        self.notes.depends.clear();
        (self.server.rejected, self.server.failed) = (false, false);
        if self.config.member {
            self.dispatch(id, args);
        } else {
            self.run_here(id, args);
        }
        self.watch_new(id, args, next, self.now.mono);
    }

    /// Watches the command if its reply has joined those that wait. One that is none, or is refused,
    /// takes no time, and may be a misspelt AUTH.
    fn watch_new(&mut self, id: ClientId, args: Args<'_>, next: u64, arrived: Instant) {
        let queued = |client: &Client| {
            client.next_reply() > next && client.owes_replies() && client.session.last().is_some()
        };
        if !self.server.rejected && self.clients.get(&id).is_some_and(queued) {
            self.watch_last(id, args, arrived);
        }
    }

    pub(super) fn run_here(&mut self, id: ClientId, args: Args<'_>) {
        self.run(id, args, &Fetched::default(), false);
    }

    /// Evaluates the command with what was read for it; `nearby`: followers may be shown.
    pub(super) fn run(&mut self, id: ClientId, args: Args<'_>, fetched: &Fetched, nearby: bool) {
        let scope = self.scope(id);
        let mut changes = core::mem::take(&mut self.changes);
        let result = self.evaluate(id, args, fetched, nearby, &mut changes);
        match result {
            _ if self.notes.asks_leader => self.ask_leaders(id, args),
            Err(Stop::Clock) if nearby => self.ask_leaders(id, args),
            Ok(reply) => self.complete(id, args, reply, &changes, scope),
            Err(Stop::Error(reply)) => self.reply(id, reply),
            Err(Stop::Read) => self.wait_for_reads(id, args, fetched, nearby),
            Err(Stop::Clock) => self.wait_for_clock(id, args, fetched),
            Err(Stop::Server(request)) => self.on_request(id, request),
            Err(Stop::Acks(wants)) => self.pause(id, wants),
        }
        changes.clear();
        self.changes = changes;
    }

    /// Evaluates the command alone; what comes of it is the caller's to see to.
    pub(super) fn evaluate(
        &mut self,
        id: ClientId,
        args: Args<'_>,
        fetched: &Fetched,
        nearby: bool,
        changes: &mut kv::Changes,
    ) -> Result<Reply, Stop> {
        let facts = self.facts();
        let scope = self.scope(id);
        let is_transaction = args[0].eq_ignore_ascii_case(b"exec");
        let acked = if is_transaction { self.acked_here(id) } else { kv::Acked::default() };
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        self.notes.clear();
        let mut eye = Eye {
            partitions: &mut self.partitions,
            homes: &self.homes,
            scope,
            cache: &mut *self.config.cache,
            fetched,
            watched: &mut self.watched,
            notes: &mut self.notes,
            counters: &mut self.counters,
            server: &mut self.server,
            random: &mut self.random,
            now_ms: fetched.as_of.unwrap_or_else(|| self.clock.now_ms()),
            wall_us: self.now.wall_us,
            facts,
            member: self.config.member,
            cluster: self.cluster.as_deref(),
            linked: &self.linked,
            nearby: nearby.then_some(self.now.mono),
            acked,
        };
        kv::evaluate(&mut client.session, args, &mut eye, changes)
    }

    /// Whether a command that has waited may be evaluated here still: what it is about is led here.
    fn may_go_on_here(&self, id: ClientId, args: Args<'_>) -> bool {
        if Agent::is(id) {
            return self.agent_may_go_on(id);
        }
        let client = &self.clients[&id];
        let led = |key: &[u8]| self.homes.at(key).is_some_and(|at| self.partitions[at].serves());
        let own = kv::find(args[0]).is_none_or(|command| command.keys(args).all(led));
        let queued = client.session.queued();
        own && queued.into_iter().all(|(command, args)| command.keys(&args.as_slices()).all(led))
    }

    /// The node.
    pub(super) fn me(&self) -> NodeId {
        self.cluster.as_ref().map_or(NodeId(0), |view| view.me.node)
    }

    /// A random number.
    pub(super) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        self.random >> 11
    }

    /// The partitions that a command without keys is about: all that are open here, or the one that
    /// an agent is asked about.
    fn scope(&self, id: ClientId) -> Range<usize> {
        let agent = self.clients.get(&id).and_then(|client| client.agent.as_ref());
        match agent.and_then(|agent| self.homes.find(agent.scope())) {
            Some(at) => at..at + 1,
            None => 0..self.partitions.len(),
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            clients: self.clients.len() - self.forwarding.agents().len(),
            blocked_clients: self.paused.len() + self.held_back.len(),
            durable_at: match self.config.fsync {
                // What is acknowledged is durable then.
                FsyncMode::Always => self.now.wall_us / 1_000_000,
                FsyncMode::EveryMs(_) | FsyncMode::Never => self.durable_at,
            },
            directory_id: match &self.cluster {
                Some(view) => view.me.directory.0,
                None if self.booted && !self.config.member => self.directory.meta().directory_id,
                None => 0,
            },
            port: self.config.port,
            process_id: self.config.process_id,
            uptime: self.now.mono.since(self.started.mono),
            fsync: self.config.fsync,
            redirect: self.config.redirect,
        }
    }

    /// A reply that depends on what the command has read.
    fn reply(&mut self, id: ClientId, reply: Reply) {
        let notes = core::mem::take(&mut self.notes);
        self.enqueue_read(id, reply, &notes.depends, &notes.reads);
        self.notes = notes;
    }

    /// The command has taken effect: logs its changes and queues its reply.
    fn complete(
        &mut self,
        id: ClientId,
        args: Args<'_>,
        reply: Reply,
        changes: &kv::Changes,
        scope: Range<usize>,
    ) {
        if changes.is_empty() {
            self.reply(id, reply);
            return;
        }
        let reply = match self.log(args, changes, scope) {
            Ok(()) => reply,
            Err(error) => error,
        };
        self.reply(id, reply);
    }

    /// Logs the changes, one atomic batch a partition, and notes what the reply waits for. On an
    /// error nothing was logged.
    fn log(
        &mut self,
        args: Args<'_>,
        changes: &kv::Changes,
        scope: Range<usize>,
    ) -> Result<(), Reply> {
        let count = self.partitions.len();
        if count == 0 {
            return Err(errors::nothing_open(self.config.member));
        }
        let homes = &self.homes;
        let mut shares: Vec<usize> = Vec::new();
        if count > 1 {
            shares.resize(count, 0);
            for (key, _) in changes.ops() {
                let Some(at) = homes.at(key) else { return Err(errors::elsewhere()) };
                shares[at] += 1;
            }
            let fan_out = || kv::find(args[0]).is_some_and(|command| command.fan_out);
            let touched = shares.iter().filter(|&&share| share > 0).count();
            assert!(touched <= 1 || fan_out(), "evaluation refuses what is not atomic in one log");
        }
        let takes = |at: usize| match shares.get(at) {
            Some(&share) => share,
            None => changes.ops().len(),
        };
        let touched = |at: &usize| changes.flushes() && scope.contains(at) || takes(*at) > 0;
        for at in (0..count).filter(touched) {
            self.takes(Logged::Write, at)?;
        }
        if self.config.member && batch_bytes(changes) > REPLICATED_BATCH_BYTES_MAX {
            return Err(errors::too_long_to_replicate());
        }
        let partitions = &self.partitions;
        let exists = |key: &[u8]| {
            let found = homes.at(key).map(|at| partitions[at].replica.find(key));
            matches!(found, Some(Found::Fresh { .. } | Found::Committed(_)))
        };
        self.watched.on_changes(changes, exists);
        let clock = self.clock.now_ms();
        for at in (0..count).filter(touched) {
            let replica = &mut self.partitions[at].replica;
            let mine = |(key, _): &&(Value, kv::Op)| count == 1 || homes.at(key) == Some(at);
            let ops = changes.ops().iter().filter(mine);
            let end = replica.append(clock, changes.flushes(), takes(at), ops);
            self.pressed |= self.partitions[at].presses();
            self.notes.wrote(at, end);
            self.wanting.push(at);
        }
        Ok(())
    }

    /// Whether that would be logged now; if not, what the client is told.
    fn takes(&self, what: Logged, at: usize) -> Result<(), Reply> {
        let partition = &self.partitions[at];
        partition.takes(what, self.now.mono)?;
        match partition.is_stuck() {
            true => Err(errors::stuck(&self.lacking(partition.id), what)),
            false => Ok(()),
        }
    }

    fn wait_for_reads(&mut self, id: ClientId, args: Args<'_>, fetched: &Fetched, nearby: bool) {
        let wants = core::mem::take(&mut self.notes.wants);
        assert!(!wants.is_empty(), "the view notes what it needs");
        self.marks.hit(Mark::ReadAwaited);
        let mut reads = BTreeMap::new();
        for (at, key, place) in &wants {
            let token = ReadToken(self.next_read);
            self.next_read += 1;
            self.partitions[*at].replica.read(token, key, *place);
            self.touch(*at);
            self.reads.insert(token, id);
            reads.insert(token, self.partitions[*at].replica.cache_key(*place));
        }
        self.block(id, args, fetched.clone(), (reads, nearby), 0);
    }

    /// A key has expired by a clock that is not committed: logs the clock and waits for it.
    fn wait_for_clock(&mut self, id: ClientId, args: Args<'_>, fetched: &Fetched) {
        let clock = self.clock.now_ms();
        let places = core::mem::take(&mut self.notes.clocks);
        assert!(!places.is_empty(), "the view notes whose clock it needs");
        self.marks.hit(Mark::ClockAwaited);
        for &at in &places {
            if let Err(error) = self.takes(Logged::Clock, at) {
                self.give_up(id, args, error);
                return;
            }
        }
        let as_of = fetched.as_of.or(Some(clock));
        let fetched = Fetched { as_of, ..fetched.clone() };
        self.block(id, args, fetched, (BTreeMap::new(), false), places.len() as u32);
        for &at in &places {
            let offset = self.partitions[at].replica.append_clock(clock);
            self.partitions[at].wait(Waiter {
                offset,
                since: self.now.mono,
                client: id,
                what: Waits::Command,
            });
            self.touch(at);
        }
    }

    fn block(
        &mut self,
        id: ClientId,
        args: Args<'_>,
        fetched: Fetched,
        (reads, nearby): (BTreeMap<ReadToken, CacheKey>, bool),
        commits: u32,
    ) {
        let args = OwnedArgs::copy_from(args);
        let arrived = self.now.mono;
        let client = self.clients.get_mut(&id).expect("its command was evaluated just now");
        client.blocked = Some(Blocked { args, fetched, reads, nearby, commits, arrived });
    }

    /// A value that some command waited for has come from disk, or could not be read.
    pub(super) fn on_read(&mut self, token: ReadToken, result: Result<Value, ReadFault>) {
        let Some(id) = self.reads.remove(&token) else { return };
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(blocked) = &mut client.blocked else { return };
        let Some(key) = blocked.reads.remove(&token) else { return };
        blocked.fetched.values.insert(key, result);
        if blocked.reads.is_empty() && blocked.commits == 0 {
            self.retry(id);
        }
    }

    pub(super) fn on_commit_for_command(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(blocked) = &mut client.blocked else { return };
        blocked.commits -= 1;
        if blocked.reads.is_empty() && blocked.commits == 0 {
            self.retry(id);
        }
    }

    fn retry(&mut self, id: ClientId) {
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        let blocked = client.blocked.take().expect("the caller has looked");
        let args = blocked.args.as_slices();
        let next = self.clients[&id].next_reply();
        self.server.failed = false;
        if blocked.nearby {
            self.go_on_nearby(id, &args, &blocked.fetched);
        } else if !self.config.member || self.may_go_on_here(id, &args) {
            self.run(id, &args, &blocked.fetched, false);
        } else if Agent::is(id) {
            self.refuse_under_way(id);
        } else {
            self.dispatch(id, &args);
        }
        let client = self.clients.get_mut(&id).expect("it is there");
        if let Some(command) = client.session.last().filter(|_| self.server.failed) {
            self.server.stats.failed_later(command);
        }
        match &mut client.blocked {
            Some(again) => again.arrived = blocked.arrived,
            None => self.watch_new(id, &args, next, blocked.arrived),
        }
        self.resume(id);
    }

    /// What a blocked command waited for will not come.
    pub(super) fn fail_blocked(&mut self, id: ClientId, error: Reply) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Some(blocked) = client.blocked.take() {
            self.give_up(id, &blocked.args.as_slices(), error);
            self.resume(id);
        }
    }

    /// The command ends with an error that says that it was not evaluated.
    pub(super) fn give_up(&mut self, id: ClientId, args: Args<'_>, error: Reply) {
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        client.session.give_up(args).for_each(|key| self.watched.unwatch(&key));
        self.enqueue(id, error, &[]);
    }

    pub(super) fn resume(&mut self, id: ClientId) {
        self.bid_farewell(id);
        if self.clients.get(&id).is_some_and(|client| !client.is_held_up()) {
            self.resume_client(id);
        }
    }
}

impl Notes {
    /// The reply waits for this offset of the partition.
    pub(super) fn depend(&mut self, at: usize, until: Offset) {
        match self.depends.iter_mut().find(|known| known.at == at) {
            Some(known) => known.until = until.max(known.until),
            None => self.depends.push(Depends { at, until, wrote: false }),
        }
    }

    /// The command has logged changes that end at this offset of the partition.
    fn wrote(&mut self, at: usize, end: Offset) {
        self.depends.retain(|known| known.at != at);
        self.reads.retain(|&known| known != at);
        self.depends.push(Depends { at, until: end, wrote: true });
    }

    /// The reply tells of what is in the partition.
    pub(super) fn read(&mut self, at: usize) {
        if !self.reads.contains(&at) {
            self.reads.push(at);
        }
    }

    /// A value must be read.
    pub(super) fn want(&mut self, at: usize, key: &[u8], place: Place) {
        self.wants.push((at, Value::copy_from(key), place));
    }
}

/// Bytes of the records of a batch, at most.
fn batch_bytes(changes: &kv::Changes) -> usize {
    let bytes = |(key, op): &(Value, kv::Op)| {
        let value = match op {
            kv::Op::Put { value, .. } => value.len(),
            kv::Op::Delete => 0,
        };
        HEAD_BYTES_MAX + key.len() + value
    };
    changes.ops().iter().map(bytes).sum::<usize>() + HEAD_BYTES_MAX
}
