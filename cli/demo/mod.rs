//! `kvnode demo`: a whole cluster on this machine, live, with keys to break it.
//!
//! One command shows what the product promises: nodes are killed and paused while a small load
//! writes, somebody else leads, and in the end every acknowledged write is still there.
//!
//! - [`children`]: the processes, none of which outlives the demo. [`home`]: their directories.
//! - [`watch`] asks all nodes, [`view`] is what they say, [`news`] what has changed in it.
//! - [`load`] writes and knows what it was promised, [`meter`] is its speed, [`check`] reads all of
//!   it back.
//! - [`stage`] is all that together; [`picture`] one moment of it.
//! - [`screen`] shows it at a terminal ([`paint`] draws) and takes keys, [`lines`] prints it elsewhere, [`script`]
//!   presses the keys in a test. [`verdict`] is the last word.
//!
//! Nothing here knows more of the nodes than any client could: it asks `CLUSTER STATUS` and `INFO`,
//! and sends signals.

mod check;
mod children;
mod home;
mod lines;
mod load;
mod meter;
mod news;
mod paint;
mod picture;
mod screen;
mod script;
mod stage;
mod verdict;
mod view;
mod watch;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use children::Settings;
use home::Home;
use kvnode_core::limits::PARTITIONS_MAX;
use lines::Lines;
use script::{Script, Turn};
use stage::Stage;

use crate::password::Login;

/// The command line of `kvnode demo`.
#[derive(clap::Args)]
#[command(after_help = "\
Starts a cluster of real nodes on this machine, each a process of its own on loopback, puts a small
load on it and shows live who controls, who leads what, who is in sync, and how the load fares.
Any Redis client can join in at any node. At the end every acknowledged write of the load is read
back, all nodes are stopped and, without --data, nothing is left behind.

Keys:
  1-9  choose a node                 p  pause it, or let it go on (SIGSTOP, SIGCONT)
  k    kill it (SIGKILL)             t  stop it cleanly (SIGTERM)
  r    start it again                l  more load, L (or -) less
  q    the check, and the end

Try: k on the node that leads most, and see how long no write is acknowledged; r brings it back. p
is worse than k: nobody is told that a paused node is gone. Two of three nodes dead: the third
acknowledges no write, rather than one that could be lost, until r brings one of them back.

Without a terminal, or with --script or --json, it prints lines and takes no keys. A script is steps
between semicolons; at its end, or at quit, come the check and the end:
  wait SECONDS     wait whole     wait writes N     load N     quit
  kill, pause, continue, revive, stop  NODE, leader, controller, follower, or nothing for the one of
                                       the step before
`leader` is who leads most partitions, `follower` who leads fewest. `wait whole` waits until every
node that runs takes part and is in sync everywhere, `wait writes` for N more acknowledged writes.

Examples:
  kvnode demo
  kvnode demo --nodes 5 --partitions 20 --port 7000
  kvnode demo --json --script \"wait 3; kill leader; wait 5; revive; wait whole; quit\"

Exit codes: 0 no acknowledged write is lost, 1 one is, a node died by itself, or it could not start
or go on (then the directory with the nodes' logs stays), 2 usage.")]
pub(crate) struct Args {
    /// How many nodes
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..=9),
    )]
    nodes: u32,

    /// Partitions of a new cluster
    #[arg(
        long,
        value_name = "N",
        default_value_t = 12,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(PARTITIONS_MAX)),
    )]
    partitions: u32,

    /// Port of the first node for clients; those of the other nodes follow, then as many that the
    /// nodes use among themselves. Free ones if not said
    #[arg(long, value_name = "BASE", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// Directory of the nodes' data and logs; stays and may be used again. A temporary one if not
    /// said
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// File whose only line is the password that the nodes' clients need; KVNODE_PASSWORD is not read,
    /// by `kvnode run` neither
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// Commands a second of the load, half SET, half GET; 0 for none
    #[arg(
        long,
        value_name = "N",
        default_value_t = 400,
        value_parser = clap::value_parser!(u32).range(..=i64::from(load::RATE_MAX)),
    )]
    load: u32,

    /// What to do instead of waiting for keys
    #[arg(long, value_name = "STEPS")]
    script: Option<String>,

    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs `kvnode demo`.
pub(crate) fn run(args: Args) -> ExitCode {
    let script = match args.script.as_deref().map(|text| Script::parse(text, args.nodes)) {
        None => None,
        Some(Ok(script)) => Some(script),
        Some(Err(why)) => return crate::misused(why),
    };
    match play(args, script) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => crate::failed(why),
    }
}

/// The demo, from its start to its end; whether that is a good one.
fn play(args: Args, mut script: Option<Script>) -> Result<bool, String> {
    let leave = Arc::new(AtomicBool::new(false));
    for signal in
        [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
    {
        signal_hook::flag::register(signal, Arc::clone(&leave))
            .map_err(|why| format!("cannot listen to signals: {why}"))?;
    }
    let login = args.password_file.as_deref().map(Login::from_file).transpose()?;
    // Before the stage, so that it goes after it.
    let mut home = Home::make(args.data)?;
    let settings = Settings {
        nodes: args.nodes,
        partitions: args.partitions,
        port: args.port,
        data: home.path().to_owned(),
        password_file: args.password_file,
        login,
    };
    let mut stage = Stage::open(&settings, args.load)?;
    let mut lines = Lines::new(args.json);
    let at_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let mut good = true;
    if at_terminal && script.is_none() && !args.json {
        screen::show(&mut stage, home.path(), &leave)
            .map_err(|why| format!("the terminal failed: {why}"))?;
    } else {
        if !args.json {
            introduce(&lines, &stage, &home);
        }
        while lines.is_heard() && !leave.load(Ordering::Relaxed) {
            stage.tick();
            let turn = script.as_mut().map_or(Turn::GoesOn, |script| script.play(&mut stage));
            lines.tell(&stage.take_news());
            lines.show(&stage);
            match turn {
                Turn::GoesOn => stage::nap(),
                Turn::Over => break,
                Turn::GaveUp(waiting_for) => {
                    good = false;
                    stage.give_up(waiting_for);
                    break;
                }
            }
        }
    }
    // Another signal from now on: whoever sent it does not want to wait for the check.
    leave.store(false, Ordering::Relaxed);
    let verdict = stage.finish(|| !leave.load(Ordering::Relaxed), |news| lines.tell(news));
    lines.end(&verdict);
    good &= verdict.is_good();
    if !good && home.is_temporary() {
        home.keep();
    }
    if !good || !home.is_temporary() {
        eprintln!("kvnode: data and logs of the nodes are in {}", home.path().display());
    }
    Ok(good)
}

/// How to talk to the cluster, for people.
fn introduce(lines: &Lines, stage: &Stage, home: &Home) {
    for (node, port) in stage.children().ids().zip(stage.children().ports()) {
        lines.put(&format!("n{node}: redis-cli -p {port}   or: kvnode status -p {port}"));
    }
    lines.put(&format!("data and logs in {}", home.path().display()));
}
