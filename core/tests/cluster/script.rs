//! The commands of the scripts.
//!
//! Straight into the log, past any controller:
//! `found PARTITIONS rf= min-isr= expect=` · `register N dir= nonce= rack= features= unclean` ·
//! `unfence N` · `fence N` · `create 1/2/3 2/3/1 …` · `alter pN isr=1/2@7 by= epoch= version=` ·
//! `elect pN N right=in-sync|longest|operator version= above=` · `reassign pN 1/2/4 version=` ·
//! `accept-loss pN` · `unregister N` · `feature LEVEL` · `members N…` (registers and unfences).
//! A node is `2`, a life of it `2@7`; without, the life is the registered one.
//!
//! The controller: `office N rf= … balance=MS` · `join N dir= …` (a message) · `beat N stop applied= wall=
//! p0=e1/10 unfit=p0` · `ask pN isr= …` (a message) · `gone N` · `request ID WHAT …`.
//!
//! Brokers: `start n1 dir= seed= unclean` · `stop n1` · `kill n1` · `want n1 pN isr=` · `report n1
//! p0=e1/10` and `unclean n1` (its shard says so) · `cut N` · `heal N`.
//!
//! Time and the log: `run MS beats=1/2` (deadlines are kept) · `pause MS` (they are not) · `hold` ·
//! `release` · `commit` (the oldest that is held) · `lose` (proposals held are dropped).
//!
//! To look: `map` · `status voters= alive=` · `slots` · `clean n1` · `deadlines` · `bytes` (from here on, of each
//! command in the log) · `snapshot`.

use std::error::Error;
use std::time::Duration;

use goldenscript::{ArgumentConsumer, Context, Runner};
use kvnode_core::cluster::broker;
use kvnode_core::cluster::controller::{Controller, Input, Request, RequestId, Settings};
use kvnode_core::cluster::standstill;
use kvnode_core::cluster::view::{self, Quorum};
use kvnode_core::cluster::{
    AlterPartition, BrokerMessage, Command, ElectLeader, Features, Life, LogEnd, PartitionEpoch,
    Reassign, Registration, Right,
};
use kvnode_core::{DirectoryId, Epoch, Incarnation, Index, NodeId, Offset, PartitionId};

use crate::world::{World, hex, id_of};

pub(crate) const DIR: &str = "tests/cluster/scripts";

pub(crate) fn run(name: &str) {
    let path = format!("{}/{DIR}/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    goldenscript::run(&mut Script { world: World::new() }, path).expect("the script is read");
}

struct Script {
    world: World,
}

type Fallible<T> = Result<T, Box<dyn Error>>;

impl Runner for Script {
    type Command = goldenscript::Command;

    fn run(&mut self, command: &goldenscript::Command, _: &Context) -> Fallible<String> {
        let mut args = command.consume_args();
        self.run_command(&command.name, &mut args)?;
        args.reject_next()?;
        self.world.settle();
        Ok(std::mem::take(&mut self.world.said))
    }
}

impl Script {
    fn run_command(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Fallible<()> {
        let world = &mut self.world;
        match name {
            "found" => {
                self.founding(args)?;
                let command = Command::Found(self.world.founding.clone());
                self.world.commit(&command);
            }
            "register" => {
                let command = Command::Register(registration(args)?);
                world.commit(&command);
            }
            "members" => {
                while let Some(node) = args.next_pos() {
                    let node: NodeId = NodeId(node.parse()?);
                    world.commit(&Command::Register(registration_of(node)));
                    let life = world.life(node);
                    world.commit(&Command::Unfence(life));
                }
            }
            "unfence" => {
                let life = life(world, pos(args)?)?;
                world.commit(&Command::Unfence(life));
            }
            "fence" => {
                let life = life(world, pos(args)?)?;
                world.commit(&Command::Fence(life));
            }
            "create" => {
                let mut assignments = Vec::new();
                while let Some(list) = args.next_pos() {
                    assignments.push(nodes(list)?);
                }
                world.commit(&Command::CreatePartitions(assignments));
            }
            "alter" => {
                let alter = alter(world, args)?;
                world.commit(&Command::AlterPartition(alter));
            }
            "elect" => {
                let elect = elect(world, args)?;
                world.commit(&Command::ElectLeader(elect));
            }
            "reassign" => {
                let partition = partition_id(pos(args)?)?;
                let replicas = nodes(pos(args)?)?;
                let partition_epoch = version(world, partition, args)?;
                world.commit(&Command::Reassign(Reassign { partition, partition_epoch, replicas }));
            }
            "accept-loss" => {
                let partition = partition_id(pos(args)?)?;
                world.commit(&Command::AcceptLoss(partition));
            }
            "unregister" => world.commit(&Command::Unregister(NodeId(pos(args)?.parse()?))),
            "feature" => world.commit(&Command::SetFeature(pos(args)?.parse()?)),
            "hold" => world.held = true,
            "release" => world.held = false,
            "commit" => world.commit_oldest(),
            "lose" => {
                world.proposed.clear();
                world.held = false;
            }
            _ => return self.run_node(name, args),
        }
        Ok(())
    }

    fn run_node(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Fallible<()> {
        let world = &mut self.world;
        match name {
            "office" => {
                world.office = NodeId(pos(args)?.parse()?);
                self.founding(args)?;
                let mut settings = Settings::new(self.world.founding.clone());
                if let Some(ms) = args.take_key("balance") {
                    settings.balance_after = Some(Duration::from_millis(ms.parse()?));
                }
                self.world.take_office(settings);
            }
            "join" => {
                let registration = registration(args)?;
                let message = BrokerMessage::Register(registration.clone());
                world.control(Input::Message(registration.node, message));
            }
            "beat" => beat(world, args)?,
            "ask" => {
                let alter = alter(world, args)?;
                world.control(Input::Message(alter.leader, BrokerMessage::Alter(alter)));
            }
            "gone" => {
                let node = NodeId(pos(args)?.parse()?);
                world.control(Input::Gone(node));
            }
            "request" => {
                let id = RequestId { asker: NodeId(1), number: pos(args)?.parse()? };
                let request = request(args)?;
                world.control(Input::Request(id, request, world.map.applied()));
            }
            "start" => {
                let name = pos(args)?.to_owned();
                let settings = broker_settings(id_of(&name), args)?;
                world.start(&name, settings);
            }
            "stop" => world.broker(pos(args)?, broker::Input::Stop),
            "unclean" => world.broker(pos(args)?, broker::Input::Unclean),
            "report" => {
                let name = pos(args)?.to_owned();
                for end in log_ends(args)? {
                    world.broker(&name, broker::Input::LogEnd(end));
                }
            }
            "kill" => {
                world.processes.remove(pos(args)?).ok_or("no such process")?;
            }
            "want" => {
                let name = pos(args)?.to_owned();
                let alter = alter(world, args)?;
                world.broker(&name, broker::Input::Alter(alter));
            }
            "cut" => {
                world.cut.insert(NodeId(pos(args)?.parse()?));
            }
            "heal" => {
                world.cut.remove(&NodeId(pos(args)?.parse()?));
                world.spread();
            }
            "run" => {
                let time = Duration::from_millis(pos(args)?.parse()?);
                let beating = nodes(args.take_key("beats").unwrap_or_default())?;
                world.run(time, &beating);
            }
            "pause" => {
                let time = Duration::from_millis(pos(args)?.parse()?);
                world.mono = world.mono.after(time);
                world.control(Input::Tick);
            }
            _ => return self.look(name, args),
        }
        Ok(())
    }

    fn look(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Fallible<()> {
        let world = &mut self.world;
        let map = world.map.clone();
        match name {
            "map" => {
                map.nodes().for_each(|(_, node)| world.say(node));
                map.partitions().for_each(|(id, p)| world.say(format_args!("{id} {p}")));
            }
            "status" => {
                let voters = args.take_key("voters").unwrap_or("3").parse()?;
                if let Some(reached) = args.take_key("reaches") {
                    let reached = nodes(reached)?;
                    let quorum = Quorum { voters, alive: reached.len() };
                    let reaches = |node| reached.contains(&node);
                    world.say(standstill::standstill(&map, quorum, reaches));
                    return Ok(());
                }
                let alive = args.take_key("alive").unwrap_or("3").parse()?;
                world.say(view::summary(&map, Quorum { voters, alive }));
            }
            "slots" => {
                for entry in view::slots(&map) {
                    let places = entry.replicas.iter().map(|place| {
                        let note = if place.active { "" } else { " (fenced)" };
                        format!("{} {}{note}", place.node, place.client)
                    });
                    let places: Vec<_> = places.collect();
                    let leader = entry.leader.map_or("nobody".into(), |node| node.to_string());
                    world.say(format_args!(
                        "{} {} {leader}: {}",
                        entry.slots,
                        entry.partition,
                        places.join(", ")
                    ));
                }
            }
            "deadlines" => {
                let controller = world.controller.as_ref().and_then(Controller::deadline);
                let mut all: Vec<_> = controller
                    .map(|(at, reason)| ("controller".to_owned(), at, format!("{reason:?}")))
                    .into_iter()
                    .collect();
                for (name, process) in &world.processes {
                    if let Some((at, reason)) = process.broker.deadline() {
                        all.push((name.clone(), at, format!("{reason:?}")));
                    }
                }
                for (name, at, reason) in all {
                    let ms = at.since(world.mono).as_millis();
                    world.say(format_args!("{name}: {reason} in {ms} ms"));
                }
            }
            "bytes" => world.bytes = true,
            "snapshot" => world.say(hex(&map.encode())),
            "clean" => {
                let name = pos(args)?;
                let process = world.processes.get(name).ok_or("no such process")?;
                let may = process.broker.may_mark_clean();
                world.say(format_args!("{name}: may mark a clean stop: {may}"));
            }
            _ => return Err(format!("no command {name}").into()),
        }
        Ok(())
    }

    fn founding(&mut self, args: &mut ArgumentConsumer<'_>) -> Fallible<()> {
        let founding = &mut self.world.founding;
        if let Some(partitions) = args.next_pos() {
            founding.partitions = partitions.parse()?;
        }
        if let Some(factor) = args.take_key("rf") {
            founding.replication_factor = factor.parse()?;
        }
        if let Some(min) = args.take_key("min-isr") {
            founding.min_isr = min.parse()?;
        }
        if let Some(list) = args.take_key("expect") {
            founding.expected = nodes(list)?.into_iter().collect();
        }
        Ok(())
    }
}

/// As in `p0=e1/10 unfit=p0`.
fn log_ends(args: &mut ArgumentConsumer<'_>) -> Fallible<Vec<LogEnd>> {
    let unfit = args.take_key("unfit").map(partition_id).transpose()?;
    let mut ends = Vec::new();
    while let Some((id, end)) = args.next_key() {
        let (epoch, end) = end.split_once('/').ok_or("an end is like e1/10")?;
        let partition = partition_id(id)?;
        ends.push(LogEnd {
            partition,
            epoch: Epoch(number(epoch)?),
            end: Offset(end.parse()?),
            fit: unfit != Some(partition),
        });
    }
    Ok(ends)
}

fn beat(world: &mut World, args: &mut ArgumentConsumer<'_>) -> Fallible<()> {
    let life = life(world, pos(args)?)?;
    let applied = args.take_key("applied").map(str::parse).transpose()?;
    let ahead: i64 = args.take_key("wall").map_or(Ok(0), str::parse)?;
    let ends = log_ends(args)?;
    let stop = args.next_pos().is_some_and(|word| word == "stop");
    world.beat(life.node, |heartbeat| {
        heartbeat.incarnation = life.incarnation;
        heartbeat.applied = applied.map_or(heartbeat.applied, Index);
        heartbeat.wall_ms = heartbeat.wall_ms.saturating_add_signed(ahead);
        heartbeat.log_ends = ends;
        heartbeat.wants_stop = stop;
    });
    Ok(())
}

fn alter(world: &World, args: &mut ArgumentConsumer<'_>) -> Fallible<AlterPartition> {
    let partition = partition_id(pos(args)?)?;
    let entry = world.map.partition(partition);
    let leader = match args.take_key("by") {
        Some(node) => NodeId(node.parse()?),
        None => entry.and_then(|p| p.leader).unwrap_or_default(),
    };
    let epoch = match args.take_key("epoch") {
        Some(epoch) => Epoch(number(epoch)?),
        None => entry.map(|p| p.epoch).unwrap_or_default(),
    };
    let list = args.take_key("isr").unwrap_or_default().split('/').filter(|s| !s.is_empty());
    Ok(AlterPartition {
        partition,
        leader,
        epoch,
        partition_epoch: version(world, partition, args)?,
        isr: list.map(|word| life(world, word)).collect::<Fallible<_>>()?,
    })
}

fn elect(world: &World, args: &mut ArgumentConsumer<'_>) -> Fallible<ElectLeader> {
    let partition = partition_id(pos(args)?)?;
    Ok(ElectLeader {
        partition,
        leader: life(world, pos(args)?)?,
        partition_epoch: version(world, partition, args)?,
        above: Epoch(args.take_key("above").map_or(Ok(0), number)?),
        right: match args.take_key("right") {
            None | Some("in-sync") => Right::InSync,
            Some("longest") => Right::LongestLog,
            Some("operator") => Right::Operator,
            Some(other) => return Err(format!("no right {other}").into()),
        },
    })
}

fn request(args: &mut ArgumentConsumer<'_>) -> Fallible<Request> {
    Ok(match pos(args)? {
        "unclean" => Request::ElectUnclean(partition_id(pos(args)?)?, NodeId(pos(args)?.parse()?)),
        "move" => Request::MoveLeader(partition_id(pos(args)?)?, NodeId(pos(args)?.parse()?)),
        "reassign" => Request::Reassign(partition_id(pos(args)?)?, nodes(pos(args)?)?),
        "accept-loss" => Request::AcceptLoss(partition_id(pos(args)?)?),
        "unregister" => Request::Unregister(NodeId(pos(args)?.parse()?)),
        "feature" => Request::SetFeature(pos(args)?.parse()?),
        other => return Err(format!("no request {other}").into()),
    })
}

fn registration(args: &mut ArgumentConsumer<'_>) -> Fallible<Registration> {
    let mut r = registration_of(NodeId(pos(args)?.parse()?));
    if let Some(directory) = args.take_key("dir") {
        r.directory = DirectoryId(directory.parse()?);
    }
    if let Some(nonce) = args.take_key("nonce") {
        r.nonce = nonce.parse()?;
    }
    if let Some(peer) = args.take_key("peer") {
        r.peer = peer.into();
    }
    r.rack = args.take_key("rack").map(Into::into);
    r.features = features(args)?.unwrap_or(r.features);
    r.clean = args.next_pos() != Some("unclean");
    Ok(r)
}

fn registration_of(node: NodeId) -> Registration {
    Registration {
        node,
        directory: DirectoryId(u128::from(node.0)),
        nonce: u64::from(node.0),
        clean: true,
        peer: format!("10.0.0.{}:7379", node.0),
        client: format!("10.0.0.{}:6379", node.0),
        rack: None,
        version: "0.1".into(),
        features: Features { min: 1, max: 1 },
    }
}

fn broker_settings(node: NodeId, args: &mut ArgumentConsumer<'_>) -> Fallible<broker::Settings> {
    let r = registration_of(node);
    let directory = args.take_key("dir").map(str::parse).transpose()?.map(DirectoryId);
    let directory = directory.unwrap_or(r.directory);
    let mut settings = broker::Settings::new(node, directory, r.peer, r.client);
    settings.seed = args.take_key("seed").map_or(Ok(u64::from(node.0)), str::parse)?;
    settings.features = features(args)?.unwrap_or(settings.features);
    settings.clean = args.next_pos() != Some("unclean");
    Ok(settings)
}

fn features(args: &mut ArgumentConsumer<'_>) -> Fallible<Option<Features>> {
    let Some(range) = args.take_key("features") else { return Ok(None) };
    let (min, max) = range.split_once('-').ok_or("features are like 1-2")?;
    Ok(Some(Features { min: min.parse()?, max: max.parse()? }))
}

fn version(
    world: &World,
    partition: PartitionId,
    args: &mut ArgumentConsumer<'_>,
) -> Fallible<PartitionEpoch> {
    Ok(match args.take_key("version") {
        Some(version) => PartitionEpoch(number(version)?.into()),
        None => world.map.partition(partition).map(|p| p.partition_epoch).unwrap_or_default(),
    })
}

fn life(world: &World, word: &str) -> Fallible<Life> {
    Ok(match word.split_once('@') {
        Some((node, life)) => {
            Life { node: NodeId(node.parse()?), incarnation: Incarnation(life.parse()?) }
        }
        None => world.life(NodeId(word.parse()?)),
    })
}

fn nodes(list: &str) -> Fallible<Vec<NodeId>> {
    let words = list.split('/').filter(|word| !word.is_empty());
    words.map(|word| Ok(NodeId(word.parse()?))).collect()
}

fn partition_id(word: &str) -> Fallible<PartitionId> {
    Ok(PartitionId(number(word)?))
}

/// A number behind its letter: `e3`, `v7`, `p0`.
fn number(word: &str) -> Result<u32, std::num::ParseIntError> {
    word.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse()
}

fn pos<'a>(args: &mut ArgumentConsumer<'a>) -> Fallible<&'a str> {
    args.next_pos().ok_or_else(|| "an argument is missing".into())
}
