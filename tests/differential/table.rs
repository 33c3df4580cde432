//! What COMMAND INFO tells of each command is what Redis tells, and a DUMP can be carried over.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::common::{Client, Frame, Node, Redis};

/// The fields of an entry that are compared. The last one, the subcommands, are entries themselves.
const FIELDS: [&str; 9] =
    ["name", "arity", "flags", "first", "last", "step", "categories", "tips", "key specs"];

/// Where an entry may differ, and why.
const DIFFERS: &[(&str, &str, &str)] = &[
    ("wait", "flags", "since 7.2 it may be in a script, and says that it blocks"),
    ("wait", "categories", "the same"),
    ("command|getkeys", "arity", "since 7.2 the command asked about may have no arguments"),
    ("command|getkeysandflags", "arity", "the same"),
];

#[test]
fn the_command_table_equals_that_of_redis() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::start(&["--fsync", "never"]);
    let mut clients = [redis.endpoint(), &node.endpoint()]
        .map(|endpoint| Client::connect(endpoint).expect("it listens"));
    let names = clients[1].call(["COMMAND", "LIST"]);
    let mut differences = Vec::new();
    let mut compared = 0;
    for name in names.elements().expect("names") {
        let name = name.text();
        let [of_redis, ours] = clients.each_mut().map(|client| entry(client, &name));
        let (Some(of_redis), Some(ours)) = (of_redis, ours) else { continue };
        compared += 1;
        for (field, (one, two)) in FIELDS.iter().zip(of_redis.iter().zip(&ours)) {
            let excepted = DIFFERS.iter().any(|(of, at, _)| *of == name && at == field);
            if (one != two) != excepted {
                differences.push(format!("{name} {field}: {one:?}, here {two:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared > 100, "{compared} commands compared");
}

/// What COMMAND DOCS tells, but for texts and the names of what is only a bracket around arguments.
#[test]
fn the_documentation_equals_that_of_redis() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::start(&["--fsync", "never"]);
    let mut clients = [redis.endpoint(), &node.endpoint()]
        .map(|endpoint| Client::connect(endpoint).expect("it listens"));
    let names = clients[1].call(["COMMAND", "LIST"]);
    let (mut differences, mut compared) = (Vec::new(), 0);
    for name in names.elements().expect("names") {
        let name = name.text();
        let [of_redis, ours] = clients.each_mut().map(|client| {
            let docs = client.call(["COMMAND", "DOCS", &name]);
            docs.elements()?.get(1).map(|docs| by_name(docs).expect("pairs"))
        });
        let (Some(of_redis), Some(ours)) = (of_redis, ours) else { continue };
        for field in ["since", "group", "doc_flags", "deprecated_since", "replaced_by"] {
            if of_redis.get(field) != ours.get(field) {
                let [one, two] = [&of_redis, &ours].map(|docs| docs.get(field));
                differences.push(format!("{name} {field}: {one:?}, here {two:?}"));
            }
        }
        let [of_redis, ours] = [&of_redis, &ours].map(|docs| {
            let mut kinds = BTreeMap::new();
            docs.get("arguments").into_iter().for_each(|all| collect_kinds(all, &mut kinds));
            kinds
        });
        for (argument, kind) in &ours {
            if let Some(known) = of_redis.get(argument) {
                compared += 1;
                if known != kind {
                    differences.push(format!("{name} {argument:?}: {known}, here {kind}"));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared > 200, "{compared} arguments compared");
}

/// The fields of an entry of COMMAND DOCS.
fn by_name(entry: &Frame) -> Option<BTreeMap<String, Frame>> {
    let pairs = entry.elements()?.chunks_exact(2);
    Some(pairs.map(|pair| (pair[0].text(), pair[1].clone())).collect())
}

/// What each argument is that a client fills in or types, by its name and the word before it.
fn collect_kinds(arguments: &Frame, kinds: &mut BTreeMap<(String, String), String>) {
    for argument in arguments.elements().expect("arguments") {
        let fields = by_name(argument).expect("pairs");
        match fields.get("arguments") {
            Some(inner) => collect_kinds(inner, kinds),
            None => {
                let text = |field: &str| fields.get(field).map_or(String::new(), Frame::text);
                let name = text("name");
                // BITOP's operations are each named since 7.2.
                if name != "operation" {
                    kinds.insert((name, text("token")), text("type"));
                }
            }
        }
    }
}

/// The fields of COMMAND INFO, what is a set in order; `None` if there is no such command.
fn entry(client: &mut Client, name: &str) -> Option<Vec<Frame>> {
    let reply = client.call(["COMMAND", "INFO", name]);
    let fields = reply.elements()?.first()?.elements()?.to_vec();
    Some(fields.into_iter().map(in_order).take(FIELDS.len()).collect())
}

/// Redis keeps flags, categories and tips in no order that means anything. What is about the node is
/// not taken after MULTI here (see COMMANDS.md), where Redis takes most of it.
fn in_order(mut field: Frame) -> Frame {
    if let Frame::Array(words) = &mut field
        && words.iter().all(|word| !matches!(word, Frame::Array(_)))
    {
        words.retain(|word| *word != Frame::Simple("no_multi".into()));
        words.sort();
    }
    field
}

/// Each restores what the other dumps: short strings and numbers, and long ones, which Redis
/// compresses.
#[test]
fn a_dump_is_carried_over_both_ways() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::start(&["--fsync", "never"]);
    let connect = || {
        [redis.endpoint(), &node.endpoint()]
            .map(|endpoint| Client::connect(endpoint).expect("it listens"))
    };
    let clients = std::cell::RefCell::new(connect());
    let strings = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        any::<i16>().prop_map(|n| n.to_string().into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..100),
        proptest::collection::vec(0_u8..3, 0..40_000),
    ];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(super::cases(500))
    });
    let carried = runner.run(&strings, |string| {
        let clients = &mut *clients.borrow_mut();
        for (from, to) in [(0, 1), (1, 0)] {
            let set = [b"SET", &b"k"[..], &string];
            prop_assert_eq!(clients[from].call(set), Frame::ok());
            let Frame::Bulk(payload) = clients[from].call(["DUMP", "k"]) else {
                return Err(TestCaseError::fail("no payload"));
            };
            let restore = [&b"RESTORE"[..], b"k", b"0", &payload, b"REPLACE"];
            prop_assert_eq!(clients[to].call(restore), Frame::ok());
            prop_assert_eq!(clients[to].call(["GET", "k"]), Frame::Bulk(string.clone()));
        }
        Ok(())
    });
    carried.unwrap_or_else(|e| panic!("{e}"));
}

/// Each exception is one for a command there is, with a reason, and only once.
#[test]
fn exceptions_have_reasons() {
    let mut seen = BTreeMap::new();
    for (name, field, why) in DIFFERS {
        assert!(FIELDS.contains(field) && !why.is_empty(), "{name} {field}");
        assert!(seen.insert((name, field), why).is_none(), "{name} {field} twice");
    }
}
