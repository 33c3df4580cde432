//! Loading a segment by its hint: the footer first, then block after block, each verified before
//! its first key is used. A few reads are under way at a time, so that a disk that takes its time
//! reads on while a block is loaded.
//!
//! At a bad block the segment is scanned from its start: that says again what the blocks before it
//! said, and in the same order, so that it does no harm that they were loaded. Where the scan meets
//! damage, they may know of records in the midst of it. Their keys are suspect with all older ones:
//! what came after them was lost too, and the bytes may be readable again by the time they are read.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;

use bytes::Bytes;

use super::{Next, Opening, Stage, name};
use crate::disk::{DiskOp, DiskResult};
use crate::marks::Mark;
use crate::shard::Severity;
use crate::storage::hint::{Block, Footer, Hinted, Summary};
use crate::storage::keydir::WARM_KEYS;
use crate::storage::replica::{Purpose, Replica, State, done_data};
use crate::{Instant, Offset, SegmentId};

/// Blocks that are being read or wait for their turn, at most.
const BLOCKS_AHEAD: usize = 4;

/// A hint that is being loaded.
#[derive(Debug)]
pub(in crate::storage::replica) struct HintLoad {
    /// The segment in the table.
    at: usize,
    /// Length of the hint's file.
    len: u64,
    footer: Option<Footer>,
    /// Blocks that were asked for, and loaded.
    asked: usize,
    loaded: usize,
    /// Blocks that came before their turn; an empty one could not be read.
    early: BTreeMap<usize, Bytes>,
}

/// What is read of a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage::replica) enum HintPart {
    /// Its footer.
    Footer,
    /// The block of this number.
    Block(usize),
}

impl Replica {
    /// Loads the segment at `at` of the table by its hint of `len` bytes.
    pub(super) fn load_hint(&mut self, opening: &mut Opening, at: usize, len: u64) -> Next {
        let early = BTreeMap::new();
        let load = Box::new(HintLoad { at, len, footer: None, asked: 0, loaded: 0, early });
        let Some(span) = Footer::span(len) else { return self.scan_instead(opening, &load) };
        self.read_hint(at, HintPart::Footer, span);
        Next::Stage(Stage::Hint(load))
    }

    pub(in crate::storage::replica) fn on_hint_read(
        &mut self,
        now: Instant,
        segment: SegmentId,
        part: HintPart,
        result: DiskResult,
    ) {
        // A part of a hint that was found to be bad meanwhile is of no interest.
        if !matches!(self.state, State::Opening(_)) {
            return;
        }
        self.open_on(now, |replica, opening, stage| {
            let Stage::Hint(load) = stage else { return Next::Stage(stage) };
            if replica.segments.list()[load.at].id != segment {
                return Next::Stage(Stage::Hint(load));
            }
            let data = done_data(result).unwrap_or_default();
            match part {
                HintPart::Footer => replica.on_footer(opening, load, &data),
                HintPart::Block(nth) => replica.on_block(opening, load, nth, data),
            }
        });
    }

    fn on_footer(&mut self, opening: &mut Opening, mut load: Box<HintLoad>, data: &[u8]) -> Next {
        let segment = self.segments.list()[load.at];
        let owner = self.owner(&segment, segment.sealed.expect("only sealed segments have hints"));
        let Some(footer) = Footer::verify(data, load.len, &owner) else {
            return self.scan_instead(opening, &load);
        };
        self.reserve(opening, &footer);
        load.footer = Some(footer);
        self.load_on(opening, load)
    }

    fn on_block(
        &mut self,
        opening: &mut Opening,
        mut load: Box<HintLoad>,
        nth: usize,
        data: Bytes,
    ) -> Next {
        load.early.insert(nth, data);
        let footer = load.footer.take().expect("blocks are asked for by the footer");
        while let Some(data) = load.early.remove(&load.loaded) {
            let loaded = footer.block(load.loaded, &data).is_some_and(|b| self.load_block(b));
            if !loaded {
                return self.scan_instead(opening, &load);
            }
            load.loaded += 1;
        }
        load.footer = Some(footer);
        self.load_on(opening, load)
    }

    /// Asks for the next blocks, or goes on with the next segment.
    fn load_on(&mut self, opening: &mut Opening, mut load: Box<HintLoad>) -> Next {
        let footer = load.footer.as_ref().expect("it was verified");
        if load.loaded == footer.blocks() {
            let summary = footer.summary;
            return self.hint_loaded(opening, load.at, &summary);
        }
        while load.asked < footer.blocks().min(load.loaded + BLOCKS_AHEAD) {
            let span = footer.block_span(load.asked);
            self.read_hint(load.at, HintPart::Block(load.asked), span);
            load.asked += 1;
        }
        Next::Stage(Stage::Hint(load))
    }

    fn read_hint(&mut self, at: usize, part: HintPart, (position, len): (u64, u32)) {
        let segment = self.segments.list()[at];
        let op = DiskOp::Read { file: segment.hint(self.id), at: position, len };
        self.submit(Purpose::ReadHint(segment.id, part), op);
    }

    /// Takes what the block says; returns whether all of it could be read.
    fn load_block(&mut self, mut block: Block<'_>) -> bool {
        let mut ahead = block.clone();
        loop {
            self.warm(ahead.by_ref().take(WARM_KEYS).filter_map(|h| h.key()));
            for _ in 0..WARM_KEYS {
                match block.next() {
                    Some(Hinted::Put(key, entry)) => self.load_put(key, entry),
                    Some(Hinted::Delete(key)) => self.load_delete(key),
                    Some(Hinted::Flush) => self.flush_keydir(),
                    None => return block.is_over(),
                }
            }
        }
    }

    fn hint_loaded(&mut self, opening: &mut Opening, at: usize, summary: &Summary) -> Next {
        let segment = self.segments.at_mut(at);
        segment.hinted = true;
        self.marks.hit(Mark::HintUsed);
        segment.other = summary.other_bytes;
        segment.tombstones = summary.tombstone_bytes;
        let sealed = segment.sealed.expect("only sealed segments have hints");
        self.epoch = self.epoch.max(summary.epoch);
        self.opened_clock = self.opened_clock.max(summary.clock);
        self.log_end = Offset(sealed.end);
        self.load(opening, at + 1)
    }

    fn scan_instead(&mut self, opening: &mut Opening, load: &HintLoad) -> Next {
        let hint = self.segments.list()[load.at].hint(self.id);
        self.marks.hit(Mark::HintRefused);
        // After a clean stop every hint is durable.
        let (severity, what) = if opening.clean {
            (Severity::Warn, "does not fit its segment or is damaged")
        } else {
            (Severity::Info, "is not whole, as a crash may leave it")
        };
        self.notice(severity, format!("{hint} {what}: ignored, and built anew"));
        self.scan_segment(opening, load.at)
    }

    /// Makes the index ready for the keys of all hints, by what the first one says of its own.
    fn reserve(&mut self, opening: &Opening, footer: &Footer) {
        let hints = opening.files.iter().filter(|(name, _)| name.ends_with(".hint"));
        let total: u64 = hints.map(|(_, len)| len).sum();
        let keys = u128::from(footer.entries) * u128::from(total);
        let keys = keys / u128::from(footer.blocks_len().max(1));
        self.keydir.reserve(usize::try_from(keys).unwrap_or(usize::MAX));
    }

    /// The length of a segment's hint, if opening may use it.
    pub(super) fn usable_hint(&self, opening: &Opening, at: usize) -> Option<u64> {
        let segment = self.segments.list()[at];
        let sealed = segment.sealed.filter(|sealed| !sealed.damaged)?;
        let whole = opening.files.get(&name(segment.file(self.id))) == Some(&sealed.len);
        opening.files.get(&name(segment.hint(self.id))).copied().filter(|_| whole)
    }
}
