//! A disk in memory that knows what is durable.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kvnode_core::disk::{Dir, DiskDone, DiskError, DiskOp, DiskResult, File};

#[derive(Clone, Default)]
struct Inode {
    now: Vec<u8>,
    /// As of the last fsync.
    durable: Vec<u8>,
    /// Sectors that the next fsync takes to the disk. A failed fsync forgets them, as Linux does.
    dirty: BTreeSet<usize>,
}

impl Inode {
    fn soil(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
    }

    fn sync(&mut self, mut takes: impl FnMut() -> bool) {
        self.durable.resize(self.now.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let start = sector * SECTOR;
            let end = self.now.len().min(start + SECTOR);
            if start < end && takes() {
                self.durable[start..end].copy_from_slice(&self.now[start..end]);
            }
        }
    }
}

/// What a crash does to bytes that were not fsynced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    Kept,
    Lost,
    /// Each sector, name and directory by itself, drawn from this seed.
    Mixed(u64),
    /// The process alone died: nothing is lost, and nothing has become durable by it.
    Killed,
}

/// What the disk may fail at once: which operations, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// Room runs out, for bytes or for a name.
    Room,
    Write,
    Sync,
    /// Whatever changes a name or an end.
    Names,
    Read,
}

/// All of them.
pub const FAULTS: [Failing; 5] =
    [Failing::Room, Failing::Write, Failing::Sync, Failing::Names, Failing::Read];

impl Failing {
    fn is_meant(self, op: &DiskOp) -> bool {
        match op {
            DiskOp::Write { .. } => matches!(self, Self::Room | Self::Write),
            DiskOp::Create(_) => matches!(self, Self::Room | Self::Names),
            DiskOp::Sync(_) => self == Self::Sync,
            DiskOp::SyncDir(_) | DiskOp::Truncate { .. } | DiskOp::Rename { .. } => {
                self == Self::Names
            }
            DiskOp::Read { .. } => self == Self::Read,
            _ => false,
        }
    }
}

type Fault = Box<dyn FnMut(&DiskOp) -> Option<DiskError>>;

#[derive(Default)]
pub struct MemDisk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    dirs: BTreeSet<String>,
    durable_dirs: BTreeSet<String>,
    /// Most bytes that all files may have.
    pub capacity: Option<usize>,
    /// Asked before each operation.
    pub fault: Option<Fault>,
    /// Every operation done.
    pub log: Vec<DiskOp>,
    pub keep_log: bool,
}

const SECTOR: usize = 512;

impl Clone for MemDisk {
    fn clone(&self) -> Self {
        Self {
            inodes: self.inodes.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            dirs: self.dirs.clone(),
            durable_dirs: self.durable_dirs.clone(),
            capacity: self.capacity,
            ..Self::default()
        }
    }
}

impl MemDisk {
    pub fn run(&mut self, op: DiskOp) -> DiskResult {
        if self.keep_log {
            self.log.push(op.clone());
        }
        if let Some(fault) = &mut self.fault
            && let Some(error) = fault(&op)
        {
            self.fail(op);
            return Err(error);
        }
        match op {
            DiskOp::CreateDir(dir) => {
                self.dirs.insert(prefix(dir));
            }
            DiskOp::List(dir) => return self.list(dir),
            DiskOp::Create(file) => {
                self.inodes.push(Inode::default());
                self.names.insert(file.to_string(), self.inodes.len() - 1);
            }
            DiskOp::Write { file, at, data } => return self.write(file, at, &data),
            DiskOp::WriteZeros { file, at, len } => {
                return self.write(file, at, &vec![0; len as usize]);
            }
            DiskOp::Sync(file) => {
                self.inode(file)?.sync(|| true);
            }
            DiskOp::Read { file, at, len } => {
                let now = &self.inode(file)?.now;
                let from = now.len().min(at as usize);
                let to = now.len().min(from + len as usize);
                return Ok(DiskDone::Data(Bytes::copy_from_slice(&now[from..to])));
            }
            DiskOp::Truncate { file, len } => {
                let (inode, len) = (self.inode(file)?, len as usize);
                let old = inode.now.len();
                inode.now.resize(len, 0);
                // What grows anew is zeros, whatever stood there.
                inode.soil(len.min(old), len.max(old));
            }
            DiskOp::Rename { from, to } => {
                let inode = self.names.remove(&from.to_string()).ok_or(DiskError::NotFound)?;
                self.names.insert(to.to_string(), inode);
            }
            DiskOp::Delete(file) => {
                self.names.remove(&file.to_string());
            }
            DiskOp::DeleteNamed(dir, name) => {
                self.names.remove(&(prefix(dir) + &name));
            }
            DiskOp::SyncDir(dir) => {
                let prefix = prefix(dir);
                let here = |name: &String| in_dir(name, &prefix);
                self.durable_names.retain(|name, _| !here(name));
                for (name, inode) in self.names.iter().filter(|(name, _)| here(name)) {
                    self.durable_names.insert(name.clone(), *inode);
                }
                if dir == Dir::Root {
                    self.durable_dirs = self.dirs.clone();
                }
            }
        }
        Ok(DiskDone::Done)
    }

    /// An fsync that fails: some of what it was to take to the disk is there, the rest is taken
    /// for clean from now on.
    pub fn fail_sync(&mut self, file: File, mut seed: u64) {
        if let Ok(inode) = self.inode(file) {
            inode.sync(|| draw(&mut seed, 2) == 0);
        }
    }

    fn list(&self, dir: Dir) -> DiskResult {
        let prefix = prefix(dir);
        if dir != Dir::Root && !self.dirs.contains(&prefix) {
            return Err(DiskError::NotFound);
        }
        let size = |inode: &usize| self.inodes[*inode].now.len() as u64;
        let files = self.names.iter().filter(|(name, _)| in_dir(name, &prefix));
        let mut listing: Vec<(String, u64)> =
            files.map(|(name, inode)| (name[prefix.len()..].to_string(), size(inode))).collect();
        if dir == Dir::Root {
            listing.extend(self.dirs.iter().map(|dir| (dir.clone(), 0)));
        }
        Ok(DiskDone::Listing(listing))
    }

    fn write(&mut self, file: File, at: u64, data: &[u8]) -> DiskResult {
        let used: usize = self.names.values().map(|&inode| self.inodes[inode].now.len()).sum();
        let capacity = self.capacity.unwrap_or(usize::MAX);
        let inode = self.inode(file)?;
        let (at, end) = (at as usize, at as usize + data.len());
        let growth = end.saturating_sub(inode.now.len());
        let room = capacity.saturating_sub(used);
        // A full disk takes what it can and then fails.
        let taken = data.len() - growth.saturating_sub(room).min(data.len());
        if inode.now.len() < at + taken {
            inode.now.resize(at + taken, 0);
        }
        inode.now[at..at + taken].copy_from_slice(&data[..taken]);
        inode.soil(at, at + taken);
        if taken < data.len() { Err(DiskError::Full) } else { Ok(DiskDone::Done) }
    }

    /// What a failed operation does all the same.
    fn fail(&mut self, op: DiskOp) {
        match op {
            DiskOp::Sync(file) => {
                if let Ok(inode) = self.inode(file) {
                    inode.dirty.clear();
                }
            }
            DiskOp::Write { file, at, data } => _ = self.write(file, at, &data[..data.len() / 2]),
            _ => {}
        }
    }

    fn inode(&mut self, file: File) -> Result<&mut Inode, DiskError> {
        let at = *self.names.get(&file.to_string()).ok_or(DiskError::NotFound)?;
        Ok(&mut self.inodes[at])
    }

    /// The `nth` operation of this kind from now on fails.
    pub fn fails_once(&mut self, failing: Failing, nth: u64) {
        let error = if failing == Failing::Room { DiskError::Full } else { DiskError::Io(5) };
        let mut left = nth;
        self.fault = Some(Box::new(move |op| {
            let is_meant = failing.is_meant(op);
            left = left.saturating_sub(u64::from(is_meant));
            (is_meant && left == 0).then(|| {
                left = u64::MAX;
                error
            })
        }));
    }

    /// What a crash leaves.
    pub fn crash(mut self, unsynced: Unsynced) -> Self {
        self.fault = None;
        match unsynced {
            Unsynced::Killed => return self,
            Unsynced::Kept => {}
            Unsynced::Lost => {
                self.names = self.durable_names.clone();
                self.dirs = self.durable_dirs.clone();
                self.inodes.iter_mut().for_each(|inode| inode.now = inode.durable.clone());
            }
            Unsynced::Mixed(mut seed) => {
                self.mix_names(&mut seed);
                self.inodes.iter_mut().for_each(|inode| mix(inode, &mut seed));
            }
        }
        for inode in &mut self.inodes {
            inode.durable = inode.now.clone();
            inode.dirty.clear();
        }
        self.durable_names = self.names.clone();
        self.durable_dirs = self.dirs.clone();
        self
    }

    /// Each name is as it was when its directory was last made durable, or as it is now.
    fn mix_names(&mut self, seed: &mut u64) {
        let both: BTreeSet<String> =
            self.names.keys().chain(self.durable_names.keys()).cloned().collect();
        for name in both {
            if draw(seed, 2) == 0 {
                continue;
            }
            match self.durable_names.get(&name) {
                Some(inode) => self.names.insert(name, *inode),
                None => self.names.remove(&name),
            };
        }
        self.dirs.retain(|dir| self.durable_dirs.contains(dir) || draw(seed, 2) == 0);
        let dirs = &self.dirs;
        self.names.retain(|name, _| {
            name.split_once('/').is_none_or(|(d, _)| dirs.contains(&format!("{d}/")))
        });
    }

    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// The names of the segments, oldest first.
    pub fn segments(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| name.ends_with(".log")).collect()
    }

    pub fn bytes(&self, name: &str) -> &[u8] {
        &self.inodes[self.names[name]].now
    }

    /// Changes a file behind everybody's back, for good.
    pub fn edit(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let inode = &mut self.inodes[self.names[name]];
        change(&mut inode.now);
        inode.durable = inode.now.clone();
        inode.dirty.clear();
    }

    pub fn remove(&mut self, name: &str) {
        self.names.remove(name).expect("the file exists");
    }

    /// A directory and all in it is gone.
    pub fn remove_dir(&mut self, dir: &str) {
        let prefix = format!("{dir}/");
        self.names.retain(|name, _| !name.starts_with(&prefix));
        self.durable_names.retain(|name, _| !name.starts_with(&prefix));
        self.dirs.remove(&prefix);
        self.durable_dirs.remove(&prefix);
    }

    /// A sector in the middle of the records of the directory's longest segment is unreadable.
    pub fn damage_middle(&mut self, dir: &str) {
        let of = |name: &String| name.starts_with(&format!("{dir}/")) && name.ends_with(".log");
        let segments = self.names().into_iter().filter(of);
        let name = segments.max_by_key(|name| self.bytes(name).len()).expect("it has a segment");
        self.edit(&name, |bytes| {
            let records = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            bytes[records / 2..records / 2 + 8].fill(0xa5);
        });
    }

    pub fn used(&self) -> usize {
        self.names.values().map(|&inode| self.inodes[inode].now.len()).sum()
    }
}

/// Each sector is as it was at the last fsync, or as it is now; so is the length.
fn mix(inode: &mut Inode, seed: &mut u64) {
    if draw(seed, 2) == 0 && inode.now.len() < inode.durable.len() {
        // A cut that did not reach the disk.
        inode.now.extend_from_slice(&inode.durable[inode.now.len()..]);
    }
    if draw(seed, 2) == 0 && inode.durable.len() < inode.now.len() {
        let room = inode.now.len() - inode.durable.len();
        inode.now.truncate(inode.durable.len() + draw(seed, room as u64 + 1) as usize);
    }
    for start in (0..inode.now.len()).step_by(SECTOR) {
        if draw(seed, 2) == 0 {
            continue;
        }
        let end = inode.now.len().min(start + SECTOR);
        for at in start..end {
            inode.now[at] = inode.durable.get(at).copied().unwrap_or(0);
        }
    }
}

fn prefix(dir: Dir) -> String {
    match dir {
        Dir::Root => String::new(),
        Dir::Partition(p) => format!("{p}/"),
    }
}

fn in_dir(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| !rest.contains('/'))
}

/// The file that an operation is about: what concerns one is done in the order in which it is asked for.
pub fn file_of(op: &DiskOp) -> Option<File> {
    match *op {
        DiskOp::Create(file) | DiskOp::Sync(file) | DiskOp::Delete(file) => Some(file),
        DiskOp::Write { file, .. }
        | DiskOp::WriteZeros { file, .. }
        | DiskOp::Read { file, .. }
        | DiskOp::Truncate { file, .. } => Some(file),
        DiskOp::Rename { from, .. } => Some(from),
        DiskOp::CreateDir(_) | DiskOp::List(_) | DiskOp::DeleteNamed(..) | DiskOp::SyncDir(_) => {
            None
        }
    }
}

/// The next number of a run's, below `below`.
pub fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*seed >> 33) % below
}
