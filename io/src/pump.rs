//! The task that does what the shard wants done.
//!
//! Connections hand commands in and go; the pump is woken once, by the first of them, and runs
//! after all that were ready. One round is:
//!
//! ```text
//! poll the shard until it has nothing more ─► send the replies ─► run the disk operations
//!        ▲                                                               │ results in place
//!        └───────────────────────────────────────────────────────────────┘
//! ```
//!
//! So replies that wait for nothing leave before an fsync begins, one fsync serves every command
//! that was there, and clients get busy with their next commands while others are being answered.
//! Rounds go on until nothing is left, but after [`ROUNDS_PER_TURN`] the connections get a turn.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use kvnode_core::disk::DiskOp;
use kvnode_core::shard::{Input, Output, Severity};
use kvnode_core::{ClientId, Instant, IoId};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::Sleep;

use crate::executor::Executor;
use crate::node::Node;
use crate::{Error, clock};

/// See the module's header.
pub(crate) struct Pump {
    node: Rc<Node>,
    executor: Executor,
    ops: VecDeque<(IoId, DiskOp)>,
    alarm: Alarm,
    /// What was read for clients from the ACL file.
    read: Vec<(ClientId, Result<Vec<u8>, String>)>,
    /// To be told that commands are served.
    opened: Option<oneshot::Sender<()>>,
}

/// Why the pump runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// The shard was given something.
    Work,
    /// The shard's deadline has passed.
    Alarm,
}

/// How a round ended.
enum Round {
    /// Disk operations were done in place, so that there may be more to do.
    Busy,
    /// There is nothing to do before something happens.
    Idle,
    /// The shard has stopped, but for what it says could not be closed.
    Stopped(Option<String>),
}

/// What the shard has said last.
enum Said {
    /// It goes on.
    All,
    Stopped(Option<String>),
}

impl Pump {
    pub(crate) fn new(node: Rc<Node>, executor: Executor, opened: oneshot::Sender<()>) -> Self {
        let (ops, alarm) = (VecDeque::new(), Alarm::default());
        Self { node, executor, ops, alarm, read: Vec::new(), opened: Some(opened) }
    }

    /// Runs until the shard has stopped or can not go on. Returns what it says could not be closed.
    pub(crate) async fn run(mut self) -> Result<Option<String>, Error> {
        loop {
            if poll_fn(|cx| self.poll_event(cx)).await == Event::Alarm {
                // A deadline may be due again and again.
                yield_now().await;
            }
            let mut rounds = 0;
            loop {
                match self.round()? {
                    Round::Busy if rounds == ROUNDS_PER_TURN => {
                        rounds = 0;
                        yield_now().await;
                    }
                    Round::Busy => rounds += 1,
                    Round::Idle => break,
                    Round::Stopped(unclosed) => {
                        // Nobody waits for what they may still read, and a second signal is heard.
                        let _ = self.executor.joined().await;
                        return Ok(unclosed);
                    }
                }
            }
            self.alarm.set(self.node.shard().deadline().map(|(at, _)| at));
        }
    }

    /// Waits until something has happened, and hands it in.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let mut happened = self.node.pump().take(cx.waker());
        while let Poll::Ready((io, result)) = self.executor.poll_done(cx) {
            self.node.shard().handle(clock::now(), Input::Disk(io, result));
            happened = true;
        }
        if self.alarm.poll(cx).is_ready() {
            self.node.shard().handle(clock::now(), Input::Tick);
            return Poll::Ready(Event::Alarm);
        }
        if happened { Poll::Ready(Event::Work) } else { Poll::Pending }
    }

    fn round(&mut self) -> Result<Round, Error> {
        let said = self.dispatch_outputs()?;
        for (client, result) in self.read.drain(..) {
            self.node.handle(Input::AclFile(client, result));
        }
        self.node.flush();
        if let Said::Stopped(unclosed) = said {
            return Ok(Round::Stopped(unclosed));
        }
        if self.ops.is_empty() {
            return Ok(Round::Idle);
        }
        self.executor.begin_round(self.ops.iter().map(|(_, op)| op));
        let mut round = Round::Idle;
        for (io, op) in self.ops.drain(..) {
            if let Some(result) = self.executor.submit(io, op) {
                self.node.shard().handle(clock::now(), Input::Disk(io, result));
                round = Round::Busy;
            }
        }
        Ok(round)
    }

    /// Does what the shard asks for, but for the disk operations, which it queues.
    fn dispatch_outputs(&mut self) -> Result<Said, Error> {
        let node = &self.node;
        let mut shard = node.shard();
        let mut refused = None;
        while let Some(output) = shard.poll() {
            match output {
                Output::Disk(io, op) => self.ops.push_back((io, op)),
                Output::Reply(client, protocol, reply) => node.reply(client, protocol, &reply),
                Output::Control(said) => node.tell_control(said),
                Output::AclFile(client, text) => {
                    let result = node.acl_file(text);
                    self.read.push((client, result));
                }
                Output::Silence(client) => node.silence(client),
                Output::Monitored(client, line) => node.monitored(client, &line),
                Output::Shutdown => node.ask_to_stop(),
                Output::Close(client) => node.close(client),
                Output::Resume(client) => node.resume(client),
                Output::Opened => {
                    if let Some(opened) = self.opened.take() {
                        // Whoever waited for it may have been interrupted.
                        let _ = opened.send(());
                    }
                }
                // With it what could not be closed, or why it can not go on.
                Output::Refused(why) => refused = Some(why),
                Output::Stopped => return Ok(Said::Stopped(refused)),
                Output::Notice(Severity::Info, text) => tracing::info!("{text}"),
                Output::Notice(Severity::Warn, text) => tracing::warn!("{text}"),
                Output::Notice(Severity::Error, text) => tracing::error!("{text}"),
            }
        }
        refused.map_or(Ok(Said::All), |why| Err(Error::Refused(why)))
    }
}

/// Wakes the pump at the shard's deadline. Moving a timer costs more than an early call, so a
/// deadline that moves away leaves the timer where it is.
#[derive(Default)]
struct Alarm {
    due: Option<Instant>,
    sleep: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Alarm {
    fn set(&mut self, due: Option<Instant>) {
        self.due = due;
        let Some(due) = due else { return };
        if self.sleep.as_ref().is_some_and(|(at, _)| *at <= due) {
            return;
        }
        let at = tokio::time::Instant::now() + due.since(clock::monotonic());
        match &mut self.sleep {
            Some((set, sleep)) => {
                *set = due;
                sleep.as_mut().reset(at);
            }
            None => self.sleep = Some((due, Box::pin(tokio::time::sleep_until(at)))),
        }
    }

    /// Ready once when the deadline has passed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some((_, sleep)) = &mut self.sleep {
            if sleep.as_mut().poll(cx).is_pending() {
                break;
            }
            self.sleep = None;
            match self.due {
                Some(due) if due <= clock::monotonic() => {
                    self.due = None;
                    return Poll::Ready(());
                }
                due => self.set(due),
            }
        }
        Poll::Pending
    }
}

/// Rounds in a row before the connections get a turn.
const ROUNDS_PER_TURN: u32 = 8;
