//! A whole node in this process, spoken to over TCP.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedSender;

use super::*;

/// A node on a thread of its own.
struct Running {
    address: SocketAddr,
    stop: UnboundedSender<&'static str>,
    thread: JoinHandle<Result<(), Error>>,
}

fn options(dir: &Path) -> Options {
    Options {
        data: dir.to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        cache_bytes: 8 << 20,
        ..Options::default()
    }
}

impl Running {
    fn start(options: Options) -> Self {
        let (stop, stops) = unbounded_channel();
        let (ready_tx, ready) = mpsc::channel();
        let thread = thread::spawn(move || {
            runtime()?.block_on(serve(options, stops, move |address| {
                ready_tx.send(address).expect("the test waits for it");
            }))
        });
        match ready.recv() {
            Ok(address) => Self { address, stop, thread },
            Err(_) => panic!("the node did not start: {:?}", thread.join()),
        }
    }

    fn stop(self) {
        self.stop.send("test").unwrap();
        self.thread.join().unwrap().unwrap();
    }

    fn client(&self) -> Client {
        let socket = TcpStream::connect(self.address).unwrap();
        // Long enough for any machine; a test that gets here has failed.
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client { socket }
    }
}

struct Client {
    socket: TcpStream,
}

impl Client {
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads as many bytes as `expected` has, which they must be.
    #[track_caller]
    fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut got = vec![0; expected.len()];
        self.socket.read_exact(&mut got).unwrap();
        assert!(got == expected, "{:?}", got[..got.len().min(200)].escape_ascii().to_string());
    }

    /// Reads until the node closes the connection.
    fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.socket.read_to_end(&mut rest).unwrap();
        String::from_utf8(rest).unwrap()
    }

    #[track_caller]
    fn ping(&mut self) {
        self.send("PING\r\n");
        self.expect("+PONG\r\n");
    }
}

fn command(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

fn start() -> (TempDir, Running) {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::start(options(dir.path()));
    (dir, node)
}

#[test]
fn a_command_may_come_in_pieces_of_any_size() {
    let (_dir, node) = start();
    let mut client = node.client();
    client.socket.set_nodelay(true).unwrap();
    let commands = [command(&[b"SET", b"k", b"a\r\n\0b"]), command(&[b"GET", b"k"])].concat();
    for piece in [1, 2, 3, 7, commands.len()] {
        for bytes in commands.chunks(piece) {
            client.send(bytes);
        }
        client.expect([b"+OK\r\n".as_slice(), &bulk(b"a\r\n\0b")].concat());
    }
    node.stop();
}

#[test]
fn replies_come_in_the_order_of_the_commands_of_a_long_pipeline() {
    let (_dir, node) = start();
    let mut client = node.client();
    let (mut sent, mut expected) = (Vec::new(), Vec::new());
    for n in 0..5_000 {
        let (key, value) = (format!("k{}", n % 100), format!("v{n}"));
        sent.extend(command(&[b"SET", key.as_bytes(), value.as_bytes()]));
        expected.extend_from_slice(b"+OK\r\n");
        sent.extend(command(&[b"GET", key.as_bytes()]));
        expected.extend(bulk(value.as_bytes()));
        sent.extend_from_slice(b"PING\r\n");
        expected.extend_from_slice(b"+PONG\r\n");
    }
    let mut writer = client.socket.try_clone().unwrap();
    let sending = thread::spawn(move || writer.write_all(&sent).unwrap());
    client.expect(expected);
    sending.join().unwrap();
    node.stop();
}

#[test]
fn many_clients_at_once_each_get_their_own_replies() {
    let (_dir, node) = start();
    let clients: Vec<_> = (0..50)
        .map(|n| {
            let mut client = node.client();
            thread::spawn(move || {
                for round in 0..100 {
                    let (key, value) = (format!("k{n}"), format!("v{n}-{round}"));
                    client.send(command(&[b"SET", key.as_bytes(), value.as_bytes()]));
                    client.expect("+OK\r\n");
                    client.send(command(&[b"GET", key.as_bytes()]));
                    client.expect(bulk(value.as_bytes()));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    node.stop();
}

#[test]
fn values_of_no_byte_and_of_sixteen_mebibytes_come_back() {
    let (_dir, node) = start();
    let mut client = node.client();
    for len in [0, (64 << 10) + 1, 16 << 20] {
        let value: Vec<u8> = (0..len).map(|n: u32| (n % 251) as u8).collect();
        client.send(command(&[b"SET", b"k", &value]));
        client.expect("+OK\r\n");
        client.send(command(&[b"GET", b"k"]));
        client.expect(bulk(&value));
    }
    node.stop();
}

#[test]
fn a_protocol_error_comes_after_the_replies_before_it_and_closes() {
    let (_dir, node) = start();
    let mut client = node.client();
    client.send(command(&[b"SET", b"k", b"v"]));
    client.send("*1\r\n!oops\r\n");
    // More than fits anywhere, which must not take the error away by a reset.
    let mut more = client.socket.try_clone().unwrap();
    let sending = thread::spawn(move || more.write_all(&vec![b'x'; 4 << 20]));
    assert_eq!(client.rest(), "+OK\r\n-ERR Protocol error: expected '$', got '!'\r\n");
    drop(client);
    // It may have ended either way.
    let _ = sending.join().unwrap();
    node.stop();
}

#[test]
fn quit_is_answered_before_the_connection_is_closed() {
    let (_dir, node) = start();
    let mut client = node.client();
    client.send("SET k v\r\nQUIT\r\nPING\r\n");
    assert_eq!(client.rest(), "+OK\r\n+OK\r\n");
    node.stop();
}

#[test]
fn a_client_that_ends_its_side_gets_all_replies() {
    let (_dir, node) = start();
    let mut client = node.client();
    for _ in 0..3_000 {
        client.send("SET k v\r\n");
    }
    client.send("GET k\r\nPIN");
    client.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), "+OK\r\n".repeat(3_000) + "$1\r\nv\r\n");
    node.stop();
}

#[test]
fn a_client_that_ends_its_side_in_a_wait_without_end_leaves_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let request_timeout = Duration::from_millis(40);
    let node = Running::start(Options { max_clients: 1, request_timeout, ..options(dir.path()) });
    let mut client = node.client();
    client.send("WAIT 1 0\r\nPING\r\n");
    client.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), "");
    node.client().ping();
    node.stop();
}

#[test]
fn what_is_unread_when_a_client_ends_its_side_in_a_wait_is_run_after_it() {
    let dir = tempfile::tempdir().unwrap();
    // The end is looked for meanwhile.
    let request_timeout = Duration::from_secs(4);
    let node = Running::start(Options { request_timeout, ..options(dir.path()) });
    let (mut client, mut other) = (node.client(), node.client());
    client.send("WAIT 1 1000\r\nPING\r\n");
    // Until then the node has read that, and reads no more.
    other.ping();
    client.send("PING\r\n".repeat(1_000));
    client.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), ":0\r\n".to_owned() + &"+PONG\r\n".repeat(1_001));
    node.stop();
}

#[test]
fn a_request_left_unfinished_is_refused_and_an_idle_client_stays() {
    let dir = tempfile::tempdir().unwrap();
    let request_timeout = Duration::from_millis(40);
    let node = Running::start(Options { request_timeout, ..options(dir.path()) });
    let mut idle = node.client();
    idle.ping();
    let mut client = node.client();
    client.send("SET k v\r\n*2\r\n$3\r\nGET\r\n$1");
    let error = "-ERR Protocol error: request not completed within 0 seconds\r\n";
    assert_eq!(client.rest(), format!("+OK\r\n{error}"));
    idle.ping();
    node.stop();
}

#[test]
fn one_client_too_many_is_told_so_and_the_next_is_let_in_when_one_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::start(Options { max_clients: 2, ..options(dir.path()) });
    let (mut one, mut two) = (node.client(), node.client());
    one.ping();
    two.ping();
    assert_eq!(node.client().rest(), "-ERR max number of clients reached\r\n");
    drop(one);
    // The node notices in its own time.
    loop {
        let mut three = node.client();
        let mut first = [0];
        three.send("PING\r\n");
        match three.socket.read(&mut first) {
            Ok(1) if first == *b"+" => break,
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    two.ping();
    node.stop();
}

#[test]
fn a_client_that_does_not_read_holds_up_no_one_and_loses_nothing() {
    let (_dir, node) = start();
    let (mut slow, mut other) = (node.client(), node.client());
    let value = vec![b'x'; 1 << 20];
    slow.send(command(&[b"SET", b"k", &value]));
    slow.expect("+OK\r\n");
    // Its replies, a gibibyte, are more than any limit here; they are made as it reads.
    slow.send("GET k\r\n".repeat(1_000));
    for _ in 0..100 {
        other.ping();
    }
    let reply = bulk(&value);
    for _ in 0..1_000 {
        slow.expect(&reply);
    }
    slow.ping();
    node.stop();
}

#[test]
fn a_stop_answers_what_was_taken_and_keeps_it() {
    let (dir, node) = start();
    let mut client = node.client();
    client.ping();
    let mut sent = 0;
    for n in 0..500 {
        client.send(command(&[b"SET", format!("k{n}").as_bytes(), b"v"]));
        sent += 1;
    }
    let stopping = thread::spawn(move || node.stop());
    let replies = client.rest();
    stopping.join().unwrap();
    let answered = replies.matches("+OK\r\n").count();
    assert_eq!(replies.len(), answered * "+OK\r\n".len(), "{replies}");
    assert!(answered <= sent);

    let node = Running::start(options(dir.path()));
    let mut client = node.client();
    for n in 0..answered {
        client.send(command(&[b"GET", format!("k{n}").as_bytes()]));
        client.expect(bulk(b"v"));
    }
    node.stop();
}

/// Whoever runs the process asks it to stop, whether a client has done so before or not.
#[test]
fn a_signal_behind_a_shutdown_is_the_first() {
    let (_dir, node) = start();
    let mut reader = node.client();
    reader.send(command(&[b"SET", b"k", &vec![b'x'; 32 << 20]]));
    reader.expect("+OK\r\n");
    // It is read when the stop has begun, which lasts until then.
    reader.send("GET k\r\n");
    reader.expect("$");
    let mut client = node.client();
    client.send("SHUTDOWN\r\n");
    thread::sleep(Duration::from_millis(50));
    node.stop.send("first").unwrap();
    thread::sleep(Duration::from_millis(50));
    assert!(!node.thread.is_finished());
    assert_eq!(reader.rest().len(), "33554432\r\n".len() + (32 << 20) + "\r\n".len());
    assert!(matches!(node.thread.join().unwrap(), Ok(())));
}

#[test]
fn what_can_not_be_closed_cuts_off_nobodys_reply() {
    let (dir, node) = start();
    let mut reader = node.client();
    reader.send(command(&[b"SET", b"k", &vec![b'x'; 32 << 20]]));
    reader.expect("+OK\r\n");
    reader.send("GET k\r\n");
    reader.expect("$");
    // What a stop writes finds no directory.
    std::fs::remove_dir_all(dir.path().join("p0")).unwrap();
    node.stop.send("test").unwrap();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(reader.rest().len(), "33554432\r\n".len() + (32 << 20) + "\r\n".len());
    let ended = node.thread.join().unwrap();
    assert!(matches!(&ended, Err(Error::Refused(why)) if why.contains("closed")), "{ended:?}");
}

#[test]
fn a_second_signal_does_not_wait_for_anyone() {
    let (_dir, node) = start();
    let mut client = node.client();
    client.send(command(&[b"SET", b"k", &vec![b'x'; 32 << 20]]));
    client.expect("+OK\r\n");
    // Far more than the sockets hold, and never read.
    client.send("GET k\r\n");
    client.expect("$");
    node.stop.send("first").unwrap();
    node.stop.send("second").unwrap();
    assert!(matches!(node.thread.join().unwrap(), Err(Error::Interrupted)));
}

#[test]
fn a_directory_in_use_and_an_address_in_use_are_named() {
    let (dir, node) = start();
    let (_stop, stops) = unbounded_channel();
    let second = runtime().unwrap().block_on(serve(options(dir.path()), stops, |_| {}));
    assert!(matches!(second, Err(Error::Locked { pid: Some(_), .. })), "{second:?}");

    let other = tempfile::tempdir().unwrap();
    let (_stop, stops) = unbounded_channel();
    let options = Options { listen: node.address, ..options(other.path()) };
    let third = runtime().unwrap().block_on(serve(options, stops, |_| {}));
    let Err(error @ Error::Listen { .. }) = third else { panic!("{third:?}") };
    assert!(error.to_string().contains(&node.address.to_string()), "{error}");
    node.stop();
}
