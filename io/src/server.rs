//! A node from start to stop: one thread that owns the shard, its clients and its timers.
//!
//! The runtime's queue of ready tasks is first in, first out, and the order that speed rests on
//! comes from that alone: connections that are readable run first, then the [pump](crate::pump).
//! Disk operations that may take long have threads of their own ([`executor`](crate::executor)).
//!
//! - **Start**: directory lock, then the address, then the shard. While the shard opens its
//!   partitions clients are let in already; it tells them to wait.
//! - **Stop**, at SIGTERM or SIGINT: no new connections, no new commands; the shard finishes; its
//!   last replies are sent. A second signal ends the node at once.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kvnode_core::server::{Secret, Settings, Setup};
use kvnode_core::shard::{Config, FsyncMode, Input, Redirect, Shard};
use kvnode_core::storage::replica::{MergeSettings, ScrubSettings};
use kvnode_core::storage::scan::WINDOW_BYTES;
use kvnode_core::{acl, replication};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::rand::{GetRandomFlags, getrandom};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use crate::acl_file::AclFile;
use crate::disk::Disk;
use crate::executor::{Executor, Fsyncs};
use crate::node::{Bomb, Node};
use crate::pump::Pump;
use crate::usage;
use crate::{ClusterOptions, DirLock, Error, HotValues, Options, clock, control};

/// Runs a node until a signal stops it. `on_ready` is called once commands are served, with the
/// address they are served at.
///
/// # Errors
/// Why the node could not start or go on; see [`Error`]. After a graceful stop there is none.
pub fn run(options: Options, on_ready: impl FnOnce(SocketAddr)) -> Result<(), Error> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let stops = stop_signals().map_err(Error::System)?;
        serve(options, stops, on_ready).await
    })
}

fn runtime() -> Result<LocalRuntime, Error> {
    Builder::new_current_thread()
        .enable_all()
        .event_interval(TASKS_PER_LOOK)
        .global_queue_interval(TASKS_PER_LOOK)
        .build_local(LocalOptions::default())
        .map_err(Error::System)
}

async fn serve(
    options: Options,
    mut stops: Stops,
    on_ready: impl FnOnce(SocketAddr),
) -> Result<(), Error> {
    let lock = Arc::new(DirLock::acquire(&options.data)?);
    let files = Files::allot(options.max_clients);
    let failed = |source| Error::Listen { address: options.listen, source };
    let listener = listen(options.listen).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let disk = Rc::new(RefCell::new(Disk::new(&options.data, files.handles_max)));
    // In a cluster acknowledgements come in while the disk is at work.
    let fsyncs = if options.cluster.is_some() { Fsyncs::Aside } else { Fsyncs::InPlace };
    let executor =
        Executor::start(Rc::clone(&disk), &lock, WRITER_THREADS, fsyncs).map_err(Error::System)?;
    let values = HotValues::new(options.cache_bytes).in_front_of(disk);
    let mut control = match &options.cluster {
        Some(cluster) => Some(join_cluster(&options, cluster, address, &lock)?),
        None => None,
    };
    let shard = Shard::new(config(&options, address, &files, values)?, clock::now());
    let orders = control.as_ref().map(control::Handle::orders);
    let acl_file = options.acl_file.clone().map(AclFile::new);
    let node = Rc::new(Node::new(shard, acl_file, orders));
    tracing::info!("listening on {address}, opening {}", options.data.display());

    let (opened_tx, mut opened) = oneshot::channel();
    let mut pump = spawn_local(guarded(Pump::new(Rc::clone(&node), executor, opened_tx).run()));
    let accepting = spawn_local(guarded(accept(Rc::clone(&node), listener)));
    spawn_local(guarded(sweep(Rc::clone(&node), options.request_timeout)));
    node.wake_pump();

    let mut on_ready = Some(on_ready);
    let mut leaving = false;
    let mut signalled = false;
    let mut control_ended = None;
    let unclosed = loop {
        tokio::select! {
            biased;
            Some(reason) = stops.recv() => {
                if core::mem::replace(&mut signalled, true) {
                    return Err(Error::Interrupted);
                }
                if leaving || node.stopping() {
                    tracing::info!("{reason}: stopping already");
                    continue;
                }
                tracing::info!("{reason}: stopping");
                accepting.abort();
                match &control {
                    // Others take over first; the shard stops after that.
                    Some(control) => {
                        leaving = true;
                        control.stop();
                    }
                    None => node.stop(),
                }
            }
            () = node.asked_to_stop(), if !leaving && !node.stopping() => {
                tracing::info!("SHUTDOWN: stopping");
                accepting.abort();
                match &control {
                    Some(control) => {
                        leaving = true;
                        control.stop();
                    }
                    None => node.stop(),
                }
            }
            Some(event) = next_event(&mut control), if control.is_some() => match event {
                control::Event::Shard(said) => node.handle(Input::Control(said)),
                control::Event::Refused(why) => return Err(Error::Refused(why)),
                control::Event::Stopped => {
                    control_ended = control.take().map(control::Handle::joined);
                    node.stop();
                }
            },
            Ok(()) = &mut opened, if on_ready.is_some() => {
                if let Some(on_ready) = on_ready.take() {
                    on_ready(address);
                }
            }
            ended = &mut pump => {
                break ended.expect("a task that panics ends the process, and none aborts the pump")?;
            }
        }
    };
    let closing = async {
        node.close_all(LAST_REPLIES).await;
        if let Some(ended) = control_ended {
            let _ = ended.await;
        }
    };
    tokio::pin!(closing);
    loop {
        tokio::select! {
            biased;
            Some(_) = stops.recv() => {
                if core::mem::replace(&mut signalled, true) {
                    return Err(Error::Interrupted);
                }
            }
            () = &mut closing => return unclosed.map_or(Ok(()), |why| Err(Error::Refused(why))),
        }
    }
}

/// The next event of control; never, if there is none.
async fn next_event(control: &mut Option<control::Handle>) -> Option<control::Event> {
    match control {
        Some(control) => control.next().await,
        None => std::future::pending().await,
    }
}

fn join_cluster(
    options: &Options,
    cluster: &ClusterOptions,
    client: SocketAddr,
    lock: &Arc<DirLock>,
) -> Result<control::Handle, Error> {
    let listed = cluster.nodes.iter().find(|(node, _)| *node == cluster.node);
    let listed = listed.map_or("", |(_, address)| address);
    let peer = cluster.peer_listen.map_or_else(|| control::peer_address(listed), Ok);
    let peer = peer.map_err(Error::System)?;
    // Where nothing better is known, clients find the node where its peers do.
    let host = listed.rsplit_once(':').map_or(listed, |(host, _)| host);
    let client_address = match client.ip() {
        ip if ip.is_unspecified() => format!("{host}:{}", client.port()),
        _ => client.to_string(),
    };
    let is_elsewhere = |address: &str| {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host != "localhost" && !ip.is_ok_and(|ip| ip.is_loopback())
    };
    if client.ip().is_loopback() && cluster.nodes.iter().any(|(_, at)| is_elsewhere(at)) {
        tracing::warn!(
            "clients are listened for at {client} alone, where no other machine reaches this node; \
             give --listen an address of this machine, or 0.0.0.0"
        );
    }
    let config = kvnode_core::control::Config {
        node: cluster.node,
        nodes: cluster.nodes.clone(),
        client_address,
        rack: cluster.rack.clone(),
        founding: cluster.founding,
        stated: cluster.stated,
        election: kvnode_core::election::Settings::default(),
        links: kvnode_core::peer::Settings::default(),
        session_timeout: SESSION_TIMEOUT,
        balance_after: cluster.balance_after,
        durable: options.fsync == FsyncMode::Always,
        segment_bytes: CONTROL_SEGMENT_BYTES,
        snapshot_every: SNAPSHOT_EVERY,
        seed: draw_seed()?,
    };
    tracing::info!("{} listening for peers on {peer}", cluster.node);
    control::Handle::start(config, peer, options.data.clone(), lock)
}

async fn guarded<T>(task: impl Future<Output = T>) -> T {
    let _bomb = Bomb;
    task.await
}

/// Lets clients in.
async fn accept(node: Rc<Node>, listener: TcpListener) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                failing = false;
                node.connected(stream);
            }
            Err(error) => {
                // Out of files or memory, mostly: others may go and make room.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!("cannot accept connections for now: {error}");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Looks for clients that keep us waiting.
async fn sweep(node: Rc<Node>, patience: Duration) {
    let often = (patience / 8).clamp(SWEEP_MIN, SWEEP_MAX);
    let mut ticks = tokio::time::interval(often);
    loop {
        ticks.tick().await;
        node.refuse_overdue(patience);
    }
}

pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart need not wait for the connections of the last run to time out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Zeros written ahead of the log at a time, in bytes.
const ZERO_AHEAD_BYTES: u64 = 1 << 20;

/// When and how fast segments are compacted.
const MERGE: MergeSettings = MergeSettings {
    garbage_percent: 50,
    small_files: 8,
    bytes_per_second: 16 << 20,
    check_every: Duration::from_secs(1),
};

/// How fast and how often each partition's segments are read through: slow enough to be noticed by
/// nobody, often enough that damage does not wait for the last good copy to go.
const SCRUB: ScrubSettings =
    ScrubSettings { bytes_per_second: 1 << 20, every: Duration::from_secs(24 * 60 * 60) };

fn config(
    options: &Options,
    address: SocketAddr,
    files: &Files,
    values: HotValues,
) -> Result<Config, Error> {
    Ok(Config {
        member: options.cluster.is_some(),
        partitions: options.partitions,
        replication: options
            .cluster
            .as_ref()
            .map_or_else(replication::Settings::default, |cluster| cluster.replication),
        redirect: options.cluster.as_ref().map_or(Redirect::Forward, |cluster| cluster.redirect),
        fsync: options.fsync,
        index: options.index,
        segment_bytes: options.segment_bytes,
        zero_ahead_bytes: ZERO_AHEAD_BYTES.min(options.segment_bytes / 4),
        window_bytes: WINDOW_BYTES,
        merge: MERGE,
        scrub: Some(SCRUB),
        server: setup(options, address, files)?,
        seed: draw_seed()?,
        port: address.port(),
        process_id: std::process::id(),
        cache: Box::new(values),
    })
}

/// Users and settings of the node.
fn setup(options: &Options, address: SocketAddr, files: &Files) -> Result<Setup, Error> {
    let acl = match &options.acl_file {
        None => options.acl.clone(),
        Some(path) => AclFile::new(path.clone())
            .read()
            .and_then(|text| acl::file::parse(&text))
            .map_err(|why| Error::Users { path: path.clone(), why })?,
    };
    Ok(Setup {
        acl,
        acl_file: options.acl_file.is_some(),
        settings: Settings {
            protected_mode: options.protected_mode,
            max_clients: files.clients_max,
            max_clients_possible: files.clients_possible,
            ..Settings::default()
        },
        fixed: fixed(options, address),
        meter: Some(usage::read),
        os: usage::os(),
        secret: Secret(draw()?),
    })
}

/// What CONFIG GET tells of how the node was started.
fn fixed(options: &Options, address: SocketAddr) -> Vec<(&'static str, String)> {
    let path = |path: &std::path::Path| path.display().to_string();
    let (fsync, redis) = match options.fsync {
        FsyncMode::Always => ("always".to_owned(), Some("always")),
        FsyncMode::EveryMs(ms) => (ms.to_string(), (ms == 1_000).then_some("everysec")),
        FsyncMode::Never => ("never".to_owned(), Some("no")),
    };
    let mut all = vec![
        ("aclfile", options.acl_file.as_deref().map_or_else(String::new, path)),
        ("bind", address.ip().to_string()),
        ("dir", path(&options.data)),
        ("fsync", fsync),
        ("port", address.port().to_string()),
    ];
    all.extend(redis.map(|redis| ("appendfsync", redis.to_owned())));
    all
}

fn draw_seed() -> Result<u64, Error> {
    Ok(u64::from_ne_bytes(draw()?))
}

/// Random bytes of the system.
fn draw<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|errno| Error::System(errno.into()))?;
    Ok(bytes)
}

/// What stops the node, each with its name: the first gracefully, the second at once.
type Stops = UnboundedReceiver<&'static str>;

/// SIGTERM and SIGINT, from now on.
fn stop_signals() -> io::Result<Stops> {
    let (stop, stops) = unbounded_channel();
    for (kind, name) in [(SignalKind::terminate(), "SIGTERM"), (SignalKind::interrupt(), "SIGINT")]
    {
        let (mut signals, stop) = (signal(kind)?, stop.clone());
        spawn_local(
            async move { while signals.recv().await.is_some() && stop.send(name).is_ok() {} },
        );
    }
    Ok(stops)
}

/// How the open files that the system allows are shared out.
struct Files {
    clients_max: u32,
    /// As many as there could be.
    clients_possible: u32,
    handles_max: usize,
}

impl Files {
    /// Raises the limit as far as it goes, and lowers the number of clients if that is too low.
    fn allot(clients_wanted: u32) -> Self {
        let mut limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
        let files = limit.current.unwrap_or(u64::MAX).saturating_sub(FILES_OTHER);
        // The log comes first, but not with all there is.
        let handles = (files / 4).clamp(HANDLES_MIN, HANDLES_MAX);
        let left = u32::try_from(files.saturating_sub(handles)).unwrap_or(u32::MAX);
        let clients_max = clients_wanted.min(left.max(1));
        if clients_max < clients_wanted {
            tracing::warn!(
                "at most {clients_max} clients in place of {clients_wanted}, since the limit on \
                 open files is {files}; raise it with ulimit -n"
            );
        }
        Self { clients_max, clients_possible: left.max(1), handles_max: handles as usize }
    }
}

/// How long a node of a cluster may be silent before it is fenced.
const SESSION_TIMEOUT: Duration = Duration::from_millis(1500);

/// Size at which the segments of the quorum's log roll, in bytes.
const CONTROL_SEGMENT_BYTES: u64 = 4 << 20;

/// Entries of the quorum's log between two snapshots of the cluster map.
const SNAPSHOT_EVERY: u64 = 1_000;

/// Tasks that run before the runtime looks for events again. Above the number of connections that
/// are ready at once in practice, so that the pump runs once for all of them.
const TASKS_PER_LOOK: u32 = 1024;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Enough for a disk to have several fsyncs at a time; more gain little and cost switches.
const WRITER_THREADS: usize = 4;

/// How long nothing is accepted after that has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often clients that keep us waiting are looked for.
const SWEEP_MIN: Duration = Duration::from_millis(10);
const SWEEP_MAX: Duration = Duration::from_secs(1);

/// How long clients may take to read their last replies when the node stops.
const LAST_REPLIES: Duration = Duration::from_secs(5);

/// Open files beside clients and the log: standard streams, the event queue, the lock, the
/// listener, a directory being synced.
const FILES_OTHER: u64 = 32;

/// Files of the log that are kept open.
const HANDLES_MIN: u64 = 16;
const HANDLES_MAX: u64 = 4096;

#[cfg(test)]
mod tests;
