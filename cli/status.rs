//! `kvnode status`: how a cluster is, asked of any of its nodes.
//!
//! The node answers `CLUSTER STATUS`; here its answer becomes JSON or tables.
#![expect(clippy::wildcard_enum_match_arm, reason = "what is no text is printed as JSON prints it")]

use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use kvnode_io::resp::Frame;
use serde_json::{Map, Value};

use crate::client::Connection;
use crate::password::{HOW_TO_LOGIN, LoginArgs};

/// The command line of `kvnode status`.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Shows the controller and its term, the nodes with the state of their sessions, \
        the partitions with leader, in-sync replicas and epochs, and one line that says how many \
        further node failures every partition survives.\n\n\
        It is what the asked node knows. A node that knows no controller says so, how many \
        voters it reaches and needs, and which partitions go on and which wait, and for whom.\n\n\
        Exit codes: 0 shown, 1 no answer, or not a node of a cluster, 2 usage.\n\n\
        Examples:\n  \
        kvnode status\n  \
        kvnode status -h ant -p 7000\n  \
        kvnode status --json | jq .controller"
)]
pub(crate) struct Args {
    /// Host of the node
    #[arg(short = 'h', long, default_value = "127.0.0.1")]
    host: String,

    /// Its TCP port
    #[arg(short = 'p', long, default_value_t = 6379)]
    port: u16,

    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    login: LoginArgs,

    /// Print this help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Width of the tables where stdout is no terminal.
const WIDTH_DEFAULT: u16 = 100;

/// Runs `kvnode status`.
pub(crate) fn run(args: Args) -> ExitCode {
    let login = match args.login.login() {
        Ok(login) => login,
        Err(why) => return crate::misused(why),
    };
    let mut connection = Connection::new(args.host, args.port, true).by(login);
    let status = match fetch(&mut connection) {
        Ok(status) => status,
        Err(why) => return crate::failed(why),
    };
    let text = if args.json {
        serde_json::to_string_pretty(&status).expect("it is JSON") + "\n"
    } else {
        describe(&status, std::io::stdout().is_terminal())
    };
    // Whoever read our output may have had enough of it.
    let _ = std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes());
    ExitCode::SUCCESS
}

/// What a node knows of its cluster; or why it does not say.
pub(crate) fn fetch(connection: &mut Connection) -> Result<Value, String> {
    let reply = connection.call(&["CLUSTER", "STATUS"]).map_err(|why| why.to_string())?;
    let Frame::Error(text) = &reply else { return Ok(json(&reply)) };
    let text = String::from_utf8_lossy(text);
    if text.starts_with("LOADING") {
        return Err("the node is only just starting: ask again in a moment".to_owned());
    }
    let address = connection.address();
    if text.starts_with("NOAUTH") {
        return Err(format!("{address} wants a password: {HOW_TO_LOGIN}"));
    }
    let text = text.trim_end_matches('.');
    // Any other error, of a login that went wrong for instance, says all that is to be said.
    Err(match text.contains("cluster support disabled") {
        true => format!(
            "{address} answers: {text}; this is for the nodes of a cluster \
             (kvnode run --id … --cluster …)"
        ),
        false => format!("{address} answers: {text}"),
    })
}

/// A reply as JSON.
pub(crate) fn json(frame: &Frame) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match frame {
        Frame::Simple(bytes) | Frame::Bulk(bytes) | Frame::Error(bytes) => text(bytes).into(),
        Frame::Verbatim { text: bytes, .. } => text(bytes).into(),
        Frame::Int(n) => (*n).into(),
        Frame::Bool(b) => (*b).into(),
        Frame::Null | Frame::NullArray => Value::Null,
        Frame::Double(number) | Frame::BigNumber(number) => number.to_string().into(),
        Frame::Array(all) | Frame::Set(all) | Frame::Push(all) => {
            all.iter().map(json).collect::<Vec<_>>().into()
        }
        Frame::Map(all) => {
            let key = |key: &Frame| match json(key) {
                Value::String(key) => key,
                other => other.to_string(),
            };
            Value::Object(all.iter().map(|(k, v)| (key(k), json(v))).collect::<Map<_, _>>())
        }
    }
}

/// The status for people.
fn describe(status: &Value, terminal: bool) -> String {
    let mut text = String::new();
    let mut line = |what: std::fmt::Arguments<'_>| {
        text.write_fmt(what).expect("a string takes everything");
    };
    if let Value::String(cluster) = &status["cluster"] {
        line(format_args!("cluster     {cluster}\n"));
    }
    let voters = list(&status["voters"], |voter| node(&voter["id"]));
    line(format_args!("controller  {}, term {}\n", node(&status["controller"]), status["term"]));
    line(format_args!("voters      {voters}\n"));
    line(format_args!(
        "asked       {}, {} of the quorum\n",
        node(&status["node"]),
        word(&status["role"])
    ));
    if let Some(nodes) = status["nodes"].as_array().filter(|nodes| !nodes.is_empty()) {
        line(format_args!("\n{}\n", nodes_table(status, nodes, terminal)));
    }
    if let Some(partitions) = status["partitions"].as_array().filter(|all| !all.is_empty()) {
        line(format_args!("\n{}\n", partitions_table(status, partitions, terminal)));
    }
    line(format_args!("\n{}\n", broken(&word(&status["summary"]))));
    text
}

/// A line; one that is too long in its clauses.
fn broken(line: &str) -> String {
    if line.chars().count() > usize::from(WIDTH_DEFAULT) {
        return line.replace("; ", ";\n  ");
    }
    line.to_owned()
}

/// Whether no controller is known, and the asked node has no link to this one: then the map tells
/// nothing of it.
fn is_cut_off(status: &Value, node: &Value) -> bool {
    let reached = status["reached"].as_array();
    status["controller"].is_null() && reached.is_some_and(|reached| !reached.contains(node))
}

fn nodes_table(status: &Value, nodes: &[Value], terminal: bool) -> Table {
    let mut table = table(terminal, &["node", "session", "life", "peers", "clients", "rack", ""]);
    for entry in nodes {
        let votes = status["voters"].as_array().is_some_and(|voters| {
            voters.iter().any(|v| v["id"] == entry["id"] && v["directory"] == entry["directory"])
        });
        let role = match () {
            () if entry["id"] == status["controller"] => "controller",
            () if votes => "voter",
            () => "",
        };
        table.add_row([
            Cell::new(node(&entry["id"])),
            match is_cut_off(status, &entry["id"]) {
                true => state("not reached", "active"),
                false => state(&word(&entry["session"]), "active"),
            },
            Cell::new(format!("@{}", entry["incarnation"])),
            Cell::new(word(&entry["peer"])),
            Cell::new(word(&entry["client"])),
            Cell::new(word(&entry["rack"])),
            Cell::new(role),
        ]);
    }
    table
}

fn partitions_table(status: &Value, partitions: &[Value], terminal: bool) -> Table {
    let titles = ["", "slots", "leader", "epoch", "version", "in sync", "replicas", "survives"];
    let mut table = table(terminal, &titles);
    for entry in partitions {
        let nodes = |all: &Value| list(all, node);
        let leader = match &entry["leader"] {
            Value::Null => Cell::new("offline").fg(Color::Red).add_attribute(Attribute::Bold),
            leader if is_cut_off(status, leader) => {
                Cell::new(format!("{} not reached", node(leader))).fg(Color::Red)
            }
            leader => Cell::new(node(leader)),
        };
        let waits = match entry["waits_for"].as_array().filter(|all| !all.is_empty()) {
            Some(_) => format!(", waits for {}", nodes(&entry["waits_for"])),
            None => String::new(),
        };
        let survives = match (&entry["survives"], &entry["writes_survive"]) {
            (Value::Null, _) => "-".to_owned(),
            (failures, Value::Null) => format!("{failures}, writes refused"),
            (failures, writes) if failures == writes => failures.to_string(),
            (failures, writes) => format!("{failures}, writes {writes}"),
        };
        let missing =
            if entry["writes_may_be_missing"] == 1 { ", writes may be missing" } else { "" };
        table.add_row([
            Cell::new(format!("p{}", entry["id"])),
            Cell::new(word(&entry["slots"])),
            leader,
            Cell::new(&entry["epoch"]),
            Cell::new(&entry["partition_epoch"]),
            Cell::new(nodes(&entry["isr"])),
            Cell::new(nodes(&entry["replicas"])),
            Cell::new(format!("{survives}{waits}{missing}")),
        ]);
    }
    table
}

fn table(terminal: bool, titles: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(titles);
    if !terminal {
        table.set_width(WIDTH_DEFAULT).force_no_tty();
    }
    table
}

/// A state, in colour by whether it is the good one.
fn state(text: &str, good: &str) -> Cell {
    let color = if text == good { Color::Green } else { Color::Red };
    Cell::new(text).fg(color)
}

pub(crate) fn node(id: &Value) -> String {
    match id {
        Value::Null => "none known".to_owned(),
        id => format!("n{id}"),
    }
}

pub(crate) fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

pub(crate) fn list(all: &Value, each: impl Fn(&Value) -> String) -> String {
    let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(each).collect::<Vec<_>>().join(" ")
}
