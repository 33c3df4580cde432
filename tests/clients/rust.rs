//! redis-rs, in its blocking form.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterConnection, cluster_pipe};
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{
    Client, Commands, ConnectionLike, ExistenceCheck, FromRedisValue, ProtocolVersion, RedisResult,
    SetExpiry, SetOptions, cmd,
};

use crate::common::wait_until;
use crate::servers::Servers;

#[test]
fn redis_rs_alone() {
    let mut servers = Servers::alone();
    let address = servers.addresses().remove(0);
    let connect = |protocol: &str| {
        let client = Client::open(format!("redis://{address}/?protocol={protocol}"));
        client.and_then(|client| client.get_connection()).expect("kvnode answers")
    };
    for protocol in ["resp2", "resp3"] {
        let mut client = connect(protocol);
        basics(&mut client);
        let mut pipe = redis::pipe();
        (0..200).for_each(|n| _ = pipe.set(format!("pipe:{n}"), n).ignore());
        (0..200).for_each(|n| _ = pipe.get(format!("pipe:{n}")));
        let replies: Vec<i64> = pipe.query(&mut client).unwrap();
        assert!(replies.into_iter().eq(0..200));
        many_keys(&mut client);
    }
    let mut client = connect("resp3");
    transaction(&mut client);
    watch(|| connect("resp3"));
    lock(&mut client);
    let wanted = keys_to_scan(&mut client);
    let found: RedisResult<BTreeSet<String>> = client.scan_match("scan:*").unwrap().collect();
    assert_eq!(found.unwrap(), wanted);

    assert_eq!(client.incr("reconnect", 1), Ok(1));
    servers.kill("");
    // A connection of this library does not come back: whoever uses it takes a new one.
    let lost: RedisResult<i64> = client.get("reconnect");
    assert!(lost.unwrap_err().is_connection_dropped());
    assert_eq!(connect("resp3").get("reconnect"), Ok(1));
}

#[test]
fn redis_rs_in_a_cluster_that_forwards() {
    in_a_cluster(Servers::forwarding());
}

#[test]
fn redis_rs_in_a_cluster_that_redirects() {
    in_a_cluster(Servers::redirecting());
}

fn in_a_cluster(mut servers: Servers) {
    let addresses = servers.addresses();
    let cluster = |protocol| {
        let urls = addresses.iter().map(|address| format!("redis://{address}/"));
        ClusterClient::builder(urls).use_protocol(protocol).build().expect("addresses")
    };
    for protocol in [ProtocolVersion::RESP2, ProtocolVersion::RESP3] {
        let mut client = cluster(protocol).get_connection().expect("kvnode answers");
        basics(&mut client);
        let mut pipe = cluster_pipe();
        (0..200).for_each(|n| _ = pipe.set(format!("pipe:{n}"), n).ignore());
        (0..200).for_each(|n| _ = pipe.get(format!("pipe:{n}")));
        let replies: Vec<i64> = pipe.query(&mut client).unwrap();
        assert!(replies.into_iter().eq(0..200));
        many_keys(&mut client);
    }
    let cluster = cluster(ProtocolVersion::RESP3);
    let mut client = cluster.get_connection().expect("kvnode answers");
    // Its cluster connection takes no transactions: they go to the leader by itself.
    let plain = |key| {
        let client = Client::open(format!("redis://{}/", servers.address_of(key)));
        client.and_then(|client| client.get_connection()).expect("kvnode answers")
    };
    transaction(&mut plain("{t}"));
    watch(|| plain("watched"));
    lock(&mut client);
    let wanted = keys_to_scan(&mut client);
    let found = addresses.iter().flat_map(|address| scan_node(&mut client, address));
    assert_eq!(found.collect::<BTreeSet<_>>(), wanted);
    failover(&mut servers, cluster);
}

fn basics(client: &mut impl Commands) {
    let binary: Vec<u8> = (0..=255).collect();
    let () = client.set("basics", &binary).unwrap();
    assert_eq!(client.get("basics"), Ok(binary));
    assert_eq!(client.get("nothing"), Ok(None::<String>));
    assert_eq!(client.incr("float", 1.5), Ok(1.5));
    let () = client.pset_ex("timed", "v", 100_000).unwrap();
    let left: i64 = client.pttl("timed").unwrap();
    assert!((1..=100_000).contains(&left), "{left}");
    let wrong: RedisResult<i64> = client.incr("basics", 1);
    assert!(wrong.unwrap_err().to_string().contains("not an integer"));
    let () = client.del("float").unwrap();
}

fn many_keys(client: &mut impl Commands) {
    let pairs: Vec<(String, i64)> = (0..50).map(|n| (format!("{{many}}:{n}"), n)).collect();
    let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
    let () = client.mset(&pairs).unwrap();
    let values: Vec<i64> = client.mget(&keys).unwrap();
    assert!(values.into_iter().eq(0..50));
    assert_eq!(client.del(&keys), Ok(50));
    // Of any slots: in a cluster split by slots in the library.
    let scattered: Vec<String> = (0..50).map(|n| format!("many:{n}")).collect();
    scattered.iter().for_each(|key| client.set(key, "v").unwrap());
    assert_eq!(client.del(&scattered), Ok(50));
}

fn transaction(client: &mut impl ConnectionLike) {
    let mut pipe = redis::pipe();
    pipe.atomic().set("{t}a", 1).incr("{t}a", 1).mget(&["{t}a", "{t}b"]);
    let replies: (String, i64, (i64, Option<i64>)) = pipe.query(client).unwrap();
    assert_eq!(replies, ("OK".into(), 2, (2, None)));
}

/// Four workers that each add 10 by GET and SET, which only WATCH makes right.
fn watch<C: ConnectionLike>(connect: impl Fn() -> C + Sync) {
    let work = || {
        let mut client = connect();
        for _ in 0..10 {
            let () = redis::transaction(&mut client, &["watched"], |client, pipe| {
                let value: Option<i64> = client.get("watched")?;
                pipe.set("watched", value.unwrap_or(0) + 1).ignore().query(client)
            })
            .unwrap();
        }
    };
    thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(work)));
    assert_eq!(connect().get("watched"), Ok(40));
}

fn lock(client: &mut impl ConnectionLike) {
    let options = SetOptions::default()
        .conditional_set(ExistenceCheck::NX)
        .with_expiration(SetExpiry::PX(10_000));
    assert_eq!(client.set_options("lock", "mine", options.clone()), Ok(true));
    assert_eq!(client.set_options("lock", "theirs", options.clone()), Ok(false));
    assert_eq!(release(client, "theirs"), Ok(0));
    assert_eq!(release(client, "mine"), Ok(1));
    assert_eq!(client.set_options("lock", "theirs", options), Ok(true));
}

fn release(client: &mut impl ConnectionLike, token: &str) -> RedisResult<i64> {
    cmd("DELIFEQ").arg("lock").arg(token).query(client)
}

fn keys_to_scan(client: &mut impl Commands) -> BTreeSet<String> {
    let keys: BTreeSet<String> = (0..500).map(|n| format!("scan:{n}")).collect();
    keys.iter().for_each(|key| client.set(key, "v").unwrap());
    keys
}

/// The keys that one node of the cluster tells of.
fn scan_node(client: &mut ClusterConnection, address: &str) -> BTreeSet<String> {
    let (host, port) = address.rsplit_once(':').expect("host:port");
    let (host, port) = (host.to_owned(), port.parse().expect("a port"));
    let to = RoutingInfo::SingleNode(SingleNodeRoutingInfo::ByAddress { host, port });
    let mut found = BTreeSet::new();
    let mut cursor = 0_u64;
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg("scan:*").arg("COUNT").arg(50);
        let reply = client.route_command(&scan, to.clone()).unwrap();
        let (next, keys) = <(u64, Vec<String>)>::from_redis_value(reply).unwrap();
        found.extend(keys);
        cursor = next;
        if cursor == 0 {
            return found;
        }
    }
}

/// What was acknowledged before, while and after a leader is killed is there in the end.
fn failover(servers: &mut Servers, cluster: ClusterClient) {
    let again = cluster.clone();
    let mut writer = cluster.get_connection().expect("kvnode answers");
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let failed = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let (acknowledged, failed) = (Arc::clone(&acknowledged), Arc::clone(&failed));
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            for n in 0_i64.. {
                if stop.load(SeqCst) {
                    break;
                }
                // A key of the leader that is killed, and one of any.
                let done = writer.incr("counter", 1).and_then(|_: i64| {
                    let () = writer.set(format!("failover:{n}"), n)?;
                    Ok(())
                });
                match done {
                    Ok(()) => acknowledged.lock().unwrap().push(n),
                    Err(error) => {
                        failed.lock().unwrap().push(error.to_string());
                        thread::sleep(Duration::from_millis(10));
                        // It asks for the leaders again only when a node tells it of another, so
                        // that for one that is dead a new connection is needed.
                        writer = cluster.get_connection().unwrap_or(writer);
                    }
                }
            }
        })
    };
    let count = || acknowledged.lock().unwrap().len();
    let wait_for = |wanted| {
        wait_until("writes to be acknowledged", || (count() >= wanted).then_some(()));
    };
    wait_for(100);
    servers.kill("counter");
    wait_for(count() + 100);
    stop.store(true, SeqCst);
    writing.join().unwrap();
    let mut reader = again.get_connection().expect("two nodes answer");
    let acknowledged = acknowledged.lock().unwrap();
    let counter: usize = reader.get("counter").unwrap();
    assert!(counter >= acknowledged.len(), "{counter} of {}", acknowledged.len());
    for n in acknowledged.iter() {
        assert_eq!(reader.get(format!("failover:{n}")), Ok(Some(*n)));
    }
    let failed = failed.lock().unwrap();
    eprintln!("{} writes acknowledged, {} errors", acknowledged.len(), failed.len());
}
