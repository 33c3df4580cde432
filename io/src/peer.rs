//! The sockets of the links between nodes. [`Links`](kvnode_core::peer::Links) decides; here its
//! outputs become connections, reads and writes, and what happens to them becomes its inputs.
//!
//! ```text
//! listener ─► accept task ──────────┐
//!                                   ▼
//! socket ◄──► task of a connection ─► one bounded queue ─► Sockets::next ─► Input ─► Links
//!                  ▲                                                                  │
//!                  └── its queue of writes ◄────────── Sockets::perform ◄── Output ◄──┘
//! ```
//!
//! The owner's loop is
//!
//! ```text
//! input = sockets.next(), or Tick at links.deadline()
//! links.handle(clock::now(), input)
//! while let Some(output) = links.poll() {
//!     if let Some(output) = sockets.perform(output) { … the owner's own … }
//! }
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
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use kvnode_core::peer::{ConnId, Input, Output};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::mpsc::{
    Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel,
};
use tokio::sync::oneshot;

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
}

/// The owner's end of a connection's task.
#[derive(Debug)]
struct Connection {
    writes: UnboundedSender<Bytes>,
    /// Dropped to tell the task that the connection is to be closed.
    _open: oneshot::Sender<()>,
}

/// The task's end.
#[derive(Debug)]
struct Task {
    conn: ConnId,
    writes: UnboundedReceiver<Bytes>,
    open: oneshot::Receiver<()>,
    events: Sender<Event>,
}

#[derive(Debug)]
enum Event {
    Accepted(TcpStream),
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
        let connections = HashMap::default();
        Ok(Self { address, connections, last_accepted: 0, events, sender })
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
        self.events.poll_recv(cx).map(|event| {
            match event.expect("its own sender keeps the queue open") {
                Event::Accepted(stream) => self.accepted(stream),
                Event::Input(input) => {
                    if let Input::Closed(conn) | Input::DialFailed { conn, .. } = input {
                        self.connections.remove(&conn);
                    }
                    input
                }
            }
        })
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
            | Output::Rejected(..)
            | Output::Unreachable(..)
            | Output::Notice(..)) => return Some(other),
        }
        None
    }

    /// Connects to `address` (`host:port`); [`Input::Dialled`] or [`Input::DialFailed`] follows.
    pub fn dial(&mut self, conn: ConnId, address: String) {
        let task = self.task(conn);
        tokio::spawn(guarded(dial(task, address)));
    }

    /// Writes `bytes`, unless the connection is closed.
    pub fn write(&mut self, conn: ConnId, bytes: Bytes) {
        if let Some(connection) = self.connections.get(&conn) {
            // A task that has ended reports why.
            let _ = connection.writes.send(bytes);
        }
    }

    /// Closes once everything has been written, or gives up a dial.
    pub fn close(&mut self, conn: ConnId) {
        self.connections.remove(&conn);
    }

    fn accepted(&mut self, stream: TcpStream) -> Input {
        self.last_accepted += 1;
        let conn = ConnId::Accepted(self.last_accepted);
        let task = self.task(conn);
        tokio::spawn(guarded(carry(task, stream)));
        Input::Accepted(conn)
    }

    fn task(&mut self, conn: ConnId) -> Task {
        let (writes_tx, writes) = unbounded_channel();
        let (open_tx, open) = oneshot::channel();
        let connection = Connection { writes: writes_tx, _open: open_tx };
        let before = self.connections.insert(conn, connection);
        assert!(before.is_none(), "{conn} exists already");
        Task { conn, writes, open, events: self.sender.clone() }
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
        _ = &mut task.open => return,
        connected = connect(&address) => connected,
    };
    let conn = task.conn;
    match connected {
        Ok(stream) => {
            if task.tell(Input::Dialled(conn)).await.is_ok() {
                carry(task, stream).await;
            }
        }
        Err(refused) => {
            let _: Result<(), Abandoned> = task.tell(Input::DialFailed { conn, refused }).await;
        }
    }
}

/// Tries the addresses of a name in turn. The error is whether every one of them said that nobody
/// listens there.
async fn connect(address: &str) -> Result<TcpStream, bool> {
    let addresses = lookup_host(address).await.map_err(|error| {
        tracing::debug!("cannot resolve {address}: {error}");
        false
    })?;
    let (mut tried, mut refused) = (0, 0);
    for address in addresses {
        tried += 1;
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                tracing::debug!("cannot connect to {address}: {error}");
                refused += u32::from(error.kind() == ErrorKind::ConnectionRefused);
            }
        }
    }
    Err(tried > 0 && refused == tried)
}

/// A connection's life once it stands.
async fn carry(task: Task, mut stream: TcpStream) {
    // Not worth giving a link up for.
    let _ = stream.set_nodelay(true);
    let Task { conn, writes, open, events } = task;
    let (read, write) = stream.split();
    let patience = async {
        // An error says that it is to be closed.
        let _: Result<(), _> = open.await;
        tokio::time::sleep(LAST_WORDS).await;
        Ok(())
    };
    let ended = tokio::select! {
        biased;
        ended = write_all(conn, write, writes, &events) => ended,
        ended = read_all(conn, read, &events) => ended,
        ended = patience => ended,
    };
    drop(stream);
    if ended.is_ok() {
        let _: Result<(), Abandoned> = tell(&events, Input::Closed(conn)).await;
    }
}

/// Reads until the connection ends.
async fn read_all(
    conn: ConnId,
    read: ReadHalf<'_>,
    events: &Sender<Event>,
) -> Result<(), Abandoned> {
    let mut buffer = vec![0; READ_BYTES];
    while read.readable().await.is_ok() {
        match read.try_read(&mut buffer) {
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

/// Writes until the connection ends, or is to be closed and everything has been written.
async fn write_all(
    conn: ConnId,
    write: WriteHalf<'_>,
    mut writes: UnboundedReceiver<Bytes>,
    events: &Sender<Event>,
) -> Result<(), Abandoned> {
    let mut pending = VecDeque::new();
    while let Some(bytes) = writes.recv().await {
        pending.push_back(bytes);
        while !pending.is_empty() {
            while pending.len() < SLICES
                && let Ok(bytes) = writes.try_recv()
            {
                pending.push_back(bytes);
            }
            if write.writable().await.is_err() {
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (slice, bytes) in slices.iter_mut().zip(&pending) {
                *slice = IoSlice::new(bytes);
            }
            match write.try_write_vectored(&slices[..pending.len()]) {
                Ok(count) => {
                    advance(&mut pending, count);
                    tell(events, Input::Sent(conn, count)).await?;
                }
                Err(error) if passes(&error) => {}
                Err(_) => return Ok(()),
            }
        }
    }
    Ok(())
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
