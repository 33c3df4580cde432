//! The driver of a node's [`Control`]: its part in the cluster.
//!
//! One loop waits for what peers send, what the disk answers, the deadline and the rest of the node,
//! hands it in, and does what control wants done. Where there are processors enough it has a thread
//! of its own, so that a shard at work does not keep a heartbeat waiting. On one or two it shares the
//! shard's: every append and acknowledgement would change threads twice, which costs more there than
//! the second thread can do.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kvnode_core::control::{Config, Control, Input, Output};
use kvnode_core::disk::{DiskOp, DiskResult};
use kvnode_core::node::{ToControl, ToShard};
use kvnode_core::shard::Severity;
use kvnode_core::{IoId, peer};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{spawn_local, yield_now};

use crate::disk::Disk;
use crate::executor::{Executor, Fsyncs};
use crate::node::Bomb;
use crate::peer::Sockets;
use crate::{DirLock, Error, clock};

/// What control tells the rest of the node.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something for the shard.
    Shard(ToShard),
    /// The node can not take part: why, and what to do.
    Refused(String),
    /// After [`Handle::stop`]: others have taken over, and everything is durable.
    Stopped,
}

/// What the rest of the node wants of control.
#[derive(Debug)]
enum Order {
    Stop,
    Shard(ToControl),
}

/// Takes what the shard has to say to control.
#[derive(Clone, Debug)]
pub(crate) struct Orders(UnboundedSender<Order>);

impl Orders {
    /// The shard says something.
    pub(crate) fn say(&self, said: ToControl) {
        self.give(Order::Shard(said));
    }

    fn give(&self, order: Order) {
        // One that has ended has told so.
        let _ = self.0.send(order);
    }
}

/// Control, for the rest of the node.
#[derive(Debug)]
pub(crate) struct Handle {
    orders: Orders,
    events: UnboundedReceiver<Event>,
    runs: Runs,
}

/// Where control runs.
#[derive(Debug)]
enum Runs {
    Thread(JoinHandle<()>),
    /// On the shard's thread, until it says so.
    Task(oneshot::Receiver<()>),
}

impl Handle {
    /// Starts control, listening for peers at `address`. Call it on the shard's runtime.
    pub(crate) fn start(
        config: Config,
        address: SocketAddr,
        data: PathBuf,
        lock: &Arc<DirLock>,
    ) -> Result<Self, Error> {
        let (orders, incoming) = unbounded_channel();
        let (tell, events) = unbounded_channel();
        let orders = Orders(orders);
        let channels = (incoming, tell);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        if processors < PROCESSORS_MIN {
            let control = Loop::start(config, address, &data, lock, channels)?;
            let (ended, task) = oneshot::channel();
            spawn_local(async {
                let _bomb = Bomb;
                control.run().await;
                let _ = ended.send(());
            });
            return Ok(Self { orders, events, runs: Runs::Task(task) });
        }
        let lock = Arc::clone(lock);
        let (started_tx, started) = std::sync::mpsc::channel();
        let life = move || {
            let _bomb = Bomb;
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started_tx.send(Err(Error::System(error)))),
            };
            runtime.block_on(async {
                let control = Loop::start(config, address, &data, &lock, channels);
                let (control, told) = match control {
                    Ok(control) => (Some(control), Ok(())),
                    Err(error) => (None, Err(error)),
                };
                // Whoever started the thread waits for this.
                let _ = started_tx.send(told);
                if let Some(control) = control {
                    control.run().await;
                }
            });
        };
        let thread = std::thread::Builder::new()
            .name(String::from("control"))
            .spawn(life)
            .map_err(Error::System)?;
        started.recv().expect("the thread tells how it has started")?;
        Ok(Self { orders, events, runs: Runs::Thread(thread) })
    }

    /// What happens next; `None` when the thread has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Has others take over what this node leads, and finishes.
    pub(crate) fn stop(&self) {
        self.orders.give(Order::Stop);
    }

    /// For whoever has something for control.
    pub(crate) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Resolves when it has ended, and no helper of its holds the directory, after [`Event::Stopped`].
    pub(crate) fn joined(self) -> oneshot::Receiver<()> {
        let (ended, joined) = oneshot::channel();
        let thread = match self.runs {
            Runs::Thread(thread) => thread,
            Runs::Task(ended) => return ended,
        };
        thread::spawn(move || {
            // One that panicked has told so itself.
            let _ = thread.join();
            let _ = ended.send(());
        });
        joined
    }
}

struct Loop {
    control: Control,
    sockets: Sockets,
    executor: Executor,
    ops: VecDeque<(IoId, DiskOp)>,
    incoming: UnboundedReceiver<Order>,
    tell: UnboundedSender<Event>,
}

/// What the loop has waited for.
enum Happened {
    Peer(peer::Input),
    Disk(IoId, DiskResult),
    Due,
    Order(Order),
}

impl From<Order> for Input {
    fn from(order: Order) -> Self {
        match order {
            Order::Stop => Self::Stop,
            Order::Shard(said) => Self::Shard(said),
        }
    }
}

impl Loop {
    fn start(
        config: Config,
        address: SocketAddr,
        data: &Path,
        lock: &Arc<DirLock>,
        (incoming, tell): (UnboundedReceiver<Order>, UnboundedSender<Event>),
    ) -> Result<Self, Error> {
        let sockets = Sockets::bind(address).map_err(|source| Error::Listen { address, source })?;
        let disk = Rc::new(RefCell::new(Disk::new(data, HANDLES_MAX)));
        let executor = Executor::start(disk, lock, 1, Fsyncs::Aside).map_err(Error::System)?;
        let control = Control::new(config, clock::now());
        Ok(Self { control, sockets, executor, ops: VecDeque::new(), incoming, tell })
    }

    async fn run(mut self) {
        while self.settle() {
            let input = match self.wait().await {
                Happened::Peer(input) => Input::Peer(input),
                Happened::Disk(io, result) => Input::Disk(io, result),
                Happened::Due => {
                    // The connections' tasks read first: what they find was there before.
                    yield_now().await;
                    self.take_what_has_come().await;
                    Input::Tick
                }
                Happened::Order(order) => order.into(),
            };
            self.control.handle(clock::now(), input);
            // One turn serves all that was said at once.
            self.take_what_has_come().await;
            for _ in 0..WAITING_MAX {
                let Ok(order) = self.incoming.try_recv() else { break };
                self.control.handle(clock::now(), order.into());
            }
        }
        let _ = self.executor.joined().await;
    }

    /// What peers have sent already was sent before the deadline passed: a process that was not run
    /// for a while must not take them for silent.
    async fn take_what_has_come(&mut self) {
        for _ in 0..WAITING_MAX {
            let come = poll_fn(|cx| Poll::Ready(self.sockets.poll_next(cx))).await;
            let Poll::Ready(input) = come else { return };
            self.control.handle(clock::now(), Input::Peer(input));
        }
    }

    async fn wait(&mut self) -> Happened {
        let due = self.control.deadline().map(|(at, _)| at.since(clock::monotonic()));
        let (executor, incoming) = (&mut self.executor, &mut self.incoming);
        tokio::select! {
            biased;
            (io, result) = poll_fn(|cx| executor.poll_done(cx)) => Happened::Disk(io, result),
            () = tokio::time::sleep(due.unwrap_or(FOREVER)) => Happened::Due,
            input = self.sockets.next() => Happened::Peer(input),
            order = poll_fn(|cx| match incoming.poll_recv(cx) {
                Poll::Ready(Some(order)) => Poll::Ready(order),
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            }) => Happened::Order(order),
        }
    }

    /// Does what control wants until it wants no more. Returns whether it goes on.
    fn settle(&mut self) -> bool {
        loop {
            while let Some(output) = self.control.poll() {
                if !self.perform(output) {
                    self.sockets.flush();
                    return false;
                }
            }
            // What is said depends on nothing that is yet to be done.
            self.sockets.flush();
            if self.ops.is_empty() {
                return true;
            }
            self.executor.begin_round(self.ops.iter().map(|(_, op)| op));
            for (io, op) in std::mem::take(&mut self.ops) {
                if let Some(result) = self.executor.submit(io, op) {
                    self.control.handle(clock::now(), Input::Disk(io, result));
                }
            }
        }
    }

    fn perform(&mut self, output: Output) -> bool {
        match output {
            Output::Disk(io, op) => self.ops.push_back((io, op)),
            Output::Peer(output) => {
                let rest = self.sockets.perform(output);
                assert!(rest.is_none(), "control keeps what is not for the sockets");
            }
            Output::Shard(said) => self.say(Event::Shard(said)),
            Output::Refused(why) => {
                self.say(Event::Refused(why));
                return false;
            }
            Output::Stopped => {
                self.say(Event::Stopped);
                return false;
            }
            Output::Trace(trace) => tracing::trace!("{trace:?}"),
            Output::Notice(Severity::Info, text) => tracing::info!("{text}"),
            Output::Notice(Severity::Warn, text) => tracing::warn!("{text}"),
            Output::Notice(Severity::Error, text) => tracing::error!("{text}"),
        }
        true
    }

    fn say(&self, event: Event) {
        // The rest of the node may have ended first.
        let _ = self.tell.send(event);
    }
}

/// With fewer processors control shares the shard's thread.
const PROCESSORS_MIN: usize = 3;

/// Events of peers that are taken before a deadline is acted upon.
const WAITING_MAX: usize = 256;

/// Files of the control log that are kept open.
const HANDLES_MAX: usize = 16;

/// Longer than any deadline matters.
const FOREVER: Duration = Duration::from_secs(3600);

/// The address to listen for peers at, if none is given: where the others are told to find this
/// node, or that port on every address if it is told by name.
pub(crate) fn peer_address(listed: &str) -> io::Result<SocketAddr> {
    if let Ok(address) = listed.parse() {
        return Ok(address);
    }
    let port = listed.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let port = port.ok_or_else(|| io::Error::other(format!("{listed:?} is no host:port")))?;
    Ok(SocketAddr::from(([0, 0, 0, 0], port)))
}
