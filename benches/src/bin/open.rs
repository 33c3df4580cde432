//! Many keys: memory of the index, and how long a server takes to open them.
//!
//! - Memory, less the bytes of the keys themselves: of the index, as INFO tells it, and of a kvnode
//!   that has opened with the keys and no cache, less that of an empty one.
//! - Opening: from the start of the process to its first good answer. kvnode reads its hints; Redis
//!   loads its append-only file, once as the writes have made it and once rewritten, which is the
//!   best case for it. All files were just written, so they are in the page cache for both.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use indicatif::ProgressBar;
use kvnode_benches::server::{Kind, Server, build_kvnode};
use kvnode_benches::stats::{Summary, grouped};
use kvnode_benches::{fill, place, progress, report};
use serde::Serialize;

/// Measure memory a key and the time to open many keys
#[derive(Parser)]
struct Args {
    /// Keys
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    keys: u64,

    /// Bytes of a value
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,

    /// How often each is opened
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// kvnode's index: hash or ordered
    #[arg(long, default_value = "hash")]
    index: String,

    /// Directory for the data, on a disk
    #[arg(long)]
    dir: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Bytes that a key may take beyond itself.
const KEY_OVERHEAD_TARGET: f64 = 24.0;

/// kvnode's time to open over Redis's.
const OPENING_TARGET: f64 = 1.0 / 3.0;

/// As it is run for durable writes, but for the fill: nobody waits for it.
const REDIS_OPTIONS: [&str; 6] =
    ["--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"];

#[derive(Serialize)]
struct Report {
    keys: u64,
    key_bytes: usize,
    value_bytes: usize,
    index: String,
    rounds: u32,
    kvnode_bytes: u64,
    kvnode_bytes_empty: u64,
    index_bytes: u64,
    index_overhead_bytes_a_key: f64,
    overhead_bytes_a_key: f64,
    kvnode_seconds: Summary,
    redis_seconds: Summary,
    redis_seconds_rewritten: Summary,
    ratio: f64,
    ratio_rewritten: f64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    report::print(measure(&args), args.json, table)
}

fn measure(args: &Args) -> io::Result<Report> {
    build_kvnode()?;
    let dir = place::temporary(args.dir.as_deref())?;
    let bar = progress(args.keys * 2 + u64::from(args.rounds) * 3);
    let (kvnode_seconds, memory, memory_empty) = kvnode(args, dir.path(), &bar)?;
    let beyond_key = |bytes: u64| bytes as f64 / args.keys as f64 - fill::key(0).len() as f64;
    let (redis_seconds, rewritten) = redis(args, dir.path(), &bar)?;
    bar.finish_and_clear();
    let key_bytes = fill::key(0).len();
    Ok(Report {
        keys: args.keys,
        key_bytes,
        value_bytes: args.value_bytes,
        index: args.index.clone(),
        rounds: args.rounds,
        kvnode_bytes: memory.process,
        kvnode_bytes_empty: memory_empty,
        index_bytes: memory.index,
        index_overhead_bytes_a_key: beyond_key(memory.index),
        overhead_bytes_a_key: beyond_key(memory.process.saturating_sub(memory_empty)),
        ratio: kvnode_seconds.median / redis_seconds.median,
        ratio_rewritten: kvnode_seconds.median / rewritten.median,
        kvnode_seconds,
        redis_seconds,
        redis_seconds_rewritten: rewritten,
    })
}

/// Memory of a server in bytes.
#[derive(Clone, Copy, Default)]
struct Memory {
    process: u64,
    /// Of kvnode's index, as INFO tells it; zero for Redis.
    index: u64,
}

/// Seconds to open, memory with the keys, memory without.
fn kvnode(args: &Args, dir: &Path, bar: &ProgressBar) -> io::Result<(Summary, Memory, u64)> {
    let options = ["--fsync", "never", "--cache", "0", "--index", &args.index];
    let empty = Server::start(Kind::Kvnode, &dir.join("empty"), &options)?;
    let memory_empty = empty.memory()?;
    empty.stop()?;
    let dir = dir.join("kvnode");
    let server = Server::start(Kind::Kvnode, &dir, &options)?;
    bar.set_message("kvnode: keys filled");
    fill::fill(server.connect()?, args.keys, args.value_bytes, bar)?;
    server.stop()?;
    bar.set_message("kvnode: opening");
    let (seconds, memory) = reopen(Kind::Kvnode, args, &dir, &options, bar)?;
    Ok((seconds, memory, memory_empty))
}

/// Seconds to load the file as written, and as rewritten.
fn redis(args: &Args, dir: &Path, bar: &ProgressBar) -> io::Result<(Summary, Summary)> {
    let dir = dir.join("redis");
    let server = Server::start(Kind::Redis, &dir, &REDIS_OPTIONS)?;
    bar.set_message("redis: keys filled");
    fill::fill(server.connect()?, args.keys, args.value_bytes, bar)?;
    server.stop()?;
    bar.set_message("redis: loading the file as written");
    let (written, _) = reopen(Kind::Redis, args, &dir, &REDIS_OPTIONS, bar)?;
    let mut server = Server::start(Kind::Redis, &dir, &REDIS_OPTIONS)?;
    bar.set_message("redis: rewriting");
    server.ask("BGREWRITEAOF")?;
    server.wait_for_info("persistence", "aof_rewrite_in_progress:0")?;
    server.stop()?;
    bar.set_message("redis: loading the rewritten file");
    let (rewritten, _) = reopen(Kind::Redis, args, &dir, &REDIS_OPTIONS, bar)?;
    Ok((written, rewritten))
}

/// Opens several times: seconds, and memory in the end. Checks that all keys are there.
fn reopen(
    kind: Kind,
    args: &Args,
    dir: &Path,
    options: &[&str],
    bar: &ProgressBar,
) -> io::Result<(Summary, Memory)> {
    let mut seconds = Vec::new();
    let mut memory = Memory::default();
    for _ in 0..args.rounds {
        let server = Server::start(kind, dir, options)?;
        seconds.push(server.opening.as_secs_f64());
        let keys = server.ask("DBSIZE")?;
        if keys != format!(":{}", args.keys) {
            return Err(io::Error::other(format!("{} opens with {keys} keys", kind.name())));
        }
        let info = server.ask("INFO")?;
        let index = info.lines().find_map(|line| line.strip_prefix("index_bytes:")?.parse().ok());
        memory = Memory { process: server.memory()?, index: index.unwrap_or(0) };
        server.stop()?;
        bar.inc(1);
    }
    Ok((Summary::of(&seconds), memory))
}

fn table(report: &Report) -> String {
    let verdict = |reached: bool| if reached { "reached" } else { "MISSED" };
    let seconds = |s: Summary| format!("{:.2} ({:.2} – {:.2})", s.median, s.min, s.max);
    let mut table = report::table(["", "measured", "target", ""]);
    for (whose, overhead) in [
        ("the index's", report.index_overhead_bytes_a_key),
        ("the process's", report.overhead_bytes_a_key),
    ] {
        table.add_row([
            format!("{whose} bytes a key beyond the key"),
            format!("{overhead:.1}"),
            format!("at most {KEY_OVERHEAD_TARGET}"),
            verdict(overhead <= KEY_OVERHEAD_TARGET).to_owned(),
        ]);
    }
    let (kvnode, redis) = (report.kvnode_seconds, report.redis_seconds);
    table.add_row(["kvnode opens, s".to_owned(), seconds(kvnode), String::new(), String::new()]);
    table.add_row([
        "redis loads as written, s".to_owned(),
        seconds(redis),
        String::new(),
        String::new(),
    ]);
    let rewritten = seconds(report.redis_seconds_rewritten);
    table.add_row(["redis loads rewritten, s".to_owned(), rewritten, String::new(), String::new()]);
    for (name, ratio) in [
        ("kvnode / redis as written", report.ratio),
        ("kvnode / redis rewritten", report.ratio_rewritten),
    ] {
        table.add_row([
            name.to_owned(),
            format!("{ratio:.2}"),
            format!("below {OPENING_TARGET:.2}"),
            verdict(ratio < OPENING_TARGET).to_owned(),
        ]);
    }
    format!(
        "{} keys of {} bytes, values of {} bytes, index {}; medians of {} rounds.\n{table}",
        grouped(report.keys as f64),
        report.key_bytes,
        report.value_bytes,
        report.index,
        report.rounds,
    )
}
