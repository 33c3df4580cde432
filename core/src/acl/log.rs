//! What was refused lately: ACL LOG.

use alloc::collections::VecDeque;

use crate::limits::ACL_LOG_MAX;
use crate::{Millis, Value};

/// The last refusals, the newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    next_id: i64,
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A wrong password, or no such user.
    Auth,
    /// The user may not run the command.
    Command,
    /// The user may not use the key so.
    Key,
}

/// Where it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// Outside a transaction.
    Toplevel,
    /// Inside one.
    Multi,
}

/// One kind of refusal, and how often it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    pub(crate) count: u64,
    pub(crate) reason: Reason,
    pub(crate) context: Context,
    /// The command, or the key.
    pub(crate) object: Value,
    pub(crate) user: Value,
    /// The client as CLIENT LIST shows it.
    pub(crate) client: Value,
    pub(crate) created_ms: Millis,
    pub(crate) updated_ms: Millis,
}

/// Refusals of the same kind that follow within this time are one entry.
const SAME_MS: Millis = 60_000;

impl Log {
    /// Adds a refusal; its `id`, `count` and times are set here.
    pub(crate) fn add(&mut self, now_ms: Millis, entry: Entry) {
        let same = |known: &Entry| {
            known.reason == entry.reason
                && known.context == entry.context
                && known.object == entry.object
                && known.user == entry.user
                && now_ms.saturating_sub(known.created_ms) < SAME_MS
        };
        if let Some(mut known) =
            self.entries.iter().position(same).and_then(|at| self.entries.remove(at))
        {
            known.count += 1;
            known.updated_ms = now_ms;
            known.client = entry.client;
            self.entries.push_front(known);
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        let entry = Entry { id, count: 1, created_ms: now_ms, updated_ms: now_ms, ..entry };
        self.entries.push_front(entry);
        self.entries.truncate(ACL_LOG_MAX);
    }

    /// The entries, the newest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}
