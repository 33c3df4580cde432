//! What a search is given, and what it gives.

use std::collections::BTreeSet;

use kvnode_core::replication::ReadMode;

/// How far the search goes.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) nodes: u32,
    pub(crate) min_isr: u32,
    pub(crate) reads_by: ReadMode,
    /// Messages under way at a time; what goes beyond is not looked at.
    pub(crate) messages: usize,
    /// What may happen how often.
    pub(crate) left: Left,
    /// The first part of the way, the same for all.
    pub(crate) start: Vec<Start>,
    /// The search ends after so many states, without a verdict on the rest.
    pub(crate) states_max: usize,
}

/// Something done before the search begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    /// Everything under way arrives, everything written is durable, everybody takes the map.
    Settle,
    /// The leader writes, and nobody hears of it.
    WriteAlone,
    /// The leader writes.
    Write,
    /// As long as a promise lasts passes, and then the leader says something.
    Wait,
    /// This node is fenced.
    Fence(u32),
    /// And unfenced.
    Unfence(u32),
    /// This node is elected and takes the map; nobody hears of it.
    Elect(u32),
    /// This node does nothing from here on until the search begins.
    Sleep(u32),
}

/// What may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Left {
    pub(crate) writes: u8,
    pub(crate) reads: u8,
    pub(crate) crashes: u8,
    /// Crashes that cost all that was acknowledged.
    pub(crate) losses: u8,
    pub(crate) fences: u8,
    pub(crate) unfences: u8,
    pub(crate) elections: u8,
    pub(crate) relinks: u8,
    pub(crate) refusals: u8,
    pub(crate) late: u8,
    pub(crate) elapse: u8,
    /// Deliveries that leave the message where it is.
    pub(crate) copies: u8,
}

/// What the search found.
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    pub(crate) node_states: usize,
    pub(crate) depth: usize,
    pub(crate) complete: bool,
    pub(crate) violation: Option<(String, Vec<String>)>,
    pub(crate) sights: BTreeSet<&'static str>,
}
