//! A member at work: what it asks for is done, what the cluster looks like is shown to the shard, and
//! a stop waits until others have taken over.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use super::member::{self, Effect, Membership};
use super::{Control, FEATURES, FoundingOptions, Left, Output, Stage, Stated, Stop, View};
use crate::ClusterId;
use crate::cluster::controller;
use crate::cluster::{self, broker};
use crate::election::Stored;
use crate::node::ToShard;
use crate::shard::Severity;

impl Control {
    pub(super) fn become_member(&mut self, cluster: ClusterId, stored: Stored) {
        let now = self.now;
        if let Some(links) = &mut self.links {
            links.set_cluster(now, cluster);
        }
        let me = self.me();
        let peer = self.config.nodes.iter().find(|(node, _)| *node == me.node);
        let peer = peer.map(|(_, address)| address.clone()).unwrap_or_default();
        let client = self.config.client_address.clone();
        let broker = broker::Settings {
            rack: self.config.rack.clone(),
            features: FEATURES,
            clean: !self.unclean,
            seed: self.random.next(),
            ..broker::Settings::new(me.node, me.directory, peer, client)
        };
        let FoundingOptions { partitions, replication_factor, min_isr } = self.config.founding;
        let founding = cluster::Founding {
            cluster,
            level: FEATURES.max,
            partitions,
            replication_factor,
            min_isr,
            expected: self.config.nodes.iter().map(|&(node, _)| node).collect(),
        };
        let controller = controller::Settings {
            session_timeout: self.config.session_timeout,
            balance_after: self.config.balance_after,
            ..controller::Settings::new(founding)
        };
        let options = member::Options {
            election: self.config.election,
            broker,
            controller,
            snapshot_every: self.config.snapshot_every,
        };
        let seed = self.random.next();
        let mut member = Membership::new(now, me, cluster, stored, options, seed);
        for &linked in self.up.values() {
            member.on_link(now, linked, true);
        }
        if self.stop != Stop::No {
            member.on_stop(now);
        }
        self.stage = Stage::Member(Box::new(member));
    }

    pub(super) fn advance_member(&mut self) -> bool {
        let mut busy = false;
        let mut changed = false;
        while let Stage::Member(member) = &mut self.stage
            && let Some(effect) = member.poll(self.now)
        {
            busy = true;
            match effect {
                Effect::Write(id, changes) => {
                    let store = self.store.as_mut().expect("a member has been loaded");
                    store.write(self.now.mono, id, &changes);
                }
                Effect::Send(to, message) => {
                    if self.up.get(&to.node) == Some(&to) {
                        self.send(to.node, &message);
                    }
                }
                Effect::SendNode(node, message) => {
                    self.send(node, &message);
                }
                Effect::AlterRefused { partition, partition_epoch, why } => {
                    let refused = ToShard::AlterRefused { partition, partition_epoch, why };
                    self.out.push_back(Output::Shard(refused));
                }
                Effect::Answer(id, outcome) => self.answer(id, outcome),
                Effect::Changed => changed = true,
                Effect::Refuse(text) => self.refuse(text),
                Effect::Trace(trace) => self.out.push_back(Output::Trace(trace)),
                Effect::Notice(severity, text) => {
                    self.out.push_back(Output::Notice(severity, text))
                }
            }
        }
        if changed {
            self.show();
        }
        busy
    }

    /// Tells the others of this node what the cluster looks like, if it looks different.
    pub(super) fn show(&mut self) {
        let view = match &self.stage {
            Stage::Member(member) => View {
                unsynced: self.directory.is_marked(),
                uncleans: self.uncleans,
                settles: member.may_mark_clean(),
                ..member.view()
            },
            Stage::Fresh(founding) => {
                let view = View::fresh(self.me(), founding.missing());
                View { uncleans: self.uncleans, ..view }
            }
            Stage::Opening
            | Stage::Founding(..)
            | Stage::Naming(..)
            | Stage::Reopening(_)
            | Stage::Ended => return,
        };
        if self.shown.as_deref() != Some(&view) {
            self.compare_stated(&view);
            let view = Arc::new(view);
            self.shown = Some(Arc::clone(&view));
            self.out.push_back(Output::Shard(ToShard::View(view)));
        }
    }

    /// Once it is known what the cluster was founded with, says where the operator thinks otherwise.
    fn compare_stated(&mut self, view: &View) {
        let Some(founding) = view.map.founding() else { return };
        let Stated { partitions, replication_factor, min_isr } =
            core::mem::take(&mut self.config.stated);
        for (what, stated, founded) in [
            ("partitions", partitions, founding.partitions),
            ("replication factor", replication_factor, founding.replication_factor),
            ("min-ISR", min_isr, founding.min_isr),
        ] {
            if let Some(stated) = stated.filter(|stated| *stated != founded) {
                let text = format!(
                    "{what} {stated} does not count: the cluster was founded with {founded}, and \
                     that does not change"
                );
                self.out.push_back(Output::Notice(Severity::Warn, text));
            }
        }
    }

    pub(super) fn refuse(&mut self, text: String) {
        self.stage = Stage::Ended;
        self.links = None;
        self.out.push_back(Output::Refused(text));
    }

    /// Goes on with a stop.
    pub(super) fn advance_stop(&mut self) -> bool {
        let Stop::HandingOver(until) = self.stop else { return false };
        let ready = match &self.stage {
            Stage::Member(member) if until > self.now.mono => {
                if member.may_stop() && self.left == Left::Not {
                    self.left = Left::Told;
                    self.out.push_back(Output::Shard(ToShard::Leaving));
                }
                member.may_stop() && self.left == Left::Done
            }
            Stage::Member(_) => true,
            Stage::Opening
            | Stage::Fresh(_)
            | Stage::Founding(..)
            | Stage::Naming(..)
            | Stage::Reopening(_)
            | Stage::Ended => true,
        };
        if !ready {
            return false;
        }
        self.stop = Stop::Closing;
        self.links = None;
        self.stage = Stage::Ended;
        match &mut self.store {
            Some(store) => store.stop(self.now.mono),
            None => {
                self.directory.abandon();
                self.out.push_back(Output::Stopped);
            }
        }
        true
    }
}
