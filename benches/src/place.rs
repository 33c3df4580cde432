//! Where the data of a benchmark lies.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::statfs;
use tempfile::TempDir;

/// File systems that keep nothing on a disk, by their number in `statfs`: tmpfs and ramfs. On them
/// an fsync is free, and nothing that is said about durable writes means anything.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// fsyncs of which the median is told.
const FSYNCS: usize = 200;

/// A new directory below `parent`, or below the build directory, gone when dropped.
pub fn temporary(parent: Option<&Path>) -> io::Result<TempDir> {
    let parent = match parent {
        Some(parent) => parent.to_owned(),
        None => build_dir()?,
    };
    std::fs::create_dir_all(&parent)?;
    if MEMORY_FILE_SYSTEMS.contains(&(statfs(&parent)?.f_type as u64)) {
        return Err(io::Error::other(format!(
            "{} is in memory, where an fsync costs nothing; name a directory on a disk with --dir",
            parent.display()
        )));
    }
    tempfile::Builder::new().prefix("kvnode-bench-").tempdir_in(parent)
}

/// The directory of this program, which lies on a real file system most of the time.
pub fn build_dir() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let dir =
        program.parent().ok_or_else(|| io::Error::other("this program is in no directory"))?;
    Ok(dir.to_owned())
}

/// How long writing a few bytes and an fsync take in `dir`: the median of some.
pub fn fsync_time(dir: &Path) -> io::Result<Duration> {
    let mut file = File::create(dir.join("fsync"))?;
    // Written once before, so that no block is allocated while it is measured.
    file.write_all(&[1; 64 * FSYNCS])?;
    file.sync_all()?;
    io::Seek::rewind(&mut file)?;
    let mut times = Vec::with_capacity(FSYNCS);
    for _ in 0..FSYNCS {
        let start = Instant::now();
        file.write_all(&[2; 64])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort();
    std::fs::remove_file(dir.join("fsync"))?;
    Ok(times[FSYNCS / 2])
}
