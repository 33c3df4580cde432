//! What control and shard of a node say to each other, on its way.
//!
//! In production each is driven by a task of its own, or a thread, with a queue between: what one says
//! comes in its order, but later, and the other may have been at something else for long. Here it is
//! handed on at once, or comes late; now and then all of one direction stands still for a while.

use std::collections::VecDeque;

use kvnode_core::control;
use kvnode_core::node::ToShard;
use kvnode_core::shard;

use super::process::Process;

/// For the shard.
pub(super) enum ForShard {
    Said(ToShard),
    /// What is led was handed over.
    Stop,
}

/// Messages in their order, and when each arrives, in ns.
pub(super) struct Hop<T> {
    queue: VecDeque<(u64, T)>,
    /// When it next stands still, in ns.
    stalls_ns: u64,
}

impl<T> Hop<T> {
    pub(super) fn new() -> Self {
        Self { queue: VecDeque::new(), stalls_ns: 0 }
    }

    /// When the next arrives, in ns.
    fn next_ns(&self) -> Option<u64> {
        self.queue.front().map(|(at, _)| *at)
    }

    fn take(&mut self, now_ns: u64) -> Option<T> {
        self.queue.pop_front_if(|(at, _)| *at <= now_ns).map(|(_, said)| said)
    }
}

impl Process {
    pub(super) fn tell_shard(&mut self, said: ForShard) {
        let late_ns = self.late_ns(|process| &mut process.to_shard.stalls_ns);
        if late_ns == 0 && self.to_shard.queue.is_empty() {
            return self.hand_over(said);
        }
        enqueue(&mut self.to_shard.queue, self.world.now_ns() + late_ns, said);
    }

    pub(super) fn tell_control(&mut self, said: control::Input) {
        if self.control.is_none() {
            return;
        }
        let late_ns = self.late_ns(|process| &mut process.to_control.stalls_ns);
        if late_ns == 0 && self.to_control.queue.is_empty() {
            return self.hand_control(said);
        }
        enqueue(&mut self.to_control.queue, self.world.now_ns() + late_ns, said);
    }

    /// Hands over what has arrived.
    pub(super) fn on_hops(&mut self) {
        let now_ns = self.world.now_ns();
        while !self.ended
            && let Some(said) = self.to_shard.take(now_ns)
        {
            self.hand_over(said);
        }
        while !self.ended
            && let Some(said) = self.to_control.take(now_ns)
        {
            self.hand_control(said);
        }
    }

    /// When the next message arrives, in ns.
    pub(super) fn hops_ns(&self) -> Option<u64> {
        self.to_shard.next_ns().into_iter().chain(self.to_control.next_ns()).min()
    }

    fn hand_over(&mut self, said: ForShard) {
        match said {
            ForShard::Said(ToShard::View(view)) => {
                self.on_view(&view);
                self.hand_shard(shard::Input::Control(ToShard::View(view)));
            }
            ForShard::Said(said) => self.hand_on(said),
            ForShard::Stop => self.hand_shard(shard::Input::Stop),
        }
    }

    fn late_ns(&mut self, stalls_ns: impl FnOnce(&mut Self) -> &mut u64) -> u64 {
        if !self.world.settings.threads || self.is_calm() {
            return 0;
        }
        let now_ns = self.world.now_ns();
        let until_next = self.chance.of(STALLS_AFTER_NS);
        let stalls_ns = stalls_ns(self);
        let stalls = *stalls_ns != 0 && *stalls_ns <= now_ns;
        if stalls || *stalls_ns == 0 {
            *stalls_ns = now_ns + until_next;
        }
        if stalls {
            self.chance.skewed(0..STALL_NS_MAX)
        } else if self.chance.percent(AT_ONCE_PERCENT) {
            0
        } else {
            self.chance.skewed(0..LATE_NS_MAX)
        }
    }
}

fn enqueue<T>(queue: &mut VecDeque<(u64, T)>, at_ns: u64, said: T) {
    let last = queue.back().map_or(0, |(at, _)| *at);
    queue.push_back((at_ns.max(last), said));
}

/// Mostly microseconds.
const LATE_NS_MAX: u64 = 2_000_000;

/// How long a direction stands still, at most: a shard at a long command, a thread that is not run.
const STALL_NS_MAX: u64 = 2_000_000_000;

/// How long from one time that it stands still to the next.
const STALLS_AFTER_NS: std::ops::Range<u64> = 500_000_000..20_000_000_000;

/// Of a hundred messages so many come at once.
const AT_ONCE_PERCENT: u64 = 60;
