//! SET and GETEX: commands whose options are a language of their own.

use super::expire::{Deadline, Unit};
use super::{Item, Meta, Stop, Txn};
use crate::args::Args;
use crate::reply::Reply;
use crate::{Millis, Value};

pub(super) fn set(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let (key, value) = (args[1], args[2]);
    let options = SetOptions::parse(&args[3..])?;
    let expire_at = options.lifetime.expire_at("set", txn)?;
    let old = options.read(key, txn)?;
    let reply = if options.get { bulk_or_null(old.item) } else { Reply::OK };
    if !old.meets_condition {
        return Ok(if options.get { reply } else { Reply::Null });
    }
    let kept = if options.lifetime == Lifetime::Keep { old.expire_at } else { None };
    txn.store(key, Value::copy_from(value), expire_at.or(kept))?;
    Ok(reply)
}

/// Whether the reply to such a SET may tell what the value was. A word that looks like such an option
/// is taken for one, as in Redis.
pub(super) fn tells(args: Args<'_>) -> bool {
    let tells = |arg: &&[u8]| [&b"GET"[..], b"IFEQ"].iter().any(|o| arg.eq_ignore_ascii_case(o));
    args.iter().skip(3).any(tells)
}

pub(super) fn setnx(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    if txn.exists(args[1])? {
        return Ok(Reply::Int(0));
    }
    txn.put(args[1], Value::copy_from(args[2]), None)?;
    Ok(Reply::Int(1))
}

pub(super) fn setex(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    set_for("setex", Unit::Seconds, args, txn)
}

pub(super) fn psetex(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    set_for("psetex", Unit::Millis, args, txn)
}

pub(super) fn getset(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let old = txn.item(args[1])?;
    txn.put(args[1], Value::copy_from(args[2]), None)?;
    Ok(bulk_or_null(old))
}

pub(super) fn getex(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let key = args[1];
    let lifetime = parse_getex(&args[2..])?;
    let Some(item) = txn.item(key)? else { return Ok(Reply::Null) };
    let expire_at = lifetime.expire_at("getex", txn)?;
    let changes = expire_at.is_some() || (lifetime == Lifetime::None && item.expire_at.is_some());
    if changes {
        txn.store(key, item.value.clone(), expire_at)?;
    }
    Ok(Reply::Bulk(item.value))
}

impl Txn<'_> {
    /// Gives `key` a value, or deletes it if that would already have expired.
    pub(super) fn store(
        &mut self,
        key: &[u8],
        value: Value,
        expire_at: Option<Millis>,
    ) -> Result<(), Stop> {
        if expire_at.is_some_and(|at| at <= self.now_ms()) {
            self.delete(key)?;
            return Ok(());
        }
        self.put(key, value, expire_at)
    }
}

/// A value as a reply, or null.
pub(super) fn bulk_or_null(item: Option<Item>) -> Reply {
    item.map_or(Reply::Null, |item| Reply::Bulk(item.value))
}

fn set_for(
    command: &'static str,
    unit: Unit,
    args: Args<'_>,
    txn: &mut Txn<'_>,
) -> Result<Reply, Stop> {
    let lifetime = Lifetime::Until(Deadline { unit, absolute: false, text: args[2] });
    let expire_at = lifetime.expire_at(command, txn)?;
    txn.store(args[1], Value::copy_from(args[3]), expire_at)?;
    Ok(Reply::OK)
}

/// What SET is asked for besides key and value.
struct SetOptions<'a> {
    condition: Condition<'a>,
    /// The old value is the reply.
    get: bool,
    lifetime: Lifetime<'a>,
}

/// When SET is to set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition<'a> {
    Always,
    IfAbsent,
    IfPresent,
    IfEqual(&'a [u8]),
}

/// What is to become of a key's time of expiry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime<'a> {
    /// As the command does by itself: SET takes it away, GETEX leaves it.
    Default,
    /// It stays.
    Keep,
    /// It goes.
    None,
    /// It becomes this.
    Until(Deadline<'a>),
}

/// What SET has to know of the key's past.
struct Old {
    /// Read only if it is needed.
    item: Option<Item>,
    expire_at: Option<Millis>,
    meets_condition: bool,
}

impl<'a> SetOptions<'a> {
    fn parse(args: &[&'a [u8]]) -> Result<Self, Stop> {
        let mut options =
            Self { condition: Condition::Always, get: false, lifetime: Lifetime::Default };
        let mut rest = args.iter().copied();
        while let Some(option) = rest.next() {
            let understood = if option.eq_ignore_ascii_case(b"GET") {
                options.get = true;
                true
            } else if option.eq_ignore_ascii_case(b"KEEPTTL") {
                options.lifetime.replace(Lifetime::Keep)
            } else if let Some(condition) = Condition::parse(option, &mut rest) {
                options.condition.replace(condition)
            } else {
                options.lifetime.parse_deadline(option, &mut rest)
            };
            if !understood {
                return Err(Stop::SYNTAX);
            }
        }
        Ok(options)
    }

    fn read(&self, key: &[u8], txn: &mut Txn<'_>) -> Result<Old, Stop> {
        let needs_value = self.get || matches!(self.condition, Condition::IfEqual(_));
        let needs_meta = self.condition != Condition::Always || self.lifetime == Lifetime::Keep;
        let item = if needs_value { txn.item(key)? } else { None };
        let meta = match &item {
            Some(Item { value, expire_at }) => {
                Some(Meta { value_len: value.len(), expire_at: *expire_at })
            }
            None if needs_meta && !needs_value => txn.meta(key)?,
            None => None,
        };
        let meets_condition = match self.condition {
            Condition::Always => true,
            Condition::IfAbsent => meta.is_none(),
            Condition::IfPresent => meta.is_some(),
            Condition::IfEqual(value) => item.as_ref().is_some_and(|old| *old.value == *value),
        };
        Ok(Old { item, expire_at: meta.and_then(|meta| meta.expire_at), meets_condition })
    }
}

impl<'a> Condition<'a> {
    fn parse(option: &[u8], rest: &mut impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        if option.eq_ignore_ascii_case(b"NX") {
            Some(Self::IfAbsent)
        } else if option.eq_ignore_ascii_case(b"XX") {
            Some(Self::IfPresent)
        } else if option.eq_ignore_ascii_case(b"IFEQ") {
            rest.next().map(Self::IfEqual)
        } else {
            None
        }
    }

    /// Takes `new` over, unless that is another kind of condition than the one there.
    fn replace(&mut self, new: Self) -> bool {
        let same = core::mem::discriminant(self) == core::mem::discriminant(&new);
        let fits = same || *self == Self::Always;
        *self = new;
        fits
    }
}

impl<'a> Lifetime<'a> {
    /// Takes `option` as EX, PX, EXAT or PXAT with its argument.
    fn parse_deadline(&mut self, option: &[u8], rest: &mut impl Iterator<Item = &'a [u8]>) -> bool {
        let (unit, absolute) = if option.eq_ignore_ascii_case(b"EX") {
            (Unit::Seconds, false)
        } else if option.eq_ignore_ascii_case(b"PX") {
            (Unit::Millis, false)
        } else if option.eq_ignore_ascii_case(b"EXAT") {
            (Unit::Seconds, true)
        } else if option.eq_ignore_ascii_case(b"PXAT") {
            (Unit::Millis, true)
        } else {
            return false;
        };
        let Some(text) = rest.next() else { return false };
        self.replace(Self::Until(Deadline { unit, absolute, text }))
    }

    /// Takes `new` over, unless another kind of option was given before.
    fn replace(&mut self, new: Self) -> bool {
        let fits = match (*self, new) {
            (Self::Default, _) => true,
            (Self::Until(old), Self::Until(new)) => {
                old.unit == new.unit && old.absolute == new.absolute
            }
            (old, new) => old == new,
        };
        *self = new;
        fits
    }

    fn expire_at(&self, command: &'static str, txn: &Txn<'_>) -> Result<Option<Millis>, Stop> {
        match self {
            Self::Default | Self::Keep | Self::None => Ok(None),
            Self::Until(deadline) => deadline.of_set(command, txn.now_ms()).map(Some),
        }
    }
}

fn parse_getex<'a>(args: &[&'a [u8]]) -> Result<Lifetime<'a>, Stop> {
    let mut lifetime = Lifetime::Default;
    let mut rest = args.iter().copied();
    while let Some(option) = rest.next() {
        let understood = if option.eq_ignore_ascii_case(b"PERSIST") {
            lifetime.replace(Lifetime::None)
        } else {
            lifetime.parse_deadline(option, &mut rest)
        };
        if !understood {
            return Err(Stop::SYNTAX);
        }
    }
    Ok(lifetime)
}
