//! How long a cluster is without a controller: three processes on loopback, started together, and
//! then the controller killed again and again.
//!
//! Measured from outside: a survivor is asked (`INFO cluster`) until it knows another controller. A
//! killed node is started again, and the next kill waits until every node is active.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use kvnode_benches::cluster::{Cluster, NODES, field};
use kvnode_benches::place;
use kvnode_benches::server::build_kvnode;
use kvnode_benches::stats::Summary;
use kvnode_benches::{progress, report};
use serde::Serialize;

/// Measure how long a cluster is without a controller
#[derive(Parser)]
struct Args {
    /// How often the controller is killed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    kills: u32,

    /// How many clusters are founded to measure the start
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    starts: u32,

    /// Directory for the data, on a disk
    #[arg(long)]
    dir: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is to be reached, in seconds.
const TARGET_S: f64 = 1.0;

#[derive(Serialize)]
struct Report {
    cores: usize,
    fsync_us: f64,
    starts: u32,
    /// From the start of the last process until all three know the controller, in seconds.
    start_s: Summary,
    kills: u32,
    /// From the kill until a survivor knows another controller, in seconds.
    elected_s: Summary,
    /// From the kill until every partition is led by a survivor, in seconds.
    led_s: Summary,
    target_s: f64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    report::print(measure(&args), args.json, |report| {
        let mut table = report::table(["", "median", "range", "target"]);
        let rows = [
            ("all know a controller after the last start", report.start_s),
            ("another controller after a SIGKILL of it", report.elected_s),
            ("every partition led again", report.led_s),
        ];
        for (name, Summary { median, min, max }) in rows {
            let verdict = if median <= TARGET_S { "reached" } else { "MISSED" };
            table.add_row([
                name.to_owned(),
                format!("{:.0} ms", median * 1e3),
                format!("{:.0} – {:.0}", min * 1e3, max * 1e3),
                format!("{:.0} ms, {verdict}", TARGET_S * 1e3),
            ]);
        }
        format!(
            "{} starts, {} kills; {} cores, a write and its fsync {:.0} µs\n{table}",
            report.starts, report.kills, report.cores, report.fsync_us
        )
    })
}

fn measure(args: &Args) -> io::Result<Report> {
    build_kvnode()?;
    let dir = place::temporary(args.dir.as_deref())?;
    let fsync = place::fsync_time(dir.path())?;
    let bar = progress(u64::from(args.starts + args.kills));
    let mut starts = Vec::new();
    let mut cluster = None;
    for round in 0..args.starts {
        drop(cluster.take());
        let (founded, took) = Cluster::found(&dir.path().join(format!("start{round}")), &[])?;
        starts.push(took);
        cluster = Some(founded);
        bar.inc(1);
    }
    let mut cluster = cluster.expect("there is at least one start");
    let (mut elected, mut led) = (Vec::new(), Vec::new());
    for _ in 0..args.kills {
        let (one, other) = kill_controller(&mut cluster)?;
        elected.push(one);
        led.push(other);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Report {
        cores: std::thread::available_parallelism()?.get(),
        fsync_us: fsync.as_secs_f64() * 1e6,
        starts: args.starts,
        start_s: Summary::of(&starts),
        kills: args.kills,
        elected_s: Summary::of(&elected),
        led_s: Summary::of(&led),
        target_s: TARGET_S,
    })
}

/// Seconds until a survivor knew another controller, and until every partition was led.
fn kill_controller(cluster: &mut Cluster) -> io::Result<(f64, f64)> {
    let info = cluster.info(0)?;
    let before = field(&info, "cluster_controller").to_owned();
    let at = before.parse::<usize>().map_err(io::Error::other)? - 1;
    let survivor = (at + 1) % NODES;
    let killed = cluster.kill(at)?;
    cluster.wait(survivor, "another controller", |info| {
        let now = field(info, "cluster_controller");
        now != "none" && now != before
    })?;
    let elected = killed.elapsed().as_secs_f64();
    cluster.wait(survivor, "leaders that live", |info| {
        field(info, "cluster_active_nodes") == (NODES - 1).to_string()
            && field(info, "cluster_summary").starts_with("every partition survives")
    })?;
    let led = killed.elapsed().as_secs_f64();
    cluster.start(at)?;
    cluster.settle()?;
    Ok((elected, led))
}
