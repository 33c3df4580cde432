//! kvnode and a real Redis answer the same.
//!
//! Random sequences of commands over few keys go to both, from two connections, pipelined or not,
//! in RESP2 and RESP3; every reply is compared byte for byte ([`compare`] names the exceptions),
//! and so are the keys, values and times of expiry that are left in the end. What is sent and what
//! is left out is in [`commands`] and [`server`]. A difference is shrunk to a short sequence that shows it.
//!
//! `KVNODE_DIFFERENTIAL_CASES` sets how many sequences are tried.

mod commands;
#[path = "../common/mod.rs"]
mod common;
mod compare;
mod server;
mod table;
mod users;

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use common::{Client, Endpoint, Frame, Node, Redis, encode};
use compare::Comparer;

/// Enough for about 20 seconds.
const CASES_DEFAULT: u32 = 5_000;

/// Most commands of one sequence.
const STEPS_MAX: usize = 50;

/// Most steps of one SCAN over the few keys there are.
const SCAN_STEPS_MAX: usize = 1_000;

/// One command of a sequence.
#[derive(Clone)]
struct Step {
    /// Which of the two connections sends it.
    second: bool,
    /// Whether it is sent without waiting for the replies to those before it.
    pipelined: bool,
    /// Whether it is sent as an inline command.
    inline: bool,
    args: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.second { "\n  2" } else { "\n  1" })?;
        f.write_str(if self.pipelined { " +" } else { "  " })?;
        f.write_str(if self.inline { "~" } else { " " })?;
        for arg in &self.args {
            write!(f, " \"{}\"", arg.escape_ascii())?;
        }
        Ok(())
    }
}

#[test]
fn replies_equal_those_of_redis() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::start(&["--fsync", "never"]);
    check(&redis, &node.endpoint(), cases(CASES_DEFAULT)).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn an_ordered_index_replies_the_same() {
    let Some(redis) = Redis::start() else { return };
    let node = Node::start(&["--fsync", "never", "--index", "ordered"]);
    check(&redis, &node.endpoint(), cases(CASES_DEFAULT / 10)).unwrap_or_else(|e| panic!("{e}"));
}

/// The comparison itself is sound: Redis does not differ from Redis.
#[test]
fn redis_equals_redis() {
    let (Some(one), Some(other)) = (Redis::start(), Redis::start()) else { return };
    check(&one, other.endpoint(), cases(CASES_DEFAULT / 10)).unwrap_or_else(|e| panic!("{e}"));
}

/// The comparison can fail: one command that behaves differently is found and the sequence shrunk
/// to it.
#[test]
fn a_difference_is_found_and_shrunk() {
    let (Some(one), Some(other)) = (Redis::start(), Redis::with(&["--databases", "2"])) else {
        return;
    };
    let found = check(&one, other.endpoint(), CASES_DEFAULT).expect_err("SELECT 1 differs");
    assert!(found.contains("DB index is out of range"), "{found}");
    let (_, steps) = found.split_once("after:").expect("the sequence");
    assert_eq!(steps.matches("\n  ").count(), 1, "one command is enough: {found}");
}

fn cases(default: u32) -> u32 {
    std::env::var("KVNODE_DIFFERENTIAL_CASES")
        .map_or(default, |n| n.parse().expect("KVNODE_DIFFERENTIAL_CASES is a number"))
}

/// Tries `cases` sequences against both and describes the shortest one that shows a difference.
fn check(redis: &Redis, other: &Endpoint, cases: u32) -> Result<(), String> {
    let steps = vec(step(), 1..=STEPS_MAX);
    // A reply that never comes and a reply that is no RESP show as panics; they are differences.
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&steps, |steps| {
            play(redis.endpoint(), other, &steps).map_err(TestCaseError::fail)?;
            Ok(())
        })
        .map_err(|e| match e {
            TestError::Fail(why, steps) => format!("{why}\nafter:{steps:?}"),
            TestError::Abort(why) => why.to_string(),
        })
}

fn step() -> impl Strategy<Value = Step> {
    let flag = |weight| proptest::bool::weighted(weight);
    (flag(0.3), flag(0.5), flag(0.05), commands::command()).prop_map(
        |(second, pipelined, inline, args)| Step {
            second,
            pipelined,
            // An inline command starts with its name, and is empty without one.
            inline: inline && args[0].iter().all(u8::is_ascii_alphabetic) && !args[0].is_empty(),
            args,
        },
    )
}

/// Both servers with two connections to each.
struct Pair<'a> {
    redis: &'a Endpoint,
    other: &'a Endpoint,
    /// For each of the two connections: to Redis, to the other.
    clients: [[Client; 2]; 2],
    comparers: [Comparer; 2],
}

/// Plays one sequence against both.
fn play(redis: &Endpoint, other: &Endpoint, steps: &[Step]) -> Result<(), String> {
    let steps = &commands::without_left_out(server::without_refused(steps))[..];
    let mut clients = [connect(redis, other)?, connect(redis, other)?];
    clients[0].iter_mut().try_for_each(server::begin_anew)?;
    let comparer = Comparer::new(steps.iter().map(|step| &step.args));
    let comparers = [comparer.clone(), comparer];
    let mut pair = Pair { redis, other, clients, comparers };
    for reply in both(&mut connect(redis, other)?, &["FLUSHALL"])? {
        assert_eq!(reply, Frame::ok());
    }
    let mut rest = steps;
    while let Some(first) = rest.first() {
        // A batch ends before a step of the other connection and before one that waits, and after
        // one whose reply the harness acts on.
        let more = rest[1..].iter().zip(rest);
        let len = 1 + more
            .take_while(|(next, last)| {
                next.pipelined && next.second == first.second && !acted_on(last)
            })
            .count();
        let (batch, later) = rest.split_at(len);
        pair.batch(usize::from(first.second), batch)?;
        rest = later;
    }
    compare_keys(&mut connect(redis, other)?)
}

/// Whether the harness does something with the reply before it goes on.
fn acted_on(step: &Step) -> bool {
    matches!(name(step).as_slice(), b"SCAN" | b"QUIT" | b"RANDOMKEY")
}

/// The command's name in capitals.
fn name(step: &Step) -> Vec<u8> {
    step.args[0].to_ascii_uppercase()
}

impl Pair<'_> {
    fn batch(&mut self, connection: usize, batch: &[Step]) -> Result<(), String> {
        let clients = &mut self.clients[connection];
        let mut bytes = Vec::new();
        for step in batch {
            if step.inline {
                bytes.extend_from_slice(&inline(&step.args));
            } else {
                bytes.extend_from_slice(&encode(&step.args));
            }
        }
        for client in clients.iter_mut() {
            client.send_raw(&bytes).map_err(|e| e.to_string())?;
        }
        for step in batch {
            let [one, two] = receive(clients).map_err(|e| format!("{step:?}\n{e}"))?;
            let compared = self.comparers[connection].compare(&step.args, &one, &two);
            compared.map_err(|why| {
                format!("{why}{step:?}\n  redis answers {one:?}\n  the other     {two:?}")
            })?;
            if let (b"RANDOMKEY", Frame::Bulk(key)) = (name(step).as_slice(), &two) {
                let there = clients[0].call([b"EXISTS", key.as_slice()]);
                same("RANDOMKEY's key exists", [Frame::Int(1), there])?;
            }
            let scanned = follow_scan(clients, step, [one, two])?;
            same("the keys that SCAN finds", scanned)?;
        }
        if batch.last().is_some_and(|step| name(step) == b"QUIT") {
            assert!(clients[0].is_closed(), "Redis closes after QUIT");
            if !clients[1].is_closed() {
                return Err("only Redis closes after QUIT".into());
            }
            self.clients[connection] = connect(self.redis, self.other)?;
            self.comparers[connection].forget_transaction();
        }
        Ok(())
    }
}

fn connect(redis: &Endpoint, other: &Endpoint) -> Result<[Client; 2], String> {
    let connect = |to| Client::connect(to).map_err(|e| format!("connecting to {to:?}: {e}"));
    Ok([connect(redis)?, connect(other)?])
}

fn receive(clients: &mut [Client; 2]) -> Result<[Frame; 2], String> {
    let [redis, other] = clients;
    let one = redis.receive().expect("Redis answers");
    let two = other.receive().map_err(|e| format!("redis answers {one:?}, the other: {e}"))?;
    Ok([one, two])
}

fn both<A: AsRef<[u8]>>(clients: &mut [Client; 2], args: &[A]) -> Result<[Frame; 2], String> {
    for client in clients.iter_mut() {
        client.send_raw(&encode(args)).map_err(|e| e.to_string())?;
    }
    receive(clients)
}

/// Where a SCAN from zero was answered, goes on until both have walked through, and gives what each
/// has found. The cursors and the steps are each server's own affair.
fn follow_scan(
    clients: &mut [Client; 2],
    step: &Step,
    replies: [Frame; 2],
) -> Result<[BTreeSet<Frame>; 2], String> {
    let mut found = [BTreeSet::new(), BTreeSet::new()];
    let from_zero = step.args.get(1).is_some_and(|cursor| cursor == b"0");
    if name(step) != b"SCAN" || !from_zero {
        return Ok(found);
    }
    for ((client, reply), found) in clients.iter_mut().zip(replies).zip(&mut found) {
        let mut reply = reply;
        let mut done = false;
        for _ in 0..SCAN_STEPS_MAX {
            // Anything else is an error or QUEUED, and was compared.
            let Frame::Array(pair) = &reply else {
                done = true;
                break;
            };
            let [Frame::Bulk(cursor), Frame::Array(keys)] = pair.as_slice() else {
                return Err(format!("SCAN answers {reply:?}"));
            };
            found.extend(keys.iter().cloned());
            if cursor == b"0" {
                done = true;
                break;
            }
            let mut args = step.args.clone();
            args[1].clone_from(cursor);
            reply = client.try_call(&args).map_err(|e| e.to_string())?;
        }
        if !done {
            return Err(format!("SCAN does not end{step:?}"));
        }
    }
    Ok(found)
}

/// The same keys with the same values and times of expiry on both.
fn compare_keys(clients: &mut [Client; 2]) -> Result<(), String> {
    let replies = both(clients, &["KEYS", "*"])?;
    let keys = replies.map(|r| r.elements().unwrap_or_default().iter().cloned().collect());
    let [keys, _]: [BTreeSet<Frame>; 2] = same("the keys left", keys)?;
    for key in keys {
        let Frame::Bulk(key) = key else { return Err(format!("the key {key:?}")) };
        let shown = key.escape_ascii();
        same(&format!("what is left at {shown}"), both(clients, &[b"GET", key.as_slice()])?)?;
        let args = [b"PEXPIRETIME".to_vec(), key.clone()];
        let [one, two] = both(clients, &args)?;
        Comparer::new([])
            .compare(&args, &one, &two)
            .map_err(|why| format!("{why}: expiry left at {shown}: {one:?}, {two:?}"))?;
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, [one, two]: [T; 2]) -> Result<[T; 2], String> {
    if one == two { Ok([one, two]) } else { Err(format!("{what}: {one:?}, {two:?}")) }
}

/// A command as a line, quoted as redis-cli understands it.
fn inline(args: &[Vec<u8>]) -> Vec<u8> {
    let mut line = Vec::new();
    for arg in args {
        if !line.is_empty() {
            line.push(b' ');
        }
        if !arg.is_empty() && arg.iter().all(u8::is_ascii_alphanumeric) {
            line.extend_from_slice(arg);
            continue;
        }
        line.push(b'"');
        for &byte in arg {
            match byte {
                b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
                b' '..=b'~' => line.push(byte),
                _ => line.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            }
        }
        line.push(b'"');
    }
    line.extend_from_slice(b"\r\n");
    line
}
