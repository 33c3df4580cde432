//! Which runs a random test makes.

use std::ops::Range;

/// The seeds that `KVNODE_SEEDS=from..to` asks for, if it is set.
pub fn asked() -> Option<Range<u64>> {
    let range = std::env::var("KVNODE_SEEDS").ok()?;
    let (from, to) = range.split_once("..").expect("KVNODE_SEEDS=from..to");
    Some(from.parse().expect("a seed")..to.parse().expect("a seed"))
}
