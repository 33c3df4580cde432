//! kvnode beside redis-server, each write durable before its reply: the same `redis-benchmark` in
//! turn against both, several times; medians, ranges and ratios.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use kvnode_benches::load::Load;
use kvnode_benches::server::{Kind, Server, build_kvnode};
use kvnode_benches::stats::{Summary, grouped};
use kvnode_benches::{fill, place, progress, report};
use serde::Serialize;

/// Compare kvnode with redis-server under the same load
#[derive(Parser)]
struct Args {
    /// How often each load is measured on each server
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Keys, all filled before the first measurement
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    keys: u64,

    /// Bytes of a value
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,

    /// About how long each measurement takes
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,

    /// kvnode's cache of values; the default holds all of the default keys
    #[arg(long, default_value = "512mb")]
    cache: String,

    /// Directory for the data, on a disk
    #[arg(long)]
    dir: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One kind of load, and what kvnode is to reach.
struct Target {
    name: &'static str,
    test: &'static str,
    pipeline: u32,
    /// kvnode's throughput over Redis's.
    target: f64,
}

const LOADS: [Target; 4] = [
    Target { name: "SET c50 P1", test: "set", pipeline: 1, target: 1.2 },
    Target { name: "SET c50 P16", test: "set", pipeline: 16, target: 1.5 },
    Target { name: "GET c50 P1", test: "get", pipeline: 1, target: 1.0 },
    Target { name: "GET c50 P16", test: "get", pipeline: 16, target: 1.0 },
];

/// Connections.
const CLIENTS: u32 = 50;

/// Redis writes each command to its log, and fsyncs it before it replies.
const REDIS_OPTIONS: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// Requests of the run that tells how many a measurement needs.
const PILOT_REQUESTS: u64 = 50_000;

/// Requests of a measurement, at most.
const REQUESTS_MAX: u64 = 50_000_000;

#[derive(Serialize)]
struct Report {
    cores: usize,
    fsync_us: f64,
    redis: String,
    keys: u64,
    value_bytes: usize,
    cache: String,
    rounds: u32,
    results: Vec<Measured>,
}

/// Requests a second of both, and their ratio.
#[derive(Serialize)]
struct Measured {
    load: &'static str,
    requests: u64,
    redis: Summary,
    kvnode: Summary,
    ratio: Summary,
    target: f64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    report::print(measure(&args), args.json, table)
}

fn measure(args: &Args) -> io::Result<Report> {
    build_kvnode()?;
    let dir = place::temporary(args.dir.as_deref())?;
    let fsync = place::fsync_time(dir.path())?;
    let redis = Server::start(Kind::Redis, &dir.path().join("redis"), &REDIS_OPTIONS)?;
    let options = ["--fsync", "always", "--cache", &args.cache];
    let kvnode = Server::start(Kind::Kvnode, &dir.path().join("kvnode"), &options)?;
    let servers = [&redis, &kvnode];

    let bar = progress(args.keys * 2);
    bar.set_message("keys filled");
    for server in servers {
        fill::fill(server.connect()?, args.keys, args.value_bytes, &bar)?;
    }
    bar.finish_and_clear();

    let bar = progress(LOADS.len() as u64 * 2 * u64::from(args.rounds + 1));
    // Requests, so that the slower of the two takes the time asked for.
    let mut requests = Vec::new();
    for load in &LOADS {
        bar.set_message(format!("{}: how many requests", load.name));
        let mut slowest = f64::INFINITY;
        for server in servers {
            slowest = slowest.min(load.on(args).run(server.port(), PILOT_REQUESTS)?);
            bar.inc(1);
        }
        let enough = (slowest * f64::from(args.seconds)) as u64;
        requests.push(enough.clamp(PILOT_REQUESTS, REQUESTS_MAX));
    }
    let mut speeds = vec![[Vec::new(), Vec::new()]; LOADS.len()];
    for round in 0..args.rounds {
        for (i, load) in LOADS.iter().enumerate() {
            // Neither always goes first.
            for turn in 0..2 {
                let which = ((round + turn) % 2) as usize;
                let name = [Kind::Redis, Kind::Kvnode][which].name();
                bar.set_message(format!("round {}: {} on {name}", round + 1, load.name));
                speeds[i][which].push(load.on(args).run(servers[which].port(), requests[i])?);
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();

    let version = redis.ask("INFO server")?;
    let version = version.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let report = Report {
        cores: std::thread::available_parallelism()?.get(),
        fsync_us: fsync.as_secs_f64() * 1e6,
        redis: version.unwrap_or("of unknown version").to_owned(),
        keys: args.keys,
        value_bytes: args.value_bytes,
        cache: args.cache.clone(),
        rounds: args.rounds,
        results: LOADS
            .iter()
            .zip(&speeds)
            .zip(requests)
            .map(|((load, [redis, kvnode]), requests)| Measured {
                load: load.name,
                requests,
                redis: Summary::of(redis),
                kvnode: Summary::of(kvnode),
                ratio: Summary::of_ratios(kvnode, redis),
                target: load.target,
            })
            .collect(),
    };
    redis.stop()?;
    kvnode.stop()?;
    Ok(report)
}

impl Target {
    fn on(&self, args: &Args) -> Load {
        let (keys, value_bytes) = (args.keys, args.value_bytes);
        Load { test: self.test, clients: CLIENTS, pipeline: self.pipeline, keys, value_bytes }
    }
}

fn table(report: &Report) -> String {
    let mut table = report::table(["load", "redis, 1/s", "kvnode, 1/s", "ratio", "target"]);
    let speed =
        |s: Summary| format!("{}\n{} – {}", grouped(s.median), grouped(s.min), grouped(s.max));
    for measured in &report.results {
        let ratio = measured.ratio;
        let verdict = if ratio.median >= measured.target { "reached" } else { "BELOW" };
        table.add_row([
            measured.load.to_owned(),
            speed(measured.redis),
            speed(measured.kvnode),
            format!("{:.2}\n{:.2} – {:.2}", ratio.median, ratio.min, ratio.max),
            format!("{:.1}\n{verdict}", measured.target),
        ]);
    }
    format!(
        "Medians of {} rounds in turn, ranges below; {} keys, values of {} bytes.\n\
         Redis {}: {}. kvnode: --fsync always --cache {}.\n\
         {} cores; write and fsync here: {:.0} µs.\n{table}",
        report.rounds,
        grouped(report.keys as f64),
        report.value_bytes,
        report.redis,
        REDIS_OPTIONS.join(" "),
        report.cache,
        report.cores,
        report.fsync_us,
    )
}
