//! Commands about users, clients and the server, as [`commands`](super::commands) draws them.
//!
//! Users are made, changed and asked about, and each sequence begins without any. Left out:
//!
//! - What would close a connection of the test, or have it wait, or take its replies: `CLIENT KILL`
//!   of clients there are, `CLIENT PAUSE` of any length, `CLIENT REPLY OFF`, `AUTH`.
//! - What Redis 7.0 has not: `CLIENT SETINFO`, `CLIENT NO-TOUCH`.
//! - What tells of the server itself: `ACL CAT` of a category, HELP, `LATENCY DOCTOR`, and of CONFIG
//!   all but `timeout`.
//! - A user whose name is empty: Redis makes it, and can not read its own file then.
//! - A selector that is opened twice: Redis 7.0 forgets what came first, 7.2 does not.
//! - In a transaction all of it but the names of a connection: kvnode refuses it there (see
//!   COMMANDS.md), where Redis takes most of it.

use proptest::prelude::*;
use proptest::sample::select;

use super::Step;
use super::common::{Client, Frame};

/// As those of [`commands`](super::commands).
pub(crate) const COMMANDS: &[(&str, &[&str])] = &[
    ("CLIENT GETNAME", &[]),
    ("CLIENT SETNAME name", &[]),
    ("CLIENT ID", &[]),
    ("CLIENT INFO", &[]),
    ("CLIENT GETREDIR", &[]),
    ("CLIENT LIST", &["TYPE client_type", "ID client_id"]),
    ("CLIENT KILL ID client_id", &["ADDR address", "LADDR address", "SKIPME answer"]),
    ("CLIENT KILL address", &[]),
    ("CLIENT UNBLOCK client_id", &["TIMEOUT", "ERROR"]),
    ("CLIENT NO-EVICT on_off", &[]),
    ("CLIENT REPLY ON", &[]),
    ("CLIENT PAUSE no_time", &["WRITE", "ALL"]),
    ("CLIENT UNPAUSE", &[]),
    ("CLIENT NOSUCH", &[]),
    ("CONFIG GET parameter", &["parameter"]),
    ("CONFIG SET parameter setting", &["parameter setting"]),
    ("ACL WHOAMI", &[]),
    ("ACL USERS", &[]),
    ("ACL LIST", &[]),
    ("ACL CAT", &["text"]),
    ("ACL GENPASS", &["bits"]),
    ("ACL LOG", &["count", "RESET"]),
    ("ACL SETUSER guest rule..", &[]),
    ("ACL SETUSER guest rule..", &[]),
    ("ACL SETUSER guest rule..", &[]),
    ("ACL GETUSER user", &[]),
    ("ACL GETUSER user", &[]),
    ("ACL DELUSER user..", &[]),
    ("ACL DRYRUN user GET key", &[]),
    ("ACL DRYRUN user SET key value", &["GET"]),
    ("ACL DRYRUN user MSET key:value..", &[]),
    ("ACL DRYRUN user COPY key key", &[]),
    ("ACL DRYRUN user BITFIELD key GET field field_offset", &[]),
    ("ACL DRYRUN user CONFIG GET parameter", &[]),
    ("ACL DRYRUN user PING", &[]),
    ("ACL DRYRUN user NOSUCH", &[]),
    ("SLOWLOG LEN", &[]),
    ("SLOWLOG GET", &["count"]),
    ("SLOWLOG RESET", &[]),
    ("LATENCY LATEST", &[]),
    ("LATENCY HISTORY event", &[]),
    ("LATENCY GRAPH event", &[]),
    ("LATENCY RESET", &["event"]),
    ("LATENCY HISTOGRAM", &["NOSUCH"]),
    ("MEMORY NOSUCH", &[]),
];

/// The arguments of a kind that is spoken of here alone.
pub(crate) fn argument(kind: &str) -> Option<BoxedStrategy<Vec<u8>>> {
    let pool: &[&str] = match kind {
        "user" => &["ann", "ann", "bob", "default"],
        // Those that may be changed.
        "guest" => &["ann", "ann", "bob"],
        "rule" => &[
            "on",
            "off",
            "nopass",
            "resetpass",
            "reset",
            "allkeys",
            "resetkeys",
            "~*",
            "~a*",
            "~{a}*",
            "%R~b*",
            "%W~a",
            "%RW~abc",
            "%~a",
            "allcommands",
            "nocommands",
            "+@all",
            "-@all",
            "+@read",
            "-@write",
            "+@fast",
            "-@dangerous",
            "+@nosuch",
            "+get",
            "-set",
            "+SET",
            "+config|get",
            "-config|set",
            "+config",
            "-config",
            "+nosuch",
            "+config|nosuch",
            ">pw",
            ">other",
            "<pw",
            "#5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
            "!5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
            "#12",
            "(~a* +get)",
            "(%R~b* +@all)",
            "(+nosuch)",
            "(",
            "clearselectors",
            "allchannels",
            "resetchannels",
            "&*",
            "sanitize-payload",
            "",
            "foo",
        ],
        "client_type" => &["pubsub", "master", "replica", "slave", "x", ""],
        "client_id" => &["999999999", "0", "-1", "x", "", "9223372036854775808"],
        "address" => &["1.2.3.4:5", "x", ""],
        "answer" => &["yes", "no", "YES", "x"],
        "on_off" => &["ON", "off", "x"],
        "no_time" => &["-1", "x", "", "9223372036854775808"],
        "parameter" => &["timeout", "nosuch"],
        "setting" => &["0", "300", "2147483647", "-1", "x", "", "2147483648", "1mb"],
        "bits" => &["1", "5", "256", "4096", "0", "-1", "4097", "x"],
        "event" => &["command", "fast-command", "nosuch", ""],
        _ => return None,
    };
    Some(select(pool).prop_map(|text| text.as_bytes().to_vec()).boxed())
}

/// Has a server be as another sequence finds it, but for the keys.
pub(crate) fn begin_anew(client: &mut Client) -> Result<(), String> {
    let users = client.try_call(["ACL", "USERS"]).map_err(|e| e.to_string())?;
    let users = users.elements().unwrap_or_default().iter().map(|name| name.text());
    let others: Vec<String> = users.filter(|name| name != "default").collect();
    if !others.is_empty() {
        let words = ["ACL".into(), "DELUSER".into()].into_iter().chain(others);
        client.try_call(words.collect::<Vec<_>>()).map_err(|e| e.to_string())?;
    }
    // How long commands took is different each time.
    let settings = ["CONFIG", "SET", "slowlog-log-slower-than", "-1", "timeout", "0"];
    let set = client.try_call(settings).map_err(|e| e.to_string())?;
    if set == Frame::ok() { Ok(()) } else { Err(format!("CONFIG SET: {set:?}")) }
}

/// The steps without those that may not be sent where they stand; see the module's header.
pub(crate) fn without_refused(steps: &[Step]) -> Vec<Step> {
    let mut open = [false; 2];
    let stays = |step: &&Step| {
        let open = &mut open[usize::from(step.second)];
        let name = step.args[0].to_ascii_uppercase();
        match name.as_slice() {
            // Where it is refused no transaction begins; then less is sent than could be.
            b"MULTI" => *open = true,
            b"EXEC" | b"QUIT" => *open = false,
            b"DISCARD" | b"RESET" if step.args.len() == 1 => *open = false,
            _ => {}
        }
        !(*open && is_about_the_node(&name, &step.args)
            || makes_nobody(&name, &step.args)
            || opens_twice(&name, &step.args))
    };
    steps.iter().filter(stays).cloned().collect()
}

/// A user without a name, whom Redis makes and can not write to its file.
fn makes_nobody(name: &[u8], args: &[Vec<u8>]) -> bool {
    let is = |at: usize, word: &[u8]| args.get(at).is_some_and(|a| a.eq_ignore_ascii_case(word));
    name == b"ACL" && is(1, b"SETUSER") && is(2, b"")
}

/// A user with a selector that is opened again before it is closed.
fn opens_twice(name: &[u8], args: &[Vec<u8>]) -> bool {
    name == b"ACL" && args.iter().filter(|arg| arg.as_slice() == b"(").count() > 1
}

fn is_about_the_node(name: &[u8], args: &[Vec<u8>]) -> bool {
    let names: [&[u8]; 2] = [b"GETNAME", b"SETNAME"];
    match name {
        b"CLIENT" => !args.get(1).is_some_and(|s| names.iter().any(|n| s.eq_ignore_ascii_case(n))),
        b"ACL" | b"CONFIG" | b"SLOWLOG" | b"LATENCY" => true,
        _ => false,
    }
}
