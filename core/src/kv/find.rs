//! From a name to its command: a perfect hash computed at compile time.
//!
//! A name is at most 16 letters, so it fits two words. Letters differ between cases in one bit,
//! and setting it turns nothing but a letter into a letter. It makes an underscore and a DEL the
//! same, so a name with an underscore is looked at once more.

use alloc::format;
use alloc::string::String;
use core::fmt::Write;

use super::command::Command;
use super::table::COMMANDS;
use crate::args::Args;
use crate::limits::KEY_BYTES_MAX;
use crate::reply::Reply;

/// All commands, containers' subcommands within them.
pub fn commands() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter()
}

/// The command called `name`, in any case.
#[inline]
pub fn find(name: &[u8]) -> Option<&'static Command> {
    let key = NameKey::of(name)?;
    let at = usize::from(HASH.slots[key.slot(HASH.factor)]);
    if HASH.keys.get(at) != Some(&key) {
        return None;
    }
    let command = &COMMANDS[at];
    (!HASH.underscored[at] || command.name.as_bytes().eq_ignore_ascii_case(name)).then_some(command)
}

/// The command or subcommand that `args`, which are not empty, call, if they can be right: it
/// exists, there are as many arguments as it takes, and no key is too long. Otherwise what the
/// client is told.
pub fn resolve(args: Args<'_>) -> Result<&'static Command, Reply> {
    let Some(mut command) = find(args[0]) else { return Err(unknown_command(args)) };
    if !command.subcommands.is_empty() && args.len() > 1 {
        command = find_subcommand(command, args[1]).ok_or_else(|| unknown_subcommand(args))?;
    }
    if !command.accepts(args.len()) {
        return Err(wrong_arity(command.name));
    }
    if command.keys(args).any(|key| key.len() > KEY_BYTES_MAX) {
        return Err(Reply::error_owned(format!(
            "ERR key is longer than the limit of {KEY_BYTES_MAX} bytes"
        )));
    }
    Ok(command)
}

/// The command or subcommand called `name`, as `get` or `client|id`.
pub(crate) fn find_full(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|&b| b == b'|') {
        Some(bar) => find_subcommand(find(&name[..bar])?, &name[bar + 1..]),
        None => find(name),
    }
}

pub(super) fn find_subcommand(container: &Command, name: &[u8]) -> Option<&'static Command> {
    let called = |c: &&Command| c.short_name().as_bytes().eq_ignore_ascii_case(name);
    container.subcommands.iter().find(called)
}

/// The error for a wrong number of arguments.
pub(super) fn wrong_arity(name: &str) -> Reply {
    Reply::error_owned(format!("ERR wrong number of arguments for '{name}' command"))
}

/// The error for a subcommand that takes more arguments in some forms, and not these.
pub(super) fn wrong_form(args: Args<'_>) -> Reply {
    Reply::error_owned(format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try {} HELP.",
        shown(cut(args[1], SHOWN_BYTES)),
        shown(args[0]).to_ascii_uppercase()
    ))
}

/// `bytes` as an error text shows them: up to a NUL as in Redis, on one line.
pub(super) fn shown(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).replace(['\r', '\n'], " ")
}

/// Bytes of the name, and of all arguments together, in the error for an unknown command.
const SHOWN_BYTES: usize = 128;

#[cold]
fn unknown_command(args: Args<'_>) -> Reply {
    let mut text = format!(
        "ERR unknown command '{}', with args beginning with: ",
        shown(cut(args[0], SHOWN_BYTES))
    );
    let mut left = SHOWN_BYTES;
    for arg in &args[1..] {
        if left == 0 {
            break;
        }
        let arg = cut(arg, left);
        // The quotes and the space count as well.
        left = left.saturating_sub(arg.iter().take_while(|&&b| b != 0).count() + 3);
        write!(text, "'{}' ", shown(arg)).expect("a String takes all");
    }
    Reply::error_owned(text)
}

#[cold]
fn unknown_subcommand(args: Args<'_>) -> Reply {
    Reply::error_owned(format!(
        "ERR unknown subcommand '{}'. Try {} HELP.",
        shown(cut(args[1], SHOWN_BYTES)),
        shown(args[0]).to_ascii_uppercase()
    ))
}

fn cut(bytes: &[u8], len: usize) -> &[u8] {
    &bytes[..bytes.len().min(len)]
}

/// A name of at most 16 bytes without regard to case.
#[derive(Clone, Copy, PartialEq, Eq)]
struct NameKey {
    head: u64,
    tail: u64,
    len: usize,
}

struct Hash {
    factor: u64,
    /// The name of each command.
    keys: [NameKey; COMMANDS.len()],
    /// Whether it has an underscore.
    underscored: [bool; COMMANDS.len()],
    /// Which command has this hash, or one of no command.
    slots: [u8; SLOTS],
}

const SLOTS: usize = 1024;
const NAME_BYTES_MAX: usize = 16;
const LOWER_CASE: u64 = 0x2020_2020_2020_2020;

static HASH: Hash = Hash::new();

impl NameKey {
    /// Reads the name in two words, which overlap in the middle.
    #[inline]
    const fn of(name: &[u8]) -> Option<Self> {
        let (head, tail) = match (name.first_chunk(), name.last_chunk()) {
            (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
            _ => match (name.first_chunk(), name.last_chunk()) {
                (Some(head), Some(tail)) => {
                    (u32::from_le_bytes(*head) as u64, u32::from_le_bytes(*tail) as u64)
                }
                _ => match name {
                    [a, b, c] => (u32::from_le_bytes([*a, *b, *c, 0]) as u64, 0),
                    [a, b] => (u16::from_le_bytes([*a, *b]) as u64, 0),
                    [a] => (*a as u64, 0),
                    _ => return None,
                },
            },
        };
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        Some(Self { head: head | LOWER_CASE, tail: tail | LOWER_CASE, len: name.len() })
    }

    /// The key of a command's name, and whether that has an underscore.
    const fn of_command(name: &str) -> (Self, bool) {
        let (bytes, mut i, mut underscored) = (name.as_bytes(), 0, false);
        while i < bytes.len() {
            let is_underscore = bytes[i] == b'_';
            assert!(bytes[i].is_ascii_lowercase() || is_underscore, "only these are told apart");
            underscored |= is_underscore;
            i += 1;
        }
        (Self::of(bytes).expect("a name of at most 16 letters"), underscored)
    }

    #[inline]
    const fn slot(self, factor: u64) -> usize {
        let folded = self.head ^ self.tail.rotate_left(23);
        (folded.wrapping_mul(factor) >> (64 - SLOTS.trailing_zeros())) as usize
    }
}

impl Hash {
    /// Tries factors until no two commands share a slot.
    const fn new() -> Self {
        const NONE: u8 = u8::MAX;
        assert!(COMMANDS.len() < NONE as usize);
        let mut keys = [NameKey { head: 0, tail: 0, len: 0 }; COMMANDS.len()];
        let mut underscored = [false; COMMANDS.len()];
        let mut i = 0;
        while i < COMMANDS.len() {
            (keys[i], underscored[i]) = NameKey::of_command(COMMANDS[i].name);
            i += 1;
        }
        let mut factor = 0x9E37_79B9_7F4A_7C15_u64;
        loop {
            let mut slots = [NONE; SLOTS];
            let mut i = 0;
            while i < keys.len() && slots[keys[i].slot(factor)] == NONE {
                slots[keys[i].slot(factor)] = i as u8;
                i += 1;
            }
            if i == keys.len() {
                return Self { factor, keys, underscored, slots };
            }
            factor = factor.wrapping_mul(0xD134_2543_DE82_EF95) | 1;
        }
    }
}
