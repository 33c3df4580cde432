//! Where the last replica in sync has come back from an unclean stop, acknowledged writes may be lost; but not
//! what somebody has who was in sync with it and is there: the longest log of all is taken (KIP-966,
//! "unclean recovery"; DESIGN §4).
//!
//! So under a relaxed fsync nothing is lost as long as one of those who acknowledged it keeps its power and is
//! heard of in time.

use kvnode_core::{NodeId, Offset, PartitionId};

use super::Found;

/// Somebody is elected for its log, which lacks what is committed there. `there`: who else is active and was
/// in sync last, and whether its log holds that.
pub(crate) fn check(
    partition: PartitionId,
    elected: NodeId,
    lacks: Option<Offset>,
    there: &[(NodeId, bool)],
) -> Option<Found> {
    let lacks = lacks?;
    let (other, _) = there.iter().find(|(node, holds)| *holds && *node != elected)?;
    let text = format!(
        "{elected} is to lead {partition} for its log, which lacks {}, and {other} is there and has it",
        lacks.0
    );
    Some(("longest log", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_log_is_not_taken_while_a_longer_one_is_there() {
        let (p, n) = (PartitionId(0), NodeId);
        let is = |lacks: Option<u64>, there: &[(NodeId, bool)]| {
            check(p, n(1), lacks.map(Offset), there).is_none()
        };
        assert!(is(None, &[(n(2), true)]), "it has all");
        assert!(is(Some(7), &[(n(1), true), (n(2), false)]), "nobody else has more");
        assert!(!is(Some(7), &[(n(2), false), (n(3), true)]));
    }
}
