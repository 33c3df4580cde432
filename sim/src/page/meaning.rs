//! What the events mean, in a sentence for a reader who is new to the simulator.

use std::collections::BTreeMap;

use crate::story::{Event, Kind, Lane, Life};

/// What an event of this kind tells.
pub(super) fn of(kind: Kind) -> &'static str {
    match kind {
        Kind::Send => {
            "A message leaves its sender. Its arrow ends where the message arrives; it ends half \
             way, in a cross, if the message never arrives."
        }
        Kind::Receive => {
            "A message arrives, and its receiver handles it now. One that was duplicated on the \
             way arrives twice."
        }
        Kind::Link => {
            "The connection between two of them changes: it is made, refused, closed, reset or \
             given up. Messages travel on a connection, and end with it."
        }
        Kind::Disk => {
            "A node asks its disk for something. Nothing may depend on it before the disk answers."
        }
        Kind::DiskDone => {
            "The disk answers. Only now may the node vote, acknowledge or reply on the strength of \
             what it asked for."
        }
        Kind::Tick => {
            "A timer of the node is due. It had said when it wants to be called again, and why."
        }
        Kind::Life => {
            "The life of a node changes: it starts, serves, is held or ends. While it is down, its \
             lane is hatched."
        }
        Kind::Role => {
            "A node changes its role in a protocol: it leads, follows, stands for election, joins \
             or leaves the in-sync replicas."
        }
        Kind::Notice => {
            "The node tells its operator something, as it would in its log. It changes nothing."
        }
        Kind::Nemesis => {
            "The nemesis does something to a node, a link or a clock, or undoes it. It is the cause \
             of a fault, drawn from the seed."
        }
        Kind::Fault => {
            "A fault takes effect here, on one disk operation or one message. The node must live \
             with it, and must not know more about it than it is told."
        }
        Kind::Call => {
            "A client asks, is told, or gives up. The checkers judge by these alone whether the \
             store kept its promises."
        }
        Kind::Violation => {
            "A checker has found that a promise is broken. Its cause lies above: follow the \
             messages back from here."
        }
    }
}

/// What a node is, between two events of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Down,
    Opening,
    Up,
    Paused,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Opening => "opening",
            Self::Up => "up",
            Self::Paused => "paused",
        }
    }

    /// Where the state of a node changes: the event, the state from there on, what happened.
    pub(super) fn changes(events: &[Event]) -> Vec<(usize, &'static str, &'static str)> {
        let mut states: BTreeMap<Lane, (Self, Self)> = BTreeMap::new();
        let mut changes = Vec::new();
        for (at, event) in events.iter().enumerate() {
            let life = (event.kind == Kind::Life).then(|| Life::of(&event.text)).flatten();
            let Some(life) = life else { continue };
            // A node that was not seen to start has been up before the story begins.
            let (now, before_pause) = states.entry(event.lane).or_insert((Self::Up, Self::Up));
            let next = match life {
                Life::Starts => Self::Opening,
                Life::Serves => Self::Up,
                Life::Crashes | Life::IsKilled | Life::Stops => Self::Down,
                Life::IsPaused => Self::Paused,
                Life::GoesOn => *before_pause,
            };
            if life == Life::IsPaused && *now != Self::Paused {
                *before_pause = *now;
            }
            *now = next;
            changes.push((at, next.name(), of_life(life)));
        }
        changes
    }
}

fn of_life(life: Life) -> &'static str {
    match life {
        Life::Starts => "The node is started, and opens its directory. It does not serve yet.",
        Life::Serves => "The node has opened its directory, and answers from now on.",
        Life::Crashes => {
            "The node ends by itself: an invariant is broken, or it no longer trusts its disk."
        }
        Life::IsKilled => {
            "The node is ended from outside, in the middle of whatever it was doing. What was not \
             yet durable may be lost."
        }
        Life::Stops => "The node ends in good order: it has made durable what it holds.",
        Life::IsPaused => {
            "The node is held: nothing in it runs, the others hear nothing of it, and it will not \
             know how long it was away."
        }
        Life::GoesOn => "The node is let go. It acts on what it last knew, however old that is.",
    }
}
