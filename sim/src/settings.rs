//! What a run is like: the profile says in which bounds, the seed draws within them.

use std::time::Duration;

use kvnode_core::replication;
use kvnode_core::shard::{FsyncMode, IndexKind};
use kvnode_core::storage::replica::{MergeSettings, ScrubSettings};
use kvnode_core::storage::scan::WINDOW_BYTES;

use crate::chance::{Chance, Purpose};
use crate::disk::{Pace, Strike};
use crate::plan::Class;
use crate::quorum::settings::Quorum;

/// In how many of a hundred runs all records are of one length.
const UNIFORM_PERCENT: u64 = 15;

/// In how many of a hundred runs of a cluster all machines are the same.
const EVEN_PERCENT: u64 = 15;

/// A named sort of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// One node, four clients, a minute, everything that can go wrong.
    Standard,
    /// As standard, without any fault.
    Calm,
    /// As standard, with crashes and disk faults alone, and more of them.
    Disk,
    /// As standard, with clock faults, crashes and much expiry.
    Clock,
    /// As standard, with network faults alone.
    Network,
    /// One to seven nodes and their controller quorum, everything that can go wrong between them.
    Cluster,
    /// Three to seven nodes with replicated partitions, clients of all of them, everything that can go
    /// wrong.
    Replication,
    /// A few seconds without faults on small segments: what sweeps put their single faults into.
    Short,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Standard,
        Self::Calm,
        Self::Disk,
        Self::Clock,
        Self::Network,
        Self::Short,
        Self::Cluster,
        Self::Replication,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Calm => "calm",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Network => "network",
            Self::Cluster => "cluster",
            Self::Replication => "replication",
            Self::Short => "short",
        }
    }

    /// What it is for, in a sentence.
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Standard => "one node, four clients, a minute, everything that can go wrong",
            Self::Calm => "the same without any fault",
            Self::Disk => "crashes and disk faults, many of them",
            Self::Clock => "clocks that jump and drift, crashes, much expiry",
            Self::Network => "network faults alone",
            Self::Cluster => "one to seven nodes and their controller quorum",
            Self::Replication => {
                "three to seven nodes, replicated partitions, clients of all of them"
            }
            Self::Short => "a few seconds without faults, for sweeps over single ones",
        }
    }

    /// The profile of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// Whether its nodes are of a cluster, and have a control.
    pub(crate) fn has_control(self) -> bool {
        matches!(self, Self::Cluster | Self::Replication)
    }

    /// Whether its nodes hold data.
    pub(crate) fn has_shard(self) -> bool {
        self != Self::Cluster
    }

    fn usual_share(self, class: Class) -> u64 {
        let crash = matches!(
            class,
            Class::Kill | Class::PowerKept | Class::PowerLost | Class::PowerMixed | Class::Restart
        );
        let disk = matches!(
            class,
            Class::Strike(_)
                | Class::Rot
                | Class::BadSector
                | Class::Full
                | Class::SlowDisk
                | Class::Stall
        );
        let clock = matches!(class, Class::Jump | Class::Drift);
        let network = matches!(
            class,
            Class::CutOneWay
                | Class::CutBothWays
                | Class::Flap
                | Class::Swizzle
                | Class::Loss
                | Class::Lag
                | Class::Reset
        );
        let usual = crate::plan::usual_share(class);
        match self {
            Self::Standard => usual,
            Self::Cluster => crate::quorum::draw::share(class),
            Self::Replication => crate::replication::draw::share(class),
            Self::Calm | Self::Short => 0,
            Self::Disk if crash || disk => usual * 5 / 4,
            Self::Clock if crash => usual,
            Self::Clock if clock => 90,
            Self::Network if network => 60,
            Self::Disk | Self::Clock | Self::Network => 0,
        }
    }
}

/// How a run is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The profile that it was drawn from.
    pub profile: Profile,
    /// How many nodes.
    pub nodes: u32,
    /// How many clients.
    pub clients: u32,
    /// Of them, so many only read.
    pub readers: u32,
    /// As many others read from whoever is near.
    pub nearby: u32,
    /// How many of a thousand messages between replicas come late, or twice, or behind others.
    pub strays_per_mille: u64,
    /// Whether a node's control and its shard hear each other late, as two threads do.
    pub threads: bool,
    /// How long faults and clients go on, in ms of simulated time.
    pub duration_ms: u64,
    /// About how many faults.
    pub faults: u64,
    /// How much a clock may run fast or slow.
    pub drift_ppm_max: u64,
    /// How many partitions a node has.
    pub partitions: u32,
    /// When a write is acknowledged.
    pub fsync: FsyncMode,
    /// Which index.
    pub index: IndexKind,
    /// Size at which a segment rolls.
    pub segment_bytes: u64,
    /// Zeros written ahead.
    pub zero_ahead_bytes: u64,
    /// Bytes read at a time where a segment is read through.
    pub window_bytes: u32,
    /// Compaction.
    pub merge: MergeSettings,
    /// Whether, how fast and how often segments are read through.
    pub scrub: Option<ScrubSettings>,
    /// Whether the node has a value cache.
    pub cache: bool,
    /// In how many of a hundred cases a read finds the file in memory.
    pub cached_percent: u64,
    pub(crate) pace: Pace,
    /// The quickest and the slowest message, in microseconds.
    pub latency_us: (u64, u64),
    /// How long a client thinks between calls, at most, in ms.
    pub think_ms: u64,
    /// How many of a hundred turns of a client end with WAIT or WAITAOF.
    pub waits_percent: u64,
    /// How long a client waits for an answer, in ms.
    pub patience_ms: u64,
    /// How many commands a client sends before it waits for an answer, at most.
    pub pipeline: u64,
    /// Groups of keys.
    pub groups: u16,
    /// Weights of the sorts of actions, as `client::workload` has them.
    pub(crate) mix: Vec<u64>,
    /// Longest value, in bytes.
    pub value_bytes_max: u64,
    /// Every record of the log is so long, so that what a disk gives back from another place of a file
    /// begins and ends with a record.
    pub record_bytes: Option<u64>,
    /// Longest time to live, in ms.
    pub ttl_ms_max: u64,
    /// How partitions are replicated, in the replication profile.
    pub replication: replication::Settings,
    /// Of the profiles whose nodes are of a cluster.
    pub quorum: Quorum,
}

impl Settings {
    /// The settings of a seed.
    pub fn draw(profile: Profile, seed: u64) -> Self {
        let mut chance = Chance::new(seed, Purpose::Swarm);
        let c = &mut chance;
        let fsync = match c.below(10) {
            0 | 1 => FsyncMode::EveryMs(c.skewed(5..500) as u32),
            2 => FsyncMode::Never,
            _ => FsyncMode::Always,
        };
        let quick_ns = c.of(100_000..2_000_000);
        let latency = c.of(100..3000);
        let faults = match profile {
            Profile::Standard | Profile::Clock | Profile::Network => 24,
            Profile::Disk | Profile::Cluster | Profile::Replication => 36,
            Profile::Calm | Profile::Short => 0,
        };
        let settings = Self {
            profile,
            nodes: 1,
            clients: 4,
            readers: 0,
            nearby: 0,
            strays_per_mille: 0,
            threads: false,
            duration_ms: 60_000,
            faults,
            drift_ppm_max: c.pick(&[0, 200, 1000, 50_000]),
            partitions: if c.percent(70) { 1 } else { c.of(2..5) as u32 },
            fsync,
            index: if c.percent(60) { IndexKind::Hash } else { IndexKind::Ordered },
            segment_bytes: c.skewed(1 << 10..48 << 10),
            zero_ahead_bytes: c.pick(&[0, 512, 4096]),
            window_bytes: WINDOW_BYTES,
            merge: MergeSettings {
                garbage_percent: c.of(10..70),
                small_files: c.of(2..7) as usize,
                bytes_per_second: c.pick(&[64 << 10, 1 << 20, 64 << 20]),
                check_every: if c.percent(90) {
                    Duration::from_millis(c.skewed(20..2000))
                } else {
                    Duration::from_secs(1 << 30)
                },
            },
            scrub: scrub(&mut c.clone()),
            cache: c.percent(50),
            cached_percent: c.pick(&[0, 50, 100]),
            pace: Pace { min_ns: quick_ns, max_ns: quick_ns * c.of(2..30) },
            latency_us: (latency, latency * c.of(2..8)),
            think_ms: c.of(90..360),
            patience_ms: 4_000,
            waits_percent: 0,
            pipeline: if c.percent(60) { 1 } else { c.of(2..9) },
            groups: c.of(3..14) as u16,
            mix: (0..crate::client::MIX).map(|_| c.skewed(1..33) - 1).collect(),
            value_bytes_max: c.pick(&[64, 300, 2000, 20_000]),
            record_bytes: None,
            replication: replication::Settings::default(),
            quorum: Quorum::draw(1, &mut c.clone()),
            ttl_ms_max: if profile == Profile::Clock { 3000 } else { c.skewed(50..20_000) },
        };
        let uniform = c.percent(UNIFORM_PERCENT);
        let settings = match profile {
            Profile::Short => return settings.short(),
            Profile::Cluster => settings.cluster(c),
            Profile::Replication => crate::replication::settings::draw(settings, c),
            Profile::Standard
            | Profile::Calm
            | Profile::Disk
            | Profile::Clock
            | Profile::Network => {
                if uniform {
                    settings.uniform(c)
                } else {
                    settings
                }
            }
        };
        // Most of its segments are shorter than what is read of one at a time otherwise.
        Self { window_bytes: c.pick(&[1 << 10, 4 << 10, WINDOW_BYTES, WINDOW_BYTES]), ..settings }
    }

    /// Few keys, values of one length, and reads that reach the disk: for what a disk does not give back
    /// from where it should.
    fn uniform(self, c: &mut Chance) -> Self {
        Self {
            record_bytes: Some(c.pick(&[128, 256])),
            partitions: c.of(1..4) as u32,
            groups: c.of(1..4) as u16,
            cache: false,
            cached_percent: 0,
            segment_bytes: c.of(1 << 10..6 << 10),
            ..self
        }
    }

    /// Some nodes, and no clients.
    fn cluster(self, c: &mut Chance) -> Self {
        let nodes = c.pick(&[1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7]);
        let quick_ns = c.of(100_000..1_000_000);
        let settings = Self {
            nodes,
            clients: 0,
            fsync: FsyncMode::Always,
            drift_ppm_max: c.pick(&[0, 200, 50_000]),
            pace: Pace { min_ns: quick_ns, max_ns: quick_ns * c.of(2..20) },
            faults: c.pick(&[6, 16, 30]),
            quorum: Quorum::draw(nodes, c),
            ..self
        };
        if c.percent(EVEN_PERCENT) { settings.even(c) } else { settings }
    }

    /// Machines, disks and links that are all the same: what does not draw lots by itself does
    /// everything at the same time as the others.
    fn even(self, c: &mut Chance) -> Self {
        let latency_us = c.of(1000..20_000);
        let pace_ns = self.pace.min_ns;
        Self {
            drift_ppm_max: 0,
            pace: Pace { min_ns: pace_ns, max_ns: pace_ns + 1 },
            latency_us: (latency_us, latency_us + 1),
            ..self
        }
    }

    /// Much on little room: every file is there, and each has few sectors.
    fn short(self) -> Self {
        Self {
            clients: 2,
            duration_ms: 8_000,
            drift_ppm_max: 0,
            partitions: 1,
            fsync: FsyncMode::Always,
            segment_bytes: 4096,
            zero_ahead_bytes: 1024,
            merge: MergeSettings {
                garbage_percent: 40,
                small_files: 3,
                bytes_per_second: 64 << 20,
                check_every: Duration::from_millis(200),
            },
            scrub: Some(ScrubSettings {
                bytes_per_second: 1 << 20,
                every: Duration::from_millis(500),
            }),
            think_ms: 40,
            pipeline: 1,
            pace: Pace { min_ns: 100_000, max_ns: 1_000_000 },
            latency_us: (100, 1000),
            groups: 3,
            mix: vec![6; crate::client::MIX],
            value_bytes_max: 300,
            ..self
        }
    }

    /// In how many of a hundred runs the class of faults is on.
    pub(crate) fn share(&self, class: Class) -> u64 {
        // Where nothing promises that what was acknowledged is durable, a failed fsync may take some
        // of it while the node goes on: no checker could tell that from a bug.
        let relaxed = self.fsync != FsyncMode::Always;
        if relaxed && class == Class::Strike(Strike::Sync) {
            return 0;
        }
        if class == Class::Drift && self.drift_ppm_max == 0 {
            return 0;
        }
        match self.profile.usual_share(class) {
            0 => 0,
            _ if self.favours(class) => 90,
            share => share,
        }
    }

    /// Whether the class of faults is what this run is for.
    pub(crate) fn favours(&self, class: Class) -> bool {
        let astray =
            [Class::Strike(Strike::MisdirectedRead), Class::Strike(Strike::MisdirectedWrite)];
        self.record_bytes.is_some() && astray.contains(&class)
    }

    /// As names and values, for people.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let pair =
            |name: &str, value: &dyn std::fmt::Debug| (name.to_owned(), format!("{value:?}"));
        if self.profile == Profile::Cluster {
            let mut pairs = vec![
                ("profile".to_owned(), self.profile.name().to_owned()),
                pair("nodes", &self.nodes),
                pair("drift to ppm", &self.drift_ppm_max),
                pair("disk to ns", &self.pace.max_ns),
                pair("messages to us", &self.latency_us.1),
            ];
            pairs.extend(self.quorum.pairs());
            return pairs;
        }
        let mut pairs = vec![
            pair("nodes", &self.nodes),
            pair("clients", &self.clients),
            pair("clients that only read", &self.readers),
            pair("clients that read nearby", &self.nearby),
            pair("strays of a thousand", &self.strays_per_mille),
            pair("threads", &self.threads),
            pair("partitions", &self.partitions),
            pair("fsync", &self.fsync),
            pair("index", &self.index),
            pair("segment bytes", &self.segment_bytes),
            pair("zeros ahead", &self.zero_ahead_bytes),
            pair("bytes read at a time", &self.window_bytes),
            pair("merge at garbage of", &self.merge.garbage_percent),
            pair("merge small files", &self.merge.small_files),
            pair("merge looks every", &self.merge.check_every),
            pair("scrub", &self.scrub),
            pair("value cache", &self.cache),
            pair("reads found in memory", &self.cached_percent),
            pair("think time to ms", &self.think_ms),
            pair("pipeline to", &self.pipeline),
            pair("groups of keys", &self.groups),
            pair("values to bytes", &self.value_bytes_max),
            pair("record bytes", &self.record_bytes),
            pair("ttl to ms", &self.ttl_ms_max),
            pair("drift to ppm", &self.drift_ppm_max),
        ];
        if self.profile == Profile::Replication {
            pairs.extend(crate::replication::settings::pairs(&self.replication));
            pairs.extend(self.quorum.pairs());
        }
        pairs.insert(0, ("profile".to_owned(), self.profile.name().to_owned()));
        pairs
    }

    /// In one line.
    pub fn line(&self) -> String {
        let pairs = self.pairs();
        pairs.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    }
}

/// In most runs segments are read through, often enough that a round ends.
fn scrub(c: &mut Chance) -> Option<ScrubSettings> {
    let bytes_per_second = c.pick(&[8 << 10, 64 << 10, 1 << 20]);
    let every = Duration::from_millis(c.of(100..5000));
    c.percent(70).then_some(ScrubSettings { bytes_per_second, every })
}
