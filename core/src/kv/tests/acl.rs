//! Users, AUTH and what a client may do, as commands.

use alloc::format;

use super::world::World;
use crate::ClientId;
use crate::kv::{Flags, Request, Session, Stop, commands};
use crate::reply::Reply;

/// A client that has just connected to a node with these users.
fn connected(world: &mut World) {
    let acl = &world.view.server.acl;
    world.session = Session::connected(ClientId(8), Default::default(), Default::default(), acl);
}

#[test]
fn a_stranger_can_only_say_who_it_is() {
    let mut world = World::new();
    world.story(
        "ACL SETUSER ann on >pw ~a* +@all -config -@transaction +multi +exec +discard -> +OK",
    );
    world.view.server.acl.require_password(b"secret");
    connected(&mut world);
    world.story(
        "
        GET a -> -NOAUTH Authentication required.
        SET a b -> -NOAUTH Authentication required.
        ACL WHOAMI -> -NOAUTH Authentication required.
        MULTI -> -NOAUTH Authentication required.
        NOSUCH a -> -ERR unknown command 'NOSUCH', with args beginning with: 'a' 
        GET -> -ERR wrong number of arguments for 'get' command
        HELLO 3 -> -NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time
        HELLO 3 AUTH default wrong -> -WRONGPASS invalid username-password pair or user is disabled.
        HELLO 4 AUTH default secret -> -NOPROTO unsupported protocol version
        AUTH wrong -> -WRONGPASS invalid username-password pair or user is disabled.
        AUTH ann secret -> -WRONGPASS invalid username-password pair or user is disabled.
        AUTH a b c -> -ERR syntax error
        RESET -> +RESET
        GET a -> -NOAUTH Authentication required.
        AUTH secret -> +OK
        ACL WHOAMI -> 'default'
        GET a -> $-1
        AUTH ann pw -> +OK
        ACL WHOAMI -> 'ann'
        SET a1 v -> +OK
        SET b v -> -NOPERM No permissions to access a key
        CONFIG GET save -> -NOPERM User ann has no permissions to run the 'config|get' command
        WATCH a -> -NOPERM User ann has no permissions to run the 'watch' command
        AUTH wrong -> -WRONGPASS invalid username-password pair or user is disabled.
        ACL WHOAMI -> 'ann'
        RESET -> +RESET
        ACL WHOAMI -> -NOAUTH Authentication required.
        ",
    );
    assert!(world.run("HELLO 2 AUTH ann pw SETNAME x").starts_with("*['server'"));
    world.story("CLIENT GETNAME -> 'x'");
    world.story("ACL WHOAMI -> 'ann'");
}

#[test]
fn who_may_only_write_learns_nothing_of_a_value() {
    let mut world = World::new();
    world.story("ACL SETUSER ann on nopass %W~* +@all -> +OK");
    world.story(
        "
        AUTH ann any -> +OK
        SET a get -> +OK
        SET get 1 -> +OK
        SET ifeq ifeq -> +OK
        SET a x GET -> -NOPERM No permissions to access a key
        SET a x IFEQ get -> -NOPERM No permissions to access a key
        SET a x PX 10000 ifeq get -> -NOPERM No permissions to access a key
        DELIFEQ a get -> -NOPERM No permissions to access a key
        ",
    );
}

/// Every command of the table but those that let one in.
#[test]
fn no_command_passes_a_stranger() {
    let mut world = World::new();
    world.view.server.acl.require_password(b"secret");
    connected(&mut world);
    let mut tried = 0;
    for command in commands().flat_map(|c| core::iter::once(c).chain(c.subcommands)) {
        if command.flags.has(Flags::NO_AUTH) || !command.subcommands.is_empty() {
            continue;
        }
        let mut line = command.name.replace('|', " ");
        let words = 1 + usize::from(command.name.contains('|'));
        (words..command.arity.unsigned_abs() as usize).for_each(|_| line.push_str(" 1"));
        let expected = match command.name {
            "exec" => {
                "-EXECABORT Transaction discarded because of: NOAUTH Authentication required."
            }
            _ => "-NOAUTH Authentication required.",
        };
        assert_eq!(world.run(&line), expected, "{line}");
        tried += 1;
    }
    assert!(tried > 100, "{tried} commands");
}

#[test]
fn a_transaction_is_checked_twice() {
    let mut world = World::new();
    world.story("ACL SETUSER ann on nopass ~* +@all -> +OK");
    world.story(
        "
        AUTH ann any -> +OK
        MULTI -> +OK
        AUTH ann any -> -ERR Command not allowed inside a transaction
        EXEC -> -EXECABORT Transaction discarded because of previous errors.
        MULTI -> +OK
        HELLO 3 AUTH ann any -> -ERR Command not allowed inside a transaction
        DISCARD -> +OK
        MULTI -> +OK
        SET a 1 -> +QUEUED
        INCR a -> +QUEUED
        SET b 1 -> +QUEUED
        ",
    );
    let rules: [&[u8]; 3] = [b"resetkeys", b"~a", b"-incr"];
    world.view.server.acl.set_user(b"ann", &rules).unwrap();
    let reply = world.run("EXEC");
    let changed = "NOPERM ACLs rules changed between the moment the transaction was accumulated \
                   and the EXEC call. This command is no longer allowed for the following reason";
    assert_eq!(
        reply,
        format!(
            "*[+OK, -{changed}: no permission to execute the command or subcommand, \
             -{changed}: no permission to touch the specified keys]"
        )
    );
    world.story("GET a -> '1'");
    world.story(
        "
        MULTI -> +OK
        INCR a -> -NOPERM User ann has no permissions to run the 'incr' command
        EXEC -> -EXECABORT Transaction discarded because of previous errors.
        ",
    );
}

#[test]
fn users_are_made_changed_and_told() {
    let mut world = World::new();
    world.story(
        "
        ACL WHOAMI -> 'default'
        ACL USERS -> *['default']
        ACL SETUSER bob -> +OK
        ACL USERS -> *['bob', 'default']
        ACL GETUSER nobody -> $-1
        ACL SETUSER bob on >pw ~a* %R~b* +@read -get +config|get (~c +set) -> +OK
        ACL LIST -> *['user bob on sanitize-payload #30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4 ~a* %R~b* resetchannels -@all +@read -get +config|get (~c resetchannels -@all +set)', 'user default on nopass sanitize-payload ~* &* +@all']
        ACL GETUSER bob -> *['flags', *['on', 'sanitize-payload'], 'passwords', *['30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4'], 'commands', '-@all +@read -get +config|get', 'keys', '~a* %R~b*', 'channels', '', 'selectors', *[*['commands', '-@all +set', 'keys', '~c', 'channels', '']]]
        ACL SETUSER bob +nosuch -> -ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL
        ACL SETUSER \"b b\" on -> -ERR Usernames can't contain spaces or null characters
        ACL SETUSER bob (+get -> -ERR Unmatched parenthesis in acl selector starting at '(+get'.
        ACL DELUSER default -> -ERR The 'default' user cannot be removed
        ACL GENPASS 0 -> -ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096
        ACL GENPASS x -> -ERR value is not an integer or out of range
        ACL DRYRUN bob set a1 v -> 'User bob has no permissions to access the \\'a1\\' key'
        ACL DRYRUN bob get a1 -> 'User bob has no permissions to run the \\'get\\' command'
        ACL DRYRUN bob strlen a1 -> +OK
        ACL DRYRUN nob get x -> -ERR User 'nob' not found
        ACL DRYRUN bob nos x -> -ERR Command 'nos' not found
        ACL DRYRUN bob get -> -ERR wrong number of arguments for 'get' command
        ACL CAT foo -> -ERR Unknown category 'foo'
        ACL CAT transaction -> *['multi', 'exec', 'discard', 'watch', 'unwatch']
        ACL LOAD -> -ERR This Redis instance is not configured to use an ACL file. It is kvnode: start it with --acl-file FILE
        ACL SAVE -> -ERR This Redis instance is not configured to use an ACL file. It is kvnode: start it with --acl-file FILE
        ACL FOO -> -ERR unknown subcommand 'FOO'. Try ACL HELP.
        MULTI -> +OK
        ACL SETUSER x on -> -ERR Command not allowed inside a transaction
        DISCARD -> +OK
        ",
    );
    assert_eq!(world.run("ACL GENPASS 5").len(), 2 + 2);
    let passwords = [world.run("ACL GENPASS"), world.run("ACL GENPASS")];
    assert!(passwords[0].len() == 66 && passwords[0] != passwords[1]);
    assert!(world.run("ACL CAT").starts_with("*['keyspace', 'read', 'write', 'set', "));
    let deleted = world.evaluate(&[b"ACL", b"DELUSER", b"bob", b"nobody"]);
    assert!(matches!(deleted, Err(Stop::Server(Request::DeleteUsers(names))) if names.len() == 2));
}

#[test]
fn what_is_refused_is_in_the_log() {
    let mut world = World::new();
    world.story(
        "
        ACL SETUSER ann on >pw ~a +@all -get -> +OK
        ACL LOG -> *[]
        AUTH ann wrong-secret -> -WRONGPASS invalid username-password pair or user is disabled.
        AUTH ann wrong-secret -> -WRONGPASS invalid username-password pair or user is disabled.
        AUTH ann pw -> +OK
        GET a -> -NOPERM User ann has no permissions to run the 'get' command
        MULTI -> +OK
        SET b v -> -NOPERM No permissions to access a key
        DISCARD -> +OK
        ",
    );
    let log = world.run("ACL LOG");
    let kinds: alloc::vec::Vec<_> = log.split("'count', ").skip(1).collect();
    assert!(kinds[0].starts_with(
        ":1, 'reason', 'key', 'context', 'multi', 'object', 'b', 'username', 'ann', "
    ));
    assert!(
        kinds[1].starts_with(":1, 'reason', 'command', 'context', 'toplevel', 'object', 'get', ")
    );
    assert!(kinds[2].starts_with(
        ":2, 'reason', 'auth', 'context', 'toplevel', 'object', 'auth', 'username', 'ann', "
    ));
    assert!(log.contains("'client-info', 'id=") && !log.contains("wrong-secret"));
    assert_eq!(world.run("ACL LOG 1").matches("'reason'").count(), 1);
    world.story("ACL LOG RESET -> +OK");
    world.story("ACL LOG -> *[]");
    for i in 0..200 {
        world.run(&format!("SET denied{i} v"));
    }
    assert_eq!(world.run("ACL LOG 1000").matches("'reason'").count(), 128);
}

#[test]
fn a_client_that_was_let_in_stays_when_a_password_comes() {
    let mut world = World::new();
    connected(&mut world);
    world.view.server.acl.require_password(b"secret");
    world.story("SET a b -> +OK");
    connected(&mut world);
    world.story("SET a b -> -NOAUTH Authentication required.");
}

#[test]
fn a_wrong_password_is_not_in_any_text() {
    let mut world = World::new();
    world.view.server.acl.require_password(b"hunter3");
    connected(&mut world);
    for line in ["AUTH hunter2", "AUTH default hunter2", "HELLO 3 AUTH default hunter2"] {
        let Ok(Reply::Error(text)) =
            world.evaluate(&line.split(' ').map(str::as_bytes).collect::<alloc::vec::Vec<_>>())
        else {
            panic!("{line} is refused")
        };
        assert!(!text.contains("hunter2"), "{text}");
    }
    let shown = format!("{:?} {:?}", world.session, world.view.server);
    assert!(!shown.contains("hunter2") && !shown.contains("hunter3"));
}
