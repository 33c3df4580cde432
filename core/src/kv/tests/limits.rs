//! What is over a limit is refused with an error that says so.

use alloc::vec;

use super::world::World;
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX, WATCHED_KEYS_MAX};
use crate::reply::Reply;

const TOO_LONG: Reply = Reply::Error(alloc::borrow::Cow::Borrowed(
    "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
));

#[test]
fn keys_have_a_longest_length() {
    let mut world = World::new();
    let key = vec![b'k'; KEY_BYTES_MAX + 1];
    assert_eq!(world.evaluate(&[b"set", &key[1..], b"v"]), Ok(Reply::OK));
    let refused = Reply::error("ERR key is longer than the limit of 65535 bytes");
    for args in [&[&b"get"[..], &key][..], &[b"mset", b"a", b"1", &key, b"2"], &[b"watch", &key]] {
        assert_eq!(world.evaluate(args), Ok(refused.clone()));
    }
}

#[test]
fn values_have_a_longest_length() {
    let mut world = World::new();
    let value = vec![b'v'; VALUE_BYTES_MAX + 1];
    for args in [
        &[&b"set"[..], b"k", &value][..],
        &[b"mset", b"a", b"1", b"k", &value],
        &[b"setrange", b"k", b"67108864", b"x"],
        &[b"setrange", b"k", b"9223372036854775807", b"x"],
        &[b"append", b"k", &value],
    ] {
        assert_eq!(world.evaluate(args), Ok(TOO_LONG));
    }
    assert_eq!(world.run("DBSIZE"), ":0");
    assert_eq!(world.run("SETRANGE k 67108863 x"), ":67108864");
    assert_eq!(
        world.run("APPEND k x"),
        "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"
    );
}

#[test]
fn a_client_watches_so_many_keys() {
    let mut world = World::new();
    let keys: vec::Vec<_> = (0..=WATCHED_KEYS_MAX).map(|n| n.to_be_bytes()).collect();
    let mut args = vec![&b"watch"[..]];
    args.extend(keys.iter().map(|key| &key[..]));
    let Ok(Reply::Error(text)) = world.evaluate(&args) else { panic!("it is over the limit") };
    assert!(text.contains("65536"));
    assert_eq!(world.view.watchers(), 0);
    args.pop();
    assert_eq!(world.evaluate(&args), Ok(Reply::OK));
    // Those that are watched already are no more than before, and one named twice is one.
    assert_eq!(world.run("UNWATCH"), "+OK");
    args.pop();
    assert_eq!(world.evaluate(&args), Ok(Reply::OK));
    let last = keys[WATCHED_KEYS_MAX - 1];
    assert_eq!(world.evaluate(&[b"watch", &last, args[1], &last]), Ok(Reply::OK));
    assert_eq!(world.evaluate(&args), Ok(Reply::OK));
    let refused = world.evaluate(&[b"watch", args[1], &keys[WATCHED_KEYS_MAX]]);
    assert!(matches!(refused, Ok(Reply::Error(_))));
}

#[test]
fn a_client_watches_keys_of_so_many_bytes() {
    let mut world = World::new();
    let keys: vec::Vec<_> =
        (0..=256u16).map(|n| [&n.to_be_bytes()[..], &[0; 65_533]].concat()).collect();
    let watch = |world: &mut World, keys: &[vec::Vec<u8>]| {
        let mut args = vec![&b"watch"[..]];
        args.extend(keys.iter().map(|key| &key[..]));
        world.evaluate(&args)
    };
    assert_eq!(watch(&mut world, &keys[..200]), Ok(Reply::OK));
    let Ok(Reply::Error(text)) = watch(&mut world, &keys[200..]) else { panic!("it is too much") };
    assert!(text.contains("16 MiB"));
    assert_eq!(world.view.watchers(), 200);
    assert_eq!(watch(&mut world, &keys[200..256]), Ok(Reply::OK));
}

#[test]
fn a_time_of_expiry_has_an_end() {
    let mut world = World::new();
    world.run("SET k v");
    let Ok(Reply::Bulk(dump)) = world.evaluate(&[b"DUMP", b"k"]) else { panic!("a payload") };
    let latest = b"9223372036854775807";
    // Redis answers OK, takes the sum for a time long past, and the key that it replaces is gone.
    let refused = world.evaluate(&[b"RESTORE", b"k", latest, &dump, b"REPLACE"]);
    assert_eq!(refused, Ok(Reply::error("ERR invalid expire time in 'restore' command")));
    assert_eq!(world.run("GET k"), "'v'");
    let restored = world.evaluate(&[b"RESTORE", b"k", latest, &dump, b"REPLACE", b"ABSTTL"]);
    assert_eq!(restored, Ok(Reply::OK));
}

#[test]
fn an_http_request_closes_the_connection() {
    for line in ["POST / HTTP/1.1", "Host: localhost:6379"] {
        let mut world = World::new();
        assert!(world.run(line).starts_with("-ERR unknown command"));
        assert!(world.session.closing());
    }
}
