//! A kvnode process.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use super::{Client, Endpoint, wait_until};

/// What the process is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    /// SIGTERM, as systemd and docker stop sends.
    Term,
    /// SIGINT, as Ctrl-C sends.
    Int,
    /// SIGKILL: no chance to say good-bye.
    Kill,
    /// SIGSTOP: it hangs until told to continue.
    Stop,
    /// SIGCONT.
    Continue,
}

/// How to start a node.
#[derive(Clone)]
pub(crate) struct NodeBuilder {
    /// Where its data lives and for how long.
    home: Arc<TempDir>,
    data: PathBuf,
    listen: SocketAddr,
    options: Vec<String>,
    /// A program to start it under, with its arguments.
    under: Vec<String>,
}

/// A running node. Killed when dropped; its data goes with the last builder or node on it.
pub(crate) struct Node {
    child: Child,
    addr: SocketAddr,
    builder: NodeBuilder,
}

impl NodeBuilder {
    /// A node on a new, empty directory.
    pub(crate) fn new() -> Self {
        let home = Arc::new(TempDir::new().expect("a temporary directory"));
        let data = home.path().join("data");
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { home, data, listen, options: Vec::new(), under: Vec::new() }
    }

    /// The same with its data in `data`.
    pub(crate) fn data_in(mut self, data: impl Into<PathBuf>) -> Self {
        self.data = data.into();
        self
    }

    /// The same, on a given address instead of a free port.
    pub(crate) fn listen(mut self, listen: SocketAddr) -> Self {
        self.listen = listen;
        self
    }

    /// The same with more options: `["--fsync", "never"]`.
    pub(crate) fn options<S: Into<String>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        self.options.extend(more.into_iter().map(Into::into));
        self
    }

    /// The same, started by another program: `["strace", "-f"]`.
    pub(crate) fn under<S: Into<String>>(mut self, program: impl IntoIterator<Item = S>) -> Self {
        self.under = program.into_iter().map(Into::into).collect();
        self
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// A directory beside its data, for whatever the test needs.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// What it wrote to stderr since it was last started.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// What it wrote to stdout since it was last started, once it has said all it says.
    pub(crate) fn said(&self) -> String {
        let path = self.said_path();
        wait_until("the lines on stdout", || {
            let said = std::fs::read_to_string(&path).ok()?;
            (said.lines().count() >= 2).then_some(said)
        })
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// If it ends or says nothing.
    pub(crate) fn start(&self) -> Node {
        let mut node = Node { child: self.spawn(), addr: self.listen, builder: self.clone() };
        node.addr = wait_until("kvnode to say where it listens", || {
            let said = std::fs::read_to_string(self.said_path()).ok()?;
            let line = said.lines().find_map(|line| line.strip_prefix("listening on "));
            // Half a line may be there already.
            if let Some(line) = line.filter(|_| said.ends_with('\n')) {
                return Some(line.parse().expect("an address"));
            }
            assert!(node.is_alive(), "kvnode ended before it served");
            None
        });
        node
    }

    /// Starts it where it must not be able to serve, and gives its exit status.
    pub(crate) fn start_in_vain(&self) -> ExitStatus {
        let mut child = self.spawn();
        exit_of(&mut child)
    }

    fn said_path(&self) -> PathBuf {
        self.home.path().join("stdout")
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("stderr")
    }

    fn spawn(&self) -> Child {
        let log = File::create(self.log_path()).expect("a file for stderr");
        let said = File::create(self.said_path()).expect("a file for stdout");
        let kvnode = env!("CARGO_BIN_EXE_kvnode").to_owned();
        let mut words = self.under.iter().chain([&kvnode]);
        let program = words.next().expect("at least kvnode itself");
        Command::new(program)
            .args(words)
            .args(["run", "--listen", &self.listen.to_string(), "--data"])
            .arg(&self.data)
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(said)
            .stderr(log)
            .spawn()
            .expect("kvnode starts")
    }
}

impl Node {
    /// A node on a new directory, with `options`.
    pub(crate) fn start(options: &[&str]) -> Self {
        NodeBuilder::new().options(options.iter().copied()).start()
    }

    /// How it was started: to look at its data, or to start it again.
    pub(crate) fn builder(&self) -> &NodeBuilder {
        &self.builder
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.addr)
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.endpoint()).expect("kvnode accepts")
    }

    /// Its process id (that of the program it was started under, if there is one).
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let signal = match signal {
            Signal::Term => rustix::process::Signal::TERM,
            Signal::Int => rustix::process::Signal::INT,
            Signal::Kill => rustix::process::Signal::KILL,
            Signal::Stop => rustix::process::Signal::STOP,
            Signal::Continue => rustix::process::Signal::CONT,
        };
        rustix::process::kill_process(pid.expect("a process id"), signal).expect("it is ours");
    }

    /// Sends a signal, waits for the end and gives the way to start it again.
    pub(crate) fn end(mut self, signal: Signal) -> (NodeBuilder, ExitStatus) {
        self.signal(signal);
        let status = exit_of(&mut self.child);
        (self.builder.clone(), status)
    }

    /// Waits for an end that the test has caused otherwise.
    pub(crate) fn wait(mut self) -> ExitStatus {
        exit_of(&mut self.child)
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }

    /// Memory in use (VmRSS) in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("the process is there");
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS is there");
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("VmRSS is a number of KiB");
        kib * 1024
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kvnode said:\n{}", self.builder.log());
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exit_of(child: &mut Child) -> ExitStatus {
    let pid = child.id();
    wait_until(&format!("process {pid} to end"), || child.try_wait().expect("it is ours"))
}
