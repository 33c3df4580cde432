//! CLIENT, CONFIG, SLOWLOG and what else is about the node, as far as evaluation decides it.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::world::{World, split};
use crate::ClientId;
use crate::kv::{Chosen, KillFilter, Request, Stop};

fn request(world: &mut World, line: &str) -> Request {
    let args = split(line);
    let args: Vec<&[u8]> = args.iter().map(|arg| &**arg).collect();
    match world.evaluate(&args) {
        Err(Stop::Server(request)) => request,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn client_answers_like_redis() {
    World::new().story(
        "
        CLIENT LIST FOO -> -ERR syntax error
        CLIENT LIST TYPE x -> -ERR Unknown client type 'x'
        CLIENT LIST ID x -> -ERR Invalid client ID
        CLIENT LIST TYPE normal ID 1 -> -ERR syntax error
        CLIENT KILL ID x -> -ERR client-id should be greater than 0
        CLIENT KILL ID 0 -> -ERR client-id should be greater than 0
        CLIENT KILL USER nob -> -ERR No such user 'nob'
        CLIENT KILL TYPE foo -> -ERR Unknown client type 'foo'
        CLIENT KILL SKIPME x -> -ERR syntax error
        CLIENT KILL ID 1 FOO -> -ERR syntax error
        CLIENT REPLY FOO -> -ERR syntax error
        CLIENT REPLY ON -> +OK
        CLIENT PAUSE x -> -ERR timeout is not an integer or out of range
        CLIENT PAUSE 10 FOO -> -ERR CLIENT PAUSE mode must be WRITE or ALL
        CLIENT PAUSE -1 -> -ERR timeout is negative
        CLIENT UNBLOCK x -> -ERR value is not an integer or out of range
        CLIENT UNBLOCK 1 FOO -> -ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR
        CLIENT NO-EVICT x -> -ERR syntax error
        CLIENT NO-EVICT ON -> +OK
        CLIENT NO-TOUCH ON -> +OK
        CLIENT GETREDIR -> :-1
        CLIENT TRACKING ON -> -ERR unknown subcommand 'TRACKING'. Try CLIENT HELP.
        CLIENT MAINT_NOTIFICATIONS ON -> -ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.
        MULTI -> +OK
        CLIENT LIST -> -ERR Command not allowed inside a transaction
        DISCARD -> +OK
        ",
    );
    let mut world = World::new();
    let me = Request::ListClients(Chosen::Ids(vec![ClientId(7)]));
    assert_eq!(request(&mut world, "CLIENT INFO"), me);
    let filter = KillFilter { skip_me: true, ..KillFilter::default() };
    let local = KillFilter { local: Some(String::from("a:1")), skip_me: false, ..filter.clone() };
    let killed = request(&mut world, "CLIENT KILL LADDR a:1 SKIPME no");
    assert_eq!(killed, Request::KillClients(local));
    let old = KillFilter { address: Some(String::from("a:1")), ..KillFilter::default() };
    assert_eq!(request(&mut world, "CLIENT KILL a:1"), Request::KillAddress(old));
}

#[test]
fn config_changes_all_or_nothing() {
    let mut world = World::new();
    world.story(
        "
        CONFIG GET slowlog-* -> *['slowlog-log-slower-than', '10000', 'slowlog-max-len', '128']
        CONFIG GET nosuch -> *[]
        CONFIG GET SAVE MaxMemory-Policy -> *['MaxMemory-Policy', 'noeviction', 'SAVE', '']
        CONFIG SET slowlog-max-len 5 maxclients 7 -> +OK
        CONFIG SET slowlog-max-len 9 maxclients 0 -> -ERR CONFIG SET failed (possibly related to argument 'maxclients') - argument must be between 1 and 4294967295 inclusive
        CONFIG SET slowlog-max-len 9 nosuch 1 -> -ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'
        CONFIG GET slowlog-max-len maxclients -> *['maxclients', '7', 'slowlog-max-len', '5']
        CONFIG SET DATABASES 3 -> -ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config
        CONFIG SET maxmemory 1 -> -ERR CONFIG SET failed (possibly related to argument 'maxmemory') - can't set immutable config
        CONFIG SET slowlog-max-len x -> -ERR CONFIG SET failed (possibly related to argument 'slowlog-max-len') - argument couldn't be parsed into an integer
        CONFIG SET slowlog-max-len 1 slowlog-max-len 2 -> -ERR CONFIG SET failed (possibly related to argument 'slowlog-max-len') - duplicate parameter
        CONFIG SET protected-mode maybe -> -ERR CONFIG SET failed (possibly related to argument 'protected-mode') - argument must be 'yes' or 'no'
        CONFIG SET protected-mode -> -ERR wrong number of arguments for 'config|set' command
        CONFIG SET slowlog-log-slower-than -2 -> -ERR CONFIG SET failed (possibly related to argument 'slowlog-log-slower-than') - argument must be between -1 and 9223372036854775807 inclusive
        CONFIG SET slowlog-log-slower-than -1 protected-mode NO -> +OK
        CONFIG GET slowlog-log-slower-than protected-mode -> *['protected-mode', 'no', 'slowlog-log-slower-than', '-1']
        CONFIG REWRITE -> -ERR The server is running without a config file
        CONFIG GET requirepass -> *['requirepass', '']
        CONFIG SET requirepass hunter2 -> +OK
        CONFIG GET requirepass -> -NOAUTH Authentication required.
        AUTH hunter2 -> +OK
        CONFIG GET requirepass -> *['requirepass', '(redacted)']
        CONFIG SET requirepass other maxclients 0 -> -ERR CONFIG SET failed (possibly related to argument 'maxclients') - argument must be between 1 and 4294967295 inclusive
        AUTH hunter2 -> +OK
        CONFIG SET requirepass \"\" -> +OK
        CONFIG GET requirepass -> *['requirepass', '']
        ",
    );
    world.view.server.settings.max_clients_possible = 100;
    assert!(world.run("CONFIG SET maxclients 101").ends_with("try with 100"));
}

#[test]
fn operators_commands_answer_like_redis() {
    let mut world = World::new();
    world.story(
        "
        SLOWLOG GET -> *[]
        SLOWLOG GET x -> -ERR count should be greater than or equal to -1
        SLOWLOG GET -2 -> -ERR count should be greater than or equal to -1
        SLOWLOG LEN -> :0
        SLOWLOG RESET -> +OK
        SLOWLOG FOO -> -ERR unknown subcommand 'FOO'. Try SLOWLOG HELP.
        LATENCY LATEST -> *[]
        LATENCY HISTORY foo -> *[]
        LATENCY GRAPH foo -> -ERR No samples available for event 'foo'
        LATENCY GRAPH command -> -ERR No samples available for event 'command'
        LATENCY RESET -> :0
        LATENCY RESET command foo -> :0
        LATENCY HISTOGRAM nosuch -> *[]
        MODULE LIST -> *[]
        MODULE LOAD x -> -ERR unknown subcommand 'LOAD'. Try MODULE HELP.
        LASTSAVE FOO -> -ERR wrong number of arguments for 'lastsave' command
        BGSAVE FOO -> -ERR syntax error
        SHUTDOWN FOO -> -ERR syntax error
        SHUTDOWN SAVE NOSAVE -> -ERR syntax error
        SHUTDOWN ABORT NOW -> -ERR syntax error
        SHUTDOWN ABORT -> -ERR No shutdown in progress.
        DEBUG SLEEP 0 -> -ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.
        MULTI -> +OK
        SHUTDOWN -> -ERR Command not allowed inside a transaction
        DISCARD -> +OK
        ",
    );
    assert!(world.run("LATENCY DOCTOR").contains("Latency monitoring is disabled"));
    assert_eq!(request(&mut world, "SHUTDOWN NOSAVE NOW"), Request::Shutdown);
    assert_eq!(request(&mut world, "BGSAVE SCHEDULE"), Request::Sync { background: true });
    for container in ["ACL", "CLIENT", "CONFIG", "LATENCY", "MODULE", "SLOWLOG"] {
        assert!(world.run(&alloc::format!("{container} HELP")).contains("HELP"));
    }
}
