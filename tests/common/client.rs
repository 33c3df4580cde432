//! A blocking client that says what it saw.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::{Frame, PATIENCE};

/// Where a server listens.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    /// TCP, as kvnode.
    Tcp(SocketAddr),
    /// A Unix socket, as the tests' Redis, which can not bind port 0 and tell.
    Unix(PathBuf),
}

/// One connection.
pub(crate) struct Client {
    stream: Stream,
    received: Vec<u8>,
    /// Start of the unread part of `received`.
    start: usize,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Client {
    /// Connects.
    pub(crate) fn connect(to: &Endpoint) -> io::Result<Self> {
        let stream = match to {
            Endpoint::Tcp(addr) => {
                let stream = TcpStream::connect_timeout(addr, PATIENCE)?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Endpoint::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        let client = Self { stream, received: Vec::new(), start: 0 };
        client.set_patience(PATIENCE)?;
        Ok(client)
    }

    /// How long a read or a write may block before it fails.
    pub(crate) fn set_patience(&self, limit: Duration) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(s) => {
                s.set_read_timeout(Some(limit))?;
                s.set_write_timeout(Some(limit))
            }
            Stream::Unix(s) => {
                s.set_read_timeout(Some(limit))?;
                s.set_write_timeout(Some(limit))
            }
        }
    }

    /// Sends a command and takes its reply.
    ///
    /// # Panics
    /// If the connection fails.
    pub(crate) fn call<A: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = A>) -> Frame {
        self.try_call(args).expect("the server answers")
    }

    /// The same, for a server that may be killed.
    pub(crate) fn try_call<A: AsRef<[u8]>>(
        &mut self,
        args: impl IntoIterator<Item = A>,
    ) -> io::Result<Frame> {
        self.send_raw(&encode(args))?;
        self.receive()
    }

    /// Sends bytes as they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(s) => s.write_all(bytes),
            Stream::Unix(s) => s.write_all(bytes),
        }
    }

    /// The next reply.
    pub(crate) fn receive(&mut self) -> io::Result<Frame> {
        loop {
            let unread = &self.received[self.start..];
            if !unread.is_empty()
                && let Some((frame, used)) = Frame::parse(unread)
            {
                self.start += used;
                return Ok(frame);
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Whether the server has closed the connection, once everything it sent has been read.
    ///
    /// # Panics
    /// If it sends something instead, or neither closes nor sends.
    pub(crate) fn is_closed(&mut self) -> bool {
        assert!(self.received[self.start..].is_empty(), "an unread reply: {:?}", self.receive());
        match self.fill() {
            Ok(0) => true,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => true,
            Ok(_) => panic!("a reply instead of the end: {:?}", self.receive()),
            Err(e) => panic!("neither a reply nor the end: {e}"),
        }
    }

    /// No more will be sent.
    pub(crate) fn finish_sending(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(s) => s.shutdown(Shutdown::Write),
            Stream::Unix(s) => s.shutdown(Shutdown::Write),
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        // Parsed replies are dropped once they outweigh the rest, so the copying stays linear.
        if self.start > self.received.len() / 2 {
            self.received.drain(..self.start);
            self.start = 0;
        }
        let old = self.received.len();
        self.received.resize(old + (64 << 10).max(old / 2), 0);
        let read = loop {
            let read = match &mut self.stream {
                Stream::Tcp(s) => s.read(&mut self.received[old..]),
                Stream::Unix(s) => s.read(&mut self.received[old..]),
            };
            // A read with a timeout is not taken up again by the system.
            if !matches!(&read, Err(e) if e.kind() == ErrorKind::Interrupted) {
                break read;
            }
        };
        self.received.truncate(old + *read.as_ref().unwrap_or(&0));
        read
    }
}

/// A command as an array of bulk strings.
pub(crate) fn encode<A: AsRef<[u8]>>(args: impl IntoIterator<Item = A>) -> Vec<u8> {
    let mut count = 0;
    let mut body = Vec::new();
    for arg in args {
        let arg = arg.as_ref();
        count += 1;
        body.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        body.extend_from_slice(arg);
        body.extend_from_slice(b"\r\n");
    }
    let mut bytes = format!("*{count}\r\n").into_bytes();
    bytes.append(&mut body);
    bytes
}
