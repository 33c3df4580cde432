//! Whoever is in the in-sync set, or may be by what its leader has asked for, has acknowledged all that is
//! before the watermark (PacificA §2.2; KIP-497 for those who are asked for): it may lead next.

use kvnode_core::shard::ReplicaGlance;
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

/// Who follows is let in for what its log holds, so that it can read all of it, as far as it knows.
pub(crate) fn readable(who: &str, replica: &ReplicaGlance) -> Option<Found> {
    let (leader, epoch) = replica.follows.filter(|_| replica.open && replica.damaged)?;
    let text = format!(
        "{who} follows {leader} in {epoch} of {}, and a part of its log can not be read",
        replica.partition
    );
    Some(("in-sync set complete", text))
}

#[cfg(test)]
mod tests {
    use kvnode_core::Epoch;

    use super::*;

    #[test]
    fn whoever_follows_with_a_damaged_log_is_seen() {
        let whole = ReplicaGlance {
            partition: PartitionId(0),
            leads: None,
            follows: Some((NodeId(2), Epoch(3))),
            serves: false,
            open: true,
            damaged: false,
            epoch: Epoch(3),
            log_end: Offset(7),
            shippable_end: Offset(7),
            acked_end: Offset(7),
            watermark: Offset(7),
            committed_clock: 0,
        };
        assert_eq!(readable("n1", &whole), None);
        let damaged = ReplicaGlance { damaged: true, ..whole };
        assert!(readable("n1", &damaged).is_some());
        // One that is read anew, and one that is alone in having what it has.
        assert_eq!(readable("n1", &ReplicaGlance { open: false, ..damaged }), None);
        assert_eq!(readable("n1", &ReplicaGlance { follows: None, ..damaged }), None);
    }

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
