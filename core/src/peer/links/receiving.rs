//! Accepted connections: strangers, the Hello, and what peers send.

use alloc::format;
use alloc::string::{String, ToString};

use bytes::Bytes;

use super::Links;
use crate::limits::PEER_STRANGERS_MAX;
use crate::peer::acceptor::Accepted;
use crate::peer::frame::{Allowed, Channel, Frame};
use crate::peer::handshake::{Refusal, RefusalKind, Why};
use crate::peer::message::{Hello, MAGIC, Message};
use crate::peer::{ConnId, DownWhy, Output};
use crate::shard::Severity;
use crate::{Instant, NodeId};

impl Links {
    pub(super) fn on_accepted(&mut self, now: Instant, conn: ConnId) {
        assert!(matches!(conn, ConnId::Accepted(_)), "{conn} was dialled");
        let strangers = || self.accepted.iter().filter(|(_, a)| a.hello.is_none());
        if strangers().count() >= PEER_STRANGERS_MAX {
            let oldest = strangers().map(|(&conn, _)| conn).min();
            self.close_accepted(oldest.expect("there are some"));
        }
        let before = self.accepted.insert(conn, Accepted::new(conn, now));
        assert!(before.is_none(), "{conn} was accepted twice");
    }

    pub(super) fn on_bytes(&mut self, now: Instant, conn: ConnId, bytes: Bytes) {
        let Some(connection) = self.accepted.get_mut(&conn) else { return };
        connection.on_bytes(now, bytes);
        // A wrong frame ends the connection.
        while let Some(connection) = self.accepted.get_mut(&conn) {
            let known = connection.hello.is_some();
            match connection.decoder.next(if known { Allowed::All } else { Allowed::Link }) {
                Ok(None) => return,
                Ok(Some(frame)) if frame.channel == Channel::Link => {
                    self.on_message(now, conn, &frame.body);
                }
                Ok(Some(frame)) => self.received(conn, frame),
                Err(error) => self.turn_away_wrong(conn, &error.to_string()),
            }
        }
    }

    fn received(&mut self, conn: ConnId, frame: Frame) {
        let hello = self.accepted[&conn].hello.as_ref().expect("strangers have no such channel");
        let from = hello.member;
        let peer = self.peers.get_mut(&from.node).expect("the connection of a peer");
        peer.received.count(frame.wire_bytes());
        self.out.push_back(Output::Received { from, channel: frame.channel, body: frame.body });
    }

    fn on_message(&mut self, now: Instant, conn: ConnId, body: &[u8]) {
        let known = self.accepted[&conn].hello.is_some();
        match Message::decode(body) {
            Some(Message::Hello(hello)) if !known && hello.magic == MAGIC => {
                self.on_hello(now, conn, hello);
            }
            Some(Message::Ping(number)) if known => {
                let (mut cx, _, accepted) = self.parts(now);
                if let Some(connection) = accepted.get_mut(&conn) {
                    connection.on_ping(&mut cx, number);
                }
            }
            // Of a later release.
            None if known => {}
            None => self.turn_away_wrong(conn, "a message that is no handshake"),
            Some(
                message @ (Message::Hello(_)
                | Message::Welcome(_)
                | Message::Refused(_)
                | Message::Ping(_)
                | Message::Pong(_)),
            ) => self.turn_away_wrong(conn, &format!("a {} out of place", message.name())),
        }
    }

    fn on_hello(&mut self, now: Instant, conn: ConnId, hello: Hello) {
        let (node, nonce) = (hello.member.node, hello.nonce);
        let answer = self.me.answer(&hello, self.peers.contains_key(&node));
        let welcome = match answer {
            Ok(_) if self.two_processes(now, &hello) => {
                let one = self.receiver_hello(node).map_or(hello.member, |hello| hello.member);
                let directories = [one.directory, hello.member.directory];
                let acceptor = self.me.member.node;
                let why = Why::DuplicateId { directories };
                return self.refuse(now, conn, &Refusal { dialler: node, acceptor, why });
            }
            Ok(welcome) => welcome,
            Err(refusal) => return self.refuse(now, conn, &refusal),
        };
        self.turned_away.retain(|(who, _)| *who != Some(node));
        let peer = self.peers.get_mut(&node).expect("it is listed");
        if let Some(earlier) = peer.receiver.replace(conn) {
            peer.lose(&self.accepted.remove(&earlier).expect("a receiver's connection stands"));
            self.out.push_back(Output::Close(earlier));
        }
        // Of a link that was down since, nothing is waited for.
        let missed = peer.missed.take();
        if missed.is_some() && missed == peer.dialler.up().map(|up| up.conn) {
            self.out.push_back(Output::Missed(hello.member));
        }
        let (mut cx, peers, accepted) = self.parts(now);
        let dialler = &mut peers.get_mut(&node).expect("it is listed").dialler;
        let connection = accepted.get_mut(&conn).expect("the Hello came on it");
        connection.welcome(&mut cx, hello, welcome);
        if dialler.peer().is_some_and(|(_, known)| known != nonce) {
            dialler.down(&mut cx, DownWhy::Replaced, true);
        }
        dialler.wake(now);
    }

    /// Whether the Hello comes from another process than the one that is being heard as this node:
    /// then both live. A peer that lives says something at least as often as it pings.
    fn two_processes(&self, now: Instant, hello: &Hello) -> bool {
        let Some(peer) = self.peers.get(&hello.member.node) else { return false };
        let heard = peer.receiver.and_then(|conn| self.accepted.get(&conn)).map(Accepted::heard);
        self.receiver_hello(hello.member.node).is_some_and(|other| other.nonce != hello.nonce)
            && heard.is_some_and(|heard| now.since(heard) < self.settings.ping_after * 2)
    }

    fn receiver_hello(&self, node: NodeId) -> Option<&Hello> {
        let conn = self.peers.get(&node)?.receiver?;
        self.accepted.get(&conn)?.hello.as_ref()
    }

    fn refuse(&mut self, now: Instant, conn: ConnId, refusal: &Refusal) {
        let who = (Some(refusal.dialler), Some(refusal.kind()));
        self.tell_once(who, format!("refused a link from {}: {refusal}", refusal.dialler));
        let body = Message::Refused(refusal.message()).encode();
        let (mut cx, ..) = self.parts(now);
        cx.write(conn, Channel::Link, body);
        self.close_accepted(conn);
    }

    /// What came is not of our protocol, or damaged.
    fn turn_away_wrong(&mut self, conn: ConnId, what: &str) {
        let hello = self.accepted.get(&conn).and_then(|accepted| accepted.hello.as_ref());
        match hello.map(|hello| hello.member.node) {
            Some(node) => {
                let text = format!("closed the connection from {node}, which sent {what}");
                self.out.push_back(Output::Notice(Severity::Warn, text));
            }
            None => {
                let text = format!(
                    "closed a connection to the address for peers, which sent {what}: clients are \
                     served at the other address"
                );
                self.tell_once((None, None), text);
            }
        }
        self.close_accepted(conn);
    }

    fn tell_once(&mut self, who: (Option<NodeId>, Option<RefusalKind>), text: String) {
        if self.turned_away.contains(&who) {
            return;
        }
        if self.turned_away.len() == TURNED_AWAY_MAX {
            self.turned_away.pop_front();
        }
        self.turned_away.push_back(who);
        self.out.push_back(Output::Notice(Severity::Warn, text));
    }

    pub(super) fn close_accepted(&mut self, conn: ConnId) {
        self.forget_accepted(conn);
        self.out.push_back(Output::Close(conn));
    }

    pub(super) fn forget_accepted(&mut self, conn: ConnId) {
        let Some(accepted) = self.accepted.remove(&conn) else { return };
        let node = accepted.hello.as_ref().map(|hello| hello.member.node);
        if let Some(peer) = node.and_then(|node| self.peers.get_mut(&node))
            && peer.receiver == Some(conn)
        {
            peer.receiver = None;
            peer.lose(&accepted);
        }
    }
}

/// Refusals that are remembered as told.
const TURNED_AWAY_MAX: usize = 64;
