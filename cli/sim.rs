//! `kvnode sim`, `kvnode replay` and `kvnode mutants`: the deterministic simulator, in builds that
//! have it.
//!
//! The simulator itself is the crate `kvnode-sim`. `explore` runs many seeds and prints what came
//! of it, `replay` runs one and tells its story, `mutants` sees whether it would notice bugs. A
//! build without the feature knows the commands and says how to get them (`absent`).

#[cfg(not(feature = "sim"))]
mod absent;
#[cfg(feature = "sim")]
mod explore;
#[cfg(feature = "sim")]
mod mutants;
#[cfg(feature = "sim")]
mod replay;

#[cfg(not(feature = "sim"))]
pub(crate) use absent::{ExploreArgs, MutantsArgs, ReplayArgs, explore, mutants, replay};
#[cfg(feature = "sim")]
pub(crate) use {
    explore::{Args as ExploreArgs, explore},
    mutants::{Args as MutantsArgs, mutants},
    replay::{Args as ReplayArgs, replay},
};

/// Writes a plan to a file, with the command that replays it, which is returned.
#[cfg(feature = "sim")]
fn save(
    path: &std::path::Path,
    seed: u64,
    profile: kvnode_sim::settings::Profile,
    plan: &kvnode_sim::plan::Plan,
) -> Result<String, String> {
    let (shown, name) = (path.display(), profile.name());
    let command = format!("kvnode replay {seed} --profile {name} --plan {shown}");
    let text = format!("# {command}\n{}", kvnode_sim::plan::text::write(plan));
    std::fs::write(path, text).map_err(|error| format!("{shown}: {error}"))?;
    Ok(command)
}

/// The profile of this name.
#[cfg(feature = "sim")]
fn profile(name: &str) -> Result<kvnode_sim::settings::Profile, String> {
    use kvnode_sim::settings::Profile;
    Profile::of_name(name).ok_or_else(|| {
        let names: Vec<&str> = Profile::ALL.iter().map(|profile| profile.name()).collect();
        format!("there is no such profile; there are {}", names.join(", "))
    })
}
