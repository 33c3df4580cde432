//! What a stop leaves behind, with an fsync that is not waited for; and what is told of a log that is gone.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kvnode_core::cluster::Map;
use kvnode_core::control::FoundingOptions;
use kvnode_core::disk::{Dir, DiskError, DiskOp, File};
use kvnode_core::reply::Reply;
use kvnode_core::shard::FsyncMode;
use kvnode_core::{NodeId, PartitionId};

use crate::key;
use crate::world::{Setup, World};

const MARK: &str = "UNSYNCED";

fn relaxed() -> World {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let mut world = World::new(Setup { founding, fsync: FsyncMode::Never, ..Setup::default() });
    let at = world.connect(1);
    for n in 0..50 {
        assert_eq!(world.call(at, &["SET", &key(n), "1"]), Reply::OK);
    }
    world
}

fn is_marked(world: &World, id: u32) -> bool {
    world.disk_of(id).names().iter().any(|name| name == MARK)
}

fn stop(world: &mut World, id: u32) {
    world.ask_to_stop(id);
    world.until("it has stopped", |world| world.nodes[&NodeId(id)].stopped);
}

fn start_all(world: &mut World) {
    (1..=3).for_each(|id| world.start(id));
    world.until("they serve", World::is_whole);
}

/// Whether `kvnode status` says that acknowledged writes may be missing.
fn is_doubted(world: &World) -> bool {
    world.map(1).partition(PartitionId(0)).is_some_and(|held| held.doubt.is_some())
}

fn has_all(world: &mut World) -> bool {
    let at = world.connect(2);
    (0..50).all(|n| world.call(at, &["GET", &key(n)]) == Reply::bulk(b"1"))
}

#[test]
fn a_cluster_that_was_stopped_comes_back_without_a_doubt() {
    let mut world = relaxed();
    for _ in 0..2 {
        for id in 1..=3 {
            assert!(is_marked(&world, id));
            stop(&mut world, id);
            assert!(!is_marked(&world, id), "n{id} has made everything durable");
        }
        (1..=3).for_each(|id| world.lose_power(id));
        start_all(&mut world);
        assert!(!is_doubted(&world) && has_all(&mut world));
    }
}

#[test]
fn the_last_one_that_was_not_stopped_is_doubted_whatever_its_mode_is_now() {
    for fsync in [FsyncMode::Never, FsyncMode::Always] {
        let mut world = relaxed();
        stop(&mut world, 1);
        stop(&mut world, 2);
        world.lose_power(3);
        world.setup.fsync = fsync;
        start_all(&mut world);
        assert!(is_doubted(&world), "{fsync:?}");
        // The map knows, and what was acknowledged since is durable by the stop.
        stop(&mut world, 3);
        assert!(!is_marked(&world, 3));
    }
}

#[test]
fn a_process_that_did_not_get_so_far_leaves_the_doubt_to_the_next() {
    let mut world = relaxed();
    (1..=3).for_each(|id| world.lose_power(id));
    // It finds nobody, and stops.
    world.start(3);
    world.pass(Duration::from_secs(2));
    stop(&mut world, 3);
    assert!(is_marked(&world, 3));
    start_all(&mut world);
    assert!(is_doubted(&world));
}

#[test]
fn a_mark_that_can_not_be_taken_away_is_no_harm() {
    let mut world = relaxed();
    world.disk(2).fault = Some(Box::new(|op| {
        matches!(op, DiskOp::Delete(File::Unsynced)).then_some(DiskError::Io(5))
    }));
    for id in 1..=3 {
        stop(&mut world, id);
    }
    assert!(is_marked(&world, 2));
    let notices = &world.nodes[&NodeId(2)].notices;
    assert!(
        notices.iter().any(|n| n.contains("may count as one after an unclean")),
        "{notices:#?}"
    );
    world.disk(2).fault = None;
    start_all(&mut world);
    assert!(has_all(&mut world));
}

/// One partition on two nodes, with the acknowledged keys, and who leads and follows.
fn two_replicas() -> (World, u32, u32) {
    two_replicas_of(FsyncMode::Never)
}

fn two_replicas_of(fsync: FsyncMode) -> (World, u32, u32) {
    let founding = FoundingOptions { partitions: 1, replication_factor: 2, min_isr: 1 };
    two_replicas_in(Setup { founding, fsync, ..Setup::default() })
}

fn two_replicas_in(setup: Setup) -> (World, u32, u32) {
    let mut world = World::new(setup);
    let at = world.connect(1);
    for n in 0..50 {
        assert_eq!(world.call(at, &["SET", &key(n), "1"]), Reply::OK);
    }
    let leader = world.leader(0).unwrap();
    let held = world.map(leader).partition(PartitionId(0)).unwrap();
    let follower = held.replicas.iter().map(|node| node.0).find(|&id| id != leader).unwrap();
    (world, leader, follower)
}

/// What is there of the acknowledged keys, and whether somebody says that some may be missing.
fn left(world: &mut World, leader: u32) -> (usize, bool) {
    world.until("it leads", |world| world.leader(0) == Some(leader));
    let doubt = world.map(leader).partition(PartitionId(0)).unwrap().doubt.is_some();
    let at = world.connect(leader);
    let is_there = |&n: &u32| world.call(at, &["GET", &key(n)]) == Reply::bulk(b"1");
    ((0..50).filter(is_there).count(), doubt)
}

/// Nothing of the log is there, and the other replica is not: the partition waits for it. What is then
/// there of the acknowledged keys, and whether somebody says that some may be missing.
fn left_by_the_other(world: &mut World) -> (usize, bool) {
    let gone =
        |notice: &String| notice.starts_with("p0: the log of its last replica in sync is gone");
    let is_said = |world: &World| world.nodes.values().any(|node| node.notices.iter().any(gone));
    world.until("it is said", is_said);
    world.pass(Duration::from_secs(40));
    let running = world.nodes.iter().find(|(_, node)| node.process.is_some()).unwrap();
    let id = running.0.0;
    assert_eq!(world.map(id).partition(PartitionId(0)).unwrap().leader, None);
    start_all(world);
    let leader = world.leader(0).unwrap();
    left(world, leader)
}

/// Two replicas of which one is alone in sync, and stopped.
fn last_in_sync() -> (World, u32) {
    let (mut world, leader, follower) = two_replicas_of(FsyncMode::Always);
    // Whoever is stopped leaves the in-sync set: the other has all alone.
    stop(&mut world, follower);
    stop(&mut world, leader);
    assert!(!is_marked(&world, leader), "what is fsynced at once needs no mark");
    (world, leader)
}

/// The first segment of the partition can not be made, and that shows.
fn fail_to_begin(world: &mut World, id: u32) -> Rc<Cell<bool>> {
    let failed = Rc::new(Cell::new(false));
    let fails = Rc::clone(&failed);
    world.disk(id).fault = Some(Box::new(move |op| {
        let first = matches!(op, DiskOp::Create(File::Segment(id, ..)) if id.0 == 0);
        fails.set(fails.get() || first);
        first.then_some(DiskError::Io(5))
    }));
    failed
}

#[test]
fn a_log_that_is_gone_is_told_of_by_the_process_after_the_one_that_began_another() {
    let (mut world, leader) = last_in_sync();
    world.disk(leader).remove_dir("p0");
    let failed = fail_to_begin(&mut world, leader);
    world.start(leader);
    world.until("it fails", |_| failed.get());
    world.kill(leader);
    world.disk(leader).fault = None;
    start_all(&mut world);
    assert!(is_doubted(&world));
    // The map knows.
    stop(&mut world, leader);
    assert!(!is_marked(&world, leader));
}

#[test]
fn the_mark_of_a_log_that_is_gone_goes_with_the_process_that_told_of_it() {
    let (mut world, leader) = last_in_sync();
    world.disk(leader).remove_dir("p0");
    start_all(&mut world);
    assert!(is_marked(&world, leader) && is_doubted(&world));
    stop(&mut world, leader);
    assert!(!is_marked(&world, leader));
}

#[test]
fn an_emptied_directory_is_a_log_that_is_gone() {
    let (mut world, leader) = last_in_sync();
    world.disk(leader).remove_dir("p0");
    world.disk(leader).run(DiskOp::CreateDir(Dir::Partition(PartitionId(0)))).unwrap();
    world.start(leader);
    assert_eq!(left_by_the_other(&mut world), (50, true));
    let notices = &world.nodes[&NodeId(leader)].notices;
    assert!(notices.iter().any(|n| n.starts_with("p0: its log is gone")), "{notices:#?}");
}

#[test]
fn a_directory_that_is_made_and_said_not_to_be_hides_no_loss() {
    let (mut world, leader) = last_in_sync();
    world.disk(leader).remove_dir("p0");
    let dir = Dir::Partition(PartitionId(0));
    let failed = Rc::new(Cell::new(false));
    let fails = Rc::clone(&failed);
    world.disk(leader).fault = Some(Box::new(move |op| {
        let makes = *op == DiskOp::CreateDir(dir) && !fails.replace(true);
        makes.then_some(DiskError::Io(5))
    }));
    world.start(leader);
    world.until("it fails", |_| failed.get());
    world.disk(leader).run(DiskOp::CreateDir(dir)).unwrap();
    assert_eq!(left_by_the_other(&mut world), (50, true));
    stop(&mut world, leader);
    assert!(!is_marked(&world, leader));
}

#[test]
fn a_log_that_goes_under_a_process_is_told_of_by_the_next() {
    let (mut world, leader, follower) = two_replicas_of(FsyncMode::Always);
    stop(&mut world, follower);
    let mut is_down = false;
    world.disk(leader).fault = Some(Box::new(move |op| {
        let write = matches!(op, DiskOp::Write { file: File::Segment(id, ..), .. } if id.0 == 0);
        (write && !std::mem::replace(&mut is_down, true)).then_some(DiskError::Io(5))
    }));
    let at = world.connect(leader);
    world.send(at, &[b"SET", b"x", b"2"]);
    world.until("it is down", |world| world.replica(leader, 0).is_some_and(|r| !r.open));
    world.disk(leader).remove_dir("p0");
    let failed = fail_to_begin(&mut world, leader);
    world.until("it fails", |_| failed.get());
    world.kill(leader);
    world.disk(leader).fault = None;
    world.start(leader);
    assert_eq!(left_by_the_other(&mut world), (50, true));
}

/// Whether the node's own snapshot of the map shows it as a replica that is not in sync.
fn snapshot_lacks_seat(world: &World, id: u32) -> bool {
    let process = world.nodes[&NodeId(id)].process.as_ref().unwrap();
    let raft = process.control.as_ref().unwrap().raft().unwrap();
    let map = Map::decode(&raft.snapshot().data).unwrap();
    map.partition(PartitionId(0))
        .is_some_and(|p| p.replicas.contains(&NodeId(id)) && p.seat(NodeId(id)).is_none())
}

#[test]
fn a_map_of_long_ago_hides_no_loss() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 2, min_isr: 1 };
    let setup = Setup { founding, snapshot_every: 25, ..Setup::default() };
    let (mut world, leader, follower) = two_replicas_in(setup);
    let third = (1..=3).find(|&id| id != leader && id != follower).unwrap();
    // While it is away a snapshot is taken in which it is out of sync.
    world.kill(follower);
    world.pass(Duration::from_secs(3));
    for _ in 0..12 {
        world.kill(third);
        world.pass(Duration::from_secs(3));
        world.start(third);
        world.pass(Duration::from_secs(3));
    }
    world.start(follower);
    world.until("they serve", World::is_whole);
    stop(&mut world, leader);
    assert_eq!(left(&mut world, follower), (50, false));
    assert!(snapshot_lacks_seat(&world, follower), "the test wants such a snapshot");
    stop(&mut world, follower);
    world.disk(follower).remove_dir("p0");
    world.start(follower);
    assert_eq!(left_by_the_other(&mut world), (50, true));
}

/// The follower's replica goes down on a failed write, and what it had not fsynced goes with it. The
/// disk says of an operation whether it fails besides.
fn lose_tail(
    world: &mut World,
    (leader, follower): (u32, u32),
    mut fails: impl FnMut(&DiskOp) -> bool + 'static,
) {
    let mut failed = false;
    world.disk(follower).fault = Some(Box::new(move |op| {
        let write = matches!(op, DiskOp::Write { file: File::Segment(id, ..), .. } if id.0 == 0);
        let now = write && !std::mem::replace(&mut failed, true);
        (now || fails(op)).then_some(DiskError::Io(5))
    }));
    let at = world.connect(leader);
    world.send(at, &[b"SET", b"x", b"2"]);
    world.until("it is down", |world| world.replica(follower, 0).is_some_and(|r| !r.open));
    let wanted = key(25);
    let mut segments = world.disk(follower).segments().into_iter();
    let last = segments.rfind(|name| name.starts_with("p0/")).unwrap();
    world.disk(follower).edit(&last, |bytes| {
        let at = bytes.windows(wanted.len()).position(|w| w == wanted.as_bytes()).unwrap();
        bytes[at..].fill(0);
    });
    world.kill(leader);
}

/// It leads, and says that acknowledged writes may be missing.
fn leads_in_doubt(world: &mut World, id: u32) {
    world.until("it leads", |world| world.leader(0) == Some(id));
    assert!(world.map(id).partition(PartitionId(0)).unwrap().doubt.is_some());
}

#[test]
fn what_is_found_lost_when_control_is_gone_is_told_by_the_next_process() {
    let (mut world, leader, follower) = two_replicas();
    world.stalled = Some(follower);
    lose_tail(&mut world, (leader, follower), |_| false);
    world.until("it opens", |world| !world.held.is_empty());
    world.ask_to_stop(follower);
    world.pass(Duration::from_secs(4));
    assert!(!world.nodes[&NodeId(follower)].stopped);
    world.unstall();
    world.until("it has stopped", |world| world.nodes[&NodeId(follower)].stopped);
    assert!(is_marked(&world, follower));
    world.start(follower);
    leads_in_doubt(&mut world, follower);
}

#[test]
fn what_is_found_lost_and_could_not_be_told_is_told_by_the_next_process() {
    let (mut world, leader, follower) = two_replicas();
    let third = (1..=3).find(|&id| id != leader && id != follower).unwrap();
    let mut reread = false;
    lose_tail(&mut world, (leader, follower), move |op| {
        let sync = matches!(op, DiskOp::Sync(File::Segment(PartitionId::CONTROL, ..)));
        sync && !std::mem::replace(&mut reread, true)
    });
    world.until("the control log is read again", |world| {
        world.nodes[&NodeId(follower)].notices.iter().any(|n| n.contains("an fsync failed"))
    });
    world.kill(third);
    world.pass(Duration::from_secs(3));
    stop(&mut world, follower);
    assert!(is_marked(&world, follower));
    world.start(third);
    world.start(follower);
    // It waits for who has everything.
    world.pass(Duration::from_secs(20));
    assert_ne!(world.leader(0), Some(follower));
    world.start(leader);
    world.until("they serve", World::is_whole);
    assert!(has_all(&mut world));
}

/// What was to be said to the dead node came back for ever, and a stop waits until all is said.
#[test]
fn a_client_that_leaves_behind_a_dead_node_it_had_asked_holds_up_no_stop() {
    let founding = FoundingOptions { partitions: 1, replication_factor: 3, min_isr: 2 };
    let mut world = World::new(Setup { founding, ..Setup::default() });
    let leader = world.leader(0).unwrap();
    let asked = 1 + leader % 3;
    let client = world.connect(asked);
    assert_eq!(world.call(client, &["SET", "k", "v"]), Reply::OK);
    world.kill(leader);
    world.until("another leads", |world| world.leader(0).is_some_and(|now| now != leader));
    world.pass(Duration::from_secs(1));
    world.disconnect(client);
    world.pass(Duration::from_millis(100));
    world.ask_to_stop(asked);
    let took = world.until("it has stopped", |world| world.nodes[&NodeId(asked)].stopped);
    assert!(took < Duration::from_secs(1), "{took:?}");
}
