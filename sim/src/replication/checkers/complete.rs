//! Whoever is in the in-sync set, or may be by what its leader has asked for, has acknowledged all that is
//! before the watermark (PacificA §2.2; KIP-497 for those who are asked for): it may lead next.

use kvnode_core::{NodeId, Offset, PartitionId};

use super::Found;

/// The watermark of a leader, and how far each of them has come, as far as that is known.
pub(crate) fn check(
    who: &str,
    partition: PartitionId,
    watermark: Offset,
    members: &[(NodeId, Option<Offset>)],
) -> Option<Found> {
    let short = |(_, acked): &&(NodeId, Option<Offset>)| acked.is_some_and(|end| end < watermark);
    let (member, acked) = members.iter().find(short)?;
    let acked = acked.map_or(0, |acked| acked.0);
    let text = format!(
        "{who} has {partition} committed to {}, and {member} of its in-sync set has \
         acknowledged {acked}",
        watermark.0
    );
    Some(("in-sync set complete", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_lacks_what_is_committed_is_seen() {
        let is = |ends: [Option<u64>; 2]| {
            let [a, b] = ends.map(|end| end.map(Offset));
            let members = [(NodeId(1), a), (NodeId(2), b)];
            check("n1", PartitionId(0), Offset(7), &members).is_none()
        };
        assert!(is([Some(9), Some(7)]) && is([Some(7), None]));
        assert!(!is([Some(9), Some(6)]));
    }
}
