//! MULTI, EXEC and WATCH.

use alloc::vec::Vec;

use super::world::World;
use crate::ClientId;
use crate::kv::{Session, Stop, commands};
use crate::reply::Protocol;

#[test]
fn exec_sees_its_own_changes() {
    World::new().story(
        "
        SET n 1 -> +OK
        MULTI -> +OK
        INCR n -> +QUEUED
        APPEND n 0 -> +QUEUED
        RENAME n m -> +QUEUED
        EXISTS n m -> +QUEUED
        DBSIZE -> +QUEUED
        KEYS * -> +QUEUED
        EXEC -> *[:2, :2, +OK, :1, :1, *['m']]
        GET m -> '20'
        ",
    );
}

#[test]
fn a_command_that_fails_in_exec_changes_nothing_and_the_rest_goes_on() {
    World::new().story(
        "
        SET s text -> +OK
        MULTI -> +OK
        SET a 1 -> +QUEUED
        INCR s -> +QUEUED
        SET b 2 -> +QUEUED
        EXEC -> *[+OK, -ERR value is not an integer or out of range, +OK]
        MGET a s b -> *['1', 'text', '2']
        ",
    );
}

#[test]
fn a_command_that_fails_halfway_in_exec_is_undone() {
    let mut world = World::new();
    world.story(
        "
        MSET a 1 b 2 -> +OK
        MULTI -> +OK
        SET a 3 -> +QUEUED
        DEL a b -> +QUEUED
        GET a -> +QUEUED
        ",
    );
    // EXEC asks for `b` alone: it has set `a` itself, and DEL has deleted it by then.
    world.view.asked = 0;
    world.view.stop_at = Some((1, Stop::error("CORRUPT a record is damaged")));
    world.story(
        "
        EXEC -> *[+OK, -CORRUPT a record is damaged, '3']
        MGET a b -> *['3', '2']
        ",
    );
}

#[test]
fn flushing_in_exec_takes_what_was_before_and_leaves_what_comes_after() {
    World::new().story(
        "
        SET a 1 -> +OK
        MULTI -> +OK
        SET b 2 -> +QUEUED
        FLUSHALL -> +QUEUED
        SET c 3 -> +QUEUED
        INCR s -> +QUEUED
        APPEND c x -> +QUEUED
        INCR c -> +QUEUED
        KEYS * -> +QUEUED
        DBSIZE -> +QUEUED
        EXEC -> *[+OK, +OK, +OK, :1, :2, -ERR value is not an integer or out of range, *['c', 's'], :2]
        MGET a b c -> *[$-1, $-1, '3x']
        ",
    );
}

#[test]
fn a_watched_key_that_changes_aborts() {
    let mut world = World::new();
    world.story(
        "
        SET k 1 -> +OK
        WATCH k other -> +OK
        SET k 2 -> +OK
        MULTI -> +OK
        SET k 3 -> +QUEUED
        EXEC -> *-1
        GET k -> '2'
        MULTI -> +OK
        SET k 3 -> +QUEUED
        EXEC -> *[+OK]
        ",
    );
    assert_eq!(world.view.watchers(), 0);
}

#[test]
fn a_watched_key_that_does_not_change_does_not_abort() {
    World::new().story(
        "
        WATCH k none -> +OK
        DEL none -> :0
        SET other 1 -> +OK
        MULTI -> +OK
        SET k 3 -> +QUEUED
        EXEC -> *[+OK]
        ",
    );
}

#[test]
fn a_watched_key_that_expires_aborts() {
    let mut world = World::new();
    world.story(
        "
        SET k 1 PX 10 -> +OK
        WATCH k -> +OK
        MULTI -> +OK
        PING -> +QUEUED
        ",
    );
    world.view.now_ms += 10;
    assert_eq!(world.run("EXEC"), "*-1");
}

#[test]
fn a_key_that_had_expired_before_watch_does_not_abort() {
    let mut world = World::new();
    world.run("SET k 1 PX 10");
    world.view.now_ms += 10;
    world.story(
        "
        WATCH k -> +OK
        MULTI -> +OK
        PING -> +QUEUED
        EXEC -> *[+PONG]
        ",
    );
}

#[test]
fn unwatch_discard_reset_and_disconnecting_let_go() {
    let mut world = World::new();
    for lines in
        [&["UNWATCH"][..], &["MULTI", "DISCARD"], &["RESET"], &["MULTI", "UNWATCH", "EXEC"]]
    {
        world.run("WATCH a b a");
        assert_eq!(world.view.watchers(), 2, "a key is watched once");
        lines.iter().for_each(|line| drop(world.run(line)));
        assert_eq!(world.view.watchers(), 0, "{lines:?}");
    }
    world.run("WATCH a b");
    assert_eq!(world.session.watched_keys().count(), 2);
    world.session.release(&mut world.view);
    assert_eq!(world.view.watchers(), 0);
}

#[test]
fn a_refused_command_aborts_and_one_that_only_fails_does_not() {
    World::new().story(
        "
        MULTI -> +OK
        NOSUCH -> -ERR unknown command 'NOSUCH', with args beginning with:
        SET a 1 -> +QUEUED
        EXEC -> -EXECABORT Transaction discarded because of previous errors.
        MULTI -> +OK
        MULTI -> -ERR MULTI calls can not be nested
        WATCH a -> -ERR WATCH inside MULTI is not allowed
        EXEC -> *[]
        EXISTS a -> :0
        ",
    );
}

#[test]
fn exec_with_arguments_ends_the_transaction() {
    let reply = "-EXECABORT Transaction discarded because of: \
                 wrong number of arguments for 'exec' command";
    let mut world = World::new();
    assert_eq!(world.run("EXEC now"), reply);
    world.run("WATCH a");
    world.run("MULTI");
    assert_eq!(world.run("EXEC now"), reply);
    assert!(!world.session.in_transaction());
    assert_eq!(world.view.watchers(), 0);
}

#[test]
fn what_is_about_the_client_takes_effect_with_exec() {
    let mut world = World::new();
    world.story(
        "
        MULTI -> +OK
        HELLO 3 -> +QUEUED
        CLIENT SETNAME me -> +QUEUED
        CLIENT GETNAME -> +QUEUED
        ",
    );
    assert_eq!(world.session.protocol(), Protocol::Resp2);
    assert!(world.run("EXEC").ends_with("+OK, 'me']"));
    assert_eq!(world.session.protocol(), Protocol::Resp3);
    assert_eq!(world.session.name(), Some(&b"me"[..]));
}

#[test]
fn quit_and_reset_do_not_wait_for_exec() {
    let mut world = World::new();
    world.story(
        "
        MULTI -> +OK
        CLIENT SETNAME me -> +QUEUED
        RESET -> +RESET
        EXEC -> -ERR EXEC without MULTI
        MULTI -> +OK
        QUIT -> +OK
        ",
    );
    assert!(world.session.closing());
}

#[test]
fn the_commands_that_wait_can_be_seen() {
    let mut world = World::new();
    world.run("MULTI");
    world.run("MSET a 1 b 2");
    let (command, args) = world.session.queued().next().unwrap();
    let args = args.as_slices();
    let keys: alloc::vec::Vec<&[u8]> = command.keys(&args).collect();
    assert_eq!(keys, [b"a", b"b"]);
}

/// Its number is none that a client could be told.
#[test]
fn who_stands_in_for_a_client_of_another_node_runs_what_is_for_leaders_alone() {
    let mut world = World::new();
    world.session = Session::trusted(ClientId(u64::MAX));
    let (mut refused, mut about_all) = (0, Vec::new());
    for command in commands().flat_map(|c| core::iter::once(c).chain(c.subcommands)) {
        if command.is_about_all_keys() {
            about_all.push(command.name);
        }
        if command.is_for_leaders() || !command.subcommands.is_empty() {
            continue;
        }
        let mut line = command.name.replace('|', " ");
        let words = 1 + usize::from(command.name.contains('|'));
        (words..command.arity.unsigned_abs() as usize).for_each(|_| line.push_str(" 1"));
        let told = world.run(&line);
        assert!(told.starts_with("-ERR the command is about the connection"), "{line}: {told}");
        refused += 1;
    }
    assert!(refused > 80, "{refused} commands");
    about_all.sort_unstable();
    assert_eq!(
        about_all,
        [
            "cluster|countkeysinslot",
            "cluster|getkeysinslot",
            "dbsize",
            "flushall",
            "flushdb",
            "keys",
            "randomkey",
            "scan",
        ]
    );
    world.story("MULTI -> +OK");
    assert!(world.run("CLIENT ID").starts_with("-ERR the command is about the connection"));
    world.story(
        "
        SET a 1 -> +QUEUED
        EXEC -> -EXECABORT Transaction discarded because of previous errors.
        GET a -> $-1
        ",
    );
}
