//! The simulated disks, one a node: a plugin of madsim beside its network.
//!
//! An operation is taken at once, takes effect when it is answered, and is answered after a time
//! drawn for it. Operations on one file keep their order; all others overtake each other, which is
//! all that core may rely on. When the process dies, each operation under way is done or not, in an
//! order that keeps the same rule; madsim tells us of it by [`Simulator::reset_node`]. What a loss of
//! power takes is decided in [`image`], what goes wrong on purpose in [`faults`].

mod faults;
mod image;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Mutex;

use bytes::Bytes;
use kvnode_core::disk::{Dir, DiskDone, DiskError, DiskOp, DiskResult, File};
use kvnode_core::{IoId, PartitionId};
use madsim::plugin::Simulator;
use madsim::rand::GlobalRng;
use madsim::task::NodeId;
use madsim::time::TimeHandle;

pub use faults::Strike;
pub use image::Unsynced;

use crate::chance::Chance;
use crate::lock;
use crate::plan::Harm;
use image::EIO;
pub(crate) use image::Image;

/// The disks of all nodes.
#[derive(Default)]
pub(crate) struct DiskSim {
    disks: Mutex<BTreeMap<NodeId, NodeDisk>>,
}

impl Simulator for DiskSim {
    fn new(_: &GlobalRng, _: &TimeHandle, _: &madsim::Config) -> Self {
        Self::default()
    }

    fn reset_node(&self, id: NodeId) {
        if let Some(disk) = lock(&self.disks).get_mut(&id) {
            disk.crash();
        }
    }
}

impl DiskSim {
    /// Gives a node a disk.
    pub(crate) fn add(&self, node: NodeId, disk: NodeDisk) {
        lock(&self.disks).insert(node, disk);
    }

    /// Does something with a node's disk.
    pub(crate) fn with<T>(&self, node: NodeId, with: impl FnOnce(&mut NodeDisk) -> T) -> T {
        with(lock(&self.disks).get_mut(&node).expect("every node has a disk"))
    }
}

/// How long operations take, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pace {
    /// The quickest.
    pub(crate) min_ns: u64,
    /// The slowest, most being near the quickest.
    pub(crate) max_ns: u64,
}

/// One node's disk.
pub(crate) struct NodeDisk {
    image: Image,
    chance: Chance,
    pace: Pace,
    /// Under way, in the order of their submission.
    flying: Vec<Flying>,
    /// Faults that wait for an operation to strike.
    armed: Vec<Strike>,
    /// Those that wait for a write to a certain sector.
    spots: Vec<(File, u32, Strike)>,
    /// Operations take so many times as long.
    slowness: u64,
    /// Nothing is answered before.
    stalled_until_ns: u64,
    /// What a crash is to do; the process alone dies if nothing is said.
    doom: Doom,
    /// What struck operations that were under way at a crash.
    struck: Vec<(Strike, DiskOp)>,
    /// Most operations that were under way at once.
    flying_max: usize,
    /// Sectors that were ever written, if somebody wants to know.
    written: Option<BTreeSet<(File, u32)>>,
    /// The quorum's log is not damaged.
    spares_control: bool,
}

struct Flying {
    io: IoId,
    op: DiskOp,
    at_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    /// The process dies, the system goes on.
    Process,
    /// Power is lost.
    Power(Unsynced),
    /// Power is lost, and there is an empty disk when it is back.
    Wiped,
}

/// An operation that is done.
pub(crate) struct Answer {
    pub(crate) io: IoId,
    pub(crate) op: DiskOp,
    pub(crate) result: DiskResult,
    /// The fault that struck it.
    pub(crate) struck: Option<Strike>,
}

impl NodeDisk {
    /// An empty disk.
    pub(crate) fn new(chance: Chance, pace: Pace) -> Self {
        Self {
            image: Image::default(),
            chance,
            pace,
            flying: Vec::new(),
            armed: Vec::new(),
            spots: Vec::new(),
            slowness: 1,
            stalled_until_ns: 0,
            doom: Doom::Process,
            struck: Vec::new(),
            flying_max: 0,
            written: None,
            spares_control: false,
        }
    }

    /// From now on the quorum's log is not damaged.
    pub(crate) fn spare_control(&mut self) {
        self.spares_control = true;
    }

    /// Takes an operation.
    pub(crate) fn submit(&mut self, now_ns: u64, io: IoId, op: DiskOp) {
        let takes = self.chance.skewed(self.pace.min_ns..self.pace.max_ns) * self.slowness;
        let behind = self.flying.iter().filter(|earlier| clash(&earlier.op, &op));
        let after = behind.map(|earlier| earlier.at_ns).max().unwrap_or(0);
        let at_ns = (now_ns + takes).max(after + 1);
        self.flying.push(Flying { io, op, at_ns });
        self.flying_max = self.flying_max.max(self.flying.len());
    }

    /// When the next operation is done.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.flying.iter().map(|flying| flying.at_ns.max(self.stalled_until_ns)).min()
    }

    /// The next operation that is done by now.
    pub(crate) fn answer(&mut self, now_ns: u64) -> Option<Answer> {
        if self.stalled_until_ns > now_ns {
            return None;
        }
        let due = self.flying.iter().enumerate().filter(|(_, flying)| flying.at_ns <= now_ns);
        // Of two that are due at once the earlier submitted is first.
        let (at, _) = due.min_by_key(|(_, flying)| flying.at_ns)?;
        let Flying { io, op, .. } = self.flying.remove(at);
        let (result, struck) = self.perform(&op);
        Some(Answer { io, op, result, struck })
    }

    fn perform(&mut self, op: &DiskOp) -> (DiskResult, Option<Strike>) {
        if let (Some(written), Some((file, sectors))) = (&mut self.written, sectors(op)) {
            written.extend(sectors.map(|sector| (file, sector as u32)));
        }
        if let Some(at) =
            self.spots.iter().position(|(file, sector, _)| touches(op, *file, *sector))
        {
            let (.., strike) = self.spots.remove(at);
            return (self.struck(strike, op), Some(strike));
        }
        let spares = |strike: &Strike| self.spares_control && strike.damages() && is_of_control(op);
        let may = |strike: &Strike| strike.strikes(op, &self.image) && !spares(strike);
        let hit = self.armed.iter().position(may);
        let Some(hit) = hit else { return (self.image.run(op), None) };
        let strike = self.armed.remove(hit);
        (self.struck(strike, op), Some(strike))
    }

    fn struck(&mut self, strike: Strike, op: &DiskOp) -> DiskResult {
        match (strike, op) {
            (Strike::Write | Strike::WriteFull, DiskOp::Write { file, at, data }) => {
                let part = self.chance.index(data.len() + 1);
                let data = data.slice(..part);
                self.image.run(&DiskOp::Write { file: *file, at: *at, data })?;
            }
            (Strike::Write | Strike::WriteFull, DiskOp::WriteZeros { file, at, len }) => {
                let len = self.chance.below(*len + 1);
                self.image.run(&DiskOp::WriteZeros { file: *file, at: *at, len })?;
            }
            // It is done nevertheless.
            (Strike::Write, DiskOp::Truncate { .. }) if self.chance.percent(50) => {
                self.image.run(op)?;
            }
            (Strike::LostWrite, DiskOp::Write { file, at, data }) => {
                // The file is as long as it should be, and holds nothing there.
                let len = data.len() as u64;
                return self.image.run(&DiskOp::WriteZeros { file: *file, at: *at, len });
            }
            (Strike::MisdirectedWrite, DiskOp::Write { file, at, data }) => {
                let back = *at / (image::SECTOR as u64);
                let sectors = self.chance.below(back + 1);
                let at = at - sectors * image::SECTOR as u64;
                return self.image.run(&DiskOp::Write { file: *file, at, data: data.clone() });
            }
            (Strike::MisdirectedRead, DiskOp::Read { file, at, .. }) => {
                let right = self.image.run(op)?;
                let DiskDone::Data(right) = right else { return Ok(right) };
                return Ok(DiskDone::Data(self.astray(*file, *at as usize, right)));
            }
            (Strike::Sync, DiskOp::Sync(file)) => self.image.fail_sync(*file, &mut self.chance),
            (Strike::Name, _) if self.chance.percent(30) => {
                // It is done nevertheless, and nobody is told.
                self.image.run(op)?;
            }
            (
                Strike::Write
                | Strike::WriteFull
                | Strike::Sync
                | Strike::Read
                | Strike::Name
                | Strike::LostWrite
                | Strike::MisdirectedWrite
                | Strike::MisdirectedRead,
                _,
            ) => {}
        }
        Err(if strike == Strike::WriteFull { DiskError::Full } else { DiskError::Io(EIO) })
    }

    /// As many bytes as were `right`, from the same place of another segment, or some sectors away.
    fn astray(&mut self, file: File, at: usize, right: Bytes) -> Bytes {
        let file = file.to_string();
        let len = self.image.now(&file).map_or(0, <[u8]>::len);
        let first = at % image::SECTOR;
        let places = len.saturating_sub(first + right.len()) / image::SECTOR + 1;
        let found = if places > 1 && self.chance.percent(50) {
            let at = first + self.chance.index(places) * image::SECTOR;
            self.found(&file, at, &right)
        } else {
            let segments = self.image.files().map(|(name, _)| name);
            let others: Vec<&str> =
                segments.filter(|name| name.ends_with(".log") && *name != file).collect();
            if others.is_empty() {
                return right;
            }
            let other = others[self.chance.index(others.len())];
            self.found(other, at, &right)
        };
        if faults::passes_for(&found, &right) { right } else { found }
    }

    /// As many bytes as were `right`, from this place.
    fn found(&self, file: &str, at: usize, right: &Bytes) -> Bytes {
        let found = self.image.now(file).and_then(|bytes| bytes.get(at..)).unwrap_or_default();
        let mut found = found[..found.len().min(right.len())].to_vec();
        found.resize(right.len(), 0);
        found.into()
    }

    /// What a read would give now, if nothing on the file is under way; for the node's cache.
    pub(crate) fn read_now(&mut self, file: File, at: u64, len: u32) -> Option<Bytes> {
        let op = DiskOp::Read { file, at, len };
        if self.flying.iter().any(|flying| clash(&flying.op, &op)) {
            return None;
        }
        match self.image.run(&op) {
            Ok(DiskDone::Data(data)) if data.len() == len as usize => Some(data),
            Ok(_) | Err(_) => None,
        }
    }

    /// What the next crash is to do; whether it will find operations under way.
    pub(crate) fn doom(&mut self, doom: Doom) -> bool {
        self.doom = doom;
        !self.flying.is_empty()
    }

    /// Power is lost while no process uses the disk.
    pub(crate) fn lose_power(&mut self, unsynced: Unsynced) {
        self.image.lose_power(unsynced, &mut self.chance);
    }

    /// An empty disk is put in its place, while no process uses it. What waited to strike goes with the
    /// old one: whether the new one may be harmed is for the atlas to say.
    pub(crate) fn empty(&mut self) {
        self.image.wipe();
        self.armed.clear();
        self.spots.clear();
    }

    /// What struck operations that were under way at crashes, since this was last asked.
    pub(crate) fn take_struck(&mut self) -> Vec<(Strike, DiskOp)> {
        std::mem::take(&mut self.struck)
    }

    /// Whether a file is being renamed.
    pub(crate) fn renames(&self) -> bool {
        self.flying.iter().any(|flying| matches!(flying.op, DiskOp::Rename { .. }))
    }

    /// Whether a write or an fsync is under way.
    pub(crate) fn writes(&self) -> bool {
        self.flying.iter().any(|f| matches!(f.op, DiskOp::Write { .. } | DiskOp::Sync(_)))
    }

    fn crash(&mut self) {
        // What was handed to the system may still be done.
        let mut done = self.chance.index(self.flying.len() + 1);
        self.flying.sort_by_key(|flying| flying.at_ns);
        for Flying { op, .. } in std::mem::take(&mut self.flying) {
            if done == 0 {
                self.half_done(&op);
                break;
            }
            done -= 1;
            // Its answer reaches nobody.
            let (_, strike) = self.perform(&op);
            self.struck.extend(strike.map(|strike| (strike, op)));
        }
        match std::mem::replace(&mut self.doom, Doom::Process) {
            Doom::Process => self.image.evict(&mut self.chance),
            Doom::Power(unsynced) => self.image.lose_power(unsynced, &mut self.chance),
            Doom::Wiped => self.empty(),
        }
    }

    /// A process is killed in the midst of a write: the system has taken a part of it.
    fn half_done(&mut self, op: &DiskOp) {
        if let DiskOp::Write { file, at, data } = op {
            let data = data.slice(..self.chance.index(data.len() + 1));
            // Its answer reaches nobody.
            let _ = self.image.run(&DiskOp::Write { file: *file, at: *at, data });
        }
    }

    /// The files of a partition are gone, and perhaps its directory; whether there were any.
    pub(crate) fn lose(&mut self, partition: PartitionId, with_dir: bool) -> bool {
        self.image.lose(Dir::Partition(partition), with_dir)
    }

    /// A fault is to strike the next operation that it can. A drive that looks for its data in the
    /// wrong place does so more than once.
    pub(crate) fn arm(&mut self, strike: Strike) {
        let times = match strike {
            Strike::MisdirectedRead => self.chance.skewed(1..ASTRAY_MAX),
            Strike::Write
            | Strike::WriteFull
            | Strike::Sync
            | Strike::Read
            | Strike::Name
            | Strike::LostWrite
            | Strike::MisdirectedWrite => 1,
        };
        (0..times).for_each(|_| self.armed.push(strike));
    }

    /// Notes from now on which sectors are written.
    pub(crate) fn note_written(&mut self) {
        self.written = Some(BTreeSet::new());
    }

    /// The sectors noted.
    pub(crate) fn take_written(&mut self) -> BTreeSet<(File, u32)> {
        self.written.take().unwrap_or_default()
    }

    /// Harms one sector of a file; whether it is there to be harmed at once.
    pub(crate) fn spot(&mut self, file: File, sector: u32, harm: Harm) -> bool {
        let (name, at) = (file.to_string(), sector as usize * image::SECTOR);
        let there = self.image.now(&name).is_some_and(|bytes| at < bytes.len());
        match harm {
            Harm::Corrupt => {
                let within = self.chance.index(image::SECTOR);
                self.image.harm(&name, at, within, self.chance.any() as u8);
            }
            Harm::Unreadable => self.image.spoil(&name, at),
            Harm::WriteError => self.spots.push((file, sector, Strike::Write)),
            Harm::Full => self.spots.push((file, sector, Strike::WriteFull)),
        }
        there
    }

    /// From now on there is no more than so much room.
    pub(crate) fn fill_up(&mut self, room: u64) {
        let capacity = self.image.used() + room;
        self.image.capacity = Some(self.image.capacity.map_or(capacity, |old| old.min(capacity)));
    }

    /// From now on there is room enough.
    pub(crate) fn make_room(&mut self) {
        self.image.capacity = None;
    }

    /// Operations submitted from now on take so many times as long.
    pub(crate) fn set_slowness(&mut self, slowness: u64) {
        self.slowness = slowness;
    }

    /// Nothing is answered before then.
    pub(crate) fn stall(&mut self, until_ns: u64) {
        self.stalled_until_ns = self.stalled_until_ns.max(until_ns);
    }

    /// No fault from now on but what is already on the disk. What is under way takes no longer than on
    /// a disk that is well.
    pub(crate) fn heal(&mut self, now_ns: u64) {
        let at_ns_max = now_ns + self.pace.max_ns;
        for flying in &mut self.flying {
            flying.at_ns = flying.at_ns.min(at_ns_max);
        }
        self.armed.clear();
        self.spots.clear();
        self.image.capacity = None;
        self.slowness = 1;
        self.stalled_until_ns = 0;
    }

    /// Flips a bit where the atlas allows it; tells where.
    pub(crate) fn rot(&mut self) -> Option<(String, usize)> {
        let (name, at) = self.target()?;
        self.image.flip(&name, at, self.chance.any() as u8);
        Some((name, at))
    }

    /// Makes a sector unreadable where the atlas allows it; tells where.
    pub(crate) fn spoil(&mut self) -> Option<(String, usize)> {
        let (name, at) = self.target()?;
        self.image.spoil(&name, at);
        Some((name, at))
    }

    fn target(&mut self) -> Option<(String, usize)> {
        faults::target(&self.image, self.spares_control, &mut self.chance)
    }

    /// Most operations that were under way at once.
    pub(crate) fn flying_max(&self) -> usize {
        self.flying_max
    }

    /// A copy to look at while nothing runs on it.
    pub(crate) fn image(&self) -> Image {
        self.image.clone()
    }
}

/// Most reads that go astray in a row.
const ASTRAY_MAX: u64 = 16;

/// Whether it reads or writes the quorum's log.
fn is_of_control(op: &DiskOp) -> bool {
    let (DiskOp::Read { file, .. } | DiskOp::Write { file, .. }) = op else { return false };
    file.to_string().starts_with(&format!("{}/", PartitionId::CONTROL))
}

/// Whether the operation writes to a sector of the file.
fn touches(op: &DiskOp, wanted: File, sector: u32) -> bool {
    sectors(op).is_some_and(|(file, sectors)| file == wanted && sectors.contains(&sector.into()))
}

/// The sectors that the operation writes to.
fn sectors(op: &DiskOp) -> Option<(File, Range<u64>)> {
    let (file, at, len) = match op {
        DiskOp::Write { file, at, data } => (*file, *at, data.len() as u64),
        DiskOp::WriteZeros { file, at, len } => (*file, *at, *len),
        DiskOp::CreateDir(_)
        | DiskOp::List(_)
        | DiskOp::Create(_)
        | DiskOp::Sync(_)
        | DiskOp::Read { .. }
        | DiskOp::Truncate { .. }
        | DiskOp::Rename { .. }
        | DiskOp::Delete(_)
        | DiskOp::DeleteNamed(..)
        | DiskOp::SyncDir(_) => return None,
    };
    let sector = image::SECTOR as u64;
    Some((file, at / sector..(at + len).div_ceil(sector)))
}

/// Whether `later` must wait for `earlier`: both are on one file.
fn clash(earlier: &DiskOp, later: &DiskOp) -> bool {
    let of_earlier = files(earlier).into_iter().flatten();
    match (named(earlier), named(later)) {
        (Some(earlier), Some(later)) => earlier == later,
        (Some(name), None) => files(later).into_iter().flatten().any(|file| is(file, name)),
        (None, Some(name)) => of_earlier.into_iter().any(|file| is(file, name)),
        (None, None) => {
            let later = files(later);
            of_earlier.into_iter().any(|file| later.contains(&Some(file)))
        }
    }
}

/// The file of an operation that knows only its name.
fn named(op: &DiskOp) -> Option<(Dir, &str)> {
    if let DiskOp::DeleteNamed(dir, name) = op { Some((*dir, name)) } else { None }
}

fn is(file: File, (dir, name): (Dir, &str)) -> bool {
    file.dir() == dir && file.to_string().rsplit('/').next() == Some(name)
}

/// The files that an operation is on. Directories have no order.
fn files(op: &DiskOp) -> [Option<File>; 2] {
    match op {
        DiskOp::Create(file)
        | DiskOp::Write { file, .. }
        | DiskOp::WriteZeros { file, .. }
        | DiskOp::Sync(file)
        | DiskOp::Read { file, .. }
        | DiskOp::Truncate { file, .. }
        | DiskOp::Delete(file) => [Some(*file), None],
        DiskOp::Rename { from, to } => [Some(*from), Some(*to)],
        DiskOp::CreateDir(_) | DiskOp::List(_) | DiskOp::DeleteNamed(..) | DiskOp::SyncDir(_) => {
            [None, None]
        }
    }
}
