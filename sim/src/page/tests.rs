//! What leaves this module as text, taken apart again. What a browser makes of the page is tested
//! in `tests/page` of the root package.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Title, html, shiviz};
use crate::story::{Event, Kind, Lane};

const N1: Lane = Lane::Node(1);
const N2: Lane = Lane::Node(2);
const N3: Lane = Lane::Node(3);
const C1: Lane = Lane::Client(1);

fn event(at_ns: u64, lane: Lane, kind: Kind, text: &str) -> Event {
    Event { at_ns, lane, kind, text: text.to_owned(), message: None }
}

fn send(lane: Lane, number: u64, to: Lane) -> Event {
    Event { message: Some((number, to)), ..event(number, lane, Kind::Send, "Append") }
}

fn receive(lane: Lane, number: u64, from: Lane) -> Event {
    Event { message: Some((number, from)), ..event(number, lane, Kind::Receive, "Append") }
}

/// The JSON between the marks that `page.html` puts around it.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once(r#"<script type="application/json" id="run">"#).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn the_page_carries_every_event() {
    let events = [
        event(5, Lane::World, Kind::Nemesis, "cuts n1 from n2"),
        send(N1, 7, N2),
        receive(N2, 7, N1),
    ];
    let title = Title {
        seed: u64::MAX,
        hash: 0xAB,
        settings: vec![("nodes".into(), "3".into())],
        ..Title::default()
    };
    let data = data(&html(&title, &events));
    assert_eq!(data["seed"], "18446744073709551615");
    assert_eq!(data["hash"], "00000000000000ab");
    assert_eq!(data["settings"][0][1], "3");
    let lanes: Vec<_> = data["lanes"].as_array().unwrap().iter().map(|l| &l["name"]).collect();
    assert_eq!(lanes, ["world", "n1", "n2"]);
    let send = Kind::ALL.iter().position(|kind| *kind == Kind::Send).unwrap();
    assert_eq!(data["events"][1], serde_json::json!([7, 1, send, "Append", 7, 2]));
    assert_eq!(data["events"].as_array().unwrap().len(), 3);
}

#[test]
fn no_text_of_a_run_is_read_as_html() {
    let nasty = "</script><script>alert(1)</script><!-- <script> {{script}} & \u{2028} \"";
    let title = Title {
        profile: nasty.into(),
        command: nasty.into(),
        violations: vec![nasty.into()],
        settings: vec![(nasty.into(), nasty.into())],
        ..Title::default()
    };
    let page = html(&title, &[event(0, N1, Kind::Notice, nasty)]);
    let plain = html(&Title::default(), &[]);
    for mark in ["<script", "</script", "<!--"] {
        assert_eq!(page.matches(mark).count(), plain.matches(mark).count(), "{mark}");
    }
    let data = data(&page);
    assert_eq!(data["events"][0][3], nasty);
    assert_eq!(data["violations"][0], nasty);
}

#[test]
fn the_page_asks_nobody_for_anything() {
    let page = html(&Title::default(), &[]);
    assert!(page.contains("default-src 'none'"), "a browser would let it ask");
    for address in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(address), "the page names an address: {address}");
    }
}

#[test]
fn a_node_is_down_from_its_end_to_its_next_serving() {
    let lives = [
        "starts",
        "serves after 3 ms",
        "is paused",
        "goes on",
        "is killed: power loss",
        "starts again",
        "is paused",
        "goes on",
        "serves",
        "stops",
        "reflects upon itself",
    ];
    let events: Vec<_> =
        lives.iter().zip(0..).map(|(text, at)| event(at, N1, Kind::Life, text)).collect();
    let data = data(&html(&Title::default(), &events));
    let states: Vec<_> = data["states"]
        .as_array()
        .unwrap()
        .iter()
        .map(|state| (state[0].as_u64().unwrap(), state[1].as_str().unwrap()))
        .collect();
    let expected =
        ["opening", "up", "paused", "up", "down", "opening", "paused", "opening", "up", "down"];
    assert_eq!(states, (0..).zip(expected).collect::<Vec<_>>());
}

/// A story with a loss, a copy, an answer from before the story, and a chain of messages.
fn story() -> Vec<Event> {
    vec![
        event(0, Lane::World, Kind::Nemesis, "doubles  what n1\nsays"),
        event(1, N1, Kind::Life, "serves"),
        send(C1, 1, N1),
        receive(N1, 1, C1),
        send(N1, 2, N2),
        send(N1, 3, N3),
        receive(N2, 2, N1),
        event(9, N3, Kind::Tick, ""),
        receive(N3, 99, N2),
        send(N2, 4, N1),
        receive(N2, 2, N1),
        receive(N1, 4, N2),
        send(N2, 5, N3),
        send(N1, 6, C1),
        receive(N3, 5, N2),
        receive(C1, 6, N1),
        event(20, C1, Kind::Call, "SET {g0}1 <1:24:abc> => OK {n1: 5} n1 {\"n1\":1}"),
        event(21, Lane::World, Kind::Violation, "{}"),
    ]
}

/// What ShiViz would read: the host, the clock and the text of each event, taken apart as its
/// regular expression says. `.` stops at the end of a line, `*` takes all it can.
fn parse(log: &str) -> Vec<(String, BTreeMap<String, u64>, String)> {
    let mut lines = log.lines();
    assert_eq!(
        lines.next(),
        Some(r"(?<host>\S*) (?<clock>{.*})\n(?<at>\S*) (?<kind>\S*) (?<event>.*)")
    );
    assert_eq!(lines.next(), Some(""), "one run, so nothing separates several");
    let mut events = Vec::new();
    while let Some(first) = lines.next() {
        let (host, clock) = first.split_once(' ').expect("a host and a clock");
        assert!(clock.starts_with('{') && clock.ends_with('}'), "{clock}");
        let mut second = lines.next().expect("two lines an event").splitn(3, ' ');
        let (_at, _kind) = (second.next().unwrap(), second.next().unwrap());
        let text = second.next().expect("a text").to_owned();
        assert_eq!(text.trim(), text, "ShiViz trims");
        events.push((host.to_owned(), serde_json::from_str(clock).unwrap(), text));
    }
    events
}

#[test]
fn shiviz_finds_every_event_with_a_clock_that_counts() {
    let story = story();
    let parsed = parse(&shiviz(&story));
    assert_eq!(parsed.len(), story.len());
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for ((host, clock, text), event) in parsed.iter().zip(&story) {
        assert_eq!(*host, event.lane.to_string());
        let words = event.text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(*text, if words.is_empty() { "-" } else { words.as_str() });
        let count = counts.entry(host).or_default();
        *count += 1;
        assert_eq!(clock[host], *count, "the own entry counts the events of {host}");
    }
    for (_, clock, _) in &parsed {
        for (host, count) in clock {
            assert!(counts.get(host.as_str()).is_some_and(|all| count <= all), "{host} {count}");
        }
    }
}

#[test]
fn shiviz_clocks_are_ordered_as_the_events_are() {
    let story = story();
    let clocks: Vec<_> = parse(&shiviz(&story)).into_iter().map(|(_, clock, _)| clock).collect();
    // Happens-before by its definition: the same lane, a message, or through another event.
    let mut before = vec![vec![false; story.len()]; story.len()];
    for (later, event) in story.iter().enumerate() {
        for earlier in (0..later).rev() {
            let other = &story[earlier];
            let message = event.kind == Kind::Receive
                && other.kind == Kind::Send
                && event.message.map(|(number, _)| number) == other.message.map(|(n, _)| n);
            if other.lane == event.lane || message {
                for (first, row) in before.iter_mut().enumerate() {
                    row[later] |= first == earlier || row[earlier];
                }
            }
        }
    }
    let leq = |a: usize, b: usize| {
        clocks[a].iter().all(|(lane, count)| clocks[b].get(lane).is_some_and(|c| count <= c))
    };
    let mut ordered = 0;
    for a in 0..story.len() {
        for b in 0..story.len() {
            assert_eq!(a != b && leq(a, b), before[a][b], "{:?} and {:?}", story[a], story[b]);
            ordered += usize::from(before[a][b]);
        }
    }
    assert!(ordered > 50, "the story orders too little to show anything: {ordered}");
}
