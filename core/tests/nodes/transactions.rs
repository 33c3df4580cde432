//! Clients of a node that does not lead the keys: MULTI, and what their stand-ins must not show.

use std::time::Duration;

use kvnode_core::NodeId;
use kvnode_core::control::FoundingOptions;
use kvnode_core::kv::commands;
use kvnode_core::reply::Reply;

use crate::world::{Setup, World};
use crate::{At, error, key_of};

const QUEUED: Reply = Reply::Simple("QUEUED");

/// The replies to these commands in one transaction.
fn transact(world: &mut World, at: At, commands: &[&[&str]]) -> Vec<Reply> {
    assert_eq!(world.call(at, &["MULTI"]), Reply::OK);
    for command in commands {
        assert_eq!(world.call(at, command), QUEUED, "{command:?}");
    }
    let Reply::Array(replies) = world.call(at, &["EXEC"]) else { panic!("it is run") };
    replies
}

/// A client of a node that does not lead the partition.
fn elsewhere(world: &mut World, partition: u32) -> At {
    let leader = world.leader(partition).unwrap();
    world.connect(leader % 3 + 1)
}

#[test]
fn what_is_about_the_connection_or_its_node_is_answered_by_that() {
    let mut world = World::new(Setup::default());
    let name = &key_of(0)[..];
    let at = elsewhere(&mut world, 0);
    let commands: [&[&str]; 16] = [
        &["CLIENT", "ID"],
        &["HELLO"],
        &["CLIENT", "GETNAME"],
        &["COMMAND"],
        &["COMMAND", "DOCS"],
        &["COMMAND", "INFO", "GET"],
        &["COMMAND", "GETKEYSANDFLAGS", "SET", "k", "v"],
        &["COMMAND", "GETKEYS", "SET", "k", "v"],
        &["COMMAND", "COUNT"],
        &["COMMAND", "LIST"],
        &["ECHO", "hello"],
        &["PING"],
        &["SELECT", "0"],
        &["CLUSTER", "MYID"],
        &["CLUSTER", "KEYSLOT", "k"],
        &["MEMORY", "MALLOC-STATS"],
    ];
    let alone = commands.map(|command| world.call(at, command));
    assert_eq!(world.call(at, &["SET", name, "v"]), Reply::OK);
    let (get, strlen) = (["GET", name], ["STRLEN", name]);
    let mut all = vec![&get[..]];
    for command in &commands {
        all.extend([command, &strlen[..]]);
    }
    let mut expected = vec![Reply::bulk(b"v")];
    for reply in alone {
        expected.extend([reply, Reply::Int(1)]);
    }
    assert_eq!(transact(&mut world, at, &all), expected);
    assert_eq!(world.call(at, &["WATCH", name]), Reply::OK);
    assert_eq!(transact(&mut world, at, &all), expected);
    // What is watched alone says where the transaction goes.
    assert_eq!(world.call(at, &["WATCH", name]), Reply::OK);
    assert_eq!(transact(&mut world, at, &all[1..2]), expected[1..2]);
}

#[test]
fn who_stands_in_for_clients_of_other_nodes_is_not_counted() {
    let mut world = World::new(Setup::default());
    let others: Vec<At> = (0..5).map(|_| elsewhere(&mut world, 0)).collect();
    for at in others {
        assert_eq!(world.call(at, &["SET", &key_of(0), "v"]), Reply::OK);
    }
    let at = world.connect(world.leader(0).unwrap());
    let Reply::Verbatim(told) = world.call(at, &["INFO", "clients"]) else { panic!("no text") };
    assert!(told.contains("connected_clients:1\r\n"), "{told}");
}

#[test]
fn what_is_about_all_keys_is_not_queued_at_any_node() {
    for partitions in [1, 4] {
        let founding = FoundingOptions { partitions, replication_factor: 3, min_isr: 2 };
        let mut world = World::new(Setup { founding, ..Setup::default() });
        for id in 1..=3 {
            let at = world.connect(id);
            for command in [
                &["FLUSHALL"][..],
                &["FLUSHDB", "ASYNC"],
                &["DBSIZE"],
                &["KEYS", "*"],
                &["SCAN", "0"],
                &["RANDOMKEY"],
                &["CLUSTER", "COUNTKEYSINSLOT", "1"],
                &["CLUSTER", "GETKEYSINSLOT", "1", "1"],
            ] {
                assert_eq!(world.call(at, &["SET", "k", "v"]), Reply::OK);
                assert_eq!(world.call(at, &["MULTI"]), Reply::OK);
                assert_eq!(world.call(at, &["DEL", "k"]), QUEUED);
                let told = error(world.call(at, command));
                assert!(told.contains("it was not queued"), "{told}");
                let told = error(world.call(at, &["EXEC"]));
                assert!(told.starts_with("EXECABORT "), "{told}");
                assert_eq!(world.call(at, &["GET", "k"]), Reply::bulk(b"v"));
            }
        }
    }
}

#[test]
fn a_pause_holds_up_what_other_nodes_ask() {
    let mut world = World::new(Setup::default());
    let name = &key_of(0)[..];
    let leader = world.connect(world.leader(0).unwrap());
    let (writer, reader) = (elsewhere(&mut world, 0), elsewhere(&mut world, 0));
    let [pause, second] = [3, 1].map(Duration::from_secs);
    for mode in ["WRITE", "ALL"] {
        assert_eq!(world.call(writer, &["SET", name, "0"]), Reply::OK);
        assert_eq!(world.call(leader, &["CLIENT", "PAUSE", "3000", mode]), Reply::OK);
        let began = world.now;
        for command in [&[&b"MULTI"[..]][..], &[b"INCR", name.as_bytes()], &[b"EXEC"]] {
            world.send(writer, command);
        }
        assert!(matches!(world.call(reader, &["GET", name]), Reply::Bulk(_)));
        assert_eq!(world.now.since(began) >= pause, mode == "ALL", "of a read by {mode}");
        assert_eq!(world.reply(writer, "to MULTI"), Reply::OK);
        assert_eq!(world.reply(writer, "to INCR"), QUEUED);
        assert_eq!(world.reply(writer, "to EXEC"), Reply::Array(vec![Reply::Int(1)]));
        let took = world.now.since(began);
        assert!((pause..pause + second).contains(&took), "{took:?} of a write by {mode}");
    }
    // It ends sooner where that is wanted.
    assert_eq!(world.call(leader, &["CLIENT", "PAUSE", "3000", "WRITE"]), Reply::OK);
    world.send(writer, &[b"SET", name.as_bytes(), b"2"]);
    world.pass(second);
    let began = world.now;
    assert_eq!(world.call(leader, &["CLIENT", "UNPAUSE"]), Reply::OK);
    assert_eq!(world.reply(writer, "to SET"), Reply::OK);
    assert!(world.now.since(began) < second);
}

/// The client was told that it is not known: it does not happen behind its back when the pause ends.
#[test]
fn what_a_pause_holds_up_for_longer_than_anybody_waits_is_dropped() {
    let mut world = World::new(Setup::default());
    let name = &key_of(0)[..];
    let leader = world.connect(world.leader(0).unwrap());
    let writer = elsewhere(&mut world, 0);
    assert_eq!(world.call(writer, &["SET", name, "0"]), Reply::OK);
    assert_eq!(world.call(leader, &["CLIENT", "PAUSE", "20000", "WRITE"]), Reply::OK);
    let told = error(world.call(writer, &["SET", name, "1"]));
    assert!(told.starts_with("UNKNOWN "), "{told}");
    // One that comes shortly before the end is run.
    world.pass(Duration::from_secs(11));
    world.send(writer, &[b"APPEND", name.as_bytes(), b"2"]);
    assert_eq!(world.reply(writer, "to APPEND"), Reply::Int(2));
    assert_eq!(world.call(writer, &["GET", name]), Reply::bulk(b"02"));
}

/// Whatever a client puts into it, a transaction is answered: by its replies, or that it was not run.
#[test]
fn any_command_can_be_sent_after_multi() {
    let mut world = World::new(Setup::default());
    let name = &key_of(0)[..];
    let ends_it = ["discard", "exec", "quit", "reset", "shutdown"];
    let all = commands().flat_map(|c| std::iter::once(c).chain(c.subcommands));
    let mut run = 0;
    for command in all.filter(|c| c.subcommands.is_empty() && !ends_it.contains(&c.name)) {
        for filler in ["1", name, "*"] {
            let mut words: Vec<&str> = command.name.split('|').collect();
            words.resize(words.len().max(command.arity.unsigned_abs() as usize), filler);
            for watches in [false, true] {
                let at = elsewhere(&mut world, 0);
                if watches {
                    assert_eq!(world.call(at, &["WATCH", name]), Reply::OK);
                }
                assert_eq!(world.call(at, &["MULTI"]), Reply::OK);
                world.call(at, &words);
                world.call(at, &["GET", name]);
                match world.call(at, &["EXEC"]) {
                    Reply::Array(replies) => run += usize::from(replies.len() == 2),
                    Reply::NullArray | Reply::Null => {}
                    told => assert!(error(told).contains(' '), "{words:?}"),
                }
                world.disconnect(at);
            }
        }
    }
    assert!(run > 300, "{run} were run");
    (1..=3).for_each(|id| assert!(world.nodes[&NodeId(id)].process.is_some(), "n{id} lives"));
}

#[test]
fn a_transaction_changes_the_connection_that_sent_it() {
    let mut world = World::new(Setup::default());
    let name = &key_of(0)[..];
    let at = elsewhere(&mut world, 0);
    let commands: [&[&str]; 4] = [
        &["CLIENT", "SETNAME", "foo"],
        &["CLIENT", "GETNAME"],
        &["SET", name, "v"],
        &["CLIENT", "SETNAME", "no name"],
    ];
    let replies = transact(&mut world, at, &commands);
    assert_eq!(replies[..3], [Reply::OK, Reply::bulk(b"foo"), Reply::OK]);
    assert!(matches!(replies[3], Reply::Error(_)), "{replies:?}");
    assert_eq!(world.call(at, &["CLIENT", "GETNAME"]), Reply::bulk(b"foo"));
    assert_eq!(world.call(at, &["GET", name]), Reply::bulk(b"v"));
}
