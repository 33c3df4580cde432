//! A command's arguments as COMMAND DOCS tells them, out of the line in which the table has them.
//!
//! | in the line | is |
//! |---|---|
//! | `word` | an argument |
//! | `WORD` | a token, which stands for itself; what follows up to the next token or bracket belongs to it |
//! | `[…]` | may be left out |
//! | `<…>` | is one argument |
//! | `a \| b` | one of them |
//! | `a b [a b ...]` | once or more often |
//! | `[a ...]` | any number of times |
//!
//! Every line of the table is read and written again by a test, so a line that can not be read is
//! found there and not by a client.

use alloc::string::String;
use alloc::vec::Vec;

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argument {
    /// What it is called.
    pub(super) name: String,
    /// The word that stands before it.
    pub(super) token: Option<&'static str>,
    pub(super) kind: Kind,
    /// It may be left out.
    pub(super) optional: bool,
    /// It may come more than once.
    pub(super) multiple: bool,
}

/// What an argument is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What the client fills in.
    Value,
    /// The token alone.
    Token,
    /// One of these.
    OneOf(Vec<Argument>),
    /// All of these.
    Block(Vec<Argument>),
}

/// A line that is not in the form above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The arguments that a line of the table describes.
pub(super) fn parse(syntax: &'static str) -> Result<Vec<Argument>, Malformed> {
    let text = syntax.trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if let Some((head, again)) = split_repetition(text)? {
        let mut arguments = if head.is_empty() { Vec::new() } else { parse(head)? };
        arguments.push(Argument { multiple: true, ..one(parse(again)?) });
        return Ok(arguments);
    }
    let choices = split(text, b'|')?;
    if choices.len() == 1 {
        return sequence(text);
    }
    let choices = choices.into_iter().map(|choice| parse(choice).map(one));
    Ok([choice(choices.collect::<Result<_, _>>()?)].into())
}

/// `a b [b ...]` as `a` and `b`.
fn split_repetition(text: &'static str) -> Result<Option<(&'static str, &'static str)>, Malformed> {
    let items = split(text, b' ')?;
    let Some(again) = items.last().and_then(|last| last.strip_prefix('[')?.strip_suffix(" ...]"))
    else {
        return Ok(None);
    };
    let before = text[..text.len() - again.len() - " [ ...]".len()].trim_end();
    let head = before.strip_suffix(again);
    let head = head.filter(|head| head.is_empty() || head.ends_with(' '));
    Ok(head.map(|head| (head, again)))
}

fn sequence(text: &'static str) -> Result<Vec<Argument>, Malformed> {
    let mut arguments = Vec::new();
    let mut items = split(text, b' ')?.into_iter().peekable();
    while let Some(item) = items.next() {
        arguments.push(if is_token(item) {
            let mut own = Vec::new();
            while let Some(next) = items.next_if(|next| !is_token(next) && !next.starts_with('[')) {
                own.push(single(next)?);
            }
            with_token(item, own)
        } else {
            single(item)?
        });
    }
    Ok(arguments)
}

/// An argument that is one item of its line.
fn single(item: &'static str) -> Result<Argument, Malformed> {
    let bracketed = |open, close| item.strip_prefix(open)?.strip_suffix(close);
    if let Some(inner) = bracketed('[', ']') {
        if let Some(again) = inner.strip_suffix(" ...") {
            return Ok(Argument { optional: true, multiple: true, ..one(parse(again)?) });
        }
        Ok(Argument { optional: true, ..one(parse(inner)?) })
    } else if let Some(inner) = bracketed('<', '>') {
        Ok(one(parse(inner)?))
    } else if !item.is_empty() && item.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        Ok(argument(item, None, Kind::Value))
    } else {
        Err(Malformed)
    }
}

fn with_token(token: &'static str, mut own: Vec<Argument>) -> Argument {
    match own.len() {
        0 => argument(&token.to_ascii_lowercase(), Some(token), Kind::Token),
        1 => Argument { token: Some(token), ..own.remove(0) },
        _ => argument("block", Some(token), Kind::Block(own)),
    }
}

fn one(mut arguments: Vec<Argument>) -> Argument {
    if arguments.len() == 1 {
        arguments.remove(0)
    } else {
        argument("block", None, Kind::Block(arguments))
    }
}

/// Any of these, as often as is wanted.
pub(super) fn repeated_choice(choices: Vec<Argument>) -> Argument {
    Argument { multiple: true, ..choice(choices) }
}

/// One of these.
pub(super) fn choice(choices: Vec<Argument>) -> Argument {
    argument("choice", None, Kind::OneOf(choices))
}

fn argument(name: &str, token: Option<&'static str>, kind: Kind) -> Argument {
    Argument { name: name.into(), token, kind, optional: false, multiple: false }
}

fn is_token(item: &str) -> bool {
    item.starts_with(|c: char| c.is_ascii_uppercase())
}

/// `text` split at each separator outside of brackets.
fn split(text: &'static str, separator: u8) -> Result<Vec<&'static str>, Malformed> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'<' => depth += 1,
            b']' | b'>' => depth = depth.checked_sub(1).ok_or(Malformed)?,
            _ if byte == separator && depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    if depth > 0 || parts.iter().any(|part| part.is_empty()) { Err(Malformed) } else { Ok(parts) }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::kv::{Command, commands};

    /// The line that describes `arguments`.
    fn spell(arguments: &[Argument], top: bool) -> String {
        let spelt: Vec<_> = arguments.iter().map(|one| spell_one(one, top)).collect();
        spelt.join(" ")
    }

    fn spell_one(argument: &Argument, top: bool) -> String {
        let inner = match &argument.kind {
            Kind::Value => argument.name.clone(),
            Kind::Token => String::new(),
            Kind::Block(all) => spell(all, false),
            Kind::OneOf(choices) => {
                let choices: Vec<_> = choices.iter().map(|one| spell_one(one, false)).collect();
                let bare = argument.optional || argument.multiple || top;
                if bare && argument.token.is_none() {
                    choices.join(" | ")
                } else {
                    format!("<{}>", choices.join(" | "))
                }
            }
        };
        let text = match argument.token {
            Some(token) if inner.is_empty() => token.into(),
            Some(token) => format!("{token} {inner}"),
            None => inner,
        };
        let text = match (argument.multiple, &argument.kind) {
            (true, Kind::Value) if argument.optional && argument.name == "argument" => {
                format!("{text} ...")
            }
            (true, _) => format!("{text} [{text} ...]"),
            (false, _) => text,
        };
        if argument.optional { format!("[{text}]") } else { text }
    }

    #[test]
    fn every_line_of_the_table_is_read_and_written_again() {
        fn check(command: &Command) {
            let arguments = parse(command.syntax);
            let arguments = arguments.unwrap_or_else(|_| panic!("{}", command.syntax));
            let top = arguments.len() == 1 && !arguments[0].multiple;
            assert_eq!(spell(&arguments, top), command.syntax, "{}", command.name);
            command.subcommands.iter().for_each(check);
        }
        commands().for_each(check);
    }

    #[test]
    fn brackets_that_do_not_match_are_malformed() {
        for line in ["[key", "key]", "<a | b]]", "a | ", "a  b", "a || b", "[a, b]"] {
            assert_eq!(parse(line), Err(Malformed), "{line}");
        }
    }

    #[test]
    fn tokens_take_what_follows() {
        let arguments = parse("key [EX seconds | GET a b | KEEPTTL] [LIMIT n] x").unwrap();
        assert_eq!(arguments.len(), 4);
        let Kind::OneOf(choices) = &arguments[1].kind else { panic!("a choice") };
        assert_eq!((choices[0].token, &*choices[0].name), (Some("EX"), "seconds"));
        assert!(matches!(&choices[1].kind, Kind::Block(all) if all.len() == 2));
        assert_eq!(choices[2].kind, Kind::Token);
        assert!(arguments[2].optional && !arguments[3].optional);
    }
}
