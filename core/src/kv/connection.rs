//! Commands about the client and its connection.

use alloc::format;
use alloc::vec;

use super::find::{shown, wrong_arity};
use super::keys::require_database;
use super::number::parse;
use super::session::Replies;
use super::{REDIS_VERSION, Session, Stop, Txn};
use crate::Value;
use crate::args::Args;
use crate::reply::{Protocol, Reply};

pub(super) fn ping(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    match args[1..] {
        [] => Ok(Reply::Simple("PONG")),
        [message] => Ok(Reply::bulk(message)),
        _ => Err(Stop::Error(wrong_arity("ping"))),
    }
}

pub(super) fn echo(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(Reply::bulk(args[1]))
}

pub(super) fn select(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    require_database(args[1])?;
    Ok(Reply::OK)
}

pub(super) fn quit(_: Args<'_>, session: &mut Session, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    session.settings.closing = true;
    Ok(Reply::OK)
}

pub(super) fn reset(_: Args<'_>, session: &mut Session, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    session.end_transaction(txn.view());
    session.settings.protocol = Protocol::default();
    session.settings.name = None;
    session.settings.nearby = false;
    session.settings.monitors = false;
    session.settings.replies = Replies::default();
    session.forget_user(txn.view().server());
    Ok(Reply::Simple("RESET"))
}

pub(super) fn readonly(
    _: Args<'_>,
    session: &mut Session,
    txn: &mut Txn<'_>,
) -> Result<Reply, Stop> {
    txn.view().cluster()?;
    session.settings.nearby = true;
    Ok(Reply::OK)
}

pub(super) fn readwrite(
    _: Args<'_>,
    session: &mut Session,
    txn: &mut Txn<'_>,
) -> Result<Reply, Stop> {
    txn.view().cluster()?;
    session.settings.nearby = false;
    Ok(Reply::OK)
}

pub(super) fn hello(
    args: Args<'_>,
    session: &mut Session,
    txn: &mut Txn<'_>,
) -> Result<Reply, Stop> {
    let protocol = args.get(1).map_or(Ok(session.protocol()), |version| parse_version(version))?;
    let (mut login, mut name) = (None, None);
    let mut rest = args.get(2..).unwrap_or_default().iter().copied();
    while let Some(option) = rest.next() {
        if option.eq_ignore_ascii_case(b"AUTH") && rest.len() >= 2 {
            login = rest.next().zip(rest.next());
        } else if option.eq_ignore_ascii_case(b"SETNAME") && rest.len() >= 1 {
            name = rest.next();
            name.map_or(Ok(()), check_name)?;
        } else {
            let text = format!("ERR Syntax error in HELLO option '{}'", shown(option));
            return Err(Stop::Error(Reply::error_owned(text)));
        }
    }
    let server = txn.view().server();
    if let Some((user, password)) = login {
        session.authenticate(user, password, server)?;
    }
    if session.is_stranger(&server.acl) {
        return Err(Stop::error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        session.settings.name = not_empty(name);
    }
    session.settings.protocol = protocol;
    let mode = if txn.view().cluster().is_ok() { "cluster" } else { "standalone" };
    Ok(greeting(session, mode))
}

fn parse_version(text: &[u8]) -> Result<Protocol, Stop> {
    match parse(text) {
        Some(2) => Ok(Protocol::Resp2),
        Some(3) => Ok(Protocol::Resp3),
        Some(_) => Err(Stop::error("NOPROTO unsupported protocol version")),
        None => Err(Stop::error("ERR Protocol version is not an integer or out of range")),
    }
}

pub(super) fn check_name(name: &[u8]) -> Result<(), Stop> {
    if is_plain(name) {
        return Ok(());
    }
    Err(Stop::error("ERR Client names cannot contain spaces, newlines or special characters."))
}

pub(super) fn is_plain(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

pub(super) fn not_empty(text: &[u8]) -> Option<Value> {
    (!text.is_empty()).then(|| Value::copy_from(text))
}

fn greeting(session: &Session, mode: &str) -> Reply {
    let protocol = match session.protocol() {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    };
    let field = |name: &str, value| (Reply::bulk(name.as_bytes()), value);
    Reply::Map(vec![
        field("server", Reply::bulk(b"redis")),
        field("version", Reply::bulk(REDIS_VERSION.as_bytes())),
        field("proto", Reply::Int(protocol)),
        field("id", id(session)),
        field("mode", Reply::bulk(mode.as_bytes())),
        field("role", Reply::bulk(b"master")),
        field("modules", Reply::Array(vec![])),
    ])
}

pub(super) fn id(session: &Session) -> Reply {
    Reply::Int(i64::try_from(session.id().0).expect("connections are counted from one"))
}
