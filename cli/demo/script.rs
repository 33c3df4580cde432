//! `--script`: what the keys do, written down: `wait 3; kill leader; wait whole; revive; quit`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::load::RATE_MAX;
use super::stage::{Action, Stage};

/// How long a script waits for something to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most steps.
const STEPS_MAX: usize = 10_000;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Wait(Duration),
    /// Until every node that runs is active and every partition is led, with all the replicas in
    /// sync whose nodes run.
    WaitWhole,
    /// Until so many more writes are acknowledged.
    WaitWrites(u64),
    Do(Verb, Target),
    Load(u32),
    Quit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Kill,
    Pause,
    Continue,
    Revive,
    Stop,
}

/// Which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Node(u32),
    /// Who leads most partitions.
    Leader,
    Controller,
    /// Who leads fewest.
    Follower,
    /// The one of the step before.
    Last,
}

/// A script being played.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Script {
    steps: VecDeque<Step>,
    /// When the first of them began, and the writes acknowledged by then.
    begun: Option<(Instant, u64)>,
    last: Option<u32>,
}

/// Whether a script is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Not yet.
    GoesOn,
    /// All of it was done.
    Over,
    /// It cannot go on.
    GaveUp(String),
}

impl Script {
    /// Reads a script for a cluster of so many nodes.
    pub(super) fn parse(text: &str, nodes: u32) -> Result<Self, String> {
        let steps = text.split([';', '\n']).map(str::trim).filter(|step| !step.is_empty());
        let steps: VecDeque<_> = steps.map(|text| step(text, nodes)).collect::<Result<_, _>>()?;
        if steps.len() > STEPS_MAX {
            return Err(format!("a script has at most {STEPS_MAX} steps"));
        }
        let first = steps.iter().find_map(|step| match step {
            Step::Do(_, target) => Some(*target),
            Step::Wait(_) | Step::WaitWhole | Step::WaitWrites(_) | Step::Load(_) | Step::Quit => {
                None
            }
        });
        if first == Some(Target::Last) {
            return Err("--script: the first node must be named, as in `kill leader`".to_owned());
        }
        Ok(Self { steps, begun: None, last: None })
    }

    /// Does what is due.
    pub(super) fn play(&mut self, stage: &mut Stage) -> Turn {
        while let Some(&step) = self.steps.front() {
            let writes = stage.counts().writes;
            let (begun, writes_then) = *self.begun.get_or_insert((Instant::now(), writes));
            let (done, waiting_for) = match step {
                Step::Wait(time) => (begun.elapsed() >= time, None),
                Step::WaitWhole => (stage.is_whole(), Some("the cluster to be whole")),
                Step::WaitWrites(n) => (writes >= writes_then + n, Some("acknowledged writes")),
                Step::Load(rate) => {
                    stage.act(Action::Load(rate));
                    (true, None)
                }
                Step::Do(verb, target) => match self.target(target, stage) {
                    Some(node) => {
                        self.last = Some(node);
                        stage.act(verb.of(node));
                        (true, None)
                    }
                    None => (false, Some("a node to do it to")),
                },
                Step::Quit => return Turn::Over,
            };
            if !done {
                return match waiting_for {
                    Some(what) if begun.elapsed() > PATIENCE => Turn::GaveUp(what.to_owned()),
                    _ => Turn::GoesOn,
                };
            }
            self.steps.pop_front();
            self.begun = None;
        }
        Turn::Over
    }

    fn target(&self, target: Target, stage: &Stage) -> Option<u32> {
        match target {
            Target::Node(node) => Some(node),
            Target::Last => self.last,
            Target::Controller => stage.view()?.controller,
            Target::Leader => {
                let view = stage.view()?;
                // The first of those that lead most.
                stage.running().rev().max_by_key(|&node| view.led_by(node))
            }
            Target::Follower => {
                let view = stage.view()?;
                stage.running().min_by_key(|&node| view.led_by(node))
            }
        }
    }
}

impl Verb {
    fn of(self, node: u32) -> Action {
        match self {
            Self::Kill => Action::Kill(node),
            Self::Pause => Action::Pause(node),
            Self::Continue => Action::Continue(node),
            Self::Revive => Action::Revive(node),
            Self::Stop => Action::Stop(node),
        }
    }
}

fn step(text: &str, nodes: u32) -> Result<Step, String> {
    let wrong = |why: &str| format!("{text:?} in --script: {why}");
    let words: Vec<&str> = text.split_whitespace().collect();
    let verb = match words[..] {
        ["quit"] => return Ok(Step::Quit),
        ["wait", "whole"] => return Ok(Step::WaitWhole),
        ["wait", "writes", count] => {
            let count = count.parse().map_err(|_| wrong("wait writes COUNT"))?;
            return Ok(Step::WaitWrites(count));
        }
        ["wait", seconds] => {
            let seconds = seconds.parse().ok().filter(|s| (0.0..=86_400.0).contains(s));
            let seconds =
                seconds.ok_or_else(|| wrong("wait SECONDS, wait whole, wait writes N"))?;
            return Ok(Step::Wait(Duration::from_secs_f64(seconds)));
        }
        ["load", rate] => {
            let rate = rate.parse().ok().filter(|&rate| rate <= RATE_MAX);
            return rate.map(Step::Load).ok_or_else(|| wrong("load COMMANDS-A-SECOND"));
        }
        ["kill", ..] => Verb::Kill,
        ["pause", ..] => Verb::Pause,
        ["continue", ..] => Verb::Continue,
        ["revive", ..] => Verb::Revive,
        ["stop", ..] => Verb::Stop,
        _ => {
            return Err(wrong(
                "there are wait, kill, pause, continue, revive, stop, load and quit",
            ));
        }
    };
    let target = match words[1..] {
        [] => Target::Last,
        ["leader"] => Target::Leader,
        ["controller"] => Target::Controller,
        ["follower"] => Target::Follower,
        [node] => {
            let node = node.trim_start_matches('n').parse().ok();
            let node = node.filter(|node| (1..=nodes).contains(node));
            Target::Node(node.ok_or_else(|| {
                wrong(&format!("name a node, 1 to {nodes}, or leader, controller, follower"))
            })?)
        }
        _ => return Err(wrong("one node at a time")),
    };
    Ok(Step::Do(verb, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_step_by_step() {
        let text = "wait 0.5; kill leader;wait whole\nwait writes 10; revive; stop n2; load 0;quit";
        let script = Script::parse(text, 3).unwrap();
        let steps = [
            Step::Wait(Duration::from_millis(500)),
            Step::Do(Verb::Kill, Target::Leader),
            Step::WaitWhole,
            Step::WaitWrites(10),
            Step::Do(Verb::Revive, Target::Last),
            Step::Do(Verb::Stop, Target::Node(2)),
            Step::Load(0),
            Step::Quit,
        ];
        assert_eq!(script.steps, steps);
    }

    #[test]
    fn a_wrong_step_is_told_what_is_wrong() {
        for (text, what) in [
            ("wait", "there are wait"),
            ("wait -1", "wait SECONDS"),
            ("kill 4", "1 to 3"),
            ("kill 1 2", "one node at a time"),
            ("explode", "there are wait"),
            ("load 1000000", "load COMMANDS"),
        ] {
            let why = Script::parse(text, 3).unwrap_err();
            assert!(why.contains(what) && why.contains(text), "{why}");
        }
        assert!(Script::parse("wait 1; kill", 3).unwrap_err().contains("must be named"));
    }
}
