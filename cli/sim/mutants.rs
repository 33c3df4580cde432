//! `kvnode mutants`: puts famous bugs into core, one at a time, and counts the seeds until a checker
//! notices.
//!
//! A mutant is a patch in `sim/mutants`, with a header that says what it breaks and where such a bug
//! is known from. Each is applied to a copy of the working directory and built there ([`scratch`]),
//! and the simulator of that build looks for a violation from several seeds on. A mutant that lives
//! is a hole in the simulator. A seed that fails without any mutant proves nothing, so that every
//! seed that kills is run in this process as well, where it must not fail.

mod scratch;

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::ProgressBar;
use kvnode_sim::run::{Request, run};
use kvnode_sim::settings::Profile;

use scratch::Scratch;

/// The command line of `kvnode mutants`.
#[derive(clap::Args)]
#[command(after_help = "\
Run it in the root of kvnode's repository. It needs git and cargo, works in target/mutants and
changes nothing else; a build for each mutant takes about a minute.

Examples:
  kvnode mutants
  kvnode mutants --only ack-before-fsync --starts 20

Exit codes: 0 every mutant was killed, 1 one lived or could not be built, 2 usage.")]
pub(crate) struct Args {
    /// Only this mutant; may be said several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// From how many seeds on to look for a violation, far apart from each other
    #[arg(long, value_name = "K", default_value = "5")]
    starts: NonZero<u64>,

    /// After how many seeds to give up
    #[arg(long, value_name = "N", default_value = "500")]
    seeds_max: NonZero<u64>,

    /// How many simulations at a time; as many as there are cores if not said
    #[arg(long, value_name = "J")]
    jobs: Option<NonZero<usize>>,

    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

/// The distance from one start to the next, in seeds.
const START_STRIDE: u64 = 1_000_000;

/// A bug to put into core.
struct Mutant {
    name: String,
    patch: PathBuf,
    source: String,
    profile: Profile,
}

/// What came of a mutant: for each start what killed it, if anything did.
struct Fate {
    kills: Vec<Option<Kill>>,
}

/// A violation was found.
#[derive(Clone)]
struct Kill {
    /// Seeds that were run up to the one that failed, it included.
    seeds: u64,
    checker: String,
    /// That seed fails without the mutant too.
    unsound: bool,
}

/// Runs `kvnode mutants`.
pub(crate) fn mutants(args: &Args) -> ExitCode {
    let (scratch, mutants) = match prepare(args) {
        Ok(prepared) => prepared,
        Err(why) => {
            eprintln!("kvnode: {why}");
            return ExitCode::from(2);
        }
    };
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut fates = Vec::new();
    for (nth, mutant) in mutants.iter().enumerate() {
        let tell = |what: &str| {
            bar.set_message(format!("{} ({} of {}): {what}", mutant.name, nth + 1, mutants.len()));
        };
        tell("is built");
        let binary = match scratch.build(&mutant.patch) {
            Ok(binary) => binary,
            Err(why) => {
                bar.finish_and_clear();
                return crate::failed(format!("{}: {why}", mutant.name));
            }
        };
        fates.push(hunt(&binary, mutant, args, &tell));
        if !args.json {
            let fate = fates.last().expect("pushed just now");
            bar.println(format!("{}: {} by {}", mutant.name, fate.median_text(), fate.checkers()));
        }
    }
    bar.finish_and_clear();
    if args.json {
        println!("{}", json(&mutants, &fates));
    } else {
        println!("{}", table(&mutants, &fates));
    }
    if fates.iter().any(Fate::lived) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn prepare(args: &Args) -> Result<(Scratch, Vec<Mutant>), String> {
    let root = std::env::current_dir().map_err(|error| error.to_string())?;
    let dir = root.join("sim/mutants");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    if !manifest.lines().any(|line| line == "[workspace]") || !dir.is_dir() {
        let here = root.display();
        return Err(format!("{here} is not the root of kvnode's repository: run it there"));
    }
    let mut mutants = read(&dir)?;
    if let Some(unknown) = args.only.iter().find(|only| mutants.iter().all(|m| m.name != **only)) {
        let names: Vec<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
        return Err(format!("there is no mutant {unknown}; there are {}", names.join(", ")));
    }
    mutants.retain(|mutant| args.only.is_empty() || args.only.contains(&mutant.name));
    Ok((Scratch::new(&root)?, mutants))
}

/// The mutants of a directory, by name.
fn read(dir: &Path) -> Result<Vec<Mutant>, String> {
    let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut patches: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    patches.sort();
    patches.into_iter().map(parse).collect()
}

fn parse(patch: PathBuf) -> Result<Mutant, String> {
    let shown = patch.display().to_string();
    let text = fs::read_to_string(&patch).map_err(|error| format!("{shown}: {error}"))?;
    let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let source = header(&text, "Source").ok_or_else(|| format!("{shown} names no Source"))?;
    let profile = match header(&text, "Profile") {
        Some(profile) => super::profile(&profile).map_err(|error| format!("{shown}: {error}"))?,
        None => Profile::Standard,
    };
    Ok(Mutant { name, patch, source, profile })
}

/// A line of the header, with the indented ones that continue it.
fn header(text: &str, field: &str) -> Option<String> {
    let mut lines = text.lines().take_while(|line| !line.starts_with("diff "));
    let first = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(": "))?;
    let more = lines.take_while(|line| line.starts_with(' ')).map(str::trim);
    Some(std::iter::once(first).chain(more).collect::<Vec<_>>().join(" "))
}

/// Looks for a violation from each start on.
fn hunt(binary: &Path, mutant: &Mutant, args: &Args, tell: &(dyn Fn(&str) + Sync)) -> Fate {
    let starts = args.starts.get();
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok());
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let kills = Mutex::new(vec![None; starts as usize]);
    tell(&format!("0 of {starts} starts"));
    std::thread::scope(|scope| {
        for _ in 0..jobs.map_or(1, NonZero::get) {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth as u64 >= starts {
                        break;
                    }
                    let from = (nth as u64 + 1) * START_STRIDE;
                    let kill = first_failure(binary, mutant.profile, from, args.seeds_max.get());
                    kills.lock().expect("no panic holds it")[nth] = kill;
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    tell(&format!("{done} of {starts} starts"));
                }
            });
        }
    });
    Fate { kills: kills.into_inner().expect("no panic held it") }
}

/// The first seed from `from` on that fails. One run at a time, so that it is the first indeed.
fn first_failure(binary: &Path, profile: Profile, from: u64, seeds: u64) -> Option<Kill> {
    let (start, count) = (from.to_string(), seeds.to_string());
    let mut command = std::process::Command::new(binary);
    command.args(["sim", "--json", "--failures", "1", "--jobs", "1"]);
    command.args(["--profile", profile.name(), "--from", &start, "--seeds", &count]);
    let output = command.stderr(std::process::Stdio::null()).output().ok()?;
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let failure = summary["failures"].get(0)?;
    let seed = failure["seed"].as_u64()?;
    let unsound = !run(&Request::new(profile, seed)).violations.is_empty();
    let checker = failure["checker"].as_str()?.to_owned();
    Some(Kill { seeds: seed - from + 1, checker, unsound })
}

impl Fate {
    /// What it took at each start that killed it, fewest first.
    fn seeds(&self) -> Vec<u64> {
        let mut seeds: Vec<u64> = self.kills.iter().flatten().map(|kill| kill.seeds).collect();
        seeds.sort_unstable();
        seeds
    }

    /// The starts that did not kill it count as more than all others.
    fn median(&self) -> Option<u64> {
        self.seeds().get((self.kills.len() - 1) / 2).copied()
    }

    /// It outlived most starts, or what was found is not its doing.
    fn lived(&self) -> bool {
        self.median().is_none() || self.kills.iter().flatten().any(|kill| kill.unsound)
    }

    fn median_text(&self) -> String {
        self.median().map_or_else(|| "lives".to_owned(), |median| median.to_string())
    }

    fn range_text(&self) -> String {
        let seeds = self.seeds();
        let whole = seeds.len() == self.kills.len();
        match (seeds.first(), seeds.last()) {
            (Some(min), Some(max)) if whole => format!("{min}–{max}"),
            (Some(min), _) => format!("{min}–∞ ({} of {} starts)", seeds.len(), self.kills.len()),
            (None, _) => "–".to_owned(),
        }
    }

    /// Who killed it, each once.
    fn checkers(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for kill in self.kills.iter().flatten() {
            let name = if kill.unsound { "(fails without the mutant too)" } else { &kill.checker };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    }
}

fn table(mutants: &[Mutant], fates: &[Fate]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["mutant", "source", "seeds until killed", "from–to", "by", "lived"]);
    for (mutant, fate) in mutants.iter().zip(fates) {
        let lived = if fate.lived() { "yes" } else { "no" };
        let (median, range, by) = (fate.median_text(), fate.range_text(), fate.checkers());
        table.add_row([&mutant.name, &mutant.source, &median, &range, &by, lived]);
    }
    table
}

fn json(mutants: &[Mutant], fates: &[Fate]) -> serde_json::Value {
    let rows = mutants.iter().zip(fates).map(|(mutant, fate)| {
        serde_json::json!({
            "mutant": mutant.name,
            "source": mutant.source,
            "profile": mutant.profile.name(),
            "median": fate.median(),
            "seeds": fate.kills.iter().map(|k| k.as_ref().map(|k| k.seeds)).collect::<Vec<_>>(),
            "checkers": fate.checkers(),
            "lived": fate.lived(),
        })
    });
    rows.collect()
}
