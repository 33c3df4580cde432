//! `kvnode replay`: one seed, and its story.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::ProgressBar;
use kvnode_sim::page;
use kvnode_sim::plan::{Plan, shrink, text};
use kvnode_sim::run::{Outcome, Request, run};
use kvnode_sim::settings::Profile;

/// The command line of `kvnode replay`.
#[derive(clap::Args)]
#[command(after_help = "\
Prints every event of the run in order, then what was found to be wrong and the hash over all
events, which is the same for the same seed and build everywhere.

Examples:
  kvnode replay 42 | less
  kvnode replay 42 --html story.html
  kvnode replay 42 --shrink --until 30
  kvnode replay 42 --plan seed-42.plan

Exit codes: 0 no violation, 1 a violation was found or a file could not be written, 2 usage.")]
pub(crate) struct Args {
    /// The seed
    #[arg(value_name = "SEED")]
    seed: u64,

    /// What sort of run: standard, calm, disk, clock, network, short,
    /// cluster or replication
    #[arg(long, value_name = "NAME", default_value = "standard", value_parser = super::profile)]
    profile: Profile,

    /// Instead of the seed's faults: those of this file, one a line as they are printed
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,

    /// Write the story as a page to look at in a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write the story as a log that ShiViz reads
    #[arg(long, value_name = "FILE")]
    shiviz: Option<PathBuf>,

    /// If the run fails, look for the fewest faults with which it still does, and tell that story
    #[arg(long)]
    shrink: bool,

    /// Where to write those faults, `seed-SEED.plan` if not said
    #[arg(long, value_name = "FILE", requires = "shrink")]
    save: Option<PathBuf>,

    /// Tell the story up to this simulated second only
    #[arg(long, value_name = "T")]
    until: Option<f64>,

    /// Print what was found and the hash, not the story
    #[arg(long)]
    quiet: bool,
}

/// Most runs that shrinking takes.
const SHRINK_RUNS_MAX: usize = 400;

/// Runs `kvnode replay`.
pub(crate) fn replay(args: &Args) -> ExitCode {
    if args.until.is_some_and(|until| until.is_nan() || until < 0.0) {
        eprintln!("kvnode: --until wants a number of seconds, zero or more");
        return ExitCode::from(2);
    }
    let plan = match args.plan.as_deref().map(read) {
        None => None,
        Some(Ok(plan)) => Some(plan),
        Some(Err(why)) => {
            eprintln!("kvnode: {why}");
            return ExitCode::from(2);
        }
    };
    let request = Request { keep: true, plan, ..Request::new(args.profile, args.seed) };
    let mut outcome = run(&request);
    if args.shrink && !outcome.violations.is_empty() {
        let plan = smallest(&outcome, args);
        let usual = || PathBuf::from(format!("seed-{}.plan", args.seed));
        let path = args.save.clone().unwrap_or_else(usual);
        match super::save(&path, args.seed, args.profile, &plan) {
            Ok(command) => eprintln!("{command}"),
            Err(why) => return crate::failed(why),
        }
        outcome = run(&Request { plan: Some(plan), ..request });
    }
    let until_ns = args.until.map_or(u64::MAX, |seconds| (seconds * 1e9) as u64);
    outcome.story.retain(|event| event.at_ns <= until_ns);
    let told = tell(&outcome, args).and_then(|()| draw(&outcome, args));
    match told {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => return crate::failed(error),
        Ok(()) => {}
    }
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(path: &Path) -> Result<Plan, String> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    text::read(&text).map_err(|bad| format!("{shown}: {bad}"))
}

fn smallest(outcome: &Outcome, args: &Args) -> Plan {
    let checker = outcome.violations[0].checker;
    let bar = ProgressBar::new_spinner().with_message("looking for a smaller plan");
    let fails = |plan: &Plan| {
        bar.inc(1);
        let plan = Some(plan.clone());
        let request = Request { plan, ..Request::new(args.profile, args.seed) };
        run(&request).violations.iter().any(|violation| violation.checker == checker)
    };
    let shrunk = shrink(&outcome.plan, SHRINK_RUNS_MAX, fails);
    bar.finish_and_clear();
    eprintln!(
        "{} of {} faults are enough ({} runs)",
        shrunk.plan.len(),
        outcome.plan.len(),
        shrunk.runs
    );
    shrunk.plan
}

fn tell(outcome: &Outcome, args: &Args) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if !args.quiet {
        writeln!(out, "seed {}, {}", outcome.seed, outcome.settings.line())?;
        for planned in &outcome.plan {
            writeln!(out, "planned: {planned}")?;
        }
        for event in &outcome.story {
            writeln!(out, "{event}")?;
        }
    }
    for violation in &outcome.violations {
        writeln!(out, "VIOLATION of {}: {}", violation.checker, violation.text)?;
    }
    writeln!(
        out,
        "{} calls, {} answered, {} violations",
        outcome.calls,
        outcome.answered,
        outcome.violations.len()
    )?;
    writeln!(out, "trace hash: {:016x}", outcome.hash)?;
    out.flush()
}

fn draw(outcome: &Outcome, args: &Args) -> io::Result<()> {
    let write = |path: &PathBuf, text: String| {
        fs::write(path, text)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
    };
    if let Some(path) = &args.html {
        let title = page::Title {
            seed: outcome.seed,
            profile: outcome.settings.profile.name().to_owned(),
            command: format!(
                "kvnode replay {} --profile {}",
                outcome.seed,
                outcome.settings.profile.name()
            ),
            hash: outcome.hash,
            violations: outcome
                .violations
                .iter()
                .map(|violation| format!("{}: {}", violation.checker, violation.text))
                .collect(),
            settings: outcome.settings.pairs(),
        };
        write(path, page::html(&title, &outcome.story))?;
    }
    if let Some(path) = &args.shiviz {
        write(path, page::shiviz(&outcome.story))?;
    }
    Ok(())
}
