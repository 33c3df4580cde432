//! The reading half of a connection: one task that turns bytes into the shard's inputs.
//!
//! When the socket is readable the task reads once, parses in place, and hands each command to the
//! shard; it never waits for an answer. What the commands led to is the [pump](crate::pump)'s to
//! do, which runs after all tasks that were ready, so that one write and one fsync serve them all.
//!
//! ```text
//! socket ─► the node's scratch ─► parser ─► Input::Command ─► shard
//!                │  a rest: part of a request,     │
//!                ▼  or what the shard does not     ▼ over: Input::Malformed
//!            own buffer     accept yet
//! ```
//!
//! # Limits
//!
//! - The own buffer grows with the bytes that arrive and exists only while there is a rest. Nothing
//!   is read while the rest holds a whole command.
//! - Nothing is read or handed in while the client has much to read; see [`link`](crate::link).
//! - A rest that is part of a request and stays so for the request timeout is refused; see
//!   [`Node::refuse_overdue`], which also notices clients that go while they are not read from.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use kvnode_core::kv;
use kvnode_core::shard::{Input, Shard};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use crate::clock;
use crate::link::{Link, Standing};
use crate::node::Node;
use crate::resp::{Parsed, Parser};

/// A connection's task.
pub(crate) struct Connection {
    node: Rc<Node>,
    link: Rc<Link>,
    socket: OwnedReadHalf,
    parser: Parser,
    /// What was read and not handed in.
    rest: BytesMut,
    /// The rest may hold a whole command.
    parse_rest: bool,
    /// The rest is a command whose key is being looked up.
    warmed: bool,
    /// All that the client has sent was read, and it has ended its side.
    ended: bool,
}

/// How far parsing got.
enum Fed {
    /// More must be read.
    Hungry,
    /// No more is taken for now; the shard, or the link, will tell when it is.
    Blocked,
    /// It is the others' turn.
    Yielded,
    /// The client broke the protocol.
    Refused,
}

impl Connection {
    pub(crate) fn new(node: Rc<Node>, link: Rc<Link>, socket: OwnedReadHalf) -> Self {
        let (parser, rest) = (Parser::default(), BytesMut::new());
        Self { node, link, socket, parser, rest, parse_rest: false, warmed: false, ended: false }
    }

    /// Serves the client until either side ends it.
    pub(crate) async fn run(mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
        let Self { node, link, socket, .. } = self;
        node.disconnected(&link);
        let closing = link.closing();
        // Ends our side of the socket, once the pump has let go of it too.
        drop(link);
        if closing {
            linger(socket, if node.stopping() { LINGER_AT_STOP } else { LINGER }).await;
        }
        node.left();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let standing = self.link.poll_standing(cx, &mut self.node.spare());
            self.node.count_sent(&self.link);
            if standing == Standing::Over {
                return Poll::Ready(());
            }
            if standing == Standing::Wait || self.node.stopping() {
                return Poll::Pending;
            }
            if self.parse_rest {
                match self.feed_rest() {
                    Fed::Hungry => {}
                    Fed::Blocked | Fed::Refused => return Poll::Pending,
                    Fed::Yielded => return yielded(cx),
                }
            }
            if self.ended {
                return if self.link.settled() { Poll::Ready(()) } else { Poll::Pending };
            }
            match ready!(self.poll_read(cx)) {
                Fed::Hungry => {}
                Fed::Blocked | Fed::Refused => return Poll::Pending,
                Fed::Yielded => return yielded(cx),
            }
        }
    }

    /// Reads once and hands in what it gave.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Fed> {
        let node = Rc::clone(&self.node);
        let mut scratch = node.scratch();
        let mut buffer = ReadBuf::new(&mut scratch);
        if ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer)).is_err() {
            self.link.give_up();
            return Poll::Ready(Fed::Hungry);
        }
        let full = buffer.remaining() == 0;
        let read = buffer.filled();
        if read.is_empty() {
            self.ended = true;
            self.link.end();
            return Poll::Ready(Fed::Hungry);
        }
        node.shard().note_received(read.len() as u64);
        let fed = if self.rest.is_empty() {
            let (fed, consumed) = self.feed(read);
            self.keep(&read[consumed..]);
            fed
        } else {
            self.rest.extend_from_slice(read);
            self.feed_rest()
        };
        // A full buffer says that there is more, which the others need not wait for.
        Poll::Ready(if full && matches!(fed, Fed::Hungry) { Fed::Yielded } else { fed })
    }

    fn feed_rest(&mut self) -> Fed {
        let mut rest = std::mem::take(&mut self.rest);
        let (fed, consumed) = self.feed(&rest);
        if consumed == rest.len() {
            return fed;
        }
        rest.advance(consumed);
        if rest.capacity() > REST_BYTES_KEPT && rest.len() < rest.capacity() / 4 {
            // What a huge command took is not kept for a small one.
            self.keep(&rest);
        } else {
            self.rest = rest;
        }
        fed
    }

    fn keep(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.rest = BytesMut::from(rest);
        }
    }

    /// Hands in the commands of `bytes`, and tells how far it came and how many bytes they took.
    fn feed(&mut self, bytes: &[u8]) -> (Fed, usize) {
        let id = self.link.id();
        // After the bytes were read, so that no command runs at a time before it was sent.
        let now = clock::now();
        let mut shard = self.node.shard();
        let room = self.link.room();
        let (mut at, mut commands) = (0, 0);
        let mut warm_to = if std::mem::take(&mut self.warmed) { bytes.len() } else { 0 };
        let fed = loop {
            if commands == room {
                break if room == 0 { Fed::Blocked } else { Fed::Yielded };
            }
            // A command that comes in parts is not gone through from its start again and again.
            if at >= warm_to && at < bytes.len() && !self.parser.is_midway() {
                warm_to = at + warm(&shard, &bytes[at..]);
            }
            if at < bytes.len() && !shard.accepts(id) {
                break Fed::Blocked;
            }
            let unread = &bytes[at..];
            self.parser.set_stranger(shard.is_stranger(id));
            match self.parser.next(unread) {
                Parsed::Command { consumed } => {
                    shard.handle(now, Input::Command(id, &self.parser.args(unread)));
                    let done = clock::monotonic();
                    if shard.evaluated(id, done) {
                        shard.note_slow(id, &self.parser.args(unread), done);
                    }
                    at += consumed;
                    commands += 1;
                }
                Parsed::Skipped { consumed } => at += consumed,
                Parsed::Incomplete { .. } => break Fed::Hungry,
                Parsed::Malformed(malformed) => {
                    self.link.refuse();
                    shard.handle(now, Input::Malformed(id, malformed.reply()));
                    break Fed::Refused;
                }
            }
        };
        self.parse_rest = !matches!(fed, Fed::Hungry);
        let part = if self.parse_rest { 0 } else { bytes.len() - at };
        if part > 0 {
            shard.heard_from(id, now.mono);
        }
        self.link.handed_in(commands, part, self.parse_rest);
        self.node.wake_pump();
        (fed, at)
    }
}

/// The key that the command just found reads, as far as can be told at a glance.
fn read_key<'b>(parser: &Parser, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let [name, key] = parser.first_two(bytes)?;
    let reads = kv::find(name).is_some_and(|command| command.flags.has(kv::Flags::READONLY));
    reads.then_some(key)
}

/// Has the shard fetch what the next few commands read, and tells how many bytes they take.
fn warm(shard: &Shard, bytes: &[u8]) -> usize {
    let mut parser = Parser::default();
    let mut keys: [&[u8]; WARM_COMMANDS] = [&[]; WARM_COMMANDS];
    let (mut at, mut count) = (0, 0);
    for _ in 0..WARM_COMMANDS {
        let Parsed::Command { consumed } = parser.next(&bytes[at..]) else { break };
        if let Some(key) = read_key(&parser, &bytes[at..]) {
            keys[count] = key;
            count += 1;
        }
        at += consumed;
    }
    if count > 1 {
        shard.warm(&keys[..count]);
    }
    at.max(1)
}

/// Goes to the back of the queue of tasks, behind the pump.
fn yielded(cx: &mut Context<'_>) -> Poll<()> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Reads what the client still sends, and forgets it. Closing at once would answer that with a
/// reset, which could overtake the last reply.
async fn linger(socket: OwnedReadHalf, patience: Duration) {
    let discard = async {
        // On the heap, since every connection's task is as large as the largest thing in it.
        let (mut buffer, mut left) = (vec![0; 4096], LINGER_BYTES_MAX);
        while left > 0 && socket.readable().await.is_ok() {
            match socket.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    // Whoever goes on sending beyond that gets the reset.
    let _ = tokio::time::timeout(patience, discard).await;
}

/// Commands whose keys are looked up ahead.
const WARM_COMMANDS: usize = 16;

/// Largest buffer kept for a small rest.
const REST_BYTES_KEPT: usize = 64 << 10;

/// How long, and how much, a client that is closed may go on sending.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_AT_STOP: Duration = Duration::from_millis(100);
const LINGER_BYTES_MAX: usize = 16 << 20;
