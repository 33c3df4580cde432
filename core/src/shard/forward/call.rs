//! A command in parts, and how their replies become one.

use alloc::vec::Vec;

use super::message::Command;
use super::transaction::Watches;
use crate::reply::Reply;
use crate::shard::errors;
use crate::{Epoch, Instant, NodeId, PartitionId};

/// A command under way in other places.
#[derive(Debug)]
pub(in crate::shard) struct Call {
    pub(super) parts: Vec<Part>,
    pub(super) merge: Merge,
    /// It changes nothing, so that it may be asked twice.
    pub(super) reads: bool,
    /// It may be asked in one reign alone.
    pub(super) pinned: Option<Pinned>,
    /// When it is given up.
    pub(super) until: Instant,
}

/// A node, in a reign in which it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PinnedTo {
    pub(super) node: NodeId,
    pub(super) epoch: Epoch,
}

/// The command is one of a transaction with watched keys.
#[derive(Clone, Debug)]
pub(super) struct Pinned {
    pub(super) to: PinnedTo,
    pub(super) watches: Watches,
    pub(super) otherwise: Otherwise,
}

/// What becomes of a pinned command that can not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// It is a WATCH: what is watched is lost, and EXEC will tell.
    Lost,
    /// It is an EXEC, and aborted.
    Aborted,
}

/// What is asked of one partition.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) partition: PartitionId,
    /// Taken by the last ask that can not be repeated.
    pub(super) commands: Vec<Command>,
    pub(super) reply: Option<Reply>,
    /// Who was asked last does not lead, since its disk is full.
    pub(super) no_room: bool,
}

/// How the replies of the parts become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// There is one part.
    Only,
    /// There is one part, a transaction; these of its commands, in their order, were answered
    /// before it was sent.
    Transaction(Vec<(usize, Reply)>),
    /// Numbers are added.
    Sum,
    /// Items stand where they were asked for: of which part, in order of the whole.
    Order(Vec<usize>),
    /// Arrays follow each other.
    Concat,
    /// All are alike.
    First,
    /// One of those that are not null is chosen by this number.
    OneOf(u64),
    /// A step of SCAN in this partition of so many; see [`cursor`](super::split).
    Scan(PartitionId, u32),
}

impl Call {
    /// Whether every part is answered.
    pub(super) fn is_done(&self) -> bool {
        self.parts.iter().all(|part| part.reply.is_some())
    }

    /// The reply to the whole.
    pub(in crate::shard) fn compose(self) -> Reply {
        let parts = self.parts.len();
        let replies: Vec<Reply> = self.parts.into_iter().filter_map(|part| part.reply).collect();
        assert!(replies.len() == parts, "it is done");
        let failed = |reply: &&Reply| matches!(reply, Reply::Error(_));
        let done = parts - replies.iter().filter(failed).count();
        // What may have been applied in one partition must not be called refused for what another says.
        let in_doubt = replies.iter().find(|reply| errors::is_in_doubt(reply));
        if let Some(error) = in_doubt.or_else(|| replies.iter().find(failed)) {
            if let Reply::Error(text) = error
                && done > 0
                && !self.reads
            {
                return Reply::error_owned(alloc::format!(
                    "PARTIAL the command was applied in {done} of {parts} partitions; in another: \
                     {text}"
                ));
            }
            return error.clone();
        }
        merge(self.merge, replies)
    }
}

fn merge(merge: Merge, replies: Vec<Reply>) -> Reply {
    let items = |reply| if let Reply::Array(items) = reply { items } else { alloc::vec![reply] };
    match merge {
        Merge::Only | Merge::First => {
            replies.into_iter().next().expect("a call has at least one part")
        }
        Merge::Transaction(answered) => {
            let reply = replies.into_iter().next().expect("a transaction is one part");
            let Reply::Array(items) = reply else { return reply };
            Reply::Array(put_in_place(items, answered))
        }
        Merge::Sum => Reply::Int(replies.iter().fold(0, |sum, reply| {
            if let Reply::Int(n) = reply { i64::saturating_add(sum, *n) } else { sum }
        })),
        Merge::Order(order) => {
            let mut parts: Vec<_> = replies.into_iter().map(|r| items(r).into_iter()).collect();
            let next = |part: usize| parts[part].next().unwrap_or(Reply::Null);
            Reply::Array(order.into_iter().map(next).collect())
        }
        Merge::Concat => Reply::Array(replies.into_iter().flat_map(items).collect()),
        Merge::OneOf(random) => {
            let mut found: Vec<_> = replies.into_iter().filter(|r| *r != Reply::Null).collect();
            match found.len() as u64 {
                0 => Reply::Null,
                count => found.swap_remove((random % count) as usize),
            }
        }
        Merge::Scan(partition, partitions) => {
            let reply = replies.into_iter().next().expect("a step is one part");
            super::split::scanned(reply, partition, partitions)
        }
    }
}

/// The replies of the leader with those between them that were given before.
fn put_in_place(items: Vec<Reply>, answered: Vec<(usize, Reply)>) -> Vec<Reply> {
    let mut all = Vec::with_capacity(items.len() + answered.len());
    let mut items = items.into_iter();
    for (at, reply) in answered {
        let before = at.saturating_sub(all.len());
        all.extend(items.by_ref().take(before));
        all.push(reply);
    }
    all.extend(items);
    all
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn told(replies: &[Reply]) -> String {
        let part = |(i, reply): (usize, &Reply)| Part {
            partition: PartitionId(i as u32),
            commands: Vec::new(),
            reply: Some(reply.clone()),
            no_room: false,
        };
        let parts = replies.iter().enumerate().map(part).collect();
        let call =
            Call { parts, merge: Merge::First, reads: false, pinned: None, until: Instant(0) };
        let reply = call.compose();
        if let Reply::Error(text) = reply { text.into() } else { alloc::format!("{reply:?}") }
    }

    #[test]
    fn whatever_a_leader_answers_is_put_together() {
        let int = || Reply::Int(i64::MAX);
        assert_eq!(merge(Merge::Sum, alloc::vec![int(), int()]), int());
        let cursor = Reply::bulk(alloc::format!("{}", u64::MAX / 3).as_bytes());
        let step = Reply::Array(alloc::vec![cursor, Reply::Null]);
        let end = Reply::Array(alloc::vec![Reply::bulk(b"0"), Reply::Null]);
        assert_eq!(merge(Merge::Scan(PartitionId(2), 3), alloc::vec![step]), end);
        // Some of its replies are missing.
        let answered = alloc::vec![(1, Reply::OK), (5, Reply::Null)];
        let told = merge(Merge::Transaction(answered), alloc::vec![Reply::Array(Vec::new())]);
        assert_eq!(told, Reply::Array(alloc::vec![Reply::OK, Reply::Null]));
        let told = merge(Merge::Order(alloc::vec![0, 0]), alloc::vec![Reply::Int(1)]);
        assert_eq!(told, Reply::Array(alloc::vec![Reply::Int(1), Reply::Null]));
    }

    #[test]
    fn what_may_have_been_applied_in_one_partition_is_refused_by_none() {
        let refused = || Reply::error("TRYAGAIN its leader moved: nothing was changed");
        let unknown = || Reply::error("UNKNOWN it may or may not have been applied");
        assert!(told(&[refused(), unknown(), refused()]).starts_with("UNKNOWN "));
        assert!(told(&[unknown(), refused()]).starts_with("UNKNOWN "));
        assert!(told(&[refused(), refused()]).starts_with("TRYAGAIN "));
        let text = told(&[refused(), Reply::OK, unknown()]);
        assert!(text.starts_with("PARTIAL ") && text.contains("1 of 3"), "{text}");
        assert!(text.contains("UNKNOWN it may or may not"), "{text}");
    }
}
