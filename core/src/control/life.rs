//! From a data directory to a member: opening, founding, joining, and beginning again after a fault.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::founding::Founding;
use super::store::{self, Store};
use super::{
    COMPLAIN_EVERY, Control, DIRECTORY_IO, FEATURES, FRESH_EVERY, FoundingOptions, IO_BITS,
    Message, NAME_AGAIN, Output, STORE_IO, Stage, Stop, Trace, VERSIONS,
};
use crate::election::{Stored, Voters};
use crate::marks::Mark;
use crate::peer::{Identity, Links, Nonce};
use crate::shard::Severity;
use crate::{ClusterId, DirectoryId, IoId, Member, NodeId, cluster, directory};

impl Control {
    pub(super) fn on_directory(&mut self, event: directory::Event) {
        match event {
            directory::Event::Known => {
                let complete = self.directory.meta().complete;
                self.named = complete;
                self.unclean = self.directory.was_unsynced();
                let seed = self.random.next();
                self.store = Some(Store::new(complete, self.config.segment_bytes, seed));
            }
            directory::Event::Changed => {
                self.named = true;
                if matches!(self.stage, Stage::Naming(..))
                    && let Stage::Naming(cluster, stored) = self.take_stage()
                {
                    self.become_member(cluster, *stored);
                    // Who else is fresh need not ask again first.
                    self.invite_all();
                }
            }
            directory::Event::Unchanged(error) => {
                self.name_at = self.now.mono.after(NAME_AGAIN);
                let text = format!(
                    "META could not be completed: {error}; the node takes no part before it is, and \
                     tries again"
                );
                self.out.push_back(Output::Notice(Severity::Warn, text));
            }
            directory::Event::Refused(text) => self.refuse(text),
        }
    }

    pub(super) fn advance_directory(&mut self) -> bool {
        while let Some(op) = self.directory.poll() {
            self.out.push_back(Output::Disk(IoId(DIRECTORY_IO << IO_BITS), op));
        }
        let &Stage::Naming(cluster, _) = &self.stage else { return false };
        if !self.directory.is_idle() || self.name_at > self.now.mono {
            return false;
        }
        // The store holds the member: from now on one without it was lost.
        self.directory.change(|meta| {
            meta.complete = true;
            if let Some(seat) = &mut meta.seat {
                seat.cluster = Some(cluster.0);
            }
        });
        true
    }

    pub(super) fn advance_store(&mut self) -> bool {
        let mut busy = false;
        loop {
            let Some(store) = &mut self.store else { return busy };
            let Some(event) = store.poll_event() else { break };
            busy = true;
            self.on_store(event);
        }
        if let Some(store) = &mut self.store {
            while let Some((io, op)) = store.poll_op(self.now.mono) {
                self.out.push_back(Output::Disk(IoId(STORE_IO << IO_BITS | io), op));
            }
        }
        busy
    }

    pub(super) fn on_store(&mut self, event: store::Event) {
        match event {
            // Nothing begins any more.
            store::Event::Loaded(_) | store::Event::Founded if self.stop == Stop::Closing => {}
            store::Event::Loaded(stored) => self.on_loaded(stored),
            store::Event::Founded => {
                let Stage::Founding(cluster, stored) = self.take_stage() else {
                    unreachable!("nothing else is founded")
                };
                self.stage = Stage::Naming(cluster, stored);
            }
            store::Event::Persisted(id) => {
                if let Stage::Member(member) = &mut self.stage {
                    member.on_persisted(self.now, id);
                }
            }
            store::Event::Lost => self.on_lost(),
            store::Event::Refused(text) => self.refuse(text),
            store::Event::Stopped => {
                self.stage = Stage::Ended;
                self.out.push_back(Output::Stopped);
            }
            store::Event::Notice(severity, text) => {
                self.out.push_back(Output::Notice(severity, text));
            }
        }
    }

    pub(super) fn on_loaded(&mut self, stored: Option<(ClusterId, Box<Stored>)>) {
        let seat = self.directory.meta().seat.expect("the directory is a cluster node's");
        let known = seat.cluster.map(ClusterId);
        match (stored, known) {
            (Some((cluster, _)), Some(known)) if cluster != known => self.refuse(format!(
                "META says that the data directory belongs to cluster {known}, and its control log \
                 that it is cluster {cluster}'s: files of two nodes were mixed; put the right ones \
                 back, or start with an empty directory"
            )),
            (Some((cluster, stored)), _) => {
                self.start_links(Some(cluster));
                if self.named {
                    self.become_member(cluster, *stored);
                } else {
                    self.stage = Stage::Naming(cluster, stored);
                }
            }
            (None, Some(cluster)) => self.refuse(format!(
                "the data directory belongs to cluster {cluster}, but its control log is gone: this \
                 node may have forgotten a vote, so it takes no part; move the data directory away \
                 and start with an empty one, to join as a new member"
            )),
            (None, None) => {
                self.start_links(None);
                let nodes: Vec<NodeId> = self.config.nodes.iter().map(|&(node, _)| node).collect();
                self.stage = Stage::Fresh(Founding::new(self.me(), &nodes));
                self.show();
            }
        }
    }

    /// Memory may be ahead of the disk: begins again from what is stored.
    pub(super) fn on_lost(&mut self) {
        let next = match self.take_stage() {
            Stage::Member(member) => {
                self.marks = self.marks.or(member.marks());
                self.marks.hit(Mark::StoreReread);
                self.unclean = !member.may_mark_clean();
                let cluster = member.cluster();
                for (id, outcome) in member.leave_office() {
                    self.answer(id, outcome);
                }
                Stage::Reopening(cluster)
            }
            // Nothing of it was told to anyone.
            Stage::Founding(..) | Stage::Naming(..) | Stage::Fresh(_) | Stage::Opening => {
                Stage::Opening
            }
            Stage::Reopening(cluster) => Stage::Reopening(cluster),
            Stage::Ended => Stage::Ended,
        };
        self.stage = next;
        self.lose_requests_at(self.config.node);
        self.out.push_back(Output::Trace(Trace::BeganAgain));
    }

    pub(super) fn take_stage(&mut self) -> Stage {
        core::mem::replace(&mut self.stage, Stage::Ended)
    }

    pub(super) fn me(&self) -> Member {
        let directory = DirectoryId(self.directory.meta().directory_id);
        Member { node: self.config.node, directory }
    }

    pub(super) fn start_links(&mut self, cluster: Option<ClusterId>) {
        if self.links.is_some() {
            return;
        }
        let me = Identity {
            cluster,
            member: self.me(),
            nonce: Nonce(self.nonce),
            versions: VERSIONS,
            features: FEATURES.max,
            founding: self.founding_hash(),
        };
        let seed = self.random.next();
        let peers = self.config.nodes.iter().cloned();
        let peers = peers.filter(|(node, _)| *node != self.config.node);
        self.links = Some(Links::new(me, peers, self.config.links.clone(), self.now, seed));
    }

    /// What nodes must agree on before they found a cluster together.
    pub(super) fn founding_hash(&self) -> u64 {
        let mut nodes: Vec<u32> = self.config.nodes.iter().map(|(node, _)| node.0).collect();
        nodes.sort_unstable();
        let FoundingOptions { partitions, replication_factor, min_isr } = self.config.founding;
        let content = postcard::to_allocvec(&(nodes, partitions, replication_factor, min_isr))
            .expect("plain data can be written to memory");
        u64::from(crc32fast::hash(&content))
    }

    pub(super) fn advance_fresh(&mut self) -> bool {
        if !matches!(self.stage, Stage::Fresh(_)) || self.stop != Stop::No {
            return false;
        }
        let now = self.now;
        if self.fresh_at <= now.mono {
            self.fresh_at = now.mono.after(FRESH_EVERY);
            let others: Vec<NodeId> = self.config.nodes.iter().map(|&(node, _)| node).collect();
            for node in others {
                self.send(node, &Message::Fresh);
            }
        }
        let Stage::Fresh(founding) = &self.stage else { return false };
        if let Some(voters) = founding.complete() {
            self.marks.hit(Mark::Founded);
            let cluster = ClusterId(self.random.next_u128());
            let data = cluster::Map::new().encode().into();
            self.begin(cluster, Stored::founding(Voters::new(voters), data));
            return true;
        }
        if self.complain_at <= now.mono {
            self.complain_at = now.mono.after(COMPLAIN_EVERY);
            let missing = founding.missing();
            if !missing.is_empty() {
                let listed = self.config.nodes.iter().filter(|(node, _)| missing.contains(node));
                let missing: Vec<String> =
                    listed.map(|(node, address)| format!("{node} at {address}")).collect();
                let text = format!(
                    "waiting for {} to start: a new cluster is founded once all its nodes are up, \
                     and an old one is joined once a member of it is reached",
                    missing.join(", ")
                );
                self.out.push_back(Output::Notice(Severity::Info, text));
            }
        }
        false
    }

    /// Stores what the member begins with.
    pub(super) fn begin(&mut self, cluster: ClusterId, stored: Stored) {
        let store = self.store.as_mut().expect("it was loaded");
        store.found(self.now.mono, cluster, &stored);
        self.stage = Stage::Founding(cluster, Box::new(stored));
    }
}
