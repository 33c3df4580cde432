//! How a run of the quorum is set up: how many nodes, how patient they are, how small their logs.

use std::time::Duration;

use kvnode_core::control::FoundingOptions;
use kvnode_core::{election, peer};

use crate::chance::Chance;

/// What the seed draws for a run of the [cluster](crate::settings::Profile::Cluster) profile; of no
/// account in the others.
#[derive(Clone, Debug)]
pub struct Quorum {
    /// What the cluster is founded with.
    pub founding: FoundingOptions,
    /// How the quorum behaves.
    pub election: election::Settings,
    /// How the links behave.
    pub links: peer::Settings,
    /// How long a node may be silent before it is fenced.
    pub session_timeout: Duration,
    /// How long a preferred leader is able to lead before it does.
    pub balance_after: Option<Duration>,
    /// Entries from one snapshot to the next.
    pub snapshot_every: u64,
    /// Size at which the store's segments roll.
    pub segment_bytes: u64,
    /// Bytes that a system takes for one connection before they have arrived.
    pub window_bytes: usize,
    /// In how many of a hundred cases a write is cut into one piece more.
    pub pieces_percent: u64,
    /// When the last node is started for the first time, in ms.
    pub late_ms: u64,
}

impl Quorum {
    /// The settings for a cluster of so many nodes.
    pub(crate) fn draw(nodes: u32, c: &mut Chance) -> Self {
        let ms = Duration::from_millis;
        let heartbeat = c.of(20..100);
        let election_min = heartbeat * c.of(3..7);
        let election_max = election_min * c.of(15..30) / 10;
        let chunk_bytes = if c.percent(50) { c.skewed(32..1024) as usize } else { 64 << 10 };
        let election = election::Settings {
            heartbeat: ms(heartbeat),
            election_min: ms(election_min),
            election_max: ms(election_max),
            append_entries_max: c.skewed(1..64) as usize,
            inflight_max: c.skewed(1..16) as usize,
            chunk_bytes,
            tail_entries: c.pick(&[0, 1, 4, 32]),
            ..election::Settings::default()
        };
        let silent = c.of(500..1500);
        let links = peer::Settings {
            dial_max: ms(c.of(500..1500)),
            ping_after: ms(silent / c.of(2..5)),
            silent_max: ms(silent),
            retry_max: ms(c.of(300..1200)),
            deserted_max: ms(silent * c.of(4..12)),
            ..peer::Settings::default()
        };
        let replication_factor = c.of(1..u64::from(nodes.min(3)) + 1) as u32;
        let founding = FoundingOptions {
            partitions: c.of(1..6) as u32,
            replication_factor,
            min_isr: c.of(1..u64::from(replication_factor) + 1) as u32,
        };
        Self {
            founding,
            election,
            links,
            session_timeout: ms(c.of(600..3000)),
            balance_after: None,
            snapshot_every: c.skewed(3..60),
            segment_bytes: c.skewed(1 << 10..16 << 10),
            window_bytes: c.pick(&[2 << 10, 16 << 10, 256 << 10]),
            pieces_percent: c.pick(&[0, 10, 50]),
            late_ms: if nodes > 1 && c.percent(20) { c.of(1000..20_000) } else { 0 },
        }
    }

    /// As names and values, for people.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let pair =
            |name: &str, value: &dyn std::fmt::Debug| (name.to_owned(), format!("{value:?}"));
        let e = &self.election;
        vec![
            pair("partitions of the cluster", &self.founding.partitions),
            pair("replication factor", &self.founding.replication_factor),
            pair("min-ISR", &self.founding.min_isr),
            pair("heartbeat", &e.heartbeat),
            pair("election from", &e.election_min),
            pair("election to", &e.election_max),
            pair("entries an append", &e.append_entries_max),
            pair("appends in flight", &e.inflight_max),
            pair("chunk bytes", &e.chunk_bytes),
            pair("tail entries", &e.tail_entries),
            pair("link silent to", &self.links.silent_max),
            pair("bytes that wait for a link", &self.links.queue_bytes_max),
            pair("session timeout", &self.session_timeout),
            pair("leaders go back after", &self.balance_after),
            pair("snapshot every", &self.snapshot_every),
            pair("control segment bytes", &self.segment_bytes),
            pair("window bytes", &self.window_bytes),
            pair("last node starts at ms", &self.late_ms),
        ]
    }
}
