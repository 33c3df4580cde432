//! What operators ask for at any node: done, refused, not done, or not known; and always answered.

use std::time::Duration;

use kvnode_core::cluster::Refusal;
use kvnode_core::cluster::controller::{Request, RequestError};
use kvnode_core::control::FoundingOptions;
use kvnode_core::limits::OPERATOR_REQUESTS_MAX;
use kvnode_core::{NodeId, PartitionId};

use crate::world::World;

/// Three nodes that are up, the controller, and another one.
fn started() -> (World, u32, u32) {
    let mut world = World::three();
    world.until("every node is active", World::is_whole);
    world.pass(Duration::from_secs(1));
    let controller = world.controller().unwrap();
    (world, controller, 1 + controller % 3)
}

/// To let another node lead the partition.
fn elsewhere(world: &World, controller: u32, id: PartitionId) -> Request {
    let leader = world.map(controller).partition(id).unwrap().leader.unwrap();
    Request::MoveLeader(id, NodeId(1 + leader.0 % 3))
}

fn cut(world: &mut World, from: u32, to: u32) {
    world.wires.cut.insert((NodeId(from), NodeId(to)));
}

#[test]
fn any_node_has_it_done_and_tells_what_the_map_refuses() {
    let (mut world, controller, _) = started();
    for id in 1..=3 {
        let partition = PartitionId(id - 1);
        let request = elsewhere(&world, controller, partition);
        let Request::MoveLeader(_, wanted) = request else { unreachable!() };
        let client = world.ask(id, request.clone());
        let (outcome, took) = world.answer(id, client);
        assert_eq!(outcome, Ok(()));
        assert!(took < Duration::from_millis(100), "{took:?}");
        assert_eq!(world.map(controller).partition(partition).unwrap().leader, Some(wanted));

        let client = world.ask(id, request);
        assert_eq!(world.answer(id, client).0, Err(RequestError::Refused(Refusal::Unchanged)));
        let client = world.ask(id, Request::ElectUnclean(partition, NodeId(1)));
        let (outcome, _) = world.answer(id, client);
        let why = [Refusal::CleanPossible, Refusal::Unchanged];
        assert!(why.map(|why| Err(RequestError::Refused(why))).contains(&outcome), "{outcome:?}");
        let client = world.ask(id, Request::Unregister(NodeId(2)));
        let refused = Err(RequestError::Refused(Refusal::NotFenced(NodeId(2))));
        assert_eq!(world.answer(id, client).0, refused);
    }
    let asked = world.nodes[&NodeId(controller)].notices.iter();
    assert!(asked.filter(|text| text.contains("an operator asks: move p")).count() >= 3);
}

#[test]
fn it_waits_for_the_next_controller() {
    let (mut world, controller, other) = started();
    world.kill(controller);
    let known = |world: &World| world.view(other).unwrap().quorum.controller;
    world.until("it is missed", |world| known(world).is_none());
    let client = world.ask(other, Request::SetFeature(1));
    let (outcome, _) = world.answer(other, client);
    assert_eq!(
        outcome,
        Err(RequestError::Refused(Refusal::LevelNotHigher)),
        "the next one says so"
    );
}

#[test]
fn without_a_controller_nothing_is_changed_and_that_is_said_in_time() {
    let (mut world, controller, other) = started();
    let third = 6 - controller - other;
    world.kill(controller);
    world.kill(third);
    world.pass(Duration::from_secs(3));
    let client = world.ask(other, Request::SetFeature(1));
    let (outcome, took) = world.answer(other, client);
    assert_eq!(outcome, Err(RequestError::NoController));
    assert!(took <= Duration::from_secs(5), "{took:?}");
}

#[test]
fn what_a_lost_controller_was_handed_is_unknown_at_once() {
    let (mut world, controller, other) = started();
    let third = 6 - controller - other;
    // It can have nothing committed, and its answer would come.
    cut(&mut world, controller, third);
    cut(&mut world, third, controller);
    cut(&mut world, controller, other);
    let request = elsewhere(&world, controller, PartitionId(0));
    let client = world.ask(other, request);
    world.pass(Duration::from_millis(50));
    world.kill(controller);
    let (outcome, took) = world.answer(other, client);
    assert_eq!(outcome, Err(RequestError::Unknown));
    assert!(took < Duration::from_secs(1), "the broken link tells: {took:?}");
}

#[test]
fn what_comes_too_late_to_be_told_is_unknown() {
    let (mut world, controller, other) = started();
    let request = elsewhere(&world, controller, PartitionId(0));
    let Request::MoveLeader(_, wanted) = request else { unreachable!() };
    // It is done, and the answer is lost.
    cut(&mut world, controller, other);
    let client = world.ask(other, request);
    let (outcome, took) = world.answer(other, client);
    assert_eq!(outcome, Err(RequestError::Unknown));
    assert!(took <= Duration::from_secs(5), "{took:?}");
    assert_eq!(world.map(controller).partition(PartitionId(0)).unwrap().leader, Some(wanted));
}

#[test]
fn a_controller_that_leaves_office_answers_what_it_was_asked() {
    let (mut world, controller, _) = started();
    let others: Vec<u32> = (1..=3).filter(|&id| id != controller).collect();
    for &other in &others {
        cut(&mut world, controller, other);
        cut(&mut world, other, controller);
    }
    // Until it notices that it hears of nobody.
    let mut clients = Vec::new();
    while world.view(controller).unwrap().quorum.controller.is_some() {
        let request = elsewhere(&world, controller, PartitionId(0));
        clients.push(world.ask(controller, request));
        world.pass(Duration::from_millis(100));
    }
    assert!(clients.len() > 3, "{clients:?}");
    for client in clients {
        let (outcome, took) = world.answer(controller, client);
        assert_eq!(outcome, Err(RequestError::Unknown));
        assert!(took < Duration::from_millis(100), "{took:?}");
    }
}

#[test]
fn a_node_that_stops_leaves_nobody_without_an_answer() {
    let (mut world, controller, other) = started();
    cut(&mut world, controller, other);
    let request = elsewhere(&world, controller, PartitionId(0));
    let client = world.ask(other, request);
    world.ask_to_stop(other);
    let (outcome, _) = world.answer(other, client);
    assert_eq!(outcome, Err(RequestError::Unknown));
}

#[test]
fn only_so_many_are_held() {
    let (mut world, controller, other) = started();
    world.kill(controller);
    let client = |world: &mut World| world.ask(other, Request::SetFeature(1));
    let held: Vec<_> = (0..OPERATOR_REQUESTS_MAX).map(|_| client(&mut world)).collect();
    let refused = client(&mut world);
    let (outcome, took) = world.answer(other, refused);
    assert_eq!((outcome, took), (Err(RequestError::TooMany), Duration::ZERO));
    for client in held {
        assert!(world.answer(other, client).1 <= Duration::from_secs(5));
    }
}

#[test]
fn a_node_that_does_not_come_back_is_taken_out_and_another_one_votes() {
    let options = FoundingOptions { partitions: 2, replication_factor: 3, min_isr: 2 };
    let mut world = World::new(&[1, 2, 3, 4], options);
    (1..=4).for_each(|id| world.start(id));
    world.until("every node is active", World::is_whole);
    world.kill(3);
    let active = |world: &World| world.map(1).node(NodeId(3)).unwrap().is_active();
    world.until("it is fenced", |world| world.is_whole() && !active(world));
    world.pass(Duration::from_secs(1));

    let forget = Request::Unregister(NodeId(3));
    for partition in [PartitionId(0), PartitionId(1)] {
        let mut replicas = world.map(1).partition(partition).unwrap().replicas.clone();
        if replicas.contains(&NodeId(3)) {
            let client = world.ask(4, forget.clone());
            let refused = Err(RequestError::Refused(Refusal::HoldsReplicas(NodeId(3))));
            assert_eq!(world.answer(4, client).0, refused);
            let other = (1..=4).map(NodeId).find(|id| !replicas.contains(id)).unwrap();
            replicas.iter_mut().filter(|id| id.0 == 3).for_each(|id| *id = other);
            let client = world.ask(4, Request::Reassign(partition, replicas));
            assert_eq!(world.answer(4, client).0, Ok(()));
        }
    }
    let client = world.ask(4, forget);
    assert_eq!(world.answer(4, client).0, Ok(()));
    let voters = |world: &World, id| -> Vec<u32> {
        world.view(id).unwrap().quorum.voters.iter().map(|voter| voter.node.0).collect()
    };
    world.until("another one votes", |world| voters(world, 2) == [1, 2, 4]);
    // It may come back, as a new start of its own, and does not vote.
    world.start(3);
    world.until("it is back", |world| world.map(1).node(NodeId(3)).is_some() && world.is_whole());
    assert_eq!(voters(&world, 3), [1, 2, 4]);
}
