//! `kvnode check`: what an offline scan of a data directory has found, as a table or as JSON.
//!
//! The check itself is core's; nothing here walks a segment. [`scan`] drives it on a real
//! directory, [`words`] says for each finding what it means for the data and what to do about it,
//! and [`report`] prints. This file shows the progress and decides on the exit code.

mod report;
mod scan;
mod words;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use report::Report;

/// The command line of `kvnode check`.
#[derive(clap::Args)]
#[command(
    after_help = "Reads every byte of every file and changes nothing. Refuses a directory that a \
        running node holds.\n\n\
        A node with a damaged log serves what it is sure of: any key that the lost records may \
        have changed is answered with -CORRUPT until it is written again, rather than as absent or \
        with an old value. If no copy of the directory is left, --accept-loss ends that.\n\n\
        Exit codes: 0 clean (or accepted as asked), 1 damage found or not readable, 2 usage."
)]
pub(crate) struct Args {
    /// The data directory
    #[arg(value_name = "DIR")]
    data: PathBuf,

    /// Print the findings as JSON
    #[arg(long)]
    json: bool,

    /// After the check, give the lost ranges up for good
    ///
    /// Writes to the MANIFEST of each damaged partition that what its log has lost so far is
    /// accepted. From the next start on, a key whose newest record was lost is absent, or has an
    /// older value again, or is back although it was deleted. Try a copy of the directory first:
    /// this can not be undone. Values that are damaged by themselves are no lost ranges: their keys
    /// are answered with errors until they are written again. Refuses if nothing is
    /// lost.
    #[arg(long)]
    accept_loss: bool,
}

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// Runs `kvnode check`.
pub(crate) fn run(args: &Args) -> ExitCode {
    let bar = progress_bar();
    let result = scan::scan(&args.data, args.accept_loss, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    match result {
        Ok(report) => {
            print(&report, args.json);
            verdict(&report, args.accept_loss)
        }
        Err(why) => crate::failed(why),
    }
}

fn print(report: &Report, json: bool) {
    if json {
        println!("{}", report.to_json());
    } else {
        print!("{}", report.to_text(io::stdout().is_terminal()));
    }
}

fn verdict(report: &Report, accept_loss: bool) -> ExitCode {
    match (accept_loss, report.accepted.is_empty()) {
        (true, true) if report.is_clean() => {
            crate::failed("nothing to accept: no range of the log is lost")
        }
        (true, true) => crate::failed(
            "nothing was accepted: what is damaged is no lost range of a partition's log; the \
             findings say what to do",
        ),
        (true, false) => ExitCode::SUCCESS,
        (false, _) if report.is_clean() => ExitCode::SUCCESS,
        (false, _) => ExitCode::FAILURE,
    }
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
