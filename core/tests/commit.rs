//! When a reply may leave: exact effects, in order.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail at what it does not expect"
)]

mod world;

use kvnode_core::disk::{Dir, DiskError, DiskOp, File};
use kvnode_core::reply::Reply;
use kvnode_core::shard::FsyncMode;
use kvnode_core::{Value, slot};
use world::disk::Unsynced;
use world::{MemDisk, Setup, World, error_code};

fn bulk(bytes: &[u8]) -> Reply {
    Reply::Bulk(Value::copy_from(bytes))
}

fn held(world: &World) -> Vec<&'static str> {
    world
        .held
        .iter()
        .map(|(_, op)| match op {
            DiskOp::Write { file, .. } if file.to_string().ends_with("MARK") => "mark",
            DiskOp::Write { .. } => "write",
            DiskOp::WriteZeros { .. } => "zeros",
            DiskOp::Sync(_) => "sync",
            DiskOp::Read { .. } => "read",
            other => panic!("unexpected {other:?}"),
        })
        .collect()
}

#[test]
fn a_reply_waits_for_the_fsync() {
    let mut world = World::fresh(Setup { zero_ahead_bytes: 0, ..Setup::default() });
    let c = world.client();
    world.hold = true;
    world.send(c, &[b"SET", b"k", b"v"]);
    world.settle();
    assert_eq!(held(&world), ["write", "sync"]);
    world.release_one();
    assert_eq!(world.reply(c), None, "not before the fsync is back");
    world.release_one();
    assert_eq!(world.reply(c), Some(Reply::OK));
    assert_eq!(held(&world), ["mark"]);
}

#[test]
fn a_reply_waits_for_the_write_alone_when_fsync_is_relaxed() {
    let setup = Setup { fsync: FsyncMode::Never, zero_ahead_bytes: 0, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    world.hold = true;
    world.send(c, &[b"SET", b"k", b"v"]);
    world.settle();
    assert_eq!(held(&world), ["write"]);
    world.release_one();
    assert_eq!(world.reply(c), Some(Reply::OK));
}

#[test]
fn a_fsync_every_so_often_follows_on_its_own() {
    let setup = Setup { fsync: FsyncMode::EveryMs(50), ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    world.disk.keep_log = true;
    world.set(c, b"k", b"v");
    let syncs = |w: &World| w.disk.log.iter().filter(|op| matches!(op, DiskOp::Sync(_))).count();
    assert_eq!(syncs(&world), 0);
    world.pass(std::time::Duration::from_millis(51));
    assert_eq!(syncs(&world), 1);
    world.pass(std::time::Duration::from_secs(1));
    assert_eq!(syncs(&world), 1, "nothing new was written");
}

#[test]
fn what_comes_while_a_write_is_in_flight_goes_out_together() {
    let mut world = World::fresh(Setup::default());
    let clients: Vec<_> = (0..3).map(|_| world.client()).collect();
    world.hold = true;
    world.send(clients[0], &[b"SET", b"a", b"1"]);
    world.settle();
    let first = held(&world).len();
    world.send(clients[1], &[b"SET", b"b", b"2"]);
    world.send(clients[2], &[b"SET", b"c", b"3"]);
    world.settle();
    assert_eq!(held(&world).len(), first, "one write is in flight at a time");
    for _ in 0..first {
        world.release_one();
    }
    assert_eq!(world.reply(clients[0]), Some(Reply::OK));
    let writes = held(&world).iter().filter(|op| **op == "write").count();
    assert_eq!(writes, 1, "both in one write: {:?}", held(&world));
    world.release_all();
    assert_eq!(world.reply(clients[1]), Some(Reply::OK));
    assert_eq!(world.reply(clients[2]), Some(Reply::OK));
}

#[test]
fn a_read_of_an_uncommitted_write_waits_for_its_commit() {
    let mut world = World::fresh(Setup::default());
    let (a, b, c) = (world.client(), world.client(), world.client());
    world.set(a, b"other", b"x");
    world.hold = true;
    world.send(a, &[b"SET", b"k", b"v"]);
    world.send(b, &[b"GET", b"k"]);
    world.send(c, &[b"STRLEN", b"other"]);
    world.settle();
    assert_eq!(world.reply(b), None, "k's value is not committed");
    assert_eq!(world.reply(c), Some(Reply::Int(1)), "other keys go on");
    world.release_all();
    assert_eq!(world.reply(b), Some(bulk(b"v")));
}

#[test]
fn replies_leave_in_the_order_of_the_commands() {
    let mut world = World::fresh(Setup::default());
    let c = world.client();
    world.hold = true;
    world.send(c, &[b"SET", b"k", b"v"]);
    world.send(c, &[b"PING"]);
    world.settle();
    assert_eq!(world.reply(c), None, "PING's answer stays behind SET's");
    world.release_all();
    assert_eq!(world.reply(c), Some(Reply::OK));
    assert_eq!(world.reply(c), Some(Reply::Simple("PONG")));
}

#[test]
fn a_command_that_waits_for_a_read_holds_its_client_and_nobody_else() {
    let mut world = World::fresh(Setup::default());
    let (a, b) = (world.client(), world.client());
    world.set(a, b"k", b"v");
    world.hold = true;
    world.settle();
    world.held.clear();
    world.send(a, &[b"APPEND", b"k", b"w"]);
    world.settle();
    assert_eq!(held(&world), ["read"]);
    assert!(!world.shard.accepts(a));
    world.send(b, &[b"SET", b"k", b"new"]);
    world.release_all();
    assert_eq!(world.reply(b), Some(Reply::OK));
    assert_eq!(world.reply(a), Some(Reply::Int(4)), "evaluated anew, after b's write");
    assert_eq!(world.get(b, b"k"), Some(b"neww".to_vec()));
}

#[test]
fn a_failed_fsync_is_never_asked_again_and_the_outcome_is_said_to_be_unknown() {
    let mut world = World::fresh(Setup::default());
    let (a, b, reader) = (world.client(), world.client(), world.client());
    world.set(a, b"k", b"old");
    world.hold = true;
    world.settle();
    world.held.clear();
    world.send(a, &[b"SET", b"k", b"new"]);
    world.settle();
    world.send(b, &[b"SET", b"l", b"late"]);
    world.send(reader, &[b"GET", b"k"]);
    world.settle();
    while !matches!(world.held.front(), Some((_, DiskOp::Sync(_)))) {
        world.release_one();
    }
    world.answer_one(Err(DiskError::Io(5)));
    assert_eq!(error_code(&world.reply(a).unwrap()), Some("UNKNOWN"));
    let read = world.reply(reader).unwrap();
    assert_eq!(error_code(&read), Some("DOWN"));
    assert!(format!("{read:?}").contains("nothing was changed"), "{read:?}");
    assert_eq!(error_code(&world.reply(b).unwrap()), Some("DOWN"), "it was never written");
    assert!(world.held.is_empty(), "no second fsync: {:?}", world.held);
    assert_eq!(error_code(&world.call(a, &[b"GET", b"k"])), Some("DOWN"));
    world.hold = false;
    world.pass(std::time::Duration::from_secs(2));
    assert_eq!(world.get(a, b"k"), Some(b"old".to_vec()), "what was not durable is not trusted");
    assert_eq!(world.get(a, b"l"), None);
    world.set(a, b"k", b"newer");
    assert_eq!(world.get(b, b"k"), Some(b"newer".to_vec()));
}

#[test]
fn a_broken_client_gets_the_replies_it_is_owed_before_it_is_closed() {
    let mut world = World::fresh(Setup::default());
    let c = world.client();
    world.set(c, b"k", b"v");
    world.hold = true;
    world.settle();
    world.held.clear();
    world.send(c, &[b"GET", b"k"]);
    world.settle();
    assert_eq!(held(&world), ["read"]);
    let error = Reply::error("ERR Protocol error");
    world.shard.handle(world.now, kvnode_core::shard::Input::Malformed(c, error.clone()));
    world.settle();
    assert_eq!(world.reply(c), None);
    assert!(world.closed.is_empty() && !world.shard.accepts(c));
    world.release_all();
    assert_eq!(world.reply(c), Some(bulk(b"v")));
    assert_eq!(world.reply(c), Some(error));
    assert_eq!(world.closed, [c]);
}

#[test]
fn a_stop_that_can_not_make_the_log_durable_is_not_called_clean() {
    let mut world = World::fresh(Setup::default());
    let c = world.client();
    world.set(c, b"k", b"v");
    world.disk.fault =
        Some(Box::new(|op| matches!(op, DiskOp::Sync(_)).then_some(DiskError::Io(5))));
    world.shard.handle(world.now, kvnode_core::shard::Input::Stop);
    world.settle();
    assert!(!world.stopped || world.refused.is_some());
    assert!(world.refused.unwrap().contains("could not be closed cleanly"));
}

#[test]
fn a_partition_that_can_not_be_closed_keeps_no_other_from_it() {
    let setup = Setup { partitions: Some(2), fsync: FsyncMode::Never, ..Setup::default() };
    for bad in 0..2 {
        let mut world = World::fresh(setup);
        let c = world.client();
        (0..20u8).for_each(|n| world.set(c, &[n], b"v"));
        world.disk.fault = Some(Box::new(move |op| {
            let is_bad = matches!(op, DiskOp::Sync(File::Segment(p, ..)) if p.0 == bad);
            is_bad.then_some(DiskError::Io(5))
        }));
        world.hold = true;
        world.shard.handle(world.now, kvnode_core::shard::Input::Stop);
        world.settle();
        while world.refused.is_none() && !world.stopped {
            world.release_one().expect("it comes to an end");
        }
        assert!(world.refused.unwrap().contains("could not be closed cleanly"));
        // What was acknowledged by the other is durable when that is said.
        world.disk.fault = None;
        let mut world = World::open(world.disk.crash(Unsynced::Lost), setup);
        let c = world.client();
        let in_other = |n: &u8| slot::partition(slot::slot(&[*n]), 2).0 != bad;
        let healthy: Vec<u8> = (0..20).filter(in_other).collect();
        assert!(healthy.len() > 4);
        assert!(healthy.iter().all(|&n| world.get(c, &[n]) == Some(b"v".to_vec())), "{bad}");
    }
}

#[test]
fn a_client_that_asks_for_much_in_one_breath_is_served_in_turns() {
    let setup = Setup { segment_bytes: 1 << 30, cache: true, ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    world.set(c, b"k", &vec![7; 1 << 20]);
    let mut taken = 0;
    while world.shard.accepts(c) {
        world.send(c, &[b"GET", b"k"]);
        taken += 1;
    }
    assert_eq!(taken, 17, "the limit is 16 MiB of values");
    world.settle();
    assert!(world.shard.accepts(c), "it goes on once they are taken");
    assert_eq!(world.replies[&c].len(), 17);
}

#[test]
fn a_flush_touches_only_watched_keys_that_were_there() {
    let mut world = World::fresh(Setup::default());
    let (a, b) = (world.client(), world.client());
    for (key, survives) in [(&b"absent"[..], true), (b"there", false)] {
        world.set(b, b"there", b"v");
        assert_eq!(world.call(a, &[b"WATCH", key]), Reply::OK);
        assert_eq!(world.call(b, &[b"FLUSHALL"]), Reply::OK);
        assert_eq!(world.call(a, &[b"MULTI"]), Reply::OK);
        let done = world.call(a, &[b"EXEC"]);
        assert_eq!(done == Reply::Array(vec![]), survives, "{done:?}");
    }
}

#[test]
fn an_expiry_is_seen_only_once_its_clock_is_committed() {
    let mut world = World::fresh(Setup::default());
    let c = world.client();
    assert_eq!(world.call(c, &[b"SET", b"k", b"v", b"PX", b"50"]), Reply::OK);
    world.now.mono = world.now.mono.after(std::time::Duration::from_millis(60));
    world.now.wall_us += 60_000;
    world.hold = true;
    world.send(c, &[b"EXISTS", b"k"]);
    world.settle();
    let ops = held(&world);
    assert!(ops.contains(&"write") && ops.contains(&"sync"), "{ops:?}");
    assert_eq!(world.reply(c), None);
    world.release_all();
    assert_eq!(world.reply(c), Some(Reply::Int(0)));
    // A crash and a wall clock an hour behind: the key stays expired.
    let disk = world.disk.crash(world::disk::Unsynced::Lost);
    let setup = Setup { wall_ms: Setup::default().wall_ms - 3_600_000, ..Setup::default() };
    let mut world = World::open(disk, setup);
    let c = world.client();
    assert_eq!(world.get(c, b"k"), None);
}

#[test]
fn a_write_before_the_directory_is_known_is_refused_not_acknowledged() {
    let mut world = World::cold(MemDisk::default(), Setup::default());
    world.hold = true;
    let client = world.client();
    world.settle();
    world.send(client, &[b"SET", b"k", b"v"]);
    world.settle();
    let reply = world.reply(client).expect("it waits for nothing");
    assert_eq!(error_code(&reply), Some("LOADING"), "{reply:?}");
    // The directory is known, the partition is being opened.
    while world.held.front().is_some_and(|(_, op)| !op_is_of_a_partition(op)) {
        world.release_one();
    }
    world.send(client, &[b"SET", b"k", b"v"]);
    world.settle();
    let reply = world.reply(client).expect("it waits for nothing");
    assert_eq!(error_code(&reply), Some("LOADING"), "{reply:?}");
    world.release_all();
    assert_eq!(world.get(client, b"k"), None);
}

fn op_is_of_a_partition(op: &DiskOp) -> bool {
    matches!(op, DiskOp::List(Dir::Partition(_)))
}

#[test]
fn a_node_that_stands_alone_waits_for_replicas_in_vain() {
    let mut world = World::fresh(Setup::default());
    let c = world.client();
    world.set(c, b"k", b"v");
    assert_eq!(world.call(c, &[b"WAIT", b"0", b"0"]), Reply::Int(0));
    let ints = |local, replicas| Reply::Array(vec![Reply::Int(local), Reply::Int(replicas)]);
    assert_eq!(world.call(c, &[b"WAITAOF", b"1", b"0", b"0"]), ints(1, 0));
    for (wait, told) in [
        (&[&b"WAIT"[..], b"1", b"100"][..], Reply::Int(0)),
        (&[b"WAITAOF", b"1", b"1", b"100"], ints(1, 0)),
    ] {
        world.send(c, wait);
        world.settle();
        world.pass(std::time::Duration::from_millis(99));
        assert_eq!(world.reply(c), None, "its time is not over");
        world.pass(std::time::Duration::from_millis(1));
        assert_eq!(world.reply(c), Some(told));
    }
}

#[test]
fn waitaof_waits_for_the_fsync_that_a_write_did_not_wait_for() {
    let setup = Setup { fsync: FsyncMode::EveryMs(50), ..Setup::default() };
    let mut world = World::fresh(setup);
    let c = world.client();
    world.set(c, b"k", b"v");
    let ints = |local| Reply::Array(vec![Reply::Int(local), Reply::Int(0)]);
    assert_eq!(world.call(c, &[b"WAITAOF", b"0", b"0", b"0"]), ints(0));
    world.send(c, &[b"WAITAOF", b"1", b"0", b"0"]);
    world.settle();
    assert_eq!(world.reply(c), None, "it is not durable");
    world.pass(std::time::Duration::from_secs(1));
    assert_eq!(world.reply(c), Some(ints(1)));
}
