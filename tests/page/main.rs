//! The page of a run, as a browser shows it.
//!
//! Chromium opens pages of made-up stories at addresses that press keys and click events
//! (`kvnode_sim::page` describes them), and the tests read what its script made of the page. The
//! drawing itself is a canvas, which they cannot read: they hold it to the number of marks and
//! arrows that it says it drew. The pages stay in the target directory, to be looked at.
#![cfg(feature = "sim")]

mod browser;
#[path = "../common/mod.rs"]
mod common;
mod story;

use browser::Browser;
use kvnode_sim::page::{Title, html};
use kvnode_sim::story::{Event, Kind, Lane, Life};
use story::rich;

const N1: Lane = Lane::Node(1);
const N2: Lane = Lane::Node(2);
const C1: Lane = Lane::Client(1);

fn title(events: &[Event]) -> Title {
    let violations = events.iter().filter(|event| event.kind == Kind::Violation);
    Title {
        seed: 4_226_371,
        profile: "swarm".into(),
        command: "kvnode replay 4226371 --html".into(),
        hash: 0x1F2E_3D4C_5B6A_7988,
        violations: violations.map(|event| event.text.clone()).collect(),
        settings: [
            ("nodes", "3"),
            ("clients", "4"),
            ("fsync", "always"),
            ("read-mode", "lease"),
            ("partitions", "1"),
            ("network", "loss 2 %, copies 3 %, delay up to 0.8 ms"),
            ("disk", "slow, bit rot, power loss"),
            ("clock", "jumps up to 2 s"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
    }
}

fn event(at_ns: u64, lane: Lane, kind: Kind, text: &str) -> Event {
    Event { at_ns, lane, kind, text: text.to_owned(), message: None }
}

fn message(at_ns: u64, kind: Kind, number: u64, lane: Lane, other: Lane) -> Event {
    let text = format!("Append {{ base: {number} }}");
    Event { at_ns, lane, kind, text, message: Some((number, other)) }
}

/// Two arrows of plain messages, one that is lost, one that arrives twice.
fn small() -> Vec<Event> {
    vec![
        event(0, N1, Kind::Life, Life::Starts.words()),
        event(1_000, N1, Kind::Life, Life::Serves.words()),
        message(2_000_000, Kind::Send, 1, C1, N1),
        message(3_000_000, Kind::Receive, 1, N1, C1),
        event(3_100_000, N1, Kind::Disk, "p0/log write 96 B at 512"),
        event(3_200_000, N1, Kind::Fault, "p0/log: EIO"),
        message(4_000_000, Kind::Send, 2, N1, N2),
        event(4_500_000, Lane::World, Kind::Nemesis, "cuts n1 from n2"),
        message(5_000_000, Kind::Send, 3, N1, N2),
        message(6_000_000, Kind::Receive, 3, N2, N1),
        message(7_000_000, Kind::Receive, 3, N2, N1),
        event(8_000_000, N1, Kind::Life, "is killed <b id='evil'>& worse</b>"),
        message(9_000_000, Kind::Send, 4, N2, C1),
        message(9_500_000, Kind::Receive, 4, C1, N2),
        event(10_000_000, Lane::World, Kind::Violation, "watermark sound: it went back"),
        event(11_000_000, Lane::World, Kind::Nemesis, "heals every link"),
    ]
}

#[test]
fn every_event_is_a_mark_and_every_delivery_an_arrow() {
    let Some(browser) = Browser::find() else { return };
    let events = small();
    let page = html(&title(&events), &events);
    for mode in ["order", "time"] {
        let dom = browser.open("small", &page, &format!("mode={mode}"));
        assert_eq!(dom.get("mode"), Some(mode));
        assert_eq!(dom.number("shown"), events.len());
        assert_eq!(dom.number("marks"), events.len(), "by {mode}");
        let drawn = ["arrows", "lost", "copies"].map(|what| dom.number(what));
        assert_eq!(drawn, [4, 1, 1], "by {mode}");
        let lanes = dom.element("story-area");
        for lane in ["world", "n1", "n2", "c1"] {
            assert!(lanes.contains(&format!("data-lane=\"{lane}\"")), "no lane {lane}");
        }
    }
}

#[test]
fn the_run_is_told_above_and_beside_the_story() {
    let Some(browser) = Browser::find() else { return };
    let events = small();
    let dom = browser.open("above", &html(&title(&events), &events), "");
    let above = dom.text("title");
    for part in ["4226371", "swarm", "kvnode replay 4226371 --html", "1f2e3d4c5b6a7988"] {
        assert!(above.contains(part), "{part} is not in {above}");
    }
    assert_eq!(dom.text("verdict"), "✗ 1 violation");
    let panel = dom.text("panel");
    for part in ["watermark sound: it went back", "read-mode lease", "never arrived 1"] {
        assert!(panel.contains(part), "{part} is not in {panel}");
    }
    let calm = &events[..4];
    let dom = browser.open("calm", &html(&title(calm), calm), "");
    assert_eq!(dom.text("verdict"), "✓ no violation");
}

#[test]
fn a_filter_hides_a_lane_and_a_kind_and_the_arrows_that_end_there() {
    let Some(browser) = Browser::find() else { return };
    let events = small();
    let page = html(&title(&events), &events);
    for place in ["hide=n2", "do=box:n2"] {
        let dom = browser.open("filter", &page, place);
        assert!(!dom.element("story-area").contains("data-lane=\"n2\""), "{place}");
        assert_eq!(dom.number("marks"), events.len() - 3, "{place}");
        assert_eq!([dom.number("arrows"), dom.number("lost")], [1, 0], "{place}");
    }
    let dom = browser.open("filter", &page, "do=box:life,box:receive");
    assert_eq!(dom.number("marks"), events.len() - 3 - 4);
    assert_eq!([dom.number("arrows"), dom.number("lost")], [0, 1]);
    let dom = browser.open("filter", &page, "find=APPEND&only=1");
    assert_eq!([dom.number("found"), dom.number("marks")], [8, 8]);
    let dom = browser.open("filter", &page, "find=n1 disk");
    assert_eq!([dom.number("found"), dom.number("marks")], [1, events.len()]);
    let nothing = "find=nowhere&only=1";
    assert_eq!(browser.open("filter", &page, nothing).number("marks"), 0);
}

#[test]
fn a_click_tells_what_the_event_is_and_where_its_message_ends() {
    let Some(browser) = Browser::find() else { return };
    let events = small();
    let page = html(&title(&events), &events);
    for mode in ["order", "time"] {
        let dom = browser.open("click", &page, &format!("mode={mode}&do=click:9"));
        assert_eq!(dom.get("picked"), Some("8"), "by {mode}");
        let panel = dom.text("panel");
        for part in [
            "send n1",
            "Append { base: 3 }",
            "A message leaves its sender.",
            "time 0.005000 s",
            "Message 3: n1 → n2",
            "arrives after 1 ms",
            "arrives again after 2 ms",
        ] {
            assert!(panel.contains(part), "by {mode}: {part} is not in {panel}");
        }
    }
    let lost = browser.open("click", &page, "do=click:7").text("panel");
    assert!(lost.contains("Message 2: n1 → n2") && lost.contains("never arrives"), "{lost}");
    let dom = browser.open("click", &page, "do=click:3,press:o");
    assert_eq!(dom.get("picked"), Some("3"), "the other end");
    let dom = browser.open("click", &page, "do=click:12");
    assert!(dom.text("panel").contains("is killed <b id='evil'>& worse</b>"), "text stays text");
    assert!(!dom.element("panel").contains("<b id"), "text became HTML");
    assert!(dom.text("panel").contains("n1 is down"), "{}", dom.text("panel"));
}

#[test]
fn keys_step_through_the_story() {
    let Some(browser) = Browser::find() else { return };
    let events = small();
    let page = html(&title(&events), &events);
    for (keys, picked) in [
        ("press:j", "0"),
        ("press:j,press:j,press:ArrowDown,press:k", "1"),
        ("press:v", "14"),
        ("press:n", "7"),
        ("press:n,press:n", "15"),
        ("press:n,press:n,press:n", "7"),
        ("press:f", "5"),
        ("press:G", "15"),
        ("press:v,press:Escape", "-1"),
        ("press:n,press:l", "14"),
    ] {
        let dom = browser.open("keys", &page, &format!("do={keys}"));
        assert_eq!(dom.get("picked"), Some(picked), "{keys}");
    }
    let dom = browser.open("keys", &page, "hide=violation,world&do=press:v");
    assert_eq!(dom.get("picked"), Some("14"), "a jump shows what was hidden");
    assert_eq!(dom.number("marks"), events.len());
}

#[test]
fn fifty_thousand_events_are_drawn_a_screen_at_a_time() {
    let Some(browser) = Browser::find() else { return };
    let events = rich(50_000);
    let page = html(&title(&events), &events);
    let dom = browser.open("rich-50000", &page, "");
    assert_eq!(dom.number("shown"), events.len());
    assert!((40..100).contains(&dom.number("marks")), "{}", dom.number("marks"));
    let last = events.iter().rposition(|event| event.kind == Kind::Violation).expect("it has one");
    let dom = browser.open("rich-50000", &page, "do=press:V");
    assert_eq!(dom.number("picked"), last);
    assert!(dom.number("top") > 500_000, "the view follows");
    assert!((40..100).contains(&dom.number("marks")), "{}", dom.number("marks"));
}

#[test]
fn a_story_of_nothing_and_one_of_everything_are_drawn() {
    let Some(browser) = Browser::find() else { return };
    let dom = browser.open("empty", &html(&Title::default(), &[]), "do=press:j,press:v,press:t");
    assert_eq!(dom.number("marks"), 0);
    let events = rich(320);
    for kind in Kind::ALL {
        assert!(events.iter().any(|event| event.kind == kind), "the story has no {}", kind.name());
    }
    let dom = browser.open("rich-320", &html(&title(&events), &events), "mode=time");
    assert_eq!(dom.number("shown"), events.len());
}
