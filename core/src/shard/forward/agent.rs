//! The leader's side: a client of this shard that stands in for one of another node's (or of this
//! one's, where a command is not evaluated in place).
//!
//! An agent runs what it is asked one after the other, as any client's commands are run, and sends
//! the reply to the last command of each ask. An ask that CLIENT PAUSE of its node holds up waits with
//! those behind it, as long as the node that has asked waits for answers: what nobody waits for any
//! more is dropped, and never evaluated.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::ANSWER_MAX;
use super::message::{Ask, Command, Message, Outcome};
use super::transaction::Watches;
use crate::limits::CLIENT_REPLIES_MAX;
use crate::reply::Reply;
use crate::shard::client::Client;
use crate::shard::clients::writes;
use crate::shard::{Shard, errors};
use crate::storage::replica::Replica;
use crate::{ClientId, Epoch, Instant, NodeId, Offset, PartitionId};

/// See the module's header.
#[derive(Debug)]
pub(in crate::shard) struct Agent {
    /// The node whose client it is.
    node: NodeId,
    /// Asks that have not begun, and when each came.
    inbox: VecDeque<(Instant, Ask)>,
    /// The ask under way: for which partition and reign, and its commands that are to come.
    scope: (PartitionId, Epoch),
    rest: VecDeque<Command>,
    /// What of its client it watches.
    watches: Watches,
    /// Asks whose replies are to come.
    owed: VecDeque<Owed>,
}

#[derive(Debug)]
struct Owed {
    tag: u64,
    partition: PartitionId,
    /// Replies to come; the last one counts.
    left: usize,
    /// It was given up in between.
    refused: bool,
}

/// Ids of agents are none of a client's.
const AGENT: u64 = 1 << 63;

/// Most asks of one client that wait here; its own node sends no more.
const INBOX_MAX: usize = 2 * CLIENT_REPLIES_MAX;

/// How often it is looked for what is overdue.
const DROP_EVERY: Duration = Duration::from_secs(1);

/// Whether whoever has asked this has given it up, however far their clock is off.
fn is_overdue(since: Instant, now: Instant) -> bool {
    now >= since.after(ANSWER_MAX + Duration::from_secs(1))
}

impl Agent {
    fn new(node: NodeId) -> Self {
        Self {
            node,
            inbox: VecDeque::new(),
            scope: (PartitionId(0), Epoch(0)),
            rest: VecDeque::new(),
            watches: Watches::default(),
            owed: VecDeque::new(),
        }
    }

    /// Whether the id is an agent's.
    pub(in crate::shard) fn is(id: ClientId) -> bool {
        id.0 & AGENT != 0
    }

    /// The partition of the ask under way.
    pub(in crate::shard) fn scope(&self) -> PartitionId {
        self.scope.0
    }
}

impl Shard {
    pub(super) fn on_ask(&mut self, from: NodeId, ask: Ask) {
        let key = (from, ask.client);
        let id = match self.forwarding.agents.get(&key) {
            Some(&id) => id,
            None => {
                self.forwarding.last_agent += 1;
                let id = ClientId(AGENT | self.forwarding.last_agent);
                let agent = Box::new(Agent::new(from));
                self.clients.insert(id, Client::agent(id, agent));
                self.forwarding.agents.insert(key, id);
                id
            }
        };
        let now = self.now.mono;
        let agent = self.agent(id);
        if agent.inbox.len() >= INBOX_MAX {
            let outcome = Outcome::error(errors::too_many_asked());
            self.forwarding.say(self.me(), from, Message::Answer { tag: ask.tag, outcome });
            return;
        }
        agent.inbox.push_back((now, ask));
        self.run_agent(id);
        let waits = self.inbox(id).is_some_and(|inbox| !inbox.is_empty());
        if waits && self.forwarding.overdue_at.is_none() {
            let at = now.after(DROP_EVERY);
            self.forwarding.overdue_at = Some(at);
            self.forwarding.wake_at(at);
        }
    }

    /// Drops what has waited here for so long that nobody waits for it any more.
    pub(super) fn drop_overdue_asks(&mut self) {
        let now = self.now.mono;
        let Some(at) = self.forwarding.overdue_at else { return };
        if now < at {
            return self.forwarding.wake_at(at);
        }
        let mut waits = false;
        for id in self.forwarding.agents().collect::<Vec<_>>() {
            let Some(inbox) = self.inbox(id) else { continue };
            let overdue = inbox.iter().take_while(|&&(since, _)| is_overdue(since, now)).count();
            inbox.drain(..overdue);
            if overdue > 0 {
                // What was behind may have nothing to wait for.
                self.run_agent(id);
            }
            waits |= self.inbox(id).is_some_and(|inbox| !inbox.is_empty());
        }
        self.forwarding.overdue_at = waits.then(|| now.after(DROP_EVERY));
        if let Some(at) = self.forwarding.overdue_at {
            self.forwarding.wake_at(at);
        }
    }

    fn inbox(&mut self, id: ClientId) -> Option<&mut VecDeque<(Instant, Ask)>> {
        Some(&mut self.clients.get_mut(&id)?.agent.as_mut()?.inbox)
    }

    fn agent(&mut self, id: ClientId) -> &mut Agent {
        let client = self.clients.get_mut(&id).expect("an agent is there until it is dropped");
        client.agent.as_mut().expect("it is an agent")
    }

    /// Runs what the agent was asked, until it has to wait.
    pub(in crate::shard) fn run_agent(&mut self, id: ClientId) {
        while self.stop == super::super::Stop::No
            && self.clients.get(&id).is_some_and(Client::accepts)
            && !self.pressed
            && !self.owes_too_much(id)
        {
            let may_go_on = self.agent_may_go_on(id);
            let agent = self.agent(id);
            if let Some(Command(args)) = agent.rest.pop_front() {
                if !may_go_on {
                    self.refuse_under_way(id);
                    continue;
                }
                let args: Vec<&[u8]> = args.iter().map(|arg| &arg[..]).collect();
                self.counters.commands += 1;
                self.run_here(id, &args);
                continue;
            }
            let Some((since, ask)) = agent.inbox.pop_front() else { return };
            if is_overdue(since, self.now.mono) {
                continue;
            }
            if self
                .stands_still(|| ask.commands.iter().flat_map(|c| c.0.first()).any(|n| writes(n)))
            {
                return self.agent(id).inbox.push_front((since, ask));
            }
            let agent = self.agent(id);
            let (node, watches) = (agent.node, agent.watches);
            if watches.generation != ask.watches.generation {
                agent.watches = Watches { count: 0, ..ask.watches };
                self.release(id);
            }
            let leads = self.leads_in(ask.partition, ask.epoch);
            let refusal = if !leads || ask.commands.iter().any(|command| command.0.is_empty()) {
                let full = self.homes.find(ask.partition);
                let full = full.is_some_and(|at| self.partitions[at].replica.is_full());
                Some(if full && !leads { Outcome::NoRoom } else { Outcome::NotLeader })
            } else {
                let unknown = ask.pinned && self.agent(id).watches != ask.watches;
                unknown.then_some(Outcome::Unwatched)
            };
            if let Some(outcome) = refusal {
                let message = Message::Answer { tag: ask.tag, outcome };
                self.forwarding.say(self.me(), node, message);
                continue;
            }
            let agent = self.agent(id);
            let watches =
                ask.commands.first().is_some_and(|c| c.0[0].eq_ignore_ascii_case(b"watch"));
            let more = u32::from(ask.pinned && watches);
            agent.watches.count = agent.watches.count.saturating_add(more);
            let (tag, partition, left) = (ask.tag, ask.partition, ask.commands.len());
            let owed = Owed { tag, partition, left, refused: false };
            agent.scope = (ask.partition, ask.epoch);
            agent.rest = ask.commands.into();
            if owed.left > 0 {
                agent.owed.push_back(owed);
            }
        }
    }

    /// Whether too many answers wait for the link to the node that it stands in for.
    fn owes_too_much(&self, id: ClientId) -> bool {
        let agent = self.clients[&id].agent.as_ref();
        agent.is_some_and(|agent| self.forwarding.post.is_clogged(agent.node))
    }

    /// Whether what the agent is at may still be evaluated here: the reign goes on.
    pub(in crate::shard) fn agent_may_go_on(&self, id: ClientId) -> bool {
        let agent = self.clients.get(&id).and_then(|client| client.agent.as_ref());
        agent.is_none_or(|agent| self.leads_in(agent.scope.0, agent.scope.1))
    }

    /// The reign of the ask under way is over, and its command was not evaluated.
    pub(in crate::shard) fn refuse_under_way(&mut self, id: ClientId) {
        let agent = self.agent(id);
        let more = agent.rest.len();
        agent.rest.clear();
        if let Some(owed) = agent.owed.back_mut() {
            owed.refused = true;
        }
        if self.clients[&id].session.in_transaction() {
            // A part of it was taken: it is over, and so is what was watched for it.
            self.agent(id).watches.count = 0;
            self.release(id);
        }
        for _ in 0..=more {
            self.enqueue(id, Reply::Null, &[]);
        }
    }

    /// The agent has its next reply.
    pub(in crate::shard) fn on_agent_reply(&mut self, id: ClientId, reply: Reply) {
        let agent = self.agent(id);
        let owed = agent.owed.front_mut().expect("every reply is owed to someone");
        owed.left -= 1;
        if owed.left > 0 {
            return;
        }
        let (tag, partition, refused) = (owed.tag, owed.partition, owed.refused);
        let node = agent.node;
        agent.owed.pop_front();
        let outcome = if refused {
            Outcome::NotLeader
        } else {
            let home = self.homes.find(partition).map(|at| &self.partitions[at].replica);
            let seen = home.map_or(Offset(0), Replica::high_watermark);
            let wrote = self.clients[&id].wrote.get(&partition).copied();
            Outcome::Reply { reply: reply.into(), seen, wrote }
        };
        self.forwarding.say(self.me(), node, Message::Answer { tag, outcome });
    }

    /// Lets go of what the agent watches, and of a transaction that was cut short.
    fn release(&mut self, id: ClientId) {
        let client = self.clients.get_mut(&id).expect("an agent is there until it is dropped");
        client.session.give_up(&[b"EXEC"]).for_each(|key| self.watched.unwatch(&key));
    }

    pub(super) fn drop_agent(&mut self, from: NodeId, client: u64) {
        if let Some(id) = self.forwarding.agents.remove(&(from, client)) {
            self.on_disconnected(id);
        }
    }

    /// Nobody is left at the other node to answer.
    pub(super) fn drop_agents(&mut self, node: NodeId) {
        let all = self.forwarding.agents.range((node, 0)..=(node, u64::MAX));
        let all: Vec<u64> = all.map(|(&(_, client), _)| client).collect();
        all.into_iter().for_each(|client| self.drop_agent(node, client));
    }
}
