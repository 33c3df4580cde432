//! The commands of the scripts. Time is in milliseconds.
//!
//! `replicas N min-isr= mode=lease|confirm lag= window=` (n1 leads) · `run MS` · `write N` · `read N` · `cut N M` · `heal N M` ·
//! `crash N` (and starts again, with what was durable) ·
//! `lose N KEPT` (and starts again with so many records) · `stall N` · `unstall N` (its disk) · `blind N` ·
//! `see N` (it hears nothing of the map) · `deaf` · `hear` (the controller hears no proposals) ·
//! `fence N` · `unfence N` · `elect N right=in-sync|operator` · `horizon N OFFSET` (tombstones before
//! it are gone).
//!
//! To look: `logs` · `map` · `status N` · `quiet` and `loud` (whether all that happens is told).

use std::error::Error;

use goldenscript::{ArgumentConsumer, Context, Runner};
use kvnode_core::cluster::{Command, Right};
use kvnode_core::replication::{ReadMode, ReadWait, Settings};

use super::replica::{P, Role, ms, show};
use super::world::World;

pub(crate) const DIR: &str = "tests/replication/scripts";

pub(crate) fn run(name: &str) {
    let path = format!("{}/{DIR}/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let world = World::new(1, 1, Settings::default(), 1);
    goldenscript::run(&mut Script { world, loud: true }, path).expect("the script is read");
}

struct Script {
    world: World,
    loud: bool,
}

type Fallible<T> = Result<T, Box<dyn Error>>;

impl Runner for Script {
    type Command = goldenscript::Command;

    fn run(&mut self, command: &goldenscript::Command, _: &Context) -> Fallible<String> {
        let mut args = command.consume_args();
        let answer = self.run_command(&command.name, &mut args)?;
        args.reject_next()?;
        let mut lines = std::mem::take(&mut self.world.trace);
        if !self.loud {
            lines.clear();
        }
        lines.extend((!answer.is_empty()).then_some(answer));
        Ok(lines.join("\n"))
    }
}

impl Script {
    fn run_command(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Fallible<String> {
        match name {
            "replicas" => return self.found(args),
            "loud" => self.loud = true,
            "quiet" => self.loud = false,
            "run" => self.world.run(ms(pos(args)?.into())),
            "deaf" => self.world.deaf = true,
            "hear" => self.world.deaf = false,
            "map" => return Ok(self.world.map.partition(P).ok_or("no map")?.to_string()),
            "logs" => return Ok(self.logs()),
            _ => return self.at(name, args),
        }
        Ok(String::new())
    }

    fn found(&mut self, args: &mut ArgumentConsumer<'_>) -> Fallible<String> {
        let count = pos(args)?;
        let min_isr = args.take_key("min-isr").map_or(Ok(1), str::parse)?;
        let mut settings = Settings { chunk_bytes: 32, ..Settings::default() };
        if args.take_key("mode") == Some("confirm") {
            settings.reads = ReadMode::Confirm;
        }
        if let Some(window) = args.take_key("window") {
            settings.inflight_chunks = window.parse()?;
        }
        if let Some(lag) = args.take_key("lag") {
            settings.replica_lag_max = ms(lag.parse()?);
        }
        self.world = World::new(count, min_isr, settings, 1);
        Ok(String::new())
    }

    fn at(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Fallible<String> {
        let id = pos(args)?;
        let world = &mut self.world;
        let life = world.life(id);
        let outcome = match name {
            "write" => {
                return Ok(if world.write(id) { String::new() } else { "not taken".into() });
            }
            "read" => {
                return Ok(match world.read(id) {
                    None => "not taken".into(),
                    Some(ReadWait::Now) => "answered at once".into(),
                    Some(ReadWait::Beat(beat)) => format!("waits for beat {beat}"),
                });
            }
            "fence" => world.command(&Command::Fence(life)),
            "unfence" => world.command(&Command::Unfence(life)),
            "elect" => {
                let right = match args.take_key("right") {
                    None | Some("in-sync") => Right::InSync,
                    Some("operator") => Right::Operator,
                    Some(other) => return Err(format!("no right {other}").into()),
                };
                world.elect(id, right)
            }
            _ => {
                match name {
                    "cut" => world.cut(id, pos(args)?, true),
                    "heal" => world.cut(id, pos(args)?, false),
                    "crash" => world.crash(id),
                    "lose" => _ = world.lose(id, pos(args)? as usize),
                    "stall" => world.stall(id, true),
                    "unstall" => world.stall(id, false),
                    "blind" => world.blind(id, true),
                    "see" => world.blind(id, false),
                    "horizon" => {
                        let horizon = pos(args)? as usize;
                        world.with(id, |replica, now| {
                            replica.horizon = horizon;
                            replica.on_tick(now)
                        });
                    }
                    "status" => return Ok(self.status(id)),
                    _ => return Err(format!("no command {name}").into()),
                }
                Ok(())
            }
        };
        Ok(outcome.err().map_or(String::new(), |why| format!("refused: {why}")))
    }

    fn logs(&self) -> String {
        let line = |replica: &super::replica::Replica| {
            let log: Vec<String> = replica.log.iter().map(show).collect();
            let role = match &replica.role {
                Role::None => "idle".into(),
                Role::Leader(epoch, machine) => {
                    let serves = if machine.serves() { "" } else { ", does not serve" };
                    format!("leads {epoch}{serves}")
                }
                Role::Follower(epoch, of, machine) => {
                    let way = if machine.is_following() { "follows" } else { "would follow" };
                    format!("{way} {of} in {epoch}")
                }
            };
            let (durable, watermark) = (replica.durable, replica.watermark);
            let log = log.join(" ");
            format!("{} [{log}] durable {durable}, committed {watermark}: {role}", replica.life)
        };
        self.world.replicas.values().map(line).collect::<Vec<_>>().join("\n")
    }

    fn status(&self, id: u32) -> String {
        let Role::Leader(_, machine) = &self.world.replica(id).role else {
            return "does not lead".into();
        };
        let line = |f: kvnode_core::replication::FollowerStatus| {
            let acked = f.acked.map_or("nothing".into(), |acked| acked.to_string());
            let sync = if f.in_sync { "in sync" } else { "not in sync" };
            let lag = f.lag.map_or(String::new(), |lag| format!(", lags {lag}"));
            format!("{} acknowledges {acked}{lag}, {sync}", f.node)
        };
        let mut lines: Vec<String> = machine.status().into_iter().map(line).collect();
        if let Err(too_few) = machine.writable() {
            lines.push(too_few.to_string());
        }
        lines.push(format!("tombstones kept from {}", machine.retain()));
        lines.join("\n")
    }
}

fn pos(args: &mut ArgumentConsumer<'_>) -> Fallible<u32> {
    let word = args.next_pos().ok_or("an argument is missing")?;
    Ok(word.trim_start_matches('n').parse()?)
}
