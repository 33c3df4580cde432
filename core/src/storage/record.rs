//! One record of the log: its bytes, its two checksums.
//!
//! The layout stands in the header of [`storage`](super). The head checksum covers everything but
//! the value, so that a damaged value still names its key and its length, and the records behind
//! it can be found; the value checksum is itself covered by the head's.

use alloc::vec::Vec;

use bytes::BufMut;

use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::{Epoch, Millis, Offset, PartitionId};

/// Length of a head without the optional expiry time, in bytes.
pub const HEAD_BYTES: usize = 40;
/// Length of the longest head.
pub const HEAD_BYTES_MAX: usize = HEAD_BYTES + 8;
/// Length of the longest record.
pub const RECORD_BYTES_MAX: usize = HEAD_BYTES_MAX + KEY_BYTES_MAX + VALUE_BYTES_MAX;

const FLAG_MORE: u8 = 1;
const FLAG_EXPIRES: u8 = 2;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The key has this value.
    Put,
    /// The key is deleted: a tombstone.
    Delete,
    /// A leader's reign begins.
    Epoch,
    /// Only the clock: expiry up to it is committed.
    Clock,
    /// All keys are deleted.
    Flush,
    /// What stood from here on up to an offset was compacted away before it came to this replica.
    Gap,
}

/// A record without its key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the record says.
    pub kind: Kind,
    /// The next record belongs to the same atomic batch.
    pub more: bool,
    /// Whose log it is.
    pub partition: PartitionId,
    /// The reign it was written in.
    pub epoch: Epoch,
    /// Its position in the log.
    pub offset: Offset,
    /// The leader's clock when it was written.
    pub clock: Millis,
    /// When the key expires.
    pub expire_at: Option<Millis>,
}

/// A record as found in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// All but key and value.
    pub head: Head,
    /// The key; empty for kinds without one.
    pub key: &'a [u8],
    /// The value; empty for kinds without one.
    pub value: &'a [u8],
    /// Whether the value matches its checksum.
    pub value_sound: bool,
}

/// What stands at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A record whose head is sound, and its length in bytes.
    Record(Record<'a>, usize),
    /// Perhaps a record; it can be told once so many bytes are there.
    Need(usize),
    /// No record: the head's checksum fails, or it says what no head of ours says.
    Bad,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Put => 1,
            Self::Delete => 2,
            Self::Epoch => 3,
            Self::Clock => 4,
            Self::Flush => 5,
            Self::Gap => 6,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Put,
            2 => Self::Delete,
            3 => Self::Epoch,
            4 => Self::Clock,
            5 => Self::Flush,
            6 => Self::Gap,
            _ => return None,
        })
    }
}

impl Head {
    /// Length in bytes of the record with this head and a key and value of these lengths.
    pub fn record_len(&self, key_len: usize, value_len: usize) -> usize {
        head_len(self.expire_at.is_some()) + key_len + value_len
    }
}

/// Length of the value in a record of `record_len` bytes.
pub fn value_len(record_len: usize, key_len: usize, expires: bool) -> usize {
    record_len - key_len - head_len(expires)
}

fn head_len(expires: bool) -> usize {
    if expires { HEAD_BYTES_MAX } else { HEAD_BYTES }
}

/// Appends a record to `out` and returns its length in bytes.
pub fn encode(head: &Head, key: &[u8], value: &[u8], out: &mut impl BufMut) -> usize {
    assert!(key.len() <= KEY_BYTES_MAX && value.len() <= VALUE_BYTES_MAX);
    let mut bytes = [0u8; HEAD_BYTES_MAX];
    let len = head_len(head.expire_at.is_some());
    let mut flags = if head.more { FLAG_MORE } else { 0 };
    bytes[4..8].copy_from_slice(&crc32fast::hash(value).to_le_bytes());
    bytes[8..12].copy_from_slice(&(value.len() as u32).to_le_bytes());
    bytes[12..14].copy_from_slice(&(key.len() as u16).to_le_bytes());
    bytes[14] = head.kind.code();
    bytes[16..20].copy_from_slice(&head.partition.0.to_le_bytes());
    bytes[20..24].copy_from_slice(&head.epoch.0.to_le_bytes());
    bytes[24..32].copy_from_slice(&head.offset.0.to_le_bytes());
    bytes[32..40].copy_from_slice(&head.clock.to_le_bytes());
    if let Some(at) = head.expire_at {
        flags |= FLAG_EXPIRES;
        bytes[40..48].copy_from_slice(&at.to_le_bytes());
    }
    bytes[15] = flags;
    let crc = head_crc(&bytes[4..len], key);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    out.put_slice(&bytes[..len]);
    out.put_slice(key);
    out.put_slice(value);
    len + key.len() + value.len()
}

/// Reads the record at the start of `buf`. Never looks further than the record's own bytes, and
/// trusts no length before its checksum has been verified: the most it asks for on the word of an
/// unverified head is the longest head and key.
pub fn parse(buf: &[u8]) -> Parsed<'_> {
    let Some(fixed) = buf.first_chunk::<HEAD_BYTES>() else { return Parsed::Need(HEAD_BYTES) };
    let (Some(kind), flags) = (Kind::from_code(fixed[14]), fixed[15]) else { return Parsed::Bad };
    if flags & !(FLAG_MORE | FLAG_EXPIRES) != 0 {
        return Parsed::Bad;
    }
    let key_len = usize::from(u16_at(fixed, 12));
    let value_len = u32_at(fixed, 8) as usize;
    if value_len > VALUE_BYTES_MAX {
        return Parsed::Bad;
    }
    let expires = flags & FLAG_EXPIRES != 0;
    let value_at = head_len(expires) + key_len;
    let Some(covered) = buf.get(4..value_at) else { return Parsed::Need(value_at) };
    if crc32fast::hash(covered) != u32_at(fixed, 0) {
        return Parsed::Bad;
    }
    let len = value_at + value_len;
    let Some(value) = buf.get(value_at..len) else { return Parsed::Need(len) };
    let head = Head {
        kind,
        more: flags & FLAG_MORE != 0,
        partition: PartitionId(u32_at(fixed, 16)),
        epoch: Epoch(u32_at(fixed, 20)),
        offset: Offset(u64_at(fixed, 24)),
        clock: u64_at(fixed, 32),
        expire_at: expires.then(|| u64_at(buf, HEAD_BYTES)),
    };
    let record = Record {
        head,
        key: &buf[value_at - key_len..value_at],
        value,
        value_sound: crc32fast::hash(value) == u32_at(fixed, 4),
    };
    Parsed::Record(record, len)
}

impl Record<'_> {
    /// The offset behind it; `None` if it is a gap that does not say where it ends.
    pub fn next(&self) -> Option<Offset> {
        match self.head.kind {
            Kind::Gap => self.gap().map(|gap| gap.end),
            Kind::Put | Kind::Delete | Kind::Epoch | Kind::Clock | Kind::Flush => {
                Some(self.head.offset.plus(1))
            }
        }
    }

    /// What the record of a gap says.
    pub fn gap(&self) -> Option<Gap> {
        let gap = Gap::decode(self.value).filter(|_| self.value_sound)?;
        (self.head.kind == Kind::Gap && self.head.offset < gap.end).then_some(gap)
    }
}

/// What stands in place of records that compaction has taken out of the log that was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first offset behind it.
    pub end: Offset,
    /// Records up to here may have superseded what is missing.
    pub floor: Offset,
    /// The epoch of the last of them: a log that has it there has them all.
    pub epoch: Epoch,
}

impl Gap {
    /// The value of a gap's record: end u64 · floor u64 · epoch u32.
    pub fn decode(value: &[u8]) -> Option<Self> {
        (value.len() == GAP_BYTES).then(|| Self {
            end: Offset(u64_at(value, 0)),
            floor: Offset(u64_at(value, 8)),
            epoch: Epoch(u32_at(value, 16)),
        })
    }
}

/// Length of a gap's value.
const GAP_BYTES: usize = 20;

/// Appends the record of a gap to `out`: `head` is that of its first offset.
pub fn encode_gap(head: &Head, gap: &Gap, out: &mut impl BufMut) -> usize {
    let is_gap = head.kind == Kind::Gap && head.offset < gap.end;
    assert!(is_gap && !head.more && head.expire_at.is_none());
    let mut value = [0; GAP_BYTES];
    value[..8].copy_from_slice(&gap.end.0.to_le_bytes());
    value[8..16].copy_from_slice(&gap.floor.0.to_le_bytes());
    value[16..].copy_from_slice(&gap.epoch.0.to_le_bytes());
    encode(head, &[], &value, out)
}

/// The offset and the length of the record at the start of `bytes`, which this replica has made or
/// verified itself: no checksum is looked at.
pub(super) fn glance(bytes: &[u8]) -> (Offset, usize) {
    let value_at = head_len(bytes[15] & FLAG_EXPIRES != 0) + usize::from(u16_at(bytes, 12));
    (Offset(u64_at(bytes, 24)), value_at + u32_at(bytes, 8) as usize)
}

/// Copies a record found by [`parse`] to `out` as a batch of its own: compaction may drop its
/// neighbours. The value's checksum is carried over, not made anew, so that a value damaged on its
/// way is found.
pub fn copy_alone(record: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(record);
    let bytes = &mut out[start..];
    if bytes[15] & FLAG_MORE == 0 {
        return;
    }
    bytes[15] &= !FLAG_MORE;
    let value_at = head_len(bytes[15] & FLAG_EXPIRES != 0) + usize::from(u16_at(bytes, 12));
    let crc = crc32fast::hash(&bytes[4..value_at]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
}

fn head_crc(head: &[u8], key: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(key);
    hasher.finalize()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;
    use proptest::prelude::*;

    fn sample() -> (Head, Vec<u8>) {
        let head = Head {
            kind: Kind::Put,
            more: true,
            partition: PartitionId(3),
            epoch: Epoch(7),
            offset: Offset(0x0102_0304),
            clock: 0x0a0b_0c0d,
            expire_at: Some(0x1122_3344_5566),
        };
        let mut bytes = Vec::new();
        let len = encode(&head, b"key", b"value", &mut bytes);
        assert_eq!(len, bytes.len());
        assert_eq!(len, head.record_len(3, 5));
        (head, bytes)
    }

    #[test]
    fn the_bytes_of_a_record_are_pinned() {
        let (_, bytes) = sample();
        let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex.join(""),
            concat!(
                "024d9ec9",         // head checksum
                "3458771d",         // value checksum
                "05000000",         // value length
                "0300",             // key length
                "01",               // kind: put
                "03",               // flags: more, expires
                "03000000",         // partition
                "07000000",         // epoch
                "0403020100000000", // offset
                "0d0c0b0a00000000", // clock
                "6655443322110000", // expires at
                "6b6579",           // key
                "76616c7565"        // value
            )
        );
    }

    #[test]
    fn the_bytes_of_a_gap_are_pinned() {
        let (head, _) = sample();
        let head = Head { kind: Kind::Gap, more: false, expire_at: None, ..head };
        let mut bytes = Vec::new();
        let (end, floor, epoch) = (Offset(0x0506_0708), Offset(0x090a_0b0c), Epoch(0x0d0e));
        encode_gap(&head, &Gap { end, floor, epoch }, &mut bytes);
        let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex.join(""),
            concat!(
                "c23995f2",         // head checksum
                "4a9e4f57",         // value checksum
                "14000000",         // value length
                "0000",             // key length
                "06",               // kind: gap
                "00",               // flags
                "03000000",         // partition
                "07000000",         // epoch
                "0403020100000000", // offset
                "0d0c0b0a00000000", // clock
                "0807060500000000", // the first offset behind the gap
                "0c0b0a0900000000", // records up to here may have superseded what is missing
                "0e0d0000"          // the epoch of the last record up to there
            )
        );
        let Parsed::Record(found, _) = parse(&bytes) else { panic!("it is a record") };
        assert_eq!(found.next(), Some(Offset(0x0506_0708)));
        assert_eq!(glance(&bytes), (head.offset, bytes.len()));
    }

    #[test]
    fn a_flipped_bit_is_seen_and_a_flipped_value_bit_leaves_the_key_known() {
        let (head, bytes) = sample();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                match parse(&bad) {
                    Parsed::Record(found, _) => {
                        assert!(at >= bytes.len() - 5, "byte {at} is covered by the head");
                        assert_eq!((found.head, found.key), (head, &b"key"[..]));
                        assert!(!found.value_sound);
                    }
                    Parsed::Need(_) | Parsed::Bad => assert!(at < bytes.len() - 5),
                }
            }
        }
    }

    #[test]
    fn a_copy_stands_alone_and_keeps_the_value_checksum() {
        let (head, mut bytes) = sample();
        *bytes.last_mut().unwrap() ^= 1;
        let mut copy = Vec::new();
        copy_alone(&bytes, &mut copy);
        let Parsed::Record(found, _) = parse(&copy) else { panic!("the copy's head is sound") };
        assert_eq!(found.head, Head { more: false, ..head });
        assert!(!found.value_sound, "damage before the copy is still seen after it");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_parsed(
            code in 1u8..=6, more: bool, partition: u32, epoch: u32, offset: u64, clock: u64,
            expire_at: Option<u64>, key: Vec<u8>, value: Vec<u8>,
        ) {
            let head = Head {
                kind: Kind::from_code(code).unwrap(),
                more,
                partition: PartitionId(partition),
                epoch: Epoch(epoch),
                offset: Offset(offset),
                clock,
                expire_at,
            };
            let mut bytes = Vec::new();
            let len = encode(&head, &key, &value, &mut bytes);
            let record = Record { head, key: &key, value: &value, value_sound: true };
            prop_assert_eq!(parse(&bytes), Parsed::Record(record, len));
            for cut in 0..bytes.len() {
                prop_assert!(matches!(parse(&bytes[..cut]), Parsed::Need(n) if n > cut));
            }
        }
    }
}
