//! Users and what is about the server: stories that are told to both, word for word the same.
//!
//! Redis 7.0 is at hand, and kvnode says what 7.2 says: where those differ the line is left out.

use super::common::{Client, Node, Redis};

/// A line is a command; `1>`, `2>`: on which connection.
const STORIES: &[(&str, &str)] = &[
    (
        "rules that can not be right",
        "1> ACL SETUSER bob +nosuch
         1> ACL SETUSER bob -@nosuch
         1> ACL SETUSER bob foo
         1> ACL SETUSER bob ~* ~a
         1> ACL SETUSER bob <nopw
         1> ACL SETUSER bob #12
         1> ACL SETUSER bob !12
         1> ACL SETUSER bob %~a
         1> ACL SETUSER bob (+get
         1> ACL SETUSER bob (+nosuch)
         1> ACL GETUSER bob
         1> ACL USERS
         1> ACL DELUSER default
         1> ACL DELUSER nobody
         1> ACL GENPASS 0
         1> ACL GENPASS 4097
         1> ACL GENPASS x
         1> ACL CAT nosuch
         1> ACL CAT
         1> ACL LOG x
         1> ACL LOG
         1> ACL DRYRUN nobody get x
         1> ACL FOO
         1> ACL SETUSER
         1> ACL WHOAMI",
    ),
    (
        "a user and what it may do",
        "1> ACL SETUSER bob on >pw ~a* %R~b* %W~c* +@read +@write +multi +exec -mget (~d +getdel)
         1> ACL DRYRUN bob get
         1> ACL DRYRUN bob strlen a1
         2> AUTH bob wrong
         2> AUTH bob pw x
         2> AUTH bob pw
         2> ACL WHOAMI x
         2> SET a1 1
         2> GET a1
         2> GET b1
         2> STRLEN b2
         2> SET c1 1
         2> GETDEL d
         2> MULTI
         2> SET a1 2
         2> EXEC
         1> ACL DELUSER bob bob",
    ),
    (
        "a password",
        "1> AUTH x
         1> AUTH default x
         1> AUTH nobody x
         1> CONFIG SET requirepass secret
         2> PING
         1> AUTH wrong
         1> AUTH secret
         1> AUTH default secret
         1> HELLO 3 AUTH default wrong
         1> HELLO 9 AUTH default secret
         1> CONFIG SET requirepass \"\"",
    ),
    (
        "clients and settings",
        "1> CLIENT LIST FOO
         1> CLIENT LIST TYPE x
         1> CLIENT LIST TYPE pubsub
         1> CLIENT LIST ID x
         1> CLIENT LIST TYPE normal ID 1
         1> CLIENT KILL FOO
         1> CLIENT KILL ID x
         1> CLIENT KILL ID 0
         1> CLIENT KILL ID 999999
         1> CLIENT KILL USER nobody
         1> CLIENT KILL TYPE foo
         1> CLIENT KILL TYPE pubsub
         1> CLIENT KILL SKIPME x
         1> CLIENT KILL ID 1 FOO
         1> CLIENT KILL 1.2.3.4:5
         1> CLIENT KILL ADDR 1.2.3.4:5
         1> CLIENT KILL LADDR 1.2.3.4:5
         1> CLIENT REPLY FOO
         1> CLIENT REPLY ON
         1> CLIENT PAUSE x
         1> CLIENT PAUSE -1
         1> CLIENT PAUSE 10 FOO
         1> CLIENT UNPAUSE
         1> CLIENT UNBLOCK x
         1> CLIENT UNBLOCK 999999
         1> CLIENT UNBLOCK 1 FOO
         1> CLIENT NO-EVICT x
         1> CLIENT NO-EVICT ON
         1> CLIENT GETREDIR
         1> CLIENT NOSUCH
         1> CONFIG GET nosuch
         1> CONFIG GET slowlog-max-len
         1> CONFIG GET save
         1> CONFIG SET nosuch 1
         1> CONFIG SET databases 3
         1> CONFIG SET slowlog-max-len x
         1> CONFIG SET slowlog-max-len 1 slowlog-max-len 2
         1> CONFIG SET slowlog-log-slower-than -2
         1> CONFIG SET maxclients 0
         1> CONFIG SET protected-mode maybe
         1> CONFIG SET slowlog-max-len
         1> CONFIG SET slowlog-max-len 1 maxclients
         1> CONFIG SET SLOWLOG-MAX-LEN 7 latency-monitor-threshold 9
         1> CONFIG GET slowlog-max-len
         1> CONFIG GET latency-monitor-threshold
         1> CONFIG REWRITE
         1> CONFIG RESETSTAT",
    ),
    (
        "operations",
        "1> SLOWLOG LEN
         1> SLOWLOG GET x
         1> SLOWLOG GET -2
         1> SLOWLOG FOO
         1> SLOWLOG RESET
         1> LATENCY HISTORY foo
         1> LATENCY GRAPH foo
         1> LATENCY GRAPH
         1> LATENCY LATEST
         1> LATENCY RESET
         1> LATENCY HISTOGRAM nosuch
         1> LATENCY FOO
         1> SHUTDOWN FOO
         1> SHUTDOWN SAVE NOSAVE
         1> SHUTDOWN ABORT
         1> SHUTDOWN ABORT NOW
         1> MODULE LIST
         1> MODULE FOO
         1> DEBUG FOO
         1> LASTSAVE FOO
         1> BGSAVE FOO
         1> MONITOR X",
    ),
];

#[test]
fn users_and_operations_are_answered_as_by_redis() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::start(&["--fsync", "never"]);
    for (title, story) in STORIES {
        let mut clients = [redis.endpoint(), &node.endpoint()]
            .map(|endpoint| [0; 2].map(|_| Client::connect(endpoint).expect("it listens")));
        for line in story.lines().map(str::trim) {
            let (at, command) = line.split_once("> ").expect("a connection");
            let at = usize::from(at == "2");
            let args: Vec<&str> = command.split(' ').map(|word| word.trim_matches('"')).collect();
            let [one, two] = clients.each_mut().map(|client| client[at].call(&args));
            assert_eq!(one, two, "{title}: {line}: Redis first");
        }
    }
}
