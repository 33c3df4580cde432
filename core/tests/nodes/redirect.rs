//! Nodes that send clients to the leaders of their keys, as those of Redis Cluster do.

use std::collections::BTreeSet;
use std::time::Duration;

use kvnode_core::control::FoundingOptions;
use kvnode_core::reply::Reply;
use kvnode_core::shard::Redirect;
use kvnode_core::slot::slot;
use kvnode_core::{NodeId, PartitionId};

use crate::world::{Setup, World};
use crate::{At, error, home, key, key_of};

fn redirecting() -> World {
    World::new(Setup { redirect: Redirect::Moved, ..Setup::default() })
}

/// A client of the partition's leader, and one of another node.
fn leader_and_other(world: &mut World, partition: u32) -> (At, At) {
    let leader = world.leader(partition).unwrap();
    (world.connect(leader), world.connect(leader % 3 + 1))
}

fn moved(world: &World, key: &str, partition: u32) -> Reply {
    let leader = world.leader(partition).unwrap();
    Reply::error_owned(format!("MOVED {} n{leader}:6379", slot(key.as_bytes())))
}

#[test]
fn a_command_is_answered_by_the_leader_of_its_slot_and_by_nobody_else() {
    let mut world = redirecting();
    for partition in 0..4 {
        let name = &key_of(partition)[..];
        let (leader, other) = leader_and_other(&mut world, partition);
        let there = Some(moved(&world, name, partition));
        assert_eq!(world.call(leader, &["SET", name, "1"]), Reply::OK);
        assert_eq!(world.call(leader, &["GET", name]), Reply::bulk(b"1"));
        for command in [
            &["GET", name][..],
            &["SET", name, "2"],
            &["DEL", name],
            &["WATCH", name],
            &["TTL", name],
        ] {
            assert_eq!(world.at_once(other, command), there, "{command:?}");
        }
        assert_eq!(world.call(leader, &["GET", name]), Reply::bulk(b"1"), "nothing was written");
    }
}

#[test]
fn keys_of_several_slots_are_refused_also_where_one_node_leads_them_all() {
    let mut world = redirecting();
    let (leader, _) = leader_and_other(&mut world, 0);
    let mut same = (0..).map(key).filter(|key| home(key, 4).0 == 0);
    let (a, b) = (&same.next().unwrap()[..], &same.next().unwrap()[..]);
    assert_ne!(slot(a.as_bytes()), slot(b.as_bytes()));
    for command in [
        &["MGET", a, b][..],
        &["MSET", a, "1", b, "2"],
        &["DEL", a, b],
        &["EXISTS", a, b],
        &["RENAME", a, b],
        &["WATCH", a, b],
    ] {
        let told = error(world.call(leader, command));
        assert!(told.starts_with("CROSSSLOT "), "{command:?}: {told}");
    }
    // With a tag they are of one slot, and the same commands are taken.
    let (c, d) = (&format!("{{{a}}}c")[..], &format!("{{{a}}}d")[..]);
    assert_eq!(world.call(leader, &["MSET", c, "1", d, "2"]), Reply::OK);
    let both = Reply::Array(vec![Reply::bulk(b"1"), Reply::bulk(b"2")]);
    assert_eq!(world.call(leader, &["MGET", c, d]), both);
    assert_eq!(world.call(leader, &["DEL", c, d]), Reply::Int(2));
}

#[test]
fn a_transaction_is_refused_when_its_command_would_be_queued_and_aborted() {
    let mut world = redirecting();
    let (here, there) = (&key_of(0)[..], &key_of(1)[..]);
    let (leader, other) = leader_and_other(&mut world, 0);
    let queued = Reply::Simple("QUEUED");
    assert_eq!(world.call(other, &["MULTI"]), Reply::OK);
    assert_eq!(world.at_once(other, &["SET", here, "1"]), Some(moved(&world, here, 0)));
    let told = error(world.call(other, &["EXEC"]));
    assert!(told.starts_with("EXECABORT "), "{told}");
    // Keys of two slots of this node are each taken, and refused together.
    let near = (0..).map(key).find(|key| home(key, 4).0 == 0 && key != here).unwrap();
    assert_eq!(world.call(leader, &["MULTI"]), Reply::OK);
    for name in [here, &near] {
        assert_eq!(world.call(leader, &["SET", name, "1"]), queued);
    }
    let told = error(world.call(leader, &["EXEC"]));
    assert!(told.starts_with("CROSSSLOT "), "{told}");
    assert_eq!(world.call(leader, &["EXISTS", here]), Reply::Int(0), "and it has ended");
    // Of one slot it goes through, watched or not.
    assert_eq!(world.call(leader, &["WATCH", here]), Reply::OK);
    assert_eq!(world.call(leader, &["MULTI"]), Reply::OK);
    assert_eq!(world.call(leader, &["INCR", here]), queued);
    assert_eq!(world.call(leader, &["EXEC"]), Reply::Array(vec![Reply::Int(1)]));
    // Leadership that moves between queueing and EXEC is told by EXEC.
    let (leader, _) = leader_and_other(&mut world, 1);
    assert_eq!(world.call(leader, &["MULTI"]), Reply::OK);
    assert_eq!(world.call(leader, &["INCR", there]), queued);
    let old = world.leader(1).unwrap();
    let cut = |a, b| (NodeId(a), NodeId(b));
    for id in (1..=3).filter(|id| *id != old) {
        world.wires.cut.extend([cut(old, id), cut(id, old)]);
    }
    world.until("another leads", |world| {
        (1..=3).any(|id| id != old && world.replica(id, 1).is_some_and(|r| r.serves))
    });
    world.wires.cut.clear();
    world.until("it has heard of it", |world| {
        world.view(old).is_some_and(|view| {
            let entry = view.map.partition(PartitionId(1)).unwrap();
            entry.leader.is_some_and(|leader| leader.0 != old)
        })
    });
    assert_eq!(world.at_once(leader, &["EXEC"]), Some(moved(&world, there, 1)));
    let told = error(world.call(leader, &["EXEC"]));
    assert_eq!(told, "ERR EXEC without MULTI");
}

#[test]
fn what_names_no_key_is_about_what_the_node_leads_and_all_nodes_together_have_all() {
    let mut world = redirecting();
    let all: BTreeSet<String> = (0..100).map(key).collect();
    let clients: Vec<At> = (1..=3).map(|id| world.connect(id)).collect();
    for name in &all {
        let leader = world.leader(home(name, 4).0).unwrap();
        assert_eq!(world.call(clients[leader as usize - 1], &["SET", name, "v"]), Reply::OK);
    }
    let (mut sizes, mut listed, mut scanned) = (0, Vec::new(), Vec::new());
    for &at in &clients {
        let Reply::Int(size) = world.call(at, &["DBSIZE"]) else { panic!("no number") };
        sizes += size;
        let Reply::Array(keys) = world.call(at, &["KEYS", "*"]) else { panic!("no list") };
        assert_eq!(keys.len() as i64, size);
        listed.extend(keys.iter().map(text));
        scanned.extend(scan(&mut world, at));
        match world.call(at, &["RANDOMKEY"]) {
            Reply::Null => assert_eq!(size, 0),
            name => assert!(keys.contains(&name)),
        }
    }
    assert_eq!(sizes, 100);
    for (what, found) in [("KEYS", listed), ("SCAN", scanned)] {
        assert_eq!(found.len(), 100, "{what}: each of one node");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), all, "{what}");
    }
    let leader = world.leader(0).unwrap();
    for &at in clients.iter().filter(|(node, _)| node.0 != leader) {
        assert_eq!(world.call(at, &["FLUSHALL"]), Reply::OK);
    }
    let leader = clients[leader as usize - 1];
    assert!(matches!(world.call(leader, &["DBSIZE"]), Reply::Int(1..)), "its keys are there");
}

#[test]
fn slots_tells_of_each_leader_as_a_master_before_it_is_a_replica() {
    let mut world = redirecting();
    let at = world.connect(1);
    let number = |reply: &Reply| if let Reply::Int(n) = reply { *n as u32 } else { panic!() };
    let (mut seen, mut masters, mut replicas) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let Reply::Array(ranges) = world.call(at, &["CLUSTER", "SLOTS"]) else { panic!("no list") };
    for range in ranges {
        let Reply::Array(range) = range else { panic!("no range") };
        let nodes = range[2..].iter().map(|node| match node {
            Reply::Array(node) => text(&node[0]),
            other => panic!("{other:?} is no node"),
        });
        let nodes: Vec<String> = nodes.collect();
        assert!(masters.contains(&nodes[0]) || !replicas.contains(&nodes[0]), "{nodes:?}");
        masters.insert(nodes[0].clone());
        replicas.extend(nodes[1..].iter().cloned());
        for slot in number(&range[0])..=number(&range[1]) {
            assert!(seen.insert(slot), "{slot} twice");
            let leader = world.leader(kvnode_core::slot::partition(slot, 4).0).unwrap();
            assert_eq!(nodes[0], format!("n{leader}"), "{slot}");
        }
    }
    assert_eq!(seen.len() as u32, kvnode_core::slot::SLOTS);
    assert_eq!(replicas.len(), 3, "they are told of all the same");
}

#[test]
fn a_slot_that_nobody_leads_is_down_and_that_is_said_at_once() {
    let founding = FoundingOptions { partitions: 4, replication_factor: 1, min_isr: 1 };
    let mut world = World::new(Setup { founding, redirect: Redirect::Moved, ..Setup::default() });
    let name = &key_of(0)[..];
    let (leader, other) = leader_and_other(&mut world, 0);
    world.kill(leader.0.0);
    // Until that is known, clients are sent there.
    let told = error(world.at_once(other, &["GET", name]).expect("nobody is asked"));
    assert!(told.starts_with("MOVED "), "{told}");
    world.until("it is known that it is gone", |world| {
        world.map(other.0.0).partition(PartitionId(0)).unwrap().leader.is_none()
    });
    let told = error(world.at_once(other, &["GET", name]).expect("nobody is asked"));
    assert!(told.starts_with("CLUSTERDOWN ") && told.contains("has no leader"), "{told}");
}

#[test]
fn readonly_reads_are_answered_here_and_the_rest_is_sent_to_the_leader() {
    let mut world = redirecting();
    let name = &key_of(0)[..];
    let (leader, other) = leader_and_other(&mut world, 0);
    assert_eq!(world.call(leader, &["SET", name, "1"]), Reply::OK);
    world.pass(Duration::from_millis(200));
    assert_eq!(world.call(other, &["READONLY"]), Reply::OK);
    assert_eq!(world.at_once(other, &["GET", name]), Some(Reply::bulk(b"1")));
    let there = Some(moved(&world, name, 0));
    assert_eq!(world.at_once(other, &["INCR", name]), there);
    assert_eq!(world.call(other, &["READWRITE"]), Reply::OK);
    assert_eq!(world.at_once(other, &["GET", name]), there);
}

#[test]
fn a_node_that_redirects_takes_what_another_forwards() {
    let mut world = redirecting();
    let name = &key_of(0)[..];
    let leader = world.leader(0).unwrap();
    let other = leader % 3 + 1;
    world.kill(other);
    world.setup.redirect = Redirect::Forward;
    world.start(other);
    world.until("it is back in sync", World::is_whole);
    let leader = world.leader(0).unwrap();
    assert_ne!(leader, other, "nobody had to take over");
    let at = world.connect(other);
    assert_eq!(world.call(at, &["SET", name, "1"]), Reply::OK);
    assert_eq!(world.call(at, &["GET", name]), Reply::bulk(b"1"));
    assert_eq!(world.call(at, &["DBSIZE"]), Reply::Int(1));
}

fn text(reply: &Reply) -> String {
    let Reply::Bulk(text) = reply else { panic!("{reply:?} is no text") };
    String::from_utf8(text.to_vec()).unwrap()
}

/// All that SCAN gives at this node.
fn scan(world: &mut World, at: At) -> Vec<String> {
    let (mut cursor, mut found) = (String::from("0"), Vec::new());
    loop {
        let Reply::Array(step) = world.call(at, &["SCAN", &cursor, "COUNT", "7"]) else { panic!() };
        let [next, Reply::Array(keys)] = &step[..] else { panic!("{step:?}") };
        found.extend(keys.iter().map(text));
        cursor = text(next);
        if cursor == "0" {
            return found;
        }
    }
}
