//! Reading the log from disk, for followers that are behind what is in memory.
//!
//! A reader walks over the segment that holds the offset asked for, a window at a time, and gathers
//! whole, verified records. What is missing in between (compaction leaves gaps, within segments and
//! where whole segments were) is told by the record of a gap, made here. A record of a gap that
//! stands in the log is passed over, and made anew where it is needed.
//!
//! Where a reading ends is remembered, so that the next one goes on there; the first one has to find
//! its place from the start of the segment.
//!
//! Compaction may take a segment away under a reader. What was read is right all the same; what was
//! not is looked for again, where the log has it now.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::segments::Segment;
use super::{Damage, Event, Purpose, ReadToken, Replica, done_data};
use crate::disk::{DiskError, DiskResult};
use crate::limits::LOG_READERS_MAX;
use crate::storage::format::{FormatError, SEGMENT_HEADER_BYTES};
use crate::storage::record::{self, Head, Kind};
use crate::storage::scan::{Scanned, Scanner, Step};
use crate::{Epoch, Millis, Offset, SegmentId};

/// A run of the log: dense from `base` to `end`, gaps told by records of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The offset of its first record.
    pub base: Offset,
    /// The offset behind its last record.
    pub end: Offset,
    /// The records as they stand in the log.
    pub records: Bytes,
}

/// Why a part of the log could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFault {
    /// What should be there is damaged.
    Damaged,
    /// The disk gave an error.
    Disk(DiskError),
    /// It was moved, is not there yet, or too much is being read: to be asked for again.
    Moved,
}

/// The readings under way, and where earlier ones ended.
#[derive(Debug, Default)]
pub(super) struct Readers {
    next: u64,
    list: Vec<Reader>,
    /// Oldest first.
    cursors: VecDeque<Cursor>,
}

/// Where a reading ended.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// The next offset to be told of.
    next: Offset,
    segment: SegmentId,
    /// Where the next record of the segment stands, and its offset, or one that is not above.
    position: u64,
    expected: Offset,
    /// Epoch and clock of the record before.
    before: Option<(Epoch, Millis)>,
}

#[derive(Debug)]
struct Reader {
    id: u64,
    token: ReadToken,
    base: Offset,
    bytes_max: usize,
    /// The next offset to be told of.
    next: Offset,
    records: Vec<u8>,
    /// Epoch and clock of the last record passed.
    before: Option<(Epoch, Millis)>,
    /// The segment as it was when the reader came to it.
    segment: Segment,
    /// The first offset behind what the reader may see of it.
    segment_end: Offset,
    scanner: Scanner,
}

/// Cursors kept: one for each reader, and some that are out of use.
const CURSORS_MAX: usize = 2 * LOG_READERS_MAX;

/// How a reading goes on.
enum Turn {
    /// Another record, or another segment.
    On,
    /// A read is under way.
    Wait,
    /// The chunk is full; the record at this byte, if one, is the first of the next.
    Full(u64, Offset),
    Fail(LogFault),
}

impl Replica {
    /// Reads the records from `from` on, about `bytes_max` bytes of them and at least one. The answer
    /// is an [`Event::Log`]. Only what was written is there.
    pub fn read_log(&mut self, token: ReadToken, from: Offset, bytes_max: usize) {
        let room = self.readers.list.len() < LOG_READERS_MAX;
        if !self.serving() || from >= self.written_end || !room {
            self.events.push_back(Event::Log(token, Err(LogFault::Moved)));
            return;
        }
        let (segment, scanner, before) = self.start_at(from);
        let id = self.readers.next;
        self.readers.next += 1;
        self.read_on_for(Reader {
            id,
            token,
            base: from,
            bytes_max,
            next: from,
            records: Vec::new(),
            before,
            segment,
            segment_end: self.end_of(&segment),
            scanner,
        });
    }

    pub(super) fn on_log_read(&mut self, id: u64, result: DiskResult) {
        let at = self.readers.list.iter().position(|reader| reader.id == id);
        let mut reader = self.readers.list.swap_remove(at.expect("who waits for a read is there"));
        match done_data(result) {
            Ok(data) => {
                reader.scanner.fill(&data);
                self.read_on_for(reader);
            }
            Err(DiskError::NotFound) => self.fail_reader(reader, LogFault::Moved),
            Err(error @ (DiskError::Io(_) | DiskError::Full)) => {
                self.fail_reader(reader, LogFault::Disk(error));
            }
        }
    }

    /// Nothing that was asked for is answered any more.
    pub(super) fn abandon_readers(&mut self) {
        for reader in core::mem::take(&mut self.readers).list {
            self.events.push_back(Event::Log(reader.token, Err(LogFault::Moved)));
        }
    }

    /// The log ends here: nothing is known of what is behind.
    pub(super) fn cut_cursors(&mut self, from: Offset) {
        self.readers.cursors.retain(|cursor| cursor.next <= from && cursor.expected <= from);
    }

    fn start_at(&mut self, from: Offset) -> (Segment, Scanner, Option<(Epoch, Millis)>) {
        let known = self.readers.cursors.iter().position(|cursor| cursor.next == from);
        if let Some(cursor) = known.and_then(|at| self.readers.cursors.remove(at))
            && let Some(&segment) = self.segments.get(cursor.segment)
        {
            let Cursor { position, expected, before, .. } = cursor;
            let epoch = before.map_or(Epoch(0), |(epoch, _)| epoch);
            let scanner = self.log_scanner(&segment).resume(position, expected, epoch);
            return (segment, scanner, before);
        }
        let segment = *self.segment_with(from).expect("it is before the end of what is written");
        let scanner = self.log_scanner(&segment);
        // What is known to be damaged, and is before, need not be read.
        let passed = |d: &&Damage| d.segment == segment.id && d.to <= from && d.position > 0;
        let known = self.damages.iter().chain(&self.forgone);
        match known.filter(passed).max_by_key(|damage| damage.until) {
            Some(damage) => (segment, scanner.resume(damage.until, damage.to, Epoch(0)), None),
            None => (segment, scanner, None),
        }
    }

    /// The segment that holds this offset, or the next record behind it.
    fn segment_with(&self, offset: Offset) -> Option<&Segment> {
        let list = self.segments.list();
        list.get(list.partition_point(|segment| self.end_of(segment) <= offset))
    }

    /// The first offset behind what is written of a segment.
    fn end_of(&self, segment: &Segment) -> Offset {
        segment.sealed.map_or(self.written_end, |sealed| Offset(sealed.end))
    }

    fn log_scanner(&self, segment: &Segment) -> Scanner {
        let len = match segment.sealed {
            Some(sealed) => sealed.len,
            None if self.rolls_to(segment.id) => SEGMENT_HEADER_BYTES as u64,
            None => {
                let unwritten = self.flying.as_ref().filter(|f| f.end > self.written_end);
                unwritten.map_or(self.active.len, |flying| flying.position)
            }
        };
        let end = segment.sealed.map_or(Offset(u64::MAX), |sealed| Offset(sealed.end));
        self.scanner(segment, len).bounded(Epoch(0), end)
    }

    fn read_on_for(&mut self, mut reader: Reader) {
        // Each turn consumes bytes of a window, or a segment, or ends.
        loop {
            match self.read_turn(&mut reader) {
                Turn::On => {}
                Turn::Wait => return self.readers.list.push(reader),
                Turn::Full(position, expected) => {
                    let (next, segment, before) = (reader.next, reader.segment.id, reader.before);
                    let cursor = Cursor { next, segment, position, expected, before };
                    self.readers.cursors.retain(|cursor| cursor.next != next);
                    if self.readers.cursors.len() == CURSORS_MAX {
                        self.readers.cursors.pop_front();
                    }
                    self.readers.cursors.push_back(cursor);
                    return self.finish_reader(reader);
                }
                Turn::Fail(fault) => return self.fail_reader(reader, fault),
            }
        }
    }

    fn read_turn(&mut self, reader: &mut Reader) -> Turn {
        match reader.scanner.step() {
            Step::Read(op) => {
                self.submit(Purpose::Log(reader.id), op);
                Turn::Wait
            }
            Step::Record(found) => self.take_for(reader, &found),
            Step::End => self.end_segment_for(reader),
            // The opening has read its records without it, and knows what of them is damaged.
            Step::BadHeader(FormatError::Damaged) if self.headless.contains(&reader.segment.id) => {
                reader.scanner.skip_header();
                Turn::On
            }
            Step::Bad { .. } | Step::BadHeader(_) => Turn::Fail(LogFault::Damaged),
        }
    }

    /// Adds a record to the chunk, with the gap before it, unless it is full.
    fn take_for(&self, reader: &mut Reader, found: &Scanned) -> Turn {
        let head = found.head;
        if found.next <= reader.next || head.kind == Kind::Gap {
            reader.before = Some((head.epoch, head.clock));
            return Turn::On;
        }
        if !found.value_sound {
            return Turn::Fail(LogFault::Damaged);
        }
        if !reader.records.is_empty() && reader.records.len() + found.bytes.len() > reader.bytes_max
        {
            return Turn::Full(found.position, head.offset);
        }
        if reader.next < head.offset {
            let epoch = reader.before.map_or_else(|| self.epoch_before(&head), |(epoch, _)| epoch);
            let clock = head.clock.min(self.clock_behind(reader));
            self.add_gap(reader, epoch, clock, head.offset);
        }
        reader.records.extend_from_slice(&found.bytes);
        reader.next = found.next;
        reader.before = Some((head.epoch, head.clock));
        Turn::On
    }

    /// What is missing before `end` gets a record.
    fn add_gap(&self, reader: &mut Reader, epoch: Epoch, clock: Millis, end: Offset) {
        let (kind, more, expire_at) = (Kind::Gap, false, None);
        let (partition, offset) = (self.id, reader.next);
        let head = Head { kind, more, partition, epoch, offset, clock, expire_at };
        record::encode_gap(&head, &self.floors.tell(end, &self.epochs), &mut reader.records);
        reader.next = end;
    }

    /// The clock behind what is missing where the reader is. It is committed, and what comes behind it
    /// may never be: where that is cut off, another record follows, with an earlier clock than its.
    fn clock_behind(&self, reader: &Reader) -> Millis {
        self.committed_clock.max(reader.before.map_or(0, |(_, clock)| clock))
    }

    /// The epoch of what was before a record.
    fn epoch_before(&self, head: &Head) -> Epoch {
        if head.kind != Kind::Epoch {
            return head.epoch;
        }
        let before = Epoch(head.epoch.0.saturating_sub(1));
        self.epochs.at_most(before, self.log_end).map_or(before, |(epoch, _)| epoch)
    }

    fn end_segment_for(&mut self, reader: &mut Reader) -> Turn {
        let (position, expected) = (reader.scanner.position(), reader.scanner.end());
        let compacted = reader.segment.sealed.is_some_and(|sealed| sealed.compacted);
        // What the file has lost at its end is no gap that compaction has left.
        let cut_short = reader.segment.sealed.is_some_and(|sealed| position < sealed.len);
        if cut_short || !compacted && expected < reader.segment_end {
            return Turn::Fail(LogFault::Damaged);
        }
        if !reader.records.is_empty() {
            return Turn::Full(position, expected);
        }
        let sealed = reader.segment.sealed.is_some();
        let next = self.segment_with(reader.segment_end).copied().filter(|_| sealed);
        if let Some(segment) = next {
            reader.scanner = self.log_scanner(&segment);
            reader.segment_end = self.end_of(&segment);
            reader.segment = segment;
            return Turn::On;
        }
        if reader.next >= reader.segment_end {
            return Turn::Fail(LogFault::Moved);
        }
        // What is missing at the end was compacted away, and so it is committed.
        let last = Offset(reader.segment_end.0 - 1);
        let epoch = reader.before.map(|(epoch, _)| epoch);
        let epoch = epoch.or_else(|| self.epochs.of_record(last)).unwrap_or(self.epoch);
        self.add_gap(reader, epoch, self.clock_behind(reader), reader.segment_end);
        Turn::Full(position, expected)
    }

    /// Gives what was read before the fault, if anything was: asking for more will meet it again.
    fn fail_reader(&mut self, reader: Reader, fault: LogFault) {
        match fault {
            LogFault::Damaged | LogFault::Disk(_) => self.events.push_back(Event::Damaged),
            LogFault::Moved => {}
        }
        if reader.records.is_empty() {
            self.events.push_back(Event::Log(reader.token, Err(fault)));
        } else {
            self.finish_reader(reader);
        }
    }

    fn finish_reader(&mut self, reader: Reader) {
        let Reader { token, base, next: end, records, .. } = reader;
        let chunk = Chunk { base, end, records: Bytes::from(records) };
        self.events.push_back(Event::Log(token, Ok(chunk)));
    }
}
