//! The asker's side: a command is sent where its keys are, and what comes back is its reply.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::asks::{Abroad, Asked, Stalled};
use super::call::{Call, Merge, Otherwise, Part, Pinned};
use super::message::{self, Ask, Command, Message, Outcome, Wrote};
use super::split::{About, about, owned};
use super::transaction::Watches;
use super::{ANSWER_MAX, CALL_MAX};
use crate::args::Args;
use crate::limits::PEER_FORWARD_BYTES_MAX;
use crate::marks::Mark;
use crate::node::Parcel;
use crate::reply::Reply;
use crate::shard::evaluate::Fetched;
use crate::shard::{Output, Shard, errors};
use crate::{ClientId, NodeId, PartitionId, kv, slot};

/// How often stalled parts are looked at although nothing has changed.
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// Most bytes of a command, beyond its arguments', on the way to its leader: per argument.
const ARG_BYTES: usize = 10;

/// From the client to the parts of its command.
impl Shard {
    /// Evaluates the command here, or has it evaluated where its keys are.
    pub(in crate::shard) fn dispatch(&mut self, id: ClientId, args: Args<'_>) {
        let Ok(command) = kv::resolve(args) else { return self.refuse_here(id, args) };
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        client.session.note(command);
        // What is not allowed is refused here.
        if !client.session.may(command, args, &self.server) {
            return self.refuse_here(id, args);
        }
        if client.session.queues(command) {
            return match self.refuse_queued(command, args) {
                None => self.run_here(id, args),
                Some(error) => {
                    let client = self.clients.get_mut(&id).expect("it was there just now");
                    client.session.abort();
                    self.enqueue(id, error, &[]);
                }
            };
        }
        if self.homes.count() == 0 {
            return self.run_here(id, args);
        }
        match command.name {
            "exec" => return self.dispatch_exec(id, args),
            "watch" => return self.dispatch_watch(id, args),
            "discard" => return self.dispatch_discard(id, args),
            "unwatch" | "reset" => {
                self.forget_watch(id);
                return self.run_here(id, args);
            }
            _ => {}
        }
        if self.reads_nearby(id, command, args) {
            return self.run_nearby(id, args, &Fetched::default());
        }
        self.part_out(id, command, args);
    }

    /// A command that waited for a read of a follower goes on.
    pub(in crate::shard) fn go_on_nearby(
        &mut self,
        id: ClientId,
        args: Args<'_>,
        fetched: &Fetched,
    ) {
        let command = kv::resolve(args).expect("it was evaluated before");
        if self.reads_nearby(id, command, args) {
            self.run_nearby(id, args, fetched);
        } else {
            self.part_out(id, command, args);
        }
    }

    /// A follower was shown and can not tell: the leaders are asked.
    pub(in crate::shard) fn ask_leaders(&mut self, id: ClientId, args: Args<'_>) {
        let command = kv::resolve(args).expect("it was evaluated just now");
        self.part_out(id, command, args);
    }

    /// Has the leaders evaluate each its part of the command.
    fn part_out(&mut self, id: ClientId, command: &kv::Command, args: Args<'_>) {
        if let Some(error) = self.redirect(command.keys(args).map(slot::slot)) {
            return self.enqueue(id, error, &[]);
        }
        let reads = !command.flags.has(kv::Flags::WRITE);
        let random = self.draw();
        match about(command, args, (self.homes.count(), random), || self.all_partitions()) {
            About::Answered(reply) => self.enqueue(id, reply, &[]),
            About::Nothing | About::Scattered => self.run_here(id, args),
            About::One(partition) if self.runs_here(id, partition) => self.run_here(id, args),
            About::One(partition) => {
                let part = (partition, alloc::vec![owned(args)]);
                self.call(id, alloc::vec![part], Merge::Only, reads);
            }
            About::Parts(parts, merge) => {
                let keyed = command.keys(args).next().is_some();
                if keyed && parts.iter().all(|&(partition, _)| self.runs_here(id, partition)) {
                    return self.run_here(id, args);
                }
                let parts = parts.into_iter().map(|(id, command)| (id, alloc::vec![command]));
                self.call(id, parts.collect(), merge, reads);
            }
        }
    }

    /// Whether a command about the partition may be evaluated here and now: this node leads it, and
    /// nothing that the client asked of it is under way elsewhere.
    pub(super) fn runs_here(&self, id: ClientId, partition: PartitionId) -> bool {
        let client = &self.clients[&id];
        self.leads(partition) && !client.abroad.contains_key(&partition)
    }

    /// Queues a reply that the parts will give, and asks for them.
    pub(super) fn call(
        &mut self,
        id: ClientId,
        parts: Vec<(PartitionId, Vec<Command>)>,
        merge: Merge,
        reads: bool,
    ) {
        self.call_pinned(id, parts, (merge, reads), None);
    }

    /// The same, in this reign or not at all.
    pub(super) fn call_pinned(
        &mut self,
        id: ClientId,
        parts: Vec<(PartitionId, Vec<Command>)>,
        (merge, reads): (Merge, bool),
        pinned: Option<Pinned>,
    ) {
        self.marks.hit_if(parts.len() > 1, Mark::FannedOut);
        let part =
            |(partition, commands)| Part { partition, commands, reply: None, no_room: false };
        let parts: Vec<Part> = parts.into_iter().map(part).collect();
        let count = parts.len();
        let until = self.now.mono.after(CALL_MAX);
        let call = Call { parts, merge, reads, pinned, until };
        let number = self.enqueue_call(id, Box::new(call));
        let client = self.clients.get_mut(&id).expect("it is there");
        client.stalled.extend((0..count).map(|part| Stalled { number, part }));
        self.advance_stalled(id);
    }
}

/// Asking.
impl Shard {
    /// Asks for as many of the client's stalled parts as may be asked for now, in their order.
    fn advance_stalled(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(&id) else { return };
        // What was given up may have been the last that it waited for.
        if client.stalled.is_empty() && !self.forwarding.stalled.contains(&id) {
            return;
        }
        let mut waits = BTreeSet::new();
        for stalled in client.stalled.clone() {
            let partition = self.part(id, stalled).partition;
            // One that waits holds up those behind it in the same partition.
            if !waits.contains(&partition) && self.ask(id, stalled, partition) {
                let client = self.clients.get_mut(&id).expect("it is there");
                client.stalled.remove(&stalled);
            } else {
                waits.insert(partition);
            }
        }
        let client = &self.clients[&id];
        if client.stalled.is_empty() {
            if self.forwarding.stalled.remove(&id) && client.accepts() {
                self.out.push_back(Output::Resume(id));
            }
        } else if self.forwarding.stalled.insert(id) {
            self.marks.hit(Mark::Stalled);
        }
        self.forwarding.wake_at(self.now.mono.after(RETRY_EVERY));
    }

    fn call_of(&self, id: ClientId, stalled: Stalled) -> &Call {
        self.clients[&id].call(stalled.number).expect("a stalled part has a call")
    }

    fn part(&self, id: ClientId, stalled: Stalled) -> &Part {
        &self.call_of(id, stalled).parts[stalled.part]
    }

    /// Asks for the part if a leader is known and the order allows it.
    fn ask(&mut self, id: ClientId, stalled: Stalled, partition: PartitionId) -> bool {
        let bytes = part_bytes(self.part(id, stalled));
        if bytes > PEER_FORWARD_BYTES_MAX {
            let error = errors::too_long_to_forward();
            self.finish_part(id, stalled.number, stalled.part, error);
            return true;
        }
        let pinned = self.call_of(id, stalled).pinned.as_ref().map(|pinned| pinned.to);
        if pinned.is_some_and(|to| !self.is_pinned_to(partition, to)) {
            self.break_pinned(id, stalled.number, stalled.part);
            return true;
        }
        let Some((node, epoch)) = self.route(partition) else { return false };
        let me = self.me();
        if node != me && (!self.linked.contains(&node) || self.forwarding.is_busy(node)) {
            return false;
        }
        let proven = self.forwarding.proven.get(&partition) == Some(&epoch);
        let client = self.clients.get_mut(&id).expect("it is there");
        let abroad =
            client.abroad.entry(partition).or_insert(Abroad { epoch, asks: 0, write: None });
        if abroad.asks > 0 && (abroad.epoch != epoch || !proven) {
            return false;
        }
        let write = abroad.write;
        *abroad = Abroad { epoch, asks: abroad.asks + 1, write };
        client.visited.insert(node);
        let commands = self.part(id, stalled).commands.clone();
        let tag = self.forwarding.next_tag();
        if !self.call_of(id, stalled).reads {
            let client = self.clients.get_mut(&id).expect("it is there");
            client.abroad.get_mut(&partition).expect("it was noted just now").write = Some(tag);
        }
        let Stalled { number, part } = stalled;
        let until = self.now.mono.after(ANSWER_MAX);
        let asked = Asked { node, partition, epoch, client: id, number, part, bytes, until };
        self.forwarding.note_asked(tag, asked);
        let pinned = self.call_of(id, stalled).pinned.as_ref();
        let watches = match pinned {
            Some(pinned) => pinned.watches,
            None => Watches { generation: self.clients[&id].generation, count: 0 },
        };
        let pinned = pinned.is_some();
        let client = self.forwarding.abroad(id);
        let ask = Ask { client, tag, watches, pinned, partition, epoch, commands };
        self.forwarding.say(me, node, Message::Ask(ask));
        self.marks.hit_if(node != me, Mark::Forwarded);
        true
    }

    pub(super) fn on_answer(&mut self, from: NodeId, tag: u64, outcome: Outcome) {
        let Some(asked) = self.forwarding.asked(tag) else { return };
        if asked.node != from {
            return;
        }
        self.forwarding.take_asked(tag);
        match outcome {
            Outcome::Reply { reply, seen, wrote } => {
                if let Some(client) = self.clients.get_mut(&asked.client) {
                    client.note_seen(asked.partition, seen);
                    if let Some(wrote) = wrote {
                        client.note_wrote(asked.partition, wrote);
                    }
                }
                self.forwarding.proven.insert(asked.partition, asked.epoch);
                self.on_part(asked, Reply::from(reply));
            }
            Outcome::NotLeader | Outcome::NoRoom => {
                let no_room = outcome == Outcome::NoRoom;
                let client = self.clients.get_mut(&asked.client);
                if let Some(call) = client.and_then(|client| client.call_mut(asked.number)) {
                    call.parts[asked.part].no_room = no_room;
                }
                if self.forwarding.proven.get(&asked.partition) == Some(&asked.epoch) {
                    self.forwarding.over.insert(asked.partition, asked.epoch);
                }
                self.stall(asked);
            }
            Outcome::Unwatched => self.stall(asked),
        }
    }

    /// The client has one ask fewer under way.
    fn settle_abroad(&mut self, asked: Asked) -> bool {
        let Some(client) = self.clients.get_mut(&asked.client) else { return false };
        if let Some(abroad) = client.abroad.get_mut(&asked.partition) {
            abroad.asks -= 1;
            if abroad.asks == 0 {
                client.abroad.remove(&asked.partition);
            }
        }
        true
    }

    fn stall(&mut self, asked: Asked) {
        if !self.settle_abroad(asked) {
            return;
        }
        let call = self.clients[&asked.client].call(asked.number);
        if call.is_some_and(|call| call.pinned.is_some()) {
            self.break_pinned(asked.client, asked.number, asked.part);
            return self.advance_stalled(asked.client);
        }
        let client = self.clients.get_mut(&asked.client).expect("it was there just now");
        client.stalled.insert(Stalled { number: asked.number, part: asked.part });
        self.forwarding.stalled.insert(asked.client);
        self.forwarding.wake_at(self.now.mono.after(RETRY_EVERY));
    }

    fn on_part(&mut self, asked: Asked, reply: Reply) {
        if self.settle_abroad(asked) {
            self.finish_part(asked.client, asked.number, asked.part, reply);
            self.advance_stalled(asked.client);
        }
    }

    pub(super) fn finish_part(&mut self, id: ClientId, number: u64, part: usize, reply: Reply) {
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        let call = client.call_mut(number).expect("a part has a call");
        let failed = matches!(reply, Reply::Error(_));
        let watch = call.pinned.as_ref().filter(|pinned| pinned.otherwise == Otherwise::Lost);
        let watch = watch.filter(|_| failed).map(|pinned| pinned.watches.generation);
        call.parts[part].reply = Some(reply);
        let done = call.is_done();
        if let Some(generation) = watch {
            self.fail_watch(id, generation);
        }
        if done {
            self.finish_call(id, number);
        }
    }
}

/// What changes around.
impl Shard {
    /// Leaders have changed, or a link has come up: stalled parts look again.
    pub(in crate::shard) fn look_for_leaders(&mut self) {
        for id in self.forwarding.stalled.clone() {
            if self.clients.contains_key(&id) {
                self.advance_stalled(id);
            } else {
                self.forwarding.stalled.remove(&id);
            }
        }
    }

    /// Nothing more will come from the node, neither answers nor asks.
    pub(in crate::shard) fn forget_node(&mut self, node: NodeId) {
        self.lose_asked(node);
        self.forwarding.post.forget(node);
        self.drop_agents(node);
    }

    /// The node may have answered what it was asked, and that will not come.
    pub(in crate::shard) fn lose_asked(&mut self, node: NodeId) {
        let lost = self.forwarding.asked_of(node);
        // A later write of the same client that went the same way, and may be answered already.
        let overtaken = |(tag, asked): &(u64, Asked)| {
            let client = self.clients.get(&asked.client);
            let abroad = client.and_then(|client| client.abroad.get(&asked.partition));
            abroad.and_then(|abroad| abroad.write).is_some_and(|write| *tag < write)
        };
        let overtaken: Vec<bool> = lost.iter().map(overtaken).collect();
        for ((tag, asked), overtaken) in lost.into_iter().zip(overtaken) {
            self.forwarding.take_asked(tag);
            self.lose(asked, overtaken);
        }
    }

    fn unanswered(&self, asked: Asked, broken: bool) -> Reply {
        let lacking = self.lacking(asked.partition);
        errors::unanswered(asked.node, &lacking, broken, self.call_reads(asked))
    }

    fn call_reads(&self, asked: Asked) -> bool {
        let call = self.clients.get(&asked.client).and_then(|client| client.call(asked.number));
        call.is_none_or(|call| call.reads)
    }

    /// An ask will not be answered. A read is asked again, unless it would see a later write of its
    /// client.
    fn lose(&mut self, asked: Asked, overtaken: bool) {
        let reads = self.call_reads(asked);
        if !self.clients.contains_key(&asked.client) {
            return;
        }
        if reads && !overtaken {
            self.stall(asked);
        } else if reads {
            self.on_part(asked, errors::moved(asked.partition.0 as usize, false));
        } else {
            self.give_up_asked(asked, true);
        }
    }

    /// The next parcel for another node.
    pub(in crate::shard) fn next_parcel(&mut self) -> Option<Parcel> {
        let (parcel, relieved) = self.forwarding.post.take(self.now.mono)?;
        if relieved {
            let agents = self.forwarding.agents.range((parcel.node, 0)..=(parcel.node, u64::MAX));
            self.runnable.extend(agents.map(|(_, &agent)| agent));
        }
        Some(parcel)
    }

    /// The link has taken the parcel that was under way to it.
    pub(in crate::shard) fn on_taken(&mut self, node: NodeId) {
        self.forwarding.post.taken(node);
    }

    /// Nobody will say what has become of it; a write may be logged.
    fn give_up_asked(&mut self, asked: Asked, broken: bool) {
        let error = self.unanswered(asked, broken);
        let reads = self.call_reads(asked);
        if let Some(client) = self.clients.get_mut(&asked.client).filter(|_| !reads) {
            client.note_wrote(asked.partition, Wrote { epoch: asked.epoch, end: None });
        }
        self.on_part(asked, error);
    }

    /// The parcel could not be sent: nothing of it was.
    pub(in crate::shard) fn on_returned(&mut self, node: NodeId, body: Bytes) {
        if let Some(at) = self.forwarding.post.returned(node, body, self.now.mono) {
            self.forwarding.wake_at(at);
        }
    }

    pub(in crate::shard) fn on_forward(&mut self, from: NodeId, mut body: Bytes) {
        while let Some(message) = message::decode(&mut body) {
            self.on_forward_message(from, message);
        }
    }

    fn on_forward_message(&mut self, from: NodeId, message: Message) {
        match message {
            Message::Ask(ask) => self.on_ask(from, ask),
            Message::Answer { tag, outcome } => self.on_answer(from, tag, outcome),
            Message::Gone { client } => self.drop_agent(from, client),
            Message::Count { client, tag, partition, wrote } => {
                self.on_count(from, (client, tag), partition, wrote);
            }
            Message::Counted { client, tag, partition, local, replicas, lost } => {
                let acked = kv::Acked { local, replicas: replicas as usize, lost };
                self.on_counted((client, tag), partition, acked);
            }
        }
    }

    /// Takes the next message that this node has sent to itself. Returns whether there was one.
    pub(in crate::shard) fn take_own_message(&mut self) -> bool {
        let Some(message) = self.forwarding.own.pop_front() else { return false };
        self.on_forward_message(self.me(), message);
        true
    }

    /// A client is gone: so are those that stand in for it. Where no link leads they are already.
    pub(in crate::shard) fn leave_agents(&mut self, id: ClientId, visited: BTreeSet<NodeId>) {
        let client = self.forwarding.abroad(id);
        let me = self.me();
        for node in visited {
            if node == me || self.linked.contains(&node) {
                self.forwarding.say(me, node, Message::Gone { client });
            }
        }
    }

    /// Looks at what stalls, and gives up what has waited too long.
    pub(in crate::shard) fn tick_forwarding(&mut self) {
        let now = self.now.mono;
        if self.forwarding.due.is_none_or(|due| due > now) {
            return;
        }
        self.forwarding.due = None;
        for (tag, asked) in self.forwarding.overdue(now) {
            // Its answer, should it come yet, is no one's.
            self.forwarding.take_asked(tag);
            self.give_up_asked(asked, false);
        }
        // What is given up is known not to be under way: it is not asked once more.
        for id in self.forwarding.stalled.clone() {
            self.give_up_stalled(id);
        }
        self.look_for_leaders();
        self.drop_overdue_asks();
        if self.forwarding.is_waiting() {
            self.forwarding.wake_at(now.after(RETRY_EVERY));
        }
        if let Some(at) = self.forwarding.post.due() {
            self.forwarding.wake_at(at);
        }
    }

    fn give_up_stalled(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(&id) else { return };
        let now = self.now.mono;
        let late = |s: &Stalled| client.call(s.number).is_some_and(|call| call.until <= now);
        let late: Vec<Stalled> = client.stalled.iter().copied().filter(late).collect();
        for stalled in late {
            let &Part { partition, no_room, .. } = self.part(id, stalled);
            let client = self.clients.get_mut(&id).expect("it is there");
            client.stalled.remove(&stalled);
            let error = match no_room {
                true => errors::no_room(partition),
                false => errors::no_leader(&self.lacking(partition)),
            };
            self.finish_part(id, stalled.number, stalled.part, error);
        }
        self.advance_stalled(id);
    }
}

/// Bytes of a part on its way, at most.
fn part_bytes(part: &Part) -> usize {
    let args = part.commands.iter().flat_map(|command| &command.0);
    args.map(|arg| arg.len() + ARG_BYTES).sum::<usize>() + 64
}
