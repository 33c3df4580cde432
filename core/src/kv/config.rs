//! CONFIG: what the node was set up with, and the part of it that can be changed meanwhile.
//!
//! GET tells what is true of this node, parameters that Redis has and kvnode has not being absent.
//! SET changes [settings](crate::server::Settings) and the password of the user `default`, all that
//! one command names or nothing. Nothing is written to a file: after a restart the command line holds
//! again.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::find::shown;
use super::number::{Decimal, parse};
use super::request::Request;
use super::{Stop, Txn, glob};
use crate::acl::Acl;
use crate::args::Args;
use crate::limits::{ACL_LOG_MAX, SLOWLOG_ENTRIES_MAX, VALUE_BYTES_MAX};
use crate::reply::Reply;
use crate::server::{Server, Settings};

/// A parameter that can be changed.
struct Parameter {
    name: &'static str,
    get: fn(&Settings, &Acl) -> String,
    /// An error is what Redis says is wrong with the value.
    set: fn(&mut Draft, &[u8]) -> Result<(), String>,
}

/// What CONFIG SET changes, until all of it is known to be right.
struct Draft {
    settings: Settings,
    acl: Acl,
}

const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "latency-monitor-threshold",
        get: |settings, _| settings.latency_threshold_ms.to_string(),
        set: |draft, value| {
            draft.settings.latency_threshold_ms = unsigned(value, 0, i64::MAX)?;
            Ok(())
        },
    },
    Parameter {
        name: "maxclients",
        get: |settings, _| settings.max_clients.to_string(),
        set: |draft, value| {
            let wanted = unsigned(value, 1, i64::from(u32::MAX))?;
            let most = draft.settings.max_clients_possible;
            match u32::try_from(wanted).ok().filter(|&wanted| wanted <= most) {
                Some(wanted) => draft.settings.max_clients = wanted,
                None => {
                    return Err(format!(
                        "The operating system is not able to handle the specified number of \
                         clients, try with {most}"
                    ));
                }
            }
            Ok(())
        },
    },
    Parameter {
        name: "protected-mode",
        get: |settings, _| yes_or_no(settings.protected_mode).into(),
        set: |draft, value| {
            draft.settings.protected_mode = flag(value)?;
            Ok(())
        },
    },
    Parameter {
        // Only its hash is kept.
        name: "requirepass",
        get: |_, acl| match acl.default_user().has_password() {
            true => "(redacted)".into(),
            false => String::new(),
        },
        set: |draft, value| {
            draft.acl.require_password(value);
            Ok(())
        },
    },
    Parameter {
        name: "slowlog-log-slower-than",
        get: |settings, _| match settings.slower_than_us {
            Some(us) => us.to_string(),
            None => "-1".into(),
        },
        set: |draft, value| {
            draft.settings.slower_than_us = u64::try_from(integer(value, -1, i64::MAX)?).ok();
            Ok(())
        },
    },
    Parameter {
        name: "slowlog-max-len",
        get: |settings, _| settings.slowlog_len_max.to_string(),
        set: |draft, value| {
            let most = i64::try_from(SLOWLOG_ENTRIES_MAX).unwrap_or(i64::MAX);
            draft.settings.slowlog_len_max = unsigned(value, 0, most)? as usize;
            Ok(())
        },
    },
    Parameter {
        name: "tcp-keepalive",
        get: |settings, _| settings.keepalive_s.to_string(),
        set: |draft, value| {
            draft.settings.keepalive_s = unsigned(value, 0, KEEPALIVE_S_MAX)?;
            Ok(())
        },
    },
    Parameter {
        name: "timeout",
        get: |settings, _| settings.timeout_s.to_string(),
        set: |draft, value| {
            draft.settings.timeout_s = unsigned(value, 0, i64::from(i32::MAX))?;
            Ok(())
        },
    },
];

/// Most that the system takes; Redis takes more and goes without then.
const KEEPALIVE_S_MAX: i64 = 32_767;

pub(super) fn get(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let patterns: Vec<_> = args[2..].iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
    let asked_for = |name: &str| patterns.iter().any(|p| glob::matches(p, name.as_bytes()));
    let clustered = txn.view().cluster().is_ok();
    let server = txn.view().server();
    let all = parameters(server, clustered);
    let found = all.iter().filter(|(name, _)| asked_for(name));
    // One that is named as a whole is called what it was called.
    let called = |name: &str| {
        let name = name.as_bytes();
        args[2..].iter().find(|arg| arg.eq_ignore_ascii_case(name)).map_or(name, |arg| arg).to_vec()
    };
    let pair = |(name, value): (&&str, &String)| {
        (Reply::bulk(&called(name)), Reply::bulk(value.as_bytes()))
    };
    Ok(Reply::Map(found.map(pair).collect()))
}

/// All parameters, in order of their names.
fn parameters(server: &Server, clustered: bool) -> BTreeMap<&'static str, String> {
    let number =
        |n: usize| String::from_utf8_lossy(Decimal::of_unsigned(n as u64).as_bytes()).into();
    let mut all = BTreeMap::from([
        ("acllog-max-len", number(ACL_LOG_MAX)),
        ("appendonly", "yes".into()),
        ("cluster-enabled", yes_or_no(clustered).into()),
        ("databases", "1".into()),
        ("maxmemory", "0".into()),
        ("maxmemory-policy", "noeviction".into()),
        ("notify-keyspace-events", String::new()),
        ("proto-max-bulk-len", number(VALUE_BYTES_MAX)),
        ("save", String::new()),
    ]);
    all.extend(server.fixed.iter().map(|(name, value)| (*name, value.clone())));
    let value = |p: &Parameter| (p.name, (p.get)(&server.settings, &server.acl));
    all.extend(PARAMETERS.iter().map(value));
    all
}

pub(super) fn set(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let clustered = txn.view().cluster().is_ok();
    let server = txn.view().server();
    let (pairs, []) = args[2..].as_chunks::<2>() else { return Err(Stop::SYNTAX) };
    let known = parameters(server, clustered);
    let mut chosen: Vec<(&Parameter, &[u8])> = Vec::new();
    for &[name, value] in pairs {
        let lower = name.to_ascii_lowercase();
        let Some(parameter) = PARAMETERS.iter().find(|p| p.name.as_bytes() == lower) else {
            if let Some(name) = known.keys().find(|known| known.as_bytes() == lower) {
                return failed(name, "can't set immutable config");
            }
            let name = shown(name);
            return Err(Stop::Error(Reply::error_owned(format!(
                "ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
            ))));
        };
        if chosen.iter().any(|(other, _)| other.name == parameter.name) {
            return failed(parameter.name, "duplicate parameter");
        }
        chosen.push((parameter, value));
    }
    let mut draft = Draft { settings: server.settings.clone(), acl: server.acl.clone() };
    for (parameter, value) in chosen {
        if let Err(why) = (parameter.set)(&mut draft, value) {
            return failed(parameter.name, &why);
        }
    }
    let Draft { settings, acl } = draft;
    server.change(settings);
    server.acl = acl;
    Ok(Reply::OK)
}

pub(super) fn resetstat(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Err(Stop::Server(Request::ResetStats))
}

pub(super) fn rewrite(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Err(Stop::error("ERR The server is running without a config file"))
}

fn failed(name: &str, why: &str) -> Result<Reply, Stop> {
    Err(Stop::Error(Reply::error_owned(format!(
        "ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"
    ))))
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn flag(value: &[u8]) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_slice() {
        b"yes" => Ok(true),
        b"no" => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".into()),
    }
}

fn integer(value: &[u8], least: i64, most: i64) -> Result<i64, String> {
    let number = parse(value).ok_or("argument couldn't be parsed into an integer")?;
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(format!("argument must be between {least} and {most} inclusive"))
}

fn unsigned(value: &[u8], least: i64, most: i64) -> Result<u64, String> {
    integer(value, least, most).map(|number| u64::try_from(number).unwrap_or_default())
}
