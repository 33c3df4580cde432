//! Whole nodes together: replicated partitions, clients of any node, failover.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

#[allow(dead_code, missing_docs, unreachable_pub, reason = "test files share parts of this")]
#[path = "../world/disk.rs"]
mod disk;
mod readonly;
mod topology;
mod wait;
mod world;

use std::time::Duration;

use kvnode_core::control::FoundingOptions;
use kvnode_core::reply::Reply;
use world::{Setup, World};

/// A client of a node.
type At = (kvnode_core::NodeId, kvnode_core::ClientId);

fn key(n: u32) -> String {
    format!("key:{n}")
}

/// A key of the partition, of four.
fn key_of(partition: u32) -> String {
    let home =
        |key: &String| kvnode_core::slot::partition(kvnode_core::slot::slot(key.as_bytes()), 4).0;
    (0..).map(key).find(|key| home(key) == partition).unwrap()
}

#[test]
fn any_node_answers_any_command() {
    let mut world = World::new(Setup::default());
    let clients: Vec<_> = (1..=3).map(|id| world.connect(id)).collect();
    for n in 0..60 {
        let at = clients[n as usize % 3];
        assert_eq!(world.call(at, &["SET", &key(n), &n.to_string()]), Reply::OK);
        // Another node tells of it at once.
        let other = clients[(n as usize + 1) % 3];
        assert_eq!(world.call(other, &["GET", &key(n)]), Reply::bulk(n.to_string().as_bytes()));
    }
    for &at in &clients {
        assert_eq!(world.call(at, &["DBSIZE"]), Reply::Int(60));
        let keys: Vec<String> = (0..20).map(key).collect();
        let mut mget = vec!["MGET", "none"];
        mget.extend(keys.iter().map(String::as_str));
        let values = (0..20).map(|n: u32| Reply::bulk(n.to_string().as_bytes()));
        let expected = [Reply::Null].into_iter().chain(values).collect();
        assert_eq!(world.call(at, &mget), Reply::Array(expected));
    }
    assert_eq!(world.call(clients[0], &["DEL", "key:1", "key:2", "key:3", "no"]), Reply::Int(3));
    assert_eq!(world.call(clients[1], &["EXISTS", "key:1", "key:4", "key:5"]), Reply::Int(2));
    assert_eq!(world.call(clients[2], &["FLUSHALL"]), Reply::OK);
    assert_eq!(world.call(clients[1], &["DBSIZE"]), Reply::Int(0));
}

#[test]
fn scan_walks_every_partition() {
    let mut world = World::new(Setup::default());
    let at = world.connect(2);
    for n in 0..100 {
        assert_eq!(world.call(at, &["SET", &key(n), "v"]), Reply::OK);
    }
    let (mut cursor, mut found) = (String::from("0"), std::collections::BTreeSet::new());
    loop {
        let Reply::Array(step) = world.call(at, &["SCAN", &cursor, "COUNT", "7"]) else { panic!() };
        let [Reply::Bulk(next), Reply::Array(keys)] = &step[..] else { panic!("{step:?}") };
        found.extend(keys.iter().map(|key| match key {
            Reply::Bulk(key) => String::from_utf8(key.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }));
        cursor = String::from_utf8(next.to_vec()).unwrap();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), 100);
}

#[test]
fn a_pipeline_keeps_its_order_through_another_node() {
    let mut world = World::new(Setup::default());
    let at = world.connect(1);
    for n in 0..200 {
        world.send(at, &[b"APPEND", key(n % 5).as_bytes(), b"."]);
    }
    let mut lengths = [0; 5];
    for n in 0..200 {
        lengths[n % 5] += 1;
        assert_eq!(world.reply(at, "an answer"), Reply::Int(lengths[n % 5]));
    }
}

#[test]
fn acknowledged_writes_survive_the_loss_of_any_leader() {
    let mut world = World::new(Setup::default());
    for round in 0..6_u32 {
        let victim = world.leader(round % 4).unwrap();
        let other = victim % 3 + 1;
        let at = world.connect(other);
        for n in 0..20 {
            assert_eq!(world.call(at, &["SET", &key(n), &format!("{round}")]), Reply::OK);
        }
        if round % 2 == 0 {
            world.kill(victim)
        } else {
            world.lose_power(victim)
        }
        for n in 0..20 {
            let value = world.call(at, &["GET", &key(n)]);
            assert_eq!(value, Reply::bulk(format!("{round}").as_bytes()), "{} in {round}", key(n));
        }
        world.start(victim);
        world.until("it is back in sync", World::is_whole);
    }
}

#[test]
fn two_of_three_are_lost_one_after_the_other_and_the_third_has_all() {
    let founding = FoundingOptions { partitions: 2, replication_factor: 3, min_isr: 1 };
    // Five nodes, so that the quorum lives on; three of them hold each partition.
    let mut world = World::new(Setup { nodes: 5, founding, ..Setup::default() });
    let replicas = world.map(1).partition(kvnode_core::PartitionId(0)).unwrap().replicas.clone();
    let bystander = (1..=5).find(|id| !replicas.contains(&kvnode_core::NodeId(*id))).unwrap();
    let at = world.connect(bystander);
    for n in 0..40 {
        assert_eq!(world.call(at, &["SET", &key(n), "1"]), Reply::OK);
    }
    for step in 2..=3 {
        let victim = world.leader(0).unwrap();
        world.lose_power(victim);
        world.until("every partition is led", World::is_whole);
        for n in 0..40 {
            let last = format!("{}", step - 1);
            assert_eq!(world.call(at, &["GET", &key(n)]), Reply::bulk(last.as_bytes()));
            assert_eq!(world.call(at, &["SET", &key(n), &step.to_string()]), Reply::OK);
        }
    }
    for n in 0..40 {
        assert_eq!(world.call(at, &["GET", &key(n)]), Reply::bulk(b"3"));
    }
}

#[test]
fn below_min_isr_writes_are_refused_and_reads_go_on() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 3 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let leader = world.leader(0).unwrap();
    let at = world.connect(leader);
    assert_eq!(world.call(at, &["SET", "k", "v"]), Reply::OK);
    world.kill(leader % 3 + 1);
    world.until("it is out of the in-sync set", |world| {
        world.map(leader).partition(kvnode_core::PartitionId(0)).unwrap().isr.len() == 2
    });
    world.pass(Duration::from_millis(10));
    let Reply::Error(text) = world.call(at, &["SET", "k", "w"]) else { panic!("it is taken") };
    assert!(text.starts_with("NOREPLICAS "), "{text}");
    assert_eq!(world.call(at, &["GET", "k"]), Reply::bulk(b"v"));
}

#[test]
fn a_leader_that_is_cut_off_answers_no_reads() {
    let mut world = World::new(Setup::default());
    let leader = world.leader(0).unwrap();
    let name = key_of(0);
    let others: Vec<u32> = (1..=3).filter(|id| *id != leader).collect();
    let (old, new) = (world.connect(leader), world.connect(others[0]));
    assert_eq!(world.call(old, &["SET", &name, "1"]), Reply::OK);
    for &other in &others {
        let pair = (kvnode_core::NodeId(leader), kvnode_core::NodeId(other));
        world.cut.insert(pair);
        world.cut.insert((pair.1, pair.0));
    }
    world.until("another leads", |world| {
        others.iter().any(|&id| world.replica(id, 0).is_some_and(|r| r.serves))
    });
    assert_eq!(world.call(new, &["SET", &name, "2"]), Reply::OK);
    world.send(old, &[b"GET", name.as_bytes()]);
    world.pass(Duration::from_millis(50));
    let told = world.clients[&old].told.front().cloned();
    assert!(!matches!(told, Some(Reply::Bulk(_))), "a stale read: {told:?}");
    world.cut.clear();
    world.until("all is whole again", World::is_whole);
    let told = world.reply(old, "the read ends");
    assert!(told == Reply::bulk(b"2") || matches!(told, Reply::Error(_)), "{told:?}");
}

#[test]
fn a_rolling_restart_loses_nothing_and_no_write_is_unknown() {
    let mut world = World::new(Setup::default());
    let mut count = 0;
    for id in [1, 2, 3] {
        let other = world.connect(id % 3 + 1);
        for _ in 0..10 {
            count += 1;
            assert_eq!(world.call(other, &["INCR", "n"]), Reply::Int(count));
        }
        world.ask_to_stop(id);
        for _ in 0..10 {
            count += 1;
            assert_eq!(world.call(other, &["INCR", "n"]), Reply::Int(count));
        }
        world.until("it has stopped", |world| world.nodes[&kvnode_core::NodeId(id)].stopped);
        world.start(id);
        world.until("it is back", World::is_whole);
    }
}

#[test]
fn transactions_and_watch_work_through_any_node() {
    let mut world = World::new(Setup::default());
    let clients: Vec<_> = (1..=3).map(|id| world.connect(id)).collect();
    for &at in &clients {
        assert_eq!(world.call(at, &["WATCH", "{t}a"]), Reply::OK);
        assert_eq!(world.call(at, &["MULTI"]), Reply::OK);
        assert_eq!(world.call(at, &["INCR", "{t}a"]), Reply::Simple("QUEUED"));
        assert_eq!(world.call(at, &["INCR", "{t}b"]), Reply::Simple("QUEUED"));
        assert!(matches!(world.call(at, &["EXEC"]), Reply::Array(_)));
        // One that is touched in between fails.
        assert_eq!(world.call(at, &["WATCH", "{t}a"]), Reply::OK);
        assert_eq!(world.call(at, &["MULTI"]), Reply::OK);
        assert_eq!(world.call(at, &["INCR", "{t}a"]), Reply::Simple("QUEUED"));
        let other = clients[(at.0.0 as usize) % 3];
        assert_eq!(world.call(other, &["SET", "{t}a", "7"]), Reply::OK);
        assert_eq!(world.call(at, &["EXEC"]), Reply::NullArray);
        assert_eq!(world.call(at, &["GET", "{t}a"]), Reply::bulk(b"7"));
    }
    assert_eq!(world.call(clients[0], &["GET", "{t}b"]), Reply::bulk(b"3"));
}

#[test]
fn a_replica_that_was_away_catches_up_over_compacted_segments() {
    let setup = Setup { segment_bytes: 4096, ..Setup::default() };
    let mut world = World::new(setup);
    let away = 3;
    world.kill(away);
    world.until("the others go on", World::is_whole);
    let at = world.connect(1);
    for n in 0..600 {
        assert_eq!(world.call(at, &["SET", &key(n % 30), &n.to_string()]), Reply::OK);
    }
    for n in 0..10 {
        assert_eq!(world.call(at, &["DEL", &key(n)]), Reply::Int(1));
    }
    world.pass(Duration::from_secs(5));
    world.start(away);
    world.until("it is back in sync", World::is_whole);
    // It alone has to answer now.
    world.pass(Duration::from_secs(1));
    world.kill(1);
    world.until("the others go on", World::is_whole);
    let at = world.connect(away);
    for n in 0..30 {
        let expected =
            if n < 10 { Reply::Null } else { Reply::bulk((570 + n).to_string().as_bytes()) };
        assert_eq!(world.call(at, &["GET", &key(n)]), expected, "{}", key(n));
    }
}

#[test]
fn a_replica_whose_directory_is_gone_has_no_seat_before_it_has_caught_up() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 1 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let leader = world.leader(0).unwrap();
    let at = world.connect(leader);
    assert_eq!(world.call(at, &["SET", "k", "1"]), Reply::OK);
    let victim = leader % 3 + 1;
    world.kill(victim);
    world.disk(victim).remove_dir("p0");
    world.start(victim);
    world.until("it is in sync again", |world| {
        world.is_whole() && world.replica(victim, 0).is_some_and(|r| r.watermark.0 > 1)
    });
    // Everyone else goes: it has all that counts.
    for id in [leader, victim % 3 + 1] {
        world.pass(Duration::from_secs(1));
        if id != victim {
            world.kill(id);
        }
        if id == leader {
            world.until("the others go on", World::is_whole);
        }
    }
}

#[test]
fn a_damaged_replica_is_refetched_from_the_others() {
    let mut world = World::new(Setup::default());
    let at = world.connect(1);
    for n in 0..50 {
        assert_eq!(world.call(at, &["SET", &key(n), &n.to_string()]), Reply::OK);
    }
    for victim in 1..=3 {
        world.kill(victim);
        for partition in 0..4 {
            world.disk(victim).damage_middle(&format!("p{partition}"));
        }
        world.start(victim);
        world.until("it is in sync again", World::is_whole);
        world.pass(Duration::from_secs(1));
        let notices = &world.nodes[&kvnode_core::NodeId(victim)].notices;
        assert!(notices.iter().any(|n| n.contains("begins again from zero")), "{notices:#?}");
    }
    // What was damaged everywhere, one after the other, is whole everywhere.
    for id in 1..=3 {
        let at = world.connect(id);
        for n in 0..50 {
            let expected = Reply::bulk(n.to_string().as_bytes());
            assert_eq!(world.call(at, &["GET", &key(n)]), expected, "{} at n{id}", key(n));
        }
    }
}

#[test]
fn a_leader_whose_fsync_fails_begins_another_reign() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 1, min_isr: 1 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let leader = world.leader(0).unwrap();
    let at = world.connect(leader % 3 + 1);
    assert_eq!(world.call(at, &["SET", "k", "1"]), Reply::OK);
    let before = world.map(leader).partition(kvnode_core::PartitionId(0)).unwrap().epoch;
    let mut failed = false;
    world.disk(leader).fault = Some(Box::new(move |op| {
        use kvnode_core::disk::{DiskError, DiskOp, File};
        let ours = matches!(op, DiskOp::Sync(File::Segment(id, ..)) if id.0 == 0);
        (ours && !std::mem::replace(&mut failed, true)).then_some(DiskError::Io(5))
    }));
    let told = world.call(at, &["SET", "k", "2"]);
    assert!(matches!(&told, Reply::Error(text) if text.starts_with("UNKNOWN ")), "{told:?}");
    assert_eq!(world.call(at, &["SET", "k", "3"]), Reply::OK);
    assert_eq!(world.call(at, &["GET", "k"]), Reply::bulk(b"3"));
    let after = world.map(leader).partition(kvnode_core::PartitionId(0)).unwrap().epoch;
    assert!(after > before, "{after} follows {before}");
}
