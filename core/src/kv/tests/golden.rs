//! Replies, byte for byte as Redis 7.2 gives them.

use alloc::string::String;
use alloc::vec::Vec;

use super::world::World;
use crate::reply::Protocol;

#[test]
fn replies_are_those_of_redis_in_resp2() {
    replay(Protocol::Resp2);
}

#[test]
fn replies_are_those_of_redis_in_resp3() {
    replay(Protocol::Resp3);
}

fn replay(protocol: Protocol) {
    let mut world = World::new();
    world.session.settings.protocol = protocol;
    let mut checked = 0;
    let lines = include_str!("redis-replies.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let (command, replies) = line.split_once("  ").expect("spaces before the reply");
        let (old, new) = match replies.split_once(" || RESP3: ") {
            Some((old, new)) => (old, new),
            None => (replies, replies),
        };
        let expected = if protocol == Protocol::Resp2 { old } else { new };
        let got = world.run(command);
        if command.starts_with("KEYS") || command.starts_with("SCAN 0 ") {
            assert_eq!(sorted(&got), sorted(expected), "{command}");
        } else {
            assert_eq!(got.trim(), expected.trim(), "{command}");
        }
        checked += 1;
    }
    assert!(checked > 120, "{checked} lines");
    assert!(world.session.closing(), "the last one is QUIT");
}

fn sorted(reply: &str) -> Vec<String> {
    let mut words: Vec<_> =
        reply.split(['[', ']', ',', ' ']).filter(|w| !w.is_empty()).map(String::from).collect();
    words.sort();
    words
}
