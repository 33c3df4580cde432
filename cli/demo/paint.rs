//! How one moment looks: 80 columns and 24 lines are enough, more of both show more.

use std::collections::VecDeque;
use std::path::Path;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Sparkline};

use super::lines::Seconds;
use super::news::Event;
use super::picture::{LoadRow, NodeRow, PartitionRow, Picture, State};
use super::stage::Entry;

/// Columns of one partition: `p12 n1 e4  12· +57`.
const CELL_COLUMNS: u16 = 20;

/// Lines of news that are always there.
const NEWS_LINES_MIN: u16 = 4;

/// Lines of the load with its history.
const LOAD_LINES: u16 = 5;

/// Draws a moment, with what happened last; keys are for the chosen node.
pub(super) fn paint(
    frame: &mut Frame<'_>,
    picture: &Picture,
    news: &VecDeque<Entry>,
    chosen: u32,
    data: &Path,
) {
    let area = frame.area();
    let nodes_lines = picture.nodes.len() as u16 + 2;
    let others = 3 + nodes_lines + LOAD_LINES + NEWS_LINES_MIN + 1 + 1;
    let columns = usize::from(area.width / CELL_COLUMNS).max(1);
    let needed = picture.partitions.len().div_ceil(columns).max(1) as u16;
    let grid_lines = needed.min(area.height.saturating_sub(others).max(1));
    let [head, nodes, partitions, load, last, keys] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(nodes_lines),
        Constraint::Length(grid_lines + 1),
        Constraint::Length(LOAD_LINES),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    let heading = heading(picture, chosen, data, usize::from(head.width));
    frame.render_widget(Paragraph::new(heading), head);
    let rows = std::iter::once(nodes_title()).chain(
        picture.nodes.iter().map(|node| node_line(node, picture.controller, node.id == chosen)),
    );
    section(frame, nodes, "nodes", rows.collect());
    let rows = grid(picture, columns, usize::from(grid_lines));
    section(frame, partitions, "partitions: leader, epoch, in sync, +behind", rows);
    paint_load(frame, load, &picture.load);
    let shown = news.len().saturating_sub(usize::from(last.height.saturating_sub(1)));
    section(frame, last, "what happened", news.iter().skip(shown).map(news_line).collect());
    frame.render_widget(Paragraph::new(keys_line(picture.nodes.len())), keys);
}

/// Lines under a titled rule.
fn section(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'_>>) {
    let block = titled(title);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn titled(title: &str) -> Block<'static> {
    Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().dark_gray())
        .title(Span::styled(format!(" {title} "), Style::new().bold()))
}

fn heading(picture: &Picture, chosen: u32, data: &Path, width: usize) -> Vec<Line<'static>> {
    let controller = match picture.controller {
        Some(node) => Span::from(format!("controller n{node}, term {}", picture.term)).green(),
        None => Span::from("no controller").red().bold(),
    };
    let port = picture.nodes.iter().find(|node| node.id == chosen).map_or(0, |node| node.port);
    let mut summary = format!(" {}", picture.summary);
    if summary.chars().count() > width {
        summary = without_parentheses(&summary);
    }
    let healthy = summary.contains(" survives ") && !summary.contains(" survives no ");
    let talk = format!(" talk to n{chosen}: redis-cli -p {port}   or: kvnode status -p {port}");
    let mut first = vec![
        Span::from(" kvnode demo").bold(),
        Span::from(format!("{}  ", Seconds(picture.at_ms))),
        controller,
    ];
    let used: usize = first.iter().map(Span::width).sum();
    let data = data.display().to_string();
    let gap = width.saturating_sub(used + data.chars().count() + 1);
    if gap > 0 {
        first.push(Span::from(format!("{:gap$}{data}", "")).dark_gray());
    }
    vec![
        Line::from(first),
        Line::from(if healthy { Span::from(summary) } else { Span::from(summary).yellow() }),
        Line::from(Span::from(talk).cyan()),
    ]
}

/// The text without its remarks.
fn without_parentheses(text: &str) -> String {
    match (text.find(" ("), text.find(')')) {
        (Some(start), Some(end)) if start < end => {
            format!("{}{}", &text[..start], &text[end + 1..])
        }
        (Some(_) | None, _) => text.to_owned(),
    }
}

fn nodes_title() -> Line<'static> {
    let text = "   node  state     port   pid      leads  in sync  behind";
    Line::from(Span::from(text).dark_gray())
}

fn node_line(node: &NodeRow, controller: Option<u32>, chosen: bool) -> Line<'static> {
    let color = match node.state {
        State::Alive => Color::Green,
        State::Starting | State::Stopping => Color::Cyan,
        State::Paused => Color::Yellow,
        State::Fenced => Color::Magenta,
        State::Dead => Color::Red,
    };
    let pid = node.pid.map_or("-".to_owned(), |pid| pid.to_string());
    let lag = node.lag.map_or("-".to_owned(), |lag| lag.to_string());
    let in_sync = format!("{}/{}", node.in_sync, node.replicas);
    let role = if controller == Some(node.id) { "controller" } else { "" };
    let mark = if chosen { " \u{25b8} " } else { "   " };
    let line = Line::from(vec![
        Span::from(format!("{mark}n{:<5}", node.id)),
        Span::styled(format!("{:<10}", node.state.word()), Style::new().fg(color).bold()),
        Span::from(format!("{:<7}{pid:<9}", node.port)),
        Span::from(format!("{:<7}{in_sync:<9}{lag:<8}{role}", node.leads)),
    ]);
    if chosen { line.style(Modifier::BOLD) } else { line }
}

/// The partitions, so many a line; where they are too many, first those that are not whole.
fn grid(picture: &Picture, columns: usize, lines: usize) -> Vec<Line<'static>> {
    let room = columns * lines;
    let mut all: Vec<&PartitionRow> = picture.partitions.iter().collect();
    let cell = |partition| cell(partition, picture);
    let mut cells: Vec<Vec<Span<'_>>> = Vec::new();
    if all.len() > room {
        all.sort_by_key(|partition| partition.is_whole());
        let left = all.split_off(room.saturating_sub(1));
        let whole = left.iter().filter(|partition| partition.is_whole()).count();
        cells.extend(all.into_iter().map(cell));
        let rest = format!("and {}, {whole} whole", left.len());
        cells.push(vec![Span::from(rest).dark_gray()]);
    } else {
        cells.extend(all.into_iter().map(cell));
    }
    let line = |row: &[Vec<Span<'static>>]| {
        Line::from_iter(std::iter::once(Span::from(" ")).chain(row.concat()))
    };
    cells.chunks(columns).map(line).collect()
}

fn cell(partition: &PartitionRow, picture: &Picture) -> Vec<Span<'static>> {
    let down = |node: u32| {
        let is = |row: &NodeRow| row.id == node && matches!(row.state, State::Dead | State::Paused);
        picture.nodes.iter().any(is)
    };
    let leader = match partition.leader {
        // The map does not know it yet, or nobody is left to change it.
        Some(node) if down(node) => Span::from(format!("n{node} ")).red().bold(),
        Some(node) => Span::from(format!("n{node} ")),
        None => Span::from("-- ").red().bold(),
    };
    let in_sync: String = partition
        .replicas
        .iter()
        .map(|&(node, in_sync)| if in_sync { node.to_string() } else { "\u{b7}".to_owned() })
        .collect();
    let color = match (partition.leader, partition.is_whole()) {
        (None, _) => Color::Red,
        (Some(_), false) => Color::Yellow,
        (Some(_), true) => Color::Green,
    };
    let lag = partition.lag.filter(|&lag| lag > 0).map_or(String::new(), |lag| match lag {
        ..=999 => format!("+{lag}"),
        _ => format!("+{}k", lag / 1_000),
    });
    let start = format!("{:<4}", format!("p{}", partition.id));
    let epoch = format!("{:<4}", format!("e{}", partition.epoch));
    let used = start.len() + 3 + epoch.len() + partition.replicas.len() + 1;
    let left = usize::from(CELL_COLUMNS).saturating_sub(used + 1);
    vec![
        Span::from(start).dark_gray(),
        leader,
        Span::from(epoch).dark_gray(),
        Span::styled(in_sync, Style::new().fg(color)),
        Span::from(format!(" {lag:<left$} ")).yellow(),
    ]
}

fn paint_load(frame: &mut Frame<'_>, area: Rect, load: &LoadRow) {
    let stall = if load.waiting_ms >= 100 {
        Span::from(format!("{} ms", load.waiting_ms)).red().bold()
    } else {
        Span::from("no")
    };
    let title = match load.rate {
        0 => "load: off".to_owned(),
        rate => format!("load: aims at {rate} a second"),
    };
    let errors = Span::from(format!("{} failed attempts", load.errors));
    let numbers = Line::from(vec![
        Span::from(format!(
            " {:>4} SET/s {:>4} GET/s   {} writes acknowledged   ",
            load.writes_per_s, load.reads_per_s, load.acknowledged
        ))
        .bold(),
        if load.errors > 0 { errors.yellow() } else { errors },
    ]);
    let waits = Line::from(vec![
        Span::from(" a write waits now: "),
        stall,
        Span::from(format!("   longest wait: {} ms   ", load.longest_stall_ms)),
        Span::from(load.last_error.clone()).dark_gray(),
    ]);
    let lines = Rect { height: area.height.min(3), ..area };
    section(frame, lines, &title, vec![numbers, waits]);
    let bars = Rect {
        x: area.x + 1,
        y: area.y + lines.height,
        width: area.width.saturating_sub(2),
        height: area.height - lines.height,
    };
    let history = &load.history[load.history.len().saturating_sub(usize::from(bars.width))..];
    let spark = Sparkline::default().data(history).style(Style::new().fg(Color::Blue));
    frame.render_widget(spark, bars);
}

fn news_line(entry: &Entry) -> Line<'static> {
    let text = Span::from(entry.event.to_string());
    let text = match entry.event {
        Event::Died { .. } | Event::Wrong { .. } | Event::GaveUp { .. } => text.red().bold(),
        Event::Offline { .. } | Event::Stalled { .. } | Event::Fenced { .. } => text.red(),
        Event::OutOfSync { .. } | Event::Refused { .. } | Event::SlowToStop { .. } => text.yellow(),
        Event::Leads { .. } | Event::GoesOn { .. } | Event::Whole { .. } | Event::InSync { .. } => {
            text.green()
        }
        Event::Killed { .. }
        | Event::Paused { .. }
        | Event::Continued { .. }
        | Event::Stopping { .. }
        | Event::Revived { .. }
        | Event::Load { .. } => text.bold(),
        Event::Started { .. }
        | Event::Stopped { .. }
        | Event::Controls { .. }
        | Event::Active { .. }
        | Event::Checking { .. } => text,
    };
    Line::from(vec![Span::from(format!("{}  ", Seconds(entry.at_ms))).dark_gray(), text])
}

fn keys_line(nodes: usize) -> Line<'static> {
    let first = format!("1-{nodes}");
    let keys = [
        (&first[..], "node"),
        ("k", "kill"),
        ("p", "pause/continue"),
        ("r", "revive"),
        ("t", "stop"),
        ("l/L", "load"),
        ("q", "quit"),
    ];
    let spans = keys.into_iter().flat_map(|(key, does)| {
        [Span::from(format!(" {key}")).bold().reversed(), Span::from(format!(" {does} "))]
    });
    Line::from_iter(spans.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn picture(nodes: u32, partitions: u32) -> Picture {
        let node = |id| NodeRow {
            id,
            state: if id == 1 { State::Dead } else { State::Alive },
            pid: Some(4_000_000 + id),
            port: 50_000 + id as u16,
            leads: 4,
            in_sync: 12,
            replicas: 12,
            lag: Some(12_345),
        };
        let partition = |id: u32| PartitionRow {
            id,
            leader: Some(id % nodes + 1),
            epoch: 7,
            replicas: (1..=nodes.min(3)).map(|node| (node, node != 1 || id > 9)).collect(),
            lag: Some(7),
        };
        let mut picture = Picture {
            controller: Some(2),
            term: 3,
            summary: "every partition survives no further node failure (remark); so do writes \
                      and whatever is said of the rest"
                .to_owned(),
            nodes: (1..=nodes).map(node).collect(),
            partitions: (0..partitions).map(partition).collect(),
            ..Picture::default()
        };
        picture.load.history = (0..300).collect();
        picture
    }

    fn drawn(width: u16, height: u16, nodes: u32, partitions: u32) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let event = Event::Killed { node: 1 };
        let news = VecDeque::from(vec![Entry { at_ms: 1_234, event }; 30]);
        let picture = picture(nodes, partitions);
        terminal
            .draw(|frame| paint(frame, &picture, &news, 2, Path::new("/tmp/kvnode-demo-abcdef")))
            .unwrap();
        let cells = terminal.backend().buffer().content().to_vec();
        let line = |row: &[ratatui::buffer::Cell]| row.iter().map(|cell| cell.symbol()).collect();
        cells.chunks(usize::from(width)).map(line).collect()
    }

    #[test]
    fn eighty_columns_and_twenty_four_lines_show_everything() {
        let lines = drawn(80, 24, 3, 12);
        let text = lines.join("\n");
        for shown in [
            "controller n2, term 3",
            "/tmp/kvnode-demo-abcdef",
            "survives no further node failure; so do writes",
            "redis-cli -p 50002   or: kvnode status -p 50002",
            " \u{25b8} n2    alive     50002",
            "12345   controller",
            "p0  n1 e7  \u{b7}23 +7 ",
            "p11 n3 e7  123 +7",
            "a write waits now: no",
            "   1.2s  n1 killed",
        ] {
            assert!(text.contains(shown), "{shown}:\n{text}");
        }
        assert!(lines[23].contains("q  quit") || lines[23].contains("q quit"), "{text}");
    }

    #[test]
    fn partitions_that_are_not_whole_come_first_where_there_is_no_room_for_all() {
        let lines = drawn(80, 24, 3, 64);
        let text = lines.join("\n");
        assert!(text.contains("p9  n1") && text.contains(" whole"), "{text}");
        assert!(text.contains("n1 killed"), "{text}");
    }

    #[test]
    fn no_size_is_too_small() {
        for (width, height) in [(1, 1), (3, 40), (20, 5), (79, 10), (300, 3), (200, 60)] {
            drawn(width, height, 9, 100);
        }
    }
}
