//! The mutants of the simulator, `sim/mutants/*.patch`: each still applies to core and says what it
//! is. Whether a checker notices them is what `kvnode mutants` finds out.
#![cfg(feature = "sim")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// All of them. Which of them live yet is said in SIMULATION.md.
const NAMES: [&str; 64] = [
    "ack-before-fsync",
    "any-follower-voids-promises",
    "append-after-short-write",
    "batch-half-applied",
    "broken-off-not-retained",
    "catch-up-skips-live-record",
    "checksum-without-partition-and-offset",
    "clock-sampled-before-request",
    "commit-of-old-term",
    "corruption-cut-as-torn-tail",
    "earlier-confirmation",
    "empty-disk-votes",
    "epoch-checked-once",
    "epoch-searched-once",
    "epoch-used-twice",
    "epochs-not-cut",
    "expired-dropped-in-partial-merge",
    "expiry-by-wall-clock",
    "fenced-in-isr",
    "follower-acks-before-fsync",
    "forwarded-twice",
    "fsync-interval-ignored",
    "hint-of-shorter-segment",
    "hint-unverified",
    "joins-below-epoch-start",
    "last-replica-re-elected",
    "late-answer-appended",
    "lease-by-wall-clock",
    "lease-not-waited-out",
    "lone-read-without-pending",
    "lost-log-called-first",
    "merge-overwrites-newer-put",
    "merge-revives-delete",
    "no-check-quorum",
    "no-pre-vote",
    "old-epoch-ack-counted",
    "part-of-batch-acknowledged",
    "purged-taken-for-conflict",
    "read-before-first-commit",
    "read-unconfirmed",
    "rebooted-with-old-end",
    "rename-without-directory-fsync",
    "reply-before-high-watermark",
    "restart-forgets-promise",
    "retry-failed-fsync",
    "retry-without-jitter",
    "same-leader-not-compared",
    "snapshot-before-cut",
    "stale-incarnation",
    "tombstone-dropped-in-partial-merge",
    "tombstone-unseen-dropped",
    "torn-tail-taken-for-data",
    "truncate-to-own-watermark",
    "uncommitted-read",
    "unknown-told-as-failed",
    "unsynced-called-clean",
    "vote-lost-at-log-rewrite",
    "vote-not-durable",
    "voters-change-too-early",
    "watch-misses-expiry",
    "watermark-before-truncation",
    "watermark-below-min-isr",
    "watermark-stuck-after-shrink",
    "watermark-without-pending",
];

#[test]
fn every_mutant_is_known_by_name() {
    let found: BTreeSet<String> = patches().iter().map(|patch| name(patch)).collect();
    assert_eq!(found, NAMES.map(str::to_owned).into());
}

#[test]
fn every_mutant_still_applies() {
    for patch in patches() {
        let apply = Command::new("git")
            .args(["apply", "--check"])
            .arg(&patch)
            // In a copy without a repository of its own, one around it would be in the way.
            .env("GIT_CEILING_DIRECTORIES", root().parent().expect("the root is in a directory"))
            .current_dir(root())
            .output()
            .expect("git is installed");
        let said = String::from_utf8_lossy(&apply.stderr);
        assert!(apply.status.success(), "{} must be made again: {said}", name(&patch));
    }
}

#[test]
fn every_mutant_says_what_it_is_and_touches_core_alone() {
    for patch in patches() {
        let text = fs::read_to_string(&patch).expect("a patch is text");
        let (header, diff) = text.split_once("\ndiff ").expect("a header stands before the diff");
        for field in ["Mutant: ", "Source: ", "Killed by: "] {
            let said = header.lines().any(|line| line.strip_prefix(field).is_some_and(is_said));
            assert!(said, "{} without a line {field}", name(&patch));
        }
        let mut touched = diff.lines().filter_map(|line| line.strip_prefix("+++ "));
        assert!(touched.all(|file| file.starts_with("b/core/src/")), "{}", name(&patch));
    }
}

fn is_said(text: &str) -> bool {
    !text.trim().is_empty()
}

fn patches() -> Vec<PathBuf> {
    let dir = fs::read_dir(root().join("sim/mutants")).expect("the mutants are there");
    let mut patches: Vec<PathBuf> = dir.map(|entry| entry.expect("an entry").path()).collect();
    patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    patches.sort();
    patches
}

fn name(patch: &Path) -> String {
    patch.file_stem().expect("it has a name").to_string_lossy().into_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
