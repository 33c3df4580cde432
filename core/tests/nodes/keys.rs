//! What names no key and is about those of all partitions.

use std::collections::BTreeSet;

use kvnode_core::reply::Reply;

use crate::world::{Setup, World};
use crate::{key, key_of};

#[test]
fn scan_walks_every_partition() {
    let mut world = World::new(Setup::default());
    let at = world.connect(2);
    for n in 0..100 {
        assert_eq!(world.call(at, &["SET", &key(n), "v"]), Reply::OK);
    }
    let (mut cursor, mut found) = (String::from("0"), BTreeSet::new());
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
fn a_random_key_is_found_wherever_it_is() {
    let mut world = World::new(Setup::default());
    let clients: Vec<_> = (1..=3).map(|id| world.connect(id)).collect();
    for &at in &clients {
        assert_eq!(world.call(at, &["RANDOMKEY"]), Reply::Null);
    }
    let mut names = BTreeSet::new();
    for partition in [2, 1] {
        let name = key_of(partition);
        assert_eq!(world.call(clients[0], &["SET", &name, "v"]), Reply::OK);
        names.insert(name);
        let mut found = BTreeSet::new();
        for n in 0..60 {
            let Reply::Bulk(key) = world.call(clients[n % 3], &["RANDOMKEY"]) else {
                panic!("none is found")
            };
            found.insert(String::from_utf8(key.to_vec()).unwrap());
        }
        assert_eq!(found, names, "each is found in sixty times");
    }
}
