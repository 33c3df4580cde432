//! A client that goes where it is sent: to the leader of a slot (`-MOVED`), as `redis-cli -c` does.
//!
//! It stays there, and at the node it was started for once the other can not be reached. What a
//! connection holds is not left behind without a word:
//!
//! - An open transaction moves while nothing is queued in it; later the error is shown, and EXEC
//!   says that the transaction was discarded.
//! - With keys watched nothing moves: the other node would know nothing of them.
//! - An AUTH that was typed is said again at the other node.

use kvnode_io::resp::Frame;

use super::connection::{Connection, Lost};
use crate::password::Login;

/// How often one command is sent on, before the error is shown: nodes that disagree for longer are
/// about to agree.
const HOPS_MAX: usize = 5;

/// See the module's header.
pub(super) struct Client {
    connection: Connection,
    /// Where it was started for.
    home: (String, u16),
    /// Says on stderr where it goes.
    tells: bool,
    /// How many commands are queued in the open transaction.
    queued: Option<usize>,
    watches: bool,
}

/// Where a command is to be sent instead.
#[derive(Debug, PartialEq, Eq)]
struct Elsewhere<'a> {
    slot: &'a str,
    /// Empty for the host that has answered.
    host: &'a str,
    port: u16,
    /// For this command alone, and announced by ASKING.
    once: bool,
}

impl Client {
    pub(super) fn new(connection: Connection, tells: bool) -> Self {
        let home = connection.place();
        Self { connection, home, tells, queued: None, watches: false }
    }

    /// The connection that the next command takes.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Opens the connection, if it can be.
    pub(super) fn open(&mut self) -> Result<(), Lost> {
        self.connection.open().map(drop)
    }

    /// Whether a transaction is open.
    pub(super) fn in_multi(&self) -> bool {
        self.queued.is_some()
    }

    /// Sends a command, to wherever it has to go, and waits for its reply.
    pub(super) fn call(&mut self, command: &[Vec<u8>]) -> Result<Frame, Lost> {
        let mut asking = false;
        let mut result = self.ask(command, asking);
        for _ in 0..HOPS_MAX {
            if let Ok(Frame::Error(text)) = &result
                && let Some(elsewhere) = Elsewhere::parse(text)
                && self.may_go(&elsewhere)
            {
                asking = elsewhere.once;
                self.go(&elsewhere);
            } else if let Err(Lost::NotConnected { .. }) = result
                && self.connection.place() != self.home
            {
                // Nothing was sent, so that another node may well be asked.
                let (host, port) = self.home.clone();
                self.connection.redirect(host, port);
                asking = false;
            } else {
                break;
            }
            result = self.ask(command, asking);
        }
        self.note(command, &result);
        result
    }

    /// Sends a command where the connection leads, behind what has to come before it there.
    fn ask(&mut self, command: &[Vec<u8>], asking: bool) -> Result<Frame, Lost> {
        let anew = self.connection.open()?;
        if anew && (self.watches || self.queued > Some(0)) {
            return Err(Lost::Transaction);
        }
        if anew && self.in_multi() {
            self.connection.call(&["MULTI"])?;
        }
        if asking {
            self.connection.call(&["ASKING"])?;
        }
        self.connection.call(command)
    }

    fn may_go(&self, elsewhere: &Elsewhere<'_>) -> bool {
        let holds = if elsewhere.once { self.in_multi() } else { self.queued > Some(0) };
        !holds && !self.watches
    }

    fn go(&mut self, elsewhere: &Elsewhere<'_>) {
        let host = match elsewhere.host {
            "" => self.connection.place().0,
            host => host.to_owned(),
        };
        self.connection.redirect(host, elsewhere.port);
        if self.tells {
            eprintln!("-> slot {} is at {}", elsewhere.slot, self.connection.address());
        }
    }

    /// Takes note of what the connection holds from now on.
    fn note(&mut self, command: &[Vec<u8>], result: &Result<Frame, Lost>) {
        let Ok(reply) = result else {
            (self.queued, self.watches) = (None, false);
            return;
        };
        let is = |name: &str| command[0].eq_ignore_ascii_case(name.as_bytes());
        let good = !matches!(reply, Frame::Error(_));
        if is("exec") || is("discard") || is("reset") {
            (self.queued, self.watches) = (None, false);
        } else if is("multi") && good {
            self.queued = Some(0);
        } else if let Some(queued) = &mut self.queued {
            // One that was refused counts too: the transaction is lost by it.
            *queued += 1;
        } else if is("watch") && good {
            self.watches = true;
        } else if is("unwatch") && good {
            self.watches = false;
        } else if is("auth") && good {
            self.connection.log_in_as(Login::typed(&command[1..]));
        }
    }
}

impl<'a> Elsewhere<'a> {
    /// What `MOVED slot host:port` or `ASK slot host:port` says.
    fn parse(error: &'a [u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(error).ok()?.split(' ');
        let once = match words.next()? {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let (slot, address) = (words.next()?, words.next()?);
        let (host, port) = address.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        slot.parse::<u16>().ok()?;
        Some(Self { slot, host, port: port.parse().ok()?, once })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn where_to_go_is_read_with_care() {
        let to = |slot, host, port, once| Some(Elsewhere { slot, host, port, once });
        for (error, expected) in [
            ("MOVED 12 ant:7001", to("12", "ant", 7001, false)),
            ("ASK 0 10.0.0.2:1", to("0", "10.0.0.2", 1, true)),
            ("MOVED 12 ::1:7001", to("12", "::1", 7001, false)),
            ("MOVED 12 [::1]:7001", to("12", "::1", 7001, false)),
            ("MOVED 12 :7001", to("12", "", 7001, false)),
            ("MOVED 12 ant:70010", None),
            ("MOVED 12 ant", None),
            ("MOVED twelve ant:7001", None),
            ("MOVED 12", None),
            ("MOVEDX 12 ant:7001", None),
            ("ERR MOVED 12 ant:7001", None),
        ] {
            assert_eq!(Elsewhere::parse(error.as_bytes()), expected, "{error}");
        }
    }

    /// A server that answers each command of its only client with the next of `replies`, and then
    /// tells what it was sent.
    fn server(listener: TcpListener, replies: Vec<String>) -> std::thread::JoinHandle<String> {
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut said, mut buffer) = (String::new(), [0; 4096]);
            for reply in replies {
                let read = stream.read(&mut buffer).unwrap();
                said.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                stream.write_all(reply.as_bytes()).unwrap();
            }
            said
        })
    }

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[test]
    fn nodes_that_point_at_each_other_are_asked_a_bounded_number_of_times() {
        let (listener, port) = listener();
        let asked = std::thread::spawn(move || {
            let mut asked = 0;
            while asked <= HOPS_MAX {
                let (mut stream, _) = listener.accept().unwrap();
                assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                stream.write_all(format!("-MOVED 1 :{port}\r\n").as_bytes()).unwrap();
                asked += 1;
            }
            asked
        });
        let connection = Connection::new("127.0.0.1".into(), port, false);
        let reply = Client::new(connection, false).call(&words("get k")).unwrap();
        assert_eq!(reply, Frame::Error(format!("MOVED 1 :{port}").into_bytes()));
        assert_eq!(asked.join().unwrap(), HOPS_MAX + 1);
    }

    #[test]
    fn a_node_that_is_to_be_asked_once_is_told_so() {
        let ((here, port), (there, other)) = (listener(), listener());
        let _here = server(here, vec![format!("-ASK 1 127.0.0.1:{other}\r\n")]);
        let there = server(there, vec!["+OK\r\n".into(), "$1\r\nv\r\n".into()]);
        let connection = Connection::new("127.0.0.1".into(), port, false);
        let reply = Client::new(connection, false).call(&words("get k")).unwrap();
        assert_eq!(reply, Frame::Bulk(b"v".to_vec()));
        let said = there.join().unwrap();
        assert!(said.starts_with("*1\r\n$6\r\nASKING\r\n*2\r\n$3\r\nget"), "{said}");
    }

    #[test]
    fn a_transaction_does_not_go_on_over_another_connection() {
        let (listener, port) = listener();
        let replies = ["+OK\r\n", "+QUEUED\r\n"].map(String::from).to_vec();
        let again = listener.try_clone().unwrap();
        let first = server(listener, replies);
        let connection = Connection::new("127.0.0.1".into(), port, false);
        let mut client = Client::new(connection, false);
        client.call(&words("multi")).unwrap();
        client.call(&words("incr k")).unwrap();
        first.join().unwrap();
        let second = server(again, vec![]);
        let lost = client.call(&words("incr k"));
        assert!(matches!(lost, Err(Lost::Transaction)), "{lost:?}");
        assert!(!client.in_multi());
        assert_eq!(second.join().unwrap(), "");
    }
}
