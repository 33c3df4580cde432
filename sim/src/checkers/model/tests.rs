//! The model against the core that it is a model of.

use kvnode_core::kv::{Changes, Info, Item, Meta, Op, Session, Stop, View, evaluate};
use kvnode_core::reply::Reply;
use kvnode_core::server::Server;
use kvnode_core::{ClientId, Millis, Value};

use super::super::forge::{Dice, k, t, token};
use super::super::words;
use super::*;

const SEEDS: u64 = 3000;
const COMMANDS: u64 = 30;

#[test]
fn core_does_what_the_model_says() {
    for seed in 0..SEEDS {
        let mut dice = Dice::new(seed);
        let mut writer = Writer { tokens: 0, clock: 100 };
        let mut core = Core::default();
        let mut exact = State::default();
        let mut blurred = vec![State::default()];
        for _ in 0..COMMANDS {
            writer.clock += dice.below(3);
            core.now_ms = writer.clock;
            let action = writer.action(&mut dice, &exact, 0);
            let answer = core.run(&action);
            let told = format!("seed {seed}: {} → {answer:?}", words::action(&action));

            let now = Span { lo_ms: core.now_ms, hi_ms: core.now_ms };
            let steps = apply(&exact, &action, now);
            let [step] = steps.as_slice() else { panic!("{told}: one outcome, not {steps:?}") };
            assert_eq!(step.answer, answer, "{told}, with {}", words::state(&exact));
            exact = step.state.clone();
            assert!(core.has(&exact), "{told}: {}", words::state(&exact));

            let about =
                Span { lo_ms: core.now_ms - dice.below(4), hi_ms: core.now_ms + dice.below(4) };
            let steps = blurred.iter().flat_map(|state| apply(state, &action, about));
            blurred = steps.filter(|step| step.answer == answer).map(|step| step.state).collect();
            blurred.sort_unstable();
            blurred.dedup();
            assert!(blurred.iter().any(|state| core.has(state)), "{told}: not among {blurred:?}");
        }
    }
}

/// Thinks of commands.
struct Writer {
    tokens: u32,
    clock: u64,
}

impl Writer {
    fn action(&mut self, dice: &mut Dice, state: &State, depth: u32) -> Action {
        let (a, b) = (k(dice.below(3) as u8), k(dice.below(3) as u8));
        let held = state.0.get(&a.number).map(|held| held.val.clone());
        // Of a counter with a token appended the bytes are not known.
        let held = held.filter(|val| !has_digits(val));
        let guess = |dice: &mut Dice| held.clone().filter(|_| !dice.once_in(3)).unwrap_or(t(1));
        match dice.below(if depth == 0 { 19 } else { 17 }) {
            0 => Action::Get(a),
            1 => Action::MGet(vec![a, b, a]),
            2 => Action::Exists(vec![a, b]),
            3..6 => {
                let when = match dice.below(5) {
                    0 => When::Absent,
                    1 => When::Present,
                    2 => When::Equal(guess(dice)),
                    _ => When::Always,
                };
                let ttl = match dice.below(5) {
                    0 => Ttl::Keep,
                    1 => Ttl::None,
                    _ => self.ttl(dice),
                };
                Action::Set { key: a, val: self.val(dice), ttl, when, get: dice.once_in(3) }
            }
            6 => Action::GetDel(a),
            7 => Action::Del(vec![a, b]),
            8 => Action::MSet(vec![(a, self.val(dice)), (b, self.val(dice))]),
            9 => Action::MSetNx(vec![(a, self.val(dice)), (b, self.val(dice))]),
            10 => Action::Incr(a, if dice.once_in(9) { i64::MAX } else { 1 }),
            11 => {
                self.tokens += 1;
                Action::Append(a, token(self.tokens))
            }
            12 => Action::DelIfEq(a, guess(dice)),
            13 | 14 => Action::Expire(a, self.ttl(dice)),
            15 => Action::Persist(a),
            16 => Action::Rename(a, b),
            17 => Action::Flush,
            _ => {
                // What is watched is as it is read, so that nothing has changed.
                let val = self.live(state, a);
                let watched = if dice.once_in(2) { vec![(a, val)] } else { Vec::new() };
                let steps = (0..1 + dice.below(4)).map(|_| self.action(dice, state, 1)).collect();
                Action::Txn { watched, steps }
            }
        }
    }

    fn ttl(&self, dice: &mut Dice) -> Ttl {
        if dice.once_in(2) {
            Ttl::In(dice.below(5))
        } else {
            Ttl::At(self.clock + dice.below(9) - 3)
        }
    }

    fn val(&mut self, dice: &mut Dice) -> Val {
        self.tokens += 1;
        if dice.once_in(4) { Val::Int(i64::from(self.tokens)) } else { t(self.tokens) }
    }

    fn live(&self, state: &State, key: Key) -> Option<Val> {
        let held = state.0.get(&key.number)?;
        held.expires.is_none_or(|at| at.lo_ms > self.clock).then(|| held.val.clone())
    }
}

/// Core's commands on keys in memory.
#[derive(Default)]
struct Core {
    items: BTreeMap<Vec<u8>, Item>,
    now_ms: Millis,
    server: Server,
}

impl Core {
    /// What a client is told; `None` if that is an error without a name in a history.
    fn run(&mut self, action: &Action) -> Option<Answer> {
        let mut session = Session::new(ClientId(1));
        if let Action::Txn { watched, steps } = action {
            for (key, _) in watched {
                self.command(&mut session, &words_of(&["WATCH", &key.to_string()]));
            }
            self.command(&mut session, &words_of(&["MULTI"]));
            for step in steps {
                let queued = self.command(&mut session, &args_of(step));
                assert_eq!(queued, Reply::Simple("QUEUED"));
            }
            let reply = self.command(&mut session, &words_of(&["EXEC"]));
            return answer_of(action, &reply);
        }
        let reply = self.command(&mut session, &args_of(action));
        answer_of(action, &reply)
    }

    fn command(&mut self, session: &mut Session, args: &[Vec<u8>]) -> Reply {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let mut changes = Changes::default();
        let reply = evaluate(session, &args, self, &mut changes).expect("nothing to wait for");
        if changes.flushes() {
            self.items.clear();
        }
        for (key, op) in changes.ops() {
            match op {
                Op::Put { value, expire_at } => {
                    let item = Item { value: value.clone(), expire_at: *expire_at };
                    self.items.insert(key.to_vec(), item);
                }
                Op::Delete => _ = self.items.remove(&**key),
            }
        }
        reply
    }

    fn live(&self, key: &[u8]) -> Option<&Item> {
        self.items.get(key).filter(|item| item.expire_at.is_none_or(|at| at > self.now_ms))
    }

    /// Whether its keys may be these. What has expired need not have been noticed by the model.
    fn has(&self, state: &State) -> bool {
        (0..3).all(|number| {
            let (item, held) = (self.live(k(number).to_string().as_bytes()), state.0.get(&number));
            match (item, held) {
                (None, None) => true,
                (None, Some(held)) => held.expires.is_some_and(|at| at.lo_ms <= self.now_ms),
                (Some(_), None) => false,
                (Some(item), Some(held)) => {
                    let in_span = match (item.expire_at, held.expires) {
                        (None, None) => true,
                        (Some(at), Some(span)) => (span.lo_ms..=span.hi_ms).contains(&at),
                        (None, Some(_)) | (Some(_), None) => false,
                    };
                    in_span && item.value.len() == held.val.len() && same(&item.value, &held.val)
                }
            }
        })
    }
}

fn has_digits(val: &Val) -> bool {
    matches!(val, Val::Tokens(tokens) if tokens[0].id == u32::MAX)
}

/// A counter to which a token was appended has no value that could be compared.
fn same(bytes: &[u8], val: &Val) -> bool {
    Val::decode(bytes).is_none_or(|decoded| decoded == *val)
}

impl View for Core {
    fn partitions(&self) -> usize {
        1
    }

    fn suspect(&mut self, _: &[u8]) -> bool {
        false
    }

    fn damaged(&mut self) -> bool {
        false
    }

    fn meta(&mut self, key: &[u8]) -> Result<Option<Meta>, Stop> {
        let meta = |item: &Item| Meta { value_len: item.value.len(), expire_at: item.expire_at };
        Ok(self.live(key).map(meta))
    }

    fn item(&mut self, key: &[u8]) -> Result<Option<Item>, Stop> {
        Ok(self.live(key).cloned())
    }

    fn len(&mut self) -> Result<usize, Stop> {
        Ok(self.items.len())
    }

    fn for_each_key(&mut self, _: &[u8], _: &mut dyn FnMut(&[u8])) -> Result<(), Stop> {
        unreachable!("no action lists keys")
    }

    fn scan(&mut self, _: u64, _: usize, _: &[u8], _: &mut dyn FnMut(&[u8])) -> Result<u64, Stop> {
        unreachable!("no action lists keys")
    }

    fn random_key(&mut self) -> Result<Option<Value>, Stop> {
        unreachable!("no action asks for any key")
    }

    fn now_ms(&self) -> Millis {
        self.now_ms
    }

    fn wall_us(&self) -> u64 {
        self.now_ms * 1000
    }

    fn watch(&mut self, _: &[u8]) {}

    fn unwatch(&mut self, _: &[u8]) {}

    fn watched_version(&self, _: &[u8]) -> u64 {
        0
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    fn info(&self) -> Info {
        Info::default()
    }
}

fn words_of(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn args_of(action: &Action) -> Vec<Vec<u8>> {
    let key = |key: &Key| key.to_string().into_bytes();
    let (name, rest): (&str, Vec<Vec<u8>>) = match action {
        Action::Get(a) => ("GET", vec![key(a)]),
        Action::MGet(keys) => ("MGET", keys.iter().map(key).collect()),
        Action::Exists(keys) => ("EXISTS", keys.iter().map(key).collect()),
        Action::Set { key: a, val, ttl, when, get } => {
            let mut args = vec![key(a), val.encode()];
            args.extend(match when {
                When::Always => vec![],
                When::Absent => words_of(&["NX"]),
                When::Present => words_of(&["XX"]),
                When::Equal(val) => vec![b"IFEQ".to_vec(), val.encode()],
            });
            args.extend(match ttl {
                Ttl::None => vec![],
                Ttl::Keep => words_of(&["KEEPTTL"]),
                Ttl::In(ms) => words_of(&["PX", &ms.to_string()]),
                Ttl::At(ms) => words_of(&["PXAT", &ms.to_string()]),
            });
            args.extend(get.then(|| b"GET".to_vec()));
            ("SET", args)
        }
        Action::GetDel(a) => ("GETDEL", vec![key(a)]),
        Action::Del(keys) => ("DEL", keys.iter().map(key).collect()),
        Action::MSet(pairs) | Action::MSetNx(pairs) => {
            let name = if matches!(action, Action::MSet(_)) { "MSET" } else { "MSETNX" };
            (name, pairs.iter().flat_map(|(a, val)| [key(a), val.encode()]).collect())
        }
        Action::Incr(a, delta) => ("INCRBY", vec![key(a), delta.to_string().into_bytes()]),
        Action::Append(a, token) => ("APPEND", vec![key(a), Val::Tokens(vec![*token]).encode()]),
        Action::DelIfEq(a, val) => ("DELIFEQ", vec![key(a), val.encode()]),
        Action::Expire(a, Ttl::At(ms)) => ("PEXPIREAT", vec![key(a), ms.to_string().into_bytes()]),
        Action::Expire(a, Ttl::In(ms)) => ("PEXPIRE", vec![key(a), ms.to_string().into_bytes()]),
        Action::Expire(..) | Action::Txn { .. } => unreachable!("not one command"),
        Action::Persist(a) => ("PERSIST", vec![key(a)]),
        Action::Rename(a, b) => ("RENAME", vec![key(a), key(b)]),
        Action::Flush => ("FLUSHALL", vec![]),
    };
    [vec![name.as_bytes().to_vec()], rest].concat()
}

/// A value that nobody wrote stands for a counter to which a token was appended.
fn val_of(bytes: &[u8]) -> Val {
    Val::decode(bytes).unwrap_or_else(|| {
        let digits = bytes.iter().take_while(|&&b| b != b'<').count();
        let Some(Val::Tokens(appended)) = Val::decode(&bytes[digits..]) else {
            panic!("{bytes:?}");
        };
        let digits = Token { id: u32::MAX, bytes: digits as u32 };
        Val::Tokens([vec![digits], appended].concat())
    })
}

fn answer_of(action: &Action, reply: &Reply) -> Option<Answer> {
    Some(match (action, reply) {
        (Action::Txn { .. }, Reply::NullArray) => Answer::Aborted,
        (Action::Txn { steps, .. }, Reply::Array(replies)) => {
            let answers = steps.iter().zip(replies).map(|(step, reply)| answer_of(step, reply));
            Answer::Each(answers.collect::<Option<_>>()?)
        }
        (_, Reply::Array(replies)) => {
            let val = |reply: &Reply| match answer_of(action, reply) {
                Some(Answer::Val(val)) => Some(val),
                _ => None,
            };
            Answer::Vals(replies.iter().map(val).collect())
        }
        (_, Reply::Simple("OK")) => Answer::Done,
        (_, Reply::Null) => Answer::Nil,
        (_, Reply::Int(n)) => Answer::Int(*n),
        (_, Reply::Bulk(bytes)) => Answer::Val(val_of(bytes)),
        (_, Reply::Error(text)) if text.contains("value is not an integer") => Answer::NotInteger,
        (_, Reply::Error(text)) if text.contains("no such key") => Answer::NoSuchKey,
        (_, _) => return None,
    })
}
