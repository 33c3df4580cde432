//! What the clients asked, what they were told, and when: the only thing most checkers look at.
//!
//! A history is a list of [`Call`]s and of [`Loss`]es. Both are placed by an [`Order`], a number
//! that every invocation, return, crash and restart of a run draws from one counter, so that "before"
//! is exact also where two things happen in one instant.
//!
//! Keys come in [`Group`]s: a command names keys of one group only (they share a hash tag, so that
//! they share a partition), but for FLUSHALL, which is judged for each group by itself. A group is
//! therefore the unit of linearizability, as a key is where commands name but one.
//!
//! Every value that a client writes is its own: a [`Token`] is used once in a run. What is read back
//! thus tells which write it came from, and bytes that nobody wrote are told apart ([`Val::decode`]).

use std::fmt;

/// A place in the one sequence of all invocations, returns, crashes and restarts of a run.
pub type Order = u64;

/// Keys that commands may name together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub u16);

/// A key of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Which group it is of.
    pub group: Group,
    /// Which of the group it is.
    pub number: u8,
}

impl fmt::Display for Key {
    /// The key as the node knows it: `{g3}1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{g{}}}{}", self.group.0, self.number)
    }
}

/// What one write put there; used once in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// Unique in the run.
    pub id: u32,
    /// Bytes that it takes as a value, at least [`Token::BYTES_MIN`].
    pub bytes: u32,
}

/// A value, as far as checkers care.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Val {
    /// A counter.
    Int(i64),
    /// What was set, and what was appended to it since.
    Tokens(Vec<Token>),
}

impl Token {
    /// The shortest that a token can be.
    pub const BYTES_MIN: u32 = 24;

    /// `<id:bytes:` filler `>`, where the filler follows from the id, so that a torn or mixed value
    /// is told from a whole one.
    fn encode(self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(format!("<{}:{}:", self.id, self.bytes).as_bytes());
        let end = start + self.bytes as usize - 1;
        assert!(out.len() <= end, "a token of {} bytes is too short", self.bytes);
        while out.len() < end {
            out.push(self.filler(out.len() - start));
        }
        out.push(b'>');
    }

    fn filler(self, at: usize) -> u8 {
        b'a' + ((self.id as usize).wrapping_mul(31) + at.wrapping_mul(7)) as u8 % 26
    }

    /// The token at the start of `bytes`, and what follows it.
    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let head = bytes.strip_prefix(b"<")?;
        let mut parts = head.splitn(3, |&b| b == b':');
        let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse().ok();
        let token = Self { id: number()?, bytes: number()? };
        let whole = bytes.get(..token.bytes as usize)?;
        let mut meant = Vec::with_capacity(whole.len());
        if token.bytes < Self::BYTES_MIN {
            return None;
        }
        token.encode(&mut meant);
        (meant == whole).then(|| (token, &bytes[whole.len()..]))
    }
}

impl Val {
    /// The value as the node is given it.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Int(n) => n.to_string().into_bytes(),
            Self::Tokens(tokens) => {
                let mut out = Vec::new();
                tokens.iter().for_each(|token| token.encode(&mut out));
                out
            }
        }
    }

    /// What was written as `bytes`; `None` if nobody ever wrote that.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if let Ok(n) = std::str::from_utf8(bytes).unwrap_or("").parse() {
            return Some(Self::Int(n));
        }
        let mut tokens = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (token, after) = Token::decode(rest)?;
            tokens.push(token);
            rest = after;
        }
        (!tokens.is_empty()).then_some(Self::Tokens(tokens))
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Int(n) => n.to_string().len(),
            Self::Tokens(tokens) => tokens.iter().map(|token| token.bytes as usize).sum(),
        }
    }

    /// Never: a value has at least a digit.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl fmt::Display for Val {
    /// `17`, or `t4` or `t4+t9`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => write!(f, "{n}"),
            Self::Tokens(tokens) => {
                let mut glue = "";
                for token in tokens {
                    write!(f, "{glue}t{}", token.id)?;
                    glue = "+";
                }
                Ok(())
            }
        }
    }
}

/// What becomes of a key's expiry time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ttl {
    /// It has none any more.
    None,
    /// It stays as it is (KEEPTTL).
    Keep,
    /// So many milliseconds from now (PX).
    In(u64),
    /// At this log clock, in milliseconds since the Unix epoch (PXAT).
    At(u64),
}

/// On which condition a SET sets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// On none.
    Always,
    /// The key is not there (NX).
    Absent,
    /// The key is there (XX).
    Present,
    /// The key has this value (IFEQ).
    Equal(Val),
}

/// One command. Keys of one action are of one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// GET. Answered by `Val` or `Nil`.
    Get(Key),
    /// MGET. Answered by `Vals`.
    MGet(Vec<Key>),
    /// EXISTS, a key named twice counted twice. Answered by `Int`.
    Exists(Vec<Key>),
    /// SET with its options. Answered by `Done`, or `Nil` if the condition did not hold; with `get`
    /// by the value that was there before (`Val` or `Nil`), set or not.
    Set {
        /// The key.
        key: Key,
        /// Its value from now on.
        val: Val,
        /// Its expiry time from now on.
        ttl: Ttl,
        /// On which condition.
        when: When,
        /// Whether the earlier value is asked for (GET).
        get: bool,
    },
    /// GETDEL. Answered by `Val` or `Nil`.
    GetDel(Key),
    /// DEL. Answered by `Int`, how many were there.
    Del(Vec<Key>),
    /// MSET; expiry times go. Answered by `Done`.
    MSet(Vec<(Key, Val)>),
    /// MSETNX: all, if none is there. Answered by `Int`, 1 or 0.
    MSetNx(Vec<(Key, Val)>),
    /// INCRBY; the expiry time stays. Answered by `Int`, or `NotInteger` and no effect.
    Incr(Key, i64),
    /// APPEND; the expiry time stays. Answered by `Int`, the new length in bytes.
    Append(Key, Token),
    /// DELIFEQ. Answered by `Int`, 1 or 0.
    DelIfEq(Key, Val),
    /// PEXPIRE or PEXPIREAT. Answered by `Int`, 1 or 0 (no such key). A time that has passed deletes.
    Expire(Key, Ttl),
    /// PERSIST. Answered by `Int`, 1 or 0 (no such key, or no expiry time).
    Persist(Key),
    /// RENAME; the expiry time goes with it. Answered by `Done`, or `NoSuchKey`.
    Rename(Key, Key),
    /// FLUSHALL: the keys of every group. Answered by `Done`.
    Flush,
    /// MULTI … EXEC after WATCH. Answered by `Each`, or `Aborted` and no effect.
    Txn {
        /// Keys that were watched, and what they were read as after the WATCH by the same client.
        /// Only if each still has that value (and has had no other since) may it take effect.
        watched: Vec<(Key, Option<Val>)>,
        /// The commands queued, none of which is a `Txn` or a `Flush`.
        steps: Vec<Action>,
    },
}

/// What the node replied, as far as checkers care.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// `+OK`.
    Done,
    /// Null.
    Nil,
    /// An integer.
    Int(i64),
    /// A value.
    Val(Val),
    /// An array of values.
    Vals(Vec<Option<Val>>),
    /// `-ERR value is not an integer or out of range`.
    NotInteger,
    /// `-ERR no such key`.
    NoSuchKey,
    /// EXEC's null: a watched key was touched.
    Aborted,
    /// It took effect, and the number told with it is not to be trusted: a DEL counts a key that may
    /// have been lost to damage.
    Untold,
    /// What each command of a transaction was answered.
    Each(Vec<Answer>),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The node answered: the action took effect once, between invocation and return.
    Answered(Answer),
    /// The node said, in these words, that it did nothing: the action never takes effect.
    Refused(String),
    /// Nobody knows, for this reason: the action took effect at most once, before
    /// [`Call::until`], or never.
    Unknown(String),
    /// The reply is none that this action can have: a violation in itself.
    Garbage(String),
}

/// The log clock of the node that is asked, as seen at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClockView {
    /// Which life of which node: log clocks of one life do not go back.
    pub life: u64,
    /// Its log clock, in ms.
    pub now_ms: u64,
    /// The latest log clock that any node had committed, in ms.
    pub committed_ms: u64,
    /// The latest log clock that any node has had, committed or not, in ms.
    pub latest_ms: u64,
}

/// When something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Moment {
    /// In the one sequence of the run.
    pub order: Order,
    /// In nanoseconds of simulated time.
    pub at_ns: u64,
    /// The log clock.
    pub clock: ClockView,
}

/// One command of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who asked.
    pub client: u32,
    /// The connection that it was asked on: calls of one connection take effect in the order in which
    /// they were invoked.
    pub session: u64,
    /// What was asked.
    pub action: Action,
    /// When it was asked.
    pub invoked: Moment,
    /// It was asked on a connection that said READONLY, and may be answered by a replica that is behind.
    pub nearby: bool,
    /// When the WATCH of a transaction was sent.
    pub watched_at: Option<Moment>,
    /// When the answer came; `None` if none did, which is so for `Unknown` alone.
    pub returned: Option<Moment>,
    /// How it ended.
    pub outcome: Outcome,
    /// For `Unknown`: from here on it can not take effect any more, because whoever held the
    /// command is dead; `None` if that never became certain.
    pub until: Option<Order>,
}

impl Call {
    /// The earliest log clock by which it may have been evaluated, in ms.
    pub fn clock_min_ms(&self) -> u64 {
        let invoked = self.invoked.clock;
        match self.returned {
            Some(returned) if returned.clock.life == invoked.life => {
                invoked.committed_ms.max(invoked.now_ms)
            }
            _ => invoked.committed_ms,
        }
    }

    /// The latest log clock by which it may have been evaluated, in ms.
    pub fn clock_max_ms(&self) -> u64 {
        self.returned.map_or(u64::MAX, |returned| returned.clock.latest_ms)
    }
}

/// The node lost what its mode of fsync does not promise to keep, or was given an empty disk; or an operator
/// had a replica elected that did not hold everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Of which groups of keys; of all if none is named.
    pub groups: Option<Vec<Group>>,
    /// When it crashed.
    pub from: Order,
    /// When it served again.
    pub to: Order,
    /// What is left.
    pub left: Left,
}

impl Loss {
    /// Whether keys of this group may be lost.
    pub(crate) fn concerns(&self, group: Group) -> bool {
        self.groups.as_ref().is_none_or(|groups| groups.contains(&group))
    }
}

/// What a [`Loss`] leaves, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// The log up to some point: no effect that was complete (returned) before this order is lost,
    /// and an effect is lost only with all later ones.
    Prefix(Order),
}

/// Everything that the clients of a run saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// By `invoked.order`.
    pub calls: Vec<Call>,
    /// By `from`.
    pub losses: Vec<Loss>,
    /// When a fault struck an operation of a disk: a partition that stops by it takes every key that
    /// is watched there for changed.
    pub strikes: Vec<Order>,
}

impl History {
    /// The same, but that nobody knows what nearby reads were told: they are not of the present.
    pub(crate) fn without_nearby(&self) -> Self {
        let mut plain = self.clone();
        for call in plain.calls.iter_mut().filter(|call| call.nearby) {
            (call.returned, call.until) = (None, Some(call.invoked.order));
            call.outcome = Outcome::Unknown("it was answered nearby".to_owned());
        }
        plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_by_its_bytes_and_a_mixed_one_is_not() {
        let token = |id, bytes| Token { id, bytes };
        for val in [
            Val::Int(-3),
            Val::Tokens(vec![token(1, 24)]),
            Val::Tokens(vec![token(1, 24), token(900_000, 5000), token(2, 30)]),
        ] {
            let bytes = val.encode();
            assert_eq!(bytes.len(), val.len());
            assert_eq!(Val::decode(&bytes), Some(val));
        }
        let mut torn = Val::Tokens(vec![token(1, 600)]).encode();
        torn[512..].copy_from_slice(&Val::Tokens(vec![token(2, 600)]).encode()[512..]);
        assert_eq!(Val::decode(&torn), None);
        assert_eq!(Val::decode(b""), None);
        assert_eq!(Val::decode(b"<1:3:>"), None);
    }
}
