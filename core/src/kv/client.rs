//! CLIENT: this connection and the others.
//!
//! What is about other connections is the [shard](crate::shard)'s to do; here the words are
//! understood. There is no CLIENT TRACKING: values are not kept by clients.
//!
//! # Numbers of CLIENT LIST
//!
//! They are of what the shard holds: `argv-mem` is the command that waits (for the disk, a commit, the
//! end of CLIENT PAUSE), `multi-mem` those that wait for EXEC, `oll` and `omem` are the replies that
//! wait for a commit or behind one that does, and `tot-mem` is the sum of these. Bytes that have come
//! or are to be sent belong to the driver, whose buffers are shared by its connections, and the shard
//! does not see them: `qbuf`, `qbuf-free`, `rbs`, `rbp` and `obl` are 0, `fd` is -1, and `events` is
//! `r`, since it takes what comes.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::connection::{check_name, id, is_plain, not_empty};
use super::find::{shown, wrong_form};
use super::number::parse;
use super::request::{Chosen, KillFilter, Kind, Pause, Request};
use super::session::Replies;
use super::{Session, Stop, Txn};
use crate::args::Args;
use crate::reply::Reply;
use crate::{ClientId, Value};

pub(super) fn client_id(
    _: Args<'_>,
    session: &mut Session,
    _: &mut Txn<'_>,
) -> Result<Reply, Stop> {
    Ok(id(session))
}

pub(super) fn getname(_: Args<'_>, session: &mut Session, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(session.settings.name.clone().map_or(Reply::Null, Reply::Bulk))
}

pub(super) fn setname(
    args: Args<'_>,
    session: &mut Session,
    _: &mut Txn<'_>,
) -> Result<Reply, Stop> {
    check_name(args[2])?;
    session.settings.name = not_empty(args[2]);
    Ok(Reply::OK)
}

pub(super) fn setinfo(
    args: Args<'_>,
    session: &mut Session,
    _: &mut Txn<'_>,
) -> Result<Reply, Stop> {
    let (option, value) = (args[2], args[3]);
    let setting = if option.eq_ignore_ascii_case(b"LIB-NAME") {
        &mut session.settings.lib_name
    } else if option.eq_ignore_ascii_case(b"LIB-VER") {
        &mut session.settings.lib_version
    } else {
        return refuse(format!("ERR Unrecognized option '{}'", shown(option)));
    };
    if !is_plain(value) {
        let option = shown(option);
        return refuse(format!(
            "ERR {option} cannot contain spaces, newlines or special characters."
        ));
    }
    *setting = not_empty(value);
    Ok(Reply::OK)
}

pub(super) fn info(_: Args<'_>, session: &mut Session, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Err(Stop::Server(Request::ListClients(Chosen::Ids(vec![session.id()]))))
}

pub(super) fn list(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let chosen = match args[2..] {
        [] => Chosen::All,
        [option, kind] if is(option, "TYPE") => Chosen::Kind(kind_of(kind)?),
        [option, ref ids @ ..] if is(option, "ID") && !ids.is_empty() => {
            let parse = |text: &&[u8]| parse(text).ok_or(Stop::error("ERR Invalid client ID"));
            let ids = ids.iter().map(parse).collect::<Result<Vec<i64>, Stop>>()?;
            let known = |id: i64| u64::try_from(id).ok().map(ClientId);
            Chosen::Ids(ids.into_iter().filter_map(known).collect())
        }
        _ => return Err(Stop::SYNTAX),
    };
    Err(Stop::Server(Request::ListClients(chosen)))
}

pub(super) fn kill(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    if let [address] = args[2..] {
        let filter = KillFilter { address: Some(text(address)), ..KillFilter::default() };
        return Err(Stop::Server(Request::KillAddress(filter)));
    }
    let mut filter = KillFilter { skip_me: true, ..KillFilter::default() };
    let mut rest = args[2..].iter();
    while let Some(option) = rest.next() {
        let value = *rest.next().ok_or(Stop::SYNTAX)?;
        match option.to_ascii_uppercase().as_slice() {
            b"ID" => {
                let known = parse(value).and_then(|id| u64::try_from(id).ok()).filter(|&id| id > 0);
                filter.id = Some(ClientId(
                    known.ok_or(Stop::error("ERR client-id should be greater than 0"))?,
                ));
            }
            b"TYPE" => filter.kind = Some(kind_of(value)?),
            b"ADDR" => filter.address = Some(text(value)),
            b"LADDR" => filter.local = Some(text(value)),
            b"USER" if txn.view().server().acl.user(value).is_some() => {
                filter.user = Some(Value::copy_from(value));
            }
            b"USER" => return refuse(format!("ERR No such user '{}'", shown(value))),
            b"SKIPME" if value.eq_ignore_ascii_case(b"YES") => filter.skip_me = true,
            b"SKIPME" if value.eq_ignore_ascii_case(b"NO") => filter.skip_me = false,
            _ => return Err(Stop::SYNTAX),
        }
    }
    Err(Stop::Server(Request::KillClients(filter)))
}

pub(super) fn reply(args: Args<'_>, session: &mut Session, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    let replies = &mut session.settings.replies;
    match args[2].to_ascii_uppercase().as_slice() {
        b"ON" => *replies = Replies::default(),
        b"OFF" => replies.off = true,
        // This one and the next.
        b"SKIP" => replies.skip = 2,
        _ => return Err(Stop::SYNTAX),
    }
    Ok(Reply::OK)
}

pub(super) fn pause(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    let writes_alone = match args[3..] {
        [] => false,
        [mode] if mode.eq_ignore_ascii_case(b"ALL") => false,
        [mode] if mode.eq_ignore_ascii_case(b"WRITE") => true,
        [_] => return Err(Stop::error("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(Stop::Error(wrong_form(args))),
    };
    let timeout = parse(args[2])
        .ok_or(Stop::error("ERR timeout is not an integer or out of range"))
        .and_then(|ms| u64::try_from(ms).map_err(|_| Stop::error("ERR timeout is negative")))?;
    if timeout > PAUSE_MS_MAX {
        return Err(Stop::error("ERR timeout is out of range"));
    }
    Err(Stop::Server(Request::Pause(Pause { timeout_ms: timeout, writes_alone })))
}

pub(super) fn unpause(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Err(Stop::Server(Request::Unpause))
}

pub(super) fn unblock(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    let with_error = match args[3..] {
        [] => false,
        [reason] if reason.eq_ignore_ascii_case(b"TIMEOUT") => false,
        [reason] if reason.eq_ignore_ascii_case(b"ERROR") => true,
        [_] => return Err(Stop::error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
        _ => return Err(Stop::Error(wrong_form(args))),
    };
    let id = super::number::integer(args[2])?;
    // No client has a number below one.
    let id = ClientId(u64::try_from(id).unwrap_or_default());
    Err(Stop::Server(Request::Unblock { id, with_error }))
}

/// No client is ever closed to save memory, nor does a read change what is kept of its key: it is so
/// whether a client says ON or OFF, and is taken for the libraries that say it.
pub(super) fn no_evict(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    match args[2].to_ascii_uppercase().as_slice() {
        b"ON" | b"OFF" => Ok(Reply::OK),
        _ => Err(Stop::SYNTAX),
    }
}

pub(super) fn getredir(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(Reply::Int(-1))
}

fn kind_of(name: &[u8]) -> Result<Kind, Stop> {
    match name.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(Kind::Normal),
        // There are none: nodes have links of their own, and there is no Pub/Sub.
        b"master" | b"replica" | b"slave" | b"pubsub" => Ok(Kind::Other),
        _ => Err(Stop::Error(Reply::error_owned(format!(
            "ERR Unknown client type '{}'",
            shown(name)
        )))),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn refuse(text: String) -> Result<Reply, Stop> {
    Err(Stop::Error(Reply::error_owned(text)))
}

/// Longest CLIENT PAUSE, in milliseconds: some hundred years.
const PAUSE_MS_MAX: u64 = 1 << 42;
