//! COMMAND: what clients ask about the table.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::command::{Categories, Command, Group, Standing};
use super::find::{commands, find, find_full, find_subcommand};
use super::syntax::{self, Argument, Kind};
use super::{Stop, Txn, bitmap, glob, set};
use crate::Value;
use crate::args::Args;
use crate::reply::Reply;

pub(super) fn all(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(Reply::Array(commands().map(describe).collect()))
}

pub(super) fn count(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(number(commands().count()))
}

pub(super) fn info(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    if args.len() == 2 {
        return all(args, txn);
    }
    let describe = |name: &&[u8]| find_full(name).map_or(Reply::Null, describe);
    Ok(Reply::Array(args[2..].iter().map(describe).collect()))
}

pub(super) fn docs(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    let documented = |command: &'static Command| (bulk(command.name), document(command));
    Ok(Reply::Map(if args.len() == 2 {
        commands().map(documented).collect()
    } else {
        args[2..].iter().filter_map(|name| find_full(name)).map(documented).collect()
    }))
}

pub(super) fn list(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    let mut listed = everything();
    match args[2..] {
        [] => {}
        [by, kind, what] if by.eq_ignore_ascii_case(b"FILTERBY") => {
            let filter = Filter::parse(kind, what).ok_or(Stop::SYNTAX)?;
            listed.retain(|command| filter.admits(command));
        }
        _ => return Err(Stop::SYNTAX),
    }
    Ok(Reply::Array(listed.iter().map(|command| bulk(command.name)).collect()))
}

pub(super) fn getkeys(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    let command = command_with_keys(&args[2..])?;
    Ok(Reply::Array(command.keys(&args[2..]).map(Reply::bulk).collect()))
}

pub(super) fn getkeysandflags(args: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    let args = &args[2..];
    let command = command_with_keys(args)?;
    let with_flags = |(at, key)| {
        Reply::Array(vec![Reply::bulk(key), words(access_of(command, at, args).split(' '))])
    };
    Ok(Reply::Array(command.keys(args).enumerate().map(with_flags).collect()))
}

pub(super) fn acl_help(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(help("acl"))
}

pub(super) fn latency_help(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(help("latency"))
}

pub(super) fn module_help(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(help("module"))
}

pub(super) fn slowlog_help(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(help("slowlog"))
}

pub(super) fn command_help(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(help("command"))
}

pub(super) fn client_help(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(help("client"))
}

pub(super) fn cluster_help(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(help("cluster"))
}

pub(super) fn config_help(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(help("config"))
}

pub(super) fn memory_help(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(help("memory"))
}

pub(super) fn object_help(_: Args<'_>, _: &mut Txn<'_>) -> Result<Reply, Stop> {
    Ok(help("object"))
}

/// What COMMAND LIST is to list.
enum Filter {
    /// The commands of a module, of which there is none.
    Module,
    Category(Option<Categories>),
    Pattern(Vec<u8>),
}

impl Filter {
    fn parse(kind: &[u8], what: &[u8]) -> Option<Self> {
        if kind.eq_ignore_ascii_case(b"MODULE") {
            Some(Self::Module)
        } else if kind.eq_ignore_ascii_case(b"ACLCAT") {
            Some(Self::Category(Categories::named(&[b"@", what].concat())))
        } else if kind.eq_ignore_ascii_case(b"PATTERN") {
            Some(Self::Pattern(what.to_ascii_lowercase()))
        } else {
            None
        }
    }

    fn admits(&self, command: &Command) -> bool {
        match self {
            Self::Module => false,
            Self::Category(category) => category.is_some_and(|c| command.categories.has(c)),
            Self::Pattern(pattern) => glob::matches(pattern, command.name.as_bytes()),
        }
    }
}

/// All commands and subcommands.
pub(super) fn everything() -> Vec<&'static Command> {
    commands().flat_map(|command| core::iter::once(command).chain(command.subcommands)).collect()
}

fn command_with_keys(args: Args<'_>) -> Result<&'static Command, Stop> {
    let base = find(args[0]);
    let command = match (base, args) {
        (Some(base), [_, sub, ..]) if !base.subcommands.is_empty() => find_subcommand(base, sub),
        (base, _) => base,
    };
    match command {
        None => Err(Stop::error("ERR Invalid command specified")),
        Some(command) if command.keys.first == 0 => {
            Err(Stop::error("ERR The command has no key arguments"))
        }
        Some(command) if !command.accepts(args.len()) => {
            Err(Stop::error("ERR Invalid number of arguments specified for command"))
        }
        Some(command) => Ok(command),
    }
}

/// What `command` does to the `at`th of its keys.
pub(crate) fn access_of(command: &Command, at: usize, args: Args<'_>) -> &'static str {
    let access = command.keys.access;
    match (command.name, access[at.min(access.len() - 1)]) {
        ("set", _) if set::tells(args) => "RW access update",
        ("set", _) => "OW update",
        ("bitfield", _) if bitmap::only_gets(&args[2..]) => "RO access",
        ("bitfield", _) => "RW access update",
        (_, access) => access,
    }
}

fn describe(command: &'static Command) -> Reply {
    let keys = &command.keys;
    // A command without keys has no step either.
    let step = if keys.first == 0 { 0 } else { keys.step };
    Reply::Array(vec![
        bulk(command.name),
        Reply::Int(i64::from(command.arity)),
        words(command.flags.names()),
        number(keys.first),
        Reply::Int(i64::try_from(keys.last).expect("a small number")),
        number(step),
        words(command.categories.names()),
        Reply::Set(command.tips.iter().map(|tip| bulk(tip)).collect()),
        key_specs(command),
        // Redis makes it a set only where it is empty.
        match command.subcommands {
            [] => Reply::Set(vec![]),
            subcommands => Reply::Array(subcommands.iter().map(describe).collect()),
        },
    ])
}

/// One specification for all keys, or one for each if different things are done to them.
fn key_specs(command: &Command) -> Reply {
    let keys = &command.keys;
    let step = if keys.access.len() > 1 { 1 } else { keys.step };
    let specs = keys.access.len();
    let spec = |(at, access): (usize, &&'static str)| {
        let first = keys.first + at * keys.step;
        // The last of its keys, counted from its first or from the end.
        let last = match keys.last {
            _ if at + 1 < specs => 0,
            last @ ..0 => i64::try_from(last).expect("a small number"),
            last => i64::try_from(last - first.cast_signed()).expect("a small number"),
        };
        let range = map([
            ("lastkey", Reply::Int(last)),
            ("keystep", number(step)),
            ("limit", Reply::Int(0)),
        ]);
        let index = map([("index", number(first))]);
        let mut fields = Vec::with_capacity(4);
        if !keys.notes.is_empty() {
            fields.push((bulk("notes"), bulk(keys.notes)));
        }
        fields.extend([
            (bulk("flags"), words(access.split(' '))),
            (bulk("begin_search"), map([("type", bulk("index")), ("spec", index)])),
            (bulk("find_keys"), map([("type", bulk("range")), ("spec", range)])),
        ]);
        Reply::Map(fields)
    };
    Reply::Set(keys.access.iter().enumerate().map(spec).collect())
}

fn document(command: &'static Command) -> Reply {
    let mut fields = vec![
        (bulk("summary"), bulk(command.summary)),
        (bulk("since"), bulk(command.since)),
        (bulk("group"), bulk(command.group.name())),
        (bulk("complexity"), bulk(command.complexity)),
    ];
    let flag = |name: &'static str| (bulk("doc_flags"), words([name].into_iter()));
    match command.standing {
        Standing::Current => {}
        Standing::Deprecated { since, by } => fields.extend([
            flag("deprecated"),
            (bulk("deprecated_since"), bulk(since)),
            (bulk("replaced_by"), bulk(by)),
        ]),
        Standing::System => fields.push(flag("syscmd")),
    }
    if !command.subcommands.is_empty() {
        let documented = |command: &'static Command| (bulk(command.name), document(command));
        let subcommands = command.subcommands.iter().map(documented).collect();
        fields.push((bulk("subcommands"), Reply::Map(subcommands)));
    } else if !command.syntax.is_empty() {
        let mut arguments = syntax::parse(command.syntax).expect("a test reads every line");
        if command.name == "client|kill" {
            // The old form is an address alone. In one line for people that would be hard to read.
            let filters = syntax::repeated_choice(arguments.split_off(1));
            arguments[0].optional = false;
            arguments.push(filters);
            arguments = vec![syntax::choice(arguments)];
        }
        let mut keys = 0;
        let arguments = arguments.iter().map(|one| document_argument(one, command, &mut keys));
        fields.push((bulk("arguments"), Reply::Array(arguments.collect())));
    }
    Reply::Map(fields)
}

/// `keys` counts the keys among the arguments so far.
fn document_argument(argument: &Argument, command: &Command, keys: &mut usize) -> Reply {
    let kind = match &argument.kind {
        Kind::Value => value_kind(&argument.name, command),
        Kind::Token => "pure-token",
        Kind::OneOf(_) => "oneof",
        Kind::Block(_) => "block",
    };
    let mut fields = vec![(bulk("name"), bulk(&argument.name)), (bulk("type"), bulk(kind))];
    if matches!(argument.kind, Kind::Value | Kind::Token) {
        fields.push((bulk("display_text"), bulk(&argument.name)));
    }
    if kind == "key" {
        let spec = (*keys).min(command.keys.access.len() - 1);
        fields.push((bulk("key_spec_index"), number(spec)));
        *keys += 1;
    }
    if let Some(token) = argument.token {
        fields.push((bulk("token"), bulk(token)));
    }
    let multiple_token = argument.multiple && argument.token.is_some();
    let flags = [
        (argument.optional, "optional"),
        (argument.multiple, "multiple"),
        (multiple_token, "multiple_token"),
    ];
    let flags: Vec<_> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    if !flags.is_empty() {
        fields.push((bulk("flags"), words(flags.into_iter())));
    }
    if let Kind::OneOf(inner) | Kind::Block(inner) = &argument.kind {
        let inner = inner.iter().map(|one| document_argument(one, command, keys)).collect();
        fields.push((bulk("arguments"), Reply::Array(inner)));
    }
    Reply::Map(fields)
}

/// What an argument of this name is, as Redis tells kinds apart.
fn value_kind(name: &str, command: &Command) -> &'static str {
    match name {
        "key" | "newkey" | "destkey" | "key1" | "key2" | "source" | "destination"
            if command.keys.first > 0 =>
        {
            "key"
        }
        "value" if command.group == Group::Bitmap => "integer",
        "increment" if command.name == "incrbyfloat" => "double",
        "pattern" => "pattern",
        _ if name.starts_with("unix-time") => "unix-time",
        "seconds" | "milliseconds" | "increment" | "decrement" | "offset" | "start" | "end"
        | "bit" | "count" | "cursor" | "index" | "slot" | "timeout" | "numreplicas"
        | "numlocal" | "client-id" | "bits" | "ttl" | "frequency" | "min-match-len"
        | "protover" | "destination-db" => "integer",
        _ => "string",
    }
}

/// The subcommands as Redis lays its help out.
fn help(container: &str) -> Reply {
    let command = find(container.as_bytes()).expect("a command of the table");
    let line = |text: alloc::string::String| Reply::Bulk(Value::from(text.as_bytes()));
    let title = container.to_ascii_uppercase();
    let title = format!("{title} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    let entry = |sub: &Command| {
        let name = format!("{} {}", sub.short_name().to_ascii_uppercase(), sub.syntax);
        [line(name.trim_end().into()), line(format!("    {}", sub.summary))]
    };
    let entries = command.subcommands.iter().flat_map(entry);
    Reply::Array(core::iter::once(line(title)).chain(entries).collect())
}

fn map<const N: usize>(fields: [(&str, Reply); N]) -> Reply {
    Reply::Map(fields.into_iter().map(|(name, value)| (bulk(name), value)).collect())
}

fn number(n: usize) -> Reply {
    Reply::Int(i64::try_from(n).expect("a small number"))
}

fn words(words: impl Iterator<Item = &'static str>) -> Reply {
    Reply::Set(words.map(Reply::Simple).collect())
}

fn bulk(text: &str) -> Reply {
    Reply::bulk(text.as_bytes())
}
