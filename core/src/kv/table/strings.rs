//! Strings.

use super::{GROW, GROW_FAST, READ_FAST, WRITE_FAST};
use crate::kv::command::{Command, Flags, Group, Handler};
use crate::kv::{counters, lcs, set, strings};
use Group::String;
use Handler::Keys;

pub(super) const STRINGS: &[Command] = &[
    Command::new("get", 2, "key", Keys(strings::get))
        .docs(String, "1.0.0", "Returns the string value of a key.")
        .flags(READ_FAST)
        .key(&["RO access"]),
    Command::new("set", -3, SET, Keys(set::set))
        .docs(
            String,
            "1.0.0",
            "Sets the string value of a key, whatever was there, if the condition holds.",
        )
        .flags(GROW)
        .key(&["RW access update variable_flags"])
        .key_notes("RW and ACCESS due to the optional `GET` argument"),
    Command::new("setnx", 3, "key value", Keys(set::setnx))
        .docs(String, "1.0.0", "Sets the string value of a key only if the key is not there.")
        .flags(GROW_FAST)
        .key(&["OW insert"]),
    Command::new("setex", 4, "key seconds value", Keys(set::setex))
        .docs(String, "2.0.0", "Sets the string value and the expiry in seconds of a key.")
        .flags(GROW)
        .key(&["OW update"]),
    Command::new("psetex", 4, "key milliseconds value", Keys(set::psetex))
        .docs(String, "2.6.0", "Sets the string value and the expiry in milliseconds of a key.")
        .flags(GROW)
        .key(&["OW update"]),
    Command::new("getset", 3, "key value", Keys(set::getset))
        .docs(String, "1.0.0", "Sets the string value of a key and returns the one before.")
        .deprecated("6.2.0", "`SET` with the `!GET` argument")
        .flags(GROW_FAST)
        .key(&["RW access update"]),
    Command::new("getdel", 2, "key", Keys(strings::getdel))
        .docs(String, "6.2.0", "Returns the string value of a key and deletes the key.")
        .flags(WRITE_FAST)
        .key(&["RW access delete"]),
    Command::new("getex", -2, GETEX, Keys(set::getex))
        .docs(String, "6.2.0", "Returns the string value of a key and sets its expiry.")
        .flags(WRITE_FAST)
        .key(&["RW access update"])
        .key_notes("RW and UPDATE because it changes the TTL"),
    Command::new("mget", -2, "key [key ...]", Keys(strings::mget))
        .docs(String, "1.0.0", "Returns the string values of several keys.")
        .takes("O(N), N being the number of keys")
        .flags(READ_FAST)
        .keys_at(-1, 1, &["RO access"])
        .fan_out()
        .tips(&["request_policy:multi_shard"]),
    Command::new("mset", -3, "key value [key value ...]", Keys(strings::mset))
        .docs(String, "1.0.1", "Sets the string values of several keys at once.")
        .takes("O(N), N being the number of keys")
        .flags(GROW)
        .keys_at(-1, 2, &["OW update"])
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"]),
    Command::new("msetnx", -3, "key value [key value ...]", Keys(strings::msetnx))
        .docs(String, "1.0.1", "Sets the string values of several keys if none of them is there.")
        .takes("O(N), N being the number of keys")
        .flags(GROW)
        .keys_at(-1, 2, &["OW insert"])
        .tips(&["request_policy:multi_shard", "response_policy:agg_min"]),
    Command::new("append", 3, "key value", Keys(strings::append))
        .docs(String, "2.0.0", "Appends to the string value of a key, creating it if needed.")
        .takes("O(N), N being the length of the new value, which is written as a whole")
        .flags(GROW_FAST)
        .key(&["RW insert"]),
    Command::new("strlen", 2, "key", Keys(strings::strlen))
        .docs(String, "2.2.0", "Returns the length of a string value.")
        .flags(READ_FAST)
        .key(&["RO"]),
    Command::new("getrange", 4, "key start end", Keys(strings::getrange))
        .docs(String, "2.4.0", "Returns a part of a string value.")
        .takes("O(N), N being the length of the value")
        .flags(Flags::READONLY)
        .key(&["RO access"]),
    Command::new("substr", 4, "key start end", Keys(strings::getrange))
        .docs(String, "1.0.0", "Returns a part of a string value; the old name of GETRANGE.")
        .deprecated("2.0.0", "`GETRANGE`")
        .takes("O(N), N being the length of the value")
        .flags(Flags::READONLY)
        .key(&["RO access"]),
    Command::new("setrange", 4, "key offset value", Keys(strings::setrange))
        .docs(String, "2.2.0", "Overwrites a part of a string value from an offset on.")
        .takes("O(N), N being the length of the new value, which is written as a whole")
        .flags(GROW)
        .key(&["RW update"]),
    Command::new("incr", 2, "key", Keys(counters::incr))
        .docs(String, "1.0.0", "Adds one to the integer value of a key.")
        .flags(GROW_FAST)
        .key(&["RW access update"]),
    Command::new("decr", 2, "key", Keys(counters::decr))
        .docs(String, "1.0.0", "Subtracts one from the integer value of a key.")
        .flags(GROW_FAST)
        .key(&["RW access update"]),
    Command::new("incrby", 3, "key increment", Keys(counters::incrby))
        .docs(String, "1.0.0", "Adds to the integer value of a key.")
        .flags(GROW_FAST)
        .key(&["RW access update"]),
    Command::new("decrby", 3, "key decrement", Keys(counters::decrby))
        .docs(String, "1.0.0", "Subtracts from the integer value of a key.")
        .flags(GROW_FAST)
        .key(&["RW access update"]),
    Command::new("incrbyfloat", 3, "key increment", Keys(counters::incrbyfloat))
        .docs(String, "2.6.0", "Adds to the floating-point value of a key.")
        .flags(GROW_FAST)
        .key(&["RW access update"]),
    Command::new("lcs", -3, LCS, Keys(lcs::lcs))
        .docs(String, "7.0.0", "Returns the longest common subsequence of two string values.")
        .takes("O(N*M), N and M being the lengths of the values")
        .flags(Flags::READONLY)
        .keys_at(2, 1, &["RO access"]),
    Command::new("delifeq", 3, "key value", Keys(strings::delifeq))
        .docs(String, "9.0.0", "Deletes a key if it has this string value (from Valkey).")
        .takes("O(N), N being the length of the value")
        .flags(WRITE_FAST)
        .key(&["RW access delete"]),
];

const SET: &str = "key value [NX | XX | IFEQ comparison-value] [GET] [EX seconds | \
    PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]";
const GETEX: &str = "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
    PXAT unix-time-milliseconds | PERSIST]";
const LCS: &str = "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]";
