//! Judging what is on a node's disk while nothing runs on it.
//!
//! Two judges that share no code with each other: the offline check of core, which foretells what an
//! opening makes of a directory; and a plain reading of the log, record by record in the order of
//! their offsets, which knows nothing of hints, indexes and merges. After a stop that was asked for,
//! the second must find exactly what clients then read.

use std::collections::BTreeMap;

use kvnode_core::PartitionId;
use kvnode_core::disk::File;
use kvnode_core::storage::check::{Checker, Problem, Severity};
use kvnode_core::storage::format::{Manifest, SEGMENT_HEADER_BYTES};
use kvnode_core::storage::record::{self, Kind, Parsed};
use kvnode_core::{Offset, SegmentId};

use crate::disk::Image;

/// The first damage that the offline check finds, in words. A replica of a cluster is made while the node
/// serves: that one is begun and not finished is no damage if `replicated`.
pub(crate) fn damage(mut image: Image, replicated: bool) -> Option<String> {
    let mut checker = Checker::new();
    while let Some(op) = checker.poll() {
        let result = image.run(&op);
        checker.on_disk(result);
    }
    let report = checker.finish().expect("the check has nothing more to ask");
    let begun = |problem: &Problem| {
        replicated && matches!(problem, Problem::ManifestMissing { beside_log: false })
    };
    let finding = report
        .findings
        .iter()
        .find(|finding| finding.severity == Severity::Damage && !begun(&finding.problem))?;
    Some(format!("{} at {}: {:?}", finding.file, finding.position, finding.problem))
}

/// A key's value and expiry time.
pub(crate) type Content = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

/// What a directory holds, by its log alone; `None` if a file that must be there is not.
pub(crate) fn content(image: &Image, partitions: u32) -> Option<Content> {
    let mut content = Content::new();
    for partition in (0..partitions).map(PartitionId) {
        content.extend(content_of(image, partition)?);
    }
    Some(content)
}

/// The same of one partition.
pub(crate) fn content_of(image: &Image, partition: PartitionId) -> Option<Content> {
    let manifest = image.now(&File::Manifest(partition).to_string())?;
    let manifest = Manifest::decode(manifest, partition).ok()?;
    let mut records = Vec::new();
    for segment in &manifest.segments {
        let (base, id) = (Offset(segment.base), SegmentId(segment.id));
        let bytes = image.now(&File::Segment(partition, base, id).to_string())?;
        let len = segment.sealed.map_or(bytes.len(), |sealed| sealed.len as usize);
        let mut rest = bytes.get(SEGMENT_HEADER_BYTES..len.min(bytes.len()))?;
        while let Parsed::Record(record, len) = record::parse(rest) {
            records.push(record);
            rest = &rest[len..];
        }
    }
    records.sort_by_key(|record| record.head.offset);
    let mut own = Content::new();
    for record in records {
        match record.head.kind {
            Kind::Put => {
                let value = (record.value.to_vec(), record.head.expire_at);
                own.insert(record.key.to_vec(), value);
            }
            Kind::Delete => {
                own.remove(record.key);
            }
            Kind::Flush => own.clear(),
            Kind::Epoch | Kind::Clock | Kind::Gap => {}
        }
    }
    Some(own)
}
