//! Writes from several connections at once, and the question what must be left of them.
//!
//! Each writer has keys of its own, so its commands take effect in the order in which it sent them.
//! After a crash the state of its keys must then be the one after some number of its commands: at
//! least those that were acknowledged, at most those that were sent. That is sharper than looking
//! at each key alone: it also finds a later write that survived an earlier one, and half a batch.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::{Client, Endpoint, Frame, Rng, encode};

/// Keys of one writer.
const KEYS: u64 = 24;

/// Longest value but for a few, in bytes.
const VALUE_BYTES_MAX: u64 = 300;

/// Length of the few, in bytes: more than one write of a log or one read of a socket.
const LARGE_VALUE_BYTES: u64 = 100_000;

/// One command of a writer.
#[derive(Clone, Debug)]
enum Write {
    Set(Vec<u8>, Vec<u8>),
    /// Several keys, all or none.
    MultiSet(Vec<(Vec<u8>, Vec<u8>)>),
    Delete(Vec<u8>),
    Append(Vec<u8>, Vec<u8>),
    Increment(Vec<u8>),
}

type Keys = BTreeMap<Vec<u8>, Vec<u8>>;

/// What one connection writes, and what it knows of its keys.
pub(crate) struct Writer {
    name: String,
    /// Commands sent before it waits for their replies.
    depth: usize,
    rng: Rng,
    /// The keys before `sent`.
    keys: Keys,
    sent: Vec<Write>,
    acknowledged: usize,
}

impl Writer {
    /// A writer whose keys start with `name` and do not exist yet.
    pub(crate) fn new(name: &str, depth: usize, seed: u64) -> Self {
        Self {
            name: name.into(),
            depth,
            rng: Rng::new(seed),
            keys: Keys::new(),
            sent: Vec::new(),
            acknowledged: 0,
        }
    }

    /// Writes until the connection breaks; `total` counts acknowledged commands.
    fn run(&mut self, to: &Endpoint, total: &AtomicU64) -> io::Result<()> {
        let mut client = Client::connect(to)?;
        loop {
            let batch: Vec<_> = (0..self.depth).map(|_| self.next_write()).collect();
            let bytes: Vec<u8> = batch.iter().flat_map(Write::encode).collect();
            // Any part of it may arrive, also if sending fails.
            self.sent.extend(batch);
            client.send_raw(&bytes)?;
            for _ in 0..self.depth {
                let reply = client.receive()?;
                assert!(
                    matches!(reply, Frame::Simple(_) | Frame::Int(_)),
                    "{}: {reply:?} to a write that must succeed",
                    self.name
                );
                self.acknowledged += 1;
                total.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Reads the keys back and checks them as the module's header says. What is found is what the
    /// next round starts from.
    ///
    /// # Panics
    /// If an acknowledged command is not there, or something is there that never was.
    pub(crate) fn check(&mut self, client: &mut Client) {
        let found = self.read_back(client);
        let sent = std::mem::take(&mut self.sent);
        let acknowledged = std::mem::take(&mut self.acknowledged);
        let mut expected = std::mem::take(&mut self.keys);
        let mut first = None;
        for cut in 0..=sent.len() {
            if cut >= acknowledged {
                if expected == found {
                    self.keys = found;
                    return;
                }
                first.get_or_insert_with(|| expected.clone());
            }
            if let Some(write) = sent.get(cut) {
                write.apply(&mut expected);
            }
        }
        let expected = first.unwrap_or_default();
        for key in expected.keys().chain(found.keys()) {
            let (wanted, got) = (expected.get(key), found.get(key));
            if wanted != got {
                eprintln!(
                    "{}: after the acknowledged writes {:?}, found {:?}",
                    key.escape_ascii(),
                    wanted.map(Frame::bulk),
                    got.map(Frame::bulk)
                );
            }
        }
        panic!(
            "{}: the keys are not those after {acknowledged} to {} of its commands; \
             see the differences above",
            self.name,
            sent.len()
        );
    }

    /// How many keys it should have now.
    pub(crate) fn key_count(&self) -> usize {
        self.keys.len()
    }

    fn read_back(&self, client: &mut Client) -> Keys {
        let names: Vec<_> = (0..KEYS).map(|n| self.key(n)).chain([self.counter()]).collect();
        let reply = client.call([b"MGET".to_vec()].iter().chain(&names));
        let values = reply.elements().expect("MGET answers an array").to_vec();
        names
            .into_iter()
            .zip(values)
            .filter_map(|(name, value)| match value {
                Frame::Bulk(value) => Some((name, value)),
                Frame::NullBulk => None,
                other => panic!("{}: {other:?}", name.escape_ascii()),
            })
            .collect()
    }

    fn key(&self, n: u64) -> Vec<u8> {
        format!("{}:{n}", self.name).into_bytes()
    }

    fn counter(&self) -> Vec<u8> {
        format!("{}:counter", self.name).into_bytes()
    }

    fn next_write(&mut self) -> Write {
        let n = self.rng.below(KEYS);
        let key = self.key(n);
        match self.rng.below(100) {
            0..60 => Write::Set(key, self.value()),
            60..72 => Write::Delete(key),
            72..84 => {
                let pairs = (0..3).map(|i| (self.key((n + i) % KEYS), self.value())).collect();
                Write::MultiSet(pairs)
            }
            84..90 => Write::Append(key, b"+more".to_vec()),
            _ => Write::Increment(self.counter()),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let large = self.rng.below(400) == 0;
        let len = self.rng.below(if large { LARGE_VALUE_BYTES } else { VALUE_BYTES_MAX });
        self.rng.bytes(len as usize)
    }
}

impl Write {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Set(key, value) => encode([b"SET", key.as_slice(), value]),
            Self::MultiSet(pairs) => {
                let pairs = pairs.iter().flat_map(|(key, value)| [key.as_slice(), value]);
                encode([b"MSET".as_slice()].into_iter().chain(pairs))
            }
            Self::Delete(key) => encode([b"DEL", key.as_slice()]),
            Self::Append(key, value) => encode([b"APPEND", key.as_slice(), value]),
            Self::Increment(key) => encode([b"INCR", key.as_slice()]),
        }
    }

    fn apply(&self, keys: &mut Keys) {
        match self {
            Self::Set(key, value) => {
                keys.insert(key.clone(), value.clone());
            }
            Self::MultiSet(pairs) => keys.extend(pairs.iter().cloned()),
            Self::Delete(key) => {
                keys.remove(key);
            }
            Self::Append(key, value) => keys.entry(key.clone()).or_default().extend(value),
            Self::Increment(key) => {
                let value = keys.entry(key.clone()).or_insert_with(|| b"0".to_vec());
                let n: i64 = str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .expect("only INCR writes the counter");
                *value = (n + 1).to_string().into_bytes();
            }
        }
    }
}

/// Writers at work.
pub(crate) struct Load {
    threads: Vec<JoinHandle<Writer>>,
    acknowledged: &'static AtomicU64,
}

impl Load {
    /// Starts a thread for each writer.
    pub(crate) fn start(to: &Endpoint, writers: Vec<Writer>) -> Self {
        // A few bytes a round are never freed; the test ends soon.
        let acknowledged: &'static AtomicU64 = Box::leak(Box::default());
        let threads = writers
            .into_iter()
            .map(|mut writer| {
                let to = to.clone();
                thread::spawn(move || {
                    // Ends when the server does, which is the point.
                    let _ = writer.run(&to, acknowledged);
                    writer
                })
            })
            .collect();
        Self { threads, acknowledged }
    }

    /// Commands acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits for the writers, whose server is gone.
    pub(crate) fn join(self) -> Vec<Writer> {
        self.threads.into_iter().map(|t| t.join().expect("no writer fails")).collect()
    }
}
