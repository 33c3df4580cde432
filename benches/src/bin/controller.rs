//! How long a cluster is without a controller: three processes on loopback, started together, and
//! then the controller killed again and again.
//!
//! Measured from outside: a survivor is asked (`INFO cluster`) until it knows another controller. A
//! killed node is started again, and the next kill waits until every node is active.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use kvnode_benches::place::{self, build_dir};
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

const NODES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(1);

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
        let (founded, took) = Cluster::found(&dir.path().join(format!("start{round}")))?;
        starts.push(took);
        cluster = Some(founded);
        bar.inc(1);
    }
    let mut cluster = cluster.expect("there is at least one start");
    let (mut elected, mut led) = (Vec::new(), Vec::new());
    for _ in 0..args.kills {
        let (one, other) = cluster.kill_controller()?;
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

struct Cluster {
    dir: PathBuf,
    list: String,
    ports: Vec<u16>,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    /// Starts all nodes; how long the last one was up when all knew the controller, in seconds.
    fn found(dir: &Path) -> io::Result<(Self, f64)> {
        let ports = free_ports(2 * NODES)?;
        let (peers, ports) = ports.split_at(NODES);
        let entry = |(at, port): (usize, &u16)| format!("{}@127.0.0.1:{port}", at + 1);
        let list = peers.iter().enumerate().map(entry).collect::<Vec<_>>().join(",");
        let nodes = (0..NODES).map(|_| None).collect();
        let mut cluster = Self { dir: dir.to_owned(), list, ports: ports.to_vec(), nodes };
        (0..NODES).try_for_each(|at| cluster.start(at))?;
        let started = Instant::now();
        for at in 0..NODES {
            cluster.wait(at, "a controller", |info| field(info, "cluster_controller") != "none")?;
        }
        let took = started.elapsed().as_secs_f64();
        cluster.settle()?;
        Ok((cluster, took))
    }

    fn start(&mut self, at: usize) -> io::Result<()> {
        let dir = self.dir.join(format!("n{}", at + 1));
        std::fs::create_dir_all(&dir)?;
        let log = File::create(dir.join("log"))?;
        let child = Command::new(build_dir()?.join("kvnode"))
            .args(["run", "--id", &(at + 1).to_string(), "--cluster", &self.list])
            .args(["--listen", &format!("127.0.0.1:{}", self.ports[at])])
            .arg("--data")
            .arg(dir.join("data"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.nodes[at] = Some(child);
        Ok(())
    }

    /// Waits until every node is active, as every node sees it.
    fn settle(&self) -> io::Result<()> {
        let all = NODES.to_string();
        for at in 0..NODES {
            self.wait(at, "every node to be active", |info| {
                field(info, "cluster_active_nodes") == all
                    && field(info, "cluster_summary").starts_with("every partition survives 1")
            })?;
        }
        Ok(())
    }

    /// Seconds until a survivor knew another controller, and until every partition was led.
    fn kill_controller(&mut self) -> io::Result<(f64, f64)> {
        let info = self.info(0)?;
        let before = field(&info, "cluster_controller").to_owned();
        let at = before.parse::<usize>().map_err(io::Error::other)? - 1;
        let survivor = (at + 1) % NODES;
        let mut child = self.nodes[at].take().expect("it runs");
        let ended = child.kill();
        let killed = Instant::now();
        child.wait()?;
        ended?;
        self.wait(survivor, "another controller", |info| {
            let now = field(info, "cluster_controller");
            now != "none" && now != before
        })?;
        let elected = killed.elapsed().as_secs_f64();
        self.wait(survivor, "leaders that live", |info| {
            field(info, "cluster_active_nodes") == (NODES - 1).to_string()
                && field(info, "cluster_summary").starts_with("every partition survives")
        })?;
        let led = killed.elapsed().as_secs_f64();
        self.start(at)?;
        self.settle()?;
        Ok((elected, led))
    }

    fn wait(&self, at: usize, what: &str, so: impl Fn(&str) -> bool) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.info(at).is_ok_and(|info| so(&info)) {
                return Ok(());
            }
            std::thread::sleep(ASK_EVERY);
        }
        Err(io::Error::other(format!("node {} has waited a minute for {what}", at + 1)))
    }

    /// INFO cluster of a node.
    fn info(&self, at: usize) -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports[at]))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"INFO cluster\r\n")?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let len = line.trim_end().strip_prefix('$').and_then(|len| len.parse().ok());
        let mut text = vec![0; len.ok_or_else(|| io::Error::other(line.clone()))?];
        reader.read_exact(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or("none")
}

fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<io::Result<_>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
