//! kvnode's log and keydir beside embedded engines, without sockets: durable batches, random reads,
//! opening, memory.
//!
//! Each engine runs in processes of its own, one that writes and one that opens and reads, so that
//! memory is its own. All get the same cache. kvnode is its whole shard, commands and all, on the
//! real disk; its reads therefore do more than the others' do. RocksDB is left out: its build needs
//! libclang and a quarter of an hour.

mod engine;
mod kvnode;
mod others;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use kvnode_benches::fill::key;
use kvnode_benches::server::memory_of;
use kvnode_benches::stats::grouped;
use kvnode_benches::{place, progress, report};
use serde::{Deserialize, Serialize};

use engine::Engine;

/// Compare kvnode's storage with embedded engines
#[derive(Clone, Parser)]
struct Args {
    /// Keys
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    keys: u64,

    /// Bytes of a value
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,

    /// Keys written at once, with one fsync
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    batch: u64,

    /// Directory for the data, on a disk
    #[arg(long)]
    dir: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Be the process that writes, or reads, with one engine
    #[arg(long, hide = true, requires = "step")]
    engine: Option<Name>,

    #[arg(long, hide = true)]
    step: Option<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Kvnode,
    Redb,
    Fjall,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    Write,
    Read,
}

/// What one engine has reached.
#[derive(Serialize)]
struct Measured {
    engine: String,
    write: Written,
    read: Read,
}

#[derive(Serialize, Deserialize)]
struct Written {
    batches_a_second: f64,
    keys_a_second: f64,
}

#[derive(Serialize, Deserialize)]
struct Read {
    opening_ms: f64,
    memory_after_opening: u64,
    reads_a_second: f64,
    memory_after_reading: u64,
    bytes_on_disk: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match (args.engine, args.step) {
        (Some(engine), Some(step)) => report::print_text(child(&args, engine, step)),
        (Some(_), None) | (None, _) => {
            report::print(parent(&args), args.json, |all| table(&args, all))
        }
    }
}

fn parent(args: &Args) -> io::Result<Vec<Measured>> {
    let dir = place::temporary(args.dir.as_deref())?;
    let names = Name::value_variants();
    let bar = progress(names.len() as u64 * 2);
    let mut all = Vec::new();
    for &name in names {
        let engine = name.to_possible_value().map_or(String::new(), |v| v.get_name().to_owned());
        bar.set_message(format!("{engine}: writing"));
        let dir = dir.path().join(&engine);
        let write = start(args, &engine, "write", &dir)?;
        bar.inc(1);
        bar.set_message(format!("{engine}: reading"));
        let read = start(args, &engine, "read", &dir)?;
        bar.inc(1);
        all.push(Measured {
            engine,
            write: serde_json::from_str(&write)?,
            read: serde_json::from_str(&read)?,
        });
    }
    bar.finish_and_clear();
    Ok(all)
}

/// What one process with one engine prints.
fn start(args: &Args, engine: &str, step: &str, dir: &Path) -> io::Result<String> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--engine", engine, "--step", step, "--dir"])
        .arg(dir)
        .args(["--keys", &args.keys.to_string(), "--batch", &args.batch.to_string()])
        .args(["--value-bytes", &args.value_bytes.to_string()])
        .output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{engine} could not {step}: {said}")))
    }
}

fn child(args: &Args, name: Name, step: Step) -> io::Result<String> {
    let dir = args.dir.clone().ok_or_else(|| io::Error::other("no directory"))?;
    std::fs::create_dir_all(&dir)?;
    let start = Instant::now();
    let mut engine: Box<dyn Engine> = match name {
        Name::Kvnode => Box::new(kvnode::Kvnode::open(&dir)?),
        Name::Redb => Box::new(others::Redb::open(&dir)?),
        Name::Fjall => Box::new(others::Fjall::open(&dir)?),
    };
    let opening_ms = start.elapsed().as_secs_f64() * 1e3;
    let json = match step {
        Step::Write => serde_json::to_string(&write(args, engine.as_mut())?)?,
        Step::Read => serde_json::to_string(&read(args, engine.as_mut(), opening_ms, &dir)?)?,
    };
    engine.close()?;
    Ok(json)
}

fn write(args: &Args, engine: &mut dyn Engine) -> io::Result<Written> {
    let value = vec![b'x'; args.value_bytes];
    let batches = args.keys.div_ceil(args.batch);
    let start = Instant::now();
    for batch in 0..batches {
        let numbers = batch * args.batch..((batch + 1) * args.batch).min(args.keys);
        let keys: Vec<_> = numbers.map(|n| key(scattered(n, args.keys))).collect();
        engine.write(&keys, &value)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Written {
        batches_a_second: batches as f64 / seconds,
        keys_a_second: args.keys as f64 / seconds,
    })
}

fn read(args: &Args, engine: &mut dyn Engine, opening_ms: f64, dir: &Path) -> io::Result<Read> {
    let memory_after_opening = memory_of("self")?;
    let start = Instant::now();
    for n in 0..args.keys {
        // Another order than that of the writes.
        let key = key(scattered(scattered(n, args.keys), args.keys));
        if engine.read(&key)? != Some(args.value_bytes) {
            return Err(io::Error::other(format!("{key} is not there")));
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Read {
        opening_ms,
        memory_after_opening,
        reads_a_second: args.keys as f64 / seconds,
        memory_after_reading: memory_of("self")?,
        bytes_on_disk: bytes_below(dir)?,
    })
}

/// The numbers below `count` in an order that looks random: each once.
fn scattered(n: u64, count: u64) -> u64 {
    // A prime above every count that is allowed, so the product runs through all of them.
    const STEP: u64 = 2_654_435_761;
    n.wrapping_mul(STEP % count) % count
}

fn bytes_below(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

fn table(args: &Args, all: &[Measured]) -> String {
    let mut table = report::table([
        "",
        "durable batches, 1/s",
        "keys, 1/s",
        "reads, 1/s",
        "open, ms",
        "memory open, MB",
        "read, MB",
        "disk, MB",
    ]);
    let mb = |bytes: u64| format!("{:.0}", bytes as f64 / 1e6);
    for Measured { engine, write, read } in all {
        table.add_row([
            engine.clone(),
            grouped(write.batches_a_second),
            grouped(write.keys_a_second),
            grouped(read.reads_a_second),
            format!("{:.1}", read.opening_ms),
            mb(read.memory_after_opening),
            mb(read.memory_after_reading),
            mb(read.bytes_on_disk),
        ]);
    }
    format!(
        "{} keys of {} bytes, values of {} bytes, {} keys a batch, one fsync a batch; cache {} MB.\n\
         {table}",
        grouped(args.keys as f64),
        key(0).len(),
        args.value_bytes,
        args.batch,
        engine::CACHE_BYTES / 1_000_000,
    )
}
