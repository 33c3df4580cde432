//! Golden scripts: each `*.txt` beside this file tells a story in commands, and what came of them.
//! `UPDATE_GOLDENFILES=1 cargo test -p kvnode-core --test election script` records anew.

use std::error::Error;

use goldenscript::{Command, Context, Runner};
use kvnode_core::NodeId;
use kvnode_core::election::{Entry, Health, Payload, Settings, Stored, VoterChange};

use super::world::{World, member, ms, voters};

#[test]
fn every_script_tells_the_same_story() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/election");
    let files = std::fs::read_dir(dir).expect("the folder of scripts");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(paths.len() >= 10, "the scripts are here");
    for path in paths {
        goldenscript::run(&mut Script { world: None }, &path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// An entry as scripts show it.
pub(crate) fn entry(entry: &Entry) -> String {
    let payload = match &entry.payload {
        Payload::Noop => "noop".into(),
        Payload::Voters(voters) => voters.to_string(),
        Payload::Command(command) => String::from_utf8_lossy(command).into_owned(),
    };
    format!("{}={payload}", entry.position())
}

struct Script {
    world: Option<World>,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut consumer = command.consume_args();
        let args: Vec<&str> = std::iter::from_fn(|| consumer.next_pos()).collect();
        if command.name == "members" {
            self.found(&args);
            return Ok(self.told(String::new()));
        }
        let world = self.world.as_mut().ok_or("no members yet")?;
        let answer = run(world, &command.name, &args)?;
        world.check_logs();
        Ok(self.told(answer))
    }
}

impl Script {
    /// `members 4 voters=3`: with a log if one is given, `log=1:t1,2:t1 term=…`.
    fn found(&mut self, args: &[&str]) {
        let count = number(args[0]);
        let voting = args.get(1).map_or(count, |arg| number(arg));
        let settings = Settings { chunk_bytes: 16, tail_entries: 1, ..Settings::default() };
        self.world = Some(World::new(count, voting, settings, 1));
    }

    fn told(&mut self, answer: String) -> String {
        let world = self.world.as_mut().expect("there is one");
        let mut lines = std::mem::take(&mut world.trace);
        lines.extend((!answer.is_empty()).then_some(answer));
        lines.join("\n")
    }
}

/// What each command does.
fn run(world: &mut World, name: &str, args: &[&str]) -> Result<String, Box<dyn Error>> {
    let id = |at: usize| args.get(at).map(|arg| number(arg)).ok_or("which node?");
    match name {
        "run" => world.run(ms(u64::from(id(0)?))),
        "messages" => world.tell_messages = args[0] == "on",
        "propose" => {
            let result = world.propose(id(0)?, args[1].as_bytes());
            return Ok(result.err().map_or(String::new(), |why| format!("refused: {why}")));
        }
        "cut" => {
            world.cut(id(0)?, id(1)?);
            world.cut(id(1)?, id(0)?);
        }
        "cut-one-way" => world.cut(id(0)?, id(1)?),
        "unlink" => world.unlink(id(0)?, id(1)?),
        "heal" => {
            for (a, b) in std::mem::take(&mut world.cuts) {
                world.link(a, b);
            }
        }
        "crash" => {
            let kept = args.get(1).map_or(0, |arg| number(arg));
            world.crash(id(0)?, kept as usize);
        }
        "start" => world.start(id(0)?),
        "wipe" => {
            let id = id(0)?;
            let stored = Stored::founding(voters(0).clone(), bytes::Bytes::new());
            let founding = world.nodes[&id].disk.stored.snapshot.voters.clone();
            let stored = Stored { snapshot: snapshot(founding), ..stored };
            world.add(member(id, 2), stored);
            world.start(id);
        }
        "stall" => world.node(id(0)?).disk.stalled = true,
        "unstall" => world.node(id(0)?).disk.stalled = false,
        "compact" => world.compact(id(0)?),
        "tick" => {
            // As if its election timeout were over.
            let id = id(0)?;
            let at = world.raft(id).deadline().ok_or("no deadline")?.0;
            world.with(id, |raft, _| raft.handle(at, kvnode_core::election::Input::Tick));
        }
        "transfer" => {
            let to = NodeId(id(1)?);
            let result = world.with(id(0)?, |raft, now| raft.transfer(now, to));
            return Ok(result.err().map_or(String::new(), |why| format!("refused: {why}")));
        }
        "add" | "remove" => {
            let directory = args.get(2).map_or(1, |arg| number(arg)) as u16;
            let change = match name {
                "add" => VoterChange::Add(member(id(1)?, directory)),
                _ => VoterChange::Remove(NodeId(id(1)?)),
            };
            let result = world.with(id(0)?, |raft, now| raft.change_voters(now, change));
            return Ok(result.err().map_or(String::new(), |why| format!("refused: {why}")));
        }
        "logs" => return Ok(logs(world)),
        "status" => return Ok(status(world, id(0)?)),
        _ => return Err(format!("unknown command {name}").into()),
    }
    Ok(String::new())
}

fn snapshot(voters: kvnode_core::election::Voters) -> kvnode_core::election::Snapshot {
    Stored::founding(voters, super::checks::Machine::default().snapshot()).snapshot
}

/// What each member has on disk and in memory.
fn logs(world: &World) -> String {
    let mut lines = Vec::new();
    for (id, node) in &world.nodes {
        let stored: Vec<String> = node.disk.stored.entries.iter().map(entry).collect();
        let from = node.disk.stored.snapshot.index;
        let role = match &node.raft {
            Some(raft) => format!("{:?} {} commit {}", raft.role(), raft.term(), raft.commit()),
            None => "down".into(),
        };
        lines.push(format!("n{id} {role} disk {from} [{}]", stored.join(" ")));
    }
    lines.join("\n")
}

/// How a leader sees the others.
fn status(world: &World, id: u32) -> String {
    let mut lines = Vec::new();
    for status in world.raft(id).members() {
        let health = match status.health {
            Health::Probing => "probing".into(),
            Health::Replicating => "replicating".into(),
            Health::Snapshot { held, total } => format!("snapshot {held} of {total}"),
        };
        let voter = if status.voter { "voter" } else { "observer" };
        lines.push(format!(
            "{} {voter} matched {} durable {} {health}",
            status.member, status.matched, status.durable
        ));
    }
    lines.join("\n")
}

fn number(arg: &str) -> u32 {
    arg.trim_start_matches(['n', 't', 'i']).parse().expect("a number")
}
