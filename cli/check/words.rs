//! For each finding: what is wrong, what it means for the data, what to do.

use kvnode_core::storage::check::{self, Loss, Problem, Standing};

use super::report::{Finding, Severity};

const RESTORE: &str = "put it back from a copy of the directory";
const NOTHING: &str = "nothing to do";
const WRITTEN_ANEW: &str = "nothing to do: a node writes it anew";
const LESS_KNOWN: &str = "no record is touched, but how far the log was durable may be known less \
                          well, and damage at its end be taken for what a crash left";
const MADE_EMPTY: &str = "if the node was ever written to, the partition's keys are lost: the next \
                          start makes it anew, empty";
const REPORT: &str = "keep a copy of the directory and report this as a bug of kvnode";
const ACCEPT: &str =
    "put the directory back from a copy; without one, `--accept-loss` serves what is left";

/// A finding of core's in words.
pub(super) fn finding(found: &check::Finding) -> Finding {
    let (what, meaning, advice) = words(&found.problem);
    Finding {
        severity: match found.severity {
            check::Severity::Note => Severity::Note,
            check::Severity::Damage => Severity::Damage,
        },
        file: found.file.clone(),
        position: found.position,
        offset: found.offset.map(|offset| offset.0),
        what,
        meaning: meaning.to_owned(),
        advice: advice.to_owned(),
    }
}

fn words(problem: &Problem) -> (String, &'static str, &'static str) {
    match problem {
        Problem::Unreadable(error) => (
            format!("reading failed: {error}"),
            "what it holds from here on was not checked",
            "check the file's owner and mode and the disk's health; copy what can be copied",
        ),
        Problem::Version(version) => (
            format!("it has format version {version}"),
            "this kvnode can not read it, and it was not checked",
            "check and start it with the kvnode that wrote it",
        ),
        Problem::MetaMissing => (
            "META is missing".into(),
            "no node starts on this directory",
            "put META back from a copy of the directory",
        ),
        Problem::MetaDamaged => {
            ("its checksum fails".into(), "no node starts on this directory", RESTORE)
        }
        Problem::PartitionMissing => (
            "the partition's directory is missing".into(),
            MADE_EMPTY,
            "put it back before the next start",
        ),
        Problem::PartitionUnknown => (
            "META knows of no such partition".into(),
            "nothing in it is served, nor was it checked",
            "move it away, unless META was replaced by another directory's",
        ),
        Problem::ManifestMissing { beside_log: true } => {
            ("MANIFEST is missing beside a log".into(), "the partition is not served", RESTORE)
        }
        Problem::ManifestMissing { beside_log: false } => (
            "MANIFEST is missing, and there is no log".into(),
            MADE_EMPTY,
            "put them back before the next start",
        ),
        Problem::ManifestDamaged => {
            ("its checksum fails".into(), "the partition is not served", RESTORE)
        }
        Problem::MarkMissing => ("MARK is missing".into(), LESS_KNOWN, WRITTEN_ANEW),
        Problem::MarkSlot => ("the checksum of a slot fails".into(), LESS_KNOWN, WRITTEN_ANEW),
        Problem::MarkExcess => {
            ("there are bytes outside its slots".into(), "nobody reads them", NOTHING)
        }
        Problem::Header { made_anew: true } => (
            "the segment's header is damaged".into(),
            "the next start takes the segment for empty, since nothing in it is known to have been \
             durable, and makes it anew: its records will be lost",
            "copy the directory before the next start",
        ),
        Problem::Header { made_anew: false } => (
            "the segment's header is damaged".into(),
            "its records are read all the same",
            "put it back from a copy of the directory, or leave it: the segment is kept as it is",
        ),
        Problem::SegmentMissing(None) => (
            "the segment is missing".into(),
            "nothing in it is known to have been durable: the next start makes it anew",
            "put it back before the next start, if there is a copy",
        ),
        Problem::SegmentMissing(Some(loss)) => lost("the segment is missing".into(), loss),
        Problem::Lost(loss) => lost(format!("{} bytes are no records", loss.bytes), loss),
        Problem::Value { key } => (
            format!("the value of \"{}\" fails its checksum", key.escape_ascii()),
            "unless the key was written again since, it is answered with an error until it is",
            "write the key again, or put the directory back from a copy",
        ),
        Problem::EpochFell { before, found } => (
            format!("epoch {found} after {before}"),
            "the log is not in the order in which it was written",
            REPORT,
        ),
        Problem::ClockFell { before, found } => (
            format!("clock {found} ms after {before} ms"),
            "keys may expire at another time than they should",
            REPORT,
        ),
        Problem::BatchOpen => (
            "the segment ends inside an atomic batch".into(),
            "a transaction may be there in part",
            REPORT,
        ),
        Problem::NotAsSealed { sealed_end, found_end } => (
            format!(
                "its records end at offset {found_end} and are not those of the manifest (end \
                 {sealed_end})"
            ),
            "it may be the file of another copy: every record is sound, and some may be missing",
            RESTORE,
        ),
        Problem::Excess { bytes } => {
            (format!("{bytes} bytes behind its end"), "nobody reads them", NOTHING)
        }
        Problem::TornTail { bytes } => (
            format!("{bytes} bytes of a write that was not finished"),
            "as a crash leaves them; nothing known to be durable is among them",
            "nothing to do: the next start cuts it",
        ),
        Problem::HintUnfit => (
            "it is damaged or not this segment's".into(),
            "the next start reads the segment instead",
            "nothing to do: it is built anew",
        ),
        Problem::HintDisagrees => (
            "it is whole and says other things than its segment".into(),
            "some keys are answered with errors, or as absent",
            "delete this hint, so that it is built anew; then report this as a bug of kvnode",
        ),
        Problem::HintLacks { keys } => (
            format!("it leaves out {keys} key(s)"),
            "they are answered as absent, or with an older value",
            "delete this hint, so that it is built anew; then report this as a bug of kvnode",
        ),
        Problem::Leftover => (
            "no manifest names it".into(),
            "left by a crash in the midst of a roll or a compaction",
            "nothing to do: the next start deletes it",
        ),
    }
}

fn lost(what: String, loss: &Loss) -> (String, &'static str, &'static str) {
    let what = match loss.to.0.saturating_sub(loss.from.0) {
        0 => format!("{what}: perhaps no offset is lost"),
        1 => format!("{what}: offset {} is lost", loss.from),
        _ => format!("{what}: offsets {} to {} are lost", loss.from, loss.to.0 - 1),
    };
    match loss.standing {
        Standing::Open => (
            what,
            "they may have changed any key: those not written since, absent ones too, are answered \
             with -CORRUPT",
            ACCEPT,
        ),
        Standing::Hinted => (
            what,
            "the segment's hint still names its keys: those whose newest value stood here are \
             answered with -CORRUPT, others as usual",
            ACCEPT,
        ),
        Standing::Accepted => {
            (what, "accepted as lost: keys that stood here alone are absent", NOTHING)
        }
        Standing::Flushed => (what, "every key was deleted later, so nothing is missing", NOTHING),
    }
}
