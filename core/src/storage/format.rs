//! The small files: META, MANIFEST, MARK and the header of a segment.
//!
//! META and MANIFEST are an [envelope](seal): magic, format version, length, checksum, then the
//! content in postcard. They are replaced as a whole (write aside, fsync, rename, fsync the
//! directory), never changed in place. MARK is two slots written in turn, so that one is whole
//! whatever becomes of the write to the other.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::record::{u32_at, u64_at};
use crate::{Epoch, Millis, Offset, PartitionId, SegmentId};

/// The version of everything on disk. Another one is refused, never guessed at.
pub const FORMAT_VERSION: u32 = 3;

const META_MAGIC: [u8; 8] = *b"kvnMETA\n";
const MANIFEST_MAGIC: [u8; 8] = *b"kvnMANI\n";
const SEGMENT_MAGIC: [u8; 8] = *b"kvnSEGM\n";
const ENVELOPE_BYTES: usize = 20;

/// Length of a segment's header in bytes.
pub const SEGMENT_HEADER_BYTES: usize = 32;
/// Length of one slot of MARK in bytes; the slots stand [`MARK_SLOT_STRIDE`] apart.
pub const MARK_SLOT_BYTES: usize = 32;
/// Distance of the two slots of MARK in bytes: no sector holds both.
pub const MARK_SLOT_STRIDE: u64 = 4096;

/// Why bytes could not be taken for what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Written by a version with another format.
    #[error("it has format version {0}, and this kvnode reads version {FORMAT_VERSION}")]
    Version(u32),
    /// Cut short, damaged, or another file.
    #[error("it is damaged (checksum or length does not match)")]
    Damaged,
}

/// META: what the whole data directory agrees on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Names this directory among all directories; drawn when it is made.
    pub directory_id: u128,
    /// Number of partitions, fixed when the directory is made; 0 for a node of a cluster, whose
    /// partitions come and go.
    pub partitions: u32,
    /// Every partition has been made: one that is missing was lost. For a node of a cluster: the log
    /// of the controller quorum has been made.
    pub complete: bool,
    /// Whose it is, if it is not that of a node that stands alone.
    pub seat: Option<Seat>,
}

/// Which node of which cluster a directory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The node.
    pub node: u32,
    /// The cluster, once the node has joined or founded one.
    pub cluster: Option<u128>,
}

/// MANIFEST: what a partition consists of. A file that it does not name is a leftover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The partition.
    pub partition: u32,
    /// The next segment id to give out.
    pub next_segment: u32,
    /// Log clock when the manifest was written: compaction may drop the record that held it.
    pub clock: Millis,
    /// The latest reign: the records that tell of it may be unreadable at the next opening, and a
    /// reign must not be given out twice.
    pub epoch: u32,
    /// Highest offset whose tombstone was dropped, plus one: a follower that asks from below must
    /// start from zero.
    pub tombstone_horizon: u64,
    /// After a clean stop, the log end; everything before it is durable.
    pub clean_end: Option<u64>,
    /// Damage that ends at or before this offset was accepted as a loss by an operator, if it is in
    /// a segment marked as damaged (or in the active one).
    pub loss_accepted: u64,
    /// A cut of the log at this offset is under way: what the files hold from there on is not of
    /// the log any more, whether it is gone already or not.
    pub cut: Option<u64>,
    /// The log can not be cut below this offset, for compaction has dropped what was superseded by
    /// records before it. It can only be begun anew.
    pub cut_floor: u64,
    /// Up to which offsets the log is to reach, and of which epoch the records before these are to
    /// be: later records superseded what it was not sent.
    pub owed: Vec<(Offset, Epoch)>,
    /// Reigns of which the log has a record, and where each begins. (Some may begin behind the end
    /// that a crash leaves.)
    pub epochs: Vec<(Epoch, Offset)>,
    /// The segments, by base offset; the last is the active one.
    pub segments: Vec<ManifestSegment>,
}

/// One segment in the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestSegment {
    /// Its id.
    pub id: u32,
    /// First offset it may hold.
    pub base: u64,
    /// `None` while it is the active one.
    pub sealed: Option<Sealed>,
}

/// What is known of a segment that is not written to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Length in bytes, its header included.
    pub len: u64,
    /// CRC-32 of its records' bytes.
    pub crc: u32,
    /// First offset after its last record.
    pub end: u64,
    /// Made by compaction: offsets have gaps.
    pub compacted: bool,
    /// A damaged range was found in it when it was sealed; it is kept as it is.
    pub damaged: bool,
}

impl Meta {
    /// The bytes of META.
    pub fn encode(&self) -> Vec<u8> {
        seal(META_MAGIC, self)
    }

    /// Reads META.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        open(META_MAGIC, bytes)
    }
}

impl Manifest {
    /// The bytes of MANIFEST.
    pub fn encode(&self) -> Vec<u8> {
        seal(MANIFEST_MAGIC, self)
    }

    /// Reads MANIFEST and checks that its segments can be a log.
    pub fn decode(bytes: &[u8], partition: PartitionId) -> Result<Self, FormatError> {
        let manifest: Self = open(MANIFEST_MAGIC, bytes)?;
        let chained = manifest.segments.windows(2).all(|pair| {
            pair[0].sealed.is_some_and(|s| pair[0].base <= s.end && s.end <= pair[1].base)
        });
        let ids_known = manifest.segments.iter().all(|s| s.id < manifest.next_segment);
        let one_active = manifest.segments.last().is_some_and(|s| s.sealed.is_none());
        let reigns = manifest.epochs.windows(2).all(|p| p[0].0 < p[1].0 && p[0].1 < p[1].1);
        if manifest.partition == partition.0 && chained && ids_known && one_active && reigns {
            Ok(manifest)
        } else {
            Err(FormatError::Damaged)
        }
    }
}

/// What a slot of MARK says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarkSlot {
    /// Counts the slots that were written.
    pub turn: u64,
    /// Everything before this offset was durable when the slot was written, and it is not within a
    /// batch.
    pub durable_end: Offset,
    /// The high watermark when the slot was written.
    pub watermark: Offset,
}

impl MarkSlot {
    /// The bytes of the slot: CRC-32 of the rest u32 · turn u64 · durable end u64 · watermark u64 ·
    /// zeros.
    pub fn encode(&self) -> [u8; MARK_SLOT_BYTES] {
        let mut slot = [0; MARK_SLOT_BYTES];
        slot[4..12].copy_from_slice(&self.turn.to_le_bytes());
        slot[12..20].copy_from_slice(&self.durable_end.0.to_le_bytes());
        slot[20..28].copy_from_slice(&self.watermark.0.to_le_bytes());
        let crc = crc32fast::hash(&slot[4..]);
        slot[..4].copy_from_slice(&crc.to_le_bytes());
        slot
    }
}

/// Where the slot of `turn` stands in MARK, in bytes.
pub fn mark_slot_at(turn: u64) -> u64 {
    turn % 2 * MARK_SLOT_STRIDE
}

/// The last slot that MARK tells of; zeros where none is whole.
pub fn decode_mark(bytes: &[u8]) -> MarkSlot {
    [0, MARK_SLOT_STRIDE as usize]
        .into_iter()
        .filter_map(|at| bytes.get(at..at + MARK_SLOT_BYTES))
        .filter(|slot| crc32fast::hash(&slot[4..]) == u32_at(slot, 0))
        .map(|slot| MarkSlot {
            turn: u64_at(slot, 4),
            durable_end: Offset(u64_at(slot, 12)),
            watermark: Offset(u64_at(slot, 20)),
        })
        .max()
        .unwrap_or_default()
}

/// The header of a segment.
pub fn encode_segment_header(
    partition: PartitionId,
    id: SegmentId,
    base: Offset,
) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(&SEGMENT_MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&partition.0.to_le_bytes());
    header[16..20].copy_from_slice(&id.0.to_le_bytes());
    header[20..28].copy_from_slice(&base.0.to_le_bytes());
    let crc = crc32fast::hash(&header[..28]);
    header[28..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Whether `bytes` start with the header of just this segment.
pub fn check_segment_header(
    bytes: &[u8],
    partition: PartitionId,
    id: SegmentId,
    base: Offset,
) -> Result<(), FormatError> {
    let Some(header) = bytes.first_chunk::<SEGMENT_HEADER_BYTES>() else {
        return Err(FormatError::Damaged);
    };
    let crc_holds = crc32fast::hash(&header[..28]) == u32_at(header, 28);
    if crc_holds && header[..8] == SEGMENT_MAGIC && u32_at(header, 8) != FORMAT_VERSION {
        return Err(FormatError::Version(u32_at(header, 8)));
    }
    if *header == encode_segment_header(partition, id, base) {
        Ok(())
    } else {
        Err(FormatError::Damaged)
    }
}

/// magic 8 · format version u32 · length of the content u32 · CRC-32 of all before and the content
/// u32 · content.
fn seal(magic: [u8; 8], content: &impl Serialize) -> Vec<u8> {
    let content = postcard::to_allocvec(content).expect("plain data can be written to memory");
    let mut bytes = Vec::with_capacity(ENVELOPE_BYTES + content.len());
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&(content.len() as u32).to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes);
    hasher.update(&content);
    bytes.extend_from_slice(&hasher.finalize().to_le_bytes());
    bytes.extend_from_slice(&content);
    bytes
}

fn open<T: DeserializeOwned>(magic: [u8; 8], bytes: &[u8]) -> Result<T, FormatError> {
    let Some((envelope, content)) = bytes.split_at_checked(ENVELOPE_BYTES) else {
        return Err(FormatError::Damaged);
    };
    if envelope[..8] != magic {
        return Err(FormatError::Damaged);
    }
    // The version comes first: a newer format may have another envelope behind it.
    let version = u32_at(envelope, 8);
    if version != FORMAT_VERSION {
        return Err(FormatError::Version(version));
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&envelope[..16]);
    hasher.update(content);
    if u32_at(envelope, 12) as usize != content.len() || u32_at(envelope, 16) != hasher.finalize() {
        return Err(FormatError::Damaged);
    }
    postcard::from_bytes(content).map_err(|_| FormatError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn manifest() -> Manifest {
        Manifest {
            partition: 2,
            next_segment: 9,
            clock: 77,
            epoch: 6,
            tombstone_horizon: 5,
            clean_end: Some(40),
            loss_accepted: 0,
            cut: None,
            cut_floor: 30,
            owed: vec![(Offset(30), Epoch(2))],
            epochs: vec![(Epoch(2), Offset(0)), (Epoch(6), Offset(31))],
            segments: vec![
                ManifestSegment {
                    id: 8,
                    base: 0,
                    sealed: Some(Sealed {
                        len: 99,
                        crc: 1,
                        end: 30,
                        compacted: true,
                        damaged: false,
                    }),
                },
                ManifestSegment { id: 4, base: 30, sealed: None },
            ],
        }
    }

    #[test]
    fn every_flipped_bit_of_a_manifest_is_seen() {
        let bytes = manifest().encode();
        assert_eq!(Manifest::decode(&bytes, PartitionId(2)), Ok(manifest()));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert!(Manifest::decode(&bad, PartitionId(2)).is_err(), "byte {at} bit {bit}");
            }
        }
        for cut in 0..bytes.len() {
            assert_eq!(
                Manifest::decode(&bytes[..cut], PartitionId(2)),
                Err(FormatError::Damaged),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn another_format_version_is_named_not_guessed_at() {
        let mut bytes = manifest().encode();
        bytes[8] = 9;
        assert_eq!(Manifest::decode(&bytes, PartitionId(2)), Err(FormatError::Version(9)));
        let mut header = encode_segment_header(PartitionId(1), SegmentId(2), Offset(3));
        header[8] = 9;
        let crc = crc32fast::hash(&header[..28]);
        header[28..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(
            check_segment_header(&header, PartitionId(1), SegmentId(2), Offset(3)),
            Err(FormatError::Version(9))
        );
    }

    #[test]
    fn a_manifest_of_another_partition_or_without_an_active_segment_is_damaged() {
        let bytes = manifest().encode();
        assert_eq!(Manifest::decode(&bytes, PartitionId(3)), Err(FormatError::Damaged));
        let mut headless = manifest();
        headless.segments.pop();
        assert_eq!(Manifest::decode(&headless.encode(), PartitionId(2)), Err(FormatError::Damaged));
    }

    #[test]
    fn a_torn_mark_leaves_the_one_before() {
        let mut file = vec![0; MARK_SLOT_STRIDE as usize + MARK_SLOT_BYTES];
        assert_eq!(decode_mark(&file), MarkSlot::default());
        assert_eq!(decode_mark(&[]), MarkSlot::default());
        let slot =
            |turn, end| MarkSlot { turn, durable_end: Offset(end), watermark: Offset(end - 1) };
        for (turn, end) in [(1, 10), (2, 20), (3, 30)] {
            let at = mark_slot_at(turn) as usize;
            file[at..at + MARK_SLOT_BYTES].copy_from_slice(&slot(turn, end).encode());
            assert_eq!(decode_mark(&file), slot(turn, end));
        }
        file[mark_slot_at(3) as usize + 13] ^= 1;
        assert_eq!(decode_mark(&file), slot(2, 20));
    }
}
