//! MULTI, EXEC, DISCARD, WATCH and UNWATCH.
//!
//! The queued commands are evaluated one after the other in one [`Txn`], so they become one atomic
//! batch. Each can fail by itself; the others still count. If any of them has to wait for a read,
//! the rest is evaluated all the same, for the reads that it will ask for, and then everything is
//! thrown away and evaluated again.
//!
//! All keys of the queued commands are of one partition, those of DEL, MGET and the like too: one
//! batch in one log. Watched keys may be of others: of them EXEC asks only whether a change was
//! logged since WATCH, so that a change that is dropped again can abort it but not mislead it.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use super::find::shown;
use super::session::{Session, Transaction, Watched};
use super::txn::for_all;
use super::{CROSSSLOT, Stop, Txn, View, are_together};
use crate::Value;
use crate::args::Args;
use crate::limits::{WATCHED_BYTES_MAX, WATCHED_KEYS_MAX};
use crate::reply::Reply;

pub(super) fn multi(_: Args<'_>, session: &mut Session, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    if session.in_transaction() {
        return Err(Stop::error("ERR MULTI calls can not be nested"));
    }
    session.transaction = Some(Transaction::default());
    Ok(Reply::OK)
}

pub(super) fn exec(_: Args<'_>, session: &mut Session, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let Some(transaction) = &session.transaction else {
        return Err(Stop::error("ERR EXEC without MULTI"));
    };
    if !transaction.is_together(txn.view()) {
        session.end_transaction(txn.view());
        return Err(Stop::Error(CROSSSLOT));
    }
    let aborted = transaction.aborted;
    let changed = if aborted { Ok(false) } else { session.watched_changed(txn) };
    if matches!(changed, Err(Stop::Error(_))) {
        session.end_transaction(txn.view());
    }
    let reply = if changed? {
        Reply::NullArray
    } else if aborted {
        Reply::error("EXECABORT Transaction discarded because of previous errors.")
    } else {
        let transaction = session.transaction.as_ref().expect("it was there above");
        let mut draft = session.draft();
        let replies = transaction.run(&mut draft, txn)?;
        session.settings = draft.settings;
        Reply::Array(replies)
    };
    session.end_transaction(txn.view());
    Ok(reply)
}

pub(super) fn discard(
    _: Args<'_>,
    session: &mut Session,
    txn: &mut Txn<'_>,
) -> Result<Reply, Stop> {
    if !session.in_transaction() {
        return Err(Stop::error("ERR DISCARD without MULTI"));
    }
    session.end_transaction(txn.view());
    Ok(Reply::OK)
}

pub(super) fn watch(
    args: Args<'_>,
    session: &mut Session,
    txn: &mut Txn<'_>,
) -> Result<Reply, Stop> {
    if session.in_transaction() {
        return Err(Stop::error("ERR WATCH inside MULTI is not allowed"));
    }
    let keys = &args[1..];
    let new = |key: &&&[u8]| !session.watched.contains_key(**key);
    let watched = session.watched.len();
    // Nothing but a call that may go beyond the limit looks for keys named twice.
    if watched + keys.len() > WATCHED_KEYS_MAX
        && watched + keys.iter().filter(new).collect::<BTreeSet<_>>().len() > WATCHED_KEYS_MAX
    {
        return Err(Stop::error("ERR a client can watch at most 65536 keys; UNWATCH some first"));
    }
    let held: usize = session.watched.keys().map(|key| key.len()).sum();
    if held + keys.iter().map(|key| key.len()).sum::<usize>() > WATCHED_BYTES_MAX {
        return Err(Stop::error(
            "ERR a client can watch keys of at most 16 MiB; UNWATCH some first",
        ));
    }
    let existed = for_all(keys.iter(), |key| txn.exists(key))?;
    for (&key, existed) in keys.iter().zip(existed) {
        if !session.watched.contains_key(key) {
            txn.view().watch(key);
            let version = txn.view().watched_version(key);
            session.watched.insert(Value::copy_from(key), Watched { version, existed });
        }
    }
    Ok(Reply::OK)
}

/// Inside EXEC it finds nothing left to do: EXEC itself lets go of the watched keys.
pub(super) fn unwatch(
    _: Args<'_>,
    session: &mut Session,
    txn: &mut Txn<'_>,
) -> Result<Reply, Stop> {
    session.release(txn.view());
    Ok(Reply::OK)
}

impl Session {
    /// Forgets the transaction and the watched keys.
    pub(super) fn end_transaction(&mut self, view: &mut dyn View) {
        self.transaction = None;
        self.release(view);
    }

    /// The reply to an EXEC that can not be right: it ends the transaction, if there is one.
    pub(super) fn refuse_exec(&mut self, error: Reply, view: &mut dyn View) -> Reply {
        self.end_transaction(view);
        let Reply::Error(text) = error else { unreachable!("a refusal is an error") };
        let mut reply = String::from("EXECABORT Transaction discarded because of: ");
        reply.push_str(&shown(text.strip_prefix("ERR ").unwrap_or(&text).as_bytes()));
        Reply::error_owned(reply)
    }

    /// Whether a watched key was changed, or has expired, since WATCH.
    fn watched_changed(&self, txn: &mut Txn<'_>) -> Result<bool, Stop> {
        for (key, watched) in &self.watched {
            let changed = txn.view().watched_version(key) != watched.version;
            if changed || (watched.existed && !txn.exists(key)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Transaction {
    /// Whether one partition holds all its keys.
    fn is_together(&self, view: &dyn View) -> bool {
        if view.partitions() <= 1 {
            return true;
        }
        let args: Vec<_> = self.queue.iter().map(|(_, args)| args.as_slices()).collect();
        let commands = self.queue.iter().map(|(command, _)| command);
        are_together(view, commands.zip(&args).flat_map(|(command, args)| command.keys(args)))
    }

    fn run(&self, draft: &mut Session, txn: &mut Txn<'_>) -> Result<Vec<Reply>, Stop> {
        for_all(self.queue.iter(), |(command, args)| {
            let args = args.as_slices();
            if let Err(refused) = draft.authorize_queued(command, &args, txn.view().server()) {
                return Ok(refused);
            }
            txn.mark();
            let result = command.run(&args, draft, txn);
            if result.is_err() {
                txn.undo();
            }
            match result {
                Err(Stop::Error(reply)) => Ok(reply),
                Ok(_) | Err(Stop::Read | Stop::Clock | Stop::Acks(_) | Stop::Server(_)) => result,
            }
        })
    }
}

const _: () = assert!(WATCHED_KEYS_MAX == 65_536, "the error text names it");
const _: () = assert!(WATCHED_BYTES_MAX == 16 << 20, "the error text names it");
