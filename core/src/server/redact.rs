//! Commands without the passwords in them, for whatever shows commands: MONITOR, SLOWLOG, traces, the
//! history of `kvnode cli`.

use crate::args::Args;

/// What stands in a password's place.
const REDACTED: &[u8] = b"(redacted)";

/// The arguments, the name first, those that are or may be passwords left out.
pub(crate) fn redacted<'a>(args: Args<'a>) -> impl Iterator<Item = &'a [u8]> {
    let secret = secrets(args);
    args.iter().enumerate().map(move |(at, arg)| if secret(at) { REDACTED } else { *arg })
}

/// Whether some are left out.
pub fn hides(args: Args<'_>) -> bool {
    let names: [&[u8]; 5] = [b"AUTH", b"ACL", b"HELLO", b"CONFIG", b"COMMAND"];
    let may = |args: Args<'_>| names.iter().any(|name| args[0].eq_ignore_ascii_case(name));
    !args.is_empty() && may(args) && (0..args.len()).any(secrets(args))
}

/// Which arguments those are. One that may be a password is taken for one.
fn secrets<'a>(all: Args<'a>) -> impl Fn(usize) -> bool + 'a {
    let mut args = all;
    // A command that is only asked about.
    loop {
        args = match args {
            [_, _, rest @ ..] if is(args, 0, "COMMAND") && is_keys_of(args) => rest,
            [_, _, _, rest @ ..] if is(args, 0, "ACL") && is(args, 1, "DRYRUN") => rest,
            _ => break,
        };
    }
    let skipped = all.len() - args.len();
    let users = ["SETUSER", "DELUSER", "GETUSER"];
    // From here on all of them.
    let from = if is(args, 0, "AUTH") {
        1
    } else if is(args, 0, "ACL") && users.iter().any(|word| is(args, 1, word)) {
        2
    } else {
        usize::MAX
    };
    // The option AUTH takes two.
    let login = || (1..args.len()).find(|&at| is(args, at, "AUTH"));
    let login = if is(args, 0, "HELLO") { login() } else { None };
    let config = is(args, 0, "CONFIG") && is(args, 1, "SET");
    let secret = move |at: usize| {
        at >= from
            || login.is_some_and(|login| at == login + 1 || at == login + 2)
            // At any place: a word that is missing or one too many must not give it away.
            || config && at > 2 && is(args, at - 1, "requirepass")
    };
    move |at| at >= skipped && secret(at - skipped)
}

fn is(args: Args<'_>, at: usize, word: &str) -> bool {
    args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
}

fn is_keys_of(args: Args<'_>) -> bool {
    is(args, 1, "GETKEYS") || is(args, 1, "GETKEYSANDFLAGS")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;

    #[test]
    fn passwords_are_left_out() {
        for (line, expected) in [
            ("AUTH pw", "AUTH (redacted)"),
            ("auth ann pw", "auth (redacted) (redacted)"),
            ("AUTH a b c", "AUTH (redacted) (redacted) (redacted)"),
            ("HELLO 3 AUTH ann pw SETNAME x", "HELLO 3 AUTH (redacted) (redacted) SETNAME x"),
            ("HELLO 3 SETNAME AUTH", "HELLO 3 SETNAME AUTH"),
            ("ACL SETUSER ann >pw on", "ACL SETUSER (redacted) (redacted) (redacted)"),
            (
                "CONFIG SET maxclients 5 RequirePass pw",
                "CONFIG SET maxclients 5 RequirePass (redacted)",
            ),
            ("CONFIG GET requirepass", "CONFIG GET requirepass"),
            ("CONFIG SET x requirepass pw", "CONFIG SET x requirepass (redacted)"),
            ("SET requirepass pw", "SET requirepass pw"),
            ("ACL DRYRUN ann AUTH pw", "ACL DRYRUN ann AUTH (redacted)"),
            ("ACL DRYRUN ann", "ACL DRYRUN ann"),
            ("COMMAND GETKEYS AUTH pw", "COMMAND GETKEYS AUTH (redacted)"),
            (
                "COMMAND GETKEYS COMMAND GETKEYS AUTH pw",
                "COMMAND GETKEYS COMMAND GETKEYS AUTH (redacted)",
            ),
            ("COMMAND GETKEYS SET k v", "COMMAND GETKEYS SET k v"),
            ("HELLO AUTH ann pw", "HELLO AUTH (redacted) (redacted)"),
            ("ACL", "ACL"),
        ] {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let shown: Vec<_> = redacted(&args).map(String::from_utf8_lossy).collect();
            assert_eq!(shown.join(" "), expected);
            assert_eq!(hides(&args), expected.contains("redacted"), "{line}");
        }
    }
}
