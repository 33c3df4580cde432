//! The demo itself, whoever looks on: the cluster, the load on it, what was seen of both, and what
//! can be done to them.

use std::thread;
use std::time::{Duration, Instant};

use super::check::{Check, Tally};
use super::children::{Children, End, Process, Settings};
use super::load::{Counts, Keys, Load};
use super::meter::Meter;
use super::news::{self, Event};
use super::view::{Seen, View};
use super::watch::Watch;

/// Without an acknowledged write for so long, writes are said to stall.
const STALL: Duration = Duration::from_millis(400);

/// How long the end waits for the nodes that are there to answer, before it starts the others.
const CHECK_PATIENCE: Duration = Duration::from_secs(8);

/// How long it waits for all of them.
const CHECK_PATIENCE_ALL: Duration = Duration::from_secs(40);

/// How long a node may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// SIGKILL.
    Kill(u32),
    /// SIGSTOP.
    Pause(u32),
    /// SIGCONT.
    Continue(u32),
    /// Starts its process again; one that is paused goes on.
    Revive(u32),
    /// SIGTERM.
    Stop(u32),
    /// So many commands a second.
    Load(u32),
}

/// Something that happened, and when.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Milliseconds since the start.
    pub at_ms: u64,
    /// What.
    pub event: Event,
}

/// What the end has found.
#[derive(Debug)]
pub(super) struct Verdict {
    /// What the load did.
    pub counts: Counts,
    /// What was found of its writes.
    pub tally: Tally,
    /// Reads during the run that gave something else than was acknowledged.
    pub wrong_reads: u64,
    /// Processes that ended though nobody had asked them to.
    pub died: u64,
}

/// See the module's header. Its fields end in this order: first those who ask, then the asked.
pub(super) struct Stage {
    load: Load,
    watch: Watch,
    children: Children,
    keys: Keys,
    start: Instant,
    /// When the cluster was last interfered with.
    cause: Instant,
    seen: Seen,
    meter: Meter,
    whole: bool,
    /// Since when no write is acknowledged, once that has been told.
    stalled: bool,
    progress: (u64, Instant),
    news: Vec<Entry>,
    wrong_reads: u64,
    died: u64,
}

impl Stage {
    /// Starts a cluster and the load.
    pub(super) fn open(settings: &Settings, rate: u32) -> Result<Self, String> {
        let mut children =
            Children::new(settings).map_err(|why| format!("no ports for the nodes: {why}"))?;
        for node in children.ids() {
            children.start(node).map_err(|why| format!("cannot start n{node}: {why}"))?;
        }
        let ports = children.ports();
        let run = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let keys = Keys::new(run.unwrap_or_default().as_millis().to_string());
        let now = Instant::now();
        let mut stage = Self {
            // A cluster that is only being founded refuses, which is no error worth counting.
            load: Load::start(keys.clone(), children.doors(), 0),
            watch: Watch::start(children.doors()),
            children,
            keys,
            start: now,
            cause: now,
            seen: Seen::default(),
            meter: Meter::new(rate),
            whole: false,
            stalled: false,
            progress: (0, now),
            news: Vec::new(),
            wrong_reads: 0,
            died: 0,
        };
        let keys = stage.keys.prefix();
        stage.tell(Event::Started { nodes: settings.nodes, ports, keys });
        Ok(stage)
    }

    /// Looks at everything.
    pub(super) fn tick(&mut self) {
        self.on_ends();
        self.on_seen();
        self.on_load();
    }

    /// Does something to the cluster or the load.
    pub(super) fn act(&mut self, action: Action) {
        use Process::{Dead, Paused, Running, Stopping};
        let state = |stage: &Self, node| stage.children.state(node);
        let event = match action {
            Action::Load(rate) => {
                self.meter.rate = rate;
                if self.whole {
                    self.load.set_rate(rate);
                }
                return self.tell(Event::Load { rate });
            }
            Action::Kill(node) if state(self, node) != Dead => {
                self.children.kill(node);
                Event::Killed { node }
            }
            Action::Pause(node) if state(self, node) == Running => {
                self.children.pause(node);
                Event::Paused { node }
            }
            Action::Continue(node) | Action::Revive(node) if state(self, node) == Paused => {
                self.children.resume(node);
                Event::Continued { node }
            }
            Action::Revive(node) if state(self, node) == Dead => match self.children.start(node) {
                Ok(()) => Event::Revived { node },
                Err(why) => Event::Refused { why: format!("n{node} does not start: {why}") },
            },
            Action::Stop(node) if matches!(state(self, node), Running | Paused) => {
                self.children.stop(node);
                Event::Stopping { node }
            }
            Action::Kill(node)
            | Action::Pause(node)
            | Action::Continue(node)
            | Action::Revive(node)
            | Action::Stop(node) => {
                let how = match state(self, node) {
                    Running => "runs",
                    Paused => "is paused",
                    Stopping => "is stopping",
                    Dead => "is dead",
                };
                return self.tell(Event::Refused { why: format!("n{node} {how}") });
            }
        };
        self.cause = Instant::now();
        self.tell(event);
        self.mark_up();
    }

    /// A script has waited for something in vain.
    pub(super) fn give_up(&mut self, waiting_for: String) {
        self.tell(Event::GaveUp { waiting_for });
    }

    /// What happened since the last call.
    pub(super) fn take_news(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.news)
    }

    /// Reads everything back, stops all nodes and gives the verdict. `go_on` says whether anybody
    /// is still waiting for it; `say` is told what happens meanwhile.
    pub(super) fn finish(
        mut self,
        mut go_on: impl FnMut() -> bool,
        mut say: impl FnMut(&[Entry]),
    ) -> Verdict {
        self.load.stop();
        self.on_load();
        let counts = self.counts();
        self.tell(Event::Checking { writes: counts.writes });
        for node in self.children.ids() {
            if self.children.state(node) == Process::Paused {
                self.act(Action::Continue(node));
            }
        }
        say(&self.take_news());
        let doors = self.children.doors();
        let mut check = Check::new(self.keys.clone(), doors, &self.load.written());
        let mut read = |stage: &mut Self, patience| {
            let start = Instant::now();
            check.run(|| {
                stage.tick();
                say(&stage.take_news());
                start.elapsed() < patience && go_on()
            })
        };
        if !read(&mut self, CHECK_PATIENCE) {
            // What no living node can answer for may well be safe with a dead one.
            for node in self.children.ids() {
                if self.children.state(node) == Process::Dead {
                    self.act(Action::Revive(node));
                }
            }
            read(&mut self, CHECK_PATIENCE_ALL);
        }
        self.cause = Instant::now();
        let (ends, nodes) = self.children.stop_all(STOP_PATIENCE);
        ends.into_iter().for_each(|end| self.on_end(end));
        if !nodes.is_empty() {
            self.tell(Event::SlowToStop { nodes });
        }
        say(&self.take_news());
        let (wrong_reads, died) = (self.wrong_reads, self.died);
        Verdict { counts, tally: check.tally(), wrong_reads, died }
    }

    /// Every node that runs is active, no other is, every partition is led by one of them and has
    /// those of its replicas in sync that run.
    pub(super) fn is_whole(&self) -> bool {
        let Some(view) = self.view() else { return false };
        let runs = |node: u32| self.children.state(node) == Process::Running;
        let mut nodes = self.children.ids();
        nodes.all(|node| runs(node) == view.is_active(node))
            && view.controller.is_some_and(runs)
            && !view.partitions.is_empty()
            && view.partitions.iter().all(|p| {
                p.leader.is_some_and(runs)
                    && p.replicas.iter().all(|&node| runs(node) == p.isr.contains(&node))
            })
    }

    /// What is known of the cluster.
    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The map, if anybody has told it.
    pub(super) fn view(&self) -> Option<&View> {
        self.seen.view.as_ref()
    }

    /// The processes.
    pub(super) fn children(&self) -> &Children {
        &self.children
    }

    /// Nodes whose process runs.
    pub(super) fn running(&self) -> impl DoubleEndedIterator<Item = u32> {
        let runs = |node: &u32| self.children.state(*node) == Process::Running;
        self.children.ids().filter(runs)
    }

    /// What the load has done.
    pub(super) fn counts(&self) -> Counts {
        self.load.counts()
    }

    /// How fast it goes, and how fast it shall.
    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// What its last failed attempt was told.
    pub(super) fn last_error(&self) -> String {
        self.load.last_error()
    }

    /// Milliseconds since the start.
    pub(super) fn at_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn after_ms(&self) -> u64 {
        self.cause.elapsed().as_millis() as u64
    }

    fn tell(&mut self, event: Event) {
        self.news.push(Entry { at_ms: self.at_ms(), event });
    }

    fn mark_up(&self) {
        for node in self.children.ids() {
            self.load.set_up(node, self.children.state(node) == Process::Running);
        }
    }

    fn on_ends(&mut self) {
        for end in self.children.ended() {
            self.on_end(end);
            self.mark_up();
        }
    }

    fn on_end(&mut self, End { node, status, unasked, said }: End) {
        let event = if unasked {
            self.died += 1;
            self.cause = Instant::now();
            Event::Died { node, how: status.to_string(), said }
        } else {
            Event::Stopped { node, after_ms: self.after_ms() }
        };
        self.tell(event);
    }

    fn on_seen(&mut self) {
        let mut seen = self.watch.look();
        // Nodes that are behind do not take back what is known, and silence is no news.
        let age = |seen: &Seen| seen.view.as_ref().map(|view| (view.term, view.applied));
        if age(&seen) < age(&self.seen) {
            seen.view = self.seen.view.take();
        } else {
            // A node that is only starting may know the term and not yet whose it is.
            if let (Some(new), Some(old)) = (&mut seen.view, &self.seen.view)
                && new.term == old.term
            {
                new.controller = new.controller.or(old.controller);
            }
            let events = news::compare(&self.seen, &seen, self.after_ms());
            events.into_iter().for_each(|event| self.tell(event));
        }
        self.seen = seen;
        if !self.whole && self.view().is_some_and(View::is_whole) {
            self.whole = true;
            self.tell(Event::Whole { after_ms: self.after_ms() });
            self.load.set_rate(self.meter.rate);
            self.progress = (0, Instant::now());
        }
    }

    fn on_load(&mut self) {
        let counts = self.counts();
        self.meter.record(counts);
        for (key, read) in self.load.take_wrong() {
            self.wrong_reads += 1;
            self.tell(Event::Wrong { key, read });
        }
        let (writes, since) = self.progress;
        let for_ms = since.elapsed().as_millis() as u64;
        if counts.writes > writes {
            self.progress = (counts.writes, Instant::now());
            if std::mem::take(&mut self.stalled) {
                self.tell(Event::GoesOn { after_ms: for_ms });
            }
        } else if counts.waiting.is_zero() {
            self.progress.1 = Instant::now();
        } else if for_ms > STALL.as_millis() as u64 && !self.stalled {
            self.stalled = true;
            self.tell(Event::Stalled { for_ms });
        }
    }
}

/// Waits a moment.
pub(super) fn nap() {
    thread::sleep(Duration::from_millis(20));
}
