//! What was acknowledged is there after the process was killed.

mod common;

use std::fs;
use std::process::Command;

use common::load::{Load, Writer};
use common::{NodeBuilder, Rng, Signal, has, skipped, wait_until};

/// Rounds of kill and restart on one data directory.
const ROUNDS: u64 = 60;

/// Connections that wait for each reply, and those that send sixteen commands ahead.
const DEPTHS: [usize; 8] = [1, 1, 1, 1, 16, 16, 16, 16];

/// `KVNODE_DURABILITY_SEED` repeats a run's writes; the moment of the kill is the machine's.
#[test]
fn acknowledged_writes_survive_sigkill_under_load() {
    let mut rng = Rng::from_env("KVNODE_DURABILITY_SEED");
    let home = NodeBuilder::new();
    let mut writers: Vec<_> =
        (0..DEPTHS.len()).map(|i| Writer::new(&format!("w{i}"), DEPTHS[i], rng.next())).collect();
    let mut total = 0;
    for round in 0..ROUNDS {
        // Killing a process takes nothing from the page cache, so every mode must keep all. Small
        // segments make rolls and compactions part of it.
        let fsync = ["always", "always", "5", "never"][(round % 4) as usize];
        let index = ["hash", "ordered"][(round / 4 % 2) as usize];
        let options = ["--fsync", fsync, "--index", index, "--segment", "256kb"];
        let node = home.clone().options(options).start();
        let mut client = node.client();
        for writer in &mut writers {
            writer.check(&mut client);
        }
        let load = Load::start(&node.endpoint(), writers);
        let enough = 1 + rng.below(10_000);
        wait_until("acknowledged writes", || (load.acknowledged() >= enough).then_some(()));
        node.end(Signal::Kill);
        total += load.acknowledged();
        writers = load.join();
    }
    let node = home.options(["--segment", "256kb"]).start();
    let mut client = node.client();
    let mut keys = 0;
    for writer in &mut writers {
        writer.check(&mut client);
        keys += writer.key_count();
    }
    assert_eq!(client.call(["DBSIZE"]), common::Frame::Int(keys as i64));
    eprintln!("{total} acknowledged writes over {ROUNDS} rounds");
}

/// The check of the keys can fail: it misses one lost write, and one that nobody sent.
#[test]
fn a_lost_write_is_found() {
    // The last can be no command that was sent and not acknowledged: those count by one.
    for forge in
        [&["DEL", "w:counter"][..], &["SET", "w:0", "x"], &["INCRBY", "w:counter", "99999"]]
    {
        let node = NodeBuilder::new().options(["--fsync", "never"]).start();
        let load = Load::start(&node.endpoint(), vec![Writer::new("w", 16, 1)]);
        wait_until("acknowledged writes", || (load.acknowledged() > 500).then_some(()));
        let (builder, _) = node.end(Signal::Term);
        let mut writers = load.join();
        let node = builder.start();
        let mut client = node.client();
        client.call(forge);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            writers[0].check(&mut client);
        }));
        assert!(checked.is_err(), "{forge:?} is not noticed");
    }
}

/// Writes acknowledged under strace.
const TRACED_WRITES: usize = 50;

#[test]
fn an_fsync_stands_between_append_and_reply() {
    if !has("strace") {
        return skipped("strace is not installed, so no system call can be watched");
    }
    if !Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|s| s.success())
    {
        return skipped("strace may not watch a process here");
    }
    let builder = NodeBuilder::new();
    let trace = builder.home().join("trace");
    let calls = "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync";
    // -D keeps kvnode the direct child; -y names the files behind the descriptors.
    let strace = ["strace", "-D", "-f", "-y", "-s", "16", "-e", calls, "-o"];
    let strace = strace.map(str::to_owned).into_iter().chain([trace.display().to_string()]);
    let node = builder.under(strace).start();
    let mut client = node.client();
    for n in 0..TRACED_WRITES {
        assert_eq!(client.call(["SET".into(), format!("k{n}"), "v".into()]), common::Frame::ok());
    }
    let (_builder, status) = node.end(Signal::Term);
    assert!(status.success(), "{status}");
    let replies = wait_until("strace to write its last line", || {
        let text = fs::read_to_string(&trace).ok()?;
        text.contains("+++ exited with 0 +++").then(|| replies_after_fsync(&text))
    });
    assert_eq!(replies, TRACED_WRITES);
}

/// Counts the replies in a trace of one client that waits for each, and checks that an append and
/// then a completed fsync came between each of them and the one before.
fn replies_after_fsync(trace: &str) -> usize {
    #[derive(Debug, PartialEq)]
    enum Seen {
        Nothing,
        Append,
        Fsync,
    }
    let mut seen = Seen::Nothing;
    let mut replies = 0;
    for line in trace.lines() {
        let is_write = ["write(", "writev(", "pwrite64(", "pwritev(", "pwritev2(", "send"]
            .iter()
            .any(|call| line.contains(call));
        // The second half of a call that another thread interrupted does not name the file.
        let is_fsync = (line.contains("fdatasync") || line.contains("fsync"))
            && (line.contains(".log>") || line.contains("resumed>"));
        if is_write && line.contains(".log>") {
            // A write that asks for durability itself is both.
            seen = if line.contains("RWF_DSYNC") { Seen::Fsync } else { Seen::Append };
        } else if is_fsync && !line.contains("<unfinished") && line.contains("= 0") {
            if seen == Seen::Append {
                seen = Seen::Fsync;
            }
        } else if is_write && line.contains("+OK") {
            assert_eq!(seen, Seen::Fsync, "before reply {replies}:\n{line}");
            seen = Seen::Nothing;
            replies += 1;
        }
    }
    replies
}

/// The check above can fail.
#[test]
fn a_trace_without_fsync_is_rejected() {
    let append = "7 pwrite64(9</d/p0/00000000000000000000-00000001.log>, \"x\"..., 60, 0) = 60\n";
    let sync = "7 fdatasync(9</d/p0/00000000000000000000-00000001.log>) = 0\n";
    let reply = "7 sendto(12<TCP:[1]>, \"+OK\\r\\n\", 5, 0, NULL, 0) = 5\n";
    assert_eq!(replies_after_fsync(&[append, sync, reply].concat()), 1);
    for trace in [[append, reply, sync], [sync, append, reply], [sync, reply, append]] {
        let trace = trace.concat();
        assert!(std::panic::catch_unwind(|| replies_after_fsync(&trace)).is_err(), "{trace}");
    }
}
