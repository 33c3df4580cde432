//! kvnode's shard on the real disk, driven in this thread.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use kvnode_core::ClientId;
use kvnode_core::kv::Peer;
use kvnode_core::limits::SEGMENT_BYTES;
use kvnode_core::reply::Reply;
use kvnode_core::server;
use kvnode_core::shard::{Config, FsyncMode, IndexKind, Input, Output, Redirect, Shard};
use kvnode_core::storage::replica::MergeSettings;
use kvnode_core::storage::scan::WINDOW_BYTES;
use kvnode_io::HotValues;
use kvnode_io::clock::now;
use kvnode_io::disk::Disk;

use super::engine::{CACHE_BYTES, Engine};

/// Files kept open.
const HANDLES: usize = 100;

const CLIENT: ClientId = ClientId(1);

pub(crate) struct Kvnode {
    shard: Shard,
    disk: Disk,
    replies: VecDeque<Reply>,
    opened: bool,
    stopped: bool,
}

impl Kvnode {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let config = Config {
            member: false,
            partitions: None,
            replication: kvnode_core::replication::Settings::default(),
            redirect: Redirect::Forward,
            fsync: FsyncMode::Always,
            index: IndexKind::Hash,
            segment_bytes: SEGMENT_BYTES,
            zero_ahead_bytes: 1 << 20,
            window_bytes: WINDOW_BYTES,
            scrub: None,
            merge: MergeSettings {
                garbage_percent: 50,
                small_files: 8,
                bytes_per_second: 32 << 20,
                check_every: Duration::from_secs(1),
            },
            server: server::Setup::default(),
            seed: 1,
            port: 0,
            process_id: std::process::id(),
            cache: Box::new(HotValues::new(CACHE_BYTES)),
        };
        let mut kvnode = Self {
            shard: Shard::new(config, now()),
            disk: Disk::new(dir, HANDLES),
            replies: VecDeque::new(),
            opened: false,
            stopped: false,
        };
        kvnode.drain()?;
        if !kvnode.opened {
            return Err(io::Error::other("kvnode waits for something while it opens"));
        }
        kvnode.shard.handle(now(), Input::Connected(CLIENT, Peer::default()));
        Ok(kvnode)
    }

    /// Takes the shard's outputs until there are none, doing what it asks of the disk.
    fn drain(&mut self) -> io::Result<()> {
        while let Some(output) = self.shard.poll() {
            match output {
                Output::Disk(id, op) => {
                    let result = self.disk.run(op);
                    self.shard.handle(now(), Input::Disk(id, result));
                }
                Output::Reply(_, _, reply) => self.replies.push_back(reply),
                Output::Opened => self.opened = true,
                Output::Stopped => self.stopped = true,
                Output::Refused(why) => return Err(io::Error::other(why)),
                Output::Control(_) | Output::Close(_) | Output::Resume(_) | Output::Notice(..) => {}
                Output::AclFile(..)
                | Output::Silence(_)
                | Output::Monitored(..)
                | Output::Shutdown => unreachable!("nobody asks for it"),
            }
        }
        Ok(())
    }

    fn call(&mut self, args: &[&[u8]]) -> io::Result<Reply> {
        if self.shard.deadline().is_some_and(|(at, _)| at <= now().mono) {
            self.shard.handle(now(), Input::Tick);
        }
        self.shard.handle(now(), Input::Command(CLIENT, args));
        self.drain()?;
        self.replies.pop_front().ok_or_else(|| io::Error::other("kvnode does not answer"))
    }
}

impl Engine for Kvnode {
    fn write(&mut self, keys: &[String], value: &[u8]) -> io::Result<()> {
        let mut args: Vec<&[u8]> = vec![b"MSET"];
        for key in keys {
            args.extend([key.as_bytes(), value]);
        }
        let reply = self.call(&args)?;
        if reply == Reply::OK { Ok(()) } else { Err(io::Error::other(format!("{reply:?}"))) }
    }

    fn read(&mut self, key: &str) -> io::Result<Option<usize>> {
        let reply = self.call(&[b"GET", key.as_bytes()])?;
        Ok(if let Reply::Bulk(value) = reply { Some(value.len()) } else { None })
    }

    fn close(mut self: Box<Self>) -> io::Result<()> {
        self.shard.handle(now(), Input::Stop);
        self.drain()?;
        if self.stopped { Ok(()) } else { Err(io::Error::other("kvnode does not stop")) }
    }
}
