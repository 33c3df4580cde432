//! What is on a disk, and what of it would outlive a loss of power.
//!
//! Every file has two contents: the one that reads see (the system's cache) and the one that is
//! durable. An fsync takes the dirty sectors of a file from the first to the second; a loss of power
//! takes back from the first what the second does not have, sector by sector as it likes. Names have
//! two states as well, and only an fsync of their directory makes them agree. A process that dies
//! alone changes neither.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kvnode_core::disk::{Dir, DiskDone, DiskError, DiskOp, DiskResult, File};

use crate::chance::Chance;

/// What is written or lost as one, in bytes.
pub(crate) const SECTOR: usize = 512;

/// What a loss of power does to what was not fsynced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsynced {
    /// Everything happens to have reached the disk.
    Kept,
    /// Nothing has.
    Lost,
    /// Each sector, name and directory by itself.
    Mixed,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    now: Vec<u8>,
    /// As a loss of power may leave it.
    durable: Vec<u8>,
    /// Sectors that the next fsync takes over. One that fails forgets them, as Linux does.
    dirty: BTreeSet<u32>,
    /// Sectors that can not be read until they are written again.
    bad: BTreeSet<u32>,
}

/// See the module's header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    dirs: BTreeSet<Dir>,
    durable_dirs: BTreeSet<Dir>,
    used: u64,
    /// Most bytes that all files may have.
    pub(crate) capacity: Option<u64>,
}

impl Image {
    /// Does the operation as a disk without fault does.
    pub(crate) fn run(&mut self, op: &DiskOp) -> DiskResult {
        match op {
            DiskOp::CreateDir(dir) => {
                self.dirs.insert(*dir);
            }
            DiskOp::List(dir) => return self.list(*dir),
            DiskOp::Create(file) => self.create(file.to_string()),
            DiskOp::Write { file, at, data } => return self.write(*file, *at, data),
            DiskOp::WriteZeros { file, at, len } => {
                return self.write(*file, *at, &vec![0; *len as usize]);
            }
            DiskOp::Sync(file) => self.inode(*file)?.sync(|| true),
            DiskOp::Read { file, at, len } => return self.read(*file, *at, *len),
            DiskOp::Truncate { file, len } => self.truncate(*file, *len)?,
            DiskOp::Rename { from, to } => {
                let inode = self.names.remove(&from.to_string()).ok_or(DiskError::NotFound)?;
                let old = self.names.insert(to.to_string(), inode);
                self.forget(old);
            }
            DiskOp::Delete(file) => {
                let old = self.names.remove(&file.to_string());
                self.forget(old);
            }
            DiskOp::DeleteNamed(dir, name) => {
                let old = self.names.remove(&(prefix(*dir) + name));
                self.forget(old);
            }
            DiskOp::SyncDir(dir) => self.sync_dir(*dir),
        }
        Ok(DiskDone::Done)
    }

    /// The files of a directory are gone for good, and perhaps the directory; whether there were any.
    pub(crate) fn lose(&mut self, dir: Dir, with_dir: bool) -> bool {
        let prefix = prefix(dir);
        let gone = self.names.extract_if(.., |name, _| name.starts_with(&prefix));
        let gone: Vec<usize> = gone.map(|(_, inode)| inode).collect();
        self.durable_names.retain(|name, _| !name.starts_with(&prefix));
        gone.iter().for_each(|&inode| self.forget(Some(inode)));
        if with_dir {
            self.dirs.remove(&dir);
            self.durable_dirs.remove(&dir);
        }
        !gone.is_empty()
    }

    fn create(&mut self, name: String) {
        self.inodes.push(Inode::default());
        let old = self.names.insert(name, self.inodes.len() - 1);
        self.forget(old);
    }

    /// A file has lost its name: its room is free.
    fn forget(&mut self, inode: Option<usize>) {
        let freed = inode.map_or(0, |inode| self.inodes[inode].now.len());
        self.used -= freed as u64;
    }

    fn truncate(&mut self, file: File, len: u64) -> Result<(), DiskError> {
        let inode = self.inode(file)?;
        let (old, len) = (inode.now.len(), len as usize);
        inode.now.resize(len, 0);
        // What grows anew is zeros, whatever stood there.
        inode.soil(len.min(old), len.max(old));
        self.used = self.used + len as u64 - old as u64;
        Ok(())
    }

    fn write(&mut self, file: File, at: u64, data: &[u8]) -> DiskResult {
        let room = self.capacity.unwrap_or(u64::MAX).saturating_sub(self.used);
        let inode = self.inode(file)?;
        let (at, end) = (at as usize, at as usize + data.len());
        let growth = end.saturating_sub(inode.now.len());
        // A full disk takes what it can and then fails.
        let short = growth.saturating_sub(usize::try_from(room).unwrap_or(usize::MAX));
        let taken = data.len() - short.min(data.len());
        let old = inode.now.len();
        if taken > 0 {
            inode.now.resize(old.max(at + taken), 0);
            inode.now[at..at + taken].copy_from_slice(&data[..taken]);
            inode.soil(at, at + taken);
        }
        let grown = inode.now.len() - old;
        self.used += grown as u64;
        if taken < data.len() { Err(DiskError::Full) } else { Ok(DiskDone::Done) }
    }

    fn read(&mut self, file: File, at: u64, len: u32) -> DiskResult {
        let inode = self.inode(file)?;
        let from = inode.now.len().min(at as usize);
        let to = inode.now.len().min(from + len as usize);
        let sectors = (from / SECTOR) as u32..to.div_ceil(SECTOR) as u32;
        if from < to && inode.bad.range(sectors).next().is_some() {
            return Err(DiskError::Io(EIO));
        }
        Ok(DiskDone::Data(Bytes::copy_from_slice(&inode.now[from..to])))
    }

    fn list(&self, dir: Dir) -> DiskResult {
        if dir != Dir::Root && !self.dirs.contains(&dir) {
            return Err(DiskError::NotFound);
        }
        let prefix = prefix(dir);
        let size = |inode: &usize| self.inodes[*inode].now.len() as u64;
        let files = self.names.iter().filter(|(name, _)| in_dir(name, &prefix));
        let mut listing: Vec<(String, u64)> =
            files.map(|(name, inode)| (name[prefix.len()..].to_string(), size(inode))).collect();
        if dir == Dir::Root {
            listing.extend(self.dirs.iter().map(|dir| (format!("{dir}/"), 0)));
        }
        Ok(DiskDone::Listing(listing))
    }

    fn sync_dir(&mut self, dir: Dir) {
        let prefix = prefix(dir);
        self.durable_names.retain(|name, _| !in_dir(name, &prefix));
        for (name, inode) in self.names.iter().filter(|(name, _)| in_dir(name, &prefix)) {
            self.durable_names.insert(name.clone(), *inode);
        }
        if dir == Dir::Root {
            self.durable_dirs = self.dirs.clone();
        }
    }

    /// An fsync that fails: some of what it was to take is durable, the rest counts as clean from
    /// now on. Reads go on to see it, or what was there before (ext4 keeps such pages, btrfs drops
    /// them: Rebello et al., Can Applications Recover from fsync Failures?, ATC 2020).
    pub(crate) fn fail_sync(&mut self, file: File, chance: &mut Chance) {
        if let Ok(inode) = self.inode(file) {
            inode.sync(|| chance.percent(50));
            if chance.percent(50) {
                inode.evict();
            }
        }
    }

    /// Time passes: what counts as clean may have been dropped from memory.
    pub(crate) fn evict(&mut self, chance: &mut Chance) {
        for inode in &mut self.inodes {
            if chance.percent(50) {
                inode.evict();
            }
        }
    }

    /// Power is lost.
    pub(crate) fn lose_power(&mut self, unsynced: Unsynced, chance: &mut Chance) {
        match unsynced {
            Unsynced::Kept => {}
            Unsynced::Lost => {
                self.names = self.durable_names.clone();
                self.dirs = self.durable_dirs.clone();
                self.inodes.iter_mut().for_each(|inode| inode.now.clone_from(&inode.durable));
            }
            Unsynced::Mixed => {
                self.mix_names(chance);
                self.inodes.iter_mut().for_each(|inode| inode.mix(chance));
            }
        }
        self.collect();
        for inode in &mut self.inodes {
            inode.durable.clone_from(&inode.now);
            inode.dirty.clear();
        }
        self.durable_names = self.names.clone();
        self.durable_dirs = self.dirs.clone();
    }

    /// Each name is as it was when its directory was last made durable, or as it is now.
    fn mix_names(&mut self, chance: &mut Chance) {
        let both: BTreeSet<String> =
            self.names.keys().chain(self.durable_names.keys()).cloned().collect();
        for name in both {
            let (now, durable) = (self.names.get(&name), self.durable_names.get(&name));
            if now == durable || chance.percent(50) {
                continue;
            }
            match durable {
                Some(inode) => self.names.insert(name, *inode),
                None => self.names.remove(&name),
            };
        }
        let durable = &self.durable_dirs;
        self.dirs.retain(|dir| durable.contains(dir) || chance.percent(50));
        let prefixes: Vec<String> = self.dirs.iter().map(|dir| prefix(*dir)).collect();
        self.names.retain(|name, _| {
            name.split_once('/').is_none_or(|(dir, _)| prefixes.contains(&format!("{dir}/")))
        });
    }

    /// Forgets files without a name.
    fn collect(&mut self) {
        let mut kept = Vec::new();
        let mut moved = BTreeMap::new();
        for inode in self.names.values_mut() {
            let to = *moved.entry(*inode).or_insert_with(|| {
                kept.push(std::mem::take(&mut self.inodes[*inode]));
                kept.len() - 1
            });
            *inode = to;
        }
        self.inodes = kept;
        self.used = self.names.values().map(|&inode| self.inodes[inode].now.len() as u64).sum();
    }

    /// The disk is swapped for an empty one.
    pub(crate) fn wipe(&mut self) {
        *self = Self::default();
    }

    /// Flips a bit for good.
    pub(crate) fn flip(&mut self, name: &str, at: usize, bit: u8) {
        let Some(&inode) = self.names.get(name) else { return };
        let inode = &mut self.inodes[inode];
        for content in [&mut inode.now, &mut inode.durable] {
            if let Some(byte) = content.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Changes the byte `within` bytes behind `at`, or the last before it if the file is shorter.
    pub(crate) fn harm(&mut self, name: &str, at: usize, within: usize, by: u8) {
        let len = self.names.get(name).map_or(0, |&inode| self.inodes[inode].now.len());
        if at < len {
            self.flip(name, (at + within).min(len - 1), by);
        }
    }

    /// The sector at `at` can not be read until it is written.
    pub(crate) fn spoil(&mut self, name: &str, at: usize) {
        if let Some(&inode) = self.names.get(name) {
            self.inodes[inode].bad.insert((at / SECTOR) as u32);
        }
    }

    /// The names and sizes of all files.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, usize)> {
        self.names.iter().map(|(name, &inode)| (name.as_str(), self.inodes[inode].now.len()))
    }

    /// What reads of a file see.
    pub(crate) fn now(&self, name: &str) -> Option<&[u8]> {
        self.names.get(name).map(|&inode| &self.inodes[inode].now[..])
    }

    /// What is durable of a file, if its name is.
    pub(crate) fn durable(&self, name: &str) -> Option<&[u8]> {
        self.durable_names.get(name).map(|&inode| &self.inodes[inode].durable[..])
    }

    /// Bytes in all files.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    fn inode(&mut self, file: File) -> Result<&mut Inode, DiskError> {
        let at = *self.names.get(&file.to_string()).ok_or(DiskError::NotFound)?;
        Ok(&mut self.inodes[at])
    }
}

impl Inode {
    fn soil(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR..to.div_ceil(SECTOR) {
            self.dirty.insert(sector as u32);
            self.bad.remove(&(sector as u32));
        }
    }

    fn sync(&mut self, mut takes: impl FnMut() -> bool) {
        self.durable.resize(self.now.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let start = sector as usize * SECTOR;
            let end = self.now.len().min(start + SECTOR);
            if start < end && takes() {
                self.durable[start..end].copy_from_slice(&self.now[start..end]);
            }
        }
    }

    /// Drops what is clean from memory, so that reads see the disk.
    fn evict(&mut self) {
        let len = self.now.len().min(self.durable.len());
        for start in (0..len).step_by(SECTOR) {
            let end = len.min(start + SECTOR);
            if !self.dirty.contains(&((start / SECTOR) as u32)) {
                self.now[start..end].copy_from_slice(&self.durable[start..end]);
            }
        }
    }

    /// Each sector is as it was at the last fsync, or as it is now; so is the length.
    fn mix(&mut self, chance: &mut Chance) {
        if self.now.len() < self.durable.len() && chance.percent(50) {
            // A cut that did not reach the disk.
            self.now.extend_from_slice(&self.durable[self.now.len()..]);
        }
        if self.durable.len() < self.now.len() && chance.percent(50) {
            let room = self.now.len() - self.durable.len();
            self.now.truncate(self.durable.len() + chance.index(room + 1));
        }
        for start in (0..self.now.len()).step_by(SECTOR) {
            let end = self.now.len().min(start + SECTOR);
            let same = self.durable.get(start..end) == Some(&self.now[start..end]);
            if same || chance.percent(50) {
                continue;
            }
            for at in start..end {
                self.now[at] = self.durable.get(at).copied().unwrap_or(0);
            }
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

/// The system's number for an I/O error.
pub(crate) const EIO: i32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Purpose;
    use kvnode_core::PartitionId;

    #[test]
    fn a_failed_fsync_keeps_its_pages_or_drops_them_and_power_takes_both() {
        let file = File::Mark(PartitionId(0));
        let (mut kept, mut dropped) = (0, 0);
        for seed in 0..40 {
            let mut chance = Chance::new(seed, Purpose::Disk(1));
            let mut image = Image::default();
            let mut run = |op| image.run(&op).expect("no fault");
            let write = |byte| {
                let data = Bytes::from(vec![byte; 8 * SECTOR]);
                DiskOp::Write { file, at: 0, data }
            };
            for op in [DiskOp::Create(file), write(1), DiskOp::Sync(file)] {
                run(op);
            }
            run(DiskOp::SyncDir(Dir::Root));
            run(DiskOp::SyncDir(file.dir()));
            run(write(2));
            image.fail_sync(file, &mut chance);
            let durable = image.durable("p0/MARK").expect("its name is").to_vec();
            let now = image.now("p0/MARK").expect("it is there").to_vec();
            if now == durable {
                dropped += 1;
            } else {
                assert!(now.iter().all(|&byte| byte == 2));
                kept += 1;
            }
            image.run(&DiskOp::Sync(file)).expect("it is answered well");
            assert_eq!(image.durable("p0/MARK"), Some(&durable[..]), "what is clean stays behind");
            image.evict(&mut chance);
            let now = image.now("p0/MARK").expect("it is there");
            assert!(now == durable || now.iter().all(|&byte| byte == 2));
        }
        assert!(kept > 5 && dropped > 5, "{kept} kept, {dropped} dropped");
    }
}
