//! Calls in words, for those who read a verdict.

use crate::history::{Action, Answer, Call, Key, Order, Outcome, Ttl, Val, When};

use super::model::State;

/// `c2 GET {g3}1 → t4 [12..19]`.
pub fn call(call: &Call) -> String {
    let end = call.returned.map(|returned| returned.order).or(call.until);
    let interval = interval(call.invoked.order, end);
    format!("c{} {} → {} {interval}", call.client, action(&call.action), outcome(&call.outcome))
}

/// `[12..19]`, by order.
pub(super) fn interval(from: Order, to: Option<Order>) -> String {
    to.map_or(format!("[{from}..]"), |to| format!("[{from}..{to}]"))
}

/// A command as a client would type it.
pub(crate) fn action(action: &Action) -> String {
    match action {
        Action::Get(key) => format!("GET {key}"),
        Action::MGet(keys) => format!("MGET {}", list(keys)),
        Action::Exists(keys) => format!("EXISTS {}", list(keys)),
        Action::Set { key, val, ttl, when, get } => {
            let get = if *get { " GET" } else { "" };
            format!("SET {key} {val}{}{}{get}", condition(when), lifetime(*ttl))
        }
        Action::GetDel(key) => format!("GETDEL {key}"),
        Action::Del(keys) => format!("DEL {}", list(keys)),
        Action::MSet(pairs) => format!("MSET {}", pairs_list(pairs)),
        Action::MSetNx(pairs) => format!("MSETNX {}", pairs_list(pairs)),
        Action::Incr(key, delta) => format!("INCRBY {key} {delta}"),
        Action::Append(key, token) => format!("APPEND {key} t{}", token.id),
        Action::DelIfEq(key, val) => format!("DELIFEQ {key} {val}"),
        Action::Expire(key, ttl) => format!("EXPIRE {key}{}", lifetime(*ttl)),
        Action::Persist(key) => format!("PERSIST {key}"),
        Action::Rename(from, to) => format!("RENAME {from} {to}"),
        Action::Flush => "FLUSHALL".into(),
        Action::Txn { watched, steps } => {
            let watched = watched.iter().map(|(key, val)| format!("{key}={}", maybe(val.as_ref())));
            let watched: Vec<_> = watched.collect();
            let steps: Vec<_> = steps.iter().map(self::action).collect();
            let watch = if watched.is_empty() { "" } else { "WATCH " };
            format!("{watch}{} MULTI {{ {} }}", watched.join(" "), steps.join("; "))
        }
    }
}

/// What the client was told.
pub(crate) fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Done => "OK".into(),
        Answer::Nil => "nil".into(),
        Answer::Int(n) => n.to_string(),
        Answer::Val(val) => val.to_string(),
        Answer::Vals(vals) => {
            let vals: Vec<_> = vals.iter().map(|val| maybe(val.as_ref())).collect();
            format!("[{}]", vals.join(", "))
        }
        Answer::NotInteger => "not an integer".into(),
        Answer::NoSuchKey => "no such key".into(),
        Answer::Aborted => "aborted".into(),
        Answer::Untold => "done, and no number to be trusted".into(),
        Answer::Each(answers) => {
            let answers: Vec<_> = answers.iter().map(self::answer).collect();
            format!("{{ {} }}", answers.join("; "))
        }
    }
}

/// `1=t4 2=t9 (expires 40..52)`, or `nothing`.
pub(super) fn state(state: &State) -> String {
    let keys = state.0.iter().map(|(number, held)| match held.expires {
        None => format!("{number}={}", held.val),
        Some(span) => format!("{number}={} (expires {}..{})", held.val, span.lo_ms, span.hi_ms),
    });
    let keys: Vec<_> = keys.collect();
    if keys.is_empty() { "nothing".into() } else { keys.join(" ") }
}

pub(crate) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered(answer) => self::answer(answer),
        Outcome::Refused(why) => format!("refused: {why}"),
        Outcome::Unknown(why) => format!("unknown: {why}"),
        Outcome::Garbage(reply) => format!("garbage: {reply}"),
    }
}

fn list(keys: &[Key]) -> String {
    keys.iter().map(Key::to_string).collect::<Vec<_>>().join(" ")
}

fn pairs_list(pairs: &[(Key, Val)]) -> String {
    pairs.iter().map(|(key, val)| format!("{key} {val}")).collect::<Vec<_>>().join(" ")
}

fn maybe(val: Option<&Val>) -> String {
    val.map_or("nil".into(), Val::to_string)
}

fn lifetime(ttl: Ttl) -> String {
    match ttl {
        Ttl::None => String::new(),
        Ttl::Keep => " KEEPTTL".into(),
        Ttl::In(ms) => format!(" PX {ms}"),
        Ttl::At(ms) => format!(" PXAT {ms}"),
    }
}

fn condition(when: &When) -> String {
    match when {
        When::Always => String::new(),
        When::Absent => " NX".into(),
        When::Present => " XX".into(),
        When::Equal(val) => format!(" IFEQ {val}"),
    }
}
