//! Messages and links: who is linked, and which part a message is for.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Control, Join, Message, Output, REJECTED_MAX, Stage, Stop, Trace};
use crate::cluster::broker;
use crate::election::Stored;
use crate::marks::Mark;
use crate::node::{Parcel, ToControl, ToShard};
use crate::peer::{self, Channel, RefusalKind, SendError};
use crate::shard::Severity;
use crate::{Member, NodeId};

impl Control {
    /// Returns whether it goes out.
    pub(super) fn send(&mut self, to: NodeId, message: &Message) -> bool {
        let Some(links) = &mut self.links else { return false };
        // What does not go out is said again by the protocol it belongs to.
        let sent =
            links.is_up(to) && links.send(self.now, to, Channel::Control, message.encode()).is_ok();
        self.marks.hit_if(!sent, Mark::SentInVain);
        self.out.push_back(Output::Trace(Trace::Sent(to, message.clone(), sent)));
        sent
    }

    pub(super) fn advance_links(&mut self) -> bool {
        let mut busy = false;
        loop {
            let Some(links) = &mut self.links else { return busy };
            let Some(output) = links.poll() else { return busy };
            busy = true;
            match output {
                peer::Output::Received { from, channel: Channel::Control, body } => {
                    self.on_message(from, &body);
                }
                peer::Output::Received { from, channel, body } => {
                    let parcel = Parcel { node: from.node, channel, body };
                    self.out.push_back(Output::Shard(ToShard::Parcel(parcel)));
                }
                peer::Output::Up(member, _) => self.on_up(member),
                peer::Output::Down(member, _) => self.on_down(member),
                peer::Output::Missed(member) => {
                    self.out.push_back(Output::Shard(ToShard::Missed(member.node)));
                }
                peer::Output::Rejected(node, kind, text) => self.on_rejected(node, kind, text),
                peer::Output::Unreachable(node, nobody_listens) => {
                    if let Stage::Member(member) = &mut self.stage
                        && nobody_listens
                    {
                        member.on_gone(self.now, node);
                    }
                }
                peer::Output::Notice(severity, text) => {
                    self.out.push_back(Output::Notice(severity, text));
                }
                output @ (peer::Output::Dial(..)
                | peer::Output::Write(..)
                | peer::Output::Close(..)) => self.out.push_back(Output::Peer(output)),
            }
        }
    }

    pub(super) fn on_shard(&mut self, said: ToControl) {
        match (said, &mut self.stage) {
            (ToControl::Parcel(Parcel { node, channel, body }), _) => {
                let now = self.now;
                let sent = match &mut self.links {
                    Some(links) => links.send(now, node, channel, body.clone()),
                    None => Err(SendError::Down),
                };
                self.marks.hit_if(sent == Err(SendError::Down), Mark::SentInVain);
                if sent.is_err() {
                    let is_full = sent == Err(SendError::Full) && channel == Channel::Forward;
                    self.marks.hit_if(is_full, Mark::LinkFull);
                    let parcel = Parcel { node, channel, body };
                    self.out.push_back(Output::Shard(ToShard::Returned(parcel)));
                } else if channel == Channel::Forward {
                    self.out.push_back(Output::Shard(ToShard::Taken(node)));
                }
            }
            (ToControl::Alter(alter), Stage::Member(member)) => member.on_alter(self.now, alter),
            (ToControl::LogEnds(ends), Stage::Member(member)) => member.on_log_ends(self.now, ends),
            (ToControl::Unclean, stage) => {
                self.uncleans += 1;
                match stage {
                    Stage::Member(member) => {
                        member.on_replica(self.now, broker::Input::Unclean);
                    }
                    Stage::Opening
                    | Stage::Fresh(_)
                    | Stage::Founding(..)
                    | Stage::Naming(..)
                    | Stage::Reopening(_)
                    | Stage::Ended => self.unclean = true,
                }
            }
            (ToControl::Request(client, request), _) => self.on_request(client, request),
            (ToControl::Left, _) => self.left = super::Left::Done,
            (ToControl::Closed(partition), Stage::Member(member)) => {
                member.on_replica(self.now, broker::Input::Closed(partition));
            }
            (ToControl::Resigned(partition, epoch), Stage::Member(member)) => {
                member.on_replica(self.now, broker::Input::Resigned(partition, epoch));
            }
            (
                ToControl::Alter(_)
                | ToControl::LogEnds(_)
                | ToControl::Closed(_)
                | ToControl::Resigned(..),
                Stage::Opening
                | Stage::Fresh(_)
                | Stage::Founding(..)
                | Stage::Naming(..)
                | Stage::Reopening(_)
                | Stage::Ended,
            ) => {}
        }
    }

    /// A node that most of the others keep refusing, and that was linked to nobody yet, has nothing to
    /// wait for. Who has a leader goes on, but for one that could elect itself and that several others
    /// take for a node of another cluster: what is written to it would be written to the wrong one.
    fn on_rejected(&mut self, node: NodeId, kind: RefusalKind, text: String) {
        let others = self.config.nodes.len() - 1;
        let has_leader = self.raft().is_some_and(|raft| raft.leader().is_some());
        let is_astray = kind == RefusalKind::OtherCluster && others > 1;
        if self.was_linked || has_leader && !is_astray {
            return;
        }
        self.rejected.insert(node);
        let since = *self.rejected_since.get_or_insert(self.now.mono);
        if self.rejected.len() > others / 2 && self.now.mono.since(since) >= REJECTED_MAX {
            self.refuse(text);
        }
    }

    pub(super) fn on_up(&mut self, member: Member) {
        self.was_linked = true;
        self.up.insert(member.node, member);
        self.out.push_back(Output::Shard(ToShard::Linked(member.node)));
        match &mut self.stage {
            Stage::Fresh(_) => {
                self.send(member.node, &Message::Fresh);
            }
            Stage::Member(membership) => membership.on_link(self.now, member, true),
            Stage::Opening
            | Stage::Founding(..)
            | Stage::Naming(..)
            | Stage::Reopening(_)
            | Stage::Ended => {}
        }
    }

    pub(super) fn on_down(&mut self, member: Member) {
        self.up.remove(&member.node);
        self.out.push_back(Output::Shard(ToShard::Unlinked(member.node)));
        match &mut self.stage {
            Stage::Fresh(founding) => {
                founding.on_down(member.node);
                self.show();
            }
            Stage::Member(membership) => membership.on_link(self.now, member, false),
            Stage::Opening
            | Stage::Founding(..)
            | Stage::Naming(..)
            | Stage::Reopening(_)
            | Stage::Ended => {}
        }
        self.lose_requests_at(member.node);
    }

    pub(super) fn on_message(&mut self, from: Member, body: &[u8]) {
        let Some(message) = Message::decode(body) else {
            let text = format!(
                "{from} has sent a control message that this version does not know: it is ignored"
            );
            self.out.push_back(Output::Notice(Severity::Warn, text));
            return;
        };
        self.out.push_back(Output::Trace(Trace::Received(from, message.clone())));
        let now = self.now;
        match (&mut self.stage, message) {
            (Stage::Fresh(founding), Message::Fresh) => {
                // Who can not be answered is not there; it will say so again.
                if self.up.get(&from.node) == Some(&from) {
                    founding.on_fresh(from);
                    self.show();
                }
            }
            (Stage::Fresh(_), Message::Join(join)) => self.on_join(join),
            (Stage::Member(member), Message::Fresh) => {
                let join = Join { cluster: member.cluster(), snapshot: member.snapshot() };
                self.send(from.node, &Message::Join(join));
            }
            (Stage::Member(member), Message::Election(m)) => member.on_election(now, from, m),
            (Stage::Member(member), Message::Broker(m)) => member.on_broker(now, from.node, m),
            (Stage::Member(member), Message::Controller(m)) => {
                member.on_controller(now, from.node, m);
            }
            (_, Message::Ask(ask)) => self.on_ask(from.node, ask),
            (_, Message::Answer(answer)) => self.on_answer(from.node, answer),
            // It comes too early or too late, and is said again if it matters.
            (
                _,
                Message::Fresh
                | Message::Join(_)
                | Message::Election(_)
                | Message::Broker(_)
                | Message::Controller(_),
            ) => {}
        }
    }

    /// Tells everyone who may be fresh how to join.
    pub(super) fn invite_all(&mut self) {
        let Stage::Member(member) = &self.stage else { return };
        let join = Join { cluster: member.cluster(), snapshot: member.snapshot() };
        let linked: Vec<NodeId> = self.up.keys().copied().collect();
        for node in linked {
            self.send(node, &Message::Join(join.clone()));
        }
    }

    pub(super) fn on_join(&mut self, join: Join) {
        let Join { cluster, snapshot } = join;
        if snapshot.voters.is_empty() || self.stop != Stop::No {
            return;
        }
        self.marks.hit(Mark::Joined);
        let stored = Stored { term: snapshot.term, vote: None, snapshot, entries: Vec::new() };
        self.begin(cluster, stored);
    }
}
