//! A server process on a free loopback port.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::place::build_dir;

/// How long a server may take to load its data, or to stop.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often it is asked whether it is there.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `redis-server` from the path.
    Redis,
    /// The `kvnode` beside this program.
    Kvnode,
}

impl Kind {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Kvnode => "kvnode",
        }
    }
}

/// A running server, stopped when dropped.
pub struct Server {
    child: Child,
    port: u16,
    /// From the start of the process to its first answer.
    pub opening: Duration,
}

impl Server {
    /// Starts a server on `dir` with `options` of its own and waits until it serves.
    pub fn start(kind: Kind, dir: &Path, options: &[&str]) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let port = free_port()?;
        let mut command = match kind {
            Kind::Redis => {
                let mut command = Command::new("redis-server");
                command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
                command.args(["--save", "", "--daemonize", "no", "--dir"]).arg(dir);
                command
            }
            Kind::Kvnode => {
                let mut command = Command::new(kvnode()?);
                command.args(["run", "--listen", &format!("127.0.0.1:{port}"), "--data"]);
                command.arg(dir.join("data"));
                command
            }
        };
        let log = File::create(dir.join("log"))?;
        let start = Instant::now();
        let child = command
            .args(options)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", kind.name())))?;
        let mut server = Self { child, port, opening: Duration::ZERO };
        // Until its data is loaded it answers with an error, if at all.
        server.wait(|server| Ok(server.ask("EXISTS k").is_ok_and(|reply| reply == ":0")))?;
        server.opening = start.elapsed();
        Ok(server)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection to it.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Sends an inline command and gives its reply: a line or the text of a bulk string.
    pub fn ask(&self, command: &str) -> io::Result<String> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "{command}\r\n")?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        let Some(len) = line.strip_prefix('$') else { return Ok(line.to_owned()) };
        let len = len.parse().map_err(io::Error::other)?;
        let mut text = vec![0; len];
        reader.read_exact(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Waits until INFO has this line.
    pub fn wait_for_info(&mut self, section: &str, line: &str) -> io::Result<()> {
        self.wait(|server| Ok(server.ask(&format!("INFO {section}"))?.lines().any(|l| l == line)))
    }

    /// Memory in use (VmRSS) in bytes.
    pub fn memory(&self) -> io::Result<u64> {
        memory_of(&self.child.id().to_string())
    }

    /// Stops it by SIGTERM and waits for its end.
    pub fn stop(mut self) -> io::Result<()> {
        self.signal_stop();
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() {
                    Ok(())
                } else {
                    Err(io::Error::other(format!("the server ended with {status}")))
                };
            }
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other("the server does not stop"));
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    fn wait(&mut self, mut done: impl FnMut(&Self) -> io::Result<bool>) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if done(self)? {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the server ended with {status}")));
            }
            std::thread::sleep(ASK_EVERY);
        }
        Err(io::Error::other(format!("the server on port {} does not answer", self.port)))
    }

    fn signal_stop(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Its data goes away with its directory.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Memory in use (VmRSS) of a process, or of `self`, in bytes.
pub fn memory_of(process: &str) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib: Option<u64> = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no VmRSS"))
}

/// Builds the `kvnode` beside this program, as it would be released, unless the variable `KVNODE`
/// names another one to be measured.
pub fn build_kvnode() -> io::Result<()> {
    if std::env::var_os(PROGRAM).is_some() {
        let program = kvnode()?;
        eprintln!("{PROGRAM} is set: {} is measured, as it is", program.display());
        return program.metadata().map(drop);
    }
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--bin", "kvnode"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()?;
    if !status.success() {
        return Err(io::Error::other("kvnode could not be built"));
    }
    let program = kvnode()?;
    if program.exists() {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "{} is not there; run this benchmark with cargo run --release",
            program.display()
        )))
    }
}

/// The environment variable that names the kvnode to measure.
const PROGRAM: &str = "KVNODE";

/// The kvnode that is measured.
pub fn kvnode() -> io::Result<PathBuf> {
    let named = std::env::var_os(PROGRAM).map(PathBuf::from);
    named.map_or_else(|| Ok(build_dir()?.join("kvnode")), Ok)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
