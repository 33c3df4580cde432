//! Whole nodes together: replicated partitions, clients of any node, failover.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

mod clogged;
mod damage;
#[allow(dead_code, missing_docs, unreachable_pub, reason = "test files share parts of this")]
#[path = "../world/disk.rs"]
mod disk;
mod expiry;
mod full;
mod keys;
mod operator;
mod readonly;
mod redirect;
mod stopping;
mod topology;
mod transactions;
mod users;
mod wait;
mod watch;
#[path = "../world/wires.rs"]
mod wires;
mod world;

use std::time::Duration;

use kvnode_core::control::{FoundingOptions, Stated};
use kvnode_core::replication::{ReadMode, Settings};
use kvnode_core::reply::Reply;
use kvnode_core::{PartitionId, slot};
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
fn without_a_controller_what_needs_no_decision_goes_on_and_the_rest_says_what_it_lacks() {
    let mut ring = Ring::of_five();
    let [whole, led, orphan] = ring.keys.clone();
    let world = &mut ring.world;
    let at = world.connect(ring.survivors[0]);
    for name in [&whole, &led, &orphan] {
        assert_eq!(world.call(at, &["SET", name, "1"]), Reply::OK);
    }
    ring.lose_the_majority();
    let world = &mut ring.world;
    // From either survivor, and for longer than any promise or session lasts.
    for n in 0..200 {
        let at = world.connect(ring.survivors[n % 2]);
        let value = n.to_string();
        assert_eq!(world.call(at, &["SET", &whole, &value]), Reply::OK);
        assert_eq!(world.call(at, &["GET", &whole]), Reply::bulk(value.as_bytes()));
        world.pass(Duration::from_millis(50));
    }
    let quorum = "there is no controller";
    for (n, id) in ring.survivors.into_iter().enumerate() {
        let at = world.connect(id);
        if n > 0 {
            // There is one in the log already, and no use in a second one.
            let asked = world.now;
            let told = error(world.call(at, &["SET", &led, "3"]));
            for part in ["NOREPLICAS ", "earlier writes", quorum, "the write was not applied"] {
                assert!(told.contains(part), "{part:?} is not in {told:?}");
            }
            assert!(world.now.since(asked) < Duration::from_secs(1), "it is known at once");
        } else {
            let told = error(world.call(at, &["SET", &led, "2"]));
            for part in ["UNKNOWN ", "the write is in the log of", "(in sync) has not", quorum] {
                assert!(told.contains(part), "{part:?} is not in {told:?}");
            }
            assert!(told.contains("may or may not become committed"), "{told}");
        }
        let told = error(world.call(at, &["GET", &led]));
        for part in
            ["TRYAGAIN ", "has not committed what the reply depends on", quorum, "nothing was"]
        {
            assert!(told.contains(part), "{part:?} is not in {told:?}");
        }
        for command in [&["SET", &orphan, "2"][..], &["GET", &orphan]] {
            let told = error(world.call(at, command));
            for part in ["CLUSTERDOWN ", "is not reached from", quorum, "was not applied"] {
                assert!(told.contains(part), "{part:?} is not in {told:?}");
            }
        }
        let said = world.status(id);
        assert!(said.starts_with("no controller: 2 of 5 voters are reached, 3 must be;"), "{said}");
        let partition = |name: &str| format!("{}", home(name, 5));
        for (name, what) in [
            (&led, "no reads or writes, someone in sync is not reached"),
            (&orphan, "no reads or writes, no leader is reached"),
        ] {
            let clause = said.split("; ").find(|clause| clause.contains(&partition(name)));
            assert!(clause.is_some_and(|clause| clause.ends_with(what)), "{name}: {said}");
        }
        assert!(said.ends_with("; 1 partition goes on"), "{said}");
    }
    // One more voter is a majority again, and so all goes on.
    let back = ring.lost[0];
    world.start(back);
    world.until("a controller decides", |world| {
        [&led, &orphan].iter().all(|name| world.leader(home(name, 5).0).is_some())
    });
    let at = world.connect(ring.survivors[0]);
    assert_eq!(world.call(at, &["GET", &led]), Reply::bulk(b"2"), "what was in the log");
    assert_eq!(world.call(at, &["GET", &whole]), Reply::bulk(b"199"));
    assert_eq!(world.call(at, &["GET", &orphan]), Reply::bulk(b"1"), "what was acknowledged");
}

#[test]
fn a_leader_whose_reign_could_not_begin_says_that_nothing_was_applied() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 1 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let first = world.leader(0).unwrap();
    world.kill(first);
    let others: Vec<u32> = (1..=3).filter(|id| *id != first).collect();
    let named = |world: &World| {
        let names = |&id: &u32| {
            let entry = world.map(id).partition(PartitionId(0)).unwrap();
            entry.leader == Some(kvnode_core::NodeId(id))
        };
        others.iter().copied().find(names)
    };
    world.until("another is elected", |world| named(world).is_some());
    let leader = named(&world).unwrap();
    let other = *others.iter().find(|id| **id != leader).unwrap();
    world.kill(other);
    assert_eq!(world.leader(0), None, "the first record of the reign is not committed");
    world.until("no controller is known", |world| world.view(leader).unwrap().headless().is_some());
    // Asked over and over again up to the last moment, and known not to be under way.
    for n in 0..20 {
        world.pass(Duration::from_millis(1));
        let at = world.connect(leader);
        let told = error(world.call(at, &["INCR", "k"]));
        for part in [
            "CLUSTERDOWN ",
            &format!("since n{other} (in sync) has not acknowledged the beginning of its reign"),
            "there is no controller to change the in-sync set (1 of 3 voters reached)",
            "was not applied",
        ] {
            assert!(told.contains(part), "{n}: {part:?} is not in {told:?}");
        }
    }
}

/// Five nodes, and five partitions of two replicas each, so that a majority can be lost while
/// everybody in sync in one of them lives.
struct Ring {
    world: World,
    /// Everybody in sync in one partition.
    survivors: [u32; 2],
    /// The others; the controller is the first to go.
    lost: Vec<u32>,
    /// A key of a partition that the survivors hold, of one that a survivor leads and a lost one
    /// follows, and of one where it is the other way round.
    keys: [String; 3],
}

impl Ring {
    fn of_five() -> Self {
        let founding = FoundingOptions { partitions: 5, replication_factor: 2, min_isr: 1 };
        let world = World::new(Setup { nodes: 5, founding, ..Setup::default() });
        let controller = world.controller().unwrap();
        let partitions: Vec<(PartitionId, Vec<u32>)> = (world.map(1).partitions())
            .map(|(id, p)| (id, p.replicas.iter().map(|node| node.0).collect()))
            .collect();
        // The first replica leads.
        let leaders: Vec<u32> = (0..5).map(|id| world.leader(id).unwrap()).collect();
        let find = |so: &dyn Fn(u32, u32) -> bool| {
            let follower = |(id, nodes): &(PartitionId, Vec<u32>)| {
                let leader = leaders[id.0 as usize];
                (leader, *nodes.iter().find(|node| **node != leader).unwrap())
            };
            let found = partitions.iter().find(|entry| {
                let (leader, follower) = follower(entry);
                so(leader, follower)
            });
            found.map(|entry| (entry.0, follower(entry)))
        };
        let (whole, (a, b)) = find(&|a, b| a != controller && b != controller).unwrap();
        let lives = |node: u32| node == a || node == b;
        let (led, _) = find(&|a, b| lives(a) && !lives(b)).unwrap();
        let (orphan, _) = find(&|a, b| !lives(a) && lives(b)).unwrap();
        let mut lost: Vec<u32> = (1..=5).filter(|id| !lives(*id)).collect();
        lost.sort_by_key(|id| *id != controller);
        let keys = [whole, led, orphan]
            .map(|id| (0..).map(key).find(|name| home(name, 5) == id).expect("slots are spread"));
        Self { world, survivors: [a, b], lost, keys }
    }

    /// All at once, so that nothing can be decided in between.
    fn lose_the_majority(&mut self) {
        for &id in &self.lost {
            self.world.kill(id);
        }
        let survivors = self.survivors;
        self.world.until("the survivors know no controller", |world| {
            survivors.iter().all(|id| world.view(*id).is_some_and(|v| v.headless().is_some()))
        });
    }
}

fn home(key: &str, partitions: u32) -> PartitionId {
    slot::partition(slot::slot(key.as_bytes()), partitions)
}

fn error(reply: Reply) -> String {
    let Reply::Error(text) = reply else { panic!("{reply:?} is no error") };
    text.into_owned()
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
        world.wires.cut.insert(pair);
        world.wires.cut.insert((pair.1, pair.0));
    }
    world.until("another leads", |world| {
        others.iter().any(|&id| world.replica(id, 0).is_some_and(|r| r.serves))
    });
    assert_eq!(world.call(new, &["SET", &name, "2"]), Reply::OK);
    world.send(old, &[b"GET", name.as_bytes()]);
    world.pass(Duration::from_millis(50));
    let told = world.clients[&old].told.front().cloned();
    assert!(!matches!(told, Some(Reply::Bulk(_))), "a stale read: {told:?}");
    world.wires.cut.clear();
    world.until("all is whole again", World::is_whole);
    let told = world.reply(old, "the read ends");
    assert!(told == Reply::bulk(b"2") || matches!(told, Reply::Error(_)), "{told:?}");
}

#[test]
fn a_commit_does_not_confirm_a_read_that_came_after_its_acknowledgements() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let replication = Settings { reads: ReadMode::Confirm, ..Settings::default() };
    let mut world = World::new(Setup { founding, replication, ..Setup::default() });
    let leader = world.leader(0).unwrap();
    let (writer, reader) = (world.connect(leader), world.connect(leader));
    let ms = Duration::from_millis;
    for other in (1..=3).filter(|id| *id != leader) {
        let way = (kvnode_core::NodeId(other), kvnode_core::NodeId(leader));
        world.wires.slow.insert(way, ms(100));
    }
    world.send(writer, &[b"SET", b"key", b"1"]);
    world.pass(ms(50));
    world.send(reader, &[b"GET", b"key"]);
    world.pass(ms(70));
    // Whoever has acknowledged the write may follow another since, who has written more.
    assert_eq!(world.clients[&writer].told.front(), Some(&Reply::OK));
    assert_eq!(world.clients[&reader].told.front(), None);
    assert_eq!(world.reply(reader, "the read ends"), Reply::bulk(b"1"));
}

#[test]
fn what_an_earlier_process_asked_is_answered_to_nobody() {
    let mut world = World::new(Setup::default());
    let leader = world.leader(0).unwrap();
    let id = leader % 3 + 1;
    let way = (kvnode_core::NodeId(id), kvnode_core::NodeId(leader));
    let ms = Duration::from_millis;
    // The first command of a process: it is on its way for longer than the process lives, and than
    // the leader hopes to hear of it.
    let [set, counted] = ["s", "n"].map(|name| format!("{{{}}}{name}", key_of(0)));
    world.wires.slow.insert(way, ms(1300));
    let client = world.connect(id);
    world.send(client, &[b"SET", set.as_bytes(), b"1"]);
    world.vanish(id);
    world.wires.slow.clear();
    // More and more slowly, or the link breaks.
    let third = (1..=3).find(|other| ![id, leader].contains(other)).unwrap();
    for slow in [300, 600, 900, 1200] {
        world.pass(ms(300));
        world.wires.slow.insert((kvnode_core::NodeId(third), way.1), ms(slow));
    }
    world.pass(ms(105));
    // The first one of the next process, asked before the other is committed.
    world.start(id);
    let knows = |world: &World| world.view(id).is_some_and(|v| v.map.partitions().count() > 0);
    world.until("it knows of the partitions", knows);
    let client = world.connect(id);
    assert_eq!(world.call(client, &["INCR", &counted]), Reply::Int(1));
    assert_eq!(world.call(client, &["GET", &set]), Reply::bulk(b"1"));
}

#[test]
fn an_operator_who_states_what_the_cluster_is_not_is_told() {
    let mut world = World::new(Setup::default());
    world.kill(1);
    world.setup.stated = Stated { partitions: Some(8), replication_factor: Some(3), min_isr: None };
    world.start(1);
    world.until("all is whole again", World::is_whole);
    let notices = &world.nodes[&kvnode_core::NodeId(1)].notices;
    let told: Vec<&String> = notices.iter().filter(|n| n.contains("founded with")).collect();
    assert_eq!(told.len(), 1, "{notices:#?}");
    assert!(told[0].starts_with("partitions 8 does not count: the cluster was founded with 4"));
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
fn a_leader_that_hands_over_pauses_its_clients_for_milliseconds() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let setup = Setup { founding, ..Setup::default() };
    let lease = setup.replication.lease;
    for _ in 0..3 {
        let mut world = World::new(setup);
        let leader = world.leader(0).unwrap();
        let at = world.connect(leader % 3 + 1);
        world.call(at, &["SET", "n", "0"]);
        world.ask_to_stop(leader);
        let mut longest = Duration::ZERO;
        for count in 1..200 {
            let before = world.now;
            assert_eq!(world.call(at, &["INCR", "n"]), Reply::Int(count));
            longest = longest.max(world.now.since(before));
        }
        assert_ne!(world.leader(0), Some(leader));
        assert!(longest < lease / 10, "one of the writes took {longest:?}");
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
fn what_comes_behind_a_command_that_is_given_up_is_answered() {
    let mut ring = Ring::of_five();
    ring.lose_the_majority();
    let at = ring.world.connect(ring.survivors[0]);
    let orphan = ring.keys[2].clone();
    ring.world.send(at, &[b"GET", orphan.as_bytes()]);
    ring.world.send(at, &[b"PING"]);
    ring.world.pass(Duration::from_secs(7));
    let told: Vec<Reply> = ring.world.clients[&at].told.iter().cloned().collect();
    let [given_up, pong] = &told[..] else { panic!("{told:?}") };
    assert!(error(given_up.clone()).starts_with("CLUSTERDOWN "), "{given_up:?}");
    assert_eq!(*pong, Reply::Simple("PONG"));
}
