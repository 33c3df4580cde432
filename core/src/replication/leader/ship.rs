//! What a leader sends to its followers, and what they answer.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::super::ignored::Ignored;
use super::super::message::{Message, Round};
use super::progress::Session;
use super::{Leader, Output};
use crate::shard::Severity;
use crate::{Instant, NodeId, Offset};

impl Leader {
    pub(super) fn on_ack(
        &mut self,
        from: NodeId,
        round: Round,
        (beat, sent): (u64, Instant),
        (end, stored): (Offset, Offset),
    ) {
        let (now, leader_end) = (self.now, self.log.end);
        let Some(session) = self.session_mut(from).filter(|session| session.round == round) else {
            return self.ignore(from, Ignored::OldRound);
        };
        if session.said.is_none_or(|said| sent > said) || beat > session.beat_said {
            return self.ignore(from, Ignored::Absurd);
        }
        if end > stored {
            return self.ignore(from, Ignored::Absurd);
        }
        if stored > session.next {
            return self.ignore(from, Ignored::AckBeyondSent);
        }
        let is_old = session.acked.is_some_and(|acked| end < acked)
            || session.beat_heard.is_some_and(|heard| beat < heard)
            || session.promised.is_some_and(|promised| sent < promised);
        if is_old {
            return self.ignore(from, Ignored::Overtaken);
        }
        session.acknowledge(end, stored);
        session.beat_heard = Some(beat);
        session.promised = Some(sent);
        self.progress_mut(from).note_caught_up(now, leader_end);
    }

    /// Says something to every follower that is due to hear it.
    pub(super) fn say_all(&mut self) {
        let is_due = |(node, session): &(NodeId, &Session)| {
            self.owes_beat(*node) || self.beat_due_of(session) <= self.now
        };
        let due: Vec<NodeId> = self.open_sessions().filter(is_due).map(|(node, _)| node).collect();
        for node in due {
            self.beat(node);
        }
    }

    /// Sends a beat to every follower.
    pub(super) fn beat_all(&mut self) {
        let nodes: Vec<NodeId> = self.open_sessions().map(|(node, _)| node).collect();
        nodes.into_iter().for_each(|node| self.beat(node));
    }

    /// Sends a beat: nothing new of the log, but the watermark, and a question whether it is there.
    pub(super) fn beat(&mut self, node: NodeId) {
        let next = self.session_mut(node).expect("it has a session").next;
        let message = self.append(node, next, next, Bytes::new());
        self.out.push_back(Output::Send(node, message));
    }

    /// Asks for the next chunk for every follower that has room for one.
    pub(super) fn ship_all(&mut self) {
        let nodes: Vec<NodeId> = self.open_sessions().map(|(node, _)| node).collect();
        let (now, end, settings) = (self.now, self.log.end, self.settings);
        for node in nodes {
            let session = self.session_mut(node).expect("it has a session");
            let waits = session.ship_again.is_some_and(|again| now < again);
            let room = session.has_room(settings.inflight_chunks, settings.inflight_bytes);
            if session.next < end && !session.reading && !waits && room {
                session.reading = true;
                session.ship_again = None;
                let (round, from) = (session.round, session.next);
                let bytes = settings.chunk_bytes;
                self.out.push_back(Output::Ship { to: node, round, from, bytes });
            }
        }
    }

    pub(super) fn take_chunk(
        &mut self,
        to: NodeId,
        round: Round,
        base: Offset,
        end: Offset,
        records: Bytes,
    ) -> Option<Message> {
        let session = self.session_mut(to)?;
        if session.round != round || !session.reading || session.next != base {
            return None;
        }
        assert!(end > base && !records.is_empty(), "a chunk holds something");
        session.chunk_sent(end, records.len());
        self.log.end = self.log.end.max(end);
        Some(self.append(to, base, end, records))
    }

    fn append(&mut self, to: NodeId, base: Offset, end: Offset, records: Bytes) -> Message {
        let (now, beat, watermark) = (self.now, self.present_beat(), self.watermark);
        let session = self.session_mut(to).expect("it has a session");
        session.said = Some(now);
        session.beat_said = beat;
        Message::Append { round: session.round, beat, sent: now, base, end, watermark, records }
    }

    fn open_sessions(&self) -> impl Iterator<Item = (NodeId, &Session)> {
        let sessions = self.followers.iter().filter_map(|(&node, progress)| {
            progress.session.as_ref().map(|session| (node, session))
        });
        sessions.filter(|(_, session)| session.is_open())
    }

    fn beat_due_of(&self, session: &Session) -> Instant {
        session.said.map_or(self.now, |said| said.after(self.settings.beat_every))
    }

    pub(super) fn beat_due(&self) -> Option<Instant> {
        self.open_sessions().map(|(_, session)| self.beat_due_of(session)).min()
    }

    pub(super) fn ship_due(&self) -> Option<Instant> {
        self.open_sessions().filter_map(|(_, session)| session.ship_again).min()
    }

    pub(super) fn notice(&mut self, severity: Severity, what: fmt::Arguments<'_>) {
        let text = alloc::format!("{} {}: {what}", self.partition, self.epoch);
        self.out.push_back(Output::Notice(severity, text));
    }
}
