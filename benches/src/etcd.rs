//! A three-node etcd on loopback, and clients that load it over gRPC.
//!
//! gRPC is spoken here over bare HTTP/2 with messages written by hand, so that the client costs the
//! machine as little as possible: it shares it with what it measures.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::cluster::{NODES, free_ports};
use crate::fill::key;

/// How long the cluster may take to be founded.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections of one load, at most: more clients share them.
const CONNECTIONS_MAX: usize = 100;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Put of a random key.
    Put,
    /// Put of every key once.
    Fill,
    /// Linearizable range of one random key.
    Range,
}

/// A running cluster; killed when dropped.
pub struct Etcd {
    nodes: Vec<Child>,
    ports: Vec<u16>,
    runtime: tokio::runtime::Runtime,
    /// Which node leads.
    leader: usize,
}

impl Etcd {
    /// Starts three nodes with data in `dir`.
    pub fn found(dir: &Path) -> io::Result<Self> {
        let ports = free_ports(2 * NODES)?;
        let (peers, ports) = ports.split_at(NODES);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let entry = |at: usize| format!("n{at}={}", url(peers[at]));
        let all = (0..NODES).map(entry).collect::<Vec<_>>().join(",");
        let mut nodes = Vec::new();
        for at in 0..NODES {
            let dir = dir.join(format!("n{at}"));
            std::fs::create_dir_all(&dir)?;
            let log = File::create(dir.join("log"))?;
            let (client, peer) = (url(ports[at]), url(peers[at]));
            let child = Command::new("etcd")
                .args(["--name", &format!("n{at}"), "--initial-cluster", &all])
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--quota-backend-bytes", "8589934592", "--log-level", "error"])
                .arg("--data-dir")
                .arg(dir.join("data"))
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .map_err(|e| {
                    io::Error::new(e.kind(), format!("etcd (apt-get install etcd-server): {e}"))
                })?;
            nodes.push(child);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut etcd = Self { nodes, ports: ports.to_vec(), runtime, leader: 0 };
        let start = Instant::now();
        loop {
            if let Some(leader) = (0..NODES).find(|at| etcd.leads(*at).unwrap_or(false)) {
                etcd.leader = leader;
                return Ok(etcd);
            }
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other("etcd has no leader after a minute"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it calls its version.
    pub fn version() -> io::Result<String> {
        let said = Command::new("etcd").arg("--version").output()?.stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok(said.lines().next().unwrap_or_default().replace("etcd Version: ", ""))
    }

    /// Requests a second that the leader answers to so many clients, each with one in flight.
    pub fn load(
        &self,
        load: Load,
        clients: usize,
        keys: u64,
        value_bytes: usize,
        time: Duration,
    ) -> io::Result<f64> {
        let port = self.ports[self.leader];
        let local = LocalSet::new();
        local.block_on(&self.runtime, async move {
            let answered = Rc::new(Cell::new(0_u64));
            let next = Rc::new(Cell::new(0_u64));
            let mut connections = Vec::new();
            for _ in 0..clients.min(CONNECTIONS_MAX) {
                connections.push(connect(port).await?);
            }
            let start = Instant::now();
            let over = move || load != Load::Fill && start.elapsed() > time;
            let tasks = (0..clients).map(|client| {
                let mut connection = connections[client % connections.len()].clone();
                let (answered, next) = (Rc::clone(&answered), Rc::clone(&next));
                let mut random = client as u64 + 1;
                tokio::task::spawn_local(async move {
                    while !over() {
                        let number = next.replace(next.get() + 1);
                        if load == Load::Fill && number >= keys {
                            break;
                        }
                        // An LCG is random enough to choose keys.
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let chosen =
                            if load == Load::Fill { number } else { (random >> 33) % keys };
                        let (path, message) = request(load, &key(chosen), value_bytes);
                        ask(&mut connection, path, message).await?;
                        answered.set(answered.get() + 1);
                    }
                    io::Result::Ok(())
                })
            });
            let tasks: Vec<_> = tasks.collect();
            for task in tasks {
                task.await.map_err(io::Error::other)??;
            }
            Ok(answered.get() as f64 / start.elapsed().as_secs_f64())
        })
    }

    /// Whether the node says that it leads.
    fn leads(&self, at: usize) -> io::Result<bool> {
        let port = self.ports[at];
        let local = LocalSet::new();
        let status = local.block_on(&self.runtime, async move {
            let mut connection = connect(port).await?;
            ask(&mut connection, "/etcdserverpb.Maintenance/Status", Bytes::new()).await
        })?;
        // StatusResponse: header = 1 {member_id = 2}, leader = 4.
        let Some(Field::Bytes(header)) = field(&status, 1) else { return Ok(false) };
        let (me, leader) = (field(header, 2), field(&status, 4));
        Ok(
            matches!((me, leader), (Some(Field::Number(me)), Some(Field::Number(leader))) if me == leader),
        )
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for child in &mut self.nodes {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn connect(port: u16) -> io::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (requests, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        // Whoever asks on it is told when it breaks.
        let _ = connection.await;
    });
    Ok(requests)
}

/// One unary call; the message that answers it.
async fn ask(to: &mut SendRequest<Bytes>, path: &str, message: Bytes) -> io::Result<Bytes> {
    let request = http::Request::post(format!("http://127.0.0.1{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(io::Error::other)?;
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.extend_from_slice(&message);
    std::future::poll_fn(|cx| to.poll_ready(cx)).await.map_err(io::Error::other)?;
    let (response, mut body) = to.send_request(request, false).map_err(io::Error::other)?;
    body.send_data(framed.freeze(), true).map_err(io::Error::other)?;
    let response = response.await.map_err(io::Error::other)?;
    let mut status = response.headers().get("grpc-status").cloned();
    let mut body = response.into_body();
    let mut reply = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(io::Error::other)?;
        body.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
        reply.extend_from_slice(&data);
    }
    if let Some(trailers) = body.trailers().await.map_err(io::Error::other)? {
        status = trailers.get("grpc-status").cloned().or(status);
    }
    match status {
        Some(code) if code == "0" && reply.len() >= 5 => Ok(reply.freeze().slice(5..)),
        status => Err(io::Error::other(format!("etcd answers {path} with status {status:?}"))),
    }
}

/// PutRequest {key = 1, value = 2} or RangeRequest {key = 1}, as protobuf has them.
fn request(load: Load, key: &str, value_bytes: usize) -> (&'static str, Bytes) {
    let mut message = BytesMut::with_capacity(key.len() + value_bytes + 8);
    let mut add = |tag: u8, bytes: &[u8]| {
        message.put_u8(tag << 3 | 2);
        let mut len = bytes.len();
        while len >= 0x80 {
            message.put_u8(len as u8 | 0x80);
            len >>= 7;
        }
        message.put_u8(len as u8);
        message.extend_from_slice(bytes);
    };
    add(1, key.as_bytes());
    if load == Load::Range {
        return ("/etcdserverpb.KV/Range", message.freeze());
    }
    add(2, "x".repeat(value_bytes).as_bytes());
    ("/etcdserverpb.KV/Put", message.freeze())
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The first field of a protobuf message that has this tag; of the kinds that are met here.
fn field(mut message: &[u8], tag: u64) -> Option<Field<'_>> {
    loop {
        let head = varint(&mut message)?;
        let value = varint(&mut message)?;
        let found = match head & 7 {
            0 => Field::Number(value),
            2 => {
                let (bytes, rest) = message.split_at_checked(value as usize)?;
                message = rest;
                Field::Bytes(bytes)
            }
            _ => return None,
        };
        if head >> 3 == tag {
            return Some(found);
        }
    }
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
