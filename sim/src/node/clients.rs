//! What a node's shard does: clients, their commands and replies.

use std::collections::VecDeque;

use kvnode_core::ClientId;
use kvnode_core::args::OwnedArgs;
use kvnode_core::control;
use kvnode_core::kv::Peer;
use kvnode_core::reply::Reply;
use kvnode_core::shard::{Input, Output};

use super::process::Process;
use crate::marks::Seen;
use crate::net::{Packet, WireId, words};
use crate::run::Spoilt;
use crate::story::{Kind, Life};

/// A connection as the process knows it.
pub(super) struct Client {
    pub(super) wire: WireId,
    /// Commands that the shard does not take yet.
    queue: VecDeque<OwnedArgs>,
}

impl Process {
    pub(super) fn on_opened(&mut self, wire: WireId) {
        self.next_client += 1;
        let id = ClientId(self.next_client);
        self.clients.insert(id, Client { wire, queue: VecDeque::new() });
        self.by_wire.insert(wire, id);
        self.hand_shard(Input::Connected(id, Peer::default()));
    }

    pub(super) fn on_packet(&mut self, wire: WireId, packet: Packet) {
        let Packet::Command(args) = packet else { return };
        let Some(&id) = self.by_wire.get(&wire) else { return };
        if let Some(client) = self.clients.get_mut(&id) {
            client.queue.push_back(args);
            self.feed(id);
        }
    }

    pub(super) fn on_closed(&mut self, wire: WireId) {
        if let Some(id) = self.by_wire.remove(&wire)
            && self.clients.remove(&id).is_some()
        {
            self.world.close(wire, self.lane());
            self.hand_shard(Input::Disconnected(id));
            self.world.hung_up(wire);
        }
    }

    /// Hands in what the client has sent, as far as the shard takes it.
    fn feed(&mut self, id: ClientId) {
        while self.shard.as_ref().is_some_and(|shard| shard.accepts(id)) {
            let Some(client) = self.clients.get_mut(&id) else { return };
            let Some(args) = client.queue.pop_front() else { return };
            let slices = args.as_slices();
            self.world.tell(self.lane(), Kind::Call, (id, &slices), || {
                format!("{id} asks {}", words(&slices))
            });
            self.hand_shard(Input::Command(id, &slices));
        }
    }

    pub(super) fn on_shard(&mut self, output: Output) {
        let lane = self.lane();
        match output {
            Output::Disk(io, op) => self.submit(io, op),
            Output::Reply(client, _, mut reply) => {
                self.spoil(&mut reply);
                self.world.tell(lane, Kind::Call, (client, &reply), || {
                    format!("{client} is told {}", crate::net::reply_text(&reply))
                });
                let swallowed =
                    self.world.spoilt == Some(Spoilt::Reply) && self.chance.below(200) == 0;
                if let Some(client) = self.clients.get(&client).filter(|_| !swallowed) {
                    self.world.send(client.wire, lane, Packet::Reply(reply));
                }
            }
            Output::Close(client) => {
                if let Some(client) = self.clients.get(&client) {
                    self.world.close(client.wire, lane);
                }
            }
            Output::Resume(client) => self.feed(client),
            // Of a cluster's node it says nothing yet.
            Output::Opened if self.world.settings.profile.has_control() => {}
            Output::Opened => {
                let clock = self.shard.as_ref().map_or(0, |shard| shard.glance().committed_clock);
                self.world.tell(lane, Kind::Life, 2, || Life::Serves.to_string());
                self.world.serves(self.id, clock);
            }
            Output::Refused(why) => self.refuse(why),
            // After a refusal it is no clean stop.
            Output::Stopped if self.ended => {}
            Output::Stopped => {
                self.world.tell(lane, Kind::Life, 3, || {
                    format!("{}: everything is durable", Life::Stops)
                });
                self.world.stopped(self.id);
                self.end();
            }
            Output::Control(said) => {
                self.replication_says(&said);
                self.tell_control(control::Input::Shard(said));
            }
            Output::AclFile(..) | Output::Silence(_) | Output::Monitored(..) | Output::Shutdown => {
                unreachable!("no client of the simulator asks for it")
            }
            Output::Notice(severity, text) => self.notice(severity, &text),
        }
    }

    /// The node can not go on: why.
    pub(super) fn refuse(&mut self, why: String) {
        self.world.tell(self.lane(), Kind::Life, &why, || format!("{}: {why}", Life::Crashes));
        self.world.see(Seen::Refused);
        self.world.refuse(self.id, why);
        self.end();
    }

    /// Says what is not so, if that is wanted.
    fn spoil(&mut self, reply: &mut Reply) {
        if self.world.spoilt == Some(Spoilt::Alarm) && self.chance.below(200) == 0 {
            *reply = Reply::error("DISKFULL there is room enough");
        }
    }

    /// What the outside sees of the shard.
    pub(super) fn observe(&mut self) {
        let Some(shard) = &self.shard else { return };
        if self.world.settings.profile.has_control() {
            return self.observe_replicas();
        }
        let glance = shard.glance();
        let now = self.handled_at;
        if let Some((clock, at)) = self.clock {
            // It follows the monotonic clock and is drawn toward the wall clock by an eighth at most.
            let passed_ms = now.since(at).as_millis() as u64;
            let slew_ms = passed_ms / 8 + 2;
            let due = clock.max((clock + passed_ms).saturating_sub(slew_ms));
            if glance.clock < due || glance.clock > clock + passed_ms + slew_ms {
                let text = format!(
                    "of n{} went from {clock} to {} in {passed_ms} ms",
                    self.id, glance.clock
                );
                self.world.violation("log clock", text);
            }
        }
        self.clock = self.world.is_serving(self.id).then_some((glance.clock, now));
        self.world.mark(shard.marks());
        self.world.observe(self.id, glance.clock, glance.committed_clock, glance.durable);
    }
}
