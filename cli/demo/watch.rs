//! Threads that ask every node how it sees the cluster, many times a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kvnode_io::resp::Frame;

use super::children::Door;
use super::view::{self, LogEnds, LogEndsThen, Seen, View};
use crate::client::Connection;
use crate::status;

/// Between two questions to one node: how late a change of leader may be noticed.
const PERIOD: Duration = Duration::from_millis(40);

/// Every so many questions the node is also asked how long its logs are.
const LOGS_EVERY: u64 = 3;

/// So many answers to that are kept.
const LOGS_KEPT: usize = 4;

/// A node that has not answered for so long is not answering.
const PATIENCE: Duration = Duration::from_millis(600);

/// The threads, one a node; they end with it.
pub(super) struct Watch {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    reports: Vec<Mutex<Option<Report>>>,
    stop: AtomicBool,
}

struct Report {
    at: Instant,
    view: View,
    log_ends: LogEndsThen,
}

impl Watch {
    /// Asks the nodes behind these doors.
    pub(super) fn start(doors: Vec<Door>) -> Self {
        let reports = doors.iter().map(|_| Mutex::new(None)).collect();
        let shared = Arc::new(Shared { reports, stop: AtomicBool::new(false) });
        let ask = |(at, door): (usize, Door)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.ask(at, &door))
        };
        let threads = doors.into_iter().enumerate().map(ask).collect();
        Self { shared, threads }
    }

    /// What is known now.
    pub(super) fn look(&self) -> Seen {
        let reports = self.shared.reports.iter().filter_map(|slot| {
            let slot = slot.lock().expect("nobody panics with it");
            let report = slot.as_ref().filter(|report| report.at.elapsed() < PATIENCE)?;
            Some((report.view.clone(), report.log_ends.clone()))
        });
        Seen::of(reports)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // What it panicked with was told.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn ask(&self, at: usize, door: &Door) {
        let mut connection = door.connection(true).with_patience(PATIENCE);
        let mut log_ends = LogEndsThen::new();
        let mut count = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let view = ask_view(&mut connection);
            if view.is_some() && count % LOGS_EVERY == 0 {
                let at = Instant::now();
                log_ends.extend(ask_logs(&mut connection).map(|ends| (at, ends)));
            }
            if view.is_none() || log_ends.len() > LOGS_KEPT {
                log_ends.pop_front();
            }
            count += 1;
            let report =
                view.map(|view| Report { at: Instant::now(), view, log_ends: log_ends.clone() });
            *self.reports[at].lock().expect("nobody panics with it") = report;
            thread::sleep(PERIOD);
        }
    }
}

fn ask_view(connection: &mut Connection) -> Option<View> {
    let reply = connection.call(&["CLUSTER", "STATUS"]).ok()?;
    // An error, where the node is only just starting, is no map and gives none.
    serde_json::from_value(status::json(&reply)).ok()
}

fn ask_logs(connection: &mut Connection) -> Option<LogEnds> {
    let (Frame::Verbatim { text, .. } | Frame::Bulk(text)) =
        connection.call(&["INFO", "kvnode"]).ok()?
    else {
        return None;
    };
    Some(view::log_ends(&String::from_utf8_lossy(&text)))
}
