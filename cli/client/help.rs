//! `help` and `help COMMAND`, out of the command table.

use std::fmt::Write;

use kvnode_core::kv::{self, Command};

use super::assist;

/// Column in which the summaries of a list start.
const SUMMARY_COLUMN: usize = 20;

/// What `help` prints for the words behind it.
pub(super) fn text(words: &[Vec<u8>]) -> String {
    let Some(first) = words.first() else { return general() };
    if let Some((command, _)) = assist::command(words) {
        return one(command);
    }
    let name = String::from_utf8_lossy(first);
    format!("There is no command {name:?}. `help` lists them all.\n")
}

fn general() -> String {
    let mut commands: Vec<_> = kv::commands().collect();
    commands.sort_by_key(|command| (command.group.name(), command.name));
    let mut text = String::new();
    let mut group = "";
    for command in commands {
        if command.group.name() != group {
            group = command.group.name();
            put(&mut text, format_args!("\n{group}\n"));
        }
        let name = command.name.to_uppercase();
        put(&mut text, format_args!("  {name:SUMMARY_COLUMN$}{}\n", command.summary));
    }
    text.push_str("\nhelp COMMAND  explains one; Tab completes; quit leaves.\n\n");
    text
}

fn one(command: &Command) -> String {
    let name = command.name.replace('|', " ").to_uppercase();
    let mut text = String::new();
    put(&mut text, format_args!("\n  {} {}\n", bold(&name), command.syntax));
    put(&mut text, format_args!("  summary: {}\n", command.summary));
    put(&mut text, format_args!("  since: {}\n", command.since));
    put(&mut text, format_args!("  group: {}\n", command.group.name()));
    if !command.subcommands.is_empty() {
        text.push('\n');
    }
    for subcommand in command.subcommands {
        let name = subcommand.name.replace('|', " ").to_uppercase();
        put(&mut text, format_args!("  {name} {}\n", subcommand.syntax));
    }
    text.push('\n');
    text
}

fn bold(text: &str) -> String {
    format!("\x1b[1m{text}\x1b[0m")
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_help() {
        for command in kv::commands() {
            let text = text(&[command.name.as_bytes().to_vec()]);
            assert!(text.contains(command.summary) && !command.summary.is_empty(), "{text}");
        }
    }

    #[test]
    fn an_unknown_command_is_said_to_be_one() {
        assert!(text(&[b"nosuch".to_vec()]).contains("no command \"nosuch\""));
    }
}
