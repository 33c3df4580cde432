//! Times of expiry: EXPIRE and TTL in all their forms.

use alloc::format;

use super::find::shown;
use super::number::integer;
use super::{Meta, Stop, Txn};
use crate::Millis;
use crate::args::Args;
use crate::reply::Reply;

/// What a time is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
}

/// A time of expiry as a command's argument gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline<'a> {
    /// What it is counted in.
    pub(super) unit: Unit,
    /// Whether it counts from the Unix epoch and not from now.
    pub(super) absolute: bool,
    /// The number.
    pub(super) text: &'a [u8],
}

pub(super) fn expire(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    expire_generic("expire", Unit::Seconds, false, args, txn)
}

pub(super) fn pexpire(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    expire_generic("pexpire", Unit::Millis, false, args, txn)
}

pub(super) fn expireat(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    expire_generic("expireat", Unit::Seconds, true, args, txn)
}

pub(super) fn pexpireat(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    expire_generic("pexpireat", Unit::Millis, true, args, txn)
}

pub(super) fn persist(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    match txn.meta(args[1])? {
        Some(Meta { expire_at: Some(_), .. }) => reset(args[1], None, txn),
        Some(Meta { expire_at: None, .. }) | None => Ok(Reply::Int(0)),
    }
}

pub(super) fn ttl(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let now = txn.now_ms();
    tell(args, txn, |at| seconds(at.saturating_sub(now)))
}

pub(super) fn pttl(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let now = txn.now_ms();
    tell(args, txn, |at| at.saturating_sub(now))
}

pub(super) fn expiretime(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    tell(args, txn, seconds)
}

pub(super) fn pexpiretime(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    tell(args, txn, |at| at)
}

impl Deadline<'_> {
    /// The moment meant, for the commands that want it after the epoch (and after now, if it is
    /// relative).
    pub(super) fn of_set(&self, command: &'static str, now: Millis) -> Result<Millis, Stop> {
        let n = integer(self.text)?;
        let at = if n > 0 { self.moment(n, now) } else { None };
        at.and_then(|at| Millis::try_from(at).ok()).ok_or_else(|| invalid(command))
    }

    /// The moment meant, which may be long past.
    fn of_expire(&self, command: &'static str, now: Millis) -> Result<i64, Stop> {
        self.moment(integer(self.text)?, now).ok_or_else(|| invalid(command))
    }

    fn moment(&self, n: i64, now: Millis) -> Option<i64> {
        let millis = match self.unit {
            Unit::Seconds => n.checked_mul(1000)?,
            Unit::Millis => n,
        };
        if self.absolute { Some(millis) } else { millis.checked_add(i64::try_from(now).ok()?) }
    }
}

/// The error for a time of expiry that can not be.
#[cold]
pub(super) fn invalid(command: &'static str) -> Stop {
    Stop::Error(Reply::error_owned(format!("ERR invalid expire time in '{command}' command")))
}

fn expire_generic(
    command: &'static str,
    unit: Unit,
    absolute: bool,
    args: Args<'_>,
    txn: &mut Txn<'_>,
) -> Result<Reply, Stop> {
    let key = args[1];
    let conditions = Conditions::parse(&args[3..])?;
    let deadline = Deadline { unit, absolute, text: args[2] };
    let at = deadline.of_expire(command, txn.now_ms())?;
    let Some(meta) = txn.meta(key)? else { return Ok(Reply::Int(0)) };
    if !conditions.met(meta.expire_at, at) {
        return Ok(Reply::Int(0));
    }
    match Millis::try_from(at) {
        Ok(at) if at > txn.now_ms() => reset(key, Some(at), txn),
        Ok(_) | Err(_) => {
            txn.delete(key)?;
            Ok(Reply::Int(1))
        }
    }
}

/// Gives a key that exists another time of expiry.
fn reset(key: &[u8], expire_at: Option<Millis>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let item = txn.item(key)?.expect("its meta was there");
    txn.put(key, item.value, expire_at)?;
    Ok(Reply::Int(1))
}

/// When EXPIRE is to act.
#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(args: Args<'_>) -> Result<Self, Stop> {
        let mut given = Self::default();
        for arg in args {
            if arg.eq_ignore_ascii_case(b"NX") {
                given.nx = true;
            } else if arg.eq_ignore_ascii_case(b"XX") {
                given.xx = true;
            } else if arg.eq_ignore_ascii_case(b"GT") {
                given.gt = true;
            } else if arg.eq_ignore_ascii_case(b"LT") {
                given.lt = true;
            } else {
                let text = format!("ERR Unsupported option {}", shown(arg));
                return Err(Stop::Error(Reply::error_owned(text)));
            }
        }
        if given.nx && (given.xx || given.gt || given.lt) {
            return Err(Stop::error(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if given.gt && given.lt {
            return Err(Stop::error("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(given)
    }

    /// A key without a time of expiry counts as one that expires at the end of time.
    fn met(&self, old: Option<Millis>, new: i64) -> bool {
        let later = old.is_some_and(|old| i128::from(new) > i128::from(old));
        let earlier = old.is_none_or(|old| i128::from(new) < i128::from(old));
        (!self.nx || old.is_none())
            && (!self.xx || old.is_some())
            && (!self.gt || later)
            && (!self.lt || earlier)
    }
}

/// What `say` makes of the time of expiry; -1 if there is none, -2 if there is no key.
fn tell(args: Args<'_>, txn: &mut Txn<'_>, say: impl Fn(Millis) -> Millis) -> Result<Reply, Stop> {
    Ok(Reply::Int(match txn.meta(args[1])? {
        None => -2,
        Some(Meta { expire_at: None, .. }) => -1,
        Some(Meta { expire_at: Some(at), .. }) => i64::try_from(say(at)).unwrap_or(i64::MAX),
    }))
}

fn seconds(millis: Millis) -> Millis {
    millis.saturating_add(500) / 1000
}
