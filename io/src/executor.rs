//! Where a disk operation runs: here and now, or on a helper thread.
//!
//! A hop to a thread and back costs more than a quick disk takes, so what is quick is done in
//! place, between two looks at the sockets. What may take long never is, for the shard's thread
//! serves every client.
//!
//! ```text
//!                 ┌─ in place ─────────────────────────► Some(result)
//! submit(op) ─────┼─ a writer thread, first in first out ┐
//!                 ├─ reader threads ─────────────────────┼► poll_done
//!                 └─ held until reads are done ──────────┘
//! ```
//!
//! - **Read**: from the page cache if that needs no waiting, else on a reader thread.
//! - **Write, Sync**: in place while an fsync has lately taken less than [`IN_PLACE_FSYNC_MAX`] and
//!   few bytes wait for it, else on a writer thread. Every fsync is measured wherever it runs, so
//!   that a disk that is quick again is noticed. A node of a cluster has no fsync in place: what the
//!   others say meanwhile would wait for it ([`Fsyncs`]).
//! - **All else** goes to a writer thread: it may wait for the file system's journal.
//!
//! A directory's operations are all of one writer thread's. When a round makes several partitions
//! durable, their fsyncs run side by side, the last one in place: a disk that flushes once for all of
//! them takes little longer than for one.
//!
//! # Invariants
//!
//! Operations on one file take effect in the order of submission:
//! - one that is not a read runs in place only while the writer thread has none of that file;
//! - a read goes behind the writes on the writer thread if one of them changes what it reads, and
//!   past them if not;
//! - a write that would change what a reader thread is to read is held back until it has been read,
//!   and everything but reads of other files lines up behind it.
//!
//! Core bounds how many operations are outstanding; the queues here hold no more than that.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kvnode_core::IoId;
use kvnode_core::disk::{Dir, DiskOp, DiskResult, File};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::disk::{Disk, Job};
use crate::lock::DirLock;
use crate::node::Bomb;

/// Runs operations for one shard. Lives on the shard's thread.
pub(crate) struct Executor {
    disk: Rc<RefCell<Disk>>,
    /// One queue for each thread; a directory's operations are always of the same.
    writers: Vec<Sender<Task>>,
    readers: Sender<Task>,
    threads: Vec<JoinHandle<()>>,
    done: UnboundedReceiver<Done>,
    /// Files of operations on the helper threads.
    busy: HashMap<File, Busy, foldhash::fast::RandomState>,
    /// Held back in order of submission, the first by reads under way.
    held: VecDeque<(IoId, DiskOp)>,
    /// Results in place of operations that had been held.
    released: VecDeque<(IoId, DiskResult)>,
    pace: Pace,
    /// The one directory that has its fsync in place in this round, if several have one.
    here: Option<Dir>,
}

impl Executor {
    /// Starts the helper threads, `writer_threads` of them for writing. They keep `lock` until the last
    /// operation is done, so that no one else takes the directory while something is still written
    /// to it.
    pub(crate) fn start(
        disk: Rc<RefCell<Disk>>,
        lock: &Arc<DirLock>,
        writer_threads: usize,
        fsyncs: Fsyncs,
    ) -> io::Result<Self> {
        let (done_tx, done) = unbounded_channel();
        let (readers, readers_rx) = channel();
        let readers_rx = Arc::new(Mutex::new(readers_rx));
        let mut threads = Vec::with_capacity(writer_threads + READER_THREADS);
        let mut start = |helper, name: &str, next: Box<dyn Fn() -> Option<Task> + Send>| {
            let (done, lock) = (done_tx.clone(), Arc::clone(lock));
            let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
                let _bomb = Bomb;
                help(helper, &*next, &done);
                drop(lock);
            })?;
            threads.push(thread);
            io::Result::Ok(())
        };
        let mut writers = Vec::with_capacity(writer_threads);
        for _ in 0..writer_threads {
            let (writer, tasks) = channel();
            writers.push(writer);
            start(Helper::Writer, "kvnode-writer", Box::new(move || tasks.recv().ok()))?;
        }
        for _ in 0..READER_THREADS {
            let tasks = Arc::clone(&readers_rx);
            start(Helper::Reader, "kvnode-reader", Box::new(move || next_shared(&tasks)))?;
        }
        Ok(Self {
            disk,
            writers,
            readers,
            threads,
            done,
            busy: HashMap::default(),
            held: VecDeque::new(),
            released: VecDeque::new(),
            pace: Pace { fsyncs, ..Pace::default() },
            here: None,
        })
    }

    /// Runs `op` and returns its result, or takes it over: then [`poll_done`](Self::poll_done) will
    /// have the result.
    pub(crate) fn submit(&mut self, io: IoId, op: DiskOp) -> Option<DiskResult> {
        if self.lines_up(&op) {
            self.held.push_back((io, op));
            return None;
        }
        self.dispatch(io, op)
    }

    /// The next result of an operation that was taken over.
    pub(crate) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<(IoId, DiskResult)> {
        if let Some(released) = self.released.pop_front() {
            return Poll::Ready(released);
        }
        let done = ready!(self.done.poll_recv(cx)).expect("the helper threads keep their senders");
        Poll::Ready(self.finish(done))
    }

    /// A new round of work begins, with these operations: the time that fsyncs may take in place is
    /// counted from zero.
    pub(crate) fn begin_round<'a>(&mut self, ops: impl Iterator<Item = &'a DiskOp>) {
        self.pace.spent_in_round = Duration::ZERO;
        let mut synced = ops.filter(|op| matches!(op, DiskOp::Sync(_))).map(dir);
        let first = synced.next();
        let last = synced.last();
        self.here = last.filter(|_| last != first);
    }

    /// Resolves when the helper threads have ended: once they have done all that they were given.
    pub(crate) fn joined(self) -> oneshot::Receiver<()> {
        let Self { writers, readers, threads, .. } = self;
        drop((writers, readers));
        let (ended, joined) = oneshot::channel();
        std::thread::spawn(move || {
            for thread in threads {
                // A helper that panicked has ended the process.
                let _ = thread.join();
            }
            let _ = ended.send(());
        });
        joined
    }

    /// Whether `op` must wait before it can even be dispatched.
    fn lines_up(&self, op: &DiskOp) -> bool {
        match op {
            _ if self.held.is_empty() => self.disturbs_a_read(op),
            DiskOp::Read { file, .. } => {
                self.held.iter().any(|(_, held)| files(held).contains(&Some(*file)))
            }
            DiskOp::CreateDir(_)
            | DiskOp::List(_)
            | DiskOp::Create(_)
            | DiskOp::Write { .. }
            | DiskOp::WriteZeros { .. }
            | DiskOp::Sync(_)
            | DiskOp::Truncate { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Delete(_)
            | DiskOp::DeleteNamed(..)
            | DiskOp::SyncDir(_) => true,
        }
    }

    /// Whether `op` changes bytes that a reader thread has yet to read. A deletion does not: a read
    /// keeps its file by the handle.
    fn disturbs_a_read(&self, op: &DiskOp) -> bool {
        if self.busy.is_empty() || matches!(op, DiskOp::Delete(_)) {
            return false;
        }
        let span = changes(op);
        files(op)
            .iter()
            .flatten()
            .any(|file| self.busy.get(file).is_some_and(|busy| overlap(&busy.readers.span, &span)))
    }

    fn dispatch(&mut self, io: IoId, op: DiskOp) -> Option<DiskResult> {
        if let DiskOp::Read { file, at, len } = op {
            return self.dispatch_read(io, op, file, at..at.saturating_add(len.into()));
        }
        let files = files(&op);
        let free = self.busy.is_empty()
            || files
                .iter()
                .flatten()
                .all(|file| self.busy.get(file).is_none_or(|busy| busy.writer.tasks == 0));
        let dir = dir(&op);
        let here = self.here.is_none_or(|here| here == dir);
        let in_place = free && here && self.pace.allows(&op);
        let span = changes(&op);
        let fsync = self.pace.submitted(&op);
        let job = self.disk.borrow_mut().prepare(op);
        if !in_place {
            self.hand_over(Helper::Writer, dir, Task { io, files, fsync, job }, span);
            return None;
        }
        let (result, took) = run(job, fsync);
        if let Some(took) = took {
            self.pace.measured(took);
            self.pace.spent_in_round += took;
        }
        Some(result)
    }

    fn dispatch_read(
        &mut self,
        io: IoId,
        op: DiskOp,
        file: File,
        span: Range<u64>,
    ) -> Option<DiskResult> {
        let job = self.disk.borrow_mut().prepare(op);
        let mut span = span;
        if !self.writer_changes(file, &span) {
            if let Some(result) = job.read_cached() {
                return Some(result);
            }
            if !job.reads_within_file() {
                // A write anywhere behind would move the end that cuts it short.
                span.end = u64::MAX;
            }
        }
        // Behind the writes it changes nothing itself, so that other reads need not wait for it.
        let (helper, span) = if self.writer_changes(file, &span) {
            (Helper::Writer, NOTHING)
        } else {
            (Helper::Reader, span)
        };
        let task = Task { io, files: [Some(file), None], fsync: Fsync::Not, job };
        self.hand_over(helper, file.dir(), task, span);
        None
    }

    fn writer_changes(&self, file: File, span: &Range<u64>) -> bool {
        self.busy.get(&file).is_some_and(|busy| overlap(&busy.writer.span, span))
    }

    fn hand_over(&mut self, helper: Helper, dir: Dir, task: Task, span: Range<u64>) {
        for file in task.files.iter().flatten() {
            self.busy.entry(*file).or_default().of(helper).add(&span);
        }
        let queue = match helper {
            Helper::Writer => &self.writers[lane(dir) % self.writers.len()],
            Helper::Reader => &self.readers,
        };
        queue.send(task).expect("a helper thread lives as long as its queue");
    }

    /// Takes a result back from a helper thread, and lets what waited for it go on.
    fn finish(&mut self, done: Done) -> (IoId, DiskResult) {
        for &file in done.files.iter().flatten() {
            let busy = self.busy.get_mut(&file).expect("a file of a task under way is busy");
            busy.of(done.helper).remove();
            if busy.writer.tasks == 0 && busy.readers.tasks == 0 {
                self.busy.remove(&file);
            }
        }
        if let Some(took) = done.took {
            self.pace.measured(took);
        }
        while let Some((io, op)) = self.held.pop_front() {
            if self.disturbs_a_read(&op) {
                self.held.push_front((io, op));
                break;
            }
            if let Some(result) = self.dispatch(io, op) {
                self.released.push_back((io, result));
            }
        }
        (done.io, done.result)
    }
}

/// Where fsyncs are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fsyncs {
    /// In place where they are quick: for an owner that has nothing else to do until they are done.
    #[default]
    InPlace,
    /// On a helper thread: for one that others wait for meanwhile.
    Aside,
}

/// How quick the disk is, and what that means for the next operation.
#[derive(Debug, Default)]
struct Pace {
    fsyncs: Fsyncs,
    /// Moving average of the time of an fsync; `None` before the first.
    fsync: Option<Duration>,
    /// Bytes written since an fsync was last asked for.
    unsynced: u64,
    /// Time that fsyncs took in place in this round.
    spent_in_round: Duration,
}

impl Pace {
    /// Whether `op` is quick enough to be done in place.
    fn allows(&self, op: &DiskOp) -> bool {
        let quick = self.fsync.is_some_and(|fsync| fsync < IN_PLACE_FSYNC_MAX);
        match op {
            DiskOp::Write { data, .. } => quick && data.len() as u64 <= IN_PLACE_BYTES_MAX,
            DiskOp::WriteZeros { len, .. } => quick && *len <= IN_PLACE_ZEROS_MAX,
            DiskOp::Sync(_) => {
                quick
                    && self.fsyncs == Fsyncs::InPlace
                    && self.unsynced <= IN_PLACE_BYTES_MAX
                    && self.spent_in_round < IN_PLACE_FSYNC_MAX
            }
            DiskOp::CreateDir(_)
            | DiskOp::List(_)
            | DiskOp::Create(_)
            | DiskOp::Read { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Delete(_)
            | DiskOp::DeleteNamed(..)
            | DiskOp::SyncDir(_) => false,
        }
    }

    /// Counts `op`, and tells what its time says about the disk.
    fn submitted(&mut self, op: &DiskOp) -> Fsync {
        match op {
            DiskOp::Write { data, .. } => self.unsynced += data.len() as u64,
            DiskOp::WriteZeros { len, .. } => self.unsynced = self.unsynced.saturating_add(*len),
            DiskOp::Sync(_) => {
                // One with much to write tells how much that was, not how quick the disk is.
                let much = std::mem::take(&mut self.unsynced) > IN_PLACE_BYTES_MAX;
                return if much { Fsync::Not } else { Fsync::Timed };
            }
            DiskOp::CreateDir(_)
            | DiskOp::List(_)
            | DiskOp::Create(_)
            | DiskOp::Read { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Delete(_)
            | DiskOp::DeleteNamed(..)
            | DiskOp::SyncDir(_) => {}
        }
        Fsync::Not
    }

    /// An fsync took so long.
    fn measured(&mut self, took: Duration) {
        // One stall must not keep the work off this thread for longer than it lasted.
        let took = took.min(FSYNC_SAMPLE_MAX);
        self.fsync = Some(match self.fsync {
            None => took,
            Some(average) => (average * (FSYNC_SAMPLES - 1) + took) / FSYNC_SAMPLES,
        });
    }
}

/// Whether an operation is an fsync whose time is worth knowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fsync {
    Timed,
    Not,
}

/// What the helper threads have of one file.
#[derive(Debug, Default)]
struct Busy {
    /// On the writer thread; the span is what will change.
    writer: Share,
    /// On the reader threads; the span is what is to be read.
    readers: Share,
}

impl Busy {
    fn of(&mut self, helper: Helper) -> &mut Share {
        match helper {
            Helper::Writer => &mut self.writer,
            Helper::Reader => &mut self.readers,
        }
    }
}

#[derive(Debug, Default)]
struct Share {
    tasks: u32,
    /// Holds every place that one of the tasks is about, in bytes.
    span: Range<u64>,
}

impl Share {
    fn add(&mut self, span: &Range<u64>) {
        self.tasks += 1;
        if self.span.is_empty() {
            self.span = span.clone();
        } else if !span.is_empty() {
            self.span = self.span.start.min(span.start)..self.span.end.max(span.end);
        }
    }

    fn remove(&mut self) {
        self.tasks -= 1;
        if self.tasks == 0 {
            self.span = NOTHING;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Helper {
    Writer,
    Reader,
}

#[derive(Debug)]
struct Task {
    io: IoId,
    files: [Option<File>; 2],
    fsync: Fsync,
    job: Job,
}

#[derive(Debug)]
struct Done {
    io: IoId,
    files: [Option<File>; 2],
    helper: Helper,
    result: DiskResult,
    /// How long it took, if that is worth knowing.
    took: Option<Duration>,
}

/// A helper thread's life: until the executor is gone and its queue is done.
fn help(helper: Helper, next: &dyn Fn() -> Option<Task>, done: &UnboundedSender<Done>) {
    while let Some(Task { io, files, fsync, job }) = next() {
        let (result, took) = run(job, fsync);
        // Without an executor the result matters to no one, but the work is still to be done.
        let _ = done.send(Done { io, files, helper, result, took });
    }
}

fn run(job: Job, fsync: Fsync) -> (DiskResult, Option<Duration>) {
    match fsync {
        Fsync::Not => (job.run(), None),
        Fsync::Timed => {
            let started = Instant::now();
            (job.run(), Some(started.elapsed()))
        }
    }
}

/// The next task of a queue that several threads share.
fn next_shared(tasks: &Mutex<Receiver<Task>>) -> Option<Task> {
    tasks.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// The files that `op` is about.
fn files(op: &DiskOp) -> [Option<File>; 2] {
    match op {
        DiskOp::Create(file)
        | DiskOp::Write { file, .. }
        | DiskOp::WriteZeros { file, .. }
        | DiskOp::Sync(file)
        | DiskOp::Read { file, .. }
        | DiskOp::Truncate { file, .. }
        | DiskOp::Delete(file) => [Some(*file), None],
        DiskOp::Rename { from, to } => [Some(*from), Some(*to)],
        DiskOp::CreateDir(_) | DiskOp::List(_) | DiskOp::DeleteNamed(..) | DiskOp::SyncDir(_) => {
            [None, None]
        }
    }
}

/// The directory that `op` is about.
fn dir(op: &DiskOp) -> Dir {
    match op {
        DiskOp::Create(file)
        | DiskOp::Write { file, .. }
        | DiskOp::WriteZeros { file, .. }
        | DiskOp::Sync(file)
        | DiskOp::Read { file, .. }
        | DiskOp::Truncate { file, .. }
        | DiskOp::Delete(file)
        | DiskOp::Rename { from: file, .. } => file.dir(),
        DiskOp::CreateDir(dir)
        | DiskOp::List(dir)
        | DiskOp::DeleteNamed(dir, _)
        | DiskOp::SyncDir(dir) => *dir,
    }
}

/// Which writer thread has a directory, if there were any number of them.
fn lane(dir: Dir) -> usize {
    match dir {
        Dir::Root => 0,
        Dir::Partition(id) => id.0 as usize,
    }
}

/// The bytes of its files that `op` may change.
fn changes(op: &DiskOp) -> Range<u64> {
    match op {
        DiskOp::Write { at, data, .. } => *at..at.saturating_add(data.len() as u64),
        DiskOp::WriteZeros { at, len, .. } => *at..at.saturating_add(*len),
        DiskOp::Create(_) | DiskOp::Truncate { .. } | DiskOp::Rename { .. } | DiskOp::Delete(_) => {
            0..u64::MAX
        }
        DiskOp::CreateDir(_)
        | DiskOp::List(_)
        | DiskOp::Sync(_)
        | DiskOp::Read { .. }
        | DiskOp::DeleteNamed(..)
        | DiskOp::SyncDir(_) => NOTHING,
    }
}

fn overlap(one: &Range<u64>, two: &Range<u64>) -> bool {
    one.start < two.end && two.start < one.end
}

const NOTHING: Range<u64> = 0..0;

/// An fsync is done in place while it takes less than this, and so long as all of one round take
/// less together.
const IN_PLACE_FSYNC_MAX: Duration = Duration::from_millis(1);

/// Most bytes of one write in place, and of all that an fsync in place has to make durable.
const IN_PLACE_BYTES_MAX: u64 = 1 << 20;

/// Most zeros written in place.
const IN_PLACE_ZEROS_MAX: u64 = 256 << 10;

/// An fsync counts for one part in so many of the moving average.
const FSYNC_SAMPLES: u32 = 8;

/// The longest time an fsync counts with.
const FSYNC_SAMPLE_MAX: Duration = Duration::from_millis(20);

const READER_THREADS: usize = 2;

#[cfg(test)]
mod tests;
