//! WATCH through nodes that lead and nodes that do not, when the cluster is not well.

use std::time::Duration;

use kvnode_core::reply::Reply;
use kvnode_core::{ClientId, NodeId};

use crate::world::{Setup, World};
use crate::{Ring, error, home, key};

const QUEUED: Reply = Reply::Simple("QUEUED");

/// The reply to EXEC of a transaction that sets the key.
fn set_in_transaction(world: &mut World, at: (NodeId, ClientId), name: &str) -> Reply {
    assert_eq!(world.call(at, &["MULTI"]), Reply::OK);
    assert_eq!(world.call(at, &["SET", name, "new"]), QUEUED);
    world.call(at, &["EXEC"])
}

fn done() -> Reply {
    Reply::Array(vec![Reply::OK])
}

#[test]
fn a_watch_that_errs_watches_nothing() {
    let mut ring = Ring::of_five();
    let [whole, led, orphan] = ring.keys.clone();
    ring.lose_the_majority();
    let world = &mut ring.world;
    for id in ring.survivors {
        for (name, code) in [(&orphan, "CLUSTERDOWN "), (&led, "TRYAGAIN ")] {
            let at = world.connect(id);
            let told = error(world.call(at, &["WATCH", name]));
            assert!(told.starts_with(code), "{told}");
            // Neither the partition of what is not watched nor its state count.
            assert_eq!(
                set_in_transaction(world, at, &whole),
                done(),
                "after WATCH {name} at n{id}"
            );
            assert_eq!(world.call(at, &["WATCH", &whole]), Reply::OK);
            assert_eq!(set_in_transaction(world, at, &whole), done());
        }
    }
}

#[test]
fn what_was_watched_before_a_watch_that_errs_is_watched_still() {
    let mut ring = Ring::of_five();
    let [whole, _, orphan] = ring.keys.clone();
    ring.lose_the_majority();
    let world = &mut ring.world;
    for id in ring.survivors {
        let (at, other) = (world.connect(id), world.connect(id));
        assert_eq!(world.call(at, &["WATCH", &whole]), Reply::OK);
        let told = error(world.call(at, &["WATCH", &orphan]));
        assert!(told.starts_with("CROSSSLOT "), "{told}");
        assert_eq!(world.call(other, &["SET", &whole, "other"]), Reply::OK);
        assert_eq!(set_in_transaction(world, at, &whole), Reply::NullArray);
        // And that is the end of it.
        assert_eq!(set_in_transaction(world, at, &whole), done());
    }
}

#[test]
fn of_two_watches_under_way_one_that_errs_does_not_take_the_other_along() {
    let mut ring = Ring::of_five();
    let [_, led, _] = ring.keys.clone();
    ring.lose_the_majority();
    let world = &mut ring.world;
    let leader = world.leader(home(&led, 5).0).unwrap();
    let at = world.connect(leader);
    // No promise lasts so long.
    world.pass(Duration::from_secs(1));
    // Both wait for a word of the follower; it is back before the second is given up.
    world.send(at, &[b"WATCH", led.as_bytes()]);
    world.pass(Duration::from_secs(3));
    world.send(at, &[b"WATCH", led.as_bytes()]);
    let told = error(world.reply(at, "the first is given up"));
    assert!(told.starts_with("TRYAGAIN "), "{told}");
    ring.lost.iter().for_each(|id| world.start(*id));
    assert_eq!(world.reply(at, "the second is answered"), Reply::OK);
    let other = world.connect(leader);
    assert_eq!(world.call(other, &["SET", &led, "other"]), Reply::OK);
    assert_eq!(set_in_transaction(world, at, &led), Reply::NullArray);
    assert_eq!(set_in_transaction(world, at, &led), done());
}

#[test]
fn a_watch_does_not_outlive_the_link_to_its_leader() {
    let mut world = World::new(Setup::default());
    let name = key(1);
    let leader = world.leader(home(&name, 4).0).unwrap();
    let from = leader % 3 + 1;
    for is_changed in [true, false] {
        let at = world.connect(from);
        assert_eq!(world.call(at, &["WATCH", &name]), Reply::OK);
        let pair = (NodeId(leader), NodeId(from));
        world.wires.cut.extend([pair, (pair.1, pair.0)]);
        world.pass(Duration::from_millis(1500));
        world.wires.cut.clear();
        world.until("all is whole again", World::is_whole);
        if is_changed {
            let other = world.connect(leader);
            assert_eq!(world.call(other, &["SET", &name, "other"]), Reply::OK);
        }
        // Nobody knows any more whether it was changed.
        assert_eq!(set_in_transaction(&mut world, at, &name), Reply::NullArray);
        assert_eq!(set_in_transaction(&mut world, at, &name), done());
    }
}

#[test]
fn discard_and_exec_without_multi_leave_what_is_watched() {
    let mut world = World::new(Setup::default());
    let name = key(1);
    let leader = world.leader(home(&name, 4).0).unwrap();
    for id in [leader, leader % 3 + 1] {
        let (at, other) = (world.connect(id), world.connect(leader));
        for (command, ends) in [
            (&["DISCARD"][..], false),
            (&["EXEC"], false),
            (&["UNWATCH"], true),
            (&["RESET"], true),
            // It can not be right, and is an EXEC nevertheless.
            (&["EXEC", "now"], true),
        ] {
            assert_eq!(world.call(at, &["WATCH", &name]), Reply::OK);
            let told = world.call(at, command);
            assert!(ends || error(told).ends_with(" without MULTI"), "{command:?}");
            assert_eq!(world.call(other, &["SET", &name, "other"]), Reply::OK);
            let expected = if ends { done() } else { Reply::NullArray };
            let told = set_in_transaction(&mut world, at, &name);
            assert_eq!(told, expected, "after {command:?} at n{id}");
        }
    }
}

/// A leader had begun with the transaction when its reign was over; later it leads again.
#[test]
fn a_transaction_that_a_leader_could_not_finish_is_over() {
    let mut world = World::new(Setup::default());
    let name = key(1);
    let partition = home(&name, 4).0;
    let leader = world.leader(partition).unwrap();
    let other = leader % 3 + 1;
    let (at, here) = (world.connect(other), world.connect(leader));
    assert_eq!(world.call(here, &["SET", &name, "old"]), Reply::OK);
    for command in [&[&b"MULTI"[..]][..], &[b"GET", name.as_bytes()], &[b"EXEC"]] {
        world.send(at, command);
    }
    // What it reads comes when another leads.
    world.stalled = Some(leader);
    world.until("it reads", |world| !world.held.is_empty());
    let move_to = |world: &mut World, to: u32| {
        let (to, partition) = (format!("n{to}"), format!("p{partition}"));
        assert_eq!(world.call(here, &["CLUSTER", "MOVE", &partition, &to]), Reply::OK);
    };
    move_to(&mut world, other);
    world.until("another leads", |world| world.leader(partition) == Some(other));
    world.unstall();
    assert_eq!(world.reply(at, "MULTI"), Reply::OK);
    assert_eq!(world.reply(at, "GET"), QUEUED);
    let Reply::Array(told) = world.reply(at, "EXEC") else { panic!("it is done by another") };
    assert_eq!(told.len(), 1);
    move_to(&mut world, leader);
    world.until("it leads again", |world| world.leader(partition) == Some(leader));
    world.until("all is whole again", World::is_whole);
    assert_eq!(world.call(at, &["WATCH", &name]), Reply::OK);
    assert_eq!(set_in_transaction(&mut world, at, &name), done(), "nobody has touched it");
    assert_eq!(world.call(at, &["WATCH", &name]), Reply::OK);
    assert_eq!(world.call(here, &["SET", &name, "other"]), Reply::OK);
    assert_eq!(set_in_transaction(&mut world, at, &name), Reply::NullArray);
}
