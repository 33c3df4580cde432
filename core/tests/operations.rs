//! What clients ask of a whole shard that is not about keys: other clients, what was slow, saving.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test may fail at what it does not expect")]

mod world;

use std::time::Duration;

use kvnode_core::ClientId;
use kvnode_core::reply::Reply;
use kvnode_core::shard::{FsyncMode, Input, Output};
use world::{Setup, World};

fn text(reply: Reply) -> String {
    match reply {
        Reply::Verbatim(text) => text.into(),
        Reply::Error(text) => text.into_owned(),
        Reply::Bulk(value) => String::from_utf8_lossy(&value).into_owned(),
        other => panic!("{other:?} is no text"),
    }
}

fn items(reply: Reply) -> Vec<Reply> {
    match reply {
        Reply::Array(items) => items,
        other => panic!("{other:?} is no array"),
    }
}

/// Hands in, lets everything happen, and gives the reply if there is one.
fn tell(world: &mut World, client: ClientId, line: &str) -> Option<Reply> {
    let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    world.send(client, &args);
    world.settle();
    world.reply(client)
}

#[test]
fn clients_are_listed_and_killed() {
    let mut world = World::fresh(Setup::default());
    let [one, two, three] = [(); 3].map(|()| world.client());
    tell(&mut world, two, "CLIENT SETNAME two");
    tell(&mut world, two, "MULTI");
    let list = text(world.call(one, &[b"CLIENT", b"LIST"]));
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[0].contains(" cmd=client|list ") && lines[0].starts_with(&format!("id={} ", one.0))
    );
    assert!(
        lines[1].contains(" name=two ")
            && lines[1].contains(" flags=x ")
            && lines[1].contains(" multi=0 ")
    );
    let ids = format!("CLIENT LIST ID {} 999 {}", three.0, one.0);
    let listed = text(tell(&mut world, one, &ids).unwrap());
    assert!(listed.starts_with(&format!("id={} ", three.0)) && listed.lines().count() == 2);
    assert_eq!(text(world.call(one, &[b"CLIENT", b"LIST", b"TYPE", b"pubsub"])), "");

    let kill = format!("CLIENT KILL ID {}", two.0);
    assert_eq!(tell(&mut world, one, &kill), Some(Reply::Int(1)));
    assert_eq!(world.closed, [two]);
    assert!(!world.shard.accepts(two));
    world.shard.handle(world.now, Input::Disconnected(two));
    assert_eq!(tell(&mut world, one, &kill), Some(Reply::Int(0)));
    // All but oneself, and then oneself behind the answer.
    assert_eq!(tell(&mut world, one, "CLIENT KILL TYPE normal"), Some(Reply::Int(1)));
    assert_eq!(world.closed, [two, three]);
    assert_eq!(text(tell(&mut world, one, "CLIENT KILL 1.2.3.4:5").unwrap()), "ERR No such client");
    let myself = format!("CLIENT KILL ID {} SKIPME no", one.0);
    assert_eq!(tell(&mut world, one, &myself), Some(Reply::Int(1)));
    assert_eq!(world.closed, [two, three, one]);
}

#[test]
fn replies_are_kept_back_as_a_client_wants() {
    let mut world = World::fresh(Setup::default());
    let client = world.client();
    let silences = |world: &mut World| std::mem::take(&mut world.others).len();
    assert_eq!(tell(&mut world, client, "CLIENT REPLY SKIP"), None);
    assert_eq!(tell(&mut world, client, "SET k 1"), None);
    assert_eq!(silences(&mut world), 2);
    assert_eq!(tell(&mut world, client, "GET k"), Some(Reply::bulk(b"1")));
    assert_eq!(tell(&mut world, client, "CLIENT REPLY OFF"), None);
    assert_eq!(tell(&mut world, client, "SET k 2"), None);
    assert_eq!(tell(&mut world, client, "NOSUCH"), None);
    assert_eq!(silences(&mut world), 3);
    assert_eq!(tell(&mut world, client, "CLIENT REPLY ON"), Some(Reply::OK));
    assert_eq!(tell(&mut world, client, "GET k"), Some(Reply::bulk(b"2")));
    tell(&mut world, client, "CLIENT REPLY OFF");
    assert_eq!(tell(&mut world, client, "RESET"), Some(Reply::Simple("RESET")));
}

/// What INFO tells of clients that wait.
fn blocked(world: &mut World) -> usize {
    let client = world.client();
    field(world, client, "blocked_clients").parse().expect("a number")
}

#[test]
fn paused_clients_go_on_in_their_order() {
    let mut world = World::fresh(Setup::default());
    let [one, two] = [(); 2].map(|()| world.client());
    assert_eq!(tell(&mut world, one, "CLIENT PAUSE 1000 WRITE"), Some(Reply::OK));
    assert_eq!(tell(&mut world, one, "GET k"), Some(Reply::Null));
    assert_eq!(tell(&mut world, two, "SET k 2"), None);
    assert!(!world.shard.accepts(two));
    let three = world.client();
    tell(&mut world, three, "MULTI");
    assert_eq!(tell(&mut world, one, "SET k 1"), None);
    let gone = world.client();
    assert_eq!(tell(&mut world, gone, "SET k 4"), None);
    assert_eq!(blocked(&mut world), 3);
    world.shard.handle(world.now, Input::Disconnected(gone));
    assert_eq!(blocked(&mut world), 2);
    assert_eq!(tell(&mut world, three, "DISCARD"), Some(Reply::OK));
    assert_eq!(tell(&mut world, three, "CLIENT UNPAUSE"), Some(Reply::OK));
    world.settle();
    assert_eq!(world.reply(one), Some(Reply::OK));
    assert_eq!(world.reply(two), Some(Reply::OK));
    assert_eq!(blocked(&mut world), 0);
    // Theirs came first by number, not by time.
    assert_eq!(tell(&mut world, three, "GET k"), Some(Reply::bulk(b"2")));
    // All of them, until the time is over.
    assert_eq!(tell(&mut world, one, "CLIENT PAUSE 1000"), Some(Reply::OK));
    assert_eq!(tell(&mut world, two, "PING"), None);
    world.pass(Duration::from_millis(999));
    assert_eq!(world.reply(two), None);
    world.pass(Duration::from_millis(2));
    assert_eq!(world.reply(two), Some(Reply::Simple("PONG")));
    assert!(world.shard.accepts(two));
}

/// What INFO tells under this name.
fn field(world: &mut World, client: ClientId, name: &str) -> String {
    let info = text(tell(world, client, "INFO").expect("a reply"));
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {info}")).to_owned()
}

#[test]
fn what_comes_and_goes_is_told_per_second() {
    let mut world = World::fresh(Setup::default());
    let client = world.client();
    // For a while 20 commands a second, of 1 KiB each.
    for _ in 0..40 {
        world.pass(Duration::from_millis(50));
        tell(&mut world, client, "PING");
        world.shard.note_received(1024);
        world.shard.note_sent(512);
    }
    world.pass(Duration::from_millis(50));
    let told = |world: &mut World, name| field(world, client, name);
    assert_eq!(told(&mut world, "instantaneous_ops_per_sec"), "20");
    assert_eq!(told(&mut world, "instantaneous_input_kbps"), "20.00");
    assert_eq!(told(&mut world, "instantaneous_output_kbps"), "10.00");
    assert_eq!(told(&mut world, "total_net_input_bytes"), "40960");
    assert_eq!(told(&mut world, "total_net_output_bytes"), "20480");
    world.pass(Duration::from_secs(2));
    assert_eq!(told(&mut world, "instantaneous_input_kbps"), "0.00");
    assert_eq!(tell(&mut world, client, "CONFIG RESETSTAT"), Some(Reply::OK));
    assert_eq!(told(&mut world, "total_net_input_bytes"), "0");
}

#[test]
fn what_is_not_durable_yet_is_told() {
    let mut world = World::fresh(Setup { fsync: FsyncMode::Never, ..Setup::default() });
    let client = world.client();
    let told = |world: &mut World, name| field(world, client, name);
    assert_eq!(tell(&mut world, client, "SAVE"), Some(Reply::OK));
    assert_eq!(told(&mut world, "rdb_changes_since_last_save"), "0");
    tell(&mut world, client, "SET a 1");
    tell(&mut world, client, "SET b 1");
    assert_eq!(told(&mut world, "rdb_changes_since_last_save"), "2");
    assert_eq!(tell(&mut world, client, "SAVE"), Some(Reply::OK));
    assert_eq!(told(&mut world, "rdb_changes_since_last_save"), "0");
    assert_eq!(told(&mut world, "rdb_last_bgsave_status"), "ok");
    assert_eq!(told(&mut world, "aof_last_write_status"), "ok");
}

#[test]
fn a_wait_is_ended_by_another_client() {
    let mut world = World::fresh(Setup::default());
    let [one, two] = [(); 2].map(|()| world.client());
    for (reason, expected) in [
        ("", Reply::Int(0)),
        (" ERROR", Reply::error("UNBLOCKED client unblocked via CLIENT UNBLOCK")),
    ] {
        tell(&mut world, two, "SET k v");
        assert_eq!(tell(&mut world, two, "WAIT 1 0"), None);
        let unblock = format!("CLIENT UNBLOCK {}{reason}", two.0);
        assert_eq!(tell(&mut world, one, &unblock), Some(Reply::Int(1)));
        assert_eq!(world.reply(two), Some(expected));
        assert!(world.shard.accepts(two));
        assert_eq!(tell(&mut world, one, &unblock), Some(Reply::Int(0)));
    }
}

#[test]
fn clients_that_say_nothing_are_closed() {
    let mut world = World::fresh(Setup::default());
    let [idle, busy, waiting, stopped, monitor, part] = [(); 6].map(|()| world.client());
    let say = |world: &mut World, line: &str| tell(world, busy, line).expect("a reply");
    tell(&mut world, monitor, "MONITOR");
    tell(&mut world, waiting, "WAIT 1 0");
    world.pass(Duration::from_secs(60));
    assert!(world.closed.is_empty(), "never, if not said otherwise");
    say(&mut world, "CLIENT PAUSE 20000 WRITE");
    tell(&mut world, stopped, "SET k v");
    tell(&mut world, idle, "PING");
    assert_eq!(say(&mut world, "CONFIG SET timeout 3"), Reply::OK);
    for second in 0..12 {
        world.shard.heard_from(part, world.now.mono);
        world.pass(Duration::from_secs(1));
        say(&mut world, "PING");
        assert_eq!(!world.closed.is_empty(), second >= 3, "{second}: {:?}", world.closed);
    }
    assert_eq!(world.closed, [idle], "once");
    // Since the answer, not since the question.
    say(&mut world, &format!("CLIENT UNBLOCK {}", waiting.0));
    world.shard.heard_from(part, world.now.mono);
    world.pass(Duration::from_secs(3));
    assert_eq!(world.closed, [idle], "{:?}", world.closed);
    say(&mut world, "CONFIG SET timeout 0");
    world.pass(Duration::from_secs(60));
    assert_eq!(world.closed, [idle]);
    for (value, reply) in [
        ("-1", "argument must be between 0 and 2147483647 inclusive"),
        ("x", "argument couldn't be parsed into an integer"),
    ] {
        let told = text(say(&mut world, &format!("CONFIG SET timeout {value}")));
        assert!(told.ends_with(reply), "{told}");
    }
}

#[test]
fn a_new_connection_is_watched_over_as_long_as_set() {
    let mut world = World::fresh(Setup::default());
    let client = world.client();
    assert_eq!(world.shard.keepalive(), Some(Duration::from_secs(300)));
    assert_eq!(tell(&mut world, client, "CONFIG SET tcp-keepalive 60"), Some(Reply::OK));
    assert_eq!(world.shard.keepalive(), Some(Duration::from_secs(60)));
    assert_eq!(tell(&mut world, client, "CONFIG SET tcp-keepalive 0"), Some(Reply::OK));
    assert_eq!(world.shard.keepalive(), None);
    let told = text(tell(&mut world, client, "CONFIG SET tcp-keepalive 32768").unwrap());
    assert!(told.ends_with("argument must be between 0 and 32767 inclusive"), "{told}");
}

#[test]
fn what_the_node_holds_for_a_client_is_told() {
    let mut world = World::fresh(Setup::default());
    let [one, two] = [(); 2].map(|()| world.client());
    let of_two = format!("CLIENT LIST ID {}", two.0);
    let number = |world: &mut World, field: &str| -> usize {
        let line = text(tell(world, one, &of_two).expect("a reply"));
        let value = line.split([' ', '\n']).find_map(|word| word.strip_prefix(field));
        value.expect("a field").parse().expect("a number")
    };
    let all = ["argv-mem=", "multi-mem=", "oll=", "omem=", "tot-mem="];
    let seen = |world: &mut World| all.map(|field| number(world, field));
    assert_eq!(seen(&mut world), [0; 5]);
    // Two replies behind a commit that is to come.
    tell(&mut world, two, "SET k 0123456789");
    world.hold = true;
    assert_eq!(tell(&mut world, two, "SET k v"), None);
    assert_eq!(tell(&mut world, two, "PING"), None);
    let [arguments, multi, replies, bytes, total] = seen(&mut world);
    assert_eq!((arguments, multi, replies, total), (0, 0, 2, bytes));
    assert!(bytes > 0);
    world.release_all();
    assert_eq!(seen(&mut world), [0; 5]);
    assert_eq!([(); 2].map(|()| world.reply(two)), [Reply::OK, Reply::Simple("PONG")].map(Some));
    tell(&mut world, two, "MULTI");
    tell(&mut world, two, "SET k v");
    let [arguments, multi, replies, bytes, total] = seen(&mut world);
    assert_eq!((arguments, replies, bytes, total), (0, 0, 0, multi));
    assert!(multi >= "SETkv".len());
    tell(&mut world, two, "DISCARD");
    tell(&mut world, one, "CLIENT PAUSE 1000");
    tell(&mut world, two, "ECHO 0123456789");
    world.pass(Duration::from_millis(1));
    tell(&mut world, one, &of_two);
    world.pass(Duration::from_secs(1));
    let [held, ours] = [one, two].map(|id| text(world.reply(id).expect("a reply")));
    assert_eq!(ours, "0123456789");
    assert!(!held.contains(" argv-mem=0 ") && held.contains(" oll=0 "), "{held}");
    // As Redis has the line.
    let info = text(tell(&mut world, two, "CLIENT INFO").unwrap());
    assert_eq!(
        info,
        "id=2 addr=127.0.0.1:0 laddr=127.0.0.1:0 fd=-1 name= age=1 idle=0 flags=N db=0 sub=0 psub=0 \
         ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 \
         tot-mem=0 events=r cmd=client|info user=default redir=-1 resp=2 lib-name= lib-ver=\n"
    );
}

#[test]
fn a_slow_write_tells_where_its_time_went() {
    let mut world = World::fresh(Setup::default());
    let client = world.client();
    tell(&mut world, client, "CLIENT SETNAME me");
    tell(&mut world, client, "CONFIG SET latency-monitor-threshold 10");
    tell(&mut world, client, "SET quick v");
    assert_eq!(tell(&mut world, client, "SLOWLOG LEN"), Some(Reply::Int(0)));
    world.hold = true;
    let long = "x".repeat(200);
    world.send(client, &[b"SET", b"k", long.as_bytes()]);
    world.settle();
    // The write, and then its fsync.
    for ms in [30, 20] {
        world.now.mono = world.now.mono.after(Duration::from_millis(ms));
        world.release_one();
        world.settle();
    }
    world.release_all();
    world.hold = false;
    world.settle();
    assert_eq!(world.reply(client), Some(Reply::OK));
    let entries = items(tell(&mut world, client, "SLOWLOG GET").unwrap());
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    let fields = items(entry.clone());
    assert_eq!(fields[2], Reply::Int(50_000));
    let cut = format!("{}... (72 more bytes)", &long[..128]);
    let args = [&b"SET"[..], b"k", cut.as_bytes()].map(Reply::bulk);
    assert_eq!(fields[3], Reply::Array(args.into()));
    assert_eq!(fields[4..], [Reply::bulk(b"127.0.0.1:0"), Reply::bulk(b"me")]);
    let phases = items(tell(&mut world, client, "SLOWLOG PHASES").unwrap());
    let Reply::Map(phases) = &phases[0] else { panic!("{phases:?}") };
    let shown: Vec<String> = phases[2..].iter().map(|pair| format!("{pair:?}")).collect();
    for (at, us) in [(0, 50_000), (1, 0), (2, 30_000), (3, 20_000), (4, 0), (5, 0)] {
        assert!(shown[at].contains(&format!("Int({us})")), "{shown:?}");
    }
    let latest = items(tell(&mut world, client, "LATENCY LATEST").unwrap());
    let latest = items(latest[0].clone());
    assert_eq!((&latest[0], &latest[2]), (&Reply::bulk(b"commit"), &Reply::Int(50)));
    world.pass(Duration::from_secs(61));
    let graph = text(tell(&mut world, client, "LATENCY GRAPH commit").unwrap());
    let head = "commit - high 50 ms, low 50 ms (all time high 50 ms)\n";
    let drawn = format!("{head}{}\n \n \n \n_\n \n1\nm\n", "-".repeat(80));
    assert_eq!(graph, drawn);
    assert_eq!(tell(&mut world, client, "SLOWLOG RESET"), Some(Reply::OK));
    assert_eq!(tell(&mut world, client, "SLOWLOG GET"), Some(Reply::Array(vec![])));
    assert_eq!(tell(&mut world, client, "LATENCY RESET commit"), Some(Reply::Int(1)));
}

#[test]
fn what_is_no_command_is_not_slow() {
    let mut world = World::fresh(Setup::default());
    let client = world.client();
    world.hold = true;
    for line in ["SET k v", "AUT hunter2", "GET", "AUTH hunter2 x y", "PING"] {
        assert_eq!(tell(&mut world, client, line), None, "behind the write");
    }
    world.now.mono = world.now.mono.after(Duration::from_millis(50));
    world.release_all();
    let replies: Vec<Reply> = std::iter::from_fn(|| world.reply(client)).collect();
    assert_eq!(replies.len(), 5);
    // Only who sent it is shown it again.
    let told = text(replies[1].clone());
    assert_eq!(told, "ERR unknown command 'AUT', with args beginning with: 'hunter2' ");
    let slow = format!("{:?}", tell(&mut world, client, "SLOWLOG GET").unwrap());
    assert!(slow.contains("SET") && slow.contains("PING"), "{slow}");
    assert!(!slow.contains("hunter2") && !slow.contains("\"AUT\""), "{slow}");
}

#[test]
fn commands_are_counted_and_timed_by_the_driver() {
    let mut world = World::fresh(Setup::default());
    let client = world.client();
    let timed = |world: &mut World, line: &str, us: u64| {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        world.send(client, &args);
        let until = world.now.mono.after(Duration::from_micros(us));
        if world.shard.evaluated(client, until) {
            world.shard.note_slow(client, &args, until);
        }
        world.now.mono = until;
        world.settle();
        world.reply(client).expect("a reply")
    };
    timed(&mut world, "GET k", 3);
    timed(&mut world, "GET k", 5);
    timed(&mut world, "INCR k x", 1);
    timed(&mut world, "SET k x", 2);
    timed(&mut world, "INCR k", 4);
    timed(&mut world, "AUTH hunter2", 1);
    timed(&mut world, "KEYS *", 20_000);
    let info = text(timed(&mut world, "INFO commandstats errorstats latencystats", 9));
    assert!(
        info.contains(
            "cmdstat_get:calls=2,usec=8,usec_per_call=4.00,rejected_calls=0,failed_calls=0\r\n"
        ),
        "{info}"
    );
    assert!(
        info.contains(
            "cmdstat_incr:calls=1,usec=4,usec_per_call=4.00,rejected_calls=0,failed_calls=1"
        ),
        "{info}"
    );
    assert!(info.contains("errorstat_ERR:count=3\r\n"), "{info}");
    assert!(info.contains("latency_percentiles_usec_get:p50=3."), "{info}");
    let slow = format!("{:?}", timed(&mut world, "SLOWLOG GET", 1));
    assert!(
        slow.contains("KEYS")
            && slow.contains("Int(20000)")
            && slow.matches("127.0.0.1").count() == 1
    );
    let histogram = format!("{:?}", timed(&mut world, "LATENCY HISTOGRAM get", 1));
    assert!(histogram.contains("calls") && histogram.contains("(Int(4), Int(1))"), "{histogram}");
    timed(&mut world, "CONFIG RESETSTAT", 1);
    let info = text(timed(&mut world, "INFO commandstats stats", 1));
    assert!(!info.contains("cmdstat_get:") && info.contains("total_error_replies:0"), "{info}");
    // Nothing of it shows a password, nor does what is asked for all of it.
    timed(&mut world, "CONFIG SET slowlog-log-slower-than 0", 1);
    for line in [
        "AUTH hunter2",
        "HELLO 2 AUTH default hunter2",
        "ACL SETUSER ann >hunter2",
        "CONFIG SET requirepass hunter2",
    ] {
        timed(&mut world, line, 1);
    }
    timed(&mut world, "AUTH default hunter2", 1);
    let mut all = String::new();
    for line in [
        "SLOWLOG GET -1",
        "SLOWLOG PHASES",
        "INFO everything",
        "ACL LOG",
        "ACL LIST",
        "CLIENT LIST",
        "CONFIG GET *",
        "ACL GETUSER ann",
    ] {
        all += &format!("{:?}", timed(&mut world, line, 1));
    }
    assert!(all.contains("(redacted)") && !all.contains("hunter2"), "{all}");
}

#[test]
fn monitors_are_shown_what_others_do() {
    let mut world = World::fresh(Setup::default());
    let [one, two] = [(); 2].map(|()| world.client());
    let lines = |world: &mut World| -> Vec<String> {
        let shown = std::mem::take(&mut world.others).into_iter().map(|output| match output {
            Output::Monitored(_, line) => line.to_string(),
            other => panic!("{other:?}"),
        });
        shown.collect()
    };
    assert_eq!(tell(&mut world, one, "MONITOR"), Some(Reply::OK));
    assert_eq!(tell(&mut world, one, "MONITOR"), Some(Reply::OK));
    lines(&mut world);
    world.call(two, &[b"SET", b"a\"b\\", b"\x00\n\xff"]);
    let shown = lines(&mut world);
    assert_eq!(shown.len(), 1);
    assert!(shown[0].ends_with(r#" [0 127.0.0.1:0] "SET" "a\"b\\" "\x00\n\xff""#), "{shown:?}");
    // What is refused, is for administrators, or is a password is not shown.
    for line in ["NOSUCH", "GET", "CONFIG GET save", "ACL SETUSER default >hunter2"] {
        tell(&mut world, two, line);
        assert_eq!(lines(&mut world), [""; 0], "{line}");
    }
    tell(&mut world, two, "AUTH hunter2");
    assert!(lines(&mut world)[0].ends_with(r#""AUTH" "(redacted)""#));
    world.call(two, &[b"SET", b"k", &[b'x'; 5_000]]);
    let shown = lines(&mut world);
    assert!(shown[0].len() < 1_200 && shown[0].ends_with("x... (3976 more bytes)\""));
    assert!(text(tell(&mut world, two, "CLIENT INFO").unwrap()).contains("flags=N"));
    assert!(text(tell(&mut world, one, "CLIENT INFO").unwrap()).contains("flags=O"));
    lines(&mut world);
    tell(&mut world, one, "RESET");
    lines(&mut world);
    tell(&mut world, two, "GET k");
    assert_eq!(lines(&mut world), [""; 0]);
    let monitors: Vec<ClientId> = (0..17).map(|_| world.client()).collect();
    for (at, &monitor) in monitors.iter().enumerate() {
        tell(&mut world, monitor, "AUTH hunter2");
        let reply = tell(&mut world, monitor, "MONITOR").unwrap();
        assert_eq!(matches!(reply, Reply::Error(_)), at == 16, "{reply:?}");
    }
}

#[test]
fn a_save_is_answered_when_all_is_durable() {
    let setup = Setup { fsync: FsyncMode::Never, ..Setup::default() };
    let mut world = World::fresh(setup);
    let client = world.client();
    let lastsave = |world: &mut World| tell(world, client, "LASTSAVE").unwrap();
    let first = lastsave(&mut world);
    tell(&mut world, client, "SET k v");
    world.now.wall_us += 5_000_000;
    assert_eq!(lastsave(&mut world), first, "nobody has asked for an fsync");
    assert!(!world.shard.glance().durable);
    assert_eq!(tell(&mut world, client, "SAVE"), Some(Reply::OK));
    assert!(world.shard.glance().durable);
    let second = lastsave(&mut world);
    assert_ne!(second, first);
    tell(&mut world, client, "SET k w");
    let reply = tell(&mut world, client, "BGSAVE");
    assert_eq!(reply, Some(Reply::Simple("Background saving started")));
    assert!(world.shard.glance().durable);
    let reply = tell(&mut world, client, "BGREWRITEAOF");
    assert_eq!(reply, Some(Reply::Simple("Background append only file rewriting started")));
    // With an fsync before each answer there is nothing left to do.
    let mut world = World::fresh(Setup::default());
    let client = world.client();
    tell(&mut world, client, "SET k v");
    assert_eq!(tell(&mut world, client, "SAVE"), Some(Reply::OK));
}

#[test]
fn shutdown_is_the_drivers_to_do() {
    let mut world = World::fresh(Setup::default());
    let client = world.client();
    assert_eq!(tell(&mut world, client, "SHUTDOWN"), None);
    assert!(matches!(world.others[..], [Output::Shutdown, Output::Silence(_)]));
}
