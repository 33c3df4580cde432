//! One moment of the demo, as the screen and the JSON lines show it.

use std::collections::BTreeSet;

use serde::Serialize;

use super::children::Process;
use super::stage::Stage;

/// See the module's header.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Picture {
    /// Milliseconds since the start.
    pub at_ms: u64,
    /// Who controls the cluster.
    pub controller: Option<u32>,
    /// In which term.
    pub term: u64,
    /// How the cluster is, in a line.
    pub summary: String,
    /// The nodes.
    pub nodes: Vec<NodeRow>,
    /// The partitions.
    pub partitions: Vec<PartitionRow>,
    /// The load.
    pub load: LoadRow,
}

/// A node.
#[derive(Clone, Debug, Serialize)]
pub(super) struct NodeRow {
    /// Its number.
    pub id: u32,
    /// How it is.
    pub state: State,
    /// Its process, if it has one.
    pub pid: Option<u32>,
    /// Its port for clients.
    pub port: u16,
    /// Partitions that it leads.
    pub leads: usize,
    /// Partitions that it is in sync in.
    pub in_sync: usize,
    /// Partitions that it has a replica of.
    pub replicas: usize,
    /// Records that it is behind its leaders, where that is known.
    pub lag: Option<u64>,
}

/// How a node is; the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It has no process.
    Dead,
    /// By SIGSTOP.
    Paused,
    /// It was asked to end.
    Stopping,
    /// It does not answer yet, or is not registered yet.
    Starting,
    /// The controller takes it for dead.
    Fenced,
    /// It takes part.
    Alive,
}

/// A partition.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PartitionRow {
    /// Its number.
    pub id: u32,
    /// Who leads it.
    pub leader: Option<u32>,
    /// In which epoch.
    pub epoch: u64,
    /// All replicas, and whether they are in sync.
    pub replicas: Vec<(u32, bool)>,
    /// Records that the slowest follower is behind that answers.
    pub lag: Option<u64>,
}

/// The load.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct LoadRow {
    /// Commands a second that it shall do.
    pub rate: u32,
    /// Acknowledged writes a second, lately.
    pub writes_per_s: u64,
    /// Answered reads a second, lately.
    pub reads_per_s: u64,
    /// Acknowledged writes.
    pub acknowledged: u64,
    /// Answered reads.
    pub reads: u64,
    /// Attempts that failed and were made again.
    pub errors: u64,
    /// How long the write that waits longest has been waiting.
    pub waiting_ms: u64,
    /// The longest that a write had to wait.
    pub longest_stall_ms: u64,
    /// What the last failed attempt was told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_error: String,
    /// Acknowledged writes over time, the newest last.
    #[serde(skip)]
    pub history: Vec<u64>,
}

impl State {
    /// In a word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Starting => "starting",
            Self::Fenced => "fenced",
            Self::Alive => "alive",
        }
    }
}

impl Picture {
    /// Of now.
    pub(super) fn take(stage: &Stage) -> Self {
        let (seen, view) = (stage.seen(), stage.view());
        let summary = match view {
            Some(_) if seen.answering.is_empty() => "no node answers".to_owned(),
            Some(view) => view.summary.clone(),
            None => "no node answers yet".to_owned(),
        };
        let runs = |&node: &u32| stage.children().state(node) == Process::Running;
        let ports = stage.children().ports();
        let nodes = stage.children().ids().zip(ports).map(|(id, port)| node(stage, id, port));
        Self {
            at_ms: stage.at_ms(),
            controller: view.and_then(|view| view.controller).filter(runs),
            term: view.map_or(0, |view| view.term),
            summary,
            nodes: nodes.collect(),
            partitions: partitions(stage),
            load: load(stage),
        }
    }
}

fn node(stage: &Stage, id: u32, port: u16) -> NodeRow {
    let (seen, view) = (stage.seen(), stage.view());
    let active = view.is_some_and(|view| view.is_active(id));
    let state = match stage.children().state(id) {
        Process::Dead => State::Dead,
        Process::Paused => State::Paused,
        Process::Stopping => State::Stopping,
        Process::Running if active => State::Alive,
        Process::Running if !seen.answering.contains(&id) => State::Starting,
        Process::Running => match view.is_some_and(|v| v.nodes.iter().any(|n| n.id == id)) {
            true => State::Fenced,
            false => State::Starting,
        },
    };
    let all = view.map(|view| &view.partitions[..]).unwrap_or_default();
    let mine = || all.iter().filter(|partition| partition.replicas.contains(&id));
    let lags: Vec<u64> = mine().filter_map(|partition| seen.lag(partition, id)).collect();
    NodeRow {
        id,
        state,
        pid: stage.children().pid(id),
        port,
        leads: view.map_or(0, |view| view.led_by(id)),
        in_sync: view.map_or(0, |view| view.in_sync(id)),
        replicas: mine().count(),
        lag: (!lags.is_empty()).then(|| lags.iter().sum()),
    }
}

fn partitions(stage: &Stage) -> Vec<PartitionRow> {
    let (seen, Some(view)) = (stage.seen(), stage.view()) else { return Vec::new() };
    let row = |partition: &super::view::Partition| {
        let nodes: BTreeSet<u32> = partition.replicas.iter().copied().collect();
        PartitionRow {
            id: partition.id,
            leader: partition.leader,
            epoch: partition.epoch,
            lag: nodes.iter().filter_map(|&node| seen.lag(partition, node)).max(),
            replicas: nodes.into_iter().map(|n| (n, partition.isr.contains(&n))).collect(),
        }
    };
    view.partitions.iter().map(row).collect()
}

fn load(stage: &Stage) -> LoadRow {
    let (counts, meter) = (stage.counts(), stage.meter());
    let (writes_per_s, reads_per_s) = meter.speed();
    LoadRow {
        rate: meter.rate,
        writes_per_s,
        reads_per_s,
        acknowledged: counts.writes,
        reads: counts.reads,
        errors: counts.errors,
        waiting_ms: counts.waiting.as_millis() as u64,
        longest_stall_ms: counts.longest.as_millis() as u64,
        last_error: stage.last_error(),
        history: meter.history(),
    }
}

impl PartitionRow {
    /// It is led, and all its replicas are in sync.
    pub(super) fn is_whole(&self) -> bool {
        self.leader.is_some() && self.replicas.iter().all(|&(_, in_sync)| in_sync)
    }
}
