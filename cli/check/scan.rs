//! Drives core's check on a data directory, under the directory's lock.

use std::path::Path;

use kvnode_core::storage::check::{AcceptLoss, CheckReport, Checker};
use kvnode_io::DirLock;
use kvnode_io::disk::Disk;

use super::report::{Accepted, Report, Summary};
use super::words;

/// Files kept open: each is read once, from front to back.
const HANDLES_MAX: usize = 4;

/// Checks the data directory, calling `progress` with the bytes done and the bytes in all, and then
/// accepts what is lost if `accept_loss`.
pub(super) fn scan(
    data: &Path,
    accept_loss: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, String> {
    // Before the lock is taken, which makes a file.
    if !is_kvnodes(data) {
        return Err(format!(
            "{} is not a kvnode's data directory (it has no META and no p0/MANIFEST): nothing was \
             checked; give the directory that `kvnode run --data` was given",
            data.display()
        ));
    }
    let _lock = DirLock::acquire_existing(data).map_err(|error| error.to_string())?;
    let mut disk = Disk::new(data, HANDLES_MAX);
    let found = check(&mut disk, progress);
    let accepted = if accept_loss { accept(&mut disk, &found)? } else { Vec::new() };
    let CheckReport { partitions, segments, records, keys, bytes, left_out, damaged, .. } = found;
    Ok(Report {
        summary: Summary { partitions, segments, records, keys, bytes },
        findings: found.findings.iter().map(words::finding).collect(),
        left_out,
        accepted,
        damaged,
    })
}

fn is_kvnodes(data: &Path) -> bool {
    data.join("META").is_file() || data.join("p0/MANIFEST").is_file()
}

fn check(disk: &mut Disk, progress: &mut dyn FnMut(u64, u64)) -> CheckReport {
    let mut checker = Checker::new();
    while let Some(op) = checker.poll() {
        checker.on_disk(disk.run(op));
        let (done, total) = checker.progress();
        progress(done, total);
    }
    checker.finish().expect("a check that asks for nothing is at its end")
}

fn accept(disk: &mut Disk, found: &CheckReport) -> Result<Vec<Accepted>, String> {
    let Some(mut accept) = AcceptLoss::new(found) else { return Ok(Vec::new()) };
    while let Some(op) = accept.poll() {
        accept.on_disk(disk.run(op));
    }
    let accepted = accept.finish().expect("an accepting that asks for nothing is at its end");
    let accepted = accepted.map_err(|error| format!("{error}; run the same again"))?;
    Ok(accepted
        .into_iter()
        .map(|(partition, up_to)| Accepted { partition: partition.0, up_to: up_to.0 })
        .collect())
}
