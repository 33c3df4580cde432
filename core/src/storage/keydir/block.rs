//! The bytes of one block of the arena: an entry, a free block or a dead one. The table is in the
//! header of [`keydir`](super).

use super::arena::Address;
use super::{Entry, Place, SEGMENT_ID_MAX};
use crate::SegmentId;

/// Blocks are counted in units of four bytes, so that a four-byte address reaches 16 GiB.
pub(super) const UNIT_BYTES: usize = 4;

/// The smallest block: an entry with an empty key takes 15 bytes.
pub(super) const BLOCK_UNITS_MIN: u32 = 4;

const LENGTH_EXTRA: u8 = 0b0000_0011;
const KEY_WIDE: u8 = 0b0000_0100;
const EXPIRY: u8 = 0b0001_1000;
const EXPIRY_SIX: u8 = 0b0000_1000;
const EXPIRY_EIGHT: u8 = 0b0001_0000;
const NO_ENTRY: u8 = 0b1000_0000;
const FREE: u8 = NO_ENTRY;
const DEAD: u8 = NO_ENTRY | 1;

const SEGMENT_AT: usize = 1;
const NEXT_AT: usize = 4;
const POSITION_AT: usize = 8;
const PREVIOUS_AT: usize = 8;
const KEY_LENGTH_AT: usize = 12;

/// What a block holds, as a walk over a chunk meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// A key with its entry.
    Entry,
    /// On a free list.
    Free,
    /// On no free list: too small for an entry, or in a chunk that is being emptied.
    Dead,
}

/// What the block at the start of `bytes` holds and how many units it takes.
pub(super) fn measure(bytes: &[u8]) -> (Block, u32) {
    match bytes[0] {
        FREE => (Block::Free, u24(bytes, SEGMENT_AT)),
        DEAD => (Block::Dead, u24(bytes, SEGMENT_AT)),
        flags => {
            assert!(flags & NO_ENTRY == 0, "a block of the arena has a known kind");
            let shape = Shape::of(bytes);
            (Block::Entry, units_of(shape.key_at + shape.key_length))
        }
    }
}

/// Units that an entry for a key of `key_length` bytes takes.
pub(super) fn entry_units(key_length: usize, entry: &Entry) -> u32 {
    units_of(key_at(flags_for(key_length, entry)) + key_length)
}

/// Writes an entry over the block at the start of `bytes`. The link to the next entry is kept.
pub(super) fn write_entry(bytes: &mut [u8], key: &[u8], entry: &Entry) {
    let Place { segment, position, length } = entry.place;
    let flags = flags_for(key.len(), entry);
    bytes[0] = flags;
    set_place(bytes, segment, position);
    bytes[KEY_LENGTH_AT..][..2].copy_from_slice(&(key.len() as u16).to_le_bytes());
    let length_at = length_at(flags);
    let length_width = length_width(flags);
    bytes[length_at..][..length_width].copy_from_slice(&length.to_le_bytes()[..length_width]);
    let key_at = key_at(flags);
    if let Some(at) = entry.expire_at {
        bytes[length_at + length_width..key_at]
            .copy_from_slice(&at.to_le_bytes()[..expiry_width(flags)]);
    }
    bytes[key_at..][..key.len()].copy_from_slice(key);
}

/// Points the entry at the start of `bytes` at another place of the same length.
pub(super) fn set_place(bytes: &mut [u8], segment: SegmentId, position: u32) {
    assert!(segment <= SEGMENT_ID_MAX, "{segment} does not fit the keydir: three bytes hold it");
    bytes[SEGMENT_AT..][..3].copy_from_slice(&segment.0.to_le_bytes()[..3]);
    bytes[POSITION_AT..][..4].copy_from_slice(&position.to_le_bytes());
}

/// Reads the entry at the start of `bytes`.
pub(super) fn read_entry(bytes: &[u8]) -> Entry {
    let flags = bytes[0];
    let length_at = length_at(flags);
    let length_width = length_width(flags);
    let length = match length_width {
        2 => u32::from(u16_at(bytes, length_at)),
        3 => u24(bytes, length_at),
        _ => u32_at(bytes, length_at),
    };
    let expiry_at = length_at + length_width;
    let expire_at = match expiry_width(flags) {
        0 => None,
        6 => Some(
            u64::from(u32_at(bytes, expiry_at)) | u64::from(u16_at(bytes, expiry_at + 4)) << 32,
        ),
        _ => Some(
            u64::from(u32_at(bytes, expiry_at)) | u64::from(u32_at(bytes, expiry_at + 4)) << 32,
        ),
    };
    let segment = SegmentId(u24(bytes, SEGMENT_AT));
    Entry { place: Place { segment, position: u32_at(bytes, POSITION_AT), length }, expire_at }
}

/// The key of the entry at the start of `bytes`.
pub(super) fn key(bytes: &[u8]) -> &[u8] {
    let shape = Shape::of(bytes);
    &bytes[shape.key_at..][..shape.key_length]
}

/// Whether the entry at the start of `bytes` is for `key`: lengths first, then bytes.
#[inline]
pub(super) fn is_for(bytes: &[u8], key: &[u8]) -> bool {
    let shape = Shape::of(bytes);
    shape.key_length == key.len() && bytes[shape.key_at..][..key.len()] == *key
}

/// The entry after this one in its bucket, or the block after this one on its free list.
#[inline]
pub(super) fn next(bytes: &[u8]) -> Option<Address> {
    Address::from_raw(u32_at(bytes, NEXT_AT))
}

/// Sets what [`next`] reads.
pub(super) fn set_next(bytes: &mut [u8], next: Option<Address>) {
    bytes[NEXT_AT..][..4].copy_from_slice(&Address::to_raw(next).to_le_bytes());
}

/// The block before this one on its free list.
pub(super) fn previous(bytes: &[u8]) -> Option<Address> {
    Address::from_raw(u32_at(bytes, PREVIOUS_AT))
}

/// Sets what [`previous`] reads.
pub(super) fn set_previous(bytes: &mut [u8], previous: Option<Address>) {
    bytes[PREVIOUS_AT..][..4].copy_from_slice(&Address::to_raw(previous).to_le_bytes());
}

/// Makes the block at the start of `bytes` a free one of `units`; its links are still to be set.
pub(super) fn write_free(bytes: &mut [u8], units: u32) {
    write_hole(bytes, FREE, units);
}

/// Makes the block at the start of `bytes` a dead one of `units`.
pub(super) fn write_dead(bytes: &mut [u8], units: u32) {
    write_hole(bytes, DEAD, units);
}

fn write_hole(bytes: &mut [u8], kind: u8, units: u32) {
    bytes[0] = kind;
    bytes[SEGMENT_AT..][..3].copy_from_slice(&units.to_le_bytes()[..3]);
}

/// Where the key of an entry is.
struct Shape {
    key_at: usize,
    key_length: usize,
}

impl Shape {
    #[inline]
    fn of(bytes: &[u8]) -> Self {
        let head: &[u8; 16] = bytes.first_chunk().expect("no entry is shorter than 16 bytes");
        let key_length = if head[0] & KEY_WIDE == 0 {
            usize::from(head[KEY_LENGTH_AT])
        } else {
            usize::from(u16_at(head, KEY_LENGTH_AT))
        };
        Self { key_at: key_at(head[0]), key_length }
    }
}

fn flags_for(key_length: usize, entry: &Entry) -> u8 {
    assert!(key_length <= usize::from(u16::MAX), "two bytes hold the length of a key");
    let length = match entry.place.length {
        0..=0xFFFF => 0,
        0x1_0000..=0xFF_FFFF => 1,
        0x100_0000.. => 2,
    };
    let key = if key_length > usize::from(u8::MAX) { KEY_WIDE } else { 0 };
    let expiry = match entry.expire_at {
        None => 0,
        Some(at) if at >> 48 == 0 => EXPIRY_SIX,
        Some(_) => EXPIRY_EIGHT,
    };
    length | key | expiry
}

fn length_at(flags: u8) -> usize {
    KEY_LENGTH_AT + 1 + usize::from(flags & KEY_WIDE != 0)
}

fn length_width(flags: u8) -> usize {
    2 + usize::from(flags & LENGTH_EXTRA)
}

fn expiry_width(flags: u8) -> usize {
    match flags & EXPIRY {
        0 => 0,
        EXPIRY_SIX => 6,
        _ => 8,
    }
}

fn key_at(flags: u8) -> usize {
    length_at(flags) + length_width(flags) + expiry_width(flags)
}

fn units_of(bytes: usize) -> u32 {
    bytes.div_ceil(UNIT_BYTES) as u32
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(*bytes[at..].first_chunk().expect("the block holds the field"))
}

fn u24(bytes: &[u8], at: usize) -> u32 {
    let low = *bytes[at..].first_chunk::<3>().expect("the block holds the field");
    u32::from_le_bytes([low[0], low[1], low[2], 0])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the block holds the field"))
}
