//! What is told of a value, and how it travels between servers.

use proptest::prelude::*;

use super::world::World;
use crate::kv::Stop;
use crate::reply::Reply;

/// What Redis 7.0 answers to DUMP of the strings behind.
const OF_REDIS: [(&[u8], &[u8]); 6] = [
    (b"\x00\x05hello\n\x00cr\xdfve4 \n", b"hello"),
    (b"\x00\xc0\x0c\n\x00<*\xf8Q\\\x04\xbc\xd5", b"12"),
    (b"\x00\xc1\xd4\xfe\n\x00\xc6\xc4\x86#\xfe\xbe\xde.", b"-300"),
    (b"\x00\xc2p\x11\x01\x00\n\x00\x01\xa4\x08\xfe\x950\x95\xa5", b"70000"),
    (b"\x00\r1234567890123\n\x00^\x0c\x12\xae\x04)\xbc\x1e", b"1234567890123"),
    (b"\x00\xc3\n@d\x02aba\xe0V\x01\x01ab\n\x00\x178=\x94 \x96\xd8c", &[b'a'; 0]),
];

/// What it answers for a list.
const LIST: &[u8] =
    b"\x12\x01\x02\r\r\x00\x00\x00\x02\x00\x81a\x02\x81b\x02\xff\n\x00h\xeb\n\x89\x13A\xbb\xb1";

const WRONG: &str = "ERR DUMP payload version or checksum are wrong";

fn restore(world: &mut World, payload: &[u8]) -> Reply {
    world.evaluate(&[b"RESTORE", b"k", b"0", payload, b"REPLACE"]).expect("nothing stops it")
}

fn value(world: &mut World) -> Reply {
    world.evaluate(&[b"GET", b"k"]).expect("nothing stops it")
}

fn dump(world: &mut World) -> Result<Reply, Stop> {
    world.evaluate(&[b"DUMP", b"k"])
}

#[test]
fn a_dump_of_redis_is_restored() {
    let mut world = World::new();
    for (payload, string) in OF_REDIS {
        let string = if string.is_empty() { b"ab".repeat(50) } else { string.to_vec() };
        assert_eq!(restore(&mut world, payload), Reply::OK);
        assert_eq!(value(&mut world), Reply::bulk(&string));
        if string.len() <= 20 {
            assert_eq!(dump(&mut world), Ok(Reply::bulk(payload)), "and dumped as Redis does");
        }
    }
    assert_eq!(restore(&mut world, LIST), Reply::error("ERR Bad data format"));
}

#[test]
fn a_damaged_dump_is_refused() {
    let mut world = World::new();
    for (payload, _) in OF_REDIS {
        for at in 0..payload.len() {
            assert_eq!(restore(&mut world, &payload[..at]), Reply::error(WRONG));
            for bit in 0..8 {
                let mut damaged = payload.to_vec();
                damaged[at] ^= 1 << bit;
                assert_eq!(restore(&mut world, &damaged), Reply::error(WRONG));
            }
        }
    }
    world.story("EXISTS k -> :0");
}

proptest! {
    #[test]
    fn what_is_dumped_is_restored(string: std::vec::Vec<u8>) {
        let mut world = World::new();
        world.evaluate(&[b"SET", b"k", &string]).unwrap();
        let Ok(Reply::Bulk(payload)) = dump(&mut world) else { panic!("a payload") };
        world.run("DEL k");
        prop_assert_eq!(restore(&mut world, &payload), Reply::OK);
        prop_assert_eq!(value(&mut world), Reply::bulk(&string));
    }
}

#[test]
fn restore_checks_its_arguments_in_the_order_of_redis() {
    World::new().story(
        "
        DUMP none -> $-1
        SET k v EX 100 -> +OK
        RESTORE k x y FOO -> -ERR syntax error
        RESTORE k x y IDLETIME -> -ERR syntax error
        RESTORE k x y IDLETIME 1 FREQ 1 -> -ERR syntax error
        RESTORE k x y IDLETIME -1 -> -ERR Invalid IDLETIME value, must be >= 0
        RESTORE k x y FREQ 256 -> -ERR Invalid FREQ value, must be >= 0 and <= 255
        RESTORE k x y -> -BUSYKEY Target key name already exists.
        RESTORE k x y REPLACE -> -ERR value is not an integer or out of range
        RESTORE k -1 y REPLACE -> -ERR Invalid TTL value, must be >= 0
        RESTORE k 0 y REPLACE -> -ERR DUMP payload version or checksum are wrong
        TTL k -> :100
        ",
    );
}

#[test]
fn a_restored_key_expires_when_it_is_told_to() {
    let mut world = World::new();
    let mut restore = |ttl: &[u8], more: &[&[u8]]| {
        let first: [&[u8]; 4] = [b"RESTORE", b"k", ttl, OF_REDIS[0].0];
        let args = [&first, more].concat();
        let reply = world.evaluate(&args).unwrap();
        (reply, world.run("PTTL k"))
    };
    let replace: &[u8] = b"REPLACE";
    let ok = |pttl: &str| (Reply::OK, pttl.into());
    assert_eq!(restore(b"1500", &[]), ok(":1500"));
    assert_eq!(restore(b"1700000000009", &[replace, b"ABSTTL"]), ok(":9"));
    assert_eq!(restore(b"0", &[replace, b"ABSTTL"]), ok(":-1"));
    assert_eq!(restore(b"1", &[replace, b"absttl"]), ok(":-2"));
    let (reply, _) = restore(b"9223372036854775807", &[replace]);
    assert_eq!(reply, Reply::error_owned("ERR invalid expire time in 'restore' command".into()));
}

#[test]
fn objects_are_told_by_their_values() {
    let mut world = World::new();
    world.run(&["SET long ", &"x".repeat(45)].concat());
    world.story(
        "
        MSET n 12 s v -> +OK
        OBJECT ENCODING n -> 'int'
        OBJECT ENCODING s -> 'embstr'
        OBJECT ENCODING long -> 'raw'
        OBJECT ENCODING none -> $-1
        OBJECT REFCOUNT s -> :1
        OBJECT FREQ none -> $-1
        OBJECT IDLETIME s -> -ERR idle time not tracked, since no key is ever evicted
        OBJECT FOO s -> -ERR unknown subcommand 'FOO'. Try OBJECT HELP.
        OBJECT ENCODING -> -ERR wrong number of arguments for 'object|encoding' command
        MEMORY USAGE none -> $-1
        MEMORY USAGE n -> :27
        MEMORY USAGE n SAMPLES 0 -> :27
        MEMORY USAGE n SAMPLES -1 -> -ERR syntax error
        MEMORY USAGE n SAMPLES -> -ERR syntax error
        MEMORY PURGE -> -ERR unknown subcommand 'PURGE'. Try MEMORY HELP.
        MEMORY STATS -> *['overhead.total', :0, 'keys.count', :3, 'keys.bytes-per-key', :0, 'dataset.bytes', :0]
        ",
    );
}
