//! What would come of it, said before it is done: from `CLUSTER STATUS`, and from the nodes that have
//! copies.

use std::fmt::Write;
use std::time::Duration;

use kvnode_io::resp::Frame;
use serde_json::Value;

use super::What;
use crate::client::Connection;
use crate::password::Login;
use crate::status::{list, node, word};

/// What an operator is told beforehand.
#[derive(Default)]
pub(super) struct Outlook {
    /// What is so, and what would be: whole lines.
    pub(super) says: String,
    /// What is asked before it is done; nothing if it harms nobody.
    pub(super) asks: Option<String>,
    /// Why it is not even tried, and what to do first.
    pub(super) cannot: Option<String>,
}

/// How long a node with a copy is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

impl Outlook {
    /// What would come of it.
    pub(super) fn of(what: &What, status: &Value, login: Option<&Login>) -> Self {
        match what {
            What::Move { partition, node } => moving(status, *partition, *node),
            What::Elect { partition, node, .. } => electing(status, *partition, *node, login),
            What::AcceptLoss { partition } => accepting(status, *partition),
            What::Reassign { partition, nodes } => reassigning(status, *partition, nodes),
            What::Forget { node } => forgetting(status, *node),
            What::Feature { level } => Self {
                says: format!("The feature level is {}.\n", status["feature_level"]),
                asks: Some(format!(
                    "Raise it to {level}? Nodes of a version that does not know it can not join any \
                     more."
                )),
                cannot: None,
            },
        }
    }

    fn impossible(why: String) -> Self {
        Self { cannot: Some(why), ..Self::default() }
    }
}

/// What became of it, and what comes next.
pub(super) fn done(what: &What) -> String {
    match what {
        What::Move { partition, node } => format!("n{node} leads p{partition}."),
        What::Elect { partition, node, .. } => format!(
            "n{node} leads p{partition}. Acknowledged writes may be missing, and kvnode status says \
             so until you have taken note of it: kvnode cluster accept-loss p{partition}"
        ),
        What::AcceptLoss { partition } => format!("Taken note of, for p{partition}."),
        What::Reassign { partition, .. } => format!(
            "The replicas of p{partition} are others now. Those that are new copy it: kvnode status \
             shows when they are in sync."
        ),
        What::Forget { node } => format!("n{node} belongs to the cluster no more."),
        What::Feature { level } => format!("The feature level is {level}."),
    }
}

fn moving(status: &Value, id: u32, to: u32) -> Outlook {
    let Some(partition) = partition(status, id) else { return unknown(status, id) };
    let says = format!(
        "p{id} is led by {}; in sync are {}. n{to} takes over, and no write is lost.\n",
        node(&partition["leader"]),
        list(&partition["isr"], node)
    );
    Outlook { says, ..Outlook::default() }
}

fn electing(status: &Value, id: u32, heir: u32, login: Option<&Login>) -> Outlook {
    let Some(partition) = partition(status, id) else { return unknown(status, id) };
    if !partition["leader"].is_null() {
        return Outlook::impossible(format!(
            "p{id} is led by {}: nothing is lost by letting another one lead that is in sync \
             (kvnode cluster move), and an unclean election is not needed",
            node(&partition["leader"])
        ));
    }
    let last = list(&partition["isr"], node);
    let mut says = format!(
        "p{id} is offline. Every acknowledged write is on {last}, in sync last, in epoch {}.\n",
        partition["epoch"]
    );
    let replicas = partition["replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut ends = Vec::new();
    for id_of in replicas.iter().filter_map(Value::as_u64) {
        let copy = copy(status, id_of, id, login);
        say(&mut says, format_args!("  n{id_of}  {}", describe(&copy)));
        if let Copy::Here(copy) = copy {
            ends.push((id_of, copy.epoch, copy.end));
        }
    }
    let end = |node: u64| ends.iter().find(|(of, ..)| *of == node).map(|&(_, e, end)| (e, end));
    let own = end(heir.into());
    let longer = ends.iter().filter(|(of, epoch, end)| {
        *of != u64::from(heir) && own.is_none_or(|own| (*epoch, *end) > own)
    });
    if let Some((of, ..)) = longer.max_by_key(|(_, epoch, end)| (*epoch, *end)) {
        say(&mut says, format_args!("The copy of n{of} is longer: less is lost by taking that."));
    }
    let lost = match own {
        Some((_, end)) => format!(
            "All that was acknowledged after offset {end} is lost by it: how much that is nobody \
             knows who is there."
        ),
        None => format!("How much is lost by taking n{heir}'s is not known."),
    };
    say(&mut says, format_args!("{lost} {last} will take over the copy of n{heir} if back later."));
    let asks = Some(format!("Let n{heir} lead p{id} all the same?"));
    Outlook { says, asks, cannot: None }
}

fn accepting(status: &Value, id: u32) -> Outlook {
    let Some(partition) = partition(status, id) else { return unknown(status, id) };
    if partition["writes_may_be_missing"] != 1 {
        return Outlook::impossible(format!("nothing is missing of p{id}, as far as is known"));
    }
    let says = format!("Acknowledged writes of p{id} may be missing: this brings none back.\n");
    Outlook { says, asks: Some("Have status say so no longer?".into()), cannot: None }
}

fn reassigning(status: &Value, id: u32, nodes: &[u32]) -> Outlook {
    let Some(partition) = partition(status, id) else { return unknown(status, id) };
    let old = numbers(&partition["replicas"]);
    let new: Vec<u64> = nodes.iter().map(|&node| node.into()).collect();
    let named = |all: &[u64], but: &[u64]| -> String {
        let left = all.iter().filter(|node| !but.contains(node));
        left.map(|node| format!("n{node}")).collect::<Vec<_>>().join(" ")
    };
    let (added, gone) = (named(&new, &old), named(&old, &new));
    let mut says = format!("p{id} has its replicas on {}.\n", named(&old, &[]));
    if !added.is_empty() {
        say(&mut says, format_args!("{added}: new, begins with nothing and copies all of it."));
    }
    if !gone.is_empty() {
        say(&mut says, format_args!("{gone}: is no replica any more, its copy is not used again."));
    }
    let asks = (!gone.is_empty()).then(|| "Change that?".into());
    Outlook { says, asks, cannot: None }
}

fn forgetting(status: &Value, id: u32) -> Outlook {
    let nodes = status["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(entry) = nodes.iter().find(|entry| entry["id"] == id) else {
        return Outlook::impossible(format!("n{id} is no node of this cluster: see kvnode status"));
    };
    if entry["session"] == "active" {
        return Outlook::impossible(format!(
            "n{id} is up ({}): stop it first, if it is to leave",
            word(&entry["client"])
        ));
    }
    let first = replacements(status, id);
    if !first.is_empty() {
        return Outlook {
            says: format!("n{id} is down and has replicas. Give them to others first:\n{first}"),
            asks: None,
            cannot: Some(format!("n{id} has replicas, so nothing was done")),
        };
    }
    let votes = status["voters"].as_array().is_some_and(|all| all.iter().any(|v| v["id"] == id));
    let mut says = format!("n{id} is down and has no replica.\n");
    if votes {
        says.push_str("It votes: another node becomes a voter in its place, if there is one.\n");
    }
    let asks = Some(format!("Take n{id} out? It can join again only as a new start."));
    Outlook { says, asks, cannot: None }
}

/// The commands that leave the node without a replica, a line each.
fn replacements(status: &Value, gone: u32) -> String {
    let partitions = status["partitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let nodes = status["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let active = nodes.iter().filter(|entry| entry["session"] == "active");
    let active: Vec<u64> = active.filter_map(|entry| entry["id"].as_u64()).collect();
    let held = |of: u64| partitions.iter().filter(move |p| numbers(&p["replicas"]).contains(&of));
    let mut load: Vec<(usize, u64)> = active.iter().map(|&id| (held(id).count(), id)).collect();
    let mut lines = String::new();
    for partition in held(gone.into()) {
        let mut replicas = numbers(&partition["replicas"]);
        replicas.retain(|&id| id != u64::from(gone));
        // The node that has fewest, so that they stay spread.
        load.sort_unstable();
        if let Some((count, id)) = load.iter_mut().find(|(_, id)| !replicas.contains(id)) {
            replicas.push(*id);
            *count += 1;
        }
        let replicas: Vec<_> = replicas.iter().map(|id| format!("n{id}")).collect();
        let line = format!("kvnode cluster reassign p{} {}", partition["id"], replicas.join(" "));
        say(&mut lines, format_args!("  {line}"));
    }
    lines
}

/// What is known of a copy.
enum Copy {
    /// Its node tells of it.
    Here(Log),
    /// Its node is there and has none.
    Empty,
    /// Why it does not.
    Unknown(String),
}

/// How far a copy's log goes.
struct Log {
    epoch: u64,
    end: u64,
    committed: u64,
    keys: u64,
}

fn describe(copy: &Copy) -> String {
    match copy {
        Copy::Here(Log { epoch, end, committed, keys }) => format!(
            "ends at offset {end}, in epoch {epoch}; all before {committed} is known to be \
             committed; {keys} keys"
        ),
        Copy::Empty => "has no copy".to_owned(),
        Copy::Unknown(why) => format!("not known: {why}"),
    }
}

/// Asks the node that has it.
fn copy(status: &Value, of: u64, partition: u32, login: Option<&Login>) -> Copy {
    let nodes = status["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let entry = nodes.iter().find(|entry| entry["id"] == of);
    let Some(entry) = entry.filter(|entry| entry["session"] == "active") else {
        return Copy::Unknown("the node is down".to_owned());
    };
    let address = word(&entry["client"]);
    let Some((host, Ok(port))) = address.rsplit_once(':').map(|(h, p)| (h, p.parse())) else {
        return Copy::Unknown(format!("{address:?} is no address"));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let connection = Connection::new(host.to_owned(), port, true).by(login.cloned());
    match connection.with_patience(PATIENCE).call(&["INFO", "kvnode"]) {
        Ok(Frame::Verbatim { text, .. } | Frame::Bulk(text)) => {
            parse(&String::from_utf8_lossy(&text), partition).map_or(Copy::Empty, Copy::Here)
        }
        Ok(other) => Copy::Unknown(format!("it answers {}", crate::status::json(&other))),
        Err(why) => Copy::Unknown(why.to_string()),
    }
}

/// The line of INFO about the partition.
fn parse(info: &str, partition: u32) -> Option<Log> {
    let name = format!("p{partition}:");
    let line = info.lines().find_map(|line| line.strip_prefix(name.as_str()))?;
    let field = |name: &str| {
        let value = line.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        value?.parse().ok()
    };
    let (epoch, end) = (field("epoch")?, field("log_end")?);
    Some(Log { epoch, end, committed: field("high_watermark")?, keys: field("keys")? })
}

fn partition(status: &Value, id: u32) -> Option<&Value> {
    status["partitions"].as_array()?.iter().find(|partition| partition["id"] == id)
}

fn unknown(status: &Value, id: u32) -> Outlook {
    let count = status["partitions"].as_array().map_or(0, Vec::len);
    Outlook::impossible(format!("there is no p{id}: the cluster has {count} partitions"))
}

fn numbers(all: &Value) -> Vec<u64> {
    let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(Value::as_u64).collect()
}

fn say(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_line_of_a_partition_is_found_in_info() {
        let info = "partitions:2\r\np1:epoch=1,log_end=2,high_watermark=2,keys=0\r\n\
                    p11:epoch=4,log_end=120,durable_end=119,high_watermark=118,isr=0,keys=7\r\n";
        let Log { epoch, end, committed, keys } = parse(info, 11).expect("it is there");
        assert_eq!((epoch, end, committed, keys), (4, 120, 118, 7));
        assert!(parse(info, 2).is_none());
        assert!(parse("p2:epoch=x,log_end=1\r\n", 2).is_none());
    }

    #[test]
    fn a_node_is_forgotten_once_others_have_its_replicas() {
        let node = |id: u32, session: &str| json!({"id": id, "session": session, "client": "a:1"});
        let partition = |id: u32, replicas: &[u32]| json!({"id": id, "replicas": replicas});
        let mut status = json!({
            "nodes": [node(1, "active"), node(2, "active"), node(3, "fenced"), node(4, "active")],
            "partitions": [partition(0, &[1, 3]), partition(1, &[3, 2]), partition(2, &[1, 2])],
            "voters": [{"id": 3}],
        });
        let Outlook { says, cannot, .. } = forgetting(&status, 3);
        assert!(cannot.is_some());
        let commands: Vec<&str> = says.lines().skip(1).map(str::trim).collect();
        assert_eq!(
            commands,
            ["kvnode cluster reassign p0 n1 n4", "kvnode cluster reassign p1 n2 n4"]
        );
        status["partitions"] = json!([partition(0, &[1, 2])]);
        let Outlook { says, asks, cannot } = forgetting(&status, 3);
        assert!(cannot.is_none() && asks.is_some() && says.contains("It votes"), "{says}");
        assert!(forgetting(&status, 1).cannot.is_some_and(|why| why.contains("stop it")));
        assert!(forgetting(&status, 9).cannot.is_some());
    }
}
