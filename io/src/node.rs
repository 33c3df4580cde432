//! What the tasks of one node share: the shard, the links to its clients, the buffers.
//!
//! Everything here is owned by one thread and borrowed between two awaits, never across one.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use kvnode_core::ClientId;
use kvnode_core::kv::Peer;
use kvnode_core::node::ToControl;
use kvnode_core::reply::{Protocol, Reply};
use kvnode_core::shard::{Input, Shard};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::acl_file::AclFile;
use crate::clock;
use crate::connection::Connection;
use crate::control::Orders;
use crate::link::{Buffers, Link, Overdue};

/// See the module's header.
pub(crate) struct Node {
    shard: RefCell<Shard>,
    links: RefCell<HashMap<ClientId, Rc<Link>, foldhash::fast::RandomState>>,
    /// Links with replies to be sent.
    dirty: RefCell<Vec<Rc<Link>>>,
    spare: RefCell<Buffers>,
    /// Where every connection reads to.
    scratch: RefCell<Box<[u8]>>,
    pump: Pulse,
    last_client: Cell<u64>,
    /// Connections, those included that linger.
    connections: Cell<u32>,
    acl_file: Option<AclFile>,
    /// Takes what is for control; none where the node stands alone.
    control: Option<Orders>,
    stopping: Cell<bool>,
    /// Tells when the last connection has left.
    empty: Notify,
    /// Tells that a client wants the node to stop.
    shutdown: Notify,
}

impl Node {
    pub(crate) fn new(shard: Shard, acl_file: Option<AclFile>, control: Option<Orders>) -> Self {
        Self {
            acl_file,
            shard: RefCell::new(shard),
            links: RefCell::default(),
            dirty: RefCell::default(),
            spare: RefCell::default(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            pump: Pulse::default(),
            last_client: Cell::new(0),
            connections: Cell::new(0),
            control,
            stopping: Cell::new(false),
            empty: Notify::new(),
            shutdown: Notify::new(),
        }
    }

    /// The shard. Whoever hands something in wakes the pump.
    pub(crate) fn shard(&self) -> RefMut<'_, Shard> {
        self.shard.borrow_mut()
    }

    pub(crate) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    pub(crate) fn spare(&self) -> RefMut<'_, Buffers> {
        self.spare.borrow_mut()
    }

    pub(crate) fn pump(&self) -> &Pulse {
        &self.pump
    }

    pub(crate) fn wake_pump(&self) {
        self.pump.give();
    }

    /// Hands in one event and has the pump see to it.
    pub(crate) fn handle(&self, input: Input<'_>) {
        self.shard().handle(clock::now(), input);
        self.wake_pump();
    }

    /// Hands on what the shard has to say to control.
    pub(crate) fn tell_control(&self, said: ToControl) {
        if let Some(control) = &self.control {
            control.say(said);
        }
    }

    /// Whether nothing more is taken from clients.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.get()
    }

    /// A client wants the node to stop.
    pub(crate) fn ask_to_stop(&self) {
        self.shutdown.notify_one();
    }

    /// Waits until a client wants that.
    pub(crate) async fn asked_to_stop(&self) {
        self.shutdown.notified().await;
    }

    /// Replaces the ACL file by `text`, or reads it if there is none.
    pub(crate) fn acl_file(&self, text: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
        let file = self.acl_file.as_ref().ok_or("there is no ACL file")?;
        match text {
            Some(text) => file.write(&text).map(|()| Vec::new()),
            None => file.read(),
        }
    }

    /// Takes nothing more from clients and lets the shard finish.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.handle(Input::Stop);
    }
}

/// Clients come and go.
impl Node {
    /// Serves a new connection, or turns it away if there are too many.
    pub(crate) fn connected(self: &Rc<Self>, stream: TcpStream) {
        if self.connections.get() >= self.shard().max_clients() {
            self.shard().note_turned_away();
            // It fits into an empty socket buffer; whoever does not get it is closed all the same.
            let _ = SockRef::from(&stream).send(b"-ERR max number of clients reached\r\n");
            return;
        }
        let socket = SockRef::from(&stream);
        // Neither is worth refusing a client for.
        let _ = socket.set_tcp_nodelay(true);
        if let Some(silence) = self.shard().keepalive() {
            let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence));
        }
        let Ok((remote, local)) =
            stream.peer_addr().and_then(|remote| Ok((remote, stream.local_addr()?)))
        else {
            // It is gone already.
            return;
        };
        let id = ClientId(self.last_client.get() + 1);
        self.last_client.set(id.0);
        self.connections.set(self.connections.get() + 1);
        let (read, write) = stream.into_split();
        let link = Rc::new(Link::new(id, write));
        self.links.borrow_mut().insert(id, Rc::clone(&link));
        self.handle(Input::Connected(id, Peer { remote, local }));
        let connection = Connection::new(Rc::clone(self), link, read);
        tokio::task::spawn_local(async move {
            let _bomb = Bomb;
            connection.run().await;
        });
    }

    /// A connection is over, but for what the client may still send.
    pub(crate) fn disconnected(&self, link: &Link) {
        self.links.borrow_mut().remove(&link.id());
        self.handle(Input::Disconnected(link.id()));
    }

    /// A connection's task ends.
    pub(crate) fn left(&self) {
        let left = self.connections.get() - 1;
        self.connections.set(left);
        if left == 0 {
            self.empty.notify_waiters();
        }
    }

    /// Closes every connection once it has been sent what it is owed, for at most `patience`.
    pub(crate) async fn close_all(&self, patience: Duration) {
        for link in self.links.borrow().values() {
            link.close();
        }
        let empty = self.empty.notified();
        if self.connections.get() > 0 {
            // Whoever takes longer to read loses the rest.
            let _ = tokio::time::timeout(patience, empty).await;
        }
    }

    /// Refuses clients that do not finish their request, and gives up those that are gone or do not
    /// take their last replies.
    pub(crate) fn refuse_overdue(&self, patience: Duration) {
        let now = Instant::now();
        for link in self.links.borrow().values() {
            link.notice_end();
            match link.overdue(now, patience) {
                Some(Overdue::Request) if self.stopping() => {}
                Some(Overdue::Request) => {
                    let seconds = patience.as_secs();
                    let text = format!(
                        "ERR Protocol error: request not completed within {seconds} seconds"
                    );
                    link.refuse();
                    self.handle(Input::Malformed(link.id(), Reply::error_owned(text)));
                }
                Some(Overdue::Replies) => link.give_up(),
                None => {}
            }
        }
    }
}

/// Replies on their way, for the pump.
impl Node {
    pub(crate) fn reply(&self, client: ClientId, protocol: Protocol, reply: &Reply) {
        if let Some(link) = self.links.borrow().get(&client)
            && link.push(protocol, reply, &mut self.spare())
        {
            self.dirty.borrow_mut().push(Rc::clone(link));
        }
    }

    pub(crate) fn silence(&self, client: ClientId) {
        if let Some(link) = self.links.borrow().get(&client)
            && link.skip()
        {
            self.dirty.borrow_mut().push(Rc::clone(link));
        }
    }

    pub(crate) fn monitored(&self, client: ClientId, line: &str) {
        if let Some(link) = self.links.borrow().get(&client)
            && link.push_line(line, &mut self.spare())
        {
            self.dirty.borrow_mut().push(Rc::clone(link));
        }
    }

    pub(crate) fn close(&self, client: ClientId) {
        if let Some(link) = self.links.borrow().get(&client) {
            link.close();
        }
    }

    pub(crate) fn resume(&self, client: ClientId) {
        if let Some(link) = self.links.borrow().get(&client) {
            link.wake();
        }
    }

    /// Sends what has gathered.
    pub(crate) fn flush(&self) {
        let mut spare = self.spare();
        for link in self.dirty.borrow_mut().drain(..) {
            link.flush(&mut spare);
            self.count_sent(&link);
        }
    }

    /// Tells the shard what was sent on the link since it was last told.
    pub(crate) fn count_sent(&self, link: &Link) {
        let sent = link.take_sent();
        if sent > 0 {
            self.shard().note_sent(sent);
        }
    }
}

/// Wakes one task, however often it is given before the task runs.
#[derive(Default)]
pub(crate) struct Pulse {
    given: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

impl Pulse {
    /// Wakes the task.
    pub(crate) fn give(&self) {
        if !self.given.replace(true)
            && let Some(task) = &*self.task.borrow()
        {
            task.wake_by_ref();
        }
    }

    /// Whether it was given since it was last taken; if not, `task` is woken when it is.
    pub(crate) fn take(&self, task: &Waker) -> bool {
        let known = self.task.borrow().as_ref().is_some_and(|known| known.will_wake(task));
        if !known {
            *self.task.borrow_mut() = Some(task.clone());
        }
        self.given.replace(false)
    }
}

/// A broken invariant ends the process, also in builds whose panics unwind: a task that has
/// panicked would be missed by no one.
pub(crate) struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Most bytes of one read.
const SCRATCH_BYTES: usize = 64 << 10;
