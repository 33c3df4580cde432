//! Replicas at rest, with the same log end, say the same of every key (Schneider 1990, replicated state
//! machines), by a plain reading of their logs. What has expired may be gone from some and not from others.

use kvnode_core::{NodeId, PartitionId};

use super::Found;
use crate::storage::Content;

/// What each replica of a partition holds, at this log clock.
pub(crate) fn check(
    partition: PartitionId,
    replicas: &[(NodeId, Content)],
    clock_ms: u64,
) -> Option<Found> {
    let (first, rest) = replicas.split_first()?;
    let holds = |content: &Content, key: &[u8]| {
        let lives = |at: Option<u64>| at.is_none_or(|at| at > clock_ms);
        content.get(key).filter(|(_, expire_at)| lives(*expire_at)).cloned()
    };
    for other in rest {
        for key in first.1.keys().chain(other.1.keys()) {
            let (a, b) = (holds(&first.1, key), holds(&other.1, key));
            if a != b {
                let text = format!(
                    "{partition} at rest: {} is {} on {} and {} on {}",
                    key.escape_ascii(),
                    word(&a),
                    first.0,
                    word(&b),
                    other.0
                );
                return Some(("replicas equal", text));
            }
        }
    }
    None
}

fn word(held: &Option<(Vec<u8>, Option<u64>)>) -> String {
    match held {
        None => "not there".to_owned(),
        Some((value, at)) => {
            let shown = &value[..value.len().min(20)];
            let at = at.map(|at| format!(" (expires {at})")).unwrap_or_default();
            format!("{}{at}", shown.escape_ascii())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_that_differ_are_seen_unless_by_what_has_expired() {
        let content = |value: &str, at| {
            let mut content = Content::new();
            content.insert(b"k".to_vec(), (value.as_bytes().to_vec(), at));
            content
        };
        let check = |a: Content, b: Content| {
            let all = [(NodeId(1), a), (NodeId(2), b)];
            check(PartitionId(0), &all, 100).is_none()
        };
        assert!(check(content("a", None), content("a", None)));
        assert!(check(content("a", Some(100)), Content::new()));
        assert!(!check(content("a", Some(101)), Content::new()));
        assert!(!check(Content::new(), content("a", None)));
        assert!(!check(content("a", None), content("b", None)));
    }
}
