//! The libraries of other languages: a script each, in a process of its own.
//!
//! A script is called with `single` or `cluster` and the addresses of the nodes. It says `kill KEY` on
//! stdout to have the leader of a key killed (or the node alone, without a key), and reads `killed`
//! on stdin once that is done. It ends with 0 if all was as it should be; if not, what it wrote on
//! stderr says what was not.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use tempfile::TempDir;

use crate::common::PATIENCE;
use crate::missing;
use crate::servers::Servers;

/// A Python that has what `python/requirements.txt` names.
const PYTHON: &str = "KVNODE_CLIENTS_PYTHON";

/// A directory with the `node_modules` of `node/package.json`.
const NODE: &str = "KVNODE_CLIENTS_NODE";

#[test]
fn redis_py_alone() {
    python("redis_py.py", Servers::alone);
}

#[test]
fn redis_py_in_a_cluster_that_forwards() {
    python("redis_py.py", Servers::forwarding);
}

#[test]
fn redis_py_in_a_cluster_that_redirects() {
    python("redis_py.py", Servers::redirecting);
}

#[test]
fn node_redis_alone() {
    node("node_redis.mjs", Servers::alone);
}

#[test]
fn node_redis_in_a_cluster_that_forwards() {
    node("node_redis.mjs", Servers::forwarding);
}

#[test]
fn node_redis_in_a_cluster_that_redirects() {
    node("node_redis.mjs", Servers::redirecting);
}

#[test]
fn ioredis_alone() {
    node("ioredis.mjs", Servers::alone);
}

#[test]
fn ioredis_in_a_cluster_that_forwards() {
    node("ioredis.mjs", Servers::forwarding);
}

#[test]
fn ioredis_in_a_cluster_that_redirects() {
    node("ioredis.mjs", Servers::redirecting);
}

fn python(script: &str, servers: impl FnOnce() -> Servers) {
    if let Some(python) = installed(PYTHON) {
        tell(Command::new(python).arg("-B").arg(sources().join("python").join(script)), servers());
    }
}

fn node(script: &str, servers: impl FnOnce() -> Servers) {
    if installed(NODE).is_some() {
        tell(Command::new("node").arg(sources().join("node").join(script)), servers());
    }
}

/// What the variable says; without it there is nothing to test with.
fn installed(variable: &str) -> Option<OsString> {
    let found = std::env::var_os(variable);
    if found.is_none() {
        missing(&format!("{variable} does not say where the clients are that .ci/run installs"));
    }
    found
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Runs the script to its end, killing what it asks for.
fn tell(command: &mut Command, mut servers: Servers) {
    let home = TempDir::new().expect("a temporary directory");
    let log = home.path().join("stderr");
    let mut child = command
        .arg(servers.mode())
        .args(servers.addresses())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(&log).expect("a file for stderr"))
        .spawn()
        .expect("it starts");
    let mut answers = child.stdin.take().expect("it is piped");
    let lines = lines(&mut child);
    let ended = serve(&mut servers, &lines, &mut answers);
    if !ended {
        // It may be about to end by itself.
        let _ = child.kill();
    }
    let status = child.wait().expect("it is ours");
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    assert!(ended, "the script does not end: {said}");
    assert!(status.success(), "{status}: {said}");
    eprint!("{said}");
}

/// Does what the script asks for until it says no more; false if that takes too long.
fn serve(servers: &mut Servers, lines: &Receiver<String>, answers: &mut ChildStdin) -> bool {
    use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                let key = line.strip_prefix("kill").expect("there is nothing else to ask for");
                servers.kill(key.trim());
                // A script that has ended meanwhile has said why.
                let _ = writeln!(answers, "killed");
            }
            Err(Disconnected) => return true,
            Err(Timeout) => return false,
        }
    }
}

fn lines(child: &mut Child) -> Receiver<String> {
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let (send, lines) = channel();
    thread::spawn(move || {
        // Ends with the script.
        stdout.lines().map_while(Result::ok).all(|line| send.send(line).is_ok());
    });
    lines
}
