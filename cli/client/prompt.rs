//! The prompt: a line, a command, a reply, until the user leaves.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::ExitCode;

use kvnode_core::server::holds_password;
use kvnode_io::resp::inline;
use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use super::assist::Assist;
use super::follow::Client;
use super::{Style, help, is_leaving, print};

/// Lines kept from one session to the next.
const HISTORY_LINES_MAX: usize = 10_000;

/// Runs the prompt.
pub(super) fn run(mut client: Client, style: Style) -> io::Result<ExitCode> {
    let mut editor = editor().map_err(io::Error::other)?;
    let history = history_file();
    if let Some(path) = &history {
        // The first session has none to load.
        let _ = editor.load_history(path);
    }
    if let Err(e) = client.open() {
        eprintln!("{e}");
    }
    loop {
        let line = match editor.readline(&prompt(&client)) {
            Ok(line) => line,
            // Ctrl-C drops the line, Ctrl-D on an empty one leaves.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(e) => return Err(io::Error::other(e)),
        };
        let Ok(command) = inline::split(line.as_bytes()) else {
            println!("Invalid argument(s)");
            continue;
        };
        let Some(name) = command.first() else { continue };
        let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        // No file should hold a password.
        if !holds_password(&words) {
            // Without memory for it the session goes on.
            let _ = editor.add_history_entry(line.as_str());
        }
        if is_leaving(name) {
            break;
        } else if name.eq_ignore_ascii_case(b"help") || name == b"?" {
            print!("{}", help::text(&command[1..]));
        } else if name.eq_ignore_ascii_case(b"clear") {
            editor.clear_screen().map_err(io::Error::other)?;
        } else {
            serve(&mut client, style, &command)?;
        }
    }
    if let Some(path) = history
        && let Err(e) = editor.append_history(&path)
    {
        eprintln!("The history could not be saved in {}: {e}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends a command and prints what comes of it.
fn serve(client: &mut Client, style: Style, command: &[Vec<u8>]) -> io::Result<()> {
    match client.call(command) {
        Ok(reply) => print(&reply, style),
        Err(e) => {
            println!("{e}");
            // Try at once, so that the prompt tells how things stand.
            let _ = client.open();
            Ok(())
        }
    }
}

fn prompt(client: &Client) -> String {
    let connection = client.connection();
    match (connection.is_open(), client.in_multi()) {
        (false, _) => "not connected> ".into(),
        (true, false) => format!("{}> ", connection.address()),
        (true, true) => format!("{}(TX)> ", connection.address()),
    }
}

fn editor() -> rustyline::Result<Editor<Assist, FileHistory>> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .history_ignore_space(true)
        .max_history_size(HISTORY_LINES_MAX)?
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_history_ignore_dups(true)?;
    editor.set_helper(Some(Assist));
    Ok(editor)
}

/// Where the history is kept, `$XDG_STATE_HOME/kvnode/history` or
/// `~/.local/state/kvnode/history`; made, readable by its owner alone, unless it is there.
fn history_file() -> Option<PathBuf> {
    let dir = std::env::var_os("XDG_STATE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))?
        .join("kvnode");
    DirBuilder::new().recursive(true).mode(0o700).create(&dir).ok()?;
    let path = dir.join("history");
    OpenOptions::new().append(true).create(true).mode(0o600).open(&path).ok()?;
    Some(path)
}
