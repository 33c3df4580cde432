//! What the benchmarks share: server processes, a place to put data, numbers and their tables.
//!
//! - [`cluster`]: three kvnodes that make a cluster.
//! - [`etcd`]: three etcds that make a cluster, and clients of it.
//! - [`load`]: what `redis-benchmark` measures.
//! - [`server`]: a redis-server or a kvnode on a free loopback port, stopped when dropped.
//! - [`place`]: a directory on a real file system, and how long an fsync takes there.
//! - [`stats`]: medians and ratios.
//! - [`report`]: a table, or JSON.
//! - [`fill`]: many keys into a server, quickly.
//!
//! Speeds depend on the machine and on what else it does, so everything is measured in turn with
//! what it is compared with, in the same run, and the ratios are what to quote.

pub mod cluster;
pub mod etcd;
pub mod fill;
pub mod load;
pub mod place;
pub mod report;
pub mod server;
pub mod stats;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for `steps`, on stderr.
pub fn progress(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} {msg}");
    ProgressBar::new(steps).with_style(style.expect("the template is well formed"))
}
