//! `kvnode sim`: many seeds, and what came of them.

use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use kvnode_sim::campaign::{Campaign, Failure, Summary};
use kvnode_sim::marks;
use kvnode_sim::plan::{Class, text};
use kvnode_sim::settings::Profile;

/// The command line of `kvnode sim`.
#[derive(clap::Args)]
#[command(after_help = "\
Every seed is a whole run: a node, its clients, a plan of faults, all drawn from the seed, and
checkers that judge what the clients saw. The same seed gives the same run everywhere. Ctrl-C ends
it after the runs under way and prints what is known by then; a second one ends it at once.

Examples:
  kvnode sim --seeds 1000
  kvnode sim --seeds 200 --profile disk --from 5000 --json

Exit codes: 0 no violation, 1 a violation was found, 2 usage, 130 none was found before Ctrl-C.")]
pub(crate) struct Args {
    /// How many seeds to run
    #[arg(long, value_name = "N", default_value = "100")]
    seeds: u64,

    /// The first seed
    #[arg(long, value_name = "S", default_value = "0")]
    from: u64,

    /// How many runs at a time; as many as there are cores if not said
    #[arg(long, value_name = "J")]
    jobs: Option<NonZero<usize>>,

    /// What sort of runs: standard, calm, disk, clock, network, short,
    /// cluster or replication
    #[arg(long, value_name = "NAME", default_value = "standard", value_parser = super::profile)]
    profile: Profile,

    /// Stop after so many seeds with violations
    #[arg(long, value_name = "N", default_value = "20")]
    failures: NonZero<usize>,

    /// Instead of drawing faults: put every single fault into the short run of the first seed
    ///
    /// For each sector of each file that the run ever writes: corruption, an unreadable sector, a
    /// failing write, a full disk, one run each.
    #[arg(long, conflicts_with_all = ["seeds", "profile"])]
    sweep: bool,

    /// Where a sweep writes the plans of runs with violations, for `kvnode replay --plan`
    #[arg(long, value_name = "DIR", default_value = ".", requires = "sweep")]
    plans: PathBuf,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `kvnode sim`.
pub(crate) fn explore(args: &Args) -> ExitCode {
    let Some(end) = args.from.checked_add(args.seeds).filter(|_| args.seeds > 0) else {
        eprintln!("kvnode: --seeds must be at least 1, and --from with it at most {}", u64::MAX);
        return ExitCode::from(2);
    };
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok());
    if args.sweep {
        return sweep(args, jobs.map_or(1, NonZero::get));
    }
    let campaign = Campaign {
        seeds: args.from..end,
        profile: args.profile,
        jobs: jobs.map_or(1, NonZero::get),
        failures_max: args.failures.get(),
    };
    let interrupted = match on_interrupt() {
        Ok(interrupted) => interrupted,
        Err(why) => return crate::failed(format!("no handler for Ctrl-C: {why}")),
    };
    let bar = bar(args.seeds);
    let summary = campaign.explore(|known, failure| {
        bar.set_position(known.seeds);
        if let Some((seed, failure)) = failure {
            bar.set_message(format!("{} with violations", known.failures.len()));
            bar.suspend(|| eprintln!("{}", told(seed, failure, args.profile)));
        }
        if interrupted.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    bar.finish_and_clear();
    let cut_short = summary.seeds < args.seeds && summary.failures.len() < args.failures.get();
    if cut_short {
        eprintln!("kvnode: interrupted after {} of {} seeds", summary.seeds, args.seeds);
    }
    if args.json {
        println!("{}", json(&summary, args.profile));
    } else {
        print(&summary, args.profile);
    }
    match (summary.failures.is_empty(), cut_short) {
        (false, _) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(130),
        (true, false) => ExitCode::SUCCESS,
    }
}

/// A flag that Ctrl-C raises, and SIGTERM; either ends the process once it is up.
fn on_interrupt() -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // In this order: the first signal finds the flag down.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// A failure, and how to see it again.
fn told(seed: u64, failure: &Failure, profile: Profile) -> String {
    let first: String = failure.text.chars().take(300).collect();
    format!(
        "seed {seed}: {} violations, first {}: {first}\n  kvnode replay {seed} --profile {}",
        failure.violations,
        failure.checker,
        profile.name()
    )
}

fn sweep(args: &Args, jobs: usize) -> ExitCode {
    let bar = bar(0);
    let sweep = kvnode_sim::sweep::sweep(args.from, jobs, args.failures.get(), |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let mut fallen = Vec::new();
    for (nth, one) in sweep.fallen.iter().enumerate() {
        let path = args.plans.join(format!("sweep-{}-{nth}.plan", args.from));
        match super::save(&path, args.from, Profile::Short, &one.plan) {
            Ok(command) => fallen.push((command, text::write(&one.plan), &one.text)),
            Err(why) => return crate::failed(why),
        }
    }
    if args.json {
        println!(
            "{}",
            serde_json::json!({
                "seed": args.from,
                "sectors": sweep.sectors,
                "runs": sweep.runs,
                "struck": sweep.struck,
                "violations": fallen.len(),
                "failures": fallen,
            })
        );
    } else {
        for (command, plan, text) in &fallen {
            println!("{plan}  {text}\n  {command}");
        }
        println!(
            "sectors={} runs={} struck={} violations={}",
            sweep.sectors,
            sweep.runs,
            sweep.struck,
            fallen.len()
        );
    }
    if fallen.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn bar(seeds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{bar:30} {pos}/{len} seeds, {per_sec}, {eta} left  {msg:.red}",
    );
    let bar = ProgressBar::new(seeds);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn print(summary: &Summary, profile: Profile) {
    let mut faults = table(&["fault", "injected"]);
    for class in Class::ALL {
        let count = summary.injected.get(&class).copied().unwrap_or(0);
        faults.add_row([class.name().to_owned(), count.to_string()]);
    }
    if let Some(column) = faults.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{faults}\n");
    let unreached = summary.unreached(profile);
    let reached = marks::all(profile, summary.marks).len() - unreached.len();
    println!("rare states reached: {reached} of {}", reached + unreached.len());
    for name in &unreached {
        println!("  never reached: {name}");
    }
    println!(
        "{} calls of clients, {} of them answered; {} groups of keys took too long to judge",
        summary.calls, summary.answered, summary.undecided
    );
    for (seed, failure) in &summary.failures {
        println!("\n{}", told(*seed, failure, profile));
    }
    println!("{}", last_line(summary, profile));
}

fn last_line(summary: &Summary, profile: Profile) -> String {
    let violations: usize = summary.failures.values().map(|failure| failure.violations).sum();
    format!(
        "seeds={} violations={violations} unreached_marks={} sim_seconds={:.0} wall_seconds={:.1} \
         events={}",
        summary.seeds,
        summary.unreached(profile).len(),
        summary.simulated.as_secs_f64(),
        summary.wall.as_secs_f64(),
        summary.events,
    )
}

fn json(summary: &Summary, profile: Profile) -> serde_json::Value {
    let failures: Vec<_> = summary
        .failures
        .iter()
        .map(|(seed, failure)| {
            serde_json::json!({
                "seed": seed,
                "violations": failure.violations,
                "checker": failure.checker,
                "text": failure.text,
                "replay": format!("kvnode replay {seed} --profile {}", profile.name()),
            })
        })
        .collect();
    let injected: serde_json::Map<_, _> = Class::ALL
        .iter()
        .map(|class| {
            let count = summary.injected.get(class).copied().unwrap_or(0);
            (class.name().to_owned(), count.into())
        })
        .collect();
    serde_json::json!({
        "profile": profile.name(),
        "seeds": summary.seeds,
        "violations": summary.failures.values().map(|f| f.violations).sum::<usize>(),
        "failures": failures,
        "injected": injected,
        "unreached_marks": summary.unreached(profile),
        "undecided": summary.undecided,
        "calls": summary.calls,
        "answered": summary.answered,
        "sim_seconds": summary.simulated.as_secs_f64(),
        "wall_seconds": summary.wall.as_secs_f64(),
        "events": summary.events,
    })
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}
