//! The sending half of a connection: replies gather in a buffer and leave in one write.
//!
//! A link is shared by the connection's [task](crate::connection), which reads, and the
//! [pump](crate::pump), which writes. The pump writes straight to the socket, for waking a task
//! costs more than the write; only when the socket takes no more does the task wait for it and go
//! on. A link without anything to send holds no buffer.
//!
//! # Invariants
//!
//! - Bytes leave in the order of the replies, whoever writes them.
//! - While a link is stuck the pump leaves the socket to the task.
//! - A dirty link is on the node's list once.
//! - The replies that a client is owed are bounded by a window of commands, which is small where its
//!   replies are large: about [`OUTPUT_BYTES_SOFT`] to come, and that much to be sent before it is
//!   read from again. A client whose replies are suddenly large and many can be owed more; it is
//!   given up when a further reply comes above [`OUTPUT_BYTES_MAX`]. A single reply may be of any
//!   length, since it was asked for.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use kvnode_core::ClientId;
use kvnode_core::limits::CLIENT_REPLIES_MAX;
use kvnode_core::reply::{Protocol, Reply};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use crate::resp;

/// See the module's header.
pub(crate) struct Link {
    id: ClientId,
    socket: OwnedWriteHalf,
    state: RefCell<State>,
}

struct State {
    /// To be sent.
    out: BytesMut,
    fate: Fate,
    /// On the node's list of links to flush.
    dirty: bool,
    /// The socket took less than all; the task waits for it.
    stuck: bool,
    /// The task waits for replies to come or to leave.
    awaited: bool,
    /// The task has whole commands that it has not handed in, and reads no more until it has.
    holds_back: bool,
    /// Replies that the shard owes: one for each command, whatever becomes of it.
    due: u32,
    /// Most replies that it may owe.
    window: u32,
    /// Bytes sent since they were last asked for.
    sent: u64,
    /// Replies, and their bytes, since the window was last adapted.
    replies: u32,
    reply_bytes: usize,
    /// Since when the client has kept us waiting: for the rest of a request or, once it sends
    /// nothing more or nothing more is taken from it, to take what it is owed.
    waiting_since: Option<Instant>,
    task: Option<Waker>,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It stays.
    Open,
    /// The client has ended its side; it is to get what it is owed.
    Ended,
    /// The client broke the protocol: nothing more is taken from it, and the shard will close it.
    Refused,
    /// It is closed once everything has been sent.
    Closing,
    /// It is broken, or has been given up.
    Dead,
}

/// What a connection's task may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Take commands from the client.
    Open,
    /// Wait to be woken.
    Wait,
    /// End: everything has been sent, or nothing more can be.
    Over,
}

impl Link {
    pub(crate) fn new(id: ClientId, socket: OwnedWriteHalf) -> Self {
        let state = State {
            out: BytesMut::new(),
            fate: Fate::Open,
            dirty: false,
            stuck: false,
            awaited: false,
            holds_back: false,
            due: 0,
            window: WINDOW_START,
            sent: 0,
            replies: 0,
            reply_bytes: 0,
            waiting_since: None,
            task: None,
        };
        Self { id, socket, state: RefCell::new(state) }
    }

    /// The client at the other end.
    pub(crate) fn id(&self) -> ClientId {
        self.id
    }

    /// Adds a reply. Returns whether the link has just become dirty.
    pub(crate) fn push(&self, protocol: Protocol, reply: &Reply, spare: &mut Buffers) -> bool {
        let state = &mut *self.state.borrow_mut();
        state.due = state.due.saturating_sub(1);
        if state.fate == Fate::Dead {
            return false;
        }
        if state.out.len() >= OUTPUT_BYTES_MAX {
            tracing::warn!(client = %self.id, "closed a client that does not read its replies");
            state.give_up();
            return false;
        }
        if state.out.capacity() == 0 {
            state.out = spare.take();
        }
        let before = state.out.len();
        resp::encode(reply, protocol, &mut state.out);
        state.replies += 1;
        state.reply_bytes += state.out.len() - before;
        !std::mem::replace(&mut state.dirty, true)
    }

    /// The shard answers a command with nothing. Returns whether the link has just become dirty.
    pub(crate) fn skip(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        state.due = state.due.saturating_sub(1);
        !std::mem::replace(&mut state.dirty, true)
    }

    /// Adds a line that the client has asked to be sent as they come. One that does not read them
    /// is closed. Returns whether the link has just become dirty.
    pub(crate) fn push_line(&self, line: &str, spare: &mut Buffers) -> bool {
        let state = &mut *self.state.borrow_mut();
        if state.fate == Fate::Dead {
            return false;
        }
        if state.out.len() + line.len() > LINES_BYTES_MAX {
            tracing::warn!(client = %self.id, "closed a monitor that does not read its lines");
            state.give_up();
            return false;
        }
        if state.out.capacity() == 0 {
            state.out = spare.take();
        }
        for part in ["+", line, "\r\n"] {
            state.out.extend_from_slice(part.as_bytes());
        }
        !std::mem::replace(&mut state.dirty, true)
    }

    /// Sends what the socket takes, and tells the task if that concerns it.
    pub(crate) fn flush(&self, spare: &mut Buffers) {
        let state = &mut *self.state.borrow_mut();
        state.dirty = false;
        if !state.stuck && state.fate != Fate::Dead {
            state.write(&self.socket, spare);
        }
        if state.stuck || state.awaited {
            state.wake();
        }
    }

    /// How many bytes were sent since this was last asked.
    pub(crate) fn take_sent(&self) -> u64 {
        std::mem::take(&mut self.state.borrow_mut().sent)
    }

    /// Closes once everything has been sent.
    pub(crate) fn close(&self) {
        let state = &mut *self.state.borrow_mut();
        if state.fate != Fate::Dead {
            state.fate = Fate::Closing;
            state.waiting_since = Some(Instant::now());
            state.wake();
        }
    }

    /// Takes nothing more from the client.
    pub(crate) fn refuse(&self) {
        let state = &mut *self.state.borrow_mut();
        if matches!(state.fate, Fate::Open | Fate::Ended) {
            state.fate = Fate::Refused;
            state.due += 1;
            state.waiting_since = Some(Instant::now());
        }
    }

    /// Closes without sending anything more.
    pub(crate) fn give_up(&self) {
        self.state.borrow_mut().give_up();
    }

    /// Notices that the client has ended its side or is gone, which the task does not see while it
    /// does not read. Who has ended its side may read on, and looks the same as who has closed: it
    /// keeps its place for the request timeout, whatever it waits for.
    pub(crate) fn notice_end(&self) {
        if self.state.borrow().is_reading() {
            return;
        }
        let ready = pin!(self.socket.ready(Interest::READABLE | Interest::WRITABLE));
        match ready.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(ready)) if ready.is_write_closed() => self.give_up(),
            Poll::Ready(Ok(ready)) if ready.is_read_closed() => self.end(),
            Poll::Ready(_) | Poll::Pending => {}
        }
    }

    /// Lets the task look again.
    pub(crate) fn wake(&self) {
        self.state.borrow().wake();
    }

    /// Whether the client has kept us waiting for `patience`, and is then to be refused (it owes
    /// the rest of a request) or given up (it does not take its last replies).
    pub(crate) fn overdue(&self, now: Instant, patience: Duration) -> Option<Overdue> {
        let state = self.state.borrow();
        let since = state.waiting_since?;
        if now.saturating_duration_since(since) < patience {
            return None;
        }
        match state.fate {
            Fate::Open => Some(Overdue::Request),
            Fate::Ended | Fate::Refused | Fate::Closing => Some(Overdue::Replies),
            Fate::Dead => None,
        }
    }
}

/// What a client has kept us waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// The rest of a request.
    Request,
    /// That it takes its last replies.
    Replies,
}

/// For the connection's task.
impl Link {
    /// The task runs: goes on sending what the socket did not take, and tells what else is to do.
    pub(crate) fn poll_standing(&self, cx: &mut Context<'_>, spare: &mut Buffers) -> Standing {
        let state = &mut *self.state.borrow_mut();
        if !state.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            state.task = Some(cx.waker().clone());
        }
        while state.stuck && state.fate != Fate::Dead {
            let socket: &TcpStream = self.socket.as_ref();
            match socket.poll_write_ready(cx) {
                Poll::Ready(Ok(())) => state.write(&self.socket, spare),
                Poll::Ready(Err(_)) => state.give_up(),
                Poll::Pending => break,
            }
        }
        let standing = match state.fate {
            Fate::Open | Fate::Ended if state.out.len() > OUTPUT_BYTES_SOFT => Standing::Wait,
            Fate::Open | Fate::Ended => Standing::Open,
            Fate::Closing if state.out.is_empty() => Standing::Over,
            Fate::Refused | Fate::Closing => Standing::Wait,
            Fate::Dead => Standing::Over,
        };
        state.awaited = standing == Standing::Wait;
        standing
    }

    /// How many commands the task may hand in now. If none, it is woken when replies have left.
    pub(crate) fn room(&self) -> u32 {
        let state = &mut *self.state.borrow_mut();
        state.adapt_window();
        let room = state.window.saturating_sub(state.due);
        state.awaited |= room == 0;
        room
    }

    /// The task handed in so many commands, and has `rest` bytes of a further one or holds whole
    /// ones back.
    pub(crate) fn handed_in(&self, commands: u32, rest: usize, holds_back: bool) {
        let state = &mut *self.state.borrow_mut();
        state.due += commands;
        state.holds_back = holds_back;
        if state.fate == Fate::Open {
            state.waiting_since = (rest > 0).then(Instant::now);
        } else if commands > 0 {
            // Until now it was the client that waited for us.
            state.waiting_since = Some(Instant::now());
        }
    }

    /// The client has ended its side.
    pub(crate) fn end(&self) {
        let state = &mut *self.state.borrow_mut();
        if state.fate == Fate::Open {
            state.fate = Fate::Ended;
            state.waiting_since = Some(Instant::now());
        }
    }

    /// Whether the client has got all that it is owed; if not, the task is woken when more of it
    /// has left.
    pub(crate) fn settled(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        state.awaited = state.due > 0 || !state.out.is_empty();
        !state.awaited
    }

    /// Whether the connection is closed from this side.
    pub(crate) fn closing(&self) -> bool {
        self.state.borrow().fate == Fate::Closing
    }
}

impl State {
    /// Whether the task sees what the client does.
    fn is_reading(&self) -> bool {
        !self.holds_back && !self.awaited
    }

    /// Doubles the window while replies are small, and halves it or more when they are not.
    fn adapt_window(&mut self) {
        if self.replies == 0 {
            return;
        }
        let average = (self.reply_bytes / self.replies as usize).max(1);
        let fits = u32::try_from(OUTPUT_BYTES_SOFT / average).unwrap_or(u32::MAX);
        self.window = (self.window * 2).min(fits).clamp(1, WINDOW_MAX);
        (self.replies, self.reply_bytes) = (0, 0);
    }

    /// Writes until all is gone or the socket takes no more.
    fn write(&mut self, socket: &OwnedWriteHalf, spare: &mut Buffers) {
        self.stuck = false;
        while !self.out.is_empty() {
            match socket.try_write(&self.out) {
                Ok(sent) if sent == self.out.len() => {
                    self.sent += sent as u64;
                    return spare.give_back(std::mem::take(&mut self.out));
                }
                Ok(sent) => {
                    self.sent += sent as u64;
                    self.out.advance(sent);
                    if self.fate != Fate::Open {
                        self.waiting_since = Some(Instant::now());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stuck = true;
                    return;
                }
                Err(_) => return self.give_up(),
            }
        }
    }

    fn give_up(&mut self) {
        self.fate = Fate::Dead;
        self.out = BytesMut::new();
        self.wake();
    }

    fn wake(&self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }
}

/// Output buffers between uses, so that a reply does not cost an allocation.
#[derive(Default)]
pub(crate) struct Buffers(Vec<BytesMut>);

impl Buffers {
    fn take(&mut self) -> BytesMut {
        self.0.pop().unwrap_or_else(|| BytesMut::with_capacity(BUFFER_BYTES))
    }

    fn give_back(&mut self, mut buffer: BytesMut) {
        if self.0.len() < BUFFERS_KEPT && buffer.capacity() <= BUFFER_BYTES_KEPT {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

/// Bytes of replies to be sent above which a client is not read from.
const OUTPUT_BYTES_SOFT: usize = 1 << 20;

/// Bytes of replies to be sent at which a further reply ends the connection.
const OUTPUT_BYTES_MAX: usize = 256 << 20;

/// Bytes that wait for a client above which a further line for a monitor ends its connection.
const LINES_BYTES_MAX: usize = 8 << 20;

/// Commands that a new client may hand in before their replies have come.
const WINDOW_START: u32 = 64;

/// Most commands that any client may.
const WINDOW_MAX: u32 = 1024;

/// What a new buffer holds without growing.
const BUFFER_BYTES: usize = 4 << 10;

/// Largest buffer kept for later.
const BUFFER_BYTES_KEPT: usize = 64 << 10;

/// Buffers kept for later.
const BUFFERS_KEPT: usize = 256;

const _: () = assert!(OUTPUT_BYTES_SOFT < OUTPUT_BYTES_MAX);
// Or the window would never open fully.
const _: () = assert!(WINDOW_MAX as usize <= CLIENT_REPLIES_MAX);
