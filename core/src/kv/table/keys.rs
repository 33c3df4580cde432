//! Keys, whatever their values; expiry; what replicas have.

use super::{GROW, READ_FAST, WRITE_FAST};
use crate::kv::command::{Categories, Command, Flags, Group, Handler};
use crate::kv::{acks, expire, keys};
use Group::Generic;
use Handler::{Keys, Session};

pub(super) const KEYS: &[Command] = &[
    Command::new("del", -2, "key [key ...]", Keys(keys::del))
        .docs(Generic, "1.0.0", "Deletes keys.")
        .takes("O(N), N being the number of keys")
        .flags(Flags::WRITE)
        .keys_at(-1, 1, &["RM delete"])
        .fan_out()
        .tips(SUM),
    Command::new("unlink", -2, "key [key ...]", Keys(keys::del))
        .docs(Generic, "4.0.0", "Deletes keys; the same as DEL here.")
        .takes("O(N), N being the number of keys")
        .flags(WRITE_FAST)
        .keys_at(-1, 1, &["RM delete"])
        .fan_out()
        .tips(SUM),
    Command::new("exists", -2, "key [key ...]", Keys(keys::exists))
        .docs(Generic, "1.0.0", "Tells how many of the keys are there.")
        .takes("O(N), N being the number of keys")
        .flags(READ_FAST)
        .keys_at(-1, 1, &["RO"])
        .fan_out()
        .tips(SUM),
    Command::new("touch", -2, "key [key ...]", Keys(keys::exists))
        .docs(Generic, "3.2.1", "Tells how many of the keys are there; the same as EXISTS here.")
        .takes("O(N), N being the number of keys")
        .flags(READ_FAST)
        .keys_at(-1, 1, &["RO"])
        .fan_out()
        .tips(SUM),
    Command::new("type", 2, "key", Keys(keys::type_of))
        .docs(Generic, "1.0.0", "Tells the type of a key's value.")
        .flags(READ_FAST)
        .key(&["RO"]),
    Command::new("rename", 3, "key newkey", Keys(keys::rename))
        .docs(Generic, "1.0.0", "Renames a key, replacing one that has the new name.")
        .takes("O(N), N being the length of the value")
        .flags(Flags::WRITE)
        .keys_at(2, 1, &["RW access delete", "OW update"]),
    Command::new("renamenx", 3, "key newkey", Keys(keys::renamenx))
        .docs(Generic, "1.0.0", "Renames a key unless the new name is taken.")
        .takes("O(N), N being the length of the value")
        .flags(WRITE_FAST)
        .keys_at(2, 1, &["RW access delete", "OW insert"]),
    Command::new("copy", -3, "source destination [DB destination-db] [REPLACE]", Keys(keys::copy))
        .docs(Generic, "6.2.0", "Copies a key's value and expiry to a new key.")
        .takes("O(N), N being the length of the value")
        .flags(GROW)
        .keys_at(2, 1, &["RO access", "OW update"]),
    Command::new("randomkey", 1, "", Keys(keys::randomkey))
        .docs(Generic, "1.0.0", "Returns a random key.")
        .flags(Flags::READONLY)
        .tips(&["request_policy:all_shards", "nondeterministic_output"]),
    Command::new("keys", 2, "pattern", Keys(keys::keys))
        .docs(Generic, "1.0.0", "Returns all keys that match a pattern.")
        .takes("O(N), N being the number of keys there are")
        .flags(Flags::READONLY)
        .also(Categories::DANGEROUS)
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"]),
    Command::new("scan", -2, SCAN, Keys(keys::scan))
        .docs(Generic, "2.8.0", "Goes through the keys step by step.")
        .takes("O(1) for each step; O(N) for a whole round, N being the number of keys there are")
        .flags(Flags::READONLY)
        .tips(&["nondeterministic_output", "request_policy:special"]),
    // Expiry.
    Command::new("expire", -3, "key seconds [NX | XX | GT | LT]", Keys(expire::expire))
        .docs(Generic, "1.0.0", "Sets the expiry of a key in seconds from now.")
        .flags(WRITE_FAST)
        .key(&["RW update"]),
    Command::new("pexpire", -3, "key milliseconds [NX | XX | GT | LT]", Keys(expire::pexpire))
        .docs(Generic, "2.6.0", "Sets the expiry of a key in milliseconds from now.")
        .flags(WRITE_FAST)
        .key(&["RW update"]),
    Command::new("expireat", -3, EXPIREAT, Keys(expire::expireat))
        .docs(Generic, "1.2.0", "Sets the expiry of a key to a Unix time in seconds.")
        .flags(WRITE_FAST)
        .key(&["RW update"]),
    Command::new("pexpireat", -3, PEXPIREAT, Keys(expire::pexpireat))
        .docs(Generic, "2.6.0", "Sets the expiry of a key to a Unix time in milliseconds.")
        .flags(WRITE_FAST)
        .key(&["RW update"]),
    Command::new("ttl", 2, "key", Keys(expire::ttl))
        .docs(Generic, "1.0.0", "Returns the seconds until a key expires.")
        .flags(READ_FAST)
        .key(&["RO access"])
        .tips(&["nondeterministic_output"]),
    Command::new("pttl", 2, "key", Keys(expire::pttl))
        .docs(Generic, "2.6.0", "Returns the milliseconds until a key expires.")
        .flags(READ_FAST)
        .key(&["RO access"])
        .tips(&["nondeterministic_output"]),
    Command::new("expiretime", 2, "key", Keys(expire::expiretime))
        .docs(Generic, "7.0.0", "Returns the Unix time in seconds at which a key expires.")
        .flags(READ_FAST)
        .key(&["RO access"]),
    Command::new("pexpiretime", 2, "key", Keys(expire::pexpiretime))
        .docs(Generic, "7.0.0", "Returns the Unix time in milliseconds at which a key expires.")
        .flags(READ_FAST)
        .key(&["RO access"]),
    Command::new("persist", 2, "key", Keys(expire::persist))
        .docs(Generic, "2.2.0", "Takes the expiry of a key away.")
        .flags(WRITE_FAST)
        .key(&["RW update"]),
    // Replicas.
    Command::new("wait", 3, "numreplicas timeout", Session(acks::wait))
        .docs(Generic, "3.0.0", "Waits until so many replicas have what this connection wrote.")
        .flags(Flags::BLOCKING)
        .except(Categories::KEYSPACE)
        .also(Categories::CONNECTION.with(Categories::BLOCKING))
        .tips(ACKS),
    Command::new("waitaof", 4, "numlocal numreplicas timeout", Session(acks::waitaof))
        .docs(
            Generic,
            "7.2.0",
            "Waits until what this connection wrote is durable at its leader, and at so many \
             replicas.",
        )
        .flags(Flags::BLOCKING)
        .except(Categories::KEYSPACE)
        .also(Categories::CONNECTION.with(Categories::BLOCKING))
        .tips(ACKS),
];

const SUM: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];
const ACKS: &[&str] = &["request_policy:all_shards", "response_policy:agg_min"];
const SCAN: &str = "cursor [MATCH pattern] [COUNT count] [TYPE type]";
const EXPIREAT: &str = "key unix-time-seconds [NX | XX | GT | LT]";
const PEXPIREAT: &str = "key unix-time-milliseconds [NX | XX | GT | LT]";
