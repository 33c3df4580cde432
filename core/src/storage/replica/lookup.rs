//! Looking keys up, and reading what must come from disk.
//!
//! A key is in the tail (newest, uncommitted), or in the keydir, or nowhere. Where a range of the
//! log can not be read, it may have held any key: a key whose newest known record is not behind
//! the damage, or that is not known at all, is answered with an error, never with an old value or
//! "not found". Keys written or deleted after the damage are served as usual (the [`gone`] ones as
//! absent), and so is everything after a flush behind it.
//!
//! [`gone`]: super::gone

use alloc::format;
use alloc::vec::Vec;

use super::{Damage, Event, Purpose, ReadToken, Replica, done_data};
use crate::disk::{DiskError, DiskOp, DiskResult, File, ValueCache};
use crate::marks::Mark;
use crate::shard::Severity;
use crate::storage::keydir::{Entry, Place};
use crate::storage::record::{self, Kind, Parsed};
use crate::{Millis, Offset, SegmentId, Value};

/// What a replica knows of a key. Expiry is the caller's to judge.
#[derive(Clone, Debug)]
pub enum Found {
    /// Not there, as committed.
    Absent,
    /// Deleted by a record that is not committed yet: an answer waits for this offset.
    Deleted(Offset),
    /// Put by a record that is not committed yet: an answer waits for this offset.
    Fresh {
        /// The value.
        value: Value,
        /// When it expires.
        expire_at: Option<Millis>,
        /// What to wait for.
        until: Offset,
    },
    /// Committed: its record is there.
    Committed(Entry),
    /// It may have been in a range of the log that can not be read.
    Damaged(Damage),
}

/// Why a value could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// The record's checksum or content is wrong.
    Corrupt,
    /// The disk gave an error.
    Disk(DiskError),
    /// The replica stopped.
    Stopped,
}

/// The record that a read must find.
#[derive(Clone, Debug)]
pub(super) struct ReadWant {
    key: Value,
    place: Place,
}

impl Replica {
    /// What is known of `key`.
    pub fn find(&self, key: &[u8]) -> Found {
        if let Some(overlaid) = self.tail.get(key) {
            let until = overlaid.offset.plus(1);
            return match &overlaid.put {
                Some((value, expire_at)) => {
                    Found::Fresh { value: value.clone(), expire_at: *expire_at, until }
                }
                None => Found::Deleted(until),
            };
        }
        if let Some(flush) = self.tail.flush() {
            return Found::Deleted(flush.plus(1));
        }
        self.find_committed(key)
    }

    /// The same, as committed: nothing of it is [`Found::Deleted`] or [`Found::Fresh`].
    pub fn find_committed(&self, key: &[u8]) -> Found {
        let entry = self.keydir.get(key);
        match self.suspect(entry.map(|e| e.place)) {
            Some(_) if entry.is_none() && self.gone.contains(key) => Found::Absent,
            Some(damage) => Found::Damaged(damage),
            None => entry.map_or(Found::Absent, Found::Committed),
        }
    }

    /// Whether keys may have been in a range of the log that can not be read.
    pub fn damaged(&self) -> bool {
        !self.damages.is_empty()
    }

    /// Whether its log lacks what another replica may have, accepted as lost or not.
    pub fn lacks_records(&self) -> bool {
        self.damaged() || self.accepted || self.damaged_values
    }

    /// These keys will be looked up soon; see [`Keydir::warm`](crate::storage::keydir::Keydir::warm).
    pub fn warm<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        self.keydir.warm(keys);
    }

    /// The damage that may hide a newer state of a key whose newest known record is at `place`.
    fn suspect(&self, place: Option<Place>) -> Option<Damage> {
        if self.damages.is_empty() {
            return None;
        }
        let base_of = |place: Place| self.segment_base(place.segment);
        let known = place.map(|p| (base_of(p), u64::from(p.position)));
        self.damages.iter().copied().find(|d| known.is_none_or(|k| k < (d.base, d.until)))
    }

    fn segment_base(&self, id: SegmentId) -> Offset {
        let retired = || self.merge.retired(id);
        let segment = self.segments.get(id).copied().or_else(retired);
        segment.expect("the keydir points into segments that exist").base
    }

    /// The value of `key`, whose record is at `place`, if it can be had without waiting. A record
    /// that is not sound is left to [`read`](Self::read) to tell of.
    pub fn read_now(&self, key: &[u8], place: Place, cache: &mut dyn ValueCache) -> Option<Value> {
        let known = self.cache_key(place);
        if let Some(value) = cache.get(key, known) {
            return Some(value);
        }
        let file = self.file_of(place);
        let data = cache.read_now(file, u64::from(place.position), place.length)?;
        let value = self.verify(key, &data).ok()?;
        cache.put(key, known, &value);
        Some(value)
    }

    /// Reads the record of `key` at `place`; the answer is an [`Event::Read`].
    pub fn read(&mut self, token: ReadToken, key: &[u8], place: Place) {
        let file = self.file_of(place);
        let want = ReadWant { key: Value::copy_from(key), place };
        let op = DiskOp::Read { file, at: u64::from(place.position), len: place.length };
        self.submit(Purpose::Read(token, want), op);
    }

    fn file_of(&self, place: Place) -> File {
        File::Segment(self.id, self.segment_base(place.segment), place.segment)
    }

    /// The value in a record that must be `key`'s.
    fn verify(&self, key: &[u8], data: &[u8]) -> Result<Value, ReadFault> {
        match record::parse(data) {
            Parsed::Record(found, len)
                if found.value_sound
                    && len == data.len()
                    && found.head.kind == Kind::Put
                    && found.head.partition == self.id
                    && found.key == key =>
            {
                Ok(Value::copy_from(found.value))
            }
            Parsed::Record(..) | Parsed::Need(_) | Parsed::Bad => Err(ReadFault::Corrupt),
        }
    }

    pub(super) fn on_read(
        &mut self,
        token: ReadToken,
        want: &ReadWant,
        result: DiskResult,
        cache: &mut dyn ValueCache,
    ) {
        let read = done_data(result)
            .map_err(ReadFault::Disk)
            .and_then(|data| self.verify(&want.key, &data));
        match &read {
            Ok(value) => cache.put(&want.key, self.cache_key(want.place), value),
            Err(fault) => self.note_read_fault(want, *fault),
        }
        self.events.push_back(Event::Read(token, read));
    }

    fn note_read_fault(&mut self, want: &ReadWant, fault: ReadFault) {
        self.counters.read_faults += 1;
        self.marks.hit(match fault {
            ReadFault::Corrupt => Mark::ReadCorrupt,
            ReadFault::Disk(_) | ReadFault::Stopped => Mark::ReadFailed,
        });
        let Place { segment, position, .. } = want.place;
        if let Some(segment) = self.segments.get_mut(segment) {
            segment.quarantined = true;
        }
        let text = format!(
            "{}: the record at byte {position} of segment {segment} can not be read ({fault:?}): \
             its key is answered with an error until it is written again",
            self.id
        );
        self.notice(Severity::Error, text);
        self.events.push_back(Event::Damaged);
    }

    /// Number of keys, and the offset that an answer with it waits for.
    pub fn key_count(&self) -> (usize, Offset) {
        let mut count = if self.tail.flush().is_some() { 0 } else { self.keydir.len() };
        for (key, overlaid) in self.tail.overlaid() {
            let below = self.tail.flush().is_none() && self.keydir.get(key).is_some();
            match (below, overlaid.put.is_some()) {
                (true, false) => count -= 1,
                (false, true) => count += 1,
                (true, true) | (false, false) => {}
            }
        }
        (count, self.tail_end())
    }

    /// Calls `visit` with every key that starts with `prefix` and when it expires. Returns the
    /// offset that an answer waits for.
    pub fn for_each_key(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], Option<Millis>),
    ) -> Offset {
        if self.tail.flush().is_none() {
            self.keydir.for_each(prefix, &mut |key, entry| {
                if self.tail.get(key).is_none() {
                    visit(key, entry.expire_at);
                }
            });
        }
        self.for_each_fresh(visit);
        self.tail_end()
    }

    /// One step of SCAN; see [`View::scan`](crate::kv::View::scan). Uncommitted keys are visited
    /// in the first step: a key committed meanwhile may land behind the cursor.
    pub fn scan(
        &mut self,
        cursor: u64,
        count: usize,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], Option<Millis>),
    ) -> (u64, Offset) {
        if cursor == 0 {
            self.for_each_fresh(visit);
        }
        if self.tail.flush().is_some() {
            return (0, self.tail_end());
        }
        let tail = &self.tail;
        let next = self.keydir.scan(cursor, count, prefix, &mut |key, entry| match tail.get(key) {
            Some(overlaid) => {
                if let Some((_, expire_at)) = &overlaid.put {
                    visit(key, *expire_at);
                }
            }
            None => visit(key, entry.expire_at),
        });
        (next, self.tail_end())
    }

    /// A key chosen by `random`, and the offset that an answer waits for; `None` if there is none.
    pub fn random_key(&self, random: u64) -> (Option<(Value, Option<Millis>)>, Offset) {
        let committed = self.tail.flush().is_none().then(|| self.keydir.random(random)).flatten();
        let committed = committed
            .filter(|(key, _)| self.tail.get(key).is_none())
            .map(|(key, entry)| (Value::copy_from(key), entry.expire_at));
        let mut fresh = Vec::new();
        if committed.is_none() {
            self.for_each_fresh(&mut |key, expire_at| {
                fresh.push((Value::copy_from(key), expire_at))
            });
            fresh.sort();
        }
        let at = (random % fresh.len().max(1) as u64) as usize;
        (committed.or_else(|| fresh.into_iter().nth(at)), self.tail_end())
    }

    /// Looks at about `budget` keys, going round the index call by call, and removes those that
    /// have expired by the committed clock. Returns whether some have expired by `now` only: their
    /// expiry needs a later clock to be committed.
    pub fn sweep_expired(&mut self, budget: usize, now: Millis) -> bool {
        let committed = self.committed_clock;
        let mut expired: Vec<(Value, Place)> = Vec::new();
        let mut wants_clock = false;
        self.keydir.sweep(budget, &mut |key, entry| match entry.expire_at {
            Some(at) if at <= committed => expired.push((Value::copy_from(key), entry.place)),
            Some(at) if at <= now => wants_clock = true,
            Some(_) | None => {}
        });
        for (key, place) in expired {
            // The walk may visit a key twice.
            if self.keydir.get(&key).is_some_and(|e| e.place == place) {
                if self.suspect(Some(place)).is_none() {
                    self.remember_gone(&key);
                }
                self.keydir.remove(&key);
                self.segments.bury(place);
                self.counters.expired += 1;
                self.marks.hit(Mark::ExpiredSwept);
            }
        }
        wants_clock
    }

    /// Committed keys that expire.
    pub fn expiring(&self) -> usize {
        self.keydir.expiring()
    }

    /// All keys are deleted, as committed.
    pub(super) fn flush_keydir(&mut self) {
        self.keydir.clear();
        for at in 0..self.segments.list().len() {
            self.segments.at_mut(at).live = 0;
        }
        // What the damage held is deleted too.
        self.forgone.append(&mut self.damages);
        self.gone.clear();
    }

    fn for_each_fresh(&self, visit: &mut dyn FnMut(&[u8], Option<Millis>)) {
        for (key, overlaid) in self.tail.overlaid() {
            if let Some((_, expire_at)) = &overlaid.put {
                visit(key, *expire_at);
            }
        }
    }

    /// What an answer that depends on all keys waits for.
    fn tail_end(&self) -> Offset {
        self.tail.changes_end().unwrap_or(self.high_watermark)
    }
}
