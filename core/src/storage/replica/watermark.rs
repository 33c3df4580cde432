//! What this replica has acknowledged, what is committed, and how the one becomes the other.
//!
//! A record takes effect when the high watermark passes it. A replica that stands alone commits
//! what it has acknowledged; in a cluster the owner says how far the others are
//! ([`Replica::commit_to`]), so that several writes may be acknowledged and not committed.
//!
//! After a restart the whole log is in the keydir, committed or not: up to
//! [`applied`](Replica::applied) the watermark only moves, and nothing may be served from the keydir
//! before it is there.
//!
//! Invariants:
//! - The watermark never goes back, never passes what this replica has acknowledged, and never stops
//!   within an atomic batch (of what was logged since the opening: before, nobody can tell, and
//!   nothing takes effect by it).

use super::tail::{Part, TailRecord};
use super::{Event, Replica};
use crate::disk::ValueCache;
use crate::shard::FsyncMode;
use crate::storage::epochs::Epochs;
use crate::storage::keydir::{Entry, Place, WARM_KEYS};
use crate::storage::record::Kind;
use crate::{Epoch, Offset};

impl Replica {
    /// First offset not yet stored by this replica: not yet durable under `--fsync always`, not yet
    /// written otherwise. It may be within a batch.
    pub fn stored_end(&self) -> Offset {
        match self.settings.fsync {
            FsyncMode::Always => self.durable_end,
            FsyncMode::EveryMs(_) | FsyncMode::Never => self.written_end,
        }
    }

    /// First offset not yet acknowledged by this replica: the end of the last whole batch that it
    /// stores. (A part of a batch is cut off at the next opening.)
    ///
    /// In a cluster nothing of a reign is acknowledged before its beginning is durable, in whichever
    /// mode. By the last reign that a log knows of the longest is chosen when all have lost their
    /// power: if that could be lost, a log of an earlier reign, of which nothing was ever committed,
    /// would win against one that has all.
    ///
    /// Nor is what a copied log owes before that is durable, as a merge waits for what superseded: a
    /// loss of power would take with it also what has been dropped for it, however old.
    pub fn acked_end(&self) -> Offset {
        match self.settings.fsync {
            FsyncMode::Always => return self.durable_whole,
            FsyncMode::EveryMs(_) | FsyncMode::Never => {}
        }
        let begun = self.epochs.first_from(self.durable_end);
        let begun = begun.filter(|_| self.settings.replicated);
        let end = begun.map_or(self.written_whole, |start| self.written_whole.min(start));
        match self.floors.first_behind(self.durable_end) {
            Some(floor) if floor <= end => self.whole_end(Offset(floor.0 - 1)),
            Some(_) | None => end,
        }
    }

    /// First offset that may not be shipped to other replicas: it was not handed to the disk yet.
    pub fn shippable_end(&self) -> Offset {
        self.flown_end
    }

    /// First offset whose record has not taken effect on the keydir. Above the high watermark after
    /// an opening: nothing may be served from the keydir then.
    pub fn applied(&self) -> Offset {
        self.high_watermark.max(self.opened_end)
    }

    /// A follower that asks from below must start from zero: what it has may have been deleted
    /// since, without a trace.
    pub fn tombstone_horizon(&self) -> Offset {
        self.tombstone_horizon
    }

    /// The log has lost its end: whatever deletions were dropped behind are not dropped here. A horizon
    /// behind its end would have every copy of it begin again from zero.
    pub(super) fn bound_horizon(&mut self) {
        self.tombstone_horizon = self.tombstone_horizon.min(self.log_end);
    }

    /// Which reign wrote which part of the log.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// The last reign that it knows of.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How often this process has found that the log is gone, and begun an empty one.
    pub fn losses(&self) -> u32 {
        self.losses
    }

    /// Where the atomic batch starts that the log ends in, if it ends in one. A leader cuts it off
    /// before its reign begins: the rest of it will never come.
    pub fn open_batch(&self) -> Option<Offset> {
        self.tail.ends_open().then(|| self.tail.whole_end(self.log_end))
    }

    /// In a cluster: every in-sync replica has acknowledged what is before `watermark`. It takes
    /// effect, as far as this replica has acknowledged it.
    pub fn commit_to(&mut self, watermark: Offset, cache: &mut dyn ValueCache) {
        assert!(self.settings.replicated, "a replica that stands alone commits by itself");
        let end = self.tail.whole_end(watermark.min(self.acked_end()));
        if end > self.high_watermark {
            self.commit(end, cache);
            self.finish_ending();
        }
    }

    /// The write in flight is acknowledged by this replica.
    pub(super) fn acknowledge(&mut self, cache: &mut dyn ValueCache) {
        self.flying.take().expect("a write was acknowledged");
        if !self.settings.replicated {
            self.commit(self.acked_end(), cache);
            return;
        }
        self.ring.trim();
        self.say_acked();
    }

    /// What is durable has moved: the beginning of a reign may be, or what the log owed, and with it
    /// all behind it.
    pub(super) fn say_acked_by_sync(&mut self) {
        if self.settings.replicated && self.settings.fsync != FsyncMode::Always {
            self.say_acked();
        }
    }

    pub(super) fn say_acked(&mut self) {
        if !matches!(self.events.back(), Some(Event::Acked)) {
            self.events.push_back(Event::Acked);
        }
    }

    /// Every in-sync replica has acknowledged what is before `end`: the records take effect.
    fn commit(&mut self, end: Offset, cache: &mut dyn ValueCache) {
        assert!(self.high_watermark <= end && end <= self.acked_end());
        let mut warmed = 0;
        // Each turn takes a write, or is the last.
        while let Some(write) = self.writes.front().copied() {
            while let Some(record) = self.tail.pop_below(end.min(write.end)) {
                if warmed == 0 {
                    warmed = WARM_KEYS;
                    let next = || self.tail.keys().take(WARM_KEYS - 1);
                    self.warm(core::iter::once(&record.key[..]).chain(next()));
                    if self.may_append() {
                        next().for_each(|key| cache.warm(key));
                    }
                }
                warmed -= 1;
                let position = u32::try_from(write.position + u64::from(record.at))
                    .expect("limits.rs keeps a segment below 4 GiB");
                let place = Place { segment: write.segment, position, length: record.len };
                self.committed_clock = self.committed_clock.max(record.clock);
                // What a follower takes is not what its clients ask for.
                if let (Kind::Put, Part::Own(value)) = (record.kind, &record.value) {
                    cache.put(&record.key, self.cache_key(place), value);
                }
                self.apply(&record, place);
            }
            if write.end > end {
                break;
            }
            self.writes.pop_front();
        }
        self.high_watermark = end;
        self.commit_opened_clock();
        self.events.push_back(Event::Committed);
    }

    /// The clocks of what the opening found count once all of it is committed: what is cut off before
    /// has expired nothing.
    pub(super) fn commit_opened_clock(&mut self) {
        if self.high_watermark >= self.opened_end {
            self.committed_clock = self.committed_clock.max(self.opened_clock);
        }
    }

    fn apply(&mut self, record: &TailRecord, place: Place) {
        let entry = Entry { place, expire_at: record.expire_at };
        self.gather_hint(record.kind, &record.key, entry);
        let replaced = match record.kind {
            Kind::Put => {
                self.segments.enliven(place);
                self.keydir.insert(&record.key, entry).expect("room was made sure of before")
            }
            Kind::Delete | Kind::Epoch | Kind::Clock | Kind::Flush | Kind::Gap => {
                if let Some(segment) = self.segments.get_mut(place.segment) {
                    segment.count_other(record.kind, place.length);
                }
                match record.kind {
                    Kind::Delete => {
                        self.remember_gone(&record.key);
                        self.keydir.remove(&record.key)
                    }
                    Kind::Flush => {
                        self.flush_keydir();
                        None
                    }
                    Kind::Put | Kind::Epoch | Kind::Clock | Kind::Gap => None,
                }
            }
        };
        if let Some(old) = replaced {
            self.segments.bury(old.place);
        }
    }
}
