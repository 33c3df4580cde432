//! How long things take in a quorum without faults but one.

use kvnode_core::election::{Input, Role, Settings};

use super::world::{World, ms};

/// A quorum with a settled leader, which is returned.
fn settled(seed: u64) -> (World, u32) {
    let mut world = World::new(3, 3, Settings::default(), seed);
    world.run_until(ms(2_000), |w| w.leader().is_some_and(|id| w.raft(id).is_settled_leader()));
    world.run(ms(200));
    let leader = world.leader().unwrap();
    (world, leader)
}

#[test]
fn a_killed_leader_is_replaced_in_well_under_a_second() {
    let mut times = Vec::new();
    for seed in 0..200 {
        let (mut world, leader) = settled(seed);
        world.crash(leader, 0);
        let other = |w: &World| w.leader().is_some_and(|id| w.raft(id).is_settled_leader());
        times.push(world.run_until(ms(1_000), other));
    }
    times.sort();
    println!("median {:?}, 99 % {:?}, longest {:?}", times[100], times[197], times[199]);
    assert!(times[100] <= ms(60), "the median is about a heartbeat");
}

#[test]
fn a_silent_leader_is_replaced_after_an_election_timeout() {
    for seed in 0..50 {
        let (mut world, leader) = settled(seed);
        for other in world.others(leader) {
            world.cut(leader, other);
            world.cut(other, leader);
        }
        let time = world.run_until(ms(2_500), |w| {
            w.leader().is_some_and(|id| id != leader && w.raft(id).is_settled_leader())
        });
        assert!(time >= ms(200), "nobody is suspected before");
        world.run_until(ms(1_000), |w| w.raft(leader).role() != Role::Leader);
    }
}

#[test]
fn one_broken_link_unseats_nobody() {
    for seed in 0..50 {
        let (mut world, leader) = settled(seed);
        let term = world.raft(leader).term();
        let other = world.others(leader)[0];
        world.cut(leader, other);
        world.cut(other, leader);
        world.unlink(leader, other);
        world.run(ms(3_000));
        assert_eq!((world.leader(), world.raft(leader).term()), (Some(leader), term));
        assert_eq!(world.raft(other).role(), Role::PreCandidate);
        assert_eq!(world.raft(other).term(), term, "a question changes no term");
        world.cuts.clear();
        world.link(leader, other);
        world.run(ms(100));
        assert_eq!((world.leader(), world.raft(leader).term()), (Some(leader), term));
        assert_eq!(world.raft(other).role(), Role::Follower);
    }
}

#[test]
fn a_lone_voter_leads_at_once() {
    let mut world = World::new(1, 1, Settings::default(), 0);
    let time = world.run_until(ms(100), |w| w.leader().is_some());
    assert!(time <= ms(2), "one write");
}

#[test]
fn five_members_elect_over_a_slow_disk() {
    for seed in 0..20 {
        let mut world = World::new(5, 5, Settings::default(), seed);
        world.faults.write_us = (300_000, 400_000);
        world.run_until(ms(10_000), |w| w.leader().is_some());
    }
}

#[test]
fn a_stalled_disk_of_a_follower_does_not_unseat_the_leader() {
    let (mut world, leader) = settled(3);
    let other = world.others(leader)[0];
    world.node(other).disk.stalled = true;
    world.propose(leader, b"a").unwrap();
    world.run(ms(3_000));
    assert_eq!(world.leader(), Some(leader));
    assert_eq!(world.raft(other).role(), Role::Follower);
    assert_eq!(world.raft(other).commit(), world.raft(leader).commit());
}

#[test]
fn ticks_before_the_deadline_do_nothing() {
    let (mut world, leader) = settled(0);
    let follower = world.others(leader)[0];
    world.handle(follower, Input::Tick);
    let before = world.raft(follower).clone();
    for _ in 0..10 {
        world.handle(follower, Input::Tick);
    }
    assert_eq!(&before, world.raft(follower));
}
