//! `kvnode run`: options into the driver, a few lines for whoever started it.

mod cluster;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use kvnode_core::acl::Acl;
use kvnode_core::limits::{PARTITIONS_MAX, SEGMENT_BYTES};
use kvnode_core::shard::{FsyncMode, IndexKind};
use kvnode_io::Options;
use tracing_subscriber::EnvFilter;

use crate::{password, size};

/// The environment variable that says what is logged: `warn`, `kvnode_io=debug`.
const LOG_VARIABLE: &str = "KVNODE_LOG";

/// Smallest size at which a segment may roll, in bytes: each costs an open file and a hint.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;

/// The command line of `kvnode run`.
#[derive(clap::Args)]
#[command(after_help = "\
What --fsync promises when the process or the machine dies:
            process killed          power lost               speed
  always    nothing acknowledged    nothing acknowledged     one fsync for all the writes
            is lost                 is lost                  that wait for it
  MS        nothing is lost         up to MS milliseconds    as never, mostly
                                    of writes
  never     nothing is lost         what the system had      fastest
                                    not written yet

Examples:
  kvnode run
  kvnode run --data /var/lib/kvnode --listen 0.0.0.0:6379 --cache 2g
  kvnode run --fsync 100 --index ordered

A cluster: the same on every machine, but for --id, with the addresses at which the nodes reach each
other. It is founded when all of them are up; from then on a majority of its voters will do.
  kvnode run --id 1 --cluster 1@ant:7001,2@bee:7001,3@cat:7001 \\
             --listen 0.0.0.0:6379 --password-file FILE
  kvnode status                  how it is, from any node

Stop it with Ctrl-C or SIGTERM: it answers what it has taken, makes it durable and exits with 0.
KVNODE_LOG=debug logs more, KVNODE_LOG=warn less.

Without --password-file or --acl-file there is no password, and only this machine is let in, unless
--protected-mode is no: then whoever can reach the address can read and write everything. A file of
users has `user NAME rules...` a line, as Redis writes it: user ann on #SHA256 ~app:* +@read

Exit codes: 0 stopped as asked, 1 it could not start or go on, 2 usage.")]
pub(crate) struct Args {
    /// Directory of the data; made if it does not exist
    #[arg(long, value_name = "DIR", default_value = "./kvnode-data")]
    data: PathBuf,

    /// Address to serve clients on; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6379")]
    listen: SocketAddr,

    /// When a write is acknowledged: after its fsync (always), or before an fsync that follows
    /// within MS milliseconds, or with none (never)
    #[arg(long, value_name = "always|MS|never", default_value = "always", value_parser = fsync)]
    fsync: FsyncMode,

    /// Partitions of a new data directory, 1 if not said; an existing one must agree. In a cluster 16
    /// if not said, and it counts at the first start only
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(PARTITIONS_MAX)),
    )]
    partitions: Option<u32>,

    /// Index of the keys: hash is smallest and fastest, ordered serves prefix scans without
    /// looking at every key
    #[arg(long, default_value = "hash")]
    index: Index,

    /// Memory for hot values (256mb, 1g); 0 is none
    #[arg(long, value_name = "BYTES", default_value = "256mb", value_parser = size::parse)]
    cache: u64,

    /// Most clients at once
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..),
    )]
    max_clients: u32,

    /// File whose only line is the password that clients need; KVNODE_PASSWORD is for clients, and not
    /// read here
    #[arg(long, value_name = "FILE", conflicts_with = "acl_file", help_heading = "Users")]
    password_file: Option<PathBuf>,

    /// File of users, as Redis's `aclfile`; ACL LOAD reads it again and ACL SAVE writes it
    #[arg(long, value_name = "FILE", help_heading = "Users")]
    acl_file: Option<PathBuf>,

    /// Whether clients of other machines are refused while no password is needed
    #[arg(
        long,
        value_name = "yes|no",
        default_value = "yes",
        action = clap::ArgAction::Set,
        value_parser = yes_or_no,
        help_heading = "Users",
    )]
    protected_mode: bool,

    /// Size at which a log file is finished and the next begun
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "128mb",
        value_parser = segment,
        help_heading = "Tuning",
    )]
    segment: u64,

    #[command(flatten)]
    cluster: cluster::Membership,

    /// How long a client may stop in the middle of a request before it is closed
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=86_400),
        help_heading = "Tuning",
    )]
    request_timeout: u64,

    /// The process that started this one: where it ends, however it ends, so does this node
    #[arg(long, value_name = "PID", hide = true)]
    end_with: Option<u32>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Index {
    Hash,
    Ordered,
}

/// Runs `kvnode run`.
pub(crate) fn run(args: Args) -> ExitCode {
    let parent = args.end_with;
    let options = match options(args) {
        Ok(options) => options,
        Err(why) => return crate::misused(why),
    };
    if parent.is_some_and(|parent| !end_with(parent)) {
        return crate::failed("the process to end with has ended already");
    }
    log_to_stderr();
    abort_on_panic();
    let data = options.data.display().to_string();
    match kvnode_io::run(options, move |address| say_ready(address, &data)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => crate::failed(why),
    }
}

/// A broken invariant ends the process: what it had acknowledged is on disk, what it holds in memory
/// is no longer to be trusted.
fn abort_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::abort();
    }));
}

/// Has the system kill this process when `parent` has ended; false if it has. A pipe would do on
/// every system, but a node that is paused does not read it.
fn end_with(parent: u32) -> bool {
    #[cfg(target_os = "linux")]
    if let Err(why) =
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
    {
        eprintln!("kvnode: will not end with process {parent}: {why}");
    }
    std::os::unix::process::parent_id() == parent
}

fn options(args: Args) -> Result<Options, String> {
    let cluster = args.cluster.options(args.partitions)?;
    let mut acl = Acl::default();
    if let Some(path) = &args.password_file {
        acl.require_password(&password::read(path)?);
    }
    Ok(Options {
        acl,
        acl_file: args.acl_file,
        protected_mode: args.protected_mode,
        data: args.data,
        listen: args.listen,
        fsync: args.fsync,
        partitions: args.partitions,
        index: match args.index {
            Index::Hash => IndexKind::Hash,
            Index::Ordered => IndexKind::Ordered,
        },
        cache_bytes: args.cache,
        max_clients: args.max_clients,
        request_timeout: Duration::from_secs(args.request_timeout),
        segment_bytes: args.segment,
        cluster,
    })
}

/// The first line is for programs, the second for people.
fn say_ready(address: SocketAddr, data: &str) {
    let port = address.port();
    let host = match address.ip() {
        ip if ip.is_unspecified() || ip.is_loopback() && ip.is_ipv4() => String::new(),
        ip => format!(" -h {ip}"),
    };
    let mut stdout = std::io::stdout().lock();
    // Nobody may be there to read it, which is no reason not to serve.
    let _ = writeln!(
        stdout,
        "listening on {address}\n\
         data in {data}; talk to it with: kvnode cli{host} -p {port} (or redis-cli{host} -p {port})"
    );
    let _ = stdout.flush();
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

fn fsync(text: &str) -> Result<FsyncMode, String> {
    match text {
        "always" => Ok(FsyncMode::Always),
        "never" => Ok(FsyncMode::Never),
        // Zero milliseconds would promise what only `always` keeps.
        _ => match text.parse() {
            Ok(ms @ 1..) => Ok(FsyncMode::EveryMs(ms)),
            Ok(0) | Err(_) => {
                Err("write always, never, or the milliseconds between two fsyncs, at least 1"
                    .into())
            }
        },
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("write yes or no".into()),
    }
}

fn segment(text: &str) -> Result<u64, String> {
    let bytes = size::parse(text)?;
    if (SEGMENT_BYTES_MIN..=SEGMENT_BYTES).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("between {SEGMENT_BYTES_MIN} and {SEGMENT_BYTES} bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fsync_is_a_word_or_milliseconds() {
        assert_eq!(fsync("always"), Ok(FsyncMode::Always));
        assert_eq!(fsync("never"), Ok(FsyncMode::Never));
        assert_eq!(fsync("250"), Ok(FsyncMode::EveryMs(250)));
        for text in ["", "0", "-1", "sometimes", "1s"] {
            assert!(fsync(text).is_err(), "{text}");
        }
    }
}
