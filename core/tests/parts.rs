//! A command over several partitions of which one fails: what its client is told.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

mod world;

use std::time::Duration;

use kvnode_core::disk::{DiskError, DiskOp};
use kvnode_core::reply::Reply;
use kvnode_core::{ClientId, slot};
use world::{Setup, World, error_code};

type Command<'a> = &'a [&'a [u8]];

/// A world of three partitions with a key in each.
fn three() -> (World, ClientId, [Vec<u8>; 3]) {
    let setup =
        Setup { partitions: Some(3), merge: false, zero_ahead_bytes: 0, ..Setup::default() };
    let mut world = World::fresh(setup);
    let client = world.client();
    let keys = [0, 1, 2].map(|partition| {
        let of = |key: &Vec<u8>| slot::partition(slot::slot(key), 3).0 == partition;
        (0u8..).map(|n| vec![b'k', n]).find(of).unwrap()
    });
    keys.iter().for_each(|key| world.set(client, key, b"v"));
    (world, client, keys)
}

/// Deletes the keys of all three; the writes and fsyncs of these partitions' logs fail so.
fn delete_all(write: &[(u32, DiskError)], sync: &[u32]) -> (World, ClientId, String) {
    let (mut world, client, keys) = three();
    let (write, sync) = (write.to_vec(), sync.to_vec());
    world.disk.fault = Some(Box::new(move |op| match op {
        DiskOp::Write { file, .. } if file.to_string().ends_with(".log") => {
            let hit = |p: &u32| file.to_string().starts_with(&format!("p{p}/"));
            write.iter().find(|(p, _)| hit(p)).map(|&(_, error)| error)
        }
        DiskOp::Sync(file) if file.to_string().ends_with(".log") => {
            let hit = sync.iter().any(|p| file.to_string().starts_with(&format!("p{p}/")));
            hit.then_some(DiskError::Io(5))
        }
        _ => None,
    }));
    let reply = world.call(client, &[b"DEL", &keys[0], &keys[1], &keys[2]]);
    let Reply::Error(text) = reply else { panic!("a part failed, and it is told {reply:?}") };
    world.disk.fault = None;
    world.pass(Duration::from_secs(3));
    (world, client, text.into_owned())
}

#[test]
fn what_one_partition_refused_and_others_applied_is_said_to_be_applied_in_part() {
    for full in 0..3 {
        let (mut world, client, text) = delete_all(&[(full, DiskError::Full)], &[]);
        assert!(text.starts_with("PARTIAL "), "{text}");
        assert!(text.contains(&format!("partition p{full} is full")), "{text}");
        assert!(text.contains("the rest was applied"), "{text}");
        assert_eq!(world.call(client, &[b"DBSIZE"]), Reply::Int(1));
    }
}

#[test]
fn an_unknown_outcome_in_one_partition_is_said_whatever_the_others_say() {
    for unknown in 0..3 {
        let (_, _, text) = delete_all(&[], &[unknown]);
        assert!(text.starts_with("UNKNOWN "), "{text}");
        for full in (0..3).filter(|&full| full != unknown) {
            let (_, _, text) = delete_all(&[(full, DiskError::Full)], &[unknown]);
            assert!(text.starts_with("UNKNOWN "), "{text}");
            assert!(text.contains("in part"), "{text}");
        }
    }
}

#[test]
fn what_every_partition_refused_is_said_not_to_be_applied() {
    let (mut world, client, text) = delete_all(&[0, 1, 2].map(|p| (p, DiskError::Full)), &[]);
    assert!(text.starts_with("DISKFULL ") && text.contains("was not applied"), "{text}");
    assert_eq!(world.call(client, &[b"DBSIZE"]), Reply::Int(3));
}

#[test]
fn a_read_of_which_one_part_was_dropped_is_not_said_to_be_applied() {
    let (mut world, client, keys) = three();
    let writer = world.client();
    world.disk.fault = Some(Box::new(|op| match op {
        DiskOp::Write { file, .. } if file.to_string().starts_with("p1/0") => Some(DiskError::Full),
        _ => None,
    }));
    for key in &keys {
        world.send(writer, &[b"SET", key, b"new"]);
    }
    let reply = world.call(client, &[b"MGET", &keys[0], &keys[1], &keys[2]]);
    assert_eq!(error_code(&reply), Some("DISKFULL"), "{reply:?}");
    assert!(format!("{reply:?}").contains("nothing was changed"), "{reply:?}");
}

#[test]
fn a_write_that_was_dropped_after_one_it_had_read_became_unknown_was_not_applied() {
    let (mut world, client, keys) = three();
    let writer = world.client();
    world.hold = true;
    world.settle();
    world.held.clear();
    world.send(writer, &[b"SET", &keys[0], b"new"]);
    world.settle();
    // It replaces a value whose write is in flight, and gathers for the next one.
    world.send(client, &[b"GETDEL", &keys[0]]);
    world.settle();
    while !matches!(world.held.front(), Some((_, DiskOp::Sync(_)))) {
        world.release_one().expect("an fsync is to come");
    }
    world.answer_one(Err(DiskError::Io(5)));
    let told = [writer, client].map(|client| world.reply(client).unwrap());
    assert_eq!(error_code(&told[0]), Some("UNKNOWN"));
    assert_eq!(error_code(&told[1]), Some("DOWN"), "{told:?}");
}

#[test]
fn what_is_read_uncommitted_in_one_partition_is_not_written_in_another() {
    let (_, _, [a, b, _]) = three();
    let copies: [&[Command<'_>]; 3] = [
        &[&[b"COPY", &a, &b, b"REPLACE"]],
        &[&[b"MULTI"], &[b"COPY", &a, &b, b"REPLACE"], &[b"EXEC"]],
        &[&[b"MULTI"], &[b"GET", &a], &[b"SET", &b, b"seen"], &[b"EXEC"]],
    ];
    for commands in copies {
        let (mut world, client, _) = three();
        let writer = world.client();
        world.hold = true;
        world.settle();
        world.held.clear();
        world.send(writer, &[b"SET", &a, b"refused"]);
        commands.iter().for_each(|command| world.send(client, command));
        world.settle();
        // The copy is durable, if there is one, before the disk is full for its source.
        while let Some((_, op)) = world.held.front() {
            match op {
                DiskOp::Write { file, .. } if file.to_string().starts_with("p0/0") => {
                    world.answer_one(Err(DiskError::Full));
                }
                _ => drop(world.release_one()),
            }
        }
        world.release_all();
        assert_eq!(error_code(&world.reply(writer).unwrap()), Some("DISKFULL"));
        let refused = |reply: &Reply| matches!(error_code(reply), Some("CROSSSLOT" | "EXECABORT"));
        let told: Vec<_> = commands.iter().map(|_| world.reply(client).unwrap()).collect();
        assert!(told.last().is_some_and(refused), "{told:?}");
        assert_eq!(world.get(client, &b), Some(b"v".to_vec()), "{told:?}");
    }
}

#[test]
fn the_keys_of_an_atomic_command_are_in_one_partition_whatever_they_hold() {
    let (mut world, client, [a, b, c]) = three();
    let mut near = [b"{", &a[..], b"}x"].concat();
    for _ in 0..2 {
        for name in ["COPY", "RENAME", "RENAMENX", "WATCH"] {
            let reply = world.call(client, &[name.as_bytes(), &a, &b]);
            assert_eq!(error_code(&reply), Some("CROSSSLOT"), "{name}: {reply:?}");
        }
        for name in ["MSET", "MSETNX"] {
            let reply = world.call(client, &[name.as_bytes(), &a, b"1", &b, b"2"]);
            assert_eq!(error_code(&reply), Some("CROSSSLOT"), "{name}: {reply:?}");
        }
        // Now with a key that is not there.
        assert_eq!(world.call(client, &[b"DEL", &a, &b]), Reply::Int(2));
        (0..2).for_each(|_| assert_eq!(world.get(client, &a), None));
        world.set(client, &b, b"v");
        world.set(client, &near, b"v");
        assert_eq!(world.call(client, &[b"RENAME", &near, &a]), Reply::OK, "these are together");
        near = [b"{", &a[..], b"}y"].concat();
    }
    for name in ["EXISTS", "TOUCH", "UNLINK"] {
        let reply = world.call(client, &[name.as_bytes(), &a, &b, &c]);
        assert_eq!(reply, Reply::Int(3), "{name} fans out");
    }
    let none = vec![Reply::Null; 2];
    assert_eq!(world.call(client, &[b"MGET", &a, &b]), Reply::Array(none));
}

#[test]
fn a_transaction_over_several_partitions_is_refused_and_ends() {
    let (mut world, client, [a, b, _]) = three();
    let seconds: [Command<'_>; 3] = [&[b"SET", &b, b"new"], &[b"GET", &b], &[b"MGET", &a, &b]];
    for second in seconds {
        assert_eq!(world.call(client, &[b"WATCH", &a]), Reply::OK);
        assert_eq!(world.call(client, &[b"MULTI"]), Reply::OK);
        let first: Command<'_> = &[b"SET", &a, b"new"];
        for command in [first, second] {
            assert_eq!(world.call(client, command), Reply::Simple("QUEUED"));
        }
        let done = world.call(client, &[b"EXEC"]);
        assert_eq!(error_code(&done), Some("CROSSSLOT"), "{done:?}");
        assert_eq!(world.get(client, &a), Some(b"v".to_vec()), "the transaction has ended");
    }
    // A command that can not be right is refused when it is queued.
    assert_eq!(world.call(client, &[b"MULTI"]), Reply::OK);
    let refused = world.call(client, &[b"COPY", &a, &b]);
    assert_eq!(error_code(&refused), Some("CROSSSLOT"), "{refused:?}");
    let done = world.call(client, &[b"EXEC"]);
    assert_eq!(error_code(&done), Some("EXECABORT"), "{done:?}");
    // What is of no key may be of all partitions.
    assert_eq!(world.call(client, &[b"MULTI"]), Reply::OK);
    let commands: [Command<'_>; 3] = [&[b"FLUSHALL"], &[b"SET", &a, b"new"], &[b"DBSIZE"]];
    commands.iter().for_each(|command| drop(world.call(client, command)));
    let done = world.call(client, &[b"EXEC"]);
    assert_eq!(done, Reply::Array(vec![Reply::OK, Reply::OK, Reply::Int(1)]));
    assert_eq!(world.call(client, &[b"DBSIZE"]), Reply::Int(1));
}
