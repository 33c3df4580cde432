//! Reads a segment from front to back, a window at a time, and tells sound records from bad bytes.
//!
//! The owner asks [`Scanner::step`] what to do: read more of the file and [`Scanner::fill`] it in,
//! or take a record. At a bad record the owner either stops (a torn tail) or asks for a
//! [`Scanner::resync`]: the scanner then looks at every later byte for the next sound head.

use alloc::vec::Vec;

use bytes::{Buf, Bytes, BytesMut};

use super::format::{FormatError, SEGMENT_HEADER_BYTES, check_segment_header};
use super::record::{self, HEAD_BYTES, HEAD_BYTES_MAX, Head, Parsed, Record};
use crate::disk::{DiskOp, File};
use crate::limits::KEY_BYTES_MAX;
use crate::{Epoch, Offset, PartitionId, SegmentId};

/// The offset that no record of an unsealed segment can reach: as many as fit into its file fit
/// behind what is known of it.
pub fn end_max(base: Offset, mark: Offset, len: u64) -> Offset {
    base.max(mark).plus(len / HEAD_BYTES as u64 + 1)
}

/// Bytes read at a time, where there is no reason for fewer.
pub const WINDOW_BYTES: u32 = 256 << 10;

/// Bytes given up at a time where a read fails, and how often each is read before.
const PAGE_BYTES: u64 = 4 << 10;
const PAGE_TRIES: u32 = 3;

/// Walks over one segment's file.
#[derive(Debug)]
pub struct Scanner {
    partition: PartitionId,
    id: SegmentId,
    base: Offset,
    /// Length of the file in bytes.
    len: u64,
    /// Where in the file the window starts; everything before it is done with.
    at: u64,
    window: BytesMut,
    /// Bytes to read at a time.
    window_bytes: u32,
    /// Bytes the next step needs in the window.
    need: usize,
    expected: Offset,
    epoch: Epoch,
    /// Offsets have no gaps: the segment was not compacted.
    dense: bool,
    /// No record can have this offset or a later one.
    end_max: Offset,
    /// The read asked for: where and how many bytes; and how often it has failed.
    asked: (u64, u32),
    failed: u32,
    /// Up to here the file is read page by page, since a larger read has failed.
    careful_to: u64,
    /// From where to where the file could not be read. The window holds zeros there.
    unreadable: Vec<(u64, u64)>,
    /// Bytes passed over since the last record.
    skipped: u64,
    header_done: bool,
    crc: crc32fast::Hasher,
}

/// What a [`Scanner`] has to say next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Read this and [`Scanner::fill`] it in.
    Read(DiskOp),
    /// The next record.
    Record(Scanned),
    /// The segment's header is not that of this segment.
    BadHeader(FormatError),
    /// Bytes at this position that are no record of this segment (or the file ends inside one).
    /// The scanner stays there.
    Bad {
        /// Where, in bytes.
        position: u64,
    },
    /// The end of the file, between two records.
    End,
}

/// A record with a sound head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// All but key and value.
    pub head: Head,
    /// Where it starts, in bytes.
    pub position: u64,
    /// All its bytes.
    pub bytes: Bytes,
    /// Where the key starts in `bytes`, and how long it is.
    pub key: (usize, usize),
    /// Whether the value matches its checksum.
    pub value_sound: bool,
    /// The offset behind it.
    pub next: Offset,
}

impl Scanned {
    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.bytes[self.key.0..self.key.0 + self.key.1]
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.bytes[self.key.0 + self.key.1..]
    }
}

impl Scanner {
    /// A scanner at the start of a segment whose file has `len` bytes.
    pub fn new(partition: PartitionId, id: SegmentId, base: Offset, len: u64, dense: bool) -> Self {
        Self {
            partition,
            id,
            base,
            len,
            at: 0,
            window: BytesMut::new(),
            window_bytes: WINDOW_BYTES,
            need: SEGMENT_HEADER_BYTES,
            expected: base,
            epoch: Epoch(0),
            dense,
            end_max: Offset(u64::MAX),
            asked: (0, 0),
            failed: 0,
            careful_to: 0,
            unreadable: Vec::new(),
            skipped: 0,
            header_done: false,
            crc: crc32fast::Hasher::new(),
        }
    }

    /// The same, reading so many bytes at a time.
    pub fn by_windows(self, window_bytes: u32) -> Self {
        Self { window_bytes, ..self }
    }

    /// The same, knowing what can be in the segment: no epoch before `epoch`, no offset from
    /// `end_max` on. Behind damage the scanner looks into the bytes of values, where a client may
    /// have put what looks like a record: one that the log can not hold there is not taken.
    pub fn bounded(self, epoch: Epoch, end_max: Offset) -> Self {
        Self { epoch, end_max, ..self }
    }

    /// A scanner that stands at a byte behind the header, where it was told that the record with
    /// offset `expected` (or, in a compacted segment, the first one behind) starts.
    pub fn resume(self, position: u64, expected: Offset, epoch: Epoch) -> Self {
        Self { at: position, need: 0, header_done: true, expected, epoch, ..self }
    }

    /// The file it reads.
    pub fn file(&self) -> File {
        File::Segment(self.partition, self.base, self.id)
    }

    /// Where the next record starts, in bytes.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The offset after the last record.
    pub fn end(&self) -> Offset {
        self.expected
    }

    /// CRC-32 of the records walked over.
    pub fn crc(&self) -> crc32fast::Hasher {
        self.crc.clone()
    }

    /// Takes the answer to [`Step::Read`]. Short data means that the file has shrunk below the
    /// length it was said to have: what is missing counts as bad.
    pub fn fill(&mut self, data: &[u8]) {
        self.failed = 0;
        self.window.extend_from_slice(data);
        if data.len() < self.asked.1 as usize && self.window.len() < self.need {
            self.len = self.at + self.window.len() as u64;
        }
    }

    /// The answer to [`Step::Read`] is an error, and the owner would rather lose some bytes than
    /// give up. What is to be read is narrowed down to pages; a page that fails again and again is
    /// taken for zeros.
    pub fn fail_read(&mut self) {
        let (at, len) = self.asked;
        let end = at + u64::from(len);
        self.failed += 1;
        if u64::from(len) > PAGE_BYTES {
            self.careful_to = end;
            self.failed = 0;
        } else if self.failed == PAGE_TRIES {
            self.failed = 0;
            self.window.resize(self.window.len() + len as usize, 0);
            match self.unreadable.last_mut() {
                Some((_, to)) if *to == at => *to = end,
                Some(_) | None => self.unreadable.push((at, end)),
            }
        }
    }

    /// From where to where the file could not be read, in order.
    pub fn unreadable(&self) -> &[(u64, u64)] {
        &self.unreadable
    }

    /// Whether what stands between these bytes, up to where the scanner was last, lies where two reads
    /// meet: what a read gave from another place does not end where a record ends. What is longer than
    /// a read tells nothing.
    pub fn in_pieces(&self, from: u64, to: u64) -> bool {
        let is_short = to - from <= u64::from(self.window_bytes);
        is_short && self.unreadable.is_empty() && from <= self.asked.0 && self.asked.0 < to
    }

    /// Whether what stands here may be a record that reaches into bytes that could not be read.
    pub fn hidden(&self) -> bool {
        let Some(&(from, _)) = self.unreadable.iter().find(|&&(_, to)| to > self.at) else {
            return false;
        };
        let known = self.window.len().min(from.saturating_sub(self.at) as usize);
        matches!(record::parse(&self.window[..known]), Parsed::Need(_))
    }

    /// What comes next.
    pub fn step(&mut self) -> Step {
        if !self.header_done {
            if let Some(read) = self.want(SEGMENT_HEADER_BYTES) {
                return read;
            }
            let header = check_segment_header(&self.window, self.partition, self.id, self.base);
            if let Err(error) = header {
                return Step::BadHeader(error);
            }
            self.skip_header();
        }
        if self.at == self.len {
            return Step::End;
        }
        match record::parse(&self.window) {
            Parsed::Need(need) => self.want(need).unwrap_or(Step::Bad { position: self.at }),
            Parsed::Bad => Step::Bad { position: self.at },
            Parsed::Record(found, _) if !self.follows(&found) => Step::Bad { position: self.at },
            Parsed::Record(found, len) => {
                let head = found.head;
                let key_at = len - found.value.len() - found.key.len();
                let (key, value_sound) = ((key_at, found.key.len()), found.value_sound);
                let next = found.next().unwrap_or_else(|| {
                    // Where a damaged gap ends shows by what stands behind it.
                    self.dense = false;
                    head.offset.plus(1)
                });
                let bytes = self.window.split_to(len).freeze();
                self.crc.update(&bytes);
                let position = self.at;
                self.at += len as u64;
                // A gap takes no more room than another record, and many more offsets.
                self.end_max.0 = self.end_max.0.saturating_add(next.0 - head.offset.0 - 1);
                self.expected = next;
                self.epoch = head.epoch;
                self.skipped = 0;
                Step::Record(Scanned { head, position, bytes, key, value_sound, next })
            }
        }
    }

    /// Takes the header for granted although it is damaged, and goes on behind it.
    pub fn skip_header(&mut self) {
        assert!(!self.header_done);
        let len = self.window.len().min(SEGMENT_HEADER_BYTES);
        self.window.advance(len);
        self.at += len as u64;
        self.header_done = true;
    }

    /// After [`Step::Bad`]: looks on from the next byte for a sound record. Answers
    /// [`Step::Read`] (fill and call again), [`Step::End`] if there is none, or
    /// [`Step::Bad`] with the position of the record, which [`step`](Self::step) then gives.
    /// Gaps are expected from here on.
    pub fn resync(&mut self, first: bool) -> Step {
        if first && !self.window.is_empty() {
            self.skip_byte();
        }
        self.dense = false;
        loop {
            if self.at >= self.len {
                self.at = self.len;
                return Step::End;
            }
            match record::parse(&self.window) {
                Parsed::Record(found, _) if self.follows(&found) => {
                    return Step::Bad { position: self.at };
                }
                // What a head that is not verified yet asks for is bounded by the longest key, and
                // a verified one by the longest value.
                Parsed::Need(need) => {
                    if let Some(read) = self.want(need) {
                        return read;
                    }
                }
                Parsed::Record(..) | Parsed::Bad => {}
            }
            if self.window.is_empty() {
                self.at = self.len;
                return Step::End;
            }
            self.skip_byte();
        }
    }

    fn skip_byte(&mut self) {
        self.window.advance(1);
        self.at += 1;
        self.skipped += 1;
    }

    /// Whether a sound record may stand here: it is this log's and comes after the last.
    fn follows(&self, found: &Record<'_>) -> bool {
        let head = &found.head;
        // A reign begins with a record of its own, so what was passed over bounds their number.
        let reigns = 1 + self.skipped / HEAD_BYTES as u64;
        let later = head.epoch.0.checked_sub(self.epoch.0);
        head.partition == self.partition
            && later.is_some_and(|later| self.skipped == 0 || u64::from(later) <= reigns)
            && head.offset < self.end_max
            // A gap among bytes of a value could make everything behind it look old.
            && (self.skipped == 0 || found.next().is_none_or(|next| next <= self.end_max))
            && if self.dense { head.offset == self.expected } else { head.offset >= self.expected }
    }

    /// A read that makes the window hold `need` bytes; `None` if it does, or if the file ends
    /// before.
    fn want(&mut self, need: usize) -> Option<Step> {
        let held = self.window.len();
        let left = self.len - self.at - held as u64;
        if held >= need || left == 0 || (held as u64 + left) < need as u64 {
            return None;
        }
        self.need = need;
        let at = self.at + held as u64;
        let mut len = left.min((need - held).max(self.window_bytes as usize) as u64);
        if at < self.careful_to {
            len = len.min(PAGE_BYTES - at % PAGE_BYTES);
        }
        self.asked = (at, len as u32);
        Some(Step::Read(DiskOp::Read { file: self.file(), at, len: len as u32 }))
    }
}

// The most an unverified head can make a scanner read at once.
const _: () = assert!(HEAD_BYTES_MAX + KEY_BYTES_MAX < WINDOW_BYTES as usize);
