//! Users in a cluster: whoever may do something may do it through the node that knows him.

use kvnode_core::reply::Reply;

use crate::error;
use crate::world::{Setup, World};

#[test]
fn a_command_is_checked_at_the_node_of_its_client() {
    let mut world = World::new(Setup::default());
    let (admin, ann) = (world.connect(1), world.connect(1));
    let made = world.call(admin, &["ACL", "SETUSER", "ann", "on", "nopass", "~a*", "+@all"]);
    assert_eq!(made, Reply::OK);
    assert_eq!(world.call(ann, &["AUTH", "ann", "x"]), Reply::OK);
    // Of partitions that this node leads and that others do.
    for n in 0..20 {
        let (hers, other) = (format!("a{n}"), format!("b{n}"));
        assert_eq!(world.call(ann, &["SET", &hers, "v"]), Reply::OK);
        assert_eq!(world.call(ann, &["GET", &hers]), Reply::bulk(b"v"));
        for args in [&["SET", &other, "v"][..], &["GET", &other], &["MGET", &hers, &other]] {
            assert_eq!(error(world.call(ann, args)), "NOPERM No permissions to access a key");
        }
    }
    // What is forwarded is her last command too.
    assert_eq!(world.call(ann, &["STRLEN", "a0"]), Reply::Int(1));
    let Reply::Verbatim(list) = world.call(admin, &["CLIENT", "LIST"]) else { panic!("a text") };
    assert!(list.contains(" cmd=strlen user=ann "), "{list}");
    // Users belong to their node.
    let stranger = world.connect(2);
    assert!(error(world.call(stranger, &["AUTH", "ann", "x"])).starts_with("WRONGPASS "));
    // A password at one node lets nobody in there, and nodes still trust each other.
    let made = world.call(admin, &["ACL", "SETUSER", "default", ">secret"]);
    assert_eq!(made, Reply::OK);
    let locked = world.connect(1);
    for n in 0..10 {
        let key = format!("a{n}");
        assert!(error(world.call(locked, &["GET", &key])).starts_with("NOAUTH "));
        assert_eq!(world.call(stranger, &["GET", &key]), Reply::bulk(b"v"));
    }
}

#[test]
fn what_is_forbidden_before_exec_is_left_out_of_it() {
    let mut world = World::new(Setup::default());
    let (admin, ann) = (world.connect(1), world.connect(1));
    world.call(admin, &["ACL", "SETUSER", "ann", "on", "nopass", "~*", "+@all"]);
    assert_eq!(world.call(ann, &["AUTH", "ann", "x"]), Reply::OK);
    for n in 0..10 {
        let key = format!("a{n}");
        world.call(admin, &["ACL", "SETUSER", "ann", "+incr"]);
        assert_eq!(world.call(ann, &["MULTI"]), Reply::OK);
        for args in [&["SET", &key, "1"][..], &["INCR", &key], &["GET", &key]] {
            assert_eq!(world.call(ann, args), Reply::Simple("QUEUED"));
        }
        world.call(admin, &["ACL", "SETUSER", "ann", "-incr"]);
        let Reply::Array(replies) = world.call(ann, &["EXEC"]) else { panic!("it is run") };
        assert_eq!((&replies[0], &replies[2]), (&Reply::OK, &Reply::bulk(b"1")), "{key}");
        assert!(error(replies[1].clone()).starts_with("NOPERM ACLs rules changed"), "{key}");
        assert_eq!(replies.len(), 3);
    }
}
