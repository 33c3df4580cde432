//! Reading sealed segments through: damage is found without being asked for.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

mod world;

use std::time::Duration;

use kvnode_core::ClientId;
use kvnode_core::marks::Mark;
use world::{SCRUB, Setup, World, error_code};

/// A world with several sealed segments, and how many bytes they have.
fn filled(setup: Setup) -> (World, ClientId, u64) {
    let mut world = World::fresh(setup);
    let client = world.client();
    for n in 0..60u8 {
        world.set(client, &[b'k', n], &[n; 60]);
    }
    let sealed = world.disk.segments();
    let (_, sealed) = sealed.split_last().unwrap();
    let bytes = sealed.iter().map(|name| world.disk.bytes(name).len() as u64).sum();
    assert!(sealed.len() >= 3);
    (world, client, bytes)
}

fn setup(merge: bool) -> Setup {
    Setup { segment_bytes: 1000, zero_ahead_bytes: 0, merge, scrub: true, ..Setup::default() }
}

fn scrubbed(world: &mut World, client: ClientId) -> u64 {
    info(world, client, "scrubbed_bytes")
}

fn info(world: &mut World, client: ClientId, name: &str) -> u64 {
    let reply = format!("{:?}", world.call(client, &[b"INFO", b"persistence"]));
    let at = reply.find(&format!("{name}:")).unwrap() + name.len() + 1;
    reply[at..].chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[test]
fn every_round_reads_every_sealed_segment_once() {
    let (mut world, client, bytes) = filled(setup(false));
    // A round may have begun when there was less.
    world.pass(SCRUB.every * 2);
    let before = scrubbed(&mut world, client);
    world.pass(SCRUB.every * 10);
    let read = scrubbed(&mut world, client) - before;
    assert_eq!(read % bytes, 0);
    assert!((9..=10).contains(&(read / bytes)), "{read} of {bytes} each round");
    assert_eq!(info(&mut world, client, "read_faults"), 0);
    assert!(!world.shard.marks().has(Mark::ScrubFoundDamage));
}

#[test]
fn damage_anywhere_in_a_sealed_segment_is_found_and_told_once() {
    let (world, _, _) = filled(setup(false));
    let name = world.disk.segments()[1].clone();
    let bytes = world.disk.bytes(&name).len();
    for at in (0..bytes).step_by(7) {
        let (mut world, client, _) = filled(setup(false));
        world.disk.edit(&name, |bytes| bytes[at] ^= 0x10);
        world.pass(SCRUB.every * 3);
        let told = world.notices.iter().filter(|text| text.contains(&name)).count();
        assert_eq!((told, info(&mut world, client, "read_faults")), (1, 1), "byte {at}");
        assert!(world.shard.marks().has(Mark::ScrubFoundDamage));
    }
}

#[test]
fn a_segment_that_ends_early_is_damage() {
    let (mut world, client, _) = filled(setup(false));
    let name = world.disk.segments()[1].clone();
    world.disk.edit(&name, |bytes| bytes.truncate(bytes.len() - 90));
    world.pass(SCRUB.every * 3);
    assert_eq!(info(&mut world, client, "read_faults"), 1, "{:?}", world.notices);
}

#[test]
fn what_compaction_takes_away_meanwhile_is_no_damage() {
    let (mut world, client, _) = filled(setup(true));
    for round in 0..20u8 {
        for n in 0..60u8 {
            world.set(client, &[b'k', n], &[round; 60]);
        }
        world.pass(Duration::from_secs(7));
    }
    assert!(world.shard.marks().has(Mark::Merged) && world.shard.marks().has(Mark::Scrubbed));
    assert_eq!(info(&mut world, client, "read_faults"), 0, "{:?}", world.notices);
}

#[test]
fn a_node_that_stands_alone_goes_on_with_what_is_sound() {
    let (mut world, client, _) = filled(setup(false));
    let name = world.disk.segments()[1].clone();
    world.disk.edit(&name, |bytes| {
        let at = bytes.windows(2).position(|pair| pair[0] == b'k' && pair[1] < 60).unwrap();
        bytes[at + 10] ^= 1;
    });
    world.pass(SCRUB.every * 3);
    let answers: Vec<_> = (0..60u8).map(|n| world.call(client, &[b"GET", &[b'k', n]])).collect();
    let bad = answers.iter().filter(|reply| error_code(reply) == Some("CORRUPT")).count();
    assert_eq!(bad, 1);
    world.set(client, b"new", b"value");
}
