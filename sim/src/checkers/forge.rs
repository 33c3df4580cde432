//! Histories written tersely, for the tests of the checkers: right ones and forged ones.

use crate::history::{
    Action, Answer, Call, ClockView, Group, History, Key, Left, Loss, Moment, Outcome, Token, Ttl,
    Val, When,
};

/// A history under construction. Every method draws the next [`Order`](crate::history::Order).
#[derive(Default)]
pub(super) struct Forge {
    history: History,
    order: u64,
    clock: ClockView,
}

impl Forge {
    /// Sets the log clock, which is then known exactly.
    pub(super) fn clock(&mut self, ms: u64) -> &mut Self {
        (self.clock.now_ms, self.clock.committed_ms, self.clock.latest_ms) = (ms, ms, ms);
        self
    }

    /// Sets what is known of the log clock: it is one of these.
    pub(super) fn clock_within(&mut self, lo_ms: u64, hi_ms: u64) -> &mut Self {
        (self.clock.now_ms, self.clock.committed_ms, self.clock.latest_ms) = (lo_ms, lo_ms, hi_ms);
        self
    }

    /// The client asks; the answer is to follow.
    pub(super) fn ask(&mut self, client: u32, action: Action) -> usize {
        let invoked = self.moment();
        let outcome = Outcome::Unknown("the history ends".into());
        self.history.calls.push(Call {
            client,
            // Each on a connection of its own, which says nothing of their order.
            session: self.history.calls.len() as u64,
            action,
            invoked,
            nearby: false,
            watched_at: Some(invoked),
            returned: None,
            outcome,
            until: None,
        });
        self.history.calls.len() - 1
    }

    /// These were asked on one connection.
    pub(super) fn on_one_connection(&mut self, calls: &[usize]) -> &mut Self {
        for &call in calls {
            self.history.calls[call].session = self.history.calls[calls[0]].session;
        }
        self
    }

    /// These were answered by whoever was near.
    pub(super) fn nearby(&mut self, calls: &[usize]) -> &mut Self {
        calls.iter().for_each(|&call| self.history.calls[call].nearby = true);
        self
    }

    /// The node answers; if it had before, then what it answered at that time is now this.
    pub(super) fn told(&mut self, call: usize, answer: Answer) -> &mut Self {
        self.end(call, Outcome::Answered(answer))
    }

    /// The node says that it did nothing.
    pub(super) fn refused(&mut self, call: usize) -> &mut Self {
        self.end(call, Outcome::Refused("READONLY".into()))
    }

    /// The node replies what makes no sense.
    pub(super) fn garbage(&mut self, call: usize) -> &mut Self {
        self.end(call, Outcome::Garbage("+PONG".into()))
    }

    /// From now on the call can not take effect any more.
    pub(super) fn dead(&mut self, call: usize) -> &mut Self {
        self.history.calls[call].until = Some(self.moment().order);
        self
    }

    /// The client asks and is answered, with nothing in between.
    pub(super) fn call(&mut self, client: u32, action: Action, answer: Answer) -> usize {
        let call = self.ask(client, action);
        self.told(call, answer);
        call
    }

    /// A place in the history, for a loss to come.
    pub(super) fn now(&mut self) -> u64 {
        self.moment().order
    }

    /// A crash and a restart, with a loss.
    pub(super) fn loss(&mut self, left: Left) -> &mut Self {
        let (from, to) = (self.moment().order, self.moment().order);
        self.clock.life += 1;
        self.history.losses.push(Loss { groups: None, from, to, left });
        self
    }

    /// A WATCH is sent.
    pub(super) fn watch(&mut self) -> Moment {
        self.moment()
    }

    /// The WATCH of a transaction was sent then.
    pub(super) fn watched_at(&mut self, call: usize, at: Moment) -> &mut Self {
        self.history.calls[call].watched_at = Some(at);
        self
    }

    /// A fault strikes an operation of the disk.
    pub(super) fn strike(&mut self) -> &mut Self {
        let order = self.moment().order;
        self.history.strikes.push(order);
        self
    }

    /// The history so far.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    fn end(&mut self, call: usize, outcome: Outcome) -> &mut Self {
        let now = self.moment();
        let call = &mut self.history.calls[call];
        call.returned.get_or_insert(now);
        call.outcome = outcome;
        self
    }

    fn moment(&mut self) -> Moment {
        self.order += 1;
        Moment { order: self.order, at_ns: self.order * 1_000_000, clock: self.clock }
    }
}

/// A key of group 0.
pub(super) fn k(number: u8) -> Key {
    Key { group: Group(0), number }
}

/// A token of 24 bytes.
pub(super) fn token(id: u32) -> Token {
    Token { id, bytes: 24 }
}

/// A value of one token.
pub(super) fn t(id: u32) -> Val {
    Val::Tokens(vec![token(id)])
}

/// A value of several tokens.
pub(super) fn ts(ids: &[u32]) -> Val {
    Val::Tokens(ids.iter().map(|&id| token(id)).collect())
}

pub(super) fn get(key: u8) -> Action {
    Action::Get(k(key))
}

pub(super) fn set(key: u8, id: u32) -> Action {
    set_with(key, id, Ttl::None, When::Always)
}

pub(super) fn set_with(key: u8, id: u32, ttl: Ttl, when: When) -> Action {
    Action::Set { key: k(key), val: t(id), ttl, when, get: false }
}

pub(super) fn del(key: u8) -> Action {
    Action::Del(vec![k(key)])
}

pub(super) fn mset(pairs: &[(u8, u32)]) -> Action {
    Action::MSet(pairs.iter().map(|&(key, id)| (k(key), t(id))).collect())
}

pub(super) fn mget(keys: &[u8]) -> Action {
    Action::MGet(keys.iter().map(|&key| k(key)).collect())
}

pub(super) fn append(key: u8, id: u32) -> Action {
    Action::Append(k(key), token(id))
}

pub(super) fn incr(key: u8) -> Action {
    Action::Incr(k(key), 1)
}

/// Read as one token.
pub(super) fn is(id: u32) -> Answer {
    Answer::Val(t(id))
}

/// Read as these, 0 for nothing.
pub(super) fn are(ids: &[u32]) -> Answer {
    Answer::Vals(ids.iter().map(|&id| (id != 0).then(|| t(id))).collect())
}

/// A generator of random numbers: xorshift64*.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    /// True once in `n` times.
    pub(super) fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
