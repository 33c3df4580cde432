//! The lock of a data directory: one process at a time.
//!
//! `LOCK` in the directory is held with an exclusive `flock` and holds its owner's process id, for
//! whoever is refused. The system frees the lock when the process ends, however it ends, so a
//! leftover file means nothing and is never a reason to refuse. Locks of NFS before Linux 2.6.12
//! are local to a machine; do not share a data directory between machines.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::Error;

/// The lock file's name in the data directory. It is the driver's own: a
/// [`Disk`](crate::disk::Disk) does not list it.
pub const LOCK_FILE: &str = "LOCK";

/// A data directory held by this process until the value is dropped.
#[derive(Debug)]
pub struct DirLock {
    /// Closing it frees the lock.
    _file: File,
}

impl DirLock {
    /// Takes the lock of `dir`, which is made, durably, if it does not exist.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds it, [`Error::Data`] if the directory or the file
    /// can not be made.
    pub fn acquire(dir: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Data { path: dir.to_owned(), source };
        create_dir_durably(dir).map_err(failed)?;
        let file = open_lock(dir).map_err(failed)?;
        hold(file, dir, true)
    }

    /// Takes the lock of a directory that is there already. Where nothing may be written, the lock
    /// is held all the same, without this process's id in it.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); [`Error::Data`] also if there is no such directory.
    pub fn acquire_existing(dir: &Path) -> Result<Self, Error> {
        match open_lock(dir) {
            Ok(file) => hold(file, dir, true),
            Err(error) => match File::open(dir.join(LOCK_FILE)) {
                Ok(file) => hold(file, dir, false),
                Err(_) => Err(Error::Data { path: dir.to_owned(), source: error }),
            },
        }
    }
}

fn open_lock(dir: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).open(dir.join(LOCK_FILE))
}

fn hold(mut file: File, dir: &Path, sign: bool) -> Result<DirLock, Error> {
    let failed = |source| Error::Data { path: dir.to_owned(), source };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(Error::Locked { dir: dir.to_owned(), pid: holder(&mut file) });
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    if sign {
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
    }
    Ok(DirLock { _file: file })
}

/// The process id in a lock file that another process holds; `None` while it is being written.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Makes `dir` and what is missing above it, and makes the new names durable: without that, a power
/// cut could take the directory away with all that was fsynced in it.
fn create_dir_durably(dir: &Path) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_dir_durably(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        other => other?,
    }
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_the_directory_and_writes_the_process_id() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("a/b");
        let lock = DirLock::acquire(&dir).unwrap();
        let text = fs::read_to_string(dir.join(LOCK_FILE)).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(lock);
        DirLock::acquire(&dir).unwrap();
    }

    #[test]
    fn a_second_holder_is_refused_with_the_first_ones_process_id() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = DirLock::acquire(dir.path()).unwrap();
        let error = DirLock::acquire(dir.path()).unwrap_err();
        assert!(
            matches!(&error, Error::Locked { pid: Some(pid), .. } if *pid == std::process::id())
        );
        let text = error.to_string();
        assert!(text.contains(&dir.path().display().to_string()), "{text}");
        assert!(text.contains(&std::process::id().to_string()), "{text}");
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_made() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("none");
        assert!(matches!(DirLock::acquire_existing(&dir), Err(Error::Data { .. })));
        assert!(!dir.exists());
        let _lock = DirLock::acquire_existing(base.path()).unwrap();
        let refused = DirLock::acquire_existing(base.path());
        assert!(matches!(refused, Err(Error::Locked { pid: Some(_), .. })));
    }

    #[test]
    fn a_leftover_file_of_a_longer_process_id_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCK_FILE), "99999999999\nleftover").unwrap();
        let _lock = DirLock::acquire(dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join(LOCK_FILE)).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_file_in_the_directorys_place_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        let text = DirLock::acquire(&path).unwrap_err().to_string();
        assert!(text.contains(&path.display().to_string()), "{text}");
    }
}
