//! What was injected, met and found.

use super::*;

impl World {
    /// A fault has taken effect.
    pub(crate) fn injected(&self, class: Class) {
        *lock(&self.record).tally.entry(class).or_default() += 1;
    }

    /// Faults that last have been met.
    pub(crate) fn met(&self, met: impl FnOnce(&mut Windows) -> Vec<Class>) {
        let classes = met(&mut lock(&self.windows));
        classes.into_iter().for_each(|class| self.injected(class));
    }

    /// Something has gone wrong on a disk, of which a partition may stop.
    pub(crate) fn note_strike(&self, id: u32, full: bool) {
        self.disturb(id);
        let mut record = lock(&self.record);
        let life = self.node(id, |node| node.view.life);
        let troubles = record.troubles.entry(life).or_default();
        *troubles = (true, troubles.1 || full);
        record.order += 1;
        let order = record.order;
        record.history.strikes.push(order);
        // A partition that stops tells its operator that what was not fsynced may be lost.
        self.node(id, |node| node.syncs_since_ns = u64::MAX);
    }

    /// A fault has struck an operation.
    pub(crate) fn struck(&self, id: u32, strike: Strike, op: &DiskOp) {
        let class = Class::Strike(strike);
        self.injected(class);
        self.note_strike(id, strike == Strike::WriteFull);
        self.tell(Lane::Node(id), Kind::Fault, (strike, op), || {
            format!("{} strikes: {}", class.name(), describe::op(op))
        });
        match (strike, op) {
            (Strike::LostWrite | Strike::MisdirectedWrite, DiskOp::Write { file, .. }) => {
                self.damaged(id, &file.to_string());
            }
            // An opening that can not read, or reads astray, may give a part of the log up for good.
            (Strike::Read | Strike::MisdirectedRead, DiskOp::Read { file, .. }) => {
                if self.is_serving(id) {
                    self.unread(id);
                } else {
                    self.damaged(id, &file.to_string());
                }
            }
            (
                Strike::Write
                | Strike::WriteFull
                | Strike::Sync
                | Strike::Name
                | Strike::LostWrite
                | Strike::MisdirectedWrite
                | Strike::Read
                | Strike::MisdirectedRead,
                _,
            ) => {}
        }
    }

    /// A fault has damaged a file of a node. A hint holds nothing that is not in its segment: damage
    /// there is no excuse for anything.
    pub(crate) fn damaged(&self, id: u32, file: &str) {
        if !file.ends_with(".hint") {
            self.node(id, |node| node.damaged = true);
            lock(&self.record).damaged = true;
        }
    }

    /// A read of a node has failed: until it starts anew it may take what it did not get for lost.
    pub(crate) fn unread(&self, id: u32) {
        self.node(id, |node| node.unread = true);
        lock(&self.record).damaged = true;
    }

    /// The life of a node's process, or of its last one.
    pub(crate) fn life(&self, id: u32) -> u64 {
        self.node(id, |node| node.view.life)
    }

    /// A node has stopped as asked: everything is durable, whatever its mode of fsync.
    pub(crate) fn stopped(&self, id: u32) {
        let order = lock(&self.record).order;
        self.node(id, |node| node.durable = order);
    }

    pub(crate) fn tally(&self) -> BTreeMap<Class, u64> {
        lock(&self.record).tally.clone()
    }

    /// Marks of core that a node has reached.
    pub(crate) fn mark(&self, marks: Marks) {
        lock(&self.record).marks |= marks::of_core(marks);
    }

    /// A rare state was reached.
    pub(crate) fn see(&self, seen: Seen) {
        lock(&self.record).marks |= seen.bit();
    }

    pub(crate) fn marks(&self) -> u128 {
        lock(&self.record).marks
    }

    /// Checkers have found something.
    pub(crate) fn found(&self, found: impl IntoIterator<Item = Found>) {
        for (checker, text) in found {
            self.violation(checker, text);
        }
    }

    /// Something is wrong.
    pub(crate) fn violation(&self, checker: &'static str, text: String) {
        self.tell(Lane::World, Kind::Violation, &text, || format!("{checker}: {text}"));
        let at_ns = self.now_ns();
        lock(&self.record).violations.push(Violation { checker, text, calls: Vec::new(), at_ns });
    }

    pub(crate) fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut lock(&self.record).violations)
    }
}
