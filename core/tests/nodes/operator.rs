//! What an operator asks as any client: words in, the controller's answer out.

use kvnode_core::NodeId;
use kvnode_core::control::FoundingOptions;
use kvnode_core::reply::Reply;

use crate::world::{Setup, World};

fn error(reply: Reply) -> String {
    match reply {
        Reply::Error(text) => text.into_owned(),
        other => panic!("{other:?} is no error"),
    }
}

#[test]
fn any_client_may_ask_at_any_node() {
    let mut world = World::new(Setup::default());
    for id in 1..=3 {
        let at = world.connect(id);
        let leader = world.leader(0).unwrap();
        let next = format!("n{}", 1 + leader % 3);
        // What comes behind waits, and is answered in its turn.
        world.send(at, &[b"CLUSTER", b"MOVE", b"p0", next.as_bytes()]);
        world.send(at, &[b"ECHO", b"behind"]);
        assert_eq!(world.reply(at, "the leader has moved"), Reply::OK);
        assert_eq!(world.reply(at, "what came behind"), Reply::bulk(b"behind"));
        world.until("it serves", |world| world.leader(0) == Some(1 + leader % 3));
        assert_eq!(
            error(world.call(at, &["cluster", "move", "0", &next[1..]])),
            "REFUSED it is so already: nothing was changed"
        );
        world.until("it is whole", World::is_whole);
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anybody_is_asked() {
    let mut world = World::new(Setup::default());
    let at = world.connect(1);
    for (words, why) in [
        ("ELECT p0 n1", "ERR wrong number of arguments for 'cluster|elect' command"),
        ("ELECT p0 n1 CLEAN", "ERR syntax error"),
        ("MOVE q0 n1", "ERR 'q0' is not a partition, as p0"),
        ("MOVE p0 p1", "ERR 'p1' is not a node, as n1"),
        ("MOVE p-1 n1", "ERR 'p-1' is not a partition, as p0"),
        ("REASSIGN p0 n4294967296", "ERR 'n4294967296' is not a node, as n1"),
        ("FEATURE x", "ERR 'x' is not a feature level, which is a number"),
        ("REASSIGN p0 1 2 3 4 5 6 7 8", "ERR a partition has at most 7 replicas"),
        ("MOVE p7 n1", "REFUSED no such partition: nothing was changed; see kvnode status"),
        ("MOVE p0 n9", "REFUSED n9 is not registered: nothing was changed; see kvnode status"),
        ("FORGET n2", "REFUSED n2 is not fenced: nothing was changed; stop it first"),
        ("FEATURE 1", "REFUSED the feature level is not higher: nothing was changed"),
        ("ACCEPT-LOSS p0", "REFUSED it is so already: nothing was changed"),
    ] {
        let words: Vec<&str> = ["CLUSTER"].into_iter().chain(words.split(' ')).collect();
        assert_eq!(error(world.call(at, &words)), why);
    }
    assert_eq!(world.call(at, &["MULTI"]), Reply::OK);
    let refused = error(world.call(at, &["CLUSTER", "MOVE", "p0", "n2"]));
    assert_eq!(refused, "ERR Command not allowed inside a transaction");
}

#[test]
fn a_copy_that_is_behind_serves_once_an_operator_says_so() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 2, min_isr: 1 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let partition = |world: &World, id| world.map(id).partitions().next().unwrap().1.clone();
    let replicas = partition(&world, 1).replicas;
    let bystander = (1..=3).find(|&id| !replicas.contains(&NodeId(id))).unwrap();
    let leader = world.leader(0).unwrap();
    let heir = replicas.iter().map(|id| id.0).find(|&id| id != leader).unwrap();

    let at = world.connect(bystander);
    assert_eq!(world.call(at, &["SET", "k", "on both"]), Reply::OK);
    world.kill(heir);
    world.until("the leader is alone", |world| partition(world, bystander).isr.len() == 1);
    assert_eq!(world.call(at, &["SET", "k", "on one"]), Reply::OK);
    world.kill(leader);
    world.start(heir);
    let active = |world: &World| world.map(bystander).node(NodeId(heir)).unwrap().is_active();
    world.until("the other copy is there", |world| {
        world.controller().is_some()
            && partition(world, bystander).leader.is_none()
            && active(world)
    });

    let elect = format!("kvnode cluster elect p0 n{heir} --unclean");
    let told = error(world.call(at, &["GET", "k"]));
    assert_eq!(
        told,
        format!(
            "CLUSTERDOWN partition p0 has no leader, for no replica in sync is there: the command was \
             not applied; start n{leader}, or if that is lost for good: {elect}"
        )
    );
    let status = world.status(bystander);
    assert!(status.contains(&elect), "{status}");

    let node = format!("n{heir}");
    assert_eq!(world.call(at, &["CLUSTER", "ELECT", "p0", &node, "UNCLEAN"]), Reply::OK);
    assert_eq!(world.call(at, &["GET", "k"]), Reply::bulk(b"on both"));
    assert_eq!(world.call(at, &["SET", "k", "again"]), Reply::OK);
    let status = world.status(bystander);
    assert!(status.ends_with("may be missing; to take note of it: kvnode cluster accept-loss p0"));
    assert_eq!(world.call(at, &["CLUSTER", "ACCEPT-LOSS", "p0"]), Reply::OK);
    assert!(!world.status(bystander).contains("missing"));
    // Who had more takes over what there is now.
    world.start(leader);
    world.until("both are in sync", World::is_whole);
    assert_eq!(world.call(at, &["GET", "k"]), Reply::bulk(b"again"));
}
