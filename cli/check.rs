//! `kvnode check`: what an offline scan of a data directory has found, as a table or as JSON.
//!
//! The scan itself is core's; this file walks no segment. It shows the progress of a long scan,
//! and for each finding where it is, what it means for the data and what to do about it.

mod report;
mod scan;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use report::Report;

/// The command line of `kvnode check`.
#[derive(clap::Args)]
#[command(
    after_help = "Reads every byte of every segment and changes nothing. Refuses a directory that \
        a running node holds.\n\nExit codes: 0 clean, 1 damage found or not readable, 2 usage."
)]
pub(crate) struct Args {
    /// The data directory
    #[arg(value_name = "DIR")]
    data: PathBuf,

    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// Runs `kvnode check`.
pub(crate) fn run(args: &Args) -> ExitCode {
    let bar = progress_bar();
    let result = scan::scan(&args.data, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    match result {
        Ok(report) => print(&report, args.json),
        Err(why) => crate::failed(why),
    }
}

fn print(report: &Report, json: bool) -> ExitCode {
    if json {
        println!("{}", report.to_json());
    } else {
        print!("{}", report.to_text(io::stdout().is_terminal()));
    }
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// On stderr, and only on a terminal, so that it is in nobody's pipe.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{elapsed_precise} [{wide_bar}] {binary_bytes}/{binary_total_bytes} \
         {binary_bytes_per_sec} {eta}",
    );
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style.expect("the template is well formed").progress_chars("=> "));
    bar.enable_steady_tick(TICK);
    bar
}
