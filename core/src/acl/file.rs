//! The ACL file: `user NAME rules…`, one user a line, as Redis writes and reads it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Acl, ChangeError};
use crate::limits::ACL_FILE_BYTES_MAX;

/// The users of a file.
///
/// # Errors
/// What is wrong in which line: all of it. No part of such a file is used.
pub fn parse(text: &[u8]) -> Result<Acl, String> {
    if text.len() > ACL_FILE_BYTES_MAX {
        return Err(format!("The file is longer than the limit of {ACL_FILE_BYTES_MAX} bytes"));
    }
    let mut acl = Acl::of(BTreeMap::new());
    let mut seen = Vec::new();
    let mut errors = Vec::new();
    for (at, line) in text.split(|&b| b == b'\n').enumerate() {
        if let Err(why) = parse_line(line.trim_ascii(), &mut acl, &mut seen) {
            errors.push(format!("line {}: {why}", at + 1));
        }
    }
    if errors.is_empty() { Ok(acl) } else { Err(errors.join("; ")) }
}

fn parse_line<'a>(line: &'a [u8], acl: &mut Acl, seen: &mut Vec<&'a [u8]>) -> Result<(), String> {
    if line.is_empty() {
        return Ok(());
    }
    let mut words = line.split(|&b| b == b' ').filter(|word| !word.is_empty());
    let (Some(b"user"), Some(name)) = (words.next(), words.next()) else {
        return Err("line should start with user keyword followed by the username".into());
    };
    if seen.contains(&name) {
        return Err(format!("Duplicate user '{}' found", String::from_utf8_lossy(name)));
    }
    seen.push(name);
    // A user of the file begins from nothing, `default` too.
    let rules: Vec<&[u8]> = core::iter::once(&b"reset"[..]).chain(words).collect();
    acl.set_user(name, &rules).map_err(|why| {
        let user = format!("user '{}'", String::from_utf8_lossy(name));
        match why {
            ChangeError::Rule { rule, why } if may_be_shown(&rule) => {
                format!("{user}, rule '{rule}': {why}")
            }
            ChangeError::Rule { why, .. } => format!("{user}: {why}"),
            ChangeError::Parenthesis(rule) if !may_be_shown(&rule) => {
                format!("{user}: a selector has no end")
            }
            why @ (ChangeError::Name
            | ChangeError::TooManyUsers
            | ChangeError::LongName
            | ChangeError::Parenthesis(_)) => format!("{user}: {why}"),
        }
    })
}

/// Whether it is about keys or commands: another rule may be a password, or a part of one.
fn may_be_shown(rule: &str) -> bool {
    rule.starts_with(['+', '-', '~', '%', '&', '(']) && !rule.contains(['>', '<', '#', '!'])
}

/// The file that [`parse`] makes these users of.
pub fn write(acl: &Acl) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, user) in acl.users() {
        text.extend_from_slice(&[b"user ", &name[..], b" ", &user.describe(), b"\n"].concat());
    }
    text
}
