//! The processes of the cluster: this binary as `kvnode run`, one a node.
//!
//! None outlives the demo. Whatever happens in it, they are killed when [`Children`] is dropped;
//! where it is killed itself, the system kills them (`--end-with`). The system takes the thread
//! that started a child for its parent, so only the main thread may call here.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Connection;
use crate::password::Login;

/// Between two looks at whether processes have ended.
const LOOK: Duration = Duration::from_millis(10);

/// What the cluster's nodes are told.
pub(super) struct Settings {
    /// How many.
    pub nodes: u32,
    /// Partitions of a new cluster.
    pub partitions: u32,
    /// The first port, or free ones.
    pub port: Option<u16>,
    /// A directory for their directories.
    pub data: PathBuf,
    /// File of the password that their clients need.
    pub password_file: Option<PathBuf>,
    /// What the demo itself says to them then.
    pub login: Option<Login>,
}

/// How the demo gets to a node.
#[derive(Clone)]
pub(super) struct Door {
    port: u16,
    login: Option<Login>,
}

impl Door {
    /// A connection, not opened yet.
    pub(super) fn connection(&self, resp3: bool) -> Connection {
        Connection::new("127.0.0.1".into(), self.port, resp3).by(self.login.clone())
    }
}

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// It runs.
    Running,
    /// It was sent SIGSTOP.
    Paused,
    /// It was sent SIGTERM.
    Stopping,
    /// There is none.
    Dead,
}

/// A process that has ended.
pub(super) struct End {
    /// The node it was.
    pub node: u32,
    /// How it ended.
    pub status: ExitStatus,
    /// Not as it was asked to: a bug, or an operator with a shell.
    pub unasked: bool,
    /// The last line of its log.
    pub said: String,
}

/// All of them.
pub(super) struct Children {
    children: Vec<Node>,
    login: Option<Login>,
    options: Vec<OsString>,
}

struct Node {
    id: u32,
    client: u16,
    data: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    state: Process,
}

impl Children {
    /// Chooses the ports; no process is started yet.
    pub(super) fn new(settings: &Settings) -> io::Result<Self> {
        let count = settings.nodes as usize;
        let ports = ports(settings.port, count * 2)?;
        let (clients, peers) = ports.split_at(count);
        let entry = |(id, port): (u32, &u16)| format!("{id}@127.0.0.1:{port}");
        let list: Vec<_> = (1..).zip(peers).map(entry).collect();
        let node = |(id, &client): (u32, &u16)| Node {
            id,
            client,
            data: settings.data.join(format!("n{id}")),
            log: settings.data.join(format!("n{id}.log")),
            child: None,
            state: Process::Dead,
        };
        let children = (1..).zip(clients).map(node).collect();
        let partitions = settings.partitions.to_string();
        let options = ["--cluster", &list.join(","), "--partitions", &partitions];
        let mut options = options.map(OsString::from).to_vec();
        if let Some(path) = &settings.password_file {
            options.push("--password-file".into());
            options.push(std::path::absolute(path)?.into());
        }
        Ok(Self { children, login: settings.login.clone(), options })
    }

    /// The nodes.
    pub(super) fn ids(&self) -> RangeInclusive<u32> {
        1..=self.children.len() as u32
    }

    /// The ports for clients, in order of the nodes.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.children.iter().map(|node| node.client).collect()
    }

    /// How the demo gets to them, in the same order.
    pub(super) fn doors(&self) -> Vec<Door> {
        let door = |node: &Node| Door { port: node.client, login: self.login.clone() };
        self.children.iter().map(door).collect()
    }

    /// How a node's process is.
    pub(super) fn state(&self, node: u32) -> Process {
        self.at(node).state
    }

    /// Its process id, if it has a process.
    pub(super) fn pid(&self, node: u32) -> Option<u32> {
        self.at(node).child.as_ref().map(Child::id)
    }

    /// Starts the process of a node that has none.
    pub(super) fn start(&mut self, node: u32) -> io::Result<()> {
        let options = self.options.clone();
        let node = self.at_mut(node);
        assert!(node.child.is_none(), "n{} runs", node.id);
        let log = File::options().create(true).append(true).open(&node.log)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["run", "--id", &node.id.to_string()])
            .args(["--listen", &format!("127.0.0.1:{}", node.client)])
            .args(["--end-with", &std::process::id().to_string()])
            .args(options)
            .arg("--data")
            .arg(&node.data)
            // Ctrl-C at the terminal is for the demo alone.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        node.child = Some(child);
        node.state = Process::Running;
        Ok(())
    }

    /// SIGKILL; the process is gone when this returns.
    pub(super) fn kill(&mut self, node: u32) {
        self.at_mut(node).kill();
    }

    /// SIGSTOP.
    pub(super) fn pause(&mut self, node: u32) {
        self.at_mut(node).signal(Signal::STOP, Process::Paused);
    }

    /// SIGCONT.
    pub(super) fn resume(&mut self, node: u32) {
        self.at_mut(node).signal(Signal::CONT, Process::Running);
    }

    /// SIGTERM.
    pub(super) fn stop(&mut self, node: u32) {
        let node = self.at_mut(node);
        node.signal(Signal::TERM, Process::Stopping);
        // One that is paused would not see it.
        node.signal(Signal::CONT, Process::Stopping);
    }

    /// The processes that have ended since the last call, but for those that were killed.
    pub(super) fn ended(&mut self) -> Vec<End> {
        self.children.iter_mut().filter_map(Node::ended).collect()
    }

    /// Stops all cleanly; gives how they ended, and those that had to be killed after `patience`.
    pub(super) fn stop_all(&mut self, patience: Duration) -> (Vec<End>, Vec<u32>) {
        let start = Instant::now();
        let mut ends = Vec::new();
        self.ids().for_each(|node| self.stop(node));
        while self.children.iter().any(|node| node.child.is_some()) && start.elapsed() < patience {
            ends.extend(self.ended());
            thread::sleep(LOOK);
        }
        let late: Vec<_> =
            self.children.iter().filter(|node| node.child.is_some()).map(|node| node.id).collect();
        late.iter().for_each(|&node| self.kill(node));
        (ends, late)
    }

    fn at(&self, node: u32) -> &Node {
        &self.children[node as usize - 1]
    }

    fn at_mut(&mut self, node: u32) -> &mut Node {
        &mut self.children[node as usize - 1]
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.children.iter_mut().for_each(Node::kill);
    }
}

impl Node {
    fn signal(&mut self, signal: Signal, state: Process) {
        // It is ours and not waited for yet, so the id can not be another's.
        let pid = self.child.as_ref().and_then(|child| Pid::from_raw(child.id() as i32));
        if pid.is_some_and(|pid| kill_process(pid, signal).is_ok()) {
            self.state = state;
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.state = Process::Dead;
    }

    fn ended(&mut self) -> Option<End> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        // One that was only starting had not said yet how it takes the signal.
        let asked = status.success() || status.signal() == Some(Signal::TERM.as_raw());
        let unasked = self.state != Process::Stopping || !asked;
        (self.child, self.state) = (None, Process::Dead);
        Some(End { node: self.id, status, unasked, said: last_line(&self.log) })
    }
}

/// The last line of a log that has any.
fn last_line(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().last().unwrap_or_default().to_owned()
}

/// Ports from `base` on, or some that were free a moment ago.
fn ports(base: Option<u16>, count: usize) -> io::Result<Vec<u16>> {
    let bind = |at: usize| {
        let port = match base {
            None => 0,
            Some(base) => u16::try_from(usize::from(base) + at)
                .map_err(|_| io::Error::other(format!("there are no {count} ports from {base}")))?,
        };
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(|why| io::Error::other(format!("port {port}: {why}")))
    };
    let listeners: Vec<_> = (0..count).map(bind).collect::<io::Result<_>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
