//! A client and a keyspace in memory to evaluate commands against.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::kv::{Acked, Changes, Info, Item, Meta, Op, Session, Stop, View, evaluate};
use crate::reply::{Protocol, Reply};
use crate::server::Server;
use crate::shard::FsyncMode;
use crate::{ClientId, Millis, Value};

/// A view that holds everything in memory, and can be told to stop.
#[derive(Default)]
pub(super) struct MapView {
    pub(super) items: BTreeMap<Vec<u8>, Item>,
    pub(super) now_ms: Millis,
    pub(super) fsync: Option<FsyncMode>,
    pub(super) acked: Acked,
    watched: BTreeMap<Vec<u8>, (usize, u64)>,
    /// How often it was asked for a key or its value.
    pub(super) asked: usize,
    /// Keys whose values are on disk; asking for one notes it in `noted`.
    pub(super) cold: BTreeSet<Vec<u8>>,
    pub(super) noted: BTreeSet<Vec<u8>>,
    pub(super) server: Server,
    /// Stop at the question with this number.
    pub(super) stop_at: Option<(usize, Stop)>,
}

impl MapView {
    /// Takes over what a command has changed.
    pub(super) fn apply(&mut self, changes: &mut Changes) {
        if changes.flushes() {
            for key in core::mem::take(&mut self.items).into_keys() {
                self.touch(&key);
            }
        }
        for (key, op) in changes.ops() {
            match op {
                Op::Put { value, expire_at } => {
                    let item = Item { value: value.clone(), expire_at: *expire_at };
                    self.items.insert(key.to_vec(), item);
                }
                Op::Delete => {
                    self.items.remove(&**key);
                }
            }
            self.touch(key);
        }
        changes.clear();
    }

    pub(super) fn watchers(&self) -> usize {
        self.watched.values().map(|(count, _)| count).sum()
    }

    fn touch(&mut self, key: &[u8]) {
        if let Some((_, version)) = self.watched.get_mut(key) {
            *version += 1;
        }
    }

    fn ask(&mut self) -> Result<(), Stop> {
        self.asked += 1;
        match &self.stop_at {
            Some((at, stop)) if *at == self.asked => Err(stop.clone()),
            _ => Ok(()),
        }
    }

    fn live(&self, key: &[u8]) -> Option<&Item> {
        self.items.get(key).filter(|item| item.expire_at.is_none_or(|at| at > self.now_ms))
    }
}

impl View for MapView {
    fn partitions(&self) -> usize {
        1
    }

    fn meta(&mut self, key: &[u8]) -> Result<Option<Meta>, Stop> {
        self.ask()?;
        let meta = |item: &Item| Meta { value_len: item.value.len(), expire_at: item.expire_at };
        Ok(self.live(key).map(meta))
    }

    fn suspect(&mut self, _: &[u8]) -> bool {
        false
    }

    fn damaged(&mut self) -> bool {
        false
    }

    fn item(&mut self, key: &[u8]) -> Result<Option<Item>, Stop> {
        self.ask()?;
        if self.cold.contains(key) {
            self.noted.insert(key.to_vec());
            return Err(Stop::Read);
        }
        Ok(self.live(key).cloned())
    }

    fn len(&mut self) -> Result<usize, Stop> {
        self.ask()?;
        Ok(self.items.keys().filter(|key| self.live(key).is_some()).count())
    }

    fn for_each_key(&mut self, prefix: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), Stop> {
        self.ask()?;
        let live = self.items.keys().filter(|key| self.live(key).is_some());
        live.filter(|key| key.starts_with(prefix)).for_each(|key| found(key));
        Ok(())
    }

    fn scan(
        &mut self,
        cursor: u64,
        count: usize,
        _: &[u8],
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, Stop> {
        self.ask()?;
        let start = cursor as usize;
        let end = start.saturating_add(count).min(self.items.len());
        let step = self.items.keys().skip(start).take(end.saturating_sub(start));
        step.filter(|key| self.live(key).is_some()).for_each(|key| found(key));
        Ok(if end >= self.items.len() { 0 } else { end as u64 })
    }

    fn random_key(&mut self) -> Result<Option<Value>, Stop> {
        self.ask()?;
        let first = self.items.keys().find(|key| self.live(key).is_some());
        Ok(first.map(|key| Value::copy_from(key)))
    }

    fn now_ms(&self) -> Millis {
        self.now_ms
    }

    fn wall_us(&self) -> u64 {
        self.now_ms * 1000 + 42
    }

    fn watch(&mut self, key: &[u8]) {
        self.watched.entry(key.to_vec()).or_default().0 += 1;
    }

    fn unwatch(&mut self, key: &[u8]) {
        let watched = self.watched.get_mut(key).expect("unwatched after it was watched");
        watched.0 -= 1;
        if watched.0 == 0 {
            self.watched.remove(key);
        }
    }

    fn watched_version(&self, key: &[u8]) -> u64 {
        self.watched[key].1
    }

    fn fsync(&self) -> FsyncMode {
        self.fsync.unwrap_or(FsyncMode::Always)
    }

    fn acked(&self) -> Acked {
        self.acked
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    fn info(&self) -> Info {
        Info { keys: self.items.len(), fsync: "always".to_string(), ..Info::default() }
    }
}

/// A client of a keyspace.
pub(super) struct World {
    pub(super) view: MapView,
    pub(super) session: Session,
    pub(super) changes: Changes,
}

impl World {
    pub(super) fn new() -> Self {
        let view = MapView { now_ms: 1_700_000_000_000, ..MapView::default() };
        Self { view, session: Session::new(ClientId(7)), changes: Changes::default() }
    }

    /// Evaluates a command, applies it, and renders the reply.
    pub(super) fn run(&mut self, line: &str) -> String {
        let args = split(line);
        let args: Vec<&[u8]> = args.iter().map(|arg| &**arg).collect();
        let reply = self.evaluate(&args).expect("nothing stops it");
        render(&reply, self.session.protocol())
    }

    /// Evaluates a command and applies it.
    pub(super) fn evaluate(&mut self, args: &[&[u8]]) -> Result<Reply, Stop> {
        let result = evaluate(&mut self.session, args, &mut self.view, &mut self.changes);
        match &result {
            Ok(Reply::Error(_)) => assert!(self.changes.is_empty(), "a failure changes nothing"),
            Ok(_) => self.view.apply(&mut self.changes),
            Err(_) => self.changes.clear(),
        }
        result
    }

    /// Runs each line and compares, lines being `command -> reply`.
    pub(super) fn story(&mut self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (command, expected) = line.split_once(" -> ").expect("command -> reply");
            assert_eq!(self.run(command).trim_end(), expected, "{command}");
        }
    }
}

/// Splits a line at spaces; double quotes keep what is between them together.
pub(super) fn split(line: &str) -> Vec<Vec<u8>> {
    let mut args = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let arg;
        (arg, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("a closing quote"),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        args.push(arg.as_bytes().to_vec());
        rest = rest.trim_start();
    }
    args
}

/// A reply in the notation of the captured ones.
pub(super) fn render(reply: &Reply, protocol: Protocol) -> String {
    let old = protocol == Protocol::Resp2;
    let all = |replies: &[Reply]| {
        replies.iter().map(|reply| render(reply, protocol)).collect::<Vec<_>>().join(", ")
    };
    match reply {
        Reply::Simple(text) => format!("+{text}"),
        Reply::Error(text) => format!("-{text}"),
        Reply::Int(n) => format!(":{n}"),
        Reply::Bulk(value) => format!("'{}'", value.escape_ascii()),
        Reply::Verbatim(text) | Reply::Double(text) => format!("'{}'", text.escape_debug()),
        Reply::Null | Reply::NullArray if !old => "_".to_string(),
        Reply::Null => "$-1".to_string(),
        Reply::NullArray => "*-1".to_string(),
        Reply::Set(replies) if !old => format!("~[{}]", all(replies)),
        Reply::Array(replies) | Reply::Set(replies) => format!("*[{}]", all(replies)),
        Reply::Map(pairs) if old => {
            let flat: Vec<_> = pairs.iter().flat_map(|(k, v)| [k.clone(), v.clone()]).collect();
            format!("*[{}]", all(&flat))
        }
        Reply::Map(pairs) => {
            let pair = |(k, v): &(Reply, Reply)| {
                format!("{}=>{}", render(k, protocol), render(v, protocol))
            };
            format!("%{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
    }
}
