//! Which commands are drawn, and with which arguments.
//!
//! Left out:
//!
//! - `SET … IFEQ` and `DELIFEQ`: Valkey's, which Redis 7.0 lacks.
//! - What [`server`] says of commands about users, clients and the server.
//! - `COMMAND` but for COUNT and GETKEYS: it describes the server's own table. `COMMAND GETKEYS`
//!   with fewer than two words behind it, which Redis refuses before 7.2.
//! - Relative times of expiry under 100 seconds: a key must not expire between the two servers.
//!   Keys that have expired come from moments in the past.
//! - `INCRBYFLOAT` beyond 17 digits or 1e±17: Redis computes with the 80-bit floats of x87 there,
//!   whose digits differ between the machines that Redis itself runs on.
//! - `SETRANGE` and `APPEND` near the limit of 64 MiB: only lengths over it are asked for, since
//!   each try would write 64 MiB.
//! - `SETBIT` and `BITFIELD` that would write to the end of 64 MiB, for the same reason, and
//!   `BITFIELD … #n` where n times the width is more than 64 bits hold: Redis goes on with what is
//!   left of it.
//! - `RESTORE` of another type than a string, which kvnode has none of, and `MEMORY` but for USAGE.
//! - `BITFIELD … SET` of a number near the least of 64 bits: Redis takes it for one that is too
//!   large, and saturates to the greatest.
//! - `BITFIELD … OVERFLOW FAIL` once a key is watched: where it refuses every part, Redis makes the
//!   key that was not there (of zeros), and tells nobody who watches it.
//! - Bytes that are no UTF-8 behind an unknown command: Redis quotes them in the error as they
//!   are, kvnode with the replacement character.
//! - `HELLO … AUTH`: Redis before 7.2 refuses the user before it looks at the options behind, and
//!   takes any password of the user `default`. More than one option of HELLO: before 7.2 a name is
//!   set although what stands behind it is refused.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::Union;

use super::{Step, server};

type Args = Vec<Vec<u8>>;

/// Every command: its name and arguments, then its options. Capitals stand for themselves, small
/// letters for a kind of argument; `..` repeats the last one or, joined with `:`, the last ones.
const COMMANDS: &[(&str, &[&str])] = &[
    ("GET key", &[]),
    (
        "SET key value",
        &[
            "NX",
            "XX",
            "GET",
            "KEEPTTL",
            "EX seconds",
            "PX millis",
            "EXAT at_seconds",
            "PXAT at_millis",
        ],
    ),
    ("SET key value", &[]),
    ("SETNX key value", &[]),
    ("SETEX key seconds value", &[]),
    ("PSETEX key millis value", &[]),
    ("GETSET key value", &[]),
    ("GETDEL key", &[]),
    ("GETEX key", &["PERSIST", "EX seconds", "PX millis", "EXAT at_seconds", "PXAT at_millis"]),
    ("MGET key..", &[]),
    ("MSET key:value..", &[]),
    ("MSETNX key:value..", &[]),
    ("APPEND key value", &[]),
    ("STRLEN key", &[]),
    ("GETRANGE key index index", &[]),
    ("SUBSTR key index index", &[]),
    ("SETRANGE key offset value", &[]),
    ("INCR key", &[]),
    ("DECR key", &[]),
    ("INCRBY key integer", &[]),
    ("DECRBY key integer", &[]),
    ("INCRBYFLOAT key float", &[]),
    ("SETBIT key bit_offset bit", &[]),
    ("GETBIT key bit_offset", &[]),
    ("BITCOUNT key", &["bit_index"]),
    ("BITCOUNT key bit_index bit_index", &["unit"]),
    ("BITPOS key bit", &["bit_index"]),
    ("BITPOS key bit bit_index bit_index", &["unit"]),
    ("BITOP operation key key..", &[]),
    ("BITFIELD key", BITFIELD),
    ("BITFIELD key", BITFIELD),
    ("BITFIELD_RO key", &["GET field field_offset", "GET field field_offset", "OVERFLOW overflow"]),
    ("LCS key key", &["LEN", "IDX", "WITHMATCHLEN", "MINMATCHLEN count"]),
    ("DEL key..", &[]),
    ("UNLINK key..", &[]),
    ("EXISTS key..", &[]),
    ("TYPE key", &[]),
    ("TOUCH key..", &[]),
    ("RENAME key key", &[]),
    ("RENAMENX key key", &[]),
    ("COPY key key", &["REPLACE", "DB database"]),
    ("DUMP key", &[]),
    ("RESTORE key restore_ttl payload", &["REPLACE", "REPLACE", "IDLETIME count", "FREQ count"]),
    ("RESTORE key restore_at payload ABSTTL", &["REPLACE", "REPLACE"]),
    ("OBJECT ENCODING key", &[]),
    ("OBJECT REFCOUNT key", &[]),
    ("OBJECT FREQ key", &[]),
    ("OBJECT IDLETIME key", &[]),
    ("OBJECT NOSUCH key", &[]),
    ("MEMORY USAGE key", &["SAMPLES count"]),
    ("RANDOMKEY", &[]),
    ("KEYS pattern", &[]),
    ("SCAN 0", &["MATCH pattern", "COUNT count", "TYPE type"]),
    ("SCAN cursor", &["MATCH pattern", "COUNT count", "TYPE type"]),
    ("DBSIZE", &[]),
    ("EXPIRE key seconds", &["NX", "XX", "GT", "LT"]),
    ("PEXPIRE key millis", &["NX", "XX", "GT", "LT"]),
    ("EXPIREAT key at_seconds", &["NX", "XX", "GT", "LT"]),
    ("PEXPIREAT key at_millis", &["NX", "XX", "GT", "LT"]),
    ("TTL key", &[]),
    ("PTTL key", &[]),
    ("EXPIRETIME key", &[]),
    ("PEXPIRETIME key", &[]),
    ("PERSIST key", &[]),
    ("MULTI", &[]),
    ("MULTI", &[]),
    ("EXEC", &[]),
    ("EXEC", &[]),
    ("EXEC", &[]),
    ("DISCARD", &[]),
    ("WATCH key..", &[]),
    ("UNWATCH", &[]),
    ("PING", &["value"]),
    ("ECHO value", &[]),
    ("SELECT database", &[]),
    ("QUIT", &["value"]),
    ("RESET", &[]),
    ("HELLO", &[]),
    ("HELLO protocol", &["SETNAME name"]),
    ("TIME", &[]),
    ("INFO", &["section"]),
    ("COMMAND COUNT", &[]),
    ("COMMAND NOSUCH", &[]),
    ("FLUSHDB", &["SYNC", "ASYNC"]),
    ("FLUSHALL", &["SYNC", "ASYNC"]),
    ("NOSUCH text..", &[]),
];

const BITFIELD: &[&str] = &[
    "GET field field_offset",
    "SET field field_offset field_value",
    "INCRBY field field_offset field_value",
    "OVERFLOW overflow",
    "OVERFLOW overflow INCRBY field field_offset field_value",
];

/// What Redis 7.0 answers to DUMP of strings: plain, as integers, compressed.
const PAYLOADS: &[&[u8]] = &[
    b"\x00\x05hello\n\x00cr\xdfve4 \n",
    b"\x00\xc0\x0c\n\x00<*\xf8Q\\\x04\xbc\xd5",
    b"\x00\xc1\xd4\xfe\n\x00\xc6\xc4\x86#\xfe\xbe\xde.",
    b"\x00\xc2p\x11\x01\x00\n\x00\x01\xa4\x08\xfe\x950\x95\xa5",
    b"\x00\r1234567890123\n\x00^\x0c\x12\xae\x04)\xbc\x1e",
    b"\x00\xc3\n@d\x02aba\xe0V\x01\x01ab\n\x00\x178=\x94 \x96\xd8c",
];

/// Most options of one command.
const OPTIONS_MAX: usize = 3;

/// Any command, now and then misspelt.
pub(crate) fn command() -> BoxedStrategy<Args> {
    let about_keys = || any_of(COMMANDS);
    let spelt =
        prop_oneof![20 => about_keys(), 6 => any_of(server::COMMANDS), 1 => asked_of(about_keys())];
    (spelt, option::weighted(0.08, damage()), vec(any::<bool>(), 0..8))
        .prop_map(|(mut args, damage, lower)| {
            // Damaged, it may ask for the server's own table.
            if let Some(damage) = damage.filter(|_| args[0] != b"COMMAND") {
                damage.apply(&mut args);
            }
            for (arg, lower) in args.iter_mut().zip(lower) {
                // Names and options are spelt in capitals only here; data never is.
                if lower && arg.iter().all(u8::is_ascii_uppercase) {
                    arg.make_ascii_lowercase();
                }
            }
            args
        })
        .boxed()
}

/// The steps without those that may not come where they stand, or be damaged as they are; see the
/// module's header.
pub(crate) fn without_left_out(mut steps: Vec<Step>) -> Vec<Step> {
    let mut watched = false;
    steps.retain(|Step { args, .. }| {
        let has = |word: &[u8]| args.iter().any(|arg| arg.eq_ignore_ascii_case(word));
        match args[0].to_ascii_uppercase().as_slice() {
            b"WATCH" => watched = true,
            b"BITFIELD" => return !(watched && has(b"FAIL")),
            b"HELLO" => return !(has(b"SETNAME") && args.len() > 4),
            b"RESTORE" => {
                let life = args.get(2).and_then(|arg| std::str::from_utf8(arg).ok()?.parse().ok());
                return has(b"ABSTTL") || !life.is_some_and(|ms: u64| (1..100_000).contains(&ms));
            }
            _ => {}
        }
        true
    });
    steps
}

fn any_of(commands: &'static [(&str, &[&str])]) -> impl Strategy<Value = Args> {
    Union::new(commands.iter().map(|(call, options)| {
        let options: Vec<_> = options.iter().map(|option| words(option)).collect();
        let options = if options.is_empty() {
            Just(Vec::new()).boxed()
        } else {
            vec(Union::new(options), 0..=OPTIONS_MAX).boxed()
        };
        (words(call), options).prop_map(|(mut args, options)| {
            args.extend(options.into_iter().flatten());
            args
        })
    }))
}

/// What the keys of a command are, and what is done to them.
fn asked_of(command: impl Strategy<Value = Args>) -> impl Strategy<Value = Args> {
    let asked = select(vec!["GETKEYS", "GETKEYSANDFLAGS"]);
    (asked, command.prop_filter("two words", |args| args.len() > 1)).prop_map(|(asked, args)| {
        [b"COMMAND", asked.as_bytes()].map(<[u8]>::to_vec).into_iter().chain(args).collect()
    })
}

#[derive(Clone, Debug)]
enum Damage {
    Drop(Index),
    Replace(Index, Vec<u8>),
    Append(Vec<u8>),
}

impl Damage {
    fn apply(self, args: &mut Args) {
        // The name stays, so that it is known how to compare the replies.
        match self {
            Self::Drop(at) if args.len() > 1 => {
                args.remove(1 + at.index(args.len() - 1));
            }
            Self::Replace(at, with) if args.len() > 1 => {
                let at = 1 + at.index(args.len() - 1);
                args[at] = with;
            }
            Self::Append(arg) => args.push(arg),
            Self::Drop(_) | Self::Replace(..) => {}
        }
    }
}

/// No small positive number among what is put in, since it may come to stand for a time.
fn damage() -> impl Strategy<Value = Damage> {
    let garbage = || {
        select(vec!["", "x", "-1", "EX", "NX", "GET", "COUNT", "9223372036854775808", "1x"])
            .prop_map(|text| text.as_bytes().to_vec())
    };
    prop_oneof![
        any::<Index>().prop_map(Damage::Drop),
        (any::<Index>(), garbage()).prop_map(|(at, with)| Damage::Replace(at, with)),
        garbage().prop_map(Damage::Append),
    ]
}

/// The arguments that a line of [`COMMANDS`] stands for.
fn words(line: &'static str) -> BoxedStrategy<Args> {
    let parts: Vec<BoxedStrategy<Args>> = line
        .split(' ')
        .map(|word| match word.strip_suffix("..") {
            Some(group) => {
                let group: Vec<_> = group.split(':').map(argument).collect();
                vec(group, 1..4).prop_map(|groups| groups.concat()).boxed()
            }
            None => argument(word).prop_map(|arg| vec![arg]).boxed(),
        })
        .collect();
    parts.prop_map(|parts| parts.concat()).boxed()
}

fn argument(word: &'static str) -> BoxedStrategy<Vec<u8>> {
    let from = |pool: &[&'static str]| {
        let pool = pool.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
        select(pool).boxed()
    };
    let number = |n: i64| n.to_string().into_bytes();
    match word {
        "key" => select(vec![
            b"a".to_vec(),
            b"b".to_vec(),
            b"abc".to_vec(),
            b"".to_vec(),
            b"\0/\xff\r\n".to_vec(),
            b"{a}[1]".to_vec(),
        ])
        .boxed(),
        "text" => from(&["", "v", "two words", "it's", "\r\n", "\0"]),
        "value" => prop_oneof![
            5 => from(&[
                "", "v", "10", "-1", "hello world", "3.0e3", "10.50", " 11", "9223372036854775807",
                "-9223372036854775808", "9223372036854775808", "+5", "007", "-0", "1e2", "0",
            ]),
            1 => vec(any::<u8>(), 0..40),
        ]
        .boxed(),
        "integer" => prop_oneof![
            3 => (-1_000_i64..1_000).prop_map(number),
            1 => from(&[
                "9223372036854775807", "-9223372036854775808", "9223372036854775808", "", "1.5",
                "abc", " 1", "1 ", "+1", "01", "-0", "-",
            ]),
        ]
        .boxed(),
        "float" => prop_oneof![
            3 => (-100_000_i64..100_000, select(vec![1.0, 10.0, 100.0, 1000.0]))
                .prop_map(|(n, scale)| (n as f64 / scale).to_string().into_bytes()),
            1 => from(&[
                "1e3", "-2.5e-3", "0", "-0", "0.1", "inf", "-inf", "Infinity", "nan", "abc", "",
                " 1", "1 ", "+1.5", "1e5000", "1..2", "1e", ".5", "5.", "0x10",
            ]),
        ]
        .boxed(),
        "index" => prop_oneof![
            5 => (-15_i64..15).prop_map(number),
            1 => from(&[
                "9223372036854775807", "-9223372036854775808", "9223372036854775808", "abc", "",
            ]),
        ]
        .boxed(),
        "offset" => prop_oneof![
            5 => (0_i64..40).prop_map(number),
            1 => from(&["-1", "67108864", "9223372036854775807", "9223372036854775808", "abc"]),
        ]
        .boxed(),
        "bit" => from(&["0", "1", "0", "1", "2", "-1", "abc", "", "01"]),
        // Up to where no value can be: a bit in the last place would take 64 MiB each time.
        "bit_offset" => prop_oneof![
            5 => (0_i64..320).prop_map(number),
            1 => from(&[
                "-1", "536870912", "4294967295", "4294967296", "9223372036854775807",
                "9223372036854775808", "abc", "", "#1",
            ]),
        ]
        .boxed(),
        "bit_index" => prop_oneof![
            5 => (-120_i64..120).prop_map(number),
            2 => (-15_i64..15).prop_map(number),
            1 => from(&[
                "9223372036854775807", "-9223372036854775808", "9223372036854775808", "abc", "",
            ]),
        ]
        .boxed(),
        "unit" => from(&["BIT", "BYTE", "BIT", "BYTE", "bits", ""]),
        "operation" => from(&["AND", "OR", "XOR", "NOT", "NOT", "NAND", ""]),
        "field" => prop_oneof![
            5 => (any::<bool>(), 1_u32..=64).prop_map(|(signed, bits)| {
                format!("{}{bits}", if signed { 'i' } else { 'u' }).into_bytes()
            }),
            2 => from(&["u8", "i8", "u1", "i1", "i64", "u63"]),
            1 => from(&["u0", "i65", "u64", "8", "", "i", "u-1", "I8", "i08", "i8\0"]),
        ]
        .boxed(),
        "field_offset" => prop_oneof![
            4 => (0_i64..100).prop_map(number),
            2 => (0_i64..6).prop_map(|n| format!("#{n}").into_bytes()),
            1 => from(&[
                "-1", "#-1", "#", "##1", "536870912", "4294967295", "9223372036854775807",
                "#9223372036854775807", "9223372036854775808", "abc", "",
            ]),
        ]
        .boxed(),
        "field_value" => prop_oneof![
            4 => (-300_i64..300).prop_map(number),
            1 => any::<i32>().prop_map(move |n| number(n.into())),
            1 => from(&[
                "9223372036854775807",
                "-4611686018427387904",
                "4611686018427387904",
                "9223372036854775808", "abc", "", "1.5",
            ]),
        ]
        .boxed(),
        "overflow" => from(&["WRAP", "SAT", "FAIL", "WRAP", "SAT", "FAIL", "NONE", ""]),
        "seconds" => prop_oneof![
            4 => (100_i64..100_000_000).prop_map(number),
            1 => from(&[
                "0", "-1", "-100", "abc", "", "1.5", "9223372036854775807", "9223372036854775808",
                "-9223372036854775808", "9223372036854775", "-9223372036854776",
            ]),
        ]
        .boxed(),
        "millis" => prop_oneof![
            4 => (100_000_i64..100_000_000_000).prop_map(number),
            1 => from(&[
                "0", "-1", "-100000", "abc", "", "1.5", "9223372036854775807",
                "9223372036854775808", "-9223372036854775808",
            ]),
        ]
        .boxed(),
        // The year 2100 and later: equal moments are drawn often, which GT and LT must tell.
        "at_seconds" => prop_oneof![
            4 => (0_i64..4).prop_map(move |n| number(4_102_444_800 + n * 100_000)),
            1 => from(&[
                "1", "1000000000", "0", "-1", "abc", "", "9223372036854775807",
                "9223372036854775", "9223372036854775808",
            ]),
        ]
        .boxed(),
        "at_millis" => prop_oneof![
            4 => (0_i64..4).prop_map(move |n| number(4_102_444_800_000 + n * 100_000_000)),
            1 => from(&[
                "1", "1000000000000", "0", "-1", "abc", "", "9223372036854775807",
                "9223372036854775808",
            ]),
        ]
        .boxed(),
        // Nothing near the end of the range: Redis adds the time of now, whatever comes out.
        "restore_ttl" => prop_oneof![
            4 => (100_000_i64..100_000_000_000).prop_map(number),
            4 => Just(b"0".to_vec()),
            1 => from(&["-1", "abc", "", "9223372036854775808"]),
        ]
        .boxed(),
        // The same, since ABSTTL may be dropped; and none that would then end at once.
        "restore_at" => prop_oneof![
            4 => (0_i64..4).prop_map(move |n| number(4_102_444_800_000 + n * 100_000_000)),
            1 => from(&["1000000000000", "0", "-1", "abc", ""]),
        ]
        .boxed(),
        "payload" => prop_oneof![
            6 => select(PAYLOADS).prop_map(<[u8]>::to_vec),
            1 => (select(PAYLOADS), any::<Index>(), 0_u8..8).prop_map(|(payload, at, bit)| {
                let mut damaged = payload.to_vec();
                damaged[at.index(payload.len())] ^= 1 << bit;
                damaged
            }),
            1 => (select(PAYLOADS), any::<Index>())
                .prop_map(|(payload, end)| payload[..end.index(payload.len())].to_vec()),
        ]
        .boxed(),
        "pattern" => from(&[
            "*",
            "a*",
            "?",
            "[ab]",
            "[^a]",
            "[^a]*",
            "[a-c]*",
            "[c-a]*",
            "*b*",
            "*\\]",
            "\\a",
            "",
            "[",
            "a[",
            "[]",
            "[^]*",
            "a\\",
            "abc",
            "**",
            "a?c",
            "[a",
            "*[1]",
            "\\{a}\\[1\\]",
            "{a}*",
        ]),
        "cursor" => from(&["0", "7", "abc", "", "18446744073709551616", " 1", "1 "]),
        "count" => from(&["1", "2", "10", "1000", "0", "-1", "abc", "9223372036854775808"]),
        "type" => from(&["string", "STRING", "list", "nosuch", ""]),
        "database" => from(&["0", "0", "1", "-1", "abc", "", "99999999999"]),
        "protocol" => from(&["2", "3", "3", "4", "1", "abc", "", "-3"]),
        "name" => from(&["me", "", "a b", "é"]),
        "section" => from(&["server", "all", "everything", "default", "nosuch", "SERVER"]),
        literal => {
            if let Some(drawn) = server::argument(literal) {
                return drawn;
            }
            assert!(literal.bytes().all(|b| !b.is_ascii_lowercase()));
            Just(literal.as_bytes().to_vec()).boxed()
        }
    }
}
