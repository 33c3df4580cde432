//! WAIT and WAITAOF: who has what a connection wrote, asked of any node.

use std::time::Duration;

use kvnode_core::control::FoundingOptions;
use kvnode_core::reply::Reply;
use kvnode_core::shard::{FsyncMode, Reason};
use kvnode_core::{NodeId, PartitionId};

use crate::world::{Setup, World};
use crate::{error, key_of};

/// One partition of three replicas that takes writes while a single one is in sync.
fn one_partition() -> World {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 1 };
    World::new(Setup { founding, ..Setup::default() })
}

fn ints(all: [i64; 2]) -> Reply {
    Reply::Array(all.map(Reply::Int).to_vec())
}

/// What it replies, and how long that takes.
fn timed(world: &mut World, at: crate::At, args: &[&str]) -> (Reply, Duration) {
    let before = world.now;
    (world.call(at, args), world.now.since(before))
}

#[test]
fn a_write_is_on_all_in_sync_when_it_is_answered() {
    let mut world = World::new(Setup::default());
    for id in 1..=3 {
        let at = world.connect(id);
        // One that has written nothing is told of the partition that has fewest.
        assert_eq!(world.call(at, &["WAIT", "2", "0"]), Reply::Int(2));
        for partition in 0..4 {
            assert_eq!(world.call(at, &["SET", &key_of(partition), "v"]), Reply::OK);
            let (told, took) = timed(&mut world, at, &["WAIT", "2", "0"]);
            assert_eq!(told, Reply::Int(2));
            assert!(took < Duration::from_millis(5), "nobody is waited for: {took:?}");
            assert_eq!(world.call(at, &["WAIT", "0", "0"]), Reply::Int(2));
            assert_eq!(world.call(at, &["WAITAOF", "1", "2", "0"]), ints([1, 2]));
        }
    }
}

#[test]
fn whoever_wants_more_waits_as_long_as_it_says() {
    let mut world = World::new(Setup::default());
    let leader = world.leader(0).unwrap();
    for at in [leader, leader % 3 + 1].map(|id| world.connect(id)) {
        assert_eq!(world.call(at, &["SET", &key_of(0), "v"]), Reply::OK);
        let (told, took) = timed(&mut world, at, &["WAIT", "3", "250"]);
        assert_eq!(told, Reply::Int(2));
        assert_eq!(took, Duration::from_millis(250));
        let (told, took) = timed(&mut world, at, &["WAITAOF", "1", "3", "250"]);
        assert_eq!((told, took), (ints([1, 2]), Duration::from_millis(250)));
        // What comes behind in a pipeline waits as well.
        let before = world.now;
        world.send(at, &[b"SET", key_of(1).as_bytes(), b"w"]);
        world.send(at, &[b"WAIT", b"3", b"100"]);
        world.send(at, &[b"GET", key_of(1).as_bytes()]);
        assert_eq!(world.reply(at, "the write"), Reply::OK);
        assert_eq!(world.reply(at, "the number"), Reply::Int(2));
        assert!(world.now.since(before) >= Duration::from_millis(100));
        assert_eq!(world.reply(at, "the read"), Reply::bulk(b"w"));
    }
}

#[test]
fn a_replica_that_catches_up_ends_the_wait() {
    let mut world = one_partition();
    let leader = world.leader(0).unwrap();
    let (away, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    world.kill(away);
    let clients = [leader, other].map(|id| world.connect(id));
    for at in clients {
        assert_eq!(world.call(at, &["SET", "k", "v"]), Reply::OK);
        assert_eq!(world.call(at, &["WAIT", "1", "0"]), Reply::Int(1));
        world.send(at, &[b"WAIT", b"2", b"0"]);
    }
    world.pass(Duration::from_secs(20));
    assert!(clients.iter().all(|at| world.clients[at].told.is_empty()), "they wait without end");
    world.start(away);
    for at in clients {
        assert_eq!(world.reply(at, "it is back"), Reply::Int(2));
    }
}

#[test]
fn the_next_leader_answers_for_the_write() {
    for through in [1, 2] {
        let mut world = one_partition();
        let leader = world.leader(0).unwrap();
        // Asked of a node that lives on, be it the next leader or not.
        let at = world.connect((leader + through - 1) % 3 + 1);
        assert_eq!(world.call(at, &["SET", "k", "v"]), Reply::OK);
        assert_eq!(world.call(at, &["WAIT", "2", "0"]), Reply::Int(2));
        world.lose_power(leader);
        // Asked before anybody has noticed.
        assert_eq!(world.call(at, &["WAIT", "1", "0"]), Reply::Int(1));
        let (told, _) = timed(&mut world, at, &["WAIT", "2", "100"]);
        assert_eq!(told, Reply::Int(1), "the other one that is left");
        assert_ne!(world.leader(0), Some(leader));
        assert_eq!(world.call(at, &["GET", "k"]), Reply::bulk(b"v"));
        world.start(leader);
        assert_eq!(world.call(at, &["WAITAOF", "1", "2", "0"]), ints([1, 2]));
    }
}

#[test]
fn several_partitions_count_as_the_one_that_has_fewest() {
    let founding = FoundingOptions { partitions: 4, replication_factor: 2, min_isr: 1 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let replicas = |world: &World, id: u32, partition: u32| {
        world.map(id).partition(PartitionId(partition)).unwrap().replicas.clone()
    };
    // One partition has lost a replica, and another has not.
    let leader = world.leader(0).unwrap();
    let lost = replicas(&world, leader, 0).into_iter().find(|id| id.0 != leader).unwrap();
    let whole = (0..4).find(|&p| !replicas(&world, leader, p).contains(&lost)).unwrap();
    world.kill(lost.0);
    world.until("the others go on", World::is_whole);
    let at = world.connect(leader);
    assert_eq!(world.call(at, &["SET", &key_of(whole), "v"]), Reply::OK);
    assert_eq!(world.call(at, &["WAIT", "1", "100"]), Reply::Int(1));
    assert_eq!(world.call(at, &["SET", &key_of(0), "v"]), Reply::OK);
    assert_eq!(world.call(at, &["WAIT", "1", "100"]), Reply::Int(0));
}

#[test]
fn a_leader_that_can_not_be_asked_has_told_nothing() {
    let mut world = one_partition();
    let leader = world.leader(0).unwrap();
    let id = leader % 3 + 1;
    let at = world.connect(id);
    assert_eq!(world.call(at, &["SET", "k", "v"]), Reply::OK);
    for other in (1..=3).filter(|&other| other != id) {
        world.wires.cut.insert((NodeId(id), NodeId(other)));
        world.wires.cut.insert((NodeId(other), NodeId(id)));
    }
    let (told, took) = timed(&mut world, at, &["WAIT", "1", "300"]);
    assert_eq!((told, took), (Reply::Int(0), Duration::from_millis(300)));
}

/// The others are gone, and with them the quorum: what its client is told of a write to the leader.
fn in_doubt(world: &mut World, leader: u32, at: crate::At) {
    for other in (1..=3).filter(|&other| other != leader) {
        world.kill(other);
    }
    let told = error(world.call(at, &["SET", "k", "doubt"]));
    assert!(told.starts_with("UNKNOWN "), "{told}");
}

#[test]
fn a_write_in_doubt_is_the_last_one_of_its_client() {
    for earlier in [false, true] {
        let mut world = one_partition();
        let leader = world.leader(0).unwrap();
        let (at, idle) = (world.connect(leader), world.connect(leader));
        if earlier {
            assert_eq!(world.call(at, &["SET", "k", "v"]), Reply::OK);
            assert_eq!(world.call(at, &["WAIT", "2", "0"]), Reply::Int(2));
        }
        assert_eq!(world.call(idle, &["WAIT", "2", "0"]), Reply::Int(2));
        in_doubt(&mut world, leader, at);
        assert_eq!(world.call(at, &["WAITAOF", "0", "0", "500"]), ints([1, 0]));
        assert_eq!(timed(&mut world, at, &["WAIT", "2", "500"]).0, Reply::Int(0));
        // Whoever has written nothing is not told of replicas that are gone.
        assert_eq!(world.call(idle, &["WAIT", "2", "500"]), Reply::Int(0));
        world.send(at, &[b"WAIT", b"2", b"0"]);
        world.pass(Duration::from_secs(1));
        (1..=3).filter(|&id| id != leader).for_each(|id| world.start(id));
        assert_eq!(world.reply(at, "they are back"), Reply::Int(2));
        assert_eq!(world.call(at, &["GET", "k"]), Reply::bulk(b"doubt"));
    }
}

#[test]
fn a_write_in_doubt_counts_through_another_node() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 3 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let leader = world.leader(0).unwrap();
    let (away, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let at = world.connect(other);
    assert_eq!(world.call(at, &["SET", "k", "v"]), Reply::OK);
    world.kill(away);
    let told = error(world.call(at, &["SET", "k", "doubt"]));
    assert!(told.starts_with("UNKNOWN "), "{told}");
    assert_eq!(world.call(at, &["WAIT", "2", "100"]), Reply::Int(1));
    world.start(away);
    assert_eq!(world.call(at, &["WAIT", "2", "0"]), Reply::Int(2));
    assert_eq!(world.call(at, &["GET", "k"]), Reply::bulk(b"doubt"));
}

#[test]
fn nobody_waits_for_a_write_that_is_lost() {
    let mut world = one_partition();
    let leader = world.leader(0).unwrap();
    let at = world.connect(leader);
    assert_eq!(world.call(at, &["SET", "k", "v"]), Reply::OK);
    let others: Vec<u32> = (1..=3).filter(|&id| id != leader).collect();
    for &other in &others {
        world.wires.cut.insert((NodeId(leader), NodeId(other)));
        world.wires.cut.insert((NodeId(other), NodeId(leader)));
    }
    let told = error(world.call(at, &["SET", "k", "doubt"]));
    assert!(told.starts_with("UNKNOWN "), "{told}");
    let serves = |world: &World| others.iter().find(|&&id| world.replica(id, 0).unwrap().serves);
    world.until("another leads", |world| serves(world).is_some());
    // Where the lost one was there is another one soon.
    let next = *serves(&world).unwrap();
    let theirs = world.connect(next);
    for _ in 0..9 {
        assert_eq!(world.call(theirs, &["SET", "k", "w"]), Reply::OK);
    }
    world.wires.cut.clear();
    world.until("all are in sync", |world| {
        world.leader(0) == Some(next)
            && !world.replica(leader, 0).unwrap().serves
            && world.is_whole()
    });
    assert_eq!(world.call(at, &["GET", "k"]), Reply::bulk(b"w"));
    assert_eq!(world.call(at, &["WAIT", "1", "0"]), Reply::Int(0));
    assert_eq!(world.call(at, &["WAITAOF", "1", "1", "0"]), ints([0, 0]));
    assert_eq!(world.call(at, &["SET", "k", "x"]), Reply::OK);
    assert_eq!(world.call(at, &["WAIT", "2", "0"]), Reply::Int(2));
}

#[test]
fn nobody_waits_for_a_write_of_which_no_answer_came() {
    let mut world = one_partition();
    let leader = world.leader(0).unwrap();
    let at = world.connect(leader % 3 + 1);
    assert_eq!(world.call(at, &["SET", "k", "v"]), Reply::OK);
    world.send(at, &[b"SET", b"k", b"w"]);
    world.kill(leader);
    let told = error(world.reply(at, "the link broke"));
    assert!(told.starts_with("UNKNOWN "), "{told}");
    assert_eq!(world.call(at, &["WAIT", "1", "0"]), Reply::Int(0));
    assert_eq!(world.call(at, &["SET", "k", "x"]), Reply::OK);
    assert_eq!(world.call(at, &["WAIT", "1", "0"]), Reply::Int(1));
}

#[test]
fn an_answer_may_take_longer_than_the_next_question() {
    let mut world = one_partition();
    for (from, to) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
        world.wires.slow.insert((NodeId(from), NodeId(to)), Duration::from_millis(60));
    }
    let leader = world.leader(0).unwrap();
    let at = world.connect(leader % 3 + 1);
    assert_eq!(world.call(at, &["SET", "k", "v"]), Reply::OK);
    let (told, took) = timed(&mut world, at, &["WAIT", "2", "7000"]);
    assert_eq!(told, Reply::Int(2));
    assert!(took < Duration::from_millis(130), "one round trip: {took:?}");
    assert_eq!(world.call(at, &["WAITAOF", "1", "2", "3000"]), ints([1, 2]));
    assert_eq!(world.call(at, &["WAIT", "2", "0"]), Reply::Int(2));
}

#[test]
fn waitaof_counts_no_replica_that_has_merely_written() {
    let fsync = FsyncMode::EveryMs(2000);
    let mut world = World::new(Setup { fsync, ..Setup::default() });
    let at = world.connect(1);
    assert_eq!(world.call(at, &["SET", "k", "v"]), Reply::OK);
    assert_eq!(world.call(at, &["WAITAOF", "0", "0", "0"]), ints([0, 0]));
    assert_eq!(world.call(at, &["WAITAOF", "1", "0", "0"]), ints([1, 0]));
    assert_eq!(world.call(at, &["WAIT", "2", "0"]), Reply::Int(2));
}

#[test]
fn a_transaction_is_told_what_is_so_now() {
    let mut world = one_partition();
    let leader = world.leader(0).unwrap();
    for id in [leader, leader % 3 + 1] {
        let at = world.connect(id);
        assert_eq!(world.call(at, &["SET", "k", "v"]), Reply::OK);
        for command in [&["MULTI"][..], &["SET", "k", "w"], &["WAIT", "5", "0"]] {
            world.call(at, command);
        }
        let told = world.call(at, &["EXEC"]);
        assert_eq!(told, Reply::Array(vec![Reply::OK, Reply::Int(2)]), "through n{id}");
    }
}

#[test]
fn a_node_that_stops_and_a_client_that_goes_away_end_the_wait() {
    let mut world = one_partition();
    let id = world.leader(0).unwrap() % 3 + 1;
    let (gone, at) = (world.connect(id), world.connect(id));
    for at in [gone, at] {
        assert_eq!(world.call(at, &["SET", "k", "v"]), Reply::OK);
        world.send(at, &[b"WAIT", b"7", b"0"]);
    }
    world.pass(Duration::from_secs(1));
    world.disconnect(gone);
    world.ask_to_stop(id);
    world.until("it has stopped", |world| world.nodes[&NodeId(id)].stopped);
    assert_eq!(world.gone[&at], [Reply::Int(2)]);
}

#[test]
fn nobody_is_looked_after_who_does_not_wait() {
    let mut world = one_partition();
    let id = world.leader(0).unwrap();
    let at = world.connect(id);
    assert_eq!(world.call(at, &["SET", "k", "v"]), Reply::OK);
    world.send(at, &[b"WAIT", b"7", b"0"]);
    world.disconnect(at);
    for _ in 0..200 {
        world.pass(Duration::from_millis(1));
        let shard = &world.nodes[&NodeId(id)].process.as_ref().unwrap().shard;
        let due = shard.deadline().map(|(_, why)| why);
        if due != Some(Reason::Acks) {
            return;
        }
    }
    panic!("it is looked for still");
}

#[test]
fn role_tells_of_the_partitions_led_here_and_who_follows_them() {
    let mut world = World::new(Setup::default());
    let leader = world.leader(0).unwrap();
    let at = world.connect(leader);
    for n in 0..20 {
        assert_eq!(world.call(at, &["SET", &crate::key(n), "v"]), Reply::OK);
    }
    world.pass(Duration::from_millis(500));
    let led = |world: &World| {
        let led = (0..4).filter_map(|p| world.replica(leader, p)).filter(|r| r.serves);
        led.map(|r| r.log_end.0).sum::<u64>()
    };
    let offset = led(&world);
    let replica = |id: u32, offset: u64| {
        let all = [format!("n{id}"), String::from("6379"), offset.to_string()];
        Reply::Array(all.iter().map(|text| Reply::bulk(text.as_bytes())).collect())
    };
    let role = |world: &mut World| {
        let Reply::Array(role) = world.call(at, &["ROLE"]) else { panic!() };
        let [name, Reply::Int(offset), Reply::Array(replicas)] = &role[..] else { panic!() };
        assert_eq!(name, &Reply::bulk(b"master"));
        (*offset as u64, replicas.clone())
    };
    let others = [1, 2, 3].into_iter().filter(|id| *id != leader);
    let all = others.clone().map(|id| replica(id, offset)).collect();
    assert_eq!(role(&mut world), (offset, all));
    // One that is gone is none.
    let gone = leader % 3 + 1;
    world.kill(gone);
    world.until("the others go on", World::is_whole);
    let (offset, replicas) = role(&mut world);
    assert_eq!(offset, led(&world));
    assert_eq!(replicas.len(), 1, "{replicas:?}");
}
