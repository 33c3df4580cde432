//! `kvnode cli` and the command line of the others.

mod common;

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use common::cluster::Cluster;
use common::terminal::Terminal;
use common::{Frame, Node, NodeBuilder, Signal, wait_until};
use tempfile::TempDir;

fn kvnode() -> Command {
    Command::new(env!("CARGO_BIN_EXE_kvnode"))
}

/// `kvnode cli` at the node.
fn cli(node: &Node) -> Command {
    let mut command = kvnode();
    command.args(["cli", "-h", "127.0.0.1", "-p", &node.addr().port().to_string()]);
    command
}

fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("kvnode starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What `kvnode cli` prints for lines on its stdin, and its exit code.
fn piped(node: &Node, options: &[&str], lines: &str) -> (String, Option<i32>) {
    let mut child = cli(node)
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kvnode starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(lines.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    (stdout(&output), output.status.code())
}

/// The prompt at the node, with its state in `home`.
fn prompt(node: &Node, home: &TempDir) -> Terminal {
    let mut command = cli(node);
    command.env("XDG_STATE_HOME", home.path());
    let mut terminal = Terminal::start(command);
    terminal.expect(&prompt_of(node.addr()));
    terminal
}

/// Enters a line, and waits for the reply and the next prompt: what is typed earlier may go to the
/// terminal's own line editor.
fn enter(terminal: &mut Terminal, node: &Node, line: &str, reply: &str) {
    terminal.press(line);
    terminal.expect(line);
    terminal.press("\r");
    terminal.expect(reply);
    terminal.expect(&prompt_of(node.addr()));
}

fn prompt_of(addr: SocketAddr) -> String {
    format!("{addr}> ")
}

fn home() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

#[test]
fn the_session_of_simplekv_in_a_pipe() {
    let node = Node::start(&[]);
    let session = "set k hello\nget k\nexpire k 100\nttl k\ndel k\nget k\n";
    let (said, code) = piped(&node, &[], session);
    assert_eq!(without_time(&said, ""), "OK\nhello\n1\nTIME\n1\n\n");
    assert_eq!(code, Some(0));
    let (said, _) = piped(&node, &["--no-raw"], session);
    let people = "OK\n\"hello\"\n(integer) 1\nTIME\n(integer) 1\n(nil)\n";
    assert_eq!(without_time(&said, "(integer) "), people);
}

/// The fourth line, some seconds up to a hundred behind `prefix`, as `TIME`.
fn without_time(said: &str, prefix: &str) -> String {
    let lines = said.lines().enumerate().map(|(n, line)| {
        let seconds = line.strip_prefix(prefix).and_then(|text| text.parse::<u32>().ok());
        let is_time = n == 3 && seconds.is_some_and(|seconds| (2..=100).contains(&seconds));
        format!("{}\n", if is_time { "TIME" } else { line })
    });
    lines.collect()
}

#[test]
fn the_session_of_simplekv_at_a_terminal() {
    let (node, home) = (Node::start(&[]), home());
    let mut terminal = prompt(&node, &home);
    for (line, reply) in [
        ("set k hello", "OK\r\n"),
        ("get k", "\"hello\"\r\n"),
        ("expire k 100", "(integer) 1\r\n"),
        ("ttl k", "(integer) "),
        ("del k", "(integer) 1\r\n"),
        ("get k", "(nil)\r\n"),
    ] {
        enter(&mut terminal, &node, line, reply);
    }
    terminal.press("exit\r");
    assert_eq!(terminal.wait().code(), Some(0));
}

#[test]
fn one_command_prints_its_reply_and_tells_by_its_exit_code() {
    let node = Node::start(&[]);
    let set = output(cli(&node).args(["set", "k", "a b\"c"]));
    assert_eq!((stdout(&set).as_str(), set.status.code()), ("OK\n", Some(0)));
    assert_eq!(stdout(&output(cli(&node).args(["get", "k"]))), "a b\"c\n");
    assert_eq!(stdout(&output(cli(&node).args(["--no-raw", "get", "k"]))), "\"a b\\\"c\"\n");
    assert_eq!(stdout(&output(cli(&node).args(["incrby", "n", "-5"]))), "-5\n");
    let error = output(cli(&node).args(["incr", "k"]));
    assert!(stdout(&error).contains("ERR value is not an integer"), "{error:?}");
    assert_eq!(error.status.code(), Some(1));
    let resp3 = output(cli(&node).args(["-3", "--no-raw", "hello"]));
    assert!(stdout(&resp3).contains("\"proto\" => (integer) 3"), "{resp3:?}");
}

#[test]
fn arguments_may_be_any_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let node = Node::start(&[]);
    let value = OsStr::from_bytes(b"\xff\xfe/\xc3\x28");
    assert_eq!(stdout(&output(cli(&node).args(["set", "k"]).arg(value))), "OK\n");
    assert_eq!(node.client().call(["GET", "k"]), Frame::bulk(value.as_bytes()));
    assert_eq!(output(cli(&node).args(["get", "k"])).stdout, b"\xff\xfe/\xc3\x28\n");
}

#[test]
fn no_connection_is_said_in_a_sentence() {
    let node = Node::start(&[]);
    let mut command = cli(&node);
    let addr = node.addr().to_string();
    node.end(Signal::Term);
    let output = output(command.args(["ping"]));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let said = stderr(&output);
    assert!(said.contains(&addr) && said.lines().count() == 1, "{said}");
}

#[test]
fn a_wrong_command_line_is_exit_code_two() {
    for args in [
        &["nosuch"][..],
        &["cli", "--nosuch"],
        &["cli", "-p", "99999"],
        &["run", "--fsync", "sometimes"],
        &["run", "--listen", "nowhere"],
        &["run", "--cache", "much"],
        &["run", "--partitions", "0"],
        &["check"],
    ] {
        let output = output(kvnode().args(args));
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains("Usage:") || stderr(&output).contains("--help"));
    }
}

#[test]
fn lines_of_a_pipe_go_on_after_an_error_and_quote_as_redis_does() {
    let node = Node::start(&[]);
    let (said, code) = piped(
        &node,
        &[],
        "set k \"a\\x41\\n\"\n\n  strlen k\nnosuch\nset 'it''s'\nping\nquit\nping\n",
    );
    let lines: Vec<_> = said.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines[..2], ["OK", "3"]);
    assert!(lines[2].starts_with("ERR unknown command 'nosuch'"), "{said}");
    assert_eq!(lines[3..], ["PONG"], "{said}");
    assert_eq!(code, Some(1), "an error was among the replies");
}

#[test]
fn arguments_to_come_are_greyed_and_names_are_completed() {
    let (node, home) = (Node::start(&[]), home());
    let mut terminal = prompt(&node, &home);
    terminal.press("getra");
    terminal.press("\t");
    terminal.expect("getrange");
    terminal.expect("\x1b[90m key start end\x1b[0m");
    terminal.press(" k");
    terminal.expect("\x1b[90m start end\x1b[0m");
    terminal.press(" 0 -1\r");
    terminal.expect("\"\"\r\n");
    terminal.expect(&prompt_of(node.addr()));
    terminal.press("PEXPIREA\t");
    terminal.expect("PEXPIREAT");
    // Ctrl-C drops the line, Ctrl-D leaves.
    terminal.press("\x03");
    terminal.expect(&prompt_of(node.addr()));
    terminal.press("\x04");
    assert_eq!(terminal.wait().code(), Some(0));
}

#[test]
fn help_explains_a_command() {
    let (node, home) = (Node::start(&[]), home());
    let mut terminal = prompt(&node, &home);
    enter(&mut terminal, &node, "help getrange", "GETRANGE key start end");
    enter(&mut terminal, &node, "help", "PEXPIREAT");
    enter(&mut terminal, &node, "help nosuch", "no command \"nosuch\"");
    terminal.press("quit\r");
    assert_eq!(terminal.wait().code(), Some(0));
}

#[test]
fn the_prompt_shows_a_transaction() {
    let (node, home) = (Node::start(&[]), home());
    let mut terminal = prompt(&node, &home);
    let transaction = format!("{}(TX)> ", node.addr());
    terminal.press("multi\r");
    terminal.expect(&transaction);
    terminal.press("incr n\r");
    terminal.expect("QUEUED\r\n");
    terminal.expect(&transaction);
    enter(&mut terminal, &node, "exec", "1) (integer) 1\r\n");
}

#[test]
fn the_prompt_finds_the_node_again() {
    let (node, home) = (Node::start(&[]), home());
    let addr = node.addr();
    let mut terminal = prompt(&node, &home);
    enter(&mut terminal, &node, "set k v", "OK\r\n");
    let (builder, _) = node.end(Signal::Term);
    terminal.press("get k\r");
    terminal.expect("Could not connect");
    terminal.expect("not connected> ");
    let node = builder.listen(addr).start();
    assert_eq!(node.addr(), addr);
    enter(&mut terminal, &node, "get k", "\"v\"\r\n");
}

#[test]
fn who_is_sent_to_another_node_goes_there() {
    let mut cluster = Cluster::started(2, &["--partitions", "8", "--redirect", "moved"]);
    cluster.whole();
    let ([here, there], home) = ([1, 2].map(|id| cluster.node(id)), home());
    // All letters are in every other partition, so each node leads every other one of those.
    for partition in 0..8 {
        let (partition, leader) = (format!("p{partition}"), format!("n{}", 1 + partition / 2 % 2));
        let moved = here.client().call(["CLUSTER", "MOVE", &partition, &leader]);
        let is_so = matches!(&moved, Frame::Error(text) if text.contains("it is so already"));
        assert!(moved == Frame::ok() || is_so, "{moved:?}");
    }
    // Of one letter: the prompt shows a longer one in parts, with its hints.
    let led_by = |node: &Node| {
        let mut client = node.client();
        wait_until("the node to lead some", || {
            let mut keys = ('a'..='z').map(String::from);
            keys.find(|key| client.call(["SET", key, "v"]) == Frame::ok())
        })
    };
    let (near, far) = (led_by(here), led_by(there));

    // Scripts get the reply and nothing else.
    let got = output(cli(here).args(["get", &far]));
    assert_eq!((stdout(&got), stderr(&got), got.status.code()), ("v\n".into(), "".into(), Some(0)));
    let (said, code) = piped(here, &[], &format!("get {far}\nget {near}\n"));
    assert_eq!((said.as_str(), code), ("v\nv\n", Some(0)));

    // People are told where they are.
    let mut terminal = prompt(here, &home);
    let get = format!("get {far}");
    enter(&mut terminal, there, &get, &format!("is at {}\r\n\"v\"\r\n", there.addr()));
    // A transaction moves until something is queued in it.
    terminal.press("multi\r");
    terminal.expect("(TX)> ");
    terminal.press(&format!("incr {{{near}}}n\r"));
    terminal.expect(&format!("is at {}\r\nQUEUED\r\n", here.addr()));
    terminal.expect(&format!("{}(TX)> ", here.addr()));
    terminal.press(&format!("incr {far}\r"));
    terminal.expect("(error) MOVED ");
    terminal.expect("(TX)> ");
    enter(&mut terminal, here, "exec", "(error) EXECABORT ");
    // What is watched stays watched.
    enter(&mut terminal, here, &format!("watch {near}"), "OK\r\n");
    enter(&mut terminal, here, &get, "(error) MOVED ");
    enter(&mut terminal, here, "unwatch", "OK\r\n");
    // From a node that is gone it finds back to the one that it was started for.
    enter(&mut terminal, there, &get, "\"v\"\r\n");
    cluster.kill(2);
    enter(&mut terminal, cluster.node(1), "ping", "PONG\r\n");
}

#[test]
fn the_history_outlives_the_session_and_holds_no_password() {
    let (node, home) = (Node::start(&[]), home());
    for (line, reply) in [("set k first", "OK\r\n"), ("get k", "\"first\"\r\n")] {
        let mut terminal = prompt(&node, &home);
        enter(&mut terminal, &node, "auth sesame", "ERR");
        enter(&mut terminal, &node, "acl setuser ann >sesame", "OK");
        enter(&mut terminal, &node, "config set requirepass sesame extra", "ERR");
        enter(&mut terminal, &node, line, reply);
        terminal.press("\x04");
        assert_eq!(terminal.wait().code(), Some(0));
    }
    // Up twice: the last line of the session before the last.
    let mut terminal = prompt(&node, &home);
    terminal.press("\x1b[A\x1b[A");
    terminal.expect("set k first");
    terminal.press("\r");
    terminal.expect("OK\r\n");
    let history = home.path().join("kvnode/history");
    let text = std::fs::read_to_string(history).expect("the history is in the state directory");
    assert!(text.contains("get k") && !text.contains("sesame"), "{text}");
}

#[test]
fn run_says_where_it_listens_and_how_to_talk_to_it() {
    let node = Node::start(&[]);
    let port = node.addr().port().to_string();
    let said = node.builder().said();
    assert!(said.contains(&format!("kvnode cli -p {port}")), "{said}");
    assert!(said.contains(&node.builder().data().display().to_string()), "{said}");
}

#[test]
fn run_refuses_what_it_can_not_do_in_a_sentence() {
    let node = Node::start(&[]);
    let taken = NodeBuilder::new().listen(node.addr());
    let file = NodeBuilder::new();
    std::fs::write(file.data(), "not a directory").expect("written");
    for (builder, expected) in
        [(taken, node.addr().to_string()), (file.clone(), file.data().display().to_string())]
    {
        let status = builder.start_in_vain();
        assert_eq!(status.code(), Some(1));
        let said = builder.log();
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("kvnode: ") && last.contains(&expected), "{said}");
    }
}

#[test]
fn every_command_has_help() {
    for command in ["run", "cli", "status", "cluster", "demo", "check"] {
        let output = output(kvnode().args([command, "--help"]));
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(stdout(&output).contains("Exit codes: "), "{command}");
    }
    for command in ["cli", "status", "cluster"] {
        let output = output(kvnode().args([command, "-h"]));
        assert_eq!(output.status.code(), Some(2), "{command}");
        let told = stderr(&output);
        assert!(told.contains("tip: -h is the host, as in redis-cli") && told.contains("--help"));
    }
}
