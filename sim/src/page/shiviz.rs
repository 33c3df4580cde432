//! The story of a run as a log that [ShiViz](https://bestchai.bitbucket.io/shiviz/) reads.
//!
//! ShiViz draws happens-before and searches for patterns of communication, which the page does not.
//! Its file begins with the regular expression that takes an event apart; the second line, empty
//! here, would separate several runs. Then each event takes two lines:
//!
//! ```text
//! n1 {"c1":4,"n1":12}
//! 3.204113 send Append{epoch 2, base 17}
//! ```
//!
//! Of a clock ShiViz demands that a host's own entry counts its events from 1 without a gap. An
//! event on both sides of a message is ordered by it; everything else only by its lane. The world
//! is a lane like any other: what the nemesis does is not seen to cause anything, since no message
//! carries it.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::story::{Event, Kind, Lane};

/// How ShiViz takes an event apart: the names of the groups are its own, but for `at` and `kind`,
/// which it shows beside the event and can search by.
const PARSER: &str = r"(?<host>\S*) (?<clock>{.*})\n(?<at>\S*) (?<kind>\S*) (?<event>.*)";

/// How many events of each lane come before an event, or are it.
type Clock = BTreeMap<Lane, u64>;

/// The events, each with its vector clock.
pub fn shiviz(events: &[Event]) -> String {
    let mut clocks: BTreeMap<Lane, Clock> = BTreeMap::new();
    // A copy may arrive at any later time, so no clock of a message can be dropped.
    let mut sent: BTreeMap<u64, Clock> = BTreeMap::new();
    let mut log = format!("{PARSER}\n\n");
    for event in events {
        let clock = clocks.entry(event.lane).or_default();
        *clock.entry(event.lane).or_default() += 1;
        if let Some((number, _)) = event.message {
            if event.kind == Kind::Send {
                sent.entry(number).or_insert_with(|| clock.clone());
            } else if event.kind == Kind::Receive
                && let Some(sender) = sent.get(&number)
            {
                for (lane, count) in sender {
                    let known = clock.entry(*lane).or_default();
                    *known = (*known).max(*count);
                }
            }
        }
        write_event(&mut log, event, clock);
    }
    log
}

fn write_event(log: &mut String, event: &Event, clock: &Clock) {
    let (seconds, micros) = (event.at_ns / 1_000_000_000, event.at_ns / 1000 % 1_000_000);
    // The expression takes the text up to the end of its line, and ShiViz trims the whole log.
    let text = event.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = if text.is_empty() { "-" } else { &text };
    let mut write = |args: std::fmt::Arguments<'_>| {
        log.write_fmt(args).expect("a string takes everything");
    };
    write(format_args!("{} {{", event.lane));
    for (place, (lane, count)) in clock.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        write(format_args!("{comma}\"{lane}\":{count}"));
    }
    write(format_args!("}}\n{seconds}.{micros:06} {} {text}\n", event.kind.name()));
}
