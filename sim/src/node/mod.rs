//! A node: its process, and where others find it.

mod cache;
mod clients;
mod control;
pub(crate) mod describe;
mod hops;
mod process;
mod replicas;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use kvnode_core::ClientId;
use kvnode_core::cluster::controller::Request;
use kvnode_core::node::Parcel;
use kvnode_core::peer;
use madsim::net::Endpoint;
use madsim::plugin::simulator;
use madsim::task::spawn_local;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::disk::DiskSim;
use crate::lock;
use crate::net::{Packet, WireId};
use crate::storage;
use crate::story::{Kind, Lane, Life};
use crate::world::World;
use process::Process;

/// What reaches a node's process from outside.
#[derive(Debug)]
pub(crate) enum NodeEvent {
    Opened(WireId),
    Packet(WireId, Packet),
    Closed(WireId),
    /// Something happens on a connection with another node.
    Peer(peer::Input),
    /// A message of another replica comes once more.
    Stray(Parcel),
    /// An operator asks for something, as a client that is none of the simulator's others.
    Request(ClientId, Request),
    /// SIGTERM.
    Stop,
}

/// Where the other tasks find a process: gone when it has ended.
pub(crate) type Mailbox = UnboundedSender<NodeEvent>;

/// One life of a node: from start to stop, or until it is killed.
pub(crate) async fn live(world: Arc<World>, id: u32, mailboxes: Arc<Mailboxes>) {
    if world.is_late(id) {
        return;
    }
    let profile = world.settings.profile;
    let life = world.born(id);
    let lane = Lane::Node(id);
    world.tell(lane, Kind::Life, life, || format!("{}: life {life}", Life::Starts));
    if profile.has_shard() && world.is_sound(id) {
        let image = simulator::<DiskSim>().with(madsim::plugin::node(), |disk| disk.image());
        if let Some(damage) = storage::damage(image, profile.has_control()) {
            let text = format!("n{id} starts on damage that no fault has done: {damage}");
            world.violation("storage", text);
        }
    }
    let (mailbox, inbox) = unbounded_channel();
    mailboxes.set(id, mailbox.clone());
    if profile.has_shard() {
        spawn_local(listen(Arc::clone(&world), id, life, mailbox));
    }
    if profile.has_control() {
        lock(&world.tcp).listen(id);
    }
    let mut process = Process::new(Arc::clone(&world), id, life, Arc::clone(&mailboxes));
    process.run(inbox).await;
    mailboxes.clear(id);
    if profile.has_control() {
        world.hang_up(id);
    }
}

/// The mailbox of each node's process.
#[derive(Default)]
pub(crate) struct Mailboxes(std::sync::Mutex<BTreeMap<u32, Mailbox>>);

impl Mailboxes {
    pub(crate) fn set(&self, id: u32, mailbox: Mailbox) {
        crate::lock(&self.0).insert(id, mailbox);
    }

    pub(crate) fn clear(&self, id: u32) {
        crate::lock(&self.0).remove(&id);
    }

    /// Tells a node's process something, if it lives.
    pub(crate) fn post(&self, id: u32, event: NodeEvent) {
        if let Some(mailbox) = crate::lock(&self.0).get(&id) {
            // A process that has just ended does not listen.
            let _ = mailbox.send(event);
        }
    }
}

/// The address of a node.
pub(crate) fn address(id: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(id).expect("nodes are few")], 6379))
}

/// Takes connections, and reads each in a task of its own.
async fn listen(world: Arc<World>, id: u32, life: u64, mailbox: Mailbox) {
    let Ok(endpoint) = Endpoint::bind(address(id)).await else { return };
    while let Ok((sender, receiver, _)) = endpoint.accept1().await {
        let (world, mailbox) = (Arc::clone(&world), mailbox.clone());
        spawn_local(async move {
            let accepted = world.accept(Lane::Node(id), life, sender, receiver).await;
            let Some(mut inlet) = accepted else { return };
            let wire = inlet.wire();
            let _ = mailbox.send(NodeEvent::Opened(wire));
            while let Some(packet) = inlet.receive(&world).await {
                let _ = mailbox.send(NodeEvent::Packet(wire, packet));
            }
            let _ = mailbox.send(NodeEvent::Closed(wire));
        });
    }
}
