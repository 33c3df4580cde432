//! The table of commands, and what COMMAND and INFO say.

use alloc::string::String;
use alloc::vec::Vec;

use super::world::World;
use crate::kv::{Command, Info, PartitionInfo, commands, find, resolve};
use crate::{Epoch, Offset, PartitionId};

#[test]
fn every_command_is_found_in_any_case() {
    for command in commands() {
        let found = |name: &[u8]| find(name).is_some_and(|found| core::ptr::eq(found, command));
        assert!(found(command.name.as_bytes()), "{}", command.name);
        assert!(found(command.name.to_ascii_uppercase().as_bytes()), "{}", command.name);
        assert!(!found(&[command.name.as_bytes(), b" "].concat()), "{}", command.name);
        assert!(!found(&[command.name.as_bytes(), b"\0"].concat()), "{}", command.name);
        let deleted = command.name.replace('_', "\u{7f}");
        assert!(deleted == command.name || !found(deleted.as_bytes()), "{}", command.name);
    }
    for name in ["", "ge", "gett", "g\u{5}t", "a name longer than any other", "\0\0\0"] {
        assert!(find(name.as_bytes()).is_none(), "{name:?}");
    }
}

#[test]
fn the_table_makes_sense() {
    fn check(command: &Command) {
        let name = command.name;
        assert!(!command.summary.is_empty() && !command.since.is_empty(), "{name}");
        assert!(command.summary.ends_with('.') && command.arity != 0, "{name}");
        assert_eq!(command.keys.first > 0, !command.keys.access.is_empty(), "{name}");
        let words = command.syntax.split([' ', '[', ']']).filter(|word| !word.is_empty()).count();
        let takes_more = command.arity < 0 || command.arity > 1 + i32::from(name.contains('|'));
        assert!(
            words > 0 || !takes_more || !command.subcommands.is_empty() || name == "quit",
            "{name}"
        );
        command.subcommands.iter().for_each(check);
    }
    commands().for_each(check);
    let fan_out: Vec<_> = commands().filter(|c| c.fan_out).map(|c| c.name).collect();
    assert_eq!(fan_out, ["mget", "del", "unlink", "exists", "touch"]);
}

#[test]
fn keys_are_found_among_the_arguments() {
    let keys = |line: &str| {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let keys = resolve(&args).unwrap().keys(&args);
        keys.map(|key| String::from_utf8(key.to_vec()).unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(keys("GET a"), "a");
    assert_eq!(keys("SET a b EX 10"), "a");
    assert_eq!(keys("MGET a b c"), "a b c");
    assert_eq!(keys("MSET a 1 b 2"), "a b");
    assert_eq!(keys("RENAME a b"), "a b");
    assert_eq!(keys("COPY a b REPLACE"), "a b");
    assert_eq!(keys("BITOP NOT a b"), "a b");
    assert_eq!(keys("LCS a b LEN"), "a b");
    assert_eq!(keys("OBJECT ENCODING a"), "a");
    assert_eq!(keys("MEMORY USAGE a SAMPLES 5"), "a");
    assert_eq!(keys("PING a"), "");
    assert_eq!(keys("CLIENT SETNAME a"), "");
}

#[test]
fn command_answers_like_redis() {
    World::new().story(
        "
        COMMAND GETKEYSANDFLAGS set k v -> *[*['k', *[+OW, +update]]]
        COMMAND GETKEYSANDFLAGS set k v get -> *[*['k', *[+RW, +access, +update]]]
        COMMAND GETKEYSANDFLAGS set k get -> *[*['k', *[+OW, +update]]]
        COMMAND GETKEYSANDFLAGS set get v -> *[*['get', *[+OW, +update]]]
        COMMAND GETKEYSANDFLAGS set k v ifeq x -> *[*['k', *[+RW, +access, +update]]]
        COMMAND GETKEYSANDFLAGS rename a b -> *[*['a', *[+RW, +access, +delete]], *['b', *[+OW, +update]]]
        COMMAND GETKEYSANDFLAGS bitop AND d a b -> *[*['d', *[+OW, +update]], *['a', *[+RO, +access]], *['b', *[+RO, +access]]]
        COMMAND GETKEYSANDFLAGS bitfield k GET u8 0 OVERFLOW SAT -> *[*['k', *[+RO, +access]]]
        COMMAND GETKEYSANDFLAGS bitfield k GET u8 0 SET u8 0 1 -> *[*['k', *[+RW, +access, +update]]]
        COMMAND GETKEYS object encoding k -> *['k']
        COMMAND GETKEYS memory usage k SAMPLES 5 -> *['k']
        COMMAND GETKEYS get a b -> -ERR Invalid number of arguments specified for command
        COMMAND GETKEYS foo -> -ERR Invalid command specified
        COMMAND LIST FILTERBY PATTERN Expire* -> *['expire', 'expireat', 'expiretime']
        COMMAND LIST FILTERBY ACLCAT transaction -> *['multi', 'exec', 'discard', 'watch', 'unwatch']
        COMMAND LIST FILTERBY ACLCAT nosuch -> *[]
        COMMAND LIST FILTERBY MODULE m -> *[]
        COMMAND LIST FILTERBY FOO x -> -ERR syntax error
        COMMAND LIST FOO -> -ERR syntax error
        COMMAND INFO command|count -> *[*['command|count', :2, *[+loading, +stale], :0, :0, :0, *[+@slow, +@connection], *[], *[], *[]]]
        COMMAND FOO -> -ERR unknown subcommand 'FOO'. Try COMMAND HELP.
        CLIENT -> -ERR wrong number of arguments for 'client' command
        CLIENT SETNAME -> -ERR wrong number of arguments for 'client|setname' command
        ",
    );
    let mut world = World::new();
    let all = world.run("COMMAND");
    assert_eq!(all, world.run("COMMAND INFO"));
    assert!(world.run("COMMAND DOCS").contains("'summary'"));
    assert!(world.run("COMMAND HELP").contains("GETKEYSANDFLAGS"));
}

#[test]
fn docs_tell_the_arguments_one_by_one() {
    World::new().story(
        "
        COMMAND DOCS getdel -> *['getdel', *['summary', 'Returns the string value of a key and deletes the key.', 'since', '6.2.0', 'group', 'string', 'complexity', 'O(1)', 'arguments', *[*['name', 'key', 'type', 'key', 'display_text', 'key', 'key_spec_index', :0]]]]
        COMMAND DOCS substr -> *['substr', *['summary', 'Returns a part of a string value; the old name of GETRANGE.', 'since', '1.0.0', 'group', 'string', 'complexity', 'O(N), N being the length of the value', 'doc_flags', *[+deprecated], 'deprecated_since', '2.0.0', 'replaced_by', '`GETRANGE`', 'arguments', *[*['name', 'key', 'type', 'key', 'display_text', 'key', 'key_spec_index', :0], *['name', 'start', 'type', 'integer', 'display_text', 'start'], *['name', 'end', 'type', 'integer', 'display_text', 'end']]]]
        COMMAND DOCS dbsize -> *['dbsize', *['summary', 'Returns the number of keys.', 'since', '1.0.0', 'group', 'server', 'complexity', 'O(1)']]
        ",
    );
    let mut world = World::new();
    let getex = world.run("COMMAND DOCS getex");
    assert!(getex.contains(
        "*['name', 'choice', 'type', 'oneof', 'flags', *[+optional], 'arguments', *[\
         *['name', 'seconds', 'type', 'integer', 'display_text', 'seconds', 'token', 'EX'], "
    ));
    assert!(getex.contains(
        "*['name', 'persist', 'type', 'pure-token', 'display_text', 'persist', 'token', 'PERSIST']"
    ));
    let kill = world.run("COMMAND DOCS client");
    assert!(kill.contains(
        "'arguments', *[*['name', 'choice', 'type', 'oneof', 'arguments', *[\
         *['name', 'address', 'type', 'string', 'display_text', 'address'], \
         *['name', 'choice', 'type', 'oneof', 'flags', *[+multiple], 'arguments', *[\
         *['name', 'client-id', 'type', 'integer', 'display_text', 'client-id', 'token', 'ID', "
    ));
    let bitop = world.run("COMMAND DOCS bitop");
    assert!(bitop.contains(
        "*['name', 'destkey', 'type', 'key', 'display_text', 'destkey', 'key_spec_index', :0]"
    ));
    assert!(bitop.contains("'display_text', 'key', 'key_spec_index', :1, 'flags', *[+multiple]]"));
}

#[test]
fn an_unknown_command_is_shown_with_so_many_of_its_arguments() {
    let mut world = World::new();
    let long = "x".repeat(200);
    let cut = "x".repeat(128);
    let reply = world.run(&alloc::format!("{long} {long} more"));
    assert_eq!(
        reply,
        alloc::format!("-ERR unknown command '{cut}', with args beginning with: '{cut}' ")
    );
}

#[test]
fn info_has_the_sections_asked_for() {
    let info = Info {
        keys: 2,
        expires: 1,
        partitions: [PartitionInfo {
            id: PartitionId(0),
            epoch: Epoch(3),
            log_end: Offset(10),
            isr: 1,
            ..PartitionInfo::default()
        }]
        .into(),
        ..Info::default()
    };
    let titles = |sections: &[&[u8]]| {
        let text = info.text(sections);
        let titles = text.lines().filter_map(|line| line.strip_prefix("# "));
        titles.collect::<Vec<_>>().join(" ")
    };
    let default = "Server Clients Memory Persistence Stats Replication CPU Modules Errorstats \
                   Cluster Keyspace kvnode";
    for sections in [&[][..], &[&b"default"[..], b"server"]] {
        assert_eq!(titles(sections), default);
    }
    let all = default.replace("Errorstats", "Commandstats Errorstats Latencystats");
    for sections in [&[&b"ALL"[..]], &[&b"everything"[..]]] {
        assert_eq!(titles(sections), all);
    }
    assert_eq!(titles(&[b"kvnode", b"server"]), "Server kvnode");
    assert_eq!(info.text(&[b"nosuch"]), "");
    assert_eq!(info.text(&[b"keyspace"]), "# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=0\r\n");
    assert!(info.text(&[b"kvnode"]).contains("\r\np0:epoch=3,log_end=10,durable_end=0,"));
    assert!(info.text(&[]).contains("\r\nredis_version:7.2.4\r\n"));
}
