//! How a run of whole nodes is set up: what the seed draws beside the [quorum's](crate::quorum::settings).

use std::time::Duration;

use kvnode_core::control::FoundingOptions;
use kvnode_core::replication::{ReadMode, Settings as Replication};

use crate::chance::Chance;
use crate::disk::Pace;
use crate::quorum::settings::Quorum;
use crate::settings::Settings;

/// Two clocks of which each runs off by so much stay within the drift that replicas reckon with.
const DRIFT_PPM_WITH_LEASES: [u64; 3] = [0, 200, 4000];

/// In how many of a hundred runs a lease is long.
const LONG_LEASE_PERCENT: u64 = 50;

/// A follower hears of its leader at least so often.
const BEAT_EVERY_MS_MAX: u64 = 250;

/// The settings of a run.
pub(crate) fn draw(usual: Settings, c: &mut Chance) -> Settings {
    let nodes = c.pick(&[3, 3, 3, 3, 3, 4, 5, 5, 6, 7]);
    let quick_ns = c.of(100_000..1_000_000);
    let replication = replication(c);
    let mut quorum = Quorum::draw(nodes, c);
    let most = u64::from(nodes.min(5));
    let factor = if c.percent(60) { 3 } else { c.of(1..most + 1) as u32 };
    quorum.founding = FoundingOptions {
        partitions: c.pick(&[1, 1, 1, 2, 2, 3, 4]),
        replication_factor: factor,
        min_isr: if factor > 1 && c.percent(60) { 2 } else { 1 },
    };
    let drift_ppm_max = match replication.reads {
        ReadMode::Lease => c.pick(&DRIFT_PPM_WITH_LEASES),
        ReadMode::Confirm => c.pick(&[0, 200, 50_000]),
    };
    let settings = Settings {
        nodes,
        clients: c.of(3..7) as u32,
        readers: c.pick(&[0, 1, 1, 1, 2, 2]),
        nearby: c.pick(&[0, 0, 1, 1]),
        groups: c.of(3..10) as u16,
        strays_per_mille: c.pick(&[0, 0, 3, 20]),
        drift_ppm_max,
        pace: Pace { min_ns: quick_ns, max_ns: quick_ns * c.of(2..20) },
        latency_us: (usual.latency_us.0, usual.latency_us.1.min(8000)),
        faults: c.pick(&[6, 16, 30]),
        duration_ms: 40_000,
        think_ms: c.of(60..300),
        segment_bytes: c.skewed(1 << 10..24 << 10),
        value_bytes_max: c.pick(&[64, 300, 2000]),
        replication,
        quorum,
        ..usual
    };
    // Half of them hear what a node says that has looked for a leader in vain.
    let patience_ms = c.pick(&[4_000, 8_000]);
    let mut settings = Settings { patience_ms, waits_percent: c.pick(&[0, 3, 10]), ..settings };
    let balance_after = c.pick(&[None, None, Some(300), Some(3_000)]);
    settings.quorum.balance_after = balance_after.map(Duration::from_millis);
    settings.threads = c.percent(60);
    settings.quorum.links.queue_bytes_max = c.pick(&[512, 8 << 10, 16 << 20, 16 << 20]);
    settings
}

fn replication(c: &mut Chance) -> Replication {
    let ms = Duration::from_millis;
    // Longer than it takes to replace a leader, or shorter.
    let reads = if c.percent(60) { ReadMode::Lease } else { ReadMode::Confirm };
    let is_long = reads == ReadMode::Lease && c.percent(LONG_LEASE_PERCENT);
    let lease_ms = if is_long { c.of(400..3000) } else { c.of(60..500) };
    Replication {
        lease: ms(lease_ms),
        drift: 100,
        reads,
        replica_lag_max: ms(lease_ms + c.of(100..2000)),
        beat_every: ms((lease_ms / c.of(2..6)).clamp(10, BEAT_EVERY_MS_MAX)),
        retry: ms(c.of(30..250)),
        inflight_bytes: c.skewed(1 << 8..4 << 20) as usize,
        inflight_chunks: c.skewed(1..33) as usize,
        chunk_bytes: c.skewed(1 << 7..1 << 20) as usize,
    }
}

/// As names and values, for people.
pub(crate) fn pairs(replication: &Replication) -> Vec<(String, String)> {
    let pair = |name: &str, value: &dyn std::fmt::Debug| (name.to_owned(), format!("{value:?}"));
    vec![
        pair("reads", &replication.reads),
        pair("lease", &replication.lease),
        pair("replica lag to", &replication.replica_lag_max),
        pair("beat every", &replication.beat_every),
        pair("follower asks again after", &replication.retry),
        pair("bytes in flight", &replication.inflight_bytes),
        pair("chunks in flight", &replication.inflight_chunks),
        pair("bytes a chunk", &replication.chunk_bytes),
    ]
}
