//! The demo at a terminal: a loop that draws and takes keys.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::children::Process;
use super::paint;
use super::picture::Picture;
use super::stage::{Action, Entry, Stage};

/// Between two pictures, if no key is pressed.
const PERIOD: Duration = Duration::from_millis(150);

/// Between two looks at the cluster.
const LOOK: Duration = Duration::from_millis(30);

/// Entries of news that are kept.
const NEWS_MAX: usize = 200;

/// What `l` and `L` go through, in commands a second.
const RATES: [u32; 9] = [0, 50, 100, 200, 400, 800, 1_600, 3_200, 6_400];

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Press {
    Choose(u32),
    Do(Action),
    Leave,
    Nothing,
}

/// Shows the stage until a key or a signal ends it.
pub(super) fn show(stage: &mut Stage, data: &Path, leave: &AtomicBool) -> io::Result<()> {
    let mut screen = Screen(ratatui::try_init()?);
    let mut news = VecDeque::new();
    let mut chosen = 1;
    let mut drawn: Option<Instant> = None;
    while !leave.load(Ordering::Relaxed) {
        stage.tick();
        keep(&mut news, stage.take_news());
        if drawn.is_none_or(|drawn| drawn.elapsed() >= PERIOD) {
            drawn = Some(Instant::now());
            let picture = Picture::take(stage);
            screen.0.draw(|frame| paint::paint(frame, &picture, &news, chosen, data))?;
        }
        if !event::poll(LOOK)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                match meaning(key, chosen, stage) {
                    Press::Choose(node) => chosen = node,
                    Press::Do(action) => stage.act(action),
                    Press::Leave => break,
                    Press::Nothing => {}
                }
                drawn = None;
            }
            Event::Resize(..) => drawn = None,
            Event::Key(_)
            | Event::Mouse(_)
            | Event::Paste(_)
            | Event::FocusGained
            | Event::FocusLost => {}
        }
    }
    Ok(())
}

/// The terminal, which is given back as it was.
struct Screen(DefaultTerminal);

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn keep(news: &mut VecDeque<Entry>, more: Vec<Entry>) {
    news.extend(more);
    while news.len() > NEWS_MAX {
        news.pop_front();
    }
}

fn meaning(key: KeyEvent, chosen: u32, stage: &Stage) -> Press {
    let paused = stage.children().state(chosen) == Process::Paused;
    let nodes = *stage.children().ids().end();
    press(key, chosen, paused, nodes, stage.meter().rate)
}

fn press(key: KeyEvent, chosen: u32, paused: bool, nodes: u32, rate: u32) -> Press {
    let KeyCode::Char(letter) = key.code else {
        return if key.code == KeyCode::Esc { Press::Leave } else { Press::Nothing };
    };
    match letter {
        'c' if key.modifiers.contains(KeyModifiers::CONTROL) => Press::Leave,
        'q' => Press::Leave,
        'k' => Press::Do(Action::Kill(chosen)),
        'p' if paused => Press::Do(Action::Continue(chosen)),
        'p' => Press::Do(Action::Pause(chosen)),
        'r' => Press::Do(Action::Revive(chosen)),
        't' => Press::Do(Action::Stop(chosen)),
        'l' | '+' => {
            let more = RATES.into_iter().find(|&more| more > rate).unwrap_or(rate);
            Press::Do(Action::Load(more))
        }
        'L' | '-' => {
            let less = RATES.into_iter().rev().find(|&less| less < rate).unwrap_or(0);
            Press::Do(Action::Load(less))
        }
        _ => match letter.to_digit(10) {
            Some(node) if (1..=nodes).contains(&node) => Press::Choose(node),
            Some(_) | None => Press::Nothing,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_what_the_last_line_says() {
        let key = |letter| KeyEvent::from(KeyCode::Char(letter));
        let meant = |letter, paused| press(key(letter), 2, paused, 3, 400);
        assert_eq!(meant('3', false), Press::Choose(3));
        assert_eq!(meant('4', false), Press::Nothing);
        assert_eq!(meant('k', false), Press::Do(Action::Kill(2)));
        assert_eq!(meant('p', false), Press::Do(Action::Pause(2)));
        assert_eq!(meant('p', true), Press::Do(Action::Continue(2)));
        assert_eq!(meant('r', false), Press::Do(Action::Revive(2)));
        assert_eq!(meant('t', false), Press::Do(Action::Stop(2)));
        assert_eq!(meant('l', false), Press::Do(Action::Load(800)));
        assert_eq!(meant('L', false), Press::Do(Action::Load(200)));
        assert_eq!(meant('q', false), Press::Leave);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(press(interrupt, 1, false, 3, 0), Press::Leave);
        assert_eq!(press(key('L'), 1, false, 3, 0), Press::Do(Action::Load(0)));
    }
}
