//! A leader's watermark does not go back in its reign, is not beyond what the leader itself acknowledges,
//! and stands while the in-sync set is smaller than min-ISR (KIP-101; Kafka's `min.insync.replicas`).

use kvnode_core::{Epoch, Offset};

use super::Found;

/// A leader at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Its reign.
    pub(crate) epoch: Epoch,
    /// Its watermark.
    pub(crate) watermark: Offset,
    /// What it acknowledges itself.
    pub(crate) acked: Offset,
}

/// What the leader knows of its in-sync set: how many are in it, and how many are needed.
pub(crate) type Count = (usize, usize);

/// A leader has come from one moment to the next.
pub(crate) fn check(
    who: &str,
    before: Option<Standing>,
    now: Standing,
    (isr, min_isr): Count,
) -> Option<Found> {
    let before = before.filter(|before| before.epoch == now.epoch);
    let was = before.map(|before| before.watermark);
    let wrong = if was.is_some_and(|was| now.watermark < was) {
        "went back"
    } else if now.watermark > now.acked {
        "is beyond what the leader acknowledges"
    } else if was.is_some_and(|was| now.watermark > was) && isr < min_isr {
        "moved below min-ISR"
    } else {
        return None;
    };
    let was = was.map_or_else(String::new, |was| format!(", was {}", was.0));
    let text = format!(
        "of {who} in {} {wrong}: {}{was}, acknowledged {}, {isr} in sync of {min_isr}",
        now.epoch, now.watermark.0, now.acked.0
    );
    Some(("watermark", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u32, watermark: u64) -> Standing {
        Standing { epoch: Epoch(epoch), watermark: Offset(watermark), acked: Offset(10) }
    }

    #[test]
    fn a_watermark_goes_forward_and_not_too_far() {
        let is = |before, now, count| check("n1", Some(before), now, count).is_none();
        assert!(is(at(1, 5), at(1, 7), (2, 2)) && is(at(1, 5), at(1, 5), (1, 2)));
        assert!(is(at(1, 5), at(2, 4), (1, 2)), "another reign");
        assert!(!is(at(1, 5), at(1, 4), (2, 2)), "back");
        assert!(!is(at(1, 5), at(1, 11), (2, 2)), "beyond its own end");
        assert!(!is(at(1, 5), at(1, 6), (1, 2)), "below min-ISR");
    }
}
