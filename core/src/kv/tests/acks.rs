//! WAIT and WAITAOF: what they ask for, and what they refuse.

use alloc::vec::Vec;

use super::world::{World, split};
use crate::kv::{Acked, Acks, Stop};
use crate::reply::Reply;
use crate::shard::FsyncMode;

fn wants(world: &mut World, line: &str) -> Acks {
    let args = split(line);
    let args: Vec<&[u8]> = args.iter().map(|arg| &**arg).collect();
    match world.evaluate(&args) {
        Err(Stop::Acks(wants)) => wants,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn arguments_are_refused_in_the_words_of_redis() {
    let mut world = World::new();
    world.story(
        "
        WAIT -> -ERR wrong number of arguments for 'wait' command
        WAIT 1 -> -ERR wrong number of arguments for 'wait' command
        WAIT x 0 -> -ERR value is not an integer or out of range
        WAIT 9223372036854775808 1 -> -ERR value is not an integer or out of range
        WAIT x -1 -> -ERR value is not an integer or out of range
        WAIT 1 -1 -> -ERR timeout is negative
        WAIT 1 x -> -ERR timeout is not an integer or out of range
        WAIT 1 1.5 -> -ERR timeout is not an integer or out of range
        WAIT 2 9223372036854775808 -> -ERR timeout is not an integer or out of range
        WAIT 2 9223372036854775807 -> -ERR timeout is out of range
        WAITAOF 1 1 -> -ERR wrong number of arguments for 'waitaof' command
        WAITAOF x 0 0 -> -ERR value is not an integer or out of range
        WAITAOF 2 0 0 -> -ERR value is out of range, value must between 0 and 1
        WAITAOF -1 0 0 -> -ERR value is out of range, value must between 0 and 1
        WAITAOF 0 -1 0 -> -ERR value is out of range, must be positive
        WAITAOF 0 x 0 -> -ERR value is out of range, must be positive
        WAITAOF 0 0 -1 -> -ERR timeout is negative
        ",
    );
    world.view.fsync = Some(FsyncMode::Never);
    world.story(
        "
        WAITAOF 1 0 10 -> -ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.
        ",
    );
    for fsync in [FsyncMode::Never, FsyncMode::EveryMs(10)] {
        world.view.fsync = Some(fsync);
        let told = world.run("WAITAOF 0 1 10");
        assert!(told.starts_with("-ERR WAITAOF numreplicas needs --fsync always"), "{told}");
    }
}

#[test]
fn what_is_asked_for_is_told_to_whoever_counts() {
    let mut world = World::new();
    let asked = wants(&mut world, "WAIT 2 100");
    assert_eq!(asked, Acks { local: None, replicas: 2, timeout_ms: 100, fsynced: true });
    let acked = |local, replicas| Acked { local, replicas, lost: false };
    assert!(asked.are_met(acked(false, 2)) && !asked.are_met(acked(true, 1)));
    assert_eq!(asked.reply(acked(true, 1)), Reply::Int(1));
    assert!(wants(&mut world, "WAIT -5 0").are_met(acked(false, 0)));
    let asked = wants(&mut world, "WAITAOF 1 1 0");
    assert_eq!(asked, Acks { local: Some(true), replicas: 1, timeout_ms: 0, fsynced: true });
    assert!(asked.are_met(acked(true, 3)) && !asked.are_met(acked(false, 3)));
    assert!(asked.are_met(Acked { lost: true, ..Acked::default() }), "nobody waits in vain");
    let relaxed = Acks { fsynced: false, ..asked };
    let zero = Reply::Array([Reply::Int(1), Reply::Int(0)].into());
    assert_eq!(relaxed.reply(acked(true, 3)), zero, "they have merely written");
    let told = asked.reply(acked(false, 3));
    assert_eq!(told, Reply::Array([Reply::Int(0), Reply::Int(3)].into()));
    assert!(wants(&mut world, "WAITAOF 0 0 0").are_met(acked(false, 0)));
}

#[test]
fn nothing_in_a_transaction_waits() {
    let mut world = World::new();
    world.view.acked = Acked { local: true, replicas: 1, lost: false };
    world.story(
        "
        MULTI -> +OK
        WAIT 5 0 -> +QUEUED
        WAITAOF 1 5 0 -> +QUEUED
        EXEC -> *[:1, *[:1, :1]]
        ",
    );
}
