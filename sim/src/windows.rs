//! Faults that last: which are open now, which were until when, and whether anybody felt them.
//!
//! Windows of one sort overlap. What is in force is therefore never set by the fault that begins or
//! ends, but read off all that are open. A window counts as injected when something met it: a message
//! on a link that is cut, an operation of a disk that is slow. And what was not well excuses, while it
//! lasted and for as long as its traces do, a call that is not answered in time.

use std::collections::BTreeMap;

use crate::plan::{Class, Fault, Way};
use crate::story::Lane;

/// See the module's header.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    all: Vec<Window>,
    /// How many have clogged a link in one direction, or all links of somebody.
    links: BTreeMap<(Lane, Lane), u32>,
    lanes: BTreeMap<Lane, u32>,
}

#[derive(Debug)]
struct Window {
    fault: Fault,
    from_ns: u64,
    /// `None` as long as it is open.
    to_ns: Option<u64>,
    felt: bool,
}

/// A window that was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowId(usize);

impl Windows {
    /// The fault begins.
    pub(crate) fn open(&mut self, fault: Fault, now_ns: u64) -> WindowId {
        self.all.push(Window { fault, from_ns: now_ns, to_ns: None, felt: false });
        WindowId(self.all.len() - 1)
    }

    /// The fault ends, if it has not yet.
    pub(crate) fn close(&mut self, id: WindowId, now_ns: u64) {
        self.all[id.0].to_ns.get_or_insert(now_ns);
    }

    /// Everything ends.
    pub(crate) fn close_all(&mut self, now_ns: u64) {
        for window in &mut self.all {
            window.to_ns.get_or_insert(now_ns);
        }
        self.links.clear();
        self.lanes.clear();
    }

    fn in_force(&self) -> impl Iterator<Item = &Fault> {
        self.all.iter().filter(|window| window.to_ns.is_none()).map(|window| &window.fault)
    }

    /// Whether nothing gets from one to the other.
    pub(crate) fn is_cut(&self, from: Lane, to: Lane) -> bool {
        self.links.contains_key(&(from, to))
            || self.lanes.contains_key(&from)
            || self.lanes.contains_key(&to)
    }

    /// Until when two were not connected as they should be, in ns; `u64::MAX` if they are not now.
    pub(crate) fn unsound_until(&self, a: Lane, b: Lane) -> u64 {
        let ends = [(a, b), (b, a)];
        let within = |side: u32, lane| matches!(lane, Lane::Node(id) if side & 1 << id != 0);
        self.troubled_until(|fault| {
            if let Fault::Cut { from, to, .. } | Fault::Flap { from, to, .. } = fault {
                return ends.contains(&(*from, *to));
            }
            if let Fault::Split { side, .. } = fault {
                return within(*side, a) != within(*side, b);
            }
            matches!(
                fault,
                Fault::Loss { .. } | Fault::Lag { .. } | Fault::Flip { .. } | Fault::Swizzle { .. }
            )
        })
    }

    /// The same of a node that was kept from running as it should, or its disk.
    pub(crate) fn unwell_until(&self, of: u32) -> u64 {
        self.troubled_until(|fault| {
            matches!(
                fault,
                Fault::Pause { node, .. }
                | Fault::Stall { node, .. }
                | Fault::Full { node, .. }
                | Fault::SlowDisk { node, .. } if *node == of
            )
        })
    }

    fn troubled_until(&self, troubles: impl Fn(&Fault) -> bool) -> u64 {
        let troubles = self.all.iter().filter(|window| troubles(&window.fault));
        troubles.map(|window| window.to_ns.unwrap_or(u64::MAX)).max().unwrap_or(0)
    }

    /// How many of a thousand pieces of a stream have a bit flipped.
    pub(crate) fn flips(&self) -> u64 {
        let flips = self.in_force().filter_map(|fault| {
            if let Fault::Flip { per_mille, .. } = fault { Some(*per_mille) } else { None }
        });
        flips.max().unwrap_or(0)
    }

    /// How many of a hundred messages are lost.
    pub(crate) fn loss_percent(&self) -> u64 {
        let percents = self.in_force().filter_map(|fault| {
            if let Fault::Loss { percent, .. } = fault { Some(*percent) } else { None }
        });
        percents.max().unwrap_or(0)
    }

    /// How long messages take at most, if they are slow.
    pub(crate) fn lag_ms(&self) -> Option<u64> {
        let lags = self.in_force().filter_map(|fault| {
            if let Fault::Lag { max_ms, .. } = fault { Some(*max_ms) } else { None }
        });
        lags.max()
    }

    /// How many times as long operations of a disk take.
    pub(crate) fn slowness(&self, of: u32) -> u64 {
        let times = self.in_force().filter_map(|fault| {
            let Fault::SlowDisk { node, times, .. } = fault else { return None };
            (*node == of).then_some(*times)
        });
        times.max().unwrap_or(1)
    }

    /// Whether a disk is full.
    pub(crate) fn is_full(&self, of: u32) -> bool {
        self.in_force().any(|fault| matches!(fault, Fault::Full { node, .. } if *node == of))
    }

    /// Whether a process is held.
    pub(crate) fn is_paused(&self, of: u32) -> bool {
        self.in_force().any(|fault| matches!(fault, Fault::Pause { node, .. } if *node == of))
    }

    /// A link is clogged in this direction; whether it was not before.
    pub(crate) fn clog_link(&mut self, from: Lane, to: Lane) -> bool {
        let count = self.links.entry((from, to)).or_default();
        *count += 1;
        *count == 1
    }

    /// One that has clogged it is over; whether it was the last.
    pub(crate) fn unclog_link(&mut self, from: Lane, to: Lane) -> bool {
        take_one(&mut self.links, (from, to))
    }

    /// All links of somebody are clogged; whether they were not before.
    pub(crate) fn clog_lane(&mut self, lane: Lane) -> bool {
        let count = self.lanes.entry(lane).or_default();
        *count += 1;
        *count == 1
    }

    /// One that has clogged them is over; whether it was the last.
    pub(crate) fn unclog_lane(&mut self, lane: Lane) -> bool {
        take_one(&mut self.lanes, lane)
    }

    /// Somebody says something to somebody: the classes of faults that it met first.
    pub(crate) fn meet_message(&mut self, from: Lane, to: Lane) -> Vec<Class> {
        let link = self.links.contains_key(&(from, to));
        let lane = self.lanes.contains_key(&from) || self.lanes.contains_key(&to);
        self.meet(|fault| {
            if let Fault::Cut { from: a, to: b, both_ways, .. } = fault {
                link && ((*a, *b) == (from, to) || (*both_ways && (*a, *b) == (to, from)))
            } else if let Fault::Flap { from: a, to: b, .. } = fault {
                link && ((*a, *b) == (from, to) || (*a, *b) == (to, from))
            } else if let Fault::Split { side, way, .. } = fault {
                let within = |lane| matches!(lane, Lane::Node(id) if side & 1 << id != 0);
                let [out, into] = [within(from) && !within(to), !within(from) && within(to)];
                link && match way {
                    Way::Out => out,
                    Way::In => into,
                    Way::Both => out || into,
                }
            } else {
                (lane && matches!(fault, Fault::Swizzle { .. }))
                    || matches!(fault, Fault::Loss { .. } | Fault::Lag { .. })
            }
        })
    }

    /// A disk is asked for something: the classes of faults that it met first.
    pub(crate) fn meet_operation(&mut self, of: u32) -> Vec<Class> {
        self.meet(|fault| {
            matches!(fault, Fault::SlowDisk { node, .. } | Fault::Stall { node, .. } if *node == of)
        })
    }

    /// A disk has no more room: the classes of faults that this met first.
    pub(crate) fn meet_full(&mut self, of: u32) -> Vec<Class> {
        self.meet(|fault| matches!(fault, Fault::Full { node, .. } if *node == of))
    }

    fn meet(&mut self, mut meets: impl FnMut(&Fault) -> bool) -> Vec<Class> {
        let mut classes = Vec::new();
        for window in self.all.iter_mut().filter(|window| window.to_ns.is_none() && !window.felt) {
            if meets(&window.fault) {
                window.felt = true;
                classes.push(window.fault.class());
            }
        }
        classes
    }

    /// Whether a fault may have held up a node's fsyncs at any time after `since_ns`. `slow_ns`: how
    /// long an operation of a well disk takes at most.
    pub(crate) fn slows(&self, of: u32, since_ns: u64, slow_ns: u64) -> bool {
        self.all.iter().any(|window| {
            let full = matches!(window.fault, Fault::Full { node, .. } if node == of);
            window.holds(of, since_ns, slow_ns) || (full && window.end_ns() > since_ns)
        })
    }

    /// Whether a fault may have kept an answer of `node` from `client` at any time after `since_ns`.
    pub(crate) fn excuse(&self, client: u32, node: u32, since_ns: u64, slow_ns: u64) -> bool {
        // While a link does not carry, the transport tries again after longer and longer: what was
        // not well for so long without a break may be late by as much.
        let (mut trouble_ns, mut until_ns) = (0, 0);
        for window in self.all.iter().filter(|window| window.hinders(client)) {
            if window.from_ns > until_ns {
                trouble_ns = window.from_ns;
            }
            let late_ns = window.end_ns().saturating_sub(trouble_ns).min(BACKOFF_NS_MAX);
            let linger_ns = late_ns.max(window.lag_ns());
            until_ns = until_ns.max(window.end_ns().saturating_add(linger_ns));
        }
        until_ns > since_ns || self.all.iter().any(|window| window.holds(node, since_ns, slow_ns))
    }
}

impl Window {
    /// When it ended; never yet, if it is open.
    fn end_ns(&self) -> u64 {
        self.to_ns.unwrap_or(u64::MAX)
    }

    /// Whether it may have held up a process or its disk at any time after `since_ns`.
    fn holds(&self, of: u32, since_ns: u64, slow_ns: u64) -> bool {
        match self.fault {
            Fault::Pause { node, .. } | Fault::Stall { node, .. } => {
                node == of && self.end_ns() > since_ns
            }
            Fault::SlowDisk { node, times, .. } => {
                node == of && self.end_ns().saturating_add(slow_ns * times) > since_ns
            }
            Fault::Kill { .. }
            | Fault::Power { .. }
            | Fault::Wipe { .. }
            | Fault::LoseLog { .. }
            | Fault::Restart { .. }
            | Fault::Jump { .. }
            | Fault::Drift { .. }
            | Fault::Cut { .. }
            | Fault::Flap { .. }
            | Fault::Swizzle { .. }
            | Fault::Loss { .. }
            | Fault::Lag { .. }
            | Fault::Split { .. }
            | Fault::Flip { .. }
            | Fault::Roll { .. }
            | Fault::Ask
            | Fault::Hunt { .. }
            | Fault::Reset { .. }
            | Fault::Strike { .. }
            | Fault::Rot { .. }
            | Fault::BadSector { .. }
            | Fault::Spot { .. }
            | Fault::Full { .. } => false,
        }
    }

    /// Whether it is on the way between this client and a node, or between two nodes.
    fn hinders(&self, client: u32) -> bool {
        let other = |lane: Lane| matches!(lane, Lane::Client(id) if id != client);
        if let Fault::Cut { from, to, .. } | Fault::Flap { from, to, .. } = self.fault {
            return !other(from) && !other(to);
        }
        matches!(self.fault, Fault::Swizzle { .. } | Fault::Loss { .. } | Fault::Lag { .. })
    }

    /// How long what was sent in it may be under way.
    fn lag_ns(&self) -> u64 {
        if let Fault::Lag { max_ms, .. } = self.fault { (max_ms + 2) * 1_000_000 } else { 0 }
    }
}

/// The longest that madsim's transport waits before it tries again.
const BACKOFF_NS_MAX: u64 = 10_000_000_000;

fn take_one<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K) -> bool {
    let Some(count) = counts.get_mut(&key) else { return false };
    *count -= 1;
    let last = *count == 0;
    if last {
        counts.remove(&key);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const LINK: (Lane, Lane) = (Lane::Client(1), Lane::Node(1));

    fn cut() -> Fault {
        Fault::Cut { from: LINK.0, to: LINK.1, both_ways: false, for_ms: 1000 }
    }

    fn slow(times: u64) -> Fault {
        Fault::SlowDisk { node: 1, times, for_ms: 1000 }
    }

    #[test]
    fn the_end_of_one_window_does_not_end_another() {
        let mut windows = Windows::default();
        let (long, short) = (windows.open(slow(3), 0), windows.open(slow(9), S));
        assert_eq!(windows.slowness(1), 9);
        windows.close(short, 2 * S);
        assert_eq!((windows.slowness(1), windows.slowness(2)), (3, 1));
        windows.close(long, 3 * S);
        assert_eq!(windows.slowness(1), 1);
        assert!(windows.clog_link(LINK.0, LINK.1) && !windows.clog_link(LINK.0, LINK.1));
        assert!(!windows.unclog_link(LINK.0, LINK.1) && windows.unclog_link(LINK.0, LINK.1));
        assert!(!windows.unclog_link(LINK.0, LINK.1), "after everything was healed");
    }

    #[test]
    fn a_window_counts_when_it_is_met_and_once() {
        let mut windows = Windows::default();
        let id = windows.open(cut(), 0);
        windows.clog_link(LINK.0, LINK.1);
        assert_eq!(windows.meet_message(LINK.1, LINK.0), [], "the other way");
        assert_eq!(windows.meet_message(Lane::Client(2), LINK.1), [], "another link");
        assert_eq!(windows.meet_message(LINK.0, LINK.1), [Class::CutOneWay]);
        assert_eq!(windows.meet_message(LINK.0, LINK.1), []);
        windows.close(id, S);
        windows.open(slow(2), S);
        assert_eq!(windows.meet_operation(2), []);
        assert_eq!(windows.meet_operation(1), [Class::SlowDisk]);
        assert_eq!(windows.meet_full(1), []);
    }

    #[test]
    fn what_was_not_well_excuses_those_whom_it_hit_and_as_long_as_it_may_be_felt() {
        let mut windows = Windows::default();
        assert!(!windows.excuse(1, 1, 0, 0));
        let id = windows.open(cut(), 10 * S);
        assert!(windows.excuse(1, 1, 20 * S, 0) && !windows.excuse(2, 1, 0, 0));
        windows.close(id, 13 * S);
        assert!(windows.excuse(1, 1, 15 * S, 0), "the last try may have been just before the end");
        assert!(!windows.excuse(1, 1, 16 * S, 0));
        let mut windows = Windows::default();
        let id = windows.open(slow(4), 0);
        windows.close(id, S);
        assert!(windows.excuse(3, 1, S, S) && !windows.excuse(3, 1, 5 * S, S));
        assert!(!windows.excuse(3, 2, S, S), "another node's disk");
        let mut windows = Windows::default();
        windows.open(Fault::Rot { node: 1 }, 0);
        assert!(!windows.excuse(1, 1, 0, S), "no damage keeps a node from answering");
    }
}
