//! The commands: the one place where they are listed.

use super::command::{Categories, Command, Flags, Group, Handler};
use super::{
    acks, cluster, connection, counters, expire, introspect, keys, server, set, strings, topology,
    transaction,
};
use Group::{Cluster, Connection, Generic, Server, String, Transactions};
use Handler::{Keys, Session};

/// All commands.
pub(super) static COMMANDS: &[Command] = &[
    // Strings.
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
        .flags(GROW_FAST)
        .key(&["RW access update"]),
    Command::new("getdel", 2, "key", Keys(strings::getdel))
        .docs(String, "6.2.0", "Returns the string value of a key and deletes the key.")
        .flags(WRITE_FAST)
        .key(&["RW access delete"]),
    Command::new("getex", -2, GETEX, Keys(set::getex))
        .docs(String, "6.2.0", "Returns the string value of a key and sets its expiry.")
        .flags(WRITE_FAST)
        .key(&["RW access update"]),
    Command::new("mget", -2, "key [key ...]", Keys(strings::mget))
        .docs(String, "1.0.0", "Returns the string values of several keys.")
        .flags(READ_FAST)
        .keys_at(-1, 1, &["RO access"])
        .fan_out()
        .tips(&["request_policy:multi_shard"]),
    Command::new("mset", -3, "key value [key value ...]", Keys(strings::mset))
        .docs(String, "1.0.1", "Sets the string values of several keys at once.")
        .flags(GROW)
        .keys_at(-1, 2, &["OW update"])
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"]),
    Command::new("msetnx", -3, "key value [key value ...]", Keys(strings::msetnx))
        .docs(String, "1.0.1", "Sets the string values of several keys if none of them is there.")
        .flags(GROW)
        .keys_at(-1, 2, &["OW insert"])
        .tips(&["request_policy:multi_shard", "response_policy:agg_min"]),
    Command::new("append", 3, "key value", Keys(strings::append))
        .docs(String, "2.0.0", "Appends to the string value of a key, creating it if needed.")
        .flags(GROW_FAST)
        .key(&["RW insert"]),
    Command::new("strlen", 2, "key", Keys(strings::strlen))
        .docs(String, "2.2.0", "Returns the length of a string value.")
        .flags(READ_FAST)
        .key(&["RO"]),
    Command::new("getrange", 4, "key start end", Keys(strings::getrange))
        .docs(String, "2.4.0", "Returns a part of a string value.")
        .flags(Flags::READONLY)
        .key(&["RO access"]),
    Command::new("substr", 4, "key start end", Keys(strings::getrange))
        .docs(String, "1.0.0", "Returns a part of a string value; the old name of GETRANGE.")
        .flags(Flags::READONLY)
        .key(&["RO access"]),
    Command::new("setrange", 4, "key offset value", Keys(strings::setrange))
        .docs(String, "2.2.0", "Overwrites a part of a string value from an offset on.")
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
    Command::new("delifeq", 3, "key value", Keys(strings::delifeq))
        .docs(String, "9.0.0", "Deletes a key if it has this string value (from Valkey).")
        .flags(WRITE_FAST)
        .key(&["RW access delete"]),
    // Keys.
    Command::new("del", -2, "key [key ...]", Keys(keys::del))
        .docs(Generic, "1.0.0", "Deletes keys.")
        .flags(Flags::WRITE)
        .keys_at(-1, 1, &["RM delete"])
        .fan_out()
        .tips(SUM),
    Command::new("unlink", -2, "key [key ...]", Keys(keys::del))
        .docs(Generic, "4.0.0", "Deletes keys; the same as DEL here.")
        .flags(WRITE_FAST)
        .keys_at(-1, 1, &["RM delete"])
        .fan_out()
        .tips(SUM),
    Command::new("exists", -2, "key [key ...]", Keys(keys::exists))
        .docs(Generic, "1.0.0", "Tells how many of the keys are there.")
        .flags(READ_FAST)
        .keys_at(-1, 1, &["RO"])
        .fan_out()
        .tips(SUM),
    Command::new("touch", -2, "key [key ...]", Keys(keys::exists))
        .docs(Generic, "3.2.1", "Tells how many of the keys are there; the same as EXISTS here.")
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
        .flags(Flags::WRITE)
        .keys_at(2, 1, &["RW access delete", "OW update"]),
    Command::new("renamenx", 3, "key newkey", Keys(keys::renamenx))
        .docs(Generic, "1.0.0", "Renames a key unless the new name is taken.")
        .flags(WRITE_FAST)
        .keys_at(2, 1, &["RW access delete", "OW insert"]),
    Command::new("copy", -3, "source destination [DB destination-db] [REPLACE]", Keys(keys::copy))
        .docs(Generic, "6.2.0", "Copies a key's value and expiry to a new key.")
        .flags(GROW)
        .keys_at(2, 1, &["RO access", "OW update"]),
    Command::new("randomkey", 1, "", Keys(keys::randomkey))
        .docs(Generic, "1.0.0", "Returns a random key.")
        .flags(Flags::READONLY)
        .tips(&["request_policy:all_shards", "nondeterministic_output"]),
    Command::new("keys", 2, "pattern", Keys(keys::keys))
        .docs(Generic, "1.0.0", "Returns all keys that match a pattern.")
        .flags(Flags::READONLY)
        .also(Categories::DANGEROUS)
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"]),
    Command::new("scan", -2, SCAN, Keys(keys::scan))
        .docs(Generic, "2.8.0", "Goes through the keys step by step.")
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
    // Transactions.
    Command::new("multi", 1, "", Session(transaction::multi))
        .docs(Transactions, "1.2.0", "Starts a transaction.")
        .flags(SESSION),
    Command::new("exec", 1, "", Session(transaction::exec))
        .docs(Transactions, "1.2.0", "Runs all commands of the transaction at once.")
        .flags(Flags::NOSCRIPT.with(ALWAYS).with(Flags::SKIP_SLOWLOG)),
    Command::new("discard", 1, "", Session(transaction::discard))
        .docs(Transactions, "2.0.0", "Discards the transaction.")
        .flags(SESSION),
    Command::new("watch", -2, "key [key ...]", Session(transaction::watch))
        .docs(Transactions, "2.2.0", "Lets the next EXEC fail if one of the keys has changed.")
        .flags(SESSION)
        .keys_at(-1, 1, &["RO"]),
    Command::new("unwatch", 1, "", Session(transaction::unwatch))
        .docs(Transactions, "2.2.0", "Forgets the watched keys.")
        .flags(SESSION),
    // The connection.
    Command::new("ping", -1, "[message]", Keys(connection::ping))
        .docs(Connection, "1.0.0", "Answers PONG, or with the message.")
        .flags(Flags::FAST)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Command::new("echo", 2, "message", Keys(connection::echo))
        .docs(Connection, "1.0.0", "Answers with the message.")
        .flags(ALWAYS_FAST),
    Command::new("select", 2, "index", Keys(connection::select))
        .docs(Connection, "1.0.0", "Selects the database, of which there is one: 0.")
        .flags(ALWAYS_FAST),
    Command::new("hello", -1, HELLO, Session(connection::hello))
        .docs(Connection, "6.0.0", "Chooses the protocol and tells about the server.")
        .flags(SESSION.with(Flags::NO_AUTH)),
    Command::new("auth", -2, "[username] password", Session(connection::auth))
        .docs(Connection, "1.0.0", "Authenticates the connection.")
        .flags(SESSION.with(Flags::NO_AUTH)),
    Command::new("quit", -1, "", Session(connection::quit))
        .docs(Connection, "1.0.0", "Closes the connection.")
        .flags(SESSION.with(Flags::NO_AUTH)),
    Command::new("reset", 1, "", Session(connection::reset))
        .docs(Connection, "6.2.0", "Puts the connection back to how it started.")
        .flags(SESSION.with(Flags::NO_AUTH)),
    Command::new("client", -2, "subcommand [argument ...]", Keys(server::container))
        .docs(Connection, "2.4.0", "Commands about this connection.")
        .except(Categories::CONNECTION)
        .subcommands(CLIENT),
    // The server.
    Command::new("dbsize", 1, "", Keys(keys::dbsize))
        .docs(Server, "1.0.0", "Returns the number of keys.")
        .flags(READ_FAST)
        .also(Categories::KEYSPACE)
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"]),
    Command::new("flushdb", -1, "[ASYNC | SYNC]", Keys(keys::flush))
        .docs(Server, "1.0.0", "Deletes all keys.")
        .flags(Flags::WRITE)
        .also(Categories::KEYSPACE.with(Categories::DANGEROUS))
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Command::new("flushall", -1, "[ASYNC | SYNC]", Keys(keys::flush))
        .docs(Server, "1.0.0", "Deletes all keys; the same as FLUSHDB here.")
        .flags(Flags::WRITE)
        .also(Categories::KEYSPACE.with(Categories::DANGEROUS))
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Command::new("time", 1, "", Keys(server::time))
        .docs(Server, "2.6.0", "Returns the server's time.")
        .flags(ALWAYS_FAST)
        .tips(&["nondeterministic_output"]),
    Command::new("info", -1, "[section [section ...]]", Keys(server::info))
        .docs(Server, "1.0.0", "Tells how the server is and what it has done.")
        .flags(ALWAYS)
        .also(Categories::DANGEROUS)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    Command::new("role", 1, "", Keys(server::role))
        .docs(
            Server,
            "2.8.12",
            "Tells how far the partitions led here are, and their followers; always as a master, \
             since any node takes writes.",
        )
        .flags(CLIENT_FLAGS.with(Flags::FAST))
        .also(Categories::ADMIN.with(Categories::DANGEROUS)),
    Command::new("config", -2, "subcommand [argument ...]", Keys(server::container))
        .docs(Server, "2.0.0", "Commands about the configuration.")
        .subcommands(CONFIG),
    Command::new("cluster", -2, "subcommand [argument ...]", Keys(server::container))
        .docs(Cluster, "3.0.0", "Commands about the cluster.")
        .subcommands(CLUSTER),
    Command::new("asking", 1, "", Session(topology::asking))
        .docs(Cluster, "3.0.0", "Changes nothing: no slot is ever between two nodes.")
        .flags(Flags::FAST)
        .also(Categories::CONNECTION),
    Command::new("readonly", 1, "", Session(connection::readonly))
        .docs(
            Cluster,
            "3.0.0",
            "Lets this connection's reads be answered by the node's own replica.",
        )
        .flags(ALWAYS_FAST)
        .also(Categories::CONNECTION),
    Command::new("readwrite", 1, "", Session(connection::readwrite))
        .docs(Cluster, "3.0.0", "Ends what READONLY has begun: reads are linearizable again.")
        .flags(ALWAYS_FAST)
        .also(Categories::CONNECTION),
    Command::new("command", -1, "", Keys(introspect::all))
        .docs(Server, "2.8.13", "Tells about all commands.")
        .flags(ALWAYS)
        .also(Categories::CONNECTION)
        .tips(&["nondeterministic_output_order"])
        .subcommands(COMMAND),
];

static CLIENT: &[Command] = &[
    Command::new("client|getname", 2, "", Session(connection::client_getname))
        .docs(Connection, "2.6.9", "Returns the name of the connection.")
        .flags(CLIENT_FLAGS),
    Command::new("client|help", 2, "", Keys(introspect::client_help))
        .docs(Connection, "5.0.0", "Lists the subcommands.")
        .flags(ALWAYS),
    Command::new("client|id", 2, "", Session(connection::client_id))
        .docs(Connection, "5.0.0", "Returns the number of the connection.")
        .flags(CLIENT_FLAGS),
    Command::new(
        "client|setinfo",
        4,
        "LIB-NAME libname | LIB-VER libver",
        Session(connection::client_setinfo),
    )
    .docs(Connection, "7.2.0", "Sets what is known of the client's library.")
    .flags(CLIENT_FLAGS),
    Command::new("client|setname", 3, "connection-name", Session(connection::client_setname))
        .docs(Connection, "2.6.9", "Sets the name of the connection.")
        .flags(CLIENT_FLAGS),
];

static CLUSTER: &[Command] = &[
    Command::new("cluster|countkeysinslot", 3, "slot", Keys(topology::countkeysinslot))
        .docs(Cluster, "3.0.0", "Counts the keys of a slot, looking at all of its partition.")
        .flags(Flags::STALE),
    Command::new("cluster|getkeysinslot", 4, "slot count", Keys(topology::getkeysinslot))
        .docs(Cluster, "3.0.0", "Returns keys of a slot, looking at all of its partition.")
        .flags(Flags::STALE)
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|help", 2, "", Keys(introspect::cluster_help))
        .docs(Cluster, "5.0.0", "Lists the subcommands.")
        .flags(ALWAYS),
    Command::new("cluster|info", 2, "", Keys(cluster::info))
        .docs(Cluster, "3.0.0", "Tells how the cluster is, as this node sees it.")
        .flags(ALWAYS)
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|keyslot", 3, "key", Keys(cluster::keyslot))
        .docs(Cluster, "3.0.0", "Returns the slot of a key.")
        .flags(ALWAYS),
    Command::new("cluster|links", 2, "", Keys(topology::links))
        .docs(Cluster, "7.0.0", "Lists the links to other nodes.")
        .flags(Flags::STALE)
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|myid", 2, "", Keys(topology::myid))
        .docs(Cluster, "3.0.0", "Returns this node's id.")
        .flags(Flags::STALE),
    Command::new("cluster|myshardid", 2, "", Keys(topology::myshardid))
        .docs(Cluster, "7.2.0", "Returns the id of the shard that this node leads.")
        .flags(Flags::STALE)
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|nodes", 2, "", Keys(topology::nodes))
        .docs(Cluster, "3.0.0", "Lists the nodes, with the slots that they lead.")
        .flags(Flags::STALE)
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|replicas", 3, "node-id", Keys(topology::replicas))
        .docs(Cluster, "5.0.0", "Lists who is in sync in partitions that a node leads.")
        .flags(Flags::STALE.with(Flags::ADMIN))
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|shards", 2, "", Keys(topology::shards))
        .docs(Cluster, "7.0.0", "Lists slots by their leader and the others in sync.")
        .flags(Flags::STALE)
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|slaves", 3, "node-id", Keys(topology::replicas))
        .docs(Cluster, "3.0.0", "The old name of CLUSTER REPLICAS.")
        .flags(Flags::STALE.with(Flags::ADMIN))
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|slots", 2, "", Keys(topology::slots))
        .docs(
            Cluster,
            "3.0.0",
            "Lists ranges of slots, each with its leader and the others in sync.",
        )
        .flags(Flags::STALE)
        .tips(&["nondeterministic_output"]),
    Command::new("cluster|status", 2, "", Keys(cluster::status))
        .docs(Cluster, "0.1.0", "Returns all that this node knows of the cluster; kvnode's own.")
        .flags(ALWAYS)
        .tips(&["nondeterministic_output"]),
];

static CONFIG: &[Command] = &[
    Command::new("config|get", -3, "parameter [parameter ...]", Keys(server::config_get))
        .docs(Server, "2.0.0", "Returns the values of the parameters that match.")
        .flags(Flags::ADMIN.with(CLIENT_FLAGS)),
    Command::new("config|help", 2, "", Keys(introspect::config_help))
        .docs(Server, "5.0.0", "Lists the subcommands.")
        .flags(ALWAYS),
];

static COMMAND: &[Command] = &[
    Command::new("command|count", 2, "", Keys(introspect::count))
        .docs(Server, "2.8.13", "Returns the number of commands.")
        .flags(ALWAYS)
        .also(Categories::CONNECTION),
    Command::new("command|docs", -2, "[command-name [command-name ...]]", Keys(introspect::docs))
        .docs(Server, "7.0.0", "Returns the documentation of commands.")
        .flags(ALWAYS)
        .also(Categories::CONNECTION)
        .tips(&["nondeterministic_output_order"]),
    Command::new("command|getkeys", -3, GETKEYS, Keys(introspect::getkeys))
        .docs(Server, "2.8.13", "Returns the keys of a command.")
        .flags(ALWAYS)
        .also(Categories::CONNECTION),
    Command::new("command|getkeysandflags", -3, GETKEYS, Keys(introspect::getkeysandflags))
        .docs(Server, "7.0.0", "Returns the keys of a command and what is done to them.")
        .flags(ALWAYS)
        .also(Categories::CONNECTION),
    Command::new("command|help", 2, "", Keys(introspect::command_help))
        .docs(Server, "5.0.0", "Lists the subcommands.")
        .flags(ALWAYS)
        .also(Categories::CONNECTION),
    Command::new("command|info", -2, "[command-name [command-name ...]]", Keys(introspect::info))
        .docs(Server, "2.8.13", "Tells about commands.")
        .flags(ALWAYS)
        .also(Categories::CONNECTION)
        .tips(&["nondeterministic_output_order"]),
    Command::new("command|list", -2, LIST, Keys(introspect::list))
        .docs(Server, "7.0.0", "Lists the names of commands.")
        .flags(ALWAYS)
        .also(Categories::CONNECTION)
        .tips(&["nondeterministic_output_order"]),
];

const READ_FAST: Flags = Flags::READONLY.with(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.with(Flags::FAST);
const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.with(Flags::FAST);
const ALWAYS: Flags = Flags::LOADING.with(Flags::STALE);
const ALWAYS_FAST: Flags = ALWAYS.with(Flags::FAST);
const CLIENT_FLAGS: Flags = ALWAYS.with(Flags::NOSCRIPT);
const SESSION: Flags = CLIENT_FLAGS.with(Flags::FAST).with(Flags::ALLOW_BUSY);

const SUM: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];

const ACKS: &[&str] = &["request_policy:all_shards", "response_policy:agg_min"];

const SET: &str = "key value [NX | XX | IFEQ comparison-value] [GET] [EX seconds | \
    PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]";
const GETEX: &str = "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
    PXAT unix-time-milliseconds | PERSIST]";
const SCAN: &str = "cursor [MATCH pattern] [COUNT count] [TYPE type]";
const EXPIREAT: &str = "key unix-time-seconds [NX | XX | GT | LT]";
const PEXPIREAT: &str = "key unix-time-milliseconds [NX | XX | GT | LT]";
const HELLO: &str = "[protover [AUTH username password] [SETNAME clientname]]";
const GETKEYS: &str = "command [argument ...]";
const LIST: &str = "[FILTERBY MODULE module-name | ACLCAT category | PATTERN pattern]";
