//! The copy of the repository that mutants are built in: `target/mutants/source`, with a target
//! directory beside it, so that a build has only what a patch touches to compile anew.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// See the module's header.
pub(super) struct Scratch {
    root: PathBuf,
    source: PathBuf,
    target: PathBuf,
    /// What git tracks.
    files: BTreeSet<PathBuf>,
}

impl Scratch {
    /// A scratch for the repository at `root`; nothing is copied yet.
    pub(super) fn new(root: &Path) -> Result<Self, String> {
        let listing = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
        let listing = listing.map_err(|error| format!("git can not be run: {error}"))?;
        if !listing.status.success() {
            return Err(format!("git: {}", String::from_utf8_lossy(&listing.stderr).trim()));
        }
        let names = String::from_utf8_lossy(&listing.stdout);
        // What git tracks and the working directory lacks is not copied.
        let files = names.split('\0').filter(|name| root.join(name).is_file()).map(PathBuf::from);
        let scratch = root.join("target/mutants");
        Ok(Self {
            root: root.to_owned(),
            source: scratch.join("source"),
            target: scratch.join("target"),
            files: files.collect(),
        })
    }

    /// Builds the simulator with a patch in core. Returns the binary.
    pub(super) fn build(&self, patch: &Path) -> Result<PathBuf, String> {
        self.copy().map_err(|error| format!("{}: {error}", self.source.display()))?;
        let scratch = self.source.parent().expect("it is in the scratch");
        // Within a repository git would look for the files from its root on.
        let mut apply = Command::new("git");
        apply.arg("apply").arg(patch).env("GIT_CEILING_DIRECTORIES", scratch);
        succeed(apply.current_dir(&self.source))?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build
            .args(["build", "--release", "--features", "sim", "--bin", "kvnode"])
            .env("CARGO_TARGET_DIR", &self.target)
            // Half a minute sooner there, and hardly slower.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_INCREMENTAL", "1");
        succeed(build.current_dir(&self.source))?;
        Ok(self.target.join("release/kvnode"))
    }

    /// Makes the copy what the repository is. What is so already keeps its time, for cargo's sake.
    fn copy(&self) -> io::Result<()> {
        for file in &self.files {
            let (from, to) = (self.root.join(file), self.source.join(file));
            let bytes = fs::read(from)?;
            if fs::read(&to).ok().as_ref() != Some(&bytes) {
                fs::create_dir_all(to.parent().expect("a file is in a directory"))?;
                fs::write(to, bytes)?;
            }
        }
        self.prune(&self.source)
    }

    /// Deletes what the repository has no more.
    fn prune(&self, dir: &Path) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let file = path.strip_prefix(&self.source).expect("it is below");
            if path.is_dir() {
                self.prune(&path)?;
            } else if !self.files.contains(file) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr).trim_end()))
}
