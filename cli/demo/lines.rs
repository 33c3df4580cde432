//! The demo as lines: text for people, or a JSON object each for programs.

use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use super::news::Event;
use super::picture::Picture;
use super::stage::{Entry, Stage, Verdict};

/// Between two pictures in JSON.
const PERIOD_JSON: Duration = Duration::from_secs(1);

/// Between two lines about the load.
const PERIOD_TEXT: Duration = Duration::from_secs(5);

/// Where the lines go.
pub(super) struct Lines {
    json: bool,
    shown: Instant,
    heard: Cell<bool>,
}

/// A line of JSON about an event: its fields, and the same in words.
#[derive(Serialize)]
struct Line<'a> {
    at_ms: u64,
    #[serde(flatten)]
    event: &'a Event,
    text: String,
}

impl Lines {
    /// To stdout.
    pub(super) fn new(json: bool) -> Self {
        Self { json, shown: Instant::now(), heard: Cell::new(true) }
    }

    /// Somebody still reads them.
    pub(super) fn is_heard(&self) -> bool {
        self.heard.get()
    }

    /// A line as it is.
    pub(super) fn put(&self, line: &str) {
        let mut stdout = std::io::stdout().lock();
        let put = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
        self.heard.set(self.heard.get() && put.is_ok());
    }

    /// What happened.
    pub(super) fn tell(&self, news: &[Entry]) {
        for Entry { at_ms, event } in news {
            let text = event.to_string();
            if self.json {
                let line = Line { at_ms: *at_ms, event, text };
                self.put(&serde_json::to_string(&line).expect("it is JSON"));
            } else {
                self.put(&format!("{}  {text}", Seconds(*at_ms)));
            }
        }
    }

    /// How it stands, now and then.
    pub(super) fn show(&mut self, stage: &Stage) {
        let period = if self.json { PERIOD_JSON } else { PERIOD_TEXT };
        if self.shown.elapsed() < period {
            return;
        }
        self.shown = Instant::now();
        let picture = Picture::take(stage);
        if self.json {
            let mut line = serde_json::to_value(&picture).expect("it is JSON");
            line["event"] = "picture".into();
            self.put(&line.to_string());
        } else {
            let load = &picture.load;
            self.put(&format!(
                "{}  {} writes/s, {} reads/s, {} writes acknowledged, {} errors, longest stall {} \
                 ms",
                Seconds(picture.at_ms),
                load.writes_per_s,
                load.reads_per_s,
                load.acknowledged,
                load.errors,
                load.longest_stall_ms
            ));
        }
    }

    /// The last lines.
    pub(super) fn end(&self, verdict: &Verdict) {
        if !self.json {
            return self.put(&verdict.to_string());
        }
        let line = json!({
            "event": "verdict",
            "good": verdict.is_good(),
            "acknowledged": verdict.counts.writes,
            "reads": verdict.counts.reads,
            "errors": verdict.counts.errors,
            "longest_stall_ms": verdict.counts.longest.as_millis() as u64,
            "check": verdict.tally,
            "wrong_reads": verdict.wrong_reads,
            "died": verdict.died,
            "text": verdict.to_string(),
        });
        self.put(&line.to_string());
    }
}

/// Seconds since the start, in a column.
pub(super) struct Seconds(pub(super) u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:4}.{}s", self.0 / 1_000, self.0 % 1_000 / 100)
    }
}
