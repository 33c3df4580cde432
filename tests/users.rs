//! Users, passwords and protected mode, over TCP and on the command line.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test may fail at what it does not expect")]

mod common;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use common::{Client, Endpoint, Frame, Node, NodeBuilder, Signal, encode};

const PASSWORD: &str = "correct-horse-battery";

/// A node whose clients need [`PASSWORD`].
fn locked() -> Node {
    let builder = NodeBuilder::new();
    let file = builder.home().join("password");
    fs::write(&file, format!("{PASSWORD}\n")).expect("a file");
    builder.options(["--password-file".into(), file.display().to_string()]).start()
}

fn wrong(reply: &Frame, start: &str) {
    assert!(reply.is_error(start), "{reply:?} is not {start}");
}

fn words(frame: &Frame) -> Vec<String> {
    let text = |frame: &Frame| match frame {
        Frame::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("{other:?} is no text"),
    };
    frame.elements().expect("an array").iter().map(text).collect()
}

#[test]
fn every_command_but_those_that_let_in_is_refused_to_strangers() {
    let node = locked();
    let mut known = node.client();
    assert_eq!(known.call(["AUTH", PASSWORD]), Frame::ok());
    let mut stranger = node.client();
    let mut tried = 0;
    for name in words(&known.call(["COMMAND", "LIST"])) {
        let info = known.call(["COMMAND", "INFO", &name]);
        let fields = info.elements().and_then(|all| all[0].elements()).expect("a command");
        let Frame::Int(arity) = fields[1] else { panic!("{name} has no arity") };
        let containers = ["acl", "client", "cluster", "config"];
        if ["auth", "hello", "quit", "reset"].contains(&&*name) || containers.contains(&&*name) {
            continue;
        }
        let mut args: Vec<&str> = name.split('|').collect();
        if fields[9].elements().is_some_and(|subs| !subs.is_empty()) && arity < -1 {
            continue;
        }
        args.resize(args.len().max(arity.unsigned_abs() as usize), "1");
        let reply = stranger.call(&args);
        let expected = match &*name {
            "exec" => "EXECABORT Transaction discarded because of: NOAUTH",
            _ => "NOAUTH Authentication required.",
        };
        wrong(&reply, expected);
        tried += 1;
    }
    assert!(tried > 100, "{tried} commands");
    wrong(&stranger.call(["HELLO", "3"]), "NOAUTH HELLO must be called");
    assert_eq!(stranger.call(["RESET"]), Frame::Simple("RESET".into()));
    wrong(&stranger.call(["AUTH", "wrong"]), "WRONGPASS");
    wrong(&stranger.call(["GET", "k"]), "NOAUTH");
    assert_eq!(stranger.call(["AUTH", "default", PASSWORD]), Frame::ok());
    assert_eq!(stranger.call(["SET", "k", "v"]), Frame::ok());
    assert_eq!(node.client().call(["QUIT"]), Frame::ok());
}

#[test]
fn little_is_taken_from_strangers() {
    let node = locked();
    for (bytes, expected) in [
        (&b"*11\r\n"[..], "ERR Protocol error: unauthenticated multibulk length"),
        (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", "ERR Protocol error: unauthenticated bulk length"),
        (b"*2\r\n$4\r\nAUTH\r\n$67109889\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1048577\r\n", "ERR Protocol error: invalid multibulk length"),
    ] {
        let mut client = node.client();
        client.send_raw(bytes).unwrap();
        wrong(&client.receive().unwrap(), expected);
        assert!(client.is_closed());
    }
    // Behind an AUTH that is right, in the same breath, the limits are the usual ones.
    let mut client = node.client();
    let long = "x".repeat(100_000);
    client.send_raw(&[encode(["AUTH", PASSWORD]), encode(["SET", "k", &long])].concat()).unwrap();
    assert_eq!(client.receive().unwrap(), Frame::ok());
    assert_eq!(client.receive().unwrap(), Frame::ok());
}

/// An address of this machine that others reach it by, if it has one.
fn outside() -> Option<Ipv4Addr> {
    // Nothing is sent: the system says from where it would be.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(address) if !address.ip().is_loopback() => Some(*address.ip()),
        _ => None,
    }
}

#[test]
fn other_machines_are_refused_while_there_is_no_password() {
    let Some(outside) = outside() else {
        common::skipped("this machine has no address beside loopback");
        return;
    };
    let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let at = |node: &Node| Endpoint::Tcp((outside, node.addr().port()).into());
    let node = NodeBuilder::new().listen(anywhere).start();
    let mut client = Client::connect(&at(&node)).unwrap();
    wrong(&client.receive().unwrap(), "DENIED kvnode is running in protected mode");
    assert!(client.is_closed());
    let open = NodeBuilder::new().listen(anywhere).options(["--protected-mode", "no"]).start();
    assert_eq!(Client::connect(&at(&open)).unwrap().call(["SET", "k", "v"]), Frame::ok());
    let mut here = TcpStream::connect((Ipv4Addr::LOCALHOST, node.addr().port())).unwrap();
    std::io::Write::write_all(&mut here, &encode(["PING"])).unwrap();
}

#[test]
fn users_come_from_a_file_and_go_back_to_it() {
    let builder = NodeBuilder::new();
    let path = builder.home().join("users.acl");
    let file = path.display().to_string();
    fs::write(&path, format!("user default off\nuser ann on >{PASSWORD} ~app:* +@all\n")).unwrap();
    let node = builder.clone().options(["--acl-file", &file]).start();
    let mut ann = node.client();
    wrong(&ann.call(["GET", "app:k"]), "NOAUTH");
    assert_eq!(ann.call(["AUTH", "ann", PASSWORD]), Frame::ok());
    assert_eq!(ann.call(["SET", "app:k", "v"]), Frame::ok());
    wrong(&ann.call(["SET", "other", "v"]), "NOPERM No permissions to access a key");
    assert_eq!(ann.call(["ACL", "SETUSER", "bob", "on", ">bobs", "allkeys", "+get"]), Frame::ok());
    assert_eq!(ann.call(["ACL", "SAVE"]), Frame::ok());
    let saved = fs::read_to_string(&path).unwrap();
    assert!(saved.contains("user bob on") && !saved.contains(PASSWORD) && !saved.contains("bobs"));
    // Others may not read it.
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let (builder, _) = node.end(Signal::Term);
    let node = builder.start();
    let mut bob = node.client();
    assert_eq!(bob.call(["AUTH", "bob", "bobs"]), Frame::ok());
    assert_eq!(bob.call(["GET", "app:k"]), Frame::bulk("v"));
    wrong(&bob.call(["ACL", "LOAD"]), "NOPERM User bob has no permissions to run the 'acl|load'");
    // A user that is gone from the file is gone, and its connection with it.
    fs::write(&path, format!("user ann on >{PASSWORD} ~* +@all\n")).unwrap();
    let mut ann = node.client();
    ann.call(["AUTH", "ann", PASSWORD]);
    fs::write(&path, "user ann on >other +nosuch\n").unwrap();
    wrong(&ann.call(["ACL", "LOAD"]), "ERR line 1: user 'ann', rule '+nosuch': Unknown");
    let line = saved.lines().find(|line| line.starts_with("user ann")).expect("her line");
    fs::write(&path, format!("{line}\n")).unwrap();
    assert_eq!(ann.call(["ACL", "LOAD"]), Frame::ok());
    assert!(bob.is_closed());
    // A file that is wrong or absent is no start.
    drop((ann, node));
    fs::write(&path, format!("user ann on >{PASSWORD} +nosuch\n")).unwrap();
    let builder = NodeBuilder::new().options(["--acl-file", &file]);
    assert_eq!(builder.start_in_vain().code(), Some(1));
    let log = builder.log();
    assert!(log.contains("cannot use the ACL file") && !log.contains(PASSWORD), "{log}");
    assert!(log.contains(": line 1: user 'ann', rule '+nosuch': Unknown command"), "{log}");
}

fn kvnode(node: &Node, command: &str) -> Command {
    let mut kvnode = Command::new(env!("CARGO_BIN_EXE_kvnode"));
    kvnode.args([command, "-p", &node.addr().port().to_string()]).env_remove("KVNODE_PASSWORD");
    kvnode.stdin(Stdio::null());
    kvnode
}

fn text(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn the_command_line_knows_passwords_from_files_and_the_environment() {
    let node = locked();
    let file = PathBuf::from(node.builder().home()).join("password");
    let refused = kvnode(&node, "cli").args(["get", "k"]).output().unwrap();
    assert!(text(&refused).contains("NOAUTH") && refused.status.code() == Some(1));
    for (name, value) in [("--password-file", file.to_str().unwrap()), ("--user", "default")] {
        let mut command = kvnode(&node, "cli");
        command.env("KVNODE_PASSWORD", PASSWORD).args([name, value, "acl", "whoami"]);
        let told = command.output().unwrap();
        assert_eq!(text(&told), "default\n");
    }
    let wrong = kvnode(&node, "cli").env("KVNODE_PASSWORD", "hunter2").arg("ping").output();
    let wrong = wrong.unwrap();
    assert!(text(&wrong).contains("WRONGPASS") && !text(&wrong).contains("hunter2"));
    let status = kvnode(&node, "status").output().unwrap();
    let wants = format!("kvnode: {} wants a password: --password-file FILE", node.addr());
    assert!(text(&status).starts_with(&wants), "{}", text(&status));
    let status = kvnode(&node, "status").env("KVNODE_PASSWORD", "hunter2").output().unwrap();
    assert!(text(&status).contains("WRONGPASS"), "{}", text(&status));
    assert!(!text(&status).contains("nodes of a cluster"), "{}", text(&status));
    let status = kvnode(&node, "status").env("KVNODE_PASSWORD", PASSWORD).output().unwrap();
    assert!(text(&status).contains("cluster support disabled"), "{}", text(&status));
    let nobody = kvnode(&node, "cli").args(["--user", "ann", "ping"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(2), "{}", text(&nobody));
    assert!(text(&nobody).contains("KVNODE_PASSWORD"));
}
