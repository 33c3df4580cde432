//! Real processes that are lost for good: what a cluster promises to survive, and what it says where
//! it can not go on.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test means any other reply by it")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::cluster::{Cluster, ask, ids, status};
use common::{Client, Endpoint, Frame, wait_until};
use kvnode_core::slot;
use serde_json::Value;

/// A client that counts: it sets one new key after the other and adds to one number, and remembers
/// what was acknowledged.
struct Counter {
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Counted>,
}

/// What it was told.
#[derive(Default)]
struct Counted {
    /// Keys that were acknowledged.
    keys: Vec<u64>,
    /// The last number that was acknowledged, and how often it was added to.
    total: i64,
    additions: i64,
}

impl Counter {
    fn start(at: Endpoint) -> Self {
        let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&acknowledged), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut client = Client::connect(&at).expect("its node lives");
            let mut counted = Counted::default();
            for n in 0.. {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                let key = format!("counted:{n}");
                if client.call(["SET", &key, &n.to_string()]) == Frame::ok() {
                    counted.keys.push(n);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                counted.additions += 1;
                if let Frame::Int(total) = client.call(["INCR", "total"]) {
                    assert!(total > counted.total, "{total} follows {}", counted.total);
                    counted.total = total;
                }
            }
            counted
        });
        Self { acknowledged, stop, thread }
    }

    /// Waits until more writes have been acknowledged.
    fn go_on(&self, what: &str) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + 200;
        let reached = || (self.acknowledged.load(Ordering::Relaxed) >= goal).then_some(());
        wait_until(&format!("writes {what}"), reached);
    }

    fn stop(self) -> Counted {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it counts to its end")
    }
}

#[test]
fn two_of_three_replicas_are_lost_one_after_the_other_and_the_third_serves_every_acknowledged_write()
 {
    let options = ["--partitions", "1", "--replication-factor", "3", "--min-isr", "1"];
    // Five nodes, so that three of five voters are left; three of them hold the partition.
    let mut cluster = Cluster::started(5, &options);
    let said = cluster.whole();
    let replicas = ids(&said["partitions"][0]["replicas"]);
    assert_eq!(replicas.len(), 3);
    let bystander = (1..=5).find(|id| !replicas.contains(id)).expect("there are two") as usize;
    let counter = Counter::start(cluster.node(bystander).endpoint());
    counter.go_on("to all three");
    for left in [2, 1] {
        let said = status(cluster.node(bystander));
        let leader = said["partitions"][0]["leader"].as_u64().expect("it is led") as usize;
        cluster.kill(leader);
        counter.go_on("after a loss");
        let said = cluster.whole();
        let partition = &said["partitions"][0];
        assert_eq!(ids(&partition["isr"]).len(), left, "{partition}");
        assert_eq!(partition["survives"], left - 1);
        counter.go_on("in between");
    }
    let counted = counter.stop();
    let said = cluster.whole();
    let third = said["partitions"][0]["leader"].as_u64().expect("it is led");
    assert!(replicas.contains(&third), "n{third} is one of {replicas:?}");
    assert_eq!(ids(&said["partitions"][0]["isr"]), [third]);
    let mut client = cluster.node(third as usize).client();
    for n in &counted.keys {
        let value = client.call(["GET", &format!("counted:{n}")]);
        assert_eq!(value, Frame::bulk(n.to_string()), "an acknowledged write is missing");
    }
    let total: i64 = client.call(["GET", "total"]).text().parse().expect("a number");
    assert!(total >= counted.total, "{total} of {} that were acknowledged", counted.total);
    assert!(total <= counted.additions, "{total} of {} that were sent", counted.additions);
}

/// Where a partition is.
struct Place {
    leader: usize,
    follower: usize,
    key: String,
}

/// The places of all partitions of two replicas.
fn places(said: &Value) -> Vec<Place> {
    let partitions = said["partitions"].as_array().expect("a list");
    let count = partitions.len() as u32;
    let place = |(id, partition): (u32, &Value)| {
        let leader = partition["leader"].as_u64().expect("it is led");
        let isr = ids(&partition["isr"]);
        let follower = isr.iter().find(|id| **id != leader).expect("two are in sync");
        let mut keys = (0..).map(|n| format!("key:{n}"));
        let home = |key: &String| slot::partition(slot::slot(key.as_bytes()), count).0;
        let key = keys.find(|key| home(key) == id).expect("slots are spread");
        Place { leader: leader as usize, follower: *follower as usize, key }
    };
    (0..).zip(partitions).map(place).collect()
}

#[test]
fn without_a_majority_of_controllers_what_needs_no_decision_goes_on_and_the_rest_says_what_it_lacks()
 {
    let options = ["--partitions", "5", "--replication-factor", "2", "--min-isr", "1"];
    let mut cluster = Cluster::started(5, &options);
    let said = cluster.whole();
    let controller = said["controller"].as_u64().expect("there is one") as usize;
    let places = places(&said);
    let is_whole = |place: &&Place| place.leader != controller && place.follower != controller;
    let whole = places.iter().find(is_whole).expect("the controller holds two of five");
    let survivors = [whole.leader, whole.follower];
    let lives = |id: usize| survivors.contains(&id);
    let half = |place: &&Place| lives(place.leader) && !lives(place.follower);
    let led = places.iter().find(half).expect("each leads one");
    let other = |place: &&Place| !lives(place.leader) && lives(place.follower);
    let orphan = places.iter().find(other).expect("each follows in one");
    let mut client = cluster.node(whole.leader).client();
    for place in [whole, led, orphan] {
        assert_eq!(client.call(["SET", &place.key, "before"]), Frame::ok());
    }

    let mut lost: Vec<usize> = (1..=5).filter(|id| !lives(*id)).collect();
    // Nobody is left to decide anything about the others.
    lost.sort_by_key(|id| *id != controller);
    cluster.kill_together(&lost);
    for id in survivors {
        wait_until("the loss to be known", || {
            status(cluster.node(id))["controller"].is_null().then_some(())
        });
    }
    // Longer than any promise or session lasts.
    let start = Instant::now();
    let mut last = BTreeMap::new();
    let mut clients = survivors.map(|id| cluster.node(id).client());
    for n in 0.. {
        let value = n.to_string();
        assert_eq!(clients[n % 2].call(["SET", &whole.key, &value]), Frame::ok());
        for client in &mut clients {
            assert_eq!(client.call(["GET", &whole.key]), Frame::bulk(&value));
        }
        last.insert(&whole.key, value);
        if start.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    tells_what_is_missing(&cluster, survivors, [led, orphan]);
    for id in survivors {
        tells_its_status(&cluster, id, [whole, led, orphan]);
    }

    lost.iter().for_each(|id| cluster.start(*id));
    cluster.whole();
    let mut client = cluster.node(whole.leader).client();
    assert_eq!(client.call(["GET", &whole.key]), Frame::bulk(&last[&whole.key]));
    assert_eq!(client.call(["GET", &led.key]).text(), "after", "what waited in the log");
    assert_eq!(client.call(["GET", &orphan.key]).text(), "before", "what was acknowledged");
}

/// Commands that need a decision err, and say why.
fn tells_what_is_missing(cluster: &Cluster, survivors: [usize; 2], [led, orphan]: [&Place; 2]) {
    let asks = survivors.iter().flat_map(|id| {
        [["SET", &led.key, "after"].to_vec(), ["GET", &led.key].to_vec()]
            .into_iter()
            .chain([["SET", &orphan.key, "after"].to_vec(), ["GET", &orphan.key].to_vec()])
            .map(|command| (*id, command))
            .collect::<Vec<_>>()
    });
    // Each waits for some seconds, all at the same time.
    let asks = asks.map(|(id, command)| {
        let mut client = cluster.node(id).client();
        client.send_raw(&common::encode(&command)).expect("its node lives");
        (id, command, client)
    });
    for (id, command, mut client) in asks.collect::<Vec<_>>() {
        let told = client.receive().expect("its node lives").text();
        let parts: &[&str] = match (command[0], command[1] == led.key) {
            ("SET", true) => &[
                "UNKNOWN the write is in the log of",
                "(in sync) has not acknowledged it",
                "may or may not become committed later",
                "read it back",
            ],
            ("GET", true) => &["TRYAGAIN", "(in sync)", "nothing was changed", "try again"],
            _ => &["CLUSTERDOWN", "is not reached from", "was not applied", "try again"],
        };
        let quorum = "there is no controller";
        for part in parts.iter().chain(&[quorum, "(2 of 5 voters reached)", "kvnode status"]) {
            assert!(told.contains(part), "n{id} to {command:?}: {part:?} is not in {told:?}");
        }
    }
}

/// The status names what stands still, in its table, in its last line and as JSON.
fn tells_its_status(cluster: &Cluster, id: usize, [whole, led, orphan]: [&Place; 3]) {
    let said = status(cluster.node(id));
    assert_eq!(said["controller"], Value::Null);
    let mut reached = vec![whole.leader as u64, whole.follower as u64];
    reached.sort_unstable();
    assert_eq!(ids(&said["reached"]), reached);
    let entry = |place: &Place| {
        let all = said["partitions"].as_array().expect("a list").iter();
        let mut all = all.filter(|p| p["leader"].as_u64() == Some(place.leader as u64));
        all.find(|p| ids(&p["isr"]).contains(&(place.follower as u64))).expect("as it was").clone()
    };
    assert_eq!(ids(&entry(whole)["waits_for"]), Vec::<u64>::new());
    assert_eq!(ids(&entry(led)["waits_for"]), [led.follower as u64]);
    assert!(ids(&entry(orphan)["waits_for"]).contains(&(orphan.leader as u64)));
    assert_eq!(entry(whole)["survives"], Value::Null, "nobody would be elected");
    let summary = said["summary"].as_str().expect("a text");
    for part in [
        "no controller: 2 of 5 voters are reached, 3 must be; nobody is elected",
        "no reads or writes, no leader is reached",
        "no reads or writes, someone in sync is not reached",
        "1 partition goes on",
    ] {
        assert!(summary.contains(part), "{part:?} is not in {summary:?}");
    }
    let text = String::from_utf8(ask(cluster.node(id), &[]).stdout).expect("UTF-8");
    for part in [
        "controller  none known",
        "no controller: 2 of 5 voters are reached, 3 must be;",
        &format!("waits for n{}", led.follower),
        "not reached",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}
