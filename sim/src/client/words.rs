//! Actions as commands, replies as outcomes.

use kvnode_core::reply::Reply;

use crate::history::{Action, Answer, Key, Outcome, Ttl, Val, When};

/// The arguments of a command.
pub type Words = Vec<Vec<u8>>;

/// The commands of an action: one, or MULTI … EXEC.
pub fn commands(action: &Action) -> Vec<Words> {
    match action {
        Action::Txn { steps, .. } => {
            let mut all = vec![words("MULTI")];
            all.extend(steps.iter().map(command));
            all.push(words("EXEC"));
            all
        }
        Action::Get(_)
        | Action::MGet(_)
        | Action::Exists(_)
        | Action::Set { .. }
        | Action::GetDel(_)
        | Action::Del(_)
        | Action::MSet(_)
        | Action::MSetNx(_)
        | Action::Incr(..)
        | Action::Append(..)
        | Action::DelIfEq(..)
        | Action::Expire(..)
        | Action::Persist(_)
        | Action::Rename(..)
        | Action::Flush => vec![command(action)],
    }
}

fn command(action: &Action) -> Words {
    match action {
        Action::Get(key) => with("GET", [name(*key)]),
        Action::MGet(keys) => with("MGET", keys.iter().copied().map(name)),
        Action::Exists(keys) => with("EXISTS", keys.iter().copied().map(name)),
        Action::Set { key, val, ttl, when, get } => {
            let mut all = with("SET", [name(*key), val.encode()]);
            match when {
                When::Always => {}
                When::Absent => all.push(b"NX".to_vec()),
                When::Present => all.push(b"XX".to_vec()),
                When::Equal(val) => all.extend([b"IFEQ".to_vec(), val.encode()]),
            }
            if *get {
                all.push(b"GET".to_vec());
            }
            match ttl {
                Ttl::None => {}
                Ttl::Keep => all.push(b"KEEPTTL".to_vec()),
                Ttl::In(ms) => all.extend([b"PX".to_vec(), number(*ms)]),
                Ttl::At(ms) => all.extend([b"PXAT".to_vec(), number(*ms)]),
            }
            all
        }
        Action::GetDel(key) => with("GETDEL", [name(*key)]),
        Action::Del(keys) => with("DEL", keys.iter().copied().map(name)),
        Action::MSet(pairs) => with("MSET", flat(pairs)),
        Action::MSetNx(pairs) => with("MSETNX", flat(pairs)),
        Action::Incr(key, by) => with("INCRBY", [name(*key), by.to_string().into_bytes()]),
        Action::Append(key, token) => {
            with("APPEND", [name(*key), Val::Tokens(vec![*token]).encode()])
        }
        Action::DelIfEq(key, val) => with("DELIFEQ", [name(*key), val.encode()]),
        Action::Expire(key, Ttl::At(ms)) => with("PEXPIREAT", [name(*key), number(*ms)]),
        Action::Expire(key, Ttl::In(ms)) => with("PEXPIRE", [name(*key), number(*ms)]),
        Action::Expire(_, Ttl::None | Ttl::Keep) => unreachable!("an EXPIRE has a time"),
        Action::Persist(key) => with("PERSIST", [name(*key)]),
        Action::Rename(from, to) => with("RENAME", [name(*from), name(*to)]),
        Action::Flush => words("FLUSHALL"),
        Action::Txn { .. } => unreachable!("transactions do not nest"),
    }
}

fn words(command: &str) -> Words {
    vec![command.as_bytes().to_vec()]
}

fn with(command: &str, args: impl IntoIterator<Item = Vec<u8>>) -> Words {
    let mut all = words(command);
    all.extend(args);
    all
}

fn name(key: Key) -> Vec<u8> {
    key.to_string().into_bytes()
}

fn number(n: u64) -> Vec<u8> {
    n.to_string().into_bytes()
}

fn flat(pairs: &[(Key, Val)]) -> impl Iterator<Item = Vec<u8>> {
    pairs.iter().flat_map(|(key, val)| [name(*key), val.encode()])
}

/// The errors in a reply and its parts.
pub(crate) fn errors(reply: &Reply) -> Vec<&str> {
    match reply {
        Reply::Error(text) => vec![text],
        Reply::Array(parts) => parts.iter().flat_map(errors).collect(),
        Reply::Simple(_)
        | Reply::Int(_)
        | Reply::Bulk(_)
        | Reply::Null
        | Reply::NullArray
        | Reply::Map(_)
        | Reply::Set(_)
        | Reply::Double(_)
        | Reply::Verbatim(_) => Vec::new(),
    }
}

/// Whether a reply tells, in any of its parts, that something is damaged.
pub(crate) fn tells_damage(reply: &Reply) -> bool {
    errors(reply).iter().any(|text| text.starts_with("CORRUPT"))
}

/// A DEL on a disk that was damaged counts keys that may have been there: what it counts is not told.
pub(crate) fn mistrust(action: &Action, outcome: &mut Outcome) {
    if let Outcome::Answered(answer) = outcome {
        mistrust_answer(action, answer);
    }
}

fn mistrust_answer(action: &Action, answer: &mut Answer) {
    match (action, answer) {
        (Action::Del(_), answer @ Answer::Int(_)) => *answer = Answer::Untold,
        (Action::Txn { steps, .. }, Answer::Each(answers)) => {
            steps.iter().zip(answers).for_each(|(step, answer)| mistrust_answer(step, answer));
        }
        _ => {}
    }
}

/// What the reply to an action means. Steps of a transaction that were refused one by one had no
/// effect: they are taken out of the action.
pub fn outcome(action: &mut Action, reply: &Reply) -> Outcome {
    if let Reply::Error(text) = reply {
        return match text.split(' ').next().unwrap_or_default() {
            "UNKNOWN" | "PARTIAL" => Outcome::Unknown(text.to_string()),
            "DOWN" | "LOADING" | "DISKFULL" | "CORRUPT" | "EXECABORT" | "CLUSTERDOWN"
            | "TRYAGAIN" | "NOREPLICAS" => Outcome::Refused(text.to_string()),
            "ERR" if text.contains("this one was not applied") => {
                Outcome::Refused(text.to_string())
            }
            _ => answered(action, reply),
        };
    }
    let Action::Txn { watched, steps } = action else { return answered(action, reply) };
    match reply {
        // Nothing but a watched key can have aborted it.
        Reply::Null | Reply::NullArray if watched.is_empty() => garbage(reply),
        Reply::Null | Reply::NullArray => Outcome::Answered(Answer::Aborted),
        Reply::Array(replies) if replies.len() == steps.len() => {
            let mut left = Vec::new();
            let mut answers = Vec::new();
            let mut refused = None;
            for (mut step, reply) in std::mem::take(steps).into_iter().zip(replies) {
                match outcome(&mut step, reply) {
                    Outcome::Answered(answer) => {
                        left.push(step);
                        answers.push(answer);
                    }
                    // Of one batch all is written or nothing: only what can not be read stands alone.
                    Outcome::Refused(text) if text.starts_with("CORRUPT") => {}
                    Outcome::Refused(text) => refused = Some(text),
                    Outcome::Unknown(text) | Outcome::Garbage(text) => {
                        return Outcome::Garbage(format!("within EXEC: {text}"));
                    }
                }
            }
            match refused {
                None => {}
                Some(text) if answers.is_empty() => return Outcome::Refused(text),
                Some(text) => {
                    return Outcome::Garbage(format!("half of a transaction was refused: {text}"));
                }
            }
            *steps = left;
            Outcome::Answered(Answer::Each(answers))
        }
        Reply::Simple(_)
        | Reply::Error(_)
        | Reply::Int(_)
        | Reply::Bulk(_)
        | Reply::Array(_)
        | Reply::Map(_)
        | Reply::Set(_)
        | Reply::Double(_)
        | Reply::Verbatim(_) => garbage(reply),
    }
}

fn answered(action: &Action, reply: &Reply) -> Outcome {
    answer(action, reply).map_or_else(|| garbage(reply), Outcome::Answered)
}

fn garbage(reply: &Reply) -> Outcome {
    Outcome::Garbage(crate::net::reply_text(reply))
}

fn answer(action: &Action, reply: &Reply) -> Option<Answer> {
    if let Reply::Error(text) = reply {
        return match (action, &**text) {
            (Action::Incr(..), "ERR value is not an integer or out of range") => {
                Some(Answer::NotInteger)
            }
            (Action::Rename(..), "ERR no such key") => Some(Answer::NoSuchKey),
            _ => None,
        };
    }
    match action {
        Action::Get(_) | Action::GetDel(_) | Action::Set { get: true, .. } => {
            Some(value(reply)?.map_or(Answer::Nil, Answer::Val))
        }
        Action::MGet(keys) => {
            let Reply::Array(replies) = reply else { return None };
            let values: Option<Vec<_>> = replies.iter().map(value).collect();
            values.filter(|values| values.len() == keys.len()).map(Answer::Vals)
        }
        Action::Set { .. } if *reply == Reply::Null => Some(Answer::Nil),
        Action::Set { .. } => (*reply == Reply::OK).then_some(Answer::Done),
        Action::MSet(_) | Action::Rename(..) | Action::Flush => {
            (*reply == Reply::OK).then_some(Answer::Done)
        }
        Action::Exists(_)
        | Action::Del(_)
        | Action::MSetNx(_)
        | Action::Incr(..)
        | Action::Append(..)
        | Action::DelIfEq(..)
        | Action::Expire(..)
        | Action::Persist(_) => {
            let Reply::Int(n) = reply else { return None };
            Some(Answer::Int(*n))
        }
        Action::Txn { .. } => None,
    }
}

fn value(reply: &Reply) -> Option<Option<Val>> {
    if *reply == Reply::Null {
        return Some(None);
    }
    let Reply::Bulk(bytes) = reply else { return None };
    Val::decode(bytes).map(Some)
}
