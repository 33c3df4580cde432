//! Users at a whole shard: who is let in, and who is closed.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test may fail at what it does not expect")]

mod world;

use kvnode_core::ClientId;
use kvnode_core::kv::Peer;
use kvnode_core::reply::Reply;
use kvnode_core::shard::{Input, Output};
use world::{Setup, World};

/// A client that connects from there.
fn from(world: &mut World, remote: &str) -> ClientId {
    let id = world.client_id();
    let remote = remote.parse().expect("an address");
    world.shard.handle(world.now, Input::Connected(id, Peer { remote, ..Peer::default() }));
    world.settle();
    id
}

fn error(reply: Option<Reply>) -> String {
    match reply {
        Some(Reply::Error(text)) => text.into_owned(),
        other => panic!("{other:?} is no error"),
    }
}

#[test]
fn without_a_password_only_this_machine_is_let_in() {
    let mut world = World::fresh(Setup::default());
    for here in ["127.0.0.1:5", "127.9.9.9:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
        let client = from(&mut world, here);
        assert_eq!(world.call(client, &[b"PING"]), Reply::Simple("PONG"), "{here}");
    }
    for there in ["10.0.0.1:5", "[2001:db8::1]:5", "[::ffff:10.0.0.1]:5"] {
        let client = from(&mut world, there);
        let why = error(world.reply(client));
        assert!(why.starts_with("DENIED") && why.contains("--protected-mode no"), "{why}");
        assert_eq!(world.closed, [client], "{there}");
        assert!(!world.shard.accepts(client));
        world.closed.clear();
    }
    // A password lets them ask.
    let here = world.client();
    world.call(here, &[b"ACL", b"SETUSER", b"default", b">secret"]);
    let client = from(&mut world, "10.0.0.1:5");
    assert!(world.shard.is_stranger(client) && !world.shard.is_stranger(here));
    assert!(error(Some(world.call(client, &[b"GET", b"k"]))).starts_with("NOAUTH"));
    assert_eq!(world.call(client, &[b"AUTH", b"secret"]), Reply::OK);
    assert_eq!(world.call(client, &[b"GET", b"k"]), Reply::Null);
    assert!(!world.shard.is_stranger(client));
}

#[test]
fn a_user_that_is_deleted_is_closed() {
    let mut world = World::fresh(Setup::default());
    let [admin, ann, bob] = [(); 3].map(|()| world.client());
    for (client, name) in [(ann, &b"ann"[..]), (bob, b"bob")] {
        world.call(admin, &[b"ACL", b"SETUSER", name, b"on", b"nopass", b"~*", b"+@all"]);
        assert_eq!(world.call(client, &[b"AUTH", name, b"x"]), Reply::OK);
    }
    // Whoever deletes himself gets the answer first.
    assert_eq!(world.call(ann, &[b"ACL", b"DELUSER", b"nobody", b"ann"]), Reply::Int(1));
    assert_eq!(world.closed, [ann]);
    assert_eq!(world.call(admin, &[b"ACL", b"DELUSER", b"bob"]), Reply::Int(1));
    assert_eq!(world.closed, [ann, bob]);
    assert_eq!(world.call(admin, &[b"ACL", b"USERS"]), Reply::Array(vec![Reply::bulk(b"default")]));
}

#[test]
fn the_file_is_read_and_written_by_the_driver() {
    let mut world = World::fresh(Setup { acl_file: true, ..Setup::default() });
    let [admin, ann] = [(); 2].map(|()| world.client());
    world.call(admin, &[b"ACL", b"SETUSER", b"ann", b"on", b"nopass", b"+@all"]);
    world.call(ann, &[b"AUTH", b"ann", b"x"]);
    world.send(admin, &[b"ACL", b"SAVE"]);
    world.settle();
    let Some(Output::AclFile(client, Some(text))) = world.others.pop() else {
        panic!("to be written")
    };
    assert_eq!((client, world.reply(admin)), (admin, None));
    assert!(!world.shard.accepts(admin), "its next command waits");
    world.shard.handle(world.now, Input::AclFile(admin, Ok(Vec::new())));
    world.settle();
    assert_eq!(world.reply(admin), Some(Reply::OK));
    let mut load = |result: Result<Vec<u8>, String>| {
        world.send(admin, &[b"ACL", b"LOAD"]);
        world.settle();
        assert!(matches!(world.others.pop(), Some(Output::AclFile(_, None))));
        world.shard.handle(world.now, Input::AclFile(admin, result));
        world.settle();
        (world.reply(admin).expect("an answer"), std::mem::take(&mut world.closed))
    };
    // As it is: nobody is another.
    assert_eq!(load(Ok(text)), (Reply::OK, vec![]));
    for wrong in [Ok(b"user ann on\nuser bob +nosuch".to_vec()), Err("no such file".into())] {
        let (reply, closed) = load(wrong);
        let why = error(Some(reply));
        assert!(why.ends_with("no change to the previously active ACL rules was performed"));
        assert!(closed.is_empty(), "{why}");
    }
    assert_eq!(load(Ok(b"user bob on".to_vec())), (Reply::OK, vec![ann]));
}
