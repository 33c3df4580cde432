//! The network between the nodes: for each of them a proxy before each of its peers, so that what
//! one says to another can be held back, one way or both, or the connections broken.
//!
//! What is held back is delivered late, as TCP would.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// What becomes of what one node sends to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It arrives.
    Open,
    /// It waits.
    Stalled,
    /// Connections between the two break, and no other comes about.
    Cut,
}

/// The proxies of a cluster.
pub(crate) struct Wire {
    nodes: usize,
    /// By sender and receiver, both from 0.
    ways: Vec<Arc<Way>>,
    /// What the sender knows the receiver by.
    addresses: Vec<SocketAddr>,
}

struct Way {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    flow: Flow,
    /// The connections to be broken when it is cut.
    streams: Vec<TcpStream>,
}

impl Wire {
    /// Proxies between all nodes, which listen for each other on `peers`.
    pub(crate) fn new(peers: &[SocketAddr]) -> Self {
        let nodes = peers.len();
        let ways: Vec<_> = (0..nodes * nodes).map(|_| Arc::new(Way::new())).collect();
        let mut addresses = Vec::new();
        for from in 0..nodes {
            for (to, peer) in peers.iter().enumerate() {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
                addresses.push(listener.local_addr().expect("an address"));
                let (there, back) = (&ways[from * nodes + to], &ways[to * nodes + from]);
                let (peer, there, back) = (*peer, Arc::clone(there), Arc::clone(back));
                // Ends with the process.
                thread::spawn(move || {
                    for near in listener.incoming().flatten() {
                        // A peer that is not there hangs up.
                        let _ = join(near, peer, &there, &back);
                    }
                });
            }
        }
        Self { nodes, ways, addresses }
    }

    /// Where node `from` reaches node `to`, both from 1.
    pub(crate) fn address(&self, from: usize, to: usize) -> SocketAddr {
        self.addresses[self.at(from, to)]
    }

    /// Sets what becomes of what `from` sends to `to`, both from 1.
    pub(crate) fn set(&self, from: usize, to: usize, flow: Flow) {
        let way = &self.ways[self.at(from, to)];
        let mut state = way.lock();
        state.flow = flow;
        if flow == Flow::Cut {
            state.streams.drain(..).for_each(|stream| hang_up(&stream));
        }
        way.changed.notify_all();
    }

    /// Everything arrives again.
    pub(crate) fn heal(&self) {
        for from in 1..=self.nodes {
            (1..=self.nodes).for_each(|to| self.set(from, to, Flow::Open));
        }
    }

    fn at(&self, from: usize, to: usize) -> usize {
        (from - 1) * self.nodes + to - 1
    }
}

impl Way {
    fn new() -> Self {
        let state = State { flow: Flow::Open, streams: Vec::new() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what waits may go on; `false` if it has nowhere to go any more.
    fn pass(&self) -> bool {
        let state = self.lock();
        let stalled = |state: &mut State| state.flow == Flow::Stalled;
        let state = self.changed.wait_while(state, stalled);
        state.unwrap_or_else(PoisonError::into_inner).flow == Flow::Open
    }

    /// Takes note of a connection; `false` if there may be none.
    fn admit(&self, streams: [&TcpStream; 2]) -> std::io::Result<bool> {
        let mut state = self.lock();
        if state.flow == Flow::Cut {
            return Ok(false);
        }
        for stream in streams {
            state.streams.push(stream.try_clone()?);
        }
        Ok(true)
    }
}

fn join(
    near: TcpStream,
    peer: SocketAddr,
    there: &Arc<Way>,
    back: &Arc<Way>,
) -> std::io::Result<()> {
    let far = TcpStream::connect(peer)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    if !there.admit([&near, &far])? || !back.admit([&near, &far])? {
        hang_up(&near);
        return Ok(());
    }
    for (from, to, way) in [(&near, &far, there), (&far, &near, back)] {
        let (from, to, way) = (from.try_clone()?, to.try_clone()?, Arc::clone(way));
        thread::spawn(move || pump(from, to, &way));
    }
    Ok(())
}

/// Carries bytes until one of the ends is gone.
fn pump(mut from: TcpStream, mut to: TcpStream, way: &Way) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer);
        // The end, too, is heard of only when the way is open.
        let arrives = way.pass();
        match read {
            Ok(len @ 1..) if arrives && to.write_all(&buffer[..len]).is_ok() => {}
            Ok(_) | Err(_) => break,
        }
    }
    hang_up(&from);
    hang_up(&to);
}

fn hang_up(stream: &TcpStream) {
    // It may be closed already.
    let _ = stream.shutdown(Shutdown::Both);
}
