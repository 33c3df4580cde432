//! One connection: opened when first needed, and again after it was lost.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::BytesMut;
use kvnode_io::resp::{DecodeError, Decoder, Frame, encode_command};

use crate::password::Login;

/// How much is read at a time, in bytes.
const READ_BYTES: usize = 64 << 10;

/// A connection to one node.
pub(crate) struct Connection {
    host: String,
    port: u16,
    resp3: bool,
    login: Option<Login>,
    patience: Option<Duration>,
    link: Option<Link>,
}

/// Why a command has no reply. The connection is gone; the next command opens a new one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// There is no server.
    #[error("Could not connect to kvnode at {at}: {why}")]
    NotConnected {
        /// Host and port.
        at: String,
        /// What the system says.
        why: io::Error,
    },
    /// The server went away before the reply.
    #[error(
        "The connection was lost before the reply ({0}): the command may or may not have taken effect"
    )]
    Unknown(io::Error),
    /// The server does not take the user or its password.
    #[error("The server answers to AUTH: {0}")]
    NotAdmitted(String),
    /// It was closed while a transaction was open, or keys were watched.
    #[error(
        "The connection was closed, and with it what was watched or queued: the command was not sent"
    )]
    Transaction,
    /// What came is no reply.
    #[error("The server does not speak RESP ({0}): is this a Redis port?")]
    NoResp(#[from] DecodeError),
}

struct Link {
    stream: TcpStream,
    received: BytesMut,
    decoder: Decoder,
}

impl Connection {
    /// A connection, not opened yet.
    pub(crate) fn new(host: String, port: u16, resp3: bool) -> Self {
        Self { host, port, resp3, login: None, patience: None, link: None }
    }

    /// The same, by somebody.
    pub(crate) fn by(self, login: Option<Login>) -> Self {
        Self { login, ..self }
    }

    /// The same, but nothing is waited for any longer than `limit`: then the connection is lost.
    pub(crate) fn with_patience(self, limit: Duration) -> Self {
        Self { patience: Some(limit), ..self }
    }

    /// Host and port, as the prompt shows them.
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Host and port.
    pub(crate) fn place(&self) -> (String, u16) {
        (self.host.clone(), self.port)
    }

    /// Leads to another place from now on.
    pub(crate) fn redirect(&mut self, host: String, port: u16) {
        (self.host, self.port, self.link) = (host, port, None);
    }

    /// What is said first when it is opened again.
    pub(crate) fn log_in_as(&mut self, login: Option<Login>) {
        self.login = login;
    }

    /// Whether it is open, as far as one can tell without asking.
    pub(crate) fn is_open(&self) -> bool {
        self.link.is_some()
    }

    /// Opens it unless it is open; whether it was not.
    pub(crate) fn open(&mut self) -> Result<bool, Lost> {
        if self.link.as_ref().is_some_and(Link::is_alive) {
            return Ok(false);
        }
        self.link = None;
        let mut link = Link::open(&self.host, self.port, self.patience)
            .map_err(|why| Lost::NotConnected { at: self.address(), why })?;
        if let Some(login) = &self.login
            && let Frame::Error(text) = link.call(&login.command())?
        {
            return Err(Lost::NotAdmitted(String::from_utf8_lossy(&text).into_owned()));
        }
        if self.resp3 {
            // An error reply says all there is to say to the commands that follow.
            link.call(&["HELLO", "3"])?;
        }
        self.link = Some(link);
        Ok(true)
    }

    /// Sends a command and waits for its reply. Where the connection had been closed meanwhile, it
    /// is opened again first; once the command is on its way, it is not sent a second time.
    pub(crate) fn call(&mut self, command: &[impl AsRef<[u8]>]) -> Result<Frame, Lost> {
        self.open()?;
        let link = self.link.as_mut().expect("just opened");
        let reply = link.call(command);
        if reply.is_err() {
            self.link = None;
        }
        reply
    }
}

impl Link {
    fn open(host: &str, port: u16, patience: Option<Duration>) -> io::Result<Self> {
        let stream = match patience {
            None => TcpStream::connect((host, port))?,
            Some(limit) => {
                let mut addresses = (host, port).to_socket_addrs()?;
                let address = addresses.next().ok_or(ErrorKind::AddrNotAvailable)?;
                TcpStream::connect_timeout(&address, limit)?
            }
        };
        stream.set_read_timeout(patience)?;
        stream.set_write_timeout(patience)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: BytesMut::new(), decoder: Decoder::default() })
    }

    /// Whether the server has not closed it while nothing was sent.
    fn is_alive(&self) -> bool {
        let peeked = self
            .stream
            .set_nonblocking(true)
            .and_then(|()| self.stream.peek(&mut [0]))
            .map_or_else(|e| e.kind() == ErrorKind::WouldBlock, |len| len > 0);
        peeked && self.stream.set_nonblocking(false).is_ok()
    }

    fn call(&mut self, command: &[impl AsRef<[u8]>]) -> Result<Frame, Lost> {
        let mut bytes = BytesMut::new();
        encode_command(command, &mut bytes);
        self.stream.write_all(&bytes).map_err(Lost::Unknown)?;
        loop {
            let frame = self.receive()?;
            // Nothing was asked for that is pushed.
            if !matches!(frame, Frame::Push(_)) {
                return Ok(frame);
            }
        }
    }

    fn receive(&mut self) -> Result<Frame, Lost> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.received)? {
                return Ok(frame);
            }
            let old = self.received.len();
            self.received.resize(old + READ_BYTES, 0);
            let read = self.stream.read(&mut self.received[old..]);
            self.received.truncate(old + *read.as_ref().unwrap_or(&0));
            let read = read.map_err(|why| {
                // What the system says where patience has run out is of no use to a reader.
                let late = why.kind() == ErrorKind::WouldBlock;
                Lost::Unknown(if late { ErrorKind::TimedOut.into() } else { why })
            })?;
            if read == 0 {
                return Err(Lost::Unknown(ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}
