//! CLUSTER SLOTS, SHARDS, NODES and the like: what clients that go straight to a leader ask for.

use std::collections::{BTreeMap, BTreeSet};

use kvnode_core::control::FoundingOptions;
use kvnode_core::reply::Reply;
use kvnode_core::slot::{SLOTS, slot};
use kvnode_core::{NodeId, PartitionId};

use crate::world::{Setup, World};
use crate::{At, key, key_of};

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(value) => String::from_utf8(value.to_vec()).unwrap(),
        Reply::Verbatim(text) => String::from(&**text),
        other => panic!("{other:?}"),
    }
}

fn items(reply: Reply) -> Vec<Reply> {
    if let Reply::Array(items) = reply { items } else { panic!("{reply:?}") }
}

fn int(reply: &Reply) -> u32 {
    if let Reply::Int(n) = reply { *n as u32 } else { panic!("{reply:?}") }
}

fn fields(reply: Reply) -> BTreeMap<String, Reply> {
    let Reply::Map(pairs) = reply else { panic!("{reply:?}") };
    pairs.into_iter().map(|(name, value)| (text(&name), value)).collect()
}

/// The lines of CLUSTER NODES, in words.
fn nodes(world: &mut World, at: At) -> Vec<Vec<String>> {
    let all = text(&world.call(at, &["CLUSTER", "NODES"]));
    let words = |line: &str| line.split(' ').map(String::from).collect();
    all.strip_suffix('\n').unwrap().split('\n').map(words).collect()
}

fn slots_of(words: &[String]) -> BTreeSet<u32> {
    let ranges = words[8..].iter().map(|range| range.split_once('-').unwrap_or((range, range)));
    ranges.flat_map(|(a, b)| a.parse::<u32>().unwrap()..=b.parse().unwrap()).collect()
}

fn partition_of(slot: u32) -> u32 {
    kvnode_core::slot::partition(slot, 4).0
}

#[test]
fn slots_shards_and_nodes_agree_with_the_map_at_every_node() {
    let mut world = World::new(Setup::default());
    for id in 1..=3 {
        let at = world.connect(id);
        let me = text(&world.call(at, &["CLUSTER", "MYID"]));
        assert!(me.len() == 40 && me.bytes().all(|b| b.is_ascii_hexdigit()), "{me}");
        assert_eq!(text(&world.call(at, &["CLUSTER", "MYSHARDID"])).len(), 40);
        let lines = nodes(&mut world, at);
        let ids: BTreeMap<u32, String> =
            (1..).zip(lines.iter().map(|line| line[0].clone())).collect();
        assert_eq!(ids[&id], me);
        let leader = |world: &World, slot: u32| world.leader(partition_of(slot)).unwrap();
        // Each slot once, with its leader first and the other two behind.
        let mut seen = BTreeSet::new();
        for range in items(world.call(at, &["CLUSTER", "SLOTS"])) {
            let range = items(range);
            let all: Vec<(String, u32, String)> = range[2..]
                .iter()
                .map(|node| {
                    let node = items(node.clone());
                    assert_eq!(node[3], Reply::Array(vec![]));
                    (text(&node[0]), int(&node[1]), text(&node[2]))
                })
                .collect();
            assert_eq!(all.len(), 3);
            for slot in int(&range[0])..=int(&range[1]) {
                assert!(seen.insert(slot));
                let leader = leader(&world, slot);
                assert_eq!(all[0], (format!("n{leader}"), 6379, ids[&leader].clone()), "{slot}");
            }
        }
        assert_eq!(seen.len() as u32, SLOTS);
        let mut seen = BTreeSet::new();
        for shard in items(world.call(at, &["CLUSTER", "SHARDS"])) {
            let mut shard = fields(shard);
            let all: Vec<_> =
                items(shard.remove("nodes").unwrap()).into_iter().map(fields).collect();
            let roles: Vec<String> = all.iter().map(|node| text(&node["role"])).collect();
            assert_eq!(roles, ["master", "replica", "replica"]);
            assert!(all.iter().all(|node| text(&node["health"]) == "online"));
            assert!(all.iter().all(|node| text(&node["ip"]) == text(&node["endpoint"])));
            for range in items(shard.remove("slots").unwrap()).chunks(2) {
                for slot in int(&range[0])..=int(&range[1]) {
                    assert!(seen.insert(slot));
                    assert_eq!(text(&all[0]["id"]), ids[&leader(&world, slot)]);
                }
            }
        }
        assert_eq!(seen.len() as u32, SLOTS);
        let mut seen = BTreeSet::new();
        for (n, line) in (1..).zip(&lines) {
            assert_eq!(line[1], format!("n{n}:6379@1"));
            let led: BTreeSet<u32> = (0..SLOTS).filter(|&s| leader(&world, s) == n).collect();
            let myself = if n == id { "myself," } else { "" };
            if led.is_empty() {
                assert_eq!(line[2], format!("{myself}slave"));
                assert!(ids.values().any(|id| *id == line[3]));
            } else {
                assert_eq!((&line[2], &line[3][..]), (&format!("{myself}master"), "-"));
            }
            assert_eq!(line[7], "connected");
            assert_eq!(slots_of(line), led);
            seen.extend(led);
        }
        assert_eq!(seen.len() as u32, SLOTS);
        let links = items(world.call(at, &["CLUSTER", "LINKS"]));
        let links: Vec<_> = links.into_iter().map(fields).collect();
        assert_eq!(links.len(), 4, "to and from each of the others");
        assert!(links.iter().all(|link| text(&link["node"]) != me));
        assert_eq!(world.call(at, &["ASKING"]), Reply::OK);
    }
}

#[test]
fn a_node_that_is_gone_has_failed_and_its_slots_have_another_leader() {
    let mut world = World::new(Setup::default());
    let gone = world.leader(0).unwrap();
    let at = world.connect(gone % 3 + 1);
    world.kill(gone);
    world.until("the others lead", |world| {
        world.is_whole() && (0..4).all(|p| world.leader(p).is_some())
    });
    world.until("it is fenced", |world| {
        !world.map(gone % 3 + 1).node(NodeId(gone)).unwrap().is_active()
    });
    world.pass(std::time::Duration::from_millis(100));
    let lines = nodes(&mut world, at);
    let line = &lines[gone as usize - 1];
    assert_eq!((&line[2][..], &line[7][..]), ("slave,fail", "disconnected"));
    assert!(slots_of(line).is_empty());
    let all: BTreeSet<u32> = lines.iter().flat_map(|line| slots_of(line)).collect();
    assert_eq!(all.len() as u32, SLOTS);
    for range in items(world.call(at, &["CLUSTER", "SLOTS"])) {
        assert_eq!(items(range).len(), 4, "a leader and the one that is left");
    }
    // It comes back as the same node, and with another directory as another.
    world.start(gone);
    world.until("it is back", World::is_whole);
    assert_eq!(nodes(&mut world, at)[gone as usize - 1][0], line[0]);
}

#[test]
fn replicas_are_those_in_sync_with_what_a_node_leads() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 2, min_isr: 1 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let leader = world.leader(0).unwrap();
    let replicas = world.map(leader).partition(PartitionId(0)).unwrap().replicas.clone();
    let other = replicas.iter().find(|id| id.0 != leader).unwrap().0;
    let idle = (1..=3).find(|id| !replicas.contains(&NodeId(*id))).unwrap();
    let at = world.connect(idle);
    let lines = nodes(&mut world, at);
    let line = |id: u32| &lines[id as usize - 1];
    assert_eq!(line(leader)[2], "master");
    assert_eq!((&line(other)[2][..], &line(other)[3]), ("slave", &line(leader)[0]));
    assert_eq!((&line(idle)[2][..], &line(idle)[3][..]), ("myself,master", "-"));
    let told = items(world.call(at, &["CLUSTER", "REPLICAS", &line(leader)[0]]));
    assert_eq!(told.iter().map(text).collect::<Vec<_>>(), [line(other).join(" ")]);
    assert_eq!(world.call(at, &["CLUSTER", "SLAVES", &line(leader)[0]]), Reply::Array(told));
    let Reply::Error(refused) = world.call(at, &["CLUSTER", "REPLICAS", &line(other)[0]]) else {
        panic!("it leads nothing")
    };
    assert_eq!(refused, "ERR The specified node is not a master");
    let Reply::Error(refused) = world.call(at, &["CLUSTER", "REPLICAS", "foo"]) else {
        panic!("there is none")
    };
    assert_eq!(refused, "ERR Unknown node foo");
}

#[test]
fn the_keys_of_a_slot_are_told_by_any_node() {
    let mut world = World::new(Setup::default());
    let at = world.connect(1);
    let names: Vec<String> = (0..3).map(|n| format!("{{{}}}:{n}", key_of(2))).collect();
    for name in &names {
        assert_eq!(world.call(at, &["SET", name, "v"]), Reply::OK);
    }
    for n in 0..50 {
        assert_eq!(world.call(at, &["SET", &key(n), "v"]), Reply::OK);
    }
    let wanted = slot(names[0].as_bytes()).to_string();
    let same = (0..50).map(key).filter(|key| slot(key.as_bytes()).to_string() == wanted);
    let expected: BTreeSet<String> = names.iter().cloned().chain(same).collect();
    for id in 1..=3 {
        let at = world.connect(id);
        let count = world.call(at, &["CLUSTER", "COUNTKEYSINSLOT", &wanted]);
        assert_eq!(count, Reply::Int(expected.len() as i64));
        let keys = items(world.call(at, &["CLUSTER", "GETKEYSINSLOT", &wanted, "100"]));
        assert_eq!(keys.iter().map(text).collect::<BTreeSet<_>>(), expected);
        let two = items(world.call(at, &["CLUSTER", "GETKEYSINSLOT", &wanted, "2"]));
        assert_eq!(two.len(), 2);
    }
    for (command, error) in [
        (&["CLUSTER", "COUNTKEYSINSLOT", "x"][..], "ERR value is not an integer or out of range"),
        (&["CLUSTER", "COUNTKEYSINSLOT", "16384"], "ERR Invalid slot"),
        (&["CLUSTER", "COUNTKEYSINSLOT", "-1"], "ERR Invalid slot"),
        (&["CLUSTER", "GETKEYSINSLOT", "1", "x"], "ERR value is not an integer or out of range"),
        (&["CLUSTER", "GETKEYSINSLOT", "16384", "1"], "ERR Invalid slot or number of keys"),
        (&["CLUSTER", "GETKEYSINSLOT", "1", "-1"], "ERR Invalid slot or number of keys"),
    ] {
        let Reply::Error(told) = world.call(at, command) else { panic!("{command:?}") };
        assert_eq!(told, error, "{command:?}");
    }
}
