//! The story of a run as one page for a browser: a lane a node and a client, time downward.
//!
//! [`html`] writes a file that needs nothing else: the style, the script and the events are inside,
//! and its content security policy forbids every request. The events travel as JSON; the script
//! puts every text into the page as text, so nothing that a run contains is ever read as HTML.
//!
//! Rust decides what an event means ([`meaning`], [`State`]) and the script how it looks:
//!
//! | file | what it holds |
//! |---|---|
//! | `page.html` | the frame, with a place for style, data and script |
//! | `page.css` | the looks; the colours are variables, one set for light and one for dark |
//! | `symbols.js` | the shape of each kind of event: no kind is told by its colour alone |
//! | `model.js` | the events, what is joined to what, who was down when; the filter |
//! | `view.js` | where an event is, and the drawing of what is visible |
//! | `page.js` | the controls, the panel, the keys, the address |
//!
//! Invariants:
//! - What is drawn is what is visible, so the work of a frame does not grow with the run.
//! - The page of a run is a function of its events: no clock, no random number.
//!
//! The address of a page can name a view of it, for links and for tests. In
//! `#event=17&hide=disk,n2&mode=time&find=p3&only=1&do=press:v,click:3`, `event` selects, `hide`
//! names kinds and lanes, `mode` is `order` or `time`, `only` hides what `find` does not find, and
//! `do` presses keys and clicks events as a hand would. After each drawing the `body` says in its
//! `data-` attributes what has been drawn.
//!
//! It is not a checker: it shows what the trace says, right or wrong.

mod meaning;
mod shiviz;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use self::meaning::State;
use crate::story::{Event, Kind, Lane};

pub use self::shiviz::shiviz;

const FRAME: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPTS: [&str; 4] = [
    include_str!("symbols.js"),
    include_str!("model.js"),
    include_str!("view.js"),
    include_str!("page.js"),
];

/// What stands above the story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Title {
    /// Which run it is.
    pub seed: u64,
    /// Which kind of run the seed was drawn for.
    pub profile: String,
    /// The command line that runs it again.
    pub command: String,
    /// The [hash](crate::story::Trace::hash) of its trace.
    pub hash: u64,
    /// What the checkers say, one line each; empty if nothing is wrong. The n-th belongs to the
    /// n-th [`Kind::Violation`] of the story, and leads there.
    pub violations: Vec<String>,
    /// What the seed drew, as names and values.
    pub settings: Vec<(String, String)>,
}

/// The whole page.
pub fn html(title: &Title, events: &[Event]) -> String {
    let data = serde_json::to_string(&Data::new(title, events))
        .expect("numbers, texts and lists of them are JSON")
        // JSON has `<` in texts only, where this is another way to write it. None is left that
        // could end the element or open a comment in it.
        .replace('<', "\\u003c");
    let mut page = String::with_capacity(data.len() + (1 << 16));
    let mut rest = FRAME;
    for (place, content) in
        [("{{style}}", STYLE), ("{{data}}", &data), ("{{script}}", &SCRIPTS.join("\n"))]
    {
        let (before, after) = rest.split_once(place).expect("the frame has a place for it");
        page.push_str(before);
        page.push_str(content);
        rest = after;
    }
    page.push_str(rest);
    page
}

/// What the script reads. `model.js` names its fields.
#[derive(Serialize)]
struct Data<'a> {
    /// In decimal, since a number of JavaScript does not hold it.
    seed: String,
    profile: &'a str,
    command: &'a str,
    /// In hexadecimal.
    hash: String,
    violations: &'a [String],
    settings: &'a [(String, String)],
    lanes: Vec<LaneRow>,
    kinds: Vec<KindRow>,
    /// Where a node's state changes: which event, what it is from there on, what that means.
    states: Vec<(usize, &'static str, &'static str)>,
    events: Vec<EventRow<'a>>,
}

#[derive(Serialize)]
struct LaneRow {
    name: String,
    sort: &'static str,
}

#[derive(Serialize)]
struct KindRow {
    name: &'static str,
    meaning: &'static str,
}

/// Time, lane, kind and text; for a message also its number and the lane at its other end. Lanes
/// and kinds by their place in the lists above.
#[derive(Serialize)]
#[serde(untagged)]
enum EventRow<'a> {
    Local(u64, usize, usize, &'a str),
    Message(u64, usize, usize, &'a str, u64, usize),
}

impl<'a> Data<'a> {
    fn new(title: &'a Title, events: &'a [Event]) -> Self {
        let lanes: BTreeSet<Lane> = events
            .iter()
            .flat_map(|event| [Some(event.lane), event.message.map(|(_, other)| other)])
            .flatten()
            .collect();
        let places: BTreeMap<Lane, usize> = lanes.iter().copied().zip(0..).collect();
        let kinds: BTreeMap<Kind, usize> = Kind::ALL.into_iter().zip(0..).collect();
        let row = |event: &'a Event| {
            let (at, lane, kind) = (event.at_ns, places[&event.lane], kinds[&event.kind]);
            match event.message {
                None => EventRow::Local(at, lane, kind, &event.text),
                Some((number, other)) => {
                    EventRow::Message(at, lane, kind, &event.text, number, places[&other])
                }
            }
        };
        Self {
            seed: title.seed.to_string(),
            profile: &title.profile,
            command: &title.command,
            hash: format!("{:016x}", title.hash),
            violations: &title.violations,
            settings: &title.settings,
            lanes: lanes.into_iter().map(LaneRow::of).collect(),
            kinds: Kind::ALL.map(KindRow::of).into(),
            states: State::changes(events),
            events: events.iter().map(row).collect(),
        }
    }
}

impl LaneRow {
    fn of(lane: Lane) -> Self {
        let sort = match lane {
            Lane::World => "world",
            Lane::Node(_) => "node",
            Lane::Client(_) => "client",
        };
        Self { name: lane.to_string(), sort }
    }
}

impl KindRow {
    fn of(kind: Kind) -> Self {
        Self { name: kind.name(), meaning: meaning::of(kind) }
    }
}
