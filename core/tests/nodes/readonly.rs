//! READONLY: what a follower shows, and what it must not.

use std::time::Duration;

use kvnode_core::NodeId;
use kvnode_core::control::FoundingOptions;
use kvnode_core::reply::Reply;

use crate::world::{Setup, World};
use crate::{At, key, key_of};

/// One partition, everywhere, that takes writes while a single replica is in sync.
fn one_partition() -> Setup {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 1 };
    Setup { founding, ..Setup::default() }
}

/// The leader and the two followers of partition 0.
fn seats(world: &World) -> (u32, u32, u32) {
    let leader = world.leader(0).unwrap();
    (leader, leader % 3 + 1, (leader + 1) % 3 + 1)
}

fn cut(world: &mut World, a: u32, b: u32) {
    world.wires.cut.insert((NodeId(a), NodeId(b)));
    world.wires.cut.insert((NodeId(b), NodeId(a)));
}

fn readonly(world: &mut World, id: u32) -> At {
    let at = world.connect(id);
    assert_eq!(world.call(at, &["READONLY"]), Reply::OK);
    at
}

fn bulk(text: &str) -> Reply {
    Reply::bulk(text.as_bytes())
}

#[test]
fn a_follower_answers_reads_by_key_without_asking_its_leader() {
    let mut world = World::new(Setup::default());
    let follower = world.leader(0).unwrap() % 3 + 1;
    let at = world.connect(follower);
    let names: Vec<String> = (0..4).map(key_of).collect();
    for name in &names {
        assert_eq!(world.call(at, &["SET", name, "abc", "EX", "100"]), Reply::OK);
    }
    world.pass(Duration::from_millis(200));
    let mget: Vec<&str> =
        ["MGET", "none"].into_iter().chain(names.iter().map(|n| &n[..])).collect();
    let all = Reply::Array([Reply::Null].into_iter().chain(vec![bulk("abc"); 4]).collect());
    let name = &names[0][..];
    let cases: [(&[&str], Reply); 7] = [
        (&["GET", name], bulk("abc")),
        (&["STRLEN", name], Reply::Int(3)),
        (&["GETRANGE", name, "1", "2"], bulk("bc")),
        (&["TTL", name], Reply::Int(100)),
        (&["TYPE", name], Reply::Simple("string")),
        (&["EXISTS", &names[0], &names[1], "none"], Reply::Int(2)),
        (&mget, all),
    ];
    // Without READONLY the leader is asked.
    for (command, expected) in &cases {
        assert_eq!(world.at_once(at, command), None, "{command:?}");
        assert_eq!(&world.reply(at, "the leader's answer"), expected);
    }
    assert_eq!(world.call(at, &["READONLY"]), Reply::OK);
    for (command, expected) in &cases {
        assert_eq!(world.at_once(at, command).as_ref(), Some(expected), "{command:?}");
    }
    // Writes, transactions and what names no key go where they always go.
    assert_eq!(world.call(at, &["SET", name, "d"]), Reply::OK);
    assert_eq!(world.call(at, &["GET", name]), bulk("d"));
    assert_eq!(world.call(at, &["DBSIZE"]), Reply::Int(4));
    world.pass(Duration::from_millis(200));
    assert_eq!(world.call(at, &["MULTI"]), Reply::OK);
    assert_eq!(world.call(at, &["GET", name]), Reply::Simple("QUEUED"));
    assert_eq!(world.at_once(at, &["EXEC"]), None);
    assert_eq!(world.reply(at, "the leader's"), Reply::Array(vec![bulk("d")]));
    assert_eq!(world.call(at, &["WATCH", name]), Reply::OK);
    assert_eq!(world.at_once(at, &["GET", name]), None);
    assert_eq!(world.reply(at, "the leader's"), bulk("d"));
    assert_eq!(world.call(at, &["UNWATCH"]), Reply::OK);
    assert_eq!(world.at_once(at, &["GET", name]), Some(bulk("d")));
    assert_eq!(world.call(at, &["READWRITE"]), Reply::OK);
    assert_eq!(world.at_once(at, &["GET", name]), None);
}

#[test]
fn a_connection_reads_its_own_writes_and_never_goes_back() {
    let mut world = World::new(one_partition());
    let (leader, follower, _) = seats(&world);
    let (at, other) = (readonly(&mut world, follower), world.connect(leader));
    let (mut at_once, mut last) = (0, 0);
    for n in 1..=200 {
        assert_eq!(world.call(at, &["SET", "mine", &n.to_string()]), Reply::OK);
        assert_eq!(world.call(at, &["GET", "mine"]), bulk(&n.to_string()));
        world.send(other, &[b"INCR", b"theirs"]);
        for _ in 0..3 {
            world.pass(Duration::from_millis(n % 7));
            let told = world.at_once(at, &["GET", "theirs"]);
            at_once += usize::from(told.is_some());
            let told = match told.unwrap_or_else(|| world.reply(at, "the leader's")) {
                Reply::Bulk(text) => std::str::from_utf8(&text).unwrap().parse().unwrap(),
                _ => 0,
            };
            assert!(told >= last, "{told} after {last}");
            last = told;
        }
        world.reply(other, "it is counted");
    }
    assert!(at_once > 200, "a follower that goes on being shown: {at_once} of 600");
}

#[test]
fn nothing_uncommitted_is_shown_and_no_half_of_a_batch() {
    let mut world = World::new(one_partition());
    let (leader, follower, third) = seats(&world);
    let at = readonly(&mut world, follower);
    let other = world.connect(leader);
    assert_eq!(world.call(other, &["MSET", "a", "1", "b", "1"]), Reply::OK);
    world.pass(Duration::from_millis(200));
    // One of the set is out of reach: nothing more is committed while it counts.
    cut(&mut world, leader, third);
    world.send(other, &[b"MSET", b"a", b"2", b"b", b"2"]);
    world.until("the follower has it", |world| {
        world.replica(follower, 0).is_some_and(|r| r.acked_end > r.watermark)
    });
    for _ in 0..50 {
        world.pass(Duration::from_millis(10));
        if world.replica(follower, 0).unwrap().watermark.0
            >= world.replica(leader, 0).unwrap().log_end.0
        {
            break;
        }
        if world.clients[&other].told.is_empty() {
            assert_eq!(
                world.at_once(at, &["MGET", "a", "b"]),
                Some(Reply::Array(vec![bulk("1"); 2]))
            );
        }
    }
    world.until("it left the set", |world| !world.clients[&other].told.is_empty());
    world.pass(Duration::from_millis(100));
    assert_eq!(world.at_once(at, &["MGET", "a", "b"]), Some(Reply::Array(vec![bulk("2"); 2])));
}

#[test]
fn after_a_restart_nothing_is_shown_that_may_not_be_committed() {
    let mut world = World::new(one_partition());
    let (leader, follower, third) = seats(&world);
    let other = world.connect(leader);
    assert_eq!(world.call(other, &["SET", "k", "1"]), Reply::OK);
    world.pass(Duration::from_millis(200));
    // The follower stores what is not committed, and restarts with all of it in its index.
    cut(&mut world, leader, third);
    world.send(other, &[b"SET", b"k", b"2"]);
    world.until("the follower has it", |world| {
        world.replica(follower, 0).is_some_and(|r| r.acked_end > r.watermark)
    });
    world.kill(follower);
    world.start(follower);
    let mut early = 0;
    while world.clients[&other].told.is_empty() {
        world.pass(Duration::from_millis(5));
        if world.replica(follower, 0).is_some_and(|r| r.open) {
            early += 1;
            let at = readonly(&mut world, follower);
            let told = world.at_once(at, &["GET", "k"]);
            let is_committed = !world.clients[&other].told.is_empty();
            assert!(is_committed || told != Some(bulk("2")), "it is not committed");
        }
    }
    assert!(early > 0, "it was open, and not to be shown");
    world.wires.cut.clear();
    world.until("all are in sync again", World::is_whole);
    world.pass(Duration::from_millis(200));
    let at = readonly(&mut world, follower);
    assert_eq!(world.at_once(at, &["GET", "k"]), Some(bulk("2")));
}

#[test]
fn a_follower_that_hears_nothing_is_not_shown() {
    let mut world = World::new(one_partition());
    let (leader, follower, _) = seats(&world);
    let at = readonly(&mut world, follower);
    assert_eq!(world.call(at, &["SET", "k", "1"]), Reply::OK);
    world.pass(Duration::from_millis(200));
    assert_eq!(world.at_once(at, &["GET", "k"]), Some(bulk("1")));
    cut(&mut world, leader, follower);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.at_once(at, &["GET", "k"]), None);
}

#[test]
fn what_a_follower_can_not_read_its_leader_answers() {
    use kvnode_core::disk::{DiskError, DiskOp};
    let mut world = World::new(one_partition());
    let (_, follower, _) = seats(&world);
    let at = readonly(&mut world, follower);
    assert_eq!(world.call(at, &["SET", "k", "1"]), Reply::OK);
    world.pass(Duration::from_millis(200));
    assert_eq!(world.at_once(at, &["GET", "k"]), Some(bulk("1")));
    let fails = |op: &DiskOp| matches!(op, DiskOp::Read { .. }).then_some(DiskError::Io(5));
    world.disk(follower).fault = Some(Box::new(fails));
    assert_eq!(world.at_once(at, &["GET", "k"]), None);
    assert_eq!(world.reply(at, "the leader's"), bulk("1"));
}

#[test]
fn a_follower_that_catches_up_over_compacted_segments_shows_no_state_that_never_was() {
    let setup = Setup { segment_bytes: 1 << 18, ..one_partition() };
    let mut world = World::new(setup);
    let (leader, away, _) = seats(&world);
    world.kill(away);
    world.until("the others go on", World::is_whole);
    let other = world.connect(leader);
    assert_eq!(world.call(other, &["SET", "first", "1"]), Reply::OK);
    // More than is under way at a time.
    let [some, another] = ["some value", "another value"].map(|value| value.repeat(1000));
    for n in 0..300 {
        assert_eq!(world.call(other, &["SET", &key(n), &some]), Reply::OK);
    }
    for n in 0..300 {
        assert_eq!(world.call(other, &["SET", &key(n % 20), &another]), Reply::OK);
    }
    assert_eq!(world.call(other, &["SET", "first", "2"]), Reply::OK);
    world.pass(Duration::from_secs(5));
    world.start(away);
    let (mut hidden, mut shown) = (0, 0);
    while shown < 20 {
        world.pass(Duration::from_micros(500));
        let at = readonly(&mut world, away);
        // Whoever has seen the other has written the first one before.
        match world.at_once(at, &["MGET", "first", &key(250)]) {
            None => {
                hidden += usize::from(world.replica(away, 0).is_some_and(|r| r.watermark.0 > 0))
            }
            // It has not heard of the cluster yet.
            Some(Reply::Error(_)) => {}
            Some(told) => {
                shown += 1;
                let expected = vec![bulk("2"), bulk(&some)];
                assert_eq!(told, Reply::Array(expected), "the {shown}th time");
            }
        }
    }
    assert!(hidden > 0, "it was behind");
}

#[test]
fn a_key_is_never_shown_expired_and_then_live_nor_live_by_no_clock() {
    let mut world = World::new(one_partition());
    let (leader, follower, _) = seats(&world);
    let other = world.connect(leader);
    // The follower's clock is ahead: it can not tell whether the key has expired, and asks.
    world.kill(follower);
    world.ahead.insert(follower, Duration::from_secs(60));
    world.start(follower);
    world.until("it is back", World::is_whole);
    let at = readonly(&mut world, follower);
    assert_eq!(world.call(other, &["SET", "k", "v", "PX", "5000"]), Reply::OK);
    assert_eq!(world.call(other, &["SET", "later", "v", "PX", "500000"]), Reply::OK);
    world.pass(Duration::from_millis(200));
    assert_eq!(world.leader(0), Some(leader));
    assert_eq!(world.at_once(at, &["GET", "later"]), Some(bulk("v")));
    assert_eq!(world.at_once(at, &["GET", "k"]), None);
    assert_eq!(world.reply(at, "the leader's"), bulk("v"));
    // Its leader has committed a clock by which it is gone.
    world.pass(Duration::from_secs(6));
    assert_eq!(world.call(other, &["GET", "k"]), Reply::Null);
    world.pass(Duration::from_millis(200));
    assert_eq!(world.at_once(at, &["GET", "k"]), Some(Reply::Null));
}

#[test]
fn a_follower_whose_clock_is_behind_goes_by_the_committed_one() {
    let mut world = World::new(one_partition());
    let (leader, _, _) = seats(&world);
    // All but one are ahead.
    let slow = leader % 3 + 1;
    for id in 1..=3 {
        if id != slow {
            world.kill(id);
            world.ahead.insert(id, Duration::from_secs(3600));
            world.start(id);
            world.until("it is back", World::is_whole);
        }
    }
    if world.leader(0) == Some(slow) {
        world.ask_to_stop(slow);
        world.until("it has stopped", |world| world.nodes[&NodeId(slow)].stopped);
        world.start(slow);
        world.until("it is back", World::is_whole);
    }
    let other = world.connect(world.leader(0).unwrap());
    let at = readonly(&mut world, slow);
    assert_eq!(world.call(other, &["SET", "k", "v", "PX", "1000"]), Reply::OK);
    world.pass(Duration::from_millis(200));
    assert_eq!(world.at_once(at, &["GET", "k"]), Some(bulk("v")));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.call(other, &["GET", "k"]), Reply::Null);
    world.pass(Duration::from_millis(200));
    assert_eq!(world.at_once(at, &["GET", "k"]), Some(Reply::Null));
}
