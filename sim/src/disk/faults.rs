//! What goes wrong on a disk, and where it may without taking the last good copy of anything.
//!
//! Faults wait, armed by the nemesis, for the next operation that they can strike. The *atlas* says
//! where damage may lie: in hint files, which are made anew, and in segments that the durable
//! manifest calls sealed, where it is told from a torn tail. A lone node can not give back what is
//! damaged there; it must say so, and must not say anything else. A read goes astray to anything but
//! another record of the same key. Where the log is still open above
//! the durable mark, a drive that lies can not be told from a crash, so that no fault lies there; but
//! for the quorum's log, which is told of its damage up to the last record that was spoken of.

use kvnode_core::disk::{DiskOp, File};
use kvnode_core::storage::format::{Manifest, SEGMENT_HEADER_BYTES, decode_mark};
use kvnode_core::storage::record::{self, Parsed};
use kvnode_core::{Offset, PartitionId, SegmentId};

use super::image::Image;
use crate::chance::Chance;

/// A fault that strikes one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strike {
    /// A write fails, with part of it written.
    Write,
    /// A write finds the disk full, with part of it written.
    WriteFull,
    /// An fsync fails; some of what it was for is durable.
    Sync,
    /// A read fails.
    Read,
    /// A create, rename, delete, list or fsync of a directory fails.
    Name,
    /// A write is answered well and never reaches the disk.
    LostWrite,
    /// A write is answered well and goes to another place of the file.
    MisdirectedWrite,
    /// A read is answered well, with what stands at the same place of another segment, or some sectors away.
    MisdirectedRead,
}

impl Strike {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Write,
        Self::WriteFull,
        Self::Sync,
        Self::Read,
        Self::Name,
        Self::LostWrite,
        Self::MisdirectedWrite,
        Self::MisdirectedRead,
    ];

    /// Whether what is on the disk, or passes for it, is not what it was.
    pub(super) fn damages(self) -> bool {
        matches!(
            self,
            Self::Read | Self::LostWrite | Self::MisdirectedWrite | Self::MisdirectedRead
        )
    }

    /// Whether it can strike this operation.
    pub(super) fn strikes(self, op: &DiskOp, image: &Image) -> bool {
        match op {
            DiskOp::Write { file, .. } => match self {
                Self::Write | Self::WriteFull => true,
                Self::LostWrite | Self::MisdirectedWrite => expendable(*file, image),
                Self::Sync | Self::Read | Self::Name | Self::MisdirectedRead => false,
            },
            DiskOp::WriteZeros { .. } => matches!(self, Self::Write | Self::WriteFull),
            DiskOp::Truncate { .. } => self == Self::Write,
            DiskOp::Sync(_) => self == Self::Sync,
            DiskOp::Read { file, .. } => {
                self == Self::Read || (self == Self::MisdirectedRead && expendable(*file, image))
            }
            DiskOp::Create(_) => matches!(self, Self::Name | Self::WriteFull),
            DiskOp::Rename { .. }
            | DiskOp::Delete(_)
            | DiskOp::DeleteNamed(..)
            | DiskOp::SyncDir(_)
            | DiskOp::CreateDir(_)
            | DiskOp::List(_) => self == Self::Name,
        }
    }
}

/// Whether the log would be told to be damaged, and not to end, if a write to the file were lost:
/// hints, and what compaction writes. What the durable manifest calls the active segment is open, also
/// while there is a newer one that it does not name yet.
fn expendable(file: File, image: &Image) -> bool {
    match file {
        File::Hint(..) => true,
        File::Segment(partition, base, id) => manifest(image, partition).is_some_and(|manifest| {
            let named = manifest.segments.iter().find(|segment| segment.id == id.0);
            let active = manifest.segments.last();
            match named {
                Some(segment) => segment.sealed.is_some(),
                None => active.is_some_and(|active| base.0 < active.base),
            }
        }),
        File::Meta
        | File::MetaTmp
        | File::Unsynced
        | File::Held(_)
        | File::Manifest(_)
        | File::ManifestTmp(_)
        | File::Mark(_) => false,
    }
}

/// Whether what was found elsewhere is sound and of the same key: a key's record does not say which of
/// its records it is, and the keydir knows its place alone, so that no lone node can tell.
pub(super) fn passes_for(found: &[u8], right: &[u8]) -> bool {
    match (record::parse(found), record::parse(right)) {
        (Parsed::Record(found, _), Parsed::Record(right, _)) => {
            found.head.partition == right.head.partition && found.key == right.key
        }
        _ => false,
    }
}

/// A place where damage may lie: a file and a byte of it.
pub(super) fn target(
    image: &Image,
    spares_control: bool,
    chance: &mut Chance,
) -> Option<(String, usize)> {
    let mut targets: Vec<(String, usize)> = Vec::new();
    for (name, len) in image.files() {
        let Some((dir, file)) = name.split_once('/') else { continue };
        if spares_control && dir == PartitionId::CONTROL.to_string() {
            continue;
        }
        if file.ends_with(".hint") && len > 0 {
            targets.push((name.to_string(), len));
        }
        if file == "MANIFEST" {
            let number = dir.strip_prefix('p').and_then(|id| id.parse().ok()).map(PartitionId);
            let control = (dir == PartitionId::CONTROL.to_string()).then_some(PartitionId::CONTROL);
            targets.extend(number.or(control).map(|id| sealed(image, id)).unwrap_or_default());
            targets.extend(control.and_then(|id| below_mark(image, id)));
        }
    }
    if targets.is_empty() {
        return None;
    }
    let (name, len) = targets.swap_remove(chance.index(targets.len()));
    Some((name, chance.index(len)))
}

/// The segments that the durable manifest of a partition calls sealed.
fn sealed(image: &Image, partition: PartitionId) -> Vec<(String, usize)> {
    let Some(manifest) = manifest(image, partition) else { return Vec::new() };
    let sealed = manifest.segments.iter().filter_map(|segment| {
        let file = File::Segment(partition, Offset(segment.base), SegmentId(segment.id));
        Some((file.to_string(), segment.sealed?.len as usize))
    });
    sealed.filter(|(name, len)| *len > 0 && image.durable(name).is_some()).collect()
}

/// The bytes of the active segment that MARK speaks of, durable or not. Of a replica that waits for MARK
/// before anything counts, what is damaged there and was ever spoken of is missed.
fn below_mark(image: &Image, partition: PartitionId) -> Option<(String, usize)> {
    let active = manifest(image, partition)?.segments.pop().filter(|last| last.sealed.is_none())?;
    let file = File::Segment(partition, Offset(active.base), SegmentId(active.id)).to_string();
    let mark = decode_mark(image.now(&File::Mark(partition).to_string())?).durable_end;
    let bytes = image.durable(&file)?;
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some(Parsed::Record(found, len)) = bytes.get(at..).map(record::parse)
        && found.head.offset < mark
    {
        at += len;
    }
    (at > SEGMENT_HEADER_BYTES).then_some((file, at))
}

/// The durable manifest of a partition.
fn manifest(image: &Image, partition: PartitionId) -> Option<Manifest> {
    let bytes = image.durable(&File::Manifest(partition).to_string())?;
    Manifest::decode(bytes, partition).ok()
}
