//! `kvnode demo`: a real cluster, broken and mended by a script, and nothing of it left behind.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use common::terminal::Terminal;
use common::{Client, Endpoint, Frame, wait_until};
use serde_json::Value;
use tempfile::TempDir;

/// A demo that runs, with a directory of its own for temporary ones.
struct Demo {
    temporary: TempDir,
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

fn command(temporary: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvnode"));
    command.args(["demo", "--partitions", "6"]).env("TMPDIR", temporary.path());
    command
}

impl Demo {
    fn start(script: &str) -> Self {
        let temporary = TempDir::new().expect("a directory");
        let mut child = command(&temporary)
            .args(["--json", "--script", script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kvnode starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { temporary, child, lines }
    }

    /// The lines up to the first that tells of `event`, which is the last of them.
    fn until(&mut self, event: &str) -> Vec<Value> {
        let mut all = Vec::new();
        for line in self.lines.by_ref() {
            let line: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
            let found = line["event"] == event;
            all.push(line);
            if found {
                return all;
            }
        }
        panic!("no {event} among {all:#?}");
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process id"), signal).expect("it is ours");
    }

    /// Its exit code once it has ended; no node may be left then.
    fn end(&mut self) -> Option<i32> {
        let status = self.child.wait().expect("it is ours");
        let own = self.temporary.path().to_str().expect("text").to_owned();
        wait_until("no node to be left", || nodes_in(&own).is_empty().then_some(()));
        status.code()
    }

    fn left_behind(&self) -> usize {
        std::fs::read_dir(self.temporary.path()).expect("it is there").count()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes whose command line names a directory.
fn nodes_in(directory: &str) -> Vec<String> {
    let commands = std::fs::read_dir("/proc").expect("the list of processes").flatten();
    let commands =
        commands.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let commands = commands.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    commands.filter(|line| line.contains(directory)).collect()
}

fn find<'v>(lines: &'v [Value], event: &str) -> &'v Value {
    let found = lines.iter().find(|line| line["event"] == event);
    found.unwrap_or_else(|| panic!("no {event} among {lines:#?}"))
}

#[test]
fn a_killed_leader_is_replaced_comes_back_and_no_acknowledged_write_is_lost() {
    let mut demo = Demo::start(
        "wait whole; wait writes 100; kill leader; wait whole; wait writes 100; revive; \
         wait whole; wait writes 50; quit",
    );
    let lines = demo.until("verdict");
    assert_eq!(demo.end(), Some(0), "{lines:#?}");
    assert_eq!(demo.left_behind(), 0);

    let killed = lines.iter().position(|line| line["event"] == "killed").expect("it was killed");
    let node = &lines[killed]["node"];
    let before =
        lines[..killed].iter().any(|line| line["event"] == "leads" && line["node"] == *node);
    assert!(before, "it led: {lines:#?}");
    let leads = find(&lines[killed..], "leads");
    assert_ne!(leads["node"], *node);
    assert!(leads["text"].as_str().is_some_and(|text| text.contains("leads")), "{leads}");
    assert_eq!(find(&lines[killed..], "revived")["node"], *node);
    assert_eq!(find(&lines[killed..], "in_sync")["node"], *node);

    let verdict = lines.last().expect("it is the last");
    assert_eq!(verdict["good"], true, "{verdict}");
    let acknowledged = verdict["acknowledged"].as_u64().expect("a number");
    assert!(acknowledged >= 250, "{verdict}");
    assert_eq!(verdict["check"]["present"], acknowledged, "{verdict}");
    assert_eq!(verdict["check"]["missing"], 0, "{verdict}");
}

#[test]
fn a_write_that_is_gone_is_told() {
    let mut demo = Demo::start("wait whole; wait writes 50; load 0; wait 1000");
    let started = demo.until("started").pop().expect("it is there");
    demo.until("load");
    let port = started["ports"][0].as_u64().and_then(|port| u16::try_from(port).ok());
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port.expect("a port")));
    let mut client = Client::connect(&Endpoint::Tcp(address)).expect("it accepts");
    let key = format!("{}0:0", started["keys"].as_str().expect("a text"));
    wait_until("the key to be gone", || {
        (client.call(["DEL", &key]) == Frame::Int(1)).then_some(())
    });
    demo.signal(rustix::process::Signal::TERM);
    let verdict = demo.until("verdict").pop().expect("it is there");
    assert_eq!(verdict["good"], false, "{verdict}");
    assert_eq!(verdict["check"]["missing"], 1, "{verdict}");
    assert_eq!(verdict["check"]["lost"][0], *key, "{verdict}");
    assert_eq!(demo.end(), Some(1));
    assert_eq!(demo.left_behind(), 1, "what there is to look at stays");
}

#[test]
fn sigterm_ends_it_cleanly() {
    let mut demo = Demo::start("wait whole; wait writes 10; pause follower; wait 1000");
    demo.until("paused");
    demo.signal(rustix::process::Signal::TERM);
    let lines = demo.until("verdict");
    assert_eq!(
        lines.last().map(|verdict| &verdict["good"]),
        Some(&Value::Bool(true)),
        "{lines:#?}"
    );
    assert_eq!(demo.end(), Some(0), "{lines:#?}");
    assert_eq!(demo.left_behind(), 0);
}

#[test]
fn no_node_outlives_a_demo_that_is_killed_not_even_a_paused_one() {
    let mut demo = Demo::start("wait whole; pause follower; wait 1000");
    demo.until("paused");
    let own = demo.temporary.path().to_str().expect("text").to_owned();
    assert_eq!(nodes_in(&own).len(), 3);
    demo.signal(rustix::process::Signal::KILL);
    assert_eq!(demo.end(), None);
}

#[test]
fn at_a_terminal_it_takes_keys() {
    let temporary = TempDir::new().expect("a directory");
    let own = temporary.path().to_str().expect("text");
    let nodes = |count: usize| {
        wait_until("the nodes", || (nodes_in(own).len() == count).then_some(()));
    };
    let mut terminal = Terminal::start(command(&temporary));
    terminal.expect("what happened");
    nodes(3);
    terminal.press("2k");
    nodes(2);
    terminal.press("r");
    nodes(3);
    terminal.press("q");
    terminal.expect("lost.");
    assert_eq!(terminal.wait().code(), Some(0));
    nodes(0);
    assert_eq!(std::fs::read_dir(temporary.path()).expect("it is there").count(), 0);
}

#[test]
fn a_script_that_makes_no_sense_is_refused_before_anything_starts() {
    let temporary = TempDir::new().expect("a directory");
    let output = command(&temporary).args(["--script", "wait 1; explode"]).output();
    let output = output.expect("kvnode starts");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("explode") && said.lines().count() == 1, "{said}");
    assert_eq!(std::fs::read_dir(temporary.path()).expect("it is there").count(), 0);
}
