//! A small load that knows what it was promised.
//!
//! Each writer sets keys of its own, each key once, in order, and tries the same write again, by
//! another node, until it is acknowledged. So what must be there at the end is a prefix of each
//! writer's keys, and a write of unknown outcome that takes effect late can overwrite nothing.
//! Between its writes a writer reads back one of its keys; reads are linearizable, so anything else
//! than the acknowledged value is an error of the cluster at once.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kvnode_io::resp::Frame;

use super::children::Door;
use crate::client::Connection;

/// Writers, each with a connection.
pub(super) const WRITERS: usize = 8;

/// Most commands a second that may be asked for.
pub(super) const RATE_MAX: u32 = 10_000;

/// Writes after which a writer rests: the demo is no way to fill a disk.
const WRITES_MAX: u64 = 500_000;

/// How long a node may take to answer before another is asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// After an attempt that failed.
const PAUSE: Duration = Duration::from_millis(20);

/// Longest sleep that nothing interrupts.
const NAP: Duration = Duration::from_millis(50);

/// Operations after which a writer moves to the next node, so that one that came back is used.
const TURN: u64 = 100;

/// Length of a value in bytes.
const VALUE_BYTES: usize = 100;

/// Wrong reads that are kept to be told.
const WRONG_MAX: usize = 20;

/// The writers; they end with it.
pub(super) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Names the keys of one run, so that a data directory may be used again.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    run: String,
}

/// What has been done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Acknowledged writes.
    pub writes: u64,
    /// Answered reads.
    pub reads: u64,
    /// Attempts without an answer, or with an error; each was made again.
    pub errors: u64,
    /// How long the write that waits longest has been waiting.
    pub waiting: Duration,
    /// The longest that a write had to wait for its acknowledgement.
    pub longest: Duration,
}

struct Shared {
    keys: Keys,
    doors: Vec<Door>,
    /// Nodes whose process runs; no client would know, but it would ask again later than the demo.
    up: Vec<AtomicBool>,
    rate: AtomicU32,
    stop: AtomicBool,
    start: Instant,
    writers: [Writer; WRITERS],
    reads: AtomicU64,
    errors: AtomicU64,
    longest_us: AtomicU64,
    last_error: Mutex<String>,
    wrong: Mutex<Vec<(String, String)>>,
}

#[derive(Default)]
struct Writer {
    /// Acknowledged writes: those of the keys `0..written`.
    written: AtomicU64,
    /// Microseconds since the start at which the current write was first sent; 0 for none.
    since_us: AtomicU64,
}

impl Keys {
    /// Of a run of this name.
    pub(super) fn new(run: String) -> Self {
        Self { run }
    }

    /// What all of them start with.
    pub(super) fn prefix(&self) -> String {
        format!("demo:{}:", self.run)
    }

    /// A writer's key.
    pub(super) fn key(&self, writer: usize, n: u64) -> String {
        format!("demo:{}:{writer}:{n}", self.run)
    }

    /// Its value.
    pub(super) fn value(&self, writer: usize, n: u64) -> String {
        format!("{:.<VALUE_BYTES$}", format!("value of {}:{writer}:{n} ", self.run))
    }
}

impl Load {
    /// Starts the writers at `rate` commands a second.
    pub(super) fn start(keys: Keys, doors: Vec<Door>, rate: u32) -> Self {
        let shared = Arc::new(Shared {
            keys,
            up: doors.iter().map(|_| AtomicBool::new(true)).collect(),
            doors,
            rate: AtomicU32::new(rate.min(RATE_MAX)),
            stop: AtomicBool::new(false),
            start: Instant::now(),
            writers: Default::default(),
            reads: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            longest_us: AtomicU64::new(0),
            last_error: Mutex::default(),
            wrong: Mutex::default(),
        });
        let write = |writer| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.work(writer))
        };
        let threads = (0..WRITERS).map(write).collect();
        Self { shared, threads }
    }

    /// Sets the rate; 0 is a rest.
    pub(super) fn set_rate(&self, rate: u32) {
        self.shared.rate.store(rate.min(RATE_MAX), Relaxed);
    }

    /// Whether a node's process runs.
    pub(super) fn set_up(&self, node: u32, up: bool) {
        self.shared.up[node as usize - 1].store(up, Relaxed);
    }

    /// What has been done so far.
    pub(super) fn counts(&self) -> Counts {
        let shared = &self.shared;
        let now = shared.elapsed_us();
        let waits = shared.writers.iter().map(|writer| match writer.since_us.load(Relaxed) {
            0 => 0,
            since => now.saturating_sub(since),
        });
        let waiting = Duration::from_micros(waits.max().unwrap_or(0));
        Counts {
            writes: self.written().iter().sum(),
            reads: shared.reads.load(Relaxed),
            errors: shared.errors.load(Relaxed),
            waiting,
            longest: Duration::from_micros(shared.longest_us.load(Relaxed)).max(waiting),
        }
    }

    /// Acknowledged writes of each writer.
    pub(super) fn written(&self) -> Vec<u64> {
        self.shared.writers.iter().map(|writer| writer.written.load(Relaxed)).collect()
    }

    /// What the last failed attempt was told.
    pub(super) fn last_error(&self) -> String {
        self.shared.last_error.lock().expect("nobody panics with it").clone()
    }

    /// Reads that gave something else than was acknowledged, since the last call.
    pub(super) fn take_wrong(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.shared.wrong.lock().expect("nobody panics with it"))
    }

    /// Stops the writers; what is under way is waited for.
    pub(super) fn stop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // What it panicked with was told.
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn elapsed_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// One writer, until it is stopped.
    fn work(&self, writer: usize) {
        let mut route = Route::new(writer);
        let mut due = Instant::now();
        let mut count = 0;
        while self.wait_for_turn(&mut due) {
            count += 1;
            if count % TURN == 0 {
                route.next(self);
            }
            let written = self.writers[writer].written.load(Relaxed);
            if count % 2 == 0 && written > 0 {
                // Any of them, in an order that is neither new nor old.
                self.read(&mut route, writer, count.wrapping_mul(0x9e37_79b9_7f4a_7c15) % written);
            } else if written < WRITES_MAX {
                self.write(&mut route, writer, written);
            }
        }
    }

    /// Sleeps until the next command is due; false if there is none.
    fn wait_for_turn(&self, due: &mut Instant) -> bool {
        let mut last = *due;
        loop {
            if self.stopped() {
                return false;
            }
            let (rate, now) = (self.rate.load(Relaxed), Instant::now());
            if rate == 0 {
                last = now;
                thread::sleep(NAP);
                continue;
            }
            *due = last + Duration::from_secs(WRITERS as u64) / rate;
            match due.checked_duration_since(now) {
                Some(left) if !left.is_zero() => thread::sleep(left.min(NAP)),
                // What was missed is not made up for.
                _ if now - *due > NAP => {
                    *due = now;
                    return true;
                }
                _ => return true,
            }
        }
    }

    fn write(&self, route: &mut Route, writer: usize, n: u64) {
        let (key, value) = (self.keys.key(writer, n), self.keys.value(writer, n));
        let since = self.elapsed_us().max(1);
        self.writers[writer].since_us.store(since, Relaxed);
        loop {
            match route.call(self, &["SET", &key, &value]) {
                Ok(Frame::Simple(_)) => {
                    self.writers[writer].written.store(n + 1, Relaxed);
                    break;
                }
                Ok(other) => self.failed(route, &error(&other)),
                Err(why) => self.failed(route, &why),
            }
            if self.stopped() {
                break;
            }
        }
        // Also of one that was given up, since the demo ends.
        self.longest_us.fetch_max(self.elapsed_us() - since, Relaxed);
        self.writers[writer].since_us.store(0, Relaxed);
    }

    fn read(&self, route: &mut Route, writer: usize, n: u64) {
        let key = self.keys.key(writer, n);
        let read = match route.call(self, &["GET", &key]) {
            Ok(Frame::Bulk(value)) => String::from_utf8_lossy(&value).into_owned(),
            Ok(Frame::Null) => "(nil)".to_owned(),
            Ok(other) => return self.failed(route, &error(&other)),
            Err(why) => return self.failed(route, &why),
        };
        self.reads.fetch_add(1, Relaxed);
        if read != self.keys.value(writer, n) {
            let mut wrong = self.wrong.lock().expect("nobody panics with it");
            if wrong.len() < WRONG_MAX {
                wrong.push((key, read));
            }
        }
    }

    /// An attempt has failed: the next one is made by another node.
    fn failed(&self, route: &mut Route, why: &str) {
        self.errors.fetch_add(1, Relaxed);
        why.clone_into(&mut self.last_error.lock().expect("nobody panics with it"));
        route.next(self);
        thread::sleep(PAUSE);
    }
}

/// The node that a writer talks to.
struct Route {
    at: usize,
    connection: Option<Connection>,
}

impl Route {
    fn new(writer: usize) -> Self {
        Self { at: writer, connection: None }
    }

    /// To the next node that is up, or simply the next one.
    fn next(&mut self, shared: &Shared) {
        let nodes = shared.doors.len();
        let up = |step: &usize| shared.up[(self.at + step) % nodes].load(Relaxed);
        self.at = (self.at + (1..=nodes).find(up).unwrap_or(1)) % nodes;
        self.connection = None;
    }

    fn call(&mut self, shared: &Shared, command: &[&str]) -> Result<Frame, String> {
        let door = &shared.doors[self.at % shared.doors.len()];
        let connection =
            self.connection.get_or_insert_with(|| door.connection(false).with_patience(PATIENCE));
        connection.call(command).map_err(|why| why.to_string())
    }
}

fn error(frame: &Frame) -> String {
    String::from_utf8_lossy(&frame.to_raw()).trim_end().to_owned()
}
