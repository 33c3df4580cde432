//! What a build without the simulator says.

use std::process::ExitCode;

/// Whatever is asked of the simulator.
#[derive(clap::Args)]
pub(crate) struct ExploreArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<String>,
}

/// The same for `kvnode replay`.
pub(crate) type ReplayArgs = ExploreArgs;

/// The same for `kvnode mutants`.
pub(crate) type MutantsArgs = ExploreArgs;

pub(crate) fn explore(_: &ExploreArgs) -> ExitCode {
    say("sim --seeds 100")
}

pub(crate) fn replay(_: &ReplayArgs) -> ExitCode {
    say("replay 42")
}

pub(crate) fn mutants(_: &MutantsArgs) -> ExitCode {
    say("mutants")
}

fn say(example: &str) -> ExitCode {
    eprintln!(
        "kvnode: this build has no simulator; build it in: cargo run --release --features sim -- \
         {example}"
    );
    ExitCode::from(2)
}
