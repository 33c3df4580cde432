//! Clients in the service of a hunt: each asks one node, and only when the hunt says so.
//!
//! A client of the workload asks whom and when it likes, and is seldom at the one node that matters in the
//! one moment that does. A scout connects beforehand, and writes, deletes or reads a group of keys when it is
//! told to. What it asks and is told stands in the history like everything else.

use std::sync::{Arc, Mutex};

use madsim::task::spawn_local;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::client::Client;
use crate::history::Group;
use crate::lock;
use crate::nemesis::Nemesis;

/// How many there are; their numbers are behind that of the auditor.
pub(crate) const SCOUTS: u32 = 6;

/// What a scout is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Errand {
    /// Write keys of this group.
    Write(Group),
    /// Delete all keys of this group.
    Delete(Group),
    /// Read all keys of this group.
    Read(Group),
}

/// A client that waits for errands. It goes home when this is dropped and its last call has ended.
pub(crate) struct Scout {
    errands: UnboundedSender<Errand>,
    report: Arc<Mutex<Report>>,
}

/// How far a scout is.
#[derive(Default)]
struct Report {
    is_connected: bool,
    sent: u64,
    /// Errands that have ended, well or not.
    ended: u64,
    /// Errands that were answered, and not refused.
    answered: u64,
}

impl Scout {
    /// Sends it out, if it is not under way.
    pub(crate) fn send(&self, errand: Errand) {
        if self.is_idle() {
            lock(&self.report).sent += 1;
            // A scout whose task has ended is never idle again.
            let _ = self.errands.send(errand);
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        lock(&self.report).is_connected
    }

    pub(crate) fn is_idle(&self) -> bool {
        let report = lock(&self.report);
        report.sent == report.ended
    }

    pub(crate) fn answered(&self) -> u64 {
        lock(&self.report).answered
    }
}

impl Nemesis {
    /// A scout that is on its way to a node, if one is left.
    pub(crate) fn scout(&self, node: u32) -> Option<Scout> {
        let id = lock(&self.scouts).pop_first()?;
        let (errands, inbox) = unbounded_channel();
        let report = Arc::<Mutex<Report>>::default();
        let scout = Scout { errands, report: Arc::clone(&report) };
        let (world, free) = (Arc::clone(&self.world), Arc::clone(&self.scouts));
        self.client(id).spawn(async move {
            // A client's tasks stay on its node of madsim.
            let task = async move {
                let mut client = Client::at(world, id, node);
                serve(&mut client, inbox, &report).await;
                client.leave();
            };
            let _ = spawn_local(task).await;
            lock(&free).insert(id);
        });
        Some(scout)
    }
}

async fn serve(client: &mut Client, mut inbox: UnboundedReceiver<Errand>, report: &Mutex<Report>) {
    let is_connected = client.arrive().await;
    lock(report).is_connected = is_connected;
    while let Some(errand) = inbox.recv().await {
        let is_answered = client.run_errand(errand).await;
        let mut report = lock(report);
        report.ended += 1;
        report.answered += u64::from(is_answered);
    }
}
