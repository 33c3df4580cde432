//! ACL: the users, and what they may do.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::auth::explain;
use super::command::{Categories, Command};
use super::find::{find_full, find_subcommand, shown, wrong_arity, wrong_form};
use super::introspect::everything;
use super::number::integer;
use super::request::Request;
use super::{Session, Stop, Txn, find};
use crate::Value;
use crate::acl::{Context, DEFAULT_USER, Entry, Reason, User};
use crate::args::Args;
use crate::reply::Reply;

pub(super) fn whoami(_: Args<'_>, session: &mut Session, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(Reply::Bulk(session.user().clone()))
}

pub(super) fn users(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let users = txn.view().server().acl.users();
    Ok(Reply::Array(users.map(|(name, _)| Reply::Bulk(name.clone())).collect()))
}

pub(super) fn list(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let line = |(name, user): (&Value, &User)| {
        Reply::bulk(&[b"user ", &name[..], b" ", &user.describe()].concat())
    };
    Ok(Reply::Array(txn.view().server().acl.users().map(line).collect()))
}

pub(super) fn cat(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    let names: Vec<&str> = match args[2..] {
        [] => Categories::ALL.names().map(|name| &name[1..]).collect(),
        [category] => {
            let Some(category) = Categories::named(&[b"@", category].concat()) else {
                let shown = shown(&category[..category.len().min(128)]);
                return Err(Stop::Error(Reply::error_owned(format!(
                    "ERR Unknown category '{shown}'"
                ))));
            };
            let within = |command: &&'static Command| command.categories.has(category);
            everything().into_iter().filter(within).map(|command| command.name).collect()
        }
        _ => return Err(Stop::Error(wrong_form(args))),
    };
    Ok(Reply::Array(names.into_iter().map(bulk).collect()))
}

pub(super) fn setuser(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    match txn.view().server().acl.set_user(args[2], &args[3..]) {
        Ok(()) => Ok(Reply::OK),
        Err(why) => Err(Stop::Error(Reply::error_owned(format!("ERR {why}")))),
    }
}

pub(super) fn getuser(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let Some(user) = txn.view().server().acl.user(args[2]) else { return Ok(Reply::Null) };
    let mut selectors = user.selectors().map(|(commands, keys, channels)| {
        [
            (bulk("commands"), bulk(&commands)),
            (bulk("keys"), Reply::bulk(&keys)),
            (bulk("channels"), bulk(channels)),
        ]
    });
    let root = selectors.next().expect("a user has one of its own");
    let mut fields = vec![
        (bulk("flags"), Reply::Set(user.flags().map(bulk).collect())),
        (bulk("passwords"), Reply::Array(user.passwords().map(|hash| bulk(&hash)).collect())),
    ];
    fields.extend(root);
    let others = selectors.map(|fields| Reply::Map(fields.into())).collect();
    fields.push((bulk("selectors"), Reply::Array(others)));
    Ok(Reply::Map(fields))
}

/// The connections of those who are deleted are closed, which the shard does.
pub(super) fn deluser(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    if args[2..].contains(&DEFAULT_USER) {
        return Err(Stop::error("ERR The 'default' user cannot be removed"));
    }
    let names = args[2..].iter().map(|name| Value::copy_from(name)).collect();
    Err(Stop::Server(Request::DeleteUsers(names)))
}

pub(super) fn genpass(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let bits = match args[2..] {
        [] => 256,
        [bits] => {
            let bits = integer(bits)?;
            usize::try_from(bits).ok().filter(|bits| (1..=4096).contains(bits)).ok_or(
                Stop::error(
                    "ERR ACL GENPASS argument must be the number of bits for the output password, \
                     a positive number up to 4096",
                ),
            )?
        }
        _ => return Err(Stop::Error(wrong_form(args))),
    };
    Ok(bulk(&txn.view().server().entropy.hex(bits.div_ceil(4))))
}

pub(super) fn dryrun(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let refuse = |text: String| Err(Stop::Error(Reply::error_owned(text)));
    let (name, args) = (args[2], &args[3..]);
    let Some(user) = txn.view().server().acl.user(name) else {
        return refuse(format!("ERR User '{}' not found", shown(name)));
    };
    let command = match (find(args[0]), args) {
        (Some(base), [_, sub, ..]) if !base.subcommands.is_empty() => find_subcommand(base, sub),
        (found, _) => found,
    };
    let by_full_name = || if find(args[0]).is_none() { find_full(args[0]) } else { None };
    let Some(command) = command.or_else(by_full_name) else {
        return refuse(format!("ERR Command '{}' not found", shown(args[0])));
    };
    if !command.accepts(args.len()) {
        return Err(Stop::Error(wrong_arity(command.name)));
    }
    Ok(match user.check(command, args) {
        Ok(()) => Reply::OK,
        Err(denied) => bulk(&explain(denied, name, command, true)),
    })
}

pub(super) fn log(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let now_ms = txn.view().wall_us() / 1_000;
    let log = &mut txn.view().server().acl_log;
    let count = match args[2..] {
        [] => 10,
        [word] if word.eq_ignore_ascii_case(b"RESET") => {
            log.clear();
            return Ok(Reply::OK);
        }
        [count] => usize::try_from(integer(count)?).unwrap_or(0),
        _ => return Err(Stop::Error(wrong_form(args))),
    };
    let describe = |entry: &Entry| {
        let millis = |ms: u64| Reply::Int(i64::try_from(ms).unwrap_or(i64::MAX));
        let reason = match entry.reason {
            Reason::Auth => "auth",
            Reason::Command => "command",
            Reason::Key => "key",
        };
        let context = match entry.context {
            Context::Toplevel => "toplevel",
            Context::Multi => "multi",
        };
        let age = now_ms.saturating_sub(entry.created_ms);
        let age = match age % 1_000 {
            0 => format!("{}", age / 1_000),
            ms => format!("{}.{}", age / 1_000, format!("{ms:03}").trim_end_matches('0')),
        };
        Reply::Map(vec![
            (bulk("count"), millis(entry.count)),
            (bulk("reason"), bulk(reason)),
            (bulk("context"), bulk(context)),
            (bulk("object"), Reply::Bulk(entry.object.clone())),
            (bulk("username"), Reply::Bulk(entry.user.clone())),
            (bulk("age-seconds"), Reply::Double(age.into())),
            (bulk("client-info"), Reply::Bulk(entry.client.clone())),
            (bulk("entry-id"), Reply::Int(entry.id)),
            (bulk("timestamp-created"), millis(entry.created_ms)),
            (bulk("timestamp-last-updated"), millis(entry.updated_ms)),
        ])
    };
    Ok(Reply::Array(log.entries().take(count).map(describe).collect()))
}

pub(super) fn load(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    require_file(txn)?;
    Err(Stop::Server(Request::LoadAcl))
}

pub(super) fn save(_: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    require_file(txn)?;
    Err(Stop::Server(Request::SaveAcl))
}

fn require_file(txn: &mut Txn<'_>) -> Result<(), Stop> {
    if txn.view().server().acl_file {
        return Ok(());
    }
    Err(Stop::error(
        "ERR This Redis instance is not configured to use an ACL file. It is kvnode: start it with \
         --acl-file FILE",
    ))
}

fn bulk(text: &str) -> Reply {
    Reply::bulk(text.as_bytes())
}
