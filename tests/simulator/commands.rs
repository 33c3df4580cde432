//! `kvnode sim` and `kvnode replay` as a user meets them.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

fn kvnode(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kvnode")).args(args).output().expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it prints text")
}

fn last_line(output: &Output) -> String {
    stdout(output).lines().last().expect("it prints something").to_owned()
}

#[test]
fn two_processes_replay_a_seed_to_the_same_hash() {
    let lines = || {
        let output = kvnode(&["replay", "21"]);
        assert!(output.status.success());
        stdout(&output)
    };
    let first = lines();
    let hash = first.lines().last().and_then(|line| line.strip_prefix("trace hash: "));
    assert_eq!(hash.map(str::len), Some(16), "the last line is the hash");
    assert!(first.lines().count() > 1000, "the story is told");
    assert_eq!(first, lines());
    assert_eq!(
        last_line(&kvnode(&["replay", "21", "--quiet"])).as_str(),
        first.lines().last().unwrap_or_default()
    );
}

#[test]
fn a_campaign_ends_with_a_line_for_machines() {
    let output = kvnode(&["sim", "--seeds", "3", "--from", "7", "--jobs", "2"]);
    assert!(output.status.success());
    let line = last_line(&output);
    let fields: Vec<(&str, &str)> =
        line.split(' ').map(|field| field.split_once('=').expect("name=number")).collect();
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let expected =
        ["seeds", "violations", "unreached_marks", "sim_seconds", "wall_seconds", "events"];
    assert_eq!(names, expected);
    assert!(fields.iter().all(|(_, number)| number.parse::<f64>().is_ok()), "{line}");
    assert_eq!((fields[0].1, fields[1].1), ("3", "0"));
    let json = kvnode(&["sim", "--seeds", "2", "--profile", "calm", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("it is JSON");
    assert_eq!((&json["seeds"], &json["violations"]), (&2.into(), &0.into()));
    assert_eq!(json["injected"]["kill"], 0);
}

/// Whether the process has a handler for the signal, as Linux tells.
#[cfg(target_os = "linux")]
fn catches(process: u32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
    caught & 1 << (signal.as_raw() - 1) != 0
}

#[test]
#[cfg(target_os = "linux")]
fn an_interrupted_campaign_tells_what_it_knows() {
    let child = Command::new(env!("CARGO_BIN_EXE_kvnode"))
        .args(["sim", "--seeds", "1000000", "--profile", "short", "--jobs", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let began = Instant::now();
    while !catches(child.id(), Signal::INT) {
        assert!(began.elapsed() < Duration::from_secs(60), "it catches no Ctrl-C");
        std::thread::sleep(Duration::from_millis(2));
    }
    let id = Pid::from_raw(child.id() as i32).expect("ids are not zero");
    kill_process(id, Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("interrupted after") && told.contains("of 1000000 seeds"), "{told}");
    let line = last_line(&output);
    assert!(line.starts_with("seeds=") && line.contains(" violations=0 "), "{line}");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason_and_status_2() {
    for (args, reason) in [
        (&["sim", "--profile", "stormy"][..], "standard, calm"),
        (&["sim", "--seeds", "0"], "at least 1"),
        (&["sim", "--seeds", "many"], "invalid digit"),
        (&["sim", "--from", "18446744073709551615", "--seeds", "2"], "at most"),
        (&["sim", "--jobs", "0"], "--jobs"),
        (&["sim", "--sweep", "--profile", "calm"], "cannot be used with"),
        (&["sim", "--storm"], "--storm"),
        (&["replay"], "SEED"),
        (&["replay", "minus one"], "invalid digit"),
        (&["replay", "1", "--profile", ""], "no such profile"),
        (&["replay", "1", "--until", "-3"], "unexpected argument"),
        (&["replay", "1", "--until", "NaN"], "zero or more"),
    ] {
        let output = kvnode(args);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
        assert!(told.contains(reason), "{args:?}: {told}");
    }
    let output = kvnode(&["replay", "1", "--quiet", "--html", "/no/such/directory/x.html"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/directory/x.html"));
}

#[test]
fn the_story_goes_no_further_than_asked() {
    let output = kvnode(&["replay", "4", "--until", "2.5"]);
    let text = stdout(&output);
    let times: Vec<f64> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse::<f64>().ok())
        .filter(|_| true)
        .collect();
    assert!(times.iter().any(|at| *at > 1.0));
    assert!(last_line(&output).starts_with("trace hash: "));
    let events = text.lines().filter(|line| line.starts_with("    ")).count();
    let late = text.lines().filter(|line| line.starts_with("    3.")).count();
    assert!(events > 100 && late == 0, "{events} events, {late} of them late");
}

#[test]
fn a_plan_of_a_file_is_replayed() {
    let path = std::env::temp_dir().join(format!("kvnode-{}.plan", std::process::id()));
    let shown = path.to_str().expect("it is text");
    let replay = || kvnode(&["replay", "5", "--plan", shown]);
    std::fs::write(&path, "# two faults\n  9.000 s  reset n1\n  4.500 s  kill n1, down 30 ms\n")
        .expect("it can be written");
    let told = stdout(&replay());
    let planned: Vec<&str> = told.lines().filter(|line| line.starts_with("planned: ")).collect();
    assert_eq!(
        planned,
        ["planned:   4.500 s  kill n1, down 30 ms", "planned:   9.000 s  reset n1"]
    );
    assert_eq!(told.matches("is killed").count(), 1);
    std::fs::write(&path, "4.500 s  meteor n1\n").expect("it can be written");
    let refused = replay();
    assert_eq!(refused.status.code(), Some(2));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("line 1") && why.contains("meteor"), "{why}");
    std::fs::remove_file(&path).expect("it was there");
}
