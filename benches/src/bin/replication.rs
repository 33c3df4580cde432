//! A replicated kvnode beside a replicated etcd and a single Redis: three kvnodes, three etcds and
//! one redis-server on one machine, each write durable on a majority (or, of Redis, on its one disk)
//! before its reply; the same load in turn, several times; medians, ranges and ratios.
//!
//! - kvnode and Redis are loaded by `redis-benchmark`. All its connections go to one node of
//!   kvnode: with one partition to its leader; with more, to the first node, which forwards what
//!   others lead. Where the cluster tells its nodes as Redis Cluster does, it is also loaded by
//!   `redis-benchmark --cluster`, which goes to the leaders straight.
//! - etcd is loaded over gRPC by a client of ours, all of it at its leader.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use kvnode_benches::cluster::Cluster;
use kvnode_benches::etcd::{self, Etcd};
use kvnode_benches::load::Load;
use kvnode_benches::server::{Kind, Server, build_kvnode};
use kvnode_benches::stats::{Summary, grouped};
use kvnode_benches::{fill, place, progress, report};
use serde::Serialize;

/// Compare a cluster of kvnode with one of etcd and with a redis-server
#[derive(Parser)]
struct Args {
    /// How often each load is measured on each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// About how long each measurement takes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,

    /// Keys, all filled before the first measurement
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    keys: u64,

    /// Bytes of a value
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,

    /// Partitions of the second cluster of kvnode; the first has one
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: u32,

    /// Directory for the data, on a disk
    #[arg(long)]
    dir: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Clients of kvnode and Redis, and of etcd where it is loaded alike.
const CLIENTS: u32 = 50;

/// Clients of etcd among which it may choose its best.
const ETCD_CLIENTS: [usize; 4] = [50, 200, 400, 800];

/// Redis writes each command to its log, and fsyncs it before it replies.
const REDIS_OPTIONS: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// Requests of the run that tells how many a measurement needs.
const PILOT_REQUESTS: u64 = 10_000;

#[derive(Serialize)]
struct Report {
    cores: usize,
    fsync_us: f64,
    machine_load: String,
    redis: String,
    etcd: String,
    keys: u64,
    value_bytes: usize,
    rounds: u32,
    speeds: Vec<Speed>,
    ratios: Vec<Ratio>,
    /// Why there is no figure of `redis-benchmark --cluster`.
    no_direct: Option<String>,
}

/// Requests a second.
#[derive(Serialize)]
struct Speed {
    what: String,
    load: &'static str,
    speed: Summary,
}

#[derive(Serialize)]
struct Ratio {
    what: String,
    ratio: Summary,
    target: f64,
    reached: bool,
}

/// What is measured of one system under one load.
struct Series {
    what: String,
    load: &'static str,
    on: On,
    measured: Vec<f64>,
}

enum On {
    /// By redis-benchmark: port, load, options, and requests of a measurement.
    Resp(u16, Load, &'static [&'static str], u64),
    Etcd(etcd::Load, usize),
}

fn main() -> ExitCode {
    let args = Args::parse();
    report::print(measure(&args), args.json, table)
}

fn measure(args: &Args) -> io::Result<Report> {
    build_kvnode()?;
    let dir = place::temporary(args.dir.as_deref())?;
    let fsync = place::fsync_time(dir.path())?;
    let machine_load = std::fs::read_to_string("/proc/loadavg")?;
    let redis = Server::start(Kind::Redis, &dir.path().join("redis"), &REDIS_OPTIONS)?;
    let (one, _) = Cluster::found(&dir.path().join("one"), &["--partitions", "1"])?;
    let partitions = args.partitions.to_string();
    let (many, _) = Cluster::found(&dir.path().join("many"), &["--partitions", &partitions])?;
    let etcd = Etcd::found(&dir.path().join("etcd"))?;
    let ports = [one.address(one.leaders()?[0]).port(), many.address(0).port()];

    let bar = progress(args.keys * 4);
    bar.set_message("keys filled");
    fill::fill(redis.connect()?, args.keys, args.value_bytes, &bar)?;
    for port in ports {
        let stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
        fill::fill(stream, args.keys, args.value_bytes, &bar)?;
    }
    let time = Duration::from_secs(args.seconds.into());
    etcd.load(etcd::Load::Fill, 400, args.keys, args.value_bytes, time)?;
    bar.finish_and_clear();

    let load = |test, pipeline| {
        let (keys, value_bytes) = (args.keys, args.value_bytes);
        Load { test, clients: CLIENTS, pipeline, keys, value_bytes }
    };
    let loads = [
        ("SET c50 P1", load("set", 1)),
        ("SET c50 P16", load("set", 16)),
        ("GET c50 P1", load("get", 1)),
    ];
    let mut all = Vec::new();
    let mut no_direct = None;
    for (name, load) in loads {
        let mut add = |what: String, port: u16, options: &'static [&'static str]| {
            let pilot = load.run_with(port, PILOT_REQUESTS, options)?;
            let requests = (pilot * f64::from(args.seconds)) as u64;
            let on = On::Resp(port, load, options, requests.max(PILOT_REQUESTS));
            all.push(Series { what, load: name, on, measured: Vec::new() });
            io::Result::Ok(())
        };
        add("kvnode, 1 partition".into(), ports[0], &[])?;
        add(format!("kvnode, {partitions} partitions"), ports[1], &[])?;
        let direct =
            add(format!("kvnode, {partitions} partitions, --cluster"), ports[1], &["--cluster"]);
        no_direct = direct.err().map(|why| why.to_string().trim().to_owned()).or(no_direct);
        add("redis".into(), redis.port(), &[])?;
    }
    for clients in ETCD_CLIENTS {
        let (what, on) = (format!("etcd, {clients} clients"), On::Etcd(etcd::Load::Put, clients));
        all.push(Series { what, load: "put", on, measured: Vec::new() });
    }
    let (what, on) =
        (format!("etcd, {CLIENTS} clients"), On::Etcd(etcd::Load::Range, CLIENTS as usize));
    all.push(Series { what, load: "range", on, measured: Vec::new() });

    let bar = progress(all.len() as u64 * u64::from(args.rounds));
    for round in 0..args.rounds {
        for at in 0..all.len() {
            // Every other round the other way round, so that none always comes after the same.
            let at = if round % 2 == 0 { at } else { all.len() - 1 - at };
            let series = &mut all[at];
            bar.set_message(format!("round {}: {} on {}", round + 1, series.load, series.what));
            series.measured.push(match series.on {
                On::Resp(port, load, options, requests) => {
                    load.run_with(port, requests, options)?
                }
                On::Etcd(load, clients) => {
                    etcd.load(load, clients, args.keys, args.value_bytes, time)?
                }
            });
            bar.inc(1);
        }
    }
    bar.finish_and_clear();

    let version = redis.ask("INFO server")?;
    let version = version.lines().find_map(|line| line.strip_prefix("redis_version:"));
    Ok(Report {
        cores: std::thread::available_parallelism()?.get(),
        fsync_us: fsync.as_secs_f64() * 1e6,
        machine_load: machine_load.split(' ').next().unwrap_or_default().to_owned(),
        redis: version.unwrap_or("of unknown version").to_owned(),
        etcd: Etcd::version()?,
        keys: args.keys,
        value_bytes: args.value_bytes,
        rounds: args.rounds,
        ratios: ratios(&all),
        speeds: all
            .into_iter()
            .map(|series| {
                let speed = Summary::of(&series.measured);
                Speed { what: series.what, load: series.load, speed }
            })
            .collect(),
        no_direct,
    })
}

/// Of each way to load kvnode, to etcd and to Redis.
fn ratios(all: &[Series]) -> Vec<Ratio> {
    let of = |what: &str, load: &str| {
        all.iter().find(|series| series.what == what && series.load == load)
    };
    let puts = || all.iter().filter(|series| series.load == "put");
    let best = puts().max_by(|one, other| {
        let median = |series: &Series| Summary::of(&series.measured).median;
        median(one).total_cmp(&median(other))
    });
    let etcd_50 = format!("etcd, {CLIENTS} clients");
    let mut ratios = Vec::new();
    for (load, other, target) in [
        ("SET c50 P1", of(&etcd_50, "put"), 5.0),
        ("SET c50 P16", best, 15.0),
        ("GET c50 P1", of(&etcd_50, "range"), 10.0),
        ("SET c50 P16", of("redis", "SET c50 P16"), 0.5),
    ] {
        let Some(other) = other else { continue };
        for one in all.iter().filter(|one| one.load == load && one.what.starts_with("kvnode")) {
            let ratio = Summary::of_ratios(&one.measured, &other.measured);
            let what = format!("{load}: {} / {} {}", one.what, other.what, other.load);
            ratios.push(Ratio { what, ratio, target, reached: ratio.median >= target });
        }
    }
    ratios
}

fn table(report: &Report) -> String {
    let mut speeds = report::table(["", "load", "1/s", "range"]);
    for Speed { what, load, speed } in &report.speeds {
        let range = format!("{} – {}", grouped(speed.min), grouped(speed.max));
        speeds.add_row([what.clone(), (*load).to_owned(), grouped(speed.median), range]);
    }
    let mut ratios = report::table(["", "ratio", "range", "target"]);
    for Ratio { what, ratio, target, reached } in &report.ratios {
        let verdict = if *reached { "reached" } else { "BELOW" };
        ratios.add_row([
            what.clone(),
            format!("{:.2}", ratio.median),
            format!("{:.2} – {:.2}", ratio.min, ratio.max),
            format!("{target}, {verdict}"),
        ]);
    }
    let direct = report.no_direct.as_ref();
    let direct = direct.map_or(String::new(), |why| format!("\nNo --cluster figure: {why}"));
    format!(
        "Medians of {} rounds in turn; {} keys, values of {} bytes. Three kvnodes, three etcds {}\n\
         and Redis {} ({}) on {} cores, load {} before;\n\
         write and fsync here: {:.0} µs.\n{speeds}\n{ratios}{direct}",
        report.rounds,
        grouped(report.keys as f64),
        report.value_bytes,
        report.etcd,
        report.redis,
        REDIS_OPTIONS.join(" "),
        report.cores,
        report.machine_load,
        report.fsync_us,
    )
}
