//! Whether every acknowledged write is there: all keys of the load are read back.

use std::collections::VecDeque;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use kvnode_io::resp::Frame;
use serde::Serialize;

use super::children::Door;
use super::load::Keys;
use crate::client::Connection;

/// Keys asked for at once.
const BATCH: u64 = 200;

/// How long a node may take to answer before another is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// Before what could not be read is asked for again.
const PAUSE: Duration = Duration::from_millis(50);

/// Lost writes that are named.
const NAMED_MAX: usize = 10;

/// What was found of the acknowledged writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// There, with the value that was written.
    pub present: u64,
    /// Gone.
    pub missing: u64,
    /// There with another value.
    pub different: u64,
    /// Not known, since nobody answered.
    pub unread: u64,
    /// The first of those that are lost.
    pub lost: Vec<String>,
}

/// A check that goes on where it stopped.
pub(super) struct Check {
    keys: Keys,
    doors: Vec<Door>,
    left: VecDeque<(usize, Range<u64>)>,
    tally: Tally,
}

impl Check {
    /// Of the first so many writes of each writer, by way of the nodes behind these doors.
    pub(super) fn new(keys: Keys, doors: Vec<Door>, written: &[u64]) -> Self {
        let batches = |(writer, &count): (usize, &u64)| {
            let starts = (0..count).step_by(BATCH as usize);
            starts.map(move |start| (writer, start..count.min(start + BATCH))).collect::<Vec<_>>()
        };
        let left: VecDeque<_> = written.iter().enumerate().flat_map(batches).collect();
        Self { keys, doors, left, tally: Tally::default() }
    }

    /// Reads all that is left while `go_on`; true if nothing is left.
    pub(super) fn run(&mut self, mut go_on: impl FnMut() -> bool) -> bool {
        let connection = |door: &Door| door.connection(false).with_patience(PATIENCE);
        let mut connections: Vec<_> = self.doors.iter().map(connection).collect();
        let mut at = 0;
        while let Some((writer, range)) = self.left.pop_front() {
            if !go_on() {
                self.left.push_front((writer, range));
                return false;
            }
            let nodes = connections.len();
            if !self.read(&mut connections[at % nodes], writer, range.clone()) {
                self.left.push_back((writer, range));
                at += 1;
                thread::sleep(PAUSE);
            }
        }
        true
    }

    /// What was found; what is left was not read.
    pub(super) fn tally(self) -> Tally {
        let unread = self.left.iter().map(|(_, range)| range.end - range.start).sum();
        Tally { unread, ..self.tally }
    }

    fn read(&mut self, node: &mut Connection, writer: usize, range: Range<u64>) -> bool {
        let keys = range.clone().map(|n| self.keys.key(writer, n));
        let command: Vec<String> = std::iter::once("MGET".to_owned()).chain(keys).collect();
        let Ok(Frame::Array(values)) = node.call(&command) else { return false };
        for (n, value) in range.zip(values) {
            let expected = self.keys.value(writer, n);
            if matches!(&value, Frame::Bulk(value) if value == expected.as_bytes()) {
                self.tally.present += 1;
                continue;
            }
            let missing = matches!(value, Frame::Null | Frame::NullArray);
            let lost = if missing { &mut self.tally.missing } else { &mut self.tally.different };
            *lost += 1;
            if self.tally.lost.len() < NAMED_MAX {
                self.tally.lost.push(self.keys.key(writer, n));
            }
        }
        true
    }
}

impl Tally {
    /// Every acknowledged write was read, as it was written.
    pub(super) fn is_good(&self) -> bool {
        (self.missing, self.different, self.unread) == (0, 0, 0)
    }
}
