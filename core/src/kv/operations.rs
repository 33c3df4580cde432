//! What whoever runs the node asks of it beside CONFIG: saving, monitoring, stopping.
//!
//! There is nothing to save that the log does not have: BGSAVE and SAVE make what is written durable
//! now, which with `--fsync always` it is already, and LASTSAVE tells when all that was acknowledged
//! was last durable. BGREWRITEAOF has the partitions look for garbage to compact without waiting
//! for their next turn.

use super::request::Request;
use super::{Session, Stop, Txn};
use crate::args::Args;
use crate::reply::Reply;

pub(super) fn save(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Err(Stop::Server(Request::Sync { background: false }))
}

pub(super) fn bgsave(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    match args[1..] {
        [] => {}
        [option] if option.eq_ignore_ascii_case(b"SCHEDULE") => {}
        _ => return Err(Stop::SYNTAX),
    }
    Err(Stop::Server(Request::Sync { background: true }))
}

pub(super) fn lastsave(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Err(Stop::Server(Request::LastSync))
}

pub(super) fn bgrewriteaof(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Err(Stop::Server(Request::Compact))
}

pub(super) fn monitor(_: Args<'_>, session: &mut Session, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    if session.settings.monitors {
        return Ok(Reply::OK);
    }
    Err(Stop::Server(Request::Monitor))
}

/// A clean stop in any case: there is no other, and none can be called off.
pub(super) fn shutdown(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    let (mut save, mut nosave, mut abort, mut other) = (false, false, false, false);
    for option in &args[1..] {
        match option.to_ascii_uppercase().as_slice() {
            b"SAVE" => save = true,
            b"NOSAVE" => nosave = true,
            b"NOW" | b"FORCE" => other = true,
            b"ABORT" => abort = true,
            _ => return Err(Stop::SYNTAX),
        }
    }
    if save && nosave || abort && (save || nosave || other) {
        return Err(Stop::SYNTAX);
    }
    if abort {
        return Err(Stop::error("ERR No shutdown in progress."));
    }
    Err(Stop::Server(Request::Shutdown))
}

pub(super) fn modules(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(Reply::Array([].into()))
}

pub(super) fn debug(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Err(Stop::error(
        "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you \
         can run it from a local connection, otherwise you need to set this option in the \
         configuration file, and then restart the server.",
    ))
}
