//! The sockets of the links between nodes. [`Links`](kvnode_core::peer::Links) decides; here its
//! outputs become connections, reads and writes, and what happens to them becomes its inputs.
//!
//! ```text
//! listener ─► accept task ─────────┐
//!                                  ▼
//! socket ──► task of a connection ─► one bounded queue ─► Sockets::next ─► Input ─► Links
//!   ▲                                                                                 │
//!   └──────────────────────── Sockets::flush ◄──── Sockets::perform ◄──── Output ◄────┘
//! ```
//!
//! What is to be written goes straight to the socket, since waking a task costs more than the write;
//! only when the socket takes no more does the connection's task wait for it.
//!
//! The owner's loop is
//!
//! ```text
//! input = sockets.next(), or Tick at links.deadline()
//! links.handle(clock::now(), input)
//! while let Some(output) = links.poll() {
//!     if let Some(output) = sockets.perform(output) { … the owner's own … }
//! }
//! sockets.flush(), if there is something else to do before sockets.next()
//! ```
//!
//! # Limits
//!
//! - A connection reads at most [`READ_BYTES`] at a time, and not again before there is room in the
//!   queue of events, so that an owner that falls behind holds up its peers.
//! - What waits to be written is bounded by the machine, to which [`Input::Sent`] tells what the
//!   system has taken.
//! - A connection that is closed gets [`LAST_WORDS`] to send what was written before.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use kvnode_core::peer::{ConnId, DialError, Input, Output};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use crate::node::Bomb;
use crate::server::listen;

/// All peer connections of a node. Lives on a tokio runtime of one thread or more; its tasks end
/// when it is dropped.
#[derive(Debug)]
pub struct Sockets {
    address: SocketAddr,
    connections: HashMap<ConnId, Connection, foldhash::fast::RandomState>,
    last_accepted: u64,
    events: Receiver<Event>,
    /// For the tasks of new connections.
    sender: Sender<Event>,
    /// Connections with something to be written.
    dirty: Vec<ConnId>,
    /// What the system has taken, for the owner.
    taken: VecDeque<(ConnId, usize)>,
}

/// The owner's end of a connection's task.
#[derive(Debug)]
struct Connection {
    /// None while it is dialled.
    stream: Option<Arc<TcpStream>>,
    /// To be written.
    out: VecDeque<Bytes>,
    /// It is on the list of those to be written to.
    dirty: bool,
    /// The socket took less than all; the task waits for it.
    stuck: bool,
    /// Tells the task to wait for the socket.
    full: Arc<Notify>,
    /// Takes what is still to be written when the connection is closed.
    closing: oneshot::Sender<VecDeque<Bytes>>,
}

/// The task's end.
#[derive(Debug)]
struct Task {
    conn: ConnId,
    full: Arc<Notify>,
    closing: oneshot::Receiver<VecDeque<Bytes>>,
    events: Sender<Event>,
}

#[derive(Debug)]
enum Event {
    Accepted(TcpStream),
    Dialled(ConnId, Arc<TcpStream>),
    /// The socket takes something again.
    Writable(ConnId),
    Input(Input),
}

/// The tasks' receiver is gone, and with it everyone who could be told.
struct Abandoned;

impl Sockets {
    /// Listens for peers. Port 0 takes a free one.
    ///
    /// # Errors
    /// What the system says against listening there.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let (sender, events) = channel(EVENTS_MAX);
        tokio::spawn(guarded(accept(listener, sender.clone())));
        Ok(Self {
            address,
            connections: HashMap::default(),
            last_accepted: 0,
            events,
            sender,
            dirty: Vec::new(),
            taken: VecDeque::new(),
        })
    }

    /// Where peers are listened for.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// The next event. Nothing is lost if the call is given up.
    pub async fn next(&mut self) -> Input {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same for a loop that waits for other things as well.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        self.flush();
        loop {
            if let Some((conn, count)) = self.taken.pop_front() {
                return Poll::Ready(Input::Sent(conn, count));
            }
            let event = ready!(self.events.poll_recv(cx));
            match event.expect("its own sender keeps the queue open") {
                Event::Accepted(stream) => return Poll::Ready(self.accepted(stream)),
                Event::Dialled(conn, stream) => {
                    // One that was given up in the meantime is closed by being dropped.
                    if let Some(connection) = self.connections.get_mut(&conn) {
                        connection.stream = Some(stream);
                        self.write_to(conn);
                        return Poll::Ready(Input::Dialled(conn));
                    }
                }
                Event::Writable(conn) => {
                    if let Some(connection) = self.connections.get_mut(&conn) {
                        connection.stuck = false;
                        self.write_to(conn);
                    }
                }
                Event::Input(input) => {
                    if let Input::Closed(conn) | Input::DialFailed { conn, .. } = input {
                        self.connections.remove(&conn);
                    }
                    return Poll::Ready(input);
                }
            }
        }
    }

    /// Does what the links want done with connections, and hands back what is for their owner.
    pub fn perform(&mut self, output: Output) -> Option<Output> {
        match output {
            Output::Dial(conn, _, address) => self.dial(conn, address),
            Output::Write(conn, bytes) => self.write(conn, bytes),
            Output::Close(conn) => self.close(conn),
            other @ (Output::Received { .. }
            | Output::Up(..)
            | Output::Down(..)
            | Output::Missed(..)
            | Output::Rejected(..)
            | Output::Unreachable(..)
            | Output::Notice(..)) => return Some(other),
        }
        None
    }

    /// Connects to `address` (`host:port`); [`Input::Dialled`] or [`Input::DialFailed`] follows.
    pub fn dial(&mut self, conn: ConnId, address: String) {
        let task = self.task(conn, None);
        tokio::spawn(guarded(dial(task, address)));
    }

    /// Has `bytes` written by the next [`flush`](Self::flush), unless the connection is closed.
    pub fn write(&mut self, conn: ConnId, bytes: Bytes) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.out.push_back(bytes);
            if !std::mem::replace(&mut connection.dirty, true) {
                self.dirty.push(conn);
            }
        }
    }

    /// Writes what the sockets take. What they do not take follows once they do.
    pub fn flush(&mut self) {
        while let Some(conn) = self.dirty.pop() {
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.dirty = false;
                self.write_to(conn);
            }
        }
    }

    fn write_to(&mut self, conn: ConnId) {
        let count = self.connections.get_mut(&conn).map_or(0, Connection::write);
        if count > 0 {
            self.taken.push_back((conn, count));
        }
    }

    /// Closes once everything has been written, or gives up a dial.
    pub fn close(&mut self, conn: ConnId) {
        if let Some(mut connection) = self.connections.remove(&conn) {
            connection.write();
            // A task that has ended has nothing to write to.
            let _ = connection.closing.send(connection.out);
        }
    }

    fn accepted(&mut self, stream: TcpStream) -> Input {
        self.last_accepted += 1;
        let conn = ConnId::Accepted(self.last_accepted);
        let stream = Arc::new(stream);
        let task = self.task(conn, Some(Arc::clone(&stream)));
        tokio::spawn(guarded(carry(task, stream)));
        Input::Accepted(conn)
    }

    fn task(&mut self, conn: ConnId, stream: Option<Arc<TcpStream>>) -> Task {
        let (closing, closed) = oneshot::channel();
        let full = Arc::new(Notify::new());
        let connection = Connection {
            stream,
            out: VecDeque::new(),
            dirty: false,
            stuck: false,
            full: Arc::clone(&full),
            closing,
        };
        let before = self.connections.insert(conn, connection);
        assert!(before.is_none(), "{conn} exists already");
        Task { conn, full, closing: closed, events: self.sender.clone() }
    }
}

impl Connection {
    /// Writes what the socket takes; how many bytes.
    fn write(&mut self) -> usize {
        let Some(stream) = self.stream.as_ref().filter(|_| !self.stuck) else { return 0 };
        let mut written = 0;
        while !self.out.is_empty() {
            match try_write(stream, &mut self.out) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stuck = true;
                    self.full.notify_one();
                    break;
                }
                Err(_) => {
                    // The task reads the end of it, and reports that.
                    let _ = SockRef::from(&**stream).shutdown(Shutdown::Both);
                    self.out.clear();
                }
            }
        }
        written
    }
}

impl Task {
    async fn tell(&self, input: Input) -> Result<(), Abandoned> {
        tell(&self.events, input).await
    }
}

async fn tell(events: &Sender<Event>, input: Input) -> Result<(), Abandoned> {
    events.send(Event::Input(input)).await.map_err(|_| Abandoned)
}

/// Lets peers in. The machine judges them.
async fn accept(listener: TcpListener, events: Sender<Event>) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = events.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                failing = false;
                if events.send(Event::Accepted(stream)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!("cannot accept connections of peers for now: {error}");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A dialled connection's life.
async fn dial(mut task: Task, address: String) {
    let connected = tokio::select! {
        biased;
        _ = &mut task.closing => return,
        connected = connect(&address) => connected,
    };
    let conn = task.conn;
    match connected {
        Ok(stream) => {
            let stream = Arc::new(stream);
            let dialled = Event::Dialled(conn, Arc::clone(&stream));
            if task.events.send(dialled).await.is_ok() {
                carry(task, stream).await;
            }
        }
        Err(error) => {
            let _: Result<(), Abandoned> = task.tell(Input::DialFailed { conn, error }).await;
        }
    }
}

/// Dials all addresses of a name at once, and takes the first that answers: one that does not must
/// not use up the time of the others.
async fn connect(address: &str) -> Result<TcpStream, DialError> {
    let addresses = lookup_host(address).await.map_err(|error| {
        tracing::debug!("cannot resolve {address}: {error}");
        DialError::Unknown
    })?;
    let mut dials = JoinSet::new();
    for address in addresses.take(ADDRESSES_MAX) {
        dials.spawn(async move { (address, TcpStream::connect(address).await) });
    }
    let (tried, mut refused) = (dials.len(), 0);
    while let Some(dialled) = dials.join_next().await {
        match dialled {
            Ok((_, Ok(stream))) => return Ok(stream),
            Ok((address, Err(error))) => {
                tracing::debug!("cannot connect to {address}: {error}");
                refused += usize::from(error.kind() == ErrorKind::ConnectionRefused);
            }
            // Only when the runtime ends.
            Err(_) => return Err(DialError::Failed),
        }
    }
    Err(if tried > 0 && refused == tried { DialError::Refused } else { DialError::Failed })
}

/// A connection's life once it stands.
async fn carry(task: Task, stream: Arc<TcpStream>) {
    // Not worth giving a link up for.
    let _ = stream.set_nodelay(true);
    let Task { conn, full, closing, events } = task;
    let ended = tokio::select! {
        biased;
        ended = wait_for_room(conn, &stream, &full, &events) => ended,
        ended = read_all(conn, &stream, &events) => ended,
        rest = closing => {
            // An error says that there is nobody left who has something to be written.
            let rest = rest.unwrap_or_default();
            // Whoever does not take it in time does without.
            let _ = tokio::time::timeout(LAST_WORDS, write_rest(&stream, rest)).await;
            return;
        }
    };
    // Before it is reported: an owner that looks finds the connection closed.
    let _ = SockRef::from(&*stream).shutdown(Shutdown::Both);
    drop(stream);
    if ended.is_ok() {
        let _: Result<(), Abandoned> = tell(&events, Input::Closed(conn)).await;
    }
}

/// Reads until the connection ends.
async fn read_all(
    conn: ConnId,
    stream: &TcpStream,
    events: &Sender<Event>,
) -> Result<(), Abandoned> {
    let mut buffer = vec![0; READ_BYTES];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                let bytes = Bytes::copy_from_slice(&buffer[..count]);
                tell(events, Input::Bytes(conn, bytes)).await?;
            }
            Err(error) if passes(&error) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

/// Tells whenever a socket that was full takes something again, until it is broken.
async fn wait_for_room(
    conn: ConnId,
    stream: &TcpStream,
    full: &Notify,
    events: &Sender<Event>,
) -> Result<(), Abandoned> {
    loop {
        full.notified().await;
        if stream.writable().await.is_err() {
            return Ok(());
        }
        events.send(Event::Writable(conn)).await.map_err(|_| Abandoned)?;
    }
}

/// Writes the last of a connection that is closed.
async fn write_rest(stream: &TcpStream, mut rest: VecDeque<Bytes>) {
    while !rest.is_empty() && stream.writable().await.is_ok() {
        match try_write(stream, &mut rest) {
            Ok(_) => {}
            Err(error) if passes(&error) => {}
            Err(_) => return,
        }
    }
}

/// Writes what the socket takes at once, and drops that.
fn try_write(stream: &TcpStream, out: &mut VecDeque<Bytes>) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    for (slice, bytes) in slices.iter_mut().zip(&*out) {
        *slice = IoSlice::new(bytes);
    }
    let count = stream.try_write_vectored(&slices[..out.len().min(SLICES)])?;
    advance(out, count);
    Ok(count)
}

/// Drops the first `count` bytes.
fn advance(pending: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(first) = pending.front_mut() {
        let part = count.min(first.len());
        first.advance(part);
        count -= part;
        if !first.is_empty() {
            return;
        }
        pending.pop_front();
    }
}

/// Whether it is worth trying again.
fn passes(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

async fn guarded(task: impl Future<Output = ()>) {
    let _bomb = Bomb;
    task.await;
}

/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Most bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// Events that may wait for the owner: as many reads at most.
const EVENTS_MAX: usize = 64;

/// Most pieces of one write.
const SLICES: usize = 32;

/// How long a connection that is to be closed may take to send the rest.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long nothing is accepted after that has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
