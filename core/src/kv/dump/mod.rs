//! DUMP and RESTORE: a value as Redis writes it, to be carried between servers.
//!
//! A payload is a value in the format of an RDB file (`rdb`), the version of that format in two
//! bytes, and a CRC-64 over all before it in eight, both little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | type: 0, a string |
//! | … | the string: a length and its bytes, an integer, or compressed |
//! | 2 | version of the RDB format |
//! | 8 | CRC-64 (Jones, reflected, from zero) |
//!
//! What is written here is never compressed, and says version 10, so that Redis 7.0 takes it too.
//! What any Redis up to 7.2 writes is taken, if it is a string: of another type a payload is bad
//! data.

mod lzf;
mod rdb;

use alloc::vec::Vec;

use crc::{CRC_64_REDIS, Crc, Table};

use super::expire::invalid;
use super::number::integer;
use super::{Stop, Txn};
use crate::Value;
use crate::args::Args;
use crate::limits::{ARGUMENT_BYTES_MAX, VALUE_BYTES_MAX};
use crate::reply::Reply;

pub(super) fn dump(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let Some(item) = txn.item(args[1])? else { return Ok(Reply::Null) };
    let mut payload = Vec::with_capacity(item.value.len() + rdb::HEADER_BYTES_MAX + FOOTER_BYTES);
    rdb::write_string(&item.value, &mut payload);
    payload.extend_from_slice(&VERSION_WRITTEN.to_le_bytes());
    payload.extend_from_slice(&CRC.checksum(&payload).to_le_bytes());
    Ok(Reply::Bulk(payload.into()))
}

pub(super) fn restore(args: Args<'_>, txn: &mut Txn<'_>) -> Result<Reply, Stop> {
    let (key, ttl, payload) = (args[1], args[2], args[3]);
    let options = Options::parse(&args[4..])?;
    if !options.replace && txn.exists(key)? {
        return Err(Stop::error("BUSYKEY Target key name already exists."));
    }
    let Ok(ttl) = u64::try_from(integer(ttl)?) else {
        return Err(Stop::error("ERR Invalid TTL value, must be >= 0"));
    };
    let value = value_of(payload)?;
    let start = if options.absolute { 0 } else { txn.now_ms() };
    let at = start.checked_add(ttl).filter(|at| i64::try_from(*at).is_ok());
    let at = at.ok_or_else(|| invalid("restore"))?;
    txn.store(key, value, (ttl > 0).then_some(at))?;
    Ok(Reply::OK)
}

/// The value that a payload holds.
fn value_of(payload: &[u8]) -> Result<Value, Stop> {
    const WRONG: Stop = Stop::error("ERR DUMP payload version or checksum are wrong");
    let (checked, crc) = payload.split_last_chunk().ok_or(WRONG)?;
    let (value, version) = checked.split_last_chunk().ok_or(WRONG)?;
    let known = u16::from_le_bytes(*version) <= VERSION_READ_MAX;
    if !known || CRC.checksum(checked) != u64::from_le_bytes(*crc) {
        return Err(WRONG);
    }
    rdb::read_string(value).ok_or(Stop::error("ERR Bad data format"))
}

/// What RESTORE is asked for besides key, time and payload.
struct Options {
    replace: bool,
    /// The time counts from the Unix epoch and not from now.
    absolute: bool,
}

impl Options {
    /// IDLETIME and FREQ are checked and nothing else: they order what Redis evicts, and here
    /// nothing is evicted.
    fn parse(mut words: Args<'_>) -> Result<Self, Stop> {
        let mut options = Self { replace: false, absolute: false };
        let (mut idle, mut frequency) = (false, false);
        while let [option, rest @ ..] = words {
            words = rest;
            if option.eq_ignore_ascii_case(b"REPLACE") {
                options.replace = true;
            } else if option.eq_ignore_ascii_case(b"ABSTTL") {
                options.absolute = true;
            } else if let (true, [seconds, rest @ ..]) =
                (option.eq_ignore_ascii_case(b"IDLETIME") && !frequency, rest)
            {
                if integer(seconds)? < 0 {
                    return Err(Stop::error("ERR Invalid IDLETIME value, must be >= 0"));
                }
                (idle, words) = (true, rest);
            } else if let (true, [count, rest @ ..]) =
                (option.eq_ignore_ascii_case(b"FREQ") && !idle, rest)
            {
                if !(0..=255).contains(&integer(count)?) {
                    return Err(Stop::error("ERR Invalid FREQ value, must be >= 0 and <= 255"));
                }
                (frequency, words) = (true, rest);
            } else {
                return Err(Stop::SYNTAX);
            }
        }
        Ok(options)
    }
}

/// Version of the RDB format that is written: that of Redis 7.0.
const VERSION_WRITTEN: u16 = 10;

/// Newest version that is read: that of Redis 7.2.
const VERSION_READ_MAX: u16 = 11;

/// Version and checksum.
const FOOTER_BYTES: usize = 10;

// What is given out can be given back; the type is one byte.
const _: () =
    assert!(VALUE_BYTES_MAX + 1 + rdb::HEADER_BYTES_MAX + FOOTER_BYTES <= ARGUMENT_BYTES_MAX);

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);
