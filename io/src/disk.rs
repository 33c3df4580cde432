//! The disk that core asks for: [`DiskOp`]s on a data directory.
//!
//! [`Disk::run`] does one operation at once and on the spot, which is what an offline tool wants.
//! The server splits it: `Disk::prepare` settles which file is meant, on the shard's thread and in
//! the order of submission; `Job::run` makes the system calls, on any thread, later. When and
//! where is decided in `executor`.
//!
//! - **Handles** are opened at first use and kept, most recently used first, up to a limit. A job
//!   holds the handle it was prepared with, so a queued read survives the deletion, the renaming and
//!   the eviction of its file. A name that is created, renamed or deleted forgets its handle.
//! - **Errors** are told as core knows them: not found, full (ENOSPC, EDQUOT), or the system's
//!   number. Nothing is retried but EINTR; least of all an fsync.
//! - Linux file systems may lack `RWF_NOWAIT`; `Job::read_cached` then never knows a read that
//!   does not wait, and every read takes the way of one that does.

use std::collections::HashMap;
use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kvnode_core::disk::{Dir, DiskDone, DiskError, DiskOp, DiskResult, File};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};

use crate::lock::LOCK_FILE;

/// A data directory and its open files.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    handles: HashMap<File, Cached, foldhash::fast::RandomState>,
    handles_max: usize,
    /// Counts uses of handles, to find the one that was used least recently.
    uses: u64,
}

#[derive(Debug)]
struct Cached {
    handle: Arc<Handle>,
    used: u64,
}

impl Disk {
    /// The data directory `root`, keeping at most `handles_max` files open (and those in use).
    pub fn new(root: &Path, handles_max: usize) -> Self {
        assert!(handles_max > 0, "a disk without open files can do nothing");
        Self { root: root.to_owned(), handles: HashMap::default(), handles_max, uses: 0 }
    }

    /// Does `op`, here and now.
    ///
    /// # Errors
    /// As the operation's own.
    pub fn run(&mut self, op: DiskOp) -> DiskResult {
        self.prepare(op).run()
    }

    /// Settles which files `op` means. Jobs on one file must run in the order of their preparation.
    pub(crate) fn prepare(&mut self, op: DiskOp) -> Job {
        match op {
            DiskOp::CreateDir(dir) => Job::CreateDir(self.dir_path(dir)),
            DiskOp::List(dir) => Job::List(self.dir_path(dir)),
            DiskOp::Create(file) => {
                self.handles.remove(&file);
                Job::Create(self.handle(file))
            }
            DiskOp::Write { file, at, data } => Job::Write { handle: self.handle(file), at, data },
            DiskOp::WriteZeros { file, at, len } => {
                Job::WriteZeros { handle: self.handle(file), at, len }
            }
            DiskOp::Sync(file) => Job::Sync(self.handle(file)),
            DiskOp::Read { file, at, len } => Job::Read { handle: self.handle(file), at, len },
            DiskOp::Truncate { file, len } => Job::Truncate { handle: self.handle(file), len },
            DiskOp::Rename { from, to } => Job::Rename {
                _handles: [self.handles.remove(&from), self.handles.remove(&to)]
                    .map(|cached| cached.map(|cached| cached.handle)),
                from: self.path(from),
                to: self.path(to),
            },
            DiskOp::Delete(file) => Job::Delete {
                _handle: self.handles.remove(&file).map(|cached| cached.handle),
                path: self.path(file),
            },
            DiskOp::DeleteNamed(dir, name) => Job::DeleteNamed { dir: self.dir_path(dir), name },
            DiskOp::SyncDir(dir) => Job::SyncDir(self.dir_path(dir)),
        }
    }

    fn handle(&mut self, file: File) -> Arc<Handle> {
        self.uses += 1;
        let used = self.uses;
        if let Some(cached) = self.handles.get_mut(&file) {
            cached.used = used;
            return Arc::clone(&cached.handle);
        }
        if self.handles.len() >= self.handles_max {
            self.evict();
        }
        let handle = Arc::new(Handle { path: self.path(file), fd: OnceLock::new() });
        self.handles.insert(file, Cached { handle: Arc::clone(&handle), used });
        handle
    }

    /// Forgets the handle used least recently. It closes when the last job that holds it is done.
    fn evict(&mut self) {
        let oldest = self.handles.iter().min_by_key(|(_, cached)| cached.used);
        if let Some(file) = oldest.map(|(&file, _)| file) {
            self.handles.remove(&file);
        }
    }

    fn path(&self, file: File) -> PathBuf {
        self.root.join(file.to_string())
    }

    fn dir_path(&self, dir: Dir) -> PathBuf {
        match dir {
            Dir::Root => self.root.clone(),
            Dir::Partition(_) => self.root.join(dir.to_string()),
        }
    }
}

/// A [`DiskOp`] whose files are settled. It may run on any thread.
#[derive(Debug)]
pub(crate) enum Job {
    CreateDir(PathBuf),
    List(PathBuf),
    Create(Arc<Handle>),
    Write { handle: Arc<Handle>, at: u64, data: Bytes },
    WriteZeros { handle: Arc<Handle>, at: u64, len: u64 },
    Sync(Arc<Handle>),
    Read { handle: Arc<Handle>, at: u64, len: u32 },
    Truncate { handle: Arc<Handle>, len: u64 },
    // The handles are kept to be closed where the job runs: closing the last one of a file without
    // a name frees its blocks, which takes a while.
    Rename { from: PathBuf, to: PathBuf, _handles: [Option<Arc<Handle>>; 2] },
    Delete { path: PathBuf, _handle: Option<Arc<Handle>> },
    DeleteNamed { dir: PathBuf, name: String },
    SyncDir(PathBuf),
}

impl Job {
    /// Makes the system calls, and waits for them.
    pub(crate) fn run(self) -> DiskResult {
        match self {
            Self::CreateDir(path) => create_dir(&path),
            Self::List(path) => return list(&path),
            Self::Create(handle) => handle.create(),
            Self::Write { handle, at, data } => handle.fd().and_then(|fd| write_all(fd, at, &data)),
            Self::WriteZeros { handle, at, len } => {
                handle.fd().and_then(|fd| write_zeros(fd, at, len))
            }
            Self::Sync(handle) => handle.fd().and_then(rustix::fs::fdatasync),
            Self::Read { handle, at, len } => return read(&handle, at, len),
            Self::Truncate { handle, len } => {
                handle.fd().and_then(|fd| retry_on_intr(|| rustix::fs::ftruncate(fd, len)))
            }
            Self::Rename { from, to, _handles } => rustix::fs::rename(&from, &to),
            Self::Delete { path, _handle } => delete(&path),
            Self::DeleteNamed { dir, name } => delete_named(&dir, &name),
            Self::SyncDir(path) => sync_dir(&path),
        }
        .map(|()| DiskDone::Done)
        .map_err(disk_error)
    }

    /// The bytes that a read asks for, if they can be had without waiting for the disk; `None` if
    /// that is not so, or can not be known.
    pub(crate) fn read_cached(&self) -> Option<DiskResult> {
        let Self::Read { handle, at, len } = self else { return None };
        let len = *len as usize;
        if len > CACHED_READ_BYTES_MAX {
            return None;
        }
        let fd = match handle.fd() {
            Ok(fd) => fd,
            Err(errno) => return Some(Err(disk_error(errno))),
        };
        let mut bytes = vec![0; len];
        let mut slices = [IoSliceMut::new(&mut bytes)];
        match rustix::io::preadv2(fd, &mut slices, *at, ReadWriteFlags::NOWAIT) {
            // A shorter read is the end of the file or of what is cached: only waiting tells which.
            Ok(read) if read == len => Some(Ok(DiskDone::Data(bytes.into()))),
            Ok(_) | Err(_) => None,
        }
    }

    /// Whether a read ends before its file does, so that it can not come out short.
    pub(crate) fn reads_within_file(&self) -> bool {
        let Self::Read { handle, at, len } = self else { return false };
        let end = at.saturating_add((*len).into());
        handle.fd().and_then(file_bytes).is_ok_and(|bytes| end <= bytes)
    }
}

/// A file that is opened when it is first needed.
#[derive(Debug)]
pub(crate) struct Handle {
    path: PathBuf,
    fd: OnceLock<OwnedFd>,
}

impl Handle {
    fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        match self.fd.get() {
            Some(fd) => Ok(fd.as_fd()),
            None => self.open(OFlags::empty()),
        }
    }

    /// Makes the file, or empties it.
    fn create(&self) -> Result<(), Errno> {
        assert!(self.fd.get().is_none(), "a file is created under a handle of its own");
        self.open(OFlags::CREATE | OFlags::TRUNC).map(|_| ())
    }

    fn open(&self, extra: OFlags) -> Result<BorrowedFd<'_>, Errno> {
        let open = |access| {
            let flags = access | OFlags::CLOEXEC | extra;
            retry_on_intr(|| rustix::fs::open(&self.path, flags, Mode::from_raw_mode(0o644)))
        };
        let fd = match open(OFlags::RDWR) {
            // A directory that may only be read can still be checked.
            Err(Errno::ACCESS | Errno::ROFS) if extra.is_empty() => open(OFlags::RDONLY)?,
            other => other?,
        };
        Ok(self.fd.get_or_init(|| fd).as_fd())
    }
}

fn create_dir(path: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) if path.is_dir() => Ok(()),
        other => other,
    }
}

fn list(path: &Path) -> DiskResult {
    let files = || -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // A name that is no text is none of core's.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name == LOCK_FILE {
                continue;
            }
            match fs::metadata(entry.path()) {
                Ok(meta) if meta.is_dir() => files.push((name + "/", 0)),
                Ok(meta) => files.push((name, meta.len())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    };
    files()
        .map(DiskDone::Listing)
        .map_err(|error| disk_error(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
}

fn write_all(fd: BorrowedFd<'_>, mut at: u64, mut data: &[u8]) -> Result<(), Errno> {
    while !data.is_empty() {
        match rustix::io::pwrite(fd, data, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                at += written as u64;
                data = &data[written..];
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn write_zeros(fd: BorrowedFd<'_>, at: u64, len: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < len {
        let chunk = (len - done).min(ZEROS.len() as u64);
        write_all(fd, at + done, &ZEROS[..chunk as usize])?;
        done += chunk;
    }
    Ok(())
}

fn read(handle: &Handle, at: u64, len: u32) -> DiskResult {
    let bytes = || -> Result<Vec<u8>, Errno> {
        let fd = handle.fd()?;
        let mut len = len as usize;
        if len > CACHED_READ_BYTES_MAX {
            // No memory for bytes that the file does not have.
            let left = file_bytes(fd)?.saturating_sub(at);
            len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
        }
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match rustix::io::pread(fd, &mut bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    };
    bytes().map(|bytes| DiskDone::Data(bytes.into())).map_err(disk_error)
}

fn file_bytes(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    Ok(u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0))
}

fn delete(path: &Path) -> Result<(), Errno> {
    match rustix::fs::unlink(path) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn delete_named(dir: &Path, name: &str) -> Result<(), Errno> {
    let in_dir = !name.is_empty() && !name.contains('/') && name != LOCK_FILE;
    if in_dir { delete(&dir.join(name)) } else { Err(Errno::INVAL) }
}

fn sync_dir(path: &Path) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::fsync(rustix::fs::open(path, flags, Mode::empty())?)
}

fn disk_error(errno: Errno) -> DiskError {
    match errno {
        Errno::NOENT => DiskError::NotFound,
        Errno::NOSPC | Errno::DQUOT => DiskError::Full,
        other => DiskError::Io(other.raw_os_error()),
    }
}

/// Longest read, in bytes, that is tried without waiting: copying more takes as long as waiting.
const CACHED_READ_BYTES_MAX: usize = 1 << 20;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

#[cfg(test)]
mod tests;
