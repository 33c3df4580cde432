//! INFO: what the shard knows of itself, as text.
//!
//! Sections and fields are Redis's where kvnode has the same thing, so that monitors find them;
//! what Redis has not is in the section `kvnode`. A field that would have to be made up is absent.
//!
//! - `used_memory` is what the process has of the machine's memory, all in all, so that it equals
//!   `used_memory_rss`.
//! - `total_net_…` and `instantaneous_…` are of clients; what nodes tell each other is not in it.
//! - `rdb_…` is about what makes the log durable, as BGSAVE does, `aof_…` about the log: it is written
//!   as it grows, and there is nothing else to save.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::time::Duration;

use super::{REDIS_VERSION, Replica, Role};
use crate::args::Args;
use crate::server::Usage;
use crate::server::rates::Totals;
use crate::server::stats::Stats;
use crate::{Epoch, Millis, NodeId, Offset, PartitionId, Term};

/// What INFO reports; filled by the shard.
#[derive(Clone, Debug, Default)]
pub struct Info {
    /// Process id.
    pub process_id: u32,
    /// TCP port that clients connect to.
    pub port: u16,
    /// Identity of the data directory, in hexadecimal; empty while it is not known.
    pub directory_id: String,
    /// Time since the start.
    pub uptime_ms: Millis,
    /// Wall clock, in microseconds since the Unix epoch.
    pub wall_us: u64,
    /// When writes are acknowledged, as `--fsync` takes it: `always`, a number of milliseconds, or
    /// `never`.
    pub fsync: String,
    /// Clients that may be.
    pub max_clients: u32,
    /// Clients that wait for replicas, or for the end of a CLIENT PAUSE.
    pub blocked_clients: usize,
    /// Connections that were turned away.
    pub rejected_connections: u64,
    /// Errors that clients were told.
    pub error_replies: u64,
    /// When all that is logged was last known to be durable, in seconds since the Unix epoch.
    pub durable_at: u64,
    /// The process's memory and processor time, where the driver can tell.
    pub usage: Option<Usage>,
    /// The system; empty if that is not known.
    pub os: String,
    /// What has come and gone since the start.
    pub(crate) totals: Totals,
    /// The same per second, lately.
    pub(crate) rates: Totals,
    /// Records that are logged and not known to be durable.
    pub not_durable: u64,
    /// No fault of the disk keeps a log here from being made durable.
    pub synced: bool,
    /// Nor from being written: the disk is not full either.
    pub written: bool,
    /// What ROLE reports.
    pub role: Role,
    /// The sections of the same names, their lines.
    pub commandstats: String,
    /// See above.
    pub errorstats: String,
    /// See above.
    pub latencystats: String,
    /// Clients that are connected.
    pub clients: usize,
    /// Keys that clients watch.
    pub watched_keys: usize,
    /// Connections accepted since the start.
    pub connections_received: u64,
    /// Reads of a key that was there.
    pub keyspace_hits: u64,
    /// Reads of a key that was not there.
    pub keyspace_misses: u64,
    /// Keys deleted because they had expired.
    pub expired_keys: u64,
    /// Keys, the expired that are not swept yet included.
    pub keys: usize,
    /// Keys with a time of expiry.
    pub expires: usize,
    /// Bytes of memory that the indexes take.
    pub index_bytes: u64,
    /// Fsyncs completed since the start.
    pub fsyncs: u64,
    /// Records that could not be read since the start, and segments in which some could not.
    pub read_faults: u64,
    /// Bytes of the log that were read through since the start and found sound.
    pub scrubbed_bytes: u64,
    /// Whether the node is one of a cluster.
    pub member: bool,
    /// The cluster, once it is known.
    pub cluster: Option<ClusterInfo>,
    /// The value cache.
    pub cache: CacheInfo,
    /// The partitions, in order.
    pub partitions: Vec<PartitionInfo>,
}

/// What INFO reports of the cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterInfo {
    /// The cluster; empty before there is one.
    pub id: String,
    /// This node.
    pub node: NodeId,
    /// Who controls the cluster, as far as this node knows.
    pub controller: Option<NodeId>,
    /// The quorum's term.
    pub term: Term,
    /// Voters of the quorum.
    pub voters: usize,
    /// Nodes that are registered.
    pub nodes: usize,
    /// Nodes that are not fenced.
    pub active_nodes: usize,
    /// How the cluster is, in a line.
    pub summary: String,
}

/// What INFO reports of the value cache.
#[derive(Clone, Debug, Default)]
pub struct CacheInfo {
    /// Reads that it answered.
    pub hits: u64,
    /// Reads that went to disk.
    pub misses: u64,
    /// Bytes that it holds.
    pub bytes: u64,
    /// Bytes that it may hold.
    pub bytes_max: u64,
}

/// What INFO reports of a partition.
#[derive(Clone, Debug, Default)]
pub struct PartitionInfo {
    /// The partition.
    pub id: PartitionId,
    /// Its leader's epoch.
    pub epoch: Epoch,
    /// The next offset to write.
    pub log_end: Offset,
    /// The first offset that is not fsynced.
    pub durable_end: Offset,
    /// The first offset that is not committed.
    pub high_watermark: Offset,
    /// How many replicas are in sync.
    pub isr: usize,
    /// Segments.
    pub segments: usize,
    /// Bytes of the segments.
    pub log_bytes: u64,
    /// Keys.
    pub keys: usize,
    /// Bytes of records that nothing points at any more.
    pub garbage_bytes: u64,
    /// Compactions completed since the start.
    pub compactions: u64,
}

impl Info {
    /// The text of the sections asked for, all of them if none is named. A section that does not
    /// exist is empty.
    pub fn text(&self, sections: Args<'_>) -> String {
        let named = |name: &str| {
            let is = |asked: &&[u8]| asked.eq_ignore_ascii_case(name.as_bytes());
            sections.iter().any(is)
        };
        let everything = named("all") || named("everything");
        let default = sections.is_empty() || named("default");
        let mut text = String::new();
        for (name, section) in SECTIONS {
            let shown = everything || default && !ASKED_FOR.contains(name);
            if shown || named(name) {
                let gap = if text.is_empty() { "" } else { "\r\n" };
                let title = name[..1].to_ascii_uppercase();
                let title = match *name {
                    "kvnode" => "k",
                    "cpu" => "CPU",
                    _ => &title,
                };
                let rest = if *name == "cpu" { "" } else { &name[1..] };
                let section = Section { info: self, write: *section };
                write!(text, "{gap}# {title}{rest}\r\n{section}").expect("a String takes all");
            }
        }
        text
    }

    fn server(&self, out: &mut Lines<'_, '_>) -> fmt::Result {
        let seconds = self.uptime_ms / 1000;
        out.line("redis_version", REDIS_VERSION)?;
        out.line("redis_mode", if self.member { "cluster" } else { "standalone" })?;
        out.line("kvnode_version", env!("CARGO_PKG_VERSION"))?;
        if !self.os.is_empty() {
            out.line("os", &self.os)?;
        }
        out.line("arch_bits", usize::BITS)?;
        out.line("process_id", self.process_id)?;
        out.line("run_id", &self.directory_id)?;
        out.line("tcp_port", self.port)?;
        out.line("server_time_usec", self.wall_us)?;
        out.line("uptime_in_seconds", seconds)?;
        out.line("uptime_in_days", seconds / 86_400)
    }

    fn clients(&self, out: &mut Lines<'_, '_>) -> fmt::Result {
        out.line("connected_clients", self.clients)?;
        out.line("maxclients", self.max_clients)?;
        out.line("blocked_clients", self.blocked_clients)?;
        out.line("tracking_clients", 0)?;
        out.line("pubsub_clients", 0)?;
        out.line("total_watched_keys", self.watched_keys)
    }

    fn memory(&self, out: &mut Lines<'_, '_>) -> fmt::Result {
        if let Some(Usage { memory_bytes, peak_bytes, system_bytes, .. }) = self.usage {
            out.line("used_memory", memory_bytes)?;
            out.line("used_memory_human", Human(memory_bytes))?;
            out.line("used_memory_rss", memory_bytes)?;
            out.line("used_memory_rss_human", Human(memory_bytes))?;
            out.line("used_memory_peak", peak_bytes)?;
            out.line("used_memory_peak_human", Human(peak_bytes))?;
            out.line("total_system_memory", system_bytes)?;
            out.line("total_system_memory_human", Human(system_bytes))?;
        }
        out.line("maxmemory", 0)?;
        out.line("maxmemory_human", "0B")?;
        out.line("maxmemory_policy", "noeviction")?;
        out.line("index_bytes", self.index_bytes)?;
        out.line("cache_bytes", self.cache.bytes)
    }

    fn persistence(&self, out: &mut Lines<'_, '_>) -> fmt::Result {
        out.line("loading", 0)?;
        out.line("async_loading", 0)?;
        let status = |fine| if fine { "ok" } else { "err" };
        out.line("rdb_changes_since_last_save", self.not_durable)?;
        out.line("rdb_bgsave_in_progress", 0)?;
        out.line("rdb_last_save_time", self.durable_at)?;
        out.line("rdb_last_bgsave_status", status(self.synced))?;
        out.line("aof_enabled", 1)?;
        out.line("aof_rewrite_in_progress", 0)?;
        out.line("aof_last_write_status", status(self.written))?;
        out.line("fsync", &self.fsync)?;
        out.line("fsyncs", self.fsyncs)?;
        out.line("read_faults", self.read_faults)?;
        out.line("scrubbed_bytes", self.scrubbed_bytes)
    }

    fn stats(&self, out: &mut Lines<'_, '_>) -> fmt::Result {
        out.line("total_connections_received", self.connections_received)?;
        let Totals { commands, received, sent } = self.totals;
        out.line("total_commands_processed", commands)?;
        out.line("instantaneous_ops_per_sec", self.rates.commands)?;
        out.line("total_net_input_bytes", received)?;
        out.line("total_net_output_bytes", sent)?;
        out.line("instantaneous_input_kbps", Kibi(self.rates.received))?;
        out.line("instantaneous_output_kbps", Kibi(self.rates.sent))?;
        out.line("rejected_connections", self.rejected_connections)?;
        out.line("expired_keys", self.expired_keys)?;
        out.line("evicted_keys", 0)?;
        out.line("keyspace_hits", self.keyspace_hits)?;
        out.line("keyspace_misses", self.keyspace_misses)?;
        out.line("pubsub_channels", 0)?;
        out.line("pubsub_patterns", 0)?;
        // Nothing here ever forks.
        out.line("latest_fork_usec", 0)?;
        out.line("total_error_replies", self.error_replies)
    }

    fn replication(&self, out: &mut Lines<'_, '_>) -> fmt::Result {
        out.line("role", "master")?;
        let Role { offset, replicas } = &self.role;
        out.line("connected_slaves", replicas.len())?;
        for (at, replica) in replicas.iter().enumerate() {
            let Replica { host, port, offset } = replica;
            let value = format_args!("ip={host},port={port},state=online,offset={offset}");
            out.line(format_args!("slave{at}"), value)?;
        }
        out.line("master_repl_offset", offset)
    }

    fn cpu(&self, out: &mut Lines<'_, '_>) -> fmt::Result {
        let Some(Usage { system, user, .. }) = self.usage else { return Ok(()) };
        let seconds = |time: Duration| Seconds(time);
        out.line("used_cpu_sys", seconds(system))?;
        out.line("used_cpu_user", seconds(user))
    }

    fn modules(&self, _: &mut Lines<'_, '_>) -> fmt::Result {
        Ok(())
    }

    fn commandstats(&self, out: &mut Lines<'_, '_>) -> fmt::Result {
        out.0.write_str(&self.commandstats)
    }

    fn errorstats(&self, out: &mut Lines<'_, '_>) -> fmt::Result {
        out.0.write_str(&self.errorstats)
    }

    fn latencystats(&self, out: &mut Lines<'_, '_>) -> fmt::Result {
        out.0.write_str(&self.latencystats)
    }

    fn cluster(&self, out: &mut Lines<'_, '_>) -> fmt::Result {
        out.line("cluster_enabled", u8::from(self.member))?;
        let Some(cluster) = &self.cluster else { return Ok(()) };
        out.line("cluster_id", &cluster.id)?;
        out.line("cluster_node", cluster.node.0)?;
        match cluster.controller {
            Some(node) => out.line("cluster_controller", node.0)?,
            None => out.line("cluster_controller", "none")?,
        }
        out.line("cluster_term", cluster.term.0)?;
        out.line("cluster_voters", cluster.voters)?;
        out.line("cluster_nodes", cluster.nodes)?;
        out.line("cluster_active_nodes", cluster.active_nodes)?;
        out.line("cluster_summary", &cluster.summary)
    }

    fn keyspace(&self, out: &mut Lines<'_, '_>) -> fmt::Result {
        if self.keys == 0 {
            return Ok(());
        }
        out.line("db0", format_args!("keys={},expires={},avg_ttl=0", self.keys, self.expires))
    }

    fn kvnode(&self, out: &mut Lines<'_, '_>) -> fmt::Result {
        let cache = &self.cache;
        out.line("cache_hits", cache.hits)?;
        out.line("cache_misses", cache.misses)?;
        out.line("cache_hit_rate", Percent { part: cache.hits, rest: cache.misses })?;
        out.line("cache_bytes", cache.bytes)?;
        out.line("cache_bytes_max", cache.bytes_max)?;
        out.line("partitions", self.partitions.len())?;
        self.partitions.iter().try_for_each(|partition| out.line(partition.id, partition))
    }
}

type Write1 = fn(&Info, &mut Lines<'_, '_>) -> fmt::Result;

/// In the order in which they are printed.
const SECTIONS: &[(&str, Write1)] = &[
    ("server", Info::server),
    ("clients", Info::clients),
    ("memory", Info::memory),
    ("persistence", Info::persistence),
    ("stats", Info::stats),
    ("replication", Info::replication),
    ("cpu", Info::cpu),
    ("modules", Info::modules),
    ("commandstats", Info::commandstats),
    ("errorstats", Info::errorstats),
    ("latencystats", Info::latencystats),
    ("cluster", Info::cluster),
    ("keyspace", Info::keyspace),
    ("kvnode", Info::kvnode),
];

/// Not shown unless asked for.
const ASKED_FOR: &[&str] = &["commandstats", "latencystats"];

struct Section<'a> {
    info: &'a Info,
    write: Write1,
}

struct Lines<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Lines<'_, '_> {
    fn line(&mut self, name: impl fmt::Display, value: impl fmt::Display) -> fmt::Result {
        write!(self.0, "{name}:{value}\r\n")
    }
}

impl fmt::Display for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.write)(self.info, &mut Lines(f))
    }
}

impl fmt::Display for PartitionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch={},log_end={}", self.epoch.0, self.log_end)?;
        write!(f, ",durable_end={}", self.durable_end)?;
        write!(f, ",high_watermark={},isr={}", self.high_watermark, self.isr)?;
        write!(f, ",segments={},log_bytes={}", self.segments, self.log_bytes)?;
        write!(f, ",keys={},garbage_bytes={}", self.keys, self.garbage_bytes)?;
        write!(f, ",compactions={}", self.compactions)
    }
}

/// The lines of INFO that tell of the statistics: commands, errors, latencies.
pub(crate) fn stats_lines(stats: &Stats) -> [String; 3] {
    let [mut commands, mut errors, mut latencies] = [const { String::new() }; 3];
    for (name, of) in stats.commands() {
        let us = of.took.as_micros();
        // In hundredths of a microsecond.
        let each = (of.took.as_nanos() / 10).checked_div(u128::from(of.calls)).unwrap_or(0);
        let (whole, cents) = (each / 100, each % 100);
        commands.push_str(&format!(
            "cmdstat_{name}:calls={},usec={us},usec_per_call={whole}.{cents:02},rejected_calls={},\
             failed_calls={}\r\n",
            of.calls, of.rejected, of.failed
        ));
        if of.calls > 0 {
            let at = |permille| {
                let nanos = of.times.permille(permille);
                format!("{}.{:03}", nanos / 1_000, nanos % 1_000)
            };
            let (p50, p99, p999) = (at(500), at(990), at(999));
            latencies.push_str(&format!(
                "latency_percentiles_usec_{name}:p50={p50},p99={p99},p99.9={p999}\r\n"
            ));
        }
    }
    for (code, count) in stats.errors() {
        errors.push_str(&format!("errorstat_{code}:count={count}\r\n"));
    }
    [commands, errors, latencies]
}

/// Bytes for people, as Redis writes them.
struct Human(u64);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, 'G'), (20, 'M'), (10, 'K')];
        match units.into_iter().find(|(shift, _)| self.0 >> shift > 0) {
            Some((shift, unit)) => {
                let cents = (u128::from(self.0) * 100) >> shift;
                write!(f, "{}.{:02}{unit}", cents / 100, cents % 100)
            }
            None => write!(f, "{}B", self.0),
        }
    }
}

/// Bytes in units of 1024, with two decimals.
struct Kibi(u64);

impl fmt::Display for Kibi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = u128::from(self.0) * 100 / 1024;
        write!(f, "{}.{:02}", cents / 100, cents % 100)
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

/// `part` of `part + rest` in percent, with two decimals.
struct Percent {
    part: u64,
    rest: u64,
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part, all) = (u128::from(self.part), u128::from(self.part) + u128::from(self.rest));
        let basis_points = (part * 10_000).checked_div(all).unwrap_or(0);
        write!(f, "{}.{:02}", basis_points / 100, basis_points % 100)
    }
}
