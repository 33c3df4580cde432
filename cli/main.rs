//! The `kvnode` binary: parse the command line, call, print.
//!
//! Each command is a file here and decides nothing about keys and values: [`run`] hands its options
//! to the driver, [`client`] speaks to a node over the socket as any Redis client does, [`status`] asks one how
//! its cluster is, [`cluster`] has a cluster do what an operator decides, [`demo`] starts a whole cluster to play with, [`check`]
//! shows what an offline scan has found, [`sim`] leads to the simulator.

mod check;
mod client;
mod cluster;
mod demo;
mod password;
mod run;
mod sim;
mod size;
mod status;

use std::fmt::Display;
use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Small blocks come and go with every command: measured, a fifth less time in GETs than with the
/// system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A key-value store that any Redis client can talk to and that keeps every write it acknowledged.
#[derive(Parser)]
#[command(
    version,
    after_help = "Start with `kvnode run`, then talk to it with `kvnode cli` or redis-cli.\n\n\
        Exit codes: 0 as asked, 1 it failed, 2 the command line is wrong."
)]
enum Kvnode {
    /// Serve a data directory to Redis clients
    Run(run::Args),
    /// Talk to a node: one command, a prompt, or the lines of a pipe
    Cli(client::Args),
    /// Show how a cluster is, asking any of its nodes
    Status(status::Args),
    /// Decide for a cluster: who leads, who has replicas, which node does not come back
    Cluster(cluster::Args),
    /// Start a cluster on this machine, watch it live and break it
    Demo(demo::Args),
    /// Verify a data directory while no node runs on it
    Check(check::Args),
    /// Explore many seeds in the simulator, with faults and checkers
    Sim(sim::ExploreArgs),
    /// Run one seed of the simulator and tell its story
    Replay(sim::ReplayArgs),
    /// Put known bugs into core and count the seeds until the simulator notices
    Mutants(sim::MutantsArgs),
}

fn main() -> ExitCode {
    match Kvnode::try_parse().unwrap_or_else(|error| explain(error).exit()) {
        Kvnode::Run(args) => run::run(args),
        Kvnode::Cli(args) => client::run(args),
        Kvnode::Status(args) => status::run(args),
        Kvnode::Cluster(args) => cluster::run(args),
        Kvnode::Demo(args) => demo::run(args),
        Kvnode::Check(args) => check::run(&args),
        Kvnode::Sim(args) => sim::explore(&args),
        Kvnode::Replay(args) => sim::replay(&args),
        Kvnode::Mutants(args) => sim::mutants(&args),
    }
}

/// Adds what a newcomer has to know who types `-h` for help.
fn explain(mut error: clap::Error) -> clap::Error {
    let host = ContextValue::String("--host <HOST>".into());
    if error.kind() == ErrorKind::InvalidValue
        && error.get(ContextKind::InvalidArg) == Some(&host)
        && error.get(ContextKind::InvalidValue) == Some(&ContextValue::String(String::new()))
    {
        let tip = "-h is the host, as in redis-cli: `-h HOST`; help is `--help`";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// Says in one sentence what is wrong with the command line.
fn misused(why: impl Display) -> ExitCode {
    eprintln!("kvnode: {why}");
    ExitCode::from(2)
}

/// Says in one sentence why the command failed.
fn failed(why: impl Display) -> ExitCode {
    eprintln!("kvnode: {why}");
    ExitCode::FAILURE
}
