//! Keys that expire: while too few replicas are in sync to agree on it, by a clock that was off, while
//! they are counted.

use std::time::Duration;

use kvnode_core::control::FoundingOptions;
use kvnode_core::reply::Reply;

use crate::world::{Setup, World};
use crate::{error, key_of};

/// One partition, with a follower gone that it needs; its leader, and the one that is gone. That counts
/// as in sync for another second or so if nobody hears of it.
fn short_of_one(ttl_ms: &str, unheard: bool) -> (World, u32, u32) {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 3 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let leader = world.leader(0).unwrap();
    let at = world.connect(leader);
    assert_eq!(world.call(at, &["SET", "t", "v", "PX", ttl_ms]), Reply::OK);
    let gone = leader % 3 + 1;
    if unheard {
        world.vanish(gone);
    } else {
        world.kill(gone);
    }
    (world, leader, gone)
}

#[test]
fn the_log_does_not_grow_by_what_can_not_be_committed() {
    // It expires while the one that is gone counts as in sync, or when it does no more.
    for (ttl_ms, unheard) in [("300", true), ("3500", false)] {
        let (mut world, leader, gone) = short_of_one(ttl_ms, unheard);
        let at = world.connect(leader);
        world.pass(Duration::from_secs(5));
        let log_end = world.replica(leader, 0).unwrap().log_end;
        for _ in 0..4 {
            world.pass(Duration::from_secs(5));
            let told = error(world.call(at, &["GET", "t"]));
            assert!(told.starts_with("NOREPLICAS "), "{told}");
            assert_eq!(world.call(at, &["DBSIZE"]), Reply::Int(1), "it is not removed");
        }
        assert_eq!(world.replica(leader, 0).unwrap().log_end, log_end);
        world.start(gone);
        world.until("all are in sync", World::is_whole);
        assert_eq!(world.call(at, &["GET", "t"]), Reply::Null);
        world.pass(Duration::from_secs(1));
        assert_eq!(world.call(at, &["DBSIZE"]), Reply::Int(0));
    }
}

#[test]
fn a_read_is_told_what_it_lacks_and_nothing_of_writes() {
    let (mut world, leader, _) = short_of_one("300", true);
    let at = world.connect(leader);
    world.pass(Duration::from_millis(500));
    // The clock is logged, and waits for one that is in sync as far as anybody knows.
    let told = error(world.call(at, &["GET", "t"]));
    for part in ["TRYAGAIN ", "has 2 replicas in sync and needs 3 to commit", "nothing was changed"]
    {
        assert!(told.contains(part), "no {part}: {told}");
    }
    for args in [&["GET", "t"][..], &["TTL", "t"], &["EXISTS", "t"], &["KEYS", "*"], &["SCAN", "0"]]
    {
        let told = error(world.call(at, args));
        for part in
            ["NOREPLICAS ", "can not be agreed on that a key has expired", "nothing was changed"]
        {
            assert!(told.contains(part), "{args:?}: no {part}: {told}");
        }
        assert!(!told.contains("write"), "{args:?}: {told}");
    }
    let told = error(world.call(at, &["SET", "t", "w"]));
    assert!(told.contains("the write was not applied, reads go on"), "{told}");
}

/// A process that started with its clock a day ahead, set right since, does not take that with it.
#[test]
fn a_clock_that_was_ahead_when_the_process_started_does_no_harm_later() {
    let mut world = World::new(Setup::default());
    let other = world.leader(0).unwrap() % 3 + 1;
    world.kill(other);
    world.ahead.insert(other, Duration::from_secs(86_400));
    world.start(other);
    world.until("it is back", World::is_whole);
    world.pass(Duration::from_secs(5));
    world.ahead.clear();
    world.pass(Duration::from_secs(5));
    let name = &key_of(0)[..];
    let at = world.connect(other);
    assert_eq!(world.call(at, &["SET", name, "v", "EX", "3600"]), Reply::OK);
    assert_eq!(world.call(at, &["CLUSTER", "MOVE", "p0", &format!("n{other}")]), Reply::OK);
    world.until("it leads", |world| world.leader(0) == Some(other));
    assert_eq!(world.call(at, &["GET", name]), Reply::bulk(b"v"));
    assert_eq!(world.call(at, &["APPEND", name, "w"]), Reply::Int(2));
    let Reply::Int(left) = world.call(at, &["TTL", name]) else { panic!("it has one") };
    assert!((3_000..=3_600).contains(&left), "{left}");
}

/// It is evaluated by the clock that it has waited for: by a later one more would have expired.
#[test]
fn keys_are_told_while_one_expires_every_moment() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let at = world.connect(world.leader(0).unwrap());
    for n in 0..4_000 {
        let ttl = (3_000 + n).to_string();
        world.send(at, &[b"SET", format!("k{n}").as_bytes(), b"v", b"PX", ttl.as_bytes()]);
    }
    for _ in 0..4_000 {
        assert_eq!(world.reply(at, "to SET"), Reply::OK);
    }
    world.pass(Duration::from_secs(4));
    let began = world.now;
    let Reply::Array(keys) = world.call(at, &["KEYS", "*"]) else { panic!("they are told") };
    assert!((1_000..3_500).contains(&keys.len()), "{}", keys.len());
    let took = world.now.since(began);
    assert!(took < Duration::from_millis(100), "{took:?}");
}
