//! Three kvnode processes that make a cluster on loopback.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::server::kvnode;

/// Nodes of the cluster; each has a replica of everything.
pub const NODES: usize = 3;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a node is asked for what is waited for.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// The cluster; its nodes are numbered from 0 here. All are killed when it is dropped.
pub struct Cluster {
    dir: PathBuf,
    list: String,
    options: Vec<String>,
    ports: Vec<u16>,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    /// Starts all nodes on directories in `dir`, with `options` of their own, and waits until all
    /// replicas are in sync; how long the last one was up when all knew the controller, in seconds.
    pub fn found(dir: &Path, options: &[&str]) -> io::Result<(Self, f64)> {
        let ports = free_ports(2 * NODES)?;
        let (peers, ports) = ports.split_at(NODES);
        let entry = |(at, port): (usize, &u16)| format!("{}@127.0.0.1:{port}", at + 1);
        let list = peers.iter().enumerate().map(entry).collect::<Vec<_>>().join(",");
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let nodes = (0..NODES).map(|_| None).collect();
        let dir = dir.to_owned();
        let mut cluster = Self { dir, list, options, ports: ports.to_vec(), nodes };
        (0..NODES).try_for_each(|at| cluster.start(at))?;
        let started = Instant::now();
        for at in 0..NODES {
            cluster.wait(at, "a controller", |info| field(info, "cluster_controller") != "none")?;
        }
        let took = started.elapsed().as_secs_f64();
        cluster.settle()?;
        Ok((cluster, took))
    }

    /// Starts a node.
    pub fn start(&mut self, at: usize) -> io::Result<()> {
        let dir = self.dir.join(format!("n{}", at + 1));
        std::fs::create_dir_all(&dir)?;
        let log = File::create(dir.join("log"))?;
        let child = Command::new(kvnode()?)
            .args(["run", "--id", &(at + 1).to_string(), "--cluster", &self.list])
            .args(["--listen", &self.address(at).to_string()])
            .arg("--data")
            .arg(dir.join("data"))
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.nodes[at] = Some(child);
        Ok(())
    }

    /// Kills a node by SIGKILL; the moment just before.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self, at: usize) -> io::Result<Instant> {
        let mut child = self.nodes[at].take().expect("it runs");
        let moment = Instant::now();
        let killed = child.kill();
        child.wait()?;
        killed.map(|()| moment)
    }

    /// Where clients reach a node.
    pub fn address(&self, at: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[at]).into()
    }

    /// Waits until every node is active and every replica in sync, as every node sees it.
    pub fn settle(&self) -> io::Result<()> {
        let all = NODES.to_string();
        for at in 0..NODES {
            self.wait(at, "every replica to be in sync", |info| {
                field(info, "cluster_active_nodes") == all
                    && field(info, "cluster_summary").starts_with("every partition survives 1")
            })?;
        }
        Ok(())
    }

    /// Waits until a node says so in its INFO.
    pub fn wait(&self, at: usize, what: &str, so: impl Fn(&str) -> bool) -> io::Result<()> {
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
    pub fn info(&self, at: usize) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address(at))?;
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

    /// Who leads each partition, as a node that runs sees it.
    pub fn leaders(&self) -> io::Result<Vec<usize>> {
        let at = self.nodes.iter().position(Option::is_some);
        let port = self.ports[at.ok_or_else(|| io::Error::other("no node runs"))?].to_string();
        let status = Command::new(kvnode()?).args(["status", "--json", "-p", &port]).output()?;
        let said: serde_json::Value = serde_json::from_slice(&status.stdout)?;
        let partitions = said["partitions"].as_array().into_iter().flatten();
        let leaders = partitions.map(|partition| partition["leader"].as_u64());
        let leaders: Option<Vec<_>> = leaders.map(|leader| Some(leader? as usize - 1)).collect();
        leaders.ok_or_else(|| io::Error::other("a partition has no leader"))
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

/// What INFO says of `name`; `none` if it says nothing.
pub fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or("none")
}

/// Ports that were free a moment ago, and below those that the system gives to connections, so
/// that a node that comes back finds its own.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let offset = std::process::id() as u16 % 1_000 * 20;
    let free = (11_000 + offset..32_000)
        .chain(11_000..11_000 + offset)
        .filter(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    let ports: Vec<_> = free.take(count).collect();
    if ports.len() < count {
        return Err(io::Error::other("there are not enough free ports"));
    }
    Ok(ports)
}
