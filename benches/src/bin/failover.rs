//! How long writes stall when a node is killed, and whether one that was acknowledged is lost:
//! three processes on loopback under clients that count, and SIGKILL again and again.
//!
//! Each client has a counter of its own and increments it as fast as it is answered, through
//! whichever node it is connected to; when that node dies it goes to the next. A counter that is
//! ever answered with less than an acknowledged value and one more has lost the difference.
//!
//! - *again*: from the kill until the first increment is acknowledged that was asked for after it;
//!   *all*: until that is so for every client, which covers every partition.
//! - *stall*: the longest time without an acknowledgement for anybody, from the last one before the
//!   kill on.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use kvnode_benches::cluster::{Cluster, NODES};
use kvnode_benches::server::build_kvnode;
use kvnode_benches::stats::{Summary, grouped};
use kvnode_benches::{place, progress, report};
use kvnode_core::slot;
use serde::Serialize;

/// Measure how long writes stall when a node is killed
#[derive(Parser)]
struct Args {
    /// How often a leader is killed, and how often a follower
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    kills: u32,

    /// Clients
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    clients: u32,

    /// Partitions of the cluster whose leaders are killed besides that of one partition
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: u32,

    /// Directory for the data, on a disk
    #[arg(long)]
    dir: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Seconds until writes succeed again after a leader was killed: of half the kills, and of all.
const LEADER_TARGETS_S: (f64, f64) = (0.5, 1.5);

/// Seconds for which writes stall when a follower is killed: of half the kills.
const FOLLOWER_TARGET_S: f64 = 0.2;

/// Load before a kill. A link between nodes that breaks within a second of its making is not dialled
/// anew at once, and nobody kills nodes so often but for benchmarks.
const LOADED: Duration = Duration::from_millis(1500);

/// Load after writes have come back.
const AFTER: Duration = Duration::from_millis(500);

/// How long a client waits for an answer before it goes to another node.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it rests after an error.
const REST: Duration = Duration::from_millis(1);

/// How long writes may take to come back.
const COMEBACK_MAX: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Report {
    cores: usize,
    fsync_us: f64,
    load: String,
    kills: u32,
    clients: u32,
    cases: Vec<Case>,
}

/// What came of killing one sort of node.
#[derive(Serialize)]
struct Case {
    name: String,
    /// Until a write is acknowledged, in seconds.
    again_s: Summary,
    /// Until every client has had one, in seconds.
    all_s: Summary,
    /// Longest time without an acknowledgement around the kill, in seconds.
    stall_s: Summary,
    /// The same in as long a time before the kill.
    before_s: Summary,
    acknowledged: u64,
    /// Increments of which the client knows nothing.
    unknown: u64,
    lost: i64,
    /// What was to be reached was.
    reached: bool,
    target: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// The leader of the first partition.
    Leader,
    /// A node that does not lead it.
    Follower,
}

fn main() -> ExitCode {
    let args = Args::parse();
    report::print(measure(&args), args.json, table)
}

fn measure(args: &Args) -> io::Result<Report> {
    build_kvnode()?;
    let dir = place::temporary(args.dir.as_deref())?;
    let fsync = place::fsync_time(dir.path())?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let bar = progress(u64::from(args.kills) * 3);
    let mut cases = Vec::new();
    for (victim, partitions) in
        [(Victim::Leader, 1), (Victim::Follower, 1), (Victim::Leader, args.partitions)]
    {
        let dir = dir.path().join(format!("case{}", cases.len()));
        cases.push(case(args, &dir, victim, partitions, &bar)?);
    }
    bar.finish_and_clear();
    Ok(Report {
        cores: std::thread::available_parallelism()?.get(),
        fsync_us: fsync.as_secs_f64() * 1e6,
        load: load.split(' ').next().unwrap_or_default().to_owned(),
        kills: args.kills,
        clients: args.clients,
        cases,
    })
}

fn case(
    args: &Args,
    dir: &Path,
    victim: Victim,
    partitions: u32,
    bar: &indicatif::ProgressBar,
) -> io::Result<Case> {
    let name = match victim {
        Victim::Leader if partitions == 1 => "the leader".to_owned(),
        Victim::Leader => format!("a leader of {partitions} partitions' third"),
        Victim::Follower => "a follower".to_owned(),
    };
    bar.set_message(name.clone());
    let (mut cluster, _) = Cluster::found(dir, &["--partitions", &partitions.to_string()])?;
    let clients = Clients::start(&cluster, args.clients, partitions);
    let (mut again, mut all) = (Vec::new(), Vec::new());
    let (mut stall, mut before) = (Vec::new(), Vec::new());
    for _ in 0..args.kills {
        thread::sleep(LOADED);
        let leader = cluster.leaders()?[0];
        let at = if victim == Victim::Leader { leader } else { (leader + 1) % NODES };
        let killed = cluster.kill(at)?;
        let (first, last) = clients.comeback(killed)?;
        thread::sleep(AFTER);
        again.push(first.as_secs_f64());
        all.push(last.as_secs_f64());
        let [quiet_before, quiet] = clients.quiet(killed);
        before.push(quiet_before.as_secs_f64());
        stall.push(quiet.as_secs_f64());
        cluster.start(at)?;
        cluster.settle()?;
        bar.inc(1);
    }
    let counted = clients.stop(&cluster)?;
    let (again_s, stall_s) = (Summary::of(&again), Summary::of(&stall));
    let (reached, target) = match victim {
        Victim::Leader => {
            let (median, worst) = LEADER_TARGETS_S;
            let reached = again_s.median <= median && again_s.max <= worst;
            (reached, format!("again ≤ {:.0} ms, worst {:.0}", median * 1e3, worst * 1e3))
        }
        Victim::Follower => {
            let reached = stall_s.median <= FOLLOWER_TARGET_S;
            (reached, format!("stall ≤ {:.0} ms", FOLLOWER_TARGET_S * 1e3))
        }
    };
    Ok(Case {
        name,
        again_s,
        all_s: Summary::of(&all),
        stall_s,
        before_s: Summary::of(&before),
        acknowledged: counted.acknowledged,
        unknown: counted.unknown,
        lost: counted.lost,
        reached: reached && counted.lost == 0,
        target,
    })
}

/// What a client knows of its counter.
#[derive(Default)]
struct Counted {
    /// The last acknowledged value.
    value: i64,
    acknowledged: u64,
    unknown: u64,
    lost: i64,
    /// When the last increments were asked for and acknowledged; emptied after each kill.
    times: Vec<(Instant, Instant)>,
}

struct Clients {
    keys: Vec<String>,
    counted: Vec<Arc<Mutex<Counted>>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Clients {
    fn start(cluster: &Cluster, count: u32, partitions: u32) -> Self {
        let nodes: Vec<_> = (0..NODES).map(|at| cluster.address(at)).collect();
        let keys: Vec<_> = (0..count).map(|id| key_in(id % partitions, partitions, id)).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let counted: Vec<Arc<Mutex<Counted>>> = keys.iter().map(|_| Arc::default()).collect();
        let threads = keys.iter().zip(&counted).enumerate().map(|(id, (key, counted))| {
            let (key, counted) = (key.clone(), Arc::clone(counted));
            let (stop, nodes) = (Arc::clone(&stop), nodes.clone());
            thread::spawn(move || count_up(&key, &counted, &nodes, id, &stop))
        });
        let threads = threads.collect();
        Self { keys, counted, threads, stop }
    }

    fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Counted>> {
        self.counted.iter().map(|counted| lock(counted))
    }

    /// How long after the kill the first of the clients could write again, and the last.
    fn comeback(&self, killed: Instant) -> io::Result<(Duration, Duration)> {
        while killed.elapsed() < COMEBACK_MAX {
            let first = |counted: MutexGuard<'_, Counted>| {
                let mut after = counted.times.iter().filter(|(asked, _)| *asked > killed);
                after.next().map(|(_, told)| *told - killed)
            };
            let firsts: Option<Vec<Duration>> = self.each().map(first).collect();
            if let Some(firsts) = firsts {
                let (first, last) = (firsts.iter().min(), firsts.iter().max());
                return Ok((*first.expect("clients"), *last.expect("clients")));
            }
            thread::sleep(REST);
        }
        Err(io::Error::other("writes have not come back within a minute"))
    }

    /// The longest time without any acknowledgement, before the kill and from then on.
    fn quiet(&self, killed: Instant) -> [Duration; 2] {
        let mut times = Vec::new();
        for mut counted in self.each() {
            times.extend(counted.times.drain(..).map(|(_, told)| told));
        }
        times.sort();
        let cut = times.partition_point(|told| *told <= killed);
        let longest = |times: &[Instant]| {
            times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
        };
        let recent = times[..cut].partition_point(|told| *told + LOADED < killed);
        [longest(&times[recent..cut]), longest(&times[cut.saturating_sub(1)..])]
    }

    /// Ends the clients, reads their counters once more and adds up.
    fn stop(self, cluster: &Cluster) -> io::Result<Counted> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| io::Error::other("a client has failed"))?;
        }
        let mut sum = Counted::default();
        for (key, counted) in self.keys.iter().zip(&self.counted) {
            let counted = lock(counted);
            let mut connection = Connection::to(cluster.address(0))?;
            let reply = connection.ask(&format!("INCR {key}\r\n"))?;
            let value: i64 = reply.trim_start_matches(':').parse().map_err(io::Error::other)?;
            sum.lost += counted.lost + (counted.value + 1 - value).max(0);
            sum.acknowledged += counted.acknowledged;
            sum.unknown += counted.unknown;
        }
        Ok(sum)
    }
}

fn lock(counted: &Mutex<Counted>) -> MutexGuard<'_, Counted> {
    counted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first key of this client that lies in the partition.
fn key_in(partition: u32, partitions: u32, id: u32) -> String {
    let mut keys = (0..).map(|n| format!("counter:{id}:{n}"));
    let lies =
        |key: &String| slot::partition(slot::slot(key.as_bytes()), partitions).0 == partition;
    keys.find(lies).expect("slots are spread")
}

fn count_up(
    key: &str,
    counted: &Mutex<Counted>,
    nodes: &[SocketAddr],
    first: usize,
    stop: &AtomicBool,
) {
    let mut at = first;
    let mut connection = None;
    let command = format!("INCR {key}\r\n");
    while !stop.load(Ordering::Relaxed) {
        if connection.is_none() {
            connection = Connection::to(nodes[at % nodes.len()]).ok();
        }
        let Some(open) = &mut connection else {
            at += 1;
            continue;
        };
        let asked = Instant::now();
        let reply = open.ask(&command);
        let told = Instant::now();
        let mut counted = lock(counted);
        match reply {
            Ok(reply) if reply.starts_with(':') => {
                let value: i64 = reply[1..].parse().expect("an integer");
                counted.lost += (counted.value + 1 - value).max(0);
                counted.value = value;
                counted.acknowledged += 1;
                counted.times.push((asked, told));
            }
            Ok(error) => {
                counted.unknown += u64::from(error.starts_with("-UNKNOWN"));
                drop(counted);
                thread::sleep(REST);
            }
            Err(_) => {
                counted.unknown += 1;
                connection = None;
                at += 1;
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    replies: BufReader<TcpStream>,
}

impl Connection {
    fn to(node: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(node)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let replies = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, replies })
    }

    /// The line that answers an inline command.
    fn ask(&mut self, command: &str) -> io::Result<String> {
        self.stream.write_all(command.as_bytes())?;
        let mut line = String::new();
        if self.replies.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

fn table(report: &Report) -> String {
    let mut table =
        report::table(["killed", "again, ms", "all, ms", "stall, ms", "before", "lost", "target"]);
    let ms = |s: Summary| format!("{:.0}\n{:.0} – {:.0}", s.median * 1e3, s.min * 1e3, s.max * 1e3);
    for case in &report.cases {
        let verdict = if case.reached { "reached" } else { "MISSED" };
        let acknowledged = grouped(case.acknowledged as f64);
        table.add_row([
            case.name.clone(),
            ms(case.again_s),
            ms(case.all_s),
            ms(case.stall_s),
            ms(case.before_s),
            format!("{} of {acknowledged}\n{} unknown", case.lost, grouped(case.unknown as f64)),
            format!("{}\n{verdict}", case.target),
        ]);
    }
    format!(
        "{} kills each, medians, ranges below; {} clients that count, one increment in flight.\n\
         again: until a write asked for after the kill is acknowledged; all: for every client;\n\
         stall: longest time without an acknowledgement, and the same before the kill.\n\
         {} cores, load {}; a write and its fsync {:.0} µs\n{table}",
        report.kills, report.clients, report.cores, report.load, report.fsync_us
    )
}
