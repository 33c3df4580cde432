//! What the prompt offers while one types: completion of names and options, and the arguments that
//! are still to come, greyed behind the cursor. Both come from the command table.

use std::borrow::Cow;

use kvnode_core::kv::{self, Command};
use kvnode_io::resp::inline;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

/// Words that the prompt itself understands.
const OWN_WORDS: [&str; 4] = ["clear", "exit", "help", "quit"];

/// rustyline's helper.
pub(super) struct Assist;

impl Helper for Assist {}

impl Validator for Assist {}

impl Hinter for Assist {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<String> {
        if pos == line.len() { hint(line) } else { None }
    }
}

impl Highlighter for Assist {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        // Bright black, which is grey.
        Cow::Owned(format!("\x1b[90m{hint}\x1b[0m"))
    }
}

impl Completer for Assist {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let line = &line[..pos];
        let start = line.rfind(' ').map_or(0, |at| at + 1);
        Ok((start, complete(&line[..start], &line[start..])))
    }
}

/// What follows `line`, if it starts with a command.
fn hint(line: &str) -> Option<String> {
    let words = inline::split(line.as_bytes()).ok()?;
    let (command, arguments) = command(&words)?;
    let rest = rest(command.syntax, arguments).join(" ");
    if rest.is_empty() {
        None
    } else if line.ends_with(' ') {
        Some(rest)
    } else {
        Some(format!(" {rest}"))
    }
}

/// What the word that starts with `typed` may become after `before`.
fn complete(before: &str, typed: &str) -> Vec<String> {
    let Ok(words) = inline::split(before.as_bytes()) else { return Vec::new() };
    let found: Vec<&str> = match words.first() {
        None => names().chain(OWN_WORDS).collect(),
        Some(word) if word.eq_ignore_ascii_case(b"help") && words.len() == 1 => names().collect(),
        Some(word) => match kv::find(word) {
            Some(command) if words.len() == 1 && !command.subcommands.is_empty() => {
                command.subcommands.iter().map(|command| command.short_name()).collect()
            }
            _ => command(&words).map_or(Vec::new(), |(command, arguments)| {
                rest(command.syntax, arguments).into_iter().flat_map(options).collect()
            }),
        },
    };
    let upper = typed.starts_with(|c: char| c.is_ascii_uppercase());
    let mut found: Vec<String> = found
        .into_iter()
        .filter(|word| {
            word.get(..typed.len()).is_some_and(|start| start.eq_ignore_ascii_case(typed))
        })
        .map(|word| if upper { word.to_ascii_uppercase() } else { word.to_ascii_lowercase() })
        .collect();
    found.sort();
    found.dedup();
    found
}

fn names() -> impl Iterator<Item = &'static str> {
    kv::commands().map(|command| command.name)
}

/// The command or subcommand that `words` call, and its arguments.
pub(super) fn command(words: &[Vec<u8>]) -> Option<(&'static Command, &[Vec<u8>])> {
    let (name, arguments) = words.split_first()?;
    let command = kv::find(name)?;
    let Some(second) = arguments.first() else { return Some((command, arguments)) };
    let called = |c: &&Command| c.short_name().as_bytes().eq_ignore_ascii_case(second);
    match command.subcommands.iter().find(called) {
        Some(subcommand) => Some((subcommand, &arguments[1..])),
        None => Some((command, arguments)),
    }
}

/// What of `syntax` is left when `arguments` have been typed.
fn rest<'s>(syntax: &'s str, arguments: &[Vec<u8>]) -> Vec<&'s str> {
    let mut left = parts(syntax, ' ');
    for argument in arguments {
        match left.first() {
            Some(first) if !is_optional(first) => {
                left.remove(0);
            }
            Some(_) => take_option(&mut left, argument),
            None => break,
        }
    }
    left
}

/// Takes the option that starts with `word` out of `left` and puts what belongs to it in front.
fn take_option(left: &mut Vec<&str>, word: &[u8]) {
    for at in 0..left.len() {
        let group = left[at];
        for choice in parts(inside(group), '|') {
            let words = parts(choice, ' ');
            if words.first().is_some_and(|first| first.as_bytes().eq_ignore_ascii_case(word)) {
                if !repeats(group) {
                    left.remove(at);
                }
                left.splice(0..0, words[1..].iter().copied());
                return;
            }
        }
    }
    // No option of that name: an argument that is given again, or may be left out.
    if let Some(first) = left.first()
        && !repeats(first)
        && options(first).is_empty()
    {
        left.remove(0);
    }
}

/// The words of a part of the syntax that are typed as they stand.
fn options(part: &str) -> Vec<&str> {
    parts(inside(part), '|')
        .into_iter()
        .filter_map(|choice| choice.split(' ').next())
        .filter(|word| word.len() > 1 && word.bytes().all(|b| b.is_ascii_uppercase()))
        .collect()
}

fn is_optional(part: &str) -> bool {
    part.starts_with('[')
}

fn repeats(part: &str) -> bool {
    part.contains("...")
}

fn inside(part: &str) -> &str {
    let bracketed = |open, close| part.strip_prefix(open)?.strip_suffix(close);
    bracketed('[', ']').or_else(|| bracketed('<', '>')).unwrap_or(part)
}

/// `text` split at each `separator` outside of brackets.
fn parts(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '[' | '<' => depth += 1,
            ']' | '>' => depth = depth.saturating_sub(1),
            _ if c == separator && depth == 0 => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = "key value [NX | XX] [GET] [EX seconds | PX milliseconds | KEEPTTL]";

    fn left(syntax: &str, typed: &str) -> String {
        rest(syntax, &inline::split(typed.as_bytes()).unwrap()).join(" ")
    }

    #[test]
    fn arguments_leave_the_hint_one_by_one() {
        assert_eq!(left(SET, ""), SET);
        assert_eq!(left(SET, "k"), SET.trim_start_matches("key "));
        assert_eq!(left(SET, "k v"), SET.trim_start_matches("key value "));
    }

    #[test]
    fn options_leave_the_hint_in_any_order() {
        assert_eq!(left(SET, "k v get"), "[NX | XX] [EX seconds | PX milliseconds | KEEPTTL]");
        assert_eq!(left(SET, "k v EX"), "seconds [NX | XX] [GET]");
        assert_eq!(left(SET, "k v EX 10"), "[NX | XX] [GET]");
        assert_eq!(left(SET, "k v EX 10 nx get"), "");
    }

    #[test]
    fn what_repeats_stays() {
        assert_eq!(left("key [key ...]", "a"), "[key ...]");
        assert_eq!(left("key [key ...]", "a b c"), "[key ...]");
        assert_eq!(left("[message]", "hello"), "");
        assert_eq!(left("<AND | OR> destkey key [key ...]", "or"), "destkey key [key ...]");
    }

    #[test]
    fn every_command_is_completed_and_hinted() {
        for command in kv::commands() {
            let (start, _) = command.name.split_at(1);
            assert!(complete("", start).contains(&command.name.to_owned()), "{}", command.name);
            let expected = (!command.syntax.is_empty()).then(|| format!(" {}", command.syntax));
            assert_eq!(hint(command.name), expected, "{}", command.name);
        }
    }

    #[test]
    fn completion_keeps_the_case_of_the_typist() {
        assert_eq!(complete("", "getd"), ["getdel"]);
        assert_eq!(complete("", "GETD"), ["GETDEL"]);
        assert_eq!(complete("help ", "getd"), ["getdel"]);
        assert!(complete("set k v ", "k").contains(&"keepttl".to_owned()));
        assert!(complete("nosuch ", "x").is_empty());
    }
}
