//! MULTI, WATCH and EXEC in a cluster: what is watched lies with the leader of its partition, in one reign.
//!
//! A client's WATCH goes to the [`agent`](super::agent) that stands in for it at the leader, and so
//! does the EXEC that follows, with the commands that were queued here. Both are *pinned*: to that
//! node, in that reign. Another leader, a broken link, an agent that was dropped in between: then
//! nobody knows whether what was watched has changed, and EXEC is aborted.
//!
//! A WATCH that is answered with an error watches nothing: what was watched before it is watched
//! still, and if that is nothing, EXEC goes through like any other.
//!
//! With EXEC go the commands about keys. Those about the connection or its node (CLIENT ID, HELLO,
//! INFO, TIME, PING) mean the client's own: they are evaluated here when EXEC comes, whatever becomes
//! of the rest, and their replies are put in their places. An agent refuses them. What is about all
//! keys, or those of a slot, has a part in each partition or looks through one, while a transaction is
//! of the keys that it names: it is refused when it would be queued, however many partitions there
//! are and whoever leads them, so that EXEC is aborted.
//!
//! That an agent has all that its client watches, and nothing of an earlier WATCH, shows by a number
//! for the *generation* (one more with each EXEC, DISCARD and UNWATCH) and a count of the WATCH
//! commands in it, which every ask carries.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::call::{Merge, Otherwise, Pinned, PinnedTo};
use super::message::Command;
use super::split::{About, about, owned};
use crate::args::Args;
use crate::reply::Reply;
use crate::shard::evaluate::Fetched;
use crate::shard::{Shard, errors};
use crate::{ClientId, PartitionId, kv, slot};

/// Where a client's watched keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) struct Watching {
    partition: PartitionId,
    to: PinnedTo,
    /// WATCH commands that were sent there.
    count: u32,
    /// WATCH commands that were answered well, or may be yet.
    held: u32,
    /// Whether they have changed can not be known any more.
    lost: bool,
}

/// What a client has watched, as an ask tells an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watches {
    /// See the module's header.
    pub generation: u32,
    /// WATCH commands of the generation that came before this ask.
    pub count: u32,
}

impl Shard {
    pub(super) fn dispatch_watch(&mut self, id: ClientId, args: Args<'_>) {
        let client = &self.clients[&id];
        if client.session.in_transaction() {
            return self.run_here(id, args);
        }
        let command = kv::find(args[0]).expect("it was resolved");
        if let Some(error) = self.redirect(command.keys(args).map(slot::slot)) {
            return self.enqueue(id, error, &[]);
        }
        let About::One(partition) = about(command, args, (self.homes.count(), 0), Vec::new) else {
            return self.enqueue(id, errors::scattered(), &[]);
        };
        let route = self.route(partition).map(|(node, epoch)| PinnedTo { node, epoch });
        let watching = match (client.watching, route) {
            (Some(known), _) if known.partition != partition => {
                return self.enqueue(id, errors::scattered(), &[]);
            }
            (Some(known), Some(to)) if known.to == to && !known.lost => known,
            // EXEC will tell.
            (Some(known), _) => {
                let client = self.clients.get_mut(&id).expect("it is there");
                client.watching = Some(Watching { held: known.held + 1, lost: true, ..known });
                return self.enqueue(id, Reply::OK, &[]);
            }
            (None, Some(to)) => Watching { partition, to, count: 0, held: 0, lost: false },
            (None, None) => {
                let error = errors::no_leader(&self.lacking(partition));
                return self.enqueue(id, error, &[]);
            }
        };
        let client = self.clients.get_mut(&id).expect("it is there");
        let (count, held) = (watching.count + 1, watching.held + 1);
        client.watching = Some(Watching { count, held, ..watching });
        let watches = Watches { generation: client.generation, count: watching.count };
        let part = (partition, alloc::vec![owned(args)]);
        let pinned = Pinned { to: watching.to, watches, otherwise: Otherwise::Lost };
        self.call_pinned(id, alloc::vec![part], (Merge::Only, true), Some(pinned));
    }

    /// What a client is told of a command that can not be in a transaction.
    pub(super) fn refuse_queued(&self, command: &kv::Command, args: Args<'_>) -> Option<Reply> {
        if command.is_about_all_keys() {
            return Some(errors::about_all_keys(command.name));
        }
        if self.homes.count() == 0 {
            return None;
        }
        self.redirect(command.keys(args).map(slot::slot))
    }

    /// A command that is refused before anything is evaluated. An EXEC ends its transaction and what
    /// was watched all the same, as in Redis.
    pub(super) fn refuse_here(&mut self, id: ClientId, args: Args<'_>) {
        if kv::find(args[0]).is_some_and(|command| command.name == "exec") {
            self.forget_watch(id);
        }
        self.run_here(id, args);
    }

    pub(super) fn dispatch_discard(&mut self, id: ClientId, args: Args<'_>) {
        if self.clients[&id].session.in_transaction() {
            self.forget_watch(id);
        }
        self.run_here(id, args);
    }

    pub(super) fn dispatch_exec(&mut self, id: ClientId, args: Args<'_>) {
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        if !client.session.in_transaction() {
            return self.run_here(id, args);
        }
        let partitions = self.homes.count();
        let mut slots = BTreeSet::new();
        let mut reads = true;
        for (command, args) in client.session.queued() {
            let args = args.as_slices();
            slots.extend(command.keys(&args).map(slot::slot));
            reads &= !command.flags.has(kv::Flags::WRITE);
        }
        let watching = client.watching;
        let watches = Watches {
            generation: client.generation,
            count: watching.map_or(0, |watching| watching.count),
        };
        let goes_on = !client.session.is_aborted();
        self.forget_watch(id);
        if goes_on && let Some(error) = self.redirect(slots.iter().copied()) {
            return self.give_up(id, args, error);
        }
        let homes = slots.into_iter().map(|slot| slot::partition(slot, partitions));
        let mut homes = homes.collect::<BTreeSet<_>>().into_iter();
        let partition = match (homes.next(), homes.next(), watching) {
            // Nothing but what is watched says where.
            (None, _, Some(watching)) => watching.partition,
            (Some(only), None, _) => only,
            // Of none, or of several: that is refused here.
            (None, _, None) | (Some(_), Some(_), _) => return self.run_here(id, args),
        };
        if !goes_on {
            return self.run_here(id, args);
        }
        let Some(watching) = watching else {
            if self.runs_here(id, partition) {
                return self.run_here(id, args);
            }
            let (commands, merge) = self.take_transaction(id, args);
            return self.call(id, alloc::vec![(partition, commands)], merge, reads);
        };
        if watching.partition != partition {
            return self.give_up(id, args, errors::scattered());
        }
        if watching.lost || !self.is_pinned_to(partition, watching.to) {
            return self.give_up(id, args, Reply::NullArray);
        }
        let (commands, merge) = self.take_transaction(id, args);
        let pinned = Pinned { to: watching.to, watches, otherwise: Otherwise::Aborted };
        let part = (partition, commands);
        self.call_pinned(id, alloc::vec![part], (merge, reads), Some(pinned));
    }

    /// The transaction as it is sent. What is not for the leader is answered here, and so is what the
    /// client may not run any more.
    fn take_transaction(&mut self, id: ClientId, args: Args<'_>) -> (Vec<Command>, Merge) {
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        let mut commands = alloc::vec![Command(alloc::vec![b"MULTI"[..].into()])];
        let mut answered = Vec::new();
        let (taken, rest) = client.session.take_for_leader();
        for (at, command, args) in taken {
            let args = args.as_slices();
            match client.session.authorize_queued(command, &args, &mut self.server) {
                Ok(()) => commands.push(owned(&args)),
                Err(refusal) => answered.push((at, refusal)),
            }
        }
        commands.push(owned(args));
        let mut changes = kv::Changes::default();
        let replies = match self.evaluate(id, args, &Fetched::default(), false, &mut changes) {
            Ok(Reply::Array(replies)) => replies,
            result => unreachable!("nothing is watched here, and nothing waits: {result:?}"),
        };
        assert!(changes.is_empty(), "what changes keys is for their leader");
        answered.extend(rest.into_iter().zip(replies));
        answered.sort_unstable_by_key(|&(at, _)| at);
        (commands, Merge::Transaction(answered))
    }

    /// The client watches nothing any more; its agent will hear of it with the next ask.
    pub(super) fn forget_watch(&mut self, id: ClientId) {
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        if client.watching.take().is_some() {
            client.generation = client.generation.wrapping_add(1);
        }
    }

    /// A WATCH of this generation was answered with an error.
    pub(super) fn fail_watch(&mut self, id: ClientId, generation: u32) {
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        if client.generation != generation {
            return;
        }
        if let Some(watching) = &mut client.watching {
            watching.held -= 1;
            if watching.held == 0 {
                self.forget_watch(id);
            }
        }
    }

    /// Whether what the client watches has changed can not be known any more.
    fn lose_watch(&mut self, id: ClientId) {
        let client = self.clients.get_mut(&id).expect("the caller has looked");
        if let Some(watching) = &mut client.watching {
            watching.lost = true;
        }
    }

    /// Whether the partition is led by that node in that reign still, as far as this one knows.
    pub(super) fn is_pinned_to(&self, partition: PartitionId, to: PinnedTo) -> bool {
        self.route(partition) == Some((to.node, to.epoch))
    }

    /// A pinned part can not be asked, or was refused: nothing of it was evaluated.
    pub(super) fn break_pinned(&mut self, id: ClientId, number: u64, part: usize) {
        let call = self.clients[&id].call(number).expect("the part has a call");
        let pinned = call.pinned.as_ref().expect("it is pinned");
        let generation = pinned.watches.generation;
        let reply = match pinned.otherwise {
            // EXEC will tell.
            Otherwise::Lost => Reply::OK,
            Otherwise::Aborted => Reply::NullArray,
        };
        if self.clients[&id].generation == generation {
            self.lose_watch(id);
        }
        self.finish_part(id, number, part, reply);
    }
}
