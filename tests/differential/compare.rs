//! When two replies to the same command count as equal.
//!
//! Byte for byte, but for these:
//!
//! | command | compared |
//! |---|---|
//! | KEYS, and what a whole SCAN finds | as a set: the order is the hash table's |
//! | one SCAN step | its shape: the cursor is the server's own |
//! | RANDOMKEY | its kind |
//! | TTL, PTTL, EXPIRETIME, PEXPIRETIME | a time within [`TOLERANCE_MS`], the rest exactly |
//! | TIME, INFO, COMMAND COUNT, HELLO | their shape: they speak of the server itself |
//! | DBSIZE | its kind, where a SET gives a time of expiry that may be past: Redis counts such a key until it sweeps it |
//! | OBJECT ENCODING | its kind, where a command of the sequence changes a value in place: Redis then leaves it in the form in which it was changed, kvnode tells by the value |
//! | OBJECT REFCOUNT, MEMORY USAGE | their kind: Redis shares small integers, and keeps values in memory |
//! | MEMORY USAGE | not at all, where a SET gives a time of expiry that may be past: Redis measures such a key until it sweeps it |
//! | OBJECT IDLETIME | only whether the key is there: kvnode counts no idle times and says so |
//! | DUMP | its kind, where Redis has compressed the value |
//! | CLIENT ID, INFO, LIST, ACL GENPASS, LATENCY HISTOGRAM | their kind: they speak of the server itself, or are random |
//! | ACL DRYRUN of what is not allowed | without the user, whom Redis does not name before 7.2 |
//! | ACL GETUSER | without the commands, which Redis before 7.2 puts in another order, and `sanitize-payload`, which a new user has since 7.2; what it may do is compared by ACL DRYRUN |
//! | ACL LIST | the number of users, for the same reasons |
//! | EXEC of a HELLO | the number of replies: Redis writes those before it in the old protocol, kvnode all in the new one |
//!
//! In a transaction each reply is compared as that of the command it belongs to.

use super::common::Frame;

/// How far two times of expiry may differ: the same command reaches both servers, one after the
/// other. The relative times drawn lie further apart than this.
const TOLERANCE_MS: i64 = 10_000;

/// The second byte of a payload whose string is compressed.
const COMPRESSED: u8 = 0xC3;

/// Compares the replies of one connection.
#[derive(Clone)]
pub(crate) struct Comparer {
    /// The commands that were answered with QUEUED since MULTI.
    queued: Vec<Vec<Vec<u8>>>,
    /// Some command gives a time of expiry as a moment, which may be past.
    moments: bool,
    /// Some command changes values in place.
    in_place: bool,
}

/// The commands after which Redis keeps a value in another form than after SET.
const IN_PLACE: [&[u8]; 6] =
    [b"APPEND", b"SETRANGE", b"SETBIT", b"BITFIELD", b"BITOP", b"INCRBYFLOAT"];

impl Comparer {
    /// For a connection of a sequence that has these commands.
    pub(crate) fn new<'a>(commands: impl IntoIterator<Item = &'a Vec<Vec<u8>>>) -> Self {
        let (mut moments, mut in_place) = (false, false);
        for command in commands {
            let has = |word: &[u8]| command.iter().any(|arg| arg.eq_ignore_ascii_case(word));
            moments |= has(b"EXAT") || has(b"PXAT");
            in_place |= IN_PLACE.iter().any(|name| command[0].eq_ignore_ascii_case(name));
        }
        Self { queued: Vec::new(), moments, in_place }
    }

    /// The connection is a new one.
    pub(crate) fn forget_transaction(&mut self) {
        self.queued.clear();
    }

    /// Whether `one` and `two` are equal as replies to `args`; if not, says what is compared.
    pub(crate) fn compare(
        &mut self,
        args: &[Vec<u8>],
        one: &Frame,
        two: &Frame,
    ) -> Result<(), &'static str> {
        let name = args[0].to_ascii_uppercase();
        if *one == Frame::Simple("QUEUED".into()) {
            self.queued.push(args.to_vec());
            return equal(one, two);
        }
        match name.as_slice() {
            b"EXEC" => {
                let queued = std::mem::take(&mut self.queued);
                return self.compare_transaction(&queued, one, two);
            }
            b"DISCARD" | b"RESET" => self.queued.clear(),
            _ => {}
        }
        self.compare_reply(args, one, two)
    }

    fn compare_transaction(
        &self,
        queued: &[Vec<Vec<u8>>],
        one: &Frame,
        two: &Frame,
    ) -> Result<(), &'static str> {
        let (Frame::Array(ones), Frame::Array(twos)) = (one, two) else { return equal(one, two) };
        if ones.len() != twos.len() || ones.len() != queued.len() {
            return Err("transactions of different length");
        }
        let switches = |args: &Vec<Vec<u8>>| args[0].eq_ignore_ascii_case(b"HELLO");
        if queued.iter().any(switches) {
            return Ok(());
        }
        for (args, (one, two)) in queued.iter().zip(ones.iter().zip(twos)) {
            self.compare_reply(args, one, two)?;
        }
        Ok(())
    }

    fn compare_reply(
        &self,
        args: &[Vec<u8>],
        one: &Frame,
        two: &Frame,
    ) -> Result<(), &'static str> {
        let name = args[0].to_ascii_uppercase();
        let subcommand = args.get(1).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
        match (name.as_slice(), one, two) {
            (b"OBJECT", Frame::Int(_), Frame::Error(_)) if subcommand == b"IDLETIME" => Ok(()),
            // Whoever errs must err the same.
            (_, Frame::Error(_), _) | (_, _, Frame::Error(_)) => equal(one, two),
            (b"KEYS", Frame::Array(ones), Frame::Array(twos)) => {
                if sorted(ones) == sorted(twos) {
                    Ok(())
                } else {
                    Err("different keys")
                }
            }
            (b"TTL" | b"EXPIRETIME", Frame::Int(one), Frame::Int(two)) => {
                near(*one, *two, TOLERANCE_MS / 1_000)
            }
            (b"PTTL" | b"PEXPIRETIME", Frame::Int(one), Frame::Int(two)) => {
                near(*one, *two, TOLERANCE_MS)
            }
            (b"DBSIZE", ..) if self.moments => same_shape(one, two),
            (b"SCAN" | b"RANDOMKEY" | b"TIME" | b"INFO" | b"HELLO", ..) => same_shape(one, two),
            (b"OBJECT", Frame::Bulk(_), _) if self.in_place => same_shape(one, two),
            (b"MEMORY", Frame::Int(_), Frame::NullBulk | Frame::Null) if self.moments => Ok(()),
            (b"OBJECT" | b"MEMORY", Frame::Int(_), _) => same_shape(one, two),
            (b"DUMP", Frame::Bulk(payload), _) if payload.get(1) == Some(&COMPRESSED) => {
                same_shape(one, two)
            }
            (b"COMMAND", Frame::Int(_), _) => same_shape(one, two),
            (b"CLIENT", ..) if [&b"ID"[..], b"INFO", b"LIST"].contains(&&*subcommand) => {
                same_kind(one, two)
            }
            (b"ACL", ..) if subcommand == b"GENPASS" => same_kind(one, two),
            (b"ACL", Frame::Bulk(one), Frame::Bulk(two)) if subcommand == b"DRYRUN" => {
                same_refusal(one, two)
            }
            (b"ACL", ..) if subcommand == b"LIST" => same_shape(one, two),
            (b"ACL", ..) if subcommand == b"GETUSER" => {
                equal(&without_commands(one), &without_commands(two))
            }
            (b"LATENCY", ..) if subcommand == b"HISTOGRAM" => same_kind(one, two),
            _ => equal(one, two),
        }
    }
}

fn equal(one: &Frame, two: &Frame) -> Result<(), &'static str> {
    if one == two { Ok(()) } else { Err("different replies") }
}

/// What a user may not do, whoever that is.
fn same_refusal(one: &[u8], two: &[u8]) -> Result<(), &'static str> {
    let what = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        text.split_once(" has no permissions to ").map(|(_, what)| what.to_owned())
    };
    if what(one).is_some() && what(one) == what(two) { Ok(()) } else { Err("different refusals") }
}

/// A user as ACL GETUSER describes it, without what differs.
fn without_commands(frame: &Frame) -> Frame {
    let (commands, sanitize) = (Frame::bulk("commands"), Frame::bulk("sanitize-payload"));
    let all = |frames: &[Frame]| {
        let mut kept: Vec<Frame> = Vec::new();
        let mut is_value = false;
        for frame in frames.iter().filter(|frame| **frame != sanitize) {
            // In RESP2 what a map has at a name follows it.
            if !std::mem::replace(&mut is_value, *frame == commands) {
                kept.push(without_commands(frame));
            }
        }
        kept
    };
    #[allow(clippy::wildcard_enum_match_arm, reason = "what holds nothing is as it is")]
    match frame {
        Frame::Array(frames) => Frame::Array(all(frames)),
        Frame::Set(frames) => Frame::Set(all(frames)),
        Frame::Map(pairs) => {
            let others = pairs.iter().filter(|(name, _)| *name != commands);
            Frame::Map(others.map(|(n, v)| (n.clone(), without_commands(v))).collect())
        }
        other => other.clone(),
    }
}

fn near(one: i64, two: i64, tolerance: i64) -> Result<(), &'static str> {
    // -1 and -2 say that there is no time.
    let equal = if one < 0 || two < 0 { one == two } else { one.abs_diff(two) <= tolerance as u64 };
    if equal { Ok(()) } else { Err("different times") }
}

fn sorted(list: &[Frame]) -> Vec<&Frame> {
    let mut list: Vec<_> = list.iter().collect();
    list.sort();
    list
}

/// The same kinds of frames; arrays of the same length, but for the keys that a SCAN step finds.
fn same_shape(one: &Frame, two: &Frame) -> Result<(), &'static str> {
    let same = match (one, two) {
        (Frame::Array(ones), Frame::Array(twos)) => match (ones.as_slice(), twos.as_slice()) {
            ([Frame::Bulk(_), Frame::Array(_)], [Frame::Bulk(_), Frame::Array(_)]) => true,
            _ => ones.len() == twos.len(),
        },
        (Frame::Map(ones), Frame::Map(twos)) => {
            ones.iter().map(|(key, _)| key).eq(twos.iter().map(|(key, _)| key))
        }
        _ => return same_kind(one, two),
    };
    if same { Ok(()) } else { Err("replies of different shape") }
}

fn same_kind(one: &Frame, two: &Frame) -> Result<(), &'static str> {
    let same = std::mem::discriminant(one) == std::mem::discriminant(two);
    if same { Ok(()) } else { Err("replies of different kind") }
}
